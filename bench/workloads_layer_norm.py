"""What is measured of the normalisation of rows.

Both sides of the forward functions return fresh arrays: torch has no out= for them. Of 50 MB (float64), the page faults
of a fresh array are most of torch's time, as NumPy asks for huge pages; of 25 MB (float32), malloc keeps the memory,
and the sides are alike.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx

EPS = 1e-5


@recent
def rows(count: int, n: int, dtype: str) -> tuple[np.ndarray, ...]:
    """Rows, an upstream gradient, gamma and beta."""
    rng, kind = np.random.default_rng([count, n]), np.dtype(dtype)
    x, grad = rng.standard_normal((2, count, n), dtype=kind)
    gamma, beta = rng.standard_normal((2, n), dtype=kind)
    return x, grad, gamma, beta


def _joined(result: Any) -> np.ndarray:
    if isinstance(result, tuple):
        return np.concatenate([np.ravel(np.asarray(part)) for part in result])
    return np.ravel(np.asarray(result))


def _workload(name: str, dtype: str, sides: dict[str, Side], bytes_moved: int) -> Workload:
    # torch adds 8192 terms in float32.
    tolerance = {"rtol": 1e-3, "atol": 2e-3} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-10}
    return Workload(name, sides, absent=without_torch(), **tolerance, bytes_moved=bytes_moved)


@recent
def normalize(name: str, count: int, n: int, dtype: str) -> Workload:
    """`layer_norm` with gamma and beta, or `rms_norm` with gamma."""
    x, _, gamma, beta = rows(count, n, dtype)
    out = np.empty_like(x)

    def expression() -> np.ndarray:
        d = x - x.mean(axis=1, keepdims=True) if name == "layer_norm" else x
        h = d / np.sqrt((d * d).mean(axis=1, keepdims=True) + EPS)
        return h * gamma + beta if name == "layer_norm" else h * gamma

    weights = (gamma, beta) if name == "layer_norm" else (gamma,)
    function = getattr(kx, name)
    sides = {
        "kexue": Side(lambda: function(x, *weights, eps=EPS), comparable=_joined),
        "kexue out=": Side(lambda: function(x, *weights, eps=EPS, out=out), comparable=_joined),
        "NumPy": Side(expression, comparable=_joined),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensors = [torch.from_numpy(array) for array in (x, *weights)]
        theirs: Callable[..., Any] = getattr(torch.nn.functional, name)
        sides["torch"] = Side(lambda: theirs(tensors[0], (n,), *tensors[1:], EPS), comparable=_joined)
    return _workload(f"{name}, {count}x{n} {dtype}", dtype, sides, 2 * x.nbytes)


@recent
def normalize_vjp(name: str, count: int, n: int, dtype: str) -> Workload:
    """All gradients. torch has mean and deviation of each row from the forward pass; kexue makes them again."""
    x, grad, gamma, _ = rows(count, n, dtype)
    is_layer = name == "layer_norm_vjp"

    def expression() -> tuple[np.ndarray, ...]:
        d = x - x.mean(axis=1, keepdims=True) if is_layer else x
        s = np.sqrt((d * d).mean(axis=1, keepdims=True) + EPS)
        h, slope = d / s, grad * gamma
        along = h * (slope * h).mean(axis=1, keepdims=True)
        by_gamma = (grad * h).sum(axis=0)
        if not is_layer:
            return (slope - along) / s, by_gamma
        return (slope - slope.mean(axis=1, keepdims=True) - along) / s, by_gamma, grad.sum(axis=0)

    function = getattr(kx, name)
    sides = {
        "kexue": Side(lambda: function(x, grad, gamma, eps=EPS, workers=1), comparable=_joined),
        "NumPy": Side(expression, comparable=_joined),
    }
    torch: Any = installed("torch")
    if torch is not None and is_layer:
        tensor, upstream, weight = (torch.from_numpy(array) for array in (x, grad, gamma))
        _, mean, inverse = torch.native_layer_norm(tensor, (n,), weight, torch.zeros_like(weight), EPS)
        sides["torch"] = Side(
            lambda: torch.ops.aten.native_layer_norm_backward(
                upstream, tensor, (n,), mean, inverse, weight, torch.zeros_like(weight), [True] * 3
            ),
            comparable=_joined,
        )
    elif torch is not None:
        leaf, weight = (torch.from_numpy(array).requires_grad_() for array in (x, gamma))
        upstream = torch.from_numpy(grad)
        result = torch.nn.functional.rms_norm(leaf, (n,), weight, EPS)
        sides["torch"] = Side(
            lambda: torch.autograd.grad(result, (leaf, weight), upstream, retain_graph=True), comparable=_joined
        )
    return _workload(f"{name}, {count}x{n} {dtype}", dtype, sides, 3 * x.nbytes)


@recent
def ntk_linear(count: int, m: int, n: int, dtype: str) -> Workload:
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    x, W = rng.standard_normal((count, m), dtype=kind), rng.standard_normal((m, n), dtype=kind)
    b = rng.standard_normal(n, dtype=kind)
    sides = {
        "kexue": Side(lambda: kx.ntk_linear(x, W, b)),
        "NumPy": Side(lambda: x @ W / kind.type(np.sqrt(m)) + b),
    }
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-11, "atol": 1e-12}
    return Workload(f"ntk_linear, {count}x{m} by {m}x{n} {dtype}", sides, **tolerance, operations=2 * count * m * n)
