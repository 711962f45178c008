/* Prefix trees: sequences are sorted by packed words of their tokens, the nodes of all levels are then written in one pass. */
#include "kexue/kx_prefix_tree.h"

#include "isa/kernel.h"

#ifdef KX_DISPATCH_PASS /* scattered reads and writes: nothing that wider vectors would do better */
#include <math.h>
#include <string.h>

#include "runtime/memory.h"

enum {
    DIGIT = 11, /* bits of a pass of the radix sort */
    SHORT = 64, /* sequences that insertion sorts */
    AHEAD = 12, /* sequences fetched before they are read: 1e6 of 20 tokens, fill 118 ms without, 83 with */
    POLL = 1 << 14
};

typedef struct kx_tree_item {
    uint64_t key;
    uint32_t place;
} kx_tree_item_t;

typedef struct kx_tree_job {
    const void *tokens;
    int token_bytes;
    const int64_t *starts;
    int64_t count;
    uint32_t *order;
    int64_t *shared;
    int bits, per_word; /* of a token and one more value, the end; tokens of a word */
    kx_tree_item_t *items, *spare;
    uint32_t *bounds, *next_bounds; /* of groups that are equal so far: pairs of first and end */
    kx_prefix_tree_sizes_t sizes;
    void *tree_tokens;
    int tree_token_bytes;
    uint32_t *children, *ranks, *places;
    uint64_t *ends;
    uint32_t *cursors, *end_nodes; /* the next node of each level; where each sequence ends, in their order */
} kx_tree_job_t;

static inline int64_t token_at(const void *tokens, int bytes, int64_t i) {
    if (bytes == 8) return ((const int64_t *)tokens)[i];
    return ((const int32_t *)tokens)[i];
}

/* Tokens depth .. of a sequence, each plus 1, the first in the highest bits; zeros past its end. */
static inline uint64_t word_of(const kx_tree_job_t *job, uint32_t sequence, int64_t depth) {
    const int64_t first = job->starts[sequence] + depth, end = job->starts[sequence + 1];
    const int64_t stop = end - first < job->per_word ? end : first + job->per_word;
    uint64_t word = 0;
    int64_t i = first;
    for (; i < stop; i++) {
        const uint64_t digit = (uint64_t)(token_at(job->tokens, job->token_bytes, i) + 1);
        word = job->bits == 64 ? 0 : word << job->bits | digit;
    }
    if (job->bits == 64) return first < end ? (uint64_t)token_at(job->tokens, job->token_bytes, first) + 1 : 0;
    for (i = i < first ? first : i; i < first + job->per_word; i++) word <<= job->bits;
    return word;
}

/* The stable order of keys. Returns 0 when the task is to stop. */
static int sort_items(kx_task_t *task, kx_tree_item_t *items, kx_tree_item_t *spare, int64_t n, int key_bits) {
    if (n <= SHORT) {
        for (int64_t i = 1; i < n; i++) {
            const kx_tree_item_t item = items[i];
            int64_t j = i;
            for (; j > 0 && items[j - 1].key > item.key; j--) items[j] = items[j - 1];
            items[j] = item;
        }
        return 1;
    }
    enum { SIZE = 1 << DIGIT, DIGITS = (64 + DIGIT - 1) / DIGIT };
    if (n < SIZE) { /* merges: counts would cost more than the numbers */
        for (int64_t width = 1; width < n; width *= 2) {
            for (int64_t low = 0; low < n; low += 2 * width) {
                const int64_t middle = low + width < n ? low + width : n, end = low + 2 * width < n ? low + 2 * width : n;
                int64_t left = low, right = middle;
                for (int64_t to = low; to < end; to++) {
                    const int is_left = right >= end || (left < middle && items[left].key <= items[right].key);
                    spare[to] = is_left ? items[left++] : items[right++];
                }
            }
            memcpy(items, spare, (size_t)n * sizeof *items);
        }
        return !kx_task_should_stop(task);
    }
    const int digits = (key_bits + DIGIT - 1) / DIGIT;
    uint32_t counts[DIGITS][SIZE];
    memset(counts, 0, sizeof counts);
    for (int64_t i = 0; i < n; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return 0;
        for (int d = 0; d < digits; d++) counts[d][items[i].key >> d * DIGIT & (SIZE - 1)]++;
    }
    kx_tree_item_t *from = items, *to = spare;
    for (int d = 0; d < digits; d++) {
        uint32_t *starts = counts[d], start = 0;
        if (starts[from[0].key >> d * DIGIT & (SIZE - 1)] == (uint32_t)n) continue;
        for (int i = 0; i < SIZE; i++) {
            const uint32_t size = starts[i];
            starts[i] = start, start += size;
        }
        for (int64_t i = 0; i < n; i++) {
            if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return 0;
            to[starts[from[i].key >> d * DIGIT & (SIZE - 1)]++] = from[i];
        }
        kx_tree_item_t *other = from;
        from = to, to = other;
    }
    if (from != items) memcpy(items, from, (size_t)n * sizeof *items);
    return !kx_task_should_stop(task);
}

/* How many tokens two words have in common, from the first. */
static inline int common_tokens(const kx_tree_job_t *job, uint64_t a, uint64_t b) {
    int same = 0;
    for (int shift = (job->per_word - 1) * job->bits; shift >= 0 && (a ^ b) >> shift == 0; shift -= job->bits) same++;
    return same;
}

/* Sorts a group by its words at a depth, and finds the groups whose words are equal and go on. */
static int64_t refine(kx_task_t *task, kx_tree_job_t *job, int64_t first, int64_t end, int64_t depth, int64_t groups) {
    const int64_t n = end - first;
    uint32_t *order = job->order + first;
    kx_tree_item_t *items = job->items;
    for (int64_t i = 0; i < n; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return -1;
        items[i] = (kx_tree_item_t){word_of(job, order[i], depth), order[i]};
    }
    if (!sort_items(task, items, job->spare, n, job->per_word * job->bits)) return -1;
    for (int64_t i = 0; i < n; i++) order[i] = items[i].place;
    int64_t begin = 0;
    for (int64_t i = 1; i <= n; i++) {
        if (i < n && items[i].key == items[begin].key) continue;
        if (i < n) job->shared[first + i] = depth + common_tokens(job, items[i].key, items[begin].key);
        if (i - begin > 1) {
            const uint64_t last = job->bits == 64 ? items[begin].key : items[begin].key & (((uint64_t)1 << job->bits) - 1);
            if (last != 0) {
                job->next_bounds[2 * groups] = (uint32_t)(first + begin),
                    job->next_bounds[2 * groups + 1] = (uint32_t)(first + i);
                groups++;
            } else { /* equal to their ends */
                const uint32_t sequence = items[begin].place;
                const int64_t length = job->starts[sequence + 1] - job->starts[sequence];
                job->sizes.sequences -= i - begin - 1;
                for (int64_t k = begin + 1; k < i; k++) job->shared[first + k] = length;
            }
        }
        begin = i;
    }
    return groups;
}

static kx_status_t sort_sequences(kx_task_t *task, void *arg, int64_t unused_begin, int64_t unused_end) {
    kx_tree_job_t *job = (kx_tree_job_t *)arg;
    (void)unused_begin, (void)unused_end;
    const int64_t count = job->count, begin = count ? job->starts[0] : 0, end = count ? job->starts[count] : 0;
    kx_prefix_tree_sizes_t *sizes = &job->sizes;
    *sizes = (kx_prefix_tree_sizes_t){.sequences = count, .largest = -1};
    if (begin < 0) return KX_E_ARGUMENT;
    for (int64_t i = 0; i < count; i++) {
        if (job->starts[i + 1] < job->starts[i]) return KX_E_ARGUMENT;
        const int64_t length = job->starts[i + 1] - job->starts[i];
        if (length > sizes->deepest) sizes->deepest = length;
        job->order[i] = (uint32_t)i, job->shared[i] = 0;
    }
    for (int64_t i = begin; i < end; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t token = token_at(job->tokens, job->token_bytes, i);
        if (token < 0) return KX_E_ARGUMENT;
        if (token > sizes->largest) sizes->largest = token;
    }
    job->bits = 1;
    while (job->bits < 64 && ((uint64_t)sizes->largest + 1) >> job->bits) job->bits++;
    job->per_word = 64 / job->bits;
    int64_t groups = count > 1;
    job->bounds[0] = 0, job->bounds[1] = (uint32_t)count;
    for (int64_t depth = 0; groups; depth += job->per_word) {
        int64_t next = 0;
        for (int64_t g = 0; g < groups; g++) {
            if (g % SHORT == 0 && kx_task_should_stop(task)) return KX_E_CANCELLED; /* a longer group asks by itself */
            next = refine(task, job, job->bounds[2 * g], job->bounds[2 * g + 1], depth, next);
            if (next < 0) return KX_E_CANCELLED;
        }
        uint32_t *bounds = job->bounds;
        job->bounds = job->next_bounds, job->next_bounds = bounds;
        groups = next;
    }
    sizes->nodes = 1 + end - begin;
    for (int64_t i = 0; i < count; i++) sizes->nodes -= job->shared[i];
    return sizes->nodes < (int64_t)UINT32_MAX ? KX_OK : KX_E_OVERFLOW;
}

kx_status_t kx_prefix_tree_sort(const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count,
                                uint32_t *order, int64_t *shared, kx_prefix_tree_sizes_t *sizes) {
    if (count < 0 || (token_bytes != 4 && token_bytes != 8) || (count > 0 && !starts)) return KX_E_ARGUMENT;
    if (count >= (int64_t)UINT32_MAX) return KX_E_OVERFLOW;
    kx_layout_t layout = {0, 0};
    const size_t items = kx_layout_add(&layout, count, sizeof(kx_tree_item_t));
    const size_t spare = kx_layout_add(&layout, count, sizeof(kx_tree_item_t));
    const size_t bounds = kx_layout_add(&layout, count + 2, sizeof(uint32_t));
    const size_t next = kx_layout_add(&layout, count + 2, sizeof(uint32_t));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    kx_tree_job_t job = {.tokens = tokens, .token_bytes = token_bytes, .starts = starts, .count = count, .order = order,
                         .shared = shared,
                         .items = (kx_tree_item_t *)(void *)(memory + items), .spare = (kx_tree_item_t *)(void *)(memory + spare),
                         .bounds = (uint32_t *)(void *)(memory + bounds), .next_bounds = (uint32_t *)(void *)(memory + next)};
    const kx_status_t status = kx_parallel_for(ctx, 1, 1, sort_sequences, &job);
    kx_release(ctx, memory);
    *sizes = job.sizes;
    return status;
}

#if defined(__GNUC__)
static inline int ones_of(uint64_t word) { return __builtin_popcountll(word); }
#else
static inline int ones_of(uint64_t word) {
    word -= word >> 1 & UINT64_C(0x5555555555555555);
    word = (word & UINT64_C(0x3333333333333333)) + (word >> 2 & UINT64_C(0x3333333333333333));
    return (int)(((word + (word >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f)) * UINT64_C(0x0101010101010101) >> 56);
}
#endif

static inline int64_t rank_of(const uint64_t *ends, const uint32_t *ranks, int64_t node) {
    return (int64_t)ranks[node / 64] + ones_of(ends[node / 64] & (((uint64_t)1 << node % 64) - 1));
}

/* A node's first child is the next node of the level below: what belongs to nodes before has been written. Returns 0 when the
   task is to stop. */
static KX_ALWAYS_INLINE int write_nodes(kx_task_t *task, const kx_tree_job_t *job, int token_bytes, int tree_token_bytes) {
    uint32_t *cursors = job->cursors, *children = job->children;
    const uint32_t *order = job->order;
    const int64_t *starts = job->starts, *shared = job->shared, count = job->count;
    const void *tokens = job->tokens;
    void *tree_tokens = job->tree_tokens;
    int64_t written = 0;
    for (int64_t i = 0; i < count; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return 0;
#if defined(__GNUC__)
        if (i + AHEAD < count) {
            const char *next = (const char *)tokens + starts[order[i + AHEAD]] * token_bytes;
            __builtin_prefetch(next), __builtin_prefetch(next + 64);
        }
#endif
        const int64_t sequence = order[i], from = starts[sequence], length = starts[sequence + 1] - from;
        for (int64_t level = shared[i]; level < length; level++) {
            if (++written % POLL == 0 && kx_task_should_stop(task)) return 0;
            const uint32_t node = cursors[level + 1]++;
            const int64_t token = token_at(tokens, token_bytes, from + level);
            if (tree_token_bytes == 8) ((int64_t *)tree_tokens)[node] = token;
            else ((int32_t *)tree_tokens)[node] = (int32_t)token;
            children[node] = cursors[level + 2];
        }
        const uint32_t node = length ? cursors[length] - 1 : 0;
        job->end_nodes[i] = node;
        job->ends[node / 64] |= (uint64_t)1 << node % 64;
    }
    return 1;
}

/* Nodes and ranks are below 2^32, as sort_sequences saw to: no sum wraps around. */
static kx_status_t fill(kx_task_t *task, void *arg, int64_t unused_begin, int64_t unused_end) {
    const kx_tree_job_t *job = (const kx_tree_job_t *)arg;
    (void)unused_begin, (void)unused_end;
    uint32_t *cursors = job->cursors;
    const int64_t words = (job->sizes.nodes + 63) / 64, deepest = job->sizes.deepest;
    memset(cursors, 0, (size_t)(deepest + 2) * sizeof *cursors);
    for (int64_t i = 0; i < job->count; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        const int64_t sequence = job->order[i], length = job->starts[sequence + 1] - job->starts[sequence];
        if (job->shared[i] < length) cursors[job->shared[i] + 1]++, cursors[length + 1]--;
    }
    /* how many nodes begin at each level, less those that end above it: sums give the sizes of levels, sums of these where they
       begin */
    uint32_t size = 0, begin = 1;
    for (int64_t level = 1; level <= deepest + 1; level++) {
        size += cursors[level];
        cursors[level] = begin, begin += level <= deepest ? size : 0;
    }
    memset(job->ends, 0, (size_t)words * sizeof *job->ends);
    if (job->tree_token_bytes == 8) ((int64_t *)job->tree_tokens)[0] = -1;
    else ((int32_t *)job->tree_tokens)[0] = -1;
    cursors[0] = 0;
    job->children[0] = 1;
    const int is_wide = job->token_bytes == 8, is_tree_wide = job->tree_token_bytes == 8;
    const int is_done = is_wide ? (is_tree_wide ? write_nodes(task, job, 8, 8) : write_nodes(task, job, 8, 4))
                                : (is_tree_wide ? write_nodes(task, job, 4, 8) : write_nodes(task, job, 4, 4));
    if (!is_done) return KX_E_CANCELLED;
    job->children[job->sizes.nodes] = (uint32_t)job->sizes.nodes;
    uint32_t rank = 0;
    for (int64_t w = 0; w < words; w++) job->ranks[w] = rank, rank += (uint32_t)ones_of(job->ends[w]);
    /* of equal sequences the last remains: they are in the order given */
    for (int64_t i = 0; i < job->count; i++) {
        if (i % POLL == POLL - 1 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        job->places[rank_of(job->ends, job->ranks, job->end_nodes[i])] = job->order[i];
    }
    return KX_OK;
}

kx_status_t kx_prefix_tree_fill(const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count,
                                const uint32_t *order, const int64_t *shared, const kx_prefix_tree_sizes_t *sizes,
                                void *tree_tokens, int tree_token_bytes, uint32_t *children, uint64_t *ends, uint32_t *ranks,
                                uint32_t *places) {
    if (count < 0 || !sizes || sizes->nodes < 1 || sizes->deepest < 0) return KX_E_ARGUMENT;
    if (token_bytes != 4 && token_bytes != 8) return KX_E_ARGUMENT;
    if (tree_token_bytes != 8 && (tree_token_bytes != 4 || sizes->largest > INT32_MAX)) return KX_E_ARGUMENT;
    if (sizes->nodes >= (int64_t)UINT32_MAX || count >= (int64_t)UINT32_MAX) return KX_E_OVERFLOW;
    kx_layout_t layout = {0, 0};
    if (sizes->deepest >= sizes->nodes) return KX_E_ARGUMENT;
    const size_t cursors = kx_layout_add(&layout, sizes->deepest + 3, sizeof(uint32_t));
    const size_t end_nodes = kx_layout_add(&layout, count, sizeof(uint32_t));
    if (layout.overflow) return KX_E_OVERFLOW;
    char *memory = (char *)kx_allocate(ctx, layout.bytes);
    if (!memory) return KX_E_MEMORY;
    kx_tree_job_t job = {.tokens = tokens, .token_bytes = token_bytes, .starts = starts, .count = count,
                         .order = (uint32_t *)order, .shared = (int64_t *)shared, .sizes = *sizes,
                         .tree_tokens = tree_tokens, .tree_token_bytes = tree_token_bytes, .children = children,
                         .ranks = ranks, .places = places, .ends = ends, .cursors = (uint32_t *)(void *)(memory + cursors),
                         .end_nodes = (uint32_t *)(void *)(memory + end_nodes)};
    const kx_status_t status = kx_parallel_for(ctx, 1, 1, fill, &job);
    kx_release(ctx, memory);
    return status;
}

static kx_status_t check(kx_task_t *task, void *arg, int64_t unused_begin, int64_t unused_end) {
    const kx_prefix_tree_t *tree = (const kx_prefix_tree_t *)arg;
    (void)unused_begin, (void)unused_end;
    const int64_t nodes = tree->nodes;
    if (tree->children[0] != 1 || tree->children[nodes] != nodes) return KX_E_ARGUMENT;
    if (token_at(tree->tokens, tree->token_bytes, 0) != -1) return KX_E_ARGUMENT;
    uint32_t rank = 0, child = 1;
    for (int64_t node = 0; node < nodes; node++) {
        if (node % POLL == POLL - 1 && kx_task_should_stop(task)) return KX_E_CANCELLED;
        if (node % 64 == 0) {
            if (tree->ranks[node / 64] != rank) return KX_E_ARGUMENT;
            rank += (uint32_t)ones_of(tree->ends[node / 64]);
        }
        const uint32_t end = tree->children[node + 1];
        /* children come after their parent, so that every walk goes down, and a leaf is the end of a sequence */
        if (child <= node || end < child || end > nodes) return KX_E_ARGUMENT;
        if (end == child && node && !kx_prefix_tree_is_end(tree, node)) return KX_E_ARGUMENT;
        for (int64_t before = -1; child < end; child++) {
            const int64_t token = token_at(tree->tokens, tree->token_bytes, child);
            if (token <= before) return KX_E_ARGUMENT;
            before = token;
        }
    }
    return nodes % 64 == 0 || tree->ends[nodes / 64] >> nodes % 64 == 0 ? KX_OK : KX_E_ARGUMENT;
}

kx_status_t kx_prefix_tree_check(const kx_ctx_t *ctx, const kx_prefix_tree_t *tree) {
    if (tree->nodes < 1 || tree->nodes >= (int64_t)UINT32_MAX) return KX_E_ARGUMENT;
    if (tree->token_bytes != 4 && tree->token_bytes != 8) return KX_E_ARGUMENT;
    return kx_parallel_for(ctx, 1, 1, check, (void *)tree);
}

int64_t kx_prefix_tree_child(const kx_prefix_tree_t *tree, int64_t node, int64_t token) {
    int64_t low = tree->children[node], high = tree->children[node + 1];
    while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (token_at(tree->tokens, tree->token_bytes, middle) < token) low = middle + 1;
        else high = middle;
    }
    return low < tree->children[node + 1] && token_at(tree->tokens, tree->token_bytes, low) == token ? low : KX_PREFIX_TREE_NONE;
}

int64_t kx_prefix_tree_walk(const kx_prefix_tree_t *tree, int64_t node, const int64_t *tokens, int64_t count) {
    for (int64_t i = 0; i < count && node != KX_PREFIX_TREE_NONE; i++) node = kx_prefix_tree_child(tree, node, tokens[i]);
    return node;
}

int kx_prefix_tree_is_end(const kx_prefix_tree_t *tree, int64_t node) { return tree->ends[node / 64] >> node % 64 & 1; }

int64_t kx_prefix_tree_rank(const kx_prefix_tree_t *tree, int64_t node) {
    return kx_prefix_tree_is_end(tree, node) ? rank_of(tree->ends, tree->ranks, node) : KX_PREFIX_TREE_NONE;
}

/* `filled` numbers of a row are done: the next to keep is `token`. */
#define KX_DEFINE_MASK(suffix, real)                                                                                    \
    static inline int64_t keep_##suffix(real *row, int64_t filled, int64_t token) {                                    \
        for (; filled < token; filled++) row[filled] = -(real)INFINITY;                                                \
        return token + 1;                                                                                              \
    }                                                                                                                  \
    int64_t kx_prefix_tree_mask_##suffix(const kx_prefix_tree_t *tree, int64_t node, int64_t end_token, real *row,     \
                                         int64_t vocabulary) {                                                         \
        const int has_end = end_token >= 0 && end_token < vocabulary && kx_prefix_tree_is_end(tree, node);             \
        const int64_t end = has_end ? end_token : INT64_MAX;                                                           \
        int64_t filled = 0, kept = 0;                                                                                  \
        for (int64_t child = tree->children[node]; child < tree->children[node + 1]; child++) {                        \
            const int64_t token = token_at(tree->tokens, tree->token_bytes, child);                                    \
            if (token >= vocabulary) break;                                                                            \
            if (end >= filled && end < token) filled = keep_##suffix(row, filled, end), kept++;                        \
            filled = keep_##suffix(row, filled, token), kept++;                                                        \
        }                                                                                                              \
        if (has_end && end >= filled) filled = keep_##suffix(row, filled, end), kept++;                                \
        keep_##suffix(row, filled, vocabulary);                                                                        \
        return kept;                                                                                                   \
    }
KX_DEFINE_MASK(f32, float)
KX_DEFINE_MASK(f64, double)
#endif
