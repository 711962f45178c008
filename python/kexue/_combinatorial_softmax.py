"""Elementary symmetric polynomials in the log domain, and the softmax over sets of labels."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _combinatorial
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_real, check_axis, check_integer, result_dtype
from kexue._errors import InternalError, KexueValueError, first_bad

__all__ = ["combinatorial_predict", "combinatorial_softmax_loss", "log_esp"]


class _Scores:
    """Scores with the axis at the end, as given and as the core's rows."""

    def __init__(
        self, scores: ArrayLike, axis: int, dtype: np.dtype | None = None, mask: ArrayLike | None = None
    ) -> None:
        self.array = as_real("scores", scores, dtype=dtype)
        if self.array.ndim == 0:
            raise KexueValueError("scores must have at least 1 dimension, but it is a scalar")
        self.axis = check_axis("scores", axis, self.array.ndim)
        if mask is not None:
            self.array = np.where(_mask(mask, self.array), self.array, self.array.dtype.type(-np.inf))
        self.lines = np.moveaxis(self.array, self.axis, -1)
        self.batch, self.n = self.lines.shape[:-1], self.lines.shape[-1]

    def broadcast_to(self, batch: tuple[int, ...]) -> None:
        if batch != self.batch:
            self.lines, self.batch = np.broadcast_to(self.lines, (*batch, self.n)), batch

    def solve(
        self,
        counts: np.ndarray,
        *,
        targets: np.ndarray | None = None,
        fillers: np.ndarray | None = None,
        return_grad: bool,
        workers: int | None,
    ) -> Any:
        """What the core computes of the rows; counts and fillers have the batch's shape, or one item."""
        rows = math.prod(self.batch)
        values = as_contiguous(self.lines).reshape(rows, self.n)
        value = np.empty(rows, dtype=values.dtype)
        grad = np.empty_like(values) if return_grad else None
        if rows and not _combinatorial.combinatorial(values, targets, counts, fillers, value, grad, workers):
            first_bad("scores", self.array, lambda a: ~(a < np.inf))
            raise InternalError("the combinatorial softmax refuses what was checked")
        beyond = ~np.isfinite(value)
        if beyond.any():
            present = np.count_nonzero(values > -np.inf, axis=1)
            if targets is None:
                beyond &= (value != -np.inf) | (np.broadcast_to(counts, rows) <= present)
            if beyond.any():
                place = ", ".join(map(str, np.unravel_index(int(beyond.argmax()), self.batch)))
                raise OverflowError(f"the sum of scores{place and f' in row {place}'} is beyond {values.dtype}")
        loss = value.reshape(self.batch)[()]
        if grad is None:
            return loss
        shaped = grad.reshape(*self.batch, self.n)
        # Behind more dimensions than it was given with, a negative axis stays where it is.
        return loss, np.moveaxis(shaped, -1, self.axis - self.array.ndim)


def _mask(mask: ArrayLike, scores: np.ndarray) -> np.ndarray:
    allowed = as_array("mask", mask)
    if allowed.dtype != bool:
        raise TypeError(f"mask must be boolean, True where a score takes part, but its dtype is {allowed.dtype}")
    try:
        return np.broadcast_to(allowed, scores.shape)
    except ValueError:
        raise KexueValueError(
            f"mask has shape {allowed.shape}, which does not broadcast to {scores.shape}, the shape of scores"
        ) from None


def _counts(k: ArrayLike) -> np.ndarray:
    if isinstance(k, int) and not isinstance(k, bool):
        return np.array(min(check_integer("k", k, 0), np.iinfo(np.int64).max), dtype=np.int64)
    counts = as_array("k", k)
    if counts.dtype.kind not in "iu" and counts.size:
        raise TypeError(f"k must be an integer or an array of integers, but its dtype is {counts.dtype}")
    first_bad("k", counts, lambda a: a < 0, "is {value}, but must be at least 0")
    return np.minimum(counts, np.iinfo(np.int64).max).astype(np.int64)


def _common_batch(name: str, shape: tuple[int, ...], scores: _Scores) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(scores.batch, shape)
    except ValueError:
        raise KexueValueError(
            f"{name} has shape {shape}, which does not broadcast with {scores.batch}, the shape "
            f"{scores.array.shape} of scores without the axis"
        ) from None


def _spread(numbers: np.ndarray, batch: tuple[int, ...]) -> np.ndarray:
    if numbers.size == 1:
        return numbers.reshape(1)
    return as_contiguous(np.broadcast_to(numbers, batch)).reshape(-1)


@overload
def log_esp(
    scores: ArrayLike, k: ArrayLike, *, axis: int = ..., return_grad: Literal[True], workers: int | None = ...
) -> tuple[Any, np.ndarray]: ...
@overload
def log_esp(
    scores: ArrayLike, k: ArrayLike, *, axis: int = ..., return_grad: bool = ..., workers: int | None = ...
) -> Any: ...
@same_kind
def log_esp(
    scores: ArrayLike, k: ArrayLike, *, axis: int = -1, return_grad: bool = False, workers: int | None = None
) -> Any:
    """The logarithm of the elementary symmetric polynomial e_k of exp(scores).

    e_k is the sum, over all sets of k items, of the products of their exp(score): the normaliser of a softmax over
    sets. Its gradient by a score is the probability that the item is in the set.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        Finite, or -inf for an item that is absent.
    k : int or array_like of int
        The size of the sets, not negative. An array is broadcast with the shape of `scores` without the axis:
        ``log_esp(scores[..., None, :], np.arange(K + 1))`` has all orders.
    axis : int
        The axis along which the items run.
    return_grad : bool
        Also return the gradient by the scores.
    workers : int, optional
        The number of threads; None: see `threads`.

    Returns
    -------
    value : ndarray or scalar, shape (...)
        0 for k = 0, and -inf where fewer than k items are present.
    grad : ndarray, shape (..., n)
        With `return_grad`: the probabilities that an item is in the set, which sum to k; small ones are accurate
        relatively. 0 where the value is -inf.

    Raises
    ------
    KexueValueError
        If a score is NaN or +inf, `k` is negative, or shapes do not fit.
    TypeError
        If `scores` holds no real numbers or `k` no integers.
    OverflowError
        If the value is beyond the format.

    See Also
    --------
    combinatorial_softmax_loss : the loss made of it.
    logsumexp : k = 1.

    Notes
    -----
    O(n min(k, n - k)) at most, and much less where scores differ widely. Only positive terms are added (Newton's
    identities lose all digits at n = 40, k = 20), and nothing overflows: 5000 scores, k = 2500, of 1e300 either way are
    fine. The value is within 1e-13 + 1e-15 n of its excess over the sum of the k largest scores, and an ulp or two of
    that sum.

    References
    ----------
    J. Su, "Softmax for multi-label classification", https://kexue.fm/archives/7359. The mode of a sum of independent
    trials: J. N. Darroch, Ann. Math. Statist. 35 (1964), doi:10.1214/aoms/1177703287.

    Examples
    --------
    >>> import kexue
    >>> kexue.log_esp([1.2, -0.7, 0.3, 2.5, -1.4], [1, 2, 3]).round(6)
    array([2.867652, 4.304343, 4.627652])
    >>> value, marginals = kexue.log_esp([0.0, 0.0, 0.0, 0.0], 3, return_grad=True)
    >>> marginals
    array([0.75, 0.75, 0.75, 0.75])
    """
    rows, counts = _Scores(scores, axis), _counts(k)
    rows.broadcast_to(_common_batch("k", counts.shape, rows))
    return rows.solve(_spread(counts, rows.batch), return_grad=return_grad, workers=workers)


def _targets(targets: ArrayLike, rows: _Scores) -> np.ndarray:
    given = as_array("targets", targets)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"targets must hold zeros and ones, but its dtype is {given.dtype}")
    if given.shape != rows.array.shape:
        raise KexueValueError(f"targets has shape {given.shape}, but scores has {rows.array.shape}")
    wanted = given != 0
    if given.dtype != bool:
        first_bad("targets", given, lambda a: wanted & (a != 1), "is {value}, but must be 0 or 1")
    lines = np.ascontiguousarray(np.moveaxis(wanted, rows.axis, -1))
    if wanted.any():
        first_bad(
            "targets", wanted, lambda a: a & np.isneginf(rows.array), "is {value} where the score is masked (-inf)"
        )
    return lines


def _labels_within(counts: np.ndarray, most: int) -> None:
    above = counts > most
    if not above.any():
        return
    index = np.unravel_index(int(above.argmax()), counts.shape)
    place = f"targets[{', '.join(str(i) for i in index)}]" if index else "targets"
    raise KexueValueError(f"{place} has {counts[index]} ones, more than max_labels = {most}")


def _fillers(filler: ArrayLike | None) -> np.ndarray:
    fillers = as_real("filler", 0.0 if filler is None else filler, dtype=np.float64)
    first_bad("filler", fillers, lambda a: ~np.isfinite(a))
    return fillers


@overload
def combinatorial_softmax_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    max_labels: int | None = ...,
    filler: ArrayLike | None = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def combinatorial_softmax_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    max_labels: int | None = ...,
    filler: ArrayLike | None = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def combinatorial_softmax_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    max_labels: int | None = None,
    filler: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """The cross-entropy of a softmax over sets of labels: a set's score is the sum of its labels' scores.

    Without `max_labels` the sets are all those of as many labels as the row's targets have, and the loss is
    log e_k(exp(scores)) - sum(scores of the targets). With it, the sets are all those of at most `max_labels`, and each
    place that stays empty has the score `filler`.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        Finite, or -inf for a label that is masked.
    targets : array_like, shape (..., n)
        0 and 1 (or booleans), of the shape of `scores`.
    max_labels : int, optional
        The largest size of a set.
    filler : float or array_like, shape (...), optional
        With `max_labels`: the score of an empty place, finite; 0 by default. Labels above it are predicted.
    mask : array_like of bool, optional
        True where a label takes part; broadcast to the shape of `scores`.
    axis : int
        The axis along which the labels run.
    return_grad : bool
        Also return the gradient by the scores.
    workers : int, optional
        The number of threads; None: see `threads`.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        Not negative; accurate relatively where the targets outweigh all other sets and the loss is next to 0.
    grad : ndarray, shape (..., n)
        With `return_grad`: of the losses' sum, P(label in set) - target; 0 where masked. By the filler, it is
        ``-grad.sum(axis)``.

    Raises
    ------
    KexueValueError
        If a score is NaN or +inf, a target is not 0 or 1, or is 1 where the score is masked, a row has more ones than
        `max_labels`, `filler` is not finite or comes without `max_labels`, or shapes do not fit.
    TypeError
        If an argument holds no real numbers, or `mask` no booleans.
    OverflowError
        If a loss is beyond the format.

    See Also
    --------
    log_esp : the normaliser, and the probabilities of labels.
    combinatorial_predict : the best set.

    Notes
    -----
    O(n min(k, n - k)) at most, k the size of the sets; see `log_esp`.

    References
    ----------
    J. Su, "Softmax for multi-label classification", https://kexue.fm/archives/7359.

    Examples
    --------
    >>> import kexue
    >>> scores = [1.2, -0.7, 0.3, 2.5, -1.4]
    >>> round(float(kexue.combinatorial_softmax_loss(scores, [1, 0, 0, 1, 1])), 6)
    2.327652
    >>> loss, grad = kexue.combinatorial_softmax_loss(
    ...     scores, [1, 0, 0, 1, 0], max_labels=3, filler=0.5, return_grad=True
    ... )
    >>> round(float(loss), 6)
    1.422661
    >>> grad.round(4)
    array([-0.3653,  0.1731,  0.3982, -0.1316,  0.0901])
    """
    rows = _Scores(scores, axis, result_dtype(scores, filler), mask)
    wanted = _targets(targets, rows)
    counts = np.count_nonzero(wanted, axis=-1).astype(np.int64)
    if max_labels is None:
        if filler is not None:
            raise KexueValueError("filler needs max_labels: without it every set has as many labels as the targets")
        fillers, numbers = None, counts
    else:
        numbers = np.array(check_integer("max_labels", max_labels, 0, 2**62), dtype=np.int64)
        _labels_within(counts, int(numbers))
        fillers = _fillers(filler)
        batch = _common_batch("filler", fillers.shape, rows)
        if batch != rows.batch:
            rows.broadcast_to(batch)
            wanted = as_contiguous(np.broadcast_to(wanted, (*batch, rows.n)))
        fillers = _spread(fillers, batch)
    return rows.solve(
        _spread(numbers, rows.batch),
        targets=wanted.view(np.uint8),
        fillers=fillers,
        return_grad=return_grad,
        workers=workers,
    )


@same_kind
def combinatorial_predict(
    scores: ArrayLike, k: ArrayLike, *, filler: ArrayLike | None = None, mask: ArrayLike | None = None, axis: int = -1
) -> np.ndarray:
    """The set of labels with the highest score: the k best, or with a filler those above it, at most k.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        Finite, or -inf for a label that is masked.
    k : int or array_like of int
        How many labels, not negative; an array is broadcast with the shape of `scores` without the axis.
    filler : float or array_like, shape (...), optional
        The score of an empty place, finite: labels that are not above it are left out. None: exactly k labels.
    mask : array_like of bool, optional
        True where a label takes part; broadcast to the shape of `scores`.
    axis : int
        The axis along which the labels run.

    Returns
    -------
    ndarray of bool, shape (..., n)
        True for the labels of the set; of equal scores, those that come first. Where fewer than k labels are
        present, all of these.

    Raises
    ------
    KexueValueError
        If a score is NaN or +inf, `k` is negative, `filler` is not finite, or shapes do not fit.
    TypeError
        If an argument holds no real numbers, `k` no integers or `mask` no booleans.

    See Also
    --------
    combinatorial_softmax_loss

    Notes
    -----
    O(n log n).

    References
    ----------
    J. Su, "Softmax for multi-label classification", https://kexue.fm/archives/7359.

    Examples
    --------
    >>> import kexue
    >>> kexue.combinatorial_predict([1.2, -0.7, 0.3, 2.5, -1.4], 3)
    array([ True, False,  True,  True, False])
    >>> kexue.combinatorial_predict([1.2, -0.7, 0.3, 2.5, -1.4], 3, filler=0.5)
    array([ True, False, False,  True, False])
    """
    rows, counts = _Scores(scores, axis, mask=mask), _counts(k)
    first_bad("scores", rows.array, lambda a: ~(a < np.inf))
    rows.broadcast_to(_common_batch("k", counts.shape, rows))
    threshold: Any = -np.inf
    if filler is not None:
        fillers = _fillers(filler)
        rows.broadcast_to(_common_batch("filler", fillers.shape, rows))
        threshold = fillers[..., None]
    order = np.argsort(-rows.lines, axis=-1, kind="stable")
    chosen = np.zeros(rows.lines.shape, dtype=bool)
    np.put_along_axis(chosen, order, np.arange(rows.n) < counts[..., None], axis=-1)
    chosen &= rows.lines > threshold
    return np.moveaxis(chosen, -1, rows.axis - rows.array.ndim)
