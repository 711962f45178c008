"""HSIC for many points: parts that add up, streaming, blocks, random features."""

import functools
import itertools
import operator
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import kexue
from kexue import (
    HSICBlockResult,
    HSICFeaturesResult,
    HSICSums,
    KexueValueError,
    _hsic_large,
    _hsic_sums,
    cka,
    hsic,
    hsic_block,
    hsic_random_features,
    hsic_streaming,
    median_bandwidth,
)
from reference import independence as reference

ESTIMATORS = ("biased", "n-1", "unbiased")
OPTIONS = {
    "rbf": {"gamma": 0.3},
    "laplace": {"bandwidth": 2.0},
    "linear": {},
    "polynomial": {"gamma": 0.5, "coef0": 0.7, "degree": 2},
}


def cauchy(A, B):
    return 1 / (1 + ((A[:, None] - B) ** 2).sum(axis=2))


KERNELS = [
    *({"kernel": name, **options} for name, options in OPTIONS.items()),
    {"kernel": ("rbf", cauchy), "gamma": 0.3},
]


def dependent(rng, n=60, columns_x=3, columns_y=2):
    X = rng.normal(size=(n, columns_x))
    return X, np.tanh(X[:, :1]) + rng.normal(size=(n, columns_y))


def parts_of(X, Y, cuts, **options):
    """The part of each block and of each pair of blocks."""
    blocks = list(itertools.pairwise([0, *cuts, len(X)]))
    for (i, (a, b)), (j, (c, d)) in itertools.combinations_with_replacement(enumerate(blocks), 2):
        if i == j:
            yield HSICSums.within(X[a:b], Y[a:b], i, **options)
        else:
            yield HSICSums.between(X[a:b], Y[a:b], X[c:d], Y[c:d], (i, j), **options)


# ---- parts that add up ----


@pytest.mark.parametrize("options", KERNELS, ids=str)
def test_parts_add_up(options, rng):
    X, Y = dependent(rng)
    parts = list(parts_of(X, Y, [7, 7, 8, 40], **options))
    rng.shuffle(parts)
    sums = functools.reduce(operator.add, parts)
    assert (sums.n_points, sums.n_pairs) == (60, 60 * 59)
    for estimator in ESTIMATORS:
        assert sums.hsic(estimator) == pytest.approx(hsic(X, Y, estimator=estimator, **options), rel=1e-11)
    for debiased in (False, True):
        assert sums.cka(debiased=debiased) == pytest.approx(cka(X, Y, debiased=debiased, **options), rel=1e-11)


def test_parts_are_those_of_the_definition(rng):
    X, Y = dependent(rng, 9)
    K, L = (reference.kernel_matrix("rbf", points, gamma=0.3) for points in (X, Y))
    sums = HSICSums.between(X[:4], Y[:4], X[4:], Y[4:], ("a", "b"), gamma=0.3)
    K, L = K[:4, 4:], L[:4, 4:]
    np.testing.assert_allclose(sums.products, [2 * (K * L).sum(), 2 * (K * K).sum(), 2 * (L * L).sum()], rtol=1e-13)
    np.testing.assert_allclose(sums.rows["a"][:2], [K.sum(axis=1), L.sum(axis=1)], rtol=1e-13)
    np.testing.assert_allclose(sums.rows["b"][:2], [K.sum(axis=0), L.sum(axis=0)], rtol=1e-13)


@given(st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=30)
def test_any_blocks(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 40))
    X, Y = dependent(rng, n)
    cuts = np.sort(rng.integers(n + 1, size=rng.integers(5)))
    sums = functools.reduce(operator.add, parts_of(X, Y, cuts, gamma=0.3))
    for estimator in ESTIMATORS:
        assert sums.hsic(estimator) == pytest.approx(hsic(X, Y, gamma=0.3, estimator=estimator), rel=1e-9, abs=1e-14)


def test_parts_do_not_depend_on_workers(workers, rng):
    X, Y = dependent(rng, 300)
    for one, many in zip(*(parts_of(X, Y, [120], gamma=0.1, workers=number) for number in (1, workers)), strict=True):
        np.testing.assert_array_equal(one.products, many.products)
        for block, rows in one.rows.items():
            np.testing.assert_array_equal(rows, many.rows[block])


def test_parts_far_from_the_origin(rng):
    X, Y = dependent(rng)
    sums = functools.reduce(operator.add, parts_of(X + 2.0**20, Y, [11, 40], gamma=0.3))
    assert sums.hsic() == pytest.approx(hsic(X, Y, gamma=0.3), rel=1e-8)


def test_parts_leave_their_input(rng, untouched, dtype):
    X, Y = (points.astype(dtype) for points in dependent(rng))
    with untouched(X, Y):
        list(parts_of(X, Y, [11, 40], gamma=0.3))


def test_missing_and_repeated_parts(rng):
    X, Y = dependent(rng, 20)
    first, between, second = parts_of(X, Y, [8], gamma=0.3)
    for wrong in (first + second, first + between, first + between + second + between, first + first + between):
        with pytest.raises(KexueValueError, match="each pair of blocks once"):
            wrong.hsic()
    with pytest.raises(KexueValueError, match="block 0 has 8 points in one part and 12 in another"):
        first + HSICSums.within(X[8:], Y[8:], 0, gamma=0.3)
    with pytest.raises(TypeError):
        first + 1
    single = HSICSums.within(X[:1], Y[:1], gamma=0.3)
    assert single.n_pairs == 0
    for estimator, needed in (("biased", 2), ("unbiased", 4)):
        with pytest.raises(KexueValueError, match=f"1 point, but at least {needed}"):
            single.hsic(estimator)
    with pytest.raises(KexueValueError, match="estimator must be"):
        (first + between + second).hsic("best")


@pytest.mark.parametrize("scale", [1e-30, 1e20])
def test_float32_of_any_scale(scale, rng):
    X, Y = (rng.normal(size=(40, columns)).astype(np.float32) for columns in (50, 2))
    X[:, 0] += Y[:, 0]
    scaled = X * np.float32(scale)
    for kernel in ("rbf", ("linear", "rbf")):
        factor = 1 if kernel == "rbf" else scale**2
        expected = pytest.approx(factor * hsic(X, Y, kernel=kernel), rel=1e-5)
        assert hsic_streaming(scaled, Y, block_rows=13, kernel=kernel) == expected
        blocks, expected = (hsic_block(points, Y, block_size=20, kernel=kernel).values for points in (scaled, X))
        np.testing.assert_allclose(blocks, factor * expected, rtol=1e-3)
    parts = HSICSums.within(scaled, Y, bandwidth=(10 * scale, 1.0))
    assert parts.hsic() == pytest.approx(hsic(X, Y, bandwidth=(10.0, 1.0)), rel=1e-5)


def test_bad_parts(rng):
    X, Y = dependent(rng, 6)
    for function, message in [
        (lambda: HSICSums.within(X, Y), "the kernel of X needs a number as bandwidth"),
        (lambda: HSICSums.within(X, Y, bandwidth=(1.0, "median")), "the kernel of Y needs a number as bandwidth"),
        (lambda: HSICSums.within(X, Y[:5], gamma=1.0), "X has 6 and Y has 5"),
        (lambda: HSICSums.between(X, Y, X[:5], Y[:4], gamma=1.0), "X2 and Y2 must have as many points"),
        (lambda: HSICSums.between(X, Y, X[:, :2], Y, gamma=1.0), "X and X2 must have as many columns"),
        (lambda: HSICSums.between(X, Y, X, Y[:, :1], gamma=1.0), "Y and Y2 must have as many columns"),
        (lambda: HSICSums.between(X, Y, X, Y, (1, 1), gamma=1.0), "two different names"),
        (lambda: HSICSums.between(X, Y, X, Y, (1,), gamma=1.0), "two different names"),
        (lambda: HSICSums.between(X, Y, X, Y, 3, gamma=1.0), "two different names"),
        (lambda: HSICSums.between(X, Y, X * np.nan, Y, gamma=1.0), r"X2\[0, 0\] is nan"),
    ]:
        with pytest.raises(KexueValueError, match=message):
            function()


# ---- streaming ----


@pytest.mark.parametrize("block_rows", [1, 7, 30, 60, 1000])
@pytest.mark.parametrize("options", KERNELS, ids=str)
def test_streaming_is_exact(options, block_rows, rng):
    X, Y = dependent(rng)
    for estimator in ESTIMATORS:
        result = hsic_streaming(X, Y, block_rows=block_rows, estimator=estimator, **options)
        assert isinstance(result, float)
        assert result == pytest.approx(hsic(X, Y, estimator=estimator, **options), rel=1e-11)


class SlicesOnly:
    """What a file offers: a shape, and rows from one number to another."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.largest = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        assert isinstance(rows, slice)
        assert rows.step is None
        self.largest = max(self.largest, rows.stop - rows.start)
        return self.array[rows]


def test_streaming_reads_slices(rng):
    X, Y = dependent(rng, 5000)
    files = SlicesOnly(X), SlicesOnly(Y)
    bandwidths = tuple(median_bandwidth(points[np.linspace(0, 4999, 2048).astype(int)]) for points in (X, Y))
    assert hsic_streaming(*files, block_rows=600) == pytest.approx(hsic(X, Y, bandwidth=bandwidths), rel=1e-11)
    assert max(file.largest for file in files) == 600


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.int32, np.uint8])
def test_streaming_of_files(kind, tmp_path, rng):
    X, Y = (np.abs(30 * points).astype(kind) for points in dependent(rng))
    for name, points in (("x", X), ("y", Y)):
        np.save(tmp_path / f"{name}.npy", points)
    files = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in "xy"]
    # In float32 the blocks have other rounding errors.
    tolerance = 1e-11 if kind in (np.int32, np.uint8) else 1e-5
    assert hsic_streaming(*files, block_rows=25) == pytest.approx(hsic(X, Y), rel=tolerance)


def test_streaming_layouts(layout, untouched, rng):
    X, Y = dependent(rng, 30)
    A, B = layout(X), layout(Y)
    with untouched(A, B):
        result = hsic_streaming(A, B, block_rows=8)
    assert result == hsic_streaming(X, Y, block_rows=8)


def test_streaming_of_lists_and_lines():
    x, y = [0, 1, 3, 6, 7], [0.5, 2, 1, 5, 4]
    assert hsic_streaming(x, y, block_rows=2) == pytest.approx(hsic(x, y), rel=1e-12)


def test_slices_that_are_none_of_rows():
    class Labelled:
        """As a Series of pandas, whose slices go by its labels."""

        shape, dtype, iloc = (5,), np.dtype(np.float64), None

        def __array__(self, dtype=None, copy=None):
            return np.array([0.0, 1, 3, 6, 7])

        def __getitem__(self, rows):
            raise AssertionError

    y = [0.5, 2, 1, 5, 4]
    assert hsic_streaming(Labelled(), y, block_rows=2) == hsic_streaming([0.0, 1, 3, 6, 7], y, block_rows=2)
    with pytest.raises(TypeError, match="X is a masked array"):
        hsic_streaming(np.ma.masked_less(np.arange(5), 2), y)
    with pytest.raises(TypeError, match="X.* must hold real numbers"):
        hsic_streaming(np.arange(5) * 1j, y)


def test_streaming_does_not_depend_on_workers(workers, rng):
    X, Y = dependent(rng, 300)
    assert hsic_streaming(X, Y, block_rows=90, workers=workers) == hsic_streaming(X, Y, block_rows=90, workers=1)


def test_streaming_linear_kernels_far_from_the_origin(rng):
    for columns in (3, 100):  # in feature space, and not
        X, Y = dependent(rng, 60, columns_x=columns)
        far = hsic_streaming(X + 2.0**20, Y - 2.0**20, kernel="linear", block_rows=25)
        assert far == pytest.approx(hsic(X, Y, kernel="linear"), rel=1e-8)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, {"block_rows": 0}, "block_rows must be at least 1"),
        ({}, {"estimator": "best"}, "estimator must be"),
        ({"Y": np.zeros(5)}, {}, "X has 6 and Y has 5"),
        ({"X": np.zeros((6, 1, 1))}, {}, "X must have 1 or 2 dimensions"),
        ({"X": np.array([0, 1, 2, 3, np.inf, 5])}, {"block_rows": 2, "gamma": 1.0}, r"X\[0:6\]\[4\] is inf"),
        ({"X": np.zeros(6)}, {}, "all points are equal"),
        ({"X": np.zeros(0), "Y": np.zeros(0)}, {}, "0 points, but at least 2"),
        ({"X": np.arange(3), "Y": np.arange(3)}, {"estimator": "unbiased"}, "3 points, but at least 4"),
    ],
)
def test_bad_streams(change, options, message):
    arrays = {"X": np.arange(6.0), "Y": np.arange(6.0)} | change
    with pytest.raises(KexueValueError, match=message):
        hsic_streaming(**arrays, **options)


# ---- blocks ----


@pytest.mark.parametrize("options", KERNELS, ids=str)
def test_blocks_are_those_of_the_definition(options, rng):
    X, Y = dependent(rng, 65)
    result = hsic_block(X, Y, block_size=20, **options)
    assert isinstance(result, HSICBlockResult)
    expected = [hsic(X[i : i + 20], Y[i : i + 20], estimator="unbiased", **options) for i in (0, 20, 40)]
    np.testing.assert_allclose(result.values, expected, rtol=1e-12)
    assert result.n_points == 60
    assert result.hsic == pytest.approx(np.mean(expected), rel=1e-12)
    assert result.standard_error == pytest.approx(stats.sem(expected), rel=1e-10)
    test = stats.ttest_1samp(expected, 0, alternative="greater")
    assert result.statistic == pytest.approx(test.statistic, rel=1e-9)
    assert result.pvalue == pytest.approx(test.pvalue, rel=1e-9)


@given(st.lists(st.integers(0, 30), max_size=12), st.integers(4, 20))
@settings(deadline=None, max_examples=40)
def test_chunks_are_cut_and_joined(lengths, size):
    rng = np.random.default_rng(0)
    X, Y = dependent(rng, 60 + sum(lengths))
    cuts = [*np.cumsum(lengths), len(X)]
    chunks = ((X[a:b], Y[a:b]) for a, b in itertools.pairwise([0, *cuts]))
    result = hsic_block(chunks, block_size=size, bandwidth=1.5)
    expected = hsic_block(X, Y, block_size=size, bandwidth=1.5)
    np.testing.assert_array_equal(result.values, expected.values)


def test_median_of_the_first_chunks(rng):
    X, Y = dependent(rng, 5000)
    bandwidths = tuple(median_bandwidth(points[:2048]) for points in (X, Y))
    chunks = [(X[i : i + 700], Y[i : i + 700]) for i in range(0, 5000, 700)]
    expected = hsic_block(X, Y, block_size=100, bandwidth=bandwidths)
    assert hsic_block(iter(chunks), block_size=100).hsic == expected.hsic
    few = [(X[:300], Y[:300])]
    assert hsic_block(few, block_size=100).hsic == pytest.approx(hsic_block(X[:300], Y[:300], block_size=100).hsic)


def test_chunks_are_read_as_they_are_needed(monkeypatch, rng):
    monkeypatch.setattr(_hsic_large, "MEDIAN_ROWS", 20)
    original, alive, most = _hsic_large.pair_sums, 0, 0

    def spy(*arguments, **options):
        nonlocal alive
        alive -= 1
        return original(*arguments, **options)

    def chunks():
        nonlocal alive, most
        for _ in range(50):
            alive, most = alive + 1, max(most, alive + 1)
            yield dependent(rng, 10)

    monkeypatch.setattr(_hsic_large, "pair_sums", spy)
    assert hsic_block(chunks(), block_size=10).n_points == 500
    assert most <= 3


def test_shuffled_blocks(rng):
    X, Y = dependent(rng, 90)
    first, second = (hsic_block(X, Y, block_size=20, bandwidth=1.0, shuffle=True, rng=3) for _ in range(2))
    np.testing.assert_array_equal(first.values, second.values)
    other = hsic_block(X, Y, block_size=20, bandwidth=1.0, shuffle=True, rng=4)
    assert (first.values != other.values).all()
    order = np.random.default_rng(3).permutation(90)
    expected = hsic_block(X[order], Y[order], block_size=20, bandwidth=1.0)
    np.testing.assert_allclose(first.values, expected.values, rtol=1e-10)


def test_sorted_points_need_to_be_shuffled(rng):
    """Within a block of points in order there is next to no dependence left."""
    x = np.sort(rng.normal(size=2000))
    y = x + 0.5 * rng.normal(size=2000)
    plain, shuffled = (hsic_block(x, y, block_size=50, shuffle=shuffle, rng=0) for shuffle in (False, True))
    assert plain.hsic < 0.1 * shuffled.hsic
    exact = hsic(x, y, estimator="unbiased")
    assert abs(shuffled.hsic - exact) < 4 * shuffled.standard_error


def test_level_of_blocks():
    """Of 600 independent samples of 40 blocks, as many are rejected at 0.05 as in 99.9 % of binomial samples."""
    count = 0
    for seed in range(600):
        rng = np.random.default_rng([21, seed])
        x, y = rng.normal(size=800), rng.uniform(size=800)
        count += hsic_block(x, y, block_size=20, bandwidth=(1.0, 0.3)).pvalue <= 0.05
    lowest, highest = stats.binom.interval(0.999, 600, 0.05)
    assert lowest <= count <= highest


def test_power_of_blocks():
    """y = x^2 + e, 1000 points in 20 blocks: found at 0.05 in more than 95 % of 100 samples."""
    count = 0
    for seed in range(100):
        rng = np.random.default_rng([22, seed])
        x = rng.normal(size=1000)
        count += hsic_block(x, x**2 + rng.normal(size=1000), block_size=50).pvalue <= 0.05
    assert count > 95


def test_constant_blocks():
    result = hsic_block(np.ones(20), np.arange(20), block_size=5, kernel="linear")
    assert (result.hsic, result.standard_error, result.statistic, result.pvalue) == (0, 0, 0, 0.5)


def test_blocks_do_not_depend_on_workers(workers, rng):
    X, Y = dependent(rng, 600)
    one, many = (hsic_block(X, Y, block_size=300, workers=number) for number in (1, workers))
    np.testing.assert_array_equal(one.values, many.values)


def test_bad_blocks(rng):
    X, Y = dependent(rng, 20)
    for arguments, options, message in [
        ((X, Y), {"block_size": 3}, "block_size must be at least 4"),
        ((X, Y), {"block_size": 11}, "20 points, but at least two blocks"),
        (([(X, Y)],), {"block_size": 11}, "less than two blocks"),
        (([],), {"block_size": 5}, "X has no chunks"),
        (([(X, Y)],), {"block_size": 5, "shuffle": True}, "shuffle needs arrays"),
        (([(X, Y), (X, Y[:5])],), {"block_size": 5}, "chunk 1: X and Y must have as many points"),
        (([(X, Y), (X[:, :1], Y)],), {"block_size": 5}, "X has 1 columns in chunk 1, but 3 in chunk 0"),
        (([(X, Y * np.nan)],), {"block_size": 5}, r"chunk 0: Y\[0, 0\] is nan"),
        ((X, Y[:5]), {"block_size": 5}, "X has 20 and Y has 5"),
    ]:
        with pytest.raises(KexueValueError, match=message):
            hsic_block(*arguments, **options)
    for chunks, message in [(X, "an iterable of pairs"), (3, "an iterable of pairs"), ([X], "chunk 0 is not a pair")]:
        with pytest.raises(TypeError, match=message):
            hsic_block(chunks, block_size=5)
    with pytest.raises(TypeError, match="block_size must be an integer"):
        hsic_block(X, Y, block_size=5.0)


# ---- random features ----


@pytest.mark.parametrize("columns", [1, 3, 40])
@pytest.mark.parametrize("kernel", ["rbf", "laplace"])
def test_frequencies_have_the_kernel_as_their_mean(kernel, columns, rng):
    """The mean of cos(2 pi f (x - y)) over 64,000 frequencies, within 5 standard errors of it."""
    resolved = _hsic_large.Kernel(kernel, 0.2 if kernel == "rbf" else 0.3)
    groups = [_hsic_large._frequencies(columns, resolved, rng) for _ in range(2000)]
    for length in (0.1, 1.0, 3.0):
        x = rng.normal(size=columns)
        x *= length / np.linalg.norm(x)
        means = np.cos(2 * np.pi * np.array(groups) @ x).mean(axis=1)
        expected = resolved.matrix(x[None], np.zeros((1, columns)))[0, 0]
        assert abs(means.mean() - expected) < 5 * stats.sem(means) + 1e-12


@pytest.mark.parametrize("estimator", ESTIMATORS)
@pytest.mark.parametrize("kernel", ["rbf", "laplace", ("rbf", "laplace")])
def test_error_of_random_features(kernel, estimator):
    """In 200 choices of features, HSIC is within two standard errors in 95 %, but for what is likely at 99.9 %."""
    rng = np.random.default_rng(1)
    X, Y = dependent(rng, 50)
    exact = hsic(X, Y, kernel=kernel, estimator=estimator)
    results = [
        hsic_random_features(X, Y, kernel=kernel, estimator=estimator, rng=seed, n_features=1024) for seed in range(200)
    ]
    errors = np.array([(result.hsic - exact) / result.standard_error for result in results])
    assert np.count_nonzero(abs(errors) < 2) >= stats.binom.ppf(0.001, 200, 0.94)
    assert abs(errors.mean()) < 4 / np.sqrt(200)


def test_error_falls_with_the_number_of_features(rng):
    X, Y = dependent(rng, 200)
    results = [hsic_random_features(X, Y, n_features=count, rng=0) for count in (64, 1024, 16384)]
    assert [result.n_features for result in results] == [64, 1024, 16384]
    errors = np.array([result.standard_error for result in results])
    # A quarter each; the first is of two groups only, and not more than an order of magnitude.
    assert errors[2] == pytest.approx(errors[1] / 4, rel=0.3)
    assert abs(results[2].hsic - hsic(X, Y)) < 4 * errors[2]
    assert errors[2] < 0.01 * results[2].hsic


def test_features_come_in_groups(rng):
    X, Y = dependent(rng)
    for asked, taken in ((1, 64), (64, 64), (65, 96)):
        result = hsic_random_features(X, Y, n_features=asked, rng=0)
        assert isinstance(result, HSICFeaturesResult)
        assert (result.n_features, result.n_points) == (taken, 60)


def test_random_features_of_many_columns(rng):
    """No matrix of columns x columns, of 32 MB, to find a few directions in."""
    X = rng.normal(size=(40, 2000))
    tracemalloc.start()
    try:
        result = hsic_random_features(X, X[:, 0], n_features=64, rng=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert abs(result.hsic - hsic(X, X[:, 0])) < 0.2 * result.hsic
    assert peak < 25e6


def test_random_features_of_more_points_than_a_block(rng):
    X, Y = dependent(rng, 2500)
    options = {"bandwidth": 1.5, "n_features": 320, "rng": 6}
    whole = hsic_random_features(X, Y, **options)
    assert whole.n_points == 2500
    assert abs(whole.hsic - hsic(X, Y, bandwidth=1.5)) < 4 * whole.standard_error
    chunks = [(X[:100], Y[:100]), (X[100:2300], Y[100:2300]), (X[2300:], Y[2300:])]
    in_chunks = hsic_random_features(iter(chunks), **options)
    assert in_chunks.hsic == pytest.approx(whole.hsic, rel=1e-4)
    assert in_chunks.n_points == 2500
    files = hsic_random_features(SlicesOnly(X), SlicesOnly(Y), **options)
    assert files.hsic == whole.hsic


def test_random_features_are_reproducible(rng):
    X, Y = dependent(rng)
    first, second, generator, other = (
        hsic_random_features(X, Y, n_features=64, rng=source).hsic for source in (2, 2, np.random.default_rng(2), 3)
    )
    assert first == second == generator != other


def test_random_features_far_from_the_origin(rng):
    X, Y = dependent(rng)
    for kernel in ("rbf", "laplace"):
        near, far = (
            hsic_random_features(X + shift, Y - shift, kernel=kernel, bandwidth=1.0, n_features=64, rng=0).hsic
            for shift in (0, 2.0**20)
        )
        assert far == pytest.approx(near, rel=1e-4)


def test_random_features_layouts(layout, untouched, dtype, rng):
    X, Y = (points.astype(dtype) for points in dependent(rng))
    A, B = layout(X), layout(Y)
    with untouched(A, B):
        result = hsic_random_features(A, B, n_features=64, rng=0)
    assert result.hsic == hsic_random_features(X, Y, n_features=64, rng=0).hsic


@pytest.mark.parametrize("scale", [1e16, 1e25, 1e300])
def test_phases_need_digits(scale, rng):
    x = rng.normal(size=60)
    with pytest.raises(KexueValueError, match="bandwidth of Y is too small for random features"):
        hsic_random_features(x, x * scale, bandwidth=1.0, rng=0)
    exact = hsic(x, x * 1e9, bandwidth=1.0)
    result = hsic_random_features(x, x * 1e9, bandwidth=1.0, rng=0)
    assert abs(result.hsic - exact) < 4 * result.standard_error


def test_bad_features(rng):
    X, Y = dependent(rng, 20)
    for arguments, options, message in [
        ((X, Y), {"kernel": "linear"}, 'need the kernel "rbf" or "laplace", but that of X is linear'),
        ((X, Y), {"kernel": ("rbf", cauchy)}, "that of Y is callable"),
        ((X, Y), {"n_features": 0}, "n_features must be at least 1"),
        ((X, Y), {"estimator": "best"}, "estimator must be"),
        ((X, Y[:5]), {}, "X has 20 and Y has 5"),
        ((X[:1], Y[:1]), {}, "1 point, but at least 2"),
        (([(X[:3], Y[:3])],), {"estimator": "unbiased"}, "3 points, but at least 4"),
        ((X * 0, Y), {}, "all points are equal"),
    ]:
        with pytest.raises(KexueValueError, match=message):
            hsic_random_features(*arguments, **options)


def test_sample_of_the_median_is_that_of_all_forms():
    assert _hsic_large.MEDIAN_ROWS == _hsic_sums.MEDIAN_ROWS == kexue.dask._independence.SAMPLE_ROWS
