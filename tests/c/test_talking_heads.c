/* Talking-heads attention and its gradients against long double. */
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

typedef struct kx_case {
    int64_t items, key_heads, softmax_heads, value_heads, queries, keys, dimension, value_dimension;
    int mixes_weights, is_causal;
    kx_attention_mask_t mask;
    double size;
} kx_case_t;

typedef struct kx_exact {
    long double *out, *dq, *dk, *dv, *dl, *dw;
} kx_exact_t;

static long double *numbers(int64_t n) {
    long double *p = malloc((size_t)(n + 1) * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = 0;
    return p;
}

static long double highest; /* of the logits */

/* One item and one query; mask and scales of the item's softmax heads. */
static void exact_query(const kx_case_t *c, const double *q, const double *k, const double *v, const double *mask,
                        const double *scales,
                        const double *g, const double *mix, const double *weight_mix, int64_t i, kx_exact_t e) {
    const int64_t d = c->dimension, m = c->value_dimension, n = c->keys, hk = c->key_heads, hs = c->softmax_heads,
        hv = c->value_heads;
    long double *product = numbers(hk * n), *p = numbers(hs * n), *dp = numbers(hs * n), *dw = numbers(hv * n);
    for (int64_t h = 0; h < hk; h++)
        for (int64_t j = 0; j < n; j++)
            for (int64_t x = 0; x < d; x++) product[h * n + j] += (long double)q[(h * c->queries + i) * d + x] * k[(h * n
                + j) * d + x];
    for (int64_t s = 0; s < hs; s++) {
        long double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < n; j++) {
            long double *logit = p + s * n + j;
            for (int64_t h = 0; h < hk; h++) *logit += mix[s * hk + h] * product[h * n + j];
            *logit = c->is_causal && j > i ? -INFINITY : *logit * scales[s * c->queries + i] + mask[(s * c->queries + i) * n + j];
            top = fmaxl(top, *logit);
            if (*logit > -INFINITY) highest = fmaxl(highest, fabsl(*logit));
        }
        for (int64_t j = 0; j < n; j++) sum += p[s * n + j] = top == -INFINITY ? 0 : expl(p[s * n + j] - top);
        for (int64_t j = 0; j < n; j++) p[s * n + j] = sum > 0 ? p[s * n + j] / sum : 0;
    }
    for (int64_t o = 0; o < hv; o++)
        for (int64_t j = 0; j < n; j++) {
            long double w = 0;
            for (int64_t s = 0; s < hs; s++) w += p[s * n + j] * (weight_mix ? weight_mix[o * hs + s] : o == s);
            for (int64_t x = 0; x < m; x++) {
                const double up = g[(o * c->queries + i) * m + x], value = v[(o * n + j) * m + x];
                e.out[(o * c->queries + i) * m + x] += w * value;
                dw[o * n + j] += (long double)up * value;
                e.dv[(o * n + j) * m + x] += w * up;
            }
            for (int64_t s = 0; s < hs; s++) {
                dp[s * n + j] += dw[o * n + j] * (weight_mix ? weight_mix[o * hs + s] : o == s);
                e.dw[o * hs + s] += dw[o * n + j] * p[s * n + j];
            }
        }
    for (int64_t s = 0; s < hs; s++) {
        long double along = 0;
        for (int64_t j = 0; j < n; j++) along += p[s * n + j] * dp[s * n + j];
        for (int64_t j = 0; j < n; j++) {
            const long double by_logit = p[s * n + j] * (dp[s * n + j] - along) * scales[s * c->queries + i];
            for (int64_t h = 0; h < hk; h++) {
                e.dl[s * hk + h] += by_logit * product[h * n + j];
                for (int64_t x = 0; x < d; x++) {
                    e.dq[(h * c->queries + i) * d + x] += by_logit * mix[s * hk + h] * k[(h * n + j) * d + x];
                    e.dk[(h * n + j) * d + x] += by_logit * mix[s * hk + h] * q[(h * c->queries + i) * d + x];
                }
            }
        }
    }
    free(product), free(p), free(dp), free(dw);
}

static void *failing_allocate(void *state, size_t size) {
    return --*(int *)state < 0 ? NULL : malloc(size);
}
static void counting_release(void *state, void *p) {
    (void)state;
    free(p);
}
static int cancel_at_once(void *state) {
    (void)state;
    return 1;
}

static double *random_numbers(int64_t n, double size, float **narrow) {
    double *p = malloc((size_t)(n + 1) * sizeof *p);
    *narrow = malloc((size_t)(n + 1) * sizeof **narrow);
    for (int64_t i = 0; i < n; i++) p[i] = (double)((*narrow)[i] = (float)check_uniform(-size, size));
    return p;
}


static void test(kx_case_t c) {
    highest = 0;
    const int64_t d = c.dimension, m = c.value_dimension, heads[4] = {c.key_heads, c.key_heads, c.value_heads, c.value_heads};
    const int64_t each[4] = {c.queries * d, c.keys * d, c.keys * m, c.queries * m};
    double *in[4];
    float *narrow[4];
    int64_t counts[4];
    for (int i = 0; i < 4; i++) counts[i] = c.items * heads[i] * each[i], in[i] = random_numbers(counts[i], c.size, &narrow[i]);
    const int64_t logits = c.softmax_heads * c.key_heads, weights = c.value_heads * c.softmax_heads,
        rows = c.items * c.softmax_heads * c.queries;
    float *unused[3], *narrow_mask;
    double *mix = random_numbers(logits, 1, &unused[0]), *weight_mix = random_numbers(weights, 1, &unused[1]);
    double *scales = random_numbers(rows, 1, &unused[2]), *mask = random_numbers(rows * c.keys, 1, &narrow_mask);
    for (int i = 0; i < 3; i++) free(unused[i]);
    uint8_t *bytes = malloc((size_t)(rows * c.keys + 1));
    for (int64_t i = 0; i < rows * c.keys; i++) {
        const int is_hidden = c.mask != KX_ATTENTION_UNMASKED && (check_random() % 3 == 0 || i / c.keys % 5 == 2);
        bytes[i] = !is_hidden;
        if (is_hidden) mask[i] = -INFINITY;
        else if (c.mask != KX_ATTENTION_ADDITIVE) mask[i] = 0;
        narrow_mask[i] = (float)mask[i];
    }
    const double *used = c.mixes_weights ? weight_mix : NULL;
    kx_exact_t whole = {numbers(counts[3]), numbers(counts[0]), numbers(counts[1]), numbers(counts[2]),
        numbers(c.items * logits), numbers(c.items * weights)};
    for (int64_t b = 0; b < c.items; b++)
        for (int64_t i = 0; i < c.queries; i++)
            exact_query(&c, in[0] + b * heads[0] * each[0], in[1] + b * heads[1] * each[1], in[2] + b * heads[2] * each[2],
                        mask + b * c.softmax_heads * c.queries * c.keys, scales + b * c.softmax_heads * c.queries,
                            in[3] + b * heads[3] * each[3],
                        mix, used, i,
                        (kx_exact_t){whole.out + b * heads[3] * each[3], whole.dq + b * heads[0] * each[0],
                            whole.dk + b * heads[1] * each[1],
                                     whole.dv + b * heads[2] * each[2], whole.dl + b * logits, whole.dw + b * weights});
    for (int precision = 0; precision < 2; precision++) {
        const int64_t size = precision ? 8 : 4;
        int64_t *at[5];
        for (int i = 0; i < 4; i++) {
            at[i] = malloc((size_t)(c.items * heads[i] + 1) * sizeof **at);
            for (int64_t h = 0; h < c.items * heads[i]; h++) at[i][h] = h * each[i] * size;
        }
        at[4] = malloc((size_t)(c.items * c.softmax_heads + 1) * sizeof **at);
        const int64_t step = c.mask == KX_ATTENTION_BOOLEAN ? 1 : size;
        for (int64_t h = 0; h < c.items * c.softmax_heads; h++) at[4][h] = h * c.queries * c.keys * step;
#define SIDE(i) (precision ? (const void *)in[i] : (const void *)narrow[i])
        const void *masks = c.mask == KX_ATTENTION_BOOLEAN ? (const void *)bytes : precision ? (const void *)mask
            : (const void *)narrow_mask;
        const kx_talking_heads_t t = {{{SIDE(0), at[0], d * size}, {SIDE(1), at[1], d * size}, {SIDE(2), at[2], m * size},
                                       c.items * c.softmax_heads, c.queries, c.keys, d, m, c.mask, {masks, at[4],
                                           c.keys * step}, step,
                                       c.is_causal, scales, c.queries, 1},
                                      c.key_heads, c.softmax_heads, c.value_heads, mix, used};
        const kx_attention_rows_t up = {SIDE(3), at[3], m * size};
        char *got[5], *again[5];
        for (int i = 0; i < 4; i++) got[i] = malloc((size_t)(counts[i] * size + 1)),
            again[i] = malloc((size_t)(counts[i] * size + 1));
        double *dl = malloc((size_t)(c.items * logits) * 8), *dw = malloc((size_t)(c.items * weights) * 8);
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        for (ctx.workers = 1; ctx.workers <= 3; ctx.workers += 2) {
            char **to = ctx.workers == 1 ? got : again;
            const kx_status_t forward = precision ? kx_talking_heads_f64(&ctx, &t,
                (double *)to[3]) : kx_talking_heads_f32(&ctx, &t, (float *)to[3]);
            const kx_status_t back =
                precision ? kx_talking_heads_gradient_f64(&ctx, &t, &up, (double *)to[0], (double *)to[1], (double *)to[2], dl,
                                                          dw)
                          : kx_talking_heads_gradient_f32(&ctx, &t, &up, (float *)to[0], (float *)to[1], (float *)to[2], dl, dw);
            CHECK(forward == KX_OK && back == KX_OK, "status %d and %d", (int)forward, (int)back);
        }
        for (int i = 0; i < 4; i++) CHECK(!memcmp(got[i], again[i], (size_t)(counts[i] * size)), "not the same by three workers, %d", i);
        int left = 0;
        kx_ctx_t none;
        kx_ctx_init(&none);
        none.allocator = (kx_allocator_t){failing_allocate, counting_release, &left};
        if (c.items * c.queries > 0)
            CHECK((precision ? kx_talking_heads_f64(&none, &t, (double *)again[3]) : kx_talking_heads_f32(&none, &t,
                (float *)again[3])) == KX_E_MEMORY, "no memory");
        /* the rounding of logits goes into the weights; then sums of values of both signs */
        const double bound = (precision ? DBL_EPSILON : FLT_EPSILON) * (2 + (double)highest);
        const struct {
            const char *name;
            const void *values;
            const long double *exact;
            int64_t n;
            int wide;
            double factor; /* of eps (2 + the highest logit) times the largest number */
        } parts[] = {{"out", got[3], whole.out, counts[3], precision, 1.5},
                     {"by-queries", got[0], whole.dq, counts[0], precision, 6},
                     {"by-keys", got[1], whole.dk, counts[1], precision, 2},
                     {"by-values", got[2], whole.dv, counts[2], precision, 1.5},
                     {"by-the-mix-of-logits", dl, whole.dl, c.items * logits, 1, 8},
                     {"by-the-mix-of-weights", dw, whole.dw, c.mixes_weights ? c.items * weights : 0, 1, 6}};
        for (int i = 0; i < 6; i++) {
            double worst = 0, largest = 0;
            for (int64_t k = 0; k < parts[i].n; k++) {
                largest = fmax(largest, (double)fabsl(parts[i].exact[k]));
                const double value = parts[i].wide ? ((const double *)parts[i].values)[k]
                    : (double)((const float *)parts[i].values)[k];
                const double apart = (double)fabsl(value - parts[i].exact[k]);
                if (!(apart <= worst)) worst = apart;
            }
            CHECK(worst <= parts[i].factor * bound * largest, "%s, float%d, heads %d %d %d, %d x %d: %g over %g",
                  parts[i].name, (int)size * 8, (int)c.key_heads,
                  (int)c.softmax_heads, (int)c.value_heads, (int)c.queries, (int)c.keys, worst,
                      parts[i].factor * bound * largest);
        }
        for (int i = 0; i < 4; i++) free(got[i]), free(again[i]);
        for (int i = 0; i < 5; i++) free(at[i]);
        free(dl), free(dw);
    }
    for (int i = 0; i < 4; i++) free(in[i]), free(narrow[i]);
    free(mix), free(weight_mix), free(scales), free(mask), free(narrow_mask), free(bytes);
    free(whole.out), free(whole.dq), free(whole.dk), free(whole.dv), free(whole.dl), free(whole.dw);
}

/* Values that no query sees: their numbers change nothing, what is seen goes where it is. */
static void test_hidden_values(int mixes_weights) {
    enum { HEADS = 3, ROWS = 7, SIZE = 5 };
    double rows[HEADS * ROWS * SIZE], values[HEADS * ROWS * SIZE], out[2][HEADS * ROWS * SIZE], mix[HEADS * HEADS], scale = 0.5;
    float rows32[HEADS * ROWS * SIZE], values32[HEADS * ROWS * SIZE], out32[2][HEADS * ROWS * SIZE];
    int64_t offsets[HEADS], offsets32[HEADS], mask_offsets[HEADS] = {0};
    const char mask[ROWS] = {1, 0, 1, 1, 0, 1, 1};
    for (int i = 0; i < HEADS * ROWS * SIZE; i++) {
        rows32[i] = (float)(rows[i] = check_uniform(-1, 1));
        values32[i] = (float)(values[i] = check_uniform(-1, 1));
    }
    for (int i = 0; i < HEADS * HEADS; i++) mix[i] = check_uniform(-1, 1);
    for (int h = 0; h < HEADS; h++) {
        offsets[h] = h * ROWS * SIZE * (int64_t)sizeof(double);
        offsets32[h] = h * ROWS * SIZE * (int64_t)sizeof(float);
    }
    const kx_attention_rows_t all = {rows, offsets, SIZE * sizeof(double)}, all32 = {rows32, offsets32, SIZE * sizeof(float)};
    kx_talking_heads_t t = {.key_heads = HEADS, .softmax_heads = HEADS, .value_heads = HEADS, .logit_mix = mix,
                            .weight_mix = mixes_weights ? mix : NULL};
    t.heads = (kx_attention_t){.items = HEADS, .query_count = ROWS, .key_count = ROWS, .dimension = SIZE, .value_dimension = SIZE,
                               .mask_kind = KX_ATTENTION_BOOLEAN, .mask = {mask, mask_offsets, 0}, .mask_step = 1,
                                   .scales = &scale};
    for (int turn = 0; turn < 3; turn++) {
        for (int h = 0; h < HEADS && turn == 1; h++)
            for (int k = 0; k < SIZE; k++) {
                const double odd = k % 2 ? (double)NAN : (double)INFINITY;
                values[(h * ROWS + 1) * SIZE + k] = values[(h * ROWS + 4) * SIZE + k] = odd;
                values32[(h * ROWS + 1) * SIZE + k] = values32[(h * ROWS + 4) * SIZE + k] = (float)odd;
            }
        if (turn == 2) values[(2 * ROWS + 3) * SIZE + 4] = (double)NAN, values32[(2 * ROWS + 3) * SIZE + 4] = (float)NAN;
        t.heads.queries = t.heads.keys = all, t.heads.values = (kx_attention_rows_t){values, offsets, SIZE * sizeof(double)};
        CHECK(kx_talking_heads_f64(NULL, &t, out[turn > 0]) == KX_OK, "turn %d", turn);
        t.heads.queries = t.heads.keys = all32, t.heads.values = (kx_attention_rows_t){values32, offsets32, SIZE * sizeof(float)};
        CHECK(kx_talking_heads_f32(NULL, &t, out32[turn > 0]) == KX_OK, "turn %d", turn);
        for (int i = 0; i < HEADS * ROWS * SIZE && turn > 0; i++) {
            const int is_spoilt = turn == 2 && i / (ROWS * SIZE) == 2 && i % SIZE == 4;
            CHECK(is_spoilt ? isnan(out[1][i]) : out[1][i] == out[0][i], "turn %d, %d: %g", turn, i, out[1][i]);
            CHECK(is_spoilt ? isnan(out32[1][i]) : out32[1][i] == out32[0][i], "turn %d, %d: %g", turn, i, (double)out32[1][i]);
        }
    }
}

/* Gradients do not depend on keys and values that no query sees. */
static void test_hidden_gradients(int mixes_weights) {
    enum { HEADS = 3, ROWS = 7, SIZE = 5, COUNT = HEADS * ROWS * SIZE };
    double q[COUNT], kv[2][COUNT], by[2][3][COUNT], mix[HEADS * HEADS], by_mix[2][2][HEADS * HEADS] = {0}, scale = 0.5;
    float q32[COUNT], kv32[2][COUNT], by32[2][3][COUNT];
    int64_t offsets[HEADS], offsets32[HEADS], mask_offsets[HEADS] = {0};
    const char mask[ROWS] = {1, 0, 1, 1, 0, 1, 1};
    for (int i = 0; i < COUNT; i++) {
        q32[i] = (float)(q[i] = check_uniform(-1, 1));
        for (int p = 0; p < 2; p++) kv32[p][i] = (float)(kv[p][i] = check_uniform(-1, 1));
    }
    for (int i = 0; i < HEADS * HEADS; i++) mix[i] = check_uniform(-1, 1);
    for (int h = 0; h < HEADS; h++) {
        offsets[h] = h * ROWS * SIZE * (int64_t)sizeof(double);
        offsets32[h] = h * ROWS * SIZE * (int64_t)sizeof(float);
    }
    const kx_attention_rows_t all = {q, offsets, SIZE * sizeof(double)}, all32 = {q32, offsets32, SIZE * sizeof(float)};
    kx_talking_heads_t t = {.key_heads = HEADS, .softmax_heads = HEADS, .value_heads = HEADS, .logit_mix = mix,
                            .weight_mix = mixes_weights ? mix : NULL};
    t.heads = (kx_attention_t){.items = HEADS, .query_count = ROWS, .key_count = ROWS, .dimension = SIZE, .value_dimension = SIZE,
                               .mask_kind = KX_ATTENTION_BOOLEAN, .mask = {mask, mask_offsets, 0}, .mask_step = 1,
                                   .scales = &scale};
    for (int turn = 0; turn < 2; turn++) {
        for (int i = 0; i < COUNT && turn == 1; i++)
            for (int p = 0; p < 2; p++)
                if (!mask[i / SIZE % ROWS]) kv32[p][i] = (float)(kv[p][i] = i % 2 ? (double)NAN : -(double)INFINITY);
        double(*mixes)[HEADS * HEADS] = by_mix[turn];
        t.heads.queries = all32, t.heads.keys = (kx_attention_rows_t){kv32[0], offsets32, SIZE * sizeof(float)};
        t.heads.values = (kx_attention_rows_t){kv32[1], offsets32, SIZE * sizeof(float)};
        CHECK(kx_talking_heads_gradient_f32(NULL, &t, &all32, by32[turn][0], by32[turn][1], by32[turn][2], mixes[0],
                                            mixes[1]) == KX_OK,
              "turn %d", turn);
        t.heads.queries = all, t.heads.keys = (kx_attention_rows_t){kv[0], offsets, SIZE * sizeof(double)};
        t.heads.values = (kx_attention_rows_t){kv[1], offsets, SIZE * sizeof(double)};
        CHECK(kx_talking_heads_gradient_f64(NULL, &t, &all, by[turn][0], by[turn][1], by[turn][2], mixes[0], mixes[1]) == KX_OK,
              "turn %d", turn);
    }
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < COUNT; i++) {
            CHECK(by[0][p][i] == by[1][p][i], "%d, %d: %g", p, i, by[1][p][i]);
            CHECK(by32[0][p][i] == by32[1][p][i], "%d, %d: %g", p, i, (double)by32[1][p][i]);
        }
    for (int p = 0; p < 2; p++)
        for (int i = 0; i < HEADS * HEADS; i++) CHECK(by_mix[0][p][i] == by_mix[1][p][i], "%d, %d: %g", p, i, by_mix[1][p][i]);
}

static void test_bad_arguments(void) {
    const double mix[4] = {1, 0, 0, 1}, scale = 1;
    double out[8];
    const int64_t at[2] = {0, 0};
    const kx_attention_rows_t rows = {mix, at, 8};
    kx_talking_heads_t t = {{rows, rows, rows, 2, 1, 1, 1, 1, KX_ATTENTION_UNMASKED, {0}, 0, 0, &scale, 0, 0}, 2, 2, 2, mix,
        NULL};
    CHECK(kx_talking_heads_f64(NULL, &t, out) == KX_OK, "a good one");
    CHECK(kx_talking_heads_f64(NULL, NULL, out) == KX_E_ARGUMENT, "NULL");
    t.value_heads = 1;
    CHECK(kx_talking_heads_f64(NULL, &t, out) == KX_E_ARGUMENT, "value heads without a mix");
    t.value_heads = 2, t.heads.items = 3;
    CHECK(kx_talking_heads_f64(NULL, &t, out) == KX_E_ARGUMENT, "part of an item");
    t.heads.items = 2, t.key_heads = 0;
    CHECK(kx_talking_heads_f64(NULL, &t, out) == KX_E_ARGUMENT, "no heads");
    t.key_heads = INT64_C(1) << 21;
    CHECK(kx_talking_heads_f64(NULL, &t, out) == KX_E_OVERFLOW, "too many heads");
}

/* Some seconds of work, stopped at the first question. */
static void test_cancelled(void) {
    enum { HEADS = 8, N = 3000, D = 64 };
    float *numbers_of_all = calloc(2 * HEADS * N * D, sizeof *numbers_of_all);
    int64_t at[HEADS];
    double mix[HEADS * HEADS] = {0}, mix_gradients[HEADS * HEADS], scale = 1;
    for (int h = 0; h < HEADS; h++) at[h] = (int64_t)h * N * D * 4, mix[h * HEADS + h] = 1;
    const kx_attention_rows_t rows = {numbers_of_all, at, D * 4};
    const kx_talking_heads_t t = {{rows, rows, rows, HEADS, N, N, D, D, KX_ATTENTION_UNMASKED, {0}, 0, 0, &scale, 0, 0}, HEADS,
        HEADS, HEADS, mix, mix};
    float *out = numbers_of_all + HEADS * N * D;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.cancel = cancel_at_once;
    CHECK(kx_talking_heads_f32(&ctx, &t, out) == KX_E_CANCELLED, "not cancelled");
    CHECK(kx_talking_heads_gradient_f32(&ctx, &t, &rows, out, out, out, mix_gradients, mix_gradients) == KX_E_CANCELLED,
          "not cancelled");
    free(numbers_of_all);
}

int main(void) {
    const int64_t sizes[][7] = {{1, 1, 1, 1, 1, 1, 1},      {2, 3, 3, 3, 5, 2, 4},     {3, 4, 4, 7, 64, 16, 16}, {5, 6, 6, 65,
        63, 17, 9},
                                {12, 12, 12, 40, 129, 8, 8}, {7, 8, 8, 97, 70, 5, 33},  {2, 2, 2, 5, 0, 4, 4},    {2, 2, 2, 0,
                                    5, 4, 4},
                                {2, 2, 2, 5, 6, 0, 4},      {2, 2, 2, 5, 6, 4, 0},     {1, 13, 13, 50, 66, 4, 4}};
    for (int s = 0; s < 11; s++)
        for (int mask = 0; mask < 3; mask++)
            for (int causal = 0; causal < 2; causal++) {
                kx_case_t c = {1 + (s + mask) % 2, sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3], sizes[s][4],
                    sizes[s][5], sizes[s][6],
                               (s + mask + causal) % 2, causal, (kx_attention_mask_t)mask, 1};
                if (c.mixes_weights) c.value_heads += s % 3;
                test(c);
            }
    test((kx_case_t){2, 4, 4, 4, 50, 130, 16, 16, 1, 0, KX_ATTENTION_UNMASKED, 10});
    test_hidden_values(0);
    test_hidden_values(1);
    test_hidden_gradients(0);
    test_hidden_gradients(1);
    test_bad_arguments();
    test_cancelled();
    return check_report();
}
