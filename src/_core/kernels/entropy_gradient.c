/* The gradient of entropy normalisation, from gamma.

   With d = gamma (u - max u), q ~ e^d, and s = g - g at the largest entry, all sums but the first are about the means under q, which takes a
   second pass over what the first one left:

       dL/dH = c = -Cov(d, s) / Var(d),    dL/du_j = gamma q_j (s_j - E s + c (d_j - E d)).

   Both are relative to the largest entry because its own deviations, -E d and -E s, then keep their digits where it has nearly all mass.

   Rows shorter than LONG_ROW lie side by side in the lanes, longer ones fill them one at a time: a row's own length decides, so its
   result does not depend on its neighbours. The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_entropy.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/entropy_internal.h"

enum { LONG_ROW = 384, BLOCK = 64, FETCHED_BYTES = 1 << 17 };

typedef struct kx_gradient_job {
    const void *values;
    const int64_t *offsets;
    const double *gamma;
    const void *grad_q;
    int64_t n;
    kx_entropy_domain_t domain;
    void *grad_values;
    double *grad_entropy;
    size_t array_bytes, work_bytes;
    char *works;
} kx_gradient_job_t;
#endif

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define LOWEST_EXPONENT (-104)
#include "entropy_gradient.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef LOWEST_EXPONENT

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define LOWEST_EXPONENT (-746)
#include "entropy_gradient.c"

#else /* the template */

#define KX_GRADIENT_PARAMETERS                                                                                                   \
    (const kx_ctx_t *ctx, const KX_REAL *values, const int64_t *offsets, const double *gamma, const KX_REAL *grad_q, int64_t rows, \
     int64_t n, kx_entropy_domain_t domain, KX_REAL *grad_values, double *grad_entropy)
KX_DISPATCH(KX_TYPED(kx_entropy_gradient), KX_GRADIENT_PARAMETERS,
            (ctx, values, offsets, gamma, grad_q, rows, n, domain, grad_values, grad_entropy))

#ifndef KX_DISPATCH_PASS
#include "kernels/entropy_template.h"

/* One group at work: arrays of lines.count vectors, and a number for each lane. */
typedef struct KX_TYPED(kx_gradient) {
    kx_entropy_lines_t lines;
    KX_REAL *values, *deviations, *weights, *slopes;
    const KX_REAL *next_values, *next_slopes, *results; /* to be fetched while the group is worked on: what most likely is next */
    double largest[KX_LANES], peak[KX_LANES]; /* the largest value, and the slope there */
    double power[KX_LANES], rate[KX_LANES];   /* their product is gamma: float does not hold every gamma */
    double open[KX_LANES];                    /* values above it take part */
    double total[KX_LANES], mean[KX_LANES], mean_slope[KX_LANES], by_entropy[KX_LANES];
} KX_TYPED(kx_gradient_t);

static void KX_TYPED(load)(const kx_gradient_job_t *job, KX_TYPED(kx_gradient_t) *work) {
    const KX_REAL infinity = (KX_REAL)INFINITY;
    const KX_REAL nothing = job->domain == KX_ENTROPY_WEIGHTS ? 0 : job->domain == KX_ENTROPY_LOGITS ? -infinity : infinity;
    const kx_entropy_lines_t *lines = &work->lines;
    KX_TYPED(load_lines)((const KX_REAL *)job->values, lines, KX_LANES, nothing, work->values);
    KX_TYPED(load_lines)((const KX_REAL *)job->grad_q, lines, KX_LANES, 0, work->slopes);
    if (job->domain == KX_ENTROPY_DISTANCES_TO_OTHERS)
        for (int k = 0; k < lines->rows; k++)
            if (lines->row[k] < lines->length[k]) work->values[lines->is_long ? lines->row[k] : lines->row[k] * KX_LANES + k] = nothing;
}

/* Short rows side by side are no stream that the processor recognises, and long ones are read in a burst before any arithmetic. */
static void KX_TYPED(look_ahead)(const kx_gradient_job_t *job, KX_TYPED(kx_gradient_t) *work) {
    const kx_entropy_lines_t *lines = &work->lines;
    const int64_t end = lines->start[lines->rows - 1] + lines->length[lines->rows - 1];
    const int pays = lines->count * (int64_t)sizeof(KX_REAL) * KX_LANES <= FETCHED_BYTES && end > 0;
    work->next_values = pays ? (const KX_REAL *)job->values + end : NULL;
    work->next_slopes = pays ? (const KX_REAL *)job->grad_q + end : NULL;
    work->results = pays && job->grad_values ? (const KX_REAL *)job->grad_values + lines->start[0] : NULL;
}

static void KX_TYPED(find_largest)(const kx_gradient_job_t *job, KX_TYPED(kx_gradient_t) *work) {
    const int weighs = job->domain == KX_ENTROPY_WEIGHTS, negative = job->domain >= KX_ENTROPY_DISTANCES;
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    const KX_REAL bottom = weighs ? 0 : -(KX_REAL)INFINITY;
    KX_VECTOR top = V(set)(bottom), slope = zero;
    for (int64_t i = 0; i < work->lines.count * KX_LANES; i += KX_LANES) {
        KX_VECTOR value = V(load)(work->values + i);
        if (negative) {
            value = V(sub)(zero, value);
            V(store)(work->values + i, value);
        }
        slope = V(select)(V(less)(top, value), V(load)(work->slopes + i), slope);
        top = V(max)(value, top);
    }
    memset(work->largest, 0, sizeof work->largest);
    memset(work->peak, 0, sizeof work->peak);
    KX_TYPED(add_to)(work->largest, top);
    KX_TYPED(add_to)(work->peak, slope);
    if (work->lines.is_long) {
        int best = 0;
        for (int k = 1; k < KX_LANES; k++)
            if (work->largest[k] > work->largest[best]) best = k;
        for (int k = 0; k < KX_LANES; k++) work->largest[k] = work->largest[best], work->peak[k] = work->peak[best];
    }
    for (int k = 0; k < KX_LANES; k++) {
        const int from = work->lines.is_long ? 0 : k;
        const double gamma = from < work->lines.rows ? job->gamma[work->lines.row[from]] : 0, largest = work->largest[k];
        const int moves = gamma > 0 && gamma < (double)INFINITY && largest > (double)bottom && largest < (double)INFINITY;
        work->power[k] = moves ? 1 / kx_entropy_inverse_power(gamma, KX_TYPED(KX_ENTROPY_SCALE_LIMIT)) : 1;
        work->rate[k] = moves ? gamma / work->power[k] : 0;
        work->open[k] = moves ? (double)bottom : (double)INFINITY;
        if (!moves) work->largest[k] = 1, work->peak[k] = 0;
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(weigh)(KX_TYPED(kx_gradient_t) *work, int weighs) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), lowest = V(set)((KX_REAL)LOWEST_EXPONENT);
    const KX_TYPED(top_t) top = KX_TYPED(top_of)(work->largest);
    const KX_VECTOR bottom = KX_TYPED(lanes_of)(work->open), peak = KX_TYPED(lanes_of)(work->peak);
    const KX_VECTOR power = KX_TYPED(lanes_of)(work->power), rate = KX_TYPED(lanes_of)(work->rate);
    const int64_t count = work->lines.count;
    memset(work->total, 0, sizeof work->total);
    memset(work->mean, 0, sizeof work->mean);
    memset(work->mean_slope, 0, sizeof work->mean_slope);
    for (int64_t base = 0; base < count; base += BLOCK) {
        const int64_t end = count - base < BLOCK ? count : base + BLOCK;
        KX_VECTOR total = zero, deviations = zero, slopes = zero;
        for (int64_t i = base * KX_LANES; i < end * KX_LANES; i += KX_LANES) {
            const KX_VECTOR value = V(load)(work->values + i);
            const KX_MASK is_open = V(less)(bottom, value);
            const KX_VECTOR v =
                weighs ? KX_TYPED(log_of_share)(&top, is_open, value) : V(select)(is_open, V(sub)(value, top.largest), zero);
            const KX_VECTOR d = V(max)(V(mul)(V(mul)(v, power), rate), lowest), e = V(select)(is_open, V(exp)(d), zero);
            const KX_VECTOR s = V(select)(V(less)(zero, e), V(sub)(V(load)(work->slopes + i), peak), zero);
            V(store)(work->deviations + i, d);
            V(store)(work->weights + i, e);
            V(store)(work->slopes + i, s);
            if (work->next_values) {
                kx_prefetch_far(work->next_values + i);
                kx_prefetch_far(work->next_slopes + i);
            }
            total = V(add)(total, e);
            deviations = V(fma)(e, d, deviations);
            slopes = V(fma)(e, s, slopes);
        }
        KX_TYPED(add_to)(work->total, total);
        KX_TYPED(add_to)(work->mean, deviations);
        KX_TYPED(add_to)(work->mean_slope, slopes);
    }
    if (work->lines.is_long) {
        kx_entropy_spread_sum(work->total, KX_LANES);
        kx_entropy_spread_sum(work->mean, KX_LANES);
        kx_entropy_spread_sum(work->mean_slope, KX_LANES);
    }
    for (int k = 0; k < KX_LANES; k++) {
        if (!(work->total[k] > 0)) work->total[k] = 1; /* a lane without gradient */
        work->mean[k] /= work->total[k];
        work->mean_slope[k] /= work->total[k];
    }
}

static void KX_TYPED(correlate)(KX_TYPED(kx_gradient_t) *work) {
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    const KX_VECTOR mean = KX_TYPED(lanes_of)(work->mean), mean_slope = KX_TYPED(lanes_of)(work->mean_slope);
    const int64_t count = work->lines.count;
    double covariances[KX_LANES] = {0}, variances[KX_LANES] = {0};
    for (int64_t base = 0; base < count; base += BLOCK) {
        const int64_t end = count - base < BLOCK ? count : base + BLOCK;
        KX_VECTOR covariance = zero, variance = zero;
        for (int64_t i = base * KX_LANES; i < end * KX_LANES; i += KX_LANES) {
            const KX_VECTOR d = V(sub)(V(load)(work->deviations + i), mean), s = V(sub)(V(load)(work->slopes + i), mean_slope);
            const KX_VECTOR weighted = V(mul)(V(load)(work->weights + i), d);
            covariance = V(fma)(weighted, s, covariance);
            variance = V(fma)(weighted, d, variance);
            if (work->results) kx_prefetch_far(work->results + i);
        }
        KX_TYPED(add_to)(covariances, covariance);
        KX_TYPED(add_to)(variances, variance);
    }
    if (work->lines.is_long) {
        kx_entropy_spread_sum(covariances, KX_LANES);
        kx_entropy_spread_sum(variances, KX_LANES);
    }
    for (int k = 0; k < KX_LANES; k++) work->by_entropy[k] = variances[k] > 0 ? -covariances[k] / variances[k] : 0;
}

/* The gradient, in place of the weights. */
static KX_ALWAYS_INLINE void KX_TYPED(differentiate)(KX_TYPED(kx_gradient_t) *work, int weighs) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), one = V(set)((KX_REAL)1), share = V(div)(one, KX_TYPED(lanes_of)(work->total));
    const KX_VECTOR mean = KX_TYPED(lanes_of)(work->mean), mean_slope = KX_TYPED(lanes_of)(work->mean_slope);
    const KX_VECTOR power = KX_TYPED(lanes_of)(work->power), rate = KX_TYPED(lanes_of)(work->rate);
    const KX_VECTOR by_entropy = KX_TYPED(lanes_of)(work->by_entropy);
    for (int64_t i = 0; i < work->lines.count * KX_LANES; i += KX_LANES) {
        const KX_VECTOR d = V(sub)(V(load)(work->deviations + i), mean), s = V(sub)(V(load)(work->slopes + i), mean_slope);
        const KX_VECTOR e = V(load)(work->weights + i), change = V(mul)(V(mul)(e, share), V(fma)(d, by_entropy, s));
        const KX_MASK live = V(less)(zero, e);
        KX_VECTOR by_value = V(mul)(V(mul)(change, rate), power);
        if (weighs) by_value = V(div)(by_value, V(select)(live, V(load)(work->values + i), one));
        V(store)(work->weights + i, V(select)(live, by_value, zero));
    }
}

static kx_status_t KX_TYPED(gradient_of_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_gradient_job_t *job = (const kx_gradient_job_t *)arg;
    const int weighs = job->domain == KX_ENTROPY_WEIGHTS;
    char *block = job->works + (size_t)kx_task_worker(task) * job->work_bytes;
    KX_TYPED(kx_gradient_t) work;
    work.values = (KX_REAL *)block;
    work.deviations = (KX_REAL *)(block + job->array_bytes);
    work.weights = (KX_REAL *)(block + 2 * job->array_bytes);
    work.slopes = (KX_REAL *)(block + 3 * job->array_bytes);
    int64_t next_short = begin, next_long = begin;
    while (kx_entropy_next_lines(&work.lines, job->offsets, job->n, KX_LANES, LONG_ROW, 0, &next_short, &next_long, end)) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_TYPED(load)(job, &work);
        KX_TYPED(look_ahead)(job, &work);
        KX_TYPED(find_largest)(job, &work);
        if (weighs) KX_TYPED(weigh)(&work, 1);
        else KX_TYPED(weigh)(&work, 0);
        if (work.lines.is_long && kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_TYPED(correlate)(&work);
        if (job->grad_entropy)
            for (int k = 0; k < work.lines.rows; k++) job->grad_entropy[work.lines.row[k]] = work.by_entropy[k];
        if (!job->grad_values) continue;
        if (job->domain >= KX_ENTROPY_DISTANCES)
            for (int k = 0; k < KX_LANES; k++) work.rate[k] = -work.rate[k];
        if (weighs) KX_TYPED(differentiate)(&work, 1);
        else KX_TYPED(differentiate)(&work, 0);
        KX_TYPED(store_lines)(work.weights, &work.lines, KX_LANES, (KX_REAL *)job->grad_values);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_entropy_gradient)) KX_GRADIENT_PARAMETERS {
    if (rows < 0 || n < 0 || (int)domain < KX_ENTROPY_WEIGHTS || domain > KX_ENTROPY_DISTANCES_TO_OTHERS) return KX_E_ARGUMENT;
    int64_t longest, entries;
    const kx_status_t fits = kx_entropy_measure(offsets, rows, n, &longest, &entries);
    if (fits != KX_OK) return fits;
    if (rows == 0) return KX_OK;
    if (!gamma || ((!values || !grad_q) && entries > 0)) return KX_E_ARGUMENT;
    kx_gradient_job_t job = {values, offsets, gamma, grad_q, n, domain, grad_values, grad_entropy, 0, 0, NULL};
    int64_t size = (longest < LONG_ROW ? longest : LONG_ROW) * KX_LANES;
    if (longest > size) size = kx_round_up(longest, KX_LANES);
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, size, sizeof(KX_REAL));
    job.array_bytes = layout.bytes;
    for (int k = 1; k < 4; k++) kx_layout_add(&layout, size, sizeof(KX_REAL));
    job.work_bytes = layout.bytes;
    if (layout.bytes == 0) kx_layout_add(&layout, 1, sizeof(KX_REAL));
    return kx_entropy_run(ctx, rows, entries, &layout, &job.works, KX_TYPED(gradient_of_rows), &job);
}
#endif
#undef KX_GRADIENT_PARAMETERS
#endif
