"""What is measured of attention."""

from __future__ import annotations

import math
from dataclasses import astuple, is_dataclass
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx

_MOST_CUMSUM_KEYS = 2048  # 12 heads of 4096 take it 12 s


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
        # As projections of a layer leave them in memory, heads after positions. Arrays of three dimensions are no peer:
        # without the dimension of batches it makes the whole matrix of weights, in four times the time.
        by_row = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (q, k, v)]
        sides["torch (n, h, d)"] = Side(lambda: function(*by_row, is_causal=causal)[0])
    tolerance = {"rtol": 1e-3, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-13}
    name = f"attention, {count} heads of {n}x{d} {dtype}" + (", causal" if causal else "")
    absent = without_torch("torch", "torch (n, h, d)")
    return Workload(name, sides, absent=absent, **tolerance, operations=4 * count * n * n * d // (1 + causal))


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
    return Workload(name, sides, absent=without_torch(), **tolerance, operations=12 * count * n * n * d)


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
    name = f"talking_heads_attention{'_vjp' * has_gradients}, {count} heads of {n}x{d} {dtype}" + (
        "" if mixes_weights else ", logits only"
    )
    return Workload(
        name,
        sides,
        absent=without_torch(),
        **tolerance,
        operations=count * n * n * (4 + 8 * has_gradients) * d
        + len(mixes) * (2 + 4 * has_gradients) * (count * n) ** 2,
    )


@recent
def talking_heads_attention(count: int, n: int, d: int, dtype: str, mixes_weights: bool) -> Workload:
    return _talking_heads(count, n, d, dtype, mixes_weights, False)


@recent
def talking_heads_attention_vjp(count: int, n: int, d: int, dtype: str) -> Workload:
    return _talking_heads(count, n, d, dtype, True, True)


@recent
def features(count: int, n: int, m: int, d: int, dtype: str) -> tuple[np.ndarray, ...]:
    """Positive numbers for queries and keys, values, and an upstream gradient."""
    rng = np.random.default_rng([count, n, m, d])
    phi_Q, phi_K = (rng.random((count, n, m), dtype=np.dtype(dtype)) for _ in range(2))
    return phi_Q, phi_K, *(rng.standard_normal((count, n, d), dtype=np.dtype(dtype)) for _ in range(2))


def _by_sums(phi_Q: Any, phi_K: Any, V: Any) -> Any:
    """Of NumPy and torch alike: two products of matrices."""
    return phi_Q @ (phi_K.swapaxes(-1, -2) @ V) / (phi_Q @ phi_K.sum(-2)[..., None])


def _causal_by_blocks(torch: Any, phi_Q: Any, phi_K: Any, V: Any, block: int) -> Any:
    """Sums before each block of keys, weights within it."""
    heads, n = phi_Q.shape[:2]
    q, k, v = (array.reshape(heads, n // block, block, -1) for array in (phi_Q, phi_K, V))
    sums, totals = ((k.transpose(-1, -2) @ v).cumsum(1), k.sum(-2, keepdim=True).cumsum(1))
    sums, totals = (torch.cat([torch.zeros_like(array[:, :1]), array[:, :-1]], 1) for array in (sums, totals))
    weights = (q @ k.transpose(-1, -2)).tril()
    out = (q @ sums + weights @ v) / (q @ totals.transpose(-1, -2) + weights.sum(-1, keepdim=True))
    return out.reshape(heads, n, -1)


def _causal_block_after_block(torch: Any, phi_Q: Any, phi_K: Any, V: Any, block: int) -> Any:
    """The same with one sum, to which blocks are added in turns: what fits in the caches is not written to memory."""
    sums, totals, outs = 0.0, 0.0, []
    for q, k, v in zip(*(array.split(block, dim=1) for array in (phi_Q, phi_K, V)), strict=True):
        weights = (q @ k.transpose(-1, -2)).tril()
        numerators, denominators = weights @ v, weights.sum(-1, keepdim=True)
        if outs:
            numerators, denominators = numerators + q @ sums, denominators + q @ totals
        outs.append(numerators / denominators)
        sums, totals = sums + k.transpose(-1, -2) @ v, totals + k.sum(-2)[..., None]
    return torch.cat(outs, 1)


def _causal_by_cumsum(torch: Any, phi_Q: Any, phi_K: Any, V: Any) -> Any:
    """As it is mostly written: a matrix for every key. Head by head, for memory."""
    outs = []
    for q, k, v in zip(phi_Q, phi_K, V, strict=True):
        sums = torch.einsum("nm,nd->nmd", k, v).cumsum(0)
        outs.append(torch.einsum("nm,nmd->nd", q, sums) / (q * k.cumsum(0)).sum(-1, keepdim=True))
    return torch.stack(outs)


@recent
def linear_attention(count: int, n: int, m: int, d: int, dtype: str, causal: bool) -> Workload:
    phi_Q, phi_K, V, _ = features(count, n, m, d, dtype)
    sides = {"kexue": Side(lambda: kx.linear_attention(phi_Q, phi_K, V, causal=causal, workers=1))}
    torch: Any = installed("torch")
    if not causal:
        sides["NumPy"] = Side(lambda: _by_sums(phi_Q, phi_K, V))
    if torch is not None:
        q, k, v = (torch.from_numpy(array) for array in (phi_Q, phi_K, V))
        if causal:
            sides["torch, blocks at once"] = Side(lambda: _causal_by_blocks(torch, q, k, v, 128))
            sides["torch, block after block"] = Side(lambda: _causal_block_after_block(torch, q, k, v, 128))
            if count * n <= _MOST_CUMSUM_KEYS:
                sides["torch cumsum"] = Side(lambda: _causal_by_cumsum(torch, q, k, v))
        else:
            sides["torch"] = Side(lambda: _by_sums(q, k, v))
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-13}
    name = f"linear_attention, {count} heads of {n}, {m} features, {d} {dtype}" + (", causal" if causal else "")
    peers = ("torch, blocks at once", "torch, block after block") if causal else ("torch",)
    return Workload(name, sides, absent=without_torch(*peers), **tolerance, operations=4 * count * n * m * d)


@recent
def linear_attention_vjp(count: int, n: int, m: int, d: int, dtype: str, causal: bool) -> Workload:
    """The output and all gradients, on both sides."""
    phi_Q, phi_K, V, grad = features(count, n, m, d, dtype)

    def own() -> tuple[np.ndarray, ...]:
        return kx.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, workers=1)

    sides = {"kexue": Side(own, comparable=_flat)}
    torch: Any = installed("torch")
    if torch is not None:
        tensors = tuple(torch.from_numpy(array).requires_grad_() for array in (phi_Q, phi_K, V))
        upstream = torch.from_numpy(grad)

        def call() -> tuple[Any, ...]:
            out = _causal_block_after_block(torch, *tensors, 128) if causal else _by_sums(*tensors)
            return torch.autograd.grad(out, tensors, upstream)

        sides["torch"] = Side(call, comparable=_flat)
    tolerance = {"rtol": 1e-3, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-13}
    name = f"linear_attention_vjp, {count} heads of {n}, {m} features, {d} {dtype}" + (", causal" if causal else "")
    return Workload(name, sides, absent=without_torch(), **tolerance, operations=12 * count * n * m * d)


@recent
def favor_features(count: int, n: int, m: int, d: int, dtype: str, kind: str) -> Workload:
    X = heads(count, n, d, dtype)[0] * np.dtype(dtype).type(0.3)
    W = kx.favor_projection(m, d, rng=0).astype(dtype)
    root = math.sqrt(m)

    def by_formula(np_or_torch: Any, x: Any, w: Any) -> Any:
        projections = x @ w.T
        halves = (x * x).sum(-1)[..., None] / 2
        if kind == "positive":
            return np_or_torch.exp(projections - halves) / root
        parts = [np_or_torch.cos(projections), np_or_torch.sin(projections)]
        return np_or_torch.concatenate(parts, -1) * (np_or_torch.exp(halves) / root)

    sides = {
        "kexue": Side(lambda: kx.favor_features(X, W, kind=kind)),
        "NumPy": Side(lambda: by_formula(np, X, W)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        x, w = torch.from_numpy(X), torch.from_numpy(W)
        sides["torch"] = Side(lambda: by_formula(torch, x, w))
    tolerance = {"rtol": 1e-4, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    name = f"favor_features {kind}, {count} heads of {n}x{d} to {m} {dtype}"
    return Workload(name, sides, absent=without_torch(), **tolerance, operations=2 * count * n * m * d)


@recent
def taylor_features(n: int, d: int, degree: int, dtype: str) -> Workload:
    """scikit-learn's monomials have no weights: its users multiply by them."""
    from sklearn.preprocessing import PolynomialFeatures

    X = heads(1, n, d, dtype)[0][0]
    expansion = PolynomialFeatures(degree).fit(X)
    weights = np.array([math.prod(map(math.factorial, powers)) for powers in expansion.powers_.tolist()]) ** -0.5
    weights = weights.astype(dtype)

    def weighted() -> np.ndarray:
        features = expansion.transform(X)
        features *= weights
        return features

    sides = {
        "kexue": Side(lambda: kx.taylor_features(X, degree, workers=1)),
        "scikit-learn": Side(weighted),
    }
    tolerance = {"rtol": 1e-5, "atol": 1e-7} if dtype == "float32" else {"rtol": 1e-12, "atol": 1e-15}
    return Workload(
        f"taylor_features, {n}x{d}, degree {degree} {dtype}",
        sides,
        absent={},
        **tolerance,
        bytes_moved=X.nbytes + n * len(weights) * X.itemsize,
    )


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


# Numbers for one layer of 12 heads of 64 and 512 positions, by the formulas of the documentation.
_COUNTS = {
    "attention_macs": (lambda: kx.attention_macs(512, 12, 64), lambda: 4 * 512 * 768**2 + 2 * 512**2 * 768),
    "ffn_macs": (lambda: kx.ffn_macs(512, 768), lambda: 8 * 512 * 768**2),
    "transformer_layer_macs": (
        lambda: kx.transformer_layer_macs(512, 12, 64),
        lambda: 12 * 512 * 768**2 + 2 * 512**2 * 768,
    ),
    "crossover_lengths": (lambda: kx.crossover_lengths(12, 64), lambda: (2 * 768, 6 * 768, 64)),
    "attention_param_budget": (
        lambda: kx.attention_param_budget(512, 768, 12),
        lambda: (2 * 512 * 64, 512 * 512, 2 * 64 / 512, 2 * 512 * 768 * 768),
    ),
}


@recent
def counting(function: str) -> Workload:
    """What a checked call costs beside the arithmetic of its formula."""
    kexue, python = _COUNTS[function]

    def numbers(found: Any) -> np.ndarray:
        return np.array(astuple(found) if is_dataclass(found) else found, dtype=np.float64)

    sides = {"kexue": Side(kexue, comparable=numbers), "Python": Side(python, comparable=numbers)}
    return Workload(f"{function}, one layer", sides, rtol=0)


@recent
def entropy_invariant_scale(count: int, d: int) -> Workload:
    n = np.arange(1, 1 + count)
    sides = {
        "kexue": Side(lambda: kx.entropy_invariant_scale(n, d)),
        "NumPy": Side(lambda: np.log(n) * (math.sqrt(d) / math.log(512) / d)),
    }
    return Workload(f"entropy_invariant_scale of {count} lengths", sides, rtol=1e-13)


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
    return Workload(
        f"attention_entropy, {rows}x{n} {kind}, {dtype}",
        sides,
        rtol=1e-4 if dtype == "float32" else 1e-10,
        bytes_moved=A.nbytes,
    )


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
        "kexue, large d": Side(lambda: kx.entropy_matched_scale(target, n, 64, method="asymptotic")),
    }
    return Workload(f"entropy_matched_scale of {count} lengths", sides, rtol=0.02)
