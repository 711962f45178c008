/* Softplus, Swish, GELU, the Taylor polynomials of exp and their derivatives: accuracy against long double where that has the
   digits (mpmath has the rest: tests/python/test_activations_exponential.py), special values, flags, strides. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { SOFTPLUS, SOFTPLUS_GRAD, SWISH, SWISH_GRAD, GELU, GELU_GRAD, GELU_TANH, GELU_TANH_GRAD, UNARY };
enum { EXP_TAYLOR = UNARY, EXP_TAYLOR_GRAD, FUNCTIONS };
static const char *const names[] = {"softplus",  "softplus_grad",  "swish",      "swish_grad",     "gelu",
                                    "gelu_grad", "gelu_tanh",      "gelu_tanh_grad", "exp_taylor", "exp_taylor_grad"};

typedef kx_status_t (*unary_f64)(const double *, int64_t, ptrdiff_t, double *, ptrdiff_t);
typedef kx_status_t (*unary_f32)(const float *, int64_t, ptrdiff_t, float *, ptrdiff_t);
static const unary_f64 functions_f64[] = {kx_activations_softplus_f64,  kx_activations_softplus_grad_f64,
                                          kx_activations_swish_f64,     kx_activations_swish_grad_f64,
                                          kx_activations_gelu_f64,      kx_activations_gelu_grad_f64,
                                          kx_activations_gelu_tanh_f64, kx_activations_gelu_tanh_grad_f64};
static const unary_f32 functions_f32[] = {kx_activations_softplus_f32,  kx_activations_softplus_grad_f32,
                                          kx_activations_swish_f32,     kx_activations_swish_grad_f32,
                                          kx_activations_gelu_f32,      kx_activations_gelu_grad_f32,
                                          kx_activations_gelu_tanh_f32, kx_activations_gelu_tanh_grad_f32};

/* n is read by the functions of two operands alone */
static kx_status_t call_f64(int function, const double *x, const double *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
                            double *out, ptrdiff_t out_stride) {
    if (function == EXP_TAYLOR) return kx_activations_exp_taylor_f64(x, n, count, x_stride, n_stride, out, out_stride);
    if (function == EXP_TAYLOR_GRAD) return kx_activations_exp_taylor_grad_f64(x, n, count, x_stride, n_stride, out, out_stride);
    return functions_f64[function](x, count, x_stride, out, out_stride);
}
static kx_status_t call_f32(int function, const float *x, const float *n, int64_t count, ptrdiff_t x_stride, ptrdiff_t n_stride,
                            float *out, ptrdiff_t out_stride) {
    if (function == EXP_TAYLOR) return kx_activations_exp_taylor_f32(x, n, count, x_stride, n_stride, out, out_stride);
    if (function == EXP_TAYLOR_GRAD) return kx_activations_exp_taylor_grad_f32(x, n, count, x_stride, n_stride, out, out_stride);
    return functions_f32[function](x, count, x_stride, out, out_stride);
}

/* Phi(-a): erfc of the rounded a / sqrt(2) is put right by the exponential of what its square lost. */
static long double normal_tail(long double a) {
    const long double s = a * 0.7071067811865475244008443621048490393L, square = s * s;
    const long double lost = fmal(a, a / 2, -square) - fmal(s, s, -square);
    return erfcl(s) / 2 * (1 - lost);
}
static long double normal_density(long double a) {
    const long double half = a * a / 2, lost = fmal(a, a / 2, -half);
    return expl(-half) * (1 - lost) * 0.3989422804014326779399460599343818685L;
}

/* The value, and in *kept the share of it that is left after cancellation. */
static long double exact(int function, long double x, long double n, long double *kept) {
    const long double a = fabsl(x), root = 1.5957691216057307117597842397375274738L; /* 2 sqrt(2 / pi) */
    *kept = 1;
    if (function >= EXP_TAYLOR) {
        long double sum = 0, sizes = 0, term = 1;
        if (function == EXP_TAYLOR_GRAD) n -= 1;
        if (n < 0) return 0;
        for (long double k = 0; k <= n; k++) {
            sum += term, sizes += fabsl(term);
            term = term * x / (k + 1);
        }
        *kept = fabsl(sum) / sizes / (n + 1);
        return sum;
    }
    if (function == SOFTPLUS) return x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
    if (function == GELU) return x > 0 ? x * (1 - normal_tail(a)) : x * normal_tail(a);
    if (function == GELU_GRAD) {
        const long double tail = normal_tail(a), rest = a * normal_density(a);
        if (x >= 0) return 1 - (tail - rest);
        *kept = fabsl(tail - rest) / tail;
        return tail - rest;
    }
    const int is_tanh = function == GELU_TANH || function == GELU_TANH_GRAD;
    const long double w = is_tanh ? root * (a + 0.044715L * a * a * a) : a, u = expl(-w);
    const long double s = x < 0 ? u / (1 + u) : 1 / (1 + u);
    if (function == SOFTPLUS_GRAD) return s;
    if (function == SWISH || function == GELU_TANH) return x * s;
    const long double slope = is_tanh ? root * (a + 3 * 0.044715L * a * a * a) : a;
    const long double left = u / (1 + u) / (1 + u) * (1 + u - slope);
    if (x >= 0) return 1 - left;
    *kept = fabsl(1 + u - slope);
    return left;
}

/* Where long double is double, an exponential's argument has no digits to spare. */
static const int has_digits = LDBL_MANT_DIG >= 64;

enum { BATCH = 4096 };
static double worst_f64[FUNCTIONS], worst_f32[FUNCTIONS];

static int is_comparable(int function, long double x, long double n, long double *reference) {
    long double kept;
    *reference = exact(function, x, n, &kept);
    return !isnan(*reference) && kept > 1 / 64.L && (has_digits || (fabsl(x) < 2 && kept > 0.5L));
}

static void compare(int function, const double *x, const double *n, const char *what) {
    const double limit_f64 = has_digits ? 2 : 8;
    double got[BATCH], worst = 0;
    float x32[BATCH], n32[BATCH], got32[BATCH];
    int where = 0, overflow_due = 0, compared = 0;
    feclearexcept(FE_ALL_EXCEPT);
    call_f64(function, x, n, BATCH, 8, 8, got, 8);
    int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    for (int i = 0; i < BATCH; i++) {
        long double reference;
        if (isinf(got[i])) overflow_due = 1;
        if (!is_comparable(function, (long double)x[i], (long double)n[i], &reference)) continue;
        compared++;
        const double error = check_ulps_f64(got[i], reference);
        if (error > worst) worst = error, where = i;
    }
    CHECK(worst <= limit_f64, "%s f64, %s: %g ulp at x = %a, n = %g: %a", names[function], what, worst, x[where], n[where],
          got[where]);
    CHECK(overflow_due || flags == 0, "%s f64, %s: spurious flags %x", names[function], what, (unsigned)flags);
    CHECK(compared > (function < EXP_TAYLOR && has_digits ? BATCH / 8 : 0), "%s, %s: %d compared", names[function], what,
          compared);
    if (worst > worst_f64[function]) worst_f64[function] = worst;

    for (int i = 0; i < BATCH; i++) {
        x32[i] = (float)x[i], n32[i] = (float)n[i];
        if (isinf(x32[i])) x32[i] = copysignf(FLT_MAX, x32[i]);
    }
    feclearexcept(FE_ALL_EXCEPT);
    call_f32(function, x32, n32, BATCH, 4, 4, got32, 4);
    flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), overflow_due = 0, worst = 0, where = 0;
    for (int i = 0; i < BATCH; i++) {
        long double reference;
        if (isinf(got32[i])) overflow_due = 1;
        if (!is_comparable(function, (long double)x32[i], (long double)n32[i], &reference)) continue;
        const double error = check_ulps_f32(got32[i], reference);
        if (error > worst) worst = error, where = i;
    }
    CHECK(worst <= 1, "%s f32, %s: %g ulp at x = %a, n = %g: %a", names[function], what, worst, (double)x32[where],
          (double)n32[where], (double)got32[where]);
    CHECK(overflow_due || flags == 0, "%s f32, %s: spurious flags %x", names[function], what, (unsigned)flags);
    if (worst > worst_f32[function]) worst_f32[function] = worst;
}

static double draw_x(int kind) {
    for (;;) {
        const double x = kind == 0   ? check_uniform(-4, 4)
                         : kind == 1 ? check_uniform(-60, 40)
                         : kind == 2 ? check_uniform(-760, 720)
                         : kind == 3 ? check_uniform(-1, 1) * exp2(check_uniform(-70, 4))
                         : kind == 4 ? (double)check_float((uint32_t)check_random())
                                     : check_double(check_random());
        if (isfinite(x)) return x;
    }
}

static void test_accuracy(int rounds) {
    static double x[BATCH], n[BATCH];
    for (int round = 0; round < rounds; round++)
        for (int kind = 0; kind < 6; kind++) {
            char what[16];
            snprintf(what, sizeof what, "kind %d", kind);
            for (int i = 0; i < BATCH; i++) x[i] = draw_x(kind), n[i] = (double)(check_random() % 20);
            for (int function = 0; function < FUNCTIONS; function++) compare(function, x, n, what);
        }
}

typedef struct special {
    int function;
    double x, n, value;
    int flags;
} special;

static void test_special_values(void) {
    const double inf = INFINITY, nan = NAN;
    const special table[] = {
        {SOFTPLUS, inf, 0, inf, 0}, {SOFTPLUS, -inf, 0, 0, 0}, {SOFTPLUS, nan, 0, nan, 0}, {SOFTPLUS, -1e6, 0, 0, 0},
        {SOFTPLUS, 1e6, 0, 1e6, 0}, {SOFTPLUS, FLT_MAX, 0, FLT_MAX, 0}, {SOFTPLUS_GRAD, inf, 0, 1, 0},
        {SOFTPLUS_GRAD, -inf, 0, 0, 0}, {SOFTPLUS_GRAD, nan, 0, nan, 0}, {SOFTPLUS_GRAD, 0, 0, 0.5, 0},
        {SOFTPLUS_GRAD, 1e6, 0, 1, 0}, {SOFTPLUS_GRAD, -1e6, 0, 0, 0}, {SWISH, inf, 0, inf, 0}, {SWISH, -inf, 0, -0.0, 0},
        {SWISH, nan, 0, nan, 0}, {SWISH, 0, 0, 0, 0}, {SWISH, -0.0, 0, -0.0, 0}, {SWISH, -1e6, 0, -0.0, 0},
        {SWISH, 1e6, 0, 1e6, 0}, {SWISH_GRAD, inf, 0, 1, 0}, {SWISH_GRAD, -inf, 0, 0, 0}, {SWISH_GRAD, nan, 0, nan, 0},
        {SWISH_GRAD, 0, 0, 0.5, 0}, {SWISH_GRAD, -0.0, 0, 0.5, 0}, {SWISH_GRAD, 1e6, 0, 1, 0}, {GELU, inf, 0, inf, 0},
        {GELU, -inf, 0, -0.0, 0}, {GELU, nan, 0, nan, 0}, {GELU, 0, 0, 0, 0}, {GELU, -0.0, 0, -0.0, 0}, {GELU, -1e6, 0, -0.0, 0},
        {GELU, 1e6, 0, 1e6, 0}, {GELU_GRAD, inf, 0, 1, 0}, {GELU_GRAD, -inf, 0, 0, 0}, {GELU_GRAD, nan, 0, nan, 0},
        {GELU_GRAD, 0, 0, 0.5, 0}, {GELU_GRAD, 1e6, 0, 1, 0}, {GELU_TANH, inf, 0, inf, 0}, {GELU_TANH, -inf, 0, -0.0, 0},
        {GELU_TANH, nan, 0, nan, 0}, {GELU_TANH, 0, 0, 0, 0}, {GELU_TANH, -0.0, 0, -0.0, 0}, {GELU_TANH, FLT_MAX, 0, FLT_MAX, 0},
        {GELU_TANH_GRAD, inf, 0, 1, 0}, {GELU_TANH_GRAD, -inf, 0, 0, 0}, {GELU_TANH_GRAD, nan, 0, nan, 0},
        {GELU_TANH_GRAD, 0, 0, 0.5, 0}, {GELU_TANH_GRAD, -1e6, 0, -0.0, 0},
        {EXP_TAYLOR, 7, 0, 1, 0}, {EXP_TAYLOR, inf, 0, 1, 0}, {EXP_TAYLOR, -inf, 0, 1, 0}, {EXP_TAYLOR, 7, -0.0, 1, 0},
        {EXP_TAYLOR, inf, 3, inf, 0}, {EXP_TAYLOR, -inf, 3, -inf, 0}, {EXP_TAYLOR, -inf, 4, inf, 0}, {EXP_TAYLOR, -1, 1, 0, 0},
        {EXP_TAYLOR, nan, 2, nan, 0}, {EXP_TAYLOR, 2, nan, nan, 0}, {EXP_TAYLOR, nan, -1, nan, 0}, {EXP_TAYLOR, nan, 0, nan, 0},
        {EXP_TAYLOR, 2, -1, nan, FE_INVALID}, {EXP_TAYLOR, 2, 1.5, nan, FE_INVALID}, {EXP_TAYLOR, 2, inf, nan, FE_INVALID},
        {EXP_TAYLOR, 2, -inf, nan, FE_INVALID}, {EXP_TAYLOR, 2, 0.25, nan, FE_INVALID}, {EXP_TAYLOR, 2, 2, 5, 0},
        {EXP_TAYLOR, -2, 2, 1, 0}, {EXP_TAYLOR, 0, 1e6, 1, 0}, {EXP_TAYLOR, 1e30, 60, inf, FE_OVERFLOW},
        {EXP_TAYLOR, -1e30, 60, inf, FE_OVERFLOW}, {EXP_TAYLOR, -1e30, 61, -inf, FE_OVERFLOW},
        {EXP_TAYLOR, 900, 900, inf, FE_OVERFLOW}, {EXP_TAYLOR, 2000, 1e6, inf, FE_OVERFLOW},
        {EXP_TAYLOR, -1e6, 1e6, inf, FE_OVERFLOW},
        {EXP_TAYLOR, -1e6, 1e6 + 1, -inf, FE_OVERFLOW}, {EXP_TAYLOR, -2000, 1e7, 0, 0}, {EXP_TAYLOR, 0x1p100, 1, 0x1p100, 0},
        {EXP_TAYLOR, 0x1p-149, 60, 1, 0}, {EXP_TAYLOR, 0x1p-1074, 60, 1, 0}, {EXP_TAYLOR, -0x1p-1074, 61, 1, 0},
        {EXP_TAYLOR, 0x1p-1074, 0x1p50, 1, 0}, {EXP_TAYLOR, 0, 0x1p51, nan, FE_INVALID},
        {EXP_TAYLOR, inf, 0x1p51, nan, FE_INVALID}, {EXP_TAYLOR, -0x1.78b56362cef38p73, 0x1p75, nan, FE_INVALID},
        {EXP_TAYLOR_GRAD, 7, 0, 0, 0}, {EXP_TAYLOR_GRAD, inf, 0, 0, 0}, {EXP_TAYLOR_GRAD, inf, 1, 1, 0},
        {EXP_TAYLOR_GRAD, 7, 1, 1, 0},
        {EXP_TAYLOR_GRAD, 7, 2, 8, 0}, {EXP_TAYLOR_GRAD, -inf, 2, -inf, 0}, {EXP_TAYLOR_GRAD, 1e30, 0, 0, 0},
        {EXP_TAYLOR_GRAD, 1e30, 1, 1, 0}, {EXP_TAYLOR_GRAD, nan, 0, nan, 0}, {EXP_TAYLOR_GRAD, 2, 0.5, nan, FE_INVALID},
        {EXP_TAYLOR_GRAD, 2, -1, nan, FE_INVALID}, {EXP_TAYLOR_GRAD, 2, 0x1p51, nan, FE_INVALID},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        const special *s = table + k;
        double got = 99;
        feclearexcept(FE_ALL_EXCEPT);
        kx_status_t status = call_f64(s->function, &s->x, &s->n, 1, 8, 0, &got, 8);
        int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
        CHECK(status == KX_OK && (isnan(s->value) ? isnan(got) : got == s->value && !signbit(got) == !signbit(s->value)),
              "%s(%g, %g) = %g", names[s->function], s->x, s->n, got);
        CHECK(flags == s->flags, "%s(%g, %g): flags %x, not %x", names[s->function], s->x, s->n, (unsigned)flags,
              (unsigned)s->flags);
        float x32 = (float)s->x, n32 = (float)s->n, got32 = 99;
        feclearexcept(FE_ALL_EXCEPT);
        status = call_f32(s->function, &x32, &n32, 1, 4, 0, &got32, 4);
        flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
        const float value32 = (float)s->value;
        CHECK(status == KX_OK && (isnan(value32) ? isnan(got32) : got32 == value32 && !signbit(got32) == !signbit(value32)),
              "%s(%g, %g) = %g in float32", names[s->function], s->x, s->n, (double)got32);
        CHECK(flags == s->flags, "%s(%g, %g) in float32: flags %x, not %x", names[s->function], s->x, s->n, (unsigned)flags,
              (unsigned)s->flags);
    }
}

/* Arguments for the layouts: ordinary ones, and one in eight that is not. */
static void draw(double *x, double *n) {
    const double odd[] = {INFINITY, -INFINITY, NAN, 0, -0.0, 1e7, -1e300, 1e-310};
    const int is_odd = check_random() % 8 == 0;
    *x = is_odd ? odd[check_random() % 8] : draw_x((int)(check_random() % 4));
    *n = is_odd && check_random() % 2 ? 0.5 : (double)(check_random() % 60);
}

/* Any strides, any alignment, any length, in place: the same bits as one item at a time, and nothing else is written. */
static void test_layout(size_t size, int function) {
    enum { MOST = 1100, ROOM = 64 * MOST };
    static char x[ROOM], n_of_x[ROOM], out[ROOM], before[ROOM];
    const ptrdiff_t strides[] = {(ptrdiff_t)size, 0, 2 * (ptrdiff_t)size, -(ptrdiff_t)size, 13, -24, 29};
    const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 15, 16, 17, 33, 255, 256, 257, 1027};
    for (int trial = 0; trial < 200; trial++) {
        const int64_t count = sizes[check_random() % 14];
        ptrdiff_t x_stride = strides[check_random() % 7], n_stride = strides[check_random() % 7];
        ptrdiff_t out_stride = strides[check_random() % 7];
        if (trial % 4 == 0) x_stride = n_stride = out_stride = (ptrdiff_t)size;
        if (out_stride == 0) out_stride = (ptrdiff_t)size;
        const int in_place = trial % 5 == 0;
        if (in_place) x_stride = out_stride;
        const ptrdiff_t middle = ROOM / 2 + (trial % 2 ? (ptrdiff_t)(check_random() % 9) : 0);
        char *px = x + middle, *pn = n_of_x + middle, *po = (in_place ? x : out) + middle;
        for (int64_t i = 0; i < count; i++) {
            double xi, ni;
            draw(&xi, &ni);
            const float xf = (float)xi, nf = (float)ni;
            memcpy(px + i * x_stride, size == 8 ? (const void *)&xi : (const void *)&xf, size);
            memcpy(pn + i * n_stride, size == 8 ? (const void *)&ni : (const void *)&nf, size);
        }
        static char expected[MOST][8];
        for (int64_t i = 0; i < count; i++) {
            if (size == 8) {
                double a, b, value;
                memcpy(&a, px + i * x_stride, 8), memcpy(&b, pn + i * n_stride, 8);
                call_f64(function, &a, &b, 1, 8, 8, &value, 8);
                memcpy(expected[i], &value, 8);
            } else {
                float a, b, value;
                memcpy(&a, px + i * x_stride, 4), memcpy(&b, pn + i * n_stride, 4);
                call_f32(function, &a, &b, 1, 4, 4, &value, 4);
                memcpy(expected[i], &value, 4);
            }
        }
        memcpy(before, in_place ? x : out, ROOM);
        if (size == 8)
            call_f64(function, (const double *)(void *)px, (const double *)(void *)pn, count, x_stride, n_stride,
                     (double *)(void *)po, out_stride);
        else
            call_f32(function, (const float *)(void *)px, (const float *)(void *)pn, count, x_stride, n_stride,
                     (float *)(void *)po, out_stride);
        int64_t wrong = -1;
        for (int64_t i = 0; i < count; i++) {
            if (memcmp(po + i * out_stride, expected[i], size) != 0) wrong = i;
            memcpy(before + (po - (in_place ? x : out)) + i * out_stride, expected[i], size);
        }
        CHECK(wrong < 0, "%s, item size %zu, n %lld, strides %td %td %td: item %lld differs", names[function], size,
              (long long)count, x_stride, n_stride, out_stride, (long long)wrong);
        CHECK(memcmp(before, in_place ? x : out, ROOM) == 0, "%s wrote outside of its output", names[function]);
    }
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    printf("test_activations_smooth, %s\n", kx_isa_name());
    test_special_values();
    for (int function = 0; function < FUNCTIONS; function++) test_layout(4, function), test_layout(8, function);
    test_accuracy(is_long ? 200 : 5);
    for (int function = 0; function < FUNCTIONS; function++)
        printf("%-20s worst error: float32 %.3f ulp, float64 %.3f ulp\n", names[function], worst_f32[function],
               worst_f64[function]);
    return check_report();
}
