"""ZLPR and its relatives: the calls into the C core. Checking and shaping of arguments is kexue._zlpr's work.

Scores, targets, masks and gradients are two-dimensional and aligned, and their rows contiguous; a stride of 0 between rows
repeats one. A row that is no valid input has the loss NaN.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    kx_ctx_t,
    kx_loss_rows_t,
    kx_losses_pairwise_rank_f32,
    kx_losses_pairwise_rank_f64,
    kx_losses_zlpr_f32,
    kx_losses_zlpr_f64,
    kx_losses_zlpr_sparse_f32,
    kx_losses_zlpr_sparse_f64,
    kx_losses_zlpr_symmetric_kl_f32,
    kx_losses_zlpr_symmetric_kl_f64,
    kx_status_t,
)

cnp.import_array()


cdef inline ptrdiff_t stride(object array) noexcept:
    return 0 if array is None else cnp.PyArray_STRIDE(<cnp.ndarray>array, 0)


cdef int fill_rows(kx_loss_rows_t *rows, cnp.ndarray scores, object targets, object mask, object thresholds) except -1:
    rows.count = cnp.PyArray_DIM(scores, 0)
    rows.n = cnp.PyArray_DIM(scores, 1)
    rows.scores = data(scores)
    rows.score_stride = stride(scores)
    cdef bint are_labels = targets is not None and cnp.PyArray_TYPE(<cnp.ndarray>targets) == cnp.NPY_UINT8
    rows.labels = <const uint8_t *>data(targets) if are_labels else NULL
    rows.targets = NULL if are_labels else data(targets)
    rows.label_stride = rows.target_stride = stride(targets)
    rows.mask = <const uint8_t *>data(mask)
    rows.mask_stride = stride(mask)
    rows.thresholds = data(thresholds)
    rows.threshold_stride = stride(thresholds)
    return 0


def zlpr(cnp.ndarray scores, cnp.ndarray targets, mask, thresholds, double label_smoothing, cnp.ndarray loss, grad, workers):
    """The loss of each row, and its gradient.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (rows, n)
    targets : ndarray of uint8 or like scores, shape (rows, n)
    mask : ndarray of uint8, shape (rows, n), or None
    thresholds : ndarray like scores, shape (rows,), or None
    label_smoothing : float
    loss : ndarray like scores, shape (rows,)
        C-contiguous.
    grad : ndarray like scores, shape (rows, n), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_loss_rows_t rows
    fill_rows(&rows, scores, targets, mask, thresholds)
    cdef void *loss_data = data(loss)
    cdef void *grad_data = data(grad)
    cdef ptrdiff_t grad_stride = stride(grad)
    cdef bint narrow = cnp.PyArray_TYPE(scores) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_zlpr_f32(&ctx, &rows, label_smoothing, <float *>loss_data, <float *>grad_data, grad_stride)
        else:
            outcome = kx_losses_zlpr_f64(&ctx, &rows, label_smoothing, <double *>loss_data, <double *>grad_data, grad_stride)
    raise_for_status(outcome)


def zlpr_sparse(cnp.ndarray scores, cnp.ndarray offsets, cnp.ndarray ids, mask, thresholds, cnp.ndarray loss, grad, workers):
    """The same of targets that are 1 at ids.

    Parameters
    ----------
    scores, mask, thresholds, loss, grad, workers
        As in `zlpr`.
    offsets : ndarray of int64, shape (rows + 1,)
        Ascending, from 0 to the number of ids.
    ids : ndarray of int64
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_loss_rows_t rows
    fill_rows(&rows, scores, None, mask, thresholds)
    cdef const int64_t *offset_data = <const int64_t *>data(offsets)
    cdef const int64_t *id_data = <const int64_t *>data(ids)
    cdef void *loss_data = data(loss)
    cdef void *grad_data = data(grad)
    cdef ptrdiff_t grad_stride = stride(grad)
    cdef bint narrow = cnp.PyArray_TYPE(scores) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_zlpr_sparse_f32(&ctx, &rows, offset_data, id_data, <float *>loss_data, <float *>grad_data,
                                                grad_stride)
        else:
            outcome = kx_losses_zlpr_sparse_f64(&ctx, &rows, offset_data, id_data, <double *>loss_data, <double *>grad_data,
                                                grad_stride)
    raise_for_status(outcome)


def pairwise_rank(cnp.ndarray scores, cnp.ndarray targets, mask, double gamma, double margin, cnp.ndarray loss, grad, workers):
    """The pairwise form; arguments as in `zlpr`, targets 0 or 1."""
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_loss_rows_t rows
    fill_rows(&rows, scores, targets, mask, None)
    cdef void *loss_data = data(loss)
    cdef void *grad_data = data(grad)
    cdef ptrdiff_t grad_stride = stride(grad)
    cdef bint narrow = cnp.PyArray_TYPE(scores) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_pairwise_rank_f32(&ctx, &rows, gamma, margin, <float *>loss_data, <float *>grad_data, grad_stride)
        else:
            outcome = kx_losses_pairwise_rank_f64(&ctx, &rows, gamma, margin, <double *>loss_data, <double *>grad_data,
                                                  grad_stride)
    raise_for_status(outcome)


def symmetric_kl(cnp.ndarray s, cnp.ndarray t, mask, cnp.ndarray loss, grad_s, grad_t, workers):
    """The symmetric divergence of each pair of rows.

    Parameters
    ----------
    s, t : ndarray of float32 or float64, shape (rows, n)
    mask : ndarray of uint8, shape (rows, n), or None
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
    cdef const uint8_t *mask_data = <const uint8_t *>data(mask)
    cdef ptrdiff_t s_stride = stride(s), t_stride = stride(t), mask_stride = stride(mask), grad_stride = stride(grad_s)
    cdef void *loss_data = data(loss)
    cdef void *by_s = data(grad_s)
    cdef void *by_t = data(grad_t)
    cdef bint narrow = cnp.PyArray_TYPE(s) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_zlpr_symmetric_kl_f32(&ctx, <const float *>s_data, <const float *>t_data, mask_data, count, n,
                                                      s_stride, t_stride, mask_stride, <float *>loss_data, <float *>by_s,
                                                      <float *>by_t, grad_stride)
        else:
            outcome = kx_losses_zlpr_symmetric_kl_f64(&ctx, <const double *>s_data, <const double *>t_data, mask_data, count, n,
                                                      s_stride, t_stride, mask_stride, <double *>loss_data, <double *>by_s,
                                                      <double *>by_t, grad_stride)
    raise_for_status(outcome)
