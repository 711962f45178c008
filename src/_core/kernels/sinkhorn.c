/* Entropic transport: what a problem is made of, how its solution is approached, and what is written. */
#include "kexue/kx_sinkhorn.h"

#include "isa/kernel.h"

#define KX_SINKHORN_PARAMETERS                                                                                               \
    (const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems, const kx_sinkhorn_options_t *options,                        \
     const kx_sinkhorn_outputs_t *outputs, int64_t *failed)

KX_DISPATCH(kx_transport_sinkhorn_f64, KX_SINKHORN_PARAMETERS, (ctx, problems, options, outputs, failed))
KX_DISPATCH(kx_transport_sinkhorn_f32, KX_SINKHORN_PARAMETERS, (ctx, problems, options, outputs, failed))

#ifdef KX_DISPATCH_PASS
void kx_sinkhorn_options_init(kx_sinkhorn_options_t *options) {
    options->tolerance = options->totals_tolerance = 1e-9;
    options->max_iter = 10000;
    options->method = KX_SINKHORN_AUTO;
    options->acceleration = KX_SINKHORN_ACCELERATION_AUTO;
    options->epsilon_scaling = -1;
    options->memory = 0;
    options->round_plans = 0;
}
#else

#include "kernels/sinkhorn_internal.h"

/* Costs of at most so many bytes are fetched while the problem before is looked at, 7 % of the time at 30 x 30. */
enum { AHEAD_BYTES = 1 << 16 };

/* One problem of a batch, as its arguments give it. */
typedef struct kx_sinkhorn_problem {
    int64_t m, n;
    const double *a, *b, *v, *u;
    const int64_t *row_indices, *column_indices;
    const char *M;
    ptrdiff_t row_stride;
    double reg;
    ptrdiff_t ahead; /* bytes from its costs to the next one's if these are to be fetched, or 0 */
} kx_sinkhorn_problem_t;

static const void *at_offset(const void *base, const int64_t *offsets, int64_t k) {
    return base && offsets ? (const char *)base + offsets[k] : base;
}

static kx_sinkhorn_problem_t take(const kx_sinkhorn_problems_t *all, int64_t k) {
    kx_sinkhorn_problem_t p;
    p.m = all->row_counts ? all->row_counts[k] : all->m;
    p.n = all->column_counts ? all->column_counts[k] : all->n;
    p.a = (const double *)at_offset(all->a, all->a_offsets, k);
    p.b = (const double *)at_offset(all->b, all->b_offsets, k);
    p.u = (const double *)at_offset(all->u, all->u_offsets, k);
    p.v = (const double *)at_offset(all->v, all->v_offsets, k);
    p.M = (const char *)at_offset(all->M, all->M_offsets, k);
    p.row_indices = (const int64_t *)at_offset(all->row_indices, all->a_offsets, k);
    p.column_indices = (const int64_t *)at_offset(all->column_indices, all->b_offsets, k);
    p.row_stride = all->row_strides ? all->row_strides[k] : all->row_stride;
    p.reg = *(const double *)at_offset(all->reg, all->reg_offsets, k);
    p.ahead = 0;
    if (k + 1 < all->count && all->M_offsets && p.m * p.row_stride < AHEAD_BYTES) p.ahead = all->M_offsets[k + 1] - all->M_offsets[k];
    return p;
}

/* The least and the largest finite cost; whether some are infinite, some not allowed. */
static void scan_costs(const char *M, ptrdiff_t row_stride, int64_t m, int64_t n, int is_f32, ptrdiff_t ahead, double *least,
                       double *largest, int *forbidden, int *bad) {
    const kx_f64v zero = kx_f64v_set(0);
    kx_f64v lows = kx_f64v_set(INFINITY), highs = lows, check = zero; /* highs of -cost */
    for (int64_t i = 0; i < m; i++) {
        const char *row = M + i * row_stride;
        for (int64_t j = 0; j < n; j += KX_F64_LANES) {
            /* The part of a vector at the end may start earlier, or be filled up with the first cost. */
            const int64_t at = j + KX_F64_LANES <= n || n < KX_F64_LANES ? j : n - KX_F64_LANES;
            if (ahead) kx_prefetch_far(row + at * (is_f32 ? 4 : 8) + ahead);
            kx_f64v costs;
            if (is_f32) {
                const float *p = (const float *)row + at;
                costs = n < KX_F64_LANES ? kx_f64v_load_part_f32(p, n, *p) : kx_f64v_load_f32(p);
            } else {
                const double *p = (const double *)row + at;
                costs = n < KX_F64_LANES ? kx_f64v_load_part(p, n, *p) : kx_f64v_load(p);
            }
            lows = kx_f64v_min(costs, lows);
            highs = kx_f64v_min(kx_f64v_sub(zero, costs), highs);
            check = kx_f64v_fma(costs, zero, check);
        }
    }
    double low = kx_f64v_reduce_min(lows), high = -kx_f64v_reduce_min(highs);
    if (kx_f64v_sum(check) != 0) { /* something is not finite */
        low = INFINITY, high = -INFINITY;
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                const char *row = M + i * row_stride;
                const double cost = is_f32 ? (double)((const float *)row)[j] : ((const double *)row)[j];
                *bad |= !(cost >= -DBL_MAX);
                *forbidden |= cost > DBL_MAX;
                if (cost > DBL_MAX) continue;
                low = cost < low ? cost : low;
                high = cost > high ? cost : high;
            }
    }
    *least = low;
    *largest = high;
}

static kx_status_t prepare_costs(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problem_t *p, int is_f32) {
    kx_sinkhorn_state_t *s = &arena->state;
    const int removed = s->m < p->m || s->n < p->n;
    double least, largest;
    int bad = 0;
    s->has_forbidden = 0;
    for (int64_t i = 0; i < s->m; i++)
        arena->row_index[i] = p->row_indices ? p->row_indices[arena->row_place[i]] : arena->row_place[i];
    for (int64_t j = 0; j < s->n; j++)
        arena->column_index[j] = p->column_indices ? p->column_indices[arena->column_place[j]] : arena->column_place[j];
    s->M = p->M;
    s->row_stride = p->row_stride;
    s->is_f32 = is_f32;
    if (removed || p->row_indices || p->column_indices) {
        if (!p->row_indices && !p->column_indices) {
            scan_costs(p->M, p->row_stride, p->m, p->n, is_f32, p->ahead, &least, &largest, &s->has_forbidden, &bad);
            if (bad) return KX_E_NONFINITE;
        }
        if (!arena->compact) {
            arena->compact = (double *)kx_allocate(s->ctx, (size_t)arena->largest_size * sizeof(double));
            if (!arena->compact) return KX_E_MEMORY;
        }
        for (int64_t i = 0; i < s->m; i++) {
            const char *row = p->M + arena->row_index[i] * p->row_stride;
            double *copy = arena->compact + i * s->n;
            for (int64_t j = 0; j < s->n; j++) {
                const int64_t at = arena->column_index[j];
                copy[j] = is_f32 ? (double)((const float *)row)[at] : ((const double *)row)[at];
            }
        }
        s->M = arena->compact;
        s->row_stride = s->n * (ptrdiff_t)sizeof(double);
        s->is_f32 = 0;
    }
    s->has_forbidden = 0;
    const ptrdiff_t ahead = s->M == p->M ? p->ahead : 0;
    scan_costs((const char *)s->M, s->row_stride, s->m, s->n, s->is_f32, ahead, &least, &largest, &s->has_forbidden, &bad);
    if (bad) return KX_E_NONFINITE;
    if (!(least <= largest)) return KX_E_INFEASIBLE;
    s->range = largest - least;
    if (!(s->range / p->reg <= DBL_MAX / 1e8 && 1 / p->reg <= DBL_MAX)) return KX_E_OVERFLOW;
    s->offset = least;
    return KX_OK;
}

static kx_status_t prepare(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problem_t *p, const kx_sinkhorn_options_t *options,
                           int is_f32) {
    kx_sinkhorn_state_t *s = &arena->state;
    double total_b;
    if (!(p->reg > 0 && p->reg <= DBL_MAX)) return KX_E_ARGUMENT;
    kx_status_t status = KX_KERNEL(kx_sinkhorn_take_weights)(p->a, p->m, arena->full_a, arena->row_place, &s->m, &arena->total);
    if (status == KX_OK) status = KX_KERNEL(kx_sinkhorn_take_weights)(p->b, p->n, arena->full_b, arena->column_place, &s->n, &total_b);
    if (status != KX_OK) return status;
    if (!(fabs(arena->total - total_b) <= options->totals_tolerance * (arena->total > total_b ? arena->total : total_b)))
        return KX_E_TOTALS;
    status = prepare_costs(arena, p, is_f32);
    if (status != KX_OK) return status;
    KX_KERNEL(kx_sinkhorn_set_sizes)(s, s->m, s->n);
    KX_KERNEL(kx_sinkhorn_set_weights)(arena);
    return KX_OK;
}

/* The potential of a row or column that took no part: it extends the others'. entry(i) is the cost to the others' i-th. */
static double extended_potential(const kx_sinkhorn_state_t *s, const kx_sinkhorn_problem_t *p, const int64_t *others, int64_t count,
                                 const double *weights, const double *potentials, int64_t at, int is_row, int is_f32) {
    double top = -INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t k = 0; k < count; k++) {
            const char *row = p->M + (is_row ? at : others[k]) * p->row_stride;
            const int64_t column = is_row ? others[k] : at;
            const double cost = is_f32 ? (double)((const float *)row)[column] : ((const double *)row)[column];
            const double x = potentials[k] + (s->offset - cost) * s->rate;
            if (!(cost >= -DBL_MAX)) return (double)NAN;
            if (pass == 0) top = x > top ? x : top;
            else sum += weights[k] * exp(x - top);
        }
        if (top == -INFINITY) return INFINITY; /* everything is forbidden to it */
    }
    return -(top + log(sum));
}

/* Potentials to start from, in the units of the cost. True ones differ by no more than the costs do, and by what the weights ask for: what
   is far beyond it would cost digits, and is not used. */
static kx_status_t warm_start(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problem_t *p, int *warm, int is_f32) {
    kx_sinkhorn_state_t *s = &arena->state;
    const double *from = p->v ? p->v : p->u;
    const int64_t *places = p->v ? arena->column_place : arena->row_place;
    const int64_t count = p->v ? s->n : s->m;
    double *to = p->v ? s->x : s->phi, low = INFINITY, high = -INFINITY;
    for (int64_t k = 0; k < count; k++) {
        const double potential = from[places[k]];
        if (!(fabs(potential) <= DBL_MAX)) return KX_E_NONFINITE;
        low = potential < low ? potential : low;
        high = potential > high ? potential : high;
    }
    if (!(high - low <= 2 * s->range + 300 * p->reg)) return KX_OK;
    *warm = 1;
    for (int64_t k = 0; k < count; k++) to[k] = (from[places[k]] - high) / p->reg;
    s->rate = 1 / p->reg;
    for (int64_t j = 0; !p->v && j < s->n; j++)
        s->x[j] = extended_potential(s, p, arena->row_index, s->m, s->a, s->phi, arena->column_index[j], 0, is_f32);
    return KX_OK;
}

/* ---- what is written ---- */

/* Potentials of all points in the units of the cost, their dual value and its distance from the plan's. */
static kx_status_t write_potentials(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problem_t *p, int extend, double *value, double *gap,
                             int is_f32) {
    kx_sinkhorn_state_t *s = &arena->state;
    double *u = arena->full_u, *v = arena->full_v;
    double value_u = 0, value_v = 0;
    int64_t taken = 0;
    for (int64_t i = 0; i < p->m; i++) {
        if (taken < s->m && arena->row_place[taken] == i) {
            u[i] = s->phi[taken];
            value_u += s->a[taken++] * u[i];
        } else if (extend) {
            const int64_t at = p->row_indices ? p->row_indices[i] : i;
            u[i] = extended_potential(s, p, arena->column_index, s->n, s->b, s->x, at, 1, is_f32);
        }
    }
    taken = 0;
    *gap = 0;
    for (int64_t j = 0; j < p->n; j++) {
        if (taken < s->n && arena->column_place[taken] == j) {
            v[j] = s->x[taken];
            value_v += s->b[taken] * v[j];
            *gap += (s->s[taken] * s->q[taken] - s->b[taken]) * v[j];
            taken++;
        } else if (extend) {
            const int64_t at = p->column_indices ? p->column_indices[j] : j;
            v[j] = extended_potential(s, p, arena->row_index, s->m, s->a, s->phi, at, 0, is_f32);
        }
    }
    /* exp((u + v - M) / reg) a b is the plan of the caller's weights, whose product is the square of their total. */
    const double both = s->offset - p->reg * log(arena->total);
    const double balance = p->reg * (value_v - value_u) / 2;
    for (int64_t i = 0; extend && i < p->m; i++) u[i] = p->reg * u[i] + (both / 2 + balance);
    for (int64_t j = 0; extend && j < p->n; j++) v[j] = p->reg * v[j] + (both / 2 - balance);
    *value = arena->total * (p->reg * (value_u + value_v) + both);
    *gap *= arena->total * p->reg;
    int bad = 0; /* the costs of what takes no part had not been looked at */
    for (int64_t i = 0; extend && i < p->m; i++) bad |= u[i] != u[i];
    for (int64_t j = 0; extend && j < p->n; j++) bad |= v[j] != v[j];
    return bad ? KX_E_NONFINITE : KX_OK;
}

/* Plan entries as doubles, whatever they are stored as. */
static inline double plan_get(const void *plan, int64_t at, int is_f32) {
    return is_f32 ? (double)((const float *)plan)[at] : ((const double *)plan)[at];
}
static inline void plan_set(void *plan, int64_t at, int is_f32, double value) {
    if (is_f32) ((float *)plan)[at] = (float)value;
    else ((double *)plan)[at] = value;
}

/* Moves the plan onto the marginals: rows and then columns that have too much are scaled down, and what is missing is laid on as a
   product. full_u and full_v are free by now. Returns <P, M>. */
static double round_plan(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problem_t *p, void *plan, int is_f32) {
    double *missing_a = arena->full_u, *missing_b = arena->full_v, missing = 0, cost = 0;
    for (int64_t j = 0; j < p->n; j++) missing_b[j] = 0;
    for (int64_t i = 0; i < p->m; i++) {
        double sum = 0, wanted = arena->full_a[i] * arena->total;
        for (int64_t j = 0; j < p->n; j++) sum += plan_get(plan, i * p->n + j, is_f32);
        const double share = sum > wanted ? wanted / sum : 1;
        for (int64_t j = 0; j < p->n; j++) {
            const double mass = share * plan_get(plan, i * p->n + j, is_f32);
            plan_set(plan, i * p->n + j, is_f32, mass);
            missing_b[j] += mass;
        }
    }
    for (int64_t j = 0; j < p->n; j++) {
        const double wanted = arena->full_b[j] * arena->total;
        missing_b[j] = missing_b[j] > wanted ? wanted / missing_b[j] : 1;
    }
    for (int64_t i = 0; i < p->m; i++) {
        double sum = 0;
        for (int64_t j = 0; j < p->n; j++) {
            const double mass = missing_b[j] * plan_get(plan, i * p->n + j, is_f32);
            plan_set(plan, i * p->n + j, is_f32, mass);
            sum += mass;
        }
        missing_a[i] = arena->full_a[i] * arena->total - sum;
        missing_a[i] = missing_a[i] > 0 ? missing_a[i] : 0;
        missing += missing_a[i];
    }
    for (int64_t j = 0; j < p->n; j++) missing_b[j] = 0;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < p->n; j++) missing_b[j] += plan_get(plan, i * p->n + j, is_f32);
    for (int64_t j = 0; j < p->n; j++) {
        missing_b[j] = arena->full_b[j] * arena->total - missing_b[j];
        missing_b[j] = missing_b[j] > 0 ? missing_b[j] : 0;
    }
    for (int64_t i = 0; i < p->m; i++) {
        const double share = missing > 0 ? missing_a[i] / missing : 0;
        const char *row = p->M + (p->row_indices ? p->row_indices[i] : i) * p->row_stride;
        double row_cost = 0;
        for (int64_t j = 0; j < p->n; j++) {
            const int64_t at = p->column_indices ? p->column_indices[j] : j;
            const double mass = plan_get(plan, i * p->n + j, is_f32) + share * missing_b[j];
            plan_set(plan, i * p->n + j, is_f32, mass);
            if (mass > 0) row_cost += mass * (is_f32 ? (double)((const float *)row)[at] : ((const double *)row)[at]);
        }
        cost += row_cost;
    }
    return cost;
}

static kx_status_t solve_one(kx_sinkhorn_arena_t *arena, const kx_sinkhorn_problems_t *problems, int64_t k,
                             const kx_sinkhorn_options_t *options, const kx_sinkhorn_outputs_t *outputs, int is_f32) {
    kx_sinkhorn_state_t *s = &arena->state;
    const kx_sinkhorn_problem_t p = take(problems, k);
    int64_t iterations;
    kx_status_t status = prepare(arena, &p, options, is_f32);
    if (status != KX_OK) return status;
    if (options->round_plans && s->has_forbidden) return KX_E_ARGUMENT;
    int warm = 0;
    if (p.u || p.v) status = warm_start(arena, &p, &warm, is_f32);
    if (status != KX_OK) return status;
    const kx_status_t ended = KX_KERNEL(kx_sinkhorn_solve)(arena, p.reg, warm, options, &iterations);
    if (ended < KX_OK) return ended;
    double value = 0, gap = 0, cost = 0;
    if (outputs->values || outputs->gaps || outputs->u || outputs->v) {
        KX_KERNEL(kx_sinkhorn_read_scalings)(s);
        KX_KERNEL(kx_sinkhorn_row_potentials)(s);
        status = write_potentials(arena, &p, outputs->u || outputs->v, &value, &gap, is_f32);
        if (status != KX_OK) return status;
    }
    const int64_t u_at = outputs->u_offsets ? outputs->u_offsets[k] : k * p.m;
    const int64_t v_at = outputs->v_offsets ? outputs->v_offsets[k] : k * p.n;
    if (outputs->u) memcpy(outputs->u + u_at, arena->full_u, (size_t)p.m * sizeof(double));
    if (outputs->v) memcpy(outputs->v + v_at, arena->full_v, (size_t)p.n * sizeof(double));
    if (outputs->plans || outputs->costs) {
        void *plan = NULL;
        if (outputs->plans) {
            const int64_t at = outputs->plan_offsets ? outputs->plan_offsets[k] : k * p.m * p.n;
            plan = is_f32 ? (void *)((float *)outputs->plans + at) : (void *)((double *)outputs->plans + at);
            if (s->m < p.m || s->n < p.n) memset(plan, 0, (size_t)(p.m * p.n) * (is_f32 ? sizeof(float) : sizeof(double)));
        }
        for (int64_t i = 0; i < s->m; i++) s->w[i] *= arena->total;
        const kx_sinkhorn_forming_t forming = {s, plan, is_f32, outputs->costs != NULL, p.n, s->m < p.m ? arena->row_place : NULL,
                                               s->n < p.n ? arena->column_place : NULL, arena->block_costs};
        status = KX_KERNEL(kx_sinkhorn_form)(&forming, &cost);
        if (status != KX_OK) return status;
        if (plan && options->round_plans) cost = round_plan(arena, &p, plan, is_f32);
    }
    if (!(fabs(value) <= DBL_MAX && fabs(cost) <= DBL_MAX)) return KX_E_OVERFLOW;
    if (outputs->costs) outputs->costs[k] = cost;
    if (outputs->values) outputs->values[k] = value;
    if (outputs->gaps) outputs->gaps[k] = gap;
    if (outputs->errors) outputs->errors[k] = s->error;
    if (outputs->iterations) outputs->iterations[k] = iterations;
    if (outputs->statuses) outputs->statuses[k] = (int32_t)ended;
    return ended;
}

kx_status_t KX_KERNEL(kx_sinkhorn_solve_cost)(kx_sinkhorn_arena_t *arena, const double *a, const double *b, const double *costs,
                                              int64_t m, int64_t n, double reg, const kx_sinkhorn_options_t *options, double *cost) {
    kx_sinkhorn_problems_t problem = {1, m, n, NULL, NULL, a, b, costs, &reg, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
                                      n * (ptrdiff_t)sizeof(double), NULL, NULL, NULL};
    kx_sinkhorn_outputs_t outputs = {0};
    outputs.costs = cost;
    return solve_one(arena, &problem, 0, options, &outputs, 0);
}

typedef struct kx_sinkhorn_batch {
    const kx_ctx_t *ctx;
    const kx_sinkhorn_problems_t *problems;
    const kx_sinkhorn_options_t *options;
    const kx_sinkhorn_outputs_t *outputs;
    kx_sinkhorn_arena_t *arenas; /* one a worker, made at its first problem */
    int64_t *first_failed;       /* one a worker */
    int64_t inner_workers, largest_size;
    size_t bytes;
    int is_f32;
} kx_sinkhorn_batch_t;

static kx_status_t solve_problems(const kx_sinkhorn_batch_t *batch, int worker, int64_t begin, int64_t end) {
    kx_sinkhorn_arena_t *arena = &batch->arenas[worker];
    if (!arena->block) {
        char *block = (char *)kx_allocate(batch->ctx, batch->bytes);
        if (!block) return KX_E_MEMORY;
        KX_KERNEL(kx_sinkhorn_arena_cut)(arena, batch->problems->m, batch->problems->n, batch->largest_size, batch->inner_workers,
                                         batch->options, block);
        arena->state.ctx = batch->ctx;
    }
    kx_status_t worst = KX_OK;
    for (int64_t k = begin; k < end; k++) {
        kx_status_t status = solve_one(arena, batch->problems, k, batch->options, batch->outputs, batch->is_f32);
        if (status < KX_OK) {
            if (status != KX_E_CANCELLED) batch->first_failed[worker] = k;
            return status;
        }
        worst = status > worst ? status : worst;
    }
    return worst;
}

static kx_status_t solve_range(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    if (kx_task_should_stop(task)) return KX_E_CANCELLED;
    return solve_problems((const kx_sinkhorn_batch_t *)arg, kx_task_worker(task), begin, end);
}

static kx_status_t sinkhorn(const kx_ctx_t *ctx, const kx_sinkhorn_problems_t *problems, const kx_sinkhorn_options_t *options,
                            const kx_sinkhorn_outputs_t *outputs, int64_t *failed, int is_f32) {
    if (failed) *failed = -1;
    if (!problems || !options || !outputs || !problems->M || !problems->reg || problems->count < 0) return KX_E_ARGUMENT;
    const int64_t m = problems->m, n = problems->n, count = problems->count;
    if (m < 1 || n < 1 || !kx_sinkhorn_options_sound(options)) return KX_E_ARGUMENT;
    if (m > INT32_MAX / 4 || n > INT32_MAX / 4) return KX_E_OVERFLOW;
    kx_sinkhorn_arena_t shape;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    /* The grain keeps a chunk above some 20 microseconds. Large problems that are fewer than the workers run one after the
       other, each on all of them. */
    const int64_t grain = 1 + 4096 / (m * n + 1);
    const int inside = m * n >= 2 * KX_SINKHORN_BLOCK && count < 2 * workers;
    kx_sinkhorn_batch_t batch = {ctx, problems, options, outputs, NULL, NULL, inside ? workers : 1, 0, 0, is_f32};
    for (int64_t k = 0; k < (problems->row_counts ? count : 1); k++) {
        const kx_sinkhorn_problem_t p = problems->row_counts ? take(problems, k) : (kx_sinkhorn_problem_t){.m = m, .n = n};
        if (p.m < 0 || p.n < 0 || p.m > m || p.n > n) return KX_E_ARGUMENT;
        const int64_t size = kx_sinkhorn_kernel_size(p.m > 0 ? p.m : 1, p.n > 0 ? p.n : 1);
        if (size < 1) return KX_E_OVERFLOW;
        batch.largest_size = size > batch.largest_size ? size : batch.largest_size;
    }
    batch.bytes = KX_KERNEL(kx_sinkhorn_arena_cut)(&shape, m, n, batch.largest_size, batch.inner_workers, options, NULL);
    if (batch.bytes == 0) return KX_E_OVERFLOW;
    if (inside) workers = 1;
    if (workers > count / grain + 1) workers = count / grain + 1;
    const size_t each = sizeof(kx_sinkhorn_arena_t) + sizeof(int64_t);
    char *block = (char *)kx_allocate(ctx, (size_t)workers * each);
    if (!block) return KX_E_MEMORY;
    memset(block, 0, (size_t)workers * each);
    batch.arenas = (kx_sinkhorn_arena_t *)block;
    batch.first_failed = (int64_t *)(block + (size_t)workers * sizeof(kx_sinkhorn_arena_t));
    for (int64_t w = 0; w < workers; w++) batch.first_failed[w] = -1;
    kx_status_t status = inside ? solve_problems(&batch, 0, 0, count) : kx_parallel_for(ctx, count, grain, solve_range, &batch);
    int64_t lowest = -1;
    for (int64_t w = 0; w < workers; w++) {
        const int64_t k = batch.first_failed[w];
        if (k >= 0 && (lowest < 0 || k < lowest)) lowest = k;
        KX_KERNEL(kx_sinkhorn_arena_release)(ctx, &batch.arenas[w]);
        kx_release(ctx, batch.arenas[w].block);
    }
    if (failed && lowest >= 0) *failed = lowest;
    kx_release(ctx, block);
    return status;
}

kx_status_t KX_KERNEL(kx_transport_sinkhorn_f64) KX_SINKHORN_PARAMETERS {
    return sinkhorn(ctx, problems, options, outputs, failed, 0);
}
kx_status_t KX_KERNEL(kx_transport_sinkhorn_f32) KX_SINKHORN_PARAMETERS {
    return sinkhorn(ctx, problems, options, outputs, failed, 1);
}
#endif
