/* Distances between all pairs of two sets of documents.

   Both sets are cut into blocks of consecutive documents that share a few hundred distinct words. A pair of blocks is a tile: one
   table of distances between their words (document_costs.c), from which every pair of documents of the tile gathers its
   costs. Tiles depend on the data alone, so results are the same for any number of workers. */
#ifndef KX_REAL
#include "kexue/kx_documents.h"

#include "isa/kernel.h"

#define KX_PAIRWISE_PARAMETERS(real)                                                                                     \
    (const kx_ctx_t *ctx, const real *vectors, const kx_documents_t *X, const kx_documents_t *Y, int64_t vocabulary,      \
     int64_t dimension, ptrdiff_t row_stride, const kx_pairwise_options_t *options, real *out)
#define KX_PAIRWISE_ARGUMENTS (ctx, vectors, X, Y, vocabulary, dimension, row_stride, options, out)

#ifdef KX_DISPATCH_PASS
#include <math.h>

void kx_pairwise_options_init(kx_pairwise_options_t *options) {
    options->metric = KX_WMD;
    options->scale = 1;
    options->empty_value = (double)NAN;
    options->done = NULL;
    options->total = NULL;
    options->reg = 0;
    options->tolerance = 1e-9;
    options->max_iter = 10000;
    options->unconverged = NULL;
}

#else
#include "kernels/documents_internal.h"
#include "runtime/atomic.h"

/* Distinct words of a block: the table of a tile stays near the size of a second-level cache. */
enum { ROW_BLOCK_WORDS = 192, COLUMN_BLOCK_WORDS = 384 };

/* One set as the tiles want it: weights normalised and zero ones gone, words numbered within their block. */
typedef struct kx_blocked_documents {
    int64_t count, blocks, longest, widest; /* longest document; most distinct words in a block */
    int64_t *offsets;       /* count + 1 */
    int32_t *words, *local; /* vocabulary row, and its number within the block */
    double *weights;        /* each document sums to 1 */
    int64_t *first;         /* first document of each block, blocks + 1 */
    int64_t *block_offsets; /* blocks + 1, into block_words */
    int32_t *block_words;
    double *block_factors;  /* of block_words, for WRD, else NULL */
    char *memory;
} kx_blocked_documents_t;

static int is_wrd(const kx_pairwise_options_t *options) {
    return options->metric == KX_WRD || options->metric == KX_RELAXED_WRD;
}

/* factors: 1 / norm of each word in use, for WRD, else NULL. stamp: one number a word, any content. */
static kx_status_t block_documents(const kx_ctx_t *ctx, const kx_documents_t *source, const double *factors, int64_t block_words,
                                   int64_t *stamp, int32_t *number, int64_t vocabulary, kx_blocked_documents_t *set) {
    const int64_t n = source->count, entries = source->offsets[n];
    kx_layout_t layout = {0, 0};
    size_t offsets = kx_layout_add(&layout, n + 1, sizeof(int64_t)), words = kx_layout_add(&layout, entries, sizeof(int32_t));
    size_t local = kx_layout_add(&layout, entries, sizeof(int32_t)), weights = kx_layout_add(&layout, entries, sizeof(double));
    size_t first = kx_layout_add(&layout, n + 1, sizeof(int64_t)), block_offsets = kx_layout_add(&layout, n + 1, sizeof(int64_t));
    size_t distinct = kx_layout_add(&layout, entries, sizeof(int32_t));
    size_t block_factors = kx_layout_add(&layout, factors ? entries : 0, sizeof(double));
    if (layout.overflow) return KX_E_OVERFLOW;
    set->memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!set->memory) return KX_E_MEMORY;
    set->offsets = (int64_t *)(set->memory + offsets);
    set->words = (int32_t *)(set->memory + words);
    set->local = (int32_t *)(set->memory + local);
    set->weights = (double *)(set->memory + weights);
    set->first = (int64_t *)(set->memory + first);
    set->block_offsets = (int64_t *)(set->memory + block_offsets);
    set->block_words = (int32_t *)(set->memory + distinct);
    set->block_factors = factors ? (double *)(set->memory + block_factors) : NULL;
    set->count = n;
    set->blocks = set->longest = set->widest = 0;

    for (int64_t w = 0; w < vocabulary; w++) stamp[w] = -1;
    int64_t kept = 0, in_block = 0, placed = 0;
    set->offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t begin = kept, from = source->offsets[i];
        int64_t left;
        kx_status_t status = KX_KERNEL(kx_document_normalize)(source->words + from, source->weights + from,
                                                              source->offsets[i + 1] - from, vocabulary, factors,
                                                              set->words + begin, set->weights + begin, &left);
        if (status != KX_OK) return status;
        kept += left;
        set->offsets[i + 1] = kept;
        if (kept - begin > set->longest) set->longest = kept - begin;
        /* A document that would make its block too wide opens the next one. */
        int64_t new_words = 0;
        for (int64_t k = begin; k < kept; k++) new_words += stamp[set->words[k]] != set->blocks;
        if (i == 0 || in_block + new_words > block_words) {
            if (i > 0) set->blocks++;
            set->first[set->blocks] = i;
            set->block_offsets[set->blocks] = placed;
            in_block = 0;
        }
        for (int64_t k = begin; k < kept; k++) {
            const int32_t word = set->words[k];
            if (stamp[word] != set->blocks) {
                stamp[word] = set->blocks;
                number[word] = (int32_t)in_block++;
                if (factors) set->block_factors[placed] = factors[word];
                set->block_words[placed++] = word;
            }
            set->local[k] = number[word];
        }
        if (in_block > set->widest) set->widest = in_block;
    }
    if (n > 0) set->blocks++;
    set->first[set->blocks] = n;
    set->block_offsets[set->blocks] = placed;
    return KX_OK;
}

#define KX_REAL float
#define KX_SUFFIX f32
#include "documents.c"
#undef KX_REAL
#undef KX_SUFFIX

#define KX_REAL double
#define KX_SUFFIX f64
#include "documents.c"
#undef KX_REAL
#undef KX_SUFFIX
#endif

KX_DISPATCH(kx_documents_pairwise_f32, KX_PAIRWISE_PARAMETERS(float), KX_PAIRWISE_ARGUMENTS)
KX_DISPATCH(kx_documents_pairwise_f64, KX_PAIRWISE_PARAMETERS(double), KX_PAIRWISE_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(kx_documents_pairwise_f32) KX_PAIRWISE_PARAMETERS(float) { return pairwise_f32 KX_PAIRWISE_ARGUMENTS; }
kx_status_t KX_KERNEL(kx_documents_pairwise_f64) KX_PAIRWISE_PARAMETERS(double) { return pairwise_f64 KX_PAIRWISE_ARGUMENTS; }
#endif

#else /* the template */

typedef struct KX_TYPED(tile_worker) {
    char *memory;
    KX_REAL *packed_x, *packed_y, *table;
    kx_document_scratch_t scratch;
} KX_TYPED(tile_worker);

typedef struct KX_TYPED(pairwise_job) {
    const kx_ctx_t *ctx;
    const KX_REAL *vectors;
    int64_t dimension, stride, table_stride;
    ptrdiff_t row_stride;
    const kx_pairwise_options_t *options;
    const kx_blocked_documents_t *X, *Y;
    int symmetric;
    KX_REAL *out;
    KX_TYPED(tile_worker) *workers;
    kx_atomic_int64 done, unconverged;
    kx_sinkhorn_options_t sinkhorn; /* for KX_ENTROPIC_WMD */
} KX_TYPED(pairwise_job);

static size_t KX_TYPED(lay_out_worker)(const KX_TYPED(pairwise_job) *job, KX_TYPED(tile_worker) *worker) {
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    const int relaxed = job->options->metric == KX_RELAXED_WMD || job->options->metric == KX_RELAXED_WRD;
    const int entropic = job->options->metric == KX_ENTROPIC_WMD;
    const kx_document_use_t use = relaxed ? KX_USE_RELAXED : entropic ? KX_USE_ENTROPIC : KX_USE_EXACT;
    worker->scratch.sinkhorn_options = &job->sinkhorn;
    worker->scratch.reg = job->options->reg;
    worker->scratch.sinkhorn.state.ctx = job->ctx;
    kx_layout_t layout = {0, 0};
    size_t packed_x = kx_layout_add(&layout, (X->widest + 4) * job->stride, sizeof(KX_REAL));
    size_t packed_y = kx_layout_add(&layout, (Y->widest + 4) * job->stride, sizeof(KX_REAL));
    size_t table = kx_layout_add(&layout, (X->widest + 4) * job->table_stride, sizeof(KX_REAL));
    size_t pair = KX_KERNEL(kx_document_scratch_cut)(&worker->scratch, X->longest, Y->longest, use, NULL);
    if (pair == 0) layout.overflow = 1;
    size_t scratch = kx_layout_add(&layout, (int64_t)pair, 1);
    if (layout.overflow) return 0;
    if (worker->memory) {
        char *block = worker->memory;
        worker->packed_x = (KX_REAL *)(block + packed_x);
        worker->packed_y = (KX_REAL *)(block + packed_y);
        worker->table = (KX_REAL *)(block + table);
        KX_KERNEL(kx_document_scratch_cut)(&worker->scratch, X->longest, Y->longest, use, block + scratch);
    }
    return layout.bytes;
}

static kx_status_t KX_TYPED(solve_pair)(const KX_TYPED(pairwise_job) *job, KX_TYPED(tile_worker) *w, int64_t i, int64_t j,
                                        kx_task_t *task, double *distance) {
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    const int64_t k = X->offsets[i], l = Y->offsets[j], m = X->offsets[i + 1] - k, n = Y->offsets[j + 1] - l;
    if (m == 0 || n == 0) {
        *distance = job->options->empty_value;
        return KX_OK;
    }
    const kx_document_side_t x = {X->words + k, X->local + k, X->weights + k, m}, y = {Y->words + l, Y->local + l, Y->weights + l, n};
    return KX_KERNEL(KX_TYPED(kx_document_distance))(&w->scratch, w->table, job->table_stride, 1, &x, &y, job->options->metric,
                                                     INFINITY, task, distance);
}

static kx_status_t KX_TYPED(solve_tile)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    KX_TYPED(pairwise_job) *job = (KX_TYPED(pairwise_job) *)arg;
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    KX_TYPED(tile_worker) *w = &job->workers[kx_task_worker(task)];
    if (!w->memory) {
        w->memory = (char *)kx_allocate(job->ctx, KX_TYPED(lay_out_worker)(job, w));
        if (!w->memory) return KX_E_MEMORY;
        KX_TYPED(lay_out_worker)(job, w);
    }
    kx_status_t worst = KX_OK;
    for (int64_t tile = begin; tile < end; tile++) {
        const int64_t x_block = tile / Y->blocks, y_block = tile % Y->blocks;
        const int64_t x_first = X->first[x_block], x_last = X->first[x_block + 1];
        const int64_t y_first = Y->first[y_block], y_last = Y->first[y_block + 1];
        /* Here and not before: the first touch of a large matrix's pages takes seconds, which an interrupt would wait for. */
        const int entropic = job->options->metric == KX_ENTROPIC_WMD; /* of which a document is not at distance 0 from itself */
        for (int64_t i = x_first > y_first ? x_first : y_first; job->symmetric && i < x_last && i < y_last; i++)
            job->out[i * Y->count + i] = X->offsets[i + 1] > X->offsets[i] ? 0 : (KX_REAL)job->options->empty_value;
        if (!job->symmetric || y_last - 1 + entropic > x_first) {
            const int64_t x_words = X->block_offsets[x_block + 1] - X->block_offsets[x_block];
            const int64_t y_words = Y->block_offsets[y_block + 1] - Y->block_offsets[y_block];
            KX_KERNEL(KX_TYPED(kx_document_pack))(job->vectors, job->row_stride, job->dimension,
                                                  X->block_words + X->block_offsets[x_block], x_words,
                                                  X->block_factors ? X->block_factors + X->block_offsets[x_block] : NULL,
                                                  w->packed_x, job->stride);
            KX_KERNEL(KX_TYPED(kx_document_pack))(job->vectors, job->row_stride, job->dimension,
                                                  Y->block_words + Y->block_offsets[y_block], y_words,
                                                  Y->block_factors ? Y->block_factors + Y->block_offsets[y_block] : NULL,
                                                  w->packed_y, job->stride);
            /* 1 - cos of unit vectors is half the squared distance, with no cancellation for small angles. */
            const int wrd = is_wrd(job->options);
            KX_KERNEL(KX_TYPED(kx_document_table))(w->packed_x, job->stride * (ptrdiff_t)sizeof(KX_REAL), job->stride, NULL,
                                                   w->packed_y, x_words, y_words, job->stride, !wrd,
                                                   (wrd ? 0.5 : 1.0) * job->options->scale, 0, w->table, job->table_stride);
            for (int64_t i = x_first; i < x_last; i++) {
                if (kx_task_should_stop(task)) return KX_E_CANCELLED;
                int64_t j = job->symmetric && y_first <= i ? i + !entropic : y_first;
                for (; j < y_last; j++) {
                    double distance = 0;
                    kx_status_t status = KX_TYPED(solve_pair)(job, w, i, j, task, &distance);
                    if (status < KX_OK) return status;
                    worst = status > worst ? status : worst;
                    if (status > KX_OK) kx_atomic_add64(&job->unconverged, 1);
                    if (isinf((KX_REAL)distance) && X->offsets[i + 1] > X->offsets[i] && Y->offsets[j + 1] > Y->offsets[j])
                        return KX_E_OVERFLOW;
                    job->out[i * Y->count + j] = (KX_REAL)distance;
                    if (job->symmetric) job->out[j * Y->count + i] = (KX_REAL)distance;
                }
            }
        }
        int64_t done = kx_atomic_add64(&job->done, 1) + 1;
        if (kx_task_worker(task) == 0 && job->options->done) *job->options->done = done;
    }
    return worst;
}

/* Finite vectors for every word in use; and for WRD, 1 / norm (0 for a zero vector). marks: one number a word. */
static kx_status_t KX_TYPED(scan_vectors)(const KX_REAL *vectors, int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride,
                                          const kx_documents_t *documents, int64_t *marks, double *factors) {
    for (int64_t k = documents->offsets[0]; k < documents->offsets[documents->count]; k++) {
        const int32_t word = documents->words[k];
        if (word < 0 || word >= vocabulary) return KX_E_ARGUMENT;
        if (marks[word]) continue;
        marks[word] = 1;
        const KX_REAL *row = (const KX_REAL *)((const char *)vectors + word * row_stride);
        kx_status_t status = KX_KERNEL(KX_TYPED(kx_document_scan))(row, dimension, factors ? &factors[word] : NULL);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(pairwise) KX_PAIRWISE_PARAMETERS(KX_REAL) {
    if (!vectors || !X || !options || !out || vocabulary < 1 || dimension < 1) return KX_E_ARGUMENT;
    if (vocabulary > INT32_MAX || dimension > INT32_MAX) return KX_E_OVERFLOW;
    if (options->unconverged) *options->unconverged = 0;
    const int solvable = options->reg > 0 && options->reg <= DBL_MAX && options->max_iter > 0 && options->tolerance >= 0;
    if (options->metric == KX_ENTROPIC_WMD && !solvable) return KX_E_ARGUMENT;
    const int symmetric = !Y;
    const kx_documents_t *other = Y ? Y : X;
    kx_layout_t layout = {0, 0};
    size_t stamp = kx_layout_add(&layout, vocabulary, sizeof(int64_t)), number = kx_layout_add(&layout, vocabulary, sizeof(int32_t));
    size_t factor = kx_layout_add(&layout, is_wrd(options) ? vocabulary : 0, sizeof(double));
    char *memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    int64_t *marks = (int64_t *)(memory + stamp);
    int32_t *numbers = (int32_t *)(memory + number);
    double *factors = is_wrd(options) ? (double *)(memory + factor) : NULL;
    kx_blocked_documents_t blocked_x = {0}, blocked_y = {0};

    memset(marks, 0, (size_t)vocabulary * sizeof *marks);
    kx_status_t status = KX_TYPED(scan_vectors)(vectors, vocabulary, dimension, row_stride, X, marks, factors);
    if (status == KX_OK && Y) status = KX_TYPED(scan_vectors)(vectors, vocabulary, dimension, row_stride, Y, marks, factors);
    if (status == KX_OK) status = block_documents(ctx, X, factors, ROW_BLOCK_WORDS, marks, numbers, vocabulary, &blocked_x);
    if (status == KX_OK) status = block_documents(ctx, other, factors, COLUMN_BLOCK_WORDS, marks, numbers, vocabulary, &blocked_y);
    if (status == KX_OK) {
        KX_TYPED(pairwise_job) job = {.ctx = ctx};
        job.vectors = vectors;
        job.dimension = dimension;
        job.row_stride = row_stride;
        job.stride = (dimension + 15) / 16 * 16;
        job.table_stride = (blocked_y.widest + 15) / 16 * 16;
        job.options = options;
        kx_sinkhorn_options_init(&job.sinkhorn);
        job.sinkhorn.tolerance = options->tolerance;
        job.sinkhorn.max_iter = options->max_iter;
        job.sinkhorn.totals_tolerance = 1; /* they were normalised */
        job.X = &blocked_x;
        job.Y = &blocked_y;
        job.symmetric = symmetric;
        job.out = out;
        const int64_t tiles = blocked_x.blocks * blocked_y.blocks;
        int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
        if (workers > tiles) workers = tiles > 0 ? tiles : 1;
        if (options->total) *options->total = tiles;
        KX_TYPED(tile_worker) probe = {0};
        if (KX_TYPED(lay_out_worker)(&job, &probe) == 0) {
            status = KX_E_OVERFLOW;
        } else if (!(job.workers = (KX_TYPED(tile_worker) *)kx_allocate(ctx, (size_t)workers * sizeof *job.workers))) {
            status = KX_E_MEMORY;
        } else {
            memset(job.workers, 0, (size_t)workers * sizeof *job.workers);
            status = kx_parallel_for(ctx, tiles, 1, KX_TYPED(solve_tile), &job);
            if (status >= KX_OK && options->done) *options->done = tiles;
            if (options->unconverged) *options->unconverged = kx_atomic_load64(&job.unconverged);
            for (int64_t k = 0; k < workers; k++) {
                KX_KERNEL(kx_sinkhorn_arena_release)(ctx, &job.workers[k].scratch.sinkhorn);
                kx_release(ctx, job.workers[k].memory);
            }
        }
        kx_release(ctx, job.workers);
    }
    kx_release(ctx, blocked_x.memory);
    kx_release(ctx, blocked_y.memory);
    kx_release(ctx, memory);
    return status;
}
#endif
