/* The gradient of HSIC's forms by the points: sum over j of B[i, j] dK[i, j] / dx_i, for a block of rows i at a time.

   A tile of weights W[i, j] (B times what of the derivative is a number) is made for CHUNK columns, then multiplied with the points. For the
   squared distance the gradient is -2 gamma (x_i sum_j W[i, j] - sum_j W[i, j] x_j), with points relative to their mean. All pairs are gone
   through, not one half: rows are then independent, and what the half would save needs n x d sums for each worker. */
#ifndef KX_REAL
#include "kexue/kx_independence.h"

#include "isa/kernel.h"

#define KX_GRADIENT_PARAMETERS                                                                                               \
    (const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y, int64_t n,                     \
     const double *offsets_y, double constant_y, double *gradient)

KX_DISPATCH(kx_independence_gradient_f32, KX_GRADIENT_PARAMETERS, (ctx, x, y, n, offsets_y, constant_y, gradient))
KX_DISPATCH(kx_independence_gradient_f64, KX_GRADIENT_PARAMETERS, (ctx, x, y, n, offsets_y, constant_y, gradient))

#ifndef KX_DISPATCH_PASS
#include "kernels/independence_internal.h"

enum { CHUNK = 96, ROWS = 4 }; /* columns of weights; rows of a tile of the product */

typedef struct kx_gradient_job {
    const kx_independence_points_t *x, *y, *derivative; /* the kernel of the derivative's weights */
    const void *packed_x, *packed_y, *centred;          /* the last: rows of `stride` numbers, zeros beyond */
    int64_t n, stride;
    double factor;
    const double *offsets;
    double constant;
    char *works;
    size_t work_bytes;
    double *gradient;
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

#define V(operation) KX_PASTE(KX_PASTE(KX_VECTOR, _), operation)
#define PANEL KX_PASTE(KX_PANEL_, KX_SUFFIX)
#define BLOCK KX_PASTE(KX_BLOCK_, KX_SUFFIX)

typedef struct KX_TYPED(kx_gradient_work) {
    _Alignas(64) KX_REAL weights[BLOCK * CHUNK];
    _Alignas(64) KX_REAL tiles[2][BLOCK * PANEL];
    double row_sums[BLOCK];
} KX_TYPED(kx_gradient_work_t);

/* The points less their mean, in rows. */
static void KX_TYPED(centre)(const kx_independence_points_t *x, int64_t n, int64_t stride, double *mean, KX_REAL *centred) {
    for (int64_t k = 0; k < x->dimension; k++) mean[k] = 0;
    for (int64_t i = 0; i < n; i++) {
        const KX_REAL *point = (const KX_REAL *)((const char *)x->points + i * x->row_stride);
        for (int64_t k = 0; k < x->dimension; k++) mean[k] += (double)point[k] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        const KX_REAL *point = (const KX_REAL *)((const char *)x->points + i * x->row_stride);
        for (int64_t k = 0; k < stride; k++)
            centred[i * stride + k] = k < x->dimension ? (KX_REAL)((double)point[k] - mean[k]) : 0;
    }
}

/* Weights of the columns j .. j + PANEL - 1 of a block, to their place in the chunk. */
static void KX_TYPED(weigh)(const kx_gradient_job_t *job, KX_TYPED(kx_gradient_work_t) *work, int64_t i, int64_t rows, int64_t j,
                            KX_REAL *weights) {
    const int64_t dx = job->x->dimension, dy = job->y->dimension;
    KX_KERNEL(KX_TYPED(kx_independence_tile))(job->derivative, (const KX_REAL *)job->packed_x + i * dx, rows,
                                              (const KX_REAL *)job->packed_x + j * dx, 0, work->tiles[0]);
    KX_KERNEL(KX_TYPED(kx_independence_tile))(job->y, (const KX_REAL *)job->packed_y + i * dy, rows,
                                              (const KX_REAL *)job->packed_y + j * dy, 0, work->tiles[1]);
    const int is_linear = job->x->kind == KX_INDEPENDENCE_LINEAR;
    for (int64_t r = 0; r < rows; r++) {
        const KX_REAL *slopes = work->tiles[0] + r * PANEL, *others = work->tiles[1] + r * PANEL;
        const double shift = job->constant - job->offsets[i + r];
        double sum = 0;
        for (int64_t c = 0; c < PANEL; c++) {
            const int counts = j + c < job->n && j + c != i + r;
            const double centred = counts ? (double)others[c] + (shift - job->offsets[j + c]) : 0;
            const double weight = is_linear || !counts ? centred : centred * (double)slopes[c];
            weights[r * CHUNK + c] = (KX_REAL)weight;
            sum += weight;
        }
        work->row_sums[r] += sum;
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

static KX_ALWAYS_INLINE void KX_TYPED(multiply_rows)(const kx_gradient_job_t *job, const KX_REAL *weights, int64_t columns, int64_t i,
                                                     int64_t rows, int64_t j, int is_sign, double *sums) {
    const KX_REAL *points = (const KX_REAL *)job->centred;
    const int64_t stride = job->stride;
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
    const kx_gradient_job_t *job = arg;
    const int64_t d = job->x->dimension, stride = job->stride;
    char *block = job->works + (size_t)kx_task_worker(task) * job->work_bytes;
    KX_TYPED(kx_gradient_work_t) *work = (void *)block;
    double *sums = (double *)(block + sizeof *work);
    for (int64_t i = begin * BLOCK; i < end * BLOCK && i < job->n; i += BLOCK) {
        const int64_t rows = job->n - i < BLOCK ? job->n - i : BLOCK;
        memset(work, 0, sizeof *work);
        memset(sums, 0, (size_t)(BLOCK * stride) * sizeof *sums);
        for (int64_t j = 0; j < job->n; j += CHUNK) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t columns = job->n - j < CHUNK ? job->n - j : CHUNK;
            for (int64_t c = 0; c < columns; c += PANEL) KX_TYPED(weigh)(job, work, i, rows, j + c, work->weights + c);
            if (job->x->kind == KX_INDEPENDENCE_LAPLACE) KX_TYPED(multiply_rows)(job, work->weights, columns, i, rows, j, 1, sums);
            else KX_TYPED(multiply_rows)(job, work->weights, columns, i, rows, j, 0, sums);
        }
        for (int64_t r = 0; r < rows; r++)
            for (int64_t k = 0; k < d; k++) {
                double value = sums[r * stride + k];
                if (job->x->kind == KX_INDEPENDENCE_RBF)
                    value = work->row_sums[r] * (double)((const KX_REAL *)job->centred)[(i + r) * stride + k] - value;
                job->gradient[(i + r) * d + k] = job->factor * value;
            }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_independence_gradient)) KX_GRADIENT_PARAMETERS {
    kx_status_t status = KX_KERNEL(kx_independence_check)(x, n);
    if (status == KX_OK) status = KX_KERNEL(kx_independence_check)(y, n);
    if (status != KX_OK) return status;
    if (n == 0 || x->dimension == 0) return KX_OK;
    if (!offsets_y || !gradient) return KX_E_ARGUMENT;
    kx_independence_points_t derivative = *x;
    kx_gradient_job_t job = {.x = x, .y = y, .derivative = &derivative, .n = n, .offsets = offsets_y, .constant = constant_y,
                             .gradient = gradient};
    job.factor = x->kind == KX_INDEPENDENCE_RBF ? -2 * x->gamma : x->kind == KX_INDEPENDENCE_LAPLACE ? -x->gamma : 1;
    if (x->kind == KX_INDEPENDENCE_POLYNOMIAL) {
        derivative.degree = x->degree > 0 ? x->degree - 1 : 0;
        job.factor = x->gamma * (double)x->degree;
    }
    const int is_relative = x->kind == KX_INDEPENDENCE_RBF;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1, d = x->dimension;
    kx_layout_t layout = {0, 0};
    if (d > INT64_MAX / 1024 || y->dimension > INT64_MAX / 1024) return KX_E_OVERFLOW;
    job.stride = kx_round_up(d, KX_LANES);
    const size_t x_at = kx_layout_add(&layout, kx_round_up(n, PANEL), (size_t)d * sizeof(KX_REAL));
    const size_t y_at = kx_layout_add(&layout, kx_round_up(n, PANEL), (size_t)(y->dimension + !y->dimension) * sizeof(KX_REAL));
    const size_t centred_at = kx_layout_add(&layout, kx_round_up(n, ROWS), (size_t)job.stride * sizeof(KX_REAL));
    const size_t mean_at = kx_layout_add(&layout, d, sizeof(double)), works_at = layout.bytes;
    kx_layout_add(&layout, 1, sizeof(KX_TYPED(kx_gradient_work_t)));
    kx_layout_add(&layout, BLOCK, (size_t)job.stride * sizeof(double));
    job.work_bytes = layout.bytes - works_at;
    for (int64_t w = 1; w < workers; w++) kx_layout_add(&layout, 1, job.work_bytes);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_KERNEL(KX_TYPED(kx_independence_pack))(x, n, (KX_REAL *)(block + x_at));
    KX_KERNEL(KX_TYPED(kx_independence_pack))(y, n, (KX_REAL *)(block + y_at));
    KX_REAL *centred = (KX_REAL *)(block + centred_at);
    double *mean = (double *)(block + mean_at);
    KX_TYPED(centre)(x, n, job.stride, mean, centred);
    if (!is_relative)
        for (int64_t i = 0; i < n; i++)
            for (int64_t k = 0; k < d; k++)
                centred[i * job.stride + k] = ((const KX_REAL *)((const char *)x->points + i * x->row_stride))[k];
    for (int64_t i = n; i % ROWS; i++) memset(centred + i * job.stride, 0, (size_t)job.stride * sizeof *centred);
    job.packed_x = block + x_at;
    job.packed_y = block + y_at;
    job.centred = centred;
    job.works = block + works_at;
    const int64_t blocks = (n + BLOCK - 1) / BLOCK;
    const int is_small = (double)n * (double)n * (double)(d + y->dimension) < KX_SERIAL_WORK;
    status = kx_parallel_for(ctx, blocks, is_small ? blocks : 1, KX_TYPED(differentiate), &job);
    kx_release(ctx, block);
    return status;
}
#undef V
#undef PANEL
#undef BLOCK
#endif
