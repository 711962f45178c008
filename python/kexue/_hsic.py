"""The Hilbert-Schmidt independence criterion, its normalised forms and its gradient."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue import _independence
from kexue._array_kinds import same_kind
from kexue._arrays import as_real, result_dtype
from kexue._context import count_workers
from kexue._errors import KexueValueError
from kexue._kernels import (
    Bandwidth,
    Kernel,
    KernelLike,
    as_paired_points,
    full_matrix,
    kernel_pair,
    positive,
    row_blocks,
    with_room,
)

Estimator: TypeAlias = Literal["biased", "n-1", "unbiased"]
_ESTIMATORS = ("biased", "n-1", "unbiased")
FLOAT64_EPS = float(np.finfo(np.float64).eps)
_PIECE = 1 << 31  # multiplications of a matrix product: a tenth of a second, then an interrupt is seen
_PIECE_SIDE = 256  # the least side of a piece, at which BLAS is still fast


def require_estimator(estimator: Any) -> int:
    """The least number of points of an estimator."""
    if estimator not in _ESTIMATORS:
        raise KexueValueError(f'estimator must be "biased", "n-1" or "unbiased", got {estimator!r}')
    return 4 if estimator == "unbiased" else 2


@np.errstate(over="ignore", invalid="ignore")
def centred(X: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    """Points minus their mean; exactly 0 where all are equal."""
    X = np.subtract(X, X[0], dtype=np.float64)
    X -= X.mean(axis=0)
    return X.astype(dtype, copy=False)


def prepared(X: np.ndarray, kernel: Kernel) -> np.ndarray:
    """Points for which HSIC is the same and the kernel's sums lose no digits: for scalar products, near the origin."""
    return centred(X, X.dtype) if kernel.name == "linear" else X


def paired_kernels(
    X: ArrayLike, Y: ArrayLike, *, at_least: int = 2, workers: int | None = None, **options: Any
) -> tuple[np.ndarray, np.ndarray, Kernel, Kernel]:
    """Checked points and their kernels, for all functions of X, Y and options as of `hsic`."""
    X, Y = with_room(*as_paired_points(X, Y, at_least))
    return X, Y, *kernel_pair(X, Y, workers=workers, **options)


@dataclass(frozen=True, eq=False)
class PairSums:
    """All that the estimators need of two kernel matrices.

    Attributes
    ----------
    product, square_x, square_y : float
        Sums over i != j of K_ij L_ij, K_ij^2 and L_ij^2.
    rows_x, rows_y : ndarray of float64, shape (n,)
        Sums over j != i of K_ij, of L_ij.
    diagonal_x, diagonal_y : ndarray of float64, shape (n,)
        K_ii and L_ii.
    eps : float
        The relative error of a sum: float64's, also of float32 entries, whose own errors are independent of each other.
    """

    product: float
    square_x: float
    square_y: float
    rows_x: np.ndarray
    rows_y: np.ndarray
    diagonal_x: np.ndarray
    diagonal_y: np.ndarray
    eps: float

    @property
    @np.errstate(over="ignore")
    def size_x(self) -> float:
        """The mean of K_ij^2 over all i, j, to which the rounding of HSIC of X with itself is relative."""
        return (self.square_x + float(self.diagonal_x @ self.diagonal_x)) / len(self.rows_x) ** 2

    @property
    @np.errstate(over="ignore")
    def size_y(self) -> float:
        return (self.square_y + float(self.diagonal_y @ self.diagonal_y)) / len(self.rows_y) ** 2

    def hsic(self, estimator: Estimator) -> float:
        rounding = self.eps * math.sqrt(self.size_x) * math.sqrt(self.size_y)
        sides = (self.rows_x, self.rows_y, self.diagonal_x, self.diagonal_y)
        return estimate(self.product, *sides, estimator, rounding)

    def hsic_of_x(self, estimator: Estimator) -> float:
        """HSIC of X with itself."""
        sides = (self.rows_x, self.rows_x, self.diagonal_x, self.diagonal_x)
        return estimate(self.square_x, *sides, estimator, self.eps * self.size_x)

    def hsic_of_y(self, estimator: Estimator) -> float:
        sides = (self.rows_y, self.rows_y, self.diagonal_y, self.diagonal_y)
        return estimate(self.square_y, *sides, estimator, self.eps * self.size_y)


@np.errstate(over="ignore", invalid="ignore")  # what is not finite is an OverflowError
def estimate(
    product: float,
    rows_x: np.ndarray,
    rows_y: np.ndarray,
    diagonal_x: np.ndarray,
    diagonal_y: np.ndarray,
    estimator: Estimator,
    rounding: float,
) -> float:
    """HSIC of sums as in `PairSums`; biased forms that are below 0 by some times `rounding` are 0."""
    n = len(rows_x)
    if estimator != "unbiased":
        product = product + float(diagonal_x @ diagonal_y)
        rows_x, rows_y = rows_x + diagonal_x, rows_y + diagonal_y
    # Row sums minus their mean: the three terms are then as small as they can be.
    mean_x, mean_y = float(rows_x.mean()), float(rows_y.mean())
    cross = float((rows_x - mean_x) @ (rows_y - mean_y))
    if estimator == "unbiased":
        # Song's sum with s = n mean: s_x s_y / ((n-1)(n-2)) - 2 (cross + n mean_x mean_y) / (n-2).
        return _finite((product - n * mean_x * mean_y / (n - 1) - 2 * cross / (n - 2)) / (n * (n - 3)))
    value = _finite((product - mean_x * mean_y - 2 * cross / n) / (n * n if estimator == "biased" else (n - 1) ** 2))
    # Positive semidefinite kernels give nothing negative; a callable may be another one.
    return 0.0 if -64 * rounding <= value < 0 else value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise OverflowError("the kernel's values overflow; scale X and Y, or choose a smaller gamma")
    return float(value)


def pair_sums(
    X: np.ndarray, Y: np.ndarray, kernel_x: Kernel, kernel_y: Kernel, *, workers: int | None = None
) -> PairSums:
    """Sums over all pairs of points, in O(n d) memory (callables: a block of rows of their matrices)."""
    n = len(X)
    rows_x, rows_y = np.empty(n), np.empty(n)
    if not (kernel_x.is_callable or kernel_y.is_callable):
        sums = _independence.sums(X, kernel_x.parameters, Y, kernel_y.parameters, rows_x, rows_y, workers)
        return PairSums(*sums, rows_x, rows_y, kernel_x.diagonal(X), kernel_y.diagonal(Y), FLOAT64_EPS)
    diagonal_x, diagonal_y = np.empty(n), np.empty(n)
    sides = [
        (X, kernel_x, rows_x, diagonal_x, np.zeros(n), np.zeros(n)),
        (Y, kernel_y, rows_y, diagonal_y, np.zeros(n), np.zeros(n)),
    ]
    product, squares = 0.0, [0.0, 0.0]
    for block in row_blocks(n, n):
        own = np.arange(block.start, block.stop)
        matrices = []
        for side, (points, kernel, rows, diagonal, columns, sizes) in enumerate(sides):
            matrix = kernel.matrix(points[block], points, workers=workers).astype(np.float64)
            diagonal[block] = matrix[own - block.start, own]
            matrix[own - block.start, own] = 0
            rows[block] = matrix.sum(axis=1)
            columns += matrix.sum(axis=0)
            sizes[block] = np.abs(matrix).sum(axis=1)
            squares[side] += float(np.vdot(matrix, matrix))
            matrices.append(matrix)
        product += float(np.vdot(*matrices))
    for _, _, rows, _, columns, sizes in sides:
        require_symmetric(rows, columns, sizes)
    return PairSums(product, squares[0], squares[1], rows_x, rows_y, diagonal_x, diagonal_y, FLOAT64_EPS)


def require_symmetric(rows: np.ndarray, columns: np.ndarray, sizes: np.ndarray, where: str = "") -> None:
    """The sums of a callable's rows and columns have to be equal, next to those of the rows' absolute values."""
    # Loose: a callable may compute in float32, and cancel.
    bad = np.abs(rows - columns) > 1e-3 * max(float(sizes.max()), float(np.abs(columns).max()))
    if bad.any():
        i = int(bad.argmax())
        raise KexueValueError(
            f"the kernel function is not symmetric{where}: its values k(x[{i}], .) sum to {rows[i]:g}, "
            f"k(., x[{i}]) to {columns[i]:g}"
        )


# ---- linear kernels in feature space ----


def uses_features(X: np.ndarray, Y: np.ndarray, kernel_x: Kernel, kernel_y: Kernel) -> bool:
    """Whether the matrices of moments are smaller than those of the kernels."""
    return kernel_x.name == kernel_y.name == "linear" and max(X.shape[1], Y.shape[1]) < len(X)


def matrix_product(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """A @ B, a large one in pieces, between which an interrupt is seen."""
    (rows, inner), columns = A.shape, B.shape[1]
    if rows * inner * columns <= _PIECE:
        return A @ B
    result = np.zeros((rows, columns))
    row_step = min(rows, max(_PIECE_SIDE, _PIECE // (inner * columns)))
    inner_step = max(_PIECE_SIDE, _PIECE // (row_step * columns))
    for i in range(0, rows, row_step):
        for k in range(0, inner, inner_step):
            result[i : i + row_step] += A[i : i + row_step, k : k + inner_step] @ B[k : k + inner_step]
    return result


def _squared_moments(X: np.ndarray, Y: np.ndarray) -> float:
    """The sum of the squares of X.T @ Y; of X with itself, half of the work by symmetry."""
    if X.size * Y.shape[1] <= _PIECE:
        moments = X.T @ Y
        return float(np.vdot(moments, moments))
    total = 0.0
    for start in range(0, X.shape[1], _PIECE_SIDE):
        part = X[:, start : start + _PIECE_SIDE]
        moments = matrix_product(part.T, Y[:, start:] if X is Y else Y)
        squares = float(np.vdot(moments, moments))
        if X is Y:
            square = moments[:, : part.shape[1]]
            squares = 2 * squares - float(np.vdot(square, square))
        total += squares
    return total


def feature_hsic(X: np.ndarray, Y: np.ndarray, estimator: Estimator) -> float:
    """HSIC of linear kernels, of centred points in float64: O(n d_x d_y) time, d_x d_y memory."""
    n = len(X)
    with np.errstate(over="ignore", invalid="ignore"):
        product = _squared_moments(X, Y)
        if estimator != "unbiased":
            return _finite(product / (n * n if estimator == "biased" else (n - 1) ** 2))
        # Rows of centred points sum to 0, so without the diagonal to minus it.
        norms_x, norms_y = (np.einsum("ij,ij->i", points, points) for points in (X, Y))
        return estimate(product - float(norms_x @ norms_y), -norms_x, -norms_y, norms_x, norms_y, estimator, 0.0)


def alignment(both: float, of_x: float, of_y: float, *, debiased: bool) -> float:
    """CKA of HSIC(X, Y), HSIC(X, X) and HSIC(Y, Y), of which the latter two are positive."""
    value = both / (math.sqrt(of_x) * math.sqrt(of_y))
    return min(max(value, -1.0 if debiased else 0.0), 1.0)


def require_spread(name: str, of_itself: float, size: float, eps: float) -> None:
    """HSIC of points with themselves has to be more than the rounding of terms of that size."""
    if not of_itself > 64 * eps * size:
        raise KexueValueError(
            f"HSIC({name}, {name}) is 0 to rounding: the kernel does not tell the points of {name} apart"
        )


def unit_of(X: np.ndarray) -> float:
    """What to divide points by so that the fourth power of their scale is a number; 1 where it is one."""
    largest = float(max(X.max(), -X.min()))
    ordinary = 1e-50 < largest < 1e50 if X.dtype == np.float64 else 1e-5 < largest < 1e5
    return 1.0 if ordinary or largest == 0 else largest


def unit_scale(X: np.ndarray) -> np.ndarray:
    unit = unit_of(X)
    return X if unit == 1 else X / unit


# ---- public ----


@same_kind
def hsic(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    kernel: KernelLike | tuple[KernelLike, KernelLike] = "rbf",
    bandwidth: Bandwidth | None | tuple[Bandwidth | None, Bandwidth | None] = "median",
    gamma: float | None | tuple[float | None, float | None] = None,
    coef0: float | tuple[float, float] = 1.0,
    degree: int | tuple[int, int] = 3,
    estimator: Estimator = "biased",
    workers: int | None = None,
) -> float:
    """The Hilbert-Schmidt independence criterion: how strongly paired samples depend on each other, in any way.

    Kernel matrices are never formed: memory for a copy of the samples, and about 500 bytes a point.

    Parameters
    ----------
    X, Y : array_like, shape (n, d_x) or (n,), and (n, d_y) or (n,)
        The samples, row i of X with row i of Y; one dimension is points on a line. Kernels are computed in float32 if
        both are float32 or float16, and of a scale whose squares are in its range; else in float64, as are sums.
    kernel : {"rbf", "linear", "laplace", "polynomial"}, callable, or a pair of them
        See `rbf_kernel` and its sisters. A callable takes two blocks of points, (a, d) and (b, d), and returns the
        (a, b) matrix of a symmetric positive semidefinite kernel. Each option may be a pair, for X and for Y.
    bandwidth : "median", float, or None, optional
        Of "rbf", exp(-d^2 / (2 bandwidth^2)), and of "laplace", exp(-|x - y|_1 / bandwidth). "median" is
        `median_bandwidth` of X, and of Y. None is a gamma of 1 / d.
    gamma : float, optional
        In place of a bandwidth: exp(-gamma d^2), exp(-gamma |x - y|_1); of "polynomial", 1 / d by default.
    coef0 : float, optional
        Of "polynomial": (gamma <x, y> + coef0)^degree.
    degree : int, optional
        Of "polynomial".
    estimator : {"biased", "n-1", "unbiased"}, optional
        tr(KJLJ) / n^2, which is never negative; the same over (n - 1)^2, which is not unbiased either, in spite of
        what is often said; or the unbiased estimator of Song et al., which may be negative and needs 4 points.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    float
        0 for independent variables, in expectation if unbiased, else in the limit.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of points, or too few; if an entry is NaN or infinite: the message names it;
        if a median distance is 0; if an option is none of the above; if a callable returns another shape or is not
        symmetric.
    TypeError
        If an argument does not hold real numbers.
    OverflowError
        If values of the kernels overflow.

    See Also
    --------
    hsic_from_kernels : of two matrices.
    cka, normalized_hsic : scaled forms.
    hsic_gradient

    Notes
    -----
    With row sums k and l of the kernel matrices, J = I - 1/n, tr(KJLJ) is sum(K * L) - 2 k.l / n + sum(k) sum(l) / n^2:
    O(n^2 d) time, half of it by symmetry. Linear kernels with d < n take O(n d_x d_y): HSIC is the squared norm of the
    covariance matrix. Points far from the origin lose no digits, but with "polynomial", which is not invariant.
    A callable is called on blocks of rows, of a million entries or a row, and twice for each pair. What is summed are
    the values of K and L, and HSIC is their spread: a bandwidth far above all distances, which makes all values nearly
    equal, costs the digits that they share.

    References
    ----------
    A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms",
    2005, doi:10.1007/11564089_7. L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via
    Dependence Maximization", JMLR 13, 2012. J. Su, "HSIC简介:一个有意思的判断相关性的思路", 2019,
    https://kexue.fm/archives/6910.

    Examples
    --------
    >>> import kexue
    >>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
    >>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
    >>> round(kexue.hsic(x, y, gamma=1.0), 12)
    0.074769100351
    >>> round(kexue.hsic(x, y, gamma=1.0, estimator="unbiased"), 12)
    0.054799891479
    >>> round(kexue.hsic(x, y, kernel=("rbf", "linear")), 12)
    0.088714640502
    """
    at_least = require_estimator(estimator)
    workers = count_workers(workers)
    X, Y, kernel_x, kernel_y = paired_kernels(
        X,
        Y,
        at_least=at_least,
        workers=workers,
        kernel=kernel,
        bandwidth=bandwidth,
        gamma=gamma,
        coef0=coef0,
        degree=degree,
    )
    if uses_features(X, Y, kernel_x, kernel_y):
        return feature_hsic(centred(X, np.float64), centred(Y, np.float64), estimator)
    X, Y = prepared(X, kernel_x), prepared(Y, kernel_y)
    return pair_sums(X, Y, kernel_x, kernel_y, workers=workers).hsic(estimator)


@same_kind
def cka(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    kernel: KernelLike | tuple[KernelLike, KernelLike] = "linear",
    bandwidth: Bandwidth | None | tuple[Bandwidth | None, Bandwidth | None] = "median",
    gamma: float | None | tuple[float | None, float | None] = None,
    coef0: float | tuple[float, float] = 1.0,
    degree: int | tuple[int, int] = 3,
    debiased: bool = False,
    workers: int | None = None,
) -> float:
    """Centered kernel alignment: HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)), a similarity of representations.

    Parameters
    ----------
    X, Y : array_like, shape (n, d_x) or (n,), and (n, d_y) or (n,)
        Two representations of the same n items, such as the activations of two layers.
    kernel, bandwidth, gamma, coef0, degree
        As for `hsic`, but linear kernels are the default.
    debiased : bool, optional
        Take the unbiased HSIC: the result does not grow with d / n, and needs 4 items. Else the biased one.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    float
        Between 0 and 1, 1 if X and Y are equal but for a rotation and a scale (linear kernels). Between -1 and 1 if
        debiased: the numerator may be negative, while HSIC of X with itself is not.

    Raises
    ------
    KexueValueError
        As for `hsic`; and if HSIC of X or of Y with itself is 0, since all its points are equal: there is nothing
        to align.
    TypeError
        If an argument does not hold real numbers.
    OverflowError
        If values of the kernels overflow.

    See Also
    --------
    hsic

    Notes
    -----
    Linear kernels with d < n take O(n d^2) time and O(n d + d^2) memory, others O(n^2 d) and O(n d).

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
    arXiv:1905.00414. Debiased: T. Nguyen, M. Raghu, S. Kornblith, "Do Wide and Deep Networks Learn the Same
    Things?", 2020, arXiv:2010.15327.

    Examples
    --------
    >>> import kexue
    >>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
    >>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
    >>> round(kexue.cka(x, y), 12)
    0.862103732405
    >>> round(kexue.cka(x, y, kernel="rbf", gamma=1.0), 12)
    0.851884444179
    """
    estimator: Estimator = "unbiased" if debiased else "biased"
    at_least = require_estimator(estimator)
    workers = count_workers(workers)
    X, Y, kernel_x, kernel_y = paired_kernels(
        X,
        Y,
        at_least=at_least,
        workers=workers,
        kernel=kernel,
        bandwidth=bandwidth,
        gamma=gamma,
        coef0=coef0,
        degree=degree,
    )
    if uses_features(X, Y, kernel_x, kernel_y):
        X, Y = unit_scale(centred(X, np.float64)), unit_scale(centred(Y, np.float64))
        both, of_x, of_y = (feature_hsic(A, B, estimator) for A, B in ((X, Y), (X, X), (Y, Y)))
        size_x, size_y = (feature_hsic(A, A, "biased") for A in (X, Y)) if debiased else (of_x, of_y)
    else:
        X, Y = (
            unit_scale(prepared(A, kernel)) if kernel.name == "linear" else prepared(A, kernel)
            for A, kernel in ((X, kernel_x), (Y, kernel_y))
        )
        sums = pair_sums(X, Y, kernel_x, kernel_y, workers=workers)
        both, of_x, of_y = sums.hsic(estimator), sums.hsic_of_x(estimator), sums.hsic_of_y(estimator)
        size_x, size_y = sums.size_x, sums.size_y
        if debiased:  # which has no diagonal
            size_x, size_y = sums.square_x / len(X) ** 2, sums.square_y / len(X) ** 2
    require_spread("X", of_x, size_x, FLOAT64_EPS)
    require_spread("Y", of_y, size_y, FLOAT64_EPS)
    return alignment(both, of_x, of_y, debiased=debiased)


@same_kind
def hsic_gradient(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    kernel: str | tuple[str, str] = "rbf",
    bandwidth: Bandwidth | None | tuple[Bandwidth | None, Bandwidth | None] = "median",
    gamma: float | None | tuple[float | None, float | None] = None,
    coef0: float | tuple[float, float] = 1.0,
    degree: int | tuple[int, int] = 3,
    estimator: Estimator = "biased",
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of `hsic` by X and by Y.

    Parameters
    ----------
    X, Y : array_like, shape (n, d_x) or (n,), and (n, d_y) or (n,)
        The samples, as for `hsic`.
    kernel : {"rbf", "linear", "laplace", "polynomial"}, or a pair of them
        A callable has no gradient.
    bandwidth, gamma, coef0, degree
        As for `hsic`. They are held fixed: with ``bandwidth="median"``, the median is computed and then a number.
    estimator : {"biased", "n-1", "unbiased"}, optional
        As for `hsic`.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    grad_X, grad_Y : ndarray
        Of the shapes of X and Y; both float32 if both X and Y are float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        As for `hsic`; and if a kernel is a callable.
    TypeError
        If an argument does not hold real numbers.
    OverflowError
        If values overflow.

    See Also
    --------
    hsic

    Notes
    -----
    With G the centred matrix L of Y over n^2 (or its equivalent of another estimator), the gradient by x_i is
    2 sum_j G_ij dk(x_i, x_j)/dx_i: O(n^2 d) time and O(n d) memory, G is not stored. Linear kernels with d < n take
    O(n d_x d_y). The derivative of |t| at 0 is taken to be 0 in "laplace".

    References
    ----------
    A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms",
    2005, doi:10.1007/11564089_7. W.-D. K. Ma, J. P. Lewis, W. B. Kleijn, "The HSIC Bottleneck", 2019,
    arXiv:1908.01580.

    Examples
    --------
    >>> import kexue
    >>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
    >>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
    >>> grad_x, grad_y = kexue.hsic_gradient(x, y, gamma=1.0, estimator="n-1")
    >>> grad_x.round(6)
    array([-0.004844, -0.013154,  0.046769, -0.013637, -0.006214, -0.008919])
    """
    at_least = require_estimator(estimator)
    workers = count_workers(workers)
    dtype = result_dtype(X, Y)
    X, Y = as_real("X", X, dtype=dtype), as_real("Y", Y, dtype=dtype)
    shapes = X.shape, Y.shape
    X, Y, kernel_x, kernel_y = paired_kernels(
        X,
        Y,
        at_least=at_least,
        workers=workers,
        kernel=kernel,
        bandwidth=bandwidth,
        gamma=gamma,
        coef0=coef0,
        degree=degree,
    )
    if kernel_x.is_callable or kernel_y.is_callable:
        raise KexueValueError("kernel is a callable, whose derivative is not known; hsic_gradient needs a named one")
    if uses_features(X, Y, kernel_x, kernel_y):
        X, Y = centred(X, np.float64), centred(Y, np.float64)
        gradients = [feature_gradient(X, Y, estimator), feature_gradient(Y, X, estimator)]
    else:
        X, Y = prepared(X, kernel_x), prepared(Y, kernel_y)
        rows_x, rows_y = np.empty(len(X)), np.empty(len(X))
        _independence.sums(X, kernel_x.parameters, Y, kernel_y.parameters, rows_x, rows_y, workers)
        gradients = _gradients(X, kernel_x, rows_x, Y, kernel_y, rows_y, estimator, workers)
    if not all(np.isfinite(gradient).all() for gradient in gradients):
        raise OverflowError("the gradient overflows; scale X and Y, or choose a smaller gamma")
    grad_x, grad_y = (
        gradient.astype(dtype, copy=False).reshape(shape) for gradient, shape in zip(gradients, shapes, strict=True)
    )
    return grad_x, grad_y


@np.errstate(over="ignore", invalid="ignore")
def _gradients(
    X: np.ndarray,
    kernel_x: Kernel,
    rows_x: np.ndarray,
    Y: np.ndarray,
    kernel_y: Kernel,
    rows_y: np.ndarray,
    estimator: Estimator,
    workers: int | None,
) -> list[np.ndarray]:
    """The gradients by X and by Y, from the sums of the rows of K and of L without the diagonal."""
    n = len(X)
    sides = (X, kernel_x), (Y, kernel_y)
    offsets_of, constants, shifts = [], [], []
    for (points, kernel), rows in zip(sides, (rows_x, rows_y), strict=True):
        diagonal = kernel.diagonal(points)
        if estimator == "unbiased":
            offsets, constant = rows / (n - 2), float(rows.sum()) / ((n - 1) * (n - 2))
        else:
            offsets = (rows + diagonal) / n
            constant = float(offsets.mean())
        offsets_of.append(offsets)
        constants.append(constant)
        shifts.append(diagonal - 2 * offsets + constant)
    gradients = [np.empty(points.shape) for points, _ in sides]
    _independence.gradient(
        X,
        kernel_x.parameters,
        offsets_of[0],
        constants[0],
        Y,
        kernel_y.parameters,
        offsets_of[1],
        constants[1],
        gradients[0],
        gradients[1],
        workers,
    )
    scale = {"biased": n * n, "n-1": (n - 1) ** 2, "unbiased": n * (n - 3)}[estimator]
    for gradient, (points, kernel), shift in zip(gradients, sides, shifts[::-1], strict=True):
        slopes = None if estimator == "unbiased" else kernel.diagonal_slope(points)
        if slopes is not None:
            # k(x_i, x_i) moves with x_i in both of its arguments: half of its derivative here, for the factor 2 below.
            gradient += (shift * slopes)[:, None] * points
        gradient *= 2 / scale
    return gradients


def feature_gradient(X: np.ndarray, Y: np.ndarray, estimator: Estimator) -> np.ndarray:
    """The gradient by X of HSIC of linear kernels, of centred points in float64."""
    n = len(X)
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = matrix_product(Y, matrix_product(Y.T, X))
        if estimator == "unbiased":
            norms = np.einsum("ij,ij->i", Y, Y)
            scales = norms * (1 + 2 / (n - 2)) - float(norms.sum()) / ((n - 1) * (n - 2))
            gradient -= scales[:, None] * X
            gradient += norms @ X / (n - 2)
            gradient *= 2 / (n * (n - 3))
        else:
            gradient *= 2 / (n * n if estimator == "biased" else (n - 1) ** 2)
    return gradient


@same_kind
def normalized_hsic(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    epsilon: float = 1e-5,
    kernel: KernelLike | tuple[KernelLike, KernelLike] = "rbf",
    bandwidth: Bandwidth | None | tuple[Bandwidth | None, Bandwidth | None] = "median",
    gamma: float | None | tuple[float | None, float | None] = None,
    coef0: float | tuple[float, float] = 1.0,
    degree: int | tuple[int, int] = 3,
    workers: int | None = None,
) -> float:
    """Normalised HSIC, of the HSIC bottleneck: tr(A B) with A = JKJ (JKJ + epsilon n I)^-1, and B likewise of L.

    Parameters
    ----------
    X, Y : array_like, shape (n, d_x) or (n,), and (n, d_y) or (n,)
        The samples, as for `hsic`. All is computed in float64.
    epsilon : float, optional
        Positive. The smaller, the less the result depends on the kernel and the more on noise.
    kernel, bandwidth, gamma, coef0, degree
        As for `hsic`.
    workers : int, optional
        Threads that fill the kernel matrices; -1 is all processors, None the number of `kexue.threads`. The solves use
        those of SciPy's BLAS.

    Returns
    -------
    float
        Between 0 and n - 1.

    Raises
    ------
    KexueValueError
        As for `hsic`; if epsilon is not positive; if a kernel is not positive semidefinite.
    TypeError
        If an argument does not hold real numbers.
    OverflowError
        If values of the kernels overflow.

    See Also
    --------
    hsic, cka

    Notes
    -----
    O(n^3) time, by Cholesky decompositions. Six n x n matrices of float64 are in memory at most: 48 n^2 bytes.

    References
    ----------
    K. Fukumizu, A. Gretton, X. Sun, B. Schölkopf, "Kernel Measures of Conditional Dependence", NIPS 2007.
    W.-D. K. Ma, J. P. Lewis, W. B. Kleijn, "The HSIC Bottleneck", 2019, arXiv:1908.01580.

    Examples
    --------
    >>> import kexue
    >>> x = [0.1, -0.4, 0.9, 1.3, -1.1, 0.6]
    >>> y = [0.2, -0.1, 1.1, 0.7, -0.9, 0.3]
    >>> round(kexue.normalized_hsic(x, y, gamma=1.0), 9)
    4.269253629
    """
    workers = count_workers(workers)
    epsilon = positive("epsilon", epsilon)
    X, Y, kernel_x, kernel_y = paired_kernels(
        as_real("X", X, dtype=np.float64),
        as_real("Y", Y, dtype=np.float64),
        workers=workers,
        kernel=kernel,
        bandwidth=bandwidth,
        gamma=gamma,
        coef0=coef0,
        degree=degree,
    )
    first = _normalized_matrix("X", prepared(X, kernel_x), kernel_x, epsilon, workers)
    second = _normalized_matrix("Y", prepared(Y, kernel_y), kernel_y, epsilon, workers)
    return _finite(float(np.vdot(first, second.T)))


def _normalized_matrix(name: str, X: np.ndarray, kernel: Kernel, epsilon: float, workers: int | None) -> np.ndarray:
    from scipy.linalg import cho_factor, cho_solve

    n = len(X)
    matrix = full_matrix(X, kernel, workers)
    if not np.isfinite(matrix).all():
        raise OverflowError(f"the kernel's values overflow; scale {name}, or choose a smaller gamma")
    means = matrix.mean(axis=1)
    matrix -= means[:, None]
    matrix -= means
    matrix += means.mean()
    regularized = matrix.copy()
    regularized[np.diag_indices(n)] += epsilon * n
    try:
        factor = cho_factor(regularized, lower=True, overwrite_a=True, check_finite=False)
    except np.linalg.LinAlgError as error:
        raise KexueValueError(f"the kernel of {name} is not positive semidefinite on these points: {error}") from error
    return cho_solve(factor, matrix, overwrite_b=True, check_finite=False)
