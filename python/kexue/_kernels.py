"""Kernel functions of points: what `kernel`, `bandwidth`, `gamma`, `coef0` and `degree` mean, for everyone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from kexue import _independence
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, check_number, result_dtype
from kexue._context import count_workers
from kexue._errors import KexueValueError, require_finite

KernelFunction: TypeAlias = Callable[[np.ndarray, np.ndarray], ArrayLike]
KernelLike: TypeAlias = str | KernelFunction
Bandwidth: TypeAlias = float | Literal["median"]

_KINDS = {
    "linear": _independence.LINEAR,
    "polynomial": _independence.POLYNOMIAL,
    "rbf": _independence.RBF,
    "laplace": _independence.LAPLACE,
}
_BLOCK_ENTRIES = 1 << 20  # of a block of a callable's matrix, or of distances: 8 MB


@dataclass(frozen=True)
class Kernel:
    """A kernel all of whose parameters are known.

    Attributes
    ----------
    name : str
        "rbf", "linear", "laplace", "polynomial", or "callable".
    gamma, coef0 : float
    degree : int
    function : callable, optional
        The caller's own function, of a "callable".
    """

    name: str
    gamma: float = 1.0
    coef0: float = 0.0
    degree: int = 1
    function: KernelFunction | None = None

    @property
    def parameters(self) -> tuple[int, float, float, int]:
        """What the functions of `kexue._independence` take; not for a callable."""
        return _KINDS[self.name], self.gamma, self.coef0, self.degree

    @property
    def is_callable(self) -> bool:
        return self.function is not None

    @property
    def is_shift_invariant(self) -> bool:
        return self.name in ("rbf", "laplace")

    @property
    def has_unit_diagonal(self) -> bool:
        """Whether k(x, x) = 1 for all x."""
        return self.is_shift_invariant

    def matrix(self, A: np.ndarray, B: np.ndarray | None = None, *, workers: int | None = None) -> np.ndarray:
        """The matrix k(A[i], B[j]), of two blocks of points of one dtype, as `as_points` makes them; B None is A."""
        if self.function is not None:
            return self._call(A, A if B is None else B)
        out = np.empty((len(A), len(A if B is None else B)), dtype=A.dtype)
        _independence.kernel_matrix(A, B, self.parameters, out, workers)
        return out

    def diagonal(self, X: np.ndarray) -> np.ndarray:
        """k(x, x) of each point, in float64."""
        if self.has_unit_diagonal:
            return np.ones(len(X))
        if self.function is not None:
            step = 64
            blocks = (X[i : i + step] for i in range(0, len(X), step))
            return np.concatenate([np.diagonal(self._call(block, block)) for block in blocks]).astype(np.float64)
        squares = np.einsum("ij,ij->i", X, X, dtype=np.float64)
        with np.errstate(over="ignore"):
            return squares if self.name == "linear" else (self.gamma * squares + self.coef0) ** self.degree

    def diagonal_slope(self, X: np.ndarray) -> np.ndarray | None:
        """Half of the gradient of k(x, x) at each point is the result times x; None: it is 0. Not for a callable."""
        if self.name == "linear":
            return np.ones(len(X))
        if self.name == "polynomial":
            squares = np.einsum("ij,ij->i", X, X, dtype=np.float64)
            with np.errstate(over="ignore"):
                return self.degree * self.gamma * (self.gamma * squares + self.coef0) ** (self.degree - 1)
        return None

    def _call(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        assert self.function is not None
        values = as_real("the result of the kernel function", self.function(A, B))
        if values.shape != (len(A), len(B)):
            raise KexueValueError(
                f"the kernel function returned an array of shape {values.shape} "
                f"for blocks of {len(A)} and {len(B)} points, not {(len(A), len(B))}"
            )
        require_finite("the result of the kernel function", values)
        return values


def as_points(name: str, value: ArrayLike, dtype: np.dtype | None = None) -> np.ndarray:
    """Points as the core takes them: (n, d), C-contiguous, float32 or float64, finite; (n,) is n points on a line."""
    points = as_real(name, value, ndim=(1, 2), dtype=dtype)
    require_finite(name, points)
    if points.ndim == 1:
        points = points[:, None]
    if points.shape[1] == 0:
        raise KexueValueError(f"{name} has no columns: its shape is {points.shape}")
    return as_contiguous(points)


def as_paired_points(X: ArrayLike, Y: ArrayLike, at_least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of as many points, of one dtype: float32 only if no array of float64 is among them."""
    dtype = result_dtype(X, Y)
    X, Y = as_points("X", X, dtype), as_points("Y", Y, dtype)
    if len(X) != len(Y):
        raise KexueValueError(f"X and Y must have as many points, but X has {len(X)} and Y has {len(Y)}")
    if len(X) < at_least:
        raise KexueValueError(f"X and Y have {len(X)} point{'s' * (len(X) != 1)}, but at least {at_least} are needed")
    return X, Y


def with_room(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Points of one dtype; as float64 where squares of float32 would be out of its range, or lose digits."""
    ordinary = all(A.dtype != np.float32 or _is_ordinary(A) for A in arrays)
    return arrays if ordinary else tuple(A.astype(np.float64) for A in arrays)


def _is_ordinary(A: np.ndarray) -> bool:
    largest = max(float(A.max(initial=0)), -float(A.min(initial=0)))
    return largest == 0 or 1e-9 < largest < 1e9


def full_matrix(X: np.ndarray, kernel: Kernel, workers: int | None = None) -> np.ndarray:
    """The matrix of all points with all points, of their dtype; a callable is called on blocks of rows."""
    if not kernel.is_callable:
        return kernel.matrix(X, workers=workers)
    out = np.empty((len(X), len(X)), dtype=X.dtype)
    for rows in row_blocks(len(X), len(X)):
        out[rows] = kernel.matrix(X[rows], X)
    return out


# ---- parameters ----


def positive(name: str, value: Any) -> float:
    number = check_number(name, value)
    if not (number > 0 and math.isfinite(number)):
        raise KexueValueError(f"{name} must be positive and finite, got {value!r}")
    return number


def require_kernel(kernel: Any, name: str = "kernel") -> None:
    if not (callable(kernel) or isinstance(kernel, str)):
        raise TypeError(f"{name} must be a name or a callable, not {type(kernel).__name__}")
    if isinstance(kernel, str) and kernel not in _KINDS:
        raise KexueValueError(f'{name} must be "rbf", "linear", "laplace", "polynomial" or a callable, got {kernel!r}')


def make_kernel(
    X: np.ndarray,
    kernel: KernelLike = "rbf",
    *,
    gamma: float | None = None,
    bandwidth: Bandwidth | None = "median",
    coef0: float = 1.0,
    degree: int = 3,
    name: str = "X",
    workers: int | None = None,
) -> Kernel:
    """The kernel of points X (as of `as_points`) that these arguments stand for.

    `gamma` comes before ``bandwidth="median"``; gamma and a number as bandwidth exclude each other. bandwidth None
    and gamma None is a gamma of 1 / d. What a kernel does not have is not looked at.
    """
    require_kernel(kernel)
    if callable(kernel):
        return Kernel("callable", function=kernel)
    if kernel == "linear":
        return Kernel("linear")
    if gamma is not None:
        gamma = positive("gamma", gamma)
        if bandwidth is not None and not isinstance(bandwidth, str) and kernel != "polynomial":
            raise KexueValueError(f"give gamma or bandwidth, not both: gamma is {gamma!r}, bandwidth is {bandwidth!r}")
    if kernel == "polynomial":
        coef0 = check_number("coef0", coef0, finite=True)
        if isinstance(degree, (bool, np.bool_)) or not isinstance(degree, Integral) or degree < 1:
            raise KexueValueError(f"degree must be a positive integer, got {degree!r}")
        if degree >= 2**31:
            raise KexueValueError(f"degree must be below 2^31, got {degree}")
        return Kernel("polynomial", 1 / X.shape[1] if gamma is None else gamma, coef0, int(degree))
    if gamma is None:
        if bandwidth is None:
            gamma = 1 / X.shape[1]
        else:
            if isinstance(bandwidth, str):
                if bandwidth != "median":
                    raise KexueValueError(f'bandwidth must be "median" or a positive number, got {bandwidth!r}')
                length = _median_distance(X, kernel, name, workers)
            else:
                length = positive("bandwidth", bandwidth)
            gamma = _gamma_of(kernel, length)
    _require_range(gamma, X.dtype)
    return Kernel(kernel, gamma)


def _require_range(gamma: float, dtype: np.dtype) -> None:
    """Gamma is a number of that dtype, and what it is multiplied with, where that overflows, has a kernel of 0."""
    largest = float(np.finfo(dtype).max)
    limits = np.finfo(dtype)
    # Of the least subnormal number, which a caller's processor may be told to take for 0.
    exponent = -(limits.minexp - limits.nmant) * math.log(2) + 1
    if not exponent / largest <= gamma <= largest:
        raise KexueValueError(
            f"gamma is {gamma!r}, out of range for kernels in {dtype}; scale the points, or give them as float64"
            if dtype == np.float32
            else f"gamma is {gamma!r}, out of range; scale the points"
        )


def _gamma_of(kernel: str, bandwidth: float) -> float:
    scale = 2 * bandwidth * bandwidth if kernel == "rbf" else bandwidth
    gamma = 1 / scale if scale > 0 else math.inf
    if not (0 < gamma < math.inf):
        raise KexueValueError(f"the bandwidth {bandwidth!r} is out of range: gamma would be {gamma!r}")
    return gamma


def as_pair(name: str, option: Any) -> tuple[Any, Any]:
    if not isinstance(option, (tuple, list)):
        return option, option
    if len(option) != 2:
        raise KexueValueError(f"{name} must be one value or a pair, for X and for Y, but it has {len(option)} items")
    return option[0], option[1]


def kernel_pair(
    X: np.ndarray,
    Y: np.ndarray,
    *,
    kernel: Any = "rbf",
    gamma: Any = None,
    bandwidth: Any = "median",
    coef0: Any = 1.0,
    degree: Any = 3,
    workers: int | None = None,
) -> tuple[Kernel, Kernel]:
    """The kernels of X and of Y; each option is one value for both or a pair."""
    kernels, gammas, bandwidths = as_pair("kernel", kernel), as_pair("gamma", gamma), as_pair("bandwidth", bandwidth)
    coefs, degrees = as_pair("coef0", coef0), as_pair("degree", degree)
    for one in kernels:
        require_kernel(one)
    require_use("gamma", gamma, any(g is not None for g in gammas), kernels, ("rbf", "laplace", "polynomial"))
    numeric = any(b is not None and not isinstance(b, str) for b in bandwidths)
    require_use("bandwidth", bandwidth, numeric, kernels, ("rbf", "laplace"))
    first, second = (
        make_kernel(
            points,
            kernels[side],
            gamma=gammas[side],
            bandwidth=bandwidths[side],
            coef0=coefs[side],
            degree=degrees[side],
            name=name,
            workers=workers,
        )
        for side, (name, points) in enumerate((("X", X), ("Y", Y)))
    )
    return first, second


def require_use(name: str, option: Any, given: bool, kernels: tuple[Any, Any], users: tuple[str, ...]) -> None:
    if given and not any(isinstance(kernel, str) and kernel in users for kernel in kernels):
        raise KexueValueError(f"{name} is {option!r}, but neither kernel has such a parameter")


# ---- the median heuristic ----


def _median_distance(X: np.ndarray, kernel: str, name: str, workers: int | None) -> float:
    if len(X) < 2:
        raise KexueValueError(f"a median distance needs at least 2 points, but {name} has {len(X)}")
    try:
        median = float(_independence.median_distance(X, _KINDS[kernel], workers))
    except KexueValueError:  # the points are finite, but not their distances
        median = math.inf
    return _positive_median(X, median, name)


def _positive_median(X: np.ndarray, median: float, name: str) -> float:
    if median == 0:
        spread = float(np.abs(X - X[0]).max())
        if 0 < spread < 1e-150:
            raise KexueValueError(f"the squares of the distances of {name}, below {spread:g}, vanish; scale it")
        which = "all points are equal" if spread == 0 else "half of the pairs of points are equal"
        raise KexueValueError(f"the median distance of {name} is 0 ({which}); give a bandwidth or gamma")
    if not math.isfinite(median):
        raise OverflowError(f"the distances of {name} overflow; scale it")
    return median


def row_blocks(rows: int, entries_a_row: int) -> Iterator[slice]:
    """Slices of rows of a matrix, each of about a million entries."""
    step = max(1, _BLOCK_ENTRIES // max(1, entries_a_row))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _sampled_median(X: np.ndarray, kernel: str, n_pairs: int, generator: np.random.Generator) -> float:
    n, d = X.shape
    distances = np.empty(n_pairs)
    for pairs in row_blocks(n_pairs, d):
        count = pairs.stop - pairs.start
        i = generator.integers(n, size=count)
        j = generator.integers(n - 1, size=count)
        j += j >= i
        difference = np.subtract(X[i], X[j], dtype=np.float64)
        if kernel == "rbf":
            distances[pairs] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        else:
            distances[pairs] = np.abs(difference).sum(axis=1)
    return float(np.median(distances, overwrite_input=True))


@same_kind
def median_bandwidth(
    X: ArrayLike,
    *,
    kernel: Literal["rbf", "laplace"] = "rbf",
    n_pairs: int | None = None,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> float:
    """The median heuristic: the median of the distances between pairs of points.

    It is the bandwidth that ``bandwidth="median"`` stands for, in all functions that have it.

    Parameters
    ----------
    X : array_like, shape (n, d) or (n,)
        Points, at least two; one dimension is points on a line. Real numbers, of which float32 stays, float16
        becomes float32 and the rest float64.
    kernel : {"rbf", "laplace"}, optional
        "rbf" takes Euclidean distances, "laplace" those of the L1 norm.
    n_pairs : int, optional
        Take so many random pairs of different points, drawn with replacement, in place of all n (n - 1) / 2. The
        share of pairs that are nearer than the result is then 0.5 with a standard deviation of 0.5 / sqrt(n_pairs).
    rng : numpy.random.Generator, int or None, optional
        Random numbers of these pairs, through ``numpy.random.default_rng(rng)``.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    float
        Positive.

    Raises
    ------
    KexueValueError
        If the median is 0, because all points are equal or at least half of the pairs are; if there are less than two
        points; if an entry of X is NaN or infinite: the message names it.
    TypeError
        If X does not hold real numbers.
    OverflowError
        If distances overflow.

    See Also
    --------
    rbf_kernel, laplace_kernel, hsic

    Notes
    -----
    The exact median takes O(n^2 d) time and O(n d) memory, whatever n is; a sample takes O(n_pairs d) time and
    8 n_pairs bytes.

    References
    ----------
    A. Gretton, K. Fukumizu, C. H. Teo, L. Song, B. Schölkopf, A. J. Smola, "A Kernel Statistical Test of
    Independence", NIPS 2007. D. Garreau, W. Jitkrittum, M. Kanagawa, "Large sample analysis of the median
    heuristic", 2017, arXiv:1707.07269.

    Examples
    --------
    >>> import kexue
    >>> kexue.median_bandwidth([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    4.242640687119285
    >>> kexue.median_bandwidth([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]], kernel="laplace")
    6.0
    """
    workers = count_workers(workers)
    if kernel not in ("rbf", "laplace"):
        raise KexueValueError(f'kernel must be "rbf" or "laplace", got {kernel!r}')
    (points,) = with_room(as_points("X", X))
    if n_pairs is None:
        return _median_distance(points, kernel, "X", workers)
    if isinstance(n_pairs, (bool, np.bool_)) or not isinstance(n_pairs, Integral):
        raise TypeError(f"n_pairs must be an integer, not {type(n_pairs).__name__}")
    if n_pairs < 1:
        raise KexueValueError(f"n_pairs must be at least 1, got {n_pairs}")
    if len(points) < 2:
        raise KexueValueError(f"a median distance needs at least 2 points, but X has {len(points)}")
    median = _sampled_median(points, kernel, int(n_pairs), np.random.default_rng(rng))
    return _positive_median(points, median, "X")


# ---- matrices ----


def _kernel_matrix(
    X: ArrayLike, Y: ArrayLike | None, out: np.ndarray | None, workers: int | None, kernel: str, **options: Any
) -> np.ndarray:
    workers = count_workers(workers)
    dtype = result_dtype(X, Y)
    A = as_points("X", X, dtype)
    B = None if Y is None else as_points("Y", Y, dtype)
    if B is not None and A.shape[1] != B.shape[1]:
        raise KexueValueError(f"X has {A.shape[1]} columns and Y has {B.shape[1]}, but they must have as many")
    resolved = make_kernel(A, kernel, workers=workers, **options)
    shape = (len(A), len(A if B is None else B))
    if out is None:
        out = np.empty(shape, dtype=dtype)
    else:
        _require_place(out, shape, dtype)
    direct = out.flags.c_contiguous and out.flags.aligned and not np.may_share_memory(out, A)
    direct = direct and (B is None or not np.may_share_memory(out, B))
    place = out if direct else np.empty(shape, dtype=dtype)
    _independence.kernel_matrix(A, B, resolved.parameters, place, workers)
    if not direct:
        out[...] = place
    return out


def _require_place(out: Any, shape: tuple[int, int], dtype: np.dtype) -> None:
    if not isinstance(out, np.ndarray) or out.dtype != dtype:
        found = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out must be an array of dtype {dtype}, not {found}")
    if out.shape != shape:
        raise KexueValueError(f"out has shape {out.shape}, but the result has shape {shape}")
    if not out.flags.writeable:
        raise KexueValueError("out is read-only")


@same_kind
def rbf_kernel(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    gamma: float | None = None,
    bandwidth: Bandwidth | None = None,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """The matrix of the Gaussian kernel: exp(-gamma d^2), with d the Euclidean distance of two points.

    Parameters
    ----------
    X : array_like, shape (n, d) or (n,)
        Points; one dimension is points on a line. float32 stays, float16 becomes float32, the rest float64.
    Y : array_like, shape (m, d) or (m,), optional
        Other points. None is X itself; the result is then symmetric, and 1 on the diagonal.
    gamma : float, optional
        Positive. 1 / d by default, as in scikit-learn, unless `bandwidth` is given.
    bandwidth : float or "median", optional
        In place of gamma: the kernel is exp(-d^2 / (2 bandwidth^2)). "median" is `median_bandwidth` of X.
    out : ndarray, shape (n, m), optional
        The result's place, of its dtype.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, m)
        float32 if no argument is float64 or an integer array, else float64.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of columns, both gamma and bandwidth are given, one is not positive, the
        median distance is 0, or an entry is NaN or infinite: the message names it.
    TypeError
        If an argument does not hold real numbers, or `out` has another dtype.

    See Also
    --------
    median_bandwidth, laplace_kernel, hsic

    Notes
    -----
    O(n m d) time. Points far from the origin lose no digits: distances are sums of differences. ``sigma`` of texts
    that write exp(-d^2 / sigma^2) is ``gamma=1 / sigma**2``.

    References
    ----------
    A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms",
    2005, doi:10.1007/11564089_7.

    Examples
    --------
    >>> import kexue
    >>> kexue.rbf_kernel([0.0, 1.0, 2.0], gamma=1.0)
    array([[1.        , 0.36787944, 0.01831564],
           [0.36787944, 1.        , 0.36787944],
           [0.01831564, 0.36787944, 1.        ]])
    >>> kexue.rbf_kernel([[0.0, 0.0]], [[3.0, 4.0]], bandwidth=5.0)
    array([[0.60653066]])
    """
    return _kernel_matrix(X, Y, out, workers, "rbf", gamma=gamma, bandwidth=bandwidth)


@same_kind
def laplace_kernel(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    gamma: float | None = None,
    bandwidth: Bandwidth | None = None,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """The matrix of the Laplace kernel: exp(-gamma |x - y|_1), with the L1 distance of two points.

    Parameters
    ----------
    X : array_like, shape (n, d) or (n,)
        Points; one dimension is points on a line. float32 stays, float16 becomes float32, the rest float64.
    Y : array_like, shape (m, d) or (m,), optional
        Other points. None is X itself; the result is then symmetric, and 1 on the diagonal.
    gamma : float, optional
        Positive. 1 / d by default, as in scikit-learn, unless `bandwidth` is given.
    bandwidth : float or "median", optional
        In place of gamma: 1 / gamma. "median" is `median_bandwidth` of X, of L1 distances.
    out : ndarray, shape (n, m), optional
        The result's place, of its dtype.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, m)
        float32 if no argument is float64 or an integer array, else float64.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of columns, both gamma and bandwidth are given, one is not positive, the
        median distance is 0, or an entry is NaN or infinite: the message names it.
    TypeError
        If an argument does not hold real numbers, or `out` has another dtype.

    See Also
    --------
    median_bandwidth, rbf_kernel, hsic

    Notes
    -----
    O(n m d) time. scikit-learn calls it ``laplacian_kernel``.

    References
    ----------
    A. Gretton, O. Bousquet, A. Smola, B. Schölkopf, "Measuring Statistical Dependence with Hilbert-Schmidt Norms",
    2005, doi:10.1007/11564089_7.

    Examples
    --------
    >>> import kexue
    >>> kexue.laplace_kernel([[0.0, 0.0], [1.0, 2.0]], gamma=0.5)
    array([[1.        , 0.22313016],
           [0.22313016, 1.        ]])
    """
    return _kernel_matrix(X, Y, out, workers, "laplace", gamma=gamma, bandwidth=bandwidth)


@same_kind
def polynomial_kernel(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    degree: int = 3,
    gamma: float | None = None,
    coef0: float = 1.0,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """The matrix of the polynomial kernel: (gamma <x, y> + coef0)^degree.

    Parameters
    ----------
    X : array_like, shape (n, d) or (n,)
        Points; one dimension is points on a line. float32 stays, float16 becomes float32, the rest float64.
    Y : array_like, shape (m, d) or (m,), optional
        Other points. None is X itself; the result is then symmetric.
    degree : int, optional
        At least 1.
    gamma : float, optional
        Positive. 1 / d by default, as in scikit-learn.
    coef0 : float, optional
        Not negative if the kernel is to be positive semidefinite.
    out : ndarray, shape (n, m), optional
        The result's place, of its dtype.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, m)
        float32 if no argument is float64 or an integer array, else float64.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of columns, gamma is not positive, degree is not a positive integer, or an
        entry is NaN or infinite: the message names it.
    TypeError
        If an argument does not hold real numbers, or `out` has another dtype.

    See Also
    --------
    linear_kernel, rbf_kernel, hsic

    Notes
    -----
    O(n m d) time.

    References
    ----------
    B. Schölkopf, A. J. Smola, "Learning with Kernels", 2002, section 2.3.

    Examples
    --------
    >>> import kexue
    >>> kexue.polynomial_kernel([[1.0, 2.0], [3.0, 4.0]], degree=2, gamma=1.0)
    array([[ 36., 144.],
           [144., 676.]])
    """
    return _kernel_matrix(X, Y, out, workers, "polynomial", gamma=gamma, coef0=coef0, degree=degree)


@same_kind
def linear_kernel(
    X: ArrayLike,
    Y: ArrayLike | None = None,
    *,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """The matrix of the linear kernel: the scalar products <x, y>.

    Parameters
    ----------
    X : array_like, shape (n, d) or (n,)
        Points; one dimension is points on a line. float32 stays, float16 becomes float32, the rest float64.
    Y : array_like, shape (m, d) or (m,), optional
        Other points. None is X itself; the result is then symmetric.
    out : ndarray, shape (n, m), optional
        The result's place, of its dtype.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    ndarray, shape (n, m)
        float32 if no argument is float64 or an integer array, else float64.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of columns, or an entry is NaN or infinite: the message names it.
    TypeError
        If an argument does not hold real numbers, or `out` has another dtype.

    See Also
    --------
    polynomial_kernel, rbf_kernel, cka

    Notes
    -----
    O(n m d) time. `hsic` and `cka` with linear kernels never form this matrix where d < n.

    References
    ----------
    B. Schölkopf, A. J. Smola, "Learning with Kernels", 2002, section 2.1.

    Examples
    --------
    >>> import kexue
    >>> kexue.linear_kernel([[1.0, 2.0], [3.0, 4.0]])
    array([[ 5., 11.],
           [11., 25.]])
    """
    return _kernel_matrix(X, Y, out, workers, "linear")
