/* Layer and RMS normalisation and their gradients against long double. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

enum { MOST = 2100 };
static double x[64 * MOST], g[64 * MOST], out[64 * MOST], gamma_[MOST], beta_[MOST], by_gamma[MOST], by_beta[MOST];
static float x32[64 * MOST], g32[64 * MOST], out32[64 * MOST], gamma32[MOST], beta32[MOST], by_gamma32[MOST], by_beta32[MOST];
static long double h[64 * MOST], slope[64 * MOST];

/* h and the deviation of a row of contiguous numbers. */
static long double normalize(const double *row, int64_t n, long double eps, int is_layer, long double *to) {
    /* From the first entry: a mean far from 0 would be off by more than the results are. */
    const long double base = is_layer ? row[0] : 0;
    long double mean = 0, square = 0;
    for (int64_t i = 0; i < n && is_layer; i++) mean += (row[i] - base) / (long double)n;
    for (int64_t i = 0; i < n; i++) to[i] = row[i] - base - mean, square += to[i] * to[i] / (long double)n;
    const long double deviation = sqrtl(square + eps);
    for (int64_t i = 0; i < n; i++) to[i] /= deviation;
    return deviation;
}

static kx_norm_vectors_t vectors(void *data, ptrdiff_t row, ptrdiff_t step) { return (kx_norm_vectors_t){data, row, step}; }

/* Rows whose first numbers, and those of each quarter, are far from the others' mean. */
static int has_odd_quarters;

static void fill(int64_t rows, int64_t n, double shift) {
    for (int64_t i = 0; i < rows * n; i++) {
        const int is_odd = has_odd_quarters && i % n % (n / 4) < 16;
        x32[i] = (float)(check_uniform(-2, 2) + (is_odd ? -shift : shift)), g32[i] = (float)check_uniform(-2, 2);
        x[i] = (double)x32[i], g[i] = (double)g32[i];
    }
    for (int64_t i = 0; i < n; i++) {
        gamma32[i] = (float)check_uniform(-2, 2), beta32[i] = (float)check_uniform(-2, 2);
        gamma_[i] = (double)gamma32[i], beta_[i] = (double)beta32[i];
    }
}

static void check_forward(int64_t rows, int64_t n, double shift, int is_layer, int has_gamma, int has_beta, int is_transposed) {
    fill(rows, n, shift);
    const double eps = 0x1p-17;
    for (int is_double = 0; is_double < 2; is_double++) {
        const ptrdiff_t size = is_double ? sizeof(double) : sizeof(float);
        const double unit = is_double ? DBL_EPSILON : (double)FLT_EPSILON;
        const kx_norm_vectors_t from = vectors(is_double ? (void *)x : (void *)x32, n * size, size);
        const kx_norm_vectors_t weight = vectors(is_double ? (void *)gamma_ : (void *)gamma32, 0, size);
        const kx_norm_vectors_t bias = vectors(is_double ? (void *)beta_ : (void *)beta32, 0, size);
        void *target = is_double ? (void *)out : (void *)out32;
        const kx_norm_vectors_t to = is_transposed ? vectors(target, size, rows * size) : vectors(target, n * size, size);
        feclearexcept(FE_ALL_EXCEPT);
        kx_status_t status;
        const kx_norm_vectors_t *weights = has_gamma ? &weight : NULL, *biases = has_beta ? &bias : NULL;
        if (is_layer) status = (is_double ? kx_layer_norm_f64 : kx_layer_norm_f32)(&from, weights, biases, rows, n, eps, &to);
        else status = (is_double ? kx_rms_norm_f64 : kx_rms_norm_f32)(&from, weights, rows, n, eps, &to);
        CHECK(status == KX_OK && !fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "status %d", (int)status);
        for (int64_t r = 0; r < rows; r++) {
            normalize(x + r * n, n, (long double)eps, is_layer, h);
            for (int64_t i = 0; i < n; i++) {
                const long double by = has_gamma ? gamma_[i] : 1, plus = is_layer && has_beta ? beta_[i] : 0;
                const int64_t place = is_transposed ? i * rows + r : r * n + i;
                const long double got = is_double ? (long double)out[place] : (long double)out32[place];
                const long double bound = 4 * (1 + log2l(n)) * unit * (fabsl(by) * (is_layer + fabsl(h[i])) + fabsl(plus));
                CHECK(fabsl(got - (by * h[i] + plus)) <= bound + 1e-40L, "double %d layer %d n %d, (%d, %d): %.17Lg, not %.17Lg",
                      is_double, is_layer, (int)n, (int)r, (int)i, got, by * h[i] + plus);
            }
        }
    }
}

static void check_gradients(int64_t rows, int64_t n, double shift, int is_layer, int has_gamma, int is_transposed) {
    fill(rows, n, shift);
    static long double terms[2][MOST], sizes[2][MOST];
    memset(terms, 0, sizeof terms), memset(sizes, 0, sizeof sizes);
    const double eps = 0x1p-17;
    for (int64_t r = 0; r < rows; r++) {
        const long double deviation = normalize(x + r * n, n, (long double)eps, is_layer, h + r * n);
        long double mean = 0, along = 0;
        for (int64_t i = 0; i < n; i++) {
            const long double d = g[r * n + i] * (has_gamma ? (long double)gamma_[i] : 1), term = g[r * n + i] * h[r * n + i];
            mean += is_layer ? d / (long double)n : 0, along += d * h[r * n + i] / (long double)n;
            terms[0][i] += term, terms[1][i] += g[r * n + i];
            sizes[0][i] += fabsl(term) + fabsl((long double)g[r * n + i]) / 16, sizes[1][i] += fabsl((long double)g[r * n + i]);
        }
        for (int64_t i = 0; i < n; i++) {
            const long double d = g[r * n + i] * (has_gamma ? (long double)gamma_[i] : 1);
            slope[r * n + i] = (d - mean - h[r * n + i] * along) / deviation;
        }
        h[r * n] = deviation; /* all that is needed from here */
    }
    for (int is_double = 0; is_double < 2; is_double++) {
        const ptrdiff_t size = is_double ? sizeof(double) : sizeof(float);
        const long double unit = is_double ? DBL_EPSILON : (double)FLT_EPSILON;
        const kx_norm_vectors_t from = vectors(is_double ? (void *)x : (void *)x32, n * size, size);
        const kx_norm_vectors_t upstream = vectors(is_double ? (void *)g : (void *)g32, n * size, size);
        const kx_norm_vectors_t weight = vectors(is_double ? (void *)gamma_ : (void *)gamma32, 0, size);
        void *target = is_double ? (void *)out : (void *)out32;
        const kx_norm_vectors_t to = is_transposed ? vectors(target, size, rows * size) : vectors(target, n * size, size);
        const kx_norm_vectors_t *by = has_gamma ? &weight : NULL;
        kx_status_t status;
        if (is_layer && is_double)
            status = kx_layer_norm_vjp_f64(NULL, &from, &upstream, by, rows, n, eps, &to, by_gamma, by_beta);
        else if (is_layer) status = kx_layer_norm_vjp_f32(NULL, &from, &upstream, by, rows, n, eps, &to, by_gamma32, by_beta32);
        else if (is_double) status = kx_rms_norm_vjp_f64(NULL, &from, &upstream, by, rows, n, eps, &to, by_gamma);
        else status = kx_rms_norm_vjp_f32(NULL, &from, &upstream, by, rows, n, eps, &to, by_gamma32);
        CHECK(status == KX_OK, "status %d", (int)status);
        for (int64_t r = 0; r < rows; r++)
            for (int64_t i = 0; i < n; i++) {
                const int64_t place = is_transposed ? i * rows + r : r * n + i;
                const long double got = is_double ? (long double)out[place] : (long double)out32[place];
                const long double bound = 32 * unit * 16 * sqrtl(n) / h[r * n];
                CHECK(fabsl(got - slope[r * n + i]) <= bound, "double %d layer %d n %d, (%d, %d): %.17Lg, not %.17Lg", is_double,
                      is_layer, (int)n, (int)r, (int)i, got, slope[r * n + i]);
            }
        for (int64_t i = 0; i < n; i++) {
            const long double of_gamma = is_double ? (long double)by_gamma[i] : (long double)by_gamma32[i];
            const long double of_beta = is_double ? (long double)by_beta[i] : (long double)by_beta32[i];
            CHECK(fabsl(of_gamma - terms[0][i]) <= 64 * unit * sizes[0][i], "gamma %d: %.17Lg, not %.17Lg", (int)i, of_gamma,
                  terms[0][i]);
            CHECK(!is_layer || fabsl(of_beta - terms[1][i]) <= 64 * unit * sizes[1][i], "beta %d: %.17Lg, not %.17Lg", (int)i,
                  of_beta, terms[1][i]);
        }
    }
}

/* Rows of extreme size are those of ordinary size, scaled by a power of two. */
static void check_magnitudes(void) {
    const int64_t n = 97;
    static const int exponents[] = {-1060, -700, -450, 400, 511, 700, 1020};
    for (int e = 0; e < 7; e++) {
        fill(1, n, 0);
        if (exponents[e] < -1000) /* whole numbers of subnormal units */
            for (int64_t i = 0; i < n; i++) x[i] = floor(x[i] * 256) + 1;
        static double expected[MOST];
        kx_norm_vectors_t from = vectors(x, 0, 8), to = vectors(expected, 0, 8), back = vectors(out, 0, 8);
        for (int is_layer = 0; is_layer < 2; is_layer++) {
            is_layer ? kx_layer_norm_f64(&from, NULL, NULL, 1, n, 0, &to) : kx_rms_norm_f64(&from, NULL, 1, n, 0, &to);
            for (int64_t i = 0; i < n; i++) x[i] = ldexp(x[i], exponents[e]);
            feclearexcept(FE_ALL_EXCEPT);
            is_layer ? kx_layer_norm_f64(&from, NULL, NULL, 1, n, 0, &back) : kx_rms_norm_f64(&from, NULL, 1, n, 0, &back);
            CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW), "flags at 2^%d", exponents[e]);
            for (int64_t i = 0; i < n; i++) {
                CHECK(fabs(out[i] - expected[i]) <= 1e-14, "2^%d: %.17g, not %.17g", exponents[e], out[i], expected[i]);
                x[i] = ldexp(x[i], -exponents[e]);
            }
        }
    }
}

static void check_special_rows(void) {
    const int64_t n = 40;
    static const struct {
        double value;
        int flags;
    } cases[] = {{(double)NAN, 0}, {(double)INFINITY, FE_INVALID}, {-(double)INFINITY, FE_INVALID}};
    for (int c = 0; c < 3; c++)
        for (int is_double = 0; is_double < 2; is_double++) {
            fill(3, n, 1);
            x[n + 7] = cases[c].value, x32[n + 7] = (float)cases[c].value;
            const ptrdiff_t size = is_double ? sizeof(double) : sizeof(float);
            const kx_norm_vectors_t rows = vectors(is_double ? (void *)x : (void *)x32, n * size, size);
            feclearexcept(FE_ALL_EXCEPT);
            (is_double ? kx_layer_norm_f64 : kx_layer_norm_f32)(&rows, NULL, NULL, 3, n, 1e-5, &rows); /* in place */
            CHECK(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) == cases[c].flags, "flags of %g", cases[c].value);
            for (int64_t i = 0; i < 3 * n; i++) {
                const double value = is_double ? x[i] : (double)x32[i];
                CHECK(isnan(value) == (i / n == 1), "entry %d is %g", (int)i, value);
            }
        }
    for (int is_layer = 0; is_layer < 2; is_layer++) { /* 0 / 0 */
        for (int64_t i = 0; i < n; i++) x[i] = is_layer ? 0.1 : 0;
        const kx_norm_vectors_t row = vectors(x, 0, 8), to = vectors(out, 0, 8);
        feclearexcept(FE_ALL_EXCEPT);
        is_layer ? kx_layer_norm_f64(&row, NULL, NULL, 1, n, 0, &to) : kx_rms_norm_f64(&row, NULL, 1, n, 0, &to);
        CHECK(fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW) == FE_INVALID && isnan(out[0]), "0 / 0 is %g", out[0]);
        is_layer ? kx_layer_norm_f64(&row, NULL, NULL, 1, n, 1e-5, &to) : kx_rms_norm_f64(&row, NULL, 1, n, 1e-5, &to);
        CHECK(out[0] == 0 && out[n - 1] == 0, "0 / eps is %g", out[0]);
    }
}

static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}
static int stop(void *state) { return state == NULL; }

static void check_context(void) {
    const int64_t rows = 3000, n = 43;
    static double first[3000 * 43], sums[2][43];
    fill(rows, n, 0);
    const kx_norm_vectors_t from = vectors(x, n * 8, 8), upstream = vectors(g, n * 8, 8), weight = vectors(gamma_, 0, 8);
    const kx_norm_vectors_t to = vectors(out, n * 8, 8);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    for (int workers = 1; workers < 9; workers++) {
        ctx.workers = workers;
        CHECK(kx_layer_norm_vjp_f64(&ctx, &from, &upstream, &weight, rows, n, 1e-5, &to, by_gamma, by_beta) == KX_OK, "workers");
        if (workers == 1) {
            memcpy(first, out, sizeof first);
            memcpy(sums[0], by_gamma, sizeof sums[0]), memcpy(sums[1], by_beta, sizeof sums[1]);
        }
        CHECK(!memcmp(first, out, sizeof first) && !memcmp(sums[0], by_gamma, sizeof sums[0]) &&
                  !memcmp(sums[1], by_beta, sizeof sums[1]), "%d workers give other bits", workers);
    }
    CHECK(kx_layer_norm_vjp_f64(&ctx, &from, &upstream, &weight, 0, n, 1e-5, &to, by_gamma, by_beta) == KX_OK &&
              by_gamma[0] == 0 && by_beta[n - 1] == 0, "no rows: %g", by_gamma[0]);
    CHECK(kx_layer_norm_vjp_f64(&ctx, &from, &upstream, NULL, 3, 0, 1e-5, &to, by_gamma, by_beta) == KX_OK, "rows of nothing");
    CHECK(kx_layer_norm_f64(&from, NULL, NULL, -1, n, 1e-5, &to) == KX_E_ARGUMENT, "-1 rows");
    CHECK(kx_rms_norm_vjp_f64(&ctx, &from, &upstream, NULL, 3, -1, 1e-5, &to, by_gamma) == KX_E_ARGUMENT, "n = -1");
    ctx.cancel = stop, ctx.workers = 1;
    const kx_norm_vectors_t same_x = vectors(x, 0, 8), same_g = vectors(g, 0, 8), same_out = vectors(by_beta, 0, 8);
    CHECK(kx_layer_norm_vjp_f64(&ctx, &same_x, &same_g, NULL, 1 << 30, n, 1e-5, &same_out, by_gamma, NULL) == KX_E_CANCELLED,
          "cancelled");
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = refuse;
    CHECK(kx_layer_norm_vjp_f64(&ctx, &from, &upstream, &weight, rows, n, 1e-5, &to, by_gamma, NULL) == KX_E_MEMORY, "memory");
    CHECK(kx_layer_norm_vjp_f64(&ctx, &from, &upstream, &weight, rows, n, 1e-5, &to, NULL, NULL) == KX_OK, "dx alone needs none");
    CHECK(!memcmp(first, out, sizeof first), "dx alone differs");
}

/* The same row again and again is more than the caches hold: the bits of that row by itself, wherever it begins. */
static void check_past_the_caches(void) {
    static double alone[MOST];
    static float alone32[MOST];
    const int64_t lengths[] = {64, 67, 300, 768};
    for (int l = 0; l < 4; l++) {
        const int64_t n = lengths[l], rows = (32 << 20) / (int64_t)sizeof(float) / n + 1;
        fill(1, n, 3);
        for (int begin = 0; begin < 18; begin += l == 3 ? 4 : 17)
            for (int kind = 0; kind < 4; kind++) {
                const kx_norm_vectors_t from = vectors(x, 0, sizeof *x), from32 = vectors(x32, 0, sizeof *x32);
                const kx_norm_vectors_t weight = vectors(gamma_, 0, sizeof *gamma_);
                const kx_norm_vectors_t weight32 = vectors(gamma32, 0, sizeof *gamma32);
                const kx_norm_vectors_t bias = vectors(beta_, 0, sizeof *beta_), bias32 = vectors(beta32, 0, sizeof *beta32);
                const kx_norm_vectors_t once = vectors(alone, 0, sizeof *alone), once32 = vectors(alone32, 0, sizeof *alone32);
                const kx_norm_vectors_t to = vectors(out + begin, 0, sizeof *out), to32 = vectors(out32 + begin, 0, sizeof *out32);
                const kx_norm_vectors_t *by = kind & 1 ? &weight : NULL, *plus = kind & 2 ? &bias : NULL;
                const kx_norm_vectors_t *by32 = kind & 1 ? &weight32 : NULL, *plus32 = kind & 2 ? &bias32 : NULL;
                memset(out, 1, sizeof *out * MOST), memset(out32, 1, sizeof *out32 * MOST);
                CHECK(kx_layer_norm_f64(&from, by, plus, 1, n, 1e-5, &once) == KX_OK &&
                      kx_layer_norm_f32(&from32, by32, plus32, 1, n, 1e-5, &once32) == KX_OK, "one row");
                CHECK(kx_layer_norm_f64(&from, by, plus, rows, n, 1e-5, &to) == KX_OK &&
                      kx_layer_norm_f32(&from32, by32, plus32, rows, n, 1e-5, &to32) == KX_OK, "many rows");
                CHECK(!memcmp(out + begin, alone, (size_t)n * sizeof *out), "float64, %d from %d", (int)n, begin);
                CHECK(!memcmp(out32 + begin, alone32, (size_t)n * sizeof *out32), "float32, %d from %d", (int)n, begin);
                const unsigned char *after = (const unsigned char *)(out + begin + n);
                const unsigned char *before = (const unsigned char *)(out32 + begin);
                const kx_norm_vectors_t odd = vectors((char *)out + 4, 0, sizeof *out);
                if (begin == 0 && kind == 3) {
                    CHECK(kx_layer_norm_f64(&from, by, plus, rows, n, 1e-5, &odd) == KX_OK, "at half a number");
                    CHECK(!memcmp((char *)out + 4, alone, (size_t)n * sizeof *out), "float64, %d at half a number", (int)n);
                    continue;
                }
                CHECK(after[0] == 1 && after[7] == 1 && (begin == 0 || before[-1] == 1), "what is beside a row stays");
            }
    }
}

int main(void) {
    static const int64_t lengths[] = {1, 2, 3, 5, 8, 15, 16, 17, 31, 64, 65, 300, 513, 768, 2100};
    static const double shifts[] = {0, 30, -3e5};
    for (int l = 0; l < 15; l++)
        for (int s = 0; s < 3; s++)
            for (int kind = 0; kind < 8; kind++) {
                check_forward(3, lengths[l], shifts[s], 1, kind & 1, kind >> 1 & 1, kind >> 2);
                check_forward(3, lengths[l], shifts[s], 0, kind & 1, 0, kind >> 2);
                check_gradients(kind >> 1 & 1 ? 45 : 2, lengths[l], s == 2 ? 300 : shifts[s], 1, kind & 1, kind >> 2);
                check_gradients(kind >> 1 & 1 ? 45 : 2, lengths[l], shifts[s], 0, kind & 1, kind >> 2);
            }
    has_odd_quarters = 1;
    for (int kind = 0; kind < 4; kind++)
        for (int64_t n = 300; n <= 2100; n += 600) {
            check_forward(3, n, 100, 1, kind & 1, kind >> 1, 0);
            check_gradients(5, n, 100, 1, kind & 1, kind >> 1);
        }
    has_odd_quarters = 0;
    check_magnitudes();
    check_special_rows();
    check_context();
    check_past_the_caches();
    return check_report();
}
