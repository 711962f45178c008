"""Validation sets that are close to the test set, by a classifier that tells training rows from test rows."""

from __future__ import annotations

import copy
import math
import sys
import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._analytic_classifier import ClassStatistics
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_integer, check_number, is_sparse, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite, require_nonnegative
from kexue.density import effective_sample_size

_LOWEST_SHARE = 0.05  # of the effective sample size in the rows
_LOWEST_SIZE = 10
_HIGHEST_AREA = 0.95
_HIGHEST_CLIPPED = 0.1  # share of rows
_KINDS = ("ratio", "probability")
_METHODS = ("top", "resample")


# ---- weights ----


def _check_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in _KINDS:
        raise KexueValueError(f'kind must be "ratio" or "probability", got {kind!r}')


def _check_positive(name: str, value: Any, low: float) -> float:
    number = check_number(name, value)
    if not low < number < math.inf:
        raise KexueValueError(f"{name} must be above {low:g} and finite, got {value}")
    return number


def _log_odds(probabilities: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(probabilities) - np.log1p(-probabilities)


def _clipped(log_ratios: np.ndarray, clip: float | None) -> np.ndarray:
    return log_ratios if clip is None else np.clip(log_ratios, -math.log(clip), math.log(clip))


def _weights(log_ratios: np.ndarray, kind: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        return np.exp(log_ratios) if kind == "ratio" else 1 / (1 + np.exp(-log_ratios))


@same_kind
def discriminator_weights(
    probabilities: ArrayLike | None = None,
    *,
    logits: ArrayLike | None = None,
    prior_ratio: float = 1.0,
    clip: float | None = None,
    kind: Literal["ratio", "probability"] = "ratio",
) -> np.ndarray | np.generic:
    """Importance weights out of a discriminator: how much likelier a row is in the test set than in the training set.

    w = D / (1 - D) = exp(logit), D the probability that a row is of the test set. If the discriminator is optimal and
    saw as many rows of both, w is the ratio of the densities, and the mean of w f over training rows is that of f over
    the test set.

    Parameters
    ----------
    probabilities : array_like, any shape
        D, from 0 to 1. Either these or `logits`.
    logits : array_like, any shape
        log(D / (1 - D)), which keep the digits that D has not near 1.
    prior_ratio : float
        Rows of the training set over rows of the test set that the discriminator was trained on, which w is multiplied
        by. 1 if it saw as many of both, or weighed them so.
    clip : float, optional
        Above 1: weights are limited to the range from 1 / clip to clip.
    kind : {"ratio", "probability"}
        w, or w / (1 + w), which is D itself where `prior_ratio` is 1: bounded, and not the ratio of the densities.

    Returns
    -------
    ndarray or scalar
        Weights, not normalized, of the shape of the argument. float32 if it is float32, else float64.

    Raises
    ------
    KexueValueError
        If an entry is NaN, a probability is out of range, a weight is infinite (as where D = 1) without `clip`, all are
        0, both or none of `probabilities` and `logits` are given, or an option is out of range.
    TypeError
        If the argument does not hold real numbers, or a number is none.

    See Also
    --------
    AdversarialSplit : trains the discriminator.
    weighted_metric, resample_validation : what is done with the weights.
    effective_sample_size : of their logarithms, how many rows they are worth.

    Notes
    -----
    Linear time. Where labels have other frequencies in the test set but p(x) is the same, weights of x do not help.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/7805. M. Sugiyama, T. Suzuki, T. Kanamori, "Density Ratio Estimation in
    Machine Learning", 2012, doi:10.1017/CBO9781139035613.

    Examples
    --------
    >>> import kexue
    >>> w = kexue.discriminator_weights([0.2, 0.5, 0.8, 0.6])
    >>> w.round(12)
    array([0.25, 1.  , 4.  , 1.5 ])
    >>> kexue.discriminator_weights(logits=[0.0, 1000.0], clip=20)
    array([ 1., 20.])
    """
    if (probabilities is None) == (logits is None):
        raise KexueValueError("one of probabilities and logits must be given, and not both")
    ratio = _check_positive("prior_ratio", prior_ratio, 0)
    clip = None if clip is None else _check_positive("clip", clip, 1)
    _check_kind(kind)
    given: Any
    name, given = ("logits", logits) if probabilities is None else ("probabilities", probabilities)
    dtype = result_dtype(given)
    values = as_real(name, given, dtype=np.float64)
    first_bad(name, values, np.isnan)
    if name == "probabilities":
        first_bad(name, values, lambda entries: (entries < 0) | (entries > 1), "is {value}, not from 0 to 1")
        log_ratios = _log_odds(values)
    else:
        log_ratios = values
    with np.errstate(over="ignore"):
        weights = _weights(_clipped(log_ratios + math.log(ratio), clip), kind).astype(dtype, copy=False)
    infinite = np.isinf(weights)
    if infinite.any():
        first_bad(name, values, lambda entries: infinite, "is {value}: the weight is infinite; clip limits it")
    if weights.size and not weights.any():
        raise KexueValueError(f"all weights are zero: {name} has no entry that is large enough")
    return weights[()]


def _as_weights(weights: ArrayLike) -> np.ndarray:
    array = as_real("weights", weights, ndim=1, dtype=np.float64)
    require_finite("weights", array)
    require_nonnegative("weights", array)
    if not array.any():
        raise KexueValueError(f"all weights are zero; there are {len(array)}")
    return array


@same_kind
def weighted_metric(values: ArrayLike, weights: ArrayLike, *, self_normalized: bool = True) -> np.ndarray | np.generic:
    """The mean of a metric under the test set's law, from rows of the training set and their weights.

    sum w f / sum w, or the mean of w f.

    Parameters
    ----------
    values : array_like, shape (N,) or (N, ...)
        f of each row: a loss, or whether the prediction is right.
    weights : array_like, shape (N,)
        Not negative, of `discriminator_weights`.
    self_normalized : bool
        Divide by the sum of the weights: their scale does not matter then, and the result is among the values. False
        divides by N, which is unbiased if the weights are exact.

    Returns
    -------
    scalar or ndarray, shape (...)
        float32 if `values` and `weights` are float32, else float64.

    Raises
    ------
    KexueValueError
        If shapes do not fit, a weight is negative, all are 0, or an entry is NaN or infinite.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Linear time.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/7805. A. B. Owen, "Monte Carlo theory, methods and examples", 2013, chapter 9.

    Examples
    --------
    >>> import kexue
    >>> right = [1, 1, 0, 0]
    >>> kexue.weighted_metric(right, [0.25, 1.0, 4.0, 1.5]).round(4)
    np.float64(0.1852)
    """
    array = as_real("values", values)
    shares = _as_weights(weights)
    if array.ndim == 0 or len(array) != len(shares):
        raise KexueValueError(f"values must have {len(shares)} rows, as weights, but its shape is {array.shape}")
    require_finite("values", array)
    # By the largest first: a sum of large weights could overflow.
    largest = shares.max()
    scaled = shares / largest
    result = np.tensordot(scaled / (scaled.sum() if self_normalized else len(shares)), array, axes=1)
    if not self_normalized:
        result = largest * result
    return np.asarray(result).astype(result_dtype(values, weights), copy=False)[()]


def _validation_count(name: str, size: Any, rows: int) -> int:
    """How many rows a share or a number of rows is."""
    if isinstance(size, Integral) and not isinstance(size, (bool, np.bool_)):
        return check_integer(name, size, 1)
    if not isinstance(size, Real) or isinstance(size, (bool, np.bool_)):
        raise TypeError(f"{name} must be a share or a number of rows, not {type(size).__name__}")
    share = float(size)
    if not 0 < share < 1:
        raise KexueValueError(f"{name} must be an integer, or a share above 0 and below 1, got {size}")
    return math.ceil(share * rows * (1 - 1e-12))  # 0.07 of 100 rows is 7.000000000000001


@same_kind
def resample_validation(
    weights: ArrayLike,
    size: int | float,
    *,
    rng: np.random.Generator | int | None = None,
    replace: bool = True,
) -> np.ndarray:
    """Draw rows with probabilities in proportion to their weights: a sample of the test set's law.

    Parameters
    ----------
    weights : array_like, shape (N,)
        Not negative, of `discriminator_weights`.
    size : int or float
        How many draws, or their share of N, rounded up.
    rng : numpy.random.Generator, int or None
        Where random numbers come from, through ``numpy.random.default_rng(rng)``.
    replace : bool
        Rows can be drawn again, and duplicates are kept: only so the sample has the law of the test set. False draws
        rows one by one from those that are left, which draws nearer to the training set's law.

    Returns
    -------
    ndarray of int64, shape (size,)
        Numbers of rows, in the order they were drawn.

    Raises
    ------
    KexueValueError
        If a weight is negative, NaN or infinite, all are 0, `size` is out of range, or there are fewer positive weights
        than `size` without `replace` (those below 1e-323 of the largest count as 0).
    TypeError
        If `weights` does not hold real numbers, or `size` is no number.

    Notes
    -----
    O(N + size log N).

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/7805.

    Examples
    --------
    >>> import kexue
    >>> rows = kexue.resample_validation([0.25, 1.0, 4.0, 1.5], 1000, rng=0)
    >>> bool(abs((rows == 2).mean() - 4 / 6.75) < 0.05)
    True
    """
    shares = _as_weights(weights)
    shares = shares / shares.max()  # whose sum does not overflow
    count = _validation_count("size", size, len(shares))
    if not replace and count > np.count_nonzero(shares):
        raise KexueValueError(
            f"size is {count}, but only {np.count_nonzero(shares)} rows have a weight above 0, and replace=False"
        )
    return np.random.default_rng(rng).choice(len(shares), count, replace=bool(replace), p=shares / shares.sum())


@same_kind
def area_under_curve(scores: ArrayLike, labels: ArrayLike) -> float:
    """The area under the ROC curve: how often a row of the second class has the higher score.

    The share of pairs of a row with label 0 and one with label 1 in which the latter has the higher score; equal scores
    count half. 0.5 is what no information gives.

    Parameters
    ----------
    scores : array_like, shape (N,)
        Finite or infinite.
    labels : array_like of int or bool, shape (N,)
        0 or 1.

    Returns
    -------
    float
        The ratio of integers that it is, rounded once.

    Raises
    ------
    KexueValueError
        If shapes differ, a score is NaN, a label is neither 0 nor 1, or all labels are equal.
    TypeError
        If `scores` does not hold real numbers, or `labels` integers.

    Notes
    -----
    O(N log N). Counts are integers, so ties are exact.

    References
    ----------
    J. A. Hanley, B. J. McNeil, "The meaning and use of the area under a receiver operating characteristic (ROC) curve",
    1982, doi:10.1148/radiology.143.1.7063747.

    Examples
    --------
    >>> import kexue
    >>> kexue.area_under_curve([0.1, 0.4, 0.4, 0.8], [0, 0, 1, 1])
    0.875
    """
    values = as_real("scores", scores, ndim=1)
    first_bad("scores", values, np.isnan)
    flags = as_array("labels", labels)
    if flags.dtype.kind not in "iub":
        raise TypeError(f"labels must hold integers or booleans, but its dtype is {flags.dtype}")
    if flags.shape != values.shape:
        raise KexueValueError(f"labels has shape {flags.shape}, but scores has {values.shape}")
    first_bad("labels", flags, lambda entries: (entries != 0) & (entries != 1), "is {value}, neither 0 nor 1")
    flags = flags.astype(bool)
    positives = int(flags.sum())
    negatives = len(flags) - positives
    if not positives or not negatives:
        raise KexueValueError(f"labels must have both 0 and 1, but {len(flags)} are {int(positives > 0)}")
    low = np.sort(values[~flags])
    high = values[flags]
    halves = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return int(halves.sum()) / (2 * positives * negatives)


# ---- rows of anything ----


def _count_rows(name: str, X: Any) -> int:
    shape = getattr(X, "shape", None)
    try:
        return int(shape[0]) if shape else len(X)
    except TypeError as error:
        raise TypeError(f"{name} must have rows, but it is a {type(X).__name__}") from error


def _take(X: Any, places: np.ndarray) -> Any:
    if hasattr(X, "iloc"):
        return X.iloc[places]
    return X[places] if hasattr(X, "shape") else [X[place] for place in places]


def _join(first: Any, second: Any) -> Any:
    if hasattr(first, "iloc"):
        return sys.modules["pandas"].concat([first, second], ignore_index=True)
    if is_sparse(first):
        from scipy.sparse import vstack

        return vstack([first, second], format="csr")
    return np.concatenate([first, second]) if hasattr(first, "shape") else [*first, *second]


def _kind(X: Any) -> str:
    return "pandas" if hasattr(X, "iloc") else "sparse" if hasattr(X, "tocsr") else "an array or a list"


def _require_same_columns(X: Any, target: Any) -> None:
    """Data frames are compared column by column where they are arrays, and name by name where they are joined."""
    own, other = (getattr(rows, "columns", None) if hasattr(rows, "iloc") else None for rows in (X, target))
    if own is not None and other is not None and not own.equals(other):
        raise KexueValueError(f"X has the columns {own.tolist()}, but X_target has {other.tolist()}")


def _alike(X: Any, target: Any) -> list[Any]:
    """Both as things that can be joined and indexed."""
    kinds = _kind(X), _kind(target)
    if kinds[0] != kinds[1]:
        raise TypeError(f"X is {kinds[0]}, but X_target is {kinds[1]}: the discriminator takes them together")
    if kinds[0] == "sparse":
        return [X.tocsr(), target.tocsr()]
    if hasattr(X, "shape") != hasattr(target, "shape"):
        return [np.asarray(X), np.asarray(target)]
    return [X, target]


# ---- the splitter ----


class AdversarialSplit:
    """Splits off the validation set that is nearest to an unlabelled test set.

    A discriminator learns to tell the rows of X from those of the test set. Its odds for rows that it was not trained
    on (cross-fitting) are weights of the rows of X, and the rows with the largest weights, or a weighted sample, become
    the validation set. It is a splitter of scikit-learn with one split: ``cv=AdversarialSplit(X_test)``.

    Parameters
    ----------
    X_target : array_like, shape (M, n)
        The test set, without labels. With a `discriminator` it may be whatever that takes: arrays, sparse matrices,
        data frames, lists.
    validation_size : float or int
        A share of the rows of X, rounded up, or a number of rows.
    discriminator : estimator, optional
        Any classifier with ``fit``, and ``predict_proba`` or a ``decision_function`` that gives log-odds; it is cloned
        for each fold. Its odds are multiplied by training rows over test rows, so it must not balance the two by
        itself, as with ``class_weight="balanced"``. By default the closed form of `logistic_closed_form`.
    method : {"top", "resample"}
        "top" takes the rows of the largest weights, of equal ones the first. "resample" draws with replacement, as
        `resample_validation`; duplicates are kept, and the rows that were never drawn are the training set.
    clip : float, optional
        Above 1: weights are limited to the range from 1 / clip to clip.
    rng : numpy.random.Generator, int or None
        Draws the folds and the validation set, through ``numpy.random.default_rng(rng)``. An integer gives the same
        split in every call.
    n_folds : int
        Parts of X and of `X_target` for cross-fitting.
    shrinkage : float
        Of the default discriminator, from 0 to 1; see `softmax_closed_form`. It helps where columns are many.
    weight : {"ratio", "probability"}
        The `kind` of `discriminator_weights`.

    Attributes
    ----------
    weights_ : ndarray, shape (N,)
        After `split`, of the rows of X. They estimate the ratio of the densities.
    target_weights_ : ndarray, shape (M,)
        Of the rows of `X_target`, not clipped; infinite where the discriminator is certain.
    effective_sample_size_ : float
        How many rows of X the weights are worth.
    auc_ : float
        How well the discriminator tells the two sets apart, on rows that it was not trained on: 0.5 if it cannot.
    clipped_share_ : float
        Share of the rows of X whose weights were clipped.

    Raises
    ------
    KexueValueError
        If an option is out of range; in `split`, if columns differ in number or, of data frames, in name, there are too
        few rows for the folds, an entry is NaN or infinite, a column has one value in X and another in `X_target`, a
        weight is infinite without `clip`, or all are 0.
    TypeError
        If an option is of a wrong type, `discriminator` cannot be used, or one of X and `X_target` is a data frame or
        sparse, and the other is not, with a `discriminator`.

    Warns
    -----
    UserWarning
        In `split`, when weights degenerate: the effective sample size is below 10 or 5% of the rows, `auc_` above 0.95,
        or more than 10% of the weights were clipped. Then X has hardly any rows like those of the test set, and no
        choice of validation rows helps.

    See Also
    --------
    discriminator_weights, weighted_metric, resample_validation
    kexue.plot.discriminator_weights : the two distributions of weights.

    Notes
    -----
    The default discriminator takes one Gram matrix of all rows, (N + M) n^2 multiplications, whatever the number of
    folds, and `n_folds` Cholesky decompositions. A set chosen by "top" is nearer to the test set than a random one, but
    it is not a sample of its law: for an estimate of the test error weigh the losses of a random split by `weights_`
    (`weighted_metric`), or take "resample". Labels play no part: a shift of their frequencies alone cannot be seen.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/7805. S. Bickel, M. Brueckner, T. Scheffer, "Discriminative Learning Under
    Covariate Shift", Journal of Machine Learning Research 10, 2009.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, X_test = rng.normal(size=(500, 2)), rng.normal(size=(300, 2)) + [1, 0]
    >>> splitter = kexue.AdversarialSplit(X_test, rng=0)
    >>> ((train, validation),) = splitter.split(X)
    >>> len(train), len(validation)
    (400, 100)
    >>> X.mean(axis=0).round(1), X[validation].mean(axis=0).round(1)
    (array([-0.1, -0. ]), array([1.3, 0.1]))
    >>> round(splitter.auc_, 2), round(splitter.effective_sample_size_ / 500, 1)
    (0.8, 0.3)
    """

    def __init__(
        self,
        X_target: Any,
        *,
        validation_size: float | int = 0.2,
        discriminator: Any = None,
        method: Literal["top", "resample"] = "top",
        clip: float | None = None,
        rng: np.random.Generator | int | None = None,
        n_folds: int = 5,
        shrinkage: float = 0.0,
        weight: Literal["ratio", "probability"] = "ratio",
    ) -> None:
        if not isinstance(method, str) or method not in _METHODS:
            raise KexueValueError(f'method must be "top" or "resample", got {method!r}')
        if not isinstance(weight, str) or weight not in _KINDS:
            raise KexueValueError(f'weight must be "ratio" or "probability", got {weight!r}')
        _validation_count("validation_size", validation_size, 1)
        if clip is not None:
            _check_positive("clip", clip, 1)
        if discriminator is not None and not hasattr(discriminator, "fit"):
            raise TypeError(f"discriminator must have fit, but {type(discriminator).__name__} has not")
        self.X_target = X_target
        self.validation_size = validation_size
        self.discriminator = discriminator
        self.method = method
        self.clip = clip
        self.rng = rng
        self.n_folds = check_integer("n_folds", n_folds, 2)
        self.shrinkage = shrinkage
        self.weight = weight

    def __repr__(self) -> str:
        shape = getattr(self.X_target, "shape", None) or (_count_rows("X_target", self.X_target),)
        return f"AdversarialSplit(<X_target of shape {tuple(shape)}>, method={self.method!r})"

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """How many splits there are: one.

        Parameters
        ----------
        X, y, groups : object
            Not used.

        Returns
        -------
        int
        """
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Find the weights, and split once.

        Parameters
        ----------
        X : array_like, shape (N, n)
            The rows to be split.
        y, groups : object
            Not used.

        Yields
        ------
        train : ndarray of int64
            Numbers of rows in ascending order.
        validation : ndarray of int64
            Numbers of the other rows in ascending order, with duplicates if `method` is "resample".
        """
        generator = np.random.default_rng(self.rng)
        N = _count_rows("X", X)
        count = _validation_count("validation_size", self.validation_size, N)
        if self.method == "top" and count >= N:
            raise KexueValueError(f"validation_size is {count} rows, but X has {N}: none are left for training")
        self._fit(X, generator)
        if self.method == "top":
            validation = np.sort(np.argsort(-self.weights_, kind="stable")[:count])
        else:
            validation = np.sort(resample_validation(self.weights_, count, rng=generator))
        train = np.setdiff1d(np.arange(N), validation)
        if not len(train):
            raise KexueValueError(f"all {N} rows of X were drawn for validation: none are left for training")
        yield train, validation

    def _fit(self, X: Any, generator: np.random.Generator) -> None:
        sizes = []
        for name, rows in (("X", X), ("X_target", self.X_target)):
            sizes.append(_count_rows(name, rows))
            if sizes[-1] < self.n_folds:
                raise KexueValueError(f"{name} has {sizes[-1]} rows, fewer than n_folds={self.n_folds}")
        # Each fold has its share of both sets.
        folds = [generator.permutation(np.arange(size) % self.n_folds) for size in sizes]
        _require_same_columns(X, self.X_target)
        find = self._closed_form if self.discriminator is None else self._cross_fit
        logits = find(X, folds)
        ratios = _clipped(logits[0], self.clip)
        weights = _weights(ratios, self.weight)
        infinite = np.isinf(weights)
        if infinite.any():
            raise KexueValueError(
                f"the discriminator is certain that X[{int(infinite.argmax())}] belongs to the test set, as it is of "
                f"{int(infinite.sum())} of {sizes[0]} rows: their weights are infinite; clip limits them"
            )
        if not weights.any():
            raise KexueValueError(
                f"all weights are zero: the discriminator is certain that none of the {sizes[0]} rows of X belongs to "
                "the test set; clip limits it"
            )
        self.weights_ = weights
        self.target_weights_ = _weights(logits[1], self.weight)
        with np.errstate(divide="ignore"):
            self.effective_sample_size_ = float(effective_sample_size(np.log(weights)))
        self.auc_ = area_under_curve(np.concatenate(logits), np.repeat([0, 1], sizes))
        self.clipped_share_ = float((ratios != logits[0]).mean())
        self._warn(sizes[0])

    def _warn(self, N: int) -> None:
        reasons = []
        if self.effective_sample_size_ < max(_LOWEST_SIZE, _LOWEST_SHARE * N) * (1 - 1e-9):  # rounding is no reason
            reasons.append(f"the effective sample size is {self.effective_sample_size_:.3g} of {N}")
        if self.auc_ > _HIGHEST_AREA:
            reasons.append(f"the discriminator has an AUC of {self.auc_:.3f}")
        if self.clipped_share_ > _HIGHEST_CLIPPED:
            reasons.append(f"{self.clipped_share_:.0%} of the weights were clipped to {self.clip:g}")
        if reasons:
            warnings.warn(
                f"the weights degenerate, as hardly any rows of X are like those of X_target: {', '.join(reasons)}",
                UserWarning,
                stacklevel=4,
            )

    def _closed_form(self, X: Any, folds: list[np.ndarray]) -> list[np.ndarray]:
        sets = [as_real("X", X, ndim=2), as_real("X_target", self.X_target, ndim=2)]
        if sets[0].shape[1] != sets[1].shape[1]:
            raise KexueValueError(f"X has {sets[0].shape[1]} columns, but X_target has {sets[1].shape[1]}")
        for name, rows in zip(("X", "X_target"), sets, strict=True):
            require_finite(name, rows)
        _require_no_label(*sets)
        places = [[np.flatnonzero(numbers == fold) for fold in range(self.n_folds)] for numbers in folds]
        parts = []
        for fold in range(self.n_folds):
            part = ClassStatistics(2, sets[0].shape[1])
            for label, rows in enumerate(sets):
                chosen = places[label][fold]
                part.update(rows.take(chosen, axis=0), np.full(len(chosen), label))
            parts.append(part)
        logits = [np.empty(len(rows)) for rows in sets]
        for fold in range(self.n_folds):
            others = [part for place, part in enumerate(parts) if place != fold]
            rule = sum(others[1:], others[0]).solve(priors=[0.5, 0.5], shrinkage=self.shrinkage)
            for label, rows in enumerate(sets):
                chosen = places[label][fold]
                logits[label][chosen] = rule.log_odds(rows.take(chosen, axis=0))
        return logits

    def _cross_fit(self, X: Any, folds: list[np.ndarray]) -> list[np.ndarray]:
        sets = _alike(X, self.X_target)
        widths = [rows.shape[1] if len(getattr(rows, "shape", ())) == 2 else None for rows in sets]
        if widths[0] != widths[1]:
            raise KexueValueError(f"X has {widths[0]} columns, but X_target has {widths[1]}")
        logits = [np.empty(len(numbers)) for numbers in folds]
        for fold in range(self.n_folds):
            trained = [np.flatnonzero(numbers != fold) for numbers in folds]
            model = _fresh(self.discriminator)
            rows = _join(*(_take(one, places) for one, places in zip(sets, trained, strict=True)))
            model.fit(rows, np.repeat([0, 1], [len(places) for places in trained]))
            correction = math.log(len(trained[0]) / len(trained[1]))
            for one, numbers, values in zip(sets, folds, logits, strict=True):
                places = np.flatnonzero(numbers == fold)
                values[places] = _logits_of(model, _take(one, places)) + correction
        return logits


def _require_no_label(X: np.ndarray, target: np.ndarray) -> None:
    """The closed form has no weight for what does not vary within the sets, and would not see such a column."""
    apart = (X[0] != target[0]) & (X == X[0]).all(axis=0) & (target == target[0]).all(axis=0)
    if apart.any():
        column = int(apart.argmax())
        raise KexueValueError(
            f"column {column} is {X[0, column]} in all of X and {target[0, column]} in all of X_target: no row of X is "
            "like the test set; leave the column out"
        )


def _fresh(discriminator: Any) -> Any:
    if hasattr(discriminator, "get_params"):
        try:
            from sklearn.base import clone
        except ImportError:
            return copy.deepcopy(discriminator)
        return clone(discriminator)
    return copy.deepcopy(discriminator)


def _logits_of(model: Any, rows: Any) -> np.ndarray:
    """The log-odds of label 1."""
    name = type(model).__name__
    if hasattr(model, "predict_proba"):
        probabilities = np.asarray(model.predict_proba(rows), dtype=np.float64)
        if probabilities.ndim != 2 or probabilities.shape[1] != 2:
            raise KexueValueError(
                f"discriminator {name} gave probabilities of shape {probabilities.shape}, not (.., 2)"
            )
        logits = _log_odds(probabilities[:, 1])
    elif hasattr(model, "decision_function"):
        logits = np.asarray(model.decision_function(rows), dtype=np.float64).ravel()
    else:
        raise TypeError(f"discriminator must have predict_proba or decision_function, but {name} has none")
    if len(logits) != _count_rows("X", rows) or np.isnan(logits).any():
        raise KexueValueError(f"discriminator {name} gave NaN, a probability out of range, or a wrong number of values")
    return logits
