/* Softmax and its relatives: accuracy against long double, special values and flags, every layout, nothing written elsewhere. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { SOFTMAX, LOG_SOFTMAX, LOGSUMEXP, ENTROPY, TAYLOR, VJP, LOG_VJP, LOGSUMEXP_VJP, TAYLOR_VJP, FUNCTIONS };
static const char *const names[] = {"softmax", "log", "logsumexp", "entropy", "taylor", "vjp", "log_vjp", "logsumexp_vjp",
                                    "taylor_vjp"};
enum { ORDER = 6, MOST = 2600, BUFFER = 1 << 20 };
static int gives_number(int function) { return function == LOGSUMEXP || function == ENTROPY; }

typedef struct layout {
    int64_t rows, n;
    ptrdiff_t x_row, x_step, grad_row, grad_step, out_row, out_step;
} layout;

static void call_f64(int function, const double *x, const double *grad, const layout *l, double *out) {
    kx_status_t status = KX_E_INTERNAL;
    switch (function) {
        case SOFTMAX: status = kx_softmax_f64(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row, l->out_step); break;
        case LOG_SOFTMAX: status = kx_softmax_log_f64(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row, l->out_step); break;
        case LOGSUMEXP: status = kx_softmax_logsumexp_f64(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row); break;
        case ENTROPY: status = kx_softmax_entropy_f64(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row); break;
        case TAYLOR:
            status = kx_softmax_taylor_f64(x, l->rows, l->n, l->x_row, l->x_step, ORDER, -(double)INFINITY, out,
                                           l->out_row, l->out_step);
            break;
        case VJP:
            status = kx_softmax_vjp_f64(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, out, l->out_row,
                                        l->out_step);
            break;
        case LOG_VJP:
            status = kx_softmax_log_vjp_f64(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, out,
                                            l->out_row, l->out_step);
            break;
        case LOGSUMEXP_VJP:
            status = kx_softmax_logsumexp_vjp_f64(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, out,
                                                  l->out_row, l->out_step);
            break;
        default:
            status = kx_softmax_taylor_vjp_f64(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, ORDER,
                                               -(double)INFINITY, out, l->out_row, l->out_step);
    }
    CHECK(status == KX_OK, "%s: status %d", names[function], status);
}
static void call_f32(int function, const float *x, const float *grad, const layout *l, float *out) {
    kx_status_t status = KX_E_INTERNAL;
    switch (function) {
        case SOFTMAX: status = kx_softmax_f32(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row, l->out_step); break;
        case LOG_SOFTMAX: status = kx_softmax_log_f32(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row, l->out_step); break;
        case LOGSUMEXP: status = kx_softmax_logsumexp_f32(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row); break;
        case ENTROPY: status = kx_softmax_entropy_f32(x, l->rows, l->n, l->x_row, l->x_step, out, l->out_row); break;
        case TAYLOR:
            status = kx_softmax_taylor_f32(x, l->rows, l->n, l->x_row, l->x_step, ORDER, -(double)INFINITY, out,
                                           l->out_row, l->out_step);
            break;
        case VJP:
            status = kx_softmax_vjp_f32(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, out, l->out_row,
                                        l->out_step);
            break;
        case LOG_VJP:
            status = kx_softmax_log_vjp_f32(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, out,
                                            l->out_row, l->out_step);
            break;
        case LOGSUMEXP_VJP:
            status = kx_softmax_logsumexp_vjp_f32(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, out,
                                                  l->out_row, l->out_step);
            break;
        default:
            status = kx_softmax_taylor_vjp_f32(x, grad, l->rows, l->n, l->x_row, l->x_step, l->grad_row, l->grad_step, ORDER,
                                               -(double)INFINITY, out, l->out_row, l->out_step);
    }
    CHECK(status == KX_OK, "%s: status %d", names[function], status);
}

/* The exact results of a row, and for each the size of what it is a difference of. */
static void reference(int function, const double *x, const double *grad, int64_t n, long double *exact, long double *scale) {
    static long double f[MOST], slope[MOST];
    long double top = -INFINITY, sum = 0, dot = 0, grads = 0, sizes = 0, rest = 0, information = 0;
    int64_t where = 0;
    for (int64_t i = 0; i < n; i++) {
        const long double xi = (long double)x[i];
        if (xi > top) top = xi, where = i;
        grads += (long double)grad[i], sizes += fabsl((long double)grad[i]);
    }
    for (int64_t i = 0; i < n; i++) {
        const long double xi = (long double)x[i];
        f[i] = function == VJP ? xi : expl(xi - top);
        if (function == TAYLOR || function == TAYLOR_VJP) {
            f[i] = 1;
            for (int k = ORDER; k > 1; k--) f[i] = 1 + xi * f[i] / k;
            slope[i] = 1;
            for (int k = ORDER - 1; k > 0; k--) slope[i] = 1 + xi * slope[i] / k;
            f[i] = 1 + xi * f[i];
        }
        sum += f[i], dot += f[i] * (long double)grad[i];
        const long double share = function == ENTROPY ? xi / top : f[i];
        if (i != where) rest += share;
        if (share > 0) information -= share * logl(share);
    }
    if (function == ENTROPY) {
        *exact = log1pl(rest) + information / (1 + rest);
        *scale = *exact;
    } else if (function == LOGSUMEXP) {
        *exact = top + log1pl(rest), *scale = fabsl(top) + logl((long double)n);
    }
    for (int64_t i = 0; i < n && !gives_number(function); i++) {
        const long double g = (long double)grad[i], p = f[i] / sum;
        switch (function) {
            case SOFTMAX: case TAYLOR: exact[i] = p, scale[i] = p; break;
            case LOG_SOFTMAX: exact[i] = (long double)x[i] - top - log1pl(rest), scale[i] = fabsl(exact[i]); break;
            case VJP: exact[i] = f[i] * (g - dot), scale[i] = f[i] * sizes; break;
            case LOG_VJP:
                exact[i] = g - expl((long double)x[i]) * grads, scale[i] = fabsl(g) + expl((long double)x[i]) * sizes;
                break;
            case LOGSUMEXP_VJP: exact[i] = p * (long double)grad[0], scale[i] = fabsl(exact[i]); break;
            default: exact[i] = slope[i] / sum * (g - dot / sum), scale[i] = p * sizes;
        }
    }
}

static double worst[FUNCTIONS][2];

/* Any strides and alignment, in place or not, against the reference; nothing else is written. */
static void test_layouts(int function, size_t size, int trials) {
    static char x[BUFFER], grad[BUFFER], out[BUFFER], before[BUFFER];
    static double rows[64][MOST], grads[64][MOST];
    static long double exact[MOST], scale[MOST];
    const int64_t lengths[] = {1, 2, 3, 7, 8, 9, 10, 16, 17, 31, 32, 33, 40, 64, 65, 127, 129, 200};
    const double eps = size == 8 ? DBL_EPSILON : (double)FLT_EPSILON;
    const ptrdiff_t item = (ptrdiff_t)size;
    for (int trial = 0; trial < trials; trial++) {
        layout l = {(int64_t)(check_random() % 40), lengths[check_random() % 18], 0, 0, 0, 0, 0, 0};
        const int is_long = trial % 16 == 15, in_place = trial % 3 == 0 && !gives_number(function);
        if (is_long) l.rows = 1 + (int64_t)(check_random() % 3), l.n = 1000 + (int64_t)(check_random() % (MOST - 1000));
        ptrdiff_t *pairs[3][2] = {{&l.x_row, &l.x_step}, {&l.grad_row, &l.grad_step}, {&l.out_row, &l.out_step}};
        const int alike = (int)(check_random() % 3);
        for (int operand = 0; operand < 3; operand++) {
            const int kind = alike == 2 ? (int)(check_random() % 5) : alike;
            ptrdiff_t *row = pairs[operand][0], *step = pairs[operand][1];
            if (kind == 0) *step = item, *row = l.n * item;
            else if (kind == 1) *row = item, *step = (l.rows + 1) * item;
            else if (kind == 2) *step = -item - 3, *row = -l.n * *step + 5;
            else if (kind == 3) *step = 2 * item, *row = -2 * l.n * item;
            else *row = -item, *step = (l.rows + 2) * item;
        }
        if (in_place) l.out_row = l.x_row, l.out_step = l.x_step;
        if (function == LOGSUMEXP_VJP) l.grad_step = 0;
        const ptrdiff_t middle = BUFFER / 2 + (ptrdiff_t)(check_random() % 9);
        char *px = x + middle, *pg = grad + middle, *po = (in_place ? x : out) + middle;
        for (int64_t i = 0; i < l.rows; i++) {
            double total = 0;
            for (int64_t j = 0; j < l.n; j++) {
                double value = check_uniform(-9, 3);
                if (function == ENTROPY || function == VJP) value = exp(2 * value);
                rows[i][j] = size == 8 ? value : (double)(float)value, total += rows[i][j];
                grads[i][j] = size == 8 ? check_uniform(-2, 2) : (double)(float)check_uniform(-2, 2);
            }
            for (int64_t j = 0; j < l.n && function == VJP; j++)
                rows[i][j] = size == 8 ? rows[i][j] / total : (double)(float)(rows[i][j] / total);
            for (int64_t j = 0; j < l.n; j++) {
                const float xf = (float)rows[i][j], gf = (float)grads[i][j];
                memcpy(px + i * l.x_row + j * l.x_step, size == 8 ? (void *)&rows[i][j] : (const void *)&xf, size);
                if (l.grad_step != 0 || j == 0)
                    memcpy(pg + i * l.grad_row + j * l.grad_step, size == 8 ? (void *)&grads[i][j] : (const void *)&gf, size);
            }
        }
        memcpy(before, in_place ? x : out, BUFFER);
        feclearexcept(FE_ALL_EXCEPT);
        if (size == 8) call_f64(function, (const double *)(void *)px, (const double *)(void *)pg, &l, (double *)(void *)po);
        else call_f32(function, (const float *)(void *)px, (const float *)(void *)pg, &l, (float *)(void *)po);
        const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
        CHECK(flags == 0, "%s: spurious flags %x", names[function], (unsigned)flags);
        const int64_t results = gives_number(function) ? 1 : l.n;
        for (int64_t i = 0; i < l.rows; i++) {
            reference(function, rows[i], grads[i], l.n, exact, scale);
            for (int64_t j = 0; j < results; j++) {
                const ptrdiff_t at = i * l.out_row + j * l.out_step;
                double got;
                float narrow;
                if (size == 8) memcpy(&got, po + at, 8);
                else memcpy(&narrow, po + at, 4), got = (double)narrow;
                memcpy(before + (po - (in_place ? x : out)) + at, po + at, size);
                const double error = scale[j] > 0 ? (double)(fabsl((long double)got - exact[j]) / scale[j]) / eps : fabs(got);
                if (!(error <= worst[function][size == 8])) worst[function][size == 8] = isnan(error) ? INFINITY : error;
            }
        }
        CHECK(memcmp(before, in_place ? x : out, BUFFER) == 0, "%s wrote outside of its output", names[function]);
    }
    const double limit = LDBL_MANT_DIG >= 64 ? 8 : 16;
    CHECK(worst[function][size == 8] <= limit, "%s f%zu: an error of %g eps", names[function], 8 * size,
          worst[function][size == 8]);
}

typedef struct special {
    int function;
    double x[2], out[2];
    int flags;
} special;

static void test_special_values(void) {
    const double inf = INFINITY, nan = NAN;
    const special table[] = {
        {SOFTMAX, {-inf, 0}, {0, 1}, 0}, {SOFTMAX, {-inf, -inf}, {nan, nan}, FE_INVALID},
        {SOFTMAX, {inf, 0}, {nan, nan}, FE_INVALID},
        {SOFTMAX, {nan, 0}, {nan, nan}, 0}, {SOFTMAX, {nan, inf}, {nan, nan}, 0}, {SOFTMAX, {DBL_MAX, -DBL_MAX}, {1, 0}, 0},
        {LOG_SOFTMAX, {-inf, 0}, {-inf, 0}, 0}, {LOG_SOFTMAX, {-inf, -inf}, {nan, nan}, FE_INVALID},
        {LOG_SOFTMAX, {inf, 0}, {nan, -inf}, FE_INVALID}, {LOG_SOFTMAX, {nan, 0}, {nan, nan}, 0},
        {LOGSUMEXP, {-inf, -inf}, {-inf, 0}, 0}, {LOGSUMEXP, {inf, 5}, {inf, 0}, 0}, {LOGSUMEXP, {nan, inf}, {nan, 0}, 0},
        {LOGSUMEXP, {-inf, 3}, {3, 0}, 0}, {ENTROPY, {0, 3}, {0, 0}, 0}, {ENTROPY, {0, 0}, {nan, 0}, FE_INVALID},
        {ENTROPY, {-1, 3}, {nan, 0}, FE_INVALID}, {ENTROPY, {inf, 3}, {nan, 0}, FE_INVALID}, {ENTROPY, {nan, -3}, {nan, 0}, 0},
        {TAYLOR, {inf, 0}, {nan, nan}, FE_INVALID}, {TAYLOR, {-inf, 0}, {nan, nan}, FE_INVALID},
        {TAYLOR, {nan, inf}, {nan, nan}, 0},
        {TAYLOR, {DBL_MAX, 1}, {1, 0}, 0}, {LOGSUMEXP_VJP, {-inf, 0}, {0, 1}, 0},
        {LOGSUMEXP_VJP, {inf, 0}, {nan, nan}, FE_INVALID},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++)
        for (int along = 0; along < 2; along++) {
            enum { ROWS = 19 };
            const special *s = table + k;
            double x[ROWS * 2], grad[ROWS], out[ROWS * 2];
            layout l = {ROWS, 2, 16, 8, 8, 0, 16, 8};
            if (along) l.x_row = l.out_row = 8, l.x_step = l.out_step = ROWS * 8;
            for (int i = 0; i < ROWS; i++) {
                grad[i] = 1;
                for (int j = 0; j < 2; j++) x[(i * l.x_row + j * l.x_step) / 8] = i % 3 == 1 ? s->x[j] : 1;
            }
            feclearexcept(FE_ALL_EXCEPT);
            call_f64(s->function, x, grad, &l, out);
            const int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
            CHECK(flags == s->flags, "%s(%g, %g): flags %x", names[s->function], s->x[0], s->x[1], (unsigned)flags);
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < (gives_number(s->function) ? 1 : 2); j++) {
                    const double got = out[(i * l.out_row + j * l.out_step) / 8];
                    const int fine = i % 3 == 1 ? (isnan(s->out[j]) ? isnan(got) : got == s->out[j]) : isfinite(got);
                    CHECK(fine, "%s(%g, %g): row %d, %d is %g", names[s->function], s->x[0], s->x[1], i, j, got);
                }
        }
    double number = 7;
    const layout none = {1, 0, 0, 8, 0, 0, 8, 0};
    call_f64(LOGSUMEXP, &number, &number, &none, &number);
    CHECK(number == -(double)INFINITY, "logsumexp of nothing is %g", number);
    feclearexcept(FE_ALL_EXCEPT);
    feraiseexcept(FE_DIVBYZERO);
    const double with_nan[2] = {1, nan};
    double out[2];
    const layout one = {1, 2, 16, 8, 16, 8, 16, 8};
    call_f64(SOFTMAX, with_nan, with_nan, &one, out);
    CHECK(fetestexcept(FE_DIVBYZERO | FE_INVALID) == FE_DIVBYZERO, "flags from before were lost");
}

/* An order at which f of the larger entry has an exponent beyond int's range. */
static void test_huge_order(void) {
    const double x[2] = {DBL_MAX, 1e200}, grad[2] = {1, 2};
    double out[2], slopes[2];
    kx_softmax_taylor_f64(x, 1, 2, 16, 8, 3000000, -(double)INFINITY, out, 16, 8);
    CHECK(out[0] == 1 && out[1] == 0, "order 3e6: %g, %g", out[0], out[1]);
    kx_softmax_taylor_vjp_f64(x, grad, 1, 2, 16, 8, 16, 8, 3000000, -(double)INFINITY, slopes, 16, 8);
    CHECK(slopes[0] == 0 && slopes[1] == 0, "order 3e6: a gradient of %g, %g", slopes[0], slopes[1]);
}

/* METHODS R21 and R02 */
static void test_reference_values(void) {
    const double x[5] = {-4, -1, 0, 0.5, 2}, p[4] = {0.5, 0.25, 0.15, 0.1};
    const double six[5] = {0.1720605939873719, 0.02937890296820461, 0.07982192504568801, 0.1316039737737859, 0.5871346042249495};
    double out[5], entropy;
    const layout l = {1, 5, 40, 8, 40, 8, 40, 8}, four = {1, 4, 32, 8, 32, 8, 8, 8};
    call_f64(TAYLOR, x, x, &l, out);
    for (int i = 0; i < 5; i++) CHECK(fabs(out[i] / six[i] - 1) < 2e-15, "Taylor softmax of %g is %.17g", x[i], out[i]);
    call_f64(ENTROPY, p, p, &four, &entropy);
    CHECK(fabs(entropy / 1.2079736875922320731 - 1) < 4e-16, "an entropy of %.17g", entropy);
}

int main(int argc, char **argv) {
    const int trials = check_is_long(argc, argv) ? 4000 : 160;
    printf("test_softmax, %s\n", kx_isa_name());
    test_special_values();
    test_huge_order();
    test_reference_values();
    for (int function = 0; function < FUNCTIONS; function++) {
        test_layouts(function, 8, trials);
        test_layouts(function, 4, trials);
        printf("%-14s worst error: float32 %.2f eps, float64 %.2f eps\n", names[function], worst[function][0],
               worst[function][1]);
    }
    return check_report();
}
