/* Entropy normalisation against the equation that defines gamma, in long double; every domain, target and status; ragged rows, threads,
   memory, cancelling. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

/* ---- the reference: both gaps of a row at a given gamma, from log weights about their mean or their largest ---- */

typedef struct gaps {
    long double low, high, variance;
} gaps;

/* e^c - 1 - c */
static long double beyond(long double c) {
    if (fabsl(c) > 0.5L) return expm1l(c) - c;
    long double term = c * c / 2, sum = 0;
    for (int k = 3; k < 30; k++) sum += term, term *= c / k;
    return sum;
}

/* log(weight / largest), with all its digits where that is near 0 */
static long double log_share(double p, double largest, int is_log) {
    const long double top = (long double)largest, difference = (long double)p - top;
    if (is_log) return difference;
    return difference > -top / 2 ? log1pl(difference / top) : logl((long double)p) - logl(top);
}

static gaps gaps_at(const double *p, int64_t n, int is_log, long double gamma) {
    double largest = is_log ? -INFINITY : 0;
    for (int64_t i = 0; i < n; i++) largest = p[i] > largest ? p[i] : largest;
    long double *v = malloc((size_t)(n + 1) * sizeof *v), mean = 0;
    int64_t s = 0, m = 0;
    for (int64_t i = 0; i < n; i++) {
        if (is_log ? p[i] == -INFINITY : p[i] == 0) continue;
        v[s++] = log_share(p[i], largest, is_log);
        m += p[i] == largest;
        mean += v[s - 1];
    }
    mean /= s;
    long double rest = 0, first = 0, second = 0;
    for (int64_t i = 0; i < s; i++) {
        const long double c = gamma * v[i], e = expl(c);
        if (v[i] < 0) rest += e;
        first += c * e;
        second += c * c * e;
    }
    gaps at;
    const long double total = m + rest, mu = first / total;
    at.low = log1pl(rest / m) - mu;
    at.variance = second / total - mu * mu;
    at.high = logl((long double)s / m) - at.low;
    if (-gamma * mean < 20) {
        long double sum = 0, product = 0, drift = 0;
        for (int64_t i = 0; i < s; i++) drift += gamma * (v[i] - mean);
        for (int64_t i = 0; i < s; i++) {
            const long double c = gamma * (v[i] - mean) - drift / s;
            sum += beyond(c);
            product += c * expm1l(c);
        }
        at.high = product / (s + sum) - log1pl(sum / s);
    }
    free(v);
    return at;
}

static kx_entropy_options_t defaults(void) {
    kx_entropy_options_t options;
    kx_entropy_options_init(&options);
    return options;
}

/* ---- one row ---- */

typedef struct answer {
    double gamma, entropy;
    int32_t status, iterations;
} answer;

static answer solve_f64(const double *values, int64_t n, double target, const kx_entropy_options_t *options, double *q) {
    answer got = {-1, -1, -99, -1};
    const kx_entropy_outputs_t outputs = {q, &got.gamma, &got.entropy, &got.status, &got.iterations};
    const kx_status_t status = kx_entropy_normalize_f64(NULL, values, NULL, &target, 1, n, 0, options, &outputs);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    return got;
}

/* The relative error of gamma is the gap's error over the variance of the logarithms; it may be what 64 roundings of the gap make (of
   the whole range, where the gap given may be the farther one). */
static void check_row(const char *what, const double *p, int64_t n, int is_log, kx_entropy_target_t kind, double gap) {
    kx_entropy_options_t options = defaults();
    options.domain = is_log ? KX_ENTROPY_LOGITS : KX_ENTROPY_WEIGHTS;
    options.target = kind;
    double *q = malloc((size_t)n * sizeof *q);
    const answer got = solve_f64(p, n, gap, &options, q);
    CHECK(got.status == KX_OK, "%s, n = %d, gap %g: status %d", what, (int)n, gap, got.status);
    CHECK(got.iterations >= 1 && got.iterations <= 40, "%s, n = %d, gap %g: %d evaluations", what, (int)n, gap, got.iterations);
    const gaps at = gaps_at(p, n, is_log, (long double)got.gamma);
    const long double left = (kind == KX_ENTROPY_TARGET_GAP_LOW ? at.low : at.high) - (long double)gap;
    const double error = (double)fabsl(left / at.variance), given = gap > 0.1 ? 1.5 : gap;
    const double floor = (double)(64 * (long double)(DBL_EPSILON * given) / at.variance);
    CHECK(error <= 1e-13 + floor, "%s, n = %d, kind %d, gap %g: gamma %.17g is off by %g", what, (int)n, kind, gap, got.gamma, error);
    /* q against its definition */
    double largest = is_log ? -INFINITY : 0;
    for (int64_t i = 0; i < n; i++) largest = p[i] > largest ? p[i] : largest;
    /* Exponents about their mean have the mean's roundings. */
    long double total = 0, worst = 0, sum = 0, mean = 0;
    for (int64_t i = 0; i < n; i++) mean += (is_log ? p[i] > -INFINITY : p[i] > 0) ? log_share(p[i], largest, is_log) : 0;
    const long double reach = fminl(-(long double)got.gamma * mean / n, 60);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            const int has_weight = is_log ? p[i] > -INFINITY : p[i] > 0;
            const long double v = has_weight ? log_share(p[i], largest, is_log) : 0;
            const long double weight = has_weight ? expl((long double)got.gamma * v) : 0;
            if (!pass) total += weight;
            else {
                sum += (long double)q[i];
                const long double exact = weight / total, c = fabsl((long double)got.gamma * v) + reach;
                if (!has_weight) CHECK(q[i] == 0, "%s: a zero became %g", what, q[i]);
                else if (exact > 1e-300L) {
                    const long double relative = fabsl((long double)q[i] - exact) / exact / (8 + c);
                    worst = relative > worst ? relative : worst;
                }
            }
        }
    CHECK(worst <= 4 * DBL_EPSILON, "%s, n = %d, gap %g: q is off by %Lg", what, (int)n, gap, worst);
    CHECK(fabsl(sum - 1) < 1e-14L, "%s, n = %d, gap %g: the sum is 1 + %Lg", what, (int)n, gap, sum - 1);
    free(q);
}

enum { FAMILIES = 11 };
static const char *family_names[FAMILIES] = {"uniform", "normal logits", "near uniform", "a few ulps", "ties", "zeros", "tiny",
                                             "subnormal", "huge", "wide", "far below"};

static void fill(int family, double *p, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        const double u = check_uniform(0, 1), w = check_uniform(0, 1);
        const double normal = sqrt(-2 * log(1 - u)) * cos(6.283185307179586 * w);
        switch (family) {
        case 0: p[i] = u + 1e-9; break;
        case 1: p[i] = exp(3 * normal); break;
        case 2: p[i] = 1 + 1e-9 * u; break;
        case 3: p[i] = 1 + floor(6 * u) * DBL_EPSILON; break;
        case 4: p[i] = 1 + floor(4 * u); break;
        case 5: p[i] = w < 0.5 ? 0 : u; break;
        case 6: p[i] = u * 1e-305; break;
        case 7: p[i] = u * 1e-318 + 5e-324; break;
        case 8: p[i] = u * 1e308; break;
        case 9: p[i] = exp(1400 * u - 700); break;
        default: p[i] = i ? 1 + 1e-3 * u : 1e-250; break;
        }
    }
    /* never constant, and two entries above the ties */
    if (family == 3) p[0] = 1, p[n - 1] = 1 + 7 * DBL_EPSILON;
    if (family == 4) p[0] = 1, p[n - 1] = 5;
    if (family == 5) p[0] = 0.3, p[n - 1] = 1.5;
}

static void test_gaps(void) {
    static const int64_t sizes[] = {2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 100, 383, 384, 385, 1000};
    static const double targets[] = {1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.5};
    for (int family = 0; family < FAMILIES; family++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const int64_t n = sizes[s];
            double *p = malloc((size_t)n * sizeof *p);
            fill(family, p, n);
            for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
                check_row(family_names[family], p, n, 0, KX_ENTROPY_TARGET_GAP_LOW, targets[t]);
                check_row(family_names[family], p, n, 0, KX_ENTROPY_TARGET_GAP_HIGH, targets[t]);
            }
            if (family < 2 || family == 5)
                for (int64_t i = 0; i < n; i++) p[i] = log(p[i]);
            if (family < 2 || family == 5) check_row("logits", p, n, 1, KX_ENTROPY_TARGET_GAP_LOW, 1e-3);
            free(p);
        }
}

static void test_known(void) {
    static const double p[] = {0.5, 0.25, 0.15, 0.1};
    static const struct { kx_entropy_target_t kind; double target, gamma; } known[] = {
        {KX_ENTROPY_TARGET_ENTROPY, 0.69314718055994530942, 2.3507563027817821925},
        {KX_ENTROPY_TARGET_PERPLEXITY, 2, 2.3507563027817821925},
        {KX_ENTROPY_TARGET_FRACTION, 0.5, 2.3507563027817821925},
        {KX_ENTROPY_TARGET_ENTROPY, 1, 1.5558298060231004371},
        {KX_ENTROPY_TARGET_ENTROPY, 1.3, 0.6844943867001275591},
        {KX_ENTROPY_TARGET_GAP_HIGH, 1e-6, 0.00235155842368476944},
        {KX_ENTROPY_TARGET_GAP_HIGH, 1e-12, 2.3518775840847775e-6},
        {KX_ENTROPY_TARGET_GAP_HIGH, 1e-2, 0.232835240158660614},
        {KX_ENTROPY_TARGET_GAP_LOW, 0.1, 5.7441691294406322538},
        {KX_ENTROPY_TARGET_GAP_LOW, 1e-3, 13.3238129656092311},
        {KX_ENTROPY_TARGET_GAP_LOW, 1e-6, 24.0763136460484098},
        {KX_ENTROPY_TARGET_GAP_LOW, 1e-12, 44.8676328320955658},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        kx_entropy_options_t options = defaults();
        options.target = known[k].kind;
        double q[4];
        const answer got = solve_f64(p, 4, known[k].target, &options, q);
        CHECK(got.status == KX_OK && fabs(got.gamma / known[k].gamma - 1) < 1e-14, "%g: %.17g", known[k].target, got.gamma);
        float narrow[4], narrow_q[4];
        for (int i = 0; i < 4; i++) narrow[i] = (float)p[i];
        double gamma;
        int32_t status;
        const kx_entropy_outputs_t outputs = {narrow_q, &gamma, NULL, &status, NULL};
        kx_entropy_normalize_f32(NULL, narrow, NULL, &known[k].target, 1, 4, 0, &options, &outputs);
        CHECK(status == KX_OK && fabs(gamma / known[k].gamma - 1) < 1e-6, "float, %g: %.17g", known[k].target, gamma);
        for (int i = 0; i < 4; i++)
            CHECK(fabs((double)narrow_q[i] / q[i] - 1) < 2e-5, "float, %g: q[%d] = %g", known[k].target, i, (double)narrow_q[i]);
    }
    kx_entropy_options_t options = defaults();
    options.target = KX_ENTROPY_TARGET_GAP_LOW;
    static const double tied[] = {0.4, 0.4, 0.1, 0.1};
    CHECK(fabs(solve_f64(tied, 4, 1e-12, &options, NULL).gamma / 22.43381641590586 - 1) < 1e-13, "tied");
}

static void test_statuses(void) {
    const double inf = INFINITY, nan = NAN, log2 = log(2), log3 = log(3), log4 = log(4);
    const kx_entropy_domain_t W = KX_ENTROPY_WEIGHTS, L = KX_ENTROPY_LOGITS, D = KX_ENTROPY_DISTANCES;
    const kx_entropy_target_t E = KX_ENTROPY_TARGET_ENTROPY, P = KX_ENTROPY_TARGET_PERPLEXITY, F = KX_ENTROPY_TARGET_FRACTION,
                              LOW = KX_ENTROPY_TARGET_GAP_LOW, HIGH = KX_ENTROPY_TARGET_GAP_HIGH;
    const struct {
        kx_entropy_domain_t domain;
        kx_entropy_target_t kind;
        double target, p[4];
        int32_t status;
        double gamma, q[4];
    } cases[] = {
        {W, E, log4, {1, 2, 3, 4}, KX_OK, 0, {0.25, 0.25, 0.25, 0.25}},
        {W, P, 4, {1, 2, 3, 4}, KX_OK, 0, {0.25, 0.25, 0.25, 0.25}},
        {W, F, 1, {1, 2, 3, 4}, KX_OK, 0, {0.25, 0.25, 0.25, 0.25}},
        {W, HIGH, 0, {1, 2, 0, 4}, KX_OK, 0, {1 / 3.0, 1 / 3.0, 0, 1 / 3.0}},
        {W, E, log3, {1, 0, 3, 4}, KX_OK, 0, {1 / 3.0, 0, 1 / 3.0, 1 / 3.0}},
        {W, E, log4, {1, 0, 3, 4}, KX_ENTROPY_ABOVE, 0, {1 / 3.0, 0, 1 / 3.0, 1 / 3.0}},
        {W, E, 5, {1, 2, 3, 4}, KX_ENTROPY_ABOVE, 0, {0.25, 0.25, 0.25, 0.25}},
        {W, E, 0, {1, 2, 3, 4}, KX_ENTROPY_BELOW, inf, {0, 0, 0, 1}},
        {W, P, 1, {1, 2, 3, 4}, KX_ENTROPY_BELOW, inf, {0, 0, 0, 1}},
        {W, F, 0, {1, 4, 0, 4}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {W, E, log2, {1, 4, 0, 4}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {W, E, 0.1, {1, 4, 3, 4}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {W, LOW, 0, {1, 4, 3, 4}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {W, LOW, 2, {1, 4, 3, 2}, KX_ENTROPY_ABOVE, 0, {0.25, 0.25, 0.25, 0.25}},
        {W, HIGH, 2, {1, 4, 3, 2}, KX_ENTROPY_BELOW, inf, {0, 1, 0, 0}},
        {W, E, 1, {2, 2, 2, 2}, KX_ENTROPY_CONSTANT, 1, {0.25, 0.25, 0.25, 0.25}},
        {W, E, 1, {0, 0, 7, 0}, KX_ENTROPY_CONSTANT, 1, {0, 0, 1, 0}},
        {W, E, 0, {0, 0, 7, 0}, KX_OK, 0, {0, 0, 1, 0}},
        {W, E, log4, {2, 2, 2, 2}, KX_OK, 0, {0.25, 0.25, 0.25, 0.25}},
        {L, E, 0.1, {-inf, 3, 1, 3}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {D, E, 0.1, {inf, 3, 4, 3}, KX_ENTROPY_BELOW, inf, {0, 0.5, 0, 0.5}},
        {W, E, 1, {1, nan, 3, 4}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {W, E, 1, {1, inf, 3, 4}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {W, E, 1, {1, -1e-300, 3, 4}, KX_E_NEGATIVE, nan, {nan, nan, nan, nan}},
        {W, E, 1, {-1, -inf, 3, nan}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {W, E, 1, {0, 0, 0, 0}, KX_E_EMPTY, nan, {nan, nan, nan, nan}},
        {L, E, 1, {1, inf, 3, 4}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {L, E, 1, {1, nan, 3, 4}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {L, E, 1, {-inf, -inf, -inf, -inf}, KX_E_EMPTY, nan, {nan, nan, nan, nan}},
        {D, E, 1, {1, -inf, 3, 4}, KX_E_NONFINITE, nan, {nan, nan, nan, nan}},
        {D, E, 1, {inf, inf, inf, inf}, KX_E_EMPTY, nan, {nan, nan, nan, nan}},
        {W, E, -0.1, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
        {W, E, nan, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
        {W, E, inf, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
        {W, P, 0.9, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
        {W, F, 1.1, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
        {W, LOW, -1e-300, {1, 2, 3, 4}, KX_E_ARGUMENT, nan, {nan, nan, nan, nan}},
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int single = 0; single < 2; single++)
            /* alone; among rows that are solved; as the head of a long row */
            for (int place = 0; place < 3; place++) {
                const int64_t rows = place == 1 ? 21 : 1, n = place == 2 ? 400 : 4;
                if (place == 2 && cases[k].kind == KX_ENTROPY_TARGET_FRACTION && cases[k].target > 0) continue;
                kx_entropy_options_t options = defaults();
                options.domain = cases[k].domain;
                options.target = cases[k].kind;
                double values[400], q[400], targets[21], gamma[21], entropy[21];
                float narrow[400], narrow_q[400];
                int32_t status[21];
                const double nothing = cases[k].domain == W ? 0 : cases[k].domain == L ? -inf : inf;
                const double ordinary[4] = {1, 2, 0.5, 0.25};
                for (int64_t i = 0; i < rows * n; i++) values[i] = place == 2 ? nothing : ordinary[i % 4];
                for (int64_t i = 0; i < rows; i++) targets[i] = options.target == P ? 2 : options.target == F ? 0.5 : 0.6;
                const int64_t row = place == 1 ? 10 : 0;
                memcpy(values + row * n, cases[k].p, sizeof cases[k].p);
                targets[row] = cases[k].target;
                for (int64_t i = 0; i < rows * n; i++) narrow[i] = (float)values[i];
                if (single && cases[k].status == KX_E_NEGATIVE) continue; /* -1e-300 is -0 there */
                const kx_entropy_outputs_t outputs = {single ? (void *)narrow_q : q, gamma, entropy, status, NULL};
                const kx_status_t call = single ? kx_entropy_normalize_f32(NULL, narrow, NULL, targets, rows, n, 8, &options, &outputs)
                                                : kx_entropy_normalize_f64(NULL, values, NULL, targets, rows, n, 8, &options, &outputs);
                CHECK(call == KX_OK, "case %d: %s", (int)k, kx_status_name(call));
                CHECK(status[row] == cases[k].status, "case %d, place %d, f%d: status %d", (int)k, place, single ? 32 : 64, status[row]);
                CHECK(gamma[row] == cases[k].gamma || (isnan(gamma[row]) && isnan(cases[k].gamma)), "case %d: gamma %g", (int)k, gamma[row]);
                for (int i = 0; i < 4; i++) {
                    const double share = single ? (double)narrow_q[row * n + i] : q[row * n + i];
                    CHECK(fabs(share - cases[k].q[i]) < 1e-7 || (isnan(share) && isnan(cases[k].q[i])), "case %d: q[%d] = %g", (int)k, i, share);
                }
                for (int64_t i = 0; i < rows; i++)
                    if (i != row) CHECK(status[i] == KX_OK, "case %d: a neighbour's status is %d", (int)k, status[i]);
            }
    kx_entropy_options_t options = defaults();
    options.max_iter = 1;
    const double p[] = {0.5, 0.25, 0.15, 0.1};
    double q[4];
    const answer got = solve_f64(p, 4, 1, &options, q);
    CHECK(got.status == KX_W_MAXITER && fabs(got.gamma - 1.5558) < 0.5, "max_iter: %d, %g", got.status, got.gamma);
    CHECK(fabs(q[0] + q[1] + q[2] + q[3] - 1) < 1e-14, "max_iter: q sums to %g", q[0] + q[1] + q[2] + q[3]);
}

static void test_arguments(void) {
    const double p[] = {1, 2}, target = 0.5;
    double q[2];
    const kx_entropy_outputs_t outputs = {q, NULL, NULL, NULL, NULL};
    kx_entropy_options_t options = defaults();
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, -1, 2, 0, &options, &outputs) == KX_E_ARGUMENT, "rows < 0");
    CHECK(kx_entropy_normalize_f64(NULL, NULL, NULL, &target, 1, 2, 0, &options, &outputs) == KX_E_ARGUMENT, "no values");
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, NULL, 1, 2, 0, &options, &outputs) == KX_E_ARGUMENT, "no targets");
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, 1, 2, 0, NULL, &outputs) == KX_E_ARGUMENT, "no options");
    for (int unknown = -1; unknown <= 5; unknown += 6) {
        kx_entropy_options_t of_target = options, of_domain = options;
        of_target.target = (kx_entropy_target_t)unknown, of_domain.domain = (kx_entropy_domain_t)unknown;
        CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, 1, 2, 0, &of_target, &outputs) == KX_E_ARGUMENT, "target %d", unknown);
        CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, 1, 2, 0, &of_domain, &outputs) == KX_E_ARGUMENT, "domain %d", unknown);
    }
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, INT64_MAX / 2, 4, 0, &options, &outputs) == KX_E_OVERFLOW, "too large");
    CHECK(kx_entropy_normalize_f64(NULL, NULL, NULL, &target, 0, 2, 0, &options, &outputs) == KX_OK, "no rows");
    const int64_t backward[] = {0, 2, 1};
    CHECK(kx_entropy_normalize_f64(NULL, p, backward, &target, 2, 0, 0, &options, &outputs) == KX_E_ARGUMENT, "offsets");
    const int64_t apart[] = {INT64_MIN, 2}, long_row[] = {0, INT64_MAX};
    CHECK(kx_entropy_normalize_f64(NULL, p, apart, &target, 1, 0, 0, &options, &outputs) == KX_E_ARGUMENT, "a negative offset");
    CHECK(kx_entropy_normalize_f64(NULL, p, long_row, &target, 1, 0, 0, &options, &outputs) == KX_E_OVERFLOW, "a row too long");
    int32_t status[2];
    const kx_entropy_outputs_t statuses = {NULL, NULL, NULL, status, NULL};
    CHECK(kx_entropy_normalize_f64(NULL, NULL, NULL, &target, 2, 0, 0, &options, &statuses) == KX_OK, "no entries");
    CHECK(status[0] == KX_E_EMPTY && status[1] == KX_E_EMPTY, "no entries: %d", status[0]);
    options.max_iter = 0;
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, 1, 2, 0, &options, &outputs) == KX_E_ARGUMENT, "max_iter 0");
    options = defaults();
    options.tolerance = NAN;
    CHECK(kx_entropy_normalize_f64(NULL, p, NULL, &target, 1, 2, 0, &options, &outputs) == KX_E_ARGUMENT, "tolerance nan");
}

/* Rows of all lengths, some empty or bad, together and one at a time, with 1 to 8 workers and in place: the same bits. */
static void test_batches(void) {
    enum { ROWS = 700 };
    int64_t offsets[ROWS + 1] = {3};
    for (int64_t i = 0; i < ROWS; i++) {
        const int64_t length = i % 50 == 49 ? 384 + (int64_t)(check_random() % 300) : (int64_t)(check_random() % 40);
        offsets[i + 1] = offsets[i] + length;
    }
    const size_t size = (size_t)offsets[ROWS];
    double *values = malloc(size * sizeof *values), *q = malloc(size * sizeof *q), *alone = malloc(size * sizeof *alone);
    float *narrow = malloc(size * sizeof *narrow), *narrow_q = malloc(size * sizeof *q), *narrow_alone = malloc(size * sizeof *q);
    double targets[ROWS], gamma[ROWS], entropy[ROWS], one_gamma, one_entropy;
    int32_t status[ROWS], one_status, iterations[ROWS], one_iterations;
    for (size_t i = 0; i < size; i++) {
        values[i] = check_random() % 5 ? exp(check_uniform(-5, 5)) : 0;
        if (check_random() % 400 == 0) values[i] = check_random() % 2 ? NAN : -1;
        narrow[i] = (float)values[i];
    }
    for (int i = 0; i < ROWS; i++) targets[i] = check_uniform(0, 1.02) < 1 ? check_uniform(0, 1) : 2;
    kx_entropy_options_t options = defaults();
    options.target = KX_ENTROPY_TARGET_FRACTION;
    for (int workers = 1; workers <= 8; workers += workers < 3 ? 1 : 5)
        for (int in_place = 0; in_place < 2; in_place++) {
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            memcpy(q, values, size * sizeof *q);
            const kx_entropy_outputs_t outputs = {q, gamma, entropy, status, iterations};
            CHECK(kx_entropy_normalize_f64(&ctx, in_place ? q : values, offsets, targets, ROWS, 0, 8, &options, &outputs) == KX_OK, "f64");
            memcpy(narrow_q, narrow, size * sizeof *narrow);
            const kx_entropy_outputs_t narrow_outputs = {narrow_q, NULL, NULL, NULL, NULL};
            CHECK(kx_entropy_normalize_f32(&ctx, in_place ? narrow_q : narrow, offsets, targets, ROWS, 0, 8, &options, &narrow_outputs) == KX_OK, "f32");
            for (int64_t i = 0; i < ROWS; i++) {
                const int64_t length = offsets[i + 1] - offsets[i];
                const kx_entropy_outputs_t one = {alone + offsets[i], &one_gamma, &one_entropy, &one_status, &one_iterations};
                kx_entropy_normalize_f64(NULL, values + offsets[i], NULL, targets + i, 1, length, 0, &options, &one);
                const size_t bytes = (size_t)length * sizeof(double);
                CHECK(memcmp(q + offsets[i], alone + offsets[i], bytes) == 0 && memcmp(&gamma[i], &one_gamma, 8) == 0 &&
                          memcmp(&entropy[i], &one_entropy, 8) == 0 && status[i] == one_status && iterations[i] == one_iterations,
                      "row %d of %d entries, %d workers: %.17g and %.17g, status %d and %d", (int)i, (int)length, workers, gamma[i],
                      one_gamma, status[i], one_status);
                const kx_entropy_outputs_t narrow_one = {narrow_alone + offsets[i], NULL, NULL, NULL, NULL};
                kx_entropy_normalize_f32(NULL, narrow + offsets[i], NULL, targets + i, 1, length, 0, &options, &narrow_one);
                CHECK(memcmp(narrow_q + offsets[i], narrow_alone + offsets[i], bytes / 2) == 0, "float row %d", (int)i);
            }
        }
    /* all lengths equal: the way round the scattered loads */
    const int64_t n = 23;
    for (int64_t rows = 1; rows < 40; rows++) {
        const kx_entropy_outputs_t outputs = {q, gamma, NULL, status, NULL};
        kx_entropy_normalize_f64(NULL, values, NULL, targets, rows, n, 8, &options, &outputs);
        for (int64_t i = 0; i < rows; i++) {
            const kx_entropy_outputs_t one = {alone, &one_gamma, NULL, &one_status, NULL};
            kx_entropy_normalize_f64(NULL, values + i * n, NULL, targets + i, 1, n, 0, &options, &one);
            CHECK(memcmp(q + i * n, alone, (size_t)n * sizeof *q) == 0 && status[i] == one_status, "row %d of %d", (int)i, (int)rows);
        }
    }
    free(values), free(q), free(alone), free(narrow), free(narrow_q), free(narrow_alone);
}

/* A matrix of distances without its diagonal is the matrix whose diagonal is infinite. */
static void test_diagonal(void) {
    for (int64_t n = 2; n < 500; n += n < 40 ? 1 : 170) {
        double *d = malloc((size_t)(n * n) * sizeof *d), *q = malloc((size_t)(n * n) * sizeof *q), *other = malloc((size_t)(n * n) * sizeof *q);
        for (int64_t i = 0; i < n * n; i++) d[i] = check_uniform(0, 9);
        const double target = n > 2 ? 0.5 : 0;
        kx_entropy_options_t options = defaults();
        options.target = KX_ENTROPY_TARGET_GAP_HIGH;
        options.domain = KX_ENTROPY_DISTANCES_TO_OTHERS;
        kx_entropy_outputs_t outputs = {q, NULL, NULL, NULL, NULL};
        kx_entropy_normalize_f64(NULL, d, NULL, &target, n, n, 0, &options, &outputs);
        for (int64_t i = 0; i < n; i++) d[i * n + i] = INFINITY;
        options.domain = KX_ENTROPY_DISTANCES;
        outputs.q = other;
        kx_entropy_normalize_f64(NULL, d, NULL, &target, n, n, 0, &options, &outputs);
        CHECK(memcmp(q, other, (size_t)(n * n) * sizeof *q) == 0, "n = %d", (int)n);
        for (int64_t i = 0; i < n; i++) CHECK(q[i * n + i] == 0, "n = %d: q[%d, %d] = %g", (int)n, (int)i, (int)i, q[i * n + i]);
        free(d), free(q), free(other);
    }
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
    double *p = malloc((size_t)ROWS * N * sizeof *p), *q = malloc((size_t)ROWS * N * sizeof *q);
    for (int64_t i = 0; i < ROWS * N; i++) p[i] = check_uniform(0, 1);
    const double target = 2;
    const kx_entropy_options_t options = defaults();
    const kx_entropy_outputs_t outputs = {q, NULL, NULL, NULL, NULL};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = refuse;
    CHECK(kx_entropy_normalize_f64(&ctx, p, NULL, &target, ROWS, N, 0, &options, &outputs) == KX_E_MEMORY, "memory");
    for (int workers = 1; workers <= 2; workers++) {
        kx_ctx_init(&ctx);
        int asked = 0;
        ctx.cancel = cancel_at_once, ctx.cancel_state = &asked, ctx.workers = workers;
        const kx_status_t status = kx_entropy_normalize_f64(&ctx, p, NULL, &target, ROWS, N, 0, &options, &outputs);
        CHECK(status == (asked ? KX_E_CANCELLED : KX_OK), "cancel: %s", kx_status_name(status));
    }
    free(p), free(q);
}

/* What fuzzing has found (tests/fuzz): whatever a row's range, q is a distribution. */
static void check_distribution(const char *what, const double *values, int n, int single, kx_entropy_domain_t domain,
                               kx_entropy_target_t kind, double target, int32_t wanted) {
    enum { ROOM = 10 };
    kx_entropy_options_t options = defaults();
    options.domain = domain, options.target = kind;
    double q[ROOM], gamma;
    float values32[ROOM], q32[ROOM];
    int32_t status;
    for (int k = 0; k < n; k++) values32[k] = (float)values[k];
    const kx_entropy_outputs_t outputs = {single ? (void *)q32 : (void *)q, &gamma, NULL, &status, NULL};
    const kx_status_t ended = single ? kx_entropy_normalize_f32(NULL, values32, NULL, &target, 1, n, 0, &options, &outputs)
                                     : kx_entropy_normalize_f64(NULL, values, NULL, &target, 1, n, 0, &options, &outputs);
    double sum = 0;
    for (int k = 0; k < n; k++) sum += single ? (double)q32[k] : q[k];
    CHECK(ended == KX_OK && status == wanted, "%s: %s, status %d", what, kx_status_name(ended), status);
    CHECK(fabs(sum - 1) < (single ? 1e-6 : 1e-14), "%s: q sums to %g, gamma %g", what, sum, gamma);
}

static void test_decades(void) {
    const double logits[] = {FLT_MAX, FLT_MAX, -1.2725948861776117e-32};
    check_distribution("a gap that underflows", logits, 3, 1, KX_ENTROPY_LOGITS, KX_ENTROPY_TARGET_GAP_LOW, 1e-156, KX_ENTROPY_BELOW);
    const double near[] = {9.2943570732152742e-47, 2.0781172774210214e305, 0, 0, 0, 0, 0};
    check_distribution("next to the largest, float64", near, 7, 0, KX_ENTROPY_DISTANCES, KX_ENTROPY_TARGET_ENTROPY, 0.037, KX_ENTROPY_BELOW);
    const double near32[] = {8.464554264339006e-31, 0, FLT_MAX};
    check_distribution("next to the largest, float32", near32, 3, 1, KX_ENTROPY_DISTANCES, KX_ENTROPY_TARGET_GAP_LOW, 0.207614, KX_OK);
    const double wide[] = {-3.1133825968891774e-107, 1.2133234349429735e-264, -1.2853075935059597e-253, 4.6852583034825573e219,
                           8.7525665692182381e19, 9.8199659957543765e-147, 0, 0, 0, 0};
    check_distribution("no unit for all", wide, 10, 0, KX_ENTROPY_DISTANCES, KX_ENTROPY_TARGET_FRACTION, 0.531464, KX_OK);
    const double subnormal[] = {0, 5.6051938572992683e-44, 0};
    check_distribution("a subnormal mean", subnormal, 3, 1, KX_ENTROPY_DISTANCES, KX_ENTROPY_TARGET_PERPLEXITY, 2.92944, KX_OK);
    const double least[] = {4.2038953929744512e-44, 0, 0};
    check_distribution("a gap that is not reached", least, 3, 1, KX_ENTROPY_DISTANCES, KX_ENTROPY_TARGET_GAP_HIGH, 1.95703e-131, KX_W_MAXITER);
}

int main(void) {
    printf("test_entropy, %s\n", kx_isa_name());
    test_known();
    test_gaps();
    test_statuses();
    test_arguments();
    test_batches();
    test_diagonal();
    test_refusals();
    test_decades();
    return check_report();
}
