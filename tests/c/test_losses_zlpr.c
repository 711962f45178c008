/* ZLPR and its relatives: accuracy against long double, extremes, masks, invalid rows, flags, bits for any number of workers, and
   nothing written elsewhere. */
#ifndef REAL
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { MOST = 700, ROWS = 150, GUARD = 3 };
static const int64_t lengths[] = {0, 1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 20, 31, 33, 64, 127, 128, 129, 257, 300, MOST};
#define NARROWEST 2e-9 /* e^-20: exponentials of pairs are relative to at least this */
enum { LENGTHS = sizeof lengths / sizeof *lengths };

/* The sums of a row over entries with u given: log(1 + A), log(1 + B). Weights t and 1 - t. */
typedef struct sums {
    long double a, b, top_a, top_b; /* relative to the tops */
} sums;

static long double log1p_scaled(long double sum, long double top) { /* log(1 + sum e^top) */
    return top > 0 ? top + logl(sum + expl(-top)) : log1pl(sum * expl(top));
}

#define REAL double
#define SUFFIX(name) name##_f64
#define ULPS check_ulps_f64
#define EPSILON DBL_EPSILON
#define HUGE 1e300
#define UNROUNDED 300
#define LEAST DBL_TRUE_MIN
#include "test_losses_zlpr.c"
#undef REAL
#undef SUFFIX
#undef ULPS
#undef EPSILON
#undef HUGE
#undef UNROUNDED
#undef LEAST

#define REAL float
#define SUFFIX(name) name##_f32
#define ULPS check_ulps_f32
#define EPSILON FLT_EPSILON
#define HUGE 1e30f
#define UNROUNDED 60
#define LEAST FLT_TRUE_MIN
#include "test_losses_zlpr.c"

static void test_arguments(void) {
    const float scores[2] = {0, 1};
    const uint8_t labels[2] = {0, 1};
    const int64_t falling[] = {1, 0};
    float loss[1], grad[2];
    kx_loss_rows_t rows = {.count = 1, .n = 2, .scores = scores, .labels = labels};
    CHECK(kx_losses_zlpr_f32(NULL, &rows, 0, loss, grad, 0) == KX_OK, "fine");
    CHECK(kx_losses_zlpr_f32(NULL, &rows, -0.1, loss, grad, 0) == KX_E_ARGUMENT, "smoothing below 0");
    CHECK(kx_losses_zlpr_f32(NULL, &rows, (double)NAN, loss, grad, 0) == KX_E_ARGUMENT, "smoothing NaN");
    CHECK(kx_losses_pairwise_rank_f32(NULL, &rows, 0, 0, loss, grad, 0) == KX_E_ARGUMENT, "gamma 0");
    CHECK(kx_losses_pairwise_rank_f32(NULL, &rows, 1e-60, 0, loss, grad, 0) == KX_E_ARGUMENT, "gamma 0 in float32");
    CHECK(kx_losses_pairwise_rank_f32(NULL, &rows, 1, (double)INFINITY, loss, grad, 0) == KX_E_ARGUMENT, "margin");
    CHECK(kx_losses_zlpr_sparse_f32(NULL, &rows, falling, falling, loss, grad, 0) == KX_E_ARGUMENT, "falling offsets");
    CHECK(kx_losses_zlpr_symmetric_kl_f32(NULL, scores, scores, NULL, 1, 2, 0, 0, 0, loss, grad, NULL, 0) == KX_E_ARGUMENT,
          "one gradient");
    rows.labels = NULL;
    CHECK(kx_losses_zlpr_f32(NULL, &rows, 0, loss, grad, 0) == KX_E_ARGUMENT, "no targets");
    rows.n = -1;
    CHECK(kx_losses_zlpr_f32(NULL, &rows, 0, loss, grad, 0) == KX_E_ARGUMENT, "negative size");
    rows.n = INT64_MAX;
    const int64_t none[] = {0, 0};
    CHECK(kx_losses_zlpr_sparse_f32(NULL, &rows, none, none, loss, grad, 0) == KX_E_OVERFLOW, "size");
    CHECK(kx_losses_zlpr_symmetric_kl_f64(NULL, NULL, NULL, NULL, 1, INT64_MAX, 0, 0, 0, NULL, NULL, NULL, 0) == KX_E_OVERFLOW,
          "size of pairs");
    rows.count = 0, rows.n = 2;
    CHECK(kx_losses_zlpr_f32(NULL, &rows, 0, loss, grad, 0) == KX_OK, "no rows");
}

int main(void) {
    test_all_f64();
    test_all_f32();
    test_arguments();
    return check_report();
}

#else /* the template */

typedef struct SUFFIX(rows) {
    REAL scores[ROWS * MOST], targets[ROWS * MOST], thresholds[ROWS], other[ROWS * MOST];
    uint8_t labels[ROWS * MOST], mask[ROWS * MOST];
    REAL loss[ROWS + GUARD], grad[ROWS * MOST + GUARD], loss2[ROWS + GUARD], grad2[ROWS * MOST + GUARD];
} SUFFIX(rows);

static void SUFFIX(fill)(SUFFIX(rows) * d, double scale, double share) {
    for (int64_t i = 0; i < ROWS * MOST; i++) {
        d->scores[i] = (REAL)check_uniform(-scale, scale);
        d->other[i] = (REAL)check_uniform(-scale, scale);
        d->mask[i] = check_uniform(0, 1) < 0.7;
        d->labels[i] = check_uniform(0, 1) < share;
        const double t = check_uniform(0, 1);
        d->targets[i] = t < 0.2 ? 0 : t > 0.8 ? 1 : (REAL)((t - 0.2) / 0.6);
    }
    for (int64_t r = 0; r < ROWS; r++) d->thresholds[r] = (REAL)check_uniform(-scale / 4, scale / 4);
}

/* What the formula says of a row, in long double, of the rounded scores - threshold and rounded weights. */
static long double SUFFIX(exact)(const REAL *s, const uint8_t *labels, const REAL *targets, const uint8_t *mask, REAL threshold,
                                 double smoothing, int64_t n, long double *grad) {
    sums r = {0, 0, -INFINITY, -INFINITY};
    for (int pass = 0; pass < 3; pass++)
        for (int64_t i = 0; i < n; i++) {
            const int is_in = (!mask || mask[i]) && !(isinf(s[i]) && (labels ? !labels[i] : targets[i] == 0));
            const long double u = is_in ? (long double)(REAL)(s[i] - threshold) : 0;
            const long double t = labels ? (long double)labels[i] : (long double)targets[i];
            const long double p = is_in ? t * (1 - (long double)smoothing) + (long double)smoothing / 2 : 0;
            const long double q = is_in ? (1 - t) * (1 - (long double)smoothing) + (long double)smoothing / 2 : 0;
            if (pass == 0) {
                if (p > 0 && -u > r.top_a) r.top_a = -u;
                if (q > 0 && u > r.top_b) r.top_b = u;
            } else if (pass == 1) {
                if (p > 0) r.a += p * expl(-u - r.top_a);
                if (q > 0) r.b += q * expl(u - r.top_b);
            } else {
                grad[i] = 0;
                if (p > 0) grad[i] -= expl(-u - (r.a > 0 ? log1p_scaled(r.a, r.top_a) : 0)) * p;
                if (q > 0) grad[i] += expl(u - (r.b > 0 ? log1p_scaled(r.b, r.top_b) : 0)) * q;
            }
        }
    return (r.a > 0 ? log1p_scaled(r.a, r.top_a) : 0) + (r.b > 0 ? log1p_scaled(r.b, r.top_b) : 0);
}

static void SUFFIX(test_accuracy)(SUFFIX(rows) * d, double scale, int64_t n, int form) {
    const int is_soft = form & 1, has_mask = form & 2, has_threshold = form & 4, is_smooth = form & 8;
    const double smoothing = is_smooth ? 0.125 : 0;
    SUFFIX(fill)(d, scale, 0.1);
    for (int64_t i = 0; i < ROWS * MOST; i++)
        if (has_mask && !d->mask[i]) {
            d->labels[i] = 0, d->targets[i] = 0;
            if (check_uniform(0, 1) < 0.5) d->scores[i] = (REAL)NAN; /* is not looked at */
        } else if (has_mask && check_uniform(0, 1) < 0.1) {
            d->labels[i] = 0, d->targets[i] = 0, d->scores[i] = -(REAL)INFINITY;
        }
    kx_loss_rows_t rows = {.count = ROWS, .n = n, .scores = d->scores, .score_stride = MOST * sizeof(REAL),
                           .labels = is_soft ? NULL : d->labels, .label_stride = MOST, .targets = d->targets,
                           .target_stride = MOST * sizeof(REAL), .mask = has_mask ? d->mask : NULL, .mask_stride = MOST,
                           .thresholds = has_threshold ? d->thresholds : NULL, .threshold_stride = sizeof(REAL)};
    for (int i = 0; i < GUARD; i++) d->grad[(ROWS - 1) * MOST + n + i] = d->loss[ROWS + i] = 77;
    feclearexcept(FE_ALL_EXCEPT);
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, smoothing, d->loss, d->grad, MOST * sizeof(REAL)) == KX_OK, "status");
    CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags of scale %g, n = %d, form %d", scale, (int)n, form);
    for (int i = 0; i < GUARD; i++)
        CHECK(d->grad[(ROWS - 1) * MOST + n + i] == 77 && d->loss[ROWS + i] == 77, "written elsewhere, n = %d", (int)n);
    for (int64_t r = 0; r < ROWS; r += n > 100 ? 9 : 1) {
        static long double grad[MOST];
        const long double loss =
            SUFFIX(exact)(d->scores + r * MOST, is_soft ? NULL : d->labels + r * MOST, d->targets + r * MOST,
                          has_mask ? d->mask + r * MOST : NULL, has_threshold ? d->thresholds[r] : 0, smoothing, n, grad);
        const double error = ULPS(d->loss[r], loss);
        CHECK(error <= 4, "loss %g ulp, scale %g, n = %d, form %d", error, scale, (int)n, form);
        long double most = 0;
        for (int64_t i = 0; i < n; i++) most = fabsl(grad[i]) > most ? fabsl(grad[i]) : most;
        for (int64_t i = 0; i < n; i++) {
            const double got = (double)d->grad[r * MOST + i];
            /* of a graded target two terms cancel, and a term that underflows is lost */
            const double room = is_soft || is_smooth ? 8 * (double)EPSILON + 8 * (double)EPSILON * (double)fabsl(grad[i]) : 0;
            const double relative = ULPS(d->grad[r * MOST + i], grad[i]);
            const double distance = (double)logl(most / fabsl(grad[i]));
            const double most_ulps = 8 + (scale > UNROUNDED && distance > 0 ? distance : 0);
            CHECK(relative <= most_ulps || fabs(got - (double)grad[i]) <= room,
                  "gradient %g (%g ulp), want %Lg, scale %g, n = %d, form %d", got, relative, grad[i], scale, (int)n, form);
        }
    }

    /* without the gradient, and with workers: the same bits */
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 3;
    CHECK(SUFFIX(kx_losses_zlpr)(&ctx, &rows, smoothing, d->loss2, d->grad2, MOST * sizeof(REAL)) == KX_OK, "status");
    CHECK(memcmp(d->loss, d->loss2, ROWS * sizeof(REAL)) == 0, "losses of workers");
    for (int64_t r = 0; r < ROWS; r++)
        CHECK(memcmp(d->grad + r * MOST, d->grad2 + r * MOST, (size_t)n * sizeof(REAL)) == 0, "gradients of workers");
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, smoothing, d->loss2, NULL, 0) == KX_OK, "status");
    CHECK(memcmp(d->loss, d->loss2, ROWS * sizeof(REAL)) == 0, "losses alone");
    if (is_soft || is_smooth) return;

    /* 0 and 1 as numbers, and as ids */
    for (int64_t i = 0; i < ROWS * MOST; i++) d->targets[i] = (REAL)d->labels[i];
    rows.labels = NULL;
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0, d->loss2, d->grad2, MOST * sizeof(REAL)) == KX_OK, "status");
    CHECK(memcmp(d->loss, d->loss2, ROWS * sizeof(REAL)) == 0, "losses of real targets");
    static int64_t offsets[ROWS + 1], ids[ROWS * MOST];
    for (int64_t r = 0; r < ROWS; r++) {
        offsets[r + 1] = offsets[r];
        for (int64_t i = n - 1; i >= 0; i--)
            if (d->labels[r * MOST + i]) ids[offsets[r + 1]++] = i;
    }
    rows.targets = NULL;
    memset(d->grad2, 0x55, sizeof d->grad2);
    CHECK(SUFFIX(kx_losses_zlpr_sparse)(&ctx, &rows, offsets, ids, d->loss2, d->grad2, MOST * sizeof(REAL)) == KX_OK, "status");
    CHECK(memcmp(d->loss, d->loss2, ROWS * sizeof(REAL)) == 0, "losses of ids");
    for (int64_t r = 0; r < ROWS; r++)
        CHECK(memcmp(d->grad + r * MOST, d->grad2 + r * MOST, (size_t)n * sizeof(REAL)) == 0, "gradients of ids");
}

static void SUFFIX(test_rank)(SUFFIX(rows) * d, double scale, int64_t n, double gamma, double margin) {
    SUFFIX(fill)(d, scale, 0.3);
    kx_loss_rows_t rows = {.count = ROWS, .n = n, .scores = d->scores, .score_stride = MOST * sizeof(REAL), .labels = d->labels,
                           .label_stride = MOST};
    CHECK(SUFFIX(kx_losses_pairwise_rank)(NULL, &rows, gamma, margin, d->loss, d->grad, MOST * sizeof(REAL)) == KX_OK, "status");
    for (int64_t r = 0; r < ROWS; r += n > 100 ? 9 : 1) {
        long double top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0}, size = 0;
        const long double g = (long double)(REAL)gamma;
        for (int pass = 0; pass < 2; pass++)
            for (int64_t i = 0; i < n; i++) {
                const int t = d->labels[r * MOST + i];
                const long double s = (long double)d->scores[r * MOST + i], z = t ? -g * s : g * (s + (long double)margin);
                if (pass == 0 && z > top[t]) top[t] = z;
                if (fabsl(z) > size) size = fabsl(z);
                if (pass) sum[t] += expl(z - top[t]);
            }
        const int has_pair = sum[0] > 0 && sum[1] > 0;
        const long double x = has_pair ? top[0] + top[1] + logl(sum[0]) + logl(sum[1]) : -INFINITY;
        const long double loss = !has_pair ? 0 : x > 0 ? x + log1pl(expl(-x)) : log1pl(expl(x));
        const double room = (double)EPSILON * (double)(8 + 4 * size); /* of an exponent that is rounded */
        const double most = room * (double)(loss < 1 ? loss : 1) + (double)EPSILON * (double)loss + (double)LEAST;
        CHECK(fabs((double)((long double)d->loss[r] - loss)) <= most, "rank loss %g, want %Lg, scale %g, n = %d",
              (double)d->loss[r], loss, scale, (int)n);
        for (int64_t i = 0; i < n; i++) {
            const int t = d->labels[r * MOST + i];
            const long double s = (long double)d->scores[r * MOST + i], z = t ? -g * s : g * (s + (long double)margin);
            const long double want = has_pair ? (t ? -g : g) * expl(z - top[t]) / sum[t] / (1 + expl(-x)) : 0;
            const double most_i = 2 * room * fabs((double)want) + (double)LEAST / NARROWEST;
            CHECK(fabs((double)((long double)d->grad[r * MOST + i] - want)) <= most_i,
                  "rank gradient %g, want %Lg, scale %g, n = %d", (double)d->grad[r * MOST + i], want, scale, (int)n);
        }
    }
}

static void SUFFIX(test_divergence)(SUFFIX(rows) * d, double scale, int64_t n, double distance, int has_mask) {
    SUFFIX(fill)(d, scale, 0.1);
    for (int64_t i = 0; i < ROWS * MOST && distance > 0; i++)
        d->other[i] = d->scores[i] + (REAL)(distance * check_uniform(-1, 1));
    for (int64_t i = 0; i < ROWS * MOST && has_mask; i++)
        if (!d->mask[i]) d->other[i] = (REAL)NAN;
        else if (check_uniform(0, 1) < 0.1) d->scores[i] = d->other[i] = -(REAL)INFINITY;
    const ptrdiff_t stride = MOST * sizeof(REAL);
    const uint8_t *mask = has_mask ? d->mask : NULL;
    CHECK(SUFFIX(kx_losses_zlpr_symmetric_kl)(NULL, d->scores, d->other, mask, ROWS, n, stride, stride, MOST, d->loss, d->grad,
                                              d->grad2, stride) == KX_OK, "status");
    for (int64_t r = 0; r < ROWS; r += n > 100 ? 9 : 1) {
        long double sum = 0;
        for (int64_t i = 0; i < n; i++) {
            const int64_t k = r * MOST + i;
            const int is_in = (!mask || mask[k]) && !isinf(d->scores[k]);
            const long double s = is_in ? (long double)d->scores[k] : 0, t = is_in ? (long double)d->other[k] : 0;
            const long double high = s > t ? s : t, low = s > t ? t : s;
            const long double difference = -expm1l(low - high) / (1 + expl(-high)) / (1 + expl(low));
            sum += difference * (high - low);
            const long double slope_s = expl(-fabsl(s)) / powl(1 + expl(-fabsl(s)), 2), sign = s < t ? -1 : 1;
            const long double slope_t = expl(-fabsl(t)) / powl(1 + expl(-fabsl(t)), 2);
            const long double want_s = sign * (slope_s * (high - low) + difference);
            const long double want_t = -sign * (slope_t * (high - low) + difference);
            const double by_s = ULPS(d->grad[k], want_s), by_t = ULPS(d->grad2[k], want_t);
            const long double room = (long double)LEAST * (1 + high - low); /* of e^-|s| that is not normal */
            CHECK(by_s <= 8 || fabsl((long double)d->grad[k] - want_s) <= room,
                  "divergence by s: %g ulp, s = %Lg, t = %Lg", by_s, s, t);
            CHECK(by_t <= 8 || fabsl((long double)d->grad2[k] - want_t) <= room,
                  "divergence by t: %g ulp, s = %Lg, t = %Lg", by_t, s, t);
        }
        const long double lost = (long double)LEAST * (long double)n * (1 + 2 * (long double)scale);
        CHECK(ULPS(d->loss[r], sum) <= 8 || fabsl((long double)d->loss[r] - sum) <= lost,
              "divergence %g ulp, scale %g, n = %d", ULPS(d->loss[r], sum), scale, (int)n);
    }
    memcpy(d->loss2, d->loss, sizeof d->loss);
    CHECK(SUFFIX(kx_losses_zlpr_symmetric_kl)(NULL, d->scores, d->other, mask, ROWS, n, stride, stride, MOST, d->loss, NULL, NULL,
                                              0) == KX_OK, "status");
    CHECK(memcmp(d->loss, d->loss2, ROWS * sizeof(REAL)) == 0, "the divergence alone");
}

static void SUFFIX(test_extremes)(void) {
    const REAL infinity = (REAL)INFINITY;
    const REAL scores[] = {HUGE, -HUGE, HUGE / 2, -infinity}, nothing[] = {-infinity, -infinity, -infinity, -infinity};
    const uint8_t labels[] = {0, 1, 0, 0}, none[4] = {0};
    REAL loss, grad[4];
    kx_loss_rows_t rows = {.count = 1, .n = 4, .scores = scores, .labels = labels};
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0, &loss, grad, 0) == KX_OK, "status");
    CHECK(loss == 2 * HUGE && grad[0] == 1 && grad[1] == -1 && grad[2] == 0 && grad[3] == 0, "huge: %g", (double)loss);
    CHECK(SUFFIX(kx_losses_pairwise_rank)(NULL, &rows, 1, 0, &loss, grad, 0) == KX_OK, "status");
    CHECK(loss == 2 * HUGE && grad[0] == 1 && grad[1] == -1 && grad[2] == 0 && grad[3] == 0, "huge pairs: %g", (double)loss);
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0.5, &loss, grad, 0) == KX_OK, "status");
    CHECK(fabs((double)(loss / HUGE) - 2) < 1e-6 && grad[3] == 0, "huge, smoothed: %g", (double)loss);
    rows.scores = nothing, rows.labels = none;
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0, &loss, grad, 0) == KX_OK && loss == 0 && grad[0] == 0, "nothing");
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0.5, &loss, grad, 0) == KX_OK && loss == 0 && grad[0] == 0, "nothing, smoothed");
    CHECK(SUFFIX(kx_losses_pairwise_rank)(NULL, &rows, 1, 0, &loss, grad, 0) == KX_OK && loss == 0 && grad[0] == 0, "no pair");
    rows.scores = scores, rows.mask = none;
    CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0, &loss, grad, 0) == KX_OK && loss == 0 && grad[0] == 0, "all masked");
    const REAL thresholds[] = {infinity, -infinity, (REAL)NAN};
    const REAL *const of_rows[] = {nothing, scores + 1}; /* alone: neither would make a sum infinite */
    for (int i = 0; i < 6; i++) {
        rows.scores = of_rows[i / 3], rows.n = i < 3 ? 4 : 1, rows.mask = NULL, rows.thresholds = thresholds + i % 3;
        CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, 0, &loss, grad, 0) == KX_OK && isnan(loss) && isnan(grad[0]),
              "threshold %g: %g", (double)thresholds[i % 3], (double)loss);
    }
}

/* Each kind of bad row between two good ones, at the start, inside and in the tail. */
static void SUFFIX(test_invalid)(void) {
    enum { N = 37, KINDS = 9 };
    static REAL scores[3 * N], targets[3 * N], grad[3 * N], loss[3], want[3 * N], want_loss[3];
    static uint8_t labels[3 * N], mask[3 * N];
    static const int places[] = {0, 20, N - 1};
    for (int kind = 0; kind < KINDS; kind++)
        for (int form = 0; form < 6; form++) { /* labels, labels smoothed, graded targets; with a mask */
            for (int where = 0; where < 3; where++) {
                const int is_real = form % 3 == 2, has_mask = form >= 3, bad = N + places[where];
                const double smoothing = form % 3 == 1 ? 0.25 : 0;
                for (int i = 0; i < 3 * N; i++) {
                    scores[i] = (REAL)check_uniform(-3, 3);
                    labels[i] = i % 5 == 0;
                    targets[i] = (REAL)check_uniform(0.1, 0.9);
                    mask[i] = 1;
                }
                kx_loss_rows_t rows = {.count = 3, .n = N, .scores = scores, .score_stride = N * sizeof(REAL),
                                       .labels = is_real ? NULL : labels, .label_stride = N, .targets = targets,
                                       .target_stride = N * sizeof(REAL), .mask = has_mask ? mask : NULL, .mask_stride = N};
                SUFFIX(kx_losses_zlpr)(NULL, &rows, smoothing, want_loss, want, N * sizeof(REAL));
                if (kind < 2) scores[bad] = kind ? (REAL)INFINITY : (REAL)NAN;
                if (kind == 2) scores[bad] = (REAL)INFINITY, labels[bad] = 1, targets[bad] = 1;
                if (kind == 3) scores[bad] = -(REAL)INFINITY, labels[bad] = 1;
                if (kind == 4) labels[bad] = 2, targets[bad] = 1.5;
                if (kind == 5) labels[bad] = 255, targets[bad] = -(REAL)0.5;
                if (kind == 6) labels[bad] = 7, targets[bad] = (REAL)NAN;
                if (kind == 7) labels[bad] = 77, targets[bad] = (REAL)INFINITY;
                if (kind == 8) mask[bad] = 0, labels[bad] = has_mask ? 1 : 3, targets[bad] = has_mask ? 1 : 3;
                feclearexcept(FE_ALL_EXCEPT);
                CHECK(SUFFIX(kx_losses_zlpr)(NULL, &rows, smoothing, loss, grad, N * sizeof(REAL)) == KX_OK, "status");
                CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags of kind %d, form %d", kind, form);
                CHECK(isnan(loss[1]), "kind %d, form %d, place %d: %g", kind, form, places[where], (double)loss[1]);
                for (int i = 0; i < N; i++) CHECK(isnan(grad[N + i]), "gradient of kind %d, form %d", kind, form);
                CHECK(loss[0] == want_loss[0] && loss[2] == want_loss[2], "the other rows");
                CHECK(memcmp(grad, want, N * sizeof(REAL)) == 0 && memcmp(grad + 2 * N, want + 2 * N, N * sizeof(REAL)) == 0,
                      "the other gradients");
                if (is_real) continue;
                CHECK(SUFFIX(kx_losses_pairwise_rank)(NULL, &rows, 2, 0.5, loss, grad, N * sizeof(REAL)) == KX_OK, "status");
                CHECK(isnan(loss[1]) && !isnan(loss[0]) && !isnan(loss[2]), "pairs of kind %d, form %d", kind, form);
            }
        }
    const int64_t offsets[] = {0, 1, 3, 4}, bad_ids[][4] = {{0, 3, 3, 1}, {0, 3, N, 1}, {0, -1, 3, 1}, {0, 3, INT64_MIN, 1}};
    for (int i = 0; i < 3 * N; i++) scores[i] = 0, mask[i] = 1;
    kx_loss_rows_t rows = {.count = 3, .n = N, .scores = scores, .score_stride = N * sizeof(REAL)};
    for (int kind = 0; kind < 5; kind++) {
        const int64_t good[] = {0, 3, 4, 1};
        mask[N + 3] = 0;
        rows.mask = kind == 4 ? mask : NULL, rows.mask_stride = N;
        const int64_t *ids = kind < 4 ? bad_ids[kind] : good;
        CHECK(SUFFIX(kx_losses_zlpr_sparse)(NULL, &rows, offsets, ids, loss, grad, N * sizeof(REAL)) == KX_OK, "status");
        CHECK(isnan(loss[1]) && loss[0] == loss[2] && loss[0] > 0, "ids of kind %d", kind);
    }
}

static void SUFFIX(test_all)(void) {
    static SUFFIX(rows) d;
    const double scales[] = {1e-6, 1, 6, 40, 200, 9000};
    for (int k = 0; k < 6; k++)
        for (int l = 0; l < LENGTHS; l++)
            for (int form = 0; form < 16; form++)
                if (form < 3 || (l + form) % 3 == 0) SUFFIX(test_accuracy)(&d, scales[k], lengths[l], form);
    for (int k = 0; k < 6; k++)
        for (int l = 0; l < LENGTHS; l++) {
            SUFFIX(test_rank)(&d, scales[k], lengths[l], 1, 0);
            SUFFIX(test_rank)(&d, scales[k], lengths[l], 4, 0.25);
            SUFFIX(test_divergence)(&d, k < 5 ? scales[k] : 80, lengths[l], 0, l % 2);
            SUFFIX(test_divergence)(&d, k < 5 ? scales[k] : 80, lengths[l], 1e-3, l % 2);
        }
    SUFFIX(test_extremes)();
    SUFFIX(test_invalid)();
}

#endif
