import pickle
import re
import subprocess
import sys

import dask.array as da
import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import accuracy_gaussians as accuracy
import kexue
from kexue import gaussian_ot_map, gaussian_w2, gaussian_w2_grad
from reference import gaussians as reference

FORMS = ["covariance", "cholesky", "diagonal"]
PAIRS = ["gaussian_kl", "gaussian_bhattacharyya", "gaussian_hellinger", "gaussian_w2"]
GRADIENTS = {
    "gaussian_kl": kexue.gaussian_kl_grad,
    "gaussian_bhattacharyya": kexue.gaussian_bhattacharyya_grad,
    "gaussian_hellinger": kexue.gaussian_hellinger_grad,
    "gaussian_w2": kexue.gaussian_w2_grad,
}
EXAMPLE = (reference.MEAN_P, reference.COV_P, reference.MEAN_Q, reference.COV_Q)
STANDARD = (np.zeros(3), np.eye(3))
VALUES = reference.VALUES


def function(name):
    return getattr(kexue, name)


def oracle(name):
    return getattr(reference, name.removeprefix("gaussian_"))


def plain_oracle(name):
    return getattr(reference, f"plain_{name.removeprefix('gaussian_')}")


def random_scale(rng, shape, n, form, dtype=np.float64):
    """Of condition up to some 100."""
    if form == "diagonal":
        return rng.uniform(0.3, 3, size=(*shape, n)).astype(dtype)
    factor = np.tril(rng.normal(size=(*shape, n, n))) / np.sqrt(max(n, 1))
    factor[..., range(n), range(n)] = rng.uniform(0.5, 2, size=(*shape, n))
    if form == "cholesky":
        return factor.astype(dtype)
    matrix = (factor @ factor.swapaxes(-1, -2)).astype(dtype)
    return np.tril(matrix) + np.tril(matrix, -1).swapaxes(-1, -2)


def random_pair(rng, shape, n, form="covariance", dtype=np.float64):
    means = rng.normal(size=(2, *shape, n)).astype(dtype)
    scales = [random_scale(rng, shape, n, form, dtype) for _ in range(2)]
    return means[0], scales[0], means[1], scales[1]


def covariance(scale, form):
    if form == "diagonal":
        return scale[..., None] * np.eye(scale.shape[-1])
    return scale @ scale.swapaxes(-1, -2) if form == "cholesky" else scale


def item(arguments, index):
    return [argument[index] for argument in arguments]


# ---- values ----


@pytest.mark.parametrize("form", ["covariance", "cholesky"])
def test_values_of_methods(form):
    def scaled(mean_p, cov_p, mean_q, cov_q):
        scales = (cov_p, cov_q) if form == "covariance" else np.linalg.cholesky([cov_p, cov_q])
        return mean_p, scales[0], mean_q, scales[1]

    pair = scaled(*EXAMPLE)
    to_standard = scaled(*EXAMPLE[:2], *STANDARD)
    results = {
        "kl": kexue.gaussian_kl(*pair, form=form),
        "kl_reversed": kexue.gaussian_kl(*pair[2:], *pair[:2], form=form),
        "bhattacharyya": kexue.gaussian_bhattacharyya(*pair, form=form),
        "coefficient": np.exp(-kexue.gaussian_bhattacharyya(*pair, form=form)),
        "hellinger": kexue.gaussian_hellinger(*pair, form=form),
        "w2_squared": gaussian_w2(*pair, squared=True, form=form),
        "entropy_p": kexue.gaussian_entropy(pair[1], form=form),
        "kl_to_standard": kexue.gaussian_kl(*to_standard, form=form),
        "w2_squared_to_standard": gaussian_w2(*to_standard, squared=True, form=form),
    }
    assert results == pytest.approx(VALUES, rel=1e-14)
    assert gaussian_w2(*pair, form=form) ** 2 == pytest.approx(VALUES["w2_squared"], rel=1e-14)
    np.testing.assert_allclose(gaussian_ot_map(*pair, form=form).matrix, reference.MAP, rtol=1e-12)


def test_diagonal_value_of_methods():
    pair = ([0, 0], [1, 4], [0, 0], [9, 1])
    assert gaussian_w2(*pair, squared=True, form="diagonal") == 5
    assert gaussian_w2(*pair, form="diagonal") == np.sqrt(5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("name", PAIRS)
def test_accuracy(name, n, form, dtype, rng):
    pairs = random_pair(rng, (9,), n, form, dtype)
    results = function(name)(*pairs, form=form)
    assert results.dtype == dtype
    bound = 1e-12 if dtype == np.float64 else 1e-4
    for k in (0, 4, 8):
        exact = oracle(name)(*item(pairs, k), form)
        assert abs(results[k] - exact) <= bound * exact


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 5, 13])
def test_accuracy_of_the_entropy(n, form, dtype, rng):
    scales = random_scale(rng, (9,), n, form, dtype)
    results = kexue.gaussian_entropy(scales, form=form)
    assert results.dtype == dtype
    bound = 1e-14 if dtype == np.float64 else 2e-6
    for scale, result in zip(scales, results, strict=True):
        exact = reference.entropy(scale, form)
        assert abs(result - exact) <= bound * n


@pytest.mark.parametrize("n", [15, 16, 17, 33, 64, 100, 260])
@pytest.mark.parametrize("name", PAIRS)
def test_large_matrices(name, n, rng):
    pairs = random_pair(rng, (3,), n)
    expected = [plain_oracle(name)(*item(pairs, k)) for k in range(3)]
    np.testing.assert_allclose(function(name)(*pairs), expected, rtol=1e-10)


@pytest.mark.parametrize("n", [15, 16, 17, 33, 64, 260])
def test_large_matrices_of_one_scale(n, rng):
    mean_p, cov_p, mean_q, cov_q = random_pair(rng, (3,), n)
    np.testing.assert_allclose(kexue.gaussian_entropy(cov_p), [*map(reference.plain_entropy, cov_p)], rtol=1e-10)
    move = gaussian_ot_map(mean_p, cov_p, mean_q, cov_q)
    np.testing.assert_allclose(move.matrix @ cov_p @ move.matrix, cov_q, atol=1e-10)
    np.testing.assert_array_equal(move.matrix, move.matrix.swapaxes(1, 2))


@pytest.mark.parametrize("exponent", [4, 8, 12])
@pytest.mark.parametrize("name", ["gaussian_kl", "gaussian_bhattacharyya", "gaussian_hellinger"])
def test_accuracy_for_large_conditions(name, exponent, rng):
    n = 6
    directions = np.linalg.qr(rng.normal(size=(2, n, n)))[0]
    spectrum = np.logspace(0, -exponent, n)
    scales = directions * spectrum @ directions.swapaxes(-1, -2)
    scales = np.tril(scales) + np.tril(scales, -1).swapaxes(-1, -2)
    pair = (rng.normal(size=n), scales[0], rng.normal(size=n), scales[1])
    exact = oracle(name)(*pair)
    assert abs(function(name)(*pair) - exact) <= 4 * n * 2.2e-16 * 10**exponent * exact


@pytest.mark.parametrize("name", PAIRS)
def test_forms_agree(name, dtype, rng):
    rtol = 1e-11 if dtype == np.float64 else 1e-3
    mean_p, factor_p, mean_q, factor_q = random_pair(rng, (20,), 7, "cholesky", dtype)
    expected = function(name)(mean_p, covariance(factor_p, "cholesky"), mean_q, covariance(factor_q, "cholesky"))
    result = function(name)(mean_p, factor_p, mean_q, factor_q, form="cholesky")
    np.testing.assert_allclose(result, expected, rtol=rtol)
    mean_p, variance_p, mean_q, variance_q = random_pair(rng, (20,), 7, "diagonal", dtype)
    expected = function(name)(mean_p, covariance(variance_p, "diagonal"), mean_q, covariance(variance_q, "diagonal"))
    result = function(name)(mean_p, variance_p, mean_q, variance_q, form="diagonal")
    np.testing.assert_allclose(result, expected, rtol=rtol)


def test_closed_forms_of_one_dimension(rng):
    m, s, k, t = rng.normal(size=100), rng.uniform(0.1, 3, 100), rng.normal(size=100), rng.uniform(0.1, 3, 100)
    pair = (m[:, None], (s * s)[:, None, None], k[:, None], (t * t)[:, None, None])
    np.testing.assert_allclose(gaussian_w2(*pair), np.hypot(m - k, s - t), rtol=1e-13)
    kl = np.log(t / s) + (s * s + (m - k) ** 2) / (2 * t * t) - 0.5
    np.testing.assert_allclose(kexue.gaussian_kl(*pair), kl, rtol=1e-11, atol=1e-14)
    affinity = np.sqrt(2 * s * t / (s * s + t * t)) * np.exp(-((m - k) ** 2) / (4 * (s * s + t * t)))
    np.testing.assert_allclose(kexue.gaussian_hellinger(*pair), np.sqrt(1 - affinity), rtol=1e-10)
    np.testing.assert_allclose(kexue.gaussian_bhattacharyya(*pair), -np.log(affinity), rtol=1e-10)
    np.testing.assert_allclose(gaussian_ot_map(*pair).matrix[:, 0, 0], t / s, rtol=1e-13)
    np.testing.assert_allclose(kexue.gaussian_entropy(pair[1]), 0.5 * np.log(2 * np.pi * np.e * s * s), rtol=1e-13)


# ---- nearly equal, singular, infinite ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 5, 16, 40])
@pytest.mark.parametrize("name", PAIRS)
def test_equal_arguments_are_at_no_distance(name, n, form, dtype, rng):
    mean, scale, *_ = random_pair(rng, (20,), n, form, dtype)
    result = function(name)(mean, scale, mean, scale, form=form)
    np.testing.assert_array_equal(result, np.zeros(20))


@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-9, 1e-12, 1e-15])
@pytest.mark.parametrize("n", [1, 3, 6])
def test_nearly_equal_arguments(n, size, rng):
    mean, scale, other, direction = random_pair(rng, (), n)
    pair = (mean, scale, mean + size * other, scale + size * direction)
    for name in PAIRS:
        exact, result = oracle(name)(*pair), function(name)(*pair)
        # Divergences go with the square of the distance between p and q, which has an error of some eps.
        error = mpmath.sqrt(exact) if name in ("gaussian_kl", "gaussian_bhattacharyya") else 1
        assert result >= 0
        assert abs(result - exact) <= 1e-10 * exact + 4e-15 * n * error + 1e-29, name


def nearly_singular(rng, n, exponent):
    directions = np.linalg.qr(rng.normal(size=(n, n)))[0]
    matrix = directions * np.logspace(0, -exponent, n) @ directions.T
    return np.tril(matrix) + np.tril(matrix, -1).T


@pytest.mark.parametrize("exponent", [8, 12, 14, 16, 18])
def test_w2_of_nearly_singular_matrices(exponent, rng):
    for n in (2, 3, 6):
        for cov_q in (nearly_singular(rng, n, exponent), np.eye(n), np.zeros((n, n)), 2 * nearly_singular(rng, n, 0)):
            pair = (np.zeros(n), nearly_singular(rng, n, exponent), np.zeros(n), cov_q)
            result, exact = gaussian_w2(*pair), reference.w2(*pair)
            assert abs(result - exact) <= 1e-10 * np.sqrt(np.trace(pair[1]) + np.trace(cov_q))


@pytest.mark.parametrize("rank", [0, 1, 2, 4])
def test_w2_of_singular_matrices(rank, rng):
    n = 5
    points = rng.integers(-3, 4, size=(2, n, rank)).astype(float)  # so that the matrices are exactly singular
    cov = points @ points.swapaxes(-1, -2)
    pair = (np.zeros(n), cov[0], np.ones(n), cov[1])
    exact = reference.w2(*pair)
    assert abs(gaussian_w2(*pair) - exact) <= 1e-10 * exact
    np.testing.assert_allclose(gaussian_w2(*pair, squared=True), float(exact**2), rtol=1e-10)
    assert gaussian_w2(*pair[:2], *pair[:2]) <= 1e-15 * np.sqrt(1 + np.trace(cov[0]))
    assert gaussian_w2(*pair, squared=True) >= n
    definite = random_scale(rng, (), n, "covariance")
    exact = reference.w2(np.zeros(n), cov[0], np.zeros(n), definite)
    assert abs(gaussian_w2(np.zeros(n), cov[0], np.zeros(n), definite) - exact) <= 1e-10 * exact


def test_w2_of_singular_factors_and_variances(rng):
    factor = np.tril(rng.normal(size=(2, 4, 4)))
    factor[0, 1, 1] = factor[1, 3] = 0
    factor[1, 0, 0] *= -1  # any triangle is a factor
    pair = (np.zeros(4), factor[0], np.ones(4), factor[1])
    exact = reference.w2(*pair, "cholesky")
    assert abs(gaussian_w2(*pair, form="cholesky") - exact) <= 1e-10 * exact
    assert gaussian_w2([0, 0], [0, 4], [3, 0], [0, 64], form="diagonal") == np.hypot(3, 6)


def test_map_onto_a_singular_covariance(rng):
    cov_p, direction = random_scale(rng, (), 4, "covariance"), np.array([1.0, 2.0, -1.0, 0.5])
    cov_q = np.outer(direction, direction)
    move = gaussian_ot_map(np.zeros(4), cov_p, np.ones(4), cov_q)
    np.testing.assert_allclose(move.matrix @ cov_p @ move.matrix, cov_q, atol=1e-12)


@pytest.mark.parametrize("exponent", [2, 5, 8])
def test_map_for_large_conditions(exponent, rng):
    n = 6
    cov_p, cov_q = nearly_singular(rng, n, exponent), nearly_singular(rng, n, exponent)
    move = gaussian_ot_map(np.zeros(n), cov_p, np.zeros(n), cov_q)
    np.testing.assert_allclose(move.matrix @ cov_p @ move.matrix, cov_q, atol=1e-10)


def test_infinite_values():
    zero, one = [0.0, 0.0], [1.0, 1.0]
    assert kexue.gaussian_entropy([1.0, 0.0], form="diagonal") == -np.inf
    assert kexue.gaussian_entropy([[1.0, 0.0], [3.0, 0.0]], form="cholesky") == -np.inf
    assert kexue.gaussian_kl(zero, [1.0, 0.0], zero, one, form="diagonal") == np.inf
    assert kexue.gaussian_kl(zero, [[1.0, 0.0], [3.0, 0.0]], zero, np.eye(2), form="cholesky") == np.inf
    # One of them does not hide another one's error.
    with pytest.raises(kexue.KexueValueError, match=r"cov_p\[1, 0\] is -1.0, but a variance cannot be negative"):
        kexue.gaussian_kl(zero, [[1.0, 0.0], [-1.0, 1.0]], zero, one, form="diagonal")


def test_far_apart():
    pair = ([0.0], [1.0], [[1e3], [1e100]], [1.0])
    np.testing.assert_array_equal(kexue.gaussian_hellinger(*pair, form="diagonal"), [1, 1])
    np.testing.assert_allclose(kexue.gaussian_kl(*pair, form="diagonal"), [5e5, 5e199])
    np.testing.assert_allclose(gaussian_w2(*pair, form="diagonal"), [1e3, 1e100])
    np.testing.assert_allclose(gaussian_w2([0.0], [[4.0]], [1e100], [[4.0]]), 1e100)


@pytest.mark.parametrize("number", range(10 * len(accuracy.FAMILIES)))
def test_accuracy_of_all_families(number):
    errors = accuracy.examine(*accuracy.problem(1, number))
    assert all(error <= 1 for error in errors.values()), errors


# ---- gradients ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name, n, form, dtype, rng):
    pairs = random_pair(rng, (9,), n, form, dtype)
    gradients = GRADIENTS[name](*pairs, form=form)
    bound = 1e-11 if dtype == np.float64 else 1e-3
    for k in (0, 8):
        expected = reference.gradient(oracle(name), item(pairs, k), form)
        for result, wanted in zip(gradients, expected, strict=True):
            assert result.dtype == dtype
            np.testing.assert_allclose(result[k], wanted, rtol=bound, atol=bound * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 4])
def test_gradient_of_the_entropy(n, form, dtype, rng):
    scales = random_scale(rng, (9,), n, form, dtype)
    gradients = kexue.gaussian_entropy_grad(scales, form=form)
    assert gradients.dtype == dtype
    bound = 1e-11 if dtype == np.float64 else 1e-3
    for scale, result in zip(scales, gradients, strict=True):
        (expected,) = reference.gradient(reference.entropy, (scale,), form)
        np.testing.assert_allclose(result, expected, rtol=bound, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("form", FORMS)
def test_gradient_of_the_squared_distance(form, rng):
    pair = random_pair(rng, (), 3, form)
    expected = reference.gradient(reference.w2_squared, pair, form)
    for result, wanted in zip(gaussian_w2_grad(*pair, squared=True, form=form), expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-12, atol=1e-12 * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1e-3, 1e-6, 1e-10])
def test_gradient_of_the_squared_distance_of_nearly_equal_covariances(size, form, rng):
    """The gradient is small as well: relative to itself, not to the identity less which the map is."""
    mean, scale, _, other = random_pair(rng, (), 4, form)
    pair = (mean, scale, mean, scale + size * other)
    expected = reference.gradient(reference.w2_squared, pair, form)
    for result, wanted in zip(gaussian_w2_grad(*pair, squared=True, form=form), expected, strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-11, atol=1e-11 * np.abs(wanted).max())


@pytest.mark.parametrize("form", FORMS)
def test_gradient_by_equal_covariances_is_zero(form, dtype, rng):
    mean_p, scale, mean_q, _ = random_pair(rng, (9,), 5, form, dtype)
    for size in (1, 1e-20):
        gradients = gaussian_w2_grad(mean_p * size, scale, mean_q * size, scale, form=form)
        assert [gradient.any() for gradient in gradients] == [True, False, True, False]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [17, 40])
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_along_a_direction(name, n, form, rng):
    pair = random_pair(rng, (), n, form)
    direction = random_pair(rng, (), n, form)
    step = 1e-5

    def moved(by):
        return function(name)(*(x + by * d for x, d in zip(pair, direction, strict=True)), form=form)

    expected = (8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))) / (12 * step)
    gradients = GRADIENTS[name](*pair, form=form)
    slope = sum((g * d).sum() for g, d in zip(gradients, direction, strict=True))
    np.testing.assert_allclose(slope, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_gradients_at_no_distance_are_zero(name, form, rng):
    mean, scale, *_ = random_pair(rng, (5,), 4, form)
    for gradient in GRADIENTS[name](mean, scale, mean, scale, form=form):
        assert np.abs(gradient).max() <= (0 if name in ("gaussian_hellinger", "gaussian_w2") else 1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_broadcast(name, rng):
    mean_p, cov_p, mean_q, cov_q = random_pair(rng, (4, 3), 2)
    arguments = (mean_p[:, :1], cov_p[0, 0], mean_q[0], cov_q)
    whole = [np.broadcast_to(x, (4, 3, *x.shape[-d:])) for x, d in zip(arguments, (1, 2, 1, 2), strict=True)]
    results = GRADIENTS[name](*arguments)
    for result, expected, core in zip(results, GRADIENTS[name](*whole), ((2,), (2, 2)) * 2, strict=True):
        assert result.shape == (4, 3, *core)
        np.testing.assert_allclose(result, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients_by_matrices_are_symmetric_and_by_factors_triangular(name, rng):
    for gradient in GRADIENTS[name](*random_pair(rng, (9,), 7))[1::2]:
        np.testing.assert_array_equal(gradient, gradient.swapaxes(-1, -2))
    for gradient in GRADIENTS[name](*random_pair(rng, (9,), 7, "cholesky"), form="cholesky")[1::2]:
        np.testing.assert_array_equal(gradient, np.tril(gradient))


def test_gradients_need_definite_scales():
    zero = [0.0, 0.0]
    singular = {"diagonal": [1.0, 0.0], "cholesky": [[1.0, 0.0], [3.0, 0.0]], "covariance": [[1.0, 1.0], [1.0, 1.0]]}
    for form, scale in singular.items():
        good = [1.0, 1.0] if form == "diagonal" else np.eye(2)
        for name in PAIRS:
            for argument, pair in (("cov_p", (zero, scale, zero, good)), ("cov_q", (zero, good, zero, scale))):
                with pytest.raises(kexue.KexueValueError, match=f"^{argument}"):
                    GRADIENTS[name](*pair, form=form)
        with pytest.raises(kexue.KexueValueError, match=r"^cov"):
            kexue.gaussian_entropy_grad(scale, form=form)


# ---- invariants ----


@st.composite
def gaussians(draw, count, n=None):
    """As many means, and covariance matrices of condition below 1000."""
    n = draw(st.integers(1, 5)) if n is None else n
    means = draw(arrays(float, (count, n), elements=st.floats(-3, 3, width=32)))
    factors = draw(arrays(float, (count, n, n), elements=st.floats(-2, 2, width=32)))
    covariances = factors @ factors.swapaxes(-1, -2) + 0.25 * np.eye(n)
    return means, covariances


def at(drawn, i, j):
    means, covariances = drawn
    return means[i], covariances[i], means[j], covariances[j]


@given(gaussians(2))
def test_divergences_are_not_negative(drawn):
    assert kexue.gaussian_kl(*at(drawn, 0, 1)) >= 0
    assert kexue.gaussian_bhattacharyya(*at(drawn, 0, 1)) >= 0
    assert 0 <= kexue.gaussian_hellinger(*at(drawn, 0, 1)) <= 1
    assert gaussian_w2(*at(drawn, 0, 1)) >= 0


@given(gaussians(2))
def test_distances_are_symmetric(drawn):
    for name in ("gaussian_bhattacharyya", "gaussian_hellinger", "gaussian_w2"):
        there, back = function(name)(*at(drawn, 0, 1)), function(name)(*at(drawn, 1, 0))
        np.testing.assert_allclose(there, back, rtol=1e-10, atol=1e-14)


@given(gaussians(3))
def test_triangle_inequality(drawn):
    for name in ("gaussian_hellinger", "gaussian_w2"):
        sides = [function(name)(*at(drawn, i, j)) for i, j in ((0, 1), (1, 2), (0, 2))]
        assert sides[2] <= (sides[0] + sides[1]) * (1 + 1e-12) + 1e-13


@given(gaussians(2))
def test_w2_splits_into_means_and_covariances(drawn):
    mean_p, cov_p, mean_q, cov_q = at(drawn, 0, 1)
    whole = gaussian_w2(mean_p, cov_p, mean_q, cov_q, squared=True)
    parts = ((mean_p - mean_q) ** 2).sum() + gaussian_w2(mean_p, cov_p, mean_p, cov_q, squared=True)
    np.testing.assert_allclose(whole, parts, rtol=1e-11, atol=1e-14)


@given(gaussians(2, n=3), arrays(float, (3, 3), elements=st.floats(-1, 1, width=32)))
def test_affine_maps(drawn, matrix):
    mean_p, cov_p, mean_q, cov_q = at(drawn, 0, 1)
    matrix = matrix + 4 * np.eye(3)
    moved = (matrix @ mean_p - 1, matrix @ cov_p @ matrix.T, matrix @ mean_q - 1, matrix @ cov_q @ matrix.T)
    for name in ("gaussian_kl", "gaussian_bhattacharyya"):
        np.testing.assert_allclose(function(name)(*moved), function(name)(*at(drawn, 0, 1)), rtol=1e-9, atol=1e-11)
    shift = kexue.gaussian_entropy(moved[1]) - kexue.gaussian_entropy(cov_p)
    np.testing.assert_allclose(shift, np.linalg.slogdet(matrix)[1], rtol=1e-10)
    rotation = np.linalg.qr(matrix)[0]
    turned = (rotation @ mean_p, rotation @ cov_p @ rotation.T, rotation @ mean_q, rotation @ cov_q @ rotation.T)
    np.testing.assert_allclose(gaussian_w2(*turned), gaussian_w2(*at(drawn, 0, 1)), rtol=1e-9, atol=1e-7)


@given(gaussians(2), st.floats(1e-6, 1e6))
def test_w2_scales(drawn, factor):
    mean_p, cov_p, mean_q, cov_q = at(drawn, 0, 1)
    scaled = gaussian_w2(factor * mean_p, factor**2 * cov_p, factor * mean_q, factor**2 * cov_q)
    np.testing.assert_allclose(scaled, factor * gaussian_w2(*at(drawn, 0, 1)), rtol=1e-10, atol=1e-14 * factor)


@given(gaussians(2))
def test_maps_move_one_gaussian_to_the_other(drawn):
    mean_p, cov_p, mean_q, cov_q = at(drawn, 0, 1)
    move, back = gaussian_ot_map(*at(drawn, 0, 1)), gaussian_ot_map(*at(drawn, 1, 0))
    np.testing.assert_allclose(move.matrix @ cov_p @ move.matrix, cov_q, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(move(mean_p), mean_q, atol=1e-14)
    np.testing.assert_allclose(back(move(mean_p + 1)), mean_p + 1, rtol=1e-9, atol=1e-9)
    # The cost of the map is the distance: the trace of (T - I) Sp (T - I), and the means.
    rest = move.matrix - np.eye(len(mean_p))
    cost = np.trace(rest @ cov_p @ rest) + ((mean_p - mean_q) ** 2).sum()
    np.testing.assert_allclose(gaussian_w2(*at(drawn, 0, 1), squared=True), cost, rtol=1e-9, atol=1e-12)


@given(gaussians(2, n=4))
def test_marginals_are_no_farther_apart(drawn):
    mean_p, cov_p, mean_q, cov_q = at(drawn, 0, 1)
    part = (mean_p[:2], cov_p[:2, :2], mean_q[:2], cov_q[:2, :2])
    for name in PAIRS:
        assert function(name)(*part) <= function(name)(*at(drawn, 0, 1)) * (1 + 1e-10) + 1e-12


# ---- the optimal map ----


def test_map_of_points(rng):
    mean_p, cov_p, mean_q, cov_q = EXAMPLE
    move = gaussian_ot_map(*EXAMPLE)
    points = rng.multivariate_normal(mean_p, cov_p, size=50)
    moved = move(points)
    np.testing.assert_allclose(moved, mean_q + (points - mean_p) @ reference.MAP, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(moved, points @ move.matrix + move.offset, rtol=1e-12, atol=1e-12)
    assert move([1.0, 2.0, -1.0]).tolist() == mean_q.tolist()
    assert not move.diagonal
    assert move(np.empty((0, 3))).shape == (0, 3)


def test_map_of_each_form(rng):
    mean_p, factor_p, mean_q, factor_q = random_pair(rng, (), 4, "cholesky")
    by_factors = gaussian_ot_map(mean_p, factor_p, mean_q, factor_q, form="cholesky")
    by_matrices = gaussian_ot_map(mean_p, factor_p @ factor_p.T, mean_q, factor_q @ factor_q.T)
    np.testing.assert_allclose(by_factors.matrix, by_matrices.matrix, rtol=1e-11, atol=1e-12)
    mean_p, variance_p, mean_q, variance_q = random_pair(rng, (5,), 4, "diagonal")
    move = gaussian_ot_map(mean_p, variance_p, mean_q, variance_q, form="diagonal")
    assert move.diagonal
    np.testing.assert_allclose(move.matrix, np.sqrt(variance_q / variance_p), rtol=1e-15)
    np.testing.assert_allclose(move(mean_p), mean_q)
    np.testing.assert_allclose(move.matrix * mean_p + move.offset, mean_q, atol=1e-14)


def test_batches_of_maps(rng):
    pairs = random_pair(rng, (6,), 3)
    moves = gaussian_ot_map(*pairs)
    assert moves.matrix.shape == (6, 3, 3)
    points = rng.normal(size=(10, 6, 3))
    moved = moves(points)
    for k in range(6):
        np.testing.assert_allclose(moved[:, k], gaussian_ot_map(*item(pairs, k))(points[:, k]), rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(moves(points[:, :1])[:, 3], moves(np.broadcast_to(points[:, :1], (10, 6, 3)))[:, 3])
    # Batches of means with one pair of matrices.
    shared = gaussian_ot_map(pairs[0], pairs[1][0], pairs[2], pairs[3][0])
    assert shared.matrix.shape == (3, 3)
    np.testing.assert_allclose(shared(pairs[0]), pairs[2], atol=1e-14)


def test_map_is_a_value(rng):
    pair = [np.array(x) for x in EXAMPLE]
    move = gaussian_ot_map(*pair)
    before = move([0.0, 0.0, 0.0])
    for array in pair:
        array[...] = np.nan
    np.testing.assert_array_equal(move([0.0, 0.0, 0.0]), before)
    again = pickle.loads(pickle.dumps(move))
    np.testing.assert_array_equal(again([0.0, 0.0, 0.0]), before)
    with pytest.raises(AttributeError):
        move.matrix = None
    for bad in (1.0, [1.0, 2.0]):
        with pytest.raises(kexue.KexueValueError, match=r"x must have shape \(..., 3\)"):
            move(bad)
    with pytest.raises(TypeError, match="x must hold real numbers"):
        move(["a", "b", "c"])
    assert isinstance(move, kexue.GaussianMap)


# ---- arguments ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_layouts(name, form, layout, untouched, dtype, rng):
    pairs = [layout(x) for x in random_pair(rng, (5,), 4, form, dtype)]
    with untouched(*pairs):
        result = function(name)(*pairs, form=form)
        gradients = GRADIENTS[name](*pairs, form=form)
    assert result.dtype == dtype
    plain = [np.ascontiguousarray(x, dtype=dtype) for x in pairs]
    np.testing.assert_allclose(result, function(name)(*plain, form=form), rtol=64 * np.finfo(dtype).eps)
    for gradient, expected in zip(gradients, GRADIENTS[name](*plain, form=form), strict=True):
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 if dtype == np.float32 else 1e-13)


def test_dtypes():
    mean, cov = np.zeros(2), np.eye(2)
    for given_dtype, expected in (
        (np.float16, np.float32),
        (np.float32, np.float32),
        (int, np.float64),
        (bool, np.float64),
    ):
        arguments = [x.astype(given_dtype) for x in (mean, cov, mean, cov)]
        for name in PAIRS:
            assert function(name)(*arguments).dtype == expected
            assert all(g.dtype == expected for g in GRADIENTS[name](*arguments))
        assert kexue.gaussian_entropy(cov.astype(given_dtype)).dtype == expected
        assert gaussian_ot_map(*arguments).matrix.dtype == expected
        assert gaussian_ot_map(*arguments)(mean.astype(given_dtype)).dtype == expected
    narrow = [x.astype(np.float32) for x in (mean, cov, mean)]
    assert kexue.gaussian_kl(*narrow, cov).dtype == np.float64
    assert kexue.gaussian_kl(*narrow, cov.astype(int)).dtype == np.float32
    assert kexue.gaussian_kl([0, 0], [[1, 0], [0, 1]], [0, 0], [[1, 0], [0, 1]]) == 0


@pytest.mark.parametrize("name", PAIRS)
def test_batches_and_broadcasting(name, rng):
    mean_p, cov_p, mean_q, cov_q = random_pair(rng, (4, 3), 5)
    arguments = (mean_p[:, :1], cov_p[0, 0], mean_q[0], cov_q)
    result = function(name)(*arguments)
    assert result.shape == (4, 3)
    for i in range(4):
        for j in range(3):
            one = function(name)(mean_p[i, 0], cov_p[0, 0], mean_q[0, j], cov_q[i, j])
            assert isinstance(one, np.float64)
            np.testing.assert_allclose(result[i, j], one, rtol=1e-12)
    out = np.empty((4, 3))
    assert function(name)(*arguments, out=out) is out
    np.testing.assert_array_equal(out, result)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [1, 2, 9])
@pytest.mark.parametrize("name", PAIRS)
def test_items_do_not_depend_on_their_batch(name, n, form, dtype, rng):
    """Not in a bit, be they near to each other or not, alone, or one of many that share their covariances."""
    mean_p, scale_p, mean_q, scale_q = random_pair(rng, (19,), n, form, dtype)
    scale_q[::3] = scale_p[::3] * np.asarray(1.001, dtype)
    mean_q[::6] = mean_p[::6]
    batch = mean_p, scale_p, mean_q, scale_q
    whole = function(name)(*batch, form=form), *GRADIENTS[name](*batch, form=form)
    for k in range(19):
        one = function(name)(*item(batch, k), form=form), *GRADIENTS[name](*item(batch, k), form=form)
        for result, alone in zip(whole, one, strict=True):
            np.testing.assert_array_equal(result[k], alone)
    for k in (0, 1):
        shared = [mean_p, scale_p[k], mean_q, scale_q[k]]
        repeated = [mean_p, np.repeat(scale_p[k][None], 19, 0), mean_q, np.repeat(scale_q[k][None], 19, 0)]
        np.testing.assert_array_equal(function(name)(*shared, form=form), function(name)(*repeated, form=form))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [0, 1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_empty_batches_and_dimensions(name, n, form, dtype):
    scale = np.ones((0, n) if form == "diagonal" else (0, n, n), dtype=dtype)
    mean = np.ones((0, n), dtype=dtype)
    result = function(name)(mean, scale, mean, scale, form=form)
    assert result.shape == (0,)
    assert result.dtype == dtype
    gradients = GRADIENTS[name](mean, scale, mean, scale, form=form)
    assert [g.shape for g in gradients] == [mean.shape, scale.shape] * 2
    assert kexue.gaussian_entropy(scale, form=form).shape == (0,)
    if n == 0:
        scale = np.ones((4, *scale.shape[1:]), dtype=dtype)
        mean = np.ones((4, 0), dtype=dtype)
        np.testing.assert_array_equal(function(name)(mean, scale, mean, scale, form=form), np.zeros(4))
        np.testing.assert_array_equal(kexue.gaussian_entropy(scale, form=form), np.zeros(4))
        assert gaussian_ot_map(mean, scale, mean, scale, form=form)(mean).shape == (4, 0)


EYE = np.eye(2)
BATCH = np.stack([EYE, EYE, EYE, np.array([[1, 2], [2, 3.5]])])
ASYMMETRIC = np.array([[2.0, 0.5], [0.4, 1.0]])
ZEROS = np.zeros(2)


@pytest.mark.parametrize(
    ("arguments", "form", "message"),
    [
        ((ZEROS, EYE, ZEROS, BATCH), "covariance", "cov_q[3] is not positive definite: pivot 1 is -0.5"),
        ((ZEROS, EYE, ZEROS, BATCH[3]), "covariance", "cov_q is not positive definite: pivot 1 is -0.5"),
        ((ZEROS, -EYE, ZEROS, EYE), "covariance", "cov_p is not positive definite: pivot 0 is -1"),
        ((ZEROS, EYE, ZEROS, 0 * EYE), "covariance", "cov_q is not positive definite: pivot 0 is 0"),
        (
            (np.zeros((5, 1, 2)), BATCH[[0, 3]], ZEROS, EYE),
            "covariance",
            "cov_p[1] is not positive definite: pivot 1 is -0.5; cov_p has shape (2, 2, 2)",
        ),
        (
            (ZEROS, EYE, ZEROS, [EYE, ASYMMETRIC]),
            "covariance",
            "cov_q[1] is not symmetric (to 1e-08 of its largest variance): cov_q[1, 0, 1] is 0.5, cov_q[1, 1, 0] is",
        ),
        ((ZEROS, [[1.0, np.nan], [0.0, 1.0]], ZEROS, EYE), "covariance", "cov_p[0, 1] is nan"),
        ((ZEROS, EYE, ZEROS, [EYE, [[np.inf, 0], [0, 1]]]), "covariance", "cov_q[1, 0, 0] is inf"),
        (([[0.0, 0.0], [0.0, np.nan]], EYE, ZEROS, EYE), "covariance", "mean_p[1, 1] is nan"),
        ((ZEROS, EYE, [np.inf, 0.0], EYE), "covariance", "mean_q[0] is inf"),
        (
            (ZEROS, EYE, ZEROS, [[1.0, 0.5], [0.0, 1.0]]),
            "cholesky",
            "cov_q[0, 1] is 0.5, but a Cholesky factor is",
        ),
        ((ZEROS, EYE, ZEROS, [[1.0, 0.0], [np.nan, 1.0]]), "cholesky", "cov_q[1, 0] is nan"),
        (
            (ZEROS, EYE, ZEROS, [[1.0, 0.0], [2.0, 0.0]]),
            "cholesky",
            "cov_q[1, 1] is 0.0, but the diagonal of a",
        ),
        ((ZEROS, [1.0, -1.0], ZEROS, [1.0, 1.0]), "diagonal", "cov_p[1] is -1.0, but a variance"),
        ((ZEROS, [1.0, 1.0], ZEROS, [[1.0, 1.0], [0.0, 1.0]]), "diagonal", "cov_q[1, 0] is 0.0, but a variance"),
        ((ZEROS, [1.0, np.inf], ZEROS, [1.0, 1.0]), "diagonal", "cov_p[1] is inf"),
        ((ZEROS, EYE, ZEROS, EYE), "full", 'form must be "covariance", "cholesky" or "diagonal", got \'full\''),
        ((ZEROS, [1.0, 1.0], ZEROS, EYE), "covariance", "cov_p must have shape (..., n, n), but its shape is (2,)"),
        (
            (ZEROS, EYE, ZEROS, np.ones((2, 3))),
            "covariance",
            "cov_q must have shape (..., n, n), but its shape is",
        ),
        ((0.0, EYE, ZEROS, EYE), "covariance", "mean_p must have shape (..., n), but its shape is ()"),
        ((ZEROS, EYE, np.zeros(3), EYE), "covariance", "mean_q has shape (3,), but mean_p has shape (2,)"),
        ((ZEROS, EYE, np.zeros((3, 2)), BATCH), "covariance", "the leading dimensions do not broadcast: mean_p (2,)"),
        ((ZEROS, [[1.0], [1.0, 2.0]], ZEROS, EYE), "covariance", "cov_p is not an array of one shape"),
    ],
)
def test_bad_arguments(arguments, form, message):
    for name in ("gaussian_kl", "gaussian_bhattacharyya", "gaussian_hellinger"):
        infinite = "is 0.0" in message and name != "gaussian_kl"  # a distance can be, a gradient not
        for call in (GRADIENTS[name],) if infinite else (GRADIENTS[name], function(name)):
            with pytest.raises(kexue.KexueValueError, match=re.escape(message)):
                call(*arguments, form=form)
    if "definite" not in message and "is 0.0" not in message:
        for of_transport in (gaussian_w2, gaussian_w2_grad, gaussian_ot_map):
            with pytest.raises(kexue.KexueValueError, match=re.escape(message)):
                of_transport(*arguments, form=form)


def test_bad_arguments_of_the_entropy():
    for call in (kexue.gaussian_entropy, kexue.gaussian_entropy_grad):
        with pytest.raises(kexue.KexueValueError, match=r"cov\[3\] is not positive definite: pivot 1 is -0.5"):
            call(BATCH)
        with pytest.raises(kexue.KexueValueError, match=r"cov\[0\] is -1.0, but a variance"):
            call([-1.0], form="diagonal")
        with pytest.raises(TypeError, match="cov must hold real numbers"):
            call(np.eye(2) * 1j)


def test_indefinite_matrices_have_no_w2():
    with pytest.raises(kexue.KexueValueError, match=r"cov_q\[3\] is not positive semidefinite: it has an eigenvalue"):
        gaussian_w2(ZEROS, EYE, ZEROS, BATCH)
    with pytest.raises(kexue.KexueValueError, match=r"cov_q\[3\] is not positive semidefinite"):
        gaussian_ot_map(ZEROS, EYE, ZEROS, BATCH)
    with pytest.raises(kexue.KexueValueError, match="cov_p is not positive definite: pivot 1 is 0"):
        gaussian_ot_map(ZEROS, np.ones((2, 2)), ZEROS, EYE)
    with pytest.raises(kexue.KexueValueError, match=r"cov_p\[0\] is -1.0, but a variance cannot be negative"):
        gaussian_w2(ZEROS, [-1.0, 1.0], ZEROS, [1.0, 1.0], form="diagonal")
    # By rounding only: an eigenvalue of about -1e-16.
    singular = np.outer([1.0, 1 / 3], [1.0, 1 / 3]) - [[0, 0], [0, 1e-16]]
    assert abs(gaussian_w2(ZEROS, singular, ZEROS, 0 * EYE) - np.sqrt(10) / 3) < 1e-12


def test_symmetry_is_asked_to_rounding(dtype):
    # A product A B A^T is not symmetric to the last digit.
    cov = EYE.astype(dtype)
    tolerance = 1e-8 if dtype == np.float64 else 1e-4
    for size, fine in ((0.5, True), (2, False)):
        other, mean = 100 * cov, ZEROS.astype(dtype)
        other[0, 1] = 100 * size * tolerance
        # A float32 matrix is no more symmetric for being used in float64.
        for second in (mean, ZEROS):
            if fine:
                assert kexue.gaussian_kl(mean, other, second, cov) > 0
            else:
                with pytest.raises(kexue.KexueValueError, match="not symmetric"):
                    kexue.gaussian_kl(mean, other, second, cov)


@pytest.mark.parametrize("n", [2, 7, 8, 9, 16, 23, 40])
def test_every_entry_is_checked(n, dtype, rng):
    cov = random_scale(rng, (3,), n, "covariance", dtype)
    factor = random_scale(rng, (3,), n, "cholesky", dtype)
    for _ in range(20):
        i, j = sorted(rng.choice(n, size=2, replace=False))
        for place in ((1, i, j), (1, j, i)):
            bad = cov.copy()
            bad[place] += 0.01
            with pytest.raises(kexue.KexueValueError, match=rf"cov\[1\] is not symmetric.* cov\[1, {i}, {j}\] is"):
                kexue.gaussian_entropy(bad)
            bad[place] = np.nan
            with pytest.raises(kexue.KexueValueError, match=rf"cov\[{', '.join(map(str, place))}\] is nan"):
                kexue.gaussian_entropy(bad.swapaxes(0, 1).copy().swapaxes(0, 1))
        bad = factor.copy()
        bad[1, i, j] = 1e-30
        with pytest.raises(kexue.KexueValueError, match=rf"cov\[1, {i}, {j}\] is 1e-30, but a Cholesky factor"):
            kexue.gaussian_entropy(bad, form="cholesky")
        bad[1, i, j] = -0.0
        assert np.isfinite(kexue.gaussian_entropy(bad, form="cholesky")).all()
        bad[1, j, i] = -np.inf
        with pytest.raises(kexue.KexueValueError, match=rf"cov\[1, {j}, {i}\] is -inf"):
            kexue.gaussian_entropy(bad, form="cholesky")


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("bad", [["a", "b"], [1j, 0], np.ma.masked_equal([1.0, 2.0], 2), None], ids=repr)
def test_other_types(place, bad):
    names = ("mean_p", "cov_p", "mean_q", "cov_q")
    arguments = [ZEROS, EYE, ZEROS, EYE]
    arguments[place] = bad
    for name in PAIRS:
        with pytest.raises(TypeError, match=names[place]):
            function(name)(*arguments)


def test_overflow_is_an_error():
    with pytest.raises(OverflowError, match="the result of item 1 is not a number: terms of it overflow float64"):
        kexue.gaussian_kl([[0.0, 0.0], [1e308, 1.0]], EYE, [[1.0, 1.0], [-1e308, 1.0]], EYE)


def test_the_callers_errstate_is_left_alone(rng):
    with np.errstate(all="raise"):
        for name in PAIRS:
            assert function(name)(*EXAMPLE) > 0
            GRADIENTS[name](*EXAMPLE)
        assert kexue.gaussian_kl(ZEROS, [1.0, 0.0], ZEROS, [1.0, 1.0], form="diagonal") == np.inf
        assert gaussian_w2_grad(*EXAMPLE[:2], *EXAMPLE[:2])[0].tolist() == [0, 0, 0]
        with pytest.raises(kexue.KexueValueError):
            kexue.gaussian_kl(ZEROS, EYE, ZEROS, -EYE)


@pytest.mark.parametrize("form", FORMS)
def test_small_terms_raise_no_flags(form, dtype, rng):
    """Neither what underflows beside larger terms, nor scratch that was never written, is the caller's business."""
    exponents = (-300, -100, 0, 290) if dtype == np.float64 else (-36, -10, 0, 30)
    for exponent in exponents if form != "cholesky" else exponents[1:3]:
        for n in (1, 5, 9, 20):
            mean_p, scale_p, mean_q, scale_q = random_pair(rng, (3,), n, form)
            size = 10.0**exponent
            length = size if form == "cholesky" else np.sqrt(size)
            pair = (length * mean_p, size * scale_p, length * mean_q, size * scale_q)
            pair = [x.astype(dtype) for x in pair]
            with np.errstate(all="raise"):
                kexue.gaussian_entropy_grad(pair[1], form=form)
                for name in PAIRS:
                    assert (function(name)(*pair, form=form) > 0).all()
                    if exponent in exponents[1:3]:
                        GRADIENTS[name](*pair, form=form)


def test_gradient_at_the_smallest_distances():
    mean = np.array([[1e-310, 0.0], [1e-200, 0.0], [1e200, 0.0]])
    for gradient, expected in zip(gaussian_w2_grad(mean, EYE, ZEROS, EYE), (1, 0, -1, 0), strict=True):
        wanted = np.broadcast_to(0.0, gradient.shape).copy()
        wanted[(slice(None), *(0,) * (gradient.ndim - 1))] = expected
        np.testing.assert_array_equal(gradient, wanted)


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_out_of_memory_is_a_memory_error():
    # The matrices take no memory, their factors would take 8 GB.
    program = """
import resource, numpy as np, kexue
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
mean, cov = np.broadcast_to(1.0, 11000), np.broadcast_to(1.0, (11000, 11000))
for call in (lambda: kexue.gaussian_kl(mean, cov, mean, cov), lambda: kexue.gaussian_w2(mean, cov, mean, cov),
             lambda: kexue.ufuncs.gaussian_kl_covariance(mean, cov, mean, cov)):
    try:
        call()
    except MemoryError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert done.stdout == "out of memory\n" * 3, done.stderr


@pytest.mark.parametrize(
    "call",
    [
        "gaussian_w2(mean, many, mean, cov)",
        "gaussian_kl_grad(mean, many, mean, cov)",
        "gaussian_kl(mean, many[:, None], mean, few)",  # many loops, each of them short
    ],
)
def test_interrupt(call):
    program = f"""
import os, signal, threading, time
import numpy as np, kexue
mean, cov = np.zeros(64), np.eye(64) + 1.0
many, few = np.broadcast_to(cov, (10**5, 64, 64)), np.array([cov] * 100)
sent = []
def interrupt():
    time.sleep(0.3)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=interrupt)
thread.start()
try:
    kexue.{call}
    thread.join()
except KeyboardInterrupt:
    latency = time.perf_counter() - sent[0]
    thread.join()
    assert kexue.gaussian_kl(mean, cov, mean, cov) == 0
    print(latency)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert float(done.stdout) < 2, done.stderr


# ---- Dask ----


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", PAIRS)
def test_dask_stays_lazy(name, form, rng):
    mean_p, scale_p, mean_q, scale_q = random_pair(rng, (6, 4), 3, form)
    arguments = (mean_p, scale_p[0], mean_q[:, :1], scale_q)
    core = (3,) if form == "diagonal" else (3, 3)
    lazy = (
        da.from_array(mean_p, chunks=(2, 3, 3)),
        da.from_array(scale_p[0], chunks=(4, *core)),
        mean_q[:, :1],
        da.from_array(scale_q, chunks=(3, 2, *core)),
    )
    result = function(name)(*lazy, form=form)
    assert isinstance(result, da.Array)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result.compute(scheduler="threads"), function(name)(*arguments, form=form), rtol=1e-12)
    gradients = GRADIENTS[name](*lazy, form=form)
    for gradient, expected in zip(gradients, GRADIENTS[name](*arguments, form=form), strict=True):
        assert isinstance(gradient, da.Array)
        np.testing.assert_allclose(gradient.compute(), expected, rtol=1e-10, atol=1e-13)
    entropy = kexue.gaussian_entropy(lazy[3].astype(np.float32), form=form)
    assert entropy.dtype == np.float32
    np.testing.assert_allclose(entropy.compute(), kexue.gaussian_entropy(scale_q, form=form), rtol=1e-4, atol=1e-4)


def test_dask_and_bad_arguments():
    cov = da.from_array(BATCH, chunks=(2, 2, 2))
    result = kexue.gaussian_kl(ZEROS, EYE, ZEROS, cov)
    with pytest.raises(kexue.KexueValueError, match=r"cov_q\[1\] is not positive definite"):  # of its chunk
        result.compute()
    with pytest.raises(kexue.KexueValueError, match=r"mean_p must have shape"):
        kexue.gaussian_kl(0.0, EYE, ZEROS, cov)
    with pytest.raises(TypeError, match="out cannot be given with Dask arrays"):
        kexue.gaussian_kl(ZEROS, EYE, ZEROS, cov, out=np.empty(4))
    with pytest.raises(TypeError, match="gaussian_ot_map does not take Dask arrays"):
        gaussian_ot_map(ZEROS, EYE, ZEROS, cov)


# ---- the oracles ----


def test_oracles_agree(rng):
    pair = random_pair(rng, (), 5)
    for name in PAIRS:
        np.testing.assert_allclose(plain_oracle(name)(*pair), float(oracle(name)(*pair)), rtol=1e-11)
    np.testing.assert_allclose(reference.plain_entropy(pair[1]), float(reference.entropy(pair[1])), rtol=1e-12)
    exact = reference.ot_map(pair[1], pair[3])
    np.testing.assert_allclose(reference.plain_ot_map(pair[1], pair[3]), exact.astype(float), rtol=1e-10)
    assert abs(reference.kl(*EXAMPLE) - mpmath.mpf(VALUES["kl"])) < 4e-15
