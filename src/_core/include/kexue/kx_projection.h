/* kexue: random projections whose matrices are signs: a sparse matrix of signs, and a dense one that is never stored.

   Y = scale * X R^T for X (rows, d) and R (n_components, d). X is dense, its columns contiguous and its rows row_stride bytes
   apart (any number, 0 and negative ones included), or CSR: row i has the entries row_starts[i] .. row_starts[i + 1] - 1 of
   `indices` (of columns, in any order, repeated ones add up) and `data`. Y has contiguous rows, y_stride bytes apart, and shares
   no memory with X.

   Sums are in the precision of the data, and scale is rounded to it and multiplied last. NaN and infinities propagate as in these
   sums. Results do not depend on the number of workers or on which other rows there are, not by a bit. d, rows and n_components
   may be 0: an empty sum is 0. KX_E_ARGUMENT for a NULL where there is data, a negative size, and starts, targets or indices that
   are out of range or order; KX_E_OVERFLOW for sizes beyond the address space. Complexity: O(rows * non-zeros of R) and O(rows *
   d * n_components); for CSR, of the entries alone. */
#ifndef KX_PROJECTION_H
#define KX_PROJECTION_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A sparse matrix of signs, by column: its non-zeros in column j are targets[column_starts[j] .. column_starts[j + 1] - 1], where
   c is a +1 in row c and ~c a -1 there. column_starts has d + 1 items, the first of which is 0. A row may come up several times
   in a column: the signs add up. Count-sketch (Charikar, Chen, Farach-Colton 2002, doi 10.1007/3-540-45465-9_59) has one non-zero
   in each column, OSNAP (Nelson, Nguyen 2013, doi 10.1109/FOCS.2013.21) a few; those of Achlioptas (2003, doi
   10.1016/S0022-0000(03)00025-4) and Li, Hastie, Church (2006, doi 10.1145/1150402.1150436) have a random number.

   Every sum is in the order of the columns (of the row's entries, for CSR): for entries in the order of columns, dense and CSR
   agree to the bit where X is finite. */
typedef struct kx_projection_signs {
    const int64_t *column_starts;
    const int32_t *targets;
    int64_t n_components, d;
} kx_projection_signs_t;

/* Y = scale * X R^T for a matrix R of such signs, of dense X and of X in CSR. */
kx_status_t kx_projection_sketch_f32(const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const float *x, int64_t rows,
                                     ptrdiff_t row_stride, double scale, float *y, ptrdiff_t y_stride);
kx_status_t kx_projection_sketch_f64(const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const double *x, int64_t rows,
                                     ptrdiff_t row_stride, double scale, double *y, ptrdiff_t y_stride);
kx_status_t kx_projection_sketch_csr_f32(const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts,
                                         const int64_t *indices, const float *data, int64_t rows, double scale, float *y,
                                         ptrdiff_t y_stride);
kx_status_t kx_projection_sketch_csr_f64(const kx_ctx_t *ctx, const kx_projection_signs_t *signs, const int64_t *row_starts,
                                         const int64_t *indices, const double *data, int64_t rows, double scale, double *y,
                                         ptrdiff_t y_stride);

/* The dense matrix of signs of a key. Entry (c, j) is -1 where bit c mod 64 of word (c mod 256) / 64 is set in the Philox 4x64-10
   block of the key and the counter (j + 1, c / 256, 0, 0), else +1. It depends on nothing but key, c and j: a projection to fewer
   components is the beginning of one to more, and appended columns leave the others alone. For rows 256 g .. 256 g + 255 of all d
   columns, these are the bits of numpy.random.Philox(key=key, counter=g << 64).random_raw(4 * d).

   Dense X takes a table of the sums of a few columns with all signs, and looks them up; hence sums are by such groups of columns,
   and the last bits differ between instruction sets and from CSR. The table may overflow, with its flag, where no result does.
   Memory: 16 MB beside the data at most. */
kx_status_t kx_projection_rademacher_f32(const kx_ctx_t *ctx, const uint64_t key[2], const float *x, int64_t rows, int64_t d,
                                         ptrdiff_t row_stride, int64_t n_components, double scale, float *y, ptrdiff_t y_stride);
kx_status_t kx_projection_rademacher_f64(const kx_ctx_t *ctx, const uint64_t key[2], const double *x, int64_t rows, int64_t d,
                                         ptrdiff_t row_stride, int64_t n_components, double scale, double *y, ptrdiff_t y_stride);
kx_status_t kx_projection_rademacher_csr_f32(const kx_ctx_t *ctx, const uint64_t key[2], const int64_t *row_starts,
                                             const int64_t *indices, const float *data, int64_t rows, int64_t d,
                                             int64_t n_components, double scale, float *y, ptrdiff_t y_stride);
kx_status_t kx_projection_rademacher_csr_f64(const kx_ctx_t *ctx, const uint64_t key[2], const int64_t *row_starts,
                                             const int64_t *indices, const double *data, int64_t rows, int64_t d,
                                             int64_t n_components, double scale, double *y, ptrdiff_t y_stride);

/* The other way: Z = scale * Y R for Y (rows, n_components) and Z (rows, d), rows contiguous. The gradient of the projection;
   and, for R with nearly orthogonal rows, after a division by d, nearly its pseudo-inverse. */
kx_status_t kx_projection_rademacher_adjoint_f32(const kx_ctx_t *ctx, const uint64_t key[2], const float *y, int64_t rows,
                                                 int64_t n_components, ptrdiff_t y_stride, int64_t d, double scale, float *z,
                                                 ptrdiff_t z_stride);
kx_status_t kx_projection_rademacher_adjoint_f64(const kx_ctx_t *ctx, const uint64_t key[2], const double *y, int64_t rows,
                                                 int64_t n_components, ptrdiff_t y_stride, int64_t d, double scale, double *z,
                                                 ptrdiff_t z_stride);

/* The matrix itself, times scale: rows 0 .. n_components - 1 and columns first_column .. first_column + d - 1, rows contiguous
   and row_stride bytes apart. */
kx_status_t kx_projection_rademacher_matrix_f32(const kx_ctx_t *ctx, const uint64_t key[2], int64_t n_components,
                                                int64_t first_column, int64_t d, double scale, float *matrix,
                                                ptrdiff_t row_stride);
kx_status_t kx_projection_rademacher_matrix_f64(const kx_ctx_t *ctx, const uint64_t key[2], int64_t n_components,
                                                int64_t first_column, int64_t d, double scale, double *matrix,
                                                ptrdiff_t row_stride);

#ifdef __cplusplus
}
#endif
#endif
