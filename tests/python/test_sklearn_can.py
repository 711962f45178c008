"""kexue.sklearn.CAN: what the function makes of a classifier's probabilities, in pipelines and searches."""

import numpy as np
import pytest
from scipy.sparse import csr_array

import kexue
from kexue import KexueValueError

pytest.importorskip("sklearn")

from sklearn import config_context  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.datasets import load_iris  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.feature_extraction.text import CountVectorizer  # noqa: E402
from sklearn.frozen import FrozenEstimator  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_val_predict, cross_val_score  # noqa: E402
from sklearn.naive_bayes import GaussianNB, MultinomialNB  # noqa: E402
from sklearn.neighbors import KNeighborsClassifier  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402
from sklearn.svm import LinearSVC  # noqa: E402

from kexue.sklearn import CAN  # noqa: E402

X, y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])[y]


@pytest.fixture
def weak():
    """A classifier that is uncertain of many."""
    return LogisticRegression(C=0.02, max_iter=1000)


class TestPrediction:
    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"threshold": 0.6, "alpha": 0.5},
            {"threshold": 0.6, "iterations": 3, "uncertainty": "paper"},
            {"k": 4, "threshold": 0.5, "uncertainty": "repo"},
        ],
        ids=str,
    )
    @pytest.mark.parametrize("prior", ["train", "uniform", [1, 2, 5]], ids=str)
    def test_is_the_function(self, options, prior, weak):
        learned = np.r_[0:40, 50:100:2, 100:110]
        model = CAN(weak, prior=prior, **options).fit(X[learned], NAMES[learned])
        inner = clone(weak).fit(X[learned], NAMES[learned])
        counts = {"train": [40, 25, 10], "uniform": None}.get(str(prior), prior)
        expected, u = kexue.can(inner.predict_proba(X), counts, return_uncertainty=True, **options)
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-14)
        np.testing.assert_allclose(model.predict_log_proba(X), np.log(expected), atol=1e-12)
        np.testing.assert_array_equal(model.predict(X), inner.classes_[expected.argmax(axis=1)])
        np.testing.assert_array_equal(model.predict_uncertainty(X), u)
        np.testing.assert_array_equal(model.classes_, ["setosa", "versicolor", "virginica"])
        np.testing.assert_allclose(model.prior_, np.ones(3) / 3 if counts is None else np.array(counts) / sum(counts))
        assert model.score(X, NAMES) == (model.predict(X) == NAMES).mean()

    def test_the_estimator_is_not_touched(self, weak):
        model = CAN(weak).fit(X, y)
        assert not hasattr(weak, "coef_")
        assert model.estimator is weak
        assert model.n_features_in_ == 4

    def test_float32_probabilities_stay(self):
        class Narrow(GaussianNB):
            def predict_proba(self, X):
                return super().predict_proba(X).astype(np.float32)

        assert CAN(Narrow()).fit(X, y).predict_proba(X).dtype == np.float32

    def test_two_classes(self, weak):
        model = CAN(weak, threshold=0.8).fit(X[50:], NAMES[50:])
        P = model.predict_proba(X[50:])
        u = model.predict_uncertainty(X[50:])
        assert 0 < (u >= 0.8).sum() < 100
        np.testing.assert_allclose(P.sum(axis=1), 1)

    def test_a_frozen_estimator_is_not_fitted_again(self, weak):
        fitted = clone(weak).fit(X[::2], y[::2])
        model = CAN(FrozenEstimator(fitted)).fit(X[1::3], y[1::3])
        np.testing.assert_array_equal(model.estimator_.coef_, fitted.coef_)
        np.testing.assert_allclose(model.prior_, np.bincount(y[1::3]) / len(y[1::3]))
        with pytest.raises(KexueValueError, match='prior="train", but y has no example of class .*2'):
            CAN(FrozenEstimator(fitted)).fit(X[:90], y[:90])
        assert CAN(FrozenEstimator(fitted), prior="uniform").fit(X[:90], y[:90]).prior_.tolist() == [1 / 3] * 3

    def test_text_and_sparse(self):
        texts = ["milk and a cat", "a cat and a dog", "fuel for a car", "the car and the truck"] * 3
        topics = ["animals", "animals", "vehicles", "vehicles"] * 3
        model = CAN(make_pipeline(CountVectorizer(), MultinomialNB())).fit(texts, topics)
        assert model.predict(["dog", "truck"]).tolist() == ["animals", "vehicles"]
        assert not hasattr(model, "n_features_in_") or model.n_features_in_ > 0
        counts = csr_array(CountVectorizer().fit_transform(texts))
        assert CAN(MultinomialNB()).fit(counts, topics).score(counts, topics) == 1


class TestScikitLearn:
    def test_pipeline_search_and_cross_validation(self, weak):
        model = make_pipeline(StandardScaler(), CAN(weak))
        assert cross_val_score(model, X, NAMES, cv=3, error_score="raise").min() > 0.7
        assert cross_val_predict(model, X, y, cv=3, method="predict_proba").shape == (150, 3)
        grid = {"can__estimator__C": [0.01, 1.0], "can__threshold": [0.5, 0.9], "can__prior": ["train", "uniform"]}
        search = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
        assert search.best_score_ > 0.8
        assert CAN(GridSearchCV(weak, {"C": [0.1, 1.0]}, cv=2)).fit(X, y).score(X, y) > 0.8

    def test_weights_count_in_the_prior_and_in_the_classifier(self, weak):
        weights = 1.0 + (y == 2)
        model = CAN(weak).fit(X, y, sample_weight=weights)
        twice = np.concatenate([np.arange(150), np.flatnonzero(y == 2)])
        repeated = CAN(weak).fit(X[twice], y[twice])
        np.testing.assert_allclose(model.prior_, [0.25, 0.25, 0.5])
        np.testing.assert_allclose(model.prior_, repeated.prior_)
        np.testing.assert_allclose(model.predict_proba(X), repeated.predict_proba(X), atol=1e-4)
        with pytest.raises(TypeError, match="sample_weight"):
            CAN(KNeighborsClassifier()).fit(X, y, sample_weight=weights)

    def test_parameters_of_fit_go_to_the_classifier(self):
        pipeline = make_pipeline(StandardScaler(), LogisticRegression())
        plain = CAN(pipeline).fit(X, y)
        weighted = CAN(pipeline).fit(X, y, logisticregression__sample_weight=1.0 + 9 * (y == 1))
        assert (weighted.estimator_[-1].coef_ != plain.estimator_[-1].coef_).any()

    def test_metadata_routing(self, weak):
        weights = 1.0 + (y == 2)
        with config_context(enable_metadata_routing=True):
            requested = CAN(weak.set_fit_request(sample_weight=True)).set_fit_request(sample_weight=True)
            model = requested.fit(X, y, sample_weight=weights)
            np.testing.assert_allclose(model.prior_, [0.25, 0.25, 0.5])
            expected = clone(weak).fit(X, y, sample_weight=weights)
            np.testing.assert_array_equal(model.estimator_.coef_, expected.coef_)
            ignoring = CAN(weak.set_fit_request(sample_weight=False)).set_fit_request(sample_weight=True)
            np.testing.assert_array_equal(
                ignoring.fit(X, y, sample_weight=weights).estimator_.coef_, clone(weak).fit(X, y).coef_
            )
            with pytest.raises(ValueError, match="sample_weight"):
                CAN(LogisticRegression()).fit(X, y, sample_weight=weights)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"prior": "test"}, KexueValueError, 'prior must be "train", "uniform" or an array, got'),
            ({"prior": [0.5, 0.5]}, KexueValueError, r"prior has shape \(2,\), but there are 3 classes"),
            ({"prior": [0.5, 0.5, 0]}, KexueValueError, r"prior\[2\] is 0"),
            ({"prior": ["a", "b", "c"]}, TypeError, "^prior must hold real numbers"),
            ({"threshold": -1}, KexueValueError, "threshold"),
            ({"alpha": 0}, KexueValueError, "alpha"),
            ({"iterations": 0}, KexueValueError, "iterations"),
            ({"k": 0}, KexueValueError, "k must be"),
            ({"uncertainty": "x"}, KexueValueError, "uncertainty must be"),
        ],
    )
    def test_options_are_checked_by_fit(self, options, error, message):
        with pytest.raises(error, match=message):
            CAN(GaussianNB(), **options).fit(X, y)

    def test_a_classifier_without_probabilities(self):
        with pytest.raises(KexueValueError, match=r"estimator has no predict_proba: LinearSVC\(\)"):
            CAN(LinearSVC()).fit(X, y)
        assert CAN(CalibratedClassifierCV(LinearSVC(), cv=2)).fit(X, y).score(X, y) > 0.8

    def test_a_class_without_weight(self):
        with pytest.raises(KexueValueError, match='prior="train", but y has no example of class 0 .* of no weight'):
            CAN(GaussianNB()).fit(X, y, sample_weight=(y > 0).astype(float))

    def test_a_label_that_a_frozen_classifier_does_not_know(self):
        frozen = FrozenEstimator(GaussianNB().fit(X[:100], NAMES[:100]))
        with pytest.raises(KexueValueError, match="^prior=\"train\", but y has the label 'virginica', and classes_ is"):
            CAN(frozen).fit(X, NAMES)

    def test_failure_leaves_what_was_there(self, weak):
        model = CAN(weak, prior=[1.0, 2.0])
        with pytest.raises(KexueValueError, match="^prior has shape"):
            model.fit(X, y)
        with pytest.raises(NotFittedError):
            model.predict(X)
        expected = model.set_params(prior="train").fit(X, NAMES).predict(X)
        with pytest.raises(KexueValueError, match="^alpha must be positive"):
            model.set_params(alpha=0).fit(X[:100], y[:100])
        np.testing.assert_array_equal(model.set_params(alpha=1.0).predict(X), expected)

    def test_the_scale_of_the_prior_does_not_count(self, weak):
        model = CAN(weak, prior=[1e308, 1e308, 5e307]).fit(X, y)
        np.testing.assert_allclose(model.prior_, [0.4, 0.4, 0.2])
