import dataclasses
import json
import os
import pickle
import subprocess
import sys
import tracemalloc
from itertools import product

import numpy as np
import ot
import pytest
import scipy.optimize
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

import kexue
from accuracy_transport import Errors, examine, problem
from reference import transport as reference

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
LIMITS = {
    "highs": 1e-10,
    "pot": 1e-10,
    "emd2": 1e-12,
    "gap": 1e-9,
    "rows": 1e-12,
    "columns": 1e-12,
    "infeasible": 1e-12,
    "slackness": 1e-9,
    "negative": 0.0,
    "entries": 0.0,
    "highs_relative": 1e-10,
}


def accept(errors):
    for name, error in dataclasses.asdict(errors).items():
        assert error <= LIMITS[name], (name, error)


def certify(a, b, M):
    """Check the answer by its own certificate (feasible plan and potentials, equal values), and return it."""
    result = kexue.solve(M, a, b)
    assert result.value == result.value_linear == kexue.emd2(a, b, M)
    np.testing.assert_array_equal(kexue.emd(a, b, M), result.plan)
    m, n = M.shape
    a = np.full(m, 1 / m) if a is None else np.asarray(a, dtype=np.float64)
    b = np.full(n, 1 / n) if b is None else np.asarray(b, dtype=np.float64)
    total, finite = a.sum(), M < np.inf
    scale = np.abs(M[finite]).max() or 1.0
    plan, (u, v) = result.plan, result.potentials
    assert plan.min() >= 0
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=0, atol=1e-12 * total)
    np.testing.assert_allclose(plan.sum(axis=0), b * (total / b.sum()), rtol=0, atol=1e-12 * total)
    assert np.count_nonzero(plan) == np.count_nonzero(result.sparse_plan.data) <= m + n - 1
    assert not plan[~finite].any()
    reduced = M - u[:, None] - v
    assert reduced.min() >= -1e-12 * scale
    assert reduced[plan > 0].max() <= 1e-9 * scale
    assert abs(result.gap) <= 1e-9 * scale * total
    assert abs(a @ u - b * (total / b.sum()) @ v) <= 1e-9 * scale * total
    cost = (plan[finite] * M[finite]).sum()
    assert abs(result.value - cost) <= 1e-12 * scale * total
    np.testing.assert_array_equal(result.sparse_plan.toarray(), plan)
    assert (result.status, result.n_iter >= 0) == (0, True)
    return result


def weights(rng, *shape):
    w = rng.exponential(size=shape)
    return w / w.sum(axis=-1, keepdims=True)


# ---- accuracy ----


def test_against_highs_and_pot():
    worst = Errors()
    for number in range(10_000 if LONG else 300):
        kind, a, b, M = problem(1, number)
        errors = examine(a, b, M)
        try:
            accept(errors)
        except AssertionError as error:
            raise AssertionError(f"problem {number}, {kind} {M.shape}: {error}") from None
        worst = worst.worst(errors)
    assert worst.highs > 0  # it did compare


@st.composite
def problems(draw):
    m, n = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["dense", "integer", "low rank", "constant", "few values", "duplicated"]))
    M = {
        "dense": lambda: rng.normal(size=(m, n)),
        "integer": lambda: rng.integers(-3, 4, size=(m, n)).astype(float),
        "low rank": lambda: np.add.outer(rng.normal(size=m), rng.normal(size=n)),
        "constant": lambda: np.full((m, n), rng.normal()),
        "few values": lambda: rng.choice([0.0, 1 / 3, 1.0, 1e-3], size=(m, n)),
        "duplicated": lambda: rng.normal(size=(m, n))[rng.integers(m, size=m)][:, rng.integers(n, size=n)],
    }[kind]()
    M *= draw(st.sampled_from([1.0, 1e9, 1e-9, 1e-100, 1e100]))
    sides = []
    for size in (m, n):
        style = draw(st.sampled_from(["uniform", "random", "counts", "sparse", "uneven"]))
        w = {
            "uniform": lambda size=size: np.ones(size),
            "random": lambda size=size: rng.exponential(size=size),
            "counts": lambda size=size: rng.integers(1, 4, size=size).astype(float),
            "sparse": lambda size=size: rng.integers(0, 2, size=size).astype(float) + 1e-300,
            "uneven": lambda size=size: 10.0 ** rng.uniform(-12, 0, size=size),
        }[style]()
        sides.append(np.where(w == 1e-300, 0, w) if (w > 0.5).any() else w)
    total = draw(st.sampled_from([1.0, 1e-6, 1e6, 37.0]))
    a, b = (w / w.sum() * total for w in sides)
    return a, b, M


@given(problems())
@settings(max_examples=300, deadline=None)
def test_certificate(case):
    certify(*case)


@given(problems(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_invariances(case, random):
    a, b, M = case
    scale, total = np.abs(M).max() or 1.0, a.sum()
    cost = kexue.emd2(a, b, M)
    rng = np.random.default_rng(random.randrange(2**32))
    rows, columns = rng.permutation(len(a)), rng.permutation(len(b))
    r, c = rng.normal(size=len(a)) * scale, rng.normal(size=len(b)) * scale

    def same(other, expected, factor=1.0):
        assert abs(other - expected) <= 1e-11 * scale * total * factor

    same(kexue.emd2(a[rows], b[columns], M[rows][:, columns]), cost)
    same(kexue.emd2(b, a, M.T), cost)
    same(kexue.emd2(a, b, 1024 * M), 1024 * cost, 1024)
    same(kexue.emd2(64 * a, 64 * b, M), 64 * cost, 64)
    same(kexue.emd2(a, b, M + r[:, None] + c), cost + a @ r + b @ c, 10)
    same(-kexue.emd2(a, b, -M), (kexue.emd(a, b, -M) * M).sum())


@pytest.mark.parametrize("n", range(1, 7))
def test_uniform_square_against_all_permutations(n, rng):
    for M in (rng.normal(size=(n, n)), rng.integers(0, 3, size=(n, n)).astype(float)):
        assert kexue.emd2(None, None, M) == pytest.approx(reference.assignment(M), rel=1e-13, abs=1e-14)
        plan = kexue.emd(None, None, M)
        np.testing.assert_array_equal(np.sort(plan, axis=0)[-1], np.full(n, 1 / n))
        assert np.count_nonzero(plan) == n


@pytest.mark.parametrize("nodes", [63, 64, 65, 66, 127, 128, 129, 191, 193, 255, 256, 257, 320, 383, 384, 385, 450])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9])
def test_between_the_solvers(nodes, share, rng):
    m = max(1, int(nodes * share))
    n = nodes - m
    a, b = weights(rng, m), weights(rng, n)
    for M in (rng.random((m, n)), rng.integers(0, 5, size=(m, n)).astype(float)):
        certify(a, b, M)
        result = certify(None, None, M)
        assert result.value == pytest.approx(ot.emd2([], [], M, numItermax=10**7), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(500, 400), (400, 500), (1000, 3), (2, 900)])
def test_large(m, n, rng):
    x, y = rng.normal(size=(m, 2)), rng.normal(size=(n, 2)) + 1
    for M in (reference.euclidean(x, y), rng.integers(0, 100, size=(m, n)).astype(float)):
        for a, b in ((weights(rng, m), weights(rng, n)), (None, None)):
            result = certify(a, b, M)
            other = ot.emd2([] if a is None else a, [] if b is None else b, M, numItermax=10**7)
            assert result.value == pytest.approx(other, rel=1e-10)


def test_large_uniform_square(rng):
    M = rng.random((350, 350))
    result = certify(None, None, M)
    rows, columns = scipy.optimize.linear_sum_assignment(M)
    assert result.value == pytest.approx(M[rows, columns].mean(), rel=1e-12)


@pytest.mark.parametrize("size", [5, 40, 200])
@pytest.mark.parametrize("scale", [1e9, 1e-9, 1e100, 1e-100])
def test_sizes_of_costs(size, scale, rng):
    a, b, M = weights(rng, size), weights(rng, size + 3), rng.normal(size=(size, size + 3))
    assert certify(a, b, M * scale).value == pytest.approx(kexue.emd2(a, b, M) * scale, rel=1e-11, abs=0)


@pytest.mark.parametrize("size", [4, 30, 300])
def test_identical_distributions_cost_exactly_nothing(size, rng):
    x = rng.normal(size=(size, 3))
    M = reference.euclidean(x, x)
    for a in (weights(rng, size), np.full(size, 1 / size), rng.integers(0, 3, size=size) + 1e-3):
        assert kexue.emd2(a, a, M) == 0
        order = rng.permutation(size)
        assert kexue.emd2(a, a[order], M[:, order]) == 0
        np.testing.assert_array_equal(kexue.emd(a, a, M), np.diag(a))


@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 7), (7, 1), (1, 600), (600, 1)])
def test_one_row_or_column(m, n, rng):
    a, b = weights(rng, m), weights(rng, n)
    M = rng.normal(size=(m, n))
    certify(a, b, M)
    np.testing.assert_allclose(kexue.emd(a, b, M), np.outer(a, b), rtol=0, atol=1e-14)
    assert kexue.emd2(a, b, M) == pytest.approx(a @ M @ b, rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("size", [6, 300])
def test_zero_weights(size, rng):
    a, b = weights(rng, size), weights(rng, size)
    a[rng.permutation(size)[: size // 2]] = b[rng.permutation(size)[: size // 2]] = 0
    a, b = a / a.sum(), b / b.sum()
    M = rng.normal(size=(size, size))
    result = certify(a, b, M)
    dense = kexue.emd2(a[a > 0], b[b > 0], M[a > 0][:, b > 0])
    assert result.value == pytest.approx(dense, rel=1e-13)
    assert not result.plan[a == 0].any() and not result.plan[:, b == 0].any()


# ---- forbidden arcs ----


@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
@pytest.mark.parametrize(("m", "n"), [(3, 4), (20, 25), (130, 140)])
def test_forbidden_arcs_against_highs(m, n, share, rng):
    feasible = 0
    for _ in range(3 if m > 100 else 20):
        a, b, M = weights(rng, m), weights(rng, n), rng.normal(size=(m, n))
        M[rng.random((m, n)) < share] = np.inf
        exact = reference.highs(a, b, M)
        if exact is None:
            with pytest.raises(kexue.KexueValueError, match="feasible"):
                kexue.emd2(a, b, M)
            with pytest.raises(kexue.KexueValueError, match="feasible"):
                kexue.emd(a, b, M)
        else:
            assert certify(a, b, M).value == pytest.approx(exact, abs=1e-10)
            feasible += 1
    assert feasible or share == 0.8 or m == 3


@pytest.mark.parametrize("sizes", [(2, 3), (10, 13, 7), (90, 80, 60)])
@pytest.mark.parametrize("shift", [0.0, 1e-16, -1e-16])
def test_blocks_that_fit_only_by_exact_sums(sizes, shift, rng):
    # Mass cannot leave its block: the sums of a block's rows and columns agree up to rounding only.
    m, n = sum(sizes), sum(sizes) + len(sizes)
    M = np.full((m, n), np.inf)
    a, b, exact, row, column = np.zeros(m), np.zeros(n), 0.0, 0, 0
    for size in sizes:
        rows, columns = slice(row, row + size), slice(column, column + size + 1)
        a[rows], b[columns] = weights(rng, size) / len(sizes), weights(rng, size + 1) / len(sizes)
        M[rows, columns] = rng.random((size, size + 1))
        exact += kexue.emd2(a[rows], b[columns], M[rows, columns])
        row, column = row + size, column + size + 1
    a[0] += shift
    assert certify(a, b, M).value == pytest.approx(exact, rel=1e-11)
    a[0] += 1e-3
    a[-1] -= 1e-3
    if a[-1] > 0:
        with pytest.raises(kexue.KexueValueError, match="feasible"):
            kexue.emd2(a, b, M)


def test_infeasible():
    inf = np.inf
    with pytest.raises(kexue.KexueValueError, match="feasible"):
        kexue.emd2(None, None, [[inf, inf], [inf, inf]])
    with pytest.raises(kexue.KexueValueError, match=r"problem 1, 0 of the batch"):
        kexue.emd2(None, None, [[[[1.0, inf], [inf, 1.0]]], [[[inf, inf], [1.0, 1.0]]]])
    assert kexue.emd2(None, None, [[1.0, inf], [inf, 1.0]]) == 1
    assert kexue.emd2([1.0, 0.0], [1.0, 0.0], [[2.0, inf], [inf, inf]]) == 2


# ---- batches, layouts, dtypes ----


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (9, 9), (150, 140)])
def test_batch_equals_single_problems_to_the_bit(shape, dtype, rng):
    m, n = shape
    a, b = weights(rng, 3, 1, m).astype(dtype), weights(rng, 4, n).astype(dtype)
    M = rng.random((2, 1, 1, m, n)).astype(dtype)
    costs, plans, result = kexue.emd2(a, b, M), kexue.emd(a, b, M), kexue.solve(M, a, b)
    logged, log = kexue.emd2(a, b, M, log=True)
    assert costs.shape == (2, 3, 4) and costs.dtype == dtype
    assert plans.shape == result.plan.shape == (2, 3, 4, m, n) and plans.dtype == dtype
    np.testing.assert_array_equal(costs, logged)
    for i, j, k in product(range(2), range(3), range(4)):
        single = kexue.solve(M[i, 0, 0], a[j, 0], b[k])
        assert costs[i, j, k] == kexue.emd2(a[j, 0], b[k], M[i, 0, 0]) == single.value == result.value[i, j, k]
        np.testing.assert_array_equal(plans[i, j, k], kexue.emd(a[j, 0], b[k], M[i, 0, 0]))
        np.testing.assert_array_equal(plans[i, j, k], single.plan)
        np.testing.assert_array_equal(plans[i, j, k], result.plan[i, j, k])
        np.testing.assert_array_equal(plans[i, j, k], result.sparse_plan[i, j, k].toarray())
        np.testing.assert_array_equal(result.potentials[0][i, j, k], single.potentials[0])
        np.testing.assert_array_equal(log["v"][i, j, k], single.potentials[1])
        assert result.gap[i, j, k] == single.gap == log["gap"][i, j, k]
        assert result.n_iter[i, j, k] == single.n_iter and result.status[i, j, k] == 0


def test_workers_give_the_same_bits(workers, rng):
    a, b, M = weights(rng, 400, 12), weights(rng, 15), rng.normal(size=(400, 12, 15))
    serial, parallel = (kexue.solve(M, a, b, workers=w) for w in (1, workers))
    np.testing.assert_array_equal(serial.value, parallel.value)
    np.testing.assert_array_equal(serial.plan, parallel.plan)
    np.testing.assert_array_equal(serial.potentials[0], parallel.potentials[0])
    np.testing.assert_array_equal(kexue.emd(a, b, M, workers=workers), serial.plan)
    x = rng.normal(size=(400, 30))
    np.testing.assert_array_equal(kexue.emd2_1d(x, x[0], workers=workers), kexue.emd2_1d(x, x[0], workers=1))


def test_layouts(layout, dtype, untouched, rng):
    a, b, M = (
        weights(rng, 2, 6).astype(dtype),
        weights(rng, 7).astype(dtype),
        rng.normal(size=(2, 6, 7)).astype(dtype),
    )
    expected = kexue.solve(M, a, b)
    a, b, M = layout(a), layout(b), layout(M)
    with untouched(a, b, M):
        costs, plans = kexue.emd2(a, b, M), kexue.emd(a, b, M)
        result = kexue.solve(M, a, b)
        one = kexue.emd2(a[1], b, M[1])
    np.testing.assert_array_equal(costs, expected.value)
    np.testing.assert_array_equal(plans, expected.plan)
    np.testing.assert_array_equal(result.plan, expected.plan)
    assert one == expected.value[1]


def test_any_strides(rng):
    big = rng.random((6, 40, 50))
    a, b = weights(rng, 20), weights(rng, 25)
    for M in (
        big[::-2, ::2, ::2],
        big[1, 39::-2, 49::-2],
        big[::3, ::-2, :25],
        np.broadcast_to(big[0, 0, :25], (20, 25)),
        np.broadcast_to(big[0, :20, :1], (3, 20, 25)),
    ):
        np.testing.assert_array_equal(kexue.emd(a, b, M), kexue.emd(a, b, np.ascontiguousarray(M)))
        np.testing.assert_array_equal(
            kexue.emd2(a[::-1], b[::-1], M), kexue.emd2(a[::-1].copy(), b[::-1].copy(), M.copy())
        )


def test_large_with_strides(layout, rng):
    M = rng.random((150, 160)).astype(np.float32)
    a = weights(rng, 150)
    a[::7] = 0
    b = weights(rng, 160) * a.sum()
    expected = kexue.solve(M.copy(), a, b)
    np.testing.assert_array_equal(kexue.solve(layout(M), layout(a), layout(b)).plan, expected.plan)


def test_dtypes(rng):
    M = rng.integers(0, 9, size=(3, 4))
    exact = kexue.emd2(None, None, M.astype(float))
    assert isinstance(exact, float)
    for other in (M, M.tolist(), M.astype(np.uint8), M.astype(">i4"), M.astype(np.longdouble)):
        assert kexue.emd2(None, None, other) == exact and isinstance(kexue.emd2(None, None, other), float)
    for small in (np.float32, np.float16):
        cost = kexue.emd2(None, None, M.astype(small))
        assert cost.dtype == np.float32 and cost == np.float32(exact)
        assert kexue.emd(None, None, M.astype(small)).dtype == np.float32
    ints = kexue.emd2([1, 2, 1], [1, 1, 1, 1], M)
    assert ints == pytest.approx(kexue.emd2([1.0, 2.0, 1.0], [1.0] * 4, M.astype(float)))
    assert kexue.emd([1, 2, 1], [1, 1, 1, 1], M).dtype == np.float64
    assert kexue.emd2(np.float32([1, 2, 1]), [1, 1, 1, 1], M.astype(np.float32)).dtype == np.float32
    assert kexue.emd2(np.array([1.0, 2, 1]), [1, 1, 1, 1], M.astype(np.float32)) == ints


def test_no_weights_are_uniform(rng):
    M = rng.random((5, 4, 6))
    a, b = np.full(4, 1 / 4), np.full(6, 1 / 6)
    for none in (None, [], (), np.array([])):
        np.testing.assert_array_equal(kexue.emd(none, none, M), kexue.emd(a, b, M))
        np.testing.assert_array_equal(kexue.emd2(a, none, M), kexue.emd2(none, b, M))


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
def test_empty_batch(batch):
    M = np.zeros((*batch, 3, 4))
    assert kexue.emd2(None, None, M).shape == batch
    assert kexue.emd(None, None, M).shape == M.shape
    assert kexue.emd2(np.zeros((*batch, 3)), np.zeros((*batch, 4)), M).shape == batch
    assert kexue.emd2(np.zeros((*batch, 3)), np.ones(4), np.zeros((3, 4))).shape == batch
    result = kexue.solve(M)
    assert result.plan.shape == M.shape and result.sparse_plan.shape == batch and result.gap.shape == batch


def test_float32_weights_that_do_not_sum_exactly(rng):
    # POT's most reported complaint: float32 histograms whose totals differ in the seventh digit.
    a, b = weights(rng, 960).astype(np.float32), weights(rng, 5).astype(np.float32)
    b *= np.float32(1 + 3e-7)
    M = rng.random((960, 5)).astype(np.float32)
    plan = kexue.emd(a, b, M)
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=1e-5)
    with pytest.raises(kexue.KexueValueError, match="sums to"):
        kexue.emd(a.astype(float), b.astype(float), M)


# ---- the result ----


def test_transport_result(rng):
    M = rng.random((4, 5))
    result = kexue.solve(M)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.value = 0
    assert isinstance(result.value, float) and isinstance(result.gap, float)
    assert isinstance(result.status, int) and isinstance(result.n_iter, int)
    result.plan[...] = -1
    assert result.plan.min() == 0  # made anew
    batch = kexue.solve(rng.random((2, 3, 4, 5)))
    assert batch.sparse_plan.shape == (2, 3) and batch.sparse_plan[1, 2].shape == (4, 5)
    for original in (result, batch):
        copied = pickle.loads(pickle.dumps(original))
        np.testing.assert_array_equal(copied.plan, original.plan)
        np.testing.assert_array_equal(copied.value, original.value)
        np.testing.assert_array_equal(copied.potentials[1], original.potentials[1])


@pytest.mark.parametrize("shape", [(12, 9), (3, 40), (70, 60), (140, 150)])
def test_sparse_plan_is_sorted_and_complete(shape, rng):
    m, n = shape
    for a, b in ((weights(rng, m), weights(rng, n)), (None, None)):
        sparse = kexue.solve(rng.random(shape), a, b).sparse_plan
        places = list(zip(*sparse.coords, strict=True))
        assert places == sorted(set(places)) and len(places) <= m + n - 1
        assert (sparse.data > 0).all()
        np.testing.assert_allclose(sparse.sum(axis=1), np.full(m, 1 / m) if a is None else a, atol=1e-14)


def test_log(rng):
    a, b, M = weights(rng, 4), weights(rng, 5), rng.random((4, 5))
    plan, log = kexue.emd(a, b, M, log=True)
    result = kexue.solve(M, a, b)
    assert set(log) == {"cost", "u", "v", "gap", "n_iter", "status"}
    assert (log["cost"], log["gap"], log["n_iter"], log["status"]) == (
        result.value,
        result.gap,
        result.n_iter,
        0,
    )
    np.testing.assert_array_equal(log["u"], result.potentials[0])
    cost, log2 = kexue.emd2(a, b, M, log=True)
    assert cost == log["cost"] == log2["cost"]


# ---- bad input ----

NAN, INF = float("nan"), float("inf")
BAD = [
    ([0.5, NAN], [0.5, 0.5], [[0, 1], [1, 0]], r"a\[1\] is nan"),
    ([0.5, INF], [0.5, 0.5], [[0, 1], [1, 0]], r"a\[1\] is inf"),
    ([0.5, 0.5], [1.5, -0.5], [[0, 1], [1, 0]], r"b\[1\] is negative \(-0.5\)"),
    ([0.5, 0.5], [0.5, 0.5], [[0, 1], [NAN, 0]], r"M\[1, 0\] is nan; M has shape \(2, 2\)"),
    ([0.5, 0.5], [0.5, 0.5], [[0, -INF], [1, 0]], r"M\[0, 1\] is -inf"),
    ([0.0, 1.0], [0.5, 0.5], [[0, NAN], [1, 0]], r"M\[0, 1\] is nan"),
    ([0.0, 1.0], [0.5, 0.5], [[-INF, 0], [1, 0]], r"M\[0, 0\] is -inf"),
    ([0.5, 0.5], [0.0, 1.0], [[NAN, 0], [1, 0]], r"M\[0, 0\] is nan"),
    ([0.5, 0.5], [0.5, 0.6], [[0, 1], [1, 0]], r"a sums to 1.0 and b to 1.1"),
    ([0.0, 0.0], [0.5, 0.5], [[0, 1], [1, 0]], r"a sums to 0"),
    ([0.5, 0.5], [0.0, 0.0], [[0, 1], [1, 0]], r"b sums to 0"),
    ([0.5, 0.5, 0.0], [0.5, 0.5], [[0, 1], [1, 0]], r"a has 3 weights \(shape \(3,\)\), but M has 2 rows"),
    ([0.5, 0.5], [1.0], [[0, 1], [1, 0]], r"b has 1 weights .* 2 columns"),
    (0.5, [0.5, 0.5], [[0, 1], [1, 0]], r"a must be an array of weights"),
    ([0.5, 0.5], [0.5, 0.5], [0, 1], r"M must have at least 2 dimensions"),
    ([], [], [[]], r"M has no entries"),
    ([0.5, 0.5], [0.5, 0.5], [[0, 1], [1]], r"M is not an array of one shape"),
    (np.ones((2, 2)), np.ones((3, 2)), [[0, 1], [1, 0]], r"batch dimensions of a, b and M"),
]


@pytest.mark.parametrize(("a", "b", "M", "message"), BAD)
def test_bad_input(a, b, M, message):
    for call in (lambda: kexue.emd2(a, b, M), lambda: kexue.emd(a, b, M), lambda: kexue.solve(M, a, b)):
        with pytest.raises(kexue.KexueValueError, match=message):
            call()
    if isinstance(a, list) and not any(isinstance(row, list) and len(row) != 2 for row in M):
        with pytest.raises(kexue.KexueValueError, match=message):  # the short way for plain arrays
            kexue.emd2(np.array(a), np.array(b), np.array(M, dtype=float))


@pytest.mark.parametrize("size", [3, 200])
def test_nan_anywhere_is_found(size, rng):
    for i, j in [(0, 0), (size - 1, size - 1), (size // 2, 1), (0, size - 1)]:
        M = rng.random((size, size))
        M[i, j] = np.nan
        with pytest.raises(kexue.KexueValueError, match=rf"M\[{i}, {j}\] is nan"):
            kexue.emd2(None, None, M)
        with pytest.raises(kexue.KexueValueError, match=rf"M\[{i}, {j}\] is nan"):
            kexue.emd2(None, None, M.astype(np.float32))


def test_the_bad_problem_of_a_batch_is_named(workers, rng):
    a = weights(rng, 100, 1, 4)
    a[37, 0, 2] += 0.5
    a[80, 0, 2] += 0.5
    with pytest.raises(kexue.KexueValueError, match=r"a sums to 1.5\d* and b to 1.* \(problem 37, 0 of the batch\)"):
        kexue.emd2(a, None, rng.random((1, 2, 4, 5)), workers=workers)


def test_wrong_types():
    M = np.zeros((2, 2))
    with pytest.raises(TypeError, match="M must hold real numbers"):
        kexue.emd2(None, None, M.astype(complex))
    with pytest.raises(TypeError, match="a must hold real numbers"):
        kexue.emd2(["x", "y"], None, M)
    with pytest.raises(TypeError, match="b must be an array of real numbers, not csr_array"):
        kexue.emd2(None, csr_array(np.full((1, 2), 0.5)), M)
    with pytest.raises(kexue.KexueValueError, match="a must be an array of weights, got a scalar"):
        kexue.emd2(np.array(0.5), None, M)
    with pytest.raises(TypeError, match="masked"):
        kexue.emd2(None, None, np.ma.masked_array(M, M == 0))
    for bad in (0, -3):
        with pytest.raises(kexue.KexueValueError, match="max_iter"):
            kexue.emd2(None, None, M, max_iter=bad)
    with pytest.raises(kexue.KexueValueError, match="reg must be positive.*emd|reg is 0.*emd"):
        kexue.solve(M, reg=0)
    with pytest.raises(kexue.KexueValueError, match="workers"):
        kexue.emd2(None, None, M, workers=0)


@pytest.mark.parametrize("total", [1e-290, 1e-300, 1e-310, 1e200, 1e300])
@pytest.mark.parametrize("cost", [1e-300, 1.0, 1e200, 1e300])
def test_extreme_numbers_are_right_or_an_error(total, cost):
    a, b = np.array([0.25, 0.75]) * total, np.array([0.75, 0.25]) * total
    exact = 0.5 * total * cost
    for call in (
        lambda: kexue.emd2(a, b, [[0, cost], [cost, 0]]),
        lambda: kexue.solve([[0, cost], [cost, 0]], a, b).value,
        lambda: kexue.emd2_1d([0, cost], [0, cost], a, b, metric="euclidean"),
    ):
        try:
            result = call()
        except OverflowError:
            continue
        assert result == pytest.approx(exact, rel=1e-9, abs=5e-324)


def test_squares_on_the_line_that_overflow():
    with pytest.raises(OverflowError):
        kexue.emd2_1d([1e200, 2e200], [2e200, -1e200])


# ---- max_iter ----


@pytest.mark.parametrize("size", [20, 200])
def test_max_iter(size, rng):
    a, b, M = weights(rng, size), weights(rng, size), rng.random((size, size))
    exact = kexue.emd2(a, b, M)
    with pytest.warns(kexue.ConvergenceWarning, match="1 of 1 transport problems stopped at max_iter=1 pivots"):
        result = kexue.solve(M, a, b, max_iter=1)
    assert result.status == 1
    np.testing.assert_allclose(result.plan.sum(axis=1), a, atol=1e-13)
    np.testing.assert_allclose(result.plan.sum(axis=0), b, atol=1e-13)
    assert exact < result.value <= exact + result.gap + 1e-12
    with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning):
        kexue.emd(a, b, M, max_iter=1)
    with kexue.errstate(convergence="ignore"):
        assert kexue.emd2(a, b, M, max_iter=1) == result.value
    assert kexue.emd2(a, b, M, max_iter=10**6) == pytest.approx(exact, rel=1e-12)


def test_max_iter_of_a_batch(rng):
    M = rng.random((5, 30, 30))
    M[2] = 1
    with pytest.warns(kexue.ConvergenceWarning, match="4 of 5"):
        result = kexue.solve(M, max_iter=1)
    np.testing.assert_array_equal(result.status, [1, 1, 0, 1, 1])


# ---- the line ----

METRICS = [
    ("sqeuclidean", 1, 2),
    ("euclidean", 1, 1),
    ("cityblock", 1, 1),
    ("minkowski", 1.5, 1.5),
    ("minkowski", 3, 3),
]


@pytest.mark.parametrize(("metric", "p", "power"), METRICS)
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 5), (8, 8), (30, 20)])
def test_line(metric, p, power, m, n, rng):
    for x, y in (
        (rng.normal(size=m), rng.normal(size=n)),
        (rng.integers(0, 4, size=m), rng.integers(0, 4, size=n)),
    ):
        M = np.abs(x[:, None] - y) ** power
        for a, b in ((weights(rng, m), weights(rng, n)), (None, None), (np.eye(m)[0], np.eye(n)[-1])):
            cost = kexue.emd2_1d(x, y, a, b, metric=metric, p=p)
            assert cost == pytest.approx(kexue.emd2(a, b, M), rel=1e-10, abs=1e-12)
            plan, log = kexue.emd_1d(x, y, a, b, metric=metric, p=p, log=True)
            assert log["cost"] == cost == pytest.approx((plan * M).sum(), rel=1e-12, abs=1e-14)
            np.testing.assert_allclose(plan.sum(axis=1), np.full(m, 1 / m) if a is None else a, atol=1e-14)
            np.testing.assert_allclose(plan.sum(axis=0), np.full(n, 1 / n) if b is None else b, atol=1e-14)
            assert np.count_nonzero(plan) <= m + n - 1 and plan.min() >= 0
            full_a, full_b = (np.full(k, 1 / k) if w is None else w for k, w in ((m, a), (n, b)))
            assert cost == pytest.approx(reference.line(x, y, full_a, full_b, power), rel=1e-9, abs=1e-12)


def test_line_against_others(rng):
    x, y, a, b = rng.normal(size=70), rng.normal(size=90), weights(rng, 70), weights(rng, 90)
    assert kexue.emd2_1d(x, y, a, b, metric="euclidean") == pytest.approx(
        scipy.stats.wasserstein_distance(x, y, a, b), rel=1e-12
    )
    assert kexue.emd2_1d(x, y, a, b) == pytest.approx(ot.emd2_1d(x, y, a, b), rel=1e-12)
    np.testing.assert_allclose(kexue.emd_1d(x, y, a, b), ot.emd_1d(x, y, a, b), atol=1e-14)
    assert kexue.emd2_1d(x, y, a, b, metric="minkowski", p=3) == pytest.approx(
        ot.emd2_1d(x, y, a, b, metric="minkowski", p=3), rel=1e-12
    )
    same = rng.permutation(x)
    assert kexue.emd2_1d(x, same) == 0


def test_long_line(rng):
    x, y = rng.normal(size=200_000), rng.normal(size=300_000)
    a = rng.exponential(size=200_000)
    exact = scipy.stats.wasserstein_distance(x, y, a)
    assert kexue.emd2_1d(x, y, a / a.sum(), metric="euclidean") == pytest.approx(exact, rel=1e-9)


def test_line_batches(layout, dtype, untouched, rng):
    x, y = rng.normal(size=(3, 1, 6)).astype(dtype), rng.normal(size=(4, 7)).astype(dtype)
    a = weights(rng, 2, 1, 1, 6).astype(dtype)
    expected = [[[kexue.emd2_1d(x[j, 0], y[k], a[i, 0, 0]) for k in range(4)] for j in range(3)] for i in range(2)]
    x, y, a = layout(x), layout(y), layout(a)
    with untouched(x, y, a):
        costs, plans = kexue.emd2_1d(x, y, a), kexue.emd_1d(x, y, a)
    assert costs.dtype == plans.dtype == dtype
    np.testing.assert_array_equal(costs, expected)
    np.testing.assert_array_equal(plans[1, 2, 3], kexue.emd_1d(x[2, 0], y[3], a[1, 0, 0]))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.0, NAN], [1.0]), {}, r"x_a\[1\] is nan"),
        (([0.0], [INF]), {}, r"x_b\[0\] is inf"),
        (([], [1.0]), {}, "x_a must hold at least one point"),
        (([0.0, 1.0], [1.0], [0.5, -0.5]), {}, r"a\[1\] is negative"),
        (([0.0, 1.0], [1.0], [0.5, 0.6], [1.0]), {}, "a sums to 1.1 and b to 1.0"),
        (([0.0, 1.0], [1.0], [0.0, 0.0]), {}, "the total of a is 0"),
        (([0.0, 1.0], [1.0], [0.5]), {}, "a has 1 weights"),
        (([0.0], [1.0]), {"metric": "minkowski", "p": 0.5}, "p must be finite and at least 1"),
        (([0.0], [1.0]), {"metric": "cosine"}, "metric must be"),
    ],
)
def test_bad_line(arguments, options, message):
    for function in (kexue.emd_1d, kexue.emd2_1d):
        with pytest.raises(kexue.KexueValueError, match=message):
            function(*arguments, **options)


# ---- memory, Ctrl-C ----


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_memory_of_the_cost(dtype, rng):
    n = 1500
    M = rng.random((n, n)).astype(dtype)
    a = np.full(n, 1 / n)
    tracemalloc.start()
    try:
        kexue.emd2(a, a, M)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 1.3 * M.nbytes


def run_python(script, *arguments):
    result = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_memory_of_the_process():
    ratio = run_python(
        """if True:
        import json, re, sys
        import numpy as np, kexue
        n = int(sys.argv[1])
        rng = np.random.default_rng(0)
        M, a = rng.random((n, n)), np.full(n, 1 / n)
        kexue.emd2(None, None, M[:300, :300])
        def peak():
            if sys.platform == "linux":  # ru_maxrss would start at its parent's peak
                with open("/proc/self/status") as file:
                    return int(re.search(r"VmHWM:\\s*(\\d+) kB", file.read())[1]) * 1024
            import resource
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        before = peak()
        kexue.emd2(a, a, M)
        print(json.dumps((peak() - before) / M.nbytes))
        """,
        5000 if LONG else 1500,
    )
    assert 0 < ratio <= 1.3


@pytest.mark.parametrize("call", ["kexue.emd2(a, a, M)", "kexue.solve(M, a, a)", "kexue.emd2(None, None, many)"])
def test_interrupt(call):
    report = run_python(
        """if True:
        import json, os, signal, sys, threading, time
        import numpy as np, kexue
        rng = np.random.default_rng(0)
        x, y = rng.random((2, 3000, 2))
        M = ((x[:, None] - y) ** 2).sum(axis=-1)
        a = rng.dirichlet(np.ones(3000))
        many = np.broadcast_to(M[:120, :110], (100_000, 120, 110))
        sent = []
        def interrupt():
            time.sleep(0.06)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        error = None
        thread.start()
        try:
            """
        + call
        + """
            thread.join()
        except BaseException as caught:
            error, latency = type(caught).__name__, time.perf_counter() - sent[0]
        thread.join()
        print(json.dumps([error, latency, kexue.emd2(None, None, [[0.0, 2.0], [1.0, 3.0]])]))
        """
    )
    assert report[0] == "KeyboardInterrupt"
    assert report[1] < 2
    assert report[2] == 1.5


def test_solve_gives_a_transport_result():
    assert isinstance(kexue.solve([[0.0, 1.0], [1.0, 0.0]]), kexue.TransportResult)


# ---- found by attack ----


@pytest.mark.parametrize("shape", [(10, 10), (10, 12), (150, 160)])
@pytest.mark.parametrize("big", [1e9, 1e12, 1e15, 1e18])
def test_huge_costs_that_carry_nothing_do_not_blur_the_rest(shape, big, rng):
    for _ in range(5):
        costs, shut = rng.random(shape), rng.random(shape) < 0.2
        shut[np.arange(min(shape)), np.arange(min(shape))] = False
        shut[0] = False
        expected = kexue.emd2(None, None, np.where(shut, np.inf, costs))
        result = kexue.solve(np.where(shut, big, costs))
        assert result.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "M"),
    [
        ([1, 1e-10], [1 + 1e-10], [[1.0], [INF]]),
        (np.float32([1, 1e-7]), np.float32([1, 1e-7]), [[1.0, 1.0], [INF, INF]]),
    ],
)
def test_little_mass_without_a_way_is_infeasible(a, b, M):
    for call in (kexue.emd, kexue.emd2):
        with pytest.raises(kexue.KexueValueError, match="no plan is feasible"):
            call(a, b, M)


@pytest.mark.parametrize("weight", [1e-6, 1e-8, 1e-12, 1e-16, 1e-20, 1e-30])
def test_cost_of_little_mass(weight):
    M = [[0.0, 5.0], [5.0, 1.0]]
    assert kexue.emd2([1, weight], [1, weight], M) == pytest.approx(weight, rel=1e-10)
    assert (kexue.emd([1, weight], [1, weight], M) * M).sum() == pytest.approx(weight, rel=1e-10)


def test_results_beyond_float32_are_an_error():
    with pytest.raises(OverflowError, match="float32"):
        kexue.emd2(np.float32([10]), np.float32([10]), np.float32([[3e38]]))
    with pytest.raises(OverflowError, match="float32"):
        kexue.emd2_1d(np.float32([1e30]), np.float32([0]))


@pytest.mark.parametrize("bad", [1.5, float("nan"), "7", [3]])
def test_max_iter_is_an_integer(bad):
    with pytest.raises(TypeError, match="max_iter must be an integer"):
        kexue.emd2(None, None, [[0.0, 1.0]], max_iter=bad)


@settings(max_examples=60, deadline=None)
@given(
    m=st.integers(1, 40), n=st.integers(1, 40), sweeps=st.integers(0, 12), offset=st.sampled_from([0.0, -3.0, 1e6]),
    scale=st.sampled_from([1.0, 1e-200, 1e200]), seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_lower_bound_is_certified(m, n, sweeps, offset, scale, seed):
    rng = np.random.default_rng(seed)
    M = (rng.random((m, n)) ** rng.integers(1, 8) + offset) * scale
    a, b = rng.random(m) * (rng.random(m) < 0.8), rng.random(n)
    a[0] += 0.1
    a, b = a / a.sum(), b / b.sum()
    bound, log = kexue.transport_lower_bound(a, b, M, sweeps=sweeps, log=True)
    rounding = 1e-14 * np.abs(M).max()
    assert (log["u"][:, None] + log["v"] <= M + rounding).all()
    assert bound == pytest.approx(a @ log["u"] + b @ log["v"], abs=rounding * 10)
    cost = kexue.emd2(a, b, M)
    assert bound <= cost + 10 * rounding
    # Never worse than the rows' relaxed bound, from which the sweeps start, when there are no sweeps.
    if sweeps == 0:
        assert bound >= a @ M.min(axis=1) - 10 * rounding


def test_lower_bound_is_near(rng):
    x, y = rng.normal(size=(25, 300)), rng.normal(size=(30, 300))
    M = np.linalg.norm(x[:, None] - y, axis=2)
    cost = kexue.emd2(None, None, M)
    bounds = [kexue.transport_lower_bound(None, None, M, sweeps=k, reg=0.1) for k in (0, 3, 10, 30)]
    assert bounds == sorted(bounds)
    assert 0.97 * cost < bounds[2] < bounds[3] < cost


def test_lower_bound_of_batches(workers, layout, untouched, rng):
    a, b, M = rng.random((4, 6)), rng.random(5), layout(rng.random((3, 1, 6, 5)))
    a *= b.sum() / a.sum(axis=1, keepdims=True)
    with untouched(a, b, M):
        bounds, log = kexue.transport_lower_bound(a, b, M, workers=workers, log=True)
    assert bounds.shape == (3, 4) and log["u"].shape == (3, 4, 6) and log["v"].shape == (3, 4, 5)
    for i, k in np.ndindex(3, 4):
        assert bounds[i, k] == kexue.transport_lower_bound(a[k], b, np.ascontiguousarray(M)[i, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 0.0], [[1.0, np.inf]]), r"M\[0, 1\] is inf"),
        (([1.0], [1.0, 0.0], [[1.0, np.nan]]), r"M\[0, 1\] is nan"),
        (([np.nan], [1.0, 0.0], [[1.0, 2.0]]), r"a\[0\] is nan"),
        (([1.0], [2.0, -1.0], [[1.0, 2.0]]), r"b\[1\] is negative"),
        (([1.0], [2.0, 1.0], [[1.0, 2.0]]), "a sums to 1.0 and b to 3.0"),
        (([0.0], [0.0, 0.0], [[1.0, 2.0]]), "a sums to 0"),
        (([1.0], [1.0], [[1.0, 2.0]]), "b has 1 weights"),
    ],
)
def test_lower_bound_of_bad_input(arguments, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        kexue.transport_lower_bound(*arguments)


@pytest.mark.parametrize("options", [{"sweeps": -1}, {"reg": 0.0}, {"reg": np.nan}])
def test_lower_bound_options(options):
    with pytest.raises(kexue.KexueValueError, match=next(iter(options))):
        kexue.transport_lower_bound(None, None, [[1.0]], **options)


def test_lower_bound_in_float32(rng):
    M = rng.random((7, 9)).astype(np.float32)
    a, b = np.full(7, 1 / 7, np.float32), np.full(9, 1 / 9, np.float32)
    bound = kexue.transport_lower_bound(a, b, M)
    assert bound.dtype == np.float32
    assert bound <= kexue.emd2(a, b, M) * (1 + 1e-6)
