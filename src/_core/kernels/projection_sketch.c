/* Projection by a sparse matrix of signs.

   As many rows at a time as a vector has lanes: squares of X are transposed in registers, so that a column's numbers are one
   vector, which is added to the accumulators of its targets, a vector each. These must stay in the caches; where there are too
   many components for that, and for a few rows, a plain loop over one row adds in the same order. */
#ifndef KX_REAL
#include "kexue/kx_projection.h"

#include "isa/kernel.h"

#define KX_SKETCH_PARAMETERS(REAL)                                                                                           \
    (const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const REAL *x, int64_t rows, ptrdiff_t row_stride, double scale, \
     REAL *y, ptrdiff_t y_stride)
#define KX_SKETCH_CSR_PARAMETERS(REAL)                                                                                       \
    (const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts, const int64_t *indices,               \
     const REAL *data, int64_t rows, double scale, REAL *y, ptrdiff_t y_stride)

KX_DISPATCH(kx_projection_sketch_f32, KX_SKETCH_PARAMETERS(float), (ctx, signs, x, rows, row_stride, scale, y, y_stride))
KX_DISPATCH(kx_projection_sketch_f64, KX_SKETCH_PARAMETERS(double), (ctx, signs, x, rows, row_stride, scale, y, y_stride))
KX_DISPATCH(kx_projection_sketch_csr_f32, KX_SKETCH_CSR_PARAMETERS(float),
            (ctx, signs, row_starts, indices, data, rows, scale, y, y_stride))
KX_DISPATCH(kx_projection_sketch_csr_f64, KX_SKETCH_CSR_PARAMETERS(double),
            (ctx, signs, row_starts, indices, data, rows, scale, y, y_stride))

#ifndef KX_DISPATCH_PASS
#include "isa/transpose.h"
#include "runtime/memory.h"

enum {
    CHUNK_WORK = 1 << 18,        /* numbers read and written by a chunk: about 50 us */
    ACCUMULATOR_BYTES = 1 << 19, /* half of a second cache */
    PANEL = 2048,                /* columns whose vectors stay in the second cache: 128 KB; 512 to 4096 were as fast */
    FAN = 4                      /* components of a group: additions that do not wait for each other */
};

/* Components with about as many non-zeros in a panel of columns: `steps` rounds of one non-zero of each, from `begin` of the
   plan's arrays on. */
typedef struct kx_sketch_group {
    int64_t begin, steps;
    int32_t components[FAN];
} kx_sketch_group_t;

/* The non-zeros by panel, group, round and component: the column in the panel and 1 or -1 (KX_REAL). Where a component has no
   more, the column `zero_column`, of zeros; where a group has no more, the component n_components. */
typedef struct kx_sketch_plan {
    int64_t *panel_groups; /* panels + 1 */
    kx_sketch_group_t *groups;
    int32_t *columns;
    void *values;
    int32_t zero_column;
} kx_sketch_plan_t;

typedef struct kx_sketch_job {
    const kx_projection_signs_t *signs;
    const void *x;
    const int64_t *row_starts, *indices; /* CSR, else NULL */
    int64_t rows;
    ptrdiff_t row_stride, y_stride;
    double scale;
    void *y;
    /* of the vector loop: for each worker, accumulators and then a panel's columns; the plan is NULL where every column has one
       non-zero */
    char *scratch;
    size_t scratch_bytes, accumulator_bytes;
    const kx_sketch_plan_t *plan;
} kx_sketch_job_t;

static kx_status_t check_signs(const kx_projection_signs_t *signs, int64_t rows) {
    if (!signs || signs->d < 0 || signs->n_components < 0 || rows < 0 || !signs->column_starts) return KX_E_ARGUMENT;
    const int64_t *starts = signs->column_starts;
    if (starts[0] != 0) return KX_E_ARGUMENT;
    for (int64_t j = 0; j < signs->d; j++)
        if (starts[j + 1] < starts[j]) return KX_E_ARGUMENT;
    if (starts[signs->d] > 0 && !signs->targets) return KX_E_ARGUMENT;
    int32_t largest = -1;
    for (int64_t e = 0; e < starts[signs->d]; e++) {
        const int32_t t = signs->targets[e], row = t ^ (t >> 31);
        largest = row > largest ? row : largest;
    }
    return largest < signs->n_components ? KX_OK : KX_E_ARGUMENT;
}

static int is_single(const kx_projection_signs_t *signs) {
    int64_t others = 0;
    for (int64_t j = 0; j < signs->d; j++) others += signs->column_starts[j + 1] != j + 1;
    return others == 0;
}

/* Counts of a panel's non-zeros by component; the components that have any, in `order`, those with many first. Returns how many.
   */
static int64_t order_components(const kx_projection_signs_t *signs, int64_t first, int64_t end, int64_t *counts, int32_t *order) {
    int32_t heads[PANEL + 1] = {0};
    memset(counts, 0, (size_t)signs->n_components * sizeof *counts);
    for (int64_t e = signs->column_starts[first]; e < signs->column_starts[end]; e++)
        counts[signs->targets[e] ^ (signs->targets[e] >> 31)]++;
    for (int64_t c = 0; c < signs->n_components; c++) heads[counts[c] < PANEL ? counts[c] : PANEL]++;
    int32_t used = 0;
    for (int k = PANEL; k >= 1; k--) {
        const int32_t count = heads[k];
        heads[k] = used;
        used += count;
    }
    for (int64_t c = 0; c < signs->n_components; c++)
        if (counts[c] > 0) order[heads[counts[c] < PANEL ? counts[c] : PANEL]++] = (int32_t)c;
    return used;
}

static int64_t rows_of_chunk(int64_t numbers_of_row) {
    if (numbers_of_row >= CHUNK_WORK / KX_F32_LANES) return KX_F32_LANES;
    return kx_round_up(CHUNK_WORK / (numbers_of_row + 1), KX_F32_LANES);
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#include "projection_sketch.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#include "projection_sketch.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#endif

#else /* the template */

static inline void KX_TYPED(add_column)(const kx_projection_signs_t *signs, int64_t j, KX_REAL value, KX_REAL *y) {
    for (int64_t e = signs->column_starts[j]; e < signs->column_starts[j + 1]; e++) {
        const int32_t t = signs->targets[e], is_minus = t >> 31;
        y[t ^ is_minus] += value * (KX_REAL)(1 | is_minus); /* a branch would be guessed wrong every other time */
    }
}

static kx_status_t KX_TYPED(sketch_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sketch_job_t *job = (const kx_sketch_job_t *)arg;
    const kx_projection_signs_t *signs = job->signs;
    const KX_REAL scale = (KX_REAL)job->scale;
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_REAL *y = (KX_REAL *)((char *)job->y + i * job->y_stride);
        memset(y, 0, (size_t)signs->n_components * sizeof *y);
        if (job->row_starts) {
            const KX_REAL *data = (const KX_REAL *)job->x;
            for (int64_t e = job->row_starts[i]; e < job->row_starts[i + 1]; e++) {
                const int64_t j = job->indices[e];
                if (j < 0 || j >= signs->d) return KX_E_ARGUMENT;
                KX_TYPED(add_column)(signs, j, data[e], y);
            }
        } else {
            const KX_REAL *x = (const KX_REAL *)((const char *)job->x + i * job->row_stride);
            for (int64_t j = 0; j < signs->d; j++) KX_TYPED(add_column)(signs, j, x[j], y);
        }
        for (int64_t c = 0; c < signs->n_components; c++) y[c] *= scale;
    }
    return KX_OK;
}

/* Adds columns whose non-zeros are alone in them. */
static KX_ALWAYS_INLINE void KX_TYPED(add_single)(const int32_t *targets, const KX_VECTOR *v, int count,
                                                  KX_REAL (*units)[KX_LANES], KX_REAL *sums) {
    for (int k = 0; k < count; k++) {
        const int32_t t = targets[k], is_minus = t >> 31;
        KX_REAL *sum = sums + (int64_t)(t ^ is_minus) * KX_LANES;
        V(store)(sum, V(fma)(v[k], V(load)(units[-is_minus]), V(load)(sum)));
    }
}

/* Adds a panel's columns. */
static KX_NEVER_INLINE void KX_TYPED(add_groups)(const kx_sketch_plan_t *plan, int64_t panel, const KX_REAL *vectors,
                                                 KX_REAL *sums) {
    const kx_sketch_group_t *last = plan->groups + plan->panel_groups[panel + 1];
    for (const kx_sketch_group_t *group = plan->groups + plan->panel_groups[panel]; group < last; group++) {
        const int32_t *columns = plan->columns + group->begin;
        const KX_REAL *values = (const KX_REAL *)plan->values + group->begin;
        const int64_t steps = group->steps;
        KX_VECTOR v[FAN];
        for (int k = 0; k < FAN; k++) v[k] = V(load)(sums + (int64_t)group->components[k] * KX_LANES);
        for (int64_t step = 0; step < steps; step++, columns += FAN, values += FAN)
            for (int k = 0; k < FAN; k++)
                v[k] = V(fma)(V(load)(vectors + (int64_t)columns[k] * KX_LANES), V(set)(values[k]), v[k]);
        for (int k = 0; k < FAN; k++) V(store)(sums + (int64_t)group->components[k] * KX_LANES, v[k]);
    }
}

static kx_status_t KX_TYPED(sketch_blocks)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sketch_job_t *job = (const kx_sketch_job_t *)arg;
    const kx_projection_signs_t *s = job->signs;
    const int64_t d = s->d, row_bytes = d * (int64_t)sizeof(KX_REAL);
    KX_REAL *sums = (KX_REAL *)(job->scratch + (size_t)kx_task_worker(task) * job->scratch_bytes);
    KX_REAL *vectors = (KX_REAL *)((char *)sums + job->accumulator_bytes);
    const KX_VECTOR scale = V(set)((KX_REAL)job->scale);
    alignas(64) KX_REAL units[2][KX_LANES];
    for (int k = 0; k < KX_LANES; k++) units[0][k] = 1, units[1][k] = -1;
    if (job->plan) memset(vectors + job->plan->zero_column * KX_LANES, 0, KX_LANES * sizeof *vectors);
    for (int64_t i = begin; i < end; i += KX_LANES) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t count = end - i < KX_LANES ? end - i : KX_LANES;
        const KX_REAL *x[KX_LANES];
        for (int r = 0; r < KX_LANES; r++) /* beyond the last row: the last again */
            x[r] = (const KX_REAL *)((const char *)job->x + (r < count ? i + r : end - 1) * job->row_stride);
        memset(sums, 0, job->accumulator_bytes);
        const char *ahead = (const char *)job->x + (i + KX_LANES) * job->row_stride, *ahead_end = ahead + row_bytes;
        for (int64_t j = 0; j < d; j += KX_LANES) {
            const int64_t width = d - j < KX_LANES ? d - j : KX_LANES;
            KX_VECTOR v[KX_LANES];
            for (int line = 0; line < (int)sizeof v / 64; line++, ahead += 64) {
                kx_prefetch_far(ahead);
                if (ahead >= ahead_end) ahead += job->row_stride - row_bytes, ahead_end += job->row_stride;
            }
            if (width == KX_LANES) {
                for (int r = 0; r < KX_LANES; r++) v[r] = V(load)(x[r] + j);
                V(transpose)(v);
            } else {
                for (int r = 0; r < KX_LANES; r++) v[r] = V(load_part)(x[r] + j, width, 0);
                V(transpose)(v);
            }
            if (!job->plan) {
                if (width == KX_LANES) KX_TYPED(add_single)(s->targets + j, v, KX_LANES, units, sums);
                else KX_TYPED(add_single)(s->targets + j, v, (int)width, units, sums);
                continue;
            }
            for (int k = 0; k < KX_LANES; k++) V(store)(vectors + (j % PANEL + k) * KX_LANES, v[k]);
            if ((j + KX_LANES) % PANEL == 0 || j + KX_LANES >= d) KX_TYPED(add_groups)(job->plan, j / PANEL, vectors, sums);
        }
        for (int64_t c = 0; c < s->n_components; c += KX_LANES) {
            const int64_t width = s->n_components - c < KX_LANES ? s->n_components - c : KX_LANES;
            KX_VECTOR v[KX_LANES];
            for (int k = 0; k < KX_LANES; k++) v[k] = k < width ? V(mul)(V(load)(sums + (c + k) * KX_LANES), scale) : scale;
            V(transpose)(v);
            for (int r = 0; r < count; r++) {
                KX_REAL *y = (KX_REAL *)((char *)job->y + (i + r) * job->y_stride) + c;
                if (width == KX_LANES) V(store)(y, v[r]);
                else V(store_part)(y, width, v[r]);
            }
        }
    }
    return KX_OK;
}

/* The groups of all panels, into the plan's arrays or, where these are NULL, only their numbers. */
static void KX_TYPED(make_groups)(const kx_projection_signs_t *signs, int64_t *counts, int64_t *places, int32_t *order,
                                  kx_sketch_plan_t *plan, int64_t *group_count, int64_t *length) {
    *group_count = *length = 0;
    for (int64_t first = 0; first < signs->d; first += PANEL) {
        const int64_t end = signs->d - first < PANEL ? signs->d : first + PANEL;
        const int64_t used = order_components(signs, first, end, counts, order);
        if (plan->groups) plan->panel_groups[first / PANEL] = *group_count;
        for (int64_t c = 0; c < used; c += FAN) {
            int64_t steps = 0;
            for (int64_t k = c; k < used && k < c + FAN; k++) steps = counts[order[k]] > steps ? counts[order[k]] : steps;
            if (plan->groups) {
                kx_sketch_group_t *group = plan->groups + *group_count;
                group->begin = *length;
                group->steps = steps;
                for (int64_t k = 0; k < FAN; k++) {
                    group->components[k] = c + k < used ? order[c + k] : (int32_t)signs->n_components;
                    if (c + k < used) places[order[c + k]] = *length + k;
                }
                for (int64_t e = *length; e < *length + steps * FAN; e++) {
                    plan->columns[e] = plan->zero_column;
                    ((KX_REAL *)plan->values)[e] = 1;
                }
            }
            *group_count += 1;
            *length += steps * FAN;
        }
        for (int64_t j = first; plan->groups && j < end; j++) {
            for (int64_t e = signs->column_starts[j]; e < signs->column_starts[j + 1]; e++) {
                const int32_t t = signs->targets[e];
                int64_t *place = &places[t ^ (t >> 31)];
                plan->columns[*place] = (int32_t)(j - first);
                ((KX_REAL *)plan->values)[*place] = t < 0 ? -1 : 1;
                *place += FAN;
            }
        }
    }
    if (plan->groups) plan->panel_groups[(signs->d + PANEL - 1) / PANEL] = *group_count;
}

/* *block is to be released by the caller. */
static kx_status_t KX_TYPED(make_plan)(const kx_ctx_t *ctx, const kx_projection_signs_t *signs, kx_sketch_plan_t *plan,
                                       void **block) {
    kx_layout_t layout = {0, 0};
    const size_t counts_at = kx_layout_add(&layout, signs->n_components, sizeof(int64_t));
    const size_t places_at = kx_layout_add(&layout, signs->n_components, sizeof(int64_t));
    const size_t order_at = kx_layout_add(&layout, signs->n_components, sizeof(int32_t));
    char *work = (char *)kx_allocate(ctx, layout.bytes);
    if (!work) return KX_E_MEMORY;
    int64_t *counts = (int64_t *)(work + counts_at), *places = (int64_t *)(work + places_at), group_count, length;
    int32_t *order = (int32_t *)(work + order_at);
    KX_TYPED(make_groups)(signs, counts, places, order, plan, &group_count, &length);

    layout = (kx_layout_t){0, 0};
    const size_t panels_at = kx_layout_add(&layout, (signs->d + PANEL - 1) / PANEL + 1, sizeof *plan->panel_groups);
    const size_t groups_at = kx_layout_add(&layout, group_count, sizeof *plan->groups);
    const size_t columns_at = kx_layout_add(&layout, length, sizeof *plan->columns);
    const size_t values_at = kx_layout_add(&layout, length, sizeof(KX_REAL));
    *block = layout.overflow ? NULL : kx_allocate(ctx, layout.bytes);
    if (*block) {
        char *memory = (char *)*block;
        plan->panel_groups = (int64_t *)(memory + panels_at);
        plan->groups = (kx_sketch_group_t *)(memory + groups_at);
        plan->columns = (int32_t *)(memory + columns_at);
        plan->values = memory + values_at;
        KX_TYPED(make_groups)(signs, counts, places, order, plan, &group_count, &length);
    }
    kx_release(ctx, work);
    return layout.overflow ? KX_E_OVERFLOW : *block ? KX_OK : KX_E_MEMORY;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_sketch)) KX_SKETCH_PARAMETERS(KX_REAL) {
    const kx_status_t status = check_signs(signs, rows);
    if (status != KX_OK) return status;
    if (rows == 0 || signs->n_components == 0) return KX_OK;
    if (!y || (!x && signs->d > 0)) return KX_E_ARGUMENT;
    /* Of no columns nothing is read, but addresses are counted from x, which may be NULL. */
    kx_sketch_job_t job = {signs, x ? x : y, NULL, NULL, rows, row_stride, y_stride, scale, y, NULL, 0, 0, NULL};
    const int64_t grain = rows_of_chunk(signs->d + signs->column_starts[signs->d] + signs->n_components);
    const int64_t vector_bytes = KX_LANES * (int64_t)sizeof(KX_REAL);
    if (rows < KX_LANES / 4 || signs->n_components > ACCUMULATOR_BYTES / vector_bytes)
        return kx_parallel_for(ctx, rows, grain, KX_TYPED(sketch_rows), &job);

    const int64_t panel = signs->d < PANEL ? kx_round_up(signs->d, KX_LANES) : PANEL;
    kx_sketch_plan_t plan = {NULL, NULL, NULL, NULL, (int32_t)panel};
    void *plan_block = NULL;
    if (!is_single(signs)) {
        const kx_status_t planned = KX_TYPED(make_plan)(ctx, signs, &plan, &plan_block);
        if (planned != KX_OK) return planned;
        job.plan = &plan;
    }
    const int64_t chunks = (rows - 1) / grain + 1, wanted = ctx && ctx->workers > 1 ? ctx->workers : 1;
    const int64_t workers = wanted < chunks ? wanted : chunks;
    job.accumulator_bytes = (size_t)kx_round_up((signs->n_components + 1) * vector_bytes, 64);
    job.scratch_bytes = job.accumulator_bytes + (size_t)kx_round_up((job.plan ? panel + 1 : 0) * vector_bytes, 64);
    job.scratch = (char *)kx_allocate(ctx, (size_t)workers * job.scratch_bytes);
    const kx_status_t ended = job.scratch ? kx_parallel_for(ctx, rows, grain, KX_TYPED(sketch_blocks), &job) : KX_E_MEMORY;
    kx_release(ctx, job.scratch);
    kx_release(ctx, plan_block);
    return ended;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_sketch_csr)) KX_SKETCH_CSR_PARAMETERS(KX_REAL) {
    const kx_status_t status = check_signs(signs, rows);
    if (status != KX_OK) return status;
    if (rows == 0 || signs->n_components == 0) return KX_OK;
    if (!y || !row_starts || row_starts[0] < 0) return KX_E_ARGUMENT;
    for (int64_t i = 0; i < rows; i++)
        if (row_starts[i + 1] < row_starts[i]) return KX_E_ARGUMENT;
    if (row_starts[rows] > 0 && (!indices || !data)) return KX_E_ARGUMENT;
    kx_sketch_job_t job = {signs, data, row_starts, indices, rows, 0, y_stride, scale, y, NULL, 0, 0, NULL};
    const int64_t entries = (row_starts[rows] - row_starts[0]) / rows;
    const int64_t a_column = signs->d ? signs->column_starts[signs->d] / signs->d : 0;
    const double numbers = (double)entries * (double)(1 + a_column) + (double)signs->n_components;
    const int64_t grain = rows_of_chunk(numbers < CHUNK_WORK ? (int64_t)numbers : CHUNK_WORK);
    return kx_parallel_for(ctx, rows, grain, KX_TYPED(sketch_rows), &job);
}
#endif
