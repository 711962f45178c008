/* Norms of rows, and rows that are scaled.

   Squares are summed plainly in blocks that stay in the first cache. A block of doubles whose sum shows that squares left the
   format's range, or may have, is summed once more, scaled by 2^600 or 2^-600, and its sum is kept apart from the ordinary
   ones: as safe as a scaled norm, and as fast as a plain one. Squares of floats are in range as doubles. */
#ifndef KX_REAL
#include "kexue/kx_gradient_clipping.h"

#include "isa/kernel.h"

#define KX_ROW_NORMS_PARAMETERS(real) \
    (const kx_ctx_t *ctx, const real *x, int64_t rows, int64_t columns, int64_t stride, kx_scaled_norm_t *norms)
#define KX_ROW_NORMS_ARGUMENTS (ctx, x, rows, columns, stride, norms)
#define KX_SCALE_ROWS_PARAMETERS(real)                                                                                 \
    (const kx_ctx_t *ctx, const real *x, int64_t rows, int64_t columns, int64_t stride, const kx_clip_factor_t *factors, \
     real *out, int64_t out_stride)
#define KX_SCALE_ROWS_ARGUMENTS (ctx, x, rows, columns, stride, factors, out, out_stride)
KX_DISPATCH(kx_row_norms_f32, KX_ROW_NORMS_PARAMETERS(float), KX_ROW_NORMS_ARGUMENTS)
KX_DISPATCH(kx_row_norms_f64, KX_ROW_NORMS_PARAMETERS(double), KX_ROW_NORMS_ARGUMENTS)
KX_DISPATCH(kx_scale_rows_f32, KX_SCALE_ROWS_PARAMETERS(float), KX_SCALE_ROWS_ARGUMENTS)
KX_DISPATCH(kx_scale_rows_f64, KX_SCALE_ROWS_PARAMETERS(double), KX_SCALE_ROWS_ARGUMENTS)

#include <math.h>
#include <string.h>

#include "runtime/flags.h"

/* Sums of squares of numbers times 2^600, as they are, and times 2^-600. */
typedef struct kx_squares {
    double small, middle, big;
} kx_squares_t;

static inline kx_scaled_norm_t norm_of(const kx_squares_t *squares) {
    if (!(squares->middle < (double)INFINITY)) return (kx_scaled_norm_t){squares->middle, 0};
    if (squares->big > 0) return (kx_scaled_norm_t){squares->big + squares->middle * 0x1p-600 * 0x1p-600, 600};
    if (squares->middle > 0) return (kx_scaled_norm_t){squares->middle + squares->small * 0x1p-600 * 0x1p-600, 0};
    return (kx_scaled_norm_t){squares->small, -600};
}

/* Neumaier's sum: what an addition loses is added to `lost`. A sum that is not finite stays so. */
static inline void add_with_loss(double *total, double *lost, double value) {
    const double sum = *total + value;
    const double loss = fabs(*total) >= fabs(value) ? (*total - sum) + value : (value - sum) + *total;
    *lost += sum < (double)INFINITY ? loss : 0;
    *total = sum;
}

#ifdef KX_DISPATCH_PASS
kx_scaled_norm_t kx_combine_norms(const kx_scaled_norm_t *norms, int64_t count) {
    const int flags = kx_flags_begin();
    kx_squares_t total = {0, 0, 0}, lost = {0, 0, 0};
    for (int64_t i = 0; i < count; i++) {
        const int e = norms[i].exponent;
        add_with_loss(e < 0 ? &total.small : e > 0 ? &total.big : &total.middle,
                      e < 0 ? &lost.small : e > 0 ? &lost.big : &lost.middle,
                      norms[i].square);
    }
    total = (kx_squares_t){total.small + lost.small, total.middle + lost.middle, total.big + lost.big};
    const kx_scaled_norm_t norm = norm_of(&total);
    kx_flags_end(flags, 0);
    return norm;
}

static kx_clip_factor_t factor_of(kx_scaled_norm_t norm, double max_norm, int is_soft) {
    const kx_clip_factor_t whole = {1, 1};
    if (!(norm.square > 0) || !(max_norm < (double)INFINITY)) return whole;
    if (!(max_norm > 0)) return (kx_clip_factor_t){0, 1};
    /* Both as m 2^e with m in [0.5, 1): no sum or quotient of those leaves the range. */
    int of_norm, of_bound;
    double divisor = frexp(sqrt(norm.square), &of_norm);
    const double bound = frexp(max_norm, &of_bound);
    of_norm += norm.exponent;
    if (is_soft) {
        const int common = of_norm > of_bound ? of_norm : of_bound;
        divisor = ldexp(divisor, of_norm - common) + ldexp(bound, of_bound - common);
        of_norm = common;
    } else if (of_norm < of_bound || (of_norm == of_bound && divisor <= bound)) {
        return whole;
    }
    const int exponent = of_bound - of_norm, first = exponent < -1000 ? -1000 : exponent;
    return (kx_clip_factor_t){ldexp(bound / divisor, first), ldexp(1, exponent - first)};
}

kx_clip_factor_t kx_clip_factor(kx_scaled_norm_t norm, double max_norm, int is_soft) {
    const int flags = kx_flags_begin();
    const kx_clip_factor_t factor = factor_of(norm, max_norm, is_soft);
    kx_flags_end(flags, 0);
    return factor;
}
#else
#include "isa/simd.h"
#include "runtime/memory.h"

enum {
    BLOCK = 2048,  /* numbers whose squares are added plainly: 64 lanes of 32, 16 kB of doubles */
    PART = 1 << 16 /* numbers that one worker takes at a time */
};

typedef struct kx_rows {
    const void *x;
    void *out;
    int64_t rows, columns, stride, out_stride, parts; /* parts of a row */
    const kx_clip_factor_t *factors;
    int streams;
    kx_squares_t *squares; /* (rows, parts), or NULL where a row is one part */
    kx_scaled_norm_t *norms;
} kx_rows_t;

static kx_status_t check_sizes(int64_t rows, int64_t columns) {
    if (rows < 0 || columns < 0) return KX_E_ARGUMENT;
    return columns && rows > INT64_MAX / columns ? KX_E_OVERFLOW : KX_OK;
}
static int64_t parts_of(int64_t columns) { return columns > PART ? (columns - 1) / PART + 1 : 1; }
static int64_t grain_of(int64_t columns) { return columns < PART / 2 ? PART / (columns > 16 ? columns : 16) : 1; }

static inline kx_squares_t sum_squares(const kx_squares_t *parts, int64_t count) {
    kx_squares_t total = {0, 0, 0}, lost = {0, 0, 0};
    for (int64_t i = 0; i < count; i++) {
        add_with_loss(&total.small, &lost.small, parts[i].small);
        add_with_loss(&total.middle, &lost.middle, parts[i].middle);
        add_with_loss(&total.big, &lost.big, parts[i].big);
    }
    return (kx_squares_t){total.small + lost.small, total.middle + lost.middle, total.big + lost.big};
}

static inline double sum_of_lanes(kx_f64v a) {
    double lanes[KX_F64_LANES], sum = 0;
    kx_f64v_store(lanes, a);
    for (int l = 0; l < KX_F64_LANES; l++) sum += lanes[l];
    return sum;
}
#endif

#ifndef KX_DISPATCH_PASS
static inline kx_f64v load_f32(const float *x) { return kx_f64v_load_f32(x); }
static inline kx_f64v load_f64(const double *x) { return kx_f64v_load(x); }
static inline kx_f64v load_part_f32(const float *x, int64_t count) { return kx_f64v_load_part_f32(x, count, 0); }
static inline kx_f64v load_part_f64(const double *x, int64_t count) { return kx_f64v_load_part(x, count, 0); }
static inline void store_f32(float *x, kx_f64v a) { kx_f64v_store_f32(x, a); }
static inline void store_f64(double *x, kx_f64v a) { kx_f64v_store(x, a); }
static inline void stream_pair_f32(float *x, kx_f64v a, kx_f64v b) { kx_f64v_stream_pair_f32(x, a, b); }
static inline void stream_pair_f64(double *x, kx_f64v a, kx_f64v b) {
    kx_f64v_stream(x, a);
    kx_f64v_stream(x + KX_F64_LANES, b);
}
static inline int are_squares_ordinary_f32(double sum) { return sum < (double)INFINITY || sum != sum; }
static inline int are_squares_ordinary_f64(double sum) { return sum < 0x1p960 && sum > 0x1p-900; }

#define KX_TEMPLATE "kernels/gradient_clipping.c"
#include "isa/each_real.h"
#endif
#else /* the template */

/* The sum of squares of scaled numbers. */
static KX_ALWAYS_INLINE double KX_TYPED(sum_block)(const KX_REAL *x, int64_t n, double scale) {
    const kx_f64v scales = kx_f64v_set(scale);
    kx_f64v sums[8];
    for (int s = 0; s < 8; s++) sums[s] = kx_f64v_set(0);
    int64_t i = 0;
    for (; i + 8 * KX_F64_LANES <= n; i += 8 * KX_F64_LANES) {
        for (int s = 0; s < 8; s++) {
            kx_f64v value = KX_TYPED(load)(x + i + s * KX_F64_LANES);
            if (scale != 1) value = kx_f64v_mul(value, scales);
            sums[s] = kx_f64v_fma(value, value, sums[s]);
        }
    }
    for (int s = 0; i < n; i += KX_F64_LANES, s++) {
        kx_f64v value = n - i >= KX_F64_LANES ? KX_TYPED(load)(x + i) : KX_TYPED(load_part)(x + i, n - i);
        if (scale != 1) value = kx_f64v_mul(value, scales);
        sums[s] = kx_f64v_fma(value, value, sums[s]);
    }
    for (int s = 0; s < 4; s++) sums[s] = kx_f64v_add(sums[s], sums[s + 4]);
    return sum_of_lanes(kx_f64v_add(kx_f64v_add(sums[0], sums[2]), kx_f64v_add(sums[1], sums[3])));
}

static kx_squares_t KX_TYPED(sum_part)(const KX_REAL *x, int64_t n) {
    kx_squares_t total = {0, 0, 0};
    for (int64_t begin = 0; begin < n; begin += BLOCK) {
        const int64_t count = n - begin < BLOCK ? n - begin : BLOCK;
        const double sum = KX_TYPED(sum_block)(x + begin, count, 1);
        if (KX_TYPED(are_squares_ordinary)(sum)) {
            total.middle += sum;
        } else if (sum < 1) {
            total.small += KX_TYPED(sum_block)(x + begin, count, 0x1p600);
        } else {
            const double scaled = KX_TYPED(sum_block)(x + begin, count, 0x1p-600);
            *(scaled < (double)INFINITY ? &total.big : &total.middle) += scaled;
        }
    }
    return total;
}

static kx_status_t KX_TYPED(sum_parts)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rows_t *job = (const kx_rows_t *)arg;
    for (int64_t unit = begin; unit < end; unit++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t row = unit / job->parts, from = unit % job->parts * PART, left = job->columns - from;
        const KX_REAL *x = (const KX_REAL *)job->x + row * job->stride + from;
        const kx_squares_t squares = KX_TYPED(sum_part)(x, left < PART ? left : PART);
        if (job->squares) job->squares[unit] = squares;
        else job->norms[row] = norm_of(&squares);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_row_norms)) KX_ROW_NORMS_PARAMETERS(KX_REAL) {
    kx_status_t status = check_sizes(rows, columns);
    if (status != KX_OK) return status;
    const int flags = kx_flags_begin();
    kx_rows_t job = {.x = x, .rows = rows, .columns = columns, .stride = stride, .parts = parts_of(columns), .norms = norms};
    if (job.parts > 1) { /* fewer bytes than numbers: no wrap-around */
        job.squares = (kx_squares_t *)kx_allocate(ctx, (size_t)(rows * job.parts) * sizeof *job.squares);
        if (!job.squares) return KX_E_MEMORY;
    }
    status = kx_parallel_for(ctx, rows * job.parts, grain_of(columns), KX_TYPED(sum_parts), &job);
    for (int64_t row = 0; job.squares && row < rows && status == KX_OK; row++) {
        const kx_squares_t squares = sum_squares(job.squares + row * job.parts, job.parts);
        norms[row] = norm_of(&squares);
    }
    kx_release(ctx, job.squares);
    kx_flags_end(flags, 0);
    return status;
}

/* Past the caches 10,000 x 1000 take 16% (float32) and 11% (float64) less; with stores of half a line of floats it was 18% more. */
static KX_ALWAYS_INLINE void KX_TYPED(scale_part)(const KX_REAL *x, int64_t n, kx_clip_factor_t factor, int streams, KX_REAL *out) {
    const kx_f64v once = kx_f64v_set(factor.first), twice = kx_f64v_set(factor.second);
    enum { PAIR = 2 * KX_F64_LANES };
    int64_t i = 0;
    if (streams) {
        for (; i < n && (uintptr_t)(out + i) % (PAIR * sizeof *out); i++)
            out[i] = (KX_REAL)((double)x[i] * factor.first * factor.second);
        for (; i + PAIR <= n; i += PAIR) {
            const kx_f64v low = kx_f64v_mul(KX_TYPED(load)(x + i), once);
            const kx_f64v high = kx_f64v_mul(KX_TYPED(load)(x + i + KX_F64_LANES), once);
            KX_TYPED(stream_pair)(out + i, kx_f64v_mul(low, twice), kx_f64v_mul(high, twice));
        }
    }
    for (; i + KX_F64_LANES <= n; i += KX_F64_LANES) {
        kx_f64v value = kx_f64v_mul(KX_TYPED(load)(x + i), once);
        if (factor.second != 1) value = kx_f64v_mul(value, twice);
        KX_TYPED(store)(out + i, value);
    }
    for (; i < n; i++) out[i] = (KX_REAL)((double)x[i] * factor.first * factor.second);
}

static kx_status_t KX_TYPED(scale_parts)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_rows_t *job = (const kx_rows_t *)arg;
    for (int64_t unit = begin; unit < end; unit++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t row = unit / job->parts, from = unit % job->parts * PART, left = job->columns - from;
        const int64_t n = left < PART ? left : PART;
        const KX_REAL *x = (const KX_REAL *)job->x + row * job->stride + from;
        KX_REAL *out = (KX_REAL *)job->out + row * job->out_stride + from;
        const kx_clip_factor_t factor = job->factors[row];
        if (factor.first == 0) {
            memset(out, 0, (size_t)n * sizeof *out);
        } else if (job->streams) {
            KX_TYPED(scale_part)(x, n, factor, 1, out);
        } else if (factor.first == 1 && factor.second == 1) {
            if (out != x) memcpy(out, x, (size_t)n * sizeof *out);
        } else if (factor.second == 1) {
            KX_TYPED(scale_part)(x, n, (kx_clip_factor_t){factor.first, 1}, 0, out);
        } else {
            KX_TYPED(scale_part)(x, n, factor, 0, out);
        }
    }
    if (job->streams) kx_stream_end();
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_scale_rows)) KX_SCALE_ROWS_PARAMETERS(KX_REAL) {
    kx_status_t status = check_sizes(rows, columns);
    if (status != KX_OK) return status;
    const int flags = kx_flags_begin();
    kx_rows_t job = {.x = x, .out = out, .rows = rows, .columns = columns, .stride = stride, .out_stride = out_stride,
                     .parts = parts_of(columns), .factors = factors,
                     .streams = x != out && rows * columns >= KX_STREAM_BYTES / (int64_t)sizeof *x};
    status = kx_parallel_for(ctx, rows * job.parts, grain_of(columns), KX_TYPED(scale_parts), &job);
    kx_flags_end(flags, 0);
    return status;
}
#endif
