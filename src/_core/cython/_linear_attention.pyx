"""Linear attention and polynomial features: the calls into the C core. Checking and shaping of arguments is the work of
kexue._linearized_attention and kexue._feature_maps.

Batches are given by byte offsets of their items: an array is the first item's, of two dimensions, its rows contiguous.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    kx_attention_rows_t,
    kx_ctx_t,
    kx_linear_attention_f32,
    kx_linear_attention_f64,
    kx_linear_attention_t,
    kx_polynomial_features_f32,
    kx_polynomial_features_f64,
    kx_polynomial_features_size,
    kx_polynomial_t,
    kx_status_t,
)

cnp.import_array()


cdef void set_rows(kx_attention_rows_t *rows, cnp.ndarray array, cnp.ndarray offsets, ptrdiff_t row) noexcept:
    rows.data = cnp.PyArray_DATA(array)
    rows.offsets = <const int64_t *>cnp.PyArray_DATA(offsets)
    rows.row = row


def attend(tuple queries, tuple keys, tuple values, log_scales, bint is_causal, bint is_normalized, double eps, cnp.ndarray out,
           denominators, workers):
    """Outputs of all items.

    Parameters
    ----------
    queries, keys, values : tuple of ndarray of float32 or float64, shape (rows, dimension), and of int64, shape (items,)
        The first item, its rows contiguous and aligned, and the bytes from it to each item.
    log_scales : tuple of ndarray of float64, shape (1, keys), and of int64, shape (items,), or None
        Of any strides.
    is_causal, is_normalized : bool
    eps : float
    out : ndarray like queries, shape (items, queries, value dimension)
        C-contiguous.
    denominators : ndarray of float64, shape (items, queries), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_linear_attention_t a
    set_rows(&a.queries, queries[0], queries[1], cnp.PyArray_STRIDE(<cnp.ndarray>queries[0], 0))
    set_rows(&a.keys, keys[0], keys[1], cnp.PyArray_STRIDE(<cnp.ndarray>keys[0], 0))
    set_rows(&a.values, values[0], values[1], cnp.PyArray_STRIDE(<cnp.ndarray>values[0], 0))
    a.log_scales.data = NULL
    if log_scales is not None:
        set_rows(&a.log_scales, log_scales[0], log_scales[1], cnp.PyArray_STRIDE(<cnp.ndarray>log_scales[0], 1))
    a.items = cnp.PyArray_DIM(<cnp.ndarray>queries[1], 0)
    a.query_count = cnp.PyArray_DIM(<cnp.ndarray>queries[0], 0)
    a.key_count = cnp.PyArray_DIM(<cnp.ndarray>keys[0], 0)
    a.dimension = cnp.PyArray_DIM(<cnp.ndarray>queries[0], 1)
    a.value_dimension = cnp.PyArray_DIM(<cnp.ndarray>values[0], 1)
    a.is_causal = is_causal
    a.is_normalized = is_normalized
    a.eps = eps
    cdef void *result = cnp.PyArray_DATA(out)
    cdef double *sums = NULL if denominators is None else <double *>cnp.PyArray_DATA(<cnp.ndarray>denominators)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_linear_attention_f32(&ctx, &a, <float *>result, sums)
        else:
            outcome = kx_linear_attention_f64(&ctx, &a, <double *>result, sums)
    raise_for_status(outcome)


def polynomial_size(int kind, int64_t d, int64_t degree):
    """How many numbers a row gets."""
    cdef int64_t size = 0
    raise_for_status(kx_polynomial_features_size(<kx_polynomial_t>kind, d, degree, &size))
    return size


def polynomials(int kind, cnp.ndarray x, int64_t degree, double scale, degree_scales, cnp.ndarray out, workers):
    """Polynomials of all rows.

    Parameters
    ----------
    kind : int
        A ``kx_polynomial_t``.
    x : ndarray of float32 or float64, shape (rows, d)
        Rows contiguous and aligned.
    degree : int
    scale : float
    degree_scales : ndarray of float64, shape (degree + 1,), or None
    out : ndarray like x, shape (rows, polynomial_size(kind, d, degree))
        C-contiguous.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef void *source = cnp.PyArray_DATA(x)
    cdef void *result = cnp.PyArray_DATA(out)
    cdef double *scales = NULL if degree_scales is None else <double *>cnp.PyArray_DATA(<cnp.ndarray>degree_scales)
    cdef int64_t rows = cnp.PyArray_DIM(x, 0)
    cdef int64_t d = cnp.PyArray_DIM(x, 1)
    cdef ptrdiff_t row = cnp.PyArray_STRIDE(x, 0)
    cdef bint narrow = cnp.PyArray_TYPE(out) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_polynomial_features_f32(&ctx, <kx_polynomial_t>kind, <float *>source, rows, row, d, degree, scale, scales,
                                                 <float *>result)
        else:
            outcome = kx_polynomial_features_f64(&ctx, <kx_polynomial_t>kind, <double *>source, rows, row, d, degree, scale, scales,
                                                 <double *>result)
    raise_for_status(outcome)
