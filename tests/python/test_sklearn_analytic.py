"""AnalyticLogisticRegression beside scikit-learn's discriminant analysis, and in batches."""

from __future__ import annotations

import pickle
import subprocess
import sys

import mpmath
import numpy as np
import pytest

import kexue
import kexue.classification
from kexue import ClassStatistics, KexueValueError

pytest.importorskip("sklearn")

from sklearn.datasets import load_breast_cancer, load_digits, load_wine  # noqa: E402
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from kexue.sklearn import AnalyticLogisticRegression  # noqa: E402

LOADERS = {"digits": load_digits, "wine": load_wine, "breast cancer": load_breast_cancer}
DATASETS = pytest.mark.parametrize("dataset", LOADERS)


def load(dataset):
    return LOADERS[dataset](return_X_y=True)


class TestBesideScikitLearn:
    @DATASETS
    @pytest.mark.parametrize("shrinkage", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("scaled", [True, False])
    def test_linear_discriminant_analysis(self, dataset, shrinkage, scaled):
        X, y = load(dataset)
        if scaled:
            X = StandardScaler().fit_transform(X)
        theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage or None).fit(X, y)
        ours = AnalyticLogisticRegression(shrinkage=shrinkage).fit(X, y)
        # The covariance of these columns, in their own units, has a condition of 3e11, of which lsqr feels the units.
        tolerance = 1e-7 if dataset == "breast cancer" and not scaled and not shrinkage else 1e-10
        for method in ("decision_function", "predict_proba"):
            found, expected = getattr(ours, method)(X), getattr(theirs, method)(X)
            assert found.shape == expected.shape
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        assert ours.coef_.shape == theirs.coef_.shape and ours.intercept_.shape == theirs.intercept_.shape
        if tolerance == 1e-10:
            np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-9, atol=1e-9 * np.abs(ours.coef_).max())
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        np.testing.assert_array_equal(ours.classes_, theirs.classes_)

    def test_breast_cancer_in_its_own_units(self):
        """Where discriminant analysis has 8 digits: against 50."""
        X, y = load("breast cancer")
        with mpmath.workdps(50):
            exact = np.vectorize(mpmath.mpf, otypes=[object])(X)
            means = np.array([exact[y == k].sum(axis=0) / int((y == k).sum()) for k in (0, 1)])
            centred = exact - means[y]
            covariance = mpmath.matrix((centred.T @ centred / len(X)).tolist())
            w = np.array(list(mpmath.lu_solve(covariance, mpmath.matrix((means[1] - means[0]).tolist()))))
            odds = mpmath.log(mpmath.mpf(int(y.sum())) / int((1 - y).sum()))
            expected = ((exact - means.sum(axis=0) / 2) @ w + odds).astype(float)
        model = AnalyticLogisticRegression().fit(X, y)
        np.testing.assert_allclose(model.decision_function(X), expected, atol=1e-10)
        np.testing.assert_allclose(X @ model.coef_[0] + model.intercept_, expected, atol=1e-10)
        theirs = LinearDiscriminantAnalysis(solver="lsqr").fit(X, y).decision_function(X)
        np.testing.assert_allclose(theirs, expected, atol=1e-7)

    def test_is_close_to_logistic_regression(self, rng):
        """On what it is made for, it is the limit of the iterations."""
        y = rng.integers(0, 2, 20000)
        X = rng.normal(size=(20000, 3)) + y[:, None] * [1.0, 0.5, 0.0]
        ours = AnalyticLogisticRegression().fit(X, y)
        theirs = LogisticRegression(C=np.inf).fit(X, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=0.05)
        np.testing.assert_allclose(ours.coef_, [[1.0, 0.5, 0.0]], atol=0.08)

    def test_methods_agree(self):
        X, y = load("wine")
        model = AnalyticLogisticRegression().fit(X, y)
        np.testing.assert_allclose(model.decision_function(X), X @ model.coef_.T + model.intercept_, rtol=1e-12)
        np.testing.assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X))
        np.testing.assert_array_equal(model.decision_function(X).argmax(axis=1), model.predict(X))
        W, b = kexue.softmax_closed_form(X, y)
        np.testing.assert_array_equal(model.coef_, W)
        np.testing.assert_array_equal(model.intercept_, b)

    def test_labels(self):
        X, y = load("wine")
        names = np.array(["barolo", "grignolino", "barbera"])
        model = AnalyticLogisticRegression().fit(X, names[y])
        assert model.classes_.tolist() == sorted(names)
        assert (model.predict(X) == names[y]).mean() > 0.99

    @pytest.mark.parametrize("offset", [1e6, -1e9])
    def test_an_offset_does_not_matter(self, rng, offset):
        X = rng.integers(-50, 50, size=(200, 4)).astype(float)  # exact with any of the offsets
        y = (X[:, 0] + rng.normal(size=200) * 20 > 0) + 2 * (X[:, 1] > 10)
        models = [AnalyticLogisticRegression().fit(rows, y) for rows in (X, X + offset)]
        found, expected = models[1].predict_log_proba(X + offset), models[0].predict_log_proba(X)
        np.testing.assert_allclose(found, expected, atol=1e-12)


class TestPartialFit:
    @DATASETS
    @pytest.mark.parametrize("batches", [1, 2, 7, "rows"])
    @pytest.mark.parametrize("shrinkage", [0.0, 0.01])
    def test_is_fit(self, dataset, batches, shrinkage, rng):
        X, y = load(dataset)
        order = rng.permutation(len(X))[:400]
        X, y = X[order], y[order]
        weights = rng.exponential(size=len(X))
        whole = AnalyticLogisticRegression(shrinkage=shrinkage).fit(X, y, weights)
        streamed = AnalyticLogisticRegression(shrinkage=shrinkage)
        for place in np.array_split(np.arange(len(X)), len(X) if batches == "rows" else batches):
            streamed.partial_fit(X[place], y[place], np.unique(y), weights[place])
        np.testing.assert_allclose(streamed.coef_, whole.coef_, rtol=1e-12, atol=1e-12 * np.abs(whole.coef_).max())
        np.testing.assert_allclose(streamed.predict_proba(X), whole.predict_proba(X), atol=1e-12)
        again = (
            AnalyticLogisticRegression(shrinkage=shrinkage).partial_fit(X, y, np.unique(y), weights).fit(X, y, weights)
        )
        np.testing.assert_array_equal(again.coef_, whole.coef_)

    def test_a_class_that_was_not_seen(self):
        X, y = load("wine")
        names = np.array(["a", "b", "c"])[y]
        model = AnalyticLogisticRegression().partial_fit(X[y < 2], names[y < 2], ["c", "b", "a"])
        for method in (model.predict, model.predict_proba, model.predict_log_proba, model.decision_function):
            with pytest.raises(KexueValueError, match="^class 'c' is absent: no row of it has a weight above 0"):
                method(X)
        model.partial_fit(X[y == 2], names[y == 2])
        assert model.score(X, names) == 1
        expected = AnalyticLogisticRegression().fit(X, names).predict_proba(X)
        np.testing.assert_allclose(model.predict_proba(X), expected, atol=1e-12)

    def test_a_batch_without_weight_adds_nothing(self):
        X, y = load("wine")
        model = AnalyticLogisticRegression().partial_fit(X[:9], y[:9], [0, 1, 2], np.zeros(9)).partial_fit(X, y)
        expected = model.predict_proba(X)
        np.testing.assert_array_equal(model.partial_fit(X[:9], y[:9], sample_weight=0).predict_proba(X), expected)
        with pytest.raises(KexueValueError, match="^sample_weight is zero for all rows"):
            AnalyticLogisticRegression().partial_fit(X, y, [0, 1, 2], np.zeros(len(X))).predict(X)

    def test_failure_leaves_what_was_there(self):
        X, y = load("wine")
        model = AnalyticLogisticRegression()
        with pytest.raises(KexueValueError, match=r"^sample_weight\[0\] is negative"):
            model.partial_fit(X, y, [0, 1, 2], np.full(len(X), -1.0))
        with pytest.raises(NotFittedError):
            model.predict(X)
        with pytest.raises(KexueValueError, match="^classes must be given in the first call"):
            model.partial_fit(X, y)
        expected = model.fit(X, y).predict_proba(X)
        with pytest.raises(KexueValueError, match="^class 7 is absent"):
            model.fit(X, y + 6, y != 1)
        np.testing.assert_array_equal(model.classes_, [0, 1, 2])
        np.testing.assert_array_equal(model.predict_proba(X), expected)

    def test_errors(self):
        X, y = load("wine")
        with pytest.raises(KexueValueError, match="^classes must be given in the first call"):
            AnalyticLogisticRegression().partial_fit(X, y)
        with pytest.raises(KexueValueError, match=r"^y\[130\] is 2, which is not among the classes \[0, 1\]"):
            AnalyticLogisticRegression().partial_fit(X, y, [0, 1])
        with pytest.raises(KexueValueError, match="^classes has one class, 0, but there must be at least two"):
            AnalyticLogisticRegression().partial_fit(X[:5], y[:5], [0])
        with pytest.raises(KexueValueError, match="^classes has no class but there must be at least two"):
            AnalyticLogisticRegression().partial_fit(X[:5], y[:5], [])
        for classes in (3, [[0, 1, 2]]):
            with pytest.raises(ValueError, match="1d array"):
                AnalyticLogisticRegression().partial_fit(X, y, classes)
        model = AnalyticLogisticRegression().partial_fit(X, y, [0, 1, 2, 3])
        with pytest.raises(KexueValueError, match=r"^classes is \[0, 1, 2\], but was \[0, 1, 2, 3\] in the first call"):
            model.partial_fit(X, y, [0, 1, 2])
        with pytest.raises(ValueError, match="features"):
            model.partial_fit(X[:, :3], y)


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"shrinkage": 2.0}, KexueValueError, "^shrinkage must be from 0 to 1"),
            ({"shrinkage": "auto"}, TypeError, "^shrinkage must be a number"),
            ({"priors": [0.5, 0.5]}, KexueValueError, "^priors has 2 entries, but there are 3 classes"),
            ({"priors": [0.5, 0.5, 0.0]}, KexueValueError, r"^priors\[2\] is 0.0, but must be positive"),
            ({"priors": [0.5, 0.5, 0.5]}, KexueValueError, "^priors must sum to 1"),
            ({"cutoff": -1.0}, KexueValueError, "^cutoff must be from 0"),
        ],
    )
    def test_options(self, options, error, message):
        X, y = load("wine")
        with pytest.raises(error, match=message):
            AnalyticLogisticRegression(**options).fit(X, y)

    def test_classes_without_weight(self):
        X, y = load("wine")
        with pytest.raises(KexueValueError, match="^class 1 is absent"):
            AnalyticLogisticRegression().fit(X, y, y != 1)
        with pytest.raises(KexueValueError, match="^y has one class, 0.0, but"):
            AnalyticLogisticRegression().fit(X, np.zeros(len(X)))
        with pytest.raises(KexueValueError, match=r"^sample_weight\[0\] is negative"):
            AnalyticLogisticRegression().fit(X, y, np.full(len(X), -1.0))

    def test_not_fitted(self):
        model = AnalyticLogisticRegression()
        for method in (model.predict, model.predict_proba, model.decision_function):
            with pytest.raises(NotFittedError):
                method([[1.0]])
        assert not hasattr(model, "coef_")


class TestPlumbing:
    def test_priors(self):
        X, y = load("wine")
        models = [AnalyticLogisticRegression(priors=priors).fit(X, y) for priors in (None, [0.2, 0.3, 0.5])]
        np.testing.assert_array_equal(models[0].coef_, models[1].coef_)
        shift = np.log([0.2, 0.3, 0.5]) - np.log(np.bincount(y) / len(y))
        np.testing.assert_allclose(models[1].intercept_ - models[0].intercept_, shift, rtol=1e-9)

    def test_a_pickle_goes_on_learning(self):
        X, y = load("wine")
        model = AnalyticLogisticRegression(shrinkage=0.1, priors=[0.2, 0.3, 0.5]).fit(X, y)
        assert isinstance(model.statistics_, ClassStatistics)
        copied = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copied.partial_fit(X, y).coef_, model.partial_fit(X, y).coef_)

    def test_inputs_are_not_changed(self, layout, untouched, dtype):
        X, y = load("wine")
        X = layout(X.astype(dtype))
        with untouched(X, y):
            assert AnalyticLogisticRegression().fit(X, y).score(X, y) > 0.98


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


class TestNames:
    def test_one_class(self):
        assert kexue.AnalyticLogisticRegression is AnalyticLogisticRegression
        assert kexue.classification.AnalyticLogisticRegression is AnalyticLogisticRegression
        assert "AnalyticLogisticRegression" in dir(kexue)
        with pytest.raises(AttributeError, match="module 'kexue.classification' has no attribute 'nothing'"):
            kexue.classification.nothing  # noqa: B018

    def test_others_come_without_scikit_learn(self):
        done = run(
            "import sys; sys.modules['sklearn'] = None\n"
            "from kexue import *\nimport kexue.classification\n"
            "print(softmax_closed_form([[0.0], [2.0], [4.0], [6.0]], [0, 0, 1, 1])[0].ravel())"
        )
        assert (done.returncode, done.stdout) == (0, "[1. 5.]\n")

    @pytest.mark.parametrize("module", ["kexue", "kexue.classification"])
    def test_without_scikit_learn(self, module):
        done = run(f"import sys; sys.modules['sklearn'] = None\nfrom {module} import AnalyticLogisticRegression")
        assert done.returncode == 1
        assert 'ImportError: kexue.sklearn needs scikit-learn: pip install "kexue[sklearn]"' in done.stderr

    def test_scikit_learn_comes_with_the_name_only(self):
        done = run("import sys; from kexue import *; import kexue.classification; print('sklearn' in sys.modules)")
        assert done.stdout == "False\n"
