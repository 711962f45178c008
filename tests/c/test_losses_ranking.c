/* CoSENT against all pairs in long double, Spearman's correlation against ranks by counting, cosines against long double. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

static long double pair_loss(const double *c, const double *t, int64_t n, double scale, long double *gradient) {
    long double top = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++)
            if (t[i] > t[k]) top = fmaxl(top, (long double)scale * ((long double)c[k] - c[i]));
    for (int64_t i = 0; i < n; i++) gradient[i] = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t k = 0; k < n; k++)
            if (t[i] > t[k]) {
                const long double term = expl((long double)scale * ((long double)c[k] - c[i]) - top);
                sum += term;
                gradient[k] += term, gradient[i] -= term;
            }
    sum += expl(-top);
    for (int64_t i = 0; i < n; i++) gradient[i] *= (long double)scale / sum;
    return top + logl(sum);
}

static void fill_labels(double *t, int64_t n, int kind) {
    for (int64_t i = 0; i < n; i++)
        t[i] = kind == 0   ? check_uniform(-3, 3)
               : kind == 1 ? (double)(check_random() % 4)
               : kind == 2 ? ldexp(check_uniform(-1, 1), (int)(check_random() % 2000) - 1000)
               : kind == 3 ? (double)(check_random() % 2) * DBL_MAX * (check_random() % 2 ? 1 : -1)
               : kind == 4 ? 1
               : kind == 5 ? (double)(check_random() % 64) / 3 /* as many values as are summed without a sort, one more, and */
               : kind == 6 ? (double)(check_random() % 65) / 3
                           : (double)(check_random() % 3) * (i % 2 ? 1 : 1e-9); /* values that are too near for that */
}

static void test_cosent(int64_t n, int kind, double scale, double width) {
    enum { ROWS = 3 };
    const int64_t wide = n + 2;
    double *c = malloc((size_t)(ROWS * 2 * wide) * sizeof *c), *t = malloc((size_t)(ROWS * wide) * sizeof *t);
    float *narrow = malloc((size_t)(ROWS * wide) * sizeof *narrow), narrow_loss[ROWS];
    double *gradient = malloc((size_t)(ROWS * wide) * sizeof *gradient), loss[ROWS], alone[ROWS];
    double *row = malloc((size_t)(n + 1) * sizeof *row);
    long double *exact = malloc((size_t)(n + 1) * sizeof *exact);
    for (int64_t i = 0; i < ROWS * 2 * wide; i++) c[i] = check_uniform(-width, width);
    fill_labels(t, ROWS * wide, kind);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 3;
    /* every other number, with a gap between rows */
    const kx_status_t status = kx_losses_cosent_f64(&ctx, c, t, ROWS, n, 2 * wide * (ptrdiff_t)sizeof *c, 2 * sizeof *c,
                                                    wide * (ptrdiff_t)sizeof *t, sizeof *t, scale, loss, gradient,
                                                    wide * (ptrdiff_t)sizeof *gradient, sizeof *gradient);
    CHECK(status == KX_OK, "status %d", (int)status);
    CHECK(kx_losses_cosent_f64(NULL, c, t, ROWS, n, 2 * wide * (ptrdiff_t)sizeof *c, 2 * sizeof *c, wide * (ptrdiff_t)sizeof *t,
                               sizeof *t, scale, alone, NULL, 0, 0) == KX_OK, "without a gradient");
    for (int64_t i = 0; i < ROWS * wide; i++) narrow[i] = (float)c[2 * i];
    for (int r = 0; r < ROWS; r++) {
        for (int64_t i = 0; i < n; i++) row[i] = c[2 * (r * wide + i)];
        const long double value = pair_loss(row, t + r * wide, n, scale, exact);
        double low = INFINITY, high = -INFINITY;
        for (int64_t i = 0; i < n; i++) low = fmin(low, row[i]), high = fmax(high, row[i]);
        const double reach = n > 1 ? fmax(1, scale * (high - low)) : 1, bound = 4 * DBL_EPSILON * fmax(reach, (double)value);
        CHECK(fabsl(loss[r] - value) <= bound, "n = %d, kind %d, scale %g: %.17g, not %.17Lg", (int)n, kind, scale, loss[r],
              value);
        CHECK(memcmp(loss + r, alone + r, sizeof *loss) == 0, "the loss does not depend on the gradient");
        for (int64_t i = 0; i < n; i++)
            CHECK(fabsl(gradient[r * wide + i] - exact[i]) <= bound * scale,
                  "n = %d, kind %d, scale %g, gradient %d: %.17g, not %.17Lg",
                  (int)n, kind, scale, (int)i, gradient[r * wide + i], exact[i]);
    }
    /* float32, the gradient over the scores */
    CHECK(kx_losses_cosent_f32(NULL, narrow, t, ROWS, n, wide * (ptrdiff_t)sizeof *narrow, sizeof *narrow,
                               wide * (ptrdiff_t)sizeof *t,
                               sizeof *t, scale, narrow_loss, NULL, 0, 0) == KX_OK, "float32");
    for (int r = 0; r < ROWS; r++) {
        for (int64_t i = 0; i < n; i++) row[i] = (double)narrow[r * wide + i];
        const long double value = pair_loss(row, t + r * wide, n, scale, exact);
        float own;
        CHECK(kx_losses_cosent_f32(NULL, narrow + r * wide, t + r * wide, 1, n, 0, sizeof *narrow, 0, sizeof *t, scale, &own,
                                   narrow + r * wide, 0, sizeof *narrow) == KX_OK, "in place");
        CHECK(own == narrow_loss[r], "a row by itself");
        CHECK(fabsl(own - value) <= FLT_EPSILON * fabsl(value) + 8 * DBL_EPSILON * scale * width, "float32: %.9g, not %.9Lg",
              (double)own, value);
        for (int64_t i = 0; i < n; i++)
            CHECK(fabsl(narrow[r * wide + i] - exact[i]) <=
                      FLT_EPSILON * fabsl(exact[i]) + 16 * DBL_EPSILON * scale * fmax(1, scale * width),
                  "float32 gradient %d: %.9g, not %.9Lg", (int)i, (double)narrow[r * wide + i], exact[i]);
    }
    free(c), free(t), free(narrow), free(gradient), free(row), free(exact);
}

static void test_cosent_bad(void) {
    double c[40], t[40], loss = 7, gradient[40];
    for (int i = 0; i < 40; i++) c[i] = i, t[i] = i % 3;
    for (int place = 0; place < 40; place++) {
        c[place] = NAN;
        CHECK(kx_losses_cosent_f64(NULL, c, t, 1, 40, 0, 8, 0, 8, 20, &loss, gradient, 0, 8) == KX_E_NONFINITE, "NaN at %d",
              place);
        c[place] = place, t[place] = place % 2 ? INFINITY : -INFINITY;
        CHECK(kx_losses_cosent_f64(NULL, c, t, 1, 40, 0, 8, 0, 8, 20, &loss, gradient, 0, 8) == KX_E_NONFINITE, "label at %d",
              place);
        t[place] = place % 3;
    }
    CHECK(kx_losses_cosent_f64(NULL, c, t, 1, 40, 0, 8, 0, 8, 0, &loss, gradient, 0, 8) == KX_E_ARGUMENT, "scale 0");
    CHECK(kx_losses_cosent_f64(NULL, c, t, 1, INT64_C(1) << 33, 0, 8, 0, 8, 1, &loss, gradient, 0, 8) == KX_E_OVERFLOW, "size");
    CHECK(kx_losses_cosent_f64(NULL, c, t, 1, 0, 0, 8, 0, 8, 1, &loss, gradient, 0, 8) == KX_OK && loss == 0, "empty");
    feclearexcept(FE_ALL_EXCEPT);
    CHECK(kx_losses_cosent_f64(NULL, c, t, 1, 40, 0, 8, 0, 8, 1e3, &loss, gradient, 0, 8) == KX_OK, "wide");
    CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags");
    const double ends[] = {DBL_MAX, -DBL_MAX}, order[] = {0, 1}; /* their difference overflows */
    CHECK(kx_losses_cosent_f64(NULL, ends, order, 1, 2, 0, 8, 0, 8, 0x1p-10, &loss, gradient, 0, 8) == KX_OK, "ends");
    CHECK(loss == DBL_MAX * 0x1p-9 && gradient[0] == 0x1p-10 && gradient[1] == -0x1p-10, "ends: %g, %g", loss, gradient[0]);
    CHECK(kx_losses_cosent_f64(NULL, ends, order, 1, 2, 0, 8, 0, 8, 1, &loss, gradient, 0, 8) == KX_E_OVERFLOW,
          "beyond the ends");
    CHECK(kx_losses_cosent_f64(NULL, ends + 1, order, 1, 1, 0, 8, 0, 8, 1, &loss, gradient, 0, 8) == KX_OK && loss == 0,
          "one end");
}

/* Entries next to the largest number, whose norm is above it. */
static void test_longest(void) {
    double x[] = {DBL_MAX, -DBL_MAX, DBL_MAX, DBL_MAX}, out[4], cosine;
    const double g[] = {1, 1, 2, 2};
    CHECK(kx_losses_l2_normalize_f64(x, 1, 4, 0, 8, out, 0, 8) == KX_OK, "status");
    for (int i = 0; i < 4; i++) CHECK(fabs(fabs(out[i]) - 0.5) <= DBL_EPSILON, "entry %d: %.17g", i, out[i]);
    double many[1000];
    CHECK(kx_losses_l2_normalize_f64(x, 1, 1000, 0, 0, many, 0, 8) == KX_OK, "status");
    CHECK(fabs(many[999] * sqrt(1000) - 1) <= 2 * DBL_EPSILON, "of a thousand: %.17g", many[999]);
    for (int i = 0; i < 4; i++) x[i] *= 0.7;
    CHECK(kx_losses_l2_normalize_vjp_f64(g, x, 1, 4, 0, 8, 0, 8, out, 0, 8) == KX_OK, "status");
    const double along = 0.4 * 0.7 * DBL_MAX / sqrt(10); /* of g's direction: 0.4 of x's entries */
    for (int i = 0; i < 4; i++) {
        const double expected = x[i] / sqrt(10) - along * g[i];
        CHECK(fabs(out[i] - expected) <= 8 * DBL_EPSILON * DBL_MAX, "gradient %d: %g, not %g", i, out[i], expected);
    }
    CHECK(kx_losses_cosine_pairs_f64(x, x, 1, 4, 0, 8, 0, 8, &cosine, 8) == KX_OK && fabs(cosine - 1) <= 4 * DBL_EPSILON, "%g",
          cosine);
}

static double rank_of(const double *x, int64_t n, int64_t i) {
    int64_t below = 0, equal = 0;
    for (int64_t k = 0; k < n; k++) below += x[k] < x[i], equal += x[k] == x[i];
    return (double)below + (double)(equal + 1) / 2;
}

static void test_spearman(int64_t n, int kind) {
    double *x = malloc((size_t)(2 * n + 1) * sizeof *x), *y = malloc((size_t)(n + 1) * sizeof *y), value;
    fill_labels(x, 2 * n, kind);
    for (int64_t i = 0; i < n; i++) y[i] = check_uniform(0, 1) + (n > 1 ? (double)(i % 7) : 0);
    CHECK(kx_losses_spearman(NULL, x, y, 1, n, 0, 2 * sizeof *x, 0, sizeof *y, &value) == KX_OK, "status");
    long double xx = 0, yy = 0, xy = 0;
    double *every = malloc((size_t)(n + 1) * sizeof *every);
    for (int64_t i = 0; i < n; i++) every[i] = x[2 * i];
    for (int64_t i = 0; i < n; i++) {
        const long double a = rank_of(every, n, i) - (double)(n + 1) / 2, b = rank_of(y, n, i) - (double)(n + 1) / 2;
        xx += a * a, yy += b * b, xy += a * b;
    }
    if (xx == 0 || yy == 0) CHECK(isnan(value), "n = %d, kind %d: %g of a constant row", (int)n, kind, value);
    else CHECK(fabsl(value - xy / sqrtl(xx * yy)) <= 8 * DBL_EPSILON, "n = %d, kind %d: %.17g", (int)n, kind, value);
    free(x), free(y), free(every);
}

/* float32 is float64 of the same numbers, rounded: normalised rows and gradients, of rows and of columns. */
static void test_narrow_pairs(int64_t n) {
    enum { ROWS = 3, MOST = ROWS * 1200 };
    static float u[MOST], v[MOST], du[MOST], dv[MOST], normalized[MOST], slope[MOST];
    static double wide_u[MOST], wide_v[MOST], wide_du[MOST], wide_dv[MOST], wide_normalized[MOST], wide_slope[MOST];
    float g[ROWS];
    double wide_g[ROWS];
    for (int is_turned = 0; is_turned < 2; is_turned++) {
        const ptrdiff_t row = is_turned ? 1 : (ptrdiff_t)n, step = is_turned ? ROWS : 1, narrow = sizeof(float), wide = sizeof(double);
        for (int64_t i = 0; i < ROWS * n; i++) {
            wide_u[i] = (double)(u[i] = (float)check_uniform(-1, 1));
            wide_v[i] = (double)(v[i] = (float)check_uniform(-1, 1));
        }
        for (int r = 0; r < ROWS; r++) wide_g[r] = (double)(g[r] = (float)check_uniform(-2, 2));
        const kx_losses_vectors_t of_u = {u, row * narrow, step * narrow}, of_v = {v, row * narrow, step * narrow};
        const kx_losses_vectors_t of_du = {du, row * narrow, step * narrow}, of_dv = {dv, row * narrow, step * narrow};
        const kx_losses_vectors_t of_g = {g, narrow, 0}, of_wide_g = {wide_g, wide, 0};
        const kx_losses_vectors_t of_wide_u = {wide_u, row * wide, step * wide}, of_wide_v = {wide_v, row * wide, step * wide};
        const kx_losses_vectors_t of_wide_du = {wide_du, row * wide, step * wide}, of_wide_dv = {wide_dv, row * wide, step * wide};
        CHECK(kx_losses_cosine_pairs_vjp_f32(&of_u, &of_v, &of_g, ROWS, n, &of_du, &of_dv) == KX_OK &&
                  kx_losses_cosine_pairs_vjp_f64(&of_wide_u, &of_wide_v, &of_wide_g, ROWS, n, &of_wide_du, &of_wide_dv) == KX_OK,
              "gradients of cosines");
        CHECK(kx_losses_l2_normalize_f32(u, ROWS, n, row * narrow, step * narrow, normalized, row * narrow, step * narrow) == KX_OK &&
                  kx_losses_l2_normalize_f64(wide_u, ROWS, n, row * wide, step * wide, wide_normalized, row * wide, step * wide) ==
                      KX_OK, "normalised");
        CHECK(kx_losses_l2_normalize_vjp_f32(u, v, ROWS, n, row * narrow, step * narrow, row * narrow, step * narrow, slope,
                                             row * narrow, step * narrow) == KX_OK &&
                  kx_losses_l2_normalize_vjp_f64(wide_u, wide_v, ROWS, n, row * wide, step * wide, row * wide, step * wide, wide_slope,
                                                 row * wide, step * wide) == KX_OK, "gradients of normalised rows");
        const float *const got[] = {du, dv, normalized, slope};
        const double *const expected[] = {wide_du, wide_dv, wide_normalized, wide_slope};
        for (int k = 0; k < 4; k++)
            for (int64_t i = 0; i < ROWS * n; i++)
                CHECK(fabs((double)got[k][i] - expected[k][i]) <= (double)FLT_EPSILON * (fabs(expected[k][i]) + 1e-7),
                      "n = %d, result %d, %d: %.9g, not %.17g", (int)n, k, (int)i, (double)got[k][i], expected[k][i]);
    }
}

static void test_pairs(int64_t n, double u_size, double v_size) {
    enum { ROWS = 3 };
    double u[ROWS * 1200], v[ROWS * 1200], du[ROWS * 1200], dv[ROWS * 1200], out[ROWS * 1200], cosines[ROWS], g[ROWS];
    float fu[ROWS * 1200], narrow[ROWS];
    for (int64_t i = 0; i < ROWS * n; i++) u[i] = check_uniform(-1, 1) * u_size, v[i] = check_uniform(-1, 1) * v_size;
    for (int64_t i = 0; i < ROWS * n; i++) fu[i] = (float)(u[i] / u_size);
    for (int r = 0; r < ROWS; r++) g[r] = check_uniform(-2, 2);
    const ptrdiff_t row = (ptrdiff_t)(n * (int64_t)sizeof *u), step = ROWS * sizeof *u;
    CHECK(kx_losses_cosine_pairs_f64(u, v, ROWS, n, row, sizeof *u, row, sizeof *v, cosines, sizeof *cosines) == KX_OK, "status");
    const kx_losses_vectors_t of_u = {u, row, sizeof *u}, of_v = {v, row, sizeof *v}, of_g = {g, sizeof *g, 0};
    const kx_losses_vectors_t of_du = {du, row, sizeof *u}, of_dv = {dv, row, sizeof *v};
    CHECK(kx_losses_cosine_pairs_vjp_f64(&of_u, &of_v, &of_g, ROWS, n, &of_du, &of_dv) == KX_OK, "status");
    CHECK(kx_losses_l2_normalize_f64(u, ROWS, n, row, sizeof *u, out, row, sizeof *out) == KX_OK, "status");
    CHECK(kx_losses_cosine_pairs_f32(fu, fu, ROWS, n, (ptrdiff_t)(n * (int64_t)sizeof *fu), sizeof *fu,
                                     (ptrdiff_t)(n * (int64_t)sizeof *fu),
                                     sizeof *fu, narrow, sizeof *narrow) == KX_OK, "status");
    const double bound = 4 * DBL_EPSILON * (1 + log2((double)n));
    for (int r = 0; r < ROWS; r++) {
        long double uu = 0, vv = 0, uv = 0;
        for (int64_t i = 0; i < n; i++) {
            const long double a = (long double)u[r * n + i] / u_size, b = (long double)v[r * n + i] / v_size;
            uu += a * a, vv += b * b, uv += a * b;
        }
        const long double cosine = uv / sqrtl(uu) / sqrtl(vv);
        CHECK(fabsl(cosines[r] - cosine) <= bound, "n = %d, %g %g: %.17g, not %.17Lg", (int)n, u_size, v_size, cosines[r],
              cosine);
        CHECK(narrow[r] <= 1 && narrow[r] >= 1 - 2 * FLT_EPSILON, "of itself: %g", (double)narrow[r]);
        for (int64_t i = 0; i < n; i++) {
            const long double a = u[r * n + i] / (long double)u_size / sqrtl(uu);
            const long double b = v[r * n + i] / (long double)v_size / sqrtl(vv);
            CHECK(fabsl(out[r * n + i] - a) <= 2 * DBL_EPSILON * fabsl(a) + bound * fabsl(a), "normalised %d", (int)i);
            const long double by_u = g[r] * (b - cosine * a) / sqrtl(uu), by_v = g[r] * (a - cosine * b) / sqrtl(vv);
            CHECK(fabsl(du[r * n + i] * u_size - by_u) <= 2 * bound * fabs(g[r]) / sqrtl(uu), "by u: %.17g, not %.17Lg",
                  du[r * n + i] * u_size, by_u);
            CHECK(fabsl(dv[r * n + i] * v_size - by_v) <= 2 * bound * fabs(g[r]) / sqrtl(vv), "by v: %.17g, not %.17Lg",
                  dv[r * n + i] * v_size, by_v);
        }
    }
    /* The same by columns of a transposed copy, and gradients over the rows. */
    double turned_u[ROWS * 1200], turned_v[ROWS * 1200], other[ROWS];
    for (int r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < n; i++) turned_u[i * ROWS + r] = u[r * n + i], turned_v[i * ROWS + r] = v[r * n + i];
    const kx_losses_vectors_t of_tu = {turned_u, sizeof *u, step}, of_tv = {turned_v, sizeof *v, step};
    CHECK(kx_losses_cosine_pairs_f64(turned_u, turned_v, ROWS, n, sizeof *u, step, sizeof *v, step, other,
                                     sizeof *other) == KX_OK, "status");
    CHECK(memcmp(other, cosines, sizeof other) == 0, "strided cosines");
    CHECK(kx_losses_cosine_pairs_vjp_f64(&of_tu, &of_tv, &of_g, ROWS, n, &of_tu, &of_tv) == KX_OK, "status");
    for (int r = 0; r < ROWS; r++)
        for (int64_t i = 0; i < n; i++)
            CHECK(turned_u[i * ROWS + r] == du[r * n + i] && turned_v[i * ROWS + r] == dv[r * n + i], "strided gradients");
    CHECK(kx_losses_l2_normalize_vjp_f64(u, v, ROWS, n, row, sizeof *u, row, sizeof *v, dv, row, sizeof *v) == KX_OK, "status");
    for (int r = 0; r < ROWS; r++) {
        long double along = 0, size = 0;
        for (int64_t i = 0; i < n; i++)
            along += (long double)dv[r * n + i] * (u_size / v_size) * out[r * n + i],
                size += fabsl(dv[r * n + i] * (u_size / v_size));
        CHECK(fabsl(along) <= 8 * bound * (1 + size), "the gradient is orthogonal: %Lg", along);
    }
}

static int cancel_at_once(void *state) {
    (void)state;
    return 1;
}

/* A row is long enough to be asked for within: a call that went through it would return KX_OK. */
static void test_cancel(void) {
    const int64_t n = 1 << 22;
    double *cosines = malloc((size_t)n * sizeof *cosines), *labels = malloc((size_t)n * sizeof *labels), result;
    const ptrdiff_t step = sizeof *cosines;
    for (int64_t i = 0; i < n; i++) cosines[i] = check_uniform(-1, 1), labels[i] = check_uniform(-1, 1);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.cancel = cancel_at_once;
    for (int k = 0; k < 2; k++)
        CHECK(kx_losses_cosent_f64(&ctx, cosines, labels, 1, n, 0, step, 0, step, k ? 1e4 : 20, &result, NULL, 0,
                                   0) == KX_E_CANCELLED,
              "not cancelled");
    CHECK(kx_losses_spearman(&ctx, cosines, labels, 1, n, 0, step, 0, step, &result) == KX_E_CANCELLED, "not cancelled");
    free(cosines), free(labels);
}

/* Beyond float64 there is no loss. */
static void test_overflow(void) {
    const double cosines[] = {1e308, -1e308, 0}, labels[] = {0, 1, 2};
    double loss, gradient[3];
    const ptrdiff_t step = sizeof *cosines;
    for (int64_t n = 2; n <= 3; n++)
        CHECK(kx_losses_cosent_f64(NULL, cosines, labels, 1, n, 0, step, 0, step, 20, &loss, gradient, 0,
                                   step) == KX_E_OVERFLOW, "finite");
    CHECK(kx_losses_cosent_f64(NULL, cosines + 1, labels, 1, 2, 0, step, 0, step, 0.25, &loss, gradient, 0,
                               step) == KX_OK && loss < 1,
          "ordered");
}

int main(void) {
    test_cancel();
    test_overflow();
    const int64_t sizes[] = {1, 2, 3, 8, 23, 24, 25, 64, 200};
    const double scales[] = {0.01, 1, 20, 164, 166, 5000};
    for (int s = 0; s < 9; s++)
        for (int kind = 0; kind < 5; kind++) {
            for (int k = 0; k < 6; k++) test_cosent(sizes[s], kind, scales[k], 1);
            test_cosent(sizes[s], kind, 20, 1e4);
            test_spearman(sizes[s], kind);
        }
    test_spearman(5000, 0), test_spearman(5000, 1), test_spearman(5000, 2), test_spearman(5000, 3);
    test_cosent(700, 2, 20, 1);
    for (int kind = 4; kind < 8; kind++) test_cosent(513, kind, 20, 1), test_cosent(600, kind, 400, 1);
    test_cosent(2000, 1, 3, 1);
    test_cosent_bad();
    test_longest();
    const int64_t lengths[] = {1, 2, 7, 8, 9, 31, 33, 511, 513, 1200};
    for (int s = 0; s < 10; s++) {
        test_pairs(lengths[s], 1, 1);
        test_pairs(lengths[s], 0x1p990, 0x1p3);
        test_pairs(lengths[s], 0x1p600, 0x1p-10);
    }
    for (size_t k = 0; k < sizeof lengths / sizeof *lengths; k++) test_narrow_pairs(lengths[k]);
    return check_report();
}
