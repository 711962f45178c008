"""InfoNCE, R-Drop and the symmetric divergence of softmaxes: torch, mpmath, finite differences, extremes, bad input."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from kexue import KexueValueError, info_nce_loss, r_drop_loss, softmax_symmetric_kl


def slopes(function, x, h=1e-3):
    """The gradient of a scalar function by the five-point rule."""
    result = np.empty_like(x)
    for place in np.ndindex(x.shape):
        d = np.zeros_like(x)
        d[place] = h
        result[place] = (8 * (function(x + d) - function(x - d)) - function(x + 2 * d) + function(x - 2 * d)) / (12 * h)
    return result


# ---- InfoNCE ----


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("shape", "temperature"), [((1, 1), 0.05), ((5, 5), 0.05), ((2, 3, 16, 16), 0.3)])
def test_info_nce_as_torch_has_it(shape, temperature, symmetric):
    similarities = np.random.default_rng(shape[-1]).uniform(-1, 1, shape)
    torch = pytest.importorskip("torch")
    x = torch.tensor(similarities, requires_grad=True)
    logits, ids = (x / temperature).reshape(-1, *shape[-2:]), torch.arange(shape[-1])
    expected = torch.stack([torch.nn.functional.cross_entropy(one, ids) for one in logits])
    if symmetric:
        expected = (expected + torch.stack([torch.nn.functional.cross_entropy(one.T, ids) for one in logits])) / 2
    expected.sum().backward()
    loss, grad = info_nce_loss(similarities, temperature=temperature, symmetric=symmetric, return_grad=True)
    assert np.shape(loss) == shape[:-2] and grad.shape == shape
    np.testing.assert_allclose(np.ravel(loss), expected.detach().numpy(), rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(grad, x.grad.numpy(), rtol=1e-11, atol=1e-15)
    np.testing.assert_array_equal(info_nce_loss(similarities, temperature=temperature, symmetric=symmetric), loss)


@pytest.mark.parametrize("symmetric", [False, True])
def test_info_nce_by_finite_differences(symmetric):
    c = np.random.default_rng(0).uniform(-1, 1, (6, 6))
    options = {"temperature": 0.5, "symmetric": symmetric}
    _, grad = info_nce_loss(c, return_grad=True, **options)
    np.testing.assert_allclose(grad, slopes(lambda x: info_nce_loss(x, **options), c), atol=1e-9)


def test_info_nce_from_embeddings():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 8, 5))

    def loss_of(first):
        u = first / np.linalg.norm(first, axis=1, keepdims=True)
        return info_nce_loss(u @ (b / np.linalg.norm(b, axis=1, keepdims=True)).T, temperature=0.2)

    size = np.linalg.norm(a, axis=1, keepdims=True)
    u, v = a / size, b / np.linalg.norm(b, axis=1, keepdims=True)
    _, grad = info_nce_loss(u @ v.T, temperature=0.2, return_grad=True)
    by_u = grad @ v
    by_a = (by_u - u * (u * by_u).sum(axis=1, keepdims=True)) / size
    np.testing.assert_allclose(by_a, slopes(loss_of, a), atol=1e-8)


@pytest.mark.parametrize("symmetric", [False, True])
def test_info_nce_of_extreme_similarities(symmetric):
    c = np.full((4, 4), -1e4, dtype=np.float32)
    np.fill_diagonal(c, 1e4)
    loss, grad = info_nce_loss(c, symmetric=symmetric, return_grad=True)
    assert loss == 0 and not grad.any() and loss.dtype == grad.dtype == np.float32
    loss, grad = info_nce_loss(-c, symmetric=symmetric, return_grad=True)
    assert loss == pytest.approx(4e5, rel=1e-5)  # 2e4 / 0.05, and log 3
    np.testing.assert_allclose(grad, (1 / 3 - 4 / 3 * np.eye(4)) * 5, rtol=1e-5)


def test_info_nce_keeps_a_small_loss():
    assert info_nce_loss([[50.0, 0.0], [0.0, 60.0]], temperature=1) == pytest.approx(
        (math.exp(-50) + math.exp(-60)) / 2, rel=1e-14
    )


def test_info_nce_with_pairs_left_out():
    c = np.random.default_rng(2).uniform(-1, 1, (3, 3))
    c[0, 1] = c[2, 0] = -np.inf
    loss, grad = info_nce_loss(c, temperature=0.5, return_grad=True)
    rows = [np.log(np.exp(2 * row[np.isfinite(row)]).sum()) - 2 * row[i] for i, row in enumerate(c)]
    assert loss == pytest.approx(np.mean(rows), rel=1e-14)
    assert grad[0, 1] == grad[2, 0] == 0


# ---- the symmetric divergence, R-Drop ----


def test_symmetric_kl_is_the_sum_of_both():
    rng = np.random.default_rng(3)
    s, t = rng.normal(size=(2, 4, 6)) * 3
    p, q = kexue.softmax(s), kexue.softmax(t)
    loss, (by_s, by_t) = softmax_symmetric_kl(s, t, return_grad=True)
    np.testing.assert_allclose(loss, (p * np.log(p / q) + q * np.log(q / p)).sum(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(loss, ((p - q) * (s - t)).sum(axis=-1), rtol=1e-13)
    np.testing.assert_allclose(by_s, slopes(lambda x: softmax_symmetric_kl(x, t).sum(), s), atol=1e-9)
    np.testing.assert_allclose(by_t, slopes(lambda x: softmax_symmetric_kl(s, x).sum(), t), atol=1e-9)
    turned, grads = softmax_symmetric_kl(s.T, t.T, axis=0, return_grad=True)
    np.testing.assert_array_equal(turned, loss)
    np.testing.assert_array_equal(grads[0], by_s.T)


def test_symmetric_kl_of_neighbours_keeps_its_digits():
    s, t = np.array([0.5, -1.0, 0.25]), np.array([0.5, -1.0, 0.25]) + np.array([0, 2.0**-20, -(2.0**-21)])
    with mpmath.workdps(50):
        p, q = ([mpmath.exp(mpmath.mpf(float(x))) for x in row] for row in (s, t))
        expected = mpmath.fsum(
            (a / sum(p) - b / sum(q)) * (mpmath.mpf(float(x)) - mpmath.mpf(float(y)))
            for a, b, x, y in zip(p, q, s, t, strict=True)
        )
    assert softmax_symmetric_kl(s, t) == pytest.approx(float(expected), rel=1e-8)
    assert softmax_symmetric_kl(s, s) == 0


@given(hnp.arrays(np.float64, (2, 5), elements=st.floats(-1e4, 1e4)))
@settings(max_examples=100, deadline=None)
def test_symmetric_kl_is_symmetric_and_never_negative(rows):
    loss, grads = softmax_symmetric_kl(rows[0], rows[1], return_grad=True)
    swapped, others = softmax_symmetric_kl(rows[1], rows[0], return_grad=True)
    assert 0 <= loss == swapped < np.inf
    np.testing.assert_array_equal(grads[0], others[1])
    np.testing.assert_allclose(grads[0].sum(), 0, atol=1e-11)


def test_extreme_logits():
    s, t = np.array([[1e4, -1e4]], dtype=np.float32), np.array([[-1e4, 1e4]], dtype=np.float32)
    loss, (by_s, by_t) = softmax_symmetric_kl(s, t, return_grad=True)
    assert loss == 4e4 and loss.dtype == by_s.dtype == np.float32
    np.testing.assert_array_equal(by_s, [[1, -1]])
    np.testing.assert_array_equal(by_t, [[-1, 1]])
    loss, grads = r_drop_loss(s, t, [0], alpha=2.0, return_grad=True)
    assert loss == 2e4 + 4e4 and all(np.isfinite(grad).all() for grad in grads)


def test_masked_logits():
    s, t = np.array([0.3, -np.inf, 1.0, 0.0]), np.array([0.1, -np.inf, -1.0, 0.5])
    kept = [0, 2, 3]
    loss, (by_s, by_t) = softmax_symmetric_kl(s, t, return_grad=True)
    assert loss == pytest.approx(softmax_symmetric_kl(s[kept], t[kept]), rel=1e-15)
    assert by_s[1] == by_t[1] == 0
    assert r_drop_loss(s, t, 3) == pytest.approx(r_drop_loss(s[kept], t[kept], 2), rel=1e-15)


@pytest.mark.parametrize("kind", ["ids", "probabilities"])
@pytest.mark.parametrize("axis", [-1, 0])
def test_r_drop_as_torch_has_it(kind, axis):
    rng = np.random.default_rng(4)
    first, second = rng.normal(size=(2, 7, 5)) * 2
    ids, weights = rng.integers(0, 5, 7), rng.dirichlet(np.ones(5), size=7)
    labels = ids if kind == "ids" else weights
    torch = pytest.importorskip("torch")
    a, b = (torch.tensor(x, requires_grad=True) for x in (first, second))
    F = torch.nn.functional
    expected = sum(F.cross_entropy(x, torch.tensor(labels), reduction="none") for x in (a, b))
    logs = F.log_softmax(a, dim=-1), F.log_softmax(b, dim=-1)
    for x, y in (logs, logs[::-1]):
        expected = expected + 3.0 / 2 * F.kl_div(x, y, log_target=True, reduction="none").sum(dim=-1)
    expected.sum().backward()
    turn = np.transpose if axis == 0 else np.asarray
    loss, grads = r_drop_loss(turn(first), turn(second), turn(labels), alpha=3.0, axis=axis, return_grad=True)
    np.testing.assert_allclose(loss, expected.detach().numpy(), rtol=1e-13)
    for grad, x in zip(grads, (a, b), strict=True):
        np.testing.assert_allclose(turn(grad), x.grad.numpy(), atol=1e-13)
    again = r_drop_loss(turn(first), turn(second), turn(labels), alpha=3.0, axis=axis)
    np.testing.assert_array_equal(again, loss)


def test_r_drop_without_a_divergence_is_two_cross_entropies():
    first, second = np.random.default_rng(5).normal(size=(2, 3, 4)).astype(np.float32)
    ids = [0, 3, 1]
    loss = r_drop_loss(first, second, ids, alpha=0)
    assert loss.dtype == np.float32
    np.testing.assert_allclose(loss, kexue.softmax_loss(first, ids) + kexue.softmax_loss(second, ids), rtol=1e-6)
    np.testing.assert_allclose(r_drop_loss(first, first, ids, alpha=9), 2 * kexue.softmax_loss(first, ids), rtol=1e-6)


# ---- float32, strides, workers ----


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("temperature", [0.05, 0.003])
def test_info_nce_in_float32(temperature, symmetric):
    c = np.random.default_rng(6).uniform(-1, 1, (3, 130, 130)).astype(np.float32)
    options = {"temperature": temperature, "symmetric": symmetric, "return_grad": True}
    loss, grad = info_nce_loss(c, **options)
    expected, slope = info_nce_loss(c.astype(np.float64), **options)
    assert loss.dtype == grad.dtype == np.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    np.testing.assert_allclose(grad, slope, rtol=1e-4, atol=1e-6 / temperature / 130)


@pytest.mark.parametrize("distance", [1e-4, 1.0, 50.0])
def test_rows_in_float32(distance):
    rng = np.random.default_rng(7)
    s = rng.normal(size=(20, 333)).astype(np.float32)
    t = (s + distance * rng.normal(size=s.shape)).astype(np.float32)
    loss, grads = softmax_symmetric_kl(s, t, return_grad=True)
    expected, slopes = softmax_symmetric_kl(s.astype(np.float64), t.astype(np.float64), return_grad=True)
    np.testing.assert_allclose(loss, expected, rtol=2e-6)
    for grad, slope in zip(grads, slopes, strict=True):
        np.testing.assert_allclose(grad, slope, rtol=1e-5, atol=2e-7 * np.ptp(s - t))
    ids = t.argmax(axis=1)
    loss, _ = r_drop_loss(s, t, ids, return_grad=True)
    np.testing.assert_allclose(loss, r_drop_loss(s.astype(np.float64), t.astype(np.float64), ids), rtol=2e-6)


def test_r_drop_keeps_a_small_loss():
    logits = np.array([[40.0, 0.0, 1.0]], dtype=np.float32)
    loss, (by_first, _) = r_drop_loss(logits, logits, [0], return_grad=True)
    rest = math.exp(-40) + math.exp(-39)
    assert loss[0] == pytest.approx(2 * rest, rel=1e-5)
    assert by_first[0, 0] == pytest.approx(-rest, rel=1e-5)


def test_strides_and_workers():
    rng = np.random.default_rng(8)
    wide = rng.normal(size=(2, 64, 2, 600))
    s, t = wide[:, :, 0, ::2]
    ids = rng.integers(0, 300, 64).astype(np.uint8)
    same = r_drop_loss(s.copy(), t.copy(), ids, return_grad=True, workers=1)
    for workers in (1, 3):
        loss, grads = r_drop_loss(s, t, ids, return_grad=True, workers=workers)
        np.testing.assert_array_equal(loss, same[0])
        np.testing.assert_array_equal(grads, same[1])
    np.testing.assert_array_equal(softmax_symmetric_kl(s, t, workers=2), softmax_symmetric_kl(s.copy(), t.copy()))
    c = rng.uniform(-1, 1, (600, 600))
    for symmetric in (False, True):
        loss, grad = info_nce_loss(c[::2, ::2], symmetric=symmetric, return_grad=True, workers=3)
        again, slope = info_nce_loss(c[::2, ::2].copy(), symmetric=symmetric, return_grad=True, workers=1)
        assert loss == again
        np.testing.assert_array_equal(grad, slope)
        turned, _ = info_nce_loss(c[::2, ::2].T, symmetric=symmetric, return_grad=True)
        assert (turned == pytest.approx(loss, rel=1e-13)) == symmetric


def test_no_rows():
    assert softmax_symmetric_kl(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)
    loss, grads = r_drop_loss(np.empty((2, 0, 3)), np.empty((2, 0, 3)), np.empty((2, 0), dtype=int), return_grad=True)
    assert loss.shape == (2, 0) and grads[1].shape == (2, 0, 3)
    loss, grad = info_nce_loss(np.empty((0, 4, 4)), symmetric=True, return_grad=True)
    assert loss.shape == (0,) and grad.shape == (0, 4, 4)


def test_logits_that_are_too_far_apart():
    with pytest.raises(OverflowError, match="s - t"):
        softmax_symmetric_kl([1.7e308, 0.0], [-1.7e308, 0.0])


# ---- bad input ----

TWO = np.zeros((2, 2))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: info_nce_loss(np.zeros((2, 3))), KexueValueError, r"similarities must have shape \(\.\.\., n, n\)"),
        (lambda: info_nce_loss(np.zeros((0, 0))), KexueValueError, "n at least 1"),
        (lambda: info_nce_loss([1.0]), KexueValueError, "similarities must have shape"),
        (lambda: info_nce_loss([[0, np.nan], [0, 0]]), KexueValueError, r"similarities\[0, 1\] is nan"),
        (lambda: info_nce_loss([[0, 0], [np.inf, 0]]), KexueValueError, r"similarities\[1, 0\] is inf"),
        (lambda: info_nce_loss([[0, 0], [0, -np.inf]]), KexueValueError, r"similarities\[1, 1\] is -inf"),
        (lambda: info_nce_loss(TWO, temperature=0), KexueValueError, "temperature must be finite and above 0"),
        (lambda: info_nce_loss(TWO, temperature=np.nan), KexueValueError, "temperature must be finite and above 0"),
        (lambda: info_nce_loss(TWO, temperature="1"), TypeError, "temperature must be a number"),
        (lambda: info_nce_loss(np.eye(2) * 1e300, temperature=1e-10), KexueValueError, "overflows float64"),
        (lambda: info_nce_loss(np.eye(2, dtype="f4"), temperature=1e-60), KexueValueError, "overflows float32"),
        (lambda: info_nce_loss([["a"]]), TypeError, "similarities must hold real numbers"),
        (lambda: softmax_symmetric_kl([0.0, np.nan], [0, 0]), KexueValueError, r"s\[1\] is nan"),
        (lambda: softmax_symmetric_kl([0.0, 1], [0, np.inf]), KexueValueError, r"t\[1\] is inf"),
        (lambda: softmax_symmetric_kl([0.0, 1], [0.0]), KexueValueError, r"t has shape \(1,\), but s has \(2,\)"),
        (lambda: softmax_symmetric_kl([0.0, -np.inf], [0.0, 1]), KexueValueError, r"t\[1\] is 1.0, but t must be -inf"),
        (lambda: softmax_symmetric_kl([0.0, 1], [-np.inf, 1]), KexueValueError, r"t\[0\] is -inf, but t must be -inf"),
        (lambda: softmax_symmetric_kl([[-np.inf]], [[-np.inf]]), KexueValueError, r"s\[0, 0\] is -inf, and so is all"),
        (lambda: softmax_symmetric_kl(np.zeros((2, 0)), np.zeros((2, 0))), KexueValueError, "no entries along axis 1"),
        (lambda: softmax_symmetric_kl(1.0, 1.0), KexueValueError, "s must have at least 1 dimension"),
        (lambda: softmax_symmetric_kl(TWO, TWO, axis=2), KexueValueError, "axis 2 is out of bounds for s"),
        (lambda: r_drop_loss(TWO, TWO, [0, 2]), KexueValueError, r"labels\[1\] is 2, not a class id below 2"),
        (lambda: r_drop_loss(TWO, TWO, [-1, 0]), KexueValueError, r"labels\[0\] is -1, not a class id below 2"),
        (lambda: r_drop_loss(TWO, TWO, [0]), KexueValueError, r"labels has shape \(1,\)"),
        (lambda: r_drop_loss(TWO, TWO, [0.5, 0.5]), KexueValueError, r"labels has shape \(2,\), but probabilities"),
        (lambda: r_drop_loss(TWO, TWO, -np.eye(2)), KexueValueError, r"labels\[0, 0\] is -1.0, not a probability"),
        (lambda: r_drop_loss(TWO, TWO, ["a", "b"]), TypeError, "labels must hold integer class ids"),
        (lambda: r_drop_loss(TWO, np.zeros((2, 3)), [0, 1]), KexueValueError, r"logits_2 has shape \(2, 3\)"),
        (lambda: r_drop_loss(TWO, TWO * np.nan, [0, 1]), KexueValueError, r"logits_2\[0, 0\] is nan"),
        (lambda: r_drop_loss(TWO, TWO, [0, 1], alpha=-1), KexueValueError, "alpha must be finite and at least 0"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_names_are_public():
    for name in ("info_nce_loss", "r_drop_loss", "softmax_symmetric_kl"):
        assert getattr(kexue, name) is getattr(kexue.losses, name)
