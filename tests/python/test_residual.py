"""Residual networks at their initialisation: identities, limits, reference values, simulation; warmup and Adam."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexue import (
    KexueValueError,
    ResidualWeights,
    adam_expected_update,
    effective_truncated_std,
    embedding_logit_std,
    linear_warmup,
    post_norm_weights,
    pre_norm_variance,
    residual_branch_weights,
)

layers_and_ratios = {"layers": st.integers(0, 60), "rho": st.floats(0, 20)}


class TestPostNorm:
    @pytest.mark.parametrize(
        ("rho", "skip", "last"), [(1, 0.015625, 0.7071067811865476), (0.25, 0.262144, 0.8944271909999159)]
    )
    def test_known(self, rho, skip, last):
        found, branches = post_norm_weights(12, rho)
        assert found == pytest.approx(skip, rel=2e-16, abs=0) and branches[-1] == pytest.approx(last, rel=2e-16, abs=0)

    def test_equal_variances(self):
        skip, branches = post_norm_weights(24)
        assert skip == 2.0**-12
        np.testing.assert_allclose(branches, 2.0 ** (-(24 - np.arange(24)) / 2), rtol=3e-16)

    @given(**layers_and_ratios)
    def test_variances_are_kept(self, layers, rho):
        # (1 + rho)^-l + rho sum_j (1 + rho)^-j = 1
        skip, branches = post_norm_weights(layers, rho)
        assert branches.shape == (layers,)
        assert skip**2 + rho * np.sum(branches**2) == pytest.approx(1, rel=1e-13, abs=0)

    @given(rho=st.lists(st.floats(0, 20), max_size=20))
    def test_of_each_layer(self, rho):
        skip, branches = post_norm_weights(len(rho), np.array(rho))
        assert skip**2 + np.sum(rho * branches**2) == pytest.approx(1, rel=1e-13, abs=0)
        # By the layers one after another.
        weights = np.ones(1)
        for ratio in rho:
            weights = np.append(weights, 1) / math.sqrt(1 + ratio)
        np.testing.assert_allclose([skip, *branches], weights, rtol=1e-13)

    @given(**layers_and_ratios)
    def test_one_ratio_is_as_many_equal_ones(self, layers, rho):
        for log in (False, True):
            one, each = (post_norm_weights(layers, r, log=log) for r in (rho, np.full(layers, rho)))
            assert one[0] == pytest.approx(each[0], rel=1e-12, abs=0)
            np.testing.assert_allclose(one[1], each[1], rtol=1e-12)

    def test_many_layers(self):
        skip, branches = post_norm_weights(5000, log=True)
        assert skip == pytest.approx(-2500 * math.log(2), rel=1e-15, abs=0) and skip == branches[0]
        assert post_norm_weights(5000)[0] == 0  # below the least number
        with np.errstate(under="raise"), pytest.raises(FloatingPointError):
            post_norm_weights(5000)
        # Small ratios and powers both keep their digits.
        assert post_norm_weights(5000, 1e-12)[0] == pytest.approx(math.exp(-2500 * 1e-12), rel=1e-16, abs=0)
        exact = (1 + Fraction(0.1)) ** -1000
        assert post_norm_weights(2000, 0.1)[0] == pytest.approx(float(exact), rel=3e-16, abs=0)
        assert post_norm_weights(1000, 1.0)[0] == 2.0**-500
        assert post_norm_weights(1000, 0.25)[0] == pytest.approx(float(Fraction(4, 5) ** 500), rel=3e-16, abs=0)

    def test_a_path_through_the_network(self):
        # Var(x_t + F_t) = 1 + rho before each division, by simulation; 20,000 samples: 5 standard errors.
        rng = np.random.default_rng(0)
        rho, x = 0.5, rng.standard_normal(20_000)
        inputs, branches = [x], []
        for _ in range(8):
            branch = math.sqrt(rho) * rng.standard_normal(x.shape)
            branches.append(branch)
            inputs.append((inputs[-1] + branch) / math.sqrt(1 + rho))
        skip, weights = post_norm_weights(8, rho)
        np.testing.assert_allclose(skip * x + weights @ np.array(branches), inputs[-1], atol=1e-13)
        assert inputs[-1].var() == pytest.approx(1, abs=5 * math.sqrt(2 / 20_000))

    def test_float32_and_none(self):
        skip, branches = post_norm_weights(3, np.float32(0.5))
        assert skip.dtype == branches.dtype == np.float32
        skip, branches = post_norm_weights(3, np.float32([0.5, 1, 2]))
        assert skip.dtype == branches.dtype == np.float32
        for rho in (0.5, []):
            skip, branches = post_norm_weights(0, rho)
            assert skip == 1 and branches.shape == (0,)
            assert post_norm_weights(0, rho, log=True)[0] == 0

    @pytest.mark.parametrize(
        ("layers", "rho", "text"),
        [
            (-1, 1, "layers must be at least 0, got -1"),
            (3, -1, "rho is -1.0, but must be 0 or more"),
            (3, [1, 2, math.nan], r"rho\[2\] is nan"),
            (3, math.inf, "rho is inf"),
            (3, [1, 2], r"rho must be one number or one for each of 3 layers, but its shape is \(2,\)"),
        ],
    )
    def test_bad(self, layers, rho, text):
        with pytest.raises(KexueValueError, match=text):
            post_norm_weights(layers, rho)
        with pytest.raises(TypeError, match="layers must be an integer"):
            post_norm_weights(2.5)


class TestKinds:
    @given(**layers_and_ratios)
    def test_post(self, layers, rho):
        weights = residual_branch_weights(layers, "post", rho)
        skip, branches = post_norm_weights(layers, rho)
        assert weights.skip == skip and weights.variance == 1 and weights.log_variance == 0
        np.testing.assert_array_equal(weights.branches, branches)
        assert isinstance(weights, ResidualWeights)

    @given(**layers_and_ratios)
    def test_pre(self, layers, rho):
        weights = residual_branch_weights(layers, "pre", rho)
        assert weights.skip == 1 and (weights.branches == 1).all() and weights.branches.shape == (layers,)
        assert weights.variance == pre_norm_variance(layers, rho)
        assert math.exp(weights.log_variance) == pytest.approx(weights.variance, rel=1e-13, abs=0)

    @given(**layers_and_ratios, alpha=st.floats(-2, 2))
    def test_variance_adds_up(self, layers, rho, alpha):
        # A branch sees x_t itself: the variance is multiplied in every layer.
        for kind, weight in (("plain", 1.0), ("rezero", alpha), ("fixup", 0.0)):
            weights = residual_branch_weights(layers, kind, rho, alpha=alpha)
            variance = 1.0
            for branch in weights.branches:
                variance += branch**2 * rho * variance
            assert (weights.branches == weight).all() and weights.skip == 1
            assert weights.variance == pytest.approx(variance, rel=1e-12, abs=0)
            assert math.exp(weights.log_variance) == pytest.approx(variance, rel=1e-12, abs=0)

    def test_rezero_begins_as_the_identity(self):
        weights = residual_branch_weights(6, "rezero")
        assert weights.skip == 1 and not weights.branches.any() and weights.variance == 1

    def test_many_layers(self):
        weights = residual_branch_weights(5000, "plain")
        assert weights.variance == math.inf
        assert weights.log_variance == pytest.approx(5000 * math.log(2), rel=1e-15, abs=0)

    def test_pre_norm_variance(self):
        assert pre_norm_variance(12) == 13
        result = pre_norm_variance([[0], [4]], np.array([0.5, 1]))
        np.testing.assert_array_equal(result, [[1, 1], [3, 5]])
        assert pre_norm_variance(3, np.float32(1)).dtype == np.float32

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"layers": -1}, "layers must be at least 0"),
            ({"kind": "none"}, "kind must be one of 'post', .* got 'none'"),
            ({"variance_ratio": -1}, "variance_ratio is -1.0"),
            ({"variance_ratio": [1, 2, 3]}, "variance_ratio must have 0 dimensions"),
            ({"alpha": math.nan}, "alpha must be finite, got nan"),
        ],
    )
    def test_bad(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            residual_branch_weights(**{"layers": 3} | arguments)

    def test_bad_variance(self):
        with pytest.raises(KexueValueError, match=r"layers\[0\] is -1.0"):
            pre_norm_variance([-1])
        with pytest.raises(KexueValueError, match="layers and variance_ratio must have shapes that broadcast"):
            pre_norm_variance([1, 2], [1, 2, 3])

    def test_results_compare_by_identity(self):
        # By their fields, arrays among them, == would raise.
        weights = residual_branch_weights(3)
        assert weights == weights and weights != residual_branch_weights(3) and len({weights}) == 1


class TestTraining:
    def test_warmup(self):
        np.testing.assert_array_equal(linear_warmup([0, 1, 5, 10, 11, 10**9], 10, 0.5), [0, 0.05, 0.25, 0.5, 0.5, 0.5])
        assert linear_warmup(3, 0, 0.1) == 0.1 and linear_warmup(0, 0) == 1
        assert linear_warmup(math.inf, 10, 2.0) == 2
        result = linear_warmup(np.float32([[1, 2]]), 4)
        assert result.dtype == np.float32 and result.shape == (1, 2)
        assert linear_warmup([], 4).shape == (0,)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (([1, -1], 10), r"step\[1\] is -1.0"),
            ((math.nan, 10), "step is nan"),
            ((1, -1), "T is -1.0"),
            ((1, math.inf), "T is inf"),
            ((1, 10, math.nan), "lr is nan"),
        ],
    )
    def test_bad_warmup(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            linear_warmup(*arguments)

    @given(
        mean=st.floats(-1e100, 1e100),
        variance=st.floats(0, 1e100),
        lr=st.floats(1e-6, 1),
        scale=st.floats(1e-3, 1e3),
    )
    def test_adam_is_bounded_and_has_no_scale(self, mean, variance, lr, scale):
        second = mean * mean + variance
        update = adam_expected_update(mean, second, lr)
        assert abs(update) <= lr
        assert np.sign(update) == np.sign(mean) or abs(mean) < 1e-150
        if abs(mean) > 1e-100:
            assert adam_expected_update(scale * mean, scale**2 * second, lr) == pytest.approx(update, rel=1e-13, abs=0)

    def test_adam(self):
        # Constant gradients move by lr, however small; noise around 0 does not move.
        np.testing.assert_allclose(adam_expected_update([3.0, -1e-9, 0.0], [9.0, 1e-18, 4.0], 0.01), [0.01, -0.01, 0])
        assert adam_expected_update(1, 4, 0.1) == 0.05
        assert adam_expected_update(1, 4, 0.1, eps=2) == 0.025
        assert adam_expected_update(0, 0) == 0
        assert adam_expected_update(np.float32([1, 2]), np.float32([1, 5])).dtype == np.float32
        assert adam_expected_update(np.ones((2, 1)), np.ones(3)).shape == (2, 3)

    def test_adam_is_bounded_by_rounding_too(self):
        mean = np.linspace(0.01, 1, 100)
        assert (adam_expected_update(mean, mean * mean * (1 - 2e-7), 1.0) <= 1).all()

    def test_adam_beside_an_iteration(self):
        # The moving averages themselves, on a gradient that takes two values.
        rng = np.random.default_rng(0)
        gradients = rng.choice([3.0, -1.0], 20_000)
        first = second = 0.0
        moved = []
        for gradient in gradients:
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            moved.append(0.01 * first / math.sqrt(second + 1e-30))
        # Averages correlate over 10 steps: 5 standard errors of some 1900 independent ones.
        assert np.mean(moved[1000:]) == pytest.approx(adam_expected_update(1, 5, 0.01), abs=5 * 0.01 / math.sqrt(1900))

    def test_adam_where_squares_underflow(self):
        # 1e-200^2 is 0: what E[g^2] can be at least is taken in its place.
        np.testing.assert_array_equal(adam_expected_update([1e-200, -1e-200, 0], 0, 0.1), [0.1, -0.1, 0])
        assert adam_expected_update(5e-23, 0, 1.0, eps=5e-23) == 0.5

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            (([1, 2], [4, 9, 16]), r"mean and second_moment must have shapes that broadcast, got \(2,\), \(3,\)"),
            ((math.nan, 1), "mean is nan"),
            ((1, -1), "second_moment is -1.0"),
            (([0, 2], [1, 3.0]), r"second_moment must be at least mean\^2, but at \(1,\) it is below 2.0\^2"),
            ((1, 1, math.inf), "lr is inf"),
        ],
    )
    def test_bad_adam(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            adam_expected_update(*arguments)
        with pytest.raises(KexueValueError, match="eps is -1.0"):
            adam_expected_update(1, 1, eps=-1)

    def test_logits(self):
        std = effective_truncated_std(0.02)
        assert embedding_logit_std(768, std) == pytest.approx(0.487538027696852, rel=1e-14, abs=0)
        rng = np.random.default_rng(0)
        x = rng.standard_normal(768)
        x = (x - x.mean()) / x.std()
        logits = rng.normal(0, 0.02, (20_000, 768)) @ x
        assert logits.std() == pytest.approx(embedding_logit_std(768, 0.02), rel=0.03, abs=0)
        assert embedding_logit_std(np.float32([1, 2]), np.float32(1)).dtype == np.float32
        with pytest.raises(KexueValueError, match="d is 0.0, but must be positive"):
            embedding_logit_std(0, 1)
        with pytest.raises(KexueValueError, match="std is -1.0"):
            embedding_logit_std(2, -1)
        with pytest.raises(KexueValueError, match="d and std must have shapes that broadcast"):
            embedding_logit_std([1, 2], [1, 2, 3])
