"""What is measured of Lipschitz constraints: normalised discriminators, penalties, clipped weights, spectral norms."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse.linalg import svds
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx


@recent
def normalize(mode: str, n: int, dtype: str) -> Workload:
    rng = np.random.default_rng(0)
    f, norm = rng.standard_normal((2, n), np.dtype(dtype))
    norm = np.abs(norm)
    formulas = {
        "gn": lambda: f / (norm + np.abs(f)),
        "gran": lambda: f * norm / (norm * norm + f.dtype.type(1e-8)),
        "plain": lambda: f / (norm + f.dtype.type(1e-8)),
    }
    sides = {
        "kexue": Side(lambda: kx.gradient_normalize(f, norm, mode)),  # type: ignore[arg-type]
        "NumPy": Side(formulas[mode]),
    }
    return Workload(f"gradient_normalize, {mode}, {n} {dtype}", sides, rtol=1e-5 if dtype == "float32" else 1e-12)


@recent
def input_gradient(batch: int, d: int, dtype: str) -> Workload:
    rng = np.random.default_rng(0)
    g, Hg = rng.standard_normal((2, batch, d), np.dtype(dtype))
    f = rng.standard_normal(batch, np.dtype(dtype))

    def numpy() -> np.ndarray:
        n, value = np.linalg.norm(g, axis=1, keepdims=True), f[:, np.newaxis]
        return (n * g - value / n * Hg) / (n + np.abs(value)) ** 2

    sides = {"kexue": Side(lambda: kx.gn_input_gradient(f, g, Hg)), "NumPy": Side(numpy)}
    atol = 1e-5 if dtype == "float32" else 1e-13
    return Workload(f"gn_input_gradient, {batch}x{d} {dtype}", sides, rtol=1e-3, atol=atol, bytes_moved=3 * g.nbytes)


@recent
def penalty(n: int) -> Workload:
    norm = np.abs(np.random.default_rng(0).standard_normal(n))
    sides = {"kexue": Side(lambda: kx.gradient_penalty(norm)), "NumPy": Side(lambda: (norm - 1) ** 2)}
    return Workload(f"gradient_penalty, {n}", sides)


@recent
def clip(n: int, dtype: str) -> Workload:
    w = np.random.default_rng(0).standard_normal(n, np.dtype(dtype))
    out, target = np.empty_like(w), np.empty_like(w)
    sides = {
        "kexue": Side(lambda: kx.clip_weights(w, 0.5, out=out)),
        "NumPy": Side(lambda: np.clip(w, -0.5, 0.5, out=target)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensor, place = torch.from_numpy(w), torch.empty(n, dtype=getattr(torch, dtype))
        sides["torch"] = Side(lambda: torch.clamp(tensor, -0.5, 0.5, out=place))
    absent = without_torch()
    return Workload(f"clip_weights, {n} {dtype}", sides, absent=absent, bytes_moved=2 * w.nbytes)


@recent
def spectral_norm(m: int, n: int, dtype: str) -> Workload:
    """To the tolerance, from nothing."""
    W = np.random.default_rng(0).standard_normal((m, n), np.dtype(dtype))
    sides = {
        "kexue": Side(lambda: kx.spectral_norm(W, rng=0).sigma),
        "NumPy": Side(lambda: np.linalg.norm(W, 2)),
        "SciPy's svds": Side(lambda: svds(W, k=1, return_singular_vectors=False, rng=0)[0]),
    }
    return Workload(f"spectral_norm, {m}x{n} {dtype}", sides, rtol=1e-5 if dtype == "float32" else 1e-11)


@recent
def warm_start(m: int, n: int, dtype: str) -> Workload:
    """A step of power iteration, as training does it."""
    W = np.random.default_rng(0).standard_normal((m, n), np.dtype(dtype))
    start = kx.spectral_norm(W, rng=0)

    def numpy() -> float:
        v = W.T @ start.u
        v /= np.linalg.norm(v)
        u = W @ v
        u /= np.linalg.norm(u)
        return float(u @ (W @ v))

    sides = {
        "kexue": Side(lambda: kx.spectral_norm(W, start, n_iter=1).sigma),
        "NumPy": Side(numpy),
    }
    return Workload(f"spectral_norm, one warm step, {m}x{n} {dtype}", sides, rtol=1e-5, bytes_moved=W.nbytes)
