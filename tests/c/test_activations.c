/* SquarePlus: accuracy against long double over the whole range, special values, flags, strides. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

typedef kx_status_t (*function_f64)(const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t);
typedef kx_status_t (*function_f32)(const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t);

enum { VALUE, GRADIENT, GRADIENT_B, INVERSE, FUNCTIONS };
static const char *const names[] = {"squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"};
static const function_f64 functions_f64[] = {kx_activations_squareplus_f64, kx_activations_squareplus_grad_f64,
                                             kx_activations_squareplus_grad_b_f64, kx_activations_squareplus_inverse_f64};
static const function_f32 functions_f32[] = {kx_activations_squareplus_f32, kx_activations_squareplus_grad_f32,
                                             kx_activations_squareplus_grad_b_f32, kx_activations_squareplus_inverse_f32};

/* Where long double is double, the reference itself is off by two or three ulp. */
static const double limit_f64 = LDBL_MANT_DIG >= 64 ? 2 : 5, limit_f32 = 1;

static long double exact(int function, long double x, long double b) {
    if (function == INVERSE) return x == 0 ? (b == 0 ? 0 : -INFINITY) : fmal(2 * x, 2 * x, -b) / (4 * x);
    long double root = b == 0 ? fabsl(x) : sqrtl(fmal(x, x, b));
    if (root == 0) return function == VALUE ? 0 : function == GRADIENT ? 0.5L : INFINITY;
    if (function == GRADIENT_B) return 1 / (4 * root);
    long double left = b / (2 * (fabsl(x) + root));
    if (function == VALUE) return x < 0 ? left : (x + root) / 2;
    return x < 0 ? left / root : 1 - left / root;
}

enum { BATCH = 4096 };
static double worst_f64[FUNCTIONS], worst_f32[FUNCTIONS];

static void compare(int function, const double *x, const double *b, ptrdiff_t b_step, const char *what) {
    double got[BATCH], got_of_float[BATCH];
    float x32[BATCH], b32[BATCH], got32[BATCH];
    (void)got_of_float;
    feclearexcept(FE_ALL_EXCEPT);
    functions_f64[function](x, b, BATCH, 8, b_step * 8, got, 8);
    int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), overflow_due = 0;
    double worst = 0;
    int where = 0;
    for (int i = 0; i < BATCH; i++) {
        long double reference = exact(function, (long double)x[i], (long double)b[i * b_step]);
        if (fabsl(reference) > (long double)DBL_MAX) overflow_due = 1;
        double error = check_ulps_f64(got[i], reference);
        if (error > worst) worst = error, where = i;
    }
    CHECK(worst <= limit_f64, "%s f64, %s: %g ulp at x = %a, b = %a: %a", names[function], what, worst, x[where],
          b[where * b_step], got[where]);
    CHECK(overflow_due || flags == 0, "%s f64, %s: spurious flags %x", names[function], what, (unsigned)flags);
    if (worst > worst_f64[function]) worst_f64[function] = worst;

    for (int i = 0; i < BATCH; i++) {
        x32[i] = (float)x[i], b32[i] = (float)b[i * b_step];
        if (isinf(x32[i])) x32[i] = copysignf(FLT_MAX, x32[i]);
        if (isinf(b32[i])) b32[i] = FLT_MAX;
        if (x32[i] == 0) x32[i] = function == INVERSE ? FLT_TRUE_MIN : copysignf(FLT_TRUE_MIN, (float)x[i]);
    }
    feclearexcept(FE_ALL_EXCEPT);
    functions_f32[function](x32, b32, BATCH, 4, b_step * 4, got32, 4);
    flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), overflow_due = 0;
    worst = 0, where = 0;
    for (int i = 0; i < BATCH; i++) {
        long double reference = exact(function, (long double)x32[i], (long double)b32[i * b_step]);
        if (fabsl(reference) > (long double)FLT_MAX) overflow_due = 1;
        double error = check_ulps_f32(got32[i], reference);
        if (error > worst) worst = error, where = i;
    }
    CHECK(worst <= limit_f32, "%s f32, %s: %g ulp at x = %a, b = %a: %a", names[function], what, worst, (double)x32[where],
          (double)b32[where * b_step], (double)got32[where]);
    CHECK(overflow_due || flags == 0, "%s f32, %s: spurious flags %x", names[function], what, (unsigned)flags);
    if (worst > worst_f32[function]) worst_f32[function] = worst;
}

static double random_bits_f64(void) {
    for (;;) {
        double a = check_double(check_random());
        if (isfinite(a)) return a;
    }
}
static double random_bits_f32(void) {
    for (;;) {
        float a = check_float((uint32_t)check_random());
        if (isfinite(a)) return (double)a;
    }
}

/* Arguments of every kind: in b of its own for each x. */
static void draw(int kind, double *x, double *b) {
    *x = check_uniform(-8, 8), *b = check_uniform(0.1, 6);
    switch (kind) {
        case 0: break;
        case 1: *x = random_bits_f64(), *b = fabs(random_bits_f64()); break;
        case 2: *x = random_bits_f32(), *b = fabs(random_bits_f32()); break;
        case 3: *x = ldexp(*x, (int)check_uniform(-30, 30)), *b = ldexp(*b, (int)check_uniform(-50, 50)); break;
        case 4: *b = *x * *x * exp2(check_uniform(-8, 8)); break;
        case 5: /* comparable, at any magnitude */
            *x = random_bits_f64();
            *b = fmin(*x * *x * exp2(check_uniform(-6, 6)), DBL_MAX);
            break;
        case 6: *x = ldexp(*x, (int)check_uniform(-1090, -1000)), *b = ldexp(*b, (int)check_uniform(-1090, -1000)); break;
        case 7: *x = ldexp(*x, (int)check_uniform(-165, -120)), *b = ldexp(*b, (int)check_uniform(-300, -120)); break;
        case 8: *x = ldexp(*x, (int)check_uniform(1000, 1020)), *b = ldexp(*b, (int)check_uniform(900, 1020)); break;
        case 9: *x = ldexp(*x, (int)check_uniform(100, 124)), *b = ldexp(*b, (int)check_uniform(90, 124)); break;
        case 10: *b = 0; break;
        case 11: *x = ldexp(*x, (int)check_uniform(0, 60)), *b = ldexp(*b, (int)check_uniform(-1060, -100)); break;
        case 12: *x = ldexp(*x, (int)check_uniform(0, 40)), *b = ldexp(*b, (int)check_uniform(-140, -20)); break;
        default: { /* where the inverse crosses 0, and its mirror */
            double root = sqrt(*b) / 2;
            *x = check_random() & 1 ? root : (float)root;
            for (uint64_t steps = check_random() % 4; steps > 0; steps--) *x = nextafter(*x, check_random() & 1 ? 9 : 0);
            if (check_random() & 1) *x = root * (1 + ldexp(check_uniform(-1, 1), (int)check_uniform(-50, -3)));
        }
    }
}
enum { KINDS = 14 };

static void test_accuracy(int batches) {
    static double x[BATCH], b[BATCH];
    for (int batch = 0; batch < batches; batch++)
        for (int kind = 0; kind < KINDS; kind++) {
            char what[32];
            snprintf(what, sizeof what, "kind %d", kind);
            for (int i = 0; i < BATCH; i++) draw(kind, x + i, b + i);
            for (int function = 0; function < INVERSE; function++) compare(function, x, b, 1, what);
            for (int i = 0; i < BATCH; i++) x[i] = fmax(fabs(x[i]), DBL_TRUE_MIN);
            compare(INVERSE, x, b, 1, what);
        }
    const double fixed[] = {0, DBL_TRUE_MIN, DBL_MIN, 0x1p-149, 0x1p-60, 1e-3, 1, KX_SQUAREPLUS_B_MINIMAX,
                            KX_SQUAREPLUS_B_UPPER, KX_SQUAREPLUS_B_CURVATURE, 1e3, 0x1p70, 0x1.fffffep127, DBL_MAX};
    for (size_t k = 0; k < sizeof fixed / sizeof *fixed; k++)
        for (int kind = 0; kind < 10; kind++) {
            double unused;
            for (int i = 0; i < BATCH; i++) {
                draw(kind, x + i, &unused);
                if (x[i] == 0) x[i] = 1;
            }
            for (int function = 0; function < INVERSE; function++) compare(function, x, fixed + k, 0, "one b");
            for (int i = 0; i < BATCH; i++) x[i] = fabs(x[i]);
            compare(INVERSE, x, fixed + k, 0, "one b");
        }
}

/* Every `step`-th float as x. The reference is double arithmetic: its error is 2^-28 of an ulp. */
static double sweep(int function, float b, uint64_t step) {
    enum { COUNT = 1 << 14 };
    static float x[COUNT], got[COUNT];
    double worst = 0;
    for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
        int count = 0;
        for (; count < COUNT && bits < (uint64_t)1 << 32; bits += step) {
            float a = check_float((uint32_t)bits);
            if (isfinite(a) && !(function == INVERSE && a <= 0) && !(b == 0 && a == 0)) x[count++] = a;
        }
        functions_f32[function](x, &b, count, 4, 0, got, 4);
        for (int i = 0; i < count; i++) {
            double xi = (double)x[i], bi = (double)b, root = sqrt(xi * xi + bi), left = bi / (2 * (fabs(xi) + root)), reference;
            if (function == VALUE) reference = xi < 0 ? left : (xi + root) / 2;
            else if (function == GRADIENT) reference = xi < 0 ? left / root : 1 - left / root;
            else if (function == GRADIENT_B) reference = 0.25 / root;
            else reference = (4 * xi * xi - bi) / (4 * xi);
            int exponent;
            frexp(reference, &exponent);
            if (exponent < -125 || reference == 0) exponent = -125;
            double error = fabs((double)got[i] - reference) * ldexp(1, 24 - exponent);
            if (isinf(got[i]) && fabs(reference) > (double)FLT_MAX) error = 0;
            if (!(error <= worst)) worst = isnan(error) ? INFINITY : error;
        }
    }
    return worst;
}

static void test_sweep(int is_long) {
    const float fixed[] = {1, (float)KX_SQUAREPLUS_B_MINIMAX, 0, 1e-3f};
    for (int k = 0; k < 4; k++)
        for (int function = 0; function < FUNCTIONS; function++) {
            double worst = sweep(function, fixed[k], is_long ? 1 : 4099);
            CHECK(worst <= limit_f32, "%s f32 over all x, b = %g: %g ulp", names[function], (double)fixed[k], worst);
            if (worst > worst_f32[function]) worst_f32[function] = worst;
        }
}

typedef struct special {
    int function;
    double x, b, value;
    int flags;
} special;

static void test_special_values(void) {
    const double inf = INFINITY, nan = NAN;
    const special table[] = {
        {VALUE, inf, 1, inf, 0}, {VALUE, -inf, 1, 0, 0}, {VALUE, inf, 0, inf, 0}, {VALUE, -inf, 0, 0, 0},
        {VALUE, inf, inf, inf, 0}, {VALUE, -inf, inf, nan, FE_INVALID}, {VALUE, 3, inf, inf, 0}, {VALUE, -3, inf, inf, 0},
        {VALUE, 0, 0, 0, 0}, {VALUE, -0.0, 0, 0, 0}, {VALUE, 0, 4, 1, 0}, {VALUE, -0.0, 4, 1, 0}, {VALUE, 3, 0, 3, 0},
        {VALUE, -3, 0, 0, 0}, {VALUE, 3, -0.0, 3, 0}, {VALUE, nan, 1, nan, 0}, {VALUE, 1, nan, nan, 0},
        {VALUE, 1, -1, nan, FE_INVALID}, {VALUE, 5, -1, nan, FE_INVALID}, {VALUE, 1, -inf, nan, FE_INVALID},
        {VALUE, 1, -DBL_TRUE_MIN, nan, FE_INVALID}, {VALUE, nan, -1, nan, 0}, {VALUE, 1.5, 4, 2, 0}, {VALUE, -1.5, 4, 0.5, 0},
        {GRADIENT, inf, 1, 1, 0}, {GRADIENT, -inf, 1, 0, 0}, {GRADIENT, 0, 0, 0.5, 0}, {GRADIENT, -0.0, 0, 0.5, 0},
        {GRADIENT, 0, 4, 0.5, 0}, {GRADIENT, 2, 0, 1, 0}, {GRADIENT, -2, 0, 0, 0}, {GRADIENT, 2, inf, 0.5, 0},
        {GRADIENT, inf, inf, nan, FE_INVALID}, {GRADIENT, -inf, inf, nan, FE_INVALID}, {GRADIENT, 2, -1, nan, FE_INVALID},
        {GRADIENT, nan, 0, nan, 0}, {GRADIENT, 0, nan, nan, 0}, {GRADIENT, 0, DBL_TRUE_MIN, 0.5, 0},
        {GRADIENT_B, 0, 0, inf, FE_DIVBYZERO}, {GRADIENT_B, -0.0, 0, inf, FE_DIVBYZERO}, {GRADIENT_B, inf, 1, 0, 0},
        {GRADIENT_B, -inf, inf, 0, 0}, {GRADIENT_B, 1, inf, 0, 0}, {GRADIENT_B, 0, 1, 0.25, 0}, {GRADIENT_B, -2, 0, 0.125, 0},
        {GRADIENT_B, 1, -1, nan, FE_INVALID}, {GRADIENT_B, nan, 1, nan, 0}, {GRADIENT_B, 1, nan, nan, 0},
        {INVERSE, 0, 0, 0, 0}, {INVERSE, -0.0, 0, 0, 0}, {INVERSE, 0, 1, -inf, FE_DIVBYZERO}, {INVERSE, -0.0, 1, -inf, FE_DIVBYZERO},
        {INVERSE, -1, 1, nan, FE_INVALID}, {INVERSE, -inf, 1, nan, FE_INVALID}, {INVERSE, inf, 1, inf, 0},
        {INVERSE, inf, inf, nan, FE_INVALID}, {INVERSE, 2, inf, -inf, 0}, {INVERSE, 0, inf, -inf, 0}, {INVERSE, 7, 0, 7, 0},
        {INVERSE, 1, 4, 0, 0}, {INVERSE, 2, 4, 1.5, 0}, {INVERSE, 2, -4, nan, FE_INVALID}, {INVERSE, nan, 1, nan, 0},
        {INVERSE, 1, nan, nan, 0},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const special *s = table + k;
        double got = 99;
        feclearexcept(FE_ALL_EXCEPT);
        kx_status_t status = functions_f64[s->function](&s->x, &s->b, 1, 8, 0, &got, 8);
        int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
        CHECK(status == KX_OK && (isnan(s->value) ? isnan(got) : got == s->value && !signbit(got) == !signbit(s->value)),
              "%s(%g, %g) = %g", names[s->function], s->x, s->b, got);
        CHECK(flags == s->flags, "%s(%g, %g): flags %x, not %x", names[s->function], s->x, s->b, (unsigned)flags,
              (unsigned)s->flags);
        float x32 = (float)s->x, b32 = (float)s->b, got32 = 99;
        if (s->b == DBL_TRUE_MIN || s->b == -DBL_TRUE_MIN) b32 = copysignf(FLT_TRUE_MIN, b32);
        feclearexcept(FE_ALL_EXCEPT);
        status = functions_f32[s->function](&x32, &b32, 1, 4, 0, &got32, 4);
        flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
        CHECK(status == KX_OK && (isnan(s->value) ? isnan(got32) : (double)got32 == s->value), "%s(%g, %g) = %g in float32",
              names[s->function], s->x, s->b, (double)got32);
        CHECK(flags == s->flags, "%s(%g, %g) in float32: flags %x, not %x", names[s->function], s->x, s->b, (unsigned)flags,
              (unsigned)s->flags);
    }
}

/* METHODS R01 */
static void test_reference_values(void) {
    const double x[5] = {-3, -1, 0, 0.5, 2};
    const double b[3] = {1, 4, KX_SQUAREPLUS_B_MINIMAX};
    const double values[3][5] = {
        {0.081138830084189666, 0.20710678118654752, 0.5, 0.80901699437494742, 2.1180339887498948},
        {0.30277563773199465, 0.61803398874989485, 1, 1.2807764064044151, 2.4142135623730950},
        {0.12202196598248560, 0.29432692144336117, 0.61721573062397532, 0.91592436367029527, 2.1751405269710034}};
    const double gradient[5] = {0.025658350974743100, 0.14644660940672624, 0.5, 0.72360679774997897, 0.94721359549995794};
    const double gradient_b[5] = {0.079056941504209483, 0.17677669529663688, 0.25, 0.22360679774997897, 0.11180339887498948};
    double got[5];
    for (int k = 0; k < 3; k++) {
        kx_activations_squareplus_f64(x, b + k, 5, 8, 0, got, 8);
        for (int i = 0; i < 5; i++)
            CHECK(fabs(got[i] / values[k][i] - 1) < 4e-16, "f(%g; %g) = %.17g", x[i], b[k], got[i]);
    }
    kx_activations_squareplus_grad_f64(x, b, 5, 8, 0, got, 8);
    for (int i = 0; i < 5; i++) CHECK(fabs(got[i] / gradient[i] - 1) < 4e-16, "f'(%g; 1) = %.17g", x[i], got[i]);
    kx_activations_squareplus_grad_b_f64(x, b, 5, 8, 0, got, 8);
    for (int i = 0; i < 5; i++) CHECK(fabs(got[i] / gradient_b[i] - 1) < 4e-16, "df/db(%g; 1) = %.17g", x[i], got[i]);
    const double far = -1e8;
    kx_activations_squareplus_f64(&far, b, 1, 8, 0, got, 8);
    CHECK(fabs(got[0] / 2.4999999999999999375e-9 - 1) < 4e-16, "f(-1e8; 1) = %.17g", got[0]);
    const float x32 = -5000, b32 = 4;
    float got32;
    kx_activations_squareplus_f32(&x32, &b32, 1, 4, 0, &got32, 4);
    CHECK(check_ulps_f32(got32, 1.99999992000000640e-4L) <= 1, "f(-5000; 4) = %.9g in float32", (double)got32);
}

/* Any strides, any alignment, any length, in place: the same bits as one item at a time, and nothing else is written. */
static void test_layout(size_t size, int function) {
    enum { MOST = 1100, ROOM = 64 * MOST };
    static char x[ROOM], b[ROOM], out[ROOM], before[ROOM];
    const ptrdiff_t strides[] = {(ptrdiff_t)size, 0, 2 * (ptrdiff_t)size, -(ptrdiff_t)size, 13, -24, 29};
    const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 511, 512, 513, 1027};
    for (int trial = 0; trial < 400; trial++) {
        int64_t n = sizes[check_random() % 14];
        ptrdiff_t x_stride = strides[check_random() % 7], b_stride = strides[check_random() % 7];
        ptrdiff_t out_stride = strides[check_random() % 7];
        if (out_stride == 0) out_stride = (ptrdiff_t)size;
        const int in_place = trial % 5 == 0;
        if (in_place) x_stride = out_stride;
        const ptrdiff_t middle = ROOM / 2 + (ptrdiff_t)(check_random() % 9);
        char *px = x + middle, *pb = b + middle, *po = (in_place ? x : out) + middle;
        for (int64_t i = 0; i < n; i++) {
            double xi, bi;
            draw((int)(check_random() % 4), &xi, &bi);
            if (function == INVERSE) xi = fabs(xi);
            float xf = (float)xi, bf = (float)bi;
            memcpy(px + i * x_stride, size == 8 ? (void *)&xi : (void *)&xf, size);
            memcpy(pb + i * b_stride, size == 8 ? (void *)&bi : (void *)&bf, size);
        }
        static char expected[MOST][8], inputs[MOST][16];
        for (int64_t i = 0; i < n; i++) memcpy(inputs[i], px + i * x_stride, size), memcpy(inputs[i] + 8, pb + i * b_stride, size);
        for (int64_t i = 0; i < n; i++) {
            if (size == 8) {
                double a[2], value;
                memcpy(a, inputs[i], 16);
                functions_f64[function](a, a + 1, 1, 8, 8, &value, 8);
                memcpy(expected[i], &value, 8);
            } else {
                float a[4], value;
                memcpy(a, inputs[i], 16);
                functions_f32[function](a, a + 2, 1, 4, 4, &value, 4);
                memcpy(expected[i], &value, 4);
            }
        }
        memcpy(before, in_place ? x : out, ROOM);
        if (size == 8)
            functions_f64[function]((const double *)(void *)px, (const double *)(void *)pb, n, x_stride, b_stride,
                                    (double *)(void *)po, out_stride);
        else
            functions_f32[function]((const float *)(void *)px, (const float *)(void *)pb, n, x_stride, b_stride,
                                    (float *)(void *)po, out_stride);
        int64_t wrong = -1;
        for (int64_t i = 0; i < n; i++) {
            if (memcmp(po + i * out_stride, expected[i], size) != 0) wrong = i;
            memcpy(before + (po - (in_place ? x : out)) + i * out_stride, expected[i], size);
        }
        CHECK(wrong < 0, "%s, item size %zu, n %lld, strides %td %td %td: item %lld differs", names[function], size, (long long)n,
              x_stride, b_stride, out_stride, (long long)wrong);
        CHECK(memcmp(before, in_place ? x : out, ROOM) == 0, "%s wrote outside of its output", names[function]);
    }
}

/* Outputs beyond the caches are written past them: the same bits as of a piece at a time, from any first number of a vector on. */
static void test_beyond_caches(void) {
    enum { BYTES = 33 << 20, PIECE = 1000 };
    char *x = malloc(BYTES + 64), *out = malloc(BYTES + 64), *pieces = malloc(BYTES + 64);
    if (!x || !out || !pieces) CHECK(0, "no memory");
    for (int is_double = 0; x && out && pieces && is_double < 2; is_double++) {
        const ptrdiff_t size = is_double ? 8 : 4;
        const int64_t n = BYTES / size;
        const double b = 2;
        const float narrow_b = 2;
        for (int64_t i = 0; i < n; i++) {
            const double value = i % 1000003 == 999 ? 1e30 : (double)(i % 2001 - 1000) / 64;
            const float narrow = (float)value;
            memcpy(x + i * size, is_double ? (const void *)&value : (const void *)&narrow, (size_t)size);
        }
        for (int64_t shift = 0; shift <= 3; shift += 3) {
            char *to = out + shift * size;
            for (int64_t i = 0; i < n; i += PIECE) {
                const int64_t count = n - i < PIECE ? n - i : PIECE;
                if (is_double)
                    kx_activations_squareplus_f64((const double *)(void *)x + i, &b, count, 8, 0, (double *)(void *)pieces + i, 8);
                else kx_activations_squareplus_f32((const float *)(void *)x + i, &narrow_b, count, 4, 0, (float *)(void *)pieces + i, 4);
            }
            if (is_double) kx_activations_squareplus_f64((const double *)(void *)x, &b, n, 8, 0, (double *)(void *)to, 8);
            else kx_activations_squareplus_f32((const float *)(void *)x, &narrow_b, n, 4, 0, (float *)(void *)to, 4);
            CHECK(memcmp(to, pieces, (size_t)(n * size)) == 0, "item size %td, shift %lld: other bits", size, (long long)shift);
        }
    }
    free(x), free(out), free(pieces);
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    printf("test_activations, %s\n", kx_isa_name());
    test_special_values();
    test_reference_values();
    for (int function = 0; function < FUNCTIONS; function++) test_layout(4, function), test_layout(8, function);
    test_beyond_caches();
    test_accuracy(is_long ? 200 : 6);
    test_sweep(is_long);
    for (int function = 0; function < FUNCTIONS; function++)
        printf("%-20s worst error: float32 %.3f ulp, float64 %.3f ulp\n", names[function], worst_f32[function],
               worst_f64[function]);
    return check_report();
}
