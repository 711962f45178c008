/* Masks of the vectors of isa/simd.h out of bytes: a lane is chosen where its byte is not 0. */
#ifndef KX_BYTE_MASKS_H
#define KX_BYTE_MASKS_H

#include "isa/simd.h"

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
