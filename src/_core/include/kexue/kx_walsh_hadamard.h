/* kexue: the Walsh-Hadamard transform of rows, and the random projection made of it.

   H has the entries (-1)^popcount(i & j), i, j = 0 .. n - 1, n a power of two: the natural (Hadamard) order. H H = n, so the
   orthonormal transform H / sqrt(n) is its own inverse. n log2 n additions a row; each output is within log2(n) eps of the sum
   of the absolute values of its row. Results do not depend on strides, on the number of rows nor on that of workers, not by a
   bit. */
#ifndef KX_WALSH_HADAMARD_H
#define KX_WALSH_HADAMARD_H

#include "kx_ctx.h"

#ifdef __cplusplus
extern "C" {
#endif

/* out = H x for `rows` rows of n numbers; strides in bytes, of any sign, 0 broadcasts the input; any alignment. The output may
   be the input, exactly, but not overlap it partially. Nothing is allocated. Contiguous rows and neighbouring rows (of a matrix
   that is transformed along its columns) are fast. KX_E_ARGUMENT if n is no power of two; then every output is NaN and the
   invalid flag is raised. */
kx_status_t kx_walsh_hadamard_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride, float *out,
                                  ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_walsh_hadamard_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                  double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* The same with H / sqrt(n). */
kx_status_t kx_walsh_hadamard_orthonormal_f32(const float *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride, ptrdiff_t x_stride,
                                              float *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);
kx_status_t kx_walsh_hadamard_orthonormal_f64(const double *x, int64_t rows, int64_t n, ptrdiff_t x_row_stride,
                                              ptrdiff_t x_stride, double *out, ptrdiff_t out_row_stride, ptrdiff_t out_stride);

/* A subsampled randomized Hadamard transform (Ailon and Chazelle 2006, doi 10.1145/1132516.1132597; Tropp 2011, arXiv
   1011.1595): the matrix S of `sampled` x d numbers scale * H[samples[c], j] * (-1)^(bit j mod 64 of signs[j / 64]), H of order
   `size`, a power of two, at least d. It is never formed. With scale 1 / sqrt(sampled) and samples drawn from 0 .. size - 1, E
   |S x|^2 = |x|^2. KX_E_ARGUMENT too for a NULL where there is data. */
typedef struct kx_srht {
    int64_t d, size, sampled;
    const uint64_t *signs;  /* ceil(size / 64) words */
    const int64_t *samples; /* each of 0 .. size - 1, KX_E_ARGUMENT otherwise */
    double scale;
} kx_srht_t;

/* out[i, c] = (S x_i)[c] for n rows of d contiguous numbers, x_row_stride bytes apart; out is contiguous. O(size log size) a
   row and O(size) memory a worker. */
kx_status_t kx_srht_f32(const kx_ctx_t *ctx, const kx_srht_t *s, const float *x, int64_t n, ptrdiff_t x_row_stride, float *out);
kx_status_t kx_srht_f64(const kx_ctx_t *ctx, const kx_srht_t *s, const double *x, int64_t n, ptrdiff_t x_row_stride, double *out);

/* The same of the rows of a CSR matrix: row i has the entries data[k] in the columns indices[k] (0 .. d - 1; repeated ones are
   added), indptr[i] <= k < indptr[i + 1]. A row with few entries takes O(entries * sampled) instead. */
kx_status_t kx_srht_csr_f32(const kx_ctx_t *ctx, const kx_srht_t *s, int64_t n, const int64_t *indptr, const int64_t *indices,
                            const float *data, float *out);
kx_status_t kx_srht_csr_f64(const kx_ctx_t *ctx, const kx_srht_t *s, int64_t n, const int64_t *indptr, const int64_t *indices,
                            const double *data, double *out);

/* The adjoint: out[i] = S^T y_i, n rows of d contiguous numbers, from n rows of `sampled`. */
kx_status_t kx_srht_adjoint_f32(const kx_ctx_t *ctx, const kx_srht_t *s, const float *y, int64_t n, ptrdiff_t y_row_stride,
                                float *out);
kx_status_t kx_srht_adjoint_f64(const kx_ctx_t *ctx, const kx_srht_t *s, const double *y, int64_t n, ptrdiff_t y_row_stride,
                                double *out);

#ifdef __cplusplus
}
#endif
#endif
