/* Status texts, allocators that fail, and kx_parallel_for with its promises: chunks, failures, cancelling, flags, many
   workers, forks, engines. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include <fenv.h>

#include "check.h"
#include "isa/isa.h"
#include "kexue/kexue.h"
#include "runtime/atomic.h"
#include "runtime/memory.h"
#include "runtime/system.h"

#if !defined(_WIN32)
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

#if defined(__SANITIZE_THREAD__)
/* ThreadSanitizer ends a forked child that starts threads unless it is told not to. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void) { return "die_after_fork=0"; }
#endif

/* Reads and writes that the optimiser may not move across a change of the rounding mode. */
static volatile double one = 1, three = 3;

static void test_status(void) {
    static const kx_status_t all[] = {
#define STATUS_VALUE(name, value, text) name,
        KX_STATUS_TABLE(STATUS_VALUE)
#undef STATUS_VALUE
    };
    const int count = (int)(sizeof all / sizeof *all);
    for (int i = 0; i < count; i++) {
        const char *name = kx_status_name(all[i]), *text = kx_status_text(all[i]);
        const char *prefix = all[i] == 0 ? "KX_OK" : all[i] < 0 ? "KX_E_" : "KX_W_";
        CHECK(strncmp(name, prefix, strlen(prefix)) == 0, "%d is called %s", (int)all[i], name);
        CHECK(strlen(text) >= 7, "%s has the text \"%s\"", name, text);
        for (int j = 0; j < i; j++)
            CHECK(strcmp(name, kx_status_name(all[j])) != 0 && strcmp(text, kx_status_text(all[j])) != 0,
                  "%s repeats %s", name, kx_status_name(all[j]));
    }
    CHECK(strcmp(kx_status_name((kx_status_t)12345), "KX_E_UNKNOWN") == 0, "a name for 12345");
    CHECK(kx_status_text((kx_status_t)-12345) != NULL, "no text for -12345");
    CHECK(strcmp(kx_version(), KX_VERSION_STRING) == 0, "version %s", kx_version());
    const char *wanted = getenv("KEXUE_ISA"), *isa = kx_isa_name();
    CHECK(strcmp(isa, "baseline") == 0 || strcmp(isa, "v3") == 0 || strcmp(isa, "v4") == 0, "isa %s", isa);
    if (wanted && strcmp(wanted, "baseline") == 0)
        CHECK(strcmp(isa, "baseline") == 0, "KEXUE_ISA=baseline gave %s", isa);
    CHECK(kx_cpu_count() >= 1, "%d processors", kx_cpu_count());
}

/* ---- calls of the kernels that allocate or use threads ---- */

/* Problem k of a batch reads its weights and costs from the k-th number of `noise` on. */
enum { NOISE = 70000, WINDOWS = 1000, DIMENSION = 6, SEARCH_DIMENSION = 120, NEIGHBOURS = 3 };
static double noise[NOISE], ascending[NOISE];
static float single_noise[NOISE];
static int64_t window[2 * WINDOWS], single_window[2 * WINDOWS], counting[NOISE];

static void make_numbers(void) {
    check_random_state = 7;
    double sum = 0;
    for (int64_t i = 0; i < NOISE; i++) {
        noise[i] = check_uniform(0.01, 1);
        single_noise[i] = (float)noise[i];
        ascending[i] = sum += noise[i];
        counting[i] = i;
    }
    for (int64_t k = 0; k < 2 * WINDOWS; k++) {
        window[k] = k % WINDOWS * (int64_t)sizeof *noise;
        single_window[k] = k % WINDOWS * (int64_t)sizeof *single_noise;
    }
}

/* m and n: rows and columns, or the words of every other document. */
typedef struct problem {
    const char *what;
    kx_status_t (*solve)(const kx_ctx_t *ctx, const struct problem *p, char *out, int64_t *failed);
    int64_t m, n, count;
    int single, two_sets;
    kx_document_metric_t metric;
} problem;

/* Cuts `out`, when there is one, and returns its size. */
static size_t cut_outputs(const problem *p, char *out, kx_emd_outputs_t *outputs) {
    const int64_t count = p->count, slots = count * (p->m + p->n - 1);
    kx_layout_t layout = {0, 0};
    const size_t costs = kx_layout_add(&layout, count, sizeof(double));
    const size_t u = kx_layout_add(&layout, count * p->m, sizeof(double));
    const size_t v = kx_layout_add(&layout, count * p->n, sizeof(double));
    const size_t masses = kx_layout_add(&layout, slots, sizeof(double));
    const size_t rows = kx_layout_add(&layout, slots, sizeof(int64_t));
    const size_t columns = kx_layout_add(&layout, slots, sizeof(int64_t));
    const size_t entry_counts = kx_layout_add(&layout, count, sizeof(int64_t));
    if (!out) return layout.bytes;
    memset(outputs, 0, sizeof *outputs);
    outputs->costs = (double *)(out + costs);
    outputs->u = (double *)(out + u);
    outputs->v = (double *)(out + v);
    outputs->masses = (double *)(out + masses);
    outputs->rows = (int64_t *)(out + rows);
    outputs->columns = (int64_t *)(out + columns);
    outputs->entry_counts = (int64_t *)(out + entry_counts);
    return layout.bytes;
}

static kx_emd_options_t any_totals(void) {
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    options.totals_tolerance = 1;
    return options;
}

static kx_status_t solve_transport(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    const int64_t m = p->m, n = p->n;
    const kx_emd_options_t options = any_totals();
    kx_emd_outputs_t outputs;
    cut_outputs(p, out, &outputs);
    if (p->single)
        return kx_transport_emd_f32(ctx, noise, noise + 500, single_noise, p->count, window, window, single_window, m,
                                    n, n * (ptrdiff_t)sizeof(float), &options, &outputs, failed);
    return kx_transport_emd_f64(ctx, noise, noise + 500, noise, p->count, window, window, window, m, n,
                                n * (ptrdiff_t)sizeof(double), &options, &outputs, failed);
}

static kx_status_t solve_assignments(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    const kx_emd_options_t options = any_totals();
    kx_emd_outputs_t outputs;
    cut_outputs(p, out, &outputs);
    return kx_transport_emd_f64(ctx, NULL, NULL, noise, p->count, NULL, NULL, window, p->m, p->n,
                                p->n * (ptrdiff_t)sizeof(double), &options, &outputs, failed);
}

/* Potentials are not written: `out` keeps there what it held. */
static kx_status_t solve_lines(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    const int64_t m = p->m, n = p->n;
    const kx_emd_options_t options = any_totals();
    kx_emd_outputs_t outputs;
    cut_outputs(p, out, &outputs);
    double *x = malloc(sizeof *x * (size_t)(p->count * m)), *y = malloc(sizeof *y * (size_t)(p->count * n));
    int64_t *x_order = malloc(sizeof *x_order * (size_t)(p->count * m));
    int64_t *y_order = malloc(sizeof *y_order * (size_t)(p->count * n));
    for (int64_t k = 0; k < p->count; k++) {
        memcpy(x + k * m, ascending + k % WINDOWS, sizeof *x * (size_t)m);
        memcpy(y + k * n, ascending + k % WINDOWS + 17, sizeof *y * (size_t)n);
        memcpy(x_order + k * m, counting, sizeof *x_order * (size_t)m);
        memcpy(y_order + k * n, counting, sizeof *y_order * (size_t)n);
    }
    kx_status_t status = kx_transport_emd_1d(ctx, x, y, noise, noise + 500, p->count, x_order, y_order, window, window,
                                             m, n, 2, &options, &outputs, failed);
    free(x), free(y), free(x_order), free(y_order);
    return status;
}

/* Documents follow each other through the vocabulary and share a word with their neighbours. */
typedef struct collection {
    int64_t *offsets, vocabulary;
    int32_t *words;
} collection;
static collection make_documents(const problem *p) {
    const int64_t longer = p->m > p->n ? p->m : p->n;
    collection c = {malloc(sizeof *c.offsets * (size_t)(p->count + 1)), p->count * (longer - 1) + 1,
                    malloc(sizeof *c.words * (size_t)(p->count * longer))};
    c.offsets[0] = 0;
    for (int64_t i = 0; i < p->count; i++) {
        c.offsets[i + 1] = c.offsets[i] + (i % 2 ? p->n : p->m);
        for (int64_t k = c.offsets[i]; k < c.offsets[i + 1]; k++)
            c.words[k] = (int32_t)(i * (longer - 1) + k - c.offsets[i]);
    }
    return c;
}

static kx_status_t solve_documents(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    const collection c = make_documents(p);
    const kx_documents_t X = {p->count, c.offsets, c.words, noise};
    const kx_documents_t fewer = {p->count - 1, c.offsets, c.words, noise + 1};
    const kx_documents_t *Y = p->two_sets ? &fewer : NULL;
    *failed = -1;
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    options.metric = p->metric;
    kx_status_t status;
    if (p->single)
        status = kx_documents_pairwise_f32(ctx, single_noise, &X, Y, c.vocabulary, DIMENSION,
                                           DIMENSION * (ptrdiff_t)sizeof(float), &options, (float *)out);
    else
        status = kx_documents_pairwise_f64(ctx, noise, &X, Y, c.vocabulary, DIMENSION,
                                           DIMENSION * (ptrdiff_t)sizeof(double), &options, (double *)out);
    free(c.offsets), free(c.words);
    return status;
}

/* Searches an index for the first of its own documents with other weights. */
static kx_status_t solve_search(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    const collection c = make_documents(p);
    const size_t entries = (size_t)c.offsets[p->count], count = (size_t)p->count, vocabulary = (size_t)c.vocabulary;
    const ptrdiff_t single_stride = SEARCH_DIMENSION * (ptrdiff_t)sizeof(float);
    const ptrdiff_t stride = SEARCH_DIMENSION * (ptrdiff_t)sizeof(double);
    int64_t *offsets[2];
    int32_t *words[2], *used_words = malloc(sizeof *used_words * vocabulary);
    double *weights[2], *factors = calloc(vocabulary, sizeof *factors);
    for (size_t w = 0; w < vocabulary; w++) used_words[w] = (int32_t)w;
    kx_status_t status = KX_OK;
    *failed = -1;
    for (int side = 0; side < 2; side++) {
        const kx_documents_t documents = {p->count, c.offsets, c.words, noise + side};
        offsets[side] = malloc(sizeof **offsets * (count + 1));
        words[side] = malloc(sizeof **words * entries);
        weights[side] = malloc(sizeof **weights * entries);
        if (status != KX_OK) continue;
        if (p->single)
            status = kx_documents_normalize_f32(ctx, single_noise, &documents, c.vocabulary, SEARCH_DIMENSION,
                                                single_stride, p->metric, offsets[side], words[side], weights[side],
                                                factors);
        else
            status = kx_documents_normalize_f64(ctx, noise, &documents, c.vocabulary, SEARCH_DIMENSION, stride,
                                                p->metric, offsets[side], words[side], weights[side], factors);
    }
    if (status == KX_OK) {
        const kx_index_t index = {c.vocabulary, used_words, factors, p->count, offsets[0], words[0], weights[0], NULL};
        const kx_documents_t queries = {p->count / 3 + 1, offsets[1], words[1], weights[1]};
        kx_search_options_t options;
        kx_search_options_init(&options);
        options.metric = p->metric;
        options.k = NEIGHBOURS;
        kx_search_results_t results;
        if (p->single)
            status = kx_documents_search_f32(ctx, &index, single_noise, c.vocabulary, SEARCH_DIMENSION, single_stride,
                                             &queries, NULL, 0, 0, &options, &results);
        else
            status = kx_documents_search_f64(ctx, &index, noise, c.vocabulary, SEARCH_DIMENSION, stride, &queries, NULL,
                                             0, 0, &options, &results);
        if (status == KX_OK) {
            const size_t found = (size_t)results.offsets[queries.count];
            memcpy(out, results.distances, found * sizeof *results.distances);
            memcpy(out + count * NEIGHBOURS * sizeof(double), results.indices, found * sizeof *results.indices);
            kx_search_results_release(ctx, &results); /* a search that fails has done that itself */
        }
    }
    free(c.offsets), free(c.words), free(used_words), free(factors);
    for (int side = 0; side < 2; side++) free(offsets[side]), free(words[side]), free(weights[side]);
    return status;
}

static size_t output_bytes(const problem *p) {
    if (p->solve == solve_documents) return (size_t)(p->count * p->count) * sizeof(double);
    if (p->solve == solve_search) return (size_t)p->count * NEIGHBOURS * (sizeof(double) + sizeof(int64_t));
    return cut_outputs(p, NULL, NULL);
}
static kx_status_t solve_into(const kx_ctx_t *ctx, const problem *p, char *out, int64_t *failed) {
    memset(out, 0x5a, output_bytes(p));
    return p->solve(ctx, p, out, failed);
}

/* ---- allocation ---- */

enum { GUARD_BYTES = 131072, NEVER = -1 };
static unsigned char guard[GUARD_BYTES];

/* Lets one allocation fail, fills blocks with what would show in a result, and looks at what lies behind them. From
   meet_from on, nobody gets a block until all of the `meeting` blocks have been asked for: workers make theirs at their
   first chunk, so all of them take part, however fast one is. */
typedef struct watching_allocator {
    kx_mutex_t mutex; /* guards all */
    kx_condition_t met;
    int64_t asked, given, released, overrun, fail_at, meet_from, meeting;
    int fill;
} watching_allocator;

static void *watching_allocate(void *state, size_t bytes) {
    watching_allocator *w = state;
    const int64_t until = kx_clock_ns() + (int64_t)20000000000;
    kx_mutex_lock(&w->mutex);
    const int64_t number = w->asked++;
    kx_condition_broadcast(&w->met);
    while (number >= w->meet_from && w->asked < w->meet_from + w->meeting && kx_clock_ns() < until)
        kx_condition_wait_ms(&w->met, &w->mutex, 100);
    if (kx_clock_ns() >= until) w->meeting = 0; /* never again: CHECK will tell */
    const int fails = number == w->fail_at, fill = w->fill;
    w->given += !fails;
    kx_mutex_unlock(&w->mutex);
    if (fails) return NULL;
    unsigned char *block = kx_allocate(NULL, 64 + bytes + GUARD_BYTES);
    memcpy(block, &bytes, sizeof bytes);
    memset(block + 64, fill, bytes);
    memcpy(block + 64 + bytes, guard, GUARD_BYTES);
    return block + 64;
}
static void watching_release(void *state, void *pointer) {
    watching_allocator *w = state;
    unsigned char *block = (unsigned char *)pointer - 64;
    size_t bytes;
    memcpy(&bytes, block, sizeof bytes);
    const int overrun = memcmp(block + 64 + bytes, guard, GUARD_BYTES) != 0;
    kx_release(NULL, block);
    kx_mutex_lock(&w->mutex);
    w->overrun += overrun;
    w->released++;
    kx_mutex_unlock(&w->mutex);
}

static void solve_watched(watching_allocator *w, const problem *p, int workers, int64_t fail_at, char *out) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = watching_allocate;
    ctx.allocator.release = watching_release;
    ctx.allocator.state = w;
    ctx.workers = workers;
    w->asked = w->given = w->released = w->overrun = 0;
    w->fail_at = fail_at;
    w->fill ^= 0xff; /* all ones are NaN and -1 */
    int64_t failed;
    const kx_status_t status = solve_into(&ctx, p, out, &failed);
    const kx_status_t expected = fail_at != NEVER && w->asked > fail_at ? KX_E_MEMORY : KX_OK;
    CHECK(status == expected, "%s, %d workers, failure %lld: %s", p->what, workers, (long long)fail_at,
          kx_status_name(status));
    CHECK(failed == -1, "%s, %d workers, failure %lld: it blames problem %lld", p->what, workers, (long long)fail_at,
          (long long)failed);
    CHECK(w->given == w->released, "%s, %d workers, failure %lld: %lld blocks given, %lld released", p->what, workers,
          (long long)fail_at, (long long)w->given, (long long)w->released);
    CHECK(w->overrun == 0, "%s, %d workers, failure %lld: %lld blocks overrun", p->what, workers, (long long)fail_at,
          (long long)w->overrun);
}

/* Makes the allocations of a call fail in turn, from the first-th on, until it asks for no more: the call says so and
   releases everything, and the next one gives what a serial one did. */
static void fail_allocations(const problem *p, int workers, int64_t first, int64_t step) {
    const size_t bytes = output_bytes(p);
    char *expected = malloc(bytes), *out = malloc(bytes);
    watching_allocator w = {KX_MUTEX_INIT, KX_CONDITION_INIT, 0, 0, 0, 0, NEVER, INT64_MAX, 0, 0};
    solve_watched(&w, p, 1, NEVER, expected);
    const int64_t serial = w.asked;
    CHECK(serial > 1 || p->solve == solve_lines, "%s allocates too little to watch", p->what);
    /* A serial call's last block is its worker's; but a search asks for more as it goes. */
    const int meets = serial > 0 && p->solve != solve_search;
    if (meets) w.meet_from = serial - 1, w.meeting = workers;
    for (int64_t k = first;; k += step) {
        solve_watched(&w, p, workers, k, out);
        if (w.asked <= k) break;
        solve_watched(&w, p, workers, NEVER, out);
        CHECK(memcmp(out, expected, bytes) == 0, "%s, %d workers: other results after a failure", p->what, workers);
    }
    CHECK(memcmp(out, expected, bytes) == 0, "%s, %d workers: other results", p->what, workers);
    if (meets)
        CHECK(w.asked == serial - 1 + workers, "%s, %d workers: %lld allocations, not %lld", p->what, workers,
              (long long)w.asked, (long long)(serial - 1 + workers));
    free(expected), free(out);
}

static void test_allocation(void) {
    /* At least three chunks, or tiles, each. */
    static const problem problems[] = {
        {"emd 9x12", solve_transport, 9, 12, 500, 0, 0, KX_WMD},
        {"emd 20x20, f32", solve_transport, 20, 20, 150, 1, 0, KX_WMD},
        {"assignment 32x32", solve_assignments, 32, 32, 60, 0, 0, KX_WMD},
        {"emd 90x80", solve_transport, 90, 80, 12, 0, 0, KX_WMD},
        {"emd 250x150", solve_transport, 250, 150, 3, 0, 0, KX_WMD},
        {"emd 150x200, f32", solve_transport, 150, 200, 3, 1, 0, KX_WMD},
        {"line", solve_lines, 40, 50, 300, 0, 0, KX_WMD},
        {"WMD", solve_documents, 20, 20, 21, 0, 0, KX_WMD},
        {"WMD, X and Y", solve_documents, 20, 19, 21, 0, 1, KX_WMD},
        {"WMD, X and Y, f32", solve_documents, 20, 17, 24, 1, 1, KX_WMD},
        {"WRD", solve_documents, 20, 20, 21, 0, 0, KX_WRD},
        {"WRD, f32", solve_documents, 20, 20, 21, 1, 0, KX_WRD},
        {"WRD, X and Y", solve_documents, 20, 19, 21, 0, 1, KX_WRD},
        {"relaxed WMD", solve_documents, 20, 20, 21, 0, 0, KX_RELAXED_WMD},
        {"relaxed WRD, X and Y, f32", solve_documents, 20, 20, 21, 1, 1, KX_RELAXED_WRD},
        {"search, WMD", solve_search, 14, 13, 10, 0, 0, KX_WMD},
        {"search, WRD, f32", solve_search, 14, 13, 10, 1, 0, KX_WRD},
        /* A worker's memory is for the longest documents, whose solver may need less of it than the one of others. */
        {"WMD, 129 and 128 words", solve_documents, 129, 128, 4, 0, 0, KX_WMD},
        {"WRD, 136 and 121 words, X and Y", solve_documents, 136, 121, 4, 0, 1, KX_WRD},
        {"search, WMD, 129 and 128 words", solve_search, 129, 128, 4, 0, 0, KX_WMD},
    };
    memset(guard, 0xa5, sizeof guard);
    for (size_t k = 0; k < sizeof problems / sizeof *problems; k++)
        for (int workers = 1; workers <= 3; workers += 2) fail_allocations(&problems[k], workers, 0, 1);
}

static void test_blocks_and_layouts(void) {
    for (size_t bytes = 0; bytes < 300; bytes += 37) {
        void *block = kx_allocate(NULL, bytes);
        CHECK(block && (uintptr_t)block % 64 == 0, "a block of %zu bytes at %p", bytes, block);
        if (block) memset(block, 1, bytes);
        kx_release(NULL, block);
    }
    kx_release(NULL, NULL);
    kx_layout_t layout = {0, 0};
    CHECK(kx_layout_add(&layout, 3, 8) == 0 && kx_layout_add(&layout, 1, 1) == 64, "offsets");
    CHECK(layout.bytes == 128 && !layout.overflow, "a layout of %zu bytes", layout.bytes);
    kx_layout_add(&layout, INT64_MAX / 4, 16);
    CHECK(layout.overflow, "a size wrapped around");
    kx_layout_t negative = {0, 0};
    kx_layout_add(&negative, -1, 8);
    CHECK(negative.overflow, "a negative count passed");
    kx_layout_t sum = {0, 0};
    for (int i = 0; i < 4; i++) kx_layout_add(&sum, INT64_MAX / 3, 1);
    CHECK(sum.overflow, "a sum wrapped around");
}

/* ---- kx_parallel_for ---- */

typedef struct visits {
    kx_atomic_int *items;
    int64_t n, grain;
    int workers;
    kx_atomic_int wrong, busy[256];
} visits;

static kx_status_t visit(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    visits *v = arg;
    int worker = kx_task_worker(task);
    if (begin % v->grain != 0 || end - begin > v->grain || (end - begin < v->grain && end != v->n) || begin >= end)
        kx_atomic_or(&v->wrong, 1);
    if (worker < 0 || worker >= (v->workers > 1 ? v->workers : 1)) kx_atomic_or(&v->wrong, 2);
    else if (kx_atomic_or(&v->busy[worker], 1)) kx_atomic_or(&v->wrong, 4);
    for (int64_t i = begin; i < end; i++)
        if (kx_atomic_or(&v->items[i], 1)) kx_atomic_or(&v->wrong, 8);
    if (worker >= 0 && worker < 256) kx_atomic_store(&v->busy[worker], 0);
    return KX_OK;
}

static void serial_launch(void *state, int workers, kx_run_fn run, void *job) {
    ++*(int *)state;
    for (int worker = 0; worker < workers; worker++) run(job, worker);
}
static void lazy_launch(void *state, int workers, kx_run_fn run, void *job) {
    (void)workers;
    ++*(int *)state;
    run(job, 0);
}

static void no_launch(void *state, int workers, kx_run_fn run, void *job) {
    (void)workers, (void)run, (void)job;
    ++*(int *)state;
}

typedef struct thread_launch_part {
    kx_run_fn run;
    void *job;
    int worker;
    kx_atomic_int *left;
} thread_launch_part;
static void thread_launch_main(void *pointer) {
    thread_launch_part *part = pointer;
    part->run(part->job, part->worker);
    kx_atomic_int *left = part->left;
    kx_atomic_store(left, 0);
}
static void thread_launch(void *state, int workers, kx_run_fn run, void *job) {
    ++*(int *)state;
    static thread_launch_part parts[64];
    static kx_atomic_int left[64];
    for (int i = 1; i < workers; i++) {
        kx_atomic_store(&left[i], 1);
        parts[i] = (thread_launch_part){run, job, i, &left[i]};
        if (kx_thread_start(thread_launch_main, &parts[i]) != 0) kx_atomic_store(&left[i], 0);
    }
    run(job, 0);
    for (int i = 1; i < workers; i++)
        while (kx_atomic_load(&left[i])) continue;
}

static void check_visits(int64_t n, int64_t grain, int workers, kx_launch_fn launch, const char *what) {
    static kx_atomic_int items[5000];
    static visits v;
    int launches = 0;
    for (int64_t i = 0; i < n; i++) kx_atomic_store(&items[i], 0);
    v.items = items, v.n = n, v.grain = grain, v.workers = workers;
    kx_atomic_store(&v.wrong, 0);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    ctx.launch = launch;
    ctx.launch_state = &launches;
    kx_status_t status = kx_parallel_for(&ctx, n, grain, visit, &v);
    int64_t missing = 0;
    for (int64_t i = 0; i < n; i++) missing += !kx_atomic_load(&items[i]);
    CHECK(status == KX_OK && missing == 0 && !kx_atomic_load(&v.wrong),
          "%s: n %lld, grain %lld, workers %d: %s, %lld missing, %x", what, (long long)n, (long long)grain, workers,
          kx_status_name(status), (long long)missing, (unsigned)kx_atomic_load(&v.wrong));
    if (launch) CHECK(launches == (workers > 1 && n > grain), "%s: %d launches", what, launches);
}

static void test_every_item_once(void) {
    const int64_t sizes[] = {0, 1, 2, 3, 7, 64, 100, 101, 1000, 4999};
    const int64_t grains[] = {1, 2, 3, 10, 64, 1000, 5000, INT64_MAX};
    const int workers[] = {0, 1, 2, 3, 8, 64};
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 8; j++)
            for (int k = 0; k < 6; k++) {
                check_visits(sizes[i], grains[j], workers[k], NULL, "pool");
                check_visits(sizes[i], grains[j], workers[k], serial_launch, "serial engine");
                check_visits(sizes[i], grains[j], workers[k], lazy_launch, "engine of one thread");
                check_visits(sizes[i], grains[j], workers[k], no_launch, "engine of no thread");
                if (sizes[i] <= 100 && workers[k] <= 8)
                    check_visits(sizes[i], grains[j], workers[k], thread_launch, "engine");
            }
    static visits v;
    static kx_atomic_int item;
    v.items = &item, v.n = 1, v.grain = 1;
    CHECK(kx_parallel_for(NULL, 1, 1, visit, &v) == KX_OK, "a NULL context");
    CHECK(kx_parallel_for(NULL, -1, 1, visit, &v) == KX_E_ARGUMENT, "n = -1");
    CHECK(kx_parallel_for(NULL, 5, 0, visit, &v) == KX_E_ARGUMENT, "grain 0");
}

static kx_status_t ends_of_range(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)task;
    int64_t *total = arg;
    *total += end - begin;
    return end <= begin ? KX_E_INTERNAL : KX_OK;
}
static void test_huge_range(void) {
    int64_t total = 0;
    CHECK(kx_parallel_for(NULL, INT64_MAX, INT64_MAX - 1, ends_of_range, &total) == KX_OK && total == INT64_MAX,
          "INT64_MAX items: %lld", (long long)total);
}

/* Chunk 11 is slow to fail, and the higher ones that fail are quick: they must not win. */
static kx_status_t fail_backwards(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)end;
    const int polite = *(const int *)arg;
    int64_t until = kx_clock_ns() + (begin == 11 ? 500000 : begin < 20 ? 50000 : 0);
    while (kx_clock_ns() < until)
        if (polite && kx_task_should_stop(task)) return KX_E_CANCELLED;
    if (begin == 11) return KX_E_NEGATIVE;
    if (begin == 12) return KX_E_TOTALS;
    if (begin >= 20 && begin % 3 == 0) return KX_E_NONFINITE;
    return begin % 2 ? KX_W_MAXITER : KX_OK;
}
static kx_status_t warn(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)task, (void)arg, (void)end;
    return begin == 5 ? KX_W_MAXITER : KX_OK;
}
static void test_failures(void) {
    for (int round = 0; round < 30; round++)
        for (int workers = 1; workers <= 9; workers += 2) {
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            int polite = round % 2;
            kx_status_t status = kx_parallel_for(&ctx, 100, 1, fail_backwards, &polite);
            CHECK(status == KX_E_NEGATIVE, "workers %d, polite %d: %s", workers, polite, kx_status_name(status));
            status = kx_parallel_for(&ctx, 40, 1, warn, NULL);
            CHECK(status == KX_W_MAXITER, "workers %d: %s", workers, kx_status_name(status));
        }
}

typedef struct nesting {
    const kx_ctx_t *ctx;
    kx_atomic_int64 inner;
    kx_atomic_int wrong;
} nesting;
static kx_status_t inner_body(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    nesting *state = arg;
    if (kx_task_worker(task) != 0) kx_atomic_or(&state->wrong, 1);
    kx_atomic_add64(&state->inner, end - begin);
    return KX_OK;
}
static kx_status_t outer_body(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    nesting *state = arg;
    (void)task;
    for (int64_t i = begin; i < end; i++) {
        kx_status_t status = kx_parallel_for(state->ctx, 10, 3, inner_body, arg);
        if (status != KX_OK) return status;
    }
    return KX_OK;
}
static void test_nested_calls(void) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 4;
    nesting state;
    state.ctx = &ctx;
    kx_atomic_store64(&state.inner, 0);
    kx_atomic_store(&state.wrong, 0);
    CHECK(kx_parallel_for(&ctx, 500, 7, outer_body, &state) == KX_OK, "nested calls");
    CHECK(kx_atomic_load64(&state.inner) == 5000 && !kx_atomic_load(&state.wrong), "nested calls: %lld items",
          (long long)kx_atomic_load64(&state.inner));
}

#if defined(_MSC_VER) && !defined(__clang__)
static __declspec(thread) int is_caller;
#else
static _Thread_local int is_caller;
#endif

typedef struct cancelling {
    int64_t when;
    int polls, foreign;
} cancelling;
static int cancel_later(void *state) {
    cancelling *c = state;
    c->polls++;
    if (!is_caller) c->foreign = 1;
    return kx_clock_ns() >= c->when;
}
static kx_status_t long_body(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)arg, (void)begin, (void)end;
    int64_t until = kx_clock_ns() + (int64_t)5000000000;
    while (kx_clock_ns() < until)
        if (kx_task_should_stop(task)) return KX_E_CANCELLED;
    return KX_OK;
}
static kx_status_t nested_long_body(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)task, (void)begin, (void)end;
    return kx_parallel_for(arg, 3, 1, long_body, NULL);
}
static void test_cancel(void) {
    is_caller = 1;
    for (int workers = 1; workers <= 8; workers = workers * 2 + (workers == 1))
        for (int nested = 0; nested < 2; nested++) {
            cancelling state = {kx_clock_ns() + 100000000, 0, 0};
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            ctx.workers = workers;
            ctx.cancel = cancel_later;
            ctx.cancel_state = &state;
            kx_status_t status = kx_parallel_for(&ctx, 20, 1, nested ? nested_long_body : long_body, &ctx);
            double late = (double)(kx_clock_ns() - state.when) * 1e-9;
            CHECK(status == KX_E_CANCELLED, "workers %d: %s", workers, kx_status_name(status));
            CHECK(late < 2, "workers %d: cancelled %.3f s late", workers, late);
            CHECK(state.polls >= 1 && state.polls < 20, "workers %d: %d polls", workers, state.polls);
            CHECK(!state.foreign, "workers %d: polled on another thread", workers);
        }
}
/* One long chunk on another worker while the caller has nothing left to do: it must still poll. */
static kx_status_t long_elsewhere(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    kx_atomic_int *taken = arg;
    if (kx_task_worker(task) == 0) {
        int64_t until = kx_clock_ns() + (int64_t)2000000000;
        while (!kx_atomic_load(taken) && kx_clock_ns() < until) continue;
        return KX_OK;
    }
    kx_atomic_store(taken, 1);
    return long_body(task, NULL, begin, end);
}
static void test_cancel_while_waiting(void) {
    kx_atomic_int taken = KX_ATOMIC_INIT(0);
    cancelling state = {kx_clock_ns() + 100000000, 0, 0};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 2;
    ctx.cancel = cancel_later;
    ctx.cancel_state = &state;
    kx_status_t status = kx_parallel_for(&ctx, 2, 1, long_elsewhere, &taken);
    double late = (double)(kx_clock_ns() - state.when) * 1e-9;
    CHECK(status == KX_E_CANCELLED && late < 2 && !state.foreign, "%s, %.3f s late", kx_status_name(status), late);
}

/* Every worker has to take part before any goes on, so that what follows is about threads and not about one fast
   caller. */
typedef struct gathering {
    kx_atomic_int64 arrived, thirds_up, elsewhere;
    int workers, raise;
} gathering;
static int meet(gathering *g) {
    kx_atomic_add64(&g->arrived, 1);
    int64_t until = kx_clock_ns() + (int64_t)10000000000;
    while (kx_atomic_load64(&g->arrived) < g->workers)
        if (kx_clock_ns() > until) return 0;
    return 1;
}
static kx_status_t raise_flags(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    gathering *g = arg;
    (void)begin, (void)end;
    if (!meet(g)) return KX_E_INTERNAL;
    if (kx_task_worker(task) != 0) {
        kx_atomic_add64(&g->elsewhere, 1);
        if (fetestexcept(FE_ALL_EXCEPT)) return KX_E_INTERNAL; /* the caller's flags are not the worker's */
        if (g->raise) feraiseexcept(g->raise);
    }
    return KX_OK;
}
static void test_flags(void) {
    const int each[] = {0, FE_INVALID, FE_DIVBYZERO, FE_OVERFLOW, FE_INVALID | FE_DIVBYZERO};
    for (int k = 0; k < 5; k++) {
        gathering g;
        kx_atomic_store64(&g.arrived, 0);
        kx_atomic_store64(&g.elsewhere, 0);
        g.workers = 3, g.raise = each[k];
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 3;
        feclearexcept(FE_ALL_EXCEPT);
        feraiseexcept(FE_UNDERFLOW);
        kx_status_t status = kx_parallel_for(&ctx, 3, 1, raise_flags, &g);
        int flags = fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW);
        /* raising overflow may raise underflow's neighbour inexact, never another of these */
        CHECK(status == KX_OK && kx_atomic_load64(&g.elsewhere) == 2 && flags == (each[k] | FE_UNDERFLOW),
              "%s, flags %x, not %x", kx_status_name(status), (unsigned)flags, (unsigned)each[k]);
    }
    feclearexcept(FE_ALL_EXCEPT);
}

static kx_status_t round_third(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    gathering *g = arg;
    (void)task, (void)begin, (void)end;
    if (!meet(g)) return KX_E_INTERNAL;
    volatile double third = one / three;
    if (third > 0x1.5555555555555p-2) kx_atomic_add64(&g->thirds_up, 1);
    return KX_OK;
}
static int64_t rounded_up(void) {
    gathering g;
    kx_atomic_store64(&g.arrived, 0);
    kx_atomic_store64(&g.thirds_up, 0);
    g.workers = 3;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 3;
    kx_status_t status = kx_parallel_for(&ctx, 3, 1, round_third, &g);
    CHECK(status == KX_OK, "%s", kx_status_name(status));
    return kx_atomic_load64(&g.thirds_up);
}
static void test_rounding_mode(void) {
    fesetround(FE_UPWARD);
    int64_t up = rounded_up();
    int kept = fegetround() == FE_UPWARD;
    fesetround(FE_TONEAREST);
    CHECK(up == 3 && kept, "%lld of 3 chunks rounded up", (long long)up);
    CHECK(rounded_up() == 0, "a worker kept the rounding mode of an earlier call");
    feclearexcept(FE_ALL_EXCEPT);
}

static kx_status_t add_up(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)task;
    kx_atomic_add64(arg, (end - begin) * (begin + end - 1) / 2);
    return KX_OK;
}
static int sums_right(int workers) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    kx_atomic_int64 total;
    kx_atomic_store64(&total, 0);
    return kx_parallel_for(&ctx, 1000, 7, add_up, &total) == KX_OK && kx_atomic_load64(&total) == 499500;
}

static void hammer(void *failures) {
    int bad = 0;
    for (int i = 0; i < 200; i++) bad += !sums_right(1 + i % 5);
    kx_atomic_int64 *counters = failures;
    kx_atomic_add64(&counters[1], bad);
    kx_atomic_add64(&counters[0], 1);
}
static void test_concurrent_callers(void) {
    static kx_atomic_int64 counters[2]; /* finished, failures */
    int64_t started = 0;
    for (int i = 0; i < 8; i++) started += kx_thread_start(hammer, counters) == 0;
    CHECK(started == 8, "%lld threads", (long long)started);
    int64_t until = kx_clock_ns() + (int64_t)120000000000;
    while (kx_atomic_load64(&counters[0]) < started && kx_clock_ns() < until) sums_right(2);
    CHECK(kx_atomic_load64(&counters[0]) == started, "a caller hangs");
    CHECK(kx_atomic_load64(&counters[1]) == 0, "%lld wrong sums", (long long)kx_atomic_load64(&counters[1]));
}

/* ---- 64 workers ---- */

enum { MANY = 64, PROBLEMS = 6 };
/* At least 64 chunks, or tiles, each. */
static const problem many_chunks[PROBLEMS] = {
    {"assignments", solve_assignments, 32, 32, 1100, 0, 0, KX_WMD},
    {"small emd", solve_transport, 60, 50, 390, 0, 0, KX_WMD},
    {"large emd, f32", solve_transport, 140, 120, 66, 1, 0, KX_WMD},
    {"lines", solve_lines, 500, 400, 700, 0, 0, KX_WMD},
    {"WMD", solve_documents, 40, 40, 48, 0, 0, KX_WMD},
    {"relaxed WRD, X and Y, f32", solve_documents, 40, 38, 48, 1, 1, KX_RELAXED_WRD},
};

typedef struct calling {
    char *expected[PROBLEMS];
    int rounds;
    kx_atomic_int64 finished, wrong;
} calling;
static void call_in_turn(void *pointer) {
    calling *c = pointer;
    for (int k = 0; k < c->rounds * PROBLEMS; k++) {
        const problem *p = &many_chunks[k % PROBLEMS];
        const size_t bytes = output_bytes(p);
        char *out = malloc(bytes);
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = MANY;
        int64_t failed;
        if (solve_into(&ctx, p, out, &failed) != KX_OK || memcmp(out, c->expected[k % PROBLEMS], bytes) != 0)
            kx_atomic_add64(&c->wrong, 1);
        free(out);
    }
    kx_atomic_add64(&c->finished, 1);
}
static void test_many_workers(int is_long) {
    CHECK(sums_right(MANY), "%d workers", MANY);
    for (int k = 0; k < PROBLEMS; k++)
        fail_allocations(&many_chunks[k], MANY, is_long ? 0 : MANY / 2, is_long ? 7 : MANY);

    static calling c; /* outlives a caller that hangs */
    const int64_t callers = is_long ? 4 : 2;
    c.rounds = is_long ? 10 : 1;
    for (int k = 0; k < PROBLEMS; k++) {
        c.expected[k] = malloc(output_bytes(&many_chunks[k]));
        int64_t failed;
        CHECK(solve_into(NULL, &many_chunks[k], c.expected[k], &failed) == KX_OK, "%s", many_chunks[k].what);
    }
    for (int64_t i = 1; i < callers; i++) CHECK(kx_thread_start(call_in_turn, &c) == 0, "caller %lld", (long long)i);
    call_in_turn(&c);
    const int64_t until = kx_clock_ns() + (int64_t)120000000000;
    while (kx_atomic_load64(&c.finished) < callers && kx_clock_ns() < until) sums_right(MANY);
    CHECK(kx_atomic_load64(&c.finished) == callers, "a caller hangs");
    CHECK(kx_atomic_load64(&c.wrong) == 0, "%lld wrong results", (long long)kx_atomic_load64(&c.wrong));
    if (kx_atomic_load64(&c.finished) == callers)
        for (int k = 0; k < PROBLEMS; k++) free(c.expected[k]);
}

#if !defined(_WIN32)
/* A child gets 20 s, then counts as hung. */
static int child_succeeds(pid_t child) {
    int status = 0;
    for (int waited = 0; waited < 2000; waited++) {
        if (waitpid(child, &status, WNOHANG) == child) return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        usleep(10000);
    }
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return 0;
}
static void test_fork(void) {
    CHECK(sums_right(4), "before a fork");
    for (int round = 0; round < 5; round++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) {
            int fine = sums_right(3) && sums_right(8);
            pid_t grandchild = fork();
            if (grandchild == 0) _exit(sums_right(4) ? 0 : 1);
            _exit(fine && child_succeeds(grandchild) ? 0 : 1);
        }
        CHECK(child > 0, "fork failed");
        CHECK(sums_right(4), "in the parent after a fork");
        if (child > 0) CHECK(child_succeeds(child), "in the child of fork %d", round);
    }
}
/* While other threads use the pool. */
static void test_fork_while_busy(void) {
    static kx_atomic_int64 counters[2];
    for (int i = 0; i < 3; i++) CHECK(kx_thread_start(hammer, counters) == 0, "thread %d", i);
    for (int round = 0; round < 5; round++) {
        fflush(stdout);
        pid_t child = fork();
        if (child == 0) _exit(sums_right(4) ? 0 : 1);
        if (child > 0) CHECK(child_succeeds(child), "in the child of fork %d", round);
    }
    while (kx_atomic_load64(&counters[0]) < 3) sums_right(2);
    CHECK(kx_atomic_load64(&counters[1]) == 0, "%lld wrong sums", (long long)kx_atomic_load64(&counters[1]));
}
#endif

static void test_first_cache(void) {
    const int bytes = kx_first_cache_bytes();
    CHECK(bytes >= 1 << 13 && bytes <= 1 << 24 && bytes == kx_first_cache_bytes(), "%d", bytes);
#if defined(_SC_LEVEL1_DCACHE_SIZE) && defined(__x86_64__)
    const long told = sysconf(_SC_LEVEL1_DCACHE_SIZE);
    if (told > 0) CHECK(bytes == told, "%d, the system tells %ld", bytes, told);
#endif
}

int main(int argc, char **argv) {
    printf("test_runtime, %s\n", kx_isa_name());
    make_numbers();
    test_first_cache();
    test_status();
    test_allocation();
    test_blocks_and_layouts();
    test_every_item_once();
    test_huge_range();
    test_failures();
    test_nested_calls();
    test_cancel();
    test_cancel_while_waiting();
    test_flags();
    test_rounding_mode();
    test_concurrent_callers();
    test_many_workers(check_is_long(argc, argv));
#if !defined(_WIN32)
    test_fork();
    test_fork_while_busy();
#endif
    return check_report();
}
