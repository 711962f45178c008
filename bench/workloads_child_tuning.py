"""What is measured of child-tuning: gradients and updates of which a part is dropped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx


def _share(values: Any) -> np.ndarray:
    """What all random masks have in common."""
    array = np.asarray(values)
    return np.array([np.count_nonzero(array) / array.size, array.max()])


@recent
def by_chance(function: str, n: int, dtype: str, p: float) -> Workload:
    kind = np.dtype(dtype)
    g = np.ones(n, kind)
    ours: Callable[..., Any] = getattr(kx, function)
    out, target = np.empty_like(g), np.empty_like(g)
    rng, theirs = np.random.default_rng(0), np.random.default_rng(1)
    scale = kind.type(1 / p)

    def numpy() -> np.ndarray:
        np.multiply(g, theirs.random(n, kind) < p, out=target)
        return np.multiply(target, scale, out=target)

    sides = {
        "kexue": Side(lambda: ours(g, p, rng=rng, out=out), comparable=_share),
        "NumPy": Side(numpy, comparable=_share),
        "copy": Side(lambda: np.copyto(target, g), comparable=None),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensor = torch.from_numpy(g)
        sides["torch"] = Side(lambda: torch.nn.functional.dropout(tensor, 1 - p), comparable=_share)
    name = f"{function}, {n} {dtype}, p={p:g}"
    return Workload(name, sides, rtol=0.05, absent=without_torch(), bytes_moved=2 * g.nbytes)


@recent
def by_mask(n: int, dtype: str) -> Workload:
    rng = np.random.default_rng(0)
    g = rng.standard_normal(n, np.dtype(dtype))
    mask = rng.random(n) < 0.3
    out, target = np.empty_like(g), np.empty_like(g)
    sides = {
        "kexue": Side(lambda: kx.childtuning_gradient(g, 0.3, mode="D", mask=mask, out=out)),
        "NumPy": Side(lambda: np.multiply(g, mask, out=target)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensor, chosen, place = torch.from_numpy(g), torch.from_numpy(mask), torch.empty(n, dtype=getattr(torch, dtype))
        sides["torch"] = Side(lambda: torch.mul(tensor, chosen, out=place))
    name = f"childtuning_gradient by a mask, {n} {dtype}"
    return Workload(name, sides, absent=without_torch(), bytes_moved=2 * g.nbytes + mask.nbytes)


@recent
def fisher_diagonal(samples: int, n: int, dtype: str) -> Workload:
    grads = np.random.default_rng(0).standard_normal((samples, n), np.dtype(dtype))
    sides = {
        "kexue": Side(lambda: kx.fisher_diagonal(grads)),
        "NumPy": Side(lambda: np.square(grads).mean(axis=0)),
    }
    torch: Any = installed("torch")
    if torch is not None:
        tensor = torch.from_numpy(grads)
        sides["torch"] = Side(lambda: tensor.square().mean(0))
    name = f"fisher_diagonal, {samples} samples of {n} {dtype}"
    return Workload(
        name, sides, rtol=1e-4 if dtype == "float32" else 1e-10, absent=without_torch(), bytes_moved=grads.nbytes
    )


@recent
def mask(n: int, method: str) -> Workload:
    """All parameters of a model of eight matrices."""
    fisher = np.split(np.random.default_rng(0).random(n) ** 4, 8)

    def percentile() -> np.ndarray:
        least = np.percentile(np.concatenate(fisher), 70)
        return np.concatenate([part >= least for part in fisher])

    sides = {
        "kexue": Side(lambda: np.concatenate(kx.childtuning_mask(fisher, 0.3, method=method))),
        "NumPy's percentile": Side(percentile),
    }
    return Workload(f"childtuning_mask, {n}, {method}", sides)


def _compare_steps(g: np.ndarray) -> None:
    """With AdamW as in its paper, in float64."""
    ours, x, mean, square = np.ones_like(g), np.ones(len(g)), 0.0, 0.0
    optimizer = kx.ChildTuningAdamW([ours])
    for count in (1, 2, 3):
        optimizer.step([g])
        x *= 1 - 1e-3 * 1e-2
        mean, square = 0.9 * mean + 0.1 * g, 0.999 * square + 0.001 * g.astype(np.float64) ** 2
        x -= 1e-3 * mean / (1 - 0.9**count) / (np.sqrt(square / (1 - 0.999**count)) + 1e-8)
    np.testing.assert_allclose(ours, x, rtol=1e-6 if g.dtype == np.float32 else 1e-12)


@recent
def step(n: int, dtype: str, p: float) -> Workload:
    """A step of an optimizer. The first three without dropping are compared with the formulas before."""
    g = np.random.default_rng(0).standard_normal(n, np.dtype(dtype))
    _compare_steps(g[:1000])
    optimizer = kx.ChildTuningAdamW([np.zeros_like(g)], p=p, rng=0)
    sides = {"kexue": Side(lambda: optimizer.step([g]), comparable=None)}
    torch: Any = installed("torch")
    if torch is not None:
        parameter = torch.nn.Parameter(torch.zeros(n, dtype=getattr(torch, dtype)))
        gradient, reference = torch.from_numpy(g), torch.optim.AdamW([parameter], weight_decay=1e-2)

        def theirs() -> None:
            parameter.grad = gradient if p == 1 else torch.nn.functional.dropout(gradient, 1 - p)
            reference.step()

        sides["torch"] = Side(theirs, comparable=None)
    return Workload(f"ChildTuningAdamW, {n} {dtype}, p={p:g}", sides, absent=without_torch())
