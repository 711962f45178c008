/* CoSENT of rows, and its gradient, by one sort and prefix sums.

   With a_k = exp(scale (c_k - max c)) and b_i = exp(scale (min c - c_i)), both in (0, 1], and R = scale (max c - min c), the loss is
   log(1 + e^R S), S the sum of a_k b_i over ordered pairs. Sorted by label, S is the sum of b_i times the sum of a over smaller
   labels; the gradient of c_i is scale / (e^-R + S) times (a_i times the sum of b over greater labels, less b_i times that of a over
   smaller ones). All sums are of positive numbers. Above R = 330 products a b could be subnormal: logarithms of sums then. */
#ifndef KX_REAL
#include "kexue/kx_losses_ranking.h"

#include "isa/kernel.h"

#define KX_COSENT_PARAMETERS(real)                                                                                       \
    (const kx_ctx_t *ctx, const real *cosines, const double *labels, int64_t rows, int64_t n, ptrdiff_t cosine_row,      \
     ptrdiff_t cosine_step, ptrdiff_t label_row, ptrdiff_t label_step, double scale, real *loss, real *gradient,         \
     ptrdiff_t gradient_row, ptrdiff_t gradient_step)
#define KX_COSENT_ARGUMENTS                                                                                              \
    (ctx, cosines, labels, rows, n, cosine_row, cosine_step, label_row, label_step, scale, loss, gradient, gradient_row, \
     gradient_step)
KX_DISPATCH(kx_losses_cosent_f32, KX_COSENT_PARAMETERS(float), KX_COSENT_ARGUMENTS)
KX_DISPATCH(kx_losses_cosent_f64, KX_COSENT_PARAMETERS(double), KX_COSENT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "kernels/order_internal.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/vector_math.h"

enum { SERIAL_NUMBERS = 1 << 14 }; /* of a chunk of rows: some 150 us */
static const double WIDEST = 330;

typedef struct kx_cosent_job {
    const void *cosines;
    const double *labels;
    int64_t n;
    ptrdiff_t cosine_row, cosine_step, label_row, label_step, gradient_row, gradient_step;
    double scale;
    void *loss, *gradient;
    char *memory;
    size_t worker_bytes, order_part, part[4];
} kx_cosent_job_t;

/* What is known of a row, in the order of its labels. */
typedef struct kx_cosent_row {
    const double *labels, *cosines;
    int64_t n;
    double least, largest, scale;
    double *a, *b, *of_smaller, *of_greater;
} kx_cosent_row_t;

typedef struct kx_running_sum {
    double total, lost, before; /* before: the sum over the groups that are complete */
} kx_running_sum_t;

/* Adds what follows the number whose label is `previous` (Knuth's two-sum). */
static inline void add_in_groups(kx_running_sum_t *sum, int begins_group, double value) {
    const double complete = sum->total + sum->lost, total = sum->total + value, part = total - sum->total;
    sum->before = begins_group ? complete : sum->before;
    sum->lost += (sum->total - (total - part)) + (value - part);
    sum->total = total;
}

/* The products of each number with the sums over smaller and over greater labels replace the sums; returns S. */
static double add_pairs(const kx_cosent_row_t *row) {
    const int64_t n = row->n;
    const double *labels = row->labels, *a = row->a, *b = row->b;
    kx_running_sum_t up = {0, 0, 0}, down = {0, 0, 0};
    for (int64_t i = 0; i < n; i++) {
        const int64_t j = n - 1 - i;
        add_in_groups(&up, i > 0 && labels[i] != labels[i - 1], a[i]);
        row->of_smaller[i] = b[i] * up.before;
        add_in_groups(&down, i > 0 && labels[j] != labels[j + 1], b[j]);
        row->of_greater[j] = a[j] * down.before;
    }
    kx_lane_sum_t sum = {kx_f64v_set(0), kx_f64v_set(0)};
    int64_t i = 0;
    for (; i + KX_F64_LANES <= n; i += KX_F64_LANES) kx_lane_sum_add(&sum, kx_f64v_load(row->of_smaller + i));
    if (i < n) kx_lane_sum_add(&sum, kx_f64v_load_part(row->of_smaller + i, n - i, 0));
    return kx_f64v_sum(kx_f64v_add(sum.total, sum.lost));
}

/* Leaves the gradient in a. */
static double loss_of_narrow(const kx_cosent_row_t *row) {
    const int64_t n = row->n, padded = kx_round_up(n, KX_F64_LANES);
    const kx_f64v least = kx_f64v_set(row->least), largest = kx_f64v_set(row->largest), scale = kx_f64v_set(row->scale);
    for (int64_t i = 0; i < padded; i += KX_F64_LANES) {
        const kx_f64v c = i + KX_F64_LANES <= n ? kx_f64v_load(row->cosines + i) : kx_f64v_load_part(row->cosines + i, n - i, row->least);
        kx_f64v_store(row->a + i, kx_f64v_exp(kx_f64v_mul(scale, kx_f64v_sub(c, largest))));
        kx_f64v_store(row->b + i, kx_f64v_exp(kx_f64v_mul(scale, kx_f64v_sub(least, c))));
    }
    const double sum = add_pairs(row), range = row->scale * (row->largest - row->least);
    const kx_f64v factor = kx_f64v_set(row->scale / (exp(-range) + sum));
    for (int64_t i = 0; i < padded; i += KX_F64_LANES)
        kx_f64v_store(row->a + i, kx_f64v_mul(factor, kx_f64v_sub(kx_f64v_load(row->of_greater + i),
                                                                 kx_f64v_load(row->of_smaller + i))));
    return log1p(sum * exp(range));
}

/* A sum of exp(scale (x - top)) with the top it is relative to: x may have any range. */
typedef struct kx_scaled_sum {
    double top, sum;
} kx_scaled_sum_t;

static inline void add_exponential(kx_scaled_sum_t *s, double scale, double x) {
    if (x > s->top) {
        s->sum = s->sum * exp(scale * (s->top - x)) + 1;
        s->top = x;
    } else {
        s->sum += exp(scale * (x - s->top));
    }
}

/* For each number the logarithm of the sum, over smaller labels, of exp(scale (sign c - sign c of the number)); in the order of
   `step`, which is 1 or -1. */
static void log_sums(const kx_cosent_row_t *row, int step, double *sums) {
    const int64_t n = row->n, first = step > 0 ? 0 : n - 1;
    const double sign = step;
    kx_scaled_sum_t complete = {0, 0}, running = {-(double)INFINITY, 0};
    for (int64_t k = 0, i = first; k < n; k++, i += step) {
        const double c = sign * row->cosines[i];
        if (k > 0 && row->labels[i] != row->labels[i - step]) complete = running;
        sums[i] = complete.sum > 0 ? row->scale * (complete.top - c) + log(complete.sum) : -(double)INFINITY;
        add_exponential(&running, row->scale, c);
    }
}

static double loss_of_wide(const kx_cosent_row_t *row) {
    log_sums(row, 1, row->of_smaller);
    log_sums(row, -1, row->of_greater);
    double top = 0, sum = 0;
    for (int64_t i = 0; i < row->n; i++) top = fmax(top, row->of_smaller[i]);
    for (int64_t i = 0; i < row->n; i++) sum += exp(row->of_smaller[i] - top);
    const double loss = top > 0 ? top + log(exp(-top) + sum) : log1p(sum);
    for (int64_t i = 0; i < row->n; i++)
        row->a[i] = row->scale * (exp(row->of_greater[i] - loss) - exp(row->of_smaller[i] - loss));
    return loss;
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#include "losses_cosent.c"
#undef KX_REAL
#undef KX_SUFFIX

#define KX_REAL float
#define KX_SUFFIX f32
#include "losses_cosent.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
static KX_REAL KX_TYPED(read)(const char *p) {
    KX_REAL value;
    memcpy(&value, p, sizeof value);
    return value;
}

static kx_status_t KX_TYPED(row_loss)(const kx_cosent_job_t *job, char *memory, int64_t r) {
    const int64_t n = job->n;
    const char *labels = (const char *)job->labels + r * job->label_row, *cosines = (const char *)job->cosines + r * job->cosine_row;
    kx_order_t order;
    kx_order_place(&order, memory + job->order_part, n);
    double least, largest;
    for (int64_t i = 0; i < n; i++) memcpy(order.more_keys + i, labels + i * job->label_step, sizeof(double));
    if (!kx_order_range(order.more_keys, n, &least, &largest)) return KX_E_NONFINITE;
    kx_order_sort(&order, order.more_keys, n, least, largest);
    for (int64_t i = 0; i < n; i++)
        order.more_keys[i] = (double)KX_TYPED(read)(cosines + (int64_t)order.places[i] * job->cosine_step);
    kx_cosent_row_t row = {.labels = order.keys, .cosines = order.more_keys, .n = n, .scale = job->scale};
    double **parts[4] = {&row.a, &row.b, &row.of_smaller, &row.of_greater};
    for (int i = 0; i < 4; i++) *parts[i] = (double *)(void *)(memory + job->part[i]);
    if (!kx_order_range(row.cosines, n, &row.least, &row.largest)) return KX_E_NONFINITE;
    const double loss = row.scale * (row.largest - row.least) <= WIDEST ? loss_of_narrow(&row) : loss_of_wide(&row);
    ((KX_REAL *)job->loss)[r] = (KX_REAL)loss;
    if (!job->gradient) return KX_OK;
    char *gradient = (char *)job->gradient + r * job->gradient_row;
    for (int64_t i = 0; i < n; i++) {
        const KX_REAL value = (KX_REAL)row.a[i];
        memcpy(gradient + (int64_t)order.places[i] * job->gradient_step, &value, sizeof value);
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(losses)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_cosent_job_t *job = arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    for (int64_t r = begin; r < end; r++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const kx_status_t status = KX_TYPED(row_loss)(job, memory, r);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_cosent)) KX_COSENT_PARAMETERS(KX_REAL) {
    if (rows < 0 || n < 0 || !(scale > 0 && scale < (double)INFINITY)) return KX_E_ARGUMENT;
    if (!kx_order_fits(n)) return KX_E_OVERFLOW;
    if (rows == 0) return KX_OK;
    if (!loss || (n > 0 && (!cosines || !labels))) return KX_E_ARGUMENT;
    if (n == 0) {
        for (int64_t r = 0; r < rows; r++) loss[r] = 0;
        return KX_OK;
    }
    kx_cosent_job_t job = {.cosines = cosines, .labels = labels, .n = n, .cosine_row = cosine_row, .cosine_step = cosine_step,
                           .label_row = label_row, .label_step = label_step, .gradient_row = gradient_row,
                           .gradient_step = gradient_step, .scale = scale, .loss = loss, .gradient = gradient};
    const int64_t grain = n < SERIAL_NUMBERS ? SERIAL_NUMBERS / n : 1, chunks = (rows - 1) / grain + 1;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > chunks) workers = chunks;
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    job.order_part = kx_order_reserve(&layout, n);
    for (int i = 0; i < 4; i++) job.part[i] = kx_layout_add(&layout, n + KX_F64_LANES, sizeof(double));
    job.worker_bytes = layout.bytes;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, rows, grain, KX_TYPED(losses), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#endif
#endif
