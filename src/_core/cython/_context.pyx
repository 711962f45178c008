"""Where a call of the C core meets Python: allocator, thread pool, Ctrl-C, worker count, status.

Every extension module links its own copy of the static core. All of them take their context here, so there is
one pool.
"""
from cpython.object cimport PyObject
from libc.stdint cimport SIZE_MAX, uintptr_t

from kexue.core cimport (
    KX_OK,
    kx_cpu_count,
    kx_ctx_t,
    kx_isa_name,
    kx_pool_launch,
    kx_status_name,
    kx_status_t,
    kx_status_text,
    kx_version,
)

import operator
from contextvars import ContextVar


cdef extern from "Python.h":
    # Declared without `except`: the exception stays pending while the core unwinds.
    int PyErr_CheckSignals() noexcept
    PyObject *PyErr_Occurred() noexcept


cdef extern from *:
    """
    #if defined(Py_LIMITED_API) && Py_LIMITED_API < 0x030D0000 /* which has these from 3.13 */
    #include <stdlib.h>
    #define PyMem_RawMalloc malloc
    #define PyMem_RawFree free
    #endif
    static PyObject *kx_context_value(PyObject *variable) {
    #ifdef Py_LIMITED_API /* which has no context variables */
        return PyObject_CallMethod(variable, "get", "O", Py_None);
    #else
        PyObject *value = NULL;
        return PyContextVar_Get(variable, Py_None, &value) < 0 ? NULL : value;
    #endif
    }
    """
    void *PyMem_RawMalloc(size_t bytes) nogil
    void PyMem_RawFree(void *block) nogil
    object kx_context_value(object variable)


cdef extern from *:
    """
    #if defined(__clang__)
    #define KX_COMPILER "clang " __clang_version__
    #elif defined(__GNUC__)
    #define KX_COMPILER "gcc " __VERSION__
    #elif defined(_MSC_VER)
    #define KX_STRING_(x) #x
    #define KX_STRING(x) KX_STRING_(x)
    #define KX_COMPILER "msvc " KX_STRING(_MSC_FULL_VER)
    #else
    #define KX_COMPILER "unknown"
    #endif
    """
    const char *KX_COMPILER
    const char *KX_COMPILED_ISAS  # from CMake


cdef enum:
    # More threads are never started: the results do not depend on their number, and a typing error should not
    # bring a machine down.
    MAX_WORKERS = 1024
    ALIGNMENT = 64  # what kx_allocator_t promises

__version__ = kx_version().decode()

cdef object threads = ContextVar("kexue.threads")
threads_variable = threads  # for kexue._threads
cdef int default_workers = 0  # 0: the environment has not been read yet
cdef int processors = 0  # 0: not counted yet; counting takes 10 us


cdef void *allocate(void *state, size_t bytes) noexcept nogil:
    cdef size_t extra = ALIGNMENT - 1 + sizeof(void *)
    if bytes > SIZE_MAX - extra:
        return NULL
    cdef void *block = PyMem_RawMalloc(bytes + extra)
    if block == NULL:
        return NULL
    cdef void **aligned = <void **>((<uintptr_t>block + extra) & ~<uintptr_t>(ALIGNMENT - 1))
    (aligned - 1)[0] = block
    return aligned


cdef void release(void *state, void *aligned) noexcept nogil:
    if aligned != NULL:
        PyMem_RawFree((<void **>aligned - 1)[0])


cdef int signal_arrived(void *state) noexcept nogil:
    with gil:
        return PyErr_Occurred() != NULL or PyErr_CheckSignals() != 0


cdef int count(object workers) except -1:
    global default_workers
    if workers is None:
        workers = kx_context_value(threads)
        if workers is None:
            if default_workers == 0:
                from kexue._threads import default_threads
                default_workers = default_threads()[0]
            return default_workers
    number = workers
    if type(workers) is not int:
        kind = type(workers).__name__
        try:
            number = None if kind == "bool" else operator.index(workers)  # Python's bool, or NumPy's
        except TypeError:
            number = None
        if number is None:
            raise TypeError(f"workers must be an integer or None, not {kind}")
    if number == -1:
        return cpu_count()
    if number < 1:
        from kexue._errors import KexueValueError
        raise KexueValueError(f"workers must be at least 1, or -1 for all processors, got {number}")
    return min(number, MAX_WORKERS)


def count_workers(workers):
    """The number of threads that `workers` stands for: the workers rule (see kexue.threads)."""
    return count(workers)


def forget_default_workers():
    """Count the processors and ask kexue._threads for its default again, at the next call."""
    global default_workers, processors
    default_workers = processors = 0


cpdef int cpu_count() except -1:
    """The processors that this process may use: affinity and cgroup quota respected."""
    global processors
    if processors == 0:
        processors = min(kx_cpu_count(), MAX_WORKERS)
    return processors


cdef int fill_context(kx_ctx_t *ctx, object workers) except -1:
    ctx.allocator.allocate = allocate
    ctx.allocator.release = release
    ctx.allocator.state = NULL
    ctx.cancel = signal_arrived
    ctx.cancel_state = NULL
    ctx.launch = kx_pool_launch
    ctx.launch_state = NULL
    ctx.workers = count(workers)
    return 0


cdef int raise_for_status(kx_status_t status, object message=None) except -1:
    if PyErr_Occurred() != NULL:  # Ctrl-C; KX_E_CANCELLED
        return -1
    if status == KX_OK:
        return 0
    from kexue._errors import raise_status
    raise_status(<int>status, message)
    return <int>status


def status_name(int status):
    """The name of a status of the core, such as "KX_E_MEMORY"."""
    return kx_status_name(<kx_status_t>status).decode()


def status_text(int status):
    """One sentence about a status of the core."""
    return kx_status_text(<kx_status_t>status).decode()


def build_info():
    """What the core was built with, and the instruction set that it uses now."""
    return {
        "isa": kx_isa_name().decode(),
        "isas_compiled": KX_COMPILED_ISAS.decode().split(),
        "compiler": KX_COMPILER.decode(),
    }
