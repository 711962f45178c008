/* What smooth functions are made of: the tails of a kernel k with distribution function K, in short vectors of float64.

   For a >= 0 and every kernel but Cauchy's, ramp_tail = T(a) = int_a^inf (1 - K): relu * k is max(x, 0) + T(|x|), so whatever is
   piecewise linear is itself plus a few T. step_tail = 1 - K(a), and odd_part = 2 K(a) - 1 with its own form near 0. They
   take a as a pair: a difference of operands loses nothing, and exp(-z^2 / 2) would multiply the
   rounding of z = a / s by z^2. Results are pairs with the power of two kept apart, good to about 2^-57 before the one rounding
   at the end, so that tails hold to the last subnormal. `narrow` as in runtime/pair_math.h: doubles for pairs, for float32.

   The arguments are ordinary: 0 <= a <= A_HIGH, S_LOW <= scale <= S_HIGH. `anywhere` takes all others, one by one.

   Polynomials interpolate at Chebyshev nodes (coefficients by mpmath with 60 digits) with errors below 2^-57 of the function. */
#ifndef KX_SMOOTHING_INTERNAL_H
#define KX_SMOOTHING_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "runtime/pair_math.h"

typedef enum smoothing_kernel { GAUSSIAN, LOGISTIC, STUDENT_T2, CAUCHY } smoothing_kernel;

#define S_LOW 0x1p-300
#define S_HIGH 0x1p300
#define A_HIGH 0x1p400

/* (high + low) 2^exponent */
typedef struct scaled {
    kx_f64v high, low, exponent;
} scaled;

static KX_ALWAYS_INLINE kx_f64p exactly(kx_f64v a) { return kx_f64p_of(a, kx_f64v_set(0)); }

#define POLYNOMIAL(c, x) kx_f64v_polynomial(c, (int)(sizeof(c) / sizeof *(c)), x)

/* The last steps of Horner's rule, for which there are low parts of the coefficients, in pairs. */
static KX_ALWAYS_INLINE kx_f64p pair_polynomial(const double *c, const double *c_low, int n, int pairs, kx_f64p x) {
    kx_f64p r = exactly(kx_f64v_polynomial(c + pairs, n - pairs, x.high));
    for (int i = pairs - 1; i >= 0; i--) {
        kx_f64p product = kx_f64p_product(r.high, x.high), sum = kx_f64p_sum(kx_f64v_set(c[i]), product.high);
        kx_f64v low = kx_f64v_fma(r.high, x.low, kx_f64v_fma(r.low, x.high, product.low));
        r = kx_f64p_of(sum.high, kx_f64v_add(kx_f64v_add(sum.low, kx_f64v_set(c_low[i])), low));
    }
    return r;
}
/* Rounded for the sum and, where the result is subnormal, once more; 2^-320 < high or exponent = 0. */
static KX_ALWAYS_INLINE kx_f64v rounded(scaled a) {
    return kx_f64v_scale(kx_f64v_add(a.high, a.low), kx_f64v_max(a.exponent, kx_f64v_set(-1600)));
}

/* exp(-y), 0 <= y <= 1500 */
static KX_ALWAYS_INLINE scaled exp_minus(kx_f64p y, int narrow) {
    scaled e;
    kx_f64p value = kx_f64p_exp(kx_f64p_negate(y), narrow, &e.exponent);
    e.high = value.high, e.low = value.low;
    return e;
}

/* ---- Gaussian ---- */

typedef struct normal_argument {
    kx_f64p z;
    scaled bell; /* exp(-z^2 / 2) */
} normal_argument;

/* z = a / s. Beyond 54 all tails are 0, whatever the scale. */
static KX_ALWAYS_INLINE normal_argument normal_prepare(kx_f64p a, kx_f64v s, int narrow) {
    normal_argument r;
    const kx_f64v limit = kx_f64v_set(54), half = kx_f64v_set(0.5);
    kx_f64p z = kx_f64p_over(a, exactly(s), narrow);
    r.z = kx_f64p_select(kx_f64v_less(z.high, limit), z, exactly(limit));
    kx_f64p square = kx_f64p_square(r.z.high, narrow);
    if (!narrow) square.low = kx_f64v_fma(kx_f64v_add(r.z.high, r.z.high), r.z.low, square.low);
    r.bell = exp_minus(kx_f64p_of(kx_f64v_mul(square.high, half), kx_f64v_mul(square.low, half)), narrow);
    return r;
}

/* (phi(z) - z Phi(-z)) exp(z^2 / 2) = u^2 P(t), u = 1 / (z + 5), t = (z - 5) u = 1 - 10 u. The difference cancels like 1 / z^2,
   so it has a polynomial of its own; P falls from 10 to 0.4, so t and the last steps are pairs. */
static KX_ALWAYS_INLINE kx_f64p normal_ramp(kx_f64p z, int narrow) {
    static const double ramp[] = {0x1.6f4057ea3afe3p+0, -0x1.2922db475c0eep+1, 0x1.3698163258b4cp+1, -0x1.ea09ef47f674cp+0,
        0x1.2bb2ab4b5472ap+0, -0x1.143703e754328p-1, 0x1.5507f7ee8757ap-3, -0x1.1fc500bbefce4p-6, -0x1.8bff9e3959d77p-7,
        0x1.8c047d545483bp-8, -0x1.bb8922500a4a4p-14, -0x1.a207c324e3209p-11, 0x1.5a4b09e26226dp-13, 0x1.8c6666a5e390bp-14,
        -0x1.3295f7dc51d7dp-15, -0x1.9e09dbe9a2bd8p-17, 0x1.c4d0bf22925e6p-18, 0x1.0c23ddb093767p-19, -0x1.3fcba9654013cp-20,
        -0x1.b3a821788f195p-22, 0x1.afee4fb6ae97dp-23, 0x1.92de0b0fb18fcp-24, -0x1.016256d796fedp-25, -0x1.730311e3b1cb1p-26,
        0x1.a527901ff164dp-29, 0x1.22762357c6eb3p-28, 0x1.50397d102d4b2p-36, -0x1.2cd7a2201a2e5p-31, -0x1.c87749d59cc85p-35,
        0x1.bb25754182854p-36};
    static const double ramp_low[] = {-0x1.7f3d4aa0a98bbp-57, -0x1.3b49d70c75794p-56, 0x1.587a7df9e9aa3p-53,
        -0x1.ee619e10e46fdp-55, 0x1.239f0f45c0240p-55};
    const kx_f64v one = kx_f64v_set(1), five = kx_f64v_set(5);
    if (narrow) {
        const kx_f64v rough = kx_f64v_div(one, kx_f64v_add(z.high, five)), place = kx_f64v_fma(kx_f64v_set(-10), rough, one);
        return exactly(kx_f64v_mul(kx_f64v_mul(rough, rough), POLYNOMIAL(ramp, place)));
    }
    kx_f64p u = kx_f64p_div(exactly(one), kx_f64p_add_f64v(z, five));
    kx_f64p t = kx_f64p_add_f64v(kx_f64p_mul_f64v(u, kx_f64v_set(-10)), one);
    return kx_f64p_mul(kx_f64p_mul(u, u), pair_polynomial(ramp, ramp_low, 30, 5, t));
}

static KX_ALWAYS_INLINE scaled with_bell(kx_f64p factor, scaled bell, int narrow) {
    kx_f64p e = {bell.high, bell.low}, product = kx_f64p_times(factor, e, narrow);
    scaled r = {product.high, product.low, bell.exponent};
    return r;
}

static KX_ALWAYS_INLINE scaled gaussian_step_tail(kx_f64p a, kx_f64v s, int narrow) {
    normal_argument v = normal_prepare(a, s, narrow);
    if (narrow) v.z.high = kx_f64v_min(v.z.high, kx_f64v_set(16)); /* where float32 has long underflowed */
    return with_bell(kx_f64p_normal_tail(v.z, narrow), v.bell, narrow);
}

static KX_ALWAYS_INLINE scaled gaussian_ramp_tail(kx_f64p a, kx_f64v s, int narrow) {
    normal_argument v = normal_prepare(a, s, narrow);
    return with_bell(kx_f64p_times(normal_ramp(v.z, narrow), exactly(s), narrow), v.bell, narrow);
}

/* erf(z / sqrt 2) for z <= 1 */
static KX_ALWAYS_INLINE kx_f64v gaussian_center(kx_f64p a, kx_f64v s) {
    static const double erf_rest[] = {-0x1.1058377e2cee0p-3, 0x1.46d04297691dap-6, -0x1.37403f6ba10fep-9, 0x1.e42b0d5216d7ep-13,
        -0x1.3ce8fac1533cbp-16, 0x1.658a2173d67c5p-20, -0x1.6222696d72115p-24, 0x1.3878977c46d62p-28, -0x1.f1016f9eb20fep-33,
        0x1.675579b5d5fd5p-37, -0x1.d4bf9acbcb8edp-42, 0x1.d8dd0d376da35p-47};
    kx_f64p z = kx_f64p_div(a, exactly(s));
    kx_f64v square = kx_f64v_mul(z.high, z.high);
    kx_f64p line = kx_f64p_mul(z, kx_f64p_set(0x1.9884533d43651p-1, -0x1.cbc0d30ebfd15p-55));
    kx_f64v rest = kx_f64v_mul(kx_f64v_mul(z.high, square), POLYNOMIAL(erf_rest, square));
    return kx_f64v_add(line.high, kx_f64v_add(line.low, rest));
}

/* ---- logistic; s is the rate t ---- */

static KX_ALWAYS_INLINE kx_f64p logistic_argument(kx_f64p a, kx_f64v s, int narrow) {
    kx_f64p p = kx_f64p_times(a, exactly(s), narrow);
    const kx_f64v limit = kx_f64v_set(1490);
    return kx_f64p_select(kx_f64v_less(p.high, limit), p, exactly(limit));
}

/* exp(-p) as a number to be added to one. */
static KX_ALWAYS_INLINE kx_f64p unscaled(scaled e, int narrow) {
    return kx_f64p_scale_addend(kx_f64p_of(e.high, e.low), e.exponent, narrow);
}

static KX_ALWAYS_INLINE scaled logistic_step_tail(kx_f64p a, kx_f64v s, int narrow) {
    scaled e = exp_minus(logistic_argument(a, s, narrow), narrow);
    const kx_f64p one = exactly(kx_f64v_set(1));
    return with_bell(kx_f64p_over(one, kx_f64p_plus(unscaled(e, narrow), one, narrow), narrow), e, narrow);
}

static KX_ALWAYS_INLINE scaled logistic_ramp_tail(kx_f64p a, kx_f64v s, int narrow) {
    scaled e = exp_minus(logistic_argument(a, s, narrow), narrow);
    return with_bell(kx_f64p_over(kx_f64p_log1p_ratio(unscaled(e, narrow), narrow), exactly(s), narrow), e, narrow);
}

/* tanh(p / 2) for p <= 1 */
static KX_ALWAYS_INLINE kx_f64v logistic_center(kx_f64p a, kx_f64v s) {
    static const double tanh_rest[] = {-0x1.5555555555555p-5, 0x1.11111111110e9p-8, -0x1.ba1ba1ba15586p-12, 0x1.664f487fb5272p-15,
        -0x1.226e349c2af09p-18, 0x1.d6d398443e7d0p-22, -0x1.7d9e3a44fe583p-25, 0x1.350a315fc940bp-28, -0x1.ef84db82c5f9fp-32,
        0x1.71535adb7349ep-35, -0x1.7f1a536c92e9bp-39};
    kx_f64p p = kx_f64p_mul(a, exactly(s));
    kx_f64v square = kx_f64v_mul(p.high, p.high), half = kx_f64v_set(0.5);
    kx_f64v rest = kx_f64v_mul(kx_f64v_mul(p.high, square), POLYNOMIAL(tanh_rest, square));
    return kx_f64v_fma(p.high, half, kx_f64v_fma(p.low, half, rest));
}

/* ---- Student's t of two degrees of freedom; s is b ---- */

static KX_ALWAYS_INLINE kx_f64p student_root(kx_f64p a, kx_f64v b, int narrow) {
    if (narrow) return exactly(kx_f64v_sqrt(kx_f64v_fma(a.high, a.high, b)));
    kx_f64p square = kx_f64p_product(a.high, a.high), root;
    root.high = kx_f64v_sqrt(kx_f64v_add(square.high, b));
    kx_f64v rest = kx_f64v_residual(root.high, root.high, kx_f64v_max(square.high, b));
    rest = kx_f64v_add(rest, kx_f64v_min(square.high, b));
    rest = kx_f64v_add(rest, kx_f64v_fma(kx_f64v_add(a.high, a.high), a.low, square.low));
    root.low = kx_f64v_div(kx_f64v_mul(rest, kx_f64v_set(0.5)), root.high);
    return root;
}

static KX_ALWAYS_INLINE scaled student_tail(kx_f64p a, kx_f64v b, int step, int narrow) {
    kx_f64p root = student_root(a, b, narrow), d = kx_f64p_plus(root, a, narrow);
    if (step) d = kx_f64p_times(root, d, narrow);
    kx_f64p q = kx_f64p_over(exactly(kx_f64v_mul(b, kx_f64v_set(0.5))), d, narrow);
    scaled r = {q.high, q.low, kx_f64v_set(0)};
    return r;
}

/* ---- Cauchy ---- */

/* atan2(y, x) for 0 <= y, 0 <= x, not both 0, as a pair: the smaller over the larger q, beyond tan(pi / 8) by way of
   pi / 4 + atan((q - 1) / (q + 1)). */
static KX_ALWAYS_INLINE kx_f64p angle(kx_f64p y, kx_f64p x) {
    static const double atan_rest[] = {-0x1.5555555555555p-2, 0x1.9999999999953p-3, -0x1.249249248d768p-3, 0x1.c71c71c2fe5d9p-4,
        -0x1.745d165cb83aap-4, 0x1.3b1392b641b06p-4, -0x1.110e858a72e28p-4, 0x1.e199da4156fd9p-5, -0x1.ac78ec6b8cb98p-5,
        0x1.74d64aa665b0ap-5, -0x1.1b2058fb5da30p-5, 0x1.0aa87c56e3eb5p-6};
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64m steep = kx_f64v_less(x.high, y.high);
    kx_f64p small = kx_f64p_select(steep, x, y), large = kx_f64p_select(steep, y, x);
    kx_f64m middle = kx_f64v_less(kx_f64v_mul(large.high, kx_f64v_set(0.41421)), small.high);
    kx_f64p difference = kx_f64p_add(small, kx_f64p_negate(large));
    kx_f64p q = kx_f64p_div(kx_f64p_select(middle, difference, small), kx_f64p_select(middle, kx_f64p_add(small, large), large));
    kx_f64v square = kx_f64v_mul(q.high, q.high);
    kx_f64v rest = kx_f64v_fma(kx_f64v_mul(q.high, square), POLYNOMIAL(atan_rest, square), q.low);
    const kx_f64p quarter = kx_f64p_set(0x1.921fb54442d18p-1, 0x1.1a62633145c07p-55);
    kx_f64p base = kx_f64p_select(middle, quarter, exactly(zero)), sum = kx_f64p_sum(base.high, q.high);
    kx_f64p acute = kx_f64p_sum_ordered(sum.high, kx_f64v_add(sum.low, kx_f64v_add(base.low, rest)));
    kx_f64p other = kx_f64p_add(kx_f64p_set(0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54), kx_f64p_negate(acute));
    return kx_f64p_select(steep, other, acute);
}

static KX_ALWAYS_INLINE kx_f64p over_pi(kx_f64p a) {
    return kx_f64p_mul(a, kx_f64p_set(0x1.45f306dc9c883p-2, -0x1.6b01ec5417056p-56));
}

/* ---- any of them; the kernel is known when the code is compiled ---- */

static KX_ALWAYS_INLINE scaled ramp_tail(smoothing_kernel kernel, kx_f64p a, kx_f64v s, int narrow) {
    if (kernel == GAUSSIAN) return gaussian_ramp_tail(a, s, narrow);
    if (kernel == LOGISTIC) return logistic_ramp_tail(a, s, narrow);
    return student_tail(a, s, 0, narrow);
}

static KX_ALWAYS_INLINE scaled step_tail(smoothing_kernel kernel, kx_f64p a, kx_f64v s, int narrow) {
    if (kernel == GAUSSIAN) return gaussian_step_tail(a, s, narrow);
    if (kernel == LOGISTIC) return logistic_step_tail(a, s, narrow);
    if (kernel == STUDENT_T2) return student_tail(a, s, 1, narrow);
    kx_f64p q = over_pi(angle(exactly(s), a));
    scaled r = {q.high, q.low, kx_f64v_set(0)};
    return r;
}

static KX_ALWAYS_INLINE kx_f64v odd_part(smoothing_kernel kernel, kx_f64p a, kx_f64v s, int narrow) {
    if (kernel == STUDENT_T2) {
        kx_f64p q = kx_f64p_over(a, student_root(a, s, narrow), narrow);
        return kx_f64v_add(q.high, q.low);
    }
    if (kernel == CAUCHY) {
        kx_f64p q = over_pi(angle(a, exactly(s)));
        q.high = kx_f64v_add(q.high, q.low);
        return kx_f64v_add(q.high, q.high);
    }
    const kx_f64v one = kx_f64v_set(1);
    kx_f64v size = kernel == GAUSSIAN ? kx_f64v_div(a.high, s) : kx_f64v_mul(a.high, s);
    kx_f64v tail = rounded(step_tail(kernel, a, s, narrow));
    kx_f64m near = kx_f64v_less(size, one);
    const kx_f64p zero = exactly(kx_f64v_set(0));
    const kx_f64p inside = kx_f64p_select(near, a, zero);
    kx_f64v center = kernel == GAUSSIAN ? gaussian_center(inside, s) : logistic_center(inside, s);
    return kx_f64v_select(near, center, kx_f64v_sub(one, kx_f64v_add(tail, tail)));
}

/* ---- anywhere ---- */

typedef enum smoothing_part { RAMP_TAIL, STEP_TAIL, ODD_PART } smoothing_part;

static inline double first_lane(kx_f64v a) {
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, a);
    return lanes[0];
}

/* For any a = high + low >= 0 and any scale > 0, both finite: T(c a; c s) = c T(a; s) with a power of two c brings the scale into
   [1, 4). Where a is then too large, tails are 0 or the first term of their expansion. */
static KX_NEVER_INLINE double anywhere(smoothing_kernel kernel, smoothing_part part, double high, double low, double scale) {
    int length, size;
    double s = 2 * frexp(scale, &length);
    length--;
    if (kernel == LOGISTIC) length = -length;
    if (kernel == STUDENT_T2) {
        if (length % 2 != 0) s *= 2, length--;
        length /= 2;
    }
    frexp(high, &size);
    if (high > 0 && size - length > 400) {
        if (part == ODD_PART) return 1;
        if (kernel == STUDENT_T2 && part == RAMP_TAIL) return high < 0x1p1000 ? scale / (4 * high) : 0.25 * scale / high;
        if (kernel == STUDENT_T2) return 0.25 * (scale / high / high);
        if (kernel == CAUCHY) return scale / high * 0x1.45f306dc9c883p-2;
        return 0;
    }
    const kx_f64p a = kx_f64p_set(ldexp(high, -length), ldexp(low, -length));
    if (part == ODD_PART) return first_lane(odd_part(kernel, a, kx_f64v_set(s), 0));
    scaled r = part == RAMP_TAIL ? ramp_tail(kernel, a, kx_f64v_set(s), 0) : step_tail(kernel, a, kx_f64v_set(s), 0);
    const double value = first_lane(kx_f64v_add(r.high, r.low));
    return ldexp(value, (int)first_lane(r.exponent) + (part == RAMP_TAIL ? length : 0));
}

#endif
