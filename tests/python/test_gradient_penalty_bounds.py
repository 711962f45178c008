"""mlp_gradient_penalties: reference values, thousands of networks, gradients by other ways, arguments."""

import numpy as np
import pytest

import kexue
from kexue import GradientPenalties, LayerPenalties, mlp_gradient_penalties

NAMES = [
    "elu",
    "gelu",
    "gelu_tanh",
    "identity",
    "leaky_relu",
    "relu",
    "sigmoid",
    "softplus",
    "squareplus",
    "swish",
    "tanh",
]
SIDES = ("lhs", "lhs_tight", "rhs", "gx_sq", "gtheta_sq")
LAYER_SIDES = ("weight_lhs", "weight_lhs_tight", "weight_rhs", "bias_lhs", "bias_lhs_tight", "bias_rhs")


def network(rng, sizes, scale=1.0):
    pairs = list(zip(sizes[:-1], sizes[1:], strict=True))
    weights = [scale * rng.normal(size=(out, into)) for into, out in pairs]
    return weights, [rng.normal(size=out) for _, out in pairs]


def oracle(weights, biases, g, g_grad, x, f_grad, norm=2):
    """A sample at a time, singular values of every matrix, and the gradients themselves."""
    h, J = x, np.eye(len(x))
    states, jacobians, slopes = [], [], []
    for W, b in zip(weights, biases, strict=True):
        z = W @ h + b
        states.append(h)
        jacobians.append(J)
        slopes.append(g_grad(z))
        h, J = g(z), g_grad(z)[:, None] * (W @ J)
    gx_sq, upstream = np.sum((J.T @ f_grad) ** 2), f_grad
    found = {"gx_sq": gx_sq, "rhs": 0.0, "lhs": 0.0, "lhs_tight": 0.0}
    for W, h, J, slope in reversed(list(zip(weights, states, jacobians, slopes, strict=True))):
        delta = slope * upstream
        found["rhs"] += np.sum(np.outer(delta, h) ** 2) + np.sum(delta**2)
        found["lhs"] += gx_sq * (1 + h @ h) / (np.linalg.norm(W, norm) * np.linalg.norm(J, norm)) ** 2
        found["lhs_tight"] += gx_sq * (1 + h @ h) / np.linalg.norm(W @ J, norm) ** 2
        upstream = W.T @ delta
    return found


def test_reference():
    weights = [
        [[((7 * i + 5 * j + 3 * k) % 11 - 5) / 10 for j in range(n)] for i in range(m)]
        for k, (n, m) in enumerate([(3, 4), (4, 2)])
    ]
    biases = [[((3 * i + k) % 5 - 2) / 10 for i in range(m)] for k, m in enumerate([4, 2])]
    outputs = []

    def f_grad(h):
        outputs.append(h.copy())
        return np.broadcast_to([1.0, -2.0], h.shape)

    found = mlp_gradient_penalties(weights, biases, "tanh", [0.5, -1, 0.25], f_grad)
    assert isinstance(found, GradientPenalties) and isinstance(found.per_layer, LayerPenalties)
    np.testing.assert_allclose(outputs[0] @ [1.0, -2.0], 1.02424655751777, rtol=1e-13)
    expected = {"gx_sq": 0.888678871006664, "lhs": 9.24375675248801, "lhs_tight": 10.4850699606269}
    for name, value in {**expected, "rhs": 11.7130260649264, "gtheta_sq": 11.7130260649264}.items():
        np.testing.assert_allclose(getattr(found, name), value, rtol=1e-13)
        assert np.shape(getattr(found, name)) == ()
    assert found.per_layer.weight_lhs.shape == (2,)


def random_networks():
    """2400 of 1 to 4 layers and widths of 1 to 6, with a batch each."""
    rng = np.random.default_rng(1)
    for number in range(2400):
        layers = int(rng.integers(1, 5))
        weights, biases = network(rng, rng.integers(1, 7, size=layers + 1), rng.choice([0.3, 1.0, 3.0]))
        activation = NAMES[number % len(NAMES)] if number % 3 else list(rng.choice(NAMES, size=layers))
        x = rng.normal(size=(3, weights[0].shape[1]))
        yield weights, biases, activation, x, rng.normal(size=(3, weights[-1].shape[0]))


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_the_inequality_holds_term_by_term(norm):
    greatest = 0.0
    for arguments in random_networks():
        found = mlp_gradient_penalties(*arguments, norm=norm)
        pairs = [(found.lhs, found.lhs_tight, found.rhs)]
        layer = found.per_layer
        pairs.append((layer.weight_lhs, layer.weight_lhs_tight, layer.weight_rhs))
        pairs.append((layer.bias_lhs, layer.bias_lhs_tight, layer.bias_rhs))
        for low, tight, high in pairs:
            assert (low >= 0).all() and (low <= tight * (1 + 1e-12)).all() and (tight <= high * (1 + 1e-12)).all()
        for name in ("lhs", "lhs_tight", "rhs"):
            parts = getattr(layer, f"weight_{name}") + getattr(layer, f"bias_{name}")
            np.testing.assert_allclose(parts.sum(axis=-1), getattr(found, name), rtol=1e-14)
        alive = found.rhs > 0
        greatest = max(greatest, (found.lhs[alive] / found.rhs[alive]).max(initial=0))
    assert abs(greatest - 1) < 1e-12  # some have a width of 1


@pytest.mark.parametrize("activation", NAMES)
def test_chains_of_width_one_are_equalities(activation, rng):
    weights, biases = network(rng, [1] * 6)
    weights = [abs(W) for W in weights]
    biases = [abs(b) for b in biases]
    found = mlp_gradient_penalties(weights, biases, activation, rng.normal(size=(50, 1)), [1.5])
    alive = found.gx_sq > 0
    assert alive.sum() > 10
    for name in ("weight", "bias"):
        left, right = (getattr(found.per_layer, f"{name}_{side}")[alive] for side in ("lhs", "rhs"))
        np.testing.assert_allclose(left, right, rtol=1e-12)


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
@pytest.mark.parametrize("sizes", [(9, 5, 7, 4), (3, 12, 8, 5), (4, 1, 6), (20, 3, 30, 2, 7), (6, 5)], ids=str)
def test_against_singular_values(sizes, norm, rng, monkeypatch):
    weights, biases = network(rng, sizes, 0.5)
    x, f_grad = rng.normal(size=(11, sizes[0])), rng.normal(size=(11, sizes[-1]))
    whole = mlp_gradient_penalties(weights, biases, "tanh", x, f_grad, norm=norm)
    monkeypatch.setattr("kexue._gradient_penalty_bounds._BLOCK", 4 * max(sizes) * sizes[0])
    blocks = mlp_gradient_penalties(weights, biases, "tanh", x, f_grad, norm=norm)
    kind = 2 if norm == "spectral" else "fro"
    for i in range(len(x)):
        expected = oracle(weights, biases, np.tanh, lambda z: 1 / np.cosh(z) ** 2, x[i], f_grad[i], kind)
        for found in (whole, blocks):
            for name, value in expected.items():
                np.testing.assert_allclose(getattr(found, name)[i], value, rtol=1e-12)


def test_a_batch_is_its_samples(rng):
    weights, biases = network(rng, (4, 6, 3))
    x, f_grad = rng.normal(size=(2, 5, 4)), rng.normal(size=(2, 5, 3))
    batch = mlp_gradient_penalties(weights, biases, "gelu", x, f_grad)
    for place in np.ndindex(2, 5):
        one = mlp_gradient_penalties(weights, biases, "gelu", x[place], f_grad[place])
        for name in SIDES:
            np.testing.assert_allclose(getattr(batch, name)[place], getattr(one, name), rtol=1e-12)
        for name in LAYER_SIDES:
            np.testing.assert_allclose(getattr(batch.per_layer, name)[place], getattr(one.per_layer, name), rtol=1e-12)
    empty = mlp_gradient_penalties(weights, biases, "gelu", x[:, :0], f_grad[:, :0])
    assert empty.lhs.shape == (2, 0) and empty.per_layer.bias_rhs.shape == (2, 0, 2)


def test_values_are_those_of_samples_not_of_their_mean():
    # Two samples whose gradients by the weights cancel in the mean, and whose penalties do not.
    found = mlp_gradient_penalties([[[1.0, 2.0]]], None, "identity", [[1.0, 0.0], [1.0, 0.0]], [[1.0], [-1.0]])
    np.testing.assert_array_equal(found.gtheta_sq, [1.0, 1.0])
    np.testing.assert_allclose(found.gx_sq, [5.0, 5.0], rtol=1e-15)
    np.testing.assert_allclose(found.lhs, [1.0, 1.0], rtol=1e-15)


SMOOTH = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "softplus": lambda z: np.log(1 + np.exp(z)),
    "squareplus": lambda z: (z + np.sqrt(z * z + 1)) / 2,
    "swish": lambda z: z / (1 + np.exp(-z)),
    "tanh": np.tanh,
}


@pytest.mark.parametrize("activation", sorted(SMOOTH))
def test_gradients_by_complex_steps(activation, rng):
    g, (weights, biases) = SMOOTH[activation], network(rng, (3, 4, 2))
    x, c = rng.normal(size=3), rng.normal(size=2)

    def f(*arrays):
        h = arrays[0]
        for W, b in zip(arrays[1::2], arrays[2::2], strict=True):
            h = g(W @ h + b)
        return np.sum(c * h**2)

    arrays = [x, weights[0], biases[0], weights[1], biases[1]]
    squares = []
    for number, array in enumerate(arrays):
        total = 0.0
        for place in np.ndindex(array.shape):
            moved = [a.astype(complex) for a in arrays]
            moved[number][place] += 1e-30j
            total += (f(*moved).imag / 1e-30) ** 2
        squares.append(total)
    found = mlp_gradient_penalties(weights, biases, activation, x, lambda h: 2 * c * h)
    np.testing.assert_allclose(found.gx_sq, squares[0], rtol=1e-12)
    np.testing.assert_allclose(found.gtheta_sq, sum(squares[1:]), rtol=1e-12)
    np.testing.assert_allclose(found.per_layer.weight_rhs, squares[1::2], rtol=1e-12)
    np.testing.assert_allclose(found.per_layer.bias_rhs, squares[2::2], rtol=1e-12)


@pytest.mark.parametrize("activation", NAMES)
def test_slopes_of_activations(activation):
    z = np.array([-30.0, -3.0, -1.2, -0.4, 0.3, 1.0, 2.5, 30.0])[:, None]

    def run(z):
        outputs = []

        def f_grad(h):
            outputs.append(h.copy())
            return np.ones_like(h)

        return outputs, mlp_gradient_penalties([[[1.0]]], None, activation, z, f_grad)

    (above,), _ = run(z + 1e-6)
    (below,), _ = run(z - 1e-6)
    slope = (above - below) / 2e-6
    np.testing.assert_allclose(np.sqrt(run(z)[1].gx_sq), np.abs(slope[:, 0]), rtol=1e-7, atol=2e-9)


def test_slopes_that_are_small_keep_their_digits():
    z = np.array([[-300.0], [-20.0], [15.0], [300.0]])
    for activation, slope in (("tanh", np.cosh(z) ** -2), ("sigmoid", 0.25 * np.cosh(z / 2) ** -2)):
        found = mlp_gradient_penalties([[[1.0]]], [[0.0]], activation, z, [1.0])
        np.testing.assert_allclose(np.sqrt(found.gx_sq), slope[:, 0], rtol=1e-13, atol=1e-160)


def test_pairs_and_lists_of_activations(rng):
    weights, biases = network(rng, (3, 4, 2))
    x, f_grad = rng.normal(size=(5, 3)), rng.normal(size=2)
    pair = (np.tanh, lambda z: 1 - np.tanh(z) ** 2)
    expected = mlp_gradient_penalties(weights, biases, ["tanh", "identity"], x, f_grad)
    found = mlp_gradient_penalties(weights, biases, [pair, "identity"], x, f_grad)
    np.testing.assert_allclose(found.lhs, expected.lhs, rtol=1e-12)
    both = mlp_gradient_penalties(weights, biases, pair, x, f_grad)
    np.testing.assert_allclose(both.lhs, mlp_gradient_penalties(weights, biases, "tanh", x, f_grad).lhs, rtol=1e-12)
    bare = mlp_gradient_penalties(weights, [None, biases[1]], "tanh", x, f_grad)
    assert (bare.per_layer.bias_rhs[:, 0] == 0).all() and (bare.per_layer.bias_lhs[:, 0] == 0).all()
    assert (bare.per_layer.bias_rhs[:, 1] > 0).all()


def test_dead_units_and_zero_weights_give_zero():
    weights, x = [np.ones((3, 2)), np.ones((2, 3)), np.ones((1, 2))], [[1.0, 2.0], [-1.0, -2.0]]
    found = mlp_gradient_penalties(weights, None, "relu", x, [1.0])
    assert found.lhs[0] > 0
    for name in SIDES:
        assert getattr(found, name)[1] == 0
    at_kink = mlp_gradient_penalties([[[1.0]]], [[0.0]], "relu", [0.0], [1.0])
    assert at_kink.rhs == 0 and at_kink.gx_sq == 0
    zero = mlp_gradient_penalties([np.ones((3, 2)), np.zeros((1, 3))], [np.ones(3), [0.5]], "tanh", x, [1.0])
    assert (zero.lhs == 0).all() and (zero.lhs_tight == 0).all() and (zero.rhs > 0).all() and (zero.gx_sq == 0).all()


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_weights_that_cancel_but_for_rounding(norm, rng):
    for _ in range(50):
        a, b = rng.normal(size=(5, 1)), rng.normal(size=(1, 5))
        b -= (b @ a) / (a.T @ a) * a.T
        found = mlp_gradient_penalties([a, b, [[2.0], [1.0]]], None, "identity", [0.7], [1.0, 3.0], norm=norm)
        assert found.lhs == 0 and found.lhs_tight == 0 and found.rhs > 0


def test_small_products_that_are_right():
    # The second layer looks only at the unit that hardly depends on x: nothing cancels.
    found = mlp_gradient_penalties([[[1.0], [1e-20]], [[0.0, 1.0]]], None, "identity", [[2.0], [-1.0]], [1.0])
    np.testing.assert_allclose(found.per_layer.weight_lhs, [[4e-40, 4e-40], [1e-40, 1e-40]], rtol=1e-13)
    np.testing.assert_allclose(found.per_layer.weight_lhs_tight[:, 1], [4, 1], rtol=1e-13)
    np.testing.assert_array_equal(found.per_layer.weight_rhs, [[4, 4], [1, 1]])


def test_norms_neither_overflow_nor_underflow():
    weights = [[[1e-200, 2e-200]], [[1e200], [0.0]], [[1.0, 0.0]]]
    found = mlp_gradient_penalties(weights, None, "identity", [3, 1], [1e-100])
    np.testing.assert_allclose(found.gx_sq, 5e-200, rtol=1e-13)
    np.testing.assert_allclose(found.per_layer.bias_lhs, 0)
    np.testing.assert_allclose(found.per_layer.weight_lhs, found.per_layer.weight_lhs_tight, rtol=1e-13)
    np.testing.assert_allclose(found.per_layer.weight_lhs, [1e201, 0.0, 2.5e-199], rtol=1e-13)
    tiny = mlp_gradient_penalties([[[1e-100]], [[1e-100]]], [[1.0], [1.0]], "identity", [1.0], [1.0])
    np.testing.assert_allclose(tiny.per_layer.bias_lhs, [1e-200, 1.0], rtol=1e-13)
    for weights, f_grad in (([[[1e200]], [[1e200]]], 1.0), ([[[1.0]]], 1e200), ([[[1e200]]], 1.0)):
        with pytest.raises(OverflowError, match="overflows"):
            mlp_gradient_penalties(weights, None, "identity", [0.0], [f_grad])


def test_layouts_and_types(any_layout, plain, untouched, rng):
    weights, biases = network(rng, (4, 3))
    x = any_layout(rng.normal(size=(5, 4)))
    weights[0] = any_layout(rng.normal(size=(3, 4)))
    if weights[0].shape != (3, 4):
        weights[0] = rng.normal(size=(3, x.shape[-1]))
    with untouched(x, weights[0]):
        found = mlp_gradient_penalties(weights, biases, "tanh", x, np.ones(3))
    expected = mlp_gradient_penalties([plain(weights[0])], biases, "tanh", plain(x), np.ones(3))
    np.testing.assert_allclose(found.lhs, expected.lhs, rtol=1e-12)


def test_float32(rng):
    weights, biases = network(rng, (4, 6, 3))
    x, f_grad = rng.normal(size=(5, 4)), rng.normal(size=3)
    small = [[a.astype(np.float32) for a in group] for group in (weights, biases, [x, f_grad])]
    found = mlp_gradient_penalties(small[0], small[1], "tanh", *small[2])
    wide = [[a.astype(np.float64) for a in group] for group in small]
    expected = mlp_gradient_penalties(wide[0], wide[1], "tanh", *wide[2])
    for name in SIDES:
        assert getattr(found, name).dtype == np.float32
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-7)
    assert found.per_layer.weight_lhs.dtype == np.float32
    assert mlp_gradient_penalties(small[0], biases, "tanh", *small[2]).lhs.dtype == np.float64


GOOD = {"weights": [np.ones((3, 2)), np.ones((1, 3))], "biases": [np.zeros(3), np.zeros(1)], "activation": "tanh"}
GOOD |= {"x": np.ones((5, 2)), "f_grad": np.ones((5, 1)), "norm": "spectral"}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weights", [np.ones((3, 4)), np.ones((1, 3))], r"weights\[0\] has shape \(3, 4\).*\(out, 2\)"),
        ("weights", [np.ones((3, 2)), np.ones((1, 4))], r"weights\[1\] has shape \(1, 4\).*\(out, 3\)"),
        ("weights", [np.ones((3, 2)), np.ones(3)], r"weights\[1\] must have 2 dimensions"),
        ("weights", [np.ones((0, 2)), np.ones((1, 0))], r"weights\[0\] has shape \(0, 2\)"),
        ("weights", [[[1, 2], [np.nan, 1], [1, 1]], np.ones((1, 3))], r"weights\[0\]\[1, 0\] is nan"),
        ("weights", [], "weights is empty"),
        ("biases", [np.zeros(3)], "biases must have an entry for each layer, 2, but it has 1"),
        ("biases", [np.zeros(3), np.zeros(2)], r"biases\[1\] has shape \(2,\)"),
        ("biases", [np.zeros(3), [np.inf]], r"biases\[1\]\[0\] is inf"),
        ("activation", "tan", "activation must be one of"),
        ("activation", ["tanh", "tan"], r"activation\[1\] must be one of"),
        ("activation", ["tanh"], "activation must have an entry for each layer"),
        ("activation", (np.tanh, lambda z: z[:1]), "slope of layer 0, by activation, has shape"),
        ("activation", (lambda z: z * np.nan, np.ones_like), r"output of layer 0\[0, 0\] is nan"),
        ("x", np.ones((5, 0)), "x must have shape"),
        ("x", 1.0, "x must have shape"),
        ("x", [1.0, np.nan], r"x\[1\] is nan"),
        ("f_grad", np.ones((4, 1)), r"f_grad has shape \(4, 1\), but the output has shape \(5, 1\)"),
        ("f_grad", lambda h: h[0, 0], r"f_grad\(output\) has shape"),
        ("f_grad", [np.inf], r"f_grad\[0\] is inf"),
        ("norm", "nuclear", "norm must be"),
    ],
)
def test_bad_values(name, value, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        mlp_gradient_penalties(**{**GOOD, name: value})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("activation", np.tanh, "activation must be a name, a pair"),
        ("activation", ["tanh", np.tanh], r"activation\[1\] must be a name or a pair"),
        ("x", ["a"], "x must hold real numbers"),
        ("weights", 1.0, "weights must be a sequence of arrays"),
        ("biases", 1.0, "biases must be a sequence of arrays"),
        ("f_grad", lambda h: h + 0j, r"f_grad\(output\) must hold real numbers"),
    ],
)
def test_bad_types(name, value, message):
    with pytest.raises(TypeError, match=message):
        mlp_gradient_penalties(**{**GOOD, name: value})


def test_errors_of_callables_pass_through():
    def fail(h):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        mlp_gradient_penalties(**{**GOOD, "f_grad": fail})


def test_against_torch(rng):
    torch = pytest.importorskip("torch")
    weights, biases = network(rng, (5, 7, 6, 3), 0.5)
    x, c = rng.normal(size=(4, 5)), rng.normal(size=3)
    for name, function in (("gelu", torch.nn.functional.gelu), ("softplus", torch.nn.functional.softplus)):
        found = mlp_gradient_penalties(weights, biases, name, x, lambda h: c * np.cos(h))
        for i in range(4):
            tensors = [torch.tensor(a, requires_grad=True) for a in (x[i], *weights, *biases)]
            h = tensors[0]
            for W, b in zip(tensors[1:4], tensors[4:], strict=True):
                h = function(W @ h + b)
            (torch.tensor(c) * torch.sin(h)).sum().backward()
            squares = [float((t.grad**2).sum()) for t in tensors]
            np.testing.assert_allclose(found.gx_sq[i], squares[0], rtol=1e-11)
            np.testing.assert_allclose(found.per_layer.weight_rhs[i], squares[1:4], rtol=1e-11)
            np.testing.assert_allclose(found.per_layer.bias_rhs[i], squares[4:], rtol=1e-11)


def test_activations_that_work_in_place():
    def double(z):
        z *= 2
        return z

    def slope(z):
        return np.where(z > 2.5, 1.0, 2.0)

    x, weights = np.array([1.0, 2.0]), [np.eye(2), np.ones((2, 2))]
    ours = kexue.mlp_gradient_penalties(weights, None, (double, slope), x, [1.0, 1.0])
    other = kexue.mlp_gradient_penalties(weights, None, (lambda z: 2 * z, slope), x, [1.0, 1.0])
    np.testing.assert_array_equal(ours.per_layer.weight_rhs, other.per_layer.weight_rhs)
    np.testing.assert_array_equal(x, [1, 2])
