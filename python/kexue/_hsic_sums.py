"""Exact HSIC of data in blocks: sums over pairs of blocks, which add up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue import _independence
from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_integer, result_dtype
from kexue._context import count_workers
from kexue._errors import KexueValueError
from kexue._hsic import (
    FLOAT64_EPS,
    Estimator,
    PairSums,
    alignment,
    estimate,
    matrix_product,
    pair_sums,
    require_estimator,
    require_spread,
)
from kexue._kernels import Kernel, as_pair, as_paired_points, as_points, kernel_pair, row_blocks, with_room

MEDIAN_ROWS = 2048  # 2 million distances: their median is within 1% or so of that of all points


@dataclass(frozen=True, eq=False)
class HSICSums:
    """The sums that HSIC is made of, over some of the pairs of points; parts add up.

    Where points are in blocks that are never in one place (in files, on several machines), each pair of blocks has its
    part: `within` for the pairs of points in one block, `between` for those of two. The sum of all parts has the exact
    HSIC of all points. A part is small: a few numbers for each point of its blocks.

    Attributes
    ----------
    products : ndarray, shape (3,)
        Sums of K L, K K and L L over the pairs so far, without the diagonal.
    n_pairs : int
        How many pairs these are; (i, j) and (j, i) are two.
    rows : dict of ndarray, shape (4, length)
        For each block: sums of the rows of K and of L over these pairs, and the diagonals, which `within`
        has.

    See Also
    --------
    hsic_streaming : does all of this for arrays on disk.
    kexue.dask.hsic : does it over a cluster.

    Notes
    -----
    O(b^2 d) time and O(b d) memory for blocks of b points. What is kept in all is 32 bytes a point.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(50, 3))
    >>> y = x + rng.normal(size=(50, 3))
    >>> first, second = slice(0, 20), slice(20, 50)
    >>> sums = (
    ...     kexue.HSICSums.within(x[first], y[first], 0, bandwidth=2.0)
    ...     + kexue.HSICSums.within(x[second], y[second], 1, bandwidth=2.0)
    ...     + kexue.HSICSums.between(x[first], y[first], x[second], y[second], (0, 1), bandwidth=2.0)
    ... )
    >>> bool(np.isclose(sums.hsic(), kexue.hsic(x, y, bandwidth=2.0)))
    True
    """

    products: np.ndarray
    n_pairs: int
    rows: dict[Any, np.ndarray]

    @classmethod
    def within(
        cls,
        X: ArrayLike,
        Y: ArrayLike,
        block: Any = 0,
        *,
        kernel: Any = "rbf",
        bandwidth: Any = "median",
        gamma: Any = None,
        coef0: Any = 1.0,
        degree: Any = 3,
        workers: int | None = None,
    ) -> HSICSums:
        """The part of all pairs of points in one block.

        Parameters
        ----------
        X, Y : array_like, shape (b, d) or (b,)
            The block, any number of points.
        block : hashable
            The block's name, its number for instance.
        kernel, bandwidth, gamma, coef0, degree
            As in `hsic`, and the same for all parts. A median is not known here: "rbf" and "laplace" need a number, as
            `median_bandwidth` of a sample.
        workers : int, optional
            Threads, as in `hsic`.

        Returns
        -------
        HSICSums

        Raises
        ------
        KexueValueError
            If X and Y have different numbers of points, an entry is NaN or infinite, or a kernel needs a median.
        TypeError
            If an argument does not hold real numbers.
        """
        workers = count_workers(workers)
        X, Y = as_paired_points(X, Y, 0)
        kernels = _kernels(X, Y, kernel, workers, bandwidth=bandwidth, gamma=gamma, coef0=coef0, degree=degree)
        return _within(X, Y, kernels, block, workers)

    @classmethod
    def between(
        cls,
        X: ArrayLike,
        Y: ArrayLike,
        X2: ArrayLike,
        Y2: ArrayLike,
        blocks: tuple[Any, Any] = (0, 1),
        *,
        kernel: Any = "rbf",
        bandwidth: Any = "median",
        gamma: Any = None,
        coef0: Any = 1.0,
        degree: Any = 3,
        workers: int | None = None,
    ) -> HSICSums:
        """The part of all pairs of a point of one block and a point of another.

        Parameters
        ----------
        X, Y : array_like, shape (b, d) or (b,)
            The first block.
        X2, Y2 : array_like, shape (c, d) or (c,)
            The second block.
        blocks : pair of hashables
            The names of the two blocks; they must differ.
        kernel, bandwidth, gamma, coef0, degree, workers
            As in `within`.

        Returns
        -------
        HSICSums

        Raises
        ------
        KexueValueError
            As `within`; if the blocks have one name, or different numbers of columns.
        TypeError
            If an argument does not hold real numbers.
        """
        workers = count_workers(workers)
        dtype = result_dtype(X, Y, X2, Y2)
        arrays = [as_points(name, value, dtype) for name, value in (("X", X), ("Y", Y), ("X2", X2), ("Y2", Y2))]
        for one, other, names in ((0, 1, "X and Y"), (2, 3, "X2 and Y2")):
            if len(arrays[one]) != len(arrays[other]):
                raise KexueValueError(
                    f"{names} must have as many points, but they have {len(arrays[one])} and {len(arrays[other])}"
                )
        for one, other, names in ((0, 2, "X and X2"), (1, 3, "Y and Y2")):
            if arrays[one].shape[1] != arrays[other].shape[1]:
                raise KexueValueError(
                    f"{names} must have as many columns, but their shapes are {arrays[one].shape} and "
                    f"{arrays[other].shape}"
                )
        if not isinstance(blocks, (tuple, list)) or len(blocks) != 2 or blocks[0] == blocks[1]:
            raise KexueValueError(f"blocks must be two different names, got {blocks!r}")
        X, Y, X2, Y2 = arrays
        kernels = _kernels(X, Y, kernel, workers, bandwidth=bandwidth, gamma=gamma, coef0=coef0, degree=degree)
        return _between(X, Y, X2, Y2, kernels, tuple(blocks), workers)

    def __add__(self, other: HSICSums) -> HSICSums:
        if not isinstance(other, HSICSums):
            return NotImplemented
        rows = dict(self.rows)
        for block, sums in other.rows.items():
            mine = rows.get(block)
            if mine is not None and mine.shape != sums.shape:
                raise KexueValueError(
                    f"block {block!r} has {mine.shape[1]} points in one part and {sums.shape[1]} in another"
                )
            rows[block] = sums if mine is None else mine + sums
        return HSICSums(self.products + other.products, self.n_pairs + other.n_pairs, rows)

    @property
    def n_points(self) -> int:
        """How many points the blocks have."""
        return sum(sums.shape[1] for sums in self.rows.values())

    def hsic(self, estimator: Estimator = "biased") -> float:
        """HSIC of all points.

        Parameters
        ----------
        estimator : {"biased", "n-1", "unbiased"}
            As in `hsic`.

        Returns
        -------
        float

        Raises
        ------
        KexueValueError
            If parts are missing, or were added twice, or there are too few points.
        """
        return self._complete(require_estimator(estimator)).hsic(estimator)

    def cka(self, *, debiased: bool = False) -> float:
        """Centered kernel alignment of all points.

        Parameters
        ----------
        debiased : bool
            As in `cka`.

        Returns
        -------
        float

        Raises
        ------
        KexueValueError
            If parts are missing, or were added twice, or there are too few points; or as `cka`.
        """
        estimator: Estimator = "unbiased" if debiased else "biased"
        sums = self._complete(require_estimator(estimator))
        of_x, of_y = sums.hsic_of_x(estimator), sums.hsic_of_y(estimator)
        # The debiased form has no diagonal.
        squares = sums.square_x / self.n_points**2, sums.square_y / self.n_points**2
        size_x, size_y = squares if debiased else (sums.size_x, sums.size_y)
        require_spread("X", of_x, size_x, FLOAT64_EPS)
        require_spread("Y", of_y, size_y, FLOAT64_EPS)
        return alignment(sums.hsic(estimator), of_x, of_y, debiased=debiased)

    def _complete(self, needed: int) -> PairSums:
        n = self.n_points
        if n < needed:
            raise KexueValueError(f"X and Y have {n} point{'s' * (n != 1)}, but at least {needed} are needed")
        if self.n_pairs != n * (n - 1):
            raise KexueValueError(
                f"the parts have {self.n_pairs} pairs of points, but {n} points have {n * (n - 1)}: each block must "
                "come once as `within`, and each pair of blocks once as `between`"
            )
        product, square_x, square_y = map(float, self.products)
        rows_x, rows_y, diagonal_x, diagonal_y = np.concatenate(list(self.rows.values()), axis=1)
        return PairSums(product, square_x, square_y, rows_x, rows_y, diagonal_x, diagonal_y, FLOAT64_EPS)


@same_kind
def hsic_streaming(
    X: Any,
    Y: Any,
    *,
    block_rows: int = 4096,
    estimator: Estimator = "biased",
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: Any = None,
    coef0: Any = 1.0,
    degree: Any = 3,
    workers: int | None = None,
) -> float:
    """Exact HSIC of arrays that are read block after block, as from a file.

    Parameters
    ----------
    X, Y : array_like, shape (n, d) or (n,)
        Anything with a shape whose slices of rows ``X[start:stop]`` are arrays: `numpy.memmap`, data sets of h5py and
        zarr, of any real dtype.
    block_rows : int
        Rows that are read at once. Two blocks are in memory at a time.
    estimator : {"biased", "n-1", "unbiased"}
        As in `hsic`.
    kernel, gamma, coef0, degree
        As in `hsic`.
    bandwidth : float or "median", or a pair of these
        "median" is the median of 2048 rows in even distances, of all if there are no more.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    float

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of rows or too few, or an entry is NaN or infinite; as `hsic`.

    See Also
    --------
    hsic : of arrays in memory; it needs no n x n matrix either.
    HSICSums : the parts, for other ways to go over blocks.
    hsic_random_features, hsic_block : estimates in one pass.

    Notes
    -----
    O(n^2 d) time. Each block is read once for each block before it: n^2 / (2 block_rows) rows in all. 32 bytes a row
    stay in memory.

    References
    ----------
    L. Song, A. Smola, A. Gretton, J. Bedo, K. Borgwardt, "Feature Selection via Dependence Maximization", 2012,
    JMLR 13:1393-1434.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> x = np.arange(100, dtype=np.float16) / 100  # or a memory-mapped file
    >>> y = x**2
    >>> bool(np.isclose(kexue.hsic_streaming(x, y, block_rows=30), kexue.hsic(x, y)))
    True
    """
    needed = require_estimator(estimator)
    workers = count_workers(workers)
    step = check_integer("block_rows", block_rows, 1)
    rows = Rows(X, Y)
    rows.require(needed)
    n = len(rows)
    sample = rows.evenly_spaced(step)
    kernels = kernel_pair(
        *with_room(*sample),
        kernel=kernel,
        gamma=gamma,
        bandwidth=bandwidth,
        coef0=coef0,
        degree=degree,
        workers=workers,
    )
    if all(one.name == "linear" and points.shape[1] < n for points, one in zip(sample, kernels, strict=True)):
        return _streamed_feature_hsic(rows, step, estimator)
    # Linear kernels change with the origin, HSIC does not.
    offsets = [
        points.mean(axis=0, dtype=np.float64).astype(points.dtype) if one.name == "linear" else points.dtype.type(0)
        for points, one in zip(sample, kernels, strict=True)
    ]

    def block(start: int) -> tuple[np.ndarray, np.ndarray]:
        X, Y = rows.read(start, start + step)
        return X - offsets[0], Y - offsets[1]

    total = HSICSums(np.zeros(3), 0, {})
    for i in range(0, n, step):
        first = block(i)
        total += _within(*first, kernels, i, workers)
        for j in range(i + step, n, step):
            total += _between(*first, *block(j), kernels, (i, j), workers)
    return total.hsic(estimator)


def _streamed_feature_hsic(rows: Rows, step: int, estimator: Estimator) -> float:
    """HSIC of linear kernels from the matrix of moments, in two passes."""
    n = len(rows)
    starts = range(0, n, step)
    means = [0.0, 0.0]
    for start in starts:
        for side, points in enumerate(rows.read(start, start + step)):
            means[side] += points.sum(axis=0, dtype=np.float64) / n
    moments: Any = 0.0
    norms = np.empty((2, n))
    for start in starts:
        X, Y = (points - mean for points, mean in zip(rows.read(start, start + step), means, strict=True))
        moments += matrix_product(X.T, Y)
        for side, points in enumerate((X, Y)):
            norms[side, start : start + step] = np.einsum("ij,ij->i", points, points)
    # Rows of centred points sum to 0, so without the diagonal to minus it.
    product = float(np.vdot(moments, moments) - norms[0] @ norms[1])
    return estimate(product, -norms[0], -norms[1], norms[0], norms[1], estimator, 0.0)


# ---- rows that are read when they are needed ----


class Rows:
    """Paired rows of anything with a shape and slices, which are read when they are needed."""

    def __init__(self, X: Any, Y: Any) -> None:
        self._sides = tuple((name, _as_sliceable(name, value)) for name, value in (("X", X), ("Y", Y)))
        lengths = [int(side.shape[0]) for _, side in self._sides]
        if lengths[0] != lengths[1]:
            raise KexueValueError(f"X and Y must have as many points, but X has {lengths[0]} and Y has {lengths[1]}")
        self._length = lengths[0]
        self.dtype = result_dtype(X, Y)

    def __len__(self) -> int:
        return self._length

    def read(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows as `as_points`, of the one dtype of all."""
        stop = min(stop, self._length)
        first, second = (
            as_points(f"{name}[{start}:{stop}]", np.asarray(side[start:stop]), self.dtype) for name, side in self._sides
        )
        return first, second

    def blocks(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return (self.read(start, start + size) for start in range(0, self._length, size))

    def take(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ascending numbers."""
        first, second = (as_points(name, np.asarray(side[indices]), self.dtype) for name, side in self._sides)
        return first, second

    def require(self, at_least: int) -> None:
        n = self._length
        if n < at_least:
            raise KexueValueError(f"X and Y have {n} point{'s' * (n != 1)}, but at least {at_least} are needed")

    def evenly_spaced(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows that a median bandwidth is taken from: all, or 2048."""
        n = self._length
        if n <= MEDIAN_ROWS:
            return self.read(0, n)
        wanted = np.linspace(0, n - 1, MEDIAN_ROWS).astype(np.int64)
        parts = []
        for start in range(0, n, step):
            here = wanted[(wanted >= start) & (wanted < start + step)] - start
            if len(here):
                parts.append([points[here] for points in self.read(start, start + step)])
        first, second = (np.concatenate(side) for side in zip(*parts, strict=True))
        return first, second


def _as_sliceable(name: str, value: Any) -> Any:
    slices = all(hasattr(value, attribute) for attribute in ("shape", "dtype", "__getitem__"))
    # Slices of pandas may go by labels, and those of masked arrays would lose the mask.
    if not slices or hasattr(value, "iloc") or isinstance(value, np.ma.MaskedArray):
        value = as_real(name, value)
    if len(value.shape) not in (1, 2):
        raise KexueValueError(f"{name} must have 1 or 2 dimensions, but its shape is {tuple(value.shape)}")
    return value


# ---- parts ----


def _kernels(
    X: np.ndarray, Y: np.ndarray, kernel: Any, workers: int, *, bandwidth: Any, gamma: Any, **options: Any
) -> tuple[Kernel, Kernel]:
    """The kernels of blocks, which have no median of their own."""
    sides = zip("XY", as_pair("kernel", kernel), as_pair("bandwidth", bandwidth), as_pair("gamma", gamma), strict=True)
    for name, one, length, factor in sides:
        if factor is None and isinstance(length, str) and isinstance(one, str) and one in ("rbf", "laplace"):
            raise KexueValueError(
                f"the kernel of {name} needs a number as bandwidth or gamma, the same for all blocks; median_bandwidth "
                "of a sample is one"
            )
    X, Y = with_room(X, Y)
    return kernel_pair(X, Y, kernel=kernel, bandwidth=bandwidth, gamma=gamma, workers=workers, **options)


def _within(X: np.ndarray, Y: np.ndarray, kernels: tuple[Kernel, Kernel], block: Any, workers: int) -> HSICSums:
    b = len(X)
    if b < 2:
        diagonals = [one.diagonal(points) if b else np.zeros(0) for points, one in zip((X, Y), kernels, strict=True)]
        return HSICSums(np.zeros(3), 0, {block: np.stack([np.zeros(b), np.zeros(b), *diagonals])})
    X, Y = with_room(X, Y)
    sums = pair_sums(X, Y, kernels[0], kernels[1], workers=workers)
    products = np.array([sums.product, sums.square_x, sums.square_y])
    rows = np.stack([sums.rows_x, sums.rows_y, sums.diagonal_x, sums.diagonal_y])
    return HSICSums(products, b * (b - 1), {block: rows})


def _between(
    X: np.ndarray, Y: np.ndarray, X2: np.ndarray, Y2: np.ndarray, kernels: tuple[Kernel, Kernel],
    blocks: tuple[Any, Any], workers: int,
) -> HSICSums:  # fmt: skip
    X, Y, X2, Y2 = with_room(X, Y, X2, Y2)
    b, c = len(X), len(X2)
    rows, columns = np.zeros((4, b)), np.zeros((4, c))
    products = np.zeros(3)
    if b and c and any(one.is_callable for one in kernels):
        for part in row_blocks(b, c):
            K, L = _rectangle(X[part], X2, kernels[0], workers), _rectangle(Y[part], Y2, kernels[1], workers)
            for side, matrix in enumerate((K, L)):
                rows[side, part] = matrix.sum(axis=1)
                columns[side] += matrix.sum(axis=0)
            products += _products(K, L)
    elif b and c:
        products[:] = _independence.cross_sums(
            X,
            X2,
            kernels[0].parameters,
            Y,
            Y2,
            kernels[1].parameters,
            rows[0],
            columns[0],
            rows[1],
            columns[1],
            workers,
        )
    # (j, i) as well as (i, j).
    return HSICSums(2 * products, 2 * b * c, {blocks[0]: rows, blocks[1]: columns})


def _rectangle(A: np.ndarray, B: np.ndarray, kernel: Kernel, workers: int) -> np.ndarray:
    return kernel.matrix(A, B, workers=workers).astype(np.float64)


def _products(K: np.ndarray, L: np.ndarray) -> np.ndarray:
    return np.array([np.vdot(K, L), np.vdot(K, K), np.vdot(L, L)])
