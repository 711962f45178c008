/* Longest common subsequences and edit distances against the dynamic program cell by cell: few and many kinds of tokens, patterns of
   a word, of a strip and of several; equal ends; what fails. */
#include "check.h"
#include "kexue/kexue.h"

/* Both by rows of the plain dynamic program. */
static void reference(const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *length, int64_t *distance) {
    int64_t *common = calloc((size_t)(m + 1), sizeof *common), *edits = malloc((size_t)(m + 1) * sizeof *edits);
    for (int64_t j = 0; j <= m; j++) edits[j] = j;
    for (int64_t i = 1; i <= n; i++) {
        int64_t common_corner = 0, edits_corner = edits[0];
        edits[0] = i;
        for (int64_t j = 1; j <= m; j++) {
            const int64_t common_above = common[j], edits_above = edits[j];
            const int is_equal = a[i - 1] == b[j - 1];
            if (is_equal) common[j] = common_corner + 1;
            else if (common[j - 1] > common[j]) common[j] = common[j - 1];
            int64_t least = edits_corner + !is_equal;
            if (edits_above + 1 < least) least = edits_above + 1;
            if (edits[j - 1] + 1 < least) least = edits[j - 1] + 1;
            edits[j] = least;
            common_corner = common_above, edits_corner = edits_above;
        }
    }
    *length = common[m], *distance = edits[m];
    free(common), free(edits);
}

static void check_pair(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m) {
    int64_t want_length, want_distance, length = -1, distance = -1;
    reference(a, n, b, m, &want_length, &want_distance);
    kx_status_t status = kx_longest_common_subsequence(ctx, a, n, b, m, &length);
    CHECK(status == KX_OK && length == want_length, "%ld and %ld: status %d, %ld instead of %ld", (long)n, (long)m, status, (long)length,
          (long)want_length);
    status = kx_edit_distance(ctx, a, n, b, m, &distance);
    CHECK(status == KX_OK && distance == want_distance, "%ld and %ld: status %d, %ld instead of %ld", (long)n, (long)m, status,
          (long)distance, (long)want_distance);
}

/* On their own blocks, so that a sanitizer sees what lies outside. */
static uint32_t *random_tokens(int64_t n, uint64_t kinds, uint32_t first, uint32_t step) {
    uint32_t *tokens = malloc((size_t)n * sizeof *tokens + 1);
    for (int64_t i = 0; i < n; i++) tokens[i] = first + (uint32_t)(check_random() % kinds) * step;
    return tokens;
}

static void check_random_pairs(int64_t rounds, int64_t longest) {
    static const uint64_t kinds[] = {1, 2, 4, 30, 300, 5000};
    static const uint32_t firsts[] = {0, 250, 40000, 4000000000u}, steps[] = {1, 256, 65536};
    for (int64_t r = 0; r < rounds; r++) {
        const int64_t n = (int64_t)(check_random() % (uint64_t)longest), m = (int64_t)(check_random() % (uint64_t)longest);
        const uint64_t kind = kinds[check_random() % 6];
        const uint32_t first = firsts[check_random() % 4], step = steps[check_random() % 3];
        uint32_t *a = random_tokens(n, kind, first, step), *b = random_tokens(m, kind, first, step);
        check_pair(NULL, a, n, b, m);
        free(a), free(b);
    }
}

/* Around the ends of words, of strips and of columns taken at once. */
static void check_sizes(void) {
    static const int64_t sizes[] = {1, 2, 3, 4, 5, 63, 64, 65, 127, 128, 129, 192, 2047, 2048, 2049, 4096, 4097};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (size_t j = 0; j < sizeof sizes / sizeof *sizes; j++) {
            uint32_t *a = random_tokens(sizes[i], 3, 'a', 1), *b = random_tokens(sizes[j], 3, 'a', 1);
            check_pair(NULL, a, sizes[i], b, sizes[j]);
            free(a), free(b);
        }
}

/* Patterns of one word to nine, around their ends: few letters, tokens on both sides of 256, and as many others as there can be. */
static void check_words(void) {
    static const uint64_t kinds[] = {3, 12, 1000000};
    static const uint32_t firsts[] = {'a', 250, 0}, steps[] = {1, 1, 4099};
    for (int64_t words = 1; words <= 9; words++)
        for (int64_t rows = 64 * words - 1; rows <= 64 * words + 1; rows++)
            for (int t = 0; t < 3; t++) {
                const int64_t columns = rows + (int64_t)(check_random() % 100);
                uint32_t *a = random_tokens(rows, kinds[t], firsts[t], steps[t]);
                uint32_t *b = random_tokens(columns, kinds[t], firsts[t], steps[t]);
                for (int64_t j = 1; t == 2 && j + 5 < rows; j += 2) b[j + 4] = a[j]; /* half of them in common */
                check_pair(NULL, a, rows, b, columns);
                check_pair(NULL, b, columns, a, rows);
                free(a), free(b);
            }
}

static void check_equal_ends(void) {
    uint32_t *a = random_tokens(700, 20, 'a', 1), *b = random_tokens(900, 20, 'a', 1);
    int64_t length, distance;
    for (int64_t n = 0; n <= 700; n += 35) {
        memcpy(b, a, (size_t)n * sizeof *a);
        check_pair(NULL, a, 700, b, 900);
        check_pair(NULL, a, n, b, 900);
        check_pair(NULL, a, n, b, n);
    }
    memcpy(b + 500, a + 300, 400 * sizeof *a);
    check_pair(NULL, a, 700, b, 900);
    CHECK(kx_longest_common_subsequence(NULL, a, 700, a, 700, &length) == KX_OK && length == 700, "%ld", (long)length);
    CHECK(kx_edit_distance(NULL, a, 700, a, 700, &distance) == KX_OK && distance == 0, "%ld", (long)distance);
    CHECK(kx_edit_distance(NULL, NULL, 0, NULL, 0, &distance) == KX_OK && distance == 0, "%ld", (long)distance);
    CHECK(kx_edit_distance(NULL, NULL, 0, b, 900, &distance) == KX_OK && distance == 900, "%ld", (long)distance);
    CHECK(kx_longest_common_subsequence(NULL, a, 700, NULL, 0, &length) == KX_OK && length == 0, "%ld", (long)length);
    free(a), free(b);
}

static int blocks_left;
static void *allocate_some(void *state, size_t bytes) {
    (void)state;
    return blocks_left-- > 0 ? aligned_alloc(64, (bytes + 63) / 64 * 64) : NULL;
}
static void release_block(void *state, void *block) {
    (void)state;
    free(block);
}

static int stop_at_once(void *state) {
    (*(int *)state)++;
    return 1;
}

static void check_failures(void) {
    int64_t result = -1, want, other;
    uint32_t token = 1;
    CHECK(kx_longest_common_subsequence(NULL, &token, -1, &token, 1, &result) == KX_E_ARGUMENT, "a negative length");
    CHECK(kx_edit_distance(NULL, &token, 1, &token, -1, &result) == KX_E_ARGUMENT, "a negative length");
    CHECK(kx_edit_distance(NULL, &token, 1, &token, 1, NULL) == KX_E_ARGUMENT, "nowhere to put the result");
    CHECK(kx_edit_distance(NULL, &token, INT64_MAX / 2, &token, INT64_MAX / 2, &result) == KX_E_OVERFLOW, "more than there are addresses");

    /* every allocation in turn: three strips, the last of which needs more room for its kinds */
    const int64_t n = 5000, m = 6000;
    uint32_t *a = random_tokens(n, 4, 'a', 1), *b = random_tokens(m, 100000, 0, 1);
    for (int64_t i = 4096; i < n; i++) a[i] = (uint32_t)i;
    reference(a, n, b, m, &want, &other);
    kx_ctx_t ctx = {.allocator = {allocate_some, release_block, NULL}, .workers = 1};
    int failures = 0;
    for (kx_status_t status = KX_E_MEMORY; status != KX_OK; failures++) {
        blocks_left = failures;
        status = kx_longest_common_subsequence(&ctx, a, n, b, m, &result);
        CHECK(status == KX_E_MEMORY || (status == KX_OK && result == want), "%d blocks: status %d", failures, status);
    }
    CHECK(failures == 4, "three blocks are asked for, not %d", failures - 1);

    /* a long one is cancelled: this would take minutes */
    int polls = 0;
    const int64_t huge = 2000000;
    uint32_t *c = random_tokens(huge, 30, 'a', 1), *d = random_tokens(huge, 30, 'a', 1);
    c[0] = d[0] + 1, c[huge - 1] = d[huge - 1] + 1;
    kx_ctx_t impatient = {.cancel = stop_at_once, .cancel_state = &polls, .workers = 1};
    CHECK(kx_longest_common_subsequence(&impatient, c, huge, d, huge, &result) == KX_E_CANCELLED && polls == 1, "%d polls", polls);
    CHECK(kx_edit_distance(&impatient, c, huge, d, huge, &result) == KX_E_CANCELLED && polls == 2, "%d polls", polls);
    free(a), free(b), free(c), free(d);
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    check_random_pairs(is_long ? 100000 : 4000, 40);
    check_random_pairs(is_long ? 20000 : 500, 600);
    check_random_pairs(is_long ? 200 : 8, 6000);
    check_sizes();
    check_words();
    check_equal_ends();
    check_failures();
    return check_report();
}
