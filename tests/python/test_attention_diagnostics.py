"""Budgets, ranks and entropies of attention, and the model of its entropy, against mpmath and simulation."""

import dataclasses
import math

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import (
    AttentionParamBudget,
    KexueValueError,
    attention_entropy,
    attention_entropy_model,
    attention_param_budget,
    attention_rank,
    entropy_matched_scale,
)
from reference import attention as reference

# ---- the bottleneck ----


def test_param_budget():
    assert attention_param_budget(512, 768, 12) == AttentionParamBudget(2 * 512 * 64, 512**2, 0.25, 2 * 512 * 768 * 768)
    wide = attention_param_budget(512, 768, 12, key_size=np.int64(256))
    assert dataclasses.astuple(wide) == (2 * 512 * 256, 512**2, 1.0, 2 * 512 * 768 * 12 * 256)
    assert attention_param_budget(10**20, 10**20, 1).projection_macs == 2 * 10**60
    with pytest.raises(KexueValueError, match="h must divide d"):
        attention_param_budget(512, 768, 11)
    for name in ("n", "d", "h", "key_size"):
        numbers = {"n": 4, "d": 4, "h": 2, "key_size": 2}
        with pytest.raises(KexueValueError, match=f"{name} must be at least 1"):
            attention_param_budget(**{**numbers, name: 0})
        with pytest.raises(TypeError, match=f"{name} must be an integer"):
            attention_param_budget(**{**numbers, name: 1.5})


@pytest.mark.parametrize("key_size", [1, 3, 16])
@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (40, 40)])
def test_rank_is_the_key_size(shape, key_size, dtype, rng):
    Q, K = (rng.normal(size=(3, n, key_size)).astype(dtype) for n in shape)
    scores = Q @ K.swapaxes(-1, -2)
    for A, kind in ((kexue.softmax(scores), "weights"), (scores, "logits")):
        ranks = attention_rank(A, kind=kind)
        assert ranks.dtype == np.int64 and ranks.tolist() == [key_size] * 3
        assert attention_rank(A[0], kind=kind) == key_size


def test_rank_of_scores_close_to_each_other(rng):
    """Next to uniform weights: rounding of 1/n is far above the eps of what differs."""
    Q, K = rng.normal(size=(2, 300, 4))
    assert attention_rank(kexue.softmax(1e-8 * Q @ K.T)) == 4
    assert attention_rank(kexue.softmax(np.full((300, 300), 0.1))) == 0
    assert attention_rank(1e8 + np.zeros((50, 50)) + rng.normal(size=(50, 1)), kind="logits") == 0  # offsets of rows
    noisy = 0.01 + 1e-12 * rng.normal(size=(300, 300))
    assert attention_rank(noisy.astype(np.float32), kind="logits") == 0
    assert attention_rank(np.eye(5) + 1, kind="logits") == 4  # the means take one away


def test_rank_tolerance(rng):
    scores = rng.normal(size=(30, 30))
    values = np.linalg.svd(scores - scores.mean(axis=1, keepdims=True), compute_uv=False)
    for place in (0, 7, 20):
        tol = (values[place] + values[place + 1]) / 2
        assert attention_rank(scores, kind="logits", tol=tol) == place + 1
    assert attention_rank(scores, kind="logits", tol=2 * values[0]) == 0


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1)])
def test_rank_of_nothing(shape):
    assert attention_rank(np.ones(shape)) == 0
    assert attention_rank(np.ones((2, *shape))).tolist() == [0, 0]


@pytest.mark.parametrize(
    ("A", "options", "message"),
    [
        (np.tri(3), {}, r"A\[0, 1\] is 0\.0, and its logarithm is lost"),
        (np.full((2, 2), 1e-310), {}, "its logarithm is lost"),
        (np.full((2, 2), -0.5), {}, r"A\[0, 0\] is -0\.5, and its logarithm is lost"),
        (np.full((2, 2), -np.inf), {"kind": "logits"}, r"A\[0, 0\] is -inf: masked"),
        ([[np.nan, 1.0]], {}, r"A\[0, 0\] is nan"),
        (np.ones(3), {}, r"A must have shape"),
        (np.ones((3, 3)), {"kind": "scores"}, "kind must be"),
        (np.ones((3, 3)), {"tol": -1}, "tol must be at least 0"),
        (np.ones((3, 3)), {"tol": math.nan}, "tol must be at least 0"),
    ],
)
def test_rank_refuses(A, options, message):
    with pytest.raises(KexueValueError, match=message):
        attention_rank(A, **options)


# ---- entropies ----


def test_entropy_of_weights_and_logits(dtype, rng):
    scores = rng.normal(size=(4, 7, 30)).astype(dtype) * 3
    mask = rng.random((7, 30)) < 0.6
    mask[3] = False
    hidden = np.where(mask, scores, dtype.type(-np.inf))
    added = reference.visible(7, 30, mask)
    exact = reference.entropy(reference.weights(scores, np.eye(30), 1.0, added))
    bound = 30 * np.finfo(dtype).eps
    by_logits = attention_entropy(hidden, kind="logits")
    assert by_logits.dtype == dtype and by_logits.shape == (4, 7)
    np.testing.assert_allclose(by_logits, exact, rtol=bound)
    weights = np.where(mask.any(axis=-1, keepdims=True), kexue.softmax(np.where(mask.any(-1)[:, None], hidden, 0)), 0)
    np.testing.assert_allclose(attention_entropy(weights), exact, rtol=bound)
    np.testing.assert_allclose(attention_entropy(7 * weights), exact, rtol=bound)
    across = attention_entropy(np.moveaxis(hidden, -1, 0), kind="logits", axis=0)
    np.testing.assert_array_equal(across, by_logits)


def test_entropy_is_that_of_attention(dtype, rng):
    Q, K, V = (rng.normal(size=(2, 50, 8)).astype(dtype) for _ in range(3))
    mask = rng.random((50, 50)) < 0.5
    mask[9] = False
    scores = np.where(mask, Q @ K.swapaxes(-1, -2) / math.sqrt(8), -np.inf)
    _, entropies = kexue.attention(Q, K, V, mask=mask, return_entropy=True)
    assert (entropies[:, 9] == 0).all()
    np.testing.assert_allclose(
        attention_entropy(scores, kind="logits"), entropies, rtol=0, atol=50 * np.finfo(dtype).eps
    )


def test_entropy_of_rows_with_next_to_none(dtype):
    weight = dtype.type(1e-14)
    with mp.workdps(40):
        p = mp.mpf(float(weight)) / (1 + mp.mpf(float(weight)))
        exact = float(-p * mp.log(p) - (1 - p) * mp.log(1 - p))
    row = np.array([1, weight], dtype)
    np.testing.assert_allclose(attention_entropy(row), exact, rtol=8 * np.finfo(dtype).eps)
    np.testing.assert_allclose(attention_entropy(np.log(row), kind="logits"), exact, rtol=40 * np.finfo(dtype).eps)


def test_entropy_of_long_rows_in_float32():
    n = 2**20
    assert attention_entropy(np.full(n, 1 / n, np.float32)) == pytest.approx(math.log(n), rel=1e-6)
    assert attention_entropy(np.zeros(n, np.float32), kind="logits") == pytest.approx(math.log(n), rel=1e-6)


def test_entropy_edges():
    assert attention_entropy(np.zeros((3, 0))).tolist() == [0, 0, 0]
    assert attention_entropy(np.zeros((3, 0)), kind="logits").tolist() == [0, 0, 0]
    assert attention_entropy(np.zeros((0, 3))).shape == (0,)
    assert attention_entropy([[0.0, 0.0], [1, 0]]).tolist() == [0, 0]
    with np.errstate(all="raise"):
        rows = [[-np.inf, -np.inf], [1e308, -1e308], [np.nan, 0], [np.inf, 0], [np.inf, np.nan]]
        result = attention_entropy(rows, kind="logits")
    assert result[:2].tolist() == [0, 0] and np.isnan(result[2:]).all()
    assert np.isnan(attention_entropy([np.nan, 1]))
    assert attention_entropy([1, 1]).dtype == np.float64
    for A, options, message in (
        ([1, -0.5], {}, r"A\[1\] is -0\.5, not a weight"),
        ([1, np.inf], {}, r"A\[1\] is inf, not a weight"),
        ([1, 1], {"axis": 1}, "axis 1 is out of bounds for A"),
        ([1, 1], {"kind": "scores"}, "kind must be"),
        (0.5, {}, "axis -1 is out of bounds for A"),
    ):
        with pytest.raises(KexueValueError, match=message):
            attention_entropy(A, **options)


# ---- the model ----


def tilted(d, scale):
    nu, kappa = mp.mpf(d) / 2 - 1, mp.mpf(scale) * d
    bessel = mp.besseli(nu, kappa)
    return mp.log(mp.gamma(nu + 1) * (2 / kappa) ** nu * bessel) - kappa * mp.besseli(nu + 1, kappa) / bessel


@pytest.mark.parametrize("d", [1, 2, 3, 64, 512])
@pytest.mark.parametrize("scale", [1e-9, 1e-4, 0.999e-3, 1.1e-3, 0.01, 0.125, 1.0, 5.0])
def test_model_against_bessel_functions(d, scale):
    with mp.workdps(60):
        exact = float(tilted(d, scale))
    assert attention_entropy_model(1, d, scale) == pytest.approx(exact, rel=1e-12, abs=1e-15)
    assert attention_entropy_model(1, d, -scale) == attention_entropy_model(1, d, scale)
    if d > 1 or scale < 5:  # on the line there is no less than -log 2, which that comes close to
        assert entropy_matched_scale(exact, 1, d) == pytest.approx(scale, rel=1e-9)


def test_known_numbers():
    found = attention_entropy_model(1, 64, [1 / 8, 0.25, 1, 2])
    np.testing.assert_allclose(found, [-0.488994259846, -1.8388607667, -15.4734001602, -30.1548330708], rtol=1e-11)
    assert attention_entropy_model(1, 128, 128**-0.5) == pytest.approx(-0.494326025677, rel=1e-11)
    assert attention_entropy_model(100, 64, 0) == math.log(100)


def test_large_dimensions():
    scales = np.array([0.0, 1e-8, 0.01, 0.3, 1, 20, 1e5])
    law = attention_entropy_model(1, 10**6, scales, method="asymptotic")
    np.testing.assert_allclose(attention_entropy_model(1, 10**6, scales[:-1]), law[:-1], rtol=1e-5)
    r = (np.sqrt(1 + 4 * scales[3:] ** 2) - 1) / (2 * scales[3:])
    np.testing.assert_allclose(law[3:], 5e5 * np.log(1 - r**2), rtol=1e-9)
    np.testing.assert_allclose(entropy_matched_scale(law, 1, 10**6, method="asymptotic"), scales, rtol=1e-12)
    golden = math.log((1 + math.sqrt(5)) / 2)
    assert attention_entropy_model(1, 2, 1, method="asymptotic") == pytest.approx(-golden, rel=1e-15)


@given(st.integers(1, 600), st.floats(1, 1e6), st.floats(1e-6, 3))
def test_the_matched_scale_is_an_inverse(d, n, scale):
    target = attention_entropy_model(n, d, scale)
    found = entropy_matched_scale(target, n, d)
    assert attention_entropy_model(n, d, found) == pytest.approx(target, rel=1e-13, abs=1e-13)


# Simulated mean entropies of queries and keys on a sphere in 64 dimensions.
LENGTHS = (64, 256, 1024, 4096)
MEASURED = {"sqrt": (3.68, 5.05, 6.43, 7.83), "entropy": (3.94, 5.16, 6.35, 7.46)}


def simulated(n, d, scale, repetitions):
    rng = np.random.default_rng(n)
    Q, K = (rng.normal(size=(repetitions, m, d)) for m in (64, n))
    for points in (Q, K):
        points *= math.sqrt(d) / np.linalg.norm(points, axis=-1, keepdims=True)
    _, entropies = kexue.attention(Q, K, K[..., :1], scale=scale, return_entropy=True)
    return float(entropies.mean())


@pytest.mark.parametrize("scale", MEASURED)
def test_simulated_entropies(scale):
    for n, measured in zip(LENGTHS, MEASURED[scale], strict=True):
        found = simulated(n, 64, scale, 8192 // n)
        number = 1 / 8 if scale == "sqrt" else kexue.entropy_invariant_scale(n, 64)
        assert found == pytest.approx(measured, abs=0.03)
        assert found == pytest.approx(attention_entropy_model(n, 64, number), abs=0.03)


def test_the_matched_scale_keeps_the_entropy():
    target = attention_entropy_model(256, 64, 1 / 8)
    scales = entropy_matched_scale(target, LENGTHS[1:3], 64)
    for n, scale in zip(LENGTHS[1:3], scales, strict=True):
        assert simulated(n, 64, scale, 8) == pytest.approx(target, abs=0.04)


def test_where_the_model_does_not_hold():
    assert attention_entropy_model(64, 64, 0.5) < 0 < simulated(64, 64, 0.5, 8)


def test_model_arguments():
    assert attention_entropy_model([[2], [3]], [4, 5, 6], 0.1).shape == (2, 3)
    assert attention_entropy_model([], 4, 0.1).shape == (0,)
    assert entropy_matched_scale([], 4, 4).shape == (0,)
    assert type(attention_entropy_model(2, 4, np.float32(0.1))) is np.float64
    assert entropy_matched_scale(np.log(7.0), 7, 4) == 0
    for function, arguments, message in (
        (attention_entropy_model, (0.5, 4, 1), "n must be at least 1, but is 0.5"),
        (attention_entropy_model, ([1, np.inf], 4, 1), r"n\[1\] must be at least 1"),
        (attention_entropy_model, (2, 1.5, 1), "d must be a whole number"),
        (attention_entropy_model, (2, 0, 1), "d must be a whole number"),
        (attention_entropy_model, (2, 4, np.nan), "lam is nan"),
        (attention_entropy_model, (2, 4, -2e6), "lam is -2000000.0, beyond 1e6"),
        (attention_entropy_model, ([1, 2], [1, 2, 3], 1), "n, d and lam must broadcast"),
        (entropy_matched_scale, (1.0, 2, 4), "entropy is 1.0, above log n"),
        (entropy_matched_scale, ([0.1, np.nan], 2, 4), r"entropy\[1\] is nan"),
        (entropy_matched_scale, ([0.1, -1e4], 2, 4), r"entropy\[1\] is -10000.0, out of reach"),
        (entropy_matched_scale, (-0.7, 1, 1), "entropy is -0.7, out of reach"),  # no less than -log 2 on the line
    ):
        with pytest.raises(KexueValueError, match=message):
            function(*arguments)
    for function, arguments in ((attention_entropy_model, (2, 4, 0.1)), (entropy_matched_scale, (0.1, 2, 4))):
        with pytest.raises(KexueValueError, match='method must be "exact" or "asymptotic"'):
            function(*arguments, method="post")
    with pytest.raises(KexueValueError, match="out of reach"):
        entropy_matched_scale(-1e9, 2, 4, method="asymptotic")
