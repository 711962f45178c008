"""What is measured of attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent

import kexue as kx

NO_TORCH = "torch is not installed"


@recent
def heads(count: int, n: int, d: int, dtype: str) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([count, n, d])
    return tuple(rng.standard_normal((count, n, d), dtype=np.dtype(dtype)) for _ in range(4))


def _whole(Q: np.ndarray, K: np.ndarray, V: np.ndarray, causal: bool) -> np.ndarray:
    """A matrix of weights for each head, as in text books."""
    scores = Q @ K.swapaxes(-1, -2) / np.sqrt(Q.shape[-1], dtype=Q.dtype)
    if causal:
        scores[:, ~np.tri(*scores.shape[-2:], dtype=bool)] = -np.inf
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores @ V


@recent
def attention(count: int, n: int, d: int, dtype: str, causal: bool) -> Workload:
    Q, K, V, _ = heads(count, n, d, dtype)
    sides = {
        "kexue": Side(lambda: kx.attention(Q, K, V, causal=causal, workers=1)),
        "NumPy": Side(lambda: _whole(Q, K, V, causal)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        q, k, v = (torch.from_numpy(array)[None] for array in (Q, K, V))
        function = torch.nn.functional.scaled_dot_product_attention
        sides["torch"] = Side(lambda: function(q, k, v, is_causal=causal)[0])
    tolerance = {"rtol": 1e-3, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-13}
    name = f"attention, {count} heads of {n}x{d} {dtype}" + (", causal" if causal else "")
    return Workload(name, sides, absent={} if torch is not None else {"torch": NO_TORCH}, **tolerance)


@recent
def attention_vjp(count: int, n: int, d: int, dtype: str) -> Workload:
    """The output and all gradients, on both sides."""
    Q, K, V, grad = heads(count, n, d, dtype)
    sides = {"kexue": Side(lambda: kx.attention_vjp(Q, K, V, grad, workers=1))}
    torch: Any = installed("torch")
    if torch is not None:
        q, k, v = (torch.from_numpy(array)[None].requires_grad_() for array in (Q, K, V))
        upstream = torch.from_numpy(grad)[None]

        def call() -> tuple[Any, ...]:
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v)
            return tuple(part[0] for part in torch.autograd.grad(out, (q, k, v), upstream))

        sides["torch"] = Side(call)
    tolerance = {"rtol": 1e-2, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    name = f"attention_vjp, {count} heads of {n}x{d} {dtype}"
    return Workload(name, sides, absent={} if torch is not None else {"torch": NO_TORCH}, **tolerance)
