/* What a host lends (kx_ctx.h), under every family that allocates: each allocation refused in turn, each question of the call
   answered with "stop", and engines that run a call's workers in odd ways. Public headers alone. */
#include "check.h"
#include "kexue/kexue.h"

/* Entries, points and documents: enough for several chunks. */
enum { NUMBERS = 1 << 17, MOST_OUTPUT = 1 << 17 };
static double numbers[NUMBERS];
static float single_numbers[NUMBERS];
static int64_t same[64]; /* offsets of 0 */

static void make_numbers(void) {
    check_random_state = 11;
    for (int i = 0; i < NUMBERS; i++) single_numbers[i] = (float)(numbers[i] = check_uniform(0.05, 1));
}

static kx_status_t entropy_rows(const kx_ctx_t *ctx, double *out) {
    kx_entropy_options_t options;
    const double target = 3.5;
    kx_entropy_options_init(&options);
    const kx_entropy_outputs_t outputs = {out, out + 60000, out + 61000, NULL, NULL};
    return kx_entropy_normalize_f64(ctx, numbers, NULL, &target, 600, 100, 0, &options, &outputs);
}
static kx_status_t entropy_long_rows_f32(const kx_ctx_t *ctx, double *out) {
    static const int64_t offsets[] = {0, 30000, 30001, 60000, 90000};
    const double targets[] = {9, 1, 8, 7};
    kx_entropy_options_t options;
    kx_entropy_options_init(&options);
    options.domain = KX_ENTROPY_DISTANCES;
    const kx_entropy_outputs_t outputs = {out, out + 90000, NULL, NULL, NULL};
    return kx_entropy_normalize_f32(ctx, single_numbers, offsets, targets, 4, 0, sizeof *targets, &options, &outputs);
}
static kx_status_t entropy_gradient(const kx_ctx_t *ctx, double *out) {
    return kx_entropy_gradient_f64(ctx, numbers, NULL, numbers, numbers + 7, 600, 100, KX_ENTROPY_WEIGHTS, out, out + 60000);
}

static kx_independence_points_t points(int shift, int64_t dimension, kx_independence_kind_t kind) {
    return (kx_independence_points_t){numbers + shift, dimension, dimension * (ptrdiff_t)sizeof(double), kind, 0.7, 1, 2};
}
static kx_status_t hsic(const kx_ctx_t *ctx, double *out) {
    const kx_independence_points_t x = points(0, 7, KX_INDEPENDENCE_RBF), y = points(99, 3, KX_INDEPENDENCE_LAPLACE);
    kx_status_t status = kx_independence_sums_f64(ctx, &x, &y, 400, out, out + 400, out + 800);
    if (status == KX_OK) status = kx_independence_cross_sums_f64(ctx, &x, &x, &y, &y, 300, 200, out + 900, out + 1200, out + 1400,
                                                                 out + 1700, out + 1900);
    if (status == KX_OK) status = kx_independence_centred_sums_f64(ctx, &x, &y, 400, out, 0.1, out + 400, 0.2, out + 2000);
    if (status == KX_OK) status = kx_independence_gradient_f64(ctx, &x, &y, 400, out, 0.1, out + 400, 0.2, out + 2100, out + 4900);
    return status;
}
static kx_status_t hsic_matrices(const kx_ctx_t *ctx, double *out) {
    const kx_independence_points_t x = points(0, 7, KX_INDEPENDENCE_POLYNOMIAL);
    static int32_t permutations[20 * 200];
    for (int i = 0; i < 20 * 200; i++) permutations[i] = (i % 200 * 7 + i / 200) % 200;
    kx_status_t status = kx_independence_matrix_f64(ctx, &x, &x, 200, 200, out);
    if (status == KX_OK) status = kx_independence_permutation_sums_f64(ctx, out, out, 200, permutations, 20, out + 40000);
    if (status == KX_OK) status = kx_independence_median_distance_f64(ctx, &x, 700, out + 40020);
    return status;
}

static kx_status_t documents(const kx_ctx_t *ctx, double *out, kx_document_metric_t metric) {
    enum { TEXTS = 40, WORDS = 15 };
    static int64_t offsets[TEXTS + 1];
    static int32_t words[TEXTS * WORDS];
    for (int t = 0; t <= TEXTS; t++) offsets[t] = t * WORDS;
    for (int i = 0; i < TEXTS * WORDS; i++) words[i] = i % WORDS * 20 + i * 7 % 19;
    const kx_documents_t texts = {TEXTS, offsets, words, numbers};
    kx_pairwise_options_t options;
    kx_pairwise_options_init(&options);
    options.metric = metric;
    return kx_documents_pairwise_f32(ctx, single_numbers, &texts, NULL, 300, 24, 24 * sizeof(float), &options, (float *)out);
}
static kx_status_t movers(const kx_ctx_t *ctx, double *out) { return documents(ctx, out, KX_WMD); }
static kx_status_t rotators(const kx_ctx_t *ctx, double *out) { return documents(ctx, out, KX_WRD); }

static kx_status_t sinkhorn(const kx_ctx_t *ctx, double *out, int64_t count, int64_t m, int64_t n, int32_t method) {
    static int64_t offsets[64];
    const double reg = 0.1;
    for (int k = 0; k < 64; k++) offsets[k] = k * 8;
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.method = method;
    options.totals_tolerance = 1;
    options.tolerance = 1e-6;
    const kx_sinkhorn_problems_t problems = {.count = count, .m = m, .n = n, .M = numbers, .M_offsets = offsets, .reg = &reg,
                                             .row_stride = n * (ptrdiff_t)sizeof(double)};
    const kx_sinkhorn_outputs_t outputs = {.costs = out, .values = out + 64, .u = out + 128, .v = out + 128 + count * m,
                                           .plans = out + 128 + count * (m + n)};
    return kx_transport_sinkhorn_f64(ctx, &problems, &options, &outputs, NULL);
}
static kx_status_t sinkhorn_batch(const kx_ctx_t *ctx, double *out) { return sinkhorn(ctx, out, 40, 20, 30, KX_SINKHORN_AUTO); }
static kx_status_t sinkhorn_log(const kx_ctx_t *ctx, double *out) { return sinkhorn(ctx, out, 20, 20, 30, KX_SINKHORN_LOG); }
static kx_status_t sinkhorn_large(const kx_ctx_t *ctx, double *out) { return sinkhorn(ctx, out, 2, 200, 150, KX_SINKHORN_AUTO); }
static kx_status_t sinkhorn_of_points(const kx_ctx_t *ctx, double *out) {
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.tolerance = 1e-6;
    const kx_sinkhorn_points_t problem = {150, 120, 5, numbers, numbers + 3, NULL, NULL, 0.2, KX_COST_SQEUCLIDEAN};
    const kx_sinkhorn_outputs_t outputs = {.values = out};
    return kx_transport_sinkhorn_points(ctx, &problem, &options, &outputs);
}
static kx_status_t barycenter(const kx_ctx_t *ctx, double *out) {
    double histograms[3 * 30];
    const double shares[] = {0.25, 0.25, 0.5};
    for (int k = 0; k < 3; k++) {
        double sum = 0;
        for (int i = 0; i < 30; i++) sum += numbers[31 * k + i];
        for (int i = 0; i < 30; i++) histograms[30 * k + i] = numbers[31 * k + i] / sum;
    }
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.tolerance = 1e-6;
    return kx_transport_barycenter(ctx, histograms, numbers, 3, 30, 20, 20 * sizeof(double), shares, 0.1, &options, out, out + 20,
                                   NULL);
}
static kx_status_t lower_bounds(const kx_ctx_t *ctx, double *out) {
    return kx_transport_lower_bound(ctx, NULL, NULL, numbers, 60, NULL, NULL, same, 30, 20, 20 * sizeof(double), 5, 0.05, 1e-6, out,
                                    NULL, NULL, NULL);
}

static kx_status_t attention(const kx_ctx_t *ctx, double *out) {
    enum { ITEMS = 4, ROWS = 150, WIDTH = 12 };
    const ptrdiff_t row = WIDTH * sizeof(double);
    const double scale = 0.5;
    const kx_attention_t a = {.queries = {numbers, same, row}, .keys = {numbers + 5, same, row}, .values = {numbers + 9, same, row},
                              .items = ITEMS, .query_count = ROWS, .key_count = ROWS, .dimension = WIDTH, .value_dimension = WIDTH,
                              .mask_kind = KX_ATTENTION_UNMASKED, .is_causal = 1, .scales = &scale};
    const kx_attention_rows_t upstream = {numbers + 77, same, row};
    const size_t size = ITEMS * ROWS * WIDTH;
    kx_status_t status = kx_attention_f64(ctx, &a, out, out + size, out + 2 * size);
    if (status == KX_OK) status = kx_attention_gradient_f64(ctx, &a, out, out + size, &upstream, out + 3 * size, out + 4 * size,
                                                            out + 5 * size, NULL);
    return status;
}
static kx_status_t recurrent(const kx_ctx_t *ctx, double *out) {
    enum { SEQUENCES = 30, STEPS = 20, SIZE = 10, STATES = SEQUENCES * STEPS * SIZE };
    const kx_recurrent_t network = {KX_RECURRENT_LSTM, SEQUENCES, STEPS, SIZE, SIZE, numbers, numbers + 1, numbers + 2, NULL, NULL, NULL,
                                    NULL};
    double *states = out, *cells = out + STATES, *gates = out + 2 * STATES, *gradients = out + 6 * STATES;
    kx_status_t status = kx_recurrent_f64(ctx, &network, states, cells, gates);
    if (status == KX_OK) status = kx_recurrent_gradient_f64(ctx, &network, gates, states, cells, numbers, NULL, gradients,
                                                            gradients + 4 * STATES, gradients + 4 * STATES + SEQUENCES * SIZE);
    return status;
}
static kx_status_t losses(const kx_ctx_t *ctx, double *out) {
    enum { N = 150, COUNT = 4 };
    const ptrdiff_t row = N * sizeof(double), number = sizeof(double);
    kx_status_t status = kx_losses_info_nce_f64(ctx, numbers, COUNT, N, row * N, row, 0.1, 1, out, out + 8);
    if (status == KX_OK) status = kx_losses_cosent_f64(ctx, numbers, numbers + 9, 100, N, row, number, row, number, 20,
                                                       out + 90010, out + 90200, row, number);
    if (status == KX_OK) status = kx_losses_spearman(ctx, numbers, numbers + 9, 100, N, row, number, row, number, out + 105300);
    return status;
}
static kx_status_t classification(const kx_ctx_t *ctx, double *out) {
    enum { ROWS = 1000, CLASSES = 40 };
    static double p[ROWS * CLASSES];
    for (int i = 0; i < ROWS; i++) {
        double sum = 0;
        for (int j = 0; j < CLASSES; j++) sum += numbers[CLASSES * i + j];
        for (int j = 0; j < CLASSES; j++) p[CLASSES * i + j] = numbers[CLASSES * i + j] / sum;
    }
    kx_can_options_t options;
    kx_can_options_init(&options);
    options.alpha = 1.5, options.threshold = 0.95;
    return kx_classification_can_f64(ctx, p, ROWS, CLASSES, CLASSES * sizeof(double), numbers, &options, out, CLASSES * sizeof(double),
                                     out + ROWS * CLASSES);
}
static kx_status_t projections(const kx_ctx_t *ctx, double *out) {
    const uint64_t key[2] = {1, 2};
    return kx_projection_rademacher_f64(ctx, key, numbers, 200, 100, 100 * sizeof(double), 64, 1, out, 64 * sizeof(double));
}

static const struct call {
    const char *name;
    kx_status_t (*run)(const kx_ctx_t *, double *);
} calls[] = {
    {"entropy of rows", entropy_rows},
    {"entropy of long rows, f32", entropy_long_rows_f32},
    {"gradient of entropy", entropy_gradient},
    {"HSIC", hsic},
    {"HSIC by matrices", hsic_matrices},
    {"WMD", movers},
    {"WRD", rotators},
    {"Sinkhorn", sinkhorn_batch},
    {"Sinkhorn, logarithms", sinkhorn_log},
    {"Sinkhorn, large", sinkhorn_large},
    {"Sinkhorn of points", sinkhorn_of_points},
    {"barycenter", barycenter},
    {"lower bounds", lower_bounds},
    {"attention", attention},
    {"LSTM", recurrent},
    {"losses", losses},
    {"alternating normalisation", classification},
    {"projection", projections},
};

/* ---- what is lent ---- */

/* Workers run one after the other here, so nothing needs a lock. */
typedef struct host {
    int64_t asked, live, refused; /* refused: the number of the allocation that fails, or -1 */
    int64_t polls, stop_at;       /* the question that is answered with 1, or -1 */
    int launches;
} host;
static void *lend(void *state, size_t bytes) {
    host *h = state;
    if (h->asked++ == h->refused) return NULL;
    unsigned char *block = NULL;
    /* Aligned by hand, with the block's beginning before it: aligned_alloc is not everywhere. */
    unsigned char *whole = malloc(bytes + 128);
    if (!whole) return NULL;
    block = whole + 64 + (64 - (uintptr_t)whole % 64) % 64;
    memcpy(block - sizeof whole, &whole, sizeof whole);
    memset(block, h->asked % 2 ? 0xff : 0x5a, bytes);
    h->live++;
    return block;
}
static void take_back(void *state, void *block) {
    void *whole;
    memcpy(&whole, (unsigned char *)block - sizeof whole, sizeof whole);
    free(whole);
    ((host *)state)->live--;
}
static int ask(void *state) {
    host *h = state;
    return h->polls++ == h->stop_at;
}

static void forwards(void *state, int workers, kx_run_fn run, void *job) {
    ((host *)state)->launches++;
    for (int worker = 0; worker < workers; worker++) run(job, worker);
}
static void backwards(void *state, int workers, kx_run_fn run, void *job) {
    ((host *)state)->launches++;
    for (int worker = workers - 1; worker >= 0; worker--) run(job, worker);
}
static void caller_alone(void *state, int workers, kx_run_fn run, void *job) {
    (void)workers;
    ((host *)state)->launches++;
    run(job, 0);
}
static void nobody(void *state, int workers, kx_run_fn run, void *job) {
    (void)workers, (void)run, (void)job;
    ((host *)state)->launches++;
}
static const struct engine {
    const char *name;
    kx_launch_fn launch;
    int workers;
} engines[] = {
    {"one worker", NULL, 1},       {"the pool", NULL, 3},      {"forwards", forwards, 4}, {"backwards", backwards, 4},
    {"the caller alone", caller_alone, 4}, {"nobody", nobody, 4},
};
enum { CALLS = sizeof calls / sizeof *calls, ENGINES = sizeof engines / sizeof *engines };

static kx_ctx_t context(host *h, const struct engine *engine) {
    kx_ctx_t ctx;
    *h = (host){.refused = -1, .stop_at = -1};
    kx_ctx_init(&ctx);
    ctx.workers = engine->workers;
    ctx.launch = engine->launch;
    ctx.launch_state = ctx.cancel_state = h;
    ctx.cancel = ask;
    return ctx;
}

static double expected[MOST_OUTPUT], got[MOST_OUTPUT];
static kx_status_t run(const struct call *call, const kx_ctx_t *ctx) {
    memset(got, 0, sizeof got);
    return call->run(ctx, got);
}

static void test_engines(const struct call *call) {
    for (int e = 0; e < ENGINES; e++) {
        host h;
        const kx_ctx_t ctx = context(&h, &engines[e]);
        const kx_status_t status = run(call, &ctx);
        CHECK(status == KX_OK && memcmp(got, expected, sizeof got) == 0, "%s, %s: %s, or other bits", call->name, engines[e].name,
              kx_status_name(status));
    }
}

static void test_allocations(const struct call *call, const struct engine *engine) {
    for (int64_t refused = 0;; refused++) {
        host h;
        kx_ctx_t ctx = context(&h, engine);
        ctx.allocator = (kx_allocator_t){lend, take_back, &h};
        h.refused = refused;
        const kx_status_t status = run(call, &ctx);
        const int was_refused = h.asked > refused;
        CHECK(status == (was_refused ? KX_E_MEMORY : KX_OK), "%s, %s, allocation %lld: %s", call->name, engine->name,
              (long long)refused, kx_status_name(status));
        CHECK(h.live == 0, "%s, %s, allocation %lld: %lld blocks are left", call->name, engine->name, (long long)refused,
              (long long)h.live);
        if (was_refused) continue;
        CHECK(memcmp(got, expected, sizeof got) == 0, "%s, %s: other bits in a host's memory", call->name, engine->name);
        break;
    }
}

/* Calls are asked every 50 ms, so most of these are too short for a question. */
static void test_questions(const struct call *call, const struct engine *engine) {
    for (int64_t stop_at = 0;; stop_at += 1 + stop_at / 8) {
        host h;
        kx_ctx_t ctx = context(&h, engine);
        ctx.allocator = (kx_allocator_t){lend, take_back, &h};
        h.stop_at = stop_at;
        const kx_status_t status = run(call, &ctx);
        const int was_stopped = h.polls > stop_at;
        CHECK(status == (was_stopped ? KX_E_CANCELLED : KX_OK), "%s, %s, question %lld: %s", call->name, engine->name,
              (long long)stop_at, kx_status_name(status));
        CHECK(h.live == 0, "%s, %s, question %lld: %lld blocks are left", call->name, engine->name, (long long)stop_at,
              (long long)h.live);
        CHECK(h.polls <= stop_at + 1, "%s, %s: asked again after question %lld", call->name, engine->name, (long long)stop_at);
        if (!was_stopped) break;
    }
}

int main(void) {
    make_numbers();
    for (int c = 0; c < CALLS; c++) {
        const kx_status_t status = run(&calls[c], NULL);
        CHECK(status == KX_OK, "%s: %s", calls[c].name, kx_status_name(status));
        memcpy(expected, got, sizeof got);
        test_engines(&calls[c]);
        test_allocations(&calls[c], &engines[0]);
        test_allocations(&calls[c], &engines[3]);
        test_questions(&calls[c], &engines[0]);
        test_questions(&calls[c], &engines[3]);
    }
    return check_report();
}
