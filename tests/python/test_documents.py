import json
import os
import signal
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import ot
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import kexue
from reference import transport as reference

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
METRICS = ["wmd", "wrd", "wcd", "rwmd"]
ORACLES = {"wmd": reference.wmd, "wrd": reference.wrd, "wcd": reference.wcd, "rwmd": reference.rwmd}
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}
X = np.array([[1, 0, 0], [0, 2, 0], [0, 0, 1.5]])
Y = np.array([[0.8, 0.3, 0], [0, 1, 1]])


@pytest.fixture(params=METRICS)
def metric(request):
    return request.param


def exact(x, y, x_weights=None, y_weights=None, *, metric="wmd"):
    """POT on the ground costs in float64."""
    problem = reference.wmd_problem if metric == "wmd" else reference.wrd_problem
    (x, x_weights), (y, y_weights) = (
        (vectors, weights) if weights is None else (vectors[weights > 0], weights[weights > 0])
        for vectors, weights in ((x, x_weights), (y, y_weights))
    )
    p, q, costs = problem(x, y, x_weights, y_weights)
    return ot.emd2(p, q, costs, numItermax=10**6)


def corpus(rng, documents, vocabulary, dimension, words=12, dtype=np.float64):
    """Word vectors in clusters, and counts with every document different in length."""
    centers = rng.normal(size=(5, dimension))
    vectors = (centers[rng.integers(5, size=vocabulary)] + 0.5 * rng.normal(size=(vocabulary, dimension))).astype(dtype)
    counts = np.zeros((documents, vocabulary))
    for row in counts:
        chosen = rng.integers(vocabulary, size=rng.integers(1, words + 1))
        np.add.at(row, chosen, 1)
    return counts, vectors


def documents_of(counts, vectors):
    """Lists of arrays, and their weights, of what the rows of counts say."""
    return [vectors[row > 0] for row in counts], [row[row > 0] for row in counts]


# ---- values ----


def test_reference_values():  # METHODS R33
    def close(value):
        return pytest.approx(value, rel=1e-14)

    assert kexue.wmd(X, Y) == close(1.0417035362952125)
    assert kexue.wmd(X, Y, rms=True) == close(0.601427817095826)
    assert kexue.wcd(X, Y) == close(0.0687184270936277)
    assert kexue.rwmd(X, Y) == close(0.9642675595564629)
    assert kexue.wrd(X, Y) == close(0.296917159480791)
    assert kexue.rwmd(X, Y, metric="wrd") == close(0.24195490850623097)
    p, q, _ = reference.wrd_problem(X, Y)
    np.testing.assert_allclose(p, [2 / 9, 4 / 9, 3 / 9], rtol=1e-15)
    np.testing.assert_allclose(q, [0.376617793196423, 0.623382206803577], rtol=1e-14)


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 8, 15, 16, 17, 33, 300])
def test_pairs_against_pot(dimension, dtype, rng):
    for m, n in [(1, 1), (1, 6), (5, 1), (9, 14), (30, 30), (90, 70)]:
        x, y = rng.normal(size=(m, dimension)).astype(dtype), rng.normal(size=(n, dimension)).astype(dtype)
        p, q = rng.exponential(size=m), rng.integers(1, 5, size=n)
        for weights in ((None, None), (p, q), (p, None)):
            for name in ("wmd", "wrd"):
                value = getattr(kexue, name)(x, y, *weights)
                assert value == pytest.approx(
                    exact(x, y, *weights, metric=name), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype]
                )
                assert isinstance(value, float if dtype == np.float64 else np.float32)
            for name in ("wcd", "rwmd"):
                value = getattr(kexue, name)(x, y, *weights)
                assert value == pytest.approx(ORACLES[name](x, y, *weights), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
            bound = kexue.rwmd(x, y, *weights, metric="wrd")
            assert bound == pytest.approx(reference.rwrd(x, y, *weights), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


@pytest.mark.parametrize("dimension", [1, 3, 16, 17, 300])
def test_pairwise_against_pot(dimension, dtype, metric, rng):
    counts, vectors = corpus(rng, 14, 60, dimension, dtype=dtype)
    weights = counts * rng.exponential(size=60)  # as TF-IDF
    for rows, columns in ((counts, counts[:9]), (weights, weights), (weights[:3], counts)):
        result = kexue.pairwise_distances(
            sparse.csr_array(rows), sparse.csr_array(columns), vectors=vectors, metric=metric
        )
        assert result.dtype == dtype and result.shape == (len(rows), len(columns))
        expected = [
            [
                (
                    exact(vectors, vectors, a, b, metric=metric)
                    if metric in ("wmd", "wrd")
                    else ORACLES[metric](vectors, vectors, a, b)
                )
                for b in columns
            ]
            for a in rows
        ]
        np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@st.composite
def pairs(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    m, n, dimension = draw(st.integers(1, 25)), draw(st.integers(1, 25)), draw(st.integers(1, 20))
    if draw(st.booleans()):
        x, y = rng.normal(size=(m, dimension)), rng.normal(size=(n, dimension))
    else:  # many equal words and ties
        x, y = (rng.integers(-1, 2, size=(k, dimension)) + 0.0 for k in (m, n))
        x[0, 0] = y[0, 0] = 1
    if draw(st.booleans()):
        return x, y, None, None
    a, b = rng.integers(0, 4, size=m), rng.integers(0, 4, size=n)
    a[0], b[0] = max(a[0], 1), max(b[0], 1)
    return x, y, a, b


@given(pairs())
@settings(max_examples=150, deadline=None)
def test_bounds_and_invariances(pair):
    x, y, a, b = pair
    wmd = kexue.wmd(x, y, a, b)
    slack = 1e-12 * (1 + wmd)
    assert wmd == pytest.approx(reference.wmd(x, y, a, b), rel=1e-10, abs=1e-10)
    assert kexue.wcd(x, y, a, b) <= wmd + slack
    assert kexue.rwmd(x, y, a, b) <= wmd + slack
    wrd = kexue.wrd(x, y, a, b)
    assert 0 <= kexue.rwmd(x, y, a, b, metric="wrd") <= wrd + 1e-12 <= 2 + 2e-12
    assert kexue.wmd(y, x, b, a) == pytest.approx(wmd, rel=1e-12, abs=1e-12)
    assert kexue.wrd(y, x, b, a) == pytest.approx(wrd, rel=1e-12, abs=1e-12)
    for scaled in (a, b):
        if scaled is not None:
            assert kexue.wmd(x, y, 1000 * a, b / 7) == pytest.approx(wmd, rel=1e-12, abs=1e-12)
    assert kexue.wmd(4 * x, 4 * y, a, b) == pytest.approx(4 * wmd, rel=1e-12)
    assert kexue.wrd(4 * x, 0.5 * y, a, b) == pytest.approx(wrd, rel=1e-12, abs=1e-12)
    assert kexue.wmd(x, y, a, b, rms=True) == pytest.approx(wmd / np.sqrt(x.shape[1]), rel=1e-12)
    assert kexue.wmd(x, x, a, a) == kexue.wrd(x, x, a, a) == 0


def test_rms(rng):
    counts, vectors = corpus(rng, 5, 20, 9)
    for name in ("wmd", "rwmd", "wcd"):
        plain = kexue.pairwise_distances(counts, vectors=vectors, metric=name)
        np.testing.assert_allclose(kexue.pairwise_distances(counts, vectors=vectors, metric=name, rms=True), plain / 3)
        np.testing.assert_allclose(getattr(kexue, name)(X, Y, rms=True), getattr(kexue, name)(X, Y) / np.sqrt(3))
    for call in (
        lambda: kexue.pairwise_distances(counts, vectors=vectors, metric="wrd", rms=True),
        lambda: kexue.rwmd(X, Y, metric="wrd", rms=True),
    ):
        with pytest.raises(kexue.KexueValueError, match="rms"):
            call()


def test_shared_words(rng):
    # Leaving shared mass where it is is exact for WMD; for WRD, whose cost is no metric, it would not be.
    counts, vectors = corpus(rng, 30, 25, 4, words=20)
    differs = 0
    for name in ("wmd", "wrd"):
        result = kexue.pairwise_distances(counts, counts, vectors=vectors, metric=name)
        for i, j in np.ndindex(result.shape):
            value = exact(vectors, vectors, counts[i], counts[j], metric=name)
            assert result[i, j] == pytest.approx(value, rel=1e-12, abs=1e-12)
            if name == "wrd":
                p, q, costs = reference.wrd_problem(vectors, vectors, counts[i], counts[j])
                shared = np.minimum(p, q)
                differs += (
                    reference.highs(p - shared, q - shared, costs) > value + 1e-6
                    if (i < j and i < 6 and shared.sum() < 1)
                    else 0
                )
    assert differs  # else the test shows nothing


def test_the_same_is_exactly_nothing(dtype, metric, rng):
    counts, vectors = corpus(rng, 20, 50, 37, dtype=dtype)
    counts[13] = counts[4]
    counts[17] = 3 * counts[4]
    result = kexue.pairwise_distances(counts, counts, vectors=vectors, metric=metric)
    assert not result.diagonal().any()
    assert result[4, 13] == result[13, 4] == 0
    if metric != "wcd":
        assert result[4, 17] <= 1e-15
    words = kexue.pairwise_distances(np.eye(50), np.eye(50)[::-1], vectors=vectors, metric=metric)
    assert not words[:, ::-1].diagonal().any()
    assert (words[:, ::-1][~np.eye(50, dtype=bool)] > 0).all()


@pytest.mark.parametrize("size", [1e-9, 1e-11, 1e-12, 1e-13, 3e-14, 1e-14, 1e-15])
@pytest.mark.parametrize("words", [20, 3000])
def test_nearly_equal_documents(size, words, rng):
    # What is left after the shared mass is little more than the rounding of the totals.
    vectors = rng.normal(size=(words, 3))
    diameter = 2 * np.linalg.norm(vectors, axis=1).max()
    for _ in range(10):
        a = rng.random(words)
        b = a * (1 + size * rng.normal(size=words))
        distance = kexue.pairwise_distances([a], [b], vectors=vectors)[0, 0]
        moved = np.abs(a / a.sum() - b / b.sum()).sum() / 2
        assert 0 <= distance <= diameter * (moved + 1e-13)


# ---- symmetric and not ----


@pytest.mark.parametrize("documents", [1, 2, 7, 150])
def test_symmetric(documents, metric, workers, rng):
    counts, vectors = corpus(rng, documents, 300, 10, words=25)
    rows = sparse.csr_array(counts)
    result = kexue.pairwise_distances(rows, vectors=vectors, metric=metric, workers=workers)
    np.testing.assert_array_equal(result, result.T)
    assert not result.diagonal().any()
    both = kexue.pairwise_distances(rows, rows, vectors=vectors, metric=metric, workers=workers)
    np.testing.assert_allclose(result, both, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(np.triu(result, 1), np.triu(both, 1))


def test_workers_give_the_same_bits(workers, metric, dtype, rng):
    counts, vectors = corpus(rng, 120, 2000, 20, words=30, dtype=dtype)
    serial = kexue.pairwise_distances(counts, vectors=vectors, metric=metric, workers=1)
    np.testing.assert_array_equal(
        kexue.pairwise_distances(counts, vectors=vectors, metric=metric, workers=workers), serial
    )
    other = kexue.pairwise_distances(counts[:50], counts[50:], vectors=vectors, metric=metric, workers=workers)
    np.testing.assert_array_equal(other, serial[:50, 50:])


def test_a_pair_does_not_depend_on_its_block(metric, dtype, rng):
    counts, vectors = corpus(rng, 40, 900, 33, words=60, dtype=dtype)
    whole = kexue.pairwise_distances(counts, counts, vectors=vectors, metric=metric)
    for i, j in [(0, 39), (39, 0), (20, 21), (5, 5), (38, 2)]:
        alone = kexue.pairwise_distances(counts[i : i + 1], counts[j : j + 1], vectors=vectors, metric=metric)
        assert alone[0, 0] == whole[i, j]


def test_long_documents(metric, dtype, rng):
    # A document of more words than a block of a tile.
    counts = np.zeros((3, 1500))
    counts[0, :700] = rng.integers(1, 4, size=700)
    counts[1, 600:1500] = 1
    counts[2, 3] = 1
    vectors = rng.normal(size=(1500, 8)).astype(dtype)
    result = kexue.pairwise_distances(counts, counts, vectors=vectors, metric=metric, workers=2)
    for i, j in np.ndindex(3, 3):
        if metric in ("wmd", "wrd"):
            expected = exact(vectors, vectors, counts[i], counts[j], metric=metric)
        else:
            expected = ORACLES[metric](vectors, vectors, counts[i], counts[j])
        assert result[i, j] == pytest.approx(expected, rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])


# ---- entropic ----


def entropic(X, Y=None, *, reg=0.5, **options):
    return kexue.pairwise_distances(X, Y, metric="sinkhorn", reg=reg, **options)


def entropic_pairs(X, Y, vectors, function):
    """function(p, q, costs) of every pair of rows."""
    problems = [[reference.wmd_problem(vectors[a > 0], vectors[b > 0], a[a > 0], b[b > 0]) for b in Y] for a in X]
    return np.array([[function(*problem) for problem in row] for row in problems])


@pytest.mark.parametrize("reg", [0.2, 2.0, 20.0])
@pytest.mark.parametrize("dimension", [1, 3, 17])
def test_entropic_pairs(dimension, reg, dtype, rng):
    counts, vectors = corpus(rng, 9, 60, dimension, dtype=dtype)
    weights = counts * rng.exponential(size=60)
    tolerance = {"rtol": 0, "atol": 1e-9 if dtype == np.float64 else 1e-5}
    for rows, columns in ((counts, weights[:5]), (weights, weights)):
        result = entropic(sparse.csr_array(rows), sparse.csr_array(columns), reg=reg, vectors=vectors, tol=1e-12)
        assert result.dtype == dtype and result.shape == (len(rows), len(columns))
        single = entropic_pairs(rows, columns, vectors, lambda *problem: kexue.sinkhorn2(*problem, reg, tol=1e-12))
        np.testing.assert_allclose(result, single, **tolerance)
        if reg > 1:  # for less, POT takes too long
            pot = entropic_pairs(
                rows,
                columns,
                vectors,
                lambda *problem: ot.sinkhorn2(*problem, reg, method="sinkhorn_log", stopThr=1e-12, numItermax=10**5),
            )
            np.testing.assert_allclose(result, pot, **tolerance)


def test_entropic_of_weights_that_take_no_part(rng):
    """Costs of the words that do take part are copied: a small pair first, then a larger one."""
    counts = np.zeros((2, 40))
    counts[0, :2] = counts[1] = 1
    counts[:, 0] = 1e-200
    vectors = rng.normal(size=(40, 2))
    found = entropic(counts, reg=1.0, vectors=vectors)
    counts[:, 0] = 0
    np.testing.assert_allclose(found, entropic(counts, reg=1.0, vectors=vectors), rtol=1e-12, atol=1e-200)


def test_entropic_is_between_exact_transport_and_the_product(rng):
    counts, vectors = corpus(rng, 12, 60, 8)
    exact_costs = kexue.pairwise_distances(counts, vectors=vectors)
    product = entropic_pairs(counts, counts, vectors, lambda p, q, costs: p @ costs @ q)
    last = exact_costs
    for reg in (0.02, 0.2, 2.0):
        result = entropic(counts, reg=reg, vectors=vectors)
        assert (result >= last - 1e-8).all() and (result <= product + 1e-8).all()
        last = result
    np.testing.assert_allclose(entropic(counts, reg=1e9, vectors=vectors), product, rtol=1e-7)


@pytest.mark.parametrize("documents", [1, 2, 7, 60])
def test_entropic_symmetric(documents, workers, dtype, rng):
    counts, vectors = corpus(rng, documents, 300, 10, words=25, dtype=dtype)
    rows = sparse.csr_array(counts)
    result = entropic(rows, vectors=vectors, workers=workers)
    np.testing.assert_array_equal(result, result.T)
    # A document is not at distance 0 from itself, unless it is of one word.
    np.testing.assert_array_equal(result.diagonal() > 0, np.count_nonzero(counts, axis=1) > 1)
    both = entropic(rows, rows, vectors=vectors, workers=workers)
    np.testing.assert_array_equal(np.triu(result), np.triu(both))
    np.testing.assert_allclose(result, both, rtol=0, atol=1e-7 if dtype == np.float64 else 1e-5)


def test_entropic_workers_and_blocks_give_the_same_bits(workers, dtype, rng):
    counts, vectors = corpus(rng, 70, 2000, 20, words=30, dtype=dtype)
    serial = entropic(counts, vectors=vectors, workers=1)
    np.testing.assert_array_equal(entropic(counts, vectors=vectors, workers=workers), serial)
    other = entropic(counts[:30], counts[30:], vectors=vectors, workers=workers)
    np.testing.assert_array_equal(other, serial[:30, 30:])
    for i, j in [(0, 69), (20, 21), (5, 5), (2, 68)]:
        assert entropic(counts[[i]], counts[[j]], vectors=vectors)[0, 0] == serial[i, j]


@pytest.mark.parametrize("reg", [0.1, 5.0])
def test_entropic_long_documents(reg, dtype, rng):
    # Of more words than a block of a tile, with short ones in the same memory after them.
    counts = np.zeros((5, 1000))
    counts[0, :450] = rng.integers(1, 4, size=450)
    counts[1, 400:1000] = 1
    counts[2, 3] = 1
    counts[3, 990:] = rng.random(10)
    counts[4, 300:500] = rng.random(200)
    vectors = rng.normal(size=(1000, 8)).astype(dtype)
    result = entropic(counts, reg=reg, vectors=vectors, workers=2)
    expected = entropic_pairs(counts, counts, vectors, lambda *problem: kexue.sinkhorn2(*problem, reg))
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-7 if dtype == np.float64 else 1e-5)


def test_entropic_lists(dtype, rng):
    counts, vectors = corpus(rng, 8, 40, 6, dtype=dtype)
    arrays, weights = documents_of(counts, vectors)
    expected = entropic(counts, vectors=vectors)
    tolerance = {"rtol": 0, "atol": 1e-7 if dtype == np.float64 else 1e-5}
    lists = entropic(arrays, x_weights=weights)
    np.testing.assert_allclose(lists, expected, **tolerance)
    np.testing.assert_array_equal(lists, lists.T)
    two = entropic(arrays[:3], arrays[3:], x_weights=weights[:3], y_weights=weights[3:])
    np.testing.assert_allclose(two, expected[:3, 3:], **tolerance)
    assert lists.dtype == two.dtype == dtype
    uniform = entropic(arrays)
    for i, j in np.ndindex(uniform.shape):
        _, _, costs = reference.wmd_problem(arrays[i], arrays[j])
        assert uniform[i, j] == pytest.approx(kexue.sinkhorn2(None, None, costs, 0.5), abs=tolerance["atol"])


def test_entropic_rms(dtype, rng):
    counts, vectors = corpus(rng, 6, 30, 9, dtype=dtype)
    plain = entropic(counts, reg=0.6, vectors=vectors)
    scaled = entropic(counts, reg=0.2, vectors=vectors, rms=True)  # reg has the units of the distance
    np.testing.assert_allclose(scaled, plain / 3, rtol=0, atol=1e-7 if dtype == np.float64 else 1e-5)
    assert (entropic(counts, reg=0.6, vectors=vectors, rms=True) - scaled > 1e-4).any()


def test_entropic_layouts(layout, dtype, untouched, rng):
    counts, vectors = corpus(rng, 6, 20, 7, dtype=dtype)
    expected = entropic(counts, vectors=vectors)
    lists = entropic([vectors[:5], vectors[5:]])
    other, rows = layout(vectors), layout(counts)
    with untouched(other, rows):
        np.testing.assert_array_equal(entropic(rows, vectors=other), expected)
        np.testing.assert_allclose(entropic([other[:5], other[5:]]), lists, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("empty", "value"), [("nan", np.nan), ("inf", np.inf)])
def test_entropic_empty_documents(empty, value, workers, dtype, rng):
    counts, vectors = corpus(rng, 6, 20, 4, dtype=dtype)
    counts[[1, 4]] = 0
    sound = [0, 2, 3, 5]
    with pytest.raises(kexue.KexueValueError, match="document 1 of X is empty: it has no words"):
        entropic(counts, vectors=vectors, workers=workers)
    result = entropic(counts, vectors=vectors, empty=empty, workers=workers)
    both = entropic(counts, counts, vectors=vectors, empty=empty, workers=workers)
    np.testing.assert_array_equal(result[np.ix_(sound, sound)], entropic(counts[sound], vectors=vectors))
    for matrix, bad in ((result, 1), (result, 4), (both, 1), (both, 4)):
        np.testing.assert_array_equal(matrix[bad], np.full(6, value))
        np.testing.assert_array_equal(matrix[:, bad], np.full(6, value))
    none = sparse.csr_array((0, 20))
    assert entropic(none, vectors=vectors).shape == (0, 0)
    assert entropic(counts[sound], none, vectors=vectors).shape == (4, 0)
    assert entropic([[], []], empty=empty).shape == (2, 2)


def test_entropic_sizes(dtype, rng):
    # Costs of any size: only their ratio to reg matters.
    counts, vectors = corpus(rng, 5, 15, 3)
    expected = entropic(counts, vectors=vectors)
    for power in (-90, -30, 30, 90) if dtype == np.float32 else (-900, -300, 300, 900):
        scaled = entropic(counts, reg=np.ldexp(0.5, power), vectors=np.ldexp(vectors, power).astype(dtype))
        np.testing.assert_allclose(
            np.ldexp(scaled.astype(np.float64), -power), expected, rtol=0, atol=1e-7 if dtype == np.float64 else 1e-5
        )
    one_word = entropic(np.eye(15), reg=1e-300, vectors=vectors)  # leaves nothing to regularise
    np.testing.assert_allclose(one_word, reference.euclidean(vectors, vectors), rtol=1e-12, atol=0)
    with pytest.raises(OverflowError):
        entropic(counts, reg=1e-300, vectors=vectors)


def test_entropic_limit(workers, rng):
    counts, vectors = corpus(rng, 30, 400, 5, words=20)
    counts[0], counts[1] = np.eye(2, 400)  # one word each: no passes

    def stopped(p, q, costs):
        return kexue.sinkhorn2(p, q, costs, 0.05, max_iter=3, log=True)[1]["status"]

    with kexue.errstate(convergence="ignore"):
        late = entropic_pairs(counts, counts, vectors, stopped)
        early = entropic(counts, reg=0.05, vectors=vectors, max_iter=3, workers=workers)
        again = entropic(counts, reg=0.05, vectors=vectors, max_iter=3, workers=1)
    np.testing.assert_array_equal(early, again)
    assert late.any() and not late[:2].any()
    for Y, pairs in ((None, np.triu(late)), (counts, late)):
        message = rf"^{pairs.sum()} of \d+ pairs stopped at max_iter=3 before .* tol=1e-09"
        with pytest.warns(kexue.ConvergenceWarning, match=message):
            result = entropic(counts, Y, reg=0.05, vectors=vectors, max_iter=3, workers=workers)
        assert np.isfinite(result).all()
    with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning, match="max_iter=3"):
        entropic(counts, reg=0.05, vectors=vectors, max_iter=3, workers=workers)
    enough = entropic(counts, reg=0.05, vectors=vectors, workers=workers)
    assert np.abs(enough - early).max() > 1e-6
    loose = entropic(counts, reg=0.05, vectors=vectors, tol=1e-3, workers=workers)
    assert 1e-8 < np.abs(enough - loose).max() < 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "sinkhorn"}, 'metric="sinkhorn" needs reg'),
        ({"metric": "sinkhorn", "reg": 0}, "reg is 0.0, but must be positive"),
        ({"metric": "sinkhorn", "reg": -1}, "reg is -1.0, but must be positive"),
        ({"metric": "sinkhorn", "reg": float("nan")}, "reg is nan"),
        ({"metric": "sinkhorn", "reg": float("inf")}, "reg is inf"),
        ({"metric": "sinkhorn", "reg": [0.1, 1.0]}, r"reg must be a number, but its shape is \(2,\)"),
        ({"metric": "sinkhorn", "reg": 1.0, "tol": -1e-9}, "tol must be"),
        ({"metric": "sinkhorn", "reg": 1.0, "tol": float("nan")}, "tol must be"),
        ({"metric": "sinkhorn", "reg": 1.0, "max_iter": 0}, "max_iter must be at least 1"),
        ({"metric": "wmd", "reg": 1.0}, "reg goes with metric=\"sinkhorn\", not with 'wmd'"),
        ({"metric": "wrd", "reg": 1.0}, "reg goes with metric=\"sinkhorn\", not with 'wrd'"),
        ({"metric": "wcd", "reg": 1.0}, "reg goes with metric=\"sinkhorn\", not with 'wcd'"),
        ({"metric": "rwmd", "reg": 1.0}, "reg goes with metric=\"sinkhorn\", not with 'rwmd'"),
        ({"reg": 1.0}, "reg goes with metric"),
    ],
)
def test_entropic_bad_options(options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        kexue.pairwise_distances([[1, 1, 0]], vectors=np.eye(3), **options)


def test_entropic_bad_input():
    for bad in (np.nan, np.inf):
        vectors = np.eye(3)
        vectors[1, 2] = bad
        with pytest.raises(kexue.KexueValueError, match=rf"vectors\[1, 2\] is {bad}"):
            entropic([[1, 1, 0]], vectors=vectors)
        with pytest.raises(kexue.KexueValueError, match=rf"X\[1\]\[1, 2\] is {bad}"):
            entropic([vectors[:1], vectors])
    with pytest.raises(OverflowError):
        entropic(np.full((2, 3), 1e308), vectors=np.eye(3))
    with pytest.raises(TypeError, match="reg must hold real numbers"):
        entropic([[1, 1, 0]], vectors=np.eye(3), reg="0.1")
    with pytest.raises(TypeError, match="max_iter"):
        entropic([[1, 1, 0]], vectors=np.eye(3), max_iter=2.5)


# ---- forms of input ----


def test_lists_and_single_calls_agree(metric, dtype, rng):
    counts, vectors = corpus(rng, 8, 40, 6, dtype=dtype)
    arrays, weights = documents_of(counts, vectors)
    expected = kexue.pairwise_distances(counts, vectors=vectors, metric=metric)
    tolerance = 4 * TOLERANCE[dtype]
    lists = kexue.pairwise_distances(arrays, x_weights=weights, metric=metric)
    np.testing.assert_allclose(lists, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(lists, lists.T)
    two = kexue.pairwise_distances(arrays[:3], arrays[3:], x_weights=weights[:3], y_weights=weights[3:], metric=metric)
    np.testing.assert_allclose(two, expected[:3, 3:], rtol=tolerance, atol=tolerance)
    assert lists.dtype == two.dtype == dtype
    for i, j in np.ndindex(3, 5):
        single = getattr(kexue, metric)(arrays[i], arrays[3 + j], weights[i], weights[3 + j])
        assert single == pytest.approx(two[i, j], rel=TOLERANCE[dtype], abs=TOLERANCE[dtype])
    uniform = kexue.pairwise_distances(arrays, metric=metric)
    mixed = kexue.pairwise_distances(
        arrays, x_weights=[None] * 4 + [np.full(len(a), 2.0) for a in arrays[4:]], metric=metric
    )
    np.testing.assert_allclose(mixed, uniform, rtol=tolerance, atol=tolerance)
    assert kexue.pairwise_distances([a.tolist() for a in arrays], metric=metric).dtype == np.float64
    stacked = rng.normal(size=(4, 5, 6)).astype(dtype)
    np.testing.assert_array_equal(
        kexue.pairwise_distances(stacked, metric=metric),
        kexue.pairwise_distances(list(stacked), metric=metric),
    )


FORMS = [
    sparse.csr_array,
    sparse.csr_matrix,
    sparse.csc_array,
    sparse.csc_matrix,
    sparse.coo_array,
    sparse.coo_matrix,
    sparse.lil_array,
    sparse.dok_array,
    sparse.bsr_array,
    np.asarray,
    np.asfortranarray,
    np.ndarray.tolist,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, np.float64])
def test_forms_of_counts(form, kind, metric, rng):
    counts, vectors = corpus(rng, 9, 30, 5)
    expected = kexue.pairwise_distances(sparse.csr_array(counts), vectors=vectors, metric=metric)
    result = kexue.pairwise_distances(form(counts.astype(kind)), vectors=vectors, metric=metric)
    np.testing.assert_array_equal(result, expected)


def test_untidy_rows(untouched, metric, rng):
    # Unsorted indices, duplicates (that overflow uint8 when added up), explicit zeros, int64 indices.
    counts, vectors = corpus(rng, 6, 15, 4)
    counts *= 100
    vectors = np.vstack([vectors, np.full(4, np.nan)])
    counts = np.hstack([counts, np.zeros((6, 1))])
    indptr, indices, data = [0], [], []
    for row in counts:
        words = rng.permutation(np.flatnonzero(row))
        indices += [*words, *words, 15]
        data += [*(row[words] // 2), *(row[words] - row[words] // 2), 0]
        indptr.append(len(indices))
    kind = np.uint16 if max(data) > 255 else np.uint8
    untidy = sparse.csr_array(
        (np.array(data, dtype=kind), np.array(indices, dtype=np.int64), np.array(indptr, dtype=np.int64)),
        shape=(6, 16),
    )
    assert not untidy.has_sorted_indices
    expected = kexue.pairwise_distances(counts, vectors=vectors, metric=metric)
    with untouched(untidy.data, untidy.indices, untidy.indptr, vectors):
        result = kexue.pairwise_distances(untidy, vectors=vectors, metric=metric)
        coo = sparse.coo_array((untidy.data, (np.repeat(np.arange(6), np.diff(indptr)), untidy.indices)), shape=(6, 16))
        other = kexue.pairwise_distances(coo, untidy, vectors=vectors, metric=metric)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(np.triu(other), np.triu(expected))


def test_duplicates_of_small_integers_do_not_wrap(rng):
    vectors = rng.normal(size=(3, 4))
    rows = np.zeros(4, dtype=int), np.array([0, 0, 0, 1]), np.array([200, 200, 200, 200], dtype=np.uint8)
    coo = sparse.coo_array((rows[2], (rows[0], rows[1])), shape=(1, 3))
    csr = sparse.csr_array((rows[2], rows[1], [0, 4]), shape=(1, 3))
    expected = kexue.pairwise_distances([[3, 1, 0]], [[0, 0, 1]], vectors=vectors)
    for untidy in (coo, csr):
        np.testing.assert_allclose(kexue.pairwise_distances(untidy, [[0, 0, 1]], vectors=vectors), expected, rtol=1e-15)


def test_layouts_of_vectors(layout, dtype, untouched, metric, rng):
    counts, vectors = corpus(rng, 6, 20, 7, dtype=dtype)
    expected = kexue.pairwise_distances(counts, vectors=vectors, metric=metric)
    pair = getattr(kexue, metric)(vectors[:5], vectors[5:])
    other = layout(vectors)
    with untouched(other):
        np.testing.assert_array_equal(kexue.pairwise_distances(layout(counts), vectors=other, metric=metric), expected)
        assert getattr(kexue, metric)(other[:5], other[5:]) == pair
        lists = kexue.pairwise_distances([other[:5], other[5:]], metric=metric)
    assert lists[0, 1] == pytest.approx(pair, rel=1e-6 if dtype == np.float32 else 1e-14)


def test_dtypes(metric):
    function = getattr(kexue, metric)
    expected = function(2 * X, 10 * Y)
    assert function((2 * X).astype(int), (10 * Y).astype(int)) == expected and isinstance(expected, float)
    assert function((2 * X).tolist(), (10 * Y).tolist()) == expected
    for small in (np.float16, np.float32):
        value = function((2 * X).astype(small), (10 * Y).astype(small))
        assert value.dtype == np.float32 and value == pytest.approx(expected, rel=1e-6)
    assert isinstance(function((2 * X).astype(np.float32), 10 * Y), float)


@pytest.mark.parametrize("size", [1e-30, 1e-25, 1e-18, 1e-10, 1e10, 1e18, 1e25, 1e30])
def test_sizes_of_vectors(size, dtype, rng):
    x, y = rng.normal(size=(2, 5, 20))
    for name in METRICS:
        function = getattr(kexue, name)
        expected = function(x, y) * (1 if name == "wrd" else size)
        try:
            value = function((x * size).astype(dtype), (y * size).astype(dtype))
        except OverflowError:
            assert dtype == np.float32 and name != "wrd"  # an error, never infinity, 0 or "infeasible"
            continue
        assert value == pytest.approx(expected, rel=2e-6, abs=0)


# ---- empty ----


def test_no_documents(metric, dtype, rng):
    vectors = rng.normal(size=(6, 3)).astype(dtype)
    none, one = sparse.csr_array((0, 6)), sparse.csr_array(np.ones((1, 6)))
    for x, y, shape in (
        (none, None, (0, 0)),
        (none, one, (0, 1)),
        (one, none, (1, 0)),
        (none, none, (0, 0)),
        (one, None, (1, 1)),
    ):
        for progress in (False, True):
            result = kexue.pairwise_distances(x, y, vectors=vectors, metric=metric, progress=progress)
            assert result.shape == shape and result.dtype == dtype and not result.any()
    assert kexue.pairwise_distances([], metric=metric).shape == (0, 0)
    assert kexue.pairwise_distances([], [vectors], metric=metric).shape == (0, 1)


@pytest.mark.parametrize(("empty", "value"), [("nan", np.nan), ("inf", np.inf)])
def test_empty_documents(empty, value, metric, workers, rng):
    counts, vectors = corpus(rng, 6, 20, 4)
    counts[[1, 4]] = 0
    sound = [0, 2, 3, 5]
    with pytest.raises(kexue.KexueValueError, match='document 1 of X is empty: it has no words.*empty="nan"'):
        kexue.pairwise_distances(counts, vectors=vectors, metric=metric, workers=workers)
    with pytest.raises(kexue.KexueValueError, match="document 1 of Y is empty"):
        kexue.pairwise_distances(counts[sound], counts, vectors=vectors, metric=metric)
    result = kexue.pairwise_distances(counts, vectors=vectors, metric=metric, empty=empty, workers=workers)
    both = kexue.pairwise_distances(counts, counts, vectors=vectors, metric=metric, empty=empty)
    expected = kexue.pairwise_distances(counts[sound], vectors=vectors, metric=metric)
    np.testing.assert_array_equal(result[np.ix_(sound, sound)], expected)
    for bad in (1, 4):
        for matrix in (result, both):
            np.testing.assert_array_equal(matrix[bad], np.full(6, value))
            np.testing.assert_array_equal(matrix[:, bad], np.full(6, value))
    lists = kexue.pairwise_distances([vectors[:2], np.zeros((0, 4)), [], vectors], metric=metric, empty=empty)
    np.testing.assert_array_equal(lists[1:3], np.full((2, 4), value))
    assert np.isfinite(lists[0, 3])
    nothing = kexue.pairwise_distances([[], []], metric=metric, empty=empty)
    np.testing.assert_array_equal(nothing, np.full((2, 2), value))


def test_zero_vectors(dtype, rng):
    counts, vectors = corpus(rng, 5, 12, 4, dtype=dtype)
    counts[0, 3] = counts[2, 7] = 5
    vectors[[3, 7]] = 0
    counts[1] = 0
    counts[1, 3] = 2  # nothing but a zero vector
    with pytest.raises(kexue.KexueValueError, match="document 1 of X is empty: all its vectors are zero"):
        kexue.pairwise_distances(counts, vectors=vectors, metric="wrd")
    result = kexue.pairwise_distances(counts, vectors=vectors, metric="wrd", empty="nan")
    without = counts.copy()
    without[:, [3, 7]] = 0
    np.testing.assert_array_equal(result, kexue.pairwise_distances(without, vectors=vectors, metric="wrd", empty="nan"))
    assert np.isnan(result[1]).all() and np.isfinite(result[0, 2])
    for name in ("wmd", "wcd", "rwmd"):
        assert np.isfinite(kexue.pairwise_distances(counts, vectors=vectors, metric=name)).all()
    assert kexue.wrd([[1.0, 0], [0, 0]], [[0.0, 2]]) == 1
    with pytest.raises(kexue.KexueValueError, match="x is empty: all its vectors of positive weight are zero"):
        kexue.wrd([[0.0, 0], [1, 1]], [[0.0, 2]], [1, 0])
    assert kexue.wrd(np.array([[1e-30, 0]], dtype=dtype), np.array([[1, 1]], dtype=dtype)) == pytest.approx(
        1 - 0.5**0.5
    )
    tiny = np.array([[1e-30, 0], [0, 1e-30]], dtype=dtype)  # their squares underflow, but they are not zero
    assert kexue.pairwise_distances(np.eye(2), vectors=tiny, metric="wrd")[0, 1] == 1


# ---- bad input ----

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_words_that_are_not_finite(bad, metric, rng):
    vectors = rng.normal(size=(6, 3))
    vectors[1, 0] = vectors[4, 2] = bad
    counts = np.ones((2, 6))
    counts[:, 1] = 0
    with pytest.raises(kexue.KexueValueError, match=rf"vectors\[4, 2\] is {bad}; vectors has shape \(6, 3\)"):
        kexue.pairwise_distances(counts, vectors=vectors, metric=metric)
    counts[:, 4] = 0
    result = kexue.pairwise_distances(counts, vectors=vectors, metric=metric)
    np.testing.assert_array_equal(
        result, kexue.pairwise_distances(counts, vectors=np.nan_to_num(vectors), metric=metric)
    )
    with pytest.raises(kexue.KexueValueError, match=rf"X\[1\]\[1, 2\] is {bad}"):
        kexue.pairwise_distances([vectors[2:4], vectors[3:]], metric=metric)
    with pytest.raises(kexue.KexueValueError, match=rf"Y\[0\]\[1, 0\] is {bad}"):
        kexue.pairwise_distances([vectors[2:4]], [vectors[:2]], metric=metric)
    with pytest.raises(kexue.KexueValueError, match=rf"x\[1, 0\] is {bad}"):
        getattr(kexue, metric)(vectors[:3], vectors[:1])
    with pytest.raises(kexue.KexueValueError, match=rf"y\[0, 2\] is {bad}"):
        getattr(kexue, metric)(vectors[2:3], vectors[4:])


V = np.eye(3)
BAD = [
    (([[1, -1, 0]],), {"vectors": V}, r"X\[0, 1\] is negative \(-1.0\)"),
    (([[1, 1, 0]], [[1, 0, 0], [0, 0, NAN]]), {"vectors": V}, r"Y\[1, 2\] is not finite"),
    ((sparse.csr_array([[0, INF, 0]]),), {"vectors": V}, r"X\[0, 1\] is not finite \(inf\)"),
    (([[1, 1]],), {"vectors": V}, r"X has 2 columns \(shape \(1, 2\)\), but vectors has 3 rows"),
    (([[1, 1, 1]], [[1, 1, 1, 1]]), {"vectors": V}, "Y has 4 columns"),
    (([1, 1, 1],), {"vectors": V}, "X must have 2 dimensions"),
    (([[1, 1, 1]],), {"vectors": V[0]}, "vectors must have 2 dimensions"),
    (([[1, 1, 1]],), {"vectors": np.zeros((3, 0))}, "vectors must have at least one column"),
    (([[1, 1, 1]],), {"vectors": V, "metric": "cosine"}, "metric must be"),
    (([[1, 1, 1]],), {"vectors": V, "empty": "zero"}, "empty must be"),
    (([[1, 1, 1]],), {"vectors": V, "x_weights": [[1, 1, 1]]}, "x_weights and y_weights go with lists"),
    (([[1, 1, 1]],), {"vectors": V, "workers": 0}, "workers"),
    (([V, V],), {"x_weights": [None]}, "x_weights has 1 entries for 2 documents"),
    (([V, V],), {"x_weights": [None, [1, 1]]}, r"x_weights\[1\] has 2 weights for 3 word vectors"),
    (([V], [V]), {"y_weights": [[1, 1, -1]]}, r"y_weights\[0\]\[2\] is negative"),
    (([V], [V]), {"x_weights": [[1, NAN, 1]]}, r"x_weights\[0\]\[1\] is nan"),
    (([[], V, V[:, :2]],), {}, r"X differ in dimension: X\[2\] has shape \(3, 2\)"),
    (([V], [V[:, :2]]), {}, "X has vectors of dimension 3, Y of 2"),
    (([V, V[0]],), {}, r"X\[1\] must have 2 dimensions"),
]


@pytest.mark.parametrize(("arguments", "options", "message"), BAD)
def test_bad_input(arguments, options, message):
    with pytest.raises(kexue.KexueValueError, match=message):
        kexue.pairwise_distances(*arguments, **options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, Y[:, :2]), "vectors of one dimension"),
        ((X[:0], Y), "x has no word vectors"),
        ((X, Y[:0]), "y has no word vectors"),
        ((X[0], Y), "x must have 2 dimensions"),
        ((X, Y, [1, 1]), "x_weights has 2 weights for 3 word vectors"),
        ((X, Y, [1, 1, -1]), r"x_weights\[2\] is negative"),
        ((X, Y, None, [1, NAN]), r"y_weights\[1\] is nan"),
        ((X, Y, [0, 0, 0]), "x_weights sum to 0: x is empty"),
        ((X, Y, None, [0, 0]), "y_weights sum to 0: y is empty"),
    ],
)
def test_bad_pair(arguments, message, metric):
    with pytest.raises(kexue.KexueValueError, match=message):
        getattr(kexue, metric)(*arguments)


def test_wrong_types():
    for bad, message in (
        ("text", "sequence of arrays"),
        (3, "sequence of arrays"),
        (sparse.csr_array(V), "sequence of arrays"),
        ([["a", "b"]], r"X\[0\]"),
        ([np.ma.masked_array(V, V > 0)], r"X\[0\] is a masked array"),
    ):
        with pytest.raises(TypeError, match=message):
            kexue.pairwise_distances(bad)
    with pytest.raises(TypeError, match="X must hold real numbers"):
        kexue.pairwise_distances(sparse.csr_array(V.astype(complex)), vectors=V)
    with pytest.raises(kexue.KexueValueError, match="metric"):
        kexue.rwmd(X, Y, metric="wcd")


def test_weights_that_overflow(metric):
    counts = np.full((2, 3), 1e308)
    with pytest.raises(OverflowError):
        kexue.pairwise_distances(counts, vectors=V, metric=metric)


# ---- progress, threads, processes, memory ----


@pytest.mark.parametrize("options", [{"metric": "wmd"}, {"metric": "sinkhorn", "reg": 1.0, "max_iter": 4}])
def test_progress(options, capfd, workers, rng):
    counts, vectors = corpus(rng, 60, 3000, 5, words=40)
    with kexue.errstate(convergence="ignore"):
        expected = kexue.pairwise_distances(counts, vectors=vectors, **options)
        capfd.readouterr()
        np.testing.assert_array_equal(
            kexue.pairwise_distances(counts, vectors=vectors, workers=workers, progress=True, **options), expected
        )
    last = capfd.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert f"{options['metric']}: 100%" in last
    done, total = last.split("|")[2].split("[")[0].strip().split("/")
    assert done == total and int(total) > 10


def test_many_threads_at_once(rng):
    counts, vectors = corpus(rng, 60, 500, 10, words=20)
    expected = {name: kexue.pairwise_distances(counts, vectors=vectors, metric=name, workers=1) for name in METRICS}
    with ThreadPoolExecutor(8) as pool:
        jobs = [
            (
                METRICS[k % 4],
                pool.submit(
                    kexue.pairwise_distances,
                    counts,
                    vectors=vectors,
                    metric=METRICS[k % 4],
                    workers=1 + k % 5,
                ),
            )
            for k in range(24)
        ]
        for name, job in jobs:
            np.testing.assert_array_equal(job.result(), expected[name])


@pytest.mark.parametrize("name", METRICS)
def test_memory_is_bounded_by_tiles(name, tmp_path, rng):
    np.save(tmp_path / "vectors.npy", rng.normal(size=(200_000, 50)).astype(np.float32))
    vectors = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    for documents in (100, 800):
        words = np.sort(rng.integers(200_000, size=(documents, 20)), axis=1)
        rows = sparse.csr_array(
            (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 20)), shape=(documents, 200_000)
        )
        rows.sum_duplicates()
        one = rows[:1]
        tracemalloc.start()
        try:
            result = kexue.pairwise_distances(rows, one, vectors=vectors, metric=name, workers=2)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        # Three numbers a word of the vocabulary, the documents' words a few times, two tiles; not the 40 MB.
        words_in_use = words.size * (16 * 8 + (50 * 8 * 2 if name == "wcd" else 0))
        assert peak <= 200_000 * 25 + words_in_use + 2 * 2_000_000 + result.nbytes


def run_python(script, *arguments, timeout=120):
    result = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            *([] if str(script).endswith(".py") else ["-c"]),
            str(script),
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


SETUP = """if True:
    import json, os, signal, sys, threading, time
    import numpy as np, kexue
    rng = np.random.default_rng(0)
    counts = (rng.random((60, 400)) < 0.05).astype(float)
    counts[:, 0] = 1
    vectors = rng.normal(size=(400, 20))
    def run(workers=2):
        return kexue.pairwise_distances(counts, vectors=vectors, workers=workers)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        *(f"many, vectors=words, workers={workers}" for workers in ("1", "2", "2, progress=True")),
        *(f'many, vectors=words, metric="sinkhorn", reg=0.5, workers={workers}' for workers in (1, 2)),
        '[words[:, :3]], metric="sinkhorn", reg=0.001, tol=0, max_iter=2**61',  # one pair that nothing ends
    ],
)
def test_interrupt(arguments):
    error, latency, sound = run_python(
        SETUP
        + f"""
    many = (rng.random((4000, 3000)) < 0.02).astype(float)
    words = rng.normal(size=(3000, 300)).astype(np.float32)
    expected = run(1)
    sent = []
    def interrupt():
        time.sleep(1.0)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    thread = threading.Thread(target=interrupt)
    thread.start()
    error = None
    try:
        kexue.pairwise_distances({arguments})
    except BaseException as caught:
        error, latency = type(caught).__name__, time.perf_counter() - sent[0]
    thread.join()
    print(json.dumps([error, latency, bool((run() == expected).all())]))
    """
    )
    assert error == "KeyboardInterrupt"
    assert latency < 2
    assert sound


if hasattr(os, "fork"):

    def test_fork_after_threads():
        assert run_python(
            SETUP
            + """
    import multiprocessing
    expected = run()
    child = os.fork()
    if child == 0:
        signal.alarm(60)  # ends a child that hangs
        os._exit(0 if (run() == expected).all() and (run(8) == expected).all() else 1)
    parent = bool((run() == expected).all())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    signal.alarm(60)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pooled = all((result == expected).all() for result in pool.map(run, [1, 2, 3, 8]))
    print(json.dumps([parent, status, bool(pooled), bool((run(3) == expected).all())]))
    """
        ) == [True, 0, True, True]

    def test_fork_while_other_threads_compute():
        assert run_python(
            SETUP
            + """
    expected = run()
    stop = []
    def work():
        while not stop:
            run(3)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads: thread.start()
    statuses = []
    for _ in range(20):
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            os._exit(0 if (run() == expected).all() else 1)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.append(1)
    for thread in threads: thread.join()
    print(json.dumps([statuses, bool((run() == expected).all())]))
    """
        ) == [[0] * 20, True]


def test_process_pool(tmp_path):
    script = tmp_path / "process_pool.py"
    script.write_text(
        SETUP.replace("if True:\n", "if True:\n    from concurrent.futures import ProcessPoolExecutor\n")
        + """
if __name__ == "__main__":
    import multiprocessing
    expected = run()
    sound = []
    for method in multiprocessing.get_all_start_methods():
        with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context(method)) as pool:
            sound += [bool((result == expected).all()) for result in pool.map(run, [1, 2, 3])]
    print(json.dumps(sound))
"""
    )
    sound = run_python(script)
    assert sound and all(sound)


@pytest.mark.parametrize("documents", [2000 if LONG else 200])
def test_many_documents(documents, dtype, rng):
    counts, vectors = corpus(rng, documents, 1000, 30, words=25, dtype=dtype)
    result = kexue.pairwise_distances(sparse.csr_array(counts), vectors=vectors)
    for i, j in rng.integers(documents, size=(60, 2)):
        assert result[i, j] == pytest.approx(
            exact(vectors, vectors, counts[i], counts[j]), rel=TOLERANCE[dtype], abs=TOLERANCE[dtype]
        )


def test_interrupt_is_delivered_by_signal():
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN  # else the tests above would show nothing


# ---- found by attack ----


@pytest.mark.parametrize(
    "vectors",
    [
        np.float32([[1e30], [1], [2]]),
        np.float64([[1e200], [1], [2]]),
        np.float32([[1e-25], [3e-25], [1]]),
        np.float64([[1e-170], [3e-170], [1]]),
    ],
)
def test_a_distance_does_not_depend_on_the_size_of_other_words(vectors):
    result = kexue.pairwise_distances(sparse.eye_array(3, format="csr"), vectors=vectors)
    expected = np.abs(vectors.astype(np.float64) - vectors.astype(np.float64).T)
    np.testing.assert_allclose(result, expected, rtol=1e-6 if vectors.dtype == np.float32 else 1e-12)


def test_subnormal_vectors():
    assert kexue.wmd([[1e-310, 0]], [[0, 2e-310], [0, 0.0]]) == pytest.approx(1.6180339887e-310, rel=1e-9)
    with pytest.raises(kexue.KexueValueError, match="too small"):
        kexue.wrd([[1e-310, 0], [0, 1e-310]], [[0, 2.0]])


def test_distances_beyond_the_range_are_an_error():
    for dtype, size in ((np.float32, 3e38), (np.float64, 1.7e308)):
        with pytest.raises(OverflowError, match="too large"):
            kexue.wmd(np.array([[size]], dtype), np.array([[-size]], dtype))


def test_small_true_residues_count():
    counts = sparse.csr_array([[1e15, 1, 0], [1e15, 0, 1]])
    result = kexue.pairwise_distances(counts, vectors=[[0.0], [1.0], [3.0]])
    assert result[0, 1] == pytest.approx(2e-15, rel=1e-6) and result[1, 0] == result[0, 1]


@pytest.mark.parametrize("lengths", [(128, 150), (20, 300), (236, 20, 300)])
def test_one_long_document_beside_shorter_ones(lengths, rng):
    """The longest pair goes to the solver for large problems, which can need less memory than that for small ones."""
    vectors = rng.normal(size=(700, 4))
    counts = np.zeros((len(lengths) + 2, 700))
    for row, length in zip(counts, (*lengths, lengths[0], min(lengths)), strict=True):
        row[rng.choice(700, length, replace=False)] = rng.random(length) + 0.1
    distances = kexue.pairwise_distances(sparse.csr_array(counts), vectors=vectors)
    for i, j in np.ndindex(distances.shape):
        x, y = counts[i] > 0, counts[j] > 0
        expected = kexue.wmd(vectors[x], vectors[y], counts[i, x], counts[j, y])
        assert distances[i, j] == pytest.approx(expected, rel=1e-11)
