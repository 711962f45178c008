/* exp and log of arrays: accuracy over the whole range against long double, special values, tails. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kx_base.h"
#include "kexue/kx_vector_math.h"

enum { EXP, LOG, FUNCTIONS };
static const char *const names[] = {"exp", "log"};
static kx_status_t call_f64(int function, const double *x, int64_t n, double *out) {
    return function == EXP ? kx_vector_exp_f64(x, n, out) : kx_vector_log_f64(x, n, out);
}
static kx_status_t call_f32(int function, const float *x, int64_t n, float *out) {
    return function == EXP ? kx_vector_exp_f32(x, n, out) : kx_vector_log_f32(x, n, out);
}

/* Where long double is double, the reference itself is off by an ulp. */
static const double limit_f64 = LDBL_MANT_DIG >= 64 ? 1 : 2, limit_f32 = 1;
static double worst_f64[FUNCTIONS], worst_f32[FUNCTIONS];
enum { BATCH = 4096 };

static void compare(int function, const double *x, const char *what) {
    static double got[BATCH];
    call_f64(function, x, BATCH, got);
    double worst = 0;
    int where = 0;
    for (int i = 0; i < BATCH; i++) {
        double error = check_ulps_f64(got[i], function == EXP ? expl((long double)x[i]) : logl((long double)x[i]));
        if (error > worst) worst = error, where = i;
    }
    CHECK(worst <= limit_f64, "%s f64, %s: %g ulp at %a: %a", names[function], what, worst, x[where], got[where]);
    if (worst > worst_f64[function]) worst_f64[function] = worst;
}

static void test_accuracy_f64(int batches) {
    static double x[BATCH];
    for (int batch = 0; batch < batches; batch++) {
        for (int i = 0; i < BATCH; i++) x[i] = check_uniform(-1, 1);
        compare(EXP, x, "[-1, 1]");
        for (int i = 0; i < BATCH; i++) x[i] = check_uniform(-750, 715);
        compare(EXP, x, "the whole range");
        for (int i = 0; i < BATCH; i++) x[i] = check_uniform(-746, -707);
        compare(EXP, x, "subnormal results");
        for (int i = 0; i < BATCH; i++) x[i] = ldexp(check_uniform(-1, 1), (int)check_uniform(-60, 12));
        compare(EXP, x, "every magnitude");
        for (int i = 0; i < BATCH; i++) /* between two multiples of ln 2 */
            x[i] = (floor(check_uniform(-1074, 1023)) + 0.5) * 0.6931471805599453 * (1 + check_uniform(-1e-10, 1e-10));
        compare(EXP, x, "ends of the reduced range");
        for (int i = 0; i < BATCH; i++) do x[i] = check_double(check_random()); while (isnan(x[i]));
        compare(EXP, x, "random bits");

        for (int i = 0; i < BATCH; i++) do x[i] = check_double(check_random() >> 1); while (isnan(x[i]));
        compare(LOG, x, "random bits");
        for (int i = 0; i < BATCH; i++) x[i] = check_uniform(0.5, 2);
        compare(LOG, x, "[0.5, 2]");
        for (int i = 0; i < BATCH; i++) x[i] = 1 + ldexp(check_uniform(-1, 1), (int)check_uniform(-54, -1));
        compare(LOG, x, "near 1");
        for (int i = 0; i < BATCH; i++) x[i] = check_double(check_random() >> (12 + check_random() % 52));
        compare(LOG, x, "subnormal numbers");
        for (int i = 0; i < BATCH; i++)
            x[i] = ldexp(check_random() & 1 ? 0.75 : 1.5, (int)check_uniform(-3, 3)) * (1 + check_uniform(-1e-8, 1e-8));
        compare(LOG, x, "ends of the mantissa's range");
    }
}

/* Every `step`-th float; the reference is double arithmetic. */
static void test_sweep_f32(uint64_t step) {
    enum { COUNT = 1 << 14 };
    static float x[COUNT], got[COUNT];
    for (int function = 0; function < FUNCTIONS; function++) {
        double worst = 0;
        float where = 0;
        for (uint64_t bits = 0; bits < (uint64_t)1 << 32;) {
            int count = 0;
            for (; count < COUNT && bits < (uint64_t)1 << 32; bits += step) x[count++] = check_float((uint32_t)bits);
            call_f32(function, x, count, got);
            for (int i = 0; i < count; i++) {
                double exact = function == EXP ? exp((double)x[i]) : log((double)x[i]);
                double error;
                if (exact >= 0x1p-126 && exact < 0x1p127) { /* the common case without long double */
                    int64_t exponent;
                    memcpy(&exponent, &exact, 8);
                    exponent = (exponent >> 52) - 1023;
                    uint64_t scale = (uint64_t)(1023 + 23 - exponent) << 52;
                    error = fabs((double)got[i] - exact) * check_double(scale);
                } else {
                    error = check_ulps_f32(got[i], (long double)exact);
                }
                if (!(error <= worst)) worst = isnan(error) ? (double)INFINITY : error, where = x[i];
            }
        }
        CHECK(worst <= limit_f32, "%s f32: %g ulp at %a", names[function], worst, (double)where);
        worst_f32[function] = worst;
    }
}

static void test_special_values(void) {
    const double inf = (double)INFINITY, nan = (double)NAN;
    const struct {
        int function;
        double x, value;
    } table[] = {{EXP, 0, 1},        {EXP, -0.0, 1},    {EXP, inf, inf}, {EXP, -inf, 0},  {EXP, nan, nan},    {EXP, 1e30, inf},
                 {EXP, -1e30, 0},    {EXP, 710, inf},   {EXP, -746, 0},  {EXP, -nan, nan}, {EXP, DBL_MAX, inf}, {EXP, -DBL_MAX, 0},
                 {LOG, 1, 0},        {LOG, 0, -inf},    {LOG, -0.0, -inf}, {LOG, inf, inf}, {LOG, -inf, nan},   {LOG, -1, nan},
                 {LOG, -DBL_MIN, nan}, {LOG, nan, nan},  {LOG, -nan, nan}, {LOG, -DBL_MAX, nan}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        for (int lane = 0; lane < 20; lane++) {
            double x[20], got[20];
            float x32[20], got32[20];
            for (int i = 0; i < 20; i++) x[i] = 1.25, x32[i] = 1.25f;
            x[lane] = table[k].x, x32[lane] = table[k].x == -DBL_MIN ? -FLT_MIN : (float)table[k].x;
            feclearexcept(FE_ALL_EXCEPT);
            kx_status_t status = call_f64(table[k].function, x, 20, got);
            status = status == KX_OK ? call_f32(table[k].function, x32, 20, got32) : status;
            int flags = fetestexcept(FE_INVALID);
            const double value = table[k].value;
            CHECK(status == KX_OK && (isnan(value) ? isnan(got[lane]) : got[lane] == value), "%s(%g) = %g in lane %d",
                  names[table[k].function], table[k].x, got[lane], lane);
            CHECK(isnan(value) ? isnan(got32[lane]) : (double)got32[lane] == value, "%s(%g) = %g in lane %d in float32",
                  names[table[k].function], table[k].x, (double)got32[lane], lane);
            if (isnan(table[k].x)) CHECK(!flags, "%s of a NaN raises invalid", names[table[k].function]);
            double other = table[k].function == EXP ? exp(1.25) : log(1.25);
            CHECK(check_ulps_f64(got[(lane + 1) % 20], (long double)other) <= 1, "%s: a neighbour changed",
                  names[table[k].function]);
        }
}

/* Any length, in place too: the same bits as one item at a time, and nothing behind the end is written. */
static void test_lengths(void) {
    for (int n = 0; n < 70; n++)
        for (int function = 0; function < FUNCTIONS; function++) {
            double x[80], out[80], single;
            float x32[80], out32[80], single32;
            for (int i = 0; i < 80; i++) x[i] = check_uniform(0.01, 9), x32[i] = (float)x[i], out[i] = 77, out32[i] = 77;
            call_f64(function, x, n, out);
            call_f32(function, x32, n, out32);
            int wrong = out[n] != 77 || out32[n] != 77;
            for (int i = 0; i < n; i++) {
                call_f64(function, x + i, 1, &single);
                call_f32(function, x32 + i, 1, &single32);
                wrong += memcmp(&single, out + i, 8) != 0 || memcmp(&single32, out32 + i, 4) != 0;
            }
            call_f64(function, x, n, x);
            call_f32(function, x32, n, x32);
            wrong += memcmp(x, out, (size_t)n * 8) != 0 || memcmp(x32, out32, (size_t)n * 4) != 0;
            CHECK(!wrong, "%s, n %d: %d differ", names[function], n, wrong);
        }
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    printf("test_vector_math, %s\n", kx_isa_name());
    test_special_values();
    test_lengths();
    test_accuracy_f64(is_long ? 2000 : 40);
    test_sweep_f32(is_long ? 1 : 1021);
    for (int function = 0; function < FUNCTIONS; function++)
        printf("%s worst error: float32 %.3f ulp, float64 %.3f ulp\n", names[function], worst_f32[function], worst_f64[function]);
    return check_report();
}
