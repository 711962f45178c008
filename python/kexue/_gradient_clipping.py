"""Gradients whose norm is bounded, and what that bound has to do with smoothness."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _gradient_clipping_core
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, check_axes, check_broadcast
from kexue._errors import KexueValueError, require_finite, require_nonnegative
from kexue._gradient_arrays import buffers_for, deliver, places_of

__all__ = ["clip_by_norm", "clip_global_norm", "descent_bound", "smoothness_step_size"]


@overload
def clip_by_norm(
    gradient: ArrayLike,
    max_norm: float,
    *,
    mode: Literal["hard", "soft"] = ...,
    axis: int | Sequence[int] | None = ...,
    nonfinite: Literal["raise", "skip"] = ...,
    return_norm: Literal[False] = ...,
    out: np.ndarray | None = ...,
    workers: int | None = ...,
) -> np.ndarray: ...
@overload
def clip_by_norm(
    gradient: ArrayLike,
    max_norm: float,
    *,
    mode: Literal["hard", "soft"] = ...,
    axis: int | Sequence[int] | None = ...,
    nonfinite: Literal["raise", "skip"] = ...,
    return_norm: Literal[True],
    out: np.ndarray | None = ...,
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def clip_by_norm(
    gradient: ArrayLike,
    max_norm: float,
    *,
    mode: Literal["hard", "soft"] = ...,
    axis: int | Sequence[int] | None = ...,
    nonfinite: Literal["raise", "skip"] = ...,
    return_norm: bool,
    out: np.ndarray | None = ...,
    workers: int | None = ...,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...
@same_kind
def clip_by_norm(
    gradient: ArrayLike,
    max_norm: float,
    *,
    mode: Literal["hard", "soft"] = "hard",
    axis: int | Sequence[int] | None = None,
    nonfinite: Literal["raise", "skip"] = "raise",
    return_norm: bool = False,
    out: np.ndarray | None = None,
    workers: int | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Scale a gradient so that its Euclidean norm is bounded.

    Parameters
    ----------
    gradient : array_like of float32 or float64
    max_norm : float
        Not negative; infinity for no bound.
    mode : {"hard", "soft"}
        By min(1, max_norm / norm), or by max_norm / (norm + max_norm), which lies between half of that and that.
    axis : int or sequence of int, optional
        Clip each slice along these axes by its own norm: ``axis=1`` for a batch of gradients in rows. All by default.
    nonfinite : {"raise", "skip"}
        What to do about a slice that holds NaN or infinity. With "skip" it becomes 0, so that the step is left out;
        its norm tells.
    return_norm : bool
    out : ndarray, optional
        Where to write, of the gradient's shape and dtype; the gradient itself for a change in place. A slice that
        need not be clipped is not written in place.
    workers : int, optional
        See `kexue.threads`. It does not change the bits.

    Returns
    -------
    clipped : ndarray
        `out` if given.
    norm : ndarray
        With `return_norm`: float64, before clipping, without the axes. Infinite where it is beyond the format though
        the entries are not, and these are clipped all the same.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite and may not be, or an argument is out of range. `out` is untouched then.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    clip_global_norm : several arrays by their common norm.
    smoothness_step_size : where soft clipping comes from.

    Notes
    -----
    O(n): one pass over memory for the norm, without overflow or underflow, and one for what has to be scaled.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013,
    arXiv:1211.5063. J. Zhang et al., "Why gradient clipping accelerates training", 2020, arXiv:1905.11881. J. Su,
    https://kexue.fm/archives/7469.

    Examples
    --------
    >>> import kexue
    >>> kexue.clip_by_norm([3.0, 4.0], 1.0)
    array([0.6, 0.8])
    >>> kexue.clip_by_norm([3.0, 4.0], 1.0, mode="soft")
    array([0.5       , 0.66666667])
    """
    array = as_real("gradient", gradient)
    bound, is_soft, skips = _check_options(max_norm, mode, nonfinite)
    axes = check_axes("gradient", axis, array.ndim)
    kept = tuple(a for a in range(array.ndim) if a not in axes)
    targets = [np.empty_like(array)] if out is None else places_of(out, "gradient", [array], False)
    norms = _clip([array], targets, ["gradient"], kept, bound, is_soft, skips, False, workers)
    return (targets[0], norms.reshape([array.shape[a] for a in kept])) if return_norm else targets[0]


@same_kind
def clip_global_norm(
    gradients: Iterable[ArrayLike],
    max_norm: float,
    *,
    mode: Literal["hard", "soft"] = "hard",
    nonfinite: Literal["raise", "skip"] = "raise",
    out: Iterable[np.ndarray] | None = None,
    workers: int | None = None,
) -> tuple[list[np.ndarray], float]:
    """Scale the gradients of several parameters by one factor, so that the norm of all of them together is bounded.

    Parameters
    ----------
    gradients : iterable of array_like of float32 or float64
        Of any shapes; the dtypes may differ.
    max_norm : float
        Not negative; infinity for no bound.
    mode : {"hard", "soft"}
        By min(1, max_norm / norm), or by max_norm / (norm + max_norm).
    nonfinite : {"raise", "skip"}
        What to do about NaN and infinity. With "skip" all results are 0, so that the step is left out; the norm tells.
    out : iterable of ndarray, optional
        Where to write, of the gradients' shapes and dtypes; the gradients themselves for a change in place. Nothing is
        written in place where nothing has to be clipped.
    workers : int, optional
        See `kexue.threads`. It does not change the bits.

    Returns
    -------
    clipped : list of ndarray
        Those of `out` if given.
    norm : float
        Before clipping. Infinite if it is beyond the format though the entries are not, and these are clipped all the
        same.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite and may not be, or an argument is out of range. `out` is untouched then.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    clip_by_norm : one array, or the rows of one.

    Notes
    -----
    O(n): one pass over memory for the norm, without overflow or underflow, and one if something has to be scaled.
    PyTorch's ``clip_grad_norm_`` adds 1e-6 to the norm.

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013,
    arXiv:1211.5063. J. Su, https://kexue.fm/archives/7469.

    Examples
    --------
    >>> import kexue
    >>> kexue.clip_global_norm([[3.0], [0.0, 4.0]], 1.0)
    ([array([0.6]), array([0. , 0.8])], 5.0)
    """
    arrays, names = _as_list("gradients", gradients)
    bound, is_soft, skips = _check_options(max_norm, mode, nonfinite)
    if out is None:
        targets = [np.empty_like(array) for array in arrays]
    else:
        is_list = isinstance(out, Iterable) and not isinstance(out, np.ndarray)
        targets = places_of(list(out) if is_list else out, "gradients", arrays, True)
    norm = _clip(arrays, targets, names, (), bound, is_soft, skips, True, workers)
    return targets, float(norm[0])


def _clip(
    arrays: list[np.ndarray],
    targets: list[np.ndarray],
    names: list[str],
    kept: tuple[int, ...],
    max_norm: float,
    is_soft: bool,
    skips: bool,
    is_global: bool,
    workers: int | None,
) -> np.ndarray:
    """Write what is clipped, by its norms without the axes `kept`, or by one norm of all. The norms."""
    orders = [_order_of(array, kept) for array in arrays]
    parts = [_rows_of(as_contiguous(_ordered(*pair)), kept) for pair in zip(arrays, orders, strict=True)]
    every = _gradient_clipping_core.row_norms(parts, workers)
    norms = _gradient_clipping_core.combine_norms(every) if is_global else every
    finite = np.isfinite(norms["square"])
    if not (skips or finite.all()):
        for name, array in zip(names, arrays, strict=True):
            require_finite(name, array)
    factors = _gradient_clipping_core.clip_factors(norms, max_norm, is_soft)
    factors["first"][~finite] = 0
    if is_global:
        factors = np.repeat(factors, len(every))
    places = [_ordered(*pair) for pair in zip(targets, orders, strict=True)]
    buffers = buffers_for(places, [_ordered(*pair) for pair in zip(arrays, orders, strict=True)])
    _gradient_clipping_core.scale_rows(parts, factors, [_rows_of(buffer, kept) for buffer in buffers], workers)
    deliver(buffers, places)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.ldexp(np.sqrt(norms["square"]), norms["exponent"])


def _order_of(array: np.ndarray, kept: tuple[int, ...]) -> tuple[int, ...] | None:
    """The axes, those kept first, so that the rest is in the order of memory; None if they are so."""
    if not kept and array.flags.c_contiguous:
        return None
    rest = [axis for axis in range(array.ndim) if axis not in kept]
    return *kept, *sorted(rest, key=lambda axis: -abs(array.strides[axis]))


def _ordered(array: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    return array if order is None else array.transpose(order)


def _rows_of(array: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """A contiguous array as rows of what is clipped together."""
    if not kept:
        return array.reshape(1, array.size)
    sizes = array.shape[len(kept) :]
    return array.reshape(math.prod(array.shape[: len(kept)]), math.prod(sizes))


def _check_options(max_norm: Any, mode: Any, nonfinite: Any) -> tuple[float, bool, bool]:
    bound = as_real("max_norm", max_norm, ndim=0, dtype=np.float64)
    if not bound >= 0:
        raise KexueValueError(f"max_norm must not be negative, got {bound}")
    if not isinstance(mode, str) or mode not in ("hard", "soft"):
        raise KexueValueError(f'mode must be "hard" or "soft", got {mode!r}')
    if not isinstance(nonfinite, str) or nonfinite not in ("raise", "skip"):
        raise KexueValueError(f'nonfinite must be "raise" or "skip", got {nonfinite!r}')
    return float(bound), mode == "soft", nonfinite == "skip"


def _as_list(name: str, values: Any) -> tuple[list[np.ndarray], list[str]]:
    if isinstance(values, (np.ndarray, Mapping, str, bytes)) or not isinstance(values, Iterable):
        raise TypeError(f"{name} must be a list of arrays, not {type(values).__name__}")
    values = list(values)
    names = [f"{name}[{i}]" for i in range(len(values))]
    return [as_real(*pair) for pair in zip(names, values, strict=True)], names


@same_kind
def smoothness_step_size(gradient_norm: ArrayLike, L0: float, L1: float = 0.0) -> np.ndarray | float:
    """The step size for which the bound of a descent step is least, on a function that is (L0, L1)-smooth.

    Parameters
    ----------
    gradient_norm : array_like
        Not negative.
    L0, L1 : float
        The norm of the Hessian is at most L0 + L1 gradient_norm. Not negative; `L1` = 0 is the usual smoothness.

    Returns
    -------
    ndarray or float
        1 / (L0 + L1 gradient_norm), float64. Infinite where that is 1 / 0: along a linear function.

    Raises
    ------
    KexueValueError
        If an argument is negative, NaN or infinite, or the shapes do not broadcast.

    See Also
    --------
    descent_bound : what a step is bound to gain.
    clip_by_norm : with mode="soft" and max_norm = L0 / L1, L0 times this step.

    Notes
    -----
    O(n).

    References
    ----------
    J. Zhang, T. He, S. Sra, A. Jadbabaie, "Why gradient clipping accelerates training: a theoretical justification for
    adaptivity", ICLR 2020, arXiv:1905.11881. J. Su, https://kexue.fm/archives/7469.

    Examples
    --------
    >>> import kexue
    >>> kexue.smoothness_step_size([0.0, 128.0], 64.0, 0.5).tolist()
    [0.015625, 0.0078125]
    """
    norm, first, second = _smoothness(gradient_norm=gradient_norm, L0=L0, L1=L1)
    with np.errstate(divide="ignore", over="ignore"):
        return (1 / (first + second * norm))[()]


@same_kind
def descent_bound(gradient_norm: ArrayLike, step_size: ArrayLike, L0: float, L1: float = 0.0) -> np.ndarray | float:
    """The most that a function can change by a step along its negative gradient.

    Parameters
    ----------
    gradient_norm : array_like
        Not negative.
    step_size : array_like
        eta of the step theta - eta gradient. Not negative.
    L0, L1 : float
        The norm of the Hessian is at most L0 + L1 gradient_norm along the step. Not negative.

    Returns
    -------
    ndarray or float
        ((L0 + L1 gradient_norm) eta^2 / 2 - eta) gradient_norm^2, float64: negative, so that the function descends,
        for 0 < eta < 2 / (L0 + L1 gradient_norm).

    Raises
    ------
    KexueValueError
        If an argument is negative, NaN or infinite, or the shapes do not broadcast.

    See Also
    --------
    smoothness_step_size : where the bound is least.

    Notes
    -----
    O(n). (L0, L1)-smoothness is a statement about an infinitesimal step: the bound holds where the Hessian keeps to it
    all along the step.

    References
    ----------
    J. Zhang, T. He, S. Sra, A. Jadbabaie, "Why gradient clipping accelerates training: a theoretical justification for
    adaptivity", ICLR 2020, arXiv:1905.11881. J. Su, https://kexue.fm/archives/7469.

    Examples
    --------
    >>> import kexue
    >>> kexue.descent_bound(2.0, [0.0, 0.25, 0.5], 4.0).tolist()
    [0.0, -0.5, 0.0]
    """
    norm, step, first, second = _smoothness(gradient_norm=gradient_norm, step_size=step_size, L0=L0, L1=L1)
    with np.errstate(over="ignore", invalid="ignore"):
        relative = (step * first + step * second * norm) / 2 - 1
        return np.where((relative == 0) | (step == 0), 0.0, step * norm * norm * relative)[()]


def _smoothness(**arguments: ArrayLike) -> list[np.ndarray]:
    arrays = {name: as_real(name, value, dtype=np.float64) for name, value in arguments.items()}
    for name, array in arrays.items():
        require_finite(name, array)
        require_nonnegative(name, array)
    check_broadcast(**{name: array.shape for name, array in arrays.items()})
    return list(arrays.values())
