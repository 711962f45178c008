/* kexue: HSIC of two kernel matrices that exist already.

   `count` pairs of n x n matrices K and L; strides in bytes, of any sign, 0 broadcasts, entries aligned. Row-wise or column-wise
   contiguous matrices are fast. Rows and columns are summed each for itself: symmetry is not assumed. All sums are in double,
   for float too, of differences to K[0, n - 1] and L[0, n - 1], which change nothing: nearly constant matrices do not cancel.
   The error is below 300 eps of double (n <= 16,000) times the mean of |K - K[0, n - 1]| |L - L[0, n - 1]|, plus a rounding to
   the type of the result.

   About 40 KB of the stack are used, nothing is allocated. A NaN makes its own result NaN; an infinity too, and raises the
   invalid flag. They never fail: the status is always KX_OK. */
#ifndef KX_INDEPENDENCE_MATRICES_H
#define KX_INDEPENDENCE_MATRICES_H

#include "kx_base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out[0] = sum_ij (JKJ)_ij (JLJ)_ij / n^2, J = I - 1/n: the biased estimator, tr(KJLJ) / n^2 for symmetric matrices.
   n = 0: NaN and the invalid flag. */
kx_status_t kx_independence_from_kernels_f32(const float *K, const float *L, int64_t count, int64_t n, ptrdiff_t K_stride,
                                             ptrdiff_t K_row_stride, ptrdiff_t K_column_stride, ptrdiff_t L_stride,
                                             ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, float *out,
                                             ptrdiff_t out_stride);
kx_status_t kx_independence_from_kernels_f64(const double *K, const double *L, int64_t count, int64_t n, ptrdiff_t K_stride,
                                             ptrdiff_t K_row_stride, ptrdiff_t K_column_stride, ptrdiff_t L_stride,
                                             ptrdiff_t L_row_stride, ptrdiff_t L_column_stride, double *out,
                                             ptrdiff_t out_stride);

/* out[0] = the unbiased estimator (Song et al. 2012). With sums over i != j, s of all entries, r of rows, c of columns:
   (sum K L + s_K s_L / ((n-1)(n-2)) - (r_K . r_L + c_K . c_L) / (n-2)) / (n (n-3)). Diagonals are not read.
   n < 4: NaN and the invalid flag. */
kx_status_t kx_independence_from_kernels_unbiased_f32(const float *K, const float *L, int64_t count, int64_t n,
                                                      ptrdiff_t K_stride, ptrdiff_t K_row_stride, ptrdiff_t K_column_stride,
                                                      ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride,
                                                      float *out, ptrdiff_t out_stride);
kx_status_t kx_independence_from_kernels_unbiased_f64(const double *K, const double *L, int64_t count, int64_t n,
                                                      ptrdiff_t K_stride, ptrdiff_t K_row_stride, ptrdiff_t K_column_stride,
                                                      ptrdiff_t L_stride, ptrdiff_t L_row_stride, ptrdiff_t L_column_stride,
                                                      double *out, ptrdiff_t out_stride);

#ifdef __cplusplus
}
#endif
#endif
