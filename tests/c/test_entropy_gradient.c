/* The gradient of entropy normalisation against its formula in long double; every domain; rows without gradient, ragged rows, threads,
   memory, cancelling. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { W = KX_ENTROPY_WEIGHTS, L = KX_ENTROPY_LOGITS, D = KX_ENTROPY_DISTANCES, O = KX_ENTROPY_DISTANCES_TO_OTHERS };

/* ---- the reference ---- */

typedef struct derivatives {
    long double *q, *by_value, *size; /* and what its terms sum up to without their signs */
    long double by_entropy, entropy_size;
    long double reach;            /* the largest exponent that matters */
} derivatives;

static long double log_share(double value, double largest) {
    const long double top = (long double)largest, difference = (long double)value - top;
    return difference > -top / 2 ? log1pl(difference / top) : logl((long double)value) - logl(top);
}

/* A value as what is larger where the weight is, and whether it has any. */
static int weight_of(int domain, double value, int is_own, double *as_logit) {
    *as_logit = domain >= D ? -value : value;
    if (domain == O && is_own) return 0;
    return domain == W ? value > 0 : *as_logit > -INFINITY;
}

static derivatives differentiate(int domain, const double *values, const double *g, int64_t n, int64_t row, double gamma) {
    const size_t size = (size_t)n + 1;
    long double *d = calloc(size, sizeof *d), *q = calloc(size, sizeof *q);
    derivatives got = {q, calloc(size, sizeof *q), calloc(size, sizeof *q), 0, 0, 0};
    double largest = domain == W ? 0 : -INFINITY, value;
    for (int64_t i = 0; i < n; i++)
        if (weight_of(domain, values[i], i == row, &value) && value > largest) largest = value;
    long double total = 0, mean = 0, slope = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!weight_of(domain, values[i], i == row, &value)) continue;
        d[i] = (long double)gamma * (domain == W ? log_share(value, largest) : (long double)value - (long double)largest);
        q[i] = expl(d[i]);
        total += q[i];
    }
    for (int64_t i = 0; i < n; i++) q[i] /= total, mean += q[i] * d[i];
    /* about one of the largest, as an error of the mean is one of g */
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++)
        if (q[i] > q[at]) at = i;
    for (int64_t i = 0; i < n; i++)
        if (q[i] > 0) slope += q[i] * ((long double)g[i] - (long double)g[at]);
    /* A deviation has the roundings of what it is the difference of. */
    long double covariance = 0, variance = 0, sizes = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!(q[i] > 0)) continue;
        const long double deviation = d[i] - mean, s = (long double)g[i] - (long double)g[at];
        const long double parts = fabsl(d[i]) + fabsl(mean);
        covariance += q[i] * deviation * (s - slope);
        variance += q[i] * deviation * deviation;
        sizes += q[i] * parts * (fabsl(s) + fabsl(slope));
        squares += q[i] * parts * fabsl(deviation);
        if (q[i] > 1e-12L) got.reach = fmaxl(got.reach, -d[i]);
    }
    got.by_entropy = -covariance / variance;
    got.entropy_size = (sizes + fabsl(got.by_entropy) * squares) / variance;
    for (int64_t i = 0; i < n; i++) {
        if (!(q[i] > 0)) continue;
        const long double s = (long double)g[i] - (long double)g[at];
        const long double factor = (domain >= D ? -1 : 1) * (long double)gamma * q[i] / (domain == W ? (long double)values[i] : 1);
        const long double terms = fabsl(s) + fabsl(slope) + (fabsl(d[i]) + fabsl(mean)) * got.entropy_size;
        got.by_value[i] = factor * (s - slope + (d[i] - mean) * got.by_entropy);
        got.size[i] = fabsl(factor) * terms * (1 + fabsl(d[i]));
    }
    free(d);
    return got;
}

static void release(derivatives exact) {
    free(exact.q);
    free(exact.by_value);
    free(exact.size);
}

/* ---- rows against it ---- */

enum { FAMILIES = 10 };
static const char *family_names[FAMILIES] = {"uniform", "normal logits", "near uniform", "a few ulps", "ties", "zeros", "tiny", "huge",
                                             "wide", "far below"};

static void fill(int family, int single, double *p, int64_t n) {
    const double eps = single ? (double)FLT_EPSILON : DBL_EPSILON;
    for (int64_t i = 0; i < n; i++) {
        const double u = check_uniform(0, 1), w = check_uniform(0, 1);
        switch (family) {
        case 0: p[i] = u + 1e-9; break;
        case 1: p[i] = exp(3 * sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * w)); break;
        case 2: p[i] = 1 + (single ? 1e-4 : 1e-9) * u; break;
        case 3: p[i] = 1 + floor(6 * u) * eps; break;
        case 4: p[i] = 1 + floor(4 * u); break;
        case 5: p[i] = w < 0.5 ? 0 : u; break;
        case 6: p[i] = (u + 0.01) * (single ? 1e-36 : 1e-300); break;
        case 7: p[i] = u * (single ? 1e38 : 1e308); break;
        case 8: p[i] = exp((single ? 170 : 1300) * u - (single ? 85 : 650)); break;
        default: p[i] = i ? 1 + 1e-3 * u : single ? 1e-30 : 1e-250; break;
        }
    }
    if (family == 3) p[0] = 1, p[n - 1] = 1 + 7 * eps;
    if (family == 4) p[0] = 1, p[n - 1] = 5;
    if (family == 5) p[0] = 0.3, p[n - 1] = 1.5;
    if (single)
        for (int64_t i = 0; i < n; i++) p[i] = (double)(float)p[i];
}

/* Double at both ends, whatever the precision is. */
static kx_status_t run(int single, const double *values, const double *gamma, const double *g, int64_t rows, int64_t n, int domain,
                       double *by_value, double *by_entropy) {
    if (!single)
        return kx_entropy_gradient_f64(NULL, values, NULL, gamma, g, rows, n, (kx_entropy_domain_t)domain, by_value, by_entropy);
    const size_t size = (size_t)(rows * n);
    float *copies = calloc(3 * size + 1, sizeof *copies);
    for (size_t i = 0; i < size; i++) copies[i] = (float)values[i], copies[size + i] = (float)g[i];
    const kx_status_t status = kx_entropy_gradient_f32(NULL, copies, NULL, gamma, copies + size, rows, n,
                                                       (kx_entropy_domain_t)domain, copies + 2 * size, by_entropy);
    for (size_t i = 0; i < size; i++) by_value[i] = (double)copies[2 * size + i];
    free(copies);
    return status;
}

static double worst_error;

static void check_row(const char *what, int single, int domain, const double *values, const double *g, int64_t n, int64_t row,
                      double gamma) {
    /* A matrix of one row more than it needs puts the row that leaves its own entry out at its place. */
    const int64_t rows = domain == O ? row + 1 : 1, first = domain == O ? row : 0;
    double *all = calloc((size_t)(rows * n), sizeof *all), *all_g = calloc((size_t)(rows * n), sizeof *all_g);
    double *by_value = calloc((size_t)(rows * n), sizeof *by_value), *by_entropy = calloc((size_t)rows, sizeof *by_entropy);
    double *gammas = calloc((size_t)rows, sizeof *gammas);
    memcpy(all + first * n, values, (size_t)n * sizeof *all);
    memcpy(all_g + first * n, g, (size_t)n * sizeof *all);
    gammas[first] = gamma;
    CHECK(run(single, all, gammas, all_g, rows, n, domain, by_value, by_entropy) == KX_OK, "%s", what);
    const derivatives exact = differentiate(domain, values, g, n, row, gamma);
    const long double eps = single ? (long double)FLT_EPSILON : (long double)DBL_EPSILON, grows = eps * (1 + exact.reach);
    const long double least = single ? (long double)FLT_MIN : (long double)DBL_MIN;
    for (int64_t i = 0; i < n; i++) {
        const double got = by_value[first * n + i];
        const long double off = fabsl((long double)got - exact.by_value[i]);
        if (exact.q[i] * fminl(1, (long double)gamma) < 1e8L * least) continue; /* a subnormal on the way */
        if (exact.size[i] > (long double)(single ? FLT_MAX : DBL_MAX)) continue;
        const double error = (double)((off - 2 * least * eps) / (grows * exact.size[i]));
        worst_error = error > worst_error ? error : worst_error;
        CHECK(error <= 8, "%s, f%d, domain %d, n = %d, gamma %g: [%d] is %.17g, not %.17Lg: %g", what, single ? 32 : 64, domain, (int)n,
              gamma, (int)i, got, exact.by_value[i], error);
    }
    double value;
    for (int64_t i = 0; i < n; i++)
        if (!weight_of(domain, values[i], i == row, &value)) CHECK(by_value[first * n + i] == 0, "%s: [%d] has no weight", what, (int)i);
    const double error = (double)(fabsl((long double)by_entropy[first] - exact.by_entropy) / (grows * exact.entropy_size));
    CHECK(error <= 8, "%s, f%d, domain %d, n = %d, gamma %g: by the entropy %.17g, not %.17Lg: %g", what, single ? 32 : 64, domain, (int)n,
          gamma, by_entropy[first], exact.by_entropy, error);
    release(exact);
    free(all), free(all_g), free(by_value), free(by_entropy), free(gammas);
}

static void test_rows(void) {
    static const int64_t sizes[] = {2, 3, 4, 5, 8, 9, 16, 17, 33, 95, 96, 97, 130, 1000};
    static const double exponents[] = {1e-6, 0.1, 1, 3, 30};
    for (int single = 0; single < 2; single++)
        for (int family = 0; family < FAMILIES; family++)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (int domain = W; domain <= O; domain++) {
                    const int64_t n = sizes[s], row = (int64_t)(check_random() % (uint64_t)(n < 40 ? n : 40));
                    double *p = malloc((size_t)n * sizeof *p), *g = malloc((size_t)n * sizeof *g), spread = 0, largest = 0;
                    fill(family, single, p, n);
                    for (int64_t i = 0; i < n; i++) {
                        g[i] = (double)(float)check_uniform(-1, 1);
                        if (p[i] > largest) largest = p[i];
                        if (domain == L) p[i] = single ? (double)(float)log(p[i]) : log(p[i]);
                        if (domain >= D) p[i] = single ? -(double)(float)log(p[i]) : -log(p[i]);
                    }
                    /* gamma in the unit of the row's logarithms; two entries at least take part in a row */
                    int64_t open = 0;
                    double low = INFINITY, high = -INFINITY, as_logit;
                    for (int64_t i = 0; i < n; i++) {
                        if (!weight_of(domain, p[i], i == row, &as_logit)) continue;
                        const double v = domain == W ? (double)log_share(as_logit, largest) : as_logit;
                        low = v < low ? v : low, high = v > high ? v : high, open++;
                    }
                    spread = high - low;
                    for (size_t e = 0; open > 1 && spread > 0 && e < sizeof exponents / sizeof *exponents; e++)
                        check_row(family_names[family], single, domain, p, g, n, row, exponents[e] / spread);
                    free(p), free(g);
                }
    printf("worst error of an entry: %.2f\n", worst_error);
}

static void test_known(void) {
    static const double p[] = {0.5, 0.25, 0.15, 0.1}, g[] = {0.3, -0.7, 1.1, 0.2}, gamma = 1.5558298060231004371;
    static const double by_log[] = {0.12250027, -0.28158782, 0.15009855, 0.008989};
    for (int single = 0; single < 2; single++) {
        double by_value[4], by_entropy, logits[4];
        run(single, p, &gamma, g, 1, 4, W, by_value, &by_entropy);
        for (int i = 0; i < 4; i++) CHECK(fabs(by_value[i] * p[i] - by_log[i]) < (single ? 1e-6 : 5e-9), "[%d]: %.9g", i, by_value[i]);
        CHECK(fabs(by_entropy + 0.034860) < 1e-6, "%.9g", by_entropy);
        for (int i = 0; i < 4; i++) logits[i] = log(p[i]);
        run(single, logits, &gamma, g, 1, 4, L, by_value, &by_entropy);
        for (int i = 0; i < 4; i++) CHECK(fabs(by_value[i] - by_log[i]) < (single ? 1e-6 : 5e-9), "[%d]: %.9g", i, by_value[i]);
    }
    /* Logits whose gamma is out of float's range */
    static const float tiny[] = {1e-40f, 3e-40f, 2e-40f}, huge[] = {1e38f, -1e38f, 0.9e38f}, slopes[] = {1, 2, -3};
    const double gammas[] = {1e40, 1e-43};
    float by_tiny[3], by_huge[3];
    double by_entropy[2], by_unit[2];
    kx_entropy_gradient_f32(NULL, tiny, NULL, gammas, slopes, 1, 3, KX_ENTROPY_LOGITS, by_tiny, by_entropy);
    kx_entropy_gradient_f32(NULL, huge, NULL, gammas + 1, slopes, 1, 3, KX_ENTROPY_LOGITS, by_huge, by_entropy + 1);
    for (int k = 0; k < 2; k++) {
        double logits[3], by_value[3];
        const double widen[] = {1, 2, -3};
        for (int i = 0; i < 3; i++) logits[i] = gammas[k] * (double)(k ? huge[i] : tiny[i]);
        const double one = 1;
        kx_entropy_gradient_f64(NULL, logits, NULL, &one, widen, 1, 3, KX_ENTROPY_LOGITS, by_value, by_unit + k);
        CHECK(fabs(by_entropy[k] / by_unit[k] - 1) < (k ? 1e-3 : 1e-5), "%d: %g and %g", k, by_entropy[k], by_unit[k]);
        for (int i = 0; i < 3; i++)
            if (k) CHECK(fabs((double)by_huge[i]) <= 1e-38, "[%d]: %g", i, (double)by_huge[i]);
            else CHECK(fabs((double)by_tiny[i]) > 1e38, "[%d]: %g", i, (double)by_tiny[i]);
    }
}

/* Rows that have no gradient, alone and among others, short and long. */
static void test_no_gradient(void) {
    const double inf = INFINITY, nan = NAN;
    const struct {
        int domain;
        double gamma, values[4];
    } cases[] = {
        {W, 0, {1, 2, 3, 4}},       {W, inf, {1, 2, 3, 4}},     {W, nan, {1, nan, 3, 4}},  {W, -1, {1, 2, 3, 4}},
        {W, 1, {0, 0, 0, 0}},       {W, 1, {1, inf, 2, 3}},     {L, 1, {-inf, -inf, -inf, -inf}}, {L, nan, {1, nan, 2, 3}},
        {D, 1, {inf, inf, inf, inf}}, {W, 2, {3, 0, 0, 0}},     {W, 1, {2, 2, 2, 2}},
    };
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int single = 0; single < 2; single++)
            for (int place = 0; place < 3; place++) {
                const int64_t rows = place == 1 ? 21 : 1, n = place == 2 ? 400 : 4, row = place == 1 ? 17 : 0;
                double values[400], g[400], gamma[21], by_value[400], by_entropy[21];
                const double nothing = cases[c].domain == W ? 0 : cases[c].domain == L ? -inf : inf;
                for (int64_t i = 0; i < rows * n; i++) {
                    values[i] = place == 2 ? nothing : 1 + (double)(i % 3);
                    g[i] = check_uniform(-1, 1);
                }
                for (int64_t i = 0; i < rows; i++) gamma[i] = 1;
                memcpy(values + row * n, cases[c].values, sizeof cases[c].values);
                if (cases[c].values[0] == 2) g[row * n] = g[row * n + 1] = g[row * n + 2] = g[row * n + 3] = 1;
                gamma[row] = cases[c].gamma;
                CHECK(run(single, values, gamma, g, rows, n, cases[c].domain, by_value, by_entropy) == KX_OK, "case %d", (int)c);
                CHECK(by_entropy[row] == 0, "case %d, place %d: %g", (int)c, place, by_entropy[row]);
                for (int64_t i = 0; i < rows * n; i++) {
                    const int own = i / n == row;
                    CHECK(own ? by_value[i] == 0 : isfinite(by_value[i]) && by_value[i] != 0, "case %d, place %d: [%d] is %g", (int)c, place,
                          (int)i, by_value[i]);
                }
            }
    /* What is not finite where there is no weight stays out. */
    const double values[] = {1, 0, 3}, g[] = {1, NAN, 2}, gamma = 2;
    double by_value[3], by_entropy;
    run(0, values, &gamma, g, 1, 3, W, by_value, &by_entropy);
    CHECK(isfinite(by_value[0]) && by_value[1] == 0 && isfinite(by_value[2]) && isfinite(by_entropy), "%g", by_value[0]);
    const double seen[] = {NAN, 1, 2};
    run(0, values, &gamma, seen, 1, 3, W, by_value, &by_entropy);
    CHECK(isnan(by_value[0]) && by_value[1] == 0 && isnan(by_entropy), "%g", by_value[0]);
}

static void test_arguments(void) {
    const double p[] = {1, 2}, g[] = {1, 3}, gamma[] = {1, 2};
    double out[2], entropies[2] = {7, 7};
    const kx_entropy_domain_t w = KX_ENTROPY_WEIGHTS;
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, g, -1, 2, w, out, NULL) == KX_E_ARGUMENT, "rows < 0");
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, g, 1, -2, w, out, NULL) == KX_E_ARGUMENT, "n < 0");
    CHECK(kx_entropy_gradient_f64(NULL, NULL, NULL, gamma, g, 1, 2, w, out, NULL) == KX_E_ARGUMENT, "no values");
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, NULL, g, 1, 2, w, out, NULL) == KX_E_ARGUMENT, "no gamma");
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, NULL, 1, 2, w, out, NULL) == KX_E_ARGUMENT, "no grad_q");
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, g, 1, 2, (kx_entropy_domain_t)4, out, NULL) == KX_E_ARGUMENT, "domain");
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, g, INT64_MAX / 2, 4, w, out, NULL) == KX_E_OVERFLOW, "too large");
    const int64_t backward[] = {0, 2, 1};
    CHECK(kx_entropy_gradient_f64(NULL, p, backward, gamma, g, 2, 0, w, out, NULL) == KX_E_ARGUMENT, "offsets");
    const int64_t apart[] = {INT64_MIN, 2}, long_row[] = {0, INT64_MAX};
    CHECK(kx_entropy_gradient_f64(NULL, p, apart, gamma, g, 1, 0, w, out, NULL) == KX_E_ARGUMENT, "a negative offset");
    CHECK(kx_entropy_gradient_f64(NULL, p, long_row, gamma, g, 1, 0, w, out, NULL) == KX_E_OVERFLOW, "a row too long");
    CHECK(kx_entropy_gradient_f64(NULL, NULL, NULL, NULL, NULL, 0, 2, w, NULL, NULL) == KX_OK, "no rows");
    CHECK(kx_entropy_gradient_f64(NULL, NULL, NULL, gamma, NULL, 2, 0, w, NULL, entropies) == KX_OK, "no entries");
    CHECK(entropies[0] == 0 && entropies[1] == 0, "no entries: %g", entropies[0]);
    CHECK(kx_entropy_gradient_f64(NULL, p, NULL, gamma, g, 1, 2, w, NULL, NULL) == KX_OK, "no outputs");
}

/* Rows of all lengths together and one at a time, with 1 to 8 workers and in place: the same bits. */
static void test_batches(void) {
    enum { ROWS = 1500 };
    static int64_t offsets[ROWS + 1] = {3};
    static double gamma[ROWS], by_entropy[ROWS], one_entropy;
    for (int64_t i = 0; i < ROWS; i++)
        offsets[i + 1] = offsets[i] + (int64_t)(i % 20 == 19 ? 90 + check_random() % 300 : check_random() % 40);
    const size_t size = (size_t)offsets[ROWS];
    double *values = malloc(size * sizeof *values), *g = malloc(size * sizeof *g), *out = malloc(size * sizeof *out);
    float *narrow = malloc(size * sizeof *narrow), *narrow_g = malloc(size * sizeof *narrow), *narrow_out = malloc(size * sizeof *narrow);
    double *alone = malloc(size * sizeof *alone);
    float *narrow_alone = malloc(size * sizeof *narrow);
    for (size_t i = 0; i < size; i++) {
        values[i] = check_random() % 5 ? exp(check_uniform(-5, 5)) : 0;
        g[i] = check_uniform(-1, 1);
        if (check_random() % 400 == 0) values[i] = check_random() % 2 ? NAN : -1;
        narrow[i] = (float)values[i], narrow_g[i] = (float)g[i];
    }
    for (int i = 0; i < ROWS; i++) gamma[i] = i % 9 ? check_uniform(0, 4) : i % 2 ? NAN : 0;
    const kx_entropy_domain_t w = KX_ENTROPY_WEIGHTS;
    for (int64_t i = 0; i < ROWS; i++) {
        const int64_t at = offsets[i], length = offsets[i + 1] - at;
        kx_entropy_gradient_f64(NULL, values + at, NULL, gamma + i, g + at, 1, length, w, alone + at, &one_entropy);
        kx_entropy_gradient_f32(NULL, narrow + at, NULL, gamma + i, narrow_g + at, 1, length, w, narrow_alone + at, NULL);
    }
    for (int workers = 1; workers <= 8; workers += workers < 3 ? 1 : 5)
        for (int in_place = 0; in_place < 3; in_place++) {
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            memcpy(out, in_place == 2 ? g : values, size * sizeof *out);
            memcpy(narrow_out, in_place == 2 ? narrow_g : narrow, size * sizeof *narrow);
            CHECK(kx_entropy_gradient_f64(&ctx, in_place == 1 ? out : values, offsets, gamma, in_place == 2 ? out : g, ROWS, 0, w, out,
                                          by_entropy) == KX_OK, "f64");
            CHECK(kx_entropy_gradient_f32(&ctx, in_place == 1 ? narrow_out : narrow, offsets, gamma, in_place == 2 ? narrow_out : narrow_g,
                                          ROWS, 0, w, narrow_out, NULL) == KX_OK, "f32");
            const size_t from = (size_t)offsets[0];
            CHECK(memcmp(out + from, alone + from, (size - from) * sizeof *out) == 0, "f64, %d workers, in place %d", workers, in_place);
            CHECK(memcmp(narrow_out + from, narrow_alone + from, (size - from) * sizeof *narrow) == 0, "f32, %d workers", workers);
            CHECK(by_entropy[ROWS - 1] == one_entropy, "%.17g and %.17g", by_entropy[ROWS - 1], one_entropy);
        }
    /* all lengths equal: the way round the scattered loads */
    const int64_t n = 23;
    for (int64_t rows = 1; rows < 40; rows++) {
        kx_entropy_gradient_f64(NULL, values + 3, NULL, gamma, g, rows, n, w, out, by_entropy);
        kx_entropy_gradient_f32(NULL, narrow + 3, NULL, gamma, narrow_g, rows, n, w, narrow_out, NULL);
        for (int64_t i = 0; i < rows; i++) {
            kx_entropy_gradient_f64(NULL, values + 3 + i * n, NULL, gamma + i, g + i * n, 1, n, w, alone, &one_entropy);
            kx_entropy_gradient_f32(NULL, narrow + 3 + i * n, NULL, gamma + i, narrow_g + i * n, 1, n, w, narrow_alone, NULL);
            CHECK(memcmp(out + i * n, alone, (size_t)n * sizeof *out) == 0 && by_entropy[i] == one_entropy, "row %d of %d", (int)i, (int)rows);
            CHECK(memcmp(narrow_out + i * n, narrow_alone, (size_t)n * sizeof *narrow) == 0, "float row %d of %d", (int)i, (int)rows);
        }
    }
    free(values), free(g), free(out), free(narrow), free(narrow_g), free(narrow_out), free(alone), free(narrow_alone);
}

static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}
static int cancel_at_once(void *state) {
    ++*(int *)state;
    return 1;
}

static void test_refusals(void) {
    enum { ROWS = 20000, N = 64 };
    double *p = malloc((size_t)ROWS * N * sizeof *p), *gamma = malloc(ROWS * sizeof *gamma);
    for (int64_t i = 0; i < ROWS * N; i++) p[i] = check_uniform(0, 1);
    for (int64_t i = 0; i < ROWS; i++) gamma[i] = 1;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = refuse;
    CHECK(kx_entropy_gradient_f64(&ctx, p, NULL, gamma, p, ROWS, N, KX_ENTROPY_WEIGHTS, p, NULL) == KX_E_MEMORY, "memory");
    for (int workers = 1; workers <= 2; workers++) {
        kx_ctx_init(&ctx);
        int asked = 0;
        ctx.cancel = cancel_at_once, ctx.cancel_state = &asked, ctx.workers = workers;
        const kx_status_t status = kx_entropy_gradient_f64(&ctx, p, NULL, gamma, p, ROWS, N, KX_ENTROPY_WEIGHTS, NULL, gamma);
        CHECK(status == (asked ? KX_E_CANCELLED : KX_OK), "cancel: %s", kx_status_name(status));
    }
    free(p), free(gamma);
}

int main(void) {
    printf("test_entropy_gradient, %s\n", kx_isa_name());
    test_known();
    test_rows();
    test_no_gradient();
    test_arguments();
    test_batches();
    test_refusals();
    return check_report();
}
