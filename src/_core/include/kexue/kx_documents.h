/* kexue: distances between documents.

   A document is a weighted set of word vectors. Word Mover's Distance (Kusner et al., ICML 2015) is the exact transport cost
   between two of them under the Euclidean distance of the vectors, weights normalised to sum 1. Word Rotator's Distance (Yokoi
   et al., EMNLP 2020, arXiv 2004.15003) multiplies each weight by the vector's norm before normalising, and moves mass at
   the cost 1 - cos. The relaxed bounds drop one set of marginals at a time and take the larger value: never above the
   distance, and linear instead of cubic.

   Squared distances are sums of squared differences, never |x|^2 + |y|^2 - 2 x y: equal vectors are at distance exactly 0, and near ones
   keep their digits. On the machines measured the subtraction runs beside the multiply-add and costs nothing. */
#ifndef KX_DOCUMENTS_H
#define KX_DOCUMENTS_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Documents in compressed rows: document i has the words words[offsets[i]] .. words[offsets[i + 1] - 1], ascending and without
   repeats, each a row of the vectors, with non-negative finite weights of any scale. */
typedef struct kx_documents {
    int64_t count;
    const int64_t *offsets;
    const int32_t *words;
    const double *weights;
} kx_documents_t;

typedef enum kx_document_metric {
    KX_WMD = 0,         /* exact, Euclidean */
    KX_WRD = 1,         /* exact, 1 - cos, norm weights; zero vectors weigh nothing */
    KX_RELAXED_WMD = 2, /* lower bound of KX_WMD */
    KX_RELAXED_WRD = 3, /* lower bound of KX_WRD */
    KX_ENTROPIC_WMD = 4 /* the cost of the entropic plan (kx_sinkhorn.h) under the Euclidean distance; pairwise distances only */
} kx_document_metric_t;

typedef struct kx_pairwise_options {
    kx_document_metric_t metric;
    double scale;       /* the ground cost is multiplied by it; default 1 */
    double empty_value; /* the distance of a pair with an empty document; default NaN */
    int64_t *done;      /* NULL, or a counter of finished tiles, for the cancel callback to read */
    int64_t *total;     /* NULL, or where the number of tiles is written at the start */
    double reg;             /* KX_ENTROPIC_WMD: the regularisation, in the units of the scaled cost */
    double tolerance;       /* the error of the marginals it ends with; default 1e-9 */
    int64_t max_iter;       /* default 10000; a pair that reaches it makes the call return KX_W_MAXITER */
    int64_t *unconverged;   /* NULL, or a counter of such pairs */
} kx_pairwise_options_t;

/* KX_WMD, and the defaults above. */
void kx_pairwise_options_init(kx_pairwise_options_t *options);

/* out[i, j], row after row of Y's count (X's count when Y is NULL: all pairs within X, each solved once, diagonal 0 but for KX_ENTROPIC_WMD).
   vectors: vocabulary rows of `dimension` contiguous numbers, row_stride bytes apart. KX_E_NONFINITE: a vector of a word in use is
   not finite. KX_E_ARGUMENT: a word that is not in the vocabulary, or not ascending. KX_E_NEGATIVE, KX_E_OVERFLOW: weights.
   Time: sum over pairs of m n dimension plus the solve. Memory: O(words in the documents) plus one tile a worker. */
kx_status_t kx_documents_pairwise_f32(const kx_ctx_t *ctx, const float *vectors, const kx_documents_t *X, const kx_documents_t *Y,
                                      int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride,
                                      const kx_pairwise_options_t *options, float *out);
kx_status_t kx_documents_pairwise_f64(const kx_ctx_t *ctx, const double *vectors, const kx_documents_t *X, const kx_documents_t *Y,
                                      int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride,
                                      const kx_pairwise_options_t *options, double *out);

/* What a search goes through. words are compact numbers: places in used_words, which gives the vocabulary row of each. Within a
   document they ascend by vocabulary row; its weights are positive and sum to 1, as kx_documents_normalize makes them. */
typedef struct kx_index {
    int64_t used;
    const int32_t *used_words;
    const double *factors;   /* of used words, for KX_WRD: 1 / norm, 0 for a zero vector; else NULL */
    int64_t count;
    const int64_t *offsets;
    const int32_t *words;
    const double *weights;
    const uint8_t *removed;  /* NULL, or not 0 for a document that is not there any more */
} kx_index_t;

typedef struct kx_search_options {
    kx_document_metric_t metric; /* KX_WMD or KX_WRD */
    double scale;                /* the ground cost is multiplied by it; default 1 */
    int64_t k;                   /* at most so many neighbours of each query */
    const double *limits;        /* NULL, or for each query the largest distance that is of interest */
    int64_t *done, *total;       /* as in kx_pairwise_options_t */
} kx_search_options_t;

/* KX_WMD, one neighbour, and the defaults above. */
void kx_search_options_init(kx_search_options_t *options);

/* What became of the documents of a search: there and not empty; ruled out by the relaxed bound; by the dual bound; solved. */
typedef struct kx_search_counts {
    int64_t documents, relaxed, dual, exact;
} kx_search_counts_t;

/* Query q has the neighbours offsets[q] .. offsets[q + 1] - 1, ascending by distance and then index. counts: one a query. */
typedef struct kx_search_results {
    int64_t *offsets;
    int64_t *indices;
    double *distances;
    kx_search_counts_t *counts;
} kx_search_results_t;

/* Gives back what a search allocated, by the context that the search had; pointers become NULL. */
void kx_search_results_release(const kx_ctx_t *ctx, kx_search_results_t *results);

/* Documents as an index wants them: words without weight left out, weights (for KX_WRD times the norms) scaled to sum 1. words and
   weights have room for what the documents have, offsets for count + 1; factors (KX_WRD only, by vocabulary row) is set for the words
   in use. Errors as in kx_documents_pairwise. */
kx_status_t kx_documents_normalize_f32(const kx_ctx_t *ctx, const float *vectors, const kx_documents_t *documents, int64_t vocabulary,
                                       int64_t dimension, ptrdiff_t row_stride, kx_document_metric_t metric, int64_t *offsets,
                                       int32_t *words, double *weights, double *factors);
kx_status_t kx_documents_normalize_f64(const kx_ctx_t *ctx, const double *vectors, const kx_documents_t *documents,
                                       int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride, kx_document_metric_t metric,
                                       int64_t *offsets, int32_t *words, double *weights, double *factors);

/* The nearest documents of each query, exactly: those that a scan by kx_documents_pairwise finds, with the same distances to the
   bit (rounded to the vectors' precision), ties to the lower index. Queries are normalised documents over query_vectors, or, where
   that is NULL, over the index's own vocabulary. An empty query or document has no neighbours.

   A table of distances from the query's words to all used words gives every document a relaxed bound from both sides (Kusner et
   al. 2015; in linear time, Atasu et al., arXiv 1711.07227); a certified dual bound and the exact solve follow only where a bound is below
   the k-th best distance. Time: O(used words * query words * dimension + entries * query words) and a few solves. Memory: the
   table, used words * query words numbers, for a few queries at a time; the index may be memory-mapped, it is read in order. */
kx_status_t kx_documents_search_f32(const kx_ctx_t *ctx, const kx_index_t *index, const float *vectors, int64_t vocabulary,
                                    int64_t dimension, ptrdiff_t row_stride, const kx_documents_t *queries,
                                    const float *query_vectors, int64_t query_vocabulary, ptrdiff_t query_row_stride,
                                    const kx_search_options_t *options, kx_search_results_t *results);
kx_status_t kx_documents_search_f64(const kx_ctx_t *ctx, const kx_index_t *index, const double *vectors, int64_t vocabulary,
                                    int64_t dimension, ptrdiff_t row_stride, const kx_documents_t *queries,
                                    const double *query_vectors, int64_t query_vocabulary, ptrdiff_t query_row_stride,
                                    const kx_search_options_t *options, kx_search_results_t *results);

#ifdef __cplusplus
}
#endif
#endif
