/* kexue: activations.

   SquarePlus (Barron, arXiv 2112.11687): f(x; b) = (x + sqrt(x^2 + b)) / 2, b >= 0. Monotone, convex, smooth for b > 0,
   relu for b = 0; 0 < f - relu <= sqrt(b) / 2; f(x) f(-x) = b / 4.

   All functions are elementwise over n items, strides in bytes (0 broadcasts), any alignment; out may be an input exactly
   but not overlap one partially. float32 results are within 1 ulp, float64 within 2 ulp of the exact value over the whole
   range, subnormals included, and an item's result does not depend on its neighbours. NaN propagates; b < 0 gives NaN and raises
   the invalid flag, as does what has no limit (f and df/dx at x = -inf, b = inf; df/dx and the inverse at inf, inf); no
   other spurious flags but underflow and inexact. They never fail: the status is always KX_OK. */
#ifndef KX_ACTIVATIONS_H
#define KX_ACTIVATIONS_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* b with the least maximal distance to softplus (METHODS R01), b from which on f >= softplus everywhere (4 ln^2 2), b of
   equal curvature at 0, and b whose f is relu convolved with Student's t of two degrees of freedom. */
#define KX_SQUAREPLUS_B_MINIMAX 1.5238210325187506641935602
#define KX_SQUAREPLUS_B_UPPER 1.9218120556728056986684103
#define KX_SQUAREPLUS_B_CURVATURE 4.0
#define KX_SQUAREPLUS_B_T2 2.0

/* f(x; b) */
kx_status_t kx_activations_squareplus_f32(const float *x, const float *b, int64_t n, ptrdiff_t x_stride, ptrdiff_t b_stride,
                                          float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_squareplus_f64(const double *x, const double *b, int64_t n, ptrdiff_t x_stride,
                                          ptrdiff_t b_stride, double *out, ptrdiff_t out_stride);

/* df/dx = f / sqrt(x^2 + b), in [0, 1]; 1/2 at x = 0, b = 0 as well */
kx_status_t kx_activations_squareplus_grad_f32(const float *x, const float *b, int64_t n, ptrdiff_t x_stride,
                                               ptrdiff_t b_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_squareplus_grad_f64(const double *x, const double *b, int64_t n, ptrdiff_t x_stride,
                                               ptrdiff_t b_stride, double *out, ptrdiff_t out_stride);

/* df/db = 1 / (4 sqrt(x^2 + b)); +inf with the divide-by-zero flag at x = 0, b = 0 */
kx_status_t kx_activations_squareplus_grad_b_f32(const float *x, const float *b, int64_t n, ptrdiff_t x_stride,
                                                 ptrdiff_t b_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_squareplus_grad_b_f64(const double *x, const double *b, int64_t n, ptrdiff_t x_stride,
                                                 ptrdiff_t b_stride, double *out, ptrdiff_t out_stride);

/* The x with f(x; b) = y: y - b / (4 y) for y > 0. For b = 0 the inverse on y >= 0 is y itself; else y = 0 gives -inf and the
   divide-by-zero flag; y < 0 is outside of the range: NaN and the invalid flag. */
kx_status_t kx_activations_squareplus_inverse_f32(const float *y, const float *b, int64_t n, ptrdiff_t y_stride,
                                                  ptrdiff_t b_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_squareplus_inverse_f64(const double *y, const double *b, int64_t n, ptrdiff_t y_stride,
                                                  ptrdiff_t b_stride, double *out, ptrdiff_t out_stride);

/* The unary activations. At inf the value is inf and the derivative 1; at -inf both are 0, or -0.
   The derivatives keep their relative precision at their zeros: x = -1.2785 (swish), -0.7518 (gelu), -0.7525 (gelu_tanh).
   Softplus: Dugas et al. (2001). Swish: arXiv 1710.05941. GELU: arXiv 1606.08415. */

/* log(1 + e^x) */
kx_status_t kx_activations_softplus_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_softplus_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride);

/* 1 / (1 + e^-x), the logistic function, which is softplus' derivative */
kx_status_t kx_activations_softplus_grad_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out,
                                             ptrdiff_t out_stride);
kx_status_t kx_activations_softplus_grad_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out,
                                             ptrdiff_t out_stride);

/* x / (1 + e^-x) */
kx_status_t kx_activations_swish_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_swish_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride);

/* d/dx of swish: s (1 + x (1 - s)) with s = 1 / (1 + e^-x) */
kx_status_t kx_activations_swish_grad_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_swish_grad_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out,
                                          ptrdiff_t out_stride);

/* x Phi(x), Phi the normal distribution function */
kx_status_t kx_activations_gelu_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_gelu_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride);

/* d/dx of gelu: Phi(x) + x phi(x) */
kx_status_t kx_activations_gelu_grad_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_gelu_grad_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride);

/* x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2, with the decimal constant */
kx_status_t kx_activations_gelu_tanh_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_gelu_tanh_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out, ptrdiff_t out_stride);

/* d/dx of gelu_tanh */
kx_status_t kx_activations_gelu_tanh_grad_f32(const float *x, int64_t n, ptrdiff_t x_stride, float *out,
                                              ptrdiff_t out_stride);
kx_status_t kx_activations_gelu_tanh_grad_f64(const double *x, int64_t n, ptrdiff_t x_stride, double *out,
                                              ptrdiff_t out_stride);

/* f_n(x) = 1 + x + x^2 / 2 + ... + x^n / n! and its derivative f_(n-1), which is 0 for n = 0. n is a whole number >= 0, up
   to 2^50; what is not gives NaN and raises the invalid flag. At x = +-inf the values are their limits. An even f_n is positive,
   an odd one has a zero near -0.28 n, where the relative accuracy ends: the error there is below 2^-96 of f_n(|x|) for n <= 48,
   and 2^-55 of e^x for larger n. About n operations for n <= 48 and |x| <= 2^20; otherwise microseconds an item. */
kx_status_t kx_activations_exp_taylor_f32(const float *x, const float *n, int64_t count, ptrdiff_t x_stride,
                                          ptrdiff_t n_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_exp_taylor_f64(const double *x, const double *n, int64_t count, ptrdiff_t x_stride,
                                          ptrdiff_t n_stride, double *out, ptrdiff_t out_stride);
kx_status_t kx_activations_exp_taylor_grad_f32(const float *x, const float *n, int64_t count, ptrdiff_t x_stride,
                                               ptrdiff_t n_stride, float *out, ptrdiff_t out_stride);
kx_status_t kx_activations_exp_taylor_grad_f64(const double *x, const double *n, int64_t count, ptrdiff_t x_stride,
                                               ptrdiff_t n_stride, double *out, ptrdiff_t out_stride);

#ifdef __cplusplus
}
#endif
#endif
