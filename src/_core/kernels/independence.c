/* Sums over pairs of points: what HSIC, CKA and the gamma test are made of.

   Chunks are strips of blocks of rows, of equal area above the diagonal; each has row sums and, its own, column sums, which are added up
   at the end in the order of the strips. Within a strip, sums are by lane, compensated from tile to tile. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_SUMS_PARAMETERS                                                                                                   \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n, double *row_sums_x, \
     double *row_sums_y, double *sums)
#define KX_CROSS_PARAMETERS                                                                                                  \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others_x,                         \
     const kx_independence_points_t *y, const kx_independence_points_t *others_y, int64_t n, int64_t m, double *row_sums_x,    \
     double *column_sums_x, double *row_sums_y, double *column_sums_y, double *sums)
#define KX_CENTRED_PARAMETERS                                                                                                \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,                     \
     const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *sums)
#define KX_CROSS_ARGUMENTS                                                                                                   \
    (ctx, x, others_x, y, others_y, n, m, row_sums_x, column_sums_x, row_sums_y, column_sums_y, sums)

KX_DISPATCH(kx_independence_sums_f32, KX_SUMS_PARAMETERS, (ctx, x, y, n, row_sums_x, row_sums_y, sums))
KX_DISPATCH(kx_independence_sums_f64, KX_SUMS_PARAMETERS, (ctx, x, y, n, row_sums_x, row_sums_y, sums))
KX_DISPATCH(kx_independence_cross_sums_f32, KX_CROSS_PARAMETERS, KX_CROSS_ARGUMENTS)
KX_DISPATCH(kx_independence_cross_sums_f64, KX_CROSS_PARAMETERS, KX_CROSS_ARGUMENTS)
KX_DISPATCH(kx_independence_centred_sums_f32, KX_CENTRED_PARAMETERS,
            (ctx, x, y, n, offsets_x, constant_x, offsets_y, constant_y, sums))
KX_DISPATCH(kx_independence_centred_sums_f64, KX_CENTRED_PARAMETERS,
            (ctx, x, y, n, offsets_x, constant_x, offsets_y, constant_y, sums))

#ifndef KX_DISPATCH_PASS
#include "kernels/independence_internal.h"
#include "runtime/lane_sum.h"

enum { SUMS = 3, FLUSH_PANELS = 64 };

typedef struct kx_sums_job {
    const kx_independence_points_t *points[2];
    const void *rows[2], *columns[2]; /* packed */
    int sides, is_triangle;
    int64_t n, m, strips, blocks, stride;
    double *row_sums[2];           /* room for whole blocks */
    double *column_sums;           /* strips x 2 x stride */
    double (*strip_sums)[SUMS];
    const double *offsets[2];      /* of centred sums, else NULL; `stride` numbers */
    double constants[2];
} kx_sums_job_t;

static double add_up(const kx_lane_sum_t *sum) {
    double total[KX_F64_LANES], lost[KX_F64_LANES], high = 0, low = 0;
    kx_f64v_store(total, sum->total);
    kx_f64v_store(lost, sum->lost);
    for (int l = 0; l < KX_F64_LANES; l++) {
        const double next = high + total[l], part = next - high;
        low += (high - (next - part)) + (total[l] - part) + lost[l];
        high = next;
    }
    return high + low;
}

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_LOAD_F64 kx_f64v_load_f32
#include "independence.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD_F64

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_LOAD_F64 kx_f64v_load
#include "independence.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_LOAD_F64
#endif

#else /* the template */

#define PANEL KX_PASTE(KX_PANEL_, KX_SUFFIX)
#define BLOCK KX_PASTE(KX_BLOCK_, KX_SUFFIX)
enum { KX_TYPED(PARTS) = PANEL / KX_F64_LANES };
#define PARTS KX_TYPED(PARTS)

typedef struct KX_TYPED(kx_sums_work) {
    alignas(64) KX_REAL tiles[2][BLOCK * PANEL];
    alignas(64) double row_lanes[2][BLOCK * KX_F64_LANES];
    kx_lane_sum_t sums[SUMS];
} KX_TYPED(kx_sums_work_t);

/* Pairs that are not summed, in tiles on the diagonal and beyond the last column. */
static void KX_TYPED(clear_pairs)(KX_REAL *tile, int64_t i, int64_t rows, int64_t j, int64_t m, int is_triangle) {
    for (int64_t r = 0; r < rows; r++) {
        if (is_triangle)
            for (int64_t c = 0; c < PANEL && j + c <= i + r; c++) tile[r * PANEL + c] = 0;
        for (int64_t c = m - j > 0 ? m - j : 0; c < PANEL; c++) tile[r * PANEL + c] = 0;
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(add_pairs)(KX_TYPED(kx_sums_work_t) *work, int64_t rows, double *const *column_sums, int sides) {
    kx_f64v columns[2][PARTS], products = kx_f64v_set(0), squares[2] = {products, products};
    for (int v = 0; v < sides; v++)
        for (int c = 0; c < PARTS; c++) columns[v][c] = kx_f64v_load(column_sums[v] + c * KX_F64_LANES);
    for (int64_t r = 0; r < rows; r++) {
        kx_f64v values[2], along[2];
        for (int v = 0; v < sides; v++) along[v] = kx_f64v_load(work->row_lanes[v] + r * KX_F64_LANES);
        for (int c = 0; c < PARTS; c++) {
            for (int v = 0; v < sides; v++) {
                values[v] = KX_LOAD_F64(work->tiles[v] + r * PANEL + c * KX_F64_LANES);
                along[v] = kx_f64v_add(along[v], values[v]);
                columns[v][c] = kx_f64v_add(columns[v][c], values[v]);
                squares[v] = kx_f64v_fma(values[v], values[v], squares[v]);
            }
            if (sides == 2) products = kx_f64v_fma(values[0], values[1], products);
        }
        for (int v = 0; v < sides; v++) kx_f64v_store(work->row_lanes[v] + r * KX_F64_LANES, along[v]);
    }
    for (int v = 0; v < sides; v++)
        for (int c = 0; c < PARTS; c++) kx_f64v_store(column_sums[v] + c * KX_F64_LANES, columns[v][c]);
    if (sides == 2) kx_lane_sum_add(work->sums, products);
    for (int v = 0; v < sides; v++) kx_lane_sum_add(work->sums + 1 + v, squares[v]);
}

static void KX_TYPED(add_rows)(KX_TYPED(kx_sums_work_t) *work, const kx_sums_job_t *job, int64_t i, int64_t rows) {
    for (int v = 0; v < job->sides; v++)
        for (int64_t r = 0; r < rows; r++) job->row_sums[v][i + r] += kx_f64v_sum(kx_f64v_load(work->row_lanes[v] + r * KX_F64_LANES));
    memset(work->row_lanes, 0, sizeof work->row_lanes);
}

/* (sum A B, sum (A B)^2) of a tile. The pairs that do not count are cleared in the products. */
static KX_ALWAYS_INLINE void KX_TYPED(add_centred)(KX_TYPED(kx_sums_work_t) *work, const kx_sums_job_t *job, int64_t i, int64_t rows,
                                                   int64_t j, int is_partial) {
    kx_f64v products = kx_f64v_set(0), squares = products;
    for (int64_t r = 0; r < rows; r++) {
        kx_f64v shift[2];
        for (int v = 0; v < 2; v++) shift[v] = kx_f64v_set(job->constants[v] - job->offsets[v][i + r]);
        for (int c = 0; c < PARTS; c++) {
            const int64_t column = c * KX_F64_LANES;
            kx_f64v product = kx_f64v_set(1);
            for (int v = 0; v < 2; v++) {
                const kx_f64v value = KX_LOAD_F64(work->tiles[v] + r * PANEL + column);
                product = kx_f64v_mul(product, kx_f64v_add(value, kx_f64v_sub(shift[v], kx_f64v_load(job->offsets[v] + j + column))));
            }
            if (is_partial) {
                double lanes[KX_F64_LANES];
                kx_f64v_store(lanes, product);
                for (int64_t l = 0; l < KX_F64_LANES; l++)
                    if (j + column + l <= i + r || j + column + l >= job->m) lanes[l] = 0;
                product = kx_f64v_load(lanes);
            }
            products = kx_f64v_add(products, product);
            squares = kx_f64v_fma(product, product, squares);
        }
    }
    kx_lane_sum_add(work->sums, products);
    kx_lane_sum_add(work->sums + 1, squares);
}

static kx_status_t KX_TYPED(sum_strips)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_sums_job_t *job = (const kx_sums_job_t *)arg;
    KX_TYPED(kx_sums_work_t) work;
    for (int64_t strip = begin; strip < end; strip++) {
        double *columns[2];
        for (int v = 0; v < 2; v++) columns[v] = job->column_sums ? job->column_sums + (strip * 2 + v) * job->stride : NULL;
        memset(work.row_lanes, 0, sizeof work.row_lanes);
        for (int k = 0; k < SUMS; k++) work.sums[k].total = work.sums[k].lost = kx_f64v_set(0);
        const int64_t last = kx_strip_begin(strip + 1, job->strips, job->blocks, job->is_triangle);
        for (int64_t block = kx_strip_begin(strip, job->strips, job->blocks, job->is_triangle); block < last; block++) {
            const int64_t i = block * BLOCK, rows = job->n - i < BLOCK ? job->n - i : BLOCK;
            int64_t panels = 0;
            for (int64_t j = job->is_triangle ? i : 0; j < job->m; j += PANEL, panels++) {
                if (kx_task_should_stop(task)) return KX_E_CANCELLED;
                const int is_partial = (job->is_triangle && j < i + rows) || j + PANEL > job->m;
                for (int v = 0; v < job->sides; v++) {
                    const int64_t d = job->points[v]->dimension;
                    KX_KERNEL(KX_TYPED(kx_independence_tile))(job->points[v], (const KX_REAL *)job->rows[v] + i * d, rows,
                                                              (const KX_REAL *)job->columns[v] + j * d, 0, work.tiles[v]);
                    if (is_partial && !job->offsets[0])
                        KX_TYPED(clear_pairs)(work.tiles[v], i, rows, j, job->m, job->is_triangle);
                }
                double *const at[2] = {columns[0] ? columns[0] + j : NULL, columns[1] ? columns[1] + j : NULL};
                if (job->offsets[0] && is_partial) KX_TYPED(add_centred)(&work, job, i, rows, j, 1);
                else if (job->offsets[0]) KX_TYPED(add_centred)(&work, job, i, rows, j, 0);
                else if (job->sides == 2) KX_TYPED(add_pairs)(&work, rows, at, 2);
                else KX_TYPED(add_pairs)(&work, rows, at, 1);
                if (panels % FLUSH_PANELS == FLUSH_PANELS - 1 && !job->offsets[0]) KX_TYPED(add_rows)(&work, job, i, rows);
            }
            if (!job->offsets[0]) KX_TYPED(add_rows)(&work, job, i, rows);
        }
        for (int k = 0; k < SUMS; k++) job->strip_sums[strip][k] = add_up(work.sums + k);
    }
    return KX_OK;
}

/* Packs, runs, and adds the strips up. The outputs may be NULL; column sums of a triangle go to the rows. */
static kx_status_t KX_TYPED(sum_pairs)(const kx_ctx_t *ctx, kx_sums_job_t *job, const kx_independence_points_t *const *others,
                                       double *const *row_sums, double *const *column_sums, double *sums) {
    const int keeps_sums = !job->offsets[0];
    double work = 0;
    kx_layout_t layout = {0, 0};
    size_t rows_at[2] = {0, 0}, columns_at[2] = {0, 0}, sums_at[2] = {0, 0}, offsets_at[2] = {0, 0};
    job->blocks = (job->n + BLOCK - 1) / BLOCK;
    job->strips = job->blocks < KX_STRIPS ? job->blocks : KX_STRIPS;
    job->stride = kx_round_up(job->m, PANEL);
    for (int v = 0; v < job->sides; v++) {
        const int64_t d = job->points[v]->dimension;
        const size_t point = (size_t)(d ? d : 1) * sizeof(KX_REAL);
        work += (double)job->n * (double)job->m * (double)d;
        rows_at[v] = columns_at[v] = kx_layout_add(&layout, kx_round_up(job->n, PANEL), point);
        if (!job->is_triangle) columns_at[v] = kx_layout_add(&layout, job->stride, point);
        sums_at[v] = kx_layout_add(&layout, keeps_sums ? job->n : 0, sizeof(double));
        offsets_at[v] = kx_layout_add(&layout, keeps_sums ? 0 : job->stride, sizeof(double));
    }
    const size_t strips_at = kx_layout_add(&layout, job->strips, sizeof *job->strip_sums);
    const size_t all_columns_at = kx_layout_add(&layout, keeps_sums ? job->strips * 2 : 0, (size_t)job->stride * sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    for (int v = 0; v < job->sides; v++) {
        KX_KERNEL(KX_TYPED(kx_independence_pack))(job->points[v], job->n, (KX_REAL *)(block + rows_at[v]));
        if (!job->is_triangle) KX_KERNEL(KX_TYPED(kx_independence_pack))(others[v], job->m, (KX_REAL *)(block + columns_at[v]));
        job->rows[v] = block + rows_at[v];
        job->columns[v] = block + columns_at[v];
        job->row_sums[v] = (double *)(block + sums_at[v]);
        if (keeps_sums) memset(job->row_sums[v], 0, (size_t)job->n * sizeof(double));
        else {
            double *offsets = (double *)(block + offsets_at[v]);
            memset(offsets, 0, (size_t)job->stride * sizeof(double));
            memcpy(offsets, job->offsets[v], (size_t)job->n * sizeof(double));
            job->offsets[v] = offsets;
        }
    }
    job->strip_sums = (double (*)[SUMS])(block + strips_at);
    job->column_sums = keeps_sums ? (double *)(block + all_columns_at) : NULL;
    if (keeps_sums) memset(job->column_sums, 0, (size_t)job->strips * 2 * (size_t)job->stride * sizeof(double));
    const kx_status_t status =
        kx_parallel_for(ctx, job->strips, work < KX_SERIAL_WORK ? job->strips : 1, KX_TYPED(sum_strips), job);
    if (status == KX_OK) {
        kx_lane_sum_t totals[SUMS];
        for (int k = 0; k < SUMS; k++) totals[k].total = totals[k].lost = kx_f64v_set(0);
        for (int64_t strip = 0; strip < job->strips; strip++) {
            for (int k = 0; k < SUMS; k++) {
                double lanes[KX_F64_LANES] = {job->strip_sums[strip][k]};
                kx_lane_sum_add(totals + k, kx_f64v_load(lanes));
            }
            for (int v = 0; keeps_sums && v < job->sides; v++) {
                double *columns = job->column_sums + (strip * 2 + v) * job->stride;
                double *into = job->is_triangle ? job->row_sums[v] : job->column_sums + v * job->stride;
                if (into == columns) continue;
                for (int64_t j = 0; j < job->m; j++) into[j] += columns[j];
            }
        }
        for (int k = 0; k < SUMS; k++) sums[k] = add_up(totals + k) * (job->is_triangle ? 2 : 1);
        for (int v = 0; keeps_sums && v < job->sides; v++) {
            if (row_sums[v]) memcpy(row_sums[v], job->row_sums[v], (size_t)job->n * sizeof(double));
            if (!job->is_triangle && column_sums[v])
                memcpy(column_sums[v], job->column_sums + v * job->stride, (size_t)job->m * sizeof(double));
        }
    }
    kx_release(ctx, block);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_sums)) KX_SUMS_PARAMETERS {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status == KX_OK && y) status = KX_KERNEL(kx_independence_check)(y, n);
    if (status != KX_OK) return status;
    if (!sums) return KX_E_ARGUMENT;
    for (int k = 0; k < SUMS; k++) sums[k] = 0;
    if (n > 0) {
        kx_sums_job_t job = {.points = {x, y}, .sides = y ? 2 : 1, .is_triangle = 1, .n = n, .m = n};
        double *const row_sums[2] = {row_sums_x, row_sums_y};
        status = KX_TYPED(sum_pairs)(ctx, &job, NULL, row_sums, NULL, sums);
    }
    if (!y) sums[0] = sums[2] = (double)NAN;
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_cross_sums)) KX_CROSS_PARAMETERS {
    const kx_independence_points_t *const all[4] = {x, y, others_x, others_y};
    for (int v = 0; v < 4; v++) {
        const kx_status_t status = KX_KERNEL(kx_independence_check)(all[v], v < 2 ? n : m);
        if (status != KX_OK) return status;
    }
    if (x->dimension != others_x->dimension || y->dimension != others_y->dimension || !sums) return KX_E_ARGUMENT;
    for (int k = 0; k < SUMS; k++) sums[k] = 0;
    double *const row_sums[2] = {row_sums_x, row_sums_y}, *const column_sums[2] = {column_sums_x, column_sums_y};
    for (int v = 0; v < 2; v++) {
        if (row_sums[v] && n > 0) memset(row_sums[v], 0, (size_t)n * sizeof(double));
        if (column_sums[v] && m > 0) memset(column_sums[v], 0, (size_t)m * sizeof(double));
    }
    if (n == 0 || m == 0) return KX_OK;
    kx_sums_job_t job = {.points = {x, y}, .sides = 2, .n = n, .m = m};
    return KX_TYPED(sum_pairs)(ctx, &job, all + 2, row_sums, column_sums, sums);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_centred_sums)) KX_CENTRED_PARAMETERS {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status == KX_OK) status = KX_KERNEL(kx_independence_check)(y, n);
    if (status != KX_OK) return status;
    if (!sums || ((!offsets_x || !offsets_y) && n > 0)) return KX_E_ARGUMENT;
    double all[SUMS] = {0};
    if (n > 0) {
        kx_sums_job_t job = {.points = {x, y}, .sides = 2, .is_triangle = 1, .n = n, .m = n};
        job.offsets[0] = offsets_x;
        job.offsets[1] = offsets_y;
        job.constants[0] = constant_x;
        job.constants[1] = constant_y;
        status = KX_TYPED(sum_pairs)(ctx, &job, NULL, NULL, NULL, all);
    }
    sums[0] = all[0];
    sums[1] = all[1];
    return status;
}
#undef PANEL
#undef BLOCK
#undef PARTS
#endif
