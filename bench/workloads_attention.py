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
        # As projections of a layer leave them in memory, heads after positions. Arrays of three dimensions are no peer:
        # without the dimension of batches it makes the whole matrix of weights, in four times the time.
        by_row = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (q, k, v)]
        sides["torch (n, h, d)"] = Side(lambda: function(*by_row, is_causal=causal)[0])
    tolerance = {"rtol": 1e-3, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-13}
    name = f"attention, {count} heads of {n}x{d} {dtype}" + (", causal" if causal else "")
    absent = {} if torch is not None else dict.fromkeys(("torch", "torch (n, h, d)"), NO_TORCH)
    return Workload(name, sides, absent=absent, **tolerance)


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


def _plain_macs(n: np.ndarray, h: int, d: int) -> np.ndarray:
    hidden = h * d
    return 12 * n * hidden**2 + 2 * n**2 * hidden


@recent
def transformer_layer_macs(count: int) -> Workload:
    """Numbers of many lengths that cannot wrap around, beside int64 arithmetic that could."""
    n = np.arange(1, count + 1)
    sides = {
        "kexue": Side(lambda: kx.transformer_layer_macs(n, 12, 64)),
        "NumPy": Side(lambda: _plain_macs(n, 12, 64)),
    }
    return Workload(f"transformer_layer_macs of {count} lengths", sides, rtol=0)


@recent
def attention_rank(count: int, n: int, d: int) -> Workload:
    rng = np.random.default_rng([count, n, d])
    P = kx.softmax(rng.standard_normal((count, n, d)) @ rng.standard_normal((count, d, n)))

    def whole() -> np.ndarray:
        scores = np.log(P)
        return np.linalg.matrix_rank(scores - scores.mean(axis=-1, keepdims=True))

    return Workload(
        f"attention_rank, {count} of {n}x{n}, d = {d}",
        {"kexue": Side(lambda: kx.attention_rank(P)), "NumPy": Side(whole)},
    )


@recent
def attention_entropy(rows: int, n: int, dtype: str, kind: str) -> Workload:
    from scipy import stats

    logits = np.random.default_rng([rows, n]).standard_normal((rows, n), dtype=np.dtype(dtype))
    A = logits if kind == "logits" else kx.softmax(logits)

    def plain() -> np.ndarray:
        return stats.entropy(np.exp(A - A.max(axis=-1, keepdims=True)) if kind == "logits" else A, axis=-1)

    sides = {"kexue": Side(lambda: kx.attention_entropy(A, kind=kind)), "SciPy": Side(plain)}
    return Workload(f"attention_entropy, {rows}x{n} {kind}, {dtype}", sides, rtol=1e-4 if dtype == "float32" else 1e-10)


@recent
def attention_entropy_model(count: int) -> Workload:
    """Many scales in 64 dimensions, beside SciPy's scaled Bessel functions."""
    from scipy import special

    scales, d = np.linspace(0.05, 2, count), 64
    nu, kappa = d / 2 - 1, np.linspace(0.05, 2, count) * d

    def bessel() -> np.ndarray:
        first, second = special.ive(nu, kappa), special.ive(nu + 1, kappa)
        log_mean = special.gammaln(nu + 1) + nu * np.log(2 / kappa) + np.log(first) + kappa
        return np.log(512) + log_mean - kappa * second / first

    sides = {"kexue": Side(lambda: kx.attention_entropy_model(512, d, scales)), "SciPy's ive": Side(bessel)}
    return Workload(f"attention_entropy_model of {count} scales", sides, rtol=1e-9)


@recent
def entropy_matched_scale(count: int) -> Workload:
    """The scale at which many lengths have one entropy, beside the law for large d, which is closed."""
    n = np.arange(512, 512 + count)
    target = kx.attention_entropy_model(512, 64, 1 / 8)
    sides = {
        "kexue": Side(lambda: kx.entropy_matched_scale(target, n, 64)),
        "large d": Side(lambda: kx.entropy_matched_scale(target, n, 64, method="asymptotic")),
    }
    return Workload(f"entropy_matched_scale of {count} lengths", sides, rtol=0.02)
