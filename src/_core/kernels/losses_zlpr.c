/* ZLPR, the multi-label softmax cross-entropy, its sparse form, and the pairwise form.

   With targets of 0 and 1 an entry has one exponential, of z = -u or u: a pass over scores and targets adds it to one of
   two sums and keeps it in the gradient's row, negative where the target is 1, and a second pass over that row, which is
   in the first cache, scales by the sign. No exponent is relative to the largest unless one is above NEAR: a constant 1
   is in both sums, so that nothing is lost, and z is not rounded again. The few rows above NEAR are gone through again,
   for the largest exponents and then relative to them.

   Other targets need both exponentials, and the second pass computes them again. The logarithms of BLOCK rows are taken
   together: log(1 + A) + log(1 + B) = log1p(A + B + A B). */
#ifndef KX_REAL
#include "kexue/kx_losses.h"

#include "isa/kernel.h"

#define KX_ZLPR_PARAMETERS(real)                                                                                               \
    (const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double label_smoothing, real *loss, real *grad, ptrdiff_t grad_stride)
#define KX_SPARSE_PARAMETERS(real)                                                                                             \
    (const kx_ctx_t *ctx, const kx_loss_rows_t *rows, const int64_t *offsets, const int64_t *ids, real *loss, real *grad,      \
     ptrdiff_t grad_stride)
#define KX_RANK_PARAMETERS(real)                                                                                               \
    (const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double gamma, double margin, real *loss, real *grad, ptrdiff_t grad_stride)

KX_DISPATCH(kx_losses_zlpr_f32, KX_ZLPR_PARAMETERS(float), (ctx, rows, label_smoothing, loss, grad, grad_stride))
KX_DISPATCH(kx_losses_zlpr_f64, KX_ZLPR_PARAMETERS(double), (ctx, rows, label_smoothing, loss, grad, grad_stride))
KX_DISPATCH(kx_losses_zlpr_sparse_f32, KX_SPARSE_PARAMETERS(float), (ctx, rows, offsets, ids, loss, grad, grad_stride))
KX_DISPATCH(kx_losses_zlpr_sparse_f64, KX_SPARSE_PARAMETERS(double), (ctx, rows, offsets, ids, loss, grad, grad_stride))
KX_DISPATCH(kx_losses_pairwise_rank_f32, KX_RANK_PARAMETERS(float), (ctx, rows, gamma, margin, loss, grad, grad_stride))
KX_DISPATCH(kx_losses_pairwise_rank_f64, KX_RANK_PARAMETERS(double), (ctx, rows, gamma, margin, loss, grad, grad_stride))

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/byte_masks.h"
#include "isa/transpose.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

enum { BLOCK = 64, GROUP = 8, CHUNK_ENTRIES = 1 << 16 };
#define NEAR_RANK 20.0 /* exponents above, and below its negative, are relative: there is no constant in these sums */

/* What a pass is compiled for. */
enum { REAL_TARGETS = 1, MASKED = 2, RELATIVE = 4, RANKED = 8, WRITES = 16, TOPS_ALONE = 32 };

enum { INVALID, BINARY, GRADED };

typedef struct kx_zlpr_job {
    const kx_loss_rows_t *rows;
    double smoothing, gamma, margin;
    int is_ranked;
    const int64_t *offsets, *ids; /* NULL: not sparse */
    uint8_t *marks;               /* a row of n bytes, 0 between uses, for each worker */
    size_t marks_stride;
    void *loss, *grad;
    ptrdiff_t grad_stride;
} kx_zlpr_job_t;

static int labels_kind(const uint8_t *labels, const uint8_t *mask, int64_t n) {
    unsigned char any = 0, hidden = 0;
    for (int64_t i = 0; i < n; i++) any |= labels[i];
    if (mask)
        for (int64_t i = 0; i < n; i++) hidden |= (unsigned char)((labels[i] != 0) & (mask[i] == 0));
    return any > 1 || hidden ? INVALID : BINARY;
}

/* log(1 + e^base sum) where base is 0 or beyond NEAR. */
static double relative_term(double base, double sum) { return base == 0 ? log1p(sum) : base + log(sum + exp(-base)); }
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define NEAR 300.0 /* the product of two sums is finite */
#define LARGEST 0x1.fffffffffffffp1023
#include "losses_zlpr.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef NEAR
#undef LARGEST

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define KX_IS_FLOAT 1
#define NEAR 60.0f
#define LARGEST 0x1.fffffep127f
#include "losses_zlpr.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

typedef struct KX_TYPED(row) {
    const KX_REAL *scores, *targets;
    const uint8_t *labels, *mask;
    KX_REAL *grad;
    int64_t n;
    KX_REAL threshold, gamma, margin;
    KX_REAL kept, floor; /* label smoothing: t kept + floor */
} KX_TYPED(row);

/* Of a row: p of exponents -u of positives, n of exponents u of negatives */
typedef struct KX_TYPED(state) {
    KX_VECTOR top_u, top_p, top_n;
    KX_VECTOR base_p, base_n;   /* what is subtracted from exponents */
    KX_VECTOR scale_p, scale_n; /* for a gradient of other targets: what exponentials are multiplied with */
    kx_lane_sum_t sum_p, sum_n;
} KX_TYPED(state);

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load)(const KX_REAL *p, int64_t width, KX_REAL fill) {
    return width == KX_LANES ? V(load)(p) : V(load_part)(p, width, fill);
}
static KX_ALWAYS_INLINE KX_MASK KX_TYPED(load_bytes)(const uint8_t *p, int64_t width) {
    return width == KX_LANES ? M(from_bytes)(p) : M(from_bytes_part)(p, width);
}
static KX_ALWAYS_INLINE void KX_TYPED(store)(KX_REAL *p, int64_t width, KX_VECTOR value) {
    if (width == KX_LANES) V(store)(p, value);
    else V(store_part)(p, width, value);
}

static KX_ALWAYS_INLINE void KX_TYPED(add)(kx_lane_sum_t *sum, KX_VECTOR value) {
    KX_REAL lanes[KX_LANES];
    V(store)(lanes, value);
#if KX_IS_FLOAT
    const kx_f64v wide = kx_f64v_add(kx_f64v_load_f32(lanes), kx_f64v_load_f32(lanes + KX_F64_LANES));
#else
    const kx_f64v wide = kx_f64v_load(lanes);
#endif
    kx_lane_sum_add(sum, wide);
}

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(largest)(KX_VECTOR a) { return -V(reduce_min)(V(sub)(V(set)(R(0)), a)); }

/* `width` entries from number i on, of targets 0 and 1. */
static KX_ALWAYS_INLINE void KX_TYPED(binary_step)(const int form, const KX_TYPED(row) * row, KX_TYPED(state) * s, int64_t i,
                                                   int64_t width, KX_VECTOR *sums) {
    const KX_VECTOR zero = V(set)(R(0)), lowest = V(set)(-R(INFINITY));
    const KX_VECTOR score = KX_TYPED(load)(row->scores + i, width, -R(INFINITY));
    const KX_MASK positive = form & REAL_TARGETS ? V(less)(zero, KX_TYPED(load)(row->targets + i, width, R(0)))
                                                 : KX_TYPED(load_bytes)(row->labels + i, width);
    KX_VECTOR u = V(sub)(score, V(set)(row->threshold)), z;
    /* not of the score: gcc makes a masked load of that, which doubled the time (Zen 5, rows that are not aligned) */
    if (form & MASKED) u = V(select)(KX_TYPED(load_bytes)(row->mask + i, width), u, lowest);
    if (form & RANKED)
        z = V(mul)(V(set)(row->gamma), V(select)(positive, V(sub)(zero, u), V(add)(u, V(set)(row->margin))));
    else z = V(select)(positive, V(sub)(zero, u), u);
    if (form & TOPS_ALONE) {
        s->top_p = V(max)(V(select)(positive, z, lowest), s->top_p);
        s->top_n = V(max)(V(select)(positive, lowest, z), s->top_n);
        if (form & RANKED) s->top_u = V(max)(u, s->top_u);
        return;
    }
    if (form & RELATIVE) {
        z = V(sub)(z, V(select)(positive, s->base_p, s->base_n));
    } else {
        s->top_p = V(max)(z, s->top_p);
        s->top_u = V(max)(u, s->top_u);
    }
    const KX_VECTOR e = V(exp)(z);
    sums[0] = V(add_where)(positive, sums[0], e);
    sums[1] = V(add)(sums[1], V(select)(positive, zero, e));
    if (form & WRITES) KX_TYPED(store)(row->grad + i, width, V(select)(positive, V(sub)(zero, e), e));
}

/* The same of any targets, without RANKED and TOPS_ALONE; WRITES is the second pass, and sums nothing. */
static KX_ALWAYS_INLINE void KX_TYPED(graded_step)(const int form, const KX_TYPED(row) * row, KX_TYPED(state) * s, int64_t i,
                                                   int64_t width, KX_VECTOR *sums) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1)), lowest = V(set)(-R(INFINITY));
    const KX_VECTOR score = KX_TYPED(load)(row->scores + i, width, -R(INFINITY));
    const KX_VECTOR target = form & REAL_TARGETS
                                 ? KX_TYPED(load)(row->targets + i, width, R(0))
                                 : V(select)(KX_TYPED(load_bytes)(row->labels + i, width), one, zero);
    KX_VECTOR present = V(select)(V(less)(score, V(set)(-LARGEST)), V(select)(V(less)(zero, target), one, zero), one);
    if (form & MASKED) present = V(select)(KX_TYPED(load_bytes)(row->mask + i, width), present, zero);
    const KX_VECTOR u = V(select)(V(less)(zero, present), V(sub)(score, V(set)(row->threshold)), zero);
    const KX_VECTOR kept = V(set)(row->kept), floor = V(set)(row->floor);
    const KX_VECTOR p = V(mul)(present, V(add)(V(mul)(target, kept), floor));
    const KX_VECTOR n = V(mul)(present, V(add)(V(mul)(V(sub)(one, target), kept), floor));
    /* not 0 times infinity */
    KX_VECTOR x = V(select)(V(less)(zero, p), V(sub)(zero, u), lowest), y = V(select)(V(less)(zero, n), u, lowest);
    if (!(form & RELATIVE)) {
        s->top_p = V(max)(x, s->top_p);
        s->top_n = V(max)(y, s->top_n);
        s->top_u = V(max)(u, s->top_u);
    }
    x = V(mul)(p, V(exp)(V(sub)(x, s->base_p)));
    y = V(mul)(n, V(exp)(V(sub)(y, s->base_n)));
    if (form & WRITES) {
        KX_TYPED(store)(row->grad + i, width, V(sub)(V(mul)(y, s->scale_n), V(mul)(x, s->scale_p)));
    } else {
        sums[0] = V(add)(sums[0], x);
        sums[1] = V(add)(sums[1], y);
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(sweep)(const int form, const int kind, const KX_TYPED(row) * row, KX_TYPED(state) * s) {
    const int64_t whole = row->n / KX_LANES * KX_LANES, tail = row->n - whole;
    KX_TYPED(state) local = *s; /* registers */
    const kx_f64v none = kx_f64v_set(0);
    local.sum_p = local.sum_n = (kx_lane_sum_t){none, none};
    for (int64_t first = 0; first < row->n; first += GROUP * KX_LANES) {
        const int64_t last = whole - first < GROUP * KX_LANES ? whole : first + GROUP * KX_LANES;
        KX_VECTOR sums[2] = {V(set)(R(0)), V(set)(R(0))};
        for (int64_t i = first; i < last; i += KX_LANES) {
            if (kind == BINARY) KX_TYPED(binary_step)(form, row, &local, i, KX_LANES, sums);
            else KX_TYPED(graded_step)(form, row, &local, i, KX_LANES, sums);
        }
        if (last == whole && tail && row->n - first <= GROUP * KX_LANES) {
            if (kind == BINARY) KX_TYPED(binary_step)(form, row, &local, whole, tail, sums);
            else KX_TYPED(graded_step)(form, row, &local, whole, tail, sums);
        }
        if (!(form & TOPS_ALONE)) {
            KX_TYPED(add)(&local.sum_p, sums[0]);
            KX_TYPED(add)(&local.sum_n, sums[1]);
        }
    }
    *s = local;
}

/* A compiled loop for each combination that is used: the forms of targets and masks times `pass`. */
#define KX_SWEEPS(name, kind, pass)                                                                                            \
    static void KX_TYPED(name)(const KX_TYPED(row) * row, KX_TYPED(state) * s) {                                               \
        if (row->labels) {                                                                                                     \
            if (row->mask) KX_TYPED(sweep)(MASKED | (pass), kind, row, s);                                                     \
            else KX_TYPED(sweep)(pass, kind, row, s);                                                                          \
        } else {                                                                                                               \
            if (row->mask) KX_TYPED(sweep)(REAL_TARGETS | MASKED | (pass), kind, row, s);                                      \
            else KX_TYPED(sweep)(REAL_TARGETS | (pass), kind, row, s);                                                         \
        }                                                                                                                      \
    }
KX_SWEEPS(binary_sums, BINARY, 0)
KX_SWEEPS(binary_kept_sums, BINARY, WRITES)
KX_SWEEPS(binary_tops, BINARY, TOPS_ALONE)
KX_SWEEPS(binary_relative_sums, BINARY, RELATIVE)
KX_SWEEPS(binary_relative_kept_sums, BINARY, RELATIVE | WRITES)
KX_SWEEPS(ranked_tops, BINARY, RANKED | TOPS_ALONE)
KX_SWEEPS(ranked_sums, BINARY, RANKED | RELATIVE)
KX_SWEEPS(ranked_kept_sums, BINARY, RANKED | RELATIVE | WRITES)
KX_SWEEPS(graded_sums, GRADED, 0)
KX_SWEEPS(graded_relative_sums, GRADED, RELATIVE)
KX_SWEEPS(graded_gradient, GRADED, RELATIVE | WRITES)
#undef KX_SWEEPS

/* Of real targets; what is outside [0, 1] makes t (1 - t) negative or NaN. */
static int KX_TYPED(targets_kind)(const KX_TYPED(row) * row) {
    const KX_VECTOR zero = V(set)(R(0)), one = V(set)(R(1));
    KX_VECTOR least = zero, most = zero, sum = zero, hidden = zero;
    for (int64_t i = 0; i < row->n; i += KX_LANES) {
        const int64_t width = row->n - i < KX_LANES ? row->n - i : KX_LANES;
        const KX_VECTOR t = KX_TYPED(load)(row->targets + i, width, R(0)), product = V(mul)(t, V(sub)(one, t));
        least = V(min)(product, least);
        most = V(max)(product, most);
        sum = V(add)(sum, product);
        if (row->mask) hidden = V(max)(V(select)(KX_TYPED(load_bytes)(row->mask + i, width), zero, t), hidden);
    }
    KX_REAL lanes[KX_LANES], total = 0;
    V(store)(lanes, sum);
    for (int i = 0; i < KX_LANES; i++) total += lanes[i];
    if (isnan(total) || V(reduce_min)(least) < 0 || KX_TYPED(largest)(hidden) > 0) return INVALID;
    return KX_TYPED(largest)(most) > 0 ? GRADED : BINARY;
}

static void KX_TYPED(begin)(KX_TYPED(state) * s) {
    s->top_u = s->top_p = s->top_n = V(set)(-R(INFINITY));
    s->base_p = s->base_n = s->scale_p = s->scale_n = V(set)(R(0));
}

static KX_ALWAYS_INLINE void KX_TYPED(totals)(const KX_TYPED(state) * s, double *p, double *n) {
    double sums[4];
    kx_f64v_sum4(sums, s->sum_p.total, s->sum_p.lost, s->sum_n.total, s->sum_n.lost);
    *p = sums[0] + sums[1];
    *n = sums[2] + sums[3];
}

/* Exponentials of the gradient's row times the scale of their sign. */
static void KX_TYPED(scale)(KX_REAL *grad, int64_t n, double of_p, double of_n) {
    const KX_VECTOR zero = V(set)(R(0)), scale_p = V(set)(R(of_p)), scale_n = V(set)(R(of_n));
    int64_t i = 0;
    for (; i + KX_LANES <= n; i += KX_LANES) {
        const KX_VECTOR e = V(load)(grad + i);
        V(store)(grad + i, V(mul)(e, V(select)(V(less)(e, zero), scale_p, scale_n)));
    }
    if (i < n) {
        const KX_VECTOR e = V(load_part)(grad + i, n - i, R(0));
        V(store_part)(grad + i, n - i, V(mul)(e, V(select)(V(less)(e, zero), scale_p, scale_n)));
    }
}

static KX_REAL KX_TYPED(base_of)(KX_REAL top, KX_REAL near, KX_REAL far) { /* far: below it, -inf for never */
    return top > -R(INFINITY) && (top > near || top < far) ? top : R(0);
}

/* loss = *base + log1p(*x). Returns whether the row is valid. */
static int KX_TYPED(binary_row)(const KX_TYPED(row) * row, double *base, double *x) {
    KX_TYPED(state) s;
    KX_TYPED(begin)(&s);
    double p, n;
    if (row->grad) KX_TYPED(binary_kept_sums)(row, &s);
    else KX_TYPED(binary_sums)(row, &s);
    if (!(KX_TYPED(largest)(s.top_u) < R(INFINITY))) return 0;
    *base = 0;
    if (KX_TYPED(largest)(s.top_p) <= NEAR) {
        KX_TYPED(totals)(&s, &p, &n);
        if (isnan(p) || isnan(n)) return 0;
        *x = p + n + p * n;
        if (row->grad) KX_TYPED(scale)(row->grad, row->n, 1 / (1 + p), 1 / (1 + n));
        return 1;
    }
    s.top_p = s.top_n = V(set)(-R(INFINITY));
    KX_TYPED(binary_tops)(row, &s);
    const KX_REAL base_p = KX_TYPED(base_of)(KX_TYPED(largest)(s.top_p), NEAR, -R(INFINITY));
    const KX_REAL base_n = KX_TYPED(base_of)(KX_TYPED(largest)(s.top_n), NEAR, -R(INFINITY));
    if (base_p == R(INFINITY)) return 0;
    s.base_p = V(set)(base_p);
    s.base_n = V(set)(base_n);
    if (row->grad) KX_TYPED(binary_relative_kept_sums)(row, &s);
    else KX_TYPED(binary_relative_sums)(row, &s);
    KX_TYPED(totals)(&s, &p, &n);
    if (isnan(p) || isnan(n)) return 0;
    *base = relative_term((double)base_p, p) + relative_term((double)base_n, n);
    *x = 0;
    if (row->grad)
        KX_TYPED(scale)(row->grad, row->n, 1 / (exp(-(double)base_p) + p), 1 / (exp(-(double)base_n) + n));
    return 1;
}

static int KX_TYPED(graded_row)(const KX_TYPED(row) * row, double *base, double *x) {
    KX_TYPED(state) s;
    KX_TYPED(begin)(&s);
    KX_TYPED(graded_sums)(row, &s);
    const KX_REAL top_p = KX_TYPED(largest)(s.top_p), top_n = KX_TYPED(largest)(s.top_n);
    if (!(KX_TYPED(largest)(s.top_u) < R(INFINITY)) || top_p == R(INFINITY)) return 0;
    const KX_REAL base_p = KX_TYPED(base_of)(top_p, NEAR, -R(INFINITY)), base_n = KX_TYPED(base_of)(top_n, NEAR, -R(INFINITY));
    s.base_p = V(set)(base_p);
    s.base_n = V(set)(base_n);
    if (base_p != 0 || base_n != 0) KX_TYPED(graded_relative_sums)(row, &s);
    double p, n;
    KX_TYPED(totals)(&s, &p, &n);
    if (isnan(p) || isnan(n)) return 0;
    *base = base_p != 0 || base_n != 0 ? relative_term((double)base_p, p) + relative_term((double)base_n, n) : 0;
    *x = base_p != 0 || base_n != 0 ? 0 : p + n + p * n;
    if (row->grad) {
        s.scale_p = V(set)(R(1 / (exp(-(double)base_p) + p)));
        s.scale_n = V(set)(R(1 / (exp(-(double)base_n) + n)));
        KX_TYPED(graded_gradient)(row, &s);
    }
    return 1;
}

static int KX_TYPED(ranked_row)(const KX_TYPED(row) * row, double *base, double *x) {
    KX_TYPED(state) s;
    KX_TYPED(begin)(&s);
    KX_TYPED(ranked_tops)(row, &s);
    const KX_REAL top_p = KX_TYPED(largest)(s.top_p), top_n = KX_TYPED(largest)(s.top_n), infinity = R(INFINITY);
    if (!(KX_TYPED(largest)(s.top_u) < infinity) || top_p == infinity || top_n == infinity) return 0;
    /* gamma divided by a sum of far smaller exponentials would leave the range */
    const KX_REAL near = row->gamma < R(0x1p90) ? R(NEAR_RANK) : R(0);
    const KX_REAL base_p = KX_TYPED(base_of)(top_p, near, -near), base_n = KX_TYPED(base_of)(top_n, near, -near);
    s.base_p = V(set)(base_p);
    s.base_n = V(set)(base_n);
    if (row->grad) KX_TYPED(ranked_kept_sums)(row, &s);
    else KX_TYPED(ranked_sums)(row, &s);
    double p, n;
    KX_TYPED(totals)(&s, &p, &n);
    if (isnan(p) || isnan(n)) return 0;
    *base = *x = 0;
    double share = 0; /* of the product in 1 + product */
    if (p > 0 && n > 0) {
        const double exponent = (double)base_p + (double)base_n + log(p) + log(n), small = exp(-fabs(exponent));
        *base = exponent > 0 ? exponent : 0;
        *x = small;
        share = exponent > 0 ? 1 / (1 + small) : small / (1 + small);
    }
    if (row->grad) {
        const double factor = (double)row->gamma * share;
        KX_TYPED(scale)(row->grad, row->n, p > 0 ? factor / p : 0, n > 0 ? factor / n : 0);
    }
    return 1;
}

/* Of a sparse row: marks its positives; the count of marks to take away again, and whether they are valid. */
static int64_t KX_TYPED(mark)(const kx_zlpr_job_t *job, uint8_t *marks, const uint8_t *mask, int64_t r, int *is_valid) {
    const int64_t begin = job->offsets[r], end = job->offsets[r + 1], n = job->rows->n;
    int64_t k = begin;
    for (; k < end; k++) {
        const int64_t id = job->ids[k];
        if (id < 0 || id >= n || marks[id] || (mask && !mask[id])) break;
        marks[id] = 1;
    }
    *is_valid = k == end;
    return k - begin;
}

static int KX_TYPED(solve_row)(const kx_zlpr_job_t *job, KX_TYPED(row) * row, double *base, double *x) {
    const int kind = row->labels ? labels_kind(row->labels, row->mask, row->n) : KX_TYPED(targets_kind)(row);
    if (kind == INVALID) return 0;
    if (job->is_ranked) return kind == BINARY && KX_TYPED(ranked_row)(row, base, x);
    return kind == BINARY && job->smoothing == 0 ? KX_TYPED(binary_row)(row, base, x) : KX_TYPED(graded_row)(row, base, x);
}

static kx_status_t KX_TYPED(solve_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_zlpr_job_t *job = (const kx_zlpr_job_t *)arg;
    const kx_loss_rows_t *rows = job->rows;
    const int flags = kx_flags_begin();
    uint8_t *marks = job->marks ? job->marks + (size_t)kx_task_worker(task) * job->marks_stride : NULL;
    KX_TYPED(row) row = {.n = rows->n, .gamma = R(job->gamma), .margin = R(job->margin), .kept = R(1 - job->smoothing),
                         .floor = R(job->smoothing / 2)};
    kx_status_t status = KX_OK;
    for (int64_t first = begin; first < end; first += BLOCK) {
        if (kx_task_should_stop(task)) {
            status = KX_E_CANCELLED;
            break;
        }
        const int64_t last = end - first < BLOCK ? end : first + BLOCK;
        double base[BLOCK] = {0}, x[BLOCK] = {0};
        for (int64_t r = first; r < last; r++) {
            row.scores = (const KX_REAL *)(const void *)((const char *)rows->scores + r * rows->score_stride);
            row.mask = rows->mask ? rows->mask + r * rows->mask_stride : NULL;
            row.labels = marks ? marks : rows->labels ? rows->labels + r * rows->label_stride : NULL;
            if (!row.labels) row.targets = (const KX_REAL *)(const void *)((const char *)rows->targets + r * rows->target_stride);
            if (rows->thresholds && !job->is_ranked)
                row.threshold = *(const KX_REAL *)(const void *)((const char *)rows->thresholds + r * rows->threshold_stride);
            if (job->grad) row.grad = (KX_REAL *)(void *)((char *)job->grad + r * job->grad_stride);
            int is_valid = 1;
            const int64_t marked = marks ? KX_TYPED(mark)(job, marks, row.mask, r, &is_valid) : 0;
            is_valid = is_valid && isfinite(row.threshold) && KX_TYPED(solve_row)(job, &row, base + (r - first), x + (r - first));
            for (int64_t k = 0; k < marked; k++) marks[job->ids[job->offsets[r] + k]] = 0;
            if (is_valid) continue;
            base[r - first] = (double)NAN;
            x[r - first] = 0;
            for (int64_t i = 0; i < row.n && row.grad; i++) row.grad[i] = R(NAN);
        }
        for (int64_t i = 0; i < last - first; i += KX_F64_LANES)
            kx_f64v_store(x + i, kx_f64v_add(kx_f64v_load(base + i), kx_f64v_log1p(kx_f64v_load(x + i))));
        for (int64_t i = 0; i < last - first; i++) ((KX_REAL *)job->loss)[first + i] = R(x[i]);
    }
    kx_flags_end(flags, 0);
    return status;
}

static kx_status_t KX_TYPED(solve)(const kx_ctx_t *ctx, kx_zlpr_job_t *job) {
    const kx_loss_rows_t *rows = job->rows;
    if (rows->n > INT64_MAX / 64) return KX_E_OVERFLOW;
    const int64_t grain = 1 + CHUNK_ENTRIES / (rows->n + 1), tasks = (rows->count - 1) / grain + 1;
    if (job->offsets) {
        const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
        kx_layout_t layout = {0};
        kx_layout_add(&layout, rows->n, 1);
        job->marks_stride = layout.bytes + 64; /* not NULL for n = 0 */
        layout.bytes = 0;
        kx_layout_add(&layout, workers < tasks ? workers : tasks, job->marks_stride);
        if (layout.overflow) return KX_E_OVERFLOW;
        job->marks = (uint8_t *)kx_allocate(ctx, layout.bytes);
        if (!job->marks) return KX_E_MEMORY;
        memset(job->marks, 0, layout.bytes);
    }
    const kx_status_t status = kx_parallel_for(ctx, rows->count, grain, KX_TYPED(solve_rows), job);
    kx_release(ctx, job->marks);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_zlpr)) KX_ZLPR_PARAMETERS(KX_REAL) {
    if (rows->count < 0 || rows->n < 0 || !(label_smoothing >= 0 && label_smoothing <= 1)) return KX_E_ARGUMENT;
    if (rows->count == 0) return KX_OK;
    if (!rows->labels && !rows->targets) return KX_E_ARGUMENT;
    kx_zlpr_job_t job = {.rows = rows, .smoothing = label_smoothing, .loss = loss, .grad = grad, .grad_stride = grad_stride};
    return KX_TYPED(solve)(ctx, &job);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_zlpr_sparse)) KX_SPARSE_PARAMETERS(KX_REAL) {
    if (rows->count < 0 || rows->n < 0) return KX_E_ARGUMENT;
    for (int64_t r = 0; r < rows->count; r++)
        if (offsets[r + 1] < offsets[r]) return KX_E_ARGUMENT;
    if (rows->count == 0) return KX_OK;
    kx_zlpr_job_t job = {.rows = rows, .offsets = offsets, .ids = ids, .loss = loss, .grad = grad, .grad_stride = grad_stride};
    return KX_TYPED(solve)(ctx, &job);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_pairwise_rank)) KX_RANK_PARAMETERS(KX_REAL) {
    if (rows->count < 0 || rows->n < 0 || !(R(gamma) > 0 && R(gamma) < R(INFINITY)) ||
        !isfinite(R(margin)))
        return KX_E_ARGUMENT;
    if (rows->count == 0) return KX_OK;
    if (!rows->labels && !rows->targets) return KX_E_ARGUMENT;
    kx_zlpr_job_t job = {.rows = rows, .gamma = gamma, .margin = margin, .is_ranked = 1, .loss = loss, .grad = grad,
                         .grad_stride = grad_stride};
    return KX_TYPED(solve)(ctx, &job);
}

#endif /* KX_DISPATCH_PASS */

#endif
