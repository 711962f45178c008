/* Entropy normalisation: groups of rows, their passes over memory, and the call. The method is in entropy_internal.h.

   Up to sixteen rows are worked on together, so that the iteration's scalar part (logarithms, roots, divisions, 100 ns) is shared.
   Rows shorter than LONG_ROW lie side by side in the lanes, entry by entry; longer ones along the vectors, which is 10% to 25% slower at
   100 entries, where every pass is a loop of its own, and the same at 384. Which it is depends on a row's own length, so its result
   does not depend on its neighbours. float64 rows iterate in float32 first, where an exponential costs a third, and end with one pass in
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
enum { ATTAINED = 100, LANES = KX_ENTROPY_LANES, LONG_ROW = 384, TILE = LONG_ROW * LANES };
enum { PRELUDE = 12, BLOCK = 64, PREFETCHED = 1 << 18 };

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
    size_t exponents, weights, open, work_bytes; /* where they are in its block, and its size */
    char *works;
} kx_entropy_job_t;

/* The targets as gaps, and what can be told without solving. `least`: weights that make a smaller gap to log m underflow, so that no
   gamma is found to be large enough. */
static void take_targets(const kx_entropy_job_t *job, kx_entropy_work_t *work, double least) {
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
        } else if (low < least || (job->options->target != KX_ENTROPY_TARGET_GAP_LOW && low <= 4 * DBL_EPSILON * work->log_ties[k])) {
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
        const int solves = k < work->lines.rows && !work->status[k];
        group->active |= (unsigned)solves << k;
        if (!solves) group->wanted[k] = group->gamma[k] = 1;
        group->step[k] = 0;
        group->evaluations[k] = 0;
    }
}

/* Where row k's entries are: the first, the way from one to the next, and how many, those without weight included. */
typedef struct kx_entropy_place {
    int64_t first, step, count;
} kx_entropy_place_t;

static kx_entropy_place_t place_of(const kx_entropy_work_t *work, int k) {
    const int64_t count = work->lines.count;
    return work->lines.is_long ? (kx_entropy_place_t){k * count * LANES, 1, count * LANES} : (kx_entropy_place_t){k, LANES, count};
}
static int64_t entries_of(const kx_entropy_work_t *work) {
    return work->lines.count * LANES * (work->lines.is_long ? work->lines.rows : 1);
}
static int is_open(const kx_entropy_work_t *work, int64_t entry) {
    return !work->holes || (work->open[entry / LANES] >> entry % LANES & 1);
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
#define JUST_BELOW 1e-34f
#define LINE_PARTS KX_ENTROPY_PARTS
#define WIDE_LOAD kx_f64v_load_f32
#include "entropy_normalize.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef LOWEST_EXPONENT
#undef HIGHEST_EXPONENT
#undef LARGEST
#undef JUST_BELOW
#undef LINE_PARTS
#undef WIDE_LOAD

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define LOWEST_EXPONENT (-740)
#define HIGHEST_EXPONENT 705
#define LARGEST DBL_MAX
#define JUST_BELOW 1e-290
#define LINE_PARTS 1
#define WIDE_LOAD kx_f64v_load
#define NARROW_FIRST
#include "entropy_normalize.c"

#else /* the template */

#define KX_ENTROPY_PARAMETERS                                                                                          \
    (const kx_ctx_t *ctx, const KX_REAL *values, const int64_t *offsets, const double *targets, int64_t rows, int64_t n, \
     ptrdiff_t targets_stride, const kx_entropy_options_t *options, const kx_entropy_outputs_t *outputs)
KX_DISPATCH(KX_TYPED(kx_entropy_normalize), KX_ENTROPY_PARAMETERS,
            (ctx, values, offsets, targets, rows, n, targets_stride, options, outputs))

#ifndef KX_DISPATCH_PASS
#define FROM_BITS KX_PASTE(KX_MASK, _from_bits)
#define BITS KX_PASTE(KX_MASK, _bits)

#include "kernels/entropy_template.h"

/* All passes go line by line. A line is a vector's width of short rows, with their numbers in its lanes, or one long row, with its
   numbers in every lane: its vectors begin at `first` and are `step` entries apart. */
static KX_ALWAYS_INLINE int KX_TYPED(line_count)(const kx_entropy_work_t *work, int is_long) {
    return is_long ? work->lines.rows : LANES / KX_LANES;
}
static KX_ALWAYS_INLINE kx_entropy_place_t KX_TYPED(line_of)(const kx_entropy_work_t *work, int is_long, int line) {
    const int64_t count = work->lines.count;
    if (!is_long) return (kx_entropy_place_t){line * KX_LANES, LANES, count};
    const int64_t own = (work->lines.length[line] + LANES - 1) / LANES; /* the same entries for double and float */
    return (kx_entropy_place_t){line * count * LANES, KX_LANES, own * (LANES / KX_LANES)};
}
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(spread)(int is_long, const double *numbers, int line) {
    return is_long ? V(set)((KX_REAL)numbers[line]) : KX_TYPED(lanes_of)(numbers + line * KX_LANES);
}
/* Four sums of a line, as float64 vectors (two of them for the lanes of floats), to the places of its rows. */
static KX_ALWAYS_INLINE void KX_TYPED(collect)(int is_long, const kx_f64v (*sums)[LINE_PARTS], int line, double *const *to) {
    if (!is_long) {
        for (int s = 0; s < 4; s++)
            for (int part = 0; part < LINE_PARTS; part++)
                if (to[s]) kx_f64v_store(to[s] + line * KX_LANES + part * KX_F64_LANES, sums[s][part]);
        return;
    }
    kx_f64v total[4];
    for (int s = 0; s < 4; s++) {
        total[s] = sums[s][0];
        for (int part = 1; part < LINE_PARTS; part++) total[s] = kx_f64v_add(total[s], sums[s][part]);
    }
    double numbers[4];
    kx_f64v_sum4(numbers, total[0], total[1], total[2], total[3]);
    for (int s = 0; s < 4; s++)
        if (to[s]) to[s][line] = numbers[s];
}
static KX_ALWAYS_INLINE void KX_TYPED(widen)(KX_VECTOR sum, kx_f64v *wide) {
    KX_REAL numbers[KX_LANES];
    V(store)(numbers, sum);
    for (int part = 0; part < LINE_PARTS; part++) wide[part] = WIDE_LOAD(numbers + part * KX_F64_LANES);
}
/* Three of them; a place may be NULL. */
static KX_ALWAYS_INLINE void KX_TYPED(collect_vectors)(int is_long, KX_VECTOR first, KX_VECTOR second, KX_VECTOR third, int line,
                                                       double *to_first, double *to_second, double *to_third) {
    kx_f64v sums[4][LINE_PARTS];
    KX_TYPED(widen)(first, sums[0]);
    KX_TYPED(widen)(second, sums[1]);
    KX_TYPED(widen)(third, sums[2]);
    KX_TYPED(widen)(third, sums[3]);
    double *const to[4] = {to_first, to_second, to_third, NULL};
    KX_TYPED(collect)(is_long, (const kx_f64v(*)[LINE_PARTS])sums, line, to);
}
/* The least of a line's lanes, to the places of its rows. */
static KX_ALWAYS_INLINE void KX_TYPED(collect_least)(int is_long, KX_VECTOR least, int line, double *to) {
    if (is_long) {
        to[line] = (double)V(reduce_min)(least);
        return;
    }
    kx_f64v wide[LINE_PARTS];
    KX_TYPED(widen)(least, wide);
    for (int part = 0; part < LINE_PARTS; part++) kx_f64v_store(to + line * KX_LANES + part * KX_F64_LANES, wide[part]);
}
/* Which lanes of the vector that begins with `entry` hold entries with weight. */
static KX_ALWAYS_INLINE KX_MASK KX_TYPED(open_lanes)(const kx_entropy_work_t *work, int64_t entry) {
    return FROM_BITS(work->open[entry / LANES] >> entry % LANES & (unsigned)((1ull << KX_LANES) - 1));
}

/* The sums of one evaluation of a line whose rows are all about their mean (centred), or none; `weights` (if any) gets e^c in the lanes
   of `kept`. */
static KX_ALWAYS_INLINE void KX_TYPED(evaluate_line)(int centred, const KX_REAL *x, kx_entropy_place_t line, KX_VECTOR g, unsigned kept,
                                                     KX_REAL *weights, kx_f64v sums[4][LINE_PARTS]) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), one = V(set)((KX_REAL)1), half = V(set)((KX_REAL)0.5);
    const KX_VECTOR lowest = V(set)((KX_REAL)LOWEST_EXPONENT), highest = V(set)((KX_REAL)HIGHEST_EXPONENT);
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    const KX_MASK keeps = FROM_BITS(kept);
    for (int64_t base = 0; base < line.count; base += BLOCK) {
        const int64_t end = line.count - base < BLOCK ? line.count : base + BLOCK;
        KX_VECTOR rest = zero, first = zero, second = zero, third = zero;
        for (int64_t j = base; j < end; j++) {
            const int64_t entry = line.first + j * line.step;
            KX_VECTOR c = V(mul)(g, V(load)(x + entry)), n, r, e;
            const KX_VECTOR bounded = V(max)(centred ? V(min)(c, highest) : c, lowest);
            const KX_VECTOR tail = V(exp_parts)(bounded, &n, &r), less_one = V(add)(r, tail);
            if (centred) {
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
            if (weights) V(store)(weights + entry, kept == all ? e : V(select)(keeps, e, V(load)(weights + entry)));
        }
        const KX_VECTOR block[4] = {rest, first, second, third};
        for (int s = 0; s < 4; s++) {
            kx_f64v wide[LINE_PARTS];
            KX_TYPED(widen)(block[s], wide);
            for (int part = 0; part < LINE_PARTS; part++) sums[s][part] = kx_f64v_add(sums[s][part], wide[part]);
        }
    }
}
/* Of the rows of `which`; short rows that share a line with one of them are summed, and not kept. */
static KX_ALWAYS_INLINE void KX_TYPED(evaluate)(int centred, int is_long, const kx_entropy_work_t *work, const KX_REAL *x, unsigned which,
                                                KX_REAL *weights, double to[4][LANES]) {
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    double *const places[4] = {to[0], to[1], to[2], to[3]};
    for (int line = 0; line < KX_TYPED(line_count)(work, is_long); line++) {
        const unsigned kept = !is_long ? which >> line * KX_LANES & all : which >> line & 1 ? all : 0;
        if (!kept) continue;
        kx_f64v sums[4][LINE_PARTS];
        for (int s = 0; s < 4; s++)
            for (int part = 0; part < LINE_PARTS; part++) sums[s][part] = kx_f64v_set(0);
        KX_TYPED(evaluate_line)(centred, x, KX_TYPED(line_of)(work, is_long, line), KX_TYPED(spread)(is_long, work->group.gamma, line), kept,
                                weights, sums);
        KX_TYPED(collect)(is_long, (const kx_f64v(*)[LINE_PARTS])sums, line, places);
    }
}
static KX_NEVER_INLINE void KX_TYPED(evaluate_centred)(const kx_entropy_work_t *work, const KX_REAL *x, unsigned which,
                                                       KX_REAL *weights, double to[4][LANES]) {
    if (work->lines.is_long) KX_TYPED(evaluate)(1, 1, work, x, which, weights, to);
    else KX_TYPED(evaluate)(1, 0, work, x, which, weights, to);
}
static KX_NEVER_INLINE void KX_TYPED(evaluate_peaked)(const kx_entropy_work_t *work, const KX_REAL *x, unsigned which,
                                                      KX_REAL *weights, double to[4][LANES]) {
    if (work->lines.is_long) KX_TYPED(evaluate)(0, 1, work, x, which, weights, to);
    else KX_TYPED(evaluate)(0, 0, work, x, which, weights, to);
}

/* One evaluation of the rows that are still sought; short ones whose line has one, too. Where both forms meet in a line, both are
   evaluated. */
static void KX_TYPED(evaluate_group)(kx_entropy_work_t *work, const KX_REAL *x, KX_REAL *weights) {
    kx_entropy_group_t *group = &work->group;
    const unsigned which = work->lines.is_long ? group->active : KX_ENTROPY_ALL;
    const unsigned centred = which & group->centred, peaked = which & ~group->centred;
    if (peaked) KX_TYPED(evaluate_peaked)(work, x, peaked, weights, group->sums);
    if (centred && (work->lines.is_long || !peaked)) {
        KX_TYPED(evaluate_centred)(work, x, centred, weights, group->sums);
    } else if (centred) {
        double sums[4][LANES] = {{0}};
        KX_TYPED(evaluate_centred)(work, x, centred, weights, sums);
        for (int s = 0; s < 4; s++)
            for (int k = 0; k < LANES; k++)
                if (centred >> k & 1) group->sums[s][k] = sums[s][k];
    }
}

/* The values side by side; what is not there is an entry without weight. */
static void KX_TYPED(load_rows)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    const kx_entropy_domain_t domain = job->options->domain;
    const KX_REAL nothing = domain == KX_ENTROPY_WEIGHTS ? 0 : domain == KX_ENTROPY_LOGITS ? -(KX_REAL)INFINITY : (KX_REAL)INFINITY;
    KX_REAL *x = (KX_REAL *)work->exponents;
    KX_TYPED(load_lines)((const KX_REAL *)job->values, &work->lines, LANES, nothing, x);
    if (domain == KX_ENTROPY_DISTANCES_TO_OTHERS)
        for (int k = 0; k < work->lines.rows; k++) {
            const kx_entropy_place_t place = place_of(work, k);
            if (work->lines.row[k] < work->lines.length[k]) x[place.first + work->lines.row[k] * place.step] = nothing;
        }
}

/* A lane with a bad row, or none: told from the others, and made harmless. */
static void KX_TYPED(set_aside)(const kx_entropy_job_t *job, kx_entropy_work_t *work, int lane, int32_t status) {
    KX_REAL *x = (KX_REAL *)work->exponents;
    const KX_REAL some = job->options->domain == KX_ENTROPY_WEIGHTS ? 1 : 0;
    work->status[lane] = status;
    const kx_entropy_place_t place = place_of(work, lane);
    if (!work->lines.is_long || lane < work->lines.rows)
        for (int64_t i = 0; i < place.count; i++) x[place.first + i * place.step] = some;
    work->largest[lane] = (double)some;
}

/* The largest values, negated; the least; and a sum that is NaN where one of them is not finite. */
static KX_ALWAYS_INLINE void KX_TYPED(scan_lines)(int is_long, int weighs, int negative, kx_entropy_work_t *work, double *minus_largest,
                                                  double *lowest, double *check) {
    const KX_VECTOR zero = V(set)((KX_REAL)0);
    KX_REAL *x = (KX_REAL *)work->exponents;
    for (int line = 0; line < KX_TYPED(line_count)(work, is_long); line++) {
        const kx_entropy_place_t place = KX_TYPED(line_of)(work, is_long, line);
        KX_VECTOR top = weighs ? zero : V(set)(-(KX_REAL)INFINITY), bottom = zero, sum = zero;
        for (int64_t j = 0; j < place.count; j++) {
            KX_REAL *at = x + place.first + j * place.step;
            KX_VECTOR value = V(load)(at);
            if (negative) {
                value = V(sub)(zero, value);
                V(store)(at, value);
            }
            top = V(max)(value, top);
            bottom = V(min)(value, bottom);
            sum = V(fma)(value, zero, sum);
        }
        KX_TYPED(collect_least)(is_long, V(sub)(zero, top), line, minus_largest);
        KX_TYPED(collect_least)(is_long, bottom, line, lowest);
        KX_TYPED(collect_vectors)(is_long, sum, zero, zero, line, check, NULL, NULL);
    }
}

static void KX_TYPED(find_largest)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    const kx_entropy_domain_t domain = job->options->domain;
    const int weighs = domain == KX_ENTROPY_WEIGHTS, negative = domain >= KX_ENTROPY_DISTANCES;
    const KX_REAL *x = (const KX_REAL *)work->exponents;
    double minus_largest[LANES], lowest[LANES], check[LANES];
    if (work->lines.is_long) KX_TYPED(scan_lines)(1, weighs, negative, work, minus_largest, lowest, check);
    else KX_TYPED(scan_lines)(0, weighs, negative, work, minus_largest, lowest, check);
    for (int k = 0; k < LANES; k++) work->largest[k] = -minus_largest[k];
    for (int k = 0; k < LANES; k++) {
        if (k >= work->lines.rows) {
            KX_TYPED(set_aside)(job, work, k, KX_E_EMPTY);
            continue;
        }
        int32_t status = work->largest[k] == (weighs ? 0 : -(double)INFINITY) ? KX_E_EMPTY : KX_OK;
        if (check[k] != 0 || (weighs && lowest[k] < 0)) {
            const kx_entropy_place_t place = place_of(work, k);
            int has_negative = 0, has_nonfinite = 0;
            for (int64_t i = 0; i < place.count; i++) {
                const KX_REAL value = x[place.first + i * place.step];
                has_nonfinite |= isnan(value) || value == (KX_REAL)INFINITY;
                has_negative |= value < 0;
            }
            if (has_nonfinite || (weighs && has_negative)) status = has_nonfinite ? KX_E_NONFINITE : KX_E_NEGATIVE;
        }
        if (status) KX_TYPED(set_aside)(job, work, k, status);
    }
}

/* What most likely is the next group, and the group's results: sixteen short rows at a time are no stream that the processor recognises.
   They go to the second cache, line by line among the logarithms: in one burst to the first, of 32 kB, 10,000 rows of 100 took 17% more
   in float64 and 6% more in float32. */
typedef struct KX_TYPED(ahead) {
    const char *next, *q;
    int64_t bytes, at;
} KX_TYPED(ahead_t);

static KX_TYPED(ahead_t) KX_TYPED(ahead_of)(const kx_entropy_job_t *job, const kx_entropy_work_t *work) {
    const int last = work->lines.rows - 1;
    const int64_t begin = work->lines.start[0], end = work->lines.start[last] + work->lines.length[last];
    KX_TYPED(ahead_t) ahead = {(const char *)((const KX_REAL *)job->values + end), NULL, (end - begin) * (int64_t)sizeof(KX_REAL), 0};
    ahead.q = job->outputs->q ? (const char *)((const KX_REAL *)job->outputs->q + begin) : ahead.next;
    if (ahead.bytes > PREFETCHED) ahead.bytes = 0;
    return ahead;
}

/* v = log(weight / largest) <= 0, or 0 where there is no weight; counts, and the sums for the mean. */
static KX_ALWAYS_INLINE void KX_TYPED(log_lines)(int is_long, int weighs, kx_entropy_work_t *work, KX_TYPED(ahead_t) ahead,
                                                 double *nothing, double *lower, double *sum, double *least) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), one = V(set)((KX_REAL)1);
    const KX_VECTOR farthest = V(set)(-(KX_REAL)LARGEST); /* where the difference overflows */
    const unsigned all = (unsigned)((1ull << KX_LANES) - 1);
    KX_REAL *x = (KX_REAL *)work->exponents;
    for (int line = 0; line < KX_TYPED(line_count)(work, is_long); line++) {
        const kx_entropy_place_t place = KX_TYPED(line_of)(work, is_long, line);
        const KX_TYPED(top_t) top = is_long ? KX_TYPED(top_of_row)(work->largest + line)
                                            : KX_TYPED(top_of)(work->largest + line * KX_LANES);
        const KX_VECTOR bottom = weighs ? zero : V(set)(-(KX_REAL)INFINITY);
        KX_VECTOR total = zero, lowest = zero, below = zero, closed = zero;
        for (int64_t j = 0; j < place.count; j++) {
            const int64_t entry = place.first + j * place.step;
            if (ahead.at < ahead.bytes) {
                kx_prefetch_far(ahead.next + ahead.at);
                kx_prefetch_far(ahead.q + ahead.at);
                ahead.at += (int64_t)sizeof(KX_VECTOR);
            }
            const KX_VECTOR value = V(load)(x + entry);
            const KX_MASK has_weight = V(less)(bottom, value);
            const unsigned open = BITS(has_weight);
            const KX_VECTOR v = weighs ? KX_TYPED(log_of_share)(&top, has_weight, value)
                                       : V(select)(has_weight, V(max)(V(sub)(value, top.largest), farthest), zero);
            V(store)(x + entry, v);
            total = V(add)(total, v);
            lowest = V(min)(v, lowest);
            below = V(add_where)(V(less)(v, zero), below, one);
            if (open != all) {
                if (!work->holes) memset(work->open, 0xff, (size_t)(entries_of(work) / LANES) * sizeof *work->open);
                work->holes = 1;
                work->open[entry / LANES] &= ~((uint32_t)(open ^ all) << entry % LANES);
                closed = V(add)(closed, V(select)(has_weight, zero, one));
            }
        }
        KX_TYPED(collect_vectors)(is_long, closed, below, total, line, nothing, lower, sum);
        KX_TYPED(collect_least)(is_long, lowest, line, least);
    }
}

static void KX_TYPED(take_logarithms)(const kx_entropy_job_t *job, kx_entropy_work_t *work, double *sum, double *range) {
    kx_entropy_group_t *group = &work->group;
    const int weighs = job->options->domain == KX_ENTROPY_WEIGHTS;
    double nothing[LANES] = {0}, lower[LANES] = {0}, least[LANES] = {0};
    const KX_TYPED(ahead_t) ahead = KX_TYPED(ahead_of)(job, work);
    work->holes = 0;
    for (int k = 0; k < LANES; k++) sum[k] = 0;
    if (work->lines.is_long) KX_TYPED(log_lines)(1, weighs, work, ahead, nothing, lower, sum, least);
    else KX_TYPED(log_lines)(0, weighs, work, ahead, nothing, lower, sum, least);
    for (int k = 0; k < LANES; k++) {
        int64_t entries = work->lines.count;
        if (work->lines.is_long) entries = k < work->lines.rows ? KX_TYPED(line_of)(work, 1, k).count * KX_LANES : 1;
        group->support[k] = (double)entries - nothing[k];
        group->ties[k] = group->support[k] - lower[k];
        range[k] = -least[k];
    }
}

/* Less the shift, in the unit; the sums of squares and cubes about the centre. Next to an entry that is far away, one just below the largest
   may underflow, here or times gamma: it stays below, as 0 is the mark of those that were counted as maximal. */
static KX_ALWAYS_INLINE void KX_TYPED(shift_lines)(int is_long, kx_entropy_work_t *work, const double *shift, const double *centre,
                                                   double *squares, double *cubes) {
    const KX_VECTOR zero = V(set)((KX_REAL)0), just_below = V(set)(-(KX_REAL)JUST_BELOW);
    KX_REAL *x = (KX_REAL *)work->exponents;
    for (int line = 0; line < KX_TYPED(line_count)(work, is_long); line++) {
        const kx_entropy_place_t place = KX_TYPED(line_of)(work, is_long, line);
        const KX_VECTOR by = KX_TYPED(spread)(is_long, shift, line), unit = KX_TYPED(spread)(is_long, work->unit, line);
        const KX_VECTOR middle = KX_TYPED(spread)(is_long, centre, line);
        KX_VECTOR total = zero, cubic = zero;
        for (int64_t j = 0; j < place.count; j++) {
            const int64_t entry = place.first + j * place.step;
            const KX_VECTOR difference = V(sub)(V(load)(x + entry), by), scaled = V(mul)(difference, unit);
            KX_VECTOR value = V(select)(V(less)(difference, zero), V(min)(scaled, just_below), scaled);
            KX_VECTOR deviation = V(sub)(value, middle);
            if (work->holes) {
                const KX_MASK open = KX_TYPED(open_lanes)(work, entry);
                value = V(select)(open, value, zero);
                deviation = V(select)(open, deviation, zero);
            }
            V(store)(x + entry, value);
            const KX_VECTOR square = V(mul)(deviation, deviation);
            total = V(add)(total, square);
            cubic = V(fma)(square, deviation, cubic);
        }
        KX_TYPED(collect_vectors)(is_long, total, cubic, zero, line, squares, cubes, NULL);
    }
}

/* The exponents in a unit that keeps them in float's range, flat rows about their mean; and the first gamma, from
   log s - H = gamma^2 second / 2 + gamma^3 third / 3 + ..., in the cumulants of the exponents (the third saves 0.7 evaluations a row). */
static void KX_TYPED(prepare)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    double sum[LANES], range[LANES], shift[LANES], squares[LANES] = {0}, cubes[LANES] = {0}, centre[LANES];
    KX_TYPED(load_rows)(job, work);
    KX_TYPED(find_largest)(job, work);
    KX_TYPED(take_logarithms)(job, work, sum, range);
    take_targets(job, work, sizeof(KX_REAL) == 8 ? 1e-300 : 1e-35);
    begin_lanes(work);
    group->centred = group->flat;
    group->uncentred = 0;
    const KX_REAL *values = (const KX_REAL *)work->exponents;
    for (int k = 0; k < LANES; k++) {
        work->unit[k] = kx_entropy_inverse_power(range[k], KX_TYPED(KX_ENTROPY_SCALE_LIMIT));
        double mean = sum[k] / group->support[k];
        if (!(fabs(mean) <= DBL_MAX) && !work->status[k]) {
            const kx_entropy_place_t place = place_of(work, k);
            mean = 0;
            for (int64_t i = 0; i < place.count; i++) mean += (double)values[place.first + i * place.step] / group->support[k];
        }
        /* A mean among subnormal numbers is not one: the exponents would not be about it. */
        if (range[k] < (sizeof(KX_REAL) == 8 ? 1e-300 : 1e-36)) group->centred &= ~(1u << k);
        shift[k] = group->centred >> k & 1 ? mean : 0;
        centre[k] = (mean - shift[k]) * work->unit[k];
        group->top[k] = -(double)(KX_REAL)shift[k] * work->unit[k];
    }
    if (work->lines.is_long) KX_TYPED(shift_lines)(1, work, shift, centre, squares, cubes);
    else KX_TYPED(shift_lines)(0, work, shift, centre, squares, cubes);
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
        KX_REAL *x = (KX_REAL *)work->exponents;
        const double largest = work->largest[k], unit = work->unit[k];
        const kx_entropy_place_t place = place_of(work, k);
        for (int64_t j = 0; j < work->lines.length[k]; j++) {
            const int64_t at = place.first + j * place.step;
            if (!is_open(work, at)) continue;
            const double value = (double)values[j], ratio = value / largest, less_one = (value - largest) / largest;
            if (domain == KX_ENTROPY_WEIGHTS)
                x[at] = (KX_REAL)(unit * (ratio > 0.5 ? log1p(less_one) : ratio > DBL_MIN ? log(ratio) : log(value) - log(largest)));
            else
                x[at] = (KX_REAL)(fmax((domain == KX_ENTROPY_LOGITS ? value : -value) - largest, -(double)LARGEST) * unit);
            if ((domain >= KX_ENTROPY_DISTANCES ? -value : value) < largest) x[at] = (KX_REAL)fmin((double)x[at], -(double)JUST_BELOW);
        }
    }
    group->centred &= ~group->uncentred;
    group->uncentred = 0;
}

#ifdef NARROW_FIRST
static void narrow_exponents(const kx_entropy_work_t *work, float *narrow) {
    const double *x = (const double *)work->exponents;
    for (int64_t i = 0; i < entries_of(work); i++) narrow[i] = (float)x[i];
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
    KX_REAL *weights = job->outputs->q ? (KX_REAL *)work->weights : NULL;
    const double precision = sizeof(KX_REAL) == 8 ? 0x1p-53 : 0x1p-24, tolerance = job->options->tolerance;
    double settle = 0.25 * cbrt(tolerance > precision ? tolerance : precision);
    if (!(settle < 2e-3)) settle = 2e-3;
    forget_bracket(group);
#ifdef NARROW_FIRST
    {
        float *narrow = (float *)work->weights; /* which are not there yet: the first cache holds both then */
        narrow_exponents(work, narrow);
        for (int k = 0; k < LANES; k++)
            if (group->wanted[k] < 1e-30) group->active &= ~(1u << k); /* its terms would underflow */
        for (int round = 0; round < PRELUDE && round + 1 < job->options->max_iter && group->active; round++) {
            evaluate_group_f32(work, narrow, NULL);
            kx_entropy_advance(group, 1e-2, 0);
            if (round > 3) /* from far out entries on, the way up is long: beyond what float holds */
                for (int k = 0; k < LANES; k++)
                    if (!(group->gamma[k] < 0x1p60)) group->active &= ~(1u << k);
            if (group->uncentred) {
                uncentre_f64(job, work);
                narrow_exponents(work, narrow);
            }
        }
        group->active = solved;
        forget_bracket(group);
    }
#endif
    int rounds = 0;
    while (group->active) {
        if (work->lines.is_long && kx_task_should_stop(task)) return KX_E_CANCELLED;
        KX_TYPED(evaluate_group)(work, (const KX_REAL *)work->exponents, weights);
        kx_entropy_advance(group, settle, 1);
        if (group->uncentred) KX_TYPED(uncentre)(job, work);
        if (++rounds > 4) KX_TYPED(climb)(group);
        for (int k = 0; k < LANES; k++)
            if (group->active >> k & 1 && group->evaluations[k] >= job->options->max_iter) {
                group->active &= ~(1u << k);
                group->gamma[k] = group->evaluated[k];
                group->step[k] = 0;
                work->status[k] = KX_W_MAXITER;
            }
    }
    if (!solved && weights && !work->lines.is_long) memset(weights, 0, (size_t)entries_of(work) * sizeof *weights);
    return KX_OK;
}

/* e^c e^(rate x) / total, where rate x is small; `far`: but for what is far below the largest. */
static KX_ALWAYS_INLINE void KX_TYPED(weigh_lines)(int is_long, kx_entropy_work_t *work, const double *inverse, const double *rate,
                                                   int far) {
    const KX_VECTOR one = V(set)((KX_REAL)1), zero = V(set)((KX_REAL)0), minus_one = V(set)((KX_REAL)-1);
    const KX_VECTOR half = V(set)((KX_REAL)0.5), third = V(set)((KX_REAL)(1.0 / 3)), quarter = V(set)((KX_REAL)0.25);
    const KX_REAL *x = (const KX_REAL *)work->exponents;
    KX_REAL *weights = (KX_REAL *)work->weights;
    for (int line = 0; line < KX_TYPED(line_count)(work, is_long); line++) {
        if (is_long && inverse[line] == 0) continue; /* was not evaluated */
        const kx_entropy_place_t place = KX_TYPED(line_of)(work, is_long, line);
        const KX_VECTOR share = KX_TYPED(spread)(is_long, inverse, line), slope = KX_TYPED(spread)(is_long, rate, line);
        for (int64_t j = 0; j < place.count; j++) {
            const int64_t entry = place.first + j * place.step;
            KX_VECTOR y = V(mul)(slope, V(load)(x + entry));
            if (far) y = V(min)(V(max)(y, minus_one), one);
            KX_VECTOR factor = V(fma)(V(mul)(y, quarter), one, one);
            factor = V(fma)(V(mul)(y, third), factor, one);
            factor = V(fma)(V(mul)(y, half), factor, one);
            factor = V(fma)(y, factor, one);
            KX_VECTOR value = V(mul)(V(mul)(V(load)(weights + entry), share), factor);
            if (work->holes) value = V(select)(KX_TYPED(open_lanes)(work, entry), value, zero);
            V(store)(weights + entry, value);
        }
    }
}

/* q from the last evaluation and the step after it, which is small: e^(c (1 + step)) = e^c e^(step c), and the total moves by known
   sums. */
static void KX_TYPED(finish)(const kx_entropy_job_t *job, kx_entropy_work_t *work) {
    kx_entropy_group_t *group = &work->group;
    const kx_entropy_outputs_t *outputs = job->outputs;
    double inverse[LANES], rate[LANES], gammas[LANES], entropies[LANES];
    int far = 0; /* whether powers of rate x may overflow, far below the largest, where e^c is next to nothing */
    const KX_REAL *x = (const KX_REAL *)work->exponents;
    KX_REAL *weights = (KX_REAL *)work->weights, *q = (KX_REAL *)outputs->q;
    for (int k = 0; k < LANES; k++) {
        inverse[k] = rate[k] = 0;
        gammas[k] = entropies[k] = (double)NAN;
        if (k >= work->lines.rows) continue;
        switch (work->status[k]) {
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
    if (work->lines.is_long) KX_TYPED(weigh_lines)(1, work, inverse, rate, far);
    else KX_TYPED(weigh_lines)(0, work, inverse, rate, far);
    for (int k = 0; k < work->lines.rows; k++) {
        int32_t status = work->status[k];
        if (status == KX_OK) continue;
        const kx_entropy_place_t place = place_of(work, k);
        if (status == KX_W_MAXITER) {
            /* Where values are too far apart for one unit, or the last step was long, the known sums are not those of the weights. */
            double total = 0;
            for (int64_t i = 0; i < work->lines.length[k]; i++) total += (double)weights[place.first + i * place.step];
            if (total > 0 && total <= DBL_MAX) {
                for (int64_t i = 0; i < work->lines.length[k]; i++) {
                    KX_REAL *weight = weights + place.first + i * place.step;
                    *weight = (KX_REAL)((double)*weight / total);
                }
                continue;
            }
            status = KX_ENTROPY_BELOW;
        }
        const int bad = status < 0;
        const double equal = bad ? (double)NAN : 1 / (status == KX_ENTROPY_BELOW ? group->ties[k] : group->support[k]);
        for (int64_t i = 0; i < work->lines.length[k]; i++) {
            const int64_t at = place.first + i * place.step;
            const int weighs = is_open(work, at) && (status != KX_ENTROPY_BELOW || x[at] == 0);
            weights[at] = (KX_REAL)(weighs || bad ? equal : 0);
        }
    }
    KX_TYPED(store_lines)(weights, &work->lines, LANES, q);
}

static kx_status_t KX_TYPED(normalize_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_entropy_job_t *job = (const kx_entropy_job_t *)arg;
    char *block = job->works + (size_t)kx_task_worker(task) * job->work_bytes;
    kx_entropy_work_t *work = (kx_entropy_work_t *)block;
    work->exponents = block + job->exponents;
    work->weights = block + job->weights;
    work->open = (uint32_t *)(block + job->open);
    work->counts[0][0] = -1;
    memset(&work->group, 0, sizeof work->group); /* steps are taken in lanes without a row as well */
    int64_t next_short = begin, next_long = begin;
    while (kx_entropy_next_lines(&work->lines, job->offsets, job->n, LANES, LONG_ROW, TILE, &next_short, &next_long, end)) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        memset(work->status, 0, sizeof work->status);
        KX_TYPED(prepare)(job, work);
        kx_status_t status = KX_TYPED(solve)(task, job, work);
        if (status != KX_OK) return status;
        KX_TYPED(finish)(job, work);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_entropy_normalize)) KX_ENTROPY_PARAMETERS {
    if (rows < 0 || n < 0 || !targets || !options || !outputs || options->max_iter < 1 || !(options->tolerance > 0)) return KX_E_ARGUMENT;
    if ((int)options->domain < KX_ENTROPY_WEIGHTS || options->domain > KX_ENTROPY_DISTANCES_TO_OTHERS) return KX_E_ARGUMENT;
    if ((int)options->target < KX_ENTROPY_TARGET_ENTROPY || options->target > KX_ENTROPY_TARGET_GAP_HIGH) return KX_E_ARGUMENT;
    int64_t longest, entries;
    const kx_status_t fits = kx_entropy_measure(offsets, rows, n, &longest, &entries);
    if (fits != KX_OK) return fits;
    if (rows == 0) return KX_OK;
    if (!values && entries > 0) return KX_E_ARGUMENT;
    kx_entropy_job_t job = {values, offsets, targets, rows, n, targets_stride, options, outputs, 0, 0, 0, 0, 0, NULL};
    /* Groups of short rows need a whole number of vectors, however few rows there are. */
    job.entries = longest < LONG_ROW ? longest * LANES : TILE;
    if (longest > job.entries) job.entries = kx_round_up(longest, LANES);
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, 1, sizeof(kx_entropy_work_t));
    job.exponents = kx_layout_add(&layout, job.entries, sizeof(KX_REAL));
    job.weights = kx_layout_add(&layout, job.entries, sizeof(KX_REAL));
    job.open = kx_layout_add(&layout, job.entries / LANES, sizeof(uint32_t));
    job.work_bytes = layout.bytes;
    return kx_entropy_run(ctx, rows, entries, &layout, &job.works, KX_TYPED(normalize_rows), &job);
}
#undef FROM_BITS
#undef BITS
#endif
#undef KX_ENTROPY_PARAMETERS
#endif
