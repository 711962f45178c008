/* Entropy normalisation: gamma against the long double equation that defines it, by bisection, and q against gamma; every domain, target and
   status; rows side by side that must not disturb each other. */
#include "fuzz.h"
#include "kexue/kexue.h"

enum { MOST_ROWS = 4, MOST = 12 };

/* One row by its definition. */
typedef struct row {
    int count, support, ties; /* entries; those with weight; the maximal ones */
    int nonfinite, negative;
    long double v[MOST];      /* log of the share of the largest; 1 for an entry without weight */
} row_t;

static row_t read_row(const double *values, int n, int domain, int own) {
    row_t row = {0, 0, 0, 0, 0, {0}};
    long double largest = -(long double)INFINITY;
    for (int k = 0; k < n; k++) {
        row.v[k] = 1;
        if (k == own) continue;
        row.count++;
        const double x = values[k];
        const double none = domain == KX_ENTROPY_WEIGHTS ? 0 : domain == KX_ENTROPY_LOGITS ? -(double)INFINITY : (double)INFINITY;
        if (isnan(x) || (isinf(x) && x != none)) row.nonfinite = 1;
        else if (domain == KX_ENTROPY_WEIGHTS && x < 0) row.negative = 1;
        else if (x != none) {
            row.support++;
            const long double size = domain >= KX_ENTROPY_DISTANCES ? -(long double)x : (long double)x;
            largest = size > largest ? size : largest;
        }
        if (isfinite(x) && x != none) row.v[k] = 0;
    }
    for (int k = 0; k < n; k++) {
        if (k == own || row.v[k] == 1) continue;
        const long double size = domain >= KX_ENTROPY_DISTANCES ? -(long double)values[k] : (long double)values[k];
        const long double difference = size - largest;
        if (domain != KX_ENTROPY_WEIGHTS) row.v[k] = difference;
        else row.v[k] = difference > -largest / 2 ? log1pl(difference / largest) : logl(size) - logl(largest);
        row.ties += difference == 0;
    }
    return row;
}

/* e^c - 1 - c */
static long double beyond(long double c) {
    if (fabsl(c) > 0.5L) return expm1l(c) - c;
    long double term = c * c / 2, sum = 0;
    for (int k = 3; k < 30; k++) sum += term, term *= c / k;
    return sum;
}

/* Entropy - log ties, log support - entropy, each with its own digits, and their common slope in log gamma. */
typedef struct gaps {
    long double low, high, slope;
} gaps_t;

static gaps_t gaps_at(const row_t *row, int n, long double gamma) {
    long double rest = 0, first = 0, second = 0, mean = 0;
    for (int k = 0; k < n; k++) {
        if (row->v[k] == 1) continue;
        const long double c = gamma * row->v[k], e = expl(c);
        if (row->v[k] < 0) rest += e;
        first += c * e, second += c * c * e, mean += row->v[k] / row->support;
    }
    const long double total = row->ties + rest, mu = first / total;
    gaps_t at = {log1pl(rest / row->ties) - mu, 0, second / total - mu * mu};
    at.high = logl((long double)row->support / row->ties) - at.low;
    if (-gamma * mean < 20) {
        long double sum = 0, product = 0, drift = 0;
        for (int k = 0; k < n; k++)
            if (row->v[k] != 1) drift += gamma * (row->v[k] - mean) / row->support;
        for (int k = 0; k < n; k++) {
            if (row->v[k] == 1) continue;
            const long double c = gamma * (row->v[k] - mean) - drift;
            sum += beyond(c), product += c * expm1l(c);
        }
        at.high = product / (row->support + sum) - log1pl(sum / row->support);
    }
    return at;
}

static void check_row(const double *values, const double *q, int n, const row_t *row, const kx_entropy_options_t *options, double target,
                      double gamma, double entropy, int status, int single) {
    const long double top = logl(row->support), bottom = row->ties ? logl(row->ties) : 0;
    const int kind = (int)options->target;
    int bad = 0;
    if (row->nonfinite || row->negative || !row->support) {
        bad = 1;
        FUZZ_CHECK((status == KX_E_NONFINITE && row->nonfinite) || (status == KX_E_NEGATIVE && row->negative) ||
                       (status == KX_E_EMPTY && !row->support), "status %d", status);
    } else if (!(target >= (kind == KX_ENTROPY_TARGET_PERPLEXITY)) || !(target <= (kind == KX_ENTROPY_TARGET_FRACTION ? 1 : DBL_MAX))) {
        bad = 1;
        FUZZ_CHECK(status == KX_E_ARGUMENT, "target %g of kind %d: status %d", target, kind, status);
    }
    if (bad) {
        FUZZ_CHECK(isnan(gamma) && isnan(entropy), "a bad row has gamma %g, entropy %g", gamma, entropy);
        for (int k = 0; k < n; k++) FUZZ_CHECK(isnan(q[k]), "a bad row has q[%d] = %g", k, q[k]);
        return;
    }
    /* The wanted gaps; `near` is what roundings of the entropies make of them. */
    long double wanted = (long double)target;
    if (kind == KX_ENTROPY_TARGET_PERPLEXITY) wanted = logl((long double)target);
    if (kind == KX_ENTROPY_TARGET_FRACTION) wanted = (long double)target * logl(row->count);
    long double low = wanted - bottom, high = top - wanted;
    if (kind == KX_ENTROPY_TARGET_GAP_LOW) low = wanted, high = top - bottom - wanted;
    if (kind == KX_ENTROPY_TARGET_GAP_HIGH) high = wanted, low = top - bottom - wanted;
    const long double size = top > wanted ? top : wanted, near = 16 * (long double)DBL_EPSILON * (size < 1 ? 1 : size);
    const int flat = row->ties == row->support;
    double sum = 0;
    for (int k = 0; k < n; k++) {
        FUZZ_CHECK(q[k] >= 0 && q[k] <= 1, "q[%d] = %g", k, q[k]);
        if (row->v[k] == 1) FUZZ_CHECK(q[k] == 0, "q[%d] = %g of no weight", k, q[k]);
        sum += q[k];
    }
    FUZZ_CHECK(fabs(sum - 1) < (single ? 1e-6 : 1e-14), "the sum is 1 + %g", sum - 1);
    /* Values whose differences do not fit one unit. */
    long double farthest = 0, nearest = (long double)INFINITY;
    for (int k = 0; k < n; k++) {
        if (row->v[k] == 1 || row->v[k] == 0) continue;
        farthest = fmaxl(farthest, -row->v[k]), nearest = fminl(nearest, -row->v[k]);
    }
    const int is_subnormal = nearest < (single ? 1e-36L : 1e-290L);
    const int is_wide = farthest > (single ? 1e28L : 1e270L) * nearest || farthest > (single ? 1e38L : 1e290L);
    if ((is_wide || is_subnormal) && (status == KX_OK || status == KX_W_MAXITER)) return;
    switch (status) {
    case KX_ENTROPY_CONSTANT:
        FUZZ_CHECK(flat && gamma == 1, "status constant, gamma %g, %d of %d are maximal", gamma, row->ties, row->support);
        break;
    case KX_ENTROPY_ABOVE: FUZZ_CHECK(high < near && gamma == 0, "above: %Lg is left, gamma %g", high, gamma); break;
    case KX_ENTROPY_BELOW: FUZZ_CHECK(low < near && gamma == (double)INFINITY, "below: %Lg is left, gamma %g", low, gamma); break;
    case KX_OK: break;
    case KX_W_MAXITER: /* beyond what is promised, gaps from 1e-12 */
        FUZZ_CHECK(is_subnormal || low < 1e-12L || high < 1e-12L, "not converged at gaps of %Lg and %Lg", low, high);
        return;
    default: FUZZ_CHECK(0, "status %d, gamma %g, target %g of kind %d", status, gamma, target, kind);
    }
    FUZZ_CHECK(gamma >= 0, "gamma %g", gamma);
    if (flat || status != KX_OK || gamma == 0) {
        const int weigh = status == KX_ENTROPY_BELOW ? row->ties : row->support;
        if (status == KX_OK && !flat) FUZZ_CHECK(fabsl(high) < near, "gamma 0 for a gap of %Lg", high);
        for (int k = 0; k < n; k++) {
            const int has = row->v[k] != 1 && (status != KX_ENTROPY_BELOW || row->v[k] == 0);
            FUZZ_CHECK(fabs(q[k] - (has ? 1.0 / weigh : 0)) < (single ? 1e-6 : 1e-14), "q[%d] = %g of %d", k, q[k], weigh);
        }
        FUZZ_CHECK(fabsl((long double)entropy - logl(weigh)) < 1e-14L, "entropy %g of %d", entropy, weigh);
        return;
    }
    if (is_subnormal && gamma == (double)INFINITY) return; /* beyond the largest number */
    FUZZ_CHECK(isfinite(gamma), "gamma %g", gamma);
    /* The gap that was given, or the nearer one, which falls (low) or grows (high) with gamma: the root of the bisection and gamma differ by
       roundings of what was given. Where the values are differences of large numbers, their own roundings count. */
    const int by_low = kind == KX_ENTROPY_TARGET_GAP_LOW || (kind != KX_ENTROPY_TARGET_GAP_HIGH && low < high);
    const long double goal = by_low ? low : high, given = kind >= KX_ENTROPY_TARGET_GAP_LOW ? fminl(goal, 1.5L) + (goal > 0.1L ? 1.5L : 0) : size + 1;
    long double left = 0, right = 2 * (long double)gamma;
    for (int step = 0; step < 90 && right - left > 1e-17L * right; step++) {
        const long double middle = left + (right - left) / 2;
        const gaps_t at = gaps_at(row, n, middle);
        if (by_low ? at.low > goal : at.high < goal) left = middle;
        else right = middle;
    }
    const gaps_t at = gaps_at(row, n, (long double)gamma);
    const long double error = fabsl(left / (long double)gamma - 1), precision = single ? 64 * (long double)FLT_EPSILON * (1 + 1 / at.slope) : 1e-13L;
    const long double floor = 64 * (long double)DBL_EPSILON * given / at.slope;
    if (goal >= 1e-12L && floor < 0.1L) /* as promised */
        FUZZ_CHECK(error <= precision + floor, "gamma %.17g, bisection %.17Lg, n = %d, kind %d, gap %Lg, floor %Lg", gamma, left, n, kind, goal, floor);
    FUZZ_CHECK(fabsl((long double)entropy - (bottom + at.low)) < (single ? 1e-4L : 1e-13L) + 64 * (long double)DBL_EPSILON * given,
               "entropy %.17g, of gamma %.17Lg", entropy, bottom + at.low);
    long double total = 0;
    for (int k = 0; k < n; k++)
        if (row->v[k] != 1) total += expl((long double)gamma * row->v[k]);
    for (int k = 0; k < n; k++) {
        const long double exact = row->v[k] != 1 ? expl((long double)gamma * row->v[k]) / total : 0;
        const long double c = row->v[k] != 1 ? fabsl((long double)gamma * row->v[k]) : 0;
        FUZZ_CHECK(fabsl((long double)q[k] - exact) <= (single ? (long double)FLT_EPSILON : (long double)DBL_EPSILON) * 32 * (8 + c + 60) * exact + 1e-37L,
                   "q[%d] = %.17g, by its definition %.17Lg, value %g, gamma %g", k, q[k], exact, values[k], gamma);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input_t in = {data, size, 0};
    kx_entropy_options_t options;
    kx_entropy_options_init(&options);
    options.domain = (kx_entropy_domain_t)fuzz_below(&in, 4);
    options.target = (kx_entropy_target_t)fuzz_below(&in, 5);
    const unsigned flags = fuzz_byte(&in);
    const int single = flags & 1, ragged = (flags & 2) && options.domain != KX_ENTROPY_DISTANCES_TO_OTHERS, alone = flags & 4;
    int n = 1 + fuzz_below(&in, MOST), rows = 1 + fuzz_below(&in, MOST_ROWS), longest = n;
    if (options.domain == KX_ENTROPY_DISTANCES_TO_OTHERS) rows = n < MOST_ROWS ? n : (n = MOST_ROWS), longest = n;
    int64_t offsets[MOST_ROWS + 1] = {0};
    for (int i = 0; i < rows; i++) offsets[i + 1] = offsets[i] + (ragged ? fuzz_below(&in, longest + 1) : n);
    const size_t entries = (size_t)offsets[rows];

    double *values = fuzz_block(entries, sizeof *values), *q = fuzz_block(entries, sizeof *q);
    float *values32 = fuzz_block(entries, sizeof *values32), *q32 = fuzz_block(entries, sizeof *q32);
    double targets[MOST_ROWS], gamma[MOST_ROWS], entropy[MOST_ROWS];
    int32_t status[MOST_ROWS], iterations[MOST_ROWS];
    for (int i = 0; i < rows; i++) {
        const fuzz_range_t range = (fuzz_range_t)fuzz_below(&in, FUZZ_RANGES);
        const int target = fuzz_below(&in, 8);
        double value = fuzz_number(&in, target == 7 ? FUZZ_ANY_BITS : target == 6 ? FUZZ_DECADES : FUZZ_UNIFORM);
        const double reach = options.target == KX_ENTROPY_TARGET_PERPLEXITY || options.target == KX_ENTROPY_TARGET_FRACTION ? 1 : log(n + 1);
        if (target < 6) value *= options.target == KX_ENTROPY_TARGET_PERPLEXITY ? n : reach;
        if (target < 6 && options.target == KX_ENTROPY_TARGET_PERPLEXITY) value += target > 0;
        targets[i] = value;
        const int positive = fuzz_below(&in, 8) < 7, nearby = fuzz_below(&in, 4) == 0;
        for (int64_t k = offsets[i]; k < offsets[i + 1]; k++) {
            double x = fuzz_number(&in, range);
            if (nearby && isfinite(x)) x = 1 + ldexp(fmod(x, 1024), -30);
            if (range != FUZZ_ANY_BITS && positive && options.domain == KX_ENTROPY_WEIGHTS) x = fabs(x);
            values32[k] = fabs(x) <= (double)FLT_MAX || !isfinite(x) ? (float)x : FLT_MAX;
            values[k] = single ? (double)values32[k] : x;
        }
    }
    void *to = single ? (void *)q32 : (void *)q;
    const kx_entropy_outputs_t outputs = {to, gamma, entropy, status, iterations};
    const int64_t *bounds = ragged ? offsets : NULL;
    const kx_status_t ended =
        single ? kx_entropy_normalize_f32(NULL, values32, bounds, targets, rows, n, sizeof *targets, &options, &outputs)
               : kx_entropy_normalize_f64(NULL, values, bounds, targets, rows, n, sizeof *targets, &options, &outputs);
    FUZZ_CHECK(ended == KX_OK, "%s", kx_status_name(ended));
    for (size_t k = 0; single && k < entries; k++) q[k] = (double)q32[k];
    for (int i = 0; i < rows; i++) {
        const int64_t from = offsets[i];
        const int count = (int)(offsets[i + 1] - from), own = options.domain == KX_ENTROPY_DISTANCES_TO_OTHERS ? i : -1;
        const row_t row = read_row(values + from, count, (int)options.domain, own);
        check_row(values + from, q + from, count, &row, &options, targets[i], gamma[i], entropy[i], status[i], single);
        FUZZ_CHECK(iterations[i] >= 0 && iterations[i] <= options.max_iter, "%d evaluations", iterations[i]);
        if (alone && own < 0) { /* the same bits without its neighbours */
            double gamma1, entropy1;
            int32_t status1;
            const kx_entropy_outputs_t outputs1 = {to, &gamma1, &entropy1, &status1, NULL};
            if (single) kx_entropy_normalize_f32(NULL, values32 + from, NULL, targets + i, 1, count, 0, &options, &outputs1);
            else kx_entropy_normalize_f64(NULL, values + from, NULL, targets + i, 1, count, 0, &options, &outputs1);
            FUZZ_CHECK(status1 == status[i] && memcmp(&gamma1, gamma + i, sizeof gamma1) == 0 && memcmp(&entropy1, entropy + i, sizeof entropy1) == 0,
                       "alone: status %d, gamma %.17g; among others: %d, %.17g", status1, gamma1, status[i], gamma[i]);
        }
    }
    free(values), free(q), free(values32), free(q32);
    return 0;
}
