/* Prefix trees against sorted lists of prefixes: sorting, nodes, walks, ends, places and masks, for tokens of either width, few and
   many kinds of them, short and long common beginnings; damaged trees; what fails. */
#include "check.h"
#include "kexue/kexue.h"

/* Sequences as the reference has them: int64 tokens. */
typedef struct list {
    int64_t count;
    int64_t *tokens, *starts;
} list;

typedef struct made_tree {
    kx_prefix_tree_t tree;
    kx_prefix_tree_sizes_t sizes;
    void *tokens;
    uint32_t *children, *ranks, *places;
    uint64_t *ends;
} made_tree;

static int compare(const int64_t *a, int64_t n, const int64_t *b, int64_t m) {
    for (int64_t i = 0; i < n && i < m; i++)
        if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
    return (n > m) - (n < m);
}

static const list *sorted_list;
static int compare_sequences(const void *left, const void *right) {
    const uint32_t i = *(const uint32_t *)left, j = *(const uint32_t *)right;
    const int64_t *starts = sorted_list->starts;
    const int order = compare(sorted_list->tokens + starts[i], starts[i + 1] - starts[i], sorted_list->tokens + starts[j], starts[j + 1] - starts[j]);
    return order ? order : (i > j) - (i < j);
}

/* Whether a sequence of an order equals the one before it. */
static int is_as_before(const list *l, const uint32_t *order, int64_t i) {
    if (i == 0) return 0;
    const int64_t *here = l->starts + order[i], *before = l->starts + order[i - 1];
    return compare(l->tokens + here[0], here[1] - here[0], l->tokens + before[0], before[1] - before[0]) == 0;
}

/* A block of its own for each array, as long as it must be: a sanitizer sees what lies outside. */
static void *exactly(int64_t count, size_t size) { return malloc((size_t)count * size + (count == 0)); }

static list random_list(int64_t count, int64_t longest, uint64_t kinds, int64_t step, int64_t stem) {
    list l = {count, exactly(count * (longest + stem), 8), exactly(count + 1, 8)};
    l.starts[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t from = l.starts[i], length = (int64_t)(check_random() % (uint64_t)(longest + 1));
        const int has_stem = check_random() % 2;
        int64_t at = from;
        for (int64_t k = 0; k < stem && has_stem; k++) l.tokens[at++] = k % 3 * step;
        for (int64_t k = 0; k < length; k++) l.tokens[at++] = (int64_t)(check_random() % kinds) * step;
        l.starts[i + 1] = at;
    }
    return l;
}

static void free_list(list *l) { free(l->tokens), free(l->starts); }

static void *as_narrow(const list *l) {
    const int64_t total = l->starts[l->count];
    int32_t *tokens = exactly(total, 4);
    for (int64_t i = 0; i < total; i++) tokens[i] = (int32_t)l->tokens[i];
    return tokens;
}

static kx_status_t make(const kx_ctx_t *ctx, const void *tokens, int token_bytes, const list *l, int tree_bytes, made_tree *t, uint32_t *order,
                        int64_t *shared) {
    kx_status_t status = kx_prefix_tree_sort(ctx, tokens, token_bytes, l->starts, l->count, order, shared, &t->sizes);
    if (status != KX_OK) return status;
    const int64_t words = (t->sizes.nodes + 63) / 64;
    t->tokens = exactly(t->sizes.nodes, (size_t)tree_bytes), t->children = exactly(t->sizes.nodes + 1, 4);
    t->ends = exactly(words, 8), t->ranks = exactly(words, 4), t->places = exactly(t->sizes.sequences, 4);
    t->tree = (kx_prefix_tree_t){t->tokens, tree_bytes, t->sizes.nodes, t->children, t->ends, t->ranks};
    return kx_prefix_tree_fill(ctx, tokens, token_bytes, l->starts, l->count, order, shared, &t->sizes, t->tokens, tree_bytes, t->children,
                               t->ends, t->ranks, t->places);
}

static void free_tree(made_tree *t) {
    free(t->tokens), free(t->children), free(t->ends), free(t->ranks), free(t->places);
    *t = (made_tree){0};
}

static int64_t tree_token(const made_tree *t, int64_t node) {
    return t->tree.token_bytes == 8 ? ((int64_t *)t->tokens)[node] : ((int32_t *)t->tokens)[node];
}

static void check_mask(const made_tree *t, int64_t node, int64_t end_token) {
    enum { VOCABULARY = 23 };
    float narrow[VOCABULARY];
    double wide[VOCABULARY];
    int64_t want = 0;
    for (int i = 0; i < VOCABULARY; i++) narrow[i] = (float)i, wide[i] = i;
    const int64_t kept = kx_prefix_tree_mask_f32(&t->tree, node, end_token, narrow, VOCABULARY);
    const int64_t kept_wide = kx_prefix_tree_mask_f64(&t->tree, node, end_token, wide, VOCABULARY);
    for (int i = 0; i < VOCABULARY; i++) {
        int stays = i == end_token && kx_prefix_tree_is_end(&t->tree, node);
        for (int64_t c = t->children[node]; c < t->children[node + 1]; c++) stays |= tree_token(t, c) == i;
        want += stays;
        CHECK(narrow[i] == (stays ? (float)i : -INFINITY) && wide[i] == (stays ? (double)i : -(double)INFINITY), "node %ld, token %d: %g", (long)node, i,
              wide[i]);
    }
    CHECK(kept == want && kept_wide == want, "%ld and %ld stay instead of %ld", (long)kept, (long)kept_wide, (long)want);
}

static void check_list(const list *l, const void *tokens, int token_bytes, int tree_bytes) {
    const int64_t count = l->count;
    uint32_t *order = exactly(count, 4), *want = exactly(count, 4);
    int64_t *shared = exactly(count, 8), *walked = exactly(count, 8);
    made_tree t = {0};
    const kx_status_t status = make(NULL, tokens, token_bytes, l, tree_bytes, &t, order, shared);
    CHECK(status == KX_OK, "status %d", status);
    CHECK(kx_prefix_tree_check(NULL, &t.tree) == KX_OK, "%ld sequences make a tree that is none", (long)count);
    for (int64_t i = 0; i < count; i++) want[i] = (uint32_t)i;
    sorted_list = l;
    qsort(want, (size_t)count, sizeof *want, compare_sequences);
    int64_t nodes = 1, sequences = 0, deepest = 0, largest = -1;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *one = l->tokens + l->starts[want[i]], length = l->starts[want[i] + 1] - l->starts[want[i]];
        int64_t common = 0;
        if (i) {
            const int64_t *before = l->tokens + l->starts[want[i - 1]], others = l->starts[want[i - 1] + 1] - l->starts[want[i - 1]];
            while (common < length && common < others && one[common] == before[common]) common++;
        }
        CHECK(order[i] == want[i] && shared[i] == common, "place %ld: sequence %ld, %ld shared instead of %ld, %ld", (long)i, (long)order[i],
              (long)shared[i], (long)want[i], (long)common);
        nodes += length - common, sequences += !is_as_before(l, want, i);
        if (length > deepest) deepest = length;
        for (int64_t k = 0; k < length; k++)
            if (one[k] > largest) largest = one[k];
    }
    CHECK(t.sizes.nodes == nodes && t.sizes.sequences == sequences && t.sizes.deepest == deepest && t.sizes.largest == largest,
          "%ld nodes, %ld sequences, %ld deep, %ld largest", (long)t.sizes.nodes, (long)t.sizes.sequences, (long)t.sizes.deepest,
          (long)t.sizes.largest);
    /* in order, equal sequences have the same node, which is the last one's, and others have others */
    int64_t ends = 0;
    for (int64_t i = 0; i < count; i++) {
        const int64_t *one = l->tokens + l->starts[want[i]], length = l->starts[want[i] + 1] - l->starts[want[i]];
        const int64_t node = walked[i] = kx_prefix_tree_walk(&t.tree, 0, one, length);
        CHECK(node != KX_PREFIX_TREE_NONE && (length == 0 || tree_token(&t, node) == one[length - 1]), "sequence %ld is lost", (long)want[i]);
        if (node == KX_PREFIX_TREE_NONE) continue;
        const int64_t half = kx_prefix_tree_walk(&t.tree, 0, one, length / 2);
        CHECK(kx_prefix_tree_walk(&t.tree, half, one + length / 2, length - length / 2) == node, "in two steps");
        CHECK(kx_prefix_tree_is_end(&t.tree, node), "sequence %ld does not end", (long)want[i]);
        CHECK((i > 0 && walked[i - 1] == node) == is_as_before(l, want, i), "node %ld", (long)node);
        if (i + 1 == count || !is_as_before(l, want, i + 1)) {
            const int64_t rank = kx_prefix_tree_rank(&t.tree, node);
            CHECK(rank >= 0 && rank < sequences && t.places[rank] == want[i], "sequence %ld has rank %ld", (long)want[i], (long)rank);
        }
        CHECK(kx_prefix_tree_child(&t.tree, node, -1) == KX_PREFIX_TREE_NONE, "a child by -1");
        CHECK(kx_prefix_tree_child(&t.tree, node, largest + 1) == KX_PREFIX_TREE_NONE, "a child by more than all");
        CHECK(kx_prefix_tree_walk(&t.tree, node, (int64_t[]){INT64_MAX, 0}, 2) == KX_PREFIX_TREE_NONE, "a walk to nowhere");
    }
    for (int64_t node = 0; node < t.sizes.nodes; node++) {
        ends += kx_prefix_tree_is_end(&t.tree, node);
        CHECK(kx_prefix_tree_is_end(&t.tree, node) || kx_prefix_tree_rank(&t.tree, node) == KX_PREFIX_TREE_NONE, "rank of no end");
        if (node < 300)
            for (int64_t end = -1; end < 23; end += 4) check_mask(&t, node, end);
    }
    CHECK(ends == sequences, "%ld ends of %ld sequences", (long)ends, (long)sequences);
    free_tree(&t), free(order), free(want), free(shared), free(walked);
}

static void check_random_lists(int rounds, int64_t most, int64_t longest) {
    /* tokens of 1, 5, 16, 31, 33 and 63 bits: from 64 tokens of a word down to 1 */
    static const uint64_t kinds[] = {1, 2, 20, 40000, 2147483647, 4, 3};
    static const int64_t steps[] = {1, 1, 1, 1, 1, 2147483648, 4611686018427387903};
    for (int r = 0; r < rounds; r++) {
        const uint64_t which = check_random() % 7;
        list l = random_list((int64_t)(check_random() % (uint64_t)(most + 1)), longest, kinds[which], steps[which], (int64_t)(check_random() % 3) * 40);
        check_list(&l, l.tokens, 8, 8);
        if (steps[which] == 1) {
            void *narrow = as_narrow(&l);
            check_list(&l, narrow, 4, 4), check_list(&l, narrow, 4, 8), check_list(&l, l.tokens, 8, 4);
            free(narrow);
        }
        free_list(&l);
    }
}

/* Sequences that do not begin where the tokens do. */
static void check_offset(void) {
    int64_t tokens[] = {-7, -7, 3, 1, 4, 3, 1, -9}, starts[] = {2, 5, 7, 7};
    uint32_t order[3];
    int64_t shared[3];
    list l = {3, tokens, starts};
    made_tree t = {0};
    CHECK(make(NULL, tokens, 8, &l, 8, &t, order, shared) == KX_OK && t.sizes.nodes == 4 && t.sizes.sequences == 3, "%ld nodes", (long)t.sizes.nodes);
    CHECK(order[0] == 2 && order[1] == 1 && order[2] == 0 && shared[2] == 2, "order %u %u %u", order[0], order[1], order[2]);
    free_tree(&t);
}

typedef struct counter {
    int calls, fail_at;
    long live;
} counter;

static void *take_memory(void *state, size_t bytes) {
    counter *c = state;
    if (c->calls++ == c->fail_at) return NULL;
    c->live++;
    return aligned_alloc(64, (bytes + 63) / 64 * 64);
}
static void give_memory(void *state, void *block) {
    if (block) ((counter *)state)->live--;
    free(block);
}

static int stop_after(void *state) { return --*(int *)state < 0; }

static void check_failures(void) {
    int64_t tokens[] = {1, 2, 3, -1, 5}, starts[] = {0, 2, 3};
    int32_t narrow[] = {1, -2, 3};
    uint32_t order[2], children[8], ranks[1], places[2];
    int64_t shared[2], tree_tokens[8];
    uint64_t ends[1];
    kx_prefix_tree_sizes_t sizes;
#define SORT(tokens, bytes, starts, count) kx_prefix_tree_sort(NULL, tokens, bytes, starts, count, order, shared, &sizes)
    CHECK(SORT(tokens, 8, starts, 2) == KX_OK && sizes.nodes == 4, "%ld nodes", (long)sizes.nodes);
    const kx_prefix_tree_sizes_t good = sizes;
    CHECK(SORT(tokens, 8, ((int64_t[]){0, 2, 4}), 2) == KX_E_ARGUMENT, "a negative token");
    CHECK(SORT(narrow, 4, ((int64_t[]){0, 2, 3}), 2) == KX_E_ARGUMENT, "a negative token of 32 bits");
    CHECK(SORT(tokens, 8, ((int64_t[]){0, 2, 1}), 2) == KX_E_ARGUMENT, "starts descend");
    CHECK(SORT(tokens, 8, ((int64_t[]){-1, 2, 3}), 2) == KX_E_ARGUMENT, "a negative start");
    CHECK(SORT(tokens, 8, ((int64_t[]){INT64_MIN, INT64_MAX, INT64_MAX}), 2) == KX_E_ARGUMENT, "a length that wraps around");
    CHECK(SORT(tokens, 2, starts, 2) == KX_E_ARGUMENT, "tokens of 16 bits");
    CHECK(SORT(tokens, 8, starts, -1) == KX_E_ARGUMENT, "a negative count");
    CHECK(SORT(tokens, 8, NULL, 2) == KX_E_ARGUMENT, "no starts");
    CHECK(SORT(tokens, 8, starts, (int64_t)UINT32_MAX) == KX_E_OVERFLOW, "too many sequences");
    CHECK(SORT(NULL, 8, NULL, 0) == KX_OK && sizes.nodes == 1 && sizes.sequences == 0 && sizes.largest == -1, "no sequences");

    sizes = good;
    CHECK(SORT(tokens, 8, starts, 2) == KX_OK, "again");
#define FILL(bytes, count, sizes, tree_bytes) \
    kx_prefix_tree_fill(NULL, tokens, bytes, starts, count, order, shared, sizes, tree_tokens, tree_bytes, children, ends, ranks, places)
    kx_prefix_tree_sizes_t bad = good;
    CHECK(FILL(8, 2, &good, 4) == KX_OK, "as it should be");
    CHECK(FILL(8, -1, &good, 4) == KX_E_ARGUMENT && FILL(2, 2, &good, 4) == KX_E_ARGUMENT && FILL(8, 2, &good, 2) == KX_E_ARGUMENT, "sizes");
    CHECK(FILL(8, 2, NULL, 4) == KX_E_ARGUMENT, "no sizes");
    bad.largest = (int64_t)INT32_MAX + 1;
    CHECK(FILL(8, 2, &bad, 4) == KX_E_ARGUMENT, "a token that does not fit");
    bad = good, bad.nodes = 0;
    CHECK(FILL(8, 2, &bad, 4) == KX_E_ARGUMENT, "no nodes");
    bad = good, bad.deepest = 4;
    CHECK(FILL(8, 2, &bad, 4) == KX_E_ARGUMENT, "deeper than there are nodes");
    bad = good, bad.nodes = UINT32_MAX;
    CHECK(FILL(8, 2, &bad, 4) == KX_E_OVERFLOW, "too many nodes");

    /* every allocation, and a stop at every question: a list that is sorted by digits */
    list l = random_list(20000, 20, 3, 1, 0);
    uint32_t *orders = exactly(l.count, 4);
    int64_t *all_shared = exactly(l.count, 8);
    made_tree t = {0};
    counter c = {0, -1, 0};
    kx_ctx_t ctx;
    kx_ctx_init(&ctx);
    ctx.allocator = (kx_allocator_t){take_memory, give_memory, &c};
    CHECK(make(&ctx, l.tokens, 8, &l, 8, &t, orders, all_shared) == KX_OK && c.calls == 2 && c.live == 0, "%d blocks", c.calls);
    free_tree(&t);
    for (int i = 0; i < 2; i++) {
        c = (counter){0, i, 0};
        CHECK(make(&ctx, l.tokens, 8, &l, 8, &t, orders, all_shared) == KX_E_MEMORY && c.live == 0, "block %d", i);
        free_tree(&t);
    }
    free_list(&l), free(orders), free(all_shared);

    /* long enough to be asked at least once, wherever it is */
    l = random_list(1500000, 16, 3, 1, 0);
    orders = exactly(l.count, 4), all_shared = exactly(l.count, 8);
    int left = 0, is_done = 0;
    for (int stop = 0; stop < 3 && !is_done; stop++) {
        kx_ctx_init(&ctx);
        left = stop, ctx.cancel = stop_after, ctx.cancel_state = &left;
        const kx_status_t status = make(&ctx, l.tokens, 8, &l, 8, &t, orders, all_shared);
        is_done = status == KX_OK; /* a fast machine is asked but once or twice */
        CHECK((stop > 0 && is_done) || status == KX_E_CANCELLED, "status %d at question %d", status, stop);
        free_tree(&t);
    }
    free_list(&l), free(orders), free(all_shared);
}

static void check_damage(void) {
    list l = random_list(60, 6, 4, 1, 0);
    uint32_t order[60];
    int64_t shared[60];
    for (int bytes = 4; bytes <= 8; bytes += 4) {
        made_tree t = {0};
        CHECK(make(NULL, l.tokens, 8, &l, bytes, &t, order, shared) == KX_OK, "a good tree");
        const int64_t nodes = t.sizes.nodes;
        CHECK(kx_prefix_tree_check(NULL, &t.tree) == KX_OK, "a good tree");
        kx_prefix_tree_t bad = t.tree;
        bad.nodes = 0;
        CHECK(kx_prefix_tree_check(NULL, &bad) == KX_E_ARGUMENT, "no nodes");
        bad.nodes = UINT32_MAX;
        CHECK(kx_prefix_tree_check(NULL, &bad) == KX_E_ARGUMENT, "too many nodes");
        bad = t.tree, bad.token_bytes = 3;
        CHECK(kx_prefix_tree_check(NULL, &bad) == KX_E_ARGUMENT, "tokens of 24 bits");
        for (int64_t i = 0; i <= nodes; i++) { /* any other number of children shows: each node has one parent, each leaf is an end */
            const uint32_t was = t.children[i], others[] = {0, was + 1, was - 1, (uint32_t)i, UINT32_MAX, (uint32_t)nodes + 1};
            for (int k = 0; k < 6; k++) {
                if (others[k] == was) continue;
                t.children[i] = others[k];
                const kx_status_t status = kx_prefix_tree_check(NULL, &t.tree);
                /* siblings that go to a neighbour in order are another tree */
                CHECK(status == KX_E_ARGUMENT || k == 1 || k == 2 || k == 3, "children[%ld] = %u", (long)i, others[k]);
                t.children[i] = was;
            }
        }
        for (int64_t i = 0; i < nodes; i++) {
            const int64_t was = tree_token(&t, i);
            const int is_later = i && kx_prefix_tree_check(NULL, &t.tree) == KX_OK;
            if (bytes == 8) ((int64_t *)t.tokens)[i] = -2;
            else ((int32_t *)t.tokens)[i] = -2;
            CHECK(kx_prefix_tree_check(NULL, &t.tree) == KX_E_ARGUMENT && (i == 0 || is_later), "tokens[%ld] = -2", (long)i);
            int64_t before = -1;
            for (int64_t parent = 0; parent < nodes; parent++)
                if (i > t.children[parent] && i < t.children[parent + 1]) before = tree_token(&t, i - 1);
            if (bytes == 8) ((int64_t *)t.tokens)[i] = before;
            else ((int32_t *)t.tokens)[i] = (int32_t)before;
            CHECK(i == 0 || kx_prefix_tree_check(NULL, &t.tree) == KX_E_ARGUMENT, "tokens[%ld] is its sibling's", (long)i);
            if (bytes == 8) ((int64_t *)t.tokens)[i] = was;
            else ((int32_t *)t.tokens)[i] = (int32_t)was;
        }
        const int64_t words = (nodes + 63) / 64;
        for (int64_t i = 0; i < words * 64; i++) { /* the last word has no rank behind it: that of an inner node is a list of its own */
            t.ends[i / 64] ^= (uint64_t)1 << i % 64;
            const int is_leaf = i < nodes && i && t.children[i] == t.children[i + 1];
            CHECK((i / 64 == words - 1 && i < nodes && !is_leaf) || kx_prefix_tree_check(NULL, &t.tree) == KX_E_ARGUMENT, "bit %ld", (long)i);
            t.ends[i / 64] ^= (uint64_t)1 << i % 64;
        }
        for (int64_t i = 0; i < words; i++) {
            t.ranks[i]++;
            CHECK(kx_prefix_tree_check(NULL, &t.tree) == KX_E_ARGUMENT, "ranks[%ld]", (long)i);
            t.ranks[i]--;
        }
        free_tree(&t);
    }
    free_list(&l);
}

int main(int argc, char **argv) {
    const int is_long = check_is_long(argc, argv);
    check_random_lists(is_long ? 20000 : 700, 12, 5);
    check_random_lists(is_long ? 2000 : 60, 150, 70);
    check_random_lists(is_long ? 40 : 3, 5000, 12);
    check_offset();
    check_failures();
    check_damage();
    return check_report();
}
