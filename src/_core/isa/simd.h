/* Short vectors of the instruction set being compiled, under one set of names.

   Kernels are plain C first. This header serves the few loops where the vectoriser was measured to fail: reductions with an
   argument (pricing), register-blocked tiles, polynomials with a table look. Lanes are native: 64-byte vectors on AVX2
   were five times slower than 32-byte ones. The generic form is plain C over four lanes; baseline x86-64 and NEON use it. */
#ifndef KX_SIMD_H
#define KX_SIMD_H

#include <math.h>
#include <stdint.h>
#include <string.h>

/* low <= a <= high for 0 <= low, by the bits: a NaN is outside, silently (gcc 12 vectorises isgreaterequal to a comparison that
   raises invalid), and a negative number too. */
static inline int kx_between_f64(double a, double low, double high) {
    int64_t bits[3];
    memcpy(bits, &a, 8), memcpy(bits + 1, &low, 8), memcpy(bits + 2, &high, 8);
    return (bits[0] >= bits[1]) & (bits[0] <= bits[2]);
}
static inline int kx_between_f32(float a, float low, float high) {
    int32_t bits[3];
    memcpy(bits, &a, 4), memcpy(bits + 1, &low, 4), memcpy(bits + 2, &high, 4);
    return (bits[0] >= bits[1]) & (bits[0] <= bits[2]);
}

/* Results from here on are much more than the caches hold: stores past these leave the lines from being read first. */
enum { KX_STREAM_BYTES = 32 << 20 };

/* Comparisons that a NaN fails silently. clang takes the intrinsics' quiet ones for its own, which raise invalid, unless
   -ffp-exception-behavior=maytrap tells it to keep them apart: that keeps plain loops from being vectorised, too, and row norms
   took 1.6 times as long, HSIC's sums and WMD 1.3 times. */
#define KX_QUIET_COMPARISON(V, M, name, instruction, mask, vector)                               \
    static inline M V##_##name(V a, V b) {                                                       \
        M r;                                                                                     \
        __asm__(instruction ", %2, %1, %0" : mask(r) : vector(a), vector(b));                    \
        return r;                                                                                \
    }

#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512VL__) && defined(__AVX512BW__)

#include <immintrin.h>
#define KX_SIMD_AVX512 1
enum { KX_F64_LANES = 8, KX_F32_LANES = 16 };
typedef __m512d kx_f64v;
typedef __m512 kx_f32v;
typedef __mmask8 kx_f64m;
typedef __mmask16 kx_f32m;

#if defined(__clang__)
KX_QUIET_COMPARISON(kx_f64v, kx_f64m, less, "vcmppd $0x11", "=k", "v")
KX_QUIET_COMPARISON(kx_f32v, kx_f32m, less, "vcmpps $0x11", "=k", "v")
#else
static inline kx_f64m kx_f64v_less(kx_f64v a, kx_f64v b) { return _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ); }
static inline kx_f32m kx_f32v_less(kx_f32v a, kx_f32v b) { return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ); }
#endif

static inline kx_f64v kx_f64v_load(const double *p) { return _mm512_loadu_pd(p); }
static inline void kx_f64v_store(double *p, kx_f64v a) { _mm512_storeu_pd(p, a); }
/* Past the caches, to an address that is a multiple of the vector's size; kx_stream_end() before anyone else reads. */
static inline void kx_f64v_stream(double *p, kx_f64v a) { _mm512_stream_pd(p, a); }
static inline void kx_f32v_stream(float *p, kx_f32v a) { _mm512_stream_ps(p, a); }
static inline void kx_stream_end(void) { _mm_sfence(); }
static inline kx_f64v kx_f64v_set(double a) { return _mm512_set1_pd(a); }
static inline kx_f64v kx_f64v_add(kx_f64v a, kx_f64v b) { return _mm512_add_pd(a, b); }
static inline kx_f64v kx_f64v_sub(kx_f64v a, kx_f64v b) { return _mm512_sub_pd(a, b); }
static inline kx_f64v kx_f64v_mul(kx_f64v a, kx_f64v b) { return _mm512_mul_pd(a, b); }
static inline kx_f64v kx_f64v_div(kx_f64v a, kx_f64v b) { return _mm512_div_pd(a, b); }
static inline kx_f64v kx_f64v_fma(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm512_fmadd_pd(a, b, c); }
static inline kx_f64v kx_f64v_min(kx_f64v a, kx_f64v b) { return _mm512_min_pd(a, b); }
static inline kx_f64v kx_f64v_max(kx_f64v a, kx_f64v b) { return _mm512_max_pd(a, b); }
static inline kx_f64v kx_f64v_sqrt(kx_f64v a) { return _mm512_sqrt_pd(a); }
static inline kx_f64v kx_f64v_abs(kx_f64v a) { return _mm512_abs_pd(a); }
static inline kx_f64v kx_f64v_select(kx_f64m m, kx_f64v a, kx_f64v b) { return _mm512_mask_blend_pd(m, b, a); }
static inline unsigned kx_f64m_bits(kx_f64m m) { return m; }
static inline kx_f64m kx_f64m_from_bits(unsigned bits) { return (kx_f64m)bits; }
static inline kx_f64v kx_f64v_add_where(kx_f64m m, kx_f64v a, kx_f64v b) { return _mm512_mask_add_pd(a, m, a, b); }
/* a b where the mask is set, else 0 whatever a is, without flags; b is finite and not negative. Not by a masked instruction:
   the compiler would make it one that loads, and past the caches those were 2 to 4 times slower on a Zen 5. */
static inline kx_f64v kx_f64v_mul_or_zero(kx_f64m m, kx_f64v a, kx_f64v b) {
    return _mm512_mul_pd(_mm512_and_pd(_mm512_castsi512_pd(_mm512_movm_epi64(m)), a), b);
}
static inline double kx_f64v_reduce_min(kx_f64v a) { return _mm512_reduce_min_pd(a); }

static inline kx_f32v kx_f32v_load(const float *p) { return _mm512_loadu_ps(p); }
static inline void kx_f32v_store(float *p, kx_f32v a) { _mm512_storeu_ps(p, a); }
static inline kx_f32v kx_f32v_set(float a) { return _mm512_set1_ps(a); }
static inline kx_f32v kx_f32v_add(kx_f32v a, kx_f32v b) { return _mm512_add_ps(a, b); }
static inline kx_f32v kx_f32v_sub(kx_f32v a, kx_f32v b) { return _mm512_sub_ps(a, b); }
static inline kx_f32v kx_f32v_mul(kx_f32v a, kx_f32v b) { return _mm512_mul_ps(a, b); }
static inline kx_f32v kx_f32v_div(kx_f32v a, kx_f32v b) { return _mm512_div_ps(a, b); }
static inline kx_f32v kx_f32v_fma(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm512_fmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_min(kx_f32v a, kx_f32v b) { return _mm512_min_ps(a, b); }
static inline kx_f32v kx_f32v_max(kx_f32v a, kx_f32v b) { return _mm512_max_ps(a, b); }
static inline kx_f32v kx_f32v_sqrt(kx_f32v a) { return _mm512_sqrt_ps(a); }
static inline kx_f32v kx_f32v_abs(kx_f32v a) { return _mm512_abs_ps(a); }
static inline kx_f32v kx_f32v_select(kx_f32m m, kx_f32v a, kx_f32v b) { return _mm512_mask_blend_ps(m, b, a); }
static inline unsigned kx_f32m_bits(kx_f32m m) { return m; }
static inline kx_f32m kx_f32m_from_bits(unsigned bits) { return (kx_f32m)bits; }
static inline kx_f32v kx_f32v_add_where(kx_f32m m, kx_f32v a, kx_f32v b) { return _mm512_mask_add_ps(a, m, a, b); }
static inline kx_f32v kx_f32v_mul_or_zero(kx_f32m m, kx_f32v a, kx_f32v b) {
    return _mm512_mul_ps(_mm512_and_ps(_mm512_castsi512_ps(_mm512_movm_epi32(m)), a), b);
}
static inline float kx_f32v_reduce_min(kx_f32v a) { return _mm512_reduce_min_ps(a); }
/* KX_F32_LANES int32, wrapping; `put` sets one of an array's items by a store of the whole vector it is in, because a vector
   load soon after a narrow store waits for it to reach the cache. store_i32: doubles within int32, truncated, times 2^shift */
typedef __m512i kx_i32v;
static inline kx_i32v kx_i32v_load(const int32_t *p) { return _mm512_loadu_si512(p); }
static inline kx_i32v kx_i32v_set(int32_t a) { return _mm512_set1_epi32(a); }
static inline kx_i32v kx_i32v_add(kx_i32v a, kx_i32v b) { return _mm512_add_epi32(a, b); }
static inline kx_i32v kx_i32v_sub(kx_i32v a, kx_i32v b) { return _mm512_sub_epi32(a, b); }
static inline kx_i32v kx_i32v_min(kx_i32v a, kx_i32v b) { return _mm512_min_epi32(a, b); }
static inline int32_t kx_i32v_reduce_min(kx_i32v a) { return _mm512_reduce_min_epi32(a); }
static inline void kx_i32v_put(int32_t *p, int64_t index, int32_t a) {
    int32_t *group = p + index / 16 * 16;
    kx_i32v old = _mm512_loadu_si512(group);
    _mm512_storeu_si512(group, _mm512_mask_mov_epi32(old, (__mmask16)(1u << (index % 16)), _mm512_set1_epi32(a)));
}
/* uint16, for codes of which only the order counts */
enum { KX_U16_LANES = 32 };
typedef __m512i kx_u16v;
static inline kx_u16v kx_u16v_load(const uint16_t *p) { return _mm512_loadu_si512(p); }
static inline void kx_u16v_store(uint16_t *p, kx_u16v a) { _mm512_storeu_si512(p, a); }
static inline kx_u16v kx_u16v_min(kx_u16v a, kx_u16v b) { return _mm512_min_epu16(a, b); }
static inline void kx_f64v_store_i32(int32_t *p, kx_f64v a, int shift) {
    _mm256_storeu_si256((__m256i *)p, _mm256_slli_epi32(_mm512_cvttpd_epi32(a), shift));
}
/* The sums over the lanes of four vectors */
static inline void kx_f32v_sum4(float *out, kx_f32v a, kx_f32v b, kx_f32v c, kx_f32v d) {
    __m256 a8 = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    __m256 b8 = _mm256_add_ps(_mm512_castps512_ps256(b), _mm512_extractf32x8_ps(b, 1));
    __m256 c8 = _mm256_add_ps(_mm512_castps512_ps256(c), _mm512_extractf32x8_ps(c, 1));
    __m256 d8 = _mm256_add_ps(_mm512_castps512_ps256(d), _mm512_extractf32x8_ps(d, 1));
    __m256 sum = _mm256_hadd_ps(_mm256_hadd_ps(a8, b8), _mm256_hadd_ps(c8, d8));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1)));
}
static inline __m256d kx_f64v_sums(kx_f64v a, kx_f64v b, kx_f64v c, kx_f64v d) {
    __m256d a4 = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
    __m256d b4 = _mm256_add_pd(_mm512_castpd512_pd256(b), _mm512_extractf64x4_pd(b, 1));
    __m256d c4 = _mm256_add_pd(_mm512_castpd512_pd256(c), _mm512_extractf64x4_pd(c, 1));
    __m256d d4 = _mm256_add_pd(_mm512_castpd512_pd256(d), _mm512_extractf64x4_pd(d, 1));
    __m256d ab = _mm256_hadd_pd(a4, b4), cd = _mm256_hadd_pd(c4, d4);
    return _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
}
/* KX_F64_LANES floats to and from doubles */
static inline kx_f64v kx_f64v_load_f32(const float *p) { return _mm512_cvtps_pd(_mm256_loadu_ps(p)); }
/* The first `count` lanes, 0 < count < KX_F64_LANES; the others are `fill` and nothing is read or written there. */
static inline kx_f64v kx_f64v_load_part(const double *p, int64_t count, double fill) {
    return _mm512_mask_loadu_pd(_mm512_set1_pd(fill), (__mmask8)((1u << count) - 1), p);
}
static inline kx_f64v kx_f64v_load_part_f32(const float *p, int64_t count, float fill) {
    return _mm512_cvtps_pd(_mm256_mask_loadu_ps(_mm256_set1_ps(fill), (__mmask8)((1u << count) - 1), p));
}
static inline void kx_f64v_store_part(double *p, int64_t count, kx_f64v a) {
    _mm512_mask_storeu_pd(p, (__mmask8)((1u << count) - 1), a);
}
static inline void kx_f64v_store_f32(float *p, kx_f64v a) { _mm256_storeu_ps(p, _mm512_cvtpd_ps(a)); }
/* A whole vector of floats. */
static inline void kx_f64v_stream_pair_f32(float *p, kx_f64v a, kx_f64v b) {
    const __m512d low = _mm512_castps_pd(_mm512_castps256_ps512(_mm512_cvtpd_ps(a)));
    _mm512_stream_pd((double *)p, _mm512_insertf64x4(low, _mm256_castps_pd(_mm512_cvtpd_ps(b)), 1));
}

/* What accurate elementwise kernels are made of, in every form: fused(a, b, c) = a b + c and residual(a, b, c) = c - a b,
   rounded once (the generic form without a hardware FMA: to a hair); estimates that raise no flags, good to 2^-14 here; half of
   a number whose half is normal (an integer subtraction: the multiplier is the busy unit); whether all lanes lie in
   [low, high], 0 <= low (a NaN does not, and raises nothing). */
static inline kx_f64v kx_f64v_fused(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm512_fmadd_pd(a, b, c); }
static inline kx_f64v kx_f64v_residual(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm512_fnmadd_pd(a, b, c); }
static inline kx_f64v kx_f64v_rsqrt_estimate(kx_f64v a) { return _mm512_rsqrt14_pd(a); }
static inline kx_f64v kx_f64v_reciprocal_estimate(kx_f64v a) { return _mm512_rcp14_pd(a); }
static inline kx_f64v kx_f64v_half(kx_f64v a) {
    return _mm512_castsi512_pd(_mm512_sub_epi64(_mm512_castpd_si512(a), _mm512_set1_epi64((long long)1 << 52)));
}
static inline int kx_f64v_all_between(kx_f64v a, double low, double high) {
    __m512i lowest = _mm512_castpd_si512(_mm512_set1_pd(low)), highest = _mm512_castpd_si512(_mm512_set1_pd(high));
    return _mm512_cmple_epu64_mask(_mm512_sub_epi64(_mm512_castpd_si512(a), lowest), _mm512_sub_epi64(highest, lowest)) == 0xff;
}
static inline kx_f32v kx_f32v_fused(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm512_fmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_residual(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm512_fnmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_rsqrt_estimate(kx_f32v a) { return _mm512_rsqrt14_ps(a); }
static inline kx_f32v kx_f32v_reciprocal_estimate(kx_f32v a) { return _mm512_rcp14_ps(a); }
static inline kx_f32v kx_f32v_half(kx_f32v a) {
    return _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(1 << 23)));
}
static inline int kx_f32v_all_between(kx_f32v a, float low, float high) {
    __m512i lowest = _mm512_castps_si512(_mm512_set1_ps(low)), highest = _mm512_castps_si512(_mm512_set1_ps(high));
    return _mm512_cmple_epu32_mask(_mm512_sub_epi32(_mm512_castps_si512(a), lowest), _mm512_sub_epi32(highest, lowest)) ==
           0xffff;
}

/* For exp and log. round: to the nearest integer. clamp_magnitude: to [-limit, limit], a NaN stays and raises nothing.
   scale: a 2^n for an integral n of at most 1100 (float32 160) either way and a within [0.5, 2], rounded once. split: a = m
   2^exponent with m in [0.75, 1.5); for normal positive a at least, and with AVX-512 for any a (0 and inf have the exponents
   -inf and inf, a negative a gives NaN). */
static inline kx_f64v kx_f64v_round(kx_f64v a) {
    return _mm512_roundscale_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline kx_f64v kx_f64v_clamp_magnitude(kx_f64v a, double limit) {
    __m512i sign = _mm512_castpd_si512(_mm512_set1_pd(-0.0)), limits = _mm512_castpd_si512(_mm512_set1_pd(limit));
    kx_f64m outside = kx_f64v_less(_mm512_set1_pd(limit), _mm512_abs_pd(a));
    __m512i bits = _mm512_castpd_si512(a);
    return _mm512_castsi512_pd(_mm512_mask_mov_epi64(bits, outside, _mm512_ternarylogic_epi64(sign, bits, limits, 0xca)));
}
static inline kx_f64v kx_f64v_scale(kx_f64v a, kx_f64v n) { return _mm512_scalef_pd(a, n); }
/* AVX-512 only: a 2^floor(n); and of 16 numbers that of the lowest four bits of each lane of `index`,
   of 32 floats that of the lowest five. */
static inline kx_f64v kx_f64v_scale_floor(kx_f64v a, kx_f64v n) { return _mm512_scalef_pd(a, n); }
static inline kx_f64v kx_f64v_lookup16(const double *table, kx_f64v index) {
    return _mm512_permutex2var_pd(_mm512_loadu_pd(table), _mm512_castpd_si512(index), _mm512_loadu_pd(table + 8));
}
static inline kx_f32v kx_f32v_lookup32(const float *table, kx_f32v index) {
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), _mm512_castps_si512(index), _mm512_loadu_ps(table + 16));
}
static inline kx_f64v kx_f64v_split(kx_f64v a, kx_f64v *exponent) {
    kx_f64v m = _mm512_getmant_pd(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
    *exponent = _mm512_sub_pd(_mm512_getexp_pd(a), _mm512_getexp_pd(m));
    return m;
}
static inline kx_f32v kx_f32v_round(kx_f32v a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline kx_f32v kx_f32v_clamp_magnitude(kx_f32v a, float limit) {
    __m512i sign = _mm512_castps_si512(_mm512_set1_ps(-0.0f)), limits = _mm512_castps_si512(_mm512_set1_ps(limit));
    kx_f32m outside = kx_f32v_less(_mm512_set1_ps(limit), _mm512_abs_ps(a));
    __m512i bits = _mm512_castps_si512(a);
    return _mm512_castsi512_ps(_mm512_mask_mov_epi32(bits, outside, _mm512_ternarylogic_epi32(sign, bits, limits, 0xca)));
}
static inline kx_f32v kx_f32v_scale(kx_f32v a, kx_f32v n) { return _mm512_scalef_ps(a, n); }
static inline kx_f32v kx_f32v_split(kx_f32v a, kx_f32v *exponent) {
    kx_f32v m = _mm512_getmant_ps(a, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_nan);
    *exponent = _mm512_sub_ps(_mm512_getexp_ps(a), _mm512_getexp_ps(m));
    return m;
}

#elif defined(__AVX2__) && (defined(__FMA__) || defined(_MSC_VER)) /* /arch:AVX2 includes FMA without saying so */

#include <immintrin.h>
#define KX_SIMD_AVX2 1
enum { KX_F64_LANES = 4, KX_F32_LANES = 8 };
typedef __m256d kx_f64v;
typedef __m256 kx_f32v;
typedef __m256d kx_f64m;
typedef __m256 kx_f32m;

#if defined(__clang__)
KX_QUIET_COMPARISON(kx_f64v, kx_f64m, less, "vcmppd $0x11", "=x", "x")
KX_QUIET_COMPARISON(kx_f32v, kx_f32m, less, "vcmpps $0x11", "=x", "x")
KX_QUIET_COMPARISON(kx_f64v, kx_f64m, at_most, "vcmppd $0x12", "=x", "x")
KX_QUIET_COMPARISON(kx_f32v, kx_f32m, at_most, "vcmpps $0x12", "=x", "x")
#else
static inline kx_f64m kx_f64v_less(kx_f64v a, kx_f64v b) { return _mm256_cmp_pd(a, b, _CMP_LT_OQ); }
static inline kx_f32m kx_f32v_less(kx_f32v a, kx_f32v b) { return _mm256_cmp_ps(a, b, _CMP_LT_OQ); }
static inline kx_f64m kx_f64v_at_most(kx_f64v a, kx_f64v b) { return _mm256_cmp_pd(a, b, _CMP_LE_OQ); }
static inline kx_f32m kx_f32v_at_most(kx_f32v a, kx_f32v b) { return _mm256_cmp_ps(a, b, _CMP_LE_OQ); }
#endif

static inline kx_f64v kx_f64v_load(const double *p) { return _mm256_loadu_pd(p); }
static inline void kx_f64v_store(double *p, kx_f64v a) { _mm256_storeu_pd(p, a); }
static inline void kx_f64v_stream(double *p, kx_f64v a) { _mm256_stream_pd(p, a); }
static inline void kx_f32v_stream(float *p, kx_f32v a) { _mm256_stream_ps(p, a); }
static inline void kx_stream_end(void) { _mm_sfence(); }
static inline kx_f64v kx_f64v_set(double a) { return _mm256_set1_pd(a); }
static inline kx_f64v kx_f64v_add(kx_f64v a, kx_f64v b) { return _mm256_add_pd(a, b); }
static inline kx_f64v kx_f64v_sub(kx_f64v a, kx_f64v b) { return _mm256_sub_pd(a, b); }
static inline kx_f64v kx_f64v_mul(kx_f64v a, kx_f64v b) { return _mm256_mul_pd(a, b); }
static inline kx_f64v kx_f64v_div(kx_f64v a, kx_f64v b) { return _mm256_div_pd(a, b); }
static inline kx_f64v kx_f64v_fma(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm256_fmadd_pd(a, b, c); }
static inline kx_f64v kx_f64v_min(kx_f64v a, kx_f64v b) { return _mm256_min_pd(a, b); }
static inline kx_f64v kx_f64v_max(kx_f64v a, kx_f64v b) { return _mm256_max_pd(a, b); }
static inline kx_f64v kx_f64v_sqrt(kx_f64v a) { return _mm256_sqrt_pd(a); }
static inline kx_f64v kx_f64v_abs(kx_f64v a) { return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a); }
static inline kx_f64v kx_f64v_select(kx_f64m m, kx_f64v a, kx_f64v b) { return _mm256_blendv_pd(b, a, m); }
static inline unsigned kx_f64m_bits(kx_f64m m) { return (unsigned)_mm256_movemask_pd(m); }
static inline kx_f64m kx_f64m_from_bits(unsigned bits) {
    const __m256i lane_bit = _mm256_set_epi64x(8, 4, 2, 1);
    __m256i spread = _mm256_and_si256(_mm256_set1_epi64x((long long)bits), lane_bit);
    return _mm256_castsi256_pd(_mm256_cmpeq_epi64(spread, lane_bit));
}
static inline kx_f64v kx_f64v_add_where(kx_f64m m, kx_f64v a, kx_f64v b) { return _mm256_add_pd(a, _mm256_and_pd(m, b)); }
static inline kx_f64v kx_f64v_mul_or_zero(kx_f64m m, kx_f64v a, kx_f64v b) { return _mm256_mul_pd(_mm256_and_pd(m, a), b); }
static inline double kx_f64v_reduce_min(kx_f64v a) {
    __m128d half = _mm_min_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1));
    return _mm_cvtsd_f64(_mm_min_sd(half, _mm_unpackhi_pd(half, half)));
}

static inline kx_f32v kx_f32v_load(const float *p) { return _mm256_loadu_ps(p); }
static inline void kx_f32v_store(float *p, kx_f32v a) { _mm256_storeu_ps(p, a); }
static inline kx_f32v kx_f32v_set(float a) { return _mm256_set1_ps(a); }
static inline kx_f32v kx_f32v_add(kx_f32v a, kx_f32v b) { return _mm256_add_ps(a, b); }
static inline kx_f32v kx_f32v_sub(kx_f32v a, kx_f32v b) { return _mm256_sub_ps(a, b); }
static inline kx_f32v kx_f32v_mul(kx_f32v a, kx_f32v b) { return _mm256_mul_ps(a, b); }
static inline kx_f32v kx_f32v_div(kx_f32v a, kx_f32v b) { return _mm256_div_ps(a, b); }
static inline kx_f32v kx_f32v_fma(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm256_fmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_min(kx_f32v a, kx_f32v b) { return _mm256_min_ps(a, b); }
static inline kx_f32v kx_f32v_max(kx_f32v a, kx_f32v b) { return _mm256_max_ps(a, b); }
static inline kx_f32v kx_f32v_sqrt(kx_f32v a) { return _mm256_sqrt_ps(a); }
static inline kx_f32v kx_f32v_abs(kx_f32v a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
static inline kx_f32v kx_f32v_select(kx_f32m m, kx_f32v a, kx_f32v b) { return _mm256_blendv_ps(b, a, m); }
static inline unsigned kx_f32m_bits(kx_f32m m) { return (unsigned)_mm256_movemask_ps(m); }
static inline kx_f32m kx_f32m_from_bits(unsigned bits) {
    const __m256i lane_bit = _mm256_set_epi32(128, 64, 32, 16, 8, 4, 2, 1);
    __m256i spread = _mm256_and_si256(_mm256_set1_epi32((int)bits), lane_bit);
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(spread, lane_bit));
}
static inline kx_f32v kx_f32v_add_where(kx_f32m m, kx_f32v a, kx_f32v b) { return _mm256_add_ps(a, _mm256_and_ps(m, b)); }
static inline kx_f32v kx_f32v_mul_or_zero(kx_f32m m, kx_f32v a, kx_f32v b) { return _mm256_mul_ps(_mm256_and_ps(m, a), b); }
static inline float kx_f32v_reduce_min(kx_f32v a) {
    __m128 half = _mm_min_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    half = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(half, _mm_movehdup_ps(half)));
}
typedef __m256i kx_i32v;
static inline kx_i32v kx_i32v_load(const int32_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline kx_i32v kx_i32v_set(int32_t a) { return _mm256_set1_epi32(a); }
static inline kx_i32v kx_i32v_add(kx_i32v a, kx_i32v b) { return _mm256_add_epi32(a, b); }
static inline kx_i32v kx_i32v_sub(kx_i32v a, kx_i32v b) { return _mm256_sub_epi32(a, b); }
static inline kx_i32v kx_i32v_min(kx_i32v a, kx_i32v b) { return _mm256_min_epi32(a, b); }
static inline int32_t kx_i32v_reduce_min(kx_i32v a) {
    __m128i half = _mm_min_epi32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    half = _mm_min_epi32(half, _mm_unpackhi_epi64(half, half));
    return _mm_cvtsi128_si32(_mm_min_epi32(half, _mm_shuffle_epi32(half, 1)));
}
static inline void kx_i32v_put(int32_t *p, int64_t index, int32_t a) {
    const __m256i lanes = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);
    __m256i *group = (__m256i *)(p + index / 8 * 8), chosen = _mm256_cmpeq_epi32(lanes, _mm256_set1_epi32((int)(index % 8)));
    _mm256_storeu_si256(group, _mm256_blendv_epi8(_mm256_loadu_si256(group), _mm256_set1_epi32(a), chosen));
}
enum { KX_U16_LANES = 16 };
typedef __m256i kx_u16v;
static inline kx_u16v kx_u16v_load(const uint16_t *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline void kx_u16v_store(uint16_t *p, kx_u16v a) { _mm256_storeu_si256((__m256i *)p, a); }
static inline kx_u16v kx_u16v_min(kx_u16v a, kx_u16v b) { return _mm256_min_epu16(a, b); }
static inline void kx_f64v_store_i32(int32_t *p, kx_f64v a, int shift) {
    _mm_storeu_si128((__m128i *)p, _mm_slli_epi32(_mm256_cvttpd_epi32(a), shift));
}
static inline void kx_f32v_sum4(float *out, kx_f32v a, kx_f32v b, kx_f32v c, kx_f32v d) {
    __m256 sum = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps(sum, 1)));
}
static inline __m256d kx_f64v_sums(kx_f64v a, kx_f64v b, kx_f64v c, kx_f64v d) {
    __m256d ab = _mm256_hadd_pd(a, b), cd = _mm256_hadd_pd(c, d);
    return _mm256_add_pd(_mm256_permute2f128_pd(ab, cd, 0x20), _mm256_permute2f128_pd(ab, cd, 0x31));
}
static inline kx_f64v kx_f64v_load_f32(const float *p) { return _mm256_cvtps_pd(_mm_loadu_ps(p)); }
static inline void kx_f64v_store_f32(float *p, kx_f64v a) { _mm_storeu_ps(p, _mm256_cvtpd_ps(a)); }
static inline void kx_f64v_stream_pair_f32(float *p, kx_f64v a, kx_f64v b) {
    _mm256_stream_ps(p, _mm256_set_m128(_mm256_cvtpd_ps(b), _mm256_cvtpd_ps(a)));
}

static inline kx_f64v kx_f64v_fused(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm256_fmadd_pd(a, b, c); }
static inline kx_f64v kx_f64v_residual(kx_f64v a, kx_f64v b, kx_f64v c) { return _mm256_fnmadd_pd(a, b, c); }
/* From the exponent's bits, within 4% and 13%: AVX2 has no estimates in float64, and corrections of one ulp need no better. */
static inline kx_f64v kx_f64v_rsqrt_estimate(kx_f64v a) {
    __m256i half = _mm256_srli_epi64(_mm256_castpd_si256(a), 1);
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_set1_epi64x(0x5fe6eb50c7b537a9), half));
}
static inline kx_f64v kx_f64v_reciprocal_estimate(kx_f64v a) {
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_set1_epi64x(0x7fde6238502484ba), _mm256_castpd_si256(a)));
}
static inline kx_f64v kx_f64v_half(kx_f64v a) {
    return _mm256_castsi256_pd(_mm256_sub_epi64(_mm256_castpd_si256(a), _mm256_set1_epi64x((long long)1 << 52)));
}
static inline int kx_f64v_all_between(kx_f64v a, double low, double high) {
    return _mm256_movemask_pd(_mm256_and_pd(kx_f64v_at_most(_mm256_set1_pd(low), a),
                                            kx_f64v_at_most(a, _mm256_set1_pd(high)))) == 0xf;
}
static inline kx_f32v kx_f32v_fused(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm256_fmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_residual(kx_f32v a, kx_f32v b, kx_f32v c) { return _mm256_fnmadd_ps(a, b, c); }
static inline kx_f32v kx_f32v_rsqrt_estimate(kx_f32v a) { return _mm256_rsqrt_ps(a); } /* 2^-11.4 */
static inline kx_f32v kx_f32v_reciprocal_estimate(kx_f32v a) { return _mm256_rcp_ps(a); }
static inline kx_f32v kx_f32v_half(kx_f32v a) {
    return _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(a), _mm256_set1_epi32(1 << 23)));
}
static inline int kx_f32v_all_between(kx_f32v a, float low, float high) {
    return _mm256_movemask_ps(_mm256_and_ps(kx_f32v_at_most(_mm256_set1_ps(low), a),
                                            kx_f32v_at_most(a, _mm256_set1_ps(high)))) == 0xff;
}

/* An integer n as the low bits of 1.5 2^52 + n: no conversion, so nothing is raised for a NaN. */
static inline kx_f64v kx_f64v_power_of_two(kx_f64v n) {
    return _mm256_castsi256_pd(_mm256_slli_epi64(_mm256_castpd_si256(_mm256_add_pd(n, _mm256_set1_pd(0x1.8p52 + 1023))), 52));
}
static inline kx_f64v kx_f64v_round(kx_f64v a) { return _mm256_round_pd(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline kx_f64v kx_f64v_clamp_magnitude(kx_f64v a, double limit) {
    __m256d limits = _mm256_set1_pd(limit), sign = _mm256_and_pd(a, _mm256_set1_pd(-0.0));
    return _mm256_blendv_pd(a, _mm256_or_pd(sign, limits), kx_f64v_less(limits, _mm256_xor_pd(a, sign)));
}
static inline kx_f64v kx_f64v_scale(kx_f64v a, kx_f64v n) {
    __m256d first = kx_f64v_round(_mm256_mul_pd(n, _mm256_set1_pd(0.5)));
    return _mm256_mul_pd(_mm256_mul_pd(a, kx_f64v_power_of_two(first)), kx_f64v_power_of_two(_mm256_sub_pd(n, first)));
}
static inline kx_f64v kx_f64v_split(kx_f64v a, kx_f64v *exponent) {
    const __m256i base = _mm256_castpd_si256(_mm256_set1_pd(0.75)), offset = _mm256_set1_epi64x(INT64_MIN);
    __m256i bits = _mm256_castpd_si256(a), above = _mm256_sub_epi64(bits, base);
    __m256i count = _mm256_srli_epi64(_mm256_xor_si256(above, offset), 52); /* the exponent + 2048 */
    __m256d shifted = _mm256_castsi256_pd(_mm256_or_si256(count, _mm256_castpd_si256(_mm256_set1_pd(0x1p52))));
    *exponent = _mm256_sub_pd(shifted, _mm256_set1_pd(0x1p52 + 2048));
    return _mm256_castsi256_pd(_mm256_sub_epi64(bits, _mm256_and_si256(above, _mm256_set1_epi64x(-(1LL << 52)))));
}
static inline kx_f32v kx_f32v_power_of_two(kx_f32v n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(_mm256_add_ps(n, _mm256_set1_ps(0x1.8p23f + 127))), 23));
}
static inline kx_f32v kx_f32v_round(kx_f32v a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
static inline kx_f32v kx_f32v_clamp_magnitude(kx_f32v a, float limit) {
    __m256 limits = _mm256_set1_ps(limit), sign = _mm256_and_ps(a, _mm256_set1_ps(-0.0f));
    return _mm256_blendv_ps(a, _mm256_or_ps(sign, limits), kx_f32v_less(limits, _mm256_xor_ps(a, sign)));
}
static inline kx_f32v kx_f32v_scale(kx_f32v a, kx_f32v n) {
    __m256 first = kx_f32v_round(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)));
    return _mm256_mul_ps(_mm256_mul_ps(a, kx_f32v_power_of_two(first)), kx_f32v_power_of_two(_mm256_sub_ps(n, first)));
}
static inline kx_f32v kx_f32v_split(kx_f32v a, kx_f32v *exponent) {
    __m256i bits = _mm256_castps_si256(a), above = _mm256_sub_epi32(bits, _mm256_castps_si256(_mm256_set1_ps(0.75f)));
    *exponent = _mm256_cvtepi32_ps(_mm256_srai_epi32(above, 23));
    return _mm256_castsi256_ps(_mm256_sub_epi32(bits, _mm256_and_si256(above, _mm256_set1_epi32(-(1 << 23)))));
}

#else

#define KX_SIMD_GENERIC 1
/* 16 bytes, which SSE2 and NEON have. As plain arrays gcc kept them in memory: a pair of documents took 75 us, now 20 to 25. */
#if defined(__GNUC__)
typedef double kx_f64_lanes __attribute__((vector_size(16)));
typedef float kx_f32_lanes __attribute__((vector_size(16)));
typedef struct kx_f64v { kx_f64_lanes lane; } kx_f64v;
typedef struct kx_f32v { kx_f32_lanes lane; } kx_f32v;
#define KX_GENERIC_OPERATION(V, name, operator) static inline V V##_##name(V a, V b) { a.lane = a.lane operator b.lane; return a; }
#else
typedef struct kx_f64v { double lane[2]; } kx_f64v;
typedef struct kx_f32v { float lane[4]; } kx_f32v;
#define KX_GENERIC_OPERATION(V, name, operator) \
    static inline V V##_##name(V a, V b) { KX_EACH_LANE a.lane[i] = a.lane[i] operator b.lane[i]; return a; }
#endif
enum { KX_F64_LANES = 2, KX_F32_LANES = 4 };
typedef unsigned kx_f64m;
typedef unsigned kx_f32m;

#define KX_LANES_OF(v) for (int i = 0; i < (int)(sizeof (v).lane / sizeof (v).lane[0]); i++)
#define KX_EACH_LANE KX_LANES_OF(a)
#define KX_GENERIC_LANES(V, T, M, SQRT, FABS)                                                                     \
    static inline V V##_load(const T *p) { V r; memcpy(&r, p, sizeof r); return r; }                              \
    static inline void V##_store(T *p, V a) { memcpy(p, &a, sizeof a); }                                          \
    static inline void V##_stream(T *p, V a) { memcpy(p, &a, sizeof a); }                                         \
    static inline V V##_set(T a) { V r; KX_LANES_OF(r) r.lane[i] = a; return r; }                                 \
    KX_GENERIC_OPERATION(V, add, +)                                                                               \
    KX_GENERIC_OPERATION(V, sub, -)                                                                               \
    KX_GENERIC_OPERATION(V, mul, *)                                                                               \
    KX_GENERIC_OPERATION(V, div, /)                                                                               \
    static inline V V##_fma(V a, V b, V c) { return V##_add(V##_mul(a, b), c); }                                  \
    static inline V V##_min(V a, V b) { KX_EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; return a; } \
    static inline V V##_max(V a, V b) { KX_EACH_LANE a.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; return a; } \
    static inline V V##_sqrt(V a) { KX_EACH_LANE a.lane[i] = SQRT(a.lane[i]); return a; }                         \
    static inline V V##_abs(V a) { KX_EACH_LANE a.lane[i] = FABS(a.lane[i]); return a; }                          \
    static inline M V##_less(V a, V b) { M m = 0; KX_EACH_LANE m |= (unsigned)(a.lane[i] < b.lane[i]) << i; return m; } \
    static inline V V##_select(M m, V a, V b) { KX_EACH_LANE a.lane[i] = m >> i & 1 ? a.lane[i] : b.lane[i]; return a; } \
    static inline V V##_add_where(M m, V a, V b) { return V##_select(m, V##_add(a, b), a); }                      \
    static inline T V##_sum(V a) { T r = 0; KX_EACH_LANE r += a.lane[i]; return r; }                              \
    static inline void V##_sum4(T *out, V a, V b, V c, V d) {                                                     \
        out[0] = V##_sum(a);                                                                                      \
        out[1] = V##_sum(b);                                                                                      \
        out[2] = V##_sum(c);                                                                                      \
        out[3] = V##_sum(d);                                                                                      \
    }                                                                                                             \
    static inline T V##_reduce_min(V a) {                                                                         \
        T r = a.lane[0];                                                                                          \
        KX_EACH_LANE r = a.lane[i] < r ? a.lane[i] : r;                                                           \
        return r;                                                                                                 \
    }
static inline void kx_stream_end(void) {}
KX_GENERIC_LANES(kx_f64v, double, kx_f64m, sqrt, fabs)
KX_GENERIC_LANES(kx_f32v, float, kx_f32m, sqrtf, fabsf)
static inline unsigned kx_f64m_bits(kx_f64m m) { return m; }
static inline unsigned kx_f32m_bits(kx_f32m m) { return m; }
static inline kx_f64m kx_f64m_from_bits(unsigned bits) { return bits; }
static inline kx_f32m kx_f32m_from_bits(unsigned bits) { return bits; }
static inline kx_f64v kx_f64v_load_f32(const float *p) { kx_f64v r; KX_LANES_OF(r) r.lane[i] = (double)p[i]; return r; }
static inline void kx_f64v_store_f32(float *p, kx_f64v a) { KX_EACH_LANE p[i] = (float)a.lane[i]; }
static inline void kx_f64v_stream_pair_f32(float *p, kx_f64v a, kx_f64v b) {
    kx_f64v_store_f32(p, a);
    kx_f64v_store_f32(p + KX_F64_LANES, b);
}
typedef struct kx_i32v { int32_t lane[4]; } kx_i32v;
static inline kx_i32v kx_i32v_load(const int32_t *p) { kx_i32v r; memcpy(&r, p, sizeof r); return r; }
static inline kx_i32v kx_i32v_set(int32_t a) { kx_i32v r; KX_LANES_OF(r) r.lane[i] = a; return r; }
static inline kx_i32v kx_i32v_add(kx_i32v a, kx_i32v b) {
    KX_EACH_LANE a.lane[i] = (int32_t)((uint32_t)a.lane[i] + (uint32_t)b.lane[i]);
    return a;
}
static inline kx_i32v kx_i32v_sub(kx_i32v a, kx_i32v b) {
    KX_EACH_LANE a.lane[i] = (int32_t)((uint32_t)a.lane[i] - (uint32_t)b.lane[i]);
    return a;
}
static inline kx_i32v kx_i32v_min(kx_i32v a, kx_i32v b) {
    KX_EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline int32_t kx_i32v_reduce_min(kx_i32v a) {
    int32_t r = a.lane[0];
    KX_EACH_LANE r = a.lane[i] < r ? a.lane[i] : r;
    return r;
}
static inline void kx_i32v_put(int32_t *p, int64_t index, int32_t a) { p[index] = a; }
enum { KX_U16_LANES = 8 };
typedef struct kx_u16v { uint16_t lane[8]; } kx_u16v;
static inline kx_u16v kx_u16v_load(const uint16_t *p) { kx_u16v r; memcpy(&r, p, sizeof r); return r; }
static inline void kx_u16v_store(uint16_t *p, kx_u16v a) { memcpy(p, &a, sizeof a); }
static inline kx_u16v kx_u16v_min(kx_u16v a, kx_u16v b) {
    KX_EACH_LANE a.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
    return a;
}
static inline void kx_f64v_store_i32(int32_t *p, kx_f64v a, int shift) { KX_EACH_LANE p[i] = (int32_t)a.lane[i] * (1 << shift); }

/* a b + c; the product of floats is exact in double. */
static inline float kx_fused_f32(float a, float b, float c) { return (float)((double)a * (double)b + (double)c); }
static inline double kx_fused_f64(double a, double b, double c) {
#if defined(FP_FAST_FMA) || defined(__FP_FAST_FMA)
    return fma(a, b, c);
#else
    /* Dekker's exact product and Knuth's exact sum (Handbook of Floating-Point Arithmetic, 4.4); a and b below 2^996 */
    const double splitter = 134217729.0; /* 2^27 + 1 */
    double a_high = splitter * a, b_high = splitter * b;
    a_high -= a_high - a;
    b_high -= b_high - b;
    double a_low = a - a_high, b_low = b - b_high, product = a * b;
    double product_low = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low);
    double sum = product + c, c_part = sum - product;
    double sum_low = (product - (sum - c_part)) + (c - c_part);
    return sum + (sum_low + product_low);
#endif
}
#define KX_GENERIC_ACCURATE(V, T, S)                                                                              \
    static inline V V##_fused(V a, V b, V c) {                                                                    \
        KX_EACH_LANE c.lane[i] = kx_fused_##S(a.lane[i], b.lane[i], c.lane[i]);                                   \
        return c;                                                                                                 \
    }                                                                                                             \
    static inline V V##_residual(V a, V b, V c) {                                                                 \
        KX_EACH_LANE c.lane[i] = kx_fused_##S(-a.lane[i], b.lane[i], c.lane[i]);                                  \
        return c;                                                                                                 \
    }                                                                                                             \
    static inline V V##_reciprocal_estimate(V a) { KX_EACH_LANE a.lane[i] = (T)1 / a.lane[i]; return a; }         \
    static inline V V##_rsqrt_estimate(V a) { return V##_reciprocal_estimate(V##_sqrt(a)); }                      \
    static inline V V##_half(V a) { KX_EACH_LANE a.lane[i] *= (T)0.5; return a; }                                 \
    static inline int V##_all_between(V a, T low, T high) {                                                       \
        int all = 1;                                                                                              \
        KX_EACH_LANE all &= kx_between_##S(a.lane[i], low, high);                                                 \
        return all;                                                                                               \
    }
KX_GENERIC_ACCURATE(kx_f64v, double, f64)
KX_GENERIC_ACCURATE(kx_f32v, float, f32)

/* Rounding and exponents by the bits of 1.5 2^52 + n (float32: 1.5 2^23 + n): rint and ldexp are calls on the baseline. */
#define KX_GENERIC_EXPONENTS(V, T, U, I, S, FABS, COPYSIGN, MAGIC, MANTISSA_BITS, BIAS)                           \
    static inline T kx_power_of_two_##S(T n) {                                                                    \
        U bits;                                                                                                   \
        n += MAGIC + BIAS;                                                                                        \
        memcpy(&bits, &n, sizeof n);                                                                              \
        bits <<= MANTISSA_BITS;                                                                                   \
        memcpy(&n, &bits, sizeof n);                                                                              \
        return n;                                                                                                 \
    }                                                                                                             \
    static inline V V##_mul_or_zero(unsigned m, V a, V b) { /* without a branch: masks are random */              \
        KX_EACH_LANE {                                                                                            \
            T value = a.lane[i];                                                                                  \
            U bits;                                                                                               \
            memcpy(&bits, &value, sizeof bits);                                                                   \
            bits &= (U)0 - (U)(m >> i & 1);                                                                       \
            memcpy(&value, &bits, sizeof bits);                                                                   \
            a.lane[i] = value * b.lane[i];                                                                        \
        }                                                                                                         \
        return a;                                                                                                 \
    }                                                                                                             \
    static inline V V##_round(V a) { KX_EACH_LANE a.lane[i] = (a.lane[i] + MAGIC) - MAGIC; return a; }            \
    static inline V V##_clamp_magnitude(V a, T limit) {                                                           \
        KX_EACH_LANE if (!kx_between_##S(FABS(a.lane[i]), 0, limit) && !isnan(a.lane[i]))                         \
            a.lane[i] = COPYSIGN(limit, a.lane[i]);                                                               \
        return a;                                                                                                 \
    }                                                                                                             \
    static inline V V##_scale(V a, V n) {                                                                         \
        KX_EACH_LANE {                                                                                            \
            T first = (n.lane[i] * (T)0.5 + MAGIC) - MAGIC;                                                       \
            a.lane[i] = a.lane[i] * kx_power_of_two_##S(first) * kx_power_of_two_##S(n.lane[i] - first);          \
        }                                                                                                         \
        return a;                                                                                                 \
    }                                                                                                             \
    static inline V V##_split(V a, V *exponent) {                                                                 \
        KX_EACH_LANE {                                                                                            \
            const T base = (T)0.75;                                                                               \
            T value = a.lane[i];                                                                                  \
            U bits, base_bits;                                                                                    \
            memcpy(&bits, &value, sizeof bits);                                                                   \
            memcpy(&base_bits, &base, sizeof bits);                                                               \
            U above = bits - base_bits, count = above >> MANTISSA_BITS << MANTISSA_BITS;                          \
            bits -= count;                                                                                        \
            memcpy(&value, &bits, sizeof bits);                                                                   \
            a.lane[i] = value;                                                                                    \
            exponent->lane[i] = (T)((I)count / ((I)1 << MANTISSA_BITS));                                          \
        }                                                                                                         \
        return a;                                                                                                 \
    }
KX_GENERIC_EXPONENTS(kx_f64v, double, uint64_t, int64_t, f64, fabs, copysign, 0x1.8p52, 52, 1023)
KX_GENERIC_EXPONENTS(kx_f32v, float, uint32_t, int32_t, f32, fabsf, copysignf, 0x1.8p23f, 23, 127)

#endif

#if !KX_SIMD_AVX512
/* The first `count` lanes, 0 < count < KX_F64_LANES; the others are `fill` and nothing is read or written there. */
static inline kx_f64v kx_f64v_load_part(const double *p, int64_t count, double fill) {
    double lanes[KX_F64_LANES];
    for (int k = 0; k < KX_F64_LANES; k++) memcpy(lanes + k, k < count ? p + k : &fill, sizeof fill); /* p need not be aligned */
    return kx_f64v_load(lanes);
}
static inline kx_f64v kx_f64v_load_part_f32(const float *p, int64_t count, float fill) {
    double lanes[KX_F64_LANES];
    for (int k = 0; k < KX_F64_LANES; k++) lanes[k] = (double)(k < count ? p[k] : fill);
    return kx_f64v_load(lanes);
}
static inline void kx_f64v_store_part(double *p, int64_t count, kx_f64v a) {
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, a);
    memcpy(p, lanes, (size_t)count * sizeof *p);
}
#endif

#if KX_SIMD_AVX512 || KX_SIMD_AVX2
static inline void kx_f64v_sum4(double *out, kx_f64v a, kx_f64v b, kx_f64v c, kx_f64v d) {
    _mm256_storeu_pd(out, kx_f64v_sums(a, b, c, d));
}
/* The same, and numerators / sums: one division, and no wait for the sums to come back from memory. */
static inline void kx_f64v_sum4_divide(double *sums, double *quotients, const double *numerators, kx_f64v a, kx_f64v b, kx_f64v c,
                                       kx_f64v d) {
    const __m256d four = kx_f64v_sums(a, b, c, d);
    _mm256_storeu_pd(sums, four);
    _mm256_storeu_pd(quotients, _mm256_div_pd(_mm256_loadu_pd(numerators), four));
}
/* The sum over the lanes. */
static inline double kx_f64v_sum(kx_f64v a) {
    double sums[4];
    kx_f64v_sum4(sums, a, a, a, a);
    return sums[0];
}
#else
static inline void kx_f64v_sum4_divide(double *sums, double *quotients, const double *numerators, kx_f64v a, kx_f64v b, kx_f64v c,
                                       kx_f64v d) {
    kx_f64v_sum4(sums, a, b, c, d);
    for (int i = 0; i < 4; i++) quotients[i] = numerators[i] / sums[i];
}
#endif

/* Index of the lowest set bit; the argument is not 0. */
static inline int kx_lowest_bit(uint64_t bits) {
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long index;
    _BitScanForward64(&index, bits);
    return (int)index;
#else
    return __builtin_ctzll(bits);
#endif
}

static inline void kx_prefetch(const void *p) {
#if defined(_MSC_VER) && !defined(__clang__)
    (void)p;
#else
    __builtin_prefetch(p);
#endif
}

/* Into the second cache: for what is needed only after more than the first holds has been read */
static inline void kx_prefetch_far(const void *p) {
#if defined(_MSC_VER) && !defined(__clang__)
    (void)p;
#else
    __builtin_prefetch(p, 0, 2);
#endif
}

static inline int kx_count_bits(uint64_t bits) {
#if defined(_MSC_VER) && !defined(__clang__)
    return (int)__popcnt64(bits);
#else
    return __builtin_popcountll(bits);
#endif
}

#endif
