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
    KX_RELAXED_WRD = 3  /* lower bound of KX_WRD */
} kx_document_metric_t;

typedef struct kx_pairwise_options {
    kx_document_metric_t metric;
    double scale;       /* the ground cost is multiplied by it; default 1 */
    double empty_value; /* the distance of a pair with an empty document; default NaN */
    int64_t *done;      /* NULL, or a counter of finished tiles that another thread may read */
    int64_t *total;     /* NULL, or where the number of tiles is written at the start */
} kx_pairwise_options_t;

void kx_pairwise_options_init(kx_pairwise_options_t *options);

/* out[i, j], row after row of Y's count (X's count when Y is NULL: all pairs within X, each solved once, diagonal 0).
   vectors: vocabulary rows of `dimension` contiguous numbers, row_stride bytes apart. KX_E_NONFINITE: a vector of a word in use is
   not finite. KX_E_ARGUMENT: a word that is not in the vocabulary, or not ascending. KX_E_NEGATIVE, KX_E_OVERFLOW: weights.
   Time: sum over pairs of m n dimension plus the solve. Memory: O(words in the documents) plus one tile a worker. */
kx_status_t kx_documents_pairwise_f32(const kx_ctx_t *ctx, const float *vectors, const kx_documents_t *X, const kx_documents_t *Y,
                                      int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride,
                                      const kx_pairwise_options_t *options, float *out);
kx_status_t kx_documents_pairwise_f64(const kx_ctx_t *ctx, const double *vectors, const kx_documents_t *X, const kx_documents_t *Y,
                                      int64_t vocabulary, int64_t dimension, ptrdiff_t row_stride,
                                      const kx_pairwise_options_t *options, double *out);

#ifdef __cplusplus
}
#endif
#endif
