"""Entropy normalisation's rows: what is given to the C core, and what is said when a row cannot be solved."""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _entropy
from kexue._arrays import as_contiguous, as_real, check_axis, is_sparse
from kexue._context import status_name
from kexue._errors import InternalError, KexueValueError, warn_convergence

TargetKind = Literal["entropy", "perplexity", "fraction", "gap_low", "gap_high"]
TARGET_KINDS = ("entropy", "perplexity", "fraction", "gap_low", "gap_high")

# What the values of a row are, by the numbers of the C core.
WEIGHTS, LOG_WEIGHTS, COSTS, COSTS_OFF_DIAGONAL = range(4)

# What the C core says of a row besides failures.
MAX_ITER, AT_LOWEST, ABOVE_HIGHEST, CONSTANT = 1, 2, 3, 4


@dataclass
class Names:
    """What the caller knows the arguments as."""

    values: str
    target: str = "target"


@dataclass
class Settings:
    """Checked options of a solve."""

    target_kind: TargetKind = "entropy"
    on_unreachable: Literal["raise", "limit"] = "raise"
    tol: float = 1e-13
    max_iter: int = 100

    def __post_init__(self) -> None:
        for name, choices in (("target_kind", TARGET_KINDS), ("on_unreachable", ("raise", "limit"))):
            if getattr(self, name) not in choices:
                allowed = ", ".join(f'"{choice}"' for choice in choices)
                raise KexueValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        try:
            self.tol = float(self.tol)
        except (TypeError, ValueError):
            raise TypeError(f"tol must be a number, not {type(self.tol).__name__}") from None
        if not 0 < self.tol < np.inf:
            raise KexueValueError(f"tol must be finite and positive, got {self.tol!r}")
        try:
            self.max_iter = operator.index(self.max_iter)
        except TypeError:
            raise TypeError(f"max_iter must be an integer, not {type(self.max_iter).__name__}") from None
        if not 1 <= self.max_iter < 2**31:
            raise KexueValueError(f"max_iter must be at least 1 and below 2**31, got {self.max_iter}")


@dataclass
class Solved:
    """What the C core wrote, a number for each row; the entropies and iterations if they were wanted."""

    q: np.ndarray | None
    gamma: np.ndarray
    entropy: np.ndarray | None
    status: np.ndarray
    n_iter: np.ndarray | None


class _Rows(ABC):
    """Values and targets as the core takes them, and names for their places."""

    names: Names
    domain: int
    values: np.ndarray
    offsets: np.ndarray | None
    targets: np.ndarray
    given_target: np.ndarray
    batch: tuple[int, ...]

    @property
    def count(self) -> int:
        return math.prod(self.batch)

    @abstractmethod
    def row(self, k: int) -> np.ndarray:
        """The entries of row k, with those that are not stored left out."""

    @abstractmethod
    def row_name(self, k: int) -> str:
        """Row k as a message calls it."""

    @abstractmethod
    def entry_name(self, k: int, j: int) -> str:
        """Entry j of row k as a message calls it."""

    @abstractmethod
    def entries_of(self, k: int) -> int:
        """How many entries a row has, with those that are not stored."""

    def target_place(self, k: int) -> tuple[str, float]:
        own = _own_index(np.unravel_index(k, self.batch) if self.batch else (), self.given_target.shape)
        return _place(self.names.target, own), float(self.given_target[own])

    def solve(
        self,
        settings: Settings,
        workers: int | None,
        *,
        q: np.ndarray | None = None,
        wanted: bool = False,
    ) -> Solved:
        """Solve all rows; `wanted` asks for entropies and iterations too."""
        count = self.count
        solved = Solved(
            q,
            np.empty(count),
            np.empty(count) if wanted else None,
            np.zeros(count, dtype=np.int32),
            np.empty(count, dtype=np.int32) if wanted else None,
        )
        kind, targets = settings.target_kind, self.targets
        if kind == "fraction" and self.offsets is not None:
            # Of all columns, as in the dense matrix: the core knows those that are stored.
            kind, targets = "entropy", self._fractions_as_entropies(targets)
        if count:
            _entropy.normalize(
                self.values,
                self.offsets,
                targets,
                TARGET_KINDS.index(kind),
                self.domain,
                q,
                solved.gamma,
                solved.entropy,
                solved.status,
                solved.n_iter,
                settings.tol,
                settings.max_iter,
                workers,
            )
            self._explain(solved.status, settings)
        return solved

    def _fractions_as_entropies(self, targets: np.ndarray) -> np.ndarray:
        bad = ~((targets >= 0) & (targets <= 1))
        if bad.any():
            self._refuse_target(int(bad.argmax()), "fraction")
        return targets * math.log(max(self.entries_of(0), 1))

    def _explain(self, status: np.ndarray, settings: Settings) -> None:
        if not status.any():
            return
        failed = status < 0
        if failed.any():
            k = int(failed.argmax())
            self._refuse(k, int(status[k]), settings.target_kind)
        unreachable = status > MAX_ITER
        if settings.on_unreachable == "raise" and unreachable.any():
            k = int(unreachable.argmax())
            raise KexueValueError(self._unreachable(k, int(status[k]), settings.target_kind))
        late = np.count_nonzero(status == MAX_ITER)
        if late:
            warn_convergence(
                f"{late} of {status.size} rows did not converge to tol={settings.tol:g} "
                f"in max_iter={settings.max_iter} iterations"
            )

    def _refuse(self, k: int, status: int, kind: str) -> None:
        row, name = self.row(k), status_name(status)
        if name == "KX_E_ARGUMENT":
            self._refuse_target(k, kind)
        if name == "KX_E_EMPTY":
            if self.domain == WEIGHTS:
                what = "has no positive entry"
            elif self.domain == LOG_WEIGHTS:
                what = "has no entry above -inf"
            else:
                what = "has no finite entry" + (" off the diagonal" if self.domain == COSTS_OFF_DIAGONAL else "")
            raise KexueValueError(f"{self.row_name(k)} {what}: it is no distribution")
        if name == "KX_E_NONFINITE":
            allowed = {WEIGHTS: np.nan, LOG_WEIGHTS: -np.inf}.get(self.domain, np.inf)
            bad = ~(np.isfinite(row) | (row == allowed))
            if self.domain == COSTS_OFF_DIAGONAL:
                bad[k] = False
            if bad.any():
                j = int(bad.argmax())
                raise KexueValueError(f"{self.entry_name(k, j)} is {row[j]}")
        if name == "KX_E_NEGATIVE" and (row < 0).any():
            j = int((row < 0).argmax())
            raise KexueValueError(f"{self.entry_name(k, j)} is negative ({row[j]})")
        raise InternalError(f"{self.row_name(k)}: {name}")

    def _refuse_target(self, k: int, kind: str) -> None:
        place, value = self.target_place(k)
        allowed = {
            "entropy": "an entropy must be finite and not negative",
            "perplexity": "a perplexity must be finite and at least 1",
            "fraction": "a fraction must be between 0 and 1",
        }.get(kind, "a gap must be finite and not negative")
        raise KexueValueError(f"{place} is {value:g}, but {allowed}")

    def _unreachable(self, k: int, status: int, kind: str) -> str:
        row = self.row(k)
        if self.domain in (COSTS, COSTS_OFF_DIAGONAL):
            row = -row
        if self.domain == COSTS_OFF_DIAGONAL:
            row[k] = -np.inf
        zero = 0 if self.domain == WEIGHTS else -np.inf
        support, ties = int(np.count_nonzero(row > zero)), int(np.count_nonzero(row == row.max()))
        highest, lowest = math.log(support), math.log(ties)
        place, value = self.target_place(k)
        target, name = f"{place} = {value:.15g}", self.row_name(k)
        entries = "positive entries" if self.domain == WEIGHTS else "finite entries"
        hint = '; on_unreachable="limit" takes the nearest limit'
        if status == CONSTANT:
            return f"{target} is out of reach: the {support} {entries} of {name} are equal, entropy {highest:.5g}{hint}"
        if kind == "gap_high":
            return (
                f"{target} is not below {highest - lowest:.5g}, the limit of log {support} - H of {name} "
                f"({support} {entries}, {ties} of them largest){hint}"
            )
        if kind == "perplexity":
            highest, lowest = float(support), float(ties)
        elif kind == "fraction":
            highest, lowest = (limit / math.log(self.entries_of(k)) for limit in (highest, lowest))
        elif kind == "gap_low":
            highest, lowest = highest - lowest, 0.0
        noun = {"gap_low": f"H - log {ties}"}.get(kind, kind)
        if status == ABOVE_HIGHEST:
            return f"{target} is above the largest {noun} {highest:.5g} of {name} ({support} {entries}){hint}"
        return (
            f"{target} is not above {lowest:.5g}, the limit of the {noun} of {name} for gamma = inf "
            f"({ties} largest of {support} {entries}){hint}"
        )


class DenseRows(_Rows):
    """The lines of an array along an axis, broadcast with the targets."""

    def __init__(
        self,
        names: Names,
        values: ArrayLike,
        target: ArrayLike,
        *,
        domain: int,
        axis: int = -1,
        dtype: Any = None,
    ) -> None:
        self.names, self.domain, self.offsets = names, domain, None
        array = as_real(names.values, values, dtype=dtype)
        if array.ndim == 0:
            raise KexueValueError(f"{names.values} must have at least 1 dimension, but it is a scalar")
        self.given_target = as_real(names.target, target, dtype=np.float64)
        self.given_axis, self.axis = axis, check_axis(names.values, axis, array.ndim)
        lines = np.moveaxis(array, axis, -1)
        self.own_shape, self.n = lines.shape[:-1], lines.shape[-1]
        try:
            self.batch = np.broadcast_shapes(self.own_shape, self.given_target.shape)
        except ValueError:
            raise KexueValueError(
                f"{names.target} has shape {self.given_target.shape}, which does not broadcast with "
                f"{self.own_shape}, the shape {array.shape} of {names.values} without the axis"
            ) from None
        if self.batch != self.own_shape:
            lines = np.broadcast_to(lines, (*self.batch, self.n))
        self.values = as_contiguous(lines).reshape(self.count, self.n)
        targets = self.given_target
        if targets.ndim == 0:
            targets = targets.reshape(1)
        self.targets = as_contiguous(targets if targets.size == 1 else np.broadcast_to(targets, self.batch)).ravel()

    @property
    def result_shape(self) -> tuple[int, ...]:
        shape = list(self.batch)
        axis = check_axis(self.names.values, self.given_axis, len(shape) + 1)
        return (*shape[:axis], self.n, *shape[axis:])

    def shaped(self, rows: np.ndarray) -> np.ndarray:
        """Rows of n as the result's array."""
        return np.moveaxis(rows.reshape(*self.batch, self.n), -1, self.given_axis)

    def scalars(self, numbers: np.ndarray) -> Any:
        """A number for each row as an array; of a single row as a scalar."""
        return numbers.reshape(self.batch)[()]

    def place_for(self, out: np.ndarray) -> np.ndarray:
        """Where the core can write: the array itself if its rows are contiguous and none of the input."""
        lines = np.moveaxis(out, self.given_axis, -1)
        direct = lines.flags.c_contiguous and lines.flags.aligned and not np.may_share_memory(out, self.values)
        return lines.reshape(self.count, self.n) if direct else np.empty((self.count, self.n), dtype=out.dtype)

    def row(self, k: int) -> np.ndarray:
        return self.values[k].astype(np.float64)

    def entries_of(self, k: int) -> int:
        return self.n

    def _index(self, k: int) -> tuple[Any, ...]:
        return _own_index(np.unravel_index(k, self.batch) if self.batch else (), self.own_shape)

    def row_name(self, k: int) -> str:
        index = [str(i) for i in self._index(k)]
        if self.axis < len(index):
            index.insert(self.axis, ":")
        return _place(self.names.values, index)

    def entry_name(self, k: int, j: int) -> str:
        index = list(self._index(k))
        index.insert(self.axis, j)
        return _place(self.names.values, index)


class SparseRows(_Rows):
    """The rows of a sparse matrix: the entries that are stored."""

    offsets: np.ndarray

    def __init__(
        self,
        names: Names,
        values: Any,
        target: ArrayLike,
        *,
        domain: int,
        axis: int = -1,
        dtype: Any = None,
        exclude_diagonal: bool = False,
    ) -> None:
        self.names, self.domain = names, domain
        if values.ndim != 2:
            raise KexueValueError(f"{names.values} must have 2 dimensions where it is sparse, not {values.ndim}")
        if check_axis(names.values, axis, 2) != 1:
            raise KexueValueError(f"axis must be -1 or 1 for sparse {names.values}, got {axis}")
        as_real(names.values, np.empty(0, dtype=values.dtype))
        self.matrix = _without_repeats(names.values, values, added=domain == WEIGHTS)
        from scipy.sparse import csr_array, csr_matrix, spmatrix

        self.kind = csr_matrix if isinstance(values, spmatrix) else csr_array
        self.batch = (self.matrix.shape[0],)
        data = as_contiguous(as_real(names.values, self.matrix.data, dtype=dtype))
        if exclude_diagonal:
            data = np.where(self.matrix.indices == self.row_numbers(), data.dtype.type(np.inf), data)
        self.values = data
        self.offsets = as_contiguous(self.matrix.indptr, dtype=np.int64)
        self.given_target = as_real(names.target, target, dtype=np.float64)
        if self.given_target.ndim > 1 or self.given_target.size not in (1, self.batch[0]):
            raise KexueValueError(
                f"{names.target} must be a scalar or have a number for each of the {self.batch[0]} rows of "
                f"{names.values}, but its shape is {self.given_target.shape}"
            )
        self.targets = as_contiguous(self.given_target).reshape(-1)

    def row_numbers(self) -> np.ndarray:
        return np.repeat(np.arange(self.matrix.shape[0]), np.diff(self.matrix.indptr))

    def shaped(self, data: np.ndarray) -> Any:
        """Entries as a matrix of the same structure."""
        return self.kind((data, self.matrix.indices.copy(), self.matrix.indptr.copy()), shape=self.matrix.shape)

    def scalars(self, numbers: np.ndarray) -> np.ndarray:
        return numbers

    def row(self, k: int) -> np.ndarray:
        return self.values[self.offsets[k] : self.offsets[k + 1]].astype(np.float64)

    def entries_of(self, k: int) -> int:
        return self.matrix.shape[1]

    def row_name(self, k: int) -> str:
        return _place(self.names.values, [k])

    def entry_name(self, k: int, j: int) -> str:
        return _place(self.names.values, [k, self.matrix.indices[self.offsets[k] + j]])


def rows_of(
    names: Names, values: Any, target: ArrayLike, *, domain: int, axis: int = -1, dtype: Any = None
) -> DenseRows | SparseRows:
    """The rows of an array or of a sparse matrix."""
    kind = SparseRows if is_sparse(values) else DenseRows
    return kind(names, values, target, domain=domain, axis=axis, dtype=dtype)


def _without_repeats(name: str, values: Any, *, added: bool) -> Any:
    """CSR rows in which no column comes twice; weights are added up, logarithms cannot be."""
    from scipy.sparse import csr_array

    if added and values.dtype.kind in "iub":
        values = values.astype(np.float64)  # counts of uint8 would wrap around
    matrix = csr_array(values)
    repeats = values.format == "coo" and matrix.nnz != values.nnz
    if not repeats and not matrix.has_canonical_format:
        single = matrix.copy()
        single.sum_duplicates()
        repeats = single.nnz != matrix.nnz
        matrix = single if repeats else matrix
    if repeats and not added:
        raise KexueValueError(f"{name} has several entries in one place: call its sum_duplicates() if that is meant")
    return matrix


def _own_index(index: tuple[Any, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The index of a broadcast array as that of an array of this shape."""
    kept = index[len(index) - len(shape) :]
    return tuple(0 if size == 1 else int(i) for i, size in zip(kept, shape, strict=True))


def _place(name: str, index: Any) -> str:
    return f"{name}[{', '.join(str(i) for i in index)}]" if len(index) else name
