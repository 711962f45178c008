"""Kernels, HSIC, CKA and gradients against their definitions, METHODS' values and mpmath; invariants; errors."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from kexue import (
    KexueValueError,
    cka,
    hsic,
    hsic_from_kernels,
    hsic_from_kernels_unbiased,
    hsic_gradient,
    laplace_kernel,
    linear_kernel,
    median_bandwidth,
    normalized_hsic,
    polynomial_kernel,
    rbf_kernel,
)
from reference import independence as reference

X6 = np.array([0.1, -0.4, 0.9, 1.3, -1.1, 0.6])
Y6 = np.array([0.2, -0.1, 1.1, 0.7, -0.9, 0.3])
ESTIMATORS = ("biased", "n-1", "unbiased")
PARAMETERS = {
    "rbf": {"gamma": 0.3},
    "laplace": {"gamma": 0.4},
    "linear": {},
    "polynomial": {"gamma": 0.5, "coef0": 0.7, "degree": 3},
}
FUNCTIONS = {
    "rbf": rbf_kernel,
    "laplace": laplace_kernel,
    "linear": linear_kernel,
    "polynomial": polynomial_kernel,
}


def dependent(rng, n=17, columns_x=3, columns_y=2):
    X = rng.normal(size=(n, columns_x))
    Y = np.tanh(X[:, :1]) + 0.5 * rng.normal(size=(n, columns_y))
    return X, Y


def matrices(X, Y, name):
    return reference.kernel_matrix(name, X, **PARAMETERS[name]), reference.kernel_matrix(name, Y, **PARAMETERS[name])


# ---- values ----


@pytest.mark.parametrize(
    ("options", "value"),
    [
        ({"gamma": 1.0}, 0.07476910035127426),
        ({"gamma": 1.0, "estimator": "n-1"}, 0.10766750450583494),
        ({"gamma": 1.0, "estimator": "unbiased"}, 0.054799891479373426),
        ({"kernel": "linear"}, 0.2219456790123458),
        ({"bandwidth": 0.5**0.5}, 0.07476910035127426),
    ],
)
def test_published_values(options, value):
    assert hsic(X6, Y6, **options) == pytest.approx(value, rel=1e-13)


def test_published_values_of_scaled_forms():
    assert cka(X6, Y6, kernel="rbf", gamma=1.0) == pytest.approx(0.8518844441789005, rel=1e-13)
    assert cka(X6, Y6, kernel="rbf", gamma=1.0, debiased=True) == pytest.approx(0.8130295895621098, rel=1e-13)
    assert cka(X6, Y6) == pytest.approx(np.corrcoef(X6, Y6)[0, 1] ** 2, rel=1e-13)
    # The condition number of the matrix that is inverted is 1 / epsilon.
    assert normalized_hsic(X6, Y6, gamma=1.0, epsilon=1e-5) == pytest.approx(4.269253628510194, rel=1e-11)


def test_published_gradient():
    expected = [
        -0.0048436814385977925,
        -0.013154000657155019,
        0.046768514939817915,
        -0.0136371066466785,
        -0.006214351027147829,
        -0.008919375170238776,
    ]
    gradient, _ = hsic_gradient(X6, Y6, gamma=1.0, estimator="n-1")
    np.testing.assert_allclose(gradient, expected, rtol=1e-12)


def test_size_of_the_value_for_a_thousand_points():
    rng = np.random.default_rng(6910)
    x, noise = rng.normal(size=(2, 1000))
    assert 5e-5 < hsic(x, noise, gamma=1.0, estimator="n-1") < 1e-3
    assert hsic(x, x + 0.1 * noise, gamma=1.0, estimator="n-1") == pytest.approx(0.0966, abs=0.01)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("name_y", PARAMETERS)
@pytest.mark.parametrize("name_x", PARAMETERS)
def test_all_kernels_and_estimators(name_x, name_y, estimator, rng):
    X, Y = dependent(rng)
    K, L = matrices(X, Y, name_x)[0], matrices(X, Y, name_y)[1]
    options = {
        option: (PARAMETERS[name_x].get(option, other), PARAMETERS[name_y].get(option, other))
        for option, other in (("gamma", None), ("coef0", 1.0), ("degree", 3))
    }
    value = hsic(X, Y, kernel=(name_x, name_y), estimator=estimator, **options)
    assert value == pytest.approx(reference.hsic(K, L, estimator), rel=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_linear_kernels_with_more_columns_than_points(estimator, rng):
    X, Y = rng.normal(size=(6, 8)), rng.normal(size=(6, 3))
    expected = reference.hsic(X @ X.T, Y @ Y.T, estimator)
    assert hsic(X, Y, kernel="linear", estimator=estimator) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("sides", [1, 4])
def test_linear_kernels_in_pieces(estimator, sides, monkeypatch, rng):
    X, Y = dependent(rng, n=40, columns_x=9, columns_y=7)
    options = {"kernel": "linear", "estimator": estimator}

    def values():
        return (
            hsic(X, Y, **options),
            *hsic_gradient(X, Y, **options),
            cka(X, Y, debiased=estimator == "unbiased"),
            kexue.cka_matrix([X, Y, X[:, :2]], debiased=estimator == "unbiased"),
            kexue.hsic_streaming(X, Y, block_rows=21, **options),
        )

    expected = values()
    monkeypatch.setattr("kexue._hsic._PIECE", 100)
    monkeypatch.setattr("kexue._hsic._PIECE_SIDE", sides)
    for value, whole in zip(values(), expected, strict=True):
        np.testing.assert_allclose(value, whole, rtol=1e-11, atol=1e-13)


def test_unbiased_is_the_mean_over_all_quadruples(rng):
    X, Y = dependent(rng, n=6)
    expected = reference.hsic_by_enumeration(*matrices(X, Y, "rbf"))
    assert hsic(X, Y, gamma=0.3, estimator="unbiased") == pytest.approx(expected, rel=1e-10)
    assert hsic_from_kernels_unbiased(*matrices(X, Y, "rbf")) == pytest.approx(expected, rel=1e-10)


def test_fifty_digits(rng):
    X, Y = dependent(rng, n=40)
    for name in ("rbf", "laplace"):
        expected = reference.hsic_mpmath(name, X, Y, 0.3, 1.7)
        assert hsic(X, Y, kernel=name, gamma=(0.3, 1.7)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("debiased", [False, True])
@pytest.mark.parametrize("name", PARAMETERS)
def test_cka(name, debiased, rng):
    X, Y = dependent(rng)
    expected = reference.cka(*matrices(X, Y, name), "unbiased" if debiased else "biased")
    assert cka(X, Y, kernel=name, debiased=debiased, **PARAMETERS[name]) == pytest.approx(expected, rel=1e-10)
    if name == "linear":
        wide, other = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))
        expected = reference.cka(wide @ wide.T, other @ other.T, "unbiased" if debiased else "biased")
        assert cka(wide, other, debiased=debiased) == pytest.approx(expected, rel=1e-9)


def test_debiased_cka_of_points_far_apart(rng):
    """Off the diagonal, which does not count, all values of the kernel are below 1e-10."""
    X, Y = rng.random(size=(2, 8, 1)) + 3 * np.arange(8)[:, None]
    K, L = reference.kernel_matrix("rbf", X, gamma=6.0), reference.kernel_matrix("rbf", Y, gamma=6.0)
    assert (K - np.eye(8)).max() < 1e-10
    value = cka(X, Y, kernel="rbf", gamma=6.0, debiased=True)
    assert value == pytest.approx(reference.cka(K, L, "unbiased"), rel=1e-9)


@pytest.mark.parametrize("name", PARAMETERS)
@pytest.mark.parametrize("epsilon", [1e-5, 0.1])
def test_normalized_hsic(name, epsilon, rng):
    X, Y = dependent(rng)
    expected = reference.normalized_hsic(*matrices(X, Y, name), epsilon)
    value = normalized_hsic(X, Y, kernel=name, epsilon=epsilon, **PARAMETERS[name])
    assert value == pytest.approx(expected, rel=1e-9)
    assert 0 <= value <= len(X) - 1


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("names", [(a, b) for a in PARAMETERS for b in ("rbf", "linear")] + [("rbf", "polynomial")])
def test_gradient(names, estimator, rng):
    X, Y = dependent(rng, n=9)
    options = {
        option: tuple(PARAMETERS[name].get(option, other) for name in names)
        for option, other in (("gamma", None), ("coef0", 1.0), ("degree", 3))
    }

    def value(A, B):
        K = reference.kernel_matrix(names[0], A, **PARAMETERS[names[0]])
        L = reference.kernel_matrix(names[1], B, **PARAMETERS[names[1]])
        return reference.hsic(K, L, estimator)

    grad_x, grad_y = hsic_gradient(X, Y, kernel=names, estimator=estimator, **options)
    np.testing.assert_allclose(grad_x, reference.gradient(lambda A: value(A, Y), X), rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(grad_y, reference.gradient(lambda B: value(X, B), Y), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_linear_gradient_with_more_columns_than_points(estimator, rng):
    X, Y = rng.normal(size=(6, 7)), rng.normal(size=(6, 2))
    gradient, _ = hsic_gradient(X, Y, kernel="linear", estimator=estimator)
    expected = reference.gradient(lambda A: reference.hsic(A @ A.T, Y @ Y.T, estimator), X)
    np.testing.assert_allclose(gradient, expected, rtol=1e-7, atol=1e-9)


def test_gradient_holds_the_median_fixed(rng):
    X, Y = dependent(rng)
    medians = median_bandwidth(X), median_bandwidth(Y)
    for got, expected in zip(hsic_gradient(X, Y), hsic_gradient(X, Y, bandwidth=medians), strict=True):
        np.testing.assert_array_equal(got, expected)


# ---- kernels and bandwidths ----


@pytest.mark.parametrize("name", PARAMETERS)
def test_kernel_matrices(name, rng):
    X, Y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3))
    function, parameters = FUNCTIONS[name], PARAMETERS[name]
    np.testing.assert_allclose(function(X, **parameters), reference.kernel_matrix(name, X, **parameters), rtol=1e-13)
    expected = reference.kernel_matrix(name, X, Y, **parameters)
    np.testing.assert_allclose(function(X, Y, **parameters), expected, rtol=1e-13)
    narrow = function(X.astype(np.float32), Y.astype(np.float32), **parameters)
    assert narrow.dtype == np.float32
    np.testing.assert_allclose(narrow, expected, rtol=1e-5)
    if parameters:
        defaults = {"coef0": 1.0, "degree": 3} if name == "polynomial" else {}
        np.testing.assert_allclose(
            function(X), reference.kernel_matrix(name, X, gamma=1 / 3, **defaults), rtol=1e-13, err_msg="1 / d"
        )
    assert function(np.empty((0, 3)), Y, **parameters).shape == (0, 5)


def test_memory(rng):
    """No n x n matrix, of 72 MB, in blocks of a callable either."""
    X, Y = dependent(rng, n=3000)
    for function in (hsic, hsic_gradient, cka):
        for kernel in ("rbf", lambda A, B: A @ B.T):
            if function is hsic_gradient and kernel != "rbf":
                continue
            tracemalloc.start()
            try:
                function(X, Y, kernel=kernel)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak < (4e6 if kernel == "rbf" else 50e6)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_of_200_000_points():
    """The whole process stays below 1 GB. It is interrupted: all that a call takes, it takes before the first tile."""
    code = """
import signal, numpy, kexue

def interrupt(number, frame):
    raise KeyboardInterrupt

X, Y = numpy.random.default_rng(0).normal(size=(2, 200_000, 50))
signal.signal(signal.SIGALRM, interrupt)
for function in (lambda: kexue.median_bandwidth(X, workers=1), lambda: kexue.hsic(X, Y, bandwidth=10.0, workers=1)):
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        function()
    except KeyboardInterrupt:
        print("interrupted")
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    *interrupted, kilobytes = result.stdout.split()
    assert interrupted == 2 * ["interrupted"]
    assert 300_000 < int(kilobytes) < 1_000_000  # the samples alone are 160,000


def test_kernel_matrix_bandwidths(rng):
    X = rng.normal(size=(9, 3))
    np.testing.assert_allclose(rbf_kernel(X, bandwidth=2.0), rbf_kernel(X, gamma=1 / 8), rtol=1e-15)
    np.testing.assert_allclose(laplace_kernel(X, bandwidth=2.0), laplace_kernel(X, gamma=1 / 2), rtol=1e-15)
    np.testing.assert_array_equal(rbf_kernel(X, bandwidth="median"), rbf_kernel(X, bandwidth=median_bandwidth(X)))
    median = median_bandwidth(X, kernel="laplace")
    np.testing.assert_array_equal(laplace_kernel(X, bandwidth="median"), laplace_kernel(X, bandwidth=median))


@pytest.mark.parametrize("name", PARAMETERS)
def test_kernel_matrix_places(name, rng):
    X, Y = rng.normal(size=(4, 4)), rng.normal(size=(4, 4))
    expected = FUNCTIONS[name](X, Y)
    out = np.empty((4, 4))
    assert FUNCTIONS[name](X, Y, out=out) is out
    np.testing.assert_array_equal(out, expected)
    out = np.empty((4, 8))[:, ::2]
    np.testing.assert_array_equal(FUNCTIONS[name](X, Y, out=out), expected)
    copy = X.copy()
    np.testing.assert_array_equal(FUNCTIONS[name](copy, Y, out=copy), expected)
    with pytest.raises(KexueValueError, match=r"out has shape \(4, 3\)"):
        FUNCTIONS[name](X, Y, out=np.empty((4, 3)))
    with pytest.raises(TypeError, match="out must be an array of dtype float64"):
        FUNCTIONS[name](X, Y, out=np.empty((4, 4), dtype=np.float32))
    out.flags.writeable = False
    with pytest.raises(KexueValueError, match="out is read-only"):
        FUNCTIONS[name](X, Y, out=out)


@pytest.mark.parametrize("n", [2, 3, 8, 301])
@pytest.mark.parametrize(("kernel", "norm"), [("rbf", 2), ("laplace", 1)])
def test_median(kernel, norm, n, rng):
    X = rng.normal(size=(n, 3))
    expected = np.median(reference.distances(X, norm))
    assert median_bandwidth(X, kernel=kernel) == pytest.approx(expected, rel=1e-12)
    assert median_bandwidth(X + 2.0**20, kernel=kernel) == pytest.approx(expected, rel=1e-8)
    assert median_bandwidth(X.astype(np.float32), kernel=kernel) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("kernel", ["rbf", "laplace"])
def test_sampled_median(kernel, rng):
    X = rng.normal(size=(500, 3))
    norm = 2 if kernel == "rbf" else 1
    distances = np.sort(reference.distances(X, norm))
    n_pairs = 20_000
    # The share of nearer pairs is 0.5 with a standard deviation of 0.5 / sqrt(n_pairs): 5 of them fail in 6e-7 of runs.
    share = np.searchsorted(distances, median_bandwidth(X, kernel=kernel, n_pairs=n_pairs, rng=1)) / len(distances)
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(n_pairs)
    assert median_bandwidth(X, kernel=kernel, n_pairs=99, rng=7) == median_bandwidth(
        X, kernel=kernel, n_pairs=99, rng=np.random.default_rng(7)
    )
    assert median_bandwidth([[0.0], [5.0]], kernel=kernel, n_pairs=10, rng=0) == 5


def test_l1_median_of_many_points(rng):
    X = rng.normal(size=(5000, 1))
    # |x - y| of normal x and y has its median at sqrt(2) times the upper quartile.
    assert median_bandwidth(X, kernel="laplace") == pytest.approx(np.sqrt(2) * 0.6744897501960817, rel=0.03)
    assert median_bandwidth(X, kernel="laplace") == median_bandwidth(X, kernel="laplace")


def test_bandwidth_is_the_median_by_default(rng):
    X, Y = dependent(rng)
    for kernel in ("rbf", "laplace"):
        medians = median_bandwidth(X, kernel=kernel), median_bandwidth(Y, kernel=kernel)
        assert hsic(X, Y, kernel=kernel) == hsic(X, Y, kernel=kernel, bandwidth=medians)
    assert hsic(X, Y, bandwidth=None) == hsic(X, Y, gamma=(1 / 3, 1 / 2))


def test_callables(rng):
    X, Y = dependent(rng, n=1100)
    blocks = []

    def cosine(A, B):
        blocks.append((len(A), len(B)))
        return A @ B.T / np.linalg.norm(A, axis=1)[:, None] / np.linalg.norm(B, axis=1)

    def rbf(A, B):
        return np.exp(-0.3 * ((A[:, None] - B) ** 2).sum(axis=-1))

    unit = X / np.linalg.norm(X, axis=1)[:, None]
    for estimator in ESTIMATORS:
        expected = hsic(unit, Y, kernel=("linear", "rbf"), gamma=(None, 0.3), estimator=estimator)
        assert hsic(X, Y, kernel=(cosine, rbf), estimator=estimator) == pytest.approx(expected, rel=1e-10)
        assert hsic(X, Y, kernel=(cosine, "rbf"), gamma=0.3, estimator=estimator) == pytest.approx(expected, rel=1e-10)
    assert len(blocks) > 1 and max(rows for rows, _ in blocks) < len(X)
    assert cka(X, Y, kernel=rbf) == pytest.approx(cka(X, Y, kernel="rbf", gamma=0.3), rel=1e-10)
    X, Y = X[:50], Y[:50]
    expected = normalized_hsic(X, Y, gamma=0.3)
    assert normalized_hsic(X, Y, kernel=rbf) == pytest.approx(expected, rel=1e-8)


# ---- matrices ----


def test_hsic_from_kernels(rng, dtype):
    for n in (4, 5, 31, 130):
        K, L = (np.exp(-rng.random((3, n, n))).astype(dtype) for _ in range(2))
        K, L = K + np.swapaxes(K, -1, -2), L + np.swapaxes(L, -1, -2)
        for function, estimator in ((hsic_from_kernels, "biased"), (hsic_from_kernels_unbiased, "unbiased")):
            result = function(K, L)
            assert result.dtype == dtype and result.shape == (3,)
            expected = [reference.hsic(a, b, estimator) for a, b in zip(K.astype(float), L.astype(float), strict=True)]
            np.testing.assert_allclose(result, expected, rtol=1e-6 if dtype == np.float32 else 1e-11, atol=1e-14)
            np.testing.assert_array_equal(function(K, L[0]), [function(k, L[0]) for k in K])


def test_hsic_from_kernels_does_not_assume_symmetry(rng):
    K, L, J = rng.normal(size=(7, 7)), rng.normal(size=(7, 7)), reference.centring(7)
    expected = np.sum((J @ K @ J) * (J @ L @ J)) / 49
    assert hsic_from_kernels(K, L) == pytest.approx(expected, rel=1e-12)
    assert hsic_from_kernels(K.T, L.T) == pytest.approx(expected, rel=1e-12)
    symmetric = L + L.T
    expected = hsic_from_kernels_unbiased((K + K.T) / 2, symmetric)
    assert hsic_from_kernels_unbiased(K, symmetric) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("function", [hsic_from_kernels, hsic_from_kernels_unbiased])
def test_hsic_from_kernels_axes(function, rng):
    K, L = rng.normal(size=(3, 6, 6)), rng.normal(size=(3, 6, 6))
    expected = function(K, L)
    moved = function(np.moveaxis(K, 0, 2), np.moveaxis(L, 0, 1), axes=[(0, 1), (0, 2), ()])
    np.testing.assert_allclose(moved, expected, rtol=1e-12)
    assert function(K, L, keepdims=True).shape == (3, 1, 1)
    np.testing.assert_array_equal(function(K, L, out=np.empty(3)), expected)


@pytest.mark.parametrize("function", [hsic_from_kernels, hsic_from_kernels_unbiased])
def test_hsic_from_kernels_layouts(function, any_layout, plain, untouched, dtype, rng):
    x = rng.normal(size=(6, 5)).astype(dtype)
    K = any_layout(rbf_kernel(x, gamma=0.2))
    L = any_layout(linear_kernel(x))
    n = min(K.shape)
    K, L = K[:n, :n], L[:n, :n]
    with untouched(K, L), np.errstate(invalid="ignore"):
        result = function(K, L)
        expected = function(plain(K), plain(L))
    np.testing.assert_allclose(result, expected, rtol=1e-12 if dtype == np.float64 else 1e-6)


def test_hsic_from_kernels_special():
    K = np.eye(5)
    with np.errstate(invalid="raise"):
        assert np.isnan(hsic_from_kernels(np.where(K == 1, np.nan, 0), K))
        assert not np.isnan(hsic_from_kernels_unbiased(np.where(K == 1, np.nan, 0), K))
        assert hsic_from_kernels([[3.0]], [[2.0]]) == 0
        for bad in (np.empty((0, 0)), np.eye(3)):
            function = hsic_from_kernels_unbiased if len(bad) else hsic_from_kernels
            with pytest.raises(FloatingPointError):
                function(bad, bad)
    with pytest.raises(ValueError, match="core dimension"):
        hsic_from_kernels(np.eye(3), np.eye(4))


def test_from_kernels_agrees_with_samples(rng, dtype):
    X, Y = (points.astype(dtype) for points in dependent(rng, n=200))
    tolerance = 1e-11 if dtype == np.float64 else 1e-4
    K, L = rbf_kernel(X, gamma=0.3), rbf_kernel(Y, gamma=0.3)
    assert hsic(X, Y, gamma=0.3) == pytest.approx(float(hsic_from_kernels(K, L)), rel=tolerance)
    unbiased = hsic(X, Y, gamma=0.3, estimator="unbiased")
    assert unbiased == pytest.approx(float(hsic_from_kernels_unbiased(K, L)), rel=tolerance)


# ---- dtypes, layouts, workers ----


@pytest.mark.parametrize("name", PARAMETERS)
def test_float32(name, rng):
    X, Y = (points.astype(np.float32) for points in dependent(rng, n=120))
    K, L = matrices(X.astype(float), Y.astype(float), name)
    options = {"kernel": name, **PARAMETERS[name]}
    for estimator in ESTIMATORS:
        assert hsic(X, Y, estimator=estimator, **options) == pytest.approx(reference.hsic(K, L, estimator), rel=2e-4)
        wide = hsic_gradient(X.astype(float), Y.astype(float), estimator=estimator, **options)
        for narrow, expected in zip(hsic_gradient(X, Y, estimator=estimator, **options), wide, strict=True):
            assert narrow.dtype == np.float32
            np.testing.assert_allclose(narrow, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert cka(X, Y, **options) == pytest.approx(reference.cka(K, L), rel=1e-4)
    assert normalized_hsic(X, Y, **options) == normalized_hsic(X.astype(float), Y.astype(float), **options)


def test_float32_with_a_wide_bandwidth(rng):
    """Values of the kernel are 1 - 1e-5: their float32 errors are not those of the sums."""
    X, Y = dependent(rng, n=400)
    options = {"kernel": "rbf", "bandwidth": 300.0}
    narrow = X.astype(np.float32), Y.astype(np.float32)
    assert cka(*narrow, **options) == pytest.approx(cka(X, Y, **options), rel=1e-3)
    assert hsic(*narrow, bandwidth=300.0) == pytest.approx(hsic(X, Y, bandwidth=300.0), rel=1e-3)


def test_mixed_dtypes(rng):
    X, Y = dependent(rng)
    assert hsic(X.astype(np.float32), Y) == hsic(X.astype(np.float32).astype(float), Y)
    assert all(gradient.dtype == np.float64 for gradient in hsic_gradient(X.astype(np.float32), Y))
    counts = rng.integers(0, 9, size=(17, 2))
    assert hsic(counts, Y) == hsic(counts.astype(float), Y)
    assert hsic(list(X6), list(Y6)) == hsic(X6[:, None], Y6[:, None])
    gradients = hsic_gradient(X6, Y6[:, None])
    assert gradients[0].shape == (6,) and gradients[1].shape == (6, 1)


def test_layouts(layout, plain, untouched, dtype, rng):
    X, Y = (layout(points.astype(dtype)) for points in dependent(rng))
    with untouched(X, Y):
        for name in PARAMETERS:
            options = {"kernel": name, **PARAMETERS[name]}
            A, B = plain(X), plain(Y)
            assert hsic(X, Y, **options) == hsic(A, B, **options)
            assert cka(X, Y, **options) == cka(A, B, **options)
            assert normalized_hsic(X, Y, **options) == normalized_hsic(A, B, **options)
            for got, expected in zip(hsic_gradient(X, Y, **options), hsic_gradient(A, B, **options), strict=True):
                np.testing.assert_array_equal(got, expected)
            np.testing.assert_array_equal(FUNCTIONS[name](X), FUNCTIONS[name](A))
        assert median_bandwidth(X) == median_bandwidth(plain(X))


def test_workers_do_not_matter(workers, rng):
    X, Y = dependent(rng, n=700, columns_x=5)
    for name in PARAMETERS:
        options = {"kernel": name, **PARAMETERS[name]}
        assert hsic(X, Y, workers=workers, **options) == hsic(X, Y, workers=1, **options)
        assert cka(X, Y, workers=workers, **options) == cka(X, Y, workers=1, **options)
        gradients = hsic_gradient(X, Y, workers=workers, **options), hsic_gradient(X, Y, workers=1, **options)
        for got, expected in zip(*gradients, strict=True):
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(
            FUNCTIONS[name](X, Y[:, [0] * 5], workers=workers), FUNCTIONS[name](X, Y[:, [0] * 5])
        )
    assert median_bandwidth(X, workers=workers) == median_bandwidth(X, workers=1)
    assert normalized_hsic(X[:90], Y[:90], workers=workers) == normalized_hsic(X[:90], Y[:90], workers=1)


def test_points_far_away_lose_nothing(rng):
    # Multiples of 2^-20 below 2^6: the sum with 10^6 is exact.
    X, Y = (np.round(points * 2**20) / 2**20 for points in dependent(rng, n=60))
    for name in ("rbf", "laplace", "linear"):
        options = {"kernel": name, **PARAMETERS[name]}
        for estimator in ESTIMATORS:
            near = hsic(X, Y, estimator=estimator, **options)
            assert hsic(X + 1e6, Y - 1e6, estimator=estimator, **options) == pytest.approx(near, rel=1e-12)
        gradients = hsic_gradient(X + 1e6, Y - 1e6, **options), hsic_gradient(X, Y, **options)
        for far, near in zip(*gradients, strict=True):
            np.testing.assert_allclose(far, near, rtol=1e-10, atol=1e-14)
        assert cka(X + 1e6, Y - 1e6, **options) == pytest.approx(cka(X, Y, **options), rel=1e-12)
        if name != "linear":
            np.testing.assert_allclose(FUNCTIONS[name](X + 1e6), FUNCTIONS[name](X), rtol=1e-13)
            np.testing.assert_allclose(FUNCTIONS[name](X + 1e6, X - 2 + 1e6), FUNCTIONS[name](X, X - 2), rtol=1e-13)
    assert hsic(X + 1e6, Y - 1e6) == pytest.approx(hsic(X, Y), rel=1e-12)
    wide = np.round(rng.normal(size=(8, 20)) * 2**20) / 2**20
    assert hsic(wide + 1e6, Y[:8], kernel="linear") == pytest.approx(hsic(wide, Y[:8], kernel="linear"), rel=1e-12)


def test_an_outlier_does_not_spoil_the_others(rng):
    X, Y = dependent(rng, n=30)
    X[7] += 1e9
    K, L = matrices(X, Y, "rbf")
    assert hsic(X, Y, gamma=0.3) == pytest.approx(reference.hsic(K, L), rel=1e-10)
    np.testing.assert_allclose(rbf_kernel(X, gamma=0.3), K, rtol=1e-12)


def test_scales(rng):
    X, Y = dependent(rng, n=20)
    for scale in (1e-150, 1e-30, 1e30, 1e140):
        assert cka(X * scale, Y / scale) == pytest.approx(cka(X, Y), rel=1e-12)
        assert cka(X[:3] * scale, Y[:3]) == pytest.approx(cka(X[:3], Y[:3]), rel=1e-12)
    for scale in (1e-30, 1e30):
        assert hsic(X * scale, Y / scale) == pytest.approx(hsic(X, Y), rel=1e-12)


# ---- invariants ----

POINTS = hnp.arrays(
    np.float64,
    st.tuples(st.integers(4, 12), st.integers(1, 3)),
    elements=st.floats(-8, 8, width=16),
)
NAMES = st.sampled_from(list(PARAMETERS))


@settings(max_examples=150, deadline=None)
@given(POINTS, NAMES, NAMES, st.integers(0, 1000))
def test_invariants(X, name_x, name_y, seed):
    draws = np.random.default_rng(seed)
    Y = draws.uniform(-2, 2, size=(len(X), 2)) + X[:, :1]
    options = {
        option: (PARAMETERS[name_x].get(option, other), PARAMETERS[name_y].get(option, other))
        for option, other in (("gamma", None), ("coef0", 1.0), ("degree", 3))
    }
    swapped = {option: pair[::-1] for option, pair in options.items()}
    value = hsic(X, Y, kernel=(name_x, name_y), **options)
    assert value >= 0
    size = np.mean(np.abs(matrices(X, Y, name_x)[0] * matrices(X, Y, name_y)[1]))
    close = {"rel": 1e-9, "abs": 1e-12 * size}
    order = draws.permutation(len(X))
    for estimator in ESTIMATORS:
        value = hsic(X, Y, kernel=(name_x, name_y), estimator=estimator, **options)
        other = hsic(Y, X, kernel=(name_y, name_x), estimator=estimator, **swapped)
        assert other == pytest.approx(value, **close)
        other = hsic(X[order], Y[order], kernel=(name_x, name_y), estimator=estimator, **options)
        assert other == pytest.approx(value, **close)
        if name_x != "polynomial":
            other = hsic(X + 0.5, Y, kernel=(name_x, name_y), estimator=estimator, **options)
            assert other == pytest.approx(value, **close)


@settings(max_examples=100, deadline=None)
@given(POINTS, st.sampled_from([False, True]), st.floats(0.01, 100), st.integers(0, 1000))
def test_cka_is_a_similarity(X, debiased, scale, seed):
    draws = np.random.default_rng(seed)
    X, Y = X + draws.uniform(-1, 1, size=X.shape), draws.uniform(-1, 1, size=(len(X), 2))
    for name in ("linear", "rbf"):
        options = {"kernel": name, "debiased": debiased, **PARAMETERS[name]}
        assert -1 * debiased <= cka(X, Y, **options) <= 1
        assert cka(X, X, **options) == pytest.approx(1, abs=1e-12)
        assert cka(Y, X, **options) == pytest.approx(cka(X, Y, **options), rel=1e-9, abs=1e-12)
    assert cka(scale * X + 3, Y) == pytest.approx(cka(X, Y), rel=1e-9, abs=1e-12)


def test_one_dimensional_linear_hsic_is_the_squared_covariance(rng):
    x, y = rng.normal(size=(2, 30))
    assert hsic(x, y, kernel="linear") == pytest.approx(np.cov(x, y, bias=True)[0, 1] ** 2, rel=1e-12)


def test_linear_cka_does_not_see_rotations(rng):
    X, Y = dependent(rng, n=40, columns_x=6)
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert cka(X @ rotation, X) == pytest.approx(1, rel=1e-12)
    assert cka(X @ rotation, Y) == pytest.approx(cka(X, Y), rel=1e-12)


def test_unbiased_has_mean_zero_on_independent_data():
    """400 draws of 12 pairs: a mean within 4 standard errors, which a normal mean leaves in 6e-5 of runs."""
    draws = np.random.default_rng(2012)
    samples = [(draws.normal(size=(12, 2)), draws.uniform(size=(12, 1))) for _ in range(400)]
    for options in ({"gamma": 1.0}, {"kernel": "linear"}, {"kernel": "laplace", "gamma": 1.0}):
        values = np.array([hsic(X, Y, estimator="unbiased", **options) for X, Y in samples])
        error = values.std(ddof=1) / np.sqrt(len(values))
        assert abs(values.mean()) < 4 * error
        biased = np.array([hsic(X, Y, estimator="n-1", **options) for X, Y in samples])
        assert biased.mean() > 10 * error  # so the test would find a bias


def test_equal_points_have_no_dependence():
    Y = Y6[:, None]
    for name in PARAMETERS:
        assert hsic(np.full((6, 2), 0.1), Y, kernel=name, **PARAMETERS[name]) == pytest.approx(0, abs=1e-15)
    assert hsic(np.full(6, 0.1), Y6, kernel="linear") == 0


# ---- errors ----


@pytest.mark.parametrize("function", [hsic, cka, hsic_gradient, normalized_hsic])
def test_bad_samples(function, rng):
    X, Y = dependent(rng)
    with pytest.raises(KexueValueError, match="as many points, but X has 17 and Y has 16"):
        function(X, Y[:-1])
    with pytest.raises(KexueValueError, match="1 point, but at least 2"):
        function(X[:1], Y[:1])
    with pytest.raises(KexueValueError, match="0 points, but at least 2"):
        function(X[:0], Y[:0])
    bad = X.copy()
    bad[3, 2] = np.nan
    with pytest.raises(KexueValueError, match=r"X\[3, 2\] is nan"):
        function(bad, Y)
    with pytest.raises(KexueValueError, match=r"Y\[0\] is inf"):
        function(X6, [np.inf, 1, 2, 3, 4, 5])
    with pytest.raises(KexueValueError, match="Y has no columns"):
        function(X, np.empty((17, 0)))
    with pytest.raises(KexueValueError, match="X must have 1 or 2 dimensions"):
        function(X[None], Y)
    with pytest.raises(KexueValueError, match="X is not an array of one shape"):
        function([[1], [1, 2], [3]], Y)
    with pytest.raises(KexueValueError, match="Y is not an array of one shape"):
        function(X, [[1], [1, 2], [3]])
    with pytest.raises(TypeError, match="X must hold real numbers"):
        function(X * 1j, Y)
    with pytest.raises(ValueError, match="workers"):
        function(X, Y, workers=0)


@pytest.mark.parametrize("function", [hsic, cka, hsic_gradient, normalized_hsic])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel": "gauss"}, "kernel must be .*, got 'gauss'"),
        ({"kernel": ("rbf", "rbf", "rbf")}, "a pair, for X and for Y, but it has 3 items"),
        ({"kernel": "rbf", "gamma": 0.0}, "gamma must be positive and finite, got 0.0"),
        ({"kernel": "rbf", "gamma": (1.0, -1.0)}, "gamma must be positive and finite, got -1.0"),
        ({"kernel": "rbf", "gamma": 1.0, "bandwidth": 1.0}, "gamma or bandwidth, not both"),
        ({"kernel": "rbf", "bandwidth": np.inf}, "bandwidth must be positive and finite"),
        ({"kernel": "rbf", "bandwidth": "mean"}, "bandwidth must be .*, got 'mean'"),
        ({"kernel": "rbf", "bandwidth": 1e-200}, "bandwidth 1e-200 is out of range"),
        ({"kernel": "linear", "gamma": 1.0}, "gamma is 1.0, but neither kernel"),
        ({"kernel": "polynomial", "bandwidth": 1.0}, "bandwidth is 1.0, but neither kernel"),
        ({"kernel": "polynomial", "degree": 0}, "degree must be a positive integer, got 0"),
        ({"kernel": "polynomial", "degree": 2.5}, "degree must be a positive integer, got 2.5"),
        ({"kernel": "polynomial", "degree": 2**40}, "degree must be below"),
        ({"kernel": "polynomial", "coef0": np.nan}, "coef0 must be finite, got nan"),
    ],
)
def test_bad_options(function, options, message, rng):
    with pytest.raises(KexueValueError, match=message):
        function(*dependent(rng), **options)


def test_bad_types_of_options(rng):
    X, Y = dependent(rng)
    with pytest.raises(TypeError, match="kernel must be a name or a callable, not int"):
        hsic(X, Y, kernel=3)
    with pytest.raises(TypeError, match="gamma must be a number, not str"):
        hsic(X, Y, gamma="scale")
    with pytest.raises(TypeError, match="n_pairs must be an integer"):
        median_bandwidth(X, n_pairs=1.5)
    with pytest.raises(KexueValueError, match="n_pairs must be at least 1"):
        median_bandwidth(X, n_pairs=0)
    with pytest.raises(KexueValueError, match='kernel must be "rbf" or "laplace"'):
        median_bandwidth(X, kernel="linear")
    for epsilon in (0, -1.0, np.inf):
        with pytest.raises(KexueValueError, match="epsilon must be positive and finite"):
            normalized_hsic(X, Y, epsilon=epsilon)


def test_unbiased_needs_four_points():
    for function in (hsic, hsic_gradient):
        with pytest.raises(KexueValueError, match="3 points, but at least 4"):
            function(X6[:3], Y6[:3], estimator="unbiased")
        with pytest.raises(KexueValueError, match="estimator must be .*, got 'best'"):
            function(X6, Y6, estimator="best")
    with pytest.raises(KexueValueError, match="3 points, but at least 4"):
        cka(X6[:3], Y6[:3], debiased=True)


def test_zero_bandwidth(rng):
    X, Y = dependent(rng)
    for kernel in ("rbf", "laplace"):
        with pytest.raises(KexueValueError, match=r"median distance of X is 0 \(all points are equal\)"):
            hsic(np.ones((17, 2)), Y, kernel=kernel)
        labels = np.repeat([0, 1], [12, 5])
        with pytest.raises(
            KexueValueError, match=r"median distance of Y is 0 \(half of the pairs of points are equal\)"
        ):
            hsic(X, labels, kernel=kernel)
        assert hsic(X, labels, kernel=kernel, bandwidth=("median", 1.0)) > 0
        with pytest.raises(KexueValueError, match="median distance of X is 0"):
            median_bandwidth(np.zeros((3, 2)), kernel=kernel)
        with pytest.raises(KexueValueError, match="median distance of X is 0"):
            median_bandwidth(np.zeros((3, 2)), kernel=kernel, n_pairs=10)
        with pytest.raises(KexueValueError, match="at least 2 points"):
            median_bandwidth([1.0], kernel=kernel)
        with pytest.raises(KexueValueError, match="at least 2 points"):
            median_bandwidth([1.0], kernel=kernel, n_pairs=3)


def test_cka_of_equal_points(rng):
    X, Y = dependent(rng)
    for options in ({}, {"kernel": "rbf", "gamma": 1.0}, {"debiased": True}):
        with pytest.raises(KexueValueError, match=r"HSIC\(Y, Y\) is 0 to rounding"):
            cka(X, np.full((17, 3), 0.1), **options)
        with pytest.raises(KexueValueError, match=r"HSIC\(X, X\) is 0 to rounding"):
            cka(np.full((17, 30), 0.1), Y, **options)
    # One point apart from equal ones: centred without its diagonal, such a matrix is 0.
    with pytest.raises(KexueValueError, match=r"HSIC\(X, X\) is 0 to rounding"):
        cka([1.0, 0, 0, 0], [1.0, 3, 2, 0], debiased=True)


@pytest.mark.parametrize("scale", [1e-30, 1e-21, 1e20, 1e30])
def test_float32_of_any_scale(scale, rng):
    X, Y = (points.astype(np.float32) for points in dependent(rng, n=30, columns_x=40))
    scaled = X * np.float32(scale)
    for name in ("rbf", "laplace"):
        assert hsic(scaled, Y, kernel=name) == pytest.approx(hsic(X, Y, kernel=name), rel=1e-5)
        assert cka(Y, scaled, kernel=name) == pytest.approx(cka(Y, X, kernel=name), rel=1e-5)
    assert median_bandwidth(scaled) == pytest.approx(scale * median_bandwidth(X), rel=1e-5)
    for kernel in ("linear", ("linear", "rbf")):
        assert hsic(scaled, Y, kernel=kernel) == pytest.approx(scale**2 * hsic(X, Y, kernel=kernel), rel=1e-5)
    gradients, expected = hsic_gradient(scaled, Y), hsic_gradient(X, Y)
    for gradient, one, factor in zip(gradients, expected, (scale, 1), strict=True):
        assert gradient.dtype == np.float32
        np.testing.assert_allclose(gradient * np.float64(factor), one, rtol=1e-3, atol=1e-5 * np.abs(one).max())


def test_gamma_out_of_range():
    points = np.float32([0, 1e-20, 3e-20, 1])
    for function in (rbf_kernel, laplace_kernel):
        with pytest.raises(KexueValueError, match="gamma is 1e\\+39, out of range for kernels in float32"):
            function(points, gamma=1e39)
        assert function(points.astype(np.float64), gamma=1e39)[0, 0] == 1
    with pytest.raises(KexueValueError, match="gamma is 1e-40, out of range"):
        rbf_kernel(np.float32([0, 1e20]), gamma=1e-40)  # exp(-1), but the square overflows
    with pytest.raises(KexueValueError, match="gamma is 1e-307, out of range"):
        hsic([0, 1e154, 1], [0, 1, 2], gamma=(1e-307, 1.0))
    with pytest.raises(KexueValueError, match="squares of the distances of X, below 3e-200, vanish"):
        hsic([0, 1e-200, 3e-200], [0, 1, 2])


def test_sums_of_squares_that_overflow_are_no_warning(rng):
    X, Y = dependent(rng, columns_x=40)
    assert hsic(X * 1e100, Y, kernel="linear") == pytest.approx(1e200 * hsic(X, Y, kernel="linear"), rel=1e-11)


def test_bad_callables(rng):
    X, Y = dependent(rng)
    with pytest.raises(KexueValueError, match=r"returned an array of shape \(17,\) for blocks of 17 and 17 points"):
        hsic(X, Y, kernel=lambda A, B: np.ones(len(A)))
    with pytest.raises(KexueValueError, match="kernel function is not symmetric"):
        hsic(X, Y, kernel=lambda A, B: A[:, :1] - B[:, :1].T)
    with pytest.raises(KexueValueError, match=r"result of the kernel function\[0, 0\] is nan"):
        hsic(X, Y, kernel=lambda A, B: np.full((len(A), len(B)), np.nan))
    with pytest.raises(KexueValueError, match="callable, whose derivative is not known"):
        hsic_gradient(X, Y, kernel=lambda A, B: A @ B.T)
    with pytest.raises(KexueValueError, match="kernel of X is not positive semidefinite"):
        normalized_hsic(X, Y, kernel=lambda A, B: -(A @ B[:, : A.shape[1]].T))


def test_overflow(rng):
    X, Y = dependent(rng)
    for options in ({"kernel": "linear"}, {"kernel": "polynomial"}):
        with pytest.raises(OverflowError, match="overflow"):
            hsic(X * 1e200, Y, **options)
        with pytest.raises(OverflowError, match="overflow"):
            hsic_gradient(X, Y * 1e200, **options)
    with pytest.raises(OverflowError, match="overflow"):
        normalized_hsic(X * 1e200, Y, kernel="polynomial")
    with pytest.raises(OverflowError, match="overflow"):
        cka(X * 1e200, Y, kernel="polynomial")
    with pytest.raises(OverflowError, match="distances of X overflow"):
        hsic(X * 1e200, Y)


@pytest.mark.parametrize("function", FUNCTIONS.values())
def test_bad_points_of_kernel_matrices(function):
    with pytest.raises(KexueValueError, match="X has 2 columns and Y has 3"):
        function(np.ones((4, 2)), np.ones((4, 3)))
    with pytest.raises(KexueValueError, match=r"Y\[1, 0\] is nan"):
        function(np.ones((4, 1)), [[1.0], [np.nan]])


def test_names_are_reachable():
    for name in ("hsic", "cka", "hsic_from_kernels_unbiased"):
        assert getattr(kexue, name) is getattr(kexue.independence, name)
