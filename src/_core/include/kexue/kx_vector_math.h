/* kexue: exp and log of arrays.

   n contiguous items; out may be x itself. Errors below 1 ulp in both precisions over the whole range: exp overflows to inf, and
   underflows through the subnormals to 0; log takes subnormals, log 0 is -inf, log of a negative number is NaN; NaN propagates.
   Floating-point flags are not promised. They never fail: the status is always KX_OK. */
#ifndef KX_VECTOR_MATH_PUBLIC_H
#define KX_VECTOR_MATH_PUBLIC_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out = e^x */
kx_status_t kx_vector_exp_f32(const float *x, int64_t n, float *out);
kx_status_t kx_vector_exp_f64(const double *x, int64_t n, double *out);

/* out = log x, the natural logarithm */
kx_status_t kx_vector_log_f32(const float *x, int64_t n, float *out);
kx_status_t kx_vector_log_f64(const double *x, int64_t n, double *out);

#ifdef __cplusplus
}
#endif
#endif
