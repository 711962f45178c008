/* Masks out of bytes: of the vectors of isa/simd.h, where a lane is chosen if its byte is not 0; and of bytes by their order. */
#ifndef KX_BYTE_MASKS_H
#define KX_BYTE_MASKS_H

#include "isa/simd.h"

enum { KX_COMPARED_BYTES = 32 };

/* Bit i is whether byte i of four words, the lowest of the first word being byte 0, is less than a limit; and in `equal`,
   whether it is the limit. */
static inline uint32_t kx_bytes_below(const uint64_t words[4], uint8_t limit, uint32_t *equal) {
#if KX_SIMD_AVX512
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)words), limits = _mm256_set1_epi8((char)limit);
    *equal = _mm256_cmpeq_epu8_mask(bytes, limits);
    return _mm256_cmplt_epu8_mask(bytes, limits);
#elif KX_SIMD_AVX2
    const __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)words), limits = _mm256_set1_epi8((char)limit);
    *equal = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, limits));
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(_mm256_min_epu8(bytes, limits), bytes)) & ~*equal;
#else
    /* Eight bytes in a word: borrows and carries stop at their highest bits, which are gathered by a product. */
    const uint64_t high = 0x8080808080808080u, ones = 0x0101010101010101u, gather = 0x0102040810204080u, limits = limit * ones;
    uint32_t below = 0, same = 0;
    for (int w = 0; w < KX_COMPARED_BYTES / 8; w++) {
        const uint64_t bytes = words[w], differ = bytes ^ limits;
        const uint64_t low_at_least = (bytes | high) - (limits & ~high);
        const uint64_t is_below = ((~bytes & limits) | (~differ & ~low_at_least)) & high;
        const uint64_t is_same = ~(((differ & ~high) + ~high) | differ) & high;
        below |= (uint32_t)((is_below >> 7) * gather >> 56) << (8 * w);
        same |= (uint32_t)((is_same >> 7) * gather >> 56) << (8 * w);
    }
    *equal = same;
    return below;
#endif
}

#if KX_SIMD_AVX512

static inline kx_f32m kx_f32m_from_bytes(const uint8_t *p) {
    const __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
    return _mm_test_epi8_mask(bytes, bytes);
}
static inline kx_f64m kx_f64m_from_bytes(const uint8_t *p) {
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)(const void *)p);
    return (kx_f64m)_mm_test_epi8_mask(bytes, bytes);
}

#elif KX_SIMD_AVX2

static inline kx_f32m kx_f32m_from_bytes(const uint8_t *p) {
    const __m256i lanes = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(lanes, _mm256_setzero_si256()));
}
static inline kx_f64m kx_f64m_from_bytes(const uint8_t *p) {
    int bytes;
    memcpy(&bytes, p, 4);
    const __m256i lanes = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
    return _mm256_castsi256_pd(_mm256_cmpgt_epi64(lanes, _mm256_setzero_si256()));
}

#else

static inline kx_f32m kx_f32m_from_bytes(const uint8_t *p) {
    unsigned bits = 0;
    for (int i = 0; i < KX_F32_LANES; i++) bits |= (unsigned)(p[i] != 0) << i;
    return kx_f32m_from_bits(bits);
}
static inline kx_f64m kx_f64m_from_bytes(const uint8_t *p) {
    unsigned bits = 0;
    for (int i = 0; i < KX_F64_LANES; i++) bits |= (unsigned)(p[i] != 0) << i;
    return kx_f64m_from_bits(bits);
}

#endif

/* The same of the first `count` bytes: nothing else is read, and the other lanes are not chosen. */
static inline kx_f32m kx_f32m_from_bytes_part(const uint8_t *p, int64_t count) {
    uint8_t bytes[KX_F32_LANES] = {0};
    memcpy(bytes, p, (size_t)count);
    return kx_f32m_from_bytes(bytes);
}
static inline kx_f64m kx_f64m_from_bytes_part(const uint8_t *p, int64_t count) {
    uint8_t bytes[KX_F64_LANES] = {0};
    memcpy(bytes, p, (size_t)count);
    return kx_f64m_from_bytes(bytes);
}

#endif
