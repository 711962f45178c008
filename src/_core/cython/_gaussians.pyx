"""Gaussians: which covariance matrix is not positive definite. The functions themselves are gufuncs of _ufuncs."""
cimport numpy as cnp
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_GAUSSIAN_COVARIANCE,
    kx_batch_t,
    kx_ctx_t,
    kx_gaussian_first_bad_pivot_f32,
    kx_gaussian_first_bad_pivot_f64,
    kx_gaussian_first_not_semidefinite_f32,
    kx_gaussian_first_not_semidefinite_f64,
    kx_status_t,
)

cnp.import_array()


cdef kx_batch_t matrices(cnp.ndarray covariances):
    cdef kx_batch_t operand
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(covariances)
    operand.data = cnp.PyArray_DATA(covariances)
    operand.batch = strides[0]
    operand.row = strides[1]
    operand.column = strides[2]
    return operand


def first_bad_pivot(cnp.ndarray covariances):
    """The first matrix that is not positive definite and its first pivot that is not positive; -1, -1, 0 if all are.

    Parameters
    ----------
    covariances : ndarray of float32 or float64, shape (items, n, n)
        Native, and aligned. The lower triangles are read.

    Returns
    -------
    item, pivot : int
    value : float
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef kx_batch_t operand = matrices(covariances)
    cdef int64_t items = cnp.PyArray_DIM(covariances, 0), n = cnp.PyArray_DIM(covariances, 1), item, pivot
    cdef double value
    cdef bint narrow = cnp.PyArray_TYPE(covariances) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_gaussian_first_bad_pivot_f32(
                &ctx, &operand, items, n, KX_GAUSSIAN_COVARIANCE, &item, &pivot, &value)
        else:
            outcome = kx_gaussian_first_bad_pivot_f64(
                &ctx, &operand, items, n, KX_GAUSSIAN_COVARIANCE, &item, &pivot, &value)
    raise_for_status(outcome)
    return item, pivot, value


def first_not_semidefinite(cnp.ndarray covariances):
    """The first matrix that is not positive semidefinite, and about its least eigenvalue; -1, 0 if all are.

    Parameters
    ----------
    covariances : ndarray of float32 or float64, shape (items, n, n)
        Native, and aligned. The lower triangles are read.

    Returns
    -------
    item : int
    value : float
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef kx_batch_t operand = matrices(covariances)
    cdef int64_t items = cnp.PyArray_DIM(covariances, 0), n = cnp.PyArray_DIM(covariances, 1), item
    cdef double value
    cdef bint narrow = cnp.PyArray_TYPE(covariances) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_gaussian_first_not_semidefinite_f32(
                &ctx, &operand, items, n, KX_GAUSSIAN_COVARIANCE, &item, &value)
        else:
            outcome = kx_gaussian_first_not_semidefinite_f64(
                &ctx, &operand, items, n, KX_GAUSSIAN_COVARIANCE, &item, &value)
    raise_for_status(outcome)
    return item, value
