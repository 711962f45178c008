/* kexue: layer normalisation and RMS normalisation of rows, and their gradients.

   Rows have n numbers; strides are in bytes, from row to row and from number to number. Arithmetic is float64 for both
   precisions. */
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

   Accuracy, for any mean beside the deviation: float32, 1 ulp of the largest of |gamma h|, |beta| and the result; float64,
   16 eps times |gamma h| + |gamma| |x - mean| / s + |beta|, and of that eps times the row's largest |h|. Nothing
   overflows or underflows inside, for x of any magnitude: the squares of rows beyond 1e135 are taken of rows that are scaled
   by a power of two, as those of rows below 1e-135 where eps does not outweigh them. A row with a NaN or an infinity is NaN;
   the invalid flag is raised for an infinity. So it is for 0 / 0: eps = 0 and a row of equal numbers (RMS: of zeros), which is NaN. */
kx_status_t kx_layer_norm_f32(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta, int64_t rows,
                              int64_t n, double eps, const kx_norm_vectors_t *out);
kx_status_t kx_layer_norm_f64(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta, int64_t rows,
                              int64_t n, double eps, const kx_norm_vectors_t *out);
kx_status_t kx_rms_norm_f32(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                            const kx_norm_vectors_t *out);
kx_status_t kx_rms_norm_f64(const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,
                            const kx_norm_vectors_t *out);

/* The gradients from that by the result, g. With d = gamma g:
   dx = (d - mean(d) - h mean(d h)) / s, for RMS normalisation (d - h mean(d h)) / s; dgamma = sum of g h and dbeta = sum of g over
   the rows.

   dx may be x or upstream, or NULL; dgamma and dbeta are n numbers each, or NULL. All are made in one pass over the rows, on the
   context's threads; rows are summed by chunks that depend on `rows` alone, so the results have the same bits for any
   number of workers. dgamma and dbeta: in float64, to 64 eps of the sum of sizes for any number of rows, and rounded once. dx:
   each entry to 16 eps of the row's largest (|d| + |mean(d)| + |h mean(d h)|) / s. Memory, where dgamma or dbeta is asked for:
   64 n bytes for each of min(64, rows / 128) chunks, at least one. KX_E_MEMORY, KX_E_CANCELLED. */
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
