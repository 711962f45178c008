/* kexue: what is done to the probabilities of a classifier.

   Classification with alternating normalisation (kexue.fm post 8728; Jia et al., arXiv:2109.13449): the rows of a batch of which
   a classifier is certain tell which classes they take up already; the others are moved towards classes that a prior holds more
   frequent than that.

   Rows hold n >= 1 probabilities each, side by side; from one row to the next it is a stride in bytes, a multiple of the size of
   a number. A row is in order if its numbers are finite and not negative, and their sum is within KX_CLASSIFICATION_TOLERANCE of
   1, as those of float32 softmaxes over 1e5 classes are. Sums are in double. Results do not depend on the number of workers. */
#ifndef KX_CLASSIFICATION_H
#define KX_CLASSIFICATION_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KX_CLASSIFICATION_TOLERANCE 1e-3

/* How uncertain a row is, from its k largest entries p (k > n is n, and k = 1 gives 0; 0 log 0 = 0).
   POST: the entropy of p / sum p, divided by log k: from 0 to 1.
   PAPER: -sum p log p / log n.
   REPO: the largest of POST for 2, ..., k - 1 entries (0 where there is none), as in the authors' program. */
typedef enum kx_uncertainty {
    KX_UNCERTAINTY_POST = 0,
    KX_UNCERTAINTY_PAPER = 1,
    KX_UNCERTAINTY_REPO = 2
} kx_uncertainty_t;

/* out[i] is the uncertainty of row i, within 1e-14 and a rounding. Time O(rows n) for k up to 8 (REPO: 9), beyond it a few dozen
   passes over a row that is in the caches. KX_E_NONFINITE, KX_E_NEGATIVE or KX_E_TOTALS for a row that is not in order. */
kx_status_t kx_classification_topk_entropy_f32(const kx_ctx_t *ctx, const float *p, int64_t rows, int64_t n,
                                               ptrdiff_t row_stride, int64_t k, kx_uncertainty_t kind, float *out);
kx_status_t kx_classification_topk_entropy_f64(const kx_ctx_t *ctx, const double *p, int64_t rows, int64_t n,
                                               ptrdiff_t row_stride, int64_t k, kx_uncertainty_t kind, double *out);

typedef struct kx_can_options {
    int64_t k;
    kx_uncertainty_t kind;
    double threshold; /* a row is uncertain if its uncertainty, as it is stored, is not below this */
    double alpha;     /* finite and positive */
} kx_can_options_t;

/* 3, POST, 0.9, 1. */
void kx_can_options_init(kx_can_options_t *options);

/* One alternating normalisation. With S_j the sum of p_ij^alpha over the certain rows, an uncertain row becomes proportional to

       prior_j p_j^alpha / (S_j + p_j^alpha),

   which is what raising to alpha, scaling columns to the prior and rows to 1 makes of the certain rows and this one. Certain rows
   are copied bit for bit. Where no row is certain, S_j = 1: the identity matrix takes their place. `prior` has n positive finite
   numbers of any scale. `uncertainty` gets a number for each row; p and out must not overlap.

   The entries are good to some 10 roundings for alpha = 1, else to the rounding of alpha log p_j and log S_j, whatever the size
   of the powers. Time O(rows n), with two logarithms or exponentials an entry unless alpha is 1; memory 2 n doubles for each of
   up to 256 chunks of rows. Fails as kx_classification_topk_entropy does, and with KX_E_ARGUMENT for bad options or priors. */
kx_status_t kx_classification_can_f32(const kx_ctx_t *ctx, const float *p, int64_t rows, int64_t n, ptrdiff_t row_stride,
                                      const double *prior, const kx_can_options_t *options, float *out, ptrdiff_t out_stride,
                                      float *uncertainty);
kx_status_t kx_classification_can_f64(const kx_ctx_t *ctx, const double *p, int64_t rows, int64_t n, ptrdiff_t row_stride,
                                      const double *prior, const kx_can_options_t *options, double *out, ptrdiff_t out_stride,
                                      double *uncertainty);

#ifdef __cplusplus
}
#endif
#endif
