/* floor, ceil and round convolved with a kernel: a sum of steps around x where the kernel is narrow, a Fourier series where it is
   wide, a closed form for Cauchy's.

   With n0 the nearest integer and d = x - n0 in [-1/2, 1/2] (exact), e = |d| and Q = 1 - K the sum of all steps is n0 - (d < 0) -
   sign(d) (Q(e) - sum_{j >= 1} (Q(j - e) - Q(j + e))): odd in d, and nothing is lost where x is slightly below an integer.

   The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_smoothing.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/elementwise_internal.h"
#include "kernels/smoothing_internal.h"
#include "runtime/vector_math.h"

/* A function's number is its operation times 4 plus the kernel. */
typedef enum operation { FLOOR, CEIL, ROUND } operation;
enum { AUTOMATIC, STEPS, FOURIER }; /* forms */
enum { KERNELS = 4, MOST_TERMS = 1000 };

#define X_HIGH 0x1p50
#define PI 0x1.921fb54442d18p+1

typedef struct terms {
    kx_f64v steps, series; /* how many of each; -1 of what is not needed */
} terms;

static KX_ALWAYS_INLINE kx_f64v whole_above(kx_f64v a) { return kx_f64v_round(kx_f64v_add(a, kx_f64v_set(0.5))); }

/* The steps that are above 1e-19 (Gaussian) and 3e-17 (logistic), for Student's t those before student_rest. */
static KX_ALWAYS_INLINE kx_f64v count_steps(smoothing_kernel kernel, kx_f64v s) {
    const kx_f64v half = kx_f64v_set(0.5);
    if (kernel == GAUSSIAN) return whole_above(kx_f64v_fma(s, kx_f64v_set(9), half));
    if (kernel == LOGISTIC) return whole_above(kx_f64v_add(kx_f64v_div(kx_f64v_set(38), s), half));
    if (kernel == STUDENT_T2) return whole_above(kx_f64v_fma(kx_f64v_sqrt(s), kx_f64v_set(3), kx_f64v_set(8)));
    return kx_f64v_set(MOST_TERMS + 1);
}

/* The terms above 1e-17. */
static KX_ALWAYS_INLINE kx_f64v count_series(smoothing_kernel kernel, kx_f64v s) {
    if (kernel == GAUSSIAN) return whole_above(kx_f64v_div(kx_f64v_set(1.4), s));
    if (kernel == LOGISTIC) return whole_above(kx_f64v_mul(kx_f64v_set(2.15), s));
    if (kernel == STUDENT_T2) return whole_above(kx_f64v_div(kx_f64v_set(6.6), kx_f64v_sqrt(s)));
    return whole_above(kx_f64v_div(kx_f64v_set(6.2), s));
}

/* The automatic form is a series where that has about as few operations; beyond b = 42 even the first term of Student's is below
   1e-17, and Cauchy's is summed in closed form: no terms. */
static KX_ALWAYS_INLINE terms count_terms(smoothing_kernel kernel, kx_f64v s, kx_f64v how) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), none = kx_f64v_set(-1);
    const kx_f64m automatic = kx_f64v_less(how, kx_f64v_set(0.5));
    const kx_f64v bound = kx_f64v_set(kernel == GAUSSIAN ? 0.25 : kernel == LOGISTIC ? 6 : kernel == STUDENT_T2 ? 42 : 0);
    const kx_f64m wide = kernel == LOGISTIC ? kx_f64v_less(s, bound) : kx_f64v_less(bound, s);
    const kx_f64v asked = kx_f64v_select(kx_f64v_less(kx_f64v_set(1.5), how), one, zero);
    const kx_f64m series = kx_f64v_less(zero, kx_f64v_select(automatic, kx_f64v_select(wide, one, zero), asked));
    kx_f64v count = count_series(kernel, s);
    if (kernel == STUDENT_T2 || kernel == CAUCHY) count = kx_f64v_select(automatic, zero, count);
    terms r = {kx_f64v_select(series, none, count_steps(kernel, s)), kx_f64v_select(series, count, none)};
    return r;
}

typedef struct place {
    kx_f64v n0;
    kx_f64p d;
} place;

static KX_ALWAYS_INLINE place locate(operation what, kx_f64v x) {
    place r;
    if (what == CEIL) x = kx_f64v_negate(x);
    r.n0 = kx_f64v_round(x);
    const kx_f64v rest = kx_f64v_sub(x, r.n0), zero = kx_f64v_set(0);
    r.d = exactly(rest);
    if (what == ROUND) {
        const kx_f64m above = kx_f64v_less(zero, rest);
        r.n0 = kx_f64v_add(r.n0, kx_f64v_select(above, kx_f64v_set(1), zero));
        r.d = kx_f64p_sum(kx_f64v_select(above, kx_f64v_set(-0.5), kx_f64v_set(0.5)), rest);
    }
    return r;
}

static KX_ALWAYS_INLINE kx_f64v with_sign(kx_f64m negative, kx_f64v a) {
    return kx_f64v_select(negative, kx_f64v_negate(a), a);
}

static KX_ALWAYS_INLINE double most(kx_f64v count) { return -kx_f64v_reduce_min(kx_f64v_negate(count)); }

/* sum_{j > n} (Q(j - e) - Q(j + e)) for Student's t, whose tails decay like 1 / j^2: Euler and Maclaurin's formula at n + 1/2
   with Taylor coefficients of (y^2 + b)^(-3/2), which a recurrence gives; eight terms are below 1e-16 for n >= 8 + 3 sqrt b. */
static KX_ALWAYS_INLINE kx_f64v student_rest(kx_f64v n, kx_f64p e, kx_f64v b) {
    /* B_2i(1/2) / (2 i (2 i - 1)) */
    static const double weights[] = {-0x1.5555555555555p-5, 0x1.3e93e93e93e94p-9, -0x1.9319319319319p-11,
        0x1.35a35a35a35a3p-11, -0x1.b87539c0372a4p-11, 0x1.f66c3837e0955p-10, -0x1.a40d20d20d20dp-8, 0x1.e424a4601bd79p-6};
    kx_f64v sum[2], integral[2];
    for (int side = 0; side < 2; side++) {
        kx_f64p y = kx_f64p_add_f64v(side ? e : kx_f64p_negate(e), kx_f64v_add(n, kx_f64v_set(0.5)));
        scaled tail = ramp_tail(STUDENT_T2, y, b, 0);
        integral[side] = kx_f64v_add(tail.high, tail.low);
        const kx_f64v inverse = kx_f64v_div(kx_f64v_set(1), kx_f64v_fma(y.high, y.high, b));
        kx_f64v before = kx_f64v_set(0), now = kx_f64v_mul(inverse, kx_f64v_sqrt(inverse)), total = kx_f64v_set(0);
        for (int k = 0; k < 15; k++) {
            if (k % 2 == 0) total = kx_f64v_fma(kx_f64v_set(weights[k / 2]), now, total);
            kx_f64v next = kx_f64v_fma(kx_f64v_mul(kx_f64v_set(2 * k + 3), y.high), now, kx_f64v_mul(kx_f64v_set(k + 2), before));
            before = now;
            now = kx_f64v_mul(kx_f64v_mul(next, inverse), kx_f64v_set(-1.0 / (k + 1)));
        }
        sum[side] = total;
    }
    const kx_f64v half_b = kx_f64v_mul(b, kx_f64v_set(0.5));
    return kx_f64v_fma(half_b, kx_f64v_sub(sum[0], sum[1]), kx_f64v_sub(integral[0], integral[1]));
}

static KX_ALWAYS_INLINE kx_f64v by_steps(smoothing_kernel kernel, place at, kx_f64v s, kx_f64v counts) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1);
    const kx_f64m negative = kx_f64v_less(at.d.high, zero);
    const kx_f64p e = kx_f64p_select(negative, kx_f64p_negate(at.d), at.d);
    const double last = most(counts);
    kx_f64v rest = zero;
    for (double j = last; j >= 1; j--) {
        const kx_f64v here = kx_f64v_set(j);
        const kx_f64v below = rounded(step_tail(kernel, kx_f64p_add_f64v(kx_f64p_negate(e), here), s, 0));
        const kx_f64v above = rounded(step_tail(kernel, kx_f64p_add_f64v(e, here), s, 0));
        const kx_f64m within = kx_f64v_less(here, kx_f64v_add(counts, one));
        rest = kx_f64v_add(rest, kx_f64v_select(within, kx_f64v_sub(below, above), zero));
    }
    if (kernel == STUDENT_T2) rest = kx_f64v_add(rest, student_rest(counts, e, s));
    const kx_f64v step = kx_f64v_sub(rounded(step_tail(kernel, e, s, 0)), rest);
    const kx_f64v base = kx_f64v_sub(at.n0, kx_f64v_select(negative, one, zero));
    return kx_f64v_sub(base, with_sign(negative, step));
}

/* sin(2 pi f), |f| <= 1/2 */
static KX_ALWAYS_INLINE kx_f64v sine(kx_f64v f) {
    static const double sin_rest[] = {-0x1.4abbce625be53p+5, 0x1.466bc6775aad6p+6, -0x1.32d2cce62adb9p+6,
        0x1.50783486f190cp+5, -0x1.e3074ee5f4a61p+3, 0x1.e8f3b0121aafdp+1, -0x1.6f866b70b27bdp-1, 0x1.9ec5cdbeecd34p-4};
    const kx_f64v quarter = kx_f64v_set(0.25), half = kx_f64v_set(0.5);
    const kx_f64v size = kx_f64v_abs(f), folded = kx_f64v_select(kx_f64v_less(quarter, size), kx_f64v_sub(half, size), size);
    const kx_f64v square = kx_f64v_mul(folded, folded);
    const kx_f64v rest = kx_f64v_mul(kx_f64v_mul(folded, square), POLYNOMIAL(sin_rest, square));
    const kx_f64v low = kx_f64v_fma(folded, kx_f64v_set(0x1.1a62633145c07p-52), rest);
    return with_sign(kx_f64v_less(f, kx_f64v_set(0)), kx_f64v_fma(folded, kx_f64v_set(0x1.921fb54442d18p+2), low));
}

/* khat(2 pi m), the characteristic function */
static KX_ALWAYS_INLINE kx_f64v coefficient(smoothing_kernel kernel, double m, kx_f64v s) {
    const kx_f64v one = kx_f64v_set(1), order = kx_f64v_set(m);
    if (kernel == GAUSSIAN) {
        const kx_f64v product = kx_f64v_mul(order, s);
        return kx_f64v_exp(kx_f64v_mul(kx_f64v_mul(product, product), kx_f64v_set(-0x1.3bd3cc9be45dep+4)));
    }
    if (kernel == CAUCHY) return kx_f64v_exp(kx_f64v_mul(kx_f64v_mul(order, s), kx_f64v_set(-2 * PI)));
    if (kernel == LOGISTIC) { /* w / sinh w */
        static const double sinh_rest[] = {-0x1.5555555555555p-3, 0x1.3e93e93e93e08p-6, -0x1.0cbb7661f9d0dp-9,
            0x1.b85fca12db6d1p-13, -0x1.65f58795d8061p-16, 0x1.2255f80cc1508p-19, -0x1.d4fbeba0760f0p-23, 0x1.592fb9f649719p-26};
        const kx_f64v w = kx_f64v_min(kx_f64v_div(kx_f64v_set(0x1.3bd3cc9be45dep+4 * m), s), kx_f64v_set(700));
        const kx_f64v square = kx_f64v_mul(w, w), least = kx_f64v_max(w, kx_f64v_set(0.25)); /* no 0 / 0 in unused lanes */
        const kx_f64v near = kx_f64v_fma(square, POLYNOMIAL(sinh_rest, square), one), power = kx_f64v_exp(kx_f64v_negate(least));
        const kx_f64v far = kx_f64v_div(kx_f64v_mul(kx_f64v_add(least, least), power), kx_f64v_residual(power, power, one));
        return kx_f64v_select(kx_f64v_less(w, kx_f64v_set(0.5)), near, far);
    }
    /* z K1(z), K1(z) = int_0^inf exp(-z cosh u) cosh u du by the trapezoidal rule, which for steps of 1/4 errs by exp(-4 pi^2) */
    const kx_f64v z = kx_f64v_mul(kx_f64v_sqrt(s), kx_f64v_set(2 * PI * m));
    kx_f64v sum = kx_f64v_mul(kx_f64v_exp(kx_f64v_negate(z)), kx_f64v_set(0.5));
    for (int k = 1; k <= 34; k++) {
        const double cosine = cosh(0.25 * k);
        sum = kx_f64v_fma(kx_f64v_exp(kx_f64v_mul(z, kx_f64v_set(-cosine))), kx_f64v_set(cosine), sum);
    }
    return kx_f64v_mul(kx_f64v_mul(z, sum), kx_f64v_set(0.25));
}

static KX_ALWAYS_INLINE kx_f64v by_series(smoothing_kernel kernel, place at, kx_f64v s, kx_f64v counts) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1);
    kx_f64v sum = zero;
    for (double m = most(counts); m >= 1; m--) {
        const kx_f64v order = kx_f64v_set(m);
        const kx_f64p turns = kx_f64p_mul_f64v(at.d, order);
        const kx_f64v f = kx_f64v_add(kx_f64v_sub(turns.high, kx_f64v_round(turns.high)), turns.low);
        const kx_f64v term = kx_f64v_mul(kx_f64v_mul(coefficient(kernel, m, s), sine(f)), kx_f64v_set(1 / (PI * m)));
        sum = kx_f64v_add(sum, kx_f64v_select(kx_f64v_less(order, kx_f64v_add(counts, one)), term, zero));
    }
    const kx_f64v middle = kx_f64v_sub(at.d.high, kx_f64v_set(0.5));
    return kx_f64v_add(at.n0, kx_f64v_add(middle, kx_f64v_add(sum, at.d.low)));
}

/* The series summed: atan2(r sin 2 pi d, 1 - r cos 2 pi d) / pi, r = exp(-2 pi a). */
static KX_ALWAYS_INLINE kx_f64v cauchy_closed(place at, kx_f64v a) {
    static const double expm1_rest[] = {-0x1.0000000000000p-1, 0x1.5555555555555p-3, -0x1.5555555555553p-5,
        0x1.1111111110fcdp-7, -0x1.6c16c16c0a886p-10, 0x1.a01a019bbebbep-13, -0x1.a01a00a3e0dfdp-16, 0x1.71de14bbad595p-19,
        -0x1.27e13c1a70d4dp-22, 0x1.ade58a71ca90dp-26, -0x1.1992bb35aa2abp-29, 0x1.1d5aa28da23cbp-33};
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1), half = kx_f64v_set(0.5);
    const kx_f64m negative = kx_f64v_less(at.d.high, zero);
    const kx_f64v e = kx_f64v_abs(at.d.high), y = kx_f64v_min(kx_f64v_mul(a, kx_f64v_set(2 * PI)), kx_f64v_set(700));
    const kx_f64v r = kx_f64v_exp(kx_f64v_negate(y)), half_sine = sine(kx_f64v_mul(e, half));
    const kx_f64v near = kx_f64v_mul(y, kx_f64v_fma(y, POLYNOMIAL(expm1_rest, y), one));
    const kx_f64v loss = kx_f64v_select(kx_f64v_less(y, half), near, kx_f64v_sub(one, r));
    const kx_f64v chord = kx_f64v_mul(kx_f64v_add(r, r), kx_f64v_mul(half_sine, half_sine));
    const kx_f64v turn = over_pi(angle(exactly(kx_f64v_mul(r, sine(e))), exactly(kx_f64v_add(loss, chord)))).high;
    return kx_f64v_add(at.n0, kx_f64v_add(kx_f64v_sub(at.d.high, half), with_sign(negative, turn)));
}

static KX_ALWAYS_INLINE kx_f64v fast(int function, int narrow, const kx_f64v *x) {
    (void)narrow; /* its zeros need the digits */
    const operation what = (operation)(function / KERNELS);
    const smoothing_kernel kernel = (smoothing_kernel)(function % KERNELS);
    const place at = locate(what, x[0]);
    const terms count = count_terms(kernel, x[1], x[2]);
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64v value = zero;
    if (most(count.series) >= 0) {
        value = by_series(kernel, at, x[1], count.series);
        const kx_f64m closed = kx_f64v_less(count.series, kx_f64v_set(0.5));
        if (kernel == CAUCHY && kx_f64m_bits(closed)) value = kx_f64v_select(closed, cauchy_closed(at, x[1]), value);
    }
    if (most(count.steps) >= 0) {
        const kx_f64v sum = by_steps(kernel, at, x[1], count.steps);
        value = kx_f64v_select(kx_f64v_less(count.series, zero), sum, value);
    }
    return what == CEIL ? kx_f64v_negate(value) : value;
}

static KX_ALWAYS_INLINE int are_ordinary(int function, int narrow, const kx_f64v *x) {
    (void)narrow;
    if (!kx_f64v_all_between(kx_f64v_abs(x[0]), 0, X_HIGH) || !kx_f64v_all_between(x[1], S_LOW, S_HIGH) ||
        !kx_f64v_all_between(kx_f64v_add(x[2], kx_f64v_set(0)), 0, FOURIER)) /* -0 + 0 is 0 */
        return 0;
    const terms count = count_terms((smoothing_kernel)(function % KERNELS), x[1], x[2]);
    const kx_f64v part = kx_f64v_abs(kx_f64v_sub(x[2], kx_f64v_round(x[2])));
    return most(part) == 0 && most(count.steps) <= MOST_TERMS && most(count.series) <= MOST_TERMS;
}

/* A scale beyond the ordinary range: x - 1/2, or the one step that is near. */
static double extreme(operation what, smoothing_kernel kernel, double x, double s) {
    double lanes[3][KX_F64_LANES];
    const place at = locate(what, kx_f64v_set(x));
    kx_f64v_store(lanes[0], at.n0), kx_f64v_store(lanes[1], at.d.high), kx_f64v_store(lanes[2], at.d.low);
    const double n0 = lanes[0][0], d = lanes[1][0], low = lanes[2][0];
    double value;
    if (kernel == LOGISTIC ? s < 1 : s > 1) {
        value = n0 + (d - 0.5 + low);
    } else {
        const double tail = anywhere(kernel, STEP_TAIL, fabs(d), d < 0 ? -low : low, s);
        value = d < 0 ? n0 - 1 + tail : n0 - tail;
    }
    return what == CEIL ? -value : value;
}

static KX_NEVER_INLINE int settle(int function, int narrow, const double *x, double *value) {
    (void)narrow;
    const operation what = (operation)(function / KERNELS);
    const smoothing_kernel kernel = (smoothing_kernel)(function % KERNELS);
    const double s = x[1], how = x[2];
    for (int k = 0; k < 3; k++)
        if (isnan(x[k])) return *value = x[k] + 0, 1;
    kx_f64v item[] = {kx_f64v_set(x[0]), kx_f64v_set(s), kx_f64v_set(how)};
    if (are_ordinary(function, 0, item)) return 0;
    if (s <= 0 || isinf(s)) return *value = kx_elementwise_invalid(s), 1;
    if (how != AUTOMATIC && how != STEPS && how != FOURIER) return *value = kx_elementwise_invalid(how), 1;
    if (isinf(x[0])) return *value = x[0], 1;
    /* Whole numbers, or close: the rest goes the ordinary way. */
    const double whole = fabs(x[0]) > X_HIGH ? floor(x[0] + 0.5) : 0, rest = x[0] - whole;
    if (!kx_between_f64(s, S_LOW, S_HIGH)) {
        const int is_small_scale = kernel == LOGISTIC ? s > 1 : s < 1;
        if (how == (is_small_scale ? FOURIER : STEPS) || (kernel == CAUCHY && how == STEPS))
            return *value = kx_elementwise_invalid(0), 1;
        return *value = whole + extreme(what, kernel, rest, s), 1;
    }
    item[0] = kx_f64v_set(rest);
    if (!are_ordinary(function, 0, item)) return *value = kx_elementwise_invalid(0), 1;
    *value = whole + first_lane(fast(function, 0, item));
    return 1;
}
#define KERNEL(name, parameters, ...) kx_status_t KX_KERNEL(name) parameters __VA_ARGS__
#else
#define KERNEL(name, parameters, ...)
#endif

#define KX_TEMPLATE "kernels/smoothing_floor.c"
#include "isa/each_real.h"

#else /* the template */

#undef TERNARY
#define TERNARY(name, operation, kernel)                                                                                   \
    KX_DISPATCH(KX_TYPED(name),                                                                                            \
                (const KX_REAL *x, const KX_REAL *scale, const KX_REAL *form, int64_t n, ptrdiff_t x_stride,               \
                 ptrdiff_t scale_stride, ptrdiff_t form_stride, KX_REAL *out, ptrdiff_t out_stride),                       \
                (x, scale, form, n, x_stride, scale_stride, form_stride, out, out_stride))                                 \
    KERNEL(KX_TYPED(name),                                                                                                 \
           (const KX_REAL *x, const KX_REAL *scale, const KX_REAL *form, int64_t n, ptrdiff_t x_stride,                    \
            ptrdiff_t scale_stride, ptrdiff_t form_stride, KX_REAL *out, ptrdiff_t out_stride),                            \
           {                                                                                                               \
               const void *const arguments[] = {x, scale, form};                                                           \
               const ptrdiff_t strides[] = {x_stride, scale_stride, form_stride};                                          \
               KX_TYPED(kx_elementwise)((operation) * KERNELS + (kernel), 3, fast, are_ordinary, settle, arguments, strides, n, \
                                        out, out_stride);                                                                  \
               return KX_OK;                                                                                               \
           })

TERNARY(kx_smoothing_floor_gaussian, FLOOR, GAUSSIAN)
TERNARY(kx_smoothing_floor_logistic, FLOOR, LOGISTIC)
TERNARY(kx_smoothing_floor_student_t2, FLOOR, STUDENT_T2)
TERNARY(kx_smoothing_floor_cauchy, FLOOR, CAUCHY)
TERNARY(kx_smoothing_ceil_gaussian, CEIL, GAUSSIAN)
TERNARY(kx_smoothing_ceil_logistic, CEIL, LOGISTIC)
TERNARY(kx_smoothing_ceil_student_t2, CEIL, STUDENT_T2)
TERNARY(kx_smoothing_ceil_cauchy, CEIL, CAUCHY)
TERNARY(kx_smoothing_round_gaussian, ROUND, GAUSSIAN)
TERNARY(kx_smoothing_round_logistic, ROUND, LOGISTIC)
TERNARY(kx_smoothing_round_student_t2, ROUND, STUDENT_T2)
TERNARY(kx_smoothing_round_cauchy, ROUND, CAUCHY)
#endif
