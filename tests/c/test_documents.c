/* Document distances: values by hand, both precisions, every metric and status, tiles, long documents, workers,
   allocations that fail, cancelling, progress. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"
#include "runtime/memory.h"
#include "runtime/system.h"

static const double REG = 0.2;

static kx_pairwise_options_t options_of(kx_document_metric_t metric) {
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    options.metric = metric;
    options.reg = REG; /* which the others do not look at */
    return options;
}

static const kx_document_metric_t metrics[] = {KX_WMD, KX_WRD, KX_RELAXED_WMD, KX_RELAXED_WRD, KX_ENTROPIC_WMD};

/* METHODS R33: X is words 0 to 2, Y is words 3 and 4. */
static void test_reference(void) {
    const double vectors[5][3] = {{1, 0, 0}, {0, 2, 0}, {0, 0, 1.5}, {.8, .3, 0}, {0, 1, 1}};
    static const double expected[] = {1.0417035362952125, 0.296917159480791, 0.9642675595564629, 0.24195490850623097};
    float narrow[5][4]; /* padded rows */
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 4; k++) narrow[i][k] = k < 3 ? (float)vectors[i][k] : NAN;
    const int64_t x_offsets[] = {0, 3}, y_offsets[] = {0, 2};
    const int32_t x_words[] = {0, 1, 2}, y_words[] = {3, 4};
    const double x_weights[] = {7, 7, 7}, y_weights[] = {1e-3, 1e-3}; /* any scale */
    const kx_documents_t x = {1, x_offsets, x_words, x_weights}, y = {1, y_offsets, y_words, y_weights};
    for (int k = 0; k < 4; k++) {
        kx_pairwise_options_t options = options_of(metrics[k]);
        double wide_out;
        float narrow_out;
        kx_status_t status =
            kx_documents_pairwise_f64(NULL, vectors[0], &x, &y, 5, 3, sizeof vectors[0], &options, &wide_out);
        CHECK(status == KX_OK, "f64: %s", kx_status_name(status));
        CHECK(fabs(wide_out - expected[k]) <= 1e-14, "metric %d: %.17g", k, wide_out);
        status = kx_documents_pairwise_f32(NULL, narrow[0], &x, &y, 5, 3, sizeof narrow[0], &options, &narrow_out);
        CHECK(status == KX_OK, "f32: %s", kx_status_name(status));
        CHECK(fabs((double)narrow_out - expected[k]) <= 1e-6, "metric %d: %.9g", k, (double)narrow_out);
        options.scale = 0.25;
        kx_documents_pairwise_f64(NULL, vectors[0], &x, &y, 5, 3, sizeof vectors[0], &options, &wide_out);
        CHECK(fabs(wide_out - expected[k] / 4) <= 1e-14, "scaled metric %d: %.17g", k, wide_out);
    }
}

/* Random documents over a vocabulary: lengths 0 to `longest`, some weights 0. */
typedef struct collection {
    kx_documents_t set;
    int64_t *offsets;
    int32_t *words;
    double *weights;
    double *vectors;
    float *narrow;
    int64_t vocabulary, dimension;
} collection;

static collection make(int64_t count, int64_t shortest, int64_t longest, int64_t vocabulary, int64_t dimension) {
    collection c;
    c.offsets = malloc(sizeof *c.offsets * (size_t)(count + 1));
    c.words = malloc(sizeof *c.words * (size_t)(count * longest + 1));
    c.weights = malloc(sizeof *c.weights * (size_t)(count * longest + 1));
    c.vectors = malloc(sizeof *c.vectors * (size_t)(vocabulary * dimension));
    c.narrow = malloc(sizeof *c.narrow * (size_t)(vocabulary * dimension));
    c.vocabulary = vocabulary, c.dimension = dimension;
    for (int64_t k = 0; k < vocabulary * dimension; k++) {
        c.narrow[k] = (float)check_uniform(-1, 1);
        c.vectors[k] = (double)c.narrow[k];
    }
    c.offsets[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = c.offsets[i], length = shortest + (int64_t)(check_random() % (uint64_t)(longest - shortest + 1));
        int64_t step = vocabulary / (length + 1), word = (int64_t)(check_random() % (uint64_t)step);
        for (int64_t k = 0; k < length; k++) {
            c.words[at + k] = (int32_t)word;
            c.weights[at + k] = k > 0 && check_random() % 8 == 0 ? 0 : floor(check_uniform(1, 4));
            word += 1 + (int64_t)(check_random() % (uint64_t)step);
        }
        c.offsets[i + 1] = at + length;
    }
    c.set = (kx_documents_t){count, c.offsets, c.words, c.weights};
    return c;
}
static void dispose(collection *c) {
    free(c->offsets), free(c->words), free(c->weights), free(c->vectors), free(c->narrow);
}

static kx_status_t run_f64(const kx_ctx_t *ctx, const collection *c, const kx_documents_t *Y,
                           const kx_pairwise_options_t *options, double *out) {
    return kx_documents_pairwise_f64(ctx, c->vectors, &c->set, Y, c->vocabulary, c->dimension,
                                     c->dimension * (ptrdiff_t)sizeof(double), options, out);
}

/* A pair straight from the definition. */
enum { LONGEST = 160 };
typedef struct pair_problem {
    int64_t m, n;
    double a[LONGEST], b[LONGEST], M[LONGEST * LONGEST];
} pair_problem;

static const pair_problem *problem_of(const collection *c, int64_t i, int64_t j, kx_document_metric_t metric) {
    static pair_problem p;
    double *a = p.a, *b = p.b, *M = p.M, sums[2] = {0, 0};
    const int wrd = metric == KX_WRD || metric == KX_RELAXED_WRD;
    const int64_t documents[2] = {i, j};
    int64_t sizes[2] = {0, 0}, words[2][LONGEST];
    for (int side = 0; side < 2; side++)
        for (int64_t k = c->offsets[documents[side]]; k < c->offsets[documents[side] + 1]; k++) {
            double norm = 0;
            for (int64_t d = 0; d < c->dimension; d++) norm += pow(c->vectors[c->words[k] * c->dimension + d], 2);
            double weight = c->weights[k] * (wrd ? sqrt(norm) : 1);
            if (weight == 0) continue;
            words[side][sizes[side]] = c->words[k];
            (side ? b : a)[sizes[side]++] = weight;
            sums[side] += weight;
        }
    const int64_t m = sizes[0], n = sizes[1];
    for (int64_t r = 0; r < m; r++) a[r] /= sums[0];
    for (int64_t s = 0; s < n; s++) b[s] /= sums[1];
    for (int64_t r = 0; r < m; r++)
        for (int64_t s = 0; s < n; s++) {
            const double *x = c->vectors + words[0][r] * c->dimension, *y = c->vectors + words[1][s] * c->dimension;
            double squares = 0, dot = 0, xx = 0, yy = 0;
            for (int64_t d = 0; d < c->dimension; d++) {
                squares += (x[d] - y[d]) * (x[d] - y[d]);
                dot += x[d] * y[d], xx += x[d] * x[d], yy += y[d] * y[d];
            }
            M[r * n + s] = wrd ? 1 - dot / sqrt(xx * yy) : sqrt(squares);
        }
    p.m = m, p.n = n;
    return &p;
}

static double by_definition(const collection *c, int64_t i, int64_t j, kx_document_metric_t metric) {
    const pair_problem *p = problem_of(c, i, j, metric);
    const double *a = p->a, *b = p->b, *M = p->M;
    const int64_t m = p->m, n = p->n;
    if (metric == KX_WMD || metric == KX_WRD) {
        kx_emd_options_t options;
        kx_emd_options_init(&options);
        double cost;
        kx_emd_outputs_t outputs;
        memset(&outputs, 0, sizeof outputs);
        outputs.costs = &cost;
        kx_status_t status =
            kx_transport_emd_f64(NULL, a, b, M, 1, NULL, NULL, NULL, m, n, n * 8, &options, &outputs, NULL);
        return status == KX_OK ? cost : NAN;
    }
    double forward = 0, backward = 0;
    for (int64_t r = 0; r < m; r++) {
        double least = INFINITY;
        for (int64_t s = 0; s < n; s++) least = fmin(least, M[r * n + s]);
        forward += a[r] * least;
    }
    for (int64_t s = 0; s < n; s++) {
        double least = INFINITY;
        for (int64_t r = 0; r < m; r++) least = fmin(least, M[r * n + s]);
        backward += b[s] * least;
    }
    return fmax(forward, backward);
}

static void test_all_pairs(int64_t dimension) {
    enum { COUNT = 45 };
    collection c = make(COUNT, 1, 40, 1000, dimension); /* several blocks on both sides */
    static double half[COUNT * COUNT], whole[COUNT * COUNT], other[COUNT * COUNT];
    static float narrow[COUNT * COUNT];
    for (int k = 0; k < 4; k++) {
        int64_t done = 0, total = 0;
        kx_pairwise_options_t options = options_of(metrics[k]);
        options.done = &done, options.total = &total;
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        CHECK(run_f64(&ctx, &c, NULL, &options, half) == KX_OK, "symmetric");
        CHECK(total > 4 && done == total, "%d of %d tiles", (int)done, (int)total);
        CHECK(run_f64(&ctx, &c, &c.set, &options, whole) == KX_OK, "whole");
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < COUNT; j++) {
                const double exact = by_definition(&c, i, j, metrics[k]), got = whole[i * COUNT + j];
                const double one_way = i < j ? got : whole[j * COUNT + i];
                CHECK(fabs(got - exact) <= 1e-12, "metric %d, pair %d, %d: %.17g, not %.17g", k, i, j, got, exact);
                CHECK(half[i * COUNT + j] == half[j * COUNT + i], "metric %d is not symmetric at %d, %d", k, i, j);
                CHECK(half[i * COUNT + j] == (i == j ? 0 : one_way), "metric %d, half %d, %d", k, i, j);
            }
        for (int i = 0; i < COUNT; i++) CHECK(whole[i * COUNT + i] == 0, "the same document: %g", whole[i * COUNT + i]);
        kx_status_t status = kx_documents_pairwise_f32(&ctx, c.narrow, &c.set, NULL, c.vocabulary, dimension,
                                                       dimension * 4, &options, narrow);
        CHECK(status == KX_OK, "f32: %s", kx_status_name(status));
        for (int i = 0; i < COUNT * COUNT; i++)
            CHECK(fabs((double)narrow[i] - half[i]) <= 1e-6 * (1 + half[i]), "f32, %d: %.9g, not %.9g", i,
                  (double)narrow[i], half[i]);
        static const int workers[] = {2, 3, 8};
        for (int w = 0; w < 3; w++) {
            ctx.workers = workers[w];
            status = run_f64(&ctx, &c, NULL, &options, other);
            CHECK(status == KX_OK && memcmp(half, other, sizeof half) == 0, "%d workers", workers[w]);
            status = run_f64(&ctx, &c, &c.set, &options, other);
            CHECK(status == KX_OK && memcmp(whole, other, sizeof whole) == 0, "%d workers", workers[w]);
        }
    }
    dispose(&c);
}

/* Pairs for both of the transport solvers in one collection. */
static void test_long_documents(void) {
    enum { COUNT = 6 };
    collection c = make(COUNT, 120, LONGEST, 3000, 5);
    double half[COUNT * COUNT], whole[COUNT * COUNT];
    for (int k = 0; k < 2; k++) {
        const kx_pairwise_options_t options = options_of(metrics[k]);
        CHECK(run_f64(NULL, &c, NULL, &options, half) == KX_OK, "symmetric");
        CHECK(run_f64(NULL, &c, &c.set, &options, whole) == KX_OK, "whole");
        for (int i = 0; i < COUNT; i++)
            for (int j = 0; j < COUNT; j++) {
                const double exact = by_definition(&c, i, j, metrics[k]), got = whole[i * COUNT + j];
                CHECK(fabs(got - exact) <= 1e-12, "metric %d, pair %d, %d: %.17g, not %.17g", k, i, j, got, exact);
                CHECK(i >= j || half[i * COUNT + j] == got, "metric %d, half %d, %d", k, i, j);
            }
    }
    dispose(&c);
}

/* ---- entropic transport ---- */

static kx_status_t entropic_by_definition(const collection *c, int64_t i, int64_t j,
                                          const kx_pairwise_options_t *pairwise,
                                          double *cost) {
    const pair_problem *p = problem_of(c, i, j, KX_ENTROPIC_WMD);
    kx_sinkhorn_problems_t problems;
    memset(&problems, 0, sizeof problems);
    problems.count = 1, problems.m = p->m, problems.n = p->n;
    problems.a = p->a, problems.b = p->b, problems.M = p->M, problems.reg = &pairwise->reg;
    problems.row_stride = p->n * (ptrdiff_t)sizeof(double);
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.tolerance = pairwise->tolerance, options.max_iter = pairwise->max_iter;
    kx_sinkhorn_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = cost;
    return kx_transport_sinkhorn_f64(NULL, &problems, &options, &outputs, NULL);
}

static void test_entropic(int64_t dimension, double reg) {
    enum { COUNT = 45 };
    collection c = make(COUNT, 1, 40, 1000, dimension);
    static double half[COUNT * COUNT], whole[COUNT * COUNT], other[COUNT * COUNT];
    static float narrow[COUNT * COUNT];
    int64_t done = 0, total = 0, unconverged = -1;
    kx_pairwise_options_t options = options_of(KX_ENTROPIC_WMD);
    options.reg = reg;
    options.tolerance = 1e-11;
    options.done = &done, options.total = &total, options.unconverged = &unconverged;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    CHECK(run_f64(&ctx, &c, NULL, &options, half) == KX_OK && unconverged == 0, "symmetric");
    CHECK(total > 4 && done == total, "%d of %d tiles", (int)done, (int)total);
    CHECK(run_f64(&ctx, &c, &c.set, &options, whole) == KX_OK && unconverged == 0, "whole");
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            double exact = NAN;
            const double got = whole[i * COUNT + j], one_way = i <= j ? got : whole[j * COUNT + i];
            const kx_status_t status = entropic_by_definition(&c, i, j, &options, &exact);
            CHECK(status == KX_OK && fabs(got - exact) <= 1e-9, "reg %g, pair %d, %d: %.17g, not %.17g", reg, i, j,
                  got, exact);
            CHECK(half[i * COUNT + j] == one_way, "reg %g, half %d, %d", reg, i, j);
            CHECK(i != j || got > 0 || problem_of(&c, i, i, KX_WMD)->m == 1, "reg %g, the same document %d: %g", reg,
                  i, got);
        }
    kx_status_t status = kx_documents_pairwise_f32(&ctx, c.narrow, &c.set, NULL, c.vocabulary, dimension, dimension * 4,
                                                   &options, narrow);
    CHECK(status == KX_OK, "f32: %s", kx_status_name(status));
    for (int i = 0; i < COUNT * COUNT; i++)
        CHECK(fabs((double)narrow[i] - half[i]) <= 1e-5 * (1 + half[i]), "f32, %d: %.9g, not %.9g", i,
              (double)narrow[i], half[i]);
    options.scale = 0.25, options.reg = reg / 4;
    CHECK(run_f64(&ctx, &c, NULL, &options, other) == KX_OK, "scaled");
    for (int i = 0; i < COUNT * COUNT; i++)
        CHECK(fabs(4 * other[i] - half[i]) <= 1e-9, "scaled, %d: 4 x %.17g, not %.17g", i, other[i], half[i]);
    options.scale = 1, options.reg = reg;

    options.max_iter = 7;
    int64_t late[2] = {0, 0};
    for (int i = 0; i < COUNT; i++)
        for (int j = 0; j < COUNT; j++) {
            double cost;
            const int stops = entropic_by_definition(&c, i, j, &options, &cost) == KX_W_MAXITER;
            late[0] += stops;
            late[1] += stops && i <= j;
        }
    static const int workers[] = {1, 2, 3, 8};
    static double limited[2][COUNT * COUNT];
    for (int w = 0; w < 4; w++) {
        ctx.workers = workers[w];
        for (int symmetric = 0; symmetric < 2; symmetric++) {
            const kx_documents_t *Y = symmetric ? NULL : &c.set;
            options.max_iter = 10000;
            status = run_f64(&ctx, &c, Y, &options, other);
            CHECK(status == KX_OK && memcmp(symmetric ? half : whole, other, sizeof half) == 0, "%d workers",
                  workers[w]);
            options.max_iter = 7;
            done = 0;
            status = run_f64(&ctx, &c, Y, &options, other);
            CHECK(status == KX_W_MAXITER && done == total, "%s, %d of %d tiles", kx_status_name(status), (int)done,
                  (int)total);
            CHECK(unconverged == late[symmetric] && unconverged > 0, "%d workers: %d pairs stopped, not %d", workers[w],
                  (int)unconverged, (int)late[symmetric]);
            if (w == 0) memcpy(limited[symmetric], other, sizeof other);
            CHECK(memcmp(limited[symmetric], other, sizeof other) == 0, "%d workers, stopped early", workers[w]);
        }
    }
    dispose(&c);
}

/* Long and short documents take turns in the same memory, with Newton's method and without. */
static void test_entropic_long_documents(void) {
    enum { COUNT = 8 };
    collection c = make(COUNT, 2, LONGEST, 3000, 5);
    double half[COUNT * COUNT];
    static const double regs[] = {1e-3, 0.03, 100};
    for (int k = 0; k < 3; k++) {
        kx_pairwise_options_t options = options_of(KX_ENTROPIC_WMD);
        options.reg = regs[k];
        options.tolerance = 1e-11;
        CHECK(run_f64(NULL, &c, NULL, &options, half) == KX_OK, "reg %g", regs[k]);
        for (int i = 0; i < COUNT; i++)
            for (int j = i; j < COUNT; j++) {
                double exact = NAN;
                const double got = half[i * COUNT + j], wmd = by_definition(&c, i, j, KX_WMD);
                const kx_status_t status = entropic_by_definition(&c, i, j, &options, &exact);
                CHECK(status == KX_OK && fabs(got - exact) <= 1e-9, "reg %g, pair %d, %d: %.17g, not %.17g", regs[k],
                      i, j, got, exact);
                CHECK(got >= wmd - 1e-9, "reg %g, pair %d, %d: %.17g is below %.17g", regs[k], i, j, got, wmd);
            }
    }
    dispose(&c);
}

static void test_entropic_statuses(void) {
    const double vectors[] = {1, 0, 0, 1, 3, 4}, weights[] = {1, 1, 1}, single[] = {1};
    const int64_t offsets[] = {0, 3}, one[] = {0, 1};
    const int32_t words[] = {0, 1, 2};
    const kx_documents_t set = {1, offsets, words, weights}, word = {1, one, words, single};
    double out;
    const double bad[] = {0, -1, NAN, INFINITY};
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    CHECK(options.reg == 0 && options.tolerance == 1e-9 && options.max_iter == 10000 && !options.unconverged,
          "defaults");
    for (int k = 0; k < 4; k++) {
        options = options_of(KX_ENTROPIC_WMD);
        options.reg = bad[k];
        kx_status_t status = kx_documents_pairwise_f64(NULL, vectors, &set, NULL, 3, 2, 16, &options, &out);
        CHECK(status == KX_E_ARGUMENT, "reg %g: %s", bad[k], kx_status_name(status));
        options.metric = KX_WMD;
        status = kx_documents_pairwise_f64(NULL, vectors, &set, NULL, 3, 2, 16, &options, &out);
        CHECK(status == KX_OK && out == 0, "reg %g for another metric: %s", bad[k], kx_status_name(status));
    }
    options = options_of(KX_ENTROPIC_WMD);
    options.max_iter = 0;
    kx_status_t status = kx_documents_pairwise_f64(NULL, vectors, &set, NULL, 3, 2, 16, &options, &out);
    CHECK(status == KX_E_ARGUMENT, "no passes: %s", kx_status_name(status));
    /* One word against many leaves nothing to choose, and asks for no pass. */
    options.max_iter = 1;
    status = kx_documents_pairwise_f64(NULL, vectors, &word, &set, 3, 2, 16, &options, &out);
    CHECK(status == KX_OK && fabs(out - (sqrt(2) + sqrt(20)) / 3) <= 1e-15, "one word: %s, %.17g",
          kx_status_name(status), out);
    status = kx_documents_pairwise_f64(NULL, vectors, &word, NULL, 3, 2, 16, &options, &out);
    CHECK(status == KX_OK && out == 0, "a word and itself: %s, %.17g", kx_status_name(status), out);
}

/* Lets one allocation fail, and fills blocks with what would show in a result. */
typedef struct watching_allocator {
    kx_mutex_t mutex; /* guards all */
    int64_t asked, given, released, fail_at;
} watching_allocator;

static void *watching_allocate(void *state, size_t bytes) {
    watching_allocator *w = state;
    kx_mutex_lock(&w->mutex);
    const int fails = w->asked++ == w->fail_at;
    w->given += !fails;
    kx_mutex_unlock(&w->mutex);
    if (fails) return NULL;
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

static void test_allocation(void) {
    enum { COUNT = 30 };
    collection c = make(COUNT, 1, 60, 1000, 3);
    static double expected[COUNT * COUNT], out[COUNT * COUNT];
    for (int k = 0; k < 5; k++)
        for (int workers = 1; workers <= 3; workers += 2) {
            watching_allocator w = {KX_MUTEX_INIT, 0, 0, 0, -1};
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
            kx_pairwise_options_t options = options_of(metrics[k]);
            options.reg = 0.01; /* so little that Newton's method asks for memory of its own */
            CHECK(run_f64(NULL, &c, NULL, &options, expected) == KX_OK, "metric %d", k);
            for (int64_t fail_at = 0;; fail_at++) {
                w.asked = w.given = w.released = 0, w.fail_at = fail_at;
                kx_status_t status = run_f64(&ctx, &c, NULL, &options, out);
                const int failed = w.asked > fail_at;
                CHECK(status == (failed ? KX_E_MEMORY : KX_OK), "metric %d, failure %d: %s", k, (int)fail_at,
                      kx_status_name(status));
                CHECK(w.given == w.released, "metric %d, failure %d: %d given, %d released", k, (int)fail_at,
                      (int)w.given, (int)w.released);
                w.asked = w.given = w.released = 0, w.fail_at = -1;
                status = run_f64(&ctx, &c, NULL, &options, out);
                CHECK(status == KX_OK && memcmp(expected, out, sizeof out) == 0, "metric %d, after failure %d: %s", k,
                      (int)fail_at, kx_status_name(status));
                CHECK(w.given == w.released && w.asked >= (metrics[k] == KX_ENTROPIC_WMD ? 6 : 5),
                      "metric %d: %d asked", k, (int)w.asked);
                if (!failed) break;
            }
        }
    dispose(&c);
}

static void test_empty(void) {
    const double vectors[] = {1, 0, 0, 1, 0, 0}; /* the third is zero */
    const int64_t offsets[] = {0, 1, 1, 2, 3};
    const int32_t words[] = {0, 2, 1};
    const double weights[] = {1, 1, 0};
    const kx_documents_t set = {4, offsets, words, weights}, none = {0, offsets, words, weights};
    double out[16];
    kx_pairwise_options_t options = options_of(KX_WMD);
    CHECK(isnan(options.empty_value) && options.scale == 1 && !options.done && !options.total, "defaults");
    kx_documents_pairwise_f64(NULL, vectors, &set, NULL, 3, 2, 16, &options, out);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            const int empty = i % 2 == 1 || j % 2 == 1; /* no word; a word of weight 0 */
            const double got = out[4 * i + j];
            CHECK(empty ? isnan(got) : got == (i == j ? 0 : 1), "%d, %d: %g", i, j, got);
        }
    options = options_of(KX_WRD);
    options.empty_value = INFINITY;
    kx_documents_pairwise_f64(NULL, vectors, &set, &set, 3, 2, 16, &options, out);
    /* a zero vector weighs nothing */
    for (int i = 0; i < 16; i++) CHECK(out[i] == (i == 0 ? 0 : INFINITY), "%d: %g", i, out[i]);
    options = options_of(KX_ENTROPIC_WMD);
    kx_documents_pairwise_f64(NULL, vectors, &set, NULL, 3, 2, 16, &options, out);
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            const int empty = i % 2 == 1 || j % 2 == 1;
            const double got = out[4 * i + j];
            CHECK(empty ? isnan(got) : got == (i == j ? 0 : 1), "entropic, %d, %d: %g", i, j, got);
        }
    for (int k = 0; k < 5; k++) {
        options = options_of(metrics[k]);
        out[0] = 7;
        kx_status_t status = kx_documents_pairwise_f64(NULL, vectors, &none, NULL, 3, 2, 16, &options, out);
        CHECK(status == KX_OK && out[0] == 7, "no documents");
        status = kx_documents_pairwise_f64(NULL, vectors, &none, &set, 3, 2, 16, &options, out);
        CHECK(status == KX_OK && out[0] == 7, "none and four");
        status = kx_documents_pairwise_f64(NULL, vectors, &set, &none, 3, 2, 16, &options, out);
        CHECK(status == KX_OK && out[0] == 7, "four and none");
    }
}

static void expect(const char *what, kx_status_t expected, const double *vectors, const int32_t *words,
                   const double *weights) {
    const int64_t offsets[] = {0, 2}, one[] = {0, 1};
    const int32_t first[] = {0};
    const double full[] = {1};
    const kx_documents_t bad = {1, offsets, words, weights}, good = {1, one, first, full};
    double out;
    for (int k = 0; k < 5; k++) {
        const kx_pairwise_options_t options = options_of(metrics[k]);
        kx_status_t status = kx_documents_pairwise_f64(NULL, vectors, &bad, &good, 3, 2, 16, &options, &out);
        CHECK(status == expected, "%s, metric %d: %s", what, k, kx_status_name(status));
        status = kx_documents_pairwise_f64(NULL, vectors, &good, &bad, 3, 2, 16, &options, &out);
        CHECK(status == expected, "%s, metric %d, as Y: %s", what, k, kx_status_name(status));
        status = kx_documents_pairwise_f64(NULL, vectors, &bad, NULL, 3, 2, 16, &options, &out);
        CHECK(status == expected, "%s, metric %d, alone: %s", what, k, kx_status_name(status));
    }
}

static void test_statuses(void) {
    const double vectors[] = {1, 0, 0, 1, NAN, 0}, infinite[] = {1, 0, -INFINITY, 1, 0, 0};
    const double ones[] = {1, 1}, negative[] = {1, -1}, enormous[] = {DBL_MAX, DBL_MAX}, nan_weight[] = {NAN, 1};
    const double infinite_weight[] = {INFINITY, 1};
    const int32_t sound[] = {0, 1}, third[] = {0, 2};
    const int32_t repeated[] = {1, 1}, descending[] = {1, 0}, beyond[] = {0, 3}, below[] = {-1, 0};
    expect("sound", KX_OK, vectors, sound, ones);
    expect("NaN in a word in use", KX_E_NONFINITE, vectors, third, ones);
    expect("infinity in a word in use", KX_E_NONFINITE, infinite, sound, ones);
    expect("a repeated word", KX_E_ARGUMENT, vectors, repeated, ones);
    expect("descending words", KX_E_ARGUMENT, vectors, descending, ones);
    expect("a word beyond the vocabulary", KX_E_ARGUMENT, vectors, beyond, ones);
    expect("a word below 0", KX_E_ARGUMENT, vectors, below, ones);
    expect("a negative weight", KX_E_NEGATIVE, vectors, sound, negative);
    expect("weights that overflow", KX_E_OVERFLOW, vectors, sound, enormous);
    expect("NaN for a weight", KX_E_OVERFLOW, vectors, sound, nan_weight);
    expect("infinity for a weight", KX_E_OVERFLOW, vectors, sound, infinite_weight);

    const int64_t offsets[] = {0, 2};
    const kx_documents_t set = {1, offsets, sound, ones};
    const kx_pairwise_options_t options = options_of(KX_WMD);
    double out;
    const struct {
        const char *what;
        const double *vectors;
        const kx_documents_t *X;
        int64_t vocabulary, dimension;
        const kx_pairwise_options_t *options;
        double *out;
        kx_status_t expected;
    } calls[] = {
        {"vectors", NULL, &set, 3, 2, &options, &out, KX_E_ARGUMENT},
        {"X", vectors, NULL, 3, 2, &options, &out, KX_E_ARGUMENT},
        {"vocabulary", vectors, &set, 0, 2, &options, &out, KX_E_ARGUMENT},
        {"dimension", vectors, &set, 3, 0, &options, &out, KX_E_ARGUMENT},
        {"options", vectors, &set, 3, 2, NULL, &out, KX_E_ARGUMENT},
        {"out", vectors, &set, 3, 2, &options, NULL, KX_E_ARGUMENT},
        {"size", vectors, &set, (int64_t)INT32_MAX + 1, 2, &options, &out, KX_E_OVERFLOW},
    };
    for (size_t k = 0; k < sizeof calls / sizeof *calls; k++) {
        kx_status_t status = kx_documents_pairwise_f64(NULL, calls[k].vectors, calls[k].X, &set, calls[k].vocabulary,
                                                       calls[k].dimension, 16, calls[k].options, calls[k].out);
        CHECK(status == calls[k].expected, "%s: %s", calls[k].what, kx_status_name(status));
    }
}

/* Vectors whose squares leave the range: the distance is right, or the call says that it is not. */
static void test_sizes(void) {
    const int64_t offsets[] = {0, 1, 3};
    const int32_t words[] = {0, 1, 2};
    const double weights[] = {1, 1, 1};
    const kx_documents_t set = {2, offsets, words, weights};
    static const float sizes[] = {1e-37f, 1e-30f, 1e-22f, 1e-15f, 1e15f, 1e22f, 1e30f, 1e37f};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const float s = sizes[k], vectors[] = {0, 0, 3 * s, 4 * s, -4 * s, 3 * s};
        float out[4];
        for (int metric = 0; metric < 4; metric += 2) { /* 0 and 2: WMD and its bound are 5 s */
            const kx_pairwise_options_t options = options_of(metrics[metric]);
            kx_status_t status = kx_documents_pairwise_f32(NULL, vectors, &set, NULL, 3, 2, 8, &options, out);
            CHECK(status == KX_E_OVERFLOW || (status == KX_OK && fabsf(out[1] / (5 * s) - 1) <= 1e-6f), "%g: %s, %g",
                  (double)s, kx_status_name(status), (double)out[1]);
            CHECK(status == KX_OK || s >= 1e37f, "%g is refused", (double)s);
        }
    }
}

static int calls;
static int cancel(void *state) {
    CHECK(*(int64_t *)state <= 1000000, "progress");
    return ++calls > 2;
}

static void test_cancel(void) {
    collection c = make(3000, 30, 60, 4000, 50);
    double *out = malloc(sizeof *out * 3000 * 3000);
    int64_t done = 0, total = 0;
    for (int turn = 1; turn <= 6; turn++) {
        const int workers = (turn + 1) / 2;
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.cancel = cancel;
        ctx.cancel_state = &done;
        ctx.workers = workers;
        kx_pairwise_options_t options = options_of(turn % 2 == 0 ? KX_ENTROPIC_WMD : workers == 2 ? KX_WRD : KX_WMD);
        options.done = &done, options.total = &total;
        calls = 0;
        kx_status_t status = run_f64(&ctx, &c, NULL, &options, out);
        CHECK(status == KX_E_CANCELLED && calls == 3, "%s after %d polls", kx_status_name(status), calls);
        CHECK(done < total, "%d of %d tiles", (int)done, (int)total);
        const kx_documents_t few = {5, c.offsets, c.words, c.weights};
        options.done = options.total = NULL;
        calls = -1000;
        collection part = c;
        part.set = few;
        CHECK(run_f64(&ctx, &part, NULL, &options, out) == KX_OK && out[1] > 0, "afterwards");
    }
    free(out);
    dispose(&c);
    /* A single pair that nothing ends. */
    c = make(2, 900, 1000, 9000, 3);
    for (int workers = 1; workers <= 3; workers += 2) {
        double pair[4];
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.cancel = cancel;
        ctx.cancel_state = &done;
        ctx.workers = workers;
        kx_pairwise_options_t options = options_of(KX_ENTROPIC_WMD);
        options.reg = 1e-3, options.tolerance = 0, options.max_iter = INT64_MAX / 4;
        calls = 0;
        const kx_status_t status = run_f64(&ctx, &c, NULL, &options, pair);
        CHECK(status == KX_E_CANCELLED && calls == 3, "one pair: %s after %d polls", kx_status_name(status), calls);
    }
    dispose(&c);
}

int main(void) {
    test_reference();
    static const int64_t dimensions[] = {1, 3, 16, 17};
    for (int k = 0; k < 4; k++) test_all_pairs(dimensions[k]);
    test_long_documents();
    static const double regs[] = {1, 0.1, 0.02};
    for (int k = 0; k < 3; k++) test_entropic(dimensions[k + 1], regs[k]);
    test_entropic_long_documents();
    test_entropic_statuses();
    test_allocation();
    test_empty();
    test_statuses();
    test_sizes();
    test_cancel();
    return check_report();
}
