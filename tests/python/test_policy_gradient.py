"""Policy gradients: reference values, no bias, least variance, the smoothed argmax by three ways.

Statistical tests allow six standard errors: with the few numbers that each compares, a right estimator with another
stream fails one in 1e7.
"""

import itertools
import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import integrate, stats

from kexue import (
    KexueValueError,
    optimal_baseline,
    policy_gradient,
    smoothed_argmax_gradient,
    softmax,
    softmax_policy_gradient,
    zeroth_order_gradient,
)

LOGITS, REWARDS = np.array([0.2, -0.5, 1.0, 0.3]), np.array([1.0, 0.0, 2.0, -1.0])
P = np.array([0.2071552607706204, 0.10287025810176718, 0.46103251139754575, 0.22894196973006675])
J = 0.9002783138356452
GRADIENT = np.array([0.020657871901862895, -0.09261186250769658, 0.5070074508106962, -0.4350534602048626])
SCORES = np.eye(4) - P
FALSE_ALARM = 6  # standard errors

numbers = st.floats(-30, 30, width=32)


def total_variance(baseline):
    terms = (REWARDS - baseline)[:, None] * SCORES
    return P @ np.square(terms).sum(axis=1) - np.square(P @ terms).sum()


class TestReference:
    def test_softmax(self):
        gradient, value = softmax_policy_gradient(LOGITS, REWARDS, return_value=True)
        np.testing.assert_allclose(gradient, GRADIENT, rtol=1e-14)
        np.testing.assert_allclose(value, J, rtol=1e-15)
        np.testing.assert_allclose(softmax(LOGITS), P, rtol=1e-15)

    def test_baselines(self):
        best = optimal_baseline(SCORES, REWARDS, P)
        np.testing.assert_allclose(best, 0.5220246797524953, rtol=1e-14)
        expected = [0.659995680467107, 0.5717813917420151, 0.4742696452748223]
        np.testing.assert_allclose([total_variance(b) for b in (0, J, best)], expected, rtol=1e-14)

    def test_variances_of_three(self):
        """Two sets of the same mean: what a baseline takes away does not matter to it, their spread does."""
        for values, variance in (([4.0, 5.0, 6.0], 2 / 3), ([-10.0, 10.0, 15.0], 350 / 3)):
            gradient, std = policy_gradient(np.ones((3, 1)), values, None, return_std=True)
            np.testing.assert_allclose(gradient, [5.0], rtol=1e-15)
            np.testing.assert_allclose(std**2 * 2, [variance], rtol=1e-14)

    def test_gumbel(self):
        _, value = smoothed_argmax_gradient(LOGITS, REWARDS, scale=0.5, return_value=True)
        np.testing.assert_allclose(value, 1.3050289905025836, rtol=1e-15)


class TestPolicyGradient:
    @pytest.mark.parametrize("baseline", [None, "mean", "optimal", 0.3])
    def test_no_bias(self, baseline):
        """100,000 batches of 4, so that a baseline of the samples' own would show: it takes a quarter off."""
        y = np.random.default_rng(7).choice(4, size=(100_000, 4), p=P)
        estimates = policy_gradient(SCORES[y], REWARDS[y], baseline)
        errors = estimates.std(axis=0) / math.sqrt(len(y))
        assert (abs(estimates.mean(axis=0) - GRADIENT) < FALSE_ALARM * errors).all()
        assert abs(GRADIENT).max() / 4 > 2 * FALSE_ALARM * errors.max()

    @pytest.mark.parametrize("baseline", [None, "mean", "optimal", 0.3])
    def test_the_standard_error(self, baseline):
        y = np.random.default_rng(8).choice(4, size=(20_000, 15), p=P)
        estimates, std = policy_gradient(SCORES[y], REWARDS[y], baseline, return_std=True)
        np.testing.assert_allclose(np.square(std).mean(axis=0), estimates.var(axis=0), rtol=0.06)  # 6 sqrt(2 / 20000)

    def test_baselines_lower_the_variance(self):
        y = np.random.default_rng(9).choice(4, size=(20_000, 50), p=P)
        totals = [policy_gradient(SCORES[y], REWARDS[y], b).var(axis=0).sum() * 50 for b in (None, "mean", "optimal")]
        # With 1 + 1 / 49 for a baseline of 49 others; 6 sqrt(2 / 20000) as above.
        np.testing.assert_allclose(totals, [0.66, 0.5718 * 50 / 49, 0.4743 * 50 / 49], rtol=0.06)

    @pytest.mark.parametrize("baseline", ["mean", "optimal"])
    def test_the_others(self, baseline):
        rng = np.random.default_rng(0)
        scores, rewards = rng.normal(size=(6, 3)), rng.normal(size=6)
        expected = np.zeros(3)
        for i in range(6):
            rest = np.arange(6) != i
            b = rewards[rest].mean() if baseline == "mean" else optimal_baseline(scores[rest], rewards[rest])
            expected += (rewards[i] - b) * scores[i] / 6
        np.testing.assert_allclose(policy_gradient(scores, rewards, baseline), expected, rtol=1e-13)

    @pytest.mark.parametrize("large", [1e3, 1e7, 1e12])
    @pytest.mark.parametrize("count", [2, 3])
    def test_no_bias_of_an_optimal_baseline_where_one_score_outweighs_all(self, large, count):
        """The mean over all batches: of a reward that is always the same the gradient is 0."""
        scores, p = np.array([[large], [-1.0]]), np.array([1, large]) / (1 + large)
        y = np.array(list(itertools.product(range(2), repeat=count)))
        estimates = policy_gradient(scores[y], 3.0, "optimal")[:, 0]
        assert abs(p[y].prod(axis=1) @ estimates) < 1e-14

    def test_one_score_that_is_not_zero(self):
        gradient = policy_gradient([[2.0], [0.0], [0.0]], [5.0, 7.0, 9.0], "optimal")
        np.testing.assert_array_equal(gradient, [10 / 3])  # the others weigh nothing: their baseline is 0

    def test_batches(self):
        rng = np.random.default_rng(0)
        scores, rewards = rng.normal(size=(2, 3, 5, 4)), rng.normal(size=(3, 5))
        for baseline in ("mean", "optimal", None, rng.normal(size=(2, 3, 1))):
            whole, std = policy_gradient(scores, rewards, baseline, return_std=True)
            assert whole.shape == std.shape == (2, 3, 4)
            one = baseline[1, 2] if isinstance(baseline, np.ndarray) else baseline
            np.testing.assert_allclose(whole[1, 2], policy_gradient(scores[1, 2], rewards[2], one), rtol=1e-13)
        assert optimal_baseline(scores, rewards).shape == (2, 3)

    @pytest.mark.parametrize("baseline", ["mean", "optimal"])
    def test_a_constant_in_the_rewards_changes_nothing(self, baseline):
        rng = np.random.default_rng(0)
        scores, rewards = rng.normal(size=(20, 3)), rng.normal(size=20)
        expected = policy_gradient(scores, rewards, baseline)
        np.testing.assert_allclose(policy_gradient(scores, rewards + 2.0**20, baseline), expected, rtol=1e-8)

    def test_types(self):
        scores, rewards = np.ones((3, 2), np.float32), np.ones(3, np.float32)
        assert policy_gradient(scores, rewards).dtype == np.float32
        assert policy_gradient(scores, rewards.astype(float)).dtype == np.float64
        assert all(part.dtype == np.float32 for part in policy_gradient(scores, [1, 2, 3], 0.5, return_std=True))
        assert optimal_baseline(scores, rewards).dtype == np.float32
        assert optimal_baseline(np.zeros((3, 2)), [1, 2, 3]) == 0

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (([1.0], [1.0]), "logp_grad must have at least 2 dimensions"),
            (([[1.0]], [1.0]), "only one"),
            (([[1.0], [2.0]], [1.0, 2.0, 3.0]), "rewards"),
            (([[1.0], [2.0]], [[1.0, 2.0]]), "rewards has shape"),
            (([[1.0], [math.nan]], [1.0, 2.0]), r"logp_grad\[1, 0\] is nan"),
            (([[1.0], [1.0]], [1.0, math.inf]), r"rewards\[1\] is inf"),
            (([[1.0], [1.0]], [1.0, 2.0], "best"), "baseline must be"),
            (([[1.0], [1.0]], [1.0, 2.0], math.nan), "baseline is nan"),
            (([[1.0], [1.0]], [1.0, 2.0], [[1.0], [2.0]]), "baseline has shape"),
            ((np.ones((0, 2)), []), "a sample at least"),
        ],
    )
    def test_bad_arguments(self, arguments, message):
        with pytest.raises(KexueValueError, match=message):
            policy_gradient(*arguments)

    @pytest.mark.parametrize("baseline", [None, "mean", "optimal", 1e308])
    def test_overflow(self, baseline):
        scores, rewards = [[2.0, 1.0], [2.0, 3.0], [2.0, -1.0]], [1.7e308, 1.6e308, -1.7e308]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(OverflowError, match="the gradient overflows"):
                policy_gradient(scores, rewards, baseline)
            if not isinstance(baseline, float):
                with pytest.raises(OverflowError, match="squares of the standard error"):
                    policy_gradient(scores, np.divide(rewards, 1e100), baseline, return_std=True)
            with pytest.raises(OverflowError, match="squared lengths"):
                optimal_baseline(scores, rewards)

    def test_bad_weights(self):
        with pytest.raises(KexueValueError, match=r"weights\[1\] is negative"):
            optimal_baseline([[1.0], [2.0]], [1.0, 2.0], [1.0, -1.0])
        with pytest.raises(KexueValueError, match="weights has shape"):
            optimal_baseline([[1.0], [2.0]], [1.0, 2.0], [[1.0, 1.0]])
        with pytest.raises(KexueValueError, match="two samples"):
            policy_gradient([[1.0]], [2.0], None, return_std=True)


class TestOptimalBaseline:
    @settings(deadline=None, max_examples=60)
    @given(arrays(float, (5, 3), elements=numbers), arrays(float, 5, elements=numbers), st.integers(0, 2**32))
    def test_no_other_has_a_lower_variance(self, scores, rewards, seed):
        best = optimal_baseline(scores, rewards)

        def second_moment(b):  # the mean does not depend on b where the scores' mean is 0
            return np.square((rewards - b)[:, None] * scores).sum()

        other = best + np.random.default_rng(seed).normal(size=20)
        assert all(second_moment(best) <= second_moment(b) * (1 + 1e-12) for b in other)


class TestSoftmaxPolicyGradient:
    @settings(deadline=None, max_examples=60)
    @given(arrays(float, 5, elements=numbers), arrays(float, 5, elements=numbers))
    def test_finite_differences(self, logits, rewards):
        def value(s):
            e = np.exp(s - np.real(s).max())
            return (e / e.sum()) @ rewards

        step = 1e-30
        expected = [value(logits + 1j * step * e).imag / step for e in np.eye(5)]
        scale = max(1.0, abs(rewards).max())
        np.testing.assert_allclose(softmax_policy_gradient(logits, rewards), expected, rtol=1e-7, atol=1e-14 * scale)

    def test_digits_where_one_has_nearly_all(self):
        gradient = softmax_policy_gradient([0.0, -40.0], [1e3 + 1, 1e3])
        share = math.exp(-40)
        np.testing.assert_allclose(gradient, [share, -share], rtol=1e-14)

    def test_extremes(self):
        np.testing.assert_array_equal(softmax_policy_gradient([1e300, -1e300], [1.0, 2.0]), [0.0, 0.0])
        np.testing.assert_allclose(softmax_policy_gradient([0.0, -np.inf, 0.0], [1.0, 50.0, 3.0]), [-0.5, 0.0, 0.5])
        gradient, value = softmax_policy_gradient([-np.inf, 3.0], [7.0, 4.0], return_value=True)
        np.testing.assert_array_equal(gradient, [0, 0])
        assert value == 4

    def test_overflow(self):
        for noise in ("gumbel", "gaussian"):
            with pytest.raises(OverflowError, match="differences of rewards"):
                smoothed_argmax_gradient([0.0, 1.0, -800.0], [1.7e308, -1.7e308, 1.0], noise=noise)

    def test_sums_to_zero_and_shapes(self):
        rng = np.random.default_rng(0)
        logits, rewards = rng.normal(size=(3, 5, 2)), rng.normal(size=(5, 1))
        gradient, value = softmax_policy_gradient(logits, rewards, axis=1, return_value=True)
        assert gradient.shape == (3, 5, 2) and value.shape == (3, 2)
        np.testing.assert_allclose(gradient.sum(axis=1), 0, atol=1e-15)
        one, its_value = softmax_policy_gradient(logits[1, :, 0], rewards[:, 0], return_value=True)
        np.testing.assert_allclose(gradient[1, :, 0], one, rtol=1e-14)
        np.testing.assert_allclose(value[1, 0], its_value, rtol=1e-14)
        assert softmax_policy_gradient(logits.astype("f4"), rewards.astype("f4"), axis=1).dtype == np.float32

    @pytest.mark.parametrize(
        ("logits", "rewards", "options", "message"),
        [
            ([0.0, math.nan], [1.0, 2.0], {}, r"logits\[1\] is nan"),
            ([0.0, math.inf], [1.0, 2.0], {}, r"logits\[1\] is inf"),
            ([[0.0, 0.0], [-np.inf, -np.inf]], [1.0, 2.0], {}, "logits in row 1 are all -inf"),
            ([0.0, 1.0], [1.0, math.nan], {}, r"rewards\[1\] is nan"),
            ([0.0, 1.0], [1.0, 2.0, 3.0], {}, "broadcast"),
            ([], [], {}, "no entries"),
            ([0.0, 1.0], [1.0, 2.0], {"axis": 1}, "axis 1 is out of bounds"),
        ],
    )
    def test_bad_arguments(self, logits, rewards, options, message):
        with pytest.raises(KexueValueError, match=message):
            softmax_policy_gradient(logits, rewards, **options)


class TestSmoothedArgmax:
    @pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
    def test_gumbel_is_the_policy_gradient(self, scale):
        gradient, value = smoothed_argmax_gradient(LOGITS, REWARDS, scale=scale, return_value=True)
        expected, its_value = softmax_policy_gradient(LOGITS / scale, REWARDS, return_value=True)
        np.testing.assert_allclose(gradient, expected / scale, rtol=1e-14)
        np.testing.assert_allclose(value, its_value, rtol=1e-14)

    def test_gumbel_by_quadrature(self):
        """P(argmax = i) is an integral over the i-th noise of the others' distribution functions."""
        law, tau = stats.gumbel_r(), 0.5
        shares = [
            integrate.quad(
                lambda z, i=i: (
                    law.pdf(z) * np.prod([law.cdf(z + (LOGITS[i] - LOGITS[j]) / tau) for j in range(4) if j != i])
                ),
                -10,
                40,
                epsabs=1e-12,
            )[0]
            for i in range(4)
        ]
        value = smoothed_argmax_gradient(LOGITS, REWARDS, scale=tau, return_value=True)[1]
        np.testing.assert_allclose(np.dot(shares, REWARDS), value, rtol=1e-9)
        np.testing.assert_allclose(shares, softmax(LOGITS / tau), rtol=1e-9)

    @pytest.mark.parametrize("noise", ["gumbel", "gaussian"])
    def test_value_of_samples(self, noise):
        rng = np.random.default_rng(3)
        z = rng.gumbel(size=(400_000, 4)) if noise == "gumbel" else rng.normal(size=(400_000, 4))
        rewards = REWARDS[(LOGITS + 0.7 * z).argmax(axis=1)]
        value = smoothed_argmax_gradient(LOGITS, REWARDS, noise=noise, scale=0.7, return_value=True)[1]
        assert abs(rewards.mean() - value) < FALSE_ALARM * rewards.std() / math.sqrt(len(rewards))

    def test_gaussian_is_what_zeroth_order_gradients_estimate(self):
        estimate, std = zeroth_order_gradient(
            lambda s: REWARDS[s.argmax(axis=1)],
            LOGITS,
            epsilon=0.8,
            n_samples=200_000,
            vectorized=True,
            rng=5,
            return_std=True,
        )
        exact = smoothed_argmax_gradient(LOGITS, REWARDS, noise="gaussian", scale=0.8)
        assert (abs(estimate - exact) < FALSE_ALARM * std).all()

    def test_two_choices(self):
        for gap in (0.0, 1.0, 5.0, 14.0):
            gradient, value = smoothed_argmax_gradient([gap, 0], [3, 1], noise="gaussian", scale=0.5, return_value=True)
            slope = stats.norm.pdf(gap, scale=0.5 * math.sqrt(2))
            np.testing.assert_allclose(gradient, [2 * slope, -2 * slope], rtol=1e-11)
            np.testing.assert_allclose(value, 3 - 2 * stats.norm.sf(gap, scale=0.5 * math.sqrt(2)), rtol=1e-14)

    @pytest.mark.parametrize("n", [3, 6, 40])
    def test_gaussian_by_finite_differences(self, n):
        rng = np.random.default_rng(n)
        logits, rewards, step = 2 * rng.normal(size=n), rng.normal(size=n), 1e-4

        def value(s):
            return smoothed_argmax_gradient(s, rewards, noise="gaussian", return_value=True)[1]

        gradient = smoothed_argmax_gradient(logits, rewards, noise="gaussian")
        expected = [(value(logits + step * e) - value(logits - step * e)) / (2 * step) for e in np.eye(n)]
        np.testing.assert_allclose(gradient, expected, atol=1e-7 * abs(gradient).max())
        assert abs(gradient.sum()) < 1e-14

    def test_gaussian_batches_and_edges(self):
        rng = np.random.default_rng(0)
        logits, rewards = rng.normal(size=(3, 5, 2)), rng.normal(size=5)[:, None]
        gradient, value = smoothed_argmax_gradient(logits, rewards, noise="gaussian", axis=1, return_value=True)
        one, its_value = smoothed_argmax_gradient(logits[2, :, 1], rewards[:, 0], noise="gaussian", return_value=True)
        np.testing.assert_allclose(gradient[2, :, 1], one, rtol=1e-13)
        np.testing.assert_allclose(value[2, 1], its_value, rtol=1e-13)
        gradient, value = smoothed_argmax_gradient([3.0], [2.0], noise="gaussian", return_value=True)
        assert gradient == 0 and value == 2
        hidden = smoothed_argmax_gradient([0.3, -np.inf, 0.0], [1.0, 9.0, 2.0], noise="gaussian")
        np.testing.assert_allclose(hidden[[0, 2]], smoothed_argmax_gradient([0.3, 0], [1, 2], noise="gaussian"))
        assert hidden[1] == 0
        np.testing.assert_array_equal(smoothed_argmax_gradient([0.0, -1e300], [1, 2], noise="gaussian"), [0, 0])

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"noise": np.array(["gumbel", "gumbel"])}, KexueValueError, "noise must be"),
            ({"noise": "cauchy"}, KexueValueError, "noise must be"),
            ({"scale": 0}, KexueValueError, "scale must be positive"),
            ({"scale": math.inf}, KexueValueError, "scale must be positive"),
            ({"scale": "1"}, TypeError, "scale must be a number"),
        ],
    )
    def test_bad_arguments(self, options, error, message):
        with pytest.raises(error, match=message):
            smoothed_argmax_gradient(LOGITS, REWARDS, **options)


def test_layouts(any_layout, plain, untouched, dtype, rng):
    scores, rewards = (
        any_layout(rng.normal(size=(5, 7)).astype(dtype)),
        any_layout(rng.normal(size=(5, 7)).astype(dtype)),
    )
    if not rewards.size:
        assert softmax_policy_gradient(scores, rewards).shape == rewards.shape
        return
    with untouched(scores, rewards):
        gradient, optimal = softmax_policy_gradient(scores, rewards), policy_gradient(scores[:, :, None], rewards, 0.5)
        probit = smoothed_argmax_gradient(scores, rewards, noise="gaussian")
    rtol, scores, rewards = 1e-5 if dtype == np.float32 else 1e-12, plain(scores), plain(rewards)  # products by BLAS
    np.testing.assert_allclose(gradient, softmax_policy_gradient(scores, rewards), rtol=rtol)
    np.testing.assert_allclose(probit, smoothed_argmax_gradient(scores, rewards, noise="gaussian"), rtol=rtol)
    np.testing.assert_allclose(optimal, policy_gradient(scores[:, :, None], rewards, 0.5), rtol=rtol)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("baseline", [None, "mean", "optimal"])
@pytest.mark.parametrize("reward", [0.0, 1.0])
def test_no_score_that_is_not_finite_is_missed(bad, baseline, reward):
    scores = np.ones((3, 2))
    scores[1, 0] = bad
    with pytest.raises(KexueValueError, match=r"logp_grad\[1, 0\]"):
        policy_gradient(scores, [reward, reward, reward], baseline)
    with pytest.raises(KexueValueError, match=r"logp_grad\[1, 0\]"):
        optimal_baseline(scores, [reward, reward, reward])
