/* Entropy and divergences of Gaussians by Cholesky factors; gaussians_diagonal.c has those of diagonal covariances.

   KL: with F = Lq^-1 (Lp - Lq), Lq^-1 Lp = I + F, and

       KL = 1/2 |Lq^-1 D|^2 + 1/2 |F|^2 + sum_j (f_jj - log(1 + f_jj)),

   in which no term is negative: nothing cancels, and where p is next to q the small result is right. F costs n^3/6 FMA and is
   made four columns at a time, so that a group works on its two factors and a panel.

   Bhattacharyya: the logarithms of three determinants, whose error is one of rounding and whose sum may be small. Where it
   is, once more from the difference d = (Sp - Sq)/2: with C = L^-1 d L^-T, S = L L^T, Sp = L (I + C) L^T and Sq = L (I - C)
   L^T, so that

       1/2 log(det S / sqrt(det Sp det Sq)) = -1/4 log det(I - C C^T),

   where the pivots of I - C C^T are 1 minus sums of squares. */
#ifndef KX_REAL
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_internal.h"
#include "runtime/flags.h"

enum { PARTS_f64 = 1, PARTS_f32 = KX_F32_LANES / KX_F64_LANES };
/* The covariances' part of a Bhattacharyya distance, below this, is computed from the difference: there C has a norm below 1/4.
   The means have no say in it, so that an item's result does not depend on whether its batch shares the covariances. */
static const double small_distance = 0x1p-6;
#endif

#define KX_TEMPLATE "kernels/gaussians.c"
#include "isa/each_real.h"

#else /* the template */

KX_DISPATCH(KX_TYPED(kx_gaussian_entropy),
            (const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, KX_REAL *out,
             ptrdiff_t out_stride),
            (ctx, cov, items, n, form, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_gaussian_kl),
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_gaussian_bhattacharyya),
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_gaussian_hellinger),
            (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
             const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride),
            (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, out, out_stride))
KX_DISPATCH(KX_TYPED(kx_gaussian_first_bad_pivot),
            (const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form, int64_t *item,
             int64_t *pivot, double *value),
            (ctx, cov, items, n, form, item, pivot, value))

#ifndef KX_DISPATCH_PASS
#define WIDE(p) KX_TYPED(kx_lanes_wide)(p)
#define PARTS KX_TYPED(PARTS)

/* A group's factor L. */
typedef struct KX_TYPED(factor) {
    KX_REAL *l, *inverse;
    kx_lanes_pivots_t pivots;
} KX_TYPED(factor);

static void KX_TYPED(read_factor)(const kx_batch_t *cov, int64_t first, int64_t count, int64_t n, kx_gaussian_form_t form,
                                  int allow_zero, KX_TYPED(factor) * factor) {
    KX_TYPED(kx_lanes_pack)(cov, first, count, n, KX_LANES_LOWER, factor->l);
    if (form == KX_GAUSSIAN_COVARIANCE) KX_TYPED(kx_lanes_cholesky)(factor->l, n, factor->inverse, &factor->pivots);
    else KX_TYPED(kx_lanes_given_factor)(factor->l, n, allow_zero, factor->inverse, &factor->pivots);
}

static void KX_TYPED(add_to)(double *sums, const kx_f64v *values) {
    for (int part = 0; part < PARTS; part++) {
        double *to = sums + part * KX_F64_LANES;
        kx_f64v_store(to, kx_f64v_add(kx_f64v_load(to), values[part]));
    }
}

/* sums += scale |v|^2, v of n entries for each lane */
static void KX_TYPED(add_squares)(double *sums, const KX_REAL *v, int64_t n, double scale) {
    kx_f64v squares[PARTS];
    for (int part = 0; part < PARTS; part++) {
        kx_f64v sum = kx_f64v_set(0);
        for (int64_t i = 0; i < n; i++) {
            const kx_f64v entry = WIDE(v + i * KX_LANES + part * KX_F64_LANES);
            sum = kx_f64v_fma(entry, entry, sum);
        }
        squares[part] = kx_f64v_mul(sum, kx_f64v_set(scale));
    }
    KX_TYPED(add_to)(sums, squares);
}

/* v := L^-1 (mean_p - mean_q); other is scratch. */
static void KX_TYPED(whiten_difference)(const kx_gaussian_pairs_t *pairs, int64_t first, int64_t count, const KX_REAL *l,
                                        const KX_REAL *inverse, KX_REAL *v, KX_REAL *other) {
    const int64_t n = pairs->n;
    KX_TYPED(kx_lanes_pack_vector)(pairs->mean_p, first, count, n, v);
    KX_TYPED(kx_lanes_pack_vector)(pairs->mean_q, first, count, n, other);
    for (int64_t i = 0; i < n * KX_LANES; i++) v[i] -= other[i];
    KX_TYPED(kx_lanes_solve_vector)(l, n, inverse, v);
}

/* The part of KL(p || q) that the means do not enter. */
static void KX_TYPED(add_kl_of_covariances)(const KX_TYPED(factor) * p, const KX_TYPED(factor) * q, int64_t n, KX_REAL *panel,
                                            double *sums) {
    for (int64_t j = 0; j < n; j += kx_lanes_tile(j, n)) {
        const int columns = kx_lanes_tile(j, n);
        const int64_t begin = j / KX_LANES_TILE * KX_LANES_TILE;
        for (int64_t i = begin; i < n; i++)
            for (int c = 0; c < columns; c++) {
                const int64_t at = (i * n + j + c) * KX_LANES;
                const KX_VECTOR entry = i < j + c ? V(set)(0) : V(sub)(V(load)(p->l + at), V(load)(q->l + at));
                V(store)(panel + (i * columns + c) * KX_LANES, entry);
            }
        KX_TYPED(kx_lanes_solve_panel)(q->l, n, q->inverse, begin, columns, panel);
        kx_f64v terms[PARTS];
        KX_VECTOR squares[KX_LANES_TILE];
        for (int c = 0; c < columns; c++) squares[c] = V(set)(0);
        for (int64_t i = begin; i < n; i++)
            for (int c = 0; c < columns; c++) {
                const KX_VECTOR entry = V(load)(panel + (i * columns + c) * KX_LANES);
                squares[c] = V(fma)(entry, entry, squares[c]);
            }
        for (int part = 0; part < PARTS; part++) terms[part] = kx_f64v_set(0);
        for (int c = 0; c < columns; c++) {
            KX_REAL square[KX_LANES], ratio[KX_LANES];
            V(store)(square, squares[c]);
            V(store)(ratio, V(mul)(V(load)(p->l + ((j + c) * n + j + c) * KX_LANES), V(load)(q->inverse + (j + c) * KX_LANES)));
            for (int part = 0; part < PARTS; part++) {
                const int at = part * KX_F64_LANES;
                const kx_f64v x = WIDE(panel + ((j + c) * columns + c) * KX_LANES + at);
                terms[part] = kx_f64v_add(terms[part], kx_lanes_log1p_excess(x, WIDE(ratio + at)));
                terms[part] = kx_f64v_fma(WIDE(square + at), kx_f64v_set(0.5), terms[part]);
            }
        }
        KX_TYPED(add_to)(sums, terms);
    }
}

typedef struct KX_TYPED(workspace) {
    KX_TYPED(factor) p, q, mean; /* mean: of (Sp + Sq) / 2 */
    KX_REAL *panel, *v, *other, *scratch[3];
} KX_TYPED(workspace);

/* a := (a + sign b) / 2 in the lower triangle */
static void KX_TYPED(combine_lower)(KX_REAL *a, const KX_REAL *b, int64_t n, KX_REAL sign) {
    const KX_REAL half = (KX_REAL)0.5;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i * n * KX_LANES; j < (i * n + i + 1) * KX_LANES; j++) a[j] = half * a[j] + sign * half * b[j];
}

static void KX_TYPED(mirror)(KX_REAL *a, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) V(store)(a + (j * n + i) * KX_LANES, V(load)(a + (i * n + j) * KX_LANES));
}

/* The factor of (Sp + Sq) / 2. */
static void KX_TYPED(factor_mean)(const kx_gaussian_pairs_t *pairs, int64_t first, int64_t count, KX_TYPED(workspace) * w) {
    const int64_t n = pairs->n;
    if (pairs->form == KX_GAUSSIAN_COVARIANCE) {
        KX_TYPED(kx_lanes_pack)(pairs->cov_p, first, count, n, KX_LANES_LOWER, w->mean.l);
        KX_TYPED(kx_lanes_pack)(pairs->cov_q, first, count, n, KX_LANES_LOWER, w->scratch[0]);
        KX_TYPED(combine_lower)(w->mean.l, w->scratch[0], n, 1);
    } else {
        KX_TYPED(kx_lanes_clear_above)(w->p.l, n);
        KX_TYPED(kx_lanes_clear_above)(w->q.l, n);
        KX_TYPED(kx_lanes_multiply)(w->p.l, KX_LANES_TRIANGLE, w->p.l, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0,
                                    w->mean.l);
        KX_TYPED(kx_lanes_multiply)(w->q.l, KX_LANES_TRIANGLE, w->q.l, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0,
                                    w->scratch[0]);
        KX_TYPED(combine_lower)(w->mean.l, w->scratch[0], n, 1);
    }
    KX_TYPED(kx_lanes_cholesky)(w->mean.l, n, w->mean.inverse, &w->mean.pivots);
}

/* 1/2 log(det S / sqrt(det Sp det Sq)) */
static void KX_TYPED(add_logarithms)(const KX_TYPED(workspace) * w, int64_t n, double *sums) {
    kx_f64v sum[PARTS];
    for (int part = 0; part < PARTS; part++) {
        sum[part] = kx_f64v_set(0);
        for (int64_t j = 0; j < n; j++) {
            const int64_t at = (j * n + j) * KX_LANES + part * KX_F64_LANES;
            const kx_f64v mean = WIDE(w->mean.l + at), product = kx_f64v_mul(WIDE(w->p.l + at), WIDE(w->q.l + at));
            sum[part] = kx_f64v_add(sum[part], kx_f64v_log(kx_f64v_div(kx_f64v_mul(mean, mean), product)));
        }
        sum[part] = kx_f64v_mul(sum[part], kx_f64v_set(0.5));
    }
    KX_TYPED(add_to)(sums, sum);
}

/* -1/4 log det(I - e), e of small norm in the lower triangle, which is overwritten. */
static void KX_TYPED(add_small_logarithms)(KX_REAL *e, int64_t n, double *sums) {
    const KX_VECTOR one = V(set)(1), zero = V(set)(0);
    kx_f64v sum[PARTS];
    for (int part = 0; part < PARTS; part++) sum[part] = kx_f64v_set(0);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            KX_REAL *to = e + (i * n + j) * KX_LANES;
            KX_VECTOR entry = V(load)(to);
            for (int64_t k = 0; k < j; k++) {
                const KX_VECTOR left = V(load)(e + (i * n + k) * KX_LANES), right = V(load)(e + (j * n + k) * KX_LANES);
                entry = V(fma)(left, right, entry);
            }
            if (j < i) { /* the factor's entry, -(e_ij + sum) / root: as e_jj it holds 1 minus the pivot */
                const KX_VECTOR pivot = V(sub)(one, V(load)(e + (j * n + j) * KX_LANES));
                entry = V(div)(V(sub)(zero, entry), V(sqrt)(pivot));
            }
            V(store)(to, entry);
            for (int part = 0; part < PARTS && j == i; part++) {
                const kx_f64v x = kx_f64v_sub(kx_f64v_set(0), WIDE(to + part * KX_F64_LANES));
                const kx_f64v log1p = kx_f64v_sub(x, kx_lanes_log1p_excess(x, kx_f64v_add(x, kx_f64v_set(1))));
                sum[part] = kx_f64v_fma(log1p, kx_f64v_set(-0.25), sum[part]);
            }
        }
    KX_TYPED(add_to)(sums, sum);
}

/* The same for nearly equal covariances, from their difference. */
static void KX_TYPED(add_logarithms_of_difference)(const kx_gaussian_pairs_t *pairs, int64_t first, int64_t count,
                                                   KX_TYPED(workspace) * w, double *sums) {
    const int64_t n = pairs->n;
    KX_REAL *difference = w->scratch[0], *second = w->scratch[1], *third = w->scratch[2];
    if (pairs->form == KX_GAUSSIAN_COVARIANCE) {
        KX_TYPED(kx_lanes_pack)(pairs->cov_p, first, count, n, KX_LANES_LOWER, difference);
        KX_TYPED(kx_lanes_pack)(pairs->cov_q, first, count, n, KX_LANES_LOWER, second);
        KX_TYPED(combine_lower)(difference, second, n, -1);
    } else { /* Lp Lp^T - Lq Lq^T = (U V^T + V U^T) / 2, U = Lp - Lq, V = Lp + Lq */
        for (int64_t i = 0; i < n * n * KX_LANES; i++) {
            second[i] = (KX_REAL)0.25 * (w->p.l[i] - w->q.l[i]);
            third[i] = w->p.l[i] + w->q.l[i];
        }
        KX_TYPED(kx_lanes_multiply)(second, KX_LANES_TRIANGLE, third, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0,
                                    difference);
        KX_TYPED(kx_lanes_multiply)(third, KX_LANES_TRIANGLE, second, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 1,
                                    difference);
    }
    KX_TYPED(mirror)(difference, n);
    KX_TYPED(kx_lanes_inverse)(w->mean.l, n, w->mean.inverse, w->panel, second);
    KX_TYPED(kx_lanes_multiply)(second, KX_LANES_TRIANGLE, difference, KX_LANES_TRANSPOSED, n, KX_LANES_FULL, 0, third);
    KX_TYPED(kx_lanes_multiply)(third, KX_LANES_PLAIN, second, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_FULL, 0, difference);
    KX_TYPED(kx_lanes_multiply)(difference, KX_LANES_PLAIN, difference, KX_LANES_TRANSPOSED, n, KX_LANES_LOWER, 0, third);
    KX_TYPED(add_small_logarithms)(third, n, sums);
}

static size_t KX_TYPED(reserve)(kx_layout_t *layout, int64_t n, int64_t columns) {
    return kx_layout_add(layout, n * columns, KX_LANES * sizeof(KX_REAL));
}

static kx_status_t KX_TYPED(divergences)(const kx_ctx_t *ctx, const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                         KX_REAL *out, ptrdiff_t out_stride) {
    const int64_t n = pairs->n;
    const kx_status_t status = kx_gaussian_check(pairs->items, n, pairs->form);
    if (status != KX_OK || pairs->items == 0) return status;
    if (pairs->form == KX_GAUSSIAN_DIAGONAL) return KX_KERNEL(KX_TYPED(kx_gaussian_diagonal))(pairs, kind, out, out_stride);
    kx_layout_t layout = {0, 0};
    size_t at[12], next = 0;
    for (int k = 0; k < 3; k++) {
        at[next++] = KX_TYPED(reserve)(&layout, n, k == 2 && kind == KX_GAUSSIAN_KL ? 0 : n);
        at[next++] = KX_TYPED(reserve)(&layout, n, 1);
    }
    at[next++] = KX_TYPED(reserve)(&layout, n, KX_LANES_TILE);
    for (int k = 0; k < 2; k++) at[next++] = KX_TYPED(reserve)(&layout, n, 1);
    for (int k = 0; k < 3; k++) at[next++] = KX_TYPED(reserve)(&layout, n, kind == KX_GAUSSIAN_KL ? 0 : n);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_TYPED(workspace) w;
    KX_REAL **const parts[12] = {&w.p.l, &w.p.inverse, &w.q.l, &w.q.inverse, &w.mean.l, &w.mean.inverse, &w.panel, &w.v, &w.other,
                                 &w.scratch[0], &w.scratch[1], &w.scratch[2]};
    for (int k = 0; k < 12; k++) *parts[k] = (KX_REAL *)(void *)(block + at[k]);
    w.mean.pivots.bad = 0;

    /* What is the same for all items is worked on with the first group. Both matrices are: their part of the result too. */
    const int same_p = pairs->cov_p->batch == 0, same_q = pairs->cov_q->batch == 0, same = same_p && same_q;
    double of_covariances[KX_LANES];
    int is_invalid = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < pairs->items; first += KX_LANES) {
        const int64_t count = pairs->items - first < KX_LANES ? pairs->items - first : KX_LANES;
        const int is_first = first == 0, is_new = is_first || !same;
        if (is_first || !same_p) KX_TYPED(read_factor)(pairs->cov_p, first, count, n, pairs->form, 1, &w.p);
        if (is_first || !same_q)
            KX_TYPED(read_factor)(pairs->cov_q, first, count, n, pairs->form, kind != KX_GAUSSIAN_KL, &w.q);
        double sums[KX_LANES] = {0};
        if (is_new) {
            memset(of_covariances, 0, sizeof of_covariances);
            if (kind == KX_GAUSSIAN_KL) KX_TYPED(add_kl_of_covariances)(&w.p, &w.q, n, w.panel, of_covariances);
            else {
                KX_TYPED(factor_mean)(pairs, first, count, &w);
                KX_TYPED(add_logarithms)(&w, n, of_covariances);
            }
        }
        const KX_TYPED(factor) *whitener = kind == KX_GAUSSIAN_KL ? &w.q : &w.mean;
        KX_TYPED(whiten_difference)(pairs, first, count, whitener->l, whitener->inverse, w.v, w.other);
        KX_TYPED(add_squares)(sums, w.v, n, kind == KX_GAUSSIAN_KL ? 0.5 : 0.125);
        const unsigned bad = w.p.pivots.bad | w.q.pivots.bad | w.mean.pivots.bad;
        if (kind != KX_GAUSSIAN_KL) {
            unsigned small = 0;
            for (int l = 0; l < KX_LANES; l++) small |= (unsigned)(of_covariances[l] < small_distance) << l;
            if (is_new && small & ~bad) {
                double again[KX_LANES] = {0};
                KX_TYPED(add_logarithms_of_difference)(pairs, first, count, &w, again);
                for (int l = 0; l < KX_LANES; l++)
                    if (small >> l & 1) of_covariances[l] = again[l];
            }
        }
        for (int l = 0; l < (int)count; l++) {
            double value = sums[l] + of_covariances[l];
            if (kind == KX_GAUSSIAN_HELLINGER) value = sqrt(-expm1(-value));
            if (bad >> l & 1) value = (double)NAN, is_invalid = 1;
            const KX_REAL rounded = (KX_REAL)value;
            memcpy((char *)out + (first + l) * out_stride, &rounded, sizeof rounded);
        }
    }
    kx_flags_end(flags, is_invalid ? FE_INVALID : 0);
    kx_release(ctx, block);
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_kl))(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                                kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride) {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    return KX_TYPED(divergences)(ctx, &pairs, KX_GAUSSIAN_KL, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_bhattacharyya))(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                           const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items,
                                                           int64_t n, kx_gaussian_form_t form, KX_REAL *out,
                                                           ptrdiff_t out_stride) {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    return KX_TYPED(divergences)(ctx, &pairs, KX_GAUSSIAN_BHATTACHARYYA, out, out_stride);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_hellinger))(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                       const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items,
                                                       int64_t n, kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride) {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    return KX_TYPED(divergences)(ctx, &pairs, KX_GAUSSIAN_HELLINGER, out, out_stride);
}

/* A factor alone, for the functions of one matrix. */
static kx_status_t KX_TYPED(allocate_factor)(const kx_ctx_t *ctx, int64_t n, KX_TYPED(factor) * factor) {
    kx_layout_t layout = {0, 0};
    const size_t l = KX_TYPED(reserve)(&layout, n, n), inverse = KX_TYPED(reserve)(&layout, n, 1);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    factor->l = (KX_REAL *)(void *)(block + l), factor->inverse = (KX_REAL *)(void *)(block + inverse);
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_entropy))(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                                     kx_gaussian_form_t form, KX_REAL *out, ptrdiff_t out_stride) {
    kx_status_t status = kx_gaussian_check(items, n, form);
    if (status != KX_OK || items == 0) return status;
    if (form == KX_GAUSSIAN_DIAGONAL) return KX_KERNEL(KX_TYPED(kx_gaussian_diagonal_entropy))(cov, items, n, out, out_stride);
    KX_TYPED(factor) factor;
    status = KX_TYPED(allocate_factor)(ctx, n, &factor);
    if (status != KX_OK) return status;
    int is_invalid = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < items; first += KX_LANES) {
        const int64_t count = items - first < KX_LANES ? items - first : KX_LANES;
        if (first == 0 || cov->batch != 0) KX_TYPED(read_factor)(cov, first, count, n, form, 1, &factor);
        double sums[KX_LANES] = {0};
        for (int part = 0; part < PARTS; part++) {
            kx_f64v sum = kx_f64v_set((double)n * KX_GAUSSIAN_UNIT_ENTROPY);
            for (int64_t j = 0; j < n; j++)
                sum = kx_f64v_add(sum, kx_f64v_log(WIDE(factor.l + (j * n + j) * KX_LANES + part * KX_F64_LANES)));
            kx_f64v_store(sums + part * KX_F64_LANES, sum);
        }
        for (int l = 0; l < (int)count; l++) {
            const int is_bad = factor.pivots.bad >> l & 1;
            const KX_REAL rounded = (KX_REAL)(is_bad ? (double)NAN : sums[l]);
            memcpy((char *)out + (first + l) * out_stride, &rounded, sizeof rounded);
            is_invalid |= is_bad;
        }
    }
    kx_flags_end(flags, is_invalid ? FE_INVALID : 0);
    kx_release(ctx, factor.l);
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_first_bad_pivot))(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                                             kx_gaussian_form_t form, int64_t *item, int64_t *pivot,
                                                             double *value) {
    *item = *pivot = -1;
    *value = 0;
    kx_status_t status = kx_gaussian_check(items, n, form);
    if (status != KX_OK || items == 0) return status;
    if (form != KX_GAUSSIAN_COVARIANCE) {
        const ptrdiff_t step = cov->row + (form == KX_GAUSSIAN_CHOLESKY ? cov->column : 0);
        for (int64_t i = 0; i < (cov->batch == 0 ? 1 : items); i++)
            for (int64_t j = 0; j < n; j++) {
                KX_REAL entry;
                memcpy(&entry, (const char *)cov->data + i * cov->batch + j * step, sizeof entry);
                if (isgreater(entry, (KX_REAL)0)) continue;
                *item = i, *pivot = j, *value = (double)entry;
                return KX_OK;
            }
        return KX_OK;
    }
    KX_TYPED(factor) factor;
    status = KX_TYPED(allocate_factor)(ctx, n, &factor);
    if (status != KX_OK) return status;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < items && *item < 0; first += KX_LANES) {
        const int64_t count = items - first < KX_LANES ? items - first : KX_LANES;
        KX_TYPED(read_factor)(cov, first, count, n, form, 0, &factor);
        if (factor.pivots.bad) {
            const int l = kx_lowest_bit(factor.pivots.bad);
            *item = first + l, *pivot = factor.pivots.index[l], *value = factor.pivots.value[l];
        }
        if (cov->batch == 0) break;
    }
    kx_flags_end(flags, 0);
    kx_release(ctx, factor.l);
    return KX_OK;
}

#undef WIDE
#undef PARTS
#endif
#endif
