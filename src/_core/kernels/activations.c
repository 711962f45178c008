/* SquarePlus f(x; b) = (x + sqrt(x^2 + b)) / 2, its derivatives and its inverse.

   The sum x + sqrt cancels for x < 0, so that side is b / (2 (|x| + sqrt)). The last digits come from carrying sqrt,
   |x| + sqrt and the denominators as a pair high + low: a few FMAs for an error below 0.9 ulp (1.5 where float64's gradient is
   b / (4 x^2)), against 3.35 ulp in plain arithmetic. A square root and a quotient keep Zen 4's divider busy for 24 cycles
   for 8 float64: there both come from AVX-512's 14-bit estimates (21 cycles, all told). For 16 float32 the root from the
   divider and the quotient from an estimate run side by side (17 cycles). Non-temporal stores of large results are 5% (float64)
   and 14% (float32) faster on Zen 5; on Zen 4 it was between 6% faster and 10% slower.

   The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_activations.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "isa/simd.h"

enum { VALUE, GRADIENT, GRADIENT_B, INVERSE };

static void evaluate_any(int function, const double *x, const double *b, int n, double *out);
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define B_LOW 0x1p-400
#define B_HIGH 0x1p400
#define X_LOW 0x1p-200
#define KX_ABS fabs
#define X_HIGH 0x1p200
#include "activations.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef B_LOW
#undef B_HIGH
#undef X_LOW
#undef KX_ABS
#undef X_HIGH

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define B_LOW 0x1p-50f
#define B_HIGH 0x1p60f
#define X_LOW 0x1p-25f
#define KX_ABS fabsf
#define X_HIGH 0x1p30f
#include "activations.c"

#ifndef KX_DISPATCH_PASS

/* 0 / 0 or inf - inf: a NaN that raises the invalid flag. */
static double invalid(double a) { return (a - a) / (a - a); }

/* The answers that need no square root: special values, and arguments so far apart that one of them does not matter
   (x^2 + b = x^2 to 2^-62). Returns 0 when it is not such a case. */
static int settle(int function, double x, double b, double *value) {
    if (x != x || b != b) return *value = x + b, 1;
    if (b < 0) return *value = invalid(b), 1;
    double a = fabs(x), root = sqrt(fabs(b)); /* fabs: gcc moves the root before the tests */
    if (function == INVERSE) {
        if (x < 0) return *value = invalid(x), 1;
        if (x == 0) return *value = b == 0 ? 0 : -(b / a), 1;
        if (isinf(x)) return *value = isinf(b) ? x - b : x, 1;
        if (isinf(b)) return *value = -b, 1;
        if (root < x * 0x1p-31) return *value = x, 1;
        if (x < root * 0x1p-31) return *value = -(b / (4 * x)), 1;
        return 0;
    }
    if (function == GRADIENT_B) {
        if (isinf(a) || isinf(b)) return *value = 0, 1;
        if (root < a * 0x1p-31 || b == 0) return *value = 0.25 / a, 1;
        return 0;
    }
    if (isinf(b)) {
        if (isinf(x) && (x < 0 || function == GRADIENT)) return *value = invalid(b), 1;
        return *value = function == VALUE ? b : 0.5, 1;
    }
    if (a == 0 && b == 0) return *value = function == VALUE ? 0 : 0.5, 1;
    if (isinf(x) || root < a * 0x1p-31) {
        if (x > 0) *value = function == VALUE ? x : 1;
        else if (function == VALUE) *value = a < 0x1p1000 ? b / (4 * a) : 0.25 * b / a;
        else *value = b == 0 ? 0 : a < 0x1p500 ? b / (4 * a * a) : 0.25 * (b / a / a);
        return 1;
    }
    return 0;
}

/* Any arguments, n a multiple of the float64 lanes: f(s x; s^2 b) = s f(x; b) brings them into the fast formula's range. */
static void evaluate_any(int function, const double *x, const double *b, int n, double *out) {
    for (int start = 0; start < n; start += KX_F64_LANES) {
        double scaled_x[KX_F64_LANES], scaled_b[KX_F64_LANES], back[KX_F64_LANES], value[KX_F64_LANES];
        unsigned settled = 0;
        for (int i = 0; i < KX_F64_LANES; i++) {
            const double xi = x[start + i], bi = b[start + i];
            double scale, inverse_scale;
            scaled_x[i] = scaled_b[i] = 1;
            if (settle(function, xi, bi, &out[start + i])) {
                settled |= 1u << i;
                continue;
            }
            /* By the power of two below the size (below 2^545 here; of a subnormal one, the least normal number): what clang
               computes beside what is asked for, as it makes vectors of scalars, does not overflow either. */
            const double size = fmax(fabs(xi), sqrt(fabs(bi)));
            uint64_t bits;
            memcpy(&bits, &size, sizeof bits);
            bits &= UINT64_C(0x7ff) << 52;
            if (bits == 0) bits = UINT64_C(1) << 52;
            memcpy(&inverse_scale, &bits, sizeof bits);
            bits = (UINT64_C(0x7fe) << 52) - bits;
            memcpy(&scale, &bits, sizeof bits);
            scaled_x[i] = xi * scale;
            scaled_b[i] = bi * scale * scale;
            back[i] = function == GRADIENT ? 1 : function == GRADIENT_B ? scale : inverse_scale;
        }
        kx_f64v vb = kx_f64v_load(scaled_b);
        kx_f64v_store(value, fast_f64(function, kx_f64v_load(scaled_x), vb, kx_f64v_mul(vb, kx_f64v_set(0.5))));
        for (int i = 0; i < KX_F64_LANES; i++)
            if (!(settled >> i & 1)) out[start + i] = value[i] * back[i];
    }
}
#endif

#else /* the template */

#ifndef KX_DISPATCH_PASS

typedef struct KX_TYPED(pair) {
    KX_VECTOR high, low;
} KX_TYPED(pair);

/* sqrt(x^2 + b). The correction takes x^2 + b - high^2 from x and b, not from their rounded sum. The cheap form loses half an
   ulp of x^2, which is enough for the value (where x^2 dominates, the root is half of the sum). The other form starts from
   the larger one of x^2 and b and loses half an ulp of the smaller; it costs 5% more. */
static KX_ALWAYS_INLINE KX_TYPED(pair) KX_TYPED(root)(int function, KX_VECTOR x, KX_VECTOR b) {
    KX_VECTOR square = V(mul)(x, x), sum = function == VALUE ? V(fused)(x, x, b) : V(add)(square, b);
    KX_VECTOR inverse = V(rsqrt_estimate)(sum), half_inverse = V(half)(inverse), rest;
    KX_TYPED(pair) root;
#if KX_SIMD_AVX512
    if (sizeof(KX_REAL) == 8) {
        root.high = V(mul)(sum, inverse);
        KX_VECTOR error = V(residual)(root.high, half_inverse, V(set)((KX_REAL)0.5));
        root.high = V(fused)(root.high, error, root.high);
        half_inverse = V(fused)(half_inverse, error, half_inverse);
    } else
#endif
        root.high = V(sqrt)(sum);
    if (function == VALUE) {
        rest = V(fused)(x, x, V(residual)(root.high, root.high, b));
    } else {
        rest = V(add)(V(residual)(root.high, root.high, V(max)(square, b)), V(min)(square, b));
        rest = V(sub)(rest, V(residual)(x, x, square));
    }
    root.low = V(mul)(half_inverse, rest);
    return root;
}

/* n / d to 2^-14 (float32) or 2^-27 (float64), and 1 / d as well as it takes to correct that. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(rough_quotient)(KX_VECTOR n, KX_VECTOR d, KX_VECTOR *inverse) {
    *inverse = V(reciprocal_estimate)(d);
#if KX_SIMD_AVX512
    if (sizeof(KX_REAL) == 8) *inverse = V(fused)(*inverse, V(residual)(d, *inverse, V(set)((KX_REAL)1)), *inverse);
    return V(mul)(n, *inverse);
#else
    return V(div)(n, d);
#endif
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(quotient)(KX_VECTOR n, KX_TYPED(pair) d) {
    KX_VECTOR inverse, q = KX_TYPED(rough_quotient)(n, d.high, &inverse);
    return V(fused)(V(residual)(q, d.low, V(residual)(q, d.high, n)), inverse, q);
}

/* ((2 y)^2 - b) / (4 y), the numerator carried as a pair. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(fast_inverse)(KX_VECTOR y, KX_VECTOR b) {
    KX_VECTOR twice = V(add)(y, y), square = V(mul)(twice, twice), d = V(add)(twice, twice);
    KX_VECTOR difference = V(sub)(square, b), back = V(sub)(difference, square);
    KX_VECTOR lost = V(sub)(V(sub)(square, V(sub)(difference, back)), V(add)(b, back));
    KX_VECTOR rest = V(sub)(lost, V(residual)(twice, twice, square));
    KX_VECTOR n = V(add)(difference, rest), n_low = V(sub)(rest, V(sub)(n, difference));
    KX_VECTOR inverse, q = KX_TYPED(rough_quotient)(n, d, &inverse);
    return V(fused)(V(add)(V(residual)(q, d, n), n_low), inverse, q);
}

/* For ordinary arguments: |x| <= X_HIGH, b = 0 or within [B_LOW, B_HIGH], and |x| >= X_LOW if b = 0 or for the inverse. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(fast)(int function, KX_VECTOR x, KX_VECTOR b, KX_VECTOR half_b) {
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    if (function == INVERSE) return KX_TYPED(fast_inverse)(x, b);
    KX_TYPED(pair) root = KX_TYPED(root)(function, x, b);
    if (function == GRADIENT_B) return KX_TYPED(quotient)(V(set)((KX_REAL)0.25), root);

    KX_VECTOR size = V(abs)(x);
    KX_TYPED(pair) sum, denominator;
    sum.high = V(add)(root.high, size);
    sum.low = V(add)(V(sub)(size, V(sub)(sum.high, root.high)), root.low);
    if (function == VALUE) {
        KX_VECTOR left = KX_TYPED(quotient)(half_b, sum);
        return V(select)(V(less)(x, zero), left, V(half)(V(add)(sum.high, sum.low)));
    }
    denominator.high = V(mul)(root.high, sum.high);
    denominator.low = V(sub)(V(fused)(root.high, sum.low, V(mul)(root.low, sum.high)),
                             V(residual)(root.high, sum.high, denominator.high));
    KX_VECTOR left = KX_TYPED(quotient)(half_b, denominator);
    return V(select)(V(less)(x, zero), left, V(sub)(V(set)((KX_REAL)1), left));
}

static int KX_TYPED(is_ordinary)(int function, KX_REAL x, KX_REAL b) {
    return KX_TYPED(kx_between)(function == INVERSE ? x : KX_ABS(x), function == INVERSE || b == 0 ? X_LOW : 0, X_HIGH) &&
           (b == 0 || KX_TYPED(kx_between)(b, B_LOW, B_HIGH));
}

/* A vector with an argument that is not ordinary. Its other lanes still go the fast way, so that an item's result does not
   depend on its neighbours. */
static KX_NEVER_INLINE void KX_TYPED(evaluate_slowly)(int function, const KX_REAL *x, const KX_REAL *b, KX_REAL *out) {
    double odd_x[KX_LANES], odd_b[KX_LANES], odd_value[KX_LANES];
    KX_REAL ordinary_x[KX_LANES], ordinary_b[KX_LANES];
    unsigned odd = 0;
    for (int i = 0; i < KX_LANES; i++) {
        odd_x[i] = odd_b[i] = 1;
        ordinary_x[i] = ordinary_b[i] = 1;
        if (KX_TYPED(is_ordinary)(function, x[i], b[i])) {
            ordinary_x[i] = x[i], ordinary_b[i] = b[i];
        } else {
            odd_x[i] = (double)x[i], odd_b[i] = (double)b[i];
            odd |= 1u << i;
        }
    }
    KX_VECTOR vb = V(load)(ordinary_b);
    V(store)(out, KX_TYPED(fast)(function, V(load)(ordinary_x), vb, V(mul)(vb, V(set)((KX_REAL)0.5))));
    if (!odd) return;
    evaluate_any(function, odd_x, odd_b, KX_LANES, odd_value);
    for (int i = 0; i < KX_LANES; i++)
        if (odd >> i & 1) out[i] = (KX_REAL)odd_value[i];
}

/* n contiguous items, n a multiple of the lanes; b is contiguous too, or KX_LANES copies of one value. */
static KX_ALWAYS_INLINE void KX_TYPED(contiguous)(int function, const KX_REAL *x, const KX_REAL *b, int b_varies, int64_t n,
                                                  int streams, KX_REAL *out) {
    if (n == 0) return;
    const KX_VECTOR half = V(set)((KX_REAL)0.5);
    const int b_is_zero = !b_varies && b[0] == 0;
    const KX_REAL x_low = function == INVERSE || b_is_zero ? X_LOW : (KX_REAL)0;
    KX_VECTOR vb = V(load)(b), half_b = V(mul)(vb, half);
    int ordinary_b = b_is_zero || V(all_between)(vb, B_LOW, B_HIGH);
    for (int64_t i = 0; i < n; i += KX_LANES) {
        /* The slow call is outside of the inner loop, or the constants would be reloaded for every vector. */
        for (; i < n; i += KX_LANES) {
            KX_VECTOR vx = V(load)(x + i);
            if (b_varies) {
                vb = V(load)(b + i);
                half_b = V(mul)(vb, half);
                ordinary_b = V(all_between)(vb, B_LOW, B_HIGH);
            }
            if (!ordinary_b || !V(all_between)(function == INVERSE ? vx : V(abs)(vx), x_low, X_HIGH)) break;
            const KX_VECTOR value = KX_TYPED(fast)(function, vx, vb, half_b);
            if (streams) V(stream)(out + i, value);
            else V(store)(out + i, value);
        }
        if (i < n) KX_TYPED(evaluate_slowly)(function, x + i, b_varies ? b + i : b, out + i);
    }
}

enum { KX_TYPED(BLOCK) = 512 };

static void KX_TYPED(gather)(const char *from, ptrdiff_t stride, int64_t n, KX_REAL *to) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i, from + i * stride, sizeof *to);
    for (int64_t i = n; i % KX_LANES != 0; i++) to[i] = to[n - 1]; /* a copy raises no flag of its own */
}

static int KX_TYPED(is_array)(const void *p, ptrdiff_t stride) {
    return stride == (ptrdiff_t)sizeof(KX_REAL) && (uintptr_t)p % sizeof(KX_REAL) == 0;
}

/* Contiguous items where they lie; others, and the last few, by way of a block on the stack. */
static KX_ALWAYS_INLINE void KX_TYPED(evaluate)(int function, const void *x, const void *b, int64_t n, ptrdiff_t x_stride,
                                                ptrdiff_t b_stride, void *out, ptrdiff_t out_stride) {
    KX_REAL block_x[KX_TYPED(BLOCK)], block_b[KX_TYPED(BLOCK)], block_out[KX_TYPED(BLOCK)];
    const int b_varies = b_stride != 0;
    int64_t done = 0;
    if (!b_varies && n > 0) KX_TYPED(gather)((const char *)b, 0, KX_LANES, block_b);
    if (KX_TYPED(is_array)(x, x_stride) && KX_TYPED(is_array)(out, out_stride) &&
        (!b_varies || KX_TYPED(is_array)(b, b_stride))) {
        done = n - n % KX_LANES;
        const KX_REAL *from = (const KX_REAL *)x, *with = b_varies ? (const KX_REAL *)b : block_b;
        KX_REAL *to = (KX_REAL *)out;
        /* For much more than the caches hold and starting at a whole vector: the lines of `out` need not be read first. */
        const int apart = to + n <= from || from + n <= to;
        if (function == VALUE && !b_varies && apart && n >= KX_STREAM_BYTES / (int64_t)sizeof(KX_REAL)) {
            const int64_t head = (int64_t)((KX_LANES - (uintptr_t)to / sizeof(KX_REAL) % KX_LANES) % KX_LANES);
            if (head) {
                KX_TYPED(gather)((const char *)x, x_stride, head, block_x);
                KX_TYPED(contiguous)(function, block_x, block_b, 0, KX_LANES, 0, block_out);
                memcpy(to, block_out, (size_t)head * sizeof *to);
            }
            done = head + (n - head) / KX_LANES * KX_LANES;
            KX_TYPED(contiguous)(function, from + head, with, 0, done - head, 1, to + head);
            kx_stream_end();
        } else if (b_varies) {
            KX_TYPED(contiguous)(function, from, with, 1, done, 0, to);
        } else {
            KX_TYPED(contiguous)(function, from, with, 0, done, 0, to);
        }
    }
    for (int64_t count; done < n; done += count) {
        count = n - done < KX_TYPED(BLOCK) ? n - done : KX_TYPED(BLOCK);
        int64_t padded = (count + KX_LANES - 1) / KX_LANES * KX_LANES;
        KX_TYPED(gather)((const char *)x + done * x_stride, x_stride, count, block_x);
        if (b_varies) {
            KX_TYPED(gather)((const char *)b + done * b_stride, b_stride, count, block_b);
            KX_TYPED(contiguous)(function, block_x, block_b, 1, padded, 0, block_out);
        } else {
            KX_TYPED(contiguous)(function, block_x, block_b, 0, padded, 0, block_out);
        }
        for (int64_t i = 0; i < count; i++)
            memcpy((char *)out + (done + i) * out_stride, block_out + i, sizeof *block_out);
    }
}
#endif

KX_DISPATCH(KX_TYPED(kx_activations_squareplus),
            (const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, b, n, x_stride, b_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_squareplus_grad),
            (const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, b, n, x_stride, b_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_squareplus_grad_b),
            (const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, b, n, x_stride, b_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_squareplus_inverse),
            (const KX_REAL *y, const KX_REAL *b, int64_t n, ptrdiff_t y_stride, ptrdiff_t b_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (y, b, n, y_stride, b_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_squareplus))(const KX_REAL *x, const KX_REAL *b, int64_t n, ptrdiff_t x_stride,
                                                           ptrdiff_t b_stride, KX_REAL *out, ptrdiff_t out_stride) {
    KX_TYPED(evaluate)(VALUE, x, b, n, x_stride, b_stride, out, out_stride);
    return KX_OK;
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_squareplus_grad))(const KX_REAL *x, const KX_REAL *b, int64_t n,
                                                                ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
                                                                ptrdiff_t out_stride) {
    KX_TYPED(evaluate)(GRADIENT, x, b, n, x_stride, b_stride, out, out_stride);
    return KX_OK;
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_squareplus_grad_b))(const KX_REAL *x, const KX_REAL *b, int64_t n,
                                                                  ptrdiff_t x_stride, ptrdiff_t b_stride, KX_REAL *out,
                                                                  ptrdiff_t out_stride) {
    KX_TYPED(evaluate)(GRADIENT_B, x, b, n, x_stride, b_stride, out, out_stride);
    return KX_OK;
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_squareplus_inverse))(const KX_REAL *y, const KX_REAL *b, int64_t n,
                                                                   ptrdiff_t y_stride, ptrdiff_t b_stride, KX_REAL *out,
                                                                   ptrdiff_t out_stride) {
    KX_TYPED(evaluate)(INVERSE, y, b, n, y_stride, b_stride, out, out_stride);
    return KX_OK;
}
#endif
#endif
