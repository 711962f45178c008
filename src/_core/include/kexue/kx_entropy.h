/* kexue: entropy normalisation.

   For weights p of a row, q_i = p_i^gamma / sum_j p_j^gamma with the gamma >= 0 that gives q a wanted entropy (kexue.fm post 8829; the
   perplexity calibration of t-SNE, van der Maaten and Hinton 2008, is the same problem with log p_i = -d_i^2). With s positive
   weights, m of them maximal, the entropy falls from log s (gamma = 0) towards log m (gamma = inf). Entropies are in nats.

   gamma is good to 1e-13 relative for gaps to either end from 1e-12 to log 2, where the gap is what is given: an entropy next to its
   end does not determine gamma to more digits than it holds itself. A row's result does not depend on the other rows. */
#ifndef KX_ENTROPY_H
#define KX_ENTROPY_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What the values are: weights p >= 0; log p, -inf for no weight; -log p, inf for no weight (squared distances); the same where row i
   does not have its entry i (a square matrix of distances). */
typedef enum kx_entropy_domain {
    KX_ENTROPY_WEIGHTS = 0,
    KX_ENTROPY_LOGITS = 1,
    KX_ENTROPY_DISTANCES = 2,
    KX_ENTROPY_DISTANCES_TO_OTHERS = 3
} kx_entropy_domain_t;

/* What a target is: an entropy; its exponential; a share of log n, n being the row's entries (zero weights included); entropy - log m;
   log s - entropy. */
typedef enum kx_entropy_target {
    KX_ENTROPY_TARGET_ENTROPY = 0,
    KX_ENTROPY_TARGET_PERPLEXITY = 1,
    KX_ENTROPY_TARGET_FRACTION = 2,
    KX_ENTROPY_TARGET_GAP_LOW = 3,
    KX_ENTROPY_TARGET_GAP_HIGH = 4
} kx_entropy_target_t;

/* How a row ended, beside KX_OK and KX_W_MAXITER. BELOW: the target is at most log m, or above it by less than 1e-300 (float32 values:
   1e-35), which underflows: gamma = inf, q is uniform on the maximal weights. ABOVE: it is more than log s: gamma = 0, q is uniform on the
   positive weights. CONSTANT: all positive weights are equal and the target is not log s: gamma = 1. Bad rows have gamma, q and entropy NaN and the status KX_E_ARGUMENT (the target is NaN or out of its
   domain), KX_E_NONFINITE, KX_E_NEGATIVE or KX_E_EMPTY. A target within 4 roundings of log s is taken for log s. */
enum { KX_ENTROPY_BELOW = 2, KX_ENTROPY_ABOVE = 3, KX_ENTROPY_CONSTANT = 4 };

typedef struct kx_entropy_options {
    kx_entropy_domain_t domain;
    kx_entropy_target_t target;
    double tolerance; /* relative, of the gap to the nearer end */
    int32_t max_iter; /* evaluations of a row's entropy */
} kx_entropy_options_t;

/* Weights, entropies, 1e-13, 100. */
void kx_entropy_options_init(kx_entropy_options_t *options);

/* Any pointer may be NULL. q is laid out as the values are and may be the values themselves. */
typedef struct kx_entropy_outputs {
    void *q; /* float or double, as the function says */
    double *gamma, *entropy;
    int32_t *status, *iterations;
} kx_entropy_outputs_t;

/* `rows` rows, contiguous: of n entries each, or with offsets (rows + 1 of them) the entries offsets[i] .. offsets[i + 1] - 1. targets has
   one value for each row, or one for all with targets_stride 0 (in bytes). Fails with KX_E_ARGUMENT, KX_E_MEMORY, KX_E_OVERFLOW or
   KX_E_CANCELLED; what is wrong with a row is in its status alone. Time O(entries), 3 to 6 exponentials for an entry. */
kx_status_t kx_entropy_normalize_f32(const kx_ctx_t *ctx, const float *values, const int64_t *offsets, const double *targets,
                                     int64_t rows, int64_t n, ptrdiff_t targets_stride, const kx_entropy_options_t *options,
                                     const kx_entropy_outputs_t *outputs);
kx_status_t kx_entropy_normalize_f64(const kx_ctx_t *ctx, const double *values, const int64_t *offsets, const double *targets,
                                     int64_t rows, int64_t n, ptrdiff_t targets_stride, const kx_entropy_options_t *options,
                                     const kx_entropy_outputs_t *outputs);

/* The gradient of a loss by the values and by each row's entropy, from grad_q, that by q (laid out as the values are), and the gamma of
   each row. With u = log p, and mean and (co)variances under q,

       grad_entropy = -Cov(u, grad_q) / (gamma Var(u)),
       by u_j: gamma q_j (grad_q_j - E grad_q - (u_j - E u) Cov(u, grad_q) / Var(u)),

   and grad_values is that by the values of the domain. 0 where q does not move: entries without weight, and rows whose gamma is 0, not
   finite or negative, or which have no weight that is finite. Either output may be NULL, and grad_values may be the values or grad_q.

   Each term is good to some 10 roundings times the size of its exponent gamma (u - max u), in the precision of the values with sums in
   double every 64 entries; the terms of a result may cancel. grad_entropy takes its gradient by other targets by the chain rule. Fails
   as kx_entropy_normalize does. Time O(entries): an exponential, and for weights a logarithm, for each. */
kx_status_t kx_entropy_gradient_f32(const kx_ctx_t *ctx, const float *values, const int64_t *offsets, const double *gamma,
                                    const float *grad_q, int64_t rows, int64_t n, kx_entropy_domain_t domain, float *grad_values,
                                    double *grad_entropy);
kx_status_t kx_entropy_gradient_f64(const kx_ctx_t *ctx, const double *values, const int64_t *offsets, const double *gamma,
                                    const double *grad_q, int64_t rows, int64_t n, kx_entropy_domain_t domain, double *grad_values,
                                    double *grad_entropy);

#ifdef __cplusplus
}
#endif
#endif
