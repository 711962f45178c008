/* Every status code of kx_base.h comes out of a call, and no call here gives another one than expected. Public headers alone. */
#include "check.h"
#include "kexue/kexue.h"

enum { N = 3, MOST_CODES = 64 };

/* A sound problem, of which each call below changes one thing. */
typedef struct problem {
    double a[N], b[N], costs[N * N];
    int64_t m;
    kx_emd_options_t options;
    kx_ctx_t ctx;
} problem;

static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}
static void take_back(void *state, void *block) { (void)state, (void)block; }
static int stop(void *state) {
    (void)state;
    return 1;
}

static problem sound(void) {
    problem p = {.a = {0.2, 0.3, 0.5}, .b = {0.5, 0.25, 0.25}, .costs = {0, 1, 4, 1, 0, 1, 4, 1, 0}, .m = N};
    kx_emd_options_init(&p.options);
    kx_ctx_init(&p.ctx);
    return p;
}
static void leave_sound(problem *p) { (void)p; }
static void ask_for_nothing(problem *p) { p->m = 0; }
static void spoil_a_cost(problem *p) { p->costs[4] = NAN; }
static void make_a_weight_negative(problem *p) { p->a[0] = -0.2, p->a[1] = 0.7; }
static void add_to_a_total(problem *p) { p->a[0] = 0.5; }
static void empty_the_weights(problem *p) { memset(p->b, 0, sizeof p->b); }
static void forbid_a_row(problem *p) {
    for (int j = 0; j < N; j++) p->costs[j] = INFINITY;
}
static void refuse_memory(problem *p) { p->ctx.allocator = (kx_allocator_t){refuse, take_back, NULL}; }
static void ask_for_too_much(problem *p) { p->m = INT32_MAX; }

static const struct {
    kx_status_t expected;
    void (*change)(problem *p);
} transports[] = {
    {KX_OK, leave_sound},
    {KX_E_ARGUMENT, ask_for_nothing},
    {KX_E_NONFINITE, spoil_a_cost},
    {KX_E_NEGATIVE, make_a_weight_negative},
    {KX_E_TOTALS, add_to_a_total},
    {KX_E_EMPTY, empty_the_weights},
    {KX_E_INFEASIBLE, forbid_a_row},
    {KX_E_MEMORY, refuse_memory},
    {KX_E_OVERFLOW, ask_for_too_much},
};

static kx_status_t transport(const problem *p) {
    double cost = 0;
    kx_emd_outputs_t outputs;
    memset(&outputs, 0, sizeof outputs);
    outputs.costs = &cost;
    return kx_transport_emd_f64(&p->ctx, p->a, p->b, p->costs, 1, NULL, NULL, NULL, p->m, N, N * sizeof(double), &p->options,
                                &outputs, NULL);
}

/* Iterates, so that it can be too slow. */
static kx_status_t barycenter(const problem *p, int64_t max_iter) {
    const double histograms[2 * N] = {0.2, 0.3, 0.5, 0.5, 0.25, 0.25}, shares[] = {0.5, 0.5};
    double centre[N];
    kx_sinkhorn_options_t options;
    kx_sinkhorn_options_init(&options);
    options.max_iter = max_iter;
    options.tolerance = 1e-12;
    return kx_transport_barycenter(&p->ctx, histograms, p->costs, 2, N, N, N * sizeof(double), shares, 0.05, &options, centre,
                                   NULL, NULL);
}

/* Has no end but that. */
static kx_status_t wait_to_be_stopped(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)arg, (void)begin, (void)end;
    while (!kx_task_should_stop(task)) {}
    return KX_OK;
}

/* No function of the library returns KX_E_INTERNAL: it is a body's own, and the loop hands it on. */
static kx_status_t fail_a_check(kx_task_t *task, void *arg, int64_t begin, int64_t end) {
    (void)task, (void)arg, (void)end;
    return begin == 2 ? KX_E_INTERNAL : KX_OK;
}

static kx_status_t seen[MOST_CODES];
static int seen_count;
static void expect(kx_status_t got, kx_status_t expected) {
    CHECK(got == expected, "%s instead of %s", kx_status_name(got), kx_status_name(expected));
    seen[seen_count++] = got;
}

int main(void) {
    for (size_t k = 0; k < sizeof transports / sizeof *transports; k++) {
        problem p = sound();
        transports[k].change(&p);
        expect(transport(&p), transports[k].expected);
    }
    problem p = sound();
    expect(barycenter(&p, 10000), KX_OK);
    expect(barycenter(&p, 1), KX_W_MAXITER);
    p.ctx.cancel = stop;
    expect(kx_parallel_for(&p.ctx, 1, 1, wait_to_be_stopped, NULL), KX_E_CANCELLED);
    expect(kx_parallel_for(NULL, 4, 1, fail_a_check, NULL), KX_E_INTERNAL);

#define IS_SEEN(name, value, text)                                                \
    {                                                                             \
        int times = 0;                                                            \
        for (int k = 0; k < seen_count; k++) times += seen[k] == name;            \
        CHECK(times > 0, "no call returns " #name);                               \
    }
    KX_STATUS_TABLE(IS_SEEN)
#undef IS_SEEN
    return check_report();
}
