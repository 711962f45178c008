"""Contrastive and consistency losses: the calls into the C core. Checking and shaping of arguments is kexue._contrastive's work.

Arrays of rows are two-dimensional and aligned, and their rows contiguous; a stride of 0 between rows repeats one. What is no
valid input has the loss NaN.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    kx_ctx_t,
    kx_losses_info_nce_f32,
    kx_losses_info_nce_f64,
    kx_losses_r_drop_f32,
    kx_losses_r_drop_f64,
    kx_losses_softmax_kl_f32,
    kx_losses_softmax_kl_f64,
    kx_losses_softmax_symmetric_kl_f32,
    kx_losses_softmax_symmetric_kl_f64,
    kx_status_t,
)

cnp.import_array()


cdef inline ptrdiff_t stride(object array) noexcept:
    return 0 if array is None else cnp.PyArray_STRIDE(<cnp.ndarray>array, 0)


def softmax_kl(cnp.ndarray a, cnp.ndarray b, cnp.ndarray scratch, cnp.ndarray loss, grad):
    """KL of the softmaxes of each pair of rows, and the gradient by b.

    Parameters
    ----------
    a, b : ndarray of float32 or float64, shape (rows, n)
    scratch : ndarray of float64, shape (2 n + 32,)
    loss : ndarray like a, shape (rows,)
        C-contiguous. NaN for what takes more care, see kx_losses_contrastive.h.
    grad : ndarray like a, shape (rows, n), or None
    """
    cdef int64_t count = cnp.PyArray_DIM(a, 0), n = cnp.PyArray_DIM(a, 1)
    cdef const void *a_data = data(a)
    cdef const void *b_data = data(b)
    cdef double *space = <double *>data(scratch)
    cdef ptrdiff_t a_stride = stride(a), b_stride = stride(b), grad_stride = stride(grad)
    cdef void *loss_data = data(loss)
    cdef void *by_b = data(grad)
    cdef bint narrow = cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_softmax_kl_f32(<const float *>a_data, <const float *>b_data, count, n, a_stride, b_stride,
                                               space, <float *>loss_data, <float *>by_b, grad_stride)
        else:
            outcome = kx_losses_softmax_kl_f64(<const double *>a_data, <const double *>b_data, count, n, a_stride, b_stride,
                                               space, <double *>loss_data, <double *>by_b, grad_stride)
    raise_for_status(outcome)


def symmetric_kl(cnp.ndarray s, cnp.ndarray t, cnp.ndarray loss, grad_s, grad_t, workers):
    """The symmetric divergence of the softmaxes of each pair of rows.

    Parameters
    ----------
    s, t : ndarray of float32 or float64, shape (rows, n)
    loss : ndarray like s, shape (rows,)
        C-contiguous.
    grad_s, grad_t : ndarray like s, shape (rows, n), or None
        Both or none, of the same strides.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t count = cnp.PyArray_DIM(s, 0), n = cnp.PyArray_DIM(s, 1)
    cdef const void *s_data = data(s)
    cdef const void *t_data = data(t)
    cdef ptrdiff_t s_stride = stride(s), t_stride = stride(t), grad_stride = stride(grad_s)
    cdef void *loss_data = data(loss)
    cdef void *by_s = data(grad_s)
    cdef void *by_t = data(grad_t)
    cdef bint narrow = cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_softmax_symmetric_kl_f32(&ctx, <const float *>s_data, <const float *>t_data, count, n, s_stride,
                                                         t_stride, <float *>loss_data, <float *>by_s, <float *>by_t, grad_stride)
        else:
            outcome = kx_losses_softmax_symmetric_kl_f64(&ctx, <const double *>s_data, <const double *>t_data, count, n, s_stride,
                                                         t_stride, <double *>loss_data, <double *>by_s, <double *>by_t,
                                                         grad_stride)
    raise_for_status(outcome)


def r_drop(cnp.ndarray s, cnp.ndarray t, ids, weights, double alpha, cnp.ndarray loss, grad_s, grad_t, workers):
    """The R-Drop loss of each pair of rows.

    Parameters
    ----------
    s, t, loss, grad_s, grad_t, workers
        As in `symmetric_kl`.
    ids : ndarray of int64, shape (rows,), or None
        C-contiguous.
    weights : ndarray like s, shape (rows, n), or None
    alpha : float
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t count = cnp.PyArray_DIM(s, 0), n = cnp.PyArray_DIM(s, 1)
    cdef const void *s_data = data(s)
    cdef const void *t_data = data(t)
    cdef const void *weight_data = data(weights)
    cdef const int64_t *id_data = <const int64_t *>data(ids)
    cdef ptrdiff_t s_stride = stride(s), t_stride = stride(t), weight_stride = stride(weights), grad_stride = stride(grad_s)
    cdef void *loss_data = data(loss)
    cdef void *by_s = data(grad_s)
    cdef void *by_t = data(grad_t)
    cdef bint narrow = cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_r_drop_f32(&ctx, <const float *>s_data, <const float *>t_data, id_data,
                                           <const float *>weight_data, count, n, s_stride, t_stride, weight_stride, alpha,
                                           <float *>loss_data, <float *>by_s, <float *>by_t, grad_stride)
        else:
            outcome = kx_losses_r_drop_f64(&ctx, <const double *>s_data, <const double *>t_data, id_data,
                                           <const double *>weight_data, count, n, s_stride, t_stride, weight_stride, alpha,
                                           <double *>loss_data, <double *>by_s, <double *>by_t, grad_stride)
    raise_for_status(outcome)


def info_nce(cnp.ndarray similarities, double temperature, bint symmetric, cnp.ndarray loss, grad, workers):
    """The InfoNCE loss of each matrix.

    Parameters
    ----------
    similarities : ndarray of float32 or float64, shape (matrices, n, n)
    temperature : float
    symmetric : bool
    loss : ndarray like similarities, shape (matrices,)
        C-contiguous.
    grad : ndarray like similarities, shape (matrices, n, n), or None
        C-contiguous.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t count = cnp.PyArray_DIM(similarities, 0), n = cnp.PyArray_DIM(similarities, 1)
    cdef const void *similarity_data = data(similarities)
    cdef ptrdiff_t matrix_stride = stride(similarities), row_stride = cnp.PyArray_STRIDE(similarities, 1)
    cdef void *loss_data = data(loss)
    cdef void *grad_data = data(grad)
    cdef bint narrow = cnp.PyArray_TYPE(similarities) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_info_nce_f32(&ctx, <const float *>similarity_data, count, n, matrix_stride, row_stride,
                                             temperature, symmetric, <float *>loss_data, <float *>grad_data)
        else:
            outcome = kx_losses_info_nce_f64(&ctx, <const double *>similarity_data, count, n, matrix_stride, row_stride,
                                             temperature, symmetric, <double *>loss_data, <double *>grad_data)
    raise_for_status(outcome)
