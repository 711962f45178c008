/* Talking-heads attention by chunks of queries: the logits of all heads and keys stay until their sums are known, then weights
   mix. */
#ifndef KX_REAL
#include "kexue/kx_attention.h"

#include "isa/kernel.h"

#define KX_TALKING_PARAMETERS(real) (const kx_ctx_t *ctx, const kx_talking_heads_t *talking, real *out)
KX_DISPATCH(kx_talking_heads_f32, KX_TALKING_PARAMETERS(float), (ctx, talking, out))
KX_DISPATCH(kx_talking_heads_f64, KX_TALKING_PARAMETERS(double), (ctx, talking, out))

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_internal.h"
#endif

#define KX_TEMPLATE "kernels/talking_heads.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/talking_heads_tiles.h"

static void KX_TYPED(spoil_rows)(const kx_talking_job_t *job, int64_t item, int64_t value_head, int64_t query, int64_t first,
                                 int64_t count, const KX_REAL *weights, KX_REAL *out) {
    const kx_attention_t *a = &job->t->heads;
    uint8_t shown[TILE_ROWS][KEYS];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int64_t j = 0; j < count; j++)
            shown[i][j] = (uint8_t)KX_TYPED(has_weight)(job, item, value_head, query + i, first + j);
    const int64_t head = item * job->t->value_heads + value_head;
    KX_TYPED(spoil)((const char *)a->values.data + a->values.offsets[head] + first * a->values.row, a->values.row, count,
                    a->value_dimension, shown, weights, out, job->value_width);
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
        KX_TYPED(normalize_block)(job, memory, item, begin, rows, first);
        if (t->weight_mix) {
            KX_TYPED(mix_heads)(job, job->weight_mix, job->softmax_heads, 1, t->softmax_heads, weights, PART(MIXED),
                                job->value_heads,
                                padded * KEYS);
            weights = PART(MIXED);
        }
        for (int64_t v = 0; v < t->value_heads; v++) {
            KX_TYPED(copy_rows)((const char *)a->values.data + a->values.offsets[item * t->value_heads + v]
                                + first * a->values.row,
                                a->values.row, count, a->value_dimension, count, width, values);
            const int is_spoilt = KX_TYPED(clean)(values, count * width);
            for (int64_t r = 0; r < padded; r += TILE_ROWS) {
                const KX_REAL *own = weights + v * job->stride + r * KEYS;
                KX_REAL *to = sums + (v * job->chunk + r) * width;
                KX_TYPED(multiply_add)(own, KEYS, 1, values, width, count, width, to, width);
                if (is_spoilt) KX_TYPED(spoil_rows)(job, item, v, begin + r, first, count, own, to);
            }
        }
    }
    for (int64_t v = 0; v < t->value_heads && a->value_dimension; v++)
        for (int64_t r = 0; r < rows; r++)
            memcpy((KX_REAL *)job->out + ((item * t->value_heads + v) * a->query_count + begin + r) * a->value_dimension,
                   sums + (v * job->chunk + r) * width, (size_t)a->value_dimension * sizeof *sums);
    return KX_OK;
}

static kx_status_t KX_TYPED(talk_chunks)(kx_task_t *task, void *arg, int64_t first, int64_t end) {
    const kx_talking_job_t *job = (const kx_talking_job_t *)arg;
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
#undef WIDTH
#undef PART
#endif
#endif
