"""Slow, obvious oracles for exact transport and the document distances.

Everything is in float64, straight from the definition. `highs` is a linear program over all arcs that are not
forbidden, with every marginal but the last as an equality (that one follows from the others).
"""

from itertools import permutations

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import csr_array

# HiGHS's defaults of 1e-7 would decide the tenth digit of the cost.
_OPTIONS = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def highs(a, b, M, method="highs-ds"):
    """The optimal cost, or None if the infinite costs leave no feasible plan."""
    a, b, M = (np.asarray(array, dtype=np.float64) for array in (a, b, M))
    m, n = M.shape
    rows, columns = np.nonzero(M < np.inf)
    if not len(rows):
        return None
    costs = M[rows, columns]
    # HiGHS's tolerances are absolute: let it see costs of size 1 and masses of sum 1.
    scale, total = np.abs(costs).max() or 1.0, a.sum()
    arcs = np.arange(len(rows))
    marginals = csr_array(
        (np.ones(2 * len(rows)), (np.concatenate([rows, m + columns]), np.concatenate([arcs, arcs]))),
        shape=(m + n, len(rows)),
    )
    sums = np.concatenate([a / total, b / b.sum()])
    result = linprog(
        costs / scale, A_eq=marginals[:-1], b_eq=sums[:-1], bounds=(0, None), method=method, options=_OPTIONS
    )
    if result.status == 2:
        return None
    assert result.status == 0, result.message
    return float(result.x @ costs) * total


def assignment(M):
    """The optimal cost of a small square problem with uniform weights: the best of all permutations."""
    M = np.asarray(M, dtype=np.float64)
    n = len(M)
    return min(sum(M[i, j] for i, j in enumerate(order)) for order in permutations(range(n))) / n


def line(x, y, a, b, power):
    """The optimal cost on the line for |x - y|**power, power >= 1: an integral over quantile functions."""
    x, y, a, b = (np.asarray(array, dtype=np.float64) for array in (x, y, a, b))
    x_order, y_order = np.argsort(x), np.argsort(y)
    x_steps, y_steps = np.cumsum(a[x_order]) / a.sum(), np.cumsum(b[y_order]) / b.sum()
    levels = np.unique(np.concatenate([[0.0], x_steps, y_steps]))
    middles = (levels[1:] + levels[:-1]) / 2
    at_x = x[x_order][np.minimum(np.searchsorted(x_steps, middles), len(x) - 1)]
    at_y = y[y_order][np.minimum(np.searchsorted(y_steps, middles), len(y) - 1)]
    return float(np.sum(np.diff(levels) * np.abs(at_x - at_y) ** power) * a.sum())


def euclidean(x, y):
    return np.sqrt(((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=-1))


def rotation(x, y):
    """1 - cos, without cancellation: half the squared distance of the unit vectors."""
    x, y = (z / np.linalg.norm(z, axis=1, keepdims=True) for z in (x, y))
    return ((x[:, None, :] - y[None, :, :]) ** 2).sum(axis=-1) / 2


def _normalized(vectors, weights):
    vectors = np.asarray(vectors, dtype=np.float64)
    weights = np.ones(len(vectors)) if weights is None else np.asarray(weights, dtype=np.float64)
    return vectors, weights / weights.sum()


def wmd_problem(x, y, x_weights=None, y_weights=None):
    """Weights and ground costs of the Word Mover's Distance."""
    x, p = _normalized(x, x_weights)
    y, q = _normalized(y, y_weights)
    return p, q, euclidean(x, y)


def wrd_problem(x, y, x_weights=None, y_weights=None):
    """Weights (times norms; zero vectors left out) and ground costs of the Word Rotator's Distance."""
    sides = []
    for vectors, weights in ((x, x_weights), (y, y_weights)):
        vectors, weights = _normalized(vectors, weights)
        norms = np.linalg.norm(vectors, axis=1)
        mass = weights * norms
        sides.append((vectors[norms > 0], (mass / mass.sum())[norms > 0]))
    (x, p), (y, q) = sides
    return p, q, rotation(x, y)


def wmd(x, y, x_weights=None, y_weights=None):
    return highs(*wmd_problem(x, y, x_weights, y_weights))


def wrd(x, y, x_weights=None, y_weights=None):
    return highs(*wrd_problem(x, y, x_weights, y_weights))


def relaxed(p, q, costs):
    return max(p @ costs[:, q > 0].min(axis=1), q @ costs[p > 0].min(axis=0))


def rwmd(x, y, x_weights=None, y_weights=None):
    return relaxed(*wmd_problem(x, y, x_weights, y_weights))


def rwrd(x, y, x_weights=None, y_weights=None):
    return relaxed(*wrd_problem(x, y, x_weights, y_weights))


def wcd(x, y, x_weights=None, y_weights=None):
    x, p = _normalized(x, x_weights)
    y, q = _normalized(y, y_weights)
    return float(np.linalg.norm(p @ x - q @ y))
