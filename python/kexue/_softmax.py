"""Softmax of rows, its relatives and the losses made of them."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_axis, require_operands, result_dtype
from kexue._errors import KexueValueError, first_bad
from kexue._lazy import apply_rows, is_lazy
from kexue._ufuncs import (
    _taylor_softmax,
    _taylor_softmax_vjp,
    entropy,
    log_softmax,
    log_softmax_vjp,
    logsumexp,
    logsumexp_vjp,
    softmax,
    softmax_vjp,
)

__all__ = [
    "entropy",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_loss",
    "softmax_vjp",
    "taylor_softmax",
    "taylor_softmax_loss",
    "taylor_softmax_vjp",
]


def _even_order(n: int) -> int:
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
        raise TypeError(f"n must be an even integer, got {n!r}")
    if n < 2 or n % 2:
        raise KexueValueError(f"n must be even and at least 2 (then the polynomial is positive), got {n}")
    if n > 1000:
        raise KexueValueError(f"n must be at most 1000, got {n}")
    return int(n)


@lru_cache(maxsize=64)
def _minimum(n: int) -> float:
    """Where the Taylor polynomial of order n, even, is least: the zero of the one of order n - 1.

    Newton's method. The polynomial cancels: its terms are integers, in units of 2**-bits.
    """
    bits = 3 * n + 80
    x = -0.2784645 * n - 0.6
    for _ in range(50):
        numerator, denominator = x.as_integer_ratio()
        point = (numerator << bits) // denominator
        term = value = 1 << bits
        for k in range(1, n):
            term = (term * point >> bits) // k
            value += term
        step = value / (value - term)
        x -= step
        if abs(step) <= 2e-16 * abs(x):
            break
    return x


def _lowest(n: int, monotone: bool) -> float:
    return _minimum(n) if monotone else -math.inf


@same_kind
def taylor_softmax(
    x: ArrayLike, n: int = 2, *, axis: int = -1, monotone: bool = False, **kwargs: Any
) -> np.ndarray | np.generic:
    """Softmax with the Taylor polynomial of exp in place of exp: f(x) / sum(f(x)), f(x) = sum of x**k / k! to k = n.

    For even n the polynomial is positive everywhere. Probabilities fall off as powers and not exponentially.

    Parameters
    ----------
    x : array_like, shape (..., m)
        Logits, finite. float16 and float32 give float32; float64, integers and bool, float64.
    n : int
        The order, even and at least 2.
    axis : int
        The axis along which the rows run.
    monotone : bool
        The polynomial falls up to its minimum (-1 for n = 2), so that very negative logits gain probability. True takes
        logits below the minimum for the minimum: then the order of probabilities is that of the logits.
    **kwargs
        `out`, `dtype`, `casting`: as for every generalised ufunc, see `numpy.ufunc`.

    Returns
    -------
    ndarray, shape (..., m)
        Positive, each row sums to 1. A NaN makes its row NaN; a row with an infinity is NaN, and the invalid flag is
        raised (`numpy.errstate`).

    Raises
    ------
    KexueValueError
        If `n` is odd, less than 2 or more than 1000.
    TypeError
        If `n` is no integer.

    See Also
    --------
    taylor_softmax_vjp : its gradient.
    taylor_softmax_loss : the cross-entropy.
    softmax

    Notes
    -----
    n steps an entry, no exponential. Horner's rule carries its rounding errors for n > 2, so that values next to the
    minimum are right to the last digits; powers that would overflow are taken with exponents of their own.

    References
    ----------
    K. Banerjee et al., "Exploring Alternatives to Softmax Function", arXiv:2011.11538.

    Examples
    --------
    >>> import kexue
    >>> kexue.taylor_softmax([-4.0, -1.0, 0.0, 0.5, 2.0])
    array([0.38095238, 0.03809524, 0.07619048, 0.12380952, 0.38095238])
    >>> kexue.taylor_softmax([-4.0, -1.0, 0.0, 0.5, 2.0], monotone=True)
    array([0.05797101, 0.05797101, 0.11594203, 0.1884058 , 0.57971014])
    """
    n = _even_order(n)
    axes = [axis, (), (), axis]
    try:
        return _taylor_softmax(x, n, _lowest(n, monotone), axes=axes, **kwargs)
    except (TypeError, ValueError):
        require_operands(axes, x=x)
        raise


@same_kind
def taylor_softmax_vjp(
    x: ArrayLike, grad: ArrayLike, n: int = 2, *, axis: int = -1, monotone: bool = False, **kwargs: Any
) -> np.ndarray | np.generic:
    """The gradient by the logits of `taylor_softmax`, from the gradient by its result.

    Parameters
    ----------
    x : array_like, shape (..., m)
        Logits, finite.
    grad : array_like, shape (..., m)
        The upstream gradient, broadcast against `x`.
    n : int
        The order, even and at least 2.
    axis : int
        The axis along which the rows run.
    monotone : bool
        As for `taylor_softmax`: the gradient by logits below the minimum is 0.
    **kwargs
        `out`, `dtype`, `casting`: as for every generalised ufunc, see `numpy.ufunc`.

    Returns
    -------
    ndarray, shape (..., m)
        f'(x) / sum(f(x)) * (grad - sum(p * grad)), p the Taylor softmax.

    Raises
    ------
    KexueValueError
        If `n` is odd, less than 2 or more than 1000.
    TypeError
        If `n` is no integer.

    See Also
    --------
    taylor_softmax

    Notes
    -----
    2 n steps an entry. The polynomial's derivative is the one of order n - 1.

    References
    ----------
    K. Banerjee et al., "Exploring Alternatives to Softmax Function", arXiv:2011.11538.

    Examples
    --------
    >>> import kexue
    >>> kexue.taylor_softmax_vjp([0.0, 1.0], [1.0, 0.0]).round(6)
    array([ 0.204082, -0.163265])
    """
    n = _even_order(n)
    axes = [axis, axis, (), (), axis]
    try:
        return _taylor_softmax_vjp(x, grad, n, _lowest(n, monotone), axes=axes, **kwargs)
    except (TypeError, ValueError):
        require_operands(axes, x=x, grad=grad)
        raise


# ---- losses ----


def _axis_last(name: str, x: ArrayLike, axis: int) -> tuple[np.ndarray, int]:
    """A view of float32 or float64 with the axis at the end, and the axis counted from 0."""
    array = as_real(name, x)
    if array.ndim == 0:
        raise KexueValueError(f"{name} must have at least 1 dimension, but its shape is ()")
    if not -array.ndim <= axis < array.ndim:
        raise KexueValueError(f"axis = {axis} is out of range: {name} has shape {array.shape}")
    if array.shape[axis] == 0:
        raise KexueValueError(f"{name} has no entries along axis {axis}: its shape is {array.shape}")
    return np.moveaxis(array, axis, -1), axis % array.ndim


def _target_ids(target: ArrayLike, rows: tuple[int, ...], classes: int) -> np.ndarray:
    ids = as_array("target", target)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"target must hold integer class ids, but its dtype is {ids.dtype}")
    if ids.shape != rows:
        raise KexueValueError(
            f"target has shape {ids.shape}, but class ids need the shape of x without the axis, {rows}"
        )
    first_bad("target", ids, lambda a: (a < 0) | (a >= classes), f"is {{value}}, not a class id below {classes}")
    return ids.astype(np.intp, copy=False)


def _loss_lazily(loss: Any, x: Any, target: Any, axis: int, return_grad: bool, **options: Any) -> Any:
    """A loss of Dask arrays: what is wrong with the class ids is found when they are computed."""
    targets = target if is_lazy(target) else as_array("target", target)
    weighs = targets.dtype.kind == "f"
    shape, place = np.shape(x), check_axis("x", axis, np.ndim(x))
    wanted = shape if weighs else shape[:place] + shape[place + 1 :]
    if targets.shape != wanted:
        raise KexueValueError(
            f"target has shape {targets.shape}, but {'probabilities' if weighs else 'class ids'} need {wanted}, "
            f"for x has shape {shape}"
        )

    def loss_of_chunk(rows: np.ndarray, chunk: np.ndarray) -> Any:
        if return_grad:
            value, grad = loss(rows, chunk, return_grad=True, **options)
            return np.asarray(value), grad
        return np.asarray(loss(rows, chunk, **options))

    dtype = result_dtype(x, targets if weighs else None)
    return apply_rows(
        loss_of_chunk,
        ("(n),(n)" if weighs else "(n),()") + ("->(),(n)" if return_grad else "->()"),
        x,
        targets,
        axis=axis,
        output_dtypes=[dtype] * (1 + return_grad),
    )


@overload
def softmax_loss(
    x: ArrayLike, target: ArrayLike, *, axis: int = ..., return_grad: Literal[True]
) -> tuple[Any, Any]: ...
@overload
def softmax_loss(x: ArrayLike, target: ArrayLike, *, axis: int = ..., return_grad: bool = ...) -> Any: ...
@same_kind
def softmax_loss(x: ArrayLike, target: ArrayLike, *, axis: int = -1, return_grad: bool = False) -> Any:
    """The cross-entropy of a softmax: logsumexp(x) - x[target], a number for each row.

    Parameters
    ----------
    x : array_like, shape (..., m)
        Logits.
    target : array_like
        Integers, of the shape of `x` without the axis: the class ids, 0 to m - 1. Or floating-point numbers, of the
        shape of `x`: probabilities t >= 0, and the loss is -sum(t log_softmax(x)); they need not sum to 1. The dtype
        decides.
    axis : int
        The axis along which the rows run.
    return_grad : bool
        Also return the gradient by the logits.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        For class ids within a few ulp, also where the target dominates and the loss is next to 0.
    grad : ndarray, shape (..., m)
        With `return_grad`: of the losses' sum, softmax(x) - target.

    Raises
    ------
    KexueValueError
        If a class id is out of range, a probability is negative or NaN, or a shape does not fit.
    TypeError
        If `target` holds neither integers nor real numbers.

    See Also
    --------
    log_softmax, taylor_softmax_loss

    Notes
    -----
    Linear time, one exponential an entry (two with the gradient). Means, weights and masks over rows are NumPy's:
    ``kexue.softmax_loss(x, y)[mask].mean()``. Dask arrays stay lazy: bad targets are found by ``compute()``.

    References
    ----------
    J. S. Bridle, "Probabilistic Interpretation of Feedforward Classification Network Outputs", 1990,
    doi:10.1007/978-3-642-76153-9_28.

    Examples
    --------
    >>> import kexue
    >>> kexue.softmax_loss([[0.0, 1.0, 2.0], [3.0, 0.0, 0.0]], [2, 0])
    array([0.40760596, 0.09492296])
    >>> loss, grad = kexue.softmax_loss([0.0, 0.0], [0.25, 0.75], return_grad=True)
    >>> grad
    array([ 0.25, -0.25])
    """
    if is_lazy(x, target):
        return _loss_lazily(softmax_loss, x, target, axis, return_grad)
    rows, axis = _axis_last("x", x, axis)
    targets = as_array("target", target)
    if targets.dtype.kind == "f":
        weights = as_real("target", targets)
        if weights.ndim != rows.ndim or np.moveaxis(weights, axis, -1).shape != rows.shape:
            raise KexueValueError(
                f"target has shape {weights.shape}, but probabilities need the shape of x, {np.shape(x)}; "
                "class ids must be integers"
            )
        first_bad("target", weights, lambda a: ~(a >= 0) | np.isinf(a), "is {value}, not a probability")
        dtype = result_dtype(rows, weights)
        rows, weights = rows.astype(dtype, copy=False), np.moveaxis(weights, axis, -1).astype(dtype, copy=False)
        logs = log_softmax(rows)
        # Where the target is 0, the logarithm may be -inf.
        terms = np.multiply(weights, logs, out=np.zeros(rows.shape, dtype), where=weights > 0)
        loss = (0 - terms.sum(axis=-1, dtype=np.float64)).astype(dtype)
        if not return_grad:
            return loss[()]
        grad = -log_softmax_vjp(logs, weights)
    else:
        ids = _target_ids(targets, rows.shape[:-1], rows.shape[-1])[..., None]
        logs = log_softmax(rows)
        loss = 0 - np.take_along_axis(logs, ids, -1)[..., 0]
        if not return_grad:
            return loss[()]
        grad = np.exp(logs)
        # Minus one at the target; expm1 keeps the digits where the target dominates.
        np.put_along_axis(grad, ids, np.expm1(-loss)[..., None], -1)
    return loss[()], np.moveaxis(grad, -1, axis)


@overload
def taylor_softmax_loss(
    x: ArrayLike,
    target: ArrayLike,
    n: int = ...,
    *,
    axis: int = ...,
    monotone: bool = ...,
    margin: float = ...,
    return_grad: Literal[True],
) -> tuple[Any, Any]: ...
@overload
def taylor_softmax_loss(
    x: ArrayLike,
    target: ArrayLike,
    n: int = ...,
    *,
    axis: int = ...,
    monotone: bool = ...,
    margin: float = ...,
    return_grad: bool = ...,
) -> Any: ...
@same_kind
def taylor_softmax_loss(
    x: ArrayLike,
    target: ArrayLike,
    n: int = 2,
    *,
    axis: int = -1,
    monotone: bool = False,
    margin: float = 0.0,
    return_grad: bool = False,
) -> Any:
    """The cross-entropy of a Taylor softmax: -log(taylor_softmax(x)[target]), a number for each row.

    Parameters
    ----------
    x : array_like, shape (..., m)
        Logits, finite.
    target : array_like of int, shape (...)
        The class ids, 0 to m - 1.
    n : int
        The order, even and at least 2.
    axis : int
        The axis along which the rows run.
    monotone : bool
        As for `taylor_softmax`.
    margin : float
        Subtracted from the target's logit first (the soft margin of the paper's SM-Taylor softmax), finite.
    return_grad : bool
        Also return the gradient by the logits.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
    grad : ndarray, shape (..., m)
        With `return_grad`: of the losses' sum.

    Raises
    ------
    KexueValueError
        If `n` is odd, less than 2 or more than 1000, a class id is out of range, `margin` is not finite, or a shape
        does not fit.
    TypeError
        If `n` is no integer or `target` does not hold integers.

    See Also
    --------
    taylor_softmax, softmax_loss

    Notes
    -----
    n steps an entry (3 n with the gradient). Dask arrays stay lazy.

    References
    ----------
    K. Banerjee et al., "Exploring Alternatives to Softmax Function", arXiv:2011.11538.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.taylor_softmax_loss([-4.0, -1.0, 0.0, 0.5, 2.0], 4))
    0.9650808960435872
    """
    n = _even_order(n)
    if not math.isfinite(margin):
        raise KexueValueError(f"margin must be finite, got {margin}")
    if is_lazy(x, target):
        return _loss_lazily(taylor_softmax_loss, x, target, axis, return_grad, n=n, monotone=monotone, margin=margin)
    given, axis = _axis_last("x", x, axis)
    ids = _target_ids(target, given.shape[:-1], given.shape[-1])[..., None]
    # In float64 throughout: a probability that float32 cannot hold has a logarithm that it can.
    rows = given.astype(np.float64)
    if margin:
        np.put_along_axis(rows, ids, np.take_along_axis(rows, ids, -1) - margin, -1)
    p = taylor_softmax(rows, n, monotone=monotone)
    at_target = np.take_along_axis(p, ids, -1)
    without = np.array(p)
    np.put_along_axis(without, ids, 0, -1)
    others = without.sum(axis=-1)
    # Near 1 the logarithm is that of the others' sum.
    with np.errstate(divide="ignore"):
        loss = np.where(others < 0.5, -np.log1p(-np.minimum(others, 0.5)), -np.log(at_target[..., 0]))
    loss = loss.astype(given.dtype)
    if not return_grad:
        return loss[()]
    upstream = np.zeros_like(p)
    np.put_along_axis(upstream, ids, -1 / at_target, -1)
    grad = taylor_softmax_vjp(rows, upstream, n, monotone=monotone).astype(given.dtype)
    return loss[()], np.moveaxis(grad, -1, axis)
