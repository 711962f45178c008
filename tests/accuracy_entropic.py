"""Entropic transport against Newton's method, from 1e-4 to 1e3 of the range of the costs (in 50 digits for up to 6 x 6,
where the regularisation is not too small for it):

    python tests/accuracy_entropic.py [--problems 3000] [--seed 0] [--processes 1]

prints the worst figures by kind of problem and by regularisation. tests/python/test_entropic.py runs a short form.
"""

import argparse
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

import kexue as kx
from reference import entropic as reference

METHODS = ["auto", "kernel", "stabilized", "log"]
ACCELERATIONS = ["auto", "none", "anderson", "overrelaxation", "newton"]


LARGEST_SMALL, LARGEST = (6, 6), (30, 24)
REGS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 1e3)
# Below it potentials may be a matter of masses that no float64 marginal shows: their error says nothing, and to find
# them in 50 digits may take thousands.
LEAST_REG_OF_POTENTIALS = 0.03


def weights(rng, *shape):
    w = rng.exponential(size=shape)
    return w / w.sum(axis=-1, keepdims=True)


def _weights(rng, size, style):
    if style == "uniform":
        return np.full(size, 1 / size)
    if style == "counts":
        weights = rng.integers(1, 6, size=size).astype(float)
    elif style == "sparse":
        weights = rng.exponential(size=size) * (rng.random(size) < 0.6)
        weights[rng.integers(size)] = 1
    elif style == "uneven":
        weights = 10.0 ** rng.uniform(-6, 0, size=size)
    else:
        weights = rng.exponential(size=size)
    return weights / weights.sum()


def _points(rng, m, n, spread):
    x, y = rng.normal(size=(m, 3)), rng.normal(size=(n, 3))
    centers = rng.normal(size=(4, 3)) * spread
    x, y = x + centers[rng.integers(4, size=m)], y + centers[rng.integers(4, size=n)]
    return ((x[:, None] - y) ** 2).sum(axis=-1)


def _forbidden(rng, m, n):
    M = np.where(rng.random((m, n)) < 0.7, rng.random((m, n)), np.inf)
    M[0], M[:, 0] = rng.random(n), rng.random(m)
    return M


KINDS = {
    "random": ("random", lambda rng, m, n: rng.random((m, n))),
    "uniform": ("uniform", lambda rng, m, n: rng.random((m, n))),
    "clustered": ("random", lambda rng, m, n: _points(rng, m, n, 5)),
    "euclidean": ("counts", lambda rng, m, n: np.sqrt(_points(rng, m, n, 0))),
    "ties": ("random", lambda rng, m, n: rng.integers(0, 4, size=(m, n)).astype(float)),
    "zero_weights": ("sparse", lambda rng, m, n: rng.random((m, n))),
    "uneven": ("uneven", lambda rng, m, n: rng.random((m, n))),
    "negative": ("random", lambda rng, m, n: rng.normal(size=(m, n))),
    "large": ("random", lambda rng, m, n: rng.random((m, n)) * 1e9),
    "small": ("random", lambda rng, m, n: rng.random((m, n)) * 1e-9),
    "offset": ("random", lambda rng, m, n: rng.random((m, n)) + 1e6),
    "equal": ("random", lambda rng, m, n: np.full((m, n), rng.normal())),
    "forbidden": ("forbidden", _forbidden),
    "row": ("random", lambda rng, m, n: rng.normal(size=(1, n))),
    "column": ("random", lambda rng, m, n: rng.normal(size=(m, 1))),
}


def size_of(M):
    """The range of the finite costs; of equal ones the largest."""
    finite = M[M < np.inf]
    return float(np.ptp(finite) or np.abs(finite).max() or 1.0)


def problem(seed, number):
    """Problem `number` of a run: its kind, its share of the costs' range as reg, and a, b, M. The first are 1x1."""
    rng = np.random.default_rng([seed, number])
    kind = list(KINDS)[number % len(KINDS)]
    share = REGS[number // len(KINDS) % len(REGS)]
    limits = LARGEST_SMALL if rng.random() < 0.6 else LARGEST
    m, n = (int(rng.integers(1, limit + 1)) for limit in limits)
    if number < len(KINDS):
        m = n = 1
    style, make = KINDS[kind]
    M = make(rng, m, n)
    a, b = (_weights(rng, size, style) for size in M.shape)
    if style == "forbidden":
        # The first row and column could take all that has no other way, and more: every open arc carries mass.
        a[0] += 2
        b[0] += 2
        a, b = a / a.sum(), b / b.sum()
    return kind, share, a, b, M


def answer(a, b, M, reg, **options):
    """The plan and the log, after a look at all that must hold for any answer, converged or not."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan, log = kx.sinkhorn(a, b, M, reg, log=True, **options)
    a, b, M = (np.asarray(array, dtype=np.float64) for array in (a, b, M))
    b = b * (a.sum() / b.sum())
    u, v, forbidden, total = log["u"].astype(float), log["v"].astype(float), np.isposinf(M), a.sum()
    assert [warning.category for warning in caught] == [kx.ConvergenceWarning] * log["status"]
    assert np.isfinite(plan).all() and plan.min() >= 0
    assert not (plan[forbidden].any() or plan[a == 0].any() or plan[:, b == 0].any())
    assert np.isfinite(log["cost"]) and np.isfinite(log["value"]) and np.isfinite(log["error"])
    assert np.isfinite(u[a > 0]).all() and np.isfinite(v[b > 0]).all()
    assert not (np.isnan(u).any() or np.isnan(v).any())
    if log["status"]:
        assert log["error"] > options.get("tol", 1e-9) and log["n_iter"] >= options.get("max_iter", 10_000)
    else:
        assert log["error"] <= options.get("tol", 1e-9)
    # Of a few operations on numbers that may be some hundred times as large, as those from a far warm start are.
    rounding = 256 * np.finfo(plan.dtype).eps
    found = reference.marginal_error(plan.astype(float), a, b)
    assert abs(found - log["error"]) <= 1e-3 * log["error"] + rounding * (1 + size_of(M) / reg)
    largest = max(np.abs(array[np.isfinite(array)]).max() for array in (u, v, M))
    assert abs(log["value"] - reference.regularized_value(a, b, u, v)) <= rounding * (largest + reg) * total
    assert abs(a[a > 0] @ u[a > 0] - b[b > 0] @ v[b > 0]) <= rounding * (largest + reg) * total
    used, least = plan > 0, (1e-150 if plan.dtype == np.float64 else 1e-44) * total  # what may be flushed to 0
    lost = rounding * np.abs(plan[used] * M[used]).sum() + least * np.abs(M[~forbidden]).sum()
    assert abs(log["cost"] - reference.linear_cost(plan.astype(float), M)) <= lost
    by_total = reg * np.log(total) / 2  # the same for weights of sum 1, whose products are in range
    made = total * reference.plan_of(a / total, b / total, M, reg, u + by_total, v + by_total)
    np.testing.assert_allclose(plan, made, rtol=rounding * (1 + largest / reg), atol=least)
    return plan, log


@dataclass
class Errors:
    """Of one problem, or the worst of several: of masses relative to the total 1, of the others to the costs' range."""

    potentials: float = 0.0  # with tol=1e-13, where reg is at least LEAST_REG_OF_POTENTIALS of the range
    plan: float = 0.0  # the largest difference of an entry
    cost: float = 0.0  # relative to the largest cost
    value: float = 0.0
    marginals: float = 0.0  # L1, as found in the plan
    dual: float = 0.0  # the value above the dual objective of its potentials
    gap: float = 0.0  # of solve
    passes: float = 0.0  # n_iter
    stopped: float = 0.0  # at max_iter: nothing else is looked at but that `answer` finds it honest

    def worst(self, other):
        return Errors(*(max(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)))


def examine(a, b, M, share):
    """The errors of kexue's answers."""
    size = size_of(M)
    reg = share * size
    plan, log = answer(a, b, M, reg)
    if log["status"]:
        return Errors(stopped=1.0)
    small = all(found <= limit for found, limit in zip(M.shape, LARGEST_SMALL, strict=True))
    precise = small and share >= LEAST_REG_OF_POTENTIALS
    exact = reference.solve(a, b, M, reg, digits=50 if precise else None)
    errors = Errors(
        plan=np.abs(plan - exact.plan).max(),
        cost=abs(log["cost"] - exact.cost) / max(size, np.abs(M[M < np.inf]).max()),
        value=abs(log["value"] - exact.value) / size,
        marginals=reference.marginal_error(plan, a, b),
        dual=abs(log["value"] - reference.dual(a, b, M, reg, log["u"], log["v"])) / size,
        gap=abs(kx.solve(M, a, b, reg).gap) / (size + reg),  # of the order of the error times the potentials
        passes=log["n_iter"],
    )
    if share >= LEAST_REG_OF_POTENTIALS:
        tight = answer(a, b, M, reg, tol=1e-13)[1]
        errors.potentials = max(np.abs(tight["u"] - exact.u).max(), np.abs(tight["v"] - exact.v).max()) / size
    return errors


def _run(seed, numbers):
    worst = {}
    for number in numbers:
        kind, share, a, b, M = problem(seed, number)
        try:
            errors = examine(a, b, M, share)
        except Exception as error:
            raise RuntimeError(f"seed {seed}, problem {number}, {kind} {M.shape}, reg {share:g}") from error
        for name in (kind, f"reg {share:g}", "all"):
            worst[name] = worst.get(name, Errors()).worst(errors)
    return worst


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--problems", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    parts = [range(start, options.problems, 20) for start in range(20)]
    worst = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for part in pool.map(_run, [options.seed] * 20, parts):
            for name, errors in part.items():
                worst[name] = worst.get(name, Errors()).worst(errors)
    names = [field.name for field in fields(Errors)]
    print(f"{options.problems} problems, worst of each kind and of each reg, as a share of the range of the costs")
    print(f"{'':14}" + "".join(f"{name:>12}" for name in names))
    for kind in [*KINDS, *(f"reg {share:g}" for share in REGS), "all"]:
        if kind in worst:
            print(f"{kind:14}" + "".join(f"{getattr(worst[kind], name):12.1e}" for name in names))


if __name__ == "__main__":
    main()
