/* Packed signs, distances and nearest codes against one bit at a time. */
#include <fenv.h>

#include "check.h"

#include "kexue/kexue.h"
#include "runtime/memory.h"

static uint64_t *random_codes(int64_t count, int64_t words, uint64_t mask) {
    uint64_t *codes = malloc((size_t)(count * words) * sizeof *codes + 8);
    for (int64_t i = 0; i < count * words; i++) codes[i] = check_random() & check_random() & mask;
    return codes;
}

static int32_t distance_of(const uint64_t *a, const uint64_t *b, int64_t words) {
    int32_t distance = 0;
    for (int64_t w = 0; w < words; w++)
        for (uint64_t bits = a[w] ^ b[w]; bits; bits &= bits - 1) distance++;
    return distance;
}

/* Selection by passes over all codes: the slow and obvious way, for one query. */
static void nearest_of(const int32_t *all, int64_t n, int64_t k, int32_t *distances, int64_t *indices) {
    int64_t found = 0;
    for (int32_t distance = 0; found < k; distance++)
        for (int64_t c = 0; c < n && found < k; c++)
            if (all[c] == distance) {
                distances[found] = distance;
                indices[found++] = c;
            }
}

static void test_search(int64_t query_count, int64_t n, int64_t words, uint64_t mask) {
    uint64_t *codes = random_codes(n, words, mask), *queries = random_codes(query_count, words, mask);
    const size_t pairs = (size_t)(query_count * n);
    int32_t *all = malloc(pairs * sizeof *all + 4), *got = malloc(pairs * sizeof *got + 4);
    int32_t *want = malloc((size_t)n * sizeof *want + 4);
    int64_t *got_indices = malloc(pairs * sizeof *got_indices + 8), *want_indices = malloc((size_t)n * sizeof *want_indices + 8);
    for (int64_t q = 0; q < query_count; q++)
        for (int64_t c = 0; c < n; c++) all[q * n + c] = distance_of(queries + q * words, codes + c * words, words);
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    for (ctx.workers = 1; ctx.workers <= 3; ctx.workers += 2) {
        memset(got, 0xff, pairs * sizeof *got);
        CHECK(kx_hamming_distances(&ctx, queries, query_count, codes, n, words, got) == KX_OK, "distances");
        CHECK(memcmp(got, all, pairs * sizeof *all) == 0, "distances of %d x %d, %d words", (int)query_count, (int)n, (int)words);
        const int64_t ks[] = {0, 1, 2, 10, 31, 33, n / 3, n / 2 + 1, n - 1, n};
        for (int i = 0; i < 10; i++) {
            const int64_t k = ks[i];
            if (k < 0 || k > n) continue;
            CHECK(kx_hamming_neighbors(&ctx, queries, query_count, codes, n, words, k, got, got_indices) == KX_OK, "neighbors");
            for (int64_t q = 0; q < query_count && k; q++) {
                nearest_of(all + q * n, n, k, want, want_indices);
                CHECK(memcmp(got + q * k, want, (size_t)k * sizeof *want) == 0 &&
                          memcmp(got_indices + q * k, want_indices, (size_t)k * sizeof *want_indices) == 0,
                      "%d nearest of %d codes, %d words, query %d, %d workers", (int)k, (int)n, (int)words, (int)q, ctx.workers);
            }
        }
    }
    free(codes), free(queries), free(all), free(got), free(want), free(got_indices), free(want_indices);
}

/* Enough codes for segments, in an order that makes each a candidate: the farthest first. */
static void test_segments(void) {
    enum { N = 200000, QUERIES = 3, K = 70 };
    uint64_t *codes = malloc(N * 2 * sizeof *codes);
    for (int64_t i = 0; i < N; i++) {
        const int64_t ones = 128 - i * 129 / N;
        codes[2 * i] = ones >= 64 ? UINT64_MAX : ((uint64_t)1 << ones) - 1;
        codes[2 * i + 1] = ones >= 128 ? UINT64_MAX : ones > 64 ? ((uint64_t)1 << (ones - 64)) - 1 : 0;
    }
    const uint64_t queries[QUERIES * 2] = {0, 0, UINT64_MAX, UINT64_MAX, 0, UINT64_MAX};
    int32_t *all = malloc(N * sizeof *all), got[QUERIES * K], want[K];
    int64_t got_indices[QUERIES * K], want_indices[K];
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    for (ctx.workers = 1; ctx.workers <= 4; ctx.workers++) {
        CHECK(kx_hamming_neighbors(&ctx, queries, QUERIES, codes, N, 2, K, got, got_indices) == KX_OK, "segments");
        for (int q = 0; q < QUERIES; q++) {
            for (int64_t c = 0; c < N; c++) all[c] = distance_of(queries + 2 * q, codes + 2 * c, 2);
            nearest_of(all, N, K, want, want_indices);
            CHECK(memcmp(got + q * K, want, sizeof want) == 0 &&
                      memcmp(got_indices + q * K, want_indices, sizeof want_indices) == 0,
                  "query %d, %d workers", q, ctx.workers);
        }
    }
    free(codes), free(all);
}

static void test_pack(void) {
    enum { ROWS = 5, MOST = 200 };
    static float narrow[ROWS * MOST * 2];
    static double wide[ROWS * MOST * 2];
    const double special[] = {0.0, -0.0, NAN, INFINITY, -INFINITY, 5e-324, -5e-324, 1e-45, -1e-45};
    for (int i = 0; i < ROWS * MOST * 2; i++) {
        wide[i] = check_random() % 4 ? check_uniform(-1, 1) : special[check_random() % 9];
        narrow[i] = (float)wide[i];
    }
    for (int64_t columns = 1; columns <= MOST; columns++)
        for (int step = 1; step <= 2; step++) {
            const int64_t words = (columns + 63) / 64;
            uint64_t codes[2][ROWS * 5];
            memset(codes, 0xaa, sizeof codes);
            const ptrdiff_t s = (ptrdiff_t)step;
            feclearexcept(FE_ALL_EXCEPT);
            kx_hamming_pack_f32(narrow, ROWS, columns, MOST * s * 4, s * 4, codes[0], 5 * 8);
            kx_hamming_pack_f64(wide, ROWS, columns, MOST * s * 8, s * 8, codes[1], 5 * 8);
            CHECK(!fetestexcept(FE_ALL_EXCEPT), "%d columns, step %d: flags", (int)columns, step);
            int good = 1;
            for (int64_t r = 0; r < ROWS; r++)
                for (int64_t i = 0; i < 5 * 64; i++) {
                    const int got_narrow = codes[0][r * 5 + i / 64] >> i % 64 & 1;
                    const int got_wide = codes[1][r * 5 + i / 64] >> i % 64 & 1;
                    const int64_t from = (r * MOST + i) * step;
                    const int untouched = i >= 64 * words;
                    const int want_narrow = untouched ? (int)(i % 2) : i < columns && !(narrow[from] < 0);
                    const int want_wide = untouched ? (int)(i % 2) : i < columns && !(wide[from] < 0);
                    good &= got_narrow == want_narrow && got_wide == want_wide;
                }
            CHECK(good, "%d columns, step %d", (int)columns, step);
        }
}

static void test_arguments(void) {
    const uint64_t code = 0;
    int32_t distance = 7;
    int64_t index = 7;
    CHECK(kx_hamming_neighbors(NULL, &code, 1, &code, 1, 1, 2, &distance, &index) == KX_E_ARGUMENT, "k above the codes");
    CHECK(kx_hamming_neighbors(NULL, &code, 1, &code, 1, 1, -1, &distance, &index) == KX_E_ARGUMENT, "k below 0");
    CHECK(kx_hamming_neighbors(NULL, &code, 1, &code, 1, 0, 1, &distance, &index) == KX_E_ARGUMENT, "no words");
    CHECK(kx_hamming_distances(NULL, &code, 1, &code, 1, KX_HAMMING_MAX_WORDS + 1, &distance) == KX_E_ARGUMENT, "too many words");
    CHECK(kx_hamming_neighbors(NULL, &code, 0, &code, 1, 1, 1, &distance, &index) == KX_OK, "no queries");
    CHECK(kx_hamming_distances(NULL, &code, 1, &code, 0, 1, &distance) == KX_OK, "no codes");
    CHECK(distance == 7 && index == 7, "nothing written");
    CHECK(kx_hamming_neighbors(NULL, &code, 1, &code, 1, 1, 1, &distance, &index) == KX_OK, "one code");
    CHECK(distance == 0 && index == 0, "one code");
}

static int cancel(void *state) {
    (*(int *)state)++;
    return 1;
}
static void *refuse(void *state, size_t bytes) {
    (void)state, (void)bytes;
    return NULL;
}
static void leave(void *state, void *block) { (void)state, (void)block; }

static void *count_bytes(void *state, size_t bytes) {
    *(size_t *)state += bytes;
    return kx_allocate(NULL, bytes);
}
static void release_counted(void *state, void *block) {
    (void)state;
    kx_release(NULL, block);
}

static void test_context(void) {
    enum { N = 2000, WORDS = 3000 }; /* all pairs take far longer than the 50 ms after which one is asked */
    uint64_t *codes = random_codes(N, WORDS, UINT64_MAX);
    int32_t *distances = malloc((size_t)N * N * sizeof *distances);
    int64_t *indices = malloc((size_t)N * 10 * sizeof *indices);
    int cancelled = 0;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.cancel = cancel;
    ctx.cancel_state = &cancelled;
    CHECK(kx_hamming_neighbors(&ctx, codes, N, codes, N, WORDS, 10, distances, indices) == KX_E_CANCELLED, "neighbors cancelled");
    CHECK(cancelled == 1, "asked %d times", cancelled);
    CHECK(kx_hamming_distances(&ctx, codes, N, codes, N, WORDS, distances) == KX_E_CANCELLED, "distances cancelled");
    CHECK(cancelled == 2, "asked %d times", cancelled);
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = refuse;
    ctx.allocator.release = leave;
    CHECK(kx_hamming_neighbors(&ctx, codes, 1, codes, N, WORDS, 10, distances, indices) == KX_E_MEMORY, "no memory");
    CHECK(kx_hamming_distances(&ctx, codes, 1, codes, N, WORDS, distances) == KX_E_MEMORY, "no memory");
    size_t bytes[2] = {0, 0}; /* of 64 and of 1024 workers */
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = count_bytes;
    ctx.allocator.release = release_counted;
    for (int i = 0; i < 2; i++) {
        ctx.workers = i ? 1024 : 64;
        ctx.allocator.state = &bytes[i];
        CHECK(kx_hamming_neighbors(&ctx, codes, 1, codes, N, WORDS, 10, distances, indices) == KX_OK, "a few tasks");
        CHECK(kx_hamming_distances(&ctx, codes, 1, codes, N, WORDS, distances) == KX_OK, "a few tasks");
    }
    CHECK(bytes[0] == bytes[1], "memory of workers that have nothing to do: %d bytes, %d", (int)bytes[0], (int)bytes[1]);
    free(codes), free(distances), free(indices);
}

int main(void) {
    const int64_t sizes[] = {1, 2, 31, 32, 33, 64, 257, 1000};
    for (int64_t words = 1; words <= 5; words++)
        for (int i = 0; i < 8; i++)
            for (int few = 0; few < 2; few++) test_search(i % 3 * 2 + 1, sizes[i], words, few ? 0x8000000000000101u : UINT64_MAX);
    test_search(3, 200, 16, UINT64_MAX);
    test_search(3, 200, 33, UINT64_MAX);
    test_search(2, 70, 130, UINT64_MAX);
    test_search(150, 100, 2, UINT64_MAX); /* two tiles of queries */
    test_search(2, 4000, 2, UINT64_MAX);
    test_segments();
    test_pack();
    test_arguments();
    test_context();
    return check_report();
}
