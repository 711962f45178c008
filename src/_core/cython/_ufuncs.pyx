"""Every ufunc of kexue. A family adds its kernels' declarations to core.pxd and one statement a ufunc to this file."""
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t
from libc.stdlib cimport malloc

cimport numpy as cnp

from kexue.core cimport (
    KX_SQUAREPLUS_B_CURVATURE,
    KX_SQUAREPLUS_B_MINIMAX,
    KX_SQUAREPLUS_B_T2,
    KX_SQUAREPLUS_B_UPPER,
    kx_activations_squareplus_f32,
    kx_activations_squareplus_f64,
    kx_activations_squareplus_grad_b_f32,
    kx_activations_squareplus_grad_b_f64,
    kx_activations_squareplus_grad_f32,
    kx_activations_squareplus_grad_f64,
    kx_activations_squareplus_inverse_f32,
    kx_activations_squareplus_inverse_f64,
    kx_status_t,
)

cdef extern from "numpy/ufuncobject.h":
    # numpy's own declaration leaves the const out, and gcc 14 takes that for an error.
    ctypedef void (*loop_function "PyUFuncGenericFunction")(char **, const cnp.npy_intp *, const cnp.npy_intp *,
                                                            void *) noexcept nogil
    object PyUFunc_FromFuncAndData(loop_function *, void **, char *, int, int, int, int, const char *, const char *,
                                   int)

cnp.import_array()
cnp.import_ufunc()

# NumPy keeps pointers to names, docstrings and tables for as long as the process lives.
cdef list kept_alive = []

cdef object finish(object ufunc):
    # Pickle stores a ufunc by module and name. NumPy before 2.2 cannot hold __module__ and makes pickle search for it.
    try:
        ufunc.__module__ = "kexue.ufuncs"
    except AttributeError:
        pass
    return ufunc


# ---- elementwise, two operands, one result ----

ctypedef kx_status_t (*binary_f32)(const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t, float *,
                                   ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*binary_f64)(const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t, double *,
                                   ptrdiff_t) noexcept nogil

cdef struct binary_row:
    binary_f32 f32
    binary_f64 f64
    void *data[2]


cdef void binary_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *row) noexcept nogil:
    (<binary_row *>row).f32(<const float *>args[0], <const float *>args[1], n[0], steps[0], steps[1],
                            <float *>args[2], steps[2])


cdef void binary_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *row) noexcept nogil:
    (<binary_row *>row).f64(<const double *>args[0], <const double *>args[1], n[0], steps[0], steps[1],
                            <double *>args[2], steps[2])


cdef loop_function[2] binary_loops = [binary_loop_f32, binary_loop_f64]
cdef char[6] binary_types = [cnp.NPY_FLOAT, cnp.NPY_FLOAT, cnp.NPY_FLOAT,
                             cnp.NPY_DOUBLE, cnp.NPY_DOUBLE, cnp.NPY_DOUBLE]


cdef object binary(str name, binary_f32 f32, binary_f64 f64, str doc):
    cdef binary_row *row = <binary_row *>malloc(sizeof(binary_row))
    if row == NULL:
        raise MemoryError
    row.f32 = f32
    row.f64 = f64
    row.data[0] = row.data[1] = row
    cdef bytes name_bytes = name.encode()
    cdef bytes doc_bytes = doc.strip().encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndData(binary_loops, row.data, binary_types, 2, 2, 1, cnp.PyUFunc_None,
                                              name_bytes, doc_bytes, 0))


# ---- activations ----

SQUAREPLUS_B_MINIMAX = KX_SQUAREPLUS_B_MINIMAX
SQUAREPLUS_B_UPPER = KX_SQUAREPLUS_B_UPPER
SQUAREPLUS_B_CURVATURE = KX_SQUAREPLUS_B_CURVATURE
SQUAREPLUS_B_T2 = KX_SQUAREPLUS_B_T2

squareplus = binary("squareplus", kx_activations_squareplus_f32, kx_activations_squareplus_f64, """
SquarePlus
""")
