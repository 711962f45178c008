/* Elementary symmetric polynomials by exchanges with the k best items, see kx_losses_combinatorial.h; the polynomials are those
   of losses_combinatorial_internal.h. */
#include "kexue/kx_losses_combinatorial.h"

#include "isa/kernel.h"

#define KX_COMBINATORIAL_PARAMETERS(real)                                                                                 \
    (const kx_ctx_t *ctx, const real *scores, const unsigned char *targets, const int64_t *counts, const double *fillers, \
     int64_t rows, int64_t n, ptrdiff_t counts_stride, ptrdiff_t fillers_stride, real *value, real *grad)

KX_DISPATCH(kx_losses_combinatorial_f32, KX_COMBINATORIAL_PARAMETERS(float),
            (ctx, scores, targets, counts, fillers, rows, n, counts_stride, fillers_stride, value, grad))
KX_DISPATCH(kx_losses_combinatorial_f64, KX_COMBINATORIAL_PARAMETERS(double),
            (ctx, scores, targets, counts, fillers, rows, n, counts_stride, fillers_stride, value, grad))

#ifndef KX_DISPATCH_PASS
#include <float.h>

#include "kernels/losses_combinatorial_internal.h"
#include "runtime/vector_math.h"

enum {
    FEW = 32,             /* best items that are kept in order */
    HALVINGS = 14,        /* of the range, before the rest is selected by moving it */
    PLAIN_EXPONENT = 450, /* coefficients of both sides are within 2^+-450 then, and their products in range */
};

#define NEGLIGIBLE 0x1p-64

typedef struct job {
    const char *scores;
    const unsigned char *targets;
    const char *counts, *fillers;
    ptrdiff_t counts_stride, fillers_stride;
    char *value, *grad;
    int64_t n;
    size_t size;
    struct work *works;
} job;

static double read_real(const char *p, size_t size) {
    double wide;
    float narrow;
    if (size == 4) return memcpy(&narrow, p, 4), (double)narrow;
    return memcpy(&wide, p, 8), wide;
}
static void write_real(char *p, size_t size, double value) {
    const float narrow = (float)value;
    memcpy(p, size == 4 ? (const void *)&narrow : (const void *)&value, size);
}

/* A sum that keeps what its roundings lose. */
typedef struct exact_sum {
    double total, lost;
} exact_sum;
static void add_exactly(exact_sum *sum, double a) {
    const double total = sum->total + a, part = total - sum->total;
    sum->lost += (sum->total - (total - part)) + (a - part);
    sum->total = total;
}
static void add_product(exact_sum *sum, double a, double b) {
    const double product = a * b;
    add_exactly(sum, product);
    sum->lost += fma(a, b, -product);
}
static double value_with(const exact_sum *sum, double rest) {
    return isfinite(sum->total) ? sum->total + (sum->lost + rest) : sum->total;
}

static double sum_of_lanes(kx_f64v a) {
    double lanes[L], sum = 0;
    kx_f64v_store(lanes, a);
    for (int l = 0; l < L; l++) sum += lanes[l];
    return sum;
}

/* The rank-th largest of the numbers, rank >= 1, which it moves about (Hoare's selection). */
static double select_largest(double *numbers, int64_t count, int64_t rank) {
    int64_t low = 0, high = count - 1;
    while (low < high) {
        const double a = numbers[low], b = numbers[low + (high - low) / 2], c = numbers[high];
        const double pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        int64_t i = low, j = high;
        while (i <= j) {
            while (numbers[i] > pivot) i++;
            while (numbers[j] < pivot) j--;
            if (i > j) break;
            const double moved = numbers[i];
            numbers[i++] = numbers[j];
            numbers[j--] = moved;
        }
        if (rank - 1 <= j) high = j;
        else if (rank - 1 >= i) low = i;
        else break;
    }
    return numbers[rank - 1];
}

/* Plain factors: p = e^exponent, and its sum. */
static double set_plain(work *w, const side *s) {
    kx_f64v sum = kx_f64v_set(0);
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v p = kx_f64v_exp_below(kx_f64v_load(w->exponent + i));
        kx_f64v_store(w->p + i, p);
        kx_f64v_store(w->q + i, kx_f64v_set(1));
        sum = kx_f64v_add(sum, p);
    }
    return sum_of_lanes(sum);
}

/* p = sigmoid(exponent + shift): its sum, and that of p (1 - p). */
static double add_up_trials(const work *w, const side *s, double shift, double *variance) {
    const kx_f64v one = kx_f64v_set(1), zero = kx_f64v_set(0), shifts = kx_f64v_set(shift);
    kx_f64v sum = zero, spread = zero;
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v u = kx_f64v_add(kx_f64v_load(w->exponent + i), shifts);
        const kx_f64v e = kx_f64v_exp_below(kx_f64v_sub(zero, kx_f64v_abs(u))), inverse = kx_f64v_div(one, kx_f64v_add(one, e));
        const kx_f64v less = kx_f64v_mul(e, inverse);
        sum = kx_f64v_add(sum, kx_f64v_select(kx_f64v_less(zero, u), inverse, less));
        spread = kx_f64v_fma(less, inverse, spread);
    }
    *variance += sum_of_lanes(spread);
    return sum_of_lanes(sum);
}

/* The factors of trials, the log of what they were divided by, and the largest mean of a lane. */
static double set_trials(work *w, side *s, double shift, double *highest_mean) {
    const kx_f64v one = kx_f64v_set(1), zero = kx_f64v_set(0), shifts = kx_f64v_set(shift);
    kx_f64v sum = zero, scale = zero, lost = zero; /* equal terms would be rounded the same way each time */
    for (int64_t i = s->first; i < s->first + s->vectors * L; i += L) {
        const kx_f64v u = kx_f64v_add(kx_f64v_load(w->exponent + i), shifts);
        const kx_f64v e = kx_f64v_exp_below(kx_f64v_sub(zero, kx_f64v_abs(u))), inverse = kx_f64v_div(one, kx_f64v_add(one, e));
        const kx_f64v less = kx_f64v_mul(e, inverse), p = kx_f64v_select(kx_f64v_less(zero, u), inverse, less);
        kx_f64v_store(w->p + i, p);
        kx_f64v_store(w->q + i, kx_f64v_select(kx_f64v_less(zero, u), less, inverse));
        sum = kx_f64v_add(sum, p);
        const kx_f64v term = kx_f64v_sub(kx_f64v_add(kx_f64v_max(u, zero), kx_f64v_log1p(e)), lost);
        const kx_f64v total = kx_f64v_add(scale, term);
        lost = kx_f64v_sub(kx_f64v_sub(total, scale), term);
        scale = total;
    }
    double means[L];
    kx_f64v_store(means, sum);
    *highest_mean = 0;
    for (int l = 0; l < L; l++) *highest_mean = means[l] > *highest_mean ? means[l] : *highest_mean;
    s->sum = sum_of_lanes(sum);
    return sum_of_lanes(scale);
}

/* The c at which a trial each with p = sigmoid(s - c), and a geometric number of fillers, have a mean of k: its distance from the
   reference, within a quarter of an item. `above` fillers are in the reference; `filler`: their score less the reference's, or
   -inf; `nearest`: the best of the others, likewise. */
static double find_tilt(const work *w, int64_t items, int64_t above, double filler, double nearest) {
    const double reach = log((double)items + 1) + 2;
    double low = nearest - reach, high = reach;
    if (filler > low) low = filler;
    double tilt = above > 0 ? log1p(1 / (double)above) : low > -1 ? low + 1 : 0;
    if (!(tilt < high)) tilt = low + (high - low) / 2;
    for (int step = 0; step < 200; step++) {
        double slope = 0;
        const double added = add_up_trials(w, &w->others, -tilt, &slope), removed = add_up_trials(w, &w->best, tilt, &slope);
        const double fillers = 1 / expm1(tilt - filler), excess = added - removed + fillers - (double)above;
        if (fabs(excess) <= 0.25) break;
        slope += fillers * (1 + fillers);
        if (excess > 0) low = tilt;
        else high = tilt;
        const double next = tilt + excess / slope;
        tilt = next > low && next < high ? next : low + (high - low) / 2;
        if (!(tilt > low && tilt < high)) break;
    }
    return tilt;
}

/* How many exchanges are to be looked at: the terms beyond are below 2^-64 of the first, by e_m <= e_1^m / m!. `squared`: on both
   sides. */
static int64_t exchanges_that_count(double product, int64_t most, int squared) {
    double term = 1; /* relative to the first */
    int64_t m = 1, units = 0; /* of 2^512 */
    for (; m < most; m++) {
        const double divisor = (double)(m + 1), ratio = product / (squared ? divisor * divisor : divisor);
        if (units == 0 && term < NEGLIGIBLE && ratio < 0.5) break;
        term *= ratio;
        if (term > 0x1p512) term *= 0x1p-512, units++;
        else if (units > 0 && term < 1) term *= 0x1p512, units--;
    }
    return m;
}

/* The scores that are present, and their places. */
static kx_status_t load_row(work *w, const job *j, const char *scores, const unsigned char *targets, int64_t *present) {
    double *score = w->score;
    int64_t *place = w->place, i = 0, count = 0;
    while (i < j->n) {
        if (i + L <= j->n) {
            const char *from = scores + (size_t)i * j->size;
            const kx_f64v some = j->size == 4 ? kx_f64v_load_f32((const float *)from) : kx_f64v_load((const double *)from);
            if (kx_f64v_all_between(kx_f64v_abs(some), 0, DBL_MAX)) {
                kx_f64v_store(score + count, some);
                for (int l = 0; l < L; l++) place[count + l] = i + l;
                count += L;
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < j->n ? i + L : j->n; i < end; i++) {
            const double one = read_real(scores + (size_t)i * j->size, j->size);
            if (!isless(one, (double)INFINITY)) return KX_E_NONFINITE;
            score[count] = one;
            place[count] = i;
            if (one > -(double)INFINITY) count++;
            else if (targets && targets[i]) return KX_E_ARGUMENT;
        }
    }
    *present = count;
    return KX_OK;
}

static int64_t count_above(const double *score, int64_t count, double threshold) {
    const kx_f64v thresholds = kx_f64v_set(threshold);
    int64_t above = 0, i = 0;
    for (; i + L <= count; i += L) above += kx_count_bits(kx_f64m_bits(kx_f64v_less(thresholds, kx_f64v_load(score + i))));
    for (; i < count; i++) above += score[i] > threshold;
    return above;
}

/* Those among which the rank-th largest is, and its rank among them: by halving the range, of which a pass over the scores is far
   quicker than one that moves them. */
static int64_t narrow_down(const double *score, int64_t count, int64_t *rank, double *candidates) {
    double least = score[0], most = score[0];
    for (int64_t i = 1; i < count; i++) {
        least = score[i] < least ? score[i] : least;
        most = score[i] > most ? score[i] : most;
    }
    double low = -(double)INFINITY; /* the range is above it, and not above `most` */
    int64_t above_low = count, above_most = 0;
    for (int step = 0; step < HALVINGS && above_low - above_most > FEW; step++) {
        const double middle = least / 2 + most / 2;
        const int64_t above = count_above(score, count, middle);
        if (above >= *rank) {
            low = least = middle;
            above_low = above;
        } else {
            most = middle;
            above_most = above;
        }
    }
    int64_t kept = 0;
    for (int64_t i = 0; i < count; i++) {
        candidates[kept] = score[i];
        kept += (score[i] > low) & (score[i] <= most);
    }
    *rank -= above_most;
    return kept;
}

/* The rank-th largest score, 1 <= rank <= count. A few are found by comparing all with the least of the best so far. */
static double find_threshold(const double *score, int64_t count, int64_t rank, double *scratch) {
    double best[FEW];
    if (rank > FEW) {
        int64_t left = rank;
        const int64_t candidates = narrow_down(score, count, &left, scratch);
        return select_largest(scratch, candidates, left);
    }
    int64_t held = 0, i = 0;
    while (i < count) {
        if (held == rank && i + L <= count) {
            const kx_f64m is_above = kx_f64v_less(kx_f64v_set(best[rank - 1]), kx_f64v_load(score + i));
            if (!kx_f64m_bits(is_above)) {
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < count ? i + L : count; i < end; i++) {
            if (held == rank && !(score[i] > best[rank - 1])) continue;
            int64_t at = held < rank ? held++ : rank - 1;
            for (; at > 0 && best[at - 1] < score[i]; at--) best[at] = best[at - 1];
            best[at] = score[i];
        }
    }
    return best[rank - 1];
}

static int are_unwanted(const unsigned char *targets, int64_t first) {
    static const unsigned char none[L] = {0};
    return !targets || memcmp(targets + first, none, L) == 0;
}

static KX_NEVER_INLINE kx_status_t solve_row(work *w, const job *j, int64_t number) {
    const char *scores = j->scores + (size_t)(number * j->n) * j->size;
    const unsigned char *targets = j->targets ? j->targets + number * j->n : NULL;
    int64_t k, present = 0, wanted = 0;
    double filler = -(double)INFINITY;
    memcpy(&k, j->counts + number * j->counts_stride, sizeof k);
    if (j->fillers) {
        memcpy(&filler, j->fillers + number * j->fillers_stride, sizeof filler);
        if (!isfinite(filler)) return KX_E_NONFINITE;
    }
    if (k < 0) return KX_E_ARGUMENT;
    const kx_status_t loaded = load_row(w, j, scores, targets, &present);
    if (loaded != KX_OK) return loaded;
    if (targets)
        for (int64_t i = 0; i < j->n; i++) wanted += targets[i] != 0;
    if (wanted > k) return KX_E_ARGUMENT;
    char *value = j->value ? j->value + (size_t)number * j->size : NULL;
    char *grad = j->grad ? j->grad + (size_t)(number * j->n) * j->size : NULL;
    if (grad) memset(grad, 0, (size_t)j->n * j->size);
    if (!j->fillers && k > present) {
        if (value) write_real(value, j->size, -(double)INFINITY);
        return KX_OK;
    }

    int64_t taken = k < present ? k : present;
    double threshold = (double)INFINITY; /* the score of the last that is taken */
    if (taken > 0) threshold = find_threshold(w->score, present, taken, w->p);
    if (j->fillers && k > 0 && (k > present || !(threshold > filler))) {
        taken = count_above(w->score, present, filler);
        threshold = filler;
    }
    int64_t fillers = k - taken;
    int64_t ties = taken - count_above(w->score, present, threshold);
    side *best = &w->best, *others = &w->others;
    best->first = 0;
    best->items = taken;
    best->vectors = kx_round_up((taken + L - 1) / L, TOGETHER);
    others->first = best->vectors * L;
    others->items = present - taken;
    others->vectors = kx_round_up((others->items + L - 1) / L, TOGETHER);
    int64_t next_best = best->first, next_other = others->first;
    int64_t wanted_others = 0;
    double nearest = -(double)INFINITY;
    exact_sum linear = {0, 0};
    /* What a score adds to the sum: only what is not in both sets, so that nothing cancels. */
    int64_t *place = w->place + present; /* the second half of the array, by slot */
    const kx_f64v thresholds = kx_f64v_set(threshold);
    kx_f64v nearest_of_lanes = kx_f64v_set(nearest);
    for (int64_t i = 0; i < present;) {
        if (i + L <= present && present == j->n && are_unwanted(targets, i)) {
            const kx_f64v some = kx_f64v_load(w->score + i), exponents = kx_f64v_sub(some, thresholds);
            if (kx_f64m_bits(kx_f64v_less(some, thresholds)) == (1u << L) - 1) {
                kx_f64v_store(w->exponent + next_other, exponents);
                nearest_of_lanes = kx_f64v_max(nearest_of_lanes, exponents);
                for (int l = 0; l < L; l++) place[next_other + l] = i + l;
                next_other += L;
                i += L;
                continue;
            }
        }
        for (const int64_t end = i + L < present ? i + L : present; i < end; i++) {
            const double score = w->score[i];
            const int is_wanted = targets && targets[w->place[i]];
            if (score > threshold || (score == threshold && ties > 0)) {
                ties -= score == threshold;
                w->exponent[next_best] = threshold - score;
                place[next_best++] = w->place[i];
                if (!is_wanted) add_exactly(&linear, score);
            } else {
                const double exponent = score - threshold;
                w->exponent[next_other] = exponent;
                place[next_other++] = w->place[i];
                nearest = exponent > nearest ? exponent : nearest;
                wanted_others += is_wanted;
                if (is_wanted) add_exactly(&linear, -score);
            }
        }
    }
    double lanes[L];
    kx_f64v_store(lanes, nearest_of_lanes);
    for (int l = 0; l < L; l++) nearest = lanes[l] > nearest ? lanes[l] : nearest;
    if (j->fillers) add_product(&linear, (double)(targets ? wanted - taken : fillers), filler);
    if (fillers > others->items) fillers = others->items; /* more places than items change nothing else */
    for (int64_t i = next_best; i < best->first + best->vectors * L; i++) w->exponent[i] = -(double)INFINITY;
    for (int64_t i = next_other; i < others->first + others->vectors * L; i++) w->exponent[i] = -(double)INFINITY;

    /* Exchanges: of the best, up to `best->most` go, and as many others or fillers come; in place of the reference's fillers,
       more of the others. */
    const double filler_offset = j->fillers ? filler - threshold : -(double)INFINITY;
    double filler_ratio = exp(filler_offset), excess = 0;
    best->sum = set_plain(w, best);
    others->sum = set_plain(w, others);
    best->most = taken;
    if (!j->fillers && others->items < taken) best->most = others->items;
    if (fillers == 0 && best->most > 1)
        best->most = exchanges_that_count(best->sum * (others->sum + filler_ratio), best->most, !j->fillers);
    others->most = others->items < best->most + fillers ? others->items : best->most + fillers;
    int normal = (double)(best->most + others->most) * log2((double)present + 2) > 2 * PLAIN_EXPONENT;
    double tilt = 0, best_mean = 0, others_mean = 0;
    if (normal) {
        tilt = find_tilt(w, present, fillers, filler_offset, nearest);
        filler_ratio = exp(filler_offset - tilt);
        excess = set_trials(w, best, tilt, &best_mean) + set_trials(w, others, -tilt, &others_mean);
        if (j->fillers) excess += (double)fillers * tilt - log(-expm1(filler_offset - tilt));
        const int64_t most_best = highest_of(best->sum, present), most_others = highest_of(others->sum, present);
        best->most = best->most < most_best ? best->most : most_best;
        others->most = others->most < most_others ? others->most : most_others;
        if (!j->fillers) best->most = others->most = best->most < others->most ? best->most : others->most;
    }
    plan_side(best, present, normal, best_mean);
    plan_side(others, present, normal, others_mean);
    const int64_t extended = best->most + fillers; /* the others with fillers have coefficients to here */
    double *b;
    kx_status_t status = find_room(w, grad != NULL, extended + 1, &b);
    if (status == KX_OK) status = to_polynomial(w, best, normal, grad != NULL);
    if (status == KX_OK) status = to_polynomial(w, others, normal, grad != NULL);
    if (status != KX_OK) return status;

    const double *a = product_of(best), *product = product_of(others), scale = normal ? -expm1(filler_offset - tilt) : 1;
    double last = 0, rest = 0; /* rest: without the others' coefficient 0, where it is 1 */
    for (int64_t m = 0; m <= extended; m++) {
        const double coefficient = m <= others->most ? scale * product[m] : 0;
        b[m] = last = coefficient + filler_ratio * last;
        rest = (m == 0 ? 0 : coefficient) + filler_ratio * rest;
        if (m == fillers && !normal) excess = rest;
    }
    double total = 0;
    for (int64_t m = 1; m <= best->most; m++) total += a[m] * b[m + fillers];
    if (normal) {
        total += a[0] * b[fillers];
        excess += log(total);
    } else {
        total += excess;
        excess = log1p(total);
        total += 1;
    }
    if (value) write_real(value, j->size, value_with(&linear, excess));
    if (!grad) return KX_OK;

    memcpy(worth_of(best), b + fillers, (size_t)(best->most + 1) * sizeof *b);
    last = 0;
    for (int64_t m = extended; m >= 0; m--) {
        last = (m >= fillers ? a[m - fillers] : 0) + filler_ratio * last;
        if (m <= others->most) worth_of(others)[m] = scale * last;
    }
    status = to_shares(w, best, normal);
    if (status == KX_OK) status = to_shares(w, others, normal);
    if (status != KX_OK) return status;
    const kx_f64v totals = kx_f64v_set(total);
    for (int64_t i = 0; i < others->first + others->vectors * L; i += L)
        kx_f64v_store(w->exponent + i, kx_f64v_mul(kx_f64v_load(w->p + i), kx_f64v_div(kx_f64v_load(w->exponent + i), totals)));
    for (int64_t i = 0; i < next_best; i++) {
        const int64_t at = place[i];
        write_real(grad + (size_t)at * j->size, j->size, targets && targets[at] ? -w->exponent[i] : 1 - w->exponent[i]);
    }
    if (j->size == 4) {
        float *narrow = (float *)grad;
        for (int64_t i = others->first; i < next_other; i++) narrow[place[i]] = (float)w->exponent[i];
    } else {
        double *wide = (double *)grad;
        for (int64_t i = others->first; i < next_other; i++) wide[place[i]] = w->exponent[i];
    }
    for (int64_t i = others->first; wanted_others > 0 && i < next_other; i++) {
        const int64_t at = place[i];
        if (!targets[at]) continue;
        wanted_others--;
        write_real(grad + (size_t)at * j->size, j->size, w->exponent[i] - 1);
    }
    return KX_OK;
}

static kx_status_t solve_rows(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const job *j = (const job *)arg;
    work *w = j->works + kx_task_worker(task);
    w->task = task;
    w->budget = 0;
    for (int64_t row = begin; row < end; row++) {
        if (should_stop(w, j->n)) return KX_E_CANCELLED;
        const kx_status_t status = solve_row(w, j, row);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

static kx_status_t run(const kx_ctx_t *ctx, job *j, int64_t rows) {
    if (rows < 0 || j->n < 0) return KX_E_ARGUMENT;
    if (j->n > INT64_MAX / 128 || rows > INT64_MAX / 64 / (j->n + 1)) return KX_E_OVERFLOW;
    if (rows == 0 || (!j->value && !j->grad)) return KX_OK;
    if (!j->counts || (!j->scores && j->n > 0)) return KX_E_ARGUMENT;
    const int64_t slots = j->n + 2 * TOGETHER * L, grain = 1 + 16384 / (j->n + 32), chunks = (rows + grain - 1) / grain;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    workers = workers < chunks ? workers : chunks;
    kx_layout_t layout = {0, 0};
    const size_t score = kx_layout_add(&layout, slots, 8), exponent = kx_layout_add(&layout, slots, 8);
    const size_t p = kx_layout_add(&layout, slots, 8), q = kx_layout_add(&layout, slots, 8);
    const size_t place = kx_layout_add(&layout, 2 * slots, 8), each = layout.bytes;
    if (layout.overflow || each > SIZE_MAX / 4 / (size_t)workers) return KX_E_OVERFLOW;
    layout.bytes = each * (size_t)workers;
    const size_t works = kx_layout_add(&layout, workers, sizeof(work));
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    j->works = (work *)(block + works);
    for (int64_t i = 0; i < workers; i++) {
        work *w = j->works + i;
        char *base = block + (size_t)i * each;
        memset(w, 0, sizeof *w);
        w->ctx = ctx;
        w->score = (double *)(base + score), w->exponent = (double *)(base + exponent);
        w->p = (double *)(base + p), w->q = (double *)(base + q);
        w->place = (int64_t *)(base + place);
    }
    kx_ctx_t limited;
    if (ctx) limited = *ctx;
    else kx_ctx_init(&limited);
    limited.workers = (int)workers;
    const kx_status_t status = kx_parallel_for(&limited, rows, grain, solve_rows, j);
    for (int64_t i = 0; i < workers; i++) kx_release(ctx, j->works[i].polynomials);
    kx_release(ctx, block);
    return status;
}

kx_status_t KX_KERNEL(kx_losses_combinatorial_f32) KX_COMBINATORIAL_PARAMETERS(float) {
    job j = {(const char *)scores, targets, (const char *)counts, (const char *)fillers, counts_stride, fillers_stride,
             (char *)value, (char *)grad, n, sizeof(float), NULL};
    return run(ctx, &j, rows);
}

kx_status_t KX_KERNEL(kx_losses_combinatorial_f64) KX_COMBINATORIAL_PARAMETERS(double) {
    job j = {(const char *)scores, targets, (const char *)counts, (const char *)fillers, counts_stride, fillers_stride,
             (char *)value, (char *)grad, n, sizeof(double), NULL};
    return run(ctx, &j, rows);
}
#endif
