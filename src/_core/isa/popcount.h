/* Vectors of 64-bit lanes, and how many of their bits are set.

   Two ways to count. kx_bits_add adds the counts of each byte to bytes (nibbles looked up, or shifts and masks), and
   kx_bits_total makes counts of lanes of at most 31 such sums. KX_VPOPCNTDQ_TARGET marks functions that may use AVX-512's own
   count of lanes, kx_u64v_count, which is not of x86-64-v4: call them where kx_isa_extensions() has KX_EXTENSION_VPOPCNTDQ. */
#ifndef KX_POPCOUNT_H
#define KX_POPCOUNT_H

#include "isa/simd.h"

#if KX_SIMD_AVX512
enum { KX_U64_LANES = 8 };
typedef __m512i kx_u64v;

static inline kx_u64v kx_u64v_load(const uint64_t *p) { return _mm512_loadu_si512((const void *)p); }
static inline void kx_u64v_store(uint64_t *p, kx_u64v a) { _mm512_storeu_si512((void *)p, a); }
static inline kx_u64v kx_u64v_set(uint64_t a) { return _mm512_set1_epi64((long long)a); }
static inline kx_u64v kx_u64v_add(kx_u64v a, kx_u64v b) { return _mm512_add_epi64(a, b); }
static inline kx_u64v kx_u64v_xor(kx_u64v a, kx_u64v b) { return _mm512_xor_si512(a, b); }
/* Of lanes below 2^31: the least, which are less (a bit for each lane), and the lanes as int32. */
static inline kx_u64v kx_u64v_min_short(kx_u64v a, kx_u64v b) { return _mm512_min_epu32(a, b); }
static inline unsigned kx_u64v_less_short(kx_u64v a, kx_u64v b) { return _mm512_cmplt_epu64_mask(a, b); }
static inline void kx_u64v_store_short(int32_t *p, kx_u64v a) {
    _mm256_storeu_si256((__m256i *)(void *)p, _mm512_cvtepi64_epi32(a));
}
/* Lanes 0, 2, 4 ... of both, and lanes 1, 3, 5 ... */
static inline void kx_u64v_unzip(kx_u64v *a, kx_u64v *b) {
    const __m512i even = _mm512_set_epi64(14, 12, 10, 8, 6, 4, 2, 0), odd = _mm512_set_epi64(15, 13, 11, 9, 7, 5, 3, 1);
    const kx_u64v first = _mm512_permutex2var_epi64(*a, even, *b), second = _mm512_permutex2var_epi64(*a, odd, *b);
    *a = first;
    *b = second;
}
static inline kx_u64v kx_bits_add(kx_u64v sum, kx_u64v a) {
    const __m512i counts = _mm512_broadcast_i32x4(_mm_set_epi8(4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0));
    const __m512i nibble = _mm512_set1_epi8(15);
    const __m512i low = _mm512_shuffle_epi8(counts, _mm512_and_si512(a, nibble));
    const __m512i high = _mm512_shuffle_epi8(counts, _mm512_and_si512(_mm512_srli_epi16(a, 4), nibble));
    return _mm512_add_epi8(sum, _mm512_add_epi8(low, high));
}
static inline kx_u64v kx_bits_total(kx_u64v sum) { return _mm512_sad_epu8(sum, _mm512_setzero_si512()); }

#define KX_HAVE_VPOPCNTDQ 1
#if defined(_MSC_VER) && !defined(__clang__)
#define KX_VPOPCNTDQ_TARGET
#else
#define KX_VPOPCNTDQ_TARGET __attribute__((target("avx512vpopcntdq")))
#endif
KX_VPOPCNTDQ_TARGET static inline kx_u64v kx_u64v_count(kx_u64v a) { return _mm512_popcnt_epi64(a); }

#elif KX_SIMD_AVX2
enum { KX_U64_LANES = 4 };
typedef __m256i kx_u64v;

static inline kx_u64v kx_u64v_load(const uint64_t *p) { return _mm256_loadu_si256((const __m256i *)(const void *)p); }
static inline void kx_u64v_store(uint64_t *p, kx_u64v a) { _mm256_storeu_si256((__m256i *)(void *)p, a); }
static inline kx_u64v kx_u64v_set(uint64_t a) { return _mm256_set1_epi64x((long long)a); }
static inline kx_u64v kx_u64v_add(kx_u64v a, kx_u64v b) { return _mm256_add_epi64(a, b); }
static inline kx_u64v kx_u64v_xor(kx_u64v a, kx_u64v b) { return _mm256_xor_si256(a, b); }
static inline kx_u64v kx_u64v_min_short(kx_u64v a, kx_u64v b) { return _mm256_min_epu32(a, b); }
static inline unsigned kx_u64v_less_short(kx_u64v a, kx_u64v b) {
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpgt_epi64(b, a)));
}
static inline void kx_u64v_store_short(int32_t *p, kx_u64v a) {
    const __m256i packed = _mm256_permutevar8x32_epi32(a, _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0));
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(packed));
}
static inline void kx_u64v_unzip(kx_u64v *a, kx_u64v *b) {
    const __m256i even = _mm256_unpacklo_epi64(*a, *b), odd = _mm256_unpackhi_epi64(*a, *b);
    *a = _mm256_permute4x64_epi64(even, 0xd8);
    *b = _mm256_permute4x64_epi64(odd, 0xd8);
}
static inline kx_u64v kx_bits_add(kx_u64v sum, kx_u64v a) {
    const __m256i counts = _mm256_broadcastsi128_si256(_mm_set_epi8(4, 3, 3, 2, 3, 2, 2, 1, 3, 2, 2, 1, 2, 1, 1, 0));
    const __m256i nibble = _mm256_set1_epi8(15);
    const __m256i low = _mm256_shuffle_epi8(counts, _mm256_and_si256(a, nibble));
    const __m256i high = _mm256_shuffle_epi8(counts, _mm256_and_si256(_mm256_srli_epi16(a, 4), nibble));
    return _mm256_add_epi8(sum, _mm256_add_epi8(low, high));
}
static inline kx_u64v kx_bits_total(kx_u64v sum) { return _mm256_sad_epu8(sum, _mm256_setzero_si256()); }

#else
enum { KX_U64_LANES = 2 };
typedef struct kx_u64v {
    uint64_t lane[2];
} kx_u64v;

static inline kx_u64v kx_u64v_load(const uint64_t *p) { return (kx_u64v){{p[0], p[1]}}; }
static inline void kx_u64v_store(uint64_t *p, kx_u64v a) { p[0] = a.lane[0], p[1] = a.lane[1]; }
static inline kx_u64v kx_u64v_set(uint64_t a) { return (kx_u64v){{a, a}}; }
static inline kx_u64v kx_u64v_add(kx_u64v a, kx_u64v b) { return (kx_u64v){{a.lane[0] + b.lane[0], a.lane[1] + b.lane[1]}}; }
static inline kx_u64v kx_u64v_xor(kx_u64v a, kx_u64v b) { return (kx_u64v){{a.lane[0] ^ b.lane[0], a.lane[1] ^ b.lane[1]}}; }
static inline kx_u64v kx_u64v_min_short(kx_u64v a, kx_u64v b) {
    for (int i = 0; i < 2; i++) a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline unsigned kx_u64v_less_short(kx_u64v a, kx_u64v b) {
    return (unsigned)(a.lane[0] < b.lane[0]) | (unsigned)(a.lane[1] < b.lane[1]) << 1;
}
static inline void kx_u64v_store_short(int32_t *p, kx_u64v a) { p[0] = (int32_t)a.lane[0], p[1] = (int32_t)a.lane[1]; }
static inline void kx_u64v_unzip(kx_u64v *a, kx_u64v *b) {
    const uint64_t moved = a->lane[1];
    a->lane[1] = b->lane[0];
    b->lane[0] = moved;
}
static inline kx_u64v kx_bits_add(kx_u64v sum, kx_u64v a) {
    for (int i = 0; i < 2; i++) {
        uint64_t bits = a.lane[i];
        bits -= bits >> 1 & 0x5555555555555555u;
        bits = (bits & 0x3333333333333333u) + (bits >> 2 & 0x3333333333333333u);
        sum.lane[i] += (bits + (bits >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    }
    return sum;
}
static inline kx_u64v kx_bits_total(kx_u64v sum) {
    for (int i = 0; i < 2; i++) {
        const uint64_t pairs = (sum.lane[i] & 0x00ff00ff00ff00ffu) + (sum.lane[i] >> 8 & 0x00ff00ff00ff00ffu);
        sum.lane[i] = pairs * 0x0001000100010001u >> 48;
    }
    return sum;
}
#endif
#endif
