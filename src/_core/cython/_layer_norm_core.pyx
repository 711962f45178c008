"""Gradients of layer and RMS normalisation: the calls into the C core. Checking and shaping of arguments is kexue._layer_norm's
work.
"""
cimport numpy as cnp
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    kx_ctx_t,
    kx_layer_norm_vjp_f32,
    kx_layer_norm_vjp_f64,
    kx_norm_vectors_t,
    kx_rms_norm_vjp_f32,
    kx_rms_norm_vjp_f64,
    kx_status_t,
)

cnp.import_array()


cdef kx_norm_vectors_t vectors(cnp.ndarray array) noexcept:
    cdef kx_norm_vectors_t result
    result.data = cnp.PyArray_DATA(array)
    result.row = cnp.PyArray_STRIDE(array, 0)
    result.step = cnp.PyArray_STRIDE(array, 1)
    return result


def gradients(cnp.ndarray x, cnp.ndarray upstream, gamma, double eps, cnp.ndarray dx, cnp.ndarray dgamma, dbeta, workers):
    """The gradients of layer normalisation, or those of RMS normalisation if `dbeta` is None.

    Parameters
    ----------
    x, upstream, dx : ndarray of float32 or float64, shape (rows, n)
        Aligned, of any strides.
    gamma : ndarray like x, shape (1, n), or None
    eps : float
    dgamma, dbeta : ndarray like x, shape (n,)
        C-contiguous.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t rows = cnp.PyArray_DIM(x, 0), n = cnp.PyArray_DIM(x, 1)
    cdef kx_norm_vectors_t of_x = vectors(x), of_upstream = vectors(upstream), of_dx = vectors(dx), of_gamma
    cdef kx_norm_vectors_t *weight = NULL
    if gamma is not None:
        of_gamma = vectors(<cnp.ndarray>gamma)
        of_gamma.row = 0
        weight = &of_gamma
    cdef void *by_gamma = cnp.PyArray_DATA(dgamma)
    cdef bint is_layer = dbeta is not None, narrow = cnp.PyArray_TYPE(x) == cnp.NPY_FLOAT
    cdef void *by_beta = cnp.PyArray_DATA(<cnp.ndarray>dbeta) if is_layer else NULL
    cdef kx_status_t outcome
    with nogil:
        if is_layer and narrow:
            outcome = kx_layer_norm_vjp_f32(&ctx, &of_x, &of_upstream, weight, rows, n, eps, &of_dx, <float *>by_gamma,
                                            <float *>by_beta)
        elif is_layer:
            outcome = kx_layer_norm_vjp_f64(&ctx, &of_x, &of_upstream, weight, rows, n, eps, &of_dx, <double *>by_gamma,
                                            <double *>by_beta)
        elif narrow:
            outcome = kx_rms_norm_vjp_f32(&ctx, &of_x, &of_upstream, weight, rows, n, eps, &of_dx, <float *>by_gamma)
        else:
            outcome = kx_rms_norm_vjp_f64(&ctx, &of_x, &of_upstream, weight, rows, n, eps, &of_dx, <double *>by_gamma)
    raise_for_status(outcome)
