/* Layer and RMS normalisation of rows, and their gradients.

   A row is read twice, the second time from the first cache: sums of its distances from a guess of the mean, then the result,
   which is shifted by what the guess was off. So digits are lost to no mean, however large beside the deviation. Where the
   guess was bad, the sums are taken once more, from the mean that they told.

   Contiguous rows of float32 are read in float32, and only sums of 512 entries in float64. Rows for which that will not do, a few
   in a million, and strided rows take the form for any row, in float64.

   Beside that the memory counts: the next rows are prefetched, those that are written too, and few rows are at work at once.
   The gradients of 8192 x 768 float32 numbers, which first worked on four rows in one loop, to read and write the sums of
   dgamma and dbeta less often, took 5.6 ms (Zen 5, one thread); row by row 3.1, with prefetching 2.5. A first cache of 32 kB has
   no room for nine rows of 3 kB: there, the next ones are fetched into the second (Zen 4: 3.2 ms and not 4.4; 7.6 and not 10.4 in
   float64), and not at all for normalisation in float64 (3.2 and not 4.8). */
#ifndef KX_REAL
#include "kexue/kx_layer_norm.h"

#include "isa/kernel.h"

#define KX_LAYER_PARAMETERS                                                                                            \
    (const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta, int64_t rows, int64_t n, \
     double eps, const kx_norm_vectors_t *out)
#define KX_LAYER_ARGUMENTS (x, gamma, beta, rows, n, eps, out)
#define KX_RMS_PARAMETERS                                                                                              \
    (const kx_norm_vectors_t *x, const kx_norm_vectors_t *gamma, int64_t rows, int64_t n, double eps,                  \
     const kx_norm_vectors_t *out)
#define KX_RMS_ARGUMENTS (x, gamma, rows, n, eps, out)
#define KX_LAYER_VJP_PARAMETERS(real)                                                                                  \
    (const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma, \
     int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, real *dgamma, real *dbeta)
#define KX_LAYER_VJP_ARGUMENTS (ctx, x, upstream, gamma, rows, n, eps, dx, dgamma, dbeta)
#define KX_RMS_VJP_PARAMETERS(real)                                                                                    \
    (const kx_ctx_t *ctx, const kx_norm_vectors_t *x, const kx_norm_vectors_t *upstream, const kx_norm_vectors_t *gamma, \
     int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *dx, real *dgamma)
#define KX_RMS_VJP_ARGUMENTS (ctx, x, upstream, gamma, rows, n, eps, dx, dgamma)
KX_DISPATCH(kx_layer_norm_f32, KX_LAYER_PARAMETERS, KX_LAYER_ARGUMENTS)
KX_DISPATCH(kx_layer_norm_f64, KX_LAYER_PARAMETERS, KX_LAYER_ARGUMENTS)
KX_DISPATCH(kx_rms_norm_f32, KX_RMS_PARAMETERS, KX_RMS_ARGUMENTS)
KX_DISPATCH(kx_rms_norm_f64, KX_RMS_PARAMETERS, KX_RMS_ARGUMENTS)
KX_DISPATCH(kx_layer_norm_vjp_f32, KX_LAYER_VJP_PARAMETERS(float), KX_LAYER_VJP_ARGUMENTS)
KX_DISPATCH(kx_layer_norm_vjp_f64, KX_LAYER_VJP_PARAMETERS(double), KX_LAYER_VJP_ARGUMENTS)
KX_DISPATCH(kx_rms_norm_vjp_f32, KX_RMS_VJP_PARAMETERS(float), KX_RMS_VJP_ARGUMENTS)
KX_DISPATCH(kx_rms_norm_vjp_f64, KX_RMS_VJP_PARAMETERS(double), KX_RMS_VJP_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/simd.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/memory.h"

enum {
    BLOCK = 512,      /* entries whose sums are added plainly, in 16 lanes or more */
    SUMMED = 32,      /* rows whose terms of dgamma and dbeta are added plainly */
    MOST_CHUNKS = 64, /* of a batch, each of which has sums of its own */
};

/* Of the mean square distance from the guessed mean, the part at most that may be due to the guess. */
static const double FARTHEST = 0.75;

typedef struct kx_norm_row {
    char *data; /* NULL: none */
    ptrdiff_t step;
} kx_norm_row_t;

/* The normalised row is h = (scale x - mean) inverse + shift; `scale` is a power of two, and 1 for all but extreme rows. With the
   means of the upstream gradient d and of d h. */
typedef struct kx_norm_fit {
    double scale, mean, inverse, shift, d_mean, dh_mean;
    int is_plain; /* contiguous, and not scaled */
} kx_norm_fit_t;

/* Sums over a row, with c = scale x - mean - centre. */
typedef struct kx_norm_sums {
    double c, cc, d, dc;
} kx_norm_sums_t;

static inline kx_norm_row_t row_of(const kx_norm_vectors_t *rows, int64_t r) {
    if (!rows) return (kx_norm_row_t){NULL, 0};
    return (kx_norm_row_t){(char *)rows->data + r * rows->row, rows->step};
}

/* Whether squares that sum to this have lost nothing to the ends of the format's range, or so little that eps hides it. */
static inline int are_squares_ordinary_f64(double sum, double eps) {
    return sum < 0x1p900 && (sum > 0x1p-900 || eps > 0x1p-1000);
}
static inline int are_squares_ordinary_f32(double sum, double eps) {
    return sum < 0x1p100 && (sum > 0x1p-80 || eps > 0x1p-100);
}

/* The scale at which the largest entry is next to 1, as far as its inverse is finite too. */
static double scale_of(double largest) {
    int exponent;
    frexp(largest, &exponent);
    return ldexp(1, exponent < -1000 ? 1000 : exponent > 1000 ? -1000 : -exponent);
}

static void undefined(kx_norm_fit_t *fit) {
    fit->scale = 1;
    fit->mean = 0;
    fit->inverse = fit->shift = fit->d_mean = fit->dh_mean = (double)NAN;
}

/* What four sums come to. */
static inline void finish_sums(const kx_lane_sum_t *sums, double *totals) {
    double lost[4];
    kx_f64v_sum4(totals, sums[0].total, sums[1].total, sums[2].total, sums[3].total);
    kx_f64v_sum4(lost, sums[0].lost, sums[1].lost, sums[2].lost, sums[3].lost);
    for (int i = 0; i < 4; i++) totals[i] += fabs(lost[i]) < (double)INFINITY ? lost[i] : 0; /* beside an infinity it is NaN */
}

/* Completes a fit from sums of n entries; the invalid flag where that is 0 / 0. */
static int fit_sums(kx_norm_fit_t *fit, const kx_norm_sums_t *sums, double centre, double n, double eps) {
    const double offset = sums->c / n, variance = sums->cc / n - offset * offset;
    const double deviation = sqrt((variance > 0 ? variance : 0) + eps * fit->scale * fit->scale);
    if (!(deviation > 0)) {
        undefined(fit);
        return FE_INVALID;
    }
    fit->inverse = 1 / deviation;
    fit->shift = -(centre + offset) * fit->inverse;
    fit->d_mean = sums->d / n;
    fit->dh_mean = (sums->dc - offset * sums->d) * fit->inverse / n;
    return 0;
}

typedef struct kx_norm_job {
    const kx_norm_vectors_t *x, *upstream, *gamma, *dx;
    int64_t rows, n, padded, grain;
    double eps;
    int is_far;     /* the next rows have no place in the first cache */
    double *chunks; /* for each chunk dgamma and dbeta, then what their additions lost; NULL: not asked for */
    double *blocks; /* for each worker dgamma and dbeta of a block of rows */
} kx_norm_job_t;

static int64_t grain_of(int64_t rows) {
    const int64_t share = rows / MOST_CHUNKS + (rows % MOST_CHUNKS != 0);
    return share < 128 ? 128 : kx_round_up(share, SUMMED);
}
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_IS_DOUBLE 1
#include "layer_norm.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_IS_DOUBLE

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_IS_DOUBLE 0
#include "layer_norm.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#if KX_IS_DOUBLE
#define KX_LANES KX_F64_LANES
#define KX_VECTOR kx_f64v
#define KX_V(name) kx_f64v_##name
#define KX_LOAD_WIDE kx_f64v_load
#define KX_STORE_WIDE kx_f64v_store
#define KX_NEAR 0x1p-40 /* deviations of this size beside the mean are next to none */
#else
#define KX_LANES KX_F32_LANES
#define KX_VECTOR kx_f32v
#define KX_V(name) kx_f32v_##name
#define KX_LOAD_WIDE kx_f64v_load_f32
#define KX_STORE_WIDE kx_f64v_store_f32
#define KX_NEAR 0x1p-14
#endif

static inline int KX_TYPED(is_contiguous)(const kx_norm_row_t *row) {
    return !row->data || row->step == (ptrdiff_t)sizeof(KX_REAL);
}

typedef struct KX_TYPED(operands) {
    kx_norm_row_t x, upstream, gamma;
    const char *x_ahead, *upstream_ahead, *out_ahead; /* rows that are due soon */
    int is_far;                                       /* what is ahead goes to the second cache */
} KX_TYPED(operands);

static KX_ALWAYS_INLINE void KX_TYPED(prefetch)(const KX_TYPED(operands) * row, const char *ahead, int64_t k) {
    if (row->is_far) kx_prefetch_far(ahead + k * (int64_t)sizeof(KX_REAL));
    else kx_prefetch(ahead + k * (int64_t)sizeof(KX_REAL));
}

/* ---- contiguous rows ---- */

/* Entries k, k + 1, .., `count` of them, at most a vector; the rest is 0. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load)(kx_norm_row_t row, int64_t k, int64_t count) {
    const KX_REAL *entries = (const KX_REAL *)(const void *)row.data + k;
    if (count >= KX_LANES) return KX_V(load)(entries);
    KX_REAL lanes[KX_LANES] = {0};
    memcpy(lanes, entries, (size_t)count * sizeof *lanes);
    return KX_V(load)(lanes);
}
static KX_ALWAYS_INLINE void KX_TYPED(store)(kx_norm_row_t row, int64_t k, int64_t count, KX_VECTOR value) {
    KX_REAL *entries = (KX_REAL *)(void *)row.data + k;
    if (count >= KX_LANES) {
        KX_V(store)(entries, value);
        return;
    }
    KX_REAL lanes[KX_LANES];
    KX_V(store)(lanes, value);
    memcpy(entries, lanes, (size_t)count * sizeof *lanes);
}

static KX_ALWAYS_INLINE double KX_TYPED(sum)(KX_VECTOR a) {
    KX_REAL sums[4];
    KX_V(sum4)(sums, a, a, a, a);
    return (double)sums[0];
}

/* The sum of a block's lanes goes to float64, or is added with what that loses. */
static KX_ALWAYS_INLINE void KX_TYPED(add_block)(kx_lane_sum_t *sum, KX_VECTOR block) {
#if KX_IS_DOUBLE
    kx_lane_sum_add(sum, block);
#else
    float lanes[KX_LANES];
    kx_f32v_store(lanes, block);
    for (int i = 0; i < KX_LANES; i += KX_F64_LANES) sum->total = kx_f64v_add(sum->total, kx_f64v_load_f32(lanes + i));
#endif
}

/* The mean of four vectors of entries, from all over the row, or of the first. */
static KX_ALWAYS_INLINE KX_REAL KX_TYPED(guess)(kx_norm_row_t x, int64_t n) {
    KX_VECTOR sum = KX_TYPED(load)(x, 0, n);
    const int64_t quarter = n / 4;
    if (n < 4 * KX_LANES) return (KX_REAL)(KX_TYPED(sum)(sum) / (double)(n < KX_LANES ? n : KX_LANES));
    for (int i = 1; i < 4; i++) sum = KX_V(add)(sum, KX_TYPED(load)(x, i * quarter, KX_LANES));
    return (KX_REAL)(KX_TYPED(sum)(sum) / (4 * KX_LANES));
}

static KX_ALWAYS_INLINE void KX_TYPED(accumulate)(const int is_layer, const int has_upstream, const int has_gamma,
                                                  KX_TYPED(operands) row, KX_REAL mean, int64_t k, int64_t count,
                                                  KX_VECTOR *parts) {
    KX_VECTOR c = KX_TYPED(load)(row.x, k, count);
    KX_TYPED(prefetch)(&row, row.x_ahead, k);
    /* 1.57 in place of 1.69 ms of layer normalisation; float64 lost by it */
    if (!KX_IS_DOUBLE && is_layer && !has_upstream) KX_TYPED(prefetch)(&row, row.out_ahead, k);
    if (is_layer) {
        c = KX_V(sub)(c, KX_V(set)(mean));
        if (count < KX_LANES) {
            KX_REAL lanes[KX_LANES];
            KX_V(store)(lanes, c);
            for (int64_t i = count; i < KX_LANES; i++) lanes[i] = 0;
            c = KX_V(load)(lanes);
        }
        parts[0] = KX_V(add)(parts[0], c);
    }
    parts[1] = KX_V(fma)(c, c, parts[1]);
    if (!has_upstream) return;
    KX_VECTOR d = KX_TYPED(load)(row.upstream, k, count);
    if (has_gamma) d = KX_V(mul)(d, KX_TYPED(load)(row.gamma, k, count));
    if (is_layer) parts[2] = KX_V(add)(parts[2], d);
    parts[3] = KX_V(fma)(c, d, parts[3]);
}

static KX_ALWAYS_INLINE kx_norm_sums_t KX_TYPED(add_row)(const int is_layer, const int has_upstream, const int has_gamma,
                                                         KX_TYPED(operands) row, KX_REAL mean, int64_t n) {
    const KX_VECTOR zero = KX_V(set)(0);
    kx_lane_sum_t sums[4];
    for (int i = 0; i < 4; i++) sums[i].total = sums[i].lost = kx_f64v_set(0);
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        KX_VECTOR even[4] = {zero, zero, zero, zero}, odd[4] = {zero, zero, zero, zero};
        int64_t k = begin;
        for (; k + 2 * KX_LANES <= end; k += 2 * KX_LANES) {
            KX_TYPED(accumulate)(is_layer, has_upstream, has_gamma, row, mean, k, KX_LANES, even);
            KX_TYPED(accumulate)(is_layer, has_upstream, has_gamma, row, mean, k + KX_LANES, KX_LANES, odd);
        }
        for (; k + KX_LANES <= end; k += KX_LANES)
            KX_TYPED(accumulate)(is_layer, has_upstream, has_gamma, row, mean, k, KX_LANES, even);
        if (k < end) KX_TYPED(accumulate)(is_layer, has_upstream, has_gamma, row, mean, k, end - k, odd);
        for (int i = is_layer ? 0 : 1; i < (has_upstream ? 4 : 2); i++) KX_TYPED(add_block)(sums + i, KX_V(add)(even[i], odd[i]));
    }
    double totals[4];
    finish_sums(sums, totals);
    return (kx_norm_sums_t){totals[0], totals[1], totals[2], totals[3]};
}

static KX_NEVER_INLINE kx_norm_sums_t KX_TYPED(add_again)(int has_upstream, const KX_TYPED(operands) * row, KX_REAL mean,
                                                          int64_t n) {
    if (has_upstream && row->gamma.data) return KX_TYPED(add_row)(1, 1, 1, *row, mean, n);
    return has_upstream ? KX_TYPED(add_row)(1, 1, 0, *row, mean, n) : KX_TYPED(add_row)(1, 0, 0, *row, mean, n);
}

/* A fit for vectors. By value, like rows, where something is stored: a store might change what a pointer tells. */
typedef struct KX_TYPED(map) {
    KX_VECTOR mean, inverse, shift, d_mean, minus_dh_mean;
} KX_TYPED(map);
static KX_ALWAYS_INLINE KX_TYPED(map) KX_TYPED(map_of)(const kx_norm_fit_t *fit) {
    return (KX_TYPED(map)){KX_V(set)((KX_REAL)fit->mean), KX_V(set)((KX_REAL)fit->inverse), KX_V(set)((KX_REAL)fit->shift),
                           KX_V(set)((KX_REAL)fit->d_mean), KX_V(set)((KX_REAL)-fit->dh_mean)};
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(normalized)(const int is_layer, KX_TYPED(map) map, kx_norm_row_t x, int64_t k,
                                                       int64_t count) {
    const KX_VECTOR entries = KX_TYPED(load)(x, k, count);
    return is_layer ? KX_V(fma)(KX_V(sub)(entries, map.mean), map.inverse, map.shift) : KX_V(mul)(entries, map.inverse);
}

/* ---- any row: strided, scaled, centred, in float64 ---- */

static KX_ALWAYS_INLINE kx_f64v KX_TYPED(gather)(const kx_norm_row_t *row, int64_t k, int64_t count) {
    double lanes[KX_F64_LANES];
    for (int l = 0; l < KX_F64_LANES; l++) {
        KX_REAL entry = 0;
        if (l < count) memcpy(&entry, row->data + (k + l) * row->step, sizeof entry);
        lanes[l] = (double)entry;
    }
    return kx_f64v_load(lanes);
}
static KX_ALWAYS_INLINE void KX_TYPED(scatter)(const kx_norm_row_t *row, int64_t k, int64_t count, kx_f64v value) {
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, value);
    for (int l = 0; l < KX_F64_LANES && l < count; l++) {
        const KX_REAL entry = (KX_REAL)lanes[l];
        memcpy(row->data + (k + l) * row->step, &entry, sizeof entry);
    }
}

static KX_NEVER_INLINE double KX_TYPED(total_of_any)(const kx_norm_row_t *x, double scale, int64_t n) {
    kx_lane_sum_t sums[4];
    for (int i = 0; i < 4; i++) sums[i].total = sums[i].lost = kx_f64v_set(0);
    for (int64_t k = 0; k < n; k += KX_F64_LANES)
        kx_lane_sum_add(sums, kx_f64v_mul(kx_f64v_set(scale), KX_TYPED(gather)(x, k, n - k)));
    double totals[4];
    finish_sums(sums, totals);
    return totals[0];
}

static KX_NEVER_INLINE kx_norm_sums_t KX_TYPED(add_any_row)(int is_layer, const KX_TYPED(operands) * row, double scale,
                                                            double mean, double centre, int64_t n) {
    kx_lane_sum_t sums[4];
    for (int i = 0; i < 4; i++) sums[i].total = sums[i].lost = kx_f64v_set(0);
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        const int64_t count = n - k;
        kx_f64v c = kx_f64v_mul(kx_f64v_set(scale), KX_TYPED(gather)(&row->x, k, count));
        if (is_layer) {
            c = kx_f64v_sub(kx_f64v_sub(c, kx_f64v_set(mean)), kx_f64v_set(centre));
            if (count < KX_F64_LANES) c = kx_f64v_select(kx_f64m_from_bits((1u << count) - 1), c, kx_f64v_set(0));
        }
        kx_lane_sum_add(sums, c);
        kx_lane_sum_add(sums + 1, kx_f64v_mul(c, c));
        if (!row->upstream.data) continue;
        kx_f64v d = KX_TYPED(gather)(&row->upstream, k, count);
        if (row->gamma.data) d = kx_f64v_mul(d, KX_TYPED(gather)(&row->gamma, k, count));
        kx_lane_sum_add(sums + 2, d);
        kx_lane_sum_add(sums + 3, kx_f64v_mul(c, d));
    }
    double totals[4];
    finish_sums(sums, totals);
    if (!is_layer) totals[0] = 0;
    return (kx_norm_sums_t){totals[0], totals[1], totals[2], totals[3]};
}

static KX_ALWAYS_INLINE kx_f64v KX_TYPED(normalized_any)(int is_layer, const kx_norm_fit_t *fit, const kx_norm_row_t *x,
                                                         int64_t k, int64_t count) {
    const kx_f64v entries = kx_f64v_mul(kx_f64v_set(fit->scale), KX_TYPED(gather)(x, k, count));
    const kx_f64v inverse = kx_f64v_set(fit->inverse);
    if (!is_layer) return kx_f64v_mul(entries, inverse);
    return kx_f64v_fma(kx_f64v_sub(entries, kx_f64v_set(fit->mean)), inverse, kx_f64v_set(fit->shift));
}

/* The largest size, the first that is not finite, or -1 if all entries are equal. */
static double KX_TYPED(largest)(const kx_norm_row_t *x, int64_t n) {
    KX_REAL first, entry;
    memcpy(&first, x->data, sizeof first);
    double largest = 0;
    int are_equal = 1;
    for (int64_t i = 0; i < n; i++) {
        memcpy(&entry, x->data + i * x->step, sizeof entry);
        if (!(fabs((double)entry) < (double)INFINITY)) return fabs((double)entry);
        if (fabs((double)entry) > largest) largest = fabs((double)entry);
        are_equal &= entry == first;
    }
    return are_equal ? -1 : largest;
}

/* The fit of a row that is strided, not finite, too large or small to be squared, or next to constant. */
static KX_NEVER_INLINE int KX_TYPED(fit_any)(int is_layer, const KX_TYPED(operands) * row, int64_t n, double eps,
                                             kx_norm_fit_t *fit) {
    const double largest = KX_TYPED(largest)(&row->x, n);
    fit->is_plain = 0;
    if (!(largest < (double)INFINITY)) {
        undefined(fit);
        return isnan(largest) ? 0 : FE_INVALID;
    }
    KX_REAL first;
    memcpy(&first, row->x.data, sizeof first);
    /* A mean that is right to the bit: no spread is to come out of its rounding. */
    const int has_no_spread = largest < 0 && (is_layer || first == 0);
    const double size = largest < 0 ? fabs((double)first) : largest;
    double mean = is_layer ? (double)first : 0, centre = 0;
    fit->scale = has_no_spread || are_squares_ordinary_f64((double)n * size * size, eps) ? 1 : scale_of(size);
    if (is_layer && !has_no_spread) {
        mean = KX_TYPED(total_of_any)(&row->x, fit->scale, n) / (double)n;
        centre = KX_TYPED(add_any_row)(1, row, fit->scale, mean, 0, n).c / (double)n;
    }
    const kx_norm_sums_t sums = KX_TYPED(add_any_row)(is_layer, row, fit->scale, mean, centre, n);
    fit->mean = mean;
    return fit_sums(fit, &sums, centre, (double)n, eps);
}

/* ---- either ---- */

static KX_ALWAYS_INLINE void KX_TYPED(fit)(const int is_layer, const int has_upstream, KX_TYPED(operands) row, int64_t n,
                                           double eps, kx_norm_fit_t *fit) {
    const int before = kx_flags_begin();
    fit->is_plain = KX_TYPED(is_contiguous)(&row.x) &&
                    (!has_upstream || (KX_TYPED(is_contiguous)(&row.upstream) && KX_TYPED(is_contiguous)(&row.gamma)));
    if (fit->is_plain) {
        const int has_gamma = has_upstream && row.gamma.data;
        KX_REAL mean = is_layer ? KX_TYPED(guess)(row.x, n) : 0;
        kx_norm_sums_t sums = has_gamma ? KX_TYPED(add_row)(is_layer, 1, 1, row, mean, n)
                                        : KX_TYPED(add_row)(is_layer, has_upstream, 0, row, mean, n);
        if (is_layer && sums.c * sums.c > FARTHEST * (double)n * sums.cc) {
            mean = (KX_REAL)((double)mean + sums.c / (double)n);
            sums = KX_TYPED(add_again)(has_upstream, &row, mean, n);
        }
        const double least = is_layer ? KX_NEAR * fabs((double)mean) : 0;
        fit->is_plain = KX_TYPED(are_squares_ordinary)(sums.cc, eps) && sums.cc >= (double)n * least * least &&
                        (!has_upstream || fabs(sums.d) + fabs(sums.dc) < (double)INFINITY);
        fit->mean = (double)mean;
        fit->scale = 1;
        if (fit->is_plain && fit_sums(fit, &sums, 0, (double)n, eps) == 0) return;
    }
    kx_flags_end(before, KX_TYPED(fit_any)(is_layer, &row, n, eps, fit));
}

static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(result)(const int is_layer, const int has_gamma, const int has_beta, KX_TYPED(map) map,
                                                   kx_norm_row_t x, kx_norm_row_t gamma, kx_norm_row_t beta, int64_t k,
                                                   int64_t count) {
    const KX_VECTOR y = KX_TYPED(normalized)(is_layer, map, x, k, count);
    if (has_gamma && has_beta) return KX_V(fma)(y, KX_TYPED(load)(gamma, k, count), KX_TYPED(load)(beta, k, count));
    if (has_gamma) return KX_V(mul)(y, KX_TYPED(load)(gamma, k, count));
    return has_beta ? KX_V(add)(y, KX_TYPED(load)(beta, k, count)) : y;
}
static KX_ALWAYS_INLINE void KX_TYPED(write)(const int is_layer, const int has_gamma, const int has_beta, const kx_norm_fit_t *fit,
                                             kx_norm_row_t x, kx_norm_row_t gamma, kx_norm_row_t beta, kx_norm_row_t out,
                                             int64_t n) {
    const KX_TYPED(map) map = KX_TYPED(map_of)(fit);
    int64_t k = 0;
    for (; k + KX_LANES <= n; k += KX_LANES)
        KX_TYPED(store)(out, k, KX_LANES, KX_TYPED(result)(is_layer, has_gamma, has_beta, map, x, gamma, beta, k, KX_LANES));
    if (k < n) KX_TYPED(store)(out, k, n - k, KX_TYPED(result)(is_layer, has_gamma, has_beta, map, x, gamma, beta, k, n - k));
}
static KX_ALWAYS_INLINE void KX_TYPED(stream)(const int is_layer, const int has_gamma, const int has_beta, KX_TYPED(map) map,
                                              kx_norm_row_t x, kx_norm_row_t gamma, kx_norm_row_t beta, kx_norm_row_t out,
                                              int64_t n) {
    KX_REAL *to = (KX_REAL *)(void *)out.data;
    int64_t k = (int64_t)(-(uintptr_t)to % sizeof(KX_VECTOR) / sizeof(KX_REAL));
    if (k) KX_TYPED(store)(out, 0, k, KX_TYPED(result)(is_layer, has_gamma, has_beta, map, x, gamma, beta, 0, k));
    for (; k + KX_LANES <= n; k += KX_LANES)
        KX_V(stream)(to + k, KX_TYPED(result)(is_layer, has_gamma, has_beta, map, x, gamma, beta, k, KX_LANES));
    if (k < n) KX_TYPED(store)(out, k, n - k, KX_TYPED(result)(is_layer, has_gamma, has_beta, map, x, gamma, beta, k, n - k));
}
/* Past the caches, a vector or more: 16,000 x 768 take 5.6 ms and not 6.6 in float64, 4.2 and not 4.6 in float32. */
static KX_NEVER_INLINE void KX_TYPED(stream_row)(int is_layer, const kx_norm_fit_t *fit, kx_norm_row_t x, kx_norm_row_t by,
                                                 kx_norm_row_t plus, kx_norm_row_t out, int64_t n) {
    const KX_TYPED(map) map = KX_TYPED(map_of)(fit);
    if (is_layer && by.data && plus.data) KX_TYPED(stream)(1, 1, 1, map, x, by, plus, out, n);
    else if (is_layer && plus.data) KX_TYPED(stream)(1, 0, 1, map, x, by, plus, out, n);
    else if (is_layer && by.data) KX_TYPED(stream)(1, 1, 0, map, x, by, plus, out, n);
    else if (is_layer) KX_TYPED(stream)(1, 0, 0, map, x, by, plus, out, n);
    else if (by.data) KX_TYPED(stream)(0, 1, 0, map, x, by, plus, out, n);
    else KX_TYPED(stream)(0, 0, 0, map, x, by, plus, out, n);
}
static KX_NEVER_INLINE void KX_TYPED(write_any)(int is_layer, const kx_norm_fit_t *fit, const kx_norm_row_t *x,
                                                const kx_norm_row_t *gamma, const kx_norm_row_t *beta, const kx_norm_row_t *out,
                                                int64_t n) {
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        kx_f64v y = KX_TYPED(normalized_any)(is_layer, fit, x, k, n - k);
        if (gamma->data) y = kx_f64v_mul(y, KX_TYPED(gather)(gamma, k, n - k));
        if (beta->data) y = kx_f64v_add(y, KX_TYPED(gather)(beta, k, n - k));
        KX_TYPED(scatter)(out, k, n - k, y);
    }
}

static KX_ALWAYS_INLINE kx_status_t KX_TYPED(normalize)(const int is_layer, const kx_norm_vectors_t *x,
                                                        const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta,
                                                        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out) {
    if (rows < 0 || n < 0) return KX_E_ARGUMENT;
    if (n == 0) return KX_OK;
    const int cache = kx_first_cache_bytes();
    const int has_room = n <= cache / (6 * (int64_t)sizeof(KX_REAL)) && (!KX_IS_DOUBLE || cache > 32 << 10);
    const int is_aligned = ((uintptr_t)out->data | (uintptr_t)out->row) % sizeof(KX_REAL) == 0;
    const int streams = is_aligned && n >= 64 && rows >= KX_STREAM_BYTES / (int64_t)sizeof(KX_REAL) / n && x->data != out->data;
    for (int64_t r = 0; r < rows; r++) {
        const KX_TYPED(operands) row = {.x = row_of(x, r), .x_ahead = row_of(x, has_room && r + 2 < rows ? r + 2 : r).data,
                                        .out_ahead = row_of(out, has_room && r + 1 < rows ? r + 1 : r).data};
        const kx_norm_row_t by = row_of(gamma, r), plus = row_of(beta, r), to = row_of(out, r);
        kx_norm_fit_t fit;
        KX_TYPED(fit)(is_layer, 0, row, n, eps, &fit);
        if (!fit.is_plain || !KX_TYPED(is_contiguous)(&by) || !KX_TYPED(is_contiguous)(&plus) || !KX_TYPED(is_contiguous)(&to))
            KX_TYPED(write_any)(is_layer, &fit, &row.x, &by, &plus, &to, n);
        else if (streams) KX_TYPED(stream_row)(is_layer, &fit, row.x, by, plus, to, n);
        else if (is_layer && by.data && plus.data) KX_TYPED(write)(is_layer, 1, 1, &fit, row.x, by, plus, to, n);
        else if (is_layer && plus.data) KX_TYPED(write)(is_layer, 0, 1, &fit, row.x, by, plus, to, n);
        else if (by.data) KX_TYPED(write)(is_layer, 1, 0, &fit, row.x, by, plus, to, n);
        else KX_TYPED(write)(is_layer, 0, 0, &fit, row.x, by, plus, to, n);
    }
    if (streams) kx_stream_end();
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_layer_norm)) KX_LAYER_PARAMETERS {
    return KX_TYPED(normalize)(1, x, gamma, beta, rows, n, eps, out);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_rms_norm)) KX_RMS_PARAMETERS {
    return KX_TYPED(normalize)(0, x, gamma, NULL, rows, n, eps, out);
}

/* ---- gradients ---- */

/* Entries k, k + 1, .. of dx, and their terms of dgamma and dbeta. */
static KX_ALWAYS_INLINE void KX_TYPED(differentiate_part)(const int is_layer, const int has_gamma, const int has_sums,
                                                          KX_TYPED(map) map, KX_TYPED(operands) row, kx_norm_row_t dx,
                                                          KX_REAL *dgamma, KX_REAL *dbeta, int64_t k, int64_t count) {
    const KX_VECTOR h = KX_TYPED(normalized)(is_layer, map, row.x, k, count), g = KX_TYPED(load)(row.upstream, k, count);
    KX_TYPED(prefetch)(&row, row.upstream_ahead, k);
    KX_TYPED(prefetch)(&row, row.out_ahead, k);
    KX_VECTOR slope = has_gamma ? KX_V(mul)(g, KX_TYPED(load)(row.gamma, k, count)) : g;
    if (is_layer) slope = KX_V(sub)(slope, map.d_mean);
    KX_TYPED(store)(dx, k, count, KX_V(mul)(KX_V(fma)(h, map.minus_dh_mean, slope), map.inverse));
    if (!has_sums) return;
    KX_V(store)(dgamma + k, KX_V(fma)(g, h, KX_V(load)(dgamma + k)));
    if (is_layer) KX_V(store)(dbeta + k, KX_V(add)(g, KX_V(load)(dbeta + k)));
}
static KX_ALWAYS_INLINE void KX_TYPED(differentiate)(const int is_layer, const int has_gamma, const int has_sums,
                                                     KX_TYPED(operands) row, kx_norm_row_t dx, const kx_norm_fit_t *fit,
                                                     KX_REAL *dgamma, KX_REAL *dbeta, int64_t n) {
    const KX_TYPED(map) map = KX_TYPED(map_of)(fit);
    int64_t k = 0;
    for (; k + KX_LANES <= n; k += KX_LANES)
        KX_TYPED(differentiate_part)(is_layer, has_gamma, has_sums, map, row, dx, dgamma, dbeta, k, KX_LANES);
    if (k < n) KX_TYPED(differentiate_part)(is_layer, has_gamma, has_sums, map, row, dx, dgamma, dbeta, k, n - k);
}

static KX_NEVER_INLINE void KX_TYPED(differentiate_any)(int is_layer, const KX_TYPED(operands) * row, const kx_norm_row_t *dx,
                                                        const kx_norm_fit_t *fit, KX_REAL *dgamma, KX_REAL *dbeta, int64_t n) {
    for (int64_t k = 0; k < n; k += KX_F64_LANES) {
        const kx_f64v h = KX_TYPED(normalized_any)(is_layer, fit, &row->x, k, n - k);
        const kx_f64v g = KX_TYPED(gather)(&row->upstream, k, n - k);
        kx_f64v slope = row->gamma.data ? kx_f64v_mul(g, KX_TYPED(gather)(&row->gamma, k, n - k)) : g;
        if (is_layer) slope = kx_f64v_sub(slope, kx_f64v_set(fit->d_mean));
        slope = kx_f64v_mul(kx_f64v_fma(h, kx_f64v_set(-fit->dh_mean), slope), kx_f64v_set(fit->inverse));
        KX_TYPED(scatter)(dx, k, n - k, kx_f64v_mul(slope, kx_f64v_set(fit->scale)));
        if (!dgamma) continue;
        KX_STORE_WIDE(dgamma + k, kx_f64v_fma(g, h, KX_LOAD_WIDE(dgamma + k)));
        if (is_layer) KX_STORE_WIDE(dbeta + k, kx_f64v_add(g, KX_LOAD_WIDE(dbeta + k)));
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(differentiate_row)(const int is_layer, const int is_far, const kx_norm_job_t *job, int64_t r,
                                                         KX_REAL *dgamma, KX_REAL *dbeta) {
    const int64_t ahead = r + 1 < job->rows ? r + 1 : r, n = job->n;
    const KX_TYPED(operands) row = {row_of(job->x, r), row_of(job->upstream, r), row_of(job->gamma, r),
                                    row_of(job->x, ahead).data, row_of(job->upstream, ahead).data,
                                    row_of(job->dx, ahead).data, is_far};
    const kx_norm_row_t dx = row_of(job->dx, r);
    kx_norm_fit_t fit;
    KX_TYPED(fit)(is_layer, 1, row, n, job->eps, &fit);
    if (!fit.is_plain || !KX_TYPED(is_contiguous)(&dx)) KX_TYPED(differentiate_any)(is_layer, &row, &dx, &fit, dgamma, dbeta, n);
    else if (row.gamma.data && dgamma) KX_TYPED(differentiate)(is_layer, 1, 1, row, dx, &fit, dgamma, dbeta, n);
    else if (row.gamma.data) KX_TYPED(differentiate)(is_layer, 1, 0, row, dx, &fit, NULL, NULL, n);
    else if (dgamma) KX_TYPED(differentiate)(is_layer, 0, 1, row, dx, &fit, dgamma, dbeta, n);
    else KX_TYPED(differentiate)(is_layer, 0, 0, row, dx, &fit, NULL, NULL, n);
}

/* total += block, entry by entry, and lost += what that loses. */
static void KX_TYPED(add_sums)(double *total, double *lost, const KX_REAL *block, int64_t count) {
    const int before = kx_flags_begin();
    for (int64_t k = 0; k < count; k += KX_F64_LANES) {
        kx_lane_sum_t sum = {kx_f64v_load(total + k), kx_f64v_load(lost + k)};
        kx_lane_sum_add(&sum, KX_LOAD_WIDE(block + k));
        kx_f64v_store(total + k, sum.total);
        kx_f64v_store(lost + k, sum.lost);
    }
    kx_flags_end(before, 0);
}

static KX_ALWAYS_INLINE kx_status_t KX_TYPED(differentiate_chunk)(const int is_layer, const int is_far, kx_task_t *task,
                                                                  const kx_norm_job_t *job, int64_t begin, int64_t end) {
    const int64_t sums = (is_layer ? 2 : 1) * job->padded;
    double *totals = NULL;
    KX_REAL *block = NULL;
    if (job->chunks) {
        totals = job->chunks + begin / job->grain * 2 * sums;
        block = (KX_REAL *)(void *)(job->blocks + kx_task_worker(task) * sums);
        memset(totals, 0, (size_t)(2 * sums) * sizeof *totals);
    }
    for (int64_t first = begin; first < end; first += SUMMED) {
        const int64_t last = end - first < SUMMED ? end : first + SUMMED;
        if (block) memset(block, 0, (size_t)sums * sizeof *block);
        for (int64_t r = first; r < last; r++) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            KX_TYPED(differentiate_row)(is_layer, is_far, job, r, block, block ? block + job->padded : NULL);
        }
        if (block) KX_TYPED(add_sums)(totals, totals + sums, block, sums);
    }
    return KX_OK;
}
static kx_status_t KX_TYPED(layer_chunk)(kx_task_t *task, void *job, int64_t begin, int64_t end) {
    const kx_norm_job_t *of = (const kx_norm_job_t *)job;
    return of->is_far ? KX_TYPED(differentiate_chunk)(1, 1, task, of, begin, end)
                      : KX_TYPED(differentiate_chunk)(1, 0, task, of, begin, end);
}
static kx_status_t KX_TYPED(rms_chunk)(kx_task_t *task, void *job, int64_t begin, int64_t end) {
    const kx_norm_job_t *of = (const kx_norm_job_t *)job;
    return of->is_far ? KX_TYPED(differentiate_chunk)(0, 1, task, of, begin, end)
                      : KX_TYPED(differentiate_chunk)(0, 0, task, of, begin, end);
}

static void KX_TYPED(round_sums)(const double *totals, const double *lost, KX_REAL *out, int64_t n) {
    for (int64_t k = 0; k < n; k++)
        out[k] = (KX_REAL)(fabs(lost[k]) < (double)INFINITY ? totals[k] + lost[k] : totals[k]);
}

static kx_status_t KX_TYPED(differentiate_batch)(const kx_ctx_t *ctx, int is_layer, kx_norm_job_t *job, int64_t rows,
                                                 KX_REAL *dgamma, KX_REAL *dbeta) {
    if (rows < 0 || job->n < 0) return KX_E_ARGUMENT;
    if (job->n == 0) return KX_OK;
    job->grain = grain_of(rows);
    job->is_far = job->n > kx_first_cache_bytes() / (12 * (int64_t)sizeof(KX_REAL));
    const kx_body_fn body = is_layer ? KX_TYPED(layer_chunk) : KX_TYPED(rms_chunk);
    if (!dgamma && !dbeta) return kx_parallel_for(ctx, rows, job->grain, body, job);
    if (job->n > INT64_MAX / 4096) return KX_E_MEMORY;
    job->padded = kx_round_up(job->n, KX_F32_LANES);
    const int64_t count = rows > 0 ? (rows - 1) / job->grain + 1 : 1, sums = (is_layer ? 2 : 1) * job->padded;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, count * 2 * sums, sizeof(double));
    const size_t blocks = kx_layout_add(&layout, sums, (size_t)workers * sizeof(double));
    char *memory = layout.overflow ? NULL : (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    job->chunks = (double *)(void *)memory;
    job->blocks = (double *)(void *)(memory + blocks);
    if (rows == 0) memset(job->chunks, 0, (size_t)(2 * sums) * sizeof(double));
    const kx_status_t status = kx_parallel_for(ctx, rows, job->grain, body, job);
    if (status >= 0) {
        double *totals = job->chunks, *lost = totals + sums;
        for (int64_t c = 1; c < count; c++) {
            add_sums_f64(totals, lost, totals + c * 2 * sums, sums);
            for (int64_t k = 0; k < sums; k++) lost[k] += lost[c * 2 * sums + k];
        }
        if (dgamma) KX_TYPED(round_sums)(totals, lost, dgamma, job->n);
        if (dbeta) KX_TYPED(round_sums)(totals + job->padded, lost + job->padded, dbeta, job->n);
    }
    kx_release(ctx, memory);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_layer_norm_vjp)) KX_LAYER_VJP_PARAMETERS(KX_REAL) {
    kx_norm_job_t job = {.x = x, .upstream = upstream, .gamma = gamma, .dx = dx, .rows = rows, .n = n, .eps = eps};
    return KX_TYPED(differentiate_batch)(ctx, 1, &job, rows, dgamma, dbeta);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_rms_norm_vjp)) KX_RMS_VJP_PARAMETERS(KX_REAL) {
    kx_norm_job_t job = {.x = x, .upstream = upstream, .gamma = gamma, .dx = dx, .rows = rows, .n = n, .eps = eps};
    return KX_TYPED(differentiate_batch)(ctx, 0, &job, rows, dgamma, NULL);
}

#undef KX_LANES
#undef KX_VECTOR
#undef KX_V
#undef KX_LOAD_WIDE
#undef KX_STORE_WIDE
#undef KX_NEAR
#endif
#endif
