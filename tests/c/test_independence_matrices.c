/* HSIC of matrices: against long double sums of the centred matrices, every layout, special values and flags. */
#include <fenv.h>
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"

enum { MOST = 2100 };

typedef struct layout {
    const char *name;
    int wide, transposed, reversed; /* columns are 3 apart; columns run down; strides are negative */
} layout;
static const layout layouts[] = {{"contiguous", 0, 0, 0}, {"transposed", 0, 1, 0}, {"wide", 1, 0, 0}, {"reversed", 0, 0, 1}};
enum { LAYOUTS = sizeof layouts / sizeof layouts[0] };

/* A matrix of n x n entries in a buffer: entry (i, j) is at data + i row + j column. */
typedef struct placed {
    void *buffer, *data;
    ptrdiff_t row, column;
} placed;

static placed place(const double *matrix, int64_t n, int narrow, const layout *l) {
    const ptrdiff_t size = narrow ? (ptrdiff_t)sizeof(float) : (ptrdiff_t)sizeof(double), step = l->wide ? 3 * size : size;
    placed p = {NULL, NULL, n * step, step};
    if (l->transposed) p.row = step, p.column = n * step;
    p.buffer = malloc((size_t)(n * n * step));
    p.data = p.buffer;
    if (l->reversed) {
        p.data = (char *)p.buffer + (n - 1) * (p.row + p.column);
        p.row = -p.row, p.column = -p.column;
    }
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            char *entry = (char *)p.data + i * p.row + j * p.column;
            if (narrow) *(float *)(void *)entry = (float)matrix[i * n + j];
            else *(double *)(void *)entry = matrix[i * n + j];
        }
    return p;
}

static double call(const double *K, const double *L, int64_t n, int narrow, int unbiased, const layout *of_K,
                   const layout *of_L) {
    placed k = place(K, n, narrow, of_K), l = place(L, n, narrow, of_L);
    double result = 0;
    float narrow_result = 0;
    kx_status_t status;
    if (narrow)
        status = (unbiased ? kx_independence_from_kernels_unbiased_f32 : kx_independence_from_kernels_f32)(
            (const float *)k.data, (const float *)l.data, 1, n, 0, k.row, k.column, 0, l.row, l.column, &narrow_result, 0);
    else
        status = (unbiased ? kx_independence_from_kernels_unbiased_f64 : kx_independence_from_kernels_f64)(
            (const double *)k.data, (const double *)l.data, 1, n, 0, k.row, k.column, 0, l.row, l.column, &result, 0);
    CHECK(status == KX_OK, "status %d", status);
    free(k.buffer);
    free(l.buffer);
    return narrow ? (double)narrow_result : result;
}

/* Centres the matrices; off the diagonal, with the weights of the unbiased estimator, if `unbiased`. `size` is the mean of
   |K - k| |L - l|, to which errors are relative. */
static long double reference(const double *K, const double *L, int64_t n, int narrow, int unbiased, long double *size) {
    static long double row[2][MOST], column[2][MOST];
    long double all[2] = {0, 0}, total = 0;
    memset(row, 0, sizeof row);
    memset(column, 0, sizeof column);
    const double *matrices[2] = {K, L};
    double pivot[2];
    for (int m = 0; m < 2; m++) {
        pivot[m] = matrices[m][n - 1];
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) {
                if (unbiased && i == j) continue;
                const long double x = (long double)(narrow ? (double)(float)matrices[m][i * n + j] : matrices[m][i * n + j]) -
                                      (long double)pivot[m];
                row[m][i] += x, column[m][j] += x, all[m] += x;
            }
    }
    *size = 0;
    const long double N = (long double)n, lines = unbiased ? N - 2 : N, plane = unbiased ? (N - 1) * (N - 2) : N * N;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            if (unbiased && i == j) continue;
            long double centred[2], product = 1;
            for (int m = 0; m < 2; m++) {
                const long double x = (long double)(narrow ? (double)(float)matrices[m][i * n + j] : matrices[m][i * n + j]) -
                                      (long double)pivot[m];
                centred[m] = x - row[m][i] / lines - column[m][j] / lines + all[m] / plane;
                product *= fabsl(x);
            }
            total += centred[0] * centred[1];
            *size += product;
        }
    const long double pairs = unbiased ? N * (N - 3) : N * N;
    *size /= pairs;
    return total / pairs;
}

/* The sum of products of centred matrices is Song's sum for symmetric matrices, so matrices here are symmetric if `unbiased`;
   otherwise anything. */
static void fill(double *matrix, int64_t n, int kind, int symmetric) {
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) {
            double *entry = matrix + i * n + j;
            if (symmetric && j < i) *entry = matrix[j * n + i];
            else if (kind == 0) *entry = check_uniform(-1, 1);
            else if (kind == 1) *entry = i == j ? 1 : exp(-check_uniform(0, 4)); /* a kernel's values */
            else *entry = 1 - 1e-6 * check_uniform(0, 1);                        /* nearly constant */
            *entry = (double)(float)*entry;
        }
}

static void test_against_long_double(void) {
    static const int64_t sizes[] = {4, 5, 7, 16, 33, 129, 300, 1030, MOST};
    double *K = malloc(sizeof(double) * MOST * MOST), *L = malloc(sizeof(double) * MOST * MOST);
    for (unsigned s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        const int64_t n = sizes[s];
        for (int kind = 0; kind < 3; kind++)
            for (int unbiased = 0; unbiased < 2; unbiased++) {
                if (n > 300 && kind != 1) continue;
                fill(K, n, kind, unbiased);
                fill(L, n, kind, unbiased);
                long double size;
                const long double exact = reference(K, L, n, 0, unbiased, &size);
                for (int narrow = 0; narrow < 2; narrow++)
                    for (int a = 0; a < LAYOUTS; a++) {
                        const int b = n > 300 ? a : (a + (int)(n % LAYOUTS)) % LAYOUTS;
                        if (n == MOST && a > 1) continue;
                        const double got = call(K, L, n, narrow, unbiased, layouts + a, layouts + b);
                        const double error = (double)fabsl((long double)got - exact);
                        const double rounding = (narrow ? FLT_EPSILON : DBL_EPSILON) * (double)fabsl(exact);
                        const double bound = 300 * DBL_EPSILON * (double)size + rounding;
                        CHECK(error <= bound, "n %d, kind %d, unbiased %d, narrow %d, %s, %s: %.17g, not %.17g: %.3g bounds",
                              (int)n, kind, unbiased, narrow, layouts[a].name, layouts[b].name, got, (double)exact,
                              error / bound);
                    }
            }
    }
    free(K);
    free(L);
}

static void test_batch(void) {
    enum { COUNT = 3, N = 6 };
    double K[COUNT][N][N], L[N][N], out[2 * COUNT + 1];
    for (int item = 0; item < COUNT; item++) fill(&K[item][0][0], N, 0, 1);
    fill(&L[0][0], N, 0, 1);
    for (int i = 0; i < 2 * COUNT + 1; i++) out[i] = -77;
    const ptrdiff_t line = sizeof L[0], entry = sizeof(double);
    kx_independence_from_kernels_f64(&K[0][0][0], &L[0][0], COUNT, N, sizeof K[0], line, entry, 0, line, entry, out, 2 * entry);
    for (int item = 0; item < COUNT; item++) {
        const double alone = call(&K[item][0][0], &L[0][0], N, 0, 0, layouts, layouts);
        CHECK(out[2 * item] == alone, "item %d: %g, alone %g", item, out[2 * item], alone);
        CHECK(out[2 * item + 1] == -77, "a gap was written");
    }
}

static void test_special(void) {
    enum { N = 5 };
    double K[N * N], L[N * N];
    for (int narrow = 0; narrow < 2; narrow++) {
        for (int unbiased = 0; unbiased < 2; unbiased++) {
            fill(K, N, 0, 1);
            fill(L, N, 0, 1);
            feclearexcept(FE_ALL_EXCEPT);
            call(K, L, N, narrow, unbiased, layouts, layouts);
            CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags of ordinary matrices");
            K[1] = (double)NAN;
            double got = call(K, L, N, narrow, unbiased, layouts, layouts);
            CHECK(isnan(got) && !fetestexcept(FE_INVALID), "NaN: %g, invalid %d", got, fetestexcept(FE_INVALID) != 0);
            K[1] = (double)INFINITY;
            got = call(K, L, N, narrow, unbiased, layouts, layouts);
            CHECK(isnan(got) && fetestexcept(FE_INVALID), "infinity: %g", got);
            feclearexcept(FE_ALL_EXCEPT);
            got = call(K, L, unbiased ? 3 : 0, narrow, unbiased, layouts, layouts);
            CHECK(isnan(got) && fetestexcept(FE_INVALID), "too few: %g", got);
        }
        fill(K, N, 0, 1);
        fill(L, N, 0, 1);
        const double before = call(K, L, N, narrow, 1, layouts, layouts);
        for (int i = 0; i < N; i++) K[i * N + i] = (double)NAN;
        const double after = call(K, L, N, narrow, 1, layouts, layouts);
        CHECK(after == before, "the diagonal was read: %g, not %g", after, before);
        K[0] = 3;
        CHECK(call(K, K, 1, narrow, 0, layouts, layouts) == 0, "one point");
    }
}

int main(void) {
    test_against_long_double();
    test_batch();
    test_special();
    return check_report();
}
