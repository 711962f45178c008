/* kexue: how alike two sequences of tokens are: the longest common subsequence and the edit distance, by 64 cells of a row of
   the dynamic program in a word (Hyyro 2004, "Bit-parallel LCS-length computation revisited"; Myers 1999, doi
   10.1145/316542.316550; Hyyro 2003, "A bit-vector algorithm for computing Levenshtein and Damerau edit distances"). Exact. O(n
   m / 64) time, O(n) memory. */
#ifndef KX_ALIGNMENT_H
#define KX_ALIGNMENT_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The length of the longest common subsequence of a (n tokens) and b (m). */
kx_status_t kx_longest_common_subsequence(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m,
                                          int64_t *length);

/* The fewest insertions, deletions and substitutions of one token that make b of a. */
kx_status_t kx_edit_distance(const kx_ctx_t *ctx, const uint32_t *a, int64_t n, const uint32_t *b, int64_t m, int64_t *distance);

#ifdef __cplusplus
}
#endif
#endif
