"""Entropy normalisation: the calls into the C core. Checking and shaping of arguments is kexue.entropy's work."""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, int64_t

from kexue._context cimport data, fill_context, raise_for_status
from kexue.core cimport (
    KX_ENTROPY_ABOVE,
    KX_ENTROPY_BELOW,
    KX_ENTROPY_CONSTANT,
    kx_ctx_t,
    kx_entropy_domain_t,
    kx_entropy_gradient_f32,
    kx_entropy_gradient_f64,
    kx_entropy_normalize_f32,
    kx_entropy_normalize_f64,
    kx_entropy_options_init,
    kx_entropy_options_t,
    kx_entropy_outputs_t,
    kx_entropy_target_t,
    kx_status_t,
)

cnp.import_array()

BELOW = KX_ENTROPY_BELOW
ABOVE = KX_ENTROPY_ABOVE
CONSTANT = KX_ENTROPY_CONSTANT


def normalize(cnp.ndarray values, offsets, cnp.ndarray targets, int target_kind, int domain, q, gamma, entropy, status,
              iterations, double tolerance, int max_iter, workers):
    """Normalise rows; what became of each is in `status`.

    Parameters
    ----------
    values : ndarray of float32 or float64
        C-contiguous and aligned; of shape (rows, n), or of one dimension with `offsets`.
    offsets : ndarray of int64, shape (rows + 1,), or None
    targets : ndarray of float64
        Of one item or of one for each row.
    target_kind, domain : int
        As in kx_entropy.h.
    q : ndarray like values, or None
    gamma, entropy : ndarray of float64, shape (rows,), or None
    status, iterations : ndarray of int32, shape (rows,), or None
    tolerance : float
    max_iter : int
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_entropy_options_t options
    options.domain = <kx_entropy_domain_t>domain
    options.target = <kx_entropy_target_t>target_kind
    options.tolerance = tolerance
    options.max_iter = max_iter
    cdef kx_entropy_outputs_t outputs
    outputs.q = data(q)
    outputs.gamma = <double *>data(gamma)
    outputs.entropy = <double *>data(entropy)
    outputs.status = <int32_t *>data(status)
    outputs.iterations = <int32_t *>data(iterations)
    cdef const int64_t *offset_data = <const int64_t *>data(offsets)
    cdef const double *target_data = <const double *>data(targets)
    cdef const void *value_data = data(values)
    cdef bint narrow = cnp.PyArray_TYPE(values) == cnp.NPY_FLOAT
    cdef int64_t rows, n = 0
    if offsets is None:
        rows = cnp.PyArray_DIM(values, 0)
        n = cnp.PyArray_DIM(values, 1)
    else:
        rows = cnp.PyArray_DIM(<cnp.ndarray>offsets, 0) - 1
    cdef ptrdiff_t stride = 0 if cnp.PyArray_SIZE(targets) == 1 else <ptrdiff_t>sizeof(double)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_entropy_normalize_f32(&ctx, <const float *>value_data, offset_data, target_data, rows, n, stride,
                                               &options, &outputs)
        else:
            outcome = kx_entropy_normalize_f64(&ctx, <const double *>value_data, offset_data, target_data, rows, n, stride,
                                               &options, &outputs)
    raise_for_status(outcome)


def gradient(cnp.ndarray values, offsets, cnp.ndarray gamma, cnp.ndarray grad_q, int domain, grad_values, grad_entropy, workers):
    """The gradients by the values and by each row's entropy.

    Parameters
    ----------
    values, offsets, domain, workers
        As in `normalize`.
    gamma : ndarray of float64, shape (rows,)
        Rows whose gamma is 0 or not finite have no gradient.
    grad_q, grad_values : ndarray like values
        The latter, or None, may be one of the inputs.
    grad_entropy : ndarray of float64, shape (rows,), or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef const void *value_data = data(values)
    cdef const int64_t *offset_data = <const int64_t *>data(offsets)
    cdef const double *gamma_data = <const double *>data(gamma)
    cdef const void *grad_data = data(grad_q)
    cdef void *by_values = data(grad_values)
    cdef double *by_entropy = <double *>data(grad_entropy)
    cdef bint narrow = cnp.PyArray_TYPE(values) == cnp.NPY_FLOAT
    cdef int64_t rows = cnp.PyArray_DIM(gamma, 0), n = cnp.PyArray_DIM(values, 1) if offsets is None else 0
    cdef kx_entropy_domain_t kind = <kx_entropy_domain_t>domain
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_entropy_gradient_f32(&ctx, <const float *>value_data, offset_data, gamma_data, <const float *>grad_data,
                                              rows, n, kind, <float *>by_values, by_entropy)
        else:
            outcome = kx_entropy_gradient_f64(&ctx, <const double *>value_data, offset_data, gamma_data, <const double *>grad_data,
                                              rows, n, kind, <double *>by_values, by_entropy)
    raise_for_status(outcome)


# ---- kexue.capi: without the interpreter, on one thread ----


cdef int _normalize(bint narrow, const void *p, int64_t rows, int64_t n, const double *targets, int target_kind,
                    void *q, int32_t *statuses) noexcept nogil:
    cdef kx_entropy_options_t options
    cdef kx_entropy_outputs_t outputs
    kx_entropy_options_init(&options)
    options.target = <kx_entropy_target_t>target_kind
    outputs = kx_entropy_outputs_t(q, NULL, NULL, statuses, NULL)
    if narrow:
        return kx_entropy_normalize_f32(NULL, <const float *>p, NULL, targets, rows, n, sizeof(double), &options, &outputs)
    return kx_entropy_normalize_f64(NULL, <const double *>p, NULL, targets, rows, n, sizeof(double), &options, &outputs)


cdef int entropy_normalize_f32(const float *p, int64_t rows, int64_t n, const double *targets, int target_kind,
                               float *q, int32_t *statuses) noexcept nogil:
    return _normalize(True, p, rows, n, targets, target_kind, q, statuses)


cdef int entropy_normalize_f64(const double *p, int64_t rows, int64_t n, const double *targets, int target_kind,
                               double *q, int32_t *statuses) noexcept nogil:
    return _normalize(False, p, rows, n, targets, target_kind, q, statuses)
