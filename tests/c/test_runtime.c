/* Status texts, allocator hooks, and kx_parallel_for with its promises: chunks, failures, cancelling, flags, forks, engines. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include <fenv.h>

#include "check.h"
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
            CHECK(strcmp(name, kx_status_name(all[j])) != 0 && strcmp(text, kx_status_text(all[j])) != 0, "%s repeats %s", name,
                  kx_status_name(all[j]));
    }
    CHECK(strcmp(kx_status_name((kx_status_t)12345), "KX_E_UNKNOWN") == 0, "a name for 12345");
    CHECK(kx_status_text((kx_status_t)-12345) != NULL, "no text for -12345");
    CHECK(strcmp(kx_version(), KX_VERSION_STRING) == 0, "version %s", kx_version());
    const char *wanted = getenv("KEXUE_ISA"), *isa = kx_isa_name();
    CHECK(strcmp(isa, "baseline") == 0 || strcmp(isa, "v3") == 0 || strcmp(isa, "v4") == 0, "isa %s", isa);
    if (wanted && strcmp(wanted, "baseline") == 0) CHECK(strcmp(isa, "baseline") == 0, "KEXUE_ISA=baseline gave %s", isa);
    CHECK(kx_cpu_count() >= 1, "%d processors", kx_cpu_count());
}

/* ---- allocation ---- */

typedef struct counting_allocator {
    kx_ctx_t plain;
    kx_atomic_int64 allocated, released, fail_at; /* the allocation with this number fails */
} counting_allocator;

static void *counting_allocate(void *state, size_t bytes) {
    counting_allocator *a = state;
    if (kx_atomic_add64(&a->allocated, 1) == kx_atomic_load64(&a->fail_at)) {
        kx_atomic_add64(&a->released, 1);
        return NULL;
    }
    return a->plain.allocator.allocate(NULL, bytes);
}
static void counting_release(void *state, void *block) {
    counting_allocator *a = state;
    kx_atomic_add64(&a->released, 1);
    a->plain.allocator.release(NULL, block);
}

static kx_status_t solve_transport(const kx_ctx_t *ctx, int64_t m, int64_t n) {
    double *a = malloc(sizeof *a * (size_t)m), *b = malloc(sizeof *b * (size_t)n), *M = malloc(sizeof *M * (size_t)(m * n));
    check_random_state = 7;
    for (int64_t i = 0; i < m; i++) a[i] = 1 / (double)m;
    for (int64_t j = 0; j < n; j++) b[j] = 1 / (double)n;
    for (int64_t k = 0; k < m * n; k++) M[k] = check_uniform(0, 1);
    double costs[2];
    int64_t offsets[2] = {0, 0}, failed;
    kx_emd_options_t options;
    kx_emd_options_init(&options);
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = costs;
    kx_status_t status = kx_transport_emd_f64(ctx, a, b, M, 2, offsets, offsets, offsets, m, n, n * (ptrdiff_t)sizeof *M, &options,
                                              &outputs, &failed);
    free(a), free(b), free(M);
    return status;
}

static kx_status_t solve_documents(const kx_ctx_t *ctx, int64_t unused_m, int64_t unused_n) {
    (void)unused_m, (void)unused_n;
    enum { COUNT = 6, WORDS = 5, VOCABULARY = 40, DIMENSION = 7 };
    float vectors[VOCABULARY * DIMENSION], out[COUNT * COUNT];
    int64_t offsets[COUNT + 1];
    int32_t words[COUNT * WORDS];
    double weights[COUNT * WORDS];
    check_random_state = 11;
    for (int i = 0; i < VOCABULARY * DIMENSION; i++) vectors[i] = (float)check_uniform(-1, 1);
    for (int i = 0; i <= COUNT; i++) offsets[i] = i * WORDS;
    for (int i = 0; i < COUNT * WORDS; i++) words[i] = (int32_t)(i % WORDS * 7 + i / WORDS), weights[i] = 1;
    kx_documents_t documents = {COUNT, offsets, words, weights};
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    return kx_documents_pairwise_f32(ctx, vectors, &documents, NULL, VOCABULARY, DIMENSION, DIMENSION * (ptrdiff_t)sizeof *vectors,
                                     &options, out);
}

/* Makes every allocation of a call fail in turn: the call says so, releases everything, and works again afterwards. */
static void fail_every_allocation(const char *what, kx_status_t (*call)(const kx_ctx_t *, int64_t, int64_t), int64_t m, int64_t n,
                                  int workers) {
    counting_allocator counter;
    kx_ctx_init(&counter.plain);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = counting_allocate;
    ctx.allocator.release = counting_release;
    ctx.allocator.state = &counter;
    ctx.workers = workers;
    int64_t used = 0;
    for (int64_t fail_at = -1; fail_at < used; fail_at++) {
        kx_atomic_store64(&counter.allocated, 0);
        kx_atomic_store64(&counter.released, 0);
        kx_atomic_store64(&counter.fail_at, fail_at);
        kx_status_t status = call(&ctx, m, n);
        int64_t allocated = kx_atomic_load64(&counter.allocated), released = kx_atomic_load64(&counter.released);
        if (fail_at < 0) {
            used = allocated;
            CHECK(used > 0, "%s allocates nothing through its context", what);
            CHECK(status == KX_OK, "%s: %s", what, kx_status_name(status));
        } else if (allocated > fail_at) { /* how many workers allocate may vary */
            CHECK(status == KX_E_MEMORY, "%s, allocation %lld failed: %s", what, (long long)fail_at, kx_status_name(status));
        }
        CHECK(allocated == released, "%s: %lld allocated, %lld released", what, (long long)allocated, (long long)released);
    }
    kx_atomic_store64(&counter.fail_at, -1);
    CHECK(call(&ctx, m, n) == KX_OK, "%s fails after a failure", what);
}

static void test_allocation(void) {
    for (int workers = 1; workers <= 3; workers += 2) {
        fail_every_allocation("emd 9x12", solve_transport, 9, 12, workers);
        fail_every_allocation("emd 20x20", solve_transport, 20, 20, workers);
        fail_every_allocation("emd 90x80", solve_transport, 90, 80, workers);
        fail_every_allocation("pairwise", solve_documents, 0, 0, workers);
    }
    for (size_t bytes = 0; bytes < 300; bytes += 37) {
        void *block = kx_allocate(NULL, bytes);
        CHECK(block && (uintptr_t)block % 64 == 0, "a block of %zu bytes at %p", bytes, block);
        if (block) memset(block, 1, bytes);
        kx_release(NULL, block);
    }
    kx_release(NULL, NULL);
    kx_layout_t layout = {0, 0};
    CHECK(kx_layout_add(&layout, 3, 8) == 0 && kx_layout_add(&layout, 1, 1) == 64 && layout.bytes == 128 && !layout.overflow,
          "a layout of %zu bytes", layout.bytes);
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
    CHECK(status == KX_OK && missing == 0 && !kx_atomic_load(&v.wrong), "%s: n %lld, grain %lld, workers %d: %s, %lld missing, %x",
          what, (long long)n, (long long)grain, workers, kx_status_name(status), (long long)missing,
          (unsigned)kx_atomic_load(&v.wrong));
    if (launch) CHECK(launches == (workers > 1 && n > grain), "%s: %d launches", what, launches);
}

static void test_every_item_once(void) {
    const int64_t sizes[] = {0, 1, 2, 3, 7, 64, 100, 101, 1000, 4999}, grains[] = {1, 2, 3, 10, 64, 1000, 5000, INT64_MAX};
    const int workers[] = {0, 1, 2, 3, 8, 64};
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 8; j++)
            for (int k = 0; k < 6; k++) {
                check_visits(sizes[i], grains[j], workers[k], NULL, "pool");
                check_visits(sizes[i], grains[j], workers[k], serial_launch, "serial engine");
                check_visits(sizes[i], grains[j], workers[k], lazy_launch, "engine of one thread");
                if (sizes[i] <= 100 && workers[k] <= 8) check_visits(sizes[i], grains[j], workers[k], thread_launch, "engine");
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
            CHECK(late < 0.3, "workers %d: cancelled %.3f s late", workers, late);
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
    CHECK(status == KX_E_CANCELLED && late < 0.3 && !state.foreign, "%s, %.3f s late", kx_status_name(status), late);
}

/* Every worker has to take part before any goes on, so that what follows is about threads and not about one fast caller. */
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
        CHECK(status == KX_OK && kx_atomic_load64(&g.elsewhere) == 2 && flags == (each[k] | FE_UNDERFLOW), "%s, flags %x, not %x",
              kx_status_name(status), (unsigned)flags, (unsigned)each[k]);
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

int main(void) {
    printf("test_runtime, %s\n", kx_isa_name());
    test_status();
    test_allocation();
    test_every_item_once();
    test_huge_range();
    test_failures();
    test_nested_calls();
    test_cancel();
    test_cancel_while_waiting();
    test_flags();
    test_rounding_mode();
    CHECK(sums_right(64), "64 workers");
    test_concurrent_callers();
#if !defined(_WIN32)
    test_fork();
    test_fork_while_busy();
#endif
    return check_report();
}
