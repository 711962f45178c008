"""Every ufunc of kexue.

A family declares its kernels in core.pxd and makes its ufuncs, one statement each, in a file of its own that is
included at the end.
"""
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport INT64_MAX, int64_t
from libc.stdlib cimport malloc
from libc.string cimport memset

cimport numpy as cnp

from kexue.core cimport KX_E_ARGUMENT, KX_E_OVERFLOW, KX_OK, kx_status_t

from itertools import product


cdef extern from "numpy/ufuncobject.h":
    # numpy's own declaration leaves the const out, and gcc 14 takes that for an error.
    ctypedef void (*loop_function "PyUFuncGenericFunction")(
        char **, const cnp.npy_intp *, const cnp.npy_intp *, void *) noexcept nogil
    object PyUFunc_FromFuncAndData(loop_function *, void **data, char *types, int ntypes, int nin, int nout,
                                   int identity, const char *name, const char *doc, int unused)
    object PyUFunc_FromFuncAndDataAndSignature(
        loop_function *, void **data, char *types, int ntypes, int nin, int nout, int identity, const char *name,
        const char *doc, int unused, const char *signature)
    int PyUFunc_AddPromoter(object ufunc, tuple dtypes, object promoter) except -1

cdef extern from "numpy/dtype_api.h":
    ctypedef struct PyArray_DTypeMeta:
        pass
    PyArray_DTypeMeta PyArray_PyLongDType  # Python's int

cdef extern from "ufunc_direct.h":
    int kx_direct_enable(object ufunc) except -1

cnp.import_array()
cnp.import_ufunc()

# NumPy keeps pointers to names, docstrings and tables for as long as the process lives.
cdef list kept_alive = []


# ---- promotion: integers compute in float64 ----
# NumPy takes the first loop that an integer casts to safely: that would be float32 for 8 and 16 bits.

cdef object float64_dtype = type(cnp.dtype("f8"))
cdef list narrow_dtypes = [type(cnp.dtype(code)) for code in ("?", "b", "B", "h", "H")]
narrow_dtypes.append(<object><PyObject *>&PyArray_PyLongDType)


cdef int promote_to_float64(PyObject *ufunc, PyObject **given, PyObject **signature,
                            PyObject **promoted) noexcept:
    cdef cnp.ufunc function = <cnp.ufunc>ufunc
    cdef PyObject *wanted = signature[function.nin]  # dtype=
    if wanted == NULL:
        wanted = <PyObject *>float64_dtype
    for i in range(function.nargs):
        promoted[i] = wanted if signature[i] == NULL else signature[i]
        Py_INCREF(<object>promoted[i])
    return 0


cdef object promoter = PyCapsule_New(<void *>promote_to_float64, "numpy._ufunc_promoter", NULL)


cdef object finish(cnp.ufunc ufunc):
    # From three operands on the first one decides (None is any dtype): all combinations would be a thousand.
    operands = ufunc.nin if ufunc.nin < 3 else 1
    for dtypes in product(narrow_dtypes, repeat=operands):
        PyUFunc_AddPromoter(ufunc, dtypes + (None,) * (ufunc.nargs - operands), promoter)
    # Pickle stores a ufunc by module and name. NumPy before 2.2 has no __module__: there pickle searches.
    try:
        ufunc.__module__ = "kexue.ufuncs"
    except AttributeError:
        pass
    kx_direct_enable(ufunc)
    return ufunc


# What the docstrings have in common.
cdef str real_text = "Real numbers. float16 and float32 give float32; float64, integers and bool, float64."
cdef str out_text = "out, where, **kwargs\n    As for every NumPy ufunc, see `numpy.ufunc`."


# ---- elementwise: one to four operands, one result ----

# A kernel's arguments are the operands, the number of items, the operands' strides, the result and its stride.
ctypedef kx_status_t (*unary_f32)(const float *, int64_t, ptrdiff_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*unary_f64)(const double *, int64_t, ptrdiff_t, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*binary_f32)(const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t, float *,
                                   ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*binary_f64)(const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t, double *,
                                   ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*ternary_f32)(const float *, const float *, const float *, int64_t, ptrdiff_t, ptrdiff_t,
                                    ptrdiff_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*ternary_f64)(const double *, const double *, const double *, int64_t, ptrdiff_t, ptrdiff_t,
                                    ptrdiff_t, double *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*quaternary_f32)(const float *, const float *, const float *, const float *, int64_t,
                                       ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, float *,
                                       ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*quaternary_f64)(const double *, const double *, const double *, const double *, int64_t,
                                       ptrdiff_t, ptrdiff_t, ptrdiff_t, ptrdiff_t, double *,
                                       ptrdiff_t) noexcept nogil


cdef void unary_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                         void *kernel) noexcept nogil:
    (<unary_f32>kernel)(<const float *>args[0], n[0], steps[0], <float *>args[1], steps[1])


cdef void unary_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                         void *kernel) noexcept nogil:
    (<unary_f64>kernel)(<const double *>args[0], n[0], steps[0], <double *>args[1], steps[1])


cdef void binary_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    (<binary_f32>kernel)(<const float *>args[0], <const float *>args[1], n[0], steps[0], steps[1],
                         <float *>args[2], steps[2])


cdef void binary_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    (<binary_f64>kernel)(<const double *>args[0], <const double *>args[1], n[0], steps[0], steps[1],
                         <double *>args[2], steps[2])


cdef void ternary_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                           void *kernel) noexcept nogil:
    (<ternary_f32>kernel)(<const float *>args[0], <const float *>args[1], <const float *>args[2], n[0], steps[0],
                          steps[1], steps[2], <float *>args[3], steps[3])


cdef void ternary_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                           void *kernel) noexcept nogil:
    (<ternary_f64>kernel)(<const double *>args[0], <const double *>args[1], <const double *>args[2], n[0],
                          steps[0], steps[1], steps[2], <double *>args[3], steps[3])


cdef void quaternary_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    (<quaternary_f32>kernel)(<const float *>args[0], <const float *>args[1], <const float *>args[2],
                             <const float *>args[3], n[0], steps[0], steps[1], steps[2], steps[3],
                             <float *>args[4], steps[4])


cdef void quaternary_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    (<quaternary_f64>kernel)(<const double *>args[0], <const double *>args[1], <const double *>args[2],
                             <const double *>args[3], n[0], steps[0], steps[1], steps[2], steps[3],
                             <double *>args[4], steps[4])


cdef loop_function[2] unary_loops = [unary_loop_f32, unary_loop_f64]
cdef loop_function[2] binary_loops = [binary_loop_f32, binary_loop_f64]
cdef loop_function[2] ternary_loops = [ternary_loop_f32, ternary_loop_f64]
cdef loop_function[2] quaternary_loops = [quaternary_loop_f32, quaternary_loop_f64]


cdef object elementwise(str name, int operands, loop_function *loops, void *f32, void *f64, str doc):
    """A ufunc of two kernels; their address is what NumPy hands to the loops."""
    cdef void **kernels = <void **>malloc(2 * sizeof(void *))
    cdef char *types = <char *>malloc(2 * (operands + 1))
    if kernels == NULL or types == NULL:
        raise MemoryError
    kernels[0] = f32
    kernels[1] = f64
    memset(types, cnp.NPY_FLOAT, operands + 1)
    memset(types + operands + 1, cnp.NPY_DOUBLE, operands + 1)
    cdef bytes name_bytes = name.encode()
    cdef bytes doc_bytes = doc.strip().format(real=real_text, out=out_text).encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndData(loops, kernels, types, 2, operands, 1, cnp.PyUFunc_None, name_bytes,
                                          doc_bytes, 0))


cdef object unary(str name, unary_f32 f32, unary_f64 f64, str doc):
    return elementwise(name, 1, unary_loops, <void *>f32, <void *>f64, doc)


cdef object binary(str name, binary_f32 f32, binary_f64 f64, str doc):
    return elementwise(name, 2, binary_loops, <void *>f32, <void *>f64, doc)


cdef object ternary(str name, ternary_f32 f32, ternary_f64 f64, str doc):
    return elementwise(name, 3, ternary_loops, <void *>f32, <void *>f64, doc)


cdef object quaternary(str name, quaternary_f32 f32, quaternary_f64 f64, str doc):
    return elementwise(name, 4, quaternary_loops, <void *>f32, <void *>f64, doc)


include "_ufuncs_exceptions.pxi"
include "_ufuncs_squareplus.pxi"
include "_ufuncs_activations.pxi"
include "_ufuncs_smoothing.pxi"
include "_ufuncs_rows.pxi"
include "_ufuncs_independence.pxi"
include "_ufuncs_gaussians.pxi"
include "_ufuncs_projection.pxi"
include "_ufuncs_losses.pxi"
include "_ufuncs_layer_norm.pxi"
include "_ufuncs_capi.pxi"
