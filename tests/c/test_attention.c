/* Attention and its gradients against long double, query by query, in units of the rounding that each number is due; what hidden
   and extreme numbers do; and the calls' contract. */
#include <fenv.h>
#include <float.h>

#include "check.h"

#include "kexue/kexue.h"

enum { OUT, LOG_SUMS, ENTROPIES, BY_QUERIES, BY_KEYS, BY_VALUES, BY_SCALES, PARTS };
static const char *const part_names[PARTS] = {"out", "log_sums", "entropies", "by queries", "by keys", "by values", "by scales"};
/* In units of `attend`: some three times the worst of all instruction sets. */
static const double part_bounds[PARTS] = {0.7, 3, 0.7, 0.3, 0.4, 1.2, 0.3};

typedef enum kx_hide {
    AT_RANDOM,   /* a third of keys, and each fifth query sees none */
    FIRST_KEYS,  /* 70 keys, so that a row has no maximum in its first block */
    BY_NUMBERS   /* additive: -1e30 rather than -infinity */
} kx_hide_t;

typedef struct kx_case {
    int64_t items, queries, keys, dimension, value_dimension;
    kx_attention_mask_t mask;
    int is_causal, share; /* share: all items have the first one's keys and values */
    double size, scale;   /* of entries; scales are up to so much */
    kx_hide_t hide;
} kx_case_t;

/* What is computed, its units of rounding, and the numbers of each part. */
typedef struct kx_exact {
    long double *values[PARTS], *units[PARTS];
    int64_t counts[PARTS];
} kx_exact_t;

static long double *numbers(int64_t n) {
    long double *p = malloc((size_t)(n + 1) * sizeof *p);
    for (int64_t i = 0; i < n; i++) p[i] = 0;
    return p;
}

/* Item `item` of all outputs, and of the gradients of sum(out g). A unit times eps is what the rounding of products, of their
   exponents and of sums does to first order. */
static void attend(const kx_case_t *c, int64_t item, const double *q, const double *k, const double *v, const double *mask,
                   const double *scales, const double *g, kx_exact_t *e) {
    const int64_t d = c->dimension, w = c->value_dimension;
    long double *p = numbers(c->keys), *products = numbers(c->keys), *sizes = numbers(c->keys), *apart = numbers(c->keys);
    long double *dk = e->values[BY_KEYS] + item * c->keys * d, *dk_unit = e->units[BY_KEYS] + item * c->keys * d;
    long double *dv = e->values[BY_VALUES] + item * c->keys * w, *dv_unit = e->units[BY_VALUES] + item * c->keys * w;
    for (int64_t i = 0; i < c->queries; i++) {
        const int64_t row = item * c->queries + i;
        const long double scale = scales[i];
        long double top = -INFINITY, top_size = 0, sum = 0, along = 0, along_unit = 0, drift = 8;
        for (int64_t j = 0; j < c->keys; j++) {
            products[j] = sizes[j] = 0;
            for (int64_t m = 0; m < d; m++) {
                products[j] += (long double)q[i * d + m] * k[j * d + m];
                sizes[j] += fabsl((long double)q[i * d + m] * k[j * d + m]);
            }
            p[j] = products[j] * scale + mask[i * c->keys + j];
            if (c->is_causal && j > i) p[j] = -INFINITY;
            if (p[j] > -INFINITY && fabs(mask[i * c->keys + j]) < 1e9) apart[j] = fabsl((long double)mask[i * c->keys + j]);
            else apart[j] = 0;
            apart[j] += fabsl(scale) * sizes[j];
            if (p[j] > top) top = p[j], top_size = apart[j];
        }
        long double *out = e->values[OUT] + row * w, *out_unit = e->units[OUT] + row * w;
        e->values[LOG_SUMS][2 * row] = -INFINITY;
        if (top == -INFINITY) continue;
        for (int64_t j = 0; j < c->keys; j++) sum += expl(p[j] - top);
        const long double log_sum = logl(sum);
        for (int64_t j = 0; j < c->keys; j++) {
            apart[j] = p[j] > -INFINITY ? apart[j] + top_size + (top - p[j]) : 0;
            p[j] = expl(p[j] - top - log_sum);
            drift += p[j] * apart[j];
        }
        long double entropy = 0, entropy_unit = drift;
        for (int64_t j = 0; j < c->keys; j++) {
            if (p[j] > 0) entropy -= p[j] * logl(p[j]);
            apart[j] += drift; /* the relative error of a weight */
        }
        for (int64_t j = 0; j < c->keys; j++) {
            if (p[j] > 0) entropy_unit += p[j] * apart[j] * (1 + fabsl(logl(p[j]) + entropy));
            for (int64_t m = 0; m < w; m++) {
                out[m] += p[j] * v[j * w + m];
                out_unit[m] += p[j] * apart[j] * fabsl((long double)v[j * w + m]);
            }
        }
        e->values[LOG_SUMS][2 * row] = top, e->units[LOG_SUMS][2 * row] = top_size + fabsl(top);
        e->values[LOG_SUMS][2 * row + 1] = log_sum, e->units[LOG_SUMS][2 * row + 1] = drift;
        e->values[ENTROPIES][row] = entropy, e->units[ENTROPIES][row] = entropy_unit;
        for (int64_t m = 0; m < w; m++) {
            along += out[m] * g[i * w + m];
            along_unit += (out_unit[m] + fabsl(out[m])) * fabsl((long double)g[i * w + m]);
        }
        for (int64_t j = 0; j < c->keys; j++) {
            const long double off = apart[j] + log_sum;
            long double by_weight = 0, by_weight_unit = 0;
            for (int64_t m = 0; m < w; m++) {
                by_weight += (long double)g[i * w + m] * v[j * w + m];
                by_weight_unit += fabsl((long double)g[i * w + m] * v[j * w + m]);
                dv[j * w + m] += p[j] * g[i * w + m];
                dv_unit[j * w + m] += p[j] * off * fabsl((long double)g[i * w + m]);
            }
            const long double by_score = p[j] * (by_weight - along);
            const long double unit = p[j] * (off * fabsl(by_weight - along) + by_weight_unit + along_unit);
            e->values[BY_SCALES][row] += by_score * products[j];
            e->units[BY_SCALES][row] += unit * fabsl(products[j]) + fabsl(by_score) * sizes[j];
            for (int64_t m = 0; m < d; m++) {
                e->values[BY_QUERIES][row * d + m] += by_score * scale * k[j * d + m];
                e->units[BY_QUERIES][row * d + m] += unit * fabsl(scale * k[j * d + m]);
                dk[j * d + m] += by_score * scale * q[i * d + m];
                dk_unit[j * d + m] += unit * fabsl(scale * q[i * d + m]);
            }
        }
    }
    free(p), free(products), free(sizes), free(apart);
}

static double worst_of(const double *got, const float *narrow, const long double *exact, const long double *units, int64_t n) {
    const double eps = narrow ? FLT_EPSILON : DBL_EPSILON, least = narrow ? FLT_MIN : DBL_MIN;
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        const double value = got ? got[i] : (double)narrow[i];
        if (value == (double)exact[i]) continue;
        const double apart = (double)(fabsl(value - exact[i]) / (eps * units[i] + 1000 * least));
        if (!(apart <= worst)) worst = apart;
    }
    return worst;
}

static kx_status_t run(const kx_ctx_t *ctx, const kx_attention_t *a, int is_wide, void *out, double *sums, double *entropies) {
    return is_wide ? kx_attention_f64(ctx, a, out, sums, entropies) : kx_attention_f32(ctx, a, out, sums, entropies);
}

static kx_status_t run_back(const kx_ctx_t *ctx, const kx_attention_t *a, int is_wide, const void *out, const double *sums,
                            const kx_attention_rows_t *g, void *by_q, void *by_k, void *by_v, double *by_s) {
    return is_wide ? kx_attention_gradient_f64(ctx, a, out, sums, g, by_q, by_k, by_v, by_s)
                   : kx_attention_gradient_f32(ctx, a, out, sums, g, by_q, by_k, by_v, by_s);
}

/* Rows with NaN between them, which nobody may read into a result. */
enum { GAP = 3 };
static char *with_gaps(const double *from, int64_t rows, int64_t width, int is_wide) {
    char *to = malloc((size_t)(rows * (width + GAP) * 8 + 8));
    for (int64_t r = 0; r < rows; r++)
        for (int64_t k = 0; k < width + GAP; k++) {
            const double number = k < width ? from[r * width + k] : NAN;
            const int64_t at = r * (width + GAP) + k;
            if (is_wide) ((double *)(void *)to)[at] = number;
            else ((float *)(void *)to)[at] = (float)number;
        }
    return to;
}

static void compare(const kx_case_t *c, int is_wide, double *const *in, const double *mask, const uint8_t *bytes,
                    const double *scales,
                    const kx_exact_t *e) {
    const int64_t size = is_wide ? 8 : 4, shared = c->share ? 1 : c->items;
    const int64_t lines[4] = {c->queries, c->keys, c->keys, c->queries};
    const int64_t widths[4] = {c->dimension, c->dimension, c->value_dimension, c->value_dimension};
    char *laid[4], *got[PARTS];
    int64_t *offsets[4], *mask_offsets = calloc((size_t)c->items + 1, 8);
    kx_attention_rows_t given[4];
    for (int i = 0; i < 4; i++) {
        const int is_shared = i == 1 || i == 2;
        laid[i] = with_gaps(in[i], (is_shared ? shared : c->items) * lines[i], widths[i], is_wide);
        offsets[i] = malloc((size_t)(c->items + 1) * 8);
        for (int64_t n = 0; n < c->items; n++) offsets[i][n] = (is_shared && c->share ? 0 : n) * lines[i] * (widths[i]
            + GAP) * size;
        given[i] = (kx_attention_rows_t){laid[i], offsets[i], (widths[i] + GAP) * size};
    }
    for (int i = 0; i < PARTS; i++) got[i] = malloc((size_t)(e->counts[i] * 8 + 8));
    /* the mask's columns are its rows in memory for each second case, so that steps from key to key are wide */
    const int across = c->is_causal, is_bytes = c->mask == KX_ATTENTION_BOOLEAN;
    const int64_t step = is_bytes ? 1 : size;
    char *laid_mask = malloc((size_t)(c->queries * c->keys * 8 + 8));
    for (int64_t i = 0; i < c->queries; i++)
        for (int64_t j = 0; j < c->keys; j++) {
            const int64_t from = i * c->keys + j, to = across ? j * c->queries + i : from;
            if (is_bytes) ((uint8_t *)laid_mask)[to] = bytes[from];
            else if (is_wide) ((double *)(void *)laid_mask)[to] = mask[from];
            else ((float *)(void *)laid_mask)[to] = (float)mask[from];
        }
    const kx_attention_t a = {given[0], given[1], given[2], c->items, c->queries, c->keys, c->dimension, c->value_dimension,
        c->mask,
                              {laid_mask, mask_offsets, across ? step : c->keys * step}, across ? c->queries * step : step,
                                  c->is_causal,
                              scales, c->queries, 1};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = 3;
    double *sums = (double *)(void *)got[LOG_SUMS], *entropies = (double *)(void *)got[ENTROPIES],
        *by_scales = (double *)(void *)got[BY_SCALES];
    CHECK(run(&ctx, &a, is_wide, got[OUT], sums, entropies) == KX_OK, "status");
    CHECK(run_back(&ctx, &a, is_wide, got[OUT], sums, &given[3], got[BY_QUERIES], got[BY_KEYS], got[BY_VALUES],
                   by_scales) == KX_OK, "status");
    for (int i = 0; i < PARTS; i++) {
        const int wide = is_wide || i == LOG_SUMS || i == ENTROPIES || i == BY_SCALES;
        const double *values = (const double *)(const void *)got[i];
        const float *narrow = (const float *)(const void *)got[i];
        double *copy = malloc((size_t)(e->counts[i] * 8 + 8));
        for (int64_t n = 0; n < e->counts[i]; n++) copy[n] = wide ? values[n] : (double)narrow[n];
        float unused = 0;
        const double worst = worst_of(copy, is_wide ? NULL : &unused, e->values[i], e->units[i], e->counts[i]);
        CHECK(worst <= part_bounds[i], "%s, float%d, %d items of %d x %d, %d and %d, mask %d, hide %d, causal %d, "
              "size %g: %g over %g",
              part_names[i], (int)size * 8, (int)c->items, (int)c->queries, (int)c->keys, (int)c->dimension,
                  (int)c->value_dimension,
              (int)c->mask, (int)c->hide, c->is_causal, c->size, worst, part_bounds[i]);
        free(copy);
    }
    /* one worker, and nothing but the output: the same bits */
    char *again[PARTS];
    for (int i = 0; i < PARTS; i++) again[i] = malloc((size_t)(e->counts[i] * 8 + 8));
    CHECK(run(NULL, &a, is_wide, again[OUT], NULL, NULL) == KX_OK, "status");
    CHECK(run_back(NULL, &a, is_wide, got[OUT], sums, &given[3], again[BY_QUERIES], again[BY_KEYS], again[BY_VALUES],
                   NULL) == KX_OK, "status");
    const int same[] = {OUT, BY_QUERIES, BY_KEYS, BY_VALUES};
    for (int i = 0; i < 4; i++)
        CHECK(memcmp(again[same[i]], got[same[i]], (size_t)(e->counts[same[i]] * size)) == 0, "%s of one worker",
              part_names[same[i]]);
    for (int i = 0; i < PARTS; i++) free(again[i]), free(got[i]);
    for (int i = 0; i < 4; i++) free(laid[i]), free(offsets[i]);
    free(laid_mask), free(mask_offsets);
}

static void test(kx_case_t c) {
    const int64_t shared = c.share ? 1 : c.items, rows = c.items * c.queries;
    const int64_t counts[4] = {rows * c.dimension, shared * c.keys * c.dimension, shared * c.keys * c.value_dimension,
        rows * c.value_dimension};
    double *in[4], *mask = malloc((size_t)(c.queries * c.keys + 1) * 8), *scales = malloc((size_t)(rows + 1) * 8);
    uint8_t *bytes = malloc((size_t)(c.queries * c.keys + 1));
    for (int i = 0; i < 4; i++) {
        in[i] = malloc((size_t)(counts[i] + 1) * 8);
        for (int64_t k = 0; k < counts[i]; k++) in[i][k] = (double)(float)check_uniform(-c.size, c.size);
    }
    for (int64_t i = 0; i < c.queries * c.keys; i++) {
        int hidden = check_random() % 3 == 0 || (i / c.keys) % 5 == 2;
        if (c.hide == FIRST_KEYS) hidden = i % c.keys < 70;
        if (c.mask == KX_ATTENTION_UNMASKED) hidden = 0;
        bytes[i] = hidden ? 0 : (uint8_t)(1 + check_random() % 255);
        mask[i] = c.mask == KX_ATTENTION_ADDITIVE ? (double)(float)check_uniform(-2, 2) : 0;
        if (hidden) mask[i] = c.hide == BY_NUMBERS ? (double)-1e30f : -INFINITY;
    }
    for (int64_t i = 0; i < rows; i++) scales[i] = (double)(float)check_uniform(-c.scale / 3, c.scale);
    kx_exact_t e;
    const int64_t keys = c.items * c.keys, all[PARTS] = {counts[3], 2 * rows, rows, counts[0], keys * c.dimension,
        keys * c.value_dimension, rows};
    for (int i = 0; i < PARTS; i++) e.values[i] = numbers(all[i]), e.units[i] = numbers(all[i]), e.counts[i] = all[i];
    for (int64_t i = 0; i < c.items; i++) {
        const int64_t from = c.share ? 0 : i;
        attend(&c, i, in[0] + i * c.queries * c.dimension, in[1] + from * c.keys * c.dimension,
               in[2] + from * c.keys * c.value_dimension, mask,
               scales + i * c.queries, in[3] + i * c.queries * c.value_dimension, &e);
    }
    for (int is_wide = 0; is_wide < 2; is_wide++) compare(&c, is_wide, in, mask, bytes, scales, &e);
    for (int i = 0; i < PARTS; i++) free(e.values[i]), free(e.units[i]);
    for (int i = 0; i < 4; i++) free(in[i]);
    free(mask), free(scales), free(bytes);
}

/* ---- what is hidden, and what is not finite ---- */

enum { N = 70, D = 5 };

/* One item of N queries and keys of D numbers, in either precision. */
typedef struct kx_small {
    kx_attention_t a;
    kx_attention_rows_t g;
    int is_wide;
    double numbers[4][N * D], out[N * D], by[3][N * D], added[N * N]; /* floats in half of the room, if it is not wide */
    double scales[N], sums[2 * N], entropies[N], by_scales[N];
    uint8_t mask[N * N];
    int64_t offset;
} kx_small_t;

static void put(const kx_small_t *s, double *where, int64_t i, double number) {
    if (s->is_wide) where[i] = number;
    else ((float *)(void *)where)[i] = (float)number;
}
static double take(const kx_small_t *s, const double *where, int64_t i) {
    return s->is_wide ? where[i] : (double)((const float *)(const void *)where)[i];
}

static kx_small_t *small(int is_wide) {
    kx_small_t *s = calloc(1, sizeof *s);
    s->is_wide = is_wide;
    const int64_t size = is_wide ? 8 : 4;
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < N * D; k++) put(s, s->numbers[i], k, check_uniform(-1, 1));
    for (int i = 0; i < N; i++) s->scales[i] = 0.5;
    memset(s->mask, 1, sizeof s->mask);
    const kx_attention_rows_t rows[4] = {{s->numbers[0], &s->offset, D * size}, {s->numbers[1], &s->offset, D * size},
                                         {s->numbers[2], &s->offset, D * size}, {s->numbers[3], &s->offset, D * size}};
    s->a = (kx_attention_t){rows[0], rows[1], rows[2], 1, N, N, D, D, KX_ATTENTION_BOOLEAN, {s->mask, &s->offset, N}, 1, 0,
        s->scales, N, 1};
    s->g = rows[3];
    return s;
}

static kx_status_t attend_small(kx_small_t *s, const kx_ctx_t *ctx) { return run(ctx, &s->a, s->is_wide, s->out, s->sums,
    s->entropies); }
static kx_status_t back_small(kx_small_t *s, const kx_ctx_t *ctx) {
    return run_back(ctx, &s->a, s->is_wide, s->out, s->sums, &s->g, s->by[0], s->by[1], s->by[2], s->by_scales);
}

static int are_finite(const kx_small_t *s, const double *where, int64_t row) {
    for (int k = 0; k < D; k++)
        if (!isfinite(take(s, where, row * D + k))) return 0;
    return 1;
}

/* Something bad at key `key`, of keys or of values, that some queries do not see: these are none the worse for it. */
static void test_hidden(int is_wide, int which, double bad, int how, int key) {
    kx_small_t *s = small(is_wide);
    put(s, s->numbers[which], key * D + 3, bad);
    if (how == 0) s->a.is_causal = 1;
    for (int i = 0; i < N; i++) {
        const int hidden = how == 0 ? i < key : i % 2;
        if (how == 1) s->mask[i * N + key] = (uint8_t)!hidden;
        for (int j = 0; j < N; j++) put(s, s->added, i * N + j, j == key && hidden ? -INFINITY : 0.25);
    }
    if (how == 2)
        s->a.mask_kind = KX_ATTENTION_ADDITIVE, s->a.mask.data = s->added, s->a.mask_step = is_wide ? 8 : 4,
            s->a.mask.row = N * s->a.mask_step;
    CHECK(attend_small(s, NULL) == KX_OK && back_small(s, NULL) == KX_OK, "status");
    for (int i = 0; i < N; i++) {
        const int hidden = how == 0 ? i < key : i % 2;
        const int fine = are_finite(s, s->out, i) && are_finite(s, s->by[0], i);
        /* an infinite key may have a score of -infinity, which is a weight of 0 */
        if (hidden || !(which == 1 && isinf(bad)))
            CHECK(fine == hidden, "f%d, %g in %d, %d, query %d of key %d", is_wide ? 64 : 32, bad, which, how, i, key);
        CHECK(!hidden || isfinite(s->entropies[i]), "entropy of query %d", i);
        CHECK(hidden || which != 1 || !isnan(bad) || (isnan(s->entropies[i]) && isnan(s->sums[2 * i + 1])), "entropy %g",
              s->entropies[i]);
    }
    free(s);
}

/* A query that is not finite has no say in the gradients of keys that it does not see. */
static void test_bad_query(int is_wide, double bad) {
    kx_small_t *s = small(is_wide);
    put(s, s->numbers[0], 3 * D + 1, bad);
    for (int j = 0; j < N; j += 2) s->mask[3 * N + j] = 0;
    CHECK(attend_small(s, NULL) == KX_OK && back_small(s, NULL) == KX_OK, "status");
    for (int i = 0; i < N; i++) {
        CHECK(are_finite(s, s->out, i) == (i != 3) && are_finite(s, s->by[0], i) == (i != 3), "query %d", i);
        CHECK(isnan(s->entropies[i]) == (i == 3), "entropy of query %d", i);
        if (i % 2 == 0) CHECK(are_finite(s, s->by[1], i) && are_finite(s, s->by[2], i), "gradient of key %d", i);
        else if (isnan(bad)) CHECK(!are_finite(s, s->by[1], i) && !are_finite(s, s->by[2], i), "gradient of key %d", i);
    }
    free(s);
}

static void test_extremes(int is_wide) {
    kx_small_t *s = small(is_wide);
    const double huge = is_wide ? 1e300 : 1e38, least = is_wide ? 5e-324 : 1.5e-45;
    /* scores of +-1e4, one key far above the others for each query */
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++) {
            put(s, s->numbers[0], i * D + k, k == i % D ? 100 : 0);
            put(s, s->numbers[1], i * D + k, k == i % D ? (i < D ? 200 : 100) : -100);
            put(s, s->numbers[2], i * D + k, i < D ? huge : -huge);
        }
    CHECK(attend_small(s, NULL) == KX_OK, "status");
    for (int i = 0; i < N; i++) {
        CHECK(s->sums[2 * i] == 1e4 && s->sums[2 * i + 1] == 0 && s->entropies[i] == 0, "top %g, entropy %g", s->sums[2 * i],
              s->entropies[i]);
        for (int k = 0; k < D; k++) CHECK(take(s, s->out, i * D + k) == take(s, s->numbers[2], 0), "out %g", take(s, s->out,
            i * D + k));
    }
    /* the lowest score first, and each key far above those before: all that was summed is forgotten, time and again */
    for (int i = 0; i < N; i++)
        for (int k = 0; k < D; k++) {
            put(s, s->numbers[0], i * D + k, k == 0);
            put(s, s->numbers[1], i * D + k, k == 0 ? 2000.0 * (i - N / 2) : 0);
            put(s, s->numbers[2], i * D + k, i + 1);
        }
    CHECK(attend_small(s, NULL) == KX_OK, "status");
    for (int i = 0; i < N; i++)
        CHECK(take(s, s->out, i * D) == N && s->entropies[i] == 0 && s->sums[2 * i] == 1000.0 * (N - 1 - N / 2), "out %g",
              take(s, s->out, i * D));
    /* weights below the normal numbers next to one of 1: they round, and make nothing else of it */
    const double down = is_wide ? -740 : -100;
    for (int i = 0; i < N; i++) {
        put(s, s->numbers[1], i * D, i ? 2 * down : 0);
        put(s, s->numbers[2], i * D, i ? 0 : 1);
    }
    CHECK(attend_small(s, NULL) == KX_OK, "status");
    for (int i = 0; i < N; i++)
        CHECK(take(s, s->out, i * D) == 1 && s->sums[2 * i] == 0 && s->entropies[i] >= 0 && s->entropies[i] < 1e-38,
              "entropy %g", s->entropies[i]);
    put(s, s->numbers[2], D, huge);
    CHECK(attend_small(s, NULL) == KX_OK, "status");
    CHECK(fabs(take(s, s->out, 0) - (1 + exp(down) * take(s, s->numbers[2], D))) < 0.2,
          "a subnormal weight of a huge value: %g", take(s, s->out, 0));
    put(s, s->numbers[2], 0, least);
    put(s, s->numbers[2], D, 0);
    CHECK(attend_small(s, NULL) == KX_OK && take(s, s->out, 0) == take(s, s->numbers[2], 0), "a subnormal value: %g", take(s,
        s->out, 0));
    /* -1e30 for all keys: adding it swallows the scores, so weights are equal */
    for (int i = 0; i < N * N; i++) put(s, s->added, i, -1e30);
    for (int i = 0; i < N; i++) put(s, s->numbers[1], i * D, 1), put(s, s->numbers[2], i * D, i);
    s->a.mask_kind = KX_ATTENTION_ADDITIVE, s->a.mask.data = s->added, s->a.mask_step = is_wide ? 8 : 4,
        s->a.mask.row = N * s->a.mask_step;
    CHECK(attend_small(s, NULL) == KX_OK && fabs(take(s, s->out, 0) - (N - 1) / 2.0) < 1e-4, "out %g", take(s, s->out, 0));
    CHECK(fabs(s->entropies[0] - log(N)) < 1e-5, "entropy %g", s->entropies[0]);
    free(s);
}

static void test_flags(int is_wide) {
    kx_small_t *s = small(is_wide);
    put(s, s->numbers[1], 7, INFINITY), put(s, s->numbers[2], 9, -INFINITY), put(s, s->numbers[0], 11, NAN);
    feclearexcept(FE_ALL_EXCEPT);
    CHECK(attend_small(s, NULL) == KX_OK && back_small(s, NULL) == KX_OK, "status");
    CHECK(!fetestexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW | FE_UNDERFLOW), "flags");
    free(s);
}

/* ---- the contract ---- */

typedef struct kx_counter {
    int calls, fail_at, live;
} kx_counter_t;

static void *take_memory(void *state, size_t bytes) {
    kx_counter_t *c = state;
    if (c->calls++ == c->fail_at) return NULL;
    c->live++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
static void give_memory(void *state, void *block) {
    if (block) ((kx_counter_t *)state)->live--;
    free(block);
}

static int cancel_after(void *state) { return ++*(int *)state > 0; }

static void test_contract(int is_wide) {
    kx_small_t *s = small(is_wide);
    CHECK(attend_small(s, NULL) == KX_OK, "status");
    for (int back = 0; back < 2; back++) {
        kx_counter_t counter = {0, -1, 0};
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.allocator = (kx_allocator_t){take_memory, give_memory, &counter};
        CHECK((back ? back_small(s, &ctx) : attend_small(s, &ctx)) == KX_OK && counter.calls > 0 && counter.live == 0, "counted");
        const int calls = counter.calls;
        for (int i = 0; i < calls; i++) {
            counter = (kx_counter_t){0, i, 0};
            CHECK((back ? back_small(s, &ctx) : attend_small(s, &ctx)) == KX_E_MEMORY && counter.live == 0, "allocation %d", i);
        }
    }
    const kx_attention_t good = s->a;
    const struct {
        int64_t *number;
        int64_t bad;
        kx_status_t status;
    } wrong[] = {{&s->a.items, -1, KX_E_ARGUMENT},     {&s->a.query_count, -1, KX_E_ARGUMENT},
                 {&s->a.key_count, -1, KX_E_ARGUMENT}, {&s->a.dimension, -1, KX_E_ARGUMENT},
                 {&s->a.value_dimension, -1, KX_E_ARGUMENT}, {&s->a.items, INT64_MAX, KX_E_OVERFLOW},
                 {&s->a.query_count, INT64_MAX, KX_E_OVERFLOW}, {&s->a.key_count, INT64_MAX, KX_E_OVERFLOW},
                 {&s->a.dimension, INT64_MAX, KX_E_OVERFLOW}, {&s->a.value_dimension, INT64_MAX, KX_E_OVERFLOW}};
    for (int i = 0; i < (int)(sizeof wrong / sizeof *wrong); i++) {
        *wrong[i].number = wrong[i].bad;
        CHECK(attend_small(s, NULL) == wrong[i].status && back_small(s, NULL) == wrong[i].status, "wrong number %d", i);
        s->a = good;
    }
    s->a.mask_kind = (kx_attention_mask_t)3;
    CHECK(attend_small(s, NULL) == KX_E_ARGUMENT && back_small(s, NULL) == KX_E_ARGUMENT, "wrong mask");
    s->a = good, s->a.scales = NULL;
    CHECK(attend_small(s, NULL) == KX_E_ARGUMENT && back_small(s, NULL) == KX_E_ARGUMENT, "no scales");
    CHECK(run(NULL, NULL, is_wide, s->out, NULL, NULL) == KX_E_ARGUMENT, "no attention");
    free(s);
}

/* A cancelled call ends within some of its 50 ms, however long it would take: all queries and keys are one row in memory. */
static void test_cancel(int is_wide) {
    const int64_t n = 200000;
    char *row = calloc(64, 8), *results = malloc((size_t)(n * 64) * 8);
    double *scales = calloc((size_t)n, 8), *sums = calloc((size_t)n, 16);
    int64_t offset = 0;
    const kx_attention_rows_t rows = {row, &offset, 0};
    const kx_attention_t a = {rows, rows, rows, 1, n, n, 64, 64, KX_ATTENTION_UNMASKED, {NULL, NULL, 0}, 0, 0, scales, n, 1};
    for (int back = 0; back < 2; back++) {
        int asked = 0;
        kx_ctx_t ctx;
        kx_ctx_init(&ctx);
        ctx.cancel = cancel_after, ctx.cancel_state = &asked;
        const kx_status_t status = back ? run_back(&ctx, &a, is_wide, results, sums, &rows, results, results, results, NULL)
                                        : run(&ctx, &a, is_wide, results, sums, NULL);
        CHECK(status == KX_E_CANCELLED && asked == 1, "status %d, asked %d times", (int)status, asked);
    }
    free(row), free(results), free(scales), free(sums);
}

int main(void) {
    const int64_t sizes[][4] = {{1, 1, 1, 1},   {1, 1, 8, 8},      {2, 3, 5, 7},     {7, 64, 16, 16}, {65, 63, 17, 9}, {100,
        129, 64, 64},
                                {13, 200, 33, 70}, {385, 65, 8, 130}, {5, 0, 4, 4},     {0, 5, 4, 4},    {5, 6, 0, 4},    {5,
                                    6, 4, 0},
                                {9, 65, 0, 1},  {9, 1, 3, 1},      {4, 130, 2, 1000}, {6, 64, 7, 0},   {400, 3, 2, 2},  {9,
                                    127, 100, 3}};
    for (int s = 0; s < (int)(sizeof sizes / sizeof *sizes); s++)
        for (int mask = 0; mask < 3; mask++)
            for (int causal = 0; causal < 2; causal++)
                test((kx_case_t){1 + s % 3, sizes[s][0], sizes[s][1], sizes[s][2], sizes[s][3], (kx_attention_mask_t)mask,
                     causal, s % 2, 1, 1.5,
                                 AT_RANDOM});
    for (int mask = 1; mask < 3; mask++)
        for (int causal = 0; causal < 2; causal++) {
            test((kx_case_t){2, 90, 150, 12, 9, (kx_attention_mask_t)mask, causal, 0, 2, 1, FIRST_KEYS});
            test((kx_case_t){1, 140, 60, 12, 9, (kx_attention_mask_t)mask, causal, 0, 2, 1,
                 FIRST_KEYS}); /* nobody sees anything */
        }
    test((kx_case_t){2, 90, 150, 12, 9, KX_ATTENTION_ADDITIVE, 0, 1, 2, 1, BY_NUMBERS});
    test((kx_case_t){2, 90, 150, 12, 9, KX_ATTENTION_ADDITIVE, 1, 0, 2, 1, BY_NUMBERS});
    test((kx_case_t){2, 90, 150, 64, 64, KX_ATTENTION_UNMASKED, 0, 0, 20, 1, AT_RANDOM});
    test((kx_case_t){2, 90, 150, 64, 64, KX_ATTENTION_BOOLEAN, 1, 0, 20, 0.01, AT_RANDOM});
    test((kx_case_t){2, 90, 1500, 8, 8, KX_ATTENTION_UNMASKED, 0, 0, 1, 1, AT_RANDOM});
    for (int is_wide = 0; is_wide < 2; is_wide++) {
        const double bad[] = {NAN, INFINITY, -INFINITY};
        for (int b = 0; b < 3; b++) {
            for (int how = 0; how < 3; how++)
                for (int which = 1; which < 3; which++)
                    for (int key = 5; key < N; key += 61) test_hidden(is_wide, which, bad[b], how, key);
            test_bad_query(is_wide, bad[b]);
        }
        test_extremes(is_wide);
        test_flags(is_wide);
        test_contract(is_wide);
        test_cancel(is_wide);
    }
    return check_report();
}
