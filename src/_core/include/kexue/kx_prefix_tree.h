/* kexue: prefix trees of sequences of tokens, for decoding that may only write one of the stored sequences.

   Nodes are numbered by level, and in a level in the order of their prefixes: 0 is the root. The children of node v are the
   nodes children[v] .. children[v + 1] - 1, their tokens ascend: node v is reached by tokens[v], children has nodes + 1
   entries. 8.2 bytes a node where tokens fit 32 bits. The arrays are the caller's, and are plain: they can be written to a file
   and mapped. */
#ifndef KX_PREFIX_TREE_H
#define KX_PREFIX_TREE_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct kx_prefix_tree {
    const void *tokens; /* int32_t or int64_t, of each node; that of the root is -1 */
    int token_bytes;    /* 4 or 8 */
    int64_t nodes;
    const uint32_t *children; /* (nodes + 1) */
    const uint64_t *ends;     /* bit v % 64 of word v / 64: whether a sequence ends at node v; 0 behind the last */
    const uint32_t *ranks;    /* ((nodes + 63) / 64) how many of the nodes before a word's are ends */
} kx_prefix_tree_t;

enum { KX_PREFIX_TREE_NONE = -1 };

typedef struct kx_prefix_tree_sizes {
    int64_t nodes, sequences; /* the root included; different ones */
    int64_t deepest, largest; /* the longest sequence; the largest token, -1 if there is none */
} kx_prefix_tree_sizes_t;

/* Sequence i is tokens[starts[i]] .. tokens[starts[i + 1] - 1], none negative: starts ascend. order: (count) the sequences in
   lexicographic order, a sequence before those it begins, equal ones as given; shared: (count) how many tokens each has in common
   with the one before it in that order, 0 for the first. O(tokens) time for what differs early: packed words of tokens are sorted
   by their digits, equal ones by their next words. KX_E_ARGUMENT: a negative token, or starts that descend or are negative;
   KX_E_OVERFLOW: 2^32 - 1 nodes or sequences, or more. */
kx_status_t kx_prefix_tree_sort(const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count,
                                uint32_t *order, int64_t *shared, kx_prefix_tree_sizes_t *sizes);

/* From what kx_prefix_tree_sort gave: tree_tokens (nodes) of tree_token_bytes each, children (nodes + 1), ends and ranks
   ((nodes + 63) / 64), and for each of the ends, in the order of their nodes, which sequence ends there, the last of equal ones:
   places (sequences). KX_E_ARGUMENT: tokens that do not fit. */
kx_status_t kx_prefix_tree_fill(const kx_ctx_t *ctx, const void *tokens, int token_bytes, const int64_t *starts, int64_t count,
                                const uint32_t *order, const int64_t *shared, const kx_prefix_tree_sizes_t *sizes,
                                void *tree_tokens, int tree_token_bytes, uint32_t *children, uint64_t *ends, uint32_t *ranks,
                                uint32_t *places);

/* Whether arrays from a file, say, are those of a tree: KX_OK, or KX_E_ARGUMENT. One pass over them. The functions below ask
   for a tree that passes, and for one of its nodes: they check neither. */
kx_status_t kx_prefix_tree_check(const kx_ctx_t *ctx, const kx_prefix_tree_t *tree);

/* The child of a node by a token, or KX_PREFIX_TREE_NONE. O(log children). */
int64_t kx_prefix_tree_child(const kx_prefix_tree_t *tree, int64_t node, int64_t token);

/* The node that tokens lead to from `node`, or KX_PREFIX_TREE_NONE. */
int64_t kx_prefix_tree_walk(const kx_prefix_tree_t *tree, int64_t node, const int64_t *tokens, int64_t count);

/* Whether a sequence ends at a node. */
int kx_prefix_tree_is_end(const kx_prefix_tree_t *tree, int64_t node);

/* How many ends come before a node at which a sequence ends: its entry of places; KX_PREFIX_TREE_NONE for other nodes. */
int64_t kx_prefix_tree_rank(const kx_prefix_tree_t *tree, int64_t node);

/* Makes row[t] -infinity for every token t < vocabulary that is not a child of the node, but for end_token (or none: -1) where a
   sequence ends; the rest of the row is not touched. Children at or past `vocabulary` have no place in the row. Returns how many
   stay. */
int64_t kx_prefix_tree_mask_f32(const kx_prefix_tree_t *tree, int64_t node, int64_t end_token, float *row, int64_t vocabulary);
int64_t kx_prefix_tree_mask_f64(const kx_prefix_tree_t *tree, int64_t node, int64_t end_token, double *row, int64_t vocabulary);

#ifdef __cplusplus
}
#endif
#endif
