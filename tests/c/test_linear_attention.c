/* Linear attention against long double, query by query, and polynomial features against products of their factors. */
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

typedef struct kx_case {
    int64_t items, queries, keys, dimension, value_dimension;
    int is_causal, is_normalized, share;
    int scales; /* 0: none; 1: some hidden; 2: far out of range as well */
} kx_case_t;

static void attend(const kx_case_t *c, double eps, const double *q, const double *k, const double *v, const double *scales,
                   long double *out, long double *denominators) {
    for (int64_t i = 0; i < c->queries; i++) {
        long double top = -INFINITY, sum = 0;
        int seen = 0;
        for (int64_t m = 0; m < c->value_dimension; m++) out[i * c->value_dimension + m] = 0;
        const int64_t keys = c->is_causal && i + 1 < c->keys ? i + 1 : c->keys;
        for (int64_t j = 0; j < keys; j++) top = fmaxl(top, scales ? scales[j] : 0);
        for (int64_t j = 0; j < keys; j++) {
            if (scales && scales[j] == -INFINITY) continue;
            seen = 1;
            long double weight = 0;
            for (int64_t m = 0; m < c->dimension; m++) weight += (long double)q[i * c->dimension + m] * k[j * c->dimension + m];
            if (scales) weight *= expl((long double)scales[j] - top);
            sum += weight;
            for (int64_t m = 0; m < c->value_dimension; m++) out[i * c->value_dimension
                + m] += weight * v[j * c->value_dimension + m];
        }
        denominators[i] = sum;
        for (int64_t m = 0; seen && c->is_normalized && m < c->value_dimension; m++) out[i * c->value_dimension + m] /= sum + eps;
    }
}

static double worst_of(const void *got, int is_narrow, const long double *exact, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double value = is_narrow ? (double)((const float *)got)[i] : ((const double *)got)[i];
        const double apart = value == (double)exact[i] ? 0 : (double)fabsl(value - exact[i]);
        if (!(apart <= worst)) worst = apart;
    }
    return worst;
}

static void test(kx_case_t c) {
    const int64_t shared = c.share ? 1 : c.items, rows = c.items * c.queries, no = rows * c.value_dimension;
    const int64_t counts[3] = {c.items * c.queries * c.dimension, shared * c.keys * c.dimension,
        shared * c.keys * c.value_dimension};
    double *in[3];
    float *narrow[3];
    for (int i = 0; i < 3; i++) {
        in[i] = malloc((size_t)(counts[i] + 1) * sizeof **in), narrow[i] = malloc((size_t)(counts[i] + 1) * sizeof **narrow);
        for (int64_t k = 0; k < counts[i]; k++) in[i][k] = (double)(narrow[i][k] = (float)check_uniform(i < 2 ? 0.1 : -1, 1));
    }
    double *scales = malloc((size_t)(c.keys + 1) * sizeof *scales);
    for (int64_t j = 0; j < c.keys; j++) {
        scales[j] = c.scales == 2 ? check_uniform(-2000, 2000) : 0;
        if (j < 3 || check_random() % 3 == 0) scales[j] = -INFINITY;
    }
    const double eps = (double)(check_random() % 2) / 4;
    long double *out = malloc((size_t)(no + 1) * sizeof *out), *sums = malloc((size_t)(rows + 1) * sizeof *sums);
    for (int64_t i = 0; i < c.items; i++)
        attend(&c, eps, in[0] + i * c.queries * c.dimension, in[1] + (c.share ? 0 : i) * c.keys * c.dimension,
               in[2] + (c.share ? 0 : i) * c.keys * c.value_dimension, c.scales ? scales : NULL,
                   out + i * c.queries * c.value_dimension,
               sums + i * c.queries);
    int64_t *q_at = malloc((size_t)(c.items + 1) * 8), *k_at = malloc((size_t)(c.items + 1) * 8),
        *v_at = malloc((size_t)(c.items + 1) * 8);
    int64_t *s_at = calloc((size_t)(c.items + 1), 8);
    for (int precision = 0; precision < 2; precision++) {
        const int64_t size = precision ? 8 : 4;
        for (int64_t i = 0; i < c.items; i++) {
            const int64_t from = c.share ? 0 : i;
            q_at[i] = i * c.queries * c.dimension * size, k_at[i] = from * c.keys * c.dimension * size;
            v_at[i] = from * c.keys * c.value_dimension * size;
        }
        const kx_linear_attention_t a = {
            {precision ? (void *)in[0] : (void *)narrow[0], q_at, c.dimension * size},
            {precision ? (void *)in[1] : (void *)narrow[1], k_at, c.dimension * size},
            {precision ? (void *)in[2] : (void *)narrow[2], v_at, c.value_dimension * size},
            c.items, c.queries, c.keys, c.dimension, c.value_dimension, {c.scales ? scales : NULL, s_at, 8}, c.is_causal,
            c.is_normalized, eps};
        char *got = malloc((size_t)(no * size + 1)), *alone = malloc((size_t)(no * size + 1));
        double *denominators = malloc((size_t)(rows + 1) * sizeof *denominators);
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 3;
        const kx_status_t status = precision ? kx_linear_attention_f64(&ctx, &a, (double *)got, denominators)
                                             : kx_linear_attention_f32(&ctx, &a, (float *)got, denominators);
        const kx_status_t again = precision ? kx_linear_attention_f64(NULL, &a, (double *)alone, NULL)
                                            : kx_linear_attention_f32(NULL, &a, (float *)alone, NULL);
        CHECK(status == KX_OK && again == KX_OK, "status %d, %d", (int)status, (int)again);
        CHECK(memcmp(alone, got, (size_t)(no * size)) == 0, "the same by one worker");
        /* The header's bound; weights are below the dimension and values below 1, and normalised, their weights sum to at most
           1. */
        const double rounding = (precision ? DBL_EPSILON : FLT_EPSILON) * (double)(c.dimension + 256);
        const double total = (double)(c.keys * c.dimension);
        const double worst = worst_of(got, !precision, out, no), worst_sum = worst_of(denominators, 0, sums, rows);
        CHECK(worst <= rounding * (c.is_normalized ? 2 : total) && worst_sum <= rounding * total,
              "float%d, %d items of %d x %d, %d and %d, causal %d, scales %d: %g, %g over %g", (int)size * 8, (int)c.items,
                  (int)c.queries,
              (int)c.keys, (int)c.dimension, (int)c.value_dimension, c.is_causal, c.scales, worst, worst_sum, rounding);
        free(got), free(alone), free(denominators);
    }
    for (int i = 0; i < 3; i++) free(in[i]), free(narrow[i]);
    free(scales), free(out), free(sums), free(q_at), free(k_at), free(v_at), free(s_at);
}

/* Rows from the last to the first are rows too. */
static void test_reversed(void) {
    enum { N = 100, M = 5, W = 3 };
    double q[N][M], k[N][M], v[N][W], out[N][W], same[N][W], qr[N][M], kr[N][M], vr[N][W];
    for (int i = 0; i < N; i++) {
        for (int m = 0; m < M; m++) qr[N - 1 - i][m] = q[i][m] = check_uniform(0, 1),
            kr[N - 1 - i][m] = k[i][m] = check_uniform(0, 1);
        for (int m = 0; m < W; m++) vr[N - 1 - i][m] = v[i][m] = check_uniform(-1, 1);
    }
    const int64_t at = 0;
    const ptrdiff_t row = sizeof *q, value_row = sizeof *v;
    const kx_linear_attention_t back = {{q[N - 1], &at, -row}, {k[N - 1], &at, -row}, {v[N - 1], &at, -value_row}, 1, N, N, M, W,
                                        {NULL, NULL, 0}, 1, 1, 0};
    const kx_linear_attention_t forth = {{qr, &at, row}, {kr, &at, row}, {vr, &at, value_row}, 1, N, N, M, W, {NULL, NULL, 0},
        1, 1, 0};
    CHECK(kx_linear_attention_f64(NULL, &back, *out, NULL) == KX_OK, "reversed");
    CHECK(kx_linear_attention_f64(NULL, &forth, *same, NULL) == KX_OK, "copied");
    CHECK(memcmp(out, same, sizeof out) == 0, "rows from the last to the first");
}

/* A value that is not finite reaches the queries that see its key, and no others: also of its own block, also beside hidden keys. */
static void test_spoilt_values(void) {
    enum { N = 150, M = 4, W = 3 };
    static double q[N][M], k[N][M], v[N][W], clean[N][W], scales[N], out[N][W];
    static float narrow_q[N][M], narrow_k[N][M], narrow_v[N][W], narrow_out[N][W];
    const int64_t at = 0;
    const int places[] = {0, 5, 63, 64, 100, N - 1};
    for (int turn = 0; turn < 24; turn++) {
        const int spoilt = places[turn % 6], is_causal = turn < 12, is_scaled = turn / 6 % 2, hidden = spoilt == 5 && is_scaled;
        const double poison = turn % 2 ? NAN : INFINITY;
        for (int i = 0; i < N; i++) {
            for (int m = 0; m < M; m++) q[i][m] = check_uniform(0.1, 1), k[i][m] = check_uniform(0.1, 1);
            for (int m = 0; m < W; m++) v[i][m] = check_uniform(-1, 1);
            scales[i] = check_uniform(-1, 1);
        }
        if (hidden) scales[spoilt] = -INFINITY;
        for (int i = 0; i < N; i++) {
            for (int m = 0; m < M; m++) narrow_q[i][m] = (float)q[i][m], narrow_k[i][m] = (float)k[i][m];
            for (int m = 0; m < W; m++) narrow_v[i][m] = (float)v[i][m];
        }
        const kx_linear_attention_t wide = {.queries = {q, &at, sizeof *q}, .keys = {k, &at, sizeof *k},
                                            .values = {v, &at, sizeof *v}, .items = 1, .query_count = N, .key_count = N,
                                            .dimension = M, .value_dimension = W, .is_causal = is_causal, .is_normalized = 1,
                                            .log_scales = {is_scaled ? scales : NULL, &at, sizeof *scales}};
        kx_linear_attention_t narrow = wide;
        narrow.queries = (kx_attention_rows_t){narrow_q, &at, sizeof *narrow_q};
        narrow.keys = (kx_attention_rows_t){narrow_k, &at, sizeof *narrow_k};
        narrow.values = (kx_attention_rows_t){narrow_v, &at, sizeof *narrow_v};
        CHECK(kx_linear_attention_f64(NULL, &wide, *clean, NULL) == KX_OK, "clean");
        v[spoilt][1] = poison, narrow_v[spoilt][1] = (float)poison;
        CHECK(kx_linear_attention_f64(NULL, &wide, *out, NULL) == KX_OK, "spoilt");
        CHECK(kx_linear_attention_f32(NULL, &narrow, *narrow_out, NULL) == KX_OK, "spoilt in float32");
        for (int i = 0; i < N; i++)
            for (int m = 0; m < W; m++) {
                const int is_seen = m == 1 && !hidden && (!is_causal || i >= spoilt);
                CHECK(is_seen ? !isfinite(out[i][m]) : fabs(out[i][m] - clean[i][m]) <= 1e-13, "turn %d, row %d, value %d: %g", turn, i,
                      m, out[i][m]);
                CHECK(is_seen ? !isfinite(narrow_out[i][m]) : fabs((double)narrow_out[i][m] - clean[i][m]) <= 1e-4,
                      "turn %d, row %d, value %d: %g in float32", turn, i, m, (double)narrow_out[i][m]);
            }
    }
}

/* Factors of each number, in the order that the header states, for the kind's definition. */
static long double monomial(const double *x, const int *factors, int m, int d) {
    long double product = 1;
    for (int t = 0; t < m; t++) product *= x[factors[t]];
    for (int i = 0; i < d; i++) {
        int count = 0;
        for (int t = 0; t < m; t++) count += factors[t] == i;
        product /= sqrtl(tgammal((long double)count + 1));
    }
    return product;
}

static void test_polynomials(kx_polynomial_t kind, int d, int degree) {
    enum { ROWS = 5 };
    int64_t size = -1;
    CHECK(kx_polynomial_features_size(kind, d, degree, &size) == KX_OK, "size");
    const double scale = 0.75;
    double x[ROWS * 16], scales[16], scaled[16];
    float narrow[ROWS * 16];
    for (int i = 0; i < ROWS * d; i++) x[i] = (double)(narrow[i] = (float)check_uniform(-2, 2));
    scales[0] = 1;
    for (int m = 1; m <= degree; m++) scales[m] = check_uniform(0.5, 2);
    double *out = malloc((size_t)(ROWS * size) * sizeof *out);
    float *out_narrow = malloc((size_t)(ROWS * size) * sizeof *out_narrow);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 2;
    CHECK(kx_polynomial_features_f64(&ctx, kind, x, ROWS, d * 8, d, degree, scale, scales, out) == KX_OK, "float64");
    CHECK(kx_polynomial_features_f32(&ctx, kind, narrow, ROWS, d * 4, d, degree, scale, scales, out_narrow) == KX_OK, "float32");
    for (int r = 0; r < ROWS; r++) {
        int64_t place = 0;
        double worst = 0, worst_narrow = 0;
        for (int i = 0; i < d; i++) scaled[i] = x[r * d + i] * scale;
        for (int m = kind == KX_POLYNOMIAL_TENSOR_POWER ? degree : 0; m <= degree; m++) {
            const int first = kind == KX_POLYNOMIAL_TENSOR_POWER ? -1 : 0; /* -1: the 1 of (1, x) */
            int factors[16];
            for (int t = 0; t < m; t++) factors[t] = first;
            while (m == 0 || d > first) {
                long double exact = 1;
                if (kind == KX_POLYNOMIAL_MONOMIALS) exact = monomial(scaled, factors, m, d) * scales[m];
                else {
                    for (int t = 0; t < m; t++) exact *= factors[t] < 0 ? 1 : scaled[factors[t]];
                    if (kind == KX_POLYNOMIAL_TENSORS) exact /= sqrtl(tgammal((long double)m + 1));
                }
                const double apart = (double)(fabsl(out[r * size + place] - exact) / fmaxl(fabsl(exact), 1e-300L));
                const double apart_narrow = (double)(fabsl(out_narrow[r * size + place] - exact) / fmaxl(fabsl(exact), 1e-30L));
                worst = fmax(worst, apart), worst_narrow = fmax(worst_narrow, apart_narrow), place++;
                int t = m - 1;
                while (t >= 0 && factors[t] == d - 1) t--;
                if (t < 0) break;
                factors[t]++;
                for (int after = t + 1; after < m; after++) factors[after] = kind == KX_POLYNOMIAL_MONOMIALS ? factors[t] : first;
            }
        }
        CHECK(place == size, "%d numbers, %d said", (int)place, (int)size);
        CHECK(worst <= (degree + 2) * 2 * DBL_EPSILON && worst_narrow <= (degree + 2) * (double)FLT_EPSILON,
              "kind %d, d %d, degree %d: %g, %g", (int)kind, d, degree, worst, worst_narrow);
    }
    free(out), free(out_narrow);
}

static void test_sizes(void) {
    int64_t size = 0;
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_MONOMIALS, 64, 4, &size) == KX_OK && size == 814385, "C(68, 4)");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_MONOMIALS, 4, 64, &size) == KX_OK && size == 814385, "C(68, 64)");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSORS, 64, 4, &size) == KX_OK && size == 17043521, "powers of 64");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSORS, 1, 99, &size) == KX_OK && size == 100, "powers of 1");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSORS, 0, 99, &size) == KX_OK && size == 1, "of nothing");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSOR_POWER, 0, 99, &size) == KX_OK && size == 1, "of nothing");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSOR_POWER, 3, 4, &size) == KX_OK && size == 256, "4^4");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_MONOMIALS, INT64_MAX, INT64_MAX, &size) == KX_E_OVERFLOW, "too many");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_MONOMIALS, 768, 768, &size) == KX_E_OVERFLOW, "too many");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_TENSORS, 1000, 1000, &size) == KX_E_OVERFLOW, "too many");
    CHECK(kx_polynomial_features_size(KX_POLYNOMIAL_MONOMIALS, -1, 2, &size) == KX_E_ARGUMENT, "negative");
    CHECK(kx_polynomial_features_size((kx_polynomial_t)3, 1, 2, &size) == KX_E_ARGUMENT, "no kind");
    double one = 1;
    CHECK(kx_polynomial_features_f64(NULL, KX_POLYNOMIAL_TENSORS, &one, INT64_MAX, 8, 1, 5, 1, NULL, &one) == KX_E_OVERFLOW,
          "rows");
    CHECK(kx_polynomial_features_f64(NULL, KX_POLYNOMIAL_TENSORS, &one, -1, 8, 1, 5, 1, NULL, &one) == KX_E_ARGUMENT, "rows");
    kx_linear_attention_t a = {.items = -1};
    CHECK(kx_linear_attention_f64(NULL, &a, &one, NULL) == KX_E_ARGUMENT, "items");
    CHECK(kx_linear_attention_f32(NULL, NULL, NULL, NULL) == KX_E_ARGUMENT, "no problem");
    a = (kx_linear_attention_t){.items = 1, .query_count = INT64_MAX};
    CHECK(kx_linear_attention_f64(NULL, &a, &one, NULL) == KX_E_OVERFLOW, "queries");
}

static void test_no_variables(void) {
    for (int kind = KX_POLYNOMIAL_MONOMIALS; kind <= KX_POLYNOMIAL_TENSOR_POWER; kind++) {
        double out[3] = {0};
        CHECK(kx_polynomial_features_f64(NULL, (kx_polynomial_t)kind, out, 3, 0, 0, INT64_C(1) << 45, 1, NULL, out) == KX_OK,
              "%d", kind);
        CHECK(out[0] == 1 && out[1] == 1 && out[2] == 1, "%d", kind);
    }
}

int main(void) {
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {2, 3, 5, 7}, {7, 64, 16, 16}, {65, 63, 17, 9}, {100, 129, 64, 64}, {13, 300, 33,
        70},
                                {260, 70, 8, 130}, {5, 0, 4, 4}, {0, 5, 4, 4}, {5, 6, 4, 0}, {130, 130, 140, 20}};
    for (int s = 0; s < 11; s++)
        for (int scales = 0; scales < 3; scales++)
            for (int options = 0; options < 4; options++)
                test((kx_case_t){1 + s % 3, sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3], options & 1, options >> 1,
                     s % 2, scales});
    test_reversed();
    test_spoilt_values();
    for (int degree = 0; degree <= 4; degree++)
        for (int d = 1; d <= 6; d++)
            for (int kind = 0; kind < 3; kind++) test_polynomials((kx_polynomial_t)kind, d, degree);
    test_polynomials(KX_POLYNOMIAL_MONOMIALS, 13, 3);
    test_polynomials(KX_POLYNOMIAL_MONOMIALS, 1, 12);
    test_sizes();
    test_no_variables();
    return check_report();
}
