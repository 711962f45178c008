/* Gaussians: matrices side by side in the lanes of vectors, their Cholesky factors and products with those.

   A group is LANES items, KX_F64_LANES or KX_F32_LANES; entry (i, j) of the item in lane l is a[(i * n + j) * LANES + l], and
   entry i of a vector v[i * LANES + l]. No lane ever waits for another, and all loads are of whole vectors, however small n
   is. A last group that is not full repeats its last item in the lanes left over.

   The work is in tiles of four rows and four columns, whose sums stay in registers while two strips of four run by: two FMA
   a load, so that factors in the second-level cache (two of n = 64 are 256 KB) do not stop it. Rows and
   columns past the last multiple of four go one by one. */
#ifndef KX_GAUSSIANS_INTERNAL_H
#define KX_GAUSSIANS_INTERNAL_H

#include <math.h>
#include <string.h>

#include "isa/kernel.h"
#include "isa/simd.h"
#include "isa/transpose.h"
#include "kexue/kx_gaussians.h"
#include "runtime/memory.h"
#include "runtime/vector_math.h"

/* What of a matrix is there. LOWER: the lower triangle alone is read, and above the diagonal nothing is written (packing) or
   zeros are (unpacking). SYMMETRIC, for unpacking: the lower triangle is written to both sides. */
typedef enum kx_lanes_part { KX_LANES_FULL, KX_LANES_LOWER, KX_LANES_SYMMETRIC } kx_lanes_part_t;

/* What a factorisation met: for each lane the first pivot that is not > 0 and its value, and a bit for each lane that has one. */
typedef struct kx_lanes_pivots {
    int64_t index[KX_F32_LANES];
    double value[KX_F32_LANES];
    unsigned bad;
} kx_lanes_pivots_t;

static inline void kx_lanes_note(kx_lanes_pivots_t *pivots, unsigned bad, int64_t index, const double *values) {
    for (int l = 0; l < KX_F32_LANES; l++)
        if (bad >> l & 1 & ~(pivots->bad >> l)) pivots->index[l] = index, pivots->value[l] = values[l];
    pivots->bad |= bad;
}

/* How a factor of a product is taken. A triangle is a lower one, as it is stored, with zeros on the other side of its
   diagonal; transposed ones are odd. The left factor as it is and the right one transposed is the quick way: both are read
   along their rows (n = 64 on Zen 5: a sixth of the time of KL's gradients; where n is a power of two, the entries of a column
   share a few sets of the first-level cache). */
typedef enum kx_lanes_factor {
    KX_LANES_PLAIN = 0,
    KX_LANES_TRANSPOSED = 1,
    KX_LANES_TRIANGLE = 2,
    KX_LANES_TRIANGLE_TRANSPOSED = 3,
    KX_LANES_UPPER = 4,
    KX_LANES_UPPER_TRANSPOSED = 5
} kx_lanes_factor_t;
static inline int kx_lanes_acts_as_lower(kx_lanes_factor_t f) { return f == KX_LANES_TRIANGLE || f == KX_LANES_UPPER_TRANSPOSED; }
static inline int kx_lanes_acts_as_upper(kx_lanes_factor_t f) { return f == KX_LANES_UPPER || f == KX_LANES_TRIANGLE_TRANSPOSED; }

/* KX_F64_LANES entries in double. */
static inline kx_f64v kx_lanes_wide_f64(const double *p) { return kx_f64v_load(p); }
static inline kx_f64v kx_lanes_wide_f32(const float *p) { return kx_f64v_load_f32(p); }

/* x - log(1 + x) >= 0, good to a few ulps of its own; ratio = 1 + x, which for an x next to -1 has more digits than x. In
   s = x / (2 + x), log(1 + x) = 2 atanh s and x - 2 s = x s: neither term of x s - 2 (s^3/3 + s^5/5 + ...) hides the other. */
static inline kx_f64v kx_lanes_log1p_excess(kx_f64v x, kx_f64v ratio) {
    static const double c[] = {1. / 3, 1. / 5, 1. / 7, 1. / 9, 1. / 11, 1. / 13, 1. / 15, 1. / 17, 1. / 19, 1. / 21, 1. / 23,
                               1. / 25};
    const kx_f64m is_near = kx_f64v_less(kx_f64v_abs(kx_f64v_sub(x, kx_f64v_set(0.125))), kx_f64v_set(0.375));
    const kx_f64v s = kx_f64v_div(x, kx_f64v_add(x, kx_f64v_set(2))), z = kx_f64v_mul(s, s), z2 = kx_f64v_mul(z, z);
    kx_f64v even = kx_f64v_set(c[10]), odd = kx_f64v_set(c[11]);
    for (int k = 8; k >= 0; k -= 2) {
        even = kx_f64v_fma(even, z2, kx_f64v_set(c[k]));
        odd = kx_f64v_fma(odd, z2, kx_f64v_set(c[k + 1]));
    }
    const kx_f64v cubic = kx_f64v_mul(kx_f64v_mul(s, z), kx_f64v_fma(odd, z, even));
    const kx_f64v near_zero = kx_f64v_fma(kx_f64v_set(-2), cubic, kx_f64v_mul(x, s));
    if (kx_f64m_bits(is_near) == (1u << KX_F64_LANES) - 1) return near_zero;
    return kx_f64v_select(is_near, near_zero, kx_f64v_sub(x, kx_f64v_log(ratio)));
}

/* The two Gaussians of each item, as a call names them. */
typedef struct kx_gaussian_pairs {
    const kx_batch_t *mean_p, *cov_p, *mean_q, *cov_q;
    int64_t items, n;
    kx_gaussian_form_t form;
} kx_gaussian_pairs_t;

typedef enum kx_gaussian_divergence { KX_GAUSSIAN_KL, KX_GAUSSIAN_BHATTACHARYYA, KX_GAUSSIAN_HELLINGER } kx_gaussian_divergence_t;

/* The entropy of N(0, 1): (1 + log 2 pi) / 2 */
#define KX_GAUSSIAN_UNIT_ENTROPY 0x1.6b3f8e4325f5ap+0

/* d sqrt(1 - exp(-b)) / db; 0 at b = 0, where the gradient of b is 0 and that of the distance is not defined. */
static inline double kx_gaussian_hellinger_slope(double b) { return b > 0 ? exp(-b) / (2 * sqrt(-expm1(-b))) : 0; }

/* gaussians_diagonal.c; nothing is allocated there. */
kx_status_t KX_KERNEL(kx_gaussian_diagonal_entropy_f64)(const kx_batch_t *variance, int64_t items, int64_t n, double *out,
                                                        ptrdiff_t out_stride);
kx_status_t KX_KERNEL(kx_gaussian_diagonal_entropy_f32)(const kx_batch_t *variance, int64_t items, int64_t n, float *out,
                                                        ptrdiff_t out_stride);
kx_status_t KX_KERNEL(kx_gaussian_diagonal_f64)(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind, double *out,
                                                ptrdiff_t out_stride);
kx_status_t KX_KERNEL(kx_gaussian_diagonal_f32)(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind, float *out,
                                                ptrdiff_t out_stride);
kx_status_t KX_KERNEL(kx_gaussian_diagonal_gradient_f64)(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                                         const kx_batch_out_t *const *outputs);
kx_status_t KX_KERNEL(kx_gaussian_diagonal_gradient_f32)(const kx_gaussian_pairs_t *pairs, kx_gaussian_divergence_t kind,
                                                         const kx_batch_out_t *const *outputs);

static inline kx_status_t kx_gaussian_check(int64_t items, int64_t n, kx_gaussian_form_t form) {
    if (items < 0 || n < 0 || (form != KX_GAUSSIAN_COVARIANCE && form != KX_GAUSSIAN_CHOLESKY && form != KX_GAUSSIAN_DIAGONAL))
        return KX_E_ARGUMENT;
    return n > INT64_C(1) << 28 ? KX_E_OVERFLOW : KX_OK; /* n^2 times a vector's size */
}

enum { KX_LANES_TILE = 4 };

/* The size of the tile that begins at row or column i. */
static inline int kx_lanes_tile(int64_t i, int64_t n) { return i + KX_LANES_TILE <= n ? KX_LANES_TILE : 1; }

#define KX_TEMPLATE "kernels/gaussians_template.h"
#include "isa/each_real.h"

#endif
