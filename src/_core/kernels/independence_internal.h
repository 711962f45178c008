/* Tiles of kernel values, which the files of the independence family share. Not public.

   Points are packed into panels of three vectors of points, coordinate by coordinate: number k of point i is at
   packed[(i / PANEL * dimension + k) * PANEL + i % PANEL]. A panel is the columns of a tile; its rows are read from panels too. */
#ifndef KX_INDEPENDENCE_INTERNAL_H
#define KX_INDEPENDENCE_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "kexue/kx_independence.h"
#include "runtime/memory.h"

/* A block of rows is a multiple of every panel: tiles of x and of y stay in the first cache. */
enum {
    KX_PANEL_f64 = 3 * KX_F64_LANES,
    KX_PANEL_f32 = 3 * KX_F32_LANES,
    KX_BLOCK_f64 = 72,
    KX_BLOCK_f32 = 96
};

/* Pairs of one set are work for at most this many chunks, each with column sums of its own; and fewer pair-coordinates than this are not
   worth a second thread. */
enum { KX_STRIPS = 32, KX_SERIAL_WORK = 1 << 20 };

/* Cuts `blocks` blocks of rows into `strips` parts: of equal size, or for a triangle of equal area. */
static inline int64_t kx_strip_begin(int64_t strip, int64_t strips, int64_t blocks, int is_triangle) {
    if (strip >= strips) return blocks;
    const double share = (double)strip / (double)strips;
    return (int64_t)((double)blocks * (is_triangle ? 1 - sqrt(1 - share) : share));
}

kx_status_t KX_KERNEL(kx_independence_check)(const kx_independence_points_t *x, int64_t n);

/* Packs n points, zeros beyond. */
void KX_KERNEL(kx_independence_pack_f32)(const kx_independence_points_t *x, int64_t n, float *packed);
void KX_KERNEL(kx_independence_pack_f64)(const kx_independence_points_t *x, int64_t n, double *packed);

/* A tile: the values of `rows` rows (at most a block, from a panel's beginning) and the columns of a panel, in rows of PANEL numbers. Where
   is_distance, the L1 distances of LAPLACE or else the squares of Euclidean ones. */
void KX_KERNEL(kx_independence_tile_f32)(const kx_independence_points_t *x, const float *rows, int64_t count, const float *panel,
                                         int is_distance, float *tile);
void KX_KERNEL(kx_independence_tile_f64)(const kx_independence_points_t *x, const double *rows, int64_t count, const double *panel,
                                         int is_distance, double *tile);

#endif
