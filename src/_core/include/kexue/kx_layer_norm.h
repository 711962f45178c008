/* kexue: layer normalisation and RMS normalisation of rows, and their gradients.

   Rows have n numbers; strides are in bytes, from row to row and from number to number, and any alignment will do. */
#ifndef KX_LAYER_NORM_H
#define KX_LAYER_NORM_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kx_norm_vectors {
    void *data;
    ptrdiff_t row, step; /* row may be 0: one vector for all rows */
} kx_norm_vectors_t;

/* Layer normalisation (Ba, Kiros and Hinton 2016): out = gamma h + beta with h = (x - mean) / s, s = sqrt(variance + eps), the
   variance being the mean of (x - mean)^2. RMS normalisation (Zhang and Sennrich 2019): out = gamma h with h = x / s,
   s = sqrt(mean of x^2 + eps).

   gamma and beta may be NULL: 1 and 0, at no cost. eps >= 0. out may be x.

   Errors are at most 4 eps (1 + log2 n) times |gamma| (1 + |h|) + |beta|, of RMS normalisation times |gamma h|, with the eps of
   the format, for any mean beside the deviation. Nothing overflows or underflows inside, for x of any magnitude: rows beyond the
   range in which squares are accurate are scaled by powers of two (float32: computed in float64), at some ten times the cost.
   A row with a NaN is NaN. So is one with an infinity, and the invalid flag is raised; and 0 / 0, with the flag: eps = 0 and a
   row of equal numbers (RMS: of zeros). */
kx_status_t kx_layer_norm_f32(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta,
                              int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out);
kx_status_t kx_layer_norm_f64(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta,
                              int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out);
kx_status_t kx_rms_norm_f32(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                            const kx_norm_vectors_t *out);
kx_status_t kx_rms_norm_f64(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                            const kx_norm_vectors_t *out);

/* The gradients from that by the result, g. With d = gamma g:
   dx = (d - mean(d) - h mean(d h)) / s, for RMS normalisation (d - h mean(d h)) / s; dgamma = sum of g h and dbeta = sum of g
   over the rows.

   dx may be x or upstream; dgamma and dbeta are n numbers each, or NULL. All are made in one pass over the rows, on the context's
   threads; rows are summed by chunks that depend on `rows` alone, so the results have the same bits for any number of
   workers. Terms of dgamma and dbeta are added by 32 in the format, then in float64 with what that loses: errors are at most
   64 eps of the sum of their sizes (of dgamma's, those of g (1 + |h|) / 64), however many rows there are. Entries of dx are
   within 32 eps of the row's largest (|d| + mean |d| + |h mean(d h)|) / s, unless products of g and x underflow. Memory, where
   dgamma or dbeta is asked for: 32 n bytes for each of some rows / 128 chunks, at most 64 of them, and 16 n for each worker.
   KX_E_MEMORY, KX_E_CANCELLED. */
kx_status_t kx_layer_norm_vjp_f32(const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream,
                                  const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                                  const kx_norm_vectors_t *dx, float *dgamma, float *dbeta);
kx_status_t kx_layer_norm_vjp_f64(const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream,
                                  const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                                  const kx_norm_vectors_t *dx, double *dgamma, double *dbeta);
kx_status_t kx_rms_norm_vjp_f32(const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream,
                                const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                                const kx_norm_vectors_t *dx, float *dgamma);
kx_status_t kx_rms_norm_vjp_f64(const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream,
                                const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                                const kx_norm_vectors_t *dx, double *dgamma);

#ifdef __cplusplus
}
#endif
#endif
