"""HSIC and CKA: the calls into the C core. Checking and shaping of arguments is kexue.independence's work.

A kernel is a tuple (kind, gamma, coef0, degree). Points are C-contiguous arrays of shape (n, d), all of one dtype, float32 or float64.
Sums are over pairs i != j.
"""
cimport numpy as cnp
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport INT64_MAX, int32_t, int64_t
from libc.stdlib cimport free, malloc

from kexue._context cimport data, fill_context, is_narrow, raise_for_status
from kexue.core cimport (
    KX_E_ARGUMENT,
    KX_E_MEMORY,
    KX_E_OVERFLOW,
    KX_INDEPENDENCE_LAPLACE,
    KX_INDEPENDENCE_LINEAR,
    KX_INDEPENDENCE_POLYNOMIAL,
    KX_INDEPENDENCE_RBF,
    kx_ctx_t,
    kx_independence_centred_sums_f32,
    kx_independence_centred_sums_f64,
    kx_independence_cross_sums_f32,
    kx_independence_cross_sums_f64,
    kx_independence_gradient_f32,
    kx_independence_gradient_f64,
    kx_independence_kind_t,
    kx_independence_matrix_f32,
    kx_independence_matrix_f64,
    kx_independence_median_distance_f32,
    kx_independence_median_distance_f64,
    kx_independence_permutation_sums_f32,
    kx_independence_permutation_sums_f64,
    kx_independence_points_t,
    kx_independence_sums_f32,
    kx_independence_sums_f64,
    kx_status_t,
)

cnp.import_array()

LINEAR = KX_INDEPENDENCE_LINEAR
POLYNOMIAL = KX_INDEPENDENCE_POLYNOMIAL
RBF = KX_INDEPENDENCE_RBF
LAPLACE = KX_INDEPENDENCE_LAPLACE


cdef void describe(kx_independence_points_t *points, cnp.ndarray X, kernel) except *:
    kind, gamma, coef0, degree = kernel
    points.points = cnp.PyArray_DATA(X)
    points.dimension = cnp.PyArray_DIM(X, 1)
    points.row_stride = points.dimension * cnp.PyArray_ITEMSIZE(X)
    points.kind = <kx_independence_kind_t><int>kind
    points.gamma = gamma
    points.coef0 = coef0
    points.degree = degree


def sums(cnp.ndarray X, kernel_x, Y, kernel_y, row_sums_x, row_sums_y, workers):
    """(sum of K L, of K K, of L L); of each row of K and L into `row_sums_x` and `row_sums_y`.

    Parameters
    ----------
    X : ndarray, shape (n, d)
    Y : ndarray, shape (n, e), or None
        Without it the sums of L are nan.
    kernel_x, kernel_y : tuple
    row_sums_x, row_sums_y : ndarray of float64, shape (n,), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x, y
    describe(&x, X, kernel_x)
    cdef const kx_independence_points_t *other = NULL
    if Y is not None:
        describe(&y, Y, kernel_y)
        other = &y
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef double *rows_x = <double *>data(row_sums_x)
    cdef double *rows_y = <double *>data(row_sums_y)
    cdef bint narrow = is_narrow(X)
    cdef double[3] total
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_sums_f32(&ctx, &x, other, n, rows_x, rows_y, total)
        else:
            outcome = kx_independence_sums_f64(&ctx, &x, other, n, rows_x, rows_y, total)
    raise_for_status(outcome)
    return total[0], total[1], total[2]


def cross_sums(cnp.ndarray X, cnp.ndarray others_x, kernel_x, cnp.ndarray Y, cnp.ndarray others_y, kernel_y, row_sums_x,
               column_sums_x, row_sums_y, column_sums_y, workers):
    """The same over all pairs of one set of points and another.

    Parameters
    ----------
    X, Y : ndarray, shapes (n, d) and (n, e)
    others_x, others_y : ndarray, shapes (m, d) and (m, e)
    kernel_x, kernel_y : tuple
    row_sums_x, row_sums_y : ndarray of float64, shape (n,), or None
    column_sums_x, column_sums_y : ndarray of float64, shape (m,), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x, y, x2, y2
    describe(&x, X, kernel_x)
    describe(&y, Y, kernel_y)
    describe(&x2, others_x, kernel_x)
    describe(&y2, others_y, kernel_y)
    cdef int64_t n = cnp.PyArray_DIM(X, 0), m = cnp.PyArray_DIM(others_x, 0)
    cdef double *rows_x = <double *>data(row_sums_x)
    cdef double *rows_y = <double *>data(row_sums_y)
    cdef double *columns_x = <double *>data(column_sums_x)
    cdef double *columns_y = <double *>data(column_sums_y)
    cdef bint narrow = is_narrow(X)
    cdef double[3] total
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_cross_sums_f32(&ctx, &x, &x2, &y, &y2, n, m, rows_x, columns_x, rows_y, columns_y, total)
        else:
            outcome = kx_independence_cross_sums_f64(&ctx, &x, &x2, &y, &y2, n, m, rows_x, columns_x, rows_y, columns_y, total)
    raise_for_status(outcome)
    return total[0], total[1], total[2]


def centred_sums(cnp.ndarray X, kernel_x, cnp.ndarray offsets_x, double constant_x, cnp.ndarray Y, kernel_y,
                 cnp.ndarray offsets_y, double constant_y, workers):
    """(sum of A B, of (A B)^2), A_ij = K_ij - offsets_x[i] - offsets_x[j] + constant_x and B likewise.

    Parameters
    ----------
    X, Y : ndarray, shapes (n, d) and (n, e)
    kernel_x, kernel_y : tuple
    offsets_x, offsets_y : ndarray of float64, shape (n,)
    constant_x, constant_y : float
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x, y
    describe(&x, X, kernel_x)
    describe(&y, Y, kernel_y)
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef const double *shift_x = <const double *>data(offsets_x)
    cdef const double *shift_y = <const double *>data(offsets_y)
    cdef bint narrow = is_narrow(X)
    cdef double[2] total
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_centred_sums_f32(&ctx, &x, &y, n, shift_x, constant_x, shift_y, constant_y, total)
        else:
            outcome = kx_independence_centred_sums_f64(&ctx, &x, &y, n, shift_x, constant_x, shift_y, constant_y, total)
    raise_for_status(outcome)
    return total[0], total[1]


def gradient(cnp.ndarray X, kernel_x, offsets_x, double constant_x, cnp.ndarray Y, kernel_y, offsets_y, double constant_y,
             grad_x, grad_y, workers):
    """grad_x[i] = sum over j of B_ij dK_ij / dX[i], grad_y[i] = that of A_ij dL_ij / dY[i], A and B as in `centred_sums`.

    Parameters
    ----------
    X, Y : ndarray, shapes (n, d) and (n, e)
    kernel_x, kernel_y : tuple
    offsets_x, offsets_y : ndarray of float64, shape (n,), or None
        Those of the one are needed for the gradient of the other.
    constant_x, constant_y : float
    grad_x, grad_y : ndarray of float64, shapes (n, d) and (n, e), or None
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x, y
    describe(&x, X, kernel_x)
    describe(&y, Y, kernel_y)
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef const double *shift_x = <const double *>data(offsets_x)
    cdef const double *shift_y = <const double *>data(offsets_y)
    cdef double *by_x = <double *>data(grad_x)
    cdef double *by_y = <double *>data(grad_y)
    cdef bint narrow = is_narrow(X)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_gradient_f32(&ctx, &x, &y, n, shift_x, constant_x, shift_y, constant_y, by_x, by_y)
        else:
            outcome = kx_independence_gradient_f64(&ctx, &x, &y, n, shift_x, constant_x, shift_y, constant_y, by_x, by_y)
    raise_for_status(outcome)


def kernel_matrix(cnp.ndarray X, others, kernel, cnp.ndarray out, workers):
    """out[i, j] = the kernel of X[i] and others[j].

    Parameters
    ----------
    X : ndarray, shape (n, d)
    others : ndarray, shape (m, d), or None
        None stands for `X`: the matrix is symmetric then.
    kernel : tuple
    out : ndarray like X, shape (n, m), C-contiguous
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x, y
    cdef cnp.ndarray second = X if others is None else others
    describe(&x, X, kernel)
    describe(&y, second, kernel)
    cdef int64_t n = cnp.PyArray_DIM(X, 0), m = cnp.PyArray_DIM(second, 0)
    cdef void *matrix = data(out)
    cdef bint narrow = is_narrow(X)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_matrix_f32(&ctx, &x, &y, n, m, <float *>matrix)
        else:
            outcome = kx_independence_matrix_f64(&ctx, &x, &y, n, m, <double *>matrix)
    raise_for_status(outcome)


def permutation_sums(cnp.ndarray K, cnp.ndarray L, cnp.ndarray permutations, cnp.ndarray out, workers):
    """out[b] = sum of K[i, j] L[p[i], p[j]], p = permutations[b].

    Parameters
    ----------
    K, L : ndarray, shape (n, n)
        Symmetric, C-contiguous, of one dtype.
    permutations : ndarray of int32, shape (count, n)
        C-contiguous.
    out : ndarray of float64, shape (count,)
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef int64_t n = cnp.PyArray_DIM(K, 0), count = cnp.PyArray_DIM(permutations, 0)
    cdef const void *k = data(K)
    cdef const void *l = data(L)
    cdef const int32_t *orders = <const int32_t *>data(permutations)
    cdef double *total = <double *>data(out)
    cdef bint narrow = is_narrow(K)
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_permutation_sums_f32(&ctx, <const float *>k, <const float *>l, n, orders, count, total)
        else:
            outcome = kx_independence_permutation_sums_f64(&ctx, <const double *>k, <const double *>l, n, orders, count, total)
    raise_for_status(outcome)


def median_distance(cnp.ndarray X, int kind, workers):
    """The median of the distances of all pairs.

    Parameters
    ----------
    X : ndarray, shape (n, d)
        n >= 2
    kind : int
        LAPLACE for distances of the L1 norm; else they are Euclidean.
    workers : int or None
    """
    cdef kx_ctx_t ctx
    fill_context(&ctx, workers)
    cdef kx_independence_points_t x
    describe(&x, X, (kind, 0, 0, 0))
    cdef int64_t n = cnp.PyArray_DIM(X, 0)
    cdef bint narrow = is_narrow(X)
    cdef double median = 0
    cdef kx_status_t outcome
    with nogil:
        if narrow:
            outcome = kx_independence_median_distance_f32(&ctx, &x, n, &median)
        else:
            outcome = kx_independence_median_distance_f64(&ctx, &x, n, &median)
    raise_for_status(outcome)
    return median


# ---- kexue.capi: without the interpreter, on one thread ----


cdef int _hsic(bint narrow, const void *x, const void *y, int64_t n, int64_t x_dimension, int64_t y_dimension,
               double x_gamma, double y_gamma, double *result) noexcept nogil:
    if n < 1 or x_dimension < 1 or y_dimension < 1:
        return KX_E_ARGUMENT
    cdef ptrdiff_t size = sizeof(float) if narrow else sizeof(double)
    cdef kx_independence_points_t X, Y
    X = kx_independence_points_t(x, x_dimension, x_dimension * size, KX_INDEPENDENCE_RBF, x_gamma, 0, 0)
    Y = kx_independence_points_t(y, y_dimension, y_dimension * size, KX_INDEPENDENCE_RBF, y_gamma, 0, 0)
    if n > INT64_MAX // 16:
        return KX_E_OVERFLOW
    cdef double *means_x = <double *>malloc(2 * n * sizeof(double))
    if means_x == NULL:
        return KX_E_MEMORY
    cdef double *means_y = means_x + n
    cdef double[3] sums
    cdef double mean_x = 0, mean_y = 0, product = 0
    cdef int64_t i
    cdef int outcome
    if narrow:
        outcome = kx_independence_sums_f32(NULL, &X, &Y, n, means_x, means_y, sums)
    else:
        outcome = kx_independence_sums_f64(NULL, &X, &Y, n, means_x, means_y, sums)
    if outcome >= 0:
        for i in range(n):  # the diagonals are 1
            means_x[i] = (means_x[i] + 1) / n
            means_y[i] = (means_y[i] + 1) / n
            mean_x += means_x[i] / n
            mean_y += means_y[i] / n
        # Centred before they are multiplied: the sum of products of kernels would cancel.
        if narrow:
            outcome = kx_independence_centred_sums_f32(NULL, &X, &Y, n, means_x, mean_x, means_y, mean_y, sums)
        else:
            outcome = kx_independence_centred_sums_f64(NULL, &X, &Y, n, means_x, mean_x, means_y, mean_y, sums)
    if outcome >= 0:
        product = sums[0]
        for i in range(n):
            product += (1 - 2 * means_x[i] + mean_x) * (1 - 2 * means_y[i] + mean_y)
        result[0] = product / n / n
    free(means_x)
    return outcome


cdef int hsic_f32(const float *x, const float *y, int64_t n, int64_t x_dimension, int64_t y_dimension, double x_gamma,
                  double y_gamma, double *result) noexcept nogil:
    return _hsic(True, x, y, n, x_dimension, y_dimension, x_gamma, y_gamma, result)


cdef int hsic_f64(const double *x, const double *y, int64_t n, int64_t x_dimension, int64_t y_dimension, double x_gamma,
                  double y_gamma, double *result) noexcept nogil:
    return _hsic(False, x, y, n, x_dimension, y_dimension, x_gamma, y_gamma, result)
