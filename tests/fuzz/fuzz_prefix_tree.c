/* The arrays of a prefix tree as a file may hold them: what the check lets in has the properties of a tree, one by one, and no function leaves
   its arrays; what is built from sequences passes, and is refused or still a tree after a number of it is changed. */
#include "fuzz.h"
#include "kexue/kexue.h"

enum { MOST_SEQUENCES = 8, LONGEST = 6, MOST_NODES = 96, VOCABULARY = 12 };

static int64_t token_at(const kx_prefix_tree_t *tree, int64_t v) {
    return tree->token_bytes == 4 ? ((const int32_t *)tree->tokens)[v] : ((const int64_t *)tree->tokens)[v];
}
static int is_end(const kx_prefix_tree_t *tree, int64_t v) { return (int)(tree->ends[v / 64] >> v % 64 & 1); }

/* Whether every node but the root is the child of exactly one before it, and so on, from the header. */
static int is_tree(const kx_prefix_tree_t *tree) {
    const int64_t nodes = tree->nodes, words = (nodes + 63) / 64;
    if (tree->children[0] != 1 || tree->children[nodes] != nodes || token_at(tree, 0) != -1) return 0;
    for (int64_t v = 0; v < nodes; v++) {
        const int64_t begin = tree->children[v], end = tree->children[v + 1];
        if (end < begin || end > nodes || begin <= v) return 0;
        if (v > 0 && end == begin && !is_end(tree, v)) return 0; /* a leaf that ends nothing */
        for (int64_t child = begin; child < end; child++) {
            if (token_at(tree, child) < 0) return 0;
            if (child > begin && token_at(tree, child) <= token_at(tree, child - 1)) return 0;
        }
    }
    int64_t ends = 0;
    for (int64_t w = 0; w < words; w++) {
        if ((int64_t)tree->ranks[w] != ends) return 0;
        for (int64_t v = w * 64; v < w * 64 + 64; v++) {
            const int end = (int)(tree->ends[w] >> v % 64 & 1);
            if (end && v >= nodes) return 0;
            ends += end;
        }
    }
    return 1;
}

static void use(const kx_prefix_tree_t *tree) {
    int64_t rank = 0;
    for (int64_t v = 0; v < tree->nodes; v++) {
        FUZZ_CHECK(kx_prefix_tree_is_end(tree, v) == is_end(tree, v), "end of node %d", (int)v);
        FUZZ_CHECK(kx_prefix_tree_rank(tree, v) == (is_end(tree, v) ? rank : KX_PREFIX_TREE_NONE), "rank of node %d", (int)v);
        rank += is_end(tree, v);
        float *row = fuzz_block(VOCABULARY, sizeof *row);
        int64_t kept = 0;
        for (int t = 0; t < VOCABULARY; t++) {
            int64_t expected = KX_PREFIX_TREE_NONE;
            for (int64_t child = tree->children[v]; child < tree->children[v + 1]; child++)
                if (token_at(tree, child) == t) expected = child;
            const int64_t token = t;
            FUZZ_CHECK(kx_prefix_tree_child(tree, v, t) == expected, "child %d of node %d", t, (int)v);
            FUZZ_CHECK(kx_prefix_tree_walk(tree, v, &token, 1) == expected, "walk by %d from node %d", t, (int)v);
            row[t] = 1, kept += expected != KX_PREFIX_TREE_NONE || (t == 3 && is_end(tree, v));
        }
        FUZZ_CHECK(kx_prefix_tree_mask_f32(tree, v, 3, row, VOCABULARY) == kept, "kept of node %d, not %d", (int)v, (int)kept);
        for (int t = 0; t < VOCABULARY; t++) kept -= row[t] == 1;
        FUZZ_CHECK(kept == 0, "%d too many in the row of node %d", -(int)kept, (int)v);
        free(row);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input_t in = {data, size, 0};
    const int bytes = fuzz_byte(&in) & 1 ? 4 : 8, count = fuzz_below(&in, MOST_SEQUENCES + 1), changes = fuzz_below(&in, 3);
    int64_t starts[MOST_SEQUENCES + 1] = {0}, tokens[MOST_SEQUENCES * LONGEST];
    for (int i = 0; i < count; i++) {
        starts[i + 1] = starts[i] + fuzz_below(&in, LONGEST + 1);
        for (int64_t k = starts[i]; k < starts[i + 1]; k++) tokens[k] = fuzz_below(&in, VOCABULARY);
    }
    uint32_t order[MOST_SEQUENCES], places[MOST_SEQUENCES];
    int64_t shared[MOST_SEQUENCES];
    kx_prefix_tree_sizes_t sizes;
    kx_status_t status = kx_prefix_tree_sort(NULL, tokens, 8, starts, count, order, shared, &sizes);
    FUZZ_CHECK(status == KX_OK && sizes.nodes <= MOST_NODES, "%s, %d nodes", kx_status_name(status), (int)sizes.nodes);
    const int64_t nodes = sizes.nodes, words = (nodes + 63) / 64;
    void *tree_tokens = fuzz_block((size_t)nodes, (size_t)bytes);
    uint32_t *children = fuzz_block((size_t)nodes + 1, 4), *ranks = fuzz_block((size_t)words, 4);
    uint64_t *ends = fuzz_block((size_t)words, 8);
    status = kx_prefix_tree_fill(NULL, tokens, 8, starts, count, order, shared, &sizes, tree_tokens, bytes, children, ends, ranks, places);
    FUZZ_CHECK(status == KX_OK, "%s", kx_status_name(status));
    const kx_prefix_tree_t tree = {tree_tokens, bytes, nodes, children, ends, ranks};
    FUZZ_CHECK(kx_prefix_tree_check(NULL, &tree) == KX_OK && is_tree(&tree), "a tree that was built is refused");
    for (int i = 0; i < count; i++) {
        const int64_t node = kx_prefix_tree_walk(&tree, 0, tokens + starts[i], starts[i + 1] - starts[i]);
        FUZZ_CHECK(node >= 0 && is_end(&tree, node), "sequence %d is not in its tree", i);
        const int64_t rank = kx_prefix_tree_rank(&tree, node);
        FUZZ_CHECK(rank >= 0 && rank < sizes.sequences && (int)places[rank] >= i, "sequence %d is in place %d", i, (int)rank);
    }

    for (int k = 0; k < changes; k++) {
        const int which = fuzz_below(&in, 4), small = (int)(fuzz_byte(&in) & 1);
        const int64_t at = fuzz_byte(&in), by = fuzz_below(&in, 5) - 2;
        const uint64_t any = fuzz_bytes(&in, 8);
        if (which == 0) {
            const int64_t was = token_at(&tree, at % nodes), now = small ? was + by : (int64_t)any;
            if (bytes == 4) ((int32_t *)tree_tokens)[at % nodes] = (int32_t)(uint32_t)now;
            else ((int64_t *)tree_tokens)[at % nodes] = now;
        } else if (which == 1) {
            uint32_t *changed = children + at % (nodes + 1);
            *changed = small ? *changed + (uint32_t)by : (uint32_t)any;
        } else if (which == 2) {
            ends[at % words] = small ? ends[at % words] ^ 1ull << (any & 63) : any;
        } else {
            ranks[at % words] = small ? ranks[at % words] + (uint32_t)by : (uint32_t)any;
        }
    }
    const int passes = kx_prefix_tree_check(NULL, &tree) == KX_OK;
    FUZZ_CHECK(passes == is_tree(&tree), "%s", passes ? "what is no tree passes" : "a tree is refused");
    if (passes) use(&tree);
    free(tree_tokens), free(children), free(ranks), free(ends);
    return 0;
}
