"""Norms and scaled rows of arrays: the calls into the C core. Checking and shaping of arguments is
kexue._gradient_clipping's work.
"""
cimport numpy as cnp
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, is_narrow, raise_for_status
from kexue.core cimport (
    kx_clip_factor,
    kx_clip_factor_t,
    kx_combine_norms,
    kx_ctx_t,
    kx_row_norms_f32,
    kx_row_norms_f64,
    kx_scale_rows_f32,
    kx_scale_rows_f64,
    kx_scaled_norm_t,
    kx_status_t,
)

import numpy as np

cnp.import_array()

NORM = np.dtype([("square", np.float64), ("exponent", np.intc)], align=True)
FACTOR = np.dtype([("first", np.float64), ("second", np.float64)])


def row_norms(list parts, workers):
    """The norms of all rows of some arrays.

    Parameters
    ----------
    parts : list of ndarray of float32 or float64, shape (rows, columns)
        C-contiguous.
    workers : int or None

    Returns
    -------
    ndarray of NORM, shape (rows of all,)
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef cnp.ndarray part, norms = np.empty(sum([len(part) for part in parts]), dtype=NORM)
    cdef kx_scaled_norm_t *to = <kx_scaled_norm_t *>cnp.PyArray_DATA(norms)
    cdef int64_t rows, columns
    cdef bint narrow
    cdef void *x
    cdef kx_status_t outcome
    for part in parts:
        rows, columns, x, narrow = cnp.PyArray_DIM(part, 0), cnp.PyArray_DIM(part, 1), cnp.PyArray_DATA(part), is_narrow(part)
        with nogil:
            if narrow:
                outcome = kx_row_norms_f32(&ctx, <const float *>x, rows, columns, columns, to)
            else:
                outcome = kx_row_norms_f64(&ctx, <const double *>x, rows, columns, columns, to)
        raise_for_status(outcome)
        to += rows
    return norms


def combine_norms(cnp.ndarray norms):
    """The norm, shape (1,), of all that `norms` are of."""
    cdef cnp.ndarray norm = np.empty(1, dtype=NORM)
    (<kx_scaled_norm_t *>cnp.PyArray_DATA(norm))[0] = kx_combine_norms(
        <const kx_scaled_norm_t *>cnp.PyArray_DATA(norms), cnp.PyArray_SIZE(norms))
    return norm


def clip_factors(cnp.ndarray norms, double max_norm, bint is_soft):
    """What each row is to be multiplied with, an ndarray of FACTOR."""
    cdef int64_t i, count = cnp.PyArray_SIZE(norms)
    cdef cnp.ndarray factors = np.empty(count, dtype=FACTOR)
    cdef const kx_scaled_norm_t *of_norms = <const kx_scaled_norm_t *>cnp.PyArray_DATA(norms)
    cdef kx_clip_factor_t *to = <kx_clip_factor_t *>cnp.PyArray_DATA(factors)
    for i in range(count):
        to[i] = kx_clip_factor(of_norms[i], max_norm, is_soft)
    return factors


def scale_rows(list parts, cnp.ndarray factors, list outs, workers):
    """Scales the rows of some arrays.

    Parameters
    ----------
    parts, outs : list of ndarray of float32 or float64, shape (rows, columns)
        C-contiguous; an array of `outs` is that of `parts`, or does not overlap it.
    factors : ndarray of FACTOR, shape (rows of all,)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef cnp.ndarray part, target
    cdef const kx_clip_factor_t *of_rows = <const kx_clip_factor_t *>cnp.PyArray_DATA(factors)
    cdef int64_t rows, columns
    cdef bint narrow
    cdef void *x
    cdef void *out
    cdef kx_status_t outcome
    for part, target in zip(parts, outs):
        rows, columns, x, narrow = cnp.PyArray_DIM(part, 0), cnp.PyArray_DIM(part, 1), cnp.PyArray_DATA(part), is_narrow(part)
        out = cnp.PyArray_DATA(target)
        with nogil:
            if narrow:
                outcome = kx_scale_rows_f32(&ctx, <const float *>x, rows, columns, columns, of_rows, <float *>out, columns)
            else:
                outcome = kx_scale_rows_f64(&ctx, <const double *>x, rows, columns, columns, of_rows, <double *>out, columns)
        raise_for_status(outcome)
        of_rows += rows


cdef tuple extent(cnp.ndarray array, bint is_written):
    """Where an array begins and ends in memory."""
    cdef int64_t low = <int64_t>cnp.PyArray_DATA(array), high = low + cnp.PyArray_ITEMSIZE(array), reach
    cdef int axis
    for axis in range(cnp.PyArray_NDIM(array)):
        reach = (cnp.PyArray_DIM(array, axis) - 1) * cnp.PyArray_STRIDE(array, axis)
        if reach < 0:
            low += reach
        else:
            high += reach
    return low, high, is_written


def have_overlaps(list targets, list arrays):
    """Whether writing a target may change another one, or an array that is not that target itself."""
    cdef list extents = []
    cdef cnp.ndarray target, array
    cdef int64_t low, high, read = 0, written = 0
    cdef bint is_written
    for target, array in zip(targets, arrays):
        if cnp.PyArray_SIZE(target) == 0:
            continue
        extents.append(extent(target, True))
        if target is not array and not (
                cnp.PyArray_DATA(target) == cnp.PyArray_DATA(array) and (<object>target).strides == (<object>array).strides):
            extents.append(extent(array, False))
    extents.sort()
    for low, high, is_written in extents:
        if low < written or (is_written and low < read):
            return True
        if is_written:
            written = max(written, high)
        read = max(read, high)
    return False
