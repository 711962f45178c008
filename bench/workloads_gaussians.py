"""What is measured of Gaussians: divergences, distances and maps in batches, beside torch, NumPy, SciPy and POT."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import ot.gaussian
from scipy import linalg
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx

# Where a peer takes one matrix after another, it gets some of the batch.
SOME = 100


@recent
def gaussians(count: int, d: int, dtype: str) -> tuple[np.ndarray, ...]:
    """Means and covariances of p and of q, with conditions of some tens."""
    rng = np.random.default_rng([count, d])
    arrays = []
    for _ in range(2):
        factors = rng.standard_normal((count, d, 2 * d)) / math.sqrt(2 * d)
        arrays += [rng.standard_normal((count, d)), factors @ factors.swapaxes(1, 2) + 0.1 * np.eye(d)]
    return tuple(array.astype(dtype) for array in arrays)


def _tolerance(dtype: str) -> dict[str, float]:
    return {"rtol": 1e-9, "atol": 1e-10} if dtype == "float64" else {"rtol": 2e-3, "atol": 2e-4}


def _joined(parts: Any) -> np.ndarray:
    return np.concatenate([np.ravel(part) for part in parts])


# ---- by NumPy's batched linear algebra ----


def _log_determinant(cov: np.ndarray) -> np.ndarray:
    return 2 * np.log(np.diagonal(np.linalg.cholesky(cov), axis1=-2, axis2=-1)).sum(axis=-1)


def _quadratic(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """vector^T matrix^-1 vector."""
    return (vector * np.linalg.solve(matrix, vector[..., None])[..., 0]).sum(axis=-1)


def _entropy(mean_p: Any, cov_p: np.ndarray, mean_q: Any, cov_q: Any) -> np.ndarray:
    return 0.5 * (cov_p.shape[-1] * (1 + math.log(2 * math.pi)) + _log_determinant(cov_p))


def _kl(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> np.ndarray:
    trace = np.trace(np.linalg.solve(cov_q, cov_p), axis1=-2, axis2=-1)
    logs = _log_determinant(cov_q) - _log_determinant(cov_p)
    return 0.5 * (_quadratic(cov_q, mean_p - mean_q) + trace - cov_p.shape[-1] + logs)


def _bhattacharyya(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> np.ndarray:
    middle = (cov_p + cov_q) / 2
    logs = _log_determinant(middle) - 0.5 * (_log_determinant(cov_p) + _log_determinant(cov_q))
    return _quadratic(middle, mean_p - mean_q) / 8 + logs / 2


def _hellinger(*given: np.ndarray) -> np.ndarray:
    return np.sqrt(-np.expm1(-_bhattacharyya(*given)))


def _w2(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> np.ndarray:
    """From the eigenvalues of L^T cov_q L, L the Cholesky factor of cov_p: half of the digits of the small ones."""
    factor = np.linalg.cholesky(cov_p)
    values = np.linalg.eigvalsh(factor.swapaxes(-1, -2) @ cov_q @ factor)
    traces = np.trace(cov_p, axis1=-2, axis2=-1) + np.trace(cov_q, axis1=-2, axis2=-1)
    squared = np.square(mean_p - mean_q).sum(axis=-1) + traces - 2 * np.sqrt(np.maximum(values, 0)).sum(axis=-1)
    return np.sqrt(np.maximum(squared, 0))


def _root(matrix: np.ndarray, power: float) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * values[..., None, :] ** power) @ vectors.swapaxes(-1, -2)


def _map(cov_p: np.ndarray, cov_q: np.ndarray) -> np.ndarray:
    root, inverse = _root(cov_p, 0.5), _root(cov_p, -0.5)
    return inverse @ _root(root @ cov_q @ root, 0.5) @ inverse


def _entropy_grad(mean_p: Any, cov_p: np.ndarray, mean_q: Any, cov_q: Any) -> np.ndarray:
    return np.linalg.inv(cov_p) / 2


def _outer(vector: np.ndarray) -> np.ndarray:
    return vector[..., :, None] * vector[..., None, :]


def _kl_grad(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> tuple[np.ndarray, ...]:
    of_p, of_q = np.linalg.inv(cov_p), np.linalg.inv(cov_q)
    step = np.matmul(of_q, (mean_p - mean_q)[..., None])[..., 0]
    return step, (of_q - of_p) / 2, -step, (of_q - of_q @ cov_p @ of_q - _outer(step)) / 2


def _bhattacharyya_grad(
    mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray
) -> tuple[np.ndarray, ...]:
    middle = np.linalg.inv((cov_p + cov_q) / 2)
    step = np.matmul(middle, (mean_p - mean_q)[..., None])[..., 0]
    by_cov = [(middle - np.linalg.inv(cov)) / 4 - _outer(step) / 16 for cov in (cov_p, cov_q)]
    return step / 4, by_cov[0], -step / 4, by_cov[1]


def _hellinger_grad(*given: np.ndarray) -> tuple[np.ndarray, ...]:
    distance = _bhattacharyya(*given)
    slope = np.exp(-distance) / (2 * np.sqrt(-np.expm1(-distance)))
    parts = _bhattacharyya_grad(*given)
    return tuple(part * slope.reshape(slope.shape + (1,) * (part.ndim - slope.ndim)) for part in parts)


def _w2_grad(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> tuple[np.ndarray, ...]:
    """Of the squared distance."""
    difference, identity = 2 * (mean_p - mean_q), np.eye(mean_p.shape[-1])
    return difference, identity - _map(cov_p, cov_q), -difference, identity - _map(cov_q, cov_p)


EXPRESSIONS: dict[str, Callable[..., Any]] = {
    "gaussian_entropy": _entropy,
    "gaussian_entropy_grad": _entropy_grad,
    "gaussian_kl": _kl,
    "gaussian_kl_grad": _kl_grad,
    "gaussian_bhattacharyya": _bhattacharyya,
    "gaussian_bhattacharyya_grad": _bhattacharyya_grad,
    "gaussian_hellinger": _hellinger,
    "gaussian_hellinger_grad": _hellinger_grad,
    "gaussian_w2": _w2,
    "gaussian_w2_grad": _w2_grad,
    "gaussian_ot_map": lambda mean_p, cov_p, mean_q, cov_q: _map(cov_p, cov_q),
}


# Of one matrix or pair, in cubes of d: Cholesky factors at a third each, and for the divergence a triangular solve.
_CUBES = {
    "gaussian_entropy": 1 / 3,
    "gaussian_kl": 1,
    "gaussian_bhattacharyya": 1,
    "gaussian_hellinger": 1,
}


# ---- workloads ----


def _public(name: str, given: tuple[np.ndarray, ...]) -> Side:
    function = getattr(kx, name)
    if name.startswith("gaussian_entropy"):
        return Side(lambda: function(given[1]))
    if name == "gaussian_w2_grad":
        return Side(lambda: function(*given, squared=True), comparable=_joined)
    comparable = np.asarray
    if name == "gaussian_ot_map":
        comparable = lambda result: result.matrix  # noqa: E731
    elif name.endswith("_grad"):
        comparable = _joined
    return Side(lambda: function(*given), comparable=comparable)


@recent
def gaussian(name: str, d: int, dtype: str = "float64", count: int = 1000) -> Workload:
    """Any function of the family beside NumPy's batched linear algebra; times are for the batch."""
    given = gaussians(count, d, dtype)
    kexue, expression = _public(name, given), EXPRESSIONS[name]
    sides = {"kexue": kexue, "NumPy": Side(partial(expression, *given), comparable=kexue.comparable)}
    if name == "gaussian_ot_map":
        sides["NumPy"] = Side(partial(expression, *given))
    return Workload(
        f"{name}, {count} of {d}x{d} {dtype}",
        sides,
        **_tolerance(dtype),
        operations=round(_CUBES.get(name, 0) * count * d**3),
    )


@recent
def gaussian_kl(d: int, dtype: str = "float64", count: int = 1000) -> Workload:
    """From covariances; torch makes its distributions in the call, as kexue its Cholesky factors."""
    given = gaussians(count, d, dtype)
    sides, absent = {"kexue": Side(lambda: kx.gaussian_kl(*given))}, {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = absent["torch unchecked"] = NO_TORCH
    else:
        tensors = [torch.from_numpy(array) for array in given]
        normal, divergence = torch.distributions.MultivariateNormal, torch.distributions.kl_divergence

        def with_torch(**options: Any) -> Any:
            mean_p, cov_p, mean_q, cov_q = tensors
            return divergence(normal(mean_p, cov_p, **options), normal(mean_q, cov_q, **options))

        sides["torch"] = Side(with_torch)
        sides["torch unchecked"] = Side(partial(with_torch, validate_args=False))
    sides["NumPy"] = Side(lambda: _kl(*given))
    return Workload(
        f"gaussian_kl, {count} of {d}x{d} {dtype}", sides, **_tolerance(dtype), absent=absent, operations=count * d**3
    )


@recent
def gaussian_kl_diagonal(d: int, dtype: str = "float64", count: int = 10_000) -> Workload:
    """Variances in place of matrices, as in a VAE's loss."""
    rng = np.random.default_rng([count, d])
    mean_p, mean_q = rng.standard_normal((2, count, d)).astype(dtype)
    variance_p, variance_q = rng.uniform(0.5, 2, size=(2, count, d)).astype(dtype)

    def expression() -> np.ndarray:
        ratio = variance_p / variance_q
        return 0.5 * ((mean_p - mean_q) ** 2 / variance_q + ratio - 1 - np.log(ratio)).sum(axis=-1)

    sides = {
        "kexue": Side(lambda: kx.gaussian_kl(mean_p, variance_p, mean_q, variance_q, form="diagonal")),
        "NumPy": Side(expression),
    }
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        tensors = [torch.from_numpy(array) for array in (mean_p, np.sqrt(variance_p), mean_q, np.sqrt(variance_q))]
        normal, divergence = torch.distributions.Normal, torch.distributions.kl_divergence
        sides["torch"] = Side(lambda: divergence(normal(*tensors[:2]), normal(*tensors[2:])).sum(-1))
    title = f"gaussian_kl, {count} of {d} variances {dtype}"
    return Workload(title, sides, **_tolerance(dtype), absent=absent, bytes_moved=4 * mean_p.nbytes)


@recent
def gaussian_w2(d: int, dtype: str = "float64", count: int = 1000) -> Workload:
    """Times are for one pair. SciPy's square root and POT take one after another, and so some of them."""
    given = gaussians(count, d, dtype)
    some = [tuple(array[k] for array in given) for k in range(SOME)]

    def by_sqrtm(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> float:
        root = linalg.sqrtm(cov_p)
        middle = linalg.sqrtm(root @ cov_q @ root)
        difference = mean_p - mean_q
        return math.sqrt(difference @ difference + np.trace(cov_p + cov_q - 2 * middle.real))

    def by_pot(mean_p: np.ndarray, cov_p: np.ndarray, mean_q: np.ndarray, cov_q: np.ndarray) -> float:
        return ot.gaussian.bures_wasserstein_distance(mean_p, mean_q, cov_p, cov_q)

    def first(result: np.ndarray) -> np.ndarray:
        return np.asarray(result)[:SOME]

    sides = {
        "kexue": Side(lambda: kx.gaussian_w2(*given), items=count, comparable=first),
        "NumPy": Side(lambda: _w2(*given), items=count, comparable=first),
        "SciPy's sqrtm": Side(lambda: np.array([by_sqrtm(*pair) for pair in some]), items=SOME),
        "POT": Side(lambda: np.array([by_pot(*pair) for pair in some]), items=SOME),
    }
    return Workload(f"gaussian_w2, {count} of {d}x{d} {dtype}", sides, **_tolerance(dtype))


@recent
def gaussian_map(n: int, d: int, dtype: str) -> Workload:
    """Points moved by a map that was found before."""
    mean_p, cov_p, mean_q, cov_q = (array[0] for array in gaussians(2, d, dtype))
    move = kx.gaussian_ot_map(mean_p, cov_p, mean_q, cov_q)
    x = np.random.default_rng([n, d]).standard_normal((n, d)).astype(dtype)
    sides = {
        "kexue": Side(lambda: move(x)),
        "NumPy": Side(lambda: (x - mean_p) @ move.matrix + mean_q),
    }
    return Workload(f"GaussianMap, {n} points of {d} {dtype}", sides, **_tolerance(dtype), operations=2 * n * d * d)


# ---- the Frechet distance ----


@recent
def features(n: int, d: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Correlated, with deviations of 1 to 1/30, of two similar distributions."""
    rng = np.random.default_rng([n, d])
    mix = rng.standard_normal((d, d)) * np.geomspace(1, 1 / 30, d)[:, None] / math.sqrt(d)
    first, second = rng.standard_normal((2, n, d)) @ mix
    return first.astype(dtype), (1.1 * second + 0.05).astype(dtype)


def _fid(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """As pytorch-fid and its kin have it."""
    root = linalg.sqrtm(cov_a @ cov_b)
    if not np.isfinite(root).all():
        offset = 1e-6 * np.eye(len(cov_a))
        root = linalg.sqrtm((cov_a + offset) @ (cov_b + offset))
    difference = mean_a - mean_b
    return difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root.real)


@recent
def frechet_distance(n: int, d: int, dtype: str = "float64") -> Workload:
    """From features."""
    first, second = features(n, d, dtype)

    def expression() -> float:
        return _fid(*(part for f in (first, second) for part in (f.mean(axis=0), np.cov(f, rowvar=False))))

    sides = {"kexue": Side(lambda: kx.frechet_distance(first, second)), "SciPy's sqrtm": Side(expression)}
    # The peer's rounding: of singular matrices, and of means in float32.
    rtol = 1e-6 if dtype == "float64" else 1e-4
    return Workload(f"frechet_distance, {n}x{d} {dtype}", sides, rtol=rtol)


@recent
def frechet_distance_from_statistics(n: int, d: int) -> Workload:
    first, second = features(n, d, "float64")
    given = [part for f in (first, second) for part in (f.mean(axis=0), np.cov(f, rowvar=False))]
    sides = {
        "kexue": Side(lambda: kx.frechet_distance_from_statistics(*given)),
        "SciPy's sqrtm": Side(lambda: _fid(*given)),
    }
    return Workload(f"frechet_distance_from_statistics, {d}x{d}", sides, rtol=1e-7)
