/* CoSENT of rows, and its gradient, by one sort and prefix sums.

   With a_k = exp(scale (c_k - max c)) the terms are a_k / a_i, and the loss is log(1 + S), S the sum of 1 / a_i times the sum
   of a over smaller labels, in the order of labels. The gradient of c_i is scale / (1 + S) times (a_i times the sum of 1 / a
   over greater labels, less 1 / a_i times that of a over smaller ones). All sums are of positive numbers. Above a range of 330
   of scale c logarithms of sums are kept in their place.

   Each lane has a part of the sorted row, so that prefix sums are sums of vectors: 2048 numbers take 9 us, half of it the sort;
   with one prefix sum for the row, and a second exponential for 1 / a, 14. */
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
#include <limits.h>

#include "kernels/cosent_levels.h"
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
    size_t worker_bytes, order_part, part[3], begin_part;
} kx_cosent_job_t;

/* A row in the order of its labels. Lane l of vector i is number l * vectors + i; what is past the last number is 0. */
typedef struct kx_cosent_row {
    int64_t n, vectors;
    double scale, largest;
    double *cosines, *a, *of_smaller, *of_greater; /* a replaces the cosines */
    kx_task_t *task;
    uint8_t *begins;                                /* bits of the lanes whose number has another label than the one before */
} kx_cosent_row_t;

/* Sums of the numbers so far, and over the groups of equal labels that were complete at the present one. */
typedef struct kx_running_sum {
    kx_lane_sum_t sum;
    kx_f64v complete;
    unsigned seen; /* lanes in which a group has begun: in the others `complete` is that of the lane before */
} kx_running_sum_t;

static inline void begin_groups(kx_running_sum_t *running, unsigned begins) {
    const kx_f64v total = kx_f64v_add(running->sum.total, running->sum.lost);
    running->complete = kx_f64v_select(kx_f64m_from_bits(begins), total, running->complete);
    running->seen |= begins;
}

/* What the lanes before add: to numbers that follow the begin of a group in their lane, and to those that do not. `step`: 1 if
   lanes follow each other upwards, else -1. */
static void carry_over(const kx_running_sum_t *running, int step, kx_f64v *of_seen, kx_f64v *of_others) {
    double totals[KX_F64_LANES], complete[KX_F64_LANES], before[KX_F64_LANES], carried[KX_F64_LANES], sum = 0, last = 0;
    kx_f64v_store(totals, kx_f64v_add(running->sum.total, running->sum.lost));
    kx_f64v_store(complete, running->complete);
    for (int k = 0, l = step > 0 ? 0 : KX_F64_LANES - 1; k < KX_F64_LANES; k++, l += step) {
        before[l] = sum, carried[l] = last;
        if (running->seen >> l & 1) last = complete[l] + sum;
        sum += totals[l];
    }
    *of_seen = kx_f64v_load(before), *of_others = kx_f64v_load(carried);
}

static inline unsigned begins_after(const kx_cosent_row_t *row, int64_t i) {
    return i + 1 < row->vectors ? row->begins[i + 1] : row->begins[0] >> 1 | 1u << (KX_F64_LANES - 1);
}

/* Leaves the gradient in a. */
static double loss_of_narrow(const kx_cosent_row_t *row) {
    const kx_f64v zero = kx_f64v_set(0), one = kx_f64v_set(1);
    const kx_f64v largest = kx_f64v_set(row->largest), scale = kx_f64v_set(row->scale);
    const int64_t vectors = row->vectors;
    for (int64_t i = 0; i < vectors && !kx_order_stops(row->task, i); i++) {
        const kx_f64v c = kx_f64v_load(row->cosines + i * KX_F64_LANES);
        kx_f64v_store(row->a + i * KX_F64_LANES, kx_f64v_exp_below(kx_f64v_mul(scale, kx_f64v_sub(c, largest))));
    }
    for (int64_t p = row->n; p < vectors * KX_F64_LANES; p++) row->a[p % vectors * KX_F64_LANES + p / vectors] = 0;
    kx_running_sum_t up = {{zero, zero}, zero, 0}, down = up;
    for (int64_t i = 0; i < vectors && !kx_order_stops(row->task, i); i++) {
        const int64_t j = vectors - 1 - i;
        const kx_f64v above = kx_f64v_load(row->a + j * KX_F64_LANES);
        begin_groups(&up, row->begins[i]);
        begin_groups(&down, begins_after(row, j));
        kx_f64v_store(row->of_smaller + i * KX_F64_LANES, up.complete);
        kx_f64v_store(row->of_greater + j * KX_F64_LANES, down.complete);
        kx_lane_sum_add(&up.sum, kx_f64v_load(row->a + i * KX_F64_LANES));
        kx_lane_sum_add(&down.sum, kx_f64v_select(kx_f64v_less(zero, above), kx_f64v_div(one, above), zero));
    }
    kx_f64v of_seen, of_others;
    carry_over(&up, 1, &of_seen, &of_others);
    kx_lane_sum_t sum = {zero, zero};
    unsigned seen = 0;
    for (int64_t i = 0; i < vectors && !kx_order_stops(row->task, i); i++) {
        const kx_f64v a = kx_f64v_load(row->a + i * KX_F64_LANES);
        seen |= row->begins[i];
        const kx_f64v smaller = kx_f64v_add(kx_f64v_load(row->of_smaller + i * KX_F64_LANES),
                                            kx_f64v_select(kx_f64m_from_bits(seen), of_seen, of_others));
        const kx_f64v product = kx_f64v_select(kx_f64v_less(zero, a), kx_f64v_div(smaller, a), zero);
        kx_lane_sum_add(&sum, product);
        kx_f64v_store(row->of_smaller + i * KX_F64_LANES, product);
    }
    const double total = kx_f64v_sum(kx_f64v_add(sum.total, sum.lost));
    const kx_f64v factor = kx_f64v_set(row->scale / (1 + total));
    carry_over(&down, -1, &of_seen, &of_others);
    seen = 0;
    for (int64_t i = vectors - 1; i >= 0 && !kx_order_stops(row->task, i); i--) {
        seen |= begins_after(row, i);
        const kx_f64v greater = kx_f64v_add(kx_f64v_load(row->of_greater + i * KX_F64_LANES),
                                            kx_f64v_select(kx_f64m_from_bits(seen), of_seen, of_others));
        const kx_f64v product = kx_f64v_mul(kx_f64v_load(row->a + i * KX_F64_LANES), greater);
        kx_f64v_store(row->a + i * KX_F64_LANES,
                      kx_f64v_mul(factor, kx_f64v_sub(product, kx_f64v_load(row->of_smaller + i * KX_F64_LANES))));
    }
    return log1p(total);
}

/* A sum of exp(scale (x - top)) with the top it is relative to: x may have any range. */
typedef struct kx_scaled_sum {
    double top, sum;
} kx_scaled_sum_t;

/* scale (x - y), where x - y may overflow and it not. */
static inline double scaled_difference(double scale, double x, double y) {
    const double difference = x - y;
    return fabs(difference) < (double)INFINITY ? scale * difference : 2 * (scale * (x / 2 - y / 2));
}

static inline void add_exponential(kx_scaled_sum_t *s, double scale, double x) {
    if (x > s->top) {
        s->sum = s->sum * exp(scaled_difference(scale, s->top, x)) + 1;
        s->top = x;
    } else {
        s->sum += exp(scaled_difference(scale, x, s->top));
    }
}

/* For each number the logarithm of the sum, over smaller labels, of exp(scale (sign c - sign c of the number)); in the order of
   `step`, which is 1 or -1. Unfinished when the task is to stop. */
static void log_sums(const kx_cosent_row_t *row, int step, double *sums) {
    const int64_t n = row->n, vectors = row->vectors, first = step > 0 ? 0 : n - 1;
    const double sign = step;
    kx_scaled_sum_t complete = {0, 0}, running = {-(double)INFINITY, 0};
    for (int64_t k = 0, p = first; k < n && !kx_order_stops(row->task, k); k++, p += step) {
        const int64_t i = p % vectors * KX_F64_LANES + p / vectors;
        const int64_t border = step > 0 ? p : p + 1; /* whether a group begins there */
        const double c = sign * row->cosines[i];
        if (k > 0 && row->begins[border % vectors] >> border / vectors & 1) complete = running;
        sums[i] = complete.sum > 0 ? scaled_difference(row->scale, complete.top, c) + log(complete.sum) : -(double)INFINITY;
        add_exponential(&running, row->scale, c);
    }
}

static double loss_of_wide(const kx_cosent_row_t *row) {
    const int64_t places = row->vectors * KX_F64_LANES;
    for (int64_t i = 0; i < places; i++) row->of_smaller[i] = row->of_greater[i] = -(double)INFINITY;
    log_sums(row, 1, row->of_smaller);
    log_sums(row, -1, row->of_greater);
    double top = 0, sum = 0;
    for (int64_t i = 0; i < places; i++) top = fmax(top, row->of_smaller[i]);
    if (top == (double)INFINITY) return top;
    for (int64_t i = 0; i < places && !kx_order_stops(row->task, i); i++) sum += exp(row->of_smaller[i] - top);
    const double loss = top > 0 ? top + log(exp(-top) + sum) : log1p(sum);
    for (int64_t i = 0; i < places && !kx_order_stops(row->task, i); i++)
        row->a[i] = row->scale * (exp(row->of_greater[i] - loss) - exp(row->of_smaller[i] - loss));
    return loss;
}
#endif

#define KX_TEMPLATE "kernels/losses_cosent.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
static KX_REAL KX_TYPED(read)(const char *p) {
    KX_REAL value;
    memcpy(&value, p, sizeof value);
    return value;
}

/* Contiguous rows are loops that compilers make vectors of. */
static void KX_TYPED(read_row)(const char *from, ptrdiff_t step, int64_t n, double *to) {
    const KX_REAL *numbers = (const KX_REAL *)(const void *)from;
    if (step == sizeof(KX_REAL)) {
        for (int64_t i = 0; i < n; i++) to[i] = (double)numbers[i];
        return;
    }
    for (int64_t i = 0; i < n; i++) to[i] = (double)KX_TYPED(read)(from + i * step);
}

static void KX_TYPED(write_row)(const double *from, int64_t n, char *to, ptrdiff_t step) {
    KX_REAL *numbers = (KX_REAL *)(void *)to;
    if (step == sizeof(KX_REAL)) {
        for (int64_t i = 0; i < n; i++) numbers[i] = (KX_REAL)from[i];
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const KX_REAL value = (KX_REAL)from[i];
        memcpy(to + i * step, &value, sizeof value);
    }
}

static kx_status_t KX_TYPED(row_loss)(kx_task_t *task, const kx_cosent_job_t *job, char *memory, int64_t r) {
    const int64_t n = job->n;
    const char *labels = (const char *)job->labels + r * job->label_row;
    const char *cosines = (const char *)job->cosines + r * job->cosine_row;
    kx_order_t order;
    kx_order_place(&order, memory + job->order_part, n);
    double least, largest, lowest;
    kx_order_copy(order.more_keys, labels, job->label_step, n);
    if (!kx_order_range(order.more_keys, n, &least, &largest)) return KX_E_NONFINITE;
    kx_cosent_row_t row = {.n = n, .vectors = (n - 1) / KX_F64_LANES + 1, .scale = job->scale, .task = task,
                           .begins = (uint8_t *)memory + job->begin_part};
    double **parts[3] = {&row.a, &row.of_smaller, &row.of_greater};
    for (int i = 0; i < 3; i++) *parts[i] = (double *)(void *)(memory + job->part[i]);
    row.cosines = row.a;
    kx_cosent_levels_t levels;
    if (kx_cosent_find_levels(&levels, order.more_keys, n, least, largest, order.places, row.begins)) {
        KX_TYPED(read_row)(cosines, job->cosine_step, n, row.cosines);
        for (int64_t i = n; i < row.vectors * KX_F64_LANES; i++) row.cosines[i] = row.cosines[0];
        if (!kx_order_range(row.cosines, n, &lowest, &row.largest)) return KX_E_NONFINITE;
        if (row.scale * (row.largest - lowest) <= WIDEST) {
            const double loss = kx_cosent_of_levels(&levels, row.begins, n, row.scale, row.largest, row.a, row.of_smaller);
            ((KX_REAL *)job->loss)[r] = (KX_REAL)loss;
            if (job->gradient) KX_TYPED(write_row)(row.a, n, (char *)job->gradient + r * job->gradient_row, job->gradient_step);
            return KX_OK;
        }
    }
    if (!kx_order_sort(&order, order.more_keys, n, least, largest, task)) return KX_E_CANCELLED;
    /* Mostly no labels are equal, or many. */
    const int has_ties = kx_order_has_ties(order.keys, n);
    memset(row.begins, has_ties ? 0 : UCHAR_MAX, (size_t)row.vectors);
    uint8_t *is_new = row.begins + n; /* all bits: two simple loops, which compilers make vectors of */
    is_new[0] = UCHAR_MAX;
    for (int64_t p = 1; has_ties && p < n; p++) is_new[p] = order.keys[p] != order.keys[p - 1] ? UCHAR_MAX : 0;
    for (int l = 0; l < KX_F64_LANES; l++) {
        if (kx_order_stops_between(task, n)) return KX_E_CANCELLED;
        const int64_t first = l * row.vectors;
        for (int64_t i = 0; i < row.vectors; i++) {
            if (kx_order_stops(task, i)) return KX_E_CANCELLED;
            const int64_t p = first + i < n ? first + i : n - 1;
            row.cosines[i * KX_F64_LANES + l] = (double)KX_TYPED(read)(cosines + (int64_t)order.places[p] * job->cosine_step);
        }
        const int64_t count = n - first < row.vectors ? n - first : row.vectors;
        for (int64_t i = 0; has_ties && i < count; i++) row.begins[i] |= (uint8_t)(is_new[first + i] & 1 << l);
    }
    if (!kx_order_range(row.cosines, row.vectors * KX_F64_LANES, &lowest, &row.largest)) return KX_E_NONFINITE;
    const double loss = row.scale * (row.largest - lowest) <= WIDEST ? loss_of_narrow(&row) : loss_of_wide(&row);
    if (kx_order_stops_between(task, n)) return KX_E_CANCELLED;
    if (!(loss < (double)INFINITY)) return KX_E_OVERFLOW;
    ((KX_REAL *)job->loss)[r] = (KX_REAL)loss;
    if (!job->gradient) return KX_OK;
    char *gradient = (char *)job->gradient + r * job->gradient_row;
    for (int l = 0; l < KX_F64_LANES; l++) {
        if (kx_order_stops_between(task, n)) return KX_E_CANCELLED;
        for (int64_t i = 0, p = l * row.vectors; i < row.vectors && p < n; i++, p++) {
            if (kx_order_stops(task, i)) return KX_E_CANCELLED;
            const KX_REAL value = (KX_REAL)row.a[i * KX_F64_LANES + l];
            memcpy(gradient + (int64_t)order.places[p] * job->gradient_step, &value, sizeof value);
        }
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(losses)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_cosent_job_t *job = (const kx_cosent_job_t *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    for (int64_t r = begin; r < end; r++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const kx_status_t status = KX_TYPED(row_loss)(task, job, memory, r);
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
    for (int i = 0; i < 3; i++) job.part[i] = kx_layout_add(&layout, n + KX_F64_LANES, sizeof(double));
    job.begin_part = kx_layout_add(&layout, n, 2);
    job.worker_bytes = layout.bytes;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, rows, grain, KX_TYPED(losses), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#endif
#endif
