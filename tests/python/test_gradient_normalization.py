"""Normalisation by the gradient, its gradient, penalties, clipped weights and spectral norms."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import _gradient_normalization

MODES = ["gn", "gran", "plain"]


def formula(f, n, mode, eps):
    """In long double, where nothing of float64 overflows."""
    f, n = np.asarray(f, dtype=np.longdouble), np.asarray(n, dtype=np.longdouble)
    if mode == "gn":
        total = n + abs(f)
        return np.divide(f, total, out=np.zeros_like(total), where=total != 0)
    return f * n / (n * n + np.longdouble(eps)) if mode == "gran" else f / (n + np.longdouble(eps))


class Bowl:
    """D(x) = sin(a.x) + x^T A x / 2 + c, with its gradient and Hessian."""

    def __init__(self, rng, d):
        self.a, A = rng.normal(size=d), rng.normal(size=(d, d))
        self.A, self.c = (A + A.T) / 2, rng.normal()

    def value(self, x):
        return np.sin(x @ self.a) + np.einsum("...i,ij,...j->...", x, self.A, x) / 2 + self.c

    def gradient(self, x):
        return np.cos(x @ self.a)[..., None] * self.a + x @ self.A

    def hessian_times(self, x, g):
        return -(np.sin(x @ self.a) * (g @ self.a))[..., None] * self.a + g @ self.A

    def normalized(self, x, mode, eps):
        return kexue.gradient_normalize(self.value(x), np.linalg.norm(self.gradient(x), axis=-1), mode, eps=eps)


# ---- values ----


def test_values_of_methods():
    g = np.array([3.0, 4.0])  # D(x) = 3 x_1 + 4 x_2 - 1 at (1, 2)
    assert kexue.gradient_normalize(10, 5) == 2 / 3
    np.testing.assert_allclose(np.linalg.norm(kexue.gn_input_gradient(10.0, g)), 1 / 9, rtol=1e-15)
    np.testing.assert_allclose(kexue.gradient_normalize(10, 5, "gran", eps=1), 1.9230769230769231, rtol=1e-15)
    np.testing.assert_allclose(
        np.linalg.norm(kexue.gn_input_gradient(10.0, g, mode="gran", eps=1)), 25 / 26, rtol=1e-15
    )
    assert kexue.gradient_normalize(10, 5, "plain", eps=1) == 10 / 6


@pytest.mark.parametrize("mode", MODES)
def test_values_of_any_size(mode, rng):
    f = rng.normal(size=4000) * 10.0 ** rng.integers(-300, 300, size=4000)
    n = np.abs(rng.normal(size=4000)) * 10.0 ** rng.integers(-300, 300, size=4000)
    for eps in (1e-8, 1.0, 1e6):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = kexue.gradient_normalize(f, n, mode, eps=eps)
        expected = formula(f, n, mode, eps)
        fits = np.abs(expected) < np.finfo(np.float64).max
        error = np.abs(result[fits] - expected[fits])
        assert (error <= 1e-15 * np.abs(expected[fits]) + 1e-300).all()
        assert np.isinf(result[~fits]).all()


@given(st.floats(allow_nan=False), st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_gn_is_a_share(f, n):
    result = kexue.gradient_normalize(f, n)
    assert abs(result) <= 1
    assert result == 0 or np.sign(result) == np.sign(f)


def test_gn_of_thousands_is_at_most_one(rng, dtype):
    f, n = rng.standard_cauchy(size=(2, 20000)).astype(dtype)
    result = kexue.gradient_normalize(f, np.abs(n))
    assert result.dtype == dtype
    assert np.abs(result).max() <= 1


def test_ends():
    f = [0.0, 2.0, -2.0, 0.0, np.inf, 3.0, -np.inf, np.inf, np.nan, 1.0]
    n = [0.0, 0.0, 0.0, 2.0, 1.0, np.inf, 0.0, np.inf, 1.0, np.nan]
    expected = [0, 1, -1, 0, 1, 0, -1, np.nan, np.nan, np.nan]
    np.testing.assert_array_equal(kexue.gradient_normalize(f, n), expected)
    np.testing.assert_array_equal(kexue.gradient_normalize([1.0, 2.0], [0.0, np.inf], "gran"), [0, 0])
    np.testing.assert_array_equal(kexue.gradient_normalize([1.0, 2.0], [0.0, np.inf], "plain", eps=0.5), [2, 0])


@pytest.mark.parametrize("mode", MODES)
def test_dtypes_shapes_and_layouts(mode, any_layout, plain, untouched, dtype, rng):
    f = any_layout(rng.normal(size=(5, 7)).astype(dtype))
    n = np.abs(plain(f)) + 1
    with untouched(f):
        result = kexue.gradient_normalize(f, n, mode)
        gradient = kexue.gn_input_gradient(n, f[..., None], mode=mode)
    assert result.dtype == (np.float32 if np.asarray(f).dtype.itemsize < 8 else dtype)
    np.testing.assert_array_equal(result, kexue.gradient_normalize(plain(f), n, mode))
    np.testing.assert_array_equal(gradient, kexue.gn_input_gradient(n, plain(f)[..., None], mode=mode))
    assert kexue.gradient_normalize(np.ones((4, 1)), np.ones(3), mode).shape == (4, 3)


# ---- the gradient by the input ----


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("d", [1, 3, 8])
def test_input_gradient_is_a_derivative(mode, d, rng):
    bowl, eps, step = Bowl(rng, d), 0.3, 1e-5
    x = rng.normal(size=(200, d))
    g = bowl.gradient(x)
    result = kexue.gn_input_gradient(bowl.value(x), g, bowl.hessian_times(x, g), mode, eps=eps)
    smooth = (np.linalg.norm(g, axis=1) > 0.1) & (np.abs(bowl.value(x)) > 0.01)
    assert smooth.sum() > 100
    for i in range(d):
        # Richardson: the error is of the order step^4
        ends = [bowl.normalized(x + k * step * np.eye(d)[i], mode, eps) for k in (-2, -1, 1, 2)]
        slope = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * step)
        np.testing.assert_allclose(result[smooth, i], slope[smooth], rtol=1e-7, atol=1e-7)


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_piecewise_linear_has_a_gradient_of_at_most_one(seed, d):
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(200, d)) * 10.0 ** rng.integers(-9, 9, size=(200, 1))
    f, n = rng.standard_cauchy(size=200), np.linalg.norm(g, axis=1)
    for mode, eps in [("gn", 1.0), ("gran", 1e-8), ("gran", 5.0)]:
        norms = np.linalg.norm(kexue.gn_input_gradient(f, g, mode=mode, eps=eps), axis=1)
        assert norms.max() <= 1 + 4e-16
        exact = n**2 / ((n + np.abs(f)) ** 2 if mode == "gn" else n**2 + eps)
        np.testing.assert_allclose(norms, exact, rtol=1e-14)


@pytest.mark.parametrize("mode", MODES)
def test_where_the_gradient_vanishes(mode):
    result = kexue.gn_input_gradient([0.0, 2.0], np.zeros((2, 3)), np.ones((2, 3)), mode)
    np.testing.assert_array_equal(result, np.zeros((2, 3)))


@pytest.mark.parametrize("mode", MODES)
def test_input_gradient_of_any_size(mode):
    f, unit = 2.0, np.array([0.6, -0.8])
    for size in (1e-200, 1e-3, 1.0, 1e200, 8e307):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            result = kexue.gn_input_gradient(f * size, size * unit, mode=mode, eps=1e-8)
        n = np.longdouble(size)
        factor = {"gn": 1 / np.longdouble(9), "gran": n * n / (n * n + 1e-8), "plain": n / (n + 1e-8)}[mode]
        np.testing.assert_allclose(result, (factor * unit).astype(np.float64), rtol=1e-14, atol=1e-300)
    assert kexue.gn_input_gradient(np.float32(1), np.ones(3, np.float32), mode=mode).dtype == np.float32
    assert kexue.gn_input_gradient(np.ones((4, 1)), np.ones((5, 3)), np.ones(3), mode=mode).shape == (4, 5, 3)


@pytest.mark.parametrize("mode", MODES)
def test_input_gradient_of_numbers_of_all_sizes(mode, rng):
    """Nothing but the result overflows or underflows, be the Hessian as it may."""
    count = 4000
    f, n = (rng.normal(size=count) * 10.0 ** rng.integers(-300, 300, size=count) for _ in range(2))
    Hg = rng.normal(size=(count, 3)) * 10.0 ** rng.integers(-300, 300, size=(count, 1))
    Hg[::7, 0] = 0
    g, unit = n[:, None] * np.array([0.6, 0.0, -0.8]), np.array([0.6, 0.0, -0.8])
    for eps in (1e-8, 1e5):
        result = kexue.gn_input_gradient(f, g, Hg, mode, eps=eps)
        value, norm, curved = (np.asarray(x, dtype=np.longdouble) for x in (f[:, None], np.abs(n)[:, None], Hg))
        along = np.sign(n)[:, None] * unit
        if mode == "gn":
            total = norm + np.abs(value)
            parts = along * (norm / total) ** 2, -value / total * curved / norm / total
        elif mode == "gran":
            total = norm**2 + np.longdouble(eps)
            parts = along * norm**2 / total, value * (eps - norm**2) / total**2 * curved / norm
        else:
            total = norm + np.longdouble(eps)
            parts = along * norm / total, -value / total**2 * curved / norm
        expected = parts[0] + parts[1]
        sizes = np.abs(parts[0]) + np.abs(parts[1])
        fits = sizes < 1e308
        assert fits.sum() > count
        assert not np.isnan(result).any()
        assert (np.abs(result - expected) <= 1e-14 * sizes + 1e-307)[fits].all()


def test_input_gradient_at_infinite_values():
    result = kexue.gn_input_gradient([np.inf, -np.inf, np.nan], [3.0, 4.0], [1.0, 0.0])
    np.testing.assert_array_equal(result, [[0, 0], [0, 0], [np.nan, np.nan]])


# ---- penalties and clipping ----


def test_gradient_penalty(rng, dtype):
    n = np.abs(rng.normal(size=100)).astype(dtype)
    loss, grad = kexue.gradient_penalty(n, return_grad=True)
    assert loss.dtype == grad.dtype == dtype
    np.testing.assert_array_equal(loss, (n - dtype.type(1)) ** 2)
    np.testing.assert_array_equal(grad, 2 * (n - dtype.type(1)))
    one_sided, slope = kexue.gradient_penalty(n, 0.5, one_sided=True, return_grad=True)
    np.testing.assert_allclose(one_sided, np.maximum(n - 0.5, 0) ** 2, rtol=1e-6)
    assert (slope[n <= 0.5] == 0).all()
    assert kexue.gradient_penalty(3.0) == 4


def test_clip_weights(any_layout, plain, untouched, dtype, rng):
    w = any_layout(rng.normal(size=(4, 6)).astype(dtype))
    with untouched(w):
        result = kexue.clip_weights(w, 0.5)
    assert result.dtype == plain(w).dtype
    np.testing.assert_array_equal(result, np.clip(plain(w), -0.5, 0.5))


def test_clip_weights_in_place():
    parts = [np.array([-2.0, np.nan, 0.25]), np.array([[np.inf, -np.inf]], dtype=np.float32)]
    result = kexue.clip_weights(parts, 0.5, out=parts)
    assert all(a is b for a, b in zip(result, parts, strict=True))
    np.testing.assert_array_equal(parts[0], [-0.5, np.nan, 0.25])
    np.testing.assert_array_equal(parts[1], np.array([[0.5, -0.5]], dtype=np.float32))
    np.testing.assert_array_equal(kexue.clip_weights([-np.inf, 1e300, np.inf], np.inf), [-np.inf, 1e300, np.inf])


# ---- spectral norms ----

SHAPES = [(1, 1), (5, 1), (1, 5), (20, 300), (33, 33), (100, 40), (40, 100), (200, 200)]
SHAPES += [(100, 140), (140, 100), (3, 50, 60), (5, 50, 60), (2, 3, 60, 55), (2, 3, 40, 35)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_spectral_norm_is_that_of_svd(shape, dtype, rng):
    W = rng.normal(size=shape).astype(dtype)
    result = kexue.spectral_norm(W, rng=1)
    sigma, u, v = result
    eps = np.finfo(dtype).eps
    assert isinstance(result, kexue.SpectralNorm)
    assert sigma.dtype == u.dtype == v.dtype == dtype
    assert (sigma.shape, u.shape, v.shape) == (shape[:-2], shape[:-1], (*shape[:-2], shape[-1]))
    np.testing.assert_allclose(sigma, np.linalg.norm(W.astype(np.float64), 2, axis=(-2, -1)), rtol=60 * eps)
    np.testing.assert_allclose(np.linalg.norm(u, axis=-1), 1, rtol=8 * eps)
    np.testing.assert_allclose(np.linalg.norm(v, axis=-1), 1, rtol=8 * eps)
    tol = 1e-10 if dtype == np.float64 else 2e-5
    image = np.matmul(W, v[..., None])[..., 0] - sigma[..., None] * u
    back = np.matmul(W.swapaxes(-2, -1), u[..., None])[..., 0] - sigma[..., None] * v
    assert (np.linalg.norm(image, axis=-1) <= 2 * tol * sigma).all()
    assert (np.linalg.norm(back, axis=-1) <= 2 * tol * sigma).all()
    assert (result.residual <= tol * sigma).all()


@pytest.mark.parametrize("layout_shape", [(40, 50), (60, 35), (100, 110)], ids=str)
def test_spectral_norm_layouts(layout_shape, any_layout, plain, untouched, dtype, rng):
    W = any_layout(rng.normal(size=layout_shape).astype(dtype))
    if W.size == 0:
        with pytest.raises(kexue.KexueValueError, match="W must hold matrices that are not empty"):
            kexue.spectral_norm(W)
        return
    with untouched(W):
        result = kexue.spectral_norm(W, rng=0)
    np.testing.assert_allclose(result.sigma, np.linalg.norm(plain(W), 2), rtol=50 * np.finfo(result.sigma.dtype).eps)


def test_spectral_norm_of_extremes(dtype):
    info = np.finfo(dtype)
    for m, n in [(3, 2), (50, 60), (100, 110)]:
        assert kexue.spectral_norm(np.zeros((m, n), dtype)).sigma == 0
        for size in map(dtype.type, (info.tiny, 1e-30, info.max / 128)):
            sigma = kexue.spectral_norm(np.full((m, n), size)).sigma
            np.testing.assert_allclose(sigma / size, np.sqrt(m * n), rtol=100 * info.eps)
        with pytest.raises(OverflowError, match="matrix 0 of W"):
            kexue.spectral_norm(np.full((m, n), info.max))
    for n in (3, 40, 100):
        mixed = np.stack([np.zeros((n, n)), np.eye(n) * 1e-200, np.eye(n)])
        result = kexue.spectral_norm(mixed)
        np.testing.assert_allclose(result.sigma, [0, 1e-200, 1], rtol=1e-14)
        for vectors in (result.u, result.v):
            np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-14)
    assert kexue.spectral_norm(np.empty((0, 40, 40))).sigma.shape == (0,)


@pytest.mark.parametrize("shape", [(60, 50), (50, 60), (120, 110), (110, 120)], ids=str)
def test_spectral_norm_of_a_small_gap(shape, rng):
    rank = min(shape)
    U, V = (np.linalg.qr(rng.normal(size=(size, rank)))[0] for size in shape)
    for second in (1.0, 1 - 1e-12, 1 - 1e-6, 1 - 1e-3):
        values = np.linspace(second, 0, rank - 1)
        W = U * np.r_[1, values] @ V.T
        np.testing.assert_allclose(kexue.spectral_norm(W, rng=0).sigma, 1, rtol=1e-10)
    for values in (np.ones(rank), np.r_[1, np.zeros(rank - 1)], np.r_[1, 1, np.zeros(rank - 2)]):
        result = kexue.spectral_norm(U * values @ V.T, U[:, -1], rng=0)
        np.testing.assert_allclose(result.sigma, 1, rtol=1e-13)
        np.testing.assert_allclose(U * values @ V.T @ result.v, result.u, atol=1e-10)


def test_spectral_norm_of_many_matrices_and_of_wide_ones(monkeypatch, rng):
    monkeypatch.setattr(_gradient_normalization, "_WORK", 1 << 18)
    for shape in [(40, 5, 6), (40, 6, 5), (48, 300), (300, 48)]:
        W = rng.normal(size=shape)
        np.testing.assert_allclose(kexue.spectral_norm(W).sigma, np.linalg.norm(W, 2, axis=(-2, -1)), rtol=1e-13)


def test_what_is_left_scales_with_the_matrix(rng):
    W = rng.normal(size=(120, 110))
    result, scaled = (kexue.spectral_norm(matrix, tol=1e-3, rng=0) for matrix in (W, np.ldexp(W, 200)))
    assert 1e-9 < result.residual / result.sigma < 1e-3
    np.testing.assert_allclose(scaled.residual, np.ldexp(result.residual, 200), rtol=1e-6)


def test_start_of_any_size_and_precision(rng):
    W = rng.normal(size=(110, 100)).astype(np.float32)
    for size in (1e300, 1e-300):
        result = kexue.spectral_norm(W, np.full(110, size), n_iter=2)
        np.testing.assert_array_equal(result.sigma, kexue.spectral_norm(W, np.ones(110), n_iter=2).sigma)
        assert result.u.dtype == np.float32


def test_a_start_among_other_vectors_does_no_harm():
    W = np.diag(np.r_[1.0, 5.0, np.linspace(0, 1, 98)])
    np.testing.assert_allclose(kexue.spectral_norm(W, np.eye(100)[0], rng=0).sigma, 5, rtol=1e-12)


def test_warm_start_takes_fewer_steps(rng):
    W = rng.normal(size=(300, 200))
    cold = kexue.spectral_norm(W, rng=0)
    warm = kexue.spectral_norm(W, cold, rng=0)
    assert warm.n_iter < cold.n_iter
    batch = np.stack([W, rng.normal(size=(300, 200))])
    again = kexue.spectral_norm(batch, kexue.spectral_norm(batch, rng=0), rng=0)
    np.testing.assert_allclose(again.sigma, np.linalg.norm(batch, 2, axis=(1, 2)), rtol=1e-12)


def test_power_iteration_follows_a_training(rng):
    """A step of each changed matrix from the vectors of the one before: as spectral normalisation does it."""
    W, state = rng.normal(size=(64, 48)), None
    W[:, 0] *= 3
    errors = []
    for _ in range(100):
        W += 1e-3 * rng.normal(size=W.shape)
        state = kexue.spectral_norm(W, state, n_iter=1, rng=0)
        errors.append(1 - float(state.sigma) / np.linalg.norm(W, 2))
    assert min(errors) >= -1e-14  # never above
    assert max(errors[50:]) < 1e-4 < errors[0]


def test_power_iteration_is_the_textbook_one(rng, dtype):
    W, u = rng.normal(size=(30, 70)).astype(dtype), rng.normal(size=30).astype(dtype)
    result = kexue.spectral_norm(W, u, n_iter=3)
    for _ in range(3):
        v = W.T @ u
        v /= np.linalg.norm(v)
        u = W @ v
        u /= np.linalg.norm(u)
    np.testing.assert_allclose(result.sigma, u @ W @ v, rtol=20 * np.finfo(dtype).eps)
    np.testing.assert_allclose(result.v, v, atol=20 * np.finfo(dtype).eps)
    assert result.n_iter == 3
    assert np.isnan(result.residual)
    zero = kexue.spectral_norm(np.zeros((4, 3)), n_iter=2)
    assert zero.sigma == 0
    assert np.linalg.norm(zero.u) == np.linalg.norm(zero.v) == 1


def test_power_iteration_is_torchs(rng):
    torch = pytest.importorskip("torch")
    layer = torch.nn.utils.parametrizations.spectral_norm(torch.nn.Linear(20, 30, dtype=torch.float64))
    state = layer.parametrizations.weight[0]
    W, v = layer.parametrizations.weight.original.detach().numpy(), state._v.numpy().copy()
    ours = kexue.spectral_norm(W.T, v, n_iter=1)  # torch begins with the right vectors
    np.testing.assert_allclose(W / ours.sigma, layer.weight.detach().numpy(), rtol=1e-12)


def test_spectral_norm_that_does_not_converge(rng):
    W = rng.normal(size=(2, 100, 100))
    W[0] = np.outer(W[0, 0], W[0, 1])
    with pytest.warns(kexue.ConvergenceWarning, match="1 of 2 matrices did not reach tol=1e-10 in max_iter=5 steps"):
        result = kexue.spectral_norm(W, max_iter=5, rng=0)
    assert result.n_iter == 5
    np.testing.assert_allclose(result.sigma[0], np.linalg.norm(W[0], 2), rtol=1e-12)
    with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning, match="the matrix did not"):
        kexue.spectral_norm(W[1], max_iter=5)


# ---- errors ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kexue.gradient_normalize([1, 2], [1.0, -2]), ValueError, r"grad_norm\[1\] is a norm, but negative"),
        (lambda: kexue.gradient_normalize([1, 2], [1.0, 2, 3]), ValueError, "f and grad_norm must have shapes"),
        (lambda: kexue.gradient_normalize(1, 1, "gp"), ValueError, "mode must be"),
        (lambda: kexue.gradient_normalize(1, 1, eps=0), ValueError, "eps must be positive"),
        (lambda: kexue.gradient_normalize(1, 1, eps="a"), TypeError, "eps must be a number"),
        (lambda: kexue.gradient_normalize("a", 1), TypeError, "f must hold real numbers"),
        (lambda: kexue.gn_input_gradient(1, 1), ValueError, "g must have at least one dimension"),
        (lambda: kexue.gn_input_gradient(1, [1, 2], [1, 2, 3]), ValueError, "Hg must have as many components as g"),
        (lambda: kexue.gn_input_gradient([1, 2], np.ones((3, 2))), ValueError, "leading dimensions"),
        (lambda: kexue.gradient_penalty([-1.0]), ValueError, r"grad_norm\[0\] is a norm, but negative"),
        (lambda: kexue.gradient_penalty(1, -1), ValueError, "target must be finite in float64 and not negative"),
        (lambda: kexue.gradient_penalty(1, "1"), TypeError, "target must be a number"),
        (lambda: kexue.gradient_penalty(np.float32(1), 1e39), ValueError, "target must be finite in float32"),
        (lambda: kexue.gradient_penalty(1, one_sided="no"), TypeError, "one_sided must be a bool"),
        (lambda: kexue.clip_weights([1], 10**400), ValueError, "c exceeds the range of float64"),
        (lambda: kexue.clip_weights([1], 0), ValueError, "c must be positive"),
        (lambda: kexue.clip_weights([1], np.nan), ValueError, "c must be positive"),
        (lambda: kexue.clip_weights([1], None), TypeError, "c must be a number"),
        (lambda: kexue.clip_weights([1.0], 1, out=np.ones(2)), ValueError, "out has shape"),
        (lambda: kexue.clip_weights([1.0], 1, out=np.ones(1, np.float32)), TypeError, "out must be an array of dtype"),
        (lambda: kexue.clip_weights([np.ones(1)], 1, out=np.ones(1)), TypeError, "out must be a list of arrays"),
        (lambda: kexue.clip_weights([np.ones(1)], 1, out=[]), ValueError, "out has 0 arrays, but w has 1"),
        (lambda: kexue.spectral_norm([1.0, 2]), ValueError, "W must hold matrices"),
        (lambda: kexue.spectral_norm(np.ones((3, 0))), ValueError, "W must hold matrices"),
        (lambda: kexue.spectral_norm([[1.0, np.nan]]), ValueError, r"W\[0, 1\] is nan"),
        (lambda: kexue.spectral_norm([[1.0, np.inf]]), ValueError, r"W\[0, 1\] is inf"),
        (lambda: kexue.spectral_norm([[1.0, 2]], [1.0, 2]), ValueError, "start must hold left vectors"),
        (lambda: kexue.spectral_norm([[1.0, 2]], [np.nan]), ValueError, r"start\[0\] is nan"),
        (lambda: kexue.spectral_norm([[1.0]], n_iter=1, tol=0.1), ValueError, "exclude each other"),
        (lambda: kexue.spectral_norm([[1.0]], n_iter=0), ValueError, "n_iter must be at least 1"),
        (lambda: kexue.spectral_norm([[1.0]], max_iter=0), ValueError, "max_iter must be at least 1"),
        (lambda: kexue.spectral_norm([[1.0]], tol=0), ValueError, "tol must be between 0 and 1"),
        (lambda: kexue.spectral_norm([[1.0]], tol="0"), TypeError, "tol must be a number"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
