/* The gradients of HSIC's forms by the points: sum over j of B[i, j] dK[i, j] / dx_i, and of A[i, j] dL[i, j] / dy_i, for a block of rows i
   at a time.

   Tiles of weights W[i, j] (B times what of K's derivative is a number; A and L's) are made for CHUNK columns, then multiplied with the points.
   For the squared distance the gradient is -2 gamma (x_i sum_j W[i, j] - sum_j W[i, j] x_j), with points relative to their mean. All pairs are
   gone through, not one half: rows are then independent, and what the half would save needs n x d sums for each worker. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_GRADIENT_PARAMETERS                                                                                               \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,                     \
     const double *offsets_x, double constant_x, const double *offsets_y, double constant_y, double *gradient_x,               \
     double *gradient_y)
#define KX_GRADIENT_ARGUMENTS (ctx, x, y, n, offsets_x, constant_x, offsets_y, constant_y, gradient_x, gradient_y)

KX_DISPATCH(kx_independence_gradient_f32, KX_GRADIENT_PARAMETERS, KX_GRADIENT_ARGUMENTS)
KX_DISPATCH(kx_independence_gradient_f64, KX_GRADIENT_PARAMETERS, KX_GRADIENT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "kernels/independence_internal.h"

enum { CHUNK = 96, ROWS = 4 }; /* columns of weights; rows of a tile of the product */

/* x, or y */
typedef struct kx_gradient_side {
    const kx_independence_points_t *points;
    kx_independence_points_t slope;     /* whose values are the derivative's weights, but for a linear kernel, that has none */
    int has_values, has_slopes, shares; /* tiles that are needed; the latter two are the same */
    const void *packed, *centred;       /* the latter: rows of `stride` numbers, zeros beyond */
    int64_t stride;
    double factor, constant;
    const double *offsets;
    double *gradient; /* NULL: not wanted */
} kx_gradient_side_t;

typedef struct kx_gradient_job {
    kx_gradient_side_t sides[2];
    int64_t n;
    char *works;
    size_t work_bytes;
} kx_gradient_job_t;

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#include "independence_gradient.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#include "independence_gradient.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#endif

#else /* the template */

#define PANEL KX_PASTE(KX_PANEL_, KX_SUFFIX)
#define BLOCK KX_PASTE(KX_BLOCK_, KX_SUFFIX)

typedef struct KX_TYPED(kx_gradient_work) {
    alignas(64) KX_REAL weights[2][BLOCK * CHUNK];
    alignas(64) KX_REAL values[2][BLOCK * PANEL];
    alignas(64) KX_REAL slopes[2][BLOCK * PANEL];
    double row_sums[2][BLOCK];
    double *sums[2]; /* block x stride */
} KX_TYPED(kx_gradient_work_t);

/* The points, less their mean or as they are, in rows. */
static void KX_TYPED(copy_rows)(const kx_gradient_side_t *side, int64_t n, double *mean, KX_REAL *rows) {
    const kx_independence_points_t *x = side->points;
    const int is_relative = x->kind == KX_INDEPENDENCE_RBF;
    for (int64_t k = 0; k < x->dimension; k++) mean[k] = 0;
    for (int64_t i = 0; i < n && is_relative; i++) {
        const KX_REAL *point = (const KX_REAL *)((const char *)x->points + i * x->row_stride);
        for (int64_t k = 0; k < x->dimension; k++) mean[k] += (double)point[k] / (double)n;
    }
    for (int64_t i = 0; i < kx_round_up(n, ROWS); i++) {
        const KX_REAL *point = (const KX_REAL *)((const char *)x->points + i * x->row_stride);
        for (int64_t k = 0; k < side->stride; k++)
            rows[i * side->stride + k] = i < n && k < x->dimension ? (KX_REAL)((double)point[k] - mean[k]) : 0;
    }
}

/* weights = (others - offsets ...) * slopes for a row of a panel; their sum. slopes: NULL for 1. */
static KX_ALWAYS_INLINE double KX_TYPED(weigh_row)(const KX_REAL *others, const KX_REAL *slopes, const double *offsets, double shift,
                                                   int64_t own, int64_t columns, KX_REAL *weights) {
    double sum = 0;
    for (int64_t c = 0; c < PANEL; c++) {
        const double centred = (double)others[c] + (shift - offsets[c]);
        weights[c] = (KX_REAL)(slopes ? centred * (double)slopes[c] : centred);
    }
    if (own >= 0 && own < PANEL) weights[own] = 0;
    for (int64_t c = columns; c < PANEL; c++) weights[c] = 0;
    for (int64_t c = 0; c < PANEL; c++) sum += (double)weights[c];
    return sum;
}

/* Weights of the columns j .. j + PANEL - 1 of a block, at place `at` of the chunk. */
static void KX_TYPED(weigh)(const kx_gradient_job_t *job, KX_TYPED(kx_gradient_work_t) *work, int64_t i, int64_t rows, int64_t j,
                            int64_t at) {
    for (int v = 0; v < 2; v++) {
        const kx_gradient_side_t *side = &job->sides[v];
        const KX_REAL *from = (const KX_REAL *)side->packed + i * side->points->dimension;
        const KX_REAL *panel = (const KX_REAL *)side->packed + j * side->points->dimension;
        if (side->has_values) KX_KERNEL(KX_TYPED(kx_independence_tile))(side->points, from, rows, panel, 0, work->values[v]);
        if (side->has_slopes) KX_KERNEL(KX_TYPED(kx_independence_tile))(&side->slope, from, rows, panel, 0, work->slopes[v]);
    }
    const int64_t columns = job->n - j < PANEL ? job->n - j : PANEL;
    for (int v = 0; v < 2; v++) {
        const kx_gradient_side_t *side = &job->sides[v], *other = &job->sides[!v];
        if (!side->gradient) continue;
        const KX_REAL *slopes = side->shares ? work->values[v] : side->has_slopes ? work->slopes[v] : NULL;
        for (int64_t r = 0; r < rows; r++) {
            const double shift = other->constant - other->offsets[i + r];
            work->row_sums[v][r] += KX_TYPED(weigh_row)(work->values[!v] + r * PANEL, slopes ? slopes + r * PANEL : NULL,
                                                        other->offsets + j, shift, i + r - j, columns, work->weights[v] + r * CHUNK + at);
        }
    }
}

/* sums[r][k] += sum over columns of weights[r][c] times the sign of x_r - x_c, or x_c, in `count` vectors of coordinates. */
static KX_ALWAYS_INLINE void KX_TYPED(multiply)(const KX_REAL *weights, int64_t columns, const KX_REAL *points, const KX_REAL *own,
                                                int64_t stride, int vectors, int is_sign, double *sums) {
    KX_VECTOR totals[ROWS][3];
    const KX_VECTOR one = V(set)(1), minus_one = V(set)(-1), zero = V(set)(0);
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) totals[r][v] = zero;
    for (int64_t c = 0; c < columns; c++) {
        KX_VECTOR point[3];
        for (int v = 0; v < vectors; v++) point[v] = V(load)(points + c * stride + v * KX_LANES);
        for (int r = 0; r < ROWS; r++) {
            const KX_VECTOR weight = V(set)(weights[r * CHUNK + c]);
            for (int v = 0; v < vectors; v++) {
                KX_VECTOR term = point[v];
                if (is_sign) {
                    const KX_VECTOR row = V(load)(own + r * stride + v * KX_LANES);
                    term = V(select)(V(less)(term, row), one, V(select)(V(less)(row, term), minus_one, zero));
                }
                totals[r][v] = V(fma)(weight, term, totals[r][v]);
            }
        }
    }
    for (int r = 0; r < ROWS; r++)
        for (int v = 0; v < vectors; v++) {
            KX_REAL lanes[KX_LANES];
            V(store)(lanes, totals[r][v]);
            for (int l = 0; l < KX_LANES; l++) sums[r * stride + v * KX_LANES + l] += (double)lanes[l];
        }
}

static KX_ALWAYS_INLINE void KX_TYPED(multiply_rows)(const kx_gradient_side_t *side, const KX_REAL *weights, int64_t columns, int64_t i,
                                                     int64_t rows, int64_t j, int is_sign, double *sums) {
    const KX_REAL *points = (const KX_REAL *)side->centred;
    const int64_t stride = side->stride;
    for (int64_t k = 0; k < stride; k += 3 * KX_LANES) {
        const int64_t vectors = (stride - k) / KX_LANES;
        for (int64_t r = 0; r < rows; r += ROWS) {
            const KX_REAL *w = weights + r * CHUNK, *from = points + j * stride + k, *own = points + (i + r) * stride + k;
            double *to = sums + r * stride + k;
            if (vectors >= 3) KX_TYPED(multiply)(w, columns, from, own, stride, 3, is_sign, to);
            else if (vectors == 2) KX_TYPED(multiply)(w, columns, from, own, stride, 2, is_sign, to);
            else KX_TYPED(multiply)(w, columns, from, own, stride, 1, is_sign, to);
        }
    }
}

static kx_status_t KX_TYPED(differentiate)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_gradient_job_t *job = (const kx_gradient_job_t *)arg;
    char *block = job->works + (size_t)kx_task_worker(task) * job->work_bytes;
    KX_TYPED(kx_gradient_work_t) *work = (KX_TYPED(kx_gradient_work_t) *)(void *)block;
    for (int64_t i = begin * BLOCK; i < end * BLOCK && i < job->n; i += BLOCK) {
        const int64_t rows = job->n - i < BLOCK ? job->n - i : BLOCK;
        memset(work, 0, sizeof *work);
        double *sums = (double *)(block + sizeof *work);
        for (int v = 0; v < 2; v++) {
            if (!job->sides[v].gradient) continue;
            work->sums[v] = sums;
            memset(sums, 0, (size_t)(BLOCK * job->sides[v].stride) * sizeof *sums);
            sums += BLOCK * job->sides[v].stride;
        }
        for (int64_t j = 0; j < job->n; j += CHUNK) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t columns = job->n - j < CHUNK ? job->n - j : CHUNK;
            for (int64_t c = 0; c < columns; c += PANEL) KX_TYPED(weigh)(job, work, i, rows, j + c, c);
            for (int v = 0; v < 2; v++) {
                const kx_gradient_side_t *side = &job->sides[v];
                if (!side->gradient) continue;
                const KX_REAL *weights = work->weights[v];
                if (side->points->kind == KX_INDEPENDENCE_LAPLACE)
                    KX_TYPED(multiply_rows)(side, weights, columns, i, rows, j, 1, work->sums[v]);
                else KX_TYPED(multiply_rows)(side, weights, columns, i, rows, j, 0, work->sums[v]);
            }
        }
        for (int v = 0; v < 2; v++) {
            const kx_gradient_side_t *side = &job->sides[v];
            const int64_t d = side->points->dimension;
            for (int64_t r = 0; r < rows && side->gradient; r++)
                for (int64_t k = 0; k < d; k++) {
                    double value = work->sums[v][r * side->stride + k];
                    if (side->points->kind == KX_INDEPENDENCE_RBF)
                        value = work->row_sums[v][r] * (double)((const KX_REAL *)side->centred)[(i + r) * side->stride + k] - value;
                    side->gradient[(i + r) * d + k] = side->factor * value;
                }
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_gradient)) KX_GRADIENT_PARAMETERS {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status == KX_OK) status = KX_KERNEL(kx_independence_check)(y, n);
    if (status != KX_OK) return status;
    if (n == 0 || (!gradient_x && !gradient_y)) return KX_OK;
    if ((gradient_x && !offsets_y) || (gradient_y && !offsets_x)) return KX_E_ARGUMENT;
    kx_gradient_job_t job = {.n = n};
    const kx_independence_points_t *const points[2] = {x, y};
    const double *const offsets[2] = {offsets_x, offsets_y};
    const double constants[2] = {constant_x, constant_y};
    double *const gradients[2] = {gradient_x, gradient_y};
    kx_layout_t layout = {0, 0}, work = {0, 0};
    size_t packed_at[2], rows_at[2], offsets_at[2];
    double size = 0;
    const size_t mean_at = kx_layout_add(&layout, x->dimension > y->dimension ? x->dimension : y->dimension, sizeof(double));
    kx_layout_add(&work, 1, sizeof(KX_TYPED(kx_gradient_work_t)));
    for (int v = 0; v < 2; v++) {
        kx_gradient_side_t *side = &job.sides[v];
        const int64_t d = points[v]->dimension;
        const int kind = (int)points[v]->kind, is_wanted = gradients[v] && d > 0;
        *side = (kx_gradient_side_t){.points = points[v], .slope = *points[v], .stride = kx_round_up(d, KX_LANES),
                                     .factor = 1, .constant = constants[v], .gradient = is_wanted ? gradients[v] : NULL};
        side->shares = is_wanted && (kind == KX_INDEPENDENCE_RBF || kind == KX_INDEPENDENCE_LAPLACE);
        side->has_slopes = is_wanted && kind == KX_INDEPENDENCE_POLYNOMIAL;
        side->has_values = side->shares || (gradients[!v] && points[!v]->dimension > 0);
        if (kind == KX_INDEPENDENCE_POLYNOMIAL) {
            side->slope.degree = points[v]->degree > 0 ? points[v]->degree - 1 : 0;
            side->factor = points[v]->gamma * (double)points[v]->degree;
        } else if (side->shares) {
            side->factor = kind == KX_INDEPENDENCE_RBF ? -2 * points[v]->gamma : -points[v]->gamma;
        }
        packed_at[v] = kx_layout_add(&layout, kx_round_up(n, PANEL), (size_t)(d + !d) * sizeof(KX_REAL));
        rows_at[v] = kx_layout_add(&layout, is_wanted ? kx_round_up(n, ROWS) : 0, (size_t)(side->stride + !d) * sizeof(KX_REAL));
        offsets_at[v] = kx_layout_add(&layout, kx_round_up(n, PANEL), sizeof(double));
        kx_layout_add(&work, is_wanted ? BLOCK : 0, (size_t)(side->stride + !d) * sizeof(double));
        size += (double)n * (double)n * (double)d;
    }
    const int64_t blocks = (n + BLOCK - 1) / BLOCK, asked = ctx && ctx->workers > 1 ? ctx->workers : 1;
    const int64_t workers = asked < blocks ? asked : blocks;
    const size_t works_at = layout.bytes;
    job.work_bytes = work.bytes;
    for (int64_t w = 0; w < workers; w++) kx_layout_add(&layout, 1, job.work_bytes);
    if (layout.overflow || work.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    for (int v = 0; v < 2; v++) {
        kx_gradient_side_t *side = &job.sides[v];
        KX_KERNEL(KX_TYPED(kx_independence_pack))(side->points, n, (KX_REAL *)(block + packed_at[v]));
        if (side->gradient) KX_TYPED(copy_rows)(side, n, (double *)(block + mean_at), (KX_REAL *)(block + rows_at[v]));
        double *padded = (double *)(block + offsets_at[v]);
        memset(padded, 0, (size_t)kx_round_up(n, PANEL) * sizeof *padded);
        if (offsets[v]) memcpy(padded, offsets[v], (size_t)n * sizeof *padded);
        side->packed = block + packed_at[v];
        side->centred = block + rows_at[v];
        side->offsets = padded;
    }
    job.works = block + works_at;
    status = kx_parallel_for(ctx, blocks, size < KX_SERIAL_WORK ? blocks : 1, KX_TYPED(differentiate), &job);
    kx_release(ctx, block);
    return status;
}
#undef PANEL
#undef BLOCK
#endif
