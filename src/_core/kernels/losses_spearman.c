/* Spearman's rank correlation of rows: each row is sorted once, and the ranks are integers, twice themselves and less their
   mean. */
#include "kexue/kx_losses_ranking.h"

#include "isa/kernel.h"

#define KX_SPEARMAN_PARAMETERS                                                                                         \
    (const kx_ctx_t *ctx, const double *x, const double *y, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, \
     ptrdiff_t y_row, ptrdiff_t y_step, double *correlation)
KX_DISPATCH(kx_losses_spearman, KX_SPEARMAN_PARAMETERS, (ctx, x, y, rows, n, x_row, x_step, y_row, y_step, correlation))

#ifndef KX_DISPATCH_PASS
#include "kernels/order_internal.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"

enum { SERIAL_NUMBERS = 1 << 14 };

typedef struct kx_spearman_job {
    const char *x, *y;
    int64_t n;
    ptrdiff_t x_row, x_step, y_row, y_step;
    double *correlation;
    char *memory;
    size_t worker_bytes, order_part, x_part, y_part;
} kx_spearman_job_t;

/* ranks[i] = 2 rank - (n + 1), ranks from 1; padded with 0 to whole vectors. */
static kx_status_t find_ranks(kx_task_t *task, char *room, const char *values, ptrdiff_t step, int64_t n, double *ranks) {
    kx_order_t order;
    double least, largest;
    kx_order_place(&order, room, n);
    kx_order_copy(order.more_keys, values, step, n);
    if (!kx_order_range(order.more_keys, n, &least, &largest)) return KX_E_NONFINITE;
    if (!kx_order_sort(&order, order.more_keys, n, least, largest, task)) return KX_E_CANCELLED;
    for (int64_t begin = 0, end; begin < n; begin = end) {
        for (end = begin + 1; end < n && order.keys[end] == order.keys[begin]; end++) {}
        for (int64_t i = begin; i < end; i++) ranks[order.places[i]] = (double)(begin + end - n);
    }
    for (int64_t i = n; i < kx_round_up(n, KX_F64_LANES); i++) ranks[i] = 0;
    return KX_OK;
}

static double product_of(const double *x, const double *y, int64_t n) {
    kx_lane_sum_t sum = {kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t i = 0; i < n; i += KX_F64_LANES) kx_lane_sum_add(&sum, kx_f64v_mul(kx_f64v_load(x + i), kx_f64v_load(y + i)));
    return kx_f64v_sum(kx_f64v_add(sum.total, sum.lost));
}

static kx_status_t correlate(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_spearman_job_t *job = (const kx_spearman_job_t *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    double *x = (double *)(void *)(memory + job->x_part), *y = (double *)(void *)(memory + job->y_part);
    for (int64_t r = begin; r < end; r++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        kx_status_t status = find_ranks(task, memory + job->order_part, job->x + r * job->x_row, job->x_step, job->n, x);
        if (status == KX_OK) status = find_ranks(task, memory + job->order_part, job->y + r * job->y_row, job->y_step, job->n, y);
        if (status != KX_OK) return status;
        const double xx = product_of(x, x, job->n), yy = product_of(y, y, job->n), xy = product_of(x, y, job->n);
        const double value = xy / (sqrt(xx) * sqrt(yy)); /* the same with x and y exchanged */
        job->correlation[r] = xx > 0 && yy > 0 ? (xx == yy ? xy / xx : value > 1 ? 1 : value < -1 ? -1 : value) : (double)NAN;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(kx_losses_spearman) KX_SPEARMAN_PARAMETERS {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    if (!kx_order_fits(n)) return KX_E_OVERFLOW;
    if (rows == 0) return KX_OK;
    if (!correlation || (n > 0 && (!x || !y))) return KX_E_ARGUMENT;
    kx_spearman_job_t job = {.x = (const char *)x, .y = (const char *)y, .n = n, .x_row = x_row, .x_step = x_step,
                             .y_row = y_row, .y_step = y_step, .correlation = correlation};
    const int64_t grain = n < SERIAL_NUMBERS ? SERIAL_NUMBERS / (n + 1) + 1 : 1, chunks = (rows - 1) / grain + 1;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > chunks) workers = chunks;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    job.order_part = kx_order_reserve(&layout, n);
    job.x_part = kx_layout_add(&layout, n + KX_F64_LANES, sizeof(double));
    job.y_part = kx_layout_add(&layout, n + KX_F64_LANES, sizeof(double));
    job.worker_bytes = layout.bytes;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, rows, grain, correlate, &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#endif
