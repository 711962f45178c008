/* GELU x Phi(x), Phi the normal distribution function, and its derivative Phi(x) + x phi(x).

   With a = |x|, Phi(-a) = e^(-a^2 / 2) R(a), a^2 a pair, so that the exponential has its digits in the far tail. The derivative
   at -a is e^(-a^2 / 2) H(a), H(a) = R(a) - a / sqrt(2 pi), which has a zero a0; to keep the digits near it, H is a0 - a, a pair,
   times (a + M(a)) / ((a + 3/2) sqrt(2 pi)), where M lies between 2.25 and 2.5, is flat at 0, and a polynomial in
   (a - 5) / (a + 5). As f(x) - f(-x) = x, f'(x) = 1 - f'(-x).

   Errors (tests/accuracy_activations.py) below 1 ulp in float64 (1.5 without a hardware FMA) and 0.51 ulp in float32. */
#ifndef KX_REAL
#include "kexue/kx_activations.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/elementwise_internal.h"
#include "runtime/pair_math.h"

#include <float.h>

enum { GELU, GELU_GRAD };

/* e^(-a^2 / 2) of arguments below -39 (float32: -16) is that of them: the results are 0. */
static KX_ALWAYS_INLINE kx_f64v bounded(kx_f64v a, int narrow) { return kx_f64v_min(a, kx_f64v_set(narrow ? 16 : 39)); }

static KX_ALWAYS_INLINE kx_f64p density(kx_f64v a, int narrow, kx_f64v *power) {
    const kx_f64v minus_half = kx_f64v_set(-0.5);
    const kx_f64p square = kx_f64p_square(a, narrow);
    return kx_f64p_exp(kx_f64p_of(kx_f64v_mul(square.high, minus_half), kx_f64v_mul(square.low, minus_half)), narrow, power);
}

static KX_ALWAYS_INLINE kx_f64v gelu(kx_f64v x, int narrow) {
    const kx_f64v zero = kx_f64v_set(0), a = bounded(kx_f64v_abs(x), narrow);
    const kx_f64m is_left = kx_f64v_less(x, zero);
    kx_f64v power;
    kx_f64p left = density(a, narrow, &power);
    left = kx_f64p_times(left, kx_f64p_normal_tail(kx_f64p_of(a, zero), narrow), narrow);
    const kx_f64p right = kx_f64p_plus(kx_f64p_set(1, 0), kx_f64p_negate(kx_f64p_scale_addend(left, power, narrow)), narrow);
    const kx_f64v factor = kx_f64v_select(is_left, kx_f64v_negate(a), x);
    return kx_f64v_scale(kx_f64p_round_times(kx_f64p_select(is_left, left, right), factor, narrow),
                         kx_f64v_select(is_left, power, zero));
}

/* sqrt(2 pi) H(a) */
static KX_ALWAYS_INLINE kx_f64p factored(kx_f64v a, int narrow) {
    static const double narrow_c[] = {0x1.2d79b2034b8d2p+1, -0x1.2d9335e100a70p-3, 0x1.9d808a05fd441p-5, 0x1.1c9356680a569p-9,
                                      -0x1.3e879f6121501p-6, 0x1.1b5372add4081p-6, -0x1.389004b9dae0bp-7,
                                      0x1.c79a0852fd7c6p-9, -0x1.57529dea1d84fp-11, -0x1.f8b1ca864bfd2p-14,
                                      0x1.00af96fd6139ap-13, 0x1.3d9493fdc4e85p-16}; /* 2^-33 */
    static const double c[] = {-0x1.2d933626c30c1p-3, 0x1.9d807e52128e6p-5, 0x1.1c961789568c3p-9, -0x1.3e855f37a4c31p-6,
                               0x1.1b5071ec02fb1p-6, -0x1.38b94014b9744p-7, 0x1.c7a6cd36942e5p-9, -0x1.4d80520a587a8p-11,
                               -0x1.c16fef34e06e5p-14, 0x1.a179d4ff14d1bp-14, -0x1.ca446ca4e146bp-17, -0x1.2d3ae93901073p-17,
                               0x1.bb8203164b605p-19, 0x1.8c7bf91081c41p-21, -0x1.21b09489d15dbp-21, -0x1.269f33678a11bp-24,
                               0x1.6a757c2d75b30p-24, 0x1.5643c27d8254dp-27, -0x1.b6db24f96a31bp-27, -0x1.3e05e17021411p-29,
                               0x1.829f04f1f9969p-30, 0x1.d957b04147e6ep-32}; /* 2^-60.7 */
    const kx_f64v middle = kx_f64v_set(5), t = kx_f64v_div(kx_f64v_sub(a, middle), kx_f64v_add(a, middle));
    const kx_f64p a0 = kx_f64p_set(0x1.80ead197f00b4p-1, -0x1.13e74c58cada8p-56);
    kx_f64p d = kx_f64p_sum(a0.high, kx_f64v_negate(a));
    d = kx_f64p_sum_ordered(d.high, kx_f64v_add(d.low, a0.low));
    kx_f64p numerator, denominator = kx_f64p_sum(a, kx_f64v_set(1.5));
    if (narrow) {
        d.low = denominator.low = kx_f64v_set(0);
        numerator = kx_f64p_of(kx_f64v_add(a, kx_f64v_polynomial(narrow_c, 12, t)), kx_f64v_set(0));
    } else {
        kx_f64v rest = kx_f64v_fma(t, kx_f64v_polynomial(c, 22, t), kx_f64v_set(-0x1.0f81bc5a435a1p-53));
        numerator = kx_f64p_sum(a, kx_f64v_set(0x1.2d79b203a06c6p+1));
        numerator = kx_f64p_sum_ordered(numerator.high, kx_f64v_add(numerator.low, rest));
    }
    return kx_f64p_over(kx_f64p_times(d, numerator, narrow), denominator, narrow);
}

static KX_ALWAYS_INLINE kx_f64v gelu_grad(kx_f64v x, int narrow) {
    const kx_f64v a = bounded(kx_f64v_abs(x), narrow);
    const kx_f64p inverse_root = kx_f64p_set(0x1.9884533d43651p-2, -0x1.cbc0d30ebfd15p-56); /* 1 / sqrt(2 pi) */
    kx_f64v power;
    kx_f64p left = kx_f64p_times(density(a, narrow, &power), inverse_root, narrow);
    left = kx_f64p_times(left, factored(a, narrow), narrow);
    const kx_f64p right = kx_f64p_plus(kx_f64p_set(1, 0), kx_f64p_negate(kx_f64p_scale_addend(left, power, narrow)), narrow);
    return kx_f64v_select(kx_f64v_less(x, kx_f64v_set(0)), kx_f64v_scale(kx_f64p_round(left, narrow), power),
                          kx_f64p_round(right, narrow));
}

static KX_ALWAYS_INLINE kx_f64v fast(int function, int narrow, const kx_f64v *x) {
    return function == GELU ? gelu(x[0], narrow) : gelu_grad(x[0], narrow);
}

static KX_ALWAYS_INLINE int are_ordinary(int function, int narrow, const kx_f64v *x) {
    (void)function, (void)narrow;
    return kx_f64v_all_between(kx_f64v_abs(x[0]), 0, DBL_MAX);
}

static int settle(int function, int narrow, const double *x, double *value) {
    (void)narrow;
    if (isfinite(x[0])) return 0;
    if (isnan(x[0])) *value = x[0];
    else if (function == GELU) *value = signbit(x[0]) ? -0.0 : x[0]; /* not x > 0: gcc moves it before the test for NaN */
    else *value = !signbit(x[0]);
    return 1;
}
#endif

#define KX_TEMPLATE "kernels/activations_gaussian.c"
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

KX_DISPATCH(KX_TYPED(kx_activations_gelu),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_gelu_grad),
            (const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out, ptrdiff_t out_stride),
            (x, n, x_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_gelu))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                     ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(GELU, x, n, x_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_gelu_grad))(const KX_REAL *x, int64_t n, ptrdiff_t x_stride, KX_REAL *out,
                                                          ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(GELU_GRAD, x, n, x_stride, out, out_stride);
}
#endif
#endif
