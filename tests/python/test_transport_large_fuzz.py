"""Exact transport of 400 to 700 nodes, which another solver takes than small problems, certified by potentials."""

import math
import os
import warnings

import numpy as np
import pytest

import kexue

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"
FAR = 3.40282e38


def block_of_decades(rng):
    """A small problem, mostly of zeros, whose other costs are far apart and of either sign."""
    kind = rng.integers(0, 5)
    if kind == 0:  # on which the solver of small problems once went on without end
        M = np.zeros((9, 7))
        M.flat[:9] = [FAR, 0, FAR, -332639, FAR, 0, 0, 0, -4.38715e23]
        M.flat[15] = FAR
        return M[rng.permutation(9)][:, rng.permutation(7)]
    shape = rng.integers(2, 12, 2)
    values = (
        [0, 0, 0, *rng.choice([-1, 1], 5) * 10.0 ** rng.uniform(-20, 38, 5)],
        [0, 0, 0, FAR, -332639, -4.38715e23],
        [0, *rng.choice([-1, 1], 5) * 10.0 ** rng.uniform(-300, 300, 5)],
        [0, 0, *-(10.0 ** rng.uniform(0, 30, 8))],
    )
    return rng.choice(values[kind - 1], shape)


def blocks(rng):
    """Small problems along the diagonal, and a cost between them at which they hardly meet, or do."""
    parts = []
    while sum(sum(part.shape) for part in parts) < 420:
        parts.append(block_of_decades(rng))
    between = rng.choice([np.inf, FAR, 0.0, 1.0])
    M = np.full(np.sum([part.shape for part in parts], axis=0), between)
    a, b, i, j = np.zeros(len(M)), np.zeros(M.shape[1]), 0, 0
    for part in parts:
        m, n = part.shape
        M[i : i + m, j : j + n] = part
        a[i : i + m], b[j : j + n] = 1 / m, 1 / n
        i, j = i + m, j + n
    if rng.random() < 0.5:
        rows, columns = rng.permutation(len(a)), rng.permutation(len(b))
        a, b, M = a[rows], b[columns], M[rows][:, columns]
    return (None, None, M) if rng.random() < 0.3 and np.isfinite(between) else (a, b, M)


def weights(rng, count):
    kind = rng.integers(0, 4)
    if kind == 0:
        return None
    if kind == 1:
        w = rng.random(count)
    elif kind == 2:
        w = rng.integers(0, 3, count).astype(float)
        w[0] += 1
    else:
        w = 10.0 ** rng.uniform(-14, 0, count)
    return w / w.sum()


def sparse_decades(rng, m, n):
    values = rng.choice([-1, 1], 12) * 10.0 ** rng.uniform(-300, 300, 12)
    return np.where(rng.random((m, n)) < 10.0 ** rng.uniform(-4, -0.3), rng.choice(values, (m, n)), 0)


HUNDREDS_OF_DECADES = (
    sparse_decades,
    lambda rng, m, n: 10.0 ** rng.uniform(-300, 300, (m, n)),
    lambda rng, m, n: 10.0 ** rng.uniform(-300, 300, (m, 1)) * rng.random((m, n)),
    lambda rng, m, n: rng.choice([0, 1e-300, 1e-8, 1, 1e8, 1e16, 1e300], (m, n)),
)
COSTS = (
    *HUNDREDS_OF_DECADES,
    lambda rng, m, n: rng.integers(0, 4, (m, n)).astype(float),
    lambda rng, m, n: np.where(rng.random((m, n)) < 0.05, 1e15, 1) * rng.random((m, n)),
    lambda rng, m, n: rng.random((m, n)),
)


def whole(rng, costs):
    m, nodes = rng.integers(100, 350), rng.integers(400, 700)
    M = costs(rng, m, nodes - m)
    if rng.random() < 0.3:
        M = M * rng.choice([-1, 1], M.shape)
    if rng.random() < 0.3:
        M = np.where(rng.random(M.shape) < 0.1, 0, M)
    return weights(rng, M.shape[0]), weights(rng, M.shape[1]), M


def require_certified(a, b, M, *, hundreds_of_decades):
    with warnings.catch_warnings():
        warnings.simplefilter("error", kexue.ConvergenceWarning)
        plan, log = kexue.emd(a, b, M, log=True)
    a, b = (np.full(n, 1 / n) if w is None else w for n, w in zip(M.shape, (a, b), strict=True))
    u, v, total = log["u"], log["v"], a.sum()
    assert plan.min() >= 0
    assert np.abs(plan.sum(axis=1) - a).max() <= 1e-12 * total
    assert np.abs(plan.sum(axis=0) - b * (total / b.sum())).max() <= 1e-12 * total
    used = M[plan > 0]
    assert np.isfinite(used).all()
    reach = max(np.abs(u).max(), np.abs(v).max())
    assert (u[:, None] + v <= M + 2e-15 * (reach + np.abs(M))).all()
    # Arcs without flow are in the basis, too, and their costs round all potentials: where they may be hundreds of
    # decades above those of the plan, only a difference to them is proved.
    scale = max(reach, np.abs(M[np.isfinite(M)] if hundreds_of_decades else used).max())
    gap = math.fsum(plan[plan > 0] * used) - math.fsum([*a * u, *b * v])
    assert abs(gap) <= 1e-12 * total * scale
    assert abs(gap - log["gap"]) <= 1e-12 * total * scale


# Of seeds 157, 246 and 1429, pivots went on without end: reduced costs below a rounding of the potentials took turns.
@pytest.mark.parametrize("seed", sorted({*range(1500 if LONG else 20), 157, 246, 1429}))
def test_blocks_of_decades(seed):
    require_certified(*blocks(np.random.default_rng(seed)), hundreds_of_decades=True)


@pytest.mark.parametrize("seed", range(1500 if LONG else 40))
def test_costs_of_all_kinds(seed):
    costs = COSTS[seed % len(COSTS)]
    problem = whole(np.random.default_rng(seed), costs)
    require_certified(*problem, hundreds_of_decades=costs in HUNDREDS_OF_DECADES)


@pytest.mark.parametrize("seed", range(200 if LONG else 12))
def test_float32_is_the_double_problem_rounded(seed):
    rng = np.random.default_rng(seed)
    a, b, M = whole(rng, COSTS[len(HUNDREDS_OF_DECADES) + seed % 3])
    a, b = (np.full(n, 1 / n) if w is None else w for n, w in zip(M.shape, (a, b), strict=True))
    a, b, M = (array.astype(np.float32) for array in (a, b, M))
    rows, columns = (w / w.sum(dtype=np.float64) for w in (a, b))
    value, expected = kexue.emd2(a, b, M), kexue.emd2(rows, columns, M.astype(np.float64))
    assert value.dtype == np.float32
    assert abs(value - expected) <= 1e-6 * max(abs(expected), 1e-3 * np.abs(M).max())
    plan = kexue.emd(a, b, M)
    assert plan.dtype == np.float32 and plan.min() >= 0
    assert np.abs(plan.sum(axis=1, dtype=np.float64) - rows).max() <= 1e-6
    assert np.abs(plan.sum(axis=0, dtype=np.float64) - columns).max() <= 1e-6
