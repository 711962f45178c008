"""Gradients of which a part is dropped: the calls into the C core. Checking and shaping of arguments is
kexue._child_tuning's work.

`x` and `out` are ndarrays of float32 or float64, both of one dtype and shape, aligned and C-contiguous; they may be the same.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t, uint64_t

from kexue._context cimport fill_context, is_narrow, raise_for_status
from kexue.core cimport (
    kx_child_tuning_add_squares_f32,
    kx_child_tuning_add_squares_f64,
    kx_child_tuning_drop_f32,
    kx_child_tuning_drop_f64,
    kx_child_tuning_mask_f32,
    kx_child_tuning_mask_f64,
    kx_ctx_t,
    kx_status_t,
)

cnp.import_array()


def add_squares(cnp.ndarray x, cnp.ndarray sums):
    """sums += (x**2).sum(axis=0), in float64.

    Parameters
    ----------
    x : ndarray, shape (rows, n)
        C-contiguous.
    sums : ndarray of float64, shape (n,)
        C-contiguous.
    """
    cdef int64_t rows = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    cdef ptrdiff_t stride = n * cnp.PyArray_ITEMSIZE(x)
    cdef const void *from_x = cnp.PyArray_DATA(x)
    cdef double *to = <double *>cnp.PyArray_DATA(sums)
    cdef bint narrow = is_narrow(x)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_child_tuning_add_squares_f32(<const float *>from_x, rows, n, stride, to)
        else:
            outcome = kx_child_tuning_add_squares_f64(<const double *>from_x, rows, n, stride, to)
    raise_for_status(outcome)


def drop(cnp.ndarray x, cnp.ndarray key, uint64_t first_position, double p, double scale, cnp.ndarray out, workers):
    """out = scale * x where the stream of the key keeps it, else 0.

    Parameters
    ----------
    x, out : ndarray
    key : ndarray of uint64, shape (2,)
    first_position : int
        Of the first item in the stream.
    p : float
        The chance of an item to be kept, in (0, 1].
    scale : float
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_SIZE(x)
    cdef const uint64_t *k = <const uint64_t *>cnp.PyArray_DATA(key)
    cdef const void *from_x = cnp.PyArray_DATA(x)
    cdef void *to = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(x)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_child_tuning_drop_f32(&ctx, k, first_position, <const float *>from_x, n, p, scale, <float *>to)
        else:
            outcome = kx_child_tuning_drop_f64(&ctx, k, first_position, <const double *>from_x, n, p, scale, <double *>to)
    raise_for_status(outcome)


def keep(cnp.ndarray x, cnp.ndarray mask, double scale, cnp.ndarray out, workers):
    """out = scale * x where the mask is true, else 0.

    Parameters
    ----------
    x, out : ndarray
    mask : ndarray of bool, shape as x
        C-contiguous.
    scale : float
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_SIZE(x)
    cdef const uint8_t *m = <const uint8_t *>cnp.PyArray_DATA(mask)
    cdef const void *from_x = cnp.PyArray_DATA(x)
    cdef void *to = cnp.PyArray_DATA(out)
    cdef bint narrow = is_narrow(x)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_child_tuning_mask_f32(&ctx, m, <const float *>from_x, n, scale, <float *>to)
        else:
            outcome = kx_child_tuning_mask_f64(&ctx, m, <const double *>from_x, n, scale, <double *>to)
    raise_for_status(outcome)
