/* Entropy normalisation: what is known of the rows in the lanes of a vector, and the iteration's step, which is the same for float and
   double.

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
#include "kexue/kx_entropy.h"
#include "runtime/vector_math.h"

/* A group is KX_ENTROPY_LANES short rows side by side, or one long row that fills all lanes: then every array below holds
   LANES copies of one number. */
enum { KX_ENTROPY_LANES = KX_F32_LANES, KX_ENTROPY_PARTS = KX_F32_LANES / KX_F64_LANES };

typedef struct kx_entropy_group {
    double gamma[KX_ENTROPY_LANES];   /* in the unit of the stored exponents */
    double step[KX_ENTROPY_LANES];    /* the last one, relative, not yet in gamma when the lane is done */
    double low[KX_ENTROPY_LANES], high[KX_ENTROPY_LANES]; /* the bracket: 0 and inf at first */
    double error[KX_ENTROPY_LANES];   /* of the last evaluation: the gap's, relative */
    double wanted[KX_ENTROPY_LANES];  /* the gap */
    double support[KX_ENTROPY_LANES], ties[KX_ENTROPY_LANES]; /* s and m */
    double sums[4][KX_ENTROPY_LANES]; /* rest, first and the sums of c^2 e^c and c^3 e^c */
    double gap[KX_ENTROPY_LANES], variance[KX_ENTROPY_LANES], curvature[KX_ENTROPY_LANES], total[KX_ENTROPY_LANES];
    int32_t evaluations[KX_ENTROPY_LANES];
    double range[KX_ENTROPY_LANES];   /* log s - log m */
    double top[KX_ENTROPY_LANES];     /* of centred lanes: the largest exponent */
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
            const kx_f64v root = kx_f64v_sqrt(gap), excess = kx_f64v_sub(root, kx_f64v_sqrt(wanted));
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
            farthest = kx_f64v_select(centred, kx_f64v_div(kx_f64v_set(60), top), infinity);
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
