/* Projection by a sparse matrix of signs.

   As many rows at a time as a vector has lanes: squares of X are transposed in registers, so that a column's numbers are one vector, which is
   added to the accumulators of its targets, a vector each. These must stay in the caches; where there are too many components for that, and for
   a few rows, a plain loop over one row adds in the same order. */
#ifndef KX_REAL
#include "kexue/kx_projection.h"

#include "isa/kernel.h"

#define KX_SKETCH_PARAMETERS(REAL)                                                                                           \
    (const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const REAL *x, int64_t rows, ptrdiff_t row_stride, double scale, REAL *y, \
     ptrdiff_t y_stride)
#define KX_SKETCH_CSR_PARAMETERS(REAL)                                                                                       \
    (const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts, const int64_t *indices, const REAL *data, \
     int64_t rows, double scale, REAL *y, ptrdiff_t y_stride)

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
    CHUNK_WORK = 1 << 18,       /* numbers read and written by a chunk: about 50 us */
    ACCUMULATOR_BYTES = 1 << 19 /* half of a second cache */
};

/* A non-zero as the vector loop reads it: the accumulator it is added to, and of which vector of its square: 2 k for column k, 2 k + 1 for minus it */
typedef struct kx_sketch_entry {
    uint32_t to, from;
} kx_sketch_entry_t;

typedef struct kx_sketch_job {
    const kx_projection_signs_t *signs;
    const void *x;
    const int64_t *row_starts, *indices; /* CSR, else NULL */
    int64_t rows;
    ptrdiff_t row_stride, y_stride;
    double scale;
    void *y;
    /* of the vector loop: NULL where every column has one non-zero, whose order is that of the columns; accumulators for each worker */
    const kx_sketch_entry_t *entries;
    char *accumulators;
    size_t accumulator_bytes;
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

static int64_t rows_of_chunk(int64_t numbers_of_row) {
    return numbers_of_row < CHUNK_WORK / KX_F32_LANES ? kx_round_up(CHUNK_WORK / (numbers_of_row + 1), KX_F32_LANES) : KX_F32_LANES;
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

#define V(operation) KX_PASTE(KX_PASTE(KX_VECTOR, _), operation)

static inline void KX_TYPED(add_column)(const kx_projection_signs_t *signs, int64_t j, KX_REAL value, KX_REAL *y) {
    for (int64_t e = signs->column_starts[j]; e < signs->column_starts[j + 1]; e++) {
        const int32_t t = signs->targets[e];
        y[t ^ (t >> 31)] += t < 0 ? -value : value;
    }
}

static kx_status_t KX_TYPED(sketch_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sketch_job_t *job = arg;
    const kx_projection_signs_t *signs = job->signs;
    const KX_REAL scale = (KX_REAL)job->scale;
    for (int64_t i = begin; i < end; i++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_REAL *y = (KX_REAL *)((char *)job->y + i * job->y_stride);
        memset(y, 0, (size_t)signs->n_components * sizeof *y);
        if (job->row_starts) {
            const KX_REAL *data = job->x;
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
static KX_ALWAYS_INLINE void KX_TYPED(add_single)(const int32_t *targets, const KX_VECTOR *v, int count, const KX_REAL (*signs)[KX_LANES],
                                                  KX_REAL *sums) {
    for (int k = 0; k < count; k++) {
        const int32_t t = targets[k], is_minus = t >> 31;
        KX_REAL *sum = sums + (int64_t)(t ^ is_minus) * KX_LANES;
        V(store)(sum, V(fma)(v[k], V(load)(signs[-is_minus]), V(load)(sum)));
    }
}

static kx_status_t KX_TYPED(sketch_blocks)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sketch_job_t *job = arg;
    const kx_projection_signs_t *s = job->signs;
    const int64_t d = s->d, whole = d / KX_LANES * KX_LANES;
    KX_REAL *sums = (KX_REAL *)(job->accumulators + (size_t)kx_task_worker(task) * job->accumulator_bytes);
    const KX_VECTOR scale = V(set)((KX_REAL)job->scale);
    _Alignas(64) KX_REAL square[2 * KX_LANES][KX_LANES], signs[2][KX_LANES];
    for (int k = 0; k < KX_LANES; k++) signs[0][k] = 1, signs[1][k] = -1;
    for (int64_t i = begin; i < end; i += KX_LANES) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t count = end - i < KX_LANES ? end - i : KX_LANES;
        const KX_REAL *x[KX_LANES];
        for (int r = 0; r < KX_LANES; r++) /* beyond the last row: the last again */
            x[r] = (const KX_REAL *)((const char *)job->x + (r < count ? i + r : end - 1) * job->row_stride);
        memset(sums, 0, (size_t)s->n_components * sizeof *square);
        const char *ahead = (const char *)job->x + (i + KX_LANES) * job->row_stride, *ahead_end = ahead + d * (int64_t)sizeof(KX_REAL);
        for (int64_t j = 0; j < d; j += KX_LANES) {
            KX_VECTOR v[KX_LANES];
            for (int line = 0; line < (int)sizeof v / 64; line++, ahead += 64) {
                kx_prefetch_far(ahead);
                if (ahead >= ahead_end) ahead += job->row_stride - d * (int64_t)sizeof(KX_REAL), ahead_end += job->row_stride;
            }
            if (j < whole) {
                for (int r = 0; r < KX_LANES; r++) v[r] = V(load)(x[r] + j);
                V(transpose)(v);
            } else {
                for (int r = 0; r < KX_LANES; r++) v[r] = V(load_part)(x[r] + j, d - j, 0);
                V(transpose)(v);
            }
            if (!job->entries) {
                if (j < whole) KX_TYPED(add_single)(s->targets + j, v, KX_LANES, signs, sums);
                else KX_TYPED(add_single)(s->targets + j, v, (int)(d - j), signs, sums);
                continue;
            }
            for (int k = 0; k < KX_LANES; k++) {
                V(store)(square[2 * k], v[k]);
                V(store)(square[2 * k + 1], V(sub)(V(set)(0), v[k]));
            }
            const int64_t next = j < whole ? j + KX_LANES : d;
            for (int64_t e = s->column_starts[j]; e < s->column_starts[next]; e++) {
                KX_REAL *sum = sums + (size_t)job->entries[e].to * KX_LANES;
                V(store)(sum, V(add)(V(load)(sum), V(load)(square[job->entries[e].from])));
            }
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

kx_status_t KX_KERNEL(KX_TYPED(kx_projection_sketch)) KX_SKETCH_PARAMETERS(KX_REAL) {
    const kx_status_t status = check_signs(signs, rows);
    if (status != KX_OK) return status;
    if (rows == 0 || signs->n_components == 0) return KX_OK;
    if (!y || (!x && signs->d > 0)) return KX_E_ARGUMENT;
    kx_sketch_job_t job = {signs, x, NULL, NULL, rows, row_stride, y_stride, scale, y, NULL, NULL, 0};
    const int64_t grain = rows_of_chunk(signs->d + signs->column_starts[signs->d] + signs->n_components);
    const int64_t vector_bytes = KX_LANES * (int64_t)sizeof(KX_REAL);
    if (rows < KX_LANES / 2 || signs->n_components > ACCUMULATOR_BYTES / vector_bytes)
        return kx_parallel_for(ctx, rows, grain, KX_TYPED(sketch_rows), &job);

    const int64_t nonzeros = signs->column_starts[signs->d], chunks = (rows - 1) / grain + 1;
    const int64_t workers = !ctx || ctx->workers < 1 ? 1 : ctx->workers < chunks ? ctx->workers : chunks;
    kx_layout_t layout = {0, 0};
    const size_t entries_at = kx_layout_add(&layout, nonzeros, sizeof *job.entries);
    job.accumulator_bytes = (size_t)(signs->n_components * vector_bytes + 63) & ~(size_t)63;
    const size_t accumulators_at = kx_layout_add(&layout, workers, job.accumulator_bytes);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    kx_sketch_entry_t *entries = (kx_sketch_entry_t *)(block + entries_at);
    job.accumulators = block + accumulators_at;
    if (!is_single(signs)) {
        for (int64_t j = 0; j < signs->d; j++)
            for (int64_t e = signs->column_starts[j]; e < signs->column_starts[j + 1]; e++) {
                const int32_t t = signs->targets[e], is_minus = t >> 31;
                entries[e].to = (uint32_t)(t ^ is_minus);
                entries[e].from = (uint32_t)(2 * (j % KX_LANES) - is_minus);
            }
        job.entries = entries;
    }
    const kx_status_t ended = kx_parallel_for(ctx, rows, grain, KX_TYPED(sketch_blocks), &job);
    kx_release(ctx, block);
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
    kx_sketch_job_t job = {signs, data, row_starts, indices, rows, 0, y_stride, scale, y, NULL, NULL, 0};
    const int64_t entries = (row_starts[rows] - row_starts[0]) / rows, a_column = signs->d ? signs->column_starts[signs->d] / signs->d : 0;
    const double numbers = (double)entries * (double)(1 + a_column) + (double)signs->n_components;
    return kx_parallel_for(ctx, rows, rows_of_chunk(numbers < CHUNK_WORK ? (int64_t)numbers : CHUNK_WORK), KX_TYPED(sketch_rows), &job);
}
#undef V
#endif
