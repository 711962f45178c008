/* Talking-heads attention by chunks of queries: the logits of all heads and keys stay until their sums are known, then weights mix. */
#ifndef KX_REAL
#include "kexue/kx_attention.h"

#include "isa/kernel.h"

#define KX_TALKING_PARAMETERS(real) (const kx_ctx_t *ctx, const kx_talking_heads_t *talking, real *out)
KX_DISPATCH(kx_talking_heads_f32, KX_TALKING_PARAMETERS(float), (ctx, talking, out))
KX_DISPATCH(kx_talking_heads_f64, KX_TALKING_PARAMETERS(double), (ctx, talking, out))

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_internal.h"
#endif

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define KX_EXP_LEAST 746
#include "talking_heads.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_EXP_LEAST

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_EXP_LEAST 104
#include "talking_heads.c"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_tiles.h"

/* What is not finite in a block's values goes to the rows of which a head sees it; the product of tiles had zeros there, since a
   weight of 0 times NaN is no 0. */
static void KX_TYPED(spoil)(const kx_talking_heads_t *t, int64_t item, int64_t value_head, int64_t query, int64_t rows,
                            int64_t first_key, int64_t count, const KX_REAL *weights, KX_REAL *out, int64_t width) {
    const kx_attention_t *a = &t->heads;
    const char *values = (const char *)a->values.data + a->values.offsets[item * t->value_heads + value_head] + first_key * a->values.row;
    for (int64_t j = 0; j < count; j++) {
        const KX_REAL *value = (const KX_REAL *)(const void *)(values + j * a->values.row);
        int is_spoilt = 0;
        for (int64_t k = 0; k < a->value_dimension; k++) is_spoilt |= !isfinite(value[k]);
        for (int64_t r = 0; is_spoilt && r < rows; r++) {
            const int64_t end = t->weight_mix ? t->softmax_heads : value_head + 1;
            int64_t g = t->weight_mix ? 0 : value_head;
            while (g < end && KX_TYPED(is_hidden)(a, item * t->softmax_heads + g, query + r, first_key + j)) g++;
            for (int64_t k = 0; g < end && k < a->value_dimension; k++)
                if (!isfinite(value[k])) out[r * width + k] += weights[r * KEYS + j] * value[k];
        }
    }
}

static kx_status_t KX_TYPED(talk)(kx_task_t *task, const kx_talking_job_t *job, char *memory, int64_t item, int64_t begin) {
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    const int64_t rows = a->query_count - begin < job->chunk ? a->query_count - begin : job->chunk;
    const int64_t padded = kx_round_up(rows, TILE_ROWS), width = job->value_width;
    const kx_status_t status = KX_TYPED(weigh_chunk)(task, job, memory, item, begin, rows);
    if (status != KX_OK) return status;
    const int64_t keys = KX_TYPED(keys_of_chunk)(job, begin, rows);
    KX_REAL *sums = PART(OUT), *values = PART(BLOCK);
    memset(sums, 0, (size_t)(t->value_heads * job->chunk * width) * sizeof *sums);
    for (int64_t first = 0; first < keys; first += KEYS) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t block = first / KEYS, count = keys - first < KEYS ? keys - first : KEYS;
        KX_REAL *weights = KX_TYPED(weights_of)(job, memory, block);
        KX_TYPED(normalize_block)(job, memory, block, padded);
        if (t->weight_mix) {
            KX_TYPED(mix_heads)(job, job->weight_mix, job->softmax_heads, 1, t->softmax_heads, weights, PART(MIXED), job->value_heads,
                                padded * KEYS);
            weights = PART(MIXED);
        }
        for (int64_t v = 0; v < t->value_heads; v++) {
            KX_TYPED(copy_rows)((const char *)a->values.data + a->values.offsets[item * t->value_heads + v] + first * a->values.row,
                                a->values.row, count, a->value_dimension, count, width, values);
            const int is_spoilt = KX_TYPED(clean)(values, count * width);
            for (int64_t r = 0; r < padded; r += TILE_ROWS)
                KX_TYPED(multiply_add)(weights + v * job->stride + r * KEYS, KEYS, 1, values, width, count, width,
                                       sums + (v * job->chunk + r) * width, width);
            if (is_spoilt)
                KX_TYPED(spoil)(t, item, v, begin, rows, first, count, weights + v * job->stride, sums + v * job->chunk * width, width);
        }
    }
    for (int64_t v = 0; v < t->value_heads && a->value_dimension; v++)
        for (int64_t r = 0; r < rows; r++)
            memcpy((KX_REAL *)job->out + ((item * t->value_heads + v) * a->query_count + begin + r) * a->value_dimension,
                   sums + (v * job->chunk + r) * width, (size_t)a->value_dimension * sizeof *sums);
    return KX_OK;
}

static kx_status_t KX_TYPED(talk_chunks)(kx_task_t *task, void *arg, int64_t first, int64_t end) {
    const kx_talking_job_t *job = arg;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    for (int64_t i = first; i < end; i++) {
        const kx_status_t status = KX_TYPED(talk)(task, job, memory, i / job->chunks, i % job->chunks * job->chunk);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_talking_heads)) KX_TALKING_PARAMETERS(KX_REAL) {
    kx_talking_job_t job = {.t = talking, .out = out};
    return KX_TYPED(run_talking_heads)(ctx, &job, KX_TYPED(talk_chunks));
}
#undef V
#undef WIDTH
#undef PART
#endif
#endif
