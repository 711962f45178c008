/* kexue: softmax, log-softmax, log-sum-exp, entropy and Taylor softmax of rows, and products with their Jacobians.

   All functions take `rows` rows of n entries; strides in bytes, of any sign, 0 broadcasts an input; any alignment. An output may
   be the input it has the shape of, exactly, but not overlap an input partially. Nothing is allocated, some 25 KB of the stack
   are used. A NaN makes its own row NaN and leaves the others alone. Flags: invalid is raised where it says so, no other
   spurious flags but underflow and inexact. They never fail: the status is always KX_OK.

   Sums are compensated: their relative error does not grow with n and is below 4 eps (1 + log2 n). m is a row's largest entry. */
#ifndef KX_SOFTMAX_H
#define KX_SOFTMAX_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[i] = exp(x[i]) / sum_j exp(x[j]).
   Within 6 ulp (float32 and float64) where |m| < 650 (float32: 70) or x[i] >= m / 2, else within 6 + (m - x[i]) / 2 ulp.
   -inf entries become 0. A row with +inf, or of nothing but -inf, has no softmax: NaN and the invalid flag. */
kx_status_t kx_softmax_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
                           ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, double *out,
                           ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* out[i] = x[i] - log sum_j exp(x[j]). Within 6 ulp, also where it is next to 0 because x[i] dominates.
   -inf entries stay. A row with +inf: NaN there, -inf elsewhere; a row of nothing but -inf: NaN; both raise the invalid flag. */
kx_status_t kx_softmax_log_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
                               ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_log_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                               double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* out[0] = log sum_j exp(x[j]), within 6 eps (|m| + log n) absolutely. -inf for no entries or nothing but -inf, +inf for a
   row with +inf; no flags. */
kx_status_t kx_softmax_logsumexp_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                     float *out, ptrdiff_t out_row_stride);
kx_status_t kx_softmax_logsumexp_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                     double *out, ptrdiff_t out_row_stride);

/* out[0] = -sum_j q[j] log q[j], q = p / sum p, 0 log 0 = 0: the entropy in nats of weights p >= 0, of any scale. Within 8 eps
   (1 + log2 n) of the result, also where one weight is nearly all: 1 + 1e-14 has an entropy of 3.3e-13, and that is right to
   all digits. A row without a positive weight, with a negative or an infinite one: NaN and the invalid flag. */
kx_status_t kx_softmax_entropy_f32(const float *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride, ptrdiff_t p_stride,
                                   float *out, ptrdiff_t out_row_stride);
kx_status_t kx_softmax_entropy_f64(const double *p, int64_t rows, int64_t n, ptrdiff_t p_row_stride, ptrdiff_t p_stride,
                                   double *out, ptrdiff_t out_row_stride);

/* Products of an upstream gradient and the Jacobian, in terms of the output of the function itself:
   out[i] = q[i] (grad[i] - sum_j q[j] grad[j]), q a softmax;
   out[i] = grad[i] - exp(log_q[i]) sum_j grad[j], log_q a log-softmax;
   out[i] = grad[0] softmax(x)[i], one grad a row: for logsumexp, flags as for softmax. */
kx_status_t kx_softmax_vjp_f32(const float *q, const float *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride,
                               ptrdiff_t q_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, float *out,
                               ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_vjp_f64(const double *q, const double *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride,
                               ptrdiff_t q_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, double *out,
                               ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_log_vjp_f32(const float *log_q, const float *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride,
                                   ptrdiff_t q_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, float *out,
                                   ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_log_vjp_f64(const double *log_q, const double *grad, int64_t rows, int64_t n, ptrdiff_t q_row_stride,
                                   ptrdiff_t q_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, double *out,
                                   ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_logsumexp_vjp_f32(const float *x, const float *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                         ptrdiff_t x_stride, ptrdiff_t grad_row_stride, float *out, ptrdiff_t out_row_stride,
                                         ptrdiff_t out_stride);
kx_status_t kx_softmax_logsumexp_vjp_f64(const double *x, const double *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                         ptrdiff_t x_stride, ptrdiff_t grad_row_stride, double *out,
                                         ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* Taylor softmax: out[i] = f(x[i]) / sum_j f(x[j]), f(x) = sum_k x^k / k! up to k = order, even and at least 2: positive.
   Entries below `lowest` count as `lowest`: -inf for the plain form, the minimum of f for the monotone one. Within 10 eps (1 +
   log2 n) for order <= 60 (beyond, f itself cancels near its minimum); nothing overflows, whatever the magnitudes. A row with an
   infinity (after `lowest`) has no result: NaN and the invalid flag. */
kx_status_t kx_softmax_taylor_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                  int64_t order, double lowest, float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_taylor_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                  int64_t order, double lowest, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* out[i] = f'(x[i]) / sum_j f(x[j]) (grad[i] - sum_j p[j] grad[j]), p the Taylor softmax of x; 0 for entries up to `lowest`. */
kx_status_t kx_softmax_taylor_vjp_f32(const float *x, const float *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                      ptrdiff_t x_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, int64_t order,
                                      double lowest, float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_softmax_taylor_vjp_f64(const double *x, const double *grad, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                      ptrdiff_t x_stride, ptrdiff_t grad_row_stride, ptrdiff_t grad_stride, int64_t order,
                                      double lowest, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);

#ifdef __cplusplus
}
#endif
#endif
