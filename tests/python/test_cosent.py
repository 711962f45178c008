"""CoSENT, cosines of pairs, vectors of length 1, and Spearman's correlation."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from reference import cosent as reference

COSINES, LABELS = np.array([0.9, 0.8, 0.3, 0.5, 0.6]), np.array([1, 1, 0, 0, 2])
EPS = {np.dtype(np.float32): 2.0**-23, np.dtype(np.float64): 2.0**-52}


def differences(function, x, step=1e-6):
    """Central differences of a number by each entry."""
    grad = np.empty(x.size)
    for i in range(x.size):
        up, down = x.copy(), x.copy()
        up.flat[i] += step
        down.flat[i] -= step
        grad[i] = (function(up) - function(down)) / (2 * step)
    return grad.reshape(x.shape)


# ---- CoSENT ----


def test_cosent_values():
    loss, grad = kexue.cosent_loss(COSINES, LABELS, return_grad=True)
    assert loss == pytest.approx(6.129415335812847, rel=1e-15)
    expected = [
        17.572164560240783,
        2.3780259368575294,
        0.00011021231420828867,
        0.006017388466644189,
        -19.956318097879166,
    ]
    np.testing.assert_allclose(grad, expected, rtol=1e-13)
    assert kexue.cosent_loss(COSINES, LABELS, 1) == pytest.approx(2.051992973825105, rel=1e-15)


@pytest.mark.parametrize("levels", [1, 2, 6, None])
@pytest.mark.parametrize("scale", [0.5, 20.0, 150.0, 1000.0])
@pytest.mark.parametrize("n", [2, 7, 24, 25, 60])
def test_cosent_against_all_pairs(n, scale, levels, dtype, rng):
    cosines = rng.uniform(-1, 1, n).astype(dtype)
    labels = rng.normal(size=n) if levels is None else rng.integers(levels, size=n)
    loss, grad = kexue.cosent_loss(cosines, labels, scale, return_grad=True)
    exact, exact_grad = reference.cosent(cosines, labels, scale)
    assert loss.dtype == grad.dtype == dtype
    reach = max(1.0, exact, scale * np.ptp(cosines))
    np.testing.assert_allclose(loss, exact, rtol=EPS[np.dtype(dtype)], atol=4 * 2.0**-52 * reach)
    np.testing.assert_allclose(grad, exact_grad, rtol=2 * EPS[np.dtype(dtype)], atol=4 * 2.0**-52 * reach * scale)
    assert kexue.cosent_loss(cosines, labels, scale) == loss


@given(st.data())
def test_cosent_finite_differences(data):
    n = data.draw(st.integers(1, 12))
    cosines = data.draw(hnp.arrays(float, n, elements=st.floats(-1, 1)))
    labels = data.draw(hnp.arrays(float, n, elements=st.sampled_from([-1.0, 0.0, -0.0, 0.5, 2.0])))
    scale = data.draw(st.floats(0.1, 5))
    _, grad = kexue.cosent_loss(cosines, labels, scale, return_grad=True)
    expected = differences(lambda c: kexue.cosent_loss(c, labels, scale), cosines)
    np.testing.assert_allclose(grad, expected, rtol=1e-7, atol=1e-8)


@given(st.data())
def test_cosent_invariants(data):
    n = data.draw(st.integers(0, 40))
    cosines = data.draw(hnp.arrays(float, n, elements=st.floats(-1, 1)))
    labels = data.draw(hnp.arrays(float, n, elements=st.floats(-10, 10)))
    order = np.array(data.draw(st.permutations(range(n))), dtype=int)
    loss, grad = kexue.cosent_loss(cosines, labels, return_grad=True)
    assert loss >= 0
    assert abs(grad.sum()) <= 1e-12 * (1 + np.abs(grad).sum())
    shuffled, shuffled_grad = kexue.cosent_loss(cosines[order], labels[order], return_grad=True)
    assert shuffled == pytest.approx(loss, rel=1e-13, abs=1e-14)
    np.testing.assert_allclose(shuffled_grad, grad[order], rtol=1e-11, atol=1e-12)
    # Only the order of labels counts.
    ranked = np.unique(labels, return_inverse=True)[1]
    assert kexue.cosent_loss(cosines, ranked) == pytest.approx(loss, rel=1e-13, abs=1e-14)
    assert kexue.cosent_loss(-cosines, -labels) == pytest.approx(loss, rel=1e-13, abs=1e-14)


@pytest.mark.parametrize("size", [1e4, 1e30])
def test_cosent_of_extreme_scores(size, dtype, rng):
    cosines = (rng.uniform(-1, 1, 300) * size).astype(dtype)
    labels = rng.integers(4, size=300)
    loss, grad = kexue.cosent_loss(cosines, labels, return_grad=True)
    assert np.isfinite(loss) and np.isfinite(grad).all()
    ordered = labels[:, None] > labels
    worst = np.max(np.where(ordered, cosines.astype(float) - cosines.astype(float)[:, None], -np.inf))
    assert loss == pytest.approx(20 * worst, rel=4 * EPS[np.dtype(dtype)])
    assert grad.max() == pytest.approx(20) and grad.min() == pytest.approx(-20)


def test_cosent_between_the_forms(rng):
    """Sums below a range of 330, their logarithms above: the loss is one function of the scale."""
    cosines, labels = rng.uniform(-1, 1, 50), rng.integers(5, size=50)
    cosines[:2] = -1, 1
    below, above = (
        kexue.cosent_loss(cosines, labels, scale, return_grad=True) for scale in (165, math.nextafter(165, 200))
    )
    assert below[0] == pytest.approx(above[0], rel=1e-13)
    np.testing.assert_allclose(below[1], above[1], rtol=1e-10, atol=1e-9)


def test_cosent_without_an_ordered_pair(dtype):
    for n in (0, 1, 3, 30, 100):
        for scale in (20, 1e6):
            loss, grad = kexue.cosent_loss(np.linspace(-1, 1, n, dtype=dtype), np.full(n, 3), scale, return_grad=True)
            assert loss == 0 and loss.dtype == dtype
            assert grad.shape == (n,) and not grad.any()


@pytest.mark.parametrize(
    "labels",
    [
        np.exp(np.linspace(-600, 600, 3000)),  # all in a few buckets: the radix sort
        np.arange(3000) * 2.0**-1074,
        np.r_[np.zeros(2999), 1e300],
        np.r_[-1.7e308, np.arange(2998), 1.7e308],
        np.repeat([-0.0, 0.0, 1.0], 1000),
    ],
    ids=["exponential", "subnormal", "outlier", "widest", "zeros"],
)
def test_cosent_of_labels_of_any_spread(labels, rng):
    order = rng.permutation(3000)
    cosines = rng.uniform(-1, 1, 3000)
    ranked = np.unique(labels, return_inverse=True)[1]
    loss, grad = kexue.cosent_loss(cosines, labels[order], return_grad=True)
    expected, expected_grad = kexue.cosent_loss(cosines, ranked[order], return_grad=True)
    assert loss == pytest.approx(expected, rel=1e-13)
    np.testing.assert_allclose(grad, expected_grad, rtol=1e-9, atol=1e-12)


def test_cosent_of_large_integers():
    labels = 2**62 + np.array([0, 1, 2])  # the same float64
    cosines = np.array([0.3, 0.2, 0.1])
    assert kexue.cosent_loss(cosines, labels) == kexue.cosent_loss(cosines, [0, 1, 2]) > 0
    assert kexue.cosent_loss(cosines, labels.astype(np.uint64)) == kexue.cosent_loss(cosines, [0, 1, 2])


def test_cosent_batches(rng):
    cosines, labels = rng.uniform(-1, 1, (3, 4, 50)), rng.integers(5, size=(4, 50))
    loss, grad = kexue.cosent_loss(cosines, labels, return_grad=True)
    assert loss.shape == (3, 4) and grad.shape == (3, 4, 50)
    for i in np.ndindex(3, 4):
        one, one_grad = kexue.cosent_loss(cosines[i], labels[i[1]], return_grad=True)
        assert loss[i] == one
        np.testing.assert_array_equal(grad[i], one_grad)
    moved, moved_grad = kexue.cosent_loss(cosines.transpose(2, 0, 1), labels.T[:, None, :], axis=0, return_grad=True)
    np.testing.assert_array_equal(moved, loss)
    np.testing.assert_array_equal(moved_grad, grad.transpose(2, 0, 1))


def test_cosent_layouts(any_layout, plain, untouched, dtype, rng):
    cosines, labels = any_layout(rng.uniform(-1, 1, (6, 40)).astype(dtype)), any_layout(rng.normal(size=(6, 40)))
    with untouched(cosines, labels):
        loss, grad = kexue.cosent_loss(cosines, labels, return_grad=True)
    expected, expected_grad = kexue.cosent_loss(plain(cosines), plain(labels), return_grad=True)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(grad, expected_grad)
    assert loss.dtype == grad.dtype == plain(cosines).dtype


def test_cosent_workers(workers, rng):
    cosines, labels = rng.uniform(-1, 1, (40, 3000)), rng.integers(5, size=(40, 3000))
    loss, grad = kexue.cosent_loss(cosines, labels, return_grad=True, workers=workers)
    expected, expected_grad = kexue.cosent_loss(cosines, labels, return_grad=True, workers=1)
    np.testing.assert_array_equal(loss, expected)
    np.testing.assert_array_equal(grad, expected_grad)


def test_cosent_refuses():
    with pytest.raises(kexue.KexueValueError, match=r"cos\[1\] is nan"):
        kexue.cosent_loss([0.0, np.nan], [0, 1])
    with pytest.raises(kexue.KexueValueError, match=r"cos\[0, 1\] is inf"):
        kexue.cosent_loss([[0.0, np.inf]], [0, 1])
    with pytest.raises(kexue.KexueValueError, match=r"labels\[0\] is -inf"):
        kexue.cosent_loss([0.0, 0.5], [-np.inf, 1])
    with pytest.raises(kexue.KexueValueError, match=r"shapes that broadcast, got \(3,\) and \(2,\)"):
        kexue.cosent_loss([0.0, 0.5, 1.0], [0, 1])
    for scale in (0, -1, np.inf, np.nan):
        with pytest.raises(kexue.KexueValueError, match="scale must be positive and finite"):
            kexue.cosent_loss([0.0, 0.5], [0, 1], scale)
    with pytest.raises(TypeError, match="scale must be a number"):
        kexue.cosent_loss([0.0, 0.5], [0, 1], [1, 2])
    for scale in ("20", True):
        with pytest.raises(TypeError, match="scale must be a number"):
            kexue.cosent_loss([0.0, 0.5], [0, 1], scale)
    with pytest.raises(TypeError, match="labels is a masked array"):
        kexue.cosent_loss([0.0, 0.5], np.ma.masked_array([0, 1], mask=[0, 1]))
    with pytest.raises(kexue.KexueValueError, match="labels is not an array of one shape"):
        kexue.cosent_loss([0.0, 0.5], [[0], [1, 2]])
    for cosines, scale in (([1e308, -1e308], 20.0), ([1e5, -1e5], 1e305)):
        for return_grad in (False, True):
            with pytest.raises(OverflowError, match="a loss is beyond float64"):
                kexue.cosent_loss(cosines, [0, 1], scale, return_grad=return_grad)
    with pytest.raises(kexue.KexueValueError, match="at least 1 dimension"):
        kexue.cosent_loss(0.5, 1)
    with pytest.raises(kexue.KexueValueError, match="axis 1 is out of bounds"):
        kexue.cosent_loss([0.5], [1], axis=1)


# ---- from embeddings ----


def test_cosent_embedding_loss(dtype, rng):
    U, V = rng.normal(size=(2, 9, 5)).astype(dtype)
    labels = rng.integers(3, size=9)
    loss, (grad_u, grad_v) = kexue.cosent_embedding_loss(U, V, labels, return_grad=True)
    cosines = kexue.cosine_pairs(U, V)
    expected, by_cosines = kexue.cosent_loss(cosines, labels, return_grad=True)
    assert loss == expected == kexue.cosent_embedding_loss(U, V, labels)
    assert grad_u.dtype == grad_v.dtype == dtype
    if dtype == np.float64:
        scale = 1.5
        _, grads = kexue.cosent_embedding_loss(U, V, labels, scale, return_grad=True)
        by_u = differences(lambda x: kexue.cosent_embedding_loss(x, V, labels, scale), U)
        by_v = differences(lambda x: kexue.cosent_embedding_loss(U, x, labels, scale), V)
        np.testing.assert_allclose(grads[0], by_u, rtol=1e-7, atol=1e-8)
        np.testing.assert_allclose(grads[1], by_v, rtol=1e-7, atol=1e-8)


def test_cosent_embedding_loss_refuses():
    with pytest.raises(kexue.KexueValueError, match=r"V\[1, 0\] is nan"):
        kexue.cosent_embedding_loss(np.ones((2, 2)), [[1.0, 1.0], [np.nan, 0.0]], [0, 1])
    with pytest.raises(kexue.KexueValueError, match="one dimension d"):
        kexue.cosent_embedding_loss(np.ones((2, 2)), np.ones((2, 3)), [0, 1])
    with pytest.raises(kexue.KexueValueError, match=r"U must have shape \(\.\.\., n, d\)"):
        kexue.cosent_embedding_loss(np.ones(2), np.ones((2, 3)), [0, 1])


# ---- cosines ----


def test_cosine_values():
    u, v = np.array([1.0, 2, -1]), np.array([0.5, -1, 2])
    assert kexue.cosine_pairs(u, v) == pytest.approx(-0.6236095644623236, rel=1e-15)
    grad_u, _ = kexue.cosine_pairs_vjp(u, v, 1.0)
    np.testing.assert_allclose(grad_u, [0.19302200804786213, 0.029695693545824985, 0.2524133951395119], rtol=1e-14)


@pytest.mark.parametrize("scales", [(1, 1), (1e-7, 1e7), (1e-9, 1), (1e-30, 1e-30), (1e30, 1e-5)])
@pytest.mark.parametrize("n", [1, 3, 8, 17, 100, 1000])
def test_cosine_accuracy(n, scales, dtype, rng):
    u, v = (rng.normal(size=(n,)) * scale for scale in scales)
    u, v = u.astype(dtype), v.astype(dtype)
    exact = float(reference.cosine(u, v))
    bound = EPS[np.dtype(dtype)] * abs(exact) + 4 * 2.0**-52 * (1 + math.log2(n))
    assert abs(float(kexue.cosine_pairs(u, v)) - exact) <= bound


@pytest.mark.parametrize("exponents", [(300, 300), (-307, 250), (300, -300), (-320, -320)])
def test_cosine_of_any_magnitude(exponents, rng):
    u, v = rng.normal(size=(2, 40))
    big, small = u * 10.0 ** exponents[0], v * 10.0 ** exponents[1]
    with np.errstate(all="raise", under="ignore"):
        cosine = kexue.cosine_pairs(big, small)
        unit = kexue.l2_normalize(big)
    assert cosine == pytest.approx(float(reference.cosine(big, small)), rel=1e-13)
    if exponents[0] > 0:
        np.testing.assert_allclose(unit, kexue.l2_normalize(u), rtol=1e-13)
        grad_u, _ = kexue.cosine_pairs_vjp(big, v, 1.0)
        expected, _ = kexue.cosine_pairs_vjp(u, v, 1.0)
        np.testing.assert_allclose(grad_u * 1e150 * 1e150, expected * 1e300 / 10.0 ** exponents[0], rtol=1e-9)


def test_cosines_are_bounded(rng):
    for dtype in (np.float32, np.float64):
        u = rng.normal(size=(2000, 7)).astype(dtype)
        cosines = kexue.cosine_pairs(u, 3 * u)
        assert cosines.max() <= 1 and cosines.min() >= 1 - 4 * EPS[np.dtype(dtype)]
        assert kexue.cosine_pairs(u, -u).min() >= -1


@given(st.data())
def test_cosine_gradients(data):
    n = data.draw(st.integers(2, 9))
    numbers = st.floats(0.1, 2) | st.floats(-2, -0.1)
    u, v, g = (data.draw(hnp.arrays(float, size, elements=numbers)) for size in (n, n, ()))
    grad_u, grad_v = kexue.cosine_pairs_vjp(u, v, g)
    np.testing.assert_allclose(grad_u, differences(lambda x: g * kexue.cosine_pairs(x, v), u), rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(grad_v, differences(lambda x: g * kexue.cosine_pairs(u, x), v), rtol=1e-7, atol=1e-8)
    unit = kexue.l2_normalize(u)
    assert np.linalg.norm(unit) == pytest.approx(1, abs=1e-15)
    grad = kexue.l2_normalize_vjp(u, v)
    np.testing.assert_allclose(grad, differences(lambda x: kexue.l2_normalize(x) @ v, u), rtol=1e-7, atol=1e-8)
    assert abs(grad @ unit) <= 1e-14 * np.linalg.norm(v) / np.linalg.norm(u)


def test_short_vectors(dtype):
    zero, v = np.zeros(3, dtype=dtype), np.array([3, 0, 4], dtype=dtype)
    assert kexue.cosine_pairs(zero, v) == 0
    assert kexue.cosine_pairs(zero, zero) == 0
    grad_u, grad_v = kexue.cosine_pairs_vjp(zero, v, np.ones((), dtype=dtype))
    np.testing.assert_allclose(grad_u, v / 5 * 1e8, rtol=2 * EPS[np.dtype(dtype)])
    assert not grad_v.any()
    assert kexue.cosine_pairs(v * 1e-10, v) == pytest.approx(0.05, rel=1e-6)
    np.testing.assert_array_equal(kexue.l2_normalize(zero), zero)
    np.testing.assert_allclose(kexue.l2_normalize_vjp(zero, v), v * 1e12, rtol=2 * EPS[np.dtype(dtype)])


def test_against_torch(dtype, rng):
    torch = pytest.importorskip("torch")
    u, v = rng.normal(size=(2, 50, 33)).astype(dtype)
    u[0], v[1], u[2] = 0, 0, u[2] * 1e-9
    a, b = torch.tensor(u, requires_grad=True), torch.tensor(v, requires_grad=True)
    cosines = torch.cosine_similarity(a, b)
    grad = rng.normal(size=50).astype(dtype)
    cosines.backward(torch.tensor(grad))
    rtol = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(kexue.cosine_pairs(u, v), cosines.detach(), rtol=rtol, atol=rtol / 10)
    grad_u, grad_v = kexue.cosine_pairs_vjp(u, v, grad)
    # PyTorch's gradient by a short vector is not that of its value, which is linear there.
    np.testing.assert_allclose(grad_u[2], grad[2] * v[2] / np.linalg.norm(v[2]) * 1e8, rtol=1e-5)
    short = np.arange(50) == 2
    np.testing.assert_allclose(grad_u[~short], a.grad[~short], rtol=rtol, atol=rtol / 10)
    np.testing.assert_allclose(grad_v, b.grad, rtol=rtol, atol=rtol / 10)
    np.testing.assert_allclose(
        kexue.l2_normalize(u), torch.nn.functional.normalize(torch.tensor(u)), rtol=rtol, atol=rtol / 10
    )


def test_what_is_not_finite(dtype):
    u = np.ones((3, 20), dtype=dtype)
    u[0, 13], u[1, 13] = np.nan, np.inf
    with np.errstate(all="raise"):
        assert np.isnan(kexue.cosine_pairs(u[0], u[2])) and np.isnan(kexue.l2_normalize(u[0])).all()
    with pytest.warns(RuntimeWarning, match="invalid value encountered in cosine_pairs"):
        assert np.isnan(kexue.cosine_pairs(u[1], u[2]))
    with pytest.warns(RuntimeWarning, match="invalid value encountered in l2_normalize"):
        unit = kexue.l2_normalize(u[1])
    assert np.isnan(unit[13]) and not np.delete(unit, 13).any()


# ---- Spearman ----


@given(st.data())
def test_spearman_against_counting(data):
    n = data.draw(st.integers(2, 60))
    numbers = st.sampled_from([-1.5, -0.0, 0.0, 1.0, 2.0]) | st.floats(-1e300, 1e300)
    x, y = (data.draw(hnp.arrays(float, n, elements=numbers)) for _ in range(2))
    value = kexue.spearman(x, y)
    if np.ptp(reference.ranks(x)) == 0 or np.ptp(reference.ranks(y)) == 0:
        assert np.isnan(value)
        return
    assert value == pytest.approx(reference.spearman(x, y), abs=1e-14)
    assert value == kexue.spearman(y, x) and -1 <= value <= 1
    assert kexue.spearman(x, x) == 1
    assert kexue.spearman(x, -x) == -1


@pytest.mark.parametrize("n", [2, 23, 24, 25, 1000, 70000])
def test_spearman_against_scipy(n, rng):
    for x in (rng.normal(size=n), rng.integers(9, size=n), np.exp(rng.normal(size=n) * 100)):
        y = rng.normal(size=n) + np.argsort(np.argsort(x)) / n
        expected = scipy.stats.spearmanr(x, y).statistic
        np.testing.assert_allclose(kexue.spearman(x, y), expected, rtol=1e-12, atol=1e-14)


def test_spearman_batches(any_layout, plain, untouched, workers, rng):
    x, y = any_layout(rng.normal(size=(4, 30))), any_layout(rng.integers(5, size=(4, 30)).astype(float))
    with untouched(x, y):
        value = kexue.spearman(x, y, workers=workers)
    np.testing.assert_array_equal(value, [kexue.spearman(a, b) for a, b in zip(plain(x), plain(y), strict=True)])
    np.testing.assert_array_equal(kexue.spearman(x.T, y.T, axis=0), value)


def test_spearman_of_little():
    assert np.isnan(kexue.spearman([], [])) and np.isnan(kexue.spearman([1.0], [2.0]))
    assert np.isnan(kexue.spearman([1.0, 1.0], [1.0, 2.0]))
    assert kexue.spearman(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)
    assert kexue.spearman([1.0, 2.0], [5, 7]) == 1
    assert kexue.spearman([True, False], [0.25, 0.5]) == -1


def test_spearman_refuses():
    with pytest.raises(kexue.KexueValueError, match=r"x\[1\] is nan"):
        kexue.spearman([0.0, np.nan], [0, 1])
    with pytest.raises(kexue.KexueValueError, match=r"y\[0\] is inf"):
        kexue.spearman([0.0, 1.0], [np.inf, 1])
    with pytest.raises(kexue.KexueValueError, match=r"x and y must have shapes that broadcast"):
        kexue.spearman([0.0, 1.0], [0.0, 1.0, 2.0])


def test_the_reference_has_digits():
    with mpmath.workdps(40):
        assert abs(reference.cosine([3, 4], [4, 3]) - mpmath.mpf(24) / 25) < mpmath.mpf(10) ** -38
