"""Contrastive and consistency losses over softmaxes: InfoNCE, R-Drop, and the symmetric divergence of two softmaxes."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _contrastive_core
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_real, check_axis, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad

__all__ = ["info_nce_loss", "r_drop_loss", "softmax_symmetric_kl"]


def _number(name: str, value: Any, least: float, *, above: bool) -> float:
    number = check_number(name, value)
    if not (number > least if above else number >= least) or math.isinf(number):
        raise KexueValueError(f"{name} must be finite and {'above' if above else 'at least'} {least:g}, got {number!r}")
    return number


def _check_scores(name: str, array: np.ndarray) -> None:
    first_bad(name, array, lambda a: ~(a < np.inf))


@overload
def info_nce_loss(
    similarities: ArrayLike,
    *,
    temperature: float = ...,
    symmetric: bool = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def info_nce_loss(
    similarities: ArrayLike,
    *,
    temperature: float = ...,
    symmetric: bool = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def info_nce_loss(
    similarities: ArrayLike,
    *,
    temperature: float = 0.05,
    symmetric: bool = False,
    return_grad: bool = False,
    workers: int | None = None,
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
    workers : int, optional
        The number of threads; None: see `threads`. The result is the same to the bit.

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
    O(n**2), one exponential an entry, in the dtype of the similarities and with sums in float64. With cosines c of
    normalised embeddings, ``c = u @ v.T``, the gradients by the embeddings are ``grad @ v`` and ``grad.T @ u``:
    `l2_normalize` and `l2_normalize_vjp`.

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
    if t < 1 / float(np.finfo(array.dtype).max):
        _check_similarities(array, t)
    batch, n = array.shape[:-2], array.shape[-1]
    matrices = array.reshape(math.prod(batch), n, n)
    if not matrices.flags.aligned or (n > 1 and matrices.strides[2] != matrices.itemsize):
        matrices = matrices.copy()
    loss = np.empty(len(matrices), array.dtype)
    grad = np.empty(matrices.shape, array.dtype) if return_grad else None
    _contrastive_core.info_nce(matrices, t, bool(symmetric), loss, grad, workers)
    if np.isnan(loss).any():
        _check_similarities(array, t)
    value = loss.reshape(batch)[()]
    return value if grad is None else (value, grad.reshape(array.shape))


def _check_similarities(array: np.ndarray, t: float) -> None:
    """Raise for the first bad place; without one, for what is too large."""
    _check_scores("similarities", array)
    apart = ~np.eye(array.shape[-1], dtype=bool)
    first_bad("similarities", array, lambda a: ~apart & np.isneginf(a), "is {value}, but a pair's own must be finite")
    raise KexueValueError(f"similarities / temperature overflows {array.dtype} for temperature = {t!r}")


class _Pair:
    """Two arrays of logits as the rows that the core takes."""

    def __init__(self, names: tuple[str, str], first: ArrayLike, second: ArrayLike, axis: int) -> None:
        self.names = names
        self.dtype = result_dtype(first, second)
        self.arrays = [as_real(name, value) for name, value in zip(names, (first, second), strict=True)]
        self.shape = self.arrays[0].shape
        if self.arrays[1].shape != self.shape:
            raise KexueValueError(f"{names[1]} has shape {self.arrays[1].shape}, but {names[0]} has {self.shape}")
        if not self.shape:
            raise KexueValueError(f"{names[0]} must have at least 1 dimension, but it is a scalar")
        self.axis = check_axis(names[0], axis, len(self.shape))
        if self.shape[self.axis] == 0:
            raise KexueValueError(f"{names[0]} has no entries along axis {self.axis}: its shape is {self.shape}")
        self.batch = self.shape[: self.axis] + self.shape[self.axis + 1 :]
        self.rows = self.rows_of(self.arrays[0]), self.rows_of(self.arrays[1])

    def rows_of(self, array: np.ndarray) -> np.ndarray:
        """Two-dimensional, with contiguous rows."""
        n = self.shape[self.axis]
        rows = np.moveaxis(array, self.axis, -1).reshape(math.prod(self.batch), n).astype(self.dtype, copy=False)
        is_fit = rows.flags.aligned and (n == 1 or rows.strides[1] == rows.itemsize)
        return rows if is_fit else rows.copy(order="C")

    def outputs(self, return_grad: bool) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
        """Of the losses, and of both gradients or None."""
        rows = self.rows[0]
        grad_1, grad_2 = (np.empty(rows.shape, self.dtype) if return_grad else None for _ in self.names)
        return np.empty(len(rows), self.dtype), grad_1, grad_2

    def shaped(self, loss: np.ndarray, *grads: np.ndarray | None) -> Any:
        """What the caller gets: scalars of a single row."""
        value = loss.reshape(self.batch)[()]
        shaped = [
            np.moveaxis(grad.reshape(*self.batch, grad.shape[1]), -1, self.axis) for grad in grads if grad is not None
        ]
        return (value, tuple(shaped)) if shaped else value

    def check(self) -> None:
        """Raise for the first logit that is not valid."""
        for name, array in zip(self.names, self.arrays, strict=True):
            _check_scores(name, array)
        one, other = self.names
        masked = np.isneginf(self.arrays[0])
        first_bad(
            other,
            self.arrays[1],
            lambda a: np.isneginf(a) != masked,
            f"is {{value}}, but {other} must be -inf where {one} is, and nowhere else",
        )
        if masked.any():
            nothing = np.broadcast_to(masked.all(axis=self.axis, keepdims=True), masked.shape)
            first_bad(one, self.arrays[0], lambda a: nothing, "is {value}, and so is all of its row")

    def overflow(self) -> OverflowError:
        return OverflowError(
            f"the numbers are too large: {self.names[0]} - {self.names[1]} or a sum is beyond {self.dtype}"
        )


@overload
def softmax_symmetric_kl(
    s: ArrayLike, t: ArrayLike, *, axis: int = ..., return_grad: Literal[True], workers: int | None = ...
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
@overload
def softmax_symmetric_kl(
    s: ArrayLike, t: ArrayLike, *, axis: int = ..., return_grad: bool = ..., workers: int | None = ...
) -> Any: ...
@same_kind
def softmax_symmetric_kl(
    s: ArrayLike, t: ArrayLike, *, axis: int = -1, return_grad: bool = False, workers: int | None = None
) -> Any:
    """KL(p, q) + KL(q, p) of p = softmax(s) and q = softmax(t): sum((p - q)(s - t)), a number for each row.

    Parameters
    ----------
    s, t : array_like, shape (..., n)
        Logits, finite, or -inf in both.
    axis : int
        The axis along which the rows run.
    return_grad : bool
        Also return the gradients by both.
    workers : int, optional
        The number of threads; None: see `threads`. The result is the same to the bit.

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
    OverflowError
        If ``s - t`` is beyond the dtype.
    TypeError
        If `s` or `t` holds no real numbers.

    See Also
    --------
    r_drop_loss

    Notes
    -----
    O(n), two exponentials an entry, in the dtype of the logits and with sums in float64: where the rows are next to
    each other, nothing is lost but what the dtype loses in ``s - t``.

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
    pair = _Pair(("s", "t"), s, t, axis)
    loss, grad_s, grad_t = pair.outputs(return_grad)
    _contrastive_core.symmetric_kl(*pair.rows, loss, grad_s, grad_t, workers)
    if np.isnan(loss).any():
        pair.check()
        raise pair.overflow()
    return pair.shaped(loss, grad_s, grad_t)


def _labels(labels: ArrayLike, pair: _Pair) -> np.ndarray:
    """Class ids or probabilities, of the right shape; their values are checked where a loss is NaN."""
    given = as_array("labels", labels)
    if given.dtype.kind == "f":
        if given.shape != pair.shape:
            raise KexueValueError(
                f"labels has shape {given.shape}, but probabilities need {pair.shape}, that of the logits"
            )
        return given
    if given.dtype.kind not in "iu":
        raise TypeError(f"labels must hold integer class ids or probabilities, but its dtype is {given.dtype}")
    if given.shape != pair.batch:
        raise KexueValueError(
            f"labels has shape {given.shape}, but class ids need that of the logits without the axis, {pair.batch}"
        )
    return given


def _check_labels(labels: np.ndarray, classes: int) -> None:
    if labels.dtype.kind == "f":
        first_bad("labels", labels, lambda a: ~(a >= 0) | np.isinf(a), "is {value}, not a probability")
    else:
        first_bad("labels", labels, lambda a: (a < 0) | (a >= classes), f"is {{value}}, not a class id below {classes}")


@overload
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = ...,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
@overload
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = ...,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def r_drop_loss(
    logits_1: ArrayLike,
    logits_2: ArrayLike,
    labels: ArrayLike,
    *,
    alpha: float = 1.0,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
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
    workers : int, optional
        The number of threads; None: see `threads`. The result is the same to the bit.

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
    OverflowError
        If ``logits_1 - logits_2`` is beyond the dtype.
    TypeError
        If `labels` holds neither integers nor floating-point numbers, or the logits no real ones.

    See Also
    --------
    softmax_loss, softmax_symmetric_kl

    Notes
    -----
    O(n), two exponentials an entry, in the dtype of the logits and with sums in float64; a small cross-entropy keeps
    its digits. `alpha` is the paper's. Where the cross-entropies are averaged, as in the code that its authors
    published, half of this loss with twice that alpha is meant.

    References
    ----------
    X. Liang et al., "R-Drop: Regularized Dropout for Neural Networks", arXiv:2106.14448.

    Examples
    --------
    >>> import kexue
    >>> round(float(kexue.r_drop_loss([0.0, 1.0, 2.0], [0.5, 1.0, 1.5], 2)), 6)
    1.151639
    """
    pair = _Pair(("logits_1", "logits_2"), logits_1, logits_2, axis)
    weight = _number("alpha", alpha, 0, above=False)
    targets = _labels(labels, pair)
    ids = weights = None
    if targets.dtype.kind == "f":
        weights = pair.rows_of(targets)
    else:
        ids = as_contiguous(targets, dtype=np.int64).reshape(-1)
    loss, grad_1, grad_2 = pair.outputs(return_grad)
    _contrastive_core.r_drop(*pair.rows, ids, weights, weight, loss, grad_1, grad_2, workers)
    if np.isnan(loss).any():
        pair.check()
        _check_labels(targets, pair.shape[pair.axis])
        raise pair.overflow()
    return pair.shaped(loss, grad_1, grad_2)
