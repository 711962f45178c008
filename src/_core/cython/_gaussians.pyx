"""Gaussians: which matrix of a batch is not positive definite. The functions themselves are gufuncs of _ufuncs."""
cimport numpy as cnp
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_GAUSSIAN_CHOLESKY,
    KX_GAUSSIAN_COVARIANCE,
    KX_GAUSSIAN_DIAGONAL,
    kx_batch_t,
    kx_ctx_t,
    kx_gaussian_first_bad_pivot_f32,
    kx_gaussian_first_bad_pivot_f64,
    kx_gaussian_form_t,
    kx_status_t,
)

cnp.import_array()

FORMS = {"covariance": KX_GAUSSIAN_COVARIANCE, "cholesky": KX_GAUSSIAN_CHOLESKY, "diagonal": KX_GAUSSIAN_DIAGONAL}


def first_bad_pivot(cnp.ndarray scales, str form):
    """The first item that is not positive definite, its first pivot that is not positive, and that pivot; -1, -1, 0 if all are.

    Parameters
    ----------
    scales : ndarray of float32 or float64, shape (items, n, n), or (items, n) if diagonal
        C-contiguous and aligned.
    form : str

    Returns
    -------
    item, pivot : int
    value : float
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, 1)
    cdef kx_batch_t operand
    cdef const cnp.npy_intp *strides = cnp.PyArray_STRIDES(scales)
    operand.data = cnp.PyArray_DATA(scales)
    operand.batch = strides[0]
    operand.row = strides[1]
    operand.column = strides[2] if cnp.PyArray_NDIM(scales) == 3 else 0
    cdef int64_t items = cnp.PyArray_DIM(scales, 0), n = cnp.PyArray_DIM(scales, 1), item, pivot
    cdef double value
    cdef kx_gaussian_form_t kind = <kx_gaussian_form_t><int>FORMS[form]
    cdef bint narrow = cnp.PyArray_TYPE(scales) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_gaussian_first_bad_pivot_f32(&ctx, &operand, items, n, kind, &item, &pivot, &value)
        else:
            outcome = kx_gaussian_first_bad_pivot_f64(&ctx, &operand, items, n, kind, &item, &pivot, &value)
    raise_for_status(outcome)
    return item, pivot, value
