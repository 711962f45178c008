"""What is measured: every workload once, with kexue and its peers on the same data.

bench_*.py hands these to pytest-benchmark, ratios.py times their sides in turns. A peer is called as its
users call it; where its interpreted layer takes most of the time, its compiled part alone is a side too
("POT's C++").
"""

from __future__ import annotations

import math
import os
import platform
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, lru_cache, partial, wraps
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np
import ot
from cpuinfo import get_cpu_info
from gensim.models import KeyedVectors
from ot.lp.emd_wrap import emd_c
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from scipy.special import rel_entr
from sklearn.metrics import pairwise_distances as sklearn_distances
from threadpoolctl import threadpool_limits

import kexue as kx

NO_TORCH = "torch is not installed"

# The sides of a workload run one after another and share its data; nothing else is kept. A run of all benches would
# keep some of each, nine gigabytes in all, if caches of functions that were not called lately were not emptied.
_KEPT = 6
_lately_called: dict[Any, None] = {}


def recent(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the last two results of a function, as long as it is among the six that were called last."""
    cached = lru_cache(maxsize=2)(function)

    @wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        _lately_called.pop(cached, None)
        _lately_called[cached] = None
        while len(_lately_called) > _KEPT:
            oldest = next(iter(_lately_called))
            del _lately_called[oldest]
            oldest.cache_clear()
        return cached(*args, **options)

    return call


@dataclass(frozen=True)
class Side:
    """One way to do the work.

    `items` is how many problems a call solves, perhaps a part of one; times are told for one. `comparable` takes from
    a result what all sides share; None for a side that computes nothing of the kind and is there as a limit.
    """

    call: Callable[[], Any]
    items: float = 1
    comparable: Callable[[Any], Any] | None = np.asarray


@dataclass(frozen=True)
class Workload:
    """The sides of a comparison, "kexue" among them, and how closely their results must agree.

    `name` begins with the public name of what is measured, as one writes it after `kexue.` ("attention",
    "DocumentIndex.kneighbors", "torch.emd2"); the case follows. It is the group of pytest-benchmark, and `function` is
    that name for those who sort figures by it. `absent` tells why a side is missing that could be there.

    What a call of kexue's moves and does at least, where that bounds it: `bytes_moved` counts every array that is given
    once as read and every result once as written. `operations` counts additions, multiplications, divisions and roots
    of floating-point numbers in the method's own formula, 2 for a multiplication with its addition; an exponential
    counts as 1, because what it costs is no property of the method.
    """

    name: str
    sides: dict[str, Side]
    rtol: float = 1e-10
    atol: float = 0.0
    absent: dict[str, str] = field(default_factory=dict)
    bytes_moved: int = 0
    operations: int = 0
    _results: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        first = self.function.partition(".")[0]
        # The module is looked for first: hasattr would import kexue.torch, which fails where torch is absent.
        if find_spec(f"kexue.{first or '_'}") is None and not hasattr(kx, first or "_"):
            raise ValueError(f"name must begin with a public name of kexue, got {self.name!r}")

    @property
    def function(self) -> str:
        """The public name of what is measured."""
        found = re.match(r"(?:kexue\.)?(\w+(?:\.\w+)*)", self.name)
        return found[1] if found else ""

    def check(self, name: str, result: Any) -> None:
        """Fail unless a side's result agrees with kexue's, or kexue's with the first peer's, if one is installed.

        `comparable` sees every result, that of a side without a peer as well: it may fail by itself.
        """
        side = self.sides[name]
        if side.comparable is None:
            return
        comparable = side.comparable(result)
        other = "kexue" if name != "kexue" else next((peer for peer in self.sides if peer != "kexue"), None)
        if other is None or self.sides[other].comparable is None:
            return
        if other not in self._results:
            self._results[other] = self.sides[other].comparable(self.sides[other].call())
        expected, sides = self._results[other], f"{name} and {other}"
        np.testing.assert_allclose(comparable, expected, rtol=self.rtol, atol=self.atol, err_msg=sides)


@cache
def installed(name: str) -> Any:
    """A module, or None. Torch starts with one thread."""
    try:
        module = import_module(name)
    except ImportError:
        return None
    if name == "torch":
        module.set_num_threads(1)
    return module


def without_torch(*sides: str) -> dict[str, str]:
    """The `absent` of a workload whose `sides`, or else "torch", are made with torch."""
    return {} if installed("torch") is not None else dict.fromkeys(sides or ("torch",), NO_TORCH)


@contextmanager
def pinned_threads() -> Iterator[None]:
    """One thread for BLAS and OpenMP, and for kexue where a call does not say otherwise."""
    with threadpool_limits(1), kx.threads(1):
        yield


@cache
def machine() -> dict[str, Any]:
    """What a figure depends on."""
    built, cpu = kx.show_config(mode="dict"), get_cpu_info()
    return {
        # Virtual machines leave out of the name what tells generations apart.
        "cpu": f"{cpu.get('brand_raw', platform.processor())}, family {cpu.get('family')}, model {cpu.get('model')}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        **{key: built[key] for key in ("isa", "compiler", "kexue", "python", "numpy", "scipy")},
        "threads": "1 unless the case says otherwise",
        # NumPy asks for huge pages on Linux, which halves the cost of new arrays where the system has some.
        "huge_pages": os.environ.get("NUMPY_MADVISE_HUGEPAGE", "1") != "0",
        "platform": sys.platform,
        **{name: version(name) for name in ("POT", "gensim", "scikit-learn")},
        **{name: version(name) for name in ("torch", "openTSNE", "hyppo", "rapidfuzz") if find_spec(name) is not None},
        **({"faiss": version("faiss-cpu")} if find_spec("faiss") is not None else {}),
    }


# ---- transport ----

# Enough different problems that the branch predictor cannot learn the pivots of one.
_COUNTS = {(5, 7): 1000, (10, 15): 1000, (20, 30): 1000, (50, 60): 300, (100, 100): 100, (500, 500): 4}


def _simplex_points(rng: np.random.Generator, count: int, n: int) -> np.ndarray:
    weights = rng.random((count, n))
    return weights / weights.sum(axis=1, keepdims=True)


@recent
def transport_problems(m: int, n: int, costs: str, *, uniform: bool = False) -> tuple[np.ndarray, ...]:
    """Weights a (count, m) and b (count, n), and costs M (count, m, n) of one size.

    `costs` "random": uniform in [0, 1). "plane": Euclidean distances of normal points in the plane. Weights
    are uniform in [0, 1), then scaled to sum 1; or all equal.
    """
    count = _COUNTS.get((m, n), 1000 if m <= 64 else 1)
    rng = np.random.default_rng([m, n])
    a, b = _simplex_points(rng, count, m), _simplex_points(rng, count, n)
    if uniform:
        a, b = np.full((count, m), 1 / m), np.full((count, n), 1 / n)
    if costs == "random":
        return a, b, rng.random((count, m, n))
    x, y = rng.normal(size=(count, m, 2)), rng.normal(size=(count, n, 2))
    return a, b, np.stack([cdist(*clouds) for clouds in zip(x, y, strict=True)])


def _loop(function: Callable[..., Any], *arrays: Any) -> Callable[[], list[Any]]:
    problems = list(zip(*arrays, strict=True))
    return lambda: [function(*problem) for problem in problems]


def _pot_core(a: np.ndarray, b: np.ndarray, M: np.ndarray) -> float:
    return emd_c(a, b, M, 100000, 1)[1]


def _pot_sides(a: np.ndarray, b: np.ndarray, M: np.ndarray) -> dict[str, Side]:
    return {
        "POT": Side(_loop(ot.emd2, a, b, M), len(M)),
        "POT's C++": Side(_loop(_pot_core, a, b, M), len(M)),
    }


@recent
def emd2(m: int, n: int, costs: str) -> Workload:
    """One call a problem."""
    a, b, M = transport_problems(m, n, costs)
    sides = {"kexue": Side(_loop(kx.emd2, a, b, M), len(M)), **_pot_sides(a, b, M)}
    return Workload(f"emd2, one call, {m}x{n}, {costs}", sides)


@recent
def emd2_batch(m: int, n: int, costs: str) -> Workload:
    """All problems in one call, which POT cannot."""
    a, b, M = transport_problems(m, n, costs)
    sides = {"kexue": Side(lambda: kx.emd2(a, b, M), len(M)), **_pot_sides(a, b, M)}
    return Workload(f"emd2, batch of {len(M)}, {m}x{n}, {costs}", sides)


@recent
def emd2_uniform(n: int, costs: str) -> Workload:
    """Equal weights on a square, in one call: assignment."""
    a, b, M = transport_problems(n, n, costs, uniform=True)

    def assignment(costs: np.ndarray) -> float:
        rows, columns = linear_sum_assignment(costs)
        return costs[rows, columns].mean()

    sides = {
        "kexue": Side(lambda: kx.emd2(None, None, M), len(M)),
        **_pot_sides(a, b, M),
        "SciPy's assignment": Side(_loop(assignment, M), len(M)),
    }
    return Workload(f"emd2, batch of {len(M)}, uniform {n}x{n}, {costs}", sides)


@recent
def emd(m: int, n: int, costs: str) -> Workload:
    """The plan; the optimum of random costs is unique."""
    a, b, M = transport_problems(m, n, costs)
    sides = {"kexue": Side(_loop(kx.emd, a, b, M), len(M)), "POT": Side(_loop(ot.emd, a, b, M), len(M))}
    return Workload(f"emd, one call, {m}x{n}, {costs}", sides, rtol=1e-9, atol=1e-12)


@recent
def solve(m: int, n: int, costs: str) -> Workload:
    """Value, plan, potentials."""
    a, b, M = transport_problems(m, n, costs)

    def values(results: list[Any]) -> np.ndarray:
        return np.array([result.value for result in results])

    sides = {
        "kexue": Side(_loop(kx.solve, M, a, b), len(M), values),
        "POT": Side(_loop(ot.solve, M, a, b), len(M), values),
    }
    return Workload(f"solve, one call, {m}x{n}, {costs}", sides)


def _line(n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(n)
    count = max(1, 20000 // n)
    points = (rng.normal(size=(count, n)) for _ in range(2))
    weights = (_simplex_points(rng, count, n) for _ in range(2))
    return *points, *weights


@recent
def emd_1d(n: int) -> Workload:
    """The plan on the line, under squared distances."""
    x, y, a, b = _line(n)
    sides = {
        "kexue": Side(_loop(kx.emd_1d, x, y, a, b), len(x)),
        "POT": Side(_loop(ot.emd_1d, x, y, a, b), len(x)),
    }
    return Workload(f"emd_1d, one call, {n} points", sides, rtol=1e-9, atol=1e-12)


@recent
def emd2_1d(n: int) -> Workload:
    """The cost on the line; POT's wasserstein_1d is its fast route, and takes a batch."""
    x, y, a, b = _line(n)
    sides = {
        "kexue": Side(lambda: kx.emd2_1d(x, y, a, b), len(x)),
        "POT": Side(_loop(ot.emd2_1d, x, y, a, b), len(x)),
        "POT's wasserstein_1d": Side(lambda: ot.wasserstein_1d(x.T, y.T, a.T, b.T, p=2), len(x)),
    }
    return Workload(f"emd2_1d, batch of {len(x)}, {n} points", sides)


# ---- entropic transport ----

# Most mixtures are easy. These are the first seeds whose plain iteration takes more than 2000 passes at reg 0.01, as it
# did for the problem on which the goals were set.
_SLOW_SEEDS = {200: 28, 1000: 13}


def _entropic_points(rng: np.random.Generator, n: int, costs: str) -> tuple[np.ndarray, np.ndarray]:
    if costs == "plane":
        x, y = rng.normal(size=(2, n, 2))
    else:
        centres, shares = rng.random((10, 2)), rng.dirichlet(np.ones(10), size=2)
        x, y = (centres[rng.choice(10, size=n, p=share)] + 0.02 * rng.normal(size=(n, 2)) for share in shares)
    if costs == "apart":
        y[:, 0] += 5
    return x, y


def _entropic_problem(n: int, costs: str, seed: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    if costs == "random":
        M = rng.random((n, n))
    else:
        M = cdist(*_entropic_points(rng, n, costs), "sqeuclidean")
        M /= M.max()
    a, b = _simplex_points(rng, 2, n)
    return a, b, M


@recent
def entropic_problems(n: int, costs: str) -> tuple[np.ndarray, ...]:
    """Weights a, b (count, n) and costs M (count, n, n): 1000 problems of 30x30, one of a larger size.

    `costs` "random": uniform in [0, 1). The others are squared distances in the plane, scaled to a maximum of 1:
    "plane" of normal points; "clustered" of samples from two mixtures of the same 10 clusters (their centres
    uniform in the unit square, of standard deviation 0.02), each mixture with shares of its own, uniform on the
    simplex; "typical" the same for a seed that was not chosen; "apart" the same with one side moved by 5, where
    ``exp(-M / reg)`` underflows at small regularisations. Weights are uniform in [0, 1), then scaled to sum 1.
    """
    seeds = range(1000) if n == 30 else [_SLOW_SEEDS[n] if costs == "clustered" else 0]
    a, b, M = (np.stack(arrays) for arrays in zip(*(_entropic_problem(n, costs, seed) for seed in seeds), strict=True))
    return a, b, M


# POT gets every tenth problem of a batch.
_SAMPLE = slice(None, None, 10)


def _marginal_errors(plans: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """L1 norms; the mass is 1."""
    return np.abs(plans.sum(axis=-1) - a).sum(axis=-1) + np.abs(plans.sum(axis=-2) - b).sum(axis=-1)


def _pot_entropic(function: Callable[..., Any], n: int, costs: str, reg: float, method: str) -> Callable[[], Any]:
    """POT's loop, with enough passes to converge and its other settings as they are."""
    solve = partial(function, reg=reg, method=method, numItermax=10**6, stopThr=1e-9, warn=False)
    return _loop(solve, *(array[_SAMPLE] for array in entropic_problems(n, costs)))


@recent
def _pot_errors(n: int, costs: str, reg: float) -> tuple[str, np.ndarray]:
    """The fastest of POT's methods that works, and the errors of its plans."""
    a, b, _ = entropic_problems(n, costs)
    for method in ("sinkhorn", "sinkhorn_log"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the kernel underflowed is found by the errors
            plans = np.stack(_pot_entropic(ot.sinkhorn, n, costs, reg, method)())
        errors = _marginal_errors(plans, a[_SAMPLE], b[_SAMPLE])
        if errors.max() < 1e-7:
            break
    return method, errors


@recent
def sinkhorn(n: int, costs: str, reg: float) -> Workload:
    """The plan, at POT's marginal error.

    POT stops once the columns' errors are below 1e-9 in the L2 norm, which it looks at every ten passes. kexue's
    tolerance is the L1 error that POT's plan then has, and the median of them for a batch, of which kexue's worst
    plan may not exceed it. POT's own batch runs until its worst plan is as good as those of its loop.
    """
    a, b, M = entropic_problems(n, costs)
    method, pot_errors = _pot_errors(n, costs, reg)
    tol = float(np.median(pot_errors))
    sample = [np.ascontiguousarray(array[_SAMPLE]) for array in (a, b, M)]

    def plans(limit: float, result: Any) -> np.ndarray:
        array = np.asarray(result).reshape(-1, n, n)
        part = slice(None) if len(array) == len(M) else _SAMPLE
        worst = _marginal_errors(array, a[part], b[part]).max()
        assert worst <= 1.001 * limit + 1e-14, f"the marginals of a plan are wrong by {worst}"
        return array if part is _SAMPLE else array[_SAMPLE]

    def solve_batch() -> np.ndarray:
        first, second, batch = sample
        # Its default works with logarithms, which takes seven times as long.
        options = {"method": "sinkhorn", "max_iter": 10**6, "tol": 1e-9, "grad": "detach"}
        return ot.batch.solve_batch(batch, reg, first, second, **options).plan

    problems = (a, b, M) if len(M) > 1 else (a[0], b[0], M[0])
    peer = "POT" if method == "sinkhorn" else f"POT's {method}"
    sides = {
        "kexue": Side(partial(kx.sinkhorn, *problems, reg, tol=tol), len(M), partial(plans, tol)),
        peer: Side(_pot_entropic(ot.sinkhorn, n, costs, reg, method), len(sample[2]), partial(plans, pot_errors.max())),
    }
    if len(M) > 1:
        sides["POT's solve_batch"] = Side(solve_batch, len(sample[2]), partial(plans, pot_errors.max()))
    batch = f"batch of {len(M)}, " if len(M) > 1 else ""
    # What plans at the tolerance can differ by: an entry within 1e-4 of itself and of the mean entry.
    return Workload(f"sinkhorn, {batch}{n}x{n}, {costs}, reg {reg:g}", sides, rtol=1e-4, atol=1e-4 / n**2)


@recent
def sinkhorn2(n: int, costs: str, reg: float) -> Workload:
    """The cost, to the same tolerance as the plan."""
    a, b, M = entropic_problems(n, costs)
    method, pot_errors = _pot_errors(n, costs, reg)
    pot = _pot_entropic(ot.sinkhorn2, n, costs, reg, method)

    def first_costs(result: Any) -> np.ndarray:
        return np.asarray(result)[_SAMPLE]

    sides = {
        "kexue": Side(partial(kx.sinkhorn2, a, b, M, reg, tol=float(np.median(pot_errors))), len(M), first_costs),
        "POT": Side(pot, len(M[_SAMPLE])),
    }
    return Workload(f"sinkhorn2, batch of {len(M)}, {n}x{n}, {costs}, reg {reg:g}", sides, rtol=1e-5)


@recent
def sinkhorn_divergence(n: int, costs: str, reg: float) -> Workload:
    """Three regularised values, from points.

    POT's empirical_sinkhorn_divergence is another number, the difference of the costs without their entropy. The same
    one is made of three plans, or of the values of three calls of solve_sample, which works with logarithms. kexue's
    tolerance is the median error of the three plans.
    """
    rng = np.random.default_rng(_SLOW_SEEDS[n] if costs == "clustered" else 0)
    x, y = _entropic_points(rng, n, costs)
    largest = np.sqrt(cdist(x, y, "sqeuclidean").max())
    x, y = x / largest, y / largest
    a, b = _simplex_points(rng, 2, n)
    terms = [(x, y, a, b), (x, x, a, a), (y, y, b, b)]
    options = {"numItermax": 10**6, "stopThr": 1e-9, "warn": False}

    def debiased(value: Callable[..., float]) -> float:
        between, *within = (value(*term) for term in terms)
        return between - sum(within) / 2

    def value(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        M = ot.dist(x, y)
        plan = ot.sinkhorn(a, b, M, reg, **options)
        return (plan * M).sum() + reg * rel_entr(plan, np.outer(a, b)).sum()

    def solved_value(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return ot.solve_sample(x, y, a, b, reg=reg, max_iter=10**6, tol=1e-9).value

    plans = [(ot.sinkhorn(a, b, ot.dist(x, y), reg, **options), a, b) for x, y, a, b in terms]
    tol = float(np.median([_marginal_errors(*plan) for plan in plans]))
    sides = {
        "kexue": Side(partial(kx.sinkhorn_divergence, x, y, reg, a=a, b=b, tol=tol)),
        "POT": Side(partial(debiased, value)),
        "POT's solve_sample": Side(partial(debiased, solved_value)),
    }
    return Workload(f"sinkhorn_divergence, {n} and {n} points, {costs}, reg {reg:g}", sides, rtol=1e-6, atol=1e-9)


@recent
def sinkhorn_barycenter(bins: int, count: int, reg: float) -> Workload:
    """Of bumps on normal points of the plane.

    Weights are equal, as POT's method "sinkhorn" finds another histogram for others. POT stops by the spread of the
    histograms' estimates, at which it looks every ten passes; kexue must come as close to the barycenter of tolerance
    1e-13 as POT does, or to 1e-12.
    """
    rng = np.random.default_rng([bins, count])
    points = rng.normal(size=(bins, 2))
    M = cdist(points, points, "sqeuclidean")
    histograms = np.exp(-2 * M[rng.choice(bins, size=count, replace=False)])
    histograms /= histograms.sum(axis=1, keepdims=True)
    M /= M.max()
    columns = np.ascontiguousarray(histograms.T)
    pot = partial(ot.bregman.barycenter, columns, M, reg, numItermax=10**6, stopThr=1e-9)
    exact = kx.sinkhorn_barycenter(histograms, M, reg, tol=1e-13)
    tol = max(float(np.abs(pot() - exact).sum()), 1e-12)

    def near(result: np.ndarray) -> np.ndarray:
        distance = np.abs(result - exact).sum()
        assert distance <= 1.001 * tol, f"the barycenter is wrong by {distance}"
        return result

    sides = {
        "kexue": Side(partial(kx.sinkhorn_barycenter, histograms, M, reg, tol=tol), comparable=near),
        "POT": Side(pot, comparable=near),
        "POT's sinkhorn_log": Side(partial(pot, method="sinkhorn_log"), comparable=near),
    }
    return Workload(
        f"sinkhorn_barycenter, {count} histograms, {bins} bins, reg {reg:g}", sides, rtol=1e-6, atol=1e-9 / bins
    )


# ---- documents ----

DIMENSION, WORDS, DOCUMENTS = 300, 20, 200


@dataclass(frozen=True)
class Documents:
    """Two sets of documents over one vocabulary, and the pairs on which slow peers are asked."""

    vectors: np.ndarray
    X: csr_array
    Y: csr_array
    tokens: tuple[list[list[str]], list[list[str]]]
    pairs: list[tuple[int, int]]

    def gathered(self, distances: np.ndarray) -> np.ndarray:
        rows, columns = np.array(self.pairs).T
        return distances[rows, columns]

    def arrays(self, i: int, j: int) -> tuple[np.ndarray, ...]:
        """Word vectors and weights of a pair."""
        x, y = self.X[[i]], self.Y[[j]]
        return self.vectors[x.indices], self.vectors[y.indices], x.data / x.sum(), y.data / y.sum()

    def key_vectors(self) -> KeyedVectors:
        keyed = KeyedVectors(DIMENSION)
        keyed.add_vectors([str(word) for word in range(len(self.vectors))], self.vectors)
        return keyed


@recent
def documents(vocabulary: int, frequencies: str) -> Documents:
    """Documents of 20 tokens, drawn with repeats: "uniform", or "Zipf" (the r-th word with weight 1 / r)."""
    rng = np.random.default_rng(vocabulary)
    vectors = rng.normal(size=(vocabulary, DIMENSION)).astype(np.float32)
    weights = np.ones(vocabulary) if frequencies == "uniform" else 1 / np.arange(1, vocabulary + 1)
    counts, tokens = [], []
    for _ in range(2):
        words = rng.choice(vocabulary, size=(DOCUMENTS, WORDS), p=weights / weights.sum())
        ends = np.arange(0, words.size + 1, WORDS)
        tokens.append([[str(word) for word in document] for document in words])
        matrix = csr_array((np.ones(words.size), words.ravel(), ends), shape=(DOCUMENTS, vocabulary))
        matrix.sum_duplicates()  # may reorder `words` itself
        counts.append(matrix)
    pairs = [tuple(pair) for pair in rng.integers(0, DOCUMENTS, (300, 2)).tolist()]
    return Documents(vectors, *counts, tuple(tokens), pairs)


def transport_of(metric: str) -> Callable[..., float]:
    """A distance in SciPy and POT, as one would write it."""

    def wmd(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return ot.emd2(a, b, cdist(x, y))

    def wrd(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        a, b = (
            a * np.linalg.norm(x.astype(np.float64), axis=1),
            b * np.linalg.norm(y.astype(np.float64), axis=1),
        )
        return ot.emd2(a / a.sum(), b / b.sum(), cdist(x, y, "cosine"))

    def rwmd(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        costs = cdist(x, y)
        return max(a @ costs.min(axis=1), b @ costs.min(axis=0))

    def wcd(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return np.linalg.norm(a @ x - b @ y)

    return {"wmd": wmd, "wrd": wrd, "rwmd": rwmd, "wcd": wcd}[metric]


@recent
def pairwise_distances(metric: str, vocabulary: int, frequencies: str, *, workers: int = 1) -> Workload:
    """All pairs of 200 and 200 documents; slow peers on 300 of them, drawn at random."""
    sets = documents(vocabulary, frequencies)
    arrays = [sets.arrays(i, j) for i, j in sets.pairs]
    function = transport_of(metric)
    sides = {
        "kexue": Side(
            partial(kx.pairwise_distances, sets.X, sets.Y, vectors=sets.vectors, metric=metric, workers=workers),
            DOCUMENTS**2,
            sets.gathered,
        )
    }
    if metric == "wmd":
        keyed = sets.key_vectors()
        tokens = [(sets.tokens[0][i], sets.tokens[1][j]) for i, j in sets.pairs]
        sides["gensim"] = Side(lambda: [keyed.wmdistance(x, y, norm=False) for x, y in tokens], len(tokens))
    if metric == "wcd":

        def centroid_distances() -> np.ndarray:
            means = [counts @ sets.vectors / WORDS for counts in (sets.X, sets.Y)]
            return sklearn_distances(*means)

        sides["scikit-learn"] = Side(centroid_distances, DOCUMENTS**2, sets.gathered)
    else:
        name = "SciPy" if metric == "rwmd" else "POT and SciPy"
        sides[name] = Side(lambda: [function(*pair) for pair in arrays], len(arrays))
    threads = "1 thread" if workers == 1 else f"{workers} threads"
    # The products of all words that occur on one side with those of the other. Exact transport comes on top.
    tables = (
        0 if metric == "wcd" else 2 * DIMENSION * math.prod(len(np.unique(part.indices)) for part in (sets.X, sets.Y))
    )
    name = f"pairwise_distances {metric}, {vocabulary} {frequencies} words, {threads}"
    return Workload(name, sides, rtol=1e-6, operations=tables)


@recent
def pairwise_sinkhorn(vocabulary: int, frequencies: str, reg: float, *, workers: int = 1) -> Workload:
    """The cost of the entropic plan for all pairs, at the median error of POT's plans for 300 of them, or 1e-12."""
    sets = documents(vocabulary, frequencies)
    arrays = [sets.arrays(i, j) for i, j in sets.pairs]
    options = {"reg": reg, "numItermax": 10**6, "stopThr": 1e-9, "warn": False}

    def cost(x: np.ndarray, y: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
        return ot.sinkhorn2(a, b, cdist(x, y), **options)

    errors = [_marginal_errors(ot.sinkhorn(a, b, cdist(x, y), **options), a, b) for x, y, a, b in arrays]
    kexue = partial(
        kx.pairwise_distances,
        sets.X,
        sets.Y,
        vectors=sets.vectors,
        metric="sinkhorn",
        reg=reg,
        tol=max(float(np.median(errors)), 1e-12),
        workers=workers,
    )
    sides = {
        "kexue": Side(kexue, DOCUMENTS**2, sets.gathered),
        "POT and SciPy": Side(lambda: [cost(*pair) for pair in arrays], len(arrays)),
    }
    threads = "1 thread" if workers == 1 else f"{workers} threads"
    name = f"pairwise_distances sinkhorn, {vocabulary} {frequencies} words, reg {reg:g}, {threads}"
    return Workload(name, sides, rtol=1e-6)


QUERIES, NEIGHBORS = 10, 10


@dataclass(frozen=True)
class Corpus:
    """Many documents and a few queries over one vocabulary, and each query's true neighbours by a scan."""

    vectors: np.ndarray
    X: csr_array
    queries: csr_array
    distances: np.ndarray
    nearest: np.ndarray


@recent
def corpus_documents(count: int, vocabulary: int, words: str) -> tuple[np.ndarray, csr_array, csr_array]:
    """Vectors, `count` documents of 20 tokens and a few queries.

    Words "uniform": drawn from all alike, with independent normal vectors, the hardest case for bounds because all
    distances are nearly equal. "topics": 200 clusters of vectors, three to a document.
    """
    rng = np.random.default_rng([count, vocabulary])
    vectors = rng.normal(size=(vocabulary, DIMENSION)).astype(np.float32)
    total = count + QUERIES
    if words == "uniform":
        tokens = rng.integers(vocabulary, size=(total, WORDS))
    else:
        members = rng.permutation(vocabulary).reshape(200, -1)
        centres = rng.normal(size=(200, DIMENSION)).astype(np.float32)
        for topic, centre in zip(members, centres, strict=True):
            vectors[topic] = 0.8 * vectors[topic] + centre
        topics = np.take_along_axis(rng.integers(200, size=(total, 3)), rng.integers(3, size=(total, WORDS)), axis=1)
        tokens = members[topics, rng.integers(members.shape[1], size=(total, WORDS))]
    matrix = csr_array(
        (np.ones(tokens.size), tokens.ravel(), np.arange(0, tokens.size + 1, WORDS)), shape=(total, vocabulary)
    )
    matrix.sum_duplicates()
    return vectors, matrix[:count], matrix[count:]


def _scan(vectors: np.ndarray, X: csr_array, queries: csr_array) -> tuple[np.ndarray, np.ndarray]:
    """Distances and numbers of the nearest documents, of all distances."""
    distances = kx.pairwise_distances(queries, X, vectors=vectors, workers=-1)
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :NEIGHBORS]
    return np.take_along_axis(distances, nearest, axis=1), nearest


@recent
def corpus(count: int, vocabulary: int, words: str) -> Corpus:
    """`corpus_documents` with the truth."""
    given = corpus_documents(count, vocabulary, words)
    return Corpus(*given, *_scan(*given))


@recent
def nearest_documents(count: int, words: str, *, workers: int = 1) -> Workload:
    """The 10 nearest documents of each of 10 queries; a peer's scan is extrapolated from 1000 pairs.

    A hundredth of these pairs are true neighbours, whose distances are compared; a scan meets fewer.
    """
    data = corpus(count, 20_000, words)
    index = kx.DocumentIndex(data.vectors).fit(data.X)
    rng = np.random.default_rng(0)
    pairs = [(q, int(d)) for q in range(QUERIES) for d in data.nearest[q, :1]]
    pairs += [
        (int(q), int(d)) for q, d in zip(rng.integers(QUERIES, size=990), rng.integers(count, size=990), strict=True)
    ]
    keyed = KeyedVectors(DIMENSION)
    keyed.add_vectors([str(word) for word in range(len(data.vectors))], data.vectors)

    def tokens(row: csr_array) -> list[str]:
        return [str(word) for word in np.repeat(row.indices, row.data.astype(int))]

    texts = [(tokens(data.queries[[q]]), tokens(data.X[[d]])) for q, d in pairs]
    arrays = []
    for q, d in pairs:
        x, y = data.queries[[q]], data.X[[d]]
        arrays.append((data.vectors[x.indices], data.vectors[y.indices], x.data / x.sum(), y.data / y.sum()))
    wmd, scans = transport_of("wmd"), len(pairs) / count

    def first(distances: Any) -> np.ndarray:
        return np.asarray(distances[:QUERIES])

    sides = {
        "kexue": Side(
            lambda: index.kneighbors(data.queries, NEIGHBORS, workers=workers), QUERIES, lambda found: found[0][:, 0]
        ),
        "gensim": Side(lambda: [keyed.wmdistance(x, y, norm=False) for x, y in texts], scans, first),
        "POT and SciPy": Side(lambda: [wmd(*pair) for pair in arrays], scans, first),
        "kexue's own scan": Side(
            lambda: kx.pairwise_distances(data.queries[:2], data.X, vectors=data.vectors, workers=workers),
            2,
            comparable=None,
        ),
    }
    found = index.kneighbors(data.queries, NEIGHBORS)
    np.testing.assert_array_equal(found[1], data.nearest)
    np.testing.assert_array_equal(found[0], data.distances)
    threads = "1 thread" if workers == 1 else f"{workers} threads"
    return Workload(f"DocumentIndex.kneighbors, 10 of {count} documents, {words} words, {threads}", sides, rtol=1e-6)


@recent
def index_build(count: int) -> Workload:
    """Counts to an index; gensim's WmdSimilarity only keeps the texts, so nothing stands beside it.

    What is built must find the neighbours that a scan finds.
    """
    vectors, X, queries = corpus_documents(count, 20_000, "uniform")
    expected = _scan(vectors, X, queries[:1])[1]

    def nearest(index: kx.DocumentIndex) -> np.ndarray:
        found = index.kneighbors(queries[:1], NEIGHBORS, workers=1)[1]
        np.testing.assert_array_equal(found, expected)
        return found

    build = Side(lambda: kx.DocumentIndex(vectors).fit(X), comparable=nearest)
    return Workload(f"DocumentIndex.fit, {count} documents", {"kexue": build})


@recent
def transport_lower_bound(m: int, n: int, costs: str) -> Workload:
    """The certified bound beside the exact cost, which it must not pass: the ratio tells what it saves."""
    a, b, M = transport_problems(m, n, costs)
    exact = kx.emd2(a, b, M)

    def below(bounds: np.ndarray) -> np.ndarray:
        assert (bounds <= exact * (1 + 1e-12)).all()
        return bounds

    sides = {
        "kexue": Side(lambda: kx.transport_lower_bound(a, b, M), len(M), comparable=below),
        "kexue's emd2": Side(lambda: kx.emd2(a, b, M), len(M), comparable=None),
    }
    return Workload(f"transport_lower_bound, batch of {len(M)}, {m}x{n}, {costs}", sides)


@recent
def one_pair(metric: str) -> Workload:
    """wmd, wrd, rwmd, wcd: one call a pair of arrays, whose rows are far apart in a table of 240 MB."""
    sets = documents(200_000, "uniform")
    arrays = [sets.arrays(i, j) for i, j in sets.pairs]
    public = {"wmd": kx.wmd, "wrd": kx.wrd, "rwmd": kx.rwmd, "wcd": kx.wcd}[metric]
    function = transport_of(metric)
    sides = {
        "kexue": Side(lambda: [public(*pair) for pair in arrays], len(arrays)),
        "NumPy" if metric == "wcd" else "SciPy" if metric == "rwmd" else "POT and SciPy": Side(
            lambda: [function(*pair) for pair in arrays], len(arrays)
        ),
    }
    return Workload(f"{metric}, one call a pair", sides, rtol=1e-6)
