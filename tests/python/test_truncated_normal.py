"""Truncated normals: moments against mpmath, samples against their law, the stream, bad arguments.

Statistical tests have fixed seeds and reject at a probability of 1e-6 each: of the some hundred, a right sampler with
another stream fails one with a probability of 1e-4.
"""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kexue
from kexue import (
    KexueValueError,
    effective_truncated_std,
    truncated_normal,
    truncated_normal_mean,
    truncated_normal_variance,
)

INF = math.inf
FALSE_ALARM = 1e-6

# Around 0, to one side, wide, half-lines, far tails, narrow; the last are what the sampler has its proposals for.
INTERVALS = [
    (-2, 2),
    (-1, 3),
    (-INF, INF),
    (-INF, 0.3),
    (0, INF),
    (0.6, INF),
    (-3, -0.1),
    (0.5, 1.5),
    (-0.2, 0.3),
    (3, 3.01),
    (10, 11),
    (-INF, -30),
    (1e4, INF),
]


def moments(a, b):
    """Mean and variance by the formulas, with as many digits as they lose."""
    if b < -a:
        mean, variance = moments(-b, -a)
        return -mean, variance
    with mpmath.workdps(60):
        scale = min(b - a, 1) if b - a > 0 else 1
        lost = 4 * abs(math.log10(scale)) + (4 * math.log10(1 + abs(a)) if math.isfinite(a) else 0)
    with mpmath.workdps(60 + int(lost)):
        a, b = mpmath.mpf(a), mpmath.mpf(b)

        def tail(x):
            return mpmath.erfc(x / mpmath.sqrt(2)) / 2

        def density(x):
            return mpmath.npdf(x) if mpmath.isfinite(x) else mpmath.mpf(0)

        def product(x):
            return x * density(x) if mpmath.isfinite(x) else mpmath.mpf(0)

        mass = tail(a) - tail(b)
        mean = (density(a) - density(b)) / mass
        return float(mean), float(1 + (product(a) - product(b)) / mass - mean**2)


class TestMoments:
    @pytest.mark.parametrize(
        ("a", "b", "variance"),
        [(-1, 1, 0.291125094772793211), (-2, 2, 0.7737413035499232472), (-3, 3, 0.973336924662541477)],
    )
    def test_known_variances(self, a, b, variance):
        assert truncated_normal_variance(a, b) == pytest.approx(variance, rel=4e-16, abs=0)
        assert truncated_normal_mean(a, b) == 0

    def test_known_asymmetric(self):
        assert truncated_normal_mean(-1, 3) == pytest.approx(0.282786110727154008, rel=4e-16, abs=0)
        assert truncated_normal_variance(-1, 3) == pytest.approx(0.616141735357829306, rel=4e-16, abs=0)

    @pytest.mark.parametrize(
        ("a", "b"),
        [
            *INTERVALS,
            (40, 41),
            (1e3, 1e3 + 1e-3),
            (1e6, 1e6 + 1e-7),
            (1e-200, 2e-200),
            (-1e-12, 9),
            (5, 5 + 1e-9),
            (-9.99, 10),
            (-10.5, 20),
            (9.9, 30),
            (-30, 30),
            (0, 1e-8),
            (-2, 2 + 1e-13),
            (-31.622776601683793, 63.245553203367585),
        ],
    )
    def test_against_mpmath(self, a, b):
        mean, variance = moments(a, b)
        assert truncated_normal_mean(a, b) == pytest.approx(mean, rel=5e-15, abs=0)
        assert truncated_normal_variance(a, b) == pytest.approx(variance, rel=2e-15, abs=0)
        assert truncated_normal_mean(-b, -a) == -truncated_normal_mean(a, b)
        assert truncated_normal_variance(-b, -a) == truncated_normal_variance(a, b)

    @given(
        sign=st.sampled_from([-1, 1]),
        place=st.floats(-6, 2.5),
        width=st.floats(-8, 2),
        symmetric=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_anywhere(self, sign, place, width, symmetric):
        a = sign * 10**place
        b = abs(a) * (1 + 10 ** min(width, 0)) if symmetric and a < 0 else a + 10**width
        mean, variance = moments(a, b)
        assert truncated_normal_mean(a, b) == pytest.approx(mean, rel=5e-15, abs=1e-300)
        assert truncated_normal_variance(a, b) == pytest.approx(variance, rel=2e-15, abs=1e-300)

    def test_limits(self):
        assert truncated_normal_variance(3, 3) == 0 and truncated_normal_mean(3, 3) == 3
        assert truncated_normal_variance(-3, -3) == 0 and truncated_normal_mean(-3, -3) == -3
        assert truncated_normal_mean(-INF, INF) == 0
        assert truncated_normal_variance(-INF, INF) == pytest.approx(1, rel=1e-15, abs=0)
        assert truncated_normal_mean(1e200, INF) == 1e200
        assert truncated_normal_variance(1e100, INF) == pytest.approx(1e-200, rel=1e-14, abs=0)
        for high in (1, 1e308, 1.5e308, INF):
            expected = truncated_normal_mean(-INF, high)
            assert truncated_normal_mean(-1e308, high) == expected == -truncated_normal_mean(-high, 1e308)
        assert truncated_normal_variance(7, 7 + 1e-9) == pytest.approx((7 + 1e-9 - 7) ** 2 / 12, rel=1e-14, abs=0)

    def test_arrays(self, any_layout, plain):
        a = any_layout(np.linspace(-3, 1, 12).reshape(3, 4))
        b = np.linspace(1.5, 3, 4)
        for function in (truncated_normal_mean, truncated_normal_variance):
            result = function(a, b)
            kind = result.dtype
            assert result.shape == np.broadcast_shapes(a.shape, b.shape) and kind == np.float64
            expected = [function(float(x), float(y)) for x, y in np.broadcast(plain(a), b)]
            np.testing.assert_allclose(result.ravel(), expected, rtol=1e-15)

    def test_many_and_none(self):
        a = np.linspace(-4, 1, 10_001)
        result = truncated_normal_variance(a, 2)
        assert (np.diff(result) < 0).all()  # the wider, the greater
        assert result[5000] == truncated_normal_variance(a[5000], 2)
        assert truncated_normal_mean(np.empty((0, 3)), 1).shape == (0, 3)

    def test_float32(self):
        ends = np.float32([-1, 1])
        assert truncated_normal_variance(*ends).dtype == np.float32
        assert truncated_normal_variance(ends[0], 1).dtype == np.float32
        assert truncated_normal_variance(ends, np.array([1.0, 2.0])).dtype == np.float64

    def test_effective_std(self):
        assert effective_truncated_std(0.02) == pytest.approx(0.0175925132206848, rel=1e-14, abs=0)
        assert effective_truncated_std(1) == pytest.approx(0.8796256610342398, rel=1e-15, abs=0)
        assert 1 / effective_truncated_std(1) == pytest.approx(1.1368472343385565, rel=1e-15, abs=0)
        stds, cuts = np.float32([0, 0.5, 2]), np.float32([[1], [INF]])
        result = effective_truncated_std(stds, -cuts, cuts)
        assert result.dtype == np.float32 and result.shape == (2, 3)
        np.testing.assert_allclose(result[1], stds, rtol=1e-7)
        np.testing.assert_allclose(result[0], stds * math.sqrt(0.291125094772793), rtol=1e-7)


class TestSamples:
    @pytest.mark.parametrize(("a", "b"), INTERVALS)
    def test_law(self, a, b, dtype):
        n = 300_000 if dtype == np.float64 else 50_000
        x = truncated_normal(n, a=a, b=b, rng=20, correct_std=False, dtype=dtype)
        assert x.dtype == dtype
        law = stats.truncnorm(a, b)
        exact = x.astype(np.float64)
        if dtype == np.float64 or b - a > 0.1 and abs(a) < 100:  # elsewhere rounding to float32 shows
            assert stats.kstest(exact, law.cdf).pvalue > FALSE_ALARM

    @pytest.mark.parametrize(("a", "b"), INTERVALS)
    def test_moments(self, a, b):
        n, std, mean = 200_000, 0.7, 5.0
        x = truncated_normal(n, std, a, b, mean=mean, rng=3)
        scale = std / math.sqrt(truncated_normal_variance(a, b))
        deviations = stats.norm.isf(FALSE_ALARM / 2)
        expected = mean + scale * truncated_normal_mean(a, b)
        assert abs(x.mean() - expected) < deviations * std / math.sqrt(n)
        # The fourth moment of the sample itself, which has converged well enough.
        squares = (x - expected) ** 2
        assert abs(squares.mean() - std**2) < deviations * squares.std() / math.sqrt(n)

    def test_independent(self):
        # Entries that follow each other, where blocks meet as well.
        x = truncated_normal(200_000, rng=4)
        correlation = np.corrcoef(x[:-1], x[1:])[0, 1]
        assert abs(correlation) < stats.norm.isf(FALSE_ALARM / 2) / math.sqrt(len(x))
        assert len(np.unique(x)) == len(x)

    @pytest.mark.parametrize(("a", "b"), INTERVALS)
    def test_stream(self, a, b, dtype):
        long = truncated_normal(50_000, a=a, b=b, rng=7, dtype=dtype)
        for n in (1, 2, 100, 16_384, 30_001):
            np.testing.assert_array_equal(truncated_normal(n, a=a, b=b, rng=7, dtype=dtype), long[:n])
        np.testing.assert_array_equal(truncated_normal((500, 100), a=a, b=b, rng=7, dtype=dtype).ravel(), long)

    def test_sources_of_randomness(self):
        expected = truncated_normal(10, rng=5)
        for rng in (
            np.int64(5),
            np.random.SeedSequence(5),
            np.random.PCG64(5),
            np.random.default_rng(5),
        ):
            np.testing.assert_array_equal(truncated_normal(10, rng=rng), expected)
        generator = np.random.default_rng(5)
        first, second = truncated_normal(10, rng=generator), truncated_normal(10, rng=generator)
        assert not (first == second).any()
        assert not (truncated_normal(10) == truncated_normal(10)).any()

    @pytest.mark.parametrize(("a", "b"), [(-2, 2), (0.1, 0.3), (10, 11), (-0.7, 0.1), (-1.1, 2.3), (-11, -10)])
    @pytest.mark.parametrize(("std", "mean"), [(0.02, 0.0), (1.0, 1000.0), (1e-3, -0.37)])
    def test_strictly_inside(self, a, b, std, mean, dtype):
        x = truncated_normal(200_000, std, a, b, mean=mean, correct_std=False, rng=1, dtype=dtype)
        low, high = mean + std * a, mean + std * b
        assert low < float(x.min()) and float(x.max()) < high

    def test_few_numbers_between(self):
        # Of float32 three lie between the ends: all of them occur.
        x = truncated_normal(1000, 5e-5, mean=1000, correct_std=False, rng=0, dtype=np.float32)
        middle = np.float32(1000)
        expected = [np.nextafter(middle, np.float32(0)), middle, np.nextafter(middle, np.float32(2000))]
        assert np.unique(x).tolist() == expected

    def test_far_out(self):
        x = truncated_normal(1000, 1e308, -INF, INF, rng=0)
        assert np.isfinite(x).all()
        x = truncated_normal(1000, 1, -1e300, 1e300, rng=0, dtype=np.float32)
        np.testing.assert_array_equal(x, truncated_normal(1000, 1, -INF, INF, rng=0, dtype=np.float32))

    @pytest.mark.parametrize(("a", "b"), [(1e300, INF), (1e308, INF), (-INF, -1e308), (1e308, 1.1e308)])
    def test_next_to_the_largest_number(self, a, b):
        with np.errstate(all="raise"):
            x = truncated_normal(100, a=a, b=b, correct_std=False, rng=0)
        np.testing.assert_allclose(x, a if a > 0 else b, rtol=1e-15)

    def test_shapes(self):
        assert truncated_normal(3, rng=0).shape == (3,)
        assert truncated_normal((), rng=0).shape == ()
        assert truncated_normal([2, np.int64(3)], rng=0).shape == (2, 3)
        assert truncated_normal((4, 0), rng=0).shape == (4, 0)
        assert truncated_normal(3, rng=0, dtype="float32").dtype == np.float32

    def test_beside_torch(self):
        torch = pytest.importorskip("torch")
        torch.manual_seed(0)
        theirs = torch.nn.init.trunc_normal_(torch.empty(100_000, dtype=torch.float64)).numpy()
        ours = truncated_normal(100_000, rng=0, correct_std=False)
        assert stats.ks_2samp(ours, theirs).pvalue > FALSE_ALARM


class TestBadArguments:
    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"shape": (2, -1)}, r"shape\[1\] must be at least 0, got -1"),
            ({"std": -1}, "std must be positive and finite, got -1"),
            ({"std": 0}, "std must be positive and finite, got 0"),
            ({"std": math.nan}, "std must be positive and finite, got nan"),
            ({"std": INF}, "std must be positive and finite, got inf"),
            ({"mean": math.nan}, "mean must be finite, got nan"),
            ({"a": 2, "b": 1}, "a must be less than b, got a = 2 and b = 1"),
            ({"a": 2}, "a must be less than b, got a = 2 and b = 2"),
            ({"b": math.nan}, "a must be less than b, got a = -2.0 and b = nan"),
            ({"a": INF, "b": INF}, "a must be less than b"),
            ({"dtype": np.float16}, "dtype must be float32 or float64, got float16"),
            ({"mean": 1e10, "std": 1e-7}, "no float64 lies strictly between"),
            ({"mean": 1e39, "dtype": np.float32}, "no float32 lies strictly between"),
            ({"std": [1, 2]}, "std must have 0 dimensions"),
            ({"std": 1e39, "dtype": np.float32}, "std is too large for float32: 1e[+]39"),
            ({"a": 1e200, "b": INF}, "the variance between a = 1e[+]200 and b = inf is below the least number"),
        ],
    )
    def test_samples(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            truncated_normal(**{"shape": 3} | arguments)

    @pytest.mark.parametrize("arguments", [{"shape": 2.5}, {"shape": None}, {"std": "1"}, {"rng": "x"}])
    def test_types(self, arguments):
        with pytest.raises(TypeError):
            truncated_normal(**{"shape": 3} | arguments)

    @pytest.mark.parametrize("function", [truncated_normal_mean, truncated_normal_variance])
    def test_moments(self, function):
        with pytest.raises(KexueValueError, match=r"a\[1\] must not exceed b\[1\], nor both be infinite: 2.0 and 1.0"):
            function([0, 2], 1)
        with pytest.raises(KexueValueError, match="a must not exceed b, nor both be infinite"):
            function(INF, INF)
        with pytest.raises(KexueValueError, match=r"b\[0\] is nan"):
            function(0, [math.nan])
        with pytest.raises(KexueValueError, match=r"a and b must have shapes that broadcast, got \(2,\), \(3,\)"):
            function([0, 1], [2, 3, 4])
        with pytest.raises(TypeError, match="a must hold real numbers"):
            function("x", 1)

    def test_effective_std(self):
        with pytest.raises(KexueValueError, match=r"std\[1\] is -1.0, not a length"):
            kexue.effective_truncated_std([1, -1.0])
        with pytest.raises(KexueValueError, match="std, a and b must have shapes that broadcast"):
            kexue.effective_truncated_std([1, 2], [-1, -2, -3])
