"""fgm_perturbation, vat_perturbation and vat_loss: reference values, mpmath, power iteration by hand, arguments."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from kexue import fgm_perturbation, vat_loss, vat_perturbation

W = np.array([[0.5, -0.3, 0.8], [-0.2, 0.4, 0.1], [0.3, 0.7, -0.6]])
B = np.array([0.1, -0.2, 0.05])
X = np.array([0.4, -0.6, 0.2])
TOP = np.array([0.22340161438292264, -0.5911417022014209, 0.7750117461106703])


def logits(x):
    return x @ W.T + B


def divergence_gradient(x_perturbed):
    return vat_loss(logits(X), logits(x_perturbed), return_grad=True)[1] @ W


# ---- FGM ----


def test_fgm_reference():
    f = kexue.softmax(logits(X))
    g = (f - [1, 0, 0]) @ W
    np.testing.assert_allclose(g, [-0.17619383347714881, 0.34921557254544444, -0.43572644207959227], rtol=1e-14)
    assert abs(-np.log(f[0]) - 0.5211944817103138) < 1e-15
    loss = -kexue.log_softmax(logits(X + fgm_perturbation(g, 1.0)))[0]
    assert abs(loss - 1.3861886368379424) < 2e-15


def test_fgm_axes(rng, dtype):
    g = rng.normal(size=(4, 3, 5)).astype(dtype)
    rtol = 1e-6 if dtype == np.float32 else 1e-14
    for axis in (-1, 0, (1, 2), (-1, 0), None, ()):
        found = fgm_perturbation(g, 0.7, axis=axis)
        axes = tuple(range(3)) if axis is None else axis
        norm = np.sqrt((g.astype(float) ** 2).sum(axis=axes, keepdims=True))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, 0.7 * g / norm, rtol=rtol)
    lengths = rng.normal(size=(4, 1, 1))
    found = fgm_perturbation(g, lengths, axis=(1, 2))
    np.testing.assert_allclose(np.linalg.norm(found, axis=(1, 2)), abs(lengths[:, 0, 0]), rtol=rtol)
    assert (np.sign(found * g) == np.sign(lengths)).all()
    np.testing.assert_array_equal(fgm_perturbation(np.float64(-3.0), axis=None), -1.0)


def test_fgm_of_nothing():
    assert fgm_perturbation(np.empty((0, 3))).shape == (0, 3)
    assert fgm_perturbation(np.empty((3, 0))).shape == (3, 0)
    np.testing.assert_array_equal(fgm_perturbation([[0.0, 0.0], [0.0, -2.0]], 3), [[0, 0], [0, -3]])
    np.testing.assert_array_equal(fgm_perturbation([1.0, 2.0], 0.0), [0, 0])


@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-159, 1e-30, 1e30, 1e200, 1e307])
def test_fgm_neither_overflows_nor_underflows(scale):
    g = np.array([[3.0, -4.0], [0.3, 0.4]])
    expected = [[0.6, -0.8], [0.6, 0.8]]
    rtol = 2e-3 if scale == 1e-320 else 1e-14
    np.testing.assert_allclose(fgm_perturbation(scale * g), expected, rtol=rtol)
    np.testing.assert_allclose(fgm_perturbation(np.array([g[0], scale * g[1]])), expected, rtol=rtol)
    # The length may be as far off.
    np.testing.assert_allclose(
        fgm_perturbation(1e-150 * g, min(scale, 1e200)), np.multiply(min(scale, 1e200), expected)
    )


@pytest.mark.parametrize("scale", [1e-42, 1e-30, 1e-10, 1e10, 1e30, 5e37])
def test_fgm_float32_range(scale):
    g = np.array([[3.0, -4.0], [0.3, 0.4]], dtype=np.float32) * np.float32(scale)
    rtol = 2e-2 if scale == 1e-42 else 1e-6
    np.testing.assert_allclose(fgm_perturbation(g), [[0.6, -0.8], [0.6, 0.8]], rtol=rtol)
    np.testing.assert_allclose(fgm_perturbation(g, 1e-30)[0], [0.6e-30, -0.8e-30], rtol=rtol)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 5)), elements=st.floats(-1e300, 1e300)),
    st.floats(1e-3, 1e3),
)
def test_fgm_has_its_length_and_direction(g, epsilon):
    found = fgm_perturbation(g, epsilon)
    is_zero = (g == 0).all(axis=1)
    assert (found[is_zero] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(found[~is_zero], axis=1), epsilon, rtol=1e-13)
    assert (found * np.sign(g) >= 0).all()


def test_fgm_out(rng):
    g = rng.normal(size=(3, 4))
    expected, out = fgm_perturbation(g), np.empty((3, 4))
    assert fgm_perturbation(g, out=out) is out
    np.testing.assert_array_equal(out, expected)
    fgm_perturbation(g, out=g)
    np.testing.assert_array_equal(g, expected)
    with pytest.raises(kexue.KexueValueError, match=r"out has shape \(.*\), but the result has shape \(3, 4\)"):
        fgm_perturbation(g, out=np.empty((4, 3)))
    with pytest.raises(TypeError, match="out must be an array of dtype float64"):
        fgm_perturbation(g, out=np.empty((3, 4), dtype=np.float32))
    with pytest.raises(TypeError, match="out must be an array of dtype float64, not list"):
        fgm_perturbation(g, out=[])
    g.flags.writeable = False
    with pytest.raises(kexue.KexueValueError, match="out is read-only"):
        fgm_perturbation(g, out=g)


def test_fgm_layouts(any_layout, plain, untouched, rng):
    g = any_layout(rng.normal(size=(5, 4)))
    with untouched(g):
        found = fgm_perturbation(g)
    expected = plain(g) / np.linalg.norm(plain(g), axis=-1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-6 if found.dtype == np.float32 else 1e-14)


@pytest.mark.parametrize(
    ("g", "options", "message"),
    [
        ([1.0, np.nan], {}, r"g\[1\] is nan"),
        ([[1.0, 0.0], [np.inf, 0.0]], {}, r"g\[1, 0\] is inf"),
        ([1.0], {"epsilon": np.inf}, "epsilon is inf"),
        (np.ones((2, 3)), {"epsilon": np.ones(3)}, r"epsilon must be a number or broadcast to \(2, 1\)"),
        (np.ones((2, 3)), {"epsilon": np.ones((4, 2, 1))}, "epsilon must be a number or broadcast"),
        (np.ones((2, 3)), {"axis": 2}, "axis 2 is out of bounds for g"),
        (np.ones((2, 3)), {"axis": (0, -2)}, "axis must not name an axis twice"),
        (1.0, {}, "axis -1 is out of bounds"),
    ],
)
def test_fgm_bad_values(g, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        fgm_perturbation(g, **options)


# ---- VAT's direction ----


def test_vat_reference():
    expected = {1: 0.99315, 2: 0.999939, 3: 0.99999941, 4: 0.9999999883}
    for count, cosine in expected.items():
        u = vat_perturbation(divergence_gradient, X, xi=1e-3, iterations=count, start=np.ones(3))
        digits = len(str(cosine)) - 2
        assert abs(abs(u @ TOP) - cosine) <= 0.5 * 10.0**-digits * 1.01
        far = vat_perturbation(divergence_gradient, X, xi=10, iterations=count, start=np.ones(3))
        assert count == 1 or abs(abs(far @ TOP) - 0.9965) < 1e-4  # saturates
    u = vat_perturbation(divergence_gradient, X, xi=1e-6, epsilon=0.5, iterations=30, rng=0)
    np.testing.assert_allclose(u * np.sign(u @ TOP), 0.5 * TOP, rtol=1e-6)


def test_vat_loss_of_both_signs():
    losses = sorted(vat_loss(logits(X), logits(X + sign * 0.5 * TOP)) for sign in (1, -1))
    np.testing.assert_allclose(losses, [0.06128715176754104, 0.07038290403544233], rtol=1e-13)
    assert losses[0] < 0.06689025963651703 < losses[1]  # the quadratic value
    # The odd terms of both cancel to the order of epsilon^4.
    for epsilon in (1e-2, 1e-3):
        both = [vat_loss(logits(X), logits(X + sign * epsilon * TOP)) for sign in (1, -1)]
        assert abs(np.mean(both) / (0.5 * epsilon**2 * 0.5351220770921362) - 1) < epsilon**2


def test_vat_is_power_iteration(rng, dtype):
    """Of quadratic divergences, one for each sample, exactly; also with several axes a sample."""
    A = rng.normal(size=(6, 4, 4))
    H = A @ A.swapaxes(1, 2)
    x, start = rng.normal(size=(2, 6, 4)).astype(dtype)

    def grad(x_perturbed):
        assert x_perturbed.dtype == dtype and x_perturbed.shape == x.shape
        return np.einsum("nij,nj->ni", H, x_perturbed - x)

    u = start / np.linalg.norm(start, axis=1, keepdims=True)
    for _ in range(3):
        u = np.einsum("nij,nj->ni", H, u)
        u /= np.linalg.norm(u, axis=1, keepdims=True)
    found = vat_perturbation(grad, x, start=start, iterations=3, epsilon=2.0)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, 2 * u, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-11)

    def flat_grad(x_perturbed):
        return grad(x_perturbed.reshape(6, 4)).reshape(6, 2, 2)

    found_axes = vat_perturbation(
        flat_grad, x.reshape(6, 2, 2), start=start.reshape(6, 2, 2), iterations=3, epsilon=2.0, axis=(1, 2)
    )
    np.testing.assert_array_equal(found_axes.reshape(6, 4), found)


def test_vat_without_iterations_is_noise_of_the_length():
    def never(x):
        raise AssertionError

    found = vat_perturbation(never, np.zeros((500, 3)), iterations=0, epsilon=0.1, rng=3)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 0.1, rtol=1e-14)
    # The mean of 500 directions in 3 dimensions has entries of variance 1 / 1500: six of these, 6e-9 of false alarms.
    assert abs(found.mean(axis=0) / 0.1).max() < 6 / np.sqrt(1500)
    again = vat_perturbation(never, np.zeros((500, 3)), iterations=0, epsilon=0.1, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(found, again)


def test_vat_keeps_directions_where_the_gradient_is_zero():
    def grad(x):
        g = np.zeros_like(x)
        g[1] = [0.0, 3.0]
        return g

    found = vat_perturbation(grad, np.zeros((2, 2)), start=[[3.0, 4.0], [1.0, 0.0]], iterations=2)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 1.0]], rtol=1e-15)
    # Gradients so small that their squares underflow are none of 0.
    found = vat_perturbation(lambda x: 1e-200 * np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros((2, 2)), rng=0)
    np.testing.assert_allclose(found, np.eye(2), rtol=1e-15)


def test_vat_default_step():
    steps = {}
    for dtype in (np.float32, np.float64):

        def grad(x, dtype=dtype):
            steps[dtype] = np.linalg.norm(x)
            return x

        vat_perturbation(grad, np.zeros(4, dtype=dtype), rng=0)
    np.testing.assert_allclose([steps[np.float32], steps[np.float64]], [0.1, 1e-3], rtol=1e-6)


GRAD = divergence_gradient


@pytest.mark.parametrize(
    ("grad", "x", "options", "message"),
    [
        (GRAD, [1.0, np.nan, 0.0], {}, r"x\[1\] is nan"),
        (GRAD, X, {"xi": 0.0}, "xi must be positive"),
        (GRAD, X, {"xi": np.nan}, "xi must be finite"),
        (GRAD, X, {"epsilon": np.inf}, "epsilon must be finite"),
        (GRAD, X, {"iterations": -1}, "iterations must be at least 0"),
        (GRAD, X, {"start": np.ones(2)}, r"start must have the shape of x, \(3,\)"),
        (GRAD, X, {"start": np.zeros(3)}, "start must not be 0"),
        (GRAD, X, {"start": [np.inf, 0, 0]}, r"start\[0\] is inf"),
        (GRAD, X, {"axis": 1}, "axis 1 is out of bounds for x"),
        (lambda x: x[:2], X, {}, r"grad\(x\) must have the shape of x, \(3,\), but it has \(2,\)"),
        (lambda x: x * np.nan, X, {}, r"grad\(x\)\[0\] is nan"),
    ],
)
def test_vat_bad_values(grad, x, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        vat_perturbation(grad, x, **options)


def test_vat_bad_types():
    with pytest.raises(TypeError, match="grad must be callable"):
        vat_perturbation(X, X)
    with pytest.raises(TypeError, match="xi must be a number"):
        vat_perturbation(GRAD, X, xi="1")
    with pytest.raises(TypeError, match=r"grad\(x\) must hold real numbers"):
        vat_perturbation(lambda x: x + 0j, X)
    with pytest.raises(TypeError, match="iterations must be an integer"):
        vat_perturbation(GRAD, X, iterations=1.5)

    def fail(x):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        vat_perturbation(fail, X)


# ---- the divergence ----


def exact(a, b):
    """KL and softmax(b) - softmax(a), with 420 digits."""
    with mpmath.workdps(420):
        a, b = ([mpmath.mpf(float(v)) for v in row] for row in (a, b))
        p, q = [mpmath.exp(v) for v in a], [mpmath.exp(v) for v in b]
        p, q = [v / sum(p) for v in p], [v / sum(q) for v in q]
        terms = [u * mpmath.log(u / v) for u, v in zip(p, q, strict=True) if u]
        return sum(terms), [v - u for u, v in zip(p, q, strict=True)]


@pytest.mark.parametrize("change", [1e-12, 1e-8, 1e-4, 1e-2, 1.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 100.0])
def test_vat_loss_against_mpmath(scale, change, rng):
    for _ in range(5):
        a = scale * rng.normal(size=6)
        b = a + change * rng.normal(size=6)
        loss, grad = vat_loss(a, b, return_grad=True)
        expected, slopes = exact(a, b)
        assert expected < 1e-280 or abs(loss / expected - 1) < 1e-12
        assert all(abs(v) < 1e-280 or abs(u / v - 1) < 1e-12 for u, v in zip(grad, slopes, strict=True))


@pytest.mark.parametrize("change", [1e-10, 1e-3, 1.0, 30.0])
@pytest.mark.parametrize("scale", [1.0, 10.0, 100.0])
def test_vat_loss_beside_impossible_classes(scale, change, rng):
    a = scale * rng.normal(size=(30, 6))
    b = a + change * rng.normal(size=(30, 6))
    expected, slopes = vat_loss(a, b, return_grad=True)
    never = np.full((30, 1), -np.inf)
    found, grad = vat_loss(np.hstack([a, never]), np.hstack([b, never]), return_grad=True)
    np.testing.assert_allclose(found, expected, rtol=2e-12)
    np.testing.assert_allclose(grad[:, :-1], slopes, rtol=1e-11)
    assert (grad[:, -1] == 0).all()


def test_rows_of_a_batch_keep_their_digits(rng):
    a = rng.normal(size=(40, 7))
    b = a + np.logspace(-12, 2, 40)[:, None] * rng.normal(size=(40, 7))
    loss, grad = vat_loss(a, b, return_grad=True)
    for row in range(40):
        one, slope = vat_loss(a[row], b[row], return_grad=True)
        np.testing.assert_allclose(loss[row], one, rtol=1e-12)
        np.testing.assert_allclose(grad[row], slope, rtol=1e-11)


def test_vat_loss_of_nearly_equal_probabilities(rng):
    p = rng.dirichlet(np.ones(7), size=20)
    for change in (1e-9, 1e-3, 0.3):
        q = p * (1 + change * rng.uniform(-1, 1, size=p.shape))
        found, grads = vat_loss(p, q, kind="probabilities", return_grad=True)
        for row in range(len(p)):
            with mpmath.workdps(50):
                u, v = ([mpmath.mpf(x) for x in array[row]] for array in (p, q))
                s = sum(v)
                u, v = [x / sum(u) for x in u], [x / s for x in v]
                expected = sum(x * mpmath.log(x / y) for x, y in zip(u, v, strict=True))
                slopes = [(1 - x / y) / s for x, y in zip(u, v, strict=True)]
            # p may not sum to 1 by an eps, which moves ratios.
            assert abs(found[row] / expected - 1) < 1e-15 / change + 1e-13
            np.testing.assert_allclose(grads[row], [float(x) for x in slopes], rtol=1e-12, atol=1e-15)
    # As a divergence of logits, where both are close.
    np.testing.assert_allclose(found, vat_loss(np.log(p), np.log(q)), rtol=1e-12)


@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_vat_loss_gradient_by_differences(kind, rng):
    a, b = rng.uniform(0.1, 1.0, size=(2, 4, 5))
    _, grad = vat_loss(a, b, kind=kind, return_grad=True)
    for place in np.ndindex(b.shape):
        step = np.zeros_like(b)
        step[place] = 1e-5
        slope = (vat_loss(a, b + step, kind=kind) - vat_loss(a, b - step, kind=kind))[place[0]] / 2e-5
        assert abs(slope - grad[place]) < 1e-7 * max(1, abs(slope))


@given(
    hnp.arrays(np.float64, (2, 5), elements=st.floats(-1e3, 1e3)),
    st.floats(-1e6, 1e6),
)
def test_vat_loss_is_a_divergence(pair, shift):
    a, b = pair
    loss, grad = vat_loss(a, b, return_grad=True)
    assert loss >= 0 and np.isfinite(grad).all() and abs(grad.sum()) < 1e-12
    assert vat_loss(a, a) < 1e-320  # what is left of classes that underflow
    np.testing.assert_allclose(vat_loss(a, b + shift), loss, rtol=1e-6, atol=1e-8)


def test_vat_loss_at_the_limits():
    inf = np.inf
    cases = [
        ([0.0, -inf], [0.0, -inf], 0.0, [0.0, 0.0]),
        ([0.0, -inf], [0.0, 0.0], np.log(2), [-0.5, 0.5]),
        ([0.0, 0.0], [0.0, -inf], inf, [0.5, -0.5]),
        ([-1000.0, 0.0], [-inf, 0.0], inf, [0.0, 0.0]),
        ([0.0, -2000.0], [0.0, 5000.0], 5000.0, [-1.0, 1.0]),
        ([0.0, -1000.0], [0.0, 0.0], np.log(2), [-0.5, 0.5]),
        ([1e308, -1e308], [1e308, -1e308], 0.0, [0.0, 0.0]),
        ([1e308, -1e308], [-1e308, 1e308], inf, [-1.0, 1.0]),
        ([1e308, 1e308], [-1e308, -1e308], 0.0, [0.0, 0.0]),
    ]
    for a, b, expected, slope in cases:
        loss, grad = vat_loss(a, b, return_grad=True)
        np.testing.assert_allclose(loss, expected, rtol=1e-15)
        np.testing.assert_allclose(grad, slope, rtol=1e-15)
    # Rows do not disturb each other.
    both = [np.array([case[i] for case in cases]) for i in range(4)]
    loss, grad = vat_loss(both[0], both[1], return_grad=True)
    np.testing.assert_allclose(loss, both[2], rtol=1e-15)
    np.testing.assert_allclose(grad, both[3], rtol=1e-15)
    loss, grad = vat_loss(
        [[1, 0], [0.5, 0.5], [1, 0]], [[1, 0], [0, 1], [0.5, 0.5]], kind="probabilities", return_grad=True
    )
    np.testing.assert_allclose(loss, [0, inf, np.log(2)])
    np.testing.assert_allclose(grad, [[0, 1], [-inf, 0.5], [-1, 1]])


def test_vat_loss_shapes_and_types(rng, dtype):
    a, b = rng.normal(size=(4, 3, 5)).astype(dtype), rng.normal(size=(3, 5)).astype(dtype)
    loss, grad = vat_loss(a, b, return_grad=True)
    assert loss.shape == (4, 3) and grad.shape == (4, 3, 5) and loss.dtype == grad.dtype == dtype
    p, q = kexue.softmax(a.astype(float)), kexue.softmax(b.astype(float))
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(loss, (p * np.log(p / q)).sum(axis=-1), rtol=rtol)
    moved, moved_grad = vat_loss(np.moveaxis(a, -1, 0), np.moveaxis(b, -1, 0)[:, None], axis=0, return_grad=True)
    np.testing.assert_array_equal(moved, loss)
    np.testing.assert_array_equal(moved_grad, np.moveaxis(grad, -1, 0))
    assert vat_loss(a[:0], b).shape == (0, 3)
    assert np.shape(vat_loss(a[0, 0], b[0])) == ()


def test_vat_loss_layouts(any_layout, plain, untouched, rng):
    a = any_layout(rng.normal(size=(5, 4)))
    b = np.zeros(a.shape)
    with untouched(a, b):
        found = vat_loss(a, b)
    np.testing.assert_allclose(found, vat_loss(plain(a).astype(float), b), rtol=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "options", "message"),
    [
        ([0.0, np.nan], [0.0, 0.0], {}, r"clean\[1\] is nan"),
        ([0.0, 0.0], [0.0, np.inf], {}, r"perturbed\[1\] is inf"),
        ([0.0, 0.0], [-np.inf, -np.inf], {}, "perturbed has a distribution without a possible class"),
        ([0.0, 0.0], [1.0, 0.0], {"kind": "probabilities"}, "clean has a distribution without"),
        ([1.0, 0.0], [1.0, -0.5], {"kind": "probabilities"}, r"perturbed\[1\] is -0.5, no probability"),
        ([0.0, 0.0], [0.0, 0.0, 0.0], {}, "clean and perturbed must have shapes that broadcast"),
        (np.ones((2, 0)), np.ones((2, 0)), {}, "clean must have a class"),
        ([0.0], [0.0], {"kind": "scores"}, "kind must be"),
        ([0.0], [0.0], {"axis": 1}, "axis 1 is out of bounds"),
    ],
)
def test_vat_loss_bad_values(a, b, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        vat_loss(a, b, **options)


def test_against_torch(rng):
    torch = pytest.importorskip("torch")
    weights = rng.normal(size=(8, 5))
    x, start = rng.normal(size=(2, 6, 5))
    model = torch.nn.Linear(5, 8).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor(weights))
    clean = model(torch.tensor(x)).detach()

    def divergence(points):
        log_q = torch.log_softmax(model(points), dim=-1)
        return torch.nn.functional.kl_div(log_q, torch.log_softmax(clean, dim=-1), reduction="sum", log_target=True)

    def grad(points):
        leaf = torch.tensor(points, requires_grad=True)
        return torch.autograd.grad(divergence(leaf), leaf)[0]

    def by_hand(points):
        z = points @ weights.T + model.bias.detach().numpy()
        return vat_loss(clean.numpy(), z, return_grad=True)[1] @ weights

    found, ours = (vat_perturbation(g, x, start=start, iterations=2) for g in (grad, by_hand))
    np.testing.assert_allclose(found, ours, rtol=0, atol=1e-9)
    total = vat_loss(clean.numpy(), model(torch.tensor(x + found)).detach().numpy()).sum()
    np.testing.assert_allclose(total, float(divergence(torch.tensor(x + found)).detach()), rtol=1e-11)
