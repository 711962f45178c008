"""noise_regularizer, jacobian_penalty_hutchinson and laplacian_penalty: references, quadrature, sampling, arguments."""

from itertools import product

import numpy as np
import pytest

import kexue
from kexue import jacobian_penalty_hutchinson, laplacian_penalty, noise_regularizer, vat_loss

W = np.array([[0.5, -0.3, 0.8], [-0.2, 0.4, 0.1], [0.3, 0.7, -0.6]])
B = np.array([0.1, -0.2, 0.05])
X = np.array([0.4, -0.6, 0.2])
SQUARED_NORM, FISHER = 0.20107680295673064, 0.5851488434063099

# A normal variable is beyond in 4e-8 of all cases.
ERRORS = 5.5


def logits(x):
    return x @ W.T + B


def softmax_jacobian(x):
    f = kexue.softmax(logits(x))
    return (np.diag(f) - np.outer(f, f)) @ W


def gaussian_mean(function, x, sigma, nodes=16):
    """E function(x + sigma e) of normal e, by a product rule: exact up to degree 31."""
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    grid = np.array(list(product(points, repeat=len(x))))
    mass = np.prod(np.array(list(product(weights, repeat=len(x)))), axis=1)
    return mass @ function(x + sigma * grid) / mass.sum()


# ---- with the Jacobian ----


def test_references():
    J, f = softmax_jacobian(X), kexue.softmax(logits(X))
    np.testing.assert_allclose(noise_regularizer(J, 1.0), SQUARED_NORM, rtol=1e-14)
    np.testing.assert_allclose(noise_regularizer(J, 0.3), 0.09 * SQUARED_NORM, rtol=1e-14)
    np.testing.assert_allclose(noise_regularizer(J, 0.3, loss="kl", f=f), 0.045 * FISHER, rtol=1e-14)
    np.testing.assert_allclose(
        noise_regularizer(W, 0.3, loss="kl", f=logits(X), from_logits=True), 0.045 * FISHER, rtol=1e-14
    )
    np.testing.assert_allclose(noise_regularizer(J, 0.3, loss=1 / f), 0.045 * FISHER, rtol=1e-14)
    np.testing.assert_allclose(noise_regularizer(J, 0.3, loss=[2, 2, 2]), 0.09 * SQUARED_NORM, rtol=1e-14)
    F = J.T @ (J / f[:, None])
    np.testing.assert_allclose(
        np.linalg.eigvalsh(F), [0, 0.05002676631417342, 0.5351220770921362], rtol=1e-13, atol=1e-16
    )


LOSSES = {
    "squared_error": lambda x: ((kexue.softmax(logits(x)) - kexue.softmax(logits(X))) ** 2).sum(axis=-1),
    "kl": lambda x: vat_loss(logits(X), logits(x)),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_it_is_what_noise_does(loss):
    """The mean over noise, by quadrature, differs at the order of sigma^4; samples agree with that mean."""
    J, f = softmax_jacobian(X), kexue.softmax(logits(X)) if loss == "kl" else None
    errors = []
    for sigma in (0.1, 0.05):
        mean = gaussian_mean(LOSSES[loss], X, sigma)
        errors.append(mean - noise_regularizer(J, sigma, loss=loss, f=f))
    assert abs(errors[0]) < 0.1**4 and 15 < errors[0] / errors[1] < 17
    e = np.random.default_rng(5).normal(size=(200_000, 3))
    samples = (LOSSES[loss](X + 0.1 * e) + LOSSES[loss](X - 0.1 * e)) / 2
    expected = noise_regularizer(J, 0.1, loss=loss, f=f)
    assert abs(samples.mean() - expected) < ERRORS * samples.std() / np.sqrt(len(samples)) + abs(errors[0]) * 1.01


def test_extreme_logits():
    J = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    found = noise_regularizer(J, 1.0, loss="kl", f=[1000.0, 0.0, -1000.0], from_logits=True)
    assert found == 0  # a single class is left
    found = noise_regularizer(J, 1.0, loss="kl", f=[1000.0, 1000.0, -1000.0], from_logits=True)
    np.testing.assert_allclose(found, 0.25, rtol=1e-15)
    # A class of probability 0, whose gradient is 0, does not count.
    assert noise_regularizer([[1.0], [-1.0], [0.0]], 1.0, loss="kl", f=[0.5, 0.5, 0.0]) == 2


def test_batches_and_types(rng, dtype):
    J = rng.normal(size=(4, 3, 5, 6)).astype(dtype)
    f = kexue.softmax(rng.normal(size=(4, 3, 5))).astype(dtype)
    rtol = 1e-6 if dtype == np.float32 else 1e-13
    for options in ({}, {"loss": "kl", "f": f}, {"loss": "kl", "f": f, "from_logits": True}, {"loss": f}):
        found = noise_regularizer(J, 0.5, **options)
        assert found.shape == (4, 3) and found.dtype == dtype
        for place in np.ndindex(4, 3):
            one = {k: v[place] if isinstance(v, np.ndarray) else v for k, v in options.items()}
            np.testing.assert_allclose(found[place], noise_regularizer(J[place], 0.5, **one), rtol=rtol)
    weights = rng.random(5).astype(dtype)
    expected = noise_regularizer(J, 0.5, loss=np.broadcast_to(weights, (4, 3, 5)))
    np.testing.assert_array_equal(noise_regularizer(J, 0.5, loss=weights), expected)
    assert noise_regularizer(J[:0], 0.5).shape == (0, 3)


def test_regularizer_layouts(any_layout, plain, untouched, rng):
    J = any_layout(rng.normal(size=(5, 4)))
    with untouched(J):
        found = noise_regularizer(J, 1.0)
    np.testing.assert_allclose(found, (plain(J).astype(float) ** 2).sum(), rtol=1e-6)


@pytest.mark.parametrize(
    ("J", "sigma", "options", "message"),
    [
        (np.ones(3), 1.0, {}, r"J must have shape \(..., outputs, inputs\)"),
        ([[1.0, np.nan]], 1.0, {}, r"J\[0, 1\] is nan"),
        (W, -1.0, {}, "sigma must be at least 0"),
        (W, np.inf, {}, "sigma must be finite"),
        (W, 1.0, {"loss": "cross_entropy"}, "loss must be"),
        (W, 1.0, {"loss": [1.0, 2.0]}, r"loss must have shape \(..., outputs\) = \(3,\)"),
        (W, 1.0, {"loss": np.ones((2, 3))}, "loss must have shape"),
        (W, 1.0, {"loss": 2.0}, "loss must have shape"),
        (W, 1.0, {"loss": [1.0, -2.0, 0.0]}, r"loss\[1\] is negative"),
        (W, 1.0, {"loss": "kl", "f": [0.5, 0.5]}, "f must have shape"),
        (W, 1.0, {"loss": "kl", "f": [0.5, 0.5, 0.0]}, r"f\[2\] is 0, but its gradient is not"),
        (W, 1.0, {"loss": "kl", "f": [0.5, 0.6, -0.1]}, r"f\[2\] is negative"),
        (W, 1.0, {"loss": "kl", "f": [0.5, np.inf, 0.0], "from_logits": True}, r"f\[1\] is inf"),
    ],
)
def test_regularizer_bad_values(J, sigma, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        noise_regularizer(J, sigma, **options)


def test_regularizer_overflow():
    with pytest.raises(OverflowError, match="squared norm of J overflows"):
        noise_regularizer([[1e200]], 1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "kl"}, 'loss="kl" needs f'),
        ({"f": [0.5, 0.25, 0.25]}, 'f is an option of loss="kl"'),
        ({"from_logits": True}, 'from_logits is an option of loss="kl"'),
        ({"sigma": "1"}, "sigma must be a number"),
    ],
)
def test_regularizer_bad_types(options, message):
    with pytest.raises(TypeError, match=message):
        noise_regularizer(**{"J": W, "sigma": 1.0, **options})


# ---- Hutchinson's estimate ----


class Signs(np.random.Generator):
    """In the place of random signs, all of them in turn."""

    def __init__(self, outputs):
        super().__init__(np.random.PCG64(0))
        self.left = product([0, 1], repeat=outputs)

    def integers(self, high, size, dtype):
        assert high == 2
        return np.array(next(self.left), dtype=dtype).reshape(size)


def test_all_signs_give_the_exact_sum(rng):
    J, weights = rng.normal(size=(5, 7)), rng.random(5)
    for lam in (None, weights):
        expected = ((1 if lam is None else lam[:, None]) * J**2).sum()
        found, std = jacobian_penalty_hutchinson(
            lambda eta: eta @ J, 5, n_samples=32, weights=lam, rng=Signs(5), return_std=True
        )
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        scaled = J if lam is None else np.sqrt(lam)[:, None] * J
        gram = scaled @ scaled.T
        variance = 2 * (np.sum(gram**2) - np.sum(np.diag(gram) ** 2))
        np.testing.assert_allclose(std, np.sqrt(variance / 31), rtol=1e-12)
        exact = jacobian_penalty_hutchinson(lambda eta: eta @ J, 5, n_samples=None, weights=lam)
        np.testing.assert_allclose(exact, expected, rtol=1e-14)


@pytest.mark.parametrize("probes", ["rademacher", "gaussian"])
def test_the_estimate_is_unbiased(probes, rng):
    J, weights = rng.normal(size=(4, 6, 9)), rng.random((4, 6))

    def vjp(eta):
        assert eta.shape == (4, 6)
        return np.einsum("nk,nkd->nd", eta, J)

    expected = (weights[..., None] * J**2).sum(axis=(1, 2))
    found, std = jacobian_penalty_hutchinson(
        vjp, (4, 6), n_samples=20_000, weights=weights, probes=probes, rng=7, return_std=True
    )
    assert found.shape == std.shape == (4,)
    assert (abs(found - expected) < ERRORS * std).all()
    scaled = np.sqrt(weights)[..., None] * J
    gram = scaled @ scaled.swapaxes(1, 2)
    variance = 2 * (gram**2).sum(axis=(1, 2))
    if probes == "rademacher":
        variance -= 2 * (gram.diagonal(axis1=1, axis2=2) ** 2).sum(axis=1)
    # Variances of 20,000 samples are within 2 or 3% of this: 15% is far out.
    np.testing.assert_allclose(std**2 * 20_000, variance, rtol=0.15)


def test_orthogonal_gradients_need_one_sample():
    J = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    for seed in range(5):
        assert jacobian_penalty_hutchinson(lambda eta: eta @ J, 2, rng=seed) == 13


def test_the_penalty_is_the_regularizer():
    J, f = softmax_jacobian(X), kexue.softmax(logits(X))
    whole = jacobian_penalty_hutchinson(lambda eta: eta @ J, 3, n_samples=None, weights=1 / f)
    np.testing.assert_allclose(whole, 2 * noise_regularizer(J, 1.0, loss="kl", f=f), rtol=1e-14)


def test_hutchinson_shapes_and_types(rng):
    J = rng.normal(size=(2, 3, 4, 5, 6))

    def vjp(eta):
        return np.einsum("abk,abkij->abij", eta, J)

    expected = (J**2).sum(axis=(2, 3, 4))
    found = jacobian_penalty_hutchinson(vjp, (2, 3, 4), n_samples=None)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    found, std = jacobian_penalty_hutchinson(vjp, (2, 3, 4), n_samples=None, return_std=True)
    np.testing.assert_array_equal(std, np.zeros((2, 3)))
    dtypes = set()

    def narrow(eta):
        dtypes.add(eta.dtype)
        return vjp(eta).astype(np.float32)

    found = jacobian_penalty_hutchinson(narrow, (2, 3, 4), n_samples=3, dtype=np.float32, weights=np.ones(4), rng=0)
    assert found.dtype == np.float32 and dtypes == {np.dtype(np.float32)}
    again = jacobian_penalty_hutchinson(narrow, (2, 3, 4), n_samples=3, dtype="float32", rng=np.random.default_rng(0))
    np.testing.assert_array_equal(found, again)
    assert jacobian_penalty_hutchinson(lambda eta: np.zeros((0, 5)), (0, 4)).shape == (0,)
    assert jacobian_penalty_hutchinson(lambda eta: 3.0 * eta[0], 1) == 9  # an input without an axis


def project(eta):
    return eta @ W


@pytest.mark.parametrize(
    ("vjp", "outputs", "options", "message"),
    [
        (project, 3, {"n_samples": 0}, "n_samples must be at least 1"),
        (project, 3, {"n_samples": 1, "return_std": True}, "n_samples must be at least 2"),
        (project, 3, {"weights": [1.0, 2.0]}, r"weights must broadcast to \(3,\)"),
        (project, 3, {"weights": [1.0, -2.0, 0.0]}, r"weights\[1\] is negative"),
        (project, 3, {"weights": [1.0, np.nan, 0.0]}, r"weights\[1\] is nan"),
        (project, 3, {"probes": "uniform"}, "probes must be"),
        (project, (), {}, "outputs must be"),
        (project, -1, {}, "outputs must be at least 0"),
        (lambda eta: eta * np.nan, 3, {}, r"vjp\(eta\)\[0\] is nan"),
        (lambda eta: eta[:1], (2, 3), {}, r"vjp\(eta\) must have shape \(2, '...'\)"),
        (lambda eta: np.ones(()), (2, 3), {}, r"vjp\(eta\) must have shape"),
    ],
)
def test_hutchinson_bad_values(vjp, outputs, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        jacobian_penalty_hutchinson(vjp, outputs, **options)


def test_hutchinson_bad_types():
    with pytest.raises(TypeError, match="vjp must be callable"):
        jacobian_penalty_hutchinson(W, 3)
    with pytest.raises(TypeError, match="dtype must be float32 or float64"):
        jacobian_penalty_hutchinson(project, 3, dtype=np.int64)
    with pytest.raises(TypeError, match="outputs must be an integer"):
        jacobian_penalty_hutchinson(project, 3.0)
    with pytest.raises(TypeError, match=r"vjp\(eta\) must hold real numbers"):
        jacobian_penalty_hutchinson(lambda eta: eta + 0j, 3)
    with pytest.raises(OverflowError, match=r"vjp\(eta\)"):
        jacobian_penalty_hutchinson(lambda eta: eta * 1e200, 3)

    def fail(eta):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        jacobian_penalty_hutchinson(fail, 3)


# ---- the Laplacian ----


def label_loss(x):
    return -kexue.log_softmax(logits(x))[..., 0]


def label_gradient(x):
    return (kexue.softmax(logits(x)) - [1.0, 0.0, 0.0]) @ W


def label_hessian(x):
    f = kexue.softmax(logits(x))
    return W.T @ (np.diag(f) - np.outer(f, f)) @ W


def test_laplacian_is_what_noise_does():
    errors = []
    for sigma in (0.1, 0.05):
        mean = gaussian_mean(label_loss, X, sigma) - label_loss(X)
        errors.append(mean - laplacian_penalty(label_hessian(X), sigma))
    assert abs(errors[0]) < 0.1**4 and 15 < errors[0] / errors[1] < 17
    e = np.random.default_rng(6).normal(size=(200_000, 3))
    samples = (label_loss(X + 0.1 * e) + label_loss(X - 0.1 * e)) / 2 - label_loss(X)
    expected = laplacian_penalty(label_hessian(X), 0.1)
    assert abs(samples.mean() - expected) < ERRORS * samples.std() / np.sqrt(len(samples)) + abs(errors[0]) * 1.01


def test_laplacian_of_the_cross_entropy_is_the_fisher_information():
    np.testing.assert_allclose(laplacian_penalty(label_hessian(X), 1.0), FISHER / 2, rtol=1e-14)


def test_laplacian_from_gradients(rng):
    x = rng.normal(size=(4, 3))
    expected = np.array([laplacian_penalty(label_hessian(row), 0.5) for row in x])
    found = laplacian_penalty(label_gradient, 0.5, x=x, n_samples=None)
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    for probes in ("rademacher", "gaussian"):
        found, std = laplacian_penalty(label_gradient, 0.5, x=x, n_samples=4000, probes=probes, rng=11, return_std=True)
        assert (abs(found - expected) < ERRORS * std + 1e-8).all() and (std < 0.02).all()
    single = laplacian_penalty(label_gradient, 0.5, x=X, n_samples=None)
    np.testing.assert_allclose(single, laplacian_penalty(label_hessian(X), 0.5), rtol=1e-8)
    coarse = laplacian_penalty(label_gradient, 0.5, x=X, n_samples=None, step=0.1)
    assert 1e-6 < abs(coarse / single - 1) < 1e-2  # of the order of the square of the step


def test_laplacian_of_quadratics_is_exact(rng, dtype):
    diagonal = rng.normal(size=6).astype(dtype)
    x = (100 * rng.normal(size=(5, 6))).astype(dtype)
    found = laplacian_penalty(lambda x: diagonal * x, 1.0, x=x, rng=0)
    assert found.shape == (5,) and found.dtype == dtype
    # Rounding: of gradients over the step.
    np.testing.assert_allclose(
        found, np.full(5, diagonal.sum() / 2), rtol=0, atol=2e-4 if dtype == np.float32 else 1e-9
    )


def test_laplacian_shapes(rng):
    H = rng.normal(size=(2, 3, 4, 4))
    np.testing.assert_allclose(laplacian_penalty(H, 1.0), np.trace(H, axis1=2, axis2=3) / 2, rtol=1e-14)
    assert laplacian_penalty(H.astype(np.float32), 1.0).dtype == np.float32
    assert laplacian_penalty(lambda x: x, 1.0, x=np.ones((0, 3))).shape == (0,)
    assert laplacian_penalty(-np.eye(3), 2.0) == -6


@pytest.mark.parametrize(
    ("derivative", "options", "message"),
    [
        (np.ones((2, 3)), {}, r"derivative must have shape \(..., d, d\)"),
        (np.ones(3), {}, r"derivative must have shape \(..., d, d\)"),
        ([[np.nan]], {}, r"derivative\[0, 0\] is nan"),
        ([[1.0]], {"sigma": -1.0}, "sigma must be at least 0"),
        (label_gradient, {"x": [1.0, np.inf, 0.0]}, r"x\[1\] is inf"),
        (label_gradient, {"x": 1.0}, "x must have shape"),
        (label_gradient, {"x": X, "step": 0.0}, "step must be positive"),
        (label_gradient, {"x": X, "n_samples": 0}, "n_samples must be at least 1"),
        (label_gradient, {"x": X, "probes": "uniform"}, "probes must be"),
        (lambda x: x[:1], {"x": X}, r"derivative\(x\) must have the shape of x"),
        (lambda x: x * np.nan, {"x": X}, r"derivative\(x\)\[0\] is nan"),
    ],
)
def test_laplacian_bad_values(derivative, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        laplacian_penalty(derivative, **{"sigma": 1.0, **options})


def test_laplacian_bad_types():
    with pytest.raises(TypeError, match="x is needed"):
        laplacian_penalty(label_gradient, 1.0)
    for options in ({"x": X}, {"return_std": True}):
        with pytest.raises(TypeError, match="options for a gradient"):
            laplacian_penalty(np.eye(3), 1.0, **options)


def test_against_torch(rng):
    torch = pytest.importorskip("torch")
    weights = torch.tensor(rng.normal(size=(5, 4)))
    x = torch.tensor(rng.normal(size=4), requires_grad=True)

    def model(x):
        return torch.tanh(weights @ x)

    def vjp(eta):
        return torch.autograd.grad(model(x), x, torch.tensor(eta))[0]

    J = torch.autograd.functional.jacobian(model, x).numpy()
    found = jacobian_penalty_hutchinson(vjp, 5, n_samples=None)
    np.testing.assert_allclose(found, 2 * noise_regularizer(J, 1.0) / 2, rtol=1e-13)


# ---- out of range ----


@pytest.mark.parametrize(
    "call",
    [
        lambda: noise_regularizer(np.eye(2), 1e200),
        lambda: noise_regularizer(np.full((2, 2), 1e30, np.float32), 1e3),
        lambda: noise_regularizer(np.eye(2) * 1e100, 0.1, loss=[1e200, 1]),
        lambda: noise_regularizer(np.eye(2) * 1e200, 0.1, loss="kl", f=[0.0, 0.0], from_logits=True),
        lambda: noise_regularizer(np.eye(2), 0.1, loss="kl", f=[1e-320, 1.0]),
        lambda: laplacian_penalty(np.eye(2) * 1e308, 10.0),
        lambda: laplacian_penalty(lambda x: x, 1e200, x=np.ones(2), rng=0),
        lambda: jacobian_penalty_hutchinson(lambda eta: eta, 3, weights=1e308, n_samples=None),
        lambda: jacobian_penalty_hutchinson(lambda eta: eta * np.float32(1e30), 2, dtype=np.float32, rng=0),
        lambda: jacobian_penalty_hutchinson(lambda eta: eta, 2, weights=1e100, dtype=np.float32, rng=0),
    ],
)
def test_what_overflows_is_no_number(call):
    with np.errstate(all="raise"), pytest.raises(OverflowError, match="overflows in float"):
        call()


def test_only_the_penalty_may_overflow():
    assert noise_regularizer(np.zeros((2, 2)), 1e200) == 0
    assert noise_regularizer(np.eye(2) * 1e-150, 1e160) == pytest.approx(2e20)
    assert laplacian_penalty(np.zeros((2, 2)), 1e200) == 0
    assert laplacian_penalty(lambda x: 0 * x, 1e200, x=np.ones(2), rng=0) == 0
    assert noise_regularizer(np.eye(2), 1, loss="kl", f=[1e308, -1e308], from_logits=True) == 0


def test_steps_that_do_not_move():
    for x, step in [(np.ones(2), 1e-30), (np.ones(2, np.float32), 1e-50), (np.float64([0, 1e20]), 1.0)]:
        with pytest.raises(kexue.KexueValueError, match="x.*stays as it is with step"):
            laplacian_penalty(lambda x: x, 1.0, x=x, step=step, rng=0)
    with pytest.raises(kexue.KexueValueError, match=r"x\[0\] is beyond the range, a step away"):
        laplacian_penalty(lambda x: x, 1.0, x=np.full(2, 1e308), step=1.5e308, rng=0)


def test_steps_are_as_long_as_they_turn_out():
    """At 1e8 a step of 2e-8 is one of 1.49e-8, and the slope is right still."""
    assert laplacian_penalty(lambda x: 2 * x, 1.0, x=np.full(2, 1e8), step=2e-8, rng=0) == 2


def test_gradients_that_work_in_place():
    def gradient(x):
        x *= 2
        return x

    x = np.array([1.0, -3.0])
    assert laplacian_penalty(gradient, 1.0, x=x, rng=0) == pytest.approx(2, rel=1e-9)
    np.testing.assert_array_equal(x, [1, -3])
    vjp = jacobian_penalty_hutchinson(lambda eta: np.multiply(eta, 3, out=eta), 2, n_samples=5, rng=0)
    assert vjp == 18


def test_probabilities_above_one():
    with pytest.raises(kexue.KexueValueError, match=r"f\[0\] is above 1 \(5.0\), no probability"):
        noise_regularizer(np.eye(2), 0.1, loss="kl", f=[5.0, 0.5])


def test_names_that_are_arrays():
    with pytest.raises(kexue.KexueValueError, match="probes must be"):
        jacobian_penalty_hutchinson(lambda eta: eta, 2, probes=np.ones(2))
    with pytest.raises(kexue.KexueValueError, match="norm must be"):
        kexue.mlp_gradient_penalties([np.eye(2)], None, "tanh", [1, 1], [1, 1], norm=np.ones(2))
    with pytest.raises(kexue.KexueValueError, match="kind must be"):
        vat_loss([0.0, 1.0], [0.0, 1.0], kind=np.ones(2))
