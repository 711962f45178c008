/* Gradients of entropy and divergences of Gaussians by means, covariances and Cholesky factors. With W = L^-1 of a matrix and
   d = Sp - Sq,

       KL:  by mean_p  v,      by Sp  1/2 Sq^-1 d Sp^-1,              by Sq  -1/2 (Sq^-1 d Sq^-1 + v v^T),   v = Sq^-1 D,
       BD:  by mean_p  v / 4,  by Sp  1/8 S^-1 d Sp^-1 - 1/16 v v^T,  by Sq  -1/8 S^-1 d Sq^-1 - 1/16 v v^T,  v = S^-1 D.

   Differences of inverses, Sq^-1 - Sp^-1 = Sq^-1 d Sp^-1, are made of the difference d, so that gradients at nearly equal
   arguments, which the Hellinger distance divides by its small self, keep their digits. All are

       G = a Wa^T (Wa d Wb^T) Wb - b v v^T

   or, by the factor L of the matrix that Wb inverts, the lower triangle of

       2 G L = 2 a Wa^T (Wa d Wb^T) - 2 b v (L^T v)^T. */
#ifndef KX_REAL
#include "kexue/kx_gaussians.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include "kernels/gaussians_internal.h"
#include "runtime/flags.h"

static const kx_batch_out_t not_wanted = {NULL, 0, 0, 0};
#endif

#define GRADIENT_PARAMETERS                                                                                                    \
    (const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q, const kx_batch_t *cov_q,\
     int64_t items, int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p, const kx_batch_out_t *grad_cov_p,   \
     const kx_batch_out_t *grad_mean_q, const kx_batch_out_t *grad_cov_q)
#define GRADIENT_ARGUMENTS \
    (ctx, mean_p, cov_p, mean_q, cov_q, items, n, form, grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q)

#define KX_TEMPLATE "kernels/gaussians_gradient.c"
#include "isa/each_real.h"

#else /* the template */

KX_DISPATCH(KX_TYPED(kx_gaussian_entropy_gradient),
            (const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form,
             const kx_batch_out_t *grad_cov),
            (ctx, cov, items, n, form, grad_cov))
KX_DISPATCH(KX_TYPED(kx_gaussian_kl_gradient), GRADIENT_PARAMETERS, GRADIENT_ARGUMENTS)
KX_DISPATCH(KX_TYPED(kx_gaussian_bhattacharyya_gradient), GRADIENT_PARAMETERS, GRADIENT_ARGUMENTS)
KX_DISPATCH(KX_TYPED(kx_gaussian_hellinger_gradient), GRADIENT_PARAMETERS, GRADIENT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS

/* gaussians.c */
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_bhattacharyya))(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                           const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items,
                                                           int64_t n, kx_gaussian_form_t form, KX_REAL *out,
                                                           ptrdiff_t out_stride);

/* A factor L, with zeros above the diagonal, its inverse, and that transposed. */
typedef struct KX_TYPED(side) {
    KX_REAL *l, *diagonal, *w, *u;
    kx_lanes_pivots_t pivots;
} KX_TYPED(side);

typedef struct KX_TYPED(workspace) {
    KX_TYPED(side) p, q, mean;
    KX_REAL *difference, *scratch[2], *panel, *v, *other, *scale;
} KX_TYPED(workspace);

static void KX_TYPED(finish_side)(int64_t n, KX_REAL *panel, KX_TYPED(side) * side) {
    KX_TYPED(kx_lanes_clear_above)(side->l, n);
    KX_TYPED(kx_lanes_inverse)(side->l, n, side->diagonal, panel, side->w);
    KX_TYPED(kx_lanes_transpose_lower)(side->w, n, side->u);
}

static void KX_TYPED(read_side)(const kx_batch_t *cov, int64_t first, int64_t count, int64_t n, kx_gaussian_form_t form,
                                KX_REAL *panel, KX_TYPED(side) * side) {
    KX_TYPED(kx_lanes_pack)(cov, first, count, n, KX_LANES_LOWER, side->l);
    if (form == KX_GAUSSIAN_COVARIANCE) KX_TYPED(kx_lanes_cholesky)(side->l, n, side->diagonal, &side->pivots);
    else KX_TYPED(kx_lanes_given_factor)(side->l, n, 0, side->diagonal, &side->pivots);
    KX_TYPED(finish_side)(n, panel, side);
}

/* difference = Sp - Sq, in full; mean.l, where it is wanted, the lower triangle of their mean. */
static void KX_TYPED(read_difference)(const kx_gaussian_pairs_t *pairs, int64_t first, int64_t count, int wants_mean,
                                      KX_TYPED(workspace) * w) {
    const int64_t n = pairs->n;
    const KX_VECTOR half = V(set)((KX_REAL)0.5);
    KX_REAL *sp = w->scratch[0], *sq = w->scratch[1];
    if (pairs->form == KX_GAUSSIAN_COVARIANCE) {
        KX_TYPED(kx_lanes_pack)(pairs->cov_p, first, count, n, KX_LANES_LOWER, sp);
        KX_TYPED(kx_lanes_pack)(pairs->cov_q, first, count, n, KX_LANES_LOWER, sq);
    } else if (wants_mean) {
        KX_TYPED(kx_lanes_multiply)(w->p.l, KX_LANES_TRIANGLE, w->p.l, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0, sp);
        KX_TYPED(kx_lanes_multiply)(w->q.l, KX_LANES_TRIANGLE, w->q.l, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0, sq);
    }
    for (int64_t i = 0; i < n && wants_mean; i++)
        for (int64_t j = 0; j <= i; j++) {
            const int64_t at = (i * n + j) * KX_LANES;
            V(store)(w->mean.l + at, V(fma)(half, V(load)(sp + at), V(mul)(half, V(load)(sq + at))));
        }
    if (pairs->form == KX_GAUSSIAN_COVARIANCE) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j <= i; j++) {
                const int64_t at = (i * n + j) * KX_LANES;
                V(store)(w->difference + at, V(sub)(V(load)(sp + at), V(load)(sq + at)));
            }
    } else { /* (U V^T + V U^T) / 2, U = Lp - Lq, V = Lp + Lq */
        for (int64_t i = 0; i < n * n; i++) {
            const KX_VECTOR lp = V(load)(w->p.l + i * KX_LANES), lq = V(load)(w->q.l + i * KX_LANES);
            V(store)(sp + i * KX_LANES, V(mul)(half, V(sub)(lp, lq)));
            V(store)(sq + i * KX_LANES, V(add)(lp, lq));
        }
        KX_TYPED(kx_lanes_multiply)(sp, KX_LANES_TRIANGLE, sq, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 0, w->difference);
        KX_TYPED(kx_lanes_multiply)(sq, KX_LANES_TRIANGLE, sp, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_LOWER, 1, w->difference);
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++)
            V(store)(w->difference + (j * n + i) * KX_LANES, V(load)(w->difference + (i * n + j) * KX_LANES));
}

/* The gradient by `of`'s covariance or factor, as above, times the lanes' scales: its lower triangle, in one of the scratch
   matrices. */
static KX_REAL *KX_TYPED(by_covariance)(const KX_TYPED(workspace) * w, const KX_TYPED(side) * outer, const KX_TYPED(side) * of,
                                        int64_t n,
                                    kx_gaussian_form_t form, double a, double b) {
    const int is_factor = form == KX_GAUSSIAN_CHOLESKY;
    KX_REAL *first = w->scratch[0], *second = w->scratch[1];
    /* (Wa d Wb^T)^T, and that from the left by Wa^T: every product reads rows alone, d being symmetric */
    KX_TYPED(kx_lanes_multiply)(of->w, KX_LANES_TRIANGLE, w->difference, KX_LANES_TRANSPOSED, n, KX_LANES_FULL, 0, first);
    KX_TYPED(kx_lanes_multiply)(first, KX_LANES_PLAIN, outer->w, KX_LANES_TRIANGLE_TRANSPOSED, n, KX_LANES_FULL, 0, second);
    KX_REAL *gradient = first;
    KX_TYPED(kx_lanes_multiply)(outer->u, KX_LANES_UPPER, second, KX_LANES_TRANSPOSED, n,
                                is_factor ? KX_LANES_LOWER : KX_LANES_FULL, 0,
                                first);
    if (is_factor) KX_TYPED(kx_lanes_multiply_vector)(of->l, KX_LANES_TRIANGLE_TRANSPOSED, w->v, n, w->other);
    else {
        KX_TYPED(kx_lanes_multiply)(first, KX_LANES_PLAIN, of->u, KX_LANES_UPPER_TRANSPOSED, n, KX_LANES_LOWER, 0, second);
        gradient = second;
    }
    const KX_REAL *right = is_factor ? w->other : w->v;
    const KX_VECTOR scale = V(load)(w->scale), twice = V(set)((KX_REAL)(is_factor ? 2 : 1));
    const KX_VECTOR by_a = V(mul)(V(mul)(V(set)((KX_REAL)a), scale), twice);
    const KX_VECTOR by_b = V(mul)(V(mul)(V(set)((KX_REAL)-b), scale), twice);
    for (int64_t i = 0; i < n; i++) {
        const KX_VECTOR left = V(mul)(by_b, V(load)(w->v + i * KX_LANES));
        for (int64_t j = 0; j <= i; j++) {
            KX_REAL *to = gradient + (i * n + j) * KX_LANES;
            V(store)(to, V(fma)(left, V(load)(right + j * KX_LANES), V(mul)(by_a, V(load)(to))));
        }
    }
    return gradient;
}

static void KX_TYPED(write_matrix)(KX_REAL *a, int64_t first, int64_t count, int64_t n, kx_gaussian_form_t form, unsigned bad,
                                   const kx_batch_out_t *out) {
    /* above a factor's diagonal, a bad item is NaN too */
    const int is_lower = form == KX_GAUSSIAN_CHOLESKY && !bad;
    if (form == KX_GAUSSIAN_CHOLESKY && bad) KX_TYPED(kx_lanes_clear_above)(a, n);
    KX_TYPED(kx_lanes_spoil)(a, n * n, bad);
    const kx_lanes_part_t part = form == KX_GAUSSIAN_COVARIANCE ? KX_LANES_SYMMETRIC : is_lower ? KX_LANES_LOWER : KX_LANES_FULL;
    KX_TYPED(kx_lanes_unpack)(a, first, count, n, part, out);
}

/* v times `factor` and the lanes' scales */
static void KX_TYPED(write_vector)(const KX_TYPED(workspace) * w, double factor, int64_t first, int64_t count, int64_t n,
                                   unsigned bad, const kx_batch_out_t *out) {
    const KX_VECTOR by = V(mul)(V(set)((KX_REAL)factor), V(load)(w->scale));
    for (int64_t i = 0; i < n * KX_LANES; i += KX_LANES) V(store)(w->other + i, V(mul)(by, V(load)(w->v + i)));
    KX_TYPED(kx_lanes_spoil)(w->other, n, bad);
    KX_TYPED(kx_lanes_unpack_vector)(w->other, first, count, n, out);
}

static void KX_TYPED(gradients_of_group)(const kx_gaussian_pairs_t *pairs, int is_kl, int64_t first, int64_t count,
                                         const kx_batch_out_t *const *outputs, KX_TYPED(workspace) * w, unsigned *any_bad) {
    const int64_t n = pairs->n;
    const kx_gaussian_form_t form = pairs->form;
    const int is_new_p = first == 0 || pairs->cov_p->batch != 0, is_new_q = first == 0 || pairs->cov_q->batch != 0;
    if (is_new_p) KX_TYPED(read_side)(pairs->cov_p, first, count, n, form, w->panel, &w->p);
    if (is_new_q) KX_TYPED(read_side)(pairs->cov_q, first, count, n, form, w->panel, &w->q);
    if (is_new_p || is_new_q) {
        KX_TYPED(read_difference)(pairs, first, count, !is_kl, w);
        if (!is_kl) {
            KX_TYPED(kx_lanes_cholesky)(w->mean.l, n, w->mean.diagonal, &w->mean.pivots);
            KX_TYPED(finish_side)(n, w->panel, &w->mean);
        }
    }
    const KX_TYPED(side) *outer = is_kl ? &w->q : &w->mean;
    const unsigned bad = w->p.pivots.bad | w->q.pivots.bad | w->mean.pivots.bad;
    *any_bad |= bad;

    KX_TYPED(kx_lanes_pack_vector)(pairs->mean_p, first, count, n, w->v);
    KX_TYPED(kx_lanes_pack_vector)(pairs->mean_q, first, count, n, w->other);
    for (int64_t i = 0; i < n * KX_LANES; i++) w->v[i] -= w->other[i];
    KX_TYPED(kx_lanes_multiply_vector)(outer->w, KX_LANES_TRIANGLE, w->v, n, w->other);
    KX_TYPED(kx_lanes_multiply_vector)(outer->w, KX_LANES_TRIANGLE_TRANSPOSED, w->other, n, w->v);
    if (outputs[0]->data) KX_TYPED(write_vector)(w, is_kl ? 1 : 0.25, first, count, n, bad, outputs[0]);
    if (outputs[2]->data) KX_TYPED(write_vector)(w, is_kl ? -1 : -0.25, first, count, n, bad, outputs[2]);
    if (outputs[1]->data) {
        KX_REAL *gradient = KX_TYPED(by_covariance)(w, outer, &w->p, n, form, is_kl ? 0.5 : 0.125, is_kl ? 0 : 0.0625);
        KX_TYPED(write_matrix)(gradient, first, count, n, form, bad, outputs[1]);
    }
    if (outputs[3]->data) {
        KX_REAL *gradient = KX_TYPED(by_covariance)(w, outer, &w->q, n, form, is_kl ? -0.5 : -0.125, is_kl ? 0.5 : 0.0625);
        KX_TYPED(write_matrix)(gradient, first, count, n, form, bad, outputs[3]);
    }
}

static size_t KX_TYPED(reserve)(kx_layout_t *layout, int64_t n, int64_t columns) {
    return kx_layout_add(layout, n * columns, KX_LANES * sizeof(KX_REAL));
}

static kx_status_t KX_TYPED(gradients)(const kx_ctx_t *ctx, const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                       const kx_batch_out_t *const *given) {
    const int64_t n = pairs->n, items = pairs->items;
    kx_status_t status = kx_gaussian_check(items, n, pairs->form);
    if (status != KX_OK || items == 0 || n == 0) return status;
    const kx_batch_out_t *outputs[4];
    for (int k = 0; k < 4; k++) outputs[k] = given[k] ? given[k] : &not_wanted;
    if (pairs->form == KX_GAUSSIAN_DIAGONAL) return KX_KERNEL(KX_TYPED(kx_gaussian_diagonal_gradient))(pairs, kind, outputs);

    const int is_kl = kind == KX_GAUSSIAN_KL, is_scaled = kind == KX_GAUSSIAN_HELLINGER;
    kx_layout_t layout = {0, 0};
    size_t at[19], next = 0;
    for (int k = 0; k < 3; k++) {
        const int64_t columns = k == 2 && is_kl ? 0 : n;
        at[next++] = KX_TYPED(reserve)(&layout, n, columns);
        at[next++] = KX_TYPED(reserve)(&layout, n, columns);
        at[next++] = KX_TYPED(reserve)(&layout, n, columns);
        at[next++] = KX_TYPED(reserve)(&layout, n, 1);
    }
    for (int k = 0; k < 3; k++) at[next++] = KX_TYPED(reserve)(&layout, n, n);
    at[next++] = KX_TYPED(reserve)(&layout, n, KX_LANES_TILE);
    for (int k = 0; k < 2; k++) at[next++] = KX_TYPED(reserve)(&layout, n, 1);
    at[next++] = KX_TYPED(reserve)(&layout, 1, 1);
    const size_t distances_at = kx_layout_add(&layout, is_scaled ? items : 0, sizeof(KX_REAL));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_TYPED(workspace) w;
    KX_REAL **const parts[19] = {&w.p.l, &w.p.w, &w.p.u, &w.p.diagonal, &w.q.l, &w.q.w, &w.q.u, &w.q.diagonal, &w.mean.l,
                                 &w.mean.w, &w.mean.u, &w.mean.diagonal, &w.difference, &w.scratch[0], &w.scratch[1], &w.panel,
                                 &w.v, &w.other, &w.scale};
    for (int k = 0; k < 19; k++) *parts[k] = (KX_REAL *)(void *)(block + at[k]);
    w.mean.pivots.bad = 0;

    unsigned any_bad = 0;
    const int flags = kx_flags_begin();
    KX_REAL *distances = (KX_REAL *)(void *)(block + distances_at);
    if (is_scaled)
        status = KX_KERNEL(KX_TYPED(kx_gaussian_bhattacharyya))(ctx, pairs->mean_p, pairs->cov_p, pairs->mean_q, pairs->cov_q,
                                                                items, n, pairs->form, distances, sizeof *distances);
    for (int64_t first = 0; first < items && status == KX_OK; first += KX_LANES) {
        const int64_t count = items - first < KX_LANES ? items - first : KX_LANES;
        for (int64_t l = 0; l < KX_LANES; l++)
            w.scale[l] = 1;
        for (int64_t l = 0; l < KX_LANES && is_scaled; l++)
            w.scale[l] = (KX_REAL)kx_gaussian_hellinger_slope((double)distances[first + (l < count ? l : count - 1)]);
        KX_TYPED(gradients_of_group)(pairs, is_kl, first, count, outputs, &w, &any_bad);
    }
    kx_flags_end(flags, any_bad ? FE_INVALID : 0);
    kx_release(ctx, block);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_kl_gradient)) GRADIENT_PARAMETERS {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    const kx_batch_out_t *const outputs[4] = {grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q};
    return KX_TYPED(gradients)(ctx, &pairs, KX_GAUSSIAN_KL, outputs);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_bhattacharyya_gradient)) GRADIENT_PARAMETERS {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    const kx_batch_out_t *const outputs[4] = {grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q};
    return KX_TYPED(gradients)(ctx, &pairs, KX_GAUSSIAN_BHATTACHARYYA, outputs);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_hellinger_gradient)) GRADIENT_PARAMETERS {
    const kx_gaussian_pairs_t pairs = {mean_p, cov_p, mean_q, cov_q, items, n, form};
    const kx_batch_out_t *const outputs[4] = {grad_mean_p, grad_cov_p, grad_mean_q, grad_cov_q};
    return KX_TYPED(gradients)(ctx, &pairs, KX_GAUSSIAN_HELLINGER, outputs);
}

/* cov^-1 / 2, and by the factor the lower triangle of L^-T: its diagonal. */
kx_status_t KX_KERNEL(KX_TYPED(kx_gaussian_entropy_gradient))(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items,
                                                              int64_t n,
                                                              kx_gaussian_form_t form, const kx_batch_out_t *grad_cov) {
    const kx_status_t status = kx_gaussian_check(items, n, form);
    if (status != KX_OK || items == 0 || n == 0 || !grad_cov || !grad_cov->data) return status;
    if (form == KX_GAUSSIAN_DIAGONAL) {
        const kx_gaussian_pairs_t pairs = {NULL, cov, NULL, NULL, items, n, form};
        const kx_batch_out_t *const outputs[4] = {NULL, grad_cov, NULL, NULL};
        return KX_KERNEL(KX_TYPED(kx_gaussian_diagonal_gradient))(&pairs, KX_GAUSSIAN_KL, outputs);
    }
    kx_layout_t layout = {0, 0};
    size_t at[6];
    for (int k = 0; k < 4; k++) at[k] = KX_TYPED(reserve)(&layout, n, n);
    at[4] = KX_TYPED(reserve)(&layout, n, 1);
    at[5] = KX_TYPED(reserve)(&layout, n, KX_LANES_TILE);
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_TYPED(side) side;
    KX_REAL *gradient, *panel;
    KX_REAL **const parts[6] = {&side.l, &side.w, &side.u, &gradient, &side.diagonal, &panel};
    for (int k = 0; k < 6; k++) *parts[k] = (KX_REAL *)(void *)(block + at[k]);
    unsigned any_bad = 0;
    const int flags = kx_flags_begin();
    for (int64_t first = 0; first < items; first += KX_LANES) {
        const int64_t count = items - first < KX_LANES ? items - first : KX_LANES;
        if (first == 0 || cov->batch != 0) {
            KX_TYPED(read_side)(cov, first, count, n, form, panel, &side);
            if (form == KX_GAUSSIAN_COVARIANCE) {
                KX_TYPED(kx_lanes_multiply)(side.u, KX_LANES_UPPER, side.u, KX_LANES_UPPER_TRANSPOSED, n, KX_LANES_LOWER, 0,
                                            gradient);
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = i * n * KX_LANES; j < (i * n + i + 1) * KX_LANES; j++) gradient[j] *= (KX_REAL)0.5;
            } else {
                memset(gradient, 0, (size_t)(n * n * KX_LANES) * sizeof *gradient);
                for (int64_t i = 0; i < n; i++)
                    V(store)(gradient + (i * n + i) * KX_LANES, V(load)(side.diagonal + i * KX_LANES));
            }
        }
        KX_TYPED(write_matrix)(gradient, first, count, n, form, side.pivots.bad, grad_cov);
        any_bad |= side.pivots.bad;
    }
    kx_flags_end(flags, any_bad ? FE_INVALID : 0);
    kx_release(ctx, block);
    return KX_OK;
}

#endif
#endif
