/* Entropic transport: plans and potentials against the equation that defines them and against the plainest of solvers
   in long double; every way to hand over a problem, every status, memory, threads, cancelling. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"
#include "runtime/memory.h"
#include "runtime/system.h"

static const char *method_names[] = {"auto", "kernel", "stabilized", "log"};
static const char *acceleration_names[] = {"auto", "plain", "anderson", "overrelaxation", "newton"};
enum { METHODS = 4, ACCELERATIONS = 5 };

/* ---- problems, in blocks of exactly their size: a sanitizer sees what reads beyond ---- */

typedef struct problem {
    int64_t m, n;
    int single;
    double *a, *b; /* NULL: uniform */
    void *M;
    double reg;
} problem;

static size_t cost_bytes(int single) { return single ? sizeof(float) : sizeof(double); }
static double get(const void *values, int64_t at, int single) {
    return single ? (double)((const float *)values)[at] : ((const double *)values)[at];
}
static void put(void *values, int64_t at, int single, double value) {
    if (single) ((float *)values)[at] = (float)value;
    else ((double *)values)[at] = value;
}
static double cost_at(const problem *p, int64_t i, int64_t j) { return get(p->M, i * p->n + j, p->single); }
static double row_weight(const problem *p, int64_t i) { return p->a ? p->a[i] : 1 / (double)p->m; }
static double column_weight(const problem *p, int64_t j) { return p->b ? p->b[j] : 1 / (double)p->n; }

static double *random_weights(int64_t n, double total) {
    double *weights = malloc((size_t)n * sizeof *weights), sum = 0;
    for (int64_t i = 0; i < n; i++) sum += weights[i] = check_uniform(0.1, 1);
    for (int64_t i = 0; i < n; i++) weights[i] *= total / sum;
    return weights;
}

/* Costs in [0, 1], weights that sum to 1. */
static problem random_problem(int64_t m, int64_t n, int single, double reg) {
    problem p = {m, n, single, random_weights(m, 1), random_weights(n, 1), NULL, reg};
    p.M = malloc((size_t)(m * n) * cost_bytes(single));
    for (int64_t k = 0; k < m * n; k++) put(p.M, k, single, check_uniform(0, 1));
    return p;
}
static void free_problem(problem *p) { free(p->a), free(p->b), free(p->M); }

static void normalize(double *weights, int64_t n, double total) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += weights[i];
    for (int64_t i = 0; i < n; i++) weights[i] *= total / sum;
}

static kx_sinkhorn_problems_t one_of(const problem *p) {
    kx_sinkhorn_problems_t problems;
    memset(&problems, 0, sizeof problems);
    problems.count = 1, problems.m = p->m, problems.n = p->n;
    problems.a = p->a, problems.b = p->b, problems.M = p->M, problems.reg = &p->reg;
    problems.row_stride = p->n * (ptrdiff_t)cost_bytes(p->single);
    return problems;
}

static kx_sinkhorn_options_t defaults(void) {
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    return options;
}

static kx_ctx_t with_workers(int workers) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    return ctx;
}

/* ---- answers, with guards between and around them ---- */

enum { COSTS, VALUES, GAPS, ERRORS, U, V, PLANS, ITERATIONS, STATUSES, PARTS, GUARD_BYTES = 256, UNWRITTEN = 0xa5 };

typedef struct answers {
    unsigned char *block;
    size_t bytes, at[PARTS], size[PARTS];
    kx_sinkhorn_outputs_t outputs;
} answers;

static answers make_answers(int64_t count, int64_t rows, int64_t columns, int64_t entries, int single) {
    answers x;
    memset(&x, 0, sizeof x);
    const size_t each = sizeof(double), items = (size_t)count;
    size_t sizes[PARTS];
    for (int k = 0; k < PARTS; k++) sizes[k] = items * each;
    sizes[U] = (size_t)rows * each, sizes[V] = (size_t)columns * each;
    sizes[PLANS] = (size_t)entries * cost_bytes(single);
    sizes[ITERATIONS] = items * sizeof(int64_t), sizes[STATUSES] = items * sizeof(int32_t);
    x.bytes = GUARD_BYTES;
    for (int k = 0; k < PARTS; k++) {
        x.at[k] = x.bytes, x.size[k] = sizes[k];
        x.bytes += (sizes[k] + 7) / 8 * 8 + GUARD_BYTES;
    }
    x.block = malloc(x.bytes);
    memset(x.block, UNWRITTEN, x.bytes);
    x.outputs.costs = (double *)(void *)(x.block + x.at[COSTS]);
    x.outputs.values = (double *)(void *)(x.block + x.at[VALUES]);
    x.outputs.gaps = (double *)(void *)(x.block + x.at[GAPS]);
    x.outputs.errors = (double *)(void *)(x.block + x.at[ERRORS]);
    x.outputs.u = (double *)(void *)(x.block + x.at[U]);
    x.outputs.v = (double *)(void *)(x.block + x.at[V]);
    x.outputs.plans = x.block + x.at[PLANS];
    x.outputs.iterations = (int64_t *)(void *)(x.block + x.at[ITERATIONS]);
    x.outputs.statuses = (int32_t *)(void *)(x.block + x.at[STATUSES]);
    return x;
}
static answers answers_to(const problem *p) { return make_answers(1, p->m, p->n, p->m * p->n, p->single); }

static int unwritten(const unsigned char *bytes, size_t count) {
    for (size_t k = 0; k < count; k++)
        if (bytes[k] != UNWRITTEN) return 0;
    return 1;
}
static int guards_hold(const answers *x) {
    size_t from = 0;
    for (int k = 0; k < PARTS; k++) {
        if (!unwritten(x->block + from, x->at[k] - from)) return 0;
        from = x->at[k] + x->size[k];
    }
    return unwritten(x->block + from, x->bytes - from);
}
static int same_answers(const answers *x, const answers *y) {
    return x->bytes == y->bytes && memcmp(x->block, y->block, x->bytes) == 0;
}

static kx_status_t run(const kx_ctx_t *ctx, int single, const kx_sinkhorn_problems_t *problems,
                       const kx_sinkhorn_options_t *options, const answers *to, int64_t *failed) {
    if (single) return kx_transport_sinkhorn_f32(ctx, problems, options, &to->outputs, failed);
    return kx_transport_sinkhorn_f64(ctx, problems, options, &to->outputs, failed);
}
static kx_status_t run_one(const problem *p, const kx_sinkhorn_options_t *options, const answers *to) {
    const kx_sinkhorn_problems_t problems = one_of(p);
    int64_t failed = 5;
    const kx_status_t status = run(NULL, p->single, &problems, options, to, &failed);
    const int options_are_bad = status == KX_E_ARGUMENT && failed == -1;
    CHECK(failed == (status < KX_OK ? 0 : -1) || options_are_bad, "%s, failed %d", kx_status_name(status), (int)failed);
    return status;
}

/* ---- what makes an answer right ---- */

/* Smaller weights have potentials, but no place in the plan. */
static double least_weight(const double *weights, int64_t n) {
    double largest = 0;
    for (int64_t k = 0; k < n; k++) largest = fmax(largest, weights ? weights[k] : 1 / (double)n);
    return 1e-150 * largest;
}

/* Of a plan that was not rounded, whether it converged or not: P = a b exp((u + v - M) / reg), its rows, the error of
   its columns, its cost, its value and the dual one. */
static void check_answer(const char *what, const problem *p, const kx_sinkhorn_options_t *options, const answers *got) {
    const int64_t m = p->m, n = p->n;
    const double *u = got->outputs.u, *v = got->outputs.v;
    const double least_a = least_weight(p->a, m), least_b = least_weight(p->b, n);
    const long double reg = (long double)p->reg;
    long double total = 0, total_b = 0, scale = reg;
    for (int64_t i = 0; i < m; i++) total += (long double)row_weight(p, i);
    for (int64_t j = 0; j < n; j++) total_b += (long double)column_weight(p, j);
    for (int64_t k = 0; k < m * n; k++)
        if (isfinite(get(p->M, k, p->single))) scale = fmaxl(scale, fabsl((long double)get(p->M, k, p->single)));
    for (int64_t i = 0; i < m; i++)
        if (isfinite(u[i])) scale = fmaxl(scale, fabsl((long double)u[i]));
    for (int64_t j = 0; j < n; j++)
        if (isfinite(v[j])) scale = fmaxl(scale, fabsl((long double)v[j]));
    double smallest = 1; /* share of those that take part: its logarithm is in the exponents */
    for (int64_t i = 0; i < m; i++)
        if (row_weight(p, i) >= least_a) smallest = fmin(smallest, row_weight(p, i) / (least_a * 1e150));
    for (int64_t j = 0; j < n; j++)
        if (column_weight(p, j) >= least_b) smallest = fmin(smallest, column_weight(p, j) / (least_b * 1e150));

    /* What rounding makes of an exponent, of a sum, of a stored entry. b is what makes the totals equal. */
    const long double exponent = 16 * (long double)DBL_EPSILON * (4 + scale / reg - logl((long double)smallest));
    const long double sum = (long double)DBL_EPSILON * (long double)(m + n + 16);
    /* A kernel that is never made anew keeps no entries of less than 1e-22 of those that were there from the start. */
    const long double flushed = options->method == KX_SINKHORN_KERNEL ? 1e-22L : 1e-140L;
    const long double stored = p->single ? (long double)FLT_EPSILON : 0, least = p->single ? 0x1p-149L : 0x1p-1074L;
    long double *columns = calloc((size_t)n, sizeof *columns), *scaled = calloc((size_t)n, sizeof *scaled);
    long double cost = 0, magnitude = 0, plan_value = 0, dual_u = 0, dual_v = 0, worst_entry = 0, worst_row = 0,
                worst_u = 0;
    for (int64_t i = 0; i < m; i++) {
        const long double a = (long double)row_weight(p, i);
        long double row = 0, normalized = 0;
        int allowed = 0;
        if (a > 0) dual_u += a * (long double)u[i];
        for (int64_t j = 0; j < n; j++) {
            const long double M = (long double)cost_at(p, i, j),
                              b = (long double)column_weight(p, j) * (total / total_b);
            const long double mass = (long double)get(got->outputs.plans, i * n + j, p->single);
            long double factor = 0, wanted = 0;
            if (isfinite(u[i]) && isfinite(v[j]) && isfinite(M))
                factor = expl(((long double)u[i] + (long double)v[j] - M) / reg);
            /* Two points that take no part have nothing to do with each other. */
            if (a > 0 && b > 0 && (row_weight(p, i) >= least_a || column_weight(p, j) >= least_b))
                wanted = a * b * factor;
            if (column_weight(p, j) >= least_b) normalized += b * factor, allowed |= isfinite(M);
            if (row_weight(p, i) >= least_a) scaled[j] += a * factor;
            const long double off = fabsl(mass - wanted) - wanted * (exponent + stored) - least - flushed * total;
            worst_entry = fmaxl(worst_entry, off);
            row += mass, columns[j] += mass;
            if (wanted > 0) {
                cost += wanted * M, magnitude += wanted * fabsl(M);
                plan_value += wanted * ((long double)u[i] + (long double)v[j]);
            }
        }
        worst_row = fmaxl(worst_row, fabsl(row - a) - a * (sum + stored) - (long double)n * least - 1e-149L * total);
        if (allowed) worst_u = fmaxl(worst_u, fabsl(normalized - 1) - 2 * exponent - sum);
        else CHECK(u[i] == INFINITY, "%s: u[%d] = %g where everything is forbidden", what, (int)i, u[i]);
    }
    CHECK(worst_entry <= 0, "%s: entries off by %Lg", what, worst_entry);
    CHECK(worst_row <= 0, "%s: rows off by %Lg", what, worst_row);
    CHECK(worst_u <= 0, "%s: u is off by %Lg", what, worst_u);
    long double error = 0, worst_v = 0;
    for (int64_t j = 0; j < n; j++) {
        const long double b = (long double)column_weight(p, j) * (total / total_b);
        if (b > 0) dual_v += b * (long double)v[j];
        if (column_weight(p, j) >= least_b) error += fabsl(columns[j] - b);
        else if (isfinite(v[j])) worst_v = fmaxl(worst_v, fabsl(scaled[j] - 1) - 2 * exponent - sum);
        else CHECK(v[j] == INFINITY && scaled[j] == 0, "%s: v[%d] = %g", what, (int)j, v[j]);
    }
    CHECK(worst_v <= 0, "%s: v is off by %Lg where b is 0", what, worst_v);
    const double told = got->outputs.errors[0];
    CHECK(fabsl(error / total - (long double)told) <= sum + stored + least * (long double)(m * n) / total,
          "%s: an error of %Lg, told %g", what, error / total, told);
    CHECK(fabsl(dual_u - dual_v) <= 2 * sum * scale * total, "%s: a u = %Lg, b v = %Lg", what, dual_u, dual_v);
    CHECK(fabsl(dual_u + dual_v - (long double)got->outputs.values[0]) <= 2 * sum * scale * total,
          "%s: value %.17g, not %.17Lg", what, got->outputs.values[0], dual_u + dual_v);
    CHECK(fabsl(cost - (long double)got->outputs.costs[0]) <=
              (exponent + sum) * magnitude + least + flushed * total * scale,
          "%s: cost %.17g, not %.17Lg", what, got->outputs.costs[0], cost);
    /* <P, M> + reg sum P log(P / a b) = sum P (u + v) */
    CHECK(
        fabsl(plan_value - dual_u - dual_v - (long double)got->outputs.gaps[0]) <= (exponent + 4 * sum) * scale * total,
        "%s: gap %g, not %Lg", what, got->outputs.gaps[0], plan_value - dual_u - dual_v);
    CHECK(guards_hold(got), "%s: written beyond an output", what);
    free(columns), free(scaled);
}

/* Of a call for one problem that did not fail. A lower regularisation takes a pass at least, and a step that is taken
   back another: the limit is not kept to the pass. */
enum { PASSES_BEYOND = 8 };
static void check_ending(const char *what, kx_status_t status, const kx_sinkhorn_options_t *options,
                         const answers *got) {
    CHECK(got->outputs.statuses[0] == (int32_t)status, "%s: %s, told %d", what, kx_status_name(status),
          got->outputs.statuses[0]);
    CHECK((got->outputs.errors[0] <= options->tolerance) == (status == KX_OK), "%s: %s with an error of %g", what,
          kx_status_name(status), got->outputs.errors[0]);
    CHECK(got->outputs.iterations[0] >= 1 && got->outputs.iterations[0] <= options->max_iter + PASSES_BEYOND,
          "%s: %lld passes of %lld", what, (long long)got->outputs.iterations[0], (long long)options->max_iter);
}

/* Sinkhorn's algorithm as it is written down: scalings of one kernel. Only for ranges that exp of a long double holds.
   Returns the number of sweeps until rounding stops them. */
static int64_t solve_plainly(const problem *p, long double *plan) {
    const int64_t m = p->m, n = p->n;
    long double *f = calloc((size_t)m, sizeof *f), *g = malloc((size_t)n * sizeof *g),
                *s = malloc((size_t)n * sizeof *s);
    long double least = INFINITY, total = 0, error = INFINITY;
    for (int64_t k = 0; k < m * n; k++) least = fminl(least, (long double)get(p->M, k, p->single));
    for (int64_t i = 0; i < m; i++) total += (long double)row_weight(p, i);
    for (int64_t j = 0; j < n; j++) g[j] = (long double)column_weight(p, j);
    for (int64_t k = 0; k < m * n; k++)
        plan[k] = expl((least - (long double)get(p->M, k, p->single)) / (long double)p->reg);
    int64_t sweeps = 0;
    while (error > 1e-15L * total && sweeps < 20000) {
        if (sweeps++ > 0)
            for (int64_t j = 0; j < n; j++)
                g[j] *= (long double)column_weight(p, j) > 0 ? (long double)column_weight(p, j) / s[j] : 0;
        for (int64_t j = 0; j < n; j++) s[j] = 0;
        for (int64_t i = 0; i < m; i++) {
            long double row = 0;
            for (int64_t j = 0; j < n; j++) row += plan[i * n + j] * g[j];
            f[i] = row_weight(p, i) > 0 ? (long double)row_weight(p, i) / row : 0; /* whose row may be 0, too */
            for (int64_t j = 0; j < n; j++) s[j] += f[i] * plan[i * n + j] * g[j];
        }
        error = 0;
        for (int64_t j = 0; j < n; j++) error += fabsl(s[j] - (long double)column_weight(p, j));
    }
    CHECK(error <= 1e-14L * total, "the reference has an error of %Lg", error / total);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) plan[i * n + j] *= f[i] * g[j];
    free(f), free(g), free(s);
    return sweeps;
}

/* Plan, cost and value near the reference's: as far as the tolerance may be from it at the rate that `sweeps` tells. */
static void check_near(const char *what, const problem *p, const answers *got, double tolerance,
                       const long double *plan, int64_t sweeps) {
    long double total = 0, distance = 0, cost = 0, value = 0, largest = (long double)p->reg;
    for (int64_t i = 0; i < p->m; i++) {
        total += (long double)row_weight(p, i);
        for (int64_t j = 0; j < p->n; j++) {
            const long double mass = plan[i * p->n + j], M = (long double)cost_at(p, i, j);
            distance += fabsl(mass - (long double)get(got->outputs.plans, i * p->n + j, p->single));
            if (mass == 0) continue;
            cost += mass * M, largest = fmaxl(largest, fabsl(M));
            value += mass * (M + (long double)p->reg *
                                     logl(mass / (long double)row_weight(p, i) / (long double)column_weight(p, j)));
        }
    }
    const long double off = (long double)(sweeps + 2) * ((long double)tolerance + 1e-14L) * total;
    CHECK(distance <= off + (p->single ? (long double)FLT_EPSILON * total : 0), "%s: %Lg from the plan", what,
          distance);
    CHECK(fabsl(cost - (long double)got->outputs.costs[0]) <= off * largest, "%s: cost %.17g, not %.17Lg", what,
          got->outputs.costs[0], cost);
    CHECK(fabsl(value - (long double)got->outputs.values[0]) <= (off + 1e-14L * total) * largest,
          "%s: value %.17g, not %.17Lg", what, got->outputs.values[0], value);
}

/* Solves, and looks at all of it; without `plan`, at all but the distance from the reference. */
static void check_problem(const char *what, const problem *p, const kx_sinkhorn_options_t *options,
                          kx_status_t expected, const long double *plan, int64_t sweeps) {
    answers got = answers_to(p);
    const kx_status_t status = run_one(p, options, &got);
    CHECK(status == expected, "%s: %s", what, kx_status_name(status));
    if (status >= KX_OK) {
        check_ending(what, status, options, &got);
        check_answer(what, p, options, &got);
        if (plan && status == KX_OK) check_near(what, p, &got, options->tolerance, plan, sweeps);
    } else {
        CHECK(unwritten(got.block, got.bytes), "%s: a call that failed has written", what);
    }
    free(got.block);
}

/* ---- right answers ---- */

static void test_known(void) {
    const kx_sinkhorn_options_t options = defaults();
    CHECK(options.tolerance == 1e-9 && options.totals_tolerance == 1e-9 && options.max_iter == 10000 &&
              options.method == KX_SINKHORN_AUTO && options.acceleration == KX_SINKHORN_ACCELERATION_AUTO &&
              options.epsilon_scaling == -1 && options.memory == 0 && options.round_plans == 0,
          "defaults, memory %d", options.memory);
    for (int single = 0; single < 2; single++) {
        /* Half of the mass would stay if nothing cost anything; each cost of 1 costs a factor e^(1 / reg). */
        problem p = random_problem(2, 2, single, 0.5);
        for (int k = 0; k < 4; k++) put(p.M, k, single, k == 1 || k == 2);
        p.a[0] = p.a[1] = p.b[0] = p.b[1] = 0.5;
        answers got = answers_to(&p);
        CHECK(run_one(&p, &options, &got) == KX_OK, "2x2");
        const double stays = 0.5 / (1 + exp(-2)), moves = 0.5 - stays;
        for (int k = 0; k < 4; k++) {
            const double mass = get(got.outputs.plans, k, single), wanted = k == 1 || k == 2 ? moves : stays;
            CHECK(fabs(mass - wanted) <= (single ? 1e-8 : 1e-15), "2x2: plan[%d] = %.17g", k, mass);
        }
        CHECK(fabs(got.outputs.costs[0] - 2 * moves) <= 1e-15, "2x2: cost %.17g", got.outputs.costs[0]);
        /* P / (a b) = 4 stays = exp(2 u / reg) */
        CHECK(fabs(got.outputs.u[0] - 0.25 * log(4 * stays)) <= 1e-15, "2x2: u %.17g", got.outputs.u[0]);
        CHECK(fabs(got.outputs.values[0] - 0.5 * log(4 * stays)) <= 1e-15, "2x2: value %.17g", got.outputs.values[0]);
        CHECK(fabs(got.outputs.gaps[0]) <= 1e-15, "2x2: gap %g", got.outputs.gaps[0]);
        check_answer("2x2", &p, &options, &got);
        free_problem(&p), free(got.block);
    }
}

static void test_sizes(void) {
    static const double regs[] = {5, 0.5, 0.1, 0.03};
    int turn = 0;
    for (int64_t m = 1; m <= 66; m = m == 35 ? 63 : m + 1)
        for (int64_t n = 1; n <= 66; n = n == 35 ? 63 : n + 1, turn++) {
            problem p = random_problem(m, n, turn & 1, regs[turn / 2 % 4]);
            long double *plan = malloc((size_t)(m * n) * sizeof *plan);
            kx_sinkhorn_options_t options = defaults();
            options.tolerance = 1e-12;
            options.method = turn / 7 % METHODS;
            options.acceleration = turn / 3 % ACCELERATIONS;
            options.epsilon_scaling = turn / 5 % 3 - 1;
            char what[128];
            snprintf(what, sizeof what, "%dx%d, f%d, reg %g, %s, %s, scaling %d", (int)m, (int)n, p.single ? 32 : 64,
                     p.reg, method_names[options.method], acceleration_names[options.acceleration],
                     options.epsilon_scaling);
            check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
            free_problem(&p), free(plan);
        }
}

/* Each way on the same problems, easy and hard. */
static void test_ways(void) {
    static const int64_t shapes[][2] = {{1, 1}, {1, 12}, {12, 1}, {5, 9}, {17, 8}, {33, 40}, {100, 90}};
    static const double regs[] = {1, 0.05, 0.01};
    for (size_t shape = 0; shape < sizeof shapes / sizeof *shapes; shape++)
        for (int turn = 0; turn < 6; turn++) {
            const int64_t m = shapes[shape][0], n = shapes[shape][1];
            problem p = random_problem(m, n, turn & 1, regs[turn / 2]);
            if (m * n > 2000 && p.reg == 0.01) p.reg = 0.1; /* the reference would take its time */
            long double *plan = malloc((size_t)(m * n) * sizeof *plan);
            const int64_t sweeps = solve_plainly(&p, plan);
            for (int way = 0; way < METHODS * ACCELERATIONS * 3; way++) {
                kx_sinkhorn_options_t options = defaults();
                options.method = way / 3 / ACCELERATIONS;
                options.acceleration = way / 3 % ACCELERATIONS;
                options.epsilon_scaling = way % 3 - 1;
                options.tolerance = 1e-11;
                options.max_iter = 40000;
                options.memory = way % 21;
                /* The steps of an acceleration leave the range before the solution does. */
                if (options.method == KX_SINKHORN_KERNEL && options.acceleration != KX_SINKHORN_PLAIN && p.reg == 0.01)
                    continue;
                char what[128];
                snprintf(what, sizeof what, "%dx%d, f%d, reg %g, %s, %s, scaling %d", (int)m, (int)n,
                         p.single ? 32 : 64, p.reg, method_names[options.method],
                         acceleration_names[options.acceleration], options.epsilon_scaling);
                check_problem(what, &p, &options, KX_OK, plan, sweeps);
            }
            free_problem(&p), free(plan);
        }
}

/* Regularisations below the reach of one kernel: what the accelerations and the absorbing are for. */
static void test_small_reg(void) {
    for (int turn = 0; turn < 18; turn++) {
        problem p = random_problem(20 + turn, 37 - turn, turn & 1, turn % 3 == 0 ? 2e-3 : turn % 3 == 1 ? 5e-4 : 1e-4);
        for (int method = 0; method < METHODS; method++) {
            kx_sinkhorn_options_t options = defaults();
            options.method = method;
            options.max_iter = 100000;
            char what[64];
            snprintf(what, sizeof what, "%dx%d, f%d, reg %g, %s", (int)p.m, (int)p.n, p.single ? 32 : 64, p.reg,
                     method_names[method]);
            answers got = answers_to(&p);
            const kx_status_t status = run_one(&p, &options, &got);
            CHECK(status == KX_OK || (method == KX_SINKHORN_KERNEL && status == KX_E_OVERFLOW) ||
                      (method == KX_SINKHORN_LOG && status == KX_W_MAXITER), "%s: %s", what, kx_status_name(status));
            if (status >= KX_OK) check_ending(what, status, &options, &got), check_answer(what, &p, &options, &got);
            free(got.block);
        }
        free_problem(&p);
    }
    /* exp(-1000) is 0: whoever begins at column 1 finds nothing in its kernel */
    problem p = random_problem(2, 2, 0, 1e-3);
    const double costs[] = {0, 1, 0, 1};
    memcpy(p.M, costs, sizeof costs);
    p.reg = 1e-3;
    kx_sinkhorn_options_t options = defaults();
    check_problem("an empty column", &p, &options, KX_OK, NULL, 0);
    options.method = KX_SINKHORN_LOG;
    check_problem("an empty column, log", &p, &options, KX_OK, NULL, 0);
    free_problem(&p);

    /* Scalings within the range of float64, and entries that the kernel has lost but that count under these. */
    static const char *digits = "010000001011100010111100110000101010000110111000100001010000";
    const double a[] = {1.30690607e-2, 4.05561345e-8, 7.4114949e-2,  0.414696272,   9.70084939e-2,  7.32855908e-4,
                        7.91812954e-8, 5.78197083e-2, 4.84625013e-6, 2.55562794e-4, 0.337795229,    4.5029024e-3};
    const double b[] = {5.92767727e-2, 7.99216383e-6, 1.87451202e-2, 6.925866e-2, 0.852711455};
    p = random_problem(12, 5, 0, 0.00056694086431317414);
    memcpy(p.a, a, sizeof a), memcpy(p.b, b, sizeof b);
    normalize(p.a, 12, 1), normalize(p.b, 5, 1);
    for (int k = 0; k < 60; k++) put(p.M, k, 0, digits[k] - '0');
    options = defaults();
    options.method = KX_SINKHORN_KERNEL, options.acceleration = KX_SINKHORN_PLAIN, options.tolerance = 1.6e-5;
    answers got = answers_to(&p);
    const kx_status_t status = run_one(&p, &options, &got);
    CHECK(status >= KX_OK || status == KX_E_OVERFLOW, "lost entries: %s", kx_status_name(status));
    if (status >= KX_OK) check_answer("lost entries", &p, &options, &got);
    free_problem(&p), free(got.block);
}

/* Costs and weights of any size: the problem stays the same one. */
static void test_scales(void) {
    static const double factors[] = {1e-300, 1e-150, 1e-20, 1e20, 1e150, 1e300};
    const kx_sinkhorn_options_t options = defaults();
    for (int k = 0; k < 6; k++)
        for (int which = 0; which < 3; which++) {
            char what[64];
            snprintf(what, sizeof what, "%s times %g",
                     which == 0   ? "costs"
                     : which == 1 ? "weights"
                                  : "costs far from 0,",
                     factors[k]);
            problem p = random_problem(9, 14, 0, 0.2);
            long double *plan = malloc((size_t)(p.m * p.n) * sizeof *plan);
            if (which == 1) normalize(p.a, p.m, factors[k]), normalize(p.b, p.n, factors[k]);
            double *M = p.M;
            for (int i = 0; i < p.m * p.n && which == 0; i++) M[i] *= factors[k];
            for (int i = 0; i < p.m * p.n && which == 2; i++) M[i] += k < 3 ? -1e6 : 1e6;
            if (which == 0) p.reg *= factors[k];
            check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
            free_problem(&p), free(plan);
        }
    /* Nothing to choose from, however small or large the regularisation. */
    static const double regs[] = {1e-320, 1e-310, 1e-300, 1e-100, 1, 1e100, 1e300, DBL_MAX};
    for (int k = 0; k < 8; k++)
        for (int cost = -1; cost < 2; cost++)
            for (int method = 0; method < METHODS; method++) {
                problem p = random_problem(3, 10, 0, regs[k]);
                for (int i = 0; i < p.m * p.n; i++) put(p.M, i, 0, cost);
                kx_sinkhorn_options_t ways = defaults();
                ways.method = method;
                answers got = answers_to(&p);
                const kx_status_t status = run_one(&p, &ways, &got);
                char what[64];
                snprintf(what, sizeof what, "costs of %d, reg %g, %s", cost, p.reg, method_names[method]);
                CHECK(status == KX_OK || (regs[k] < DBL_MIN && status == KX_E_OVERFLOW), "%s: %s", what,
                      kx_status_name(status));
                for (int i = 0; i < p.m * p.n && status == KX_OK; i++) {
                    const double wanted = p.a[i / p.n] * p.b[i % p.n], mass = get(got.outputs.plans, i, 0);
                    CHECK(fabs(mass - wanted) <= 1e-14, "%s: plan[%d] = %g, not %g", what, i, mass, wanted);
                }
                free_problem(&p), free(got.block);
            }
}

static void test_weights(void) {
    for (int turn = 0; turn < 4 * METHODS * 2; turn++) {
        problem p = random_problem(11 + turn % 3, 21 - turn % 5, turn & 1, 0.05);
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / 2 % METHODS;
        options.tolerance = 1e-12;
        const int kind = turn / 2 / METHODS;
        const char *kinds[] = {"zero weights", "tiny weights", "all but one zero", "uniform"};
        char what[64];
        snprintf(what, sizeof what, "%s, f%d, %s", kinds[kind], p.single ? 32 : 64, method_names[options.method]);
        const double least = kind == 1 ? 1e-200 : 0;
        for (int64_t i = 0; i < p.m && kind < 2; i += 3) p.a[i] = least;
        for (int64_t j = 1; j < p.n && kind < 2; j += 2) p.b[j] = least;
        for (int64_t i = 0; i < p.m && kind == 2; i++) p.a[i] = i == 5;
        for (int64_t j = 0; j < p.n && kind == 2; j++) p.b[j] = j == p.n - 1;
        if (kind == 3) free(p.a), free(p.b), p.a = p.b = NULL;
        if (kind < 3) normalize(p.a, p.m, 1), normalize(p.b, p.n, 1);
        long double *plan = malloc((size_t)(p.m * p.n) * sizeof *plan);
        check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
        /* On one side alone, and with the other one's weights uniform. */
        double *b = p.b;
        p.b = NULL;
        check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
        p.b = b, b = p.a, p.a = NULL;
        check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
        p.a = b;
        free_problem(&p), free(plan);
    }
    /* Shares that differ by 300 powers of ten, all the way down. */
    for (int method = 0; method < METHODS; method++) {
        problem p = random_problem(31, 31, 0, 0.05);
        for (int64_t i = 0; i < 31; i++) p.a[i] = pow(10, -10 * (double)i), p.b[30 - i] = pow(10, -10 * (double)i);
        kx_sinkhorn_options_t options = defaults();
        options.method = method;
        check_problem(method_names[method], &p, &options, KX_OK, NULL, 0);
        free_problem(&p);
    }
}

static void test_forbidden(void) {
    for (int turn = 0; turn < 4 * METHODS; turn++) {
        const int64_t m = 6 + turn, n = 25 - turn;
        problem p = random_problem(m, n, turn & 1, turn % 3 ? 0.1 : 0.01);
        for (int64_t i = 1; i < m; i++) /* the first row and column leave it feasible */
            for (int64_t j = 1; j < n; j++)
                if (check_uniform(0, 1) < 0.6) put(p.M, i * n + j, p.single, INFINITY);
        for (int64_t i = 1; i < m; i++) p.a[i] *= 0.3;
        for (int64_t j = 1; j < n; j++) p.b[j] *= 0.3;
        const int removed = turn / 4 % 2;
        if (removed) p.a[2] = p.b[3] = p.a[m - 1] = 0; /* and all that the last row could reach is forbidden */
        for (int64_t j = 0; j < n && removed; j++) put(p.M, (m - 1) * n + j, p.single, INFINITY);
        normalize(p.a + 1, m - 1, 0.3), normalize(p.b + 1, n - 1, 0.3);
        p.a[0] = p.b[0] = 0.7;
        kx_sinkhorn_options_t options = defaults();
        options.method = turn % METHODS;
        char what[64];
        snprintf(what, sizeof what, "forbidden arcs in %dx%d, f%d, %s", (int)m, (int)n, p.single ? 32 : 64,
                 method_names[options.method]);
        long double *plan = malloc((size_t)(m * n) * sizeof *plan);
        check_problem(what, &p, &options, KX_OK, plan, solve_plainly(&p, plan));
        free_problem(&p), free(plan);
    }
    /* Two rows that share the mass of one column: no row or column is empty, and yet nothing fits. Nobody may call that
     * a solution. */
    for (int way = 0; way < METHODS * ACCELERATIONS; way++) {
        problem p = random_problem(3, 3, 0, 0.5);
        for (int k = 0; k < 3; k++) p.a[k] = p.b[k] = 1.0 / 3;
        put(p.M, 1, 0, INFINITY), put(p.M, 2, 0, INFINITY), put(p.M, 4, 0, INFINITY), put(p.M, 5, 0, INFINITY);
        kx_sinkhorn_options_t options = defaults();
        options.method = way / ACCELERATIONS, options.acceleration = way % ACCELERATIONS;
        options.max_iter = 2000;
        answers got = answers_to(&p);
        const kx_status_t status = run_one(&p, &options, &got);
        char what[64];
        snprintf(what, sizeof what, "nothing fits, %s, %s", method_names[options.method],
                 acceleration_names[options.acceleration]);
        CHECK(status == KX_W_MAXITER || status == KX_E_INFEASIBLE ||
                  (status == KX_E_OVERFLOW && options.method == KX_SINKHORN_KERNEL),
              "%s: %s", what, kx_status_name(status));
        if (status == KX_W_MAXITER) {
            check_answer(what, &p, &options, &got);
            CHECK(got.outputs.errors[0] > 0.3, "%s: %g", what, got.outputs.errors[0]);
        }
        free_problem(&p), free(got.block);
    }
    /* The only plan is on the border: entry (1, 0) of the limit is 0. */
    problem p = random_problem(2, 2, 0, 0.5);
    const double border[] = {0, INFINITY, 0, 0};
    memcpy(p.M, border, sizeof border);
    for (int k = 0; k < 2; k++) p.a[k] = p.b[k] = 0.5;
    for (int way = 0; way < METHODS * ACCELERATIONS; way++) {
        kx_sinkhorn_options_t options = defaults();
        options.method = way / ACCELERATIONS, options.acceleration = way % ACCELERATIONS;
        options.tolerance = 1e-3;
        check_problem("a plan on the border", &p, &options, KX_OK, NULL, 0);
    }
    free_problem(&p);
}

/* ---- ways to hand over problems ---- */

enum { BATCH = 41, LONGEST = 19, VOCABULARY = 30, OTHER_VOCABULARY = 27, ROW_ITEMS = 32 };

/* Problem k of a batch, as a dense problem of its own. */
typedef struct batch {
    int single;
    kx_sinkhorn_problems_t problems;
    problem alone[BATCH];
    double *u[BATCH], *v[BATCH]; /* to start from; NULL: nothing */
    int64_t u_at[BATCH], v_at[BATCH], plan_at[BATCH], rows, columns, entries;
    void *blocks[24];
    int held;
} batch;

static void *hold(batch *x, size_t items, size_t bytes) { return x->blocks[x->held++] = calloc(items, bytes); }
static void free_batch(batch *x) {
    for (int k = 0; k < BATCH; k++) free_problem(&x->alone[k]);
    for (int k = 0; k < x->held; k++) free(x->blocks[k]);
}

/* Outputs backwards, so that nothing depends on their order. */
static void place_outputs(batch *x) {
    for (int k = BATCH - 1; k >= 0; k--) {
        x->u_at[k] = x->rows, x->v_at[k] = x->columns, x->plan_at[k] = x->entries;
        x->rows += x->alone[k].m, x->columns += x->alone[k].n, x->entries += x->alone[k].m * x->alone[k].n;
    }
}

static double *copy_of(const double *values, int64_t n) {
    double *copy = malloc((size_t)n * sizeof *copy);
    memcpy(copy, values, (size_t)n * sizeof *copy);
    return copy;
}

/* Documents in CSR over a matrix of costs between words, whose rows are padded with what nobody may read. */
static void make_sparse(batch *x, int single, int warm) {
    memset(x, 0, sizeof *x);
    x->single = single;
    int64_t *a_at = hold(x, BATCH + 1, sizeof *a_at), *b_at = hold(x, BATCH + 1, sizeof *b_at);
    int64_t *row_counts = hold(x, BATCH, sizeof *row_counts), *column_counts = hold(x, BATCH, sizeof *column_counts);
    for (int k = 0; k < BATCH; k++) {
        row_counts[k] = 1 + (int64_t)(check_random() % LONGEST),
        column_counts[k] = 1 + (int64_t)(check_random() % LONGEST);
        a_at[k + 1] = a_at[k] + row_counts[k], b_at[k + 1] = b_at[k] + column_counts[k];
    }
    double *a = hold(x, (size_t)a_at[BATCH], sizeof *a), *b = hold(x, (size_t)b_at[BATCH], sizeof *b),
           *reg = hold(x, BATCH, sizeof *reg);
    double *v = hold(x, (size_t)b_at[BATCH], sizeof *v);
    int64_t *rows = hold(x, (size_t)a_at[BATCH], sizeof *rows),
            *columns = hold(x, (size_t)b_at[BATCH], sizeof *columns);
    int64_t *reg_at = hold(x, BATCH, sizeof *reg_at);
    const size_t items = (VOCABULARY - 1) * ROW_ITEMS + OTHER_VOCABULARY;
    void *M = hold(x, items, cost_bytes(single));
    for (size_t k = 0; k < items; k++)
        put(M, (int64_t)k, single, k % ROW_ITEMS < OTHER_VOCABULARY ? check_uniform(0, 1) : NAN);
    for (int64_t i = 0; i < a_at[BATCH]; i++)
        a[i] = check_uniform(0.1, 1), rows[i] = (int64_t)(check_random() % VOCABULARY);
    for (int64_t j = 0; j < b_at[BATCH]; j++) {
        b[j] = check_uniform(0.1, 1), columns[j] = (int64_t)(check_random() % OTHER_VOCABULARY);
        v[j] = check_uniform(-1, 1);
    }
    for (int k = 0; k < BATCH; k++) {
        if (k % 4 == 1 && row_counts[k] > 1) a[a_at[k]] = 0;
        if (k % 4 == 2 && column_counts[k] > 1) b[b_at[k + 1] - 1] = 0;
        normalize(a + a_at[k], row_counts[k], k + 1), normalize(b + b_at[k], column_counts[k], k + 1);
        reg[k] = check_uniform(0.02, 1);
        problem *p = &x->alone[k];
        *p = (problem){row_counts[k], column_counts[k], single, NULL, NULL, NULL, reg[k]};
        p->a = copy_of(a + a_at[k], p->m), p->b = copy_of(b + b_at[k], p->n);
        p->M = malloc((size_t)(p->m * p->n) * cost_bytes(single));
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < p->n; j++)
                put(p->M, i * p->n + j, single, get(M, rows[a_at[k] + i] * ROW_ITEMS + columns[b_at[k] + j], single));
        if (warm) x->v[k] = v + b_at[k];
    }
    for (int k = 0; k < BATCH; k++)
        a_at[k] *= (int64_t)sizeof *a, b_at[k] *= (int64_t)sizeof *b, reg_at[k] = k * (int64_t)sizeof *reg;
    kx_sinkhorn_problems_t *p = &x->problems;
    p->count = BATCH, p->m = LONGEST, p->n = LONGEST, p->row_counts = row_counts, p->column_counts = column_counts;
    p->a = a, p->b = b, p->M = M, p->reg = reg, p->a_offsets = a_at, p->b_offsets = b_at, p->reg_offsets = reg_at;
    p->row_stride = ROW_ITEMS * (ptrdiff_t)cost_bytes(single), p->row_indices = rows, p->column_indices = columns;
    if (warm) p->v = v, p->v_offsets = b_at;
    place_outputs(x);
}

/* Matrices of several sizes one after the other, each with a stride of its own; uniform weights, one reg. */
static void make_ragged(batch *x, int single) {
    memset(x, 0, sizeof *x);
    x->single = single;
    int64_t *row_counts = hold(x, BATCH, sizeof *row_counts), *column_counts = hold(x, BATCH, sizeof *column_counts);
    int64_t *strides = hold(x, BATCH, sizeof *strides), *M_at = hold(x, BATCH + 1, sizeof *M_at);
    double *reg = hold(x, 1, sizeof *reg);
    const int64_t each = (int64_t)cost_bytes(single);
    reg[0] = 0.07;
    for (int k = 0; k < BATCH; k++) {
        row_counts[k] = k == 7 ? LONGEST : 1 + (int64_t)(check_random() % LONGEST);
        column_counts[k] = k == 9 ? LONGEST : 1 + (int64_t)(check_random() % LONGEST);
        strides[k] = (column_counts[k] + k % 3) * each;
        M_at[k + 1] = M_at[k] + strides[k] * row_counts[k];
    }
    char *M = hold(x, (size_t)M_at[BATCH], 1);
    for (int k = 0; k < BATCH; k++) {
        problem *p = &x->alone[k];
        *p = (problem){row_counts[k], column_counts[k], single, NULL, NULL, NULL, reg[0]};
        p->M = malloc((size_t)(p->m * p->n * each));
        for (int64_t i = 0; i < p->m; i++)
            for (int64_t j = 0; j < strides[k] / each; j++) {
                const double cost = j < p->n ? check_uniform(-1, 1) : NAN;
                put(M + M_at[k] + i * strides[k], j, single, cost);
                if (j < p->n) put(p->M, i * p->n + j, single, cost);
            }
    }
    kx_sinkhorn_problems_t *p = &x->problems;
    p->count = BATCH, p->m = LONGEST, p->n = LONGEST, p->row_counts = row_counts, p->column_counts = column_counts;
    p->M = M, p->reg = reg, p->M_offsets = M_at, p->row_strides = strides, p->row_stride = -1;
    place_outputs(x);
}

/* Equal sizes: one M and one b for all, a backwards; outputs in order, without offsets. */
static void make_broadcast(batch *x, int single) {
    memset(x, 0, sizeof *x);
    x->single = single;
    const int64_t m = 9, n = 13;
    problem all = random_problem(m, n, single, 0.04);
    double *a = hold(x, (size_t)(BATCH * m), sizeof *a), *b = hold(x, (size_t)n, sizeof *b),
           *reg = hold(x, 1, sizeof *reg);
    double *u = hold(x, (size_t)m, sizeof *u), *v = hold(x, (size_t)n, sizeof *v);
    int64_t *a_at = hold(x, BATCH, sizeof *a_at);
    void *M = hold(x, (size_t)(m * n), cost_bytes(single));
    memcpy(M, all.M, (size_t)(m * n) * cost_bytes(single)), memcpy(b, all.b, (size_t)n * sizeof *b), reg[0] = all.reg;
    for (int64_t j = 0; j < n; j++) v[j] = check_uniform(-0.1, 0.1);
    for (int64_t i = 0; i < m; i++) u[i] = NAN; /* where both are given, v alone is used */
    for (int k = 0; k < BATCH; k++) {
        double *weights = random_weights(m, 1);
        memcpy(a + (BATCH - 1 - k) * m, weights, (size_t)m * sizeof *a);
        a_at[k] = (BATCH - 1 - k) * m * (int64_t)sizeof *a;
        problem *p = &x->alone[k];
        *p = (problem){m, n, single, weights, copy_of(b, n), malloc((size_t)(m * n) * cost_bytes(single)), all.reg};
        memcpy(p->M, M, (size_t)(m * n) * cost_bytes(single));
        x->v[k] = v;
        x->u_at[k] = k * m, x->v_at[k] = k * n, x->plan_at[k] = k * m * n;
    }
    kx_sinkhorn_problems_t *p = &x->problems;
    p->count = BATCH, p->m = m, p->n = n, p->a = a, p->b = b, p->M = M, p->reg = reg, p->a_offsets = a_at;
    p->u = u, p->v = v, p->row_stride = n * (ptrdiff_t)cost_bytes(single);
    x->rows = BATCH * m, x->columns = BATCH * n, x->entries = BATCH * m * n;
    free_problem(&all);
}

static answers answers_to_batch(const batch *x) {
    answers got = make_answers(BATCH, x->rows, x->columns, x->entries, x->single);
    if (x->problems.row_counts)
        got.outputs.u_offsets = x->u_at, got.outputs.v_offsets = x->v_at, got.outputs.plan_offsets = x->plan_at;
    return got;
}

/* A batch gives what its problems give by themselves, to the bit, on any number of workers. */
static void check_batch(const char *what, const batch *x, const kx_sinkhorn_options_t *options) {
    answers got = answers_to_batch(x);
    int64_t failed = 5;
    const kx_status_t status = run(NULL, x->single, &x->problems, options, &got, &failed);
    CHECK(status >= KX_OK && failed == -1, "%s: %s at %d", what, kx_status_name(status), (int)failed);
    CHECK(guards_hold(&got), "%s: written beyond an output", what);
    kx_status_t worst = KX_OK;
    for (int k = 0; k < BATCH; k++) {
        const problem *p = &x->alone[k];
        answers alone = answers_to(p);
        kx_sinkhorn_problems_t one = one_of(p);
        one.v = x->v[k];
        const kx_status_t ended = run(NULL, x->single, &one, options, &alone, NULL);
        char name[96];
        snprintf(name, sizeof name, "%s, problem %d, %dx%d", what, k, (int)p->m, (int)p->n);
        check_ending(name, ended, options, &alone);
        check_answer(name, p, options, &alone);
        const kx_sinkhorn_outputs_t *s = &alone.outputs, *o = &got.outputs;
        CHECK(o->costs[k] == s->costs[0] && o->values[k] == s->values[0] && o->gaps[k] == s->gaps[0] &&
                  o->errors[k] == s->errors[0],
              "%s: cost %.17g, alone %.17g", name, o->costs[k], s->costs[0]);
        CHECK(o->statuses[k] == s->statuses[0] && o->iterations[k] == s->iterations[0],
              "%s: %d, %d passes, alone %d, %d", name, o->statuses[k], (int)o->iterations[k], s->statuses[0],
              (int)s->iterations[0]);
        CHECK(memcmp(o->u + x->u_at[k], s->u, (size_t)p->m * sizeof *s->u) == 0, "%s: u", name);
        CHECK(memcmp(o->v + x->v_at[k], s->v, (size_t)p->n * sizeof *s->v) == 0, "%s: v", name);
        const size_t each = cost_bytes(x->single);
        CHECK(memcmp((char *)o->plans + (size_t)x->plan_at[k] * each, s->plans, (size_t)(p->m * p->n) * each) == 0,
              "%s: plan", name);
        worst = ended > worst ? ended : worst;
        free(alone.block);
    }
    CHECK(status == worst, "%s: %s", what, kx_status_name(status));
    static const int workers[] = {1, 2, 3, 4, 5, 6, 7, 8, 64};
    for (int w = 0; w < 9; w++) {
        answers again = answers_to_batch(x);
        const kx_ctx_t ctx = with_workers(workers[w]);
        CHECK(run(&ctx, x->single, &x->problems, options, &again, NULL) == status && same_answers(&got, &again),
              "%s: other answers with %d workers", what, workers[w]);
        free(again.block);
    }
    free(got.block);
}

static void test_batches(void) {
    static const char *kinds[] = {"sparse", "sparse, warm", "ragged", "broadcast"};
    static batch x;
    for (int turn = 0; turn < METHODS * ACCELERATIONS; turn++) {
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / ACCELERATIONS, options.acceleration = turn % ACCELERATIONS;
        if (turn % 3 == 2) options.max_iter = 7;
        for (int kind = 0; kind < 4; kind++) {
            const int single = (turn + kind) & 1;
            char what[64];
            snprintf(what, sizeof what, "%s, f%d, %s, %s", kinds[kind],
                     single ? 32 : 64, method_names[options.method], acceleration_names[options.acceleration]);
            if (kind < 2) make_sparse(&x, single, kind);
            else if (kind == 2) make_ragged(&x, single);
            else make_broadcast(&x, single);
            check_batch(what, &x, &options);
            free_batch(&x);
        }
    }
}

/* Each output alone, and none at all: the same answer. */
static void test_outputs(void) {
    for (int turn = 0; turn < 8; turn++) {
        problem p = random_problem(20, 30, turn & 1, 0.1);
        if (turn & 2) p.a[3] = p.b[4] = 0, normalize(p.a, 20, 1), normalize(p.b, 30, 1);
        kx_sinkhorn_options_t options = defaults();
        options.round_plans = turn / 4;
        answers whole = answers_to(&p);
        CHECK(run_one(&p, &options, &whole) == KX_OK, "whole");
        for (int which = -1; which < PARTS; which++) {
            answers part = answers_to(&p);
            kx_sinkhorn_outputs_t *o = &part.outputs;
            if (which != COSTS) o->costs = NULL;
            if (which != VALUES) o->values = NULL;
            if (which != GAPS) o->gaps = NULL;
            if (which != ERRORS) o->errors = NULL;
            if (which != U) o->u = NULL;
            if (which != V) o->v = NULL;
            if (which != PLANS) o->plans = NULL;
            if (which != ITERATIONS) o->iterations = NULL;
            if (which != STATUSES) o->statuses = NULL;
            CHECK(run_one(&p, &options, &part) == KX_OK, "output %d", which);
            for (int k = 0; k < PARTS; k++) {
                const unsigned char *got = part.block + part.at[k];
                if (k == which && k == COSTS && options.round_plans) continue; /* there is no plan to round */
                if (k == which)
                    CHECK(memcmp(got, whole.block + whole.at[k], part.size[k]) == 0, "output %d alone, rounding %d", k,
                          turn / 4);
                else CHECK(unwritten(got, part.size[k]), "output %d, which nobody wants", k);
            }
            CHECK(guards_hold(&part), "output %d: written beyond", which);
            free(part.block);
        }
        free_problem(&p), free(whole.block);
    }
}

/* ---- starts, ends, rounding ---- */

static void test_warm_start(void) {
    for (int turn = 0; turn < METHODS * 2; turn++) {
        problem p = random_problem(40, 30, turn & 1, 0.02);
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / 2;
        options.acceleration = KX_SINKHORN_PLAIN; /* so that passes say how near the start was */
        options.max_iter = 100000;
        answers cold = answers_to(&p);
        CHECK(run_one(&p, &options, &cold) == KX_OK, "cold");
        CHECK(cold.outputs.iterations[0] > 20, "%lld passes leave nothing to gain",
              (long long)cold.outputs.iterations[0]);
        static const char *kinds[] = {"v", "u", "u and v", "v far off", "v beyond reason", "v shifted"};
        for (int kind = 0; kind < 6; kind++) {
            double *u = copy_of(cold.outputs.u, p.m), *v = copy_of(cold.outputs.v, p.n);
            kx_sinkhorn_problems_t problems = one_of(&p);
            if (kind != 1) problems.v = v;
            if (kind == 1 || kind == 2) problems.u = u;
            if (kind == 2)
                for (int64_t i = 0; i < p.m; i++) u[i] = 1e6 * (double)i; /* v alone is used */
            if (kind == 3)
                for (int64_t j = 0; j < p.n; j++) v[j] = check_uniform(-1, 1);
            if (kind == 4)
                for (int64_t j = 0; j < p.n; j++) v[j] = check_uniform(-1e300, 1e300);
            if (kind == 5)
                for (int64_t j = 0; j < p.n; j++) v[j] += 1000;
            answers warm = answers_to(&p);
            const kx_status_t status = run(NULL, p.single, &problems, &options, &warm, NULL);
            char what[64];
            snprintf(what, sizeof what, "from %s, f%d, %s", kinds[kind], p.single ? 32 : 64,
                     method_names[options.method]);
            CHECK(status == KX_OK, "%s: %s", what, kx_status_name(status));
            check_answer(what, &p, &options, &warm);
            if (kind != 3 && kind != 4)
                CHECK(warm.outputs.iterations[0] <= 3, "%s: %lld passes, %lld from nothing", what,
                      (long long)warm.outputs.iterations[0], (long long)cold.outputs.iterations[0]);
            CHECK(fabs(warm.outputs.costs[0] - cold.outputs.costs[0]) <= 1e-6, "%s: cost %g", what,
                  warm.outputs.costs[0]);
            free(u), free(v), free(warm.block);
        }
        double *v = copy_of(cold.outputs.v, p.n);
        kx_sinkhorn_problems_t problems = one_of(&p);
        problems.v = v;
        const double bad[] = {NAN, INFINITY, -INFINITY};
        for (int k = 0; k < 3; k++) {
            v[7] = bad[k];
            answers none = answers_to(&p);
            int64_t failed = -1;
            CHECK(run(NULL, p.single, &problems, &options, &none, &failed) == KX_E_NONFINITE && failed == 0,
                  "from v of %g", bad[k]);
            CHECK(unwritten(none.block, none.bytes), "a call that failed has written");
            free(none.block);
        }
        free(v), free_problem(&p), free(cold.block);
    }
}

static void test_max_iter(void) {
    static const int64_t limits[] = {1, 2, 3, 5, 8, 13, 30};
    for (int way = 0; way < METHODS * ACCELERATIONS * 3; way++) {
        problem p = random_problem(25, 28, way & 1, 0.002);
        for (int k = 0; k < 7; k++) {
            kx_sinkhorn_options_t options = defaults();
            options.method = way / 3 / ACCELERATIONS;
            options.acceleration = way / 3 % ACCELERATIONS;
            options.epsilon_scaling = way % 3 - 1;
            options.max_iter = limits[k];
            if (options.method == KX_SINKHORN_KERNEL) p.reg = 0.02;
            char what[96];
            snprintf(what, sizeof what, "%lld passes, f%d, %s, %s, scaling %d", (long long)limits[k],
                     p.single ? 32 : 64, method_names[options.method], acceleration_names[options.acceleration],
                     options.epsilon_scaling);
            answers got = answers_to(&p);
            const kx_status_t status = run_one(&p, &options, &got);
            CHECK(status == KX_W_MAXITER || (status == KX_OK && limits[k] > 5), "%s: %s", what, kx_status_name(status));
            check_ending(what, status, &options, &got);
            check_answer(what, &p, &options, &got);
            free(got.block);
        }
        free_problem(&p);
    }
    /* A tolerance that nothing reaches ends, one way or the other, near the best there is. */
    for (int way = 0; way < METHODS * ACCELERATIONS; way++) {
        problem p = random_problem(12, 10, 0, 0.1);
        kx_sinkhorn_options_t options = defaults();
        options.method = way / ACCELERATIONS, options.acceleration = way % ACCELERATIONS;
        options.tolerance = 0;
        options.max_iter = 3000;
        answers got = answers_to(&p);
        const kx_status_t status = run_one(&p, &options, &got);
        char what[64];
        snprintf(what, sizeof what, "a tolerance of 0, %s, %s", method_names[options.method],
                 acceleration_names[options.acceleration]);
        CHECK(status >= KX_OK, "%s: %s", what, kx_status_name(status));
        check_ending(what, status, &options, &got), check_answer(what, &p, &options, &got);
        CHECK(got.outputs.errors[0] <= 1e-13, "%s: %g", what, got.outputs.errors[0]);
        free_problem(&p), free(got.block);
    }
    /* The largest warning of a batch, and each problem's own status. */
    problem easy = random_problem(6, 6, 0, 10);
    kx_sinkhorn_problems_t problems = one_of(&easy);
    double reg[] = {10, 1e-3, 10};
    const int64_t reg_at[] = {0, 8, 16};
    problems.count = 3, problems.reg = reg, problems.reg_offsets = reg_at;
    kx_sinkhorn_options_t options = defaults();
    options.max_iter = 30;
    options.acceleration = KX_SINKHORN_PLAIN;
    answers got = make_answers(3, 18, 18, 108, 0);
    int64_t failed = 5;
    CHECK(run(NULL, 0, &problems, &options, &got, &failed) == KX_W_MAXITER && failed == -1, "one of three");
    const int32_t *statuses = got.outputs.statuses;
    CHECK(statuses[0] == KX_OK && statuses[1] == KX_W_MAXITER && statuses[2] == KX_OK, "%d, %d, %d", statuses[0],
          statuses[1], statuses[2]);
    free_problem(&easy), free(got.block);
}

static void test_rounding(void) {
    for (int turn = 0; turn < 24; turn++) {
        const int single = turn & 1, few = turn & 2;
        problem p = random_problem(7 + turn, 40 - turn, single, 0.02);
        if (turn % 3 == 1) p.a[0] = p.b[1] = 0, normalize(p.a, p.m, 1e3), normalize(p.b, p.n, 1e3);
        if (turn % 3 == 2) p.a[0] = p.b[1] = 1e-200;
        if (turn % 3 == 2) normalize(p.a, p.m, 1), normalize(p.b, p.n, 1);
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / 6;
        if (few) options.max_iter = 2, options.epsilon_scaling = 0;
        answers plain = answers_to(&p), rounded = answers_to(&p);
        const kx_status_t status = run_one(&p, &options, &plain);
        options.round_plans = 1;
        CHECK(run_one(&p, &options, &rounded) == status && status == (few ? KX_W_MAXITER : KX_OK), "rounding: %s",
              kx_status_name(status));
        char what[64];
        snprintf(what, sizeof what, "rounded %dx%d, f%d, %s, %s", (int)p.m, (int)p.n, single ? 32 : 64,
                 method_names[options.method], kx_status_name(status));
        CHECK(guards_hold(&rounded), "%s: written beyond an output", what);
        for (int k = 0; k < PARTS; k++)
            if (k != COSTS && k != PLANS)
                CHECK(memcmp(plain.block + plain.at[k], rounded.block + rounded.at[k], plain.size[k]) == 0,
                      "%s: output %d changed", what, k);
        double total = 0, worst = 0, cost = 0, moved = 0;
        double *columns = calloc((size_t)p.n, sizeof *columns);
        for (int64_t i = 0; i < p.m; i++) {
            double row = 0;
            total += p.a[i];
            for (int64_t j = 0; j < p.n; j++) {
                const double mass = get(rounded.outputs.plans, i * p.n + j, single);
                CHECK(mass >= 0 && isfinite(mass), "%s: plan[%d, %d] = %g", what, (int)i, (int)j, mass);
                row += mass, columns[j] += mass, cost += mass * cost_at(&p, i, j);
                moved += fabs(mass - get(plain.outputs.plans, i * p.n + j, single));
            }
            worst = fmax(worst, fabs(row - p.a[i]));
        }
        for (int64_t j = 0; j < p.n; j++) worst = fmax(worst, fabs(columns[j] - p.b[j]));
        const double rounding = single ? (double)FLT_EPSILON : 64 * DBL_EPSILON;
        CHECK(worst <= rounding * total, "%s: marginals are off by %g", what, worst / total);
        CHECK(fabs(cost - rounded.outputs.costs[0]) <= rounding * total, "%s: cost %.17g, not %.17g", what,
              rounded.outputs.costs[0], cost);
        /* Altschuler, Weed and Rigollet, lemma 7 */
        CHECK(moved <= 2 * (plain.outputs.errors[0] + 4 * rounding) * total, "%s: moved %g", what, moved / total);
        free(columns), free(plain.block), free(rounded.block), free_problem(&p);
    }
    /* The product that is laid on would use forbidden arcs. */
    problem p = random_problem(3, 4, 0, 1);
    put(p.M, 5, 0, INFINITY);
    kx_sinkhorn_options_t options = defaults();
    options.round_plans = 1;
    check_problem("rounding with forbidden arcs", &p, &options, KX_E_ARGUMENT, NULL, 0);
    p.a[1] = 1e-200; /* a row that takes no part, but gets its mass from the rounding */
    normalize(p.a, 3, 1);
    for (int k = 4; k < 8; k++) put(p.M, k, 0, INFINITY);
    answers got = answers_to(&p);
    const kx_status_t status = run_one(&p, &options, &got);
    CHECK(status < KX_OK || isfinite(got.outputs.costs[0]), "%s, cost %g", kx_status_name(status),
          got.outputs.costs[0]);
    free_problem(&p), free(got.block);
}

/* ---- statuses ---- */

static void expect_with(const char *what, kx_status_t expected, const double *a, const double *b, const double *M,
                        double reg, const kx_sinkhorn_options_t *options) {
    for (int single = 0; single < 2; single++) {
        problem p = random_problem(2, 2, single, reg);
        memcpy(p.a, a, 2 * sizeof *a), memcpy(p.b, b, 2 * sizeof *b);
        int fits = 1;
        for (int k = 0; k < 4; k++) {
            fits &= !isfinite(M[k]) || fabs(M[k]) <= (double)FLT_MAX;
            put(p.M, k, single, M[k]);
        }
        if (fits || !single) check_problem(what, &p, options, expected, NULL, 0);
        free_problem(&p);
    }
}
static void expect(const char *what, kx_status_t expected, const double *a, const double *b, const double *M,
                   double reg) {
    const kx_sinkhorn_options_t options = defaults();
    expect_with(what, expected, a, b, M, reg, &options);
}

static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}

/* The lowest problem that fails is named, for any number of workers. It takes a pass to fail, the ones after it fail at
   once. */
static void test_first_failure(void) {
    enum { COUNT = 32, SIZE = 300, FIRST = 11 };
    problem p = random_problem(SIZE, 2 * SIZE, 0, 10); /* a row of half of it more is forbidden */
    double *a = malloc(2 * SIZE * sizeof *a), *M = p.M;
    int64_t a_at[COUNT], M_at[COUNT];
    memcpy(a, p.a, SIZE * sizeof *a);
    for (int64_t i = 0; i < SIZE; i++) a[SIZE + i] = -1;
    for (int64_t j = 0; j < SIZE; j++) M[(SIZE - 1) * 2 * SIZE + SIZE + j] = INFINITY;
    for (int k = 0; k < COUNT; k++) {
        a_at[k] = k > FIRST ? SIZE * (int64_t)sizeof *a : 0;
        M_at[k] = k == FIRST ? SIZE * (int64_t)sizeof *M : 0;
    }
    kx_sinkhorn_problems_t problems = one_of(&p);
    problems.count = COUNT, problems.n = SIZE, problems.b = NULL;
    problems.a = a, problems.a_offsets = a_at, problems.M_offsets = M_at;
    const kx_sinkhorn_options_t options = defaults();
    double costs[COUNT];
    kx_sinkhorn_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = costs;
    for (int round = 0; round < 12; round++) {
        const kx_ctx_t ctx = with_workers(1 + round % 4);
        int64_t failed = -1;
        const kx_status_t status = kx_transport_sinkhorn_f64(&ctx, &problems, &options, &outputs, &failed);
        CHECK(status == KX_E_INFEASIBLE && failed == FIRST, "%d workers: %s at %d", 1 + round % 4,
              kx_status_name(status), (int)failed);
    }
    free(a), free_problem(&p);
}

static void test_statuses(void) {
    const double half[] = {0.5, 0.5}, M[] = {0, 1, 1, 0};
    const double nan_weight[] = {NAN, 0.5}, infinite[] = {INFINITY, 0.5}, negative[] = {1.5, -0.5}, more[] = {0.5, 0.6};
    const double nothing[] = {0, 0}, one_sided[] = {0, 1}, enormous[] = {DBL_MAX, DBL_MAX},
                 nearly[] = {0.5, 0.5 + 4e-10};
    const double nan_cost[] = {0, NAN, 1, 0}, minus[] = {0, 1, -INFINITY, 0},
                 none[] = {INFINITY, INFINITY, INFINITY, INFINITY};
    const double row[] = {INFINITY, INFINITY, 1, 1}, column[] = {INFINITY, 1, INFINITY, 1}, huge[] = {0, DBL_MAX, 1, 0};
    const double apart[] = {-DBL_MAX, DBL_MAX, DBL_MAX, -DBL_MAX}, minus_zero[] = {1, -0.0};
    expect("fine", KX_OK, half, half, M, 1);
    expect("NaN in a", KX_E_NONFINITE, nan_weight, half, M, 1);
    expect("infinity in b", KX_E_NONFINITE, half, infinite, M, 1);
    expect("negative a", KX_E_NEGATIVE, negative, half, M, 1);
    expect("negative b", KX_E_NEGATIVE, half, negative, M, 1);
    expect("-0 is not negative", KX_OK, minus_zero, half, M, 1);
    expect("totals", KX_E_TOTALS, half, more, M, 1);
    expect("totals within the tolerance", KX_OK, half, nearly, M, 1);
    expect("no mass in a", KX_E_EMPTY, nothing, half, M, 1);
    expect("no mass in b", KX_E_EMPTY, half, nothing, M, 1);
    expect("totals that overflow", KX_E_OVERFLOW, enormous, enormous, M, 1);
    expect("NaN in M", KX_E_NONFINITE, half, half, nan_cost, 1);
    expect("NaN in M's row of zero weight", KX_E_NONFINITE, one_sided, half, nan_cost, 1);
    expect("-infinity in M's column of zero weight", KX_E_NONFINITE, half, one_sided, minus, 1);
    expect("-infinity in M", KX_E_NONFINITE, half, half, minus, 1);
    expect("all forbidden", KX_E_INFEASIBLE, half, half, none, 1);
    expect("a forbidden row", KX_E_INFEASIBLE, half, half, row, 1);
    expect("a forbidden row of zero weight", KX_OK, one_sided, half, row, 1);
    expect("a forbidden column", KX_E_INFEASIBLE, half, half, column, 1);
    expect("a forbidden column of zero weight", KX_OK, half, one_sided, column, 1);
    expect("costs that overflow", KX_E_OVERFLOW, half, half, apart, 1);
    expect("costs that overflow by reg", KX_E_OVERFLOW, half, half, huge, 1e-3);
    expect("reg 0", KX_E_ARGUMENT, half, half, M, 0);
    expect("reg -1", KX_E_ARGUMENT, half, half, M, -1);
    expect("reg NaN", KX_E_ARGUMENT, half, half, M, NAN);
    expect("reg infinite", KX_E_ARGUMENT, half, half, M, INFINITY);

    for (int k = 0; k < 16; k++) {
        kx_sinkhorn_options_t options = defaults();
        kx_status_t expected = KX_E_ARGUMENT;
        if (k == 0) options.tolerance = -1e-9;
        if (k == 1) options.tolerance = NAN;
        if (k == 2) options.max_iter = 0;
        if (k == 3) options.max_iter = -1;
        if (k == 4) options.memory = -1;
        if (k == 5) options.memory = 21;
        if (k == 6) options.method = -1;
        if (k == 7) options.method = METHODS;
        if (k == 8) options.acceleration = -1;
        if (k == 9) options.acceleration = ACCELERATIONS;
        if (k == 10) options.totals_tolerance = -1, expected = KX_E_TOTALS;
        if (k == 11) options.totals_tolerance = NAN, expected = KX_E_TOTALS;
        if (k == 12) options.epsilon_scaling = 2;
        if (k == 13) options.epsilon_scaling = -2;
        if (k == 14) options.tolerance = 1e300, expected = KX_OK;
        if (k == 15) options.totals_tolerance = 0.5, expected = KX_OK;
        char what[32];
        snprintf(what, sizeof what, "options %d", k);
        expect_with(what, expected, half, half, M, 1, &options);
    }

    problem p = random_problem(2, 2, 0, 1);
    const kx_sinkhorn_options_t options = defaults();
    answers got = answers_to(&p);
    for (int k = 0; k < 9; k++) {
        kx_sinkhorn_problems_t problems = one_of(&p);
        if (k == 0) problems.M = NULL;
        if (k == 1) problems.reg = NULL;
        if (k == 2) problems.count = -1;
        if (k == 3) problems.m = 0;
        if (k == 4) problems.n = 0;
        if (k == 5) problems.m = -1;
        int64_t failed = 5;
        const kx_status_t status = kx_transport_sinkhorn_f64(NULL, k == 6 ? NULL : &problems, k == 7 ? NULL : &options,
                                                             k == 8 ? NULL : &got.outputs, &failed);
        CHECK(status == KX_E_ARGUMENT && failed == -1, "argument %d: %s, failed %d", k, kx_status_name(status),
              (int)failed);
    }
    kx_sinkhorn_problems_t problems = one_of(&p);
    int64_t failed = 5;
    problems.count = 0;
    CHECK(run(NULL, 0, &problems, &options, &got, &failed) == KX_OK && failed == -1, "no problems");
    problems.count = 1;
    static const int64_t sizes[][2] = {
        {INT64_MAX / 2, 2}, {2, INT64_MAX / 2}, {INT64_MAX, INT64_MAX}, {(int64_t)1 << 32, (int64_t)1 << 32}};
    for (int k = 0; k < 4; k++) {
        problems.m = sizes[k][0], problems.n = sizes[k][1];
        const kx_status_t status = run(NULL, 0, &problems, &options, &got, NULL);
        CHECK(status == KX_E_OVERFLOW, "%lld x %lld: %s", (long long)problems.m, (long long)problems.n,
              kx_status_name(status));
    }
    kx_ctx_t poor = with_workers(1); /* no allocator is asked for petabytes here: a sanitizer's would end the test */
    poor.allocator.allocate = refuse;
    problems.m = problems.n = INT32_MAX / 5;
    CHECK(run(&poor, 0, &problems, &options, &got, NULL) < KX_OK, "m n too large");
    CHECK(unwritten(got.block, got.bytes), "a call that failed has written");
    const int64_t no_rows = 0, one = 1;
    problems = one_of(&p), problems.row_counts = &no_rows, problems.column_counts = &one;
    CHECK(run(NULL, 0, &problems, &options, &got, NULL) == KX_E_EMPTY, "no rows");
    free_problem(&p), free(got.block);

    test_first_failure();

    /* Costs that nobody reaches may be anything in CSR; those of a word with weight 0 are reached. */
    const double costs_of_words[] = {0, 1, NAN, 1, 0, NAN, NAN, NAN, NAN};
    const int64_t first_two[] = {0, 1}, with_third[] = {1, 2};
    p = random_problem(2, 2, 0, 1), got = answers_to(&p);
    problems = one_of(&p);
    problems.M = costs_of_words, problems.row_stride = 24, problems.row_indices = first_two,
    problems.column_indices = first_two;
    CHECK(run(NULL, 0, &problems, &options, &got, NULL) == KX_OK, "NaN where nobody looks");
    problems.row_indices = with_third;
    CHECK(run(NULL, 0, &problems, &options, &got, NULL) == KX_E_NONFINITE, "NaN in a word's row");
    p.a[0] = 1, p.a[1] = 0;
    const kx_status_t status = run(NULL, 0, &problems, &options, &got, NULL);
    CHECK(status == KX_E_NONFINITE, "NaN in the row of a word with weight 0: %s, u %g", kx_status_name(status),
          got.outputs.u[1]);
    free_problem(&p), free(got.block);
}

/* ---- memory ---- */

/* Grants what is small beside the problem, and keeps the largest wish. */
typedef struct stingy_allocator {
    size_t largest_grant, largest_wish;
} stingy_allocator;
static void *stingy_allocate(void *state, size_t bytes) {
    stingy_allocator *s = state;
    if (bytes > s->largest_wish) s->largest_wish = bytes;
    return bytes > s->largest_grant ? NULL : kx_allocate(NULL, bytes);
}
static void release(void *state, void *block) { (void)state, kx_release(NULL, block); }
static void launch_alone(void *state, int workers, kx_run_fn launched, void *job) {
    (void)state, (void)workers, launched(job, 0);
}

/* The header's promise for each of many workers, by the wishes of calls that do not get them. */
static void test_memory_size(void) {
    static const int64_t sizes[][2] = {{20000, 20000}, {70000, 70000}, {1, 1000000},
                                       {1000000, 1},   {100, 300000},  {300000, 100}};
    const double reg = 1;
    double *row = calloc(1000000, sizeof *row), cost;
    for (int method = 0; method < METHODS; method++)
        for (int k = 0; k < 6; k++)
            for (int workers = 1; workers <= 64; workers *= 8) {
                const int64_t m = sizes[k][0], n = sizes[k][1];
                stingy_allocator stingy = {1 << 20, 0};
                kx_ctx_t ctx = with_workers(workers);
                ctx.allocator.allocate = stingy_allocate, ctx.allocator.release = release,
                ctx.allocator.state = &stingy;
                ctx.launch = launch_alone;
                kx_sinkhorn_options_t options = defaults();
                options.method = method;
                kx_sinkhorn_problems_t problems;
                memset(&problems, 0, sizeof problems);
                problems.count = 1000, problems.m = m, problems.n = n, problems.M = row,
                problems.reg = &reg; /* a row_stride of 0 */
                kx_sinkhorn_outputs_t outputs;
                memset(&outputs, 0, sizeof outputs);
                outputs.costs = &cost;
                int64_t failed = 5;
                const kx_status_t status = kx_transport_sinkhorn_f64(&ctx, &problems, &options, &outputs, &failed);
                CHECK(status == KX_E_MEMORY && failed == -1, "%s, failed %d", kx_status_name(status), (int)failed);
                const double entries = method == KX_SINKHORN_LOG ? 0 : (double)(m + 8) * (double)(n + 8);
                const double promised = 8 * entries + 768 * (double)(m + n + 64), wish = (double)stingy.largest_wish;
                CHECK(wish <= promised, "%lldx%lld, %s, %d workers: %.0f MB each, not %.0f", (long long)m, (long long)n,
                      method_names[method], workers, wish / 1e6, promised / 1e6);
            }
    free(row);

    /* Newton's method is for 2048 columns at most, whatever the longest of a batch has. */
    problem p = random_problem(20, 20, 0, 0.1);
    const int64_t count = 20;
    stingy_allocator stingy = {(size_t)256 << 20, 0};
    kx_ctx_t ctx = with_workers(1);
    ctx.allocator.allocate = stingy_allocate, ctx.allocator.release = release, ctx.allocator.state = &stingy;
    kx_sinkhorn_problems_t problems = one_of(&p);
    problems.row_counts = problems.column_counts = &count, problems.n = 30000;
    kx_sinkhorn_options_t options = defaults();
    options.acceleration = KX_SINKHORN_NEWTON;
    options.tolerance = 1e-12;
    answers got = answers_to(&p);
    const kx_status_t status = run(&ctx, 0, &problems, &options, &got, NULL);
    CHECK(status == KX_OK, "a short problem beside a long one: %s for want of %zu bytes", kx_status_name(status),
          stingy.largest_wish);
    if (status == KX_OK) check_answer("beside a long one", &p, &options, &got);
    free_problem(&p), free(got.block);
}

/* Lets one allocation fail, fills blocks with what would show in a result, and looks at what lies behind them. */
typedef struct watching_allocator {
    kx_mutex_t mutex; /* guards all */
    int64_t asked, given, released, overrun, fail_at;
    int fill;
} watching_allocator;
enum { NEVER = -1, BEHIND = 4096 };

static void *watching_allocate(void *state, size_t bytes) {
    watching_allocator *w = state;
    kx_mutex_lock(&w->mutex);
    const int fails = w->asked++ == w->fail_at, fill = w->fill;
    w->given += !fails;
    kx_mutex_unlock(&w->mutex);
    if (fails) return NULL;
    unsigned char *block = kx_allocate(NULL, 64 + bytes + BEHIND);
    memcpy(block, &bytes, sizeof bytes);
    memset(block + 64, fill, bytes);
    memset(block + 64 + bytes, UNWRITTEN, BEHIND);
    return block + 64;
}
static void watching_release(void *state, void *pointer) {
    watching_allocator *w = state;
    unsigned char *block = (unsigned char *)pointer - 64;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    const int overrun = !unwritten(block + 64 + bytes, BEHIND);
    kx_release(NULL, block);
    kx_mutex_lock(&w->mutex);
    w->overrun += overrun;
    w->released++;
    kx_mutex_unlock(&w->mutex);
}
static kx_ctx_t watched_by(watching_allocator *w, int workers) {
    kx_ctx_t ctx = with_workers(workers);
    ctx.allocator.allocate = watching_allocate, ctx.allocator.release = watching_release, ctx.allocator.state = w;
    w->asked = w->given = w->released = w->overrun = 0;
    return ctx;
}

/* Makes the allocations of a call fail in turn, until it asks for no more: the call says so and releases everything,
   and the next one gives what a serial one did, whatever its memory held before. */
static void fail_allocations(const char *what, int single, const kx_sinkhorn_problems_t *problems,
                             const kx_sinkhorn_options_t *options, int64_t least) {
    const int64_t count = problems->count, rows = count * problems->m, columns = count * problems->n,
                  entries = rows * problems->n;
    answers expected = make_answers(count, rows, columns, entries, single);
    const kx_status_t fine = run(NULL, single, problems, options, &expected, NULL);
    CHECK(fine >= KX_OK, "%s: %s", what, kx_status_name(fine));
    watching_allocator w = {KX_MUTEX_INIT, 0, 0, 0, 0, NEVER, 0};
    for (int workers = 1; workers <= 3; workers += 2)
        for (int64_t k = 0;; k++) {
            answers got = make_answers(count, rows, columns, entries, single);
            w.fail_at = k;
            kx_ctx_t ctx = watched_by(&w, workers);
            kx_status_t status = run(&ctx, single, problems, options, &got, NULL);
            const int failed = w.asked > k;
            CHECK(status == (failed ? KX_E_MEMORY : fine), "%s, %d workers, failure %lld: %s", what, workers,
                  (long long)k, kx_status_name(status));
            CHECK(w.given == w.released && w.overrun == 0,
                  "%s, %d workers, failure %lld: %lld given, %lld released, %lld overrun", what, workers, (long long)k,
                  (long long)w.given, (long long)w.released, (long long)w.overrun);
            CHECK(guards_hold(&got), "%s, %d workers, failure %lld: written beyond an output", what, workers,
                  (long long)k);
            w.fail_at = NEVER, w.fill ^= 0xff; /* all ones are NaN and -1 */
            ctx = watched_by(&w, workers);
            status = run(&ctx, single, problems, options, &got, NULL);
            CHECK(status == fine && same_answers(&got, &expected), "%s, %d workers: other results after failure %lld",
                  what, workers, (long long)k);
            CHECK(w.asked >= least && w.given == w.released && w.overrun == 0,
                  "%s, %d workers: %lld asked, %lld given, %lld released, %lld overrun", what, workers,
                  (long long)w.asked, (long long)w.given, (long long)w.released, (long long)w.overrun);
            free(got.block);
            if (!failed) break;
        }
    free(expected.block);
}

static void test_allocation(void) {
    for (int turn = 0; turn < METHODS * ACCELERATIONS; turn++) {
        /* Many small problems; a large one; a weight of 0, for which the costs are copied. */
        const int large = turn % 4 == 3, removed = turn % 2;
        problem p = large ? random_problem(800, 700, turn % 8 == 3, 0.3) : random_problem(37, 41, turn % 4 == 2, 0.02);
        if (removed) p.a[3] = 0, normalize(p.a, p.m, 1);
        kx_sinkhorn_problems_t problems = one_of(&p);
        problems.count = large ? 2 : 30;
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / ACCELERATIONS, options.acceleration = turn % ACCELERATIONS;
        options.round_plans = turn % 3 == 0;
        if (large && options.acceleration == KX_SINKHORN_NEWTON) options.max_iter = 7; /* a step or two of 0.2 s each */
        char what[64];
        snprintf(what, sizeof what, "%d of %dx%d, f%d, %s, %s", (int)problems.count, (int)p.m, (int)p.n,
                 p.single ? 32 : 64, method_names[options.method], acceleration_names[options.acceleration]);
        const int newton = options.acceleration == KX_SINKHORN_NEWTON && options.method != KX_SINKHORN_KERNEL &&
                           options.method != KX_SINKHORN_LOG;
        fail_allocations(what, p.single, &problems, &options, 2 + removed + newton);
        free_problem(&p);
    }
}

/* ---- threads ---- */

/* Few large problems, whose passes are shared out. */
static void test_large(void) {
    static const int64_t shapes[][2] = {{1200, 1200}, {600, 900}, {3, 200000}, {200000, 3}};
    for (int k = 0; k < 4; k++)
        for (int turn = 0; turn < 3; turn++) {
            const int64_t m = shapes[k][0], n = shapes[k][1];
            problem p = random_problem(m, n, turn & 1, k < 2 ? 0.05 : 0.2);
            kx_sinkhorn_problems_t problems = one_of(&p);
            if (k == 1) problems.count = 3; /* fewer than twice the workers, but not than one */
            kx_sinkhorn_options_t options = defaults();
            options.method = turn == 2 ? KX_SINKHORN_LOG : KX_SINKHORN_AUTO;
            options.round_plans = turn == 1;
            if (turn == 2) options.tolerance = 1e-13, options.max_iter = 4;
            char what[64];
            snprintf(what, sizeof what, "%lldx%lld, f%d, %s", (long long)m, (long long)n, p.single ? 32 : 64,
                     method_names[options.method]);
            answers serial =
                make_answers(problems.count, problems.count * m, problems.count * n, problems.count * m * n, p.single);
            const kx_status_t status = run(NULL, p.single, &problems, &options, &serial, NULL);
            CHECK(status == (turn == 2 ? KX_W_MAXITER : KX_OK), "%s: %s, error %g", what, kx_status_name(status),
                  serial.outputs.errors[0]);
            if (!options.round_plans) check_answer(what, &p, &options, &serial);
            static const int workers[] = {2, 3, 8, 64};
            for (int w = 0; w < 4; w++) {
                answers got = make_answers(problems.count, problems.count * m, problems.count * n,
                                           problems.count * m * n, p.single);
                const kx_ctx_t ctx = with_workers(workers[w]);
                CHECK(run(&ctx, p.single, &problems, &options, &got, NULL) == status && same_answers(&got, &serial),
                      "%s: other answers with %d workers", what, workers[w]);
                free(got.block);
            }
            free_problem(&p), free(serial.block);
        }
}

/* ---- points and barycenters ---- */

static double *random_points(int64_t n, int64_t dimension) {
    double *points = malloc((size_t)(n * dimension) * sizeof *points);
    for (int64_t k = 0; k < n * dimension; k++) points[k] = check_uniform(-1, 1);
    return points;
}

static double distance_between(const double *x, const double *y, int64_t dimension, int32_t cost) {
    long double square = 0, product = 0, square_x = 0, square_y = 0;
    for (int64_t k = 0; k < dimension; k++) {
        const long double a = (long double)x[k], b = (long double)y[k];
        square += (a - b) * (a - b), product += a * b, square_x += a * a, square_y += b * b;
    }
    if (cost == KX_COST_COSINE) return (double)(1 - product / sqrtl(square_x * square_y));
    return (double)(cost == KX_COST_EUCLIDEAN ? sqrtl(square) : square);
}

/* The same as with the matrix of the costs; y NULL: as with x for y. */
static void test_points(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {1, 9, 3}, {9, 1, 2}, {17, 30, 5}, {33, 31, 1}, {66, 64, 40}};
    for (int turn = 0; turn < 6 * 3 * 2 * METHODS; turn++) {
        const int64_t m = shapes[turn % 6][0], dimension = shapes[turn % 6][2];
        const int32_t cost = turn / 6 % 3;
        const int alone = turn / 18 % 2;
        const int64_t n = alone ? m : shapes[turn % 6][1];
        double *x = random_points(m, dimension), *y = alone ? NULL : random_points(n, dimension);
        problem p = random_problem(m, n, 0, turn % 5 ? 0.2 : 0.01);
        if (alone) memcpy(p.b, p.a, (size_t)m * sizeof *p.a);
        if (turn % 7 == 3 && m > 2 && !alone) p.a[1] = 0, normalize(p.a, m, 1);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++)
                put(p.M, i * n + j, 0,
                    distance_between(x + i * dimension, (y ? y : x) + j * dimension, dimension, cost));
        kx_sinkhorn_options_t options = defaults();
        options.method = turn / 36;
        options.tolerance = 1e-11;
        char what[96];
        snprintf(what, sizeof what, "%s %dx%d of %d, cost %d, reg %g, %s", alone ? "points, symmetric" : "points",
                 (int)m, (int)n, (int)dimension, (int)cost, p.reg, method_names[options.method]);
        answers dense = answers_to(&p), got = answers_to(&p);
        if (options.method == KX_SINKHORN_KERNEL && p.reg == 0.01) options.method = KX_SINKHORN_AUTO;
        kx_sinkhorn_options_t surest = defaults();
        surest.tolerance = options.tolerance;
        CHECK(run_one(&p, &surest, &dense) == KX_OK, "%s: its matrix: error %g after %lld passes", what,
              dense.outputs.errors[0], (long long)dense.outputs.iterations[0]);
        const kx_sinkhorn_points_t points = {m, n, dimension, x, y, p.a, alone ? NULL : p.b, p.reg, cost};
        const kx_status_t status = kx_transport_sinkhorn_points(NULL, &points, &options, &got.outputs);
        CHECK(status == KX_OK, "%s: %s, error %g", what, kx_status_name(status), got.outputs.errors[0]);
        if (status == KX_OK) {
            check_ending(what, status, &options, &got);
            /* The value is off by the square of the error, and by what rounding makes of the costs. */
            CHECK(fabs(got.outputs.values[0] - dense.outputs.values[0]) <=
                      1e-10 * (p.reg + fabs(dense.outputs.values[0])),
                  "%s: value %.17g, not %.17g", what, got.outputs.values[0], dense.outputs.values[0]);
        }
        CHECK(guards_hold(&got) && unwritten(got.block + got.at[PLANS], got.size[PLANS]) &&
                  unwritten(got.block + got.at[U], got.size[U]),
              "%s: written beyond", what);
        free(x), free(y), free_problem(&p), free(dense.block), free(got.block);
    }
    /* Sizes that are shared out to the workers, kept and not. */
    const int64_t m = 700, n = 900, dimension = 3;
    double *x = random_points(m, dimension), *y = random_points(n, dimension);
    for (int turn = 0; turn < 4; turn++) {
        kx_sinkhorn_options_t options = defaults();
        options.method = turn & 1 ? KX_SINKHORN_LOG : KX_SINKHORN_AUTO;
        options.max_iter = 6;
        const kx_sinkhorn_points_t points = {m,   turn & 2 ? m : n, dimension, x, turn & 2 ? NULL : y, NULL, NULL,
                                             0.1, KX_COST_EUCLIDEAN};
        answers serial = make_answers(1, 0, 0, 0, 0);
        const kx_status_t status = kx_transport_sinkhorn_points(NULL, &points, &options, &serial.outputs);
        CHECK(status >= KX_OK, "points: %s", kx_status_name(status));
        for (int workers = 2; workers <= 64; workers *= 4) {
            answers got = make_answers(1, 0, 0, 0, 0);
            watching_allocator w = {KX_MUTEX_INIT, 0, 0, 0, 0, NEVER, workers & 8 ? 0xff : 0};
            const kx_ctx_t ctx = watched_by(&w, workers);
            CHECK(kx_transport_sinkhorn_points(&ctx, &points, &options, &got.outputs) == status &&
                      same_answers(&got, &serial),
                  "points: another value with %d workers, turn %d", workers, turn);
            CHECK(w.given == w.released && w.overrun == 0, "points: %lld given, %lld released, %lld overrun",
                  (long long)w.given, (long long)w.released, (long long)w.overrun);
            free(got.block);
        }
        free(serial.block);
    }
    /* Every status. */
    const double bad[] = {NAN, INFINITY, 0}, negative[] = {1, -1}, nothing[] = {0, 0}, more[] = {1, 1},
                 far[] = {0, 1e200};
    answers none = make_answers(1, 0, 0, 0, 0);
    const kx_sinkhorn_options_t options = defaults();
    for (int k = 0; k < 16; k++) {
        kx_sinkhorn_points_t points = {2, 2, 1, x, y, NULL, NULL, 1, KX_COST_EUCLIDEAN};
        kx_status_t expected = KX_E_ARGUMENT;
        kx_ctx_t ctx = with_workers(1);
        if (k == 0) points.x = NULL;
        if (k == 1) points.m = 0;
        if (k == 2) points.n = 0;
        if (k == 3) points.dimension = 0;
        if (k == 4) points.reg = 0;
        if (k == 5) points.reg = NAN;
        if (k == 6) points.cost = 3;
        if (k == 7) points.y = NULL, points.n = 3;
        if (k == 8) points.x = bad, expected = KX_E_NONFINITE;
        if (k == 9) points.y = bad + 1, expected = KX_E_NONFINITE;
        if (k == 10) points.x = nothing, points.cost = KX_COST_COSINE, expected = KX_E_EMPTY;
        if (k == 11) points.a = negative, expected = KX_E_NEGATIVE;
        if (k == 12) points.b = nothing, expected = KX_E_EMPTY;
        if (k == 13) points.b = more, expected = KX_E_TOTALS;
        if (k == 14) points.x = far, points.cost = KX_COST_SQEUCLIDEAN, expected = KX_E_OVERFLOW;
        if (k == 15) ctx.allocator.allocate = refuse, expected = KX_E_MEMORY;
        const kx_status_t status = kx_transport_sinkhorn_points(&ctx, &points, &options, &none.outputs);
        CHECK(status == expected, "points %d: %s", k, kx_status_name(status));
        CHECK(unwritten(none.block, none.bytes), "points %d: a call that failed has written", k);
    }
    free(x), free(y), free(none.block);
}

/* Iterative Bregman projections as they are written down; returns the number of sweeps. */
static int64_t find_barycenter(const double *histograms, const double *M, int64_t count, int64_t m, int64_t n,
                               const double *shares, double reg, long double *p) {
    long double *K = malloc((size_t)(m * n) * sizeof *K), *c = malloc((size_t)(count * n) * sizeof *c), error = 1;
    long double *v = malloc((size_t)(count * n) * sizeof *v);
    for (int64_t k = 0; k < m * n; k++) K[k] = expl(-(long double)M[k] / (long double)reg);
    for (int64_t k = 0; k < count * n; k++) v[k] = 1;
    int64_t sweeps = 0;
    for (; error > 1e-15L && sweeps < 20000; sweeps++) {
        for (int64_t j = 0; j < count * n; j++) c[j] = 0;
        for (int64_t k = 0; k < count; k++)
            for (int64_t i = 0; i < m; i++) {
                long double row = 0;
                for (int64_t j = 0; j < n; j++) row += K[i * n + j] * v[k * n + j];
                const long double u = (long double)histograms[k * m + i] / row;
                for (int64_t j = 0; j < n; j++) c[k * n + j] += u * K[i * n + j] * v[k * n + j];
            }
        error = 0;
        for (int64_t j = 0; j < n; j++) {
            p[j] = 0;
            for (int64_t k = 0; k < count; k++) p[j] += (long double)shares[k] * logl(c[k * n + j]);
            p[j] = expl(p[j]);
            for (int64_t k = 0; k < count; k++) {
                error += (long double)shares[k] * fabsl(c[k * n + j] - p[j]);
                v[k * n + j] *= p[j] / c[k * n + j];
            }
        }
    }
    CHECK(error <= 1e-14L, "the reference barycenter has an error of %Lg", error);
    free(K), free(c), free(v);
    return sweeps;
}

/* Columns that a kernel of small entries loses at the first passes, under each way of scaling: histograms of one bin each have a
   barycenter of (c_j / reg)'s softmax, c_j the mean cost of the two moves. */
static void test_distant_barycenter(void) {
    enum { M_BINS = 2, N_BINS = 40 };
    const double histograms[] = {1, 0, 0, 1}, shares[] = {0.5, 0.5};
    double costs[M_BINS * N_BINS], exact[N_BINS], got[N_BINS];
    for (int j = 0; j < N_BINS; j++) costs[j] = j * j, costs[N_BINS + j] = (N_BINS - 1 - j) * (N_BINS - 1 - j);
    for (int turn = 0; turn < 9; turn++) {
        const double reg = turn / 3 == 0 ? 100 : turn / 3 == 1 ? 1 : 0.1;
        kx_sinkhorn_options_t options = defaults();
        options.tolerance = 1e-10;
        options.epsilon_scaling = turn % 3 - 1;
        options.max_iter = 100000;
        double least = INFINITY, sum = 0, distance = 0, error = -1;
        for (int j = 0; j < N_BINS; j++) least = fmin(least, (costs[j] + costs[N_BINS + j]) / 2);
        for (int j = 0; j < N_BINS; j++) sum += exact[j] = exp((least - (costs[j] + costs[N_BINS + j]) / 2) / reg);
        const kx_status_t status = kx_transport_barycenter(NULL, histograms, costs, 2, M_BINS, N_BINS, N_BINS * sizeof(double), shares,
                                                           reg, &options, got, &error, NULL);
        for (int j = 0; j < N_BINS; j++) distance += fabs(got[j] - exact[j] / sum);
        CHECK(status == KX_OK && error <= 1e-10 && distance <= 1e-9, "reg %g, scaling %d: %s, %g away", reg, turn % 3 - 1,
              kx_status_name(status), distance);
    }
}

static void test_barycenter(void) {
    static const int64_t shapes[][3] = {{1, 1, 1}, {2, 1, 7}, {3, 9, 1}, {3, 12, 10}, {5, 33, 35}, {64, 9, 8}};
    static const double regs[] = {1, 0.1, 0.02};
    for (int turn = 0; turn < 36; turn++) {
        const int64_t count = shapes[turn % 6][0], m = shapes[turn % 6][1], n = shapes[turn % 6][2];
        const double reg = regs[turn / 6 % 3];
        double *histograms = malloc((size_t)(count * m) * sizeof *histograms), *shares = random_weights(count, 1);
        for (int64_t k = 0; k < count; k++) {
            double *one = random_weights(m, 1);
            if (m > 2 && k % 2) one[k % m] = 0, normalize(one, m, 1);
            memcpy(histograms + k * m, one, (size_t)m * sizeof *one), free(one);
        }
        problem costs = random_problem(m, n, 0, reg);
        long double *p = malloc((size_t)n * sizeof *p);
        const int64_t sweeps = find_barycenter(histograms, costs.M, count, m, n, shares, reg, p);
        kx_sinkhorn_options_t options = defaults();
        options.tolerance = 1e-11;
        options.acceleration = turn / 18 ? KX_SINKHORN_PLAIN : KX_SINKHORN_ACCELERATION_AUTO;
        options.epsilon_scaling = turn % 3 - 1;
        options.max_iter = 100000;
        char what[64];
        snprintf(what, sizeof what, "barycenter of %d, %dx%d, reg %g", (int)count, (int)m, (int)n, reg);
        double expected[64], expected_error = 0;
        int64_t expected_iterations = 0;
        for (int workers = 1; workers <= 8; workers *= 2) {
            double *got = malloc((size_t)n * sizeof *got), error = -1;
            int64_t iterations = -1;
            watching_allocator w = {KX_MUTEX_INIT, 0, 0, 0, 0, NEVER, workers & 2 ? 0xff : 0};
            const kx_ctx_t ctx = watched_by(&w, workers);
            const kx_status_t status =
                kx_transport_barycenter(&ctx, histograms, costs.M, count, m, n, n * (ptrdiff_t)sizeof(double), shares,
                                        reg, &options, got, &error, &iterations);
            CHECK(status == KX_OK && error >= 0 && error <= 1e-11 && iterations >= 1, "%s: %s, error %g", what,
                  kx_status_name(status), error);
            CHECK(w.given == w.released && w.overrun == 0, "%s: %lld given, %lld released, %lld overrun", what,
                  (long long)w.given, (long long)w.released, (long long)w.overrun);
            long double distance = 0;
            for (int64_t j = 0; j < n; j++) distance += fabsl((long double)got[j] - p[j]);
            CHECK(distance <= (long double)(sweeps + 2) * 2e-11L, "%s: %Lg from the reference", what, distance);
            if (workers == 1) {
                memcpy(expected, got, (size_t)n * sizeof *got);
                expected_error = error, expected_iterations = iterations;
            }
            CHECK(memcmp(expected, got, (size_t)n * sizeof *got) == 0 && error == expected_error &&
                      iterations == expected_iterations,
                  "%s: another one with %d workers", what, workers);
            free(got);
        }
        free(histograms), free(shares), free(p), free_problem(&costs);
    }
    const double histograms[] = {0.5, 0.5, 0.25, 0.75}, M[] = {0, 1, 1, 0}, shares[] = {0.5, 0.5};
    const double nan[] = {0.5, 0.5, NAN, 0.75}, negative[] = {0.5, 0.5, 1.25, -0.25}, forbidden[] = {0, INFINITY, 1, 0};
    for (int k = 0; k < 15; k++) {
        kx_sinkhorn_options_t options = defaults();
        kx_ctx_t ctx = with_workers(1);
        kx_status_t expected = KX_E_ARGUMENT;
        int64_t iterations = -1;
        double got[2] = {-1, -1}, error = -1;
        if (k == 0) options.max_iter = 0;
        if (k == 1) options.memory = 21;
        if (k == 2) options.tolerance = NAN;
        if (k == 10) expected = KX_E_NONFINITE;
        if (k == 11) expected = KX_E_NEGATIVE;
        if (k == 12) expected = KX_E_NONFINITE;
        if (k == 13) expected = KX_E_OVERFLOW;
        if (k == 14) ctx.allocator.allocate = refuse, expected = KX_E_MEMORY;
        const double *given = k == 3 ? NULL : k == 10 ? nan : k == 11 ? negative : histograms;
        const double *costs = k == 4 ? NULL : k == 12 ? forbidden : M;
        const int64_t count = k != 5 ? 2 : 0, m = k != 6 ? 2 : 0, n = k != 7 ? 2 : 0;
        const double reg = k == 9 ? 0 : k == 13 ? 1e-310 : 1;
        const kx_status_t status = kx_transport_barycenter(&ctx, given, costs, count, m, n, 16, k != 8 ? shares : NULL,
                                                           reg, &options, got, &error, &iterations);
        CHECK(status == expected, "barycenter %d: %s", k, kx_status_name(status));
        CHECK(got[0] == -1 && got[1] == -1 && error == -1 && iterations == -1,
              "barycenter %d: a call that failed has written", k);
    }
}

/* ---- cancelling ---- */

typedef struct cancelling {
    int calls, allowed;
} cancelling;
static int cancel(void *state) {
    cancelling *c = state;
    return ++c->calls > c->allowed;
}

/* Calls that take minutes if nobody stops them: one problem that nothing ends, or a great many. */
static void test_cancel(void) {
    static const int32_t ways[][2] = {{KX_SINKHORN_AUTO, KX_SINKHORN_PLAIN},
                                      {KX_SINKHORN_KERNEL, KX_SINKHORN_OVERRELAXATION},
                                      {KX_SINKHORN_STABILIZED, KX_SINKHORN_NEWTON},
                                      {KX_SINKHORN_LOG, KX_SINKHORN_ANDERSON}};
    for (int turn = 0; turn < 8; turn++) {
        const int many = turn & 1;
        kx_sinkhorn_options_t options = defaults();
        options.method = ways[turn / 2][0], options.acceleration = ways[turn / 2][1];
        /* Newton's method ends where it gets no further, but not soon. */
        const int newton = options.acceleration == KX_SINKHORN_NEWTON;
        problem p =
            many ? random_problem(30, 30, turn & 2, 0.05) : random_problem(1000, 800, turn & 2, newton ? 1e-3 : 0.01);
        double *costs = malloc(sizeof *costs * 10000000);
        kx_sinkhorn_problems_t problems = one_of(&p);
        if (many) problems.count = 10000000;
        else options.tolerance = 0, options.max_iter = INT64_MAX / 4;
        kx_sinkhorn_outputs_t outputs;
        memset(&outputs, 0, sizeof outputs);
        outputs.costs = costs;
        for (int workers = 1; workers <= 3; workers += 2) {
            watching_allocator w = {KX_MUTEX_INIT, 0, 0, 0, 0, NEVER, 0};
            kx_ctx_t ctx = watched_by(&w, workers);
            cancelling c = {0, 1};
            ctx.cancel = cancel, ctx.cancel_state = &c;
            int64_t failed = 5;
            const kx_status_t status = p.single
                                           ? kx_transport_sinkhorn_f32(&ctx, &problems, &options, &outputs, &failed)
                                           : kx_transport_sinkhorn_f64(&ctx, &problems, &options, &outputs, &failed);
            char what[64];
            snprintf(what, sizeof what, "%s, %s, %s, %d workers", many ? "many" : "one", method_names[options.method],
                     acceleration_names[options.acceleration], workers);
            CHECK(status == KX_E_CANCELLED && failed == -1 && c.calls == 2, "%s: %s after %d polls, failed %d", what,
                  kx_status_name(status), c.calls, (int)failed);
            CHECK(w.given == w.released && w.overrun == 0, "%s: %lld blocks given, %lld released", what,
                  (long long)w.given, (long long)w.released);
        }
        free_problem(&p), free(costs);
    }
    /* Problems one after the other that are each over before it would be asked, and together are not. */
    problem p = random_problem(800, 700, 0, 0.2);
    kx_sinkhorn_problems_t problems = one_of(&p);
    kx_sinkhorn_options_t options = defaults();
    options.acceleration = KX_SINKHORN_PLAIN, options.tolerance = 0, options.max_iter = 40;
    double costs[120];
    kx_sinkhorn_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = costs;
    problems.count = 120;
    kx_ctx_t ctx = with_workers(64);
    cancelling c = {0, 0};
    ctx.cancel = cancel, ctx.cancel_state = &c;
    const kx_status_t status = kx_transport_sinkhorn_f64(&ctx, &problems, &options, &outputs, NULL);
    CHECK(status == KX_E_CANCELLED && c.calls == 1, "large ones in turn: %s after %d polls", kx_status_name(status),
          c.calls);
    free_problem(&p);
}

int main(void) {
    printf("test_sinkhorn, %s\n", kx_isa_name());
    test_known();
    test_sizes();
    test_ways();
    test_small_reg();
    test_scales();
    test_weights();
    test_forbidden();
    test_batches();
    test_outputs();
    test_warm_start();
    test_max_iter();
    test_rounding();
    test_statuses();
    test_memory_size();
    test_allocation();
    test_large();
    test_points();
    test_barycenter();
    test_distant_barycenter();
    test_cancel();
    return check_report();
}
