/* Optimal transport between Gaussians: singular values and vectors of matrices side by side in the lanes of vectors (the layout is that
   of gaussians_internal.h), always in double. */
#ifndef KX_GAUSSIANS_TRANSPORT_INTERNAL_H
#define KX_GAUSSIANS_TRANSPORT_INTERNAL_H

#include "kernels/gaussians_internal.h"

/* The singular values of the n x n matrices m, which are destroyed, in no order; m is scaled so that neither n^2 squares of its entries
   overflow nor squares of 1e-145 matter. work holds KX_SINGULAR_VALUES_WORK n vectors. They are good to a few n eps of the largest.
   A bit is set for each lane that did not converge, a NaN among its entries included. */
enum { KX_SINGULAR_VALUES_WORK = 8 };
unsigned KX_KERNEL(kx_lanes_singular_values)(double *m, int64_t n, double *work, double *values);

/* Rotates the rows of the n x n matrices b until they are orthogonal, to sqrt(n) eps of their lengths: b := v b with v orthogonal, and squares of
   the lengths of b's new rows. Rows of zeros are orthogonal to all. */
void KX_KERNEL(kx_lanes_orthogonalize_rows)(double *b, double *v, int64_t n, double *squares);

/* f f^T = s for one matrix, contiguous and symmetric, which is destroyed; f has n^2 entries, work 2 n^2 + n. `rounding` is the eps of the numbers
   that s was given in. With keep_order f is lower triangular, and s must be positive definite. 0 where s is not what it must be, and
   then about its least eigenvalue (pivot) in *least, NaN where an entry is not finite. Entries must be scaled to about 1. */
int KX_KERNEL(kx_semidefinite_factor)(double *s, int64_t n, double rounding, int keep_order, double *work, double *f, double *least);

#endif
