/* Entropic transport: marginals, the plan of the potentials, weak duality, and the plainest of solvers in the log domain beside it; every method
   and acceleration. */
#include "fuzz.h"
#include "kexue/kexue.h"

enum { MOST = 6, PASSES = 200, METHODS = 4, ACCELERATIONS = 5 };

typedef struct problem {
    int m, n;
    double *a, *b, *M, reg;
} problem_t;

static double log_sum_exp(const double *x, int count) {
    double largest = -(double)INFINITY, sum = 0;
    for (int k = 0; k < count; k++) largest = x[k] > largest ? x[k] : largest;
    if (largest == -(double)INFINITY) return largest;
    for (int k = 0; k < count; k++) sum += exp(x[k] - largest);
    return largest + log(sum);
}

/* Plain sweeps; returns the L1 error of the columns, and the plan's cost. */
static double reference(const problem_t *p, double *cost) {
    double f[MOST] = {0}, g[MOST] = {0}, terms[MOST], error = (double)INFINITY;
    for (int pass = 0; pass < PASSES && error > 1e-13; pass++) {
        for (int j = 0; j < p->n; j++) {
            for (int i = 0; i < p->m; i++) terms[i] = p->a[i] > 0 ? log(p->a[i]) + f[i] - p->M[i * p->n + j] / p->reg : -(double)INFINITY;
            g[j] = -log_sum_exp(terms, p->m);
        }
        for (int i = 0; i < p->m; i++) {
            for (int j = 0; j < p->n; j++) terms[j] = p->b[j] > 0 ? log(p->b[j]) + g[j] - p->M[i * p->n + j] / p->reg : -(double)INFINITY;
            f[i] = -log_sum_exp(terms, p->n);
        }
        if (pass % 8 != 7) continue;
        error = *cost = 0;
        for (int j = 0; j < p->n; j++) {
            double sum = 0;
            for (int i = 0; i < p->m; i++) {
                const double M = p->M[i * p->n + j], mass = p->a[i] > 0 && p->b[j] > 0 ? p->a[i] * p->b[j] * exp(f[i] + g[j] - M / p->reg) : 0;
                sum += mass;
                if (mass > 0) *cost += mass * M;
            }
            error += fabs(sum - p->b[j]);
        }
    }
    return error;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input_t in = {data, size, 0};
    problem_t p;
    p.m = 1 + fuzz_below(&in, MOST), p.n = 1 + fuzz_below(&in, MOST);
    const int m = p.m, n = p.n;
    const unsigned flags = fuzz_byte(&in);
    const int single = flags & 1, holes = (flags & 6) == 6, wild = (flags & 0x38) == 0x38; /* forbidden arcs; numbers of any bits */
    const fuzz_range_t weight_range = (flags & 0x40) ? FUZZ_SMALL_INTEGERS : FUZZ_UNIFORM;
    const fuzz_range_t cost_range = (flags & 0x80) ? FUZZ_SMALL_INTEGERS : FUZZ_UNIFORM;
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.method = fuzz_below(&in, METHODS), options.acceleration = fuzz_below(&in, ACCELERATIONS);
    options.epsilon_scaling = fuzz_below(&in, 3) - 1, options.memory = fuzz_below(&in, 21);
    options.round_plans = fuzz_below(&in, 4) == 0;
    options.max_iter = 1 + 4 * fuzz_byte(&in);
    p.reg = ldexp(1 + (double)fuzz_byte(&in) / 256, fuzz_below(&in, 12) - 8) * (cost_range == FUZZ_SMALL_INTEGERS ? 7 : 1);
    p.a = fuzz_block((size_t)m, sizeof(double)), p.b = fuzz_block((size_t)n, sizeof(double));
    p.M = fuzz_block((size_t)(m * n), sizeof(double));
    float *M32 = fuzz_block((size_t)(m * n), sizeof *M32);
    double total_a = 0, total_b = 0, range_low = (double)INFINITY, range_high = -(double)INFINITY;
    int forbidden = 0;
    for (int i = 0; i < m; i++) total_a += p.a[i] = fuzz_number(&in, weight_range);
    for (int j = 0; j < n; j++) total_b += p.b[j] = fuzz_number(&in, weight_range);
    for (int i = 0; i < m && total_a > 0; i++) p.a[i] /= total_a;
    for (int j = 0; j < n && total_b > 0; j++) p.b[j] /= total_b;
    for (int k = 0; k < m * n; k++) {
        double cost = fuzz_number(&in, cost_range) - (cost_range == FUZZ_UNIFORM ? 0.25 : 2);
        if (holes && fuzz_below(&in, 4) == 0) cost = (double)INFINITY, forbidden = 1;
        M32[k] = (float)cost, p.M[k] = single ? (double)M32[k] : cost;
        if (isfinite(cost)) range_low = fmin(range_low, p.M[k]), range_high = fmax(range_high, p.M[k]);
    }
    int damaged = 0;
    if (wild) { /* one number that can be anything */
        damaged = 1;
        const int which = fuzz_below(&in, 4), at = (int)fuzz_byte(&in);
        const double value = fuzz_number(&in, FUZZ_ANY_BITS);
        if (which == 0) p.a[at % m] = value;
        else if (which == 1) p.b[at % n] = value;
        else if (which == 2) p.reg = value;
        else M32[at % (m * n)] = fabs(value) <= (double)FLT_MAX || !isfinite(value) ? (float)value : 0, p.M[at % (m * n)] = value;
    }

    double cost = NAN, value = NAN, gap = NAN, error = NAN;
    double *u = fuzz_block((size_t)m, sizeof *u), *v = fuzz_block((size_t)n, sizeof *v), *plan = fuzz_block((size_t)(m * n), sizeof *plan);
    float *plan32 = fuzz_block((size_t)(m * n), sizeof *plan32);
    int64_t iterations = -1, failed = -7;
    int32_t ended = -99;
    kx_sinkhorn_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = &cost, outputs.values = &value, outputs.gaps = &gap, outputs.errors = &error, outputs.u = u, outputs.v = v;
    outputs.plans = single ? (void *)plan32 : (void *)plan, outputs.iterations = &iterations, outputs.statuses = &ended;
    kx_sinkhorn_problems_t problems;
    memset(&problems, 0, sizeof problems);
    problems.count = 1, problems.m = m, problems.n = n, problems.a = p.a, problems.b = p.b, problems.reg = &p.reg;
    problems.M = single ? (const void *)M32 : (const void *)p.M;
    problems.row_stride = n * (ptrdiff_t)(single ? sizeof(float) : sizeof(double));
    const kx_status_t status = single ? kx_transport_sinkhorn_f32(NULL, &problems, &options, &outputs, &failed)
                                      : kx_transport_sinkhorn_f64(NULL, &problems, &options, &outputs, &failed);

    if (status < KX_OK) {
        const int is_empty = total_a == 0 || total_b == 0;
        FUZZ_CHECK(status != KX_E_INTERNAL && status != KX_E_MEMORY && status != KX_E_CANCELLED, "%s", kx_status_name(status));
        FUZZ_CHECK(damaged || (status == KX_E_EMPTY && is_empty) || (status == KX_E_INFEASIBLE && forbidden) ||
                       (status == KX_E_OVERFLOW && options.method == KX_SINKHORN_KERNEL) ||
                       (status == KX_E_ARGUMENT && options.round_plans && forbidden),
                   "%s without a cause", kx_status_name(status));
        goto done;
    }
    FUZZ_CHECK((status == KX_OK || status == KX_W_MAXITER) && ended == (int32_t)status && failed == -1, "%s", kx_status_name(status));
    FUZZ_CHECK(isfinite(cost) && isfinite(value) && error >= 0 && !isnan(gap), "cost %g, value %g, error %g, gap %g", cost, value, error, gap);
    for (int k = 0; single && k < m * n; k++) plan[k] = (double)plan32[k];
    for (int k = 0; k < m * n; k++) FUZZ_CHECK(plan[k] >= 0 && isfinite(plan[k]), "mass %g", plan[k]);
    if (status == KX_OK) FUZZ_CHECK(error <= options.tolerance * (1 + 1e-9), "converged with an error of %g", error);
    if (damaged) goto done;

    /* marginals: rows exact, columns to the error that is told; both exact after rounding */
    const double precision = (single ? 8 * (double)FLT_EPSILON : 1e-13), reached = precision + (options.round_plans ? 0 : error * (1 + 1e-6));
    const double exponents = (single ? 4 * (double)FLT_EPSILON : 0) + 64 * DBL_EPSILON * (8 + 40 * (range_high - range_low + fabs(range_high)) / p.reg);
    double apart = 0, linear = 0, dual = 0;
    for (int i = 0; i < m; i++) {
        double sum = 0;
        for (int j = 0; j < n; j++) {
            const double mass = plan[i * n + j], M = p.M[i * n + j];
            sum += mass;
            FUZZ_CHECK(!(mass > 0 && M == (double)INFINITY), "%g on a forbidden arc", mass);
            if (mass > 0) linear += mass * M;
            if (!options.round_plans && p.a[i] > 0 && p.b[j] > 0 && M < (double)INFINITY) {
                const double wanted = p.a[i] * p.b[j] * exp((u[i] + v[j] - M) / p.reg);
                const double rounding = exponents + 64 * DBL_EPSILON * (fabs(u[i]) + fabs(v[j])) / p.reg;
                FUZZ_CHECK(fabs(mass - wanted) <= rounding * wanted + (options.method == KX_SINKHORN_KERNEL ? 1e-20 : 1e-40),
                           "mass %.17g at %d, %d, of the potentials %.17g", mass, i, j, wanted);
            }
        }
        FUZZ_CHECK(fabs(sum - p.a[i]) <= precision + exponents, "row %d sums to %.17g, not %.17g", i, sum, p.a[i]);
        if (p.a[i] > 0) dual += p.a[i] * u[i];
    }
    for (int j = 0; j < n; j++) {
        double sum = 0;
        for (int i = 0; i < m; i++) sum += plan[i * n + j];
        apart += fabs(sum - p.b[j]);
        if (p.b[j] > 0) dual += p.b[j] * v[j];
    }
    const double scale = fabs(range_low) + fabs(range_high) + p.reg;
    FUZZ_CHECK(apart <= n * (precision + exponents) + reached, "columns are off by %g, told %g", apart, error);
    FUZZ_CHECK(fabs(linear - cost) <= scale * m * n * (precision + exponents), "cost %.17g, of the plan %.17g", cost, linear);
    FUZZ_CHECK(fabs(dual - value) <= 1e-11 * scale + 40 * scale * error + p.reg * 1e-9, "value %.17g, of the potentials %.17g", value, dual);

    double plain = 0;
    if (status == KX_OK && !forbidden && total_a > 0 && (range_high - range_low) <= 32 * p.reg) {
        const double left = reference(&p, &plain);
        if (left < 1e-11) FUZZ_CHECK(fabs(plain - cost) <= 1e-6 * scale, "cost %.17g, by plain sweeps %.17g", cost, plain);
    }
done:
    free(p.a), free(p.b), free(p.M), free(M32), free(u), free(v), free(plan), free(plan32);
    return 0;
}
