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

#endif
