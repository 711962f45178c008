/* Weights of talking heads for a chunk of queries, for one type: KX_REAL, KX_SUFFIX, KX_VECTOR, KX_LANES, KX_EXP_LEAST. */
#include "kernels/attention_tiles.h"

#define PART(name) ((KX_REAL *)(void *)(memory + job->offsets[KX_TALKING_##name]))

/* to_g = sum over h of mix[g * row + h * step] from_h, for `heads` heads, a multiple of TILE_ROWS. */
static void KX_TYPED(mix_heads)(const kx_talking_job_t *job, const void *matrix, ptrdiff_t row, ptrdiff_t step, int64_t depth,
                                const KX_REAL *from, KX_REAL *to, int64_t heads, int64_t columns) {
    const KX_REAL *mix = (const KX_REAL *)matrix;
    for (int64_t j = 0; j < columns; j += KEYS)
        for (int64_t g = 0; g < heads; g += TILE_ROWS)
            KX_TYPED(multiply)(mix + g * row, row, step, from + j, job->stride, depth, KEYS, to + g * job->stride + j,
                               job->stride);
}

static inline KX_REAL *KX_TYPED(products_of)(const kx_talking_job_t *job, char *memory, int64_t block) {
    return PART(PRODUCTS) + (job->is_gradient ? block : 0) * job->key_heads * job->stride;
}

static inline KX_REAL *KX_TYPED(weights_of)(const kx_talking_job_t *job, char *memory, int64_t block) {
    return PART(WEIGHTS) + block * job->softmax_heads * job->stride;
}

static inline double KX_TYPED(scale_of)(const kx_attention_t *a, int64_t head, int64_t query) {
    return query < a->query_count ? a->scales[head * a->scale_item + query * a->scale_row] : 0;
}

static inline int64_t KX_TYPED(keys_of_chunk)(const kx_talking_job_t *job, int64_t begin, int64_t rows) {
    const kx_attention_t *a = &job->t->heads;
    return a->is_causal && begin + rows < a->key_count ? begin + rows : a->key_count;
}

/* Weights of all softmax heads relative to the maximum so far, block_tops; then the maxima, and 1 / their sums in the first
   numbers of `sums`. */
static kx_status_t KX_TYPED(weigh_chunk)(kx_task_t *task, const kx_talking_job_t *job, char *memory, int64_t item, int64_t begin,
                                         int64_t rows) {
    const kx_talking_heads_t *t = job->t;
    const kx_attention_t *a = &t->heads;
    const int64_t padded = kx_round_up(rows, TILE_ROWS), keys = KX_TYPED(keys_of_chunk)(job, begin, rows), chunk = job->chunk;
    KX_REAL *tops = PART(TOPS), *sums = PART(SUMS), *across = PART(ACROSS);
    for (int64_t h = 0; h < t->key_heads; h++)
        KX_TYPED(copy_rows)((const char *)a->queries.data + a->queries.offsets[item * t->key_heads + h] + begin * a->queries.row,
                            a->queries.row, rows, a->dimension, padded, job->width, PART(QUERIES) + h * chunk * job->width);
    for (int64_t i = 0; i < t->softmax_heads * chunk; i++) tops[i] = -(KX_REAL)INFINITY;
    memset(sums, 0, (size_t)(t->softmax_heads * chunk * KX_LANES) * sizeof *sums);
    for (int64_t first = 0; first < keys; first += KEYS) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t block = first / KEYS, count = keys - first < KEYS ? keys - first : KEYS;
        KX_REAL *products = KX_TYPED(products_of)(job, memory, block), *weights = KX_TYPED(weights_of)(job, memory, block);
        KX_REAL *block_tops = PART(BLOCK_TOPS) + block * t->softmax_heads * chunk;
        for (int64_t h = 0; h < t->key_heads; h++) {
            KX_TYPED(transpose_rows)((const char *)a->keys.data + a->keys.offsets[item * t->key_heads + h] + first * a->keys.row,
                                     a->keys.row, count, a->dimension, across);
            for (int64_t r = 0; r < padded; r += TILE_ROWS)
                KX_TYPED(multiply)(PART(QUERIES) + (h * chunk + r) * job->width, job->width, 1, across, KEYS, a->dimension, KEYS,
                                   products + h * job->stride + r * KEYS, KEYS);
        }
        KX_TYPED(mix_heads)(job, job->logit_mix, job->key_heads, 1, t->key_heads, products, weights, job->softmax_heads,
                            padded * KEYS);
        for (int64_t g = 0; g < t->softmax_heads; g++)
            for (int64_t r = 0; r < padded; r++) {
                const int64_t head = item * t->softmax_heads + g, place = g * chunk + r;
                KX_REAL *row = weights + g * job->stride + r * KEYS;
                const KX_REAL scale = (KX_REAL)KX_TYPED(scale_of)(a, head, begin + r);
                KX_TYPED(scale_and_mask)(a, head, begin + r, first, count, scale, row);
                KX_TYPED(weigh_row)(0, row, tops + place, sums + place * KX_LANES, NULL, NULL, 0);
                block_tops[place] = tops[place];
            }
    }
    for (int64_t g = 0; g < t->softmax_heads; g++)
        for (int64_t r = 0; r < chunk; r++) {
            const int64_t place = g * chunk + r;
            const double sum = KX_TYPED(sum_of_lanes)(sums + place * KX_LANES);
            const int is_blind = tops[place] == -(KX_REAL)INFINITY && sum == 0;
            if (is_blind) tops[place] = 0;
            sums[place] = (KX_REAL)(is_blind || r >= rows ? 0 : 1 / sum); /* behind what is read next */
        }
    return KX_OK;
}

/* Whether a query sees a key in one of the softmax heads from `head` to `end`; rows of padding and keys behind the last one do
   not. */
static inline int KX_TYPED(is_seen)(const kx_talking_job_t *job, int64_t item, int64_t head, int64_t end, int64_t query,
                                    int64_t key) {
    const kx_attention_t *a = &job->t->heads;
    if (query >= a->query_count || key >= a->key_count) return 0;
    for (; head < end; head++)
        if (!KX_TYPED(is_hidden)(a, item * job->t->softmax_heads + head, query, key)) return 1;
    return 0;
}

/* The same for a value head: of the softmax heads that it mixes. */
static inline int KX_TYPED(has_weight)(const kx_talking_job_t *job, int64_t item, int64_t value_head, int64_t query,
                                       int64_t key) {
    const int64_t first = job->t->weight_mix ? 0 : value_head;
    return KX_TYPED(is_seen)(job, item, first, job->t->weight_mix ? job->t->softmax_heads : first + 1, query, key);
}

/* A row that is not finite: what it does not see has no part in it. */
static inline void KX_TYPED(clear_hidden)(const kx_talking_job_t *job, int64_t item, int64_t head, int64_t query,
                                          int64_t first, KX_REAL *row) {
    for (int64_t j = 0; j < KEYS; j++)
        if (!KX_TYPED(is_seen)(job, item, head, head + 1, query, first + j)) row[j] = 0;
}

/* A block's weights, of rows that sum to 1 over all blocks; zeros in rows of padding and where nothing is seen. */
static void KX_TYPED(normalize_block)(const kx_talking_job_t *job, char *memory, int64_t item, int64_t begin, int64_t rows,
                                      int64_t first) {
    const int64_t heads = job->t->softmax_heads, chunk = job->chunk, block = first / KEYS, padded = kx_round_up(rows, TILE_ROWS);
    KX_REAL *weights = KX_TYPED(weights_of)(job, memory, block);
    const KX_REAL *block_tops = PART(BLOCK_TOPS) + block * heads * chunk, *tops = PART(TOPS), *inverses = PART(SUMS);
    const KX_VECTOR least = V(set)(-(KX_REAL)KX_EXP_LEAST);
    for (int64_t g = 0; g < heads; g++)
        for (int64_t from = 0; from < padded; from += KX_LANES) {
            const int64_t place = g * chunk + from;
            KX_REAL factors[KX_LANES];
            const KX_VECTOR apart = V(max)(least, V(sub)(V(load)(block_tops + place), V(load)(tops + place)));
            V(store)(factors, V(mul)(V(exp)(apart), V(load)(inverses + place)));
            for (int64_t r = from; r < padded && r < from + KX_LANES; r++) {
                const KX_VECTOR factor = V(set)(factors[r - from]);
                KX_REAL *row = weights + g * job->stride + r * KEYS;
                for (int v = 0; v < KEYS / KX_LANES; v++) V(store)(row + v * KX_LANES, V(mul)(factor,
                    V(load)(row + v * KX_LANES)));
                if (!isfinite(factors[r - from])) KX_TYPED(clear_hidden)(job, item, g, begin + r, first, row);
            }
        }
}

/* Mixes of the call's type, row by row, with zeros for the heads of padding. */
static KX_REAL *KX_TYPED(copy_mix)(const double *mix, int64_t rows, int64_t columns, int64_t padded_rows,
                                   int64_t padded_columns, KX_REAL *to) {
    memset(to, 0, (size_t)(padded_rows * padded_columns) * sizeof *to);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) to[i * padded_columns + j] = (KX_REAL)mix[i * columns + j];
    return to;
}

static kx_status_t KX_TYPED(run_talking_heads)(const kx_ctx_t *ctx, kx_talking_job_t *job, kx_body_fn work) {
    const kx_talking_heads_t *t = job->t;
    if (!t || t->key_heads < 1 || t->softmax_heads < 1 || t->value_heads < 1 || !t->logit_mix) return KX_E_ARGUMENT;
    if (!t->weight_mix && t->value_heads != t->softmax_heads) return KX_E_ARGUMENT;
    const kx_attention_t *a = &t->heads;
    const kx_status_t checked = KX_KERNEL(kx_attention_check)(a);
    if (checked != KX_OK) return checked;
    if (a->items % t->softmax_heads) return KX_E_ARGUMENT;
    const int64_t most = INT64_C(1) << 20;
    if (t->key_heads > most || t->softmax_heads > most || t->value_heads > most) return KX_E_OVERFLOW;
    job->items = a->items / t->softmax_heads;
    if (job->items == 0 || (a->query_count == 0 && !job->is_gradient)) return KX_OK;
    job->key_heads = kx_round_up(t->key_heads, TILE_ROWS), job->softmax_heads = kx_round_up(t->softmax_heads, TILE_ROWS);
    job->value_heads = kx_round_up(t->value_heads, TILE_ROWS);
    job->width = kx_round_up(a->dimension, WIDTH), job->value_width = kx_round_up(a->value_dimension, WIDTH);
    job->blocks = (a->key_count + KEYS - 1) / KEYS;
    const size_t number = sizeof(KX_REAL);
    const double row_bytes = (double)t->softmax_heads * (double)job->blocks * (double)(KEYS * number) + 1;
    const int64_t fitting = (int64_t)(KX_TALKING_LIMIT / row_bytes) / TILE_ROWS * TILE_ROWS, rows = kx_round_up(a->query_count,
        TILE_ROWS);
    job->chunk = fitting < TILE_ROWS ? TILE_ROWS : fitting > KX_TALKING_MOST_ROWS ? KX_TALKING_MOST_ROWS : fitting;
    if (job->chunk > rows) job->chunk = rows > 0 ? rows : TILE_ROWS;
    job->chunks = (a->query_count + job->chunk - 1) / job->chunk;
    job->stride = job->chunk * KEYS + (int64_t)(64 / number); /* a line more,
        so that heads do not share sets of the first cache */
    const int64_t heads = job->softmax_heads, side = a->dimension > a->value_dimension ? a->dimension : a->value_dimension;
    const int64_t wide = job->width > job->value_width ? job->width : job->value_width;
    const int64_t mixed = job->value_heads > heads ? job->value_heads : heads;
    const struct {
        int64_t rows, columns;
        int is_used;
    } parts[KX_TALKING_PARTS] = {[KX_TALKING_QUERIES] = {t->key_heads * job->chunk, job->width, 1},
                                 [KX_TALKING_ACROSS] = {KEYS, side, 1},
                                 [KX_TALKING_BLOCK] = {KEYS, wide, 1},
                                 [KX_TALKING_PRODUCTS] = {(job->is_gradient ? job->blocks : 1) * job->key_heads, job->stride, 1},
                                 [KX_TALKING_WEIGHTS] = {job->blocks * heads, job->stride, 1},
                                 [KX_TALKING_MIXED] = {mixed, job->stride, t->weight_mix || job->is_gradient},
                                 [KX_TALKING_TOPS] = {t->softmax_heads * job->chunk + KX_LANES, 1, 1},
                                 [KX_TALKING_BLOCK_TOPS] = {(job->blocks * t->softmax_heads + 1) * job->chunk + KX_LANES, 1, 1},
                                 [KX_TALKING_SUMS] = {t->softmax_heads * job->chunk + 1, KX_LANES, 1},
                                 [KX_TALKING_OUT] = {t->value_heads * job->chunk, job->value_width, !job->is_gradient},
                                 [KX_TALKING_WEIGHT_GRADIENTS] = {job->blocks * heads, job->stride, job->is_gradient},
                                 [KX_TALKING_OUT_GRADIENTS] = {t->value_heads * job->chunk, job->value_width, job->is_gradient},
                                 [KX_TALKING_QUERY_SUMS] = {t->key_heads * job->chunk, job->width, job->is_gradient},
                                 [KX_TALKING_BLOCK_SUMS] = {KEYS + TILE_ROWS, wide, job->is_gradient},
                                 [KX_TALKING_ALONG] = {t->softmax_heads * job->chunk, sizeof(double) / sizeof(KX_REAL),
                                     job->is_gradient}};
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    for (int i = 0; i < KX_TALKING_PARTS; i++)
        job->offsets[i] = kx_layout_add(&layout, parts[i].is_used ? parts[i].rows : 0, (size_t)(parts[i].columns + 1) * number);
    job->worker_bytes = layout.bytes;
    const int64_t tasks = job->is_gradient ? job->items : job->items * job->chunks;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > tasks) workers = tasks;
    const size_t logit_part = kx_layout_add(&whole, job->softmax_heads * job->key_heads, number);
    const size_t weight_part = kx_layout_add(&whole, t->weight_mix ? job->value_heads * job->softmax_heads : 0, number);
    const size_t worker_part = kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!memory) return KX_E_MEMORY;
    job->memory = memory + worker_part;
    memset(memory, 0, whole.bytes); /* tiles read heads and rows of padding, whose products are not used */
    job->logit_mix = KX_TYPED(copy_mix)(t->logit_mix, t->softmax_heads, t->key_heads, job->softmax_heads, job->key_heads,
                                        (KX_REAL *)(void *)(memory + logit_part));
    if (t->weight_mix)
        job->weight_mix = KX_TYPED(copy_mix)(t->weight_mix, t->value_heads, t->softmax_heads, job->value_heads,
                                             job->softmax_heads,
                                             (KX_REAL *)(void *)(memory + weight_part));
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, tasks, 1, work, job);
    kx_flags_end(flags, 0);
    kx_release(ctx, memory);
    return status;
}
