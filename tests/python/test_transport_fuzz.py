"""The solvers of exact transport against one another: one problem in many forms, each of which must cost the same.

Up to 384 nodes the small simplex solves a problem, or shortest augmenting paths where it is an assignment of up to 64
rows; above, the large simplex. Rows of weight zero and rows that are split in two change the solver, not the problem.
"""

import os
from dataclasses import dataclass, replace

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
SMALL_NODES = 384


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
    "nearly equal": lambda rng, m, n: 1 + 1e-10 * rng.random((m, n)),
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
    "one heavy": lambda rng, n: np.where(np.arange(n) == n // 2, 1e9, 1.0 + rng.random(n)),
}


def open_arcs(rng, a, b, share):
    """Arcs that allow a plan, those of the corner rule on shuffled rows and columns, and a share of the others."""
    mask = rng.random((len(a), len(b))) < share
    rows, columns = rng.permutation(len(a)), rng.permutation(len(b))
    i = j = 0
    left_a, left_b = a[rows[0]], b[columns[0]]
    while True:
        mask[rows[i], columns[j]] = True
        if (left_a <= left_b or j == len(b) - 1) and i < len(a) - 1:
            left_b -= left_a
            i += 1
            left_a = a[rows[i]]
        elif j < len(b) - 1:
            left_a -= left_b
            j += 1
            left_b = b[columns[j]]
        else:
            return mask


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

    def arrays(self):
        rng = np.random.default_rng(self.seed)
        a, b = WEIGHTS[self.row_weights](rng, self.m), WEIGHTS[self.column_weights](rng, self.n)
        a, b, M = a / a.sum(), b / b.sum(), COSTS[self.costs](rng, self.m, self.n)
        if self.open_share is not None:
            M = np.where(open_arcs(rng, a, b, self.open_share), M, np.inf)
        return a * self.total, b * self.total, M


SEEDS = st.integers(0, 2**32)


def problems(largest=30, costs=COSTS, open_share=(None, 0.0, 0.1, 0.6)):
    sizes, styles = st.integers(1, largest), st.sampled_from(sorted(WEIGHTS))
    kinds, shares = st.sampled_from(sorted(costs)), st.sampled_from(open_share)
    totals = st.sampled_from([1.0, 1e-6, 1e6, 37.0])
    return st.builds(Problem, sizes, sizes, SEEDS, kinds, styles, styles, shares, totals)


def size_of(M):
    return np.abs(M[M < np.inf]).max()


def answer(a, b, M):
    """The cost, after a look at everything that proves it."""
    result = kexue.solve(M, a, b)
    plan, (u, v), total, scale = result.plan, result.potentials, a.sum(), size_of(M)
    assert result.status == 0
    assert result.value == kexue.emd2(a, b, M)
    assert plan.min() >= 0 and not plan[M == np.inf].any()
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=0, atol=1e-12 * total)
    np.testing.assert_allclose(plan.sum(axis=0), b * (total / b.sum()), rtol=0, atol=1e-12 * total)
    assert np.count_nonzero(plan) <= sum(M.shape) - 1
    reduced = M - u[:, None] - v
    # Where forbidden arcs hold a basis together, potentials are larger than any cost, and so is their rounding.
    dual_scale = scale + np.abs(u).max() + np.abs(v).max()
    assert reduced.min() >= -4 * np.finfo(float).eps * dual_scale
    assert abs(result.gap) <= 1e-12 * dual_scale * total
    used = plan > 0
    assert abs((plan[used] * M[used]).sum() - result.value) <= 1e-12 * scale * total
    return result.value


# ---- the same problem in other forms ----


def split(rng, a, M, extra):
    """`extra` more rows, parts of those there are."""
    rows = np.concatenate([np.arange(len(a)), rng.integers(len(a), size=extra)])
    parts = rng.uniform(0.1, 1, size=len(rows))
    shuffled = rng.permutation(len(rows))
    rows, shares = rows[shuffled], (parts / np.bincount(rows, parts)[rows])[shuffled]
    return a[rows] * shares, M[rows]


def pad(rng, a, M, extra):
    """`extra` more rows of weight zero anywhere, of costs that would attract."""
    places = np.sort(rng.integers(len(a) + 1, size=extra))
    size = size_of(M)
    attractive = rng.choice([-size, 0.0, size, np.inf], size=(extra, M.shape[1])).astype(M.dtype)
    return np.insert(a, places, 0.0), np.insert(M, places, attractive, axis=0)


def on_columns(change, rng, a, b, M, extra):
    b, costs = change(rng, b, M.T, extra)
    return a, b, costs.T


def on_rows(change, rng, a, b, M, extra):
    a, costs = change(rng, a, M, extra)
    return a, b, costs


def forms(rng, a, b, M):
    rows, columns = rng.permutation(len(a)), rng.permutation(len(b))
    yield "permuted", (a[rows], b[columns], M[rows][:, columns])
    yield "transposed", (b, a, M.T)
    beyond = max(SMALL_NODES + 1 - len(a) - len(b), 4)
    for change in (pad, split):
        for side in (on_rows, on_columns):
            for extra in (1, 2, 3, beyond):
                yield f"{change.__name__} {side.__name__} by {extra}", side(change, rng, a, b, M, extra)
    both = on_columns(split, rng, *on_rows(split, rng, a, b, M, beyond // 2), beyond // 2 + 2)
    yield "split on both sides", both
    yield "split and padded", on_columns(pad, rng, *both, 5)


def all_agree(rng, a, b, M):
    cost, scale, total = answer(a, b, M), size_of(M), a.sum()
    for name, form in forms(rng, a, b, M):
        assert abs(answer(*form) - cost) <= 1e-12 * scale * total, name
    return cost


@given(problems(), SEEDS)
@examples(250)
def test_forms_of_one_problem(problem, seed):
    all_agree(np.random.default_rng(seed), *problem.arrays())


@given(problems(largest=128), SEEDS)
@examples(30)
def test_forms_of_one_larger_problem(problem, seed):
    all_agree(np.random.default_rng(seed), *problem.arrays())


@pytest.mark.parametrize("nodes", [15, 31, 63, 127, 255, 256, 257, 319, 320, 321, 381, 382, 383, 384, 385])
@pytest.mark.parametrize("m", [1, 2, 13, 30, 62, 128])
def test_either_side_of_the_switches(nodes, m, rng):
    # Forms of one, two and three nodes more are solved by the other simplex, or by another version of the small one,
    # which has one for each of 16, 32, 64 and 128 arcs and prices other numbers of rows above 32 and 64.
    for kind in sorted(COSTS) if LONG else rng.choice(sorted(COSTS), size=3):
        row_weights, column_weights = rng.choice(sorted(WEIGHTS), size=2)
        n = max(nodes - m, 1)
        all_agree(rng, *Problem(m, n, int(rng.integers(2**32)), kind, row_weights, column_weights).arrays())


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 9, 33, 63, 64, 65])
@pytest.mark.parametrize("costs", COSTS)
def test_assignments(n, costs, rng):
    a, M = np.full(n, 1 / n), COSTS[costs](rng, n, n)
    cost = all_agree(rng, a, a, M) if LONG or n < 9 else answer(a, a, M)
    rows, columns = scipy.optimize.linear_sum_assignment(M)
    divided = on_rows(split, rng, a, a, M, 1)
    for other in (
        M[rows, columns].mean(),
        answer(*divided),
        kexue.emd2(None, None, M),
        kexue.emd2(3 * a, 3 * a, M) / 3,
        kexue.emd2(a, a, M, max_iter=10**6),  # a limit of pivots asks for the simplex
        kexue.emd2(*on_columns(pad, rng, a, a, M, 2)),
        kexue.emd2(*on_columns(pad, rng, a, a, M, SMALL_NODES)),
    ):
        assert abs(other - cost) <= 1e-12 * size_of(M)


def walls_change_nothing(rng, a, b, M, shut, height):
    closed, scale, total = np.where(shut, np.inf, M), np.abs(M[~shut]).max(), a.sum()
    expected = answer(a, b, closed)
    walled = np.where(shut, height * scale, M)
    for form in ((a, b, walled), (b, a, walled.T), on_rows(pad, rng, a, b, walled, SMALL_NODES)):
        assert abs(kexue.emd2(*form) - expected) <= 1e-12 * scale * total


WALLED = problems(costs={"random", "plane", "clustered", "ties"}, open_share=[None])


@given(WALLED, st.sampled_from([0.0, 0.2, 0.7]), st.sampled_from([1e7, 1e13]))
@examples(60)
def test_walls_that_carry_nothing(problem, share, height):
    # Costs far above the others may cost them none of their digits.
    a, b, M = replace(problem, row_weights="random", column_weights="counts").arrays()
    rng = np.random.default_rng(problem.seed)
    shut = rng.random(M.shape) >= share
    shut[0] = shut[:, 0] = False
    a[0] += a.sum()  # so that these two take all that has no other way, and rounding never needs a wall
    b[0] += b.sum()
    walls_change_nothing(rng, a, b, M, shut, height)


@given(WALLED, st.sampled_from([0.0, 0.2, 0.7]))
@examples(60)
def test_walls_of_an_assignment(problem, share):
    rng = np.random.default_rng(problem.seed)
    M = replace(problem, n=problem.m).arrays()[2]
    shut = (rng.random(M.shape) >= share) & ~np.eye(len(M), dtype=bool)
    # The basis is degenerate and may hold walls, which blur by one rounding of their own: no higher ones here.
    walls_change_nothing(rng, np.ones(len(M)), np.ones(len(M)), M, shut, 1e7)


@given(problems(open_share=[None]), SEEDS)
@examples(100)
def test_costs_shifted_by_rows_and_columns(problem, seed):
    a, b, M = problem.arrays()
    rng = np.random.default_rng(seed)
    size = size_of(M)
    r, c = size * rng.normal(size=len(a)), size * rng.normal(size=len(b))
    shifted = M + r[:, None] + c
    expected = answer(a, b, M) + a @ r + (b * (a.sum() / b.sum())) @ c
    for form in ((a, b, shifted), on_rows(pad, rng, a, b, shifted, SMALL_NODES)):
        assert abs(answer(*form) - expected) <= 2e-12 * size_of(shifted) * a.sum()


@given(st.integers(1, 40), st.integers(1, 40), SEEDS, st.booleans(), st.sampled_from([1, 2, 3]))
@examples(60)
def test_points_of_the_line(m, n, seed, ties, power):
    rng = np.random.default_rng(seed)
    x, y = (rng.integers(-4, 5, size=k) + 0.0 if ties else rng.normal(size=k) for k in (m, n))
    row_weights, column_weights = rng.choice(sorted(WEIGHTS), size=2)
    a, b, _ = Problem(m, n, seed, "equal", row_weights, column_weights).arrays()
    M = np.abs(np.subtract.outer(x, y)) ** power
    cost = kexue.emd2_1d(x, y, a, b, metric="minkowski", p=power)
    for form in ((a, b, M), on_columns(pad, rng, a, b, M, SMALL_NODES)):
        assert abs(answer(*form) - cost) <= 1e-12 * size_of(M)


# ---- the same to the bit ----


def results_of(result, weights_by=0, costs_by=0):
    """What there is to compare, the units of weights and of costs multiplied by powers of two."""
    u, v = result.potentials
    yield np.ldexp(result.value, weights_by + costs_by)
    yield np.ldexp(result.gap, weights_by + costs_by)
    yield np.ldexp(result.plan, weights_by)
    yield np.ldexp(u, costs_by)
    yield np.ldexp(v, costs_by)
    yield result.n_iter


def assert_equal(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one, other)


@given(
    problems(costs=set(COSTS) - {"huge", "tiny"}),
    st.sampled_from([-700, -501, -499, -60, -1, 0, 1, 60, 499, 501, 700]),
    st.sampled_from([-500, -60, -1, 0, 1, 60, 500]),
    st.booleans(),
)
@examples(200)
def test_powers_of_two_change_nothing_else(problem, weights_by, costs_by, large):
    a, b, M = problem.arrays()
    if large:
        a, b, M = on_rows(pad, np.random.default_rng(problem.seed), a, b, M, SMALL_NODES)
    if abs(weights_by + costs_by) > 800:  # the result itself would leave the range
        costs_by = -costs_by
    scaled = kexue.solve(np.ldexp(M, costs_by), np.ldexp(a, weights_by), np.ldexp(b, weights_by))
    assert_equal(results_of(scaled), results_of(kexue.solve(M, a, b), weights_by, costs_by))


@given(problems(), st.booleans())
@examples(100)
def test_float32_costs_are_solved_as_float64(problem, large):
    a, b, M = problem.arrays()
    M = (M / (size_of(M) or 1.0)).astype(np.float32)
    if large:
        a, b, M = on_rows(pad, np.random.default_rng(problem.seed), a, b, M, SMALL_NODES)
    assert_equal(results_of(kexue.solve(M, a, b)), results_of(kexue.solve(M.astype(np.float64), a, b)))


@given(problems(), st.lists(problems(), min_size=1, max_size=6), st.sampled_from([1, 2, 3, 8]), st.booleans())
@examples(60)
def test_a_problem_does_not_depend_on_those_before_it(first, others, workers, large):
    # Zero weights, forbidden arcs, assignments and the rest take turns in one worker's memory.
    kinds = [first, *(replace(other, m=first.m, n=first.n, total=first.total) for other in others)]
    forms = [problem.arrays() for problem in kinds]
    if large:
        rng = np.random.default_rng(first.seed)
        forms = [on_rows(split, rng, *form, SMALL_NODES) for form in forms]
    a, b, M = (np.stack(arrays) for arrays in zip(*forms, strict=True))
    together = kexue.solve(M, a, b, workers=workers)
    for k, (a, b, M) in enumerate(forms):
        alone = kexue.solve(M, a, b)
        assert (together.value[k], together.gap[k], together.n_iter[k]) == (alone.value, alone.gap, alone.n_iter)
        np.testing.assert_array_equal(together.plan[k], alone.plan)
        np.testing.assert_array_equal(together.potentials[0][k], alone.potentials[0])
        np.testing.assert_array_equal(together.potentials[1][k], alone.potentials[1])
