/* kexue: losses and measures of order: CoSENT, Spearman's correlation, cosines of pairs.

   Rows have n numbers; strides are in bytes, from row to row and from number to number. Arithmetic is float64 for both
   precisions. */
#ifndef KX_LOSSES_RANKING_H
#define KX_LOSSES_RANKING_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* CoSENT of rows (kexue.fm post 8847): log(1 + sum of exp(scale (cos_k - cos_i)) over the pairs whose labels are ordered,
   label_i > label_k), in O(n log n): with the row sorted by label, sums of exp(scale cos) over smaller and of exp(-scale cos)
   over greater labels are prefix sums. Equal labels give no term; a row without an ordered pair has loss 0.

   n < 2^32 - 1. scale > 0, finite. loss: one number a row. gradient, by the cosines: rows of n numbers, or NULL; it may be
   `cosines` itself. Cosines may be any finite numbers: where scale times their range exceeds 330, logarithms of sums are
   kept in place of sums, at some 30 times the cost. Errors: of the loss 4 eps times the largest of 1, the loss and
   scale (max - min); of a gradient the same times scale. KX_E_NONFINITE where a number or a label is not finite, KX_E_OVERFLOW
   where a loss is beyond float64. */
kx_status_t kx_losses_cosent_f32(const kx_ctx_t *ctx, const float *cosines, const double *labels, int64_t rows, int64_t n,
                                 ptrdiff_t cosine_row, ptrdiff_t cosine_step, ptrdiff_t label_row, ptrdiff_t label_step,
                                 double scale, float *loss, float *gradient, ptrdiff_t gradient_row, ptrdiff_t gradient_step);
kx_status_t kx_losses_cosent_f64(const kx_ctx_t *ctx, const double *cosines, const double *labels, int64_t rows, int64_t n,
                                 ptrdiff_t cosine_row, ptrdiff_t cosine_step, ptrdiff_t label_row, ptrdiff_t label_step,
                                 double scale, double *loss, double *gradient, ptrdiff_t gradient_row, ptrdiff_t gradient_step);

/* Spearman's rank correlation of rows x and y: Pearson's of the ranks, those of equal numbers averaged (Spearman 1904). Ranks and
   their products are exact to n = 9e7. NaN, without a flag, where n < 2 or one of the rows is constant. n < 2^32 - 1.
   KX_E_NONFINITE where a number is not finite. */
kx_status_t kx_losses_spearman(const kx_ctx_t *ctx, const double *x, const double *y, int64_t rows, int64_t n, ptrdiff_t x_row,
                               ptrdiff_t x_step, ptrdiff_t y_row, ptrdiff_t y_step, double *correlation);

/* Cosines of pairs of rows u and v: u.v / (max(|u|, 1e-8) max(|v|, 1e-8)), PyTorch's rule for short vectors; a zero vector gives
   0. No overflow or underflow inside. Within 4 eps (1 + log2 n) absolutely. NaN for a pair with a NaN; with an infinity too, and
   the invalid flag is raised. */
kx_status_t kx_losses_cosine_pairs_f32(const float *u, const float *v, int64_t rows, int64_t n, ptrdiff_t u_row, ptrdiff_t u_step,
                                       ptrdiff_t v_row, ptrdiff_t v_step, float *cosines, ptrdiff_t cosine_step);
kx_status_t kx_losses_cosine_pairs_f64(const double *u, const double *v, int64_t rows, int64_t n, ptrdiff_t u_row,
                                       ptrdiff_t u_step, ptrdiff_t v_row, ptrdiff_t v_step, double *cosines,
                                       ptrdiff_t cosine_step);

/* The cosines' gradients times upstream ones: du = g (v / |v| - c u / |u|) / |u|, and dv alike;
   of a vector shorter than 1e-8, g v / (|v| 1e-8). du and dv may be u and v. Of upstream's rows `step` has no meaning. */
typedef struct kx_losses_vectors {
    void *data;
    ptrdiff_t row, step;
} kx_losses_vectors_t;
kx_status_t kx_losses_cosine_pairs_vjp_f32(const kx_losses_vectors_t *u, const kx_losses_vectors_t *v,
                                           const kx_losses_vectors_t *upstream,
                                           int64_t rows, int64_t n, const kx_losses_vectors_t *du, const kx_losses_vectors_t *dv);
kx_status_t kx_losses_cosine_pairs_vjp_f64(const kx_losses_vectors_t *u, const kx_losses_vectors_t *v,
                                           const kx_losses_vectors_t *upstream,
                                           int64_t rows, int64_t n, const kx_losses_vectors_t *du, const kx_losses_vectors_t *dv);

/* x / max(|x|, 1e-12), PyTorch's rule, and its product with an upstream gradient: (g - y (y.g)) / |x|, y = x / |x|; of a vector
   shorter than 1e-12, g / 1e-12. */
kx_status_t kx_losses_l2_normalize_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, float *out,
                                       ptrdiff_t out_row, ptrdiff_t out_step);
kx_status_t kx_losses_l2_normalize_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row, ptrdiff_t x_step, double *out,
                                       ptrdiff_t out_row, ptrdiff_t out_step);
kx_status_t kx_losses_l2_normalize_vjp_f32(const float *x, const float *upstream, int64_t rows, int64_t n, ptrdiff_t x_row,
                                           ptrdiff_t x_step, ptrdiff_t upstream_row, ptrdiff_t upstream_step, float *out,
                                           ptrdiff_t out_row, ptrdiff_t out_step);
kx_status_t kx_losses_l2_normalize_vjp_f64(const double *x, const double *upstream, int64_t rows, int64_t n, ptrdiff_t x_row,
                                           ptrdiff_t x_step, ptrdiff_t upstream_row, ptrdiff_t upstream_step, double *out,
                                           ptrdiff_t out_row, ptrdiff_t out_step);

#ifdef __cplusplus
}
#endif
#endif
