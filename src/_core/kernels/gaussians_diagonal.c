/* Entropy, divergences and gradients of Gaussians whose covariances are diagonal: sums over the entries, with items in the
   lanes, a block of entries at a time. In double for both precisions; the sums of blocks are added with Knuth's two-sum. */
#ifndef KX_REAL
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_internal.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"

enum { BLOCK = 32 };
static const double LEAST_f64 = 0x1p-1074;
static const float LEAST_f32 = 0x1p-149f;

/* An infinite sum has lost a NaN. */
static inline kx_f64v total_of(const kx_lane_sum_t *t) {
    const kx_f64m is_finite = kx_f64v_less(kx_f64v_abs(t->total), kx_f64v_set((double)INFINITY));
    return kx_f64v_add_where(is_finite, t->total, t->lost);
}

/* 2 KL of one dimension; D is the means' difference. */
static inline kx_f64v kl_term(kx_f64v difference, kx_f64v p, kx_f64v q) {
    /* A division is as long as everything else here; that by q is a product with 1 / q where that has all its digits. */
    const kx_f64v change = kx_f64v_sub(p, q), inverse = kx_f64v_div(kx_f64v_set(1), q);
    kx_f64v term = kx_f64v_fma(kx_f64v_mul(difference, inverse), difference,
                               kx_lanes_log1p_excess(kx_f64v_mul(change, inverse), kx_f64v_mul(p, inverse)));
    const unsigned ordinary = kx_f64m_bits(kx_f64v_less(kx_f64v_set(1e-300), q)) & kx_f64m_bits(kx_f64v_less(q, kx_f64v_set(1e300)));
    if (ordinary != (1u << KX_F64_LANES) - 1) {
        const kx_f64v excess = kx_lanes_log1p_excess(kx_f64v_div(change, q), kx_f64v_div(p, q));
        term = kx_f64v_select(kx_f64m_from_bits(ordinary), term, kx_f64v_fma(kx_f64v_div(difference, q), difference, excess));
    }
    return term;
}

/* 4 BD of one dimension: D^2 / (p + q) + log(1 + (p - q)^2 / (4 p q)) */
static inline kx_f64v bhattacharyya_term(kx_f64v difference, kx_f64v p, kx_f64v q) {
    const kx_f64v half = kx_f64v_set(0.5), change = kx_f64v_mul(half, kx_f64v_sub(p, q));
    const kx_f64v x = kx_f64v_mul(kx_f64v_div(change, p), kx_f64v_div(change, q)), bound = kx_f64v_set(0x1p60);
    const kx_f64v mean = kx_f64v_fma(half, p, kx_f64v_mul(half, q));
    const kx_f64v quotient = kx_f64v_mul(half, kx_f64v_mul(kx_f64v_div(difference, mean), difference));
    const kx_f64m is_ordinary = kx_f64v_less(x, bound);
    kx_f64v logarithm = kx_f64v_log1p(kx_f64v_min(x, bound));
    if (kx_f64m_bits(is_ordinary) != (1u << KX_F64_LANES) - 1) { /* variances so far apart that x could overflow; a zero; a NaN */
        const kx_f64v of_mean = kx_f64v_log(mean), apart = kx_f64v_add(kx_f64v_sub(of_mean, kx_f64v_log(p)),
                                                                       kx_f64v_sub(of_mean, kx_f64v_log(q)));
        logarithm = kx_f64v_select(is_ordinary, logarithm, apart);
    }
    return kx_f64v_add(quotient, logarithm);
}
#endif

#define KX_TEMPLATE "kernels/gaussians_diagonal.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#define WIDE(p) KX_TYPED(kx_lanes_wide)(p)
enum { KX_TYPED(PARTS) = KX_LANES / KX_F64_LANES };
#define PARTS KX_TYPED(PARTS)
#define MASK_BITS KX_PASTE(KX_PASTE(kx_, KX_SUFFIX), m_bits)

/* Entries begin .. of `count` items. */
static void KX_TYPED(read_block)(const kx_batch_t *vector, int64_t first, int64_t count, int64_t begin, int64_t width,
                                 KX_REAL *to) {
    const kx_batch_t part = {(const char *)vector->data + begin * vector->row, vector->batch, vector->row, 0};
    KX_TYPED(kx_lanes_pack_vector)(&part, first, count, width, to);
}

/* A bit for each lane that has an entry which is not > 0, or not >= 0. */
static unsigned KX_TYPED(find_bad)(const KX_REAL *variances, int64_t width, int allow_zero) {
    /* -0 is above the largest negative number; a NaN is above nothing. */
    const KX_VECTOR bound = V(set)(allow_zero ? -KX_TYPED(LEAST) : 0);
    unsigned good = (1u << KX_LANES) - 1;
    for (int64_t i = 0; i < width; i++) good &= MASK_BITS(V(less)(bound, V(load)(variances + i * KX_LANES)));
    return good ^ ((1u << KX_LANES) - 1);
}

static void KX_TYPED(write)(KX_REAL *out, ptrdiff_t stride, int64_t first, int64_t count, const double *values, unsigned bad) {
    for (int l = 0; l < (int)count; l++) {
        const KX_REAL rounded = (KX_REAL)(bad >> l & 1 ? (double)NAN : values[l]);
        memcpy((char *)out + (first + l) * stride, &rounded, sizeof rounded);
    }
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_diagonal_entropy))(const kx_batch_t *variance, int64_t items, int64_t n, KX_REAL *out,
                                                              ptrdiff_t out_stride) {
    unsigned any_bad = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < items; first += KX_LANES) {
        const int64_t count = items - first < KX_LANES ? items - first : KX_LANES;
        kx_lane_sum_t totals[PARTS];
        unsigned bad = 0;
        for (int part = 0; part < PARTS; part++) totals[part].total = totals[part].lost = kx_f64v_set(0);
        for (int64_t begin = 0; begin < n; begin += BLOCK) {
            const int64_t width = n - begin < BLOCK ? n - begin : BLOCK;
            KX_REAL v[BLOCK * KX_LANES];
            KX_TYPED(read_block)(variance, first, count, begin, width, v);
            bad |= KX_TYPED(find_bad)(v, width, 1);
            for (int part = 0; part < PARTS; part++) {
                kx_f64v sum = kx_f64v_set(0);
                for (int64_t i = 0; i < width; i++)
                    sum = kx_f64v_add(sum, kx_f64v_log(WIDE(v + i * KX_LANES + part * KX_F64_LANES)));
                kx_lane_sum_add(totals + part, sum);
            }
        }
        double values[KX_LANES];
        for (int part = 0; part < PARTS; part++)
            kx_f64v_store(values + part * KX_F64_LANES,
                          kx_f64v_fma(kx_f64v_set(0.5), total_of(totals + part),
                                      kx_f64v_set((double)n * KX_GAUSSIAN_UNIT_ENTROPY)));
        KX_TYPED(write)(out, out_stride, first, count, values, bad);
        any_bad |= bad;
    }
    kx_flags_end(flags, any_bad ? FE_INVALID : 0);
    return KX_OK;
}

/* A block of the two Gaussians of each lane. */
typedef struct KX_TYPED(block) {
    KX_REAL mean_p[BLOCK * KX_LANES], p[BLOCK * KX_LANES], mean_q[BLOCK * KX_LANES], q[BLOCK * KX_LANES];
} KX_TYPED(block);

static void KX_TYPED(read_pairs)(const kx_gaussian_pairs_t *pairs, int64_t first, int64_t count, int64_t begin, int64_t width,
                                 KX_TYPED(block) * b) {
    KX_TYPED(read_block)(pairs->mean_p, first, count, begin, width, b->mean_p);
    KX_TYPED(read_block)(pairs->cov_p, first, count, begin, width, b->p);
    KX_TYPED(read_block)(pairs->mean_q, first, count, begin, width, b->mean_q);
    KX_TYPED(read_block)(pairs->cov_q, first, count, begin, width, b->q);
}

/* KL or BD of a group; returns a bit for each lane that has none. */
static unsigned KX_TYPED(group_values)(const kx_gaussian_pairs_t *pairs, int is_kl, int allow_zeros, int64_t first, int64_t count,
                                       double *values) {
    kx_lane_sum_t totals[PARTS];
    unsigned bad = 0;
    for (int part = 0; part < PARTS; part++) totals[part].total = totals[part].lost = kx_f64v_set(0);
    for (int64_t begin = 0; begin < pairs->n; begin += BLOCK) {
        const int64_t width = pairs->n - begin < BLOCK ? pairs->n - begin : BLOCK;
        KX_TYPED(block) b;
        KX_TYPED(read_pairs)(pairs, first, count, begin, width, &b);
        bad |= KX_TYPED(find_bad)(b.p, width, allow_zeros) | KX_TYPED(find_bad)(b.q, width, allow_zeros && !is_kl);
        for (int part = 0; part < PARTS; part++) {
            kx_f64v sum = kx_f64v_set(0);
            for (int64_t i = 0; i < width; i++) {
                const int64_t at = i * KX_LANES + part * KX_F64_LANES;
                const kx_f64v difference = kx_f64v_sub(WIDE(b.mean_p + at), WIDE(b.mean_q + at));
                const kx_f64v zero = kx_f64v_set(0); /* added, for -0 is 0 */
                const kx_f64v p = kx_f64v_add(WIDE(b.p + at), zero), q = kx_f64v_add(WIDE(b.q + at), zero);
                sum = kx_f64v_add(sum, is_kl ? kl_term(difference, p, q) : bhattacharyya_term(difference, p, q));
            }
            kx_lane_sum_add(totals + part, sum);
        }
    }
    for (int part = 0; part < PARTS; part++)
        kx_f64v_store(values + part * KX_F64_LANES, kx_f64v_mul(kx_f64v_set(is_kl ? 0.5 : 0.25), total_of(totals + part)));
    return bad;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_diagonal))(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                                      KX_REAL *out, ptrdiff_t out_stride) {
    unsigned any_bad = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < pairs->items; first += KX_LANES) {
        const int64_t count = pairs->items - first < KX_LANES ? pairs->items - first : KX_LANES;
        double values[KX_LANES];
        const unsigned bad = KX_TYPED(group_values)(pairs, kind == KX_GAUSSIAN_KL, 1, first, count, values);
        for (int l = 0; l < KX_LANES && kind == KX_GAUSSIAN_HELLINGER; l++) values[l] = sqrt(-expm1(-values[l]));
        KX_TYPED(write)(out, out_stride, first, count, values, bad);
        any_bad |= bad;
    }
    kx_flags_end(flags, any_bad ? FE_INVALID : 0);
    return KX_OK;
}

static void KX_TYPED(write_block)(const kx_batch_out_t *out, int64_t first, int64_t count, int64_t begin, int64_t width,
                                  const double *values, unsigned bad) {
    if (!out->data) return;
    for (int l = 0; l < (int)count; l++)
        for (int64_t i = 0; i < width; i++) {
            const KX_REAL rounded = (KX_REAL)(bad >> l & 1 ? (double)NAN : values[i * KX_LANES + l]);
            memcpy((char *)out->data + (first + l) * out->batch + (begin + i) * out->row, &rounded, sizeof rounded);
        }
}

/* outputs: by mean_p, p, mean_q and q; for the entropy, whose cov_q is NULL, by p alone. */
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_diagonal_gradient))(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                                               const kx_batch_out_t *const *outputs) {
    const int is_entropy = !pairs->cov_q, is_kl = kind == KX_GAUSSIAN_KL;
    unsigned any_bad = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < pairs->items; first += KX_LANES) {
        const int64_t count = pairs->items - first < KX_LANES ? pairs->items - first : KX_LANES;
        double scale[KX_LANES];
        unsigned bad = 0;
        if (is_entropy) {
            for (int64_t begin = 0; begin < pairs->n; begin += BLOCK) {
                const int64_t width = pairs->n - begin < BLOCK ? pairs->n - begin : BLOCK;
                KX_REAL v[BLOCK * KX_LANES];
                KX_TYPED(read_block)(pairs->cov_p, first, count, begin, width, v);
                bad |= KX_TYPED(find_bad)(v, width, 0);
            }
        } else bad = KX_TYPED(group_values)(pairs, is_kl, 0, first, count, scale);
        for (int l = 0; l < KX_LANES; l++)
            scale[l] = kind == KX_GAUSSIAN_HELLINGER ? kx_gaussian_hellinger_slope(scale[l]) : 1;
        for (int64_t begin = 0; begin < pairs->n; begin += BLOCK) {
            const int64_t width = pairs->n - begin < BLOCK ? pairs->n - begin : BLOCK;
            double results[4][BLOCK * KX_LANES];
            KX_TYPED(block) b;
            if (is_entropy) KX_TYPED(read_block)(pairs->cov_p, first, count, begin, width, b.p);
            else KX_TYPED(read_pairs)(pairs, first, count, begin, width, &b);
            for (int64_t i = 0; i < width * KX_LANES; i++) {
                const double p = (double)b.p[i];
                if (is_entropy) {
                    results[1][i] = 0.5 / p;
                    continue;
                }
                const double q = (double)b.q[i], difference = (double)b.mean_p[i] - (double)b.mean_q[i], s = scale[i % KX_LANES];
                if (is_kl) {
                    results[0][i] = difference / q;
                    results[1][i] = 0.5 * ((p - q) / q / p);
                    results[3][i] = -0.5 * ((p - q + difference * difference) / q / q);
                } else {
                    const double mean = 0.5 * p + 0.5 * q, slope = difference / mean, change = 0.125 * ((p - q) / mean);
                    const double of_mean = 0.0625 * slope * slope;
                    results[0][i] = s * (0.25 * slope);
                    results[1][i] = s * (change / p - of_mean);
                    results[3][i] = s * (-change / q - of_mean);
                }
                results[2][i] = -results[0][i];
            }
            for (int k = 0; k < 4; k++)
                if (outputs[k]) KX_TYPED(write_block)(outputs[k], first, count, begin, width, results[k], bad);
        }
        any_bad |= bad;
    }
    kx_flags_end(flags, any_bad ? FE_INVALID : 0);
    return KX_OK;
}

#undef WIDE
#undef PARTS
#undef MASK_BITS
#endif
#endif
