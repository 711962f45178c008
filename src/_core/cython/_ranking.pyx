"""Losses and measures of order: the calls into the C core. Checking and shaping of arguments is kexue._cosent's work."""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    kx_ctx_t,
    kx_losses_cosent_f32,
    kx_losses_cosent_f64,
    kx_losses_spearman,
    kx_status_t,
)

cnp.import_array()


def cosent(cnp.ndarray cosines, cnp.ndarray labels, double scale, cnp.ndarray loss, gradient, workers):
    """CoSENT of rows.

    Parameters
    ----------
    cosines : ndarray of float32 or float64, shape (rows, n)
        Of any strides.
    labels : ndarray of float64, shape (rows, n)
        Of any strides.
    scale : float
    loss : ndarray like cosines, shape (rows,)
        C-contiguous.
    gradient : ndarray like cosines, or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t rows = cnp.PyArray_DIM(cosines, 0), n = cnp.PyArray_DIM(cosines, 1)
    cdef ptrdiff_t cosine_row = cnp.PyArray_STRIDE(cosines, 0), cosine_step = cnp.PyArray_STRIDE(cosines, 1)
    cdef ptrdiff_t label_row = cnp.PyArray_STRIDE(labels, 0), label_step = cnp.PyArray_STRIDE(labels, 1)
    cdef ptrdiff_t gradient_row = 0, gradient_step = 0
    cdef const void *c = cnp.PyArray_DATA(cosines)
    cdef const double *t = <const double *>cnp.PyArray_DATA(labels)
    cdef void *out = cnp.PyArray_DATA(loss)
    cdef void *by_cosines = NULL
    if gradient is not None:
        by_cosines = cnp.PyArray_DATA(<cnp.ndarray>gradient)
        gradient_row = cnp.PyArray_STRIDE(<cnp.ndarray>gradient, 0)
        gradient_step = cnp.PyArray_STRIDE(<cnp.ndarray>gradient, 1)
    cdef bint narrow = cnp.PyArray_TYPE(cosines) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_cosent_f32(&ctx, <const float *>c, t, rows, n, cosine_row, cosine_step, label_row, label_step,
                                           scale, <float *>out, <float *>by_cosines, gradient_row, gradient_step)
        else:
            outcome = kx_losses_cosent_f64(&ctx, <const double *>c, t, rows, n, cosine_row, cosine_step, label_row, label_step,
                                           scale, <double *>out, <double *>by_cosines, gradient_row, gradient_step)
    raise_for_status(outcome)


def spearman(cnp.ndarray x, cnp.ndarray y, cnp.ndarray correlation, workers):
    """Spearman's correlation of rows.

    Parameters
    ----------
    x, y : ndarray of float64, shape (rows, n)
        Of any strides.
    correlation : ndarray of float64, shape (rows,)
        C-contiguous.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t rows = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    cdef ptrdiff_t x_row = cnp.PyArray_STRIDE(x, 0), x_step = cnp.PyArray_STRIDE(x, 1)
    cdef ptrdiff_t y_row = cnp.PyArray_STRIDE(y, 0), y_step = cnp.PyArray_STRIDE(y, 1)
    cdef const double *a = <const double *>cnp.PyArray_DATA(x)
    cdef const double *b = <const double *>cnp.PyArray_DATA(y)
    cdef double *out = <double *>cnp.PyArray_DATA(correlation)
    cdef kx_status_t outcome
    with nogil:
        outcome = kx_losses_spearman(&ctx, a, b, rows, n, x_row, x_step, y_row, y_step, out)
    raise_for_status(outcome)
