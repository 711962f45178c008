"""Attention, its gradients, and the entropy-invariant scale, against the whole matrix of weights."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import attention as reference

BOUND = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 4e-15}


def masks(kind, rng, queries, keys):
    if kind == "none":
        return None
    mask = rng.random((queries, keys)) < 0.6
    mask[queries // 2] = False  # sees nothing
    return mask if kind == "bool" else np.where(mask, rng.normal(size=(queries, keys)), -np.inf)


# ---- values ----


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "additive"])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1, 1), (1, 5, 3, 2), (5, 1, 2, 3), (7, 64, 16, 16), (64, 65, 17, 5), (390, 130, 8, 70)]
)
def test_against_all_weights(shape, kind, causal, dtype, rng):
    queries, keys, d, d_v = shape
    Q, K, V = (rng.normal(size=(2, n, m)).astype(dtype) for n, m in ((queries, d), (keys, d), (keys, d_v)))
    mask = masks(kind, rng, queries, keys)
    mask = mask if mask is None or mask.dtype == bool else mask.astype(dtype)
    out, entropy = kexue.attention(Q, K, V, mask=mask, causal=causal, return_entropy=True)
    added = reference.visible(queries, keys, mask, causal)
    scale = np.full(queries, 1 / math.sqrt(d))
    assert out.dtype == dtype and out.shape == (2, queries, d_v)
    assert entropy.dtype == np.float64 and entropy.shape == (2, queries)
    bound = BOUND[np.dtype(dtype)]
    np.testing.assert_allclose(out, reference.attention(Q, K, V, scale, added), rtol=0, atol=bound * math.sqrt(d))
    exact = reference.entropy(reference.weights(Q, K, scale, added))
    np.testing.assert_allclose(entropy, exact, rtol=0, atol=8 * bound * math.sqrt(d))
    np.testing.assert_array_equal(kexue.attention(Q, K, V, mask=mask, causal=causal), out)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "additive"])
def test_gradients_against_all_weights(kind, causal, dtype, rng):
    queries, keys, d, d_v = 70, 90, 12, 9
    Q, K, V = (rng.normal(size=(3, n, m)).astype(dtype) for n, m in ((queries, d), (keys, d), (keys, d_v)))
    grad = rng.normal(size=(3, queries, d_v)).astype(dtype)
    mask, scale = masks(kind, rng, queries, keys), rng.uniform(-0.2, 0.5, (3, queries))
    results = kexue.attention_vjp(Q, K, V, grad, scale=scale, mask=mask, causal=causal, return_grad_scale=True)
    expected = reference.vjp(Q, K, V, grad, scale, reference.visible(queries, keys, mask, causal))
    for result, exact in zip(results, expected, strict=True):
        np.testing.assert_allclose(result, exact, rtol=0, atol=50 * BOUND[np.dtype(dtype)])


@given(st.integers(0, 2**32 - 1))
def test_finite_differences(seed):
    rng = np.random.default_rng(seed)
    queries, keys, d, d_v = rng.integers(1, 5, size=4)
    arrays = [rng.normal(size=size) for size in ((queries, d), (keys, d), (keys, d_v))]
    grad, causal = rng.normal(size=(queries, d_v)), bool(rng.integers(2))
    results = kexue.attention_vjp(*arrays, grad, causal=causal)
    for place, result in enumerate(results):
        for index in np.ndindex(result.shape):
            values = []
            for step in (1e-6, -1e-6):
                moved = [array.copy() for array in arrays]
                moved[place][index] += step
                values.append((kexue.attention(*moved, causal=causal) * grad).sum())
            assert result[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-7, abs=1e-8)


def test_against_torch(dtype, rng):
    torch = pytest.importorskip("torch")
    Q, K, V, grad = (rng.normal(size=(2, 3, 100, 16)).astype(dtype) for _ in range(4))
    for causal in (False, True):
        q, k, v = (torch.tensor(array, requires_grad=True) for array in (Q, K, V))
        expected = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)
        expected.backward(torch.tensor(grad))
        bound = 1e-6 if dtype == np.float32 else 1e-12
        out = kexue.attention(Q, K, V, causal=causal)
        np.testing.assert_allclose(out, expected.detach(), rtol=0, atol=bound)
        for mine, theirs in zip(kexue.attention_vjp(Q, K, V, grad, causal=causal), (q, k, v), strict=True):
            np.testing.assert_allclose(mine, theirs.grad, rtol=0, atol=5 * bound)


# ---- batches, layouts ----


def test_batches_broadcast(dtype, rng):
    """Heads share keys, batches share values: the gradients of what is shared are sums."""
    Q = rng.normal(size=(2, 3, 20, 8)).astype(dtype)
    K, V = rng.normal(size=(2, 1, 30, 8)).astype(dtype), rng.normal(size=(30, 5)).astype(dtype)
    mask = rng.random((3, 1, 30)) < 0.7
    grad = rng.normal(size=(2, 3, 20, 5)).astype(dtype)
    whole = [np.broadcast_to(a, (2, 3, *a.shape[-2:])).copy() for a in (Q, K, V)]
    whole_mask = np.broadcast_to(mask, (2, 3, 20, 30)).copy()
    np.testing.assert_array_equal(kexue.attention(Q, K, V, mask=mask), kexue.attention(*whole, mask=whole_mask))
    by_q, by_k, by_v = kexue.attention_vjp(Q, K, V, grad, mask=mask)
    all_q, all_k, all_v = kexue.attention_vjp(*whole, grad, mask=whole_mask)
    np.testing.assert_array_equal(by_q, all_q)
    np.testing.assert_array_equal(by_k, all_k.sum(axis=1, keepdims=True, dtype=np.float64).astype(dtype))
    np.testing.assert_array_equal(by_v, all_v.sum(axis=(0, 1), dtype=np.float64).astype(dtype))


def test_layouts(any_layout, plain, untouched, dtype, rng):
    Q, K, V = (any_layout(rng.normal(size=(3, 9, 9)).astype(dtype)) for _ in range(3))
    with untouched(Q, K, V):
        out = kexue.attention(Q, K, V, causal=True)
        grads = kexue.attention_vjp(Q, K, V, np.ones(out.shape, dtype=out.dtype), causal=True)
    clean = [plain(array) for array in (Q, K, V)]
    expected = kexue.attention(*clean, causal=True)
    np.testing.assert_array_equal(out, expected)
    assert out.dtype == expected.dtype
    for mine, wanted in zip(grads, kexue.attention_vjp(*clean, np.ones_like(expected), causal=True), strict=True):
        np.testing.assert_array_equal(mine, wanted)


def test_workers(workers, dtype, rng):
    Q, K, V, grad = (rng.normal(size=(5, 800, 16)).astype(dtype) for _ in range(4))
    np.testing.assert_array_equal(kexue.attention(Q, K, V, workers=workers), kexue.attention(Q, K, V, workers=1))
    for mine, wanted in zip(
        kexue.attention_vjp(Q, K, V, grad, workers=workers), kexue.attention_vjp(Q, K, V, grad, workers=1), strict=True
    ):
        np.testing.assert_array_equal(mine, wanted)


def test_memory_does_not_grow_with_the_square(rng):
    Q, K, V = (rng.normal(size=(1, 6000, 16)).astype(np.float32) for _ in range(3))
    tracemalloc.start()
    try:
        kexue.attention(Q, K, V, workers=1)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < Q.nbytes + 1_000_000


# ---- edges ----


@pytest.mark.parametrize("shape", [(0, 4, 3, 2), (4, 0, 3, 2), (4, 3, 0, 2), (4, 3, 2, 0)])
def test_empty(shape, dtype):
    queries, keys, d, d_v = shape
    Q, K, V = np.ones((queries, d), dtype), np.ones((keys, d), dtype), np.ones((keys, d_v), dtype)
    out, entropy = kexue.attention(Q, K, V, return_entropy=True)
    assert out.shape == (queries, d_v)
    np.testing.assert_array_equal(out, 1 if keys else 0)
    np.testing.assert_allclose(entropy, math.log(keys) if keys else 0, rtol=1e-6)
    grads = kexue.attention_vjp(Q, K, V, np.ones(out.shape, dtype))
    assert [grad.shape for grad in grads] == [Q.shape, K.shape, V.shape]
    assert kexue.attention(np.ones((0, 2, 3)), np.ones((0, 4, 3)), np.ones((4, 5))).shape == (0, 2, 5)


def test_extreme_scores(dtype):
    Q, K, V = np.array([[1e4]], dtype), np.array([[1e4], [-1e4], [9e3]], dtype), np.array([[1.0], [2.0], [3.0]], dtype)
    out, entropy = kexue.attention(Q, K, V, scale=1.0, return_entropy=True)
    np.testing.assert_array_equal(out, [[1]])
    np.testing.assert_array_equal(entropy, [0])


def test_what_is_not_finite(dtype, rng):
    Q, K, V = (rng.normal(size=(4, 3)).astype(dtype) for _ in range(3))
    K[2, 1] = np.nan
    out = kexue.attention(Q, K, V)
    assert np.isnan(out).all()
    causal = kexue.attention(Q, K, V, causal=True)
    assert np.isfinite(causal[:2]).all() and np.isnan(causal[2:]).all()


# ---- the scale ----


def test_entropy_invariant_scale():
    scale = kexue.entropy_invariant_scale([16, 64, 128, 512, 1024, 4096], 64)
    expected = [0.444444444444444, 0.666666666666667, 0.777777777777778, 1, 1.11111111111111, 1.33333333333333]
    np.testing.assert_allclose(scale * 8, expected, rtol=1e-14)
    assert kexue.entropy_invariant_scale(1, 64) == 0
    assert kexue.entropy_invariant_scale(1, 64, min_length=16) == kexue.entropy_invariant_scale(16, 64)
    assert kexue.entropy_invariant_scale(100, 64, kappa=1.2823955919013) == pytest.approx(
        kexue.entropy_invariant_scale(100, 64), rel=1e-13
    )
    for options in ({"d": 0}, {"base_length": 1}, {"min_length": 0}, {"kappa": math.inf}):
        with pytest.raises(kexue.KexueValueError, match=next(iter(options))):
            kexue.entropy_invariant_scale(5, **{"d": 64, **options})
    with pytest.raises(kexue.KexueValueError, match=r"n\[1\] is -1"):
        kexue.entropy_invariant_scale([1, -1], 64)


def test_the_scale_counts_what_is_seen(rng):
    Q, K, V = rng.normal(size=(3, 40, 8))
    mask = rng.random((40, 40)) < 0.5
    mask[7] = False
    for causal in (False, True):
        for allowed in (None, mask, np.where(mask, 0.5, -np.inf)):
            seen = np.isfinite(reference.visible(40, 40, allowed, causal)).sum(axis=-1)
            scales = kexue.entropy_invariant_scale(seen, 8)
            np.testing.assert_array_equal(
                kexue.attention(Q, K, V, scale="entropy", mask=allowed, causal=causal),
                kexue.attention(Q, K, V, scale=scales, mask=allowed, causal=causal),
            )


# ---- bad input ----


def test_refuses(rng):
    Q, K, V = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 6, 4)), rng.normal(size=(2, 6, 3))
    bad = [
        ((Q, K[..., :3], V), {}, "Q and K must have one dimension"),
        ((Q, K, V[:, :5]), {}, "K and V must have as many rows"),
        ((Q[0, 0], K, V), {}, r"Q must have shape \(\.\.\., rows, dimension\)"),
        ((Q, np.concatenate([K, K[:1]]), V), {}, "leading dimensions that broadcast"),
        ((Q, K, V), {"mask": np.ones((5, 5), bool)}, r"mask must broadcast to \(\.\.\., 5, 6\)"),
        ((Q, K, V), {"mask": np.full((5, 6), np.nan)}, r"mask\[0, 0\] is nan"),
        ((Q, K, V), {"mask": np.full((5, 6), np.inf)}, r"mask\[0, 0\] is inf"),
        ((Q, K, V), {"scale": "log"}, 'scale must be "sqrt", "entropy" or a number'),
        ((Q, K, V), {"scale": np.nan}, "scale is nan"),
        ((Q, K, V), {"scale": np.ones(4)}, "scale must be a number, or broadcast"),
    ]
    for arrays, options, message in bad:
        with pytest.raises(kexue.KexueValueError, match=message):
            kexue.attention(*arrays, **options)
    with pytest.raises(kexue.KexueValueError, match=r"grad must broadcast to \(2, 5, 3\)"):
        kexue.attention_vjp(Q, K, V, np.ones((2, 5, 4)))
