/* Searching an index: the neighbours that a scan of all pairs finds, to the bit, whatever the workers, the limits and
   the order of the index's words; normalizing; every status; allocations that fail, cancelling, progress. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"
#include "runtime/memory.h"
#include "runtime/system.h"

static const char *metric_names[] = {"WMD", "WRD"};

/* ---- word vectors, documents over them, indexes of these ---- */

/* GRID: coordinates -1, 0 and 1, so equal vectors, ties and, in few dimensions, zero vectors. WIDE: each word has
   another size, over thirty orders of magnitude. */
typedef enum shape { SPREAD, CLUSTERED, GRID, EQUAL, WIDE } shape;

/* Rows of either precision; what lies between them is NaN. */
typedef struct space {
    int single;
    int64_t vocabulary, dimension;
    ptrdiff_t stride;
    char *rows;
} space;

static void put(const space *s, int64_t word, int64_t d, double value) {
    char *row = s->rows + word * s->stride;
    if (s->single) ((float *)row)[d] = (float)value;
    else ((double *)row)[d] = value;
}

static space make_space(int single, int64_t vocabulary, int64_t dimension, int64_t padding, shape kind,
                        double scale) {
    enum { CLUSTERS = 7 };
    const size_t size = single ? sizeof(float) : sizeof(double);
    space s = {single, vocabulary, dimension, (ptrdiff_t)((size_t)(dimension + padding) * size), NULL};
    s.rows = malloc((size_t)(vocabulary * s.stride));
    double *centres = malloc(sizeof *centres * (size_t)(CLUSTERS * dimension));
    for (int64_t k = 0; k < CLUSTERS * dimension; k++) centres[k] = check_uniform(-3, 3);
    for (int64_t w = 0; w < vocabulary; w++) {
        const double size_of_word = kind == WIDE ? scale * pow(10, check_uniform(-15, 15)) : scale;
        for (int64_t d = 0; d < dimension + padding; d++) {
            double value = check_uniform(-1, 1);
            if (kind == CLUSTERED) value = centres[w * CLUSTERS / vocabulary * dimension + d % dimension] + value / 2;
            if (kind == GRID) value = floor(check_uniform(-1, 2));
            if (kind == EQUAL) value = 0.7;
            put(&s, w, d, d < dimension ? value * size_of_word : (double)NAN);
        }
    }
    free(centres);
    return s;
}

/* Rows `first` and on of a space, in memory of their own with other padding. */
static space copy_rows(const space *from, int64_t first, int64_t padding) {
    const size_t bytes = (size_t)from->dimension * (from->single ? sizeof(float) : sizeof(double));
    space s = make_space(from->single, from->vocabulary - first, from->dimension, padding, EQUAL, 1);
    for (int64_t w = 0; w < s.vocabulary; w++)
        memcpy(s.rows + w * s.stride, from->rows + (first + w) * from->stride, bytes);
    return s;
}

typedef struct collection {
    kx_documents_t set;
    int64_t *offsets;
    int32_t *words;
    double *weights;
} collection;

static collection allocate_collection(int64_t count, int64_t entries) {
    collection c;
    c.offsets = malloc(sizeof *c.offsets * (size_t)(count + 1));
    c.words = malloc(sizeof *c.words * (size_t)(entries + 1));
    c.weights = malloc(sizeof *c.weights * (size_t)(entries + 1));
    c.set = (kx_documents_t){count, c.offsets, c.words, c.weights};
    return c;
}
static void free_collection(collection *c) { free(c->offsets), free(c->words), free(c->weights); }

/* Documents of words first .. first + vocabulary - 1, each from some third of them. One in four is an earlier one under
   another scale, one in five has `shortest` words. Weights over six orders of magnitude, or small integers and 0. */
static collection make_documents(int64_t count, int64_t shortest, int64_t longest, int64_t first, int64_t vocabulary,
                                 int wide_weights) {
    collection c = allocate_collection(count, count * longest);
    c.offsets[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = c.offsets[i];
        if (i % 4 == 3) {
            const int64_t like = (int64_t)(check_random() % (uint64_t)i);
            for (int64_t k = c.offsets[like]; k < c.offsets[like + 1]; k++, at++) {
                c.words[at] = c.words[k];
                c.weights[at] = 4 * c.weights[k];
            }
        } else {
            const int64_t length =
                i % 5 == 0 ? shortest : shortest + (int64_t)(check_random() % (uint64_t)(longest - shortest + 1));
            const int64_t width = length > vocabulary / 3 ? length : vocabulary / 3;
            const int64_t start = (int64_t)(check_random() % (uint64_t)(vocabulary - width + 1));
            for (int64_t w = 0, left = length; left > 0; w++) {
                if ((int64_t)(check_random() % (uint64_t)(width - w)) >= left) continue;
                c.words[at] = (int32_t)(first + start + w);
                c.weights[at++] = wide_weights               ? pow(10, check_uniform(-3, 3))
                                  : check_random() % 8 == 0 ? 0
                                                            : floor(check_uniform(1, 4));
                left--;
            }
        }
        c.offsets[i + 1] = at;
    }
    return c;
}

static kx_status_t normalize(const kx_ctx_t *ctx, const space *s, const kx_documents_t *documents,
                             kx_document_metric_t metric, int64_t *offsets, int32_t *words, double *weights,
                             double *factors) {
    if (s->single)
        return kx_documents_normalize_f32(ctx, (const float *)s->rows, documents, s->vocabulary, s->dimension,
                                          s->stride, metric, offsets, words, weights, factors);
    return kx_documents_normalize_f64(ctx, (const double *)s->rows, documents, s->vocabulary, s->dimension, s->stride,
                                      metric, offsets, words, weights, factors);
}

typedef struct built_index {
    kx_index_t set;
    collection documents; /* words are places in used_words */
    int32_t *used_words;
    double *factors;
} built_index;

/* Words in use get their places in random order. */
static built_index make_index(const space *s, const kx_documents_t *documents, kx_document_metric_t metric) {
    built_index x;
    const size_t vocabulary = (size_t)s->vocabulary;
    x.documents = allocate_collection(documents->count, documents->offsets[documents->count]);
    x.used_words = malloc(sizeof *x.used_words * vocabulary);
    x.factors = malloc(sizeof *x.factors * vocabulary);
    double *by_row = malloc(sizeof *by_row * vocabulary);
    int32_t *places = malloc(sizeof *places * vocabulary);
    collection *c = &x.documents;
    const kx_status_t status =
        normalize(NULL, s, documents, metric, c->offsets, c->words, c->weights, metric == KX_WRD ? by_row : NULL);
    CHECK(status == KX_OK, "normalizing: %s", kx_status_name(status));
    for (size_t w = 0; w < vocabulary; w++) places[w] = -1;
    int64_t used = 0;
    for (int64_t k = 0; k < c->offsets[documents->count]; k++)
        if (places[c->words[k]] < 0) {
            const int64_t place = (int64_t)(check_random() % (uint64_t)(used + 1));
            if (place < used) places[x.used_words[place]] = (int32_t)used;
            x.used_words[used++] = x.used_words[place];
            x.used_words[place] = c->words[k];
            places[c->words[k]] = (int32_t)place;
        }
    for (int64_t u = 0; u < used; u++) x.factors[u] = metric == KX_WRD ? by_row[x.used_words[u]] : (double)NAN;
    for (int64_t k = 0; k < c->offsets[documents->count]; k++) c->words[k] = places[c->words[k]];
    x.set = (kx_index_t){used,       x.used_words, metric == KX_WRD ? x.factors : NULL, documents->count,
                         c->offsets, c->words,     c->weights,                          NULL};
    free(by_row), free(places);
    return x;
}
static void free_index(built_index *x) { free_collection(&x->documents), free(x->used_words), free(x->factors); }

/* Queries over the space `own`, or over the index's when that is NULL. */
static kx_status_t search(const kx_ctx_t *ctx, const space *s, const kx_index_t *index, const kx_documents_t *queries,
                          const space *own, const kx_search_options_t *options, kx_search_results_t *results) {
    const void *vectors = own ? own->rows : NULL;
    const int64_t vocabulary = own ? own->vocabulary : 0;
    const ptrdiff_t stride = own ? own->stride : 0;
    if (s->single)
        return kx_documents_search_f32(ctx, index, (const float *)s->rows, s->vocabulary, s->dimension, s->stride,
                                       queries, vectors, vocabulary, stride, options, results);
    return kx_documents_search_f64(ctx, index, (const double *)s->rows, s->vocabulary, s->dimension, s->stride, queries,
                                   vectors, vocabulary, stride, options, results);
}

static kx_search_options_t options_of(kx_document_metric_t metric, int64_t k) {
    kx_search_options_t options;
    kx_search_options_init(&options);
    options.metric = metric;
    options.k = k;
    return options;
}

/* ---- the scan that a search is measured by ---- */

/* All distances, a row a query; NaN with an empty document. */
static double *scan(const space *s, const kx_documents_t *queries, const kx_documents_t *documents,
                    kx_document_metric_t metric, double scale) {
    const int64_t count = queries->count * documents->count;
    double *distances = malloc(sizeof *distances * (size_t)(count + 1));
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    options.metric = metric;
    options.scale = scale;
    kx_status_t status;
    if (s->single) {
        float *narrow = malloc(sizeof *narrow * (size_t)(count + 1));
        status = kx_documents_pairwise_f32(NULL, (const float *)s->rows, queries, documents, s->vocabulary,
                                           s->dimension, s->stride, &options, narrow);
        for (int64_t k = 0; k < count; k++) distances[k] = (double)narrow[k];
        free(narrow);
    } else {
        status = kx_documents_pairwise_f64(NULL, (const double *)s->rows, queries, documents, s->vocabulary,
                                           s->dimension, s->stride, &options, distances);
    }
    CHECK(status == KX_OK, "scanning: %s", kx_status_name(status));
    return distances;
}

typedef struct neighbour {
    double distance;
    int64_t index;
} neighbour;

static int by_distance(const void *a, const void *b) {
    const neighbour *x = a, *y = b;
    if (x->distance != y->distance) return x->distance < y->distance ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* The documents that are there and not empty, ascending: how many. */
static int64_t rank(const double *distances, int64_t count, const uint8_t *removed, neighbour *ranked) {
    int64_t there = 0;
    for (int64_t d = 0; d < count; d++)
        if (!isnan(distances[d]) && !(removed && removed[d])) ranked[there++] = (neighbour){distances[d], d};
    qsort(ranked, (size_t)there, sizeof *ranked, by_distance);
    return there;
}

/* What a search of `queries` has to find in an index, and that its counts add up; these are added to `seen`. */
static void check_results(const char *what, const double *distances, int64_t queries, const kx_index_t *index,
                          const kx_search_options_t *options, const kx_search_results_t *results,
                          kx_search_counts_t *seen) {
    neighbour *ranked = malloc(sizeof *ranked * (size_t)(index->count + 1));
    CHECK(results->offsets[0] == 0, "%s: offsets begin at %lld", what, (long long)results->offsets[0]);
    for (int64_t q = 0; q < queries; q++) {
        const int64_t there = rank(distances + q * index->count, index->count, index->removed, ranked);
        const int64_t first = results->offsets[q], found = results->offsets[q + 1] - first;
        const double limit = options->limits ? options->limits[q] : INFINITY;
        int64_t expected = there < options->k ? there : options->k;
        while (expected > 0 && ranked[expected - 1].distance > limit) expected--;
        CHECK(found == expected, "%s, query %d: %lld neighbours, not %lld", what, (int)q, (long long)found,
              (long long)expected);
        for (int64_t k = 0; k < found && k < expected; k++)
            CHECK(results->indices[first + k] == ranked[k].index &&
                      memcmp(&results->distances[first + k], &ranked[k].distance, sizeof(double)) == 0,
                  "%s, query %d: neighbour %lld is %lld at %.17g, not %lld at %.17g", what, (int)q, (long long)k,
                  (long long)results->indices[first + k], results->distances[first + k], (long long)ranked[k].index,
                  ranked[k].distance);
        const kx_search_counts_t c = results->counts[q];
        CHECK(c.documents == there && c.relaxed + c.dual + c.exact == there,
              "%s, query %d: %lld documents, not %lld: %lld relaxed, %lld dual, %lld exact", what, (int)q,
              (long long)c.documents, (long long)there, (long long)c.relaxed, (long long)c.dual, (long long)c.exact);
        CHECK(c.relaxed >= 0 && c.dual >= 0 && c.exact >= found, "%s, query %d: %lld relaxed, %lld dual, %lld exact",
              what, (int)q, (long long)c.relaxed, (long long)c.dual, (long long)c.exact);
        seen->documents += c.documents, seen->relaxed += c.relaxed, seen->dual += c.dual, seen->exact += c.exact;
    }
    free(ranked);
}

static int are_same(const kx_search_results_t *a, const kx_search_results_t *b, int64_t queries) {
    const size_t total = (size_t)a->offsets[queries];
    return memcmp(a->offsets, b->offsets, (size_t)(queries + 1) * sizeof *a->offsets) == 0 &&
           memcmp(a->indices, b->indices, total * sizeof *a->indices) == 0 &&
           memcmp(a->distances, b->distances, total * sizeof *a->distances) == 0 &&
           memcmp(a->counts, b->counts, (size_t)queries * sizeof *a->counts) == 0;
}

static int are_zero(const kx_search_results_t *r) { return !r->offsets && !r->indices && !r->distances && !r->counts; }

/* ---- neighbours ---- */

typedef struct problem {
    shape kind;
    int64_t dimension, documents, queries, shortest, longest, query_longest, vocabulary;
    int wide_weights;
    int step; /* 1: all variants of k, limits and removed documents */
    int exponent; /* coordinates are of size 10^exponent */
} problem;

/* Limits that are met exactly, just missed, 0, none at all, or out of reach. */
static void choose_limits(const double *distances, int64_t queries, const kx_index_t *index, double *limits) {
    neighbour *ranked = malloc(sizeof *ranked * (size_t)(index->count + 1));
    for (int64_t q = 0; q < queries; q++) {
        const int64_t there = rank(distances + q * index->count, index->count, index->removed, ranked);
        const double third = there > 2 ? ranked[2].distance : 1;
        const double choices[] = {third, nextafter(third, -1), 0, INFINITY, -1, DBL_MAX};
        limits[q] = choices[q % 6];
    }
    free(ranked);
}

/* Everything about one problem, for queries over the index's own vocabulary or another one. */
static void check_problem(const problem *p, int single, kx_document_metric_t metric, int foreign,
                          kx_search_counts_t *seen) {
    const int64_t count = p->documents, queries = p->queries, vocabulary = p->vocabulary;
    char what[160];
    snprintf(what, sizeof what, "shape %d, %s, f%d, dimension %d, %d to %d words, 1e%d%s", (int)p->kind,
             metric_names[metric], single ? 32 : 64, (int)p->dimension, (int)p->shortest, (int)p->longest, p->exponent,
             foreign ? ", own vectors" : "");

    /* The second half of the rows is what the queries bring along. */
    const space all = make_space(single, 2 * vocabulary, p->dimension, 3, p->kind, pow(10, p->exponent));
    const space own = copy_rows(&all, vocabulary, 1);
    space s = all;
    s.vocabulary = vocabulary;
    const space *query_space = foreign ? &own : &s;
    collection documents = make_documents(count, p->shortest, p->longest, 0, vocabulary, p->wide_weights);
    collection raw = make_documents(queries, p->shortest, p->query_longest, 0, vocabulary, p->wide_weights);
    collection q = allocate_collection(queries, raw.offsets[queries]);
    double *factors = malloc(sizeof *factors * (size_t)vocabulary);
    kx_status_t status = normalize(NULL, query_space, &raw.set, metric, q.offsets, q.words, q.weights,
                                   metric == KX_WRD ? factors : NULL);
    CHECK(status == KX_OK, "%s: %s", what, kx_status_name(status));
    if (foreign)
        for (int64_t k = 0; k < raw.offsets[queries]; k++) raw.words[k] += (int32_t)vocabulary;
    built_index index = make_index(&s, &documents.set, metric);
    uint8_t *removed = malloc((size_t)count);
    for (int64_t d = 0; d < count; d++) removed[d] = (uint8_t)(check_random() % 3 == 0 ? 1 + check_random() % 255 : 0);
    double *limits = malloc(sizeof *limits * (size_t)queries);

    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    const int64_t ks[] = {1, 5, count, count + 7};
    for (int variant = 15; variant >= 0; variant -= p->step) {
        kx_search_options_t options = options_of(metric, ks[variant % 4]);
        options.scale = variant % 4 == 1 ? 0.3 : 1;
        index.set.removed = variant & 4 ? removed : NULL;
        double *distances = scan(&all, &raw.set, &documents.set, metric, options.scale);
        if (variant & 8) {
            choose_limits(distances, queries, &index.set, limits);
            options.limits = limits;
        }
        int64_t done = 0, total = -1;
        options.done = &done, options.total = &total;
        kx_search_results_t results, other;
        ctx.workers = 1;
        status = search(&ctx, &s, &index.set, &q.set, foreign ? &own : NULL, &options, &results);
        CHECK(status == KX_OK, "%s: %s", what, kx_status_name(status));
        if (status != KX_OK) continue;
        CHECK(total > 0 && done == total, "%s: %d of %d steps", what, (int)done, (int)total);
        check_results(what, distances, queries, &index.set, &options, &results, seen);
        options.done = options.total = NULL;
        if (variant % 4 == 1) {
            static const int workers[] = {2, 3, 8};
            for (int w = 0; w < 3; w++) {
                ctx.workers = workers[w];
                status = search(&ctx, &s, &index.set, &q.set, foreign ? &own : NULL, &options, &other);
                CHECK(status == KX_OK && are_same(&results, &other, queries), "%s: %d workers: %s", what, workers[w],
                      kx_status_name(status));
                kx_search_results_release(&ctx, &other);
            }
            /* One query at a time is what all of them are together. */
            for (int64_t k = 0; k < queries; k++) {
                const kx_documents_t one = {1, q.offsets + k, q.words, q.weights};
                options.limits = variant & 8 ? limits + k : NULL;
                status = search(NULL, &s, &index.set, &one, foreign ? &own : NULL, &options, &other);
                CHECK(status == KX_OK, "%s, query %d alone: %s", what, (int)k, kx_status_name(status));
                check_results(what, distances + k * count, 1, &index.set, &options, &other, seen);
                CHECK(memcmp(other.counts, results.counts + k, sizeof *other.counts) == 0, "%s, query %d alone: counts",
                      what, (int)k);
                kx_search_results_release(NULL, &other);
            }
        }
        kx_search_results_release(&ctx, &results);
        CHECK(are_zero(&results), "%s: released results are not zero", what);
        free(distances);
    }
    free_index(&index), free_collection(&documents), free_collection(&raw), free_collection(&q);
    free(all.rows), free(own.rows), free(factors), free(removed), free(limits);
}

static void check_everywhere(const problem *p, kx_search_counts_t *seen) {
    for (int setting = 0; setting < 8; setting++)
        check_problem(p, setting & 1, setting & 2 ? KX_WRD : KX_WMD, setting >> 2, seen);
}

static void test_neighbours(void) {
    static const int64_t dimensions[] = {1, 3, 16, 17, 40};
    kx_search_counts_t seen = {0};
    for (int d = 0; d < 5; d++)
        for (shape kind = SPREAD; kind <= WIDE; kind++) {
            /* In 40 dimensions queries of three words go side by side. */
            const problem p = {kind, dimensions[d], 47, 9, 0, 12, d == 4 ? 3 : 14, 60, d % 2, 1, 0};
            check_everywhere(&p, &seen);
        }
    CHECK(seen.relaxed > 0 && seen.exact > 0, "nothing was ruled out, or all");

    const problem words = {SPREAD, 16, 60, 12, 1, 1, 1, 40, 0, 1, 0};
    const problem one_to_many = {GRID, 3, 60, 12, 1, 1, 30, 40, 0, 1, 0};
    check_everywhere(&words, &seen);
    check_everywhere(&one_to_many, &seen);
    /* Several in one pass over the vectors, and a group that is not full. */
    const problem side_by_side = {CLUSTERED, 120, 50, 17, 1, 8, 4, 300, 1, 1, 0};
    check_everywhere(&side_by_side, &seen);
}

/* Documents that the dual bound is for, and that the solver for large problems gets. */
static void test_long_documents(void) {
    static const problem problems[] = {
        {CLUSTERED, 16, 40, 6, 20, 45, 45, 400, 0, 7, 0},
        {SPREAD, 3, 40, 6, 20, 45, 45, 400, 1, 7, 0},
        {CLUSTERED, 17, 9, 2, 100, 170, 170, 900, 0, 7, 0},
        {GRID, 5, 9, 2, 100, 170, 170, 900, 1, 7, 0},
    };
    int64_t relaxed = 0;
    for (size_t k = 0; k < sizeof problems / sizeof *problems; k++) {
        kx_search_counts_t seen = {0};
        check_everywhere(&problems[k], &seen);
        CHECK(seen.dual > 0 && seen.exact > 0, "problem %d: %lld dual, %lld exact of %lld", (int)k,
              (long long)seen.dual, (long long)seen.exact, (long long)seen.documents);
        relaxed += seen.relaxed;
    }
    CHECK(relaxed > 0, "the relaxed bound ruled nothing out");
}

/* More documents than are bounded at a time (SEGMENT, 2^18). There are few words, so ties reach across. */
static void test_many_documents(void) {
    enum { COUNT = 300000, QUERIES = 3, VOCABULARY = 500 };
    for (int setting = 0; setting < 4; setting++) {
        const int single = setting % 2;
        const kx_document_metric_t metric = setting < 2 ? KX_WMD : KX_WRD;
        const space s = make_space(single, VOCABULARY, 2, 0, SPREAD, 1);
        collection documents = allocate_collection(COUNT, COUNT);
        documents.offsets[0] = 0;
        for (int64_t d = 0; d < COUNT; d++) {
            const int64_t at = documents.offsets[d];
            documents.words[at] = (int32_t)(check_random() % VOCABULARY);
            documents.weights[at] = 1;
            documents.offsets[d + 1] = at + (d % 1000 != 0);
        }
        collection raw = make_documents(QUERIES, 1, 4, 0, VOCABULARY, 1);
        collection q = allocate_collection(QUERIES, raw.offsets[QUERIES]);
        double factors[VOCABULARY];
        kx_status_t status = normalize(NULL, &s, &raw.set, metric, q.offsets, q.words, q.weights, factors);
        CHECK(status == KX_OK, "%s", kx_status_name(status));
        built_index index = make_index(&s, &documents.set, metric);
        uint8_t *removed = malloc(COUNT);
        for (int64_t d = 0; d < COUNT; d++) removed[d] = check_random() % 4 == 0;
        index.set.removed = removed;
        double *distances = scan(&s, &raw.set, &documents.set, metric, 1);
        double limits[QUERIES];
        for (int64_t k = 0; k < QUERIES; k++) limits[k] = distances[k * COUNT + 1 + 7 * k];
        kx_search_counts_t seen = {0};
        for (int variant = 0; variant < 3; variant++) {
            static const int64_t ks[] = {3, 2000, COUNT};
            int64_t done = 0, total = 0;
            kx_search_options_t options = options_of(metric, ks[variant]);
            options.done = &done, options.total = &total;
            if (variant == 2) options.limits = limits;
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = 1 + variant;
            kx_search_results_t results;
            status = search(&ctx, &s, &index.set, &q.set, NULL, &options, &results);
            CHECK(status == KX_OK, "%s", kx_status_name(status));
            if (status != KX_OK) continue;
            CHECK(total > 1 && done == total, "%d of %d steps", (int)done, (int)total);
            check_results("many documents", distances, QUERIES, &index.set, &options, &results, &seen);
            CHECK(results.indices[results.offsets[1] - 1] >= 0, "no neighbours");
            kx_search_results_release(&ctx, &results);
        }
        free_index(&index), free_collection(&documents), free_collection(&raw), free_collection(&q);
        free(s.rows), free(removed), free(distances);
    }
}

/* Bounds that equal the distance may not rule out a tie of lower index. On a line, half of the query is at 0, half at
   2; document 0 is all at 3, where the bounds are tight; document 1, at 2 and 4, has loose ones and so is solved first.
   Both are at distance 2. */
static void test_tight_bounds(void) {
    enum { WORDS = 16, HALF = WORDS / 2, PLACES = 4 };
    for (int setting = 0; setting < 4; setting++) {
        const int single = setting % 2;
        const int64_t length = setting < 2 ? 1 : WORDS; /* of document 0: with one word there is no dual bound */
        space s = make_space(single, PLACES * WORDS, 1, 0, EQUAL, 1);
        static const double at[PLACES] = {0, 2, 3, 4};
        for (int64_t w = 0; w < PLACES * WORDS; w++) put(&s, w, 0, at[w / WORDS]);
        for (int round = 0; round < 40; round++) {
            const int64_t offsets[] = {0, length, length + WORDS}, query_offsets[] = {0, WORDS};
            int32_t words[2 * WORDS], query_words[WORDS];
            double weights[2 * WORDS], query_weights[WORDS];
            for (int64_t k = 0; k < length; k++) {
                words[k] = (int32_t)(2 * WORDS + k);
                weights[k] = check_uniform(0.1, 1);
            }
            for (int64_t k = 0; k < HALF; k++) { /* all words are different, so nothing cancels */
                int32_t *second = words + length;
                double *second_weights = weights + length;
                query_words[k] = (int32_t)k, query_words[HALF + k] = (int32_t)(WORDS + k);
                query_weights[k] = query_weights[HALF + k] = check_uniform(0.1, 1);
                second[k] = (int32_t)(WORDS + HALF + k), second[HALF + k] = (int32_t)(3 * WORDS + k);
                second_weights[k] = second_weights[HALF + k] = check_uniform(0.1, 1);
            }
            const kx_documents_t documents = {2, offsets, words, weights};
            const kx_documents_t raw = {1, query_offsets, query_words, query_weights};
            collection q = allocate_collection(1, WORDS);
            const kx_status_t normal = normalize(NULL, &s, &raw, KX_WMD, q.offsets, q.words, q.weights, NULL);
            CHECK(normal == KX_OK, "%s", kx_status_name(normal));
            built_index index = make_index(&s, &documents, KX_WMD);
            double *distances = scan(&s, &raw, &documents, KX_WMD, 1);
            CHECK(fabs(distances[0] - 2) <= 1e-14 && fabs(distances[1] - 2) <= 1e-14, "distances %.17g, %.17g",
                  distances[0], distances[1]);
            const kx_search_options_t options = options_of(KX_WMD, 1);
            kx_search_results_t results;
            const kx_status_t status = search(NULL, &s, &index.set, &q.set, NULL, &options, &results);
            CHECK(status == KX_OK, "%s", kx_status_name(status));
            kx_search_counts_t seen = {0};
            check_results("tight bounds", distances, 1, &index.set, &options, &results, &seen);
            kx_search_results_release(NULL, &results);
            free_index(&index), free_collection(&q), free(distances);
        }
        free(s.rows);
    }
}

/* From or to one word the relaxed bound is the distance, but for eleven digits: what is farther is not solved. */
static void test_relaxed_counts(void) {
    enum { COUNT = 200, QUERIES = 10, NEAREST = 4 };
    for (int setting = 0; setting < 8; setting++) {
        const int single = setting & 1, query_is_word = setting & 2;
        const kx_document_metric_t metric = setting & 4 ? KX_WRD : KX_WMD;
        const space s = make_space(single, 400, 5, 0, CLUSTERED, 1);
        collection documents = make_documents(COUNT, 1, query_is_word ? 40 : 1, 0, 400, 0);
        collection raw = make_documents(QUERIES, 1, query_is_word ? 1 : 40, 0, 400, 1);
        collection q = allocate_collection(QUERIES, raw.offsets[QUERIES]);
        double factors[400];
        const kx_status_t normal = normalize(NULL, &s, &raw.set, metric, q.offsets, q.words, q.weights, factors);
        CHECK(normal == KX_OK, "%s", kx_status_name(normal));
        built_index index = make_index(&s, &documents.set, metric);
        double *distances = scan(&s, &raw.set, &documents.set, metric, 1);
        const kx_search_options_t options = options_of(metric, NEAREST);
        kx_search_results_t results;
        const kx_status_t status = search(NULL, &s, &index.set, &q.set, NULL, &options, &results);
        CHECK(status == KX_OK, "%s", kx_status_name(status));
        for (int64_t k = 0; k < QUERIES; k++) {
            const double farthest = results.distances[results.offsets[k + 1] - 1];
            int64_t near = 0;
            for (int64_t d = 0; d < COUNT; d++) near += distances[k * COUNT + d] <= farthest * 1.002 + 1e-9;
            CHECK(results.counts[k].exact <= near, "setting %d, query %d: %lld solved, %lld are near", setting, (int)k,
                  (long long)results.counts[k].exact, (long long)near);
        }
        kx_search_results_release(NULL, &results);
        free_index(&index), free_collection(&documents), free_collection(&raw), free_collection(&q);
        free(s.rows), free(distances);
    }
}

/* Squares beyond the range of the precision or below it, distances below its normal numbers. */
static void test_sizes(void) {
    static const int exponents[2][5] = {{-322, -290, -160, 160, 300}, {-44, -30, -20, 20, 37}};
    kx_search_counts_t seen = {0};
    for (int single = 0; single < 2; single++)
        for (int k = 0; k < 5; k++)
            for (int setting = 0; setting < 4; setting++) {
                const problem p = {SPREAD, 3, 30, 6, 0, 12, 12, 60, 0, 7, exponents[single][k]};
                check_problem(&p, single, setting & 1 ? KX_WRD : KX_WMD, setting >> 1, &seen);
            }
}

/* A query of words 0 to 13, a document of word 14 and one of word 15. */
static kx_status_t search_line(int single, double words_at, double near, double far, const kx_search_options_t *options,
                               kx_search_results_t *results) {
    enum { WORDS = 14 };
    space s = make_space(single, WORDS + 2, 1, 0, EQUAL, 1);
    int32_t words[WORDS];
    double weights[WORDS], total = 0;
    for (int64_t k = 0; k < WORDS; k++) {
        put(&s, k, 0, words_at);
        words[k] = (int32_t)k;
        total += weights[k] = check_uniform(0.1, 1);
    }
    for (int64_t k = 0; k < WORDS; k++) weights[k] /= total;
    put(&s, WORDS, 0, near), put(&s, WORDS + 1, 0, far);
    const int64_t offsets[] = {0, 1, 2}, query_offsets[] = {0, WORDS};
    const int32_t places[] = {0, 1}, used[] = {WORDS, WORDS + 1};
    const double ones[] = {1, 1};
    const kx_index_t index = {2, used, NULL, 2, offsets, places, ones, NULL};
    const kx_documents_t query = {1, query_offsets, words, weights};
    const kx_status_t status = search(NULL, &s, &index, &query, NULL, options, results);
    free(s.rows);
    return status;
}

/* A distance that no number holds is none of the nearest, or the search says so; it is never lost. */
static void test_overflow(void) {
    for (int round = 0; round < 50; round++)
        for (int setting = 0; setting < 4; setting++) {
            const int single = setting % 2;
            const double huge = single ? 3e38 : 1.7e308, limit = huge / 2;
            kx_search_options_t options = options_of(KX_WMD, 1 + setting / 2);
            kx_search_results_t results;
            kx_status_t status = search_line(single, -huge, -0.9 * huge, huge, &options, &results);
            CHECK(status == KX_E_OVERFLOW || (status == KX_OK && options.k == 1 && results.indices[0] == 0),
                  "setting %d: %s", setting, kx_status_name(status));
            kx_search_results_release(NULL, &results);
            options.limits = &limit;
            status = search_line(single, -huge, -0.9 * huge, huge, &options, &results);
            CHECK(status == KX_E_OVERFLOW || (status == KX_OK && results.offsets[1] == 1 && results.indices[0] == 0),
                  "setting %d with a limit: %s", setting, kx_status_name(status));
            kx_search_results_release(NULL, &results);
        }
}

/* Nothing to search, nothing to search for. */
static void test_empty(void) {
    const double vectors[] = {1, 0, 0, 1};
    const int64_t none[] = {0, 0, 0}, one_each[] = {0, 1, 2};
    const int32_t words[] = {0, 1};
    const double weights[] = {1, 1};
    const uint8_t gone[] = {1, 1};
    const kx_index_t indexes[] = {
        {0, words, NULL, 0, none, words, weights, NULL},     /* no documents */
        {0, words, NULL, 2, none, words, weights, NULL},     /* empty ones */
        {2, words, NULL, 2, one_each, words, weights, gone}, /* removed ones */
        {2, words, NULL, 2, one_each, words, weights, NULL},
    };
    const kx_documents_t sets[] = {
        {0, none, words, weights}, {2, none, words, weights}, {2, one_each, words, weights}};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 3; j++)
            for (int64_t k = 1; k > 0; k = k == 1 ? INT64_MAX : 0) {
                const kx_search_options_t options = options_of(KX_WMD, k);
                kx_search_results_t results;
                const kx_status_t status = kx_documents_search_f64(NULL, &indexes[i], vectors, 2, 2, 16, &sets[j], NULL,
                                                                   0, 0, &options, &results);
                CHECK(status == KX_OK, "index %d, queries %d: %s", i, j, kx_status_name(status));
                const int64_t each = i == 3 && j == 2 ? (k == 1 ? 1 : 2) : 0, queries = sets[j].count;
                CHECK(results.offsets[0] == 0 && results.offsets[queries] == each * queries,
                      "index %d, queries %d: %lld neighbours", i, j, (long long)results.offsets[queries]);
                for (int64_t q = 0; q < queries; q++) {
                    CHECK(results.counts[q].documents == (each > 0 ? 2 : 0), "index %d, queries %d: %lld documents", i,
                          j, (long long)results.counts[q].documents);
                    CHECK(each == 0 || results.indices[q * each] == q, "query %d finds %lld", (int)q,
                          (long long)results.indices[q * each]);
                }
                kx_search_results_release(NULL, &results);
                kx_search_results_release(NULL, &results); /* nothing is left to release */
                CHECK(are_zero(&results), "index %d, queries %d: released results are not zero", i, j);
            }
}

/* ---- normalizing ---- */

static void test_normalize(void) {
    const double vectors[4][2] = {{3, 4}, {0, 0}, {0, 2}, {(double)NAN, 1}};
    float narrow[4][3];
    for (int w = 0; w < 4; w++)
        for (int d = 0; d < 3; d++) narrow[w][d] = d < 2 ? (float)vectors[w][d] : NAN;
    /* {0, 2}, nothing, {1}, {0 without weight, 2}; entry 0 belongs to no document */
    const int64_t offsets[] = {1, 3, 3, 4, 6};
    const int32_t words[] = {99, 0, 2, 1, 0, 2};
    const double weights[] = {-1, 2e300, 6e300, 1e-300, 0, 5};
    const kx_documents_t documents = {4, offsets, words, weights};
    for (int setting = 0; setting < 4; setting++) {
        const int single = setting % 2, wrd = setting / 2;
        const space s = {single, 4, 2, single ? sizeof narrow[0] : sizeof vectors[0],
                         single ? (char *)(uintptr_t)narrow : (char *)(uintptr_t)vectors};
        int64_t kept_offsets[5];
        int32_t kept[6];
        double shares[6], factors[] = {-7, -7, -7, -7};
        const kx_status_t status =
            normalize(NULL, &s, &documents, wrd ? KX_WRD : KX_WMD, kept_offsets, kept, shares, wrd ? factors : NULL);
        CHECK(status == KX_OK, "%s", kx_status_name(status));
        const int64_t ends[2][5] = {{0, 2, 2, 3, 4}, {0, 2, 2, 2, 3}};
        const int32_t expected_words[2][4] = {{0, 2, 1, 2}, {0, 2, 2}};
        const double expected[2][4] = {{0.25, 0.75, 1, 1}, {10.0 / 22, 12.0 / 22, 1}};
        CHECK(memcmp(kept_offsets, ends[wrd], sizeof kept_offsets) == 0, "%s: offsets", metric_names[wrd]);
        for (int64_t k = 0; k < ends[wrd][4]; k++)
            CHECK(kept[k] == expected_words[wrd][k] && fabs(shares[k] - expected[wrd][k]) <= DBL_EPSILON,
                  "%s, entry %d: word %d with %.17g", metric_names[wrd], (int)k, kept[k], shares[k]);
        if (wrd)
            CHECK(fabs(factors[0] - 0.2) <= DBL_EPSILON / 4 && factors[1] == 0 && factors[2] == 0.5 && factors[3] == -7,
                  "factors %g, %g, %g, %g", factors[0], factors[1], factors[2], factors[3]);
        else
            CHECK(factors[0] == -7, "WMD has no factors");
    }
}

static void expect_normalize(const char *what, kx_status_t expected, const double *vectors, const int32_t *words,
                             const double *weights) {
    float narrow[6];
    for (int k = 0; k < 6; k++) narrow[k] = (float)vectors[k];
    const int64_t offsets[] = {0, 1, 3};
    const int32_t all_words[] = {0, words[0], words[1]}; /* the second document has what is wrong */
    const double all_weights[] = {1, weights[0], weights[1]};
    const kx_documents_t documents = {2, offsets, all_words, all_weights};
    for (int setting = 0; setting < 4; setting++) {
        const int single = setting % 2;
        const space s = {single, 3, 2, single ? 8 : 16,
                         single ? (char *)(uintptr_t)narrow : (char *)(uintptr_t)vectors};
        int64_t kept_offsets[3];
        int32_t kept[3];
        double shares[3], factors[3];
        const kx_status_t status =
            normalize(NULL, &s, &documents, setting < 2 ? KX_WMD : KX_WRD, kept_offsets, kept, shares, factors);
        CHECK(status == expected, "%s, setting %d: %s", what, setting, kx_status_name(status));
    }
}

static void test_normalize_statuses(void) {
    const double vectors[] = {1, 0, 0, 1, (double)NAN, 0}, infinite[] = {1, 0, -INFINITY, 1, 0, 0};
    const double ones[] = {1, 1}, negative[] = {1, -1}, enormous[] = {DBL_MAX, DBL_MAX};
    const double nan_weight[] = {(double)NAN, 1}, infinite_weight[] = {INFINITY, 1};
    const int32_t sound[] = {0, 1}, third[] = {0, 2}, repeated[] = {1, 1}, descending[] = {1, 0}, beyond[] = {0, 3};
    const int32_t below[] = {-1, 0};
    expect_normalize("sound", KX_OK, vectors, sound, ones);
    expect_normalize("NaN in a word in use", KX_E_NONFINITE, vectors, third, ones);
    expect_normalize("infinity in a word in use", KX_E_NONFINITE, infinite, sound, ones);
    expect_normalize("a repeated word", KX_E_ARGUMENT, vectors, repeated, ones);
    expect_normalize("descending words", KX_E_ARGUMENT, vectors, descending, ones);
    expect_normalize("a word beyond the vocabulary", KX_E_ARGUMENT, vectors, beyond, ones);
    expect_normalize("a word below 0", KX_E_ARGUMENT, vectors, below, ones);
    expect_normalize("a negative weight", KX_E_NEGATIVE, vectors, sound, negative);
    expect_normalize("weights that overflow", KX_E_OVERFLOW, vectors, sound, enormous);
    expect_normalize("NaN for a weight", KX_E_OVERFLOW, vectors, sound, nan_weight);
    expect_normalize("infinity for a weight", KX_E_OVERFLOW, vectors, sound, infinite_weight);

    const int64_t offsets[] = {0, 2};
    const kx_documents_t set = {1, offsets, sound, ones};
    int64_t out_offsets[2];
    int32_t out_words[2];
    double out_weights[2], factors[3];
    const struct {
        const char *what;
        const double *vectors;
        const kx_documents_t *documents;
        int64_t vocabulary, dimension;
        kx_document_metric_t metric;
        int64_t *offsets;
        int32_t *words;
        double *weights, *factors;
        kx_status_t expected;
    } calls[] = {
        {"vectors", NULL, &set, 3, 2, KX_WMD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"documents", vectors, NULL, 3, 2, KX_WMD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"vocabulary", vectors, &set, 0, 2, KX_WMD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"dimension", vectors, &set, 3, 0, KX_WMD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"relaxed", vectors, &set, 3, 2, KX_RELAXED_WMD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"relaxed", vectors, &set, 3, 2, KX_RELAXED_WRD, out_offsets, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"offsets", vectors, &set, 3, 2, KX_WMD, NULL, out_words, out_weights, factors, KX_E_ARGUMENT},
        {"words", vectors, &set, 3, 2, KX_WMD, out_offsets, NULL, out_weights, factors, KX_E_ARGUMENT},
        {"weights", vectors, &set, 3, 2, KX_WMD, out_offsets, out_words, NULL, factors, KX_E_ARGUMENT},
        {"factors", vectors, &set, 3, 2, KX_WRD, out_offsets, out_words, out_weights, NULL, KX_E_ARGUMENT},
        {"size", vectors, &set, (int64_t)INT32_MAX + 1, 2, KX_WMD, out_offsets, out_words, out_weights, factors,
         KX_E_OVERFLOW},
    };
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        const kx_status_t status = kx_documents_normalize_f64(
            NULL, calls[k].vectors, calls[k].documents, calls[k].vocabulary, calls[k].dimension, 16, calls[k].metric,
            calls[k].offsets, calls[k].words, calls[k].weights, calls[k].factors);
        CHECK(status == calls[k].expected, "%s: %s", calls[k].what, kx_status_name(status));
    }
}

/* ---- statuses of a search ---- */

static void test_options(void) {
    kx_search_options_t options;
    memset(&options, 0x5a, sizeof options);
    kx_search_options_init(&options);
    CHECK(options.metric == KX_WMD && options.scale == 1 && options.k == 1, "metric %d, scale %g, k %lld",
          (int)options.metric, options.scale, (long long)options.k);
    CHECK(!options.limits && !options.done && !options.total, "limits or progress by default");
}

static void test_statuses(void) {
    const double vectors[] = {1, 0, 0, 1, (double)NAN, 0, 1, 1}, infinite[] = {0, INFINITY};
    const double factors[] = {1, 1}, halves[] = {0.5, 0.5, 0.5, 0.5};
    const int64_t offsets[] = {0, 2, 4};
    const int32_t used[] = {1, 0}, places[] = {1, 0, 1, 0}; /* both documents are words 0 and 1 */
    const int32_t sound[] = {0, 1, 0, 3}, beyond[] = {0, 1, 0, 4}, below[] = {0, 1, -1, 0}, nan[] = {0, 1, 0, 2};
    const kx_index_t index = {2, used, NULL, 2, offsets, places, halves, NULL};
    const kx_index_t wrd_index = {2, used, factors, 2, offsets, places, halves, NULL};
    kx_index_t enormous = index;
    enormous.used = (int64_t)INT32_MAX + 1;
    const kx_documents_t queries = {2, offsets, sound, halves};
    const kx_documents_t beyond_queries = {2, offsets, beyond, halves}, below_queries = {2, offsets, below, halves};
    const kx_documents_t nan_queries = {2, offsets, nan, halves};
    const kx_search_options_t options = options_of(KX_WMD, 1), wrd = options_of(KX_WRD, 1);
    const kx_search_options_t no_k = options_of(KX_WMD, 0), less = options_of(KX_WMD, -1);
    const kx_search_options_t relaxed_wmd = options_of(KX_RELAXED_WMD, 1), relaxed_wrd = options_of(KX_RELAXED_WRD, 1);
    kx_search_results_t results;
    const struct {
        const char *what;
        const kx_index_t *index;
        const double *vectors;
        int64_t vocabulary, dimension;
        const kx_documents_t *queries;
        const double *query_vectors;
        int64_t query_vocabulary;
        const kx_search_options_t *options;
        kx_search_results_t *results;
        kx_status_t expected;
    } calls[] = {
        {"sound", &index, vectors, 4, 2, &queries, NULL, 0, &options, &results, KX_OK},
        {"sound, own vectors", &index, vectors, 4, 2, &queries, vectors, 4, &options, &results, KX_OK},
        {"sound, WRD", &wrd_index, vectors, 4, 2, &queries, NULL, 0, &wrd, &results, KX_OK},
        {"k of 0", &index, vectors, 4, 2, &queries, NULL, 0, &no_k, &results, KX_E_ARGUMENT},
        {"k below 0", &index, vectors, 4, 2, &queries, NULL, 0, &less, &results, KX_E_ARGUMENT},
        {"relaxed WMD", &index, vectors, 4, 2, &queries, NULL, 0, &relaxed_wmd, &results, KX_E_ARGUMENT},
        {"relaxed WRD", &wrd_index, vectors, 4, 2, &queries, NULL, 0, &relaxed_wrd, &results, KX_E_ARGUMENT},
        {"WRD without factors", &index, vectors, 4, 2, &queries, NULL, 0, &wrd, &results, KX_E_ARGUMENT},
        {"no index", NULL, vectors, 4, 2, &queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"no vectors", &index, NULL, 4, 2, &queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"no queries", &index, vectors, 4, 2, NULL, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"no options", &index, vectors, 4, 2, &queries, NULL, 0, NULL, &results, KX_E_ARGUMENT},
        {"no results", &index, vectors, 4, 2, &queries, NULL, 0, &options, NULL, KX_E_ARGUMENT},
        {"no words", &index, vectors, 0, 2, &queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"no dimension", &index, vectors, 4, 0, &queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"too many words", &index, vectors, (int64_t)INT32_MAX + 1, 2, &queries, NULL, 0, &options, &results,
         KX_E_OVERFLOW},
        {"too many used", &enormous, vectors, 4, 2, &queries, NULL, 0, &options, &results, KX_E_OVERFLOW},
        {"a word beyond", &index, vectors, 4, 2, &beyond_queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"a word below 0", &index, vectors, 4, 2, &below_queries, NULL, 0, &options, &results, KX_E_ARGUMENT},
        {"a word beyond its own", &index, vectors, 4, 2, &queries, vectors, 3, &options, &results, KX_E_ARGUMENT},
        {"NaN", &index, vectors, 4, 2, &nan_queries, NULL, 0, &options, &results, KX_E_NONFINITE},
        {"NaN, WRD", &wrd_index, vectors, 4, 2, &nan_queries, NULL, 0, &wrd, &results, KX_E_NONFINITE},
        {"infinity", &index, vectors, 4, 1, &queries, infinite, 4, &options, &results, KX_E_NONFINITE},
    };
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        memset(&results, 0, sizeof results);
        const kx_status_t status = kx_documents_search_f64(
            NULL, calls[k].index, calls[k].vectors, calls[k].vocabulary, calls[k].dimension, 16, calls[k].queries,
            calls[k].query_vectors, calls[k].query_vocabulary, calls[k].dimension * 8, calls[k].options,
            calls[k].results);
        CHECK(status == calls[k].expected, "%s: %s", calls[k].what, kx_status_name(status));
        CHECK(are_zero(&results) == (status < KX_OK), "%s: results of a call that gave %s", calls[k].what,
              kx_status_name(status));
        kx_search_results_release(NULL, &results);
    }
}

/* ---- allocations, cancelling ---- */

/* Counts blocks, lets one fail or take longer than cancelling waits. */
typedef struct watching_allocator {
    kx_mutex_t mutex; /* guards all */
    int64_t asked, given, released, fail_at, nap_at;
} watching_allocator;

static void *watching_allocate(void *state, size_t bytes) {
    watching_allocator *w = state;
    kx_mutex_lock(&w->mutex);
    const int64_t number = w->asked++;
    const int fails = number == w->fail_at;
    w->given += !fails;
    kx_mutex_unlock(&w->mutex);
    if (fails) return NULL;
    const int64_t until = kx_clock_ns() + 60000000;
    while (number == w->nap_at && kx_clock_ns() < until) {}
    void *block = kx_allocate(NULL, bytes);
    memset(block, 0xff, bytes);
    return block;
}
static void watching_release(void *state, void *block) {
    watching_allocator *w = state;
    kx_mutex_lock(&w->mutex);
    w->released++;
    kx_mutex_unlock(&w->mutex);
    kx_release(NULL, block);
}

/* A collection that is searched for some of its own documents. */
typedef struct searched {
    space s;
    collection documents, queries;
    built_index index;
    kx_search_options_t options;
    watching_allocator watch;
    kx_ctx_t ctx;
} searched;

static void set_up(searched *x, int single, kx_document_metric_t metric, int64_t count, int64_t queries,
                   int64_t shortest, int64_t longest, int64_t vocabulary, int64_t k) {
    memset(x, 0, sizeof *x);
    x->s = make_space(single, vocabulary, 60, 0, SPREAD, 1);
    x->documents = make_documents(count, shortest, longest, 0, vocabulary, 0);
    const kx_documents_t some = {queries, x->documents.offsets, x->documents.words, x->documents.weights};
    x->queries = allocate_collection(queries, x->documents.offsets[queries]);
    double *factors = malloc(sizeof *factors * (size_t)vocabulary);
    const kx_status_t status =
        normalize(NULL, &x->s, &some, metric, x->queries.offsets, x->queries.words, x->queries.weights, factors);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    free(factors);
    x->index = make_index(&x->s, &x->documents.set, metric);
    x->options = options_of(metric, k);
    x->watch = (watching_allocator){KX_MUTEX_INIT, 0, 0, 0, -1, -1};
    kx_ctx_init(&x->ctx);
    x->ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &x->watch};
}
static void tear_down(searched *x) {
    free_collection(&x->documents), free_collection(&x->queries), free_index(&x->index), free(x->s.rows);
}

/* A search that fails leaves nothing behind, one that does not what its results hold. */
static kx_status_t run(searched *x, kx_search_results_t *results) {
    x->watch.asked = x->watch.given = x->watch.released = 0;
    memset(results, 0x5a, sizeof *results);
    const kx_status_t status = search(&x->ctx, &x->s, &x->index.set, &x->queries.set, NULL, &x->options, results);
    const int64_t left = status < KX_OK ? 0 : 4, now = x->watch.given - x->watch.released;
    CHECK(now == left, "%s: %lld blocks are left", kx_status_name(status), (long long)now);
    CHECK(are_zero(results) == (status < KX_OK), "%s: the results", kx_status_name(status));
    return status;
}
static void release(searched *x, kx_search_results_t *results) {
    kx_search_results_release(&x->ctx, results);
    CHECK(x->watch.given == x->watch.released, "%lld blocks given, %lld released", (long long)x->watch.given,
          (long long)x->watch.released);
    CHECK(are_zero(results), "released results are not zero");
}

static void test_allocation(void) {
    for (int setting = 0; setting < 8; setting++) {
        searched x;
        set_up(&x, setting & 1, setting & 2 ? KX_WRD : KX_WMD, 60, 7, 0, 6, 400, 5);
        x.ctx.workers = setting & 4 ? 3 : 1;
        kx_search_results_t expected, results;
        kx_status_t status = run(&x, &expected);
        CHECK(status == KX_OK && x.watch.asked > 10, "%s after %lld allocations", kx_status_name(status),
              (long long)x.watch.asked);
        /* `expected` lives on while the blocks of other calls are counted. */
        for (int64_t k = 0;; k++) {
            x.watch.fail_at = k;
            status = run(&x, &results);
            if (x.watch.asked <= k) break;
            CHECK(status == KX_E_MEMORY, "allocation %lld failed: %s", (long long)k, kx_status_name(status));
            x.watch.fail_at = -1;
            status = run(&x, &results);
            CHECK(status == KX_OK && are_same(&expected, &results, 7), "after a failure: %s", kx_status_name(status));
            release(&x, &results);
        }
        CHECK(status == KX_OK && are_same(&expected, &results, 7), "no failure: %s", kx_status_name(status));
        release(&x, &results);
        kx_search_results_release(&x.ctx, &expected);

        const kx_documents_t *documents = &x.documents.set;
        int64_t *offsets = malloc(sizeof *offsets * (size_t)(documents->count + 1));
        int32_t *words = malloc(sizeof *words * (size_t)(documents->offsets[documents->count] + 1));
        double *weights = malloc(sizeof *weights * (size_t)(documents->offsets[documents->count] + 1));
        double factors[400];
        x.watch.asked = x.watch.given = x.watch.released = x.watch.fail_at = 0;
        status = normalize(&x.ctx, &x.s, documents, x.options.metric, offsets, words, weights, factors);
        CHECK(status == KX_E_MEMORY && x.watch.given == x.watch.released, "normalizing: %s", kx_status_name(status));
        status = normalize(&x.ctx, &x.s, documents, x.options.metric, offsets, words, weights, factors);
        CHECK(status == KX_OK && x.watch.given == x.watch.released, "normalizing: %s", kx_status_name(status));
        free(offsets), free(words), free(weights);
        tear_down(&x);
    }
}

static int cancel(void *state) {
    ++*(int *)state;
    return 1;
}

static void test_cancel(void) {
    /* Many documents that all have to be solved; a single pair that takes long. */
    for (int setting = 0; setting < 6; setting++) {
        const int pair = setting % 2;
        searched x;
        if (pair) set_up(&x, 0, setting < 2 ? KX_WMD : KX_WRD, 2, 1, 2500, 2500, 9000, 2);
        else set_up(&x, 1, setting < 2 ? KX_WMD : KX_WRD, 3000, 1, 100, 160, 2000, 3000);
        int calls = 0;
        int64_t done = 0, total = 0;
        x.ctx.workers = setting < 4 ? 1 : 3;
        x.ctx.cancel = cancel;
        x.ctx.cancel_state = &calls;
        x.options.done = &done, x.options.total = &total;
        kx_search_results_t results;
        kx_status_t status = run(&x, &results);
        CHECK(status == KX_E_CANCELLED && calls == 1, "%s after %d polls", kx_status_name(status), calls);
        CHECK(done < total, "%d of %d steps", (int)done, (int)total);
        /* One that is short is done before anybody asks. */
        const kx_documents_t short_query = {1, x.queries.offsets, x.queries.words, x.queries.weights};
        const double none = -1;
        x.options.limits = &none;
        x.ctx.cancel = NULL;
        x.queries.set = short_query;
        status = run(&x, &results);
        CHECK(status == KX_OK && results.offsets[1] == 0, "afterwards: %s", kx_status_name(status));
        release(&x, &results);
        tear_down(&x);
    }
    /* A call may be slow anywhere: in the table, between documents, or where nobody can be asked. */
    for (int metric = 0; metric < 2; metric++) {
        searched x;
        set_up(&x, metric, (kx_document_metric_t)metric, 60, 1, 4, 6, 400, 3);
        int calls = 0, cancelled = 0, finished = 0;
        x.ctx.cancel = cancel;
        x.ctx.cancel_state = &calls;
        for (int64_t k = 0;; k++) {
            kx_search_results_t results;
            x.watch.nap_at = k;
            const kx_status_t status = run(&x, &results);
            CHECK(status == KX_OK || status == KX_E_CANCELLED, "a nap at %lld: %s", (long long)k,
                  kx_status_name(status));
            cancelled += status == KX_E_CANCELLED;
            finished += status == KX_OK;
            if (status == KX_OK) release(&x, &results);
            if (x.watch.asked <= k) break;
        }
        CHECK(cancelled > 1 && finished > 1, "%s: %d cancelled, %d finished", metric_names[metric], cancelled,
              finished);
        tear_down(&x);
    }
}

int main(int argc, char **argv) {
    const int rounds = check_is_long(argc, argv) ? 20 : 1;
    for (int round = 1; round <= rounds; round++) {
        check_random_state = (uint64_t)round;
        test_neighbours();
        test_long_documents();
    }
    test_many_documents();
    test_tight_bounds();
    test_relaxed_counts();
    test_sizes();
    test_overflow();
    test_empty();
    test_normalize();
    test_normalize_statuses();
    test_options();
    test_statuses();
    test_allocation();
    test_cancel();
    return check_report();
}
