"""What is measured of rows of probabilities and logits: softmaxes, their losses, and entropy normalisation."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import special, stats
from scipy.optimize import elementwise
from sklearn.manifold._utils import _binary_search_perplexity
from sklearn.neighbors import NearestNeighbors
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx

NO_OPENTSNE = "openTSNE is not installed"


def logits(rows: int, n: int, dtype: str) -> np.ndarray:
    return np.random.default_rng([rows, n]).standard_normal((rows, n)).astype(dtype)


# ---- softmax ----


def _taylor_softmax(x: Any) -> Any:
    """In NumPy or in torch."""
    values = 1 + x * (1 + x / 2)
    return values / values.sum(-1)[..., None]


@recent
def softmax(name: str, rows: int, n: int, dtype: str, *, into: bool = False) -> Workload:
    """Along the last axis; with `into`, both sides write into an array that is there already."""
    x = logits(rows, n, dtype)
    out = np.zeros(rows if name == "logsumexp" else (rows, n), dtype=dtype)
    torch_out, where = np.zeros_like(out), {"out": out} if into else {}
    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "softmax": (lambda: kx.softmax(x, **where), lambda: special.softmax(x, axis=1)),
        "log_softmax": (lambda: kx.log_softmax(x, **where), lambda: special.log_softmax(x, axis=1)),
        "logsumexp": (lambda: kx.logsumexp(x, **where), lambda: special.logsumexp(x, axis=1)),
        "taylor_softmax": (lambda: kx.taylor_softmax(x, 2, **where), lambda: _taylor_softmax(x)),
    }
    kexue, expression = pairs[name]
    sides = {"kexue": Side(kexue), "NumPy" if name == "taylor_softmax" else "SciPy": Side(expression)}
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        t = torch.from_numpy(x)
        place = {"out": torch.from_numpy(torch_out)} if into else {}
        functions = {
            "softmax": lambda: torch.softmax(t, 1, **place),
            "log_softmax": lambda: torch.log_softmax(t, 1, **place),
            "logsumexp": lambda: torch.logsumexp(t, 1, **place),
            "taylor_softmax": lambda: _taylor_softmax(t),
        }
        sides["torch"] = Side(functions[name])
    eps = float(np.finfo(dtype).eps)
    title = f"{name}{' out=' if into else ''}, {rows}x{n} {dtype}"
    # SciPy adds float32 in float32.
    return Workload(title, sides, rtol=64 * eps, atol=64 * eps, absent=absent, bytes_moved=x.nbytes + out.nbytes)


@recent
def softmax_vjp(name: str, rows: int, n: int, dtype: str) -> Workload:
    """Backward passes; torch's are the compiled functions that its autograd calls."""
    x, grad = logits(rows, n, dtype), logits(rows + 1, n, dtype)[1:].copy()
    q, log_q, row_grad = special.softmax(x, axis=1), special.log_softmax(x, axis=1), grad[:, 0].copy()

    def projected(q: np.ndarray) -> np.ndarray:
        return q * (grad - (q * grad).sum(axis=1, keepdims=True))

    def taylor() -> np.ndarray:
        values = 1 + x * (1 + x / 2)
        return (1 + x) / values * projected(values / values.sum(axis=1, keepdims=True))

    pairs: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "softmax_vjp": (lambda: kx.softmax_vjp(q, grad), lambda: projected(q)),
        "log_softmax_vjp": (
            lambda: kx.log_softmax_vjp(log_q, grad),
            lambda: grad - np.exp(log_q) * grad.sum(axis=1, keepdims=True),
        ),
        "logsumexp_vjp": (
            lambda: kx.logsumexp_vjp(x, row_grad),
            lambda: special.softmax(x, axis=1) * row_grad[:, None],
        ),
        "taylor_softmax_vjp": (lambda: kx.taylor_softmax_vjp(x, grad, 2), taylor),
    }
    kexue, expression = pairs[name]
    sides, absent = {"kexue": Side(kexue), "NumPy": Side(expression)}, {}
    if name in ("softmax_vjp", "log_softmax_vjp"):
        torch = installed("torch")
        if torch is None:
            absent["torch"] = NO_TORCH
        else:
            given, output = torch.from_numpy(grad), torch.from_numpy(q if name == "softmax_vjp" else log_q)
            aten = torch.ops.aten
            backward = aten._softmax_backward_data if name == "softmax_vjp" else aten._log_softmax_backward_data
            sides["torch"] = Side(lambda: backward(given, output, 1, output.dtype))
    eps = float(np.finfo(dtype).eps)
    return Workload(
        f"{name}, {rows}x{n} {dtype}",
        sides,
        rtol=64 * eps,
        atol=256 * eps,
        absent=absent,
        bytes_moved=2 * x.nbytes + (row_grad if name == "logsumexp_vjp" else x).nbytes,
    )


@recent
def loss(name: str, rows: int, n: int, dtype: str) -> Workload:
    """A loss for each row and the gradient of their sum."""
    x = logits(rows, n, dtype)
    ids = np.random.default_rng(n).integers(n, size=rows)
    chosen = np.arange(rows), ids

    def expression() -> tuple[np.ndarray, np.ndarray]:
        if name == "softmax_loss":
            grad = special.softmax(x, axis=1)
            slopes = 1
        else:
            values = 1 + x * (1 + x / 2)
            grad, slopes = values / values.sum(axis=1, keepdims=True), (1 + x) / values
        losses = -np.log(grad[chosen])
        grad[chosen] -= 1
        return losses, grad * slopes

    def joined(result: tuple[Any, Any]) -> np.ndarray:
        return np.column_stack([np.asarray(part) for part in result])

    public = {
        "softmax_loss": lambda: kx.softmax_loss(x, ids, return_grad=True),
        "taylor_softmax_loss": lambda: kx.taylor_softmax_loss(x, ids, 2, return_grad=True),
    }
    sides = {
        "kexue": Side(public[name], comparable=joined),
        "NumPy": Side(expression, comparable=joined),
    }
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:
        t, target = torch.from_numpy(x).requires_grad_(), torch.from_numpy(ids)

        def with_autograd() -> tuple[Any, Any]:
            if name == "softmax_loss":
                losses = torch.nn.functional.cross_entropy(t, target, reduction="none")
            else:
                values = 1 + t * (1 + t / 2)
                losses = values.sum(1).log() - values.gather(1, target[:, None])[:, 0].log()
            return losses.detach(), torch.autograd.grad(losses.sum(), t)[0]

        sides["torch"] = Side(with_autograd, comparable=joined)
    eps = float(np.finfo(dtype).eps)
    return Workload(
        f"{name} with gradient, {rows}x{n} {dtype}",
        sides,
        rtol=64 * eps,
        atol=64 * eps,
        absent=absent,
        bytes_moved=2 * x.nbytes + ids.nbytes,
    )


# ---- entropy ----


@recent
def entropy(rows: int, n: int, dtype: str) -> Workload:
    """Of weights that need not sum to 1."""
    p = np.random.default_rng([rows, n]).random((rows, n)).astype(dtype)
    sides = {"kexue": Side(lambda: kx.entropy(p)), "SciPy": Side(lambda: stats.entropy(p, axis=1))}
    return Workload(f"entropy, {rows}x{n} {dtype}", sides, rtol=256 * float(np.finfo(dtype).eps), bytes_moved=p.nbytes)


# ---- entropy normalisation ----


def _probabilities(rows: int, n: int) -> np.ndarray:
    """Softmaxes of normal logits.

    Where there are no more rows than columns scikit-learn leaves entry [i, i] out: it has next to no weight there.
    """
    u = logits(rows, n, "float64")
    if n >= rows:
        u[np.arange(rows), np.arange(rows)] = -30
    return special.softmax(u, axis=1)


def _entropies(q: np.ndarray) -> np.ndarray:
    return special.entr(np.asarray(q, dtype=np.float64)).sum(axis=1)


def _summary(q: Any) -> np.ndarray:
    """Entropy and largest probability of each row: the same whether the diagonal is left out or zero."""
    q = np.asarray(q, dtype=np.float64)
    return np.column_stack([_entropies(q), q.max(axis=1)])


def torch_newton(u: Any, target: float, tolerance: float) -> tuple[Any, Any]:
    """q and gamma for log-weights, by Newton's method for the logarithm of the entropy, inside of a bracket.

    It starts where the second-order expansion at gamma = 0 puts the root, and goes on with the unfinished rows once a
    third of them is done. Of the methods tried in torch it takes the least time.
    """
    torch = installed("torch")
    whole = u - u.amax(1, keepdim=True)
    v, rows, found = whole, torch.arange(len(u)), u.new_empty(len(u))
    gamma = torch.sqrt(2 * (math.log(v.shape[1]) - target) / v.var(1, correction=0))
    low, high = torch.zeros_like(gamma), torch.full_like(gamma, math.inf)
    for _ in range(100):
        w = torch.mul(v, gamma[:, None]).exp_()
        total = w.sum(1)
        w *= v
        mean = w.sum(1) / total
        variance = torch.linalg.vecdot(w, v) / total - mean * mean
        entropies = total.log() - gamma * mean
        error = entropies - target
        unfinished = error.abs() > tolerance
        count = int(unfinished.sum())
        if count <= 2 * len(v) / 3:
            found[rows] = gamma
            if count == 0:
                break
            parts = (v, rows, gamma, low, high, entropies, error, variance)
            v, rows, gamma, low, high, entropies, error, variance = (part[unfinished] for part in parts)
        low, high = torch.where(error > 0, gamma, low), torch.where(error > 0, high, gamma)
        step = gamma + entropies * torch.log(entropies / target) / (gamma * variance)
        middle = torch.where(high.isinf(), 2 * gamma, (low + high) / 2)
        gamma = torch.where((step > low) & (step < high), step, middle)
    else:
        raise AssertionError("Newton's method did not converge")
    return torch.softmax(found[:, None] * whole, 1), found


def find_root(u: np.ndarray, target: float) -> np.ndarray:
    """q by SciPy's vectorised root finder, for the logarithm of gamma; it looks at unfinished rows only."""
    v = u - u.max(axis=1, keepdims=True)
    start = np.log(np.sqrt(2 * (math.log(v.shape[1]) - target) / v.var(axis=1)))

    def error(log_gamma: np.ndarray, row: np.ndarray) -> np.ndarray:
        chosen = v[row]
        gamma = np.exp(log_gamma)
        scaled = gamma[:, None] * chosen
        w = np.exp(scaled)
        total = w.sum(axis=1)
        return np.log(total) - (w * scaled).sum(axis=1) / total - target

    rows = np.arange(len(v))
    found = elementwise.find_root(error, (start - 2, start + 8), args=(rows,), tolerances={"fatol": 1e-8})
    assert found.success.all()
    return special.softmax(np.exp(found.x)[:, None] * v, axis=1)


def _target(target: float | str, n: int) -> tuple[float, dict[str, Any], str]:
    """The entropy, kexue's arguments, and how it is told: a perplexity, or "half" of the logarithm of n."""
    if target == "half":
        return 0.5 * math.log(n), {"target": 0.5, "target_kind": "fraction"}, "entropy half of log n"
    return math.log(target), {"target": target, "target_kind": "perplexity"}, f"perplexity {target:g}"


def _calibration_sides(distances: np.ndarray, value: float, dtype: str) -> tuple[dict[str, Side], dict[str, str]]:
    """Peers that take distances, each ready-made as it wants them; to 1e-5 and to 1e-8 of entropy.

    openTSNE adds 1e-16 to sums of exp(-beta d), and its search goes astray where all of them are small. So it gets
    distances without each row's least one, with which all of its rows are right.
    """
    single = distances.astype(np.float32)
    root = np.sqrt(distances.astype(np.float64) - distances.min(axis=1, keepdims=True))
    perplexity = math.exp(value)
    sides = {"scikit-learn": Side(lambda: _binary_search_perplexity(single, perplexity, 0), comparable=_summary)}
    absent = {}
    if installed("openTSNE") is None:
        absent["openTSNE"] = NO_OPENTSNE
    else:
        calibrate = installed("openTSNE._tsne").compute_gaussian_perplexity
        wanted = np.array([perplexity])
        sides["openTSNE"] = Side(lambda: calibrate(root, wanted, num_threads=1), comparable=_summary)
    torch = installed("torch")
    if torch is None:
        absent["torch Newton"] = NO_TORCH
    else:
        t = torch.from_numpy(-distances.astype(dtype))
        tolerance = 1e-8 if dtype == "float64" else 1e-5
        sides["torch Newton"] = Side(lambda: torch_newton(t, value, tolerance)[0], comparable=_summary)
    return sides, absent


# scikit-learn stops at 1e-5 of entropy, and where that changes slowly the largest probability is known less well.
_AGREEMENT = {"rtol": 2e-3, "atol": 3e-5}


@recent
def entropy_normalize(rows: int, n: int, dtype: str, target: float | str) -> Workload:
    """Probabilities to probabilities. Peers search a precision for distances, which are -log p here."""
    p = _probabilities(rows, n)
    u = np.log(p)
    value, arguments, told = _target(target, n)
    given = p.astype(dtype)
    exact = find_root(u, value)
    np.testing.assert_allclose(kx.entropy_normalize(p, **arguments), exact, rtol=1e-3, atol=1e-6)
    sides = {"kexue": Side(lambda: kx.entropy_normalize(given, **arguments), comparable=_summary)}
    others, absent = _calibration_sides(-u, value, dtype)
    sides |= others
    sides["SciPy's find_root"] = Side(lambda: find_root(u, value), comparable=_summary)
    return Workload(f"entropy_normalize, {rows}x{n} {dtype}, {told}", sides, **_AGREEMENT, absent=absent)


@recent
def entropy_normalize_logits(rows: int, n: int, dtype: str, target: float | str) -> Workload:
    """From logits, which need no logarithm."""
    u = logits(rows, n, dtype)
    value, arguments, told = _target(target, n)
    sides = {"kexue": Side(lambda: kx.entropy_normalize_logits(u, **arguments), comparable=_summary)}
    others, absent = _calibration_sides(u.max(axis=1, keepdims=True) - u, value, dtype)
    return Workload(
        f"entropy_normalize_logits, {rows}x{n} {dtype}, {told}", sides | others, **_AGREEMENT, absent=absent
    )


@recent
def temperature_for_entropy(rows: int, n: int, target: float | str) -> Workload:
    """The temperature at which sampling has an entropy: 1 / gamma."""
    u = logits(rows, n, "float64")
    value, arguments, told = _target(target, n)
    sides, absent = {"kexue": Side(lambda: kx.temperature_for_entropy(u, **arguments))}, {}
    torch = installed("torch")
    if torch is None:
        absent["torch Newton"] = NO_TORCH
    else:
        t = torch.from_numpy(u)
        sides["torch Newton"] = Side(lambda: 1 / torch_newton(t, value, 1e-8)[1])
    return Workload(f"temperature_for_entropy, {rows}x{n}, {told}", sides, rtol=1e-6, absent=absent)


@recent
def entropy_normalize_vjp(name: str, rows: int, n: int, target: float | str) -> Workload:
    """Solving and the implicit derivative, by log-weights or by weights; in torch the same formula after Newton."""
    p, grad = _probabilities(rows, n), logits(rows + 1, n, "float64")[1:].copy()
    u = np.log(p)
    value, arguments, told = _target(target, n)
    function = {
        "entropy_normalize_vjp": kx.entropy_normalize_vjp,
        "entropy_normalize_logits_vjp": kx.entropy_normalize_logits_vjp,
    }[name]
    of_weights = name == "entropy_normalize_vjp"
    goal = arguments.pop("target")
    sides = {
        "kexue": Side(
            lambda: function(p if of_weights else u, goal, grad, **arguments),
            comparable=lambda result: result[0],
        )
    }
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch Newton"] = NO_TORCH
    else:
        weights, given = torch.from_numpy(p), torch.from_numpy(grad)

        def with_torch() -> Any:
            logarithms = weights.log()
            q, gamma = torch_newton(logarithms, value, 1e-8)
            means = [torch.linalg.vecdot(q, part)[:, None] for part in (logarithms, given)]
            centred, grad_centred = logarithms - means[0], given - means[1]
            weighted = q * centred
            slope = torch.linalg.vecdot(weighted, grad_centred) / torch.linalg.vecdot(weighted, centred)
            result = gamma[:, None] * q * (grad_centred - slope[:, None] * centred)
            return result / weights if of_weights else result

        sides["torch Newton"] = Side(with_torch)
    return Workload(f"{name}, {rows}x{n}, {told}", sides, rtol=1e-5, atol=1e-6, absent=absent)


@recent
def _points(count: int) -> np.ndarray:
    """As real ones lie: clusters of unequal size and width on a few directions of 50 dimensions."""
    rng = np.random.default_rng(count)
    label = rng.choice(20, size=count, p=rng.dirichlet(np.ones(20)))
    centres, widths = 3 * rng.standard_normal((20, 10)), rng.uniform(0.3, 1.5, size=20)
    inner = centres[label] + widths[label, None] * rng.standard_normal((count, 10))
    return inner @ rng.standard_normal((10, 50)) + 0.1 * rng.standard_normal((count, 50))


@recent
def perplexity_affinities(rows: int, neighbors: int | None, perplexity: float, dtype: str = "float64") -> Workload:
    """t-SNE's conditional affinities, of all points or of the nearest neighbours; openTSNE knows the latter only."""
    points = _points(rows)
    search = NearestNeighbors(n_neighbors=neighbors or rows - 1).fit(points)
    squared = search.kneighbors(return_distance=True)[0] ** 2
    if neighbors is None:
        squared = squared[:, np.argsort(np.random.default_rng(0).random(rows - 1))]
        square = np.zeros((rows, rows))
        square[~np.eye(rows, dtype=bool)] = squared.ravel()
    else:
        square = squared
    square = square.astype(dtype)
    sides = {"kexue": Side(lambda: kx.perplexity_affinities(square, perplexity), comparable=_summary)}
    others, absent = _calibration_sides(squared, math.log(perplexity), dtype)
    if neighbors is None:
        single = square.astype(np.float32)
        others["scikit-learn"] = Side(lambda: _binary_search_perplexity(single, perplexity, 0), comparable=_summary)
    shape = f"{rows}x{rows}" if neighbors is None else f"{rows}x{neighbors}"
    name = f"perplexity_affinities, {shape} {dtype}, perplexity {perplexity:g}"
    return Workload(name, sides | others, **_AGREEMENT, absent=absent)


@recent
def entropy_power_curve(rows: int, n: int) -> Workload:
    """Entropies of p ** gamma and their slopes, one gamma a row."""
    p = _probabilities(rows, n)
    gamma = np.random.default_rng(n).uniform(0.5, 3, size=rows)

    def expression() -> tuple[np.ndarray, np.ndarray]:
        u = np.log(p)
        q = special.softmax(gamma[:, None] * u, axis=1)
        mean = (q * u).sum(axis=1)
        entropies = special.logsumexp(gamma[:, None] * u, axis=1) - gamma * mean
        return entropies, -gamma * ((q * u * u).sum(axis=1) - mean * mean)

    sides = {
        "kexue": Side(partial(kx.entropy_power_curve, p, gamma), comparable=np.column_stack),
        "NumPy": Side(expression, comparable=np.column_stack),
    }
    return Workload(f"entropy_power_curve, {rows}x{n}", sides, rtol=1e-9, atol=1e-12)
