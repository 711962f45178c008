/* kx_gaussian_flaws against a comparison of every pair of entries, for every place of a flaw. */
#include <fenv.h>

#include "check.h"
#include "kexue/kx_gaussians.h"

enum { LARGEST = 40, ITEMS = 3 };

/* Calls the function on `items` matrices of float64, in either precision, with rows of `row` entries that are `column` apart. */
static void flaws_of(int wide, const double *entries, int64_t items, int64_t n, int64_t row, int64_t column, int64_t batch,
                     kx_gaussian_form_t form, double tolerance, uint8_t *flaws) {
    const int64_t count = items == 0 || n == 0 ? 0 : (items - 1) * batch + (n - 1) * (row + column) + 1;
    const size_t size = wide ? sizeof(double) : sizeof(float);
    char *copy = malloc((size_t)count * size + 1); /* off by a byte: any alignment */
    for (int64_t i = 0; i < count; i++) {
        const float narrow = (float)entries[i];
        memcpy(copy + 1 + (size_t)i * size, wide ? (const void *)(entries + i) : (const void *)&narrow, size);
    }
    const ptrdiff_t unit = (ptrdiff_t)size;
    const kx_batch_t matrices = {copy + 1, batch * unit, row * unit, column * unit};
    memset(flaws, 0, (size_t)items);
    feclearexcept(FE_ALL_EXCEPT);
    const kx_status_t status = wide ? kx_gaussian_flaws_f64(&matrices, items, n, form, tolerance, flaws)
                                    : kx_gaussian_flaws_f32(&matrices, items, n, form, tolerance, flaws);
    CHECK(status == KX_OK, "status %d", (int)status);
    CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags are raised, n = %d", (int)n);
    free(copy);
}

static void fill(double *a, int64_t n, int64_t row, int64_t column, kx_gaussian_form_t form) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j <= i; j++) {
            const double value = (double)(float)(i == j ? check_uniform(0.5, 2) : check_uniform(-1, 1));
            a[i * row + j * column] = value;
            a[j * row + i * column] = form == KX_GAUSSIAN_COVARIANCE || i == j ? value : 0;
        }
    }
}

static void check_places(int wide, int64_t n, int spread, kx_gaussian_form_t form) {
    const int64_t column = spread ? 2 : 1, row = column * n + spread, batch = row * n + spread;
    const double tolerance = wide ? 1e-8 : 1e-4;
    static double a[ITEMS * (2 * LARGEST + 1) * LARGEST + ITEMS];
    uint8_t flaws[ITEMS];
    for (int item = 0; item < ITEMS; item++) fill(a + item * batch, n, row, column, form);
    flaws_of(wide, a, ITEMS, n, row, column, batch, form, tolerance, flaws);
    for (int item = 0; item < ITEMS; item++) CHECK(!flaws[item], "n = %d: a flaw in good matrix %d", (int)n, item);
    /* 0.4 and 4 tolerances of the largest diagonal entry, which lies between 0.5 and 2. */
    const double changes[] = {0.2 * tolerance, 8 * tolerance, NAN, INFINITY, -INFINITY};
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < n; j++) {
            double *place = a + batch + i * row + j * column;
            const double before = *place;
            for (int change = 0; change < 5; change++) {
                *place = before + changes[change];
                int wrong = change > 1 || (change == 1 && i != j);
                if (form == KX_GAUSSIAN_CHOLESKY) wrong = j > i || change > 1;
                flaws_of(wide, a, ITEMS, n, row, column, batch, form, tolerance, flaws);
                CHECK(!flaws[0] && flaws[1] == wrong && !flaws[2], "n = %d, (%d, %d), change %g: %d %d %d, expected 0 %d 0", (int)n,
                      (int)i, (int)j, changes[change], flaws[0], flaws[1], flaws[2], wrong);
            }
            *place = before;
        }
    }
}

static void check_corners(int wide) {
    uint8_t flaws[4] = {7, 7, 7, 7};
    const double zeros[4] = {0, 0, 0, 0}, wrong[4] = {1, 0.5, -0.5, 1}, negative_zero[4] = {1, -0.0, 3, 1};
    flaws_of(wide, zeros, 1, 2, 2, 1, 4, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws);
    CHECK(!flaws[0], "zeros are symmetric");
    flaws_of(wide, negative_zero, 1, 2, 2, 1, 4, KX_GAUSSIAN_CHOLESKY, 1e-8, flaws);
    CHECK(!flaws[0], "-0 above the diagonal");
    flaws_of(wide, wrong, 4, 2, 2, 1, 0, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws);
    CHECK(flaws[0] && flaws[1] && flaws[2] && flaws[3], "a matrix that all items share");
    flaws_of(wide, wrong, 0, 2, 2, 1, 4, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws);
    flaws_of(wide, wrong, 3, 0, 0, 0, 0, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws);
    CHECK(!flaws[0] && !flaws[1] && !flaws[2], "n = 0");
    const kx_batch_t none = {NULL, 0, 0, 0};
    CHECK(kx_gaussian_flaws_f64(&none, -1, 2, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws) == KX_E_ARGUMENT, "items < 0");
    CHECK(kx_gaussian_flaws_f32(&none, 1, -2, KX_GAUSSIAN_COVARIANCE, 1e-8, flaws) == KX_E_ARGUMENT, "n < 0");
    CHECK(kx_gaussian_flaws_f64(&none, 1, 2, KX_GAUSSIAN_DIAGONAL, 1e-8, flaws) == KX_E_ARGUMENT, "a form without a matrix");
}

int main(void) {
    const int sizes[] = {1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 33, LARGEST};
    for (int wide = 0; wide < 2; wide++) {
        for (int spread = 0; spread < 2; spread++) {
            for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
                check_places(wide, sizes[k], spread, KX_GAUSSIAN_COVARIANCE);
                check_places(wide, sizes[k], spread, KX_GAUSSIAN_CHOLESKY);
            }
        }
        check_corners(wide);
    }
    return check_report();
}
