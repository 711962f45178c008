"""Contrastive and consistency losses over softmaxes: InfoNCE, R-Drop, and the symmetric divergence of two softmaxes."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_real, result_dtype
from kexue._entropy_rows import check_axis
from kexue._errors import KexueValueError, first_bad
from kexue._softmax import softmax_loss
from kexue._ufuncs import log_softmax

__all__ = ["info_nce_loss", "r_drop_loss", "softmax_symmetric_kl"]


def _number(name: str, value: Any, least: float, *, above: bool) -> float:
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    number = float(value)
    if not (number > least if above else number >= least) or math.isinf(number):
        raise KexueValueError(f"{name} must be finite and {'above' if above else 'at least'} {least:g}, got {number!r}")
    return number


def _check_scores(name: str, array: np.ndarray) -> None:
    first_bad(name, array, lambda a: ~(a < np.inf))


@overload
def info_nce_loss(
    similarities: ArrayLike, *, temperature: float = ..., symmetric: bool = ..., return_grad: Literal[False] = ...
) -> Any: ...
@overload
def info_nce_loss(
    similarities: ArrayLike, *, temperature: float = ..., symmetric: bool = ..., return_grad: Literal[True]
) -> tuple[Any, np.ndarray]: ...
def info_nce_loss(
    similarities: ArrayLike, *, temperature: float = 0.05, symmetric: bool = False, return_grad: bool = False
) -> Any:
    """InfoNCE with the other rows of the batch as negatives: the mean of logsumexp(c_i / t) - c_ii / t over the rows i.

    Parameters
    ----------
    similarities : array_like, shape (..., n, n)
        Similarities c of n items (rows) with n others (columns), cosines usually; those of the pairs that belong
        together are on the diagonal. -inf off the diagonal is a pair that does not count as a negative.
    temperature : float
        t, positive.
    symmetric : bool
        The mean of this loss and that of the transposed matrix, as CLIP has it.
    return_grad : bool
        Also return the gradient by the similarities.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        Accurate relatively where the diagonal dominates and the loss is next to 0.
    grad : ndarray, shape (..., n, n)
        With `return_grad`: of the mean.

    Raises
    ------
    KexueValueError
        If the last two dimensions are not equal and at least 1, a similarity is NaN or +inf, one of the diagonal is
        -inf, or `temperature` is not positive and finite.
    TypeError
        If `similarities` holds no real numbers.

    See Also
    --------
    softmax_loss : the cross-entropy of other targets.

    Notes
    -----
    O(n**2), in the dtype of the similarities. With cosines c of normalised embeddings, ``c = u @ v.T``, the gradients
    by the embeddings are ``grad @ v`` and ``grad.T @ u``.

    References
    ----------
    A. van den Oord, Y. Li, O. Vinyals, "Representation Learning with Contrastive Predictive Coding", arXiv:1807.03748;
    T. Gao, X. Yao, D. Chen, "SimCSE", arXiv:2104.08821, whose temperature is 0.05.

    Examples
    --------
    >>> import kexue
    >>> cosines = [[0.9, 0.8], [0.7, 0.75]]
    >>> round(float(kexue.info_nce_loss(cosines)), 6)
    0.220095
    >>> loss, grad = kexue.info_nce_loss(cosines, temperature=1.0, return_grad=True)
    >>> grad.round(4)
    array([[-0.2375,  0.2375],
           [ 0.2438, -0.2438]])
    """
    array = as_real("similarities", similarities)
    if array.ndim < 2 or array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
        raise KexueValueError(f"similarities must have shape (..., n, n), n at least 1, but has {array.shape}")
    t = _number("temperature", temperature, 0, above=True)
    _check_scores("similarities", array)
    n = array.shape[-1]
    apart = ~np.eye(n, dtype=bool)
    first_bad("similarities", array, lambda a: ~apart & np.isneginf(a), "is {value}, but a pair's own must be finite")
    dtype = array.dtype
    with np.errstate(over="ignore"):
        logits = array / dtype.type(t) if dtype.type(t) > 0 else np.full_like(array, np.inf)
    if not (logits < np.inf).all() or not np.isfinite(np.diagonal(logits, axis1=-2, axis2=-1)).all():
        raise KexueValueError(f"similarities / temperature overflows {dtype} for temperature = {t!r}")
    ids = np.broadcast_to(np.arange(n), array.shape[:-1])
    share = 1 / (n * (1 + bool(symmetric)))
    loss: Any = 0
    grad: Any = 0
    for axis in (-1, -2) if symmetric else (-1,):
        result = softmax_loss(logits, ids, axis=axis, return_grad=return_grad)
        rows, own = result if return_grad else (result, None)
        loss = loss + np.asarray(rows).sum(axis=-1, dtype=np.float64) * share
        if own is not None:
            grad = grad + own * dtype.type(share / t)
    loss = np.asarray(loss).astype(dtype)[()]
    return (loss, grad) if return_grad else loss


def _two_logits(names: tuple[str, str], first: ArrayLike, second: ArrayLike, axis: int) -> tuple[Any, ...]:
    """Both as float64 with the axis at the end; the result's dtype; the axis."""
    dtype = result_dtype(first, second)
    arrays = [as_real(name, value) for name, value in zip(names, (first, second), strict=True)]
    if arrays[0].shape != arrays[1].shape:
        raise KexueValueError(f"{names[1]} has shape {arrays[1].shape}, but {names[0]} has {arrays[0].shape}")
    if arrays[0].ndim == 0:
        raise KexueValueError(f"{names[0]} must have at least 1 dimension, but it is a scalar")
    axis = check_axis(names[0], axis, arrays[0].ndim)
    if arrays[0].shape[axis] == 0:
        raise KexueValueError(f"{names[0]} has no entries along axis {axis}: its shape is {arrays[0].shape}")
    for name, array in zip(names, arrays, strict=True):
        _check_scores(name, array)
    masked = np.isneginf(arrays[0])
    first_bad(
        names[1],
        arrays[1],
        lambda a: np.isneginf(a) != masked,
        f"is {{value}}, but {names[1]} must be -inf where {names[0]} is, and nowhere else",
    )
    if masked.any():
        nothing = np.broadcast_to(masked.all(axis=axis, keepdims=True), masked.shape)
        first_bad(names[0], arrays[0], lambda a: nothing, "is {value}, and so is all of its row")
    lines = [np.moveaxis(array, axis, -1).astype(np.float64, copy=False) for array in arrays]
    return lines[0], lines[1], dtype, axis


def _symmetric_kl(s: np.ndarray, t: np.ndarray, return_grad: bool) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    log_p, log_q = log_softmax(s), log_softmax(t)
    # (p - q)(log p - log q) is never negative: nothing cancels, as it would in sum((p - q)(s - t)).
    ratio = np.subtract(log_p, log_q, out=np.zeros_like(log_p), where=np.isfinite(log_p))
    difference = np.copysign(np.exp(np.maximum(log_p, log_q)) * -np.expm1(-np.abs(ratio)), ratio)
    loss = (difference * ratio).sum(axis=-1)
    if not return_grad:
        return loss, ()
    p, q = np.exp(log_p), np.exp(log_q)
    by_s = difference + p * (ratio - (p * ratio).sum(axis=-1, keepdims=True))
    by_t = -difference - q * (ratio - (q * ratio).sum(axis=-1, keepdims=True))
    return loss, (by_s, by_t)


@overload
def softmax_symmetric_kl(s: ArrayLike, t: ArrayLike, *, axis: int = ..., return_grad: Literal[False] = ...) -> Any: ...
@overload
def softmax_symmetric_kl(
    s: ArrayLike, t: ArrayLike, *, axis: int = ..., return_grad: Literal[True]
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
def softmax_symmetric_kl(s: ArrayLike, t: ArrayLike, *, axis: int = -1, return_grad: bool = False) -> Any:
    """KL(p, q) + KL(q, p) of p = softmax(s) and q = softmax(t): sum((p - q)(s - t)), a number for each row.

    Parameters
    ----------
    s, t : array_like, shape (..., n)
        Logits, finite, or -inf in both.
    axis : int
        The axis along which the rows run.
    return_grad : bool
        Also return the gradients by both.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        In nats; never negative.
    (grad_s, grad_t) : tuple of ndarray, shape (..., n)
        With `return_grad`: of the sum over the rows.

    Raises
    ------
    KexueValueError
        If a logit is NaN or +inf, -inf in one of `s` and `t` alone, or everywhere in a row, or shapes do not fit.
    TypeError
        If `s` or `t` holds no real numbers.

    See Also
    --------
    r_drop_loss

    Notes
    -----
    O(n), in float64 arithmetic.

    References
    ----------
    H. Jeffreys, "An invariant form for the prior probability in estimation problems", 1946,
    doi:10.1098/rspa.1946.0056.

    Examples
    --------
    >>> import kexue
    >>> kexue.softmax_symmetric_kl([[0.0, 1.0], [2.0, 0.0]], [[1.0, 2.0], [0.0, 0.0]]).round(6)
    array([0.      , 0.761594])
    """
    first, second, dtype, axis = _two_logits(("s", "t"), s, t, axis)
    loss, grads = _symmetric_kl(first, second, return_grad)
    loss = loss.astype(dtype)[()]
    if not return_grad:
        return loss
    return loss, tuple(np.moveaxis(grad.astype(dtype, copy=False), -1, axis) for grad in grads)


def _labels(labels: ArrayLike, shape: tuple[int, ...], axis: int) -> np.ndarray:
    given = np.asarray(labels)
    if given.dtype.kind == "f":
        weights = as_real("labels", given, dtype=np.float64)
        if weights.shape != shape:
            raise KexueValueError(
                f"labels has shape {weights.shape}, but probabilities need {shape}, that of the logits"
            )
        first_bad("labels", weights, lambda a: ~(a >= 0) | np.isinf(a), "is {value}, not a probability")
        return np.moveaxis(weights, axis, -1)
    if given.dtype.kind not in "iu":
        raise TypeError(f"labels must hold integer class ids or probabilities, but its dtype is {given.dtype}")
    classes, rows = shape[axis], shape[:axis] + shape[axis + 1 :]
    if given.shape != rows:
        raise KexueValueError(
            f"labels has shape {given.shape}, but class ids need that of the logits without the axis, {rows}"
        )
    first_bad("labels", given, lambda a: (a < 0) | (a >= classes), f"is {{value}}, not a class id below {classes}")
    return given


@overload
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = ...,
    axis: int = ...,
    return_grad: Literal[False] = ...,
) -> Any: ...
@overload
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = ...,
    axis: int = ...,
    return_grad: Literal[True],
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = 1.0,
    axis: int = -1,
    return_grad: bool = False,
) -> Any:
    """R-Drop: the cross-entropies of two passes with different dropout, and alpha times the mean of their divergences.

    CE(logits_1) + CE(logits_2) + (alpha / 2) (KL(p_1, p_2) + KL(p_2, p_1)), a number for each row.

    Parameters
    ----------
    logits_1, logits_2 : array_like, shape (..., n)
        Of the two passes; finite, or -inf in both.
    labels : array_like
        Integers, of the shape of the logits without the axis: class ids, 0 to n - 1. Or floating-point numbers, of the
        shape of the logits: probabilities, as for `softmax_loss`.
    alpha : float
        The weight of the divergences' mean, not negative.
    axis : int
        The axis along which the classes run.
    return_grad : bool
        Also return the gradients by both logits.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
    (grad_1, grad_2) : tuple of ndarray, shape (..., n)
        With `return_grad`: of the losses' sum.

    Raises
    ------
    KexueValueError
        If a label is out of range or no probability, a logit is NaN or +inf, -inf in one of the logits alone or
        everywhere in a row, `alpha` is negative or not finite, or shapes do not fit.
    TypeError
        If `labels` holds neither integers nor floating-point numbers, or the logits no real ones.

    See Also
    --------
    softmax_loss, softmax_symmetric_kl

    Notes
    -----
    O(n), in float64 arithmetic. `alpha` is the paper's. Where the cross-entropies are averaged, as in the code that its
    authors published, half of this loss with twice that alpha is meant.

    References
    ----------
    X. Liang et al., "R-Drop: Regularized Dropout for Neural Networks", arXiv:2106.14448.

    Examples
    --------
    >>> import kexue
    >>> round(float(kexue.r_drop_loss([0.0, 1.0, 2.0], [0.5, 1.0, 1.5], 2)), 6)
    1.151639
    """
    first, second, dtype, axis = _two_logits(("logits_1", "logits_2"), logits_1, logits_2, axis)
    weight = _number("alpha", alpha, 0, above=False)
    shape = np.moveaxis(first, -1, axis).shape
    targets = _labels(labels, shape, axis)
    divergence, by_divergence = _symmetric_kl(first, second, return_grad)
    results = [softmax_loss(logits, targets, return_grad=return_grad) for logits in (first, second)]
    if not return_grad:
        return np.asarray(results[0] + results[1] + weight / 2 * divergence).astype(dtype)[()]
    loss = np.asarray(results[0][0] + results[1][0] + weight / 2 * divergence).astype(dtype)[()]
    grads = [own + weight / 2 * by for (_, own), by in zip(results, by_divergence, strict=True)]
    return loss, tuple(np.moveaxis(grad.astype(dtype, copy=False), -1, axis) for grad in grads)
