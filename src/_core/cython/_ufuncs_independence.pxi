# HSIC of kernel matrices. A loop's dimensions are the number of pairs of matrices and their size; its steps, the operands'
# from pair to pair, then from row to row and from column to column of the first matrix and of the second.
from kexue.core cimport (
    kx_independence_from_kernels_f32,
    kx_independence_from_kernels_f64,
    kx_independence_from_kernels_unbiased_f32,
    kx_independence_from_kernels_unbiased_f64,
)

ctypedef kx_status_t (*matrices_f32)(const float *, const float *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                     ptrdiff_t, ptrdiff_t, ptrdiff_t, float *, ptrdiff_t) noexcept nogil
ctypedef kx_status_t (*matrices_f64)(const double *, const double *, int64_t, int64_t, ptrdiff_t, ptrdiff_t, ptrdiff_t,
                                     ptrdiff_t, ptrdiff_t, ptrdiff_t, double *, ptrdiff_t) noexcept nogil


cdef void matrices_loop_f32(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                            void *kernel) noexcept nogil:
    (<matrices_f32>kernel)(
        <const float *>args[0], <const float *>args[1], n[0], n[1], steps[0], steps[3], steps[4], steps[1], steps[5],
        steps[6], <float *>args[2], steps[2])


cdef void matrices_loop_f64(char **args, const cnp.npy_intp *n, const cnp.npy_intp *steps,
                            void *kernel) noexcept nogil:
    (<matrices_f64>kernel)(
        <const double *>args[0], <const double *>args[1], n[0], n[1], steps[0], steps[3], steps[4], steps[1], steps[5],
        steps[6], <double *>args[2], steps[2])


cdef loop_function[2] matrices_loops = [matrices_loop_f32, matrices_loop_f64]

hsic_from_kernels = of_rows("hsic_from_kernels", "(n,n),(n,n)->()", matrices_loops,
                            <void *>kx_independence_from_kernels_f32, <void *>kx_independence_from_kernels_f64, """
The biased HSIC of two kernel matrices: tr(KJLJ) / n^2, J = I - 1/n.

Parameters
----------
K, L : array_like, shape (..., n, n)
    Symmetric matrices; batches broadcast. {real}
axes, out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`.

Returns
-------
ndarray or scalar, shape (...)
    Not negative for positive semidefinite matrices, but for rounding: the error is below 300 eps of float64 times the
    mean of abs(K * L). NaN for a pair with a NaN or an infinity. NaN for n = 0, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
hsic_from_kernels_unbiased
hsic : of samples, without matrices.

Notes
-----
O(n^2) time: the sum of K * L, less the product of row sums, and of column sums. Nothing is allocated, and sums are in
float64. The form over (n - 1)^2 is (n / (n - 1))^2 times this one. Where a matrix is not symmetric, it is the sum of
the products of the entries of the centred matrices.

References
----------
A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms", 2005,
doi:10.1007/11564089_7.

Examples
--------
>>> import kexue
>>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
>>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
>>> K, L = kexue.rbf_kernel(x, gamma=1.0), kexue.rbf_kernel(y, gamma=1.0)
>>> round(float(kexue.hsic_from_kernels(K, L)), 12)
0.074769100351
""")

hsic_from_kernels_unbiased = of_rows("hsic_from_kernels_unbiased", "(n,n),(n,n)->()", matrices_loops,
                                     <void *>kx_independence_from_kernels_unbiased_f32,
                                     <void *>kx_independence_from_kernels_unbiased_f64, """
The unbiased HSIC of two kernel matrices, that of Song et al.

Parameters
----------
K, L : array_like, shape (..., n, n)
    Symmetric matrices, whose diagonals are not read; batches broadcast. {real}
axes, out, **kwargs
    As for every generalised ufunc, see `numpy.ufunc`.

Returns
-------
ndarray or scalar, shape (...)
    0 in expectation for independent samples; it may be negative. The error is below 300 eps of float64 times the mean of
    abs(K * L). NaN for a pair with a NaN or an infinity. NaN for n < 4, and the invalid flag is raised
    (`numpy.errstate`).

See Also
--------
hsic_from_kernels
hsic : of samples, without matrices.

Notes
-----
O(n^2) time. Nothing is allocated, and sums are in float64. With s the sums over i != j of a matrix, k and l those of rows:
(sum(K * L) + s_K s_L / ((n - 1)(n - 2)) - 2 k.l / (n - 2)) / (n (n - 3)).

References
----------
L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", JMLR 13, 2012.

Examples
--------
>>> import kexue
>>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
>>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
>>> K, L = kexue.rbf_kernel(x, gamma=1.0), kexue.rbf_kernel(y, gamma=1.0)
>>> round(float(kexue.hsic_from_kernels_unbiased(K, L)), 12)
0.054799891479
""")
