/* What the files of the documents family share. Not public. */
#ifndef KX_DOCUMENTS_INTERNAL_H
#define KX_DOCUMENTS_INTERNAL_H

#include "isa/kernel.h"
#include "isa/simd.h"
#include "kexue/kx_documents.h"
#include "runtime/memory.h"

void KX_KERNEL(kx_document_pack_f32)(const float *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                     int64_t count, const double *factors, float *packed, int64_t stride);
void KX_KERNEL(kx_document_pack_f64)(const double *vectors, ptrdiff_t row_stride, int64_t dimension, const int32_t *words,
                                     int64_t count, const double *factors, double *packed, int64_t stride);
void KX_KERNEL(kx_document_table_f32)(const float *x, const float *y, int64_t rows, int64_t columns, int64_t stride, int take_root,
                                      double scale, float *table, int64_t table_stride);
void KX_KERNEL(kx_document_table_f64)(const double *x, const double *y, int64_t rows, int64_t columns, int64_t stride,
                                      int take_root, double scale, double *table, int64_t table_stride);

#endif
