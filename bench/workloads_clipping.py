"""What is measured of clipping gradients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx

# BLAS and torch add 1e8 squares of float32 in float32, and are off by 0.1 and 1.1%.
RTOL = {"float32": 0.02, "float64": 1e-12}


def _parameters(n: int, count: int, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(n // count, dtype=np.dtype(dtype)) for _ in range(count)]


def _torch_parameters(torch: Any, gradients: list[np.ndarray]) -> list[Any]:
    parameters = []
    for gradient in gradients:
        parameter = torch.nn.Parameter(torch.from_numpy(gradient))
        parameter.grad = torch.from_numpy(gradient)
        parameters.append(parameter)
    return parameters


@recent
def clip_global_norm(n: int, count: int, dtype: str) -> Workload:
    """Nothing has to be clipped: reading is all there is to do. torch multiplies even so."""
    gradients = _parameters(n, count, dtype)

    def by_numpy() -> float:
        return math.sqrt(sum(float(np.dot(gradient, gradient)) for gradient in gradients))

    sides = {
        "kexue": Side(
            lambda: kx.clip_global_norm(gradients, 1e30, out=gradients, workers=1), comparable=lambda result: result[1]
        ),
        "reading: BLAS dot": Side(by_numpy),
        "reading: np.max": Side(lambda: [gradient.max() for gradient in gradients], comparable=None),
    }
    torch: Any = installed("torch")
    if torch is not None:
        parameters = _torch_parameters(torch, gradients)
        sides["torch"] = Side(lambda: torch.nn.utils.clip_grad_norm_(parameters, 1e30))
    bytes_moved = n * np.dtype(dtype).itemsize
    absent = without_torch()
    return Workload(
        f"clip_global_norm, {n} numbers in {count} arrays, none clipped, {dtype}",
        sides, rtol=RTOL[dtype], absent=absent, bytes_moved=bytes_moved,
    )  # fmt: skip


@recent
def clip_global_norm_clipped(n: int, count: int, dtype: str) -> Workload:
    """Each call clips a little more, in place; norms are compared."""
    ours, theirs = _parameters(n, count, dtype), _parameters(n, count, dtype)
    bounds = {"kexue": 0.5 * math.sqrt(n), "NumPy": 0.5 * math.sqrt(n)}

    def by_kexue() -> float:
        bounds["kexue"] *= 1 - 1e-6
        return kx.clip_global_norm(ours, bounds["kexue"], out=ours, workers=1)[1]

    def by_numpy() -> float:
        bounds["NumPy"] *= 1 - 1e-6
        norm = math.sqrt(sum(float(np.dot(gradient, gradient)) for gradient in theirs))
        for gradient in theirs:
            np.multiply(gradient, gradient.dtype.type(bounds["NumPy"] / norm), out=gradient)
        return norm

    by_kexue(), by_numpy()
    sides = {"kexue": Side(by_kexue), "NumPy and BLAS": Side(by_numpy)}
    torch: Any = installed("torch")
    if torch is not None:
        parameters = _torch_parameters(torch, _parameters(n, count, dtype))
        torch.nn.utils.clip_grad_norm_(parameters, 0.5 * math.sqrt(n))
        sides["torch"] = Side(lambda: torch.nn.utils.clip_grad_norm_(parameters, 0.5 * math.sqrt(n)))
    absent = without_torch()
    return Workload(
        f"clip_global_norm, {n} numbers in {count} arrays, clipped in place, {dtype}",
        sides,
        rtol=0.01,
        absent=absent,
        bytes_moved=2 * n * np.dtype(dtype).itemsize,
    )


@recent
def clip_by_norm(rows: int, columns: int, dtype: str) -> Workload:
    """The rows of a batch, each by its norm."""
    rng = np.random.default_rng(0)
    gradients = rng.standard_normal((rows, columns), dtype=np.dtype(dtype))
    bound = gradients.dtype.type(math.sqrt(columns))
    out = np.empty_like(gradients)

    def by_numpy() -> np.ndarray:
        norms = np.sqrt(np.einsum("ij,ij->i", gradients, gradients))
        return np.multiply(gradients, np.minimum(1, bound / norms)[:, None], out=out)

    sides = {
        "kexue": Side(lambda: kx.clip_by_norm(gradients, float(bound), axis=1, out=out, workers=1)),
        "NumPy": Side(by_numpy),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensor, result = torch.from_numpy(gradients), torch.from_numpy(np.empty_like(gradients))
        sides["torch"] = Side(
            lambda: torch.renorm(tensor, 2, 0, float(bound), out=result), comparable=lambda result: result.numpy()
        )
    absent = without_torch()
    tolerance = 1e-5 if dtype == "float32" else 1e-6  # torch.renorm adds 1e-7 to the norm
    return Workload(
        f"clip_by_norm, {rows}x{columns} by rows, {dtype}",
        sides,
        rtol=tolerance,
        atol=tolerance,
        absent=absent,
        bytes_moved=2 * gradients.nbytes,
    )


@recent
def step_of_smoothness(name: str, n: int) -> Workload:
    norms = np.random.default_rng(0).random(n)
    step = 1 / (64 + norms)
    sides = {
        "smoothness_step_size": {
            "kexue": Side(lambda: kx.smoothness_step_size(norms, 64.0, 0.5)),
            "NumPy": Side(lambda: 1 / (64 + 0.5 * norms)),
        },
        "descent_bound": {
            "kexue": Side(lambda: kx.descent_bound(norms, step, 64.0, 0.5)),
            "NumPy": Side(lambda: ((64 + 0.5 * norms) * step**2 / 2 - step) * norms**2),
        },
    }[name]
    return Workload(f"{name}, {n}", sides, rtol=1e-12)
