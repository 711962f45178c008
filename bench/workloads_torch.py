"""What is measured of kexue.torch: forward and backward, beside what torch's autograd makes of formulas.

The peers of losses are those of `workloads_losses`, which has the functions of arrays; here the calls go through
autograd on both sides. POT's `emd2` takes torch's tensors and is differentiable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import workloads_losses
from workloads import Side, Workload, installed, recent
from workloads_activations import NO_TORCH


def _joined(result: tuple[Any, ...]) -> np.ndarray:
    """All numbers of a value and its gradients."""
    return np.concatenate([np.ravel(part.detach().numpy()) for part in result])


def _workload(
    name: str, make: Callable[[Any, Any], dict[str, Any]], peers: tuple[str, ...], rtol: float, atol: float = 0.0
) -> Workload:
    """`make` gets the modules torch and kexue.torch, and makes a side of each name."""
    torch = installed("torch")
    if torch is None:
        return Workload(name, {}, absent=dict.fromkeys(("kexue", *peers), NO_TORCH))
    sides = {
        side: call if isinstance(call, Side) else Side(call, comparable=_joined)
        for side, call in make(torch, installed("kexue.torch")).items()
    }
    return Workload(name, sides, rtol=rtol, atol=atol)


def _differentiated(torch: Any, function: Callable[..., Any], *tensors: Any) -> Callable[[], tuple[Any, ...]]:
    """A value and the gradients of its sum by the tensors that require one."""
    wanted = [tensor for tensor in tensors if tensor.requires_grad]

    def call() -> tuple[Any, ...]:
        value = function(*tensors)
        return value, *torch.autograd.grad(value.sum(), wanted)

    return call


@recent
def squareplus(n: int, dtype: str) -> Workload:
    x = np.random.default_rng(n).normal(size=n).astype(dtype)

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        X = torch.from_numpy(x).requires_grad_()
        return {
            "kexue": _differentiated(torch, lambda X: kt.squareplus(X, 4.0), X),
            "torch": _differentiated(torch, lambda X: (X + torch.sqrt(X * X + 4.0)) / 2, X),
        }

    error = {"rtol": 1e-12, "atol": 1e-14} if dtype == "float64" else {"rtol": 1e-5, "atol": 1e-6}
    return _workload(f"kexue.torch.squareplus, forward and backward, {n} {dtype}", make, ("torch",), **error)


def _beside_losses(name: str, base: Workload, peers: tuple[str, ...], call: Callable[[Any, Any], Any]) -> Workload:
    """The sides of a workload of arrays, with the function of tensors in the place of kexue's."""

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        own = Side(call(torch, kt), comparable=_joined)
        return {"kexue": own, "kexue on arrays": base.sides["kexue"], **{peer: base.sides[peer] for peer in peers}}

    return _workload(name, make, ("kexue on arrays", *peers), base.rtol, base.atol)


@recent
def cosent_loss(n: int, dtype: str) -> Workload:
    c, t = workloads_losses.ranked_pairs(n, dtype, "26 values")

    def call(torch: Any, kt: Any) -> Any:
        labels = torch.from_numpy(t)
        return _differentiated(torch, lambda C: kt.cosent_loss(C, labels), torch.from_numpy(c).requires_grad_())

    base = workloads_losses.cosent_loss(n, dtype, "26 values")
    name = f"kexue.torch.cosent_loss, forward and backward, {n} {dtype}"
    return _beside_losses(name, base, ("torch sort", "torch N^2"), call)


@recent
def zlpr_loss(rows: int, n: int, dtype: str) -> Workload:
    s, t = workloads_losses.multilabel(rows, n, dtype)

    def call(torch: Any, kt: Any) -> Any:
        targets = torch.from_numpy(t)
        return _differentiated(torch, lambda S: kt.zlpr_loss(S, targets), torch.from_numpy(s).requires_grad_())

    base = workloads_losses.zlpr_loss(rows, n, dtype)
    name = f"kexue.torch.zlpr_loss, forward and backward, {rows}x{n} {dtype}"
    return _beside_losses(name, base, ("torch published", "torch masked"), call)


def _transport(torch: Any, m: int, n: int) -> tuple[Any, ...]:
    """Weights and costs: only the costs need a gradient, of which both sides agree."""
    rng = np.random.default_rng([m, n])
    a, b = (torch.from_numpy(rng.dirichlet(np.ones(size))) for size in (m, n))
    return a, b, torch.from_numpy(rng.random((m, n))).requires_grad_()


@recent
def emd2(m: int, n: int) -> Workload:
    def make(torch: Any, kt: Any) -> dict[str, Any]:
        import ot

        problem = _transport(torch, m, n)
        return {
            "kexue": _differentiated(torch, kt.emd2, *problem),
            "POT": _differentiated(torch, ot.emd2, *problem),
        }

    return _workload(f"kexue.torch.emd2, forward and backward, {m}x{n}", make, ("POT",), 1e-10, 1e-12)


@recent
def sinkhorn2(m: int, n: int, reg: float = 0.1, passes: int = 100) -> Workload:
    """Autograd through passes in the log domain: as many as make the gradient agree to 1e-6."""

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        problem = _transport(torch, m, n)

        def unrolled(a: Any, b: Any, M: Any) -> Any:
            log_a, log_b, v = a.log(), b.log(), torch.zeros_like(b)
            for _ in range(passes):
                u = -torch.logsumexp(log_b + v - M / reg, 1)
                v = -torch.logsumexp(log_a[:, None] + u[:, None] - M / reg, 0)
            return (torch.exp(log_a[:, None] + log_b + u[:, None] + v - M / reg) * M).sum()

        return {
            "kexue": _differentiated(torch, lambda a, b, M: kt.sinkhorn2(a, b, M, reg), *problem),
            "torch unrolled": _differentiated(torch, unrolled, *problem),
        }

    name = f"kexue.torch.sinkhorn2, forward and backward, {m}x{n}, reg {reg}"
    return _workload(name, make, ("torch unrolled",), 1e-4, 1e-8)


@recent
def wmd(m: int, n: int, d: int) -> Workload:
    """POT has no Word Mover's Distance: costs by torch, transport by POT."""

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        import ot

        rng = np.random.default_rng([m, n, d])
        x, y = (torch.from_numpy(rng.normal(size=(size, d))).requires_grad_() for size in (m, n))
        a, b = (torch.full((size,), 1 / size, dtype=torch.float64) for size in (m, n))

        def around_pot(x: Any, y: Any) -> Any:
            return ot.emd2(a, b, torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist"))

        return {
            "kexue": _differentiated(torch, kt.wmd, x, y),
            "torch around POT": _differentiated(torch, around_pot, x, y),
        }

    name = f"kexue.torch.wmd, forward and backward, {m} and {n} words of {d}"
    return _workload(name, make, ("torch around POT",), 1e-8, 1e-10)
