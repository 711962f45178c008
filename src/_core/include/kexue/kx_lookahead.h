/* kexue: look-ahead in a prefix tree: how much of a query the sequences that go on with each token can still cover. */
#ifndef KX_LOOKAHEAD_H
#define KX_LOOKAHEAD_H

#include "kx_ctx.h"
#include "kx_prefix_tree.h"

#ifdef __cplusplus
extern "C" {
#endif

/* gains: (children of `node`) for each child, in order, the most that the longest common subsequence with the query (m
   tokens) grows from the prefix (n tokens, those that lead to the node, or their end) to a sequence of the tree through that
   child: 0 .. m. Sequences are read up to their first stop_token after the prefix, itself included; -1 for none. Depth-first
   with a row of ceil(m / 64) words for each level: O((n + nodes below) m / 64) time at most, branches that cannot give more
   than is found are left out; O((depth + m) m / 64) memory. KX_E_ARGUMENT: `node` is not of the tree, or a negative size. */
kx_status_t kx_prefix_tree_lcs_gains(const kx_ctx_t *ctx, const kx_prefix_tree_t *tree, int64_t node, const int64_t *prefix,
                                     int64_t n, const int64_t *query, int64_t m, int64_t stop_token, int64_t *gains);

#ifdef __cplusplus
}
#endif
#endif
