/* The Walsh-Hadamard transform of the lanes of a vector, in natural order: its first `stages` stages, in which lane i meets
   lane i ^ 2^stage.

   A stage is a permutation p and p + x * (1, or -1 where the stage's bit of the lane is set), which is rounded once. And
   lane_sums: the sum of the lanes of each of as many vectors as there are lanes, with half the shuffles of a transposition. */
#ifndef KX_HADAMARD_H
#define KX_HADAMARD_H

#include "isa/kernel.h"
#include "isa/simd.h"

#if KX_SIMD_AVX512

enum { KX_F32_LANE_STAGES = 4, KX_F64_LANE_STAGES = 3 };

static KX_ALWAYS_INLINE kx_f32v kx_f32v_hadamard(kx_f32v a, const int stages) {
    const kx_f32v sign0 = _mm512_setr_ps(1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1);
    const kx_f32v sign1 = _mm512_setr_ps(1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1);
    const kx_f32v sign2 = _mm512_setr_ps(1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1);
    const kx_f32v sign3 = _mm512_setr_ps(1, 1, 1, 1, 1, 1, 1, 1, -1, -1, -1, -1, -1, -1, -1, -1);
    if (stages > 0) a = _mm512_fmadd_ps(a, sign0, _mm512_permute_ps(a, 0xb1));
    if (stages > 1) a = _mm512_fmadd_ps(a, sign1, _mm512_permute_ps(a, 0x4e));
    if (stages > 2) a = _mm512_fmadd_ps(a, sign2, _mm512_shuffle_f32x4(a, a, 0xb1));
    if (stages > 3) a = _mm512_fmadd_ps(a, sign3, _mm512_shuffle_f32x4(a, a, 0x4e));
    return a;
}
static KX_ALWAYS_INLINE kx_f64v kx_f64v_hadamard(kx_f64v a, const int stages) {
    const kx_f64v sign0 = _mm512_setr_pd(1, -1, 1, -1, 1, -1, 1, -1), sign1 = _mm512_setr_pd(1, 1, -1, -1, 1, 1, -1, -1);
    const kx_f64v sign2 = _mm512_setr_pd(1, 1, 1, 1, -1, -1, -1, -1);
    if (stages > 0) a = _mm512_fmadd_pd(a, sign0, _mm512_permute_pd(a, 0x55));
    if (stages > 1) a = _mm512_fmadd_pd(a, sign1, _mm512_shuffle_f64x2(a, a, 0xb1));
    if (stages > 2) a = _mm512_fmadd_pd(a, sign2, _mm512_shuffle_f64x2(a, a, 0x4e));
    return a;
}
static KX_ALWAYS_INLINE kx_f32v kx_f32v_lane_sums(const kx_f32v *v) {
    kx_f32v pairs[8], quads[4], halves[2];
    for (int i = 0; i < 8; i++)
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 4; i++)
        quads[i] = _mm512_add_ps(_mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                                 _mm512_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
    for (int i = 0; i < 2; i++)
        halves[i] = _mm512_add_ps(_mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88),
                                  _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
    return _mm512_add_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88), _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}
static KX_ALWAYS_INLINE kx_f64v kx_f64v_lane_sums(const kx_f64v *v) {
    kx_f64v pairs[4], halves[2];
    for (int i = 0; i < 4; i++)
        pairs[i] = _mm512_add_pd(_mm512_unpacklo_pd(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_pd(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        halves[i] = _mm512_add_pd(_mm512_shuffle_f64x2(pairs[2 * i], pairs[2 * i + 1], 0x88),
                                  _mm512_shuffle_f64x2(pairs[2 * i], pairs[2 * i + 1], 0xdd));
    return _mm512_add_pd(_mm512_shuffle_f64x2(halves[0], halves[1], 0x88), _mm512_shuffle_f64x2(halves[0], halves[1], 0xdd));
}

#elif KX_SIMD_AVX2

enum { KX_F32_LANE_STAGES = 3, KX_F64_LANE_STAGES = 2 };

static KX_ALWAYS_INLINE kx_f32v kx_f32v_hadamard(kx_f32v a, const int stages) {
    const kx_f32v sign0 = _mm256_setr_ps(1, -1, 1, -1, 1, -1, 1, -1), sign1 = _mm256_setr_ps(1, 1, -1, -1, 1, 1, -1, -1);
    const kx_f32v sign2 = _mm256_setr_ps(1, 1, 1, 1, -1, -1, -1, -1);
    if (stages > 0) a = _mm256_fmadd_ps(a, sign0, _mm256_permute_ps(a, 0xb1));
    if (stages > 1) a = _mm256_fmadd_ps(a, sign1, _mm256_permute_ps(a, 0x4e));
    if (stages > 2) a = _mm256_fmadd_ps(a, sign2, _mm256_permute2f128_ps(a, a, 1));
    return a;
}
static KX_ALWAYS_INLINE kx_f64v kx_f64v_hadamard(kx_f64v a, const int stages) {
    const kx_f64v sign0 = _mm256_setr_pd(1, -1, 1, -1), sign1 = _mm256_setr_pd(1, 1, -1, -1);
    if (stages > 0) a = _mm256_fmadd_pd(a, sign0, _mm256_permute_pd(a, 5));
    if (stages > 1) a = _mm256_fmadd_pd(a, sign1, _mm256_permute2f128_pd(a, a, 1));
    return a;
}
static KX_ALWAYS_INLINE kx_f32v kx_f32v_lane_sums(const kx_f32v *v) {
    kx_f32v pairs[4], quads[2];
    for (int i = 0; i < 4; i++)
        pairs[i] = _mm256_add_ps(_mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    for (int i = 0; i < 2; i++)
        quads[i] = _mm256_add_ps(_mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0x44),
                                 _mm256_shuffle_ps(pairs[2 * i], pairs[2 * i + 1], 0xee));
    return _mm256_add_ps(_mm256_permute2f128_ps(quads[0], quads[1], 0x20), _mm256_permute2f128_ps(quads[0], quads[1], 0x31));
}
static KX_ALWAYS_INLINE kx_f64v kx_f64v_lane_sums(const kx_f64v *v) {
    const kx_f64v low = _mm256_add_pd(_mm256_unpacklo_pd(v[0], v[1]), _mm256_unpackhi_pd(v[0], v[1]));
    const kx_f64v high = _mm256_add_pd(_mm256_unpacklo_pd(v[2], v[3]), _mm256_unpackhi_pd(v[2], v[3]));
    return _mm256_add_pd(_mm256_permute2f128_pd(low, high, 0x20), _mm256_permute2f128_pd(low, high, 0x31));
}

#else

enum { KX_F32_LANE_STAGES = 2, KX_F64_LANE_STAGES = 1 };

#define KX_GENERIC_HADAMARD(V)                                                                          \
    static KX_ALWAYS_INLINE V V##_hadamard(V a, const int stages) {                                     \
        for (int stage = 0; stage < stages; stage++) {                                                  \
            const V b = a;                                                                              \
            KX_EACH_LANE {                                                                              \
                const int bit = 1 << stage;                                                             \
                a.lane[i] = i & bit ? b.lane[i ^ bit] - b.lane[i] : b.lane[i] + b.lane[i ^ bit];        \
            }                                                                                           \
        }                                                                                               \
        return a;                                                                                       \
    }                                                                                                   \
    static KX_ALWAYS_INLINE V V##_lane_sums(const V *v) {                                               \
        V a = v[0];                                                                                     \
        KX_EACH_LANE {                                                                                  \
            a.lane[i] = 0;                                                                              \
            for (int k = 0; k < (int)(sizeof a.lane / sizeof a.lane[0]); k++) a.lane[i] += v[i].lane[k]; \
        }                                                                                               \
        return a;                                                                                       \
    }
KX_GENERIC_HADAMARD(kx_f32v)
KX_GENERIC_HADAMARD(kx_f64v)

#endif
#endif
