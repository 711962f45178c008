/* kexue: losses of softmaxes that are compared with each other or with their own diagonal, with gradients: the symmetric
   divergence of two softmaxes, R-Drop (arXiv 2106.14448), InfoNCE (arXiv 1807.03748).

   Rows are contiguous and aligned, their distances are in bytes, and 0 repeats a row. Nothing overflows: logits may be as large
   as the format holds, as long as their differences are finite.

   A row that is no valid input has the loss NaN and a gradient that means nothing, and leaves the others alone; InfoNCE has one
   loss for a matrix, which is NaN then.

   Exponentials and what they are multiplied with are of the format, sums and logarithms of float64. The bounds are tested by
   tests/c/test_losses_contrastive.c. No floating-point flags but underflow and inexact. Results are the same for any number of
   workers, and the loss is the same with and without a gradient. Outputs must not overlap inputs. */
#ifndef KX_LOSSES_CONTRASTIVE_H
#define KX_LOSSES_CONTRASTIVE_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* loss[r] = sum_i (p_i - q_i)(s_i - t_i), p = softmax(s) and q = softmax(t), of `count` pairs of rows of n >= 1 logits, and the
   gradients by both, or NULL and NULL. No term is negative.

   No valid input: NaN, +inf, -inf in one row of the pair alone or everywhere, s - t that is not finite.

   p - q is the difference of the exponentials, which is their larger one times 1 - e^-d, less a correction of first order: where
   the rows are next to each other, nothing is lost but what the format loses in s_i - t_i. Losses within 2^-17 (float64: 2^-45)
   relatively, gradients within as much of p + q times R, the largest |log p - log q|, both times 1 + max |s - t| / R, for
   logits within 100 of their largest: p and q themselves are as good as the rounded difference to it. */
kx_status_t kx_losses_softmax_symmetric_kl_f32(const kx_ctx_t *ctx, const float *s, const float *t, int64_t count, int64_t n,
                                               ptrdiff_t s_stride, ptrdiff_t t_stride, float *loss, float *grad_s, float *grad_t,
                                               ptrdiff_t grad_stride);
kx_status_t kx_losses_softmax_symmetric_kl_f64(const kx_ctx_t *ctx, const double *s, const double *t, int64_t count, int64_t n,
                                               ptrdiff_t s_stride, ptrdiff_t t_stride, double *loss, double *grad_s,
                                               double *grad_t, ptrdiff_t grad_stride);

/* loss[r] = sum_i p_i (log p_i - log q_i), p = softmax(a) and q = softmax(b), and the gradient by b, q - p, or NULL. scratch:
   2 n + 32 doubles. Serial; all in float64, the result rounded once.

   No valid input, beside NaN and infinities, is what takes more care than here: logits further than 700 below the largest one
   of a row of a, and a class whose b - a is more than 690 above its mean. Such rows have the loss NaN.

   Losses within 2^-45 and gradients within as much of p + q times R, the largest |log p - log q|, in float64, both times
   1 + max |b - a| / R as above: a KL of 1e-20 has all of its digits. */
kx_status_t kx_losses_softmax_kl_f32(const float *a, const float *b, int64_t count, int64_t n, ptrdiff_t a_stride,
                                     ptrdiff_t b_stride, double *scratch, float *loss, float *grad, ptrdiff_t grad_stride);
kx_status_t kx_losses_softmax_kl_f64(const double *a, const double *b, int64_t count, int64_t n, ptrdiff_t a_stride,
                                     ptrdiff_t b_stride, double *scratch, double *loss, double *grad, ptrdiff_t grad_stride);

/* The cross-entropies of both, -sum w (log p + log q), and alpha / 2 times the divergence above. The targets w are 1 at
   ids[r], or, where ids is NULL, `weights`: n numbers a row, finite and not negative; they need not sum to 1. An id out of
   range or a bad weight makes its row no valid input; a logit of -inf with a target gives the loss inf. A small
   cross-entropy is accurate relatively, and so is its gradient at the id. KX_E_ARGUMENT: alpha negative or not finite, no
   targets. */
kx_status_t kx_losses_r_drop_f32(const kx_ctx_t *ctx, const float *s, const float *t, const int64_t *ids, const float *weights,
                                 int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t weight_stride,
                                 double alpha, float *loss, float *grad_s, float *grad_t, ptrdiff_t grad_stride);
kx_status_t kx_losses_r_drop_f64(const kx_ctx_t *ctx, const double *s, const double *t, const int64_t *ids, const double *weights,
                                 int64_t count, int64_t n, ptrdiff_t s_stride, ptrdiff_t t_stride, ptrdiff_t weight_stride,
                                 double alpha, double *loss, double *grad_s, double *grad_t, ptrdiff_t grad_stride);

/* Of each of `count` matrices c of n x n similarities, n >= 1,

       loss = mean_i log(1 + sum_{j != i} exp((c_ij - c_ii) / temperature))

   and, with is_symmetric, the mean of this and the same of the transposed matrix. grad: count x n x n, contiguous, or NULL.
   -inf off the diagonal takes no part. No valid input: NaN, +inf, a diagonal of -inf, c / temperature that overflows upwards, or
   (on the diagonal) at all.

   One exponential an entry, for both directions, where the diagonal lies within 60 temperatures (float64: 300) and nothing is as
   much above it; else each direction has its own, relative to the largest. Where exponents are below 60, the rounding of
   (c_ij - c_ii) / temperature is what bounds the accuracy: that of float32 is 4e-6 at an exponent of 20. A small loss keeps
   its digits. Allocates two numbers a row, or up to 80 for both directions. KX_E_ARGUMENT: a temperature that is not positive
   and finite, or that has no finite inverse in the format. */
kx_status_t kx_losses_info_nce_f32(const kx_ctx_t *ctx, const float *similarities, int64_t count, int64_t n,
                                   ptrdiff_t matrix_stride, ptrdiff_t row_stride, double temperature, int is_symmetric,
                                   float *loss, float *grad);
kx_status_t kx_losses_info_nce_f64(const kx_ctx_t *ctx, const double *similarities, int64_t count, int64_t n,
                                   ptrdiff_t matrix_stride, ptrdiff_t row_stride, double temperature, int is_symmetric,
                                   double *loss, double *grad);

#ifdef __cplusplus
}
#endif
#endif
