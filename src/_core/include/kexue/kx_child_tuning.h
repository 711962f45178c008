/* kexue: gradients of which only a part is kept, by chance or by a mask: child-tuning (Xu, Luo, Zhang, Tan, Chang, Huang, Huang
   2021, arXiv:2109.05687) and dropout of updates.

   out[i] = scale * x[i] where item i is kept, and +0 where it is not, whatever x[i] is: a NaN or an infinity that is dropped is
   gone and raises nothing. One pass; x and out are contiguous and may be the same array, but not overlap otherwise. scale is
   rounded to the precision of the data, and the product is rounded once. Results do not depend on the number of workers, not by
   a bit, nor on the instruction set. KX_E_ARGUMENT for a NULL where there is data, a negative n, p outside of (0, 1] and a scale
   that is negative or not finite in the precision of the data. Complexity: O(n). */
#ifndef KX_CHILD_TUNING_H
#define KX_CHILD_TUNING_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* By chance: each item is kept with the probability p, independently. Item i has the position q = first_position + i (modulo
   2^64) in the stream of a key, and is kept where a number u(q) in [0, 1) is less than p. Digit k of u(q) in base 256 is byte q
   mod 32 (the lowest of the first word is byte 0) of the Philox 4x64-10 block of the key and the counter (q / 32 + 1, k, 0, 0):
   byte q of what numpy.random.Philox(key=key, counter=k << 64).random_raw() yields, in little-endian order. Digits are made
   until one tells, hence p is met exactly: one byte of random bits an item, and another one time in 256. The beginning of a long
   array has the mask of a short one, and an array may be treated in parts. */
kx_status_t kx_child_tuning_drop_f32(const kx_ctx_t *ctx, const uint64_t key[2], uint64_t first_position, const float *x,
                                     int64_t n, double p, double scale, float *out);
kx_status_t kx_child_tuning_drop_f64(const kx_ctx_t *ctx, const uint64_t key[2], uint64_t first_position, const double *x,
                                     int64_t n, double p, double scale, double *out);

/* By a mask of bytes: item i is kept where mask[i] is not 0. */
kx_status_t kx_child_tuning_mask_f32(const kx_ctx_t *ctx, const uint8_t *mask, const float *x, int64_t n, double scale,
                                     float *out);
kx_status_t kx_child_tuning_mask_f64(const kx_ctx_t *ctx, const uint8_t *mask, const double *x, int64_t n, double scale,
                                     double *out);

/* sums[i] += the sum of x[r, i]^2 over rows of n items, which lie `stride` bytes apart: of the Fisher information. In float64 for
   both precisions. Serial, one pass. KX_E_ARGUMENT for a negative size and a NULL where there is data. */
kx_status_t kx_child_tuning_add_squares_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t stride, double *sums);
kx_status_t kx_child_tuning_add_squares_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t stride, double *sums);

#ifdef __cplusplus
}
#endif
#endif
