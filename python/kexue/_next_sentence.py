"""Decisions from the scores of a next-sentence model: labels of texts, of pairs, and the best of each group."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_integer
from kexue._errors import KexueValueError, first_bad, require_finite, require_nonnegative
from kexue._ufuncs import softplus_grad

__all__ = [
    "SamplesContrastResult",
    "apply_thresholds",
    "candidates_contrast",
    "grouped_argmax",
    "nsp_scores",
    "samples_contrast",
]

# A product of a count and a share is this much too small at most, so that 0.29 of 100 is 29.
_ROUNDING = 1 + 4 * np.finfo(np.float64).eps

# Integer ids that span up to this many times their number are looked up in a table of their span.
_SPAN = 4


def _require_no_nan(name: str, array: np.ndarray) -> None:
    first_bad(name, array, np.isnan)


@same_kind
def nsp_scores(logits: ArrayLike, *, is_next: int = 0) -> np.ndarray | np.generic:
    """The probability that the second text follows the first, from a next-sentence model's two logits.

    Parameters
    ----------
    logits : array_like, shape (..., 2)
        Of IsNext and NotNext. One of a pair may be infinite.
    is_next : {0, 1}
        The column of IsNext: 0 in BERT.

    Returns
    -------
    ndarray or scalar, shape (...)
        ``softmax(logits)[..., is_next]``, in [0, 1]. float32 if `logits` is float32, else float64.

    Raises
    ------
    KexueValueError
        If the last axis is not of length 2, an entry is NaN, both of a pair are the same infinity, or `is_next` is
        neither 0 nor 1.
    TypeError
        If `logits` does not hold real numbers, or `is_next` is no integer.

    See Also
    --------
    candidates_contrast, samples_contrast, grouped_argmax : what is decided by the scores.

    Notes
    -----
    sigma(l_is - l_not), without overflow whatever the logits; the difference is taken in float64. Linear time. The
    score of a pair near certainty is 1 to rounding, and pairs are tied then; the decisions ask for the order alone,
    so differences of logits will do for them too.

    References
    ----------
    Y. Sun, Y. Zheng, C. Hao, H. Qiu, "NSP-BERT: a prompt-based few-shot learner through an original pre-training task",
    arXiv:2109.03564.

    Examples
    --------
    >>> import kexue
    >>> kexue.nsp_scores([[2.0, 0.0], [0.0, 2.0], [-1e4, 1e4]]).round(6)
    array([0.880797, 0.119203, 0.      ])
    """
    array = as_real("logits", logits)
    if array.ndim == 0 or array.shape[-1] != 2:
        raise KexueValueError(f"logits must have a last axis of length 2, but its shape is {array.shape}")
    column = check_integer("is_next", is_next, 0, 1)
    with np.errstate(invalid="ignore", over="ignore"):
        difference = np.subtract(array[..., column], array[..., 1 - column], dtype=np.float64)
    undefined = np.isnan(difference)
    if undefined.any():
        _require_no_nan("logits", array)
        pair = np.unravel_index(int(undefined.argmax()), undefined.shape)
        both = " and ".join(f"logits[{', '.join(map(str, (*pair, side)))}]" for side in (0, 1))
        raise KexueValueError(f"{both} are both {array[pair][0]}; logits has shape {array.shape}")
    with np.errstate(under="ignore"):
        return np.asarray(softplus_grad(difference)).astype(array.dtype, copy=False)[()]


@same_kind
def candidates_contrast(scores: ArrayLike) -> np.ndarray | np.generic:
    """The label of each text: that of its best candidate.

    One prompt is written for each label ("This is about sports."), and the model scores each with the text.

    Parameters
    ----------
    scores : array_like, shape (..., C)
        A score of each label, such as `nsp_scores`; higher is better, and infinities are allowed.

    Returns
    -------
    ndarray or scalar of int64, shape (...)
        The index of the highest score, and of ties the first.

    Raises
    ------
    KexueValueError
        If an entry is NaN, or there are no labels.
    TypeError
        If `scores` does not hold real numbers.

    See Also
    --------
    grouped_argmax : candidates that differ in number.

    Notes
    -----
    Linear time.

    References
    ----------
    Y. Sun, Y. Zheng, C. Hao, H. Qiu, "NSP-BERT: a prompt-based few-shot learner through an original pre-training task",
    arXiv:2109.03564.

    Examples
    --------
    >>> import kexue
    >>> kexue.candidates_contrast([[0.2, 0.9, 0.4], [0.7, 0.1, 0.7]])
    array([1, 0])
    """
    array = as_real("scores", scores)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise KexueValueError(f"scores must have a last axis of one label at least, but its shape is {array.shape}")
    # NumPy's argmax stops at a NaN, so a bad row shows in what it chose.
    labels = np.argmax(array, axis=-1, keepdims=True)
    if np.isnan(np.take_along_axis(array, labels, axis=-1)).any():
        _require_no_nan("scores", array)
    return labels[..., 0].astype(np.int64, copy=False)[()]


@dataclass(frozen=True, eq=False)
class SamplesContrastResult:
    """What `samples_contrast` gives. Unpacks to labels and thresholds.

    Attributes
    ----------
    labels : ndarray of int64, shape (N,)
    thresholds : ndarray, shape (C - 1,)
        For `apply_thresholds`: the highest score of each label but the last, in rising order; of a label without
        scores, that of the label before, or -inf.

    See Also
    --------
    samples_contrast

    Examples
    --------
    >>> import kexue
    >>> labels, thresholds = kexue.samples_contrast([0.9, 0.2, 0.5])
    >>> labels, thresholds
    (array([1, 0, 1]), array([0.2]))
    """

    labels: np.ndarray
    thresholds: np.ndarray

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter((self.labels, self.thresholds))


@same_kind
def samples_contrast(scores: ArrayLike, proportions: int | ArrayLike = 2) -> SamplesContrastResult:
    """Labels of pairs by the rank of their scores, when it is known how many pairs have each label.

    Of a pair of texts there is one score, and a zero-shot model does not say from where on the pair is "similar". The
    batch does: the scores are sorted, and cut into as many groups as there are labels.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Such as `nsp_scores`. Infinities are allowed.
    proportions : int or array_like, shape (C,)
        The number C of labels, which are equally frequent; or how frequent each one is, as shares or as counts of any
        total, zeros included. Label 0 is that of the lowest scores, C - 1 that of the highest.

    Returns
    -------
    SamplesContrastResult
        `labels`, int64, shape (N,), and `thresholds`, shape (C - 1,), float32 if `scores` is float32, else float64.

    Raises
    ------
    KexueValueError
        If a score is NaN; or `proportions` has a negative or infinite entry, or a sum of 0; or there are fewer scores
        than labels (of a proportion above 0).
    TypeError
        If `scores` or `proportions` does not hold real numbers.

    See Also
    --------
    apply_thresholds : the same decision for further scores.

    Notes
    -----
    A label gets N times its proportion, rounded down, and the last label whose proportion is not 0 gets the rest: of
    equally frequent ones, each gets N // C. Of scores that are tied at a cut, the first in the batch get the lower
    label, as a stable sort has it; `apply_thresholds` gives it to all of them, and is otherwise the same. O(N log C)
    time, O(N log N) with such ties.

    References
    ----------
    Y. Sun, Y. Zheng, C. Hao, H. Qiu, "NSP-BERT: a prompt-based few-shot learner through an original pre-training task",
    arXiv:2109.03564.

    Examples
    --------
    >>> import kexue
    >>> scores = [0.9, 0.2, 0.5, 0.7, 0.1, 0.95, 0.6, 0.3]
    >>> labels, thresholds = kexue.samples_contrast(scores)
    >>> labels, thresholds
    (array([1, 0, 0, 1, 0, 1, 1, 0]), array([0.5]))
    >>> kexue.samples_contrast(scores, [0.5, 0.25, 0.25]).labels
    array([2, 0, 0, 1, 0, 2, 1, 0])
    """
    array = as_real("scores", scores, ndim=1)
    _require_no_nan("scores", array)
    sizes = _group_sizes(proportions, len(array))
    ends = np.cumsum(sizes)[:-1]
    last = np.maximum(ends - 1, 0)
    ranked = np.partition(array, np.unique(last))
    thresholds = np.where(ends > 0, ranked[last], -np.inf).astype(array.dtype, copy=False)
    labels = np.asarray(np.searchsorted(thresholds, array, side="left"), dtype=np.int64)
    if not np.array_equal(np.bincount(labels, minlength=len(sizes)), sizes):  # ties on both sides of a cut
        labels[np.argsort(array, kind="stable")] = np.repeat(np.arange(len(sizes)), sizes)
    return SamplesContrastResult(labels, thresholds)


def _group_sizes(proportions: int | ArrayLike, n: int) -> np.ndarray:
    if as_array("proportions", proportions).ndim == 0:
        labels = check_integer("proportions", proportions, 1)
        if labels > n:  # before memory is taken for so many
            raise KexueValueError(f"scores has {n} entries, fewer than the {labels} labels of proportions")
        shares = np.ones(labels)
    else:
        shares = as_real("proportions", proportions, ndim=1, dtype=np.float64)
        require_finite("proportions", shares)
        require_nonnegative("proportions", shares)
    (used,) = np.nonzero(shares)
    if not len(used):
        raise KexueValueError(f"proportions must have an entry above 0, but is {shares.tolist()}")
    if n < len(used):
        raise KexueValueError(f"scores has {n} entries, fewer than the {len(used)} labels of proportions")
    shares = shares / shares.max()  # whose sum does not overflow
    sizes = np.floor(n * shares / shares.sum() * _ROUNDING).astype(np.int64)
    sizes[used[-1]] = n - sizes[: used[-1]].sum()
    return sizes


@same_kind
def apply_thresholds(scores: ArrayLike, thresholds: ArrayLike) -> np.ndarray | np.generic:
    """Labels of scores by thresholds, such as `samples_contrast` found on another batch.

    Parameters
    ----------
    scores : array_like, any shape
        Infinities are allowed.
    thresholds : array_like, shape (C - 1,)
        In rising order; repeated ones leave a label out, and so does -inf.

    Returns
    -------
    ndarray or scalar of int64
        The number of thresholds below each score, which is a label from 0 to C - 1. A score equal to a threshold has
        the lower label.

    Raises
    ------
    KexueValueError
        If a score or a threshold is NaN, or a threshold is below the one before.
    TypeError
        If `scores` or `thresholds` does not hold real numbers.

    See Also
    --------
    samples_contrast

    Notes
    -----
    O(N log C) time.

    References
    ----------
    Y. Sun, Y. Zheng, C. Hao, H. Qiu, "NSP-BERT: a prompt-based few-shot learner through an original pre-training task",
    arXiv:2109.03564.

    Examples
    --------
    >>> import kexue
    >>> kexue.apply_thresholds([0.1, 0.5, 0.6, 0.95], [0.5, 0.9])
    array([0, 0, 1, 2])
    """
    array, limits = as_real("scores", scores), as_real("thresholds", thresholds, ndim=1)
    _require_no_nan("scores", array)
    _require_no_nan("thresholds", limits)
    falls = limits[1:] < limits[:-1]
    if falls.any():
        bad = int(falls.argmax())
        raise KexueValueError(
            f"thresholds[{bad + 1}] is {limits[bad + 1]}, below thresholds[{bad}], which is {limits[bad]}: "
            "they must be in rising order"
        )
    return np.asarray(np.searchsorted(limits, array, side="left"), dtype=np.int64)[()]


@same_kind
def grouped_argmax(scores: ArrayLike, groups: ArrayLike | Sequence[Hashable]) -> np.ndarray:
    """The index of the best score of each group: what to link each mention to, when mentions have lists of candidates.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Such as `nsp_scores`. Infinities are allowed.
    groups : array_like or sequence of hashable objects, length N
        To which group each score belongs: numbers, strings, or in a list anything that a dictionary takes, tuples
        included. Scores of a group need not stand together.

    Returns
    -------
    ndarray of int64, shape (number of groups,)
        Indices into `scores`, of ties the first, for one group after the other in the order in which they first appear;
        so ``groups[result]`` are the groups.

    Raises
    ------
    KexueValueError
        If a score is NaN, or an id is (it is equal to none), or the lengths differ.
    TypeError
        If `scores` does not hold real numbers, or an id cannot be hashed.

    See Also
    --------
    candidates_contrast : as many candidates each.

    Notes
    -----
    Linear time. Arrays of integers that are not far apart are the fastest ids; wide apart, they are sorted, and all
    other ids go through a dictionary.

    References
    ----------
    Y. Sun, Y. Zheng, C. Hao, H. Qiu, "NSP-BERT: a prompt-based few-shot learner through an original pre-training task",
    arXiv:2109.03564.

    Examples
    --------
    >>> import kexue
    >>> groups = ["Paris", "Paris", "Mercury", "Mercury", "Mercury", "Paris"]
    >>> kexue.grouped_argmax([0.2, 0.7, 0.1, 0.8, 0.3, 0.7], groups)
    array([1, 3])
    """
    array = as_real("scores", scores, ndim=1)
    _require_no_nan("scores", array)
    codes, n_codes = _group_codes(groups, len(array))
    best = np.full(n_codes, -np.inf, dtype=array.dtype)
    np.maximum.at(best, codes, array)
    (winners,) = np.nonzero(array == best[codes])
    # Where an index is repeated NumPy keeps the last value: from back to front, the first of the ties.
    chosen, first = np.empty((2, n_codes), dtype=np.int64)
    chosen[codes[winners[::-1]]] = winners[::-1]
    first[codes[::-1]] = np.arange(len(array) - 1, -1, -1)
    return chosen[np.argsort(first)]


def _group_codes(groups: Any, n: int) -> tuple[np.ndarray, int]:
    """Numbers from 0 on for the ids, all of them in use, and how many these are."""
    if hasattr(groups, "dtype"):
        groups = np.asarray(groups)
        if groups.ndim != 1:
            raise KexueValueError(f"groups must have 1 dimension, but its shape is {groups.shape}")
    elif not hasattr(type(groups), "__len__"):
        raise TypeError(f"groups must be a sequence of ids, not {type(groups).__name__}")
    if len(groups) != n:
        raise KexueValueError(f"groups has {len(groups)} entries, but scores has {n}")
    if isinstance(groups, np.ndarray) and groups.dtype.kind in "iu" and n:
        least, span = int(groups.min()), int(groups.max()) - int(groups.min()) + 1
        if span > _SPAN * n:
            distinct, codes = np.unique(groups, return_inverse=True)
            return codes, len(distinct)
        wide = groups.astype(np.uint64 if groups.dtype.kind == "u" else np.int64)  # int8's 127 - -128 is not one
        offsets = (wide - least).astype(np.intp)
        present = np.zeros(span, dtype=bool)
        present[offsets] = True
        return (np.cumsum(present) - 1)[offsets], int(np.count_nonzero(present))
    ids = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    try:
        numbers = dict(zip(dict.fromkeys(ids), count(), strict=False))
    except TypeError as error:
        raise TypeError(f"groups must hold hashable ids: {error}") from None
    if any(key != key for key in numbers):
        place = next(place for place, key in enumerate(ids) if key != key)
        raise KexueValueError(f"groups[{place}] is {ids[place]}, which is not equal to itself")
    return np.fromiter(map(numbers.__getitem__, ids), dtype=np.intp, count=n), len(numbers)
