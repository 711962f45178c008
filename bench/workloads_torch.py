"""What is measured of kexue.torch: forward and backward, beside what torch's autograd makes of formulas.

The peers of losses are those of `workloads_losses`, which has the functions of arrays; here the calls go through
autograd on both sides. POT's `emd2` takes torch's tensors and is differentiable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import workloads_entropy
import workloads_independence
import workloads_losses
from scipy import special
from workloads import NO_TORCH, Side, Workload, installed, recent


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


# ---- other losses, beside those of arrays and what torch has of them ----


@recent
def cosent_embedding_loss(n: int, d: int, dtype: str) -> Workload:
    U, V = workloads_losses.embeddings(n, d, dtype)
    t = np.random.default_rng(n).permutation(n).astype(dtype)

    def call(torch: Any, kt: Any) -> Any:
        first, second = (torch.from_numpy(array).requires_grad_() for array in (U, V))
        labels = torch.from_numpy(t)
        return _differentiated(torch, lambda U, V: kt.cosent_embedding_loss(U, V, labels), first, second)

    base = workloads_losses.cosent_embedding_loss(n, d, dtype)
    name = f"kexue.torch.cosent_embedding_loss, forward and backward, {n}x{d} {dtype}"
    return _beside_losses(name, base, ("torch sort",), call)


@recent
def zlpr_sparse_loss(rows: int, n: int, positives: int, dtype: str) -> Workload:
    s, ids = workloads_losses.sparse_targets(rows, n, positives, dtype)

    def call(torch: Any, kt: Any) -> Any:
        chosen = torch.from_numpy(ids)
        scores = torch.from_numpy(s).requires_grad_()
        return _differentiated(torch, lambda S: kt.zlpr_sparse_loss(S, chosen), scores)

    base = workloads_losses.zlpr_sparse_loss(rows, n, positives, dtype)
    name = f"kexue.torch.zlpr_sparse_loss, forward and backward, {rows}x{n} {dtype}"
    return _beside_losses(name, base, ("torch published", "torch dense"), call)


@recent
def combinatorial_softmax_loss(rows: int, n: int, k: int, dtype: str) -> Workload:
    s, t = workloads_losses.subset_targets(rows, n, k, dtype)

    def call(torch: Any, kt: Any) -> Any:
        targets, scores = torch.from_numpy(t), torch.from_numpy(s).requires_grad_()
        return _differentiated(torch, lambda S: kt.combinatorial_softmax_loss(S, targets), scores)

    base = workloads_losses.combinatorial_softmax_loss(rows, n, k, dtype)
    name = f"kexue.torch.combinatorial_softmax_loss, forward and backward, {rows}x{n} {dtype}"
    return _beside_losses(name, base, ("torch",), call)


@recent
def info_nce_loss(n: int, dtype: str) -> Workload:
    similarities = workloads_losses.similarities(n, dtype)

    def call(torch: Any, kt: Any) -> Any:
        given = torch.from_numpy(similarities).requires_grad_()
        return _differentiated(torch, lambda S: kt.info_nce_loss(S, temperature=0.05), given)

    base = workloads_losses.info_nce_loss(n, dtype)
    name = f"kexue.torch.info_nce_loss, forward and backward, {n}x{n} {dtype}"
    return _beside_losses(name, base, ("torch",), call)


@recent
def r_drop_loss(rows: int, n: int, dtype: str) -> Workload:
    first, second, ids = workloads_losses.two_passes(rows, n, dtype)

    def call(torch: Any, kt: Any) -> Any:
        tensors = [torch.from_numpy(array).requires_grad_() for array in (first, second)]
        labels = torch.from_numpy(ids)
        return _differentiated(torch, lambda A, B: kt.r_drop_loss(A, B, labels, alpha=4.0), *tensors)

    base = workloads_losses.r_drop_loss(rows, n, dtype)
    name = f"kexue.torch.r_drop_loss, forward and backward, {rows}x{n} {dtype}"
    return _beside_losses(name, base, ("torch",), call)


# ---- what else has a gradient ----


@recent
def entropy_normalize(name: str, rows: int, n: int) -> Workload:
    """Of weights or logits, to half of the largest entropy; torch by Newton's method and the implicit derivative."""
    u = workloads_entropy.logits(rows, n, "float64")
    grad = workloads_entropy.logits(rows + 1, n, "float64")[1:].copy()
    target = 0.5 * math.log(n)
    of_weights = name == "entropy_normalize"
    given = special.softmax(u, axis=1) if of_weights else u

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        leaf, upstream = torch.from_numpy(given).requires_grad_(), torch.from_numpy(grad)
        function = getattr(kt, name)

        def own() -> tuple[Any, Any]:
            q = function(leaf, target)
            return q, torch.autograd.grad(q, leaf, upstream)[0]

        def newton() -> tuple[Any, Any]:
            with torch.no_grad():
                logits = leaf.log() if of_weights else leaf
                q, gamma = workloads_entropy.torch_newton(logits, target, 1e-8)
                means = [torch.linalg.vecdot(q, part)[:, None] for part in (logits, upstream)]
                centred, grad_centred = logits - means[0], upstream - means[1]
                weighted = q * centred
                slope = torch.linalg.vecdot(weighted, grad_centred) / torch.linalg.vecdot(weighted, centred)
                by_logits = gamma[:, None] * q * (grad_centred - slope[:, None] * centred)
                return q, by_logits / leaf if of_weights else by_logits

        return {"kexue": own, "torch Newton": newton}

    return _workload(f"kexue.torch.{name}, forward and backward, {rows}x{n}", make, ("torch Newton",), 1e-5, 1e-6)


@recent
def hsic(n: int, d: int) -> Workload:
    """By both samples."""
    X, Y, gamma = workloads_independence.pairs(n, d)

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        tensors = [torch.from_numpy(points.copy()).requires_grad_() for points in (X, Y)]

        def kernel(points: Any) -> Any:
            norms = (points * points).sum(1)
            return torch.exp(-gamma * (norms[:, None] + norms - 2 * points @ points.T))

        def by_row_sums(x: Any, y: Any) -> Any:
            K, L = kernel(x), kernel(y)
            of_k, of_l = K.sum(0), L.sum(0)
            return ((K * L).sum() - 2 / n * (of_k @ of_l) + of_k.sum() * of_l.sum() / n**2) / n**2

        return {
            "kexue": _differentiated(torch, lambda x, y: kt.hsic(x, y, gamma=gamma), *tensors),
            "torch": _differentiated(torch, by_row_sums, *tensors),
        }

    return _workload(f"kexue.torch.hsic, forward and backward, {n}x{d}", make, ("torch",), 1e-7, 1e-12)


@recent
def wrd(m: int, n: int, d: int) -> Workload:
    """Weights are the vectors' lengths: gradients go through them and the cosines."""

    def make(torch: Any, kt: Any) -> dict[str, Any]:
        import ot

        rng = np.random.default_rng([m, n, d])
        x, y = (torch.from_numpy(rng.normal(size=(size, d))).requires_grad_() for size in (m, n))

        def around_pot(x: Any, y: Any) -> Any:
            a, b = x.norm(dim=1), y.norm(dim=1)
            return ot.emd2(a / a.sum(), b / b.sum(), 1 - (x / a[:, None]) @ (y / b[:, None]).T)

        return {
            "kexue": _differentiated(torch, kt.wrd, x, y),
            "torch around POT": _differentiated(torch, around_pot, x, y),
        }

    name = f"kexue.torch.wrd, forward and backward, {m} and {n} words of {d}"
    return _workload(name, make, ("torch around POT",), 1e-8, 1e-10)
