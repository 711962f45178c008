/* Linear attention by blocks of keys: within a block the products of features themselves, before it the sums so far. */
#ifndef KX_REAL
#include "kexue/kx_linear_attention.h"

#include "isa/kernel.h"

#define KX_LINEAR_PARAMETERS(real)                                                                      \
    (const kx_ctx_t *ctx, const kx_linear_attention_t *attention, real *out, double *denominators)
KX_DISPATCH(kx_linear_attention_f32, KX_LINEAR_PARAMETERS(float), (ctx, attention, out, denominators))
KX_DISPATCH(kx_linear_attention_f64, KX_LINEAR_PARAMETERS(double), (ctx, attention, out, denominators))

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_internal.h"

enum {
    ROWS = (KEYS + TILE_ROWS - 1) / TILE_ROWS * TILE_ROWS, /* of queries, with those that fill the last tile */
    GATHERED = 128, /* keys of a block where no query waits for them: the sums are read and written half as often */
    DEPTH = 128     /* features of a product at once: their sums for a tile's columns, 32 KB, stay in the first cache */
};

typedef struct kx_linear_job {
    const kx_linear_attention_t *a;
    void *out;
    double *denominators;
    int64_t width, depth, features; /* values, rounded up to tiles; features, to vectors for rows and to tiles for sums */
    char *memory;
    size_t worker_bytes, offsets[10];
} kx_linear_job_t;
#endif

#define KX_TEMPLATE "kernels/linear_attention.c"
#include "isa/each_real.h"

#else /* the template */

#ifndef KX_DISPATCH_PASS
#include "kernels/attention_tiles.h"

typedef struct KX_TYPED(linear_work) {
    KX_REAL *queries, *keys, *values, *weighted_values, *out, *scores;
    KX_REAL *sums, *sum_errors;         /* features x width */
    KX_REAL *key_sums, *key_sum_errors; /* depth */
    /* Of a block: log-scales, the largest up to each key, and e^(log-scale - top) with the top after the block. */
    double log_scales[GATHERED], tops[GATHERED];
    KX_REAL weights[GATHERED];
    KX_VECTOR denominators[ROWS];
    double top; /* that the sums are relative to */
} KX_TYPED(linear_work);

static KX_ALWAYS_INLINE KX_REAL KX_TYPED(exp_apart)(double low, double high) {
    return high > -(double)INFINITY && low > -(double)INFINITY ? (KX_REAL)exp(low - high) : 0;
}

/* The compensated sum so far, and one more term (W. Kahan). */
static KX_ALWAYS_INLINE void KX_TYPED(add_term)(KX_REAL *sum, KX_REAL *error, KX_VECTOR term) {
    const KX_VECTOR before = V(load)(sum), corrected = V(sub)(term, V(load)(error)), after = V(add)(before, corrected);
    V(store)(error, V(sub)(V(sub)(after, before), corrected));
    V(store)(sum, after);
}

/* Log-scales of the next keys, and what the sums have to be scaled by for the new top. */
static void KX_TYPED(read_scales)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                                  int64_t count) {
    const kx_linear_attention_t *a = job->a;
    double top = work->top;
    for (int64_t j = 0; j < count; j++) {
        memcpy(work->log_scales + j, (const char *)a->log_scales.data + a->log_scales.offsets[item] + (first
            + j) * a->log_scales.row,
               sizeof *work->log_scales);
        if (work->log_scales[j] > top) top = work->log_scales[j];
        work->tops[j] = top;
    }
    for (int64_t j = count; j < KEYS; j++) work->log_scales[j] = -(double)INFINITY, work->tops[j] = top;
    for (int64_t j = 0; j < count; j++) work->weights[j] = KX_TYPED(exp_apart)(work->log_scales[j], top);
}

static void KX_TYPED(raise_top)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, double top) {
    if (top == work->top) return;
    const KX_VECTOR factor = V(set)(KX_TYPED(exp_apart)(work->top, top));
    KX_REAL *parts[] = {work->sums, work->sum_errors, work->key_sums, work->key_sum_errors};
    for (int p = 0; p < 4; p++) {
        const int64_t n = p < 2 ? job->features * job->width : job->depth;
        for (int64_t k = 0; k < n; k += KX_LANES) V(store)(parts[p] + k, V(mul)(factor, V(load)(parts[p] + k)));
    }
    work->top = top;
}

static KX_ALWAYS_INLINE const KX_REAL *KX_TYPED(row_of)(const kx_attention_rows_t *rows, int64_t item, int64_t row) {
    return (const KX_REAL *)(const void *)((const char *)rows->data + rows->offsets[item] + row * rows->row);
}

/* key_sums += sum of weighted keys, from where they are. */
static void KX_TYPED(add_keys)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                               int64_t count) {
    const kx_linear_attention_t *a = job->a;
    const int is_scaled = a->log_scales.data != NULL;
    for (int64_t k = 0; k < a->dimension; k += KX_LANES) {
        const int64_t lanes = a->dimension - k < KX_LANES ? a->dimension - k : KX_LANES;
        KX_VECTOR sum = V(set)(0);
        for (int64_t j = 0; j < count; j++) {
            if (is_scaled && work->weights[j] == 0) continue;
            const KX_REAL *key = KX_TYPED(row_of)(&a->keys, item, first + j) + k;
            const KX_VECTOR features = lanes == KX_LANES ? V(load)(key) : V(load_part)(key, lanes, 0);
            sum = is_scaled ? V(fma)(V(set)(work->weights[j]), features, sum) : V(add)(sum, features);
        }
        KX_TYPED(add_term)(work->key_sums + k, work->key_sum_errors + k, sum);
    }
}

/* sums += keys^T values: feature i of key j is keys[i * row + j * step]. */
static void KX_TYPED(add_block)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, const KX_REAL *keys, ptrdiff_t row,
                                ptrdiff_t step, const KX_REAL *values, int64_t count) {
    for (int64_t j = 0; j < job->width; j += WIDTH)
        for (int64_t i = 0; i < job->features; i += TILE_ROWS) {
            KX_VECTOR c[TILE_ROWS][VECTORS];
            KX_TYPED(make_tile)(TILE_ROWS, keys + i * row, row, step, values + j, job->width, count, c);
            for (int t = 0; t < TILE_ROWS; t++)
                for (int v = 0; v < VECTORS; v++) {
                    const int64_t place = (i + t) * job->width + j + v * KX_LANES;
                    KX_TYPED(add_term)(work->sums + place, work->sum_errors + place, c[t][v]);
                }
        }
}

/* Values of a block; those of hidden keys are 0, whatever they are. Then weighted ones too. */
static void KX_TYPED(copy_values)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                                  int64_t count) {
    const kx_linear_attention_t *a = job->a;
    KX_TYPED(copy_rows)((const char *)KX_TYPED(row_of)(&a->values, item, first), a->values.row, count, a->value_dimension,
                        count, job->width,
                        work->values);
    if (!a->log_scales.data) return;
    for (int64_t j = 0; j < count; j++) {
        KX_REAL *values = work->values + j * job->width, *weighted = work->weighted_values + j * job->width;
        if (work->log_scales[j] == -(double)INFINITY) memset(values, 0, (size_t)job->width * sizeof *values);
        const KX_VECTOR weight = V(set)(work->weights[j]);
        for (int64_t k = 0; k < job->width; k += KX_LANES) V(store)(weighted + k, V(mul)(weight, V(load)(values + k)));
    }
}

/* out and denominators of a block of queries, from the sums. */
static void KX_TYPED(ask_sums)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                               int64_t rows) {
    const kx_linear_attention_t *a = job->a;
    const int64_t padded = kx_round_up(rows, TILE_ROWS);
    KX_TYPED(copy_rows)((const char *)KX_TYPED(row_of)(&a->queries, item, first), a->queries.row, rows, a->dimension, padded,
                        job->depth,
                        work->queries);
    memset(work->out, 0, (size_t)(padded * job->width) * sizeof *work->out);
    for (int64_t j = 0; j < job->width; j += WIDTH)
        for (int64_t k = 0; k < a->dimension; k += DEPTH) {
            const int64_t depth = a->dimension - k < DEPTH ? a->dimension - k : DEPTH;
            for (int64_t r = 0; r < padded; r += TILE_ROWS)
                KX_TYPED(multiply_add)(work->queries + r * job->depth + k, job->depth, 1, work->sums + k * job->width + j,
                                       job->width, depth,
                                       WIDTH, work->out + r * job->width + j, job->width);
        }
    for (int64_t r = 0; r < padded; r++) {
        KX_VECTOR sum = V(set)(0);
        for (int64_t k = 0; k < job->depth; k += KX_LANES)
            sum = V(fma)(V(load)(work->queries + r * job->depth + k), V(load)(work->key_sums + k), sum);
        work->denominators[r] = sum;
    }
}

static void KX_TYPED(write_rows)(const kx_linear_job_t *job, const KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                                 int64_t rows,
                                 int is_blind_to_all) {
    const kx_linear_attention_t *a = job->a;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t place = item * a->query_count + first + r;
        const int is_blind = is_blind_to_all || (a->log_scales.data && (a->is_causal ? work->tops[r]
            : work->top) == -(double)INFINITY);
        KX_REAL lanes[KX_LANES];
        V(store)(lanes, work->denominators[r]);
        double sum = 0;
        for (int l = 0; l < KX_LANES; l++) sum += (double)lanes[l];
        KX_REAL *out = (KX_REAL *)job->out + place * a->value_dimension;
        const KX_REAL *numbers = work->out + r * job->width;
        const KX_REAL divisor = a->is_normalized ? (KX_REAL)(sum + a->eps) : 1;
        for (int64_t k = 0; k < a->value_dimension; k++) out[k] = is_blind ? 0 : numbers[k] / divisor;
        if (job->denominators) job->denominators[place] = is_blind ? 0 : sum;
    }
}

static void KX_TYPED(spoil_rows)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                                 int64_t row,
                                 int64_t count) {
    const kx_linear_attention_t *a = job->a;
    uint8_t shown[TILE_ROWS][KEYS];
    for (int i = 0; i < TILE_ROWS; i++)
        for (int64_t j = 0; j < count; j++)
            shown[i][j] = j <= row + i && !(a->log_scales.data && work->log_scales[j] == -(double)INFINITY);
    KX_TYPED(spoil)((const char *)KX_TYPED(row_of)(&a->values, item, first), a->values.row, count, a->value_dimension, shown,
                    work->scores,
                    work->out + row * job->width, job->width);
}

/* What a block's queries see of its own keys is added to work->out. */
static void KX_TYPED(see_block)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first,
                                int64_t rows,
                                int64_t count) {
    const int is_scaled = job->a->log_scales.data != NULL, is_spoilt = KX_TYPED(clean)(work->values, count * job->width);
    for (int64_t row = 0; row < rows; row += TILE_ROWS) {
        const int64_t last = row + TILE_ROWS < count ? row + TILE_ROWS : count, seen = kx_round_up(last, WIDTH);
        KX_TYPED(multiply)(work->queries + row * job->depth, job->depth, 1, work->keys, KEYS, job->a->dimension, seen,
                           work->scores, KEYS);
        for (int64_t i = 0; i < TILE_ROWS; i++) {
            KX_REAL *scores = work->scores + i * KEYS, *out = work->out + (row + i) * job->width;
            const int64_t place = row + i < KEYS ? row + i : KEYS - 1, visible = row + i + 1 < count ? row + i + 1 : count;
            if (is_scaled) {
                const double base = work->tops[place] > -(double)INFINITY ? work->tops[place] : 0;
                const KX_VECTOR before = V(set)(KX_TYPED(exp_apart)(work->top, work->tops[place]));
                for (int64_t k = 0; k < job->width; k += KX_LANES) V(store)(out + k, V(mul)(before, V(load)(out + k)));
                work->denominators[row + i] = V(mul)(before, work->denominators[row + i]);
                KX_REAL apart[KEYS];
                for (int64_t j = 0; j < seen; j++) apart[j] = (KX_REAL)(work->log_scales[j] - base);
                for (int64_t j = 0; j < seen; j += KX_LANES) {
                    /* of keys that come later, whose score is dropped, the exponent may be large */
                    const KX_VECTOR exponent = V(min)(V(set)(0), V(max)(V(set)(-(KX_REAL)KX_EXP_LEAST), V(load)(apart + j)));
                    V(store)(scores + j, V(mul)(V(load)(scores + j), V(exp)(exponent)));
                }
            }
            if (visible < seen) memset(scores + visible, 0, (size_t)(seen - visible) * sizeof *scores);
            KX_VECTOR sum = work->denominators[row + i];
            for (int64_t j = 0; j < seen; j += KX_LANES) sum = V(add)(sum, V(load)(scores + j));
            work->denominators[row + i] = sum;
        }
        KX_TYPED(multiply_add)(work->scores, KEYS, 1, work->values, job->width, last, job->width, work->out + row * job->width,
                               job->width);
        if (is_spoilt) KX_TYPED(spoil_rows)(job, work, item, first, row, last);
    }
    if (is_spoilt) KX_TYPED(copy_values)(job, work, item, first, count); /* what comes later sees them in the sums */
}

static void KX_TYPED(attend_causally)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first) {
    const kx_linear_attention_t *a = job->a;
    const int64_t rows = a->query_count - first < KEYS ? a->query_count - first : KEYS;
    int64_t count = a->key_count - first < KEYS ? a->key_count - first : KEYS;
    if (count < 0) count = 0;
    const int is_scaled = a->log_scales.data != NULL;
    if (is_scaled) KX_TYPED(read_scales)(job, work, item, first, count);
    KX_TYPED(ask_sums)(job, work, item, first, rows);
    if (count > 0) {
        KX_TYPED(transpose_rows)((const char *)KX_TYPED(row_of)(&a->keys, item, first), a->keys.row, count, a->dimension,
                                 work->keys);
        for (int64_t j = 0; is_scaled && j < count; j++)
            for (int64_t k = 0; work->log_scales[j] == -(double)INFINITY && k < a->dimension; k++) work->keys[k * KEYS + j] = 0;
        KX_TYPED(copy_values)(job, work, item, first, count);
        KX_TYPED(see_block)(job, work, item, first, rows, count);
    }
    KX_TYPED(write_rows)(job, work, item, first, rows, a->key_count == 0);
    if (count <= 0 || first + rows >= a->query_count) return;
    if (is_scaled) KX_TYPED(raise_top)(job, work, work->tops[count - 1]);
    KX_TYPED(add_keys)(job, work, item, first, count);
    KX_TYPED(add_block)(job, work, work->keys, KEYS, 1, is_scaled ? work->weighted_values : work->values, count);
}

static void KX_TYPED(gather)(const kx_linear_job_t *job, KX_TYPED(linear_work) * work, int64_t item, int64_t first) {
    const kx_linear_attention_t *a = job->a;
    const int64_t count = a->key_count - first < GATHERED ? a->key_count - first : GATHERED;
    const int is_scaled = a->log_scales.data != NULL;
    if (is_scaled) {
        KX_TYPED(read_scales)(job, work, item, first, count);
        KX_TYPED(raise_top)(job, work, work->tops[count - 1]);
    }
    KX_TYPED(copy_rows)((const char *)KX_TYPED(row_of)(&a->keys, item, first), a->keys.row, count, a->dimension, count,
                        job->features, work->keys);
    for (int64_t j = 0; is_scaled && j < count; j++)
        if (work->log_scales[j] == -(double)INFINITY) memset(work->keys + j * job->features, 0,
            (size_t)job->features * sizeof *work->keys);
    KX_TYPED(copy_values)(job, work, item, first, count);
    KX_TYPED(add_keys)(job, work, item, first, count);
    KX_TYPED(add_block)(job, work, work->keys, 1, job->features, is_scaled ? work->weighted_values : work->values, count);
}

static kx_status_t KX_TYPED(attend_linearly)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    const kx_linear_job_t *job = (const kx_linear_job_t *)arg;
    const kx_linear_attention_t *a = job->a;
    char *memory = job->memory + (size_t)kx_task_worker(task) * job->worker_bytes;
    KX_TYPED(linear_work) work;
    KX_REAL **parts[] = {&work.queries, &work.keys, &work.values, &work.weighted_values, &work.out, &work.scores,
                         &work.sums, &work.sum_errors, &work.key_sums, &work.key_sum_errors};
    for (int i = 0; i < 10; i++) *parts[i] = (KX_REAL *)(void *)(memory + job->offsets[i]);
    for (int64_t item = begin; item < end; item++) {
        for (int p = 0; p < 2; p++) {
            memset(p ? work.sums : work.sum_errors, 0, (size_t)(job->features * job->width) * sizeof(KX_REAL));
            memset(p ? work.key_sums : work.key_sum_errors, 0, (size_t)job->depth * sizeof(KX_REAL));
        }
        work.top = -(double)INFINITY;
        for (int64_t first = 0; !a->is_causal && first < a->key_count; first += GATHERED) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            KX_TYPED(gather)(job, &work, item, first);
        }
        for (int64_t first = 0; first < a->query_count; first += KEYS) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            if (a->is_causal) {
                KX_TYPED(attend_causally)(job, &work, item, first);
            } else {
                const int64_t rows = a->query_count - first < KEYS ? a->query_count - first : KEYS;
                KX_TYPED(ask_sums)(job, &work, item, first, rows);
                KX_TYPED(write_rows)(job, &work, item, first, rows, a->key_count == 0);
            }
        }
    }
    return KX_OK;
}

kx_status_t KX_KERNEL(KX_TYPED(kx_linear_attention)) KX_LINEAR_PARAMETERS(KX_REAL) {
    const kx_linear_attention_t *a = attention;
    if (!a || a->items < 0 || a->query_count < 0 || a->key_count < 0 || a->dimension < 0
        || a->value_dimension < 0) return KX_E_ARGUMENT;
    const int64_t most = INT64_MAX >> 20;
    if (a->query_count > most || a->key_count > most || a->dimension > most || a->value_dimension > most) return KX_E_OVERFLOW;
    if (a->query_count > 0 && a->items > most / a->query_count) return KX_E_OVERFLOW;
    if (a->items == 0 || a->query_count == 0) return KX_OK;
    kx_linear_job_t job = {.a = a, .out = out, .denominators = denominators};
    job.width = kx_round_up(a->value_dimension, WIDTH);
    job.depth = kx_round_up(a->dimension, KX_LANES), job.features = kx_round_up(a->dimension, TILE_ROWS);
    const int64_t block = a->is_causal ? KEYS : GATHERED, weighted = a->log_scales.data ? block : 0;
    const struct {
        int64_t rows, width;
    } parts[] = {{ROWS, job.depth}, {block, job.features}, {block, job.width}, {weighted, job.width}, {ROWS, job.width},
                 {TILE_ROWS, KEYS}, {job.features, job.width}, {job.features, job.width}, {1, job.depth}, {1, job.depth}};
    kx_layout_t layout = {0, 0}, whole = {0, 0};
    for (int i = 0; i < 10; i++) job.offsets[i] = kx_layout_add(&layout, parts[i].rows,
        (size_t)(parts[i].width + 1) * sizeof(KX_REAL));
    job.worker_bytes = layout.bytes;
    int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (workers > a->items) workers = a->items;
    if (!layout.overflow) kx_layout_add(&whole, workers, layout.bytes);
    if (layout.overflow || whole.overflow) return KX_E_OVERFLOW;
    job.memory = (char *)kx_allocate(ctx, whole.bytes);
    if (!job.memory) return KX_E_MEMORY;
    memset(job.memory, 0, whole.bytes); /* tiles read past what is written, into numbers that go into no result */
    const double products = (double)(a->query_count + a->key_count) * (double)a->dimension * (double)(a->value_dimension + 1);
    const int64_t grain = products < 4e6 ? (int64_t)(4e6 / (products + 1)) + 1 : 1;
    const int flags = kx_flags_begin();
    const kx_status_t status = kx_parallel_for(ctx, a->items, grain, KX_TYPED(attend_linearly), &job);
    kx_flags_end(flags, 0);
    kx_release(ctx, job.memory);
    return status;
}
#undef WIDTH
#endif
#endif
