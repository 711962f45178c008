"""What is measured of kexue.compat: the same calls of POT, gensim and SciPy, to the letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import ot
from gensim.similarities import WmdSimilarity
from scipy.stats import wasserstein_distance_nd
from workloads import Side, Workload, documents, recent

import kexue.compat.gensim
import kexue.compat.pot
import kexue.compat.scipy


def _problems(count: int, m: int, n: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng([m, n])
    a, b = (rng.dirichlet(np.ones(size), size=count) for size in (m, n))
    return a, b, rng.random((count, m, n))


def _calls(name: str, count: int, m: int, n: int) -> Callable[[Any], list[Any]]:
    """What is called of the module that is given."""
    a, b, M = _problems(count, m, n)
    rng = np.random.default_rng(n)
    x, y = rng.standard_normal((count, m, 3)), rng.standard_normal((count, n, 3))
    problems = list(zip(a, b, M, strict=True))
    lines = list(zip(x[:, :, 0], y[:, :, 0], a, b, strict=True))
    return {
        "emd": lambda module: [module.emd(*problem) for problem in problems],
        "emd2": lambda module: [module.emd2(*problem) for problem in problems],
        "emd_1d": lambda module: [module.emd_1d(*line) for line in lines],
        "emd2_1d": lambda module: [module.emd2_1d(*line) for line in lines],
        "wasserstein_1d": lambda module: [module.wasserstein_1d(*line, p=2) for line in lines],
        "sinkhorn": lambda module: [module.sinkhorn(*problem, 0.1) for problem in problems],
        "sinkhorn2": lambda module: [module.sinkhorn2(*problem, 0.1) for problem in problems],
        "solve": lambda module: [module.solve(costs, *weights).value for *weights, costs in problems],
        "dist": lambda module: [module.dist(*clouds) for clouds in zip(x, y, strict=True)],
        "unif": lambda module: [module.unif(size) for size in range(1, count + 1)],
    }[name]


def _flat(results: list[Any]) -> np.ndarray:
    return np.concatenate([np.ravel(result) for result in results])


@recent
def pot(name: str, m: int, n: int, count: int = 50) -> Workload:
    """One call a problem on both sides, with the defaults of POT: entropic plans stop when POT's do."""
    call = _calls(name, count, m, n)
    sides = {
        "kexue": Side(lambda: call(kexue.compat.pot), count, _flat),
        "POT": Side(lambda: call(ot), count, _flat),
    }
    tolerance = {"rtol": 1e-5, "atol": 1e-8} if name.startswith("sinkhorn") else {"rtol": 1e-9, "atol": 1e-12}
    return Workload(f"compat.pot.{name}, {m} and {n}", sides, **tolerance)


@recent
def wmdistance() -> Workload:
    """Documents of 20 words, of gensim's vectors on both sides. Its vectors of length 1 are float32."""
    sets = documents(5000, "uniform")
    keyed = sets.key_vectors()
    pairs = [(sets.tokens[0][i], sets.tokens[1][j]) for i, j in sets.pairs]
    sides = {
        "kexue": Side(lambda: [kexue.compat.gensim.wmdistance(keyed, *pair) for pair in pairs], len(pairs)),
        "gensim": Side(lambda: [keyed.wmdistance(*pair) for pair in pairs], len(pairs)),
    }
    return Workload("compat.gensim.wmdistance, 20 words", sides, rtol=1e-5)


@recent
def similarity(best: int = 10) -> Workload:
    """The ten most similar of 200 documents for one query."""
    sets = documents(5000, "uniform")
    keyed, corpus, query = sets.key_vectors(), sets.tokens[1], sets.tokens[0][0]
    ours, theirs = (make(corpus, keyed, num_best=best) for make in (kexue.compat.gensim.WmdSimilarity, WmdSimilarity))

    def best_of(found: list[tuple[int, float]]) -> np.ndarray:
        return np.array([value for _, value in found])

    sides = {
        "kexue": Side(lambda: ours[query], comparable=best_of),
        "gensim": Side(lambda: theirs[query], comparable=best_of),
    }
    return Workload(f"compat.gensim.WmdSimilarity, {best} of {len(corpus)} documents", sides, rtol=1e-5)


@recent
def scipy_distance(n: int, d: int) -> Workload:
    """SciPy hands a linear program to HiGHS."""
    rng = np.random.default_rng([n, d])
    x, y = rng.standard_normal((2, n, d))
    a, b = rng.random((2, n))
    sides = {
        "kexue": Side(lambda: kexue.compat.scipy.wasserstein_distance_nd(x, y, a, b)),
        "SciPy": Side(lambda: wasserstein_distance_nd(x, y, a, b)),
    }
    return Workload(f"compat.scipy.wasserstein_distance_nd, {n} and {n} of {d}", sides, rtol=1e-7)
