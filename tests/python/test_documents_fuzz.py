"""Document distances against a naive reference and against themselves: one set of documents in many forms."""

import os
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import kexue
from reference import documents as reference
from reference.transport import euclidean, wmd_problem

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
METRICS = ["wmd", "wrd", "wcd", "rwmd"]
TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-12}


def examples(count):
    return settings(max_examples=30 * count if LONG else count, deadline=None)


# ---- documents ----


def _some_zero(rng, n, d):
    vectors = rng.normal(size=(n, d))
    vectors[rng.random(n) < 0.3] = 0
    return vectors


def _repeated(rng, n, d):
    return rng.normal(size=(max(n // 4, 1), d))[rng.integers(max(n // 4, 1), size=n)]


VECTORS = {
    "random": lambda rng, n, d: rng.normal(size=(n, d)),
    "clustered": lambda rng, n, d: rng.normal(size=(3, d))[rng.integers(3, size=n)] + 1e-3 * rng.normal(size=(n, d)),
    "lattice": lambda rng, n, d: rng.integers(-1, 2, size=(n, d)) + 0.0,
    "equal": lambda rng, n, d: np.repeat(rng.normal(size=(1, d)), n, axis=0),
    "some zero": _some_zero,
    "repeated": _repeated,
    "uneven norms": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-3, 3, size=(n, 1)),
    "far from zero": lambda rng, n, d: 30 + rng.normal(size=(n, d)),
    "one direction": lambda rng, n, d: np.outer(rng.integers(1, 9, size=n), rng.normal(size=d)),
}
WEIGHTS = {
    "ones": lambda rng, n: np.ones(n),
    "counts": lambda rng, n: rng.integers(1, 5, size=n) + 0.0,
    "tf-idf": lambda rng, n: rng.integers(1, 5, size=n) * 10.0 ** rng.uniform(-6, 0, size=n),
    "one heavy": lambda rng, n: np.where(np.arange(n) == n // 2, 1e6, 1.0),
}


@dataclass(frozen=True)
class Corpus:
    """What documents are made from: a failing example is printed as this, not as its arrays."""

    documents: int
    longest: int
    vocabulary: int
    dimension: int
    seed: int
    vectors: str = "random"
    weights: str = "counts"
    dtype: str = "float64"

    def arrays(self):
        """Dense rows of weights, and word vectors."""
        rng = np.random.default_rng(self.seed)
        vectors = VECTORS[self.vectors](rng, self.vocabulary, self.dimension).astype(self.dtype)
        vectors[0, 0] = vectors[0, 0] or 1  # each document has this word, so that none is empty for WRD
        weights = np.zeros((self.documents, self.vocabulary))
        for row in weights:
            words = rng.permutation(self.vocabulary)[: rng.integers(1, self.longest + 1)]
            row[words] = WEIGHTS[self.weights](rng, len(words))
            row[0] = row[0] or 1
        return weights, vectors

    @property
    def tolerance(self):
        return TOLERANCE[np.dtype(self.dtype)]


SEEDS = st.integers(0, 2**32)


def corpora(documents=7, longest=40, vocabulary=120, vectors=VECTORS):
    def sampled(names):
        return st.sampled_from(sorted(names))

    return st.builds(
        Corpus,
        st.integers(1, documents),
        st.integers(1, longest),
        st.integers(1, vocabulary),
        st.integers(1, 40),
        SEEDS,
        sampled(vectors),
        sampled(WEIGHTS),
        sampled(["float32", "float64"]),
    )


def pairwise(X, Y=None, *, vectors, metric, **options):
    """Of dense rows, given as sparse ones."""
    Y = None if Y is None else sparse.csr_array(Y)
    return kexue.pairwise_distances(sparse.csr_array(X), Y, vectors=vectors, metric=metric, **options)


def size_of(vectors, metric):
    """What the rounding of a distance is relative to."""
    if metric == "wrd":
        return 2.0
    wide = vectors.astype(np.float64)
    return np.linalg.norm(wide, axis=1).max() if metric == "wcd" else euclidean(wide, wide).max()


def assert_close(found, wanted, corpus, vectors, metric):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=4 * corpus.tolerance * size_of(vectors, metric))


# ---- against the reference ----


@given(corpora(), SEEDS, st.sampled_from(METRICS))
@examples(250)
def test_against_the_reference(corpus, seed, metric):
    weights, vectors = corpus.arrays()
    split = np.random.default_rng(seed).integers(len(weights))
    X, Y = weights[split:], weights[: split + 1]
    result = pairwise(X, Y, vectors=vectors, metric=metric)
    assert result.dtype == vectors.dtype and result.shape == (len(X), len(Y))
    assert_close(result, reference.pairwise(X, Y, vectors, metric), corpus, vectors, metric)


@given(corpora(documents=4, longest=25, vocabulary=40), st.sampled_from(METRICS))
@examples(120)
def test_one_pair_at_a_time(corpus, metric):
    # Here no word is shared: every word of a document is its own.
    weights, vectors = corpus.arrays()
    documents, masses = [vectors[row > 0] for row in weights], [row[row > 0] for row in weights]
    expected = pairwise(weights, weights, vectors=vectors, metric=metric)
    lists = kexue.pairwise_distances(documents, documents, x_weights=masses, y_weights=masses, metric=metric)
    assert_close(lists, expected, corpus, vectors, metric)
    for i, j in np.ndindex(expected.shape):
        single = getattr(kexue, metric)(documents[i], documents[j], masses[i], masses[j])
        assert abs(single - expected[i, j]) <= 4 * corpus.tolerance * size_of(vectors, metric)


@pytest.mark.parametrize("dimension", range(1, 41))
def test_distances_of_single_words(dimension, dtype, rng):
    # Each word at its own scale, down to where squares leave the range: every distance to a few roundings of itself.
    limit = 30 if dtype == np.float32 else 250
    for words in (1, 2, 5, 19):
        scales = 10.0 ** rng.uniform(-limit, limit, size=(words, 1))
        vectors = (rng.normal(size=(words, dimension)) * scales).astype(dtype)
        vectors[words // 2] = vectors[0]
        documents = np.eye(words)
        wide = vectors.astype(np.longdouble)
        expected = np.sqrt(((wide[:, None] - wide) ** 2).sum(axis=-1)).astype(np.float64)
        for metric in ("wmd", "rwmd", "wcd"):
            result = pairwise(documents, documents, vectors=vectors, metric=metric)
            np.testing.assert_allclose(result, expected, rtol=TOLERANCE[dtype], atol=0)
        unit = wide / np.sqrt((wide**2).sum(axis=1, keepdims=True))
        expected = 0.5 * ((unit[:, None] - unit) ** 2).sum(axis=-1).astype(np.float64)
        result = pairwise(documents, vectors=vectors, metric="wrd")
        np.testing.assert_allclose(result, expected, rtol=0, atol=TOLERANCE[dtype])


# ---- blocks ----

# Rows are cut into blocks of up to 192 distinct words, columns of up to 384.
LENGTHS = {
    "191": [191],
    "192": [192],
    "193": [193],
    "384": [384],
    "385": [385],
    "191 and 1": [191, 1, 1, 190],
    "96 and 96": [96, 96, 96, 97, 95],
    "192 each": [192, 192, 193, 1],
    "words": [1] * 386,
    "two words": [2] * 97 + [1] * 3,
    "up to 40": list(range(1, 41)),
    "one long": [3, 40, 17, 400, 5, 29],
    "long first": [400, 1, 2, 190, 3],
}


def chain(lengths, shared, rng):
    """Documents of these lengths, each with the last `shared` words of the one before it."""
    ends = np.maximum(np.cumsum(np.maximum(np.array(lengths) - shared, 1)), np.maximum.accumulate(lengths))
    weights = np.zeros((len(lengths), ends[-1]))
    for row, end, length in zip(weights, ends, lengths, strict=True):
        row[end - length : end] = rng.integers(1, 4, size=length)
    return weights[:, rng.permutation(weights.shape[1])]


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("shared", [0, 1, 40])
def test_edges_of_blocks(lengths, shared, dtype, rng):
    weights = chain(lengths, shared, rng)
    corpus = Corpus(len(weights), max(lengths), weights.shape[1], 5, 0, dtype=dtype.name)
    vectors = rng.normal(size=(weights.shape[1], 5)).astype(dtype)
    for metric in METRICS if shared else ["wmd", "wrd"]:
        whole = pairwise(weights, weights, vectors=vectors, metric=metric, workers=2)
        one_set = pairwise(weights, vectors=vectors, metric=metric, workers=3)
        np.testing.assert_array_equal(np.triu(one_set, 1), np.triu(whole, 1))
        np.testing.assert_array_equal(one_set, one_set.T)
        pairs = np.array(list(np.ndindex(whole.shape)))
        for i, j in pairs if len(pairs) <= 25 else rng.choice(pairs, size=10):
            assert pairwise(weights[[i]], weights[[j]], vectors=vectors, metric=metric)[0, 0] == whole[i, j]
        for i, j in rng.choice(pairs, size=2):
            expected = reference.distance(weights[i], weights[j], vectors, metric)
            assert_close(whole[i, j], expected, corpus, vectors, metric)


SHORTER_AFTER_LONGER = """if True:
    import numpy as np
    import kexue
    rng = np.random.default_rng(0)
    def documents(longest, lengths, first):
        weights = np.zeros((len(lengths), 600))
        for row, length in zip(weights, lengths):
            words = first + rng.permutation(300)[: min(max(length, 1), longest)]
            row[words] = 1 + rng.random(len(words))
        return weights
    longest = [(193, 192), (210, 210), (220, 170), (240, 160), (290, 100), (280, 260), (60, 300), (300, 180)]
    for m, n in longest:
        X = documents(m, [m, max(1, 384 - n), 192, 60], 0)
        for first in (0, 300):  # with shared words and without
            Y = documents(n, [n, max(1, 384 - m), 192, 28], first)
            for dtype in (np.float32, np.float64):
                vectors = rng.normal(size=(600, 3)).astype(dtype)
                for metric in ("wmd", "wrd"):
                    for rows, columns in ((X, Y), (Y, X)):
                        options = dict(vectors=vectors, metric=metric)
                        together = kexue.pairwise_distances(rows, columns, **options)
                        for i, j in np.ndindex(together.shape):
                            alone = kexue.pairwise_distances(rows[[i]], columns[[j]], **options)
                            assert alone == together[i, j], (m, n, i, j, dtype, metric)
"""


def test_shorter_documents_in_the_memory_of_longer_ones():
    # The longest documents of a call choose one solver, shorter ones another, which may ask for more. In a process of
    # its own, as writing past the memory would break whatever test comes later.
    result = subprocess.run(
        [sys.executable, "-c", SHORTER_AFTER_LONGER], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr


# ---- the same to the bit ----


@given(corpora(documents=60, vocabulary=400), SEEDS, st.sampled_from(METRICS))
@examples(120)
def test_workers_and_order_of_documents(corpus, seed, metric):
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    expected = pairwise(weights, weights, vectors=vectors, metric=metric, workers=1)
    for workers in (2, 3, 8):
        one_set = pairwise(weights, vectors=vectors, metric=metric, workers=workers)
        np.testing.assert_array_equal(one_set, one_set.T)
        np.testing.assert_array_equal(np.triu(one_set, 1), np.triu(expected, 1))
        rows, columns = rng.permutation(len(weights)), rng.integers(len(weights), size=len(weights) // 2 + 1)
        result = pairwise(weights[rows], weights[columns], vectors=vectors, metric=metric, workers=workers)
        np.testing.assert_array_equal(result, expected[rows][:, columns])


def scrambled(rng, counts, indices_type, offsets_type):
    """CSR of integer counts with entries in any order, in several parts, and explicit zeros anywhere."""
    indices, data, offsets = [], [], [0]
    for row in counts.astype(np.int64):
        words = np.flatnonzero(row)
        ones = np.repeat(words, row[words])
        parts = rng.integers(2, size=len(ones))  # each word in two parts, one of which may be zero
        entries = [(word, np.count_nonzero(parts[ones == word] == part)) for word in words for part in (0, 1)]
        entries += [(word, 0) for word in rng.integers(len(row), size=3)]
        for k in rng.permutation(len(entries)):
            indices.append(entries[k][0])
            data.append(entries[k][1])
        offsets.append(len(indices))
    matrix = sparse.csr_array(counts.shape)
    matrix.data = np.array(data, dtype=rng.choice([np.float64, np.float32, np.int32, np.uint8]))
    matrix.indices, matrix.indptr = np.array(indices, dtype=indices_type), np.array(offsets, dtype=offsets_type)
    return matrix


@given(corpora(), SEEDS, *(st.sampled_from([np.int32, np.int64]) for _ in range(2)), st.sampled_from(METRICS))
@examples(120)
def test_forms_of_sparse_rows(corpus, seed, indices_type, offsets_type, metric):
    rng = np.random.default_rng(seed)
    weights, vectors = replace(corpus, weights="counts").arrays()
    vectors[~weights.any(axis=0)] = np.nan  # of words that are not in use, whatever explicit zeros say
    matrix = scrambled(rng, weights, indices_type, offsets_type)
    before = [array.tobytes() for array in (matrix.data, matrix.indices, matrix.indptr)]
    np.testing.assert_array_equal(
        kexue.pairwise_distances(matrix, weights, vectors=vectors, metric=metric),
        pairwise(weights, weights, vectors=vectors, metric=metric),
    )
    assert [array.tobytes() for array in (matrix.data, matrix.indices, matrix.indptr)] == before


@given(corpora(), st.integers(-30, 30), SEEDS, st.sampled_from(METRICS))
@examples(120)
def test_powers_of_two(corpus, power, seed, metric):
    weights, vectors = replace(corpus, dtype="float64").arrays()
    expected = pairwise(weights, vectors=vectors, metric=metric)
    scales = np.random.default_rng(seed).integers(-300, 300, size=(len(weights), 1))
    np.testing.assert_array_equal(pairwise(np.ldexp(weights, scales), vectors=vectors, metric=metric), expected)
    scaled = pairwise(weights, vectors=np.ldexp(vectors, power), metric=metric)
    np.testing.assert_array_equal(scaled, np.ldexp(expected, 0 if metric == "wrd" else power))


@given(corpora(documents=30), SEEDS, st.sampled_from(METRICS), st.sampled_from(["nan", "inf"]))
@examples(120)
def test_empty_documents_anywhere(corpus, seed, metric, empty):
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    sound = pairwise(weights, weights, vectors=vectors, metric=metric)
    vectors = np.vstack([vectors, np.zeros((1, vectors.shape[1]), vectors.dtype)])
    weights = np.pad(weights, ((0, 0), (0, 1)))
    gone = rng.random(len(weights)) < rng.random()
    weights[gone] = 0
    if metric == "wrd":
        weights[gone, -1] = rng.integers(2, size=gone.sum())  # the zero vector weighs nothing
    either = gone[:, None] | gone
    for Y in (weights, None):
        result = pairwise(weights, Y, vectors=vectors, metric=metric, empty=empty)
        np.testing.assert_array_equal(np.triu(result), np.triu(np.where(either, float(empty), sound)))
        np.testing.assert_array_equal(result[either], float(empty))
    if gone.any():
        with pytest.raises(kexue.KexueValueError, match=f"document {np.argmax(gone)} of X is empty"):
            pairwise(weights, vectors=vectors, metric=metric)


@given(corpora(vectors={"some zero"}))
@examples(40)
def test_zero_vectors_weigh_nothing_in_wrd(corpus):
    weights, vectors = corpus.arrays()
    moving = np.where(vectors.any(axis=1), weights, 0)
    np.testing.assert_array_equal(
        pairwise(weights, vectors=vectors, metric="wrd"), pairwise(moving, vectors=vectors, metric="wrd")
    )


@given(corpora(longest=60, vocabulary=300), SEEDS, st.sampled_from(METRICS))
@examples(120)
def test_equal_documents_are_at_distance_zero(corpus, seed, metric):
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    copies = np.ldexp(weights, rng.integers(-20, 20, size=(len(weights), 1)))
    assert not pairwise(weights, copies, vectors=vectors, metric=metric).diagonal().any()
    rows = np.concatenate([weights, copies])[rng.permutation(2 * len(weights))]
    result = pairwise(rows, vectors=vectors, metric=metric)
    assert np.count_nonzero(result == 0) >= 4 * len(weights)
    row = rng.integers(1, 5, size=len(vectors)) + 0.0  # a document of all words
    assert pairwise(row[None], row[None], vectors=vectors, metric=metric) == 0
    words = vectors[row > 0], row[row > 0]
    assert getattr(kexue, metric)(words[0], words[0], words[1], words[1]) == 0


@given(corpora(vectors={"equal"}), st.sampled_from(["wmd", "rwmd", "wrd"]))
@examples(40)
def test_equal_vectors_are_at_distance_zero(corpus, metric):
    weights, vectors = corpus.arrays()
    vectors[:] = vectors[0]
    assert not pairwise(weights, weights[::-1], vectors=vectors, metric=metric).any()


# ---- entropic ----

SHARES = st.sampled_from([0.05, 0.3, 2.0, 100.0])  # of the largest distance


def entropic(X, Y=None, *, vectors, reg, **options):
    return pairwise(X, Y, vectors=vectors, metric="sinkhorn", reg=reg, **options)


@given(corpora(documents=5, longest=25), SEEDS, SHARES)
@examples(120)
def test_entropic_against_single_problems(corpus, seed, share):
    weights, vectors = corpus.arrays()
    reg = share * (size_of(vectors, "wmd") or 1.0)
    split = np.random.default_rng(seed).integers(len(weights))
    X, Y = weights[split:], weights[: split + 1]
    result = entropic(X, Y, vectors=vectors, reg=reg, tol=1e-11)
    assert result.dtype == vectors.dtype
    slack = (1e-8 if vectors.dtype == np.float64 else 1e-5) * size_of(vectors, "wmd")
    for i, j in np.ndindex(result.shape):
        p, q, costs = wmd_problem(vectors[X[i] > 0], vectors[Y[j] > 0], X[i, X[i] > 0], Y[j, Y[j] > 0])
        assert abs(result[i, j] - kexue.sinkhorn2(p, q, costs, reg, tol=1e-11)) <= slack
        assert kexue.emd2(p, q, costs) - slack <= result[i, j] <= p @ costs @ q + slack


@given(corpora(documents=40, vocabulary=400), SEEDS, SHARES, st.integers(-30, 30))
@examples(60)
def test_entropic_to_the_bit(corpus, seed, share, power):
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    reg = share * (size_of(vectors, "wmd") or 1.0)
    expected = entropic(weights, weights, vectors=vectors, reg=reg, workers=1)
    for workers in (2, 8):
        one_set = entropic(weights, vectors=vectors, reg=reg, workers=workers)
        np.testing.assert_array_equal(one_set, one_set.T)
        np.testing.assert_array_equal(np.triu(one_set), np.triu(expected))
        rows, columns = rng.permutation(len(weights)), rng.integers(len(weights), size=len(weights) // 2 + 1)
        result = entropic(weights[rows], weights[columns], vectors=vectors, reg=reg, workers=workers)
        np.testing.assert_array_equal(result, expected[rows][:, columns])
    masses = np.ldexp(weights, rng.integers(-300, 300, size=(len(weights), 1)))
    np.testing.assert_array_equal(entropic(masses, weights, vectors=vectors, reg=reg), expected)
    scaled = entropic(weights, weights, vectors=np.ldexp(vectors, power), reg=np.ldexp(reg, power))
    np.testing.assert_array_equal(scaled, np.ldexp(expected, power))


# ---- the same but for rounding ----


@given(corpora(longest=60), SEEDS, st.sampled_from(METRICS))
@examples(120)
def test_numbering_of_words(corpus, seed, metric):
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    expected = pairwise(weights, weights, vectors=vectors, metric=metric)
    # New numbers with gaps, whose vectors may hold anything.
    numbers = rng.permutation(3 * len(vectors))[: len(vectors)]
    renumbered = np.zeros((len(weights), 3 * len(vectors)))
    table = np.full((3 * len(vectors), vectors.shape[1]), np.nan, dtype=vectors.dtype)
    renumbered[:, numbers], table[numbers] = weights, vectors
    result = pairwise(renumbered, renumbered, vectors=table, metric=metric)
    assert_close(result, expected, corpus, vectors, metric)
    assert_close(result.T, result, corpus, vectors, metric)


@given(corpora(longest=60), SEEDS, st.sampled_from(METRICS))
@examples(120)
def test_words_in_two_parts(corpus, seed, metric):
    # A second word of the same vector takes part of the weight: less is shared, and nothing costs more.
    weights, vectors = corpus.arrays()
    rng = np.random.default_rng(seed)
    shares = rng.choice([0.0, 0.25, 0.9, 1.0], size=weights.shape)
    divided = np.hstack([weights * shares, weights * (1 - shares)])
    table = np.vstack([vectors, vectors])
    expected = pairwise(weights, weights, vectors=vectors, metric=metric)
    whole = np.hstack([weights, np.zeros_like(weights)])
    for X, Y in ((divided, divided[::-1]), (divided, whole[::-1]), (whole, divided[::-1])):
        result = pairwise(X, Y, vectors=table, metric=metric)
        assert_close(result[:, ::-1], expected, corpus, vectors, metric)


# ---- the ends of the range ----


def assert_right_or_an_error(call, expected):
    try:
        result = call()
    except (OverflowError, kexue.KexueValueError):
        return
    assert result == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e-310, 1e-200, 1e-150, 1e150, 1e200, 1e307])
def test_extreme_sizes_are_right_or_an_error(metric, size, rng):
    weights, vectors = np.array([[1.0, 2, 0, 0], [0, 1, 3, 0.5]]), rng.normal(size=(4, 3))
    expected = pairwise(weights, vectors=vectors, metric=metric)[0, 1]
    unit = 1 if metric == "wrd" else 100
    assert_right_or_an_error(
        lambda: pairwise(size * weights, vectors=100 * vectors, metric=metric)[0, 1] / unit, expected
    )
    unit = 1 if metric == "wrd" else size
    assert_right_or_an_error(lambda: pairwise(weights, vectors=size * vectors, metric=metric)[0, 1] / unit, expected)


@pytest.mark.parametrize("metric", ["wmd", "rwmd"])
def test_one_distance_beyond_the_range(metric, dtype):
    # The best plan uses the one distance that is too long, and costs less than the other plan.
    half = 0.5 * float(np.finfo(dtype).max)
    x, y, distance = np.array([[-1.03, 0], [0, 1.65]]), np.array([[1.03, 0], [0, 1.6]]), getattr(kexue, metric)
    large_x, large_y = (half * x).astype(dtype), (half * y).astype(dtype)
    assert_right_or_an_error(lambda: distance(large_x, large_y) / half, distance(x, y))
