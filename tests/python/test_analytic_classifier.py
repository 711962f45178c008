"""Closed-form classifiers and least squares: reference values, 50 digits, batches, offsets, singular covariances."""

from __future__ import annotations

import pickle
import re

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hilbert, lstsq, pinvh

import kexue
from kexue import (
    ClassStatistics,
    KexueValueError,
    SoftmaxRule,
    linear_regression_closed_form,
    logistic_closed_form,
    softmax_closed_form,
)

X = np.array([[0, 0], [1, 0], [0, 1], [2, 1], [3, 1], [2, 3], [3, 2], [4, 3]])
Y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
FITS = pytest.mark.parametrize("fit", [softmax_closed_form, logistic_closed_form])


def slow(X, y, *, weights=None, priors=None, shrinkage=0.0, between_correction=True):
    """The formulas, word for word."""
    weights = np.ones(len(X)) if weights is None else weights
    shares = np.bincount(y, weights) / weights.sum()
    means = np.array([np.average(X[y == k], axis=0, weights=weights[y == k]) for k in range(len(shares))])
    centres = means[y] if between_correction else np.average(X, axis=0, weights=weights)
    S = np.cov((X - centres).T, aweights=weights, ddof=0).reshape(X.shape[1], -1)
    S = (1 - shrinkage) * S + shrinkage * np.trace(S) / len(S) * np.eye(len(S))
    W = means @ pinvh(S)
    return W, np.log(shares if priors is None else priors) - 0.5 * (means * W).sum(axis=1)


@pytest.fixture
def data(rng):
    y = np.concatenate([[0, 1, 2], rng.integers(0, 3, 297)])
    return rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)) + rng.normal(size=(3, 5))[y], y


class TestReference:
    def test_softmax(self):
        W, b = softmax_closed_form(X, Y)
        expected = [[1.1672597864768681, 0.9110320284697508], [4.612099644128113, 4.185053380782918]]
        np.testing.assert_allclose(W, expected, rtol=1e-14)
        np.testing.assert_allclose(b, [-1.3586276076062087, -12.319481700132899], rtol=1e-14)

    def test_logistic(self):
        w, b = logistic_closed_form(X, Y)
        np.testing.assert_allclose(w, [3.444839857651245, 3.2740213523131674], rtol=1e-14)
        assert b == pytest.approx(-10.96085409252669, rel=1e-14)

    def test_covariance(self):
        statistics = ClassStatistics(2, 2).update(X, Y)
        np.testing.assert_allclose(statistics.scatter / 8, [[0.59375, 0.0625], [0.0625, 0.46875]], rtol=1e-15)

    @pytest.mark.parametrize("shrinkage", [0.0, 0.3, 1.0])
    @pytest.mark.parametrize("between_correction", [True, False])
    @pytest.mark.parametrize("weighted", [True, False])
    @pytest.mark.parametrize("priors", [None, [0.2, 0.3, 0.5]])
    def test_formulas(self, data, rng, shrinkage, between_correction, weighted, priors):
        X, y = data
        weights = rng.exponential(size=300) if weighted else None
        options = {"priors": priors, "shrinkage": shrinkage, "between_correction": between_correction}
        W, b = softmax_closed_form(X, y, sample_weight=weights, **options)
        expected = slow(X, y, weights=weights, **options)
        np.testing.assert_allclose(W, expected[0], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(b, expected[1], rtol=1e-9, atol=1e-11)

    def test_without_the_correction_it_is_whitening(self, data):
        X, y = data
        centred = X - X.mean(axis=0)
        values, vectors = np.linalg.eigh(centred.T @ centred / len(X))
        whitening = vectors / np.sqrt(values)
        means = np.array([(centred[y == k] @ whitening).mean(axis=0) for k in range(3)])
        logits = centred @ whitening @ means.T - 0.5 * (means**2).sum(axis=1) + np.log(np.bincount(y) / len(y))
        rule = ClassStatistics(3, 5).update(X, y).solve(between_correction=False)
        np.testing.assert_allclose(rule.log_proba(X), kexue.log_softmax(logits), atol=1e-11)

    def test_digits(self, rng):
        """Columns in units from 1e-6 to 1e6, with correlations: against 50 digits."""
        y = np.arange(40) % 2
        X = (rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)) + y[:, None]) * 10.0 ** np.arange(-6, 6, 2)
        with mpmath.workdps(50):
            exact = np.vectorize(mpmath.mpf, otypes=[object])(X)
            means = [exact[y == k].sum(axis=0) / 20 for k in (0, 1)]
            centred = np.concatenate([exact[y == k] - means[k] for k in (0, 1)])
            difference = mpmath.matrix((means[1] - means[0]).tolist())
            w = mpmath.lu_solve(mpmath.matrix((centred.T @ centred / 40).tolist()), difference)
            w = np.array([float(entry) for entry in w])
        np.testing.assert_allclose(logistic_closed_form(X, y)[0], w, rtol=1e-12)


class TestStatistics:
    @given(st.data())
    @settings(deadline=None, max_examples=60)
    def test_any_batches(self, data):
        rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
        rows = data.draw(st.integers(1, 60))
        offset = data.draw(st.sampled_from([0.0, 1e3, -1e8]))
        X = rng.normal(size=(rows, 3)) + offset
        y = rng.integers(0, 4, rows)
        weights = rng.integers(0, 3, rows).astype(float) if data.draw(st.booleans()) else None
        cuts = sorted(data.draw(st.lists(st.integers(0, rows), max_size=6)))
        whole = ClassStatistics(4, 3).update(X, y, weights)
        updated, parts = ClassStatistics(4, 3), []
        for start, stop in zip([0, *cuts], [*cuts, rows], strict=True):
            place = slice(start, stop)
            batch = X[place], y[place], None if weights is None else weights[place]
            updated.update(*batch)
            parts.append(ClassStatistics(4, 3).update(*batch))
        for other in (updated, sum(parts[1:], parts[0]), sum(parts[-2::-1], parts[-1])):
            np.testing.assert_array_equal(other.weights, whole.weights)
            np.testing.assert_allclose(other.means, whole.means, rtol=1e-14, atol=1e-12)
            np.testing.assert_allclose(other.scatter, whole.scatter, rtol=1e-12, atol=1e-12)

    def test_chunks(self, rng, monkeypatch):
        X, y, weights = rng.normal(size=(500, 3)) + 7, rng.integers(0, 2, 500), rng.random(500)
        expected = ClassStatistics(2, 3).update(X, y, weights)
        W, b = linear_regression_closed_form(X, X**2, sample_weight=weights)
        scores = expected.solve().log_proba(X)
        monkeypatch.setattr("kexue._analytic_classifier._CHUNK", 30)
        monkeypatch.setattr("kexue._analytic_classifier._LEAST_ROWS", 7)
        found = ClassStatistics(2, 3).update(X, y, weights)
        np.testing.assert_allclose(found.scatter, expected.scatter, rtol=1e-12)
        np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-13)
        np.testing.assert_allclose(found.mean, np.average(X, axis=0, weights=weights), rtol=1e-13)
        np.testing.assert_allclose(found.solve().log_proba(X), scores, atol=1e-12)
        found = linear_regression_closed_form(X, X**2, sample_weight=weights)
        np.testing.assert_allclose(found[0], W, rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(found[1], b, rtol=1e-10)

    def test_weights_are_repetitions(self, data, rng):
        X, y = data
        weights = rng.integers(0, 4, 300)
        weights[:3] = 1
        repeated = softmax_closed_form(np.repeat(X, weights, axis=0), np.repeat(y, weights))
        X[weights == 0] = 1e30
        for found, expected in zip(softmax_closed_form(X, y, sample_weight=weights), repeated, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)

    def test_adding_changes_neither(self, data):
        X, y = data
        first, second = ClassStatistics(3, 5).update(X[:100], y[:100]), ClassStatistics(3, 5).update(X[100:], y[100:])
        before = pickle.dumps((first, second))
        total = first + second
        assert pickle.dumps((first, second)) == before
        np.testing.assert_allclose(total.scatter, ClassStatistics(3, 5).update(X, y).scatter, rtol=1e-12)
        assert pickle.loads(pickle.dumps(total)).n_classes == 3

    def test_before_any_row(self):
        empty = ClassStatistics(2, 3)
        assert (empty.n_classes, empty.n_features) == (2, 3)
        assert np.isnan(empty.mean).all() and np.isnan(empty.means).all()
        empty.update(np.empty((0, 3)), []).update(np.ones((2, 3)), [0, 1], [0, 0])
        assert np.isnan(empty.mean).all() and not empty.weights.any()
        assert ((empty + empty).weights == 0).all()

    def test_failure_adds_nothing(self, data):
        X, y = data
        statistics = ClassStatistics(3, 5).update(X, y)
        before = pickle.dumps(statistics)
        for bad, message in ((np.nan, r"^X\[299, 4\] is nan; X has shape"), (1e200, "^X has entries too far apart")):
            X[299, 4] = bad
            with pytest.raises(KexueValueError, match=message):
                statistics.update(X, y)
            assert pickle.dumps(statistics) == before

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (([[1.0]], [0]), KexueValueError, "X has 1 columns (shape (1, 1)), not 2"),
            (([1.0, 2.0], [0]), KexueValueError, "X must have 2 dimensions"),
            (([[1.0, 2.0]], [0, 1]), KexueValueError, "y must have shape (1,), as X has 1 rows, but its shape is (2,)"),
            (([[1.0, 2.0]], [2]), KexueValueError, "y[0] is 2, but there are 2 classes"),
            (([[1.0, 2.0]], [-1]), KexueValueError, "y[0] is -1, but classes are numbered from 0"),
            (([[1.0, 2.0]], [0.0]), TypeError, "y must hold integers"),
            (([["a", "b"]], [0]), TypeError, "X must hold real numbers"),
            (([[1.0, 2.0]], [0], [-1]), KexueValueError, "sample_weight[0] is negative"),
            (([[1.0, 2.0]], [0], [np.inf]), KexueValueError, "sample_weight[0] is inf"),
            (([[1.0, 2.0]], [0], [1, 1]), KexueValueError, "sample_weight has 2 entries, but X has 1 rows"),
        ],
    )
    def test_errors(self, arguments, error, message):
        with pytest.raises(error, match=re.escape(message)):
            ClassStatistics(2, 2).update(*arguments)

    def test_overflow_between_batches(self):
        statistics = ClassStatistics(1, 2).update([[1e200, 0.0]], [0])
        far = ClassStatistics(1, 2).update([[-1e200, 0.0]], [0])
        for add in (lambda: statistics.update([[-1e200, 0.0]], [0]), lambda: statistics + far):
            with pytest.raises(KexueValueError, match="^X has entries too far apart: the squares"):
                add()
            assert statistics.weights.tolist() == [1] and statistics.means.tolist() == [[1e200, 0]]
            assert not statistics.scatter.any()

    def test_overflow_of_weights(self):
        statistics = ClassStatistics(2, 1).update([[1.0], [2.0]], [0, 1], [1e308, 1.0])
        for weights in ([1e308, 0.0], [0.0, 1e308]):
            with pytest.raises(KexueValueError, match="^sample_weight has entries too large: their sum overflows"):
                statistics.update([[1.0], [2.0]], [0, 1], weights)
        assert statistics.weights.tolist() == [1e308, 1]

    @pytest.mark.parametrize("dtype", ["u1", "u8", "i1", "?"])
    def test_dtypes_of_classes(self, data, dtype):
        X, y = data[0], (data[1] > 0).astype(int)
        for found, expected in zip(softmax_closed_form(X, y.astype(dtype)), softmax_closed_form(X, y), strict=True):
            np.testing.assert_array_equal(found, expected)

    def test_sizes(self):
        with pytest.raises(KexueValueError, match="^n_classes must be at least 1"):
            ClassStatistics(0, 1)
        with pytest.raises(TypeError, match="^n_features must be an integer"):
            ClassStatistics(1, 2.0)
        with pytest.raises(KexueValueError, match="2 classes and 3 columns cannot be added to those of 2 and 4"):
            ClassStatistics(2, 3) + ClassStatistics(2, 4)
        with pytest.raises(TypeError):
            ClassStatistics(2, 3) + 1


class TestNumbers:
    def test_layouts(self, layout, untouched, dtype, data):
        X, y = data
        given_rows = layout(X.astype(dtype))
        with untouched(given_rows, y):
            W, b = softmax_closed_form(given_rows, y)
        assert W.dtype == b.dtype == dtype
        tolerance = 1e-3 if dtype == np.float32 else 1e-10
        expected = slow(X, y)
        np.testing.assert_allclose(W, expected[0], rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(b, expected[1], rtol=tolerance, atol=tolerance)

    def test_an_offset_does_not_matter(self, data):
        X, y = data
        expected = ClassStatistics(3, 5).update(X, y).solve()
        for offset in (1e4, -1e8):
            moved = ClassStatistics(3, 5).update(X + offset, y).solve()
            # X itself is rounded to 1.5e-8 at 1e8.
            tolerance = abs(offset) * 1e-14
            np.testing.assert_allclose(moved.log_proba(X + offset), expected.log_proba(X), atol=tolerance)
            np.testing.assert_allclose(moved.centred_W, expected.centred_W, atol=tolerance)

    def test_the_mean_does_not_round(self, rng):
        """At 1e12 the mean itself has 4 digits after the point, data that are integers have all."""
        X = rng.integers(-50, 50, size=(30, 3)).astype(float)
        y = np.arange(30) % 2
        near, far = (ClassStatistics(2, 3).update(rows, y).solve() for rows in (X, X + 1e12))
        np.testing.assert_allclose(far.log_odds(X + 1e12), near.log_odds(X), rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(far.log_proba(X + 1e12), near.log_proba(X), rtol=1e-13)

    @given(st.lists(st.integers(-150, 150), min_size=3, max_size=3), st.integers(0, 2**32))
    @settings(deadline=None, max_examples=30)
    def test_units_do_not_matter(self, exponents, seed):
        rng = np.random.default_rng(seed)
        y = np.arange(30) % 2
        X = rng.normal(size=(30, 3)) @ rng.normal(size=(3, 3)) + y[:, None]
        expected = ClassStatistics(2, 3).update(X, y).solve()
        units = np.ldexp(1.0, exponents)
        found = ClassStatistics(2, 3).update(X * units, y).solve()
        np.testing.assert_allclose(found.log_odds(X * units), expected.log_odds(X), rtol=1e-11, atol=1e-11)

    def test_constant_columns_weigh_nothing(self, data):
        X, y = data
        expected = softmax_closed_form(X, y)
        for constant in (0.0, 0.1, 1e9 / 3):
            wide = np.insert(X, 2, constant, axis=1)
            statistics = ClassStatistics(3, 6)
            for place in np.array_split(np.arange(300), 7):
                statistics.update(wide[place], y[place])
            rule = statistics.solve()
            assert rule.rank == 5 and not rule.W[:, 2].any()
            np.testing.assert_allclose(np.delete(rule.W, 2, axis=1), expected[0], rtol=1e-9, atol=1e-11)
            np.testing.assert_allclose(rule.b, expected[1], rtol=1e-9, atol=1e-11)

    def test_columns_that_are_constant_in_each_class_weigh_nothing(self, data):
        X, y = data
        wide = np.insert(X, 0, np.array([0.1, 0.7, 1 / 3])[y], axis=1)
        rule = ClassStatistics(3, 6).update(wide, y).solve()
        assert rule.rank == 5 and not rule.W[:, 0].any()

    def test_repeated_columns_share(self, data):
        X, y = data
        rule = ClassStatistics(3, 6).update(np.column_stack([X, X[:, 0]]), y).solve()
        W, b = softmax_closed_form(X, y)
        assert rule.rank == 5
        np.testing.assert_allclose(rule.W[:, [0, 5]], W[:, [0, 0]] / 2, rtol=1e-9)
        np.testing.assert_allclose(rule.W[:, 1:5], W[:, 1:], rtol=1e-9)
        np.testing.assert_allclose(rule.b, b, rtol=1e-9)

    def test_fewer_rows_than_columns(self, rng):
        X, y = rng.normal(size=(12, 30)), np.arange(12) % 3
        rule = ClassStatistics(3, 30).update(X, y).solve()
        assert rule.rank == 9
        expected = slow(X, y)
        np.testing.assert_allclose(rule.W, expected[0], atol=1e-10)
        np.testing.assert_allclose(rule.b, expected[1], atol=1e-9)
        assert ClassStatistics(3, 30).update(X, y).solve(shrinkage=0.1).rank == 30

    def test_cutoff(self, rng):
        y = np.arange(200) % 2
        X = rng.normal(size=(200, 1)) + y[:, None] + 1e-4 * rng.normal(size=(200, 3))
        assert [ClassStatistics(2, 3).update(X, y).solve(cutoff=cutoff).rank for cutoff in (None, 1e-3)] == [3, 1]

    def test_no_variation_at_all(self):
        rule = ClassStatistics(2, 2).update([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]], [0, 0, 1]).solve()
        assert rule.rank == 0 and not rule.W.any()
        np.testing.assert_allclose(np.exp(rule.log_proba([[9.0, 9.0]])), [[2 / 3, 1 / 3]])

    def test_far_rows_have_probabilities(self, data):
        X, y = data
        logarithms = ClassStatistics(3, 5).update(X, y).solve().log_proba(X * 1e6)
        assert np.isfinite(logarithms).all()
        np.testing.assert_allclose(np.exp(logarithms).sum(axis=1), 1)


class TestRule:
    def test_scores_agree(self, data, dtype):
        X, y = data
        rule = ClassStatistics(3, 5).update(X, y).solve()
        assert isinstance(rule, SoftmaxRule)
        X = X.astype(dtype)
        scores, centred = rule.scores(X), rule.centred_scores(X)
        assert scores.dtype == centred.dtype == rule.log_proba(X).dtype == np.float64
        np.testing.assert_allclose(scores, X.astype(np.float64) @ rule.W.T + rule.b, rtol=1e-12)
        np.testing.assert_allclose(kexue.log_softmax(scores), rule.log_proba(X), atol=1e-11)
        assert rule.scores(X[:0]).shape == (0, 3)

    def test_log_odds(self):
        rule = ClassStatistics(2, 2).update(X, Y).solve()
        w, b = logistic_closed_form(X, Y)
        np.testing.assert_allclose(rule.log_odds(X), X @ w + b, atol=1e-13)
        with pytest.raises(KexueValueError, match="^log-odds are those of two classes, but there are 3"):
            ClassStatistics(3, 2).update(X, [0, 1, 2, 0, 1, 2, 0, 1]).solve().log_odds(X)

    def test_bad_rows(self):
        rule = ClassStatistics(2, 2).update(X, Y).solve()
        with pytest.raises(KexueValueError, match=r"^X has 3 columns \(shape \(1, 3\)\), not 2"):
            rule.scores([[1.0, 2.0, 3.0]])
        with pytest.raises(KexueValueError, match=r"^X\[0, 1\] is nan"):
            rule.log_proba([[1.0, np.nan]])


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"priors": [1.0]}, KexueValueError, "priors has 1 entries, but there are 2 classes"),
            ({"priors": [0.0, 1.0]}, KexueValueError, "priors[0] is 0.0, but must be positive"),
            ({"priors": [0.5, 0.6]}, KexueValueError, "priors must sum to 1, within 1e-06, but sum to 1.1"),
            ({"priors": [0.5, np.nan]}, KexueValueError, "priors[1] is nan"),
            ({"priors": ["a", "b"]}, TypeError, "priors must hold real numbers"),
            ({"shrinkage": -0.1}, KexueValueError, "shrinkage must be from 0 to 1, got -0.1"),
            ({"shrinkage": 1.1}, KexueValueError, "shrinkage must be from 0 to 1"),
            ({"shrinkage": np.nan}, KexueValueError, "shrinkage must be from 0 to 1"),
            ({"shrinkage": "auto"}, TypeError, "shrinkage must be a number, not str"),
            ({"cutoff": 1.0}, KexueValueError, "cutoff must be from 0 to below 1, got 1.0"),
            ({"cutoff": True}, TypeError, "cutoff must be a number, not bool"),
            ({"sample_weight": [1, 1, 1, 1, 0, 0, 0, 0]}, KexueValueError, "class 1 is absent: no row of it"),
        ],
    )
    @FITS
    def test_options(self, fit, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            fit(X, Y, **options)

    @FITS
    def test_data(self, fit):
        with pytest.raises(KexueValueError, match=r"^X is empty: its shape is \(0, 2\)"):
            fit(np.empty((0, 2)), [])
        with pytest.raises(KexueValueError, match=r"^X\[0, 0\] is nan"):
            fit([[np.nan], [1.0]], [0, 1])
        with pytest.raises(KexueValueError, match="^class 0 is absent"):
            fit([[2.0], [1.0]], [1, 1])

    def test_classes(self):
        with pytest.raises(KexueValueError, match="^class 2 is absent"):
            softmax_closed_form(X, [0, 1, 10**15, 0, 1, 0, 1, 0])
        with pytest.raises(KexueValueError, match="^class 2 is absent"):
            softmax_closed_form(X, Y, 3)
        with pytest.raises(KexueValueError, match=r"^y\[0\] is 2, but there are 2 classes"):
            logistic_closed_form(X, Y[::-1] + 1)
        with pytest.raises(KexueValueError, match="^n_classes must be at least 1"):
            softmax_closed_form(X, Y, 0)
        for found, expected in zip(logistic_closed_form(X, Y == 1), logistic_closed_form(X, Y), strict=True):
            np.testing.assert_array_equal(found, expected)


class TestLinearRegression:
    @pytest.mark.parametrize("targets", [None, 1, 3])
    @pytest.mark.parametrize("weighted", [True, False])
    def test_is_least_squares(self, rng, targets, weighted):
        X = rng.normal(size=(80, 4)) + [0, 1e3, -5, 2]
        Y = rng.normal(size=80 if targets is None else (80, targets))
        weights = rng.exponential(size=80) if weighted else np.ones(80)
        W, b = linear_regression_closed_form(X, Y, sample_weight=weights if weighted else None)
        roots = np.sqrt(weights)[:, None]
        expected = lstsq(np.column_stack([X, np.ones(80)]) * roots, Y.reshape(80, -1) * roots)[0]
        assert W.shape == (4, *Y.shape[1:]) and np.shape(b) == Y.shape[1:]
        np.testing.assert_allclose(W.reshape(4, -1), expected[:4], rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(np.reshape(b, -1), expected[4], rtol=1e-9)

    def test_layouts(self, layout, untouched, dtype, rng):
        X, Y = rng.normal(size=(30, 3)).astype(dtype), rng.normal(size=(30, 2)).astype(dtype)
        given_rows, targets = layout(X), layout(Y)
        with untouched(given_rows, targets):
            W, b = linear_regression_closed_form(given_rows, targets)
        assert W.dtype == b.dtype == dtype
        expected = lstsq(np.column_stack([X, np.ones(30)]).astype(np.float64), Y.astype(np.float64))[0]
        tolerance = 1e-5 if dtype == np.float32 else 1e-11
        np.testing.assert_allclose(np.vstack([W, b]), expected, rtol=tolerance, atol=tolerance)

    def test_refinement_gets_digits_back(self):
        """A condition of 1e6: the normal equations alone leave 4 digits of 16."""
        matrix = hilbert(12)[:, :5]
        Y = matrix @ np.arange(1.0, 6.0) + 3
        W, b = linear_regression_closed_form(matrix, Y)
        np.testing.assert_allclose(W, np.arange(1.0, 6.0), rtol=1e-8)
        assert b == pytest.approx(3, rel=1e-9)

    def test_refinement_goes_on_while_it_helps(self, rng):
        """A condition of 1e7, of which the Gram matrix has the square."""
        X = rng.normal(size=(40, 3))
        X[:, 1] = X[:, 0] + 3e-7 * X[:, 1]
        Y = rng.normal(size=40)
        with mpmath.workdps(60):
            columns = mpmath.matrix(np.column_stack([X, np.ones(40)]).tolist())
            exact = mpmath.lu_solve(columns.T * columns, columns.T * mpmath.matrix(Y.tolist()))
        W, b = linear_regression_closed_form(X, Y)
        np.testing.assert_allclose([*W, b], [float(x) for x in exact], rtol=1e-7)

    def test_the_mean_does_not_round(self, rng):
        X, Y = rng.integers(-50, 50, size=(40, 3)).astype(float), rng.normal(size=40)
        near, far = (linear_regression_closed_form(rows, Y)[0] for rows in (X, X + 1e12))
        np.testing.assert_allclose(far, near, rtol=1e-12)

    def test_deficient_rank(self, rng):
        X = rng.normal(size=(20, 3))
        X = np.column_stack([X, X[:, 0] - X[:, 1], np.full(20, 0.1)])
        Y = rng.normal(size=(20, 2))
        W, b = linear_regression_closed_form(X, Y)
        expected = lstsq(X - X.mean(axis=0), Y - Y.mean(axis=0), cond=1e-10)[0]
        np.testing.assert_allclose(W, expected, atol=1e-12)
        np.testing.assert_allclose(b, Y.mean(axis=0) - X.mean(axis=0) @ expected, atol=1e-12)
        W, b = linear_regression_closed_form([[1.0, 2.0]], [5.0])
        assert (W.tolist(), b) == ([0.0, 0.0], 5.0)

    def test_rank_is_found(self):
        """One column is a combination of others, to the rounding of its own entries."""
        for seed in range(300):
            X = np.random.default_rng(seed).normal(size=(20, 3))
            X = np.column_stack([X, X[:, 0] - X[:, 1]])
            W, _ = linear_regression_closed_form(X, X[:, 2])
            np.testing.assert_allclose(W, [0, 0, 1, 0], atol=1e-13)
            assert ClassStatistics(1, 4).update(X, np.zeros(20, dtype=int)).solve().rank == 3

    def test_exact_line_far_away(self):
        x = np.arange(10.0)[:, None] + 1e9
        W, b = linear_regression_closed_form(x, 3 * x[:, 0] - 7)
        assert W[0] == pytest.approx(3, rel=1e-14)
        assert b == pytest.approx(-7, abs=1e-5)

    @pytest.mark.parametrize(
        ("X", "Y", "options", "error", "message"),
        [
            (np.empty((0, 2)), [], {}, KexueValueError, "X is empty"),
            ([[1.0], [2.0]], [1.0], {}, KexueValueError, "Y has 1 rows (shape (1,)), but X has 2"),
            ([[1.0], [np.inf]], [1.0, 2.0], {}, KexueValueError, "X[1, 0] is inf"),
            ([[1.0], [2.0]], [1.0, np.nan], {}, KexueValueError, "Y[1] is nan"),
            ([[1.0], [2.0]], [1.0, 2.0], {"sample_weight": [0, 0]}, KexueValueError, "sample_weight has no entry"),
            ([[1.0], [2.0]], [1.0, 2.0], {"sample_weight": [1]}, KexueValueError, "sample_weight has 1 entries"),
            ([[1.0], [2.0]], [1.0, 2.0], {"cutoff": -1.0}, KexueValueError, "cutoff must be from 0 to below 1"),
            ([[-1e300], [1e300]], [1.0, 2.0], {}, KexueValueError, "X or Y has entries too far apart"),
            ([["a"]], [1.0], {}, TypeError, "X must hold real numbers"),
        ],
    )
    def test_errors(self, X, Y, options, error, message):
        with pytest.raises(error, match=re.escape(message)):
            linear_regression_closed_form(X, Y, **options)
