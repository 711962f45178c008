/* The passes of Sinkhorn's algorithm: both halves of an iteration in one reading of the kernel, or of the costs. */
#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/sinkhorn_internal.h"

/* Costs j .. of a row of n; beyond n they are infinite. */
static KX_ALWAYS_INLINE kx_f64v load_costs(const void *row, int64_t j, int64_t n, int is_f32) {
    const int64_t left = n - j;
    if (is_f32) {
        const float *p = (const float *)row + j;
        return left >= KX_F64_LANES ? kx_f64v_load_f32(p) : kx_f64v_load_part_f32(p, left, INFINITY);
    }
    const double *p = (const double *)row + j;
    return left >= KX_F64_LANES ? kx_f64v_load(p) : kx_f64v_load_part(p, left, INFINITY);
}

/* Costs of rows i .. i + 3 from the points, as sums of squared differences: a row of differences is exact where points are equal, which
   the product form |x|^2 + |y|^2 - 2 x.y is not. */
static void generate_costs(const kx_sinkhorn_state_t *state, int64_t i, double *costs) {
    const int64_t stride = state->stride, dimension = state->dimension, last = state->m - 1;
    const double *x[KX_SINKHORN_GROUP];
    const kx_f64v factor = kx_f64v_set(state->cost_factor);
    for (int r = 0; r < KX_SINKHORN_GROUP; r++) x[r] = state->x_points + (i + r < last ? i + r : last) * dimension;
    for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
        kx_f64v sum[KX_SINKHORN_GROUP];
        for (int r = 0; r < KX_SINKHORN_GROUP; r++) sum[r] = kx_f64v_set(0);
        for (int64_t k = 0; k < dimension; k++) {
            const kx_f64v y = kx_f64v_load(state->y_points + k * stride + j);
            for (int r = 0; r < KX_SINKHORN_GROUP; r++) {
                const kx_f64v difference = kx_f64v_sub(y, kx_f64v_set(x[r][k]));
                sum[r] = kx_f64v_fma(difference, difference, sum[r]);
            }
        }
        for (int r = 0; r < KX_SINKHORN_GROUP; r++) {
            const kx_f64v cost = kx_f64v_mul(sum[r], factor);
            kx_f64v_store(costs + r * stride + j, state->take_root ? kx_f64v_sqrt(cost) : cost);
        }
    }
}

/* exp of the exponents of a row of costs at z, less the top one, in e; entries below the floor are 0. Returns the top: the largest, or
   the bound `top` where the exponents are all so near to it that none is below the floor. */
static KX_ALWAYS_INLINE double make_row(const kx_sinkhorn_state_t *state, const void *row, double *e, double top, int is_f32) {
    const int64_t stride = state->stride, n = state->n;
    const kx_f64v offset = kx_f64v_set(state->offset), rate = kx_f64v_set(state->rate), zero = kx_f64v_set(0);
    if (isfinite(top)) {
        const kx_f64v tops = kx_f64v_set(top);
        for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
            const kx_f64v z = kx_f64v_sub(kx_f64v_load(state->z + j), tops);
            const kx_f64v x = kx_f64v_fma(kx_f64v_sub(offset, load_costs(row, j, n, is_f32)), rate, z);
            kx_f64v_store(e + j, kx_f64v_exp(x));
        }
        return top;
    }
    kx_f64v lowest = kx_f64v_set(INFINITY); /* of -x */
    for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
        const kx_f64v costs = load_costs(row, j, n, is_f32);
        const kx_f64v x = kx_f64v_fma(kx_f64v_sub(offset, costs), rate, kx_f64v_load(state->z + j));
        lowest = kx_f64v_min(kx_f64v_sub(zero, x), lowest);
        kx_f64v_store(e + j, x);
    }
    top = -kx_f64v_reduce_min(lowest);
    if (!(top > -INFINITY)) return top;
    const kx_f64v tops = kx_f64v_set(top), least = kx_f64v_set(KX_SINKHORN_FLOOR);
    for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
        const kx_f64v x = kx_f64v_sub(kx_f64v_load(e + j), tops);
        kx_f64v_store(e + j, kx_f64v_select(kx_f64v_less(x, least), zero, kx_f64v_exp(x)));
    }
    return top;
}

/* Rows [begin, end) of a kernel of V vectors a row; V is a constant where the sums are to stay in registers (30 x 30: 55 ns a pass
   for 85), else 0. With `make` the rows are made first, in the kernel or, without one, in scratch. */
static KX_ALWAYS_INLINE kx_status_t run_rows(const kx_sinkhorn_state_t *state, int64_t begin, int64_t end, kx_task_t *task,
                                             double *sums, int V, int make) {
    const int worker = task ? kx_task_worker(task) : 0;
    const int64_t stride = V ? V * KX_F64_LANES : state->stride;
    const double *q = state->q;
    double *scratch = state->scratch + worker * KX_SINKHORN_GROUP * stride;
    double *generated = state->M || !make ? NULL : state->generated + worker * KX_SINKHORN_GROUP * stride;
    kx_f64v held[4];
    for (int k = 0; k < V; k++) held[k] = kx_f64v_set(0);
    if (!V) memset(sums, 0, (size_t)stride * sizeof *sums);
    for (int64_t i = begin; i < end; i += KX_SINKHORN_GROUP) {
        double *k0 = state->K ? state->K + i * stride : scratch, *k1 = k0 + stride, *k2 = k1 + stride, *k3 = k2 + stride;
        if (task && i / KX_SINKHORN_GROUP % 16 == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        if (make) {
            if (!state->M) generate_costs(state, i, generated);
            for (int64_t k = i; k < i + KX_SINKHORN_GROUP; k++) {
                double *e = k0 + (k - i) * stride;
                if (k >= state->m) {
                    for (int64_t j = 0; j < stride; j++) e[j] = 1;
                    continue;
                }
                const void *row = state->M ? (const char *)state->M + k * state->row_stride : (const char *)(generated + (k - i) * stride);
                const double top = state->is_f32 ? make_row(state, row, e, state->common_top, 1)
                                                 : make_row(state, row, e, state->common_top, 0);
                if (!(top > -INFINITY)) return KX_E_INFEASIBLE;
                state->row_top[k] = top;
            }
        }
        kx_f64v t0 = kx_f64v_set(0), t1 = t0, t2 = t0, t3 = t0;
        for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
            const kx_f64v qj = kx_f64v_load(q + j);
            t0 = kx_f64v_fma(kx_f64v_load(k0 + j), qj, t0);
            t1 = kx_f64v_fma(kx_f64v_load(k1 + j), qj, t1);
            t2 = kx_f64v_fma(kx_f64v_load(k2 + j), qj, t2);
            t3 = kx_f64v_fma(kx_f64v_load(k3 + j), qj, t3);
        }
        double *t = state->t + i, *w = state->w + i;
        const double *a = state->a + i;
        kx_f64v_sum4_divide(t, w, a, t0, t1, t2, t3);
        const kx_f64v w0 = kx_f64v_set(w[0]), w1 = kx_f64v_set(w[1]), w2 = kx_f64v_set(w[2]), w3 = kx_f64v_set(w[3]);
        for (int64_t j = 0; j < stride; j += KX_F64_LANES) {
            kx_f64v sum = V ? held[j / KX_F64_LANES] : kx_f64v_load(sums + j);
            sum = kx_f64v_fma(kx_f64v_load(k0 + j), w0, sum);
            sum = kx_f64v_fma(kx_f64v_load(k1 + j), w1, sum);
            sum = kx_f64v_fma(kx_f64v_load(k2 + j), w2, sum);
            sum = kx_f64v_fma(kx_f64v_load(k3 + j), w3, sum);
            if (V) held[j / KX_F64_LANES] = sum;
            else kx_f64v_store(sums + j, sum);
        }
    }
    for (int k = 0; k < V; k++) kx_f64v_store(sums + k * KX_F64_LANES, held[k]);
    return KX_OK;
}

static kx_status_t pass_blocks(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sinkhorn_state_t *state = (const kx_sinkhorn_state_t *)arg;
    kx_status_t status = KX_OK;
    for (int64_t block = begin; block < end && status == KX_OK; block++) {
        const int64_t first = block * state->block_rows;
        const int64_t last = first + state->block_rows < state->rows ? first + state->block_rows : state->rows;
        double *sums = state->partial + block * state->stride;
        status = state->making ? run_rows(state, first, last, task, sums, 0, 1)
                               : run_rows(state, first, last, task, sums, 0, 0);
    }
    return status;
}

static kx_status_t run_pass(kx_sinkhorn_state_t *state, int make) {
    kx_status_t status;
    state->making = make;
    if (state->blocks > 1) {
        status = kx_parallel_for(state->ctx, state->blocks, 1, pass_blocks, state);
        if (status != KX_OK) return status;
        for (int64_t j = 0; j < state->stride; j += KX_F64_LANES) {
            kx_f64v sum = kx_f64v_load(state->partial + j);
            for (int64_t block = 1; block < state->blocks; block++)
                sum = kx_f64v_add(sum, kx_f64v_load(state->partial + block * state->stride + j));
            kx_f64v_store(state->s + j, sum);
        }
    } else if (make) {
        status = run_rows(state, 0, state->rows, NULL, state->s, 0, 1);
    } else {
        switch (state->stride / KX_F64_LANES) {
            case 1: status = run_rows(state, 0, state->rows, NULL, state->s, 1, 0); break;
            case 2: status = run_rows(state, 0, state->rows, NULL, state->s, 2, 0); break;
            case 3: status = run_rows(state, 0, state->rows, NULL, state->s, 3, 0); break;
            case 4: status = run_rows(state, 0, state->rows, NULL, state->s, 4, 0); break;
            default: status = run_rows(state, 0, state->rows, NULL, state->s, 0, 0);
        }
    }
    for (int64_t j = state->n; j < state->stride; j++) state->s[j] = 1;
    return status;
}

kx_status_t KX_KERNEL(kx_sinkhorn_pass)(kx_sinkhorn_state_t *state) { return run_pass(state, 0); }

kx_status_t KX_KERNEL(kx_sinkhorn_absorb)(kx_sinkhorn_state_t *state) {
    kx_f64v lowest = kx_f64v_set(INFINITY), highest = lowest; /* highest of -z */
    for (int64_t j = 0; j < state->stride; j += KX_F64_LANES) {
        const kx_f64v x = kx_f64v_load(state->x + j), z = kx_f64v_add(x, kx_f64v_load(state->log_b + j));
        kx_f64v_store(state->z + j, z);
        kx_f64v_store(state->x_absorbed + j, x);
        kx_f64v_store(state->q + j, kx_f64v_set(1));
        lowest = kx_f64v_min(z, lowest);
        highest = kx_f64v_min(kx_f64v_sub(kx_f64v_set(0), z), highest);
    }
    const double low = kx_f64v_reduce_min(lowest), high = -kx_f64v_reduce_min(highest);
    /* NaN: each row finds its own. The search and a second look at the row are half of the price of making it at 30 x 30. */
    const int near = high - low + state->range * state->rate < -KX_SINKHORN_FLOOR - 40;
    state->common_top = near && !state->has_forbidden ? high : NAN;
    return run_pass(state, 1);
}

void KX_KERNEL(kx_sinkhorn_row_potentials)(kx_sinkhorn_state_t *state) {
    for (int64_t i = 0; i < state->rows; i += KX_F64_LANES) {
        const kx_f64v phi = kx_f64v_add(kx_f64v_load(state->row_top + i), kx_f64v_log(kx_f64v_load(state->t + i)));
        kx_f64v_store(state->phi + i, kx_f64v_sub(kx_f64v_set(0), phi));
    }
}

double KX_KERNEL(kx_sinkhorn_column_log_sum)(const kx_sinkhorn_state_t *state, const double *log_shares, int64_t j) {
    double top = -INFINITY, sum = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < state->m; i++) {
            const double x = (state->offset - kx_sinkhorn_cost(state, i, j)) * state->rate + state->x[j] + state->log_b[j] + log_shares[i];
            if (pass == 0) top = x > top ? x : top;
            else sum += exp(x - top);
            if (pass == 1 && top == -INFINITY) return top;
        }
    return top + log(sum);
}

/* ---- the plan ---- */

static double form_row(const kx_sinkhorn_forming_t *forming, int64_t i, double *scratch) {
    const kx_sinkhorn_state_t *state = forming->state;
    const int64_t n = state->n;
    const void *row = (const char *)state->M + i * state->row_stride;
    const double *e = scratch;
    if (state->K) {
        e = state->K + i * state->stride;
    } else {
        if (state->is_f32) make_row(state, row, scratch, state->common_top, 1);
        else make_row(state, row, scratch, state->common_top, 0);
    }
    const int64_t plan_row = forming->row_index ? forming->row_index[i] : i;
    const int direct = forming->plan && !forming->plan_is_f32 && !forming->column_index;
    double *to = scratch + state->stride;
    if (direct) to = (double *)forming->plan + plan_row * forming->plan_columns;
    const kx_f64v w = kx_f64v_set(state->w[i]), largest = kx_f64v_set(DBL_MAX);
    kx_f64v cost = kx_f64v_set(0);
    for (int64_t j = 0; j < n; j += KX_F64_LANES) {
        const kx_f64v p = kx_f64v_mul(kx_f64v_mul(kx_f64v_load(e + j), kx_f64v_load(state->q + j)), w);
        if (forming->wants_cost) {
            const kx_f64v costs = state->is_f32 ? load_costs(row, j, n, 1) : load_costs(row, j, n, 0);
            cost = kx_f64v_fma(p, kx_f64v_min(costs, largest), cost);
        }
        if (direct && j + KX_F64_LANES > n) kx_f64v_store_part(to + j, n - j, p);
        else kx_f64v_store(to + j, p);
    }
    if (forming->plan && !direct)
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = plan_row * forming->plan_columns + (forming->column_index ? forming->column_index[j] : j);
            if (forming->plan_is_f32) ((float *)forming->plan)[at] = (float)to[j];
            else ((double *)forming->plan)[at] = to[j];
        }
    return forming->wants_cost ? kx_f64v_sum(cost) : 0;
}

static kx_status_t form_blocks(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sinkhorn_forming_t *forming = (const kx_sinkhorn_forming_t *)arg;
    const kx_sinkhorn_state_t *state = forming->state;
    for (int64_t block = begin; block < end; block++) {
        const int64_t first = block * state->block_rows;
        const int64_t last = first + state->block_rows < state->m ? first + state->block_rows : state->m;
        double *scratch = state->scratch + (task ? kx_task_worker(task) : 0) * KX_SINKHORN_GROUP * state->stride, sum = 0;
        for (int64_t i = first; i < last; i++) sum += form_row(forming, i, scratch);
        forming->block_costs[block] = sum;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_sinkhorn_form)(const kx_sinkhorn_forming_t *forming, double *cost) {
    const kx_sinkhorn_state_t *state = forming->state;
    kx_status_t status;
    if (state->blocks > 1) {
        status = kx_parallel_for(state->ctx, state->blocks, 1, form_blocks, (void *)(uintptr_t)forming);
    } else {
        status = form_blocks(NULL, (void *)(uintptr_t)forming, 0, 1);
    }
    *cost = 0;
    for (int64_t block = 0; block < state->blocks; block++) *cost += forming->block_costs[block];
    return status;
}
#endif
