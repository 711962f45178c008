cimport numpy as cnp

from kexue.core cimport kx_ctx_t, kx_status_t

# Fills ctx for one call: PyMem_Raw allocator, the shared thread pool, Ctrl-C, and `workers` by the rule of
# kexue.threads. Call the core without the GIL afterwards: tracemalloc and the Ctrl-C check take it from any
# thread.
cdef int fill_context(kx_ctx_t *ctx, object workers) except -1

# The PyMem_Raw allocator by itself, for what Cython code keeps between calls of the core.
cdef void *allocate(void *state, size_t bytes) noexcept nogil
cdef void release(void *state, void *aligned) noexcept nogil

# The one way from a status to Python: 0 for success, the status after a warning was issued, else an
# exception. `message` replaces the status's general sentence.
cdef int raise_for_status(kx_status_t status, object message=*) except -1

# What an array that may be absent points to.
cdef inline void *data(object array) noexcept:
    return NULL if array is None else cnp.PyArray_DATA(<cnp.ndarray>array)

cdef inline bint is_narrow(cnp.ndarray array) noexcept:
    return cnp.PyArray_TYPE(array) == cnp.NPY_FLOAT
