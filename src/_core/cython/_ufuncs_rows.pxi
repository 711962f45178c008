# Generalised ufuncs: functions of rows. A loop's dimensions are the number of rows and their length; its steps, the
# operands' from row to row, then from entry to entry for those that have entries.
from kexue.core cimport (
    kx_softmax_entropy_f32,
    kx_softmax_entropy_f64,
    kx_softmax_f32,
    kx_softmax_f64,
    kx_softmax_log_f32,
    kx_softmax_log_f64,
    kx_softmax_log_vjp_f32,
    kx_softmax_log_vjp_f64,
    kx_softmax_logsumexp_f32,
    kx_softmax_logsumexp_f64,
    kx_softmax_logsumexp_vjp_f32,
    kx_softmax_logsumexp_vjp_f64,
    kx_softmax_taylor_f32,
    kx_softmax_taylor_f64,
    kx_softmax_taylor_vjp_f32,
    kx_softmax_taylor_vjp_f64,
    kx_softmax_vjp_f32,
    kx_softmax_vjp_f64,
)

ctypedef kx_status_t (*row_f32)(const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t,
                                  ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*row_f64)(const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t,
                                  ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*number_f32)(const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, float *,
                                     ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*number_f64)(const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, double *,
                                     ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*row_vjp_f32)(const float *, const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t,
                                      ptrdiff_t, ptrdiff_t, float *, ptrdiff_t, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*row_vjp_f64)(const double *, const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t,
                                      ptrdiff_t, ptrdiff_t, double *, ptrdiff_t, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*number_vjp_f32)(const float *, const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t,
                                         ptrdiff_t, float *, ptrdiff_t, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*number_vjp_f64)(const double *, const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t,
                                         ptrdiff_t, double *, ptrdiff_t, ptrdiff_t) noexcept nogil


cdef void row_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                       void *kernel) noexcept nogil:
    (<row_f32>kernel)(
        <const float *>args[0], n[0], n[1], steps[0], steps[2], <float *>args[1], steps[1], steps[3])


cdef void row_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                       void *kernel) noexcept nogil:
    (<row_f64>kernel)(
        <const double *>args[0], n[0], n[1], steps[0], steps[2], <double *>args[1], steps[1], steps[3])


cdef void number_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    (<number_f32>kernel)(
        <const float *>args[0], n[0], n[1], steps[0], steps[2], <float *>args[1], steps[1])


cdef void number_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    (<number_f64>kernel)(
        <const double *>args[0], n[0], n[1], steps[0], steps[2], <double *>args[1], steps[1])


cdef void row_vjp_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                           void *kernel) noexcept nogil:
    (<row_vjp_f32>kernel)(
        <const float *>args[0], <const float *>args[1], n[0], n[1], steps[0], steps[3],
        steps[1], steps[4], <float *>args[2], steps[2], steps[5])


cdef void row_vjp_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                           void *kernel) noexcept nogil:
    (<row_vjp_f64>kernel)(
        <const double *>args[0], <const double *>args[1], n[0], n[1], steps[0], steps[3],
        steps[1], steps[4], <double *>args[2], steps[2], steps[5])


cdef void number_vjp_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    (<number_vjp_f32>kernel)(
        <const float *>args[0], <const float *>args[1], n[0], n[1], steps[0], steps[3],
        steps[1], <float *>args[2], steps[2], steps[4])


cdef void number_vjp_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    (<number_vjp_f64>kernel)(
        <const double *>args[0], <const double *>args[1], n[0], n[1], steps[0], steps[3],
        steps[1], <double *>args[2], steps[2], steps[4])


cdef void taylor_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    # Order and lower limit are operands; a row at a time unless they are the same for all rows, as they usually are.
    cdef cnp.npy_intp count = n[0] if steps[1] == 0 and steps[2] == 0 else 1
    cdef cnp.npy_intp i = 0
    while i < n[0]:
        kx_softmax_taylor_f32(
            <const float *>(args[0] + i * steps[0]), count, n[1], steps[0], steps[4],
            <int64_t>(<float *>(args[1] + i * steps[1]))[0], (<float *>(args[2] + i * steps[2]))[0],
            <float *>(args[3] + i * steps[3]), steps[3], steps[5])
        i += count


cdef void taylor_vjp_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    cdef cnp.npy_intp count = n[0] if steps[2] == 0 and steps[3] == 0 else 1
    cdef cnp.npy_intp i = 0
    while i < n[0]:
        kx_softmax_taylor_vjp_f32(
            <const float *>(args[0] + i * steps[0]), <const float *>(args[1] + i * steps[1]), count, n[1], steps[0],
            steps[5], steps[1], steps[6], <int64_t>(<float *>(args[2] + i * steps[2]))[0],
            (<float *>(args[3] + i * steps[3]))[0], <float *>(args[4] + i * steps[4]), steps[4], steps[7])
        i += count


cdef void taylor_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                          void *kernel) noexcept nogil:
    # Order and lower limit are operands; a row at a time unless they are the same for all rows, as they usually are.
    cdef cnp.npy_intp count = n[0] if steps[1] == 0 and steps[2] == 0 else 1
    cdef cnp.npy_intp i = 0
    while i < n[0]:
        kx_softmax_taylor_f64(
            <const double *>(args[0] + i * steps[0]), count, n[1], steps[0], steps[4],
            <int64_t>(<double *>(args[1] + i * steps[1]))[0], (<double *>(args[2] + i * steps[2]))[0],
            <double *>(args[3] + i * steps[3]), steps[3], steps[5])
        i += count


cdef void taylor_vjp_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                              void *kernel) noexcept nogil:
    cdef cnp.npy_intp count = n[0] if steps[2] == 0 and steps[3] == 0 else 1
    cdef cnp.npy_intp i = 0
    while i < n[0]:
        kx_softmax_taylor_vjp_f64(
            <const double *>(args[0] + i * steps[0]), <const double *>(args[1] + i * steps[1]), count, n[1], steps[0],
            steps[5], steps[1], steps[6], <int64_t>(<double *>(args[2] + i * steps[2]))[0],
            (<double *>(args[3] + i * steps[3]))[0], <double *>(args[4] + i * steps[4]), steps[4], steps[7])
        i += count


cdef loop_function[2] row_loops = [row_loop_f32, row_loop_f64]
cdef loop_function[2] number_loops = [number_loop_f32, number_loop_f64]
cdef loop_function[2] row_vjp_loops = [row_vjp_loop_f32, row_vjp_loop_f64]
cdef loop_function[2] number_vjp_loops = [number_vjp_loop_f32, number_vjp_loop_f64]
cdef loop_function[2] taylor_loops = [taylor_loop_f32, taylor_loop_f64]
cdef loop_function[2] taylor_vjp_loops = [taylor_vjp_loop_f32, taylor_vjp_loop_f64]

cdef str axis_text = """axis : int, optional
    The axis along which the rows run, the last by default.
out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`: `axes`, `dtype`, `casting`, ..."""
cdef str reducing_text = """axis : int, optional
    The axis along which the rows run, the last by default.
keepdims : bool, optional
    Keep that axis with length 1.
out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`: `axes`, `dtype`, `casting`, ..."""


cdef object of_rows(str name, str signature, loop_function *loops, void *f32, void *f64, str doc):
    """A gufunc of two kernels."""
    cdef int operands = signature.split("->")[0].count("("), results = signature.split("->")[1].count("(")
    cdef void **kernels = <void **>malloc(2 * sizeof(void *))
    cdef char *types = <char *>malloc(2 * (operands + results))
    if kernels == NULL or types == NULL:
        raise MemoryError
    kernels[0] = f32
    kernels[1] = f64
    memset(types, cnp.NPY_FLOAT, operands + results)
    memset(types + operands + results, cnp.NPY_DOUBLE, operands + results)
    cdef bytes name_bytes = name.encode()
    cdef bytes signature_bytes = signature.encode()
    cdef bytes doc_bytes = doc.strip().format(real=real_text, axis=axis_text, reducing=reducing_text).encode()
    kept_alive.extend((name_bytes, doc_bytes))
    return finish(PyUFunc_FromFuncAndDataAndSignature(
        loops, kernels, types, 2, operands, results, cnp.PyUFunc_None, name_bytes, doc_bytes, 0, signature_bytes))


softmax = of_rows("softmax", "(n)->(n)", row_loops, <void *>kx_softmax_f32, <void *>kx_softmax_f64, """
Softmax: exp(x) / sum(exp(x)) along an axis.

Nothing overflows, and no difference to the largest entry is rounded: probabilities are right to a few units of the
last place however small they are.

Parameters
----------
x : array_like, shape (..., n)
    Logits. {real}
{axis}

Returns
-------
ndarray, shape (..., n)
    Non-negative, each row sums to 1. Within 6 ulp where the row's largest entry is below 650 in magnitude (float32:
    70) or the entry is at least half of it, else within 6 + (max - x) / 2 ulp. A NaN makes its row NaN. A row that
    contains +inf, or nothing but -inf, is NaN, and the invalid flag is raised (`numpy.errstate`).

See Also
--------
log_softmax, logsumexp, taylor_softmax
softmax_vjp : its gradient.

Notes
-----
Linear time, one exponential an entry.

References
----------
J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
doi:10.1007/978-3-642-76153-9_28.

Examples
--------
>>> import kexue
>>> kexue.softmax([0.0, 1.0, 2.0])
array([0.09003057, 0.24472847, 0.66524096])
>>> kexue.softmax([[0.0, 1000.0], [0.0, 0.0]], axis=0)
array([[0.5, 1. ],
       [0.5, 0. ]])
""")

log_softmax = of_rows("log_softmax", "(n)->(n)", row_loops, <void *>kx_softmax_log_f32,
                      <void *>kx_softmax_log_f64, """
Log-softmax: x - log(sum(exp(x))) along an axis.

Accurate relatively everywhere, also where one logit dominates and the result is next to 0.

Parameters
----------
x : array_like, shape (..., n)
    Logits. {real}
{axis}

Returns
-------
ndarray, shape (..., n)
    Logarithms of probabilities, within 6 ulp. A NaN makes its row NaN. A row with +inf is NaN there and -inf
    elsewhere, a row of nothing but -inf is NaN; both raise the invalid flag (`numpy.errstate`).

See Also
--------
softmax, logsumexp
log_softmax_vjp : its gradient.

Notes
-----
Linear time, one exponential an entry. The logarithm is log1p of the sum without its largest term.

References
----------
P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", 2021,
doi:10.1093/imanum/draa038.

Examples
--------
>>> import kexue
>>> kexue.log_softmax([0.0, 1.0, 2.0])
array([-2.40760596, -1.40760596, -0.40760596])
>>> float(kexue.log_softmax([0.0, -50.0])[0])
-1.9287498479639178e-22
""")

logsumexp = of_rows("logsumexp", "(n)->()", number_loops, <void *>kx_softmax_logsumexp_f32,
                    <void *>kx_softmax_logsumexp_f64, """
The logarithm of a sum of exponentials: log(sum(exp(x))) along an axis.

Parameters
----------
x : array_like, shape (..., n)
    Logits. {real}
{reducing}

Returns
-------
ndarray or scalar, shape (...)
    Within 6 eps (max|x| + log n). -inf for an empty row and for one of nothing but -inf, inf for a row with +inf,
    NaN for one with a NaN.

See Also
--------
softmax : its gradient.
logsumexp_vjp : softmax times an upstream gradient.

Notes
-----
Linear time, one exponential an entry. The logarithm is log1p of the sum without its largest term.

References
----------
P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", 2021,
doi:10.1093/imanum/draa038.

Examples
--------
>>> import kexue
>>> float(kexue.logsumexp([1000.0, 1000.0]))
1000.6931471805599
>>> kexue.logsumexp([[0.0, 1.0], [2.0, 3.0]], axis=0, keepdims=True)
array([[2.12692801, 3.12692801]])
""")

entropy = of_rows("entropy", "(n)->()", number_loops, <void *>kx_softmax_entropy_f32,
                  <void *>kx_softmax_entropy_f64, """
The entropy of weights along an axis, in nats: -sum(q log(q)) with q = p / sum(p).

Relatively accurate at both ends: weights 1 and 1e-14 have an entropy of 3.3e-13, to all digits.

Parameters
----------
p : array_like, shape (..., n)
    Non-negative weights of any scale; 0 log 0 is 0. {real}
{reducing}

Returns
-------
ndarray or scalar, shape (...)
    Between 0 and log n, within 8 eps (1 + log2 n) relatively. NaN for a row with a NaN. A row with a negative or
    an infinite weight, or without a positive one, is NaN, and the invalid flag is raised (`numpy.errstate`).

See Also
--------
entropy_normalize : move a distribution to a given entropy.

Notes
-----
Linear time, a logarithm and a division an entry. With q relative to the largest weight, the entropy is log1p of the
other weights' sum plus the mean of -log q: terms of one sign.

References
----------
C. E. Shannon, "A Mathematical Theory of Communication", 1948, doi:10.1002/j.1538-7305.1948.tb01338.x.

Examples
--------
>>> import kexue
>>> float(kexue.entropy([0.5, 0.25, 0.15, 0.1]))
1.207973687592232
>>> kexue.entropy([[1, 1], [1, 3]])
array([0.69314718, 0.56233514])
""")

softmax_vjp = of_rows("softmax_vjp", "(n),(n)->(n)", row_vjp_loops, <void *>kx_softmax_vjp_f32,
                      <void *>kx_softmax_vjp_f64, """
The gradient by the logits, from the softmax and the gradient by the softmax: q (g - sum(q g)).

Parameters
----------
q : array_like, shape (..., n)
    The output of `softmax`. {real}
grad : array_like, shape (..., n)
    The upstream gradient, broadcast against `q`.
{axis}

Returns
-------
ndarray, shape (..., n)
    Sums to 0 along the axis if `q` sums to 1.

See Also
--------
softmax, log_softmax_vjp

Notes
-----
Linear time.

References
----------
J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
doi:10.1007/978-3-642-76153-9_28.

Examples
--------
>>> import kexue
>>> kexue.softmax_vjp([0.5, 0.25, 0.25], [1.0, 0.0, 0.0])
array([ 0.25 , -0.125, -0.125])
""")

log_softmax_vjp = of_rows("log_softmax_vjp", "(n),(n)->(n)", row_vjp_loops, <void *>kx_softmax_log_vjp_f32,
                          <void *>kx_softmax_log_vjp_f64, """
The gradient by the logits, from the log-softmax and the gradient by it: g - exp(log_q) sum(g).

Parameters
----------
log_q : array_like, shape (..., n)
    The output of `log_softmax`. {real}
grad : array_like, shape (..., n)
    The upstream gradient, broadcast against `log_q`.
{axis}

Returns
-------
ndarray, shape (..., n)

See Also
--------
log_softmax, softmax_vjp

Notes
-----
Linear time, one exponential an entry.

References
----------
J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
doi:10.1007/978-3-642-76153-9_28.

Examples
--------
>>> import numpy as np
>>> import kexue
>>> kexue.log_softmax_vjp(np.log([0.5, 0.25, 0.25]), [1.0, 0.0, 0.0])
array([ 0.5 , -0.25, -0.25])
""")

logsumexp_vjp = of_rows("logsumexp_vjp", "(n),()->(n)", number_vjp_loops, <void *>kx_softmax_logsumexp_vjp_f32,
                        <void *>kx_softmax_logsumexp_vjp_f64, """
The gradient by the logits, from the gradient by `logsumexp`: g softmax(x).

Parameters
----------
x : array_like, shape (..., n)
    Logits. {real}
grad : array_like, shape (...)
    The upstream gradient, one number a row.
axes, out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`. For rows along another axis than the last: ``axes=[axis, (),
    axis]``.

Returns
-------
ndarray, shape (..., n)
    Special values as for `softmax`.

See Also
--------
logsumexp, softmax

Notes
-----
Linear time, one exponential an entry.

References
----------
P. Blanchard, D. J. Higham, N. J. Higham, "Accurately computing the log-sum-exp and softmax functions", 2021,
doi:10.1093/imanum/draa038.

Examples
--------
>>> import kexue
>>> kexue.logsumexp_vjp([[0.0, 0.0], [0.0, 0.0]], [1.0, 3.0])
array([[0.5, 0.5],
       [1.5, 1.5]])
""")

# Operands x, order, lower limit, and x, upstream gradient, order, lower limit: kexue.taylor_softmax checks the order.
_taylor_softmax = of_rows("_taylor_softmax", "(n),(),()->(n)", taylor_loops, NULL, NULL, "")
_taylor_softmax_vjp = of_rows("_taylor_softmax_vjp", "(n),(n),(),()->(n)", taylor_vjp_loops, NULL, NULL, "")
