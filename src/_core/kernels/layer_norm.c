/* Layer and RMS normalisation of rows, and their gradients.

   A row is read three times (RMS normalisation: twice), from the second time on from the first cache: its mean, its deviations' sums, the
   result. Everything is float64. The second pass also sums the deviations themselves, which tells how far off the rounded mean
   is, and the result is shifted by that much: digits are lost to no mean, however large beside the deviation. */
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
    GROUP = 4,        /* rows whose terms of dgamma and dbeta are added at once: these sums are read and written less often */
    SUMMED = 128,     /* rows whose terms are added plainly */
    MOST_CHUNKS = 64, /* of a batch, each of which has sums of its own */
};

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

/* Whether squares that sum to this have lost nothing to the ends of float64's range, or so little that eps hides it. */
static inline int are_squares_ordinary(double sum, double eps) {
    return sum < 0x1p900 && (sum > 0x1p-900 || eps > 0x1p-1000);
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
    int64_t n, padded, grain;
    double eps;
    double *chunks; /* for each chunk dgamma and dbeta, then what their additions lost; NULL: not asked for */
    double *blocks; /* for each worker dgamma and dbeta of a block of rows */
} kx_norm_job_t;

static int64_t grain_of(int64_t rows) {
    const int64_t share = rows / MOST_CHUNKS + (rows % MOST_CHUNKS != 0);
    return share < SUMMED ? SUMMED : kx_round_up(share, SUMMED);
}

/* total += add, entry by entry, and lost += what that loses. */
static void add_to_sums(double *total, double *lost, const double *add, int64_t count) {
    for (int64_t k = 0; k < count; k += KX_F64_LANES) {
        kx_lane_sum_t sum = {kx_f64v_load(total + k), kx_f64v_load(lost + k)};
        kx_lane_sum_add(&sum, kx_f64v_load(add + k));
        kx_f64v_store(total + k, sum.total);
        kx_f64v_store(lost + k, sum.lost);
    }
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
/* Entries k, k + 1, ..: `count` of them, at most a vector; the rest is 0. */
static KX_ALWAYS_INLINE kx_f64v KX_TYPED(load)(const int is_plain, const kx_norm_row_t *row, int64_t k, int64_t count) {
    if (is_plain) {
        const KX_REAL *entries = (const KX_REAL *)(const void *)row->data + k;
#if KX_IS_DOUBLE
        return count >= KX_F64_LANES ? kx_f64v_load(entries) : kx_f64v_load_part(entries, count, 0);
#else
        return count >= KX_F64_LANES ? kx_f64v_load_f32(entries) : kx_f64v_load_part_f32(entries, count, 0);
#endif
    }
    double lanes[KX_F64_LANES];
    for (int l = 0; l < KX_F64_LANES; l++) {
        KX_REAL entry = 0;
        if (l < count) memcpy(&entry, row->data + (k + l) * row->step, sizeof entry);
        lanes[l] = (double)entry;
    }
    return kx_f64v_load(lanes);
}

static KX_ALWAYS_INLINE void KX_TYPED(store)(const int is_plain, const kx_norm_row_t *row, int64_t k, int64_t count, kx_f64v value) {
    if (is_plain && count >= KX_F64_LANES) {
        KX_REAL *entries = (KX_REAL *)(void *)row->data + k;
#if KX_IS_DOUBLE
        kx_f64v_store(entries, value);
#else
        kx_f64v_store_f32(entries, value);
#endif
        return;
    }
    double lanes[KX_F64_LANES];
    kx_f64v_store(lanes, value);
    for (int l = 0; l < KX_F64_LANES && l < count; l++) {
        const KX_REAL entry = (KX_REAL)lanes[l];
        memcpy(row->data + (k + l) * row->step, &entry, sizeof entry);
    }
}

static inline int KX_TYPED(is_contiguous)(const kx_norm_row_t *row) {
    return !row->data || row->step == (ptrdiff_t)sizeof(KX_REAL);
}

/* Sums of float32 numbers need no compensation in float64. */
static KX_ALWAYS_INLINE void KX_TYPED(add_block)(kx_lane_sum_t *sum, kx_f64v block) {
#if KX_IS_DOUBLE
    kx_lane_sum_add(sum, block);
#else
    sum->total = kx_f64v_add(sum->total, block);
#endif
}
static KX_ALWAYS_INLINE void KX_TYPED(finish)(const kx_lane_sum_t *sums, double *totals) {
    kx_f64v_sum4(totals, sums[0].total, sums[1].total, sums[2].total, sums[3].total);
#if KX_IS_DOUBLE
    double lost[4];
    kx_f64v_sum4(lost, sums[0].lost, sums[1].lost, sums[2].lost, sums[3].lost);
    for (int i = 0; i < 4; i++) totals[i] += fabs(lost[i]) < (double)INFINITY ? lost[i] : 0; /* beside an infinity it is NaN */
#endif
}

static KX_ALWAYS_INLINE double KX_TYPED(total)(const int is_plain, const kx_norm_row_t *x, double scale, int64_t n) {
    const kx_f64v zero = kx_f64v_set(0), scales = kx_f64v_set(scale);
    kx_lane_sum_t sums[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        kx_f64v parts[4] = {zero, zero, zero, zero};
        int64_t k = begin;
        for (; k + 4 * KX_F64_LANES <= end; k += 4 * KX_F64_LANES)
            for (int i = 0; i < 4; i++) {
                const kx_f64v entries = KX_TYPED(load)(is_plain, x, k + i * KX_F64_LANES, KX_F64_LANES);
                parts[i] = kx_f64v_add(parts[i], is_plain ? entries : kx_f64v_mul(scales, entries));
            }
        for (; k < end; k += KX_F64_LANES) {
            const kx_f64v entries = KX_TYPED(load)(is_plain, x, k, end - k);
            parts[0] = kx_f64v_add(parts[0], is_plain ? entries : kx_f64v_mul(scales, entries));
        }
        KX_TYPED(add_block)(sums, kx_f64v_add(kx_f64v_add(parts[0], parts[1]), kx_f64v_add(parts[2], parts[3])));
    }
    double totals[4];
    KX_TYPED(finish)(sums, totals);
    return totals[0];
}

typedef struct KX_TYPED(operands) {
    kx_norm_row_t x, upstream, gamma;
    double scale, mean, centre;
} KX_TYPED(operands);

static KX_ALWAYS_INLINE void KX_TYPED(accumulate)(const int is_plain, const int is_layer, const int has_upstream,
                                                  const int has_gamma, const KX_TYPED(operands) * row, int64_t k, int64_t count,
                                                  kx_f64v *parts) {
    kx_f64v c = KX_TYPED(load)(is_plain, &row->x, k, count);
    if (!is_plain) c = kx_f64v_mul(kx_f64v_set(row->scale), c);
    if (is_layer) {
        c = kx_f64v_sub(c, kx_f64v_set(row->mean));
        if (!is_plain) c = kx_f64v_sub(c, kx_f64v_set(row->centre));
        if (count < KX_F64_LANES) c = kx_f64v_select(kx_f64m_from_bits((1u << count) - 1), c, kx_f64v_set(0));
        parts[0] = kx_f64v_add(parts[0], c);
    }
    parts[1] = kx_f64v_fma(c, c, parts[1]);
    if (!has_upstream) return;
    kx_f64v d = KX_TYPED(load)(is_plain, &row->upstream, k, count);
    if (has_gamma) d = kx_f64v_mul(d, KX_TYPED(load)(is_plain, &row->gamma, k, count));
    if (is_layer) parts[2] = kx_f64v_add(parts[2], d);
    parts[3] = kx_f64v_fma(c, d, parts[3]);
}

static KX_ALWAYS_INLINE kx_norm_sums_t KX_TYPED(add_row)(const int is_plain, const int is_layer, const int has_upstream,
                                                         const int has_gamma, const KX_TYPED(operands) * row, int64_t n) {
    const kx_f64v zero = kx_f64v_set(0);
    kx_lane_sum_t sums[4] = {{zero, zero}, {zero, zero}, {zero, zero}, {zero, zero}};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t end = n - begin < BLOCK ? n : begin + BLOCK;
        kx_f64v even[4] = {zero, zero, zero, zero}, odd[4] = {zero, zero, zero, zero};
        int64_t k = begin;
        for (; k + 2 * KX_F64_LANES <= end; k += 2 * KX_F64_LANES) {
            KX_TYPED(accumulate)(is_plain, is_layer, has_upstream, has_gamma, row, k, KX_F64_LANES, even);
            KX_TYPED(accumulate)(is_plain, is_layer, has_upstream, has_gamma, row, k + KX_F64_LANES, KX_F64_LANES, odd);
        }
        for (; k + KX_F64_LANES <= end; k += KX_F64_LANES)
            KX_TYPED(accumulate)(is_plain, is_layer, has_upstream, has_gamma, row, k, KX_F64_LANES, even);
        if (k < end) KX_TYPED(accumulate)(is_plain, is_layer, has_upstream, has_gamma, row, k, end - k, odd);
        for (int i = 0; i < 4; i++) KX_TYPED(add_block)(sums + i, kx_f64v_add(even[i], odd[i]));
    }
    double totals[4];
    KX_TYPED(finish)(sums, totals);
    return (kx_norm_sums_t){totals[0], totals[1], totals[2], totals[3]};
}
/* Strided or scaled rows. */
static KX_NEVER_INLINE kx_norm_sums_t KX_TYPED(add_any_row)(int is_layer, const KX_TYPED(operands) * row, int64_t n) {
    return KX_TYPED(add_row)(0, is_layer, row->upstream.data != NULL, row->gamma.data != NULL, row, n);
}
static KX_NEVER_INLINE double KX_TYPED(total_of_any)(const kx_norm_row_t *x, double scale, int64_t n) {
    return KX_TYPED(total)(0, x, scale, n);
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

/* The fit of a row that is not finite, too large or small to be squared, or next to constant. */
static KX_NEVER_INLINE int KX_TYPED(fit_special)(int is_layer, KX_TYPED(operands) * row, int64_t n, double eps, kx_norm_fit_t *fit) {
    const double largest = KX_TYPED(largest)(&row->x, n);
    if (!(largest < (double)INFINITY)) {
        undefined(fit);
        return isnan(largest) ? 0 : FE_INVALID;
    }
    KX_REAL first;
    memcpy(&first, row->x.data, sizeof first);
    fit->is_plain = 0;
    const int is_constant = largest < 0, has_no_spread = is_constant && (is_layer || first == 0);
    double mean = (double)first, size = is_constant ? fabs(mean) : largest;
    row->scale = has_no_spread || are_squares_ordinary((double)n * size * size, eps) ? 1 : scale_of(size);
    row->centre = 0;
    if (!has_no_spread) mean = is_layer ? KX_TYPED(total_of_any)(&row->x, row->scale, n) / (double)n : 0;
    row->mean = mean;
    kx_norm_sums_t sums = KX_TYPED(add_any_row)(is_layer, row, n);
    if (is_layer) {
        row->centre = sums.c / (double)n;
        sums = KX_TYPED(add_any_row)(1, row, n);
    }
    fit->scale = row->scale;
    fit->mean = mean;
    return fit_sums(fit, &sums, row->centre, (double)n, eps);
}

static KX_ALWAYS_INLINE void KX_TYPED(fit)(const int is_layer, const int has_upstream, KX_TYPED(operands) * row, int64_t n,
                                           double eps, kx_norm_fit_t *fit) {
    const int before = kx_flags_begin();
    const int has_gamma = row->gamma.data != NULL;
    int due = 0;
    kx_norm_sums_t sums;
    fit->scale = row->scale = 1;
    row->centre = 0;
    fit->is_plain = KX_TYPED(is_contiguous)(&row->x) &&
                    (!has_upstream || (KX_TYPED(is_contiguous)(&row->upstream) && KX_TYPED(is_contiguous)(&row->gamma)));
    if (fit->is_plain) {
        row->mean = is_layer ? KX_TYPED(total)(1, &row->x, 1, n) / (double)n : 0;
        if (has_upstream && has_gamma) sums = KX_TYPED(add_row)(1, is_layer, 1, 1, row, n);
        else sums = KX_TYPED(add_row)(1, is_layer, has_upstream, 0, row, n);
    } else {
        row->mean = is_layer ? KX_TYPED(total_of_any)(&row->x, 1, n) / (double)n : 0;
        sums = KX_TYPED(add_any_row)(is_layer, row, n);
    }
    fit->mean = row->mean;
    /* Next to constant: the mean's error counts. */
    const double least = is_layer ? 0x1p-40 * fabs(row->mean) : 0;
    if (are_squares_ordinary(sums.cc, eps) && sums.cc >= (double)n * least * least)
        due = fit_sums(fit, &sums, 0, (double)n, eps);
    else due = KX_TYPED(fit_special)(is_layer, row, n, eps, fit);
    kx_flags_end(before, due);
}

static KX_ALWAYS_INLINE kx_f64v KX_TYPED(normalized)(const int is_plain, const int is_layer, const kx_norm_fit_t *fit,
                                                     const kx_norm_row_t *x, int64_t k, int64_t count) {
    kx_f64v h = KX_TYPED(load)(is_plain, x, k, count);
    if (!is_plain) h = kx_f64v_mul(kx_f64v_set(fit->scale), h);
    if (!is_layer) return kx_f64v_mul(h, kx_f64v_set(fit->inverse));
    return kx_f64v_fma(kx_f64v_sub(h, kx_f64v_set(fit->mean)), kx_f64v_set(fit->inverse), kx_f64v_set(fit->shift));
}

static KX_ALWAYS_INLINE void KX_TYPED(write_part)(const int is_plain, const int is_layer, const int has_gamma, const int has_beta,
                                                  const kx_norm_fit_t *fit, const kx_norm_row_t *x, const kx_norm_row_t *gamma,
                                                  const kx_norm_row_t *beta, const kx_norm_row_t *out, int64_t k,
                                                  int64_t count) {
    kx_f64v y = KX_TYPED(normalized)(is_plain, is_layer, fit, x, k, count);
    if (has_gamma && has_beta)
        y = kx_f64v_fma(y, KX_TYPED(load)(is_plain, gamma, k, count), KX_TYPED(load)(is_plain, beta, k, count));
    else if (has_gamma) y = kx_f64v_mul(y, KX_TYPED(load)(is_plain, gamma, k, count));
    else if (has_beta) y = kx_f64v_add(y, KX_TYPED(load)(is_plain, beta, k, count));
    KX_TYPED(store)(is_plain, out, k, count, y);
}
static KX_ALWAYS_INLINE void KX_TYPED(write)(const int is_plain, const int is_layer, const int has_gamma, const int has_beta,
                                             const kx_norm_fit_t *fit, const kx_norm_row_t *x, const kx_norm_row_t *gamma,
                                             const kx_norm_row_t *beta, const kx_norm_row_t *out, int64_t n) {
    int64_t k = 0;
    for (; k + KX_F64_LANES <= n; k += KX_F64_LANES)
        KX_TYPED(write_part)(is_plain, is_layer, has_gamma, has_beta, fit, x, gamma, beta, out, k, KX_F64_LANES);
    if (k < n) KX_TYPED(write_part)(is_plain, is_layer, has_gamma, has_beta, fit, x, gamma, beta, out, k, n - k);
}
static KX_NEVER_INLINE void KX_TYPED(write_any)(int is_layer, const kx_norm_fit_t *fit, const kx_norm_row_t *x,
                                                const kx_norm_row_t *gamma, const kx_norm_row_t *beta, const kx_norm_row_t *out,
                                                int64_t n) {
    KX_TYPED(write)(0, is_layer, gamma->data != NULL, beta->data != NULL, fit, x, gamma, beta, out, n);
}

static KX_ALWAYS_INLINE kx_status_t KX_TYPED(normalize)(const int is_layer, const kx_norm_vectors_t *x,
                                                        const kx_norm_vectors_t *gamma, const kx_norm_vectors_t *beta,
                                                        int64_t rows, int64_t n, double eps, const kx_norm_vectors_t *out) {
    if (rows < 0 || n < 0 || !(eps >= 0)) return KX_E_ARGUMENT;
    if (n == 0) return KX_OK;
    for (int64_t r = 0; r < rows; r++) {
        KX_TYPED(operands) row = {.x = row_of(x, r)};
        const kx_norm_row_t by = row_of(gamma, r), plus = row_of(beta, r), to = row_of(out, r);
        kx_norm_fit_t fit;
        KX_TYPED(fit)(is_layer, 0, &row, n, eps, &fit);
        if (!fit.is_plain || !KX_TYPED(is_contiguous)(&by) || !KX_TYPED(is_contiguous)(&plus) || !KX_TYPED(is_contiguous)(&to))
            KX_TYPED(write_any)(is_layer, &fit, &row.x, &by, &plus, &to, n);
        else if (is_layer && by.data && plus.data) KX_TYPED(write)(1, is_layer, 1, 1, &fit, &row.x, &by, &plus, &to, n);
        else if (is_layer && plus.data) KX_TYPED(write)(1, is_layer, 0, 1, &fit, &row.x, &by, &plus, &to, n);
        else if (by.data) KX_TYPED(write)(1, is_layer, 1, 0, &fit, &row.x, &by, &plus, &to, n);
        else KX_TYPED(write)(1, is_layer, 0, 0, &fit, &row.x, &by, &plus, &to, n);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_layer_norm)) KX_LAYER_PARAMETERS {
    return KX_TYPED(normalize)(1, x, gamma, beta, rows, n, eps, out);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_rms_norm)) KX_RMS_PARAMETERS {
    return KX_TYPED(normalize)(0, x, gamma, NULL, rows, n, eps, out);
}

/* ---- gradients ---- */

/* Entries k, k + 1, .. of `count` rows: dx, and their terms of dgamma and dbeta. */
static KX_ALWAYS_INLINE void KX_TYPED(differentiate_part)(const int is_plain, const int is_layer, const int has_gamma,
                                                          const int has_sums, const KX_TYPED(operands) * rows,
                                                          const kx_norm_row_t *dx, const kx_norm_fit_t *fits, const int row_count,
                                                          double *dgamma, double *dbeta, int64_t k, int64_t count) {
    kx_f64v gamma = kx_f64v_set(1), by_gamma = kx_f64v_set(0), by_beta = kx_f64v_set(0);
    if (has_gamma) gamma = KX_TYPED(load)(is_plain, &rows->gamma, k, count);
    for (int i = 0; i < row_count; i++) {
        const kx_norm_fit_t *fit = fits + i;
        const kx_f64v h = KX_TYPED(normalized)(is_plain, is_layer, fit, &rows[i].x, k, count);
        const kx_f64v g = KX_TYPED(load)(is_plain, &rows[i].upstream, k, count);
        kx_f64v slope = has_gamma ? kx_f64v_mul(g, gamma) : g;
        if (is_layer) slope = kx_f64v_sub(slope, kx_f64v_set(fit->d_mean));
        slope = kx_f64v_mul(kx_f64v_fma(h, kx_f64v_set(-fit->dh_mean), slope), kx_f64v_set(fit->inverse));
        if (!is_plain) slope = kx_f64v_mul(slope, kx_f64v_set(fit->scale));
        KX_TYPED(store)(is_plain, dx + i, k, count, slope);
        if (!has_sums) continue;
        by_gamma = kx_f64v_fma(g, h, by_gamma);
        if (is_layer) by_beta = kx_f64v_add(g, by_beta);
    }
    if (!has_sums) return;
    kx_f64v_store(dgamma + k, kx_f64v_add(kx_f64v_load(dgamma + k), by_gamma));
    if (is_layer) kx_f64v_store(dbeta + k, kx_f64v_add(kx_f64v_load(dbeta + k), by_beta));
}
static KX_ALWAYS_INLINE void KX_TYPED(differentiate)(const int is_plain, const int is_layer, const int has_gamma,
                                                     const int has_sums, const KX_TYPED(operands) * rows, const kx_norm_row_t *dx,
                                                     const kx_norm_fit_t *fits, const int row_count, double *dgamma,
                                                     double *dbeta, int64_t n) {
    int64_t k = 0;
    for (; k + KX_F64_LANES <= n; k += KX_F64_LANES)
        KX_TYPED(differentiate_part)(is_plain, is_layer, has_gamma, has_sums, rows, dx, fits, row_count, dgamma, dbeta, k,
                                     KX_F64_LANES);
    if (k < n)
        KX_TYPED(differentiate_part)(is_plain, is_layer, has_gamma, has_sums, rows, dx, fits, row_count, dgamma, dbeta, k, n - k);
}
static KX_NEVER_INLINE void KX_TYPED(differentiate_any)(int is_layer, int has_sums, const KX_TYPED(operands) * rows,
                                                        const kx_norm_row_t *dx, const kx_norm_fit_t *fits, double *dgamma,
                                                        double *dbeta, int64_t n) {
    KX_TYPED(differentiate)(0, is_layer, rows->gamma.data != NULL, has_sums, rows, dx, fits, 1, dgamma, dbeta, n);
}

static KX_ALWAYS_INLINE void KX_TYPED(differentiate_rows)(const int is_layer, const kx_norm_job_t *job, int64_t first, int count,
                                                          double *dgamma, double *dbeta) {
    KX_TYPED(operands) rows[GROUP];
    kx_norm_row_t dx[GROUP];
    kx_norm_fit_t fits[GROUP];
    const int has_sums = dgamma != NULL;
    int are_plain = count == GROUP && (!job->gamma || job->gamma->row == 0);
    for (int i = 0; i < count; i++) {
        rows[i] = (KX_TYPED(operands)){row_of(job->x, first + i), row_of(job->upstream, first + i), row_of(job->gamma, first + i),
                                       1, 0, 0};
        dx[i] = row_of(job->dx, first + i);
        KX_TYPED(fit)(is_layer, 1, rows + i, job->n, job->eps, fits + i);
        are_plain &= fits[i].is_plain && KX_TYPED(is_contiguous)(dx + i);
    }
    if (!are_plain) {
        for (int i = 0; i < count; i++)
            KX_TYPED(differentiate_any)(is_layer, has_sums, rows + i, dx + i, fits + i, dgamma, dbeta, job->n);
    } else if (rows->gamma.data) {
        if (has_sums) KX_TYPED(differentiate)(1, is_layer, 1, 1, rows, dx, fits, GROUP, dgamma, dbeta, job->n);
        else KX_TYPED(differentiate)(1, is_layer, 1, 0, rows, dx, fits, GROUP, NULL, NULL, job->n);
    } else {
        if (has_sums) KX_TYPED(differentiate)(1, is_layer, 0, 1, rows, dx, fits, GROUP, dgamma, dbeta, job->n);
        else KX_TYPED(differentiate)(1, is_layer, 0, 0, rows, dx, fits, GROUP, NULL, NULL, job->n);
    }
}

static KX_ALWAYS_INLINE kx_status_t KX_TYPED(differentiate_chunk)(const int is_layer, kx_task_t *task, const kx_norm_job_t *job,
                                                                  int64_t begin, int64_t end) {
    const int64_t sums = (is_layer ? 2 : 1) * job->padded;
    double *totals = NULL, *block = NULL;
    if (job->chunks) {
        totals = job->chunks + begin / job->grain * 2 * sums;
        block = job->blocks + kx_task_worker(task) * sums;
        memset(totals, 0, (size_t)(2 * sums) * sizeof *totals);
    }
    for (int64_t first = begin; first < end; first += SUMMED) {
        const int64_t last = end - first < SUMMED ? end : first + SUMMED;
        if (block) memset(block, 0, (size_t)sums * sizeof *block);
        for (int64_t r = first; r < last; r += GROUP) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            KX_TYPED(differentiate_rows)(is_layer, job, r, (int)(last - r < GROUP ? last - r : GROUP), block,
                                         block ? block + job->padded : NULL);
        }
        if (!block) continue;
        const int before = kx_flags_begin();
        add_to_sums(totals, totals + sums, block, sums);
        kx_flags_end(before, 0);
    }
    return KX_OK;
}
static kx_status_t KX_TYPED(layer_chunk)(kx_task_t *task, void *job, int64_t begin, int64_t end) {
    return KX_TYPED(differentiate_chunk)(1, task, job, begin, end);
}
static kx_status_t KX_TYPED(rms_chunk)(kx_task_t *task, void *job, int64_t begin, int64_t end) {
    return KX_TYPED(differentiate_chunk)(0, task, job, begin, end);
}

static void KX_TYPED(round_sums)(const double *totals, const double *lost, KX_REAL *out, int64_t n) {
    for (int64_t k = 0; k < n; k++)
        out[k] = (KX_REAL)(fabs(lost[k]) < (double)INFINITY ? totals[k] + lost[k] : totals[k]);
}

static kx_status_t KX_TYPED(differentiate_batch)(const kx_ctx_t *ctx, int is_layer, kx_norm_job_t *job, int64_t rows,
                                                 KX_REAL *dgamma, KX_REAL *dbeta) {
    if (rows < 0 || job->n < 0 || !(job->eps >= 0)) return KX_E_ARGUMENT;
    if (job->n == 0) return KX_OK;
    job->grain = grain_of(rows);
    if (!dgamma && !dbeta) return kx_parallel_for(ctx, rows, job->grain, is_layer ? KX_TYPED(layer_chunk) : KX_TYPED(rms_chunk), job);
    if (job->n > INT64_MAX / 4096) return KX_E_MEMORY;
    job->padded = kx_round_up(job->n, 8);
    const int64_t count = rows > 0 ? (rows - 1) / job->grain + 1 : 1, sums = (is_layer ? 2 : 1) * job->padded;
    const int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, count * 2 * sums, sizeof(double));
    const size_t blocks = kx_layout_add(&layout, sums, (size_t)workers * sizeof(double));
    char *memory = layout.overflow ? NULL : kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    job->chunks = (double *)(void *)memory;
    job->blocks = (double *)(void *)(memory + blocks);
    if (rows == 0) memset(job->chunks, 0, (size_t)(2 * sums) * sizeof(double));
    const kx_status_t status = kx_parallel_for(ctx, rows, job->grain, is_layer ? KX_TYPED(layer_chunk) : KX_TYPED(rms_chunk), job);
    if (status >= 0) {
        double *totals = job->chunks, *lost = totals + sums;
        const int before = kx_flags_begin();
        for (int64_t c = 1; c < count; c++) {
            add_to_sums(totals, lost, totals + c * 2 * sums, sums);
            for (int64_t k = 0; k < sums; k++) lost[k] += lost[c * 2 * sums + k];
        }
        kx_flags_end(before, 0);
        if (dgamma) KX_TYPED(round_sums)(totals, lost, dgamma, job->n);
        if (dbeta) KX_TYPED(round_sums)(totals + job->padded, lost + job->padded, dbeta, job->n);
    }
    kx_release(ctx, memory);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_layer_norm_vjp)) KX_LAYER_VJP_PARAMETERS(KX_REAL) {
    kx_norm_job_t job = {.x = x, .upstream = upstream, .gamma = gamma, .dx = dx, .n = n, .eps = eps};
    return KX_TYPED(differentiate_batch)(ctx, 1, &job, rows, dgamma, dbeta);
}

kx_status_t KX_KERNEL(KX_TYPED(kx_rms_norm_vjp)) KX_RMS_VJP_PARAMETERS(KX_REAL) {
    kx_norm_job_t job = {.x = x, .upstream = upstream, .gamma = gamma, .dx = dx, .n = n, .eps = eps};
    return KX_TYPED(differentiate_batch)(ctx, 0, &job, rows, dgamma, NULL);
}
#endif
#endif
