import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from itertools import product

import numpy as np
import ot
import pytest
from scipy import sparse

import kexue as kx
from accuracy_entropic import ACCELERATIONS, METHODS, REGS, Errors, answer, examine, problem, weights
from reference import entropic as reference

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
NAN, INF = float("nan"), float("inf")
LIMITS = {
    "potentials": 1e-8,
    "plan": 1e-7,
    "cost": 1e-7,
    "value": 1e-8,
    "marginals": 1.001e-9,
    "dual": 1e-8,
    "gap": 1e-8,
    "passes": 10_000,
}


def squares(x, y):
    return ((x[:, None] - y) ** 2).sum(axis=-1)


def slow_problem(rng, size=40):
    """Points of the plane at a small regularisation, which plain passes need hundreds of steps for."""
    x, y = rng.normal(size=(size, 2)), rng.normal(size=(size, 2))
    M = squares(x, y)
    return weights(rng, size), weights(rng, size), M / M.max(), 0.01


def unconverged(*arguments, **options):
    with kx.errstate(convergence="ignore"):
        return kx.sinkhorn(*arguments, log=True, **options)


# ---- accuracy ----


def test_against_fifty_digits():
    worst = Errors()
    for number in range(3000 if LONG else 270):
        kind, share, a, b, M = problem(1, number)
        errors = examine(a, b, M, share)
        for name, limit in LIMITS.items():
            found = getattr(errors, name)
            assert found <= limit, f"problem {number}, {kind} {M.shape}, reg {share:g}: {name} {found}"
        assert not (errors.stopped and share >= 0.01), f"problem {number}, {kind} {M.shape}, reg {share:g}"
        worst = worst.worst(errors)
    assert worst.potentials > 0 and worst.plan > 0 and worst.value > 0  # it did compare


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (4, 1), (3, 4), (6, 6), (20, 30)])
@pytest.mark.parametrize("reg", [10.0, 1.0, 0.1, 0.05])
def test_against_pot(shape, reg, rng):
    a, b, M = weights(rng, shape[0]), weights(rng, shape[1]), rng.random(shape)
    plan, log = answer(a, b, M, reg, tol=1e-13)
    expected, other = ot.bregman.sinkhorn_log(a, b, M, reg, stopThr=1e-15, numItermax=2000, log=True, warn=False)
    u, v = (reg * (other[name] - np.log(w)) for name, w in (("log_u", a), ("log_v", b)))
    u, v = reference.shifted(a, b, u, v)
    np.testing.assert_allclose(log["u"], u, rtol=0, atol=1e-8)
    np.testing.assert_allclose(log["v"], v, rtol=0, atol=1e-8)
    np.testing.assert_allclose(plan, expected, rtol=0, atol=1e-10)
    assert log["cost"] == pytest.approx((expected * M).sum(), abs=1e-10)
    assert kx.sinkhorn2(a, b, M, reg, tol=1e-13) == pytest.approx(log["cost"], rel=1e-14)


@pytest.mark.parametrize("reg", [1.0, 0.1, 0.05])
def test_against_the_textbook_iteration(reg, rng):
    a, b, M = weights(rng, 12), weights(rng, 9), rng.random((12, 9))
    plan, log = answer(a, b, M, reg, tol=1e-13)
    u, v = reference.sinkhorn(a, b, M, reg)
    np.testing.assert_allclose(log["u"], u, rtol=0, atol=1e-9)
    np.testing.assert_allclose(log["v"], v, rtol=0, atol=1e-9)
    np.testing.assert_allclose(plan, reference.plan_of(a, b, M, reg, u, v), rtol=0, atol=1e-11)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("epsilon_scaling", [None, True, False])
def test_every_way_leads_to_the_same_plan(method, acceleration, epsilon_scaling, rng):
    options = {"method": method, "acceleration": acceleration, "epsilon_scaling": epsilon_scaling, "tol": 1e-11}
    holes = rng.random((9, 7))
    holes[3, 2] = holes[4, 4] = INF
    sparse_weights = weights(rng, 9) * [1, 0, 1, 1, 1, 0, 1, 1, 1]
    sparse_weights /= sparse_weights.sum()
    for a, b, M, reg in (
        (weights(rng, 9), weights(rng, 7), rng.random((9, 7)), 0.05),
        (sparse_weights, weights(rng, 7), holes, 0.1),
        (weights(rng, 60), weights(rng, 50), squares(rng.random((60, 2)), rng.random((50, 2))), 0.05),
    ):
        plan, log = answer(a, b, M, reg, **options)
        exact = reference.solve(a, b, M, reg)
        assert log["status"] == 0
        np.testing.assert_allclose(plan, exact.plan, rtol=0, atol=1e-9)
        np.testing.assert_allclose(log["u"], exact.u, rtol=0, atol=1e-8)
        assert log["value"] == pytest.approx(exact.value, abs=1e-9)


@pytest.mark.parametrize("acceleration", ["anderson", "overrelaxation"])
@pytest.mark.parametrize("method", ["kernel", "stabilized", "log"])
def test_acceleration_needs_fewer_passes(method, acceleration, rng):
    a, b, M, reg = slow_problem(rng)
    options = {"method": method, "epsilon_scaling": False}
    plain = answer(a, b, M, reg, acceleration="none", **options)[1]["n_iter"]
    assert answer(a, b, M, reg, acceleration=acceleration, **options)[1]["n_iter"] < plain / 2


def test_epsilon_scaling_needs_fewer_passes(rng):
    a, b, M, _ = slow_problem(rng)
    plain, scaled = (
        unconverged(a, b, M, 3e-4, acceleration="none", epsilon_scaling=scaling, tol=1e-3)[1]["n_iter"]
        for scaling in (False, True)
    )
    assert scaled < plain


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("method", METHODS)
def test_the_dual_objective_rises(method, acceleration, rng):
    uneven = 10.0 ** rng.uniform(-9, 0, size=12)
    for a, b, M, reg in (
        slow_problem(rng, 15),
        (weights(rng, 12), weights(rng, 15), rng.random((12, 15)), 0.02),
        (weights(rng, 12), uneven / uneven.sum(), 5 * rng.normal(size=(12, 12)), 0.2),
    ):
        exact, duals = reference.solve(a, b, M, reg), []
        for max_iter in [*range(1, 40), 60, 90]:
            log = unconverged(
                a, b, M, reg, method=method, acceleration=acceleration, epsilon_scaling=False, max_iter=max_iter
            )[1]
            duals.append(reference.dual(a, b, M, reg, log["u"], log["v"]))
        assert np.diff(duals).min() >= -1e-12 * np.abs(M).max()
        assert duals[0] < duals[-1] <= exact.value + 1e-12 * np.abs(M).max()


# ---- never wrong ----

HARD = {
    "zero weights": ([0, 0.5, 0.5, 0], [0.2, 0, 0.8], [[0, 1, 0.5], [1, 0.2, 0.1], [0.3, 0, 1], [1, 1, 1]]),
    "all mass at one point": ([1.0, 0.0], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]]),
    "one point to one": ([0.0, 1.0, 0.0], [0.0, 1.0], [[0.5, 0.1], [1.0, 0.7], [0.0, 0.3]]),
    "1 x 1": ([1.0], [1.0], [[0.7]]),
    "1 x n": ([1.0], [0.2, 0.3, 0.5], [[1.0, 0.0, 0.5]]),
    "n x 1": ([0.2, 0.3, 0.5], [1.0], [[1.0], [0.0], [0.5]]),
    "equal costs": ([0.2, 0.8], [0.3, 0.7], [[1.0, 1.0], [1.0, 1.0]]),
    "costs of nothing": ([0.2, 0.8], [0.3, 0.7], [[0.0, 0.0], [0.0, 0.0]]),
    "negative costs": ([0.2, 0.8], [0.3, 0.7], [[-1.0, -0.3], [-0.1, -0.9]]),
    "both signs": ([0.2, 0.8], [0.3, 0.7], [[-1.0, 0.3], [0.1, -0.9]]),
    "equal rows": ([0.2, 0.3, 0.5], [0.5, 0.5], [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]),
    "an assignment": ([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]),
    "nearly no mass": ([1e-12, 1 - 1e-12], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]),
    "hardly any mass": ([1e-300, 1.0], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]]),
    "a row far away": ([0.5, 0.5], [0.5, 0.5], [[1.0, 1.0], [0.0, 0.001]]),
    "forbidden arcs": ([0.5, 0.5], [0.3, 0.7], [[0.0, 1.0], [INF, 0.5]]),
    "a forbidden row without mass": ([1.0, 0.0], [1.0, 0.0], [[1.0, INF], [INF, INF]]),
    "blocks": ([0.5, 0.5], [0.5, 0.5], [[1.0, INF], [INF, 0.5]]),
}  # fmt: skip


@pytest.mark.parametrize("case", HARD)
@pytest.mark.parametrize("method", ["auto", "stabilized", "log"])
def test_hard_problems_are_right_or_say_so(case, method, dtype):
    a, b, M = (np.array(values, dtype=dtype) for values in HARD[case])
    finite = np.abs(M[M < INF])
    for share in (*REGS, 1e1, 1e2):
        reg = share * float(finite.max() or 1)
        for acceleration in ACCELERATIONS:
            plan, log = answer(a, b, M, reg, method=method, acceleration=acceleration)
            assert plan.dtype == log["u"].dtype == log["v"].dtype == dtype
            if share >= (1.0 if acceleration == "none" else 0.1):
                assert log["status"] == 0


@pytest.mark.parametrize("share", [1e-6, 1e-8, 1e-12, 1e-15])
@pytest.mark.parametrize("method", ["auto", "stabilized", "log"])
def test_far_too_little_regularisation_is_right_or_says_so(share, method, rng):
    for a, b, M in (
        (weights(rng, 5), weights(rng, 6), rng.random((5, 6))),
        (None, None, rng.random((6, 6))),
        ([0.5, 0.5], [0.5, 0.5], np.array([[0.0, 1.0], [1.0, 0.0]])),
    ):
        plan, log = unconverged(a, b, M, share * M.max(), method=method, max_iter=500)
        assert np.isfinite(plan).all() and plan.min() >= 0
        assert np.isfinite([log["cost"], log["value"], log["error"], *log["u"], *log["v"]]).all()
        full_a, full_b = (np.full(k, 1 / k) if w is None else w for k, w in zip(M.shape, (a, b), strict=True))
        # The exponents have a rounding of eps / share, and so have the masses.
        found = reference.marginal_error(plan, np.asarray(full_a), np.asarray(full_b))
        assert abs(found - log["error"]) <= 1e-3 * log["error"] + 1e-14 / share
        assert log["status"] == (log["error"] > 1e-9)


def test_regularisation_beyond_float64(rng):
    M = rng.random((4, 5))
    for reg in (1e-300, 1e-308, 5e-324, 1e300):
        try:
            plan, log = unconverged(None, None, M, reg, max_iter=100)
        except OverflowError:
            continue
        assert np.isfinite(plan).all() and np.isfinite([log["cost"], log["value"], log["error"]]).all()
        assert reference.marginal_error(plan, np.full(4, 1 / 4), np.full(5, 1 / 5)) <= 1.1 * log["error"] + 1e-12


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_the_kernel_out_of_range_is_an_error(acceleration, rng):
    a, b, M = weights(rng, 8), weights(rng, 9), rng.random((8, 9))
    M[2] += 1000
    M[:, 3] += 500
    M[4, 4] -= 2000
    assert answer(a, b, M, 0.5, acceleration=acceleration)[1]["status"] == 0
    with pytest.raises(OverflowError, match="kernel"):
        kx.sinkhorn(a, b, M, 0.5, method="kernel", acceleration=acceleration)


def test_potentials_without_mass_extend_the_others(rng):
    a, b, M = weights(rng, 6), weights(rng, 7), rng.random((6, 7))
    a[[1, 4]] = b[[0, 2, 6]] = 0
    a, b = a / a.sum(), b / b.sum()
    M[1, 3] = M[4, 5] = INF
    _, log = answer(a, b, M, 0.1, tol=1e-13)
    np.testing.assert_allclose(log["u"], reference.row_potentials(b, M, 0.1, log["v"]), rtol=0, atol=1e-10)
    np.testing.assert_allclose(log["v"], reference.row_potentials(a, M.T, 0.1, log["u"]), rtol=0, atol=1e-10)
    exact = reference.solve(a, b, M, 0.1, digits=50)
    np.testing.assert_allclose(log["u"], exact.u, rtol=0, atol=1e-9)
    np.testing.assert_allclose(log["v"], exact.v, rtol=0, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_rows_without_mass_change_nothing(method, rng):
    a, b, M = weights(rng, 5), weights(rng, 6), rng.random((5, 6))
    plan, log = answer(a, b, M, 0.1, method=method, tol=1e-12)
    wide = np.insert(M, [0, 2, 5], [[-5.0], [INF], [1e3]], axis=0)
    wide_plan, wide_log = answer(np.insert(a, [0, 2, 5], 0.0), b, wide, 0.1, method=method, tol=1e-12)
    np.testing.assert_allclose(np.delete(wide_plan, [0, 3, 7], axis=0), plan, rtol=0, atol=1e-12)
    np.testing.assert_allclose(wide_log["v"], log["v"], rtol=0, atol=1e-9)
    assert wide_log["value"] == pytest.approx(log["value"], abs=1e-12)


@pytest.mark.parametrize("offset", [1e3, 1e6, -1e6, 1e9])
@pytest.mark.parametrize("reg", [1.0, 0.1, 0.01])
def test_an_offset_of_the_costs_blurs_nothing(offset, reg, rng):
    a, b, M = weights(rng, 8), weights(rng, 9), rng.random((8, 9)) + offset
    plan, log = answer(a, b, M, reg)
    near, near_log = answer(a, b, M - offset, reg)  # without a rounding
    np.testing.assert_allclose(plan, near, rtol=0, atol=1e-8)
    assert log["value"] == pytest.approx(near_log["value"] + offset, rel=1e-14, abs=1e-8)
    assert log["status"] == 0


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (7, 5)])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_forbidden_arcs(shape, share, rng):
    for _ in range(5):
        a, b = weights(rng, shape[0]), weights(rng, shape[1])
        a[0] += 2
        b[0] += 2
        a, b, M = a / a.sum(), b / b.sum(), rng.random(shape)
        shut = rng.random(shape) < share
        shut[0] = shut[:, 0] = False
        M[shut] = INF
        plan, log = answer(a, b, M, 0.1, tol=1e-12)
        exact = reference.solve(a, b, M, 0.1, digits=50)
        np.testing.assert_allclose(plan, exact.plan, rtol=0, atol=1e-10)
        np.testing.assert_allclose(log["u"], exact.u, rtol=0, atol=1e-8)
        assert kx.sinkhorn2(a, b, M, 0.1, tol=1e-12) == pytest.approx(exact.cost, abs=1e-10)


def test_forbidden_arcs_that_force_others_to_stay_empty():
    # Only the diagonal fits, so the potentials run away, and the error falls as slowly as 1 / n_iter.
    plan, log = answer([0.5, 0.5], [0.5, 0.5], [[0.0, INF], [0.0, 0.0]], 0.5, tol=1e-2)
    assert log["status"] == 0
    np.testing.assert_allclose(plan, [[0.5, 0.0], [0.0, 0.5]], rtol=0, atol=1e-2)
    plan, log = answer([0.5, 0.5], [0.5, 0.5], [[0.0, INF], [0.0, 0.0]], 0.5, max_iter=100, tol=1e-15)
    np.testing.assert_allclose(plan, [[0.5, 0.0], [0.0, 0.5]], rtol=0, atol=0.1)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("a", "b", "M"),
    [
        ([0.5, 0.5], [0.5, 0.5], [[INF, INF], [INF, INF]]),
        ([0.5, 0.5], [0.5, 0.5], [[1.0, INF], [1.0, INF]]),
        ([0.5, 0.5], [0.3, 0.7], [[1.0, INF], [INF, 1.0]]),
        ([0.6, 0.4], [0.5, 0.3, 0.2], [[INF, 1.0, 1.0], [1.0, 1.0, 1.0]]),
        ([0.0, 1.0], [0.5, 0.5], [[1.0, 1.0], [INF, 1.0]]),
    ],
)
def test_infeasible(method, a, b, M):
    for call in (kx.sinkhorn, kx.sinkhorn2):
        with pytest.raises(kx.KexueValueError, match="no plan is feasible"):
            call(a, b, M, 0.1, method=method)


def test_the_infeasible_problem_of_a_batch_is_named():
    M = np.ones((2, 3, 2, 2))
    M[1, 0] = [[INF, INF], [1.0, 1.0]]
    with pytest.raises(kx.KexueValueError, match=r"problem 1, 0 of the batch"):
        kx.sinkhorn2(None, None, M, 0.1)


@pytest.mark.parametrize("factor", [1e-200, 1e-9, 1e9, 1e200])
def test_scale_of_the_masses(factor, rng):
    a, b, M, reg = weights(rng, 6), weights(rng, 7), rng.random((6, 7)), 0.05
    plan, log = answer(a, b, M, reg, tol=1e-12)
    scaled, scaled_log = answer(factor * a, factor * b, M, reg, tol=1e-12)
    np.testing.assert_allclose(scaled / factor, plan, rtol=1e-9, atol=0)
    assert scaled_log["cost"] / factor == pytest.approx(log["cost"], rel=1e-11)
    # outer(a, b) grows by the square of the factor, the plan by the factor.
    shift = reg * np.log(factor)
    np.testing.assert_allclose(scaled_log["u"], log["u"] - shift / 2, rtol=0, atol=1e-8)
    np.testing.assert_allclose(scaled_log["v"], log["v"] - shift / 2, rtol=0, atol=1e-8)
    assert scaled_log["value"] / factor == pytest.approx(log["value"] - shift, rel=1e-11)


@pytest.mark.parametrize("factor", [1e-200, 1e-9, 1e9, 1e200])
@pytest.mark.parametrize("method", METHODS)
def test_scale_of_the_costs(factor, method, rng):
    a, b, M, reg = weights(rng, 6), weights(rng, 7), rng.random((6, 7)), 0.05
    plan, log = answer(a, b, M, reg, method=method, tol=1e-12)
    scaled, scaled_log = answer(a, b, factor * M, factor * reg, method=method, tol=1e-12)
    np.testing.assert_allclose(scaled, plan, rtol=0, atol=1e-11)
    np.testing.assert_allclose(scaled_log["u"] / factor, log["u"], rtol=0, atol=1e-8)
    assert scaled_log["value"] / factor == pytest.approx(log["value"], abs=1e-11)
    assert scaled_log["cost"] / factor == pytest.approx(log["cost"], abs=1e-11)


def test_unreachable_tolerance_ends(rng):
    a, b, M = weights(rng, 8), weights(rng, 9), rng.random((8, 9))
    for method, acceleration in product(METHODS, ACCELERATIONS):
        with pytest.warns(kx.ConvergenceWarning):
            plan, log = kx.sinkhorn(a, b, M, 0.05, tol=1e-20, method=method, acceleration=acceleration, log=True)
        assert log["status"] == 1 and 1e-20 < log["error"] < 1e-9
        np.testing.assert_allclose(plan, reference.solve(a, b, M, 0.05).plan, rtol=0, atol=1e-9)


def test_transposed_problem(rng):
    a, b, M = weights(rng, 8), weights(rng, 13), rng.random((8, 13))
    plan, log = answer(a, b, M, 0.05, tol=1e-12)
    other, other_log = answer(b, a, M.T, 0.05, tol=1e-12)
    np.testing.assert_allclose(other.T, plan, rtol=0, atol=1e-10)
    np.testing.assert_allclose(other_log["u"], log["v"], rtol=0, atol=1e-8)
    assert other_log["value"] == pytest.approx(log["value"], abs=1e-11)


@pytest.mark.parametrize("method", METHODS)
def test_symmetric_problem_has_symmetric_potentials(method, rng):
    x = rng.normal(size=(15, 2))
    a = weights(rng, 15)
    plan, log = answer(a, a, squares(x, x), 0.5, method=method, tol=1e-12)
    np.testing.assert_allclose(log["u"], log["v"], rtol=0, atol=1e-8)
    np.testing.assert_allclose(plan, plan.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("reg", [0.3, 0.03, 1e-3])
def test_between_exact_transport_and_the_product(reg, rng):
    a, b, M = weights(rng, 12), weights(rng, 15), rng.random((12, 15))
    result, exact = kx.solve(M, a, b, reg), kx.emd(a, b, M)
    cost = kx.emd2(a, b, M)
    assert cost - 1e-8 <= result.value_linear <= a @ M @ b + 1e-8
    assert result.value_linear - 1e-8 <= result.value <= reference.primal(exact, a, b, M, reg) + 1e-8
    product_plan = kx.sinkhorn(a, b, M, 1e9)
    np.testing.assert_allclose(product_plan, np.outer(a, b), rtol=1e-8)


# ---- batches, layouts, dtypes ----


@pytest.mark.parametrize("shape", [(1, 1), (4, 6), (9, 9), (30, 30), (120, 90)])
@pytest.mark.parametrize("method", METHODS)
def test_batch_equals_single_problems_to_the_bit(shape, method, dtype, rng):
    m, n = shape
    a, b = weights(rng, 3, 1, m).astype(dtype), weights(rng, 4, n).astype(dtype)
    M, reg = rng.random((2, 1, 1, m, n)).astype(dtype), np.array([0.05, 0.3, 1.0, 20.0])
    plans, log = kx.sinkhorn(a, b, M, reg, method=method, log=True)
    costs, result = kx.sinkhorn2(a, b, M, reg, method=method), kx.solve(M, a, b, reg, method=method)
    assert costs.shape == (2, 3, 4) and costs.dtype == log["value"].dtype == dtype
    assert plans.shape == (2, 3, 4, m, n) and plans.dtype == dtype
    assert log["u"].shape == (2, 3, 4, m) and log["v"].shape == (2, 3, 4, n)
    np.testing.assert_array_equal(result.plan, plans)
    for i, j, k in product(range(2), range(3), range(4)):
        plan, single = kx.sinkhorn(a[j, 0], b[k], M[i, 0, 0], reg[k], method=method, log=True)
        np.testing.assert_array_equal(plans[i, j, k], plan)
        assert costs[i, j, k] == kx.sinkhorn2(a[j, 0], b[k], M[i, 0, 0], reg[k], method=method)
        for name in log:
            np.testing.assert_array_equal(log[name][i, j, k], single[name])


@pytest.mark.parametrize("acceleration", ACCELERATIONS)
@pytest.mark.parametrize("epsilon_scaling", [True, False])
def test_options_in_a_batch_to_the_bit(acceleration, epsilon_scaling, rng):
    # Easy and slow problems, zero weights and forbidden arcs take turns in one worker's memory.
    a, b, M = weights(rng, 11, 8), weights(rng, 11, 9), rng.random((11, 8, 9)) * 10.0 ** rng.uniform(-2, 1, (11, 1, 1))
    a[::3, 2], b[1::3, 4] = 0, 0
    a, b = a / a.sum(axis=1, keepdims=True), b / b.sum(axis=1, keepdims=True)
    M[::4, 5, 5] = INF
    options = {"acceleration": acceleration, "epsilon_scaling": epsilon_scaling, "log": True}
    plans, log = kx.sinkhorn(a, b, M, 0.2, **options)
    for k in range(11):
        plan, single = kx.sinkhorn(a[k], b[k], M[k], 0.2, **options)
        np.testing.assert_array_equal(plans[k], plan)
        for name in log:
            np.testing.assert_array_equal(log[name][k], single[name])


@pytest.mark.parametrize("count", [1, 2, 7, 64, 200])
@pytest.mark.parametrize("method", METHODS)
def test_workers_give_the_same_bits(workers, count, method, rng):
    a, b, M = weights(rng, count, 12), weights(rng, 15), rng.random((count, 12, 15))
    (serial, serial_log), (parallel, parallel_log) = (
        kx.sinkhorn(a, b, M, 0.1, method=method, log=True, workers=w) for w in (1, workers)
    )
    np.testing.assert_array_equal(serial, parallel)
    for name in serial_log:
        np.testing.assert_array_equal(serial_log[name], parallel_log[name])
    np.testing.assert_array_equal(kx.sinkhorn2(a, b, M, 0.1, method=method, workers=workers), serial_log["cost"])


@pytest.mark.parametrize("method", METHODS)
def test_workers_within_one_problem_give_the_same_bits(workers, method, rng):
    x, y = rng.random((900, 2)), rng.random((700, 2))
    a, b, M = weights(rng, 900), weights(rng, 700), squares(x, y)
    a[::50] = 0
    a /= a.sum()
    for costs in (M, M.astype(np.float32)):
        serial, parallel = (kx.solve(costs, a, b, 0.2, method=method, tol=1e-4, workers=w) for w in (1, workers))
        np.testing.assert_array_equal(serial.plan, parallel.plan)
        np.testing.assert_array_equal(serial.potentials[0], parallel.potentials[0])
        assert (serial.value, serial.value_linear, serial.n_iter) == (
            parallel.value,
            parallel.value_linear,
            parallel.n_iter,
        )
    assert reference.marginal_error(serial.plan, a, b) <= 1e-4 + 1e-12


@pytest.mark.parametrize("round_plan", [False, True])
def test_targets_as_columns(round_plan, dtype, rng):
    a, b = weights(rng, 5).astype(dtype), weights(rng, 3, 6).astype(dtype)
    M = rng.random((5, 6)).astype(dtype)
    plans, log = kx.sinkhorn(a, b.T, M, 0.1, round_plan=round_plan, log=True)
    costs = kx.sinkhorn2(a, b.T, M, 0.1)
    assert plans.shape == (3, 5, 6) and costs.shape == log["status"].shape == (3,) and log["u"].shape == (3, 5)
    for k in range(3):
        np.testing.assert_array_equal(plans[k], kx.sinkhorn(a, b[k], M, 0.1, round_plan=round_plan))
        assert costs[k] == kx.sinkhorn2(a, b[k], M, 0.1)
    np.testing.assert_array_equal(kx.sinkhorn2(None, b.T, M, 0.1), kx.sinkhorn2(None, b, M, 0.1))
    np.testing.assert_array_equal(kx.sinkhorn2(a, b.T, M, [0.1, 1.0, 0.2])[1], kx.sinkhorn2(a, b[1], M, 1.0))


def test_square_targets_are_rows(rng):
    a, b, M = weights(rng, 5), weights(rng, 6, 6), rng.random((5, 6))
    np.testing.assert_array_equal(kx.sinkhorn2(a, b, M, 0.1), [kx.sinkhorn2(a, row, M, 0.1) for row in b])


def test_reg_broadcasts(rng):
    a, b, M = weights(rng, 3, 5), weights(rng, 6), rng.random((5, 6))
    regs = np.array([[0.05], [0.5]])
    plans, costs = kx.sinkhorn(a, b, M, regs), kx.sinkhorn2(a, b, M, regs)
    assert plans.shape == (2, 3, 5, 6) and costs.shape == (2, 3)
    for i, j in product(range(2), range(3)):
        np.testing.assert_array_equal(plans[i, j], kx.sinkhorn(a[j], b, M, float(regs[i, 0])))
    assert kx.sinkhorn2(a[0], b, M, np.float32(0.5)) == kx.sinkhorn2(a[0], b, M, 0.5)
    assert kx.sinkhorn2(a[0], b, M, [0.5]).shape == (1,)
    assert kx.sinkhorn2(a[0], b, M, 1) == kx.sinkhorn2(a[0], b, M, 1.0)


def test_layouts(layout, dtype, untouched, rng):
    a, b = weights(rng, 2, 6).astype(dtype), weights(rng, 7).astype(dtype)
    M, reg = rng.random((2, 6, 7)).astype(dtype), np.array([0.1, 0.5])
    expected, log = kx.sinkhorn(a, b, M, reg, log=True)
    start = log["u"], log["v"]
    warm = kx.sinkhorn(a, b, M, reg / 2, warmstart=start)
    a, b, M, reg, u, v = (layout(array) for array in (a, b, M, reg, *start))
    with untouched(a, b, M, reg, u, v):
        plans, costs, result = kx.sinkhorn(a, b, M, reg), kx.sinkhorn2(a, b, M, reg), kx.solve(M, a, b, reg)
        one, from_start = kx.sinkhorn2(a[1], b, M[1], reg[1]), kx.sinkhorn(a, b, M, reg / 2, warmstart=(u, v))
        transposed = kx.sinkhorn(b, a, M.swapaxes(-1, -2), reg)
    np.testing.assert_array_equal(plans, expected)
    np.testing.assert_array_equal(costs, log["cost"])
    np.testing.assert_array_equal(result.plan, expected)
    np.testing.assert_array_equal(from_start, warm)
    np.testing.assert_allclose(transposed.swapaxes(-1, -2), expected, rtol=0, atol=1e-6)
    assert one == log["cost"][1]


def test_dtypes(rng):
    M = rng.integers(0, 9, size=(3, 4))
    exact = kx.sinkhorn2(None, None, M.astype(float), 2)
    assert isinstance(exact, float)
    for other in (M, M.tolist(), M.astype(np.uint8), M.astype(">i4"), M.astype(np.longdouble)):
        assert kx.sinkhorn2(None, None, other, 2) == exact
    for small in (np.float32, np.float16):
        cost = kx.sinkhorn2(None, None, M.astype(small), 2)
        assert cost.dtype == np.float32 and cost == np.float32(exact)
        plan, log = kx.sinkhorn(None, None, M.astype(small), 2, log=True)
        assert plan.dtype == log["u"].dtype == log["v"].dtype == log["value"].dtype == np.float32
    a = np.array([1.0, 2.0, 1.0])
    assert kx.sinkhorn2(a.astype(int), [1, 1, 1, 1], M, 2) == kx.sinkhorn2(a, [1.0] * 4, M, 2)
    assert kx.sinkhorn(a, [1, 1, 1, 1], M, 2).dtype == np.float64
    assert kx.sinkhorn2(a, [1, 1, 1, 1], M.astype(np.float32), 2) == kx.sinkhorn2(a, [1.0] * 4, M.astype(float), 2)


def test_float32_costs_are_solved_as_float64(rng):
    a, b, M = weights(rng, 6), weights(rng, 7), rng.random((6, 7)).astype(np.float32)
    for method in METHODS:
        plan, log = kx.sinkhorn(a, b, M, 0.1, method=method, log=True)
        wide, wide_log = kx.sinkhorn(a, b, M.astype(float), 0.1, method=method, log=True)
        np.testing.assert_array_equal(plan, wide)
        np.testing.assert_array_equal(log["u"], wide_log["u"])
        assert (log["cost"], log["value"], log["error"]) == (
            wide_log["cost"],
            wide_log["value"],
            wide_log["error"],
        )


def test_no_weights_are_uniform(rng):
    M = rng.random((5, 4, 6))
    a, b = np.full(4, 1 / 4), np.full(6, 1 / 6)
    for none in (None, [], (), np.array([])):
        np.testing.assert_array_equal(kx.sinkhorn(none, none, M, 0.1), kx.sinkhorn(a, b, M, 0.1))
        np.testing.assert_array_equal(kx.sinkhorn2(a, none, M, 0.1), kx.sinkhorn2(none, b, M, 0.1))


@pytest.mark.parametrize("batch", [(0,), (2, 0), (0, 3)])
def test_empty_batch(batch):
    M = np.zeros((*batch, 3, 4))
    assert kx.sinkhorn2(None, None, M, 0.1).shape == batch
    assert kx.sinkhorn(None, None, M, 0.1).shape == M.shape
    assert kx.sinkhorn2(np.zeros((*batch, 3)), np.ones(4), np.zeros((3, 4)), 0.1).shape == batch
    result = kx.solve(M, reg=0.1)
    assert result.plan.shape == M.shape and result.sparse_plan.shape == batch and result.gap.shape == batch


def test_float32_weights_that_do_not_sum_exactly(rng):
    a, b = weights(rng, 960).astype(np.float32), weights(rng, 5).astype(np.float32)
    b *= np.float32(1 + 3e-7)
    M = rng.random((960, 5)).astype(np.float32)
    plan = kx.sinkhorn(a, b, M, 0.1)
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=1e-5)
    with pytest.raises(kx.KexueValueError, match="sums to"):
        kx.sinkhorn(a.astype(float), b.astype(float), M, 0.1)


# ---- ragged batches ----


def ragged_weights(rng, count, vocabulary, longest):
    dense = np.zeros((count, vocabulary))
    for row in dense:
        words = rng.permutation(vocabulary)[: rng.integers(1, longest + 1)]
        row[words] = weights(rng, len(words))
    return dense


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csr_matrix])
def test_csr_equals_single_problems_to_the_bit(form, method, dtype, rng):
    A, B = ragged_weights(rng, 25, 14, 9).astype(dtype), ragged_weights(rng, 25, 11, 11).astype(dtype)
    M = rng.random((14, 11)).astype(dtype)
    a, b = form(A), form(B)
    costs, log = kx.sinkhorn2(a, b, M, 0.1, method=method, log=True)
    plans, plan_log = kx.sinkhorn(a, b, M, 0.1, method=method, log=True)
    assert costs.shape == (25,) and costs.dtype == dtype and len(plans) == 25
    np.testing.assert_array_equal(costs, plan_log["cost"])
    np.testing.assert_array_equal(kx.sinkhorn2(a, b, M, 0.1, method=method), costs)
    for k in range(25):
        rows, columns = np.flatnonzero(A[k]), np.flatnonzero(B[k])
        single = A[k, rows], B[k, columns], M[np.ix_(rows, columns)]
        plan, one = kx.sinkhorn(*single, 0.1, method=method, log=True)
        assert plans[k].dtype == dtype
        np.testing.assert_array_equal(plans[k], plan)
        for name in log:
            np.testing.assert_array_equal(log[name][k], one[name])
            np.testing.assert_array_equal(plan_log[name][k], one[name])
    np.testing.assert_allclose(kx.sinkhorn2(A, B, M, 0.1), costs, rtol=0, atol=1e-6 if dtype == np.float32 else 1e-9)


def test_csr_in_any_form(rng, workers):
    A, B, M = ragged_weights(rng, 30, 10, 6), ragged_weights(rng, 30, 8, 5), rng.random((10, 8))
    reg = rng.uniform(0.05, 1, size=30)
    expected = kx.sinkhorn2(sparse.csr_array(A), sparse.csr_array(B), M, reg, workers=1)
    with_zeros = sparse.csr_array(A)
    with_zeros = sparse.csr_array(
        (np.insert(with_zeros.data, 0, 0.0), np.insert(with_zeros.indices, 0, np.flatnonzero(A[0] == 0)[0]),
         with_zeros.indptr + (np.arange(31) > 0)), shape=A.shape
    )  # fmt: skip
    before = with_zeros.copy()
    wide = sparse.csr_array(B)
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    for a, b in ((with_zeros, wide), (sparse.csr_array(A), sparse.csr_array(B)), (sparse.csr_array(A), wide)):
        np.testing.assert_array_equal(kx.sinkhorn2(a, b, M, reg, workers=workers), expected)
        np.testing.assert_array_equal(kx.sinkhorn2(a, b, np.asfortranarray(M), reg, workers=workers), expected)
    assert (with_zeros.indices == before.indices).all() and (with_zeros.data == before.data).all()
    assert kx.sinkhorn2(sparse.csr_array((0, 10)), sparse.csr_array((0, 8)), M, 0.1).shape == (0,)
    assert kx.sinkhorn(sparse.csr_array((0, 10)), sparse.csr_array((0, 8)), M, 0.1) == []


def test_lists_equal_single_problems_to_the_bit(workers, dtype, rng):
    sizes = [(3, 4), (1, 1), (7, 2), (30, 25), (5, 5), (1, 6)]
    a, b = [weights(rng, m).astype(dtype) for m, _ in sizes], [weights(rng, n).astype(dtype) for _, n in sizes]
    M, reg = [rng.random(size).astype(dtype) for size in sizes], rng.uniform(0.1, 1, size=len(sizes))
    plans, log = kx.sinkhorn(a, b, M, reg, log=True, workers=workers)
    costs = kx.sinkhorn2(a, b, M, reg, workers=workers)
    rounded = kx.sinkhorn(a, b, M, reg, round_plan=True, workers=workers)
    assert isinstance(plans, list) and costs.shape == log["status"].shape == (6,) and costs.dtype == dtype
    for k, size in enumerate(sizes):
        plan, one = kx.sinkhorn(a[k], b[k], M[k], reg[k], log=True)
        assert plans[k].shape == size and plans[k].dtype == dtype
        np.testing.assert_array_equal(plans[k], plan)
        np.testing.assert_array_equal(rounded[k], kx.sinkhorn(a[k], b[k], M[k], reg[k], round_plan=True))
        assert costs[k] == one["cost"]
        for name in log:
            np.testing.assert_array_equal(log[name][k], one[name])


def test_lists_in_any_layout(layout, rng):
    sizes = [(3, 4), (6, 2)]
    a, b, M = [weights(rng, 3), weights(rng, 6)], [weights(rng, 4), weights(rng, 2)], [rng.random(s) for s in sizes]
    expected = kx.sinkhorn2(a, b, M, 0.1)
    a, b, M = ([layout(array) for array in arrays] for arrays in (a, b, M))
    np.testing.assert_array_equal(kx.sinkhorn2(a, b, M, 0.1), expected)


def test_lists_of_equal_sizes_give_the_same_numbers(rng):
    a, b, M = weights(rng, 3, 5), weights(rng, 3, 6), rng.random((3, 5, 6))
    np.testing.assert_array_equal(kx.sinkhorn2(list(a), list(b), list(M), 0.1), kx.sinkhorn2(a, b, M, 0.1))
    np.testing.assert_array_equal(
        np.stack(list(kx.sinkhorn(list(a), list(b), list(M), 0.1))), kx.sinkhorn(a, b, M, 0.1)
    )


def test_ragged_problems_that_stop(rng):
    sizes = [(3, 4), (1, 1), (7, 9)]
    a, b = [weights(rng, m) for m, _ in sizes], [weights(rng, n) for _, n in sizes]
    M = [rng.random(size) for size in sizes]
    with pytest.warns(kx.ConvergenceWarning, match="2 of 3"):
        _, log = kx.sinkhorn(a, b, M, 0.02, max_iter=2, log=True)
    np.testing.assert_array_equal(log["status"], [1, 0, 1])


def csr(*rows):
    return sparse.csr_array(np.array(rows, dtype=float))


@pytest.mark.parametrize(
    ("a", "b", "M", "message"),
    [
        (csr([1, 0], [NAN, 1]), csr([1, 0], [0, 1]), np.ones((2, 2)), r"\ba\[1, 0\] is not finite"),
        (csr([1, 0], [0, 1]), csr([1, 0], [2, -1]), np.ones((2, 2)), r"\bb\b.* negative"),
        (csr([1, 0], [0, 1]), csr([1, 0], [0, 1]), [[1.0, 2.0], [0.0, NAN]], r"M\[1, 1\] is nan"),
        (csr([1, 0], [0, 0]), csr([1, 0], [0, 1]), np.ones((2, 2)), r"a\[1\] is empty"),
        (csr([1, 0], [0, 1]), csr([1, 0], [0, 2]), np.ones((2, 2)), r"sums to 1.0 and b to 2.0 \(problem 1 "),
        (csr([1, 0], [0, 1]), csr([1, 0]), np.ones((2, 2)), r"\bb\b"),
        (csr([1, 0], [0, 1]), csr([1, 0], [0, 1]), np.ones((3, 2)), r"\bM\b"),
        (csr([1, 0], [0, 1]), csr([1, 0], [0, 1]), [[1.0, 1.0], [1.0, INF]], r"feasible \(problem 1 "),
        ([np.ones(1), np.ones(2)], [np.ones(1)], [np.ones((1, 1)), np.ones((2, 2))], r"\bb\b"),
        ([np.ones(1), np.ones(3)], [np.ones(1), np.ones(3)], [np.ones((1, 1)), np.ones((2, 3))], r"\b3\b.*\b2\b"),
        ([np.ones(1), np.array([0.5, NAN])], [np.ones(1), np.ones(1)], [np.ones((1, 1)), np.ones((2, 1))], " nan"),
        ([np.ones(1), np.ones(2) / 2], [np.ones(1)] * 2, [np.ones((1, 1)), [[1.0], [NAN]]], r"\[1, 0\] is nan"),
    ],
)
def test_bad_ragged_input(a, b, M, message):
    for call in (kx.sinkhorn, kx.sinkhorn2):
        with pytest.raises(kx.KexueValueError, match=message):
            call(a, b, [np.asarray(costs) for costs in M] if isinstance(a, list) else M, 0.1)


@pytest.mark.parametrize("form", ["sparse", "lists"])
def test_ragged_problems_that_the_totals_make_infeasible(form):
    a, b, M = [0.9, 0.1], [0.5, 0.5], np.array([[1.0, INF], [1.0, 1.0]])
    problems = (csr(b, a), csr(b, b), M) if form == "sparse" else ([b, a], [b, b], [M, M])
    with pytest.raises(kx.KexueValueError, match="no plan is feasible"):
        kx.sinkhorn2(*problems, 0.1, max_iter=50)


# ---- warm start ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_warm_start_from_the_solution(method, acceleration, rng):
    a, b, M, reg = slow_problem(rng)
    options = {"method": method, "acceleration": acceleration}
    plan, log = answer(a, b, M, reg, **options)
    again, warm = answer(a, b, M, reg, warmstart=(log["u"], log["v"]), **options)
    assert warm["n_iter"] <= 5 < log["n_iter"]
    np.testing.assert_allclose(again, plan, rtol=0, atol=1e-9)
    shifted = answer(a, b, M, reg, warmstart=(log["u"] + 0.75, log["v"] - 0.25), **options)[1]
    assert shifted["n_iter"] <= 5
    near = answer(a, b, M + 1e-4 * rng.random(M.shape), reg, warmstart=(log["u"], log["v"]), **options)[1]
    assert near["n_iter"] < log["n_iter"]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [1e2, 1e6, 1e12, 1e300])
def test_warm_start_from_anything(method, size, rng):
    a, b, M = weights(rng, 9), weights(rng, 8), rng.random((9, 8))
    exact = reference.solve(a, b, M, 0.1)
    for start in (
        (size * rng.normal(size=9), size * rng.normal(size=8)),
        (np.full(9, size), np.full(8, size)),
        (np.zeros(9), size * np.eye(8)[3]),
        (np.zeros(9), -size * np.eye(8)[3]),
    ):
        plan, log = answer(a, b, M, 0.1, method=method, tol=1e-11, warmstart=start)
        assert log["status"] == 0
        np.testing.assert_allclose(plan, exact.plan, rtol=0, atol=1e-9)


def test_warm_starts_broadcast(rng):
    a, b, M = weights(rng, 3, 6), weights(rng, 7), rng.random((6, 7))
    u, v = rng.normal(size=(2, 1, 6)), rng.normal(size=7)
    plans = kx.sinkhorn(a, b, M, np.full((2, 3), 0.1), warmstart=(u, v))
    for i, j in product(range(2), range(3)):
        np.testing.assert_array_equal(plans[i, j], kx.sinkhorn(a[j], b, M, 0.1, warmstart=(u[i, 0], v)))
    result = kx.solve(M, a, b, 0.1)
    assert (kx.solve(M, a, b, 0.1, warmstart=result.potentials).n_iter <= 5).all()


def test_warm_start_without_mass(rng):
    a, b, M = np.array([0.0, 0.3, 0.7]), np.array([0.5, 0.0, 0.5]), rng.random((3, 3))
    plan, log = answer(a, b, M, 0.1)
    again, warm = answer(a, b, M, 0.1, warmstart=(log["u"], log["v"]))
    np.testing.assert_allclose(again, plan, rtol=0, atol=1e-9)
    assert warm["n_iter"] <= 5


@pytest.mark.parametrize(
    "warmstart",
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros(2), np.zeros(2)),
        (np.array([0.0, NAN]), np.zeros(3)),
        (np.zeros((3, 2)), np.zeros((2, 3))),
        (np.zeros(2),),
        0.0,
    ],
)
def test_bad_warm_start(warmstart):
    with pytest.raises((kx.KexueValueError, TypeError), match="warmstart"):
        kx.sinkhorn(None, None, np.ones((2, 3)), 0.1, warmstart=warmstart)


# ---- rounding ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("max_iter", [1, 3, 10_000])
def test_rounded_plans_are_feasible(method, max_iter, rng):
    a, b, M, reg = slow_problem(rng)
    a[:3], b[7] = 0, 0
    a, b = a / a.sum(), b / b.sum()
    with kx.errstate(convergence="ignore"):
        options = {"method": method, "max_iter": max_iter, "log": True}
        plan, log = kx.sinkhorn(a, b, M, reg, round_plan=True, **options)
        raw, raw_log = kx.sinkhorn(a, b, M, reg, **options)
    assert plan.min() >= 0
    assert np.abs(plan.sum(axis=1) - a).sum() <= 1e-14 and np.abs(plan.sum(axis=0) - b).sum() <= 1e-14
    assert not plan[a == 0].any() and not plan[:, b == 0].any()
    np.testing.assert_allclose(plan, reference.round_plan(raw, a, b), rtol=0, atol=1e-14)
    assert log["cost"] == pytest.approx((plan * M).sum(), rel=1e-13)
    assert log["cost"] >= kx.emd2(a, b, M) - 1e-14
    np.testing.assert_array_equal(log["u"], raw_log["u"])
    assert (log["error"], log["status"]) == (raw_log["error"], raw_log["status"])


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 1), (5, 6)])
def test_rounded_plans_of_float32(shape, rng):
    a, b = weights(rng, shape[0]).astype(np.float32), weights(rng, shape[1]).astype(np.float32)
    plan = kx.sinkhorn(a, b, rng.random(shape).astype(np.float32), 0.1, round_plan=True)
    assert plan.dtype == np.float32 and plan.min() >= 0
    np.testing.assert_allclose(plan.sum(axis=1), a, rtol=1e-6)


@pytest.mark.parametrize("total", [1e-200, 1e200])
def test_rounded_plans_of_any_total(total, rng):
    a, b = weights(rng, 5), weights(rng, 6)
    plan = kx.sinkhorn(total * a, total * b, rng.random((5, 6)), 0.1, round_plan=True) / total
    assert np.abs(plan.sum(axis=1) - a).sum() <= 1e-14 and np.abs(plan.sum(axis=0) - b).sum() <= 1e-14


@pytest.mark.parametrize(
    "call", [kx.sinkhorn, lambda a, b, M, *rest, **options: kx.sinkhorn([a], [b], [M], *rest, **options)]
)
def test_rounding_minds_no_forbidden_arcs(call):
    with pytest.raises(kx.KexueValueError, match="round_plan.* M "):
        call(np.full(2, 0.5), np.full(2, 0.5), np.array([[0.0, INF], [1.0, 0.0]]), 0.1, round_plan=True)


# ---- the result ----


def test_transport_result(rng):
    a, b, M = weights(rng, 4), weights(rng, 5), rng.random((4, 5))
    result = kx.solve(M, a, b, 0.1)
    plan, log = kx.sinkhorn(a, b, M, 0.1, log=True)
    assert isinstance(result, kx.TransportResult)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.value = 0
    for name in ("value", "value_linear", "gap", "error"):
        assert isinstance(getattr(result, name), float)
    assert isinstance(result.status, int) and isinstance(result.n_iter, int)
    assert (result.value, result.value_linear) == (log["value"], log["cost"])
    assert (result.error, result.n_iter, result.status) == (log["error"], log["n_iter"], 0)
    assert abs(result.gap) <= 1e-9 * np.ptp(M)
    np.testing.assert_array_equal(result.plan, plan)
    np.testing.assert_array_equal(result.sparse_plan.toarray(), plan)
    np.testing.assert_array_equal(result.potentials[0], log["u"])
    np.testing.assert_array_equal(result.potentials[1], log["v"])
    result.plan[...] = -1
    np.testing.assert_array_equal(result.plan, plan)
    assert result.value == pytest.approx(reference.primal(plan, a, b, M, 0.1), abs=1e-8)
    batch = kx.solve(rng.random((2, 3, 4, 5)), reg=0.1)
    assert batch.sparse_plan.shape == (2, 3) and batch.sparse_plan[1, 2].shape == (4, 5)
    for original in (result, batch):
        copied = pickle.loads(pickle.dumps(original))
        np.testing.assert_array_equal(copied.plan, original.plan)
        np.testing.assert_array_equal(copied.value, original.value)


def test_log(rng):
    a, b, M = weights(rng, 4), weights(rng, 5), rng.random((4, 5))
    plan, log = kx.sinkhorn(a, b, M, 0.1, log=True)
    assert set(log) == {"cost", "value", "u", "v", "error", "n_iter", "status"}
    assert isinstance(log["n_iter"], int) and isinstance(log["status"], int) and isinstance(log["error"], float)
    cost, log2 = kx.sinkhorn2(a, b, M, 0.1, log=True)
    assert cost == log2["cost"] == log["cost"]
    for name in log:
        np.testing.assert_array_equal(log[name], log2[name])
    np.testing.assert_array_equal(plan, kx.sinkhorn(a, b, M, 0.1))


# ---- bad input ----

BAD = [
    ([0.5, NAN], [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, INF], [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [1.5, -0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [0.5, 0.5], [[0, 1], [NAN, 0]]),
    ([0.5, 0.5], [0.5, 0.5], [[0, -INF], [1, 0]]),
    ([0.0, 1.0], [0.5, 0.5], [[0, NAN], [1, 0]]),
    ([0.0, 1.0], [0.5, 0.5], [[-INF, 0], [1, 0]]),
    ([0.5, 0.5], [0.0, 1.0], [[NAN, 0], [1, 0]]),
    ([0.5, 0.5], [0.5, 0.6], [[0, 1], [1, 0]]),
    ([0.0, 0.0], [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [0.0, 0.0], [[0, 1], [1, 0]]),
    ([0.5, 0.5, 0.0], [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [1.0], [[0, 1], [1, 0]]),
    (0.5, [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [0.5, 0.5], [0, 1]),
    ([], [], [[]]),
    ([0.5, 0.5], [0.5, 0.5], [[0, 1], [1]]),
    (np.ones((2, 2)), np.ones((3, 2)), [[0, 1], [1, 0]]),
    ([0.5, 0.5], [0.5, 0.5], [[0, 1j], [1, 0]]),
    (["x", "y"], [0.5, 0.5], [[0, 1], [1, 0]]),
    ([0.5, 0.5], [0.5, 0.5], np.ma.masked_array(np.ones((2, 2)), np.eye(2))),
    (np.full((3, 2), 0.5), [[0.5, 0.5], [0.5, 0.5], [0.5, 0.7]], [[0, 1], [1, 0]]),
]


@pytest.mark.parametrize(("a", "b", "M"), BAD)
def test_bad_input_is_named_as_by_the_exact_solver(a, b, M):
    with pytest.raises((kx.KexueValueError, TypeError)) as exact:
        kx.emd(a, b, M)
    for call in (
        lambda: kx.sinkhorn(a, b, M, 0.1),
        lambda: kx.sinkhorn2(a, b, M, 0.1),
        lambda: kx.solve(M, a, b, 0.1),
    ):
        with pytest.raises(exact.type) as entropic:
            call()
        assert str(entropic.value) == str(exact.value)


@pytest.mark.parametrize("size", [3, 200])
@pytest.mark.parametrize("method", METHODS)
def test_nan_anywhere_is_found(size, method, rng):
    for i, j in [(0, 0), (size - 1, size - 1), (size // 2, 1), (0, size - 1)]:
        M = rng.random((size, size))
        M[i, j] = np.nan
        for costs in (M, M.astype(np.float32)):
            with pytest.raises(kx.KexueValueError, match=rf"M\[{i}, {j}\] is nan"):
                kx.sinkhorn2(None, None, costs, 0.1, method=method)


@pytest.mark.parametrize(
    ("reg", "message"),
    [
        (0, "reg.*emd"),
        (0.0, "reg.*emd"),
        (-0.0, "reg.*emd"),
        (-1.0, "reg.*emd"),
        (-INF, "reg.*emd"),
        (NAN, "reg"),
        (INF, "reg"),
        ([0.1, 0.0, 0.1], r"reg\[1\].*emd"),
        ([0.1, 0.1, NAN], r"reg\[2\]"),
        ([0.1, 0.1], "reg"),
    ],
)
def test_bad_reg(reg, message):
    M = np.ones((3, 2, 2))
    for call in (
        lambda: kx.sinkhorn(None, None, M, reg),
        lambda: kx.sinkhorn2(None, None, M, reg),
        lambda: kx.solve(M, reg=reg),
        lambda: kx.sinkhorn2([np.ones(1)] * 3, [np.ones(1)] * 3, [np.ones((1, 1))] * 3, reg),
    ):
        with pytest.raises(kx.KexueValueError, match=message):
            call()


def test_reg_that_is_no_number():
    for bad in ("x", 1j, ["x"]):
        with pytest.raises(TypeError, match="reg"):
            kx.sinkhorn(None, None, np.ones((2, 2)), bad)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"method": "fast"}, kx.KexueValueError, "method"),
        ({"acceleration": "fast"}, kx.KexueValueError, "acceleration"),
        ({"tol": -1e-9}, kx.KexueValueError, "tol"),
        ({"tol": NAN}, kx.KexueValueError, "tol"),
        ({"max_iter": 0}, kx.KexueValueError, "max_iter"),
        ({"max_iter": -1}, kx.KexueValueError, "max_iter"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer"),
        ({"max_iter": "7"}, TypeError, "max_iter must be an integer"),
        ({"workers": 0}, kx.KexueValueError, "workers"),
    ],
)
def test_bad_options(options, error, message):
    for call in (kx.sinkhorn, kx.sinkhorn2):
        with pytest.raises(error, match=message):
            call(None, None, np.ones((2, 2)), 0.1, **options)


@pytest.mark.parametrize("total", [1e-290, 1e-310, 1e300])
@pytest.mark.parametrize("cost", [1e-300, 1.0, 1e200, 1e300])
def test_extreme_numbers_are_right_or_an_error(total, cost):
    a, b = np.array([0.25, 0.75]) * total, np.array([0.75, 0.25]) * total
    expected = reference.solve([0.25, 0.75], [0.75, 0.25], np.array([[0.0, 1.0], [1.0, 0.0]]), 0.1).cost
    try:
        result = kx.sinkhorn2(a, b, [[0, cost], [cost, 0]], 0.1 * cost)
    except OverflowError:
        return
    # Where the result is subnormal it has fewer digits.
    assert result == pytest.approx(expected * cost * total, rel=1e-7, abs=1e-320)


# ---- max_iter ----


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_max_iter(method, acceleration, rng):
    a, b, M, reg = slow_problem(rng)
    options = {"method": method, "acceleration": acceleration, "max_iter": 3}
    with pytest.warns(kx.ConvergenceWarning, match=r"1 of 1 .*max_iter=3\b") as caught:
        plan, log = kx.sinkhorn(a, b, M, reg, log=True, **options)
    numbers = [float(text) for text in re.findall(r"\d\.?\d*(?:e[-+]?\d+)?", str(caught[0].message))]
    assert any(number == pytest.approx(log["error"], rel=0.1) for number in numbers)
    assert log["status"] == 1
    assert log["error"] == pytest.approx(reference.marginal_error(plan, a, b), rel=1e-6)
    with kx.errstate(convergence="raise"), pytest.raises(kx.ConvergenceWarning):
        kx.sinkhorn2(a, b, M, reg, **options)
    with kx.errstate(convergence="ignore"):
        assert kx.sinkhorn2(a, b, M, reg, **options) == log["cost"]
        assert kx.solve(M, a, b, reg, **options).status == 1


def test_max_iter_of_a_batch(rng):
    M = rng.random((5, 30, 30))
    M[2] = 1
    with pytest.warns(kx.ConvergenceWarning, match="4 of 5") as caught:
        result = kx.solve(M, reg=0.01, max_iter=4)
    np.testing.assert_array_equal(result.status, [1, 1, 0, 1, 1])
    assert result.error[2] <= 1e-9
    assert len(caught) == 1
    numbers = [float(text) for text in re.findall(r"\d\.?\d*(?:e[-+]?\d+)?", str(caught[0].message))]
    assert any(number == pytest.approx(result.error.max(), rel=0.1) for number in numbers)


@pytest.mark.parametrize("tol", [1e-2, 1e-5, 1e-9, 1e-12])
def test_tolerance(tol, rng):
    a, b, M, reg = slow_problem(rng)
    for acceleration in ACCELERATIONS:
        plan, log = answer(a, b, M, reg, tol=tol, acceleration=acceleration)
        assert log["status"] == 0
        assert reference.marginal_error(plan, a, b) <= tol * (1 + 1e-6) + 1e-13


# ---- gradients ----


def test_gradients(rng):
    a, b, M, reg = weights(rng, 5), weights(rng, 6), rng.random((5, 6)), 0.2
    step = 1e-4
    result = kx.solve(M, a, b, reg, tol=1e-13)

    def value(a, b, M):
        return kx.solve(M, a, b, reg, tol=1e-13).value

    for i, j in [(0, 0), (2, 5), (4, 1)]:
        change = np.zeros((5, 6))
        change[i, j] = step
        slope = (value(a, b, M + change) - value(a, b, M - change)) / (2 * step)
        assert slope == pytest.approx(result.plan[i, j], abs=1e-7)
    for side, (i, j) in product((0, 1), [(0, 1), (3, 4), (4, 0)]):
        change = step * np.diff(np.eye(5 + side)[[j, i]], axis=0)[0] * (a.min() if side == 0 else b.min())
        up, down = ((a + s * change, b) if side == 0 else (a, b + s * change) for s in (1, -1))
        slope = (value(*up, M) - value(*down, M)) / 2
        assert slope == pytest.approx(result.potentials[side] @ change, abs=1e-12)
        assert result.gradients[side] @ change == pytest.approx(slope, abs=1e-12)
    assert abs(result.gradients[0].sum()) < 1e-14 and abs(result.gradients[1].sum()) < 1e-14
    np.testing.assert_array_equal(result.gradients[2], result.plan)


# ---- memory, Ctrl-C ----


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


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cosine"])
def test_memory_of_the_divergence_of_samples(metric):
    ratio = run_python(
        """if True:
        import json, re, sys
        import numpy as np, kexue as kx
        n, metric = int(sys.argv[1]), sys.argv[2]
        rng = np.random.default_rng(0)
        X, Y = rng.normal(size=(2, n, 3))
        kx.sinkhorn_divergence(X[:100], Y[:100], 5.0, metric=metric, tol=1e-2)
        def peak():
            if sys.platform == "linux":  # ru_maxrss would start at its parent's peak
                with open("/proc/self/status") as file:
                    return int(re.search(r"VmHWM:\\s*(\\d+) kB", file.read())[1]) * 1024
            import resource
            unit = 1 if sys.platform == "darwin" else 1024
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
        before = peak()
        kx.sinkhorn_divergence(X, Y, 5.0, metric=metric, tol=1e-2)
        print(json.dumps((peak() - before) / (8 * n * n)))
        """,
        20_000 if LONG else 4200,  # kernels of up to 4096 x 4096 are kept
        metric,
    )
    assert ratio <= 0.25


@pytest.mark.parametrize(
    "call",
    [
        "kx.sinkhorn2(None, None, M, 0.01, tol=1e-20, max_iter=10**8)",
        "kx.sinkhorn(None, None, M, 0.01, method='log', tol=1e-20, max_iter=10**8)",
        "kx.sinkhorn2(None, None, many, 0.01, tol=1e-20, max_iter=10**4)",
        "kx.sinkhorn_divergence(x, y, 0.01, tol=1e-20, max_iter=10**8)",
    ],
)
def test_interrupt(call):
    report = run_python(
        """if True:
        import json, os, signal, threading, time
        import numpy as np, kexue as kx
        rng = np.random.default_rng(0)
        x, y = rng.random((2, 800, 2))
        M = ((x[:, None] - y) ** 2).sum(axis=-1)
        many = np.broadcast_to(M[:60, :50], (100_000, 60, 50))
        sent = []
        def interrupt():
            time.sleep(0.1)
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        error = latency = None
        thread.start()
        try:
            """
        + call
        + """
            thread.join()
        except BaseException as caught:
            error, latency = type(caught).__name__, time.perf_counter() - sent[0]
        thread.join()
        print(json.dumps([error, latency, kx.sinkhorn2([1.0], [1.0], [[2.0]], 1.0)]))
        """
    )
    assert report[0] == "KeyboardInterrupt"
    assert report[1] < 2
    assert report[2] == 2
