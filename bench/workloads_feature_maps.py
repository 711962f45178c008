"""What is measured of feature maps for linear attention, of their errors and laws."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
from scipy.special import gammaln
from workloads import Side, Workload, installed, recent, without_torch
from workloads_attention import heads

import kexue as kx


@recent
def expdef_features(n: int, d: int, power: int) -> Workload:
    """Products of features are (1 + q . k / power)^power, which is compared; NumPy writes a column a monomial."""
    X = heads(1, n, d, "float64")[0][0]
    augmented = np.concatenate([np.ones((n, 1)), X / math.sqrt(power)], axis=1)
    monomials = list(itertools.combinations_with_replacement(range(d + 1), power))
    columns = np.array(monomials).T
    weights = np.array(
        [math.factorial(power) / math.prod(math.factorial(m.count(j)) for j in set(m)) for m in monomials]
    )
    weights = np.sqrt(weights)

    def by_numpy() -> np.ndarray:
        features = augmented[:, columns[0]] * weights
        for column in columns[1:]:
            features *= augmented[:, column]
        return features

    def products(features: np.ndarray) -> np.ndarray:
        found = features[:50] @ features[:50].T
        np.testing.assert_allclose(found, (1 + X[:50] @ X[:50].T / power) ** power, rtol=1e-9, atol=1e-9)
        return found

    sides = {
        "kexue": Side(lambda: kx.expdef_features(X, power, workers=1), comparable=products),
        "NumPy": Side(by_numpy, comparable=products),
    }
    size = 8 * n * (d + len(monomials))
    return Workload(f"expdef_features, {n}x{d}, n = {power}", sides, rtol=1e-9, atol=1e-9, bytes_moved=size)


@recent
def favor_attention(count: int, n: int, m: int, d: int, dtype: str) -> Workload:
    """Positive features of queries and keys, and the two products of linear attention."""
    Q, K, V, _ = heads(count, n, d, dtype)
    W = kx.favor_projection(m, d, rng=0).astype(dtype)
    root = d**-0.25

    def by_formula(library: Any, q: Any, k: Any, v: Any, w: Any) -> Any:
        def features(x: Any) -> Any:
            x = x * root
            exponents = x @ w.T - (x * x).sum(-1)[..., None] / 2
            return library.exp(exponents)  # exponents of these data are far from overflow

        phi_q, phi_k = features(q), features(k)
        return phi_q @ (phi_k.swapaxes(-1, -2) @ v) / (phi_q @ phi_k.sum(-2)[..., None])

    sides = {
        "kexue": Side(lambda: kx.favor_attention(Q, K, V, W, workers=1)),
        "NumPy": Side(lambda: by_formula(np, Q, K, V, W)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensors = [torch.from_numpy(array) for array in (Q, K, V, W)]
        sides["torch"] = Side(lambda: by_formula(torch, *tensors))
    tolerance = {"rtol": 1e-2, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    name = f"favor_attention, {count} heads of {n}x{d}, {m} features {dtype}"
    # Directions of queries and keys, and the two products.
    operations = count * n * m * (4 * d + 4 * d)
    return Workload(name, sides, absent=without_torch(), operations=operations, **tolerance)


@recent
def favor_features_vjp(count: int, n: int, m: int, d: int, dtype: str) -> Workload:
    """Of positive features, which are computed again on all sides: torch's autograd needs them as well."""
    X, grad = heads(count, n, d, dtype)[0] * np.dtype(dtype).type(0.3), heads(count, n, m, dtype)[3]
    W = kx.favor_projection(m, d, rng=0).astype(dtype)
    scale = np.dtype(dtype).type(1 / math.sqrt(m))

    def by_numpy() -> np.ndarray:
        weighted = np.exp(X @ W.T - (X * X).sum(-1, keepdims=True) / 2) * scale * grad
        return weighted @ W - weighted.sum(-1, keepdims=True) * X

    sides = {"kexue": Side(lambda: kx.favor_features_vjp(X, W, grad)), "NumPy": Side(by_numpy)}
    torch: Any = installed("torch")
    if torch is not None:
        x, w, upstream = torch.from_numpy(X).requires_grad_(), torch.from_numpy(W), torch.from_numpy(grad)

        def by_torch() -> Any:
            features = torch.exp(x @ w.T - (x * x).sum(-1)[..., None] / 2) * float(scale)
            return torch.autograd.grad(features, x, upstream)[0]

        sides["torch"] = Side(by_torch)
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-12}
    name = f"favor_features_vjp, {count} heads of {n}x{d} to {m} {dtype}"
    return Workload(name, sides, absent=without_torch(), operations=4 * count * n * m * d, **tolerance)


@recent
def favor_projection(m: int, d: int) -> Workload:
    """Orthogonal in blocks: products of the rows' directions are compared."""

    def by_numpy() -> np.ndarray:
        rng = np.random.default_rng(0)
        blocks = [np.linalg.qr(rng.standard_normal((d, d)))[0].T for _ in range(-(-m // d))]
        return np.concatenate(blocks)[:m] * np.linalg.norm(rng.standard_normal((m, d)), axis=1)[:, None]

    def angles(rows: np.ndarray) -> np.ndarray:
        directions = rows / np.linalg.norm(rows, axis=1)[:, None]
        return np.stack([block @ block.T for block in np.split(directions, m // d)])

    sides = {
        "kexue": Side(lambda: kx.favor_projection(m, d, rng=0), comparable=angles),
        "NumPy": Side(by_numpy, comparable=angles),
    }
    return Workload(f"favor_projection, {m} of {d}", sides, rtol=0, atol=1e-12)


@recent
def favor_relative_variance(n: int, d: int) -> Workload:
    q, k = heads(1, n, d, "float64")[0][0] / d, heads(1, n, d, "float64")[1][0] / d
    sides = {
        "kexue": Side(lambda: kx.favor_relative_variance(q, k)),
        "NumPy": Side(lambda: np.expm1(np.square(q + k).sum(-1))),
    }
    return Workload(f"favor_relative_variance, {n} of {d}", sides, rtol=1e-11)


@recent
def kernel_error(n: int, m: int, d: int) -> Workload:
    """Over all pairs, as matrices in NumPy."""
    X = heads(1, n, d, "float64")[0][0] / 8
    phi = kx.favor_features(X, kx.favor_projection(m, d, rng=0))

    def by_numpy() -> list[float]:
        errors = phi @ phi.T / np.exp(X @ X.T) - 1
        sizes = np.abs(errors)
        return [errors.mean(), sizes.mean(), math.sqrt(np.square(errors).mean()), sizes.max()]

    sides = {
        "kexue": Side(
            lambda: kx.kernel_error(X, X, phi, phi),
            comparable=lambda found: np.array([found.mean, found.mean_absolute, found.rms, found.max]),
        ),
        "NumPy": Side(by_numpy),
    }
    name = f"kernel_error, {n} and {n} of {d}, {m} features"
    return Workload(name, sides, rtol=1e-9, atol=1e-12, operations=2 * n * n * (m + d))


@recent
def law(function: str, n: int, degree: int) -> Workload:
    """taylor_remainder_bound and expdef_ratio beside their formulas."""
    s = np.linspace(-0.9 * degree, 10, n)

    def remainder() -> np.ndarray:
        return np.exp((degree + 1) * np.log(np.abs(s)) - gammaln(degree + 2) + np.maximum(s, 0))

    kexue, expression = {
        "taylor_remainder_bound": (lambda: kx.taylor_remainder_bound(s, degree), remainder),
        "expdef_ratio": (
            lambda: kx.expdef_ratio(s, degree),
            lambda: np.exp(degree * np.log1p(s / degree) - s),
        ),
    }[function]
    return Workload(f"{function}, {n}", {"kexue": Side(kexue), "NumPy": Side(expression)}, rtol=1e-10)


@recent
def feature_dimension(d: int, degree: int) -> Workload:
    """A number of any size, beside Python's own."""
    kexue, python = Side(lambda: kx.feature_dimension(d, degree)), Side(lambda: math.comb(d + degree, degree))
    sides = {side: Side(given.call, comparable=math.log) for side, given in (("kexue", kexue), ("Python", python))}
    assert kexue.call() == python.call()
    return Workload(f"feature_dimension, {d}, degree {degree}", sides, rtol=1e-15)
