/* Norms of rows and scaled rows against long double. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

enum { MOST = 200003 };
static double x[MOST], out[MOST];
static float x32[MOST], out32[MOST];

static long double norm_of(int64_t from, int64_t n, int is_double) {
    long double sum = 0, largest = 0;
    for (int64_t i = from; i < from + n; i++)
        largest = fmaxl(largest, fabsl(is_double ? (long double)x[i] : (long double)x32[i]));
    if (largest == 0) return 0;
    for (int64_t i = from; i < from + n; i++) {
        const long double part = (is_double ? (long double)x[i] : (long double)x32[i]) / largest;
        sum += part * part;
    }
    return largest * sqrtl(sum);
}

static void fill(int64_t n, double low, double high) {
    for (int64_t i = 0; i < n; i++) {
        const double size = ldexp(check_uniform(-1, 1), (int)check_uniform(low, high));
        x[i] = size, x32[i] = (float)ldexp(check_uniform(-1, 1), (int)check_uniform(low / 8, high / 8));
    }
}

static void check_rows(int64_t rows, int64_t columns, double low, double high, int workers) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    fill(rows * columns, low, high);
    kx_scaled_norm_t *norms = malloc((size_t)(rows + 1) * sizeof *norms), *serial = malloc((size_t)(rows + 1) * sizeof *serial);
    kx_clip_factor_t *factors = malloc((size_t)(rows + 1) * sizeof *factors);
    for (int is_double = 0; is_double < 2; is_double++) {
        feclearexcept(FE_ALL_EXCEPT);
        CHECK((is_double ? kx_row_norms_f64(&ctx, x, rows, columns, columns, norms)
                         : kx_row_norms_f32(&ctx, x32, rows, columns, columns, norms)) == KX_OK, "norms");
        CHECK((is_double ? kx_row_norms_f64(NULL, x, rows, columns, columns, serial)
                         : kx_row_norms_f32(NULL, x32, rows, columns, columns, serial)) == KX_OK, "norms");
        CHECK(!fetestexcept(FE_INVALID | FE_OVERFLOW | FE_UNDERFLOW | FE_DIVBYZERO), "flags");
        long double all = 0;
        for (int64_t r = 0; r < rows; r++) {
            const long double exact = norm_of(r * columns, columns, is_double);
            const long double got = ldexpl(sqrtl(norms[r].square), norms[r].exponent);
            all = hypotl(all, exact);
            CHECK(fabsl(got - exact) <= 8 * DBL_EPSILON * exact, "double %d, %d x %d: %.17Lg, not %.17Lg", is_double, (int)rows,
                  (int)columns, got, exact);
            CHECK(norms[r].square == serial[r].square && norms[r].exponent == serial[r].exponent, "workers");
            const double bound = (double)(exact * (long double)check_uniform(0.1, 1.5));
            for (int is_soft = 0; is_soft < 2; is_soft++) {
                factors[r] = kx_clip_factor(norms[r], bound, is_soft);
                const long double factor = (long double)factors[r].first * (long double)factors[r].second;
                const long double wanted = is_soft ? bound / (exact + bound) : fminl(1, bound / exact);
                CHECK(exact == 0 || bound < DBL_MIN || fabsl(factor - wanted) <= 16 * DBL_EPSILON * wanted,
                      "factor %Lg, not %Lg", factor, wanted);
            }
        }
        const kx_scaled_norm_t total = kx_combine_norms(norms, rows);
        CHECK(fabsl(ldexpl(sqrtl(total.square), total.exponent) - all) <= 16 * DBL_EPSILON * all, "%Lg, not %Lg",
              ldexpl(sqrtl(total.square), total.exponent), all);
        feclearexcept(FE_ALL_EXCEPT);
        CHECK((is_double ? kx_scale_rows_f64(&ctx, x, rows, columns, columns, factors, out, columns)
                         : kx_scale_rows_f32(&ctx, x32, rows, columns, columns, factors, out32, columns)) == KX_OK, "scale");
        CHECK(!fetestexcept(FE_INVALID | FE_OVERFLOW | FE_UNDERFLOW | FE_DIVBYZERO), "flags");
        for (int64_t i = 0; i < rows * columns; i++) {
            const kx_clip_factor_t factor = factors[i / columns];
            const double by_double = x[i] * factor.first * factor.second;
            const float by_float = (float)((double)x32[i] * factor.first * factor.second);
            CHECK(is_double ? out[i] == by_double : out32[i] == by_float, "double %d, item %d", is_double, (int)i);
        }
    }
    free(norms), free(serial), free(factors);
}

static void check_ends(void) {
    const kx_scaled_norm_t one = {1, 0}, none = {0, 0}, huge = {0x1p80, 600}, tiny = {0x1p-80, -600};
    CHECK(kx_clip_factor(none, 1, 0).first == 1 && kx_clip_factor(none, 0, 1).first == 1, "a norm of 0");
    CHECK(kx_clip_factor(one, 0, 0).first == 0 && kx_clip_factor(one, 0, 1).first == 0, "a bound of 0");
    CHECK(kx_clip_factor(huge, INFINITY, 0).first == 1 && kx_clip_factor(huge, INFINITY, 1).first == 1, "no bound");
    CHECK(kx_clip_factor(one, 1, 0).first == 1 && kx_clip_factor(one, 1, 1).first == 0.5, "equal");
    const kx_clip_factor_t least = kx_clip_factor(huge, DBL_TRUE_MIN, 0);
    CHECK(least.first * 0x1p1000 * least.second == 0x1p-714, "%g %g", least.first, least.second);
    CHECK(kx_clip_factor(tiny, DBL_MAX, 1).first == 1, "a bound beyond any norm");
    feclearexcept(FE_ALL_EXCEPT);
    const kx_clip_factor_t nothing = kx_clip_factor(one, DBL_TRUE_MIN, 1);
    CHECK(nothing.first * 0x1p1000 * nothing.second == 0x1p-74, "%g %g", nothing.first, nothing.second);
    CHECK(kx_clip_factor((kx_scaled_norm_t){0x1p-80, -600}, 0x1p900, 1).first == 1, "a norm that is nothing beside its bound");
    CHECK(kx_combine_norms((kx_scaled_norm_t[]){{1, 600}, {0x1p-80, 0}, {0x1p-80, -600}}, 3).square == 1, "norms far apart");
    CHECK(!fetestexcept(FE_ALL_EXCEPT & ~FE_INEXACT), "flags");
    /* An infinity or NaN anywhere, small and big numbers in one row and across rows. */
    static const double specials[] = {(double)INFINITY, -(double)INFINITY, (double)NAN};
    for (int64_t place = 0; place < MOST; place += 9973) {
        for (int s = 0; s < 3; s++) {
            fill(MOST, -1000, 1000);
            x[place] = specials[s], x32[place] = (float)specials[s];
            kx_scaled_norm_t wide, narrow;
            feclearexcept(FE_ALL_EXCEPT);
            CHECK(kx_row_norms_f64(NULL, x, 1, MOST, MOST, &wide) == KX_OK, "norms");
            CHECK(kx_row_norms_f32(NULL, x32, 1, MOST, MOST, &narrow) == KX_OK, "norms");
            CHECK(!fetestexcept(FE_ALL_EXCEPT & ~FE_INEXACT), "flags");
            CHECK(s < 2 ? isinf(wide.square) && isinf(narrow.square) : isnan(wide.square) && isnan(narrow.square),
                  "%g %g", wide.square, narrow.square);
        }
    }
    /* A factor of 0 gives 0 for anything; one of 1 leaves a row in place alone. */
    x[0] = (double)NAN, x[1] = (double)INFINITY, x[2] = 3;
    const kx_clip_factor_t factors[] = {{0, 1}, {1, 1}};
    CHECK(kx_scale_rows_f64(NULL, x, 1, 3, 3, factors, x, 3) == KX_OK && x[0] == 0 && x[1] == 0 && x[2] == 0, "zeros");
    CHECK(kx_scale_rows_f64(NULL, x + 3, 2, 2, 2, (kx_clip_factor_t[]){{1, 1}, {0.5, 1}}, out, 2) == KX_OK && out[0] == x[3] &&
          out[2] == 0.5 * x[5], "copied");
    CHECK(kx_scale_rows_f64(NULL, x + 3, 1, 2, 2, (kx_clip_factor_t[]){{1, 0.25}}, out, 2) == KX_OK, "both factors");
    CHECK(out[0] == 0.25 * x[3], "both factors");
    kx_scaled_norm_t norm = {5, 0};
    CHECK(kx_row_norms_f64(NULL, x, 1, 0, 0, &norm) == KX_OK && norm.square == 0, "an empty row");
    CHECK(kx_combine_norms(NULL, 0).square == 0, "no norms");
}

static void *refuse(void *state, size_t bytes) { (void)state, (void)bytes; return NULL; }
static void release(void *state, void *block) { (void)state, free(block); }
static int cancel(void *state) { (void)state; return 1; }

static void check_failures(void) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator = (kx_allocator_t){refuse, release, NULL};
    kx_scaled_norm_t norm;
    CHECK(kx_row_norms_f64(&ctx, x, 1, MOST, MOST, &norm) == KX_E_MEMORY, "refused memory");
    const kx_clip_factor_t half = {0.5, 1};
    const int64_t huge = INT64_MAX / 2;
    CHECK(kx_row_norms_f64(NULL, x, -1, 1, 1, &norm) == KX_E_ARGUMENT &&
          kx_row_norms_f32(NULL, x32, 1, -1, 1, &norm) == KX_E_ARGUMENT, "a negative size");
    CHECK(kx_row_norms_f64(NULL, x, huge, 3, 0, &norm) == KX_E_OVERFLOW &&
          kx_row_norms_f32(NULL, x32, 3, huge, 0, &norm) == KX_E_OVERFLOW, "too many numbers");
    CHECK(kx_scale_rows_f64(NULL, x, -1, 1, 1, &half, out, 1) == KX_E_ARGUMENT &&
          kx_scale_rows_f32(NULL, x32, 1, -1, 1, &half, out32, 1) == KX_E_ARGUMENT, "a negative size");
    CHECK(kx_scale_rows_f64(NULL, x, 3, huge, 0, &half, out, 0) == KX_E_OVERFLOW &&
          kx_scale_rows_f32(NULL, x32, huge, 3, 0, &half, out32, 0) == KX_E_OVERFLOW, "too many numbers");
    kx_ctx_init(&ctx);
    ctx.cancel = cancel;
    /* The same row again and again, for seconds. */
    const int64_t rows = 1 << 20;
    kx_scaled_norm_t *norms = malloc((size_t)rows * sizeof *norms);
    kx_clip_factor_t *factors = malloc((size_t)rows * sizeof *factors);
    for (int64_t r = 0; r < rows; r++) factors[r] = (kx_clip_factor_t){0.5, 1};
    fill(MOST, -3, 3);
    CHECK(kx_row_norms_f64(&ctx, x, rows, MOST, 0, norms) == KX_E_CANCELLED, "cancelled");
    CHECK(kx_scale_rows_f64(&ctx, x, rows, MOST, 0, factors, out, 0) == KX_E_CANCELLED, "cancelled");
    CHECK(kx_row_norms_f64(NULL, x, 1, MOST, MOST, &norm) == KX_OK && norm.square > 0, "usable afterwards");
    free(norms), free(factors);
}

/* The same row again and again is more than the caches hold: the bits of a row by itself. */
static void check_past_the_caches(void) {
    enum { ROWS = 48, BEGIN = 3 };
    static double alone[MOST];
    static float alone32[MOST];
    static const kx_clip_factor_t each[] = {{1, 1}, {0, 1}, {0.3, 1}, {0x1.5p-1000, 0x1p-20}};
    for (int f = 0; f < 4; f++) {
        kx_clip_factor_t factors[ROWS];
        for (int r = 0; r < ROWS; r++) factors[r] = each[f];
        fill(MOST, f == 3 ? 900 : -3, f == 3 ? 1020 : 3);
        for (int64_t from = 0; from <= BEGIN; from += BEGIN) {
            const int64_t n = MOST - BEGIN;
            CHECK(kx_scale_rows_f64(NULL, x, 1, n, n, each + f, alone, n) == KX_OK &&
                  kx_scale_rows_f32(NULL, x32, 1, n, n, each + f, alone32, n) == KX_OK, "one row");
            memset(out, 1, sizeof out), memset(out32, 1, sizeof out32);
            CHECK(kx_scale_rows_f64(NULL, x, ROWS, n, 0, factors, out + from, 0) == KX_OK &&
                  kx_scale_rows_f32(NULL, x32, ROWS, n, 0, factors, out32 + from, 0) == KX_OK, "many rows");
            CHECK(!memcmp(out + from, alone, (size_t)n * sizeof *out), "float64, factor %d from %d", f, (int)from);
            CHECK(!memcmp(out32 + from, alone32, (size_t)n * sizeof *out32), "float32, factor %d from %d", f, (int)from);
            const unsigned char *after = (const unsigned char *)(out + from + n);
            CHECK(from == BEGIN || (after[0] == 1 && after[7] == 1), "what is behind a row stays");
        }
    }
}

int main(void) {
    static const int64_t shapes[][2] = {{1, 1},    {7, 3},     {3, 8},     {2, 2047},  {2, 2048},
                                        {1, 2049}, {3, 65536}, {2, 65537}, {1, MOST}, {40000, 5}};
    static const double ranges[][2] = {{-3, 3}, {-1070, -900}, {-1070, 1020}, {900, 1020}, {-520, -480}, {480, 520}};
    for (int s = 0; s < 10; s++)
        for (int r = 0; r < 6; r++) check_rows(shapes[s][0], shapes[s][1], ranges[r][0], ranges[r][1], s % 4);
    check_ends();
    check_past_the_caches();
    check_failures();
    return check_report();
}
