"""Moments of activations: tables against quadrature with 30 digits, functions with kinks, jumps and poles, bad ones."""

import math
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

import kexue
from kexue import (
    ActivationMoments,
    ConvergenceWarning,
    KexueValueError,
    NormalizedActivation,
    activation_moments,
    activation_second_moment,
    normalized_activation,
    selu_constants,
)

# Mean and second moment.
REFERENCE = {
    "sigmoid": (0.5, 0.293379035858092963),
    "tanh": (0.0, 0.394294490397841174),
    "relu": (0.398942280401432678, 0.5),
    "leaky_relu": (0.394952857597418351, 0.50005),
    "gelu": (0.5 / math.sqrt(math.pi), 1 / 3 + 1 / (2 * math.pi * math.sqrt(3))),
    "swish": (0.206620964141907037, 0.355775519817352156),
    "softplus": (0.806059183347439785, 0.921245908859300279),
    "elu": (0.16052057226655605, 0.644945417492923863),
    "mish": (0.240403888374791444, 0.452342192375882771),
    "softsign": (0.0, 0.183014021266547499),
    "squareplus": (0.677265403240657651, 0.75),
}


def exact_functions():
    half = mpmath.mpf(1) / 2
    scale, alpha = exact_selu()
    return {
        "elu": lambda x: x if x > 0 else mpmath.expm1(x),
        "gelu": lambda x: x * mpmath.ncdf(x),
        "gelu_tanh": lambda x: (
            x * half * (1 + mpmath.tanh(mpmath.sqrt(2 / mpmath.pi) * (x + mpmath.mpf("0.044715") * x**3)))
        ),
        "leaky_relu": lambda x: x if x > 0 else x / 100,
        "mish": lambda x: x * mpmath.tanh(mpmath.log1p(mpmath.exp(x))),
        "relu": lambda x: max(x, 0),
        "selu": lambda x: scale * (x if x > 0 else alpha * mpmath.expm1(x)),
        "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
        "softplus": lambda x: mpmath.log1p(mpmath.exp(x)),
        "softsign": lambda x: x / (1 + abs(x)),
        "squareplus": lambda x: (x + mpmath.sqrt(x * x + 1)) / 2,
        "swish": lambda x: x / (1 + mpmath.exp(-x)),
        "tanh": mpmath.tanh,
    }


def exact_selu():
    e, pi = mpmath.e, mpmath.pi
    first, second = mpmath.erfc(1 / mpmath.sqrt(2)), mpmath.erfc(mpmath.sqrt(2))
    alpha = -mpmath.sqrt(2 / pi) / (first * mpmath.sqrt(e) - 1)
    inner = 2 * second * e**2 + pi * first**2 * e - 2 * (2 + pi) * first * mpmath.sqrt(e) + pi + 2
    return (1 - first * mpmath.sqrt(e)) * mpmath.sqrt(2 * pi) / mpmath.sqrt(inner), alpha


NAMES = pytest.mark.parametrize("name", sorted(exact_functions()))


class TestNames:
    @pytest.mark.parametrize("name", REFERENCE)
    def test_reference(self, name):
        moments = activation_moments(name)
        assert (moments.mean, moments.second_moment) == pytest.approx(REFERENCE[name], rel=2.3e-16, abs=0)

    @NAMES
    def test_to_the_last_digit(self, name):
        with mpmath.workdps(30):
            f = exact_functions()[name]
            cuts = [-14, -6, -3, -1, 0, 1, 3, 6, 14]
            mean = mpmath.quad(lambda x: f(x) * mpmath.npdf(x), cuts)
            second = mpmath.quad(lambda x: f(x) ** 2 * mpmath.npdf(x), cuts)
            moments = activation_moments(name)
            assert abs(moments.mean - mean) <= max(math.ulp(float(mean)), 1e-30)
            assert abs(moments.second_moment - second) <= math.ulp(float(second))
        assert moments.error <= 2**-53
        assert activation_second_moment(name) == moments.second_moment

    @NAMES
    def test_the_named_function_is_the_tables(self, name):
        f = NormalizedActivation(name)
        x = np.linspace(-9, 9, 37)
        with mpmath.workdps(30):
            expected = [float(exact_functions()[name](mpmath.mpf(v))) for v in x]
        np.testing.assert_allclose(f(x), expected, rtol=1e-14, atol=1e-17)
        moments = activation_moments(f)
        assert moments.mean == pytest.approx(activation_moments(name).mean, abs=1e-15)
        assert moments.second_moment == pytest.approx(activation_moments(name).second_moment, rel=1e-14, abs=0)

    @NAMES
    def test_large_arguments_do_not_overflow(self, name):
        with np.errstate(all="raise", under="ignore"):
            values = NormalizedActivation(name)([-1e4, 1e4])
        assert np.isfinite(values).all()

    def test_selu(self):
        scale, alpha = selu_constants()
        assert scale == 1.05070098735548049341933 and alpha == 1.67326324235437728481704
        with mpmath.workdps(40):
            assert abs(exact_selu()[0] - scale) < 1.2e-16 and abs(exact_selu()[1] - alpha) < 1.2e-16


class TestFunctions:
    @pytest.mark.parametrize(
        ("f", "mean", "second"),
        [
            (np.sin, 0, (1 - math.exp(-2)) / 2),
            (np.exp, math.exp(0.5), math.exp(2)),
            (lambda x: np.exp(12 * x), math.exp(72), math.exp(288)),
            (lambda x: np.exp(x * x / 6), math.sqrt(1.5), math.sqrt(3)),
            (lambda x: x**10, 945, 654729075),
            (lambda x: np.maximum(x, 0) ** 2, 0.5, 1.5),
            (lambda x: (x > 0.3) * 1.0, ndtr(-0.3), ndtr(-0.3)),
            (lambda x: (x > 0.3).astype(np.float32), ndtr(-0.3), ndtr(-0.3)),
            (lambda x: x > 0.3, ndtr(-0.3), ndtr(-0.3)),
            (lambda x: abs(x) ** 0.5, 2**0.25 * math.gamma(0.75) / math.sqrt(math.pi), math.sqrt(2 / math.pi)),
            (lambda x: np.clip(x, -1, 1), 0, 1 - 2 * (math.exp(-0.5) / math.sqrt(2 * math.pi))),
            (lambda x: np.cos(50 * x), math.exp(-1250), 0.5),
            (lambda x: 3.0, 3, 9),
            (lambda x: 0 * x, 0, 0),
        ],
    )
    def test_known(self, f, mean, second):
        moments = activation_moments(f)
        assert moments.mean == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert moments.second_moment == pytest.approx(second, rel=2e-12, abs=0)
        assert abs(moments.second_moment - second) <= 2 * moments.error + 1e-13 * second
        assert moments.error <= 1e-12 * max(second, math.sqrt(second))

    def test_gauss_hermite_would_not_do(self):
        # What the panels are for: with 100 nodes it misses relu's mean by 0.1%, and a step by half a percent.
        nodes, weights = np.polynomial.hermite_e.hermegauss(100)
        weights = weights / weights.sum()
        assert abs(weights @ np.maximum(nodes, 0) - REFERENCE["relu"][0]) > 1e-3
        assert abs(weights @ (nodes > 0.3) - ndtr(-0.3)) > 5e-3

    @given(knots=st.lists(st.floats(-3, 3), min_size=1, max_size=5), seed=st.integers(0, 100))
    @settings(max_examples=30, deadline=None)
    def test_piecewise_linear(self, knots, seed):
        # sum_k c_k relu(x - t_k): moments of relu are known.
        c = np.random.default_rng(seed).normal(size=len(knots))
        t = np.array(knots)

        def f(x):
            return np.maximum(x[:, None] - t, 0) @ c

        expected = c @ (np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi) - t * ndtr(-t))
        scale = abs(c).sum() * 4
        assert activation_moments(f).mean == pytest.approx(expected, abs=1e-11 * scale)
        with_knots = activation_moments(f, breakpoints=knots)
        assert with_knots.mean == pytest.approx(expected, abs=1e-11 * scale)

    @pytest.mark.parametrize("rtol", [1e-3, 1e-5, 1e-7])
    def test_the_error_counts_every_panel(self, rtol):
        moments = activation_moments(lambda x: abs(np.remainder(x, 0.3) - 0.13), rtol=rtol)
        exact = activation_moments(lambda x: abs(np.remainder(x, 0.3) - 0.13))
        wrong = abs(moments.mean - exact.mean), abs(moments.second_moment - exact.second_moment)
        assert max(wrong) <= moments.error < 100 * max(wrong)

    def test_breakpoints_save_calls(self):
        calls = [0, 0]
        for i, places in enumerate([(), (0.3, -0.7, 100.0)]):

            def f(x, i=i):
                calls[i] += len(x)
                return np.sign(x - 0.3) + (x > -0.7)

            assert activation_moments(f, breakpoints=places).mean == pytest.approx(
                1 - 2 * ndtr(0.3) + ndtr(0.7), abs=1e-12
            )
        assert calls[1] < calls[0] / 3

    def test_simulation_agrees(self):
        x = np.random.default_rng(0).standard_normal(1_000_000)
        f = kexue.gelu(x)
        moments = activation_moments("gelu")
        # 5 standard errors: one in 1.7 million seeds.
        assert abs(f.mean() - moments.mean) < 5 * f.std() / 1000
        assert moments.variance == pytest.approx(f.var(), rel=0.01, abs=0)

    def test_not_converged(self):
        noise = np.random.default_rng(0)
        with pytest.warns(ConvergenceWarning, match="activation_moments: rtol=1e-12 was not reached"):
            moments = activation_moments(lambda x: noise.random(len(x)))
        assert moments.error > 1e-6
        # What was not good enough counts all the same.
        assert moments.mean == pytest.approx(1 / 2, abs=0.02)
        assert moments.second_moment == pytest.approx(1 / 3, abs=0.02)
        with kexue.errstate(convergence="raise"), pytest.raises(ConvergenceWarning):
            activation_moments(lambda x: abs(x) ** -0.5)  # its square has no integral
        assert activation_moments(lambda x: abs(x) ** -0.2, rtol=1e-6).error < 1e-6

    @pytest.mark.parametrize(
        ("f", "text"),
        [
            (np.log, r"fn\(x\) is nan at x = -3"),
            (lambda x: np.exp(x * x), r"fn\(x\) is inf at x = "),
            (lambda x: 1e200 + 0 * x, "the integral of its square overflows"),
            (lambda x: np.exp(x * x / 4), "the integral of its square diverges"),
            (lambda x: np.exp(x * x / 4.04), "the integral of its square diverges, or nearly so"),
            (lambda x: x[:3], r"fn must return an array of the shape of its argument, \(\d+,\), but returned \(3,\)"),
            ("Relu", "fn must be callable or one of 'elu', .* got 'Relu'"),
        ],
    )
    def test_bad_functions(self, f, text):
        with pytest.raises(KexueValueError, match=text):
            activation_moments(f)

    def test_bad_arguments(self):
        with pytest.raises(TypeError, match="fn must be a name or callable, not int"):
            activation_second_moment(3)
        with pytest.raises(TypeError, match=r"fn\(x\) must hold real numbers"):
            activation_moments(lambda x: x + 1j)
        with pytest.raises(KexueValueError, match="rtol must be positive and finite, got 0"):
            activation_moments(np.sin, rtol=0)
        with pytest.raises(KexueValueError, match=r"breakpoints\[1\] is nan"):
            activation_moments(np.sin, breakpoints=[0, math.nan])
        for fn in (np.sin, "tanh"):  # of names too, where they are not used
            with pytest.raises(KexueValueError, match="rtol must be positive and finite, got -1"):
                activation_moments(fn, rtol=-1)
            with pytest.raises(TypeError, match="rtol must hold real numbers"):
                activation_moments(fn, rtol="1")
            with pytest.raises(TypeError, match="breakpoints must hold real numbers"):
                activation_moments(fn, breakpoints=["a"])
            with pytest.raises(TypeError, match="breakpoints must be an array of real numbers"):
                activation_moments(fn, breakpoints=None)


def shifted_square(x):
    return (x - 1) ** 2


class TestNormalized:
    @NAMES
    def test_second_moment_is_one(self, name):
        assert activation_second_moment(normalized_activation(name)) == pytest.approx(1, rel=1e-13, abs=0)
        moments = activation_moments(normalized_activation(name, center=True))
        assert moments.mean == pytest.approx(0, abs=1e-14) and moments.variance == pytest.approx(1, rel=1e-13, abs=0)

    def test_functions(self):
        act = normalized_activation(shifted_square)
        assert act.shift == 0 and act.scale == pytest.approx(1 / math.sqrt(10))
        assert act(3.0) == pytest.approx(4 / math.sqrt(10))
        centred = normalized_activation(shifted_square, center=True)
        assert centred(3.0) == pytest.approx((4 - 2) / math.sqrt(6))

    @pytest.mark.parametrize("fn", ["swish", shifted_square])
    def test_pickle(self, fn):
        act = normalized_activation(fn, center=True)
        copy = pickle.loads(pickle.dumps(act))
        assert copy == act and isinstance(copy, NormalizedActivation)
        np.testing.assert_array_equal(copy([1.0, 2.0]), act([1.0, 2.0]))
        moments = activation_moments(fn)
        assert pickle.loads(pickle.dumps(moments)) == moments and isinstance(moments, ActivationMoments)

    @NAMES
    def test_dtypes(self, name, dtype):
        x = np.linspace(-3, 3, 7, dtype=dtype)
        result = normalized_activation(name)(x)
        assert result.dtype == dtype
        np.testing.assert_allclose(result, normalized_activation(name)(x.astype(np.float64)), rtol=1e-5, atol=1e-7)
        assert normalized_activation(name)(1).shape == ()
        assert normalized_activation(name)(np.empty((0, 2))).shape == (0, 2)

    @NAMES
    def test_at_infinity(self, name):
        with np.errstate(invalid="raise"):
            x = np.array([-np.inf, np.inf, np.nan, -1e300, 1e300])
            ends = normalized_activation(name)(x)
        assert np.isnan(ends[2]) and not np.isnan(ends[[0, 1]]).any()
        if ends[3] > -10:  # a limit is reached there; leaky_relu has none
            assert ends[0] == pytest.approx(ends[3], abs=1e-299)

    @pytest.mark.parametrize("shift", [3.0, 1e3, -1e6])
    def test_a_variance_far_below_the_square_of_the_mean(self, shift):
        # The difference of the moments has an error of 1e-16 shift^2.
        with kexue.errstate(convergence="ignore"):
            act = normalized_activation(lambda x: shift + np.tanh(x), center=True)
        assert act.scale == pytest.approx(normalized_activation("tanh").scale, rel=1e-15 * abs(shift) + 1e-13, abs=0)
        assert act.shift == pytest.approx(shift, rel=1e-14)

    def test_nothing_to_divide_by(self):
        for constant in (0.1, -7.3, 1e10):
            with pytest.raises(KexueValueError, match="fn has no variance to be divided by"):
                normalized_activation(lambda x, constant=constant: 0 * x + constant, center=True)
        with pytest.raises(KexueValueError, match="fn has no second moment to be divided by"):
            normalized_activation(lambda x: 0 * x)
        with pytest.raises(KexueValueError, match="fn has no variance to be divided by"):
            normalized_activation(lambda x: 0 * x + 2, center=True)
        with pytest.raises(KexueValueError, match="fn must be callable or one of"):
            NormalizedActivation("none")
        with pytest.raises(TypeError, match="fn must be a name or callable"):
            NormalizedActivation(None)
