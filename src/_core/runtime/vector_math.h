/* exp and log of short vectors, for kernels to inline.

   exp: x = n ln 2 + r, |r| <= ln 2 / 2 (Cody and Waite), a polynomial in r, a power of two. log: x = 2^e m, m in [0.75, 1.5),
   log m = f - f^2/2 + s (f^2/2 + R(s^2)) with f = m - 1 and s = f / (2 + f) (the arrangement of fdlibm's e_log.c, which
   keeps the digits where e = 0). The coefficients interpolate at Chebyshev nodes; their relative errors are below 0.17
   half-ulps.

   Whole range: exp overflows to inf, underflows through the subnormals to 0; log takes subnormals, log 0 = -inf, log of a
   negative number is NaN; NaN propagates. Errors (tests/c/test_vector_math.c; float32 over all numbers): below 0.99 ulp in
   both precisions. The floating-point flags are not part of the promise: log(0) may raise nothing. */
#ifndef KX_VECTOR_MATH_H
#define KX_VECTOR_MATH_H

#include "isa/simd.h"

/* (e^r - 1 - r) / r^2 */
static inline kx_f64v kx_f64v_exp_tail(kx_f64v r, kx_f64v r2) {
    static const double c[] = {0x1.0000000000001p-1,  0x1.5555555555556p-3,  0x1.5555555553d63p-5,  0x1.11111111109b3p-7,
                               0x1.6c16c1788bd90p-10, 0x1.a01a01a7c41d5p-13, 0x1.a019b90d2ae7ap-16, 0x1.71de0dae63bb3p-19,
                               0x1.289185613a3d6p-22, 0x1.af38a9b0ec855p-26};
    kx_f64v q01 = kx_f64v_fma(kx_f64v_set(c[1]), r, kx_f64v_set(c[0])); /* pairs, then Horner in r^2: half the latency */
    kx_f64v q23 = kx_f64v_fma(kx_f64v_set(c[3]), r, kx_f64v_set(c[2]));
    kx_f64v q45 = kx_f64v_fma(kx_f64v_set(c[5]), r, kx_f64v_set(c[4]));
    kx_f64v q67 = kx_f64v_fma(kx_f64v_set(c[7]), r, kx_f64v_set(c[6]));
    kx_f64v q89 = kx_f64v_fma(kx_f64v_set(c[9]), r, kx_f64v_set(c[8]));
    return kx_f64v_fma(kx_f64v_fma(kx_f64v_fma(kx_f64v_fma(q89, r2, q67), r2, q45), r2, q23), r2, q01);
}

static inline kx_f32v kx_f32v_exp_tail(kx_f32v r) {
    static const float c[] = {0x1.000000p-1f, 0x1.5554dcp-3f, 0x1.55551ap-5f, 0x1.120b6ep-7f, 0x1.6d110ap-10f};
    kx_f32v q = kx_f32v_fma(kx_f32v_set(c[4]), r, kx_f32v_set(c[3]));
    q = kx_f32v_fma(q, r, kx_f32v_set(c[2]));
    q = kx_f32v_fma(q, r, kx_f32v_set(c[1]));
    return kx_f32v_fma(q, r, kx_f32v_set(c[0]));
}

/* e^x 2^-shift, rounded once, for an integral shift and |x| <= 1400 (float32: 174). A softmax takes the largest logit's power of
   two as the shift: unlike x - max, x is not rounded. */
static inline kx_f64v kx_f64v_exp_shifted(kx_f64v x, kx_f64v shift) {
    kx_f64v n = kx_f64v_round(kx_f64v_mul(x, kx_f64v_set(0x1.71547652b82fep+0)));
    const kx_f64v minus_low = kx_f64v_set(-0x1.ef35793c76730p-45);
    kx_f64v r_high = kx_f64v_fma(n, kx_f64v_set(-0x1.62e42fefa3800p-1), x); /* exact, so the sum at the end starts from it */
    kx_f64v r = kx_f64v_fma(n, minus_low, r_high), r2 = kx_f64v_mul(r, r);
    kx_f64v rest = kx_f64v_fma(n, minus_low, kx_f64v_mul(r2, kx_f64v_exp_tail(r, r2)));
    return kx_f64v_scale(kx_f64v_add(kx_f64v_set(1), kx_f64v_add(r_high, rest)), kx_f64v_sub(n, shift));
}
static inline kx_f64v kx_f64v_exp(kx_f64v x) { /* exp(746) overflows and exp(-746) is 0 */
    return kx_f64v_exp_shifted(kx_f64v_clamp_magnitude(x, 746), kx_f64v_set(0));
}

static inline kx_f32v kx_f32v_exp_shifted(kx_f32v x, kx_f32v shift) {
    kx_f32v n = kx_f32v_round(kx_f32v_mul(x, kx_f32v_set(0x1.715476p+0f)));
    const kx_f32v minus_low = kx_f32v_set(-0x1.7f7d1cp-20f);
    kx_f32v r_high = kx_f32v_fma(n, kx_f32v_set(-0x1.62e400p-1f), x), r = kx_f32v_fma(n, minus_low, r_high);
    kx_f32v rest = kx_f32v_fma(n, minus_low, kx_f32v_mul(kx_f32v_mul(r, r), kx_f32v_exp_tail(r)));
    return kx_f32v_scale(kx_f32v_add(kx_f32v_set(1), kx_f32v_add(r_high, rest)), kx_f32v_sub(n, shift));
}
static inline kx_f32v kx_f32v_exp(kx_f32v x) {
    return kx_f32v_exp_shifted(kx_f32v_clamp_magnitude(x, 104), kx_f32v_set(0));
}

/* e^x for x <= 0 or NaN, below 1.2 ulp: 2^(j / 16) from a register where there are lookups, which leaves a shorter polynomial (good to 0.24
   half-ulps by interpolation at Chebyshev nodes) and a third less work. */
#if KX_SIMD_AVX512
static inline kx_f64v kx_f64v_exp_below(kx_f64v x) {
    static const double roots[16] = {0x1.0000000000000p+0, 0x1.0b5586cf9890fp+0, 0x1.172b83c7d517bp+0, 0x1.2387a6e756238p+0,
                                     0x1.306fe0a31b715p+0, 0x1.3dea64c123422p+0, 0x1.4bfdad5362a27p+0, 0x1.5ab07dd485429p+0,
                                     0x1.6a09e667f3bcdp+0, 0x1.7a11473eb0187p+0, 0x1.8ace5422aa0dbp+0, 0x1.9c49182a3f090p+0,
                                     0x1.ae89f995ad3adp+0, 0x1.c199bdd85529cp+0, 0x1.d5818dcfba487p+0, 0x1.ea4afa2a490dap+0};
    static const double c[] = {0x1.0000000000000p-1, 0x1.55555554dd388p-3, 0x1.555555551946fp-5, 0x1.11120b03cd855p-7,
                               0x1.6c17bb5ebddb4p-10};
    const kx_f64v magic = kx_f64v_set(0x1.8p48); /* the unit of its last place is 1 / 16 */
    x = kx_f64v_max(kx_f64v_set(-746), x);
    const kx_f64v shifted = kx_f64v_fma(x, kx_f64v_set(0x1.71547652b82fep+0), magic), n = kx_f64v_sub(shifted, magic);
    const kx_f64v r_high = kx_f64v_fma(n, kx_f64v_set(-0x1.62e42fefa3800p-1), x);
    const kx_f64v r = kx_f64v_fma(n, kx_f64v_set(-0x1.ef35793c76730p-45), r_high), r2 = kx_f64v_mul(r, r);
    const kx_f64v q01 = kx_f64v_fma(kx_f64v_set(c[1]), r, kx_f64v_set(c[0]));
    const kx_f64v q23 = kx_f64v_fma(kx_f64v_set(c[3]), r, kx_f64v_set(c[2]));
    const kx_f64v tail = kx_f64v_fma(kx_f64v_fma(kx_f64v_set(c[4]), r2, q23), r2, q01);
    const kx_f64v root = kx_f64v_lookup16(roots, shifted);
    return kx_f64v_scale_floor(kx_f64v_fma(root, kx_f64v_fma(tail, r2, r), root), n);
}
#else
static inline kx_f64v kx_f64v_exp_below(kx_f64v x) { return kx_f64v_exp(x); }
#endif
static inline kx_f32v kx_f32v_exp_below(kx_f32v x) { return kx_f32v_exp(x); }

/* e^x = 2^n (1 + r + rest) for |x| up to what kx_f64v_scale takes: n is whole, and rest = e^r - 1 - r >= 0 is good to a few of its own
   ulps, so that e^x - 1 - x does not cancel where n = 0. */
static inline kx_f64v kx_f64v_exp_parts(kx_f64v x, kx_f64v *n, kx_f64v *r) {
    *n = kx_f64v_round(kx_f64v_mul(x, kx_f64v_set(0x1.71547652b82fep+0)));
    *r = kx_f64v_fma(*n, kx_f64v_set(-0x1.ef35793c76730p-45), kx_f64v_fma(*n, kx_f64v_set(-0x1.62e42fefa3800p-1), x));
    kx_f64v r2 = kx_f64v_mul(*r, *r);
    return kx_f64v_mul(r2, kx_f64v_exp_tail(*r, r2));
}

static inline kx_f32v kx_f32v_exp_parts(kx_f32v x, kx_f32v *n, kx_f32v *r) {
    *n = kx_f32v_round(kx_f32v_mul(x, kx_f32v_set(0x1.715476p+0f)));
    *r = kx_f32v_fma(*n, kx_f32v_set(-0x1.7f7d1cp-20f), kx_f32v_fma(*n, kx_f32v_set(-0x1.62e400p-1f), x));
    return kx_f32v_mul(kx_f32v_mul(*r, *r), kx_f32v_exp_tail(*r));
}

/* log(2^e (1 + f)) for f in [-0.25, 0.5]: where e = 0, as good as f is. */
static inline kx_f64v kx_f64v_log_of_parts(kx_f64v e, kx_f64v f) {
    static const double c[] = {0x1.5555555555555p-1, 0x1.9999999999f30p-2, 0x1.24924923dba6ap-2, 0x1.c71c72e2f78d5p-3,
                               0x1.745cab2727663p-3, 0x1.3b29fcbbce66dp-3, 0x1.0e88ea4725d3dp-3, 0x1.16b68338bd78bp-3};
    kx_f64v s = kx_f64v_div(f, kx_f64v_add(f, kx_f64v_set(2))), z = kx_f64v_mul(s, s), z2 = kx_f64v_mul(z, z);
    kx_f64v q01 = kx_f64v_fma(kx_f64v_set(c[1]), z, kx_f64v_set(c[0]));
    kx_f64v q23 = kx_f64v_fma(kx_f64v_set(c[3]), z, kx_f64v_set(c[2]));
    kx_f64v q45 = kx_f64v_fma(kx_f64v_set(c[5]), z, kx_f64v_set(c[4]));
    kx_f64v q67 = kx_f64v_fma(kx_f64v_set(c[7]), z, kx_f64v_set(c[6]));
    kx_f64v q = kx_f64v_fma(kx_f64v_mul(z2, z2), kx_f64v_fma(z2, q67, q45), kx_f64v_fma(z2, q23, q01));
    kx_f64v half_square = kx_f64v_mul(kx_f64v_mul(f, f), kx_f64v_set(0.5));
    kx_f64v small = kx_f64v_fma(s, kx_f64v_fma(z, q, half_square), kx_f64v_mul(e, kx_f64v_set(0x1.ef35793c76730p-45)));
    kx_f64v rest = kx_f64v_sub(f, kx_f64v_sub(half_square, small));
    return kx_f64v_fma(e, kx_f64v_set(0x1.62e42fefa3800p-1), rest);
}

static inline kx_f32v kx_f32v_log_of_parts(kx_f32v e, kx_f32v f) {
    static const float c[] = {0x1.555566p-1f, 0x1.996250p-2f, 0x1.32c83cp-2f};
    kx_f32v s = kx_f32v_div(f, kx_f32v_add(f, kx_f32v_set(2))), z = kx_f32v_mul(s, s);
    kx_f32v q = kx_f32v_fma(kx_f32v_fma(kx_f32v_set(c[2]), z, kx_f32v_set(c[1])), z, kx_f32v_set(c[0]));
    kx_f32v half_square = kx_f32v_mul(kx_f32v_mul(f, f), kx_f32v_set(0.5f));
    kx_f32v small = kx_f32v_fma(s, kx_f32v_fma(z, q, half_square), kx_f32v_mul(e, kx_f32v_set(0x1.7f7d1cp-20f)));
    kx_f32v rest = kx_f32v_sub(f, kx_f32v_sub(half_square, small));
    return kx_f32v_fma(e, kx_f32v_set(0x1.62e400p-1f), rest);
}

/* For what kx_f64v_split takes. */
static inline kx_f64v kx_f64v_log_of_normal(kx_f64v x) {
    kx_f64v e, m = kx_f64v_split(x, &e);
    return kx_f64v_log_of_parts(e, kx_f64v_sub(m, kx_f64v_set(1)));
}
static inline kx_f32v kx_f32v_log_of_normal(kx_f32v x) {
    kx_f32v e, m = kx_f32v_split(x, &e);
    return kx_f32v_log_of_parts(e, kx_f32v_sub(m, kx_f32v_set(1)));
}

/* log(1 + x) for finite x >= 0, within 2 ulp: a small x keeps its digits. */
static inline kx_f64v kx_f64v_log1p(kx_f64v x) {
    kx_f64v e, m = kx_f64v_split(kx_f64v_add(x, kx_f64v_set(1)), &e);
    const kx_f64m small = kx_f64v_less(kx_f64v_abs(e), kx_f64v_set(0.5));
    return kx_f64v_log_of_parts(e, kx_f64v_select(small, x, kx_f64v_sub(m, kx_f64v_set(1))));
}

#if KX_SIMD_AVX512
static inline kx_f64v kx_f64v_log(kx_f64v x) { return kx_f64v_log_of_normal(x); }
static inline kx_f32v kx_f32v_log(kx_f32v x) { return kx_f32v_log_of_normal(x); }
#else
/* The lanes that are not normal positive numbers are replaced: subnormals by 2^54 x, the others by 1 and at the end by their
   value. By the sign, as clang compares NaNs too. */
static inline kx_f64v kx_f64v_log(kx_f64v x) {
    if (kx_f64v_all_between(x, 0x1p-1022, 0x1.fffffffffffffp1023)) return kx_f64v_log_of_normal(x);
    double lanes[KX_F64_LANES], value[KX_F64_LANES], shift[KX_F64_LANES];
    kx_f64v_store(lanes, x);
    for (int i = 0; i < KX_F64_LANES; i++) {
        const double a = lanes[i];
        shift[i] = 0;
        if (kx_between_f64(a, 0x1p-1022, 0x1.fffffffffffffp1023)) continue;
        lanes[i] = 1;
        if (isnan(a)) shift[i] = a;
        else if (a == 0) shift[i] = -(double)INFINITY;
        else if (signbit(a)) shift[i] = (double)NAN;
        else if (isinf(a)) shift[i] = a;
        else lanes[i] = a * 0x1p54, shift[i] = -54;
    }
    kx_f64v_store(value, kx_f64v_log_of_normal(kx_f64v_load(lanes)));
    for (int i = 0; i < KX_F64_LANES; i++) value[i] += shift[i] * 0x1.62e42fefa39efp-1;
    return kx_f64v_load(value);
}
static inline kx_f32v kx_f32v_log(kx_f32v x) {
    if (kx_f32v_all_between(x, 0x1p-126f, 0x1.fffffep127f)) return kx_f32v_log_of_normal(x);
    float lanes[KX_F32_LANES], value[KX_F32_LANES], shift[KX_F32_LANES];
    kx_f32v_store(lanes, x);
    for (int i = 0; i < KX_F32_LANES; i++) {
        const float a = lanes[i];
        shift[i] = 0;
        if (kx_between_f32(a, 0x1p-126f, 0x1.fffffep127f)) continue;
        lanes[i] = 1;
        if (isnan(a)) shift[i] = a;
        else if (a == 0) shift[i] = -INFINITY;
        else if (signbit(a)) shift[i] = NAN;
        else if (isinf(a)) shift[i] = a;
        else lanes[i] = a * 0x1p25f, shift[i] = -25;
    }
    kx_f32v_store(value, kx_f32v_log_of_normal(kx_f32v_load(lanes)));
    for (int i = 0; i < KX_F32_LANES; i++) value[i] = (float)((double)value[i] + (double)shift[i] * 0x1.62e42fefa39efp-1);
    return kx_f32v_load(value);
}
#endif

#endif
