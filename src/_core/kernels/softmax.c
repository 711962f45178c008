/* Softmax, log-softmax, log-sum-exp and the entropy of rows, and the products with their Jacobians.

   A function is a few passes over a row; the same passes run along a long row or over short or strided rows in the lanes, and
   differ in how a pass ends: in the first case the lanes are reduced to one number.

   A softmax takes 2^k as its scale, k the binary exponent of the largest exponential, and not the largest exponential
   itself: then x is reduced by the exponential's own argument reduction, exactly, and x - max is never rounded. With the rounded
   difference a probability of e^-50 is off by 25 ulp.

   log_softmax and logsumexp take the largest exponential out of the sum and the logarithm of 1 + rest: the result is accurate
   relatively where one logit dominates. The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_softmax.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/transpose.h"
#include "runtime/flags.h"
#include "runtime/vector_math.h"

/* A pass in place of the last one, which scales what is in the output, for where the output is no place to keep exponentials. */
enum { ONCE_MORE = 3 };
enum { LOGSUMEXP, SOFTMAX, LOG_SOFTMAX, ENTROPY, LOGSUMEXP_VJP, SOFTMAX_VJP, LOG_SOFTMAX_VJP };

static inline int pass_count(int function) {
    return function == SOFTMAX || function == LOG_SOFTMAX || function == LOGSUMEXP_VJP ? 3 : 2;
}
static inline int is_scaled_exponential(int function) { return function == SOFTMAX || function == LOGSUMEXP_VJP; }
static inline int is_vjp_of_output(int function) { return function == SOFTMAX_VJP || function == LOG_SOFTMAX_VJP; }
static inline int gives_number(int function) { return function == LOGSUMEXP || function == ENTROPY; }
static inline int writes(int function, int pass) {
    return !gives_number(function) && (pass == pass_count(function) - 1 || (pass == 1 && is_scaled_exponential(function)));
}
/* The last pass scales what the one before wrote. */
static inline int reads_output(int function, int pass) { return pass == 2 && is_scaled_exponential(function); }
static inline int sum_count(int function) {
    return function == ENTROPY ? 3 : function == LOGSUMEXP || function == LOG_SOFTMAX ? 2 : 1;
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK_BITS kx_f64m_bits
#define KX_LANES KX_F64_LANES
#define NEAR_TOP 650.0  /* up to here 2^k is the scale */
#define EXP_RANGE 750.0 /* exp(-750) is 0 */
#include "softmax.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK_BITS
#undef KX_LANES
#undef NEAR_TOP
#undef EXP_RANGE

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK_BITS kx_f32m_bits
#define KX_LANES KX_F32_LANES
#define NEAR_TOP 70.0f
#define EXP_RANGE 104.0f
#include "softmax.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

typedef struct KX_TYPED(rows) {
    const char *x, *y; /* y: the upstream gradient */
    char *out;
    int64_t count, n;
    ptrdiff_t x_row, x_step, y_row, y_step, out_row, out_step;
} KX_TYPED(rows);

/* What the passes over a row, or over a row in each lane, know. */
typedef struct KX_TYPED(state) {
    KX_VECTOR top;         /* the largest entry */
    KX_VECTOR base;        /* what is subtracted first: 0, or a top that is too large for a shift */
    KX_VECTOR shift;       /* the binary exponent of the scale */
    KX_VECTOR lowest;      /* exponentials below are 0 */
    KX_VECTOR result;      /* of the last pass's end: a factor, a logarithm, or the function's value */
    KX_VECTOR high[3], low[3];
} KX_TYPED(state);

enum { KX_TYPED(GROUP) = 8, KX_TYPED(BLOCK) = 1024, KX_TYPED(SHORT) = 8 * KX_LANES, KX_TYPED(WIDE) = 4 };

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(log1p)(KX_VECTOR y) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1)), u = V(add)(one, y);
    KX_VECTOR lost = V(div)(V(sub)(y, V(sub)(u, one)), u);
    lost = V(select)(V(less)(zero, u), V(select)(V(less)(u, V(set)(R(INFINITY))), lost, zero), zero);
    return V(add)(V(log)(u), lost);
}

/* What an entry adds to the sums, or becomes. Selections put the largest entries, which are 1, and what is not a number where
   it belongs: x - top is 0 or NaN. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(step)(const int function, const int pass, const KX_TYPED(state) * s, KX_VECTOR x,
                                                 KX_VECTOR y, KX_VECTOR *sums) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    if (is_vjp_of_output(function)) {
        if (pass == 0) {
            sums[0] = V(add)(sums[0], function == SOFTMAX_VJP ? V(mul)(x, y) : y);
            return x;
        }
        if (function == SOFTMAX_VJP) return V(mul)(x, V(sub)(y, s->result));
        return V(sub)(y, V(mul)(V(exp)(x), s->result));
    }
    if (function == ENTROPY) {
        const KX_VECTOR q = V(div)(x, s->top), information = V(sub)(zero, V(log)(q));
        sums[0] = V(add)(sums[0], V(select)(V(less)(q, one), q, V(sub)(q, one)));
        sums[1] = V(add)(sums[1], V(select)(V(less)(q, one), zero, one));
        sums[2] = V(add)(sums[2], V(select)(V(less)(zero, q), V(mul)(q, information), q));
        return x;
    }
    if (pass == 2) {
        if (function == LOG_SOFTMAX) return V(sub)(V(sub)(x, s->top), s->result);
        return V(mul)(x, s->result);
    }
    const KX_VECTOR e = V(exp_shifted)(V(max)(s->lowest, V(sub)(x, s->base)), s->shift);
    if (pass == ONCE_MORE) return V(mul)(e, s->result);
    if (is_scaled_exponential(function)) {
        sums[0] = V(add)(sums[0], e);
    } else {
        sums[0] = V(add)(sums[0], V(select)(V(less)(x, s->top), e, V(sub)(x, s->top)));
        sums[1] = V(add)(sums[1], V(select)(V(less)(x, s->top), zero, one));
    }
    return e;
}

/* Adds a group's sums to high + low (Knuth's two-sum). */
static KX_ALWAYS_INLINE void KX_TYPED(add_group)(KX_TYPED(state) * s, int sum, KX_VECTOR value) {
    const KX_VECTOR high = s->high[sum], total = V(add)(high, value), part = V(sub)(total, high);
    s->low[sum] = V(add)(s->low[sum], V(add)(V(sub)(high, V(sub)(total, part)), V(sub)(value, part)));
    s->high[sum] = total;
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load)(const char *p, int64_t width, KX_REAL fill) {
    if (width == KX_LANES) return V(load)((const KX_REAL *)(const void *)p);
#if KX_SIMD_AVX512
    return V(load_part)((const KX_REAL *)(const void *)p, width, fill);
#else
    KX_REAL lanes[KX_LANES]; /* load_part reads items, which may not be aligned here */
    V(store)(lanes, V(set)(fill));
    memcpy(lanes, p, (size_t)width * sizeof *lanes);
    return V(load)(lanes);
#endif
}
static KX_ALWAYS_INLINE void KX_TYPED(store)(char *p, int64_t width, KX_VECTOR value) {
    if (width == KX_LANES) V(store)((KX_REAL *)(void *)p, value);
    else V(store_part)((KX_REAL *)(void *)p, width, value);
}

/* The largest and, of weights, the smallest entry so far. V(max) and V(min) return the second operand if the first is NaN. */
static KX_ALWAYS_INLINE void KX_TYPED(extremes)(const int function, KX_TYPED(state) * s, const char *x, ptrdiff_t x_step,
                                                int64_t vectors, int64_t width, int64_t tail, KX_REAL fill) {
    KX_VECTOR top[4], least = s->lowest;
    for (int i = 0; i < 4; i++) top[i] = s->top;
    int64_t k = 0;
    for (; k + 4 <= vectors; k += 4)
        for (int i = 0; i < 4; i++) {
            const KX_VECTOR entries = KX_TYPED(load)(x + (k + i) * x_step, width, fill);
            top[i] = V(max)(entries, top[i]);
            if (function == ENTROPY) least = V(min)(entries, least);
        }
    for (; k < vectors + (tail > 0); k++) {
        const KX_VECTOR entries = KX_TYPED(load)(x + k * x_step, k < vectors ? width : tail, fill);
        top[0] = V(max)(entries, top[0]);
        if (function == ENTROPY) least = V(min)(entries, least);
    }
    s->top = V(max)(V(max)(top[0], top[1]), V(max)(top[2], top[3]));
    s->lowest = least;
}

/* One pass over `vectors` whole vectors, of which `width` lanes count, and one of `tail` lanes if that is not 0. */
static KX_ALWAYS_INLINE void KX_TYPED(sweep)(const int function, const int pass, KX_TYPED(state) * s, const char *x,
                                             ptrdiff_t x_step, const char *y, ptrdiff_t y_step, const int is_writing, char *out,
                                             ptrdiff_t out_step, int64_t vectors, int64_t width, int64_t tail) {
    const KX_REAL fill = function == ENTROPY || function == SOFTMAX_VJP ? R(0) : -R(INFINITY);
    if (pass == 0 && !is_vjp_of_output(function)) {
        KX_TYPED(extremes)(function, s, x, x_step, vectors, width, tail, fill);
        return;
    }
    const int is_summing = pass < pass_count(function) - 1 || gives_number(function);
    for (int64_t first = 0; first < vectors; first += KX_TYPED(GROUP)) {
        const int64_t last = vectors - first < KX_TYPED(GROUP) ? vectors : first + KX_TYPED(GROUP);
        KX_VECTOR sums[3];
        for (int i = 0; i < 3; i++) sums[i] = V(set)(R(0));
        for (int64_t k = first; k < last; k++) {
            const KX_VECTOR gradient =
                is_vjp_of_output(function) ? KX_TYPED(load)(y + k * y_step, width, R(0)) : V(set)(R(0));
            const KX_VECTOR value =
                KX_TYPED(step)(function, pass, s, KX_TYPED(load)(x + k * x_step, width, fill), gradient, sums);
            if (is_writing) KX_TYPED(store)(out + k * out_step, width, value);
        }
        if (is_summing)
            for (int i = 0; i < sum_count(function); i++) KX_TYPED(add_group)(s, i, sums[i]);
    }
    if (tail > 0) {
        KX_VECTOR sums[3];
        for (int i = 0; i < 3; i++) sums[i] = V(set)(R(0));
        const KX_VECTOR gradient =
            is_vjp_of_output(function) ? KX_TYPED(load)(y + vectors * y_step, tail, R(0)) : V(set)(R(0));
        const KX_VECTOR value =
            KX_TYPED(step)(function, pass, s, KX_TYPED(load)(x + vectors * x_step, tail, fill), gradient, sums);
        if (is_writing) KX_TYPED(store)(out + vectors * out_step, tail, value);
        if (is_summing)
            for (int i = 0; i < sum_count(function); i++) KX_TYPED(add_group)(s, i, sums[i]);
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(begin)(KX_TYPED(state) * s) {
    s->top = V(set)(-R(INFINITY));
    s->base = s->shift = s->result = V(set)(R(0));
    s->lowest = V(set)(R(INFINITY));
    for (int i = 0; i < 3; i++) s->high[i] = s->low[i] = V(set)(R(0));
}

/* A sum, in every lane; the sum over the lanes if they are one row. After an infinity the compensation is NaN. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(total)(const KX_TYPED(state) * s, int sum, const int in_lanes) {
    const KX_VECTOR high = s->high[sum];
    const KX_VECTOR low = V(select)(V(less)(V(abs)(high), V(set)(R(INFINITY))), s->low[sum], V(set)(R(0)));
    if (in_lanes) return V(add)(high, low);
    KX_REAL sums[4];
    V(sum4)(sums, high, low, high, low);
    return V(set)(sums[0] + sums[1]);
}

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(largest)(KX_VECTOR a) { return -V(reduce_min)(V(sub)(V(set)(R(0)), a)); }

/* After a pass over all entries. Returns the lanes in which there is no result: bits. */
static KX_ALWAYS_INLINE unsigned KX_TYPED(finish)(const int function, const int pass, KX_TYPED(state) * s, KX_VECTOR parameter,
                                                  const int in_lanes) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1)), infinity = V(set)(R(INFINITY));
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    if (is_vjp_of_output(function)) {
        if (pass == 0) s->result = KX_TYPED(total)(s, 0, in_lanes);
        return 0;
    }
    if (pass == 0) {
        KX_VECTOR top = s->top;
        unsigned finite;
        if (!in_lanes) top = V(set)(KX_TYPED(largest)(top));
        if (function == ENTROPY) {
            KX_VECTOR least = s->lowest;
            if (!in_lanes) least = V(set)(V(reduce_min)(least));
            finite = KX_MASK_BITS(V(less)(zero, top)) & KX_MASK_BITS(V(less)(top, infinity)) &
                     ~KX_MASK_BITS(V(less)(least, zero));
            top = V(select)(V(less)(zero, top), top, V(set)(R(NAN)));
            s->top = V(select)(V(less)(least, zero), V(set)(R(NAN)), V(select)(V(less)(top, infinity), top, V(set)(R(NAN))));
            return all & ~finite;
        }
        const KX_VECTOR size = V(abs)(top);
        finite = KX_MASK_BITS(V(less)(size, infinity));
        if (!is_scaled_exponential(function)) top = V(select)(V(less)(size, infinity), top, zero);
        s->top = top;
        s->base = V(select)(V(less)(V(abs)(top), V(set)(NEAR_TOP)), zero, top);
        const KX_VECTOR rest = V(sub)(top, s->base);
        s->shift = V(round)(V(mul)(rest, V(set)(R(1.4426950408889634))));
        s->lowest = V(sub)(rest, V(set)(EXP_RANGE));
        return all & ~finite;
    }
    if (pass == 1) {
        const KX_VECTOR sum = KX_TYPED(total)(s, 0, in_lanes);
        if (is_scaled_exponential(function)) {
            s->result = V(div)(parameter, sum);
        } else {
            const KX_VECTOR others = V(sub)(KX_TYPED(total)(s, 1, in_lanes), one);
            if (function == ENTROPY) {
                const KX_VECTOR rest = V(add)(others, sum);
                s->result = V(add)(KX_TYPED(log1p)(rest), V(div)(KX_TYPED(total)(s, 2, in_lanes), V(add)(one, rest)));
            } else {
                const KX_VECTOR largest = V(exp_shifted)(V(sub)(s->top, s->base), s->shift);
                s->result = KX_TYPED(log1p)(V(add)(others, V(div)(sum, largest)));
                if (function == LOGSUMEXP) s->result = V(add)(s->top, s->result);
            }
        }
    }
    return 0;
}

/* Of rows that have no result, the invalid flag belongs to those without a NaN. */
static KX_NEVER_INLINE int KX_TYPED(flags_due)(const KX_TYPED(rows) * r, int64_t first, unsigned lanes, int64_t count) {
    for (int64_t row = 0; row < count; row++) {
        if (!(lanes >> row & 1)) continue;
        int is_nan = 0;
        for (int64_t j = 0; j < r->n && !is_nan; j++) {
            KX_REAL value;
            memcpy(&value, r->x + (first + row) * r->x_row + j * r->x_step, sizeof value);
            is_nan = isnan(value);
        }
        if (!is_nan) return FE_INVALID;
    }
    return 0;
}
static KX_ALWAYS_INLINE int KX_TYPED(raises_for)(const int function) {
    return function != LOGSUMEXP && !is_vjp_of_output(function);
}

/* For each lane the number of its row; lanes past the last row repeat it. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(parameters)(const KX_TYPED(rows) * r, const int function, int64_t first,
                                                       int64_t count) {
    if (function != LOGSUMEXP_VJP) return V(set)(R(1));
    KX_REAL values[KX_LANES];
    for (int64_t i = 0; i < KX_LANES; i++)
        memcpy(values + i, r->y + (first + (i < count ? i : count - 1)) * r->y_row, sizeof *values);
    return V(load)(values);
}

/* `count` rows of n entries from and to a block with a row in each lane. */
static KX_ALWAYS_INLINE void KX_TYPED(pack)(const char *x, ptrdiff_t row, ptrdiff_t step, int64_t n, int64_t count,
                                            KX_REAL *block) {
    if (step != (ptrdiff_t)sizeof *block) {
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < KX_LANES; i++)
                memcpy(block + j * KX_LANES + i, x + (i < count ? i : count - 1) * row + j * step, sizeof *block);
        return;
    }
    for (int64_t j = 0; j < n; j += KX_LANES) {
        KX_VECTOR tile[KX_LANES];
        const int64_t width = n - j < KX_LANES ? n - j : KX_LANES;
        for (int64_t i = 0; i < KX_LANES; i++)
            tile[i] = KX_TYPED(load)(x + (i < count ? i : count - 1) * row + j * step, width, R(0));
        V(transpose)(tile);
        for (int64_t i = 0; i < KX_LANES; i++) V(store)(block + (j + i) * KX_LANES, tile[i]);
    }
}
static KX_ALWAYS_INLINE void KX_TYPED(unpack)(const KX_REAL *block, int64_t n, int64_t count, char *out, ptrdiff_t row,
                                              ptrdiff_t step) {
    if (step != (ptrdiff_t)sizeof *block) {
        for (int64_t j = 0; j < n; j++)
            for (int64_t i = 0; i < count; i++) memcpy(out + i * row + j * step, block + j * KX_LANES + i, sizeof *block);
        return;
    }
    for (int64_t j = 0; j < n; j += KX_LANES) {
        KX_VECTOR tile[KX_LANES];
        const int64_t width = n - j < KX_LANES ? n - j : KX_LANES;
        for (int64_t i = 0; i < KX_LANES; i++) tile[i] = V(load)(block + (j + i) * KX_LANES);
        V(transpose)(tile);
        for (int64_t i = 0; i < count; i++) KX_TYPED(store)(out + i * row + j * step, width, tile[i]);
    }
}

/* A pass over rows in the lanes of `wide` vectors side by side, `part` columns of each in turn: where rows are far apart in
   memory a page is visited once for all of them. Without is_direct the output has rows in other places: by way of a tile. */
static KX_ALWAYS_INLINE void KX_TYPED(lanes_pass)(const int function, const int pass, const KX_TYPED(rows) * r,
                                                  KX_TYPED(state) * s, const char *x, ptrdiff_t x_step, const char *y,
                                                  ptrdiff_t y_step, const int is_writing, const int is_direct, char *out,
                                                  ptrdiff_t out_step, int64_t width, const int wide) {
    const ptrdiff_t vector = KX_LANES * (ptrdiff_t)sizeof(KX_REAL);
    const int by_tile = is_writing && !is_direct;
    const int64_t part = by_tile ? KX_LANES : wide > 1 ? KX_TYPED(GROUP) : r->n;
    KX_REAL tile[KX_LANES * KX_LANES] = {0};
    for (int64_t k = 0; k < r->n; k += part) {
        const int64_t columns = r->n - k < part ? r->n - k : part;
        for (int w = 0; w < wide; w++) {
            const char *from = x + k * x_step + w * vector, *with = y + k * y_step + w * vector;
            if (by_tile) {
                KX_TYPED(sweep)(function, pass, s + w, from, x_step, with, y_step, 1, (char *)tile, vector, columns, width, 0);
                KX_TYPED(unpack)(tile, columns, width, out + k * out_step + w * KX_LANES * r->out_row, r->out_row, out_step);
            } else {
                KX_TYPED(sweep)(function, pass, s + w, from, x_step, with, y_step, is_writing, out + k * out_step + w * vector,
                                out_step, columns, width, 0);
            }
        }
    }
}

/* All passes over rows in lanes, from row `first` on, of which the last vector may have less than its lanes. */
static KX_ALWAYS_INLINE int KX_TYPED(all_passes)(const int function, const KX_TYPED(rows) * r, int64_t first, int64_t count,
                                                 const char *x, ptrdiff_t x_step, const char *y, ptrdiff_t y_step,
                                                 const int is_direct, char *out, ptrdiff_t out_step, int64_t width,
                                                 const int wide) {
    KX_TYPED(state) s[KX_TYPED(WIDE)];
    KX_VECTOR parameter[KX_TYPED(WIDE)];
    int due = 0;
    for (int w = 0; w < wide; w++) {
        KX_TYPED(begin)(s + w);
        parameter[w] = KX_TYPED(parameters)(r, function, first + w * KX_LANES, count);
    }
    KX_TYPED(lanes_pass)(function, 0, r, s, x, x_step, y, y_step, 0, is_direct, out, out_step, width, wide);
    for (int w = 0; w < wide; w++) {
        const unsigned odd = KX_TYPED(finish)(function, 0, s + w, parameter[w], 1);
        if (KX_TYPED(raises_for)(function) && odd) due |= KX_TYPED(flags_due)(r, first + w * KX_LANES, odd, count);
    }
    const int is_writing = writes(function, 1) && (is_direct || !is_scaled_exponential(function));
    KX_TYPED(lanes_pass)(function, 1, r, s, x, x_step, y, y_step, is_writing, is_direct, out, out_step, width, wide);
    for (int w = 0; w < wide; w++) KX_TYPED(finish)(function, 1, s + w, parameter[w], 1);
    if (function == LOG_SOFTMAX)
        KX_TYPED(lanes_pass)(function, 2, r, s, x, x_step, y, y_step, 1, is_direct, out, out_step, width, wide);
    else if (is_scaled_exponential(function) && is_direct)
        KX_TYPED(lanes_pass)(function, 2, r, s, out, out_step, y, y_step, 1, is_direct, out, out_step, width, wide);
    else if (is_scaled_exponential(function))
        KX_TYPED(lanes_pass)(function, ONCE_MORE, r, s, x, x_step, y, y_step, 1, is_direct, out, out_step, width, wide);
    for (int w = 0; w < wide && gives_number(function); w++) {
        KX_REAL values[KX_LANES];
        V(store)(values, s[w].result);
        for (int64_t i = 0; i < count; i++)
            memcpy(r->out + (first + w * KX_LANES + i) * r->out_row, values + i, sizeof *values);
    }
    return due;
}

/* Neighbouring rows lie next to each other: a row in each lane, where they are. */
static KX_ALWAYS_INLINE int KX_TYPED(strided_rows)(const int function, const KX_TYPED(rows) * r, const int is_direct) {
    int due = 0;
    int64_t first = 0;
#define AT_FIRST(count, width, wide)                                                                                         \
    KX_TYPED(all_passes)(function, r, first, count, r->x + first * r->x_row, r->x_step, r->y + first * r->y_row, r->y_step, \
                         is_direct, r->out + first * r->out_row, r->out_step, width, wide)
    for (; first + KX_TYPED(WIDE) * KX_LANES <= r->count; first += KX_TYPED(WIDE) * KX_LANES)
        due |= AT_FIRST(KX_LANES, KX_LANES, KX_TYPED(WIDE));
    for (; first + KX_LANES <= r->count; first += KX_LANES) due |= AT_FIRST(KX_LANES, KX_LANES, 1);
    if (first < r->count) due |= AT_FIRST(r->count - first, r->count - first, 1);
#undef AT_FIRST
    return due;
}

/* Measured: transposing costs as much as the end of a pass along a row at some 5 vectors, 8 where it is a logarithm of floats. */
static KX_ALWAYS_INLINE int64_t KX_TYPED(short_limit)(const int function) {
    return sizeof(KX_REAL) == 4 && (function == LOG_SOFTMAX || gives_number(function)) ? KX_TYPED(SHORT) : KX_TYPED(SHORT) / 2;
}

static KX_ALWAYS_INLINE int KX_TYPED(short_rows)(const int function, const KX_TYPED(rows) * r) {
    KX_REAL x[KX_TYPED(SHORT) * KX_LANES], y[KX_TYPED(SHORT) * KX_LANES];
    const ptrdiff_t step = KX_LANES * (ptrdiff_t)sizeof *x;
    int due = 0;
    for (int64_t first = 0; first < r->count; first += KX_LANES) {
        const int64_t count = r->count - first < KX_LANES ? r->count - first : KX_LANES;
        KX_TYPED(pack)(r->x + first * r->x_row, r->x_row, r->x_step, r->n, count, x);
        if (is_vjp_of_output(function)) KX_TYPED(pack)(r->y + first * r->y_row, r->y_row, r->y_step, r->n, count, y);
        due |= KX_TYPED(all_passes)(function, r, first, count, (const char *)x, step, (const char *)y, step, 1, (char *)x,
                                    step, KX_LANES, 1);
        if (!gives_number(function))
            KX_TYPED(unpack)(x, r->n, count, r->out + first * r->out_row, r->out_row, r->out_step);
    }
    return due;
}

static KX_ALWAYS_INLINE void KX_TYPED(gather)(const char *from, ptrdiff_t step, int64_t n, KX_REAL *to) {
    for (int64_t i = 0; i < n; i++) memcpy(to + i, from + i * step, sizeof *to);
}

/* A row that does not lie in one piece, by way of blocks; one that fits is read and written once. */
static KX_ALWAYS_INLINE void KX_TYPED(scattered_pass)(const int function, const int pass, KX_TYPED(state) * s, const char *x,
                                                      ptrdiff_t x_step, const char *y, ptrdiff_t y_step, char *out,
                                                      ptrdiff_t out_step, int64_t n, KX_REAL *x_block, KX_REAL *y_block,
                                                      KX_REAL *out_block) {
    const int fits = n <= KX_TYPED(BLOCK), is_last = pass == pass_count(function) - 1;
    const ptrdiff_t size = sizeof(KX_REAL), vector = KX_LANES * size;
    for (int64_t done = 0; done < n; done += KX_TYPED(BLOCK)) {
        const int64_t count = n - done < KX_TYPED(BLOCK) ? n - done : KX_TYPED(BLOCK);
        const KX_REAL *from = x_block;
        if (reads_output(function, pass)) {
            from = out_block;
            if (!fits) KX_TYPED(gather)(out + done * out_step, out_step, count, out_block);
        } else if (pass == 0 || !fits) {
            KX_TYPED(gather)(x + done * x_step, x_step, count, x_block);
        }
        if (is_vjp_of_output(function) && (pass == 0 || !fits)) KX_TYPED(gather)(y + done * y_step, y_step, count, y_block);
        KX_TYPED(sweep)(function, pass, s, (const char *)from, vector, (const char *)y_block, vector, writes(function, pass),
                        (char *)out_block, vector, count / KX_LANES, KX_LANES, count % KX_LANES);
        if (writes(function, pass) && (is_last || !fits))
            for (int64_t i = 0; i < count; i++) memcpy(out + (done + i) * out_step, out_block + i, sizeof *out_block);
    }
}

static KX_ALWAYS_INLINE int KX_TYPED(long_rows)(const int function, const KX_TYPED(rows) * r) {
    const ptrdiff_t size = sizeof(KX_REAL), vector = KX_LANES * size;
    const int is_contiguous = r->x_step == size && (gives_number(function) || r->out_step == size) &&
                              (!is_vjp_of_output(function) || r->y_step == size);
    const int64_t vectors = r->n / KX_LANES, tail = r->n % KX_LANES;
    int due = 0;
    for (int64_t row = 0; row < r->count; row++) {
        const char *x = r->x + row * r->x_row, *y = r->y + row * r->y_row;
        char *out = r->out + row * r->out_row;
        KX_REAL x_block[KX_TYPED(BLOCK)], y_block[KX_TYPED(BLOCK)], out_block[KX_TYPED(BLOCK)];
        KX_REAL number = 1;
        if (function == LOGSUMEXP_VJP) memcpy(&number, y, sizeof number);
        const KX_VECTOR parameter = V(set)(number);
        KX_TYPED(state) s;
        KX_TYPED(begin)(&s);
        if (is_contiguous)
            KX_TYPED(sweep)(function, 0, &s, x, vector, y, vector, writes(function, 0), out, vector, vectors, KX_LANES, tail);
        else
            KX_TYPED(scattered_pass)(function, 0, &s, x, r->x_step, y, r->y_step, out, r->out_step, r->n,
                                     x_block, y_block, out_block);
        if (KX_TYPED(finish)(function, 0, &s, parameter, 0) && KX_TYPED(raises_for)(function))
            due |= KX_TYPED(flags_due)(r, row, 1, 1);
        if (is_contiguous)
            KX_TYPED(sweep)(function, 1, &s, x, vector, y, vector, writes(function, 1), out, vector, vectors, KX_LANES, tail);
        else
            KX_TYPED(scattered_pass)(function, 1, &s, x, r->x_step, y, r->y_step, out, r->out_step, r->n,
                                     x_block, y_block, out_block);
        KX_TYPED(finish)(function, 1, &s, parameter, 0);
        if (pass_count(function) == 3) {
            const char *from = is_scaled_exponential(function) ? out : x;
            if (is_contiguous)
            KX_TYPED(sweep)(function, 2, &s, from, vector, y, vector, writes(function, 2), out, vector, vectors, KX_LANES, tail);
            else
                KX_TYPED(scattered_pass)(function, 2, &s, x, r->x_step, y, r->y_step, out, r->out_step, r->n,
                                         x_block, y_block, out_block);
        }
        if (gives_number(function)) {
            KX_REAL values[KX_LANES];
            V(store)(values, s.result);
            memcpy(out, values, sizeof *values);
        }
    }
    return due;
}

static KX_ALWAYS_INLINE kx_status_t KX_TYPED(evaluate)(const int function, const KX_TYPED(rows) * r) {
    const ptrdiff_t size = sizeof(KX_REAL);
    const int before = kx_flags_begin();
    const int has_neighbours = r->x_row == size && (!is_vjp_of_output(function) || r->y_row == size);
    const int is_direct = gives_number(function) || r->out_row == size;
    int due;
    if (r->count <= 0 || (r->n == 0 && !gives_number(function))) return KX_OK;
    if (has_neighbours && is_direct && r->count >= KX_LANES / 2) due = KX_TYPED(strided_rows)(function, r, 1);
    else if (has_neighbours && r->count >= KX_LANES / 2) due = KX_TYPED(strided_rows)(function, r, 0);
    else if (r->n <= KX_TYPED(short_limit)(function)) due = KX_TYPED(short_rows)(function, r);
    else due = KX_TYPED(long_rows)(function, r);
    if (!is_vjp_of_output(function)) kx_flags_end(before, due);
    return KX_OK;
}
#endif

KX_DISPATCH(KX_TYPED(kx_softmax),
            (const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, KX_REAL *out,
             ptrdiff_t out_row_stride, ptrdiff_t out_stride),
            (x, rows, n, x_row_stride, x_stride, out, out_row_stride, out_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_log),
            (const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, KX_REAL *out,
             ptrdiff_t out_row_stride, ptrdiff_t out_stride),
            (x, rows, n, x_row_stride, x_stride, out, out_row_stride, out_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_logsumexp),
            (const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, KX_REAL *out,
             ptrdiff_t out_row_stride),
            (x, rows, n, x_row_stride, x_stride, out, out_row_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_entropy),
            (const KX_REAL *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride, ptrdiff_t p_stride, KX_REAL *out,
             ptrdiff_t out_row_stride),
            (p, rows, n, p_row_stride, p_stride, out, out_row_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_vjp),
            (const KX_REAL *q, const KX_REAL *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
             ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, KX_REAL *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride),
            (q, grad, rows, n, q_row_stride, q_stride, grad_row_stride, grad_stride, out, out_row_stride, out_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_log_vjp),
            (const KX_REAL *log_q, const KX_REAL *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride, ptrdiff_t q_stride,
             ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, KX_REAL *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride),
            (log_q, grad, rows, n, q_row_stride, q_stride, grad_row_stride, grad_stride, out, out_row_stride, out_stride))
KX_DISPATCH(KX_TYPED(kx_softmax_logsumexp_vjp),
            (const KX_REAL *x, const KX_REAL *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
             ptrdiff_t grad_row_stride, KX_REAL *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride),
            (x, grad, rows, n, x_row_stride, x_stride, grad_row_stride, out, out_row_stride, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax))(const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                            KX_REAL *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride) {
    const KX_TYPED(rows) r = {(const char *)x, (const char *)x, (char *)out, rows, n, x_row_stride, x_stride, 0, 0,
                              out_row_stride, out_stride};
    return KX_TYPED(evaluate)(SOFTMAX, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_log))(const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                                ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_row_stride,
                                                ptrdiff_t out_stride) {
    const KX_TYPED(rows) r = {(const char *)x, (const char *)x, (char *)out, rows, n, x_row_stride, x_stride, 0, 0,
                              out_row_stride, out_stride};
    return KX_TYPED(evaluate)(LOG_SOFTMAX, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_logsumexp))(const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                                      ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_row_stride) {
    const KX_TYPED(rows) r = {(const char *)x, (const char *)x, (char *)out, rows, n, x_row_stride, x_stride, 0, 0,
                              out_row_stride, 0};
    return KX_TYPED(evaluate)(LOGSUMEXP, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_entropy))(const KX_REAL *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride,
                                                    ptrdiff_t p_stride, KX_REAL *out, ptrdiff_t out_row_stride) {
    const KX_TYPED(rows) r = {(const char *)p, (const char *)p, (char *)out, rows, n, p_row_stride, p_stride, 0, 0,
                              out_row_stride, 0};
    return KX_TYPED(evaluate)(ENTROPY, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_vjp))(const KX_REAL *q, const KX_REAL *grad, int64_t rows, int64_t n,
                                                ptrdiff_t q_row_stride, ptrdiff_t q_stride, ptrdiff_t grad_row_stride,
                                                ptrdiff_t grad_stride, KX_REAL *out, ptrdiff_t out_row_stride,
                                                ptrdiff_t out_stride) {
    const KX_TYPED(rows) r = {(const char *)q, (const char *)grad, (char *)out, rows, n, q_row_stride, q_stride, grad_row_stride,
                              grad_stride, out_row_stride, out_stride};
    return KX_TYPED(evaluate)(SOFTMAX_VJP, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_log_vjp))(const KX_REAL *log_q, const KX_REAL *grad, int64_t rows, int64_t n,
                                                    ptrdiff_t q_row_stride, ptrdiff_t q_stride, ptrdiff_t grad_row_stride,
                                                    ptrdiff_t grad_stride, KX_REAL *out, ptrdiff_t out_row_stride,
                                                    ptrdiff_t out_stride) {
    const KX_TYPED(rows) r = {(const char *)log_q, (const char *)grad, (char *)out, rows, n, q_row_stride, q_stride,
                              grad_row_stride, grad_stride, out_row_stride, out_stride};
    return KX_TYPED(evaluate)(LOG_SOFTMAX_VJP, &r);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_softmax_logsumexp_vjp))(const KX_REAL *x, const KX_REAL *grad, int64_t rows, int64_t n,
                                                          ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                                          ptrdiff_t grad_row_stride, KX_REAL *out, ptrdiff_t out_row_stride,
                                                          ptrdiff_t out_stride) {
    const KX_TYPED(rows) r = {(const char *)x, (const char *)grad, (char *)out, rows, n, x_row_stride, x_stride, grad_row_stride,
                              0, out_row_stride, out_stride};
    return KX_TYPED(evaluate)(LOGSUMEXP_VJP, &r);
}
#endif
#endif
