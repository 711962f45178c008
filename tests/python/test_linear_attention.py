"""Linear attention and its gradients, against sums over keys one by one."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import linear_attention as reference

BOUND = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 4e-15}
SHAPES = [
    (1, 1, 1, 1),
    (1, 7, 3, 2),
    (7, 1, 2, 3),
    (5, 6, 0, 2),
    (64, 64, 16, 16),
    (65, 130, 33, 5),
    (200, 70, 40, 70),
    (130, 300, 130, 3),
]


def problem(shape, dtype, rng, items=2):
    queries, keys, m, d_v = shape
    phi_Q, phi_K = (rng.random((items, n, m)).astype(dtype) for n in (queries, keys))
    return phi_Q, phi_K, rng.normal(size=(items, keys, d_v)).astype(dtype)


def scales_of(kind, keys, rng):
    """mask, key_log_scale, and what they are together."""
    mask = rng.random((2, keys)) < 0.7 if kind in ("mask", "both") else None
    scales = 50 * rng.normal(size=(2, keys)) if kind in ("scales", "both") else None
    if mask is not None:
        mask[1, : keys // 2] = False  # no key for the first queries
    together = (
        None if kind == "none" else np.where(True if mask is None else mask, 0 if scales is None else scales, -np.inf)
    )
    return mask, scales, together


# ---- values ----


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "mask", "scales", "both"])
@pytest.mark.parametrize("shape", SHAPES)
def test_against_sums_over_keys(shape, kind, causal, dtype, rng):
    if shape[2] == 0:  # weights of nothing are 0, and so are their sums
        phi_Q, phi_K, V = problem(shape, dtype, rng)
        with np.errstate(invalid="ignore"):
            assert np.isnan(kexue.linear_attention(phi_Q, phi_K, V, causal=causal)).all()
        assert (kexue.linear_attention(phi_Q, phi_K, V, causal=causal, eps=1.0) == 0).all()
        return
    phi_Q, phi_K, V = problem(shape, dtype, rng)
    mask, scales, together = scales_of(kind, shape[1], rng)
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, mask=mask, key_log_scale=scales)
    assert out.dtype == dtype and out.shape == (2, shape[0], shape[3])
    for item in range(2):
        own = None if together is None else together[item]
        exact = reference.attention(phi_Q[item], phi_K[item], V[item], causal, own)
        np.testing.assert_allclose(out[item], exact.astype(float), rtol=0, atol=BOUND[np.dtype(dtype)])


@pytest.mark.parametrize("causal", [False, True])
def test_keys_that_are_far_out_of_range(causal, dtype, rng):
    phi_Q, phi_K, V = problem((150, 150, 9, 4), dtype, rng, items=1)
    scales = np.cumsum(rng.normal(size=150)) * 300  # within blocks of 64 too, up and down by thousands
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, key_log_scale=scales)
    exact = reference.attention(phi_Q[0], phi_K[0], V[0], causal, scales)
    np.testing.assert_allclose(out[0], exact.astype(float), rtol=0, atol=BOUND[np.dtype(dtype)])


@pytest.mark.parametrize("causal", [False, True])
def test_float32_keeps_its_accuracy_over_many_keys(causal):
    n = 2**20
    phi = np.ones((n, 1), dtype=np.float32)
    V = np.full((n, 1), 1.0001, dtype=np.float32)
    V[::2] = 0.3
    out = kexue.linear_attention(phi if causal else phi[-64:], phi, V, causal=causal)
    exact = V.mean(dtype=np.float64)
    assert abs(np.cumsum(V)[-1] / n / exact - 1) > 1e-5  # one term after another
    assert out[-1, 0] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("causal", [False, True])
def test_eps(causal, rng):
    phi_Q, phi_K, V = problem((70, 70, 5, 3), np.float64, rng, items=1)
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, eps=0.5)
    exact = reference.attention(phi_Q[0], phi_K[0], V[0], causal, eps=0.5)
    np.testing.assert_allclose(out[0], exact.astype(float), rtol=1e-13, atol=1e-14)


def test_with_as_many_features_as_keys_it_is_exact_attention(rng):
    scores = rng.normal(size=(2, 50, 40))
    V = rng.normal(size=(2, 40, 6))
    weights = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(kexue.linear_attention(np.exp(scores), np.eye(40), V), weights @ V, rtol=0, atol=1e-14)


def test_the_matrix_of_weights_has_rank_m(rng):
    Q, K = rng.normal(size=(2, 60, 12))
    for m in (1, 3, 10):
        W = kexue.favor_projection(m, 12, rng=rng)
        phi_Q, phi_K = kexue.favor_features(Q, W), kexue.favor_features(K, W)
        values = np.linalg.svd(kexue.linear_attention(phi_Q, phi_K, np.eye(60)), compute_uv=False)
        assert values[m - 1] > 1e-10 and (values[m:] < 1e-14).all()
    exact = np.linalg.svd(kexue.attention(Q, K, np.eye(60), scale=1.0), compute_uv=False)
    assert exact[-1] > 1e-6  # of rank 60 with d = 12


@given(st.integers(0, 2**32 - 1))
def test_weights_are_convex(seed):
    rng = np.random.default_rng(seed)
    queries, keys, m = rng.integers(1, 100, size=3)
    phi_Q, phi_K, V = problem((queries, keys, m, 3), np.float64, rng, items=1)
    causal, mask = bool(rng.integers(2)), rng.random(keys) < 0.8
    mask[0] = True
    out = kexue.linear_attention(
        phi_Q + 0.01, phi_K, V, causal=causal, mask=mask, key_log_scale=30 * rng.normal(size=keys)
    )
    low, high = V[0, mask].min(axis=0), V[0, mask].max(axis=0)
    assert (out >= low - 1e-12).all() and (out <= high + 1e-12).all()


@given(st.integers(0, 2**32 - 1))
def test_causal_rows_are_what_their_keys_give(seed):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 200, size=2)
    phi_Q, phi_K, V = problem((n, n, m, 4), np.float64, rng, items=1)
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=True)
    i = int(rng.integers(n))
    alone = kexue.linear_attention(phi_Q[:, i : i + 1], phi_K[:, : i + 1], V[:, : i + 1])
    np.testing.assert_allclose(out[:, i : i + 1], alone, rtol=1e-12, atol=1e-13)


def test_hidden_keys_may_hold_anything(rng):
    phi_Q, phi_K, V = problem((100, 100, 7, 5), np.float64, rng, items=1)
    mask = rng.random(100) < 0.5
    phi_bad, V_bad = phi_K.copy(), V.copy()
    phi_bad[:, ~mask], V_bad[:, ~mask] = np.nan, np.inf
    grad = rng.normal(size=(100, 5))
    for causal in (False, True):
        out = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, mask=mask)
        np.testing.assert_array_equal(kexue.linear_attention(phi_Q, phi_bad, V_bad, causal=causal, mask=mask), out)
        gradients = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, mask=mask)
        with np.errstate(invalid="raise"):
            bad = kexue.linear_attention_vjp(phi_Q, phi_bad, V_bad, grad, causal=causal, mask=mask)
        for gradient, other in zip(gradients, bad, strict=True):
            np.testing.assert_array_equal(gradient, other)
        assert (gradients[1][:, ~mask] == 0).all() and (gradients[2][:, ~mask] == 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_causal_queries_do_not_depend_on_later_keys(place, scaled, bad, dtype, rng):
    phi_Q, phi_K, V = problem((150, 150, 7, 5), dtype, rng, items=1)
    options = {"causal": True, "key_log_scale": rng.normal(size=150) if scaled else None}
    grad = rng.normal(size=(1, 150, 5)).astype(dtype)
    arrays = [phi_Q, phi_K, V]
    out = kexue.linear_attention(*arrays, **options)
    gradients = kexue.linear_attention_vjp(*arrays, grad, **options)
    row = 70
    arrays[place][0, row, 2] = bad
    spoilt = kexue.linear_attention(*arrays, **options)
    with np.errstate(invalid="ignore"):
        by_Q, by_K, by_V = kexue.linear_attention_vjp(*arrays, grad, **options)
    np.testing.assert_array_equal(spoilt[:, :row], out[:, :row])
    np.testing.assert_array_equal(by_Q[:, :row], gradients[0][:, :row])
    if place == 0:  # a query: of no matter to others, and to keys that it does not see
        assert not np.isfinite(spoilt[:, row]).any()
        np.testing.assert_array_equal(spoilt[:, row + 1 :], out[:, row + 1 :])
        np.testing.assert_array_equal(by_K[:, row + 1 :], gradients[1][:, row + 1 :])
        np.testing.assert_array_equal(by_V[:, row + 1 :], gradients[2][:, row + 1 :])
    elif place == 1:
        assert not np.isfinite(spoilt[:, row:]).all(axis=-1).any()
    else:
        assert not np.isfinite(spoilt[:, row:, 2]).any()
        np.testing.assert_array_equal(np.delete(spoilt, 2, axis=-1), np.delete(out, 2, axis=-1))
        np.testing.assert_array_equal(by_V, gradients[2])


def test_hidden_keys_beside_one_that_is_seen_and_not_finite(dtype, rng):
    phi_Q, phi_K, V = problem((40, 40, 7, 3), dtype, rng, items=1)
    mask = np.arange(40) != 10
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=True, mask=mask)
    V[0, 10, 0] = V[0, 12, 1] = np.nan
    spoilt = kexue.linear_attention(phi_Q, phi_K, V, causal=True, mask=mask)
    assert np.isnan(spoilt[0, 12:, 1]).all()
    out[0, 12:, 1] = np.nan
    np.testing.assert_array_equal(spoilt, out)


def test_queries_that_see_no_key_give_zero(dtype, rng):
    phi_Q, phi_K, V = problem((5, 6, 3, 4), dtype, rng)
    mask = np.array([False, False, True, True, False, True])
    assert (kexue.linear_attention(phi_Q, phi_K, V, mask=mask, causal=True)[:, :2] == 0).all()
    assert (kexue.linear_attention(phi_Q, phi_K, V, mask=False) == 0).all()
    assert (kexue.linear_attention(phi_Q, phi_K[:, :0], V[:, :0]) == 0).all()
    assert (kexue.linear_attention(phi_Q, phi_K, V, key_log_scale=-np.inf) == 0).all()


def test_empty(rng):
    for shape, expected in (
        ((0, 5, 3, 2), (2, 0, 2)),
        ((5, 5, 3, 0), (2, 5, 0)),
        ((5, 0, 3, 2), (2, 5, 2)),
    ):
        phi_Q, phi_K, V = problem(shape, np.float64, rng)
        for causal in (False, True):
            assert kexue.linear_attention(phi_Q, phi_K, V, causal=causal).shape == expected
            gradients = kexue.linear_attention_vjp(phi_Q, phi_K, V, np.ones(expected), causal=causal)
            assert [g.shape for g in gradients] == [phi_Q.shape, phi_K.shape, V.shape]
    assert kexue.linear_attention(np.ones((0, 3, 2)), np.ones((3, 2)), np.ones((3, 4))).shape == (0, 3, 4)


def test_batches_broadcast(rng):
    phi_Q, phi_K, V = rng.random((4, 3, 20, 5)), rng.random((3, 30, 5)), rng.normal(size=(4, 1, 30, 6))
    mask = rng.random((4, 1, 30)) < 0.5
    out = kexue.linear_attention(phi_Q, phi_K, V, mask=mask, causal=True)
    for i, j in np.ndindex(4, 3):
        alone = kexue.linear_attention(phi_Q[i, j], phi_K[j], V[i, 0], mask=mask[i, 0], causal=True)
        np.testing.assert_array_equal(out[i, j], alone)


@pytest.mark.parametrize("causal", [False, True])
def test_layouts(any_layout, plain, untouched, dtype, causal, rng):
    arrays = [any_layout(rng.random((3, 70, 6)).astype(dtype)) for _ in range(3)]
    with untouched(*arrays):
        out = kexue.linear_attention(*arrays, causal=causal)
        gradients = kexue.linear_attention_vjp(*arrays, arrays[2], causal=causal)
    same = [plain(array) for array in arrays]
    np.testing.assert_array_equal(out, kexue.linear_attention(*same, causal=causal))
    for gradient, expected in zip(gradients, kexue.linear_attention_vjp(*same, same[2], causal=causal), strict=True):
        np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("causal", [False, True])
def test_workers(workers, causal, rng):
    phi_Q, phi_K, V = problem((150, 150, 30, 20), np.float32, rng, items=7)
    scales = rng.normal(size=150)
    out = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, key_log_scale=scales, workers=workers)
    alone = kexue.linear_attention(phi_Q, phi_K, V, causal=causal, key_log_scale=scales, workers=1)
    np.testing.assert_array_equal(out, alone)


def test_memory_is_linear(rng):
    phi_Q, phi_K, V = problem((8192, 8192, 16, 8), np.float32, rng, items=1)
    tracemalloc.start()
    try:
        out = kexue.linear_attention(phi_Q, phi_K, V, causal=True)
        assert tracemalloc.get_traced_memory()[1] < out.nbytes + 100_000
    finally:
        tracemalloc.stop()


def test_dtypes(rng):
    phi_Q, phi_K, V = problem((4, 4, 3, 2), np.float32, rng)
    assert kexue.linear_attention(phi_Q, phi_K, V, key_log_scale=np.zeros(4)).dtype == np.float32
    assert kexue.linear_attention(phi_Q, phi_K, V.astype(float)).dtype == np.float64
    assert kexue.linear_attention(phi_Q.astype(np.float16), phi_K, V).dtype == np.float32
    assert kexue.linear_attention([[1, 2]], [[1, 2]], [[3]]).dtype == np.float64


# ---- gradients ----


@given(st.integers(0, 2**32 - 1))
def test_finite_differences(seed):
    rng = np.random.default_rng(seed)
    queries, keys, m, d_v = rng.integers(1, 5, size=4)
    arrays = [rng.random((queries, m)) + 0.1, rng.random((keys, m)) + 0.1, rng.normal(size=(keys, d_v))]
    options = {
        "causal": bool(rng.integers(2)),
        "mask": rng.random(keys) < 0.7 if rng.integers(2) else None,
        "key_log_scale": 3 * rng.normal(size=keys) if rng.integers(2) else None,
        "eps": float(rng.integers(2)) * 0.3,
    }
    grad = rng.normal(size=(queries, d_v))
    results = kexue.linear_attention_vjp(*arrays, grad, **options)
    for place, result in enumerate(results):
        for index in np.ndindex(result.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in arrays]
                moved[place][index] += step
                values.append((kexue.linear_attention(*moved, **options) * grad).sum())
            assert result[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-7, abs=2e-8)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("shape", [(130, 130, 20, 10), (200, 90, 33, 65), (90, 200, 7, 5)])
def test_gradients_against_the_matrix_of_weights(shape, causal, dtype, rng):
    phi_Q, phi_K, V = problem(shape, dtype, rng)
    scales, eps = rng.normal(size=(2, shape[1])), 0.25
    grad = rng.normal(size=(2, shape[0], shape[3])).astype(dtype)
    results = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, key_log_scale=scales, eps=eps)
    seen = np.tri(shape[0], shape[1], dtype=bool) if causal else np.ones(shape[:2], dtype=bool)
    for item in range(2):
        q, k, v, g = (array[item].astype(float) for array in (phi_Q, phi_K, V, grad))
        tops = np.where(seen, scales[item], -np.inf).max(axis=1, keepdims=True)
        factors = np.where(seen, np.exp(np.minimum(scales[item] - tops, 0)), 0)
        A = q @ k.T * factors
        total = A.sum(axis=1, keepdims=True) + eps
        by_A = (g @ v.T - ((A @ v) / total * g).sum(axis=1, keepdims=True)) / total * factors
        for result, exact in zip(results, (by_A @ k, by_A.T @ q, (A / total).T @ g), strict=True):
            bound = 40 * BOUND[np.dtype(dtype)] * max(1, np.abs(exact).max())
            np.testing.assert_allclose(result[item], exact, rtol=0, atol=bound)
            assert result.dtype == dtype


def test_gradients_of_what_is_shared_are_sums(rng):
    phi_Q, phi_K, V = rng.random((4, 3, 20, 5)), rng.random((3, 30, 5)), rng.normal(size=(4, 1, 30, 6))
    grad = rng.normal(size=(20, 6))
    by_Q, by_K, by_V = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=True)
    expected = [np.zeros(array.shape) for array in (phi_Q, phi_K, V)]
    for i, j in np.ndindex(4, 3):
        alone = kexue.linear_attention_vjp(phi_Q[i, j], phi_K[j], V[i, 0], grad, causal=True)
        for total, part, place in zip(expected, alone, ((i, j), (j,), (i, 0)), strict=True):
            total[place] += part
    for result, total in zip((by_Q, by_K, by_V), expected, strict=True):
        np.testing.assert_allclose(result, total, rtol=0, atol=1e-13)


def test_gradients_far_out_of_range(rng):
    phi_Q, phi_K, V = problem((150, 150, 6, 4), np.float64, rng, items=1)
    scales = np.cumsum(rng.normal(size=150)) * 300
    grad = rng.normal(size=(150, 4))
    for causal in (False, True):
        results = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, key_log_scale=scales)
        moved = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, key_log_scale=scales + 1e5)
        for result, other in zip(results, moved, strict=True):
            assert np.isfinite(result).all()
            np.testing.assert_allclose(result, other, rtol=1e-9, atol=1e-9)  # scales + 1e5 are rounded
        # Weights sum to 1: no gradient along the features of a query.
        assert np.abs((results[0] * phi_Q).sum(axis=-1)).max() < 1e-12


def test_gradients_in_blocks(monkeypatch, rng):
    phi_Q, phi_K, V = problem((70, 50, 4, 3), np.float64, rng)
    mask = rng.random((2, 50)) < 0.5
    mask[1] = False
    grad = rng.normal(size=(2, 70, 3))
    whole = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, mask=mask, causal=True)
    monkeypatch.setattr("kexue._linearized_attention._ENTRIES_AT_ONCE", 36)
    for result, expected in zip(
        kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, mask=mask, causal=True), whole, strict=True
    ):
        np.testing.assert_array_equal(result, expected)
        assert (result[1] == 0).all()


@pytest.mark.parametrize("sizes", [(1e200, 1e200), (0, 1)])
def test_gradients_over_sums_that_are_no_numbers(sizes, rng):
    """Sums of weights that overflow or vanish: no gradient looks like one."""
    phi_Q, phi_K, V = problem((5, 6, 3, 2), np.float64, rng)
    with np.errstate(all="ignore"):
        by_Q, by_K, by_V = kexue.linear_attention_vjp(phi_Q * sizes[0], phi_K * sizes[1], V, np.ones((5, 2)))
    assert not np.isfinite(by_Q).any() and not np.isfinite(by_K).any()


def test_against_torch(dtype, rng):
    torch = pytest.importorskip("torch")
    phi_Q, phi_K, V = problem((70, 70, 12, 8), dtype, rng)
    grad = rng.normal(size=(2, 70, 8)).astype(dtype)
    for causal in (False, True):
        tensors = [torch.tensor(array, requires_grad=True) for array in (phi_Q, phi_K, V)]
        weights = tensors[0] @ tensors[1].transpose(-1, -2)
        weights = weights.tril() if causal else weights
        out = weights @ tensors[2] / weights.sum(-1, keepdim=True)
        out.backward(torch.tensor(grad))
        bound = 10 * BOUND[np.dtype(dtype)]
        np.testing.assert_allclose(
            kexue.linear_attention(phi_Q, phi_K, V, causal=causal), out.detach().numpy(), rtol=0, atol=bound
        )
        for result, tensor in zip(
            kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal), tensors, strict=True
        ):
            np.testing.assert_allclose(result, tensor.grad.numpy(), rtol=0, atol=10 * bound)


# ---- softmax attention, approximated ----


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_favor_attention_tends_to_attention(kind, causal, dtype, rng):
    Q, K, V = (0.5 * rng.normal(size=(2, 80, 8)).astype(dtype) for _ in range(3))
    W = kexue.favor_projection(8000, 8, rng=3)
    mask = rng.random((2, 80)) < 0.8
    out = kexue.favor_attention(Q, K, V, W, kind=kind, causal=causal, mask=mask)
    exact = kexue.attention(Q, K, V, causal=causal, mask=np.broadcast_to(mask[:, None], (2, 80, 80)))
    assert out.dtype == dtype
    np.testing.assert_allclose(out, exact, rtol=0, atol=0.05)


@pytest.mark.parametrize("kind", ["positive", "hyperbolic"])
def test_favor_attention_of_large_norms_is_finite(kind, dtype, rng):
    Q, K, V = (rng.normal(size=(100, 16)).astype(dtype) for _ in range(3))
    W = kexue.favor_projection(64, 16, rng=3)
    K[50] *= 40
    for causal in (False, True):
        out = kexue.favor_attention(30 * Q, 30 * K, V, W, kind=kind, causal=causal)
        assert np.isfinite(out).all()
        assert (out >= V.min(axis=0) - 1e-5).all() and (out <= V.max(axis=0) + 1e-5).all()
    # Rows before the large key do not depend on it.
    short = kexue.favor_attention(30 * Q[:50], 30 * K[:50], V[:50], W, kind=kind, causal=True)
    np.testing.assert_allclose(out[:50], short, rtol=0, atol=4 * BOUND[np.dtype(dtype)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
@pytest.mark.parametrize("kind", ["positive", "hyperbolic", "trigonometric"])
def test_favor_attention_of_keys_out_of_range(kind, bad, rng):
    """Hidden ones are of no matter; who sees one, or is one, has NaN and no number."""
    Q, K, V = rng.normal(size=(3, 100, 4))
    W = kexue.favor_projection(20, 4, rng=0)
    mask = np.arange(100) != 70
    spoilt = K.copy()
    spoilt[70, 1] = bad
    for causal in (False, True):
        options = {"kind": kind, "causal": causal}
        hidden = kexue.favor_attention(Q, spoilt, V, W, mask=mask, **options)
        np.testing.assert_array_equal(hidden, kexue.favor_attention(Q, K, V, W, mask=mask, **options))
        out = kexue.favor_attention(Q, spoilt, V, W, **options)
        assert np.isnan(out[70 if causal else 0 :]).all()
        if causal:
            np.testing.assert_array_equal(out[:70], kexue.favor_attention(Q, K, V, W, **options)[:70])
        out = kexue.favor_attention(spoilt, K, V, W, **options)
        assert np.isnan(out[70]).all() and np.isfinite(np.delete(out, 70, axis=0)).all()


def test_favor_attention_scale(rng):
    Q, K, V = rng.normal(size=(3, 20, 4)) / 2
    W = kexue.favor_projection(50, 4, rng=0)
    expected = kexue.linear_attention(kexue.favor_features(Q * 0.5, W), kexue.favor_features(K * 0.5, W), V)
    np.testing.assert_allclose(kexue.favor_attention(Q, K, V, W, scale=0.25), expected, rtol=0, atol=1e-14)
    np.testing.assert_array_equal(kexue.favor_attention(Q, K, V, W), kexue.favor_attention(Q, K, V, W, scale=0.5))


# ---- bad arguments ----


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phi_Q": np.ones(3)}, "phi_Q must have shape"),
        ({"phi_Q": np.ones((4, 2))}, "phi_Q and phi_K must have as many features"),
        ({"V": np.ones((7, 2))}, "phi_K and V must have as many rows"),
        ({"V": np.ones((3, 5, 2)), "phi_K": np.ones((2, 5, 3))}, "leading dimensions that broadcast"),
        ({"mask": np.ones(4, dtype=bool)}, "mask must broadcast"),
        ({"key_log_scale": np.zeros(4)}, "key_log_scale must broadcast"),
        ({"key_log_scale": [0, 0, np.nan, 0, 0]}, r"key_log_scale\[2\] is nan"),
        ({"key_log_scale": [0, np.inf, 0, 0, 0]}, r"key_log_scale\[1\] is inf"),
        ({"mask": np.ones((2, 1, 5), dtype=bool), "key_log_scale": np.zeros((3, 5))}, None),
        ({"mask": np.ones((2, 5), dtype=bool), "key_log_scale": np.zeros((3, 5))}, "mask and key_log_scale"),
        ({"eps": -1.0}, "eps must be finite and not negative"),
        ({"eps": np.nan}, "eps must be finite"),
    ],
)
def test_bad_arguments(changes, message):
    arguments = {"phi_Q": np.ones((4, 3)), "phi_K": np.ones((5, 3)), "V": np.ones((5, 2)), **changes}
    if message is None:
        assert kexue.linear_attention(**arguments).shape == (2, 3, 4, 2)
        return
    with pytest.raises(kexue.KexueValueError, match=message):
        kexue.linear_attention(**arguments)
    with pytest.raises(kexue.KexueValueError, match=message):
        kexue.linear_attention_vjp(**arguments, grad=np.ones((4, 2)))


def test_bad_types():
    phi, V = np.ones((4, 3)), np.ones((4, 2))
    with pytest.raises(TypeError, match="mask must be of bool"):
        kexue.linear_attention(phi, phi, V, mask=np.ones(4))
    with pytest.raises(TypeError, match="phi_Q must hold real numbers"):
        kexue.linear_attention(phi * 1j, phi, V)
    for function, grad in ((kexue.linear_attention, ()), (kexue.linear_attention_vjp, (V,))):
        with pytest.raises(TypeError, match="causal must be True or False, not str"):
            function(phi, phi, V, *grad, causal="no")
    with pytest.raises(kexue.KexueValueError, match="K and V must have as many rows"):
        kexue.favor_attention(phi, phi, V[:2], np.ones((5, 3)))
    with pytest.raises(kexue.KexueValueError, match="grad must broadcast"):
        kexue.linear_attention_vjp(phi, phi, V, np.ones((4, 3)))
    W = np.ones((5, 3))
    with pytest.raises(kexue.KexueValueError, match="W must have shape"):
        kexue.favor_attention(phi, phi, V, W[:, :2])
    with pytest.raises(kexue.KexueValueError, match="Q and K must have one dimension"):
        kexue.favor_attention(phi, phi[:, :2], V, W)
    for scale in ("entropy", -1.0, np.inf):
        with pytest.raises(kexue.KexueValueError, match="scale must be"):
            kexue.favor_attention(phi, phi, V, W, scale=scale)
    with pytest.raises(kexue.KexueValueError, match="kind must be one of"):
        kexue.favor_attention(phi, phi, V, W, kind="cosine")
