/* Classification with alternating normalisation: METHODS' values; uncertainties against a sort in long double, for all k, kinds,
   widths and ties; the definition row by row; powers out of range; strides, workers, statuses, memory, cancelling. */
#ifndef REAL
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

typedef struct watch {
    int64_t left; /* allocations that succeed; negative: all */
    int live, cancels;
} watch;
static void *watching_allocate(void *state, size_t bytes) {
    watch *w = state;
    if (w->left == 0) return NULL;
    w->left--;
    w->live++;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}
static void watching_release(void *state, void *block) {
    ((watch *)state)->live--;
    free(block);
}
static int cancel_at_once(void *state) {
    ((watch *)state)->cancels++;
    return 1;
}

static int is_larger_first(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

static long double share_of(const double *descending, int64_t k) {
    long double total = 0, entropy = 0;
    for (int64_t i = 0; i < k; i++) total += descending[i];
    for (int64_t i = 0; i < k; i++)
        if (descending[i] > 0) entropy -= descending[i] / total * logl(descending[i] / total);
    return entropy / logl((long double)k);
}

static double expected_uncertainty(const double *row, int64_t n, int64_t k, kx_uncertainty_t kind) {
    double *sorted = malloc((size_t)n * sizeof *sorted);
    memcpy(sorted, row, (size_t)n * sizeof *sorted);
    qsort(sorted, (size_t)n, sizeof *sorted, is_larger_first);
    const int64_t most = k < n ? k : n;
    long double value = 0;
    if (kind == KX_UNCERTAINTY_REPO) {
        for (int64_t i = 2; i < k && i <= n; i++) value = fmaxl(value, share_of(sorted, i));
    } else if (kind == KX_UNCERTAINTY_POST) {
        if (most > 1) value = share_of(sorted, most);
    } else if (most > 1) {
        for (int64_t i = 0; i < most; i++)
            if (sorted[i] > 0) value -= sorted[i] * logl(sorted[i]);
        value /= logl((long double)n);
    }
    free(sorted);
    return (double)value;
}

/* prior p^alpha / (S + p^alpha), scaled to 1; every column that p has must have a sum in range. */
static void expected_row(const double *p, const long double *sums, const double *prior, int64_t n, double alpha, double *out) {
    long double total = 0, *weights = malloc((size_t)n * sizeof *weights);
    for (int64_t j = 0; j < n; j++) {
        const long double x = p[j] > 0 ? powl(p[j], alpha) : 0;
        weights[j] = x > 0 ? prior[j] * x / (sums[j] + x) : 0;
        total += weights[j];
    }
    for (int64_t j = 0; j < n; j++) out[j] = (double)(weights[j] / total);
    free(weights);
}

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define T(name) JOIN(name, SUFFIX)

#define REAL double
#define SUFFIX f64
#define EPSILON DBL_EPSILON
#include "test_classification_can.c"
#undef REAL
#undef SUFFIX
#undef EPSILON
#define REAL float
#define SUFFIX f32
#define EPSILON ((double)FLT_EPSILON)
#include "test_classification_can.c"

static void test_values(void) {
    static const double p[] = {.90, .06, .03, .01, .05, .85, .05, .05, .10, .05, .80, .05,
                               .80, .10, .05, .05, .30, .28, .22, .20, .05, .45, .46, .04};
    static const double prior[] = {.4, .2, .2, .2};
    static const double uncertainties[][6] = {
        {0.32996264968, 0.372705296417, 0.488493136314, 0.488493136314, 0.992405942079, 0.784255675259},
        {0.2660516080576831, 0.3157441375401029, 0.40291584507149714, 0.40291584507149714, 0.757941719430445, 0.624916572152394}};
    static const double rows[][4] = {
        {0.255890252835801, 0.1467675938052639, 0.12821002315996655, 0.46913213019896854},
        {0.34017923666769523, 0.17831758176396517, 0.17258390515414457, 0.308919276414195}};
    double u[6], out[24];
    for (int kind = 0; kind < 2; kind++) {
        CHECK(kx_classification_topk_entropy_f64(NULL, p, 6, 4, 32, 3, (kx_uncertainty_t)kind, u) == KX_OK, "kind %d", kind);
        for (int i = 0; i < 6; i++) CHECK(fabs(u[i] - uncertainties[kind][i]) < 1e-10, "kind %d, row %d: %.15g", kind, i, u[i]);
    }
    kx_can_options_t options;
    kx_can_options_init(&options);
    for (int c = 0; c < 2; c++) {
        options.alpha = c ? 0.5 : 1;
        CHECK(kx_classification_can_f64(NULL, p, 6, 4, 32, prior, &options, out, 32, u) == KX_OK, "alpha %g", options.alpha);
        for (int j = 0; j < 4; j++) CHECK(fabs(out[16 + j] - rows[c][j]) < 1e-14, "alpha %g: %.17g", options.alpha, out[16 + j]);
        CHECK(memcmp(out, p, 16 * sizeof *p) == 0 && memcmp(out + 20, p + 20, 4 * sizeof *p) == 0, "a certain row has moved");
    }
    static const double ranks[] = {.5, .25, .25, .5, .5, 0};
    CHECK(kx_classification_topk_entropy_f64(NULL, ranks, 2, 3, 24, 2, KX_UNCERTAINTY_POST, u) == KX_OK, "ranks");
    CHECK(fabs(u[0] - 0.9182958340544894) < 1e-15 && u[1] == 1, "ranks: %.17g %.17g", u[0], u[1]);
}

int main(void) {
    test_values();
    test_precision_f64();
    test_precision_f32();
    return check_report();
}

#else

typedef struct T(batch) {
    int64_t rows, n;
    REAL *p;
    double *exact; /* the same numbers */
} T(batch);

/* A third of the rows is nearly certain, some entries are 0 and some are equal. */
static T(batch) T(make_batch)(int64_t rows, int64_t n) {
    T(batch) b = {rows, n, malloc((size_t)(rows * n) * sizeof(REAL)), malloc((size_t)(rows * n) * sizeof(double))};
    for (int64_t i = 0; i < rows; i++) {
        double *row = b.exact + i * n, total = 0;
        for (int64_t j = 0; j < n; j++) {
            row[j] = check_random() % 5 == 0 ? 0 : check_random() % 7 == 0 ? 0.25 : check_uniform(0, 1);
            if (i % 3 == 0) row[j] *= 0.05 / (double)n;
        }
        row[check_random() % (uint64_t)n] += 1;
        for (int64_t j = 0; j < n; j++) total += row[j];
        for (int64_t j = 0; j < n; j++) row[j] = (double)(b.p[i * n + j] = (REAL)(row[j] / total));
    }
    return b;
}
static void T(free_batch)(T(batch) * b) {
    free(b->p);
    free(b->exact);
}

static void T(test_uncertainty)(void) {
    const int64_t widths[] = {1, 2, 3, 5, 7, 8, 9, 16, 17, 33, 100, 300};
    for (int w = 0; w < 12; w++) {
        const int64_t n = widths[w], rows = 21;
        T(batch) b = T(make_batch)(rows, n);
        REAL u[21];
        for (int64_t k = 1; k < 40; k += k < 12 ? 1 : 9)
            for (int kind = 0; kind < 3; kind++) {
                const ptrdiff_t stride = n * (ptrdiff_t)sizeof(REAL);
                const kx_status_t status =
                    T(kx_classification_topk_entropy)(NULL, b.p, rows, n, stride, k, (kx_uncertainty_t)kind, u);
                CHECK(status == KX_OK, "n %d, k %d: status %d", (int)n, (int)k, (int)status);
                for (int64_t i = 0; i < rows; i++) {
                    const double expected = expected_uncertainty(b.exact + i * n, n, k, (kx_uncertainty_t)kind);
                    CHECK(fabs((double)u[i] - expected) <= 1e-14 + EPSILON, "n %d, k %d, kind %d, row %d: %.17g, not %.17g",
                          (int)n, (int)k, kind, (int)i, (double)u[i], expected);
                }
            }
        T(free_batch)(&b);
    }
    /* Equal entries are as uncertain as can be, and one entry is not at all. */
    REAL flat[64], sharp[64] = {0}, u;
    for (int j = 0; j < 64; j++) flat[j] = (REAL)(1. / 64);
    sharp[5] = 1;
    for (int64_t k = 2; k <= 64; k++) {
        kx_status_t status = T(kx_classification_topk_entropy)(NULL, flat, 1, 64, 0, k, KX_UNCERTAINTY_POST, &u);
        CHECK(status == KX_OK && u == 1, "flat, k %d", (int)k);
        status = T(kx_classification_topk_entropy)(NULL, sharp, 1, 64, 0, k, KX_UNCERTAINTY_POST, &u);
        CHECK(status == KX_OK && u == 0, "sharp, k %d", (int)k);
    }
}

static void T(test_definition)(void) {
    const int64_t widths[] = {1, 2, 4, 9, 31, 100, 260};
    const double alphas[] = {1, 0.1, 0.5, 2, 9};
    for (int w = 0; w < 7; w++)
        for (int a = 0; a < 5; a++) {
            const int64_t n = widths[w], rows = 700;
            T(batch) b = T(make_batch)(rows, n);
            double *prior = malloc((size_t)n * sizeof *prior), *row = malloc((size_t)n * sizeof *row);
            long double *sums = calloc((size_t)n, sizeof *sums);
            REAL *u = malloc((size_t)rows * sizeof *u), *out = malloc((size_t)(rows * n) * sizeof *out);
            for (int64_t j = 0; j < n; j++) prior[j] = check_uniform(0.1, 3);
            kx_can_options_t options;
            kx_can_options_init(&options);
            options.alpha = alphas[a];
            options.threshold = 0.7;
            const ptrdiff_t stride = n * (ptrdiff_t)sizeof(REAL);
            CHECK(T(kx_classification_can)(NULL, b.p, rows, n, stride, prior, &options, out, stride, u) == KX_OK, "n %d", (int)n);
            for (int64_t i = 0; i < rows; i++)
                for (int64_t j = 0; j < n; j++)
                    if ((double)u[i] < 0.7 && b.exact[i * n + j] > 0) sums[j] += powl(b.exact[i * n + j], options.alpha);
            for (int64_t i = 0; i < rows; i++) {
                if ((double)u[i] < 0.7) {
                    CHECK(memcmp(out + i * n, b.p + i * n, (size_t)stride) == 0, "certain row %d of width %d", (int)i, (int)n);
                    continue;
                }
                expected_row(b.exact + i * n, sums, prior, n, options.alpha, row);
                double worst = 0;
                for (int64_t j = 0; j < n; j++) worst = fmax(worst, fabs((double)out[i * n + j] - row[j]));
                CHECK(worst <= 1e-13 + EPSILON, "n %d, alpha %g, row %d: %g", (int)n, options.alpha, (int)i, worst);
            }
            T(free_batch)(&b);
            free(prior), free(row), free(sums), free(u), free(out);
        }
}

/* Columns whose powers are below the least double, beside others: only ratios within a column matter. */
static void T(test_range)(void) {
    enum { N = 5 };
    const REAL p[] = {(REAL)0.9, (REAL)0.1, (REAL)1e-30, (REAL)2e-30, 0, (REAL)0.5, (REAL)0.5, (REAL)3e-30, (REAL)1e-30, 0};
    const double prior[N] = {1, 2, 3, 4, 5};
    REAL u[2], out[2 * N];
    kx_can_options_t options;
    kx_can_options_init(&options);
    for (double alpha = 1; alpha < 2000; alpha *= 1.7) {
        options.alpha = alpha;
        options.k = 2;
        const ptrdiff_t stride = N * sizeof(REAL);
        CHECK(T(kx_classification_can)(NULL, p, 2, N, stride, prior, &options, out, stride, u) == KX_OK, "alpha %g", alpha);
        double expected[N], total = 0;
        for (int j = 0; j < N; j++) {
            const double ratio = (double)p[N + j] / (double)p[j];
            expected[j] = p[N + j] > 0 ? prior[j] / (1 + pow(ratio, -alpha)) : 0;
            total += expected[j];
        }
        for (int j = 0; j < N; j++)
            CHECK(fabs((double)out[N + j] - expected[j] / total) < 1e-12 + EPSILON, "alpha %g, column %d: %.17g, not %.17g",
                  alpha, j, (double)out[N + j], expected[j] / total);
    }
    /* The weights are as small as the prior, the ratios are not. */
    const double steep[N] = {1, 1e-323, 1e-300, 2e-300, 1};
    const REAL halves[] = {1, 0, 0, 0, 0, 0, 0, (REAL)0.5, (REAL)0.5, 0};
    for (int a = 0; a < 2; a++) {
        options.alpha = a ? 2 : 1;
        const ptrdiff_t stride = N * sizeof(REAL);
        CHECK(T(kx_classification_can)(NULL, halves, 2, N, stride, steep, &options, out, stride, u) == KX_OK, "steep");
        CHECK(fabs((double)out[N + 2] - 1. / 3) < EPSILON && fabs((double)out[N + 3] - 2. / 3) < EPSILON, "steep: %.17g %.17g",
              (double)out[N + 2], (double)out[N + 3]);
    }
    /* No row is certain: one of each class is. All weights are far below 1 then. */
    options.threshold = 0;
    options.alpha = 1e6;
    CHECK(T(kx_classification_can)(NULL, p, 1, N, 0, prior, &options, out, 0, u) == KX_OK, "one row");
    CHECK((double)out[0] == 1 && out[1] == 0 && out[4] == 0, "one row: %g %g", (double)out[0], (double)out[1]);
}

static void T(test_layout)(void) {
    enum { ROWS = 3000, N = 37, WIDE = 41 };
    T(batch) b = T(make_batch)(ROWS, N);
    REAL *wide = malloc(sizeof(REAL) * ROWS * WIDE), *out = malloc(sizeof(REAL) * ROWS * WIDE);
    REAL *plain = malloc(sizeof(REAL) * ROWS * N), u[ROWS], again[ROWS];
    double prior[N];
    for (int j = 0; j < N; j++) prior[j] = 1 + j;
    for (int i = 0; i < ROWS * WIDE; i++) wide[i] = (REAL)NAN, out[i] = 7;
    for (int i = 0; i < ROWS; i++) memcpy(wide + i * WIDE, b.p + i * N, N * sizeof(REAL));
    for (int a = 0; a < 2; a++) {
        kx_can_options_t options;
        kx_can_options_init(&options);
        options.alpha = a ? 2.5 : 1;
        options.k = a ? 12 : 3;
        options.kind = a ? KX_UNCERTAINTY_REPO : KX_UNCERTAINTY_POST;
        const ptrdiff_t stride = N * sizeof(REAL), wide_stride = WIDE * sizeof(REAL);
        CHECK(T(kx_classification_can)(NULL, b.p, ROWS, N, stride, prior, &options, plain, stride, u) == KX_OK, "plain");
        for (int workers = 1; workers < 9; workers += 2) {
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            const kx_status_t status =
                T(kx_classification_can)(&ctx, wide, ROWS, N, wide_stride, prior, &options, out, wide_stride, again);
            CHECK(status == KX_OK, "%d workers", workers);
            CHECK(memcmp(u, again, sizeof u) == 0, "%d workers: other uncertainties", workers);
            int same = 1;
            for (int i = 0; i < ROWS; i++) {
                same &= memcmp(out + i * WIDE, plain + i * N, N * sizeof(REAL)) == 0;
                for (int j = N; j < WIDE; j++) same &= out[i * WIDE + j] == 7;
            }
            CHECK(same, "%d workers: another result, or written beside a row", workers);
        }
    }
    T(free_batch)(&b);
    free(wide), free(out), free(plain);
}

static void T(test_statuses)(void) {
    enum { ROWS = 20000, N = 20 };
    T(batch) b = T(make_batch)(ROWS, N);
    REAL *out = malloc(sizeof(REAL) * ROWS * N), *u = malloc(sizeof(REAL) * ROWS);
    double prior[N];
    for (int j = 0; j < N; j++) prior[j] = 1;
    kx_can_options_t options;
    kx_can_options_init(&options);
    const ptrdiff_t stride = N * sizeof(REAL);
    const int places[] = {0, 7 * N + 3, ROWS * N - 1};
    const REAL bad[] = {(REAL)NAN, (REAL)INFINITY, (REAL)-0.1, (REAL)1.5, -(REAL)INFINITY};
    const kx_status_t wanted[] = {KX_E_NONFINITE, KX_E_NONFINITE, KX_E_NEGATIVE, KX_E_TOTALS, KX_E_NEGATIVE};
    for (int place = 0; place < 3; place++)
        for (int which = 0; which < 5; which++)
            for (int64_t k = 1; k < 12; k += 5) {
                const REAL kept = b.p[places[place]];
                b.p[places[place]] = bad[which];
                options.k = k;
                const kx_status_t first = T(kx_classification_topk_entropy)(NULL, b.p, ROWS, N, stride, k, options.kind, u);
                const kx_status_t second = T(kx_classification_can)(NULL, b.p, ROWS, N, stride, prior, &options, out, stride, u);
                CHECK(first == wanted[which] && second == wanted[which], "place %d, bad %d, k %d: %d, %d", place, which, (int)k,
                      (int)first, (int)second);
                b.p[places[place]] = kept;
            }
    options.k = 3;

#define CAN(rows, n, priors, how) T(kx_classification_can)(NULL, b.p, rows, n, stride, priors, how, out, stride, u)
    CHECK(CAN(ROWS, N, prior, &options) == KX_OK && CAN(0, N, prior, &options) == KX_OK, "a plain call");
    CHECK(CAN(-1, N, prior, &options) == KX_E_ARGUMENT && CAN(ROWS, 0, prior, &options) == KX_E_ARGUMENT, "sizes");
    CHECK(CAN(ROWS, N, NULL, &options) == KX_E_ARGUMENT && CAN(ROWS, N, prior, NULL) == KX_E_ARGUMENT, "nothing given");
    CHECK(CAN(INT64_MAX / 8, N, prior, &options) == KX_E_OVERFLOW, "too many rows");
    for (int which = 0; which < 6; which++) {
        kx_can_options_t wrong = options;
        if (which == 0) wrong.k = 0;
        if (which == 1) wrong.alpha = 0;
        if (which == 2) wrong.alpha = (double)NAN;
        if (which == 3) wrong.alpha = (double)INFINITY;
        if (which == 4) wrong.threshold = (double)NAN;
        if (which == 5) wrong.kind = (kx_uncertainty_t)3;
        CHECK(CAN(ROWS, N, prior, &wrong) == KX_E_ARGUMENT, "option %d", which);
    }
    const double priors[] = {0, -1, (double)NAN, (double)INFINITY};
    for (int which = 0; which < 4; which++) {
        prior[N - 1] = priors[which];
        CHECK(CAN(ROWS, N, prior, &options) == KX_E_ARGUMENT, "prior %d", which);
    }
    prior[N - 1] = 1;
#undef CAN

    watch w = {0, 0, 0};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 2;
    ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
    ctx.cancel_state = &w;
    kx_status_t status = T(kx_classification_can)(&ctx, b.p, ROWS, N, stride, prior, &options, out, stride, u);
    CHECK(status == KX_E_MEMORY && w.live == 0, "memory: status %d", (int)status);

    /* half a second or more: one row over and over */
    const int64_t many = (int64_t)1 << 22;
    REAL *long_u = malloc((size_t)many * sizeof *long_u);
    w.left = -1;
    ctx.workers = 1;
    ctx.cancel = cancel_at_once;
    options.alpha = 3;
    status = T(kx_classification_can)(&ctx, b.p, many, N, 0, prior, &options, out, 0, long_u);
    CHECK(status == KX_E_CANCELLED && w.cancels == 1 && w.live == 0, "cancelling: status %d", (int)status);
    free(long_u);
    T(free_batch)(&b);
    free(out), free(u);
}

static void T(test_precision)(void) {
    T(test_uncertainty)();
    T(test_definition)();
    T(test_range)();
    T(test_layout)();
    T(test_statuses)();
}
#endif
