"""minimize: what it finds, what it spends, what it survives; F1 of a linear classifier."""

import importlib.util
import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from kexue import KexueValueError, minimize

METHODS = pytest.mark.parametrize("method", ["mgs", "zeroth-order"])


def sphere(x):
    return (x * x).sum(axis=-1)


def rosenbrock(x):
    return (100 * (x[..., 1:] - x[..., :-1] ** 2) ** 2 + (1 - x[..., :-1]) ** 2).sum(axis=-1)


class TestFinds:
    @METHODS
    @pytest.mark.parametrize("size", [1, 2, 10])
    def test_the_sphere(self, method, size):
        found = minimize(sphere, np.ones(size), method=method, rng=0)
        assert found.success and found.status == 0
        assert found.fun < 1e-12
        np.testing.assert_allclose(found.x, 0, atol=1e-6)

    @pytest.mark.parametrize(("start", "most"), [([-1.2, 1.0], 4000), (np.zeros(5), 9000)])
    @pytest.mark.parametrize("seed", range(3))
    def test_rosenbrock(self, start, most, seed):
        found = minimize(rosenbrock, start, max_nfev=most, rng=seed)
        assert found.success
        np.testing.assert_allclose(found.x, 1, atol=1e-6)

    def test_an_ellipsoid(self):
        scales = 10 ** np.linspace(0, 4, 6)
        found = minimize(lambda x: sphere(x * scales), np.ones(6), rng=0)
        assert found.fun < 1e-9

    def test_many_parameters(self):
        """More than have a full covariance; a diagonal one finds the scales of coordinates."""
        scales = np.where(np.arange(120) % 2, 1, 30)
        found = minimize(lambda x: sphere(x * scales), np.ones(120), max_nfev=40_000, rng=0)
        assert found.fun < 0.1

    @METHODS
    @pytest.mark.parametrize("seed", range(3))
    def test_jumps(self, method, seed):
        def stairs(x):
            return float(np.floor(abs(x - 0.3) * 20).sum())

        found = minimize(stairs, np.full(6, 3.3), method=method, rng=seed)
        assert found.fun <= 2
        assert stairs(np.full(6, 3.3)) == 360

    @METHODS
    def test_a_kink(self, method):
        found = minimize(lambda x: float(abs(x - 2).sum()), np.zeros(4), method=method, rng=0)
        np.testing.assert_allclose(found.x, 2, atol=1e-4)

    def test_along_a_gradient(self):
        """A gradient of the function itself is worth some values; that of a surrogate may be much simpler."""
        values = {}
        for jac in (None, lambda x: 2 * x):
            found = minimize(sphere, np.ones(50), jac=jac, max_nfev=3000, rng=0)
            values[jac is None] = found.fun
            assert found.njev == (0 if jac is None else found.nit)
        assert values[False] < values[True] / 10

    def test_estimates_before_count(self):
        """In twenty dimensions ten pairs say little: without the memory of a few steps 2e-6 is left."""
        scales = 10 ** np.linspace(0, 0.5, 20)
        options = {"method": "zeroth-order", "max_nfev": 3000, "vectorized": True}
        left = [minimize(lambda x: sphere(x * scales), np.ones(20), rng=seed, **options).fun for seed in range(9)]
        assert np.median(left) < 1e-7

    @pytest.mark.parametrize("options", [{"temperature": 0}, {"temperature": 1e-3}, {"mixing": 0}, {"mixing": 1}])
    def test_options_of_mgs(self, options):
        assert minimize(sphere, np.ones(3), rng=0, **options).fun < 1e-8

    @pytest.mark.parametrize("scale", [1e-300, 1e300])
    def test_the_length_of_a_gradient_does_not_matter(self, scale):
        runs = []
        for factor in (1.0, scale):
            returned = []

            def jac(x, factor=factor, returned=returned):
                returned.append((2 * factor * x, 2 * factor * x))
                return returned[-1][0]

            runs.append(minimize(sphere, np.ones(20), jac=jac, max_nfev=500, rng=0))
            assert all((array == copy).all() for array, copy in returned)  # nothing is written into it
        np.testing.assert_allclose(runs[0].x, runs[1].x, rtol=1e-6)

    @METHODS
    def test_radii_and_bounds_of_any_size(self, method):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for options in (
                {"radius": [1.0, 1e-200]},
                {"radius": [1e100, 1e100]},
                {"bounds": [(-1e300, 1e300), (-1.7e308, 1.7e308)]},
                {"bounds": [(0, 1), (0, 1e-170)]},
            ):
                found = minimize(lambda x: float(abs(x).max()), [1.0, 0.0], method=method, rng=0, **options)
                assert found.success and found.fun < 1e-6
            found = minimize(sphere, [1e-200, 1.0], method=method, radius=1e-300, rng=0)
            assert (found.nit, found.radius) == (0, 1e-300)

    def test_a_radius_for_each(self):
        found = minimize(lambda x: sphere(x / [1.0, 1e6]), [1.0, 1e6], radius=[0.3, 3e5], rng=0)
        assert found.fun < 1e-12


class TestResult:
    @METHODS
    @pytest.mark.parametrize("most", [1, 2, 3, 5, 6, 7, 8, 9, 20, 51])
    def test_max_nfev_is_exact(self, method, most):
        for vectorized in (False, True):
            seen = []

            def f(x, vectorized=vectorized, seen=seen):
                seen.extend(np.atleast_2d(x).copy())
                return rosenbrock(x)

            found = minimize(f, [-1.2, 1.0, 0.0], method=method, max_nfev=most, vectorized=vectorized, rng=0)
            assert len(seen) == found.nfev == most
            assert found.status == 1 and not found.success
            assert "max_nfev" in found.message

    @METHODS
    def test_the_best_point_seen(self, method):
        seen = []

        def f(x):
            seen.append((rosenbrock(x), x.copy()))
            return seen[-1][0]

        found = minimize(f, [-1.2, 1.0], method=method, max_nfev=300, rng=0)
        value, point = min(seen, key=lambda pair: pair[0])
        assert found.fun == value
        np.testing.assert_array_equal(found.x, point)

    @METHODS
    def test_history(self, method):
        found = minimize(rosenbrock, [-1.2, 1.0], method=method, max_nfev=300, history=True, rng=0)
        assert found.history.shape == (found.nit + 1, 2)
        assert (np.diff(found.history[:, 0]) > 0).all() and (np.diff(found.history[:, 1]) <= 0).all()
        assert found.history[0].tolist() == [1, rosenbrock(np.array([-1.2, 1.0]))]
        assert found.history[-1].tolist() == [found.nfev, found.fun]
        assert "history" not in minimize(sphere, [1.0], rng=0)

    @METHODS
    def test_the_same_vectorized_or_not(self, method):
        one, many = (
            minimize(rosenbrock, [-1.2, 1.0, 0.5], method=method, max_nfev=500, vectorized=v, rng=0)
            for v in (False, True)
        )
        np.testing.assert_array_equal(one.x, many.x)
        assert (one.nfev, one.nit, one.fun) == (many.nfev, many.nit, many.fun)

    @METHODS
    def test_the_generator(self, method):
        runs = [minimize(rosenbrock, [0.0, 0.0], method=method, max_nfev=100, rng=rng).x for rng in (0, 0, 1)]
        np.testing.assert_array_equal(runs[0], runs[1])
        assert (runs[0] != runs[2]).any()

    @METHODS
    def test_float32(self, method):
        kinds = set()

        def f(x):
            kinds.add((x.dtype, x.shape))
            return sphere(x)

        found = minimize(f, np.ones(3, np.float32), method=method, rng=0)
        assert found.x.dtype == np.float32 and found.success
        assert kinds == {(np.dtype(np.float32), (3,))}
        assert found.fun < 1e-6
        assert minimize(f, [1, 2], method=method, max_nfev=10, rng=0).x.dtype == np.float64

    @METHODS
    @settings(deadline=None, max_examples=20)
    @given(exponent=st.integers(-900, 900), seed=st.integers(0, 2**32))
    def test_the_scale_of_the_function_does_not_matter(self, method, exponent, seed):
        runs = [
            minimize(lambda x, s=s: s * rosenbrock(x), [-1.2, 1.0], method=method, max_nfev=60, rng=seed)
            for s in (1.0, 2.0**exponent)
        ]
        np.testing.assert_array_equal(runs[0].x, runs[1].x)

    def test_max_iter(self):
        found = minimize(sphere, np.ones(2), max_iter=3, rng=0)
        assert (found.nit, found.status) == (3, 2)
        assert minimize(sphere, np.ones(2), max_iter=0).nfev == 1

    def test_arguments(self):
        found = minimize(lambda x, a, b: sphere(x - a) + b, [0.0], (3.0, 2.0), jac=lambda x, a, b: 2 * (x - a), rng=0)
        np.testing.assert_allclose([found.x[0], found.fun], [3, 2], atol=1e-6)
        np.testing.assert_allclose(minimize(lambda x, a: sphere(x - a), [0.0], 3.0, rng=0).x, 3, atol=1e-6)

    def test_the_start_is_not_changed(self):
        start = np.ones(3)

        def f(x):
            value = sphere(x)
            x[:] = 7
            return value

        found = minimize(f, start, rng=0)
        assert start.tolist() == [1, 1, 1]
        assert found.fun == sphere(found.x) < 1e-12

    def test_is_scipys_result(self):
        found = minimize(sphere, [1.0], rng=0)
        assert isinstance(found, optimize.OptimizeResult)
        assert "nfev" in repr(found)


class TestBounds:
    @METHODS
    @pytest.mark.parametrize("kind", ["pairs", "scipy"])
    def test_are_kept(self, method, kind):
        low, high = np.array([0.5, -np.inf, -1.0]), np.array([2.0, -0.25, np.inf])
        pairs = [(0.5, 2.0), (None, -0.25), (-1.0, math.inf)]
        bounds = pairs if kind == "pairs" else optimize.Bounds(low, high)
        seen = []

        def f(x):
            seen.append(x.copy())
            return sphere(x)

        found = minimize(f, [9.0, 9.0, 1.0], method=method, bounds=bounds, rng=0)
        assert all(((low <= x) & (x <= high)).all() for x in seen)
        np.testing.assert_allclose(found.x, [0.5, -0.25, 0], atol=1e-5)

    @METHODS
    def test_of_float32_are_kept(self, method):
        """0.7 and 0.3 are no numbers of float32: those nearby are outside."""
        seen = []

        def f(x):
            seen.append(x.astype(float))
            return float(x[0] - x[1])

        options = {"bounds": [(0.7, 1.0), (0.0, 0.3), (0.1, 0.1)], "max_nfev": 100, "rng": 0}
        found = minimize(f, np.array([0.0, 0.5, 0.5], np.float32), method=method, **options)
        seen = np.array(seen)
        assert (seen[:, 0] >= 0.7).all() and (seen[:, 1] <= 0.3).all()
        assert (seen[:, 2] == np.float32(0.1)).all()  # nothing is within: the nearest
        assert found.x.dtype == np.float32 and abs(found.fun - 0.4) < 1e-6

    @METHODS
    def test_a_fixed_parameter(self, method):
        found = minimize(
            lambda x: sphere(x - 1), [0.0, 0.0, 0.0], method=method, bounds=[(-3, 3), (0.5, 0.5), (-1, 4)], rng=0
        )
        np.testing.assert_allclose(found.x, [1, 0.5, 1], atol=1e-5)
        assert found.x[1] == 0.5
        found = minimize(sphere, [0.0, 0.0], method=method, bounds=[(1, 1), (2, 2)], rng=0)
        assert found.x.tolist() == [1, 2]

    def test_widths_of_very_different_size(self):
        found = minimize(
            lambda x: sphere(x / [1e-3, 1e3] - 0.3), [0.0, 0.0], bounds=[(-1e-3, 1e-3), (-1e3, 1e3)], rng=0
        )
        assert found.fun < 1e-4

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            ([(0, 1)], "bounds must be 2 pairs"),
            ([(0, 1), 3], "bounds must be 2 pairs"),
            (3, "bounds must be 2 pairs"),
            ([(0, 1), (2, 1)], r"bounds\[1\] is no interval"),
            ([(0, 1), (math.nan, 1)], r"bounds\[1\] is no interval"),
            ([(0, 1), (math.inf, math.inf)], r"bounds\[1\] is no interval"),
            (optimize.Bounds([0, 0, 0], 1), "bounds must have 2 entries"),
        ],
    )
    def test_bad_bounds(self, bounds, message):
        with pytest.raises(KexueValueError, match=message):
            minimize(sphere, [0.0, 0.0], bounds=bounds)


class TestFailures:
    @METHODS
    @pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
    def test_half_of_the_points_fail(self, method, bad):
        """The function would be less in the half that fails: the boundary is where the search must end."""
        found = minimize(lambda x: bad if x[0] < 0.5 else sphere(x), [2.0, 1.0], method=method, rng=0)
        assert found.x[0] >= 0.5
        assert math.isfinite(found.fun)
        assert found.fun < 0.3

    @METHODS
    def test_the_first_point_fails(self, method):
        found = minimize(lambda x: math.nan if x[0] < 1.1 else sphere(x), [1.0, 1.0], method=method, rng=0)
        assert found.x[0] >= 1.1 and math.isfinite(found.fun)

    @METHODS
    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_all_points_fail(self, method, bad):
        found = minimize(lambda x: bad, [1.0, 1.0], method=method, rng=0)
        assert (found.status, found.success) == (3, False)
        assert "finite at none" in found.message
        assert found.x.tolist() == [1, 1]
        np.testing.assert_equal(found.fun, bad)
        assert found.nfev < 10_000  # the radius shrinks until there is nothing left to try

    @METHODS
    def test_no_end_below(self, method):
        with np.errstate(all="raise"):
            found = minimize(lambda x: float(-x.sum()), np.zeros(3), method=method, max_nfev=20_000, rng=0)
        assert found.status == 1
        assert np.isfinite(found.x).all() and found.fun < -1e6

    @METHODS
    def test_values_of_any_magnitude(self, method):
        """Their differences overflow."""
        found = minimize(lambda x: 1.7e308 * math.sin(x[0]), [0.1], method=method, max_nfev=500, rng=0)
        assert found.fun < -1.6e308

    @METHODS
    def test_a_constant(self, method):
        found = minimize(lambda x: 3.0, [1.0, 2.0], method=method, rng=0)
        assert found.success and found.x.tolist() == [1, 2] and found.fun == 3

    @METHODS
    @pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
    @pytest.mark.parametrize("calls", [1, 2, 30])
    def test_exceptions_pass(self, method, error, calls):
        count = 0

        def f(x):
            nonlocal count
            count += 1
            if count == calls:
                raise error
            return sphere(x)

        with pytest.raises(error):
            minimize(f, [1.0, 1.0], method=method, rng=0)
        assert count == calls

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"fun": 3}, TypeError, "fun must be callable"),
            ({"jac": 3}, TypeError, "jac must be callable"),
            ({"callback": 3}, TypeError, "callback must be callable"),
            ({"method": np.array(["mgs", "mgs"])}, KexueValueError, "method must be"),
            ({"method": "bfgs"}, KexueValueError, "method must be"),
            ({"method": "zeroth-order", "jac": lambda x: x}, KexueValueError, "jac is of use"),
            ({"x0": [[1.0]]}, KexueValueError, "x0 must have one dimension"),
            ({"x0": []}, KexueValueError, "x0 must have one dimension"),
            ({"x0": [math.nan]}, KexueValueError, r"x0\[0\] is nan"),
            ({"x0": [1e300]}, KexueValueError, r"x0\[0\] is 1e\+300, of more than 1e\+150"),
            ({"radius": 1e200}, KexueValueError, r"radius is 1e\+200, of more than 1e\+150"),
            ({"x0": ["a"]}, TypeError, "x0 must hold real numbers"),
            ({"n_samples": 1}, KexueValueError, "n_samples must be at least 2"),
            ({"max_nfev": 0}, KexueValueError, "max_nfev must be at least 1"),
            ({"max_iter": -1}, KexueValueError, "max_iter must be at least 0"),
            ({"xtol": -1.0}, KexueValueError, "xtol must be at least 0"),
            ({"temperature": math.nan}, KexueValueError, "temperature must be at least 0"),
            ({"temperature": "1"}, TypeError, "temperature must be a number"),
            ({"mixing": 2}, KexueValueError, "mixing must be from 0 to 1"),
            ({"radius": 0}, KexueValueError, "radius is 0.0, not positive"),
            ({"radius": [1.0, 1.0, 1.0]}, KexueValueError, "radius must be a number or have the shape"),
            ({"fun": lambda x: x}, KexueValueError, "fun must return a single number"),
            ({"fun": lambda x: None}, TypeError, "what fun returns"),
            ({"fun": lambda x: 1.0, "vectorized": True}, KexueValueError, r"fun must return an array of shape \(1,\)"),
            ({"jac": lambda x: x[:1]}, KexueValueError, r"jac\(x\) must have the shape of x, \(2,\)"),
            ({"jac": lambda x: x * math.nan}, KexueValueError, r"jac\(x\)"),
        ],
    )
    def test_bad_arguments(self, options, error, message):
        with pytest.raises(error, match=message):
            minimize(**({"fun": sphere, "x0": [1.0, 1.0]} | options))


class TestCallback:
    def test_with_a_point(self):
        points = []
        found = minimize(sphere, [1.0, 1.0], callback=points.append, max_iter=5, rng=0)
        assert len(points) == 5
        np.testing.assert_array_equal(points[-1], found.x)

    def test_with_a_result(self):
        values = []

        def callback(intermediate_result):
            values.append(intermediate_result.fun)
            assert intermediate_result.fun == sphere(intermediate_result.x)

        minimize(sphere, [1.0, 1.0], callback=callback, max_iter=5, rng=0)
        assert len(values) == 5

    @METHODS
    def test_stop(self, method):
        def callback(x):
            raise StopIteration

        found = minimize(sphere, [1.0, 1.0], method=method, callback=callback, rng=0)
        assert (found.nit, found.status, found.success) == (1, 99, False)
        # The words are SciPy's own.
        theirs = optimize.minimize(sphere, [1.0, 1.0], method="Nelder-Mead", callback=callback)
        assert (found.status, found.message) == (theirs.status, theirs.message)

    def test_its_exceptions_pass(self):
        with pytest.raises(ZeroDivisionError):
            minimize(sphere, [1.0], callback=lambda x: 1 / 0)

    def test_it_cannot_move_the_search(self):
        def callback(x):
            x[:] = 1e9

        assert minimize(sphere, [1.0, 1.0], callback=callback, rng=0).fun < 1e-12


@pytest.fixture(scope="module")
def example():
    path = Path(__file__).parents[2] / "examples" / "optimize_f1.py"
    spec = importlib.util.spec_from_file_location("optimize_f1", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestF1:
    """F1 of a linear classifier has no gradient, and scikit-learn's digits come with it."""

    @pytest.mark.parametrize(("digit", "learned", "new"), [(8, 0.2, 0.1), (1, 0.05, 0.02)])
    def test_is_better_than_that_of_a_logistic_regression(self, example, digit, learned, new):
        logistic, moved, direct = example.measure(digit)
        assert direct[0] > logistic[0] + learned
        assert direct[1] > logistic[1] + new  # held out
        assert direct[0] > moved[0]

    def test_the_score(self, example):
        from sklearn.metrics import f1_score

        scores, labels = np.random.default_rng(0).normal(size=50), np.arange(50) % 3 == 0
        np.testing.assert_allclose(example.f1(scores, labels), f1_score(labels, scores > 0), rtol=1e-15)

    def test_the_logistic_regression(self, example):
        from sklearn.linear_model import LogisticRegression

        images, digits = example.features()
        X = np.hstack([images / 8 - 1, np.ones((len(images), 1))])
        theirs = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000).fit(X[:, :-1], digits == 3)
        ours = example.logistic_regression(X, digits == 3)
        np.testing.assert_allclose(ours, [*theirs.coef_[0], theirs.intercept_[0]], rtol=1e-3, atol=1e-4)
