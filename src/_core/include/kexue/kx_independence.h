/* kexue: kernels between points, and the sums of HSIC and CKA that need them.

   HSIC (Gretton et al. 2005, doi 10.1007/11564089_7; kexue.fm post 6910) of a kernel matrix K of the points x and L of the points y, in
   all its forms, is made of row sums and of sums of products of entries, so K and L are made tile by tile and never kept: O(n + workers) memory beside a
   copy of the points, one pass over the half above the diagonal.

   Distances are sums of differences, not |x|^2 + |y|^2 - 2 x.y: nothing cancels, wherever the points lie, and on processors that add
   beside their FMA units it costs no time (3.7 against 3.6 ms for 2000 x 2000 pairs, d = 50). float32 points have float32 kernel values
   and float64 sums. Results do not depend on the number of workers, not by a bit.

   Sums are over pairs i != j: the diagonal is the caller's, who knows it in closed form. NaN and infinite points give such sums. */
#ifndef KX_INDEPENDENCE_H
#define KX_INDEPENDENCE_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* x.y; (gamma x.y + coef0)^degree; exp(-gamma |x - y|^2); exp(-gamma |x - y|_1) */
typedef enum kx_independence_kind {
    KX_INDEPENDENCE_LINEAR = 0,
    KX_INDEPENDENCE_POLYNOMIAL = 1,
    KX_INDEPENDENCE_RBF = 2,
    KX_INDEPENDENCE_LAPLACE = 3
} kx_independence_kind_t;

/* n points (float or double, as the function says), the numbers of one contiguous, rows row_stride bytes apart; and their kernel. */
typedef struct kx_independence_points {
    const void *points;
    int64_t dimension;
    ptrdiff_t row_stride;
    kx_independence_kind_t kind;
    double gamma, coef0;
    int32_t degree;
} kx_independence_points_t;

/* Pairs i != j of n points: sums = {sum K L, sum K K, sum L L}, row_sums[i] = sum of K[i, j] over j. y may be NULL (sums that need it are
   NaN), row sums too. */
kx_status_t kx_independence_sums_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y,
                                     int64_t n, double *row_sums_x, double *row_sums_y, double *sums);
kx_status_t kx_independence_sums_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y,
                                     int64_t n, double *row_sums_x, double *row_sums_y, double *sums);

/* The same over all n x m pairs of one set of points and another, for the blocks of a matrix too large for one call. others_x has the
   kernel and the dimension of x. Row sums are n numbers, column sums m. */
kx_status_t kx_independence_cross_sums_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x,
                                           const kx_independence_points_t *others_x, const kx_independence_points_t *y,
                                           const kx_independence_points_t *others_y, int64_t n, int64_t m, double *row_sums_x,
                                           double *column_sums_x, double *row_sums_y, double *column_sums_y, double *sums);
kx_status_t kx_independence_cross_sums_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x,
                                           const kx_independence_points_t *others_x, const kx_independence_points_t *y,
                                           const kx_independence_points_t *others_y, int64_t n, int64_t m, double *row_sums_x,
                                           double *column_sums_x, double *row_sums_y, double *column_sums_y, double *sums);

/* With A[i, j] = K[i, j] - offsets_x[i] - offsets_x[j] + constant_x and B likewise of L: sums = {sum A B, sum (A B)^2}. */
kx_status_t kx_independence_centred_sums_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x,
                                             const kx_independence_points_t *y, int64_t n, const double *offsets_x, double constant_x,
                                             const double *offsets_y, double constant_y, double *sums);
kx_status_t kx_independence_centred_sums_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x,
                                             const kx_independence_points_t *y, int64_t n, const double *offsets_x, double constant_x,
                                             const double *offsets_y, double constant_y, double *sums);

/* With A and B as above, gradient_x[i] (x's dimension, contiguous) = sum over j != i of B[i, j] dK[i, j] / dx_i, and gradient_y[i] that of
   A[i, j] dL[i, j] / dy_i; each may be NULL, and then so may the other side's offsets. |t|' is 0 at t = 0. */
kx_status_t kx_independence_gradient_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y,
                                         int64_t n, const double *offsets_x, double constant_x, const double *offsets_y,
                                         double constant_y, double *gradient_x, double *gradient_y);
kx_status_t kx_independence_gradient_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *y,
                                         int64_t n, const double *offsets_x, double constant_x, const double *offsets_y,
                                         double constant_y, double *gradient_x, double *gradient_y);

/* matrix[i, j] = the kernel of x_i and others_j, contiguous; others may be x, and then the matrix is symmetric to the bit. */
kx_status_t kx_independence_matrix_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others,
                                       int64_t n, int64_t m, float *matrix);
kx_status_t kx_independence_matrix_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x, const kx_independence_points_t *others,
                                       int64_t n, int64_t m, double *matrix);

/* sums[b] = sum over i != j of K[i, j] L[p[i], p[j]], p = the b-th of `count` permutations of 0 .. n - 1. K and L are symmetric and contiguous;
   only one half of K is read. */
kx_status_t kx_independence_permutation_sums_f32(const kx_ctx_t *ctx, const float *k, const float *l, int64_t n,
                                                 const int32_t *permutations, int64_t count, double *sums);
kx_status_t kx_independence_permutation_sums_f64(const kx_ctx_t *ctx, const double *k, const double *l, int64_t n,
                                                 const int32_t *permutations, int64_t count, double *sums);

/* The median of the n (n - 1) / 2 distances, of an even number of them the mean of the middle two; n >= 2, and finite points. Distances are
   those of the L1 norm if x has the kernel LAPLACE, else Euclidean. O(n d) memory. */
kx_status_t kx_independence_median_distance_f32(const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *median);
kx_status_t kx_independence_median_distance_f64(const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *median);

#ifdef __cplusplus
}
#endif
#endif
