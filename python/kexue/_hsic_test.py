"""Tests of independence by HSIC: permutations, and the gamma approximation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _independence
from kexue._array_kinds import same_kind
from kexue._arrays import check_integer
from kexue._context import count_workers
from kexue._errors import KexueValueError
from kexue._hsic import _finite, prepared, require_symmetric, unit_of
from kexue._kernels import Kernel, as_pair, as_paired_points, kernel_pair, row_blocks, with_room

_MEMORY_LIMIT = 4 << 30
_PERMUTATION_BYTES = 1 << 20  # stays in a cache
_ENTRIES_AT_ONCE = 1 << 28  # of gathered matrix entries: a tenth of a second, then an interrupt is seen
_FEWEST_AT_ONCE = 16
# Where points are equal, their entries may differ by a last digit of float32, in K and in L: the sums of such
# permutations differ by at most this share of the product of the norms. Others spread by 1.4 / n of it, far more.
_TIE = 2.0**-22
_BYTES_AN_ENTRY = 10  # two matrices of float32, and half of one once more where sums are computed
_SYMMETRY = 1e-5
# The kernel is constant to the last digits of float64 above this mean: its centred entries are rounding errors.
_CONSTANT = 1 - 1e-12


@dataclass(frozen=True, eq=False)
class HSICTestResult:
    """What `hsic_test` found.

    Attributes
    ----------
    statistic : float
        n times the biased HSIC, by either method.
    pvalue : float
        The probability of such a statistic, or a larger one, where X and Y are independent.
    method : str
        "permutation" or "gamma".
    n_permutations : int or None
        How many permutations were looked at; of "permutation".
    null_distribution : ndarray, shape (n_permutations,), or None
        The statistic of each permutation; of "permutation".
    shape, scale : float or None
        Parameters of the gamma distribution; of "gamma".
    mean, variance : float or None
        Its moments, estimated from the data; of "gamma".

    See Also
    --------
    hsic_test

    Examples
    --------
    >>> import kexue
    >>> result = kexue.hsic_test(range(8), range(8), method="gamma")
    >>> result.n_permutations is None, result.shape > 0
    (True, True)
    """

    statistic: float
    pvalue: float
    method: str
    n_permutations: int | None = None
    null_distribution: np.ndarray | None = None
    shape: float | None = None
    scale: float | None = None
    mean: float | None = None
    variance: float | None = None


@same_kind
def hsic_test(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    method: Literal["permutation", "gamma"] = "permutation",
    n_permutations: int = 1000,
    rng: np.random.Generator | int | None = None,
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: Any = None,
    coef0: Any = 1.0,
    degree: Any = 3,
    memory_limit: int = _MEMORY_LIMIT,
    workers: int | None = None,
) -> HSICTestResult:
    """Test whether X and Y are independent.

    The hypothesis is that they are; a small p-value speaks against it. With a characteristic kernel, as "rbf" and
    "laplace" are, any dependence is found as n grows.

    Parameters
    ----------
    X, Y : array_like, shape (n, d) or (n,)
        Pairs of points (X[i], Y[i]), drawn independently of each other; at least 2, for "gamma" 6. One dimension is
        points on a line. The numbers of columns may differ.
    method : {"permutation", "gamma"}
        "permutation" pairs X with Y in random orders. It is exact: whatever the data and n, independent X and Y have
        a p-value of at most p with a probability of at most p. "gamma" fits a gamma distribution to the first two
        moments of the statistic: fast, without a matrix, and an approximation that small p-values, below 0.001 or so,
        should not be taken from.
    n_permutations : int
        How many. The p-value cannot be below 1 / (n_permutations + 1). Where there are no more than that but for the
        identity, n! - 1, all of them are looked at, and none at random.
    rng : numpy.random.Generator, int or None
        Random numbers of the permutations, through ``numpy.random.default_rng(rng)``.
    kernel : {"rbf", "laplace", "linear", "polynomial", "precomputed"} or callable, or a pair of these
        As in `hsic`. "precomputed", for "permutation" only: X (or Y) is a symmetric kernel matrix of shape (n, n).
        "gamma" needs k(x, x) = 1: "rbf" or "laplace".
    bandwidth, gamma, coef0, degree
        As in `hsic`: one value, or a pair for X and Y.
    memory_limit : int
        Most bytes that the kernel matrices of "permutation" may take: 10 n^2. The default, 4 GiB, is enough for
        n = 20724.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.

    Returns
    -------
    HSICTestResult
        With ``statistic`` (n times the biased HSIC), ``pvalue``, and what else the method has.

    Raises
    ------
    KexueValueError
        If X and Y have different numbers of points or too few; if an entry is NaN or infinite; if a median distance is
        0, as where all points are equal; if a precomputed matrix or a callable is not symmetric; by "gamma", if the
        kernel does not have k(x, x) = 1 or is constant.
    MemoryError
        If the matrices would take more than `memory_limit`.
    OverflowError
        If values of the kernels overflow.

    See Also
    --------
    hsic : the statistic alone.
    hsic_block : a test for n in the millions, in one pass.

    Notes
    -----
    "permutation": p = (1 + number of permutations with a statistic at least as large) / (1 + n_permutations). Both
    kernel matrices are centred in float64 and kept in float32; each permutation then takes a gather
    of n^2 / 2 entries, summed in float64. Statistics that differ by less than 2.4e-7 of the product of the
    matrices' norms count as equal, so that ties (equal points, discrete data, tiny n) are seen as such:
    that can raise a p-value, never lower it. Permutations are drawn in one order, whatever the number of workers.

    "gamma": two passes over the pairs in O(n^2 d) time and O(n d) memory. With T = n HSIC, K and L without the
    diagonal, the moments are E T = (1 + mean K mean L - mean K - mean L) / n and the variance of Gretton et al.,
    section 3. In simulations at 0.05 it held its level with 60 points of one column; with 30 of a heavy-tailed
    distribution its error rate was up to 0.08, with 8 up to 0.15; with many columns for the points it was far below
    (60 points, 50 columns: 0.007), and dependence is missed. "permutation" holds it in all of these.

    A kernel on n points is meant: with ``bandwidth="median"`` the bandwidths are those of all points, which a
    permutation does not change.

    References
    ----------
    A. Gretton, K. Fukumizu, C. H. Teo, L. Song, B. Schölkopf, A. J. Smola, "A Kernel Statistical Test of
    Independence", NIPS 2007. B. Phipson, G. K. Smyth, "Permutation P-values Should Never Be Zero", 2010,
    doi:10.2202/1544-6115.1585.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=100)
    >>> y = x**2 + 0.3 * rng.normal(size=100)
    >>> bool(abs(np.corrcoef(x, y)[0, 1]) < 0.3)  # they are hardly correlated
    True
    >>> kexue.hsic_test(x, y, rng=1).pvalue
    0.000999000999000999
    >>> kexue.hsic_test(x, y, method="gamma").pvalue < 1e-6
    True
    """
    if method not in ("permutation", "gamma"):
        raise KexueValueError(f'method must be "permutation" or "gamma", got {method!r}')
    count = check_integer("n_permutations", n_permutations, 1)
    limit = check_integer("memory_limit", memory_limit, 1)
    workers = count_workers(workers)
    options = {"bandwidth": bandwidth, "gamma": gamma, "coef0": coef0, "degree": degree}
    sides = _sides(X, Y, method=method, kernel=kernel, limit=limit, workers=workers, **options)
    if method == "gamma":
        return _gamma_test(*sides, workers)
    return _permutation_test(*sides, count, np.random.default_rng(rng), workers)


@dataclass(frozen=True)
class _Side:
    """X with its kernel, or Y."""

    points: np.ndarray
    kernel: Kernel | None  # None: `points` is the kernel matrix
    workers: int
    unit: float = 1.0  # what points of a linear kernel were divided by

    def block(self, rows: slice) -> np.ndarray:
        """Rows of the kernel matrix, as float64."""
        if self.kernel is None:
            return self.points[rows].astype(np.float64)
        some = self.points[rows]
        others = None if len(some) == len(self.points) else self.points  # by symmetry half the work
        matrix = self.kernel.matrix(some, others, workers=self.workers)
        # What a callable returns is its own: it may be kept for the next call.
        return matrix.astype(np.float64, copy=self.kernel.is_callable)

    def row_sums(self) -> tuple[np.ndarray, float]:
        """Sums of the rows of the kernel matrix, and a bound of its entries, or near to one."""
        n = len(self.points)
        sums = np.empty(n)
        if self.kernel is not None and not self.kernel.is_callable:
            _independence.sums(self.points, self.kernel.parameters, None, None, sums, None, self.workers)
            diagonal = self.kernel.diagonal(self.points)
            return sums + diagonal, float(diagonal.max())
        largest, columns, sizes = 0.0, np.zeros(n), np.empty(n)
        for rows in row_blocks(n, n):
            block = self.block(rows)
            sums[rows] = block.sum(axis=1)
            columns += block.sum(axis=0)
            sizes[rows] = np.abs(block).sum(axis=1)
            largest = max(largest, _largest(block))
        require_symmetric(sums, columns, sizes)
        return sums, largest

    def centred(self) -> tuple[float, Iterator[tuple[slice, np.ndarray]]]:
        """A scale, and blocks of rows of the centred kernel matrix divided by it."""
        n = len(self.points)
        slices = list(row_blocks(n, n))
        if len(slices) == 1:
            whole = self.block(slices[0])
            sums, bound = whole.sum(axis=1), _largest(whole)
            if self.kernel is not None and self.kernel.is_callable:
                require_symmetric(sums, whole.sum(axis=0), np.abs(whole).sum(axis=1))
            blocks = iter([whole])
        else:
            sums, bound = self.row_sums()
            blocks = map(self.block, slices)
        # Products of entries near 1 neither overflow nor vanish in float32.
        scale = _power_of_two(bound)
        means = sums / (n * scale)
        return scale, ((rows, _centre(block, rows, means, scale)) for rows, block in zip(slices, blocks, strict=True))


def _centre(block: np.ndarray, rows: slice, means: np.ndarray, scale: float) -> np.ndarray:
    block *= 1 / scale
    block -= means
    block -= (means[rows] - means.mean())[:, None]
    return block


def _largest(block: np.ndarray) -> float:
    return float(max(block.max(), -block.min()))


def _sides(
    X: ArrayLike, Y: ArrayLike, *, method: str, kernel: Any, limit: int, workers: int, **options: Any
) -> tuple[_Side, _Side]:
    X, Y = with_room(*as_paired_points(X, Y, 6 if method == "gamma" else 2))
    if method == "permutation":
        _require_memory(len(X), limit)
    names = as_pair("kernel", kernel)
    given = [isinstance(name, str) and name == "precomputed" for name in names]
    for name, matrix, precomputed in zip("XY", (X, Y), given, strict=True):
        if precomputed:
            _require_kernel_matrix(name, matrix)
    # In place of a matrix's kernel, one that has no parameters.
    stand_in = tuple("linear" if precomputed else name for name, precomputed in zip(names, given, strict=True))
    found = kernel_pair(X, Y, kernel=stand_in, workers=workers, **options)
    kernels = [None if precomputed else one for one, precomputed in zip(found, given, strict=True)]
    if method == "gamma":
        for name, one, asked in zip("XY", kernels, names, strict=True):
            if one is None or not one.has_unit_diagonal:
                raise KexueValueError(
                    f'method="gamma" needs a kernel with k(x, x) = 1, "rbf" or "laplace", but that of {name} is '
                    f'{asked!r}; method="permutation" takes any'
                )
    first, second = (_side(points, one, workers) for points, one in zip((X, Y), kernels, strict=True))
    return first, second


def _side(points: np.ndarray, kernel: Kernel | None, workers: int) -> _Side:
    if kernel is None or kernel.name != "linear":
        return _Side(points, kernel, workers)
    points = prepared(points, kernel)
    unit = unit_of(points)
    return _Side(points if unit == 1 else points / unit, kernel, workers, unit)


def _require_memory(n: int, limit: int) -> None:
    bytes_needed = _BYTES_AN_ENTRY * n * n
    if bytes_needed > limit:
        raise MemoryError(
            f"{n} points need kernel matrices of {bytes_needed / 2**30:.3g} GiB, and memory_limit is "
            f"{limit / 2**30:.3g} GiB; "
            'method="gamma" needs no matrix, hsic_block goes over the points once, a part of them may do'
        )


def _require_kernel_matrix(name: str, matrix: np.ndarray) -> None:
    if matrix.shape[0] != matrix.shape[1]:
        raise KexueValueError(f"{name} must be a square kernel matrix, but its shape is {matrix.shape}")
    allowed = _SYMMETRY * float(np.abs(matrix).max())
    for rows in row_blocks(*matrix.shape):
        bad = np.abs(matrix[rows] - matrix[:, rows].T) > allowed
        if bad.any():
            i, j = np.unravel_index(int(bad.argmax()), bad.shape)
            i += rows.start
            raise KexueValueError(
                f"{name} must be a symmetric kernel matrix, but {name}[{i}, {j}] is {matrix[i, j]} "
                f"and {name}[{j}, {i}] is {matrix[j, i]}"
            )


# ---- permutations ----


def _permutation_test(
    first: _Side, second: _Side, count: int, generator: np.random.Generator, workers: int
) -> HSICTestResult:
    n = len(first.points)
    K, L, scale, statistic = _centred_matrices(first, second)
    diagonal_k, diagonal_l = (np.diagonal(matrix).astype(np.float64) for matrix in (K, L))

    def sums(permutations: np.ndarray) -> np.ndarray:
        out = np.empty(len(permutations))
        _independence.permutation_sums(K, L, permutations, out, workers)
        return out + np.einsum("bi,i->b", diagonal_l[permutations], diagonal_k)

    # By the same sums as the others, so that the rounding of the matrices makes no difference.
    observed = sums(np.arange(n, dtype=np.int32)[None])[0]
    count, permutations = _permutations(n, count, generator)
    null = np.empty(count)
    done = 0
    for block in permutations:
        null[done : done + len(block)] = sums(block)
        done += len(block)
    allowed = _TIE * _norm(K) * _norm(L)
    as_large = int(np.count_nonzero(null >= observed - allowed))
    return HSICTestResult(
        statistic=statistic,
        pvalue=(1 + as_large) / (1 + count),
        method="permutation",
        n_permutations=count,
        null_distribution=null * (scale / n),
    )


def _centred_matrices(first: _Side, second: _Side) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Both centred kernel matrices in float32, what their product is to be multiplied with, and n HSIC."""
    n = len(first.points)
    K, L = (np.empty((n, n), dtype=np.float32) for _ in range(2))
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        (scale_k, blocks_k), (scale_l, blocks_l) = first.centred(), second.centred()
        for (rows, block_k), (_, block_l) in zip(blocks_k, blocks_l, strict=True):
            K[rows], L[rows] = block_k, block_l
            total += float(np.einsum("ij,ij->", block_k, block_l))
    _finite(total)
    unit = first.unit * second.unit
    scale = scale_k * scale_l * unit * unit
    return K, L, scale, _finite(total * scale / n)


def _power_of_two(bound: float) -> float:
    # Its inverse is a number too.
    return math.ldexp(1.0, min(max(math.frexp(bound)[1], -1020), 1020)) if 0 < bound < math.inf else 1.0


def _norm(matrix: np.ndarray) -> float:
    blocks = (matrix[rows].astype(np.float64) for rows in row_blocks(*matrix.shape))
    return math.sqrt(sum(float(np.vdot(block, block)) for block in blocks))


def _permutations(n: int, count: int, generator: np.random.Generator) -> tuple[int, Iterator[np.ndarray]]:
    """How many permutations, and they in blocks: random ones, or all but the identity if there are no more."""
    if n <= 20 and math.factorial(n) - 1 <= count:  # 20! is beyond any count
        return math.factorial(n) - 1, _all_but_the_identity(n)
    return count, _random_permutations(n, count, generator)


def _all_but_the_identity(n: int) -> Iterator[np.ndarray]:
    every = itertools.islice(itertools.permutations(range(n)), 1, None)
    while block := list(itertools.islice(every, _PERMUTATION_BYTES // (4 * n))):
        yield np.array(block, dtype=np.int32)


def _random_permutations(n: int, count: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """Blocks of permutations, each until the next one."""
    step = max(_FEWEST_AT_ONCE, min(_PERMUTATION_BYTES // (4 * n), _ENTRIES_AT_ONCE // (n * n)))
    space = np.empty((min(step, count), n), dtype=np.int32)
    # Numbers behind random bits are sorted: a third of the time of a shuffle. Of two with the same bits the lower comes
    # first, which for n = 20,000 happens to one pair in 10^15.
    low = np.uint64((1 << (n - 1).bit_length()) - 1)
    for start in range(0, count, step):
        rows = space[: count - start]
        # Row after row: the size of the blocks has no influence.
        keys = generator.integers(0, 2**64 - 1, size=rows.shape, dtype=np.uint64, endpoint=True)
        keys &= ~low
        keys |= np.arange(n, dtype=np.uint64)
        keys.sort(axis=1)
        np.bitwise_and(keys, low, out=rows, casting="unsafe")
        yield rows


# ---- the gamma approximation ----


def _gamma_test(first: _Side, second: _Side, workers: int) -> HSICTestResult:
    from scipy.special import gammaincc

    n = len(first.points)
    assert first.kernel is not None and second.kernel is not None
    kernels = first.kernel.parameters, second.kernel.parameters
    offsets, constants, diagonals, means = [], [], [], []
    for name, side, kernel in zip("XY", (first, second), kernels, strict=True):
        sums = np.empty(n)
        _independence.sums(side.points, kernel, None, None, sums, None, workers)
        mean = float(sums.sum()) / (n * (n - 1))
        if mean > _CONSTANT:
            raise KexueValueError(
                f"the kernel of {name} is constant, because all points are equal or the bandwidth is far beyond their "
                'distances; method="gamma" needs a variance'
            )
        offsets.append((sums + 1) / n)
        constants.append(float(offsets[-1].mean()))
        diagonals.append(1 - 2 * offsets[-1] + constants[-1])
        means.append(mean)
    product, square = _independence.centred_sums(
        first.points, kernels[0], offsets[0], constants[0], second.points, kernels[1], offsets[1], constants[1], workers
    )
    statistic = float(product + diagonals[0] @ diagonals[1]) / n
    mean = (1 - means[0]) * (1 - means[1]) / n
    average = float(square) / (36 * n * (n - 1))
    variance = 72 * (n - 4) * (n - 5) / (n * (n - 1) * (n - 2) * (n - 3)) * average
    if not variance > 0:
        raise KexueValueError('the statistic has no variance; use method="permutation"')
    shape, scale = mean * mean / variance, n * variance / mean
    # The moments are those of HSIC, its n-fold is the statistic.
    return HSICTestResult(
        statistic=statistic,
        pvalue=float(gammaincc(shape, max(statistic, 0.0) / scale)),
        method="gamma",
        shape=shape,
        scale=scale,
        mean=mean,
        variance=variance,
    )
