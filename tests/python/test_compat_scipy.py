"""kexue.compat.scipy beside SciPy itself: the same distances, the same errors."""

from __future__ import annotations

import inspect
import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from kexue import KexueValueError
from kexue.compat.scipy import wasserstein_distance_nd

theirs = scipy.stats.wasserstein_distance_nd

U, V = np.random.default_rng(0).normal(size=(6, 3)), np.random.default_rng(1).normal(size=(8, 3))
A, B = np.random.default_rng(2).random(6), np.random.default_rng(3).random(8)


def with_entry(array, index, value):
    array = np.array(array, dtype=np.float64)
    array[index] = value
    return array


def test_signature():
    found, expected = (inspect.signature(f).parameters.values() for f in (wasserstein_distance_nd, theirs))
    assert [(p.name, p.kind, p.default) for p in found] == [(p.name, p.kind, p.default) for p in expected]


def test_scipys_statistics_are_not_imported():
    code = (
        "import sys; from kexue.compat.scipy import wasserstein_distance_nd as distance;"
        "distance([[0.0]], [[1.0]]); print('scipy.stats' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    "arguments",
    [
        (U, V),
        (U, V, A, B),
        (U, V, None, B),
        (U.tolist(), V.tolist(), A.tolist(), B.tolist()),
        (U, V, np.arange(6), np.ones(8, dtype=int)),
        (U.astype(np.float32), V.astype(np.float32), A.astype(np.float32)),
        (np.arange(12).reshape(6, 2), np.arange(6).reshape(3, 2) % 4),
        (U > 0, V > 0),
        (U, V, 1e-300 * A, 1e300 * B),
        (U[:, :1], V[:, :1], A, B),
        (U[:1], V),
        (U, U[::-1]),
    ],
    ids=str,
)
def test_is_scipys(arguments):
    found, expected = wasserstein_distance_nd(*arguments), theirs(*arguments)
    assert type(found) is type(expected)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 3), st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_any_points(m, n, d, seed):
    rng = np.random.default_rng(seed)
    u, v = rng.integers(-2, 3, size=(m, d)), rng.integers(-2, 3, size=(n, d))
    a, b = (rng.integers(0, 3, size=size) + (np.arange(size) == 0) for size in (m, n))
    distance = wasserstein_distance_nd(u, v, a, b)
    assert distance == pytest.approx(theirs(u, v, a, b), rel=1e-9, abs=1e-9)
    assert distance == pytest.approx(wasserstein_distance_nd(v, u, b, a), rel=1e-12, abs=1e-15)
    assert wasserstein_distance_nd(4 * u, 4 * v, a, b) == pytest.approx(4 * distance, rel=1e-12)
    assert wasserstein_distance_nd(u + 7, v + 7, a, b) == pytest.approx(distance, rel=1e-12)


@pytest.mark.parametrize("points", [U, 1e8 + U, np.repeat(U, 3, axis=0), np.ones((4, 2)), U[:, 0]], ids=np.shape)
def test_points_against_themselves(points, rng):
    assert abs(wasserstein_distance_nd(points, points)) <= 1e-15
    assert abs(wasserstein_distance_nd(points, np.repeat(points, 2, axis=0))) <= 1e-15
    assert abs(wasserstein_distance_nd(points, rng.permutation(points))) <= 1e-15


def test_close_points():
    assert wasserstein_distance_nd([[1e8, 0.0]], [[1e8, 1e-4]]) == 1e-4


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 1e300])
def test_large_and_small_points(scale):
    # Their squares are not in the range of float64; SciPy fails, or finds 0.
    assert wasserstein_distance_nd(scale * U, scale * V, A, B) / scale == pytest.approx(theirs(U, V, A, B), rel=1e-9)


def test_no_columns():
    assert wasserstein_distance_nd(np.zeros((3, 0)), np.zeros((2, 0))) == 0


# ---- the line ----


@pytest.mark.parametrize(
    "arguments",
    [
        ([0, 1, 3], [5, 6, 8]),
        ([0, 1], [0, 1], [3, 1], [2, 2]),
        (U[:, 0], V[:, 0], A, B),
        (U[:, 0].astype(np.float32), V[:, 0]),
        ([2.0], [2.0]),
        (1e300 * U[:, 0], 1e300 * V[:, 0]),
        ([0, np.inf, 3], [5, 6, 8]),
        ([0, -np.inf, 3], [5, 6, 8]),
        ([0, np.inf], [0, -np.inf]),
        ([0, np.inf], [1, np.inf]),
        ([0, np.inf], [0, np.inf]),
        ([0, np.inf], [1, 2], [1, 0]),
        ([0, np.nan, 3], [5, 6, 8]),
    ],
    ids=str,
)
def test_line_is_scipys(arguments):
    with np.errstate(invalid="ignore"):
        expected = theirs(*arguments)
    found = wasserstein_distance_nd(*arguments)
    assert type(found) is type(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- infinite points, and errors ----


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinite_points(value):
    u, v = with_entry(U, (1, 2), value), with_entry(V, (0, 0), np.inf)
    for arguments in (u, V), (U, v), (u, v), (u, V, with_entry(A, 1, 0)), (u, with_entry(V, 0, np.nan)):
        np.testing.assert_equal(wasserstein_distance_nd(*arguments), theirs(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        (np.zeros((2, 2, 2)), U),
        (U, V[:, 0]),
        (np.zeros((0, 3)), V),
        (U, []),
        ([], [1.0]),
        (U, V[:, :2]),
        (U, V, [1, 2]),
        (U, V, None, A),
        (U, V, with_entry(A, 2, -1)),
        (U, V, 0 * A),
        (U, V, with_entry(A, 2, np.inf)),
        (U, V, with_entry(A, 2, np.nan)),
        (U, V, 1e308 + 0 * A),
        (U[:, 0], V[:, 0], -A),
        (U[:, 0], V[:, 0], B),
        (1.0, 2.0),
        (np.array(1.0), np.array(2.0)),
        (None, U),
        (U, V, 1.0),
        ((x for x in U), V),
        ([[1.0, 2.0], [3.0]], V),
        ([["a"]], [["b"]]),
        (scipy.sparse.csr_array(U), V),
    ],
    ids=str,
)
def test_errors_are_scipys(arguments):
    with pytest.raises(Exception) as expected, np.errstate(over="ignore"):
        theirs(*arguments)
    with pytest.raises(expected.type) as found:
        wasserstein_distance_nd(*arguments)
    assert str(found.value) == str(expected.value)


def test_errors_of_our_own():
    with pytest.raises(KexueValueError, match=r"u_values\[3, 1\] is nan; u_values has shape \(6, 3\)"):
        wasserstein_distance_nd(with_entry(U, (3, 1), np.nan), V)
    with pytest.raises(KexueValueError, match=r"v_weights must have 1 dimension, but its shape is \(8, 1\)"):
        wasserstein_distance_nd(U, V, None, B[:, None])


def test_inputs_are_not_changed(untouched):
    u, v, a, b = U.copy(), V.copy(), A.copy(), B.copy()
    with untouched(u, v, a, b):
        wasserstein_distance_nd(u, v, a, b)
        wasserstein_distance_nd(u[:, 0], v[:, 0], a, b)


def test_layouts(layout):
    u, v, a = layout(U), layout(V), layout(A)
    assert wasserstein_distance_nd(u, v, a) == wasserstein_distance_nd(U, V, A)
    assert wasserstein_distance_nd(u[:, 0], v[:, 0], a) == wasserstein_distance_nd(U[:, 0], V[:, 0], A)
