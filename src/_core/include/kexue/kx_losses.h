/* kexue: losses of rows of scores: the multi-label softmax cross-entropy (ZLPR) and its relatives, with gradients.

   A row has n scores s and n targets t in [0, 1], and with u = s - threshold

       A = sum_i t_i exp(-u_i),  B = sum_i (1 - t_i) exp(u_i),  loss = log(1 + A) + log(1 + B)

   (Su et al. 2022, arXiv 2208.02955; kexue.fm posts 7359 and 9064). Positive are the scores above the threshold s0: this
   is log(e^s0 + sum_neg e^s) + log(e^-s0 + sum_pos e^-s), and its derivative by s0 is minus the sum of the row's
   gradient.

   Rows are contiguous and aligned, their distances are in bytes, and 0 repeats a row. Nothing overflows: scores may be as
   large as the format holds. An empty sum gives the term 0, and a row without entries the loss 0. Entries whose mask is
   0, and scores of -inf whose target is 0, do not take part: they contribute 0 and have the gradient 0.

   A row that is no valid input has the loss NaN and a gradient of NaNs, and leaves the others alone: a score that takes
   part is NaN or +inf, or -inf with a target above 0; a target is outside [0, 1], or above 0 where the mask is 0; the
   threshold is not finite; s - threshold overflows, but towards -inf with a target of 0, unsmoothed: that contributes 0.

   Sums are of exponentials within 1 ulp of the rounded exponent, compensated, and logarithms are of float64
   (tests/c/test_losses_zlpr.c): losses within 4 ulp in float32 and in float64, gradients within 8 ulp where no exponent
   is above 60 (float64: 300); above, the exponents are relative to their largest, and a gradient that is e^-d of the
   row's largest has d ulp more. Where targets are not 0 or 1 or smoothed, a gradient is a difference, and the bound holds
   for its terms.

   No floating-point flags but underflow and inexact. Rows are independent and results the same for any number of workers.
   Outputs must not overlap inputs; `grad` may be NULL, which saves the pass over it. */
#ifndef KX_LOSSES_H
#define KX_LOSSES_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of scores, and what they are compared with. Scores, targets and thresholds are of the function's type. */
typedef struct kx_loss_rows {
    int64_t count, n;
    const void *scores;
    ptrdiff_t score_stride;
    const uint8_t *labels; /* targets that are 0 or 1 (above 1: no valid input); or NULL */
    ptrdiff_t label_stride;
    const void *targets; /* in [0, 1]; read where labels is NULL */
    ptrdiff_t target_stride;
    const uint8_t *mask; /* not 0: takes part; NULL: all do */
    ptrdiff_t mask_stride;
    const void *thresholds; /* one a row; NULL: 0 */
    ptrdiff_t threshold_stride;
} kx_loss_rows_t;

/* loss[r], and grad[r, i] = -t e^-u / (1 + A) + (1 - t) e^u / (1 + B). label_smoothing e in [0, 1] takes t (1 - e) + e / 2 for
   t, in the entries that take part. One exponential an entry where all of a row's targets are 0 or 1 and e is 0. KX_E_ARGUMENT:
   a negative size, e out of range, no targets. */
kx_status_t kx_losses_zlpr_f32(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double label_smoothing, float *loss,
                               float *grad, ptrdiff_t grad_stride);
kx_status_t kx_losses_zlpr_f64(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double label_smoothing, double *loss,
                               double *grad, ptrdiff_t grad_stride);

/* The same of targets that are 1 at ids[offsets[r]] .. ids[offsets[r + 1] - 1] and 0 elsewhere, to the bit; labels and
   targets are not read. An id out of range or one that is repeated makes its row no valid input. Allocates n bytes a
   worker. KX_E_ARGUMENT: offsets that fall. */
kx_status_t kx_losses_zlpr_sparse_f32(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, const int64_t *offsets,
                                      const int64_t *ids, float *loss, float *grad, ptrdiff_t grad_stride);
kx_status_t kx_losses_zlpr_sparse_f64(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, const int64_t *offsets,
                                      const int64_t *ids, double *loss, double *grad, ptrdiff_t grad_stride);

/* log(1 + sum_neg exp(gamma (s + margin)) sum_pos exp(-gamma s)), targets 0 or 1, gamma > 0: the form of the circle loss
   (Sun et al. 2020, arXiv 2002.10857). Thresholds cancel and are not read. Exponents are rounded to the type; float64
   within 8 ulp of the largest exponent's size. KX_E_ARGUMENT: gamma not positive and finite, a margin that is not finite. */
kx_status_t kx_losses_pairwise_rank_f32(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double gamma, double margin,
                                        float *loss, float *grad, ptrdiff_t grad_stride);
kx_status_t kx_losses_pairwise_rank_f64(const kx_ctx_t *ctx, const kx_loss_rows_t *rows, double gamma, double margin,
                                        double *loss, double *grad, ptrdiff_t grad_stride);

/* sum_i (sigma(s_i) - sigma(t_i)) (s_i - t_i), the symmetric divergence of the two rows' distributions, of `count` pairs
   of rows of n scores (kexue.fm post 9039), and the gradients by both, or NULL. Entries without the mask, and where both
   are -inf, contribute 0. The difference is sigma(max) sigma(-min) (1 - e^-|s - t|), so it does not cancel: within 8 ulp
   where e^-|s| and e^-|t| are normal numbers, gradients too; below, within |s - t| units of the least subnormal more. */
kx_status_t kx_losses_zlpr_symmetric_kl_f32(const kx_ctx_t *ctx, const float *s, const float *t, const uint8_t *mask,
                                            int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride,
                                            ptrdiff_t mask_stride, float *loss, float *grad_s, float *grad_t,
                                            ptrdiff_t grad_stride);
kx_status_t kx_losses_zlpr_symmetric_kl_f64(const kx_ctx_t *ctx, const double *s, const double *t, const uint8_t *mask,
                                            int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride,
                                            ptrdiff_t mask_stride, double *loss, double *grad_s, double *grad_t,
                                            ptrdiff_t grad_stride);

#ifdef __cplusplus
}
#endif
#endif
