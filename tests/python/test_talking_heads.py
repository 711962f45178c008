"""Talking-heads attention and its gradients, against the whole tensors of weights."""

import itertools
import math
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import attention as reference

BOUND = {np.dtype(np.float32): 4e-6, np.dtype(np.float64): 8e-15}


def case(rng, heads, rows, dimensions, lead=(), dtype=np.float64):
    (key_heads, softmax_heads, value_heads), (queries, keys), (d, d_v) = heads, rows, dimensions
    shapes = ((key_heads, queries, d), (key_heads, keys, d), (value_heads, keys, d_v), (value_heads, queries, d_v))
    Q, K, V, grad = (rng.normal(size=lead + shape).astype(dtype) for shape in shapes)
    logit_mix = rng.normal(size=(softmax_heads, key_heads)) / math.sqrt(key_heads)
    weight_mix = rng.normal(size=(value_heads, softmax_heads)) / math.sqrt(softmax_heads)
    return Q, K, V, logit_mix, weight_mix, grad


def masks(kind, rng, shape):
    if kind == "none":
        return None
    mask = rng.random(shape) < 0.6
    mask[..., shape[-2] // 2, :] = False  # sees nothing
    return mask if kind == "bool" else np.where(mask, rng.normal(size=shape), -np.inf)


# ---- values ----

Q = [[[1, 0], [0, 1], [1, 1]], [[0.5, -1], [1, 0.5], [0, 1]]]
K = [[[1, 1], [0, 1], [-1, 0]], [[1, 0], [0.5, 0.5], [0, -1]]]
V = [[[1, 2], [3, 4], [5, 6]], [[-1, 0], [0, 1], [2, 2]]]
MIX = [[1, 0.5], [-0.25, 1]]


def test_reference_values():
    expected = [
        [[2.1490116271736928, 3.149011627173693], [2.356279544067059, 3.3562795440670596],
         [1.9048966128995652, 2.9048966128995652]],
        [[0.8192979411043324, 1.275611618824052], [-0.07713841207469391, 0.7393213166121531],
         [0.19107884069507103, 0.9541950691340612]],
    ]  # fmt: skip
    np.testing.assert_allclose(kexue.talking_heads_attention(Q, K, V, MIX), expected, rtol=1e-14)
    weights = kexue.talking_heads_attention(Q, K, np.eye(3)[None], MIX)[0]
    np.testing.assert_allclose(
        weights,
        [
            [0.5993947173661547, 0.2267047516808442, 0.1739005309530011],
            [0.4534053026662099, 0.41504962263405065, 0.1315450746997395],
            [0.5978771787055387, 0.35179733613914016, 0.05032548515532119],
        ],
        rtol=1e-14,
    )


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("kind", ["none", "bool", "additive"])
@pytest.mark.parametrize(
    ("heads", "rows", "dimensions", "mixes"),
    [
        ((1, 1, 1), (1, 1), (1, 1), True),
        ((2, 3, 3), (5, 7), (3, 2), False),
        ((2, 3, 5), (7, 65), (4, 70), True),
        ((12, 12, 12), (50, 64), (16, 16), True),
        ((7, 8, 6), (97, 130), (65, 8), True),
        ((13, 6, 6), (49, 63), (8, 8), False),
    ],
)
def test_against_all_weights(heads, rows, dimensions, mixes, kind, causal, dtype, rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, heads, rows, dimensions, (2,), dtype)
    weight_mix = weight_mix if mixes else None
    mask = masks(kind, rng, (2, heads[1], *rows))
    mask = mask if mask is None or mask.dtype == bool else mask.astype(dtype)
    scale = rng.uniform(-0.3, 0.4, (2, heads[1], rows[0]))
    added = reference.visible(*rows, mask, causal)
    options = {"scale": scale, "mask": mask, "causal": causal}
    exact, _ = reference.talking_heads(Q, K, V, logit_mix, weight_mix, scale, added)
    out = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix, **options)
    assert out.dtype == dtype and out.shape == exact.shape
    bound = BOUND[np.dtype(dtype)]
    np.testing.assert_allclose(out, exact, rtol=0, atol=bound * dimensions[0])
    expected = reference.talking_heads_vjp(Q, K, V, logit_mix, weight_mix, grad, scale, added)
    got = kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad, **options)
    assert (got[-1] is None) == (not mixes)
    for result, target in zip(got[: 4 + mixes], expected, strict=False):
        assert result.shape == target.shape
        size = max(1.0, float(np.abs(target).max()))
        np.testing.assert_allclose(result, target, rtol=0, atol=20 * bound * size)


def test_gradients_by_finite_differences(rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (2, 3, 2), (4, 5), (3, 2))
    arguments = [Q, K, V, logit_mix, weight_mix]
    mask = masks("additive", rng, (3, 4, 5))
    got = kexue.talking_heads_attention_vjp(*arguments, grad, mask=mask)
    for which, gradient in enumerate(got):
        for place in np.ndindex(gradient.shape):
            ends = []
            for step in (1e-5, -1e-5):
                moved = [array.copy() for array in arguments]
                moved[which][place] += step
                ends.append((kexue.talking_heads_attention(*moved, mask=mask) * grad).sum())
            assert (ends[0] - ends[1]) / 2e-5 == pytest.approx(gradient[place], rel=1e-7, abs=1e-8)


def test_torch_einsum(dtype, rng):
    torch = pytest.importorskip("torch")
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (4, 6, 5), (40, 50), (16, 8), (2,), dtype)
    logit_mix, weight_mix = logit_mix.astype(dtype), weight_mix.astype(dtype)
    tensors = [torch.from_numpy(array).requires_grad_() for array in (Q, K, V, logit_mix, weight_mix)]
    q, k, v, lam, om = tensors
    logits = torch.einsum("gh,bhij->bgij", lam, torch.einsum("bhid,bhjd->bhij", q, k) / 4)
    out = torch.einsum("bvij,bvjd->bvid", torch.einsum("vg,bgij->bvij", om, logits.softmax(-1)), v)
    out.backward(torch.from_numpy(grad))
    bound = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(
        kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix), out.detach().numpy(), rtol=0, atol=2 * bound
    )
    for result, tensor in zip(
        kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad), tensors, strict=True
    ):
        size = max(1.0, float(tensor.grad.abs().max()))
        np.testing.assert_allclose(result, tensor.grad.numpy(), rtol=0, atol=5 * bound * size)


# ---- relations ----


@given(st.integers(1, 8), st.integers(1, 70), st.integers(1, 70), st.integers(1, 9), st.booleans(), st.integers(0, 99))
def test_identity_mixes_are_attention(heads, queries, keys, d, causal, seed):
    rng = np.random.default_rng(seed)
    Q, K, V, _, _, grad = case(rng, (heads,) * 3, (queries, keys), (d, d))
    eye = np.eye(heads)
    out = kexue.attention(Q, K, V, causal=causal)
    np.testing.assert_allclose(kexue.talking_heads_attention(Q, K, V, eye, causal=causal), out, rtol=0, atol=1e-13)
    np.testing.assert_allclose(kexue.talking_heads_attention(Q, K, V, eye, eye, causal=causal), out, rtol=0, atol=1e-13)
    for result, exact in zip(
        kexue.talking_heads_attention_vjp(Q, K, V, eye, None, grad, causal=causal),
        kexue.attention_vjp(Q, K, V, grad, causal=causal),
        strict=False,
    ):
        np.testing.assert_allclose(result, exact, rtol=0, atol=1e-12)


@given(st.integers(1, 130), st.integers(0, 99))
def test_a_head_that_averages(keys, seed):
    """Weights that mix to a mean of rows that sum to 1 sum to 1: constant values come out as they are."""
    rng = np.random.default_rng(seed)
    Q, K, _, logit_mix, _, _ = case(rng, (3, 4, 2), (6, keys), (5, 1))
    mix = rng.dirichlet(np.ones(4), size=2)
    out = kexue.talking_heads_attention(Q, K, np.ones((1, keys, 1)), logit_mix, mix)
    np.testing.assert_allclose(out, 1, rtol=1e-13)


def test_shared_heads(rng):
    """A single head of keys or values is that head repeated, and its gradient the sum."""
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (3, 4, 2), (9, 11), (5, 3), (2,))
    K, V = K[:, :1], V[:1, :1]
    whole = [np.broadcast_to(K, (2, 3, 11, 5)), np.broadcast_to(V, (2, 2, 11, 3))]
    out = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix)
    np.testing.assert_array_equal(out, kexue.talking_heads_attention(Q, *whole, logit_mix, weight_mix))
    got = kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad)
    each = kexue.talking_heads_attention_vjp(Q, *whole, logit_mix, weight_mix, grad)
    assert got[1].shape == K.shape and got[2].shape == V.shape
    np.testing.assert_allclose(got[1], each[1].sum(axis=1, keepdims=True), rtol=0, atol=1e-13)
    np.testing.assert_allclose(got[2], each[2].sum(axis=(0, 1), keepdims=True), rtol=0, atol=1e-13)


def test_entropy_scale_counts_the_keys_each_head_sees(rng):
    Q, K, V, logit_mix, _, _ = case(rng, (2, 3, 3), (20, 30), (8, 4))
    mask = rng.random((3, 20, 30)) < 0.5
    counts = (mask & (np.arange(30) <= np.arange(20)[:, None])).sum(-1)
    expected = kexue.talking_heads_attention(
        Q, K, V, logit_mix, mask=mask, causal=True, scale=kexue.entropy_invariant_scale(counts, 8)
    )
    got = kexue.talking_heads_attention(Q, K, V, logit_mix, mask=mask, causal=True, scale="entropy")
    np.testing.assert_array_equal(got, expected)


# ---- edges ----


def test_workers_and_chunks_do_not_change_bits(dtype, rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (4, 4, 4), (200, 150), (16, 16), (3,), dtype)
    alone = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix, workers=1)
    gradients = kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad, workers=1)
    for workers in (2, 3):
        np.testing.assert_array_equal(
            kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix, workers=workers), alone
        )
        more = kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad, workers=workers)
        for one, other in zip(more, gradients, strict=True):
            np.testing.assert_array_equal(one, other)


def test_long_keys_take_smaller_chunks(rng):
    Q, K, V, logit_mix, weight_mix, _ = case(rng, (12, 12, 12), (31, 20000), (4, 4), (), np.float32)
    exact, _ = reference.talking_heads(Q, K, V, logit_mix, weight_mix, np.full(31, 0.5), np.zeros((31, 20000)))
    np.testing.assert_allclose(kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("empty", ["lead", "queries", "keys", "d", "d_v"])
def test_empty(empty, rng):
    lead = (0,) if empty == "lead" else (2,)
    rows = (0 if empty == "queries" else 3, 0 if empty == "keys" else 4)
    Q, K, V, logit_mix, weight_mix, grad = case(
        rng, (2, 3, 2), rows, (0 if empty == "d" else 2, 0 if empty == "d_v" else 2), lead
    )
    out = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix)
    assert out.shape == grad.shape
    if empty == "keys":
        assert not out.any()
    for result, argument in zip(
        kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad),
        (Q, K, V, logit_mix, weight_mix),
        strict=True,
    ):
        assert result.shape == argument.shape
        assert empty == "d" or not result.any()


def test_not_finite(rng):
    Q, K, V, logit_mix, weight_mix, _ = case(rng, (2, 2, 2), (5, 6), (3, 2))
    Q[1, 3, 0] = np.nan
    out = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix)
    assert np.isnan(out[:, 3]).all() and np.isfinite(np.delete(out, 3, axis=1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("mixes", [False, True])
@pytest.mark.parametrize(
    ("kind", "where"), [*itertools.product(["bool", "additive"], "QKV"), ("causal", "K"), ("causal", "V")]
)
def test_what_no_head_sees_does_not_matter(kind, mixes, where, bad, dtype, rng):
    """Keys hidden from all queries, or queries from which all keys are: whatever they hold, no bit changes."""
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (2, 3, 3), (101, 130), (5, 4), (2,), dtype)
    mask = rng.random((2, 3, 101, 130)) < 0.7
    mask[..., [3, 70], :] = False
    mask[..., [3, 66, 129]] = False
    options = {"mask": mask}
    if kind == "additive":
        options["mask"] = np.where(mask, rng.normal(size=mask.shape), -np.inf).astype(dtype)
    elif kind == "causal":
        options = {"causal": True}  # keys behind the last query
    arguments = [Q, K, V, logit_mix, weight_mix if mixes else None]
    spoilt = list(arguments)
    place = "QKV".index(where)
    spoilt[place] = spoilt[place].copy()
    rows = [3, 70] if where == "Q" else [101, 129] if kind == "causal" else [3, 66, 129]
    spoilt[place][..., rows, 1:3] = bad
    np.testing.assert_array_equal(
        kexue.talking_heads_attention(*spoilt, **options), kexue.talking_heads_attention(*arguments, **options)
    )
    for result, clean in zip(
        kexue.talking_heads_attention_vjp(*spoilt, grad, **options),
        kexue.talking_heads_attention_vjp(*arguments, grad, **options),
        strict=True,
    ):
        if clean is not None:
            np.testing.assert_array_equal(result, clean)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", "KV")
@pytest.mark.parametrize("mixes", [False, True])
def test_what_some_heads_see_reaches_these(mixes, where, bad, dtype, rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (2, 3, 3), (50, 70), (5, 4), (), dtype)
    mask = rng.random((3, 50, 70)) < 0.7
    mask[..., 0] = True
    mask[..., 7] = rng.random((3, 50)) < 0.3
    arguments = [Q, K, V, logit_mix, weight_mix if mixes else None]
    clean = kexue.talking_heads_attention(*arguments, mask=mask)
    gradients = kexue.talking_heads_attention_vjp(*arguments, grad, mask=mask)
    (K if where == "K" else V)[:, 7, 1] = bad
    sees = mask[..., 7]
    if mixes:
        sees = np.broadcast_to(sees.any(axis=0), sees.shape)
    out = kexue.talking_heads_attention(*arguments, mask=mask)
    np.testing.assert_array_equal(out[~sees], clean[~sees])
    if where == "V":
        assert not np.isfinite(out[sees][:, 1]).any()
        np.testing.assert_array_equal(np.delete(out, 1, axis=-1), np.delete(clean, 1, axis=-1))
    elif np.isnan(bad):
        assert np.isnan(out[sees]).all()
    got = kexue.talking_heads_attention_vjp(*arguments, grad, mask=mask)
    blind = ~mask[..., 7].any(axis=0)
    np.testing.assert_array_equal(got[0][:, blind], gradients[0][:, blind])
    if np.isnan(bad):
        assert np.isnan(got[0][:, ~blind]).all() and np.isnan(got[3]).any()
    if where == "V":
        np.testing.assert_array_equal(got[2], gradients[2])


@pytest.mark.parametrize("mixes", [False, True])
def test_rows_that_are_not_finite_have_no_part_in_what_they_do_not_see(mixes, dtype, rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (2, 3, 3), (50, 70), (5, 4), (), dtype)
    arguments = [Q, K, V, logit_mix, weight_mix if mixes else None]
    clean = kexue.talking_heads_attention_vjp(*arguments, grad, causal=True)
    Q[1, 20, 0] = np.nan
    got = kexue.talking_heads_attention_vjp(*arguments, grad, causal=True)
    np.testing.assert_array_equal(np.delete(got[0], 20, axis=1), np.delete(clean[0], 20, axis=1))
    for place in (1, 2):
        assert np.isnan(got[place][:, :21]).all()
        np.testing.assert_array_equal(got[place][:, 21:], clean[place][:, 21:])


@pytest.mark.parametrize("size", [1e4, 1e-4])
def test_logits_of_any_size(size, dtype, rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (3, 3, 3), (10, 80), (4, 4), (), dtype)
    assert np.isfinite(kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix, scale=size)).all()
    for gradient in kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad, scale=size):
        assert np.isfinite(gradient).all()


def test_layouts(rng):
    Q, K, V, logit_mix, weight_mix, grad = case(rng, (2, 3, 2), (6, 8), (4, 4))
    expected = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix)
    for change in (
        np.asfortranarray,
        lambda array: array[..., ::-1].copy()[..., ::-1],
        lambda array: array.astype(">f8"),
    ):
        got = kexue.talking_heads_attention(*map(change, (Q, K, V, logit_mix, weight_mix)))
        np.testing.assert_array_equal(got, expected)
    backwards = kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad[..., ::-1].copy()[..., ::-1])
    for one, other in zip(
        backwards, kexue.talking_heads_attention_vjp(Q, K, V, logit_mix, weight_mix, grad), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert (
        kexue.talking_heads_attention(*(array.astype(np.float16) for array in (Q, K, V)), logit_mix, weight_mix).dtype
        == np.float32
    )


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("Q", {"Q": np.zeros((5, 6))}),
        ("Q", {"Q": np.zeros((3, 5, 4))}),
        ("V", {"V": np.zeros((4, 6, 2))}),
        ("proj_logits", {"proj_logits": np.zeros(3)}),
        ("proj_logits", {"proj_logits": [[1.0, np.nan]] * 3}),
        ("proj_weights", {"proj_weights": np.zeros((2, 4))}),
        ("mask", {"mask": np.zeros((2, 5, 6))}),
        ("mask", {"mask": np.zeros((5, 7), bool)}),
        ("scale", {"scale": np.zeros((2, 5))}),
        ("leading", {"K": np.zeros((7, 2, 6, 4)), "V": np.zeros((3, 2, 6, 2))}),
    ],
)
def test_bad_arguments_are_named(name, change):
    arguments = {
        "Q": np.zeros((2, 5, 4)), "K": np.zeros((2, 6, 4)), "V": np.zeros((2, 6, 2)),
        "proj_logits": np.zeros((3, 2)), "proj_weights": np.zeros((2, 3)),
    }  # fmt: skip
    kexue.talking_heads_attention(**arguments)
    with pytest.raises(kexue.KexueValueError, match=name):
        kexue.talking_heads_attention(**{**arguments, **change})


def test_mixes_beyond_the_dtype(rng):
    Q, K, V, logit_mix, weight_mix, _ = case(rng, (2, 3, 3), (5, 6), (3, 2))
    Q, K, V = (array.astype(np.float32) for array in (Q, K, V))
    logit_mix[1, 0] = weight_mix[0, 2] = 1e39
    with pytest.raises(kexue.KexueValueError, match=r"proj_logits\[1, 0\] is 1e\+39, beyond float32"):
        kexue.talking_heads_attention(Q, K, V, logit_mix)
    with pytest.raises(kexue.KexueValueError, match=r"proj_weights\[0, 2\] is 1e\+39, beyond float32"):
        kexue.talking_heads_attention(Q, K, V, np.ones((3, 2)), weight_mix)
    kexue.talking_heads_attention(Q.astype(float), K, V, logit_mix, weight_mix)


def test_bad_types():
    X, mix = np.zeros((2, 5, 4)), np.eye(2)
    for change, message in (
        ({"causal": 1}, "causal must be True or False, not int"),
        ({"mask": np.ones((5, 5), int)}, "mask must be of bool or floating-point numbers"),
        ({"proj_logits": mix * 1j}, "proj_logits must hold real numbers"),
    ):
        with pytest.raises(TypeError, match=message):
            kexue.talking_heads_attention(**{"Q": X, "K": X, "V": X, "proj_logits": mix, **change})


def test_threads_of_python(rng):
    Q, K, V, logit_mix, weight_mix, _ = case(rng, (2, 2, 2), (60, 60), (8, 8))
    expected, results = kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix), []
    threads = [
        threading.Thread(target=lambda: results.append(kexue.talking_heads_attention(Q, K, V, logit_mix, weight_mix)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)
