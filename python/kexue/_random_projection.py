"""Random projections that keep lengths and distances: a map is a key of 128 bits, its matrix is never stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from numbers import Integral
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue import _projection
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_csr, as_real, check_integer, check_number, is_sparse
from kexue._context import count_workers
from kexue._errors import KexueValueError, require_finite, require_finite_entries

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Kind = Literal["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"]

KINDS = ("gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap")
_SIGNED_SPARSE = ("sparse", "countsketch", "osnap")
_DENSITIES = {"achlioptas": 1 / 3, "li": None}
_STREAM = 256  # columns that share a stream of normal numbers: any block of them can be drawn without the ones before
_BLOCK = 1 << 21  # entries of a matrix that are there at once
_KEPT = 1 << 22  # entries of a Gaussian matrix that is kept between calls: drawing takes longer than using it once
_CONVERTED = 1 << 22  # entries of X that are there in another dtype or order at once
_PIECE = 1 << 31  # multiplications between two looks at interrupts
_SPARSE_PIECE = 1 << 27  # the same of SciPy's sparse products
_DRAWN = 1 << 21


@dataclass(frozen=True)
class RandomProjectionMap:
    """A random projection that can be used again: for other data, elsewhere, backwards.

    It is what it was drawn from, a kind, two sizes, and a key, and so is its pickle. Whatever it is called with, at
    once or in batches, dense or sparse, on any machine, it is the same linear map.

    Attributes
    ----------
    kind : {"gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"}
        See `random_projection`.
    n_components : int
        The dimension that it maps to.
    n_features : int
        The dimension that it maps from.
    key : tuple of int
        Two numbers of 64 bits, the key of a Philox generator.
    density : float or None
        For "sparse", the probability of an entry not to be 0. Given as None it is 1 / sqrt(n_features); it may also be
        given by name, "li" (this one) or "achlioptas" (1/3).
    nonzeros : int or None
        For "osnap", the non-zero entries of a column. Given as None it is half the square root of n_components, rounded
        up.

    Raises
    ------
    KexueValueError
        If a size or an option is out of range, or an option is given to a kind that has none.
    TypeError
        If a size or an option is not a number.

    See Also
    --------
    random_projection : draws one and uses it once.
    kexue.sklearn.RandomProjection : one in a pipeline.

    Notes
    -----
    Entries come from the words of Philox 4x64-10 (J. Salmon and others, 2011, doi:10.1145/2063384.2063405). Only those
    of "gaussian" go through ``numpy.random.Generator.standard_normal``, which NumPy may change in a later version.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> project = kexue.RandomProjectionMap.draw(1000, 50, kind="srht", rng=0)
    >>> X = np.random.default_rng(1).normal(size=(20, 1000))
    >>> Y = project(X)
    >>> Y.shape
    (20, 50)
    >>> bool(np.allclose(project(X[7:9]), Y[7:9])), bool(np.allclose(X @ project.matrix().T, Y))
    (True, True)
    >>> bool(np.allclose(project(project.inverse(Y)), Y))
    True
    """

    kind: Kind
    n_components: int
    n_features: int
    key: tuple[int, int]
    density: float | None = None
    nonzeros: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or self.kind not in KINDS:
            raise KexueValueError(f"kind must be one of {', '.join(map(repr, KINDS))}, got {self.kind!r}")
        n, d = check_integer("n_components", self.n_components, 1), check_integer("n_features", self.n_features, 1)
        if n >= 2**31 or d >= 2**48:
            raise KexueValueError(f"n_components = {n} or n_features = {d} is too large: below 2**31 and 2**48 they go")
        if self.kind == "srht" and n > _padded(d):
            raise KexueValueError(
                f"n_components must be at most {_padded(d)} for kind='srht', the {d} columns of X padded to a power of "
                f"two, got {n}"
            )
        key = tuple(self.key) if isinstance(self.key, Iterable) else ()
        if len(key) != 2 or not all(isinstance(word, Integral) and 0 <= word < 2**64 for word in key):
            raise KexueValueError(f"key must be two numbers of 64 bits, got {self.key!r}")
        state = {
            "n_components": n,
            "n_features": d,
            "key": tuple(map(int, key)),
            "density": _density(self.kind, self.density, d),
            "nonzeros": _nonzeros(self.kind, self.nonzeros, n),
        }
        self.__dict__.update(state)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}  # without what was drawn

    @classmethod
    def draw(
        cls,
        n_features: int,
        n_components: int,
        *,
        kind: Kind = "gaussian",
        density: float | Literal["achlioptas", "li"] | None = None,
        nonzeros: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> RandomProjectionMap:
        """Draw a map at random.

        Parameters
        ----------
        n_features, n_components : int
            The dimensions it maps from and to.
        kind, density, nonzeros
            As in `random_projection`.
        rng : numpy.random.Generator, int or None
            Where the key comes from, through ``numpy.random.default_rng(rng)``.

        Returns
        -------
        RandomProjectionMap
            The one that ``random_projection(X, n_components, rng=rng, ...)`` uses for X of `n_features` columns.
        """
        words = np.random.default_rng(rng).integers(0, 2**64 - 1, size=2, dtype=np.uint64, endpoint=True)
        given: Any = density  # names stand for numbers that depend on the rest
        return cls(kind, n_components, n_features, (int(words[0]), int(words[1])), given, nonzeros)

    # ---- forwards ----

    def __call__(self, X: ArrayLike, *, out: np.ndarray | None = None, workers: int | None = None) -> np.ndarray:
        """Project rows.

        Parameters
        ----------
        X : array_like or sparse matrix, shape (m, n_features) or (n_features,)
        out : ndarray, optional
            Where to write the result, of its shape and dtype.
        workers : int, optional
            As in `random_projection`.

        Returns
        -------
        ndarray, shape (m, n_components) or (n_components,)
        """
        workers = count_workers(workers)
        rows, vector = _as_rows("X", X)
        return self._project(rows, vector, out, workers)

    def _project(self, X: Any, vector: bool, out: Any, workers: int) -> np.ndarray:
        if X.shape[1] != self.n_features:
            raise KexueValueError(
                f"X has {X.shape[1]} columns (shape {X.shape}), but the projection takes {self.n_features}"
            )
        dtype = as_real("X", np.empty(0, dtype=X.dtype)).dtype
        shape = X.shape[0], self.n_components
        target = _target(out, shape[1:] if vector else shape, dtype)
        if target is not None and (target.flags.c_contiguous and target.flags.aligned and not _share_memory(target, X)):
            direct, result = True, target.reshape(shape)
        else:
            direct, result = False, np.empty(shape, dtype=dtype)
        with np.errstate(all="ignore"):  # NaN and overflow are told apart below
            if is_sparse(X):
                rows = as_csr("X", X, dtype)
                require_finite_entries("X", rows, vector=vector)
                self._project_sparse(rows, result, workers)
            else:
                self._project_dense(X, result, workers)
            self._require_finite(X, result, vector)
        if target is None:
            return result[0] if vector else result
        if not direct:
            target[...] = result[0] if vector else result
        return out

    def _project_dense(self, X: np.ndarray, out: np.ndarray, workers: int) -> None:
        if self.kind == "gaussian":
            self._multiply(X, out)
        else:
            for rows, block in _row_blocks(X, out.dtype):
                self._kernel(block, out[rows], workers)

    def _require_finite(self, X: Any, result: np.ndarray, vector: bool) -> None:
        """Of X in CSR form, that is known already."""
        # What is not finite in a column of X, if it is used, is not in the result, which is smaller, nor in its sum.
        finite = np.isfinite(result.sum())
        if not is_sparse(X) and not (finite and _all_finite(X, self._unused_columns)):
            require_finite("X", X[0] if vector else X)
        if not finite:
            _require_range("the projection of X", result, vector)

    def _kernel(self, X: np.ndarray, out: np.ndarray, workers: int) -> None:
        if self.kind == "rademacher":
            _projection.rademacher(X, self._words_key, self._scale, out, workers)
        elif self.kind == "srht":
            _projection.srht(X, *self._hadamard, self._scale, out, workers)
        else:
            _projection.sketch(X, *self._signed, self._scale, out, workers)

    def _project_sparse(self, X: Any, out: np.ndarray, workers: int) -> None:
        if self.kind == "gaussian":
            self._multiply_sparse(X, out)
            return
        starts, indices = (as_contiguous(part.astype(np.int64, copy=False)) for part in (X.indptr, X.indices))
        rows = starts, indices, as_contiguous(X.data)
        if self.kind == "rademacher":
            _projection.rademacher_csr(*rows, self.n_features, self._words_key, self._scale, out, workers)
        elif self.kind == "srht":
            _projection.srht_csr(*rows, self.n_features, *self._hadamard, self._scale, out, workers)
        else:
            _projection.sketch_csr(*rows, *self._signed, self._scale, out, workers)

    def _multiply(self, X: np.ndarray, out: np.ndarray) -> None:
        rows = len(X)
        # NumPy leaves BLAS aside for other strides.
        ready = X.dtype == out.dtype and X.flags.aligned and X.itemsize in X.strides and min(X.strides) > 0
        product = None
        for columns, block in self._transposed_blocks(out.dtype):
            step = max(256, _PIECE // block.size)
            if not ready:
                step = min(step, max(16, _CONVERTED // len(block)))
            for start in range(0, rows, step):
                part = X[start : start + step, columns]
                if not ready:
                    part = part.astype(out.dtype, order="C")
                target = out[start : start + step]
                if columns.start == 0:
                    np.matmul(part, block, out=target)
                    continue
                if product is None or product.shape != target.shape:
                    product = np.empty_like(target)
                target += np.matmul(part, block, out=product)

    def _multiply_sparse(self, X: Any, out: np.ndarray) -> None:
        pieces = _pieces_of_csr(X, _SPARSE_PIECE // self.n_components)
        if self.n_components * self.n_features <= _KEPT:
            block = next(self._transposed_blocks(out.dtype))[1]
            for rows, piece in pieces:
                out[rows] = piece @ block
            return
        by_columns = []
        streams = np.r_[0 : self.n_features : _STREAM, self.n_features]
        used = np.zeros(len(streams) - 1, dtype=bool)
        for rows, piece in pieces:
            out[rows] = 0
            by_columns.append((rows, piece.tocsc()))
            used |= np.diff(by_columns[-1][1].indptr[streams]) > 0
        for columns, block in self._transposed_blocks(out.dtype, used):
            for rows, piece in by_columns:
                out[rows] += piece[:, columns] @ block

    # ---- backwards ----

    def adjoint(self, Y: ArrayLike, *, workers: int | None = None) -> np.ndarray:
        """Multiply rows by the matrix itself, where calling the map multiplies them by its transpose.

        Parameters
        ----------
        Y : array_like, shape (m, n_components) or (n_components,)
        workers : int, optional
            As in `random_projection`.

        Returns
        -------
        ndarray, shape (m, n_features) or (n_features,)
            ``Y @ self.matrix()``. Its rows have the right mean: the adjoint of a projected row is the row plus noise.
        """
        workers = count_workers(workers)
        Y, vector = self._images(Y)
        result = self._back(Y, workers)
        _require_range("the product with Y", result, vector)
        return result[0] if vector else result

    def inverse(self, Y: ArrayLike, *, workers: int | None = None) -> np.ndarray:
        """The shortest rows that the map takes to Y, or nearest to it: by the pseudo-inverse.

        Parameters
        ----------
        Y : array_like, shape (m, n_components) or (n_components,)
        workers : int, optional
            As in `random_projection`.

        Returns
        -------
        ndarray, shape (m, n_features) or (n_features,)

        Notes
        -----
        `adjoint` of Y times the inverse of ``P @ P.T``, a matrix of n_components rows, which is computed at the first
        call and kept: O(n_components^2 n_features) time for most kinds, O(n_components^3) besides. Singular values of P
        below about 1e-7 of the largest count as 0, which is of importance only where n_components and n_features are
        nearly equal.
        """
        workers = count_workers(workers)
        Y, vector = self._images(Y)
        with np.errstate(all="ignore"):
            combined = (Y @ self._inverse_gram).astype(Y.dtype, copy=False)
        result = self._back(combined, workers)
        _require_range("the inverse of Y", result, vector)
        return result[0] if vector else result

    def matrix(self, dtype: DTypeLike = np.float64) -> np.ndarray | csr_array:
        """The matrix P of the map Y = X P^T.

        Parameters
        ----------
        dtype : {float64, float32}

        Returns
        -------
        ndarray or csr_array, shape (n_components, n_features)
            Sparse for "sparse", "countsketch" and "osnap".
        """
        dtype = np.dtype(dtype)
        if dtype not in (np.float32, np.float64):
            raise KexueValueError(f"dtype must be float32 or float64, got {dtype}")
        if self.kind in _SIGNED_SPARSE:
            from scipy.sparse import csc_array

            starts, targets = self._signed
            values = np.where(targets < 0, -self._scale, self._scale).astype(dtype)
            indices = np.where(targets < 0, ~targets, targets)
            return csc_array((values, indices, starts), shape=(self.n_components, self.n_features)).tocsr()
        if self.kind == "rademacher":
            return _projection.rademacher_matrix(
                self._words_key, self.n_components, self.n_features, dtype, self._scale
            )
        if self.kind == "srht":
            return self._back(np.eye(self.n_components, dtype=dtype), 1)
        result = np.empty((self.n_components, self.n_features), dtype=dtype)
        for columns, block in self._transposed_blocks(dtype):
            result[:, columns] = block.T
        return result

    def _images(self, Y: ArrayLike) -> tuple[np.ndarray, bool]:
        array = as_real("Y", Y, ndim=(1, 2))
        if array.shape[-1] != self.n_components:
            raise KexueValueError(
                f"Y must have {self.n_components} columns, as the projection has components, but its shape is "
                f"{array.shape}"
            )
        require_finite("Y", array)
        return np.require(np.atleast_2d(array), requirements=["C", "A"]), array.ndim == 1

    def _back(self, Y: np.ndarray, workers: int) -> np.ndarray:
        with np.errstate(all="ignore"):  # overflow is told by name
            return self._multiply_back(Y, workers)

    def _multiply_back(self, Y: np.ndarray, workers: int) -> np.ndarray:
        if self.kind in _SIGNED_SPARSE:
            matrix: Any = self.matrix(Y.dtype).T
            result = np.empty((len(Y), self.n_features), dtype=Y.dtype)
            step = max(16, _SPARSE_PIECE // (matrix.nnz + self.n_features))
            for start in range(0, len(Y), step):
                result[start : start + step] = (matrix @ Y[start : start + step].T).T
            return result
        result = np.empty((len(Y), self.n_features), dtype=Y.dtype)
        if self.kind == "rademacher":
            _projection.rademacher_adjoint(Y, self._words_key, self._scale, result, workers)
        elif self.kind == "srht":
            _projection.srht_adjoint(Y, self.n_features, *self._hadamard, self._scale, result, workers)
        else:
            for columns, block in self._transposed_blocks(Y.dtype):
                step = max(256, _PIECE // block.size)
                for start in range(0, len(Y), step):
                    result[start : start + step, columns] = Y[start : start + step] @ block.T
        return result

    @cached_property
    def _inverse_gram(self) -> np.ndarray:
        n, d = self.n_components, self.n_features
        if self.kind in _SIGNED_SPARSE:
            P = self.matrix()
            gram = (P @ P.T).toarray()
        elif self.kind == "gaussian":
            gram = np.zeros((n, n))
            for _, block in self._transposed_blocks(np.dtype(np.float64)):
                gram += block.T @ block
        elif self.kind == "srht" and d == _padded(d):
            return np.eye(n) * (n / d)
        else:
            gram = np.empty((n, n))
            step = max(1, _BLOCK // d)
            for start in range(0, n, step):
                rows = self._back(np.eye(min(step, n - start), n, start), 1)
                self._kernel(rows, gram[start : start + step], 1)
            gram = (gram + gram.T) / 2
        from scipy.linalg import pinvh

        return pinvh(gram)

    # ---- what the key stands for ----

    @property
    def _words_key(self) -> np.ndarray:
        return np.array(self.key, dtype=np.uint64)

    @property
    def _scale(self) -> float:
        """What makes E |y|^2 = |x|^2, for entries of +-1 or of variance 1."""
        if self.kind == "countsketch":
            return 1.0
        if self.kind == "osnap":
            assert self.nonzeros is not None
            return 1 / math.sqrt(self.nonzeros)
        if self.kind == "sparse":
            assert self.density is not None
            return 1 / math.sqrt(self.n_components * self.density)
        return 1 / math.sqrt(self.n_components)

    def _words(self, first: int, count: int) -> np.ndarray:
        return _projection.philox_words(self._words_key, first, count)

    def _transposed_blocks(self, dtype: np.dtype, used: np.ndarray | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """Blocks of columns of a Gaussian matrix, as rows; those of streams that are not `used` are left out."""
        n, d = self.n_components, self.n_features
        if n * d <= _KEPT:
            if dtype not in self._kept:
                self._kept[dtype] = self._transposed(0, d, dtype)
            yield slice(0, d), self._kept[dtype]
            return
        step = max(_STREAM, _BLOCK // n // _STREAM * _STREAM)
        for start in range(0, d, step):
            stop = min(start + step, d)
            if used is None or used[start // _STREAM : -(-stop // _STREAM)].any():
                yield slice(start, stop), self._transposed(start, stop, dtype)

    def _transposed(self, start: int, stop: int, dtype: np.dtype) -> np.ndarray:
        n = self.n_components
        result = np.empty((stop - start, n), dtype=dtype)
        for first in range(start, stop, _STREAM):
            generator = np.random.Generator(np.random.Philox(key=self._words_key, counter=[0, first // _STREAM, 0, 0]))
            stream = result[first - start : first - start + _STREAM]
            step = max(1, _DRAWN // n)
            for row in range(0, len(stream), step):
                # As float64, so that the float32 matrix is the same one, rounded.
                part = stream[row : row + step]
                part[...] = generator.standard_normal(part.shape) * self._scale
        return result

    @cached_property
    def _kept(self) -> dict[np.dtype, np.ndarray]:
        return {}

    @cached_property
    def _hadamard(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Signs of the columns, rows of the Hadamard matrix that are taken, and its size."""
        size = _padded(self.n_features)
        signs = self._words(0, -(-size // 64))
        order = self._words(size, size)
        rows = np.sort(np.argpartition(order, self.n_components - 1)[: self.n_components])
        return signs, rows.astype(np.int64, copy=False), size

    @cached_property
    def _signed(self) -> tuple[np.ndarray, np.ndarray]:
        """The non-zeros of a sparse matrix of signs: where each column starts, and component c, or ~c for -1."""
        n, d = self.n_components, self.n_features
        if self.kind == "sparse":
            assert self.density is not None
            return _bernoulli(self._words, n, d, self.density)
        count = self.nonzeros or 1  # 1 for a count sketch
        edges = np.arange(count + 1, dtype=np.int64) * n // count
        targets = np.empty((d, count), dtype=np.int32)
        step = max(1, _DRAWN // count)
        for start in range(0, d, step):
            rows = min(step, d - start)
            words = self._words(start * count, rows * count).reshape(rows, count)
            place = edges[:-1] + (_uniform(words) * np.diff(edges)).astype(np.int64)
            targets[start : start + rows] = np.where(words & np.uint64(1), ~place, place)
        return np.arange(d + 1, dtype=np.int64) * count, targets.ravel()

    @cached_property
    def _unused_columns(self) -> np.ndarray:
        if self.kind != "sparse":
            return np.empty(0, dtype=np.int64)
        return np.flatnonzero(np.diff(self._signed[0]) == 0)


@same_kind
def random_projection(
    X: ArrayLike,
    n_components: int | Literal["auto"],
    *,
    kind: Kind = "gaussian",
    density: float | Literal["achlioptas", "li"] | None = None,
    nonzeros: int | None = None,
    eps: float = 0.1,
    rng: np.random.Generator | int | None = None,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """Project rows to fewer dimensions by a random matrix, so that lengths, distances and angles nearly stay.

    Parameters
    ----------
    X : array_like or sparse matrix, shape (m, d) or (d,)
        Rows, finite; or one vector. float32 stays float32, float16 becomes float32, all else float64.
    n_components : int or "auto"
        The dimension n to project to. "auto" is `jl_min_dim` of the rows and `eps`, which must be no more than d.
    kind : {"gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"}
        The matrix:

        * "gaussian": independent normal entries. The theory is about this one.
        * "rademacher": independent signs, never stored. As good as "gaussian".
        * "srht": signs for the columns of X, a Walsh-Hadamard transform, and n of its components. As good as "gaussian"
          in practice, and the fastest that is for dense X. n is at most d, rounded up to a power of two.
        * "osnap": `nonzeros` signs in each column. Nearly as good, and the fastest for sparse X.
        * "countsketch": one sign in each column. Bad for rows of few non-zeros, or of few large ones.
        * "sparse": independent entries, signs with the probability `density`, else 0. Bad for the same rows.
    density : float, "achlioptas" or "li", optional
        For "sparse": in (0, 1]. "achlioptas" is 1/3; "li", the default, 1 / sqrt(d).
    nonzeros : int, optional
        For "osnap": 1 to n, by default half the square root of n, rounded up.
    eps : float
        For "auto": the largest change of a squared distance, relative to it, in (0, 1).
    rng : numpy.random.Generator, int or None
        Where the projection comes from, through ``numpy.random.default_rng(rng)``. An integer gives the same
        projection at every call, for any rows of d columns.
    out : ndarray, optional
        Where to write the result, of its shape and dtype.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.
        "gaussian" has those of NumPy's BLAS.

    Returns
    -------
    ndarray, shape (m, n) or (n,)
        The expected square of a row's length is that of the row of X, whatever the kind.

    Raises
    ------
    KexueValueError
        If X has no columns, or an entry that is NaN or infinite; if `kind` is unknown, `n_components` below 1 or above
        what the kind or "auto" allows, `density` or `nonzeros` out of range, or given to a kind that has none; if
        `out` has another shape.
    TypeError
        If X does not hold real numbers, `n_components` is no integer, or `out` has another dtype.
    OverflowError
        If the result exceeds the range of its dtype.

    See Also
    --------
    RandomProjectionMap : the projection itself, for more than one X and for the way back.
    jl_min_dim : how many dimensions it takes.
    kexue.plot.distortion : how far off each kind is, for your own X.

    Notes
    -----
    Of dense X, "gaussian" and "rademacher" take O(m d n) time, "srht" O(m d log d), the others O(m d) for each
    non-zero of a column; of sparse X, all but "srht" take time in proportion to its non-zeros. Memory beyond the result
    does not grow with m, but where sparse X is no CSR: "gaussian" has 256 n entries of its matrix at a time, or some
    millions if that is more, the sparse kinds keep their non-zeros, and dense X of another dtype or order is converted
    by some rows at a time.

    The variance of |y|^2 for |x| = 1 is 2 / n for "gaussian". It is less for the others, but for "osnap" with n no
    multiple of `nonzeros`, where it may be a little more, and "sparse", which has
    (2 + (1 / density - 3) sum x^4) / n. But "countsketch" has it from rare large errors: two non-zeros of x in one
    component.

    References
    ----------
    D. Achlioptas, "Database-friendly random projections", 2003, doi:10.1016/S0022-0000(03)00025-4.
    P. Li, T. Hastie, K. Church, "Very sparse random projections", 2006, doi:10.1145/1150402.1150436.
    J. Tropp, "Improved analysis of the subsampled randomized Hadamard transform", 2011, arXiv:1011.1595.
    K. Clarkson, D. Woodruff, "Low rank approximation and regression in input sparsity time", 2013, arXiv:1207.6365.
    J. Nelson, H. Nguyen, "OSNAP: faster numerical linear algebra algorithms via sparser subspace embeddings", 2013,
    arXiv:1211.1002.
    J. Su, "The Johnson-Lindenstrauss lemma: applications", 2021, https://kexue.fm/archives/8706.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(50, 10000))
    >>> Y = kexue.random_projection(X, 1000, kind="srht", rng=0)
    >>> Y.shape
    (50, 1000)
    >>> ratio = np.linalg.norm(Y[1:] - Y[0], axis=1) / np.linalg.norm(X[1:] - X[0], axis=1)
    >>> bool(np.all(abs(ratio - 1) < 0.1))
    True
    """
    workers = count_workers(workers)
    rows, vector = _as_rows("X", X)
    if isinstance(n_components, str):
        n_components = _automatic(n_components, rows.shape, vector, eps)
    project = RandomProjectionMap.draw(
        rows.shape[1], n_components, kind=kind, density=density, nonzeros=nonzeros, rng=rng
    )
    return project._project(rows, vector, out, workers)


# ---- arguments ----


def _automatic(name: str, shape: tuple[int, int], vector: bool, eps: float) -> int:
    from kexue._johnson_lindenstrauss import jl_min_dim

    if name != "auto":
        raise KexueValueError(f'n_components must be an integer or "auto", got {name!r}')
    if vector or shape[0] == 0:
        raise KexueValueError('n_components="auto" needs the rows of a matrix, whose distances are to be kept')
    wanted = int(jl_min_dim(shape[0], eps))
    if wanted > shape[1]:
        raise KexueValueError(
            f'n_components="auto" is {wanted} for {shape[0]} rows and eps={eps}, more than the {shape[1]} columns of X'
        )
    return wanted


def _density(kind: str, density: Any, d: int) -> float | None:
    if kind != "sparse":
        if density is not None:
            raise KexueValueError(f"density is for kind='sparse', not for kind={kind!r}")
        return None
    if isinstance(density, str):
        if density not in _DENSITIES:
            raise KexueValueError(f'density must be a number, "achlioptas" or "li", got {density!r}')
        density = _DENSITIES[density]
    if density is None:
        return 1 / math.sqrt(d)
    share = check_number("density", density)
    if not 0 < share <= 1:
        raise KexueValueError(f"density must be above 0 and at most 1, got {density}")
    return share


def _nonzeros(kind: str, nonzeros: Any, n: int) -> int | None:
    if kind != "osnap":
        if nonzeros is not None:
            raise KexueValueError(f"nonzeros is for kind='osnap', not for kind={kind!r}")
        return None
    if nonzeros is None:
        # Two columns that meet change a squared length by up to 1 / nonzeros, which should be a few of its standard
        # deviations sqrt(2 / n) at most: measured for rows of 2 and 5 non-zeros, n from 16 to 4096.
        return math.ceil(math.sqrt(n) / 2)
    nonzeros = check_integer("nonzeros", nonzeros, 1)
    if nonzeros > n:
        raise KexueValueError(f"nonzeros must be at most n_components = {n}, got {nonzeros}")
    return nonzeros


def _as_rows(name: str, value: Any) -> tuple[Any, bool]:
    """Two dimensions, dense or sparse, still of any dtype and strides, and whether it is one vector."""
    if is_sparse(value):
        as_real(name, np.empty(0, dtype=value.dtype))
        rows = value
    else:
        # A large memory-mapped array of another dtype is converted in blocks, not here.
        mapped = isinstance(value, np.ndarray) and not isinstance(value, np.ma.MaskedArray)
        rows = np.asarray(value) if mapped else as_real(name, value)
        if rows.ndim not in (1, 2):
            raise KexueValueError(f"{name} must have 1 or 2 dimensions, but its shape is {rows.shape}")
    shape = value.shape if is_sparse(value) else rows.shape
    if shape[-1] == 0:
        raise KexueValueError(f"{name} has no columns: its shape is {shape}")
    return rows if len(shape) == 2 else rows.reshape(1, -1), len(shape) == 1


def _target(out: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray | None:
    if out is None:
        return None
    if not isinstance(out, np.ndarray) or isinstance(out, np.ma.MaskedArray):
        raise TypeError(f"out must be an ndarray, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out must have dtype {dtype}, as the result, but it has {out.dtype}")
    if out.shape != shape:
        raise KexueValueError(f"out must have shape {shape}, as the result, but it has {out.shape}")
    if not out.flags.writeable:
        raise KexueValueError("out is read-only")
    return out


def _require_range(what: str, result: np.ndarray, vector: bool) -> None:
    """Of finite arguments."""
    with np.errstate(all="ignore"):
        if np.isfinite(result.sum()):
            return
    finite = np.isfinite(result).all(axis=1)
    if not finite.all():
        row = "" if vector else f"[{finite.argmin()}]"
        raise OverflowError(f"{what}{row} exceeds the range of {result.dtype}")


def _share_memory(out: np.ndarray, X: Any) -> bool:
    values = getattr(X, "data", None) if is_sparse(X) else X
    return isinstance(values, np.ndarray) and np.may_share_memory(out, values)


def _pieces_of_csr(X: Any, entries: int) -> Iterator[tuple[slice, Any]]:
    """Rows that have about as many entries, and are about as many, as wanted; at least one."""
    starts, start, count = X.indptr, 0, X.shape[0]
    if count + int(starts[-1]) <= entries:
        yield slice(0, count), X
        return
    from scipy.sparse import csr_array

    while start < count:
        first = int(starts[start])
        stop = int(np.searchsorted(starts, first + entries, side="right")) - 1
        stop = max(start + 1, min(stop, start + entries, count))
        part = slice(first, int(starts[stop]))
        rows = (X.data[part], X.indices[part], starts[start : stop + 1] - starts[start])
        yield slice(start, stop), csr_array(rows, shape=(stop - start, X.shape[1]))
        start = stop


def _all_finite(X: np.ndarray, columns: np.ndarray) -> bool:
    step = max(1, _CONVERTED // max(1, len(X)))
    return all(np.isfinite(X[:, columns[at : at + step]]).all() for at in range(0, len(columns), step))


def _row_blocks(X: np.ndarray, dtype: np.dtype) -> Iterator[tuple[slice, np.ndarray]]:
    """X as the core takes it, aligned and with the columns of a row side by side: whole, or copied in blocks."""
    if X.dtype == dtype and X.flags.aligned and X.strides[1] == X.itemsize:
        yield slice(0, len(X)), X
        return
    step = max(16, _CONVERTED // X.shape[1])
    for start in range(0, len(X), step):
        yield slice(start, start + step), X[start : start + step].astype(dtype, order="C")


def _padded(d: int) -> int:
    return 1 << (d - 1).bit_length()


# ---- random numbers ----


def _uniform(words: np.ndarray) -> np.ndarray:
    """Numbers in [0, 1) from the upper 53 bits; the lowest bit is left for a sign."""
    return (words >> np.uint64(11)) * 2.0**-53


def _bernoulli(words: Any, n: int, d: int, density: float) -> tuple[np.ndarray, np.ndarray]:
    """Independent entries, by the distances between non-zeros, which are geometric: exact, in the time of non-zeros."""
    total = n * d
    if total >= 2**56:
        raise OverflowError(f"the matrix has {total} entries, which is too many for kind='sparse'")
    starts = np.zeros(d + 1, dtype=np.int64)
    parts, last, used = [], -1, 0
    while last < total - 1:
        expected = (total - last) * density
        count = min(int(expected + 6 * math.sqrt(expected)) + 16, _DRAWN)
        drawn = words(used, count)
        if density == 1.0:
            steps = np.ones(count, dtype=np.int64)
        else:
            with np.errstate(over="ignore"):  # beyond the end in any case
                gaps = np.log(1 - _uniform(drawn)) / math.log1p(-density)
            steps = np.minimum(gaps, total).astype(np.int64) + 1
        places = last + np.cumsum(steps)
        last, used = int(places[-1]), used + count
        inside = int(np.searchsorted(places, total))
        columns, rows = np.divmod(places[:inside], n)
        starts[1:] += np.bincount(columns, minlength=d)
        rows = rows.astype(np.int32)
        parts.append(np.where(drawn[:inside] & np.uint64(1), ~rows, rows))
    return np.cumsum(starts), np.concatenate(parts)
