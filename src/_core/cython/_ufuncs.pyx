"""Every ufunc of kexue.

A family declares its kernels in core.pxd and adds one statement a ufunc to this file.
"""
from cpython.object cimport PyObject
from cpython.pycapsule cimport PyCapsule_New
from cpython.ref cimport Py_INCREF
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

from itertools import product


cdef extern from "numpy/ufuncobject.h":
    # numpy's own declaration leaves the const out, and gcc 14 takes that for an error.
    ctypedef void (*loop_function "PyUFuncGenericFunction")(
        char **, const cnp.npy_intp *, const cnp.npy_intp *, void *) noexcept nogil
    object PyUFunc_FromFuncAndData(loop_function *, void **data, char *types, int ntypes, int nin, int nout,
                                   int identity, const char *name, const char *doc, int unused)
    int PyUFunc_AddPromoter(object ufunc, tuple dtypes, object promoter) except -1

cdef extern from "numpy/dtype_api.h":
    ctypedef struct PyArray_DTypeMeta:
        pass
    PyArray_DTypeMeta PyArray_PyLongDType  # Python's int

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
    for dtypes in product(narrow_dtypes, repeat=ufunc.nin):
        PyUFunc_AddPromoter(ufunc, dtypes + (None,) * ufunc.nout, promoter)
    # Pickle stores a ufunc by module and name. NumPy before 2.2 has no __module__: there pickle searches.
    try:
        ufunc.__module__ = "kexue.ufuncs"
    except AttributeError:
        pass
    return ufunc


# What the docstrings have in common.
cdef str real_text = "Real numbers. float16 and float32 give float32; float64, integers and bool, float64."
cdef str out_text = "out, where, **kwargs\n    As for every NumPy ufunc, see `numpy.ufunc`."


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
    cdef bytes doc_bytes = doc.strip().format(real=real_text, out=out_text).encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndData(binary_loops, row.data, binary_types, 2, 2, 1, cnp.PyUFunc_None,
                                          name_bytes, doc_bytes, 0))


# ---- activations ----

SQUAREPLUS_B_MINIMAX = KX_SQUAREPLUS_B_MINIMAX
SQUAREPLUS_B_UPPER = KX_SQUAREPLUS_B_UPPER
SQUAREPLUS_B_CURVATURE = KX_SQUAREPLUS_B_CURVATURE
SQUAREPLUS_B_T2 = KX_SQUAREPLUS_B_T2

squareplus = binary("squareplus", kx_activations_squareplus_f32, kx_activations_squareplus_f64, """
SquarePlus, an algebraic smooth approximation of relu: (x + sqrt(x**2 + b)) / 2.

Monotone and convex in `x`, smooth for b > 0, relu itself for b = 0. It exceeds relu by at most sqrt(b) / 2,
at x = 0. Free of cancellation and of overflow: the error is at most 1 ulp in float32 and 2 ulp in float64
over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. `kexue.SQUAREPLUS_B_MINIMAX` is closest to softplus.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus_grad, squareplus_grad_b : the derivatives.
squareplus_inverse : the inverse.

Notes
-----
Linear time, one square root an element. f(x) - f(-x) = x, f(x) f(-x) = b / 4, and f(a x; a**2 b) = a f(x; b)
for a > 0.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus([-1.0, 0.0, 2.0], 4.0)
array([0.61803399, 1.        , 2.41421356])
""")

squareplus_grad = binary("squareplus_grad", kx_activations_squareplus_grad_f32,
                         kx_activations_squareplus_grad_f64, """
The derivative of SquarePlus by x: (1 + x / sqrt(x**2 + b)) / 2.

Rises from 0 to 1. The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. For b = 0 the result is 0, 1/2 or 1 for x < 0, x = 0, x > 0.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus : the function.
squareplus_grad_b : the derivative by `b`.

Notes
-----
Linear time, one square root an element. It is the distribution function of Student's t with two degrees of
freedom, scaled by sqrt(b / 2).

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_grad([-1.0, 0.0, 2.0], 4.0)
array([0.2763932 , 0.5       , 0.85355339])
""")

squareplus_grad_b = binary("squareplus_grad_b", kx_activations_squareplus_grad_b_f32,
                           kx_activations_squareplus_grad_b_f64, """
The derivative of SquarePlus by b: 1 / (4 sqrt(x**2 + b)).

The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
x : array_like
    {real}
b : array_like
    Smoothness, b >= 0; broadcast against `x`. For x = b = 0 the result is inf, and the divide-by-zero flag is
    raised.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. NaN where an operand is NaN. For b < 0 NaN, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
squareplus : the function.
squareplus_grad : the derivative by `x`.

Notes
-----
Linear time, one square root and one division an element.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_grad_b([-1.0, 0.0, 2.0], 4.0)
array([0.1118034 , 0.125     , 0.08838835])
""")

squareplus_inverse = binary("squareplus_inverse", kx_activations_squareplus_inverse_f32,
                            kx_activations_squareplus_inverse_f64, """
The inverse of SquarePlus in x: the x with squareplus(x, b) = y, which is y - b / (4 y).

The error is at most 1 ulp in float32 and 2 ulp in float64 over the whole range.

Parameters
----------
y : array_like
    Values of SquarePlus, y >= 0. {real}
b : array_like
    Smoothness, b >= 0; broadcast against `y`. For b = 0 the result is `y` itself.
{out}

Returns
-------
ndarray or scalar
    Of the broadcast shape. -inf for y = 0 and b > 0. NaN where an operand is NaN. For y < 0 or b < 0 NaN, and
    the invalid flag is raised (`numpy.errstate`).

See Also
--------
squareplus : the function.

Notes
-----
Linear time, one division an element.

References
----------
J. T. Barron, "Squareplus: A Softplus-Like Algebraic Rectifier", arXiv:2112.11687.

Examples
--------
>>> import kexue
>>> kexue.squareplus_inverse(kexue.squareplus([-1.0, 0.0, 2.0], 4.0), 4.0)
array([-1.,  0.,  2.])
""")
