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
}

#else
#include <float.h>

#include "kernels/documents_internal.h"
#include "kernels/transport_internal.h"
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
    if (layout.overflow) return KX_E_OVERFLOW;
    set->memory = kx_allocate(ctx, layout.bytes);
    if (!set->memory) return KX_E_MEMORY;
    set->offsets = (int64_t *)(set->memory + offsets);
    set->words = (int32_t *)(set->memory + words);
    set->local = (int32_t *)(set->memory + local);
    set->weights = (double *)(set->memory + weights);
    set->first = (int64_t *)(set->memory + first);
    set->block_offsets = (int64_t *)(set->memory + block_offsets);
    set->block_words = (int32_t *)(set->memory + distinct);
    set->count = n;
    set->blocks = set->longest = set->widest = 0;

    for (int64_t w = 0; w < vocabulary; w++) stamp[w] = -1;
    int64_t kept = 0, in_block = 0, placed = 0;
    set->offsets[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        double total = 0;
        const int64_t begin = kept;
        for (int64_t k = source->offsets[i]; k < source->offsets[i + 1]; k++) {
            const int32_t word = source->words[k];
            if (word < 0 || word >= vocabulary || (k > source->offsets[i] && word <= source->words[k - 1])) return KX_E_ARGUMENT;
            double weight = source->weights[k];
            if (weight < 0) return KX_E_NEGATIVE;
            if (factors) weight = factors[word] > 0 ? weight / factors[word] : 0;
            if (!(weight <= DBL_MAX)) return KX_E_OVERFLOW;
            if (weight == 0) continue;
            set->words[kept] = word;
            set->weights[kept++] = weight;
            total += weight;
        }
        if (!(total <= DBL_MAX)) return KX_E_OVERFLOW;
        for (int64_t k = begin; k < kept; k++) set->weights[k] /= total;
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

/* What two documents do not share: equal words are at distance 0, and for a metric cost some optimal plan leaves the common mass
   where it is. Fills the kept positions and weights of both sides. */
static void cancel_shared(const kx_blocked_documents_t *X, const kx_blocked_documents_t *Y, int64_t i, int64_t j, int32_t *rows,
                            double *a, int64_t *m, int32_t *columns, double *b, int64_t *n) {
    int64_t k = X->offsets[i], l = Y->offsets[j], m_left = 0, n_left = 0;
    const int64_t k_end = X->offsets[i + 1], l_end = Y->offsets[j + 1];
    while (k < k_end || l < l_end) {
        const int32_t x_word = k < k_end ? X->words[k] : INT32_MAX, y_word = l < l_end ? Y->words[l] : INT32_MAX;
        double x_weight = x_word <= y_word ? X->weights[k] : 0, y_weight = y_word <= x_word ? Y->weights[l] : 0;
        const double larger = x_weight > y_weight ? x_weight : y_weight;
        double shared = x_weight < y_weight ? x_weight : y_weight;
        /* Equal but for the rounding of the totals. */
        if (larger - shared <= 4 * DBL_EPSILON * larger) x_weight = y_weight = shared;
        if (x_word <= y_word) {
            rows[m_left] = X->local[k++];
            a[m_left] = x_weight - shared;
            m_left += a[m_left] > 0;
        }
        if (y_word <= x_word) {
            columns[n_left] = Y->local[l++];
            b[n_left] = y_weight - shared;
            n_left += b[n_left] > 0;
        }
    }
    *m = m_left;
    *n = n_left;
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
    double *costs, *a, *b;
    int32_t *rows, *columns;
    kx_emd_arena_t arena;
    char *arena_block;
} KX_TYPED(tile_worker);

typedef struct KX_TYPED(pairwise_job) {
    const kx_ctx_t *ctx;
    const KX_REAL *vectors;
    int64_t dimension, stride, table_stride;
    ptrdiff_t row_stride;
    const kx_pairwise_options_t *options;
    const double *factors; /* of each word's vector, or NULL */
    const kx_blocked_documents_t *X, *Y;
    int symmetric, cancel;
    KX_REAL *out;
    KX_TYPED(tile_worker) *workers;
    kx_atomic_int64 done;
} KX_TYPED(pairwise_job);

static size_t KX_TYPED(lay_out_worker)(const KX_TYPED(pairwise_job) *job, KX_TYPED(tile_worker) *worker) {
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    const int64_t m = X->longest > 0 ? X->longest : 1, n = Y->longest > 0 ? Y->longest : 1;
    kx_layout_t layout = {0, 0};
    size_t packed_x = kx_layout_add(&layout, (X->widest + 4) * job->stride, sizeof(KX_REAL));
    size_t packed_y = kx_layout_add(&layout, (Y->widest + 4) * job->stride, sizeof(KX_REAL));
    size_t table = kx_layout_add(&layout, (X->widest + 4) * job->table_stride, sizeof(KX_REAL));
    size_t a = kx_layout_add(&layout, m, sizeof(double)), b = kx_layout_add(&layout, n, sizeof(double));
    size_t rows = kx_layout_add(&layout, m + 1, sizeof(int32_t)), columns = kx_layout_add(&layout, n + 1, sizeof(int32_t));
    int relaxed = job->options->metric == KX_RELAXED_WMD || job->options->metric == KX_RELAXED_WRD;
    /* The relaxed bounds use it for the cheapest cost of each column. */
    size_t costs = kx_layout_add(&layout, relaxed ? n : m * n, sizeof(double));
    size_t solver = relaxed ? 64 : KX_KERNEL(kx_emd_arena_cut)(&worker->arena, m, n, NULL);
    if (solver == 0) layout.overflow = 1;
    size_t arena = kx_layout_add(&layout, (int64_t)solver, 1);
    if (layout.overflow) return 0;
    if (worker->memory) {
        char *block = worker->memory;
        worker->packed_x = (KX_REAL *)(block + packed_x);
        worker->packed_y = (KX_REAL *)(block + packed_y);
        worker->table = (KX_REAL *)(block + table);
        worker->costs = (double *)(block + costs);
        worker->a = (double *)(block + a);
        worker->b = (double *)(block + b);
        worker->rows = (int32_t *)(block + rows);
        worker->columns = (int32_t *)(block + columns);
        worker->arena_block = block + arena;
    }
    return layout.bytes;
}

/* max over the two sides of sum of weight * cheapest cost */
static double KX_TYPED(relaxed)(const KX_REAL *table, int64_t stride, const int32_t *rows, const double *a, int64_t m,
                                const int32_t *columns, const double *b, int64_t n, double *cheapest) {
    double from_rows = 0, from_columns = 0;
    for (int64_t j = 0; j < n; j++) cheapest[j] = INFINITY;
    for (int64_t i = 0; i < m; i++) {
        const KX_REAL *row = table + rows[i] * stride;
        double least = INFINITY;
        for (int64_t j = 0; j < n; j++) {
            double c = (double)row[columns[j]];
            least = c < least ? c : least;
            cheapest[j] = c < cheapest[j] ? c : cheapest[j];
        }
        from_rows += a[i] * least;
    }
    for (int64_t j = 0; j < n; j++) from_columns += b[j] * cheapest[j];
    return from_rows > from_columns ? from_rows : from_columns;
}

static kx_status_t KX_TYPED(solve_pair)(const KX_TYPED(pairwise_job) *job, KX_TYPED(tile_worker) *w, int64_t i, int64_t j,
                                        kx_task_t *task, double *distance) {
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    int64_t m = X->offsets[i + 1] - X->offsets[i], n = Y->offsets[j + 1] - Y->offsets[j];
    if (m == 0 || n == 0) {
        *distance = job->options->empty_value;
        return KX_OK;
    }
    const int32_t *rows = X->local + X->offsets[i], *columns = Y->local + Y->offsets[j];
    const double *a = X->weights + X->offsets[i], *b = Y->weights + Y->offsets[j];
    if (job->cancel) {
        cancel_shared(X, Y, i, j, w->rows, w->a, &m, w->columns, w->b, &n);
        rows = w->rows;
        columns = w->columns;
        a = w->a;
        b = w->b;
        if (m == 0 || n == 0) {
            *distance = 0;
            return KX_OK;
        }
    }
    if (job->options->metric == KX_RELAXED_WMD || job->options->metric == KX_RELAXED_WRD) {
        *distance = KX_TYPED(relaxed)(w->table, job->table_stride, rows, a, m, columns, b, n, w->costs);
        return KX_OK;
    }
    if (m == 1 || n == 1) { /* one word moves to all or all to one: nothing to choose */
        double sum = 0;
        for (int64_t r = 0; r < m; r++)
            for (int64_t c = 0; c < n; c++)
                sum += (m == 1 ? b[c] : a[r]) * (double)w->table[rows[r] * job->table_stride + columns[c]];
        *distance = sum;
        return KX_OK;
    }
    double *costs = w->costs;
    for (int64_t r = 0; r < m; r++) {
        const KX_REAL *row = w->table + rows[r] * job->table_stride;
        for (int64_t c = 0; c < n; c++) costs[r * n + c] = (double)row[columns[c]];
    }
    KX_KERNEL(kx_emd_arena_cut)(&w->arena, m, n, w->arena_block);
    /* Both sides were normalised to the same total. What is left after cancelling differs by rounding, which may be all there is. */
    const kx_emd_options_t options = {1.0, 0};
    const kx_emd_outputs_t outputs = {distance, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL};
    const ptrdiff_t row_bytes = n * (ptrdiff_t)sizeof(double);
    kx_status_t status = KX_KERNEL(kx_emd_solve_f64)(&w->arena, a, b, costs, m, n, row_bytes, &options, &outputs, 0, task);
    if (status == KX_E_OVERFLOW) { /* costs near the end of the range, which the solver leaves room at */
        for (int64_t k = 0; k < m * n; k++) costs[k] = ldexp(costs[k], -300);
        status = KX_KERNEL(kx_emd_solve_f64)(&w->arena, a, b, costs, m, n, row_bytes, &options, &outputs, 0, task);
        *distance = ldexp(*distance, 300);
    }
    return status;
}

static kx_status_t KX_TYPED(solve_tile)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    KX_TYPED(pairwise_job) *job = arg;
    const kx_blocked_documents_t *X = job->X, *Y = job->Y;
    KX_TYPED(tile_worker) *w = &job->workers[kx_task_worker(task)];
    if (!w->memory) {
        w->memory = kx_allocate(job->ctx, KX_TYPED(lay_out_worker)(job, w));
        if (!w->memory) return KX_E_MEMORY;
        KX_TYPED(lay_out_worker)(job, w);
    }
    kx_status_t worst = KX_OK;
    for (int64_t tile = begin; tile < end; tile++) {
        const int64_t x_block = tile / Y->blocks, y_block = tile % Y->blocks;
        const int64_t x_first = X->first[x_block], x_last = X->first[x_block + 1];
        const int64_t y_first = Y->first[y_block], y_last = Y->first[y_block + 1];
        if (!job->symmetric || y_last - 1 > x_first) {
            const int64_t x_words = X->block_offsets[x_block + 1] - X->block_offsets[x_block];
            const int64_t y_words = Y->block_offsets[y_block + 1] - Y->block_offsets[y_block];
            KX_KERNEL(KX_TYPED(kx_document_pack))(job->vectors, job->row_stride, job->dimension,
                                                  X->block_words + X->block_offsets[x_block], x_words, job->factors, w->packed_x,
                                                  job->stride);
            KX_KERNEL(KX_TYPED(kx_document_pack))(job->vectors, job->row_stride, job->dimension,
                                                  Y->block_words + Y->block_offsets[y_block], y_words, job->factors, w->packed_y,
                                                  job->stride);
            /* 1 - cos of unit vectors is half the squared distance, with no cancellation for small angles. */
            const int wrd = is_wrd(job->options);
            KX_KERNEL(KX_TYPED(kx_document_table))(w->packed_x, w->packed_y, x_words, y_words, job->stride, !wrd,
                                                   (wrd ? 0.5 : 1.0) * job->options->scale, w->table, job->table_stride);
            for (int64_t i = x_first; i < x_last; i++) {
                if (kx_task_should_stop(task)) return KX_E_CANCELLED;
                int64_t j = job->symmetric && y_first <= i ? i + 1 : y_first;
                for (; j < y_last; j++) {
                    double distance = 0;
                    kx_status_t status = KX_TYPED(solve_pair)(job, w, i, j, task, &distance);
                    if (status < KX_OK) return status;
                    worst = status > worst ? status : worst;
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
        double largest = 0, sum = 0;
        int sound = 1;
        for (int64_t d = 0; d < dimension; d++) {
            double size = fabs((double)row[d]);
            sound &= size <= DBL_MAX;
            largest = size > largest ? size : largest;
        }
        if (!sound) return KX_E_NONFINITE;
        if (!factors) continue;
        /* Scaled by a power of two, so that neither the squares nor the factor can leave the range. */
        int exponent;
        frexp(largest, &exponent);
        const double scale = ldexp(1.0, exponent > -1000 ? -exponent : 1000);
        for (int64_t d = 0; d < dimension; d++) sum += (double)row[d] * scale * ((double)row[d] * scale);
        factors[word] = largest > 0 ? scale / sqrt(sum) : 0;
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(pairwise) KX_PAIRWISE_PARAMETERS(KX_REAL) {
    if (!vectors || !X || !options || !out || vocabulary < 1 || dimension < 1) return KX_E_ARGUMENT;
    if (vocabulary > INT32_MAX || dimension > INT32_MAX) return KX_E_OVERFLOW;
    const int symmetric = !Y;
    const kx_documents_t *other = Y ? Y : X;
    kx_layout_t layout = {0, 0};
    size_t stamp = kx_layout_add(&layout, vocabulary, sizeof(int64_t)), number = kx_layout_add(&layout, vocabulary, sizeof(int32_t));
    size_t factor = kx_layout_add(&layout, is_wrd(options) ? vocabulary : 0, sizeof(double));
    char *memory = kx_allocate(ctx, layout.bytes);
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
        KX_TYPED(pairwise_job) job;
        memset(&job, 0, sizeof job);
        job.ctx = ctx;
        job.vectors = vectors;
        job.dimension = dimension;
        job.row_stride = row_stride;
        job.stride = (dimension + 15) / 16 * 16;
        job.table_stride = (blocked_y.widest + 15) / 16 * 16;
        job.options = options;
        job.factors = factors;
        job.X = &blocked_x;
        job.Y = &blocked_y;
        job.symmetric = symmetric;
        job.cancel = options->metric == KX_WMD;
        job.out = out;
        const int64_t tiles = blocked_x.blocks * blocked_y.blocks;
        int64_t workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
        if (workers > tiles) workers = tiles > 0 ? tiles : 1;
        if (options->total) *options->total = tiles;
        KX_TYPED(tile_worker) probe = {0};
        if (KX_TYPED(lay_out_worker)(&job, &probe) == 0) {
            status = KX_E_OVERFLOW;
        } else if (!(job.workers = kx_allocate(ctx, (size_t)workers * sizeof *job.workers))) {
            status = KX_E_MEMORY;
        } else {
            memset(job.workers, 0, (size_t)workers * sizeof *job.workers);
            if (symmetric)
                for (int64_t i = 0; i < X->count; i++)
                    out[i * X->count + i] = blocked_x.offsets[i + 1] > blocked_x.offsets[i] ? 0 : (KX_REAL)options->empty_value;
            status = kx_parallel_for(ctx, tiles, 1, KX_TYPED(solve_tile), &job);
            for (int64_t k = 0; k < workers; k++) kx_release(ctx, job.workers[k].memory);
        }
        kx_release(ctx, job.workers);
    }
    kx_release(ctx, blocked_x.memory);
    kx_release(ctx, blocked_y.memory);
    kx_release(ctx, memory);
    return status;
}
#endif
