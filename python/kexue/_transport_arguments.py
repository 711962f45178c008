"""The arguments of transport problems: what every solver checks, and how it explains a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_contiguous, as_real, result_dtype
from kexue._context import status_name
from kexue._errors import KexueValueError, first_bad, raise_status, require_finite, require_nonnegative


@dataclass
class Problem:
    """Checked arguments: what the core reads, and what results are cast to."""

    a: np.ndarray | None
    b: np.ndarray | None
    M: np.ndarray
    batch: tuple[int, ...]
    dtype: np.dtype
    totals_tolerance: float
    names: tuple[str, str, str] = ("a", "b", "M")

    @property
    def count(self) -> int:
        return int(np.prod(self.batch))

    def shaped(self, flat: np.ndarray, *core: int, dtype: Any = None) -> Any:
        """A flat result in the batch's shape: a Python or NumPy scalar where there is no batch."""
        result = flat.reshape(self.batch + core)
        wanted = np.dtype(dtype or self.dtype)
        if result.dtype != wanted:
            with np.errstate(over="ignore"):
                result = result.astype(wanted)
            # The potential of a point without mass that is forbidden everywhere is infinite.
            if wanted == np.float32 and np.isinf(result).sum() > np.isinf(flat).sum():
                raise OverflowError("the result is too large for float32; pass float64 arrays")
        if result.ndim:
            return result
        return result.item() if result.dtype in (np.float64, np.int64, np.int32) else result[()]


def as_weights(name: str, value: Any, size: int, axis: str) -> np.ndarray | None:
    if value is None or (
        hasattr(type(value), "__len__") and getattr(value, "ndim", 1) == 1 and len(value) == 0 and np.ndim(value) == 1
    ):
        return None
    weights = contiguous_rows(as_real(name, value, dtype=np.float64), 1)
    if weights.ndim == 0:
        raise KexueValueError(f"{name} must be an array of weights, got a scalar")
    if weights.shape[-1] != size:
        raise KexueValueError(
            f"{name} has {weights.shape[-1]} weights (shape {weights.shape}), but M has {size} {axis}"
        )
    return weights


def contiguous_rows(array: np.ndarray, core: int) -> np.ndarray:
    """The array itself if its last axis is contiguous and it is aligned, else a contiguous copy of it.

    The `core` last axes must not overlap themselves: a broadcast one is copied.
    """
    strides = array.strides[array.ndim - core :] if array.ndim >= core else ()
    sound = array.flags.aligned and (not strides or strides[-1] == array.itemsize or array.shape[-1] == 1)
    return array if sound else as_contiguous(array)


def check_problem(a: ArrayLike | None, b: ArrayLike | None, M: ArrayLike) -> Problem:
    costs = contiguous_rows(as_real("M", M), 2)
    if costs.ndim < 2:
        raise KexueValueError(f"M must have at least 2 dimensions, but its shape is {costs.shape}")
    m, n = costs.shape[-2:]
    if m == 0 or n == 0:
        raise KexueValueError(f"M has no entries: its shape is {costs.shape}")
    a_weights, b_weights = as_weights("a", a, m, "rows"), as_weights("b", b, n, "columns")
    shapes = [costs.shape[:-2]] + [w.shape[:-1] for w in (a_weights, b_weights) if w is not None]
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise KexueValueError(
            f"the batch dimensions of a, b and M do not fit together: {', '.join(map(str, shapes[1:] + shapes[:1]))}"
        ) from None
    single = np.dtype(np.float32)
    exact = all(w is None or result_dtype(w) != single for w in (a, b))
    return Problem(a_weights, b_weights, costs, batch, result_dtype(a, b, M), 1e-9 if exact else 1e-6)


def byte_offsets(array: np.ndarray | None, batch: tuple[int, ...], core: int) -> np.ndarray | None:
    """Where each problem of the batch starts in a broadcast array, in bytes; None: there is one problem."""
    if array is None or not batch:
        return None
    strides = np.broadcast_to(array, batch + array.shape[array.ndim - core :]).strides[: len(batch)]
    offsets = np.zeros(batch, dtype=np.int64)
    for axis, stride in enumerate(strides):
        shape = [1] * len(batch)
        shape[axis] = batch[axis]
        offsets += (np.arange(batch[axis], dtype=np.int64) * stride).reshape(shape)
    return offsets.ravel()


def explain_failure(problem: Problem, status: int, failed: int, where: str = "") -> None:
    """Raise the exception for a failed problem, with the first bad place where there is one.

    `where` says which problem it is where the batch's shape does not.
    """
    name = status_name(status)
    if failed >= 0 and problem.batch:
        where = f" (problem {', '.join(map(str, np.unravel_index(failed, problem.batch)))} of the batch)"
    if name in ("KX_E_NONFINITE", "KX_E_NEGATIVE"):
        for argument, weights in zip(problem.names[:2], (problem.a, problem.b), strict=True):
            if weights is not None:
                require_finite(argument, weights)
                require_nonnegative(argument, weights)
        first_bad(problem.names[2], problem.M, lambda costs: np.isnan(costs) | (costs == -np.inf))
    message = None
    if name in ("KX_E_TOTALS", "KX_E_EMPTY"):
        totals = []
        for weights in (problem.a, problem.b):
            if weights is None:
                totals.append(1.0)
            else:
                flat = np.broadcast_to(weights, problem.batch + weights.shape[-1:]).reshape(-1, weights.shape[-1])
                totals.append(float(flat[failed].sum()))
        if name == "KX_E_EMPTY":
            message = f"{'a' if totals[0] == 0 else 'b'} sums to 0{where}: there is no mass to move"
        else:
            message = (
                f"a sums to {totals[0]!r} and b to {totals[1]!r}{where}: "
                f"they may differ by {problem.totals_tolerance:g} relatively"
            )
    elif name == "KX_E_INFEASIBLE":
        message = f"no plan is feasible{where}: the infinite entries of M forbid every way to move the mass"
    elif name == "KX_E_OVERFLOW":
        message = (
            "M or the weights are too large (or the weights too small) for float64, "
            f"or the problem for this machine{where}"
        )
    raise_status(status, message)
