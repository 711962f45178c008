"""What is measured of recurrent networks, their gradients and their Jacobians."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from scipy.special import expit
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx

GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
LAYERS = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
WEIGHTS = {
    "simple_rnn": kx.simple_rnn_weights_from_torch,
    "lstm": kx.lstm_weights_from_torch,
    "gru": kx.gru_weights_from_torch,
}


@recent
def tensors(name: str, batch: int, steps: int, n: int, dtype: str) -> tuple[np.ndarray, ...]:
    """x and an upstream gradient (batch, steps, n), and the weights of a layer as torch has them."""
    rng = np.random.default_rng([batch, steps, n])
    gates, limit = GATES[name], 1 / np.sqrt(n)
    shapes = [(gates * n, n), (gates * n, n), (gates * n,), (gates * n,)]
    inputs = (rng.standard_normal((batch, steps, n), dtype=np.dtype(dtype)) for _ in range(2))
    return (*inputs, *(rng.uniform(-limit, limit, size=shape).astype(dtype) for shape in shapes))


def _layer(name: str, n: int, weights: tuple[np.ndarray, ...], *, cell: bool = False) -> Any:
    torch = installed("torch")
    if cell:
        layer = getattr(torch.nn, LAYERS[name] + "Cell")(n, n)
    else:
        layer = getattr(torch.nn, LAYERS[name])(n, n, batch_first=True)
    layer = layer.to(torch.from_numpy(weights[0]).dtype)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(value))
    return layer


def _arguments(name: str, weights: tuple[np.ndarray, ...]) -> tuple[list[Any], dict[str, Any]]:
    parts = list(WEIGHTS[name](*weights))
    return (parts[:3], {"convention": "torch", "recurrent_bias": parts[3]}) if name == "gru" else (parts, {})


def _tolerance(dtype: str, size: float = 1.0) -> dict[str, float]:
    eps = 2e-6 if dtype == "float32" else 1e-12
    return {"rtol": 1e-3 if dtype == "float32" else 1e-9, "atol": eps * size}


def _numpy_lstm(x: np.ndarray, W: np.ndarray, U: np.ndarray, b: np.ndarray) -> np.ndarray:
    """A loop over steps, as in text books."""
    n = U.shape[0]
    h = c = np.zeros((len(x), n), dtype=x.dtype)
    out, inputs = np.empty((*x.shape[:2], n), dtype=x.dtype), x @ W + b
    for t in range(x.shape[1]):
        gates = inputs[:, t] + h @ U
        f, i, o = (1 / (1 + np.exp(-gates[:, k * n : (k + 1) * n])) for k in (0, 1, 3))
        c = f * c + i * np.tanh(gates[:, 2 * n : 3 * n])
        h = o * np.tanh(c)
        out[:, t] = h
    return out


@recent
def sequence(name: str, batch: int, steps: int, n: int, dtype: str) -> Workload:
    """All states of a layer."""
    x, _, *weights = tensors(name, batch, steps, n, dtype)
    (W, U, b), options = _arguments(name, tuple(weights))
    function = getattr(kx, name)

    def states(result: Any) -> np.ndarray:
        return result[0] if name == "lstm" else result

    sides = {"kexue": Side(lambda: function(x, W, U, b, workers=1, **options), comparable=states)}
    torch: Any = installed("torch")
    if torch is not None:
        layer, inputs = _layer(name, n, tuple(weights)), torch.from_numpy(x)

        def call() -> Any:
            with torch.inference_mode():
                return layer(inputs)[0]

        sides["torch"] = Side(call)
    if name == "lstm":
        sides["NumPy"] = Side(lambda: _numpy_lstm(x, W, U, b))
    title = f"{name}, {batch} x {steps} steps, n = {n}, {dtype}"
    return Workload(
        title, sides, absent=without_torch(), **_tolerance(dtype), operations=4 * batch * steps * GATES[name] * n * n
    )


@recent
def sequence_vjp(name: str, batch: int, steps: int, n: int, dtype: str) -> Workload:
    """The gradients by inputs and weights, states included, on both sides."""
    x, grad, *weights = tensors(name, batch, steps, n, dtype)
    (W, U, b), options = _arguments(name, tuple(weights))
    starts = (None, None) if name == "lstm" else (None,)
    function = getattr(kx, f"{name}_vjp")
    sides = {
        "kexue": Side(
            lambda: function(x, W, U, b, *starts, grad, workers=1, **options), comparable=lambda parts: parts[0]
        )
    }
    torch: Any = installed("torch")
    if torch is not None:
        layer, inputs = _layer(name, n, tuple(weights)), torch.from_numpy(x).requires_grad_()
        wanted, upstream = (inputs, *layer.parameters()), torch.from_numpy(grad)
        sides["torch"] = Side(
            lambda: torch.autograd.grad(layer(inputs)[0], wanted, upstream), comparable=lambda parts: parts[0].numpy()
        )
    title = f"{name}_vjp, {batch} x {steps} steps, n = {n}, {dtype}"
    return Workload(
        title,
        sides,
        absent=without_torch(),
        **_tolerance(dtype, 5),
        operations=12 * batch * steps * GATES[name] * n * n,
    )


@recent
def cell(name: str, batch: int, n: int, dtype: str) -> Workload:
    """One step."""
    x, states, *weights = tensors(name, batch, 1, n, dtype)
    (W, U, b), options = _arguments(name, tuple(weights))
    function, h = getattr(kx, f"{name}_cell"), states[:, 0]
    before = (h, h) if name == "lstm" else (h,)

    def first(result: Any) -> np.ndarray:
        return np.asarray(result[0] if name == "lstm" else result)

    sides = {"kexue": Side(lambda: function(x[:, 0], *before, W, U, b, workers=1, **options), comparable=first)}
    torch: Any = installed("torch")
    if torch is not None:
        layer = _layer(name, n, tuple(weights), cell=True)
        inputs, start = torch.from_numpy(x[:, 0].copy()), torch.from_numpy(h.copy())

        def call() -> Any:
            with torch.inference_mode():
                return layer(inputs, (start, start) if name == "lstm" else start)

        sides["torch"] = Side(call, comparable=first)
    return Workload(
        f"{name}_cell, {batch} x {n}, {dtype}",
        sides,
        absent=without_torch(),
        **_tolerance(dtype),
        operations=4 * batch * GATES[name] * n * n,
    )


@recent
def step_jacobians(name: str, steps: int, n: int) -> Workload:
    """Of all steps of a sequence, beside reverse mode of torch, batched."""
    x, _, *weights = tensors(name, 1, steps, n, "float64")
    (W, U, b), options = _arguments(name, tuple(weights))
    title = {"simple_rnn": "rnn"}.get(name, name) + "_jacobian"
    function = getattr(kx, title)
    h = np.random.default_rng(0).uniform(-1, 1, size=(steps, n))
    before = (h, h) if name == "lstm" else (h,)
    sides = {
        "kexue": Side(
            lambda: function(x[0], *before, W, U, b, **options),
            comparable=lambda matrices: matrices[:, :n, :n],
        )
    }
    torch: Any = installed("torch")
    if torch is not None:
        layer, inputs, start = _layer(name, n, tuple(weights), cell=True), torch.from_numpy(x[0]), torch.from_numpy(h)

        def step(row: Any, state: Any, memory: Any) -> Any:
            if name == "lstm":
                return torch.stack(layer(row, (state, memory)))
            return layer(row, state)

        by = (1, 2) if name == "lstm" else 1
        jacobian = torch.func.vmap(torch.func.jacrev(step, argnums=by))

        def comparable(result: Any) -> np.ndarray:
            return (result[0][:, 0] if name == "lstm" else result).detach().numpy()

        sides["torch"] = Side(lambda: jacobian(inputs, start, start), comparable=comparable)
    return Workload(f"{title}, {steps} steps, n = {n}", sides, absent=without_torch(), rtol=1e-9, atol=1e-12)


@recent
def matrices(steps: int, n: int) -> np.ndarray:
    return np.random.default_rng([steps, n]).standard_normal((steps, n, n)) / np.sqrt(n)


def _log_norms(jacobians: np.ndarray) -> np.ndarray:
    """A product that is divided by its norm after each step."""
    product, total, logs = np.eye(jacobians.shape[-1]), 0.0, []
    for matrix in jacobians:
        product = matrix @ product
        size = np.linalg.norm(product, 2)
        product /= size
        total += np.log(size)
        logs.append(total)
    return np.array(logs)


@recent
def log_norms(steps: int, n: int, stabilization: str) -> Workload:
    jacobians = matrices(steps, n)
    sides = {
        "kexue": Side(lambda: kx.jacobian_product_log_norms(jacobians, stabilization=stabilization)),
        "NumPy": Side(lambda: _log_norms(jacobians)),
    }
    return Workload(f"jacobian_product_log_norms ({stabilization}), {steps} of {n} x {n}", sides, rtol=1e-9, atol=1e-9)


def _exponents(jacobians: np.ndarray) -> np.ndarray:
    frame, total = np.eye(jacobians.shape[-1]), 0.0
    for matrix in jacobians:
        frame, factor = np.linalg.qr(matrix @ frame)
        total = total + np.log(np.abs(np.diag(factor)))
    return np.sort(total / len(jacobians))[::-1]


@recent
def exponents(steps: int, n: int) -> Workload:
    jacobians = matrices(steps, n)
    sides = {
        "kexue": Side(lambda: kx.lyapunov_exponents(jacobians)),
        "NumPy": Side(lambda: _exponents(jacobians)),
    }
    return Workload(f"lyapunov_exponents, {steps} of {n} x {n}", sides, rtol=1e-9, atol=1e-9)


def _log_singular_values(jacobians: np.ndarray) -> list[float]:
    """Multiplied out with so many digits that the smallest singular value has some left."""
    with mpmath.workdps(120):
        product = mpmath.eye(jacobians.shape[-1])
        for matrix in jacobians.tolist():
            product = mpmath.matrix(matrix) * product
        return [float(mpmath.log(value)) for value in mpmath.svd_r(product, compute_uv=False)]


@recent
def log_singular_values(steps: int, n: int) -> Workload:
    """float64 cannot hold the product: its smallest singular values would be rounding alone."""
    jacobians = matrices(steps, n)
    sides = {
        "kexue": Side(lambda: kx.jacobian_product_log_singular_values(jacobians)),
        "mpmath": Side(lambda: _log_singular_values(jacobians)),
    }
    return Workload(f"jacobian_product_log_singular_values, {steps} of {n} x {n}", sides, rtol=1e-9, atol=1e-9)


@recent
def gradient_recursion(steps: int, n: int, p: int) -> Workload:
    """By p parameters; small matrices, whose products die away."""
    jacobians = 0.5 * matrices(steps, n)
    explicit = np.random.default_rng(p).standard_normal((steps, n, p))

    def loop() -> np.ndarray:
        result, total = np.empty_like(explicit), np.zeros((n, p))
        for t, (jacobian, own) in enumerate(zip(jacobians, explicit, strict=True)):
            total = result[t] = jacobian @ total + own
        return result

    sides = {"kexue": Side(lambda: kx.rnn_gradient_recursion(jacobians, explicit)), "NumPy": Side(loop)}
    name = f"rnn_gradient_recursion, {steps} of {n} x {n} by {p}"
    return Workload(name, sides, rtol=1e-9, atol=1e-9, operations=steps * n * p * (2 * n + 1))


@recent
def scalar_network(function: str, n: int) -> Workload:
    """Formulas of networks with one unit."""
    c, x, o = np.linspace(-2, 2, n), 0.5, 0.7
    W, U, b = np.array([0.3, -0.2, 0.4]), np.array([0.8, 0.5, -0.6]), np.array([0.1, 0.0, 0.2])

    def paths() -> np.ndarray:
        gates = W * x + U * (o * np.tanh(c))[:, None] + b
        f, i, g = expit(gates[:, 0]), expit(gates[:, 1]), np.tanh(gates[:, 2])
        k = o * (1 - np.tanh(c) ** 2)
        by_gates = f * (1 - f) * k * c * U[0], i * (1 - i) * k * g * U[1], (1 - g * g) * k * i * U[2]
        return f + sum(by_gates)

    kexue, expression = {
        "rnn_jacobian_bound": (
            lambda: kx.rnn_jacobian_bound(c[c != 0]),
            lambda: kx.TANH_JACOBIAN_BOUND / np.abs(c[c != 0]),
        ),
        "lstm_path_derivative": (lambda: kx.lstm_path_derivative(x, c, o, W, U, b)[0], paths),
    }[function]
    return Workload(f"{function}, {n}", {"kexue": Side(kexue), "NumPy": Side(expression)}, rtol=1e-12, atol=1e-14)


# Where each of kexue's gates is among torch's.
_ORDER = {"simple_rnn": [0], "lstm": [1, 0, 2, 3], "gru": [1, 0, 2]}


@recent
def weights_from_torch(name: str, n: int) -> Workload:
    """Gates in another order, transposed."""
    order = _ORDER[name]
    rng = np.random.default_rng(n)
    weights = [rng.standard_normal((len(order) * n, n)) for _ in range(2)]
    biases = [rng.standard_normal(len(order) * n) for _ in range(2)]

    def by_numpy() -> list[np.ndarray]:
        W, U = (np.concatenate([np.split(array, len(order))[gate].T for gate in order], axis=1) for array in weights)
        first, second = (np.concatenate([np.split(array, len(order))[gate] for gate in order]) for array in biases)
        if name != "gru":
            return [W, U, first + second]
        second[: 2 * n] += first[: 2 * n]
        return [W, U, np.concatenate([second[: 2 * n], first[2 * n :]]), second[2 * n :]]

    def joined(arrays: Any) -> np.ndarray:
        return np.concatenate([array.ravel() for array in arrays])

    sides = {
        "kexue": Side(lambda: WEIGHTS[name](*weights, *biases), comparable=joined),
        "NumPy": Side(by_numpy, comparable=joined),
    }
    return Workload(f"{name}_weights_from_torch, {n} units", sides, rtol=1e-15)
