"""Random projections: the calls into the C core. Checking and shaping of arguments is kexue.projection's work.

X is an ndarray of float32 or float64, shape (n, d), with contiguous columns and any row stride; `out` is C-contiguous, of X's dtype and of shape
(n, n_components); `indptr` and `indices` are int64; a key is an ndarray of uint64, shape (2,).
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint64_t

from kexue._context cimport fill_context, is_narrow, raise_for_status
from kexue.core cimport (
    kx_ctx_t,
    kx_philox_words,
    kx_projection_rademacher_adjoint_f32,
    kx_projection_rademacher_adjoint_f64,
    kx_projection_rademacher_csr_f32,
    kx_projection_rademacher_csr_f64,
    kx_projection_rademacher_f32,
    kx_projection_rademacher_f64,
    kx_projection_rademacher_matrix_f32,
    kx_projection_rademacher_matrix_f64,
    kx_projection_signs_t,
    kx_projection_sketch_csr_f32,
    kx_projection_sketch_csr_f64,
    kx_projection_sketch_f32,
    kx_projection_sketch_f64,
    kx_srht_adjoint_f32,
    kx_srht_adjoint_f64,
    kx_srht_csr_f32,
    kx_srht_csr_f64,
    kx_srht_f32,
    kx_srht_f64,
    kx_srht_t,
    kx_status_t,
)

import numpy as np

cnp.import_array()


cdef kx_projection_signs_t describe(cnp.ndarray column_starts, cnp.ndarray targets, cnp.ndarray out):
    cdef kx_projection_signs_t signs
    signs.column_starts = <const int64_t *>cnp.PyArray_DATA(column_starts)
    signs.targets = <const int32_t *>cnp.PyArray_DATA(targets)
    signs.n_components = cnp.PyArray_DIM(out, 1)
    signs.d = cnp.PyArray_DIM(column_starts, 0) - 1
    return signs


def philox_words(cnp.ndarray key, uint64_t first_word, int64_t count):
    """What `numpy.random.Philox(key=key).random_raw()` yields after `first_word` words.

    Returns
    -------
    ndarray of uint64, shape (count,)
    """
    cdef cnp.ndarray words = np.empty(count, np.uint64)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef uint64_t *w = <uint64_t *>cnp.PyArray_DATA(words)
    with nogil:
        kx_philox_words(k, first_word, count, w)
    return words


def sketch(cnp.ndarray X, cnp.ndarray column_starts, cnp.ndarray targets, double scale, cnp.ndarray out, workers):
    """out = scale * X S^T for a sparse matrix S of signs.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    column_starts : ndarray of int64, shape (d + 1,)
    targets : ndarray of int32
        targets[column_starts[j]:column_starts[j + 1]] are the non-zeros of column j: c is a +1 in row c, ~c a -1.
    scale : float
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_projection_signs_t signs = describe(column_starts, targets, out)
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDES(X)[0]
    cdef ptrdiff_t out_stride = signs.n_components * cnp.PyArray_ITEMSIZE(out)
    cdef const void *x = cnp.PyArray_DATA(X)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(X)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_sketch_f32(&ctx, &signs, <const float *>x, n, row_stride, scale, <float *>y, out_stride)
        else:
            outcome = kx_projection_sketch_f64(&ctx, &signs, <const double *>x, n, row_stride, scale, <double *>y, out_stride)
    raise_for_status(outcome)


def sketch_csr(cnp.ndarray indptr, cnp.ndarray indices, cnp.ndarray data, cnp.ndarray column_starts, cnp.ndarray targets,
               double scale, cnp.ndarray out, workers):
    """The same for X in CSR form.

    Parameters
    ----------
    indptr, indices, data : ndarray
    column_starts, targets : ndarray
        As for `sketch`.
    scale : float
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_projection_signs_t signs = describe(column_starts, targets, out)
    cdef int64_t n = cnp.PyArray_DIM(out, 0)
    cdef ptrdiff_t out_stride = signs.n_components * cnp.PyArray_ITEMSIZE(out)
    cdef const int64_t *starts = <const int64_t *>cnp.PyArray_DATA(indptr)
    cdef const int64_t *columns = <const int64_t *>cnp.PyArray_DATA(indices)
    cdef const void *x = cnp.PyArray_DATA(data)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(data)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_sketch_csr_f32(
                &ctx, &signs, starts, columns, <const float *>x, n, scale, <float *>y, out_stride)
        else:
            outcome = kx_projection_sketch_csr_f64(
                &ctx, &signs, starts, columns, <const double *>x, n, scale, <double *>y, out_stride)
    raise_for_status(outcome)


def rademacher(cnp.ndarray X, cnp.ndarray key, double scale, cnp.ndarray out, workers):
    """out = scale * X R^T for the dense matrix R of signs of a key, whose layout kx_projection.h states.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    key : ndarray of uint64, shape (2,)
    scale : float
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_DIM(X, 0), d = cnp.PyArray_DIM(X, 1), n_components = cnp.PyArray_DIM(out, 1)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDES(X)[0]
    cdef ptrdiff_t out_stride = n_components * cnp.PyArray_ITEMSIZE(out)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef const void *x = cnp.PyArray_DATA(X)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(X)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_rademacher_f32(
                &ctx, k, <const float *>x, n, d, row_stride, n_components, scale, <float *>y, out_stride)
        else:
            outcome = kx_projection_rademacher_f64(
                &ctx, k, <const double *>x, n, d, row_stride, n_components, scale, <double *>y, out_stride)
    raise_for_status(outcome)


def rademacher_csr(cnp.ndarray indptr, cnp.ndarray indices, cnp.ndarray data, int64_t n_columns, cnp.ndarray key,
                   double scale, cnp.ndarray out, workers):
    """The same for X in CSR form.

    Parameters
    ----------
    indptr, indices, data : ndarray
    n_columns : int
        d
    key : ndarray of uint64, shape (2,)
    scale : float
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_DIM(out, 0), n_components = cnp.PyArray_DIM(out, 1)
    cdef ptrdiff_t out_stride = n_components * cnp.PyArray_ITEMSIZE(out)
    cdef const int64_t *starts = <const int64_t *>cnp.PyArray_DATA(indptr)
    cdef const int64_t *columns = <const int64_t *>cnp.PyArray_DATA(indices)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef const void *x = cnp.PyArray_DATA(data)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(data)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_rademacher_csr_f32(
                &ctx, k, starts, columns, <const float *>x, n, n_columns, n_components, scale, <float *>y, out_stride)
        else:
            outcome = kx_projection_rademacher_csr_f64(
                &ctx, k, starts, columns, <const double *>x, n, n_columns, n_components, scale, <double *>y, out_stride)
    raise_for_status(outcome)


def rademacher_adjoint(cnp.ndarray Y, cnp.ndarray key, double scale, cnp.ndarray out, workers):
    """out = scale * Y R for the same R.

    Parameters
    ----------
    Y : ndarray, shape (n, n_components)
        Columns contiguous.
    key : ndarray of uint64, shape (2,)
    scale : float
    out : ndarray, shape (n, d)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_DIM(Y, 0), n_components = cnp.PyArray_DIM(Y, 1), d = cnp.PyArray_DIM(out, 1)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDES(Y)[0]
    cdef ptrdiff_t out_stride = d * cnp.PyArray_ITEMSIZE(out)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef const void *y = cnp.PyArray_DATA(Y)
    cdef void *z = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(Y)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_rademacher_adjoint_f32(
                &ctx, k, <const float *>y, n, n_components, row_stride, d, scale, <float *>z, out_stride)
        else:
            outcome = kx_projection_rademacher_adjoint_f64(
                &ctx, k, <const double *>y, n, n_components, row_stride, d, scale, <double *>z, out_stride)
    raise_for_status(outcome)


def rademacher_matrix(cnp.ndarray key, int64_t n_components, int64_t d, dtype, double scale):
    """scale * R, the matrix of `rademacher`.

    Parameters
    ----------
    key : ndarray of uint64, shape (2,)
    n_components, d : int
    dtype : numpy.float32 or numpy.float64
    scale : float

    Returns
    -------
    ndarray, shape (n_components, d)
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef cnp.ndarray matrix = np.empty((n_components, d), dtype)
    cdef ptrdiff_t row_stride = d * cnp.PyArray_ITEMSIZE(matrix)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef void *m = cnp.PyArray_DATA(matrix)
    cdef bint narrow = is_narrow(matrix)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_projection_rademacher_matrix_f32(&ctx, k, n_components, 0, d, scale, <float *>m, row_stride)
        else:
            outcome = kx_projection_rademacher_matrix_f64(&ctx, k, n_components, 0, d, scale, <double *>m, row_stride)
    raise_for_status(outcome)
    return matrix


cdef kx_srht_t describe_srht(int64_t d, cnp.ndarray signs, cnp.ndarray samples, int64_t size, double scale):
    cdef kx_srht_t s
    s.d = d
    s.size = size
    s.sampled = cnp.PyArray_DIM(samples, 0)
    s.signs = <const uint64_t *>cnp.PyArray_DATA(signs)
    s.samples = <const int64_t *>cnp.PyArray_DATA(samples)
    s.scale = scale
    return s


def srht(cnp.ndarray X, cnp.ndarray signs, cnp.ndarray samples, int64_t size, double scale, cnp.ndarray out, workers):
    """out = scale * X S^T, S being rows `samples` of the Hadamard matrix with signs on its columns.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    signs : ndarray of uint64, shape (ceil(size / 64),)
        Bit j % 64 of word j // 64 is set: column j has the sign minus.
    samples : ndarray of int64, shape (n_components,)
    size : int
        The order of the Hadamard matrix: a power of two, at least d.
    scale : float
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_srht_t s = describe_srht(cnp.PyArray_DIM(X, 1), signs, samples, size, scale)
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDES(X)[0]
    cdef const void *x = cnp.PyArray_DATA(X)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(X)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_srht_f32(&ctx, &s, <const float *>x, n, row_stride, <float *>y)
        else:
            outcome = kx_srht_f64(&ctx, &s, <const double *>x, n, row_stride, <double *>y)
    raise_for_status(outcome)


def srht_csr(cnp.ndarray indptr, cnp.ndarray indices, cnp.ndarray data, int64_t n_columns, cnp.ndarray signs,
             cnp.ndarray samples, int64_t size, double scale, cnp.ndarray out, workers):
    """The same for X in CSR form.

    Parameters
    ----------
    indptr, indices, data : ndarray
    n_columns : int
        d
    signs, samples, size, scale
        As for `srht`.
    out : ndarray, shape (n, n_components)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_srht_t s = describe_srht(n_columns, signs, samples, size, scale)
    cdef int64_t n = cnp.PyArray_DIM(out, 0)
    cdef const int64_t *starts = <const int64_t *>cnp.PyArray_DATA(indptr)
    cdef const int64_t *columns = <const int64_t *>cnp.PyArray_DATA(indices)
    cdef const void *x = cnp.PyArray_DATA(data)
    cdef void *y = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(data)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_srht_csr_f32(&ctx, &s, n, starts, columns, <const float *>x, <float *>y)
        else:
            outcome = kx_srht_csr_f64(&ctx, &s, n, starts, columns, <const double *>x, <double *>y)
    raise_for_status(outcome)


def srht_adjoint(cnp.ndarray Y, int64_t n_columns, cnp.ndarray signs, cnp.ndarray samples, int64_t size, double scale,
                 cnp.ndarray out, workers):
    """out = scale * Y S, the adjoint of `srht`.

    Parameters
    ----------
    Y : ndarray, shape (n, n_components), with contiguous columns
    n_columns : int
        d
    signs, samples, size, scale
        As for `srht`.
    out : ndarray, shape (n, d), C-contiguous
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_srht_t s = describe_srht(n_columns, signs, samples, size, scale)
    cdef int64_t n = cnp.PyArray_DIM(Y, 0)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDES(Y)[0]
    cdef const void *y = cnp.PyArray_DATA(Y)
    cdef void *z = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(Y)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_srht_adjoint_f32(&ctx, &s, <const float *>y, n, row_stride, <float *>z)
        else:
            outcome = kx_srht_adjoint_f64(&ctx, &s, <const double *>y, n, row_stride, <double *>z)
    raise_for_status(outcome)
