/* Softplus log(1 + e^x), Swish x s(x) and GELU's tanh form x s(w(x)), with s(x) = 1 / (1 + e^-x), and their derivatives.

   All come from u = e^-a or e^-w(a), a = |x|, kept as a mantissa and a power of two until the end, so that no digit of a tail
   is lost. f(x) - f(-x) = x for each of the three functions f, so f'(x) = 1 - f'(-x), and what is said of the derivatives below
   is said of f'(-a).

   Swish and GELU have a minimum, where the derivative u g / (1 + u)^2, g = 1 + u - a w'(a), has a zero. There g keeps its digits
   because u is found as u0 e^y, y = w(a0) - w(a): a0 is the zero, a0 - a a pair, and y is a0 - a times a polynomial. Where
   the power of two is 0, g is y + u0 (e^y - 1) for Swish, and a like sum for GELU, whose linear terms are put together first.

   Errors (tests/accuracy_activations.py) below 0.8 ulp in float64 (1.1 without a hardware FMA) and 0.51 ulp in float32. */
#ifndef KX_REAL
#include "kexue/kx_activations.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/elementwise_internal.h"
#include "runtime/pair_math.h"

#include <float.h>

enum { SOFTPLUS, SOFTPLUS_GRAD, SWISH, SWISH_GRAD, GELU_TANH, GELU_TANH_GRAD };

/* Results of arguments below -800 (GELU: -23) are those of -800: 0. For float32 -120 (-11.2) will do, where e^-a is no subnormal
   double and needs no power of two kept apart. */
static KX_ALWAYS_INLINE kx_f64v bounded(kx_f64v a, int is_tanh, int narrow) {
    return kx_f64v_min(a, kx_f64v_set(is_tanh ? narrow ? 11.2 : 23 : narrow ? 120 : 800));
}

/* w(a) = a (w1 + w3 a^2) = 2 sqrt(2 / pi) (a + 0.044715 a^3) */
static KX_ALWAYS_INLINE kx_f64p w1(void) { return kx_f64p_set(0x1.9884533d43651p+0, -0x1.cbc0d30ebfd15p-54); }
static KX_ALWAYS_INLINE kx_f64p w3(void) { return kx_f64p_set(0x1.2444f2a4d8b4bp-4, -0x1.6c843a29d1c70p-61); }
static KX_ALWAYS_INLINE kx_f64p three_w3(void) { return kx_f64p_set(0x1.b6676bf7450f0p-3, 0x1.bba7351828aabp-57); }

static KX_ALWAYS_INLINE kx_f64v softplus(kx_f64v x, int narrow) {
    const kx_f64v a = kx_f64v_abs(x), zero = kx_f64v_set(0);
    kx_f64v power;
    kx_f64p mantissa = kx_f64p_exp(kx_f64p_of(kx_f64v_negate(bounded(a, 0, narrow)), zero), narrow, &power);
    if (narrow) {
        const kx_f64p u = kx_f64p_scale(mantissa, power, narrow);
        return kx_f64v_fma(u.high, kx_f64p_log1p_ratio(u, narrow).high, kx_f64v_max(x, zero));
    }
    kx_f64p left = kx_f64p_times(mantissa, kx_f64p_log1p_ratio(kx_f64p_scale_addend(mantissa, power, narrow), narrow), narrow);
    kx_f64p right = kx_f64p_plus(kx_f64p_of(a, zero), kx_f64p_scale_addend(left, power, narrow), narrow);
    return kx_f64v_select(kx_f64v_less(x, zero), kx_f64v_scale(kx_f64p_round(left, narrow), power), kx_f64p_round(right, narrow));
}

/* s(x) or x s(x) (is_product) of the logistic function, s(w(x)) or x s(w(x)) (is_tanh). */
static KX_ALWAYS_INLINE kx_f64v sigmoid(kx_f64v x, int is_tanh, int is_product, int narrow) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), a = bounded(kx_f64v_abs(x), is_tanh, narrow);
    const kx_f64m is_left = kx_f64v_less(x, zero);
    const kx_f64v factor = kx_f64v_select(is_left, kx_f64v_negate(a), x);
    kx_f64p minus_w = kx_f64p_of(kx_f64v_negate(a), zero);
    kx_f64v power;
    if (is_tanh) {
        kx_f64p square = kx_f64p_square(a, narrow);
        minus_w = kx_f64p_times(minus_w, kx_f64p_plus(w1(), kx_f64p_times(square, w3(), narrow), narrow), narrow);
    }
    kx_f64p mantissa = kx_f64p_exp(minus_w, narrow, &power);
    if (narrow) {
        const kx_f64v u = kx_f64v_scale(mantissa.high, power), dividend = kx_f64v_select(is_left, u, one);
        const kx_f64v divisor = kx_f64v_add(one, u);
        return kx_f64v_div(is_product ? kx_f64v_mul(dividend, factor) : dividend, divisor);
    }
    kx_f64p above_one = kx_f64p_plus(kx_f64p_of(one, zero), kx_f64p_scale_addend(mantissa, power, narrow), narrow);
    kx_f64p s = kx_f64p_over(kx_f64p_select(is_left, mantissa, kx_f64p_of(one, zero)), above_one, narrow);
    const kx_f64v value = is_product ? kx_f64p_round_times(s, factor, narrow) : kx_f64p_round(s, narrow);
    return kx_f64v_scale(value, kx_f64v_select(is_left, power, zero));
}

static KX_ALWAYS_INLINE kx_f64v product_grad(kx_f64v x, int is_tanh, int narrow) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), a = bounded(kx_f64v_abs(x), is_tanh, narrow);
    const kx_f64p a0 = is_tanh ? kx_f64p_set(0x1.81429f9e97e4dp-1, -0x1.4f523ed77dbdcp-55)
                               : kx_f64p_set(0x1.474973c84120bp+0, 0x1.f8d74bc9ac154p-54);
    const kx_f64p u0 = is_tanh ? kx_f64p_set(0x1.2af64e9c485eep-2, -0x1.3ca470b477afcp-57)
                               : kx_f64p_set(0x1.1d25cf210482ep-2, -0x1.ca2d0d94faaecp-60);
    kx_f64p d = kx_f64p_sum(kx_f64v_negate(a0.high), a); /* a0 - a, with the digits of its difference */
    d = kx_f64p_negate(kx_f64p_sum_ordered(d.high, kx_f64v_sub(d.low, a0.low)));
    if (narrow) d.low = zero;

    kx_f64p y = d, slope = a0, less_slope = kx_f64p_of(a, zero); /* the slope of g at the zero, and a w'(a) */
    if (is_tanh) {
        const kx_f64p a0_square = kx_f64p_set(0x1.21e4bab8db157p-1, -0x1.3bbcb5d6e01bap-58);
        kx_f64p square = kx_f64p_square(a, narrow);
        kx_f64p cross = kx_f64p_times(a0, kx_f64p_of(a, zero), narrow);
        kx_f64p all = kx_f64p_plus(kx_f64p_plus(square, a0_square, narrow), cross, narrow); /* (a^3 - a0^3) / (a - a0) */
        kx_f64p of_w = kx_f64p_plus(w1(), kx_f64p_times(all, w3(), narrow), narrow);
        y = kx_f64p_times(d, of_w, narrow);
        slope = kx_f64p_plus(w1(), kx_f64p_times(all, three_w3(), narrow), narrow);
        slope = kx_f64p_plus(slope, kx_f64p_times(u0, of_w, narrow), narrow);
        less_slope = kx_f64p_times(less_slope, kx_f64p_plus(w1(), kx_f64p_times(square, three_w3(), narrow), narrow), narrow);
    }
    const kx_f64p_exp_parts_t e = kx_f64p_exp_parts(y, narrow);
    const kx_f64v tail = kx_f64v_mul(u0.high, kx_f64v_add(e.tail.high, e.tail.low));
    kx_f64p mantissa = kx_f64p_plus(kx_f64p_of(one, zero), kx_f64p_of(e.tail.high, e.tail.low), narrow);
    mantissa = kx_f64p_times(u0, kx_f64p_plus(mantissa, e.r, narrow), narrow);
    const kx_f64p u = kx_f64p_scale_addend(mantissa, e.power, narrow), above_one = kx_f64p_plus(kx_f64p_of(one, zero), u, narrow);
    kx_f64p near = kx_f64p_times(d, slope, narrow);
    near = narrow ? kx_f64p_of(kx_f64v_add(near.high, tail), zero)
                  : kx_f64p_sum_ordered(near.high, kx_f64v_add(near.low, tail));
    const kx_f64p far = kx_f64p_plus(above_one, kx_f64p_negate(less_slope), narrow);
    const kx_f64p g = kx_f64p_select(kx_f64v_less(kx_f64v_abs(e.power), kx_f64v_set(0.5)), near, far);
    const kx_f64p left = kx_f64p_over(kx_f64p_times(mantissa, g, narrow), kx_f64p_times(above_one, above_one, narrow), narrow);
    const kx_f64p minus_left = kx_f64p_negate(kx_f64p_scale_addend(left, e.power, narrow));
    const kx_f64p right = kx_f64p_plus(kx_f64p_of(one, zero), minus_left, narrow);
    return kx_f64v_select(kx_f64v_less(x, zero), kx_f64v_scale(kx_f64p_round(left, narrow), e.power),
                          kx_f64p_round(right, narrow));
}

static KX_ALWAYS_INLINE kx_f64v fast(int function, int narrow, const kx_f64v *x) {
    switch (function) {
        case SOFTPLUS: return softplus(x[0], narrow);
        case SOFTPLUS_GRAD: return sigmoid(x[0], 0, 0, narrow);
        case SWISH: return sigmoid(x[0], 0, 1, narrow);
        case SWISH_GRAD: return product_grad(x[0], 0, narrow);
        case GELU_TANH: return sigmoid(x[0], 1, 1, narrow);
        default: return product_grad(x[0], 1, narrow);
    }
}

static KX_ALWAYS_INLINE int are_ordinary(int function, int narrow, const kx_f64v *x) {
    (void)function, (void)narrow;
    return kx_f64v_all_between(kx_f64v_abs(x[0]), 0, DBL_MAX);
}

static int settle(int function, int narrow, const double *x, double *value) {
    (void)narrow;
    if (isfinite(x[0])) return 0;
    const int has_limit_one = function == SOFTPLUS_GRAD || function == SWISH_GRAD || function == GELU_TANH_GRAD;
    if (isnan(x[0])) *value = x[0];
    else if (has_limit_one) *value = !signbit(x[0]); /* not x > 0: gcc moves the comparison before the test for NaN */
    else *value = !signbit(x[0]) ? x[0] : function == SOFTPLUS ? 0 : -0.0;
    return 1;
}
#endif

#define KX_TEMPLATE "kernels/activations_exponential.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
static KX_ALWAYS_INLINE kx_status_t KX_TYPED(evaluate)(int function, const KX_REAL *x, int64_t n, ptrdiff_t x_stride,
                                                       KX_REAL *out, ptrdiff_t out_stride) {
    const void *const operands[] = {x};
    KX_TYPED(kx_elementwise)(function, 1, fast, are_ordinary, settle, operands, &x_stride, n, out, out_stride);
    return KX_OK;
}
#endif

KX_DISPATCH(KX_TYPED(kx_activations_softplus),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_softplus_grad),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_swish),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_swish_grad),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_gelu_tanh),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_gelu_tanh_grad),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_softplus))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                         ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(SOFTPLUS, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_softplus_grad))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                              ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(SOFTPLUS_GRAD, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_swish))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                      ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(SWISH, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_swish_grad))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                           ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(SWISH_GRAD, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_gelu_tanh))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                          ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(GELU_TANH, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_gelu_tanh_grad))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                               ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(GELU_TANH_GRAD, x, n, x_stride, out, out_stride);
}
#endif
#endif
