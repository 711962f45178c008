/* What the files of the documents family share. Not public. */
#ifndef KX_DOCUMENTS_INTERNAL_H
#define KX_DOCUMENTS_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "kernels/sinkhorn_internal.h"
#include "kernels/transport_internal.h"
#include "kexue/kx_documents.h"
#include "runtime/memory.h"

void KX_KERNEL(kx_document_pack_f32)(const float *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                     int64_t count, const double *factors, float *packed, int64_t stride);
void KX_KERNEL(kx_document_pack_f64)(const double *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                     int64_t count, const double *factors, double *packed, int64_t stride);
/* table[i, j] = |x_i - y_j| * scale, or its square * scale. x_i: row words[i] of the vectors (row i if words is NULL), row_stride bytes
   apart, are_far if they are not in a cache yet; y as packed, rows of `stride`. The table's rows have room for whole vectors and its row count for a multiple of four. */
void KX_KERNEL(kx_document_table_f32)(const float *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                      const float *y, int64_t rows, int64_t columns, int64_t stride, int take_root, double scale,
                                      int are_far, float *table, int64_t table_stride);
void KX_KERNEL(kx_document_table_f64)(const double *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                      const double *y, int64_t rows, int64_t columns, int64_t stride, int take_root, double scale,
                                      int are_far, double *table, int64_t table_stride);

/* A document as its words' vocabulary rows (ascending; only cancelling reads them), their places in a table, and weights of sum 1. */
typedef struct kx_document_side {
    const int32_t *words, *places;
    const double *weights;
    int64_t count;
} kx_document_side_t;

/* One worker's memory for pairs of up to m and n words. */
typedef struct kx_document_scratch {
    double *costs, *a, *b;
    int32_t *rows, *columns;
    kx_emd_arena_t arena;
    char *arena_block;
    char *bound_block; /* NULL unless asked for */
    kx_sinkhorn_arena_t sinkhorn; /* of KX_USE_ENTROPIC */
    const kx_sinkhorn_options_t *sinkhorn_options;
    double reg;
} kx_document_scratch_t;

typedef enum kx_document_use { KX_USE_RELAXED, KX_USE_EXACT, KX_USE_LIMITED, KX_USE_ENTROPIC } kx_document_use_t;

/* The bytes for pairs of up to m and n words (0: too many), and with a block, the pointers into it: for the relaxed metrics, for
   the exact ones, for these with limits, or for the entropic one (whose options and reg are the caller's to set). */
size_t KX_KERNEL(kx_document_scratch_cut)(kx_document_scratch_t *scratch, int64_t m, int64_t n, kx_document_use_t use, char *block);

/* The words of positive weight, their weights divided by their sum; factors (NULL or by vocabulary row) divide first, and a word
   whose factor is 0 has no weight. */
kx_status_t KX_KERNEL(kx_document_normalize)(const int32_t *words, const double *weights, int64_t count, int64_t vocabulary,
                                             const double *factors, int32_t *kept_words, double *kept_weights, int64_t *kept);

/* KX_E_NONFINITE unless the vector is finite; factor (may be NULL): 1 / norm, 0 for a zero vector. */
kx_status_t KX_KERNEL(kx_document_scan_f32)(const float *row, int64_t dimension, double *factor);
kx_status_t KX_KERNEL(kx_document_scan_f64)(const double *row, int64_t dimension, double *factor);

/* The distance of two documents, neither empty; the cost of place r to place c is table[r * row_step + c * column_step]. Infinity if
   a cheaper bound shows that it is above the limit, and only tried where that pays; an infinite limit always solves. */
kx_status_t KX_KERNEL(kx_document_distance_f32)(kx_document_scratch_t *scratch, const float *table, ptrdiff_t row_step,
                                                ptrdiff_t column_step, const kx_document_side_t *x, const kx_document_side_t *y,
                                                kx_document_metric_t metric, double limit, kx_task_t *task, double *distance);
kx_status_t KX_KERNEL(kx_document_distance_f64)(kx_document_scratch_t *scratch, const double *table, ptrdiff_t row_step,
                                                ptrdiff_t column_step, const kx_document_side_t *x, const kx_document_side_t *y,
                                                kx_document_metric_t metric, double limit, kx_task_t *task, double *distance);

#endif
