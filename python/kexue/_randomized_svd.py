"""Leading singular triplets of dense, sparse and implicit matrices, from products with random blocks."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from kexue._array_kinds import same_kind
from kexue._arrays import as_csr, as_real, check_integer, is_sparse
from kexue._errors import KexueValueError, require_finite, require_finite_entries, warn_convergence

if TYPE_CHECKING:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator

__all__ = ["RandomizedSVDResult", "randomized_svd"]

Method = Literal["krylov", "subspace", "random_rows"]

_OPTIONS = {"krylov": ("n_iter", "block_size", "tol"), "subspace": ("n_iter", "tol"), "random_rows": ()}
_N_ITER = 3  # at which the errors on flat spectra are below those of seven iterations of "subspace"
# Fewer iterations will do where they damp what lies beyond the kept directions to 1 / _DAMPING of the last one wanted,
# more where there is more of it than its largest part.
_DAMPING = 15.0
_DAMPING_OF_TAIL = 2.0
_N_ITER_WITH_TOL = 20
_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)
# Rounding of float32 turns a singular direction by eps sigma_1 / sigma_i. Where the last one kept is below this share
# of the first, passes in float32 do not find it well enough for the float64 finish.
_FLOAT32_RANGE = 1e-4
# And from this share on, images in float32 will do: values are off by the square of that angle, 1e-10 at most.
_FLOAT32_IMAGE = 1e-2
_FLOAT32_RANGE_OF_FIRST_BLOCK = 1e-5  # which underestimates the last one
_FLOAT32_TOL = 1e-5
# Norms between 2**-_SAFE and 2**_SAFE have squares, and squares of their small parts, that neither over- nor underflow.
_SAFE = {_FLOAT32: 30, _FLOAT64: 300}
_NEARLY = 0.1  # of the norm of Q^T Q - 1 after the first of two Cholesky decompositions
_ENTRIES_AT_ONCE = 1 << 18  # 2 MB of float64, which stay in the cache
_SPARSE_COLUMNS = 16  # of a dense block beside a sparse matrix: more fall out of the cache
_PROBES = 6
_FOLLOWED = 4  # directions of the residual that are known, to begin with
_ROUNDS = 2  # more of a power iteration where they are few: an estimate that was off by 40 % is off by 10 % then
# Of the first singular value: what is left below it is rounding, not a singular value that was missed.
_MISSED = {_FLOAT32: 1e-4, _FLOAT64: 1e-10}
# Below this share of ||A||^2 the difference of ||A||^2 and the squares of S has lost its digits.
_CANCELLED = {_FLOAT32: 1e-3, _FLOAT64: 1e-10}


@dataclass(frozen=True, eq=False)
class RandomizedSVDResult:
    """What `randomized_svd` found. It unpacks as ``U, S, Vh = result``.

    Attributes
    ----------
    U : ndarray, shape (m, k)
        Orthonormal left singular vectors; the entry of largest magnitude of each is positive.
    S : ndarray, shape (k,)
        Singular values in descending order.
    Vh : ndarray, shape (k, n)
        Orthonormal right singular vectors, in rows.
    frobenius_error : float
        ||A - U S Vh|| in the Frobenius norm. Of a `LinearOperator`, and of a sparse matrix that the result reproduces
        to five digits (float32: to 3 %), an estimate from random vectors.
    spectral_error : float
        An estimate from below of ||A - U S Vh|| in the spectral norm, by 10 % at most as a rule, and by far less where
        the singular values decay; exact where the decomposition is. Below 1e-7 of the largest singular value it may be
        as large as `frobenius_error`.
    n_iter : int
        Multiplications with A A^T that went into the subspace, after the first product.
    n_products : int
        Products of A or its transpose with a block of vectors, those of the error included.

    See Also
    --------
    randomized_svd

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> result = kexue.randomized_svd(np.diag([3.0, 2.0, 1.0]), 2, rng=0)
    >>> U, S, Vh = result
    >>> S
    array([3., 2.])
    >>> round(result.frobenius_error, 12), round(result.spectral_error, 12)
    (1.0, 1.0)
    """

    U: np.ndarray
    S: np.ndarray
    Vh: np.ndarray
    frobenius_error: float
    spectral_error: float
    n_iter: int
    n_products: int

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from (self.U, self.S, self.Vh)


@same_kind
def randomized_svd(
    A: Any,
    k: int,
    *,
    oversample: int = 10,
    method: Method = "krylov",
    n_iter: int | None = None,
    block_size: int | None = None,
    tol: float | None = None,
    rng: np.random.Generator | int | None = None,
) -> RandomizedSVDResult:
    """The k leading singular values and vectors of a matrix, and how far they are from the matrix.

    Parameters
    ----------
    A : array_like, sparse matrix or scipy.sparse.linalg.LinearOperator, shape (m, n)
        Real and finite. Arrays in C or Fortran order and their blocks are not copied, but for one copy in float32; a
        LinearOperator needs ``matmat`` and ``rmatmat``.
    k : int
        How many, from 1 to min(m, n).
    oversample : int
        The subspace that is kept to the end has k + oversample dimensions, or min(m, n).
    method : {"krylov", "subspace", "random_rows"}
        - "krylov": the best approximation from all blocks that the iteration went through (block Krylov). The passes
          over a float64 array or sparse matrix run in float32 where that is enough, and a finish in float64 follows.
        - "subspace": the same from the last block alone, normalised by LU; all in the precision of A.
        - "random_rows": project the rows of A onto k + oversample random directions, without looking at A. This is only
          accurate if they span the row space of A, for which it nearly takes n of them; a warning says what they miss.
    n_iter : int, optional
        How often to multiply with A A^T after the first product. 3 by default; "krylov" then ends sooner where the
        singular values fall so fast that less will do. With `tol` it is the limit, 20 by default.
    block_size : int, optional
        Of "krylov": vectors that are multiplied at a time, k + oversample by default. Smaller blocks and more
        iterations get more out of as many products if the singular values are distinct, but miss copies of a multiple
        one that are more than `block_size`. Iterations go on, beyond `n_iter`, until there are k + oversample vectors.
    tol : float, optional
        End as soon as no singular value has changed by more than this share of itself in an iteration.
    rng : numpy.random.Generator, int or None
        Random numbers, through ``numpy.random.default_rng(rng)``. An integer gives the same result in every call, as
        long as BLAS has the same number of threads.

    Returns
    -------
    RandomizedSVDResult
        With ``U``, ``S``, ``Vh``, ``frobenius_error``, ``spectral_error``, ``n_iter``, ``n_products``; float32 if A is.

    Raises
    ------
    KexueValueError
        If A is empty or has no two dimensions; if an entry is NaN or infinite; if k is not in 1 to min(m, n) or
        another number is out of its range; if an option is not one of `method`.
    TypeError
        If A does not hold real numbers or has no products with its transpose; if an integer is none.
    OverflowError
        If a singular value exceeds the range of the dtype.

    Warns
    -----
    ConvergenceWarning
        If `tol` was not reached; if what is left of A has a singular value of more than twice the last one found, so
        that one was missed; if the directions of "random_rows" do not span the row space.

    See Also
    --------
    scipy.sparse.linalg.svds : all digits of a few singular values.

    Notes
    -----
    With b = k + oversample and q iterations: O(m n b q) for dense A, O(nnz b q) for sparse A; memory for
    (q + 1) (m + n) b numbers and the float32 copy. Products use the threads of NumPy's BLAS. Where b is more than half
    of min(m, n) the result is that of `numpy.linalg.svd`.

    How good the subspace is depends on the spectrum. On spectra that decay as a power, exponentially, or not at all,
    the errors are at most 1.05 times the least possible ones, and mostly 1.001 times. Of A in float64, S are the
    singular values of A in that subspace to 1e-14 S[0], and the passes in float32 put the subspace off by so little
    that values lose 1e-10 of themselves; U and Vh are orthonormal to 1e-14 (float32: 1e-6). Singular values below some
    1e-14 S[0], or 1e-6 S[0] for A in float32, are rounding.

    References
    ----------
    .. [1] C. Musco, C. Musco, "Randomized block Krylov methods for stronger and faster approximate singular value
       decomposition", NeurIPS 2015, arXiv:1504.05477.
    .. [2] N. Halko, P.-G. Martinsson, J. Tropp, "Finding structure with randomness", SIAM Review 53, 2011,
       doi:10.1137/090771806 (oversampling, subspace iteration).
    .. [3] Y. Yamamoto, Y. Nakatsukasa, Y. Yanagisawa, T. Fukaya, "Roundoff error analysis of the CholeskyQR2
       algorithm", ETNA 44, 2015.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> A = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 100)) + 0.01 * rng.normal(size=(200, 100))
    >>> result = kexue.randomized_svd(A, 5, rng=0)
    >>> U, S, Vh = result
    >>> U.shape, S.shape, Vh.shape
    ((200, 5), (5,), (5, 100))
    >>> np.allclose(S, np.linalg.svd(A, compute_uv=False)[:5], rtol=1e-12)
    True
    >>> np.isclose(result.frobenius_error, np.linalg.norm(A - U * S @ Vh))
    np.True_
    """
    k = check_integer("k", k, 1)
    oversample = check_integer("oversample", oversample, 0)
    if not isinstance(method, str) or method not in _OPTIONS:
        raise KexueValueError(f"method must be one of {tuple(_OPTIONS)}, got {method!r}")
    for name, value in {"n_iter": n_iter, "block_size": block_size, "tol": tol}.items():
        if value is not None and name not in _OPTIONS[method]:
            raise KexueValueError(f'{name} is no option of method="{method}"')
    if tol is not None and (isinstance(tol, bool) or not isinstance(tol, Real) or not 0 < tol < math.inf):
        raise KexueValueError(f"tol must be a finite number above 0, got {tol!r}")
    limit = None if n_iter is None else check_integer("n_iter", n_iter, 0)
    if tol is not None and limit is None:
        limit = _N_ITER_WITH_TOL
    width = check_integer("block_size", block_size, 1) if block_size is not None else k + oversample
    generator = np.random.default_rng(rng)

    with np.errstate(all="ignore"):  # what is not finite is refused by name, and small parts may round to nothing
        matrix = _as_matrix(A)
        rows, columns = matrix.shape
        short = min(rows, columns)
        if k > short:
            raise KexueValueError(f"k must be at most min(m, n) = {short}, as A has shape {(rows, columns)}, got {k}")
        if matrix.norm == 0:
            zeros = np.zeros(k, dtype=matrix.dtype)
            U, Vh = np.eye(rows, k, dtype=matrix.dtype), np.eye(k, columns, dtype=matrix.dtype)
            return RandomizedSVDResult(U, zeros, Vh, 0.0, 0.0, 0, 0)
        wide = rows < columns and method != "random_rows"
        if wide:
            matrix.transpose()
        kept = min(k + oversample, short)
        n, change = 0, 0.0
        if 2 * kept > short and method != "random_rows":
            U, S, V = matrix.svd()
            errors = math.sqrt(float(np.square(S[k:]).sum())), float(S[k]) if k < short else 0.0
        else:
            working = matrix
            if method == "random_rows":
                directions = _orthonormal(generator.standard_normal((columns, kept)))
                U, S, V = _project_rows(matrix, directions)
            else:
                start = generator.standard_normal((matrix.shape[0], min(width, short)), dtype=_FLOAT32)
                if method == "subspace":
                    found = _subspace(matrix, start, k, _N_ITER if limit is None else limit, tol)
                else:
                    found, working = _krylov(matrix, start, k, kept, limit, tol, generator)
                n, change = found.n_iter, found.change
                U, S, V = _finish(matrix, found)
            U, V = U.astype(matrix.dtype, copy=False), V.astype(matrix.dtype, copy=False)
            trusted = kept - k >= _FOLLOWED and not (method == "krylov" and width < kept)
            errors = _errors(matrix, working, U, S, V, k, generator, trusted)
        result = _result(matrix, U[:, :k], S[:k], V[:, :k], wide, errors, n)

    if method == "random_rows":
        # Of what is left of A, that part which no kept direction knows.
        outside, whole = errors[0] ** 2 - float(np.square(S[k:]).sum()), errors[0] ** 2 + float(np.square(S[:k]).sum())
        if outside > _CANCELLED[matrix.dtype] * whole:
            warn_convergence(
                f'method="random_rows" is only accurate if the random directions span the row space of A: '
                f"{outside / whole:.2g} of its squared norm is outside of these {kept}"
            )
    elif errors[1] > max(2 * S[k - 1], _MISSED[matrix.dtype] * S[0]):
        warn_convergence(
            f"a singular value of at least {result.spectral_error:.3g} was missed, where k={k} ends with "
            f"{result.S[-1]:.3g}; use a larger block_size or n_iter"
        )
    if tol is not None and change > tol:
        warn_convergence(
            f"tol={tol:g} was not reached in n_iter={n} iterations: a singular value changed by {change:.2g} of itself "
            "in the last one"
        )
    return result


# ---- the matrix, upright: at least as many rows as columns ----


class _Matrix(ABC):
    """A times 2**shift, with norms that can be squared; and its products with blocks."""

    shape: tuple[int, int]
    dtype: np.dtype
    norm: float | None  # Frobenius, where it can be known
    shift: int = 0

    def __init__(self) -> None:
        self.counter = [0]

    def forward(self, block: np.ndarray) -> np.ndarray:
        self.counter[0] += 1
        return self._times(block.astype(self.dtype, copy=False), False)

    def backward(self, block: np.ndarray) -> np.ndarray:
        self.counter[0] += 1
        return self._times(block.astype(self.dtype, copy=False), True)

    def transpose(self) -> None:
        self.shape = self.shape[::-1]
        self._transpose()

    def svd(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        U, S, Vh = np.linalg.svd(self._toarray().astype(np.float64, copy=False), full_matrices=False)
        return U.astype(self.dtype, copy=False), S, Vh.T.astype(self.dtype, copy=False)

    def as_float32(self) -> _Matrix | None:
        """A copy of norm 1 or so, or None where there can be none."""
        return None

    def residual(self, U: np.ndarray, S: np.ndarray, V: np.ndarray) -> float | None:
        """||A - U S V^T|| in the Frobenius norm, entry by entry, or None where that would take too long."""
        return None

    @abstractmethod
    def _times(self, block: np.ndarray, transposed: bool) -> np.ndarray: ...

    @abstractmethod
    def _transpose(self) -> None: ...

    @abstractmethod
    def _toarray(self) -> np.ndarray: ...


class _Dense(_Matrix):
    norm: float

    def __init__(self, array: np.ndarray, norm: float, shift: int) -> None:
        super().__init__()
        self.array, self.norm, self.shift = array, norm, shift
        self.shape, self.dtype = array.shape, array.dtype

    def _times(self, block: np.ndarray, transposed: bool) -> np.ndarray:
        return (self.array.T if transposed else self.array) @ block

    def _transpose(self) -> None:
        self.array = self.array.T

    def _toarray(self) -> np.ndarray:
        return self.array

    def as_float32(self) -> _Matrix:
        shift = -math.frexp(self.norm)[1]
        rows = _along_rows(self.array)
        copy = np.empty(rows.shape, dtype=np.float32)
        for part in _row_blocks(*rows.shape):
            copy[part] = _small(rows[part] * 2.0**shift)
        single = _Dense(copy if rows is self.array else copy.T, math.ldexp(self.norm, shift), self.shift + shift)
        single.counter = self.counter
        return single

    def residual(self, U: np.ndarray, S: np.ndarray, V: np.ndarray) -> float:
        squares = []
        right = (V.astype(np.float64) * S).T
        for part in _row_blocks(*self.shape):
            difference = self.array[part] - U[part].astype(np.float64) @ right
            squares.append(float(np.vdot(difference, difference)))
        return math.sqrt(math.fsum(squares))


class _Sparse(_Matrix):
    norm: float

    def __init__(self, rows: csr_array, columns: csr_array, norm: float, shift: int) -> None:
        super().__init__()
        self.rows, self.columns, self.norm, self.shift = rows, columns, norm, shift
        self.shape, self.dtype = rows.shape, rows.dtype

    def _times(self, block: np.ndarray, transposed: bool) -> np.ndarray:
        matrix = self.columns if transposed else self.rows
        product = np.empty((matrix.shape[0], block.shape[1]), dtype=self.dtype)
        for begin in range(0, block.shape[1], _SPARSE_COLUMNS):
            part = np.s_[:, begin : begin + _SPARSE_COLUMNS]
            product[part] = matrix @ np.ascontiguousarray(block[part])
        return product

    def _transpose(self) -> None:
        self.rows, self.columns = self.columns, self.rows

    def _toarray(self) -> np.ndarray:
        return self.rows.toarray()

    def as_float32(self) -> _Matrix:
        from scipy.sparse import csr_array

        shift = -math.frexp(self.norm)[1]
        rows, columns = (
            csr_array((_small(half.data * 2.0**shift), half.indices, half.indptr), shape=half.shape)
            for half in (self.rows, self.columns)
        )
        single = _Sparse(rows, columns, math.ldexp(self.norm, shift), self.shift + shift)
        single.counter = self.counter
        return single


class _Implicit(_Matrix):
    def __init__(self, operator: LinearOperator, dtype: np.dtype) -> None:
        super().__init__()
        self.products = [operator.matmat, operator.rmatmat]
        self.names = ["A @ X", "A.T @ X"]
        self.shape, self.dtype, self.norm = operator.shape, dtype, None
        self.unmeasured = True

    def _times(self, block: np.ndarray, transposed: bool) -> np.ndarray:
        try:
            product = np.asarray(self.products[transposed](block))
        except (NotImplementedError, TypeError) as error:  # SciPy calls None where there is no rmatvec
            raise TypeError(f"A has no product {self.names[transposed]} with a block X: {error}") from error
        if product.shape != (self.shape[transposed], block.shape[1]):
            raise KexueValueError(
                f"{self.names[transposed]} has shape {product.shape} for X of shape {block.shape}, but A {self.shape}"
            )
        product = as_real(self.names[transposed], product)
        require_finite(self.names[transposed], product)
        if self.unmeasured:
            self.unmeasured = False
            exponent = _exponent(product)
            self.shift = -exponent if abs(exponent) > _SAFE[self.dtype] else 0
        return (np.ldexp(product, self.shift) if self.shift else product).astype(self.dtype, copy=False)

    def _transpose(self) -> None:
        self.products.reverse()
        self.names.reverse()

    def _toarray(self) -> np.ndarray:
        return self.forward(np.eye(self.shape[1]))


def _as_matrix(A: Any) -> _Matrix:
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import LinearOperator

    if is_sparse(A):
        array = np.empty((0,) * A.ndim, dtype=A.dtype)
        shape = A.shape
    elif isinstance(A, LinearOperator):
        array = np.empty((0, 0), dtype=A.dtype)
        shape = A.shape
    else:
        array = as_real("A", A)
        shape = array.shape
    if len(shape) != 2:
        raise KexueValueError(f"A must have 2 dimensions, but its shape is {shape}")
    if 0 in shape:
        raise KexueValueError(f"A is empty: its shape is {shape}")
    dtype = as_real("A", array[:0]).dtype
    if isinstance(A, LinearOperator):
        return _Implicit(A, dtype)
    if not is_sparse(A):
        return _Dense(*_in_range(array if _suits_blas(array) else array.copy(), lambda: require_finite("A", array)))
    rows = csr_array(as_csr("A", A, dtype))
    if not rows.has_canonical_format:
        rows = rows.copy()
        rows.sum_duplicates()
    data, norm, shift = _in_range(rows.data, lambda: require_finite_entries("A", rows))
    rows = csr_array((data, rows.indices, rows.indptr), shape=rows.shape)
    return _Sparse(rows, rows.T.tocsr(), norm, shift)


def _suits_blas(array: np.ndarray) -> bool:
    """Whether matmul takes the array as it is: columns or rows without gaps, and in order."""
    size = array.itemsize
    return array.flags.aligned and any(
        one.strides[1] == size and one.strides[0] % size == 0 and one.strides[0] >= size * one.shape[1]
        for one in (array, array.T)
    )


def _along_rows(array: np.ndarray) -> np.ndarray:
    return array if array.ndim == 1 or array.strides[1] == array.itemsize else array.T


def _row_blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(_ENTRIES_AT_ONCE // columns, 1)
    return (slice(begin, begin + step) for begin in range(0, rows, step))


def _in_range(array: np.ndarray, refuse: Callable[[], None]) -> tuple[np.ndarray, float, int]:
    """The array, or a multiple of it by a power of two whose squares can be summed; its norm; the power.

    The sum of squares finds NaN and infinity on its way.
    """
    norm, safe = _norm(array), _SAFE[array.dtype]
    if 2.0**-safe < norm < 2.0**safe:
        return array, norm, 0
    refuse()
    shift = -_exponent(array)
    array = np.ldexp(array, shift)
    return array, _norm(array), shift


def _exponent(array: np.ndarray) -> int:
    return math.frexp(max(array.max(initial=0.0), -array.min(initial=0.0)))[1]


def _norm(array: np.ndarray) -> float:
    rows = _along_rows(array)
    parts = (rows[part].ravel().astype(np.float64, copy=False) for part in _row_blocks(len(rows), rows[:1].size or 1))
    return math.sqrt(math.fsum(float(np.dot(part, part)) for part in parts))


def _small(values: np.ndarray) -> np.ndarray:
    """float32 without subnormal numbers, with which products are a hundred times slower: values are of a norm of 1."""
    single = values.astype(np.float32)
    single += np.float32(2.0**-96)
    single -= np.float32(2.0**-96)
    return single


# ---- subspaces ----


class _Subspace(NamedTuple):
    V: np.ndarray  # float64, orthonormal columns
    image: np.ndarray | None  # A V, or None where it is not known to the precision of A
    n_iter: int
    change: float  # of a singular value in the last iteration, relative


def _krylov(
    matrix: _Matrix,
    start: np.ndarray,
    k: int,
    kept: int,
    limit: int | None,
    tol: float | None,
    generator: np.random.Generator,
) -> tuple[_Subspace, _Matrix]:
    """The best `kept` directions, and the matrix that the passes used: a float32 copy where that is good enough."""
    if matrix.dtype == _FLOAT64 and (tol is None or tol >= _FLOAT32_TOL):
        single = matrix.as_float32()
        if single is not None:
            found = _krylov_passes(single, start, k, kept, limit, tol, generator, needed=_FLOAT32_RANGE)
            if found is not None:
                return found, single
    found = _krylov_passes(matrix, start, k, kept, limit, tol, generator, needed=0.0)
    assert found is not None
    return found, matrix


def _krylov_passes(
    matrix: _Matrix,
    start: np.ndarray,
    k: int,
    kept: int,
    limit: int | None,
    tol: float | None,
    generator: np.random.Generator,
    *,
    needed: float,
) -> _Subspace | None:
    """Block Krylov iteration with A^T A (Musco & Musco 2015, algorithm 2).

    None if the last singular value kept is less than `needed` of the first.
    """
    size, short = start.shape[1], matrix.shape[1]
    finish = needed > 0 or matrix.dtype == _FLOAT64
    # As many blocks as will do, but never less than what is kept.
    most = target = max((_N_ITER if limit is None else limit) + 1, -(-kept // size))
    adaptive = limit is None and size >= kept and matrix.norm is not None
    width = min(most * size, short)
    basis = np.empty((short, width), dtype=matrix.dtype, order="F")
    images: list[np.ndarray] = []
    filled, change, values = 0, math.inf, np.empty(0)
    block = _orthonormal(matrix.backward(start))
    while True:
        basis[:, filled : filled + block.shape[1]] = block
        images.append(matrix.forward(block))
        filled += block.shape[1]
        first = len(images) == 1
        if first or tol is not None or len(images) >= target or filled == width:
            before = values
            values, rotation = _principal(images)
            if first and needed and values[-1] < _FLOAT32_RANGE_OF_FIRST_BLOCK * values[0]:
                return None
            if adaptive and matrix.norm is not None:
                target = min(_blocks_needed(values, k, kept, matrix.norm) + (not finish), most)
            if tol is not None:
                change = _change(before[:k], values[:k], matrix.dtype, k)
            if len(images) >= target or filled == width or (tol is not None and change <= tol):
                break
        block = _next_block(matrix.backward(images[-1])[:, : width - filled], basis[:, :filled], generator)
    if values[kept - 1] < needed * values[0]:
        return None
    rotation = rotation[:, :kept]
    V = _orthonormal((basis[:, :filled] @ rotation.astype(matrix.dtype)).astype(np.float64))
    image = None
    if not needed or values[kept - 1] > _FLOAT32_IMAGE * values[0]:
        image = np.concatenate([part @ rotation for part in _side_by_side(images)])
    return _Subspace(V, image, len(images) - 1, 0.0 if filled == short or tol is None else change)


def _blocks_needed(values: np.ndarray, k: int, kept: int, norm: float) -> int:
    """After how many blocks Chebyshev's polynomial, which the iteration outdoes, separates wanted from unwanted."""
    last = max(float(values[kept - 1]), np.finfo(np.float64).eps * float(values[0]))
    tail = math.sqrt(max(norm**2 - float(np.square(values[:kept]).sum()), 0.0))
    damping = max(_DAMPING, _DAMPING_OF_TAIL * tail / last)
    ratio = float(values[k - 1]) / last
    if not ratio > 1:
        return _N_ITER + 1
    # Where most of the oversampling is as large as what is wanted, there is little room for the start to be a bad one.
    room = kept - int(np.count_nonzero(values[:kept] > last * math.sqrt(ratio)))
    damping *= max((kept - k) / (2 * room), 1.0) ** 2
    # What of the rest is in the last direction wanted is multiplied by its singular value, and must then be small
    # beside the rest itself. A single block is as good as its random start.
    damping *= ratio
    return max(math.ceil(min(math.acosh(damping) / (2 * math.acosh(ratio)), _N_ITER + 1)), 2)


def _next_block(block: np.ndarray, earlier: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Orthonormal columns in the range of a block, without what is in the span of the earlier ones."""
    rest = _orthonormal(block - earlier @ (earlier.T @ block)).astype(block.dtype)
    overlap = earlier.T @ rest
    # Of columns that were cancelled to the last digit, only rounding is left: the rank is used up, or that of the
    # start in a multiple singular value. Other random directions take their place.
    spent = np.abs(overlap).max(axis=0) > _NEARLY
    if spent.any():
        block[:, spent] = generator.standard_normal((len(block), int(spent.sum())))
        rest = _orthonormal(block - earlier @ (earlier.T @ block)).astype(block.dtype)
        overlap = earlier.T @ rest
    return _orthonormal(rest - earlier @ overlap)


def _subspace(matrix: _Matrix, start: np.ndarray, k: int, limit: int, tol: float | None) -> _Subspace:
    """Subspace iteration (Halko, Martinsson, Tropp 2011, algorithm 4.4), normalised by LU, by QR where values count."""
    change, values = math.inf, np.empty(0)
    n = 0
    block = (_normalized if tol is None and limit else _orthonormal)(matrix.backward(start))
    while True:
        image = matrix.forward(block)
        if tol is not None:
            before, values = values, _principal([image])[0][:k]
            change = _change(before, values, matrix.dtype, k)
        if n == limit or change <= (tol or 0.0):
            break
        n += 1
        block = matrix.backward(_normalized(image))
        block = (_normalized if tol is None and n < limit else _orthonormal)(block)
    return _Subspace(block.astype(np.float64), image, n, 0.0 if tol is None else change)


def _project_rows(matrix: _Matrix, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    image = matrix.forward(directions).astype(np.float64, copy=False)
    U, S, Wh = np.linalg.svd(image, full_matrices=False)
    return U, S, directions @ Wh.T


def _finish(matrix: _Matrix, found: _Subspace) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Singular triplets of A restricted to a subspace: to the range of the image, for a float64 matrix."""
    image = matrix.forward(found.V) if found.image is None else found.image
    left, triangle = _orthogonalized(image.astype(np.float64, copy=False))
    right = found.V
    if matrix.dtype == _FLOAT64:
        right, triangle = _orthogonalized(matrix.backward(left))
        triangle = triangle.T
    small, S, Wh = np.linalg.svd(triangle)
    return left @ small, S, right @ Wh.T


def _errors(
    matrix: _Matrix,
    working: _Matrix,
    U: np.ndarray,
    S: np.ndarray,
    V: np.ndarray,
    k: int,
    generator: np.random.Generator,
    trusted: bool,
) -> tuple[float, float]:
    """The norms of E = A - U S V^T after k columns: Frobenius, and from below the spectral one.

    E maps the rest of V to the rest of U, which is where it is large. Random vectors stand for all that V does not
    know: an estimate of the Frobenius norm (R. A. Meyer et al., "Hutch++", SOSA 2021, arXiv:2010.09649), and to the
    spectral one the chance to find a direction that was missed. If there is little rest, or one of narrow blocks, that
    chance is all there is, and takes more products.
    """
    probes = generator.standard_normal((len(V), _PROBES))
    probes -= V @ (V.T @ probes)
    block = np.hstack((probes, V[:, k : k + _FOLLOWED]))
    U, V = U[:, :k], V[:, :k]
    scaled = np.ldexp(S[:k, np.newaxis], working.shift - matrix.shift)
    image = working.forward(block) - U @ (scaled * (V.T @ block))
    left = _orthonormal(image)
    back = working.backward(left) - V @ (scaled * (U.T @ left))
    for _ in range(0 if trusted else _ROUNDS):
        right = _orthonormal(back)
        left = _orthonormal(working.forward(right) - U @ (scaled * (V.T @ right)))
        back = working.backward(left) - V @ (scaled * (U.T @ left))
    spectral = math.ldexp(float(np.linalg.norm(back.astype(np.float64), 2)), matrix.shift - working.shift)

    if matrix.norm is not None:
        squared = matrix.norm**2 - float(np.square(S[:k]).sum())
        if squared > _CANCELLED[matrix.dtype] * matrix.norm**2:
            return math.sqrt(squared), spectral
        frobenius = matrix.residual(U, S[:k], V)
        if frobenius is not None:
            # Where nothing is left, the probes have seen the rounding of float32 products.
            return frobenius, min(spectral, frobenius)
    unknown = math.ldexp(float(np.linalg.norm(image[:, :_PROBES])), matrix.shift - working.shift)
    return math.sqrt(unknown**2 / _PROBES + float(np.square(S[k:]).sum())), spectral


def _result(
    matrix: _Matrix,
    U: np.ndarray,
    S: np.ndarray,
    V: np.ndarray,
    wide: bool,
    errors: tuple[float, float],
    n_iter: int,
) -> RandomizedSVDResult:
    if wide:
        U, V = V, U
    largest = U[np.abs(U).argmax(axis=0), np.arange(U.shape[1])]
    signs = np.where(largest < 0, -1, 1).astype(matrix.dtype)
    S, unscaled = np.ldexp(S, -matrix.shift).astype(matrix.dtype), np.ldexp(errors, -matrix.shift)
    if not (np.isfinite(S).all() and np.isfinite(unscaled).all()):
        raise OverflowError(f"the singular values of A exceed the range of {matrix.dtype}")
    return RandomizedSVDResult(
        U=U * signs,
        S=S,
        Vh=np.ascontiguousarray((V * signs).T),
        frobenius_error=float(unscaled[0]),
        spectral_error=float(unscaled[1]),
        n_iter=n_iter,
        n_products=matrix.counter[0],
    )


# ---- blocks ----


def _side_by_side(images: list[np.ndarray]) -> Iterator[np.ndarray]:
    """Row blocks, in float64, of blocks that stand side by side."""
    for part in _row_blocks(len(images[0]), sum(image.shape[1] for image in images)):
        yield np.concatenate([image[part] for image in images], axis=1, dtype=np.float64)


def _principal(images: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Singular values and right singular vectors of blocks that stand side by side.

    The squares in a Gram matrix in float64 keep all the digits of float32; float64 itself needs a triangle.
    """
    if images[0].dtype == _FLOAT32:
        squares, rotation = np.linalg.eigh(sum(part.T @ part for part in _side_by_side(images)))
        return np.sqrt(np.maximum(squares[::-1], 0.0)), rotation[:, ::-1]
    triangle = np.empty((0, sum(image.shape[1] for image in images)))
    for part in _side_by_side(images):
        triangle = np.asarray(np.linalg.qr(np.concatenate((triangle, part)), mode="r"))
    _, values, Wh = np.linalg.svd(triangle, full_matrices=False)
    return values, Wh.T


def _change(before: np.ndarray, values: np.ndarray, dtype: np.dtype, k: int) -> float:
    """The largest relative change; of values that are no rounding."""
    if len(before) < k:
        return math.inf
    large = values > 32 * np.finfo(dtype).eps * values[0]
    return float((np.abs(values - before)[large] / values[large]).max(initial=0.0))


def _normalized(block: np.ndarray) -> np.ndarray:
    from scipy.linalg import lu

    return lu(block, permute_l=True, check_finite=False)[0]


def _orthonormal(block: np.ndarray) -> np.ndarray:
    return _orthogonalized(block.astype(np.float64, copy=False))[0]


def _orthogonalized(tall: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """QR decomposition of many rows in float64, by two Cholesky decompositions where they hold, else by Householder.

    Columns of very different lengths are no harm, as they are scaled first. With a rank that is not full, Householder
    reflections complete the basis.
    """
    from scipy.linalg.lapack import dpotrf, dtrtri

    gram = tall.T @ tall
    lengths = np.sqrt(np.diagonal(gram))
    if lengths.min() > 2.0 ** -_SAFE[_FLOAT64]:
        first, failed = dpotrf(gram / np.outer(lengths, lengths))
        if not failed:
            rows = tall @ (dtrtri(first)[0] / lengths[:, np.newaxis])
            product = rows.T @ rows
            if np.linalg.norm(product - np.eye(len(product))) < _NEARLY:
                second, _ = dpotrf(product)
                return rows @ dtrtri(second)[0], second @ (first * lengths)
    return np.linalg.qr(tall)
