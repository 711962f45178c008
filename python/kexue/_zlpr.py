"""The multi-label softmax cross-entropy (ZLPR) and its relatives."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _losses
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_csr, as_real, check_axis, check_number, is_sparse, result_dtype
from kexue._errors import KexueValueError, first_bad

# ---- arguments ----


class _Rows:
    """Scores, and what comes with them, as the rows that the core takes."""

    def __init__(
        self,
        scores: ArrayLike,
        labels: np.ndarray | None,
        threshold: ArrayLike | None,
        mask: ArrayLike | None,
        axis: int,
        *,
        name: str = "scores",
        binary: bool = False,
    ) -> None:
        self.name = name
        dtype = result_dtype(scores, labels, threshold)
        self.scores = _scores(name, scores, dtype)
        self.axis = check_axis(name, axis, self.scores.ndim)
        self.batch = self.scores.shape[: self.axis] + self.scores.shape[self.axis + 1 :]
        self.mask = None if mask is None else _flags("mask", mask, "a boolean: True takes part")
        if labels is not None and labels.dtype.kind == "f":
            labels = labels.astype(dtype, copy=False)
            if binary:
                first_bad("targets", labels, lambda t: (t != 0) & (t != 1), "is {value}, neither 0 nor 1")
                labels = labels.astype(np.uint8)
        self.targets = labels
        self.threshold = None if threshold is None else as_real("threshold", threshold, dtype=dtype)

        self.score_rows = self.rows_of(name, self.scores)
        # Without targets none is asked for: `zlpr_sparse` has ids.
        self.target_rows: Any = None if labels is None else self.rows_of("targets", labels)
        self.mask_rows = None if self.mask is None else self.rows_of("mask", self.mask)
        self.threshold_rows = None
        if self.threshold is not None:
            numbers = _row_numbers("threshold", self.threshold, name, self.batch).reshape(math.prod(self.batch))
            self.threshold_rows = numbers if numbers.flags.aligned else numbers.copy()

    def rows_of(self, name: str, array: np.ndarray) -> np.ndarray:
        """Two-dimensional, with contiguous rows; one that is the same everywhere has a stride of 0."""
        try:
            whole = np.broadcast_to(array, self.scores.shape)
        except ValueError:
            raise KexueValueError(
                f"{name} has shape {array.shape}, which does not broadcast to that of {self.name}, {self.scores.shape}"
            ) from None
        whole = np.moveaxis(whole, self.axis, -1)
        count, n = math.prod(self.batch), whole.shape[-1]
        repeats = count > 1 and all(k == 1 or s == 0 for k, s in zip(whole.shape[:-1], whole.strides, strict=False))
        rows = whole[(0,) * len(self.batch)].reshape(1, n) if repeats else whole.reshape(count, n)
        if not rows.flags.aligned or (n > 1 and rows.strides[1] != rows.itemsize):
            rows = rows.copy(order="C")
        return np.broadcast_to(rows, (count, n)) if repeats else rows

    def outputs(self, return_grad: bool) -> tuple[np.ndarray, np.ndarray | None]:
        rows = self.score_rows
        return np.empty(len(rows), rows.dtype), np.empty(rows.shape, rows.dtype) if return_grad else None

    def shaped(self, loss: np.ndarray, *grads: np.ndarray | None) -> Any:
        """What the caller gets: scalars of a single row."""
        values = loss.reshape(self.batch)[()]
        shaped = [
            np.moveaxis(grad.reshape(*self.batch, grad.shape[1]), -1, self.axis) for grad in grads if grad is not None
        ]
        return (values, *shaped) if shaped else values

    def check(self, loss: np.ndarray) -> None:
        """Raise for the first bad place, if there is one: then the loss of its row is NaN."""
        if not np.isnan(loss).any():
            return
        shape = self.scores.shape
        takes_part = np.True_ if self.mask is None else self.mask != 0
        first_bad("scores", self.scores, lambda s: (np.isnan(s) | (s == np.inf)) & takes_part)
        if self.targets is not None:
            first_bad("targets", self.targets, lambda t: ~((t >= 0) & (t <= 1)), "is {value}, not within [0, 1]")
            positive = np.broadcast_to(self.targets > 0, shape)
            first_bad("mask", positive, lambda p: p & ~takes_part, "is False, but the target there is above 0")
            hidden = positive & (self.scores == -np.inf)
            first_bad("scores", hidden, lambda h: h, "is -inf, but the target there is above 0")
        self.overflow(loss)

    def overflow(self, loss: np.ndarray) -> None:
        row = np.unravel_index(int(np.isnan(loss).argmax()), self.batch)
        place = f" in row {', '.join(map(str, row))}" if row else ""
        raise OverflowError(f"the numbers{place} are too large: an exponent is beyond {loss.dtype}")


def _scores(name: str, values: ArrayLike, dtype: np.dtype) -> np.ndarray:
    array = as_real(name, values, dtype=dtype)
    if array.ndim == 0:
        raise KexueValueError(f"{name} must have at least 1 dimension, but its shape is ()")
    return array


def _row_numbers(name: str, array: np.ndarray, whose: str, batch: tuple[int, ...]) -> np.ndarray:
    """A finite number for each row."""
    first_bad(name, array, lambda numbers: ~np.isfinite(numbers))
    try:
        return np.broadcast_to(array, batch)
    except ValueError:
        raise KexueValueError(
            f"{name} has shape {array.shape}, which does not broadcast to one number for each row of {whose}, {batch}"
        ) from None


def _flags(name: str, values: ArrayLike, kind: str, *, are_checked_later: bool = False) -> np.ndarray:
    """uint8 out of booleans or integers that are 0 or 1; whether those of uint8 are may be left to the core."""
    array = as_array(name, values)
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind not in "iu" and array.size:
        raise TypeError(f"{name} must be {kind}, but its dtype is {array.dtype}")
    if array.dtype != np.uint8 or not are_checked_later:
        first_bad(name, array, lambda entries: (entries != 0) & (entries != 1), "is {value}, neither 0 nor 1")
        array = array.astype(np.uint8, copy=False)
    return array


def _targets(targets: ArrayLike) -> np.ndarray:
    array = as_array("targets", targets)
    if array.dtype.kind not in "biu":
        return as_real("targets", array)
    return _flags("targets", array, "0 or 1", are_checked_later=True)


# ---- ZLPR ----


@overload
def zlpr_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: ArrayLike | None = ...,
    label_smoothing: float = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def zlpr_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: ArrayLike | None = ...,
    label_smoothing: float = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def zlpr_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    threshold: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    mask: ArrayLike | None = None,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """The multi-label softmax cross-entropy: log(1 + sum_pos e^-u) + log(1 + sum_neg e^u), u = scores - threshold.

    Every positive class is to score above the threshold and every negative one below it, and the number of positives
    is free: `zlpr_predict` is what the loss teaches. With targets t between 0 and 1 the sums are of t e^-u and
    (1 - t) e^u.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        Any finite numbers; -inf for classes that do not take part. float32 stays float32.
    targets : array_like
        1 for positive classes, 0 for the others (bool or integers), or degrees of membership within [0, 1]
        (floating-point numbers). Broadcast to the shape of `scores`.
    threshold : array_like, optional
        One number, or one for each row: broadcast to the shape of `scores` without the axis. Default 0. The loss is
        that of ``scores - threshold``, so its derivative by a row's threshold is ``-grad.sum(axis)``.
    label_smoothing : float
        e takes t (1 - e) + e / 2 for t, among the classes that take part.
    mask : array_like, optional
        True (or 1) takes part, broadcast to the shape of `scores`. The others contribute nothing, have a gradient of
        0, and their targets must be 0; their scores may be anything.
    axis : int
        The axis of `scores` along which the classes run.
    return_grad : bool
        Also return the gradient by the scores.
    workers : int, optional
        Threads. Default: `kexue.get_num_threads`. The result is the same to the bit.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        Of each row; a scalar for one row.
    grad : ndarray, shape (..., n)
        With `return_grad`: of the losses' sum.

    Raises
    ------
    KexueValueError
        If a score is NaN or +inf, a target is outside [0, 1] or above 0 where the score is masked, or a shape does
        not fit.
    OverflowError
        If ``scores - threshold`` is beyond the format.

    See Also
    --------
    zlpr_sparse_loss : positives by their numbers.
    zlpr_predict, zlpr_probability : from scores to decisions.
    pairwise_rank_loss, zlpr_symmetric_kl

    Notes
    -----
    O(n) a row in two passes, one exponential an entry for targets 0 and 1. Nothing overflows: scores of 1e4 in float32
    are fine. Losses are within 4 ulp and gradients within 8 ulp of those of the rounded ``scores - threshold``, in both
    formats, where no exponent is above 60 (float64: 300); beyond, gradients that are e^-d of their row's largest are
    within d ulp more. Without a positive class the first term is 0, without a negative one the second.

    References
    ----------
    J. Su et al., "ZLPR: A Novel Loss for Multi-label Classification", arXiv:2208.02955. kexue.fm posts 7359 and 9064.

    Examples
    --------
    >>> import kexue
    >>> loss, grad = kexue.zlpr_loss([1.2, -0.7, 0.3, 2.5, -1.4], [1, 0, 0, 1, 1], return_grad=True)
    >>> print(f"{loss:.6f}", grad.round(4))
    2.739570 [-0.0554  0.1745  0.4742 -0.0151 -0.7456]
    >>> print(f"{kexue.zlpr_loss([1.2, -0.7, 0.3], [0.9, 0.1, 0.3]):.6f}")
    1.529546
    """
    smoothing = check_number("label_smoothing", label_smoothing)
    if not 0 <= smoothing <= 1:
        raise KexueValueError(f"label_smoothing must be from 0 to 1, got {smoothing}")
    rows = _Rows(scores, _targets(targets), threshold, mask, axis)
    loss, grad = rows.outputs(return_grad)
    _losses.zlpr(rows.score_rows, rows.target_rows, rows.mask_rows, rows.threshold_rows, smoothing, loss, grad, workers)
    rows.check(loss)
    return rows.shaped(loss, grad)


def _positive_ids(positive_ids: Any, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and ids, without padding, of as many rows as the scores have."""
    count = 1 if scores.ndim == 1 else len(scores)
    if is_sparse(positive_ids):
        wanted = scores.shape if scores.ndim == 2 else (1, len(scores))
        if positive_ids.shape not in (wanted, scores.shape):
            raise KexueValueError(f"positive_ids has shape {positive_ids.shape}, but scores has shape {scores.shape}")
        as_real("positive_ids", np.empty(0, dtype=positive_ids.dtype))
        if positive_ids.shape != wanted:
            positive_ids = positive_ids.reshape(wanted)
        matrix = as_csr("positive_ids", positive_ids, np.dtype(np.float64))
        values = matrix.data[: matrix.indptr[-1]]
        first_bad("positive_ids.data", values, lambda v: (v != 0) & (v != 1), "is {value}, neither 0 nor 1")
        ids, lengths = matrix.indices[: matrix.indptr[-1]].astype(np.int64), np.diff(matrix.indptr)
        kept = values != 0
    else:
        if hasattr(positive_ids, "__array__"):
            array = as_array("positive_ids", positive_ids)
            positive_ids = positive_ids if array.dtype == object else array
        if isinstance(positive_ids, np.ndarray) and positive_ids.ndim != scores.ndim:
            shape = "(k,)" if scores.ndim == 1 else f"({count}, k)"
            raise KexueValueError(f"positive_ids must have shape {shape}, but its shape is {positive_ids.shape}")
        if scores.ndim == 1:
            positive_ids = positive_ids[None] if isinstance(positive_ids, np.ndarray) else [positive_ids]
        listed = positive_ids
        if not hasattr(type(listed), "__len__"):
            raise TypeError(
                f"positive_ids must be a sequence of ids for each row of scores, not {type(listed).__name__}"
            )
        if len(listed) != count:
            raise KexueValueError(f"positive_ids has {len(listed)} rows, but scores has {count}")
        if isinstance(listed, np.ndarray):
            ids, lengths = listed.reshape(-1), np.full(count, listed.shape[1])
        else:
            try:
                lengths = np.fromiter((len(row) for row in listed), dtype=np.int64, count=count)
                ids = np.array(list(chain.from_iterable(listed)))
            except (TypeError, ValueError) as error:
                raise TypeError(f"positive_ids must be a sequence of ids for each row of scores: {error}") from None
        if ids.ndim != 1:
            raise TypeError(
                "positive_ids must be a sequence of ids for each row of scores, but these are sequences too"
            )
        if ids.size and ids.dtype.kind not in "iu":
            raise TypeError(f"positive_ids must hold integers, but its dtype is {ids.dtype}")
        if ids.dtype == np.uint64:
            ids = np.minimum(ids, np.uint64(2**63 - 1))  # out of range as before
        ids = ids.astype(np.int64)
        kept = ids != -1
    row_of = np.repeat(np.arange(count), lengths)[kept]
    offsets = np.zeros(count + 1, dtype=np.int64)
    np.cumsum(np.bincount(row_of, minlength=count), out=offsets[1:])
    return offsets, np.ascontiguousarray(ids[kept])


def _raise_for_ids(rows: _Rows, offsets: np.ndarray, ids: np.ndarray, loss: np.ndarray) -> None:
    """The scores themselves are fine where they take part."""
    n = rows.scores.shape[-1]
    for row in np.flatnonzero(np.isnan(loss)):
        seen = set()
        mask = None if rows.mask_rows is None else rows.mask_rows[row]
        for item in ids[offsets[row] : offsets[row + 1]].tolist():
            problem = None
            if not 0 <= item < n:
                problem = f"is not an id from 0 to {n - 1}"
            elif item in seen:
                problem = "is repeated"
            elif mask is not None and not mask[item]:
                problem = "is masked"
            elif rows.score_rows[row, item] == -np.inf:
                problem = "has the score -inf"
            if problem:
                raise KexueValueError(f"positive_ids: {item} in row {row} {problem}")
            seen.add(item)


@overload
def zlpr_sparse_loss(
    scores: ArrayLike,
    positive_ids: Any,
    *,
    threshold: ArrayLike | None = ...,
    mask: ArrayLike | None = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def zlpr_sparse_loss(
    scores: ArrayLike,
    positive_ids: Any,
    *,
    threshold: ArrayLike | None = ...,
    mask: ArrayLike | None = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def zlpr_sparse_loss(
    scores: ArrayLike,
    positive_ids: Any,
    *,
    threshold: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """The loss of `zlpr_loss`, of positive classes that are listed: no array of targets is made.

    Parameters
    ----------
    scores : array_like, shape (rows, n) or (n,)
        As for `zlpr_loss`.
    positive_ids : array_like of int, shape (rows, k), or sequence of sequences, or sparse matrix, shape (rows, n)
        The positive classes of each row, 0 to n - 1, in any order; -1 is padding. Of a sparse matrix, the places of
        its ones. For scores of one row, one sequence.
    threshold, mask
        As for `zlpr_loss`.
    return_grad : bool
        Also return the gradient by the scores.
    workers : int, optional
        Threads. Default: `kexue.get_num_threads`. The result is the same to the bit.

    Returns
    -------
    loss : ndarray or scalar, shape (rows,)
    grad : ndarray, shape (rows, n)
        With `return_grad`.

    Raises
    ------
    KexueValueError
        If an id is out of range, repeated, or masked, a score is NaN or +inf, or the numbers of rows differ.
    TypeError
        If ids are no integers.
    OverflowError
        If ``scores - threshold`` is beyond the format.

    See Also
    --------
    zlpr_loss : the same to the bit, from targets.

    Notes
    -----
    O(n) a row, and one byte a class of memory for each thread. The sum over negatives leaves positives out; it is not
    the difference of the sum over all classes and that over positives, which cancels where positives dominate.

    References
    ----------
    J. Su et al., "ZLPR: A Novel Loss for Multi-label Classification", arXiv:2208.02955.

    Examples
    --------
    >>> import kexue
    >>> scores = [[1.2, -0.7, 0.3, 2.5, -1.4], [0.5, 0.5, -2.0, 0.0, 1.0]]
    >>> kexue.zlpr_sparse_loss(scores, [[0, 3, 4], []]).round(6)
    array([2.73957 , 2.098148])
    """
    rows = _Rows(scores, None, threshold, mask, -1)
    if rows.scores.ndim > 2:
        raise KexueValueError(f"scores must have 1 or 2 dimensions, but its shape is {rows.scores.shape}")
    offsets, ids = _positive_ids(positive_ids, rows.scores)
    loss, grad = rows.outputs(return_grad)
    _losses.zlpr_sparse(rows.score_rows, offsets, ids, rows.mask_rows, rows.threshold_rows, loss, grad, workers)
    if np.isnan(loss).any():
        takes_part = np.True_ if rows.mask is None else rows.mask != 0
        first_bad("scores", rows.scores, lambda s: (np.isnan(s) | (s == np.inf)) & takes_part)
        _raise_for_ids(rows, offsets, ids, loss)
        rows.overflow(loss)
    return rows.shaped(loss, grad)


def _margins(scores: ArrayLike, threshold: ArrayLike | None, axis: int, mask: np.ndarray | None = None) -> np.ndarray:
    """scores - threshold, one threshold for each row; NaN only where the mask is 0."""
    dtype = result_dtype(scores, threshold)
    array = _scores("scores", scores, dtype)
    place = check_axis("scores", axis, array.ndim)
    if mask is not None:
        try:
            mask = np.broadcast_to(mask, array.shape)
        except ValueError:
            raise KexueValueError(
                f"mask has shape {mask.shape}, which does not broadcast to that of scores, {array.shape}"
            ) from None
    first_bad("scores", array, lambda s: np.isnan(s) if mask is None else np.isnan(s) & (mask != 0))
    if threshold is None:
        return array
    batch = array.shape[:place] + array.shape[place + 1 :]
    levels = _row_numbers("threshold", as_real("threshold", threshold, dtype=dtype), "scores", batch)
    with np.errstate(over="ignore"):
        return array - np.expand_dims(levels, place)


@same_kind
def zlpr_predict(
    scores: ArrayLike, *, threshold: ArrayLike | None = None, mask: ArrayLike | None = None, axis: int = -1
) -> np.ndarray:
    """Which classes are positive: those that score above the threshold.

    Parameters
    ----------
    scores : array_like, shape (..., n)
        -inf for classes that do not take part.
    threshold : array_like, optional
        One number, or one for each row. Default 0.
    mask : array_like, optional
        True takes part, broadcast to the shape of `scores`; the others are not positive, and their scores may be
        anything.
    axis : int
        The axis along which the classes run; `threshold` has the shape of `scores` without it.

    Returns
    -------
    ndarray of bool, shape (..., n)

    Raises
    ------
    KexueValueError
        If a score is NaN, or a shape does not fit.

    See Also
    --------
    zlpr_loss, zlpr_probability

    Notes
    -----
    O(n) a row.

    References
    ----------
    J. Su et al., "ZLPR: A Novel Loss for Multi-label Classification", arXiv:2208.02955.

    Examples
    --------
    >>> import kexue
    >>> kexue.zlpr_predict([1.2, -0.7, 0.3], threshold=0.5)
    array([ True, False, False])
    """
    if mask is None:
        return _margins(scores, threshold, axis) > 0
    flags = _flags("mask", mask, "a boolean: True takes part")
    return (_margins(scores, threshold, axis, flags) > 0) & (flags != 0)


@same_kind
def zlpr_probability(scores: ArrayLike, *, threshold: ArrayLike | None = None, axis: int = -1) -> np.ndarray:
    """The degree of membership that a score stands for: 1 / (1 + exp(-2 (score - threshold))).

    Parameters
    ----------
    scores : array_like, shape (..., n)
    threshold : array_like, optional
        One number, or one for each row. Default 0.
    axis : int
        The axis along which the classes run; `threshold` has the shape of `scores` without it.

    Returns
    -------
    ndarray, shape (..., n)
        At least 1/2 where `zlpr_predict` is True, and at most elsewhere. Within 4 ulp of the difference's.

    Raises
    ------
    KexueValueError
        If a score is NaN, or a shape does not fit.

    See Also
    --------
    zlpr_loss, zlpr_predict

    Notes
    -----
    The loss's derivative by a score is -t e^-u / (1 + A) + (1 - t) e^u / (1 + B), A and B the sums of t e^-u and
    (1 - t) e^u. With t = sigma(2 u) everywhere, t e^-u = (1 - t) e^u, so A = B and all derivatives are 0: these are the
    scores that targets t teach. The factor 2 belongs to the loss; with sigma(u) the probabilities are too timid.

    References
    ----------
    kexue.fm post 9064.

    Examples
    --------
    >>> import kexue
    >>> kexue.zlpr_probability([0.0, 1.0, -1.0]).round(4)
    array([0.5   , 0.8808, 0.1192])
    """
    from scipy.special import expit

    margins = _margins(scores, threshold, axis)
    with np.errstate(over="ignore", under="ignore"):
        twice = margins + margins
        degrees = expit(twice)
        # e^x is the same below -40. There expit, which is 1 / (1 + e^-x), leaves the range before its result does.
        return np.exp(twice, out=degrees, where=twice < -40)


# ---- relatives ----


@overload
def pairwise_rank_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = ...,
    margin: float = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def pairwise_rank_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = ...,
    margin: float = ...,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def pairwise_rank_loss(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    gamma: float = 1.0,
    margin: float = 0.0,
    mask: ArrayLike | None = None,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """Positives above negatives, without a threshold: log(1 + sum_neg e^(gamma (s + margin)) sum_pos e^(-gamma s)).

    The product is the sum over all pairs of e^(gamma (s_neg - s_pos + margin)): a smooth form of the largest
    violation, the circle loss without its weights.

    Parameters
    ----------
    scores, mask, axis, return_grad, workers
        As for `zlpr_loss`.
    targets : array_like
        1 for positive classes, 0 for the others. Broadcast to the shape of `scores`.
    gamma : float
        Positive. A large one is closer to the largest violation: the loss is about gamma times it.
    margin : float
        By which positives are to be above.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        0 for a row without a pair.
    grad : ndarray, shape (..., n)
        With `return_grad`. It sums to 0 over a row.

    Raises
    ------
    KexueValueError
        As for `zlpr_loss`; if a target is neither 0 nor 1; if `gamma` is not positive or `margin` not finite.
    OverflowError
        If gamma times a score is beyond the format.

    See Also
    --------
    zlpr_loss : with a threshold, so that it can predict.

    Notes
    -----
    O(n) a row in three passes, one exponential an entry. Exponents are rounded to the format; nothing else is lost.

    References
    ----------
    Y. Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", arXiv:2002.10857.

    Examples
    --------
    >>> import kexue
    >>> print(f"{kexue.pairwise_rank_loss([1.2, -0.7, 0.3, 2.5, -1.4], [1, 0, 0, 1, 1]):.6f}")
    2.218704
    """
    gamma, margin = check_number("gamma", gamma), check_number("margin", margin)
    rows = _Rows(scores, _targets(targets), None, mask, axis, binary=True)
    limits = np.finfo(rows.scores.dtype)
    least, most = float(limits.smallest_subnormal), float(limits.max)
    if not least <= gamma <= most:
        raise KexueValueError(f"gamma must be positive and finite in {rows.scores.dtype}, got {gamma}")
    if not abs(margin) <= most:
        raise KexueValueError(f"margin must be finite in {rows.scores.dtype}, got {margin}")
    loss, grad = rows.outputs(return_grad)
    _losses.pairwise_rank(rows.score_rows, rows.target_rows, rows.mask_rows, gamma, margin, loss, grad, workers)
    rows.check(loss)
    return rows.shaped(loss, grad)


@overload
def zlpr_symmetric_kl(
    s: ArrayLike,
    t: ArrayLike,
    *,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
@overload
def zlpr_symmetric_kl(
    s: ArrayLike,
    t: ArrayLike,
    *,
    mask: ArrayLike | None = ...,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def zlpr_symmetric_kl(
    s: ArrayLike,
    t: ArrayLike,
    *,
    mask: ArrayLike | None = None,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """How far two rows of multi-label scores are apart: sum (sigma(s) - sigma(t)) (s - t).

    The symmetric Kullback-Leibler divergence of independent Bernoulli distributions with the logits s and t: the
    regularization term of R-Drop for `zlpr_loss`.

    Parameters
    ----------
    s, t : array_like, shape (..., n)
        Scores of the same shape. Where both are -inf, they contribute 0.
    mask : array_like, optional
        True takes part, broadcast to the shape of `s`.
    axis : int
        The axis along which the classes run.
    return_grad : bool
        Also return the gradients by both.
    workers : int, optional
        Threads. Default: `kexue.get_num_threads`. The result is the same to the bit.

    Returns
    -------
    divergence : ndarray or scalar, shape (...)
    grads : tuple of ndarray, each of shape (..., n)
        With `return_grad`: by `s`, and by `t`.

    Raises
    ------
    KexueValueError
        If a score is NaN or infinite (but for -inf in both), or a shape does not fit.
    OverflowError
        If the divergence is beyond the format.

    See Also
    --------
    zlpr_loss

    Notes
    -----
    O(n) a row. The difference of the sigmoids is computed as sigma(max) sigma(-min) (1 - e^-|s - t|), which does not
    cancel: results are within 8 ulp, however close s and t are. Beyond scores of 87 (float64: 708) sigmoids are as
    coarse as subnormal numbers are, and results within abs(s - t) times the least of these more.

    References
    ----------
    X. Liang et al., "R-Drop: Regularized Dropout for Neural Networks", arXiv:2106.14448. kexue.fm post 9039.

    Examples
    --------
    >>> import kexue
    >>> print(f"{kexue.zlpr_symmetric_kl([0.2, -1.0, 0.5], [0.0, 0.3, -0.4]):.6f}")
    0.606151
    """
    dtype = result_dtype(s, t)
    rows = _Rows(_scores("s", s, dtype), None, None, mask, axis, name="s")
    other = _scores("t", t, dtype)
    if other.shape != rows.scores.shape:
        raise KexueValueError(f"t has shape {other.shape}, but s has shape {rows.scores.shape}")
    divergence, grad_s = rows.outputs(return_grad)
    grad_t = None if grad_s is None else np.empty_like(grad_s)
    _losses.symmetric_kl(rows.score_rows, rows.rows_of("t", other), rows.mask_rows, divergence, grad_s, grad_t, workers)
    if not np.isfinite(divergence).all():
        takes_part = np.True_ if rows.mask is None else rows.mask != 0
        takes_part = takes_part & ~((rows.scores == -np.inf) & (other == -np.inf))
        first_bad("s", rows.scores, lambda a: ~np.isfinite(a) & takes_part)
        first_bad("t", other, lambda a: ~np.isfinite(a) & takes_part)
        raise OverflowError(f"the divergence is beyond {divergence.dtype}")
    if not return_grad:
        return rows.shaped(divergence)
    value, by_s, by_t = rows.shaped(divergence, grad_s, grad_t)
    return value, (by_s, by_t)
