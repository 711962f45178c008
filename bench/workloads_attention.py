"""What is measured of attention."""

from __future__ import annotations

from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent

import kexue as kx

NO_TORCH = "torch is not installed"


def _flat(results: Any) -> np.ndarray:
    return np.concatenate([np.asarray(result, dtype=np.float64).reshape(-1) for result in results])


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


def _talking_heads(count: int, n: int, d: int, dtype: str, mixes_weights: bool, has_gradients: bool) -> Workload:
    """All heads mix with all; with gradients, by everything, the output included on both sides."""
    Q, K, V, grad = heads(count, n, d, dtype)
    rng = np.random.default_rng(count)
    mixes = [(rng.standard_normal((count, count)) / np.sqrt(count)).astype(dtype) for _ in range(1 + mixes_weights)]
    both = mixes if mixes_weights else [*mixes, None]
    comparable = _flat if has_gradients else np.asarray
    if has_gradients:
        sides = {
            "kexue": Side(
                lambda: kx.talking_heads_attention_vjp(Q, K, V, *both, grad, workers=1)[: 4 + mixes_weights],
                comparable=comparable,
            )
        }
    else:
        sides = {"kexue": Side(lambda: kx.talking_heads_attention(Q, K, V, *both, workers=1))}
    torch: Any = installed("torch")
    if torch is not None:
        inputs = [torch.from_numpy(array) for array in (Q, K, V, *mixes)]
        upstream = torch.from_numpy(grad)

        def einsum(q: Any, k: Any, v: Any, logit_mix: Any, *weight_mix: Any) -> Any:
            logits = torch.einsum("gh,hij->gij", logit_mix, torch.einsum("hid,hjd->hij", q, k) * d**-0.5)
            weights = logits.softmax(-1)
            if weight_mix:
                weights = torch.einsum("vg,gij->vij", weight_mix[0], weights)
            return torch.einsum("vij,vjd->vid", weights, v)

        def forward() -> Any:
            with torch.no_grad():
                return einsum(*inputs)

        def backward() -> tuple[Any, ...]:
            leaves = [tensor.detach().requires_grad_() for tensor in inputs]
            return torch.autograd.grad(einsum(*leaves), leaves, upstream)

        sides["torch"] = Side(backward if has_gradients else forward, comparable=comparable)
    tolerance = (
        {"rtol": 1e-3, "atol": 1e-4 if has_gradients else 2e-6} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    )
    name = f"talking heads{' gradients' * has_gradients}, {count} heads of {n}x{d} {dtype}" + (
        "" if mixes_weights else ", logits only"
    )
    return Workload(name, sides, absent={} if torch is not None else {"torch": NO_TORCH}, **tolerance)


@recent
def talking_heads_attention(count: int, n: int, d: int, dtype: str, mixes_weights: bool) -> Workload:
    return _talking_heads(count, n, d, dtype, mixes_weights, False)


@recent
def talking_heads_attention_vjp(count: int, n: int, d: int, dtype: str) -> Workload:
    return _talking_heads(count, n, d, dtype, True, True)
