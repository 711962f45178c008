/* The gradients of talking-heads attention by chunks of queries: dW = dO V^T, dV += W^T dO, d(weight mix) += <dW, P>,
   dP = mix^T dW, dL = P (dP - rowsum(dP P)), d(logit mix) += <dL, J>, dJ = mix^T dL, dQ += dJ K, dK += dJ^T Q. */
#ifndef KX_REAL
#include "kexue/kx_attention.h"

#include "isa/kernel.h"

#define KX_TALKING_PARAMETERS(real)                                                                                        \
    (const kx_ctx_t *ctx, const kx_talking_heads_t *talking, const kx_attention_rows_t *out_gradients, real *query_gradients, \
     real *key_gradients, real *value_gradients, double *logit_mix_gradients, double *weight_mix_gradients)
#define KX_TALKING_ARGUMENTS                                                                                               \
    (ctx, talking, out_gradients, query_gradients, key_gradients, value_gradients, logit_mix_gradients, weight_mix_gradients)
KX_DISPATCH(kx_talking_heads_gradient_f32, KX_TALKING_PARAMETERS(float), KX_TALKING_ARGUMENTS)
KX_DISPATCH(kx_talking_heads_gradient_f64, KX_TALKING_PARAMETERS(double), KX_TALKING_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_internal.h"
enum { SIDE = 3 }; /* heads of a tile of products of heads: divides every TILE_ROWS */
#endif

#define KX_TEMPLATE "kernels/talking_heads_gradient.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_tiles.h"

/* sums[g, h] += <left_g, right_h> over `columns` numbers of each head. */
static void KX_TYPED(add_products_of_heads)(const kx_talking_job_t *job, const KX_REAL *left, int64_t left_heads,
                                            const KX_REAL *right,
                                            int64_t right_heads, int64_t columns, double *sums) {
    for (int64_t g = 0; g < left_heads; g += SIDE)
        for (int64_t h = 0; h < right_heads; h += SIDE) {
            const KX_REAL *l = left + g * job->stride, *r = right + h * job->stride;
            KX_VECTOR c[SIDE][SIDE];
            for (int i = 0; i < SIDE; i++)
                for (int k = 0; k < SIDE; k++) c[i][k] = V(set)(0);
            for (int64_t j = 0; j < columns; j += KX_LANES)
                for (int i = 0; i < SIDE; i++)
                    for (int k = 0; k < SIDE; k++)
                        c[i][k] = V(fma)(V(load)(l + i * job->stride + j), V(load)(r + k * job->stride + j), c[i][k]);
            for (int i = 0; i < SIDE && g + i < left_heads; i++)
                for (int k = 0; k < SIDE && h + k < right_heads; k++) {
                    KX_REAL lanes[KX_LANES];
                    V(store)(lanes, c[i][k]);
                    sums[(g + i) * right_heads + h + k] += KX_TYPED(sum_of_lanes)(lanes);
                }
        }
}

/* to += left^T right of a block: `count` keys, sums of `rows` queries. */
static void KX_TYPED(add_keys)(const KX_REAL *left, const KX_REAL *right, int64_t rows, int64_t count, int64_t width,
                               int64_t dimension,
                               KX_REAL *sums, KX_REAL *to) {
    memset(sums, 0, (size_t)(kx_round_up(count, TILE_ROWS) * width) * sizeof *sums);
    for (int64_t j = 0; j < count; j += TILE_ROWS)
        KX_TYPED(multiply_add)(left + j, 1, KEYS, right, width, rows, width, sums + j * width, width);
    for (int64_t j = 0; j < count; j++)
        for (int64_t k = 0; k < dimension; k++) to[j * dimension + k] += sums[j * width + k];
}

/* A value that is not finite makes gradients by the weights of rows that see it so; the product of tiles had a zero there. */
static void KX_TYPED(spoil_gradients)(const kx_talking_job_t *job, int64_t item, int64_t value_head, int64_t begin, int64_t rows,
                                      int64_t first, int64_t count, const KX_REAL *out_gradients, KX_REAL *by_weights) {
    const kx_attention_t *a = &job->t->heads;
    const int64_t head = item * job->t->value_heads + value_head;
    const char *values = (const char *)a->values.data + a->values.offsets[head] + first * a->values.row;
    for (int64_t j = 0; j < count; j++) {
        const KX_REAL *value = (const KX_REAL *)(const void *)(values + j * a->values.row);
        for (int64_t k = 0; k < a->value_dimension; k++)
            for (int64_t r = 0; r < rows && !isfinite(value[k]); r++)
                if (KX_TYPED(has_weight)(job, item, value_head, begin + r, first + j))
                    by_weights[r * KEYS + j] += out_gradients[r * job->value_width + k] * value[k];
    }
}

/* Products of queries and keys that no softmax head sees count with a weight of 0, which NaN does not. */
static void KX_TYPED(clear_unseen)(const kx_talking_job_t *job, int64_t item, int64_t begin, int64_t padded, int64_t first,
                                   KX_REAL *products) {
    const int64_t heads = job->t->softmax_heads;
    for (int64_t h = 0; h < job->t->key_heads; h++) {
        KX_REAL *own = products + h * job->stride;
        int found = 0;
        for (int64_t i = 0; i < padded * KEYS; i++) found |= !(own[i] - own[i] == 0);
        for (int64_t i = 0; found && i < padded * KEYS; i++) {
            if (!isfinite(own[i]) && !KX_TYPED(is_seen)(job, item, 0, heads, begin + i / KEYS, first + i % KEYS)) own[i] = 0;
        }
    }
}

/* Gradients by weights of all softmax heads, their sums along rows, those by values and by the mix of weights. */
static void KX_TYPED(differentiate_weights)(const kx_talking_job_t *job, char *memory, int64_t item, int64_t first, int64_t count,
                                            int64_t begin, int64_t rows) {
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    const int64_t block = first / KEYS, padded = kx_round_up(rows, TILE_ROWS), width = job->value_width, columns = padded * KEYS;
    KX_REAL *weights = KX_TYPED(weights_of)(job, memory, block), *across = PART(ACROSS), *mixed = PART(MIXED);
    KX_REAL *gradients = PART(WEIGHT_GRADIENTS) + block * job->softmax_heads * job->stride,
        *by_mixed = t->weight_mix ? mixed : gradients;
    KX_TYPED(normalize_block)(job, memory, item, begin, rows, first);
    for (int64_t v = 0; v < t->value_heads; v++) {
        KX_TYPED(transpose_rows)((const char *)a->values.data + a->values.offsets[item * t->value_heads + v]
                                 + first * a->values.row,
                                 a->values.row, count, a->value_dimension, across);
        const int is_spoilt = KX_TYPED(clean)(across, a->value_dimension * KEYS);
        const KX_REAL *upstream = PART(OUT_GRADIENTS) + v * job->chunk * width;
        for (int64_t r = 0; r < padded; r += TILE_ROWS)
            KX_TYPED(multiply)(upstream + r * width, width, 1, across, KEYS, a->value_dimension, KEYS,
                               by_mixed + v * job->stride + r * KEYS,
                               KEYS);
        if (is_spoilt) KX_TYPED(spoil_gradients)(job, item, v, begin, rows, first, count, upstream, by_mixed + v * job->stride);
    }
    if (t->weight_mix) {
        double *sums = job->weight_mix_gradients + item * t->value_heads * t->softmax_heads;
        KX_TYPED(add_products_of_heads)(job, mixed, t->value_heads, weights, t->softmax_heads, columns, sums);
        KX_TYPED(mix_heads)(job, job->weight_mix, 1, job->softmax_heads, t->value_heads, mixed, gradients, job->softmax_heads,
                            columns);
        KX_TYPED(mix_heads)(job, job->weight_mix, job->softmax_heads, 1, t->softmax_heads, weights, mixed, job->value_heads,
                            columns);
    }
    double *along = (double *)(void *)PART(ALONG);
    for (int64_t g = 0; g < t->softmax_heads; g++)
        for (int64_t r = 0; r < rows; r++) {
            const KX_REAL *p = weights + g * job->stride + r * KEYS, *d = gradients + g * job->stride + r * KEYS;
            KX_VECTOR sum = V(set)(0);
            for (int v = 0; v < KEYS / KX_LANES; v++) sum = V(fma)(V(load)(p + v * KX_LANES), V(load)(d + v * KX_LANES), sum);
            KX_REAL lanes[KX_LANES];
            V(store)(lanes, sum);
            along[g * job->chunk + r] += KX_TYPED(sum_of_lanes)(lanes);
        }
    for (int64_t v = 0; v < t->value_heads; v++)
        KX_TYPED(add_keys)((t->weight_mix ? mixed : weights) + v * job->stride, PART(OUT_GRADIENTS) + v * job->chunk * width,
                           rows, count,
                           width, a->value_dimension, PART(BLOCK_SUMS),
                           (KX_REAL *)job->value_gradients + ((item * t->value_heads + v) * a->key_count
                               + first) * a->value_dimension);
}

/* From gradients by weights to those by logits, products, queries and keys. */
static void KX_TYPED(differentiate_logits)(const kx_talking_job_t *job, char *memory, int64_t item, int64_t first, int64_t count,
                                           int64_t begin, int64_t rows) {
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    const int64_t block = first / KEYS, padded = kx_round_up(rows, TILE_ROWS), width = job->width, columns = padded * KEYS;
    const double *along = (const double *)(const void *)PART(ALONG);
    const KX_REAL *weights = KX_TYPED(weights_of)(job, memory, block);
    KX_REAL *gradients = PART(WEIGHT_GRADIENTS) + block * job->softmax_heads * job->stride, *keys = PART(BLOCK);
    KX_REAL *products = KX_TYPED(products_of)(job, memory, block);
    for (int64_t g = 0; g < t->softmax_heads; g++)
        for (int64_t r = 0; r < padded; r++) {
            const KX_VECTOR scale = V(set)((KX_REAL)KX_TYPED(scale_of)(a, item * t->softmax_heads + g, begin + r));
            const KX_VECTOR center = V(set)((KX_REAL)along[g * job->chunk + r]);
            const KX_REAL *p = weights + g * job->stride + r * KEYS;
            KX_REAL *d = gradients + g * job->stride + r * KEYS;
            for (int v = 0; v < KEYS / KX_LANES; v++) {
                const KX_VECTOR by_score = V(mul)(V(load)(p + v * KX_LANES), V(sub)(V(load)(d + v * KX_LANES), center));
                V(store)(d + v * KX_LANES, V(mul)(scale, by_score));
            }
            if (r < rows && !isfinite(along[g * job->chunk + r])) KX_TYPED(clear_hidden)(job, item, g, begin + r, first, d);
        }
    KX_TYPED(clear_unseen)(job, item, begin, padded, first, products);
    KX_TYPED(add_products_of_heads)(job, gradients, t->softmax_heads, products, t->key_heads, columns,
                                    job->logit_mix_gradients + item * t->softmax_heads * t->key_heads);
    KX_TYPED(mix_heads)(job, job->logit_mix, 1, job->key_heads, t->softmax_heads, gradients, products, job->key_heads, columns);
    for (int64_t h = 0; h < t->key_heads; h++) {
        const KX_REAL *by_product = products + h * job->stride, *queries = PART(QUERIES) + h * job->chunk * width;
        KX_REAL *query_sums = PART(QUERY_SUMS) + h * job->chunk * width;
        KX_TYPED(copy_rows)((const char *)a->keys.data + a->keys.offsets[item * t->key_heads + h] + first * a->keys.row,
                            a->keys.row,
                            count, a->dimension, count, width, keys);
        KX_TYPED(clean)(keys, count * width); /* rows that see what is not finite have it in their weights */
        for (int64_t r = 0; r < padded; r += TILE_ROWS)
            KX_TYPED(multiply_add)(by_product + r * KEYS, KEYS, 1, keys, width, count, width, query_sums + r * width, width);
        KX_TYPED(add_keys)(by_product, queries, rows, count, width, a->dimension, PART(BLOCK_SUMS),
                           (KX_REAL *)job->key_gradients + ((item * t->key_heads + h) * a->key_count + first) * a->dimension);
    }
}

static kx_status_t KX_TYPED(differentiate_chunk)(kx_task_t *task, const kx_talking_job_t *job, char *memory, int64_t item,
                                                 int64_t begin) {
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    const int64_t rows = a->query_count - begin < job->chunk ? a->query_count - begin : job->chunk;
    const int64_t padded = kx_round_up(rows, TILE_ROWS), width = job->width;
    const kx_status_t status = KX_TYPED(weigh_chunk)(task, job, memory, item, begin, rows);
    if (status != KX_OK) return status;
    const int64_t keys = KX_TYPED(keys_of_chunk)(job, begin, rows);
    const kx_attention_rows_t *upstream = job->out_gradients;
    for (int64_t v = 0; v < t->value_heads; v++)
        KX_TYPED(copy_rows)((const char *)upstream->data + upstream->offsets[item * t->value_heads + v]
                            + begin * upstream->row, upstream->row,
                            rows, a->value_dimension, padded, job->value_width,
                                PART(OUT_GRADIENTS) + v * job->chunk * job->value_width);
    for (int64_t h = 0; h < t->key_heads; h++) KX_TYPED(clean)(PART(QUERIES) + h * job->chunk * width, padded * width);
    KX_REAL *query_sums = PART(QUERY_SUMS);
    memset(query_sums, 0, (size_t)(t->key_heads * job->chunk * width) * sizeof *query_sums);
    memset(memory + job->offsets[KX_TALKING_ALONG], 0, (size_t)(t->softmax_heads * job->chunk) * sizeof(double));
    for (int part = 0; part < 2; part++)
        for (int64_t first = 0; first < keys; first += KEYS) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t count = keys - first < KEYS ? keys - first : KEYS;
            if (part == 0) KX_TYPED(differentiate_weights)(job, memory, item, first, count, begin, rows);
            else KX_TYPED(differentiate_logits)(job, memory, item, first, count, begin, rows);
        }
    for (int64_t h = 0; h < t->key_heads && a->dimension; h++)
        for (int64_t r = 0; r < rows; r++)
            memcpy((KX_REAL *)job->query_gradients + ((item * t->key_heads + h) * a->query_count + begin + r) * a->dimension,
                   query_sums + (h * job->chunk + r) * width, (size_t)a->dimension * sizeof *query_sums);
    return KX_OK;
}

static kx_status_t KX_TYPED(differentiate_items)(kx_task_t *task, void *arg, int64_t first, int64_t end) {
    const kx_talking_job_t *job = (const kx_talking_job_t *)arg;
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    for (int64_t item = first; item < end; item++) {
        const int64_t by_keys = t->key_heads * a->key_count * a->dimension,
            by_values = t->value_heads * a->key_count * a->value_dimension;
        const int64_t mix = t->softmax_heads * t->key_heads, weight_mix = t->value_heads * t->softmax_heads;
        if (by_keys) memset((KX_REAL *)job->key_gradients + item * by_keys, 0, (size_t)by_keys * sizeof(KX_REAL));
        if (by_values) memset((KX_REAL *)job->value_gradients + item * by_values, 0, (size_t)by_values * sizeof(KX_REAL));
        memset(job->logit_mix_gradients + item * mix, 0, (size_t)mix * sizeof(double));
        if (t->weight_mix) memset(job->weight_mix_gradients + item * weight_mix, 0, (size_t)weight_mix * sizeof(double));
        for (int64_t begin = 0; begin < a->query_count; begin += job->chunk) {
            const kx_status_t status = KX_TYPED(differentiate_chunk)(task, job, memory, item, begin);
            if (status != KX_OK) return status;
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_talking_heads_gradient)) KX_TALKING_PARAMETERS(KX_REAL) {
    kx_talking_job_t job = {.t = talking, .is_gradient = 1, .out_gradients = out_gradients, .query_gradients = query_gradients,
                            .key_gradients = key_gradients, .value_gradients = value_gradients,
                            .logit_mix_gradients = logit_mix_gradients, .weight_mix_gradients = weight_mix_gradients};
    return KX_TYPED(run_talking_heads)(ctx, &job, KX_TYPED(differentiate_items));
}
#undef WIDTH
#undef PART
#endif
#endif
