/* Entropy normalisation: groups of rows, their passes over memory, and the call. The method is in entropy_internal.h.

   Rows shorter than LONG_ROW lie side by side in the lanes, entry by entry, so that the iteration's scalar part (logarithms, roots,
   divisions, 100 ns) is shared; longer ones fill the lanes one at a time. Which it is depends on a row's own length, so its result does
   not depend on its neighbours. float64 rows iterate in float32 first, where an exponential costs a third, and end with one pass in
   float64: 13% faster at rows of 100, 15% at 5000.

   The template below is compiled for double and for float. */
#ifndef KX_REAL
#include "kexue/kx_entropy.h"

#include "isa/kernel.h"

#ifdef KX_DISPATCH_PASS

void kx_entropy_options_init(kx_entropy_options_t *options) {
    options->domain = KX_ENTROPY_WEIGHTS;
    options->target = KX_ENTROPY_TARGET_ENTROPY;
    options->tolerance = 1e-13;
    options->max_iter = 100;
}

#else
#include <float.h>

#include "kernels/entropy_internal.h"

/* ATTAINED, of the statuses: the target is log s, by gamma = 0. */
enum { ATTAINED = 100, LANES = KX_ENTROPY_LANES, LONG_ROW = 384, PRELUDE = 12, BLOCK = 64, PREFETCHED = 1 << 18 };

/* One group at work. */
typedef struct kx_entropy_work {
    kx_entropy_group_t group;
    kx_entropy_lines_t lines;
    double largest[LANES], unit[LANES], log_support[LANES], log_ties[LANES];
    double counts[2][LANES]; /* whose logarithms these are */
    int32_t status[LANES]; /* 0 for now: to be solved */
    unsigned holes;        /* whether entries without weight are among the group's */
    /* arrays of count * LANES, and of count: */
    void *exponents, *weights;
    float *narrow;
    uint32_t *open; /* a bit for each entry that has weight */
} kx_entropy_work_t;

typedef struct kx_entropy_job {
    const void *values;
    const int64_t *offsets;
    const double *targets;
    int64_t rows, n;
    ptrdiff_t targets_stride;
    const kx_entropy_options_t *options;
    const kx_entropy_outputs_t *outputs;
    int64_t entries; /* of the arrays of one work */
    size_t exponents, weights, narrow, open, work_bytes; /* where they are in its block, and its size */
    char *works;
} kx_entropy_job_t;

/* The targets as gaps, and what can be told without solving. */
static void take_targets(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    double entropies[LANES], logarithm = 0, of = 1;
    /* The counts of one group are mostly those of the last. */
    if (memcmp(work->counts[0], group->support, sizeof group->support) || memcmp(work->counts[1], group->ties, sizeof group->ties)) {
        memcpy(work->counts[0], group->support, sizeof group->support);
        memcpy(work->counts[1], group->ties, sizeof group->ties);
        for (int at = 0; at < LANES; at += KX_F64_LANES) {
            kx_f64v_store(work->log_support + at, kx_f64v_log(kx_f64v_load(group->support + at)));
            kx_f64v_store(work->log_ties + at, kx_f64v_log(kx_f64v_load(group->ties + at)));
        }
    }
    for (int k = 0; k < work->lines.rows; k++) {
        const double target = *(const double *)((const char *)job->targets + work->lines.row[k] * job->targets_stride);
        entropies[k] = target;
        if (work->status[k]) continue;
        int valid;
        switch (job->options->target) {
        case KX_ENTROPY_TARGET_PERPLEXITY:
            valid = target >= 1 && target <= DBL_MAX;
            if (target != of) of = target, logarithm = log(of);
            entropies[k] = logarithm;
            break;
        case KX_ENTROPY_TARGET_FRACTION: {
            const int64_t left_out = job->options->domain == KX_ENTROPY_DISTANCES_TO_OTHERS;
            valid = target >= 0 && target <= 1;
            if ((double)(work->lines.length[k] - left_out) != of) of = (double)(work->lines.length[k] - left_out), logarithm = log(of);
            entropies[k] = target * logarithm;
            break;
        }
        default: valid = target >= 0 && target <= DBL_MAX;
        }
        if (!valid) work->status[k] = KX_E_ARGUMENT;
    }
    group->flat = 0;
    for (int k = 0; k < work->lines.rows; k++) {
        if (work->status[k]) continue;
        const double top = work->log_support[k], range = top - work->log_ties[k], slack = 4 * DBL_EPSILON * top;
        double high = top - entropies[k], low = entropies[k] - work->log_ties[k];
        if (job->options->target == KX_ENTROPY_TARGET_GAP_LOW) low = entropies[k], high = range - low;
        if (job->options->target == KX_ENTROPY_TARGET_GAP_HIGH) high = entropies[k], low = range - high;
        if (job->options->target == KX_ENTROPY_TARGET_GAP_HIGH ? high == 0 : fabs(high) <= slack) {
            work->status[k] = ATTAINED;
        } else if (group->ties[k] == group->support[k]) {
            work->status[k] = KX_ENTROPY_CONSTANT;
        } else if (high < 0) {
            work->status[k] = KX_ENTROPY_ABOVE;
        } else if (job->options->target == KX_ENTROPY_TARGET_GAP_LOW ? low == 0 : low <= 4 * DBL_EPSILON * work->log_ties[k]) {
            work->status[k] = KX_ENTROPY_BELOW;
        } else {
            group->flat |= (unsigned)(high <= low) << k;
            group->wanted[k] = high <= low ? high : low;
            group->range[k] = range;
            group->gamma[k] = 2 * high; /* gamma^2 variance, for now */
        }
    }
}

/* Lanes that hold no row to solve evaluate something harmless. */
static void begin_lanes(kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    group->active = 0;
    for (int k = 0; k < LANES; k++) {
        const int from = work->lines.is_long ? 0 : k, solves = from < work->lines.rows && !work->status[from];
        group->active |= (unsigned)solves << k;
        if (from != k) {
            group->wanted[k] = group->wanted[0], group->gamma[k] = group->gamma[0];
            group->flat |= (group->flat & 1) << k;
            group->range[k] = group->range[0];
        }
        if (!solves) group->wanted[k] = group->gamma[k] = 1;
        group->step[k] = 0;
        group->evaluations[k] = 0;
    }
}

static void forget_bracket(kx_entropy_group_t *group) {
    for (int k = 0; k < LANES; k++) {
        group->low[k] = 0;
        group->high[k] = group->error[k] = (double)INFINITY;
    }
}
#endif

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define LOWEST_EXPONENT (-100)
#define HIGHEST_EXPONENT 88
#define LARGEST FLT_MAX
#include "entropy_normalize.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef LOWEST_EXPONENT
#undef HIGHEST_EXPONENT
#undef LARGEST

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define LOWEST_EXPONENT (-740)
#define HIGHEST_EXPONENT 705
#define LARGEST DBL_MAX
#define NARROW_FIRST
#include "entropy_normalize.c"

#else /* the template */

#define KX_ENTROPY_PARAMETERS                                                                                          \
    (const kx_ctx_t *ctx, const KX_REAL *values, const int64_t *offsets, const double *targets, int64_t rows, int64_t n, \
     ptrdiff_t targets_stride, const kx_entropy_options_t *options, const kx_entropy_outputs_t *outputs)
KX_DISPATCH(KX_TYPED(kx_entropy_normalize), KX_ENTROPY_PARAMETERS,
            (ctx, values, offsets, targets, rows, n, targets_stride, options, outputs))

#ifndef KX_DISPATCH_PASS
#define V(operation) KX_PASTE(KX_PASTE(KX_VECTOR, _), operation)
#define FROM_BITS KX_PASTE(KX_MASK, _from_bits)
#define BITS KX_PASTE(KX_MASK, _bits)

#include "kernels/entropy_template.h"

/* The sums of one evaluation, for lanes that are all flat or all peaked; `weights` (if any) gets e^c in the lanes of `keep`. */
static KX_ALWAYS_INLINE void KX_TYPED(evaluate)(int flat, const KX_REAL *x, int64_t count, const double *gamma, unsigned keep,
                                                KX_REAL *weights, double sums[4][LANES]) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), one = V(set)((KX_REAL)1), half = V(set)((KX_REAL)0.5);
    const KX_VECTOR lowest = V(set)((KX_REAL)LOWEST_EXPONENT), highest = V(set)((KX_REAL)HIGHEST_EXPONENT);
    for (int at = 0; at < LANES; at += KX_LANES) {
        const KX_VECTOR g = KX_TYPED(lanes_of)(gamma + at);
        const unsigned all = (unsigned)((1ull << KX_LANES) - 1), kept = keep >> at & all;
        const KX_MASK keeps = FROM_BITS(kept);
        for (int k = 0; k < 4; k++) memset(sums[k] + at, 0, KX_LANES * sizeof(double));
        for (int64_t base = 0; base < count; base += BLOCK) {
            const int64_t end = count - base < BLOCK ? count : base + BLOCK;
            KX_VECTOR rest = zero, first = zero, second = zero, third = zero;
            for (int64_t j = base; j < end; j++) {
                KX_VECTOR c = V(mul)(g, V(load)(x + j * LANES + at)), n, r, e;
                const KX_VECTOR bounded = V(max)(flat ? V(min)(c, highest) : c, lowest);
                const KX_VECTOR tail = V(exp_parts)(bounded, &n, &r), less_one = V(add)(r, tail);
                if (flat) {
                    const KX_VECTOR power = V(scale)(one, n), minus_one = V(fma)(power, less_one, V(sub)(power, one));
                    rest = V(add)(rest, V(select)(V(less)(V(abs)(n), half), tail, V(sub)(minus_one, c)));
                    first = V(fma)(c, minus_one, first);
                    e = V(fma)(power, less_one, power);
                } else {
                    c = bounded; /* 0 times inf has to be 0 */
                    e = V(scale)(V(add)(one, less_one), n);
                    rest = V(add_where)(V(less)(c, zero), rest, e);
                    first = V(fma)(c, e, first);
                }
                const KX_VECTOR square = V(mul)(V(mul)(c, c), e);
                second = V(add)(second, square);
                third = V(fma)(c, square, third);
                if (weights) {
                    KX_REAL *to = weights + j * LANES + at;
                    V(store)(to, kept == all ? e : V(select)(keeps, e, V(load)(to)));
                }
            }
            KX_TYPED(add_to)(sums[0] + at, rest);
            KX_TYPED(add_to)(sums[1] + at, first);
            KX_TYPED(add_to)(sums[2] + at, second);
            KX_TYPED(add_to)(sums[3] + at, third);
        }
    }
}
static KX_NEVER_INLINE void KX_TYPED(evaluate_flat)(const KX_REAL *x, int64_t count, const double *gamma, unsigned keep,
                                                    KX_REAL *weights, double sums[4][LANES]) {
    KX_TYPED(evaluate)(1, x, count, gamma, keep, weights, sums);
}
static KX_NEVER_INLINE void KX_TYPED(evaluate_peaked)(const KX_REAL *x, int64_t count, const double *gamma, unsigned keep,
                                                      KX_REAL *weights, double sums[4][LANES]) {
    KX_TYPED(evaluate)(0, x, count, gamma, keep, weights, sums);
}

/* One evaluation of all lanes. Where flat and peaked rows meet, both forms are evaluated. */
static void KX_TYPED(evaluate_group)(kx_entropy_work_t *work, const KX_REAL *x, KX_REAL *weights) {
    kx_entropy_group_t *group = &work->group;
    if (group->centred == KX_ENTROPY_ALL) {
        KX_TYPED(evaluate_flat)(x, work->lines.count, group->gamma, KX_ENTROPY_ALL, weights, group->sums);
    } else {
        KX_TYPED(evaluate_peaked)(x, work->lines.count, group->gamma, KX_ENTROPY_ALL, weights, group->sums);
        if (group->centred) {
            double sums[4][LANES];
            KX_TYPED(evaluate_flat)(x, work->lines.count, group->gamma, group->centred, weights, sums);
            for (int s = 0; s < 4; s++)
                for (int k = 0; k < LANES; k++)
                    if (group->centred >> k & 1) group->sums[s][k] = sums[s][k];
        }
    }
    if (work->lines.is_long)
        for (int s = 0; s < 4; s++) kx_entropy_spread_sum(group->sums[s], LANES);
}

/* The values side by side; what is not there is an entry without weight. */
static void KX_TYPED(load_rows)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    const kx_entropy_domain_t domain = job->options->domain;
    const KX_REAL nothing = domain == KX_ENTROPY_WEIGHTS ? 0 : domain == KX_ENTROPY_LOGITS ? -(KX_REAL)INFINITY : (KX_REAL)INFINITY;
    KX_REAL *x = work->exponents;
    KX_TYPED(load_lines)(job->values, &work->lines, LANES, nothing, x);
    if (domain == KX_ENTROPY_DISTANCES_TO_OTHERS)
        for (int k = 0; k < work->lines.rows; k++)
            if (work->lines.row[k] < work->lines.length[k]) x[work->lines.is_long ? work->lines.row[k] : work->lines.row[k] * LANES + k] = nothing;
}

/* A lane with a bad row, or none: told from the others, and made harmless. */
static void KX_TYPED(set_aside)(const kx_entropy_job_t *job, kx_entropy_work_t *work, int lane, int32_t status) {
    KX_REAL *x = work->exponents;
    const KX_REAL some = job->options->domain == KX_ENTROPY_WEIGHTS ? 1 : 0;
    work->status[lane] = status;
    for (int64_t i = work->lines.is_long ? 0 : lane; i < work->lines.count * LANES; i += work->lines.is_long ? 1 : LANES) x[i] = some;
    work->largest[lane] = (double)some;
}

static void KX_TYPED(find_largest)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    const kx_entropy_domain_t domain = job->options->domain;
    const int weighs = domain == KX_ENTROPY_WEIGHTS, negative = domain >= KX_ENTROPY_DISTANCES;
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    KX_REAL *x = work->exponents, largest[LANES], lowest[LANES], check[LANES];
    for (int at = 0; at < LANES; at += KX_LANES) {
        KX_VECTOR top = weighs ? zero : V(set)(-(KX_REAL)INFINITY), bottom = zero, sum = zero;
        for (int64_t j = 0; j < work->lines.count; j++) {
            KX_VECTOR value = V(load)(x + j * LANES + at);
            if (negative) {
                value = V(sub)(zero, value);
                V(store)(x + j * LANES + at, value);
            }
            top = V(max)(value, top);
            bottom = V(min)(value, bottom);
            sum = V(fma)(value, zero, sum);
        }
        V(store)(largest + at, top);
        V(store)(lowest + at, bottom);
        V(store)(check + at, sum);
    }
    if (work->lines.is_long)
        for (int k = 1; k < LANES; k++) {
            if (largest[k] > largest[0]) largest[0] = largest[k];
            if (lowest[k] < lowest[0]) lowest[0] = lowest[k];
            check[0] += check[k];
        }
    for (int k = 0; k < LANES; k++) {
        const int from = work->lines.is_long ? 0 : k;
        work->largest[k] = (double)largest[from];
        if (from != k) continue;
        if (k >= work->lines.rows) {
            KX_TYPED(set_aside)(job, work, k, KX_E_EMPTY);
            continue;
        }
        int32_t status = largest[k] == (weighs ? 0 : -(KX_REAL)INFINITY) ? KX_E_EMPTY : KX_OK;
        if (check[k] != 0 || (weighs && lowest[k] < 0)) {
            int has_negative = 0, has_nonfinite = 0;
            for (int64_t i = k; i < work->lines.count * LANES; i += work->lines.is_long ? 1 : LANES) {
                has_nonfinite |= isnan(x[i]) || x[i] == (KX_REAL)INFINITY;
                has_negative |= x[i] < 0;
            }
            if (has_nonfinite || (weighs && has_negative)) status = has_nonfinite ? KX_E_NONFINITE : KX_E_NEGATIVE;
        }
        if (status) KX_TYPED(set_aside)(job, work, k, status);
    }
    if (work->lines.is_long)
        for (int k = 1; k < LANES; k++) work->largest[k] = work->largest[0];
}

/* v = log(weight / largest) <= 0, or 0 where there is no weight; counts, and the sums for the mean. */
static void KX_TYPED(take_logarithms)(const kx_entropy_job_t *job, kx_entropy_work_t *work, double *sum, double *range) {
    kx_entropy_group_t *group = &work->group;
    const int weighs = job->options->domain == KX_ENTROPY_WEIGHTS;
    const KX_VECTOR zero = V(set)((KX_REAL)0), one = V(set)((KX_REAL)1);
    const KX_VECTOR farthest = V(set)(-(KX_REAL)LARGEST); /* where the difference overflows */
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    KX_REAL *x = work->exponents;
    work->holes = 0;
    for (int at = 0; at < LANES; at += KX_LANES) {
        const KX_TYPED(top_t) top = KX_TYPED(top_of)(work->largest + at);
        const KX_VECTOR bottom = weighs ? zero : V(set)(-(KX_REAL)INFINITY);
        KX_VECTOR total = zero, lowest = zero, below = zero, closed = zero;
        for (int64_t j = 0; j < work->lines.count; j++) {
            KX_REAL *place = x + j * LANES + at;
            const KX_VECTOR value = V(load)(place);
            const KX_MASK is_open = V(less)(bottom, value);
            const unsigned open = BITS(is_open);
            const KX_VECTOR v = weighs ? KX_TYPED(log_of_share)(&top, is_open, value)
                                       : V(select)(is_open, V(max)(V(sub)(value, top.largest), farthest), zero);
            V(store)(place, v);
            total = V(add)(total, v);
            lowest = V(min)(v, lowest);
            below = V(add_where)(V(less)(v, zero), below, one);
            if (open != all) {
                if (!work->holes) memset(work->open, 0xff, (size_t)work->lines.count * sizeof *work->open);
                work->holes = 1;
                work->open[j] &= ~((uint32_t)(open ^ all) << at);
                closed = V(add)(closed, V(select)(is_open, zero, one));
            }
        }
        double nothing[KX_LANES] = {0}, lower[KX_LANES] = {0}, low[KX_LANES] = {0};
        KX_TYPED(add_to)(nothing, closed);
        KX_TYPED(add_to)(lower, below);
        KX_TYPED(add_to)(low, lowest);
        memset(sum + at, 0, KX_LANES * sizeof *sum);
        KX_TYPED(add_to)(sum + at, total);
        for (int k = 0; k < KX_LANES; k++) {
            group->support[at + k] = (double)work->lines.count - nothing[k];
            group->ties[at + k] = lower[k]; /* for now: those that are below the largest */
            range[at + k] = -low[k];
        }
    }
    if (work->lines.is_long) {
        kx_entropy_spread_sum(sum, LANES);
        kx_entropy_spread_sum(group->support, LANES);
        kx_entropy_spread_sum(group->ties, LANES);
        for (int k = 1; k < LANES; k++) range[0] = range[k] > range[0] ? range[k] : range[0];
        for (int k = 1; k < LANES; k++) range[k] = range[0];
    }
    for (int k = 0; k < LANES; k++) group->ties[k] = group->support[k] - group->ties[k];
}

/* The exponents in a unit that keeps them in float's range, flat rows about their mean; and the first gamma, from
   log s - H = gamma^2 second / 2 + gamma^3 third / 3 + ..., in the cumulants of the exponents (the third saves 0.7 evaluations a row). */
static void KX_TYPED(prepare)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    double sum[LANES], range[LANES], shift[LANES], squares[LANES] = {0}, cubes[LANES] = {0}, centre[LANES];
    KX_TYPED(load_rows)(job, work);
    KX_TYPED(find_largest)(job, work);
    KX_TYPED(take_logarithms)(job, work, sum, range);
    take_targets(job, work);
    begin_lanes(work);
    group->centred = group->flat;
    group->uncentred = 0;
    const KX_REAL *values = work->exponents;
    for (int k = 0; k < LANES; k++) {
        work->unit[k] = kx_entropy_inverse_power(range[k], KX_TYPED(KX_ENTROPY_SCALE_LIMIT));
        double mean = sum[k] / group->support[k];
        if (!(fabs(mean) <= DBL_MAX) && !work->status[k]) {
            mean = 0;
            for (int64_t i = work->lines.is_long ? 0 : k; i < work->lines.count * LANES; i += work->lines.is_long ? 1 : LANES)
                mean += (double)values[i] / group->support[k];
        }
        shift[k] = group->flat >> k & 1 ? mean : 0;
        centre[k] = (mean - shift[k]) * work->unit[k];
        group->top[k] = -(double)(KX_REAL)shift[k] * work->unit[k];
    }
    KX_REAL *x = work->exponents;
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    for (int at = 0; at < LANES; at += KX_LANES) {
        const KX_VECTOR by = KX_TYPED(lanes_of)(shift + at), unit = KX_TYPED(lanes_of)(work->unit + at);
        const KX_VECTOR middle = KX_TYPED(lanes_of)(centre + at);
        KX_VECTOR total = zero, cubic = zero;
        for (int64_t j = 0; j < work->lines.count; j++) {
            KX_VECTOR value = V(mul)(V(sub)(V(load)(x + j * LANES + at), by), unit), deviation = V(sub)(value, middle);
            if (work->holes) {
                const KX_MASK is_open = FROM_BITS(work->open[j] >> at & all);
                value = V(select)(is_open, value, zero);
                deviation = V(select)(is_open, deviation, zero);
            }
            V(store)(x + j * LANES + at, value);
            const KX_VECTOR square = V(mul)(deviation, deviation);
            total = V(add)(total, square);
            cubic = V(fma)(square, deviation, cubic);
        }
        KX_TYPED(add_to)(squares + at, total);
        KX_TYPED(add_to)(cubes + at, cubic);
    }
    if (work->lines.is_long) {
        kx_entropy_spread_sum(squares, LANES);
        kx_entropy_spread_sum(cubes, LANES);
    }
    const unsigned every = (1u << KX_F64_LANES) - 1;
    for (int at = 0; at < LANES; at += KX_F64_LANES) {
        const kx_f64v one = kx_f64v_set(1), inverse = kx_f64v_div(one, kx_f64v_load(squares + at));
        kx_f64v gamma = kx_f64v_mul(kx_f64v_load(group->gamma + at), kx_f64v_mul(kx_f64v_load(group->support + at), inverse));
        gamma = kx_f64v_sqrt(gamma);
        /* gamma third / second cumulant */
        kx_f64v bend = kx_f64v_mul(kx_f64v_mul(gamma, kx_f64v_load(cubes + at)), inverse);
        bend = kx_f64v_min(kx_f64v_max(bend, kx_f64v_set(-0.9)), kx_f64v_set(4));
        gamma = kx_f64v_div(gamma, kx_f64v_sqrt(kx_f64v_fma(bend, kx_f64v_set(2.0 / 3), one)));
        const kx_f64v farthest = kx_f64v_div(kx_f64v_set(60), kx_f64v_load(group->top + at));
        const kx_f64v nearer = kx_f64v_min(gamma, farthest);
        gamma = kx_f64v_select(kx_f64m_from_bits(group->centred >> at & every), nearer, gamma);
        gamma = kx_f64v_select(kx_f64m_from_bits(group->active >> at & every), gamma, one);
        kx_f64v_store(group->gamma + at, gamma);
        kx_f64v_store(group->farthest + at, farthest);
        kx_f64v_store(group->wanted_root + at, kx_f64v_sqrt(kx_f64v_load(group->wanted + at)));
    }
}

/* Moves lanes from their mean to their largest exponent, anew from the values: next to a far mean, small differences were lost. */
static void KX_TYPED(uncentre)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    const kx_entropy_domain_t domain = job->options->domain;
    for (int k = 0; k < work->lines.rows; k++) {
        if (!(group->uncentred >> k & 1)) continue;
        const KX_REAL *values = (const KX_REAL *)job->values + work->lines.start[k];
        KX_REAL *x = work->exponents;
        const double largest = work->largest[k], unit = work->unit[k];
        for (int64_t j = 0; j < work->lines.length[k]; j++) {
            const int64_t at = work->lines.is_long ? j : j * LANES + k;
            if (work->holes && !(work->open[at / LANES] >> at % LANES & 1)) continue;
            const double value = (double)values[j], ratio = value / largest, less_one = (value - largest) / largest;
            if (domain == KX_ENTROPY_WEIGHTS)
                x[at] = (KX_REAL)(unit * (ratio > 0.5 ? log1p(less_one) : ratio > DBL_MIN ? log(ratio) : log(value) - log(largest)));
            else
                x[at] = (KX_REAL)(fmax((domain == KX_ENTROPY_LOGITS ? value : -value) - largest, -(double)LARGEST) * unit);
        }
    }
    group->centred &= ~group->uncentred;
    group->uncentred = 0;
}

#ifdef NARROW_FIRST
static void narrow_exponents(kx_entropy_work_t *work) {
    const double *x = work->exponents;
    for (int64_t i = 0; i < work->lines.count * LANES; i++) work->narrow[i] = (float)x[i];
}
#endif

/* Entries as far out as -1e38 make the first gamma that much too small: in steps of at most eight the way up would be long. */
static void KX_TYPED(climb)(kx_entropy_group_t *group) {
    for (int k = 0; k < LANES; k++) {
        const int late = group->evaluations[k] - 16;
        if (late <= 0 || !(group->active >> k & 1) || group->centred >> k & 1) continue;
        if (group->step[k] > 1.5 && !(group->high[k] < (double)INFINITY)) group->gamma[k] *= ldexp(1, 3 * (late < 20 ? late : 20));
    }
}

static kx_status_t KX_TYPED(solve)(kx_task_t *task, const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    const unsigned solved = group->active;
    KX_REAL *weights = job->outputs->q ? work->weights : NULL;
    const double precision = sizeof(KX_REAL) == 8 ? 0x1p-53 : 0x1p-24, tolerance = job->options->tolerance;
    double settle = 0.25 * cbrt(tolerance > precision ? tolerance : precision);
    if (!(settle < 2e-3)) settle = 2e-3;
    forget_bracket(group);
#ifdef NARROW_FIRST
    {
        narrow_exponents(work);
        for (int k = 0; k < LANES; k++)
            if (group->wanted[k] < 1e-30) group->active &= ~(1u << k); /* its terms would underflow */
        for (int round = 0; round < PRELUDE && round + 1 < job->options->max_iter && group->active; round++) {
            evaluate_group_f32(work, work->narrow, NULL);
            kx_entropy_advance(group, 1e-2, 0);
            if (round > 3) /* from far out entries on, the way up is long: beyond what float holds */
                for (int k = 0; k < LANES; k++)
                    if (!(group->gamma[k] < 0x1p60)) group->active &= ~(1u << k);
            if (group->uncentred) {
                uncentre_f64(job, work);
                narrow_exponents(work);
            }
        }
        group->active = solved;
        forget_bracket(group);
    }
#endif
    int rounds = 0;
    while (group->active) {
        if (work->lines.is_long && kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_TYPED(evaluate_group)(work, work->exponents, weights);
        kx_entropy_advance(group, settle, 1);
        if (group->uncentred) KX_TYPED(uncentre)(job, work);
        if (++rounds > 4) KX_TYPED(climb)(group);
        for (int k = 0; k < LANES; k++)
            if (group->active >> k & 1 && group->evaluations[k] >= job->options->max_iter) {
                group->active &= ~(1u << k);
                group->gamma[k] = group->evaluated[k];
                group->step[k] = 0;
                if (!work->lines.is_long || k == 0) work->status[k] = KX_W_MAXITER;
            }
    }
    if (!solved && weights) memset(weights, 0, (size_t)(work->lines.count * LANES) * sizeof *weights);
    return KX_OK;
}

/* q from the last evaluation and the step after it, which is small: e^(c (1 + step)) = e^c e^(step c), and the total moves by known sums. */
static void KX_TYPED(finish)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    const kx_entropy_outputs_t *outputs = job->outputs;
    double inverse[LANES], rate[LANES], gammas[LANES], entropies[LANES];
    int far = 0; /* whether powers of rate x may overflow, far below the largest, where e^c is next to nothing */
    const KX_REAL *x = work->exponents;
    KX_REAL *weights = work->weights, *q = outputs->q;
    for (int k = 0; k < LANES; k++) {
        const int from = work->lines.is_long ? 0 : k;
        inverse[k] = rate[k] = 0;
        gammas[k] = entropies[k] = (double)NAN;
        if (from >= work->lines.rows) continue;
        switch (work->status[from]) {
        case KX_OK:
        case KX_W_MAXITER: {
            const double step = group->step[k], flat = group->flat >> k & 1 ? 1 : -1;
            const double total = (group->centred >> k & 1 ? group->support[k] : group->ties[k]) + group->sums[0][k];
            inverse[k] = 1 / (total + step * (group->sums[1][k] + step * (group->sums[2][k] / 2 + step * group->sums[3][k] / 6)));
            rate[k] = step * group->gamma[k];
            far |= fabs(rate[k]) > 1 || work->unit[k] < 0x1p-99;
            gammas[k] = group->gamma[k] * (1 + step) * work->unit[k];
            const double gap = group->gap[k] + flat * step * (group->variance[k] + step * group->curvature[k] / 2);
            entropies[k] = flat > 0 ? work->log_support[k] - gap : work->log_ties[k] + gap;
            break;
        }
        case KX_ENTROPY_BELOW: gammas[k] = (double)INFINITY, entropies[k] = work->log_ties[k]; break;
        case KX_ENTROPY_CONSTANT: gammas[k] = 1, entropies[k] = work->log_support[k]; break;
        case KX_ENTROPY_ABOVE:
        case ATTAINED: gammas[k] = 0, entropies[k] = work->log_support[k]; break;
        default: break;
        }
    }
    for (int k = 0; k < work->lines.rows; k++) {
        const int64_t row = work->lines.row[k];
        if (outputs->gamma) outputs->gamma[row] = gammas[k];
        if (outputs->entropy) outputs->entropy[row] = entropies[k];
        if (outputs->status) outputs->status[row] = work->status[k] == ATTAINED ? KX_OK : work->status[k];
        if (outputs->iterations) outputs->iterations[row] = group->evaluations[k];
    }
    if (!q) return;
    const KX_VECTOR one = V(set)((KX_REAL)1), zero = V(set)((KX_REAL)0), minus_one = V(set)((KX_REAL)-1);
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    for (int at = 0; at < LANES; at += KX_LANES) {
        const KX_VECTOR share = KX_TYPED(lanes_of)(inverse + at), slope = KX_TYPED(lanes_of)(rate + at);
        const KX_VECTOR half = V(set)((KX_REAL)0.5), third = V(set)((KX_REAL)(1.0 / 3)), quarter = V(set)((KX_REAL)0.25);
        for (int64_t j = 0; j < work->lines.count; j++) {
            KX_VECTOR y = V(mul)(slope, V(load)(x + j * LANES + at));
            if (far) y = V(min)(V(max)(y, minus_one), one);
            KX_VECTOR factor = V(fma)(V(mul)(y, quarter), one, one);
            factor = V(fma)(V(mul)(y, third), factor, one);
            factor = V(fma)(V(mul)(y, half), factor, one);
            factor = V(fma)(y, factor, one);
            KX_VECTOR value = V(mul)(V(mul)(V(load)(weights + j * LANES + at), share), factor);
            if (work->holes) value = V(select)(FROM_BITS(work->open[j] >> at & all), value, zero);
            V(store)(weights + j * LANES + at, value);
        }
    }
    for (int k = 0; k < work->lines.rows; k++) {
        const int32_t status = work->status[k];
        if (status != KX_OK && status != KX_W_MAXITER) {
            const int bad = status < 0;
            const double equal = bad ? (double)NAN : 1 / (status == KX_ENTROPY_BELOW ? group->ties[k] : group->support[k]);
            for (int64_t i = 0; i < work->lines.length[k]; i++) {
                const int64_t at = work->lines.is_long ? i : i * LANES + k;
                const int weighs = (!work->holes || work->open[at / LANES] >> at % LANES & 1) && (status != KX_ENTROPY_BELOW || x[at] == 0);
                weights[at] = (KX_REAL)(weighs || bad ? equal : 0);
            }
        }
    }
    KX_TYPED(store_lines)(weights, &work->lines, LANES, q);
}

/* The group's results and what most likely is the next group, within the second-level cache: sixteen short rows at a time are no stream
   that the processor recognises (13% of the time in float64, 20% in float32, at 10,000 rows of 100; 2% and 8% at rows of 1000). Inline: gcc drops the call of a function that only prefetches. */
static KX_ALWAYS_INLINE void KX_TYPED(prefetch_group)(const kx_entropy_job_t *job, const kx_entropy_work_t *work) {
    const int last = work->lines.rows - 1;
    const int64_t end = work->lines.start[last] + work->lines.length[last];
    int64_t bytes = (end - work->lines.start[0]) * (int64_t)sizeof(KX_REAL);
    if (bytes > PREFETCHED) return;
    const char *next = (const char *)((const KX_REAL *)job->values + end);
    const char *q = job->outputs->q ? (const char *)((const KX_REAL *)job->outputs->q + work->lines.start[0]) : next;
    for (int64_t i = 0; i < bytes; i += 64) {
        kx_prefetch(next + i);
        kx_prefetch(q + i);
    }
}

static kx_status_t KX_TYPED(normalize_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_entropy_job_t *job = arg;
    char *block = job->works + (size_t)kx_task_worker(task) * job->work_bytes;
    kx_entropy_work_t *work = (kx_entropy_work_t *)block;
    work->exponents = block + job->exponents;
    work->weights = block + job->weights;
    work->narrow = (float *)(block + job->narrow);
    work->open = (uint32_t *)(block + job->open);
    work->counts[0][0] = -1;
    int64_t next_short = begin, next_long = begin;
    while (kx_entropy_next_lines(&work->lines, job->offsets, job->n, LANES, LONG_ROW, &next_short, &next_long, end)) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        memset(work->status, 0, sizeof work->status);
        KX_TYPED(prepare)(job, work);
        KX_TYPED(prefetch_group)(job, work);
        kx_status_t status = KX_TYPED(solve)(task, job, work);
        if (status != KX_OK) return status;
        KX_TYPED(finish)(job, work);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_entropy_normalize)) KX_ENTROPY_PARAMETERS {
    if (rows < 0 || n < 0 || !targets || !options || !outputs || options->max_iter < 1 || !(options->tolerance > 0)) return KX_E_ARGUMENT;
    int64_t longest, entries;
    const kx_status_t fits = kx_entropy_measure(offsets, rows, n, &longest, &entries);
    if (fits != KX_OK) return fits;
    if (rows == 0) return KX_OK;
    if (!values && entries > 0) return KX_E_ARGUMENT;
    kx_entropy_job_t job = {values, offsets, targets, rows, n, targets_stride, options, outputs, 0, 0, 0, 0, 0, 0, NULL};
    /* Groups of short rows need a whole number of vectors, however few rows there are. */
    job.entries = longest < LONG_ROW ? longest * LANES : LONG_ROW * LANES;
    if (longest > job.entries) job.entries = kx_round_up(longest, LANES);
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, 1, sizeof(kx_entropy_work_t));
    job.exponents = kx_layout_add(&layout, job.entries, sizeof(KX_REAL));
    job.weights = kx_layout_add(&layout, job.entries, sizeof(KX_REAL));
    job.narrow = kx_layout_add(&layout, sizeof(KX_REAL) == 8 ? job.entries : 0, sizeof(float));
    job.open = kx_layout_add(&layout, job.entries / LANES, sizeof(uint32_t));
    job.work_bytes = layout.bytes;
    return kx_entropy_run(ctx, rows, entries, &layout, &job.works, KX_TYPED(normalize_rows), &job);
}
#undef V
#undef FROM_BITS
#undef BITS
#endif
#undef KX_ENTROPY_PARAMETERS
#endif
