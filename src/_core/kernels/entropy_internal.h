/* Entropy normalisation: how rows are put into the lanes of vectors, what is known of them there, and the iteration's step, all of
   which is the same for float and double (what is not is in entropy_template.h).

   Two forms of the residual, in c_i = log q_i + constant. Peaked rows, whose entropy is nearer to log m: c = gamma (u - max u), and

       H - log m = log1p(rest / m) - first / total,    rest = sum of e^c where c < 0, total = m + rest, first = sum c e^c.

   Flat rows, nearer to log s: c = gamma (u - mean u), and

       log s - H = first / total - log1p(rest / s),    rest = sum (e^c - 1 - c), total = s + rest, first = sum c (e^c - 1).

   Every sum is of terms of one sign, so either gap keeps its digits down to the smallest number. An entry far below the others drags the
   mean away from them; where gamma has to be so large that e^c is out of proportion at the other side, flat rows go over to
   c = gamma (u - max u) and log s - H = (log s - log m) - (H - log m), which is not small then. The unknown is gamma, by Halley's step on
   the logarithm of the first gap, which is nearly linear in gamma, and on the root of the second, which is too. With var and skew, the
   second and third central moments of c under q, gamma d(gap)/d gamma is -var and var, and gamma^2 d^2(gap)/d gamma^2 is
   -(var + skew) and var + skew. */
#ifndef KX_ENTROPY_INTERNAL_H
#define KX_ENTROPY_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "isa/transpose.h"
#include "kexue/kx_entropy.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

/* A group is up to KX_ENTROPY_LANES rows; every array below has a number for each. */
enum { KX_ENTROPY_LANES = KX_F32_LANES, KX_ENTROPY_PARTS = KX_F32_LANES / KX_F64_LANES };

/* What a share of the largest entry is scaled by at most, and the least for which the scaling is exact. */
enum { KX_ENTROPY_SCALE_LIMIT_f32 = 100, KX_ENTROPY_SCALE_LIMIT_f64 = 1000 };
#define KX_ENTROPY_TINY_SHARE_f32 0x1p-100f
#define KX_ENTROPY_TINY_SHARE_f64 0x1p-1000

/* A power of two that brings x >= 0 into [0.5, 1), as far as 2^limit and 2^-limit do. */
static inline double kx_entropy_inverse_power(double x, int limit) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1022;
    exponent = exponent < -limit ? -limit : exponent > limit ? limit : exponent;
    bits = (uint64_t)(1023 - exponent) << 52;
    memcpy(&x, &bits, sizeof bits);
    return x;
}

/* A long row's lanes hold parts of it: brings every lane to the sum. */
static inline void kx_entropy_spread_sum(double *sums, int lanes) {
    double sum = 0;
    for (int k = 0; k < lanes; k++) sum += sums[k];
    for (int k = 0; k < lanes; k++) sums[k] = sum;
}

/* Short rows side by side in the lanes, or long ones, each along the vectors. */
typedef struct kx_entropy_lines {
    int64_t row[KX_ENTROPY_LANES], start[KX_ENTROPY_LANES], length[KX_ENTROPY_LANES];
    int64_t count; /* vectors of `lanes` entries: of the short rows together, of a long one */
    int rows, is_long;
} kx_entropy_lines_t;

/* The next rows of *next_short .. end - 1 that are shorter than long_row, a row for each lane; when there are none left, the next
   long rows from *next_long, as many as fit into `tile` entries, or one. 0 if there is none either. */
static inline int kx_entropy_next_lines(kx_entropy_lines_t *lines, const int64_t *offsets, int64_t n, int lanes, int64_t long_row,
                                        int64_t tile, int64_t *next_short, int64_t *next_long, int64_t end) {
    lines->rows = lines->is_long = 0;
    lines->count = 0;
    for (int64_t row = *next_short; row < end && lines->rows < lanes; *next_short = ++row) {
        const int64_t length = offsets ? offsets[row + 1] - offsets[row] : n;
        if (length >= long_row) continue;
        lines->row[lines->rows] = row;
        lines->start[lines->rows] = offsets ? offsets[row] : row * n;
        lines->length[lines->rows++] = length;
        if (length > lines->count) lines->count = length;
    }
    if (lines->rows) return lines->rows;
    for (int64_t row = *next_long; row < end && lines->rows < lanes; *next_long = ++row) {
        const int64_t length = offsets ? offsets[row + 1] - offsets[row] : n;
        if (length < long_row) continue;
        const int64_t own = (length + lanes - 1) / lanes, count = own > lines->count ? own : lines->count;
        if (lines->rows && (lines->rows + 1) * count * lanes > tile) break;
        lines->is_long = 1;
        lines->count = count;
        lines->row[lines->rows] = row;
        lines->start[lines->rows] = offsets ? offsets[row] : row * n;
        lines->length[lines->rows++] = length;
    }
    return lines->rows;
}

/* The longest row and the entries of all, if the offsets are what they have to be. */
static inline kx_status_t kx_entropy_measure(const int64_t *offsets, int64_t rows, int64_t n, int64_t *longest, int64_t *entries) {
    *longest = *entries = 0;
    if (!offsets) {
        if (n > 0 && rows > INT64_MAX / 64 / n) return KX_E_OVERFLOW;
        *longest = n;
        *entries = rows * n;
        return KX_OK;
    }
    for (int64_t i = 0; i < rows; i++) {
        if (offsets[i] < 0 || offsets[i + 1] < offsets[i]) return KX_E_ARGUMENT; /* before a difference could overflow */
        const int64_t length = offsets[i + 1] - offsets[i];
        *longest = length > *longest ? length : *longest;
    }
    if (rows) *entries = offsets[rows] - offsets[0];
    return *entries > INT64_MAX / 64 ? KX_E_OVERFLOW : KX_OK;
}

/* Calls body over the rows, at least one, with a block as the layout says for each worker. */
static inline kx_status_t kx_entropy_run(const kx_ctx_t *ctx, int64_t rows, int64_t entries, const kx_layout_t *layout, char **works,
                                         kx_body_fn body, void *job) {
    const int64_t grain = kx_round_up(1 + 32768 / (entries / rows + 32), KX_ENTROPY_LANES), chunks = (rows + grain - 1) / grain;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    workers = workers < chunks ? workers : chunks;
    if (layout->overflow || layout->bytes > SIZE_MAX / 2 / (size_t)workers) return KX_E_OVERFLOW;
    *works = (char *)kx_allocate(ctx, layout->bytes * (size_t)workers);
    if (!*works) return KX_E_MEMORY;
    kx_ctx_t limited;
    if (ctx) limited = *ctx;
    else kx_ctx_init(&limited);
    limited.workers = (int)workers;
    const kx_status_t status = kx_parallel_for(&limited, rows, grain, body, job);
    kx_release(ctx, *works);
    return status;
}

typedef struct kx_entropy_group {
    double gamma[KX_ENTROPY_LANES];   /* in the unit of the stored exponents */
    double evaluated[KX_ENTROPY_LANES]; /* the gamma of the last evaluation */
    double step[KX_ENTROPY_LANES];    /* the last one, relative; where the caller asks so, not yet in gamma when the lane is done */
    double low[KX_ENTROPY_LANES], high[KX_ENTROPY_LANES]; /* the bracket: 0 and inf at first */
    double error[KX_ENTROPY_LANES];   /* of the last evaluation: the gap's, relative */
    double wanted[KX_ENTROPY_LANES], wanted_root[KX_ENTROPY_LANES]; /* the gap, and its square root */
    double support[KX_ENTROPY_LANES], ties[KX_ENTROPY_LANES]; /* s and m */
    double sums[4][KX_ENTROPY_LANES]; /* rest, first and the sums of c^2 e^c and c^3 e^c */
    double gap[KX_ENTROPY_LANES], variance[KX_ENTROPY_LANES], curvature[KX_ENTROPY_LANES], total[KX_ENTROPY_LANES];
    int32_t evaluations[KX_ENTROPY_LANES];
    double range[KX_ENTROPY_LANES];   /* log s - log m */
    double top[KX_ENTROPY_LANES];     /* of centred lanes: the largest exponent */
    double farthest[KX_ENTROPY_LANES]; /* of centred lanes: the largest gamma to evaluate */
    /* A bit for each lane: whose wanted gap is log s - H; whose exponents are about their mean; whose gamma is still sought. */
    unsigned flat, centred, active;
    unsigned uncentred; /* centred lanes that this step found to need it no more: the caller moves their exponents */
} kx_entropy_group_t;

enum { KX_ENTROPY_ALL = (1u << KX_ENTROPY_LANES) - 1 };

/* A step outside of the bracket is replaced by doubling three times, or by the bracket's (geometric) middle, and so is one after which the
   error was not halved. Below `settle`, relative, a lane is done: its step is third order, so that its error after the step is the cube.
   With keep_last the lane's gamma stays where it was evaluated and the step is left for the caller. */
static inline void kx_entropy_advance(kx_entropy_group_t *group, double settle, int keep_last) {
    const kx_f64v one = kx_f64v_set(1), half = kx_f64v_set(0.5), zero = kx_f64v_set(0), infinity = kx_f64v_set((double)INFINITY);
    for (int part = 0; part < KX_ENTROPY_PARTS; part++) {
        const int at = part * KX_F64_LANES;
        const unsigned all = (1u << KX_F64_LANES) - 1, flat_bits = group->flat >> at & all, active_bits = group->active >> at & all;
        const unsigned centred_bits = group->centred >> at & all;
        if (!active_bits) continue;
        const kx_f64m flat = kx_f64m_from_bits(flat_bits), active = kx_f64m_from_bits(active_bits);
        const kx_f64m centred = kx_f64m_from_bits(centred_bits);
        const kx_f64v base = kx_f64v_select(centred, kx_f64v_load(group->support + at), kx_f64v_load(group->ties + at));
        const kx_f64v rest = kx_f64v_load(group->sums[0] + at), wanted = kx_f64v_load(group->wanted + at);
        const kx_f64v total = kx_f64v_add(base, rest), inverse = kx_f64v_div(one, total);
        const kx_f64v mean = kx_f64v_mul(kx_f64v_load(group->sums[1] + at), inverse);
        const kx_f64v second = kx_f64v_mul(kx_f64v_load(group->sums[2] + at), inverse);
        const kx_f64v third = kx_f64v_mul(kx_f64v_load(group->sums[3] + at), inverse), square = kx_f64v_mul(mean, mean);
        const kx_f64v variance = kx_f64v_sub(second, square);
        const kx_f64v skew = kx_f64v_sub(
            third, kx_f64v_mul(mean, kx_f64v_sub(kx_f64v_mul(kx_f64v_set(3), second), kx_f64v_add(square, square))));
        const kx_f64v curvature = kx_f64v_add(variance, skew), logarithm = kx_f64v_log1p(kx_f64v_div(rest, base));
        const kx_f64v difference = kx_f64v_sub(mean, logarithm);
        const kx_f64v from_top = kx_f64v_select(flat, kx_f64v_add(kx_f64v_load(group->range + at), difference),
                                                kx_f64v_sub(zero, difference));
        const kx_f64v gap = kx_f64v_select(centred, difference, from_top);
        const kx_f64v inverse_variance = kx_f64v_div(one, variance);
        const kx_f64v ratio = kx_f64v_mul(kx_f64v_mul(curvature, inverse_variance), kx_f64v_mul(inverse_variance, gap));

        /* newton, and half of F F'' / F'^2 */
        kx_f64v error = zero, newton = zero, bend = zero;
        if (flat_bits) {
            const kx_f64v root = kx_f64v_sqrt(gap), excess = kx_f64v_sub(root, kx_f64v_load(group->wanted_root + at));
            const kx_f64v relative = kx_f64v_div(excess, root);
            newton = kx_f64v_mul(kx_f64v_mul(kx_f64v_set(-2), excess), kx_f64v_mul(root, inverse_variance));
            bend = kx_f64v_mul(relative, kx_f64v_sub(ratio, half));
            error = kx_f64v_add(relative, relative);
        }
        if (flat_bits != all) {
            const kx_f64v excess = kx_f64v_log(kx_f64v_div(gap, wanted));
            newton = kx_f64v_select(flat, newton, kx_f64v_mul(excess, kx_f64v_mul(gap, inverse_variance)));
            bend = kx_f64v_select(flat, bend, kx_f64v_mul(kx_f64v_mul(kx_f64v_set(-0.5), excess), kx_f64v_add(ratio, one)));
            error = kx_f64v_select(flat, error, excess);
        }
        error = kx_f64v_abs(error);
        kx_f64v step = kx_f64v_div(newton, kx_f64v_max(kx_f64v_sub(one, bend), kx_f64v_set(0.25)));
        step = kx_f64v_min(kx_f64v_max(step, kx_f64v_set(-0.875)), kx_f64v_set(7));

        const kx_f64v gamma = kx_f64v_load(group->gamma + at);
        const kx_f64m too_low = kx_f64v_less(kx_f64v_select(flat, gap, wanted), kx_f64v_select(flat, wanted, gap));
        const kx_f64v low = kx_f64v_select(too_low, gamma, kx_f64v_load(group->low + at));
        const kx_f64v high = kx_f64v_select(too_low, kx_f64v_load(group->high + at), gamma);
        const kx_f64m has_low = kx_f64v_less(zero, low), has_high = kx_f64v_less(high, infinity);
        const kx_f64v outward = kx_f64v_select(has_low, kx_f64v_mul(low, kx_f64v_set(8)), kx_f64v_mul(high, kx_f64v_set(0.125)));
        const kx_f64v between = kx_f64v_mul(kx_f64v_sqrt(low), kx_f64v_sqrt(high));
        kx_f64v next = kx_f64v_fma(gamma, step, gamma), farthest = infinity;
        unsigned leaves = 0;
        if (centred_bits) {
            const kx_f64v top = kx_f64v_load(group->top + at), reach = kx_f64v_mul(gamma, top);
            leaves = kx_f64m_bits(kx_f64v_less(kx_f64v_set(25), reach)) & kx_f64m_bits(too_low) & centred_bits;
            farthest = kx_f64v_select(centred, kx_f64v_load(group->farthest + at), infinity);
            next = kx_f64v_min(next, farthest);
        }
        const kx_f64v middle = kx_f64v_min(kx_f64v_select(has_low, kx_f64v_select(has_high, between, outward), outward), farthest);
        next = kx_f64v_select(kx_f64v_less(low, next), next, middle);
        next = kx_f64v_select(kx_f64v_less(next, high), next, middle);
        /* not halved: where there is no bracket yet, the step is all there is */
        const kx_f64m halved = kx_f64v_less(kx_f64v_add(error, error), kx_f64v_load(group->error + at));
        const kx_f64v bisected = kx_f64v_select(has_low, kx_f64v_select(has_high, middle, next), next);
        next = kx_f64v_select(halved, next, bisected);

        const kx_f64v size = kx_f64v_max(error, kx_f64v_abs(step)); /* a NaN in either is not small */
        const kx_f64m settled = kx_f64v_less(kx_f64v_add(size, kx_f64v_sub(error, error)), kx_f64v_set(settle));
        const unsigned settled_bits = kx_f64m_bits(settled) & active_bits;
        if (keep_last) next = kx_f64v_select(settled, gamma, next);
        else next = kx_f64v_select(settled, kx_f64v_fma(gamma, step, gamma), next);

        kx_f64v_store(group->evaluated + at, gamma);
        kx_f64v_store(group->gamma + at, kx_f64v_select(active, next, gamma));
        kx_f64v_store(group->step + at, kx_f64v_select(active, step, kx_f64v_load(group->step + at)));
        kx_f64v_store(group->error + at, kx_f64v_select(active, error, kx_f64v_load(group->error + at)));
        kx_f64v_store(group->low + at, low);
        kx_f64v_store(group->high + at, high);
        kx_f64v_store(group->gap + at, kx_f64v_select(active, gap, kx_f64v_load(group->gap + at)));
        kx_f64v_store(group->variance + at, kx_f64v_select(active, variance, kx_f64v_load(group->variance + at)));
        kx_f64v_store(group->curvature + at, kx_f64v_select(active, curvature, kx_f64v_load(group->curvature + at)));
        for (int lane = 0; lane < KX_F64_LANES; lane++) group->evaluations[at + lane] += (int32_t)(active_bits >> lane & 1);
        group->active &= ~(settled_bits << at);
        group->uncentred |= (leaves & active_bits & ~settled_bits) << at;
    }
}

#endif
