"""Classification with alternating normalisation around any classifier."""

from __future__ import annotations

from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn import get_config
from sklearn.base import BaseEstimator, ClassifierMixin, MetaEstimatorMixin, clone
from sklearn.utils import Tags, assert_all_finite, get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping, process_routing
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, column_or_1d

from kexue import KexueValueError, can, topk_entropy
from kexue.sklearn._fitting import COLUMNS


class CAN(MetaEstimatorMixin, ClassifierMixin, BaseEstimator):
    """A classifier whose uncertain predictions are moved towards the frequencies of the classes.

    The probabilities of a batch go through `kexue.can`: examples of which the classifier is certain keep theirs, and
    for each of the others the classes that are rarer among the certain ones than the prior says gain.

    Parameters
    ----------
    estimator : classifier
        With ``predict_proba``. It is cloned and fitted; one that is fitted already goes in as
        ``sklearn.frozen.FrozenEstimator(classifier)``.
    prior : {"train", "uniform"} or array_like of shape (n_classes,)
        How frequent the classes are where predictions are made: as in the labels that `fit` gets (with their
        weights), all the same, or in any scale in the order of ``classes_``.
    k, threshold, alpha, iterations, uncertainty
        As in `kexue.can`.

    Attributes
    ----------
    estimator_ : classifier
        The fitted one.
    classes_ : ndarray of shape (n_classes,)
    prior_ : ndarray of shape (n_classes,)
        It sums to 1.
    n_features_in_ : int
        If the fitted classifier tells it.
    feature_names_in_ : ndarray of str
        Likewise.

    See Also
    --------
    kexue.can : the function.

    Notes
    -----
    A prediction is for a batch: that of an uncertain example depends on the certain ones that come with it, though
    neither on the uncertain ones nor on the order. So predict a whole test set at once, and do not expect the same of
    its parts; scikit-learn's check of that, ``check_methods_subset_invariance``, fails. An uncertain example by itself
    is put beside one certain example of each class.

    With metadata routing, `sample_weight` counts in the prior if this estimator requests it, and reaches the
    classifier if that one does.

    Examples
    --------
    >>> from kexue.sklearn import CAN
    >>> from sklearn.datasets import load_wine
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> X, y = load_wine(return_X_y=True)
    >>> model = CAN(KNeighborsClassifier()).fit(X[::2], y[::2])
    >>> model.prior_.round(3)
    array([0.337, 0.393, 0.27 ])
    >>> int((model.predict_uncertainty(X[1::2]) >= model.threshold).sum())
    8
    >>> model.predict(X[1::2])[:5].tolist()
    [0, 0, 0, 0, 0]
    """

    def __init__(
        self,
        estimator: Any,
        *,
        prior: Literal["train", "uniform"] | ArrayLike = "train",
        k: int = 3,
        threshold: float = 0.9,
        alpha: float = 1.0,
        iterations: int = 1,
        uncertainty: Literal["post", "paper", "repo"] = "post",
    ) -> None:
        self.estimator = estimator
        self.prior = prior
        self.k = k
        self.threshold = threshold
        self.alpha = alpha
        self.iterations = iterations
        self.uncertainty = uncertainty

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self.estimator)
        tags.input_tags = inner.input_tags
        tags.classifier_tags = inner.classifier_tags
        tags.classifier_tags.multi_label = False
        return tags

    def fit(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None, **params: Any) -> Self:
        """Fit a clone of the classifier, and take the prior from the labels.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
            Whatever the classifier takes.
        y : array_like of shape (n_samples,)
        sample_weight : array_like of shape (n_samples,), optional
            It counts in the prior too.
        **params
            For the classifier's `fit`.

        Returns
        -------
        self
        """
        if not hasattr(self.estimator, "predict_proba"):
            raise KexueValueError(
                f"estimator has no predict_proba: {self.estimator!r}; "
                "sklearn.calibration.CalibratedClassifierCV gives probabilities to a classifier without"
            )
        check_consistent_length(X, y)
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        weights = np.ones(len(labels))
        if sample_weight is not None:
            params["sample_weight"] = sample_weight
            weights = _check_sample_weight(sample_weight, X)
        if isinstance(self.prior, str):  # a class without weight shows here, before a fit that it may trouble
            self._prior_of(np.unique(labels), labels, weights)
        if get_config()["enable_metadata_routing"]:
            params = process_routing(self, "fit", **params).estimator.fit
        estimator = clone(self.estimator).fit(X, labels, **params)
        prior = self._prior_of(estimator.classes_, labels, weights)
        self._can(np.full((1, len(prior)), 1 / len(prior)), prior)  # bad options show here, not at the prediction
        self.estimator_, self.classes_ = estimator, estimator.classes_
        for name in COLUMNS:
            if hasattr(estimator, name):
                setattr(self, name, getattr(estimator, name))
            elif hasattr(self, name):
                delattr(self, name)  # of the fit before: of a frame, where this one is of an array
        prior = prior / prior.max()  # whose sum does not overflow
        self.prior_ = prior / prior.sum()
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The classifier's probabilities after alternating normalisation over this batch.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_samples, n_classes)
            The classifier's own where it is certain.
        """
        check_is_fitted(self)
        return self._can(self.estimator_.predict_proba(X), self.prior_)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """The logarithms of :meth:`predict_proba`.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        log_probabilities : ndarray of shape (n_samples, n_classes)
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable classes of this batch.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        labels : ndarray of shape (n_samples,)
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_uncertainty(self, X: Any) -> np.ndarray:
        """How uncertain the classifier is of each example: those from `threshold` on are moved.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)

        Returns
        -------
        uncertainty : ndarray of shape (n_samples,)
        """
        check_is_fitted(self)
        return topk_entropy(self.estimator_.predict_proba(X), self.k, mode=self.uncertainty)

    def get_metadata_routing(self) -> MetadataRouter:
        """What metadata goes where.

        Returns
        -------
        routing : MetadataRouter
        """
        return (
            MetadataRouter(owner=type(self).__name__)
            .add_self_request(self)
            .add(estimator=self.estimator, method_mapping=MethodMapping().add(caller="fit", callee="fit"))
        )

    def _can(self, probabilities: np.ndarray, prior: np.ndarray) -> np.ndarray:
        return can(
            probabilities,
            prior,
            k=self.k,
            threshold=self.threshold,
            alpha=self.alpha,
            iterations=self.iterations,
            uncertainty=self.uncertainty,
        )

    def _prior_of(self, classes: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
        if not isinstance(self.prior, str):
            try:
                prior = np.asarray(self.prior, dtype=np.float64)
            except (TypeError, ValueError) as error:
                raise TypeError(f"prior must hold real numbers: {error}") from None
            if prior.shape != classes.shape:
                raise KexueValueError(f"prior has shape {prior.shape}, but there are {len(classes)} classes")
            return prior
        if self.prior == "uniform":
            return np.ones(len(classes))
        if self.prior != "train":
            raise KexueValueError(f'prior must be "train", "uniform" or an array, got {self.prior!r}')
        strange = ~np.isin(labels, classes)
        if strange.any():
            label = labels[strange].tolist()[0]
            raise KexueValueError(f'prior="train", but y has the label {label!r}, and classes_ is {classes.tolist()}')
        prior = np.array([weights[labels == label].sum() for label in classes])
        if not (prior > 0).all():
            label = classes[prior <= 0].tolist()[0]
            raise KexueValueError(f'prior="train", but y has no example of class {label!r} (or of no weight)')
        return prior
