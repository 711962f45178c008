"""What is measured of losses: multi-label, ranking and contrastive ones with their gradients, and what goes with them.

A loss is told with its gradient, which training needs. torch has it from autograd; where that is far from the best
of torch, there is a side that writes the gradient out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats
from workloads import Side, Workload, installed, recent, without_torch

import kexue as kx


def _joined(result: Any) -> np.ndarray:
    """All numbers of a loss and its gradients."""
    if isinstance(result, tuple):
        return np.concatenate([_joined(part) for part in result])
    return np.ravel(np.asarray(result))


def _workload(
    name: str,
    sides: dict[str, Callable[[], Any]],
    torch_sides: Callable[[Any], dict[str, Callable[[], Any]]],
    torch_names: tuple[str, ...],
    tolerance: dict[str, float],
    bytes_moved: int = 0,
) -> Workload:
    """`torch_sides` makes those of the names from the module torch."""
    torch = installed("torch")
    calls = {**sides, **(torch_sides(torch) if torch is not None else {})}
    absent = without_torch(*torch_names)
    return Workload(
        name,
        {side: Side(call, comparable=_joined) for side, call in calls.items()},
        **tolerance,
        absent=absent,
        bytes_moved=bytes_moved,
    )


def _tolerance(dtype: str, size: float = 1.0) -> dict[str, float]:
    return {"rtol": 1e-9, "atol": 1e-11 * size} if dtype == "float64" else {"rtol": 1e-4, "atol": 5e-6 * size}


# ---- ranking ----


@recent
def ranked_pairs(n: int, dtype: str, labels: str) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and labels: "26 values", as in the STS benchmark, or "distinct"."""
    rng = np.random.default_rng(n)
    cosines = rng.uniform(-1, 1, n).astype(dtype)
    return cosines, (rng.integers(0, 26, n) / 5 if labels == "26 values" else rng.permutation(n)).astype(dtype)


def _torch_cosent(torch: Any, cosines: Any, labels: Any, *, distinct: bool) -> Any:
    """By sorting, in the log domain; without equal labels a prefix ends at the entry before."""
    order = torch.argsort(labels)
    z = 20 * cosines[order]
    prefixes = torch.logcumsumexp(z, 0)
    if distinct:
        exponents = prefixes[:-1] - z[1:]
    else:
        ordered = labels[order]
        starts = torch.searchsorted(ordered, ordered)
        first = int((starts == 0).sum())
        exponents = prefixes[starts[first:] - 1] - z[first:]
    return torch.logsumexp(torch.nn.functional.pad(exponents, (1, 0)), 0)


@recent
def cosent_loss(n: int, dtype: str, labels: str) -> Workload:
    """Loss and gradient. "torch cumsum" and "NumPy by hand" are no log domain: they do for cosines, not for any scores.

    "torch N^2" is the arithmetic of CoSENTLoss in the package sentence-transformers.
    """
    c, t = ranked_pairs(n, dtype, labels)
    distinct = labels == "distinct"

    def by_hand() -> tuple[Any, np.ndarray]:
        order = np.argsort(t)
        ordered, z = t[order], c[order] * 20.0
        e = np.exp(z - z.max())
        inverse = 1 / e
        below = np.concatenate([[0.0], np.cumsum(e)])[np.searchsorted(ordered, ordered)]
        sums = np.concatenate([[0.0], np.cumsum(inverse)])
        above = sums[-1] - sums[np.searchsorted(ordered, ordered, side="right")]
        total = 1 + inverse @ below
        grad = np.empty_like(z)
        grad[order] = 20 / total * (e * above - inverse * below)
        return np.log(total), grad

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        C, T = torch.from_numpy(c).requires_grad_(), torch.from_numpy(t)

        def with_gradient(loss: Callable[[], Any]) -> Callable[[], Any]:
            def call() -> tuple[Any, Any]:
                value = loss()
                return value.detach(), torch.autograd.grad(value, C)[0]

            return call

        def cumsum() -> Any:
            ordered, order = torch.sort(T)
            z = 20 * C.index_select(0, order)
            e = torch.exp(z - float(z.detach().max()))
            prefixes = torch.nn.functional.pad(torch.cumsum(e, 0), (1, 0))
            return torch.log1p((prefixes.index_select(0, torch.searchsorted(ordered, ordered)) / e).sum())

        def square() -> Any:
            scores = 20 * C
            scores = scores[:, None] - scores[None, :]
            wanted = (T[:, None] < T[None, :]).to(scores.dtype)
            scores = (scores - (1 - wanted) * 1e12).view(-1)
            return torch.logsumexp(torch.cat((torch.zeros(1, dtype=scores.dtype), scores)), 0)

        return {
            "torch sort": with_gradient(lambda: _torch_cosent(torch, C, T, distinct=distinct)),
            "torch cumsum": with_gradient(cumsum),
            "torch N^2": with_gradient(square),
        }

    return _workload(
        f"cosent_loss with gradient, {n} {dtype}, {labels}",
        {"kexue": lambda: kx.cosent_loss(c, t, return_grad=True, workers=1), "NumPy by hand": by_hand},
        torch_sides,
        ("torch sort", "torch cumsum", "torch N^2"),
        _tolerance(dtype, 20),
    )


@recent
def embeddings(n: int, d: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng([n, d])
    U = rng.standard_normal((n, d))
    return U.astype(dtype), (U + rng.uniform(0.5, 3, (n, 1)) * rng.standard_normal((n, d))).astype(dtype)


@recent
def cosent_embedding_loss(n: int, d: int, dtype: str) -> Workload:
    U, V = embeddings(n, d, dtype)
    t = np.random.default_rng(n).permutation(n).astype(dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        first, second = (torch.from_numpy(array).requires_grad_() for array in (U, V))
        labels = torch.from_numpy(t)

        def call() -> tuple[Any, ...]:
            loss = _torch_cosent(torch, torch.cosine_similarity(first, second), labels, distinct=True)
            return loss.detach(), torch.autograd.grad(loss, (first, second))

        return {"torch sort": call}

    return _workload(
        f"cosent_embedding_loss with gradients, {n}x{d} {dtype}",
        {"kexue": lambda: kx.cosent_embedding_loss(U, V, t, return_grad=True, workers=1)},
        torch_sides,
        ("torch sort",),
        _tolerance(dtype),
        bytes_moved=4 * U.nbytes,
    )


@recent
def cosine_target_loss(n: int, dtype: str) -> Workload:
    """Of each cosine by itself, "squared", which is the most work."""
    rng = np.random.default_rng(n)
    c, t = rng.uniform(-1, 1, n).astype(dtype), rng.random(n).astype(dtype)
    sides = {
        "kexue": lambda: kx.cosine_target_loss(c, t, kind="squared", return_grad=True),
        "NumPy": lambda: (t * (1 - c) ** 2 + (1 - t) * c**2, 2 * (c - t)),
    }

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        C, T = torch.from_numpy(c).requires_grad_(), torch.from_numpy(t)
        return {"torch": _summed(torch, lambda: T * (1 - C) ** 2 + (1 - T) * C**2, C)}

    return _workload(
        f"cosine_target_loss with gradient, {n} {dtype}",
        sides,
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=4 * c.nbytes,
    )


@recent
def sentence_pair_features(n: int, d: int, dtype: str) -> Workload:
    U, V = embeddings(n, d, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        first, second = torch.from_numpy(U), torch.from_numpy(V)
        return {"torch": lambda: torch.cat([first, second, torch.abs(first - second)], dim=-1)}

    sides = {
        "kexue": lambda: kx.sentence_pair_features(U, V),
        "NumPy": lambda: np.concatenate([U, V, np.abs(U - V)], axis=-1),
    }
    return _workload(
        f"sentence_pair_features, {n}x{d} {dtype}",
        sides,
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=5 * U.nbytes,
    )


@recent
def spearman(rows: int, n: int) -> Workload:
    rng = np.random.default_rng([rows, n])
    x = rng.standard_normal((rows, n))
    y = np.round(x + rng.standard_normal((rows, n)), 1)

    def by_ranks() -> np.ndarray:
        a, b = (stats.rankdata(side, axis=1) - (n + 1) / 2 for side in (x, y))
        return (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))

    peers = {"SciPy's rankdata": Side(by_ranks)}
    if rows == 1:
        peers["SciPy's spearmanr"] = Side(lambda: [stats.spearmanr(x[0], y[0]).statistic])
    sides = {"kexue": Side(lambda: kx.spearman(x, y, workers=1)), **peers}
    return Workload(f"spearman, {rows} of {n}", sides, rtol=1e-11, atol=1e-13)


@recent
def cosine_pairs(name: str, n: int, d: int, dtype: str) -> Workload:
    """Cosines of rows, rows of length 1, and both with their gradients: what torch's autograd gives."""
    U, V = embeddings(n, d, dtype)
    g = np.random.default_rng(d).standard_normal(n).astype(dtype)

    def norms(array: np.ndarray) -> np.ndarray:
        return np.sqrt(np.einsum("ij,ij->i", array, array))[:, None]

    def slopes() -> tuple[np.ndarray, np.ndarray]:
        u, v = norms(U), norms(V)
        x, y = U / u, V / v
        c = np.einsum("ij,ij->i", x, y)[:, None]
        return (y - c * x) * (g[:, None] / u), (x - c * y) * (g[:, None] / v)

    def normalized_vjp() -> np.ndarray:
        size = norms(U)
        x = U / size
        return (V - x * np.einsum("ij,ij->i", x, V)[:, None]) / size

    kexue, expression = {
        "cosine_pairs": (
            lambda: kx.cosine_pairs(U, V),
            lambda: np.einsum("ij,ij->i", U, V) / (norms(U) * norms(V))[:, 0],
        ),
        "cosine_pairs_vjp": (lambda: kx.cosine_pairs_vjp(U, V, g), slopes),
        "l2_normalize": (lambda: kx.l2_normalize(U), lambda: U / norms(U)),
        "l2_normalize_vjp": (lambda: kx.l2_normalize_vjp(U, V), normalized_vjp),
    }[name]

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        first, second = (torch.from_numpy(array).requires_grad_(name.endswith("vjp")) for array in (U, V))
        upstream, other = torch.from_numpy(g), torch.from_numpy(V)
        normalize = torch.nn.functional.normalize
        calls = {
            "cosine_pairs": lambda: torch.cosine_similarity(first, second),
            "cosine_pairs_vjp": lambda: torch.autograd.grad(
                torch.cosine_similarity(first, second), (first, second), upstream
            ),
            "l2_normalize": lambda: normalize(first),
            "l2_normalize_vjp": lambda: torch.autograd.grad(normalize(first), first, other)[0],
        }
        return {"torch": calls[name]}

    sides = {"kexue": kexue, "NumPy": expression}
    return _workload(
        f"{name}, {n}x{d} {dtype}",
        sides,
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=U.nbytes
        * {"cosine_pairs": 2, "cosine_pairs_vjp": 4, "l2_normalize": 2, "l2_normalize_vjp": 3}[name],
    )


# ---- multi-label ----


@recent
def multilabel(rows: int, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and targets of which 2% are true."""
    rng = np.random.default_rng([rows, n])
    return (3 * rng.standard_normal((rows, n))).astype(dtype), rng.random((rows, n)) < 0.02


def _summed(torch: Any, loss: Callable[[], Any], *tensors: Any) -> Callable[[], Any]:
    """The loss of each row, and the gradient of their sum."""

    def call() -> tuple[Any, ...]:
        value = loss()
        grads = torch.autograd.grad(value.sum(), tensors)
        return value.detach(), grads[0] if len(grads) == 1 else grads

    return call


ZLPR_PEERS = ("torch published", "torch masked", "torch by hand", "torch exponentials", "torch BCE")


@recent
def zlpr_loss(rows: int, n: int, dtype: str) -> Workload:
    """Loss and gradient.

    "torch published" is the form in use, with 1e12 as infinity and a column of zeros; "torch masked" the same with
    masked_fill and softplus; "torch by hand" the gradient written out, stable as well, and the best of torch that was
    found; "torch exponentials" overflows at scores of 90. BCE is another loss, and there for comparison.
    """
    s, t = multilabel(rows, n, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S = torch.from_numpy(s).requires_grad_()
        true = torch.from_numpy(t)
        target = true.to(S.dtype)
        sign = 1 - 2 * target
        functional = torch.nn.functional

        def published() -> Any:
            signed = sign * S
            zeros = torch.zeros_like(signed[..., :1])
            negative = torch.cat([signed - target * 1e12, zeros], dim=-1)
            positive = torch.cat([signed - (1 - target) * 1e12, zeros], dim=-1)
            return torch.logsumexp(negative, dim=-1) + torch.logsumexp(positive, dim=-1)

        def masked() -> Any:
            negative = torch.logsumexp(S.masked_fill(true, -math.inf), -1)
            positive = torch.logsumexp(-S.masked_fill(~true, math.inf), -1)
            return functional.softplus(negative) + functional.softplus(positive)

        def exponentials() -> Any:
            e = torch.exp(sign * S)
            positive = (e * target).sum(1)
            return torch.log1p(e.sum(1) - positive) + torch.log1p(positive)

        def by_hand() -> tuple[Any, Any]:
            with torch.no_grad():
                z = sign * S
                most = z.amax(1, keepdim=True).clamp_(min=0)
                e = torch.exp(z - most)
                positive = (e * target).sum(1, keepdim=True)
                negative = e.sum(1, keepdim=True) - positive
                one = torch.exp(-most)
                loss = torch.log(one + negative) + torch.log(one + positive) + 2 * most
                return loss[:, 0], e * torch.where(true, -1 / (one + positive), 1 / (one + negative))

        return {
            "torch published": _summed(torch, published, S),
            "torch masked": _summed(torch, masked, S),
            "torch by hand": by_hand,
            "torch exponentials": _summed(torch, exponentials, S),
            "torch BCE": _summed(
                torch, lambda: functional.binary_cross_entropy_with_logits(S, target, reduction="none").sum(1), S
            ),
        }

    workload = _workload(
        f"zlpr_loss with gradient, {rows}x{n} {dtype}",
        {"kexue": lambda: kx.zlpr_loss(s, t, return_grad=True, workers=1)},
        torch_sides,
        ZLPR_PEERS,
        _tolerance(dtype),
        bytes_moved=2 * s.nbytes + t.nbytes,
    )
    if "torch BCE" in workload.sides:
        workload.sides["torch BCE"] = Side(workload.sides["torch BCE"].call, comparable=None)
    return workload


@recent
def zlpr_loss_soft(rows: int, n: int, dtype: str) -> Workload:
    s, _ = multilabel(rows, n, dtype)
    t = np.random.default_rng(n).uniform(0.01, 0.99, (rows, n)).astype(dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, T = torch.from_numpy(s).requires_grad_(), torch.from_numpy(t)
        softplus = torch.nn.functional.softplus

        def loss() -> Any:
            return softplus(torch.logsumexp(torch.log(T) - S, 1)) + softplus(torch.logsumexp(torch.log1p(-T) + S, 1))

        return {"torch": _summed(torch, loss, S)}

    return _workload(
        f"zlpr_loss with gradient, soft targets, {rows}x{n} {dtype}",
        {"kexue": lambda: kx.zlpr_loss(s, t, return_grad=True, workers=1)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=3 * s.nbytes,
    )


@recent
def sparse_targets(rows: int, n: int, positives: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and the numbers of the true labels."""
    chosen = np.argpartition(np.random.default_rng(n).random((rows, n)), positives, axis=1)[:, :positives]
    return multilabel(rows, n, dtype)[0], chosen.copy()


@recent
def zlpr_sparse_loss(rows: int, n: int, positives: int, dtype: str) -> Workload:
    """torch has the published form, which subtracts: "torch dense" makes the targets of the ids, and is exact."""
    s, ids = sparse_targets(rows, n, positives, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, chosen = torch.from_numpy(s).requires_grad_(), torch.from_numpy(ids)
        softplus = torch.nn.functional.softplus

        def published() -> Any:
            of_positives = S.gather(1, chosen)
            total = softplus(torch.logsumexp(S, 1))
            rest = torch.clamp(1 - torch.exp(torch.logsumexp(of_positives, 1) - total), 1e-7, 1)
            return softplus(torch.logsumexp(-of_positives, 1)) + total + torch.log(rest)

        def dense() -> Any:
            negative = torch.logsumexp(S.scatter(1, chosen, -math.inf), 1)
            return softplus(torch.logsumexp(-S.gather(1, chosen), 1)) + softplus(negative)

        return {"torch published": _summed(torch, published, S), "torch dense": _summed(torch, dense, S)}

    return _workload(
        f"zlpr_sparse_loss with gradient, {rows}x{n}, {positives} ids {dtype}",
        {"kexue": lambda: kx.zlpr_sparse_loss(s, ids, return_grad=True, workers=1)},
        torch_sides,
        ("torch published", "torch dense"),
        _tolerance(dtype),
        bytes_moved=2 * s.nbytes,
    )


@recent
def zlpr_symmetric_kl(rows: int, n: int, dtype: str) -> Workload:
    s, _ = multilabel(rows, n, dtype)
    t = np.roll(s, 1, axis=0)

    def expression() -> tuple[np.ndarray, ...]:
        p, q = special.expit(s), special.expit(t)
        by_s, by_t = p * (1 - p) * (s - t) + (p - q), q * (1 - q) * (t - s) + (q - p)
        return ((p - q) * (s - t)).sum(axis=1), by_s, by_t

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, T = (torch.from_numpy(array).requires_grad_() for array in (s, t))
        return {"torch": _summed(torch, lambda: ((S.sigmoid() - T.sigmoid()) * (S - T)).sum(1), S, T)}

    sides = {"kexue": lambda: kx.zlpr_symmetric_kl(s, t, return_grad=True), "SciPy": expression}
    name = f"zlpr_symmetric_kl with gradients, {rows}x{n} {dtype}"
    return _workload(name, sides, torch_sides, ("torch",), _tolerance(dtype), bytes_moved=4 * s.nbytes)


@recent
def pairwise_rank_loss(rows: int, n: int, dtype: str) -> Workload:
    s, t = multilabel(rows, n, dtype)
    t[:, 0] = True  # torch's gradient of an empty sum is NaN

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, true = torch.from_numpy(s).requires_grad_(), torch.from_numpy(t)

        def loss() -> Any:
            pairs = torch.logsumexp(S.masked_fill(true, -math.inf), 1)
            pairs = pairs + torch.logsumexp(-S.masked_fill(~true, math.inf), 1)
            return torch.logaddexp(pairs, torch.zeros_like(pairs))  # softplus leaves out 2e-9 from 20 on

        return {"torch": _summed(torch, loss, S)}

    return _workload(
        f"pairwise_rank_loss with gradient, {rows}x{n} {dtype}",
        {"kexue": lambda: kx.pairwise_rank_loss(s, t, return_grad=True, workers=1)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=2 * s.nbytes + t.nbytes,
    )


@recent
def zlpr_decision(name: str, rows: int, n: int, dtype: str) -> Workload:
    s, _ = multilabel(rows, n, dtype)
    kexue, expression = {
        "zlpr_predict": (lambda: kx.zlpr_predict(s), lambda: s > 0),
        "zlpr_probability": (lambda: kx.zlpr_probability(s), lambda: special.expit(2 * s)),
    }[name]
    return Workload(
        f"{name}, {rows}x{n} {dtype}",
        {"kexue": Side(kexue), "SciPy": Side(expression)},
        **_tolerance(dtype),
        bytes_moved=s.nbytes + (s.nbytes if name == "zlpr_probability" else s.size),
    )


# ---- subsets of k ----


def _torch_log_esp(torch: Any, scores: Any, k: int) -> Any:
    """log e_k of each row by the positive recursion; without orders that are -inf: logaddexp has no slope there."""
    orders = torch.zeros_like(scores[:, :1])
    for column in scores.split(1, dim=1):
        raised = orders + column
        grown = torch.logaddexp(orders[:, 1:], raised[:, :-1])
        orders = torch.cat([orders[:, :1], grown, raised[:, -1:]], dim=1)[:, : k + 1]
    return orders[:, k]


def _numpy_log_esp(scores: np.ndarray, k: int) -> np.ndarray:
    table = np.full((len(scores), k + 1), -np.inf)
    table[:, 0] = 0
    for i in range(scores.shape[1]):
        top = min(i + 1, k)
        table[:, 1 : top + 1] = np.logaddexp(table[:, 1 : top + 1], table[:, :top] + scores[:, i : i + 1])
    return table[:, k]


@recent
def log_esp(rows: int, n: int, k: int, dtype: str, *, grad: bool = False) -> Workload:
    """Of all rows at once, an entry at a time, which is as good as an interpreted recursion gets."""
    s, _ = multilabel(rows, n, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S = torch.from_numpy(s)
        if grad:
            S.requires_grad_()
            return {"torch": _summed(torch, lambda: _torch_log_esp(torch, S, k), S)}
        return {"torch": lambda: _torch_log_esp(torch, S, k)}

    sides = {"kexue": lambda: kx.log_esp(s, k, return_grad=grad, workers=1)}
    if not grad:
        sides["NumPy"] = lambda: _numpy_log_esp(s, k)
    name = f"log_esp{' with gradient' if grad else ''}, {rows}x{n}, k={k} {dtype}"
    return _workload(name, sides, torch_sides, ("torch",), _tolerance(dtype))


@recent
def subset_targets(rows: int, n: int, k: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and targets of which k are true in each row."""
    s, ids = sparse_targets(rows, n, k, dtype)
    t = np.zeros((rows, n), dtype=bool)
    np.put_along_axis(t, ids, True, axis=1)
    return s, t


@recent
def combinatorial_softmax_loss(rows: int, n: int, k: int, dtype: str) -> Workload:
    """Loss and gradient, k targets each."""
    s, t = subset_targets(rows, n, k, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, target = torch.from_numpy(s).requires_grad_(), torch.from_numpy(t.astype(dtype))
        return {"torch": _summed(torch, lambda: _torch_log_esp(torch, S, k) - (S * target).sum(1), S)}

    return _workload(
        f"combinatorial_softmax_loss with gradient, {rows}x{n}, k={k} {dtype}",
        {"kexue": lambda: kx.combinatorial_softmax_loss(s, t, return_grad=True, workers=1)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
    )


@recent
def combinatorial_predict(rows: int, n: int, k: int) -> Workload:
    s, _ = multilabel(rows, n, "float64")

    def largest() -> np.ndarray:
        chosen = np.zeros(s.shape, dtype=bool)
        np.put_along_axis(chosen, np.argpartition(-s, k, axis=1)[:, :k], True, axis=1)
        return chosen

    sides = {"kexue": Side(lambda: kx.combinatorial_predict(s, k)), "NumPy": Side(largest)}
    return Workload(f"combinatorial_predict, {rows}x{n}, k={k}", sides, rtol=0.0)


# ---- contrastive ----


@recent
def similarities(n: int, dtype: str) -> np.ndarray:
    return np.random.default_rng(n).uniform(-1, 1, (n, n)).astype(dtype)


@recent
def info_nce_loss(n: int, dtype: str, *, symmetric: bool = False) -> Workload:
    cosines = similarities(n, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, diagonal = torch.from_numpy(cosines).requires_grad_(), torch.arange(n)
        cross_entropy = torch.nn.functional.cross_entropy

        def loss() -> Any:
            if symmetric:
                return (cross_entropy(S / 0.05, diagonal) + cross_entropy(S.T / 0.05, diagonal)) / 2
            return cross_entropy(S / 0.05, diagonal)

        return {"torch": _summed(torch, loss, S)}

    return _workload(
        f"info_nce_loss with gradient, {n}x{n}{', symmetric' if symmetric else ''} {dtype}",
        {"kexue": lambda: kx.info_nce_loss(cosines, temperature=0.05, symmetric=symmetric, return_grad=True)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=2 * cosines.nbytes,
    )


@recent
def two_passes(rows: int, n: int, dtype: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits of the same rows twice, and labels."""
    first, _ = multilabel(rows, n, dtype)
    second = (first + np.random.default_rng(n).standard_normal(first.shape)).astype(dtype)
    return first, second, np.random.default_rng(rows).integers(n, size=rows)


@recent
def r_drop_loss(rows: int, n: int, dtype: str) -> Workload:
    first, second, ids = two_passes(rows, n, dtype)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        A, B = (torch.from_numpy(array).requires_grad_() for array in (first, second))
        chosen = torch.from_numpy(ids)[:, None]

        def loss() -> Any:
            p, q = torch.log_softmax(A, 1), torch.log_softmax(B, 1)
            divergence = ((p.exp() - q.exp()) * (A - B)).sum(1)
            return 2 * divergence - (p.gather(1, chosen) + q.gather(1, chosen))[:, 0]

        return {"torch": _summed(torch, loss, A, B)}

    return _workload(
        f"r_drop_loss with gradients, {rows}x{n} {dtype}",
        {"kexue": lambda: kx.r_drop_loss(first, second, ids, alpha=4.0, return_grad=True)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=4 * first.nbytes,
    )


@recent
def softmax_symmetric_kl(rows: int, n: int, dtype: str) -> Workload:
    s, _ = multilabel(rows, n, dtype)
    t = np.roll(s, 1, axis=0)

    def torch_sides(torch: Any) -> dict[str, Callable[[], Any]]:
        S, T = (torch.from_numpy(array).requires_grad_() for array in (s, t))

        def loss() -> Any:
            return ((torch.softmax(S, 1) - torch.softmax(T, 1)) * (S - T)).sum(1)

        return {"torch": _summed(torch, loss, S, T)}

    return _workload(
        f"softmax_symmetric_kl with gradients, {rows}x{n} {dtype}",
        {"kexue": lambda: kx.softmax_symmetric_kl(s, t, return_grad=True)},
        torch_sides,
        ("torch",),
        _tolerance(dtype),
        bytes_moved=4 * s.nbytes,
    )
