/* Squares of short vectors, transposed in registers; and the first `count` lanes of a float vector, 0 < count < KX_F32_LANES, the others
   being `fill`: nothing is read or written there. */
#ifndef KX_TRANSPOSE_H
#define KX_TRANSPOSE_H

#include "isa/simd.h"

#if KX_SIMD_AVX512

static inline void kx_f64v_transpose(kx_f64v *v) {
    kx_f64v even[4], odd[4];
    for (int i = 0; i < 4; i++) {
        even[i] = _mm512_unpacklo_pd(v[2 * i], v[2 * i + 1]);
        odd[i] = _mm512_unpackhi_pd(v[2 * i], v[2 * i + 1]);
    }
    for (int k = 0; k < 2; k++) {
        const kx_f64v *pairs = k ? odd : even;
        const kx_f64v a = _mm512_shuffle_f64x2(pairs[0], pairs[1], 0x88), b = _mm512_shuffle_f64x2(pairs[2], pairs[3], 0x88);
        const kx_f64v c = _mm512_shuffle_f64x2(pairs[0], pairs[1], 0xdd), d = _mm512_shuffle_f64x2(pairs[2], pairs[3], 0xdd);
        v[k] = _mm512_shuffle_f64x2(a, b, 0x88);
        v[k + 2] = _mm512_shuffle_f64x2(c, d, 0x88);
        v[k + 4] = _mm512_shuffle_f64x2(a, b, 0xdd);
        v[k + 6] = _mm512_shuffle_f64x2(c, d, 0xdd);
    }
}
static inline void kx_f32v_transpose(kx_f32v *v) {
    kx_f32v quads[4][4]; /* [column mod 4][row div 4] */
    for (int i = 0; i < 4; i++) {
        const __m512d t0 = _mm512_castps_pd(_mm512_unpacklo_ps(v[4 * i], v[4 * i + 1]));
        const __m512d t1 = _mm512_castps_pd(_mm512_unpackhi_ps(v[4 * i], v[4 * i + 1]));
        const __m512d t2 = _mm512_castps_pd(_mm512_unpacklo_ps(v[4 * i + 2], v[4 * i + 3]));
        const __m512d t3 = _mm512_castps_pd(_mm512_unpackhi_ps(v[4 * i + 2], v[4 * i + 3]));
        quads[0][i] = _mm512_castpd_ps(_mm512_unpacklo_pd(t0, t2));
        quads[1][i] = _mm512_castpd_ps(_mm512_unpackhi_pd(t0, t2));
        quads[2][i] = _mm512_castpd_ps(_mm512_unpacklo_pd(t1, t3));
        quads[3][i] = _mm512_castpd_ps(_mm512_unpackhi_pd(t1, t3));
    }
    for (int k = 0; k < 4; k++) {
        const kx_f32v a = _mm512_shuffle_f32x4(quads[k][0], quads[k][1], 0x88);
        const kx_f32v b = _mm512_shuffle_f32x4(quads[k][2], quads[k][3], 0x88);
        const kx_f32v c = _mm512_shuffle_f32x4(quads[k][0], quads[k][1], 0xdd);
        const kx_f32v d = _mm512_shuffle_f32x4(quads[k][2], quads[k][3], 0xdd);
        v[k] = _mm512_shuffle_f32x4(a, b, 0x88);
        v[k + 4] = _mm512_shuffle_f32x4(c, d, 0x88);
        v[k + 8] = _mm512_shuffle_f32x4(a, b, 0xdd);
        v[k + 12] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
}
static inline kx_f32v kx_f32v_load_part(const float *p, int64_t count, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), (__mmask16)((1u << count) - 1), p);
}
static inline void kx_f32v_store_part(float *p, int64_t count, kx_f32v a) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), a);
}

#else

#if KX_SIMD_AVX2
static inline void kx_f64v_transpose(kx_f64v *v) {
    const kx_f64v a = _mm256_unpacklo_pd(v[0], v[1]), b = _mm256_unpackhi_pd(v[0], v[1]);
    const kx_f64v c = _mm256_unpacklo_pd(v[2], v[3]), d = _mm256_unpackhi_pd(v[2], v[3]);
    v[0] = _mm256_permute2f128_pd(a, c, 0x20);
    v[1] = _mm256_permute2f128_pd(b, d, 0x20);
    v[2] = _mm256_permute2f128_pd(a, c, 0x31);
    v[3] = _mm256_permute2f128_pd(b, d, 0x31);
}
static inline void kx_f32v_transpose(kx_f32v *v) {
    kx_f32v quads[4][2];
    for (int i = 0; i < 2; i++) {
        const __m256d t0 = _mm256_castps_pd(_mm256_unpacklo_ps(v[4 * i], v[4 * i + 1]));
        const __m256d t1 = _mm256_castps_pd(_mm256_unpackhi_ps(v[4 * i], v[4 * i + 1]));
        const __m256d t2 = _mm256_castps_pd(_mm256_unpacklo_ps(v[4 * i + 2], v[4 * i + 3]));
        const __m256d t3 = _mm256_castps_pd(_mm256_unpackhi_ps(v[4 * i + 2], v[4 * i + 3]));
        quads[0][i] = _mm256_castpd_ps(_mm256_unpacklo_pd(t0, t2));
        quads[1][i] = _mm256_castpd_ps(_mm256_unpackhi_pd(t0, t2));
        quads[2][i] = _mm256_castpd_ps(_mm256_unpacklo_pd(t1, t3));
        quads[3][i] = _mm256_castpd_ps(_mm256_unpackhi_pd(t1, t3));
    }
    for (int k = 0; k < 4; k++) {
        v[k] = _mm256_permute2f128_ps(quads[k][0], quads[k][1], 0x20);
        v[k + 4] = _mm256_permute2f128_ps(quads[k][0], quads[k][1], 0x31);
    }
}
#else
#define KX_TRANSPOSE_BY_COPY(V, T, LANES)                                                 \
    static inline void V##_transpose(V *v) {                                              \
        T from[LANES][LANES], to[LANES][LANES];                                           \
        for (int i = 0; i < LANES; i++) V##_store(from[i], v[i]);                         \
        for (int i = 0; i < LANES; i++)                                                   \
            for (int k = 0; k < LANES; k++) to[k][i] = from[i][k];                        \
        for (int i = 0; i < LANES; i++) v[i] = V##_load(to[i]);                           \
    }
KX_TRANSPOSE_BY_COPY(kx_f64v, double, KX_F64_LANES)
KX_TRANSPOSE_BY_COPY(kx_f32v, float, KX_F32_LANES)
#endif

static inline kx_f32v kx_f32v_load_part(const float *p, int64_t count, float fill) {
    float lanes[KX_F32_LANES];
    for (int k = 0; k < KX_F32_LANES; k++) memcpy(lanes + k, k < count ? p + k : &fill, sizeof fill); /* p need not be aligned */
    return kx_f32v_load(lanes);
}
static inline void kx_f32v_store_part(float *p, int64_t count, kx_f32v a) {
    float lanes[KX_F32_LANES];
    kx_f32v_store(lanes, a);
    memcpy(p, lanes, (size_t)count * sizeof *p);
}
#endif

#endif
