/* Sums over pairs of points against their definitions in long double: all kernels, sizes around the tiles' edges, both precisions, strided
   points; permutations; the median distance with ties; statuses, memory, cancelling, workers. */
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"
#include "runtime/memory.h"

enum { LINEAR = KX_INDEPENDENCE_LINEAR, POLYNOMIAL = KX_INDEPENDENCE_POLYNOMIAL, RBF = KX_INDEPENDENCE_RBF, LAPLACE = KX_INDEPENDENCE_LAPLACE };

/* Points in both precisions with the same values, `gap` numbers of garbage after each. */
typedef struct cloud {
    int64_t n, d, stride;
    double *wide;
    float *narrow;
} cloud;

static cloud make_cloud(int64_t n, int64_t d, int64_t gap, double offset) {
    cloud c = {n, d, d + gap, NULL, NULL};
    c.wide = malloc((size_t)(n * c.stride + 1) * sizeof *c.wide);
    c.narrow = malloc((size_t)(n * c.stride + 1) * sizeof *c.narrow);
    for (int64_t i = 0; i < n * c.stride; i++) {
        c.narrow[i] = i % c.stride < d ? (float)(offset + check_uniform(-1, 1)) : NAN;
        c.wide[i] = (double)c.narrow[i];
    }
    return c;
}

static void free_cloud(cloud *c) {
    free(c->wide);
    free(c->narrow);
}

static kx_independence_points_t points_of(const cloud *c, int kind, int is_f32) {
    kx_independence_points_t points = {is_f32 ? (const void *)c->narrow : (const void *)c->wide, c->d,
                                       (ptrdiff_t)((size_t)c->stride * (is_f32 ? sizeof(float) : sizeof(double))),
                                       (kx_independence_kind_t)kind, 0.6 / (double)(c->d + 1), 0.75, 3};
    return points;
}

static long double kernel(const kx_independence_points_t *p, const double *a, const double *b) {
    long double product = 0, square = 0, size = 0;
    for (int64_t k = 0; k < p->dimension; k++) {
        const long double difference = (long double)a[k] - (long double)b[k];
        product += (long double)a[k] * (long double)b[k];
        square += difference * difference;
        size += fabsl(difference);
    }
    switch ((int)p->kind) {
    case LINEAR: return product;
    case POLYNOMIAL: return powl((long double)p->gamma * product + (long double)p->coef0, (long double)p->degree);
    case RBF: return expl(-(long double)p->gamma * square);
    default: return expl(-(long double)p->gamma * size);
    }
}

static long double entry(const kx_independence_points_t *p, const cloud *a, int64_t i, const cloud *b, int64_t j) {
    return kernel(p, a->wide + i * a->stride, b->wide + j * b->stride);
}

/* got is within `roundings` of exact, of numbers that sum to `size` without their signs */
static void compare(double got, long double exact, long double size, int is_f32, const char *what, const int64_t *shape) {
    const long double unit = is_f32 ? 6e-8L : 1.2e-16L, bound = unit * size * (long double)(8 + shape[2] + shape[3]) + 1e-300L;
    CHECK(fabsl((long double)got - exact) <= bound, "%s n=%d m=%d d=%d e=%d kinds %d %d: %.17g, not %.17Lg (bound %.3Lg)", what,
          (int)shape[0], (int)shape[1], (int)shape[2], (int)shape[3], (int)shape[4], (int)shape[5], got, exact, bound);
}

/* ---- sums ---- */

static void test_sums_of(const cloud *x, const cloud *y, const cloud *x2, const cloud *y2, int kind_x, int kind_y, int is_f32,
                         int workers) {
    const int64_t n = x->n, m = x2->n, shape[6] = {n, m, x->d, y->d, kind_x, kind_y};
    const kx_independence_points_t px = points_of(x, kind_x, is_f32), py = points_of(y, kind_y, is_f32);
    const kx_independence_points_t px2 = points_of(x2, kind_x, is_f32), py2 = points_of(y2, kind_y, is_f32);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    double *out = malloc((size_t)(2 * n + 2 * m + 1) * sizeof *out), *rows_x = out, *rows_y = out + n, *columns_x = out + 2 * n,
           *columns_y = out + 2 * n + m, sums[3];
    for (int is_cross = 0; is_cross < 2; is_cross++) {
        const cloud *to_x = is_cross ? x2 : x, *to_y = is_cross ? y2 : y;
        kx_status_t status;
        if (is_cross)
            status = is_f32 ? kx_independence_cross_sums_f32(&ctx, &px, &px2, &py, &py2, n, m, rows_x, columns_x, rows_y, columns_y, sums)
                            : kx_independence_cross_sums_f64(&ctx, &px, &px2, &py, &py2, n, m, rows_x, columns_x, rows_y, columns_y, sums);
        else
            status = is_f32 ? kx_independence_sums_f32(&ctx, &px, &py, n, rows_x, rows_y, sums)
                            : kx_independence_sums_f64(&ctx, &px, &py, n, rows_x, rows_y, sums);
        CHECK(status == KX_OK, "status %d", (int)status);
        long double exact[3] = {0}, size[3] = {0};
        for (int64_t i = 0; i < n; i++) {
            long double row[2] = {0}, row_size[2] = {0};
            for (int64_t j = 0; j < to_x->n; j++) {
                if (!is_cross && i == j) continue;
                const long double k = entry(&px, x, i, to_x, j), l = entry(&py, y, i, to_y, j);
                exact[0] += k * l, exact[1] += k * k, exact[2] += l * l;
                size[0] += (fabsl(k) + 1) * (fabsl(l) + 1), size[1] += (fabsl(k) + 1) * (fabsl(k) + 1), size[2] += (fabsl(l) + 1) * (fabsl(l) + 1);
                row[0] += k, row[1] += l;
                row_size[0] += fabsl(k) + 1, row_size[1] += fabsl(l) + 1;
            }
            compare(rows_x[i], row[0], row_size[0], is_f32, "row of K", shape);
            compare(rows_y[i], row[1], row_size[1], is_f32, "row of L", shape);
        }
        for (int k = 0; k < 3; k++) compare(sums[k], exact[k], size[k], is_f32, is_cross ? "cross sum" : "sum", shape);
        for (int64_t j = 0; is_cross && j < m; j++) {
            long double column[2] = {0}, column_size[2] = {0};
            for (int64_t i = 0; i < n; i++) {
                const long double k = entry(&px, x, i, x2, j), l = entry(&py, y, i, y2, j);
                column[0] += k, column[1] += l;
                column_size[0] += fabsl(k) + 1, column_size[1] += fabsl(l) + 1;
            }
            compare(columns_x[j], column[0], column_size[0], is_f32, "column of K", shape);
            compare(columns_y[j], column[1], column_size[1], is_f32, "column of L", shape);
        }
    }
    double alone[3];
    const kx_status_t status = is_f32 ? kx_independence_sums_f32(&ctx, &px, NULL, n, NULL, NULL, alone)
                                      : kx_independence_sums_f64(&ctx, &px, NULL, n, NULL, NULL, alone);
    double both[3];
    if (is_f32) kx_independence_sums_f32(&ctx, &px, &py, n, NULL, NULL, both);
    else kx_independence_sums_f64(&ctx, &px, &py, n, NULL, NULL, both);
    CHECK(status == KX_OK && isnan(alone[0]) && isnan(alone[2]) && alone[1] == both[1], "one side alone: %g %g", alone[1], both[1]);
    free(out);
}

/* ---- centred sums, gradients, matrices ---- */

static void test_others_of(const cloud *x, const cloud *y, const cloud *x2, int kind_x, int kind_y, int is_f32, int workers) {
    const int64_t n = x->n, m = x2->n, shape[6] = {n, m, x->d, y->d, kind_x, kind_y};
    const kx_independence_points_t px = points_of(x, kind_x, is_f32), py = points_of(y, kind_y, is_f32), px2 = points_of(x2, kind_x, is_f32);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    double *offsets = malloc((size_t)(2 * n + 1) * sizeof *offsets), sums[2];
    for (int64_t i = 0; i < 2 * n; i++) offsets[i] = check_uniform(-1, 1);
    kx_status_t status = is_f32 ? kx_independence_centred_sums_f32(&ctx, &px, &py, n, offsets, 0.3, offsets + n, -0.2, sums)
                                : kx_independence_centred_sums_f64(&ctx, &px, &py, n, offsets, 0.3, offsets + n, -0.2, sums);
    CHECK(status == KX_OK, "status %d", (int)status);
    long double exact[2] = {0}, size[2] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (i == j) continue;
            const long double k = entry(&px, x, i, x, j), l = entry(&py, y, i, y, j);
            const long double a = k - (long double)offsets[i] - (long double)offsets[j] + 0.3L;
            const long double b = l - (long double)offsets[n + i] - (long double)offsets[n + j] - 0.2L;
            const long double bound = (fabsl(k) + 3) * (fabsl(l) + 3);
            exact[0] += a * b, exact[1] += a * b * a * b;
            size[0] += bound, size[1] += bound * bound;
        }
    for (int k = 0; k < 2; k++) compare(sums[k], exact[k], size[k], is_f32, "centred sum", shape);

    /* both gradients in one call, and each alone */
    const cloud *const clouds[2] = {x, y};
    const kx_independence_points_t sides[2] = {px, py};
    double *gradients[2], *alone[2];
    for (int v = 0; v < 2; v++) {
        gradients[v] = malloc((size_t)(n * clouds[v]->d + 1) * sizeof **gradients);
        alone[v] = malloc((size_t)(n * clouds[v]->d + 1) * sizeof **alone);
    }
    for (int call = 0; call < 3; call++) {
        double *by_x = call == 0 ? gradients[0] : call == 1 ? alone[0] : NULL, *by_y = call == 0 ? gradients[1] : call == 2 ? alone[1] : NULL;
        const double *for_x = by_y ? offsets + n : NULL, *for_y = by_x ? offsets : NULL;
        status = is_f32 ? kx_independence_gradient_f32(&ctx, &px, &py, n, for_x, 0.25, for_y, 0.4, by_x, by_y)
                        : kx_independence_gradient_f64(&ctx, &px, &py, n, for_x, 0.25, for_y, 0.4, by_x, by_y);
        CHECK(status == KX_OK, "status %d", (int)status);
    }
    for (int v = 0; v < 2; v++) {
        const cloud *own = clouds[v], *other = clouds[!v];
        const double *shifts = v ? offsets + n : offsets;
        CHECK(memcmp(gradients[v], alone[v], (size_t)(n * own->d) * sizeof **alone) == 0, "a gradient alone is another");
        for (int64_t i = 0; i < n; i++)
            for (int64_t c = 0; c < own->d; c++) {
                long double sum = 0, sizes = 0;
                const long double at = (long double)own->wide[i * own->stride + c], gamma = (long double)sides[v].gamma;
                for (int64_t j = 0; j < n; j++) {
                    if (i == j) continue;
                    const long double l = entry(&sides[!v], other, i, other, j), to = (long double)own->wide[j * own->stride + c];
                    const long double weight = l - (long double)shifts[i] - (long double)shifts[j] + (v ? 0.25L : 0.4L);
                    const long double k = entry(&sides[v], own, i, own, j);
                    long double slope = to;
                    if (sides[v].kind == KX_INDEPENDENCE_POLYNOMIAL) slope = 3 * gamma * powl(cbrtl(k), 2) * to;
                    else if (sides[v].kind == KX_INDEPENDENCE_RBF) slope = -2 * gamma * k * (at - to);
                    else if (sides[v].kind == KX_INDEPENDENCE_LAPLACE) slope = at == to ? 0 : at > to ? -gamma * k : gamma * k;
                    sum += weight * slope;
                    sizes += (fabsl(l) + 3) * (fabsl(slope) + fabsl(at) + 1);
                }
                compare(gradients[v][i * own->d + c], sum, sizes, is_f32, v ? "gradient by y" : "gradient by x", shape);
            }
    }

    double *wide = malloc((size_t)(n * (m + n) + 1) * sizeof *wide);
    float *narrow = malloc((size_t)(n * (m + n) + 1) * sizeof *narrow);
    status = is_f32 ? kx_independence_matrix_f32(&ctx, &px, &px2, n, m, narrow) : kx_independence_matrix_f64(&ctx, &px, &px2, n, m, wide);
    CHECK(status == KX_OK, "status %d", (int)status);
    status = is_f32 ? kx_independence_matrix_f32(&ctx, &px, &px, n, n, narrow + n * m)
                    : kx_independence_matrix_f64(&ctx, &px, &px, n, n, wide + n * m);
    CHECK(status == KX_OK, "status %d", (int)status);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m + n; j++) {
            const int is_own = j >= m;
            const int64_t column = is_own ? j - m : j, at = is_own ? n * m + i * n + column : i * m + column;
            const long double k = entry(&px, x, i, is_own ? x : x2, column);
            compare(is_f32 ? (double)narrow[at] : wide[at], k, fabsl(k) + 1, is_f32, "matrix", shape);
            if (is_own) {
                const int64_t mirrored = n * m + column * n + i;
                CHECK(is_f32 ? narrow[at] == narrow[mirrored] : wide[at] == wide[mirrored], "not symmetric");
            }
        }
    for (int v = 0; v < 2; v++) free(gradients[v]), free(alone[v]);
    free(offsets), free(wide), free(narrow);
}

static void test_kernels(void) {
    static const int64_t shapes[][4] = {{1, 1, 1, 1}, {2, 3, 1, 2}, {5, 1, 3, 1}, {12, 13, 2, 2}, {24, 48, 4, 3}, {49, 25, 3, 8}, {73, 96, 17, 5},
                                        {97, 73, 5, 33}, {145, 61, 9, 2}, {26, 9, 1100, 3}, {3, 2, 0, 2}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int is_f32 = 0; is_f32 < 2; is_f32++) {
            cloud x = make_cloud(shapes[s][0], shapes[s][2], (int64_t)s % 3, 0), y = make_cloud(shapes[s][0], shapes[s][3], 0, 0.5);
            cloud x2 = make_cloud(shapes[s][1], shapes[s][2], 1, 0), y2 = make_cloud(shapes[s][1], shapes[s][3], 2, 0.5);
            for (int kinds = 0; kinds < 16; kinds++) {
                if (kinds % 5 != (int)s % 5 && s >= 5) continue; /* large ones: each kernel on each side once */
                test_sums_of(&x, &y, &x2, &y2, kinds / 4, kinds % 4, is_f32, 1 + kinds % 3);
                test_others_of(&x, &y, &x2, kinds / 4, kinds % 4, is_f32, 1 + kinds % 3);
            }
            free_cloud(&x), free_cloud(&y), free_cloud(&x2), free_cloud(&y2);
        }
}

/* Far from the origin a difference of squared norms would have lost everything. */
static void test_far_away(void) {
    cloud x = make_cloud(60, 4, 0, 0), far = make_cloud(60, 4, 0, 0);
    for (int64_t i = 0; i < 240; i++) far.wide[i] = x.wide[i] + 0x1p28; /* exact: x has 24 bits, not below 2^-24 */
    for (int64_t i = 0; i < 240; i++) x.wide[i] = far.wide[i] - 0x1p28;
    const kx_independence_points_t px = points_of(&x, RBF, 0), pf = points_of(&far, RBF, 0);
    double near_sums[3], far_sums[3];
    kx_independence_sums_f64(NULL, &px, &px, 60, NULL, NULL, near_sums);
    kx_independence_sums_f64(NULL, &pf, &pf, 60, NULL, NULL, far_sums);
    CHECK(near_sums[0] == far_sums[0], "%.17g %.17g", near_sums[0], far_sums[0]);
    free_cloud(&x), free_cloud(&far);
}

/* exp itself: with gamma = 1 and squares that are exact, nothing else rounds. Down to 0, through the subnormal numbers. */
static void test_exponential(void) {
    enum { COUNT = 50000 };
    cloud x = make_cloud(COUNT, 1, 0, 0), origin = make_cloud(1, 1, 0, 0);
    double *wide = malloc(COUNT * sizeof *wide), worst[2] = {0, 0};
    float *narrow = malloc(COUNT * sizeof *narrow);
    origin.wide[0] = 0, origin.narrow[0] = 0;
    for (int64_t i = 0; i < COUNT; i++) {
        x.narrow[i] = (float)ldexp((double)(check_random() >> 53), i % 3 ? -8 : -7 - (int)(check_random() % 40)); /* 11 bits */
        if (i % 3 == 0 && i % 2) x.narrow[i] *= 4;
        x.wide[i] = (double)x.narrow[i];
    }
    for (int is_f32 = 0; is_f32 < 2; is_f32++) {
        kx_independence_points_t points = points_of(&x, RBF, is_f32), zero = points_of(&origin, RBF, is_f32);
        points.gamma = zero.gamma = 1;
        const kx_status_t status = is_f32 ? kx_independence_matrix_f32(NULL, &points, &zero, COUNT, 1, narrow)
                                          : kx_independence_matrix_f64(NULL, &points, &zero, COUNT, 1, wide);
        CHECK(status == KX_OK, "status %d", (int)status);
        for (int64_t i = 0; i < COUNT; i++) {
            const long double exact = expl(-(long double)x.wide[i] * (long double)x.wide[i]);
            const double ulps = is_f32 ? check_ulps((double)narrow[i], exact, 24, -125, (double)FLT_MAX) : check_ulps(wide[i], exact, 53, -1021, DBL_MAX);
            worst[is_f32] = ulps > worst[is_f32] ? ulps : worst[is_f32];
            CHECK(ulps <= 1.2, "exp(-%.17g^2): %g ulp", x.wide[i], ulps);
        }
    }
    printf("exp: %.3f ulp, float32 %.3f\n", worst[0], worst[1]);
    free(wide), free(narrow);
    free_cloud(&x), free_cloud(&origin);
}

/* ---- permutations ---- */

static void test_permutations(void) {
    static const int64_t sizes[] = {0, 1, 2, 3, 7, 8, 9, 16, 17, 31, 64, 100, 131};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int is_f32 = 0; is_f32 < 2; is_f32++) {
            enum { COUNT = 7 };
            const int64_t n = sizes[s];
            double *k = malloc((size_t)(n * n + 1) * sizeof *k), *l = malloc((size_t)(n * n + 1) * sizeof *l), got[COUNT], again[COUNT];
            float *kf = malloc((size_t)(n * n + 1) * sizeof *kf), *lf = malloc((size_t)(n * n + 1) * sizeof *lf);
            int32_t *p = malloc((size_t)(n * COUNT + 1) * sizeof *p);
            for (int64_t i = 0; i < n; i++)
                for (int64_t j = 0; j <= i; j++) {
                    kf[i * n + j] = kf[j * n + i] = (float)check_uniform(-1, 1);
                    lf[i * n + j] = lf[j * n + i] = (float)check_uniform(-1, 1);
                }
            for (int64_t i = 0; i < n * n; i++) k[i] = (double)kf[i], l[i] = (double)lf[i];
            for (int64_t b = 0; b < COUNT; b++) {
                for (int64_t i = 0; i < n; i++) p[b * n + i] = (int32_t)i;
                for (int64_t i = n - 1; b > 0 && i > 0; i--) {
                    const int64_t other = (int64_t)(check_random() % (uint64_t)(i + 1));
                    const int32_t moved = p[b * n + i];
                    p[b * n + i] = p[b * n + other];
                    p[b * n + other] = moved;
                }
            }
            kx_ctx_t ctx;
            kx_ctx_init(&ctx);
            for (int workers = 1; workers <= 3; workers += 2) {
                ctx.workers = workers;
                const kx_status_t status = is_f32 ? kx_independence_permutation_sums_f32(&ctx, kf, lf, n, p, COUNT, got)
                                                  : kx_independence_permutation_sums_f64(&ctx, k, l, n, p, COUNT, got);
                CHECK(status == KX_OK, "status %d", (int)status);
                if (workers == 1) memcpy(again, got, sizeof got);
                CHECK(memcmp(again, got, sizeof got) == 0, "workers change a sum");
            }
            for (int64_t b = 0; b < COUNT; b++) {
                long double exact = 0;
                for (int64_t i = 0; i < n; i++)
                    for (int64_t j = 0; j < n; j++)
                        if (i != j) exact += (long double)k[i * n + j] * (long double)l[p[b * n + i] * n + p[b * n + j]];
                CHECK(fabsl((long double)got[b] - exact) <= 1e-15L * (long double)(n * n), "n=%d: %.17g, not %.17Lg", (int)n, got[b], exact);
            }
            if (n > 0) {
                p[n] = (int32_t)n;
                CHECK(kx_independence_permutation_sums_f64(NULL, k, l, n, p, COUNT, got) == KX_E_ARGUMENT, "beyond the matrix");
                p[n] = -1;
                CHECK(kx_independence_permutation_sums_f64(NULL, k, l, n, p, COUNT, got) == KX_E_ARGUMENT, "below the matrix");
            }
            free(k), free(l), free(kf), free(lf), free(p);
        }
}

/* ---- the median distance ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void check_median(const cloud *c, int kind, int is_f32, const char *what) {
    const int64_t n = c->n;
    double *distances = malloc((size_t)(n * (n - 1) / 2) * sizeof *distances), got[2];
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = i + 1; j < n; j++) {
            long double sum = 0;
            for (int64_t k = 0; k < c->d; k++) {
                const long double difference = (long double)c->wide[i * c->stride + k] - (long double)c->wide[j * c->stride + k];
                sum += kind == LAPLACE ? fabsl(difference) : difference * difference;
            }
            distances[count++] = (double)(kind == LAPLACE ? sum : sqrtl(sum));
        }
    qsort(distances, (size_t)count, sizeof *distances, by_size);
    const double exact = 0.5 * distances[(count - 1) / 2] + 0.5 * distances[count / 2];
    const kx_independence_points_t points = points_of(c, kind, is_f32);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    for (int w = 0; w < 2; w++) {
        ctx.workers = 1 + w;
        const kx_status_t status =
            is_f32 ? kx_independence_median_distance_f32(&ctx, &points, n, got + w) : kx_independence_median_distance_f64(&ctx, &points, n, got + w);
        CHECK(status == KX_OK, "%s: status %d", what, (int)status);
    }
    CHECK(fabs(got[0] - exact) <= (is_f32 ? 1e-6 : 1e-15) * (1 + (double)c->d) * exact, "%s, n=%d: %.17g, not %.17g", what, (int)n, got[0],
          exact);
    CHECK(got[0] == got[1], "workers change the median");
    free(distances);
}

static void test_median(void) {
    static const int64_t sizes[] = {2, 3, 4, 5, 23, 72, 73, 200, 383, 384, 385, 700};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int is_f32 = 0; is_f32 < 2; is_f32++)
            for (int shape = 0; shape < 6; shape++) {
                cloud c = make_cloud(sizes[s], shape == 1 ? 1 : 3, 1, 0);
                static const char *const names[] = {"a cube", "a line", "a grid", "two points", "two far clusters", "ends first"};
                for (int64_t i = 0; i < c.n; i++)
                    for (int64_t k = 0; k < c.d; k++) {
                        double *value = c.wide + i * c.stride + k;
                        if (shape == 1) *value = (double)i; /* sorted */
                        if (shape == 2) *value = (double)(check_random() % 3);
                        if (shape == 3) *value = i % 2 ? 1 : 0;
                        if (shape == 4) *value += i % 2 ? 1024 : 0;
                        if (shape == 5) *value *= i % (c.n / 192 + 1) == 0 ? 1e-6 : 1; /* the guess sees the small ones only */
                        c.narrow[i * c.stride + k] = (float)*value;
                        *value = (double)c.narrow[i * c.stride + k];
                    }
                check_median(&c, shape % 2 ? LAPLACE : LINEAR, is_f32, names[shape]);
                check_median(&c, shape % 2 ? RBF : LAPLACE, is_f32, names[shape]);
                free_cloud(&c);
            }
    cloud c = make_cloud(1500, 1, 0, 0); /* more than are collected are equal; and a hundred thousand of another kind */
    for (int64_t i = 0; i < c.n; i++) c.wide[i] = i < 1000 ? 0 : i < 1450 ? 1 : (double)i;
    for (int64_t i = 0; i < c.n; i++) c.narrow[i] = (float)c.wide[i];
    check_median(&c, RBF, 0, "mostly equal");
    free_cloud(&c);
}

/* The two middle numbers are far apart, with more of each than are collected: 0 within halves, 1 between. */
static void test_median_of_halves(void) {
    enum { A = 1128, B = 1081 }; /* A^2 + B^2 - A - B = 2 A B: half of the pairs are zero */
    cloud c = make_cloud(A + B, 1, 0, 0);
    for (int64_t i = 0; i < c.n; i++) c.wide[i] = i < A;
    const int64_t zeros = (A * (A - 1) + B * (B - 1)) / 2, ones = (int64_t)A * B;
    const kx_independence_points_t points = points_of(&c, LINEAR, 0);
    double median;
    CHECK(kx_independence_median_distance_f64(NULL, &points, c.n, &median) == KX_OK, "status");
    CHECK(zeros == ones && median == 0.5, "%lld zeros, %lld ones: %.17g", (long long)zeros, (long long)ones, median);
    free_cloud(&c);
}

/* ---- what can go wrong ---- */

typedef struct watch {
    int fail_at, made, live, cancels;
} watch;

static void *watching_allocate(void *state, size_t bytes) {
    watch *w = state;
    if (w->made++ == w->fail_at) return NULL;
    w->live++;
    return kx_allocate(NULL, bytes);
}
static void watching_release(void *state, void *block) {
    ((watch *)state)->live--;
    kx_release(NULL, block);
}
static int cancel_at_once(void *state) {
    ((watch *)state)->cancels++;
    return 1;
}

static kx_status_t call(int which, const kx_ctx_t *ctx, const kx_independence_points_t *x, int64_t n, double *out) {
    static const int32_t order[] = {1, 0, 2};
    const double offsets[3] = {0};
    switch (which) {
    case 0: return kx_independence_sums_f64(ctx, x, x, n, out, out + n, out + 2 * n);
    case 1: return kx_independence_cross_sums_f64(ctx, x, x, x, x, n, n, NULL, NULL, NULL, NULL, out);
    case 2: return kx_independence_centred_sums_f64(ctx, x, x, n, n > 3 ? out : offsets, 0, n > 3 ? out : offsets, 0, out + n);
    case 3: return kx_independence_gradient_f64(ctx, x, x, n, NULL, 0, n > 3 ? out : offsets, 0, out + n, NULL);
    case 4: return kx_independence_matrix_f64(ctx, x, x, n, n, out);
    case 5: return kx_independence_median_distance_f64(ctx, x, n, out);
    default: return kx_independence_permutation_sums_f64(ctx, x->points, x->points, 3, order, 1, out);
    }
}

static void test_failures(void) {
    cloud c = make_cloud(3, 3, 0, 0), large = make_cloud(6000, 60, 0, 0);
    kx_independence_points_t x = points_of(&c, RBF, 0), many = points_of(&large, RBF, 0);
    double *out = calloc(6000 * 61, sizeof *out);
    for (int which = 0; which < 7; which++) {
        watch w = {-1, 0, 0, 0};
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
        CHECK(call(which, &ctx, &x, 3, out) == KX_OK && w.live == 0, "call %d", which);
        const int blocks = w.made;
        for (int at = 0; at < blocks; at++) {
            w = (watch){at, 0, 0, 0};
            CHECK(call(which, &ctx, &x, 3, out) == KX_E_MEMORY && w.live == 0, "call %d without block %d", which, at);
        }
        w = (watch){-1, 0, 0, 0};
        ctx.cancel = cancel_at_once;
        ctx.cancel_state = &w;
        if (which == 0 || which == 3) { /* long enough */
            const kx_status_t status = call(which, &ctx, &many, 6000, out);
            CHECK(w.cancels == (status == KX_E_CANCELLED) && w.live == 0, "call %d cancelled: %d", which, (int)status);
            CHECK(which == 0 || status == KX_E_CANCELLED, "a gradient of 6000 points in 60 dimensions takes long enough to be cancelled");
        }
        if (which == 6) continue;
        kx_independence_points_t bad = x;
        bad.points = NULL;
        CHECK(call(which, NULL, &bad, 3, out) == KX_E_ARGUMENT, "call %d: no points", which);
        bad = x, bad.kind = (kx_independence_kind_t)7;
        CHECK(call(which, NULL, &bad, 3, out) == KX_E_ARGUMENT, "call %d: no such kernel", which);
        CHECK(call(which, NULL, &x, -1, out) == KX_E_ARGUMENT, "call %d: -1 points", which);
        CHECK(call(which, NULL, &x, 0, out) == (which == 5 ? KX_E_ARGUMENT : KX_OK), "call %d: no points at all", which);
        bad = x, bad.dimension = INT64_MAX / 2;
        CHECK(call(which, NULL, &bad, 3, out) == KX_E_OVERFLOW, "call %d: too large", which);
    }
    static const int64_t huge[] = {INT64_MAX, INT64_MAX - 63, INT64_C(3) << 61, INT64_C(1) << 61, INT64_C(1) << 60};
    for (int k = 0; k < 5; k++) {
        kx_independence_points_t wide = x;
        wide.dimension = huge[k];
        for (int which = 0; which < 6; which++)
            CHECK(call(which, NULL, &wide, 3, out) == KX_E_OVERFLOW, "call %d in %lld dimensions", which, (long long)huge[k]);
        /* of nothing: the sizes alone can stop these */
        const kx_independence_points_t none = {.kind = KX_INDEPENDENCE_LINEAR};
        const int64_t n = huge[k];
        const kx_status_t statuses[] = {
            kx_independence_sums_f64(NULL, &none, &none, n, NULL, NULL, out),
            kx_independence_cross_sums_f64(NULL, &none, &none, &none, &none, n, 1, NULL, NULL, NULL, NULL, out),
            kx_independence_cross_sums_f64(NULL, &none, &none, &none, &none, 1, n, NULL, NULL, NULL, NULL, out),
            kx_independence_centred_sums_f64(NULL, &none, &none, n, out, 0, out, 0, out),
            kx_independence_gradient_f64(NULL, &none, &none, n, out, 0, out, 0, out, out),
            kx_independence_matrix_f64(NULL, &none, &none, n, 1, out),
            kx_independence_matrix_f64(NULL, &none, &none, 1, n, out),
            kx_independence_median_distance_f64(NULL, &none, n, out),
        };
        for (int which = 0; which < 8; which++)
            CHECK(statuses[which] == KX_E_OVERFLOW, "call %d of %lld points: %d", which, (long long)n, (int)statuses[which]);
        static const int32_t order[] = {1, 0, 2};
        CHECK(kx_independence_permutation_sums_f64(NULL, c.wide, c.wide, 3, order, huge[k], out) == KX_E_OVERFLOW,
              "%lld permutations", (long long)huge[k]);
    }
    c.wide[1] = NAN;
    CHECK(kx_independence_median_distance_f64(NULL, &x, 3, out) == KX_E_NONFINITE, "a NaN has no median");
    free(out);
    free_cloud(&c), free_cloud(&large);
}

/* The same bits for any number of workers, where there are many strips. */
static void test_workers(void) {
    cloud x = make_cloud(1100, 6, 0, 0), y = make_cloud(1100, 3, 0, 0);
    const kx_independence_points_t px = points_of(&x, RBF, 0), py = points_of(&y, LAPLACE, 0);
    double *out[3], *gradient[3], sums[3][5];
    for (int w = 0; w < 3; w++) {
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 1 + 2 * w;
        out[w] = malloc(2200 * sizeof **out);
        gradient[w] = malloc(9900 * sizeof **gradient);
        CHECK(kx_independence_sums_f64(&ctx, &px, &py, 1100, out[w], out[w] + 1100, sums[w]) == KX_OK, "sums");
        CHECK(kx_independence_centred_sums_f64(&ctx, &px, &py, 1100, out[0], 1, out[0] + 1100, 2, sums[w] + 3) == KX_OK, "centred");
        CHECK(kx_independence_gradient_f64(&ctx, &px, &py, 1100, out[0], 1, out[0] + 1100, 2, gradient[w], gradient[w] + 6600) == KX_OK, "gradient");
        CHECK(memcmp(out[0], out[w], 2200 * sizeof **out) == 0 && memcmp(sums[0], sums[w], sizeof sums[0]) == 0 &&
                  memcmp(gradient[0], gradient[w], 9900 * sizeof **gradient) == 0,
              "%d workers change the bits", ctx.workers);
    }
    for (int w = 0; w < 3; w++) free(out[w]), free(gradient[w]);
    free_cloud(&x), free_cloud(&y);
}

int main(void) {
    test_kernels();
    test_far_away();
    test_exponential();
    test_permutations();
    test_median();
    test_median_of_halves();
    test_failures();
    test_workers();
    return check_report();
}
