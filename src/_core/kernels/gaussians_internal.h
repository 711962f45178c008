/* Gaussians: matrices side by side in the lanes of vectors, their Cholesky factors and products with those.

   A group is LANES items, KX_F64_LANES or KX_F32_LANES; entry (i, j) of the item in lane l is a[(i * n + j) * LANES + l], and entry i of a vector
   v[i * LANES + l]. No lane ever waits for another, and all loads are of whole vectors, however small n is. A last group that is not full
   repeats its last item in the lanes left over.

   The work is in tiles of four rows and four columns, whose sums stay in registers while two strips of four run by: an FMA for every half of
   a load, so that factors in the second-level cache (two of n = 64 are 256 KB) do not stop it. Rows and columns past the last
   multiple of four go one by one. */
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

/* What of a matrix is there. LOWER: the lower triangle alone is read, and above the diagonal nothing is written (packing) or zeros are
   (unpacking). SYMMETRIC, for unpacking: the lower triangle is written to both sides. */
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

/* How a factor of a product is taken. A triangle is a lower one with zeros stored above its diagonal; transposed ones are odd. */
typedef enum kx_lanes_factor {
    KX_LANES_PLAIN = 0,
    KX_LANES_TRANSPOSED = 1,
    KX_LANES_TRIANGLE = 2,
    KX_LANES_TRIANGLE_TRANSPOSED = 3
} kx_lanes_factor_t;

enum { KX_LANES_TILE = 4 };

/* The size of the tile that begins at row or column i. */
static inline int kx_lanes_tile(int64_t i, int64_t n) { return i + KX_LANES_TILE <= n ? KX_LANES_TILE : 1; }

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#include "kernels/gaussians_template.h"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#include "kernels/gaussians_template.h"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES

#endif
