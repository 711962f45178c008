/* The gradients of attention, in tiles of ROWS queries by 64 keys: weights P = e^(s - top - log_sum), dV += P^T dO, dP = dO V^T,
   dS = P (dP - D), D the rows' sums of dO O, dQ += dS K, dK += dS^T (scale Q) (Dao et al. 2022, arXiv:2205.14135). */
#ifndef KX_REAL
#include "kexue/kx_attention.h"

#include "isa/kernel.h"

#define KX_GRADIENT_PARAMETERS(real)                                                                                   \
    (const kx_ctx_t *ctx, const kx_attention_t *attention, const real *out, const double *log_sums,                    \
     const kx_attention_rows_t *out_gradients, real *query_gradients, real *key_gradients, real *value_gradients,      \
     double *scale_gradients)
#define KX_GRADIENT_ARGUMENTS                                                                                          \
    (ctx, attention, out, log_sums, out_gradients, query_gradients, key_gradients, value_gradients, scale_gradients)
KX_DISPATCH(kx_attention_gradient_f32, KX_GRADIENT_PARAMETERS(float), KX_GRADIENT_ARGUMENTS)
KX_DISPATCH(kx_attention_gradient_f64, KX_GRADIENT_PARAMETERS(double), KX_GRADIENT_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_internal.h"

enum { ROWS = 8 * TILE_ROWS, KEY_TILES = (KEYS + TILE_ROWS - 1) / TILE_ROWS, PADDED_KEYS = KEY_TILES * TILE_ROWS };

typedef struct kx_attention_gradient_job {
    const kx_attention_t *a;
    const void *out;
    const double *log_sums;
    const kx_attention_rows_t *out_gradients;
    void *query_gradients, *key_gradients, *value_gradients;
    double *scale_gradients;
    int64_t width, value_width; /* dimensions rounded up to tiles */
    char *memory;
    size_t worker_bytes, offsets[12];
} kx_attention_gradient_job_t;
#endif

#define KX_TEMPLATE "kernels/attention_gradient.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_tiles.h"

typedef struct KX_TYPED(gradient_work) {
    KX_REAL *keys_across, *values_across; /* a block's, transposed */
    KX_REAL *keys;                        /* its rows */
    KX_REAL *queries, *scaled_queries, *out_gradients; /* of ROWS */
    KX_REAL *weights, *score_gradients;   /* ROWS x KEYS; readers of columns of tiles go past the end */
    KX_REAL *key_sums, *value_sums;       /* gradients of a block */
    KX_REAL *query_sums;                  /* of the item */
    double *along;                        /* D, of the item */
} KX_TYPED(gradient_work);

/* Weights and the scores' gradients of one query and a block of keys. */
static void KX_TYPED(differentiate_row)(const kx_attention_gradient_job_t *job, int64_t item, int64_t query, int64_t first_key,
                                        int64_t count, double along, KX_REAL *weights, KX_REAL *gradients) {
    const kx_attention_t *a = job->a;
    const int64_t place = item * a->query_count + query;
    const double top = query < a->query_count ? job->log_sums[2 * place] : -(double)INFINITY;
    const double log_sum = query < a->query_count ? job->log_sums[2 * place + 1] : 0;
    if (top == -(double)INFINITY && log_sum == 0) { /* it sees nothing */
        memset(weights, 0, KEYS * sizeof *weights);
        memset(gradients, 0, KEYS * sizeof *gradients);
        return;
    }
    const double scale = a->scales[item * a->scale_item + query * a->scale_row];
    KX_REAL products[KEYS];
    if (job->scale_gradients) memcpy(products, weights, sizeof products);
    KX_TYPED(scale_and_mask)(a, item, query, first_key, count, (KX_REAL)scale, weights);
    /* With none of the scores finite, a NaN is in the sum alone. */
    const KX_VECTOR base = V(set)(top > -(double)INFINITY ? (KX_REAL)top : 0), beyond = V(set)((KX_REAL)log_sum);
    const KX_VECTOR least = V(set)(-(KX_REAL)KX_EXP_LEAST), center = V(set)((KX_REAL)along);
    for (int v = 0; v < KEYS / KX_LANES; v++) {
        const KX_VECTOR apart = V(sub)(V(sub)(V(load)(weights + v * KX_LANES), base), beyond);
        const KX_VECTOR p = V(exp)(V(max)(least, apart));
        V(store)(weights + v * KX_LANES, p);
        V(store)(gradients + v * KX_LANES, V(mul)(p, V(sub)(V(load)(gradients + v * KX_LANES), center)));
    }
    if (!isfinite(log_sum) || !isfinite(along)) /* what such a row does not see has no part in it */
        for (int64_t j = 0; j < count; j++)
            if (KX_TYPED(is_hidden)(a, item, query, first_key + j)) weights[j] = gradients[j] = 0;
    if (!job->scale_gradients) return;
    double sum = 0;
    for (int64_t j = 0; j < count; j++)
        if (weights[j] != 0) sum += (double)gradients[j] * (double)products[j];
    job->scale_gradients[place] += sum;
}

static kx_status_t KX_TYPED(differentiate_block)(kx_task_t *task, const kx_attention_gradient_job_t *job,
                                                 const KX_TYPED(gradient_work) * work, int64_t item, int64_t first_key,
                                                     int64_t count) {
    const kx_attention_t *a = job->a;
    const int64_t d = a->dimension, width = job->width, value_width = job->value_width;
    const char *queries = (const char *)a->queries.data + a->queries.offsets[item];
    const char *gradients = (const char *)job->out_gradients->data + job->out_gradients->offsets[item];
    memset(work->key_sums, 0, (size_t)(PADDED_KEYS * width) * sizeof(KX_REAL));
    memset(work->value_sums, 0, (size_t)(PADDED_KEYS * value_width) * sizeof(KX_REAL));
    for (int64_t begin = a->is_causal ? first_key / ROWS * ROWS : 0; begin < a->query_count; begin += ROWS) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t rows = a->query_count - begin < ROWS ? a->query_count - begin : ROWS;
        KX_TYPED(copy_rows)(queries + begin * a->queries.row, a->queries.row, rows, d, ROWS, width, work->queries);
        KX_TYPED(clean)(work->queries, ROWS * width);
        KX_TYPED(copy_rows)(gradients + begin * job->out_gradients->row, job->out_gradients->row, rows, a->value_dimension, ROWS,
                            value_width, work->out_gradients);
        for (int64_t r = 0; r < rows; r++) {
            const KX_VECTOR scale = V(set)((KX_REAL)a->scales[item * a->scale_item + (begin + r) * a->scale_row]);
            for (int64_t k = 0; k < width; k += KX_LANES)
                V(store)(work->scaled_queries + r * width + k, V(mul)(scale, V(load)(work->queries + r * width + k)));
        }
        for (int64_t r = 0; r < ROWS; r += TILE_ROWS) {
            KX_REAL *weights = work->weights + r * KEYS, *score_gradients = work->score_gradients + r * KEYS;
            KX_TYPED(multiply)(work->queries + r * width, width, 1, work->keys_across, KEYS, d, KEYS, weights, KEYS);
            KX_TYPED(multiply)(work->out_gradients + r * value_width, value_width, 1, work->values_across, KEYS,
                               a->value_dimension, KEYS,
                               score_gradients, KEYS);
            for (int i = 0; i < TILE_ROWS; i++) {
                const int64_t query = begin + r + i;
                KX_TYPED(differentiate_row)(job, item, query, first_key, count, query < a->query_count ? work->along[query] : 0,
                                            weights + i * KEYS, score_gradients + i * KEYS);
            }
            KX_TYPED(multiply_add)(score_gradients, KEYS, 1, work->keys, width, count, width,
                                   work->query_sums + (begin + r) * width, width);
        }
        for (int64_t j = 0; j < count; j += TILE_ROWS) {
            KX_TYPED(multiply_add)(work->score_gradients + j, 1, KEYS, work->scaled_queries, width, rows, width,
                                   work->key_sums + j * width, width);
            KX_TYPED(multiply_add)(work->weights + j, 1, KEYS, work->out_gradients, value_width, rows, value_width,
                                   work->value_sums + j * value_width, value_width);
        }
    }
    KX_REAL *key_gradients = (KX_REAL *)job->key_gradients + (item * a->key_count + first_key) * d;
    KX_REAL *value_gradients = (KX_REAL *)job->value_gradients + (item * a->key_count + first_key) * a->value_dimension;
    for (int64_t j = 0; j < count; j++) {
        if (d) memcpy(key_gradients + j * d, work->key_sums + j * width, (size_t)d * sizeof *key_gradients);
        if (a->value_dimension)
            memcpy(value_gradients + j * a->value_dimension, work->value_sums + j * value_width,
                   (size_t)a->value_dimension * sizeof *value_gradients);
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(differentiate_item)(kx_task_t *task, const kx_attention_gradient_job_t *job,
                                                const KX_TYPED(gradient_work) * work, int64_t item) {
    const kx_attention_t *a = job->a;
    const int64_t d = a->dimension, queries = a->query_count;
    memset(work->query_sums, 0, (size_t)(kx_round_up(queries, ROWS) * job->width) * sizeof(KX_REAL));
    for (int64_t r = 0; r < queries; r++) {
        const KX_REAL *out = (const KX_REAL *)job->out + (item * queries + r) * a->value_dimension;
        const KX_REAL *gradient = (const KX_REAL *)(const void *)((const char *)job->out_gradients->data +
                                                                  job->out_gradients->offsets[item]
                                                                      + r * job->out_gradients->row);
        double sum = 0;
        for (int64_t k = 0; k < a->value_dimension; k++) sum += (double)out[k] * (double)gradient[k];
        work->along[r] = sum;
        if (job->scale_gradients) job->scale_gradients[item * queries + r] = 0;
    }
    for (int64_t first = 0; first < a->key_count; first += KEYS) {
        const int64_t count = a->key_count - first < KEYS ? a->key_count - first : KEYS;
        const char *keys = (const char *)a->keys.data + a->keys.offsets[item] + first * a->keys.row;
        const char *values = (const char *)a->values.data + a->values.offsets[item] + first * a->values.row;
        KX_TYPED(transpose_rows)(keys, a->keys.row, count, d, work->keys_across);
        KX_TYPED(transpose_rows)(values, a->values.row, count, a->value_dimension, work->values_across);
        KX_TYPED(copy_rows)(keys, a->keys.row, count, d, count, job->width, work->keys);
        /* A weight of 0 times NaN is no 0; rows that see one have a NaN from the forward call to tell. */
        KX_TYPED(clean)(work->keys_across, d * KEYS);
        KX_TYPED(clean)(work->values_across, a->value_dimension * KEYS);
        KX_TYPED(clean)(work->keys, count * job->width);
        const kx_status_t status = KX_TYPED(differentiate_block)(task, job, work, item, first, count);
        if (status != KX_OK) return status;
    }
    KX_REAL *query_gradients = (KX_REAL *)job->query_gradients + item * queries * d;
    for (int64_t r = 0; r < queries; r++) {
        const KX_REAL scale = (KX_REAL)a->scales[item * a->scale_item + r * a->scale_row];
        for (int64_t k = 0; k < d; k++) query_gradients[r * d + k] = scale * work->query_sums[r * job->width + k];
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(differentiate)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_attention_gradient_job_t *job = (const kx_attention_gradient_job_t *)arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_TYPED(gradient_work) work;
    KX_REAL **parts[] = {&work.keys_across, &work.values_across, &work.keys, &work.queries, &work.scaled_queries,
        &work.out_gradients,
                         &work.weights, &work.score_gradients, &work.key_sums, &work.value_sums, &work.query_sums};
    for (int i = 0; i < 11; i++) *parts[i] = (KX_REAL *)(void *)(memory + job->offsets[i]);
    work.along = (double *)(void *)(memory + job->offsets[11]);
    for (int64_t item = begin; item < end; item++) {
        const kx_status_t status = KX_TYPED(differentiate_item)(task, job, &work, item);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_attention_gradient)) KX_GRADIENT_PARAMETERS(KX_REAL) {
    const kx_status_t checked = KX_KERNEL(kx_attention_check)(attention);
    if (checked != KX_OK) return checked;
    if (attention->items == 0) return KX_OK;
    kx_attention_gradient_job_t job = {.a = attention, .out = out, .log_sums = log_sums, .out_gradients = out_gradients,
                                       .query_gradients = query_gradients, .key_gradients = key_gradients,
                                       .value_gradients = value_gradients, .scale_gradients = scale_gradients};
    job.width = kx_round_up(attention->dimension, WIDTH), job.value_width = kx_round_up(attention->value_dimension, WIDTH);
    const int64_t queries = kx_round_up(attention->query_count, ROWS);
    const struct {
        int64_t rows, width;
    } parts[] = {{KEYS, attention->dimension}, {KEYS, attention->value_dimension}, {KEYS, job.width}, {ROWS, job.width},
                 {ROWS, job.width}, {ROWS, job.value_width}, {ROWS + 1, KEYS}, {ROWS + 1, KEYS}, {PADDED_KEYS, job.width},
                 {PADDED_KEYS, job.value_width}, {queries, job.width}};
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    for (int i = 0; i < 11; i++) job.offsets[i] = kx_layout_add(&layout, parts[i].rows,
        (size_t)(parts[i].width + 1) * sizeof(KX_REAL));
    job.offsets[11] = kx_layout_add(&layout, attention->query_count, sizeof(double));
    job.worker_bytes = layout.bytes;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > attention->items) workers = attention->items;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    memset(job.memory, 0, whole.bytes); /* tiles read past what is written, into numbers whose products are not used */
    const double products = (double)attention->query_count * (double)attention->key_count *
                            (double)(attention->dimension + attention->value_dimension + 1);
    const int64_t grain = products < 2e6 ? (int64_t)(2e6 / (products + 1)) + 1 : 1;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, attention->items, grain, KX_TYPED(differentiate), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#undef WIDTH
#endif
#endif
