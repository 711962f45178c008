/* Smoothing: accuracy against long double, limits, special values with their flags, any strides. mpmath's oracle, with deep
   tails and all scales, is in tests/python/test_smoothing.py. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

typedef kx_status_t (*binary_f32)(const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t);
typedef kx_status_t (*binary_f64)(const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t);
typedef kx_status_t (*ternary_f32)(const float *, const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, float *,
                                   ptrdiff_t);
typedef kx_status_t (*ternary_f64)(const double *, const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                   double *, ptrdiff_t);
typedef kx_status_t (*quaternary_f32)(const float *, const float *, const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t,
                                      ptrdiff_t, ptrdiff_t, float *, ptrdiff_t);
typedef kx_status_t (*quaternary_f64)(const double *, const double *, const double *, const double *, int64_t, ptrdiff_t,
                                      ptrdiff_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t);

enum { GAUSSIAN, LOGISTIC, STUDENT_T2, CAUCHY };
enum { STEP, SIGN, RELU, ABS, LEAKY_RELU, MAXIMUM, CLIP, FLOOR, CEIL, ROUND };

typedef struct function {
    const char *name;
    int what, kernel, operands;
    void (*f32)(void);
    void (*f64)(void);
} function;

#define FUNCTION(operation, kernel, WHAT, KERNEL, operands)                                                          \
    {#operation "_" #kernel, WHAT, KERNEL, operands, (void (*)(void))kx_smoothing_##operation##_##kernel##_f32,        \
     (void (*)(void))kx_smoothing_##operation##_##kernel##_f64}
static const function functions[] = {
    FUNCTION(step, gaussian, STEP, GAUSSIAN, 2),
    FUNCTION(step, logistic, STEP, LOGISTIC, 2),
    FUNCTION(step, cauchy, STEP, CAUCHY, 2),
    FUNCTION(sign, gaussian, SIGN, GAUSSIAN, 2),
    FUNCTION(sign, logistic, SIGN, LOGISTIC, 2),
    FUNCTION(sign, student_t2, SIGN, STUDENT_T2, 2),
    FUNCTION(sign, cauchy, SIGN, CAUCHY, 2),
    FUNCTION(relu, gaussian, RELU, GAUSSIAN, 2),
    FUNCTION(relu, logistic, RELU, LOGISTIC, 2),
    FUNCTION(abs, gaussian, ABS, GAUSSIAN, 2),
    FUNCTION(abs, logistic, ABS, LOGISTIC, 2),
    FUNCTION(abs, student_t2, ABS, STUDENT_T2, 2),
    FUNCTION(leaky_relu, gaussian, LEAKY_RELU, GAUSSIAN, 3),
    FUNCTION(leaky_relu, logistic, LEAKY_RELU, LOGISTIC, 3),
    FUNCTION(leaky_relu, student_t2, LEAKY_RELU, STUDENT_T2, 3),
    FUNCTION(maximum, gaussian, MAXIMUM, GAUSSIAN, 3),
    FUNCTION(maximum, logistic, MAXIMUM, LOGISTIC, 3),
    FUNCTION(maximum, student_t2, MAXIMUM, STUDENT_T2, 3),
    FUNCTION(clip, gaussian, CLIP, GAUSSIAN, 4),
    FUNCTION(clip, logistic, CLIP, LOGISTIC, 4),
    FUNCTION(clip, student_t2, CLIP, STUDENT_T2, 4),
    FUNCTION(clip, cauchy, CLIP, CAUCHY, 4),
    FUNCTION(floor, gaussian, FLOOR, GAUSSIAN, 3),
    FUNCTION(floor, logistic, FLOOR, LOGISTIC, 3),
    FUNCTION(floor, student_t2, FLOOR, STUDENT_T2, 3),
    FUNCTION(floor, cauchy, FLOOR, CAUCHY, 3),
    FUNCTION(ceil, gaussian, CEIL, GAUSSIAN, 3),
    FUNCTION(ceil, logistic, CEIL, LOGISTIC, 3),
    FUNCTION(ceil, student_t2, CEIL, STUDENT_T2, 3),
    FUNCTION(ceil, cauchy, CEIL, CAUCHY, 3),
    FUNCTION(round, gaussian, ROUND, GAUSSIAN, 3),
    FUNCTION(round, logistic, ROUND, LOGISTIC, 3),
    FUNCTION(round, student_t2, ROUND, STUDENT_T2, 3),
    FUNCTION(round, cauchy, ROUND, CAUCHY, 3),
};
enum { FUNCTIONS = sizeof functions / sizeof *functions };

static kx_status_t run_f64(const function *f, const void *const *x, const ptrdiff_t *s, int64_t n, void *out,
                           ptrdiff_t out_stride) {
    if (f->operands == 2) return ((binary_f64)f->f64)(x[0], x[1], n, s[0], s[1], out, out_stride);
    if (f->operands == 3) return ((ternary_f64)f->f64)(x[0], x[1], x[2], n, s[0], s[1], s[2], out, out_stride);
    return ((quaternary_f64)f->f64)(x[0], x[1], x[2], x[3], n, s[0], s[1], s[2], s[3], out, out_stride);
}
static kx_status_t run_f32(const function *f, const void *const *x, const ptrdiff_t *s, int64_t n, void *out,
                           ptrdiff_t out_stride) {
    if (f->operands == 2) return ((binary_f32)f->f32)(x[0], x[1], n, s[0], s[1], out, out_stride);
    if (f->operands == 3) return ((ternary_f32)f->f32)(x[0], x[1], x[2], n, s[0], s[1], s[2], out, out_stride);
    return ((quaternary_f32)f->f32)(x[0], x[1], x[2], x[3], n, s[0], s[1], s[2], s[3], out, out_stride);
}

static double one_f64(const function *f, const double *operands) {
    const void *const x[] = {operands, operands + 1, operands + 2, operands + 3};
    const ptrdiff_t strides[4] = {8, 8, 8, 8};
    double out = 99;
    CHECK(run_f64(f, x, strides, 1, &out, 8) == KX_OK, "%s", f->name);
    return out;
}
static float one_f32(const function *f, const float *operands) {
    const void *const x[] = {operands, operands + 1, operands + 2, operands + 3};
    const ptrdiff_t strides[4] = {4, 4, 4, 4};
    float out = 99;
    CHECK(run_f32(f, x, strides, 1, &out, 4) == KX_OK, "%s", f->name);
    return out;
}

/* ---- accuracy; only for |z| <= 4: beyond, long double loses in the difference of the Gaussian ramp what it has more ---- */

static const long double pi = 3.14159265358979323846264338327950288L;

static long double exact_tail(int kernel, long double a, long double s) {
    if (kernel == GAUSSIAN) return erfcl(a / (s * sqrtl(2))) / 2;
    if (kernel == LOGISTIC) return 1 / (1 + expl(s * a));
    if (kernel == STUDENT_T2) return s / (2 * sqrtl(a * a + s) * (a + sqrtl(a * a + s)));
    return atan2l(s, a) / pi;
}
static long double exact_ramp(int kernel, long double a, long double s) {
    if (kernel == GAUSSIAN) return s * expl(-(a / s) * (a / s) / 2) / sqrtl(2 * pi) - a * exact_tail(kernel, a, s);
    if (kernel == LOGISTIC) return log1pl(expl(-s * a)) / s;
    return s / (2 * (a + sqrtl(a * a + s)));
}
/* `largest` gets the largest term, of which an error is a share; 0 where it is one of the value's own ulps. */
static long double exact(const function *f, const double *operands, long double *largest) {
    const long double x = (long double)operands[0], y = (long double)operands[1], s = (long double)operands[f->operands - 1];
    const long double a = fabsl(x);
    *largest = 0;
    if (f->what == STEP) return x < 0 ? exact_tail(f->kernel, a, s) : 1 - exact_tail(f->kernel, a, s);
    if (f->what == SIGN) {
        if (f->kernel == GAUSSIAN) return erfl(x / (s * sqrtl(2)));
        if (f->kernel == LOGISTIC) return tanhl(s * x / 2);
        return f->kernel == STUDENT_T2 ? x / sqrtl(x * x + s) : 2 * atan2l(x, s) / pi;
    }
    if (f->what == RELU) return fmaxl(x, 0) + exact_ramp(f->kernel, a, s);
    if (f->what == ABS) return a + 2 * exact_ramp(f->kernel, a, s);
    if (f->what == LEAKY_RELU) {
        const long double sharp = x > 0 ? x : y * x, tail = (1 - y) * exact_ramp(f->kernel, a, s);
        *largest = fmaxl(fabsl(sharp), fabsl(tail));
        return sharp + tail;
    }
    if (f->what == MAXIMUM) {
        const long double tail = exact_ramp(f->kernel, fabsl(x - y), s);
        *largest = fmaxl(fabsl(fmaxl(x, y)), tail);
        return fmaxl(x, y) + tail;
    }
    const long double high = (long double)operands[2], sharp = fminl(fmaxl(x, y), high), u = fabsl(x - y), w = fabsl(x - high);
    if (f->kernel == CAUCHY) {
        *largest = fmaxl(fabsl(y), fabsl(high));
        return sharp + (w * atan2l(s, w) - u * atan2l(s, u) + s * logl((w * w + s * s) / (u * u + s * s)) / 2) / pi;
    }
    const long double first = exact_ramp(f->kernel, u, s), second = exact_ramp(f->kernel, w, s);
    *largest = fmaxl(fabsl(sharp), fmaxl(first, second));
    return sharp + first - second;
}

static void test_accuracy(int is_long) {
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        double worst = 0, worst_f32 = 0, worst_term = 0;
        if (f->what >= FLOOR) continue;
        for (int i = 0; i < (is_long ? 1000000 : 20000); i++) {
            double x[4];
            const double scale = exp2(check_uniform(-4, 4));
            const double unit = f->kernel == LOGISTIC ? 1 / scale : f->kernel == STUDENT_T2 ? sqrt(scale) : scale;
            const double z = i % 3 ? check_uniform(-4, 4) : exp2(check_uniform(-40, 2)) * (i % 2 ? 1 : -1);
            x[0] = z * unit;
            x[1] = x[0] * 0.25;
            if (f->what == LEAKY_RELU) x[1] = check_uniform(-1, 2);
            if (f->what == MAXIMUM) x[1] = x[0] + check_uniform(-4, 4) * unit;
            x[2] = x[1] + check_uniform(0, 3) * unit;
            x[f->operands - 1] = scale;
            long double largest, value = exact(f, x, &largest);
            const double got = one_f64(f, x);
            if (largest > 0) {
                const double error = (double)(fabsl((long double)got - value) / largest) * 0x1p52;
                if (error > worst_term) worst_term = error;
            } else if (check_ulps_f64(got, value) > worst) {
                worst = check_ulps_f64(got, value);
            }
            float narrow[4];
            for (int j = 0; j < 4; j++) narrow[j] = (float)x[j], x[j] = (double)narrow[j];
            value = exact(f, x, &largest);
            if (fabsl(value) < largest * 0x1p-20L) continue;
            const double error = check_ulps_f32(one_f32(f, narrow), value);
            if (error > worst_f32) worst_f32 = error;
        }
        CHECK(worst <= 2 && worst_f32 <= 1, "%s: %g ulp, float32 %g ulp", f->name, worst, worst_f32);
        CHECK(worst_term <= 4, "%s: %g eps of the largest term", f->name, worst_term);
        printf("%-24s float64 %.3f ulp, %.3f eps of the largest term; float32 %.3f ulp\n", f->name, worst, worst_term, worst_f32);
    }
}

/* The three forms of the floor family agree, and with the steps themselves summed. */
static void test_forms(void) {
    const double scales[3][5] = {{0.03, 0.2, 0.26, 1, 6}, {0.4, 2, 5.9, 30, 300}, {1e-3, 0.1, 3, 41, 60}};
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        if (f->what < FLOOR || f->kernel == CAUCHY) continue;
        for (int i = 0; i < 500; i++) {
            double x = check_uniform(-4, 4), got[3];
            if (i % 2) x = round(x) + (i % 4 == 1 ? 0.5 : 0) + exp2(check_uniform(-50, -3)) * (i % 8 > 4 ? 1 : -1);
            const double s = scales[f->kernel][check_random() % 5];
            for (int form = 0; form < 3; form++) {
                const double operands[] = {x, s, form, 0};
                got[form] = one_f64(f, operands);
            }
            const double tolerance = 8 * DBL_EPSILON * fmax(fabs(x), 1);
            CHECK(fabs(got[0] - got[1]) <= tolerance && fabs(got[0] - got[2]) <= tolerance, "%s(%.17g; %g): %.17g %.17g %.17g",
                  f->name, x, s, got[0], got[1], got[2]);
            const double at = f->what == CEIL ? -x : f->what == ROUND ? x + 0.5 : x;
            long double sum = -400;
            for (int n = -399; n <= 400 && f->kernel != STUDENT_T2; n++) {
                const long double d = (long double)at - n, tail = exact_tail(f->kernel, fabsl(d), (long double)s);
                sum += d < 0 ? tail : 1 - tail;
            }
            if (f->kernel == STUDENT_T2 || s > 1) continue; /* wide logistic kernels reach beyond 400 steps */
            CHECK(fabsl((long double)got[0] - (f->what == CEIL ? -sum : sum)) <= (long double)tolerance * 4, "%s(%.17g; %g) = %.17g",
                  f->name, x, s, got[0]);
        }
    }
}

/* METHODS R04 */
static void test_reference_values(void) {
    const struct {
        const char *name;
        double operands[4], value;
    } table[] = {
        {"relu_gaussian", {-2, 1}, 0.00849070261682963755}, {"relu_gaussian", {1, 0.5}, 1.00424535130841482},
        {"relu_logistic", {-2, 2}, 0.00907496395890487018}, {"relu_logistic", {1, 2}, 1.06346400552148625},
        {"abs_logistic", {1, 2}, 1.1269280110429725},       {"abs_gaussian", {1, 1}, 1.1666309411753726},
        {"floor_logistic", {0.3, 10}, -0.0465170410088324064}, {"floor_logistic", {2.95, 10}, 2.37749335611353694},
        {"floor_logistic", {-1.2, 10}, -1.88112629888545822},  {"floor_gaussian", {2.95, 0.1}, 2.3085375387259869},
        {"floor_gaussian", {-1.2, 0.1}, -1.97724986805182141}, {"floor_cauchy", {0.3, 0.05}, -0.03587854744684152},
        {"clip_logistic", {-2, 0, 1, 4}, 8.23155448545090e-5}, {"clip_logistic", {1, 0, 1, 4}, 0.831250686839466108},
        {"leaky_relu_gaussian", {-1, 0.25, 0.5}, -0.246815986518688886},
        {"leaky_relu_gaussian", {2, 0.25, 0.5}, 2.00000267947191215},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        for (int i = 0; i < FUNCTIONS; i++)
            if (strcmp(functions[i].name, table[k].name) == 0) {
                const double got = one_f64(functions + i, table[k].operands);
                CHECK(fabs(got - table[k].value) <= 1e-15 * fabs(table[k].value) + 2e-16, "%s: %.17g", table[k].name, got);
            }
}

/* Infinite x, NaN, and scales that are not positive and finite, among ordinary neighbours. */
static void test_special_values(void) {
    const double inf = INFINITY, nan = NAN;
    const double at_inf[] = {1, 1, inf, inf, inf, inf, 2, inf, inf, inf};
    const double at_minus_inf[] = {0, -1, 0, inf, -inf, 0.5, 0.25, -inf, -inf, -inf};
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        const int form = f->what >= FLOOR, scale_at = form ? 1 : f->operands - 1;
        const struct {
            double x, scale, value;
            int flags;
        } table[] = {{inf, 1, at_inf[f->what], 0},      {-inf, 1, at_minus_inf[f->what], 0}, {nan, 1, nan, 0},
                     {1, nan, nan, 0},                  {nan, -1, nan, 0},                   {1, 0, nan, FE_INVALID},
                     {1, -1, nan, FE_INVALID},          {1, inf, nan, FE_INVALID},           {1, -inf, nan, FE_INVALID},
                     {1, -DBL_TRUE_MIN, nan, FE_INVALID}};
        for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
            double rows[4][3] = {{0.7, table[i].x, 1.3}, {0.25, 0.25, 0.25}, {2, 2, 2}, {1, 1, 1}}, out[3];
            if (f->what == MAXIMUM) for (int j = 0; j < 3; j++) rows[1][j] = 0.5;
            if (form) for (int j = 0; j < 3; j++) rows[2][j] = 0;
            for (int j = 0; j < 3; j++) rows[scale_at][j] = j == 1 ? table[i].scale : 0.75;
            const void *const x[] = {rows[0], rows[1], rows[2], rows[3]};
            const ptrdiff_t strides[4] = {8, 8, 8, 8};
            feclearexcept(FE_ALL_EXCEPT);
            run_f64(f, x, strides, 3, out, 8);
            const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
            CHECK(isnan(table[i].value) ? isnan(out[1]) : out[1] == table[i].value, "%s(%g; %g) = %g", f->name, table[i].x,
                  table[i].scale, out[1]);
            CHECK(flags == table[i].flags, "%s(%g; %g): flags %x", f->name, table[i].x, table[i].scale, (unsigned)flags);
            for (int j = 0; j < 3; j += 2) {
                const double alone[] = {rows[0][j], rows[1][j], rows[2][j], rows[3][j]};
                CHECK(one_f64(f, alone) == out[j], "%s: a neighbour of %g, %g", f->name, table[i].x, table[i].scale);
            }
        }
    }
}

/* c f(x; s) is f of operands and scale that are c times as long: scales and operands near both ends of the range against the same ones
   in its middle, for a power of two c. */
static double times_scale(const function *f, double scale, int power) {
    if (f->kernel == LOGISTIC) return ldexp(scale, -power);
    return ldexp(scale, f->kernel == STUDENT_T2 ? 2 * power : power);
}
static void test_far_scales(void) {
    const int powers[] = {-1000, -700, -190, 190, 700, 1000};
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        if (f->what >= FLOOR) continue;
        const int is_fraction = f->what == STEP || f->what == SIGN, last = f->operands - 1;
        for (int i = 0; i < 600; i++) {
            const int power = f->kernel == STUDENT_T2 ? powers[i % 6] / 2 : powers[i % 6];
            double x[4], far[4];
            for (int j = 0; j < last; j++) x[j] = check_uniform(-3, 3);
            if (f->what == LEAKY_RELU) x[1] = check_uniform(0, 1);
            if (f->what == CLIP) x[2] = x[1] + check_uniform(0, 3);
            x[last] = check_uniform(0.5, 2);
            for (int j = 0; j < last; j++) far[j] = f->what == LEAKY_RELU && j == 1 ? x[j] : ldexp(x[j], power);
            far[last] = times_scale(f, x[last], power);
            const double near_value = one_f64(f, x), expected = is_fraction ? near_value : ldexp(near_value, power);
            const double got = one_f64(f, far);
            const double unit = is_fraction ? 1 : ldexp(4, power);
            CHECK(fabs(got - expected) <= 8 * DBL_EPSILON * unit, "%s(%g; %g) = %.17g, not %.17g", f->name, far[0], far[last], got,
                  expected);
        }
    }
}

/* Far outside of a kernel of an extreme scale: tails vanish, or are the first term of their expansion. */
static void test_far_tails(void) {
    const double x = 0x1p500, s = 0x1p-600;
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        const double scale = f->kernel == LOGISTIC ? 1 / s : s;
        const int sign = k % 2 ? -1 : 1;
        double operands[4] = {sign * x, 0, 0, 0}, expected = sign * x, tolerance = 0;
        operands[f->operands - 1] = scale;
        if (f->what == STEP) expected = sign > 0, tolerance = f->kernel == CAUCHY ? s / x : 0;
        else if (f->what == SIGN) expected = sign;
        else if (f->what == RELU) expected = sign > 0 ? x : 0;
        else if (f->what == ABS) expected = x;
        else if (f->what == LEAKY_RELU) operands[1] = 0.25, expected = sign > 0 ? x : -0.25 * x;
        else if (f->what == MAXIMUM) expected = sign > 0 ? x : 0, tolerance = f->kernel == STUDENT_T2 ? scale / x : 0;
        else if (f->what == CLIP) operands[2] = 1, expected = sign > 0;
        else continue;
        if (f->what == CLIP && f->kernel != LOGISTIC && f->kernel != GAUSSIAN) tolerance = 8 * DBL_EPSILON;
        const double got = one_f64(f, operands);
        CHECK(fabs(got - expected) <= tolerance, "%s(%g; %g) = %.17g, not %.17g", f->name, operands[0], scale, got, expected);
    }
}

/* Floors of a scale beyond the ordinary range are x - 1/2 or the one step that is near; of large numbers, whole numbers and a rest. */
static void test_floor_limits(void) {
    for (int k = 0; k < FUNCTIONS; k++) {
        const function *f = functions + k;
        if (f->what < FLOOR) continue;
        const double wide = f->kernel == LOGISTIC ? 0x1p-900 : 0x1p900, narrow = 1 / wide;
        for (int i = 0; i < 100; i++) {
            const double x = check_uniform(-4, 4), at = f->what == CEIL ? -x : f->what == ROUND ? x + 0.5 : x;
            const double middle = f->what == CEIL ? 0.5 - at : at - 0.5, sharp = f->what == CEIL ? -floor(at) : floor(at);
            const double operands[2][4] = {{x, wide, 0, 0}, {x, narrow, 0, 0}};
            const double got[2] = {one_f64(f, operands[0]), one_f64(f, operands[1])};
            CHECK(fabs(got[0] - middle) <= 4 * DBL_EPSILON * 4, "%s(%.17g; %g) = %.17g", f->name, x, wide, got[0]);
            CHECK(fabs(got[1] - sharp) <= 4 * DBL_EPSILON * 4, "%s(%.17g; %g) = %.17g", f->name, x, narrow, got[1]);
            const double scale = f->kernel == LOGISTIC ? 10 : 0.1, large = floor(check_uniform(1, 2) * 0x1p51);
            const double part = round(x * 2) / 2; /* large + part is exact */
            const double beside[] = {part, scale, 0, 0}, beyond[] = {large + part, scale, 0, 0};
            CHECK(one_f64(f, beyond) == large + one_f64(f, beside) ||
                      fabs(one_f64(f, beyond) - (large + one_f64(f, beside))) <= 2 * DBL_EPSILON * large,
                  "%s(%.17g; %g) = %.17g", f->name, beyond[0], scale, one_f64(f, beyond));
        }
        /* A form that is asked for and cannot be had, or that does not exist. */
        const double refused[][4] = {{0.3, narrow, 2, 0}, {0.3, wide, 1, 0}, {0.3, 0.5, 7, 0}};
        for (int i = 0; i < 3; i++) {
            feclearexcept(FE_ALL_EXCEPT);
            CHECK(isnan(one_f64(f, refused[i])) && fetestexcept(FE_INVALID), "%s(0.3; %g), form %g", f->name, refused[i][1],
                  refused[i][2]);
        }
    }
}

/* Any strides, any alignment, any length, in place: the same bits as one item at a time, and nothing else is written. */
static void test_layout(size_t size, const function *f) {
    enum { MOST = 600, ROOM = 64 * MOST };
    static char in[4][ROOM], out[ROOM], before[ROOM];
    static char expected[MOST][8];
    const ptrdiff_t item = (ptrdiff_t)size, steps[] = {item, item, 0, 2 * item, -item, 13, -24, 29};
    const int64_t sizes[] = {0, 1, 2, 7, 8, 9, 16, 33, 255, 256, 257, 513};
    for (int trial = 0; trial < 60; trial++) {
        const int64_t n = sizes[check_random() % 12];
        const int in_place = trial % 5 == 0;
        ptrdiff_t strides[4], out_stride = steps[check_random() % 8];
        if (out_stride == 0) out_stride = item;
        const ptrdiff_t middle = ROOM / 2 + (ptrdiff_t)(check_random() % 9);
        const void *x[4];
        for (int k = 0; k < 4; k++) {
            strides[k] = k == 0 && in_place ? out_stride : steps[check_random() % 8];
            x[k] = in[k] + middle;
            for (int64_t i = 0; i < n; i++) {
                double value = k == 0 ? check_uniform(-4, 4) : check_uniform(0.2, 0.9) + (k == 2 && f->what == CLIP ? 1 : 0);
                if (k == 2 && f->what >= FLOOR) value = 0;
                if (k == 0 && check_random() % 16 == 0) value = INFINITY;
                const float narrow = (float)value;
                memcpy(in[k] + middle + i * strides[k], size == 8 ? (const void *)&value : (const void *)&narrow, size);
            }
        }
        for (int64_t i = 0; i < n; i++) {
            double wide[4];
            float narrow[4];
            for (int k = 0; k < 4; k++)
                memcpy(size == 8 ? (void *)(wide + k) : (void *)(narrow + k), (const char *)x[k] + i * strides[k], size);
            if (size == 8) wide[0] = one_f64(f, wide), memcpy(expected[i], wide, 8);
            else narrow[0] = one_f32(f, narrow), memcpy(expected[i], narrow, 4);
        }
        char *to = in_place ? in[0] : out;
        memcpy(before, to, ROOM);
        (size == 8 ? run_f64 : run_f32)(f, x, strides, n, to + middle, out_stride);
        int64_t wrong = -1;
        for (int64_t i = 0; i < n; i++) {
            if (memcmp(to + middle + i * out_stride, expected[i], size) != 0) wrong = i;
            memcpy(before + middle + i * out_stride, expected[i], size);
        }
        CHECK(wrong < 0, "%s, item size %zu, n %lld: item %lld differs", f->name, size, (long long)n, (long long)wrong);
        CHECK(memcmp(before, to, ROOM) == 0, "%s wrote outside of its output", f->name);
    }
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    printf("test_smoothing, %s\n", kx_isa_name());
    test_reference_values();
    test_special_values();
    test_forms();
    test_far_scales();
    test_far_tails();
    test_floor_limits();
    for (int k = 0; k < FUNCTIONS; k++) test_layout(4, functions + k), test_layout(8, functions + k);
    test_accuracy(is_long);
    return check_report();
}
