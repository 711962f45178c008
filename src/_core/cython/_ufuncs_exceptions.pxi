# Exceptions and Ctrl-C within loops that take long, which NumPy runs without the GIL.
from kexue.core cimport kx_status_text


cdef extern from "Python.h":
    # Declared without `except`: the exception stays pending while NumPy's loops unwind.
    void set_error "PyErr_SetString"(PyObject *exception, const char *text)
    PyObject *error_pending "PyErr_Occurred"()
    int signal_arrived "PyErr_CheckSignals"()

cdef extern from "<time.h>" nogil:
    int TIME_UTC
    struct timespec:
        int64_t tv_sec
        long tv_nsec
    int timespec_get(timespec *now, int base)


# NumPy looks for an exception when the last of its loops has ended. `loops_failed` tells those in between, without
# the GIL, that there may be one. Races among threads do no harm: a loop runs to its end, or asks for Ctrl-C once more.
cdef bint loops_failed = False
cdef int64_t loops_asked = 0  # when Ctrl-C was last asked for, in ns


cdef void raise_in_loop(kx_status_t status) noexcept with gil:
    global loops_failed
    loops_failed = True
    if status == KX_E_MEMORY:
        set_error(<PyObject *>MemoryError, kx_status_text(status))
    elif status == KX_E_OVERFLOW:
        set_error(<PyObject *>OverflowError, kx_status_text(status))
    else:
        set_error(<PyObject *>RuntimeError, kx_status_text(status))


cdef bint still_failed() noexcept with gil:
    global loops_failed
    loops_failed = error_pending() != NULL
    return loops_failed


cdef bint interrupted() noexcept with gil:
    global loops_failed
    if error_pending() == NULL and signal_arrived() == 0:
        return False
    loops_failed = True
    return True


cdef bint should_stop() noexcept nogil:
    """Asks for Ctrl-C every 50 ms."""
    global loops_asked
    cdef timespec clock
    timespec_get(&clock, TIME_UTC)
    cdef int64_t now = <int64_t>clock.tv_sec * 1000000000 + clock.tv_nsec
    if -50000000 < now - loops_asked < 50000000:
        return False
    loops_asked = now
    return interrupted()
