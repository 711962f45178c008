"""Codes of bits: the calls into the C core. Checking and shaping of arguments is kexue._sign_hash's work.

Codes are C-contiguous arrays of uint64, shape (n, words).
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t, uint64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_HAMMING_MAX_WORDS,
    kx_ctx_t,
    kx_hamming_distances,
    kx_hamming_neighbors,
    kx_hamming_pack_f32,
    kx_hamming_pack_f64,
    kx_status_t,
)

cnp.import_array()

MAX_WORDS = KX_HAMMING_MAX_WORDS


def pack(cnp.ndarray X, cnp.ndarray codes):
    """Bit j % 64 of codes[i, j // 64] = whether X[i, j] >= 0; bits past the last column are 0.

    Parameters
    ----------
    X : ndarray of float32 or float64, shape (n, columns)
        Aligned, of any strides.
    codes : ndarray of uint64, shape (n, ceil(columns / 64))
        Aligned, its rows contiguous.
    """
    cdef const void *x = cnp.PyArray_DATA(X)
    cdef int64_t rows = cnp.PyArray_DIM(X, 0), columns = cnp.PyArray_DIM(X, 1)
    cdef ptrdiff_t row_stride = cnp.PyArray_STRIDE(X, 0), stride = cnp.PyArray_STRIDE(X, 1)
    cdef uint64_t *out = <uint64_t *>cnp.PyArray_DATA(codes)
    cdef ptrdiff_t code_stride = cnp.PyArray_STRIDE(codes, 0)
    cdef bint narrow = cnp.PyArray_TYPE(X) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_hamming_pack_f32(<const float *>x, rows, columns, row_stride, stride, out, code_stride)
        else:
            outcome = kx_hamming_pack_f64(<const double *>x, rows, columns, row_stride, stride, out, code_stride)
    raise_for_status(outcome)


def distances(cnp.ndarray queries, cnp.ndarray codes, cnp.ndarray out, workers):
    """out[q, c] = how many bits of queries[q] and codes[c] differ.

    Parameters
    ----------
    queries, codes : ndarray of uint64, shapes (q, words) and (n, words)
    out : ndarray of int32, shape (q, n)
        C-contiguous.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t q = cnp.PyArray_DIM(queries, 0), n = cnp.PyArray_DIM(codes, 0), words = cnp.PyArray_DIM(codes, 1)
    cdef const uint64_t *a = <const uint64_t *>cnp.PyArray_DATA(queries)
    cdef const uint64_t *b = <const uint64_t *>cnp.PyArray_DATA(codes)
    cdef int32_t *numbers = <int32_t *>cnp.PyArray_DATA(out)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_hamming_distances(&ctx, a, q, b, n, words, numbers)
    raise_for_status(outcome)


def neighbors(cnp.ndarray queries, cnp.ndarray codes, cnp.ndarray distances, cnp.ndarray indices, workers):
    """The k nearest codes of each query, by distance and then by index.

    Parameters
    ----------
    queries, codes : ndarray of uint64, shapes (q, words) and (n, words)
    distances, indices : ndarray of int32 and of int64, shape (q, k)
        C-contiguous; k <= n.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t q = cnp.PyArray_DIM(queries, 0), n = cnp.PyArray_DIM(codes, 0), words = cnp.PyArray_DIM(codes, 1)
    cdef int64_t k = cnp.PyArray_DIM(indices, 1)
    cdef const uint64_t *a = <const uint64_t *>cnp.PyArray_DATA(queries)
    cdef const uint64_t *b = <const uint64_t *>cnp.PyArray_DATA(codes)
    cdef int32_t *numbers = <int32_t *>cnp.PyArray_DATA(distances)
    cdef int64_t *places = <int64_t *>cnp.PyArray_DATA(indices)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_hamming_neighbors(&ctx, a, q, b, n, words, k, numbers, places)
    raise_for_status(outcome)
