# cython: language_level=3
from kexue cimport core


def emd2(const double[::1] a, const double[::1] b, const double[:, ::1] M):
    """The cost of a transport problem, without the interpreter."""
    cdef core.kx_emd_options_t options
    cdef core.kx_emd_outputs_t outputs
    cdef core.kx_status_t status
    cdef double cost = 0
    core.kx_emd_options_init(&options)
    outputs = core.kx_emd_outputs_t(&cost, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
    with nogil:
        status = core.kx_transport_emd_f64(NULL, &a[0], &b[0], &M[0, 0], 1, NULL, NULL, NULL, M.shape[0], M.shape[1],
                                           M.strides[0], &options, &outputs, NULL)
    if status < 0:
        raise ValueError(core.kx_status_text(status).decode())
    return cost


def to_perplexity(const double[::1] p, double perplexity, double[::1] out):
    """Bring the weights of one row to a perplexity."""
    cdef core.kx_entropy_options_t options
    cdef core.kx_entropy_outputs_t outputs = core.kx_entropy_outputs_t(&out[0], NULL, NULL, NULL, NULL)
    cdef core.kx_status_t status
    core.kx_entropy_options_init(&options)
    options.target = core.KX_ENTROPY_TARGET_PERPLEXITY
    with nogil:
        status = core.kx_entropy_normalize_f64(NULL, &p[0], NULL, &perplexity, 1, p.shape[0], 0, &options, &outputs)
    if status < 0:
        raise ValueError(core.kx_status_text(status).decode())
