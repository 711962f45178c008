# cython: language_level=3
from kexue cimport capi


def emd2(const double[::1] a, const double[::1] b, const double[:, ::1] M):
    """The cost of a transport problem, without the interpreter."""
    cdef double cost = 0
    cdef int status
    with nogil:
        status = capi.emd2_f64(&a[0], &b[0], &M[0, 0], M.shape[0], M.shape[1], &cost)
    if status < 0:
        raise ValueError(f"emd2 failed with status {status}")
    return cost


def to_perplexity(const double[::1] p, double perplexity, double[::1] out):
    """Bring the weights of one row to a perplexity."""
    cdef int status
    with nogil:
        status = capi.entropy_normalize_f64(&p[0], 1, p.shape[0], &perplexity, 1, &out[0], NULL)
    if status < 0:
        raise ValueError(f"entropy_normalize failed with status {status}")
