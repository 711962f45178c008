"""Slow, obvious oracles for entropic transport: the textbook iteration, and Newton's method in 50 digits.

The problem: minimise <P, M> + reg * sum(P * log(P / outer(a, b))) over P >= 0 with row sums a and column sums b.
Its plan is P = outer(a, b) * exp((u + v - M) / reg), the potentials shifted so that sum(a * u) == sum(b * v), and its
optimal value sum(a * u) + sum(b * v). Infinite costs are forbidden arcs.
"""

from dataclasses import dataclass

import mpmath
import numpy as np
from scipy.special import logsumexp, rel_entr


@dataclass
class Solution:
    u: np.ndarray
    v: np.ndarray
    plan: np.ndarray
    cost: float
    value: float


# ---- what a plan and potentials are worth ----


def plan_of(a, b, M, reg, u, v):
    """Nothing where there is no mass: the exponential may be infinite there."""
    rows, columns = a > 0, b > 0
    exponents = (u[rows][:, None] + v[columns] - M[np.ix_(rows, columns)]) / reg
    P = np.zeros(M.shape)
    P[np.ix_(rows, columns)] = np.outer(a[rows], b[columns]) * np.exp(exponents)
    return P


def linear_cost(P, M):
    used = M < np.inf
    return float((P[used] * M[used]).sum())


def primal(P, a, b, M, reg):
    return linear_cost(P, M) + reg * float(rel_entr(P, np.outer(a, b)).sum())


def dual(a, b, M, reg, u, v):
    """A lower bound of the optimal value for any u and v; it is that value for the best ones."""
    return regularized_value(a, b, u, v) - reg * float(plan_of(a, b, M, reg, u, v).sum() - a.sum())


def regularized_value(a, b, u, v):
    """sum(a * u) + sum(b * v) where there is mass: without, a row of forbidden arcs has an infinite potential."""
    return float(a[a > 0] @ u[a > 0] + b[b > 0] @ v[b > 0])


def marginal_error(P, a, b):
    return float(np.abs(P.sum(axis=1) - a).sum() + np.abs(P.sum(axis=0) - b).sum()) / float(a.sum())


def shifted(a, b, u, v):
    shift = (a[a > 0] @ u[a > 0] - b[b > 0] @ v[b > 0]) / (a.sum() + b.sum())
    return u - shift, v + shift


# ---- solvers ----


def row_potentials(b, M, reg, v):
    """The u with which the rows of the plan have their sums; rows of weight zero get theirs by the same formula."""
    return -reg * logsumexp((v - M) / reg, b=b, axis=1)


def sinkhorn(a, b, M, reg, tol=1e-12, sweeps=100_000):
    """Potentials by exact updates of rows and columns in turns, in the log domain."""
    v = np.zeros(len(b))
    for _ in range(sweeps):
        u = row_potentials(b, M, reg, v)
        v = row_potentials(a, M.T, reg, u)
        if marginal_error(plan_of(a, b, M, reg, u, v), a, b) <= tol:
            return shifted(a, b, row_potentials(b, M, reg, v), v)
    raise ArithmeticError(f"no convergence in {sweeps} sweeps")


class _Doubles:
    """The arithmetic of Newton's method in float64."""

    exp, log, solve = np.exp, np.log, np.linalg.solve

    @staticmethod
    def array(values):
        return np.asarray(values, dtype=np.float64)


class _Digits:
    """The same in mpmath's numbers, of as many digits as the context has."""

    exp, log = np.frompyfunc(mpmath.exp, 1, 1), np.frompyfunc(mpmath.log, 1, 1)

    @staticmethod
    def array(values):
        return np.frompyfunc(mpmath.mpf, 1, 1)(np.asarray(values, dtype=np.float64))

    @staticmethod
    def solve(matrix, right):
        return np.array(mpmath.lu_solve(mpmath.matrix(matrix.tolist()), right.tolist()).T.tolist()[0], dtype=object)


def _soft_minimum(number, weights, costs, reg):
    """-reg * log(sum_i weights_i * exp(-costs_ij / reg)) of each column."""
    least = costs.min(axis=0)
    return least - reg * number.log((weights[:, None] * number.exp((least - costs) / reg)).sum(axis=0))


def _ascend(number, a, b, M, reg, u, tol, steps=500):
    """Newton's method on the concave u -> sum(a * u) + sum(b * v(u)), v(u) the best one for u."""
    span = np.ptp(M[np.isfinite(M.astype(float))]) + 40 * reg
    for _ in range(steps):
        v = _soft_minimum(number, a, M - u[:, None], reg)
        u = _soft_minimum(number, b, M.T - v[:, None], reg)  # a sweep first, so that no row is nearly empty
        v = _soft_minimum(number, a, M - u[:, None], reg)
        P = np.outer(a, b) * number.exp((u[:, None] + v - M) / reg)
        rows = P.sum(axis=1)
        if np.abs(rows - a).sum() <= tol * a.sum():
            break
        # Of all shifts of u, which change nothing, this takes the one that keeps sum(a * u).
        curvature = np.diag(rows) - (P / b) @ P.T + np.outer(a, a) / a.sum()
        step = reg * number.solve(curvature, a - rows)
        # Where parts of the plan hardly touch, the curvature is next to nothing and a step next to endless.
        step = step * min(1, 2 * span / np.abs(step).max())
        value, slope = a @ u + b @ v, (a - rows) @ step
        for halvings in range(60):
            further = u + step / 2**halvings
            higher = a @ further + b @ _soft_minimum(number, a, M - further[:, None], reg)
            # So near the top that float64 cannot tell values apart the whole step is right.
            if slope <= 1e-9 * reg * a.sum() or higher >= value + slope / 2 ** (halvings + 2):
                u = further
                break
    return u


def solve(a, b, M, reg, digits=None):
    """The Solution, in float64 or with so many digits (then rounded to float64). M may not fall into blocks."""
    a, b, M = (np.asarray(array, dtype=np.float64) for array in (a, b, M))
    rows, columns = np.flatnonzero(a), np.flatnonzero(b)
    least, span = M[M < np.inf].min(), np.ptp(M[M < np.inf])
    number, problem = _Doubles, (a[rows], b[columns] * (a.sum() / b.sum()), M[np.ix_(rows, columns)] - least)
    stage, x = max(reg, float(span)), np.zeros(len(rows))
    while stage > reg:
        x = _ascend(number, *problem, stage, x, tol=1e-9, steps=60)
        stage = max(stage / 2, reg)
    x = _ascend(number, *problem, reg, x, tol=1e-13, steps=60)
    tol = 1e-8 if digits is None else 10.0 ** (5 - digits)
    # Newton's equations lose as many digits as the plan's entries span.
    with mpmath.workdps((digits or 0) + 15 + min(int(span / reg), 400)):
        if digits is not None:
            number, reg, least = _Digits, mpmath.mpf(reg), mpmath.mpf(least)
            a, b, M, x = (number.array(values) for values in (a, b, M, x))
            b = b * (a.sum() / b.sum())
            problem = a[rows], b[columns], M[np.ix_(rows, columns)] - least
            x = _ascend(number, *problem, reg, x, tol=mpmath.mpf(10) ** -digits)
        y = _soft_minimum(number, problem[0], problem[2] - x[:, None], reg)
        masses = np.outer(*problem[:2]) * number.exp((x[:, None] + y - problem[2]) / reg)
        if marginal_error(masses, *problem[:2]) > tol:
            raise ArithmeticError("Newton's method did not converge")
        u = _soft_minimum(number, problem[1], M[:, columns].T - least - y[:, None], reg) + least / 2
        v = _soft_minimum(number, problem[0], M[rows] - least - x[:, None], reg) + least / 2
        u, v = shifted(a, b, u, v)
        plan = np.zeros(M.shape)
        plan[np.ix_(rows, columns)] = masses
        cost = linear_cost(masses, problem[2]) + float(least) * float(a.sum())
        return Solution(u.astype(float), v.astype(float), plan, cost, regularized_value(a, b, u, v))


# ---- built on them ----


def round_plan(P, a, b):
    """Altschuler, Weed and Rigollet, arXiv:1705.09634, algorithm 2: a plan near P with the marginals a and b."""
    rows = P.sum(axis=1)
    P = P * np.minimum(np.divide(a, rows, out=np.ones(len(a)), where=rows > 0), 1)[:, None]
    columns = P.sum(axis=0)
    P = P * np.minimum(np.divide(b, columns, out=np.ones(len(b)), where=columns > 0), 1)
    rows, columns = np.maximum(a - P.sum(axis=1), 0), np.maximum(b - P.sum(axis=0), 0)
    return P + np.outer(rows / rows.sum(), columns) if rows.any() else P


def costs(X, Y, metric):
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    if metric == "cosine":
        X, Y = (Z / np.linalg.norm(Z, axis=1, keepdims=True) for Z in (X, Y))
        return 1 - X @ Y.T
    squares = ((X[:, None] - Y) ** 2).sum(axis=-1)
    return np.sqrt(squares) if metric == "euclidean" else squares


def divergence(X, Y, reg, a=None, b=None, metric="sqeuclidean"):
    a = np.full(len(X), 1 / len(X)) if a is None else np.asarray(a, dtype=np.float64)
    b = np.full(len(Y), 1 / len(Y)) if b is None else np.asarray(b, dtype=np.float64)
    between = solve(a, b, costs(X, Y, metric), reg).value
    return between - (solve(a, a, costs(X, X, metric), reg).value + solve(b, b, costs(Y, Y, metric), reg).value) / 2


def barycenter(H, M, reg, weights=None, tol=1e-12, sweeps=20_000):
    """Iterative Bregman projections (Benamou et al., arXiv:1412.5154, section 3.2) in the log domain.

    The histogram q that minimises sum_k weights_k * KL(P_k, exp(-M / reg)) over plans P_k from H[k] to q.
    """
    count, H = len(H), H.astype(np.float64) / H.sum(axis=1, keepdims=True, dtype=np.float64)
    weights = np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64)
    weights = weights / weights.sum()
    with np.errstate(divide="ignore"):
        log_h = np.log(H)
    log_kernel, log_q = (M.min() - M) / reg, np.full(M.shape[1], -np.inf)
    column_scale = np.zeros((count, M.shape[1]))
    for _ in range(sweeps):
        row_scale = log_h - logsumexp(log_kernel + column_scale[:, None, :], axis=2)
        blurred = logsumexp(log_kernel + row_scale[:, :, None], axis=1)
        before, log_q = log_q, weights @ (column_scale + blurred)
        column_scale = log_q - blurred
        if np.abs(np.exp(log_q) - np.exp(before)).sum() <= tol:
            return np.exp(log_q)
    raise ArithmeticError(f"no convergence in {sweeps} sweeps")
