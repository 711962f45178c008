/* Optimal transport between Gaussians: singular values and vectors of matrices side by side in the lanes of vectors (the layout
   is that of gaussians_internal.h), always in double. */
#ifndef KX_GAUSSIANS_TRANSPORT_INTERNAL_H
#define KX_GAUSSIANS_TRANSPORT_INTERNAL_H

#include "kernels/gaussians_internal.h"

/* The singular values of n x n matrices of one or two groups, two taking little longer than one: first their bidiagonals, each
   in a work space of KX_SINGULAR_VALUES_WORK n vectors, by which m is destroyed; then values[g], in no order, in the work space.
   m is scaled so that neither n^2 squares of its entries overflow nor squares of 1e-145 matter. The values are good to a few n
   eps of the largest; unfinished[g] has a bit for each lane that did not converge. Of a lane with a NaN they mean nothing. */
enum { KX_SINGULAR_VALUES_WORK = 6 };
void KX_KERNEL(kx_lanes_bidiagonalize)(double *m, int64_t n, double *work);
void KX_KERNEL(kx_lanes_singular_values)(double *const *work, int groups, int64_t n, unsigned *unfinished, double **values);

/* Rotates the rows of the n x n matrices b until they are orthogonal, to sqrt(n) eps of their lengths: b := v b with v
   orthogonal, and squares of the lengths of b's new rows. Rows of zeros are orthogonal to all. */
void KX_KERNEL(kx_lanes_orthogonalize_rows)(double *b, double *v, int64_t n, double *squares);

/* f f^T = s for one matrix, contiguous and symmetric, which is destroyed; f has n^2 entries, work 2 n^2 + 2 n. `rounding` is the
   eps of the numbers that s was given in. With keep_order f is lower triangular, and s must be positive definite. 0 where s is
   not what it must be, and then about its least eigenvalue (pivot) in *least, NaN where an entry is not finite. Entries must be
   scaled to about 1. */
int KX_KERNEL(kx_semidefinite_factor)(double *s, int64_t n, double rounding, int keep_order, double *work, double *f,
                                      double *least);

/* One of the two batches of covariances, and the factors F of a group's items, S = 4^exponent F F^T, with zeros above the
   diagonal of those that are triangular. */
typedef struct kx_transport_side {
    const kx_batch_t *batch;
    int64_t n;
    kx_gaussian_form_t form;
    int is_float;
    double *factor, *inverse; /* n^2 vectors, and 1 / the diagonal: n */
    double trace[KX_F64_LANES]; /* of F F^T */
    double spread[KX_F64_LANES]; /* the mean of sqrt(S_jj) / L_jj, by which rounding grows */
    int exponent[KX_F64_LANES];
    unsigned doubtful; /* lanes to be factored by kx_transport_factor_item: not positive definite, or nearly so */
} kx_transport_side_t;

/* Reads and factors a group. scratch: KX_F64_LANES n^2 numbers. */
void KX_KERNEL(kx_transport_factor)(kx_transport_side_t *side, int64_t first, int64_t count, double *scratch);

/* The same of one item, into one lane; arguments and value as of kx_semidefinite_factor. A given factor is just read; with
   keep_order its diagonal must not have zeros. scratch: 4 n^2 + 2 n numbers. A lane that cannot be factored gets a factor of
   zeros. */
int KX_KERNEL(kx_transport_factor_item)(kx_transport_side_t *side, int64_t item, int lane, int keep_order, double *scratch,
                                        double *least);

/* The difference of means in the lanes, divided by 2^exponent, and the sum of its squares. scratch: 2 n vectors. */
void KX_KERNEL(kx_transport_difference)(const kx_batch_t *mean_p, const kx_batch_t *mean_q, int is_float, int64_t first,
                                        int64_t count, int64_t n, double *scratch, double *difference, double *squares,
                                        int *exponent);

/* The exponent of a size; 0 for what has ample room either way. */
static inline int kx_transport_exponent(double size) {
    int exponent;
    if (!(size > 0) || isinf(size) || (size > 0x1p-200 && size < 0x1p200)) return 0;
    frexp(size, &exponent);
    return exponent < -1000 ? -1000 : exponent > 1000 ? 1000 : exponent;
}

static inline double kx_transport_read(const char *from, int is_float) {
    float single;
    double value;
    if (is_float) {
        memcpy(&single, from, sizeof single);
        return (double)single;
    }
    memcpy(&value, from, sizeof value);
    return value;
}

/* Writes, and says whether the result is infinite. */
static inline int kx_transport_write(char *to, double value, int is_float) {
    const float single = (float)value;
    if (is_float) memcpy(to, &single, sizeof single);
    else memcpy(to, &value, sizeof value);
    return is_float ? isinf(single) : isinf(value);
}

#endif
