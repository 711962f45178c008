/* kexue: norms of vectors that neither overflow nor underflow, and vectors scaled so that their norm is bounded. */
#ifndef KX_GRADIENT_CLIPPING_H
#define KX_GRADIENT_CLIPPING_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The norm sqrt(square) 2^exponent; the exponent is 600, 0 or -600. Infinite or NaN entries make the square so. */
typedef struct kx_scaled_norm {
    double square;
    int exponent;
} kx_scaled_norm_t;

/* What to multiply with, one after the other: a factor below 2^-1000 is in two. */
typedef struct kx_clip_factor {
    double first, second;
} kx_clip_factor_t;

/* The Euclidean norm of each row; x: rows of `columns` numbers, `stride` numbers from one to the next. One pass over memory,
   sums in double; the relative error is some 10 roundings at most, whatever the size, and the bits do not depend on the
   workers. Raises no flags. KX_E_ARGUMENT: a negative size; KX_E_OVERFLOW: more than 2^63 - 1 numbers. */
kx_status_t kx_row_norms_f32(const kx_ctx_t *ctx, const float *x, int64_t rows, int64_t columns, int64_t stride,
                             kx_scaled_norm_t *norms);
kx_status_t kx_row_norms_f64(const kx_ctx_t *ctx, const double *x, int64_t rows, int64_t columns, int64_t stride,
                             kx_scaled_norm_t *norms);

/* The norm of all that some norms are of. Raises no flags. */
kx_scaled_norm_t kx_combine_norms(const kx_scaled_norm_t *norms, int64_t count);

/* min(1, max_norm / norm), or if is_soft max_norm / (norm + max_norm); 1 for a norm of 0. 0 <= max_norm, which may be infinite;
   the norm is finite. Raises no flags. */
kx_clip_factor_t kx_clip_factor(kx_scaled_norm_t norm, double max_norm, int is_soft);

/* out = x factors[row]. out may be x, and then a row with the factor 1 is neither read nor written; else they do not overlap. A
   factor of 0 gives 0 for anything. Raises no flags. Errors as above. */
kx_status_t kx_scale_rows_f32(const kx_ctx_t *ctx, const float *x, int64_t rows, int64_t columns, int64_t stride,
                              const kx_clip_factor_t *factors, float *out, int64_t out_stride);
kx_status_t kx_scale_rows_f64(const kx_ctx_t *ctx, const double *x, int64_t rows, int64_t columns, int64_t stride,
                              const kx_clip_factor_t *factors, double *out, int64_t out_stride);

#ifdef __cplusplus
}
#endif
#endif
