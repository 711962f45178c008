"""Linear classifiers and regressions in closed form, from sums that data are read once for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_integer, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite, require_nonnegative
from kexue._ufuncs import log_softmax

_EPS = float(np.finfo(np.float64).eps)
# Entries of X that are there in float64 at once: 1 MB stays in the second cache, and is 1.5 to 2 times as fast as 8 MB.
_CHUNK = 1 << 17
_LEAST_ROWS = 1024  # of a chunk: fewer would leave the Gram matrix's own memory to bound the product
# Standard deviations below this share of the distance of class means are the rounding of equal numbers.
_ROUNDING = 64 * _EPS
# Rounding leaves eigenvalues of up to 2.2 eps of the largest (3 to 4 columns; less than n eps for more) in place of 0.
_CUTOFF = 10
_PRIOR_SUM_TOLERANCE = 1e-6
_MOST_REFINEMENTS = 8
_SMALL_STEP = 1e-9  # the next one would be in the rounding


# ---- symmetric systems, singular ones too ----


class _Inverse:
    """The pseudo-inverse of a positive semidefinite matrix, as a factorization.

    Columns of no variance are left out, the others are scaled to unit variance, so that units do not matter, and
    decomposed by Cholesky. If that is singular, to `cutoff` in its reciprocal condition, eigenvalues of the matrix as
    it was given below `cutoff` times the largest count as 0.
    """

    def __init__(self, matrix: np.ndarray, cutoff: float | None, floor: np.ndarray | float = 0.0) -> None:
        from scipy.linalg import eigh
        from scipy.linalg.lapack import dpocon, dpotrf

        size = len(matrix)
        share = _CUTOFF * size * _EPS if cutoff is None else cutoff
        diagonal = matrix.diagonal()
        self.kept = diagonal > floor
        if not self.kept.all():
            matrix, diagonal = matrix[np.ix_(self.kept, self.kept)], diagonal[self.kept]
        self.rank = len(diagonal)
        self.vectors: np.ndarray | None = None
        if not self.rank:
            return
        self.scale = 1 / np.sqrt(diagonal)
        scaled = matrix * self.scale[:, None] * self.scale
        self.factor, failed = dpotrf(scaled)
        if not failed:
            reciprocal_condition, _ = dpocon(self.factor, np.abs(scaled).sum(axis=0).max())
            if reciprocal_condition > share:
                return
        values, vectors = eigh(matrix, driver="evd", check_finite=False)
        large = values > share * values[-1]
        self.rank = int(large.sum())
        self.vectors, self.values = vectors[:, large], values[large]

    def __call__(self, right: np.ndarray) -> np.ndarray:
        """The product with columns, shape (n, m)."""
        if self.kept.all():
            return self._solve(right)
        result = np.zeros(right.shape)
        if self.rank:
            result[self.kept] = self._solve(right[self.kept])
        return result

    def _solve(self, right: np.ndarray) -> np.ndarray:
        if not self.rank:
            return np.zeros(right.shape)
        if self.vectors is None:
            from scipy.linalg.lapack import dpotrs

            return self.scale[:, None] * dpotrs(self.factor, self.scale[:, None] * right)[0]
        return self.vectors @ ((self.vectors.T @ right) / self.values[:, None])


def _check_cutoff(cutoff: Any) -> float | None:
    return None if cutoff is None else _number("cutoff", cutoff, 0, 1, below=True)


def _number(name: str, value: Any, low: float, high: float, *, below: bool = False) -> float:
    number = check_number(name, value)
    if not (low <= number < high or number == high and not below):
        raise KexueValueError(f"{name} must be from {low} to {'below ' * below}{high}, got {value}")
    return number


# ---- statistics ----


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(_LEAST_ROWS, _CHUNK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def _as_weights(sample_weight: ArrayLike | None, rows: int) -> np.ndarray | None:
    if sample_weight is None:
        return None
    weights = as_real("sample_weight", sample_weight, ndim=1, dtype=np.float64)
    if len(weights) != rows:
        raise KexueValueError(f"sample_weight has {len(weights)} entries, but X has {rows} rows")
    require_finite("sample_weight", weights)
    require_nonnegative("sample_weight", weights)
    return weights


def _as_codes(y: ArrayLike, rows: int, n_classes: int | None) -> tuple[np.ndarray, int]:
    codes = as_array("y", y)
    if codes.dtype.kind not in "iub":
        if not codes.size and codes.dtype.kind == "f":
            codes = codes.astype(np.int64)
        else:
            raise TypeError(f"y must hold integers, the numbers of classes, but its dtype is {codes.dtype}")
    if codes.shape != (rows,):
        raise KexueValueError(f"y must have shape ({rows},), as X has {rows} rows, but its shape is {codes.shape}")
    first_bad("y", codes, lambda entries: entries < 0, "is {value}, but classes are numbered from 0")
    if n_classes is None:
        n_classes = int(codes.max()) + 1 if codes.size else 0
    first_bad("y", codes, lambda entries: entries >= n_classes, f"is {{value}}, but there are {n_classes} classes")
    return codes.astype(np.int64, copy=False), n_classes


class ClassStatistics:
    """Weight, mean and scatter of labelled rows: all that a closed-form classifier needs, in one pass and in parts.

    Data may come in batches and from several machines: `update` takes a batch, and parts add up with ``+``. The result
    is that of all data at once up to rounding, whatever the batches.

    Parameters
    ----------
    n_classes : int
        Classes are numbered from 0.
    n_features : int
        Columns of X.

    Attributes
    ----------
    weights : ndarray, shape (n_classes,)
        How many rows each class has, or their total weight.
    means : ndarray, shape (n_classes, n_features)
        Of the rows of each class; NaN for a class without any.
    mean : ndarray, shape (n_features,)
        Of all rows.
    scatter : ndarray, shape (n_features, n_features)
        The sum over all rows of weight * (x - m)(x - m)^T, m the mean of the row's class.

    Raises
    ------
    KexueValueError
        If a number is less than 1.
    TypeError
        If a number is no integer.

    See Also
    --------
    softmax_closed_form : does it for arrays.
    kexue.sklearn.AnalyticLogisticRegression : ``partial_fit`` over it.

    Notes
    -----
    Everything is float64 and centred, so a large offset does no harm: sums start at the first row, batches are merged
    by the formula of Chan, Golub and LeVeque. A batch of N rows costs one Gram matrix, N n_features^2 multiplications
    in BLAS, in chunks: 1 MB or 1024 rows are copied at once, and some n_features^2 numbers.

    References
    ----------
    T. F. Chan, G. H. Golub, R. J. LeVeque, "Algorithms for Computing the Sample Variance", 1983,
    doi:10.1080/00031305.1983.10483115.

    Examples
    --------
    >>> import kexue
    >>> statistics = kexue.ClassStatistics(2, 1)
    >>> statistics = statistics.update([[1.0], [3.0]], [0, 0]).update([[8.0]], [1])
    >>> statistics.weights, statistics.means.ravel(), statistics.scatter
    (array([2., 1.]), array([2., 8.]), array([[2.]]))
    """

    def __init__(self, n_classes: int, n_features: int) -> None:
        classes, features = check_integer("n_classes", n_classes, 1), check_integer("n_features", n_features, 1)
        self.weights: np.ndarray = np.zeros(classes)
        self.scatter = np.zeros((features, features))
        # Class means relative to a point among the data: a column that is constant stays so to the last bit.
        self._offsets = np.zeros((classes, features))
        self._origin: np.ndarray | None = None

    @property
    def n_classes(self) -> int:
        """How many classes there are."""
        return len(self.weights)

    @property
    def n_features(self) -> int:
        """How many columns X has."""
        return len(self.scatter)

    @property
    def means(self) -> np.ndarray:
        """The mean of each class, shape (n_classes, n_features)."""
        means = self._offsets + (0.0 if self._origin is None else self._origin)
        means[self.weights == 0] = np.nan
        return means

    @property
    def mean(self) -> np.ndarray:
        """The mean of all rows, shape (n_features,); NaN without rows."""
        if self._origin is None:
            return np.full(self.n_features, np.nan)
        return self._origin + self._middle()

    def _middle(self) -> np.ndarray:
        return (self.weights / self.weights.sum()) @ self._offsets

    def update(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Add a batch of rows.

        Parameters
        ----------
        X : array_like, shape (N, n_features)
            Any number of rows.
        y : array_like of int, shape (N,)
            Their classes, from 0 to n_classes - 1.
        sample_weight : array_like, shape (N,), optional
            Not negative. A row of weight 2 counts as two equal rows, one of weight 0 as none.

        Returns
        -------
        self

        Raises
        ------
        KexueValueError
            If shapes do not fit, a class is out of range, an entry is NaN or infinite, a weight is negative, or
            squares of X or the sum of the weights overflow. Nothing is added then.
        TypeError
            If X or `sample_weight` does not hold real numbers, or y integers.
        """
        rows = as_real("X", X, ndim=2)
        if rows.shape[1] != self.n_features:
            raise KexueValueError(f"X has {rows.shape[1]} columns (shape {rows.shape}), not {self.n_features}")
        codes, _ = _as_codes(y, len(rows), self.n_classes)
        weights = _as_weights(sample_weight, len(rows))
        part = ClassStatistics(self.n_classes, self.n_features)
        for place in _chunks(*rows.shape):
            if not np.isfinite(rows[place]).all():
                require_finite("X", rows)
            part._add(rows[place], codes[place], None if weights is None else weights[place])
        self._merge(part)
        return self

    def _add(self, rows: np.ndarray, codes: np.ndarray, weights: np.ndarray | None, name: str = "X") -> None:
        from scipy.sparse import csc_array

        if weights is not None and not weights.all():
            used = weights > 0
            rows, codes, weights = rows[used], codes[used], weights[used]
        if not len(rows):
            return
        part = ClassStatistics(self.n_classes, self.n_features)
        part._origin = rows[0].astype(np.float64) if self._origin is None else self._origin
        with np.errstate(over="ignore", invalid="ignore"):
            centred = np.subtract(rows, part._origin, dtype=np.float64)
            counts = np.ones(len(rows)) if weights is None else weights
            members = csc_array(
                (counts, codes, np.arange(len(rows) + 1)), shape=(self.n_classes, len(rows)), dtype=np.float64
            )
            part.weights = np.bincount(codes, counts, minlength=self.n_classes)
            present = part.weights > 0
            part._offsets[present] = (members @ centred)[present] / part.weights[present, None]
            centred -= part._offsets[codes]
            if weights is not None:
                centred *= np.sqrt(weights)[:, None]
            part.scatter = centred.T @ centred
        self._merge(part, name)

    def _merge(self, other: ClassStatistics, name: str = "X") -> None:
        if other._origin is None:
            return
        origin = other._origin if self._origin is None else self._origin
        with np.errstate(over="ignore", invalid="ignore"):
            total = self.weights + other.weights
            if not np.isfinite(total.sum()):
                raise KexueValueError("sample_weight has entries too large: their sum overflows")
            present = total > 0
            steps = (other._offsets - self._offsets + (other._origin - origin))[present]
            mine, theirs = self.weights[present], other.weights[present]
            shares = theirs / total[present]
            # A class that one side has no rows of has no mean there either, and weight 0 here.
            between = steps * np.sqrt(mine * shares)[:, None]
            diagonal = self.scatter.diagonal() + other.scatter.diagonal() + np.square(between).sum(axis=0)
        if not np.isfinite(diagonal).all():
            raise KexueValueError(f"{name} has entries too far apart: the squares of their differences overflow")
        self._origin = origin
        self.scatter += other.scatter
        self.scatter += between.T @ between
        self._offsets[present] += shares[:, None] * steps
        self.weights = total

    def __add__(self, other: ClassStatistics) -> ClassStatistics:
        if not isinstance(other, ClassStatistics):
            return NotImplemented
        if self._offsets.shape != other._offsets.shape:
            raise KexueValueError(
                f"statistics of {self.n_classes} classes and {self.n_features} columns cannot be added to those of "
                f"{other.n_classes} and {other.n_features}"
            )
        result = copy.deepcopy(self)
        result._merge(other)
        return result

    def solve(
        self,
        *,
        priors: ArrayLike | None = None,
        shrinkage: float = 0.0,
        cutoff: float | None = None,
        between_correction: bool = True,
    ) -> SoftmaxRule:
        """The classifier of all rows so far.

        Parameters
        ----------
        priors, shrinkage, cutoff, between_correction
            As in `softmax_closed_form`.

        Returns
        -------
        SoftmaxRule

        Raises
        ------
        KexueValueError
            If a class is absent, or an option is out of range.
        TypeError
            If an option is of a wrong type.
        """
        logarithms = np.log(_as_priors(priors, self.n_classes)) if priors is not None else None
        shrinkage = _number("shrinkage", shrinkage, 0, 1)
        cutoff = _check_cutoff(cutoff)
        absent = np.flatnonzero(self.weights == 0)
        if absent.size:
            raise KexueValueError(f"class {absent[0]} is absent: no row of it has a weight above 0")
        total = self.weights.sum()
        if logarithms is None:
            logarithms = np.log(self.weights / total)
        middle = self._middle()
        away = self._offsets - middle
        covariance = self.scatter / total
        if not between_correction:
            covariance += (away.T * (self.weights / total)) @ away
        floor = np.square(_ROUNDING * np.abs(away).max(axis=0))
        if shrinkage:
            trace = float(np.trace(covariance))
            covariance *= 1 - shrinkage
            covariance.flat[:: self.n_features + 1] += shrinkage * trace / self.n_features
        inverse = _Inverse(covariance, cutoff, floor)
        # Rows are centred by the rounded mean, so class means must be too.
        mean = self._origin + middle
        away = self._offsets - (mean - self._origin)
        solved = inverse(np.vstack([away, mean]).T).T
        centred, common = solved[:-1], solved[-1]
        W = centred + common
        return SoftmaxRule(
            W=W,
            b=logarithms - 0.5 * ((mean + away) * W).sum(axis=1),
            mean=mean,
            centred_W=centred,
            centred_b=logarithms - 0.5 * (away * centred).sum(axis=1),
            rank=inverse.rank,
        )


def _as_priors(priors: ArrayLike, n_classes: int) -> np.ndarray:
    shares = as_real("priors", priors, ndim=1, dtype=np.float64)
    if len(shares) != n_classes:
        raise KexueValueError(f"priors has {len(shares)} entries, but there are {n_classes} classes")
    require_finite("priors", shares)
    first_bad("priors", shares, lambda entries: entries <= 0, "is {value}, but must be positive")
    total = shares.sum()
    if abs(total - 1) > _PRIOR_SUM_TOLERANCE:
        raise KexueValueError(f"priors must sum to 1, within {_PRIOR_SUM_TOLERANCE}, but sum to {total}")
    return shares / total


# ---- what they are solved for ----


@dataclass(frozen=True, eq=False)
class SoftmaxRule:
    """A linear classifier with K classes: p(i | x) is proportional to exp(x . W[i] + b[i]).

    Attributes
    ----------
    W : ndarray, shape (K, n)
        Weights, S^-1 m_i for the class means m_i.
    b : ndarray, shape (K,)
        log p_i - m_i . W[i] / 2.
    mean : ndarray, shape (n,)
        The mean of the data.
    centred_W, centred_b : ndarray, shape (K, n) and (K,)
        The same for rows minus `mean`: numbers that do not grow with the offset of the data.
    rank : int
        The rank of the covariance that was inverted. Below n, directions were left out.

    See Also
    --------
    ClassStatistics.solve : makes it.

    Examples
    --------
    >>> import kexue
    >>> rule = kexue.ClassStatistics(2, 1).update([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1]).solve()
    >>> rule.W.ravel(), rule.b.round(3)
    (array([1., 5.]), array([ -1.193, -13.193]))
    >>> rule.scores([[3.0], [4.0]]).round(3)
    array([[1.807, 1.807],
           [2.807, 6.807]])
    >>> rule.log_proba([[3.0]]).round(3)
    array([[-0.693, -0.693]])
    """

    W: np.ndarray
    b: np.ndarray
    mean: np.ndarray
    centred_W: np.ndarray
    centred_b: np.ndarray
    rank: int

    def scores(self, X: ArrayLike) -> np.ndarray:
        """x . W[i] + b[i].

        Parameters
        ----------
        X : array_like, shape (N, n)

        Returns
        -------
        ndarray of float64, shape (N, K)
        """
        return self._affine(X, None, self.W, self.b)

    def centred_scores(self, X: ArrayLike) -> np.ndarray:
        """`scores` up to a number for each row, without the digits that large offsets cost.

        Parameters
        ----------
        X : array_like, shape (N, n)

        Returns
        -------
        ndarray of float64, shape (N, K)
        """
        return self._affine(X, self.mean, self.centred_W, self.centred_b)

    def log_proba(self, X: ArrayLike) -> np.ndarray:
        """Logarithms of the classes' probabilities.

        Parameters
        ----------
        X : array_like, shape (N, n)

        Returns
        -------
        ndarray of float64, shape (N, K)
        """
        return log_softmax(self.centred_scores(X))

    def log_odds(self, X: ArrayLike) -> np.ndarray:
        """log p(1 | x) - log p(0 | x), of two classes.

        Parameters
        ----------
        X : array_like, shape (N, n)

        Returns
        -------
        ndarray of float64, shape (N,)

        Raises
        ------
        KexueValueError
            If there are not two classes.
        """
        return self._affine(X, self.mean, *self._difference())[:, 0]

    def _difference(self) -> tuple[np.ndarray, np.ndarray]:
        if len(self.b) != 2:
            raise KexueValueError(f"log-odds are those of two classes, but there are {len(self.b)}")
        return np.diff(self.centred_W, axis=0), np.diff(self.centred_b)

    def _affine(self, X: ArrayLike, origin: np.ndarray | None, W: np.ndarray, b: np.ndarray) -> np.ndarray:
        rows = as_real("X", X, ndim=2)
        if rows.shape[1] != len(self.mean):
            raise KexueValueError(f"X has {rows.shape[1]} columns (shape {rows.shape}), not {len(self.mean)}")
        require_finite("X", rows)
        result = np.empty((len(rows), len(b)))
        for place in _chunks(*rows.shape):
            part = rows[place].astype(np.float64, copy=False) if origin is None else rows[place] - origin
            result[place] = part @ W.T + b
        return result


@same_kind
def softmax_closed_form(
    X: ArrayLike,
    y: ArrayLike,
    n_classes: int | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    priors: ArrayLike | None = None,
    shrinkage: float = 0.0,
    cutoff: float | None = None,
    between_correction: bool = True,
) -> tuple[np.ndarray, np.ndarray]:
    """Softmax regression without iterations: exact if the classes are Gaussians of one covariance.

    p(i | x) is proportional to exp(x . W[i] + b[i]), W[i] = S^-1 m_i, b[i] = log p_i - m_i . W[i] / 2, with class means
    m_i, shares p_i, and the covariance S within classes (over N). It is linear discriminant analysis.

    Parameters
    ----------
    X : array_like, shape (N, n)
        A sample in each row.
    y : array_like of int, shape (N,)
        Classes, from 0 to K - 1.
    n_classes : int, optional
        K; by default the largest entry of y, plus 1.
    sample_weight : array_like, shape (N,), optional
        Not negative. A row of weight 2 counts as two equal rows, one of weight 0 as none.
    priors : array_like, shape (K,), optional
        The p_i, positive with sum 1 (within 1e-6), in place of the shares of the data. They change b only.
    shrinkage : float
        From 0 to 1: (1 - shrinkage) S + shrinkage tr(S) / n I in place of S.
    cutoff : float, optional
        When S is singular: if its reciprocal condition, with all variances scaled to 1, is no larger than `cutoff`,
        S^-1 is the pseudo-inverse, in which eigenvalues of S below `cutoff` times the largest count as 0. By default
        10 n times 2.2e-16. Columns that do not vary within classes have weight 0.
    between_correction : bool
        False takes the covariance of all data for S, the differences of class means included.

    Returns
    -------
    W : ndarray, shape (K, n)
        float32 if X is float32, else float64; computed in float64.
    b : ndarray, shape (K,)
        Likewise.

    Raises
    ------
    KexueValueError
        If shapes do not fit, a class is absent or out of range, an entry is NaN or infinite, a weight is negative,
        priors have a wrong length, an entry that is not positive or another sum, or an option is out of range.
    TypeError
        If an argument does not hold real numbers, or y integers.

    See Also
    --------
    logistic_closed_form : two classes.
    ClassStatistics : data in batches, and probabilities that do not suffer from large offsets.
    kexue.sklearn.AnalyticLogisticRegression : the estimator.

    Notes
    -----
    One Gram matrix, N n^2 multiplications, and one Cholesky decomposition. Without `between_correction` it is what the
    code beside the source does after whitening, but for that code's N - 1 in place of N.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/8578. R. A. Fisher, "The Use of Multiple Measurements in Taxonomic Problems",
    1936, doi:10.1111/j.1469-1809.1936.tb02137.x.

    Examples
    --------
    >>> import kexue
    >>> X = [[0, 0], [1, 0], [0, 1], [2, 1], [3, 1], [2, 3], [3, 2], [4, 3]]
    >>> W, b = kexue.softmax_closed_form(X, [0, 0, 0, 0, 1, 1, 1, 1])
    >>> W.round(4), b.round(4)
    (array([[1.1673, 0.911 ],
           [4.6121, 4.1851]]), array([ -1.3586, -12.3195]))
    """
    rule = _rule(X, y, n_classes, sample_weight, priors, shrinkage, cutoff, between_correction)
    dtype = result_dtype(X)
    return rule.W.astype(dtype, copy=False), rule.b.astype(dtype, copy=False)


def _rule(
    X: ArrayLike,
    y: ArrayLike,
    n_classes: int | None,
    sample_weight: ArrayLike | None,
    priors: ArrayLike | None,
    shrinkage: float,
    cutoff: float | None,
    between_correction: bool,
) -> SoftmaxRule:
    rows = as_real("X", X, ndim=2)
    if not rows.size:
        raise KexueValueError(f"X is empty: its shape is {rows.shape}")
    codes, count = _as_codes(y, len(rows), None if n_classes is None else check_integer("n_classes", n_classes, 1))
    if count > len(rows):
        # Before memory is taken for so many classes.
        absent = int(np.setdiff1d(np.arange(len(rows) + 1), codes)[0])
        raise KexueValueError(f"class {absent} is absent: no row of it has a weight above 0")
    statistics = ClassStatistics(count, rows.shape[1]).update(rows, codes, sample_weight)
    return statistics.solve(priors=priors, shrinkage=shrinkage, cutoff=cutoff, between_correction=between_correction)


@same_kind
def logistic_closed_form(
    X: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    priors: ArrayLike | None = None,
    shrinkage: float = 0.0,
    cutoff: float | None = None,
    between_correction: bool = True,
) -> tuple[np.ndarray, np.floating]:
    """Logistic regression without iterations: log p(1 | x) / p(0 | x) = x . w + b.

    w = S^-1 (m_1 - m_0), b = (m_0 S^-1 m_0 - m_1 S^-1 m_1) / 2 + log(p_1 / p_0), as in `softmax_closed_form`.

    Parameters
    ----------
    X : array_like, shape (N, n)
        A sample in each row.
    y : array_like of int or bool, shape (N,)
        0 or 1.
    sample_weight, priors, shrinkage, cutoff, between_correction
        As in `softmax_closed_form`; priors of 0 and of 1.

    Returns
    -------
    w : ndarray, shape (n,)
        float32 if X is float32, else float64; computed in float64.
    b : scalar
        Likewise.

    Raises
    ------
    KexueValueError, TypeError
        As `softmax_closed_form`.

    See Also
    --------
    softmax_closed_form : any number of classes.

    Notes
    -----
    One Gram matrix, N n^2 multiplications, and one Cholesky decomposition. w is solved for the difference of the means,
    so that no digits cancel.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/8578.

    Examples
    --------
    >>> import kexue
    >>> X = [[0, 0], [1, 0], [0, 1], [2, 1], [3, 1], [2, 3], [3, 2], [4, 3]]
    >>> w, b = kexue.logistic_closed_form(X, [0, 0, 0, 0, 1, 1, 1, 1])
    >>> w.round(4), b.round(4)
    (array([3.4448, 3.274 ]), np.float64(-10.9609))
    """
    rule = _rule(X, y, 2, sample_weight, priors, shrinkage, cutoff, between_correction)
    (w,), (b,) = rule._difference()
    dtype = result_dtype(X)
    return w.astype(dtype, copy=False), dtype.type(b - rule.mean @ w)


@same_kind
def linear_regression_closed_form(
    X: ArrayLike, Y: ArrayLike, *, sample_weight: ArrayLike | None = None, cutoff: float | None = None
) -> tuple[np.ndarray, np.ndarray | np.floating]:
    """Least squares with an intercept, from one Gram matrix: W = Sxx^-1 Sxy, b = mean(Y) - mean(X) W.

    Parameters
    ----------
    X : array_like, shape (N, n)
        A sample in each row.
    Y : array_like, shape (N,) or (N, m)
        What is to be predicted.
    sample_weight : array_like, shape (N,), optional
        Not negative, and not all 0.
    cutoff : float, optional
        When Sxx is singular: if its reciprocal condition, with all variances scaled to 1, is no larger than `cutoff`,
        W is the solution of least norm, from the eigenvalues of Sxx above `cutoff` times the largest. By default
        10 n times 2.2e-16. Columns that do not vary have weight 0.

    Returns
    -------
    W : ndarray, shape (n,) or (n, m)
        float32 if both are float32, else float64; computed in float64.
    b : scalar or ndarray of shape (m,)
        Likewise.

    Raises
    ------
    KexueValueError
        If shapes do not fit, X is empty, an entry is NaN or infinite, weights are negative or all 0, or `cutoff` is
        out of range.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    N n (n + m) multiplications in BLAS and one Cholesky decomposition; memory for 1 MB or 1024 rows in float64, and for
    (n + m)^2 numbers. The Gram matrix squares the condition of X. Refinement, a second pass for the residuals, gets
    those digits back where the matrix is not singular in float64 (Björck's corrected seminormal equations); where the
    condition is above 1e4 or so, it takes a few more.

    References
    ----------
    Å. Björck, "Stability analysis of the method of seminormal equations for linear least squares problems", 1987,
    doi:10.1016/0024-3795(87)90101-7.

    Examples
    --------
    >>> import kexue
    >>> W, b = kexue.linear_regression_closed_form([[1.0], [2.0], [4.0]], [3.0, 5.0, 9.0])
    >>> W.round(12), b.round(12)
    (array([2.]), np.float64(1.0))
    """
    rows, targets = as_real("X", X, ndim=2), as_real("Y", Y, ndim=(1, 2))
    if not rows.size:
        raise KexueValueError(f"X is empty: its shape is {rows.shape}")
    if len(targets) != len(rows):
        raise KexueValueError(f"Y has {len(targets)} rows (shape {targets.shape}), but X has {len(rows)}")
    cutoff = _check_cutoff(cutoff)
    weights = _as_weights(sample_weight, len(rows))
    if weights is not None and not weights.any():
        raise KexueValueError("sample_weight has no entry above 0")
    require_finite("X", rows)
    require_finite("Y", targets)
    columns = targets.reshape(len(rows), -1)
    n = rows.shape[1]
    statistics = ClassStatistics(1, n + columns.shape[1])
    codes = np.zeros(len(rows), dtype=np.int64)
    for place in _chunks(len(rows), n + columns.shape[1]):
        both = np.concatenate([rows[place], columns[place]], axis=1, dtype=np.float64)
        statistics._add(both, codes[place], None if weights is None else weights[place], "X or Y")
    inverse = _Inverse(statistics.scatter[:n, :n], cutoff)
    W = inverse(statistics.scatter[:n, n:])
    mean = statistics.mean
    lost = statistics._middle() - (mean - statistics._origin)  # in the rounding of the mean
    deviations = np.sqrt(statistics.scatter.diagonal()[:n, None])
    before = np.full(W.shape[1], np.inf)
    for _ in range(_MOST_REFINEMENTS):
        gradient = np.zeros(W.shape)
        for place in _chunks(len(rows), n + columns.shape[1]):
            centred = rows[place] - mean[:n] - lost[:n]
            residuals = columns[place] - mean[n:] - lost[n:] - centred @ W
            if weights is not None:
                residuals *= weights[place, None]
            gradient += centred.T @ residuals
        step = inverse(gradient)
        changes = np.abs(step * deviations).max(axis=0)
        helps = changes < before / 2
        W += np.where(helps, step, 0)
        # Each step makes the error as many times smaller as the first one did.
        if not (helps & (changes > _SMALL_STEP * np.abs(W * deviations).max(axis=0))).any():
            break
        before = np.where(helps, changes, 0)
    dtype = result_dtype(X, Y)
    W, b = W.astype(dtype, copy=False), (mean[n:] - mean[:n] @ W).astype(dtype, copy=False)
    return (W[:, 0], b[0]) if targets.ndim == 1 else (W, b)
