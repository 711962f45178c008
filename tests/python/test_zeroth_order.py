"""Zeroth-order gradients: no bias, known variances, the same numbers in every way of calling.

Statistical tests allow six standard errors: with the few numbers that each compares, a right estimator with another
stream fails one in 1e7.
"""

import math
import warnings

import numpy as np
import pytest

from kexue import KexueValueError, optimal_baseline, policy_gradient, zeroth_order_gradient

A, B, X = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([1.0, -1.0]), np.array([0.3, 0.7])
G = np.array([1.95, -0.15])  # B + A X
MODES, NOISES = ["antithetic", "forward", "baseline"], ["gaussian", "rademacher", "sphere"]
FALSE_ALARM = 6  # standard errors


def quadratic(x):
    return 0.5 * np.einsum("...i,ij,...j", x, A, x) + x @ B


def estimate(f, x, **options):
    return zeroth_order_gradient(f, x, **{"epsilon": 0.5, "n_samples": 100_000, "rng": 0, **options})


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("mode", MODES)
class TestEveryEstimator:
    def test_no_bias_on_a_quadratic(self, mode, noise):
        gradient, std = estimate(quadratic, X, mode=mode, noise=noise, vectorized=True, return_std=True)
        assert (abs(gradient - G) < FALSE_ALARM * std).all()
        assert (std < 0.05).all()

    def test_no_bias_on_an_exponential(self, mode, noise):
        """Of exp(a.x) the mean over the noise is known, and far from exp(a.x) itself."""
        a, epsilon, x = np.array([0.8, -0.5, 0.3]), 1.5, np.array([0.1, 0.2, -0.3])
        k = epsilon * a
        if noise == "gaussian":
            expected = a * math.exp(k @ k / 2)
        elif noise == "rademacher":
            expected = np.tanh(k) / epsilon * np.prod(np.cosh(k))
        else:
            length = math.sqrt(3) * np.linalg.norm(k)
            mean = (length * math.cosh(length) - math.sinh(length)) / length**2
            expected = a / np.linalg.norm(a) * mean * math.sqrt(3) / epsilon
        options = {"mode": mode, "noise": noise, "epsilon": epsilon, "vectorized": True, "return_std": True}
        gradient, std = estimate(lambda x: np.exp(x @ a), x, **options)
        expected = expected * math.exp(a @ x)
        assert (abs(gradient - expected) < FALSE_ALARM * std).all()
        assert (abs(expected - a * math.exp(a @ x)) > FALSE_ALARM * std).any()

    def test_the_same_vectorized_or_not(self, mode, noise):
        x = np.arange(6.0).reshape(2, 3)

        def f(x):
            return np.cos(x).sum(axis=(-1, -2))

        options = {"mode": mode, "noise": noise, "n_samples": 50, "return_std": True}
        one, many = (estimate(f, x, vectorized=vectorized, **options) for vectorized in (False, True))
        np.testing.assert_array_equal(one, many)
        assert one[0].shape == one[1].shape == x.shape

    def test_evaluations(self, mode, noise):
        seen = []

        def f(x):
            seen.append(x.copy())
            return 1.0

        estimate(f, X, mode=mode, noise=noise, n_samples=7)
        assert len(seen) == {"antithetic": 14, "forward": 8, "baseline": 7}[mode]
        assert all(x.shape == X.shape for x in seen)

    def test_blocks(self, mode, noise):
        """More directions than are held at once; the generator goes on behind them in every mode."""
        x = np.zeros(100_000)
        generator = np.random.default_rng(3)
        options = {"mode": mode, "noise": noise, "n_samples": 5, "vectorized": True, "rng": generator}
        gradient = estimate(lambda x: x[:, :10].sum(axis=1), x, **options)
        following = generator.random()
        again = estimate(lambda x: x[:, :10].sum(axis=1), x, **(options | {"rng": 3}))
        np.testing.assert_array_equal(gradient, again)
        other = np.random.default_rng(3)
        estimate(lambda x: x[:, 0], x, **(options | {"rng": other, "mode": "antithetic"}))
        assert other.random() == following

    def test_float32(self, mode, noise):
        kinds = set()

        def f(x):
            kinds.add(x.dtype)
            return x.sum()

        gradient, std = estimate(f, X.astype("f4"), mode=mode, noise=noise, n_samples=300, return_std=True)
        assert gradient.dtype == std.dtype == np.float32
        assert kinds == {np.dtype(np.float32)}
        assert (abs(gradient - 1) < FALSE_ALARM * std + 1e-3).all()

    def test_the_standard_error(self, mode, noise):
        rng = np.random.default_rng(2)
        options = {"epsilon": 0.5, "n_samples": 20, "mode": mode, "noise": noise, "vectorized": True, "rng": rng}
        every = [zeroth_order_gradient(quadratic, X, return_std=True, **options) for _ in range(5000)]
        gradients, errors = np.array(every).transpose(1, 0, 2)
        # Fourth moments of products of normals are large: six deviations of a ratio of variances of 5000.
        np.testing.assert_allclose(np.square(errors).mean(axis=0), gradients.var(axis=0), rtol=0.2)


@pytest.mark.parametrize("noise", NOISES)
def test_no_bias_of_a_baseline_from_two_samples(noise):
    """4,000 estimates of two samples each: a baseline with a sample's own value would halve them."""
    rng = np.random.default_rng(1)
    options = {"epsilon": 0.5, "n_samples": 2, "mode": "baseline", "noise": noise, "vectorized": True, "rng": rng}
    every = np.array([zeroth_order_gradient(quadratic, X, **options) for _ in range(4000)])
    errors = every.std(axis=0) / math.sqrt(len(every))
    assert (abs(every.mean(axis=0) - G) < FALSE_ALARM * errors).all()
    assert G[0] / 2 > 2 * FALSE_ALARM * errors[0]


@pytest.mark.parametrize("mode", MODES)
def test_f_may_write_into_what_it_gets(mode):
    x = X.copy()

    def f(point):
        value = float(quadratic(point))
        point[:] = 7
        return value

    gradient = estimate(f, x, mode=mode, n_samples=50)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(gradient, estimate(quadratic, X, mode=mode, n_samples=50))


@pytest.mark.parametrize("noise", NOISES)
def test_f_may_draw_from_the_generator(noise):
    """With a baseline directions are drawn again, in several blocks here, of which each value must meet its own."""
    generator, seen, states = np.random.default_rng(3), [], []

    def f(points):
        generator.normal(size=5)
        states.append(generator.bit_generator.state)
        seen.extend(zip(points.copy(), points[:, 0], strict=True))
        return points[:, 0]

    options = {"mode": "baseline", "noise": noise, "n_samples": 7, "vectorized": True, "rng": generator}
    gradient = estimate(f, np.zeros(100_000), **options)
    scores, rewards = (np.array(part) for part in zip(*seen, strict=True))
    scores /= 0.5
    expected = policy_gradient(scores, rewards, "optimal") / 0.5
    np.testing.assert_allclose(gradient, expected, atol=1e-12)
    assert generator.bit_generator.state == states[-1]


def test_values_whose_differences_overflow():
    def f(x):
        return 1.7e308 * np.sign(x[0])

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gradient = zeroth_order_gradient(f, [0.0], epsilon=2.0, n_samples=1, rng=0)
        assert 0 < gradient[0] < math.inf
        for mode in MODES:
            with pytest.raises(OverflowError, match="the gradient overflows"):
                estimate(f, [0.0], mode=mode, n_samples=50)
            with pytest.raises(OverflowError, match="the standard error"):
                estimate(lambda x: f(x) / 1e100, [0.0], mode=mode, n_samples=50, return_std=True)


@pytest.mark.parametrize(("noise", "variance"), [("gaussian", 11.475), ("rademacher", 3.825), ("sphere", 3.825)])
def test_variance_on_a_quadratic(noise, variance):
    """(d + 1) |g|^2, and for directions of a fixed length |g|^2 in two dimensions."""
    count = 400_000
    _, std = estimate(quadratic, X, noise=noise, n_samples=count, vectorized=True, return_std=True)
    u = np.random.default_rng(9).normal(size=(count, 2))
    spread = np.square((u @ G)[:, None] * u).sum(axis=1).std() / math.sqrt(count)
    assert abs(np.square(std).sum() * count - variance) < FALSE_ALARM * spread


def test_optimal_baseline_on_a_quadratic():
    """f + epsilon^2 tr(H) (d + 2) / (2 d)."""
    u, epsilon = np.random.default_rng(0).normal(size=(400_000, 2)), 0.5
    values = quadratic(X + epsilon * u)
    expected = quadratic(X) + epsilon**2 * np.trace(A)  # (d + 2) / (2 d) is 1
    sizes = np.square(u).sum(axis=1)
    spread = (sizes * (values - expected)).std() / math.sqrt(len(u)) / sizes.mean()
    assert abs(optimal_baseline(u, values) - expected) < FALSE_ALARM * spread


def test_a_large_value_costs_no_digits_of_the_error():
    _, std = estimate(lambda x: 1e8 + quadratic(x), X, vectorized=True, return_std=True, n_samples=1000)
    _, expected = estimate(quadratic, X, vectorized=True, return_std=True, n_samples=1000)
    np.testing.assert_allclose(std, expected, rtol=1e-6)


def test_jumps():
    """Of a step function: the density of the noise at the step."""
    gradient, std = estimate(lambda x: float(x > 1), 0.0, epsilon=2.0, return_std=True)
    assert abs(gradient - math.exp(-1 / 8) / math.sqrt(8 * math.pi)) < FALSE_ALARM * std
    assert gradient.shape == ()


def test_no_parameters():
    assert estimate(lambda x: 1.0, []).shape == (0,)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"epsilon": 0}, KexueValueError, "epsilon must be positive"),
        ({"epsilon": math.inf}, KexueValueError, "epsilon must be positive"),
        ({"epsilon": 1e-30}, KexueValueError, "epsilon is too small"),
        ({"epsilon": 1e39, "x": np.ones(2, np.float32)}, KexueValueError, "epsilon must be finite in float32"),
        ({"epsilon": "1"}, TypeError, "epsilon must be a number"),
        ({"epsilon": 10**400}, KexueValueError, "epsilon exceeds the range of float64"),
        ({"n_samples": 0}, KexueValueError, "n_samples must be at least 1"),
        ({"n_samples": 1, "mode": "baseline"}, KexueValueError, "n_samples must be at least 2"),
        ({"n_samples": 1, "return_std": True}, KexueValueError, "n_samples must be at least 2"),
        ({"n_samples": 2.0}, TypeError, "n_samples must be an integer"),
        ({"mode": "backward"}, KexueValueError, "mode must be"),
        ({"mode": np.array(["forward", "baseline"])}, KexueValueError, "mode must be"),
        ({"noise": np.array(["sphere", "sphere"])}, KexueValueError, "noise must be"),
        ({"noise": "uniform"}, KexueValueError, "noise must be"),
        ({"f": 3}, TypeError, "f must be callable"),
        ({"x": [math.nan]}, KexueValueError, r"x\[0\] is nan"),
        ({"f": lambda x: math.nan}, KexueValueError, "f must return finite numbers, got nan"),
        ({"f": lambda x: x}, KexueValueError, "f must return a single number"),
        ({"f": lambda x: "1"}, TypeError, "what f returns must hold real numbers"),
        ({"f": lambda x: None}, TypeError, "what f returns"),
        ({"f": lambda x: 1j}, TypeError, "what f returns must hold real numbers"),
        ({"f": lambda x: x, "vectorized": True}, KexueValueError, r"f must return an array of shape \(10,\)"),
    ],
)
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        estimate(**({"f": lambda x: 1.0, "x": [1.0, 2.0], "n_samples": 10} | options))


def test_exceptions_pass():
    class Wrong(Exception):
        pass

    def f(x):
        raise Wrong

    with pytest.raises(Wrong):
        estimate(f, X)
