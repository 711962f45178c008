/* The combinatorial softmax: enumeration in long double, counts of sets, duality, extremes, bad arguments, memory that runs out,
   workers. */
#include "check.h"
#include "kexue/kexue.h"

enum { MOST = 12 };

static kx_status_t solve(const double *scores, const unsigned char *targets, int64_t n, int64_t k, const double *filler,
                         double *value, double *grad) {
    return kx_losses_combinatorial_f64(NULL, scores, targets, &k, filler, 1, n, 0, 0, value, grad);
}

/* Sums over all sets less the reference's weight: log1p of what the others weigh, and the probabilities. */
static void enumerate(const double *scores, int n, int64_t k, const double *filler, unsigned reference, long double *excess,
                      long double *inside, long double *outside) {
    long double others = 0;
    for (int i = 0; i < n; i++) inside[i] = outside[i] = 0;
    for (unsigned set = 0; set < 1u << n; set++) {
        long double score = 0;
        int size = 0;
        for (int i = 0; i < n; i++) {
            const int is_in = set >> i & 1, was_in = reference >> i & 1;
            size += is_in;
            if (is_in != was_in) score += is_in ? (long double)scores[i] : -(long double)scores[i];
        }
        if (filler ? size > k : size != k) continue;
        int before = 0;
        for (int i = 0; i < n; i++) before += (int)(reference >> i & 1);
        if (filler) score += (long double)(before - size) * (long double)*filler;
        const long double weight = expl(score);
        if (set != reference) others += weight;
        for (int i = 0; i < n; i++) *(set >> i & 1 ? inside + i : outside + i) += weight;
    }
    *excess = log1pl(others);
    for (int i = 0; i < n; i++) inside[i] /= 1 + others, outside[i] /= 1 + others;
}

static void test_against_enumeration(int rounds) {
    for (int turn = 0; turn < rounds; turn++) {
        const int n = (int)(check_random() % (MOST + 1)), has_filler = turn % 2;
        const int64_t k = (int64_t)(check_random() % (uint64_t)(n + 1 + 3 * has_filler));
        const double scale = exp(check_uniform(-3, 5));
        double scores[MOST + 1], value = 0, grad[MOST + 1];
        for (int i = 0; i <= n; i++) {
            scores[i] = check_uniform(-scale, scale);
            if (turn % 3 == 0) scores[i] = round(scores[i] * 3 / scale) * scale / 4;
        }
        const double filler = turn % 4 == 1 ? scores[0] : scores[n];
        unsigned reference = 0;
        unsigned char targets[MOST + 1] = {0};
        for (int64_t taken = 0; taken < k; taken++) {
            int best = -1;
            for (int i = 0; i < n; i++)
                if (!(reference >> i & 1) && (best < 0 || scores[i] > scores[best])) best = i;
            if (best < 0 || (has_filler && !(scores[best] > filler))) break;
            reference |= 1u << best;
            targets[best] = 1;
        }
        long double excess, inside[MOST + 1], outside[MOST + 1];
        enumerate(scores, n, k, has_filler ? &filler : NULL, reference, &excess, inside, outside);
        const kx_status_t status = solve(scores, targets, n, k, has_filler ? &filler : NULL, &value, grad);
        CHECK(status == KX_OK, "status %d", status);
        CHECK(fabsl((long double)value - excess) <= 1e-14L * excess + 1e-300L, "loss %g, not %Lg: n %d, k %d, filler %d", value,
              excess, n, (int)k, has_filler);
        for (int i = 0; i < n; i++) {
            const long double exact = targets[i] ? -outside[i] : inside[i];
            CHECK(fabsl((long double)grad[i] - exact) <= 1e-13L * fabsl(exact) + 1e-300L, "gradient %g, not %Lg: n %d, k %d",
                  grad[i], exact, n, (int)k);
        }
    }
}

static void test_counts_of_sets(void) {
    static const int64_t cases[][2] = {{40, 20}, {500, 250}, {500, 499}, {3000, 1200}, {20000, 7}, {20000, 700}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const int64_t n = cases[c][0], k = cases[c][1];
        double *scores = malloc((size_t)n * sizeof *scores), *grad = malloc((size_t)n * sizeof *grad), value = 0, worst = 0;
        long double expected = 0;
        for (int64_t i = 1; i <= k; i++) expected += logl((long double)(n - k + i) / (long double)i);
        for (int64_t i = 0; i < n; i++) scores[i] = -3;
        CHECK(solve(scores, NULL, n, k, NULL, &value, grad) == KX_OK, "n %d", (int)n);
        expected -= 3 * (long double)k;
        CHECK(fabsl((long double)value - expected) <= 1e-13L * (fabsl(expected) + 3 * (long double)k), "%g, not %Lg", value,
              expected);
        for (int64_t i = 0; i < n; i++) worst = fmax(worst, fabs(grad[i] * (double)n / (double)k - 1));
        CHECK(worst <= 1e-12, "marginals are off by %g: n %d, k %d", worst, (int)n, (int)k);
        free(scores);
        free(grad);
    }
}

/* What is in a set of the negated scores is not in the other. */
static void test_duality(void) {
    enum { N = 700, K = 260 };
    double scores[N], negated[N], one[N], other[N], a = 0, b = 0, sum = 0, total = 0, size = 0;
    for (int i = 0; i < N; i++) {
        scores[i] = check_uniform(-2, 2);
        negated[i] = -scores[i];
        sum += scores[i];
        size += fabs(scores[i]);
    }
    CHECK(solve(scores, NULL, N, K, NULL, &a, one) == KX_OK, "one");
    CHECK(solve(negated, NULL, N, N - K, NULL, &b, other) == KX_OK, "other");
    CHECK(fabs(a - (b + sum)) <= 1e-13 * size, "%g and %g", a, b + sum);
    for (int i = 0; i < N; i++) {
        CHECK(fabs(one[i] + other[i] - 1) <= 1e-12, "%d: %g + %g", i, one[i], other[i]);
        total += one[i];
    }
    CHECK(fabs(total - K) <= 1e-11, "marginals sum to %.15g", total);
}

static void test_extremes(void) {
    enum { N = 5000, K = 2500 };
    static float scores[N], grad[N];
    static double wide[N], wide_grad[N];
    const int64_t k = K;
    float value = 0;
    double wide_value = 0, total = 0;
    for (int i = 0; i < N; i++) {
        scores[i] = (float)check_uniform(-1e4, 1e4);
        wide[i] = check_uniform(-1e300, 1e300);
    }
    CHECK(kx_losses_combinatorial_f32(NULL, scores, NULL, &k, NULL, 1, N, 0, 0, &value, grad) == KX_OK, "float");
    CHECK(isfinite(value), "%g", (double)value);
    for (int i = 0; i < N; i++) {
        CHECK(grad[i] >= 0 && grad[i] <= 1, "%g", (double)grad[i]);
        total += (double)grad[i];
    }
    CHECK(fabs(total - K) <= 1e-4, "%g", total);
    CHECK(solve(wide, NULL, N, K, NULL, &wide_value, wide_grad) == KX_OK, "double");
    CHECK(isfinite(wide_value), "%g", wide_value);
    total = 0;
    for (int i = 0; i < N; i++) total += wide_grad[i];
    CHECK(total == K, "%.17g", total);
}

static void test_absent_and_bad(void) {
    const double infinite = (double)INFINITY, filler = 0.5, nan = (double)NAN;
    double scores[] = {1, -infinite, 2, -1}, value = 0, grad[4], loss = 0;
    CHECK(solve(scores, NULL, 4, 3, NULL, &value, grad) == KX_OK && value == 2 && grad[0] == 1 && grad[1] == 0, "%g", value);
    CHECK(solve(scores, NULL, 4, 4, NULL, &value, grad) == KX_OK && value == -infinite && grad[0] == 0, "%g", value);
    CHECK(solve(scores, NULL, 4, 0, NULL, &value, grad) == KX_OK && value == 0 && grad[0] == 0, "%g", value);
    CHECK(solve(scores, NULL, 4, 0, &filler, &value, grad) == KX_OK && value == 0 && grad[2] == 0, "%g", value);
    CHECK(solve(NULL, NULL, 0, 3, &filler, &value, NULL) == KX_OK && value == 1.5, "%g", value);
    CHECK(solve(scores, NULL, 4, 2, NULL, NULL, grad) == KX_OK && grad[2] > grad[0], "without a value");
    CHECK(solve(scores, NULL, 4, 2, NULL, &loss, NULL) == KX_OK && loss > 3, "without a gradient");
    const unsigned char absent[] = {0, 1, 0, 0}, many[] = {1, 0, 1, 1};
    CHECK(solve(scores, absent, 4, 2, NULL, &value, grad) == KX_E_ARGUMENT, "an absent target");
    CHECK(solve(scores, many, 4, 2, &filler, &value, grad) == KX_E_ARGUMENT, "too many targets");
    CHECK(solve(scores, NULL, 4, -1, NULL, &value, grad) == KX_E_ARGUMENT, "a negative count");
    CHECK(solve(scores, NULL, 4, 1, &infinite, &value, grad) == KX_E_NONFINITE, "an infinite filler");
    scores[3] = infinite;
    CHECK(solve(scores, NULL, 4, 1, NULL, &value, grad) == KX_E_NONFINITE, "an infinite score");
    scores[3] = nan;
    CHECK(solve(scores, NULL, 4, 1, NULL, &value, grad) == KX_E_NONFINITE, "a NaN");
    CHECK(kx_losses_combinatorial_f64(NULL, scores, NULL, NULL, NULL, 1, 4, 0, 0, &value, NULL) == KX_E_ARGUMENT, "no counts");
    CHECK(kx_losses_combinatorial_f64(NULL, scores, NULL, NULL, NULL, -1, 4, 0, 0, &value, NULL) == KX_E_ARGUMENT, "rows < 0");
    CHECK(kx_losses_combinatorial_f64(NULL, scores, NULL, NULL, NULL, INT64_MAX / 8, 99, 0, 0, &value, NULL) == KX_E_OVERFLOW,
          "too large");
}

/* Blocks are lent until none is left, at every point where one is asked for; all come back. */
static int64_t lent, left;
static void *lend(void *state, size_t bytes) {
    (void)state;
    if (left-- <= 0) return NULL;
    lent++;
    return aligned_alloc(64, (bytes + 63) & ~(size_t)63);
}
static void take_back(void *state, void *block) {
    (void)state;
    lent -= block != NULL;
    free(block);
}
static int cancel_at_once(void *state) {
    ++*(int *)state;
    return 1;
}

static void test_context(void) {
    enum { ROWS = 300, N = 130 };
    static double scores[ROWS * N], expected[ROWS], grad[ROWS * N], value[ROWS], other[ROWS * N];
    static int64_t counts[ROWS];
    for (int i = 0; i < ROWS * N; i++) scores[i] = check_uniform(-3, 3);
    for (int i = 0; i < ROWS; i++) counts[i] = (int64_t)(check_random() % (N + 1));
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    CHECK(kx_losses_combinatorial_f64(&ctx, scores, NULL, counts, NULL, ROWS, N, 8, 0, expected, grad) == KX_OK, "serial");
    CHECK(kx_losses_combinatorial_f64(&ctx, scores, NULL, counts, NULL, 1, INT64_MAX, 8, 0, value, NULL) == KX_E_OVERFLOW,
          "size");
    ctx.workers = 3;
    CHECK(kx_losses_combinatorial_f64(&ctx, scores, NULL, counts, NULL, ROWS, N, 8, 0, value, other) == KX_OK, "parallel");
    CHECK(memcmp(value, expected, sizeof value) == 0 && memcmp(grad, other, sizeof grad) == 0, "workers change the bits");
    ctx.workers = 1;
    ctx.allocator.allocate = lend;
    ctx.allocator.release = take_back;
    for (int64_t some = 0; some < 3; some++) {
        left = some;
        CHECK(kx_losses_combinatorial_f64(&ctx, scores, NULL, counts, NULL, ROWS, N, 8, 0, value, other) == KX_E_MEMORY,
              "%d blocks", (int)some);
        CHECK(lent == 0, "%d blocks are lost", (int)lent);
    }
    left = 1000;
    CHECK(kx_losses_combinatorial_f64(&ctx, scores, NULL, counts, NULL, ROWS, N, 8, 0, value, other) == KX_OK, "enough blocks");
    CHECK(lent == 0 && memcmp(value, expected, sizeof value) == 0, "%d blocks are lost", (int)lent);
    int asked = 0;
    static double many[200000], many_grad[200000];
    const int64_t half = 100000;
    for (int i = 0; i < 200000; i++) many[i] = check_uniform(-1, 1);
    ctx.cancel = cancel_at_once;
    ctx.cancel_state = &asked;
    CHECK(kx_losses_combinatorial_f64(&ctx, many, NULL, &half, NULL, 1, 200000, 0, 0, value, many_grad) == KX_E_CANCELLED,
          "not cancelled");
    CHECK(asked == 1 && lent == 0, "asked %d times, %d blocks are lost", asked, (int)lent);
}

int main(int argc, char **argv) {
    test_against_enumeration(check_is_long(argc, argv) ? 20000 : 600);
    test_counts_of_sets();
    test_duality();
    test_extremes();
    test_absent_and_bad();
    test_context();
    return check_report();
}
