"""What is measured of activations: each function with NumPy's or SciPy's expression and torch's function beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.special import erf, expit, ndtr
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx


def argument(dtype: str, n: int) -> np.ndarray:
    return (3 * np.random.default_rng(n).standard_normal(n)).astype(dtype)


# ---- one argument ----


def _expressions(x: np.ndarray, b: float) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """kexue's function and the formula as it is found in text books."""
    y = np.abs(x) + x.dtype.type(0.5)
    return {
        "squareplus": (lambda: kx.squareplus(x, b), lambda: (x + np.sqrt(x * x + b)) / 2),
        "squareplus_grad": (lambda: kx.squareplus_grad(x, b), lambda: (1 + x / np.sqrt(x * x + b)) / 2),
        "squareplus_grad_b": (lambda: kx.squareplus_grad_b(x, b), lambda: 1 / (4 * np.sqrt(x * x + b))),
        "squareplus_inverse": (lambda: kx.squareplus_inverse(y, b), lambda: y - b / (4 * y)),
        "softplus": (lambda: kx.softplus(x), lambda: np.logaddexp(0, x)),
        "softplus_grad": (lambda: kx.softplus_grad(x), lambda: expit(x)),
        "swish": (lambda: kx.swish(x), lambda: x * expit(x)),
        "swish_grad": (lambda: kx.swish_grad(x), lambda: _swish_slope(x, expit(x))),
        "gelu": (lambda: kx.gelu(x), lambda: x * ndtr(x)),
        "gelu_grad": (lambda: kx.gelu_grad(x), lambda: ndtr(x) + x * _normal_density(x)),
        "gelu_tanh": (lambda: kx.gelu_tanh(x), lambda: x * (1 + np.tanh(_tanh_argument(x))) / 2),
        "gelu_tanh_grad": (lambda: kx.gelu_tanh_grad(x), lambda: _gelu_tanh_slope(x)),
        "exp_taylor": (lambda: kx.exp_taylor(x, 4), lambda: _taylor_sum(x, 4)),
        "exp_taylor_grad": (lambda: kx.exp_taylor_grad(x, 4), lambda: _taylor_sum(x, 3)),
    }


def _swish_slope(x: np.ndarray, sigmoid: np.ndarray) -> np.ndarray:
    return sigmoid * (1 + x * (1 - sigmoid))


def _normal_density(x: np.ndarray) -> np.ndarray:
    return np.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def _tanh_argument(x: np.ndarray) -> np.ndarray:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)


def _gelu_tanh_slope(x: np.ndarray) -> np.ndarray:
    t = np.tanh(_tanh_argument(x))
    return (1 + t) / 2 + x * (1 - t * t) / 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x * x)


def _taylor_sum(x: np.ndarray, n: int) -> np.ndarray:
    total = np.ones_like(x)
    for k in range(n, 0, -1):
        total = 1 + x * total / k
    return total


def _torch_functions(x: np.ndarray) -> dict[str, Callable[[], Any]]:
    """torch's own, compiled ones; a gradient is the function that its autograd calls."""
    torch = installed("torch")
    if torch is None:
        return {}
    t, functional, aten = torch.from_numpy(x), torch.nn.functional, torch.ops.aten
    ones = torch.ones_like(t)
    return {
        "softplus": lambda: functional.softplus(t),
        "softplus_grad": lambda: torch.sigmoid(t),
        "swish": lambda: functional.silu(t),
        "swish_grad": lambda: aten.silu_backward(ones, t),
        "gelu": lambda: functional.gelu(t),
        "gelu_grad": lambda: aten.gelu_backward(ones, t),
        "gelu_tanh": lambda: functional.gelu(t, approximate="tanh"),
        "gelu_tanh_grad": lambda: aten.gelu_backward(ones, t, approximate="tanh"),
    }


IN_TORCH = frozenset(
    ("softplus", "softplus_grad", "swish", "swish_grad", "gelu", "gelu_grad", "gelu_tanh", "gelu_tanh_grad")
)


@recent
def activation(name: str, dtype: str, n: int = 10_000_000) -> Workload:
    """New arrays for every result, as an expression makes them."""
    x = argument(dtype, n)
    kexue, expression = _expressions(x, 1.5)[name]
    sides = {"kexue": Side(kexue), "NumPy expression": Side(expression)}
    tolerances, absent = text_book_error(dtype), {}
    if name in IN_TORCH:
        functions = _torch_functions(x)
        if functions:
            sides["torch"] = Side(functions[name])
        else:
            absent["torch"] = NO_TORCH
    if name == "softplus":
        tolerances["atol"] = 1e-8  # torch takes x itself for it from x = 20 on
    if name.startswith("exp_taylor"):
        tolerances["rtol"] *= 64  # the sum cancels near the zero of an odd degree
    return Workload(f"{name}, {n:.0e} {dtype}", sides, **tolerances, absent=absent, bytes_moved=2 * x.nbytes)


def text_book_error(dtype: str) -> dict[str, float]:
    """The plain formula loses digits where x < 0, so results can only be compared absolutely there."""
    eps = float(np.finfo(dtype).eps)
    return {"rtol": 16 * eps, "atol": 64 * eps}


@recent
def squareplus_into(dtype: str, n: int = 10_000_000) -> Workload:
    """Into an array that is there already; a copy is what memory allows."""
    x = argument(dtype, n)
    kexue_out, numpy_out, copied = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for array in (kexue_out, numpy_out, copied):
        array.fill(0)  # the pages exist

    def numpy_into() -> np.ndarray:
        np.multiply(x, x, out=numpy_out)
        np.add(numpy_out, 1.5, out=numpy_out)
        np.sqrt(numpy_out, out=numpy_out)
        np.add(numpy_out, x, out=numpy_out)
        return np.multiply(numpy_out, 0.5, out=numpy_out)

    sides = {
        "kexue": Side(lambda: kx.squareplus(x, 1.5, out=kexue_out)),
        "NumPy expression": Side(_expressions(x, 1.5)["squareplus"][1]),
        "NumPy out=": Side(numpy_into),
        "a copy": Side(lambda: np.copyto(copied, x), comparable=None),
    }
    return Workload(f"squareplus out=, {n:.0e} {dtype}", sides, **text_book_error(dtype), bytes_moved=2 * x.nbytes)


@recent
def squareplus_small(n: int) -> Workload:
    """Small arrays: what a call costs. An addition is what a ufunc's call costs at least."""
    arrays = list(argument("float64", 1000 * n).reshape(1000, n))

    def expression(x: np.ndarray) -> np.ndarray:
        return (x + np.sqrt(x * x + 1.5)) / 2

    sides = {
        "kexue": Side(lambda: [kx.squareplus(x, 1.5) for x in arrays], len(arrays)),
        "NumPy expression": Side(lambda: [expression(x) for x in arrays], len(arrays)),
        "an addition": Side(lambda: [np.add(x, 1.5) for x in arrays], len(arrays), comparable=None),
    }
    size = "one element" if n == 1 else f"{n} elements"
    return Workload(f"squareplus, {size}", sides, **text_book_error("float64"))


@recent
def exp_taylor_min(n: int) -> Workload:
    """The least value of an even Taylor polynomial: NumPy finds all roots of its derivative."""
    coefficients = np.array([1 / math.factorial(k) for k in range(n, -1, -1)])

    def from_roots() -> tuple[float, float]:
        roots = np.roots(np.polyder(coefficients))
        x = float(roots[np.abs(roots.imag).argmin()].real)
        return x, float(np.polyval(coefficients, x))

    sides = {"kexue": Side(lambda: kx.exp_taylor_min(n)), "NumPy": Side(from_roots)}
    return Workload(f"exp_taylor_min, degree {n}", sides, rtol=1e-9)


# ---- smoothed functions ----

# The scale of each kernel, of about the same width.
SCALES = {"gaussian": 0.8, "logistic": 2.0, "student_t2": 1.5, "cauchy": 0.5}


def _smooth_step(x: np.ndarray, kernel: str, scale: float) -> np.ndarray:
    if kernel == "gaussian":
        return ndtr(x / scale)
    if kernel == "logistic":
        return expit(scale * x)
    if kernel == "student_t2":
        return (1 + x / np.sqrt(x * x + scale)) / 2
    return 0.5 + np.arctan(x / scale) / math.pi


def _smooth_relu(x: np.ndarray, kernel: str, scale: float) -> np.ndarray:
    if kernel == "gaussian":
        return x * ndtr(x / scale) + scale * _normal_density(x / scale)
    if kernel == "logistic":
        return np.logaddexp(0, scale * x) / scale
    return (x + np.sqrt(x * x + scale)) / 2


def _smooth_sign(x: np.ndarray, kernel: str, scale: float) -> np.ndarray:
    if kernel == "gaussian":
        return erf(x / (scale * math.sqrt(2)))
    if kernel == "logistic":
        return np.tanh(scale * x / 2)
    return 2 * _smooth_step(x, kernel, scale) - 1


def _smooth_clip(x: np.ndarray, kernel: str, scale: float) -> np.ndarray:
    if kernel == "cauchy":  # the antiderivative of its step, without the parts that cancel
        low, high = x + 1, x - 1
        logarithms = np.log((low * low + scale * scale) / (high * high + scale * scale)) * scale / (2 * math.pi)
        return (low * np.arctan(low / scale) - high * np.arctan(high / scale)) / math.pi - logarithms
    return -1 + _smooth_relu(x + 1, kernel, scale) - _smooth_relu(x - 1, kernel, scale)


def _smooth_floor(x: np.ndarray, kernel: str, scale: float) -> np.ndarray:
    """Cauchy's closed form; the sum of the steps that are not settled to the last digit for the others."""
    if kernel == "cauchy":
        r = math.exp(-2 * math.pi * scale)
        angle = 2 * math.pi * x
        return x - 0.5 + np.arctan2(r * np.sin(angle), 1 - r * np.cos(angle)) / math.pi
    half = math.ceil(9 * scale + 2 if kernel == "gaussian" else 37 / scale + 2)
    whole = np.floor(x)
    rest, total = x - whole, whole - half
    for k in range(1 - half, half + 1):
        total += _smooth_step(rest - k, kernel, scale)
    return total


def _smooth_pairs(x: np.ndarray, kernel: str) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    scale = SCALES[kernel]
    y = x[::-1].copy()
    options = {"kernel": kernel, "scale": scale}

    def leaky() -> np.ndarray:
        return 0.1 * x + 0.9 * _smooth_relu(x, kernel, scale)

    return {
        "smooth_relu": (lambda: kx.smooth_relu(x, **options), lambda: _smooth_relu(x, kernel, scale)),
        "smooth_step": (lambda: kx.smooth_step(x, **options), lambda: _smooth_step(x, kernel, scale)),
        "smooth_leaky_relu": (lambda: kx.smooth_leaky_relu(x, 0.1, **options), leaky),
        "smooth_abs": (lambda: kx.smooth_abs(x, **options), lambda: 2 * _smooth_relu(x, kernel, scale) - x),
        "smooth_sign": (lambda: kx.smooth_sign(x, **options), lambda: _smooth_sign(x, kernel, scale)),
        "smooth_clip": (lambda: kx.smooth_clip(x, -1, 1, **options), lambda: _smooth_clip(x, kernel, scale)),
        "smooth_maximum": (
            lambda: kx.smooth_maximum(x, y, **options),
            lambda: y + _smooth_relu(x - y, kernel, scale),
        ),
        "smooth_floor": (lambda: kx.smooth_floor(x, **options), lambda: _smooth_floor(x, kernel, scale)),
        "smooth_ceil": (lambda: kx.smooth_ceil(x, **options), lambda: -_smooth_floor(-x, kernel, scale)),
        "smooth_round": (lambda: kx.smooth_round(x, **options), lambda: _smooth_floor(x + 0.5, kernel, scale)),
    }


@recent
def smoothed(name: str, kernel: str, dtype: str, n: int = 1_000_000) -> Workload:
    """SciPy's special functions in the formula of the text books, which has only absolute accuracy."""
    kexue, expression = _smooth_pairs(argument(dtype, n), kernel)[name]
    eps = float(np.finfo(dtype).eps)
    sides = {"kexue": Side(kexue), "SciPy expression": Side(expression)}
    return Workload(
        f"{name}, {kernel}, {n:.0e} {dtype}",
        sides,
        rtol=64 * eps,
        atol=256 * eps,
        bytes_moved=(3 if name == "smooth_maximum" else 2) * n * np.dtype(dtype).itemsize,
    )


@recent
def smooth_function(kernel: str, n: int = 200) -> Workload:
    """A convolution by quadrature, of a bounded function with a step."""
    scale, x = SCALES[kernel], np.linspace(-3, 3, n)
    density = {
        "gaussian": lambda y: math.exp(-((y / scale) ** 2) / 2) / (scale * math.sqrt(2 * math.pi)),
        "logistic": lambda y: scale / (4 * math.cosh(scale * y / 2) ** 2) if abs(y) < 300 else 0.0,
    }[kernel]

    def function(y: np.ndarray) -> np.ndarray:
        return np.sin(y) + (y > 0)

    def by_quad() -> list[float]:
        def value(at: float) -> float:
            def integrand(y: float) -> float:
                return (math.sin(y) + (y > 0)) * density(at - y)

            pieces = ((-math.inf, 0), (0, math.inf))
            return sum(quad(integrand, *piece, epsabs=1e-10, epsrel=1e-10, limit=200)[0] for piece in pieces)

        return [value(at) for at in x.tolist()]

    smooth = kx.smooth_function(function, kernel, scale, breakpoints=(0.0,))
    sides = {"kexue": Side(partial(smooth, x), n), "SciPy's quad": Side(by_quad, n)}
    return Workload(f"smooth_function, {kernel}, {n} points", sides, rtol=1e-7, atol=1e-8)
