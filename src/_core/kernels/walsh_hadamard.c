/* The Walsh-Hadamard transform of rows.

   The stages commute. A pass does up to RADIX_STAGES of them in registers, on 2^stages vectors; the first takes neighbouring
   vectors and includes the stages between lanes, which are shuffles. A long row is cut into parts, each is done first by
   itself, and a last pass joins them: a row of 2^26 floats goes to memory and back 3 times instead of 26, and all reading of it
   is in order. */
#ifndef KX_REAL
#include "kexue/kx_walsh_hadamard.h"

#include "isa/kernel.h"

#ifndef KX_DISPATCH_PASS
#include <fenv.h>
#include <math.h>
#include <string.h>

#include "isa/hadamard.h"
#include "isa/transpose.h"
#include "kernels/walsh_hadamard_internal.h"

#if KX_SIMD_AVX512
enum { RADIX_STAGES = 4 }; /* 16 of 32 registers */
#else
enum { RADIX_STAGES = 3 };
#endif
enum {
    RADIX = 1 << RADIX_STAGES,
    LANES_COST = 4,        /* of a sample's sum over lanes, in numbers whose lanes are transformed: 0.3 and 0.04 ns */
    LARGE_BYTES = 1 << 19, /* beyond the second cache: fetching ahead, 4096 rows of 4096 floats take 3.8 ms and not 5.9 */
    BUFFERED = 2048        /* numbers of a row that is gathered on the stack: a quarter of the time of passes over strided ones */
};
typedef uint8_t kx_f64m_integer;
typedef uint16_t kx_f32m_integer;

static int is_power_of_two(int64_t n) { return n > 0 && (n & (n - 1)) == 0; }

static int log2_of(int64_t n) {
    int log = 0;
    while ((int64_t)1 << log < n) log++;
    return log;
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_MASK kx_f64m
#define KX_LANES KX_F64_LANES
#define LANE_STAGES KX_F64_LANE_STAGES
#include "walsh_hadamard.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_MASK
#undef KX_LANES
#undef LANE_STAGES

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_MASK kx_f32m
#define KX_LANES KX_F32_LANES
#define LANE_STAGES KX_F32_LANE_STAGES
#include "walsh_hadamard.c"

#else /* the template */

#define PARAMETERS                                                                                          \
    (const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, KX_REAL *out,    \
     ptrdiff_t out_row_stride, ptrdiff_t out_stride)
#define ARGUMENTS (x, rows, n, x_row_stride, x_stride, out, out_row_stride, out_stride)
KX_DISPATCH(KX_TYPED(kx_walsh_hadamard), PARAMETERS, ARGUMENTS)
KX_DISPATCH(KX_TYPED(kx_walsh_hadamard_orthonormal), PARAMETERS, ARGUMENTS)

#ifndef KX_DISPATCH_PASS

/* 2^stages vectors, `stages` a constant: written stage by stage, so that they stay in registers. Where multipliers are a unit of
   their own they make the differences, the same to the bit: 4096 floats in the first cache 0.92 us and not 0.97 (Zen 4). */
static KX_ALWAYS_INLINE void KX_TYPED(butterfly)(KX_VECTOR *v, int i, int distance) {
    const KX_VECTOR a = v[i], b = v[i + distance];
    v[i] = V(add)(a, b);
#if KX_SIMD_AVX2 || KX_SIMD_AVX512
    v[i + distance] = V(fma)(b, V(set)(-1), a);
#else
    v[i + distance] = V(sub)(a, b);
#endif
}
static KX_ALWAYS_INLINE void KX_TYPED(stages)(KX_VECTOR *v, const int stages) {
    if (stages > 0)
        for (int i = 0; i < 1 << stages; i += 2) KX_TYPED(butterfly)(v, i, 1);
    if (stages > 1)
        for (int i = 0; i < 1 << stages; i += 4)
            for (int k = 0; k < 2; k++) KX_TYPED(butterfly)(v, i + k, 2);
    if (stages > 2)
        for (int i = 0; i < 1 << stages; i += 8)
            for (int k = 0; k < 4; k++) KX_TYPED(butterfly)(v, i + k, 4);
    if (stages > 3)
        for (int k = 0; k < 8; k++) KX_TYPED(butterfly)(v, k, 8);
}

/* Of the KX_LANES numbers from j on, a multiple of KX_LANES. Where memory is in the order of the bits a short load saves a
   shift and a mask: 40 of 600 ns. */
static KX_ALWAYS_INLINE unsigned KX_TYPED(sign_bits)(const uint64_t *signs, int64_t j) {
#if KX_SIMD_AVX512
    KX_PASTE(KX_MASK, _integer) bits;
    memcpy(&bits, (const char *)signs + j / 8, sizeof bits);
    return bits;
#else
    return (unsigned)(signs[j / 64] >> (j % 64)) & ((1u << KX_LANES) - 1);
#endif
}

/* The vector at x[j], its entries negated where the signs say so. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load_signed)(const KX_REAL *x, int64_t j, const uint64_t *signs) {
    const KX_VECTOR a = V(load)(x + j);
    if (!signs) return a;
    const unsigned bits = KX_TYPED(sign_bits)(signs, j);
    return V(select)(KX_PASTE(KX_MASK, _from_bits)(bits), V(sub)(V(set)((KX_REAL)0), a), a);
}

/* Into the second cache where the first does not hold a row, its result and what is fetched: rows of 4096 floats sampled 12.5
   ms and not 17.6 with a first cache of 32 kB. */
static KX_ALWAYS_INLINE void KX_TYPED(fetch)(const char *ahead, const int64_t bytes, int is_far) {
    if (is_far)
        for (int64_t k = 0; k < bytes; k += 64) kx_prefetch_far(ahead + k);
    else
        for (int64_t k = 0; k < bytes; k += 64) kx_prefetch(ahead + k);
}

/* `stages` of them on the `count` numbers from j on of 2^stages runs of `length` numbers each. */
static KX_ALWAYS_INLINE void KX_TYPED(part_of_pass)(KX_REAL *x, int64_t j, int64_t count, int64_t length, const int stages,
                                                    KX_VECTOR factor) {
    KX_VECTOR v[RADIX];
    for (int k = 0; k < 1 << stages; k++) v[k] = V(load_part)(x + k * length + j, count, 0);
    KX_TYPED(stages)(v, stages);
    for (int k = 0; k < 1 << stages; k++) V(store_part)(x + k * length + j, count, V(mul)(v[k], factor));
}

/* `stages` of them in place, over 2^stages runs of `length` numbers each. NumPy's arrays mostly start 16 bytes after a line of
   the cache, and a store across lines takes twice the time: the first numbers of the runs, up to a line, go by themselves. 64
   rows of 4096 floats 32 us and not 43. */
static KX_ALWAYS_INLINE void KX_TYPED(pass_of)(KX_REAL *x, int64_t length, const int stages, const int scaled, KX_REAL scale,
                                               const char *ahead, int is_far) {
    const KX_VECTOR factor = V(set)(scale);
    const int64_t part = (int64_t)sizeof factor << stages >> 1; /* the first pass fetches the other half of what lies ahead */
    const uintptr_t beyond = (uintptr_t)x % sizeof factor;
    const int64_t first = beyond % sizeof(KX_REAL) ? 0 : (int64_t)((sizeof factor - beyond) % sizeof factor / sizeof(KX_REAL));
    if (first > 0) KX_TYPED(part_of_pass)(x, 0, first, length, stages, factor);
    int64_t j = first;
    for (; j + KX_LANES <= length; j += KX_LANES) {
        KX_VECTOR v[RADIX];
        if (ahead) {
            KX_TYPED(fetch)(ahead, part, is_far);
            ahead += part;
        }
        for (int k = 0; k < 1 << stages; k++) v[k] = V(load)(x + k * length + j);
        KX_TYPED(stages)(v, stages);
        for (int k = 0; k < 1 << stages; k++) V(store)(x + k * length + j, scaled ? V(mul)(v[k], factor) : v[k]);
    }
    if (j < length) KX_TYPED(part_of_pass)(x, j, length - j, length, stages, factor);
}
/* With a length that the compiler knows the runs' addresses are one and constants: 0.80 us and not 0.92. */
static KX_NEVER_INLINE void KX_TYPED(pass)(KX_REAL *x, int64_t length, int stages, KX_REAL scale, const char *ahead, int is_far) {
    const int64_t usual = RADIX * KX_LANES; /* of the pass after the first */
    const int is_usual = length == usual;
    switch (stages) {
        case 1: KX_TYPED(pass_of)(x, length, 1, 1, scale, ahead, is_far); return;
        case 2: KX_TYPED(pass_of)(x, length, 2, 1, scale, ahead, is_far); return;
        case RADIX_STAGES: break;
        default: KX_TYPED(pass_of)(x, length, 3, 1, scale, ahead, is_far); return;
    }
    if (is_usual && scale != 1) KX_TYPED(pass_of)(x, usual, RADIX_STAGES, 1, scale, ahead, is_far);
    else if (is_usual) KX_TYPED(pass_of)(x, usual, RADIX_STAGES, 0, 1, ahead, is_far);
    else if (scale != 1) KX_TYPED(pass_of)(x, length, RADIX_STAGES, 1, scale, ahead, is_far);
    else KX_TYPED(pass_of)(x, length, RADIX_STAGES, 0, 1, ahead, is_far);
}

/* The stages between lanes, where `lanes` is set, and `stages` more on 2^stages neighbouring vectors; `count` times. */
static KX_ALWAYS_INLINE void KX_TYPED(first_pass_of)(const KX_REAL *x, KX_REAL *out, int64_t count, const int stages,
                                                     const uint64_t *signs, const int lanes, const int scaled, KX_REAL scale,
                                                     const char *ahead, int is_far) {
    const KX_VECTOR factor = V(set)(scale);
    const int64_t part = (int64_t)sizeof factor << stages >> 1;
    for (int64_t j = 0; j < count; j++) {
        KX_VECTOR v[RADIX];
        const int64_t start = j * (KX_LANES << stages);
        if (ahead) KX_TYPED(fetch)(ahead + j * part, part, is_far);
        for (int k = 0; k < 1 << stages; k++) v[k] = KX_TYPED(load_signed)(x, start + k * KX_LANES, signs);
        KX_TYPED(stages)(v, stages);
        for (int k = 0; k < 1 << stages; k++) {
            if (lanes) v[k] = V(hadamard)(v[k], LANE_STAGES);
            V(store)(out + start + k * KX_LANES, scaled ? V(mul)(v[k], factor) : v[k]);
        }
    }
}
static KX_NEVER_INLINE void KX_TYPED(first_pass)(const KX_REAL *x, KX_REAL *out, int64_t count, int stages, const uint64_t *signs,
                                                 int lanes, KX_REAL scale, const char *ahead, int is_far) {
    if (!lanes) { /* of long rows only */
        KX_TYPED(first_pass_of)(x, out, count, RADIX_STAGES, signs, 0, 0, 1, ahead, is_far);
        return;
    }
    switch (stages) {
        case 0: KX_TYPED(first_pass_of)(x, out, count, 0, signs, 1, 1, scale, NULL, 0); return;
        case 1: KX_TYPED(first_pass_of)(x, out, count, 1, signs, 1, 1, scale, NULL, 0); return;
        case 2: KX_TYPED(first_pass_of)(x, out, count, 2, signs, 1, 1, scale, NULL, 0); return;
        case RADIX_STAGES: break;
        default: KX_TYPED(first_pass_of)(x, out, count, 3, signs, 1, 1, scale, NULL, 0); return;
    }
    if (signs || scale != 1) KX_TYPED(first_pass_of)(x, out, count, RADIX_STAGES, signs, 1, 1, scale, ahead, is_far);
    else KX_TYPED(first_pass_of)(x, out, count, RADIX_STAGES, NULL, 1, 0, 1, ahead, is_far);
}

/* Rows shorter than a vector. */
static KX_ALWAYS_INLINE void KX_TYPED(short_row)(const KX_REAL *x, KX_REAL *out, int64_t n, const uint64_t *signs,
                                                 KX_REAL scale) {
    KX_REAL numbers[KX_LANES];
    memcpy(numbers, x, (size_t)n * sizeof *x);
    for (int64_t j = 0; j < n; j++) numbers[j] = signs && signs[0] >> j & 1 ? -numbers[j] : numbers[j];
    for (int64_t distance = 1; distance < n; distance *= 2) {
        for (int64_t i = 0; i < n; i++) {
            if (i & distance) continue;
            const KX_REAL a = numbers[i], b = numbers[i + distance];
            numbers[i] = a + b;
            numbers[i + distance] = a - b;
        }
    }
    for (int64_t j = 0; j < n; j++) numbers[j] *= scale;
    memcpy(out, numbers, (size_t)n * sizeof *x);
}

static void KX_TYPED(row)(const KX_REAL *x, KX_REAL *out, int64_t n, const uint64_t *signs, int lanes, KX_REAL scale,
                          const KX_REAL *ahead) {
    const int vector_stages = log2_of(n / KX_LANES);
    if (vector_stages <= RADIX_STAGES) {
        KX_TYPED(first_pass)(x, out, 1, vector_stages, signs, lanes, scale, NULL, 0);
        return;
    }
    /* As even as the passes can be: 5 stages are 3 and 2. */
    const int above = vector_stages - RADIX_STAGES, passes = (above + RADIX_STAGES - 1) / RADIX_STAGES;
    const int stages = (above + passes - 1) / passes;
    const int64_t length = n >> stages;
    const int is_far = ahead && 3 * n * (int64_t)sizeof *x > kx_first_cache_bytes();
    if (passes == 1) {
        KX_TYPED(first_pass)(x, out, (int64_t)1 << stages, RADIX_STAGES, signs, lanes, 1, (const char *)ahead, is_far);
        KX_TYPED(pass)(out, length, stages, scale, ahead ? (const char *)(ahead + n / 2) : NULL, is_far);
        return;
    }
    for (int64_t k = 0; k < n; k += length)
        KX_TYPED(row)(x + k, out + k, length, signs ? signs + k / 64 : NULL, lanes, 1, ahead ? ahead + k : NULL);
    KX_TYPED(pass)(out, length, stages, scale, NULL, 0);
}

void KX_KERNEL(KX_TYPED(kx_walsh_hadamard_row))(const KX_REAL *x, KX_REAL *out, int64_t n, const uint64_t *signs, KX_REAL scale,
                                               const KX_REAL *ahead) {
    if (n < KX_LANES) KX_TYPED(short_row)(x, out, n, signs, scale);
    else KX_TYPED(row)(x, out, n, signs, 1, scale, ahead);
}

/* The stages between lanes are those of the samples alone: a sample is the sum of its vector's lanes with the signs of a row of
   H. */
void KX_KERNEL(KX_TYPED(kx_walsh_hadamard_samples))(const KX_REAL *x, KX_REAL *buffer, int64_t n, const uint64_t *signs,
                                                    const int64_t *samples, int64_t count, KX_REAL scale, KX_REAL *out,
                                                    const KX_REAL *ahead) {
    int64_t c = 0;
    if (n > KX_LANES << RADIX_STAGES && count <= n / LANES_COST) {
        KX_REAL rows_of_h[KX_LANES * KX_LANES];
        for (int i = 0; i < KX_LANES; i++)
            for (int k = 0; k < KX_LANES; k++)
                rows_of_h[i * KX_LANES + k] = kx_count_bits((uint64_t)(i & k)) & 1 ? -scale : scale;
        KX_TYPED(row)(x, buffer, n, signs, 0, 1, ahead);
        for (; c + KX_LANES <= count; c += KX_LANES) {
            KX_VECTOR v[KX_LANES];
            for (int i = 0; i < KX_LANES; i++) {
                const int64_t sample = samples[c + i], lane = sample % KX_LANES;
                v[i] = V(mul)(V(load)(buffer + (sample - lane)), V(load)(rows_of_h + lane * KX_LANES));
            }
            V(store)(out + c, V(lane_sums)(v));
        }
        for (; c < count; c++) {
            const int64_t lane = samples[c] % KX_LANES;
            KX_REAL sum = 0;
            for (int k = 0; k < KX_LANES; k++) sum += buffer[samples[c] - lane + k] * rows_of_h[lane * KX_LANES + k];
            out[c] = sum;
        }
        return;
    }
    if (n < KX_LANES) KX_TYPED(short_row)(x, buffer, n, signs, 1);
    else KX_TYPED(row)(x, buffer, n, signs, 1, 1, ahead);
    for (; c < count; c++) out[c] = buffer[samples[c]] * scale;
}

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(read)(const char *p) {
    KX_REAL a;
    memcpy(&a, p, sizeof a);
    return a;
}

/* The bit of the index that a row's stage is about. A row in vectors takes them in this order, and the other layouts follow it,
   so that their sums are rounded alike. */
static int KX_TYPED(bit_of)(int stage, int all) {
    const int above = all < LANE_STAGES ? 0 : all - LANE_STAGES, first = above < RADIX_STAGES ? above : RADIX_STAGES;
    if (all < LANE_STAGES || stage >= first + LANE_STAGES) return stage;
    return stage < first ? stage + LANE_STAGES : stage - first;
}

/* In place, the numbers `stride` bytes apart. */
static void KX_TYPED(strided_row)(char *out, int64_t n, ptrdiff_t stride, KX_REAL scale) {
    const int all = log2_of(n);
    for (int stage = 0; stage < all; stage++) {
        const int64_t distance = (int64_t)1 << KX_TYPED(bit_of)(stage, all);
        for (int64_t i = 0; i < n; i = ((i | distance) + 1) & ~distance) {
            char *low = out + i * stride, *high = low + distance * stride;
            const KX_REAL a = KX_TYPED(read)(low), b = KX_TYPED(read)(high), sum = a + b, difference = a - b;
            memcpy(low, &sum, sizeof a);
            memcpy(high, &difference, sizeof a);
        }
    }
    for (int64_t i = 0; i < n; i++) {
        const KX_REAL a = KX_TYPED(read)(out + i * stride) * scale;
        memcpy(out + i * stride, &a, sizeof a);
    }
}

/* KX_LANES neighbouring rows, a row in each lane: no stage is between lanes. `places` are those of a group's numbers. */
static KX_ALWAYS_INLINE void KX_TYPED(lanes_pass)(const char *x, ptrdiff_t x_stride, char *out, ptrdiff_t out_stride, int64_t n,
                                                  const int64_t *places, const int stages, KX_REAL scale) {
    const KX_VECTOR factor = V(set)(scale);
    const int64_t last = places[(1 << stages) - 1];
    for (int64_t j = 0; j < n; j = ((j | last) + 1) & ~last) {
        KX_VECTOR v[RADIX];
        for (int k = 0; k < 1 << stages; k++) v[k] = V(load)((const KX_REAL *)(x + (j + places[k]) * x_stride));
        KX_TYPED(stages)(v, stages);
        for (int k = 0; k < 1 << stages; k++) V(store)((KX_REAL *)(out + (j + places[k]) * out_stride), V(mul)(v[k], factor));
    }
}
static void KX_TYPED(lanes)(const char *x, ptrdiff_t x_stride, char *out, ptrdiff_t out_stride, int64_t n, KX_REAL scale) {
    const int all = log2_of(n);
    int done = 0;
    do {
        const int stages = all - done < RADIX_STAGES ? all - done : RADIX_STAGES;
        int64_t places[RADIX] = {0};
        for (int stage = 0; stage < stages; stage++)
            for (int k = 0; k < 1 << stage; k++)
                places[k + (1 << stage)] = places[k] | (int64_t)1 << KX_TYPED(bit_of)(done + stage, all);
        done += stages;
        const KX_REAL factor = done < all ? (KX_REAL)1 : scale;
        switch (stages) {
            case 0: KX_TYPED(lanes_pass)(x, x_stride, out, out_stride, n, places, 0, factor); break;
            case 1: KX_TYPED(lanes_pass)(x, x_stride, out, out_stride, n, places, 1, factor); break;
            case 2: KX_TYPED(lanes_pass)(x, x_stride, out, out_stride, n, places, 2, factor); break;
            case RADIX_STAGES: KX_TYPED(lanes_pass)(x, x_stride, out, out_stride, n, places, RADIX_STAGES, factor); break;
            default: KX_TYPED(lanes_pass)(x, x_stride, out, out_stride, n, places, 3, factor); break;
        }
        x = out;
        x_stride = out_stride;
    } while (done < all);
}

static kx_status_t KX_TYPED(rows)(const KX_REAL *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                  KX_REAL *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride, int orthonormal) {
    const ptrdiff_t item = sizeof(KX_REAL);
    const char *from = (const char *)x;
    char *to = (char *)out;
    if (!is_power_of_two(n)) {
        const KX_REAL nothing = (KX_REAL)NAN;
        for (int64_t i = 0; i < rows; i++)
            for (int64_t j = 0; j < n; j++) memcpy(to + i * out_row_stride + j * out_stride, &nothing, sizeof nothing);
        feraiseexcept(FE_INVALID);
        return KX_E_ARGUMENT;
    }
    const KX_REAL scale = orthonormal ? (KX_REAL)(1 / sqrt((double)n)) : (KX_REAL)1;
    const int is_large = (double)rows * (double)n * (double)item > LARGE_BYTES;
    int64_t i = 0;
    if (x_row_stride == item && out_row_stride == item && (x_stride != item || out_stride != item))
        for (; i + KX_LANES <= rows; i += KX_LANES)
            KX_TYPED(lanes)(from + i * item, x_stride, to + i * item, out_stride, n, scale);
    for (; i < rows; i++) {
        const char *row = from + i * x_row_stride;
        char *result = to + i * out_row_stride;
        if (x_stride == item && out_stride == item) {
            const KX_REAL *ahead = is_large && i + 1 < rows ? (const KX_REAL *)(row + x_row_stride) : NULL;
            KX_KERNEL(KX_TYPED(kx_walsh_hadamard_row))((const KX_REAL *)row, (KX_REAL *)result, n, NULL, scale, ahead);
            continue;
        }
        if (n <= BUFFERED && out_stride != item) {
            KX_REAL buffer[BUFFERED];
            for (int64_t j = 0; j < n; j++) buffer[j] = KX_TYPED(read)(row + j * x_stride);
            KX_KERNEL(KX_TYPED(kx_walsh_hadamard_row))(buffer, buffer, n, NULL, scale, NULL);
            for (int64_t j = 0; j < n; j++) memcpy(result + j * out_stride, buffer + j, sizeof(KX_REAL));
            continue;
        }
        for (int64_t j = 0; j < n; j++) memmove(result + j * out_stride, row + j * x_stride, sizeof(KX_REAL));
        if (out_stride == item)
            KX_KERNEL(KX_TYPED(kx_walsh_hadamard_row))((KX_REAL *)result, (KX_REAL *)result, n, NULL, scale, NULL);
        else
            KX_TYPED(strided_row)(result, n, out_stride, scale);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_walsh_hadamard)) PARAMETERS {
    return KX_TYPED(rows)(x, rows, n, x_row_stride, x_stride, out, out_row_stride, out_stride, 0);
}
kx_status_t KX_KERNEL(KX_TYPED(kx_walsh_hadamard_orthonormal)) PARAMETERS {
    return KX_TYPED(rows)(x, rows, n, x_row_stride, x_stride, out, out_row_stride, out_stride, 1);
}

#endif
#undef PARAMETERS
#undef ARGUMENTS
#endif
