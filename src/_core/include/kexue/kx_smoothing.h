/* kexue: smoothing with approximate delta functions.

   A piecewise linear or constant function f becomes (f * k)(x), its convolution with a symmetric density k of distribution
   function K; R = relu * k, R' = K.

     kernel      scale      k(x)                               sharp limit   R(x)
     gaussian    s > 0      phi(x / s) / s                     s -> 0        x Phi(x / s) + s phi(x / s)
     logistic    t > 0      t exp(t x) / (1 + exp(t x))^2      t -> inf      log(1 + exp(t x)) / t
     student_t2  b > 0      b / (2 (x^2 + b)^(3/2))            b -> 0        (x + sqrt(x^2 + b)) / 2
     cauchy      a > 0      a / (pi (x^2 + a^2))               a -> 0        diverges

   relu and step with student_t2 are kx_activations_squareplus and kx_activations_squareplus_grad of b.

   All functions are elementwise over n items, strides in bytes (0 broadcasts), any alignment; out may be an input exactly
   but not overlap one partially. An item's result does not depend on its neighbours.

   Accuracy. relu, step, abs, sign: float32 within 1 ulp, float64 within 2 ulp of the exact value over the whole range, deep tails
   and subnormals included. The others have zeros in the middle of the line, where only an error relative to the largest of
   their terms can be had: in float64 4 eps (eps = 2^-52) of it, for the floor family of max(|x|, 1) and for cauchy's clip of
   max(|low|, |high|); float32 results within 1 ulp where they exceed 2^-20 of the same, else within 2^-44 of it.

   Special values. NaN propagates. A scale that is not positive and finite, low > high, an infinite bound of cauchy's clip, a form
   that is not 0, 1 or 2, and one that takes more than 1000 terms give NaN and raise the invalid flag. Infinite x gives the limit;
   infinite bounds of clip are no bounds. No other spurious flags but underflow and inexact. The status is always KX_OK. */
#ifndef KX_SMOOTHING_H
#define KX_SMOOTHING_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define KX_SMOOTHING_2(name)                                                                                              \
    kx_status_t name##_f32(const float *x, const float *scale, int64_t n, ptrdiff_t x_stride, ptrdiff_t scale_stride,     \
                           float *out, ptrdiff_t out_stride);                                                             \
    kx_status_t name##_f64(const double *x, const double *scale, int64_t n, ptrdiff_t x_stride, ptrdiff_t scale_stride,   \
                           double *out, ptrdiff_t out_stride);
#define KX_SMOOTHING_3(name, second, third)                                                                               \
    kx_status_t name##_f32(const float *x, const float *second, const float *third, int64_t n, ptrdiff_t x_stride,        \
                           ptrdiff_t second##_stride, ptrdiff_t third##_stride, float *out, ptrdiff_t out_stride);        \
    kx_status_t name##_f64(const double *x, const double *second, const double *third, int64_t n, ptrdiff_t x_stride,     \
                           ptrdiff_t second##_stride, ptrdiff_t third##_stride, double *out, ptrdiff_t out_stride);
#define KX_SMOOTHING_4(name)                                                                                              \
    kx_status_t name##_f32(const float *x, const float *low, const float *high, const float *scale, int64_t n,            \
                           ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,       \
                           float *out, ptrdiff_t out_stride);                                                             \
    kx_status_t name##_f64(const double *x, const double *low, const double *high, const double *scale, int64_t n,        \
                           ptrdiff_t x_stride, ptrdiff_t low_stride, ptrdiff_t high_stride, ptrdiff_t scale_stride,       \
                           double *out, ptrdiff_t out_stride);

/* R(x) */
KX_SMOOTHING_2(kx_smoothing_relu_gaussian)
KX_SMOOTHING_2(kx_smoothing_relu_logistic)

/* K(x) */
KX_SMOOTHING_2(kx_smoothing_step_gaussian)
KX_SMOOTHING_2(kx_smoothing_step_logistic)
KX_SMOOTHING_2(kx_smoothing_step_cauchy)

/* |x| smoothed: R(x) + R(-x) */
KX_SMOOTHING_2(kx_smoothing_abs_gaussian)
KX_SMOOTHING_2(kx_smoothing_abs_logistic)
KX_SMOOTHING_2(kx_smoothing_abs_student_t2)

/* sign smoothed: 2 K(x) - 1, odd */
KX_SMOOTHING_2(kx_smoothing_sign_gaussian)
KX_SMOOTHING_2(kx_smoothing_sign_logistic)
KX_SMOOTHING_2(kx_smoothing_sign_student_t2)
KX_SMOOTHING_2(kx_smoothing_sign_cauchy)

/* slope x + (1 - slope) R(x) */
KX_SMOOTHING_3(kx_smoothing_leaky_relu_gaussian, slope, scale)
KX_SMOOTHING_3(kx_smoothing_leaky_relu_logistic, slope, scale)
KX_SMOOTHING_3(kx_smoothing_leaky_relu_student_t2, slope, scale)

/* max(x, y) smoothed: y + R(x - y) */
KX_SMOOTHING_3(kx_smoothing_maximum_gaussian, y, scale)
KX_SMOOTHING_3(kx_smoothing_maximum_logistic, y, scale)
KX_SMOOTHING_3(kx_smoothing_maximum_student_t2, y, scale)

/* min(max(x, low), high) smoothed in x, low <= high: low + R(x - low) - R(x - high). It exists for cauchy, too. */
KX_SMOOTHING_4(kx_smoothing_clip_gaussian)
KX_SMOOTHING_4(kx_smoothing_clip_logistic)
KX_SMOOTHING_4(kx_smoothing_clip_student_t2)
KX_SMOOTHING_4(kx_smoothing_clip_cauchy)

/* floor(x) smoothed, ceil(x) = -floor(-x) and round(x) = floor(x + 1/2). `form` says how: 1 sums the steps around x, 2 is the
   Fourier series x - 1/2 + sum khat(2 pi m) sin(2 pi m x) / (pi m), 0 takes what needs fewer terms (for cauchy a closed form; its steps
   decay too slowly for form 1). */
KX_SMOOTHING_3(kx_smoothing_floor_gaussian, scale, form)
KX_SMOOTHING_3(kx_smoothing_floor_logistic, scale, form)
KX_SMOOTHING_3(kx_smoothing_floor_student_t2, scale, form)
KX_SMOOTHING_3(kx_smoothing_floor_cauchy, scale, form)
KX_SMOOTHING_3(kx_smoothing_ceil_gaussian, scale, form)
KX_SMOOTHING_3(kx_smoothing_ceil_logistic, scale, form)
KX_SMOOTHING_3(kx_smoothing_ceil_student_t2, scale, form)
KX_SMOOTHING_3(kx_smoothing_ceil_cauchy, scale, form)
KX_SMOOTHING_3(kx_smoothing_round_gaussian, scale, form)
KX_SMOOTHING_3(kx_smoothing_round_logistic, scale, form)
KX_SMOOTHING_3(kx_smoothing_round_student_t2, scale, form)
KX_SMOOTHING_3(kx_smoothing_round_cauchy, scale, form)

#undef KX_SMOOTHING_2
#undef KX_SMOOTHING_3
#undef KX_SMOOTHING_4

#ifdef __cplusplus
}
#endif
#endif
