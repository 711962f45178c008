/* The contrastive losses against long double: near and far rows, masks, extremes, what is no valid input, strides, workers,
   memory that runs out. */
#include "check.h"
#include "kexue/kexue.h"

enum { MOST = 1100, MOST_ROWS = 8 };
static const double nan_value = (double)NAN, infinite = (double)INFINITY;

/* Rows as doubles; where is_float, they hold floats and the work is done in float. */
typedef struct pairs {
    int is_float;
    int64_t count, n;
    double s[MOST_ROWS * MOST], t[MOST_ROWS * MOST], weights[MOST_ROWS * MOST];
    int64_t ids[MOST_ROWS];
    double loss[MOST_ROWS], alone[MOST_ROWS], grad_s[MOST_ROWS * MOST], grad_t[MOST_ROWS * MOST];
} pairs_t;
static pairs_t pairs;
static float narrow[5][MOST_ROWS * MOST], narrow_loss[MOST_ROWS];

enum { DIVERGENCE, IDS, WEIGHTS };

static kx_status_t solve(const kx_ctx_t *ctx, int kind, double alpha) {
    const int64_t count = pairs.count, n = pairs.n;
    const int64_t *ids = kind == IDS ? pairs.ids : NULL;
    if (!pairs.is_float) {
        const ptrdiff_t row = n * 8;
        const double *weights = kind == WEIGHTS ? pairs.weights : NULL;
        if (kind == DIVERGENCE) {
            kx_losses_softmax_symmetric_kl_f64(ctx, pairs.s, pairs.t, count, n, row, row, pairs.alone, NULL, NULL, 0);
            return kx_losses_softmax_symmetric_kl_f64(ctx, pairs.s, pairs.t, count, n, row, row, pairs.loss, pairs.grad_s,
                                                      pairs.grad_t, row);
        }
        kx_losses_r_drop_f64(ctx, pairs.s, pairs.t, ids, weights, count, n, row, row, row, alpha, pairs.alone, NULL, NULL, 0);
        return kx_losses_r_drop_f64(ctx, pairs.s, pairs.t, ids, weights, count, n, row, row, row, alpha, pairs.loss, pairs.grad_s,
                                    pairs.grad_t, row);
    }
    const ptrdiff_t row = n * 4;
    const float *weights = kind == WEIGHTS ? narrow[2] : NULL;
    for (int64_t i = 0; i < count * n; i++) {
        narrow[0][i] = (float)pairs.s[i];
        narrow[1][i] = (float)pairs.t[i];
        narrow[2][i] = (float)pairs.weights[i];
    }
    kx_status_t status;
    for (int turn = 0; turn < 2; turn++) {
        float *by_s = turn ? narrow[3] : NULL, *by_t = turn ? narrow[4] : NULL;
        if (kind == DIVERGENCE)
            status = kx_losses_softmax_symmetric_kl_f32(ctx, narrow[0], narrow[1], count, n, row, row, narrow_loss, by_s, by_t,
                                                        row);
        else
            status = kx_losses_r_drop_f32(ctx, narrow[0], narrow[1], ids, weights, count, n, row, row, row, alpha, narrow_loss,
                                          by_s, by_t, row);
        for (int64_t r = 0; r < count; r++) (turn ? pairs.loss : pairs.alone)[r] = (double)narrow_loss[r];
    }
    for (int64_t i = 0; i < count * n; i++) {
        pairs.grad_s[i] = (double)narrow[3][i];
        pairs.grad_t[i] = (double)narrow[4][i];
    }
    return status;
}

static void log_softmax(const double *x, int64_t n, long double *out) {
    long double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) top = (long double)x[i] > top ? (long double)x[i] : top;
    int64_t at = 0;
    while ((long double)x[at] != top) at++;
    for (int64_t i = 0; i < n; i++) sum += i == at ? 0 : expl((long double)x[i] - top);
    for (int64_t i = 0; i < n; i++) out[i] = (long double)x[i] - top - log1pl(sum);
}

/* Row r against the formulas; errors in units of what bounds them. */
static void compare_row(int kind, double factor, int64_t r, double *worst_loss, double *worst_grad) {
    static long double log_p[MOST], log_q[MOST];
    const int64_t n = pairs.n;
    const double *s = pairs.s + r * n, *t = pairs.t + r * n;
    log_softmax(s, n, log_p);
    log_softmax(t, n, log_q);
    long double kl_s = 0, kl_t = 0, loss = 0, far = 0, step = 0, weight = 0;
    for (int64_t i = 0; i < n; i++) {
        const double w = kind == WEIGHTS ? pairs.weights[r * n + i] : kind == IDS && i == pairs.ids[r] ? 1 : 0;
        weight += w;
        if (w > 0) loss -= w * (log_p[i] + log_q[i]);
        if (isinf(s[i])) continue;
        const long double p = expl(log_p[i]), q = expl(log_q[i]), ratio = log_p[i] - log_q[i];
        kl_s += p * ratio;
        kl_t += q * ratio;
        loss += (long double)factor * q * expm1l(ratio) * ratio;
        far = fabsl(ratio) > far ? fabsl(ratio) : far;
        const long double between = fabsl((long double)s[i] - (long double)t[i]);
        step = between > step ? between : step;
    }
    /* s - t has the rounding of its own size, and the reference that of logits of 30 */
    const long double rounded = 1 + (far > 0 ? (step + 30 * 0x1p-18L) / far : 0);
    const double off = (double)(fabsl((long double)pairs.loss[r] - loss) / (loss * rounded));
    *worst_loss = loss > 0 ? fmax(*worst_loss, off) : *worst_loss;
    CHECK(loss > 0 || pairs.loss[r] == 0, "a loss of %g", pairs.loss[r]);
    for (int64_t i = 0; i < n; i++) {
        const double w = kind == WEIGHTS ? pairs.weights[r * n + i] : kind == IDS && i == pairs.ids[r] ? 1 : 0;
        const double got_s = pairs.grad_s[r * n + i], got_t = pairs.grad_t[r * n + i];
        if (isinf(s[i])) {
            CHECK(got_s == -w && got_t == -w, "masked: %g and %g", got_s, got_t);
            continue;
        }
        const long double p = expl(log_p[i]), q = expl(log_q[i]), ratio = log_p[i] - log_q[i], apart = q * expm1l(ratio);
        /* p - 1 of the most likely one is the sum of the others */
        const long double own_s = kind == IDS && w > 0 ? expm1l(log_p[i]) : p * weight - w;
        const long double own_t = kind == IDS && w > 0 ? expm1l(log_q[i]) : q * weight - w;
        const long double by_s = (long double)factor * (apart + p * (ratio - kl_s)) + own_s;
        const long double by_t = (long double)factor * (-apart - q * (ratio - kl_t)) + own_t;
        const long double common = (long double)factor * (p + q) * far * rounded;
        const long double size_s = common + (kind == IDS ? fabsl(own_s) : p * weight + w);
        const long double size_t = common + (kind == IDS ? fabsl(own_t) : q * weight + w);
        const double off_s = (double)(fabsl((long double)got_s - by_s) / (size_s + 1e-30L));
        const double off_t = (double)(fabsl((long double)got_t - by_t) / (size_t + 1e-30L));
        *worst_grad = fmax(*worst_grad, fmax(off_s, off_t));
    }
    CHECK(memcmp(pairs.loss + r, pairs.alone + r, 8) == 0, "%.17g without a gradient, %.17g with", pairs.alone[r], pairs.loss[r]);
}

static void fill(int64_t count, int64_t n, double spread, double distance, int masks) {
    pairs.count = count;
    pairs.n = n;
    for (int64_t i = 0; i < count * n; i++) {
        pairs.s[i] = check_uniform(-spread, spread);
        pairs.t[i] = pairs.s[i] + check_uniform(-distance, distance);
        pairs.weights[i] = check_random() % 3 ? check_uniform(0, 1) : 0;
        if (pairs.is_float) {
            pairs.s[i] = (double)(float)pairs.s[i];
            pairs.t[i] = (double)(float)pairs.t[i];
            pairs.weights[i] = (double)(float)pairs.weights[i];
        }
        if (masks && i % n && check_random() % 4 == 0) pairs.s[i] = pairs.t[i] = -infinite, pairs.weights[i] = 0;
    }
    for (int64_t r = 0; r < count; r++) pairs.ids[r] = masks ? 0 : (int64_t)(check_random() % (uint64_t)n);
}

static void test_rows(int rounds) {
    static const double spreads[] = {0.1, 3, 30}, distances[] = {1e-4, 0.1, 2, 40};
    for (pairs.is_float = 0; pairs.is_float < 2; pairs.is_float++) {
        double worst_loss = 0, worst_grad = 0;
        for (int turn = 0; turn < rounds; turn++) {
            const int64_t n = turn % 40 == 0 ? MOST - turn % 7 : 1 + (int64_t)(check_random() % (turn / 12 % 2 ? 140 : 4));
            fill(1 + turn % 3, n, spreads[turn % 3], distances[turn % 4], turn % 5 == 0);
            const int kind = turn / 4 % 3;
            const double alpha = kind == DIVERGENCE ? 2 : check_uniform(0, 5);
            CHECK(solve(NULL, kind, alpha) == KX_OK, "n %d", (int)n);
            for (int64_t r = 0; r < pairs.count; r++) compare_row(kind, alpha / 2, r, &worst_loss, &worst_grad);
        }
        const double bound = pairs.is_float ? 0x1p-17 : 0x1p-45;
        CHECK(worst_loss <= bound, "losses are off by %g, float %d", worst_loss, pairs.is_float);
        CHECK(worst_grad <= bound, "gradients are off by %g, float %d", worst_grad, pairs.is_float);
    }
}

static void test_symmetry_and_extremes(void) {
    for (pairs.is_float = 0; pairs.is_float < 2; pairs.is_float++) {
        static pairs_t other;
        fill(5, 77, 8, 3, 1);
        CHECK(solve(NULL, DIVERGENCE, 0) == KX_OK, "one way");
        other = pairs;
        memcpy(pairs.s, other.t, sizeof other.t);
        memcpy(pairs.t, other.s, sizeof other.s);
        CHECK(solve(NULL, DIVERGENCE, 0) == KX_OK, "the other way");
        const size_t used = 5 * 77 * sizeof(double);
        CHECK(memcmp(pairs.loss, other.loss, 5 * sizeof(double)) == 0, "the loss is not symmetric");
        for (size_t i = 0; i < used / sizeof(double); i++)
            CHECK(pairs.grad_s[i] == other.grad_t[i] && pairs.grad_t[i] == other.grad_s[i], "entry %d", (int)i);

        fill(2, 2, 1, 0, 0);
        const double rows[] = {1e4, -1e4, 5, 5}, opposite[] = {-1e4, 1e4, 5 + 1024, 5 + 1024};
        memcpy(pairs.s, rows, sizeof rows);
        memcpy(pairs.t, opposite, sizeof opposite);
        CHECK(solve(NULL, DIVERGENCE, 0) == KX_OK && pairs.loss[0] == 4e4 && pairs.loss[1] == 0, "%g and %g", pairs.loss[0],
              pairs.loss[1]);
        CHECK(pairs.grad_s[0] == 1 && pairs.grad_s[1] == -1 && pairs.grad_t[0] == -1 && pairs.grad_t[1] == 1, "far");
        CHECK(pairs.grad_s[2] == 0 && pairs.grad_t[3] == 0, "a constant apart: %g", pairs.grad_s[2]);
        pairs.ids[0] = 0;
        CHECK(solve(NULL, IDS, 1) == KX_OK && pairs.loss[0] == 4e4, "%g", pairs.loss[0]);
        CHECK(pairs.grad_s[0] == 0.5 && pairs.grad_t[0] == -1.5, "%g and %g", pairs.grad_s[0], pairs.grad_t[0]);
    }
}

static void test_invalid_rows(void) {
    for (pairs.is_float = 0; pairs.is_float < 2; pairs.is_float++)
        for (int at = 0; at < 40; at += 13)
            for (int kind = DIVERGENCE; kind <= WEIGHTS; kind++) {
                static const double bad[][2] = {{1, (double)NAN}, {(double)NAN, 1}, {(double)NAN, (double)NAN},
                                                {(double)INFINITY, 1}, {1, (double)INFINITY}, {-(double)INFINITY, 1},
                                                {1, -(double)INFINITY}, {(double)NAN, -(double)INFINITY},
                                                {-(double)INFINITY, (double)NAN}};
                for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
                    for (int masks = 0; masks < 2; masks++) {
                        fill(3, 40, 1, 1, masks);
                        pairs.s[40 + at] = bad[b][0];
                        pairs.t[40 + at] = bad[b][1];
                        CHECK(solve(NULL, kind, 1) == KX_OK, "kind %d", kind);
                        CHECK(isnan(pairs.loss[1]) && isnan(pairs.alone[1]), "%g and %g: %g", bad[b][0], bad[b][1],
                              pairs.loss[1]);
                        CHECK(pairs.loss[0] > 0 && pairs.loss[2] > 0, "the rows around it");
                    }
            }
    pairs.is_float = 0;
    fill(3, 40, 1, 1, 0);
    for (int i = 0; i < 40; i++) pairs.s[40 + i] = pairs.t[40 + i] = -infinite;
    CHECK(solve(NULL, DIVERGENCE, 0) == KX_OK && isnan(pairs.loss[1]) && pairs.loss[2] > 0, "nothing but -inf");
    fill(3, 40, 1, 1, 0);
    pairs.s[45] = 1.7e308;
    pairs.t[45] = -1.7e308;
    CHECK(solve(NULL, DIVERGENCE, 0) == KX_OK && isnan(pairs.loss[1]) && pairs.loss[2] > 0, "too far apart");
    static const double weights[] = {-1e-300, (double)NAN, (double)INFINITY};
    for (int b = 0; b < 3; b++) {
        fill(3, 40, 1, 1, 0);
        pairs.weights[79] = weights[b];
        CHECK(solve(NULL, WEIGHTS, 1) == KX_OK && isnan(pairs.loss[1]) && pairs.loss[2] > 0, "a weight of %g", weights[b]);
    }
    fill(3, 40, 1, 1, 0);
    pairs.ids[0] = -1;
    pairs.ids[1] = 40;
    CHECK(solve(NULL, IDS, 1) == KX_OK && isnan(pairs.loss[0]) && isnan(pairs.loss[1]) && pairs.loss[2] > 0, "ids");
    pairs.ids[0] = pairs.ids[1] = 3;
    pairs.s[3] = pairs.t[3] = -infinite;
    CHECK(solve(NULL, IDS, 1) == KX_OK && pairs.loss[0] == infinite && pairs.grad_s[3] == -1, "a masked label: %g",
          pairs.loss[0]);
}

/* ---- InfoNCE ---- */

static double squares[6 * 70 * 70], square_grad[6 * 70 * 70], square_loss[6], square_alone[6];
static float narrow_squares[6 * 70 * 70], narrow_grad[6 * 70 * 70];

static kx_status_t solve_squares(int is_float, int64_t count, int64_t n, double temperature, int is_symmetric) {
    const ptrdiff_t row = n * (is_float ? 4 : 8);
    if (!is_float) {
        kx_losses_info_nce_f64(NULL, squares, count, n, n * row, row, temperature, is_symmetric, square_alone, NULL);
        return kx_losses_info_nce_f64(NULL, squares, count, n, n * row, row, temperature, is_symmetric, square_loss, square_grad);
    }
    float loss[6], alone[6];
    for (int64_t i = 0; i < count * n * n; i++) narrow_squares[i] = (float)squares[i];
    kx_losses_info_nce_f32(NULL, narrow_squares, count, n, n * row, row, temperature, is_symmetric, alone, NULL);
    const kx_status_t status =
        kx_losses_info_nce_f32(NULL, narrow_squares, count, n, n * row, row, temperature, is_symmetric, loss, narrow_grad);
    for (int64_t m = 0; m < count; m++) square_loss[m] = (double)loss[m], square_alone[m] = (double)alone[m];
    for (int64_t i = 0; i < count * n * n; i++) square_grad[i] = (double)narrow_grad[i];
    return status;
}

static void compare_square(const double *c, int64_t n, double temperature, int is_symmetric, double loss, const double *grad,
                           double normal, double *worst_loss, double *worst_grad) {
    static long double exact[70 * 70];
    const long double inverse = 1 / (long double)temperature, share = 1 / (long double)(n * (1 + is_symmetric));
    long double total = 0;
    for (int64_t i = 0; i < n * n; i++) exact[i] = 0;
    for (int turn = 0; turn <= is_symmetric; turn++)
        for (int64_t i = 0; i < n; i++) {
            const int64_t step = turn ? n : 1, start = turn ? i : i * n;
            const long double own = (long double)c[i * (n + 1)];
            long double top = 0, sum = 0;
            for (int64_t j = 0; j < n; j++) {
                const long double z = ((long double)c[start + j * step] - own) * inverse;
                top = j != i && z > top ? z : top;
            }
            for (int64_t j = 0; j < n; j++)
                if (j != i) sum += expl(((long double)c[start + j * step] - own) * inverse - top);
            total += top > 0 ? top + logl(sum + expl(-top)) : log1pl(sum);
            for (int64_t j = 0; j < n; j++) {
                const long double e = expl(((long double)c[start + j * step] - own) * inverse - top);
                exact[start + j * step] += share * inverse * (j == i ? -sum : e) / (sum + expl(-top));
            }
        }
    total *= share;
    *worst_loss = fmax(*worst_loss, (double)(fabsl((long double)loss - total) / (total + (long double)normal)));
    for (int64_t i = 0; i < n * n; i++)
        *worst_grad = fmax(*worst_grad, (double)(fabsl((long double)grad[i] - exact[i]) /
                                                 (fabsl(exact[i]) + 1e-20L * share * inverse)));
}

static void test_info_nce(int rounds) {
    /* The largest exponent, and whether it is below what one exponential serves. */
    static const double temperatures[] = {1, 0.05, 0.02, 0.002, 1e-4};
    for (int is_float = 0; is_float < 2; is_float++)
        for (int k = 0; k < 5; k++) {
            const double temperature = temperatures[k];
            double worst_loss = 0, worst_grad = 0;
            for (int turn = 0; turn < rounds; turn++) {
                const int64_t n = turn % 5 == 0 ? 70 - turn % 3 : 1 + (int64_t)(check_random() % 40), count = 1 + turn % 3;
                const double diagonal = turn % 4 == 0 ? 1.5 : 0;
                for (int64_t i = 0; i < count * n * n; i++) {
                    squares[i] = check_uniform(-1, 1) + (i % (n * n) % (n + 1) == 0 ? diagonal : 0);
                    if (turn % 3 == 0 && i % (n * n) % (n + 1) && check_random() % 5 == 0) squares[i] = -infinite;
                    if (is_float) squares[i] = (double)(float)squares[i];
                }
                const int is_symmetric = turn / 2 % 2;
                CHECK(solve_squares(is_float, count, n, temperature, is_symmetric) == KX_OK, "n %d", (int)n);
                for (int64_t m = 0; m < count; m++) {
                    compare_square(squares + m * n * n, n, temperature, is_symmetric, square_loss[m], square_grad + m * n * n,
                                   is_float ? 0x1p-126 : 0x1p-1022, &worst_loss, &worst_grad);
                    CHECK(memcmp(square_loss + m, square_alone + m, 8) == 0, "%.17g and %.17g", square_loss[m], square_alone[m]);
                }
            }
            /* an exponent of that size, rounded three times, and the exponential */
            const double exponent = fmin(3.5 / temperature, is_float ? 100 : 700);
            const double bound = (8 + 3 * exponent) * (is_float ? 0x1p-24 : 0x1p-53);
            CHECK(worst_loss <= bound, "losses are off by %g, not %g: temperature %g, float %d", worst_loss, bound, temperature,
                  is_float);
            CHECK(worst_grad <= bound || temperature < 0.05, "gradients are off by %g, not %g: temperature %g, float %d",
                  worst_grad, bound, temperature, is_float);
        }
}

static void test_info_nce_extremes(void) {
    for (int is_float = 0; is_float < 2; is_float++)
        for (int is_symmetric = 0; is_symmetric < 2; is_symmetric++) {
            for (int i = 0; i < 16; i++) squares[i] = i % 5 == 0 ? 1e4 : -1e4;
            CHECK(solve_squares(is_float, 1, 4, 0.05, is_symmetric) == KX_OK && square_loss[0] == 0, "%g", square_loss[0]);
            for (int i = 0; i < 16; i++) CHECK(square_grad[i] == 0, "%g", square_grad[i]);
            for (int i = 0; i < 16; i++) squares[i] = -squares[i];
            CHECK(solve_squares(is_float, 1, 4, 0.05, is_symmetric) == KX_OK, "far");
            CHECK(fabs(square_loss[0] - (4e5 + log(3))) <= 0.1, "%g", square_loss[0]);
            CHECK(fabs(square_grad[0] + 5) < 1e-4 && fabs(square_grad[1] - 5.0 / 3) < 1e-4 * (1 + is_symmetric), "%g and %g",
                  square_grad[0], square_grad[1]);
            /* the diagonal far from itself: rows and columns have nothing in common */
            for (int i = 0; i < 16; i++) squares[i] = i % 5 == 0 ? 40 * (i / 5) : i / 4 + i % 4;
            double loss_off = 0, grad_off = 0;
            CHECK(solve_squares(is_float, 1, 4, 0.05, is_symmetric) == KX_OK, "steps");
            compare_square(squares, 4, 0.05, is_symmetric, square_loss[0], square_grad, 0, &loss_off, &grad_off);
            CHECK(loss_off <= 1e-5, "%g", loss_off);

            static const double bad[] = {(double)NAN, (double)INFINITY, 1e39, -1e39, -(double)INFINITY};
            for (int b = 0; b < 5; b++)
                for (int at = 0; at < 16; at += 5 - (b < 2)) {
                    for (int i = 0; i < 48; i++) squares[i] = 1 - i % 3;
                    squares[16 + at] = b == 2 || b == 3 ? bad[b] * (is_float ? 1e-3 : 1e268) : bad[b];
                    CHECK(solve_squares(is_float, 3, 4, 1e-4, is_symmetric) == KX_OK, "matrices");
                    CHECK(isnan(square_loss[1]) && isnan(square_alone[1]), "%g at %d: %g", bad[b], at, square_loss[1]);
                    CHECK(square_loss[0] > 0 && square_loss[2] > 0, "the matrices around it");
                }
        }
}

/* ---- contexts, arguments ---- */

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

static void test_contexts(void) {
    enum { N = 700 };
    static double c[N * N], one[N * N], other[N * N], loss[N], same[N], by_s[N * N], by_t[N * N], again_s[N * N], again_t[N * N];
    static float f[N * N], f_one[N * N], f_other[N * N];
    const ptrdiff_t row = N * 8;
    for (int i = 0; i < N * N; i++) c[i] = check_uniform(-1, 1), f[i] = (float)c[i];
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    for (int is_symmetric = 0; is_symmetric < 2; is_symmetric++)
        for (int k = 0; k < 2; k++) {
            const double temperature = k ? 0.05 : 0.001;
            float f_loss, f_same;
            ctx.workers = 1;
            CHECK(kx_losses_info_nce_f64(&ctx, c, 1, N, 0, row, temperature, is_symmetric, loss, one) == KX_OK, "serial");
            CHECK(kx_losses_info_nce_f32(&ctx, f, 1, N, 0, N * 4, temperature, is_symmetric, &f_loss, f_one) == KX_OK, "serial");
            ctx.workers = 3;
            CHECK(kx_losses_info_nce_f64(&ctx, c, 1, N, 0, row, temperature, is_symmetric, same, other) == KX_OK, "parallel");
            CHECK(kx_losses_info_nce_f32(&ctx, f, 1, N, 0, N * 4, temperature, is_symmetric, &f_same, f_other) == KX_OK,
                  "parallel");
            CHECK(loss[0] == same[0] && memcmp(one, other, sizeof one) == 0, "workers change the bits");
            CHECK(memcmp(&f_loss, &f_same, 4) == 0 && memcmp(f_one, f_other, sizeof f_one) == 0, "workers change the bits");
            double slope = 0;
            for (int i = 0; i < N * N; i++) slope += one[i];
            CHECK(fabs(slope) <= 1e-12 / temperature, "the gradient sums to %g", slope);
        }
    static int64_t ids[N];
    for (int i = 0; i < N; i++) ids[i] = i;
    ctx.workers = 1;
    CHECK(kx_losses_r_drop_f64(&ctx, c, c + N, ids, NULL, N - 1, N, row, row, 0, 2, loss, by_s, by_t, row) == KX_OK, "serial");
    ctx.workers = 3;
    CHECK(kx_losses_r_drop_f64(&ctx, c, c + N, ids, NULL, N - 1, N, row, row, 0, 2, same, again_s, again_t, row) == KX_OK,
          "parallel");
    CHECK(memcmp(loss, same, (N - 1) * 8) == 0 && memcmp(by_s, again_s, sizeof by_s) == 0, "workers change the bits");
    CHECK(memcmp(by_t, again_t, sizeof by_t) == 0, "workers change the bits");
    /* rows that are repeated, and that lie apart */
    CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, c, c + N, 10, N, 0, 2 * row, loss, by_s, by_t, row) == KX_OK, "strides");
    for (int r = 0; r < 10; r++) {
        const double *t = c + N + 2 * r * N;
        CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, c, t, 1, N, 0, 0, same, again_s, again_t, 0) == KX_OK, "row");
        CHECK(same[0] == loss[r] && memcmp(again_t, by_t + r * N, (size_t)row) == 0, "row %d", r);
    }

    ctx.workers = 1;
    ctx.allocator.allocate = lend;
    ctx.allocator.release = take_back;
    left = 0;
    CHECK(kx_losses_r_drop_f64(&ctx, c, c, ids, NULL, 9, N, row, row, 0, 2, loss, NULL, NULL, 0) == KX_E_MEMORY, "r_drop");
    for (int k = 0; k < 2; k++)
        CHECK(kx_losses_info_nce_f64(&ctx, c, 1, N, 0, row, 1, k, loss, one) == KX_E_MEMORY, "info_nce, %d", k);
    left = 100000;
    int asked = 0;
    ctx.cancel = cancel_at_once;
    ctx.cancel_state = &asked;
    enum { MANY = 400000 };
    static double many[MANY];
    CHECK(kx_losses_softmax_symmetric_kl_f64(&ctx, c, c + N, MANY, N, 0, 0, many, NULL, NULL, 0) == KX_E_CANCELLED, "rows");
    for (int k = 0; k < 2; k++)
        CHECK(kx_losses_info_nce_f64(&ctx, c, MANY, N, 0, row, 1, k, many, NULL) == KX_E_CANCELLED, "info_nce, %d", k);
    CHECK(kx_losses_info_nce_f64(&ctx, c, MANY, 40, 0, row, 1, 1, many, NULL) == KX_E_CANCELLED, "small matrices");
    CHECK(lent == 0 && asked == 4, "%d blocks are lost, asked %d times", (int)lent, asked);
}

static void test_arguments(void) {
    double x[4] = {0}, loss[2], grad[4];
    const int64_t id = 0;
    CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, x, x, -1, 2, 0, 0, loss, NULL, NULL, 0) == KX_E_ARGUMENT, "count");
    CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, x, x, 1, 0, 0, 0, loss, NULL, NULL, 0) == KX_E_ARGUMENT, "n");
    CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, x, x, 1, 2, 0, 0, loss, grad, NULL, 0) == KX_E_ARGUMENT, "one gradient");
    CHECK(kx_losses_softmax_symmetric_kl_f64(NULL, NULL, NULL, 0, 2, 0, 0, NULL, NULL, NULL, 0) == KX_OK, "no rows");
    CHECK(kx_losses_r_drop_f64(NULL, x, x, NULL, NULL, 1, 2, 0, 0, 0, 1, loss, NULL, NULL, 0) == KX_E_ARGUMENT, "no targets");
    CHECK(kx_losses_r_drop_f64(NULL, x, x, &id, NULL, 1, 2, 0, 0, 0, -1, loss, NULL, NULL, 0) == KX_E_ARGUMENT, "alpha");
    CHECK(kx_losses_r_drop_f64(NULL, x, x, &id, NULL, 1, 2, 0, 0, 0, nan_value, loss, NULL, NULL, 0) == KX_E_ARGUMENT, "alpha");
    CHECK(kx_losses_r_drop_f64(NULL, x, x, &id, NULL, 1, 2, 0, 0, 0, 1, loss, NULL, NULL, 0) == KX_OK, "fine");
    CHECK(fabs(loss[0] - 2 * log(2)) <= 1e-15, "%g", loss[0]);
    static const double temperatures[] = {0, -1, (double)NAN, (double)INFINITY, 1e-320};
    for (int k = 0; k < 5; k++)
        CHECK(kx_losses_info_nce_f64(NULL, x, 1, 2, 0, 16, temperatures[k], 0, loss, NULL) == KX_E_ARGUMENT, "%g",
              temperatures[k]);
    CHECK(kx_losses_info_nce_f64(NULL, x, 1, 0, 0, 16, 1, 0, loss, NULL) == KX_E_ARGUMENT, "n");
    CHECK(kx_losses_info_nce_f64(NULL, x, -1, 2, 0, 16, 1, 0, loss, NULL) == KX_E_ARGUMENT, "count");
    CHECK(kx_losses_info_nce_f64(NULL, NULL, 0, 2, 0, 16, 1, 1, NULL, NULL) == KX_OK, "no matrices");
}

/* e^d - 1 - d */
static long double excess_of(long double d) {
    if (fabsl(d) > 0.1L) return expm1l(d) - d;
    long double term = 1, sum = 0;
    for (int k = 2; k < 16; k++) {
        term *= d / (k == 2 ? 2 : k) * (k == 2 ? d : 1);
        sum += term;
    }
    return sum;
}

/* KL of two rows and its gradient, by positive terms; the largest |log p - log q|. */
static long double kl_reference(const double *a, const double *b, int64_t n, long double *grad, long double *farthest) {
    static long double p[MOST], d[MOST];
    long double sum = 0, total = 0, top = (long double)a[0];
    for (int64_t i = 1; i < n; i++) top = fmaxl(top, (long double)a[i]);
    for (int64_t i = 0; i < n; i++) sum += p[i] = expl((long double)a[i] - top), d[i] = (long double)b[i] - (long double)a[i];
    for (int turn = 0; turn < 3; turn++) {
        long double mean = 0;
        for (int64_t i = 0; i < n; i++) mean += p[i] / sum * d[i];
        for (int64_t i = 0; i < n; i++) d[i] -= mean;
    }
    for (int64_t i = 0; i < n; i++) total += p[i] / sum * excess_of(d[i]);
    *farthest = 0;
    for (int64_t i = 0; i < n; i++) {
        grad[i] = p[i] / sum * (expm1l(d[i]) - total) / (1 + total);
        *farthest = fmaxl(*farthest, fabsl(d[i] - log1pl(total)));
    }
    return log1pl(total);
}

static void test_softmax_kl(int64_t rounds) {
    static double a[MOST], b[MOST], scratch[2 * MOST + 32], grad[MOST];
    static float a32[MOST], b32[MOST], grad32[MOST];
    static long double want[MOST];
    for (int64_t round = 0; round < rounds; round++) {
        const int64_t n = 1 + (int64_t)(check_random() % (round % 8 ? 40 : MOST - 1));
        const double spread = pow(10, check_uniform(-1, 2)), change = pow(10, check_uniform(-9, 2));
        for (int64_t i = 0; i < n; i++) a[i] = check_uniform(-spread, spread), b[i] = a[i] + check_uniform(-change, change);
        double loss, alone, largest = 0;
        long double farthest;
        CHECK(kx_losses_softmax_kl_f64(a, b, 1, n, 0, 0, scratch, &loss, grad, 0) == KX_OK, "n %d", (int)n);
        kx_losses_softmax_kl_f64(a, b, 1, n, 0, 0, scratch, &alone, NULL, 0);
        CHECK(alone == loss, "%g and %g", alone, loss);
        long double kl = kl_reference(a, b, n, want, &farthest);
        for (int64_t i = 0; i < n; i++) largest = fmax(largest, fabs(b[i] - a[i]));
        const long double slack = farthest > 0 ? 1 + (long double)largest / farthest : 1;
        CHECK(fabsl((long double)loss - kl) <= 0x1p-45L * slack * kl, "n %d, spread %g, change %g: %g instead of %g", (int)n,
              spread, change, loss, (double)kl);
        long double worst = 0;
        for (int64_t i = 0; i < n; i++) worst = fmaxl(worst, fabsl((long double)grad[i] - want[i]));
        CHECK(worst <= 0x1p-45L * slack * farthest, "n %d, spread %g, change %g: gradient off by %g", (int)n, spread, change,
              (double)worst);

        for (int64_t i = 0; i < n; i++) a[i] = a32[i] = (float)a[i], b[i] = b32[i] = (float)b[i];
        float loss32;
        kx_losses_softmax_kl_f32(a32, b32, 1, n, 0, 0, scratch, &loss32, grad32, 0);
        kx_losses_softmax_kl_f64(a, b, 1, n, 0, 0, scratch, &loss, grad, 0);
        int64_t wrong = loss32 != (float)loss;
        for (int64_t i = 0; i < n; i++) wrong += grad32[i] != (float)grad[i];
        CHECK(wrong == 0, "n %d: %d of float are not what double rounds to", (int)n, (int)wrong);
    }
}

static void test_softmax_kl_rows(void) {
    double scratch[2 * 3 + 32], loss[8], grad[8 * 4];
    const double infinity = infinite;
    const double a[8 * 4] = {0, 1, 2, 9, 0, 1, 2, 9, 0, nan_value, 2, 9, 0, 1, infinity, 9,
                             -infinity, 1, 2, 9, 0, 1, 2, 9, 0, 1, 701.5, 9, 3, 2, 1, 9};
    const double b[8 * 4] = {0, 1, 2, 9, 5, 6, 7, 9, 0, 1, 2, 9, 0, 1, 2, 9,
                             0, 1, 2, 9, 0, 1, -infinity, 9, 0, 1, 2, 9, 1000, 2, 1, 9};
    CHECK(kx_losses_softmax_kl_f64(a, b, 8, 3, 32, 32, scratch, loss, grad, 32) == KX_OK, "rows of 3, 4 apart");
    CHECK(loss[0] == 0 && loss[1] == 0, "%g and %g for equal softmaxes", loss[0], loss[1]);
    for (int r = 2; r < 7; r++) CHECK(isnan(loss[r]), "row %d: %g", r, loss[r]);
    CHECK(fabs(loss[7] - 333.4) < 0.1, "%g", loss[7]);
    CHECK(kx_losses_softmax_kl_f64(a, b, 2, 3, 0, 32, scratch, loss, NULL, 0) == KX_OK && loss[0] == 0 && loss[1] == 0,
          "a repeated row");
    CHECK(kx_losses_softmax_kl_f64(a, b, -1, 3, 0, 0, scratch, loss, NULL, 0) == KX_E_ARGUMENT, "count");
    CHECK(kx_losses_softmax_kl_f64(a, b, 1, 0, 0, 0, scratch, loss, NULL, 0) == KX_E_ARGUMENT, "n");
    CHECK(kx_losses_softmax_kl_f32(NULL, NULL, 0, 3, 0, 0, NULL, NULL, NULL, 0) == KX_OK, "no rows");
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    test_rows(is_long ? 20000 : 400);
    test_symmetry_and_extremes();
    test_invalid_rows();
    test_softmax_kl(is_long ? 100000 : 2000);
    test_softmax_kl_rows();
    test_info_nce(is_long ? 2000 : 60);
    test_info_nce_extremes();
    test_contexts();
    test_arguments();
    return check_report();
}
