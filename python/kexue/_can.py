"""Classification with alternating normalisation, and the uncertainty that it starts from."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _classification
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, check_axis, check_integer, check_number
from kexue._errors import KexueValueError, first_bad

UncertaintyKind = Literal["post", "paper", "repo"]
_KINDS = {"post": _classification.POST, "paper": _classification.PAPER, "repo": _classification.REPO}

# Of uncertain rows at a time: numbers of each array of a block, and multiplications of a matrix product, some 0.1 s.
_BLOCK_NUMBERS = 2**22
_BLOCK_PRODUCTS = 2**30
_CACHED_NUMBERS = 2**25
# What is lost below the smallest double cannot be seen in sums above this share of their largest factor.
_VISIBLE = 1e-140


@same_kind
def topk_entropy(
    P: ArrayLike,
    k: int = 3,
    *,
    mode: UncertaintyKind = "post",
    axis: int = -1,
    workers: int | None = None,
) -> Any:
    """How uncertain a classifier is: the entropy of the largest probabilities, from 0 to 1.

    The entropy of all classes says little: (0.5, 0.25, 0.25) has more of it than (0.5, 0.5, 0), which is undecided.
    That of the two largest, scaled to sum to 1, puts them in the right order.

    Parameters
    ----------
    P : array_like, shape (..., m)
        Probabilities of m classes: not negative, with sums within 1e-3 of 1.
    k : int, optional
        How many of the largest probabilities count. More than m is m; with 1 the result is 0.
    mode : {"post", "paper", "repo"}, optional
        "post": the entropy of the k largest, scaled to sum to 1, divided by log k. "paper": minus the sum of
        their p log p, not scaled, divided by log m; as far out of 0 to 1 as a row's sum is off 1. "repo": the
        largest of what "post" gives for 2, ..., k - 1 classes, as the program of the method's authors has it; 0 if
        k is below 3.
    axis : int, optional
        The axis of the classes.
    workers : int, optional
        Threads, see `threads`.

    Returns
    -------
    uncertainty : ndarray or float
        Of the shape of `P` without the axis, float32 if `P` is float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        Names the first entry of `P` that is negative or not finite, or the first row that does not sum to 1.

    See Also
    --------
    can : moves the rows that are uncertain.

    Notes
    -----
    Time O(n m) for n rows and k up to 8. Beyond that a few dozen passes over each row in the caches; "repo" sorts the
    k largest.

    References
    ----------
    J. Su, "CAN:借助先验分布提升分类性能的简单后处理技巧", Scientific Spaces 8728 (2021),
    https://kexue.fm/archives/8728

    Examples
    --------
    >>> import kexue
    >>> P = [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]]
    >>> kexue.entropy(P).round(3)
    array([1.04 , 0.693])
    >>> kexue.topk_entropy(P, 2).round(3)
    array([0.918, 1.   ])
    """
    array = as_real("P", P)
    if array.ndim == 0:
        raise KexueValueError("P must have at least 1 dimension, but it is a scalar")
    place = check_axis("P", axis, array.ndim)
    k = check_integer("k", k, 1, 2**62)
    kind = _kind_of("mode", mode)
    if array.shape[place] == 0:
        raise KexueValueError(f"P has no classes: its shape is {array.shape}")
    lines = np.moveaxis(array, place, -1)
    rows = as_contiguous(lines.reshape(-1, lines.shape[-1]))
    uncertainty = np.empty(len(rows), dtype=rows.dtype)
    if not _classification.topk_entropy(rows, k, kind, uncertainty, workers):
        _name_bad_row(array, place)
    return uncertainty.reshape(lines.shape[:-1])[()]


@overload
def can(
    P: ArrayLike,
    prior: ArrayLike | None = ...,
    *,
    k: int = ...,
    threshold: float = ...,
    alpha: float = ...,
    iterations: int = ...,
    uncertainty: UncertaintyKind = ...,
    return_uncertainty: Literal[False] = ...,
    workers: int | None = ...,
) -> np.ndarray: ...
@overload
def can(
    P: ArrayLike,
    prior: ArrayLike | None = ...,
    *,
    k: int = ...,
    threshold: float = ...,
    alpha: float = ...,
    iterations: int = ...,
    uncertainty: UncertaintyKind = ...,
    return_uncertainty: Literal[True],
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def can(
    P: ArrayLike,
    prior: ArrayLike | None = ...,
    *,
    k: int = ...,
    threshold: float = ...,
    alpha: float = ...,
    iterations: int = ...,
    uncertainty: UncertaintyKind = ...,
    return_uncertainty: bool,
    workers: int | None = ...,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...
@same_kind
def can(
    P: ArrayLike,
    prior: ArrayLike | None = None,
    *,
    k: int = 3,
    threshold: float = 0.9,
    alpha: float = 1.0,
    iterations: int = 1,
    uncertainty: UncertaintyKind = "post",
    return_uncertainty: bool = False,
    workers: int | None = None,
) -> Any:
    """Classification with alternating normalisation (CAN): a prior settles what a classifier is uncertain of.

    The rows of a batch that are certain stay as they are. Each uncertain row by itself is put below them, and
    `iterations` times all entries are raised to `alpha`, the columns scaled so that their means are the prior, and
    the rows so that they sum to 1. The last row is what becomes of the uncertain one: classes that the certain rows
    hold more often than the prior says lose, those that they hold less often win.

    Parameters
    ----------
    P : array_like, shape (n, m)
        Probabilities of m classes for each of n examples: not negative, with sums within 1e-3 of 1.
    prior : array_like, shape (m,), optional
        How frequent the classes are, in any scale, so that counts of training labels will do; all positive. By
        default they are equally frequent.
    k : int, optional
        As in `topk_entropy`.
    threshold : float, optional
        A row is uncertain if its uncertainty, in the precision of `P`, is at least this.
    alpha : float, optional
        The power, positive.
    iterations : int, optional
        At least 1.
    uncertainty : {"post", "paper", "repo"}, optional
        The definition of uncertainty: the mode of `topk_entropy`.
    return_uncertainty : bool, optional
        Also return how uncertain each row of `P` is.
    workers : int, optional
        Threads, see `threads`.

    Returns
    -------
    Q : ndarray, shape (n, m)
        The new probabilities, float32 if `P` is float32 or float16, else float64. Certain rows are those of `P`, bit
        for bit; the others sum to 1.
    uncertainty : ndarray, shape (n,)
        Only if `return_uncertainty`, in the dtype of `Q`.

    Raises
    ------
    KexueValueError
        Names the first entry of `P` that is negative or not finite, the first row that does not sum to 1, a prior
        of another length or with an entry that is not positive, or an option out of its range.

    See Also
    --------
    topk_entropy : the uncertainty.
    kexue.sklearn.CAN : around a classifier of scikit-learn.

    Notes
    -----
    The result for an example depends on the certain ones of its batch, not on the uncertain ones. Where no row is
    certain, those of the identity matrix take their place, as in the program of the method's authors: one certain
    example of each class.

    One iteration is ``q ~ prior * p**alpha / (S + p**alpha)``, S being the sums of ``p**alpha`` over the certain rows:
    time O(n m). With more of them a row's state is not needed entry by entry either: after t iterations it is
    ``P**(alpha**t)`` scaled by a factor for each row and for each column, so each further iteration of u uncertain
    rows is two matrix products of BLAS, O(n m u), in blocks of bounded memory and in float64. With alpha = 1 this is
    Sinkhorn's scaling, and many iterations lead to columns whose means are the prior, where that is possible.

    Powers that no double can hold are no problem; those products then become sums of exponentials, which take some
    100 times as long. An error of P is multiplied by alpha**iterations.

    References
    ----------
    M. Jia, A. Reiter, S.-N. Lim, Y. Artzi, C. Cardie, "When in Doubt: Improving Classification Performance with
    Alternating Normalization", Findings of EMNLP 2021, https://doi.org/10.18653/v1/2021.findings-emnlp.148.

    J. Su, "CAN:借助先验分布提升分类性能的简单后处理技巧", Scientific Spaces 8728 (2021),
    https://kexue.fm/archives/8728

    Examples
    --------
    The certain example is one of class 1; with classes that are equally frequent, the undecided one is rather
    of class 0.

    >>> import kexue
    >>> kexue.can([[0.05, 0.95], [0.5, 0.5]])
    array([[0.05 , 0.95 ],
           [0.725, 0.275]])
    """
    rows = as_contiguous(as_real("P", P, ndim=2))
    classes = rows.shape[1]
    if classes == 0:
        raise KexueValueError(f"P has no classes: its shape is {rows.shape}")
    shares = _checked_prior(prior, classes)
    k = check_integer("k", k, 1, 2**62)
    kind = _kind_of("uncertainty", uncertainty)
    # What is returned is what was compared, in float32 too.
    threshold = float(rows.dtype.type(_checked_number("threshold", threshold, 0.0)))
    alpha = _checked_number("alpha", alpha, 1e-300, 1e300)
    iterations = check_integer("iterations", iterations, 1)
    if alpha != 1 and abs(np.log(alpha)) * iterations > 691:
        raise KexueValueError(f"alpha**iterations is out of the range of float64: {alpha:g}**{iterations}")

    uncertainties = np.empty(len(rows), dtype=rows.dtype)
    if iterations == 1:
        result = np.empty_like(rows)
        valid = _classification.can(rows, shares, k, kind, threshold, alpha, result, uncertainties, workers)
    else:
        valid = _classification.topk_entropy(rows, k, kind, uncertainties, workers)
    if not valid:
        _name_bad_row(rows, 1)
    if iterations > 1:
        result = rows.copy()
        uncertain = uncertainties >= threshold
        if uncertain.any():
            certain = np.eye(classes) if uncertain.all() else rows[~uncertain].astype(np.float64)
            result[uncertain] = _alternate(certain, rows[uncertain].astype(np.float64), shares, alpha, iterations)
    return (result, uncertainties) if return_uncertainty else result


# ---- arguments ----


def _kind_of(name: str, kind: Any) -> int:
    if not isinstance(kind, str) or kind not in _KINDS:
        raise KexueValueError(f'{name} must be "post", "paper" or "repo", got {kind!r}')
    return _KINDS[kind]


def _checked_number(name: str, value: Any, least: float, most: float = np.finfo(np.float64).max) -> float:
    number = check_number(name, value)
    if not least <= number <= most:
        limits = "positive and finite" if least > 0 else "finite and not negative"
        raise KexueValueError(f"{name} must be {limits}, got {value!r}")
    return number


def _checked_prior(prior: ArrayLike | None, classes: int) -> np.ndarray:
    if prior is None:
        return np.ones(classes)
    shares = as_contiguous(as_real("prior", prior, dtype=np.float64))
    if shares.shape != (classes,):
        raise KexueValueError(
            f"prior must have a number for each of the {classes} columns of P, but its shape is {shares.shape}"
        )
    first_bad("prior", shares, lambda a: ~((a > 0) & (a < np.inf)), "is {value}, not positive and finite")
    return shares / shares.max()


def _name_bad_row(array: np.ndarray, axis: int) -> None:
    first_bad("P", array, lambda a: ~np.isfinite(a))
    first_bad("P", array, lambda a: a < 0, "is negative ({value})")
    totals = array.sum(axis=axis, dtype=np.float64)
    errors = np.abs(totals - 1)
    wrong = errors > _classification.TOLERANCE
    # At the very limit this sum may fall to the other side of it than the one that was refused.
    at = np.unravel_index(int((wrong if wrong.any() else errors).argmax()), totals.shape)
    place = [str(i) for i in at]
    place[axis:axis] = [":"] if axis < len(place) else []
    name = f"P[{', '.join(place)}]" if place else "P"
    raise KexueValueError(
        f"{name} sums to {totals[at]:.6g}, not to 1 within {_classification.TOLERANCE:g}; P has shape {array.shape}"
    )


# ---- several iterations ----


def _alternate(certain: np.ndarray, moved: np.ndarray, prior: np.ndarray, alpha: float, iterations: int) -> np.ndarray:
    """What becomes of each of the moved rows below the certain ones, all float64.

    The matrix after t steps is r_i K_ij c_j, where K is the given one to the power of alpha**t. The next step makes
    c = prior / (K'^T r^alpha) and r = 1 / (K' c) of it, with K' the next power: old column factors drop out, and so
    does a factor of a row of K, by which its largest entry is 1.
    """
    result = np.empty_like(moved)
    largest = certain.max(axis=1)
    with np.errstate(divide="ignore", under="ignore", over="ignore", invalid="ignore"):
        ratios = certain / largest[:, None]
        cached = min(iterations if alpha != 1 else 1, _CACHED_NUMBERS // ratios.size)
        powers = [ratios**alpha**t for t in range(1, cached + 1)]
        width = min(_BLOCK_NUMBERS // max(ratios.shape), _BLOCK_PRODUCTS // ratios.size)
        for begin in range(0, len(moved), max(width, 1)):
            block = moved[begin : begin + max(width, 1)]
            top = block.max(axis=1, keepdims=True)
            shares = block / top
            new, is_sound = _alternate_by_products(ratios, largest, powers, shares, top[:, 0], prior, alpha, iterations)
            for i in np.flatnonzero(~is_sound):
                new[i] = _alternate_by_logs(ratios, largest, shares[i], top[i, 0], prior, alpha, iterations)
            result[begin : begin + len(block)] = new
    return result


def _alternate_by_products(
    ratios: np.ndarray,
    largest: np.ndarray,
    powers: list[np.ndarray],
    moved: np.ndarray,
    moved_largest: np.ndarray,
    prior: np.ndarray,
    alpha: float,
    iterations: int,
) -> tuple[np.ndarray, np.ndarray]:
    """A row for each of the moved ones, and whether nothing that counts left the range of doubles."""
    is_sound = np.ones(len(moved), dtype=bool)
    supported = (ratios > 0).any(axis=0) | (moved > 0)
    scale = max(largest.max(), moved_largest.max())
    factors = ((largest / scale) ** alpha)[None, :]
    moved_factors = (moved_largest / scale) ** alpha
    for t in range(1, iterations + 1):
        if t == 1 or alpha != 1:
            power = powers[t - 1] if t <= len(powers) else ratios**alpha**t
            moved_power = moved**alpha**t
        sums = factors @ power + moved_factors[:, None] * moved_power
        is_sound &= (~supported | (sums >= _VISIBLE)).all(axis=1)
        columns = np.where(supported, prior / sums, 0.0)
        shares = columns * moved_power
        moved_totals = least = shares.sum(axis=1)
        if t < iterations:
            totals = columns @ power.T
            least = np.minimum(totals.min(axis=1), moved_totals)
            factors = (least[:, None] / totals) ** alpha
            moved_factors = (least / moved_totals) ** alpha
        is_sound &= (least >= _VISIBLE * columns.max(axis=1)) & (least < np.inf)
    return shares / moved_totals[:, None], is_sound


def _alternate_by_logs(
    ratios: np.ndarray,
    largest: np.ndarray,
    moved: np.ndarray,
    moved_largest: float,
    prior: np.ndarray,
    alpha: float,
    iterations: int,
) -> np.ndarray:
    """The same for one row, in logarithms."""
    rows = np.log(np.vstack([ratios, moved]))
    totals = -np.log(np.append(largest, moved_largest))
    log_prior = np.log(prior)
    for t in range(1, iterations + 1):
        power = alpha**t * rows
        sums = _log_sum(power - alpha * totals[:, None], 0)
        columns = np.where(sums > -np.inf, log_prior - sums, -np.inf)
        totals = _log_sum(power + columns, 1)
    # Not by totals[-1]: where logarithms are large, their rounding would show in the sum.
    last = power[-1] + columns
    shares = np.exp(last - last.max())
    return shares / shares.sum()


def _log_sum(values: np.ndarray, axis: int) -> np.ndarray:
    top = values.max(axis=axis, keepdims=True)
    top[top == -np.inf] = 0.0
    return np.log(np.exp(values - top).sum(axis=axis)) + top.squeeze(axis)
