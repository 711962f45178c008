"""Adversarial validation: reference values, laws of the weights, splits that are nearer to the test set."""

from __future__ import annotations

import copy
import math
import re
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse
from scipy.stats import norm

import kexue
from kexue import (
    AdversarialSplit,
    KexueValueError,
    area_under_curve,
    discriminator_weights,
    linear_regression_closed_form,
    resample_validation,
    weighted_metric,
)

D = np.array([0.2, 0.5, 0.8, 0.6])
WEIGHTS = np.array([0.25, 1.0, 4.0, 1.5])

weights_lists = hnp.arrays(np.float64, st.integers(1, 30), elements=st.just(0.0) | st.floats(1e-6, 1e6)).filter(np.any)


class TestWeights:
    def test_reference(self):
        w = discriminator_weights(D)
        np.testing.assert_allclose(w, WEIGHTS, rtol=1e-14)
        shares = [0.037037037, 0.148148148, 0.592592593, 0.222222222]
        np.testing.assert_allclose(w / w.sum(), shares, atol=5e-10)
        assert kexue.effective_sample_size(np.log(w)) == pytest.approx(2.3592233009708736, rel=1e-14)

    def test_logits(self):
        np.testing.assert_allclose(discriminator_weights(logits=np.log(WEIGHTS)), WEIGHTS, rtol=1e-14)
        # Beyond D = 1 - 2^-53 there are no probabilities, but weights.
        assert discriminator_weights(logits=40.0) == pytest.approx(math.exp(40), rel=1e-14)
        assert isinstance(discriminator_weights(0.5), np.float64)

    @given(hnp.arrays(np.float64, st.integers(1, 20), elements=st.floats(0.001, 0.999)), st.floats(0.01, 100))
    @settings(deadline=None)
    def test_formulas(self, probabilities, ratio):
        w = discriminator_weights(probabilities, prior_ratio=ratio)
        np.testing.assert_allclose(w, ratio * probabilities / (1 - probabilities), rtol=1e-12)
        bounded = discriminator_weights(probabilities, prior_ratio=ratio, kind="probability")
        np.testing.assert_allclose(bounded, w / (1 + w), rtol=1e-12)
        clipped = discriminator_weights(probabilities, prior_ratio=ratio, clip=3.0)
        np.testing.assert_allclose(clipped, np.clip(w, 1 / 3, 3), rtol=1e-12)

    def test_kind_probability_is_the_probability(self):
        np.testing.assert_allclose(discriminator_weights(D, kind="probability"), D, rtol=1e-14)
        assert discriminator_weights([1.0, 0.0], kind="probability").tolist() == [1, 0]

    def test_layouts(self, any_layout, plain, untouched, dtype, rng):
        probabilities = any_layout(rng.uniform(0.01, 0.99, size=(5, 7)).astype(dtype))
        with untouched(probabilities):
            w = discriminator_weights(probabilities)
        exact = plain(probabilities).astype(np.float64)
        assert w.dtype == plain(probabilities).dtype and w.shape == probabilities.shape
        np.testing.assert_allclose(w, exact / (1 - exact), rtol=4 * np.finfo(w.dtype).eps)

    def test_ends(self):
        assert discriminator_weights([0.0, 0.5]).tolist() == [0, 1]
        np.testing.assert_allclose(discriminator_weights([0.0, 1.0], clip=10), [0.1, 10])
        np.testing.assert_allclose(discriminator_weights(logits=[-np.inf, np.inf], clip=10), [0.1, 10])
        assert discriminator_weights([]).shape == (0,)

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "message"),
        [
            ((), {}, KexueValueError, "one of probabilities and logits must be given, and not both"),
            ((D,), {"logits": D}, KexueValueError, "one of probabilities and logits must be given, and not both"),
            (([0.5, 1.0],), {}, KexueValueError, "probabilities[1] is 1.0: the weight is infinite; clip limits it"),
            ((), {"logits": [0, 800]}, KexueValueError, "logits[1] is 800.0: the weight is infinite"),
            ((), {"logits": np.float32([0, 90])}, KexueValueError, "logits[1] is 90.0: the weight is infinite"),
            (([0.5, 1.5],), {}, KexueValueError, "probabilities[1] is 1.5, not from 0 to 1"),
            (([-0.1],), {}, KexueValueError, "probabilities[0] is -0.1, not from 0 to 1"),
            (([np.nan],), {}, KexueValueError, "probabilities[0] is nan"),
            ((), {"logits": [np.nan]}, KexueValueError, "logits[0] is nan"),
            (([0.0, 0.0],), {}, KexueValueError, "all weights are zero"),
            ((D,), {"clip": 1.0}, KexueValueError, "clip must be above 1 and finite, got 1.0"),
            ((D,), {"clip": "2"}, TypeError, "clip must be a number, not str"),
            ((D,), {"prior_ratio": 0.0}, KexueValueError, "prior_ratio must be above 0 and finite"),
            ((D,), {"prior_ratio": np.inf}, KexueValueError, "prior_ratio must be above 0 and finite"),
            ((D,), {"kind": "odds"}, KexueValueError, 'kind must be "ratio" or "probability", got \'odds\''),
            ((["a"],), {}, TypeError, "probabilities must hold real numbers"),
        ],
    )
    def test_errors(self, arguments, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            discriminator_weights(*arguments, **options)

    def test_effective_sample_size_of_two_gaussians(self):
        """N(0, 1) to N(1, 1): ESS / N tends to 1/e, and the mean weight to 1."""
        # Midpoints of a million equal shares of N(0, 1): what is left out is the tail beyond 4.9, 3e-5 of E w^2.
        x = norm.ppf((np.arange(10**6) + 0.5) / 10**6)
        w = discriminator_weights(logits=x - 0.5)
        assert weighted_metric(np.ones(10**6), w, self_normalized=False) == pytest.approx(1, abs=1e-5)
        assert weighted_metric(x, w) == pytest.approx(1, abs=1e-4)
        assert kexue.effective_sample_size(np.log(w)) / 10**6 == pytest.approx(0.367879441171, abs=1e-3)


class TestMetric:
    def test_values(self):
        values = np.array([1.0, 2.0, 3.0, 4.0])
        assert weighted_metric(values, WEIGHTS) == pytest.approx((values * WEIGHTS).sum() / 6.75)
        assert weighted_metric(values, WEIGHTS, self_normalized=False) == pytest.approx((values * WEIGHTS).sum() / 4)
        assert weighted_metric([True, False, True, False], WEIGHTS) == pytest.approx(4.25 / 6.75)
        several = weighted_metric(np.column_stack([values, values**2]), WEIGHTS)
        assert several == pytest.approx([weighted_metric(values, WEIGHTS), weighted_metric(values**2, WEIGHTS)])

    @given(weights_lists, st.floats(-1e3, 1e3), st.sampled_from([1e-200, 1.0, 1e200]))
    @settings(deadline=None)
    def test_is_among_the_values(self, weights, value, scale):
        assert weighted_metric(np.full(len(weights), value), weights * scale) == pytest.approx(value, rel=1e-12)
        values = np.arange(len(weights))
        found = weighted_metric(values, weights * scale)
        assert -1e-9 <= found <= len(weights) - 1 + 1e-9
        assert found == pytest.approx(weighted_metric(values, weights), rel=1e-9)

    def test_dtypes(self, dtype):
        assert weighted_metric(np.ones(4, dtype), WEIGHTS.astype(dtype)).dtype == dtype

    def test_huge_weights(self):
        assert weighted_metric([1.0, 3.0], [1.7e308, 1.7e308]) == 2

    def test_huge_values(self):
        for normalized in (True, False):
            found = weighted_metric([1e308, 1.5e308], [1.0, 1.0], self_normalized=normalized)
            assert found == pytest.approx(1.25e308, rel=1e-15)

    @pytest.mark.parametrize(
        ("values", "weights", "error", "message"),
        [
            ([1.0], [1.0, 2.0], KexueValueError, "values must have 2 rows, as weights, but its shape is (1,)"),
            (1.0, [1.0], KexueValueError, "values must have 1 rows, as weights, but its shape is ()"),
            ([np.nan], [1.0], KexueValueError, "values[0] is nan"),
            ([1.0], [-1.0], KexueValueError, "weights[0] is negative"),
            ([1.0], [np.inf], KexueValueError, "weights[0] is inf"),
            ([1.0], [0.0], KexueValueError, "all weights are zero; there are 1"),
            ([1.0], [[1.0]], KexueValueError, "weights must have 1 dimension"),
            (["a"], [1.0], TypeError, "values must hold real numbers"),
        ],
    )
    def test_errors(self, values, weights, error, message):
        with pytest.raises(error, match=re.escape(message)):
            weighted_metric(values, weights)


class TestResampling:
    def test_shares(self):
        """Each count is within 5 standard deviations: a chance of 6e-7 to fail, for a right law and another seed."""
        rows = resample_validation(WEIGHTS, 100_000, rng=0)
        shares = WEIGHTS / WEIGHTS.sum()
        counts = np.bincount(rows, minlength=4)
        assert (abs(counts - 1e5 * shares) < 5 * np.sqrt(1e5 * shares * (1 - shares))).all()

    @given(weights_lists, st.integers(1, 50), st.integers(0, 2**32), st.sampled_from([1e-300, 1e300]))
    @settings(deadline=None)
    def test_only_rows_with_weight(self, weights, size, seed, scale):
        rows = resample_validation(weights, size, rng=seed)
        assert len(rows) == size and (weights[rows] > 0).all()
        np.testing.assert_array_equal(rows, resample_validation(weights, size, rng=np.random.default_rng(seed)))
        assert (weights[resample_validation(weights * scale, size, rng=seed)] > 0).all()

    def test_without_replacement(self):
        assert sorted(resample_validation([1.0, 0.0, 5.0, 2.0], 3, rng=0, replace=False)) == [0, 2, 3]
        with pytest.raises(
            KexueValueError, match="^size is 4, but only 3 rows have a weight above 0, and replace=False"
        ):
            resample_validation([1.0, 0.0, 5.0, 2.0], 4, replace=False)
        with pytest.raises(KexueValueError, match="^size is 2, but only 1 rows have a weight above 0"):
            resample_validation([1e-200, 1e200], 2, replace=False)

    @pytest.mark.parametrize(("size", "count"), [(0.5, 2), (0.51, 3), (7, 7), (np.int64(2), 2)])
    def test_size(self, size, count):
        assert len(resample_validation(WEIGHTS, size, rng=0)) == count
        assert len(resample_validation(np.ones(100), 0.07, rng=0)) == 7

    @pytest.mark.parametrize(
        ("weights", "size", "error", "message"),
        [
            (WEIGHTS, 0, KexueValueError, "size must be at least 1"),
            (WEIGHTS, 1.0, KexueValueError, "size must be an integer, or a share above 0 and below 1, got 1.0"),
            (WEIGHTS, np.nan, KexueValueError, "size must be an integer, or a share"),
            (WEIGHTS, "all", TypeError, "size must be a share or a number of rows, not str"),
            (WEIGHTS, True, TypeError, "size must be a share or a number of rows, not bool"),
            ([0.0, 0.0], 1, KexueValueError, "all weights are zero"),
            ([], 1, KexueValueError, "all weights are zero; there are 0"),
            ([1.0, np.nan], 1, KexueValueError, "weights[1] is nan"),
            ([1.0, -2.0], 1, KexueValueError, "weights[1] is negative (-2.0)"),
        ],
    )
    def test_errors(self, weights, size, error, message):
        with pytest.raises(error, match=re.escape(message)):
            resample_validation(weights, size)


class TestArea:
    @given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
    @settings(deadline=None)
    def test_is_the_share_of_pairs(self, rows):
        scores, labels = (np.array(side) for side in zip(*rows, strict=True))
        if labels.all() or not labels.any():
            with pytest.raises(KexueValueError, match="^labels must have both 0 and 1"):
                area_under_curve(scores, labels)
            return
        differences = scores[labels][:, None] - scores[~labels]
        assert area_under_curve(scores, labels) == ((differences > 0) + 0.5 * (differences == 0)).mean()
        assert area_under_curve(-scores, ~labels) == area_under_curve(scores, labels.astype(int))

    def test_beside_scikit_learn(self, rng, dtype):
        metrics = pytest.importorskip("sklearn.metrics")
        labels = rng.integers(0, 2, 5000)
        scores = np.round(rng.normal(size=5000) + labels, 1).astype(dtype)
        assert area_under_curve(scores, labels) == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-13)

    def test_infinite_scores(self):
        assert area_under_curve([-np.inf, 0.0, np.inf, np.inf], [0, 0, 1, 0]) == pytest.approx(2.5 / 3)

    @pytest.mark.parametrize(
        ("scores", "labels", "error", "message"),
        [
            ([1.0, np.nan], [0, 1], KexueValueError, "scores[1] is nan"),
            ([1.0, 2.0], [0, 2], KexueValueError, "labels[1] is 2, neither 0 nor 1"),
            ([1.0, 2.0], [0], KexueValueError, "labels has shape (1,), but scores has (2,)"),
            ([1.0, 2.0], [0.0, 1.0], TypeError, "labels must hold integers or booleans"),
            ([1.0, 2.0], [1, 1], KexueValueError, "labels must have both 0 and 1, but 2 are 1"),
            ([], np.empty(0, dtype=int), KexueValueError, "labels must have both 0 and 1, but 0 are 0"),
        ],
    )
    def test_errors(self, scores, labels, error, message):
        with pytest.raises(error, match=re.escape(message)):
            area_under_curve(scores, labels)


def split(splitter, X):
    ((train, validation),) = splitter.split(X)
    return train, validation


@pytest.fixture
def sets(rng):
    return rng.normal(size=(600, 3)), rng.normal(size=(400, 3)) + [1.0, 0.0, 0.0]


class Shifted:
    """A discriminator with exact logits, that looks at what it is given."""

    def __init__(self, sign=1.0):
        self.sign = sign

    def fit(self, X, y):
        assert X.shape[0] == len(y) and set(y) == {0, 1}
        self.balance = np.log(y.sum() / (len(y) - y.sum()))
        return self

    def decision_function(self, X):
        rows = X.toarray() if sparse.issparse(X) else np.asarray(X)
        return self.sign * (rows[:, 0] - 0.5) + self.balance


class TestSplit:
    @pytest.mark.parametrize("method", ["top", "resample"])
    @pytest.mark.parametrize("size", [0.2, 50])
    def test_is_a_partition(self, sets, method, size):
        X, target = sets
        splitter = AdversarialSplit(target, method=method, validation_size=size, rng=0)
        train, validation = split(splitter, X)
        assert len(validation) == (120 if size == 0.2 else 50)
        np.testing.assert_array_equal(np.union1d(train, validation), np.arange(600))
        assert not np.intersect1d(train, validation).size
        assert (np.diff(train) > 0).all() and (np.diff(validation) >= 0).all()
        assert len(np.unique(validation)) == len(validation) or method == "resample"
        assert splitter.get_n_splits(X) == 1
        for first, second in zip(split(splitter, X), (train, validation), strict=True):
            np.testing.assert_array_equal(first, second)
        other = split(AdversarialSplit(target, method=method, validation_size=size, rng=1), X)[1]
        assert not np.array_equal(other, validation)

    def test_top_has_the_largest_weights(self, sets):
        X, target = sets
        splitter = AdversarialSplit(target, rng=0)
        train, validation = split(splitter, X)
        assert splitter.weights_[validation].min() >= splitter.weights_[train].max()

    def test_first_of_equal_weights(self):
        """Two kinds of rows, one of them alone in the test set; the discriminator sees nothing else."""
        splitter = AdversarialSplit(np.ones((40, 1)), discriminator=Shifted(0.0), validation_size=3, rng=0)
        train, validation = split(splitter, np.zeros((20, 1)))
        assert validation.tolist() == [0, 1, 2]
        assert splitter.effective_sample_size_ == pytest.approx(20)
        assert splitter.auc_ == 0.5
        np.testing.assert_allclose(splitter.weights_, 1, rtol=1e-12)

    @pytest.mark.parametrize("discriminator", [None, Shifted()])
    @pytest.mark.parametrize("sizes", [(20000, 20000), (20000, 5000), (5000, 20000)])
    def test_weights_are_the_ratio_of_densities(self, rng, discriminator, sizes):
        """N(0, 1) to N(1, 1), log w = x - 1/2, however many rows there are of each.

        The closed form estimates slope and intercept with errors of some 2 / sqrt(5000) = 0.03.
        """
        X, target = rng.normal(size=(sizes[0], 1)), rng.normal(size=(sizes[1], 1)) + 1
        splitter = AdversarialSplit(target, discriminator=discriminator, rng=0)
        split(splitter, X)
        tolerance = 0.2 if discriminator is None else 1e-12
        near = abs(X[:, 0]) < 2
        np.testing.assert_allclose(np.log(splitter.weights_)[near], X[near, 0] - 0.5, atol=tolerance)
        np.testing.assert_allclose(np.log(splitter.target_weights_), target[:, 0] - 0.5, atol=2 * tolerance)
        assert splitter.effective_sample_size_ / sizes[0] == pytest.approx(0.368, abs=0.08)
        assert splitter.auc_ == pytest.approx(norm.cdf(1 / math.sqrt(2)), abs=0.02)

    def test_equal_sets(self, rng):
        X, target = rng.normal(size=(2, 3000, 4))
        splitter = AdversarialSplit(target, rng=0)
        split(splitter, X)
        assert splitter.effective_sample_size_ > 2900
        assert abs(splitter.auc_ - 0.5) < 0.04

    def test_weights_are_cross_fitted(self, rng):
        """As many columns as a fold has rows: in its own rows the discriminator would see a difference."""
        X, target = rng.normal(size=(2, 150, 100))
        splitter = AdversarialSplit(target, rng=0, clip=100)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            split(splitter, X)
        assert abs(splitter.auc_ - 0.5) < 0.15
        own = kexue.ClassStatistics(2, 100).update(np.concatenate([X, target]), np.repeat([0, 1], 150)).solve()
        assert area_under_curve(own.log_odds(np.concatenate([X, target])), np.repeat([0, 1], 150)) > 0.8

    def test_default_is_the_closed_form_of_each_fold(self, sets):
        """With folds of one row each there is no choice of folds."""
        X, target = sets[0][:30], sets[1][:30]
        splitter = AdversarialSplit(target, n_folds=30, rng=0, shrinkage=0.1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            split(splitter, X)
        generator = np.random.default_rng(0)
        folds = [generator.permutation(30) for _ in range(2)]
        row = int(np.argmax(folds[0] == 7))
        rows = np.concatenate([np.delete(X, row, axis=0), np.delete(target, np.argmax(folds[1] == 7), axis=0)])
        w, b = kexue.logistic_closed_form(rows, np.repeat([0, 1], 29), shrinkage=0.1)
        assert splitter.weights_[row] == pytest.approx(np.exp(X[row] @ w + b), rel=1e-10)

    def test_probability_weights(self, sets):
        X, target = sets
        splitters = [AdversarialSplit(target, rng=0, weight=weight) for weight in ("ratio", "probability")]
        chosen = [split(splitter, X)[1] for splitter in splitters]
        ratio, bounded = (splitter.weights_ for splitter in splitters)
        np.testing.assert_allclose(bounded, ratio / (1 + ratio), rtol=1e-12)
        np.testing.assert_array_equal(*chosen)

    def test_layouts(self, layout, untouched, dtype, sets):
        X, target = (layout(rows.astype(dtype)) for rows in sets)
        with untouched(X, target):
            found = split(AdversarialSplit(target, rng=0), X)
        expected = split(AdversarialSplit(sets[1].astype(dtype), rng=0), sets[0].astype(dtype))
        np.testing.assert_array_equal(found[1], expected[1])

    def test_copies(self, sets):
        splitter = AdversarialSplit(sets[1], rng=0)
        split(copy.deepcopy(splitter), sets[0])
        assert not hasattr(splitter, "weights_")
        assert repr(splitter) == "AdversarialSplit(<X_target of shape (400, 3)>, method='top')"

    def test_split_does_not_need_scikit_learn(self):
        code = (
            "import sys; sys.modules['sklearn'] = None\nimport kexue, numpy as np\n"
            "rng = np.random.default_rng(0)\nX, T = rng.normal(size=(2, 200, 2))\n"
            "next(kexue.AdversarialSplit(T, rng=0).split(X))\n"
            "class Half:\n"
            "    def get_params(self, deep=True): return {}\n"
            "    def fit(self, X, y): return self\n"
            "    def predict_proba(self, X): return np.full((len(X), 2), 0.5)\n"
            "next(kexue.AdversarialSplit(T, discriminator=Half(), rng=0).split(X))\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


class TestDiscriminators:
    def test_forms_of_rows(self, sets):
        pandas = pytest.importorskip("pandas")
        X, target = sets
        forms = [np.asarray, sparse.csr_array, sparse.coo_matrix, pandas.DataFrame]
        found = []
        for form in forms:
            splitter = AdversarialSplit(form(target), discriminator=Shifted(), rng=0)
            found.append(split(splitter, form(X))[1])
            np.testing.assert_allclose(np.log(splitter.weights_), X[:, 0] - 0.5, atol=1e-12)
        for other in found[1:]:
            np.testing.assert_array_equal(other, found[0])

    def test_frames_with_other_columns(self, sets):
        pandas = pytest.importorskip("pandas")
        X = pandas.DataFrame(sets[0], columns=["a", "b", "c"])
        for discriminator in (None, Shifted()):
            target = pandas.DataFrame(sets[1], columns=["b", "a", "c"])
            with pytest.raises(KexueValueError, match=r"^X has the columns \['a', 'b', 'c'\], but X_target has \['b'"):
                split(AdversarialSplit(target, discriminator=discriminator), X)
        target = pandas.DataFrame(sets[1], columns=X.columns)
        found = [split(AdversarialSplit(rows, rng=0), X)[1] for rows in (target, sets[1])]
        np.testing.assert_array_equal(*found)

    def test_rows_of_two_forms(self, sets):
        pandas = pytest.importorskip("pandas")
        X, target = sets
        expected = split(AdversarialSplit(target, discriminator=Shifted(), rng=0), X)[1]
        for first, second in ((X.tolist(), target), (X, target.tolist())):
            splitter = AdversarialSplit(second, discriminator=Shifted(), rng=0)
            np.testing.assert_array_equal(split(splitter, first)[1], expected)
        for form, kind in ((pandas.DataFrame, "pandas"), (sparse.csr_array, "sparse")):
            with pytest.raises(TypeError, match=f"^X is {kind}, but X_target is an array or a list: the discriminator"):
                split(AdversarialSplit(target, discriminator=Shifted(), rng=0), form(X))
            with pytest.raises(TypeError, match=f"^X is an array or a list, but X_target is {kind}: the discriminator"):
                split(AdversarialSplit(form(target), discriminator=Shifted(), rng=0), X)

    def test_texts(self):
        text = pytest.importorskip("sklearn.feature_extraction.text")
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline

        X = ["the cat drinks milk", "a dog drinks water"] * 20 + ["a car needs fuel", "the truck needs fuel"] * 10
        target = ["a car needs fuel", "the truck needs oil", "the dog drinks fuel"] * 10
        model = make_pipeline(text.CountVectorizer(), LogisticRegression())
        splitter = AdversarialSplit(target, discriminator=model, validation_size=20, rng=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            train, validation = split(splitter, X)
        assert validation.min() >= 40
        assert repr(splitter) == "AdversarialSplit(<X_target of shape (30,)>, method='top')"
        assert not hasattr(model[-1], "coef_")  # clones were trained

    def test_probabilities(self, sets):
        pytest.importorskip("sklearn")
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.linear_model import LogisticRegression

        X, target = sets
        expected = AdversarialSplit(target, rng=0)
        split(expected, X)
        for model in (LinearDiscriminantAnalysis(solver="lsqr"), LogisticRegression(C=np.inf)):
            found = AdversarialSplit(target, discriminator=model, rng=0)
            split(found, X)
            tolerance = 1e-9 if isinstance(model, LinearDiscriminantAnalysis) else 0.15
            np.testing.assert_allclose(np.log(found.weights_), np.log(expected.weights_), atol=tolerance, rtol=0.1)

    def test_as_cv_of_scikit_learn(self, sets):
        pytest.importorskip("sklearn")
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV, cross_val_score

        X, target = sets
        y = X[:, 0] ** 2 + X[:, 1]
        splitter = AdversarialSplit(target, rng=0)
        train, validation = split(splitter, X)
        expected = Ridge().fit(X[train], y[train]).score(X[validation], y[validation])
        assert cross_val_score(Ridge(), X, y, cv=splitter).tolist() == [pytest.approx(expected)]
        search = GridSearchCV(Ridge(), {"alpha": [0.1, 1.0]}, cv=splitter).fit(X, y)
        assert search.cv_results_["split0_test_score"][1] == pytest.approx(expected)
        assert search.n_splits_ == 1
        assert "X_target of shape (400, 3)" in repr(search)

    @pytest.mark.parametrize(
        ("methods", "error", "message"),
        [
            ({}, TypeError, "discriminator must have predict_proba or decision_function, but SimpleNamespace has none"),
            ({"predict_proba": lambda X: np.ones(len(X))}, KexueValueError, "gave probabilities of shape (120,)"),
            ({"predict_proba": lambda X: np.full((len(X), 2), np.nan)}, KexueValueError, "gave NaN"),
            ({"decision_function": lambda X: np.ones(3)}, KexueValueError, "or a wrong number of values"),
        ],
    )
    @pytest.mark.filterwarnings("ignore::RuntimeWarning")
    def test_bad_discriminators(self, sets, methods, error, message):
        model = SimpleNamespace(fit=lambda X, y: None, **methods)
        with pytest.raises(error, match=re.escape(message)):
            split(AdversarialSplit(sets[1], discriminator=model, rng=0), sets[0])


class Certain:
    """A discriminator that is certain of every row."""

    def __init__(self, logits):
        self.logits = logits

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return np.full(len(X), self.logits)


class Steps:
    """A discriminator by which as many rows of X have a weight, and the others have none."""

    def __init__(self, count):
        self.count = count

    def fit(self, X, y):
        return self

    def decision_function(self, X):
        return np.where(X[:, 0] < self.count, 0.3, -800.0)


class TestDegenerateWeights:
    @staticmethod
    def warning(splitter, X):
        with pytest.warns(
            UserWarning, match="^the weights degenerate, as hardly any rows of X are like those"
        ) as caught:
            split(splitter, X)
        assert caught[0].filename == __file__
        return str(caught[0].message)

    def test_warnings(self, rng):
        X, target = rng.normal(size=(2, 500, 2))
        message = self.warning(AdversarialSplit(target + [3.0, 0.0], rng=0), X)
        assert re.search(r"the effective sample size is \d+\.?\d* of 500, the discriminator has an AUC of 0.9", message)
        message = self.warning(AdversarialSplit(target + [3.0, 0.0], clip=1.5, rng=0), X)
        assert re.search(r"an AUC of 0\.9[5-9]\d, (9\d|100)% of the weights were clipped to 1.5", message)
        assert "effective" not in message
        message = self.warning(AdversarialSplit(target + [1.0, 0.0], clip=1.5, rng=0), X)
        assert "AUC" not in message and "were clipped to 1.5" in message

    def test_no_warning(self, sets):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            split(AdversarialSplit(sets[1], rng=0), sets[0])
            split(AdversarialSplit(sets[1], rng=0, clip=50.0), sets[0])

    @pytest.mark.parametrize(("rows", "lowest"), [(100, 10), (1000, 50)])
    def test_lowest_effective_sample_size(self, rows, lowest):
        X = np.arange(float(rows))[:, None]
        for count, warned in ((lowest - 1, True), (lowest, False)):
            splitter = AdversarialSplit(X, discriminator=Steps(count), rng=0)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                split(splitter, X)
            assert splitter.effective_sample_size_ == pytest.approx(count)
            assert bool(caught) == warned

    def test_clip(self, sets):
        X, target = sets
        splitters = [AdversarialSplit(target, rng=0, clip=clip) for clip in (None, 2.0)]
        split(splitters[0], X)
        self.warning(splitters[1], X)
        np.testing.assert_allclose(splitters[1].weights_, np.clip(splitters[0].weights_, 0.5, 2), rtol=1e-12)
        np.testing.assert_array_equal(splitters[1].target_weights_, splitters[0].target_weights_)
        assert splitters[0].clipped_share_ == 0
        clipped = abs(np.log(splitters[0].weights_)) > np.log(2)
        assert splitters[1].clipped_share_ == pytest.approx(clipped.mean())

    def test_certain(self, sets):
        X, target = sets
        with pytest.raises(
            KexueValueError, match=r"^the discriminator is certain that X\[0\] belongs to the test set, as"
        ):
            split(AdversarialSplit(target, discriminator=Certain(np.inf), rng=0), X)
        with pytest.raises(
            KexueValueError, match="^all weights are zero: the discriminator is certain that none of the"
        ):
            split(AdversarialSplit(target, discriminator=Certain(-np.inf), rng=0), X)
        splitter = AdversarialSplit(target, discriminator=Certain(np.inf), clip=5.0, rng=0)
        assert "100% of the weights were clipped to 5" in self.warning(splitter, X)
        np.testing.assert_allclose(splitter.weights_, 5)
        assert np.isinf(splitter.target_weights_).all()


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"method": "best"}, KexueValueError, 'method must be "top" or "resample", got \'best\''),
            ({"weight": "w"}, KexueValueError, 'weight must be "ratio" or "probability", got \'w\''),
            ({"validation_size": 1.0}, KexueValueError, "validation_size must be an integer, or a share"),
            ({"validation_size": 0}, KexueValueError, "validation_size must be at least 1"),
            ({"validation_size": None}, TypeError, "validation_size must be a share or a number of rows"),
            ({"clip": 0.5}, KexueValueError, "clip must be above 1 and finite, got 0.5"),
            ({"n_folds": 1}, KexueValueError, "n_folds must be at least 2"),
            ({"discriminator": "logistic"}, TypeError, "discriminator must have fit, but str has not"),
        ],
    )
    def test_options(self, sets, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            AdversarialSplit(sets[1], **options)

    @pytest.mark.parametrize(
        ("X", "target", "options", "error", "message"),
        [
            (np.ones((9, 2)), np.ones((9, 3)), {}, KexueValueError, "X has 2 columns, but X_target has 3"),
            (np.ones((9, 2)), np.ones((9, 3)), {"discriminator": Shifted()}, KexueValueError, "X has 2 columns, but"),
            (np.ones((4, 2)), np.ones((9, 2)), {}, KexueValueError, "X has 4 rows, fewer than n_folds=5"),
            (np.ones((9, 2)), np.ones((4, 2)), {}, KexueValueError, "X_target has 4 rows, fewer than n_folds=5"),
            (np.ones((9, 2)), np.full((9, 2), np.nan), {}, KexueValueError, "X_target[0, 0] is nan"),
            (np.full((9, 2), np.inf), np.ones((9, 2)), {}, KexueValueError, "X[0, 0] is inf"),
            (
                np.ones((9, 2)),
                np.ones((9, 2)),
                {"validation_size": 9},
                KexueValueError,
                "validation_size is 9 rows, but",
            ),
            (np.ones((9, 2)), np.ones((9, 2)), {"shrinkage": 2.0}, KexueValueError, "shrinkage must be from 0 to 1"),
            (np.ones(9), np.ones((9, 2)), {}, KexueValueError, "X must have 2 dimensions"),
            (sparse.csr_array(np.ones((9, 2))), np.ones((9, 2)), {}, TypeError, "X must be an array of real numbers"),
            (7, np.ones((9, 2)), {}, TypeError, "X must have rows, but it is a int"),
        ],
    )
    def test_rows(self, X, target, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            split(AdversarialSplit(target, rng=0, **options), X)

    def test_a_column_that_is_the_label(self, sets):
        X, target = (np.insert(rows, 1, value, axis=1) for rows, value in zip(sets, (0.1, 0.3), strict=True))
        with pytest.raises(KexueValueError, match="^column 1 is 0.1 in all of X and 0.3 in all of X_target: no row"):
            split(AdversarialSplit(target, rng=0), X)
        target[:, 1] = 0.1
        split(AdversarialSplit(target, rng=0), X)

    def test_nothing_left(self, rng):
        X, target = rng.normal(size=(2, 5, 1))
        splitter = AdversarialSplit(target, method="resample", validation_size=500, discriminator=Shifted(0.0), rng=0)
        with (
            warnings.catch_warnings(),
            pytest.raises(KexueValueError, match="^all 5 rows of X were drawn for validation: none are left"),
        ):
            warnings.simplefilter("ignore", UserWarning)
            split(splitter, X)


def test_validation_error_is_nearer_to_the_test_error():
    """Regression of sin(2 x) + z by a line, where x moves by one standard deviation between training and test.

    In each of 100 simulations the validation error of a random split, of both methods, and of the random split
    with weights, are compared with the test error. If a method were no better than a random split, it would be the
    nearer one 68 times or more with a probability below 2e-4.
    """
    nearer = dict.fromkeys(("top", "resample", "weighted"), 0)
    for seed in range(100):
        rng = np.random.default_rng(seed)
        X, target = rng.normal(size=(2, 1000, 2)) + [[[0.0, 0.0]], [[1.0, 0.0]]]
        y, y_target = (np.sin(2 * Z[:, 0]) + Z[:, 1] + 0.3 * rng.normal(size=1000) for Z in (X, target))

        def errors(train, rows, wanted, X=X, y=y):
            W, b = linear_regression_closed_form(X[train], y[train])
            return (rows @ W + b - wanted) ** 2

        order = rng.permutation(1000)
        train, validation = order[200:], order[:200]
        losses = errors(train, X[validation], y[validation])
        test = errors(train, target, y_target).mean()
        distances = {"random": abs(losses.mean() - test)}
        for method in ("top", "resample"):
            splitter = AdversarialSplit(target, method=method, rng=seed)
            first, second = split(splitter, X)
            own = errors(first, X[second], y[second]).mean()
            distances[method] = abs(own - errors(first, target, y_target).mean())
        distances["weighted"] = abs(weighted_metric(losses, splitter.weights_[validation]) - test)
        for method in nearer:
            nearer[method] += distances[method] < distances["random"]
    assert min(nearer.values()) >= 68, nearer
