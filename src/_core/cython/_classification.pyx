"""Classification with alternating normalisation: the calls into the C core. Checking and shaping of arguments
is kexue._can's work."""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t

from kexue._context cimport fill_context, raise_for_status
from kexue.core cimport (
    KX_CLASSIFICATION_TOLERANCE,
    KX_E_NEGATIVE,
    KX_E_NONFINITE,
    KX_E_TOTALS,
    KX_UNCERTAINTY_PAPER,
    KX_UNCERTAINTY_POST,
    KX_UNCERTAINTY_REPO,
    kx_can_options_t,
    kx_classification_can_f32,
    kx_classification_can_f64,
    kx_classification_topk_entropy_f32,
    kx_classification_topk_entropy_f64,
    kx_ctx_t,
    kx_status_t,
    kx_uncertainty_t,
)

cnp.import_array()

POST = KX_UNCERTAINTY_POST
PAPER = KX_UNCERTAINTY_PAPER
REPO = KX_UNCERTAINTY_REPO
TOLERANCE = KX_CLASSIFICATION_TOLERANCE


cdef bint are_in_order(kx_status_t outcome) except -1:
    if outcome == KX_E_NONFINITE or outcome == KX_E_NEGATIVE or outcome == KX_E_TOTALS:
        return False
    raise_for_status(outcome)
    return True


def topk_entropy(cnp.ndarray P, int64_t k, int kind, cnp.ndarray out, workers):
    """The uncertainty of each row into `out`; False if a row is not one of probabilities, which one is not said.

    Parameters
    ----------
    P : ndarray of float32 or float64, shape (n, m)
        C-contiguous and aligned.
    k : int
    kind : int
        POST, PAPER or REPO.
    out : ndarray like P, shape (n,)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t rows = cnp.PyArray_DIM(P, 0), n = cnp.PyArray_DIM(P, 1)
    cdef ptrdiff_t stride = n * cnp.PyArray_ITEMSIZE(P)
    cdef const void *values = cnp.PyArray_DATA(P)
    cdef void *target = cnp.PyArray_DATA(out)
    cdef bint narrow = cnp.PyArray_TYPE(P) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_classification_topk_entropy_f32(&ctx, <const float *>values, rows, n, stride, k,
                                                         <kx_uncertainty_t>kind, <float *>target)
        else:
            outcome = kx_classification_topk_entropy_f64(&ctx, <const double *>values, rows, n, stride, k,
                                                         <kx_uncertainty_t>kind, <double *>target)
    return are_in_order(outcome)


def can(cnp.ndarray P, cnp.ndarray prior, int64_t k, int kind, double threshold, double alpha, cnp.ndarray out,
        cnp.ndarray uncertainty, workers):
    """One alternating normalisation; False as in `topk_entropy`.

    Parameters
    ----------
    P, k, kind, workers
        As in `topk_entropy`.
    prior : ndarray of float64, shape (m,)
        Positive.
    threshold, alpha : float
    out : ndarray like P
    uncertainty : ndarray like P, shape (n,)
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_can_options_t options
    options.k = k
    options.kind = <kx_uncertainty_t>kind
    options.threshold = threshold
    options.alpha = alpha
    cdef int64_t rows = cnp.PyArray_DIM(P, 0), n = cnp.PyArray_DIM(P, 1)
    cdef ptrdiff_t stride = n * cnp.PyArray_ITEMSIZE(P)
    cdef const void *values = cnp.PyArray_DATA(P)
    cdef const double *shares = <const double *>cnp.PyArray_DATA(prior)
    cdef void *target = cnp.PyArray_DATA(out)
    cdef void *uncertain = cnp.PyArray_DATA(uncertainty)
    cdef bint narrow = cnp.PyArray_TYPE(P) == cnp.NPY_FLOAT
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_classification_can_f32(&ctx, <const float *>values, rows, n, stride, shares, &options,
                                                <float *>target, stride, <float *>uncertain)
        else:
            outcome = kx_classification_can_f64(&ctx, <const double *>values, rows, n, stride, shares, &options,
                                                <double *>target, stride, <double *>uncertain)
    return are_in_order(outcome)
