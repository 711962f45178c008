"""Entropic transport against itself and against exact transport: one problem in many forms, with one plan.

Every answer is looked at by `accuracy_entropic.answer`: its marginals are right, or it says how wrong they are.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue as kx
from accuracy_entropic import answer, size_of
from reference import entropic as reference

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
METHODS = ["auto", "kernel", "stabilized", "log"]
ACCELERATIONS = ["auto", "none", "anderson", "overrelaxation", "newton"]


def examples(count):
    return settings(max_examples=30 * count if LONG else count, deadline=None)


# ---- problems ----


def _points(rng, m, n, dimension, spread=0):
    centers = spread * rng.normal(size=(4, dimension))
    x, y = (rng.normal(size=(k, dimension)) + centers[rng.integers(4, size=k)] for k in (m, n))
    return ((x[:, None] - y) ** 2).sum(axis=-1)


COSTS = {
    "random": lambda rng, m, n: rng.normal(size=(m, n)),
    "ties": lambda rng, m, n: rng.integers(-1, 3, size=(m, n)).astype(float),
    "clustered": lambda rng, m, n: _points(rng, m, n, 3, spread=30),
    "plane": lambda rng, m, n: np.sqrt(_points(rng, m, n, 2)),
    "lattice": lambda rng, m, n: np.abs(np.subtract.outer(rng.integers(5, size=m), rng.integers(5, size=n))) + 0.0,
    "equal": lambda rng, m, n: np.full((m, n), rng.normal()),
    "low rank": lambda rng, m, n: np.add.outer(rng.normal(size=m), rng.normal(size=n)),
    "offset": lambda rng, m, n: 1e6 + rng.random((m, n)),
    "wide range": lambda rng, m, n: 10.0 ** rng.uniform(-9, 0, size=(m, n)),
    "huge": lambda rng, m, n: 1e100 * rng.normal(size=(m, n)),
    "tiny": lambda rng, m, n: 1e-100 * rng.normal(size=(m, n)),
    "one column best": lambda rng, m, n: rng.random((m, n)) + 10 * (np.arange(n) > 0),
}
WEIGHTS = {
    "uniform": lambda rng, n: np.ones(n),
    "random": lambda rng, n: rng.exponential(size=n),
    "counts": lambda rng, n: rng.integers(1, 4, size=n).astype(float),
    "some zero": lambda rng, n: rng.random(n) * (np.arange(n) % 3 != 1),
    "uneven": lambda rng, n: 10.0 ** rng.uniform(-12, 0, size=n),
    "one heavy": lambda rng, n: np.where(np.arange(n) == n // 2, 1e6, 1.0 + rng.random(n)),
}


@dataclass(frozen=True)
class Problem:
    """What a problem is made from: a failing example is printed as this, not as its arrays."""

    m: int
    n: int
    seed: int
    costs: str = "random"
    row_weights: str = "random"
    column_weights: str = "random"
    open_share: float | None = None
    total: float = 1.0
    share: float = 0.1  # reg as a share of the range of the costs

    def arrays(self):
        """a, b, M and reg."""
        rng = np.random.default_rng(self.seed)
        a, b = WEIGHTS[self.row_weights](rng, self.m), WEIGHTS[self.column_weights](rng, self.n)
        M = COSTS[self.costs](rng, self.m, self.n)
        if self.open_share is not None:
            # The first row and column can take all that has no other way, and more: every open arc carries mass.
            a[0] += 2 * a.sum()
            b[0] += 2 * b.sum()
            shut = rng.random(M.shape) >= self.open_share
            shut[0] = shut[:, 0] = False
            M[shut] = np.inf
        return a / a.sum() * self.total, b / b.sum() * self.total, M, self.share * size_of(M)


SEEDS = st.integers(0, 2**32)


def problems(largest=20, costs=COSTS, open_share=(None, None, 0.3, 0.8), share=(1e-3, 0.01, 0.05, 0.2, 1.0, 100.0)):
    sizes, styles = st.integers(1, largest), st.sampled_from(sorted(WEIGHTS))
    return st.builds(
        Problem,
        sizes,
        sizes,
        SEEDS,
        st.sampled_from(sorted(costs)),
        styles,
        styles,
        st.sampled_from(open_share),
        st.sampled_from([1.0, 1e-6, 1e6, 37.0]),
        st.sampled_from(share),
    )


# Where the exponents' range lets plain passes converge too.
MODERATE = {"share": (0.05, 0.2, 1.0, 100.0)}
OPTIONS = st.fixed_dictionaries(
    {
        "method": st.sampled_from(METHODS),
        "acceleration": st.sampled_from(ACCELERATIONS),
        "epsilon_scaling": st.sampled_from([None, True, False]),
    }
)
ROBUST = OPTIONS.filter(lambda options: options["method"] != "kernel")


def scale_of(M):
    return np.abs(M[M < np.inf]).max() or 1.0


# ---- every answer ----


@given(problems(), ROBUST, st.sampled_from([1e-3, 1e-9]))
@examples(500)
def test_answers_are_right_or_say_so(problem, options, tol):
    a, b, M, reg = problem.arrays()
    plan, log = answer(a, b, M, reg, tol=tol, max_iter=2000, **options)
    if problem.share >= 0.2 and options["acceleration"] != "none":
        assert log["status"] == 0
    # A feasible plan near it is as good as its potentials prove, but for what the error can be worth.
    total = a.sum()
    rounded = reference.round_plan(plan, a, b)
    best = reference.dual(a / total, b / total, M, reg, *(w + reg * np.log(total) / 2 for w in (log["u"], log["v"])))
    worth = 20 * log["error"] * (size_of(M) + 60 * reg)
    forced = (rounded > 0) & (M == np.inf)  # rounding minds no forbidden arcs
    if not forced.any():
        gap = reference.primal(rounded / total, a / total, b / total, M, reg) - best
        assert -1e-11 * (scale_of(M) + reg) <= gap <= worth + 1e-11 * (scale_of(M) + reg)


@given(problems(largest=12, costs=set(COSTS) - {"huge", "tiny"}, **MODERATE), OPTIONS)
@examples(300)
def test_every_way_leads_to_the_same_plan(problem, options):
    a, b, M, reg = problem.arrays()
    exact = reference.solve(a, b, M, reg)
    plan, log = answer(a, b, M, reg, tol=1e-10, **options)
    if log["status"] == 0:
        np.testing.assert_allclose(plan, exact.plan, rtol=0, atol=1e-8 * a.sum())
        assert abs(log["value"] - exact.value) <= 1e-9 * (scale_of(M) + reg * (1 + abs(np.log(a.sum())))) * a.sum()
    else:
        assert options["acceleration"] == "none"


@given(problems(), OPTIONS, st.integers(1, 30))
@examples(300)
def test_the_dual_objective_rises(problem, options, max_iter):
    a, b, M, reg = replace(problem, total=1.0, share=max(problem.share, 0.01)).arrays()
    duals, options = [], options | {"epsilon_scaling": False}
    with kx.errstate(convergence="ignore"):
        for limit in (max_iter, max_iter + 1, max_iter + 2, 2 * max_iter + 3):
            log = kx.sinkhorn2(a, b, M, reg, max_iter=limit, log=True, **options)[1]
            duals.append(reference.dual(a, b, M, reg, log["u"], log["v"]))
    assert np.diff(duals).min() >= -1e-12 * (scale_of(M) + reg)


# ---- the same problem in other forms ----


def agree(plan, log, other_plan, other_log, shift=0.0):
    if log["status"] or other_log["status"]:
        return
    total = plan.sum()
    np.testing.assert_allclose(other_plan, plan, rtol=0, atol=1e-8 * total)
    assert abs(other_log["value"] - log["value"] - shift) <= 1e-9 * (abs(log["value"]) + abs(shift) + total)


@given(problems(costs=set(COSTS) - {"huge", "offset"}, **MODERATE), SEEDS, ROBUST)
@examples(300)
def test_forms_of_one_problem(problem, seed, options):
    a, b, M, reg = problem.arrays()
    rng = np.random.default_rng(seed)
    M, reg = M / scale_of(M), reg / scale_of(M)
    options = options | {"tol": 1e-11}
    plan, log = answer(a, b, M, reg, **options)

    rows, columns = rng.permutation(len(a)), rng.permutation(len(b))
    found, found_log = answer(a[rows], b[columns], M[rows][:, columns], reg, **options)
    agree(plan[rows][:, columns], log, found, found_log)

    found, found_log = answer(b, a, M.T, reg, **options)
    agree(plan, log, found.T, found_log)

    places = np.sort(rng.integers(len(a) + 1, size=3))
    extra = rng.choice([-1.0, 0.0, 1.0, np.inf], size=(3, len(b)))
    found, found_log = answer(np.insert(a, places, 0.0), b, np.insert(M, places, extra, axis=0), reg, **options)
    agree(plan, log, np.delete(found, places + np.arange(3), axis=0), found_log)

    # A point that is split shares its row of the plan: the reference measure is split with it.
    twice = np.append(np.arange(len(b)), rng.integers(len(b), size=2))
    parts = rng.uniform(0.1, 1, size=len(twice))
    shares = parts / np.bincount(twice, parts)[twice]
    found, found_log = answer(a, b[twice] * shares, M[:, twice], reg, **options)
    agree(plan[:, twice] * shares, log, found, found_log)


@given(problems(costs=set(COSTS) - {"huge", "tiny", "offset"}, open_share=[None], **MODERATE), SEEDS, ROBUST)
@examples(150)
def test_costs_shifted_by_rows_and_columns(problem, seed, options):
    a, b, M, reg = problem.arrays()
    rng = np.random.default_rng(seed)
    r, c = (size_of(M) * rng.normal(size=k) for k in M.shape)
    plan, log = answer(a, b, M, reg, tol=1e-11, **options)
    found, found_log = answer(a, b, M + r[:, None] + c, reg, tol=1e-11, **options)
    agree(plan, log, found, found_log, shift=a @ r + b @ c)


@given(
    problems(costs=set(COSTS) - {"huge", "tiny"}, **MODERATE),
    st.sampled_from([-500, -60, -1, 1, 60, 500]),
    st.sampled_from([-300, -60, 60, 300]),
    ROBUST,
)
@examples(150)
def test_powers_of_two_change_nothing_else(problem, weights_by, costs_by, options):
    a, b, M, reg = problem.arrays()
    options = options | {"tol": 1e-10}
    plan, log = answer(a, b, M, reg, **options)
    scaled, scaled_log = answer(
        np.ldexp(a, weights_by), np.ldexp(b, weights_by), np.ldexp(M, costs_by), np.ldexp(reg, costs_by), **options
    )
    assert scaled_log["status"] == log["status"]
    np.testing.assert_allclose(np.ldexp(scaled, -weights_by), plan, rtol=0, atol=1e-8 * a.sum())
    # The plan's entries over those of outer(a, b) fall as the masses grow.
    by_total = reg * weights_by * np.log(2) / 2
    drift = 1e-9 * (scale_of(M) + reg * 1000)
    positive = a > 0
    if log["status"] == 0 and problem.row_weights != "uneven" and problem.column_weights != "uneven":
        moved = np.ldexp(scaled_log["u"], -costs_by) + by_total - log["u"]
        assert np.ptp(moved[positive]) <= 1e-3 * reg + drift  # potentials are known up to what marginals show
        value = np.ldexp(scaled_log["value"], -costs_by - weights_by) + 2 * by_total * a.sum()
        assert abs(value - log["value"]) <= drift * a.sum()


@given(problems(largest=12, open_share=[None]))
@examples(150)
def test_less_regularisation_costs_less(problem):
    a, b, M, _ = replace(problem, total=1.0).arrays()
    tolerance = 1e-6 * size_of(M) + 1e-12 * scale_of(M)
    exact, previous = kx.emd(a, b, M), None
    cost = kx.emd2(a, b, M)
    for share in (0.02, 0.1, 0.5, 10.0):
        reg = share * size_of(M)
        log = answer(a, b, M, reg)[1]
        if log["status"]:
            continue
        assert cost - tolerance <= log["cost"] <= log["value"] + tolerance
        assert log["value"] <= reference.primal(exact, a, b, M, reg) + tolerance
        if previous is not None:
            assert previous["cost"] <= log["cost"] + tolerance and previous["value"] <= log["value"] + tolerance
        previous = log
    assert log["cost"] <= a @ M @ b + tolerance


@given(problems(), st.sampled_from(METHODS[:1] + METHODS[2:]), st.sampled_from([1.0, 1e3, 1e9, 1e100]), SEEDS)
@examples(200)
def test_warm_start_from_anything(problem, method, size, seed):
    problem = replace(problem, share=max(problem.share, 0.05))
    a, b, M, reg = problem.arrays()
    rng = np.random.default_rng(seed)
    start = size * size_of(M) * rng.normal(size=len(a)), size * size_of(M) * rng.normal(size=len(b))
    cold, cold_log = answer(a, b, M, reg, method=method, tol=1e-10)
    warm, warm_log = answer(a, b, M, reg, method=method, tol=1e-10, warmstart=start)
    if cold_log["status"] == warm_log["status"] == 0:
        np.testing.assert_allclose(warm, cold, rtol=0, atol=1e-8 * a.sum())
        again = answer(a, b, M, reg, method=method, tol=1e-10, warmstart=(warm_log["u"], warm_log["v"]))[1]
        assert again["n_iter"] <= 5
    assert cold_log["status"] == 0 or problem.share < 0.2


@given(problems(open_share=[None]), ROBUST, st.integers(1, 50))
@examples(200)
def test_rounded_plans_are_feasible(problem, options, max_iter):
    a, b, M, reg = problem.arrays()
    with kx.errstate(convergence="ignore"):
        plan, log = kx.sinkhorn(a, b, M, reg, round_plan=True, max_iter=max_iter, log=True, **options)
    assert plan.min() >= 0 and not plan[a == 0].any() and not plan[:, b == 0].any()
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=0, atol=1e-14 * a.sum())
    np.testing.assert_allclose(plan.sum(axis=0), b, rtol=0, atol=1e-14 * a.sum())
    assert abs(log["cost"] - (plan * M).sum()) <= 1e-13 * np.abs(plan * M).sum()
    assert log["cost"] >= kx.emd2(a, b, M) - 1e-12 * scale_of(M) * a.sum()


# ---- the same to the bit ----


def assert_same_bits(plan, log, expected_plan, expected_log, k):
    np.testing.assert_array_equal(plan[k], expected_plan)
    for name in expected_log:
        np.testing.assert_array_equal(log[name][k], expected_log[name])


@given(problems(), st.lists(problems(), min_size=1, max_size=9), st.sampled_from([1, 2, 3, 8]), OPTIONS)
@examples(150)
def test_a_problem_does_not_depend_on_its_batch(first, others, workers, options):
    # Easy and slow ones, zero weights and forbidden arcs take turns in one worker's memory.
    kinds = [first, *(replace(other, m=first.m, n=first.n) for other in others)]
    if options["method"] == "kernel":
        kinds = [replace(kind, share=max(kind.share, 0.2)) for kind in kinds]
    forms = [kind.arrays() for kind in kinds]
    a, b, M, reg = (np.stack(arrays) for arrays in zip(*forms, strict=True))
    with kx.errstate(convergence="ignore"):
        options = options | {"max_iter": 300, "log": True}
        together = kx.sinkhorn(a, b, M, reg, workers=workers, **options)
        for k, form in enumerate(forms):
            assert_same_bits(*together, *kx.sinkhorn(*form, **options), k)


@given(st.lists(problems(), min_size=1, max_size=9), st.sampled_from([1, 2, 3, 8]), ROBUST, st.booleans())
@examples(150)
def test_a_problem_does_not_depend_on_its_ragged_batch(kinds, workers, options, round_plan):
    forms = [kind.arrays() for kind in kinds]
    a, b, M, reg = (list(arrays) for arrays in zip(*forms, strict=True))
    with kx.errstate(convergence="ignore"):
        round_plan = round_plan and all(np.isfinite(costs).all() for costs in M)
        options = options | {"max_iter": 300, "log": True, "round_plan": round_plan}
        together = kx.sinkhorn(a, b, M, reg, workers=workers, **options)
        for k, form in enumerate(forms):
            assert_same_bits(*together, *kx.sinkhorn(*form, **options), k)


# ---- the divergence ----


@given(
    st.integers(1, 15),
    st.integers(1, 15),
    st.integers(1, 4),
    SEEDS,
    st.sampled_from(["sqeuclidean", "euclidean", "cosine"]),
    st.sampled_from([0.1, 0.5, 3.0]),
)
@examples(100)
def test_divergence(m, n, dimension, seed, metric, share):
    rng = np.random.default_rng(seed)
    X, Y = rng.normal(size=(m, dimension)), rng.normal(size=(n, dimension))
    if metric == "cosine":  # in one dimension there are two directions, and in none of them is 0
        X, Y = (np.column_stack([Z, np.ones(len(Z))]) for Z in (X, Y))
    row_weights, column_weights = rng.choice(["uniform", "random", "counts", "some zero"], size=2)
    a, b, _, _ = Problem(m, n, seed, "equal", row_weights, column_weights).arrays()
    size = size_of(reference.costs(X, Y, metric))
    reg = share * max(size_of(reference.costs(Z, Z, metric)) for Z in (X, Y, np.concatenate([X, Y])))
    found = kx.sinkhorn_divergence(X, Y, reg, a=a, b=b, metric=metric)
    tolerance = 1e-7 * (size + reg)
    assert found >= -tolerance
    assert abs(found - reference.divergence(X, Y, reg, a, b, metric)) <= tolerance
    assert abs(found - kx.sinkhorn_divergence(Y, X, reg, a=b, b=a, metric=metric)) <= tolerance
    order, rows = rng.permutation(m), np.append(np.arange(m), 0)
    split = np.append(a, a[0] / 2)
    split[0] /= 2
    for other, weights in ((X[order], a[order]), (X[rows], split)):
        assert abs(kx.sinkhorn_divergence(X, other, reg, a=a, b=weights, metric=metric)) <= tolerance
        assert abs(kx.sinkhorn_divergence(other, Y, reg, a=weights, b=b, metric=metric) - found) <= tolerance


# ---- the barycenter ----


@given(
    st.integers(1, 5),
    problems(
        largest=10, costs=set(COSTS) - {"huge", "tiny"}, open_share=[None], share=(1e-6, 1e-3, 0.05, 0.2, 1.0, 100.0)
    ),
    st.sampled_from(ACCELERATIONS),
    st.sampled_from([None, True, False]),
    st.sampled_from([1, 2, 8]),
)
@examples(150)
def test_barycenter(count, problem, acceleration, epsilon_scaling, workers):
    _, _, M, reg = problem.arrays()
    rng = np.random.default_rng(problem.seed)
    H = np.stack([WEIGHTS[problem.row_weights](rng, len(M)) for _ in range(count)])
    shares = WEIGHTS[problem.column_weights](rng, count)
    options = {"acceleration": acceleration, "epsilon_scaling": epsilon_scaling, "tol": 1e-10, "max_iter": 3000}
    with kx.errstate(convergence="ignore"):
        found, log = kx.sinkhorn_barycenter(problem.total * H, M, reg, weights=shares, log=True, **options)
        again = kx.sinkhorn_barycenter(problem.total * H, M, reg, weights=shares, workers=workers, **options)
    np.testing.assert_array_equal(found, again)
    assert np.isfinite(found).all() and found.min() >= 0 and abs(found.sum() - 1) <= 1e-12
    assert log["status"] == (log["error"] > 1e-10)
    if problem.share >= 0.05:
        assert log["status"] == 0 or acceleration == "none"
        if log["status"] == 0 and problem.share >= 0.2:  # with less the reference takes too long
            np.testing.assert_allclose(found, reference.barycenter(H, M, reg, shares), rtol=0, atol=1e-6)
