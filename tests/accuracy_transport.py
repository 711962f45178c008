"""Exact transport against HiGHS and POT on 10,000 random problems from 1x1 to 120x90:

    python tests/accuracy_transport.py [--problems 10000] [--seed 0] [--processes 1]

prints the worst figures by kind of problem. tests/python/test_transport.py runs a short form.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields

import numpy as np
import ot

import kexue
from reference.transport import highs

LARGEST = (120, 90)


def _weights(rng, size, style):
    if style == "uniform":
        return np.full(size, 1 / size)
    if style == "counts":
        weights = rng.integers(1, 6, size=size).astype(float)
    elif style == "sparse":
        weights = rng.exponential(size=size) * (rng.random(size) < 0.6)
        weights[rng.integers(size)] = 1
    else:
        weights = rng.exponential(size=size)
    return weights / weights.sum()


def _points(rng, m, n, spread):
    x, y = rng.normal(size=(m, 3)), rng.normal(size=(n, 3))
    centers = rng.normal(size=(4, 3)) * spread
    x, y = x + centers[rng.integers(4, size=m)], y + centers[rng.integers(4, size=n)]
    return ((x[:, None] - y) ** 2).sum(axis=-1)


def _dense(rng, m, n):
    return "random", rng.random((m, n))


def _clustered(rng, m, n):
    return "random", _points(rng, m, n, 10)


def _euclidean(rng, m, n):
    return "counts", np.sqrt(_points(rng, m, n, 0))


def _ties(rng, m, n):
    return "counts", rng.integers(0, 4, size=(m, n)).astype(float)


def _zero_weights(rng, m, n):
    return "sparse", rng.random((m, n))


def _negative(rng, m, n):
    return "random", rng.normal(size=(m, n))


def _large(rng, m, n):
    return "random", rng.random((m, n)) * 1e9


def _small(rng, m, n):
    return "random", rng.random((m, n)) * 1e-9


def _offset(rng, m, n):
    return "random", rng.random((m, n)) + 1e6


def _uniform(rng, m, n):
    return "uniform", rng.normal(size=(m, n))


def _uniform_square(rng, m, n):
    n = min(m, n)
    return "uniform", rng.random((n, n))


def _uniform_square_ties(rng, m, n):
    n = min(m, n)
    return "uniform", rng.integers(-2, 3, size=(n, n)).astype(float)


def _row(rng, m, n):
    return "random", rng.normal(size=(1, n))


def _column(rng, m, n):
    return "random", rng.normal(size=(m, 1))


KINDS = {
    function.__name__[1:]: function
    for function in (
        _dense,
        _clustered,
        _euclidean,
        _ties,
        _zero_weights,
        _negative,
        _large,
        _small,
        _offset,
        _uniform,
        _uniform_square,
        _uniform_square_ties,
        _row,
        _column,
    )
}


def problem(seed, number):
    """Problem `number` of a run: its kind, and a, b, M. The first two are 1x1 and the largest shape."""
    rng = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    m, n = (1 + int((limit - 1) * rng.random() ** 1.5) for limit in LARGEST)
    if number < len(KINDS):
        m = n = 1
    elif number < 2 * len(KINDS):
        m, n = LARGEST
    style, M = KINDS[kind](rng, m, n)
    return kind, _weights(rng, M.shape[0], style), _weights(rng, M.shape[1], style), M


@dataclass
class Errors:
    """Of one problem, or the worst of several: relative to max |M|, the marginals to the total 1."""

    highs: float = 0.0  # cost against HiGHS
    highs_relative: float = 0.0  # the same relative to the cost, where that is above 1e-3 max |M|
    pot: float = 0.0
    emd2: float = 0.0  # emd2 against the cost of the plan
    gap: float = 0.0
    rows: float = 0.0
    columns: float = 0.0
    infeasible: float = 0.0  # the largest u + v - M
    slackness: float = 0.0  # the largest M - u - v where mass moves
    negative: float = 0.0
    entries: float = 0.0  # beyond m + n - 1

    def worst(self, other):
        return Errors(*(max(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)))


def examine(a, b, M):
    """The errors of kexue's answers."""
    scale = np.abs(M).max() or 1.0
    result = kexue.solve(M, a, b)
    plan, (u, v) = result.plan, result.potentials
    cost = kexue.emd2(a, b, M)
    exact = highs(a, b, M)
    # POT's tolerances are absolute: costs of 1e-9 would all look optimal to it.
    pot = ot.emd2(a, b, M / scale, numItermax=10_000_000) * scale
    reduced = M - u[:, None] - v
    return Errors(
        highs=abs(cost - exact) / scale,
        highs_relative=abs(cost - exact) / abs(exact) if abs(exact) > 1e-3 * scale else 0.0,
        pot=abs(cost - pot) / scale,
        emd2=max(abs(cost - (plan * M).sum()), abs(cost - result.value)) / scale,
        gap=abs(result.gap) / scale,
        rows=np.abs(plan.sum(axis=1) - a).max(),
        columns=np.abs(plan.sum(axis=0) - b).max(),
        infeasible=max(0.0, -reduced.min() / scale),
        slackness=max(0.0, reduced[plan > 0].max() / scale),
        negative=max(0.0, -plan.min()),
        entries=max(0.0, np.count_nonzero(plan) - (sum(M.shape) - 1)),
    )


def _run(seed, numbers):
    worst = {}
    for number in numbers:
        kind, a, b, M = problem(seed, number)
        try:
            errors = examine(a, b, M)
        except Exception as error:
            raise RuntimeError(f"seed {seed}, problem {number}, {kind} {M.shape}") from error
        worst[kind] = worst.get(kind, Errors()).worst(errors)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    parts = [range(start, options.problems, 20) for start in range(20)]
    worst = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(_run, [options.seed] * 20, parts):
            for kind, errors in part.items():
                worst[kind] = worst.get(kind, Errors()).worst(errors)
    names = [field.name for field in fields(Errors)]
    print(f"{options.problems} problems, worst of each kind")
    print(f"{'':20}" + "".join(f"{name:>15}" for name in names))
    worst["all"] = Errors()
    for kind in KINDS:
        worst["all"] = worst["all"].worst(worst[kind])
    for kind in [*KINDS, "all"]:
        print(f"{kind:20}" + "".join(f"{getattr(worst[kind], name):15.1e}" for name in names))


if __name__ == "__main__":
    main()
