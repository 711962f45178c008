"""Ratios of Bessel functions against mpmath, an integral and a sample; limits, shapes, bad arguments."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kexue import KexueValueError, ball_step_length

RATIOS = {
    1: ["0.0333111322539896101", "0.313035285499331304", "0.900000004122307253", "0.99"],
    2: ["0.024989589839412659", "0.240193723870089741", "0.85418530832368161", "0.985037880008156842"],
    3: ["0.0199942882527484855", "0.194528049465325114", "0.81111110602184292", "0.980101010101010101"],
    10: ["0.00833283735325112471", "0.0828424078319936971", "0.57811248473076191", "0.946249268015758016"],
}
ACCURACY = 2e-15  # what the docstring says


def by_mpmath(d, kappa):
    with mpmath.workdps(50):
        order, argument = mpmath.mpf(int(d)) / 2, mpmath.mpf(float(kappa))
        return mpmath.besseli(order + 1, argument) / mpmath.besseli(order, argument)


def error(d, kappa):
    return abs(float(mpmath.mpf(float(ball_step_length(d, kappa))) / by_mpmath(d, kappa) - 1))


@pytest.mark.parametrize("d", RATIOS)
def test_reference_values(d):
    np.testing.assert_allclose(ball_step_length(d, [0.1, 1, 10, 100]), [float(r) for r in RATIOS[d]], rtol=ACCURACY)


def test_a_thousand_dimensions():
    np.testing.assert_allclose(ball_step_length(1000, 100), 0.098827564299971643, rtol=ACCURACY)


def test_every_dimension_to_1000():
    kappas = 10 ** np.random.default_rng(0).uniform(-2, 3.5, 1000)
    assert max(map(error, range(1, 1001), kappas)) < ACCURACY


def test_extremes():
    rng = np.random.default_rng(1)
    high = np.floor(10 ** rng.uniform(0, 6, 200)).astype(int)
    assert max(map(error, high, 10 ** rng.uniform(-300, 3.3, 200))) < ACCURACY
    low = np.floor(10 ** rng.uniform(0, 2, 50)).astype(int)
    assert max(map(error, low, 10 ** rng.uniform(6, 12, 50))) < ACCURACY


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 10**7), st.floats(1e-150, 1e15))
def test_recurrence(d, kappa):
    """r_v (2 (v + 1) / kappa + r_{v+1}) = 1, where mpmath takes too long as well."""
    ratio, following = ball_step_length([d, d + 2], kappa)
    np.testing.assert_allclose(ratio * ((d + 2) / kappa + following), 1, rtol=3 * ACCURACY)


@pytest.mark.parametrize("d", [1, 2, 40, 60, 63, 64, 65])
def test_where_the_two_ways_meet(d):
    edge = math.sqrt(max(32**2 - (d / 2) ** 2, 0.0))
    kappas = np.abs(edge + np.linspace(-1, 1, 21)) + 1e-3
    assert max(error(d, kappa) for kappa in kappas) < ACCURACY


@pytest.mark.parametrize("d", [1, 2, 3, 7])
@pytest.mark.parametrize("kappa", [0.3, 4.0, 50.0])
def test_is_the_mean_over_the_ball(d, kappa):
    """By the integral over slices, with no Bessel function in it."""
    with mpmath.workdps(30):

        def slice_(x):
            return (1 - x * x) ** (mpmath.mpf(d - 1) / 2) * mpmath.exp(kappa * (x - 1))

        nodes = [-1, 0, 0.5, 0.8, 0.95, 1]
        expected = mpmath.quad(lambda x: x * slice_(x), nodes) / mpmath.quad(slice_, nodes)
        assert abs(ball_step_length(d, kappa) / expected - 1) < 1e-13


@pytest.mark.parametrize("d", [2, 3])
def test_is_the_mean_of_a_sample_of_the_ball(d):
    """Within six standard errors: a false alarm once in 5e8."""
    rng = np.random.default_rng(d)
    points = rng.normal(size=(400_000, d))
    points *= (rng.random(len(points)) ** (1 / d) / np.linalg.norm(points, axis=1))[:, None]
    weights = np.exp(2.5 * points[:, 0])
    weights /= weights.sum()
    mean = weights @ points
    deviations = np.sqrt(np.square(weights) @ np.square(points - mean))
    assert (abs(mean - np.eye(d)[0] * ball_step_length(d, 2.5)) < 6 * deviations).all()


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 10**9), st.floats(1e-300, 1e300))
def test_bounds_of_amos(d, kappa):
    """D. E. Amos, "Computation of modified Bessel functions and their ratios", 1974, (9) and (16)."""
    v, ratio = d / 2, ball_step_length(d, kappa)
    assert kappa / (v + 0.5 + math.hypot(kappa, v + 1.5)) * (1 - 1e-14) <= ratio
    assert ratio <= kappa / (v + math.hypot(kappa, v + 2)) * (1 + 1e-14)
    assert ratio <= kappa / (v + 0.5 + math.hypot(kappa, v + 0.5)) * (1 + 1e-14)


@pytest.mark.parametrize("scale", [1e300, 1e307, 1e308])
def test_sums_that_overflow(scale):
    with np.errstate(all="raise"):
        for d, kappa in ((1.7, 1.7), (1.7, 1.0), (0.2, 1.7), (1.7, 0.001)):
            expected = kappa / (d / 2 + math.hypot(d / 2, kappa))
            dimensions = np.floor(np.full(9, d * scale))
            np.testing.assert_allclose(ball_step_length(dimensions, kappa * scale), expected, rtol=ACCURACY)
            np.testing.assert_allclose(ball_step_length(dimensions[0], kappa * scale), expected, rtol=ACCURACY)
    assert ball_step_length(1e308, math.inf) == 1


def test_limits():
    assert ball_step_length(5, 0.0) == 0
    assert ball_step_length(5, math.inf) == 1
    assert ball_step_length(1, 1.7e308) == 1
    np.testing.assert_allclose(ball_step_length([1, 2, 1000], 1e-200), 1e-200 / np.array([3, 4, 1002]), rtol=1e-15)
    assert ball_step_length(1, 3e-320) > 0


def test_shapes_and_types():
    assert ball_step_length([1, 2, 3], [[1.0], [2.0]]).shape == (2, 3)
    assert ball_step_length(3, np.float32(2)).dtype == np.float32
    assert ball_step_length(3, np.ones(2, np.float32)).dtype == np.float32
    assert ball_step_length(np.ones(2, np.float32), 3).dtype == np.float64
    assert isinstance(ball_step_length(3, 2.0), np.float64)
    assert ball_step_length(3, []).shape == (0,)
    many = np.linspace(0, 100, 10_001)
    few = [ball_step_length(4, k) for k in many[::10]]
    np.testing.assert_array_equal(ball_step_length(4, many)[::10], few)


@pytest.mark.parametrize(
    ("d", "kappa", "message"),
    [
        (0, 1.0, "d is 0.0, no dimension"),
        ([1, 2.5], 1.0, r"d\[1\] is 2.5"),
        (math.inf, 1.0, "d is inf"),
        (2, [1.0, -1.0], r"kappa\[1\] is -1.0"),
        (2, math.nan, "kappa is nan"),
        ([1, 2], [1.0, 2.0, 3.0], "d and kappa must have shapes that broadcast"),
    ],
)
def test_bad_arguments(d, kappa, message):
    with pytest.raises(KexueValueError, match=message):
        ball_step_length(d, kappa)
