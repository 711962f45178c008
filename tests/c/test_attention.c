/* Attention and its gradients against long double, query by query. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

typedef struct kx_case {
    int64_t items, queries, keys, dimension, value_dimension;
    kx_attention_mask_t mask;
    int is_causal, share; /* share: all items have the first one's keys and values */
    double size;
} kx_case_t;

static long double *numbers(int64_t n) {
    long double *p = malloc((size_t)(n + 1) * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = 0;
    return p;
}

/* One item: outputs and the gradients of sum(out g). Gradients are added to. */
static void attend(const kx_case_t *c, const double *q, const double *k, const double *v, const double *mask, const double *scales,
                   const double *g, long double *out, long double *log_sums, long double *entropies, long double *dq, long double *dk,
                   long double *dv, long double *ds) {
    long double *p = numbers(c->keys), *products = numbers(c->keys);
    for (int64_t i = 0; i < c->queries; i++) {
        long double top = -INFINITY, sum = 0, along = 0;
        for (int64_t j = 0; j < c->keys; j++) {
            products[j] = 0;
            for (int64_t m = 0; m < c->dimension; m++) products[j] += (long double)q[i * c->dimension + m] * k[j * c->dimension + m];
            p[j] = products[j] * scales[i] + mask[i * c->keys + j];
            if (c->is_causal && j > i) p[j] = -INFINITY;
            top = fmaxl(top, p[j]);
        }
        entropies[i] = 0, log_sums[i] = -INFINITY, ds[i] = 0;
        for (int64_t m = 0; m < c->value_dimension; m++) out[i * c->value_dimension + m] = 0;
        if (top == -INFINITY) continue;
        for (int64_t j = 0; j < c->keys; j++) sum += expl(p[j] - top);
        log_sums[i] = top + logl(sum);
        for (int64_t j = 0; j < c->keys; j++) {
            p[j] = expl(p[j] - log_sums[i]);
            if (p[j] > 0) entropies[i] -= p[j] * logl(p[j]);
            for (int64_t m = 0; m < c->value_dimension; m++) out[i * c->value_dimension + m] += p[j] * v[j * c->value_dimension + m];
        }
        for (int64_t m = 0; m < c->value_dimension; m++) along += out[i * c->value_dimension + m] * g[i * c->value_dimension + m];
        for (int64_t j = 0; j < c->keys; j++) {
            long double by_weight = 0;
            for (int64_t m = 0; m < c->value_dimension; m++) {
                by_weight += (long double)g[i * c->value_dimension + m] * v[j * c->value_dimension + m];
                dv[j * c->value_dimension + m] += p[j] * g[i * c->value_dimension + m];
            }
            const long double by_score = p[j] * (by_weight - along);
            ds[i] += by_score * products[j];
            for (int64_t m = 0; m < c->dimension; m++) {
                dq[i * c->dimension + m] += by_score * scales[i] * k[j * c->dimension + m];
                dk[j * c->dimension + m] += by_score * scales[i] * q[i * c->dimension + m];
            }
        }
    }
    free(p), free(products);
}

static double worst_of(const double *got, const float *narrow, const long double *exact, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double value = got ? got[i] : (double)narrow[i];
        const double apart = value == (double)exact[i] ? 0 : (double)fabsl(value - exact[i]);
        if (!(apart <= worst)) worst = apart;
    }
    return worst;
}

static void test(kx_case_t c) {
    const int64_t shared = c.share ? 1 : c.items, nq = c.items * c.queries * c.dimension, nk = shared * c.keys * c.dimension;
    const int64_t nv = shared * c.keys * c.value_dimension, no = c.items * c.queries * c.value_dimension, rows = c.items * c.queries;
    double *in[4];
    float *narrow[4];
    const int64_t counts[4] = {nq, nk, nv, no};
    for (int i = 0; i < 4; i++) {
        in[i] = malloc((size_t)(counts[i] + 1) * sizeof **in), narrow[i] = malloc((size_t)(counts[i] + 1) * sizeof **narrow);
        for (int64_t k = 0; k < counts[i]; k++) in[i][k] = (double)(narrow[i][k] = (float)check_uniform(-c.size, c.size));
    }
    double *mask = malloc((size_t)(c.queries * c.keys + 1) * sizeof *mask), *scales = malloc((size_t)(rows + 1) * sizeof *scales);
    float *narrow_mask = malloc((size_t)(c.queries * c.keys + 1) * sizeof *narrow_mask);
    uint8_t *bytes = malloc((size_t)(c.queries * c.keys + 1));
    for (int64_t i = 0; i < c.queries * c.keys; i++) {
        const int hidden = c.mask != KX_ATTENTION_UNMASKED && (check_random() % 3 == 0 || (i / c.keys) % 5 == 2);
        bytes[i] = hidden ? 0 : (uint8_t)(1 + check_random() % 255);
        mask[i] = hidden ? -INFINITY : c.mask == KX_ATTENTION_ADDITIVE ? (double)(float)check_uniform(-2, 2) : 0;
        narrow_mask[i] = (float)mask[i];
    }
    for (int64_t i = 0; i < rows; i++) scales[i] = (double)(float)check_uniform(-0.5, 1.5);
    long double *out = numbers(no), *log_sums = numbers(rows), *entropies = numbers(rows), *dq = numbers(nq);
    long double *dk = numbers(c.items * c.keys * c.dimension), *dv = numbers(c.items * c.keys * c.value_dimension), *ds = numbers(rows);
    int64_t *q_at = malloc((size_t)(c.items + 1) * 8), *k_at = malloc((size_t)(c.items + 1) * 8), *v_at = malloc((size_t)(c.items + 1) * 8);
    int64_t *o_at = malloc((size_t)(c.items + 1) * 8), *m_at = calloc((size_t)(c.items + 1), 8);
    for (int precision = 0; precision < 2; precision++) {
        const int64_t size = precision ? 8 : 4;
        for (int64_t i = 0; i < c.items; i++) {
            const int64_t from = c.share ? 0 : i;
            q_at[i] = i * c.queries * c.dimension * size, k_at[i] = from * c.keys * c.dimension * size;
            v_at[i] = from * c.keys * c.value_dimension * size, o_at[i] = i * c.queries * c.value_dimension * size;
            if (precision) {
                memset(dk + i * c.keys * c.dimension, 0, (size_t)(c.keys * c.dimension) * sizeof *dk);
                memset(dv + i * c.keys * c.value_dimension, 0, (size_t)(c.keys * c.value_dimension) * sizeof *dv);
                attend(&c, in[0] + i * c.queries * c.dimension, in[1] + from * c.keys * c.dimension, in[2] + from * c.keys * c.value_dimension,
                       mask, scales + i * c.queries, in[3] + i * c.queries * c.value_dimension, out + i * c.queries * c.value_dimension,
                       log_sums + i * c.queries, entropies + i * c.queries, dq + i * c.queries * c.dimension, dk + i * c.keys * c.dimension,
                       dv + i * c.keys * c.value_dimension, ds + i * c.queries);
            }
        }
        if (!precision) continue;
    }
    for (int precision = 1; precision >= 0; precision--) {
        const int64_t size = precision ? 8 : 4;
        for (int64_t i = 0; i < c.items; i++) {
            const int64_t from = c.share ? 0 : i;
            q_at[i] = i * c.queries * c.dimension * size, k_at[i] = from * c.keys * c.dimension * size;
            v_at[i] = from * c.keys * c.value_dimension * size, o_at[i] = i * c.queries * c.value_dimension * size;
        }
        const kx_attention_t a = {
            {precision ? (void *)in[0] : (void *)narrow[0], q_at, c.dimension * size},
            {precision ? (void *)in[1] : (void *)narrow[1], k_at, c.dimension * size},
            {precision ? (void *)in[2] : (void *)narrow[2], v_at, c.value_dimension * size},
            c.items, c.queries, c.keys, c.dimension, c.value_dimension, c.mask,
            {c.mask == KX_ATTENTION_BOOLEAN ? (void *)bytes : precision ? (void *)mask : (void *)narrow_mask, m_at,
             c.keys * (c.mask == KX_ATTENTION_BOOLEAN ? 1 : size)},
            c.mask == KX_ATTENTION_BOOLEAN ? 1 : size, c.is_causal, scales, c.queries, 1};
        const kx_attention_rows_t g = {precision ? (void *)in[3] : (void *)narrow[3], o_at, c.value_dimension * size};
        char *got = malloc((size_t)(no * size + 1)), *gq = malloc((size_t)(nq * size + 1));
        char *gk = malloc((size_t)(c.items * c.keys * c.dimension * size + 1)), *gv = malloc((size_t)(c.items * c.keys * c.value_dimension * size + 1));
        double *sums = malloc((size_t)(rows + 1) * 8), *entropy = malloc((size_t)(rows + 1) * 8), *gs = malloc((size_t)(rows + 1) * 8);
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.workers = 3;
        const kx_status_t status = precision ? kx_attention_f64(&ctx, &a, (double *)got, sums, entropy) : kx_attention_f32(&ctx, &a, (float *)got, sums, entropy);
        CHECK(status == KX_OK, "status %d", (int)status);
        char *alone = malloc((size_t)(no * size + 1));
        const kx_status_t again = precision ? kx_attention_f64(NULL, &a, (double *)alone, NULL, NULL) : kx_attention_f32(NULL, &a, (float *)alone, NULL, NULL);
        CHECK(again == KX_OK && memcmp(alone, got, (size_t)(no * size)) == 0, "the same by one worker");
        const kx_status_t back = precision ? kx_attention_gradient_f64(&ctx, &a, (double *)got, sums, &g, (double *)gq, (double *)gk, (double *)gv, gs)
                                           : kx_attention_gradient_f32(&ctx, &a, (float *)got, sums, &g, (float *)gq, (float *)gk, (float *)gv, gs);
        CHECK(back == KX_OK, "status of the gradient %d", (int)back);
        /* scores are up to size^2 dimension 1.5, whose rounding goes into the weights */
        const double eps = precision ? DBL_EPSILON : FLT_EPSILON, score = 2 + 1.5 * c.size * c.size * (double)c.dimension;
        const double bound = 4 * eps * c.size * (score + 8);
        const struct {
            const char *name;
            const void *values;
            const long double *exact;
            int64_t n;
            int wide;
            double bound;
        } parts[] = {{"out", got, out, no, precision, bound},
                     {"log_sums", sums, log_sums, rows, 1, 4 * eps * (score + 8)},
                     {"entropies", entropy, entropies, rows, 1, 16 * eps * score * (score + 8)},
                     {"by queries", gq, dq, nq, precision, 8 * bound * c.size * c.size * (double)c.value_dimension * 1.5},
                     {"by keys", gk, dk, c.items * c.keys * c.dimension, precision, 8 * bound * c.size * c.size * (double)(c.value_dimension * (1 + c.queries)) * 1.5},
                     {"by values", gv, dv, c.items * c.keys * c.value_dimension, precision, 4 * bound * (double)(1 + c.queries)},
                     {"by scales", gs, ds, rows, 1, 16 * bound * c.size * c.size * c.size * (double)(c.dimension * c.value_dimension)}};
        for (int i = 0; i < 7; i++) {
            const double worst = worst_of(parts[i].wide ? parts[i].values : NULL, parts[i].wide ? NULL : parts[i].values, parts[i].exact, parts[i].n);
            CHECK(worst <= parts[i].bound, "%s, float%d, %d items of %d x %d, %d and %d, mask %d, causal %d: %g over %g", parts[i].name,
                  (int)size * 8, (int)c.items, (int)c.queries, (int)c.keys, (int)c.dimension, (int)c.value_dimension, (int)c.mask, c.is_causal,
                  worst, parts[i].bound);
        }
        free(got), free(gq), free(gk), free(gv), free(sums), free(entropy), free(gs), free(alone);
    }
    for (int i = 0; i < 4; i++) free(in[i]), free(narrow[i]);
    free(mask), free(scales), free(narrow_mask), free(bytes), free(out), free(log_sums), free(entropies), free(dq), free(dk), free(dv);
    free(ds), free(q_at), free(k_at), free(v_at), free(o_at), free(m_at);
}

int main(void) {
    const int64_t sizes[][4] = {{1, 1, 1, 1}, {1, 1, 8, 8}, {2, 3, 5, 7}, {7, 64, 16, 16}, {65, 63, 17, 9}, {100, 129, 64, 64}, {13, 200, 33, 70},
                                {400, 70, 8, 130}, {5, 0, 4, 4}, {0, 5, 4, 4}, {5, 6, 0, 4}, {5, 6, 4, 0}};
    for (int s = 0; s < 12; s++)
        for (int mask = 0; mask < 3; mask++)
            for (int causal = 0; causal < 2; causal++)
                test((kx_case_t){1 + s % 3, sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3], (kx_attention_mask_t)mask, causal, s % 2, 1});
    test((kx_case_t){2, 90, 150, 64, 64, KX_ATTENTION_UNMASKED, 0, 0, 20});
    test((kx_case_t){2, 90, 150, 64, 64, KX_ATTENTION_BOOLEAN, 1, 0, 20});
    return check_report();
}
