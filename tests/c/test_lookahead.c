/* Look-ahead beside the definition: every sequence below a node, and the dynamic program cell by cell. */
#include "kexue/kexue.h"

#include "check.h"

enum { MOST = 300, LONGEST = 300 };

static int64_t common(const int64_t *a, int64_t n, const int64_t *b, int64_t m) {
    static int64_t row[LONGEST + 1];
    memset(row, 0, sizeof row);
    for (int64_t i = 0; i < n; i++) {
        int64_t diagonal = 0;
        for (int64_t j = 0; j < m; j++) {
            const int64_t above = row[j + 1], left = row[j];
            row[j + 1] = a[i] == b[j] ? diagonal + 1 : above > left ? above : left;
            diagonal = above;
        }
    }
    return row[m];
}

static const int64_t *texts, *text_starts;

static int in_order(const void *a, const void *b) {
    const int64_t i = *(const int64_t *)a, j = *(const int64_t *)b;
    for (int64_t k = 0;; k++) {
        const int i_over = text_starts[i] + k == text_starts[i + 1], j_over = text_starts[j] + k == text_starts[j + 1];
        if (i_over || j_over) return j_over - i_over;
        const int64_t x = texts[text_starts[i] + k], y = texts[text_starts[j] + k];
        if (x != y) return x < y ? -1 : 1;
    }
}

/* Level by level: the sequences of each node are contiguous in their order. */
static kx_prefix_tree_t build(const int64_t *tokens, const int64_t *starts, int64_t count, int token_bytes) {
    const size_t most = (size_t)starts[count] + 1;
    int64_t *order = malloc((size_t)count * sizeof *order), *first = malloc(most * sizeof *first);
    int64_t *end = malloc(most * sizeof *end), *depth = malloc(most * sizeof *depth), nodes = 1;
    void *node_tokens = malloc(most * 8);
    uint32_t *children = malloc((most + 1) * sizeof *children);
    uint64_t *ends = calloc(most / 64 + 1, sizeof *ends);
    for (int64_t i = 0; i < count; i++) order[i] = i;
    texts = tokens, text_starts = starts;
    qsort(order, (size_t)count, sizeof *order, in_order);
    first[0] = 0, end[0] = count, depth[0] = 0;
    for (int64_t v = 0; v < nodes; v++) {
        children[v] = (uint32_t)nodes;
        for (int64_t i = first[v]; i < end[v]; i++) {
            if (starts[order[i]] + depth[v] == starts[order[i] + 1]) {
                ends[v / 64] |= (uint64_t)1 << v % 64;
                continue;
            }
            const int64_t token = tokens[starts[order[i]] + depth[v]];
            if (children[v] == nodes || tokens[starts[order[i - 1]] + depth[v]] != token) {
                if (token_bytes == 8) ((int64_t *)node_tokens)[nodes] = token;
                else ((int32_t *)node_tokens)[nodes] = (int32_t)token;
                first[nodes] = i, depth[nodes++] = depth[v] + 1;
            }
            end[nodes - 1] = i + 1;
        }
    }
    children[nodes] = (uint32_t)nodes;
    free(order), free(first), free(end), free(depth);
    return (kx_prefix_tree_t){
        .tokens = node_tokens, .token_bytes = token_bytes, .nodes = nodes, .children = children, .ends = ends};
}

static void destroy(const kx_prefix_tree_t *tree) {
    free((void *)tree->tokens), free((void *)tree->children), free((void *)tree->ends);
}

static void test_definition(int64_t count, int64_t longest, int64_t m, int64_t kinds, int token_bytes) {
    static int64_t tokens[MOST * LONGEST], starts[MOST + 1], query[LONGEST], gains[MOST];
    starts[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t length = (int64_t)(check_random() % (uint64_t)(longest + 1));
        for (int64_t j = 0; j < length; j++) tokens[starts[i] + j] = (int64_t)(check_random() % (uint64_t)kinds);
        starts[i + 1] = starts[i] + length;
    }
    for (int64_t j = 0; j < m; j++) query[j] = (int64_t)(check_random() % (uint64_t)kinds);
    const kx_prefix_tree_t t = build(tokens, starts, count, token_bytes);
    for (int round = 0; round < 8; round++) {
        /* the node of a random prefix of a random sequence */
        const int64_t some = (int64_t)(check_random() % (uint64_t)count), whole = starts[some + 1] - starts[some];
        const int64_t n = round == 0 ? 0 : (int64_t)(check_random() % (uint64_t)(whole + 1));
        const int64_t *prefix = tokens + starts[some], node = kx_prefix_tree_walk(&t, 0, prefix, n);
        const int64_t stop = round % 2 ? (int64_t)(check_random() % (uint64_t)kinds) : -1;
        memset(gains, 0xff, sizeof gains);
        CHECK(kx_prefix_tree_lcs_gains(NULL, &t, node, prefix, n, query, m, stop, gains) == KX_OK, "gains");
        const int64_t now = common(prefix, n, query, m), first = t.children[node], children = t.children[node + 1] - first;
        for (int64_t c = 0; c < children; c++) {
            const int64_t child = first + c;
            const int64_t token = token_bytes == 8 ? ((const int64_t *)t.tokens)[child] : ((const int32_t *)t.tokens)[child];
            int64_t best = 0;
            for (int64_t i = 0; i < count; i++) {
                const int64_t *sequence = tokens + starts[i];
                int64_t length = starts[i + 1] - starts[i];
                if (length <= n || memcmp(sequence, prefix, (size_t)n * sizeof *prefix) != 0 || sequence[n] != token) continue;
                for (int64_t j = n; j < length; j++)
                    if (sequence[j] == stop) length = j + 1;
                const int64_t gain = common(sequence, length, query, m) - now;
                if (gain > best) best = gain;
            }
            CHECK(gains[c] == best, "child %d of a prefix of %d: %d, want %d", (int)c, (int)n, (int)gains[c], (int)best);
        }
        CHECK(children == MOST || gains[children] == -1, "nothing behind the children is written");
    }
    destroy(&t);
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

/* A prefix and a query long enough for more than the 50 ms after which one is asked. */
static void test_context(void) {
    enum { BITS = 18, M = 4000 };
    const int64_t nodes = ((int64_t)2 << BITS) - 1;
    int32_t *tokens = malloc((size_t)nodes * sizeof *tokens);
    uint32_t *children = malloc((size_t)(nodes + 1) * sizeof *children);
    uint64_t *ends = calloc((size_t)(nodes + 63) / 64, sizeof *ends);
    int64_t *query = malloc(M * sizeof *query), gains[2];
    for (int64_t v = 0; v < nodes; v++) {
        tokens[v] = (int32_t)(v + 1) % 2;
        children[v] = (uint32_t)(2 * v + 1 < nodes ? 2 * v + 1 : nodes);
    }
    children[nodes] = (uint32_t)nodes, tokens[0] = -1;
    for (int64_t j = 0; j < M; j++) query[j] = j < M - 4 ? 2 + j : j % 2;
    const kx_prefix_tree_t tree = {.tokens = tokens, .token_bytes = 4, .nodes = nodes, .children = children, .ends = ends};
    int cancelled = 0;
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    CHECK(kx_prefix_tree_lcs_gains(&ctx, &tree, 0, NULL, 0, query, M, -1, gains) == KX_OK, "a long query");
    CHECK(gains[0] == 4 && gains[1] == 4, "gains of a long query");
    int64_t *prefix = calloc(1 << 21, sizeof *prefix);
    ctx.cancel = cancel, ctx.cancel_state = &cancelled;
    CHECK(kx_prefix_tree_lcs_gains(&ctx, &tree, 0, prefix, 1 << 21, query, M, -1, gains) == KX_E_CANCELLED && cancelled == 1,
          "cancelled: asked %d times", cancelled);
    /* few tokens, but each takes long */
    enum { LONG_M = 1 << 21, FEW = 1 << 14 };
    int64_t *long_query = malloc(LONG_M * sizeof *long_query);
    for (int64_t j = 0; j < LONG_M; j++) long_query[j] = j % 2;
    cancelled = 0, gains[0] = 7;
    CHECK(kx_prefix_tree_lcs_gains(&ctx, &tree, nodes / 2 - 1, prefix, FEW - 8, long_query, LONG_M, -1, gains) ==
          KX_E_CANCELLED && cancelled == 1 && gains[0] == 7, "cancelled in long rows, not behind them: asked %d times", cancelled);
    free(long_query);
    kx_ctx_init(&ctx);
    ctx.allocator.allocate = refuse, ctx.allocator.release = leave;
    CHECK(kx_prefix_tree_lcs_gains(&ctx, &tree, 0, NULL, 0, query, M, -1, gains) == KX_E_MEMORY, "no memory");
    gains[0] = gains[1] = 7;
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, 0, NULL, 0, query, 0, -1, gains) == KX_OK && !gains[0] && !gains[1], "no query");
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, nodes - 1, NULL, 0, query, M, -1, gains) == KX_OK && !gains[0], "a leaf");
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, nodes, NULL, 0, query, M, -1, gains) == KX_E_ARGUMENT, "no node");
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, -1, NULL, 0, query, M, -1, gains) == KX_E_ARGUMENT, "no node");
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, 0, NULL, -1, query, M, -1, gains) == KX_E_ARGUMENT, "a negative size");
    CHECK(kx_prefix_tree_lcs_gains(NULL, &tree, 0, NULL, 0, query, -1, -1, gains) == KX_E_ARGUMENT, "a negative size");
    free(tokens), free(children), free(ends), free(query), free(prefix);
}

int main(void) {
    const int64_t lengths[] = {1, 2, 12, 63, 64, 65, 128, 200};
    for (int i = 0; i < 8; i++)
        for (int bytes = 4; bytes <= 8; bytes += 4)
            for (int64_t kinds = 2; kinds <= 50; kinds += 16) {
                test_definition(MOST - 1, 12, lengths[i], kinds, bytes);
                test_definition(20, 150, lengths[i], kinds, bytes);
                test_definition(1, 5, lengths[i], kinds, bytes);
            }
    test_context();
    return check_report();
}
