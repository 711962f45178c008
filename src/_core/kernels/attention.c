/* Attention by tiles: rows of queries go past blocks of 64 keys, with the maximum, the sum and the output of each row so far. */
#ifndef KX_REAL
#include "kexue/kx_attention.h"

#include "isa/kernel.h"

#define KX_ATTENTION_PARAMETERS(real)                                                                            \
    (const kx_ctx_t *ctx, const kx_attention_t *attention, real *out, double *log_sums, double *entropies)
KX_DISPATCH(kx_attention_f32, KX_ATTENTION_PARAMETERS(float), (ctx, attention, out, log_sums, entropies))
KX_DISPATCH(kx_attention_f64, KX_ATTENTION_PARAMETERS(double), (ctx, attention, out, log_sums, entropies))

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_internal.h"

enum { CHUNK = 384 }; /* queries that a block of keys is packed for: a multiple of every TILE_ROWS */

typedef struct kx_attention_job {
    const kx_attention_t *a;
    void *out;
    double *log_sums, *entropies;
    int64_t chunks, width; /* of an item; the values' dimension, rounded up to tiles */
    char *memory;
    size_t worker_bytes, query_part, key_part, value_part, out_part, score_part, top_part, sum_part, moment_part, scale_part;
} kx_attention_job_t;

kx_status_t KX_KERNEL(kx_attention_check)(const kx_attention_t *a) {
    if (!a || a->items < 0 || a->query_count < 0 || a->key_count < 0 || a->dimension < 0
        || a->value_dimension < 0) return KX_E_ARGUMENT;
    if ((int)a->mask_kind < KX_ATTENTION_UNMASKED || a->mask_kind > KX_ATTENTION_ADDITIVE) return KX_E_ARGUMENT;
    const int64_t most = INT64_MAX >> 20;
    if (a->query_count > most || a->key_count > most || a->dimension > most || a->value_dimension > most) return KX_E_OVERFLOW;
    if (a->query_count > 0 && (a->items > most / a->query_count)) return KX_E_OVERFLOW;
    if (a->items > 0 && a->query_count > 0 && (!a->scales || !a->queries.offsets)) return KX_E_ARGUMENT;
    return KX_OK;
}
#endif

#define KX_TEMPLATE "kernels/attention.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_tiles.h"

/* A worker's rows: `tops` and `scales` one number a row, sums and moments one vector a row. */
typedef struct KX_TYPED(work) {
    KX_REAL *queries, *keys, *values, *out, *scores, *tops, *sums, *moments, *scales;
} KX_TYPED(work);

static void KX_TYPED(weigh)(const kx_attention_job_t *job, KX_TYPED(work) * work, int64_t item, int64_t query, int64_t row,
                            int64_t first_key, int64_t count) {
    const kx_attention_t *a = job->a;
    for (int i = 0; i < TILE_ROWS; i++) {
        KX_REAL *scores = work->scores + i * KEYS;
        KX_TYPED(scale_and_mask)(a, item, query + i, first_key, count, work->scales[row + i], scores);
        KX_REAL *sum = work->sums + (row + i) * KX_LANES, *moment = work->moments + (row + i) * KX_LANES;
        KX_REAL *out = work->out + (row + i) * job->width;
        if (job->entropies) KX_TYPED(weigh_row)(1, scores, work->tops + row + i, sum, moment, out, job->width);
        else KX_TYPED(weigh_row)(0, scores, work->tops + row + i, sum, moment, out, job->width);
    }
}

static void KX_TYPED(spoil_rows)(const kx_attention_t *a, int64_t item, int64_t query, int64_t first_key, int64_t count,
                                 const KX_REAL *weights, KX_REAL *out, int64_t width) {
    uint8_t shown[TILE_ROWS][KEYS];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int64_t j = 0; j < count; j++)
            shown[i][j] = query + i < a->query_count && !KX_TYPED(is_hidden)(a, item, query + i, first_key + j);
    KX_TYPED(spoil)((const char *)a->values.data + a->values.offsets[item] + first_key * a->values.row, a->values.row, count,
                    a->value_dimension, shown, weights, out, width);
}

static void KX_TYPED(finish)(const kx_attention_job_t *job, const KX_TYPED(work) * work, int64_t item, int64_t begin,
                             int64_t rows) {
    const kx_attention_t *a = job->a;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t place = item * a->query_count + begin + r;
        const double sum = KX_TYPED(sum_of_lanes)(work->sums + r * KX_LANES);
        const double moment = job->entropies ? KX_TYPED(sum_of_lanes)(work->moments + r * KX_LANES) : 0;
        const double top = (double)work->tops[r];
        const int is_blind = top == -(double)INFINITY && sum == 0;
        KX_REAL *out = (KX_REAL *)job->out + place * a->value_dimension;
        const KX_REAL factor = (KX_REAL)(is_blind ? 0 : 1 / sum);
        for (int64_t k = 0; k < a->value_dimension; k++) out[k] = is_blind ? 0 : work->out[r * job->width + k] * factor;
        if (job->log_sums) {
            job->log_sums[2 * place] = top;
            job->log_sums[2 * place + 1] = is_blind ? 0 : log(sum);
        }
        if (!job->entropies) continue;
        const double entropy = log(sum) - moment / sum;
        job->entropies[place] = is_blind || entropy < 0 ? 0 : entropy;
    }
}

static kx_status_t KX_TYPED(attend)(kx_task_t *task, void *arg, int64_t first_chunk, int64_t end_chunk) {
    const kx_attention_job_t *job = (const kx_attention_job_t *)arg;
    const kx_attention_t *a = job->a;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_TYPED(work) work;
    KX_REAL **parts[] = {&work.queries, &work.keys, &work.values, &work.out, &work.scores, &work.tops, &work.sums,
        &work.moments, &work.scales};
    const size_t *offsets = &job->query_part;
    for (int i = 0; i < 9; i++) *parts[i] = (KX_REAL *)(void *)(memory + offsets[i]);
    for (int64_t chunk = first_chunk; chunk < end_chunk; chunk++) {
        const int64_t item = chunk / job->chunks, begin = chunk % job->chunks * CHUNK;
        const int64_t rows = a->query_count - begin < CHUNK ? a->query_count - begin : CHUNK, padded = kx_round_up(rows,
            TILE_ROWS);
        const char *queries = (const char *)a->queries.data + a->queries.offsets[item] + begin * a->queries.row;
        KX_TYPED(copy_rows)(queries, a->queries.row, rows, a->dimension, padded, a->dimension, work.queries);
        memset(work.out, 0, (size_t)(padded * job->width) * sizeof *work.out);
        memset(work.sums, 0, (size_t)(padded * KX_LANES) * sizeof *work.sums);
        if (job->entropies) memset(work.moments, 0, (size_t)(padded * KX_LANES) * sizeof *work.moments);
        for (int64_t r = 0; r < padded; r++) {
            work.tops[r] = -(KX_REAL)INFINITY;
            work.scales[r] = r < rows ? (KX_REAL)a->scales[item * a->scale_item + (begin + r) * a->scale_row] : 0;
        }
        int64_t keys = a->key_count;
        if (a->is_causal && begin + rows < keys) keys = begin + rows;
        for (int64_t first = 0; first < keys; first += KEYS) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            const int64_t count = keys - first < KEYS ? keys - first : KEYS;
            KX_TYPED(transpose_rows)((const char *)a->keys.data + a->keys.offsets[item] + first * a->keys.row, a->keys.row, count,
                                     a->dimension, work.keys);
            KX_TYPED(copy_rows)((const char *)a->values.data + a->values.offsets[item] + first * a->values.row, a->values.row,
                                count,
                                a->value_dimension, count, job->width, work.values);
            const int is_spoilt = KX_TYPED(clean)(work.values, count * job->width);
            int64_t row = 0;
            if (a->is_causal && first > begin) row = (first - begin) / TILE_ROWS * TILE_ROWS; /* rows before see nothing here */
            for (; row < padded; row += TILE_ROWS) {
                KX_TYPED(multiply)(work.queries + row * a->dimension, a->dimension, 1, work.keys, KEYS, a->dimension, KEYS,
                                   work.scores, KEYS);
                KX_TYPED(weigh)(job, &work, item, begin + row, row, first, count);
                KX_TYPED(multiply_add)(work.scores, KEYS, 1, work.values, job->width, count, job->width,
                                       work.out + row * job->width, job->width);
                if (is_spoilt)
                    KX_TYPED(spoil_rows)(a, item, begin + row, first, count, work.scores, work.out + row * job->width,
                                         job->width);
            }
        }
        KX_TYPED(finish)(job, &work, item, begin, rows);
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_attention)) KX_ATTENTION_PARAMETERS(KX_REAL) {
    const kx_status_t checked = KX_KERNEL(kx_attention_check)(attention);
    if (checked != KX_OK) return checked;
    if (attention->items == 0 || attention->query_count == 0) return KX_OK;
    kx_attention_job_t job = {.a = attention, .out = out, .log_sums = log_sums, .entropies = entropies};
    const int64_t rows = attention->query_count < CHUNK ? kx_round_up(attention->query_count, TILE_ROWS) : CHUNK;
    job.chunks = (attention->query_count - 1) / CHUNK + 1;
    job.width = kx_round_up(attention->value_dimension, WIDTH);
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    const size_t number = sizeof(KX_REAL);
    job.query_part = kx_layout_add(&layout, rows, (size_t)(attention->dimension + 1) * number);
    job.key_part = kx_layout_add(&layout, KEYS, (size_t)(attention->dimension + 1) * number);
    job.value_part = kx_layout_add(&layout, KEYS, (size_t)(job.width + 1) * number);
    job.out_part = kx_layout_add(&layout, rows, (size_t)(job.width + 1) * number);
    job.score_part = kx_layout_add(&layout, TILE_ROWS * KEYS, number);
    job.top_part = kx_layout_add(&layout, rows, number);
    job.sum_part = kx_layout_add(&layout, rows * KX_LANES, number);
    job.moment_part = kx_layout_add(&layout, entropies ? rows * KX_LANES : 0, number);
    job.scale_part = kx_layout_add(&layout, rows, number);
    job.worker_bytes = layout.bytes;
    const int64_t tasks = attention->items * job.chunks;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > tasks) workers = tasks;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    /* Some million products a chunk at least, so that short items are not a task each. */
    const double products = (double)rows * (double)attention->key_count * (double)(attention->dimension
        + attention->value_dimension + 1);
    const int64_t grain = products < 4e6 ? (int64_t)(4e6 / (products + 1)) + 1 : 1;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, tasks, grain, KX_TYPED(attend), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#undef WIDTH
#endif
#endif
