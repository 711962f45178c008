"""Logistic and softmax regression in closed form, as a classifier."""

from __future__ import annotations

from numbers import Real
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from kexue import ClassStatistics, KexueValueError, SoftmaxRule
from kexue.sklearn._fitting import columns_kept_on_failure


class AnalyticLogisticRegression(ClassifierMixin, BaseEstimator):
    """Logistic regression without iterations: exact if the classes are Gaussians of one covariance.

    It is ``LinearDiscriminantAnalysis(solver="lsqr")`` with sample weights, streams, and numbers that large offsets and
    different units of the columns do not spoil.

    Parameters
    ----------
    shrinkage : float
        From 0 to 1: (1 - shrinkage) S + shrinkage tr(S) / n_features I in place of the covariance S.
    priors : array_like of shape (n_classes,), optional
        Probabilities of `classes_`, by default their shares of the training data. They move the intercepts only.
    cutoff : float, optional
        What counts as singular, see `kexue.softmax_closed_form`.
    between_correction : bool
        False takes the covariance of all data for that within classes.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (1, n_features) or (n_classes, n_features)
        One row for two classes.
    intercept_ : ndarray of shape (1,) or (n_classes,)
    statistics_ : kexue.ClassStatistics
        All that was kept of the data.
    rule_ : kexue.SoftmaxRule
        What was solved; `coef_` and `intercept_` are made of it.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.

    Raises
    ------
    KexueValueError
        In `fit`, if a class has no weight or an option is out of range. After `partial_fit`, when the solution is asked
        for while a class that was announced has not been seen.

    See Also
    --------
    kexue.softmax_closed_form : the function, with the formulas.

    Notes
    -----
    One Gram matrix, N n_features^2 multiplications, and a Cholesky decomposition, which `partial_fit` puts off until it
    is needed. With `priors` the covariance is still that of the data, each row counting alike, where scikit-learn
    weighs the covariances of the classes by `priors`.

    References
    ----------
    Su Jianlin, https://kexue.fm/archives/8578.

    Examples
    --------
    >>> from kexue.sklearn import AnalyticLogisticRegression
    >>> from sklearn.datasets import load_wine
    >>> X, y = load_wine(return_X_y=True)
    >>> model = AnalyticLogisticRegression().fit(X, y)
    >>> model.coef_.shape, model.score(X, y)
    ((3, 13), 1.0)
    """

    def __init__(
        self,
        *,
        shrinkage: float = 0.0,
        priors: ArrayLike | None = None,
        cutoff: float | None = None,
        between_correction: bool = True,
    ) -> None:
        self.shrinkage = shrinkage
        self.priors = priors
        self.cutoff = cutoff
        self.between_correction = between_correction

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Learn from all data at once.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)
            Labels of at least two classes.
        sample_weight : array_like of shape (n_samples,), optional
            Not negative. A row of weight 2 counts as two equal rows, one of weight 0 as none.

        Returns
        -------
        self
        """
        with columns_kept_on_failure(self):
            X, y = self._check(X, y, reset=True)
            classes, codes = np.unique(y, return_inverse=True)
            _require_two_classes("y", classes)
            statistics = ClassStatistics(len(classes), X.shape[1]).update(X, codes, _weights(sample_weight, len(X)))
            rule = self._solve(classes, statistics)
        self._rule: SoftmaxRule | None = rule
        self.classes_, self.statistics_ = classes, statistics
        return self

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> Self:
        """Learn from another batch.

        The result is that of `fit` with all batches, up to rounding.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)
            Labels out of `classes`.
        classes : array_like of shape (n_classes,), optional
            All labels that there will be. The first call needs them.
        sample_weight : array_like of shape (n_samples,), optional
            As in `fit`.

        Returns
        -------
        self
        """
        first = not hasattr(self, "statistics_")
        if first and classes is None:
            raise KexueValueError("classes must be given in the first call of partial_fit")
        announced: Any = None if classes is None else column_or_1d(classes)
        with columns_kept_on_failure(self):
            X, y = self._check(X, y, reset=first)
            known = np.unique(announced) if first else self.classes_
            if first:
                _require_two_classes("classes", known)
            elif announced is not None and not np.array_equal(np.unique(announced), known):
                raise KexueValueError(
                    f"classes is {np.unique(announced).tolist()}, but was {known.tolist()} in the first call of "
                    "partial_fit"
                )
            codes = np.minimum(np.searchsorted(known, y), len(known) - 1)
            strange = known[codes] != y
            if strange.any():
                place = int(np.argmax(strange))
                raise KexueValueError(
                    f"y[{place}] is {y.tolist()[place]!r}, which is not among the classes {known.tolist()}"
                )
            statistics = ClassStatistics(len(known), X.shape[1]) if first else self.statistics_
            statistics.update(X, codes, _weights(sample_weight, len(X)))
        self.classes_, self.statistics_, self._rule = known, statistics, None
        return self

    @property
    def rule_(self) -> SoftmaxRule:
        check_is_fitted(self, "statistics_")
        if self._rule is None:
            self._rule = self._solve(self.classes_, self.statistics_)
        return self._rule

    @property
    def coef_(self) -> np.ndarray:
        rule = self.rule_
        return np.diff(rule.centred_W, axis=0) if len(rule.b) == 2 else rule.W

    @property
    def intercept_(self) -> np.ndarray:
        rule = self.rule_
        return np.diff(rule.centred_b) - self.coef_ @ rule.mean if len(rule.b) == 2 else rule.b

    def decision_function(self, X: Any) -> np.ndarray:
        """``X @ coef_.T + intercept_``: for two classes the log-odds of the second.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
        """
        X = self._check_rows(X)
        return self.rule_.log_odds(X) if len(self.classes_) == 2 else self.rule_.scores(X)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples,)
        """
        X = self._check_rows(X)
        return self.classes_[self.rule_.centred_scores(X).argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        return np.exp(self.predict_log_proba(X))

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
        """
        X = self._check_rows(X)
        return self.rule_.log_proba(X)

    def _check(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        X, y = validate_data(self, X, y, dtype=[np.float64, np.float32], reset=reset)
        check_classification_targets(y)
        return X, y

    def _check_rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "statistics_")
        return validate_data(self, X, dtype=[np.float64, np.float32], reset=False)

    def _solve(self, classes: np.ndarray, statistics: ClassStatistics) -> SoftmaxRule:
        absent = np.flatnonzero(statistics.weights == 0)
        if absent.size == len(classes):
            raise KexueValueError("sample_weight is zero for all rows")
        if absent.size:
            label = classes.tolist()[absent[0]]
            raise KexueValueError(f"class {label!r} is absent: no row of it has a weight above 0")
        return statistics.solve(
            priors=self.priors,
            shrinkage=self.shrinkage,
            cutoff=self.cutoff,
            between_correction=self.between_correction,
        )


def _require_two_classes(name: str, classes: np.ndarray) -> None:
    if len(classes) < 2:
        what = f"one class, {classes.tolist()[0]!r}," if len(classes) else "no class"
        raise KexueValueError(f"{name} has {what} but there must be at least two")


def _weights(sample_weight: Any, rows: int) -> Any:
    """One number stands for a weight of every row, as elsewhere in scikit-learn."""
    return np.full(rows, sample_weight) if isinstance(sample_weight, Real) else sample_weight
