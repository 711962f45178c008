/* What a host lends to kexue (kx_ctx.h): its allocator, its threads, and a way to stop.

   python tools/amalgamate.py .
   cc -std=c11 -O2 -I. examples/c/host_hooks.c kexue.c -lm -lpthread -o host_hooks && ./host_hooks */
#if !defined(_GNU_SOURCE) && !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include "kexue.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures;
static void check(int holds, const char *what) {
    printf("%s: %s\n", holds ? "yes" : "NO", what);
    failures += !holds;
}

/* ---- memory: counts what is out, and refuses the block that it is told to ---- */

typedef struct heap {
    pthread_mutex_t mutex; /* workers allocate too */
    long taken, returned, refuse; /* refuse: the number of the allocation that fails, 0 for none */
} heap;

static void *heap_allocate(void *state, size_t bytes) {
    heap *h = (heap *)state;
    void *block = NULL;
    pthread_mutex_lock(&h->mutex);
    const int refused = h->refuse > 0 && h->taken + 1 >= h->refuse;
    if (!refused && posix_memalign(&block, 64, bytes) == 0) h->taken++;
    pthread_mutex_unlock(&h->mutex);
    return block;
}
static void heap_release(void *state, void *block) {
    heap *h = (heap *)state;
    pthread_mutex_lock(&h->mutex);
    h->returned++;
    pthread_mutex_unlock(&h->mutex);
    free(block);
}

/* ---- threads: one for each worker and call, for a host that has nothing better ---- */

enum { MOST_WORKERS = 16 };

typedef struct engine {
    int launches;
} engine;

typedef struct start {
    kx_run_fn run;
    void *job;
    int worker;
} start;

static void *thread_main(void *pointer) {
    start *s = (start *)pointer;
    s->run(s->job, s->worker);
    return NULL;
}

static void engine_launch(void *state, int workers, kx_run_fn run, void *job) {
    pthread_t threads[MOST_WORKERS];
    start starts[MOST_WORKERS];
    int started = 1;
    ((engine *)state)->launches++;
    for (; started < workers && started < MOST_WORKERS; started++) {
        starts[started].run = run;
        starts[started].job = job;
        starts[started].worker = started;
        if (pthread_create(&threads[started], NULL, thread_main, &starts[started]) != 0) break; /* fewer will do */
    }
    run(job, 0);
    for (int i = 1; i < started; i++) pthread_join(threads[i], NULL);
}

/* ---- cancelling: the n-th question is answered with yes ---- */

typedef struct patience {
    int polls, limit;
} patience;

static int is_over(void *state) {
    patience *p = (patience *)state;
    return ++p->polls >= p->limit;
}

/* ---- work: all distances of some texts ---- */

enum { TEXTS = 60, WORDS = 24, VOCABULARY = 500, DIMENSION = 32, MANY_TEXTS = 1500 };

typedef struct corpus {
    float *vectors;
    int64_t *offsets;
    int32_t *words;
    double *weights;
    kx_documents_t documents;
} corpus;

static uint64_t random_bits(uint64_t *state) { /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static corpus make_corpus(int64_t texts, int64_t words) {
    corpus c;
    uint64_t state = 7;
    c.vectors = (float *)malloc(VOCABULARY * DIMENSION * sizeof *c.vectors);
    c.offsets = (int64_t *)malloc((size_t)(texts + 1) * sizeof *c.offsets);
    c.words = (int32_t *)malloc((size_t)(texts * words) * sizeof *c.words);
    c.weights = (double *)malloc((size_t)(texts * words) * sizeof *c.weights);
    if (!c.vectors || !c.offsets || !c.words || !c.weights) abort();
    for (int i = 0; i < VOCABULARY * DIMENSION; i++) c.vectors[i] = (float)(random_bits(&state) >> 40) * 0x1p-23f - 1;
    for (int64_t t = 0; t <= texts; t++) c.offsets[t] = t * words;
    for (int64_t i = 0; i < texts * words; i++) {
        const uint64_t step = VOCABULARY / (uint64_t)words; /* words ascend */
        c.words[i] = (int32_t)((uint64_t)(i % words) * step + random_bits(&state) % step);
        c.weights[i] = (double)(1 + random_bits(&state) % 3);
    }
    c.documents.count = texts;
    c.documents.offsets = c.offsets;
    c.documents.words = c.words;
    c.documents.weights = c.weights;
    return c;
}
static void drop_corpus(corpus *c) {
    free(c->vectors);
    free(c->offsets);
    free(c->words);
    free(c->weights);
}

static kx_status_t distances(const kx_ctx_t *ctx, const corpus *c, float *out) {
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    return kx_documents_pairwise_f32(ctx, c->vectors, &c->documents, NULL, VOCABULARY, DIMENSION, DIMENSION * sizeof(float), &options,
                                     out);
}

int main(void) {
    corpus few = make_corpus(TEXTS, WORDS), many = make_corpus(MANY_TEXTS, 100);
    const size_t bytes = (size_t)TEXTS * TEXTS * sizeof(float);
    float *expected = (float *)malloc(bytes), *got = (float *)malloc(bytes);
    float *large = (float *)malloc((size_t)MANY_TEXTS * MANY_TEXTS * sizeof(float));
    if (!expected || !got || !large) return EXIT_FAILURE;
    check(distances(NULL, &few, expected) == KX_OK, "the call works with nothing lent");

    heap memory = {PTHREAD_MUTEX_INITIALIZER, 0, 0, 0};
    engine threads = {0};
    patience calm = {0, 1 << 30};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = heap_allocate;
    ctx.allocator.release = heap_release;
    ctx.allocator.state = &memory;
    ctx.launch = engine_launch;
    ctx.launch_state = &threads;
    ctx.cancel = is_over;
    ctx.cancel_state = &calm;
    ctx.workers = 4;
    memset(got, 0, bytes);
    check(distances(&ctx, &few, got) == KX_OK, "the call works with everything lent");
    check(memcmp(got, expected, bytes) == 0, "the distances are the same to the bit");
    check(memory.taken > 0 && memory.taken == memory.returned, "every block came from the host's heap and went back");
    check(threads.launches > 0, "the host's threads did the work");
    printf("allocations %ld, launches %d\n", memory.taken, threads.launches);

    const long needed = memory.taken; /* with fewer workers it may be fewer; the first one is always there */
    for (long refuse = 1; refuse <= needed; refuse++) {
        memory.taken = memory.returned = 0;
        memory.refuse = refuse;
        const kx_status_t status = distances(&ctx, &few, got);
        if (status != KX_E_MEMORY && !(status == KX_OK && memory.taken < refuse)) check(0, "a refused block is reported");
        if (memory.taken != memory.returned) check(0, "a call that fails returns what it took");
        if (refuse == 1) check(status == KX_E_MEMORY, "a refused block is KX_E_MEMORY");
    }
    memory.refuse = memory.taken = memory.returned = 0;

    patience short_one = {0, 2};
    ctx.cancel_state = &short_one;
    check(distances(&ctx, &many, large) == KX_E_CANCELLED, "a call that is told to stop returns KX_E_CANCELLED");
    check(short_one.polls == 2, "and has not asked again");
    check(memory.taken == memory.returned, "and returned what it took");

    ctx.launch = NULL; /* the built-in pool */
    ctx.cancel_state = &calm;
    memset(got, 0, bytes);
    check(distances(&ctx, &few, got) == KX_OK && memcmp(got, expected, bytes) == 0, "the built-in pool gives these bits too");

    drop_corpus(&few);
    drop_corpus(&many);
    free(expected);
    free(got);
    free(large);
    return failures ? EXIT_FAILURE : EXIT_SUCCESS;
}
