/* kexue: entropy and divergences of multivariate normal distributions, in batches, and their gradients.

   N(mean, cov) of dimension n. A batch has `items` of them; an operand is the same for all where its batch stride is 0.
   Strides are in bytes, of any sign; any alignment. What stands for cov is, by the form: the covariance matrix, of which only
   the lower triangle is used; its lower triangular Cholesky factor L (cov = L L^T, diagonal > 0), of which only the lower
   triangle is used (what is above may be loaded); the n variances of a diagonal covariance. Formulas and symbols are those of kexue.fm post 8512.
   Logarithms are natural; D = mean_p - mean_q.

   An item whose matrix is not positive definite (a pivot of its Cholesky factorisation is not > 0), or has a NaN there, is
   NaN with the invalid flag, unless stated otherwise; its neighbours are not concerned. kx_gaussian_first_bad_pivot tells
   where. A NaN in a mean makes its item NaN, silently. With n = 0 values are 0. Outputs must not overlap inputs.

   Matrices go side by side in the lanes of vectors, which suits many small ones: float32 is factored in float32, and
   log-determinants and the last sums are float64; diagonal covariances are float64 throughout. Time O(items n^3), scratch for
   2 n^2 vectors of 64 bytes (KL), 6 n^2 (Bhattacharyya, Hellinger) or up to 12 n^2 (gradients), for diagonal ones O(items n)
   and none; the calls are serial. They fail with KX_E_ARGUMENT (a negative size, an unknown form), KX_E_OVERFLOW or
   KX_E_MEMORY, after which some outputs may be written. Errors are at most some n eps times the condition numbers of the covariances, as of any method by Cholesky
   factors. */
#ifndef KX_GAUSSIANS_H
#define KX_GAUSSIANS_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum kx_gaussian_form {
    KX_GAUSSIAN_COVARIANCE = 0,
    KX_GAUSSIAN_CHOLESKY = 1,
    KX_GAUSSIAN_DIAGONAL = 2
} kx_gaussian_form_t;

/* A batch of matrices, or of vectors (means, variances: `row` is the stride from entry to entry, `column` is not used). float
   or double, as the function says. */
typedef struct kx_batch {
    const void *data;
    ptrdiff_t batch, row, column;
} kx_batch_t;

/* The same to write to; where data is NULL, the output is not wanted. */
typedef struct kx_batch_out {
    void *data;
    ptrdiff_t batch, row, column;
} kx_batch_out_t;

/* out[i] = n/2 (1 + log 2 pi) + 1/2 log det cov. A factor's or variances' diagonal may have zeros: -inf. */
kx_status_t kx_gaussian_entropy_f32(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form,
                                    float *out, ptrdiff_t out_stride);
kx_status_t kx_gaussian_entropy_f64(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n, kx_gaussian_form_t form,
                                    double *out, ptrdiff_t out_stride);

/* out[i] = KL(p || q) = 1/2 (D^T Sq^-1 D + tr(Sq^-1 Sp) - n - log det(Sq^-1 Sp)), as a sum of terms >= 0: of equal arguments
   exactly 0, never below, and small ones of nearly equal arguments keep their digits. A factor's or variances' diagonal in
   cov_p may have zeros: +inf. */
kx_status_t kx_gaussian_kl_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
                               const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, float *out,
                               ptrdiff_t out_stride);
kx_status_t kx_gaussian_kl_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
                               const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, double *out,
                               ptrdiff_t out_stride);

/* out[i] = 1/8 D^T S^-1 D + 1/2 log(det S / sqrt(det Sp det Sq)), S = (Sp + Sq) / 2: the Bhattacharyya distance. Of equal
   arguments exactly 0, never below, and small ones keep their digits: where the covariances' part of it is below 1/64,
   that is made from their difference, at three times the work. Factors' or variances' diagonals may have zeros as long as S is
   positive definite: +inf. In form cholesky, here and in the gradients below, the factors' squares must be in the range of
   their type: where they overflow, the item is NaN, where they underflow, it has few digits or is NaN. */
kx_status_t kx_gaussian_bhattacharyya_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                          const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                          kx_gaussian_form_t form, float *out, ptrdiff_t out_stride);
kx_status_t kx_gaussian_bhattacharyya_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                          const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                          kx_gaussian_form_t form, double *out, ptrdiff_t out_stride);

/* out[i] = sqrt(1 - exp(-BD)), BD the Bhattacharyya distance: the Hellinger distance, in [0, 1]. Small ones keep their
   digits; where BD is infinite, 1. */
kx_status_t kx_gaussian_hellinger_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                      const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                      kx_gaussian_form_t form, float *out, ptrdiff_t out_stride);
kx_status_t kx_gaussian_hellinger_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                      const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                      kx_gaussian_form_t form, double *out, ptrdiff_t out_stride);

/* Gradients. By means: vectors. By the covariance matrix: the symmetric matrix G with d f = tr(G d cov) for symmetric d cov;
   by the Cholesky factor: the lower triangle of 2 G L, zeros above; by variances: vectors. Outputs whose pointer is NULL are
   left out. Every entry of an item of which one matrix is not positive definite (zeros on a diagonal included) is NaN, with
   the invalid flag. Where p = q, the Hellinger distance has a kink as |x| has, and its gradient is given as 0. */

/* Of the entropy. */
kx_status_t kx_gaussian_entropy_gradient_f32(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                             kx_gaussian_form_t form, const kx_batch_out_t *grad_cov);
kx_status_t kx_gaussian_entropy_gradient_f64(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                             kx_gaussian_form_t form, const kx_batch_out_t *grad_cov);

/* Of KL(p || q), by all four. */
kx_status_t kx_gaussian_kl_gradient_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                        const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                        kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                        const kx_batch_out_t *grad_cov_q);
kx_status_t kx_gaussian_kl_gradient_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                        const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                        kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                        const kx_batch_out_t *grad_cov_q);

/* Of the Bhattacharyya distance, by all four. */
kx_status_t kx_gaussian_bhattacharyya_gradient_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                   const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                                   const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                                   const kx_batch_out_t *grad_cov_q);
kx_status_t kx_gaussian_bhattacharyya_gradient_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                                   const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                                   const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                                   const kx_batch_out_t *grad_cov_q);

/* Of the Hellinger distance, by all four. */
kx_status_t kx_gaussian_hellinger_gradient_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                               const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                               kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                               const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                               const kx_batch_out_t *grad_cov_q);
kx_status_t kx_gaussian_hellinger_gradient_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                               const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                               kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                               const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                               const kx_batch_out_t *grad_cov_q);

/* The first item of a batch that is not positive definite, and in it the first pivot that is not > 0, with its value (form
   covariance: of the factorisation, a square; the other forms: the diagonal entry itself; NaN where there is one). -1, -1, 0
   if all are. */
kx_status_t kx_gaussian_first_bad_pivot_f32(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                            kx_gaussian_form_t form, int64_t *item, int64_t *pivot, double *value);
kx_status_t kx_gaussian_first_bad_pivot_f64(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                            kx_gaussian_form_t form, int64_t *item, int64_t *pivot, double *value);

/* Sets flaws[i] to 1 where a matrix is not what the form says, and leaves the others. Form covariance: an entry is not finite, or
   differs from the one across the diagonal by more than `tolerance` times the largest diagonal entry. Form cholesky: an entry of the
   lower triangle is not finite, or one above is not 0. The other functions read lower triangles alone and would not notice.
   Raises no flags; O(items n^2), no scratch. */
kx_status_t kx_gaussian_flaws_f32(const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form, double tolerance,
                                  uint8_t *flaws);
kx_status_t kx_gaussian_flaws_f64(const kx_batch_t *matrices, int64_t items, int64_t n, kx_gaussian_form_t form, double tolerance,
                                  uint8_t *flaws);

/* Optimal transport. Everything here is computed in float64, float32 input too.

   out[i] = the 2-Wasserstein distance, W^2 = |D|^2 + tr Sp + tr Sq - 2 tr (Sp^1/2 Sq Sp^1/2)^1/2, the last trace being the sum
   of the singular values of Fq^T Fp for any factors S = F F^T; with `squared`, W^2. Matrices may be semidefinite; a factor may
   be any lower triangular matrix, variances may be 0. Eigenvalues below 0 by no more than rounding, 8 n eps of the input's type
   times the largest entry, count as 0; a matrix with one farther below, or with a NaN, gives NaN with the invalid flag. Never
   negative, and of equal arguments exactly 0. W is good to 1e-10 of itself, or to 4 sqrt(n) eps sqrt(tr Sp + tr Sq) where that
   is more: of nearly equal arguments the difference of factors is summed, not the difference of traces, and nearly singular
   matrices (a pivot below 1e-6 of its diagonal entry) are factored in twice the precision, with pivoting. */
kx_status_t kx_gaussian_w2_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
                               const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared,
                               float *out, ptrdiff_t out_stride);
kx_status_t kx_gaussian_w2_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p, const kx_batch_t *mean_q,
                               const kx_batch_t *cov_q, int64_t items, int64_t n, kx_gaussian_form_t form, int squared,
                               double *out, ptrdiff_t out_stride);

/* The symmetric T >= 0 with T Sp T = Sq: x -> mean_q + T (x - mean_p) takes p to q at the least cost. In form diagonal, T's
   diagonal: a vector. Sq may be semidefinite; of an item whose Sp is not positive definite every entry is NaN, with the invalid
   flag. */
kx_status_t kx_gaussian_ot_map_f32(const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items,
                                   int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *map);
kx_status_t kx_gaussian_ot_map_f64(const kx_ctx_t *ctx, const kx_batch_t *cov_p, const kx_batch_t *cov_q, int64_t items,
                                   int64_t n, kx_gaussian_form_t form, const kx_batch_out_t *map);

/* The gradient of W^2: 2 D by mean_p and -2 D by mean_q, I - T by cov_p, and by cov_q I less the map from q to p; in the forms
   of the gradients above. Every entry by a matrix that is not positive definite is NaN, and if the other one is not even
   semidefinite those by both; with the invalid flag. Twice the distance times its gradient is this one. Gradients by covariances
   that are next to each other are small, and have all their digits too; by equal ones they are 0. */
kx_status_t kx_gaussian_w2_gradient_f32(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                        const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                        kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                        const kx_batch_out_t *grad_cov_q);
kx_status_t kx_gaussian_w2_gradient_f64(const kx_ctx_t *ctx, const kx_batch_t *mean_p, const kx_batch_t *cov_p,
                                        const kx_batch_t *mean_q, const kx_batch_t *cov_q, int64_t items, int64_t n,
                                        kx_gaussian_form_t form, const kx_batch_out_t *grad_mean_p,
                                        const kx_batch_out_t *grad_cov_p, const kx_batch_out_t *grad_mean_q,
                                        const kx_batch_out_t *grad_cov_q);

/* The first item of a batch that is not semidefinite in the sense of kx_gaussian_w2, and by how much: about its least
   eigenvalue (variance), NaN where an entry is not finite. -1, 0 if all are. Of a factor, only such an entry can be wrong. */
kx_status_t kx_gaussian_first_not_semidefinite_f32(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, int64_t *item, double *value);
kx_status_t kx_gaussian_first_not_semidefinite_f64(const kx_ctx_t *ctx, const kx_batch_t *cov, int64_t items, int64_t n,
                                                   kx_gaussian_form_t form, int64_t *item, double *value);

#ifdef __cplusplus
}
#endif
#endif
