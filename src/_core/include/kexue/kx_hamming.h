/* kexue: codes of bits: the signs of numbers, and the codes that differ least.

   A code is `words` 64-bit words, bit i in word i / 64 at 1 << i % 64; bits past the last that is used are 0. Codes of a set
   follow each other without gaps. The distance of two codes is the number of bits that differ (Hamming's). For signs of random
   projections it estimates the angle of the vectors: a bit differs with probability angle / pi (Charikar 2002, doi
   10.1145/509907.509965; kexue.fm post 8706).

   Everything here is exact, and the same for any number of workers and any instruction set. Where the processor has
   AVX512_VPOPCNTDQ it is used; else bits are counted by bytes, through tables in registers. */
#ifndef KX_HAMMING_H
#define KX_HAMMING_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Bit i of codes[r] is whether x[r, i] >= 0 or NaN, i < columns: 1 for 0 and -0 too. A row takes (columns + 63) / 64 words, the
   rest of the last of them 0; code_stride is in bytes, between rows. No floating-point flags but for signalling NaNs. */
kx_status_t kx_hamming_pack_f32(const float *x, int64_t rows, int64_t columns, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                uint64_t *codes, ptrdiff_t code_stride);
kx_status_t kx_hamming_pack_f64(const double *x, int64_t rows, int64_t columns, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                uint64_t *codes, ptrdiff_t code_stride);

/* distances[q, c] of query q and code c, (query_count, code_count). 1 <= words <= KX_HAMMING_MAX_WORDS. */
enum { KX_HAMMING_MAX_WORDS = 1 << 20 };
kx_status_t kx_hamming_distances(const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes,
                                 int64_t code_count, int64_t words, int32_t *distances);

/* The k codes nearest to each query, 0 <= k <= code_count: distances and indices (query_count, k), ascending; of equal
   distances the lower index comes first, and is kept. One pass over the codes for every 128 queries; O(k + 64 words) memory for
   each of the queries at work. */
kx_status_t kx_hamming_neighbors(const kx_ctx_t *ctx, const uint64_t *queries, int64_t query_count, const uint64_t *codes,
                                 int64_t code_count, int64_t words, int64_t k, int32_t *distances, int64_t *indices);

#ifdef __cplusplus
}
#endif
#endif
