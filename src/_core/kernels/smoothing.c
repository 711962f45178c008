/* Piecewise linear and piecewise constant functions convolved with a kernel; the tails they are made of are in
   smoothing_internal.h. clip with Cauchy's kernel has a closed form of its own: there each ramp alone diverges.

   The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_smoothing.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/elementwise_internal.h"
#include "kernels/smoothing_internal.h"
#include "runtime/vector_math.h"

/* A function's number is its operation times 4 plus the kernel. */
typedef enum operation { RELU, STEP, ABS, SIGN, LEAKY_RELU, CLIP, MAXIMUM } operation;
enum { KERNELS = 4 };

/* For Cauchy's clip, where squares and their quotient must not overflow. */
#define CLIP_LOW 0x1p-200
#define CLIP_HIGH 0x1p200

static KX_ALWAYS_INLINE kx_f64p distance(kx_f64v x, kx_f64v y) {
    kx_f64p d = kx_f64p_sum(x, kx_f64v_negate(y));
    return kx_f64p_select(kx_f64v_less(d.high, kx_f64v_set(0)), kx_f64p_negate(d), d);
}

/* atanh((p - q) / (p + q)) = log(p / q) / 2 */
static KX_ALWAYS_INLINE kx_f64v half_log(kx_f64v p_minus_q, kx_f64v p, kx_f64v q) {
    static const double atanh_rest[] = {0x1.5555555555555p-2, 0x1.999999999999cp-3, 0x1.2492492491fe8p-3,
        0x1.c71c71c77e0f7p-4, 0x1.745d1724e5b21p-4, 0x1.3b13b7c41e111p-4, 0x1.11103f2bddc9fp-4, 0x1.e2046677f3c39p-5,
        0x1.ad46f379b316dp-5, 0x1.9739afdde0110p-5, 0x1.0371f75936f6fp-5, 0x1.37efaea22dc4bp-4};
    kx_f64v v = kx_f64v_div(p_minus_q, kx_f64v_add(p, q)), square = kx_f64v_mul(v, v);
    kx_f64v close = kx_f64v_fma(kx_f64v_mul(v, square), POLYNOMIAL(atanh_rest, square), v);
    kx_f64v apart = kx_f64v_mul(kx_f64v_set(0.5), kx_f64v_log(kx_f64v_div(p, q)));
    return kx_f64v_select(kx_f64v_less(kx_f64v_abs(v), kx_f64v_set(0.3333)), close, apart);
}

/* The smoothed clip minus clip is D(u) - D(w) with u = |x - low|, w = |x - high| and D(u) = -(u atan(s / u) + s log(u^2 + s^2) /
   2) / pi. Written with w - u, so that nothing cancels where the kernel is much wider than the interval. */
static KX_ALWAYS_INLINE kx_f64v cauchy_clip_rest(kx_f64p u, kx_f64p w, kx_f64v s) {
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64p step = kx_f64p_add(w, kx_f64p_negate(u));
    kx_f64v delta = step.high, s_square = kx_f64v_mul(s, s);
    kx_f64v theta = angle(exactly(s), u).high;
    kx_f64v turn = angle(exactly(kx_f64v_mul(s, kx_f64v_abs(delta))), exactly(kx_f64v_fma(u.high, w.high, s_square))).high;
    turn = kx_f64v_select(kx_f64v_less(delta, zero), kx_f64v_negate(turn), turn);
    kx_f64v angles = kx_f64v_sub(kx_f64v_mul(delta, theta), kx_f64v_mul(w.high, turn));
    kx_f64v logs = half_log(kx_f64v_mul(delta, kx_f64v_add(u.high, w.high)), kx_f64v_fma(w.high, w.high, s_square),
                            kx_f64v_fma(u.high, u.high, s_square));
    return kx_f64v_mul(kx_f64v_fma(s, logs, angles), kx_f64v_set(0x1.45f306dc9c883p-2));
}

static KX_ALWAYS_INLINE kx_f64v fast(int function, int narrow, const kx_f64v *x) {
    const operation what = (operation)(function / KERNELS);
    const smoothing_kernel kernel = (smoothing_kernel)(function % KERNELS);
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1);
    /* A sum that cancels to 2^-20 of its terms needs more of them than `narrow` has. */
    if (what == LEAKY_RELU || what == CLIP || what == MAXIMUM) narrow = 0;
    if (what == CLIP) {
        const kx_f64p u = distance(x[0], x[1]), w = distance(x[0], x[2]);
        const kx_f64v sharp = kx_f64v_min(kx_f64v_max(x[0], x[1]), x[2]);
        if (kernel == CAUCHY) return kx_f64v_add(sharp, cauchy_clip_rest(u, w, x[3]));
        const kx_f64v first = rounded(ramp_tail(kernel, u, x[3], narrow)), second = rounded(ramp_tail(kernel, w, x[3], narrow));
        return kx_f64v_add(sharp, kx_f64v_sub(first, second));
    }
    if (what == MAXIMUM)
        return kx_f64v_add(kx_f64v_max(x[0], x[1]), rounded(ramp_tail(kernel, distance(x[0], x[1]), x[2], narrow)));
    const kx_f64p size = exactly(kx_f64v_abs(x[0]));
    const kx_f64m negative = kx_f64v_less(x[0], zero);
    if (what == SIGN) {
        const kx_f64v value = odd_part(kernel, size, x[1], narrow);
        return kx_f64v_select(negative, kx_f64v_negate(value), value);
    }
    if (what == STEP) {
        const kx_f64v tail = rounded(step_tail(kernel, size, x[1], narrow));
        return kx_f64v_select(negative, tail, kx_f64v_sub(one, tail));
    }
    if (what == LEAKY_RELU) {
        const kx_f64v tail = rounded(ramp_tail(kernel, size, x[2], narrow));
        const kx_f64p line = kx_f64p_product(x[1], x[0]);
        const kx_f64v bent = kx_f64v_fma(kx_f64v_sub(one, x[1]), tail, kx_f64v_select(negative, line.low, zero));
        return kx_f64v_add(kx_f64v_select(negative, line.high, x[0]), bent);
    }
    const kx_f64v tail = rounded(ramp_tail(kernel, size, x[1], narrow));
    if (what == ABS) return kx_f64v_add(size.high, kx_f64v_add(tail, tail));
    return kx_f64v_add(kx_f64v_max(x[0], zero), tail);
}

static KX_ALWAYS_INLINE int operands_of(operation what) {
    return what == CLIP ? 4 : what == MAXIMUM || what == LEAKY_RELU ? 3 : 2;
}

static KX_ALWAYS_INLINE int are_ordinary(int function, int narrow, const kx_f64v *x) {
    (void)narrow;
    const operation what = (operation)(function / KERNELS);
    const int last = operands_of(what) - 1, cauchy_clip = what == CLIP && function % KERNELS == CAUCHY;
    const double high = cauchy_clip ? CLIP_HIGH : A_HIGH;
    for (int k = 0; k < last; k++)
        if (!kx_f64v_all_between(kx_f64v_abs(x[k]), 0, high)) return 0;
    if (!kx_f64v_all_between(x[last], cauchy_clip ? CLIP_LOW : S_LOW, cauchy_clip ? CLIP_HIGH : S_HIGH)) return 0;
    return what != CLIP || kx_f64m_bits(kx_f64v_less(x[2], x[1])) == 0;
}

/* T(|x - y|) for any finite x and y; a quarter of all where the difference could overflow. */
static double ramp_between(smoothing_kernel kernel, double x, double y, double s) {
    const double part = fmax(fabs(x), fabs(y)) > 0x1p1000 ? 0.25 : 1;
    if (part < 1) {
        if (kernel == LOGISTIC && s > 0x1p1000) return 0;
        x *= part, y *= part;
        s = kernel == GAUSSIAN ? s * part : kernel == LOGISTIC ? s / part : s * part * part;
        if (s == 0) return 0;
    }
    const double high = x - y, y_part = x - high, low = (x - (high + y_part)) + (y_part - y);
    return anywhere(kernel, RAMP_TAIL, fabs(high), high < 0 ? -low : low, s) / part;
}

static double clip_anywhere(smoothing_kernel kernel, double x, double low, double high, double s) {
    const double sharp = fmin(fmax(x, low), high);
    if (kernel != CAUCHY) {
        if (isinf(x)) return sharp;
        const double first = isinf(low) ? 0 : ramp_between(kernel, x, low, s);
        return sharp + (first - (isinf(high) ? 0 : ramp_between(kernel, x, high, s)));
    }
    if (isinf(low) || isinf(high)) return kx_elementwise_invalid(low);
    if (isinf(x)) return sharp;
    const double part = fmax(fmax(fabs(x), s), fmax(fabs(low), fabs(high))) > 0x1p1000 ? 0.25 : 1;
    const double u = fabs(x * part - low * part), w = fabs(x * part - high * part);
    s *= part;
    /* Logarithms of such sizes are some hundreds, and their difference is as inexact as they are: that of the quotient, where
       it cannot overflow. */
    const double to_low = hypot(u, s), to_high = hypot(w, s), apart = log(to_high) - log(to_low);
    const double angles = w * atan2(s, w) - u * atan2(s, u), logs = s * (fabs(apart) < 700 ? log(to_high / to_low) : apart);
    return sharp + (angles + logs) * 0x1.45f306dc9c883p-2 / part;
}

static KX_NEVER_INLINE int settle(int function, int narrow, const double *x, double *value) {
    (void)narrow;
    const operation what = (operation)(function / KERNELS);
    const smoothing_kernel kernel = (smoothing_kernel)(function % KERNELS);
    kx_f64v item[KX_MOST_OPERANDS];
    const int last = operands_of(what) - 1;
    double sum = 0;
    int is_nan = 0;
    for (int k = 0; k <= last; k++) item[k] = kx_f64v_set(x[k]), is_nan |= isnan(x[k]);
    if (is_nan) {
        for (int k = 0; k <= last; k++) sum = isnan(x[k]) ? x[k] + 0 : sum;
        return *value = sum, 1;
    }
    if (are_ordinary(function, 0, item)) return 0;
    const double a = fabs(x[0]), s = x[last];
    if (s <= 0 || isinf(s)) return *value = kx_elementwise_invalid(s), 1;
    if (what == CLIP) {
        *value = x[1] > x[2] ? kx_elementwise_invalid(0) : clip_anywhere(kernel, x[0], x[1], x[2], s);
    } else if (what == MAXIMUM) {
        *value = fmax(x[0], x[1]);
        if (!isinf(x[0]) && !isinf(x[1])) *value += ramp_between(kernel, x[0], x[1], s);
    } else if (what == SIGN) {
        *value = copysign(isinf(a) ? 1 : anywhere(kernel, ODD_PART, a, 0, s), x[0]);
    } else if (what == STEP) {
        const double tail = isinf(a) ? 0 : anywhere(kernel, STEP_TAIL, a, 0, s);
        *value = x[0] < 0 ? tail : 1 - tail;
    } else if (what == LEAKY_RELU && isinf(x[1])) {
        *value = isinf(a) && x[0] > 0 ? x[0] : -x[1]; /* slope (x - R(x)) + R(x), and R(x) > x */
    } else if (what == LEAKY_RELU) {
        const double tail = isinf(a) ? 0 : anywhere(kernel, RAMP_TAIL, a, 0, s);
        *value = (x[0] > 0 ? x[0] : x[1] == 0 ? 0 : x[1] * x[0]) + (1 - x[1]) * tail;
    } else {
        const double tail = isinf(a) ? 0 : anywhere(kernel, RAMP_TAIL, a, 0, s);
        *value = what == ABS ? a + 2 * tail : fmax(x[0], 0) + tail;
    }
    return 1;
}
#define KERNEL(name, parameters, ...) kx_status_t KX_KERNEL(name) parameters __VA_ARGS__
#else
#define KERNEL(name, parameters, ...)
#endif

#define KX_TEMPLATE "kernels/smoothing.c"
#include "isa/each_real.h"

#else /* the template */

#undef RUN
#undef BINARY
#undef TERNARY
#undef QUATERNARY
#define RUN(operation, kernel, operands)                                                                                   \
    KX_TYPED(kx_elementwise)((operation) * KERNELS + (kernel), operands, fast, are_ordinary, settle, arguments, strides, n, out, \
                             out_stride)
#define BINARY(name, operation, kernel)                                                                                    \
    KX_DISPATCH(KX_TYPED(name),                                                                                            \
                (const KX_REAL *x, const KX_REAL *scale, int64_t n, ptrdiff_t x_stride, ptrdiff_t scale_stride,            \
                 KX_REAL *out, ptrdiff_t out_stride),                                                                      \
                (x, scale, n, x_stride, scale_stride, out, out_stride))                                                    \
    KERNEL(KX_TYPED(name),                                                                                                 \
           (const KX_REAL *x, const KX_REAL *scale, int64_t n, ptrdiff_t x_stride, ptrdiff_t scale_stride, KX_REAL *out,   \
            ptrdiff_t out_stride),                                                                                         \
           {                                                                                                               \
               const void *const arguments[] = {x, scale};                                                                 \
               const ptrdiff_t strides[] = {x_stride, scale_stride};                                                       \
               RUN(operation, kernel, 2);                                                                                  \
               return KX_OK;                                                                                               \
           })
#define TERNARY(name, operation, kernel)                                                                                   \
    KX_DISPATCH(KX_TYPED(name),                                                                                            \
                (const KX_REAL *x, const KX_REAL *y, const KX_REAL *scale, int64_t n, ptrdiff_t x_stride,                  \
                 ptrdiff_t y_stride, ptrdiff_t scale_stride, KX_REAL *out, ptrdiff_t out_stride),                          \
                (x, y, scale, n, x_stride, y_stride, scale_stride, out, out_stride))                                       \
    KERNEL(KX_TYPED(name),                                                                                                 \
           (const KX_REAL *x, const KX_REAL *y, const KX_REAL *scale, int64_t n, ptrdiff_t x_stride, ptrdiff_t y_stride,   \
            ptrdiff_t scale_stride, KX_REAL *out, ptrdiff_t out_stride),                                                   \
           {                                                                                                               \
               const void *const arguments[] = {x, y, scale};                                                              \
               const ptrdiff_t strides[] = {x_stride, y_stride, scale_stride};                                             \
               RUN(operation, kernel, 3);                                                                                  \
               return KX_OK;                                                                                               \
           })
#define QUATERNARY(name, operation, kernel)                                                                                \
    KX_DISPATCH(KX_TYPED(name),                                                                                            \
                (const KX_REAL *x, const KX_REAL *low, const KX_REAL *high, const KX_REAL *scale, int64_t n,               \
                 ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride, KX_REAL *out,    \
                 ptrdiff_t out_stride),                                                                                    \
                (x, low, high, scale, n, x_stride, low_stride, high_stride, scale_stride, out, out_stride))                \
    KERNEL(KX_TYPED(name),                                                                                                 \
           (const KX_REAL *x, const KX_REAL *low, const KX_REAL *high, const KX_REAL *scale, int64_t n, ptrdiff_t x_stride, \
            ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride, KX_REAL *out, ptrdiff_t out_stride),      \
           {                                                                                                               \
               const void *const arguments[] = {x, low, high, scale};                                                      \
               const ptrdiff_t strides[] = {x_stride, low_stride, high_stride, scale_stride};                              \
               RUN(operation, kernel, 4);                                                                                  \
               return KX_OK;                                                                                               \
           })

BINARY(kx_smoothing_relu_gaussian, RELU, GAUSSIAN)
BINARY(kx_smoothing_relu_logistic, RELU, LOGISTIC)
BINARY(kx_smoothing_step_gaussian, STEP, GAUSSIAN)
BINARY(kx_smoothing_step_logistic, STEP, LOGISTIC)
BINARY(kx_smoothing_step_cauchy, STEP, CAUCHY)
BINARY(kx_smoothing_abs_gaussian, ABS, GAUSSIAN)
BINARY(kx_smoothing_abs_logistic, ABS, LOGISTIC)
BINARY(kx_smoothing_abs_student_t2, ABS, STUDENT_T2)
BINARY(kx_smoothing_sign_gaussian, SIGN, GAUSSIAN)
BINARY(kx_smoothing_sign_logistic, SIGN, LOGISTIC)
BINARY(kx_smoothing_sign_student_t2, SIGN, STUDENT_T2)
BINARY(kx_smoothing_sign_cauchy, SIGN, CAUCHY)
TERNARY(kx_smoothing_leaky_relu_gaussian, LEAKY_RELU, GAUSSIAN)
TERNARY(kx_smoothing_leaky_relu_logistic, LEAKY_RELU, LOGISTIC)
TERNARY(kx_smoothing_leaky_relu_student_t2, LEAKY_RELU, STUDENT_T2)
TERNARY(kx_smoothing_maximum_gaussian, MAXIMUM, GAUSSIAN)
TERNARY(kx_smoothing_maximum_logistic, MAXIMUM, LOGISTIC)
TERNARY(kx_smoothing_maximum_student_t2, MAXIMUM, STUDENT_T2)
QUATERNARY(kx_smoothing_clip_gaussian, CLIP, GAUSSIAN)
QUATERNARY(kx_smoothing_clip_logistic, CLIP, LOGISTIC)
QUATERNARY(kx_smoothing_clip_student_t2, CLIP, STUDENT_T2)
QUATERNARY(kx_smoothing_clip_cauchy, CLIP, CAUCHY)
#endif
