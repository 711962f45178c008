"""Tests of independence: METHODS' values, slow references, exactness, error rates, power, bad input."""

import dataclasses
import itertools
import math
import signal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kexue
from kexue import HSICTestResult, KexueValueError, hsic, hsic_test
from kexue import _hsic_test as module
from reference import independence as reference
from reference import independence_tests

X6 = np.array([0.1, -0.4, 0.9, 1.3, -1.1, 0.6])
Y6 = np.array([0.2, -0.1, 1.1, 0.7, -0.9, 0.3])
PARAMETERS = {
    "rbf": {"gamma": 0.3},
    "laplace": {"gamma": 0.4},
    "linear": {},
    "polynomial": {"gamma": 0.5, "coef0": 0.7, "degree": 3},
}


def reference_kernel(A, B):
    return reference.kernel_matrix("rbf", A, B, gamma=0.3)


def dependent(rng, n=15, columns_x=3, columns_y=2):
    X = rng.normal(size=(n, columns_x))
    return X, np.tanh(X[:, :1]) + rng.normal(size=(n, columns_y))


def matrices(X, Y, name):
    return (reference.kernel_matrix(name, points, **PARAMETERS[name]) for points in (X, Y))


def drawn(n, count, seed):
    """The random permutations: the order of the upper bits of 64."""
    bits = np.random.default_rng(seed).integers(0, 2**64 - 1, size=(count, n), dtype=np.uint64, endpoint=True)
    return np.argsort(bits >> np.uint64((n - 1).bit_length()), axis=1, kind="stable")


# ---- values ----


def test_published_gamma_test():
    result = hsic_test(X6, Y6, method="gamma", gamma=1.0)
    assert isinstance(result, HSICTestResult)
    assert result.statistic == pytest.approx(0.4486146021076463, rel=1e-12)
    assert result.mean == pytest.approx(0.04458011171567622, rel=1e-12)
    assert result.variance == pytest.approx(4.450611165227501e-05, rel=1e-12)
    assert result.shape == pytest.approx(44.65423481856976, rel=1e-12)
    assert result.scale == pytest.approx(0.00599004039327584, rel=1e-12)
    assert result.pvalue == pytest.approx(6.446598338292705e-05, rel=1e-11)
    assert (result.method, result.n_permutations, result.null_distribution) == ("gamma", None, None)


def test_published_statistic_is_that_of_permutations_too():
    result = hsic_test(X6, Y6, gamma=1.0)
    assert result.statistic == pytest.approx(0.4486146021076463, rel=1e-12)
    assert result.statistic == pytest.approx(6 * hsic(X6, Y6, gamma=1.0), rel=1e-12)
    assert (result.shape, result.scale, result.mean, result.variance) == (None,) * 4


@pytest.mark.parametrize("name", ["rbf", "laplace"])
def test_gamma_test_is_that_of_the_definition(name, rng):
    X, Y = dependent(rng)
    result = hsic_test(X, Y, method="gamma", kernel=name, **PARAMETERS[name])
    K, L = matrices(X, Y, name)
    mean, variance = independence_tests.gamma_moments(K, L)
    statistic = independence_tests.statistic(K, L)
    assert result.statistic == pytest.approx(statistic, rel=1e-11)
    assert result.mean == pytest.approx(mean, rel=1e-11)
    assert result.variance == pytest.approx(variance, rel=1e-11)
    expected = stats.gamma.sf(statistic, mean**2 / variance, scale=len(X) * variance / mean)
    assert result.pvalue == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", PARAMETERS)
def test_permutation_test_is_that_of_the_definition(name, rng):
    X, Y = dependent(rng)
    result = hsic_test(X, Y, kernel=name, n_permutations=300, rng=7, **PARAMETERS[name])
    K, L = matrices(X, Y, name)
    permutations = drawn(len(X), 300, 7)
    assert result.statistic == pytest.approx(independence_tests.statistic(K, L), rel=1e-11)
    expected = independence_tests.null_distribution(K, L, permutations)
    np.testing.assert_allclose(result.null_distribution, expected, rtol=0, atol=1e-6 * expected.max())
    assert result.pvalue == independence_tests.permutation_pvalue(K, L, permutations)
    assert (result.n_permutations, result.method) == (300, "permutation")


def test_median_bandwidth_is_that_of_hsic(rng):
    X, Y = dependent(rng)
    for method in ("permutation", "gamma"):
        assert hsic_test(X, Y, method=method).statistic == pytest.approx(len(X) * hsic(X, Y), rel=1e-11)


def test_options_of_each_side(rng):
    X, Y = dependent(rng)
    options = {"kernel": ("rbf", "polynomial"), "gamma": (0.2, 0.7), "degree": 2}
    assert hsic_test(X, Y, **options).statistic == pytest.approx(len(X) * hsic(X, Y, **options), rel=1e-11)


def test_matrices_and_functions_in_place_of_names(rng):
    X, Y = dependent(rng)
    expected = hsic_test(X, Y, gamma=0.3, rng=3)
    K, L = matrices(X, Y, "rbf")

    def kernel(A, B):
        return kexue.rbf_kernel(A, B, gamma=0.3)

    for arguments, options in [
        ((K, L), {"kernel": "precomputed"}),
        ((K, Y), {"kernel": ("precomputed", "rbf"), "gamma": 0.3}),
        ((X, L), {"kernel": (kernel, "precomputed")}),
        ((X, Y), {"kernel": kernel}),
    ]:
        result = hsic_test(*arguments, **options, rng=3)
        assert result.statistic == pytest.approx(expected.statistic, rel=1e-11)
        assert result.pvalue == expected.pvalue
        np.testing.assert_allclose(result.null_distribution, expected.null_distribution, rtol=1e-5)


@pytest.mark.parametrize("kernel", [lambda kept: lambda A, B: kept, lambda kept: lambda A, B: np.float32(kept)])
def test_callables_keep_what_they_return(kernel, rng):
    X, Y = dependent(rng)
    kept = kexue.rbf_kernel(X, gamma=0.3)
    before = kept.copy()
    kept.flags.writeable = False
    result = hsic_test(X, Y, kernel=(kernel(kept), "rbf"), gamma=(None, 0.3), rng=3)
    np.testing.assert_array_equal(kept, before)
    assert result.statistic == pytest.approx(hsic_test(X, Y, gamma=0.3, rng=3).statistic, rel=1e-6)


@pytest.mark.parametrize("rows_at_once", [17, 4])
def test_callables_must_be_symmetric(rows_at_once, monkeypatch, rng):
    monkeypatch.setattr("kexue._kernels._BLOCK_ENTRIES", rows_at_once * 15)
    X, Y = dependent(rng)
    with pytest.raises(KexueValueError, match="kernel function is not symmetric"):
        hsic_test(X, Y, kernel=(lambda A, B: A[:, :1] - B[:, :1].T, "linear"))


@pytest.mark.parametrize("scale", [1e-310, 1e-170, 1e-160, 1e-30, 1e100])
def test_linear_kernels_of_any_scale(scale, rng):
    X, Y = dependent(rng)
    expected = hsic_test(X, Y, kernel="linear", rng=1)
    result = hsic_test(X * scale, Y, kernel="linear", rng=1)
    assert result.pvalue == expected.pvalue
    assert result.statistic == pytest.approx(scale * expected.statistic * scale, rel=1e-6, abs=1e-320)


@pytest.mark.parametrize("scale", [2.0**-1060, 2.0**1019])
def test_matrices_at_the_ends_of_the_range(scale, rng):
    X, Y = dependent(rng)
    K, L = matrices(X, Y, "rbf")
    result = hsic_test(K * scale, L, kernel="precomputed", rng=3)
    assert result.pvalue == hsic_test(K, L, kernel="precomputed", rng=3).pvalue


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_matrices_of_any_scale(scale, rng):
    X, Y = dependent(rng)
    K, L = matrices(X, Y, "rbf")
    expected = hsic_test(K, L, kernel="precomputed", rng=0)
    result = hsic_test(scale * K, L / scale, kernel="precomputed", rng=0)
    assert result.pvalue == expected.pvalue
    np.testing.assert_allclose(result.null_distribution, expected.null_distribution, rtol=1e-5)


def test_points_far_from_the_origin(rng):
    X, Y = dependent(rng)
    for method in ("permutation", "gamma"):
        near, far = (hsic_test(X + shift, Y - shift, method=method, gamma=0.3, rng=0) for shift in (0, 2.0**20))
        assert far.statistic == pytest.approx(near.statistic, rel=1e-8)
        assert far.pvalue == pytest.approx(near.pvalue, rel=1e-6)


def test_linear_kernels_far_from_the_origin(rng):
    X, Y = dependent(rng)
    near, far = (hsic_test(X + shift, Y - shift, kernel="linear", rng=0) for shift in (0, 2.0**20))
    assert far.statistic == pytest.approx(near.statistic, rel=1e-8)
    np.testing.assert_allclose(far.null_distribution, near.null_distribution, rtol=1e-5)


@pytest.mark.parametrize("name", [*PARAMETERS, "precomputed", reference_kernel])
def test_matrices_in_blocks_of_rows(name, monkeypatch, rng):
    X, Y = dependent(rng, 40)
    if name == "precomputed":
        X, Y = matrices(X, Y, "rbf")
    options = {"kernel": name, **PARAMETERS.get(name, {})}
    expected = hsic_test(X, Y, rng=0, **options)
    monkeypatch.setattr("kexue._kernels._BLOCK_ENTRIES", 300)
    result = hsic_test(X, Y, rng=0, **options)
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert result.pvalue == expected.pvalue
    np.testing.assert_allclose(result.null_distribution, expected.null_distribution, rtol=1e-5)


def test_overflow():
    for X, kernel in ((1e160 * X6, "linear"), ((1e8 * X6).astype(np.float32), "polynomial")):
        with pytest.raises(OverflowError, match="overflow"):
            hsic_test(X, X, kernel=kernel, degree=6)


def test_random_permutations_are_uniform():
    """All 24 of 4 points come 2000 times in 48,000, but for what is likely at 99.9 %."""
    rows = np.concatenate([block.copy() for block in module._random_permutations(4, 48_000, np.random.default_rng(0))])
    assert (np.sort(rows, axis=1) == np.arange(4)).all()
    counts = np.unique(rows, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts).pvalue > 0.001


# ---- exactness ----


@pytest.mark.parametrize("n", [2, 3, 5])
def test_all_permutations_where_they_are_few(n, rng):
    X, Y = rng.normal(size=(2, n))
    result = hsic_test(X, Y, gamma=0.5, rng=0)
    others = list(itertools.permutations(range(n)))[1:]
    assert result.n_permutations == len(result.null_distribution) == math.factorial(n) - 1
    K, L = (reference.kernel_matrix("rbf", points[:, None], gamma=0.5) for points in (X, Y))
    assert result.pvalue == independence_tests.permutation_pvalue(K, L, others)
    assert hsic_test(X, Y, gamma=0.5, n_permutations=math.factorial(n) - 1).pvalue == result.pvalue


def test_all_permutations_come_in_blocks(monkeypatch, rng):
    X, Y = rng.normal(size=(2, 6))
    expected = hsic_test(X, Y)
    monkeypatch.setattr(module, "_PERMUTATION_BYTES", 4 * 6 * 7)
    result = hsic_test(X, Y)
    assert len(result.null_distribution) == 719
    np.testing.assert_array_equal(result.null_distribution, expected.null_distribution)


@given(st.lists(st.integers(0, 2), min_size=4, max_size=4), st.lists(st.integers(0, 2), min_size=4, max_size=4))
@settings(deadline=None, max_examples=25)
def test_never_more_often_than_its_level(x, y):
    """Over all 24 pairings of the values, which are equally likely, p-values are at most p in a share of p or less."""
    found = [hsic_test(x, [y[i] for i in p], bandwidth=1.0).pvalue for p in itertools.permutations(range(4))]
    found = np.sort(found)
    assert (found >= np.arange(1, 25) / 24 - 1e-12).all()


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_ties_count_as_large(seed):
    """With binary data and linear kernels, the statistic is the square of an integer but for a factor."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(7, 40))
    x, y = rng.integers(2, size=(2, n))
    result = hsic_test(x, y, kernel="linear", n_permutations=200, rng=seed)
    count = [abs(n * (x @ y[p]) - x.sum() * y.sum()) for p in [np.arange(n), *drawn(n, 200, seed)]]
    assert result.pvalue == sum(c >= count[0] for c in count) / 201


def test_equal_points_are_ties(rng):
    """Two values of each side, in real numbers: as many different statistics as there are tables."""
    x, y = (rng.normal(size=(2, 3))[rng.integers(2, size=50)] for _ in range(2))
    a, b = ((points == points[0]).all(axis=1).astype(int) for points in (x, y))
    for kernel in ("rbf", "laplace", "polynomial"):
        result = hsic_test(x, y, kernel=kernel, bandwidth=1.0 if kernel != "polynomial" else None, rng=5)
        count = [abs(50 * (a @ b[p]) - a.sum() * b.sum()) for p in [np.arange(50), *drawn(50, 1000, 5)]]
        assert result.pvalue == sum(c >= count[0] for c in count) / 1001


def test_constant_side_is_independent():
    result = hsic_test(np.ones(30), np.arange(30), bandwidth=1.0, rng=0)
    assert result.statistic == pytest.approx(0, abs=1e-12)
    assert result.pvalue == 1


# ---- error rates ----


def rejections(method, make, runs, n, **options):
    count = 0
    for seed in range(runs):
        rng = np.random.default_rng([20, seed])
        X, Y = make(rng, n)
        count += hsic_test(X, Y, method=method, rng=rng, workers=1, **options).pvalue <= 0.05
    return count


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_level(method):
    """Of 1000 independent samples of 60 points, as many are rejected at 0.05 as in 99.9 % of binomial samples."""
    count = rejections(
        method, lambda rng, n: (rng.normal(size=n), rng.exponential(size=n)), 1000, 60, n_permutations=199
    )
    lowest, highest = stats.binom.interval(0.999, 1000, 0.05)
    assert lowest <= count <= highest


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_power(method):
    """y = x^2 + 0.5 e, 100 points: uncorrelated, and found in more than 95 % of 200 samples."""

    def parabola(rng, n):
        x = rng.normal(size=n)
        return x, x**2 + 0.5 * rng.normal(size=n)

    assert rejections(method, parabola, 200, 100, n_permutations=199) > 190


# ---- the same for any number of workers, type and layout ----


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_workers(method, workers, dtype, rng):
    X, Y = (points.astype(dtype) for points in dependent(rng, 120))
    one, many = (hsic_test(X, Y, method=method, rng=1, workers=number) for number in (1, workers))
    for field in dataclasses.fields(HSICTestResult):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(many, field.name))


def test_blocks_of_permutations_have_no_influence(monkeypatch, rng):
    X, Y = dependent(rng, 40)
    expected = hsic_test(X, Y, rng=4)
    monkeypatch.setattr(module, "_PERMUTATION_BYTES", 0)
    np.testing.assert_array_equal(hsic_test(X, Y, rng=4).null_distribution, expected.null_distribution)


def test_rng(rng):
    X, Y = dependent(rng, 20)
    first, second, generator = (
        hsic_test(X, Y, rng=source).null_distribution for source in (5, 5, np.random.default_rng(5))
    )
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, generator)
    assert (hsic_test(X, Y).null_distribution != first).any()


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_layouts(method, layout, untouched, dtype, rng):
    X, Y = (points.astype(dtype) for points in dependent(rng, 20))
    expected = hsic_test(X, Y, method=method, rng=0)
    A, B = layout(X), layout(Y)
    with untouched(A, B):
        result = hsic_test(A, B, method=method, rng=0)
    assert (result.statistic, result.pvalue) == (expected.statistic, expected.pvalue)


@pytest.mark.parametrize("method", ["permutation", "gamma"])
def test_float32(method, rng):
    X, Y = (points.astype(np.float32) for points in dependent(rng, 50))
    single, double = (hsic_test(X.astype(t), Y.astype(t), method=method, rng=0) for t in (np.float32, np.float64))
    assert single.statistic == pytest.approx(double.statistic, rel=1e-5)
    assert single.pvalue == pytest.approx(double.pvalue, rel=1e-3)


def test_result_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        hsic_test(X6, Y6).pvalue = 0


def test_can_be_interrupted(rng):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(KeyboardInterrupt):
            hsic_test(*rng.normal(size=(2, 300)), n_permutations=10**7)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


# ---- errors ----


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X6, Y6[:5]), {}, "X has 6 and Y has 5"),
        ((X6[:5], Y6[:5]), {"method": "gamma"}, "5 points, but at least 6"),
        ((X6[:1], Y6[:1]), {}, "1 point, but at least 2"),
        ((X6, [1, 2, 3, np.nan, 5, 6]), {}, r"Y\[3\] is nan"),
        ((np.ones(6), Y6), {}, "all points are equal"),
        ((X6, Y6), {"method": "exact"}, 'method must be "permutation" or "gamma"'),
        ((X6, Y6), {"kernel": "cosine"}, "kernel must be"),
        ((X6, Y6), {"n_permutations": 0}, "n_permutations must be at least 1"),
        ((X6, Y6), {"memory_limit": 0}, "memory_limit must be at least 1"),
        ((X6, Y6), {"workers": 0}, "workers"),
        ((X6, Y6), {"method": "gamma", "kernel": "linear"}, "that of X is 'linear'"),
        ((X6, Y6), {"method": "gamma", "kernel": ("rbf", "polynomial")}, "that of Y is 'polynomial'"),
        ((np.eye(6), Y6), {"method": "gamma", "kernel": ("precomputed", "rbf")}, "that of X is 'precomputed'"),
        ((np.ones(6), Y6), {"method": "gamma", "bandwidth": 1.0}, "the kernel of X is constant"),
        ((X6, Y6), {"method": "gamma", "bandwidth": (1.0, 1e9)}, "the kernel of Y is constant"),
        ((np.eye(6), np.eye(6)), {"kernel": "precomputed", "gamma": 1.0}, "neither kernel has such a parameter"),
        ((X6, np.eye(6)), {"kernel": "precomputed"}, r"X must be a square kernel matrix, but its shape is \(6, 1\)"),
        ((np.eye(6), np.eye(6, k=1)), {"kernel": "precomputed"}, r"Y\[0, 1\] is 1.0 and Y\[1, 0\] is 0.0"),
        ((X6, Y6), {"kernel": lambda A, B: A}, "returned an array of shape"),
    ],
)
def test_bad_values(arguments, options, message):
    with pytest.raises(KexueValueError, match=message):
        hsic_test(*arguments, **options)


def test_bad_types():
    for options, message in [({"n_permutations": 10.0}, "n_permutations"), ({"kernel": 3}, "kernel")]:
        with pytest.raises(TypeError, match=message):
            hsic_test(X6, Y6, **options)
    with pytest.raises(TypeError, match="X must hold real numbers"):
        hsic_test(["a", "b"], [1, 2])


def test_memory_is_limited(rng):
    X, Y = rng.normal(size=(2, 1000))
    assert hsic_test(X, Y, memory_limit=10**7, n_permutations=9).n_permutations == 9
    with pytest.raises(MemoryError, match=r'1000 points need .* GiB.*method="gamma"'):
        hsic_test(X, Y, memory_limit=10**7 - 1)
    with pytest.raises(MemoryError, match="30000 points"):
        hsic_test(*np.arange(60000).reshape(2, 30000))
