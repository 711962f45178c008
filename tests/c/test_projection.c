/* Projections by matrices of signs: sketches against a plain loop, to the bit; the dense matrix against its definition and long
   double; dense against CSR, strides, workers, batches of rows, special values; statuses, memory, cancelling. Philox against
   NumPy's words. */
#ifndef REAL
#include <float.h>

#include "check.h"
#include "kexue/kexue.h"
#include "kexue/kx_projection.h"
#include "kexue/kx_random.h"
#include "runtime/memory.h"
#include "runtime/philox.h"

static const uint64_t KEY[2] = {0x0123456789abcdefu, 0xfedcba9876543210u};

/* ---- Philox ---- */

static void test_philox(void) {
    /* numpy.random.Philox(key=KEY).random_raw(6), after advance(2**61), of counter=5 << 64, and of key=0 */
    static const uint64_t first[6] = {0x2d2e7c09c193c5fau, 0xd56c6aa2d11f06aau, 0x184fcdf7f5474a23u,
                                      0x367832d087008054u, 0x56ffd4cf84d16286u, 0x09fc1192f2145d80u};
    static const uint64_t far[4] = {0xc3b9bd672feccd54u, 0x73c6f726392b6bf3u, 0xe8e08736608b9ff9u, 0x0338ce0c50c542bcu};
    static const uint64_t fifth[8] = {0x535627bb3fa307aau, 0xb83ebe177b1bee86u, 0x2032d30c9cd6b8d9u, 0xa6ab1e7ce5cbfcb4u,
                                      0x163ac8f92899c802u, 0xd84df1eb9f2baa64u, 0x033c5551605e6dacu, 0x5ce208fa76eebb38u};
    static const uint64_t zero[4] = {0x02f4ba6408e4d89bu, 0x3dd62b0b9ca8c5b2u, 0x1c8667a55d902e79u, 0x907d7a052fd5b4dcu};
    static const uint64_t zero_key[2] = {0, 0};
    uint64_t words[8], all[64];
    kx_philox_words(KEY, 0, 6, words);
    CHECK(memcmp(words, first, sizeof first) == 0, "the first words are not NumPy's");
    kx_philox_words(KEY, (uint64_t)1 << 63, 4, words);
    CHECK(memcmp(words, far, sizeof far) == 0, "far words are not NumPy's");
    kx_philox_words(zero_key, 0, 4, words);
    CHECK(memcmp(words, zero, sizeof zero) == 0, "the words of key 0 are not NumPy's");
    for (uint64_t j = 0; j < 2; j++) kx_philox_block(KEY, j + 1, 5, words + 4 * j);
    CHECK(memcmp(words, fifth, sizeof fifth) == 0, "the words of stream 5 are not NumPy's");
    kx_philox_words(KEY, 0, 64, all);
    for (int from = 0; from < 9; from++)
        for (int count = 0; count < 8; count++) {
            memset(words, 0x55, sizeof words);
            kx_philox_words(KEY, (uint64_t)from, count, words);
            CHECK(memcmp(words, all + from, (size_t)count * sizeof *words) == 0, "words %d to %d", from, from + count);
            CHECK(words[count] == 0x5555555555555555u, "wrote beyond %d words", count);
        }
    kx_philox_words(KEY, 0, -1, NULL);
}

static int sign_of(int64_t c, int64_t j) {
    uint64_t words[4];
    kx_philox_block(KEY, (uint64_t)j + 1, (uint64_t)(c / 256), words);
    return words[c % 256 / 64] >> (c % 64) & 1 ? -1 : 1;
}

/* ---- sparse signs ---- */

typedef enum { SINGLE, FEW, RANDOM, SKEWED } density_t;

static kx_projection_signs_t make_signs(int64_t n_components, int64_t d, density_t density) {
    int64_t *starts = malloc((size_t)(d + 1) * sizeof *starts), count = 0;
    int32_t *targets = malloc((size_t)(d * 8 + 1) * sizeof *targets);
    for (int64_t j = 0; j < d; j++) {
        starts[j] = count;
        const int64_t here = density == SINGLE ? 1 : density == FEW ? 4 : density == RANDOM ? (int64_t)(check_random() % 9) : j % 3;
        for (int64_t e = 0; e < here; e++) {
            /* SKEWED: most go to one component, and many components have none */
            const uint64_t to = density == SKEWED && check_random() % 4 ? 0 : check_random() % (uint64_t)n_components;
            targets[count++] = (int32_t)to ^ -(int32_t)(check_random() & 1);
        }
    }
    starts[d] = count;
    const kx_projection_signs_t signs = {starts, targets, n_components, d};
    return signs;
}

static void free_signs(kx_projection_signs_t *signs) {
    free((void *)(uintptr_t)signs->column_starts);
    free((void *)(uintptr_t)signs->targets);
}

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
    if (block) ((watch *)state)->live--;
    kx_release(NULL, block);
}
static int cancel_at_once(void *state) {
    ((watch *)state)->cancels++;
    return 1;
}

static kx_ctx_t with_workers(int workers) {
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.workers = workers;
    return ctx;
}

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define T(name) JOIN(name, SUFFIX)

#define REAL float
#define SUFFIX f32
#define EPSILON FLT_EPSILON
#include "test_projection.c"
#undef REAL
#undef SUFFIX
#undef EPSILON

#define REAL double
#define SUFFIX f64
#define EPSILON DBL_EPSILON
#include "test_projection.c"
#undef REAL
#undef SUFFIX
#undef EPSILON

int main(void) {
    test_philox();
    test_precision_f32();
    test_precision_f64();
    return check_report();
}

#else /* in both precisions */

/* Rows of garbage `gap` numbers apart; with is_backward, the last row first in memory. */
typedef struct T(table) {
    REAL *memory, *first;
    ptrdiff_t stride;
} T(table);

static T(table) T(make_table)(int64_t rows, int64_t d, int64_t gap, int is_backward) {
    T(table) t;
    const int64_t size = rows * (d + gap);
    t.memory = malloc((size_t)(size + 1) * sizeof(REAL));
    for (int64_t i = 0; i < size; i++) t.memory[i] = (REAL)check_uniform(-1, 1);
    t.stride = (ptrdiff_t)((d + gap) * (int64_t)sizeof(REAL)) * (is_backward ? -1 : 1);
    t.first = t.memory + (is_backward && rows > 0 ? (rows - 1) * (d + gap) : 0);
    return t;
}

static REAL *T(row)(const T(table) *t, int64_t i) { return (REAL *)((char *)t->first + i * t->stride); }

static int T(is_same)(REAL a, REAL b) { return memcmp(&a, &b, sizeof a) == 0 || (isnan(a) && isnan(b)); }

/* CSR with the entries of x in the order of columns. A third of x becomes 0, and is left out. */
typedef struct T(sparse) {
    int64_t *starts, *indices;
    REAL *data;
} T(sparse);

static T(sparse) T(make_sparse)(const T(table) *x, int64_t rows, int64_t d) {
    T(sparse) s = {malloc((size_t)(rows + 1) * sizeof *s.starts), malloc((size_t)(rows * d + 1) * sizeof *s.indices),
                   malloc((size_t)(rows * d + 1) * sizeof *s.data)};
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        s.starts[i] = count;
        for (int64_t j = 0; j < d; j++) {
            if (check_random() % 3 == 0) T(row)(x, i)[j] = 0;
            else s.indices[count] = j, s.data[count++] = T(row)(x, i)[j];
        }
    }
    s.starts[rows] = count;
    return s;
}

static void T(free_sparse)(T(sparse) *s) {
    free(s->starts);
    free(s->indices);
    free(s->data);
}

static void T(sketch_exactly)(const kx_projection_signs_t *signs, const REAL *x, double scale, REAL *y) {
    for (int64_t c = 0; c < signs->n_components; c++) y[c] = 0;
    for (int64_t j = 0; j < signs->d; j++)
        for (int64_t e = signs->column_starts[j]; e < signs->column_starts[j + 1]; e++) {
            const int32_t t = signs->targets[e];
            if (t < 0) y[~t] -= x[j];
            else y[t] += x[j];
        }
    for (int64_t c = 0; c < signs->n_components; c++) y[c] *= (REAL)scale;
}

static void T(test_sketch_of)(int64_t rows, int64_t d, int64_t n, density_t density, int64_t gap, int is_backward, int has_specials) {
    kx_projection_signs_t signs = make_signs(n, d, density);
    T(table) x = T(make_table)(rows, d, gap, is_backward), y = T(make_table)(rows, n, gap, 0);
    T(sparse) s = T(make_sparse)(&x, rows, d);
    REAL *exact = malloc((size_t)(n + 1) * sizeof *exact), *untouched = malloc((size_t)(rows * (n + gap) + 1) * sizeof *untouched);
    memcpy(untouched, y.memory, (size_t)(rows * (n + gap)) * sizeof *untouched);
    if (has_specials && rows > 0 && d > 0) {
        T(row)(&x, rows - 1)[d - 1] = (REAL)NAN;
        T(row)(&x, rows / 2)[d / 2] = (REAL)INFINITY;
        T(row)(&x, 0)[0] = -(REAL)INFINITY;
    }
    for (int workers = 1; workers <= 3; workers++)
        for (int is_csr = 0; is_csr < (has_specials ? 1 : 2); is_csr++) {
            const kx_ctx_t ctx = with_workers(workers);
            memcpy(y.memory, untouched, (size_t)(rows * (n + gap)) * sizeof *untouched);
            const kx_status_t status =
                is_csr ? T(kx_projection_sketch_csr)(&ctx, &signs, s.starts, s.indices, s.data, rows, 0.37, y.first, y.stride)
                       : T(kx_projection_sketch)(&ctx, &signs, x.first, rows, x.stride, 0.37, y.first, y.stride);
            CHECK(status == KX_OK, "status %d", (int)status);
            int64_t wrong = 0;
            for (int64_t i = 0; i < rows; i++) {
                T(sketch_exactly)(&signs, T(row)(&x, i), 0.37, exact);
                for (int64_t c = 0; c < n; c++) wrong += !T(is_same)(T(row)(&y, i)[c], exact[c]);
                for (int64_t c = n; c < n + gap; c++) wrong += !T(is_same)(T(row)(&y, i)[c], untouched[i * (n + gap) + c]);
            }
            CHECK(wrong == 0, "rows=%d d=%d n=%d density %d gap=%d csr=%d workers=%d: %d wrong", (int)rows, (int)d, (int)n, (int)density,
                  (int)gap, is_csr, workers, (int)wrong);
        }
    free(exact);
    free(untouched);
    free(x.memory);
    free(y.memory);
    T(free_sparse)(&s);
    free_signs(&signs);
}

static void T(test_sketches)(void) {
    static const int64_t rows[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 130}, widths[] = {0, 1, 7, 15, 16, 17, 64, 100};
    static const int64_t components[] = {1, 3, 4, 8, 15, 16, 17, 64, 257};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            for (int density = SINGLE; density <= SKEWED; density++)
                T(test_sketch_of)(rows[i], widths[j], components[check_random() % 9], (density_t)density, (int64_t)(check_random() % 3),
                                  (int)(check_random() % 2), 0);
    for (int density = SINGLE; density <= SKEWED; density++) {
        T(test_sketch_of)(19, 2047, 31, (density_t)density, 0, 0, 0); /* around the panels' edges */
        T(test_sketch_of)(19, 2048, 31, (density_t)density, 1, 0, 0);
        T(test_sketch_of)(19, 4100, 300, (density_t)density, 0, 1, 0);
        T(test_sketch_of)(9, 40, 40000, (density_t)density, 0, 0, 0); /* too many components for accumulators */
        T(test_sketch_of)(40, 70, 20, (density_t)density, 0, 0, 1);
        T(test_sketch_of)(1, 70, 20, (density_t)density, 0, 0, 1);
        T(test_sketch_of)(600, 130, 20, (density_t)density, 0, 0, 0); /* several chunks */
    }
    /* one row, read again and again */
    kx_projection_signs_t signs = make_signs(5, 40, FEW);
    T(table) x = T(make_table)(1, 40, 0, 0);
    REAL exact[5], y[20][5];
    T(sketch_exactly)(&signs, x.first, 1, exact);
    CHECK(T(kx_projection_sketch)(NULL, &signs, x.first, 20, 0, 1, y[0], sizeof y[0]) == KX_OK, "stride 0");
    for (int i = 0; i < 20; i++) CHECK(memcmp(y[i], exact, sizeof exact) == 0, "stride 0, row %d", i);
    free(x.memory);
    free_signs(&signs);
}

/* ---- dense signs ---- */

static void T(test_rademacher_of)(int64_t rows, int64_t d, int64_t n, int64_t gap, int is_backward) {
    T(table) x = T(make_table)(rows, d, gap, is_backward), y = T(make_table)(rows, n, gap, 0), again = T(make_table)(rows, n, 0, 0);
    T(sparse) s = T(make_sparse)(&x, rows, d);
    int8_t *signs = malloc((size_t)(n * d + 1));
    for (int64_t c = 0; c < n; c++)
        for (int64_t j = 0; j < d; j++) signs[c * d + j] = (int8_t)sign_of(c, j);
    for (int workers = 1; workers <= 3; workers++)
        for (int is_csr = 0; is_csr < 2; is_csr++) {
            const kx_ctx_t ctx = with_workers(workers);
            const kx_status_t status =
                is_csr ? T(kx_projection_rademacher_csr)(&ctx, KEY, s.starts, s.indices, s.data, rows, d, n, 0.37, y.first, y.stride)
                       : T(kx_projection_rademacher)(&ctx, KEY, x.first, rows, d, x.stride, n, 0.37, y.first, y.stride);
            CHECK(status == KX_OK, "status %d", (int)status);
            int64_t wrong = 0;
            for (int64_t i = 0; i < rows; i++)
                for (int64_t c = 0; c < n; c++) {
                    long double exact = 0, size = 0;
                    for (int64_t j = 0; j < d; j++) {
                        const long double value = (long double)T(row)(&x, i)[j];
                        exact += value * signs[c * d + j];
                        size += fabsl(value);
                    }
                    const long double bound = (long double)(EPSILON / 2) * (long double)(d + 2) * size * 0.37L;
                    wrong += !(fabsl((long double)T(row)(&y, i)[c] - (long double)(REAL)0.37 * exact) <= bound);
                }
            CHECK(wrong == 0, "rows=%d d=%d n=%d csr=%d workers=%d: %d wrong", (int)rows, (int)d, (int)n, is_csr, workers, (int)wrong);
        }

    /* to the bit: row by row, with another number of workers, and with fewer components */
    const int64_t fewer = n - n / 3;
    const kx_ctx_t ctx = with_workers(2);
    int64_t wrong = 0;
    CHECK(T(kx_projection_rademacher)(NULL, KEY, x.first, rows, d, x.stride, n, 0.37, y.first, y.stride) == KX_OK, "all rows");
    CHECK(T(kx_projection_rademacher)(&ctx, KEY, x.first, rows, d, x.stride, n, 0.37, again.first, again.stride) == KX_OK, "two workers");
    for (int64_t i = 0; i < rows; i++) wrong += memcmp(T(row)(&y, i), T(row)(&again, i), (size_t)n * sizeof(REAL)) != 0;
    CHECK(wrong == 0, "rows=%d d=%d n=%d: workers change %d rows", (int)rows, (int)d, (int)n, (int)wrong);
    for (int64_t i = 0; i < rows; i++) {
        CHECK(T(kx_projection_rademacher)(NULL, KEY, T(row)(&x, i), 1, d, 0, fewer, 0.37, again.first, again.stride) == KX_OK, "one row");
        wrong += memcmp(T(row)(&y, i), again.first, (size_t)fewer * sizeof(REAL)) != 0;
    }
    CHECK(wrong == 0, "rows=%d d=%d n=%d: alone, and to fewer components, %d rows differ", (int)rows, (int)d, (int)n, (int)wrong);
    free(signs);
    free(x.memory);
    free(y.memory);
    free(again.memory);
    T(free_sparse)(&s);
}

static void T(test_adjoint_of)(int64_t rows, int64_t n, int64_t d, int64_t gap) {
    T(table) y = T(make_table)(rows, n, gap, 1), z = T(make_table)(rows, d, gap, 0), again = T(make_table)(rows, d, 0, 0);
    const kx_ctx_t ctx = with_workers(3);
    CHECK(T(kx_projection_rademacher_adjoint)(NULL, KEY, y.first, rows, n, y.stride, d, 0.37, z.first, z.stride) == KX_OK, "adjoint");
    CHECK(T(kx_projection_rademacher_adjoint)(&ctx, KEY, y.first, rows, n, y.stride, d, 0.37, again.first, again.stride) == KX_OK, "adjoint");
    int64_t wrong = 0;
    for (int64_t j = 0; j < d; j++)
        for (int64_t i = 0; i < rows; i++) {
            long double exact = 0, size = 0;
            for (int64_t c = 0; c < n; c++) {
                const long double value = (long double)T(row)(&y, i)[c];
                exact += value * sign_of(c, j);
                size += fabsl(value);
            }
            const long double bound = (long double)(EPSILON / 2) * (long double)(n + 2) * size * 0.37L;
            wrong += !(fabsl((long double)T(row)(&z, i)[j] - (long double)(REAL)0.37 * exact) <= bound);
            wrong += T(row)(&z, i)[j] != T(row)(&again, i)[j];
        }
    CHECK(wrong == 0, "adjoint, rows=%d n=%d d=%d: %d wrong", (int)rows, (int)n, (int)d, (int)wrong);
    free(y.memory);
    free(z.memory);
    free(again.memory);
}

static void T(test_rademacher)(void) {
    static const int64_t sizes[] = {0, 1, 5, 16, 31, 64, 65, 255, 257, 300};
    for (int i = 0; i < 10; i++)
        for (int j = 0; j < 10; j++) T(test_adjoint_of)((int64_t)(check_random() % 7), sizes[i], sizes[j], (int64_t)(check_random() % 3));
    T(test_adjoint_of)(2, 3, 33000, 0);  /* several slabs */
    T(test_rademacher_of)(1, 3, 33000, 1, 0);
    T(test_adjoint_of)(60, 70, 20, 0);   /* several chunks */

    static const int64_t rows[] = {0, 1, 2, 3, 4, 5, 7, 12, 13}, widths[] = {0, 1, 2, 4, 5, 6, 31, 32, 33, 159, 160, 161, 320, 333};
    static const int64_t components[] = {1, 3, 31, 32, 33, 63, 64, 65, 100, 128, 255, 256, 257, 300, 513};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t j = 0; j < sizeof widths / sizeof *widths; j++)
            T(test_rademacher_of)(rows[i], widths[j], components[check_random() % 15], (int64_t)(check_random() % 3), (int)(check_random() % 2));
    T(test_rademacher_of)(101, 70, 70, 0, 0);  /* several chunks */
    T(test_rademacher_of)(3, 90000, 2, 0, 0); /* several panels */

    static const int64_t shapes[][2] = {{1, 1}, {64, 3}, {257, 40}, {600, 2}};
    for (size_t k = 0; k < 4; k++) {
        const int64_t n = shapes[k][0], d = shapes[k][1];
        const kx_ctx_t ctx = with_workers(2);
        T(table) m = T(make_table)(n, d, 2, 1);
        CHECK(T(kx_projection_rademacher_matrix)(&ctx, KEY, n, 7, d, 0.25, m.first, m.stride) == KX_OK, "matrix");
        for (int64_t c = 0; c < n; c++)
            for (int64_t j = 0; j < d; j++) CHECK(T(row)(&m, c)[j] == (REAL)(0.25 * sign_of(c, j + 7)), "entry %d, %d", (int)c, (int)j);
        free(m.memory);
    }

    /* a number that is not one spoils its row alone, and an infinity makes infinities */
    REAL x[5][9] = {{0}}, y[5][40];
    x[1][8] = (REAL)NAN;
    x[2][3] = (REAL)INFINITY;
    x[4][0] = (REAL)INFINITY, x[4][8] = -(REAL)INFINITY;
    CHECK(T(kx_projection_rademacher)(NULL, KEY, x[0], 5, 9, sizeof x[0], 40, 1, y[0], sizeof y[0]) == KX_OK, "specials");
    for (int c = 0; c < 40; c++) {
        CHECK(y[0][c] == 0 && y[3][c] == 0 && isnan(y[1][c]) && isinf(y[2][c]) && (y[2][c] > 0) == (sign_of(c, 3) > 0), "specials, %d", c);
        CHECK(sign_of(c, 0) == sign_of(c, 8) ? isnan(y[4][c]) : isinf(y[4][c]), "both infinities, %d", c);
    }
}

/* ---- statuses ---- */

static void T(test_statuses)(void) {
    enum { ROWS = 40, D = 30, N = 6 };
    kx_projection_signs_t signs = make_signs(N, D, FEW), bad = signs;
    T(table) x = T(make_table)(ROWS, D, 0, 0), y = T(make_table)(ROWS, N, 0, 0);
    T(sparse) s = T(make_sparse)(&x, ROWS, D);
    int64_t starts[D + 1], indices[ROWS * D], row_starts[ROWS + 1];
    int32_t targets[4 * D];
    memcpy(starts, signs.column_starts, sizeof starts);
    memcpy(targets, signs.targets, sizeof targets);
    bad.column_starts = starts;
    bad.targets = targets;
#define SKETCH(ctx, p, rows) T(kx_projection_sketch)(ctx, p, x.first, rows, x.stride, 1, y.first, y.stride)
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_OK, "a copy");
    CHECK(SKETCH(NULL, NULL, ROWS) == KX_E_ARGUMENT && SKETCH(NULL, &bad, -1) == KX_E_ARGUMENT, "no signs, -1 rows");
    targets[100] = N;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "a target too large");
    targets[100] = ~N;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "a negative target too large");
    targets[100] = ~(N - 1);
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_OK, "the largest target");
    starts[5] = starts[6] + 1;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "decreasing starts");
    starts[5] = starts[6], starts[0] = 1;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "starts that begin with 1");
    starts[0] = 0, bad.targets = NULL;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "no targets");
    bad = signs, bad.column_starts = NULL;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "no starts");
    bad = signs, bad.d = -1;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "-1 columns");
    bad = signs, bad.n_components = -1;
    CHECK(SKETCH(NULL, &bad, ROWS) == KX_E_ARGUMENT, "-1 components");
    CHECK(T(kx_projection_sketch)(NULL, &signs, NULL, ROWS, 0, 1, y.first, y.stride) == KX_E_ARGUMENT, "no x");
    CHECK(T(kx_projection_sketch)(NULL, &signs, x.first, ROWS, x.stride, 1, NULL, 0) == KX_E_ARGUMENT, "no y");
    CHECK(T(kx_projection_sketch)(NULL, &signs, NULL, 0, 0, 1, NULL, 0) == KX_OK, "no rows");
    bad = signs, bad.d = 0;
    y.first[0] = 7;
    CHECK(T(kx_projection_sketch)(NULL, &bad, NULL, ROWS, -8, 1, y.first, y.stride) == KX_OK && y.first[0] == 0, "no columns");

#define CSR(which, r, c)                                                                                                      \
    (which ? T(kx_projection_rademacher_csr)(NULL, KEY, r, c, s.data, ROWS, D, N, 1, y.first, y.stride)                        \
           : T(kx_projection_sketch_csr)(NULL, &signs, r, c, s.data, ROWS, 1, y.first, y.stride))
    for (int which = 0; which < 2; which++) {
        memcpy(indices, s.indices, (size_t)s.starts[ROWS] * sizeof *indices);
        memcpy(row_starts, s.starts, sizeof row_starts);
        CHECK(CSR(which, row_starts, indices) == KX_OK, "a copy");
        indices[50] = D;
        CHECK(CSR(which, row_starts, indices) == KX_E_ARGUMENT, "an index too large");
        indices[50] = -1;
        CHECK(CSR(which, row_starts, indices) == KX_E_ARGUMENT, "an index of -1");
        row_starts[7] = row_starts[8] + 1;
        CHECK(CSR(which, row_starts, s.indices) == KX_E_ARGUMENT, "decreasing row starts");
        CHECK(CSR(which, NULL, s.indices) == KX_E_ARGUMENT && CSR(which, s.starts, NULL) == KX_E_ARGUMENT, "no starts, no indices");
        memcpy(row_starts, s.starts, sizeof row_starts);
        row_starts[0] = -1;
        CHECK(CSR(which, row_starts, s.indices) == KX_E_ARGUMENT, "a negative row start");
    }

#define RADEMACHER(ctx, key, x, rows, d, n, y) T(kx_projection_rademacher)(ctx, key, x, rows, d, D * sizeof(REAL), n, 1, y, N * sizeof(REAL))
    CHECK(RADEMACHER(NULL, NULL, x.first, ROWS, D, N, y.first) == KX_E_ARGUMENT, "no key");
    CHECK(RADEMACHER(NULL, KEY, NULL, ROWS, D, N, y.first) == KX_E_ARGUMENT, "no x");
    CHECK(RADEMACHER(NULL, KEY, x.first, ROWS, D, N, NULL) == KX_E_ARGUMENT, "no y");
    CHECK(RADEMACHER(NULL, KEY, x.first, ROWS, -1, N, y.first) == KX_E_ARGUMENT, "-1 columns");
    CHECK(RADEMACHER(NULL, KEY, x.first, ROWS, D, -1, y.first) == KX_E_ARGUMENT, "-1 components");
    CHECK(RADEMACHER(NULL, KEY, x.first, -1, D, N, y.first) == KX_E_ARGUMENT, "-1 rows");
    CHECK(RADEMACHER(NULL, KEY, x.first, ROWS, D, INT64_MAX, y.first) == KX_E_ARGUMENT, "too many components");
    CHECK(RADEMACHER(NULL, KEY, NULL, ROWS, 0, N, y.first) == KX_OK && y.first[0] == 0, "no columns");
    CHECK(RADEMACHER(NULL, KEY, NULL, 0, D, N, NULL) == KX_OK && RADEMACHER(NULL, KEY, NULL, ROWS, D, 0, NULL) == KX_OK, "nothing asked");
    CHECK(T(kx_projection_rademacher_matrix)(NULL, NULL, N, 0, D, 1, y.first, 0) == KX_E_ARGUMENT, "no key");
    CHECK(T(kx_projection_rademacher_matrix)(NULL, KEY, N, 0, D, 1, NULL, 0) == KX_E_ARGUMENT, "no matrix");
    CHECK(T(kx_projection_rademacher_matrix)(NULL, KEY, N, -1, D, 1, y.first, 0) == KX_E_ARGUMENT, "a negative column");
    CHECK(T(kx_projection_rademacher_matrix)(NULL, KEY, N, INT64_MAX, 1, 1, y.first, 0) == KX_E_ARGUMENT, "columns beyond all");

    for (int which = 0; which < 4; which++) {
        kx_projection_signs_t used = make_signs(N, D, which == 0 ? SINGLE : FEW);
        watch w = {-1, 0, 0, 0};
        kx_ctx_t ctx = with_workers(1);
        ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
        for (int fail_at = 0, ended = 0; !ended; fail_at++) {
            w = (watch){fail_at, 0, 0, 0};
            const kx_status_t status = which == 3   ? T(kx_projection_rademacher_csr)(&ctx, KEY, s.starts, s.indices, s.data, ROWS, D, N, 1, y.first, y.stride)
                                       : which == 2 ? RADEMACHER(&ctx, KEY, x.first, ROWS, D, N, y.first)
                                                    : SKETCH(&ctx, &used, ROWS);
            ended = status == KX_OK;
            CHECK(w.live == 0, "a leak of %d", w.live);
            CHECK(ended ? w.made <= fail_at && fail_at > 0 : status == KX_E_MEMORY, "allocation %d: status %d", fail_at, (int)status);
            if (fail_at > 9) break;
        }
        free_signs(&used);
    }
    free(x.memory);
    free(y.memory);
    T(free_sparse)(&s);
    free_signs(&signs);
}

static void T(test_cancelling)(void) {
    enum { D = 5000, N = 2000 };
    const int64_t rows = 200000; /* seconds, of one row again and again */
    kx_projection_signs_t signs = make_signs(N, D, FEW);
    T(table) x = T(make_table)(1, D, 0, 0);
    REAL y[N];
    for (int which = 0; which < 2; which++) {
        watch w = {-1, 0, 0, 0};
        kx_ctx_t ctx = with_workers(1);
        ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
        ctx.cancel = cancel_at_once;
        ctx.cancel_state = &w;
        const kx_status_t status = which ? T(kx_projection_rademacher)(&ctx, KEY, x.first, rows, D, 0, N, 1, y, 0)
                                         : T(kx_projection_sketch)(&ctx, &signs, x.first, rows, 0, 1, y, 0);
        CHECK(status == KX_E_CANCELLED && w.cancels == 1 && w.live == 0, "call %d: status %d", which, (int)status);
    }
    free(x.memory);
    free_signs(&signs);

    /* a second or more of one row, panel after panel of it, each of which takes some 10 ms */
    enum { WIDE = 1 << 14, MANY = 1 << 16 };
    T(table) row = T(make_table)(1, WIDE, 0, 0), result = T(make_table)(1, MANY, 0, 0);
    watch w = {-1, 0, 0, 0};
    kx_ctx_t ctx = with_workers(1);
    ctx.allocator = (kx_allocator_t){watching_allocate, watching_release, &w};
    ctx.cancel = cancel_at_once;
    ctx.cancel_state = &w;
    const kx_status_t status = T(kx_projection_rademacher)(&ctx, KEY, row.first, 1, WIDE, 0, MANY, 1, result.first, 0);
    CHECK(status == KX_E_CANCELLED && w.cancels == 1 && w.live == 0, "one row: status %d", (int)status);
    free(row.memory);
    free(result.memory);
}

static void T(test_precision)(void) {
    T(test_sketches)();
    T(test_rademacher)();
    T(test_statuses)();
    T(test_cancelling)();
}
#endif
