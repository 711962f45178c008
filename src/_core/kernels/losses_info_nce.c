/* InfoNCE: of a square matrix, the mean of log(1 + sum_{j != i} exp((c_ij - c_ii) / t)) over the rows, or over rows and columns.

   Rows alone: exponents are relative to the diagonal, whose term is the constant 1, and exponentials are kept in the gradient's
   row, which one factor makes the gradient. Only a row with an exponent above NEAR is gone through again.

   Rows and columns: E = exp((c - middle) / t), with the middle of the diagonal, serves both, because

       exp((c_ij - c_ii) / t) = E_ij f_i,  exp((c_ij - c_jj) / t) = E_ij f_j,  f_i = exp((middle - c_ii) / t)

   A pass over GROUP_ROWS rows at a time keeps E in the gradient and adds to the sums of rows and columns, a second one multiplies
   by (alpha_i + beta_j): nothing is transposed. Where E would overflow, or a sum is so small that what has underflowed may count,
   there are two exponentials an entry, relative to the largest of the row and of the column.

   Columns are summed by chunks of rows, which depend on n alone, and the chunks' sums are added in order. */
#ifndef KX_REAL
#include "kexue/kx_losses_contrastive.h"

#include "isa/kernel.h"

#define KX_INFO_NCE_PARAMETERS(real)                                                                                           \
    (const kx_ctx_t *ctx, const real *similarities, int64_t count, int64_t n, ptrdiff_t matrix_stride, ptrdiff_t row_stride,   \
     double temperature, int is_symmetric, real *loss, real *grad)
#define KX_INFO_NCE_ARGUMENTS                                                                                                  \
    (ctx, similarities, count, n, matrix_stride, row_stride, temperature, is_symmetric, loss, grad)

KX_DISPATCH(kx_losses_info_nce_f32, KX_INFO_NCE_PARAMETERS(float), KX_INFO_NCE_ARGUMENTS)
KX_DISPATCH(kx_losses_info_nce_f64, KX_INFO_NCE_PARAMETERS(double), KX_INFO_NCE_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include <math.h>
#include <string.h>

#include "isa/transpose.h"
#include "runtime/flags.h"
#include "runtime/lane_sum.h"
#include "runtime/memory.h"
#include "runtime/sum.h"
#include "runtime/vector_math.h"

enum { GROUP = 8, GROUP_ROWS = 4, CHUNK_ENTRIES = 1 << 15, MOST_CHUNKS = 32, SERIAL_ENTRIES = 1 << 16 };

/* The passes over rows and columns. */
enum { SHARED, TOPS, APART, GRADIENT };

typedef struct kx_nce_job {
    const char *similarities;
    int64_t count, n;
    ptrdiff_t matrix_stride, row_stride;
    double inverse;
    char *loss, *grad;
    double *base, *rest; /* of each row: its loss is base + log1p(rest) */
    const kx_ctx_t *ctx;
} kx_nce_job_t;
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define NEAR 300.0
#define LARGEST 0x1.fffffffffffffp1023
#define LEAST_SUM 0x1p-1000
#include "losses_info_nce.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef NEAR
#undef LARGEST
#undef LEAST_SUM

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_IS_FLOAT 1
#define NEAR 60.0f
#define LARGEST 0x1.fffffep127f
#define LEAST_SUM 0x1p-122 /* times n: an underflow loses 2^-150 */
#include "losses_info_nce.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS

#include "kernels/losses_contrastive_template.h"

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(largest)(KX_VECTOR a) { return -V(reduce_min)(V(sub)(V(set)(R(0)), a)); }

/* Entries from number j on, and -inf on the diagonal, which is number i. */
static KX_ALWAYS_INLINE KX_VECTOR KX_TYPED(load_others)(const KX_REAL *row, int64_t i, int64_t j, int64_t width) {
    const KX_VECTOR entries = KX_TYPED(load)(row + j, width, -R(INFINITY));
    if (i < j || i >= j + width) return entries;
    KX_REAL lanes[KX_LANES];
    V(store)(lanes, entries);
    lanes[i - j] = -R(INFINITY);
    return V(load)(lanes);
}

static const KX_REAL *KX_TYPED(row_of)(const kx_nce_job_t *job, int64_t matrix, int64_t i) {
    return (const KX_REAL *)(const void *)(job->similarities + matrix * job->matrix_stride + i * job->row_stride);
}
/* A diagonal of which c / t is no number of the format. */
static int KX_TYPED(is_bad)(KX_REAL own, KX_REAL inverse) { return !(own * inverse >= -LARGEST && own * inverse <= LARGEST); }

/* ---- rows alone ---- */

typedef struct KX_TYPED(row_state) {
    KX_VECTOR top, highest; /* the largest exponent and entry */
    kx_lane_sum_t sum;
} KX_TYPED(row_state);

static KX_ALWAYS_INLINE void KX_TYPED(row_step)(const int is_writing, const KX_REAL *row, KX_REAL *grad, int64_t i, int64_t j,
                                                int64_t width, KX_VECTOR own, KX_VECTOR inverse, KX_VECTOR base,
                                                KX_TYPED(row_state) * s, KX_VECTOR *sum) {
    const KX_VECTOR c = KX_TYPED(load_others)(row, i, j, width), z = V(mul)(V(sub)(c, own), inverse);
    s->highest = V(max)(c, s->highest);
    s->top = V(max)(z, s->top);
    const KX_VECTOR e = V(exp)(V(sub)(z, base));
    *sum = V(add)(*sum, e);
    if (is_writing) KX_TYPED(store)(grad + j, width, e);
}

static KX_ALWAYS_INLINE void KX_TYPED(row_form)(const int is_writing, const KX_REAL *row, KX_REAL *grad, int64_t i, int64_t n,
                                                KX_REAL inverse, KX_REAL base, KX_TYPED(row_state) * state) {
    const int64_t whole = n / KX_LANES * KX_LANES;
    const KX_VECTOR own = V(set)(row[i]), scale = V(set)(inverse), from = V(set)(base);
    KX_TYPED(row_state) s = {V(set)(-R(INFINITY)), V(set)(-R(INFINITY)), {kx_f64v_set(0), kx_f64v_set(0)}};
    for (int64_t begin = 0; begin < n; begin += GROUP * KX_LANES) {
        const int64_t end = whole - begin < GROUP * KX_LANES ? whole : begin + GROUP * KX_LANES;
        KX_VECTOR sum = V(set)(R(0));
        for (int64_t j = begin; j < end; j += KX_LANES)
            KX_TYPED(row_step)(is_writing, row, grad, i, j, KX_LANES, own, scale, from, &s, &sum);
        if (end == whole && whole < n && n - begin <= GROUP * KX_LANES)
            KX_TYPED(row_step)(is_writing, row, grad, i, whole, n - whole, own, scale, from, &s, &sum);
        KX_TYPED(add)(&s.sum, sum);
    }
    *state = s;
}
static void KX_TYPED(row_sums)(const KX_REAL *row, KX_REAL *grad, int64_t i, int64_t n, KX_REAL inverse, KX_REAL base,
                               KX_TYPED(row_state) * s) {
    if (grad) KX_TYPED(row_form)(1, row, grad, i, n, inverse, base, s);
    else KX_TYPED(row_form)(0, row, grad, i, n, inverse, base, s);
}

static void KX_TYPED(solve_row)(const kx_nce_job_t *job, int64_t index) {
    const int64_t n = job->n, i = index % n;
    const KX_REAL *row = KX_TYPED(row_of)(job, index / n, i), inverse = R(job->inverse);
    KX_REAL *grad = job->grad ? (KX_REAL *)(void *)job->grad + index * n : NULL;
    KX_TYPED(row_state) s;
    KX_TYPED(row_sums)(row, grad, i, n, inverse, R(0), &s);
    const KX_REAL top = KX_TYPED(largest)(s.top);
    job->base[index] = (double)NAN;
    job->rest[index] = 0;
    if (KX_TYPED(is_bad)(row[i], inverse) || !(KX_TYPED(largest)(s.highest) * inverse <= LARGEST) || !(top <= LARGEST)) return;
    double own = 1; /* the diagonal's term */
    if (top > NEAR) {
        KX_TYPED(row_sums)(row, grad, i, n, inverse, top, &s);
        own = exp(-(double)top);
    }
    const double sum = KX_TYPED(total)(&s.sum), all = own + sum;
    if (isnan(sum)) return;
    job->base[index] = top > NEAR ? (double)top + log(all) : 0;
    job->rest[index] = top > NEAR ? 0 : sum;
    if (!grad) return;
    const double share = job->inverse / (double)n;
    const KX_VECTOR scale = V(set)(R(share / all));
    for (int64_t j = 0; j < n; j += KX_LANES) {
        const int64_t width = n - j < KX_LANES ? n - j : KX_LANES;
        KX_TYPED(store)(grad + j, width, V(mul)(KX_TYPED(load)(grad + j, width, R(0)), scale));
    }
    grad[i] = R(-share * (sum / all));
}

static kx_status_t KX_TYPED(solve_rows)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const int flags = kx_flags_begin();
    kx_status_t status = KX_OK;
    for (int64_t r = begin; r < end && status == KX_OK; r++) {
        if (kx_task_should_stop(task)) status = KX_E_CANCELLED;
        else KX_TYPED(solve_row)((const kx_nce_job_t *)arg, r);
    }
    kx_flags_end(flags, 0);
    return status;
}

/* The sum of base + log1p(rest), both of a whole number of vectors; `rest` is overwritten. */
static double KX_TYPED(sum_logarithms)(const double *base, double *rest, int64_t n) {
    for (int64_t i = 0; i < n; i += KX_F64_LANES)
        kx_f64v_store(rest + i, kx_f64v_add(kx_f64v_load(base + i), kx_f64v_log1p(kx_f64v_load(rest + i))));
    return kx_sum(rest, n);
}

static kx_status_t KX_TYPED(solve_matrices_by_row)(const kx_ctx_t *ctx, kx_nce_job_t *job) {
    const int64_t n = job->n;
    kx_layout_t layout = {0};
    if (n > (INT64_MAX - KX_F64_LANES) / job->count) return KX_E_OVERFLOW;
    const int64_t padded = kx_round_up(n * job->count, KX_F64_LANES);
    kx_layout_add(&layout, padded, sizeof(double));
    const size_t rest = kx_layout_add(&layout, padded, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    job->base = (double *)(void *)block;
    job->rest = (double *)(void *)(block + rest);
    for (int64_t i = n * job->count; i < padded; i++) job->base[i] = job->rest[i] = 0;
    const kx_status_t status =
        kx_parallel_for(ctx, n * job->count, 1 + CHUNK_ENTRIES / n, KX_TYPED(solve_rows), job);
    if (status == KX_OK) {
        const int flags = kx_flags_begin();
        KX_TYPED(sum_logarithms)(job->base, job->rest, padded);
        for (int64_t m = 0; m < job->count; m++)
            ((KX_REAL *)(void *)job->loss)[m] = R(kx_sum(job->rest + m * n, n) / (double)n);
        kx_flags_end(flags, 0);
    }
    kx_release(ctx, block);
    return status;
}

/* ---- rows and columns ---- */

typedef struct KX_TYPED(square) {
    const char *c;
    ptrdiff_t row_stride;
    int64_t n, padded, chunk_rows, chunks;
    int pass;
    KX_REAL inverse, middle;
    KX_REAL *grad;
    const KX_REAL *own;            /* the diagonal, padded with 0 */
    KX_REAL *row_top, *column_top; /* of the others: exponents, at least 0 */
    KX_REAL *row_scale, *column_scale;
    double *row_sum, *column_sum;
    KX_REAL *chunk_top;    /* SHARED: the largest exponent of each chunk; TOPS: rows of the columns' largest entries */
    KX_REAL *chunk_highest; /* of each chunk, the largest entry */
    double *chunk_sum;     /* rows of the columns' sums */
} KX_TYPED(square);

static const KX_REAL *KX_TYPED(square_row)(const KX_TYPED(square) * q, int64_t i) {
    return (const KX_REAL *)(const void *)(q->c + i * q->row_stride);
}

static KX_ALWAYS_INLINE void KX_TYPED(add_column)(double *sum, KX_VECTOR value) {
#if KX_IS_FLOAT
    float lanes[KX_LANES];
    V(store)(lanes, value);
    kx_f64v_store(sum, kx_f64v_add(kx_f64v_load(sum), kx_f64v_load_f32(lanes)));
    kx_f64v_store(sum + KX_F64_LANES, kx_f64v_add(kx_f64v_load(sum + KX_F64_LANES), kx_f64v_load_f32(lanes + KX_F64_LANES)));
#else
    kx_f64v_store(sum, kx_f64v_add(kx_f64v_load(sum), value));
#endif
}

/* One vector of `rows` rows. */
static KX_ALWAYS_INLINE void KX_TYPED(shared_step)(const int rows, const int is_writing, const KX_TYPED(square) * q, int64_t i,
                                                   int64_t j, int64_t width, double *column, KX_VECTOR *top, KX_VECTOR *highest,
                                                   KX_VECTOR *sums) {
    const KX_VECTOR middle = V(set)(q->middle), inverse = V(set)(q->inverse);
    KX_VECTOR together = V(set)(R(0));
    for (int k = 0; k < rows; k++) {
        const KX_VECTOR c = KX_TYPED(load_others)(KX_TYPED(square_row)(q, i + k), i + k, j, width);
        const KX_VECTOR z = V(mul)(V(sub)(c, middle), inverse), e = V(exp)(z);
        *highest = V(max)(c, *highest);
        *top = V(max)(z, *top);
        sums[k] = V(add)(sums[k], e);
        together = V(add)(together, e);
        if (is_writing) KX_TYPED(store)(q->grad + (i + k) * q->n + j, width, e);
    }
    KX_TYPED(add_column)(column + j, together);
}
static KX_ALWAYS_INLINE void KX_TYPED(shared_rows)(const int rows, const int is_writing, const KX_TYPED(square) * q, int64_t i,
                                                   double *column, KX_VECTOR *tops) {
    const int64_t n = q->n, whole = n / KX_LANES * KX_LANES;
    KX_VECTOR top = tops[0], highest = tops[1];
    kx_lane_sum_t all[GROUP_ROWS];
    for (int k = 0; k < rows; k++) all[k] = (kx_lane_sum_t){kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t begin = 0; begin < n; begin += GROUP * KX_LANES) {
        const int64_t end = whole - begin < GROUP * KX_LANES ? whole : begin + GROUP * KX_LANES;
        KX_VECTOR sums[GROUP_ROWS];
        for (int k = 0; k < rows; k++) sums[k] = V(set)(R(0));
        for (int64_t j = begin; j < end; j += KX_LANES)
            KX_TYPED(shared_step)(rows, is_writing, q, i, j, KX_LANES, column, &top, &highest, sums);
        if (end == whole && whole < n && n - begin <= GROUP * KX_LANES)
            KX_TYPED(shared_step)(rows, is_writing, q, i, whole, n - whole, column, &top, &highest, sums);
        for (int k = 0; k < rows; k++) KX_TYPED(add)(all + k, sums[k]);
    }
    tops[0] = top;
    tops[1] = highest;
    for (int k = 0; k < rows; k++) q->row_sum[i + k] = KX_TYPED(total)(all + k);
}

static void KX_TYPED(shared_chunk)(const KX_TYPED(square) * q, int64_t chunk, int64_t begin, int64_t end) {
    double *column = q->chunk_sum + chunk * q->padded;
    KX_VECTOR tops[2] = {V(set)(-R(INFINITY)), V(set)(-R(INFINITY))};
    for (int64_t j = 0; j < q->padded; j++) column[j] = 0;
    int64_t i = begin;
    for (; i + GROUP_ROWS <= end; i += GROUP_ROWS) {
        if (q->grad) KX_TYPED(shared_rows)(GROUP_ROWS, 1, q, i, column, tops);
        else KX_TYPED(shared_rows)(GROUP_ROWS, 0, q, i, column, tops);
    }
    for (; i < end; i++) {
        if (q->grad) KX_TYPED(shared_rows)(1, 1, q, i, column, tops);
        else KX_TYPED(shared_rows)(1, 0, q, i, column, tops);
    }
    q->chunk_top[chunk] = KX_TYPED(largest)(tops[0]);
    q->chunk_highest[chunk] = KX_TYPED(largest)(tops[1]);
}

static void KX_TYPED(shared_gradient)(const KX_TYPED(square) * q, int64_t i) {
    KX_REAL *grad = q->grad + i * q->n;
    const KX_VECTOR scale = V(set)(q->row_scale[i]);
    int64_t j = 0;
    for (; j + KX_LANES <= q->n; j += KX_LANES)
        V(store)(grad + j, V(mul)(V(load)(grad + j), V(add)(scale, V(load)(q->column_scale + j))));
    if (j < q->n) {
        const KX_VECTOR both = V(add)(scale, V(load)(q->column_scale + j));
        V(store_part)(grad + j, q->n - j, V(mul)(V(load_part)(grad + j, q->n - j, R(0)), both));
    }
}

/* Of numbers that one exponential cannot serve: `tops` takes the largest entries, the other passes both exponentials. */
static void KX_TYPED(tops_chunk)(const KX_TYPED(square) * q, int64_t chunk, int64_t begin, int64_t end) {
    KX_REAL *column = q->chunk_top + chunk * q->padded;
    const KX_VECTOR lowest = V(set)(-R(INFINITY));
    for (int64_t j = 0; j < q->padded; j++) column[j] = -R(INFINITY);
    for (int64_t i = begin; i < end; i++) {
        KX_VECTOR top = lowest;
        for (int64_t j = 0; j < q->n; j += KX_LANES) {
            const int64_t width = q->n - j < KX_LANES ? q->n - j : KX_LANES;
            const KX_VECTOR c = KX_TYPED(load_others)(KX_TYPED(square_row)(q, i), i, j, width);
            top = V(max)(c, top);
            V(store)(column + j, V(max)(c, V(load)(column + j)));
        }
        const KX_REAL exponent = (KX_TYPED(largest)(top) - q->own[i]) * q->inverse;
        q->row_top[i] = exponent > 0 ? exponent : R(0);
    }
}

static KX_ALWAYS_INLINE void KX_TYPED(apart_row)(const int is_gradient, const KX_TYPED(square) * q, int64_t i, double *column) {
    const KX_VECTOR inverse = V(set)(q->inverse), own = V(set)(q->own[i]), top = V(set)(q->row_top[i]);
    kx_lane_sum_t all = {kx_f64v_set(0), kx_f64v_set(0)};
    for (int64_t j = 0; j < q->n; j += KX_LANES) {
        const int64_t width = q->n - j < KX_LANES ? q->n - j : KX_LANES;
        const KX_VECTOR c = KX_TYPED(load_others)(KX_TYPED(square_row)(q, i), i, j, width);
        const KX_VECTOR by_row = V(exp)(V(sub)(V(mul)(V(sub)(c, own), inverse), top));
        const KX_VECTOR by_column =
            V(exp)(V(sub)(V(mul)(V(sub)(c, V(load)(q->own + j)), inverse), V(load)(q->column_top + j)));
        if (is_gradient) {
            const KX_VECTOR row_part = V(mul)(by_row, V(set)(q->row_scale[i]));
            KX_TYPED(store)(q->grad + i * q->n + j, width, V(add)(row_part, V(mul)(by_column, V(load)(q->column_scale + j))));
        } else {
            KX_TYPED(add)(&all, by_row);
            KX_TYPED(add_column)(column + j, by_column);
        }
    }
    if (!is_gradient) q->row_sum[i] = KX_TYPED(total)(&all);
}

static kx_status_t KX_TYPED(square_chunks)(kx_task_t *task, void *arg, int64_t first, int64_t last) {
    const KX_TYPED(square) *q = (const KX_TYPED(square) *)arg;
    const int flags = kx_flags_begin();
    kx_status_t status = KX_OK;
    for (int64_t chunk = first; chunk < last && status == KX_OK; chunk++) {
        const int64_t begin = chunk * q->chunk_rows, end = q->n - begin < q->chunk_rows ? q->n : begin + q->chunk_rows;
        double *column = q->chunk_sum + chunk * q->padded;
        if (kx_task_should_stop(task)) {
            status = KX_E_CANCELLED;
        } else if (q->pass == SHARED) {
            KX_TYPED(shared_chunk)(q, chunk, begin, end);
        } else if (q->pass == TOPS) {
            KX_TYPED(tops_chunk)(q, chunk, begin, end);
        } else if (q->pass == APART) {
            for (int64_t j = 0; j < q->padded; j++) column[j] = 0;
            for (int64_t i = begin; i < end; i++) KX_TYPED(apart_row)(0, q, i, column);
        } else {
            for (int64_t i = begin; i < end; i++) {
                if (q->row_top) KX_TYPED(apart_row)(1, q, i, NULL);
                else KX_TYPED(shared_gradient)(q, i);
            }
        }
    }
    kx_flags_end(flags, 0);
    return status;
}

static kx_status_t KX_TYPED(run)(const kx_ctx_t *ctx, KX_TYPED(square) * q, int pass) {
    q->pass = pass;
    return kx_parallel_for(ctx, q->chunks, 1, KX_TYPED(square_chunks), q);
}

static void KX_TYPED(add_chunks)(KX_TYPED(square) * q) {
    memcpy(q->column_sum, q->chunk_sum, (size_t)q->padded * sizeof(double));
    for (int64_t chunk = 1; chunk < q->chunks; chunk++)
        for (int64_t j = 0; j < q->n; j++) q->column_sum[j] += q->chunk_sum[chunk * q->padded + j];
}

/* Loss terms and scales of one direction. What the exponentials are to be multiplied with is e^-own for SHARED, 1 for APART. */
static double KX_TYPED(finish_sums)(const KX_TYPED(square) * q, const double *sums, const KX_REAL *tops, KX_REAL *scales,
                                    double *diagonal, double *base, double *rest, double share) {
    for (int64_t i = 0; i < q->padded; i++) base[i] = rest[i] = 0;
    for (int64_t i = 0; i < q->n; i++) {
        const double top = tops ? (double)tops[i] : 0, own = exp(-top);
        const double factor = tops ? 1 : exp(-(double)((q->own[i] - q->middle) * q->inverse)), sum = factor * sums[i];
        base[i] = top > 0 ? top + log(own + sum) : 0;
        rest[i] = top > 0 ? 0 : sum;
        scales[i] = R(share * factor / (own + sum));
        diagonal[i] += share * (sum / (own + sum));
    }
    return KX_TYPED(sum_logarithms)(base, rest, q->padded);
}

static kx_status_t KX_TYPED(solve_square)(const kx_ctx_t *ctx, const kx_nce_job_t *job, int64_t matrix) {
    const int64_t n = job->n, padded = kx_round_up(n, KX_F32_LANES);
    const int64_t rows = kx_round_up(1 + (n / MOST_CHUNKS > CHUNK_ENTRIES / n ? n / MOST_CHUNKS : CHUNK_ENTRIES / n), GROUP_ROWS);
    const int64_t chunks = (n - 1) / rows + 1;
    kx_layout_t layout = {0};
    size_t parts[10];
    for (int k = 0; k < 5; k++) parts[k] = kx_layout_add(&layout, padded, sizeof(KX_REAL));
    for (int k = 5; k < 8; k++) parts[k] = kx_layout_add(&layout, padded, 2 * sizeof(double));
    parts[8] = kx_layout_add(&layout, padded, (size_t)(chunks + 1) * sizeof(KX_REAL));
    parts[9] = kx_layout_add(&layout, padded, (size_t)chunks * sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *block = (char *)kx_allocate(ctx, layout.bytes);
    if (!block) return KX_E_MEMORY;
    KX_REAL *reals[5];
    double *doubles[3];
    for (int k = 0; k < 5; k++) reals[k] = (KX_REAL *)(void *)(block + parts[k]);
    for (int k = 0; k < 3; k++) doubles[k] = (double *)(void *)(block + parts[5 + k]);
    KX_TYPED(square) q = {.c = job->similarities + matrix * job->matrix_stride, .row_stride = job->row_stride, .n = n,
                          .padded = padded, .chunk_rows = rows, .chunks = chunks, .inverse = R(job->inverse),
                          .grad = job->grad ? (KX_REAL *)(void *)job->grad + matrix * n * n : NULL, .own = reals[0],
                          .row_scale = reals[1], .column_scale = reals[2], .row_sum = doubles[0],
                          .column_sum = doubles[0] + padded,
                          .chunk_top = (KX_REAL *)(void *)(block + parts[8]),
                          .chunk_highest = (KX_REAL *)(void *)(block + parts[8]) + chunks * padded,
                          .chunk_sum = (double *)(void *)(block + parts[9])};
    double *diagonal = doubles[1], *base = doubles[2], *rest = base + padded, loss = (double)NAN;

    int is_valid = 1, is_near = 1;
    KX_REAL low = R(INFINITY), high = -R(INFINITY);
    for (int64_t i = 0; i < padded; i++) {
        const KX_REAL own = i < n ? KX_TYPED(square_row)(&q, i)[i] : R(0);
        reals[0][i] = own;
        q.column_scale[i] = 0;
        diagonal[i] = 0;
        if (i >= n) continue;
        is_valid = is_valid && !KX_TYPED(is_bad)(own, q.inverse);
        low = own < low ? own : low;
        high = own > high ? own : high;
    }
    q.middle = low / 2 + high / 2;
    is_near = is_valid && (high - q.middle) * q.inverse <= NEAR && (q.middle - low) * q.inverse <= NEAR;

    kx_status_t status = is_valid ? KX_TYPED(run)(ctx, &q, SHARED) : KX_OK;
    if (is_valid && status == KX_OK) {
        KX_REAL top = -R(INFINITY), highest = top;
        for (int64_t chunk = 0; chunk < chunks; chunk++) {
            top = q.chunk_top[chunk] > top ? q.chunk_top[chunk] : top;
            highest = q.chunk_highest[chunk] > highest ? q.chunk_highest[chunk] : highest;
        }
        is_valid = highest * q.inverse <= LARGEST && (highest - low) * q.inverse <= LARGEST;
        is_near = is_near && top <= NEAR;
        KX_TYPED(add_chunks)(&q);
        for (int64_t i = 0; i < n && is_valid; i++) is_valid = !isnan(q.row_sum[i]);
        for (int64_t i = 0; i < n && is_near; i++)
            is_near = q.row_sum[i] > (double)n * LEAST_SUM && q.column_sum[i] > (double)n * LEAST_SUM;
    }
    if (is_valid && status == KX_OK && !is_near) {
        q.row_top = reals[3];
        q.column_top = reals[4];
        status = KX_TYPED(run)(ctx, &q, TOPS);
        for (int64_t j = 0; j < padded && status == KX_OK; j++) {
            KX_REAL top = -R(INFINITY);
            for (int64_t chunk = 0; chunk < chunks; chunk++) {
                const KX_REAL entry = q.chunk_top[chunk * padded + j];
                top = entry > top ? entry : top;
            }
            const KX_REAL exponent = (top - q.own[j]) * q.inverse;
            q.column_top[j] = exponent > 0 ? exponent : R(0);
        }
        if (status == KX_OK) status = KX_TYPED(run)(ctx, &q, APART);
        if (status == KX_OK) KX_TYPED(add_chunks)(&q);
    }
    if (is_valid && status == KX_OK) {
        const double share = job->inverse / (2 * (double)n);
        loss = KX_TYPED(finish_sums)(&q, q.row_sum, q.row_top, q.row_scale, diagonal, base, rest, share);
        loss += KX_TYPED(finish_sums)(&q, q.column_sum, q.column_top, q.column_scale, diagonal, base, rest, share);
        loss /= 2 * (double)n;
        if (q.grad) status = KX_TYPED(run)(ctx, &q, GRADIENT);
        for (int64_t i = 0; i < n && q.grad && status == KX_OK; i++) q.grad[i * (n + 1)] = R(-diagonal[i]);
    }
    ((KX_REAL *)(void *)job->loss)[matrix] = R(loss);
    kx_release(ctx, block);
    return status;
}

static kx_status_t KX_TYPED(solve_squares)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_nce_job_t *job = (const kx_nce_job_t *)arg;
    const int flags = kx_flags_begin();
    kx_status_t status = KX_OK;
    for (int64_t m = begin; m < end && status == KX_OK; m++)
        status = kx_task_should_stop(task) ? KX_E_CANCELLED : KX_TYPED(solve_square)(job->ctx, job, m);
    kx_flags_end(flags, 0);
    return status;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_losses_info_nce)) KX_INFO_NCE_PARAMETERS(KX_REAL) {
    const double inverse = 1 / temperature;
    if (count < 0 || n < 1 || !(temperature > 0 && isfinite(temperature)) || !(inverse <= (double)LARGEST)) return KX_E_ARGUMENT;
    if (count == 0) return KX_OK;
    kx_nce_job_t job = {.similarities = (const char *)similarities, .count = count, .n = n, .matrix_stride = matrix_stride,
                        .row_stride = row_stride, .inverse = inverse, .loss = (char *)loss, .grad = (char *)grad, .ctx = ctx};
    if (!is_symmetric) return KX_TYPED(solve_matrices_by_row)(ctx, &job);
    if (n <= SERIAL_ENTRIES / n) return kx_parallel_for(ctx, count, 1 + CHUNK_ENTRIES / (n * n), KX_TYPED(solve_squares), &job);
    /* the workers share a matrix */
    const int flags = kx_flags_begin();
    int64_t next_poll = 0;
    kx_status_t status = KX_OK;
    for (int64_t m = 0; m < count && status == KX_OK; m++)
        status = kx_ctx_should_stop(ctx, &next_poll) ? KX_E_CANCELLED : KX_TYPED(solve_square)(ctx, &job, m);
    kx_flags_end(flags, 0);
    return status;
}

#endif /* KX_DISPATCH_PASS */

#endif
