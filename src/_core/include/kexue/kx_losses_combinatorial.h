/* kexue: elementary symmetric polynomials in the log domain, and the combinatorial softmax made of them.

   Of each row of scores s_1 .. s_n,

       without fillers:  log e_k(exp s)          = log of the sum over all sets S of k items of exp(sum of s_i, i in S)
       with a filler f:  log Z_k(exp s, exp f)   = the same over all sets of at most k items, where f counts k - |S| times

   and its gradient by the scores, the probabilities P(i in S). A score of -inf is an item that is absent. */
#ifndef KX_LOSSES_COMBINATORIAL_H
#define KX_LOSSES_COMBINATORIAL_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* scores   rows x n, contiguous; finite or -inf, else KX_E_NONFINITE.
   targets  NULL, or rows x n, contiguous, not 0 where an item is in the wanted set Y. Then `value` is the loss, the logarithm
            above less sum of s_i over Y and (k - |Y|) f; `grad` is P(i in S) - [i in Y]. KX_E_ARGUMENT if an absent item is
            wanted, or more than k are.
   counts   k >= 0 of each row, counts_stride bytes apart; 0: the same for all rows.
   fillers  NULL, or f of each row, finite, fillers_stride bytes apart.
   value    a number for each row, or NULL. Without fillers, -inf where fewer than k items are present (of the loss too: without
            a filler, Y should have k items), and k = 0 gives 0.
   grad     rows x n, or NULL. 0 where the value is -inf; absent items have 0. By the filler: k - sum of P, and of the loss
            -(sum of grad).

   The k best items are the reference: with y = exp(c - s) of those and x = exp(s - c) of the others,

       log e_k = sum of the best + log(1 + sum over m >= 1 of e_m(y) e_m(x)),

   m being how many are exchanged. Every e_m comes from the recursion e_m <- e_m + x e_{m-1}, whose terms are all positive: no
   cancellation. c is the k-th best score; where min(k, n - k) log n is large, it solves sum of sigmoid(s - c) = k, and the
   recursion is that of the number of successes of independent trials, (1 - p) e_m + p e_{m-1}, all of it between 0 and 1. Either
   way nothing overflows, and what underflows is less than 2^-400 of the result. All sums are float64, whatever the scores are.

   Accuracy: the logarithm's second term and the probabilities, those of the k best to be left out included, within
   1e-13 + 1e-15 n relatively, however small they are, if the differences of the scores are exact; the first term within an ulp
   or two. So the loss of a set that outweighs all others keeps its digits, too. Sums of scores must not overflow.

   Time O(n min(k, n - k)) at most; memory O(n + sqrt(n) min(k, n - k)). */
kx_status_t kx_losses_combinatorial_f32(const kx_ctx_t *ctx, const float *scores, const unsigned char *targets,
                                        const int64_t *counts, const double *fillers, int64_t rows, int64_t n,
                                        ptrdiff_t counts_stride, ptrdiff_t fillers_stride, float *value, float *grad);
kx_status_t kx_losses_combinatorial_f64(const kx_ctx_t *ctx, const double *scores, const unsigned char *targets,
                                        const int64_t *counts, const double *fillers, int64_t rows, int64_t n,
                                        ptrdiff_t counts_stride, ptrdiff_t fillers_stride, double *value, double *grad);

#ifdef __cplusplus
}
#endif
#endif
