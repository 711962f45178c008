/* Exact transport: known problems through every output, both precisions and all solvers; every status; cancelling. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { ROOM = 512 };

/* One problem and all that can be asked about it. */
typedef struct answer {
    double cost, *plan, u[ROOM], v[ROOM], masses[2 * ROOM];
    int64_t rows[2 * ROOM], columns[2 * ROOM], entries, failed;
    int32_t status;
    kx_emd_result_t result;
} answer;

static kx_emd_options_t defaults(void) {
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    return options;
}

static kx_status_t solve_with(const kx_ctx_t *ctx, const double *a, const double *b, const double *M, int64_t m, int64_t n,
                              const kx_emd_options_t *options, answer *answer) {
    const kx_emd_outputs_t outputs = {&answer->cost, answer->plan, answer->u, answer->v, answer->rows, answer->columns,
                                      answer->masses, &answer->entries, &answer->result, &answer->status};
    return kx_transport_emd_f64(ctx, a, b, M, 1, NULL, NULL, NULL, m, n, n * (ptrdiff_t)sizeof *M, options, &outputs,
                                &answer->failed);
}

static kx_status_t cost_only(const double *a, const double *b, const double *M, int64_t m, int64_t n, double *cost) {
    const kx_emd_options_t options = defaults();
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = cost;
    return kx_transport_emd_f64(NULL, a, b, M, 1, NULL, NULL, NULL, m, n, n * (ptrdiff_t)sizeof *M, &options, &outputs, NULL);
}

/* Everything that makes an answer right, from the definition: marginals, feasible potentials, no gap. */
static void check_answer(const char *what, const answer *got, const double *a, const double *b, const double *M, int64_t m,
                         int64_t n) {
    double scale = 0, total = 0, worst_row = 0, worst_column = 0, least_reduced = 0, slack = 0, primal = 0;
    for (int64_t i = 0; i < m; i++) total += a ? a[i] : 1 / (double)m;
    for (int64_t k = 0; k < m * n; k++)
        if (isfinite(M[k]) && fabs(M[k]) > scale) scale = fabs(M[k]);
    for (int64_t i = 0; i < m; i++) {
        double sum = 0;
        for (int64_t j = 0; j < n; j++) {
            const double mass = got->plan[i * n + j], reduced = M[i * n + j] - got->u[i] - got->v[j];
            sum += mass;
            if (mass > 0) primal += mass * M[i * n + j];
            if (reduced < least_reduced) least_reduced = reduced;
            if (mass > 0 && reduced > slack) slack = reduced;
            CHECK(mass >= 0, "%s: mass %g at %d, %d", what, mass, (int)i, (int)j);
        }
        worst_row = fmax(worst_row, fabs(sum - (a ? a[i] : 1 / (double)m)));
    }
    for (int64_t j = 0; j < n; j++) {
        double sum = 0;
        for (int64_t i = 0; i < m; i++) sum += got->plan[i * n + j];
        worst_column = fmax(worst_column, fabs(sum - (b ? b[j] : 1 / (double)n)));
    }
    CHECK(worst_row <= 1e-12 * total && worst_column <= 1e-12 * total, "%s: marginals %g, %g", what, worst_row, worst_column);
    CHECK(least_reduced >= -1e-12 * scale, "%s: u + v exceeds M by %g", what, -least_reduced);
    CHECK(slack <= 1e-9 * scale, "%s: mass moves at reduced cost %g", what, slack);
    CHECK(fabs(got->result.gap) <= 1e-9 * scale * total, "%s: gap %g", what, got->result.gap);
    CHECK(fabs(primal - got->cost) <= 1e-12 * scale * total, "%s: cost %.17g, of the plan %.17g", what, got->cost, primal);
    CHECK(got->result.cost == got->cost && got->result.status == KX_OK && got->status == KX_OK, "%s: results", what);

    CHECK(got->entries >= 1 && got->entries <= m + n - 1, "%s: %d entries", what, (int)got->entries);
    int64_t count = 0;
    for (int64_t k = 0; k < m * n; k++) count += got->plan[k] > 0;
    CHECK(count == got->entries, "%s: %d entries, the plan has %d", what, (int)got->entries, (int)count);
    for (int64_t k = 0; k < got->entries; k++) {
        const int64_t at = got->rows[k] * n + got->columns[k];
        CHECK(got->masses[k] == got->plan[at], "%s: entry %d", what, (int)k);
        CHECK(k == 0 || got->rows[k - 1] * n + got->columns[k - 1] < at, "%s: entry %d is not sorted", what, (int)k);
    }
}

static void random_problem(double *a, double *b, double *M, int64_t m, int64_t n, int integers) {
    double sum_a = 0, sum_b = 0;
    for (int64_t i = 0; i < m; i++) sum_a += a[i] = integers ? floor(check_uniform(1, 5)) : check_uniform(0.01, 1);
    for (int64_t j = 0; j < n; j++) sum_b += b[j] = integers ? floor(check_uniform(1, 5)) : check_uniform(0.01, 1);
    for (int64_t i = 0; i < m; i++) a[i] /= sum_a;
    for (int64_t j = 0; j < n; j++) b[j] /= sum_b;
    for (int64_t k = 0; k < m * n; k++) M[k] = integers ? floor(check_uniform(-2, 5)) : check_uniform(-1, 1);
}

static void test_known(void) {
    answer got;
    double plan[64];
    got.plan = plan;
    const kx_emd_options_t options = defaults();
    const double a[] = {0.5, 0.5}, b[] = {0.25, 0.75}, M[] = {0, 1, 1, 0};
    CHECK(solve_with(NULL, a, b, M, 2, 2, &options, &got) == KX_OK, "status");
    CHECK(got.cost == 0.25 && plan[0] == 0.25 && plan[1] == 0.25 && plan[2] == 0 && plan[3] == 0.5, "cost %g", got.cost);
    CHECK(got.failed == -1, "failed %d", (int)got.failed);
    check_answer("2x2", &got, a, b, M, 2, 2);

    /* The cheapest of the six assignments is 1 + 2 + 2 (rows 0, 1, 2 to columns 1, 0, 2). */
    const double square[] = {4, 1, 3, 2, 0, 5, 3, 2, 2};
    CHECK(solve_with(NULL, NULL, NULL, square, 3, 3, &options, &got) == KX_OK, "status");
    CHECK(fabs(got.cost - 5.0 / 3) <= 1e-15, "cost %.17g", got.cost);
    check_answer("3x3", &got, NULL, NULL, square, 3, 3);

    const double one = 3.5;
    CHECK(solve_with(NULL, NULL, NULL, &one, 1, 1, &options, &got) == KX_OK && got.cost == 3.5 && plan[0] == 1, "1x1 %g", got.cost);
    const double row[] = {-1, 2, 5, 7}, fourth[] = {0.5, 0.25, 0.25, 0};
    const double whole = 1;
    CHECK(solve_with(NULL, &whole, fourth, row, 1, 4, &options, &got) == KX_OK && got.cost == 1.25, "1x4 %g", got.cost);
    CHECK(solve_with(NULL, fourth, &whole, row, 4, 1, &options, &got) == KX_OK && got.cost == 1.25, "4x1 %g", got.cost);

    /* Forbidden arcs: the detour is the only way. */
    const double detour[] = {INFINITY, 1, 1, INFINITY};
    CHECK(solve_with(NULL, NULL, NULL, detour, 2, 2, &options, &got) == KX_OK && got.cost == 1, "detour %g", got.cost);
    check_answer("detour", &got, NULL, NULL, detour, 2, 2);
}

static void test_random(void) {
    static const int64_t shapes[][2] = {{1, 1}, {1, 9}, {9, 1}, {2, 3}, {7, 5}, {8, 8}, {20, 30}, {32, 32}, {33, 31}, {64, 64},
                                        {65, 64}, {100, 28}, {128, 128}, {129, 128}, {3, 382}, {382, 3}, {192, 192}, {193, 192}, {200, 250}, {260, 260}};
    double a[ROOM], b[ROOM], cost;
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++) {
        const int64_t m = shapes[shape][0], n = shapes[shape][1];
        double *M = malloc((size_t)(m * n) * sizeof *M);
        answer got;
        got.plan = malloc((size_t)(m * n) * sizeof *got.plan);
        const kx_emd_options_t options = defaults();
        for (int round = 0; round < 4; round++) {
            char what[64];
            snprintf(what, sizeof what, "%dx%d, round %d", (int)m, (int)n, round);
            random_problem(a, b, M, m, n, round & 1);
            const int uniform = round & 2;
            if (!uniform && m > 2 && n > 2) { /* a zero weight on each side; its mass goes to the next */
                a[1] += a[0], a[0] = 0;
                b[n - 2] += b[n - 1], b[n - 1] = 0;
            }
            const double *p = uniform ? NULL : a, *q = uniform ? NULL : b;
            kx_status_t status = solve_with(NULL, p, q, M, m, n, &options, &got);
            CHECK(status == KX_OK, "%s: %s", what, kx_status_name(status));
            check_answer(what, &got, p, q, M, m, n);
            CHECK(cost_only(p, q, M, m, n, &cost) == KX_OK && fabs(cost - got.cost) <= 1e-14, "%s: %.17g alone", what, cost);
        }
        free(M), free(got.plan);
    }
}

/* Each output alone, and none at all, and the same answer. */
static void test_outputs(void) {
    static const int64_t sizes[] = {6, 140};
    for (int s = 0; s < 2; s++) {
        const int64_t m = sizes[s], n = sizes[s] + 1;
        double *a = malloc(sizeof *a * (size_t)m), *b = malloc(sizeof *b * (size_t)n), *M = malloc(sizeof *M * (size_t)(m * n));
        answer whole, part;
        whole.plan = malloc(sizeof *M * (size_t)(m * n)), part.plan = malloc(sizeof *M * (size_t)(m * n));
        random_problem(a, b, M, m, n, 0);
        const kx_emd_options_t options = defaults();
        CHECK(solve_with(NULL, a, b, M, m, n, &options, &whole) == KX_OK, "whole");
        for (int which = 0; which < 8; which++) {
            kx_emd_outputs_t outputs;
            memset(&outputs, 0, sizeof outputs);
            if (which == 1) outputs.costs = &part.cost;
            if (which == 2) outputs.plans = part.plan;
            if (which == 3) outputs.u = part.u;
            if (which == 4) outputs.v = part.v;
            if (which == 5)
                outputs.rows = part.rows, outputs.columns = part.columns, outputs.masses = part.masses,
                outputs.entry_counts = &part.entries;
            if (which == 6) outputs.results = &part.result;
            if (which == 7) outputs.statuses = &part.status;
            CHECK(kx_transport_emd_f64(NULL, a, b, M, 1, NULL, NULL, NULL, m, n, n * 8, &options, &outputs, NULL) == KX_OK,
                  "output %d", which);
            if (which == 1) CHECK(fabs(part.cost - whole.cost) <= 1e-14, "cost alone");
            if (which == 2) CHECK(memcmp(part.plan, whole.plan, sizeof *M * (size_t)(m * n)) == 0, "plan alone");
            if (which == 3) CHECK(memcmp(part.u, whole.u, sizeof *a * (size_t)m) == 0, "u alone");
            if (which == 4) CHECK(memcmp(part.v, whole.v, sizeof *a * (size_t)n) == 0, "v alone");
            if (which == 5)
                CHECK(part.entries == whole.entries && memcmp(part.masses, whole.masses, sizeof *a * (size_t)part.entries) == 0,
                      "entries alone");
            if (which == 6) CHECK(part.result.gap == whole.result.gap, "result alone");
            if (which == 7) CHECK(part.status == KX_OK, "status alone");
        }
        free(a), free(b), free(M), free(whole.plan), free(part.plan);
    }
}

/* float32 costs with padded rows, in a batch with offsets of every kind, against one at a time in float64. */
static void test_batch_f32(int workers) {
    enum { COUNT = 40, M_ROWS = 9, N_COLUMNS = 13, STRIDE = 16 };
    static float M[COUNT * M_ROWS * STRIDE];
    static double a[COUNT * M_ROWS], b[N_COLUMNS], wide[M_ROWS * N_COLUMNS], plans[COUNT * M_ROWS * N_COLUMNS], costs[COUNT];
    int64_t a_offsets[COUNT], M_offsets[COUNT];
    for (int k = 0; k < COUNT; k++) {
        random_problem(a + k * M_ROWS, b, wide, M_ROWS, N_COLUMNS, 0);
        for (int i = 0; i < M_ROWS * STRIDE; i++) M[k * M_ROWS * STRIDE + i] = i % STRIDE < N_COLUMNS ? (float)check_uniform(-1, 1) : NAN;
        a_offsets[k] = (int64_t)(sizeof *a * (size_t)((COUNT - 1 - k) * M_ROWS)); /* backwards */
        M_offsets[k] = (int64_t)(sizeof *M * (size_t)(k * M_ROWS * STRIDE));
    }
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    const kx_emd_options_t options = defaults();
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = costs, outputs.plans = plans;
    int64_t failed = 5;
    kx_status_t status = kx_transport_emd_f32(&ctx, a, b, M, COUNT, a_offsets, NULL, M_offsets, M_ROWS, N_COLUMNS,
                                              STRIDE * (ptrdiff_t)sizeof *M, &options, &outputs, &failed);
    CHECK(status == KX_OK && failed == -1, "f32: %s", kx_status_name(status));
    for (int k = 0; k < COUNT; k++) {
        double cost, plan[M_ROWS * N_COLUMNS];
        for (int i = 0; i < M_ROWS; i++)
            for (int j = 0; j < N_COLUMNS; j++) wide[i * N_COLUMNS + j] = (double)M[(k * M_ROWS + i) * STRIDE + j];
        outputs.costs = &cost, outputs.plans = plan;
        kx_transport_emd_f64(NULL, a + (COUNT - 1 - k) * M_ROWS, b, wide, 1, NULL, NULL, NULL, M_ROWS, N_COLUMNS, N_COLUMNS * 8,
                             &options, &outputs, NULL);
        CHECK(cost == costs[k] && memcmp(plan, plans + k * M_ROWS * N_COLUMNS, sizeof plan) == 0, "problem %d: %.17g, %.17g", k,
              costs[k], cost);
    }
}

static void expect(const char *what, kx_status_t expected, const double *a, const double *b, const double *M) {
    double cost = 0.125;
    kx_status_t status = cost_only(a, b, M, 2, 2, &cost);
    CHECK(status == expected, "%s: %s", what, kx_status_name(status));
    CHECK(cost == 0.125, "%s wrote the cost %g", what, cost);
}

static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}

static void test_statuses(void) {
    const double half[] = {0.5, 0.5}, M[] = {0, 1, 1, 0};
    const double nan_weight[] = {NAN, 0.5}, infinite[] = {INFINITY, 0.5}, negative[] = {1.5, -0.5}, more[] = {0.5, 0.6};
    const double nothing[] = {0, 0}, one_sided[] = {0, 1}, enormous[] = {DBL_MAX, DBL_MAX}, tiny[] = {1e-308, 1e-308}, tiny_left[] = {2e-308, 0};
    const double nan_cost[] = {0, NAN, 1, 0}, minus[] = {0, 1, -INFINITY, 0}, none[] = {INFINITY, INFINITY, INFINITY, INFINITY};
    const double blocked[] = {INFINITY, INFINITY, 1, 1}, huge[] = {0, DBL_MAX, 1, 0}, nearly[] = {0.5, 0.5 + 4e-10};
    const double large[] = {1e200, 1e200}, large_left[] = {2e200, 0}, large_cost[] = {1e200, 1e200, 1e200, 1e200};
    expect("NaN in a", KX_E_NONFINITE, nan_weight, half, M);
    expect("infinity in b", KX_E_NONFINITE, half, infinite, M);
    expect("negative a", KX_E_NEGATIVE, negative, half, M);
    expect("negative b", KX_E_NEGATIVE, half, negative, M);
    expect("totals", KX_E_TOTALS, half, more, M);
    expect("no mass in a", KX_E_EMPTY, nothing, half, M);
    expect("no mass in b", KX_E_EMPTY, half, nothing, M);
    expect("totals that overflow", KX_E_OVERFLOW, enormous, enormous, M);
    expect("NaN in M", KX_E_NONFINITE, half, half, nan_cost);
    expect("NaN in M's row of zero weight", KX_E_NONFINITE, one_sided, half, nan_cost);
    expect("NaN in M's column of zero weight", KX_E_NONFINITE, half, one_sided, minus);
    expect("-infinity in M", KX_E_NONFINITE, half, half, minus);
    expect("all forbidden", KX_E_INFEASIBLE, half, half, none);
    expect("a forbidden row", KX_E_INFEASIBLE, half, half, blocked);
    expect("costs that overflow", KX_E_OVERFLOW, half, half, huge);
    expect("a product that overflows", KX_E_OVERFLOW, large, large_left, large_cost);

    double cost;
    CHECK(cost_only(tiny, tiny, M, 2, 2, &cost) == KX_OK && cost == 0, "subnormal totals");
    CHECK(cost_only(half, nearly, M, 2, 2, &cost) == KX_OK && cost < 1e-9, "totals within the tolerance");
    CHECK(cost_only(tiny, tiny_left, M, 2, 2, &cost) == KX_OK && fabs(cost / 1e-308 - 1) <= 1e-12, "tiny totals: %g", cost);
    CHECK(cost_only(large, large_left, M, 2, 2, &cost) == KX_OK && fabs(cost / 1e200 - 1) <= 1e-12, "large totals: %g", cost);
    kx_emd_options_t options = defaults();
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = &cost;
    CHECK(options.totals_tolerance == 1e-9 && options.max_iter == 0, "defaults");
    options.totals_tolerance = 0.5;
    CHECK(kx_transport_emd_f64(NULL, half, more, M, 1, NULL, NULL, NULL, 2, 2, 16, &options, &outputs, NULL) == KX_OK, "tolerance");

    options = defaults();
    CHECK(kx_transport_emd_f64(NULL, half, half, NULL, 1, NULL, NULL, NULL, 2, 2, 16, &options, &outputs, NULL) == KX_E_ARGUMENT, "M");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 1, NULL, NULL, NULL, 0, 2, 16, &options, &outputs, NULL) == KX_E_ARGUMENT, "m");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 1, NULL, NULL, NULL, 2, 0, 16, &options, &outputs, NULL) == KX_E_ARGUMENT, "n");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, -1, NULL, NULL, NULL, 2, 2, 16, &options, &outputs, NULL) == KX_E_ARGUMENT, "-1");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 1, NULL, NULL, NULL, 2, 2, 16, NULL, &outputs, NULL) == KX_E_ARGUMENT, "options");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 1, NULL, NULL, NULL, 2, 2, 16, &options, NULL, NULL) == KX_E_ARGUMENT, "outputs");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 0, NULL, NULL, NULL, 2, 2, 16, &options, &outputs, NULL) == KX_OK, "none");
    CHECK(kx_transport_emd_f64(NULL, half, half, M, 1, NULL, NULL, NULL, INT64_MAX / 2, 2, 16, &options, &outputs, NULL) ==
              KX_E_OVERFLOW, "m too large");
    kx_ctx_t poor; /* no allocator is asked for petabytes here: a sanitizer's would end the test */
    kx_ctx_init(&poor);
    poor.allocator.allocate = refuse;
    CHECK(kx_transport_emd_f64(&poor, NULL, NULL, M, 1, NULL, NULL, NULL, INT32_MAX / 5, INT32_MAX / 5, 16, &options, &outputs,
                               NULL) < KX_OK, "m n too large");

    /* The lowest failing problem is named, for any number of workers. */
    double a[64];
    int64_t offsets[32], failed;
    double costs[32];
    for (int k = 0; k < 32; k++) {
        a[2 * k] = a[2 * k + 1] = k == 11 || k == 29 ? -1 : 0.5;
        offsets[k] = 16 * k;
    }
    outputs.costs = costs;
    for (int workers = 1; workers <= 3; workers++) {
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = workers;
        kx_status_t status = kx_transport_emd_f64(&ctx, a, half, M, 32, offsets, NULL, NULL, 2, 2, 16, &options, &outputs, &failed);
        CHECK(status == KX_E_NEGATIVE && failed == 11, "%s at %d", kx_status_name(status), (int)failed);
    }
}

static void test_max_iter(void) {
    static const int64_t sizes[] = {30, 150};
    for (int s = 0; s < 2; s++) {
        const int64_t n = sizes[s];
        double *a = malloc(sizeof *a * (size_t)n), *b = malloc(sizeof *b * (size_t)n), *M = malloc(sizeof *M * (size_t)(n * n)), best;
        answer got;
        got.plan = malloc(sizeof *M * (size_t)(n * n));
        random_problem(a, b, M, n, n, 0);
        kx_emd_options_t options = defaults();
        options.max_iter = 1;
        kx_status_t status = solve_with(NULL, a, b, M, n, n, &options, &got);
        CHECK(status == KX_W_MAXITER && got.status == KX_W_MAXITER && got.result.status == KX_W_MAXITER, "%s", kx_status_name(status));
        cost_only(a, b, M, n, n, &best);
        CHECK(best < got.cost && got.cost <= best + got.result.gap + 1e-12, "cost %g, best %g, gap %g", got.cost, best, got.result.gap);
        free(a), free(b), free(M), free(got.plan);
    }
}

static int calls_before_cancel, calls;
static int cancel(void *state) {
    (void)state;
    return ++calls > calls_before_cancel;
}

static void test_cancel(void) {
    /* Batches that take minutes if nobody stops them. */
    static const int64_t sizes[] = {20, 120, 300};
    for (int s = 0; s < 3; s++)
        for (int workers = 1; workers <= 3; workers += 2) {
            const int64_t n = sizes[s], count = 100000000 / (n * n);
            double *a = malloc(sizeof *a * (size_t)n), *b = malloc(sizeof *b * (size_t)n), *M = malloc(sizeof *M * (size_t)(n * n));
            double *costs = malloc(sizeof *costs * (size_t)count);
            random_problem(a, b, M, n, n, 0);
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.cancel = cancel;
            ctx.workers = workers;
            const kx_emd_options_t options = defaults();
            kx_emd_outputs_t outputs;
            memset(&outputs, 0, sizeof outputs);
            outputs.costs = costs;
            calls = 0;
            calls_before_cancel = 1;
            kx_status_t status = kx_transport_emd_f64(&ctx, a, b, M, count, NULL, NULL, NULL, n, n, n * 8, &options, &outputs, NULL);
            CHECK(status == KX_E_CANCELLED && calls == 2, "n = %d: %s after %d polls", (int)n, kx_status_name(status), calls);
            CHECK(cost_only(a, b, M, n, n, costs) == KX_OK && isfinite(costs[0]), "afterwards");
            free(a), free(b), free(M), free(costs);
        }
}

static void test_line(void) {
    const double x[] = {3, 0, 1}, y[] = {2, 5}, a[] = {0.5, 0.25, 0.25}, b[] = {0.5, 0.5};
    const int64_t x_order[] = {1, 2, 0}, y_order[] = {0, 1};
    const kx_emd_options_t options = defaults();
    double cost, masses[4];
    int64_t rows[4], columns[4], entries, failed;
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = &cost, outputs.rows = rows, outputs.columns = columns, outputs.masses = masses, outputs.entry_counts = &entries;
    /* 0 and 1 go to 2, 3 goes to 5. */
    static const double powers[] = {1, 2, 3}, costs[] = {0.25 * 2 + 0.25 + 0.5 * 2, 0.25 * 4 + 0.25 + 0.5 * 4, 0.25 * 8 + 0.25 + 0.5 * 8};
    for (int k = 0; k < 3; k++) {
        kx_status_t status = kx_transport_emd_1d(NULL, x, y, a, b, 1, x_order, y_order, NULL, NULL, 3, 2, powers[k], &options, &outputs,
                                                 &failed);
        CHECK(status == KX_OK && fabs(cost - costs[k]) <= 1e-15, "power %g: %g", powers[k], cost);
        CHECK(entries == 3 && rows[0] == 1 && rows[1] == 2 && rows[2] == 0 && columns[0] == 0 && columns[2] == 1 && masses[2] == 0.5,
              "plan of %d", (int)entries);
    }
    const double bad[] = {0.5, -0.25, 0.75}, more[] = {0.5, 0.6}, far[] = {1e200, 2e200, 3e200}, nothing[] = {0, 0};
    CHECK(kx_transport_emd_1d(NULL, x, y, bad, b, 1, x_order, y_order, NULL, NULL, 3, 2, 2, &options, &outputs, NULL) == KX_E_NEGATIVE, "-");
    CHECK(kx_transport_emd_1d(NULL, x, y, a, more, 1, x_order, y_order, NULL, NULL, 3, 2, 2, &options, &outputs, NULL) == KX_E_TOTALS, "+");
    CHECK(kx_transport_emd_1d(NULL, x, y, a, nothing, 1, x_order, y_order, NULL, NULL, 3, 2, 2, &options, &outputs, NULL) == KX_E_EMPTY, "0");
    CHECK(kx_transport_emd_1d(NULL, far, y, NULL, NULL, 1, x_order, y_order, NULL, NULL, 3, 2, 2, &options, &outputs, NULL) == KX_E_OVERFLOW,
          "far");
    CHECK(kx_transport_emd_1d(NULL, x, y, a, b, 1, x_order, y_order, NULL, NULL, 3, 2, 0.5, &options, &outputs, NULL) == KX_E_ARGUMENT, "p");
    CHECK(kx_transport_emd_1d(NULL, x, y, a, b, 0, x_order, y_order, NULL, NULL, 3, 2, 2, &options, &outputs, NULL) == KX_OK, "none");
}

/* What fuzzing has found (tests/fuzz): costs, weights and potentials over hundreds of decades. */
static void test_decades(void) {
    answer got;
    got.plan = malloc(63 * sizeof *got.plan);
    const kx_emd_options_t options = defaults();

    /* Reduced costs that are roundings of the largest potential took turns to enter the basis, without end. */
    double M[63] = {3.40282e38, 0, 3.40282e38, -332639, 3.40282e38, 0, 0, 0, -4.38715e23};
    M[15] = 3.40282e38;
    CHECK(solve_with(NULL, NULL, NULL, M, 9, 7, &options, &got) == KX_OK, "mixed costs do not end");
    CHECK(got.result.iterations < 1000, "mixed costs take %d pivots", (int)got.result.iterations);
    check_answer("mixed costs", &got, NULL, NULL, M, 9, 7);

    /* Weights times potentials leave the range, and neither the cost nor a potential does. */
    const double weights[2] = {1e17, 1e-12}, far[4] = {0, 1e299, 1e299, 0};
    CHECK(solve_with(NULL, weights, weights, far, 2, 2, &options, &got) == KX_OK, "far costs");
    CHECK(got.cost == 0 && got.result.gap == 0, "far costs: cost %g, gap %g", got.cost, got.result.gap);
    for (int k = 0; k < 2; k++) CHECK(isfinite(got.u[k]) && isfinite(got.v[k]), "far costs: u %g, v %g", got.u[k], got.v[k]);

    /* Between points without weight, too, potentials must be feasible. */
    const double one[2] = {1, 0}, largest[4] = {0, DBL_MAX, 0, -1e306};
    CHECK(solve_with(NULL, one, one, largest, 2, 2, &options, &got) == KX_OK, "costs without weight");
    CHECK(got.u[1] + got.v[1] <= -1e306, "costs without weight: u + v = %g", got.u[1] + got.v[1]);
    free(got.plan);
}

/* Costs far above those of the plan, which round what is near them: the answer is that of the same problem without those arcs. */
static void test_far_costs(void) {
    static const int64_t shapes[][2] = {{4, 5}, {9, 10}, {20, 30}, {60, 50}, {150, 120}, {230, 210}};
    static const double far_costs[] = {1e3, 1e7, 1e11};
    for (int turn = 0; turn < 18; turn++) {
        const int64_t m = shapes[turn % 6][0], n = shapes[turn % 6][1];
        double *a = calloc((size_t)m, sizeof *a), *b = calloc((size_t)n, sizeof *b);
        double *M = malloc((size_t)(m * n) * sizeof *M), *without = malloc((size_t)(m * n) * sizeof *without);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                /* a band that has a plan, of which the weights are made */
                const int is_near = llabs(i * n - j * m) <= 2 * (m > n ? m : n);
                const double mass = is_near ? check_uniform(0, 1) : 0;
                a[i] += mass, b[j] += mass;
                M[i * n + j] = is_near ? check_uniform(1, 2) : far_costs[turn / 6] * check_uniform(1, 2);
                without[i * n + j] = is_near ? M[i * n + j] : INFINITY;
            }
        double got = 0, expected = 0, total = 0;
        for (int64_t i = 0; i < m; i++) total += a[i];
        CHECK(cost_only(a, b, M, m, n, &got) == KX_OK && cost_only(a, b, without, m, n, &expected) == KX_OK, "%d: status", turn);
        CHECK(fabs(got - expected) <= 1e-13 * expected && expected >= total, "%dx%d beside costs of %g: %.17g, not %.17g", (int)m,
              (int)n, far_costs[turn / 6], got, expected);
        free(a), free(b), free(M), free(without);
    }
}

int main(void) {
    test_known();
    test_decades();
    test_random();
    test_outputs();
    for (int workers = 1; workers <= 8; workers += 7) test_batch_f32(workers);
    test_statuses();
    test_max_iter();
    test_cancel();
    test_line();
    test_far_costs();
    return check_report();
}
