/* The symmetric divergence of two softmaxes, and R-Drop, which adds two cross-entropies to it.

   With a = s - max s, b = t - max t and d = (s - t) - (max s - max t), both rows of exponentials come from two: e^max(a, b), and
   that times e^-|d|. The second one's argument reduction also gives 1 - e^-|d| without cancelling, so the differences of the
   exponentials are known to their last digits however near the rows are, and so are their sum D and

       delta = log(Z_s / Z_t) = log(1 + D / Z_t),  log p - log q = d - delta,  p - q = (e_s - e_t - e_t D / Z_t) / Z_s

   or, where D is negative, the same with s and t changed about, which keeps the function symmetric to the bit. The sums of e_s d
   and e_t d of the same pass give both divergences for the gradient: there only what is of first order counts.

   Three passes over a row: the largest entries, exponentials into the rows of the gradients, loss and gradients. */
#ifndef KX_REAL
#include "kexue/kx_losses_contrastive.h"

#include "isa/kernel.h"

#define KX_DIVERGENCE_PARAMETERS(real)                                                                                         \
    (const kx_ctx_t *ctx, const real *s, const real *t, int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride,      \
     real *loss, real *grad_s, real *grad_t, ptrdiff_t grad_stride)
#define KX_R_DROP_PARAMETERS(real)                                                                                             \
    (const kx_ctx_t *ctx, const real *s, const real *t, const int64_t *ids, const real *weights, int64_t count, int64_t n,     \
     ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t weight_stride, double alpha, real *loss, real *grad_s, real *grad_t,    \
     ptrdiff_t grad_stride)
#define KX_DIVERGENCE_ARGUMENTS (ctx, s, t, count, n, s_stride, t_stride, loss, grad_s, grad_t, grad_stride)
#define KX_R_DROP_ARGUMENTS                                                                                                    \
    (ctx, s, t, ids, weights, count, n, s_stride, t_stride, weight_stride, alpha, loss, grad_s, grad_t, grad_stride)

KX_DISPATCH(kx_losses_softmax_symmetric_kl_f32, KX_DIVERGENCE_PARAMETERS(float), KX_DIVERGENCE_ARGUMENTS)
KX_DISPATCH(kx_losses_softmax_symmetric_kl_f64, KX_DIVERGENCE_PARAMETERS(double), KX_DIVERGENCE_ARGUMENTS)
KX_DISPATCH(kx_losses_r_drop_f32, KX_R_DROP_PARAMETERS(float), KX_R_DROP_ARGUMENTS)
KX_DISPATCH(kx_losses_r_drop_f64, KX_R_DROP_PARAMETERS(double), KX_R_DROP_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/transpose.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

enum { GROUP = 8, CHUNK_ENTRIES = 1 << 15, POLL_ROWS = 64 };

/* What a pass is compiled for. */
enum { MASKED = 1, WRITES = 2, WEIGHTED = 4 };

/* Of the exponentials, their difference, and both times d. */
enum { SUM_S, SUM_T, SUM_APART, SUM_S_D, SUM_T_D, SUMS };

typedef struct kx_contrast_job {
    const char *s, *t, *weights;
    const int64_t *ids;
    int64_t n;
    ptrdiff_t s_stride, t_stride, weight_stride, grad_stride;
    double factor; /* of the divergence */
    char *loss, *grad_s, *grad_t;
    char *scratch; /* three rows for each worker */
    size_t row_bytes;
} kx_contrast_job_t;
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define LARGEST 0x1.fffffffffffffp1023
#define FARTHEST 745.0 /* e^-745 is the least subnormal */
#include "losses_contrastive.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef LARGEST
#undef FARTHEST

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_IS_FLOAT 1
#define LARGEST 0x1.fffffep127f
#define FARTHEST 104.0f
#include "losses_contrastive.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

typedef struct KX_TYPED(pair) {
    const KX_REAL *s, *t, *weights;
    KX_REAL *e_s, *e_t, *apart; /* exponentials, which gradients take the place of, and their differences */
    int64_t n;
    KX_REAL top_s, top_t, least; /* least: of s */
} KX_TYPED(pair);

/* What the last pass multiplies with: see finish_step. */
typedef struct KX_TYPED(finish) {
    const KX_REAL *e_less; /* of the row whose sum is the smaller one */
    KX_REAL delta, p_scale, q_scale, apart_scale, less_scale, factor, s_constant, t_constant, log_s, log_t;
} KX_TYPED(finish);

#include "kernels/losses_contrastive_template.h"

static void KX_TYPED(tops)(KX_TYPED(pair) * pair) {
    const KX_REAL *s = pair->s, *t = pair->t;
    KX_VECTOR top_s = V(set)(-R(INFINITY)), top_t = top_s, least = V(set)(R(INFINITY));
    KX_VECTOR more_s = top_s, more_t = top_s, fewer = least;
    int64_t i = 0;
    for (; i + 2 * KX_LANES <= pair->n; i += 2 * KX_LANES) {
        const KX_VECTOR a = V(load)(s + i), b = V(load)(s + i + KX_LANES);
        top_s = V(max)(a, top_s);
        more_s = V(max)(b, more_s);
        least = V(min)(a, least);
        fewer = V(min)(b, fewer);
        top_t = V(max)(V(load)(t + i), top_t);
        more_t = V(max)(V(load)(t + i + KX_LANES), more_t);
    }
    for (; i < pair->n; i += KX_LANES) {
        const int64_t width = pair->n - i < KX_LANES ? pair->n - i : KX_LANES;
        top_s = V(max)(KX_TYPED(load)(s + i, width, -R(INFINITY)), top_s);
        least = V(min)(KX_TYPED(load)(s + i, width, R(INFINITY)), least);
        top_t = V(max)(KX_TYPED(load)(t + i, width, -R(INFINITY)), top_t);
    }
    const KX_VECTOR zero = V(set)(R(0));
    pair->top_s = -V(reduce_min)(V(sub)(zero, V(max)(top_s, more_s)));
    pair->top_t = -V(reduce_min)(V(sub)(zero, V(max)(top_t, more_t)));
    pair->least = V(reduce_min)(V(min)(least, fewer));
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(distance)(const int form, KX_VECTOR s, KX_VECTOR t, KX_VECTOR top) {
    const KX_VECTOR d = V(sub)(V(sub)(s, t), top), least = V(set)(-LARGEST);
    if (!(form & MASKED)) return d;
    return V(select)(V(less)(s, least), V(select)(V(less)(t, least), V(set)(R(0)), d), d);
}

static KX_ALWAYS_INLINE void KX_TYPED(exponential_step)(const int form, const KX_TYPED(pair) * pair, int64_t i, int64_t width,
                                                        KX_VECTOR *farthest, KX_VECTOR *sums) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    const KX_VECTOR s = KX_TYPED(load)(pair->s + i, width, -R(INFINITY)), t = KX_TYPED(load)(pair->t + i, width, -R(INFINITY));
    const KX_VECTOR d = KX_TYPED(distance)(form, s, t, V(set)(pair->top_s - pair->top_t)), size = V(abs)(d);
    *farthest = V(max)(size, *farthest);
    const KX_VECTOR high = V(exp_below)(V(max)(V(sub)(s, V(set)(pair->top_s)), V(sub)(t, V(set)(pair->top_t))));
    /* e^-|d| = power (1 + rest); the minimum is its second operand where that is NaN */
    KX_VECTOR exponent, first;
    const KX_VECTOR x = V(sub)(zero, V(min)(V(set)(FARTHEST), size)), tail = V(exp_parts)(x, &exponent, &first);
    const KX_VECTOR power = V(scale)(one, exponent), rest = V(mul)(power, V(add)(first, tail));
    const KX_VECTOR low = V(mul)(high, V(add)(power, rest));
    const KX_VECTOR gap = V(mul)(high, V(sub)(V(sub)(one, power), rest));
    const KX_VECTOR e_s = V(select)(V(less)(d, zero), low, high), e_t = V(select)(V(less)(d, zero), high, low);
    const KX_VECTOR apart = V(select)(V(less)(d, zero), V(sub)(zero, gap), gap);
    KX_TYPED(store)(pair->e_s + i, width, e_s);
    KX_TYPED(store)(pair->e_t + i, width, e_t);
    KX_TYPED(store)(pair->apart + i, width, apart);
    sums[SUM_S] = V(add)(sums[SUM_S], e_s);
    sums[SUM_T] = V(add)(sums[SUM_T], e_t);
    sums[SUM_APART] = V(add)(sums[SUM_APART], apart);
    sums[SUM_S_D] = V(fma)(e_s, d, sums[SUM_S_D]);
    sums[SUM_T_D] = V(fma)(e_t, d, sums[SUM_T_D]);
}

/* Returns whether the row is valid. */
static KX_ALWAYS_INLINE int KX_TYPED(exponentials)(const int form, const KX_TYPED(pair) * pair, double *totals) {
    const int64_t n = pair->n, whole = n / KX_LANES * KX_LANES;
    KX_VECTOR farthest = V(set)(R(0));
    kx_lane_sum_t all[SUMS];
    for (int k = 0; k < SUMS; k++) all[k] = (kx_lane_sum_t){kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t begin = 0; begin < n; begin += GROUP * KX_LANES) {
        const int64_t end = whole - begin < GROUP * KX_LANES ? whole : begin + GROUP * KX_LANES;
        KX_VECTOR sums[SUMS];
        for (int k = 0; k < SUMS; k++) sums[k] = V(set)(R(0));
        for (int64_t i = begin; i < end; i += KX_LANES) KX_TYPED(exponential_step)(form, pair, i, KX_LANES, &farthest, sums);
        if (end == whole && whole < n && n - begin <= GROUP * KX_LANES)
            KX_TYPED(exponential_step)(form | MASKED, pair, whole, n - whole, &farthest, sums);
        for (int k = 0; k < SUMS; k++) KX_TYPED(add)(all + k, sums[k]);
    }
    for (int k = 0; k < SUMS; k++) totals[k] = KX_TYPED(total)(all + k);
    const KX_REAL largest = -V(reduce_min)(V(sub)(V(set)(R(0)), farthest));
    return largest < R(INFINITY) && totals[SUM_S] > 0 && totals[SUM_T] > 0 && !isnan(totals[SUM_APART]);
}

/* factor (p - q) = apart apart_scale - e_less less_scale; with r = log p - log q = d - delta and the targets' sum W,
   by s: factor ((p - q) + p (r - sum p r)) + p W - w, where s_constant = W - factor sum p r, and the other way round by t. */
static KX_ALWAYS_INLINE void KX_TYPED(finish_step)(const int form, const KX_TYPED(pair) * pair, const KX_TYPED(finish) * f,
                                                   int64_t i, int64_t width, KX_VECTOR *sums) {
    const KX_VECTOR zero = V(set)(R(0));
    const KX_VECTOR s = KX_TYPED(load)(pair->s + i, width, -R(INFINITY)), t = KX_TYPED(load)(pair->t + i, width, -R(INFINITY));
    const KX_VECTOR d = KX_TYPED(distance)(form, s, t, V(set)(pair->top_s - pair->top_t)), r = V(sub)(d, V(set)(f->delta));
    const KX_VECTOR less = V(mul)(KX_TYPED(load)(f->e_less + i, width, R(0)), V(set)(f->less_scale));
    const KX_VECTOR apart = V(sub)(V(mul)(KX_TYPED(load)(pair->apart + i, width, R(0)), V(set)(f->apart_scale)), less);
    sums[0] = V(add)(sums[0], V(max)(V(mul)(apart, r), zero)); /* where rounding has the sign */
    KX_VECTOR w = zero;
    if (form & WEIGHTED) {
        w = KX_TYPED(load)(pair->weights + i, width, R(0));
        const KX_VECTOR of_s = V(add)(V(set)(f->log_s), V(sub)(V(set)(pair->top_s), s));
        const KX_VECTOR of_t = V(add)(V(set)(f->log_t), V(sub)(V(set)(pair->top_t), t));
        sums[1] = V(add)(sums[1], V(select)(V(less)(zero, w), V(mul)(w, V(add)(of_s, of_t)), zero));
    }
    if (!(form & WRITES)) return;
    const KX_VECTOR p = V(mul)(KX_TYPED(load)(pair->e_s + i, width, R(0)), V(set)(f->p_scale));
    const KX_VECTOR q = V(mul)(KX_TYPED(load)(pair->e_t + i, width, R(0)), V(set)(f->q_scale));
    const KX_VECTOR slope = V(mul)(V(set)(f->factor), r);
    KX_VECTOR by_s = V(fma)(p, V(add)(V(set)(f->s_constant), slope), apart);
    KX_VECTOR by_t = V(fma)(q, V(sub)(V(set)(f->t_constant), slope), V(sub)(zero, apart));
    if (form & WEIGHTED) {
        by_s = V(sub)(by_s, w);
        by_t = V(sub)(by_t, w);
    }
    KX_TYPED(store)(pair->e_s + i, width, by_s);
    KX_TYPED(store)(pair->e_t + i, width, by_t);
}

static KX_ALWAYS_INLINE double KX_TYPED(finish_form)(const int form, const KX_TYPED(pair) * pair, const KX_TYPED(finish) * f) {
    const int64_t n = pair->n, whole = n / KX_LANES * KX_LANES;
    kx_lane_sum_t all = {kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t begin = 0; begin < n; begin += GROUP * KX_LANES) {
        const int64_t end = whole - begin < GROUP * KX_LANES ? whole : begin + GROUP * KX_LANES;
        KX_VECTOR sums[2] = {V(set)(R(0)), V(set)(R(0))};
        for (int64_t i = begin; i < end; i += KX_LANES) KX_TYPED(finish_step)(form, pair, f, i, KX_LANES, sums);
        if (end == whole && whole < n && n - begin <= GROUP * KX_LANES)
            KX_TYPED(finish_step)(form | MASKED, pair, f, whole, n - whole, sums);
        KX_TYPED(add)(&all, sums[0]);
        if (form & WEIGHTED) KX_TYPED(add)(&all, sums[1]);
    }
    return KX_TYPED(total)(&all);
}
static double KX_TYPED(finish_row)(const int form, const KX_TYPED(pair) * pair, const KX_TYPED(finish) * f) {
    switch (form) {
        case 0: return KX_TYPED(finish_form)(0, pair, f);
        case MASKED: return KX_TYPED(finish_form)(MASKED, pair, f);
        case WRITES: return KX_TYPED(finish_form)(WRITES, pair, f);
        case WRITES | MASKED: return KX_TYPED(finish_form)(WRITES | MASKED, pair, f);
        case WEIGHTED: return KX_TYPED(finish_form)(WEIGHTED, pair, f);
        case WEIGHTED | MASKED: return KX_TYPED(finish_form)(WEIGHTED | MASKED, pair, f);
        case WEIGHTED | WRITES: return KX_TYPED(finish_form)(WEIGHTED | WRITES, pair, f);
        default: return KX_TYPED(finish_form)(WEIGHTED | WRITES | MASKED, pair, f);
    }
}

/* The sum of exponentials without one of those that are 1. */
static double KX_TYPED(rest)(const KX_REAL *e, int64_t n) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    kx_lane_sum_t small = {kx_f64v_set(0), kx_f64v_set(0)}, ones = small;
    for (int64_t i = 0; i < n; i += KX_LANES) {
        const KX_VECTOR value = KX_TYPED(load)(e + i, n - i < KX_LANES ? n - i : KX_LANES, R(0));
        KX_TYPED(add)(&small, V(select)(V(less)(value, one), value, zero));
        KX_TYPED(add)(&ones, V(select)(V(less)(value, one), zero, one));
    }
    return KX_TYPED(total)(&small) + (KX_TYPED(total)(&ones) - 1);
}

/* The logarithm of a sum of exponentials; *rest is the sum less 1, good relatively. */
static double KX_TYPED(log_sum)(const KX_REAL *e, int64_t n, double sum, double *rest) {
    *rest = sum < 1.5 ? KX_TYPED(rest)(e, n) : sum - 1;
    return log1p(*rest);
}

/* The targets' sum; NaN if one is negative or not finite. */
static double KX_TYPED(weigh)(const KX_REAL *weights, int64_t n) {
    KX_VECTOR least = V(set)(R(0));
    kx_lane_sum_t all = {kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t i = 0; i < n; i += KX_LANES) {
        const KX_VECTOR w = KX_TYPED(load)(weights + i, n - i < KX_LANES ? n - i : KX_LANES, R(0));
        least = V(min)(w, least);
        KX_TYPED(add)(&all, w);
    }
    const double sum = KX_TYPED(total)(&all);
    return V(reduce_min)(least) < 0 || !(sum <= (double)LARGEST) ? (double)NAN : sum;
}

/* NaN where the row is no valid input. */
static double KX_TYPED(solve_row)(const kx_contrast_job_t *job, KX_TYPED(pair) * pair, int64_t id, int has_gradient) {
    double totals[SUMS];
    KX_TYPED(tops)(pair);
    if (!(pair->top_s < R(INFINITY) && pair->top_s > -R(INFINITY) && pair->top_t < R(INFINITY) && pair->top_t > -R(INFINITY)))
        return (double)NAN;
    if (job->ids && (id < 0 || id >= pair->n)) return (double)NAN;
    double weight = job->ids ? 1 : 0;
    if (pair->weights && isnan(weight = KX_TYPED(weigh)(pair->weights, pair->n))) return (double)NAN;
    const int is_masked = pair->least < -LARGEST;
    if (!(is_masked ? KX_TYPED(exponentials)(MASKED, pair, totals) : KX_TYPED(exponentials)(0, pair, totals)))
        return (double)NAN;

    const double z_s = totals[SUM_S], z_t = totals[SUM_T], apart = totals[SUM_APART], factor = job->factor;
    const double delta = apart < 0 ? -log1p(-apart / z_s) : log1p(apart / z_t);
    const double kl_s = totals[SUM_S_D] / z_s - delta, kl_t = totals[SUM_T_D] / z_t - delta;
    const double apart_scale = factor / (apart < 0 ? z_t : z_s), less_scale = factor * (apart / (z_s * z_t));
    KX_TYPED(finish) f = {.e_less = apart < 0 ? pair->e_s : pair->e_t, .delta = R(delta), .p_scale = R(1 / z_s),
                          .q_scale = R(1 / z_t), .apart_scale = R(apart_scale), .less_scale = R(less_scale), .factor = R(factor),
                          .s_constant = R(weight - factor * kl_s), .t_constant = R(weight + factor * kl_t)};
    const int form = (is_masked ? MASKED : 0) | (has_gradient ? WRITES : 0) | (pair->weights ? WEIGHTED : 0);
    if (!job->ids && !pair->weights) return KX_TYPED(finish_row)(form, pair, &f);

    double rest_s, rest_t;
    const double log_s = KX_TYPED(log_sum)(pair->e_s, pair->n, z_s, &rest_s);
    const double log_t = KX_TYPED(log_sum)(pair->e_t, pair->n, z_t, &rest_t);
    f.log_s = R(log_s);
    f.log_t = R(log_t);
    if (pair->weights) return KX_TYPED(finish_row)(form, pair, &f);

    const KX_REAL s = pair->s[id], t = pair->t[id];
    const KX_REAL step = s - t, d = step - (pair->top_s - pair->top_t); /* rounded as delta's are */
    const double e_s = (double)pair->e_s[id], e_t = (double)pair->e_t[id], r = isinf(s) ? 0 : (double)d - delta;
    const double own = apart_scale * (double)pair->apart[id] - less_scale * (double)f.e_less[id];
    const double loss = KX_TYPED(finish_row)(form, pair, &f);
    if (has_gradient) {
        const double short_s = ((e_s < 1 ? 1 - e_s : 0) + rest_s) / z_s, short_t = ((e_t < 1 ? 1 - e_t : 0) + rest_t) / z_t;
        pair->e_s[id] = R(own + e_s / z_s * factor * (r - kl_s) - short_s);
        pair->e_t[id] = R(-own - e_t / z_t * factor * (r - kl_t) - short_t);
    }
    return loss + (log_s + ((double)pair->top_s - (double)s)) + (log_t + ((double)pair->top_t - (double)t));
}

static kx_status_t KX_TYPED(solve_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_contrast_job_t *job = (const kx_contrast_job_t *)arg;
    const int flags = kx_flags_begin(), has_gradient = job->grad_s != NULL;
    char *scratch = job->scratch + (size_t)kx_task_worker(task) * 3 * job->row_bytes;
    KX_TYPED(pair) pair = {.apart = (KX_REAL *)(void *)scratch, .n = job->n};
    kx_status_t status = KX_OK;
    for (int64_t r = begin; r < end; r++) {
        if ((r - begin) % POLL_ROWS == 0 && kx_task_should_stop(task)) {
            status = KX_E_CANCELLED;
            break;
        }
        pair.s = (const KX_REAL *)(const void *)(job->s + r * job->s_stride);
        pair.t = (const KX_REAL *)(const void *)(job->t + r * job->t_stride);
        if (job->weights) pair.weights = (const KX_REAL *)(const void *)(job->weights + r * job->weight_stride);
        pair.e_s = (KX_REAL *)(void *)(has_gradient ? job->grad_s + r * job->grad_stride : scratch + job->row_bytes);
        pair.e_t = (KX_REAL *)(void *)(has_gradient ? job->grad_t + r * job->grad_stride : scratch + 2 * job->row_bytes);
        ((KX_REAL *)(void *)job->loss)[r] = R(KX_TYPED(solve_row)(job, &pair, job->ids ? job->ids[r] : 0, has_gradient));
    }
    kx_flags_end(flags, 0);
    return status;
}

static kx_status_t KX_TYPED(solve)(const kx_ctx_t *ctx, kx_contrast_job_t *job, int64_t count) {
    if (count < 0 || job->n < 1 || !job->grad_s != !job->grad_t) return KX_E_ARGUMENT;
    if (count == 0) return KX_OK;
    const int64_t grain = 1 + CHUNK_ENTRIES / job->n, tasks = (count - 1) / grain + 1;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    kx_layout_t layout = {0};
    kx_layout_add(&layout, job->n, sizeof(KX_REAL));
    job->row_bytes = layout.bytes;
    layout.bytes = 0;
    if (!layout.overflow) kx_layout_add(&layout, 3 * (workers < tasks ? workers : tasks), job->row_bytes);
    if (layout.overflow) return KX_E_OVERFLOW;
    job->scratch = (char *)kx_allocate(ctx, layout.bytes);
    if (!job->scratch) return KX_E_MEMORY;
    const kx_status_t status = kx_parallel_for(ctx, count, grain, KX_TYPED(solve_rows), job);
    kx_release(ctx, job->scratch);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_softmax_symmetric_kl)) KX_DIVERGENCE_PARAMETERS(KX_REAL) {
    kx_contrast_job_t job = {.s = (const char *)s, .t = (const char *)t, .n = n, .s_stride = s_stride, .t_stride = t_stride,
                             .grad_stride = grad_stride, .factor = 1, .loss = (char *)loss, .grad_s = (char *)grad_s,
                             .grad_t = (char *)grad_t};
    return KX_TYPED(solve)(ctx, &job, count);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_r_drop)) KX_R_DROP_PARAMETERS(KX_REAL) {
    if (!(alpha >= 0 && alpha <= (double)LARGEST) || (count > 0 && !ids && !weights)) return KX_E_ARGUMENT;
    kx_contrast_job_t job = {.s = (const char *)s, .t = (const char *)t, .weights = ids ? NULL : (const char *)weights,
                             .ids = ids, .n = n, .s_stride = s_stride, .t_stride = t_stride,
                             .weight_stride = weight_stride, .grad_stride = grad_stride, .factor = alpha / 2,
                             .loss = (char *)loss, .grad_s = (char *)grad_s, .grad_t = (char *)grad_t};
    return KX_TYPED(solve)(ctx, &job, count);
}

#endif /* KX_DISPATCH_PASS */

#endif
