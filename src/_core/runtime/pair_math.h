/* exp, log1p and the normal distribution's tail of float64 lanes to a few more digits than a double has, for kernels to inline.

   A number is a pair high + low with |low| at most about an ulp of high. What an elementwise kernel makes of such pairs is
   rounded once, at its end, and so within little more than half an ulp. Where a result may lie far below the numbers it is
   made of, as in the tails, the power of two is kept apart: multiply first, kx_f64v_scale last, which rounds once at most,
   for |n| up to 2000.

   `narrow`, a constant of the caller, leaves the low parts out and shortens the polynomials: relative errors near 2^-32, for
   float32 results. Arguments are finite and in the ranges stated, others give anything and may raise flags; inexact and
   underflow apart, no flag is raised. Polynomials interpolate at Chebyshev nodes (coefficients by mpmath with 250 bits).

   On the baseline kx_f64v_fused is an exact product in software, of numbers below 2^996 and, to be exact, above 2^-900. */
#ifndef KX_PAIR_MATH_H
#define KX_PAIR_MATH_H

#include "isa/kernel.h"
#include "isa/simd.h"

typedef struct kx_f64p {
    kx_f64v high, low;
} kx_f64p;

static KX_ALWAYS_INLINE kx_f64p kx_f64p_of(kx_f64v high, kx_f64v low) {
    kx_f64p r;
    r.high = high, r.low = low;
    return r;
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_set(double high, double low) { return kx_f64p_of(kx_f64v_set(high), kx_f64v_set(low)); }

/* -a, the sign of a zero too. */
static KX_ALWAYS_INLINE kx_f64v kx_f64v_negate(kx_f64v a) { return kx_f64v_sub(kx_f64v_set(-0.0), a); }
static KX_ALWAYS_INLINE kx_f64p kx_f64p_negate(kx_f64p a) { return kx_f64p_of(kx_f64v_negate(a.high), kx_f64v_negate(a.low)); }

static KX_ALWAYS_INLINE kx_f64p kx_f64p_select(kx_f64m m, kx_f64p a, kx_f64p b) {
    return kx_f64p_of(kx_f64v_select(m, a.high, b.high), kx_f64v_select(m, a.low, b.low));
}

/* a + b exactly; the first form for |a| >= |b| (otherwise the error is below an ulp of b times 2^-53, and a = 0 is fine). */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_sum_ordered(kx_f64v a, kx_f64v b) {
    kx_f64v high = kx_f64v_add(a, b);
    return kx_f64p_of(high, kx_f64v_sub(b, kx_f64v_sub(high, a)));
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_sum(kx_f64v a, kx_f64v b) {
    kx_f64v high = kx_f64v_add(a, b), b_part = kx_f64v_sub(high, a);
    return kx_f64p_of(high, kx_f64v_add(kx_f64v_sub(a, kx_f64v_sub(high, b_part)), kx_f64v_sub(b, b_part)));
}

/* a b exactly, underflow apart. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_product(kx_f64v a, kx_f64v b) {
    kx_f64v high = kx_f64v_mul(a, b);
    return kx_f64p_of(high, kx_f64v_fused(a, b, kx_f64v_negate(high)));
}

/* Sums and products of pairs, and a quotient with one division: below 2^-101 relative to the larger one of the summands,
   2^-101 and 2^-100. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_add(kx_f64p a, kx_f64p b) {
    kx_f64p s = kx_f64p_sum(a.high, b.high);
    return kx_f64p_sum_ordered(s.high, kx_f64v_add(s.low, kx_f64v_add(a.low, b.low)));
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_add_f64v(kx_f64p a, kx_f64v b) {
    kx_f64p s = kx_f64p_sum(a.high, b);
    return kx_f64p_sum_ordered(s.high, kx_f64v_add(s.low, a.low));
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_mul(kx_f64p a, kx_f64p b) {
    kx_f64p p = kx_f64p_product(a.high, b.high);
    return kx_f64p_sum_ordered(p.high, kx_f64v_fma(a.high, b.low, kx_f64v_fma(a.low, b.high, p.low)));
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_mul_f64v(kx_f64p a, kx_f64v b) {
    kx_f64p p = kx_f64p_product(a.high, b);
    return kx_f64p_sum_ordered(p.high, kx_f64v_fma(a.low, b, p.low));
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_div(kx_f64p a, kx_f64p b) {
    kx_f64v inverse = kx_f64v_div(kx_f64v_set(1), b.high), q = kx_f64v_mul(a.high, inverse);
    kx_f64v rest = kx_f64v_sub(kx_f64v_add(kx_f64v_residual(q, b.high, a.high), a.low), kx_f64v_mul(q, b.low));
    return kx_f64p_sum_ordered(q, kx_f64v_mul(rest, inverse));
}

/* The same as pairs, or with `narrow` as doubles, the low parts of which are 0. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_plus(kx_f64p a, kx_f64p b, int narrow) {
    return narrow ? kx_f64p_of(kx_f64v_add(a.high, b.high), kx_f64v_set(0)) : kx_f64p_add(a, b);
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_times(kx_f64p a, kx_f64p b, int narrow) {
    return narrow ? kx_f64p_of(kx_f64v_mul(a.high, b.high), kx_f64v_set(0)) : kx_f64p_mul(a, b);
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_over(kx_f64p a, kx_f64p b, int narrow) {
    return narrow ? kx_f64p_of(kx_f64v_div(a.high, b.high), kx_f64v_set(0)) : kx_f64p_div(a, b);
}
static KX_ALWAYS_INLINE kx_f64p kx_f64p_square(kx_f64v a, int narrow) {
    return narrow ? kx_f64p_of(kx_f64v_mul(a, a), kx_f64v_set(0)) : kx_f64p_product(a, a);
}

/* high + low, and (high + low) b for any b: rounded once, or nearly so without a hardware FMA. */
static KX_ALWAYS_INLINE kx_f64v kx_f64p_round(kx_f64p a, int narrow) { return narrow ? a.high : kx_f64v_add(a.high, a.low); }
static KX_ALWAYS_INLINE kx_f64v kx_f64p_round_times(kx_f64p a, kx_f64v b, int narrow) {
    return narrow ? kx_f64v_mul(a.high, b) : kx_f64v_fma(a.high, b, kx_f64v_mul(a.low, b));
}

/* c[0] + c[1] x + ... + c[n - 1] x^(n - 1), n > 1, as the sum of two Horner chains in x^2 or, from n = 9 on, four in x^4: these
   kernels wait for results more than for units (gelu, 1e6 float64 on Zen 5: 2.7 ms with two chains of 12, 2.5 with four of 6). */
static KX_ALWAYS_INLINE kx_f64v kx_f64v_polynomial(const double *c, int n, kx_f64v x) {
    const kx_f64v square = kx_f64v_mul(x, x), fourth = kx_f64v_mul(square, square);
    const int chains = n < 9 ? 2 : 4;
    kx_f64v part[4];
    for (int k = 0; k < chains; k++) {
        int i = (n - 1 - k) / chains * chains + k;
        part[k] = kx_f64v_set(c[i]);
        for (i -= chains; i >= 0; i -= chains) part[k] = kx_f64v_fma(part[k], chains == 4 ? fourth : square, kx_f64v_set(c[i]));
    }
    const kx_f64v low = kx_f64v_fma(part[1], x, part[0]);
    return chains == 2 ? low : kx_f64v_fma(kx_f64v_fma(part[3], x, part[2]), square, low);
}

/* e^x = 2^power (1 + r + tail), |r| < 0.347, tail = e^r - 1 - r. Where power = 0, r is x itself, and r + tail is e^x - 1 with
   its relative precision. |x| <= 1500. */
typedef struct kx_f64p_exp_parts_t {
    kx_f64p r, tail; /* the tail's two parts overlap */
    kx_f64v power;
} kx_f64p_exp_parts_t;

static KX_ALWAYS_INLINE kx_f64p_exp_parts_t kx_f64p_exp_parts(kx_f64p x, int narrow) {
    /* (e^r - 1 - r) / r^2 to 2^-32.6 of e^r, (e^r - 1 - r - r^2 / 2) / r^3 to 2^-61.6 of it */
    static const double c2[] = {0x1.0000000ba132cp-1, 0x1.5555555a800cdp-3,  0x1.5554e8a22b84cp-5,
                                0x1.1110e0c5c7f50p-7,  0x1.6d43af18200d3p-10, 0x1.a1256cd2f13c2p-13};
    static const double c3[] = {0x1.5555555555556p-3,  0x1.5555555555555p-5,  0x1.11111111109a6p-7,  0x1.6c16c16c167dap-10,
                                0x1.a01a01a7cebcdp-13, 0x1.a01a01a48116fp-16, 0x1.71de0d85293b8p-19, 0x1.27e4e1dcf773bp-22,
                                0x1.af390ba7e6f47p-26, 0x1.1f6717774d5e0p-29};
    kx_f64p_exp_parts_t e;
    e.power = kx_f64v_round(kx_f64v_mul(x.high, kx_f64v_set(0x1.71547652b82fep+0)));
    kx_f64v r_high = kx_f64v_fma(e.power, kx_f64v_set(-0x1.62e42fefa3000p-1), x.high); /* exact */
    kx_f64v r_low = kx_f64v_fma(e.power, kx_f64v_set(-0x1.3de6af278ece6p-42), x.low);
    if (narrow) {
        kx_f64v r = kx_f64v_add(r_high, r_low);
        e.r = kx_f64p_of(r, kx_f64v_set(0));
        e.tail = kx_f64p_of(kx_f64v_mul(kx_f64v_mul(r, r), kx_f64v_polynomial(c2, 6, r)), kx_f64v_set(0));
        return e;
    }
    e.r = kx_f64p_sum_ordered(r_high, r_low);
    kx_f64v r = e.r.high, half = kx_f64v_mul(r, kx_f64v_set(0.5)), cube = kx_f64v_mul(kx_f64v_mul(r, r), r);
    kx_f64p half_square = kx_f64p_product(r, half);
    kx_f64v low = kx_f64v_fma(r, e.r.low, half_square.low);
    e.tail = kx_f64p_of(half_square.high, kx_f64v_fma(cube, kx_f64v_polynomial(c3, 10, r), low));
    return e;
}

/* e^x = 2^power (the pair returned), which lies in [0.7, 1.42]; 2^-57 relative. |x| <= 1500. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_exp(kx_f64p x, int narrow, kx_f64v *power) {
    const kx_f64p_exp_parts_t e = kx_f64p_exp_parts(x, narrow);
    *power = e.power;
    if (narrow) return kx_f64p_of(kx_f64v_add(kx_f64v_set(1), kx_f64v_add(e.r.high, e.tail.high)), kx_f64v_set(0));
    kx_f64p s = kx_f64p_sum_ordered(kx_f64v_set(1), e.r.high), t = kx_f64p_sum_ordered(s.high, e.tail.high);
    return kx_f64p_sum_ordered(t.high, kx_f64v_add(kx_f64v_add(e.tail.low, e.r.low), kx_f64v_add(s.low, t.low)));
}

/* a 2^n, -900 <= n <= 900: neither part underflows. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_scale(kx_f64p a, kx_f64v n, int narrow) {
    if (narrow) return kx_f64p_of(kx_f64v_scale(a.high, n), kx_f64v_set(0));
    const kx_f64v factor = kx_f64v_scale(kx_f64v_set(1), n);
    return kx_f64p_of(kx_f64v_mul(a.high, factor), kx_f64v_mul(a.low, factor));
}
/* a 2^n to be added to a number near 1: below 2^-200 it is as good as 2^-200. */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_scale_addend(kx_f64p a, kx_f64v n, int narrow) {
    return kx_f64p_scale(a, kx_f64v_max(n, kx_f64v_set(-200)), narrow);
}

/* log(1 + u) / u for u in [0, 1] to 2^-55, which takes log1p of an e^x in the tail: multiply by its mantissa, then scale. With
   s = u / (2 + u) it is 2 / (2 + u) times atanh(s) / s = 1 + s^2 P(s^2). */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_log1p_ratio(kx_f64p u, int narrow) {
    static const double narrow_c[] = {0x1.55555553e7594p-2, 0x1.9999a0d3dcfedp-3, 0x1.248f579c7d0d0p-3,
                                      0x1.c7fb3587cdba6p-4, 0x1.65ad56d9e0064p-4, 0x1.a9bafb0c93ac9p-4}; /* 2^-36.6 */
    static const double c[] = {0x1.5555555555555p-2, 0x1.9999999999944p-3, 0x1.2492492499d46p-3, 0x1.c71c71bedea97p-4,
                               0x1.745d19937b1fcp-4, 0x1.3b13515f6f9efp-4, 0x1.111abdc8abe16p-4, 0x1.e0a2d581ab68fp-5,
                               0x1.bc37f0140c19ep-5, 0x1.32e0d25c9c761p-5, 0x1.401d3e65cdc48p-4}; /* 2^-62.7 */
    const kx_f64v two = kx_f64v_set(2);
    if (narrow) {
        kx_f64v q = kx_f64v_div(two, kx_f64v_add(u.high, two));
        kx_f64v s = kx_f64v_mul(kx_f64v_mul(q, u.high), kx_f64v_set(0.5)), z = kx_f64v_mul(s, s);
        return kx_f64p_of(kx_f64v_fma(q, kx_f64v_mul(z, kx_f64v_polynomial(narrow_c, 6, z)), q), kx_f64v_set(0));
    }
    kx_f64p d = kx_f64p_sum_ordered(two, u.high);
    d.low = kx_f64v_add(d.low, u.low);
    kx_f64v q = kx_f64v_div(two, d.high); /* 2 / d = q + rest q / 2, nearly */
    kx_f64v rest = kx_f64v_sub(kx_f64v_residual(q, d.high, two), kx_f64v_mul(q, d.low)), half = kx_f64v_mul(q, kx_f64v_set(0.5));
    kx_f64v s = kx_f64v_mul(half, u.high), z = kx_f64v_mul(s, s);
    kx_f64v more = kx_f64v_mul(z, kx_f64v_polynomial(c, 11, z));
    return kx_f64p_sum_ordered(q, kx_f64v_fma(q, more, kx_f64v_mul(rest, half)));
}

/* R(a) = exp(a^2 / 2) Phi(-a), 0 <= a <= 56 (narrow: 16), to 2^-53: R(0) = 1/2, a R(a) tends to 1 / sqrt(2 pi). (a + 5/4) R(a)
   lies between 0.39 and 0.63 and is flat at 0, where t is less exact than a; it is a polynomial in t = (a - 5) / (a + 5). */
static KX_ALWAYS_INLINE kx_f64p kx_f64p_normal_tail(kx_f64p a, int narrow) {
    static const double narrow_c[] = {0x1.ec4896dab6471p-2, -0x1.04f30804fb43dp-3, 0x1.ebe8e14ccebb4p-5,
                                      -0x1.4ed813635c4b8p-7, -0x1.d913afb44fe84p-7, 0x1.321d423d3c0c7p-6,
                                      -0x1.a7742a5db394ap-7, 0x1.845261360e0efp-8, -0x1.a933077a34536p-10,
                                      0x1.90e73d9cbf659p-15, 0x1.6fc523320cba1p-13, -0x1.e7edd18a777b3p-15,
                                      -0x1.863e90c2dab7bp-16}; /* 2^-34.0 */
    static const double c[] = {-0x1.04f3080b418b7p-3, 0x1.ebe8e26b67129p-5, -0x1.4ed7f8c39c083p-7, -0x1.d9140d6f7271bp-7,
                               0x1.321c3a9d6c259p-6, -0x1.a77265b42c141p-7, 0x1.84736adf087cdp-8, -0x1.a8fbdc4f2a7abp-10,
                               0x1.5af5c05f6f05ap-15, 0x1.5eb37309e7e6cp-13, -0x1.bfadc3408b573p-15, -0x1.1451bef63eafep-17,
                               0x1.255dad30918e4p-17, -0x1.00b992bafc725p-22, -0x1.4f054d8dda7d4p-20, 0x1.3b6fd8e02926dp-23,
                               0x1.94c2db742681dp-23, -0x1.e82adf67cd505p-26, -0x1.0cb54f84cce21p-25, 0x1.cdbfc6487b830p-29,
                               0x1.615467413f76bp-28, 0x1.bccaaf0d4aff2p-34, -0x1.3cc5e62834bfcp-31, -0x1.eaeacc791c177p-34};
    const kx_f64v middle = kx_f64v_set(5), k = kx_f64v_set(1.25);
    kx_f64v t = kx_f64v_div(kx_f64v_sub(a.high, middle), kx_f64v_add(a.high, middle));
    if (narrow) return kx_f64p_of(kx_f64v_div(kx_f64v_polynomial(narrow_c, 13, t), kx_f64v_add(a.high, k)), kx_f64v_set(0));
    kx_f64p numerator = kx_f64p_sum_ordered(
        kx_f64v_set(0x1.ec4896da77b19p-2), kx_f64v_fma(t, kx_f64v_polynomial(c, 24, t), kx_f64v_set(0x1.57d7p-56)));
    kx_f64p denominator = kx_f64p_sum(a.high, k);
    denominator.low = kx_f64v_add(denominator.low, a.low);
    return kx_f64p_div(numerator, denominator);
}

#endif
