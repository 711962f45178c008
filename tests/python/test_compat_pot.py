"""kexue.compat.pot beside POT itself: the same calls, results, logs and warnings."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import warnings

import numpy as np
import ot
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from kexue.compat import pot
from kexue.compat.pot import InputError

M = np.random.default_rng(1).random((5, 7))
A = np.array([0.3, 0.1, 0.25, 0.15, 0.2])
B = np.array([0.05, 0.2, 0.15, 0.1, 0.25, 0.05, 0.2])
TARGETS = np.stack([B, B[::-1], np.full(7, 1 / 7)], axis=1)
ZEROS_A, ZEROS_B = np.array([0.0, 0.5, 0.0, 0.25, 0.25]), np.array([0.5, 0.0, 0.0, 0.125, 0.125, 0.25, 0.0])


def f32(array):
    return array.astype(np.float32)


INPUTS = {
    "float64": (A, B, M),
    "float32": (f32(A), f32(B), f32(M)),
    "float32 weights": (f32(A), f32(B), M),
    "float32 costs": (A, B, f32(M)),
    "lists": (A.tolist(), B.tolist(), M.tolist()),
    "lists and float32 costs": (A.tolist(), B.tolist(), f32(M)),
    "empty lists": ([], [], M),
    "empty lists and float32 costs": ([], [], f32(M)),
    "one empty list": (A, [], M),
    "other empty list": ([], B, M),
    "zeros": (ZEROS_A, ZEROS_B, M),
    "total 37": (37 * A, 37 * B, M),
    "integer costs": (A, B, np.arange(35).reshape(5, 7) ** 2 % 31),
    "negative costs": (A, B, M - 0.7),
    "Fortran order": (A, B, np.asfortranarray(M)),
    "1 x 1": ([1.0], [1.0], [[3.0]]),
}
EACH_INPUT = pytest.mark.parametrize("arguments", INPUTS.values(), ids=INPUTS)


def assert_alike(found, expected, tolerance=1e-12):
    """The same containers, types and shapes, and values that agree; of float32 to its precision."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_alike(found[key], value, tolerance)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_alike(one, other, tolerance)
    elif expected is None or isinstance(expected, str):
        assert found == expected
    elif scipy.sparse.issparse(expected):
        assert type(found) is type(expected)
        assert_alike(found.toarray(), expected.toarray(), tolerance)
    else:
        assert type(found) is type(expected)
        assert np.shape(found) == np.shape(expected)
        if isinstance(expected, (np.ndarray, np.generic)):
            assert found.dtype == expected.dtype
            tolerance = max(tolerance, 4 * np.finfo(expected.dtype).eps) if expected.dtype.kind == "f" else 0
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def assert_dual(log, a, b, costs):
    """Potentials are not unique, so: of POT's types, feasible, centred, and of the value of the plan."""
    u, v = log["u"], log["v"]
    a, b = (np.asarray(w if len(w) else np.full(n, 1 / n)) for w, n in zip((a, b), np.shape(costs), strict=True))
    scale = float(np.abs(costs).max() * a.sum() * 32 * np.finfo(u.dtype).eps)
    assert (u[:, None] + v - costs).max() <= scale
    assert a @ u == pytest.approx(b @ v, abs=scale)
    assert a @ u + b @ v == pytest.approx(log["cost"], abs=scale)


def tolerance_of(*arguments):
    """POT takes float32 numbers for uniform weights and for lists beside a float32 array."""
    return 1e-6 if any(getattr(array, "dtype", None) == np.float32 for array in arguments) else 1e-12


def without_potentials(log):
    return {key: value for key, value in log.items() if key not in ("u", "v")}


def quietly(function, *args, **kwargs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **kwargs)


def messages(function, *args, **kwargs):
    """The warnings of a call; all of them come from this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function(*args, **kwargs)
    assert all(warning.filename == __file__ for warning in caught)
    return [(warning.category, str(warning.message)) for warning in caught]


# ---- the surface ----


def test_names():
    functions = set(pot.__all__) - {"InputError", "OTResult"}
    assert functions == {name for name in functions if callable(getattr(ot, name))}
    assert len(functions) == 10


@pytest.mark.parametrize("name", sorted(set(pot.__all__) - {"InputError", "OTResult"}))
def test_signatures(name):
    found, expected = (inspect.signature(getattr(module, name)).parameters.values() for module in (pot, ot))
    assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in expected]


def test_pot_is_not_imported():
    code = "import sys; from kexue.compat import pot; pot.emd([], [], [[1.0]]); print('ot' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


# ---- exact transport ----


class TestEmd:
    @EACH_INPUT
    def test_is_pots(self, arguments):
        tolerance = tolerance_of(*arguments)
        assert_alike(pot.emd(*arguments), ot.emd(*arguments), tolerance)
        found, expected = (function(*arguments, log=True) for function in (pot.emd, ot.emd))
        assert list(found[1]) == list(expected[1])
        assert_alike(found[0], expected[0], tolerance)
        assert_alike(without_potentials(found[1]), without_potentials(expected[1]), tolerance)
        assert [found[1][key].dtype for key in "uv"] == [expected[1][key].dtype for key in "uv"]
        assert_dual(found[1], *arguments)

    @EACH_INPUT
    def test_cost_is_pots(self, arguments):
        tolerance = tolerance_of(*arguments)
        assert_alike(pot.emd2(*arguments), ot.emd2(*arguments), tolerance)
        for options in ({"log": True}, {"return_matrix": True}, {"log": True, "return_matrix": True}):
            found, expected = (function(*arguments, **options) for function in (pot.emd2, ot.emd2))
            assert type(found) is type(expected) is list
            assert list(found[1]) == list(expected[1])
            assert_alike(found[0], expected[0], tolerance)
            assert_alike(without_potentials(found[1]), without_potentials(expected[1]), tolerance)
            assert_dual(found[1], *arguments)

    @pytest.mark.parametrize("targets", [TARGETS, TARGETS[:, :1], TARGETS[:, :0], f32(TARGETS)], ids=lambda b: b.shape)
    def test_several_targets(self, targets):
        tolerance = tolerance_of(targets)
        assert_alike(pot.emd2(A, targets, M), ot.emd2(A, targets, M), tolerance)
        assert_alike(pot.emd2(A.tolist(), targets.tolist(), M), ot.emd2(A.tolist(), targets.tolist(), M))
        for options in ({"log": True}, {"return_matrix": True}):
            found, expected = (function(A, targets, M, **options) for function in (pot.emd2, ot.emd2))
            assert [one[0] for one in found] == pytest.approx([one[0] for one in expected])
            for one, other, target in zip(found, expected, targets.T, strict=True):
                assert_alike(without_potentials(one[1]), without_potentials(other[1]), tolerance)
                assert_dual(one[1], A, target / target.sum(dtype=np.float64), M)

    def test_integer_weights_give_no_integers(self):
        a, b = np.array([2, 1, 3, 1, 1]), np.array([1, 1, 1, 2, 1, 1, 1])
        plan, log = pot.emd(a, b, M, log=True)
        expected = quietly(ot.emd, a, b, M)
        assert plan.dtype == log["u"].dtype == np.float64
        np.testing.assert_array_equal(plan, expected)
        assert pot.emd2(a, b, M) == pytest.approx(quietly(ot.emd2, a, b, M))
        assert_dual(log, a, b, M)

    def test_lists_beside_integer_costs(self):
        # POT turns the weights into integers here, all 0.
        assert pot.emd2([0.5, 0.5], [0.25, 0.75], np.array([[0, 1], [1, 0]])) == 0.25

    def test_none_is_uniform(self):
        assert_alike(pot.emd(None, B, M), ot.emd(None, B, M))
        np.testing.assert_array_equal(pot.emd(None, None, M), pot.emd([], [], M))

    def test_marginals_that_are_not_checked(self):
        for b in 2 * B, 1e-3 * B:
            found, expected = (function(A, b, M, check_marginals=False) for function in (pot.emd, ot.emd))
            assert_alike(found, expected)
            assert_alike(pot.emd2(A, b, M, check_marginals=False), ot.emd2(A, b, M, check_marginals=False))

    def test_totals_that_nearly_agree(self):
        for factor in (1 + 1e-12, 1 + 1.4e-6, 1 - 1.4e-6):
            assert_alike(pot.emd(A, factor * B, M), ot.emd(A, factor * B, M))

    def test_hints_change_nothing(self):
        _, log = pot.emd(A, B, M, log=True)
        for hints in ({"potentials_init": (log["u"], log["v"])}, {"center_dual": False}):
            assert_alike(pot.emd(A, B, M, **hints), ot.emd(A, B, M, **hints))
            assert_alike(pot.emd2(A, B, M, **hints), ot.emd2(A, B, M, **hints))

    def test_forbidden_moves(self):
        costs = np.array([[np.inf, 1.0], [3.0, np.inf]])
        assert pot.emd2([0.5, 0.5], [0.5, 0.5], costs) == 2.0
        with pytest.raises(KexueValueError, match="no plan is feasible"):
            pot.emd2([0.5, 0.5], [0.9, 0.1], costs)

    @pytest.mark.parametrize("limit", [0, 1e6, 99_999, np.int64(1000)])
    def test_limits_that_are_not_reached(self, limit):
        assert_alike(pot.emd(A, B, M, numItermax=limit), ot.emd(A, B, M, numItermax=limit))
        for b in B, TARGETS:
            assert_alike(pot.emd2(A, b, M, numItermax=limit), ot.emd2(A, b, M, numItermax=limit))

    def test_negative_limit(self):
        with pytest.raises(KexueValueError, match="max_iter must be at least 1"):
            pot.emd(A, B, M, numItermax=-1)

    def test_limit_that_is_reached(self, rng):
        costs = rng.random((30, 30))
        text = "numItermax reached before optimality"
        for name, options in (("emd", {}), ("emd2", {}), ("emd2", {"return_matrix": True})):
            for module in pot, ot:
                function = getattr(module, name)
                with pytest.warns(UserWarning, match=text):
                    log = function([], [], costs, numItermax=3, log=True, **options)[1]
                assert log["warning"].startswith(text)
                assert log["result_code"] == 3
        with pytest.warns(UserWarning, match=text):
            plan = pot.emd([], [], costs, numItermax=3)
        np.testing.assert_allclose(plan.sum(axis=0), 1 / 30)
        np.testing.assert_allclose(plan.sum(axis=1), 1 / 30)
        ((category, message),) = messages(pot.emd2, [], [], costs, numItermax=3)
        assert category is UserWarning
        assert message.startswith(text)

    def test_kexues_errstate_has_no_say(self, rng):
        with kexue.errstate(convergence="raise"), pytest.warns(UserWarning, match="numItermax"):
            pot.emd([], [], rng.random((30, 30)), numItermax=3)

    @pytest.mark.parametrize("threads", [2, "max", "MAX", None])
    def test_threads(self, threads):
        for name in ("emd", "emd2"):
            for module in pot, ot:
                with pytest.warns(DeprecationWarning, match="numThreads"):
                    getattr(module, name)(A, B, M, numThreads=threads)
        ((category, _),) = messages(pot.emd, A, B, M, numThreads=threads)
        assert category is DeprecationWarning

    @pytest.mark.parametrize("threads", [0, -1, 1.0, "all"])
    def test_bad_threads(self, threads):
        for module in pot, ot:
            with pytest.raises(ValueError, match='numThreads.*"max"'):
                module.emd(A, B, M, numThreads=threads)

    def test_processes(self):
        for module in pot, ot:
            with pytest.warns(UserWarning, match="processes"):
                module.emd2(A, TARGETS, M, processes=2)
            module.emd2(A, B, M, processes=2)

    @given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**32))
    @settings(deadline=None, max_examples=50)
    def test_any_problem(self, m, n, seed):
        rng = np.random.default_rng(seed)
        a, b = (rng.integers(0, 4, size=size).astype(float) + (np.arange(size) == 0) for size in (m, n))
        a, b, costs = a / a.sum(), b / b.sum(), rng.normal(size=(m, n))
        # POT calls one in a hundred of these small problems infeasible where costs are negative.
        least = float(costs.min())
        assert_alike(pot.emd(a, b, costs), ot.emd(a, b, costs - least), 1e-9)
        assert_alike(pot.emd2(a, b, costs), ot.emd2(a, b, costs - least) + least, 1e-9)


def changed(array, index, value):
    array = np.array(array)
    array[index] = value
    return array


class TestErrors:
    @pytest.mark.parametrize(
        ("a", "b", "message"),
        [
            (A, 2 * B, r"a sums to 1\.0 and b to 2\.0: they must have the same sum"),
            (A, (1 + 2e-6) * B, "they must have the same sum"),
            (A, TARGETS * [1, 1, 2], r"a sums to 1\.0 and b to 1\.9999"),
            (A, A, r"b must have 7 weights, but its shape is \(5,\)"),
            (B, B, r"a must have 5 weights, but its shape is \(7,\)"),
            (A, TARGETS.T, r"b must have 7 weights, but its shape is \(3, 7\)"),
            (changed(A, 2, np.nan), B, r"a\[2\] is nan; a has shape \(5,\)"),
            (A, changed(B, 1, np.inf), r"b\[1\] is inf"),
            (np.stack([A, A], axis=1), B, r"a must have 1 dimension, but its shape is \(5, 2\)"),
        ],
    )
    def test_where_pot_asserts(self, a, b, message):
        with pytest.raises(AssertionError):
            quietly(ot.emd2, a, b, M)
        with pytest.raises(InputError, match=message):
            pot.emd2(a, b, M)
        assert issubclass(InputError, KexueValueError)
        assert issubclass(InputError, AssertionError)

    @pytest.mark.parametrize(
        ("a", "b", "costs", "message"),
        [
            (changed(A, 0, np.nan), changed(B, 0, np.nan), M, r"a\[0\] is nan"),
            (changed(A, [0, 1], [-0.1, 0.5]), B, M, r"a\[0\] is negative \(-0\.1\)"),
            (A, changed(TARGETS, (slice(0, 2), 1), [-0.1, 0.5]), M, r"b\[0, 1\] is negative"),
            (0 * A, 0 * B, M, "a sums to 0"),
            (A, B, changed(M, (1, 2), np.nan), r"M\[1, 2\] is nan"),
            (A, B, changed(M, (1, 2), -np.inf), r"M\[1, 2\] is -inf"),
            (A, B, np.full((5, 7), np.nan), r"M\[0, 0\] is nan"),
        ],
    )
    def test_where_pot_returns_a_number(self, a, b, costs, message):
        with pytest.raises(KexueValueError, match=message):
            pot.emd2(a, b, costs)

    @pytest.mark.parametrize("name", ["emd", "emd2", "solve", "sinkhorn", "sinkhorn2"])
    def test_shapes(self, name):
        def call(a, b, costs):
            if name == "solve":
                return pot.solve(costs, a, b)
            return getattr(pot, name)(a, b, costs, *([1.0] if name.startswith("sinkhorn") else []))

        for costs in (np.zeros(3), np.zeros((2, 3, 4)), np.zeros((0, 3)), 1.0):
            with pytest.raises(KexueValueError, match="M must have 2 dimensions"):
                call(None, None, costs)
        for costs, error, message in (
            ([[1.0], [2.0, 3.0]], KexueValueError, "M is not an array of one shape"),
            ([["a"]], TypeError, "M must hold real numbers"),
            ([[1j]], TypeError, "M must hold real numbers"),
            (np.ma.zeros((2, 2)), TypeError, "M is a masked array"),
        ):
            with pytest.raises(error, match=message):
                call(None, None, costs)
        with pytest.raises(InputError, match=r"b\[0\] is negative"):
            call(A, changed(B, 0, -1), M)

    def test_one_target_where_several_make_no_sense(self):
        for call in (
            lambda: pot.emd(A, TARGETS, M),
            lambda: pot.solve(M, A, TARGETS),
            lambda: pot.solve(M, A, TARGETS, 1.0),
        ):
            with pytest.raises(InputError, match="b must have 1 dimension"):
                call()

    def test_what_pot_alone_can_do(self):
        tensor = type("Tensor", (), {"__module__": "torch"})()
        for call, message in (
            (lambda: pot.emd(tensor, B, M), "a is an array of torch.*use ot.emd of POT"),
            (lambda: pot.emd2(A, tensor, M), "b is an array of torch.*use ot.emd2 of POT"),
            (lambda: pot.emd_1d(tensor, B), "x_a is an array of torch.*use ot.emd_1d of POT"),
            (lambda: pot.wasserstein_1d(A, tensor), "v_values is an array of torch.*use ot.wasserstein_1d of POT"),
            (lambda: pot.sinkhorn(A, B, tensor, 1.0), "M is an array of torch.*use ot.sinkhorn of POT"),
            (lambda: pot.dist(tensor), "x1 is an array of torch.*use ot.dist of POT"),
            (lambda: pot.unif(3, tensor), "type_as is an array of torch.*use ot.unif of POT"),
            (lambda: pot.dist(M, nx=object()), "use ot.dist of POT"),
            (lambda: pot.emd(A, B, scipy.sparse.coo_array(M)), "M is sparse: use ot.emd of POT"),
            (lambda: pot.solve(M, plan_init=M), "plan_init is not available in kexue: use ot.solve of POT"),
            (lambda: pot.solve(M, unbalanced=1.0), "unbalanced is not available in kexue: use ot.solve of POT"),
            (lambda: pot.solve(M, reg=1.0, c=M), "c is not available in kexue: use ot.solve of POT"),
            (lambda: pot.solve(M, reg=1.0, reg_type="L2"), "reg_type='L2' is not available.*use ot.solve of POT"),
            (lambda: pot.solve(M, reg=1.0, reg_type=(abs, abs)), "reg_type=.* is not available.*use ot.solve of POT"),
        ):
            with pytest.raises(NotImplementedError, match=message):
                call()

    def test_inputs_are_not_changed(self, untouched):
        a, b, costs = 2 * A, 2 * (1 + 1e-7) * B, M.copy()
        with untouched(a, b, costs):
            pot.emd(a, b, costs)
            pot.emd2(a, b, costs)


# ---- on the line ----

X_A, X_B = np.random.default_rng(2).normal(size=5), np.random.default_rng(3).normal(size=7)
LINES = {
    "uniform": (X_A, X_B),
    "weights": (X_A, X_B, A, B),
    "lists": (X_A.tolist(), X_B.tolist(), A.tolist(), B.tolist()),
    "lists of integers": ([2, 0], [0, 3, 1]),
    "empty lists": (X_A, X_B, [], []),
    "columns": (X_A[:, None], X_B[:, None], A, B),
    "float32": (f32(X_A), f32(X_B)),
    "float32 and weights": (f32(X_A), X_B, A, B),
    "list and float32": (X_A.tolist(), f32(X_B)),
    "total 37": (X_A, X_B, 37 * A, 37 * B),
    "zeros": (X_A, X_B, ZEROS_A, ZEROS_B),
    "one point": ([1.0], X_B),
}
EACH_LINE = pytest.mark.parametrize("arguments", LINES.values(), ids=LINES)
METRICS = pytest.mark.parametrize(
    "options",
    [{}, {"metric": "euclidean"}, {"metric": "cityblock"}, {"metric": "minkowski"}, {"metric": "minkowski", "p": 3}],
    ids=lambda options: " ".join(map(str, options.values())) or "default",
)


class TestLine:
    @EACH_LINE
    @METRICS
    def test_is_pots(self, arguments, options):
        tolerance = tolerance_of(*arguments)
        assert_alike(pot.emd_1d(*arguments, **options), ot.emd_1d(*arguments, **options), tolerance)
        assert_alike(pot.emd2_1d(*arguments, **options), ot.emd2_1d(*arguments, **options), tolerance)
        for dense in (True, False):
            found, expected = (
                function(*arguments, **options, dense=dense, log=True) for function in (pot.emd_1d, ot.emd_1d)
            )
            assert_alike(found[0], expected[0], tolerance)
            assert list(found[1]) == list(expected[1])
            assert_alike(found[1]["cost"], expected[1]["cost"], tolerance)
            assert_alike(
                pot.emd2_1d(*arguments, **options, dense=dense, log=True),
                ot.emd2_1d(*arguments, **options, dense=dense, log=True),
                tolerance,
            )

    def test_moves(self, rng):
        arguments = rng.normal(size=40), rng.normal(size=30), rng.dirichlet(np.ones(40)), rng.dirichlet(np.ones(30))
        (plan, found), (_, expected) = (function(*arguments, log=True) for function in (pot.emd_1d, ot.emd_1d))
        assert_alike(found, expected)
        assert set(zip(found["perms_x_a"], found["perms_x_b"], strict=True)) == set(zip(*np.nonzero(plan), strict=True))

    def test_integer_points_give_no_integers(self):
        plan = pot.emd_1d(np.array([0, 4]), np.array([1, 2, 3]))
        np.testing.assert_allclose(plan, ot.emd_1d([0.0, 4.0], [1.0, 2.0, 3.0]))

    def test_sparse_plan_needs_little_memory(self):
        plan = pot.emd_1d(np.arange(200_000.0), np.arange(300_000.0), dense=False)
        assert plan.nnz <= 500_000
        np.testing.assert_allclose(plan.sum(axis=0), 1 / 300_000, rtol=1e-9)

    def test_marginals_that_are_not_checked(self):
        for module in pot, ot:
            with pytest.raises(AssertionError):
                module.emd_1d(X_A, X_B, A, 2 * B)
        found, expected = (module.emd_1d(X_A, X_B, A, 2 * B, check_marginals=False) for module in (pot, ot))
        assert_alike(found, expected)

    def test_points_of_two_coordinates(self):
        for module in pot, ot:
            with pytest.raises(AssertionError):
                module.emd_1d(np.zeros((3, 2)), np.zeros(3))

    def test_errors(self):
        for module in pot, ot:
            with pytest.raises(ValueError, match="cityblock"):
                module.emd2_1d(X_A, X_B, metric="cosine")
        for arguments, message in (
            (([0.0, np.nan], X_B), r"x_a\[1\] is nan"),
            (([], X_B), "x_a must be points"),
            ((X_A, X_B, -A, B), r"a\[0\] is negative"),
            ((X_A, X_B, B, B), "a must have 5 weights"),
        ):
            with pytest.raises(KexueValueError, match=message):
                pot.emd2_1d(*arguments)
        with pytest.raises(KexueValueError, match="p must be finite and at least 1"):
            pot.emd2_1d(X_A, X_B, metric="minkowski", p=0.5)

    @given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32))
    @settings(deadline=None, max_examples=50)
    def test_any_line(self, m, n, seed):
        rng = np.random.default_rng(seed)
        x, y = rng.integers(-3, 4, size=m) / 4, rng.integers(-3, 4, size=n) / 4
        a, b = (rng.integers(0, 3, size=size) + (np.arange(size) == 0) for size in (m, n))
        a, b = a / a.sum(), b / b.sum()
        plan, log = pot.emd_1d(x, y, a, b, log=True)
        np.testing.assert_allclose(plan.sum(axis=1), a, atol=1e-14)
        np.testing.assert_allclose(plan.sum(axis=0), b, atol=1e-14)
        assert plan.min() >= 0
        assert (plan * (x[:, None] - y) ** 2).sum() == pytest.approx(log["cost"], abs=1e-13)
        assert log["cost"] == pytest.approx(ot.emd2(a, b, ot.dist(x[:, None], y[:, None])), abs=1e-12)


U, V = np.random.default_rng(4).normal(size=(5, 3)), np.random.default_rng(5).normal(size=(7, 3))
U_WEIGHTS, V_WEIGHTS = (np.random.default_rng(6).dirichlet(np.ones(n), size=3).T for n in (5, 7))
COLUMNS = {
    "columns": (U, V),
    "one line": (U[:, 0], V[:, 0]),
    "weights of one line": (U[:, 0], V[:, 0], A, B),
    "weights of all": (U, V, A, B),
    "weights of each": (U, V, U_WEIGHTS, V_WEIGHTS),
    "weights of one side": (U, V, None, B),
    "total 37": (U, V, 37 * A, 37 * B),
    "float32": (f32(U), f32(V)),
    "float32 line": (f32(U[:, 0]), f32(V[:, 0]), f32(A), f32(B)),
    "float32 and float64": (f32(U), V),
}


class TestWasserstein1d:
    @pytest.mark.parametrize("p", [1, 2, 3.5])
    @pytest.mark.parametrize("arguments", COLUMNS.values(), ids=COLUMNS)
    def test_is_pots(self, arguments, p):
        found, expected = (module.wasserstein_1d(*arguments, p=p) for module in (pot, ot))
        assert_alike(found, expected, tolerance_of(*arguments))

    def test_order_is_a_hint(self):
        sorted_columns = np.sort(U, axis=0), np.sort(V, axis=0), A, B
        found, expected = (module.wasserstein_1d(*sorted_columns, require_sort=False) for module in (pot, ot))
        assert_alike(found, expected)

    @pytest.mark.parametrize("arguments", [(U, V), (U, V, U_WEIGHTS, V_WEIGHTS), (f32(U), f32(V))])
    def test_plans(self, arguments):
        found, expected = (module.wasserstein_1d(*arguments, return_plans=True) for module in (pot, ot))
        assert_alike(found, expected)
        costs, plans = pot.wasserstein_1d(*arguments, return_plans="coo_tuple")
        assert_alike(costs, found[0])
        for moves, plan in zip(plans, found[1], strict=True):
            assert moves._fields == ("data", "rows", "cols")
            assert_alike(scipy.sparse.coo_array((moves.data, (moves.rows, moves.cols)), shape=plan.shape), plan)

    def test_plan_of_one_line(self):
        _, (plan,) = pot.wasserstein_1d(U[:, 0], V[:, 0], A, B, return_plans=True)
        assert_alike(plan.toarray(), pot.emd_1d(U[:, 0], V[:, 0], A, B))

    def test_integers_and_lists(self):
        # POT rounds uniform weights of integer points to 0.
        assert_alike(pot.wasserstein_1d(np.arange(3), [1, 2, 3]), np.float64(1))

    def test_errors(self):
        for module in pot, ot:
            with pytest.raises(AssertionError):
                module.wasserstein_1d(U, V, p=0.5)
        for arguments, message in (
            ((U, V, A, 2 * B), r"u_weights sums to 1\.0\d* and v_weights to 2"),
            ((U, V[:, :2]), r"u_values has shape \(5, 3\) and v_values \(7, 2\)"),
            ((U, V[:, 0]), r"u_values has shape \(5, 3\) and v_values \(7,\)"),
            ((U[:, 0], V[:, 0], U_WEIGHTS), r"u_weights has shape \(5, 3\), but u_values \(5,\)"),
            ((U[None], V), "u_values must have 1 or 2 dimensions"),
            ((U[:0], V), "u_values must have 1 or 2 dimensions"),
            ((changed(U, (4, 2), np.nan), V), r"u_values\[4, 2\] is nan; u_values has shape \(5, 3\)"),
            ((U, changed(V, (0, 1), -np.inf)), r"v_values\[0, 1\] is -inf"),
            ((U, V, A, -B), r"v_weights\[0\] is negative"),
        ):
            with pytest.raises(KexueValueError, match=message):
                pot.wasserstein_1d(*arguments)


# ---- entropic transport ----

METHODS = ("sinkhorn", "sinkhorn_log", "greenkhorn", "sinkhorn_stabilized", "sinkhorn_epsilon_scaling")
EACH_METHOD = pytest.mark.parametrize("method", METHODS)
FOR_TARGETS = ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized")
REG, WARM_REG = 0.1, 0.05
# Enough for POT to reach 1e-12 with all methods.
LONG = {"numItermax": 100_000, "stopThr": 1e-12}


def exact_plan(a, b, costs, reg=REG):
    """By POT in float64, with its sound method."""
    a, b = (
        np.asarray(w if len(w) else np.full(n, 1 / n), np.float64) for w, n in zip((a, b), np.shape(costs), strict=True)
    )
    a, b, total = a / a.sum(), b / b.sum(), a.sum()
    return total * quietly(ot.sinkhorn, a, b, np.asarray(costs, dtype=np.float64), reg, "sinkhorn_log", **LONG)


def assert_entropic_log(found, expected, method, weights):
    """POT's keys and types; values up to the factor that scalings have free."""
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert type(found[key]) is type(value), key
        if isinstance(value, np.ndarray):
            assert found[key].shape == value.shape, key
            # POT's temperatures are float64, and so is what it makes of float32 numbers with them.
            assert found[key].dtype == value.dtype or method == "sinkhorn_epsilon_scaling", key
    if "err" in found:
        assert type(found["err"][0]) is float
    if "warmstart" in found:
        assert_alike(found["warmstart"], (found["alpha"], found["beta"]))
    keys = {
        "sinkhorn": [("u", "v")],
        "greenkhorn": [("u", "v")],
        "sinkhorn_log": [("u", "v"), ("log_u", "log_v")],
        "sinkhorn_stabilized": [("logu", "logv"), ("alpha", "beta")],
        "sinkhorn_epsilon_scaling": [("alpha", "beta")],
    }[method]
    tolerance = 1e-3 if found[keys[0][0]].dtype == np.float32 else 1e-6
    for pair in keys:
        for key, positive in zip(pair, weights, strict=True):
            first, second = (log[key][positive].astype(np.float64) for log in (found, expected))
            if pair == ("u", "v"):
                first, second = np.log(first), np.log(second)
                assert not found[key][~positive].any()
            differences = first - second
            assert np.ptp(differences, axis=0).max() <= tolerance * (REG if "alpha" in pair else 1), key


class TestSinkhorn:
    @EACH_METHOD
    @EACH_INPUT
    def test_is_pots(self, arguments, method):
        a, b, costs = arguments
        scale = max(1.0, float(np.abs(costs).max()))
        expected = exact_plan(a, b, np.asarray(costs) / scale)
        plan = pot.sinkhorn(a, b, costs, REG * scale, method, numItermax=10_000)
        wanted = quietly(ot.sinkhorn, a, b, costs, REG * scale, "sinkhorn", numItermax=1)
        assert (plan.shape, plan.dtype) == (wanted.shape, wanted.dtype)
        tolerance = max(1e-8, tolerance_of(*arguments)) * expected.sum()
        np.testing.assert_allclose(plan, expected, rtol=0, atol=tolerance)

    @EACH_METHOD
    @pytest.mark.parametrize("name", ["float64", "float32", "lists", "empty lists", "total 37"])
    def test_log(self, name, method):
        arguments = INPUTS[name]
        plan, found = pot.sinkhorn(*arguments, REG, method, log=True)
        options = {"numItermax": 100_000 if method == "greenkhorn" else 2000, "stopThr": 1e-11}
        _, expected = quietly(ot.sinkhorn, *arguments, REG, method, log=True, **options)
        everywhere = np.ones(5, dtype=bool), np.ones(7, dtype=bool)
        assert_entropic_log(found, expected, method, everywhere)
        if "u" in found:
            product = found["u"][:, None] * np.exp(-np.asarray(arguments[2]) / REG) * found["v"]
            np.testing.assert_allclose(product, plan, rtol=1e-4 if plan.dtype == np.float32 else 1e-9)

    @EACH_METHOD
    def test_points_without_mass(self, method):
        # Not all methods of POT have this right.
        plan, found = pot.sinkhorn(ZEROS_A, ZEROS_B, M, REG, method, log=True)
        np.testing.assert_allclose(plan, exact_plan(ZEROS_A, ZEROS_B, M), atol=1e-8)
        assert not plan[ZEROS_A == 0].any()
        assert not plan[:, ZEROS_B == 0].any()
        if method == "sinkhorn_log":
            expected = quietly(ot.sinkhorn, ZEROS_A, ZEROS_B, M, REG, method, log=True, stopThr=1e-11)[1]
            assert_entropic_log(found, expected, method, (ZEROS_A > 0, ZEROS_B > 0))

    @pytest.mark.parametrize("method", FOR_TARGETS)
    @pytest.mark.parametrize("targets", [TARGETS, TARGETS[:, :1], f32(TARGETS)], ids=["3", "1", "float32"])
    def test_several_targets(self, targets, method):
        expected = np.array([(exact_plan(A, b, M) * M).sum() for b in targets.T])
        for name in ("sinkhorn", "sinkhorn2"):
            costs = getattr(pot, name)(A, targets, M, REG, method)
            assert costs.dtype == np.float64
            np.testing.assert_allclose(costs, expected, atol=1e-7)
        costs, log = pot.sinkhorn2(A, targets, M, REG, method, log=True)
        np.testing.assert_allclose(costs, expected, atol=1e-7)
        if targets.shape[1] > 1:  # with one column POT's logarithmic method fails
            theirs = quietly(ot.sinkhorn2, A, targets, M, REG, method, log=True, numItermax=3)[1]
            assert list(log) == list(theirs)
            for key, value in theirs.items():
                assert type(log[key]) is type(value)
                if isinstance(value, np.ndarray):
                    assert (log[key].shape, log[key].dtype) == (value.shape, value.dtype)

    @pytest.mark.parametrize("method", FOR_TARGETS)
    @pytest.mark.parametrize("name", ["float64", "float32", "lists", "empty lists", "total 37"])
    def test_cost(self, name, method):
        arguments = INPUTS[name]
        plan = exact_plan(*arguments)
        cost, log = pot.sinkhorn2(*arguments, REG, method, log=True)
        theirs = quietly(ot.sinkhorn2, *arguments, REG, method, log=True)
        assert type(cost) is type(theirs[0])
        assert cost == pytest.approx((plan * np.asarray(arguments[2])).sum(), rel=1e-6)
        assert list(log) == list(theirs[1])
        assert pot.sinkhorn2(*arguments, REG, method) == cost

    def test_method_in_any_case(self):
        np.testing.assert_array_equal(
            pot.sinkhorn(A, B, M, REG, "SINKHORN_Log"), pot.sinkhorn(A, B, M, REG, "sinkhorn_log")
        )

    def test_unknown_method(self):
        for module in pot, ot:
            for function in module.sinkhorn, module.sinkhorn2:
                with pytest.raises(ValueError, match="Unknown method 'newton'"):
                    function(A, B, M, REG, "newton")

    def test_kernel_without_numbers(self):
        # All of exp(-M / reg) is 0, and POT's default method ends in numerical errors.
        plan = pot.sinkhorn([], [], 2 - np.eye(3), 1e-3)
        np.testing.assert_allclose(plan, np.eye(3) / 3, atol=1e-8)

    @EACH_METHOD
    def test_limit_that_is_reached(self, method):
        text = "Sinkhorn did not converge"
        for module in pot, ot:
            options = {"numInnerItermax": 1} if method == "sinkhorn_epsilon_scaling" else {}
            with pytest.warns(UserWarning, match=text):
                module.sinkhorn(A, B, M, 0.01, method, numItermax=1, **options)
        ((category, message),) = messages(pot.sinkhorn, A, B, M, 0.01, method, numItermax=1)
        assert category is UserWarning
        assert message.startswith(text)
        assert messages(pot.sinkhorn, A, B, M, 0.01, method, numItermax=1, warn=False) == []
        assert messages(pot.sinkhorn2, A, B, M, 0.01, method, numItermax=1) == []
        ((_, message),) = messages(pot.sinkhorn2, A, TARGETS, M, 0.01, method, numItermax=1, warn=True)
        assert message.startswith(text)

    def test_threshold_of_zero(self):
        plan = quietly(pot.sinkhorn, A, B, M, 1.0, stopThr=0, numItermax=100)
        np.testing.assert_allclose(plan, exact_plan(A, B, M, 1.0), atol=1e-12)

    @EACH_METHOD
    def test_warm_start(self, method):
        plan, cold = pot.sinkhorn(A, B, M, WARM_REG, method, log=True)
        start = {
            "sinkhorn": lambda: (np.log(cold["u"]), np.log(cold["v"])),
            "greenkhorn": lambda: (np.log(cold["u"]), np.log(cold["v"])),
            "sinkhorn_log": lambda: (cold["log_u"], cold["log_v"]),
        }.get(method, lambda: cold["warmstart"])()
        again, warm = pot.sinkhorn(A, B, M, WARM_REG, method, warmstart=start, log=True)
        np.testing.assert_allclose(again, plan, atol=1e-8)
        iterations = "n_iter" if "n_iter" in cold else "niter"
        assert warm[iterations] < cold[iterations]
        as_lists = [side.tolist() for side in start]
        np.testing.assert_array_equal(pot.sinkhorn(A, B, M, WARM_REG, method, warmstart=as_lists), again)

    @EACH_METHOD
    def test_warm_start_from_pot(self, method):
        _, log = quietly(ot.sinkhorn, A, B, M, WARM_REG, "sinkhorn_log", log=True, **LONG)
        unit = WARM_REG if method in ("sinkhorn_stabilized", "sinkhorn_epsilon_scaling") else 1
        start = unit * log["log_u"], unit * log["log_v"]
        _, warm = pot.sinkhorn(A, B, M, WARM_REG, method, warmstart=start, log=True)
        _, cold = pot.sinkhorn(A, B, M, WARM_REG, method, log=True)
        iterations = "n_iter" if "n_iter" in cold else "niter"
        assert warm[iterations] < cold[iterations]

    def test_warm_start_of_points_without_mass(self):
        plan, log = pot.sinkhorn(ZEROS_A, ZEROS_B, M, REG, "sinkhorn_log", log=True)
        again = pot.sinkhorn(ZEROS_A, ZEROS_B, M, REG, "sinkhorn_log", warmstart=(log["log_u"], log["log_v"]))
        np.testing.assert_allclose(again, plan, atol=1e-8)

    @pytest.mark.parametrize("method", FOR_TARGETS)
    def test_warm_start_of_several_targets(self, method):
        costs, log = pot.sinkhorn2(A, TARGETS, M, WARM_REG, method, log=True)
        if method == "sinkhorn":
            starts = [(np.log(log["u"]), np.log(log["v"]))]
        elif method == "sinkhorn_log":
            starts = [list(zip(log["log_u"].T, log["log_v"].T, strict=True))]
        else:
            starts = [log["warmstart"], (log["alpha"][:, 0], log["beta"][:, 0])]
        for start in starts:
            again = pot.sinkhorn2(A, TARGETS, M, WARM_REG, method, warmstart=start)
            np.testing.assert_allclose(again, costs, atol=1e-8)

    def test_bad_warm_start(self):
        with pytest.raises(KexueValueError, match=r"warmstart has an array of shape \(4,\) for u"):
            pot.sinkhorn(A, B, M, REG, warmstart=(np.zeros(4), np.zeros(7)))
        with pytest.raises(KexueValueError, match=r"warmstart has an array of shape \(7, 3\) for v"):
            pot.sinkhorn(A, B, M, REG, warmstart=(np.zeros(5), np.zeros((7, 3))))

    def test_options_of_single_methods(self):
        options = {"tau": 1e2, "print_period": 5, "epsilon0": 10.0, "numInnerItermax": 10}
        for method in METHODS:
            plan = pot.sinkhorn(A, B, M, REG, method, **options)
            np.testing.assert_array_equal(plan, pot.sinkhorn(A, B, M, REG, method))

    def test_verbose(self, capsys):
        pot.sinkhorn(A, B, M, REG, verbose=True)
        first, _, line = capsys.readouterr().out.splitlines()
        assert first.split("|")[0].strip() == "It."
        assert 0 <= float(line.split("|")[1]) <= 1e-9

    def test_forbidden_moves(self):
        plan = pot.sinkhorn([0.5, 0.5], [0.25, 0.75], np.array([[np.inf, 1.0], [3.0, 1.0]]), REG)
        np.testing.assert_allclose(plan, [[0, 0.5], [0.25, 0.25]], atol=1e-8)

    @pytest.mark.parametrize("reg", [0, -1.0, np.nan, np.inf])
    def test_bad_regularisation(self, reg):
        with pytest.raises(KexueValueError, match="reg"):
            pot.sinkhorn(A, B, M, reg)

    def test_bad_input(self):
        for a, b, costs, message in (
            (A, 2 * B, M, "they must have the same sum"),
            (changed(A, 1, np.nan), B, M, r"a\[1\] is nan"),
            (A, B, changed(M, (1, 2), np.nan), r"M\[1, 2\] is nan"),
            (0 * A, 0 * B, M, "a sums to 0"),
        ):
            for function in pot.sinkhorn, pot.sinkhorn2:
                with pytest.raises(KexueValueError, match=message):
                    function(a, b, costs, REG)


# ---- solve ----


def assert_result(found, expected, tolerance):
    assert repr(found).replace(", ", ",").startswith("OTResult(value=")
    for name in ("value", "value_linear", "plan", "sparse_plan", "marginals", "marginal_a", "marginal_b"):
        assert_alike(getattr(found, name), getattr(expected, name), tolerance)
    for name in ("status", "log", "value_quad", "lazy_plan"):
        assert getattr(found, name) == getattr(expected, name)
    assert [p.dtype for p in found.potentials] == [p.dtype for p in expected.potentials]
    assert found.potential_a is found.potentials[0]
    assert found.potential_b is found.potentials[1]


SOLVED = ["float64", "float32", "float32 weights", "float32 costs", "zeros", "total 37", "integer costs"]


class TestSolve:
    @pytest.mark.parametrize("name", SOLVED)
    def test_is_pots(self, name):
        a, b, costs = INPUTS[name]
        for reg in (None, 0):
            found, expected = (module.solve(costs, a, b, reg) for module in (pot, ot))
            assert_result(found, expected, tolerance_of(a, b, costs))
            assert_dual({"u": found.potential_a, "v": found.potential_b, "cost": found.value}, a, b, costs)
        assert_result(pot.solve(costs), ot.solve(costs), tolerance_of(costs))

    def test_lists(self):
        assert_result(pot.solve(M.tolist(), A.tolist(), B.tolist()), ot.solve(M, A, B), 1e-12)
        assert_result(pot.solve(M, [], []), ot.solve(M), 1e-12)

    def test_options_without_effect(self):
        expected = pot.solve(M, A, B)
        for options in (
            {"method": "sinkhorn"},
            {"method": "lbfgsb"},
            {"potentials_init": expected.potentials},
            {"max_iter": 10_000},
            {"tol": 1e-3},
            {"reg_type": "L2"},
            {"unbalanced_type": "TV"},
            {"grad": "envelope"},
            {"verbose": True},
        ):
            assert_result(pot.solve(M, A, B, **options), expected, 0)
            assert_result(pot.solve(M, A, B, **options), ot.solve(M, A, B, **options), 1e-12)

    def test_limit_that_is_reached(self, rng):
        costs = rng.random((30, 30))
        for module in pot, ot:
            with pytest.warns(UserWarning, match="numItermax"):
                result = module.solve(costs, max_iter=3)
            assert result.status.startswith("numItermax reached before optimality")

    def test_threads(self):
        for module in pot, ot:
            with pytest.warns(DeprecationWarning, match="numThreads"):
                module.solve(M, n_threads=2)

    def test_errors(self):
        for module in pot, ot:
            with pytest.raises(ValueError, match="Unknown method="):
                module.solve(M, method="newton")
            with pytest.raises(AssertionError):
                module.solve(M, A, 2 * B)
            with pytest.raises(NotImplementedError, match="reg_type="):
                module.solve(M, reg=1.0, reg_type="L3")

    def test_results_are_frozen_and_pickle(self):
        result = pot.solve(M, A, B)
        with pytest.raises(AttributeError):
            result.value = 0.0
        assert_result(pickle.loads(pickle.dumps(result)), result, 0)
        assert (
            repr(result) == f"OTResult(value={result.value}, value_linear={result.value}, plan=ndarray(shape=(5, 7)))"
        )


class TestSolveEntropic:
    @pytest.mark.parametrize("reg_type", ["KL", "kl", "entropy", "Entropy"])
    @pytest.mark.parametrize("name", ["float64", "float32", "float32 weights", "total 37"])
    def test_is_pots(self, name, reg_type):
        a, b, costs = INPUTS[name]
        found = pot.solve(costs, a, b, REG, reg_type=reg_type)
        expected = quietly(ot.solve, costs, a, b, REG, reg_type=reg_type, tol=1e-12)
        assert_result(found, expected, 1e-5 if found.plan.dtype == np.float32 else 1e-7)
        for ours, theirs in zip(found.potentials, expected.potentials, strict=True):
            assert np.ptp(ours - theirs) <= (1e-3 if found.plan.dtype == np.float32 else 1e-6)

    def test_points_without_mass(self, capsys):
        for reg_type in ("KL", "entropy"):
            found = pot.solve(M, ZEROS_A, B, REG, reg_type=reg_type)
            expected = quietly(ot.solve, M, ZEROS_A, B, REG, reg_type=reg_type)
            assert_alike(found.plan, expected.plan, 1e-8)
            assert_alike(found.value, expected.value, 1e-7)
        assert "Warning" in capsys.readouterr().out  # of POT

    def test_options(self):
        expected = pot.solve(M, A, B, REG)
        for options in ({"method": "sinkhorn_log"}, {"potentials_init": expected.potentials}, {"grad": "last_step"}):
            assert_result(pot.solve(M, A, B, REG, **options), expected, 1e-8)
        loose = pot.solve(M, A, B, REG, tol=1e-2)
        assert 1e-8 < np.abs(loose.plan - expected.plan).max() < 1e-2
        for module in pot, ot:
            with pytest.warns(UserWarning, match="Sinkhorn did not converge"):
                module.solve(M, A, B, 0.01, max_iter=1)


# ---- what scripts need besides ----


class TestDist:
    @pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean", "cityblock", "minkowski", "cosine", "correlation"])
    @pytest.mark.parametrize("size", [np.float32, np.float64])
    @pytest.mark.parametrize(
        "options", [{}, {"p": 3}, {"w": np.array([1.0, 2.0, 0.5])}, {"backend": "scipy"}], ids=repr
    )
    def test_is_pots(self, metric, size, options, rng):
        x, y = rng.normal(size=(6, 3)).astype(size), rng.normal(size=(4, 3)).astype(size)
        for points in ((x, y), (x,)):
            # POT makes them of a product, which loses half of the digits of small Euclidean distances.
            tolerance = np.sqrt(np.finfo(size).eps) if metric == "euclidean" else 16 * np.finfo(size).eps
            found, expected = (module.dist(*points, metric=metric, **options) for module in (pot, ot))
            if "w" in options and metric == "minkowski":
                expected = expected.astype(size)  # of the weights' type in POT
            assert_alike(found, expected, tolerance)

    @pytest.mark.parametrize("metric", ["chebyshev", "canberra", "braycurtis", "seuclidean", "hamming", "mahalanobis"])
    def test_other_metrics(self, metric, rng):
        x, y = rng.integers(0, 4, size=(9, 3)).astype(np.float32), rng.normal(size=(8, 3))
        for options in ({}, {"w": np.ones(3)}):
            assert_alike(pot.dist(x, y, metric, **options), ot.dist(x, y, metric, **options))
        assert_alike(pot.dist(x, y, lambda u, v: abs(u - v).max()), ot.dist(x, y, "chebyshev"))

    def test_weights_for_scipy(self, rng):
        x, y, w = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), rng.random(3)
        found, expected = (module.dist(x, y, "sqeuclidean", w=w, backend="scipy") for module in (pot, ot))
        assert_alike(found, expected)
        assert (found != pot.dist(x, y, w=w)).all()

    def test_close_points(self):
        x, y = np.array([[1e8, 0.0]]), np.array([[1e8, 1e-4]])
        assert pot.dist(x, y, "euclidean") == 1e-4

    def test_integers_and_lists(self):
        np.testing.assert_array_equal(pot.dist([[1, 2], [3, 4]]), ot.dist(np.array([[1, 2], [3, 4]])))
        assert pot.dist(np.array([[1, 2], [3, 4]])).dtype == np.float64

    def test_backend_of_pot(self):
        nx = ot.backend.get_backend(M)
        assert_alike(pot.dist(M, nx=nx, use_tensor=True), ot.dist(M, nx=nx, use_tensor=True))

    def test_errors(self):
        for module in pot, ot:
            with pytest.raises(ValueError, match="Unknown Distance Metric"):
                module.dist(M, metric="nothing")
            for points in ((M[0],), (M, M[:, :2])):
                with pytest.raises(ValueError):  # noqa: B017 - POT's text is that of einsum
                    module.dist(*points)


@pytest.mark.parametrize("type_as", [None, M, f32(M), np.arange(3)], ids=["none", "float64", "float32", "int"])
def test_unif(type_as):
    for n in (1, 3, 7):
        assert_alike(pot.unif(n, type_as), ot.unif(n, type_as))


# ---- a script of a user ----

EXACT_SCRIPT = """
rng = np.random.RandomState(0)
n_samples, n_bins = 40, 60
xs = rng.randn(n_samples, 2)
xt = rng.randn(n_samples, 2) + 4
a, b = ot.unif(n_samples), ot.unif(n_samples)
M = ot.dist(xs, xt)
M /= M.max()
G0 = ot.emd(a, b, M)
moved = n_samples * G0 @ xt
G1, log = ot.emd(a, b, M, log=True)
w2 = ot.emd2([], [], M)
if log["warning"] is not None:
    raise RuntimeError(log["warning"])

bins = np.arange(n_bins, dtype=np.float64)
source = np.exp(-((bins - 20) ** 2) / 50)
source /= source.sum()
targets = np.stack([np.exp(-((bins - centre) ** 2) / 80) for centre in (20, 30, 45)], axis=1)
targets /= targets.sum(axis=0, keepdims=True)
C = ot.dist(bins.reshape(-1, 1), bins.reshape(-1, 1), metric="euclidean")
losses = np.array(ot.emd2(source, targets, C, processes=1))
line = ot.emd2_1d(bins, bins, source, targets[:, 0], metric="euclidean")
batch = ot.wasserstein_1d(xs, xt, p=2)
res = ot.solve(M, a, b)
results = dict(G0=G0, moved=moved, cost=log["cost"], w2=w2, losses=losses, line=line, batch=batch,
               value=res.value, plan=res.plan, marginal=res.marginal_a)
results["gap"] = res.value - a @ res.potential_a - b @ res.potential_b
"""

ENTROPIC_SCRIPT = """
rng = np.random.RandomState(1)
xs, xt = rng.randn(30, 2), rng.randn(25, 2) + 2
a, b = ot.unif(30), ot.unif(25)
M = ot.dist(xs, xt)
M /= M.max()
results = {}
for method in ("sinkhorn", "sinkhorn_log", "sinkhorn_stabilized"):
    G, log = ot.sinkhorn(a, b, M, 5e-2, method=method, numItermax=5000, log=True)
    results[method] = G
    results[method + " loss"] = ot.sinkhorn2(a, b, M, 5e-2, method=method, numItermax=5000)
    if log["err"][-1] > 1e-6:
        raise RuntimeError("not converged")
G, log = ot.sinkhorn(a, b, M, reg=1e-1, log=True)
results["scaled"] = log["u"].reshape(-1, 1) * np.exp(-M / 1e-1) * log["v"].reshape(1, -1)
results["warm"] = ot.sinkhorn(a, b, M, 8e-2, warmstart=(np.log(log["u"]), np.log(log["v"])))
results["losses"] = ot.sinkhorn2(a, rng.dirichlet(np.ones(25), size=4).T, M, 1e-1)
res = ot.solve(M, a, b, reg=1e-1)
results["value"], results["linear"], results["plan"] = res.value, res.value_linear, res.plan
results["divergence"] = ot.solve(M, a, b, reg=1e-1, reg_type="entropy").value
"""


@pytest.mark.parametrize("script", [EXACT_SCRIPT, ENTROPIC_SCRIPT], ids=["exact", "entropic"])
def test_script(script):
    found, expected = {"np": np, "ot": pot}, {"np": np, "ot": ot}
    for namespace in found, expected:
        exec(script, namespace)
    assert len(expected["results"]) >= 10
    assert_alike(found["results"], expected["results"], 1e-6 if script is ENTROPIC_SCRIPT else 1e-10)
