"""Elementary symmetric polynomials: the calls into the C core. Checking and shaping of arguments is kexue.losses' work."""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    KX_E_ARGUMENT,
    KX_E_NONFINITE,
    kx_ctx_t,
    kx_losses_combinatorial_f32,
    kx_losses_combinatorial_f64,
    kx_status_t,
)

cnp.import_array()


cdef inline ptrdiff_t stride(object array, size_t size) noexcept:
    return 0 if array is None or cnp.PyArray_SIZE(<cnp.ndarray>array) == 1 else <ptrdiff_t>size


def combinatorial(cnp.ndarray scores, targets, cnp.ndarray counts, fillers, value, grad, workers):
    """The logarithms or losses of rows, and their gradients.

    Parameters
    ----------
    scores : ndarray of float32 or float64, shape (rows, n)
        C-contiguous and aligned, as all of the arrays.
    targets : ndarray of uint8, shape (rows, n), or None
    counts : ndarray of int64, of one item or one for each row
    fillers : ndarray of float64, of one item or one for each row, or None
    value : ndarray like scores, shape (rows,)
    grad : ndarray like scores, or None
    workers : int or None

    Returns
    -------
    bool
        False if an argument is not what kx_losses_combinatorial.h asks for.
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t rows = cnp.PyArray_DIM(scores, 0), n = cnp.PyArray_DIM(scores, 1)
    cdef bint narrow = cnp.PyArray_TYPE(scores) == cnp.NPY_FLOAT
    cdef const void *score_data = data(scores)
    cdef const unsigned char *target_data = <const unsigned char *>data(targets)
    cdef const int64_t *count_data = <const int64_t *>data(counts)
    cdef const double *filler_data = <const double *>data(fillers)
    cdef void *values = data(value)
    cdef void *grads = data(grad)
    cdef ptrdiff_t count_stride = stride(counts, sizeof(int64_t)), filler_stride = stride(fillers, sizeof(double))
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_losses_combinatorial_f32(&ctx, <const float *>score_data, target_data, count_data, filler_data, rows, n,
                                                  count_stride, filler_stride, <float *>values, <float *>grads)
        else:
            outcome = kx_losses_combinatorial_f64(&ctx, <const double *>score_data, target_data, count_data, filler_data, rows, n,
                                                  count_stride, filler_stride, <double *>values, <double *>grads)
    if outcome == KX_E_ARGUMENT or outcome == KX_E_NONFINITE:
        return False
    raise_for_status(outcome)
    return True
