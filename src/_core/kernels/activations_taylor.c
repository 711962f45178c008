/* The Taylor polynomials of exp, f_n(x) = 1 + x + ... + x^n / n!, and their derivatives f_(n-1).

   The sum cancels for x < 0: at its minimum, x = -0.28 n, an even f_n is exp(-0.56 n) of the sum of the terms' sizes, which is
   2^-38 at n = 48; an odd f_n has a zero about there. Up to n = 48 a compensated Horner's scheme keeps 96 bits of that sum.

   Above, with a = |x|: for a > n the terms' sizes fall from the last to the first, and their sum is x^n / n! times an alternating
   sum that loses sqrt(n) at most. For a <= n, f_n is e^x less the exponential series' remainder, x^(n + 1) / (n + 1)! times
   1 + x / (n + 2) + x^2 / ((n + 2) (n + 3)) + ..., and for an even n and x < 0 that is a sum of positive numbers. The term
   a^m / m! is (e a / m)^m, by repeated squaring, with Stirling's series. */
#ifndef KX_REAL
#include "kexue/kx_activations.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/elementwise_internal.h"
#include "runtime/pair_math.h"

#include <float.h>

enum { EXP_TAYLOR, EXP_TAYLOR_GRAD };

enum { MOST_BY_HORNER = 48 };
static const double LARGEST_BY_HORNER = 0x1p20; /* its 48th power does not overflow */
static const double LARGEST_ORDER = 0x1p50;     /* up to here pairs are enough for the largest term */

/* 1 / k! as pairs (mpmath) */
static const double inverse_factorials[][2] = {
    {1, 0}, {1, 0},
    {0x1.0000000000000p-1, 0}, {0x1.5555555555555p-3, 0x1.5555555555555p-57},
    {0x1.5555555555555p-5, 0x1.5555555555555p-59}, {0x1.1111111111111p-7, 0x1.1111111111111p-63},
    {0x1.6c16c16c16c17p-10, -0x1.f49f49f49f49fp-65}, {0x1.a01a01a01a01ap-13, 0x1.a01a01a01a01ap-73},
    {0x1.a01a01a01a01ap-16, 0x1.a01a01a01a01ap-76}, {0x1.71de3a556c734p-19, -0x1.c154f8ddc6c00p-73},
    {0x1.27e4fb7789f5cp-22, 0x1.cbbc05b4fa99ap-76}, {0x1.ae64567f544e4p-26, -0x1.c062e06d1f209p-80},
    {0x1.1eed8eff8d898p-29, -0x1.2aec959e14c06p-83}, {0x1.6124613a86d09p-33, 0x1.f28e0cc748ebep-87},
    {0x1.93974a8c07c9dp-37, 0x1.05d6f8a2efd1fp-92}, {0x1.ae7f3e733b81fp-41, 0x1.1d8656b0ee8cbp-97},
    {0x1.ae7f3e733b81fp-45, 0x1.1d8656b0ee8cbp-101}, {0x1.952c77030ad4ap-49, 0x1.ac981465ddc6cp-103},
    {0x1.6827863b97d97p-53, 0x1.eec01221a8b0bp-107}, {0x1.2f49b46814157p-57, 0x1.2650f61dbdcb4p-112},
    {0x1.e542ba4020225p-62, 0x1.ea72b4afe3c2fp-120}, {0x1.71b8ef6dcf572p-66, -0x1.d043ae40c4647p-120},
    {0x1.0ce396db7f853p-70, -0x1.aebcdbd20331cp-124}, {0x1.761b41316381ap-75, -0x1.3423c7d91404fp-130},
    {0x1.f2cf01972f578p-80, -0x1.9ada5fcc1ab14p-135}, {0x1.3f3ccdd165fa9p-84, -0x1.58ddadf344487p-139},
    {0x1.88e85fc6a4e5ap-89, -0x1.71c37ebd16540p-143}, {0x1.d1ab1c2dccea3p-94, 0x1.054d0c78aea14p-149},
    {0x1.0a18a2635085dp-98, 0x1.b9e2e28e1aa54p-153}, {0x1.259f98b4358adp-103, 0x1.eaf8c39dd9bc5p-157},
    {0x1.3932c5047d60ep-108, 0x1.832b7b530a627p-162}, {0x1.434d2e783f5bcp-113, 0x1.0b87b91be9affp-167},
    {0x1.434d2e783f5bcp-118, 0x1.0b87b91be9affp-172}, {0x1.3981254dd0d52p-123, -0x1.2b1f4c8015a2fp-177},
    {0x1.2710231c0fd7ap-128, 0x1.3f8a2b4af9d6bp-184}, {0x1.0dc59c716d91fp-133, 0x1.419e3fad3f031p-188},
    {0x1.df983290c2ca9p-139, 0x1.5835c6895393bp-194}, {0x1.9ec8d1c94e85bp-144, -0x1.670e9d4784ec6p-201},
    {0x1.5d4acb9c0c3abp-149, -0x1.6ec2c8f5b13b2p-205}, {0x1.1e99449a4bacep-154, -0x1.fefbb89514b3cp-210},
    {0x1.ca8ed42a12ae3p-160, 0x1.a07244abad2abp-224}, {0x1.65e61c39d0241p-165, -0x1.c0ed181727269p-220},
    {0x1.10af527530de8p-170, 0x1.b626c912ee5c8p-225}, {0x1.95db45257e512p-176, 0x1.6e5d72b6f79b9p-231},
    {0x1.272b1b03fec6ap-181, 0x1.3f67cc9f9fdb8p-235}, {0x1.a3cb872220648p-187, -0x1.c7f4e85b8e6cdp-241},
    {0x1.240804f659510p-192, 0x1.8b291b93c9718p-246}, {0x1.8da8e0a127ebap-198, -0x1.21d2eac9d275cp-252},
    {0x1.091b406b6ff26p-203, 0x1.e973637973b18p-257}
};

/* Compensated: what each step's product and sum lose is added up by a Horner's scheme of its own, which the steps do not wait
   for (degree 12: 2.4 times as fast as pairs). */
static KX_ALWAYS_INLINE kx_f64v horner(kx_f64v x, kx_f64v n, int most) {
    kx_f64v s = kx_f64v_set(0), lost = s;
    for (int k = most; k >= 0; k--) {
        const kx_f64v c = kx_f64v_set(inverse_factorials[k][0]), c_low = kx_f64v_set(inverse_factorials[k][1]);
        const kx_f64m takes_part = kx_f64v_less(kx_f64v_set(k - 0.5), n);
        const kx_f64p p = kx_f64p_product(s, x), t = kx_f64p_sum(p.high, c);
        s = kx_f64v_select(takes_part, t.high, s);
        lost = kx_f64v_select(takes_part, kx_f64v_fma(lost, x, kx_f64v_add(kx_f64v_add(p.low, t.low), c_low)), lost);
    }
    return kx_f64v_add(s, lost);
}

/* For float32 doubles will do, unless 18 bits or more are lost: then the error of n roundings would show. */
static KX_ALWAYS_INLINE kx_f64v fast(int function, int narrow, const kx_f64v *operands) {
    const kx_f64v x = operands[0], n = function == EXP_TAYLOR ? operands[1] : kx_f64v_sub(operands[1], kx_f64v_set(1));
    const int most = (int)-kx_f64v_reduce_min(kx_f64v_negate(n));
    if (!narrow) return horner(x, n, most);
    const kx_f64v a = kx_f64v_abs(x);
    kx_f64v s = kx_f64v_set(0), sizes = s;
    for (int k = most; k >= 0; k--) {
        const kx_f64v c = kx_f64v_set(inverse_factorials[k][0]);
        const kx_f64m takes_part = kx_f64v_less(kx_f64v_set(k - 0.5), n);
        s = kx_f64v_select(takes_part, kx_f64v_fma(s, x, c), s);
        sizes = kx_f64v_select(takes_part, kx_f64v_fma(sizes, a, c), sizes);
    }
    const kx_f64m is_doubtful = kx_f64v_less(kx_f64v_abs(s), kx_f64v_mul(sizes, kx_f64v_set(0x1p-18)));
    if (!kx_f64m_bits(is_doubtful)) return s;
    return kx_f64v_select(is_doubtful, horner(x, n, most), s);
}

static KX_ALWAYS_INLINE int are_ordinary(int function, int narrow, const kx_f64v *x) {
    (void)function, (void)narrow;
    if (!kx_f64v_all_between(x[1], 0, MOST_BY_HORNER)) return 0;
    const kx_f64v fraction = kx_f64v_abs(kx_f64v_sub(x[1], kx_f64v_round(x[1])));
    return !kx_f64m_bits(kx_f64v_less(kx_f64v_set(0), fraction)) && kx_f64v_all_between(kx_f64v_abs(x[0]), 0, LARGEST_BY_HORNER);
}

/* ---- one item, large n or x: a pair, the same in all lanes, times 2^exponent; the exponent is kept between +-4 LARGE ---- */

typedef struct large_number {
    kx_f64p mantissa;
    int64_t exponent;
} large_number;

static const int64_t LARGE = 10000;

static double first_lane(kx_f64v a) {
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, a);
    return lanes[0];
}

static large_number normalised(kx_f64p mantissa, int64_t exponent) {
    int shift;
    frexp(first_lane(mantissa.high), &shift);
    const large_number a = {kx_f64p_scale(mantissa, kx_f64v_set(-shift), 0), exponent + shift};
    return a;
}

static double rounded(large_number a) {
    return ldexp(first_lane(kx_f64p_round(a.mantissa, 0)), (int)a.exponent);
}

/* a^m / m! for a > 0 and a whole m > 0 */
static large_number term(double a, double m) {
    const double size = m * log2(m > MOST_BY_HORNER ? a / m * 2.718281828459045 : a);
    if (!(fabs(size) < (double)LARGE)) {
        const large_number bound = {kx_f64p_set(1, 0), size < 0 ? -LARGE : LARGE};
        return bound;
    }
    kx_f64p base = kx_f64p_set(a, 0);
    if (m > MOST_BY_HORNER) {
        const kx_f64p e = kx_f64p_set(0x1.5bf0a8b145769p+1, 0x1.4d57ee2b1013ap-53);
        base = kx_f64p_div(kx_f64p_mul_f64v(e, kx_f64v_set(a)), kx_f64p_set(m, 0));
    }
    large_number power = {kx_f64p_set(1, 0), 0}, square = normalised(base, 0);
    for (int64_t left = (int64_t)m;; left /= 2) {
        if (left % 2) power = normalised(kx_f64p_mul(power.mantissa, square.mantissa), power.exponent + square.exponent);
        if (left < 2) break;
        square = normalised(kx_f64p_mul(square.mantissa, square.mantissa), 2 * square.exponent);
    }
    if (m <= MOST_BY_HORNER) {
        const double *c = inverse_factorials[(int)m];
        return normalised(kx_f64p_mul(power.mantissa, kx_f64p_set(c[0], c[1])), power.exponent);
    }
    /* Stirling: m! = sqrt(2 pi m) (m / e)^m e^(1 / (12 m) - 1 / (360 m^3) + ...), the next term is below 2^-68 */
    const double r = 1 / m, r2 = r * r;
    const double series = r * (1. / 12 - r2 * (1. / 360 - r2 * (1. / 1260 - r2 * (1. / 1680 - r2 * (1. / 1188)))));
    const kx_f64p square_of_root = kx_f64p_mul_f64v(kx_f64p_set(0x1.921fb54442d18p+2, 0x1.1a62633145c07p-52), kx_f64v_set(m));
    const kx_f64v root = kx_f64v_sqrt(square_of_root.high);
    const kx_f64v rest = kx_f64v_add(kx_f64v_residual(root, root, square_of_root.high), square_of_root.low);
    const kx_f64p divisor = kx_f64p_of(root, kx_f64v_div(rest, kx_f64v_add(root, root)));
    kx_f64v shift;
    const kx_f64p factor = kx_f64p_exp(kx_f64p_set(-series, 0), 0, &shift); /* the shift is 0 */
    return normalised(kx_f64p_div(kx_f64p_mul(power.mantissa, factor), divisor), power.exponent);
}

/* 1 + r_1 + r_1 r_2 + ... with r_j = x / (n + 1 + j), or (is_downward) r_j = (n + 1 - j) / x, until what follows is lost */
static kx_f64p series(double x, double n, int is_downward) {
    kx_f64p t = kx_f64p_set(1, 0), total = t;
    if (is_downward && fabs(x) > n * 0x1p120) return total;
    for (double j = 1; fabs(first_lane(t.high)) > 0x1p-110 && !(is_downward && j > n); j++) {
        if (is_downward) t = kx_f64p_div(kx_f64p_mul_f64v(t, kx_f64v_set(n + 1 - j)), kx_f64p_set(x, 0));
        else t = kx_f64p_div(kx_f64p_mul_f64v(t, kx_f64v_set(x)), kx_f64p_set(n + 1 + j, 0));
        total = kx_f64p_add(total, t);
    }
    return total;
}

/* f_n(x) for finite x and whole n > 0; the bounds on size keep the series short. */
static double general(double x, double n) {
    const double a = fabs(x);
    const int is_odd = fmod(n, 2) != 0;
    if (a > n) {
        large_number value = term(a, n);
        if (value.exponent > 1100) return ldexp(x < 0 && is_odd ? -1 : 1, 2000);
        value = normalised(kx_f64p_mul(value.mantissa, series(x, n, 1)), value.exponent);
        return x < 0 && is_odd ? -rounded(value) : rounded(value);
    }
    if (x > 1000) return ldexp(1, 2000);
    const kx_f64p zero = kx_f64p_set(0, 0);
    large_number value = {zero, -LARGE}, rest = a < 0x1p-500 ? value : term(a, n + 1); /* a / n may underflow to 0 */
    const int adds = x < 0 && !is_odd;
    if (rest.exponent > 1100) return ldexp(x < 0 && is_odd ? -1 : 1, 2000);
    if (x > -1400) {
        kx_f64v power;
        value.mantissa = kx_f64p_exp(kx_f64p_set(x, 0), 0, &power);
        value.exponent = (int64_t)first_lane(power);
    }
    if (rest.exponent < value.exponent - 200) return rounded(value);
    rest.mantissa = kx_f64p_mul(rest.mantissa, series(x, n, 0));
    const int64_t top = rest.exponent > value.exponent ? rest.exponent : value.exponent;
    const double shifts[] = {(double)(value.exponent - top), (double)(rest.exponent - top)};
    value.mantissa = shifts[0] < -200 ? zero : kx_f64p_scale(value.mantissa, kx_f64v_set(shifts[0]), 0);
    rest.mantissa = kx_f64p_scale(rest.mantissa, kx_f64v_set(shifts[1]), 0);
    value.mantissa = kx_f64p_add(value.mantissa, adds ? rest.mantissa : kx_f64p_negate(rest.mantissa));
    value.exponent = top;
    return rounded(value);
}

static int settle(int function, int narrow, const double *operands, double *value) {
    (void)narrow;
    const double x = operands[0];
    double n = operands[1];
    if (isnan(x) || isnan(n)) return *value = x + n, 1;
    if (n < 0 || n > LARGEST_ORDER || n != floor(n)) return *value = kx_elementwise_invalid(n), 1;
    if (fabs(x) <= LARGEST_BY_HORNER && n <= MOST_BY_HORNER) return 0;
    if (function == EXP_TAYLOR_GRAD) n -= 1;
    if (n <= 0) *value = n == 0;
    else if (isinf(x)) *value = fmod(n, 2) == 0 ? fabs(x) : x;
    else *value = general(x, n);
    return 1;
}
#endif

#define KX_TEMPLATE "kernels/activations_taylor.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
static KX_ALWAYS_INLINE kx_status_t KX_TYPED(evaluate)(int function, const KX_REAL *x, const KX_REAL *n, int64_t count,
                                                       ptrdiff_t x_stride, ptrdiff_t n_stride, KX_REAL *out,
                                                       ptrdiff_t out_stride) {
    const void *const operands[] = {x, n};
    const ptrdiff_t strides[] = {x_stride, n_stride};
    KX_TYPED(kx_elementwise)(function, 2, fast, are_ordinary, settle, operands, strides, count, out, out_stride);
    return KX_OK;
}
#endif

KX_DISPATCH(KX_TYPED(kx_activations_exp_taylor),
            (const KX_REAL *x, const KX_REAL *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, n, count, x_stride, n_stride, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_activations_exp_taylor_grad),
            (const KX_REAL *x, const KX_REAL *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride, KX_REAL *out,
             ptrdiff_t out_stride),
            (x, n, count, x_stride, n_stride, out, out_stride))

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_exp_taylor))(const KX_REAL *x, const KX_REAL *n, int64_t count,
                                                           ptrdiff_t x_stride, ptrdiff_t n_stride, KX_REAL *out,
                                                           ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(EXP_TAYLOR, x, n, count, x_stride, n_stride, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_activations_exp_taylor_grad))(const KX_REAL *x, const KX_REAL *n, int64_t count,
                                                                ptrdiff_t x_stride, ptrdiff_t n_stride, KX_REAL *out,
                                                                ptrdiff_t out_stride) {
    return KX_TYPED(evaluate)(EXP_TAYLOR_GRAD, x, n, count, x_stride, n_stride, out, out_stride);
}
#endif
#endif
