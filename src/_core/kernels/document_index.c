/* Exact nearest documents.

   For each query: a table of its words' distances to every word in use; from it a relaxed lower bound of every document's distance
   (each word goes to its nearest word of the other side, both sides); then, in the order of the bounds, the exact distance
   of the few documents whose bound is below the k-th best. A bound is lowered by what rounding may have added, so no neighbour is lost.

   Documents go in segments, so that what is kept for each of them stays small however many there are. */
#ifndef KX_REAL
#include "kexue/kx_documents.h"

#include "isa/kernel.h"

#define KX_NORMALIZE_PARAMETERS(real)                                                                                    \
    (const kx_ctx_t *ctx, const real *vectors, const kx_documents_t *documents, int64_t vocabulary, int64_t dimension,    \
     ptrdiff_t row_stride, kx_document_metric_t metric, int64_t *offsets, int32_t *words, double *weights, double *factors)
#define KX_NORMALIZE_ARGUMENTS                                                                                            \
    (ctx, vectors, documents, vocabulary, dimension, row_stride, metric, offsets, words, weights, factors)
#define KX_SEARCH_PARAMETERS(real)                                                                                       \
    (const kx_ctx_t *ctx, const kx_index_t *index, const real *vectors, int64_t vocabulary, int64_t dimension,            \
     ptrdiff_t row_stride, const kx_documents_t *queries, const real *query_vectors, int64_t query_vocabulary,            \
     ptrdiff_t query_row_stride, const kx_search_options_t *options, kx_search_results_t *results)
#define KX_SEARCH_ARGUMENTS                                                                                               \
    (ctx, index, vectors, vocabulary, dimension, row_stride, queries, query_vectors, query_vocabulary, query_row_stride,  \
     options, results)

#ifdef KX_DISPATCH_PASS
#include <string.h>

#include "runtime/memory.h"

void kx_search_options_init(kx_search_options_t *options) {
    options->metric = KX_WMD;
    options->scale = 1;
    options->k = 1;
    options->limits = NULL;
    options->done = NULL;
    options->total = NULL;
}

void kx_search_results_release(const kx_ctx_t *ctx, kx_search_results_t *results) {
    kx_release(ctx, results->offsets);
    kx_release(ctx, results->indices);
    kx_release(ctx, results->distances);
    kx_release(ctx, results->counts);
    memset(results, 0, sizeof *results);
}

#else
#include <float.h>

#include "isa/transpose.h"
#include "kernels/documents_internal.h"

/* Bounds are made from 16-bit codes of the distances, rounded down: the upper bits of a float32 less `base`, so 11 digits and 64
   binades. Half of the bytes of float32 and one instruction for 32 words; the codes order as the distances do. */
enum { CODE_SHIFT = 13, CODES = 1 << 16, CODE_LANES = 32, BINADES_BELOW = 48 };

static inline uint16_t encode(float distance, int32_t base) {
    uint32_t bits;
    memcpy(&bits, &distance, sizeof bits);
    const int32_t code = (int32_t)(bits >> CODE_SHIFT) - base;
    return (uint16_t)(code < 0 ? 0 : code < CODES ? code : CODES - 1);
}

/* The least distance of a code but 0, which also stands for what is less than that. */
static inline float decode(uint16_t code, int32_t base) {
    const uint32_t bits = (uint32_t)(code + base) << CODE_SHIFT;
    float distance;
    memcpy(&distance, &bits, sizeof distance);
    return distance;
}

enum {
    WORD_TILE = 128,       /* words measured at a time: 150 kB of 300 float32, half of a second-level cache at the most */
    DOCUMENT_BLOCK = 1024, /* documents of one chunk of the bounds */
    SEGMENT = 1 << 18      /* documents whose bounds are kept at a time */
};

/* A document and its distance, or a lower bound of it. */
typedef struct kx_neighbour {
    double distance;
    int64_t index;
} kx_neighbour_t;

static inline int is_nearer(kx_neighbour_t a, kx_neighbour_t b) {
    return a.distance < b.distance || (a.distance == b.distance && a.index < b.index);
}

/* A binary heap: the farthest on top, or the nearest. */
static void sift_down(kx_neighbour_t *heap, int64_t count, int64_t at, int nearest_on_top) {
    const kx_neighbour_t moving = heap[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && is_nearer(heap[child], heap[child + 1]) != nearest_on_top) child++;
        if (is_nearer(heap[child], moving) != nearest_on_top) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

static void make_heap(kx_neighbour_t *heap, int64_t count, int nearest_on_top) {
    for (int64_t at = count / 2; at-- > 0;) sift_down(heap, count, at, nearest_on_top);
}

/* Ascending, from a heap with the farthest on top. */
static void sort_heap(kx_neighbour_t *heap, int64_t count) {
    while (count-- > 1) {
        const kx_neighbour_t farthest = heap[0];
        heap[0] = heap[count];
        heap[count] = farthest;
        sift_down(heap, count, 0, 0);
    }
}

/* The k nearest so far, the farthest of them on top. */
typedef struct kx_nearest {
    kx_neighbour_t *heap;
    int64_t count, capacity, k;
    double limit;
} kx_nearest_t;

static kx_status_t grow(const kx_ctx_t *ctx, kx_neighbour_t **entries, int64_t count, int64_t *capacity, int64_t wanted) {
    if (wanted <= *capacity) return KX_OK;
    if (wanted < 2 * *capacity) wanted = 2 * *capacity;
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, wanted, sizeof **entries);
    kx_neighbour_t *grown = layout.overflow ? NULL : (kx_neighbour_t *)kx_allocate(ctx, layout.bytes);
    if (!grown) return KX_E_MEMORY;
    if (count) memcpy(grown, *entries, (size_t)count * sizeof *grown);
    kx_release(ctx, *entries);
    *entries = grown;
    *capacity = wanted;
    return KX_OK;
}

static inline int may_enter(const kx_nearest_t *nearest, kx_neighbour_t candidate) {
    if (candidate.distance > nearest->limit) return 0;
    return nearest->count < nearest->k || is_nearer(candidate, nearest->heap[0]);
}

static kx_status_t enter(const kx_ctx_t *ctx, kx_nearest_t *nearest, kx_neighbour_t neighbour) {
    if (nearest->count == nearest->k) {
        nearest->heap[0] = neighbour;
        sift_down(nearest->heap, nearest->count, 0, 0);
        return KX_OK;
    }
    kx_status_t status = grow(ctx, &nearest->heap, nearest->count, &nearest->capacity, nearest->count + 1);
    if (status != KX_OK) return status;
    int64_t at = nearest->count++;
    for (int64_t parent; at > 0 && is_nearer(nearest->heap[parent = (at - 1) / 2], neighbour); at = parent)
        nearest->heap[at] = nearest->heap[parent];
    nearest->heap[at] = neighbour;
    return KX_OK;
}

static int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

/* Plus the query's weights times its words' distances to the nearest word of a document, for CODE_LANES of its words. */
static KX_ALWAYS_INLINE kx_f32v nearest_words(const uint16_t *codes, int64_t stride, int32_t base, const float *weights,
                                              const int32_t *words, int64_t count, kx_f32v sum) {
    enum { VECTORS = CODE_LANES / KX_U16_LANES };
    kx_u16v least[VECTORS];
    for (int v = 0; v < VECTORS; v++) least[v] = kx_u16v_load(codes + words[0] * stride + v * KX_U16_LANES);
    for (int64_t k = 1; k < count; k++)
        for (int v = 0; v < VECTORS; v++)
            least[v] = kx_u16v_min(least[v], kx_u16v_load(codes + words[k] * stride + v * KX_U16_LANES));
    uint16_t lanes[CODE_LANES];
    float distances[CODE_LANES];
    for (int v = 0; v < VECTORS; v++) kx_u16v_store(lanes + v * KX_U16_LANES, least[v]);
    for (int c = 0; c < CODE_LANES; c++) distances[c] = decode(lanes[c], base);
    for (int c = 0; c < CODE_LANES; c += KX_F32_LANES)
        sum = kx_f32v_fma(kx_f32v_load(distances + c), kx_f32v_load(weights + c), sum);
    return sum;
}

/* At most the value, as a float32. */
static inline float round_down_f32(float value) { return value; }
static inline float round_down_f64(double value) { return (float)(value * (1 - (double)FLT_EPSILON)); }

#define KX_REAL float
#define KX_SUFFIX f32
#define KX_VECTOR kx_f32v
#define KX_LANES KX_F32_LANES
#define KX_REAL_MAX FLT_MAX
#define KX_REAL_EPSILON FLT_EPSILON
#include "document_index.c"
#undef KX_REAL
#undef KX_SUFFIX
#undef KX_VECTOR
#undef KX_LANES
#undef KX_REAL_MAX
#undef KX_REAL_EPSILON

#define KX_REAL double
#define KX_SUFFIX f64
#define KX_VECTOR kx_f64v
#define KX_LANES KX_F64_LANES
#define KX_REAL_MAX DBL_MAX
#define KX_REAL_EPSILON DBL_EPSILON
#include "document_index.c"
#undef KX_REAL
#undef KX_SUFFIX
#endif

KX_DISPATCH(kx_documents_normalize_f32, KX_NORMALIZE_PARAMETERS(float), KX_NORMALIZE_ARGUMENTS)
KX_DISPATCH(kx_documents_normalize_f64, KX_NORMALIZE_PARAMETERS(double), KX_NORMALIZE_ARGUMENTS)
KX_DISPATCH(kx_documents_search_f32, KX_SEARCH_PARAMETERS(float), KX_SEARCH_ARGUMENTS)
KX_DISPATCH(kx_documents_search_f64, KX_SEARCH_PARAMETERS(double), KX_SEARCH_ARGUMENTS)

#ifndef KX_DISPATCH_PASS
kx_status_t KX_KERNEL(kx_documents_normalize_f32) KX_NORMALIZE_PARAMETERS(float) { return normalize_f32 KX_NORMALIZE_ARGUMENTS; }
kx_status_t KX_KERNEL(kx_documents_normalize_f64) KX_NORMALIZE_PARAMETERS(double) { return normalize_f64 KX_NORMALIZE_ARGUMENTS; }
kx_status_t KX_KERNEL(kx_documents_search_f32) KX_SEARCH_PARAMETERS(float) { return search_f32 KX_SEARCH_ARGUMENTS; }
kx_status_t KX_KERNEL(kx_documents_search_f64) KX_SEARCH_PARAMETERS(double) { return search_f64 KX_SEARCH_ARGUMENTS; }
#endif

#else /* the template */

static kx_status_t KX_TYPED(normalize) KX_NORMALIZE_PARAMETERS(KX_REAL) {
    if (!vectors || !documents || !offsets || !words || !weights || vocabulary < 1 || dimension < 1) return KX_E_ARGUMENT;
    if (metric != KX_WMD && metric != KX_WRD) return KX_E_ARGUMENT;
    if (metric == KX_WRD && !factors) return KX_E_ARGUMENT;
    if (vocabulary > INT32_MAX || dimension > INT32_MAX) return KX_E_OVERFLOW;
    uint8_t *seen = (uint8_t *)kx_allocate(ctx, (size_t)vocabulary);
    if (!seen) return KX_E_MEMORY;
    memset(seen, 0, (size_t)vocabulary);
    kx_status_t status = KX_OK;
    int64_t kept = 0;
    offsets[0] = 0;
    for (int64_t i = 0; i < documents->count && status == KX_OK; i++) {
        const int64_t begin = documents->offsets[i], end = documents->offsets[i + 1];
        for (int64_t k = begin; k < end && status == KX_OK; k++) {
            const int32_t word = documents->words[k];
            if (word < 0 || word >= vocabulary) {
                status = KX_E_ARGUMENT;
            } else if (!seen[word]) {
                seen[word] = 1;
                const KX_REAL *row = (const KX_REAL *)((const char *)vectors + word * row_stride);
                status = KX_KERNEL(KX_TYPED(kx_document_scan))(row, dimension, metric == KX_WRD ? &factors[word] : NULL);
            }
        }
        if (status != KX_OK) break;
        int64_t left;
        status = KX_KERNEL(kx_document_normalize)(documents->words + begin, documents->weights + begin, end - begin, vocabulary,
                                                  metric == KX_WRD ? factors : NULL, words + kept, weights + kept, &left);
        kept += left;
        offsets[i + 1] = kept;
    }
    kx_release(ctx, seen);
    return status;
}

/* One query while it is searched for. */
typedef struct KX_TYPED(query) {
    char *memory;
    size_t bytes;            /* of it; the next query takes it over */
    int64_t words;           /* how many */
    int64_t slots, code_slots; /* of a row of the table and of the codes: words, up to whole vectors */
    kx_document_side_t side;
    KX_REAL *packed;         /* its vectors */
    KX_REAL *table;          /* used words x slots */
    uint16_t *codes;         /* used words x code_slots */
    int32_t base;            /* of the codes */
    float *least;            /* used words: the least code's distance */
    float *weights;          /* of the code slots */
    KX_REAL *bounds;         /* of a segment's documents */
    KX_REAL *largest;        /* cost, by word tile */
    double rounding;         /* what a bound may lack of a solved distance beyond its own relative error */
    kx_nearest_t nearest;
    kx_search_counts_t counts;
} KX_TYPED(query);

typedef struct KX_TYPED(search_worker) {
    char *memory, *scratch_memory;
    KX_REAL *packed;
    int32_t *words;
    kx_document_scratch_t scratch;
    kx_neighbour_t *candidates;
    int64_t capacity;
} KX_TYPED(search_worker);

typedef struct KX_TYPED(search_job) {
    const kx_ctx_t *ctx;
    const kx_index_t *index;
    const KX_REAL *vectors;
    int64_t dimension, stride, longest, widest; /* longest document, widest query */
    ptrdiff_t row_stride;
    const kx_search_options_t *options;
    KX_TYPED(query) *queries; /* of the group */
    int64_t group, blocks;    /* queries in the group; blocks of documents in the segment */
    int64_t segment, segment_end;
    int64_t next_poll_ns;
    KX_TYPED(search_worker) *workers;
} KX_TYPED(search_job);

/* The table's rows of a tile of words, for every query of the group. */
static kx_status_t KX_TYPED(measure_words)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    KX_TYPED(search_job) *job = (KX_TYPED(search_job) *)arg;
    KX_TYPED(search_worker) *w = &job->workers[kx_task_worker(task)];
    const kx_index_t *index = job->index;
    const int wrd = job->options->metric == KX_WRD;
    if (wrd && !w->memory) {
        w->memory = (char *)kx_allocate(job->ctx, (size_t)((WORD_TILE + 4) * job->stride) * sizeof(KX_REAL));
        if (!w->memory) return KX_E_MEMORY;
        w->packed = (KX_REAL *)w->memory;
    }
    for (int64_t tile = begin; tile < end; tile++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t first = tile * WORD_TILE, count = index->used - first < WORD_TILE ? index->used - first : WORD_TILE;
        const int32_t *words = index->used_words + first;
        if (wrd) /* unit vectors */
            KX_KERNEL(KX_TYPED(kx_document_pack))(job->vectors, job->row_stride, job->dimension, words, count,
                                                  index->factors + first, w->packed, job->stride);
        for (KX_TYPED(query) *q = job->queries; q < job->queries + job->group; q++) {
            KX_REAL *table = q->table + first * q->slots;
            KX_KERNEL(KX_TYPED(kx_document_table))(wrd ? w->packed : job->vectors,
                                                   wrd ? job->stride * (ptrdiff_t)sizeof(KX_REAL) : job->row_stride,
                                                   job->dimension, wrd ? NULL : words, q->packed, count, q->words, job->stride,
                                                   !wrd, (wrd ? 0.5 : 1.0) * job->options->scale, !wrd && q == job->queries, table,
                                                   q->slots);
            const KX_VECTOR most = V(set)(KX_REAL_MAX);
            KX_VECTOR largest = V(set)(0);
            const int32_t base = q->base;
            for (int64_t r = 0; r < count; r++) {
                const KX_REAL *row = table + r * q->slots;
                uint16_t *codes = q->codes + (first + r) * q->code_slots, least = CODES - 1;
                for (int64_t c = 0; c < q->slots; c++) {
                    const uint16_t code = c < q->words ? encode(KX_TYPED(round_down)(row[c]), base) : CODES - 1;
                    codes[c] = code;
                    least = code < least ? code : least;
                }
                for (int64_t c = q->slots; c < q->code_slots; c++) codes[c] = CODES - 1;
                q->least[first + r] = decode(least, base);
                for (int64_t c = 0; c < q->words; c += KX_LANES) {
                    const KX_VECTOR costs = q->words - c < KX_LANES ? V(load_part)(row + c, q->words - c, 0) : V(load)(row + c);
                    largest = V(max)(V(min)(costs, most), largest);
                }
            }
            q->largest[tile] = -V(reduce_min)(V(sub)(V(set)(0), largest));
        }
    }
    return KX_OK;
}

/* Relaxed bounds of a block of documents for one query. */
static kx_status_t KX_TYPED(bound_documents)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    KX_TYPED(search_job) *job = (KX_TYPED(search_job) *)arg;
    const kx_index_t *index = job->index;
    for (int64_t item = begin; item < end; item++) {
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
        const KX_TYPED(query) *q = &job->queries[item / job->blocks];
        const int64_t first = job->segment + item % job->blocks * DOCUMENT_BLOCK;
        const int64_t last = first + DOCUMENT_BLOCK < job->segment_end ? first + DOCUMENT_BLOCK : job->segment_end;
        KX_REAL *bounds = q->bounds - job->segment;
        for (int64_t d = first; d < last; d++) {
            const int64_t from = index->offsets[d], count = index->offsets[d + 1] - from;
            if (count == 0 || q->words == 0 || (index->removed && index->removed[d])) {
                bounds[d] = INFINITY;
                continue;
            }
            const int32_t *words = index->words + from;
            const double *weights = index->weights + from;
            double forth = 0, others[4] = {0};
            int64_t k = 0;
            for (; k + 4 <= count; k += 4)
                for (int lane = 0; lane < 4; lane++) others[lane] += weights[k + lane] * (double)q->least[words[k + lane]];
            for (; k < count; k++) forth += weights[k] * (double)q->least[words[k]];
            forth += (others[0] + others[1]) + (others[2] + others[3]);
            kx_f32v sum = kx_f32v_set(0);
            for (int64_t c = 0; c < q->code_slots; c += CODE_LANES)
                sum = nearest_words(q->codes + c, q->code_slots, q->base, q->weights + c, words, count, sum);
            float sums[4];
            kx_f32v_sum4(sums, sum, sum, sum, sum);
            /* Weights, products and sums are each rounded, and so is the distance that the bound will be compared with. */
            const double back = (double)sums[0] * (1 - (double)(q->words + 64) * (double)FLT_EPSILON);
            const double bound = (forth > back ? forth : back) * (1 - (double)(count + 16) * DBL_EPSILON) - q->rounding;
            /* Down by an ulp or two, as the conversion may go up. */
            bounds[d] = bound > 0 ? (KX_REAL)(bound * (1 - 4 * (double)KX_REAL_EPSILON)) : 0;
        }
    }
    return KX_OK;
}

/* The distance of one document, entered if it is near enough. The solve does not start from the bound's potentials: solves are 1%
   of a query, and the distances would no longer be the bits of a scan. */
static kx_status_t KX_TYPED(solve_document)(KX_TYPED(search_job) *job, KX_TYPED(search_worker) *w, KX_TYPED(query) *q,
                                            int64_t document, kx_task_t *task) {
    const kx_index_t *index = job->index;
    const int64_t from = index->offsets[document], count = index->offsets[document + 1] - from;
    if (job->options->metric == KX_WMD)
        for (int64_t k = 0; k < count; k++) w->words[k] = index->used_words[index->words[from + k]];
    const kx_document_side_t side = {w->words, index->words + from, index->weights + from, count};
    double distance = 0;
    const double limit = q->nearest.count == q->nearest.k && q->nearest.heap[0].distance < q->nearest.limit
                             ? q->nearest.heap[0].distance
                             : q->nearest.limit;
    kx_status_t status = KX_KERNEL(KX_TYPED(kx_document_distance))(&w->scratch, q->table, 1, q->slots, &q->side, &side,
                                                                   job->options->metric, limit, task, &distance);
    if (status < KX_OK) return status;
    if (isinf(distance) && limit < INFINITY) {
        q->counts.dual++;
        return status;
    }
    q->counts.exact++;
    const kx_neighbour_t found = {(double)(KX_REAL)distance, document};
    if (isinf(found.distance)) return KX_E_OVERFLOW;
    if (!may_enter(&q->nearest, found)) return status;
    kx_status_t entered = enter(job->ctx, &q->nearest, found);
    return entered < KX_OK ? entered : status;
}

/* A segment's documents whose bounds let them be neighbours, for the queries of the group. */
static kx_status_t KX_TYPED(solve_queries)(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    KX_TYPED(search_job) *job = (KX_TYPED(search_job) *)arg;
    KX_TYPED(search_worker) *w = &job->workers[kx_task_worker(task)];
    if (!w->scratch_memory) {
        size_t scratch = KX_KERNEL(kx_document_scratch_cut)(&w->scratch, job->widest, job->longest, KX_USE_LIMITED, NULL);
        kx_layout_t layout = {0, 0};
        size_t words = kx_layout_add(&layout, job->longest, sizeof(int32_t)), pair = kx_layout_add(&layout, (int64_t)scratch, 1);
        if (scratch == 0 || layout.overflow) return KX_E_OVERFLOW;
        w->scratch_memory = (char *)kx_allocate(job->ctx, layout.bytes);
        if (!w->scratch_memory) return KX_E_MEMORY;
        w->words = (int32_t *)(w->scratch_memory + words);
        KX_KERNEL(kx_document_scratch_cut)(&w->scratch, job->widest, job->longest, KX_USE_LIMITED, w->scratch_memory + pair);
    }
    kx_status_t worst = KX_OK;
    for (int64_t query = begin; query < end; query++) {
        KX_TYPED(query) *q = &job->queries[query];
        KX_REAL *bounds = q->bounds - job->segment;
        int64_t there = 0, count = 0;
        const int64_t looked_at_before = q->counts.exact + q->counts.dual;
        for (int64_t d = job->segment; d < job->segment_end; d++) there += bounds[d] < INFINITY;
        /* First the documents with the least bounds, as many as are missing: they make the limit for the others. */
        const int64_t missing = q->nearest.k - q->nearest.count < there ? q->nearest.k - q->nearest.count : there;
        kx_status_t status = grow(job->ctx, &w->candidates, 0, &w->capacity, missing);
        if (status != KX_OK) return status;
        for (int64_t d = job->segment; missing > 0 && d < job->segment_end; d++) {
            const kx_neighbour_t candidate = {(double)bounds[d], d};
            if (!(candidate.distance < INFINITY) || candidate.distance > q->nearest.limit) continue;
            if (count < missing) {
                w->candidates[count++] = candidate;
                if (count == missing) make_heap(w->candidates, count, 0);
            } else if (is_nearer(candidate, w->candidates[0])) {
                w->candidates[0] = candidate;
                sift_down(w->candidates, count, 0, 0);
            }
        }
        for (int64_t c = 0; c < count; c++) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            bounds[w->candidates[c].index] = INFINITY;
            status = KX_TYPED(solve_document)(job, w, q, w->candidates[c].index, task);
            if (status < KX_OK) return status;
            worst = status > worst ? status : worst;
        }
        count = 0;
        for (int64_t d = job->segment; d < job->segment_end; d++)
            if (bounds[d] < INFINITY && may_enter(&q->nearest, (kx_neighbour_t){(double)bounds[d], d})) {
                status = grow(job->ctx, &w->candidates, count, &w->capacity, count + 1);
                if (status != KX_OK) return status;
                w->candidates[count++] = (kx_neighbour_t){(double)bounds[d], d};
            }
        make_heap(w->candidates, count, 1);
        while (count > 0 && may_enter(&q->nearest, w->candidates[0])) {
            if (kx_task_should_stop(task)) return KX_E_CANCELLED;
            status = KX_TYPED(solve_document)(job, w, q, w->candidates[0].index, task);
            if (status < KX_OK) return status;
            worst = status > worst ? status : worst;
            w->candidates[0] = w->candidates[--count];
            sift_down(w->candidates, count, 0, 1);
        }
        q->counts.documents += there;
        q->counts.relaxed += there - (q->counts.exact + q->counts.dual - looked_at_before);
    }
    return worst;
}

static kx_status_t KX_TYPED(prepare_query)(const KX_TYPED(search_job) *job, KX_TYPED(query) *q, const kx_documents_t *queries,
                                           int64_t number, const KX_REAL *vectors, int64_t vocabulary, ptrdiff_t row_stride,
                                           int own_vocabulary, int64_t first_foreign) {
    const int64_t from = queries->offsets[number], n = queries->offsets[number + 1] - from;
    const int64_t segment = job->index->count < SEGMENT ? job->index->count : SEGMENT;
    char *const memory = q->memory;
    const size_t bytes = q->bytes;
    memset(q, 0, sizeof *q);
    q->memory = memory;
    q->bytes = bytes;
    q->words = n;
    q->slots = round_up(n, 16);
    q->code_slots = round_up(n, CODE_LANES);
    q->nearest.k = job->options->k;
    q->nearest.limit = job->options->limits ? job->options->limits[number] : INFINITY;
    kx_layout_t layout = {0, 0};
    size_t packed = kx_layout_add(&layout, (n + 4) * job->stride, sizeof(KX_REAL));
    size_t weights = kx_layout_add(&layout, q->code_slots, sizeof(float)), factors = kx_layout_add(&layout, n, sizeof(double));
    size_t words = kx_layout_add(&layout, n, sizeof(int32_t)), places = kx_layout_add(&layout, n, sizeof(int32_t));
    size_t bounds = kx_layout_add(&layout, segment, sizeof(KX_REAL));
    size_t largest = kx_layout_add(&layout, job->index->used / WORD_TILE + 1, sizeof(KX_REAL));
    if (q->code_slots > INT64_MAX / 16 / (job->index->used + 4)) return KX_E_OVERFLOW;
    size_t least = kx_layout_add(&layout, job->index->used, sizeof(float));
    size_t codes = kx_layout_add(&layout, job->index->used * q->code_slots, sizeof(uint16_t));
    size_t table = kx_layout_add(&layout, (job->index->used + 4) * q->slots, sizeof(KX_REAL));
    if (layout.overflow) return KX_E_OVERFLOW;
    if (q->bytes < layout.bytes) { /* fresh pages for every query would be a twentieth of its time */
        kx_release(job->ctx, q->memory);
        q->memory = (char *)kx_allocate(job->ctx, layout.bytes);
        q->bytes = q->memory ? layout.bytes : 0;
        if (!q->memory) return KX_E_MEMORY;
    }
    q->packed = (KX_REAL *)(q->memory + packed);
    q->weights = (float *)(q->memory + weights);
    q->least = (float *)(q->memory + least);
    q->codes = (uint16_t *)(q->memory + codes);
    q->bounds = (KX_REAL *)(q->memory + bounds);
    q->largest = (KX_REAL *)(q->memory + largest);
    q->table = (KX_REAL *)(q->memory + table);
    double *factor = (double *)(q->memory + factors);
    int32_t *rows = (int32_t *)(q->memory + words), *place = (int32_t *)(q->memory + places);
    const int wrd = job->options->metric == KX_WRD;
    for (int64_t k = 0; k < n; k++) {
        const int32_t word = queries->words[from + k];
        if (word < 0 || word >= vocabulary) return KX_E_ARGUMENT;
        kx_status_t status = KX_KERNEL(KX_TYPED(kx_document_scan))(
            (const KX_REAL *)((const char *)vectors + word * row_stride), job->dimension, wrd ? &factor[k] : NULL);
        if (status != KX_OK) return status;
        rows[k] = word;
        place[k] = (int32_t)k;
        q->weights[k] = (float)queries->weights[from + k];
    }
    for (int64_t k = n; k < q->code_slots; k++) q->weights[k] = 0;
    KX_KERNEL(KX_TYPED(kx_document_pack))(vectors, row_stride, job->dimension, rows, n, wrd ? factor : NULL, q->packed,
                                          job->stride);
    /* The codes' middle is where distances are: the size of the query's vectors, or 1 - cos. */
    double size = wrd ? 1 : 0;
    for (int64_t k = 0; k < n && !wrd; k++) {
        double square = 0;
        for (int64_t d = 0; d < job->dimension; d++) square += (double)q->packed[k * job->stride + d] * (double)q->packed[k * job->stride + d];
        size = square > size * size ? sqrt(square) : size;
    }
    size *= job->options->scale;
    const float lowest = (float)ldexp(size > 1e-23 ? size < 1e34 ? size : 1e34 : 1e-23, -BINADES_BELOW);
    uint32_t bits;
    memcpy(&bits, &lowest, sizeof bits);
    q->base = (int32_t)(bits >> CODE_SHIFT);
    q->rounding = (double)decode(1, q->base);
    /* A word of another vocabulary is no word of the index: numbers beyond its own, still ascending. */
    if (!own_vocabulary)
        for (int64_t k = 0; k < n; k++) rows[k] = (int32_t)(first_foreign + k);
    q->side = (kx_document_side_t){rows, place, queries->weights + from, n};
    return KX_OK;
}

/* The neighbours of one group of queries, into their heaps. */
static kx_status_t KX_TYPED(search_group)(KX_TYPED(search_job) *job) {
    const kx_index_t *index = job->index;
    if (kx_ctx_should_stop(job->ctx, &job->next_poll_ns)) return KX_E_CANCELLED;
    kx_status_t worst = kx_parallel_for(job->ctx, (index->used + WORD_TILE - 1) / WORD_TILE, 1, KX_TYPED(measure_words), job);
    if (worst < KX_OK) return worst;
    for (KX_TYPED(query) *q = job->queries; q < job->queries + job->group; q++) {
        KX_REAL largest = 0;
        for (int64_t tile = 0; tile * WORD_TILE < index->used; tile++)
            largest = q->largest[tile] > largest ? q->largest[tile] : largest;
        q->rounding += 1e-14 * (double)largest; /* of the solver */
    }
    for (job->segment = 0; job->segment < index->count; job->segment = job->segment_end) {
        if (kx_ctx_should_stop(job->ctx, &job->next_poll_ns)) return KX_E_CANCELLED;
        job->segment_end = job->segment + SEGMENT < index->count ? job->segment + SEGMENT : index->count;
        job->blocks = (job->segment_end - job->segment + DOCUMENT_BLOCK - 1) / DOCUMENT_BLOCK;
        kx_status_t status = kx_parallel_for(job->ctx, job->group * job->blocks, 1, KX_TYPED(bound_documents), job);
        if (status >= KX_OK) status = kx_parallel_for(job->ctx, job->group, 1, KX_TYPED(solve_queries), job);
        if (status < KX_OK) return status;
        worst = status > worst ? status : worst;
        if (job->options->done) ++*job->options->done;
    }
    return worst;
}

static kx_status_t KX_TYPED(store)(const kx_ctx_t *ctx, kx_nearest_t *nearest, int64_t count, kx_search_results_t *results) {
    int64_t total = 0;
    for (int64_t q = 0; q < count; q++) {
        results->offsets[q] = total;
        total += nearest[q].count;
    }
    results->offsets[count] = total;
    kx_layout_t layout = {0, 0};
    kx_layout_add(&layout, total + 1, sizeof(int64_t));
    if (layout.overflow) return KX_E_OVERFLOW;
    results->indices = (int64_t *)kx_allocate(ctx, layout.bytes);
    results->distances = (double *)kx_allocate(ctx, layout.bytes);
    if (!results->indices || !results->distances) return KX_E_MEMORY;
    for (int64_t q = 0; q < count; q++) {
        sort_heap(nearest[q].heap, nearest[q].count);
        for (int64_t k = 0; k < nearest[q].count; k++) {
            results->indices[results->offsets[q] + k] = nearest[q].heap[k].index;
            results->distances[results->offsets[q] + k] = nearest[q].heap[k].distance;
        }
    }
    return KX_OK;
}

static kx_status_t KX_TYPED(search) KX_SEARCH_PARAMETERS(KX_REAL) {
    if (!results) return KX_E_ARGUMENT;
    memset(results, 0, sizeof *results);
    if (!index || !vectors || !queries || !options || vocabulary < 1 || dimension < 1) return KX_E_ARGUMENT;
    if (options->k < 1 || (options->metric != KX_WMD && options->metric != KX_WRD)) return KX_E_ARGUMENT;
    if (options->metric == KX_WRD && !index->factors) return KX_E_ARGUMENT;
    if (vocabulary > INT32_MAX || dimension > INT32_MAX || index->used > INT32_MAX) return KX_E_OVERFLOW;
    KX_TYPED(search_job) job;
    memset(&job, 0, sizeof job);
    job.ctx = ctx;
    job.index = index;
    job.vectors = vectors;
    job.dimension = dimension;
    job.stride = round_up(dimension, 16);
    job.row_stride = row_stride;
    job.options = options;
    for (int64_t d = 0; d < index->count; d++) {
        const int64_t length = index->offsets[d + 1] - index->offsets[d];
        job.longest = length > job.longest ? length : job.longest;
    }
    for (int64_t q = 0; q < queries->count; q++) {
        const int64_t length = queries->offsets[q + 1] - queries->offsets[q];
        job.widest = length > job.widest ? length : job.widest;
    }
    /* As many queries side by side as keep their tables within two fifths of the vectors, which are read once for all of them. */
    const int64_t entries = round_up(job.widest, 16) + round_up(job.widest, CODE_LANES) / 2 + 1;
    int64_t most = 2 * dimension / 5 / entries;
    if (most < 1) most = 1;
    if (most > queries->count) most = queries->count > 0 ? queries->count : 1;
    const int64_t groups = (queries->count + most - 1) / most, segments = (index->count + SEGMENT - 1) / SEGMENT;
    const int workers = ctx && ctx->workers > 1 ? ctx->workers : 1;
    if (options->total) *options->total = groups * segments;
    if (options->done) *options->done = 0;

    kx_layout_t layout = {0, 0};
    size_t worker_block = kx_layout_add(&layout, workers, sizeof *job.workers);
    size_t query_block = kx_layout_add(&layout, most, sizeof *job.queries);
    size_t nearest_block = kx_layout_add(&layout, queries->count, sizeof(kx_nearest_t));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    memset(memory, 0, layout.bytes);
    job.workers = (KX_TYPED(search_worker) *)(memory + worker_block);
    job.queries = (KX_TYPED(query) *)(memory + query_block);
    kx_nearest_t *nearest = (kx_nearest_t *)(memory + nearest_block);

    kx_status_t worst = KX_OK;
    results->offsets = (int64_t *)kx_allocate(ctx, (size_t)(queries->count + 1) * sizeof *results->offsets);
    results->counts = (kx_search_counts_t *)kx_allocate(ctx, (size_t)(queries->count + 1) * sizeof *results->counts);
    if (!results->offsets || !results->counts) worst = KX_E_MEMORY;
    const KX_REAL *own = query_vectors ? query_vectors : vectors;
    for (int64_t first = 0; first < queries->count && worst >= KX_OK; first += most) {
        job.group = queries->count - first < most ? queries->count - first : most;
        kx_status_t status = KX_OK;
        int64_t prepared = 0;
        for (; prepared < job.group && status == KX_OK; prepared++)
            status = KX_TYPED(prepare_query)(&job, &job.queries[prepared], queries, first + prepared, own,
                                             query_vectors ? query_vocabulary : vocabulary,
                                             query_vectors ? query_row_stride : row_stride, !query_vectors, vocabulary);
        if (status == KX_OK) status = KX_TYPED(search_group)(&job);
        for (int64_t q = 0; q < prepared; q++) {
            nearest[first + q] = job.queries[q].nearest;
            results->counts[first + q] = job.queries[q].counts;
        }
        worst = status < KX_OK || status > worst ? status : worst;
    }
    if (worst >= KX_OK) {
        kx_status_t status = KX_TYPED(store)(ctx, nearest, queries->count, results);
        if (status != KX_OK) worst = status;
    }
    for (int64_t q = 0; q < queries->count; q++) kx_release(ctx, nearest[q].heap);
    for (int64_t q = 0; q < most; q++) kx_release(ctx, job.queries[q].memory);
    for (int w = 0; w < workers; w++) {
        kx_release(ctx, job.workers[w].memory);
        kx_release(ctx, job.workers[w].scratch_memory);
        kx_release(ctx, job.workers[w].candidates);
    }
    kx_release(ctx, memory);
    if (worst < KX_OK) kx_search_results_release(ctx, results);
    return worst;
}
#endif
