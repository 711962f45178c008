/* Exact transport: a plan with its marginals, potentials that certify it, and the plans of small whole weights one by one. */
#include "fuzz.h"
#include "kexue/kexue.h"

enum { MOST = 9, WHOLE_MOST = 4, WHOLE_TOTAL = 6 };

typedef struct problem {
    int m, n, single, uniform_a, uniform_b;
    double *a, *b;
    void *M;
} problem_t;

static double cost_at(const problem_t *p, int i, int j) {
    const int at = i * p->n + j;
    return p->single ? (double)((const float *)p->M)[at] : ((const double *)p->M)[at];
}

/* ---- all plans of whole numbers, of which one is optimal where the weights are whole ---- */

typedef struct enumeration {
    const problem_t *p;
    int left_a[WHOLE_MOST], left_b[WHOLE_MOST];
    double best;
} enumeration_t;

static void enumerate(enumeration_t *e, int cell, double cost) {
    const int i = cell / e->p->n, j = cell % e->p->n;
    if (i == e->p->m) {
        if (cost < e->best) e->best = cost;
        return;
    }
    const int most = e->left_a[i] < e->left_b[j] ? e->left_a[i] : e->left_b[j];
    const double price = cost_at(e->p, i, j);
    /* The last cell of a row takes what is left of it. */
    for (int mass = j == e->p->n - 1 ? e->left_a[i] : 0; mass <= most && !(mass > 0 && price == (double)INFINITY); mass++) {
        e->left_a[i] -= mass, e->left_b[j] -= mass;
        enumerate(e, cell + 1, cost + (mass > 0 ? mass * price : 0));
        e->left_a[i] += mass, e->left_b[j] += mass;
    }
}

/* Whole weights of equal total, in a and b, by dropping `total` units into each. */
static void drop_units(fuzz_input_t *in, double *weights, int count, int total) {
    for (int k = 0; k < count; k++) weights[k] = 0;
    for (int k = 0; k < total; k++) weights[fuzz_below(in, count)] += 1;
}

/* ---- what may be wrong with the input ---- */

enum { BAD_NONFINITE = 1, BAD_NEGATIVE = 2, BAD_EMPTY = 4, BAD_TOTALS = 8, BAD_SIZE = 16 };

static int faults_of_weights(const double *weights, int count, long double *total) {
    int faults = 0;
    *total = 0;
    for (int k = 0; k < count; k++) {
        if (!isfinite(weights[k])) faults |= BAD_NONFINITE;
        else if (weights[k] < 0) faults |= BAD_NEGATIVE;
        *total += (long double)weights[k];
    }
    if (!faults && *total == 0) faults |= BAD_EMPTY;
    if (!faults && *total > (long double)DBL_MAX) faults |= BAD_SIZE;
    return faults;
}

static int is_of(kx_status_t status, int faults) {
    return (status == KX_E_NONFINITE && faults & BAD_NONFINITE) || (status == KX_E_NEGATIVE && faults & BAD_NEGATIVE) ||
           (status == KX_E_EMPTY && faults & BAD_EMPTY) || (status == KX_E_TOTALS && faults & BAD_TOTALS) ||
           (status == KX_E_OVERFLOW && faults & BAD_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input_t in = {data, size, 0};
    problem_t p;
    const int is_whole = fuzz_byte(&in) & 1, most = is_whole ? WHOLE_MOST : MOST;
    p.m = 1 + fuzz_below(&in, most), p.n = 1 + fuzz_below(&in, most), p.single = (int)(fuzz_byte(&in) & 1);
    const fuzz_range_t weight_range = (fuzz_range_t)fuzz_below(&in, FUZZ_RANGES);
    const fuzz_range_t cost_range = (fuzz_range_t)fuzz_below(&in, FUZZ_RANGES);
    const unsigned flags = fuzz_byte(&in);
    const int m = p.m, n = p.n, balance = flags & 3; /* three in four: b takes the total of a */
    p.uniform_a = !is_whole && (flags & 12) == 12, p.uniform_b = !is_whole && (flags & 12) == 12;
    const int signs = flags >> 4 & 1, holes = flags >> 5 & 1; /* negative costs, forbidden arcs */
    const double power = ldexp(1, flags >> 6 & 1 ? fuzz_below(&in, 200) - 100 : 0);

    p.a = fuzz_block((size_t)m, sizeof(double)), p.b = fuzz_block((size_t)n, sizeof(double));
    if (is_whole) {
        const int total = 1 + fuzz_below(&in, WHOLE_TOTAL);
        drop_units(&in, p.a, m, total), drop_units(&in, p.b, n, total);
    } else {
        for (int i = 0; i < m; i++) p.a[i] = p.uniform_a ? 1.0 / m : fuzz_number(&in, weight_range);
        for (int j = 0; j < n; j++) p.b[j] = p.uniform_b ? 1.0 / n : fuzz_number(&in, weight_range);
        if (weight_range == FUZZ_DECADES || (weight_range == FUZZ_ANY_BITS && flags >> 7)) {
            for (int i = 0; i < m; i++) p.a[i] = fabs(p.a[i]);
            for (int j = 0; j < n; j++) p.b[j] = fabs(p.b[j]);
        }
    }
    const size_t cost_size = p.single ? sizeof(float) : sizeof(double);
    p.M = fuzz_block((size_t)(m * n), cost_size);
    for (int k = 0; k < m * n; k++) {
        double value = fuzz_number(&in, cost_range);
        if (cost_range != FUZZ_ANY_BITS) {
            if (signs) value = value - (cost_range == FUZZ_SMALL_INTEGERS ? 4 : 0.5);
            else value = fabs(value);
            value *= power;
            if (holes && fuzz_below(&in, 4) == 0) value = (double)INFINITY;
        }
        if (p.single) ((float *)p.M)[k] = fabs(value) <= (double)FLT_MAX || !isfinite(value) ? (float)value : FLT_MAX;
        else ((double *)p.M)[k] = value;
    }

    long double total_a, total_b;
    int faults = faults_of_weights(p.a, m, &total_a);
    if (balance && !faults && !is_whole && total_a > 0) {
        if (faults_of_weights(p.b, n, &total_b) == 0)
            for (int j = 0; j < n; j++) p.b[j] = (double)((long double)p.b[j] * (total_a / total_b));
    }
    faults |= faults_of_weights(p.b, n, &total_b);
    const long double larger = total_a > total_b ? total_a : total_b, apart = fabsl(total_a - total_b);
    int may_be = faults;
    faults &= ~BAD_SIZE; /* a total that rounds to the largest number is none */
    if (!may_be && apart > 1.0000001e-9L * larger) faults |= BAD_TOTALS;
    if (!(may_be & ~BAD_SIZE) && apart > 0.9999999e-9L * larger) may_be |= BAD_TOTALS;
    may_be |= faults;
    double scale = 0;
    int forbidden = 0;
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            const double cost = cost_at(&p, i, j);
            if (isnan(cost) || cost == -(double)INFINITY) faults |= BAD_NONFINITE, may_be |= BAD_NONFINITE;
            else if (cost == (double)INFINITY) forbidden = 1;
            else scale = fabs(cost) > scale ? fabs(cost) : scale;
        }
    /* Sums of costs, or of costs times masses, that leave the range. */
    if (scale > DBL_MAX / 1e8 / 16 || (long double)scale * larger > (long double)DBL_MAX / 64) may_be |= BAD_SIZE;

    double *plan = fuzz_block((size_t)(m * n), sizeof *plan), *masses = fuzz_block((size_t)(m + n - 1), sizeof *masses), cost;
    double *u = fuzz_block((size_t)m, sizeof *u), *v = fuzz_block((size_t)n, sizeof *v);
    int64_t *rows = fuzz_block((size_t)(m + n - 1), sizeof *rows), *columns = fuzz_block((size_t)(m + n - 1), sizeof *columns);
    int64_t entries, failed = -7;
    kx_emd_result_t result;
    int32_t ended;
    const kx_emd_outputs_t outputs = {&cost, plan, u, v, rows, columns, masses, &entries, &result, &ended};
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    const double *a = p.uniform_a ? NULL : p.a, *b = p.uniform_b ? NULL : p.b;
    const ptrdiff_t stride = n * (ptrdiff_t)cost_size;
    const kx_status_t status =
        p.single ? kx_transport_emd_f32(NULL, a, b, p.M, 1, NULL, NULL, NULL, m, n, stride, &options, &outputs, &failed)
                 : kx_transport_emd_f64(NULL, a, b, p.M, 1, NULL, NULL, NULL, m, n, stride, &options, &outputs, &failed);

    FUZZ_CHECK(failed == (status < KX_OK ? 0 : -1), "status %d, failed %d", (int)status, (int)failed);
    if (is_of(status, may_be)) goto done;
    FUZZ_CHECK(!faults, "faults %d ended with %s", faults, kx_status_name(status));
    enumeration_t all = {&p, {0}, {0}, (double)INFINITY};
    if (is_whole) {
        for (int i = 0; i < m; i++) all.left_a[i] = (int)p.a[i];
        for (int j = 0; j < n; j++) all.left_b[j] = (int)p.b[j];
        enumerate(&all, 0, 0);
    }
    if (status == KX_E_INFEASIBLE) {
        FUZZ_CHECK(forbidden, "infeasible without a forbidden arc");
        if (is_whole) FUZZ_CHECK(all.best == (double)INFINITY, "infeasible, but a plan costs %g", all.best);
        goto done;
    }
    FUZZ_CHECK(status == KX_OK, "%s", kx_status_name(status));

    /* A mass is good to a rounding of the total: 2^-58 of it is a unit of flow. */
    const long double total = total_a, tolerance = 1e-12L * total + 0x1p-1070L, least = (1 + total) * 0x1p-1070L;
    const long double value_tolerance = tolerance * (long double)scale + least;
    /* Mass of a rounding that only a forbidden arc could move has that arc's price in the dual value. */
    double reach = scale;
    for (int i = 0; i < m; i++) reach = fabs(u[i]) > reach ? fabs(u[i]) : reach;
    for (int j = 0; j < n; j++) reach = fabs(v[j]) > reach ? fabs(v[j]) : reach;
    const long double certified = 1e-11L * (long double)scale + 1e-15L * (long double)reach + 0x1p-1070L;
    const long double dual_tolerance = 1e2L * (tolerance * (long double)reach + least);
    long double primal = 0, dual = 0;
    int64_t count = 0;
    for (int i = 0; i < m; i++) {
        long double sum = 0;
        for (int j = 0; j < n; j++) {
            const double mass = plan[i * n + j], price = cost_at(&p, i, j);
            FUZZ_CHECK(mass >= 0 && isfinite(mass), "mass %g at %d, %d", mass, i, j);
            sum += (long double)mass, count += mass > 0;
            FUZZ_CHECK(!(mass > 0 && price == (double)INFINITY), "%g on the forbidden arc %d, %d", mass, i, j);
            if (mass > 0) primal += (long double)mass * (long double)price;
            if (price < (double)INFINITY)
                FUZZ_CHECK((long double)u[i] + (long double)v[j] <= (long double)price + certified,
                           "u[%d] + v[%d] = %g + %g, M = %g, of %g", i, j, u[i], v[j], price, scale);
        }
        FUZZ_CHECK(fabsl(sum - (long double)p.a[i]) <= tolerance, "row %d sums to %Lg, not %g", i, sum, p.a[i]);
        if (p.a[i] > 0) dual += (long double)p.a[i] * (long double)u[i];
    }
    for (int j = 0; j < n; j++) {
        const long double wanted = (long double)p.b[j] * (total_a / total_b);
        long double sum = 0;
        for (int i = 0; i < m; i++) sum += (long double)plan[i * n + j];
        FUZZ_CHECK(fabsl(sum - wanted) <= tolerance, "column %d sums to %Lg, not %Lg", j, sum, wanted);
        if (p.b[j] > 0) dual += wanted * (long double)v[j];
    }
    FUZZ_CHECK(count == entries && entries >= 1 && entries <= m + n - 1, "%d entries, %d in the plan", (int)entries, (int)count);
    for (int64_t k = 0; k < entries; k++) {
        FUZZ_CHECK(rows[k] >= 0 && rows[k] < m && columns[k] >= 0 && columns[k] < n, "entry %d", (int)k);
        FUZZ_CHECK(masses[k] == plan[rows[k] * n + columns[k]], "mass of entry %d", (int)k);
        if (k) FUZZ_CHECK(rows[k - 1] * n + columns[k - 1] < rows[k] * n + columns[k], "order of entry %d", (int)k);
    }
    FUZZ_CHECK(fabsl(primal - (long double)cost) <= value_tolerance, "cost %.17g, of the plan %.17Lg", cost, primal);
    FUZZ_CHECK(fabsl(primal - dual) <= dual_tolerance, "cost %.17Lg, dual %.17Lg of scale %g", primal, dual, scale);
    FUZZ_CHECK(fabs(result.gap) <= (double)dual_tolerance, "gap %g", result.gap);
    FUZZ_CHECK(result.cost == cost && result.status == KX_OK && ended == KX_OK, "results");
    if (is_whole) FUZZ_CHECK(fabsl((long double)all.best - primal) <= value_tolerance, "cost %.17g, of all plans %.17g", cost, all.best);
done:
    free(plan), free(masses), free(u), free(v), free(rows), free(columns), free(p.a), free(p.b), free(p.M);
    return 0;
}
