/* Dropping parts of gradients against a plain reading of the definition, one item at a time. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"
#include "runtime/philox.h"

enum { MOST = 100000 };
static const uint64_t key[2] = {0x0123456789abcdefu, 0xfedcba9876543210u};
static double x[MOST], out[MOST], again[MOST];
static float x32[MOST], out32[MOST], again32[MOST];
static uint8_t mask[MOST];

/* u(position) < p by the digits of both, p's by exact arithmetic */
static int is_kept(uint64_t position, double p) {
    if (p == 1) return 1;
    for (uint64_t k = 0; p > 0; k++) {
        uint64_t words[4];
        kx_philox_block(key, position / 32 + 1, k, words);
        const int random = (int)(words[position % 32 / 8] >> (8 * (position % 8)) & 255), digit = (int)floor(p * 256);
        if (random != digit) return random < digit;
        p = p * 256 - digit;
    }
    return 0;
}

static void fill(int64_t n) {
    for (int64_t i = 0; i < n; i++) x[i] = check_uniform(-2, 2), x32[i] = (float)x[i];
}

static void check_drop(uint64_t first, int64_t n, double p, double scale, int workers) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    memset(out, 1, sizeof *out * (size_t)(n + 1)), memset(out32, 1, sizeof *out32 * (size_t)(n + 1));
    const double after = out[n];
    const float after32 = out32[n];
    CHECK(kx_child_tuning_drop_f64(&ctx, key, first, x, n, p, scale, out) == KX_OK, "n %d", (int)n);
    CHECK(kx_child_tuning_drop_f32(&ctx, key, first, x32, n, p, scale, out32) == KX_OK, "n %d", (int)n);
    int64_t wrong = 0;
    for (int64_t i = 0; i < n; i++) {
        const int kept = is_kept(first + (uint64_t)i, p);
        wrong += !(out[i] == (kept ? x[i] * scale : 0)) || !(out32[i] == (kept ? x32[i] * (float)scale : 0));
        wrong += !kept && (signbit(out[i]) || signbit(out32[i]));
    }
    CHECK(wrong == 0, "%d of %d from %d, p %g", (int)wrong, (int)n, (int)first, p);
    CHECK(out[n] == after && out32[n] == after32, "written behind the end, n %d", (int)n);
}

static void check_by_chance(void) {
    const double chances[] = {1, 0.3, 0.5, 1.0 / 256, 255.0 / 256, 0.7, 1e-3, 1e-30, 0x1.fffffffffffffp-1, 5e-324, 0.2001953125};
    fill(MOST);
    for (size_t c = 0; c < sizeof chances / sizeof *chances; c++) {
        for (int64_t n = 0; n < 100; n++) check_drop((uint64_t)(n * n), n, chances[c], 1, 1);
        check_drop(0, 5000, chances[c], 1.25, 1);
    }
    check_drop(31, MOST - 1, 0.3, 1 / 0.3, 1);
    check_drop(0, MOST - 1, 0.3, 1 / 0.3, 4);
    check_drop(UINT64_MAX - 40, 500, 0.4, 1, 1); /* positions wrap */

    /* in parts, in place, by any number of workers: the same bits */
    kx_child_tuning_drop_f64(NULL, key, 7, x, MOST, 0.3, 3, out);
    for (int64_t begin = 0, count = 1; begin < MOST; begin += count, count = count * 3 + 1) {
        const int64_t part = count < MOST - begin ? count : MOST - begin;
        kx_child_tuning_drop_f64(NULL, key, 7 + (uint64_t)begin, x + begin, part, 0.3, 3, again + begin);
    }
    CHECK(memcmp(out, again, sizeof out) == 0, "parts");
    memcpy(again32, x32, sizeof x32);
    kx_child_tuning_drop_f32(NULL, key, 7, x32, MOST, 0.3, 3, out32);
    kx_child_tuning_drop_f32(NULL, key, 7, again32, MOST, 0.3, 3, again32);
    CHECK(memcmp(out32, again32, sizeof out32) == 0, "in place");
}

static void check_by_mask(void) {
    fill(MOST);
    for (int64_t i = 0; i < MOST; i++) mask[i] = (uint8_t)(check_random() % 3 ? 0 : check_random() | 1);
    for (int64_t n = 0; n < MOST; n = n < 70 ? n + 1 : n * 7) {
        kx_child_tuning_mask_f64(NULL, mask, x, n, 0.75, out);
        kx_child_tuning_mask_f32(NULL, mask, x32, n, 0.75, out32);
        int64_t wrong = 0;
        for (int64_t i = 0; i < n; i++)
            wrong += !(out[i] == (mask[i] ? x[i] * 0.75 : 0)) || !(out32[i] == (mask[i] ? x32[i] * 0.75f : 0));
        CHECK(wrong == 0, "%d of %d", (int)wrong, (int)n);
    }
}

/* What is dropped is 0 and raises nothing; what is kept overflows, and is a NaN, as it would be in a product. */
static void check_specials(void) {
    for (int64_t i = 0; i < 3000; i++) {
        const double bad[] = {(double)NAN, (double)INFINITY, DBL_MAX};
        const int kept = is_kept((uint64_t)i, 0.3);
        mask[i] = (uint8_t)kept;
        x[i] = kept ? 1 : bad[i % 3];
        x32[i] = kept ? 1 : i % 3 == 2 ? FLT_MAX : (float)bad[i % 3];
    }
    feclearexcept(FE_ALL_EXCEPT);
    kx_child_tuning_drop_f64(NULL, key, 0, x, 3000, 0.3, 4, out);
    kx_child_tuning_drop_f32(NULL, key, 0, x32, 3000, 0.3, 4, out32);
    kx_child_tuning_mask_f64(NULL, mask, x, 3000, 4, again);
    kx_child_tuning_mask_f32(NULL, mask, x32, 3000, 4, again32);
    CHECK(!fetestexcept(FE_INVALID | FE_OVERFLOW | FE_DIVBYZERO), "flags");
    int64_t wrong = 0;
    for (int64_t i = 0; i < 3000; i++)
        wrong += !(out[i] == mask[i] * 4.0 && again[i] == out[i] && (double)out32[i] == out[i] && (double)again32[i] == out[i]);
    CHECK(wrong == 0, "%d", (int)wrong);
    double huge = DBL_MAX, result;
    kx_child_tuning_drop_f64(NULL, key, 0, &huge, 1, 1, 4, &result);
    CHECK(isinf(result) && fetestexcept(FE_OVERFLOW), "%g", result);
    huge = (double)NAN;
    kx_child_tuning_drop_f64(NULL, key, 0, &huge, 1, 1, 4, &result);
    CHECK(isnan(result), "%g", result);
}

/* The share that is kept, of a p whose first digit alone would be off by 3 in 1000: 10^5 items, 6 standard deviations (false
   alarms: 2e-9). */
static void check_share(void) {
    const double p = 0.3;
    for (int64_t i = 0; i < MOST; i++) x[i] = 1;
    for (uint64_t part = 0; part < 10; part++) {
        double kept = 0;
        kx_child_tuning_drop_f64(NULL, key, part * MOST, x, MOST, p, 1, out);
        for (int64_t i = 0; i < MOST; i++) kept += out[i];
        CHECK(fabs(kept - p * MOST) < 6 * sqrt(p * (1 - p) * MOST), "%g of %d", kept, MOST);
    }
}

/* Whole numbers, of which the sums are exact: around the ends of vectors, of four rows and of the columns taken at once. */
static void check_squares(void) {
    static const int64_t widths[] = {1, 2, 7, 8, 9, 31, 100, 2047, 2048, 2049, 5000}, heights[] = {1, 3, 4, 5, 8, 11};
    static double sums[5000], sums_of_floats[5000];
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (size_t h = 0; h < sizeof heights / sizeof *heights; h++) {
            const int64_t n = widths[w], rows = heights[h], row = n + 3; /* a few items more between two rows */
            for (int64_t i = 0; i < rows * row; i++) x[i] = (double)(check_random() % 2001) - 1000, x32[i] = (float)x[i];
            for (int64_t i = 0; i < n; i++) sums[i] = sums_of_floats[i] = (double)i;
            kx_child_tuning_add_squares_f64(x, rows, n, row * 8, sums);
            kx_child_tuning_add_squares_f32(x32, rows, n, row * 4, sums_of_floats);
            int64_t wrong = 0;
            for (int64_t i = 0; i < n; i++) {
                double want = (double)i;
                for (int64_t r = 0; r < rows; r++) want += x[r * row + i] * x[r * row + i];
                wrong += !(sums[i] == want && sums_of_floats[i] == want);
            }
            CHECK(wrong == 0, "%d of %d rows of %d", (int)wrong, (int)rows, (int)n);
        }
    CHECK(kx_child_tuning_add_squares_f32(NULL, 0, 3, 12, NULL) == KX_OK, "nothing to do");
    CHECK(kx_child_tuning_add_squares_f64(x, -1, 3, 24, sums) == KX_E_ARGUMENT, "negative rows");
    CHECK(kx_child_tuning_add_squares_f64(x, 1, 3, 24, NULL) == KX_E_ARGUMENT, "no sums");
}

static void check_arguments(void) {
    CHECK(kx_child_tuning_drop_f64(NULL, NULL, 0, NULL, 0, 0.5, 1, NULL) == KX_OK, "nothing to do");
    CHECK(kx_child_tuning_mask_f32(NULL, NULL, NULL, 0, 1, NULL) == KX_OK, "nothing to do");
    CHECK(kx_child_tuning_drop_f64(NULL, NULL, 0, x, 1, 0.5, 1, out) == KX_E_ARGUMENT, "no key");
    CHECK(kx_child_tuning_drop_f64(NULL, key, 0, NULL, 1, 0.5, 1, out) == KX_E_ARGUMENT, "no x");
    CHECK(kx_child_tuning_drop_f64(NULL, key, 0, x, 1, 0.5, 1, NULL) == KX_E_ARGUMENT, "no out");
    CHECK(kx_child_tuning_drop_f64(NULL, key, 0, x, -1, 0.5, 1, out) == KX_E_ARGUMENT, "negative n");
    const double bad[] = {0, -0.1, 1.0000001, (double)NAN, (double)INFINITY};
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
        CHECK(kx_child_tuning_drop_f32(NULL, key, 0, x32, 1, bad[k], 1, out32) == KX_E_ARGUMENT, "p %g", bad[k]);
    CHECK(kx_child_tuning_drop_f32(NULL, key, 0, x32, 1, 0.5, 1e39, out32) == KX_E_ARGUMENT, "scale");
    CHECK(kx_child_tuning_drop_f64(NULL, key, 0, x, 1, 0.5, (double)NAN, out) == KX_E_ARGUMENT, "scale");
    CHECK(kx_child_tuning_drop_f64(NULL, key, 0, x, 1, 0.5, -1, out) == KX_E_ARGUMENT, "scale");
    CHECK(kx_child_tuning_mask_f32(NULL, mask, x32, 1, 1e39, out32) == KX_E_ARGUMENT, "scale");
    CHECK(kx_child_tuning_mask_f64(NULL, NULL, x, 1, 1, out) == KX_E_ARGUMENT, "no mask");
}

int main(void) {
    check_by_chance();
    check_by_mask();
    check_specials();
    check_share();
    check_squares();
    check_arguments();
    return check_report();
}
