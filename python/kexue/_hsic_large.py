"""Estimates of HSIC in one pass, for many points: means over blocks, and random features."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kexue._array_kinds import same_kind
from kexue._arrays import check_integer
from kexue._context import count_workers
from kexue._errors import KexueValueError
from kexue._hsic import Estimator, pair_sums, prepared, require_estimator
from kexue._hsic_sums import MEDIAN_ROWS, Rows
from kexue._kernels import Kernel, as_paired_points, kernel_pair, with_room

# Features of a group are orthogonal and share their products; groups are independent, so their spread is the error.
_GROUP = 32
_ROWS_AT_ONCE = 1024
_MOST_PERIODS = 2.0**42  # then a phase is known to 0.001 periods
_GROUPS_AT_ONCE = 8

Blocks = Iterator[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, eq=False)
class HSICBlockResult:
    """What `hsic_block` found.

    Attributes
    ----------
    hsic : float
        The mean of the unbiased HSIC of the blocks; it may be negative.
    standard_error : float
        The standard deviation of this mean, from the spread of the blocks.
    statistic : float
        hsic / standard_error.
    pvalue : float
        The probability of such a statistic, or a larger one, where X and Y are independent.
    values : ndarray, shape (n_blocks,)
        The unbiased HSIC of each block.
    n_points : int
        How many points the blocks have in all: the rest were left out.

    See Also
    --------
    hsic_block

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=105)
    >>> result = kexue.hsic_block(x, -x, block_size=10)
    >>> len(result.values), result.n_points
    (10, 100)
    """

    hsic: float
    standard_error: float
    statistic: float
    pvalue: float
    values: np.ndarray
    n_points: int


@same_kind
def hsic_block(
    X: Any,
    Y: Any = None,
    *,
    block_size: int,
    shuffle: bool = False,
    rng: np.random.Generator | int | None = None,
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: Any = None,
    coef0: Any = 1.0,
    degree: Any = 3,
    workers: int | None = None,
) -> HSICBlockResult:
    """Test of independence, and unbiased HSIC, from disjoint blocks of points, in one pass over any number of them.

    Parameters
    ----------
    X, Y : array_like, shape (n, d) or (n,)
        Pairs of points, as for `hsic`, or anything with a shape and slices, such as `numpy.memmap`. They must be in
        random order: see `shuffle`.
    X : iterable of pairs, with Y None
        Chunks ``(X_chunk, Y_chunk)`` of any lengths, as a generator may read them; they are cut and joined to blocks.
    block_size : int
        Points of a block, at least 4. Larger blocks find weaker dependence and take more time; there must be two, and
        should be twenty or more for the p-value to hold.
    shuffle : bool
        Draw the points of each block at random. Blocks of points that are sorted in some way are no samples
        of the whole, and the result would not be right. Not for chunks.
    rng : numpy.random.Generator, int or None
        Random numbers of `shuffle`, through ``numpy.random.default_rng(rng)``.
    kernel, gamma, coef0, degree
        As in `hsic`.
    bandwidth : float or "median", or a pair of these
        "median" is the median of 2048 rows in even distances, of all if there are no more; with chunks, of the first
        blocks that have as many.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    HSICBlockResult
        With ``hsic``, ``standard_error``, ``statistic``, ``pvalue``, ``values`` of the blocks and ``n_points``.

    Raises
    ------
    KexueValueError
        If `block_size` is below 4 or there are less than two blocks; if chunks do not fit together; as `hsic`.

    See Also
    --------
    hsic_test : for one block of all points, which finds weaker dependence.
    hsic_random_features, hsic_streaming

    Notes
    -----
    O(n block_size d) time, memory for a few blocks. Points that do not fill a block are left out. The
    mean of many independent blocks is nearly normal whatever the kernel, also where X and Y are independent, unlike
    HSIC itself; as its variance is estimated from the blocks, the p-value is the upper tail of Student's
    t distribution with a degree of freedom less than there are blocks.

    References
    ----------
    Q. Zhang, S. Filippi, A. Gretton, D. Sejdinovic, "Large-scale kernel methods for independence testing", 2018,
    doi:10.1007/s11222-016-9721-7.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> def chunks():
    ...     for _ in range(20):
    ...         x = rng.normal(size=500)
    ...         yield x, x**2 + rng.normal(size=500)
    >>> result = kexue.hsic_block(chunks(), block_size=200)
    >>> len(result.values)
    50
    >>> result.pvalue < 1e-6
    True
    """
    from scipy.special import stdtr

    size = check_integer("block_size", block_size, 1)
    if size < 4:
        raise KexueValueError(f"block_size must be at least 4, got {size}")
    workers = count_workers(workers)
    options = {"kernel": kernel, "bandwidth": bandwidth, "gamma": gamma, "coef0": coef0, "degree": degree}
    if Y is None:
        if shuffle:
            raise KexueValueError("shuffle needs arrays, not chunks: shuffle what they are made of")
        sample, blocks = _peek(_rejoined(X, size))
    else:
        rows = Rows(X, Y)
        if len(rows) < 2 * size:
            raise KexueValueError(
                f"X and Y have {len(rows)} points, but at least two blocks of block_size={size} are needed"
            )
        sample = rows.evenly_spaced(max(size, MEDIAN_ROWS))
        blocks = _shuffled(rows, size, np.random.default_rng(rng)) if shuffle else rows.blocks(size)
    kernels = kernel_pair(*with_room(*sample), workers=workers, **options)
    values = np.array([_unbiased(X, Y, kernels, workers) for X, Y in blocks if len(X) == size])
    if len(values) < 2:
        raise KexueValueError(f"there are less than two blocks of block_size={size}")
    mean = float(values.mean())
    error = float(values.std(ddof=1)) / math.sqrt(len(values))
    statistic = mean / error if error > 0 else math.copysign(math.inf, mean) if mean else 0.0
    return HSICBlockResult(
        hsic=mean,
        standard_error=error,
        statistic=statistic,
        pvalue=float(stdtr(len(values) - 1, -statistic)),
        values=values,
        n_points=size * len(values),
    )


def _unbiased(X: np.ndarray, Y: np.ndarray, kernels: tuple[Kernel, Kernel], workers: int) -> float:
    kernel_x, kernel_y = kernels
    X, Y = with_room(prepared(X, kernel_x), prepared(Y, kernel_y))
    return pair_sums(X, Y, kernel_x, kernel_y, workers=workers).hsic("unbiased")


def _shuffled(rows: Rows, size: int, generator: np.random.Generator) -> Blocks:
    order = generator.permutation(len(rows))
    for start in range(0, len(order) - size + 1, size):
        # In ascending order, as files are read; within a block the order has no influence.
        yield rows.take(np.sort(order[start : start + size]))


def _rejoined(chunks: Any, size: int) -> Blocks:
    """Blocks of one size out of chunks of any; the last one may be shorter."""
    if not isinstance(chunks, Iterable) or hasattr(chunks, "shape"):
        raise TypeError("without Y, X must be an iterable of pairs (X_chunk, Y_chunk)")
    parts: list[tuple[np.ndarray, np.ndarray]] = []
    waiting = 0
    first: tuple[np.ndarray, np.ndarray] | None = None
    for number, chunk in enumerate(chunks):
        points = _chunk(number, chunk, first)
        first = points if first is None else first
        parts.append(points)
        waiting += len(points[0])
        if waiting < size:
            continue
        X, Y = (np.concatenate(side) for side in zip(*parts, strict=True))
        for start in range(0, waiting - size + 1, size):
            yield X[start : start + size], Y[start : start + size]
        rest = waiting % size
        parts, waiting = ([(X[-rest:], Y[-rest:])], rest) if rest else ([], 0)
    if waiting:
        X, Y = (np.concatenate(side) for side in zip(*parts, strict=True))
        yield X, Y


def _chunk(number: int, chunk: Any, first: tuple[np.ndarray, np.ndarray] | None) -> tuple[np.ndarray, np.ndarray]:
    try:
        X, Y = chunk
    except (TypeError, ValueError):
        raise TypeError(f"chunk {number} is not a pair (X_chunk, Y_chunk)") from None
    try:
        X, Y = as_paired_points(X, Y, 0)
    except KexueValueError as error:
        raise KexueValueError(f"chunk {number}: {error}") from error
    for name, points, one in zip("XY", (X, Y), first or (X, Y), strict=True):
        if points.shape[1] != one.shape[1]:
            raise KexueValueError(
                f"{name} has {points.shape[1]} columns in chunk {number}, but {one.shape[1]} in chunk 0"
            )
    if first is not None and first[0].dtype != X.dtype:
        # Of the first chunk, as of one array.
        X, Y = X.astype(first[0].dtype), Y.astype(first[0].dtype)
    return X, Y


def _peek(blocks: Blocks) -> tuple[tuple[np.ndarray, np.ndarray], Blocks]:
    """The first blocks together, of 2048 rows or all there are; and all blocks."""
    head: list[tuple[np.ndarray, np.ndarray]] = []
    while sum(len(X) for X, _ in head) < MEDIAN_ROWS and (block := next(blocks, None)) is not None:
        head.append(block)
    if not head:
        raise KexueValueError("X has no chunks, or only empty ones")
    first, second = (np.concatenate(side)[:MEDIAN_ROWS] for side in zip(*head, strict=True))
    return (first, second), itertools.chain(head, blocks)


# ---- random features ----


@dataclass(frozen=True, eq=False)
class HSICFeaturesResult:
    """What `hsic_random_features` estimated.

    Attributes
    ----------
    hsic : float
        The estimate.
    standard_error : float
        Its standard deviation over the choice of features: in about 19 of 20 cases HSIC of all pairs of points is
        within two standard errors; in 9 of 10 with 256 features, whose spread is not known as well.
    n_features : int
        How many frequencies for each of X and Y.
    n_points : int
        How many points.

    See Also
    --------
    hsic_random_features

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=300)
    >>> result = kexue.hsic_random_features(x, x, rng=0)
    >>> result.n_features, result.n_points
    (2048, 300)
    >>> 0 < result.standard_error < 0.1 * result.hsic
    True
    """

    hsic: float
    standard_error: float
    n_features: int
    n_points: int


@same_kind
def hsic_random_features(
    X: Any,
    Y: Any = None,
    *,
    n_features: int = 2048,
    rng: np.random.Generator | int | None = None,
    estimator: Estimator = "biased",
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: Any = None,
    workers: int | None = None,
) -> HSICFeaturesResult:
    """Estimate HSIC by random Fourier features, in one pass over any number of points.

    Parameters
    ----------
    X, Y : array_like, shape (n, d) or (n,)
        Pairs of points, as for `hsic`, or anything with a shape and slices, such as `numpy.memmap`.
    X : iterable of pairs, with Y None
        Chunks ``(X_chunk, Y_chunk)`` of any lengths, as a generator may read them.
    n_features : int
        Frequencies for each of X and Y, rounded up to a multiple of 32, at least 64. The error is proportional to
        1 / sqrt(n_features).
    rng : numpy.random.Generator, int or None
        Random numbers of the frequencies, through ``numpy.random.default_rng(rng)``.
    estimator : {"biased", "n-1", "unbiased"}
        Which HSIC of all pairs of points is estimated, as in `hsic`.
    kernel : {"rbf", "laplace"}, or a pair of these
        Gaussian frequencies, or Cauchy ones.
    bandwidth : float or "median", or a pair of these
        "median" is the median of 2048 rows in even distances, of all if there are no more; with chunks, of the first
        2048 rows.
    gamma : float, or a pair
        As in `hsic`.
    workers : int, optional
        Threads of the median. Matrix products use those of NumPy's BLAS.

    Returns
    -------
    HSICFeaturesResult
        With ``hsic``, ``standard_error``, ``n_features`` and ``n_points``.

    Raises
    ------
    KexueValueError
        If the kernel is another; if chunks do not fit together; if a bandwidth is 10^12 times smaller than distances,
        or nearly so, and phases have no digits in float64; as `hsic`.

    See Also
    --------
    hsic : exact, O(n^2).
    hsic_block : another estimate, with a test.

    Notes
    -----
    O(n n_features d) time, O(n_features d) memory. Frequencies come in groups of 32, orthogonal to each other ("rbf")
    and stratified. Each group is an estimate of its own, with a kernel of rank 64 and k(x, x) = 1, whose mean over the
    choice of frequencies is the exact HSIC, for all three estimators. The result is the mean of the groups, its
    standard error that of a mean of independent values. Frequencies are applied in float64; sines and cosines and
    their products are taken in float32, with an error far below the standard error.

    With 2048 features the standard error is 0.1 to 1.6 % of the biased HSIC, for d from 1 to 20; in 3600 simulations
    HSIC was within two standard errors in 94 of 100. The data are taken as given: how much HSIC of other data from
    the same source would differ is another matter, see `hsic_block`.

    References
    ----------
    A. Rahimi, B. Recht, "Random Features for Large-Scale Kernel Machines", NIPS 2007. F. X. Yu, A. T. Suresh, K.
    Choromanski, D. Holtmann-Rice, S. Kumar, "Orthogonal Random Features", 2016, arXiv:1610.09072. Q. Zhang, S. Filippi,
    A. Gretton, D. Sejdinovic, 2018, doi:10.1007/s11222-016-9721-7.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 5))
    >>> y = x[:, :2] + rng.normal(size=(1000, 2))
    >>> result = kexue.hsic_random_features(x, y, rng=1)
    >>> bool(abs(result.hsic - kexue.hsic(x, y)) < 3 * result.standard_error)
    True
    """
    needed = require_estimator(estimator)
    groups = max(2, -(-check_integer("n_features", n_features, 1) // _GROUP))
    workers = count_workers(workers)
    generator = np.random.default_rng(rng)
    if Y is None:
        sample, blocks = _peek(_rejoined(X, _ROWS_AT_ONCE))
    else:
        rows = Rows(X, Y)
        rows.require(needed)
        sample = rows.evenly_spaced(_ROWS_AT_ONCE)
        blocks = rows.blocks(_ROWS_AT_ONCE)
    kernels = kernel_pair(*with_room(*sample), kernel=kernel, bandwidth=bandwidth, gamma=gamma, workers=workers)
    for name, one in zip("XY", kernels, strict=True):
        if not one.is_shift_invariant:
            raise KexueValueError(
                f'random features need the kernel "rbf" or "laplace", but that of {name} is {one.name}'
            )
    frequencies = [
        np.concatenate([_frequencies(points.shape[1], one, generator) for _ in range(groups)])
        for points, one in zip(sample, kernels, strict=True)
    ]
    origins = [points.mean(axis=0, dtype=np.float64) for points in sample]
    # Of a frequency as most are: some of "laplace" are far beyond the others, and have a kernel of 0 anyway.
    reaches = [float(np.median(np.abs(side).sum(axis=1))) for side in frequencies]
    sums = _FeatureSums(groups)
    for block in blocks:
        X, Y = (points - origin for points, origin in zip(block, origins, strict=True))
        for name, points, reach in zip("XY", (X, Y), reaches, strict=True):
            _require_phases(name, points, reach)
        sums.add(X, Y, *frequencies)
    if sums.n < needed:
        raise KexueValueError(f"X and Y have {sums.n} point{'s' * (sums.n != 1)}, but at least {needed} are needed")
    values = np.array([sums.hsic(group, estimator) for group in range(groups)])
    return HSICFeaturesResult(
        hsic=float(values.mean()),
        standard_error=float(values.std(ddof=1)) / math.sqrt(groups),
        n_features=groups * _GROUP,
        n_points=sums.n,
    )


def _require_phases(name: str, points: np.ndarray, reach: float) -> None:
    """Phases are of whole periods, of which float64 must not leave too few digits."""
    if not float(np.abs(points).max(initial=0)) * reach < _MOST_PERIODS:
        raise KexueValueError(
            f"the bandwidth of {name} is too small for random features, next to distances like "
            f"{float(np.abs(points).max()):.3g}: phases in float64 have no digits left"
        )


def _frequencies(d: int, kernel: Kernel, generator: np.random.Generator) -> np.ndarray:
    """A group of frequencies, in periods of the features: (group, d).

    Each of them has the distribution of the kernel's spectrum. Together they are spread over it: there is one in each
    interval of equal probability of the length ("rbf"), or of each coordinate ("laplace").
    """
    if kernel.name == "laplace":
        shares = _stratified((d,), generator).T
        return kernel.gamma / (2 * math.pi) * np.tan(math.pi * (shares - 0.5))
    from scipy.special import gammaincinv

    squares = -(-_GROUP // d)
    # Orthogonal directions, each of them uniform, and the lengths of Gaussian vectors.
    q, r = np.linalg.qr(generator.normal(size=(squares, d, min(d, _GROUP))))
    directions = (q.swapaxes(1, 2) * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, :, None]).reshape(-1, d)
    lengths = np.sqrt(2 * gammaincinv(d / 2, _stratified((), generator)))
    return math.sqrt(2 * kernel.gamma) / (2 * math.pi) * directions[:_GROUP] * lengths[:, None]


def _stratified(shape: tuple[int, ...], generator: np.random.Generator) -> np.ndarray:
    """Uniform numbers of 0 to 1, (*shape, group), one in each of as many intervals, in random order."""
    places = generator.permuted(np.broadcast_to(np.arange(_GROUP), (*shape, _GROUP)), axis=-1)
    return (places + generator.random((*shape, _GROUP))) / _GROUP


class _FeatureSums:
    """For each group: the sums of features and of their products."""

    def __init__(self, groups: int) -> None:
        self.n = 0
        self._products = np.zeros((groups, 2 * _GROUP, 2 * _GROUP))
        self._x, self._y = (np.zeros((groups, 2 * _GROUP)) for _ in range(2))
        self._features = [_Features() for _ in range(2)]

    def add(self, X: np.ndarray, Y: np.ndarray, frequencies_x: np.ndarray, frequencies_y: np.ndarray) -> None:
        self.n += len(X)
        for start in range(0, len(self._products), _GROUPS_AT_ONCE):
            groups = slice(start, min(start + _GROUPS_AT_ONCE, len(self._products)))
            rows = slice(groups.start * _GROUP, groups.stop * _GROUP)
            F, G = self._features[0](X, frequencies_x[rows]), self._features[1](Y, frequencies_y[rows])
            self._products[groups] += F @ G.swapaxes(1, 2)
            self._x[groups] += F.sum(axis=2)
            self._y[groups] += G.sum(axis=2)

    def hsic(self, group: int, estimator: Estimator) -> float:
        """Of kernels K = F^T F and L = G^T G, whose diagonals are 1."""
        n = self.n
        products, x, y = self._products[group] / _GROUP, self._x[group], self._y[group]
        if estimator != "unbiased":
            centred = products - np.outer(x, y) / (_GROUP * n)
            return float(np.vdot(centred, centred)) / (n * n if estimator == "biased" else (n - 1) ** 2)
        x, y = x / math.sqrt(_GROUP), y / math.sqrt(_GROUP)
        total_x, total_y = float(x @ x) - n, float(y @ y) - n
        product = float(np.vdot(products, products)) - n
        cross = float(x @ products @ y) - (total_x + n) - (total_y + n) + n
        return (product + total_x * total_y / ((n - 1) * (n - 2)) - 2 * cross / (n - 2)) / (n * (n - 3))


class _Features:
    """Cosines and sines, in arrays that are used again: fresh memory would take ten times as long as all the rest."""

    def __init__(self) -> None:
        entries = _GROUPS_AT_ONCE * _GROUP * _ROWS_AT_ONCE
        self._periods, self._whole = np.empty(entries), np.empty(entries)
        self._phases, self._values = np.empty(entries, dtype=np.float32), np.empty(2 * entries, dtype=np.float32)

    def __call__(self, X: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
        """(groups, 2 group, rows), until the next call."""
        shape = (len(frequencies), len(X))
        entries = shape[0] * shape[1]
        periods, whole, phases = (
            buffer[:entries].reshape(shape) for buffer in (self._periods, self._whole, self._phases)
        )
        np.matmul(frequencies, X.T, out=periods)
        # Whole periods go in float64: of a phase of 1e6 float32 would leave nothing.
        np.rint(periods, out=whole)
        periods -= whole
        np.multiply(periods, 2 * math.pi, out=phases, casting="same_kind")
        groups = phases.reshape(-1, _GROUP, len(X))
        values = self._values[: 2 * entries].reshape(len(groups), 2 * _GROUP, len(X))
        np.cos(groups, out=values[:, :_GROUP])
        np.sin(groups, out=values[:, _GROUP:])
        return values
