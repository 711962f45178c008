import contextlib
import copy
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from scipy import sparse

import kexue
from kexue import DocumentIndex, SearchStats, WordVectors, _document_index_files, _documents
from kexue._arrays import as_csr_rows
from kexue._corpus import standard_library_docstrings
from reference import document_index as reference

LONG = os.environ.get("KEXUE_LONG_TESTS") == "1"
V = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0], [1.0, 1.0]])
COUNTS = np.array([[1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 0], [0, 0, 0, 3], [2, 0, 0, 1]])


@pytest.fixture(params=["wmd", "wrd"])
def metric(request):
    return request.param


def corpus(rng, documents=150, vocabulary=200, dimension=10, words=12):
    """Word vectors in clusters, and counts with every document different in length."""
    centers = rng.normal(size=(5, dimension))
    vectors = centers[rng.integers(5, size=vocabulary)] + 0.5 * rng.normal(size=(vocabulary, dimension))
    counts = np.zeros((documents, vocabulary))
    for row in counts:
        np.add.at(row, rng.integers(vocabulary, size=rng.integers(1, words + 1)), 1)
    return counts, vectors


def duplicates(rng):
    counts, vectors = corpus(rng, documents=30)
    return counts[rng.integers(30, size=150)] * rng.choice([1, 2, 4], size=(150, 1)), vectors


def shared_words(rng):
    counts, vectors = corpus(rng, vocabulary=40, words=30)
    counts[:, :4] += rng.integers(1, 5, size=(150, 4))
    return counts, vectors


def one_word(rng):
    return np.eye(60)[rng.integers(60, size=150)] * rng.integers(1, 9, size=(150, 1)), rng.normal(size=(60, 10))


def one_word_among_others(rng):
    counts, vectors = corpus(rng, words=25)
    single, _ = one_word(rng)
    counts[::3] = 0
    counts[::3, :60] = single[::3]
    return counts, vectors


def equal_vectors(rng):
    counts, vectors = corpus(rng)
    return counts, np.broadcast_to(vectors[:1], vectors.shape)


def nearly_equal_vectors(rng):
    counts, vectors = corpus(rng)
    return counts, vectors[:1] + 1e-6 * rng.normal(size=vectors.shape)


def uneven_weights(rng):
    counts, vectors = corpus(rng, words=20)
    return counts * 10 ** rng.uniform(-6, 0, size=counts.shape), vectors


def zero_vectors(rng):
    counts, vectors = corpus(rng, vocabulary=60)
    counts[:, 0] += 1
    vectors[1::4] = 0
    return counts, vectors


def opposite_vectors(rng):
    counts, vectors = corpus(rng)
    vectors[::2] = -vectors[1::2] * rng.choice([1, 2, 1e-3], size=(100, 1))
    return counts, vectors


def long_documents(rng):
    return corpus(rng, documents=40, vocabulary=600, words=300)


def few_places(rng):
    counts, _ = corpus(rng, vocabulary=30)
    return counts, rng.integers(1, 4, size=(30, 2))


def sides_of_all_lengths(rng):
    # Which solver a pair takes depends on its size, so the pair that needs most memory is not the longest.
    counts = np.zeros((12, 450))
    for row, length in zip(counts, [100, 200, 150, 1, 256, 255, 128, 60, 196, 300, 7, 170], strict=True):
        row[rng.choice(450, size=length, replace=False)] = 1
    return counts, rng.normal(size=(450, 5))


def on_a_line(rng):
    counts, vectors = corpus(rng, dimension=1)
    return counts, vectors


def many_magnitudes(rng):
    counts, vectors = corpus(rng)
    return counts, vectors * 10 ** rng.uniform(-8, 8, size=(200, 1))


CORPORA = [
    corpus,
    duplicates,
    shared_words,
    one_word,
    one_word_among_others,
    equal_vectors,
    nearly_equal_vectors,
    uneven_weights,
    zero_vectors,
    opposite_vectors,
    long_documents,
    sides_of_all_lengths,
    few_places,
    on_a_line,
    many_magnitudes,
]


def assert_neighbours(index, queries, k, expected, **options):
    """The index finds what was found by brute force, and says how."""
    distances, indices, stats = index.kneighbors(queries, k, stats=True, **options)
    expected_distances, expected_indices = expected
    np.testing.assert_array_equal(indices, expected_indices)
    np.testing.assert_array_equal(distances, expected_distances)
    assert indices.dtype == np.int64 and distances.dtype == index.dtype
    assert {stats.documents.dtype, stats.relaxed.dtype, stats.dual.dtype, stats.exact.dtype} == {np.dtype(np.int64)}
    np.testing.assert_array_equal(stats.relaxed + stats.dual + stats.exact, stats.documents)
    return stats


# ---- exactness ----


@pytest.mark.parametrize("make", CORPORA)
def test_brute_force(make, metric, dtype, rng):
    counts, vectors = make(rng)
    vectors = np.array(vectors, dtype=dtype)
    queries = np.concatenate([counts[:4], make(rng)[0][:5]])
    index = DocumentIndex(vectors, metric).fit(sparse.csr_array(counts))
    for k in (1, 10, len(counts), len(counts) + 7):
        expected = reference.neighbours(queries, counts, k, vectors=vectors, metric=metric)
        stats = assert_neighbours(index, queries, k, expected, workers=2)
        assert (stats.documents == len(counts)).all() and (stats.exact >= min(k, len(counts))).all()


@pytest.mark.parametrize("make", [corpus, duplicates, uneven_weights, zero_vectors])
def test_contextual_vectors(make, metric, dtype, rng):
    counts, vectors = make(rng)
    vectors = np.array(vectors, dtype=dtype)
    noise = 0.1 * vectors.std() if make is not duplicates else 0
    documents = [
        vectors[row > 0] + noise * rng.normal(size=(np.count_nonzero(row), vectors.shape[1])) for row in counts
    ]
    documents = [document.astype(dtype) for document in documents]
    weights = [row[row > 0] for row in counts]
    index = DocumentIndex(None, metric).fit(documents, weights=weights)
    uniform = DocumentIndex(None, metric).fit(documents)
    for k in (1, 10, 150, 151):
        options = {"metric": metric, "y_weights": weights}
        expected = reference.neighbours(documents[:6], documents, k, x_weights=weights[:6], **options)
        assert_neighbours(index, documents[:6], k, expected, weights=weights[:6])
        expected = reference.neighbours(documents[:6], documents, k, **options)
        assert_neighbours(index, documents[:6], k, expected)
        expected = reference.neighbours(documents[:6], documents, k, metric=metric)
        assert_neighbours(uniform, documents[:6], k, expected, weights=[None] * 6)


@pytest.mark.parametrize("vectors", [None, "array"])
def test_rms(vectors, dtype, rng):
    counts, table = corpus(rng)
    table = table.astype(dtype)
    if vectors is None:
        documents = [table[row > 0] for row in counts]
        index = DocumentIndex(None, rms=True).fit(documents)
        expected = reference.neighbours(documents[:3], documents, 10, rms=True)
        assert_neighbours(index, documents[:3], 10, expected)
    else:
        index = DocumentIndex(table, rms=True).fit(counts)
        expected = reference.neighbours(counts[:3], counts, 10, vectors=table, rms=True)
        assert_neighbours(index, counts[:3], 10, expected)


def test_workers(workers, metric, dtype, rng):
    counts, vectors = corpus(rng, documents=700, words=20)
    index = DocumentIndex(vectors.astype(dtype), metric).fit(counts)
    expected = index.kneighbors(counts[:30], 10, workers=1)
    for found in (index.kneighbors(counts[:30], 10, workers=workers, progress=progress) for progress in (False, True)):
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)
    with kexue.threads(workers):
        np.testing.assert_array_equal(
            index.kneighbors(counts[:1], 700)[0], index.kneighbors(counts[:1], 700, workers=1)[0]
        )


small = st.integers(-2, 2)


@settings(max_examples=2000 if LONG else 150, deadline=None)
@given(data=st.data())
def test_ties(data):
    # Vectors on a small grid and small counts: equal distances are the rule.
    vocabulary, dimension = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 3))
    metric = data.draw(st.sampled_from(["wmd", "wrd"]))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    vectors = data.draw(st.lists(small, min_size=vocabulary * dimension, max_size=vocabulary * dimension))
    vectors = np.array(vectors, dtype=dtype).reshape(vocabulary, dimension)
    rows = st.lists(st.integers(0, 2), min_size=vocabulary, max_size=vocabulary)
    counts = np.array(data.draw(st.lists(rows, min_size=1, max_size=12)))
    queries = np.array(data.draw(st.lists(rows, min_size=1, max_size=3)))
    index = DocumentIndex(vectors, metric, empty="skip").fit(counts)
    k = data.draw(st.integers(1, 14))
    expected_distances, expected = reference.neighbours(queries, counts, k, vectors=vectors, metric=metric)
    if not reference.present(counts, vectors, metric).any():
        with pytest.raises(kexue.KexueValueError, match="no document to find"):
            index.kneighbors(queries, k)
        return
    distances, indices = index.kneighbors(queries, k)
    for found, row, near, numbers in zip(distances, indices, expected_distances, expected, strict=True):
        if len(numbers):
            np.testing.assert_array_equal(row, numbers)
            np.testing.assert_array_equal(found, near)
        else:
            assert (row == -1).all() and np.isposinf(found).all()


def test_compiled_functions(metric, dtype, rng):
    counts, vectors = corpus(rng, documents=40)
    counts[3] = 0
    vectors = vectors.astype(dtype)
    vectors[np.flatnonzero(counts[5])] = 0
    rows = as_csr_rows("X", counts, len(vectors), "vectors has {} rows")
    found, expected = (module.normalize(vectors, rows, metric) for module in (_documents, reference))
    assert found[0] == expected[0] == 0
    for one, other in zip(found[1:3], expected[1:3], strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == other.dtype
    np.testing.assert_allclose(found[3], expected[3], rtol=1e-14)
    if metric == "wrd":
        np.testing.assert_allclose(found[4], expected[4], rtol=1e-14)
    else:
        assert found[4] is None
    _, offsets, words, weights, factors = found
    used, words = np.unique(words, return_inverse=True)
    removed = (rng.random(40) < 0.2).astype(np.uint8)
    queries = as_csr_rows("X", counts[10:14], len(vectors), "vectors has {} rows")
    queries = _documents.normalize(vectors, queries, metric)[1:4]
    arguments = (
        vectors,
        used.astype(np.int32),
        None if factors is None else factors[used],
        offsets,
        words.astype(np.int32),
        weights,
        removed,
        queries,
        None,
        metric,
        0.5,
    )
    for limits in (None, np.array([0.0, 0.4, 0.7, np.inf])):
        results = [module.search(*arguments, 7, limits, 2) for module in (_documents, reference)]
        (status, (ends, indices, distances), stats), (_, (other_ends, others, expected), other_stats) = results
        assert status == 0
        np.testing.assert_array_equal(ends, other_ends)
        np.testing.assert_array_equal(indices, others)
        assert distances.dtype == dtype
        np.testing.assert_allclose(distances, expected, rtol=1e-6 if dtype == np.float32 else 1e-12, atol=1e-15)
        np.testing.assert_array_equal(stats[:, 0], other_stats[:, 0])


@pytest.fixture(scope="module")
def docstrings():
    documents = standard_library_docstrings()
    texts = [document.text for document in documents[:: len(documents) // 2000][:2000]]
    words = WordVectors.fit(texts, dimension=50, rng=0)
    counts = words.count_matrix(texts)
    full = np.flatnonzero(np.diff(counts.indptr))
    return words, counts[full], [texts[i] for i in full]


def test_real_text(docstrings, metric, workers):
    words, counts, texts = docstrings
    assert len(texts) > 1900
    index = DocumentIndex(words, metric).fit(texts)
    queries = sparse.vstack(
        [counts[[17, 900, 1700]], words.count_matrix(["open a file and read lines", "sort a list"])], format="csr"
    )
    expected = reference.neighbours(queries, counts, 10, vectors=words.vectors, metric=metric)
    stats = assert_neighbours(index, queries, 10, expected, workers=workers)
    assert (stats.documents == len(texts)).all()
    assert stats.exact.mean() < 0.1 * len(texts)
    rows = counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    assert index.nbytes <= 1.5 * (words.vectors.nbytes + rows)


# ---- radius, limits, scores ----


def test_radius(metric, dtype, workers, rng):
    counts, vectors = shared_words(rng)
    vectors = vectors.astype(dtype)
    index = DocumentIndex(vectors, metric).fit(counts)
    queries = counts[:5]
    near = index.kneighbors(queries, len(counts))[0]
    # A distance itself is within; what is just below it is not.
    radii = [0.0, np.inf, near[0, 1], near[1, 10], float(near[2, 40]), np.nextafter(near[1, 10], dtype.type(0))]
    for radius in radii:
        distances, indices, stats = index.radius_neighbors(queries, radius, workers=workers, stats=True)
        found = reference.neighbours(queries, counts, len(counts), limit=float(radius), vectors=vectors, metric=metric)
        for i in range(5):
            np.testing.assert_array_equal(indices[i], found[1][i])
            np.testing.assert_array_equal(distances[i], found[0][i])
            assert indices[i].dtype == np.int64 and distances[i].dtype == dtype
        assert distances.dtype == indices.dtype == object and distances.shape == indices.shape == (5,)
        np.testing.assert_array_equal(stats.relaxed + stats.dual + stats.exact, stats.documents)
    assert [len(row) for row in index.radius_neighbors(queries, np.inf, return_distance=False)] == [len(counts)] * 5


def test_one_query_with_a_radius(rng):
    # One array must not become a table of objects.
    found = DocumentIndex(V).fit(COUNTS).radius_neighbors(COUNTS[:1], 1e-9, return_distance=False)
    assert found.shape == (1,) and found[0].tolist() == [0]


def test_limits_of_each_query(metric, rng):
    # What a search that is spread over partitions passes on.
    counts, vectors = corpus(rng)
    index = DocumentIndex(vectors, metric).fit(counts)
    near = index.kneighbors(counts[:3], 20)[0]
    limits = near[[0, 1, 2], [0, 4, 19]]
    (offsets, indices, distances), _ = index._search(counts[:3], 10, limits, 1, False, None)
    assert np.diff(offsets).tolist() == [1, 5, 10]
    np.testing.assert_array_equal(distances, np.concatenate([near[0, :1], near[1, :5], near[2, :10]]))


def test_search(metric, rng):
    counts, vectors = corpus(rng)
    index = DocumentIndex(vectors, metric).fit(counts)
    records = index.search(counts[:3], top_k=4, workers=2)
    distances, indices = index.kneighbors(counts[:3], 4)
    scores = 1 - distances if metric == "wrd" else 1 / (1 + distances)
    assert [[record["corpus_id"] for record in row] for row in records] == indices.tolist()
    assert [[record["score"] for record in row] for row in records] == scores.tolist()
    assert all(type(record["corpus_id"]) is int and type(record["score"]) is float for row in records for record in row)
    assert json.loads(json.dumps(records)) == records
    assert len(index.search(counts[:1])[0]) == 5 and len(index.search(counts[:1], top_k=999)[0]) == 150


def test_results():
    index = DocumentIndex(V).fit(COUNTS)
    indices = index.kneighbors(COUNTS[:2], 2, return_distance=False)
    assert isinstance(indices, np.ndarray) and indices.shape == (2, 2)
    alone, stats = index.kneighbors(COUNTS[:2], 2, return_distance=False, stats=True)
    np.testing.assert_array_equal(alone, indices)
    assert isinstance(stats, SearchStats)
    with pytest.raises(FrozenInstanceError):
        stats.exact = None
    assert len(index.kneighbors(COUNTS[:2], 2)) == 2 and len(index.kneighbors(COUNTS[:2], 2, stats=True)) == 3
    assert index.kneighbors(COUNTS)[0].shape == (5, 5)
    assert index.kneighbors(COUNTS[:0], 3)[1].shape == (0, 3)
    assert index.radius_neighbors(COUNTS[:0], 3)[1].shape == (0,)
    assert index.search(COUNTS[:0]) == []


# ---- documents come and go ----


class Changes(RuleBasedStateMachine):
    """Whatever happened to an index, it finds what is found among the documents that are left."""

    rows = st.lists(st.lists(st.integers(0, 2), min_size=5, max_size=5), max_size=4)

    @initialize(data=st.data(), metric=st.sampled_from(["wmd", "wrd"]), contextual=st.booleans())
    def start(self, data, metric, contextual):
        self.metric = metric
        self.vectors = np.array(data.draw(st.lists(small, min_size=10, max_size=10)), dtype=np.float32).reshape(5, 2)
        self.contextual = contextual
        self.index = DocumentIndex(None if contextual else self.vectors, metric, empty="skip")
        self.documents, self.removed = [], []

    def given(self, rows):
        """The argument X (and weights) for rows of counts."""
        if not self.contextual:
            return {"X": np.array(rows, dtype=np.float64).reshape(-1, 5)}
        return {"X": [self.vectors] * len(rows), "weights": rows}

    @rule(rows=rows)
    def add(self, rows):
        numbers = self.index.add(**self.given(rows))
        assert numbers.tolist() == list(range(len(self.documents), len(self.documents) + len(rows)))
        self.documents += rows
        self.removed += [False] * len(rows)

    @rule(rows=rows)
    def fit(self, rows):
        assert self.index.fit(**self.given(rows)) is self.index
        self.documents, self.removed = list(rows), [False] * len(rows)

    @precondition(lambda self: not all(self.removed))
    @rule(data=st.data())
    def remove(self, data):
        there = [i for i, gone in enumerate(self.removed) if not gone]
        numbers = data.draw(st.lists(st.sampled_from(there), unique=True))
        self.index.remove(numbers[0] if len(numbers) == 1 else numbers)
        for number in numbers:
            self.removed[number] = True

    @rule()
    def copy(self):
        other, self.index = self.index, copy.copy(self.index)
        other.add(**self.given([[1, 1, 1, 1, 1]]))
        other.remove(len(self.documents))

    @rule()
    def pickle(self):
        self.index = pickle.loads(pickle.dumps(self.index))

    @rule(rows=rows, k=st.integers(1, 9), radius=st.integers(0, 3))
    def search(self, rows, k, radius):
        assert len(self.index) == self.removed.count(False)
        counts = np.array(self.documents, dtype=np.float64).reshape(-1, 5)
        present = reference.present(counts, self.vectors, self.metric) & ~np.array(self.removed, dtype=bool)
        if not present.any():
            with pytest.raises(kexue.KexueValueError, match="no document to find"):
                self.index.kneighbors(**self.given(rows))
            return
        left = np.flatnonzero(present)
        fresh = DocumentIndex(None if self.contextual else self.vectors, self.metric, empty="skip")
        fresh.fit(**self.given([self.documents[i] for i in left]))
        distances, indices = self.index.kneighbors(**self.given(rows), n_neighbors=k)
        expected, places = fresh.kneighbors(**self.given(rows), n_neighbors=k)
        np.testing.assert_array_equal(distances, expected)
        np.testing.assert_array_equal(indices, np.where(places < 0, -1, left[places]))
        near, numbers = self.index.radius_neighbors(**self.given(rows), radius=radius)
        for row, found, all_found in zip(distances, near, numbers, strict=True):
            within = row[row <= radius]
            np.testing.assert_array_equal(found[:k], within)
            assert present[all_found].all()


TestChanges = Changes.TestCase
TestChanges.settings = settings(max_examples=400 if LONG else 40, stateful_step_count=12, deadline=None)


def test_changes_against_brute_force(metric, dtype, rng):
    counts, vectors = corpus(rng)
    vectors = vectors.astype(dtype)
    index = DocumentIndex(vectors, metric)
    assert len(index) == 0 and index.n_words == 0
    for begin in range(0, 150, 13):
        numbers = index.add(sparse.csr_array(counts[begin : begin + 13]))
        assert numbers.dtype == np.int64 and numbers[0] == begin
    present = rng.random(150) < 0.7
    index.remove(np.flatnonzero(~present)[:5])
    index.remove(np.flatnonzero(~present)[5:].astype(np.uint16))
    assert len(index) == index.n_documents == present.sum()
    expected = reference.neighbours(counts[:9], counts, 10, present=present, vectors=vectors, metric=metric)
    stats = assert_neighbours(index, counts[:9], 10, expected)
    assert (stats.documents == present.sum()).all()
    assert index.n_words == np.count_nonzero(counts.any(axis=0))
    assert index.add(counts[:1]).tolist() == [150]


def test_many_small_additions_are_few_pieces(rng):
    counts, vectors = corpus(rng)
    index, whole = DocumentIndex(vectors), DocumentIndex(vectors).fit(counts)
    for number, row in enumerate(counts):
        index.add(row[None])
        assert len(index._pieces) <= np.log2(number + 1) + 4
    for one, other in zip(vars(index._joined()).values(), vars(whole._joined()).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_what_fails_changes_nothing():
    index = DocumentIndex(V).fit(COUNTS)
    before = index.kneighbors(COUNTS, 5)
    for change in (index.fit, index.add):
        for bad in (-COUNTS, COUNTS[:, :3], np.zeros((1, 4)), [["a"]]):
            with pytest.raises((kexue.KexueValueError, TypeError)):
                change(bad)
    for bad in ([0, 1, 0], [1, 5], [2, -1]):
        with pytest.raises((kexue.KexueValueError, IndexError)):
            index.remove(bad)
    assert len(index) == 5
    for one, other in zip(index.kneighbors(COUNTS, 5), before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_contextual_dtype_and_dimension(rng):
    index = DocumentIndex(None)
    assert index.dtype is None and index.dimension is None and len(index) == 0
    index.fit([rng.normal(size=(3, 4)).astype(np.float16), rng.normal(size=(2, 4)).astype(np.float32)])
    assert index.dtype == np.float32 and index.dimension == 4 and index.n_words == 5
    # Later ones are converted to it.
    index.add([rng.normal(size=(2, 4))])
    assert index.dtype == np.float32
    assert index.kneighbors(rng.normal(size=(1, 2, 4)), 3)[0].dtype == np.float32
    with pytest.raises(kexue.KexueValueError, match=r"^X\[1\] has shape \(2, 3\), but the index has .* dimension 4"):
        index.add([np.zeros((0, 0)), np.ones((2, 3))])
    with pytest.raises(kexue.KexueValueError, match=r"^X\[0\] has shape \(2, 3\)"):
        index.kneighbors([np.ones((2, 3))])
    with pytest.raises(kexue.KexueValueError, match=r"^X\[0\]\[1, 2\] is inf"):
        index.add([np.array([[0, 0, 0, 0], [0, 0, 1e39, 0]])])
    index.fit([rng.normal(size=(3, 2))])
    assert index.dtype == np.float64 and index.dimension == 2


# ---- what is given ----


def test_layouts(layout, metric, dtype, untouched, rng):
    counts, vectors = corpus(rng, documents=30)
    vectors = vectors.astype(dtype)
    expected = reference.neighbours(counts[:3], counts, 5, vectors=vectors, metric=metric)
    given_vectors, given_counts, given_queries = layout(vectors), layout(counts), layout(counts[:3])
    with untouched(given_vectors, given_counts, given_queries):
        index = DocumentIndex(given_vectors, metric).fit(given_counts)
        assert_neighbours(index, given_queries, 5, expected)
        documents = [layout(vectors[row > 0]) for row in counts]
        contextual = DocumentIndex(None, metric).fit(documents)
        expected = reference.neighbours(documents[:3], documents, 5, metric=metric)
        assert_neighbours(contextual, documents[:3], 5, expected)


@pytest.mark.parametrize("form", ["csr_array", "csr_matrix", "csc_array", "coo_array", "lil_array", "dense", "list"])
@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float32, bool])
def test_forms_of_counts(form, kind, untouched):
    counts = COUNTS.astype(kind)
    given_counts = counts if form == "dense" else counts.tolist() if form == "list" else getattr(sparse, form)(counts)
    with untouched(given_counts.data if form.startswith("cs") else counts):
        found = DocumentIndex(V).fit(given_counts).kneighbors(given_counts, 5)
    expected = reference.neighbours(counts, counts, 5, vectors=V)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_repeated_and_unsorted_words_and_stored_zeros(untouched):
    rows = sparse.csr_array(
        (np.array([200, 100, 1, 0, 3], dtype=np.uint8), np.array([1, 1, 0, 2, 3]), np.array([0, 4, 5])), shape=(2, 4)
    )
    vectors = V.copy()
    vectors[2] = np.nan  # not in use
    with untouched(rows.data, rows.indices, rows.indptr):
        index = DocumentIndex(vectors).fit(rows)
    assert index.n_words == 3
    plain = DocumentIndex(vectors).fit([[1, 300, 0, 0], [0, 0, 0, 3]])
    np.testing.assert_array_equal(index.kneighbors(COUNTS[:1])[0], plain.kneighbors(COUNTS[:1])[0])


def test_words_that_no_document_has(metric, dtype, rng):
    counts, vectors = corpus(rng, vocabulary=400)
    vectors = vectors.astype(dtype)
    counts[:, 200:] = 0
    counts[:, 0] += 1
    queries = np.zeros((2, 400))
    queries[0, 200:210] = queries[1, [0, 300]] = 1
    expected = reference.neighbours(queries, counts, 10, vectors=vectors, metric=metric)
    assert_neighbours(DocumentIndex(vectors, metric).fit(counts), queries, 10, expected)


TEXTS = [["cat", "dog"], ["car", "unheard-of"], ["car", "dog", "dog"]]
WORDS = WordVectors(["cat", "dog", "car"], [[1.0, 0.5], [1.0, 0.0], [-3.0, 0.0]])


def test_texts():
    index = DocumentIndex(WORDS).fit(TEXTS)
    counts = WORDS.count_matrix(TEXTS)
    expected = reference.neighbours(counts, counts, 3, vectors=WORDS.vectors)
    for X in (
        TEXTS,
        tuple(map(tuple, TEXTS)),
        ["Cat, dog", "car", "car dog: dog"],
        counts,
        counts.toarray(),
        counts.toarray().tolist(),
        np.array(["cat dog", "car", "car dog dog"]),
        np.array(["cat dog", "car", "car dog dog"], dtype=object),
    ):
        assert_neighbours(index, X, 3, expected)
        assert_neighbours(DocumentIndex(WORDS).fit(X), TEXTS, 3, expected)
    assert index.add([]).tolist() == []
    skipping = DocumentIndex(WORDS, empty="skip").fit([[], ["cat"], ["unheard-of"]])
    assert skipping.kneighbors([[], ["dog"]], 3)[1].tolist() == [[-1], [1]]


def test_queries_are_not_joined_to_the_index(rng):
    # The same token in a query and in a document is a coincidence: nothing is stored of a query.
    documents = [rng.normal(size=(3, 4)) for _ in range(5)]
    index = DocumentIndex(None).fit(documents)
    size = index.nbytes
    assert index.kneighbors(documents, 1)[1].ravel().tolist() == list(range(5))
    assert index.nbytes == size and index.n_words == 15


# ---- what is empty ----


def test_empty_documents_are_named(metric):
    vectors = V.copy()
    rows = COUNTS.copy()
    rows[3] = 0
    index = DocumentIndex(vectors, metric)
    for call in (index.fit, index.add, DocumentIndex(vectors, metric).fit(COUNTS[1:2]).kneighbors):
        with pytest.raises(kexue.KexueValueError, match=r"^X\[3\] is empty: it has no words of positive weight"):
            call(rows[1:2].repeat(3, axis=0).tolist() + rows[3:].tolist())
    if metric == "wrd":
        with pytest.raises(kexue.KexueValueError, match=r"^X\[0\] is empty: all its vectors are zero"):
            index.fit([[1, 0, 0, 0]])
        with pytest.raises(kexue.KexueValueError, match=r"^X\[0\] is empty: the norms of its vectors are too small"):
            DocumentIndex(V * 1e-322, metric).fit(COUNTS)
    with pytest.raises(kexue.KexueValueError, match=r"^X\[1\] is empty: it has no words with a vector"):
        DocumentIndex(WORDS).fit([["cat"], ["unheard-of"]])
    for empty in (np.zeros((0, 2)), np.zeros((0, 0)), []):
        with pytest.raises(kexue.KexueValueError, match=r"^X\[1\] is empty"):
            DocumentIndex(None, metric).fit([V[1:], empty])
    with pytest.raises(kexue.KexueValueError, match=r"^X\[0\] is empty: it has no words of positive weight"):
        DocumentIndex(None, metric).fit([V], weights=[[0, 0, 0, 0]])


@pytest.mark.parametrize("contextual", [False, True])
def test_empty_documents_are_skipped(contextual, metric, rng):
    counts = COUNTS.copy()
    counts[1] = 0
    if metric == "wrd":
        counts[3] = [5, 0, 0, 0]
    full = reference.present(counts, V, metric)
    documents = [V[row > 0] for row in counts]
    X, queries = (documents, [documents[0], documents[1]]) if contextual else (counts, counts[:2])
    index = DocumentIndex(None if contextual else V, metric, empty="skip").fit(X)
    assert len(index) == 5
    distances, indices, stats = index.kneighbors(queries, 10, stats=True)
    assert distances.shape == indices.shape == (2, full.sum())
    assert sorted(indices[0]) == np.flatnonzero(full).tolist() and np.isfinite(distances[0]).all()
    assert (indices[1] == -1).all() and np.isposinf(distances[1]).all()
    assert stats.documents.tolist() == [full.sum(), 0] and stats.exact[1] == 0
    near, numbers = index.radius_neighbors(queries, np.inf)
    assert len(near[0]) == full.sum() and len(near[1]) == len(numbers[1]) == 0
    assert [len(row) for row in index.search(queries, 10)] == [full.sum(), 0]
    assert (index.kneighbors(queries[1:], 2)[1] == -1).all()
    index.remove([1])  # it has a number
    assert len(index) == 4


def test_an_empty_index_is_refused(metric):
    index = DocumentIndex(V, metric, empty="skip")
    contextual = DocumentIndex(None, metric, empty="skip")
    for empty, X in (
        (index, COUNTS),
        (DocumentIndex(V, metric).fit(COUNTS[:0]), COUNTS),
        (DocumentIndex(V, metric, empty="skip").fit(np.zeros((3, 4))), COUNTS),
        (contextual, [V]),
        (DocumentIndex(None, metric, empty="skip").fit([np.zeros((0, 0))]), [V]),
        (DocumentIndex(WORDS, metric).fit([]), TEXTS),
    ):
        for search in (empty.kneighbors, empty.search, lambda X, empty=empty: empty.radius_neighbors(X, 1)):
            with pytest.raises(kexue.KexueValueError, match="^the index has no document to find"):
                search(X)
    index.fit(COUNTS).remove(range(5))
    with pytest.raises(kexue.KexueValueError, match="^the index has no document to find"):
        index.kneighbors(COUNTS)
    index.add(COUNTS[:1])
    assert index.kneighbors(COUNTS[:1])[1].tolist() == [[5]]


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((V, "wcd"), {}, kexue.KexueValueError, "^metric must be"),
        ((V,), {"empty": "nan"}, kexue.KexueValueError, "^empty must be"),
        ((V, "wrd"), {"rms": True}, kexue.KexueValueError, "^rms goes with"),
        ((V[0],), {}, kexue.KexueValueError, "^vectors must have 2 dimensions"),
        ((V[:, :0],), {}, kexue.KexueValueError, "^vectors must have at least one column"),
        (("vectors.npy",), {}, TypeError, "^vectors must hold real numbers"),
    ],
)
def test_bad_settings(arguments, options, error, message):
    with pytest.raises(error, match=message):
        DocumentIndex(*arguments, **options)


NAN = np.where([[False, False], [False, True], [False, False], [False, False]], np.nan, V)


@pytest.mark.parametrize(
    ("vectors", "X", "options", "error", "message"),
    [
        (V, COUNTS[:, :3], {}, kexue.KexueValueError, r"^X has 3 columns .* vectors has 4 rows"),
        (V, sparse.csr_array((2, 5)), {}, kexue.KexueValueError, r"^X has 5 columns .* vectors has 4 rows"),
        (V, COUNTS[0], {}, kexue.KexueValueError, "^X must have 2 dimensions"),
        (V, -COUNTS, {}, kexue.KexueValueError, r"^X\[0, 0\] is negative \(-1.0\)"),
        (V, [[1, np.nan, 0, 0]], {}, kexue.KexueValueError, r"^X\[0, 1\] is not finite"),
        (NAN, COUNTS, {}, kexue.KexueValueError, r"^vectors\[1, 1\] is nan"),
        (V, [[1e308, 1e308, 0, 0]], {}, OverflowError, "too large"),
        (V, COUNTS, {"weights": [None] * 5}, kexue.KexueValueError, "^weights go with contextual"),
        (V, "a text", {}, TypeError, "^X must be a list of documents, not one string"),
        (V, b"a text", {}, TypeError, "^X must be a list of documents, not one string"),
        (V, ["a text"], {}, TypeError, r"^X\[0\] is a text, but the index has an array of vectors"),
        (V, [[], ["a", "text"]], {}, TypeError, r"^X\[1\] is a text"),
        (V, np.array(["a text"]), {}, TypeError, r"^X\[0\] is a text"),
        (V, [b"text"], {}, TypeError, "^X must hold real numbers"),
        (V, [V], {}, kexue.KexueValueError, "^X must have 2 dimensions"),
        (V, None, {}, TypeError, "^X must be"),
        (WORDS, "cat", {}, TypeError, "^X must be a list of documents, not one string"),
        (WORDS, [["cat"], 3], {}, TypeError, r"^X\[1\] must be a list of words or a string, not int"),
        (WORDS, [["cat"], ["dog", 3]], {}, TypeError, r"^X\[1\] must be a list of words or a string"),
        (WORDS, COUNTS, {}, kexue.KexueValueError, "^X has 4 columns .* vectors has 3 rows"),
        (None, sparse.csr_array(COUNTS), {}, TypeError, "^X must be a sequence of arrays"),
        (None, "a text", {}, TypeError, "^X must be a sequence of arrays"),
        (None, ["a text"], {}, TypeError, r"^X\[0\] must hold real numbers"),
        (None, [["a", "text"]], {}, TypeError, r"^X\[0\] must hold real numbers"),
        (None, V, {}, kexue.KexueValueError, r"^X\[0\] must have 2 dimensions"),
        (None, [V, V[:, :1]], {}, kexue.KexueValueError, "^the documents of X differ in dimension"),
        (None, [V, NAN], {}, kexue.KexueValueError, r"^X\[1\]\[1, 1\] is nan"),
        (None, [V], {"weights": []}, kexue.KexueValueError, "^weights has 0 entries for 1 documents"),
        (None, [V], {"weights": [[1]]}, kexue.KexueValueError, r"^weights\[0\] has 1 weights for 4"),
        (None, [V], {"weights": [[1, 1, 1, -1]]}, kexue.KexueValueError, r"^weights\[0\]\[3\] is negative"),
        (None, [V], {"weights": [[1, 1, np.inf, 1]]}, kexue.KexueValueError, r"^weights\[0\]\[2\] is inf"),
    ],
)
def test_bad_documents_and_queries(vectors, X, options, error, message, metric):
    # The empty index and the one with documents refuse the same.
    table = V if vectors is NAN else vectors
    there = [["cat"]] if vectors is WORDS else [V[:2]] if vectors is None else COUNTS[2:3]
    index = DocumentIndex(vectors, metric)
    full = DocumentIndex(table, metric).fit(there) if vectors is not NAN else DocumentIndex(NAN, metric).fit(there)
    for call in (index.fit, index.add, full.add, full.kneighbors, full.search):
        with pytest.raises(error, match=message):
            call(X, **options)
    with pytest.raises(error, match=message):
        full.radius_neighbors(X, 1.0, **options)


@pytest.mark.parametrize("count", [0, -1, 1.0, "5", True, None, np.nan])
def test_bad_counts(count):
    index = DocumentIndex(V).fit(COUNTS)
    with pytest.raises(kexue.KexueValueError, match="^n_neighbors must be an integer of at least 1"):
        index.kneighbors(COUNTS, count)
    with pytest.raises(kexue.KexueValueError, match="^top_k must be an integer of at least 1"):
        index.search(COUNTS, count)
    assert index.kneighbors(COUNTS, np.int16(2))[0].shape == (5, 2)
    assert index.kneighbors(COUNTS, 10**30)[0].shape == (5, 5)


@pytest.mark.parametrize(
    ("radius", "error"),
    [
        (-1e-300, kexue.KexueValueError),
        (np.nan, kexue.KexueValueError),
        ([1.0, 2.0], kexue.KexueValueError),
        ("1", TypeError),
        (None, TypeError),
    ],
)
def test_bad_radius(radius, error):
    with pytest.raises(error, match="^radius must"):
        DocumentIndex(V).fit(COUNTS).radius_neighbors(COUNTS, radius)


@pytest.mark.parametrize("workers", [0, -2, 1.5, "2"])
def test_bad_workers(workers):
    with pytest.raises((kexue.KexueValueError, TypeError), match="workers"):
        DocumentIndex(V).fit(COUNTS).kneighbors(COUNTS, workers=workers)


def test_bad_removals():
    index = DocumentIndex(V).fit(COUNTS)
    index.remove([])
    index.remove(4)
    for number in (5, -1, 10**12):
        with pytest.raises(IndexError, match=f"no document {number};"):
            index.remove(number)
    with pytest.raises(kexue.KexueValueError, match="^document 4 is removed already"):
        index.remove([0, 4])
    with pytest.raises(kexue.KexueValueError, match="^document 3 is given twice"):
        index.remove([3, 3])
    for indices in (0.0, [True], "0", [None]):
        with pytest.raises(TypeError, match="^indices must be integers"):
            index.remove(indices)
    with pytest.raises(kexue.KexueValueError, match="at most 1 dimension"):
        index.remove([[0, 1]])
    assert len(index) == 4


def test_distances_that_overflow(dtype):
    huge = np.finfo(dtype).max
    index = DocumentIndex(np.array([[huge], [-huge]], dtype=dtype)).fit([[1, 0]])
    with pytest.raises(OverflowError, match=f"too large for a distance in {dtype}"):
        index.kneighbors([[0, 1]])


# ---- files ----


def some_index(kind, metric="wmd", *, rms=False):
    """An index with an empty and a removed document, as the constructor of that kind makes it; and queries."""
    rng = np.random.default_rng(5)
    counts, vectors = corpus(rng, documents=12, vocabulary=20, dimension=3)
    counts[4] = 0
    vectors = vectors.astype(np.float32)
    options = {"rms": rms, "empty": "skip"}
    if kind == "contextual":
        documents = [vectors[row > 0] for row in counts]
        index, queries = DocumentIndex(None, metric, **options).fit(documents), documents[:3]
    elif kind == "words":
        words = WordVectors([f"wörd{i}" for i in range(20)], vectors)
        texts = [[f"wörd{i}" for i in np.repeat(np.arange(20), row.astype(int))] for row in counts]
        index, queries = DocumentIndex(words, metric, **options).fit(texts), texts[:3]
    else:
        index, queries = DocumentIndex(vectors, metric, **options).fit(counts), counts[:3]
    index.remove([2, 7])
    return index, queries


def assert_same(index, other, queries):
    assert repr(index) == repr(other)
    for one, two in zip(index.kneighbors(queries, 99), other.kneighbors(queries, 99), strict=True):
        np.testing.assert_array_equal(one, two)
        assert one.dtype == two.dtype


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("kind", ["array", "words", "contextual"])
def test_save_and_load(kind, mmap, metric, tmp_path):
    index, queries = some_index(kind, metric, rms=metric == "wmd")
    assert index.save(tmp_path / "index") is None
    assert os.listdir(tmp_path) == ["index"]
    loaded = DocumentIndex.load(str(tmp_path / "index"), mmap=mmap)
    assert isinstance(loaded, DocumentIndex) and len(loaded) == len(index) and loaded.nbytes == index.nbytes
    assert_same(index, loaded, queries)
    with pytest.raises(kexue.KexueValueError, match="removed already"):
        loaded.remove(7)
    shutil.rmtree(tmp_path / "index")  # what is mapped stays
    # Everything goes on as in the index that was saved.
    for each in (index, loaded):
        assert each.add(queries).tolist() == [12, 13, 14]
        each.remove([0, 13])
    assert_same(index, loaded, queries)


@pytest.mark.parametrize("kind", ["array", "words", "contextual"])
def test_what_is_mapped(kind, metric, tmp_path):
    index, queries = some_index(kind, metric)
    index.save(tmp_path / "index")
    mapped = DocumentIndex.load(tmp_path / "index")
    arrays = list(mapped._joined().arrays().values()) + ([] if kind == "contextual" else [mapped._vectors])
    assert all(isinstance(array.base, np.memmap) and not array.flags.writeable for array in arrays)
    for other in (pickle.loads(pickle.dumps(mapped)), copy.deepcopy(mapped), copy.copy(mapped)):
        assert_same(index, other, queries)
        other.remove(1)
        other.add(queries)
    assert_same(index, mapped, queries)
    # Nothing that was pickled needs the file, and the vectors are in it once.
    assert len(pickle.dumps(mapped)) < 1.2 * mapped.nbytes + 3000


def test_pickled_vectors_are_not_doubled(tmp_path, rng):
    WordVectors([str(i) for i in range(1000)], rng.normal(size=(1000, 50))).save(tmp_path / "vectors.npz")
    words = WordVectors.load(tmp_path / "vectors.npz")
    assert isinstance(words.vectors, np.memmap)
    index = DocumentIndex(words).fit([["1", "2"], ["3"]])
    assert len(pickle.dumps(index)) < 1.3 * words.vectors.nbytes
    assert_same(index, pickle.loads(pickle.dumps(index)), [["2"]])


def test_save_without_documents(metric, tmp_path):
    for number, vectors in enumerate((V, WORDS, None)):
        DocumentIndex(vectors, metric).save(tmp_path / str(number))
        for mmap in (False, True):
            loaded = DocumentIndex.load(tmp_path / str(number), mmap=mmap)
            assert len(loaded) == 0 and repr(loaded) == repr(DocumentIndex(vectors, metric))
            with pytest.raises(kexue.KexueValueError, match="no document to find"):
                loaded.kneighbors({0: COUNTS, 1: TEXTS, 2: [V]}[number])
            loaded.add({0: COUNTS, 1: TEXTS, 2: [V, V[1:]]}[number])
            assert len(loaded) in (2, 3, 5)


def test_saved_layouts(layout, dtype, tmp_path_factory, rng):
    counts, vectors = corpus(rng, documents=20)
    index = DocumentIndex(layout(vectors.astype(dtype))).fit(counts)
    folder = tmp_path_factory.mktemp("saved") / "index"
    index.save(folder)
    for mmap in (False, True):
        assert_same(index, DocumentIndex.load(folder, mmap=mmap), counts[:2])


def test_the_manifest(tmp_path):
    index, _ = some_index("words", "wrd")
    index.save(tmp_path / "index")
    manifest = json.loads((tmp_path / "index" / "index.json").read_text())
    assert manifest["format"] == "kexue-document-index" and manifest["version"] == 1
    assert (manifest["metric"], manifest["rms"], manifest["empty"]) == ("wrd", False, "skip")
    assert manifest["sizes"]["documents"] == 12 and manifest["dtype"] == "float32"
    files = {path.name for path in (tmp_path / "index").iterdir()}
    assert files == {"index.json", *(f"{name}.npy" for name in manifest["checksums"])}
    for name in manifest["checksums"]:
        np.load(tmp_path / "index" / f"{name}.npy", allow_pickle=False)


def test_replace(tmp_path):
    old, old_queries = some_index("words")
    new, new_queries = some_index("contextual", "wrd")
    path = tmp_path / "index"
    for index, queries in ((old, old_queries), (new, new_queries), (old, old_queries)):
        index.save(path)
        assert os.listdir(tmp_path) == ["index"]
        assert_same(index, DocumentIndex.load(path), queries)
    (tmp_path / "empty").mkdir()
    old.save(tmp_path / "empty")
    assert_same(old, DocumentIndex.load(tmp_path / "empty"), old_queries)


def test_save_over_what_is_mapped(tmp_path):
    index, queries = some_index("array")
    index.save(tmp_path / "index")
    mapped = DocumentIndex.load(tmp_path / "index")
    mapped.add(queries)
    mapped.save(tmp_path / "index")
    assert_same(mapped, DocumentIndex.load(tmp_path / "index"), queries)
    index.add(queries)
    assert_same(mapped, index, queries)


def test_save_through_a_link(tmp_path, monkeypatch):
    index, queries = some_index("array")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real", target_is_directory=True)
    index.save(tmp_path / "link")
    index.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert_same(index, DocumentIndex.load(tmp_path / "real"), queries)
    monkeypatch.chdir(tmp_path)
    index.save("relative")
    assert_same(index, DocumentIndex.load("relative"), queries)


class Interruption(BaseException):
    pass


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, Interruption])
@pytest.mark.parametrize(
    ("module", "name", "calls"),
    [(np, "save", [0, 3, 5]), (os, "replace", [0, 1]), (_document_index_files, "_manifest", [0])],
)
def test_interrupted_save(error, module, name, calls, tmp_path, monkeypatch):
    old, queries = some_index("words")
    new, _ = some_index("contextual")
    old.save(tmp_path / "index")
    function = getattr(module, name)
    for fatal in calls:
        count = 0

        def interrupted(*arguments, fatal=fatal, **options):
            nonlocal count
            count += 1
            if count == fatal + 1:
                raise error("interrupted")
            return function(*arguments, **options)

        with monkeypatch.context() as patch:
            patch.setattr(module, name, interrupted)
            with pytest.raises(error):
                new.save(tmp_path / "index")
            assert count > fatal
        assert os.listdir(tmp_path) == ["index"]
        assert_same(old, DocumentIndex.load(tmp_path / "index"), queries)
        with monkeypatch.context() as patch:
            count = 0
            patch.setattr(module, name, interrupted)
            with contextlib.suppress(error):  # where there was none before, only one file is renamed
                new.save(tmp_path / "other")
        shutil.rmtree(tmp_path / "other", ignore_errors=True)
        assert os.listdir(tmp_path) == ["index"]


def test_save_that_was_killed(tmp_path, monkeypatch):
    # Between the two renamings nothing can be put right any more; what is left can be found.
    old, queries = some_index("words")
    old.save(tmp_path / "index")
    os.replace(tmp_path / "index", tmp_path / ".index.12-ab.old")
    with pytest.raises(FileNotFoundError, match=r"\.index\.12-ab\.old is what an interrupted save left"):
        DocumentIndex.load(tmp_path / "index")
    assert_same(old, DocumentIndex.load(tmp_path / ".index.12-ab.old"), queries)


def test_only_an_index_is_replaced(tmp_path):
    index, queries = some_index("array")
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text("precious")
    index.save(tmp_path / "more")
    (tmp_path / "more" / "file").write_text("precious")
    for number, text in enumerate(['{"format": "another"}', "[]", "{", "\xff", '{"format": "kexue-document-index"}']):
        (tmp_path / f"json{number}").mkdir()
        (tmp_path / f"json{number}" / "index.json").write_text(text, encoding="latin-1")
    before = sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*"))
    for path in ("file", "folder", "more", *(f"json{number}" for number in range(5))):
        with pytest.raises(kexue.KexueValueError, match=f"{path}: there is something other than an index"):
            index.save(tmp_path / path)
    with pytest.raises(OSError, match="missing"):
        index.save(tmp_path / "missing" / "index")
    assert sorted((path, path.is_file() and path.read_bytes()) for path in tmp_path.rglob("*")) == before
    assert_same(index, DocumentIndex.load(tmp_path / "more"), queries)


def test_foreign_paths_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such folder"):
        DocumentIndex.load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("{}")
    (tmp_path / "folder").mkdir()
    for path in ("file", "folder"):
        with pytest.raises(kexue.KexueValueError, match=f"{path}: not a document index"):
            DocumentIndex.load(tmp_path / path)
    for text, message in {
        "[]": "not of a document index",
        "3": "not of a document index",
        '{"format": "another", "version": 1}': "not of a document index",
        '{"format": "kexue-document-index", "version": 2}': "of version 2; kexue .* reads version 1",
        '{"format": "kexue-document-index"}': "of version None",
        '{"format": "kexue-document-index", "version": 1}': "damaged",
        "": "damaged",
        "[" * 100_000: "damaged",
        '{"a":' * 900 + "1" + "}" * 900: "damaged|not of a document index",
        "1" * 5000: "damaged",
    }.items():
        (tmp_path / "folder" / "index.json").write_text(text)
        with pytest.raises(kexue.KexueValueError, match=message):
            DocumentIndex.load(tmp_path / "folder")


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("kind", ["words", "contextual"])
def test_damaged_files(kind, mmap, tmp_path):
    index, queries = some_index(kind, "wrd")
    index.save(tmp_path / "index")
    files = sorted((tmp_path / "index").iterdir())
    assert len(files) == (10 if kind == "words" else 8)
    for file in files:
        content = file.read_bytes()
        header = content.index(b"\n") + 1
        damaged = [content[: len(content) // 2], b"", content[:5], content[:20], content[:-1], content + b"\0"]
        damaged += [content[header:], pickle.dumps([1, 2]), content.replace(b"NUMPY", b"numpy"), content[::-1]]
        damaged += [
            content.replace(one, two) for one, two in ((b"'<", b"'>"), (b"'|u1", b"'|i1"), (b"False", b"True "))
        ]
        for wrong in set(damaged) - {content}:
            file.write_bytes(wrong)
            with pytest.raises(kexue.KexueValueError, match=f"{file.name}: "):
                DocumentIndex.load(tmp_path / "index", mmap=mmap)
        file.unlink()
        with pytest.raises(kexue.KexueValueError, match="missing|there is no index.json"):
            DocumentIndex.load(tmp_path / "index", mmap=mmap)
        file.write_bytes(content)
    assert_same(index, DocumentIndex.load(tmp_path / "index", mmap=mmap), queries)


def test_flipped_bytes(tmp_path):
    index, queries = some_index("words", "wrd")
    index.save(tmp_path / "index")
    for file in sorted((tmp_path / "index").iterdir()):
        content = file.read_bytes()
        for place in range(0, len(content), 1 if file.name == "index.json" else 11):
            flipped = bytearray(content)
            flipped[place] ^= (0x01, 0x80)[place % 2]
            file.write_bytes(flipped)
            try:
                loaded = DocumentIndex.load(tmp_path / "index", mmap=False)
            except kexue.KexueValueError as error:
                assert file.name in str(error)
            else:  # blanks of NumPy's header
                assert file.name != "index.json" and place < 128
                assert_same(index, loaded, queries)
        file.write_bytes(content)


def forge(folder, name=None, array=None, **fields):
    """Change an array or fields of the manifest, and have all checksums right."""
    file = folder / "index.json"
    description = json.loads(file.read_bytes())
    del description["checksum"]
    if name is not None:
        np.save(folder / f"{name}.npy", array)
        description["checksums"][name] = _document_index_files._checksum(array)
    file.write_bytes(_document_index_files._manifest(description | fields))


def changed(array, place, value):
    array = array.copy()
    array[place] = value
    return array


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("offsets", lambda a: changed(a, 0, 1)),
        ("offsets", lambda a: changed(a, 3, 10**9)),
        ("offsets", lambda a: changed(a, 3, -1)),
        ("offsets", lambda a: changed(a, -1, a[-1] + 1)),
        ("offsets", lambda a: changed(a, -1, 2**62)),
        ("words", lambda a: changed(a, 5, 10**6)),
        ("words", lambda a: changed(a, 5, -1)),
        ("words", lambda a: changed(a, 1, a[0])),
        ("words", lambda a: changed(a, -1, a[-2])),
        ("used", lambda a: changed(a, 0, 20)),
        ("used", lambda a: changed(a, 0, -1)),
        ("used", lambda a: changed(a, 0, a[-1])),
        ("weights", lambda a: changed(a, 2, np.nan)),
        ("weights", lambda a: changed(a, 2, np.inf)),
        ("weights", lambda a: changed(a, 2, -0.1)),
        ("weights", lambda a: changed(a, 2, 0)),
        ("weights", lambda a: changed(a, slice(0, 4), 1e308)),
        ("weights", lambda a: a * 2),
        ("removed", lambda a: changed(a, 2, 2)),
        ("factors", lambda a: changed(a, 0, np.nan)),
        ("factors", lambda a: changed(a, 0, 0)),
        ("factors", lambda a: changed(a, 0, np.inf)),
        ("keys", lambda a: changed(a, 1, 0xFF)),
        ("keys", lambda a: changed(a, slice(0, 12), [*b"w\xc3\xb6rd1", *b"w\xc3\xb6rd1"])),
        ("key_offsets", lambda a: changed(a, 0, 1)),
        ("key_offsets", lambda a: changed(a, 3, 10**9)),
        ("vectors", lambda a: np.asfortranarray(a)),
        ("vectors", lambda a: a.astype(np.float64)),
        ("vectors", lambda a: a[:-1]),
        ("words", lambda a: a.astype(np.int64)),
        ("words", lambda a: a[:-1]),
        ("removed", lambda a: a.reshape(1, -1)),
        ("weights", lambda a: a.astype(object)),
    ],
)
def test_forged_arrays(name, change, mmap, tmp_path):
    # Damage that the checksums cannot find: nothing of it may reach the core.
    index, queries = some_index("words", "wrd")
    index.save(tmp_path / "index")
    forge(tmp_path / "index")
    assert_same(index, DocumentIndex.load(tmp_path / "index", mmap=mmap), queries)
    array = change(np.load(tmp_path / "index" / f"{name}.npy"))
    if array.dtype == object:
        np.save(tmp_path / "index" / f"{name}.npy", array, allow_pickle=True)
    else:
        forge(tmp_path / "index", name, array)
    with pytest.raises(kexue.KexueValueError, match="damaged"):
        DocumentIndex.load(tmp_path / "index", mmap=mmap)


SIZES = {"documents": 12, "words": 1, "entries": 1, "vocabulary": 20, "dimension": 3, "key_bytes": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"metric": "wcd"},
        {"metric": None},
        {"rms": 1},
        {"rms": True},
        {"empty": "nan"},
        {"kind": "strings"},
        {"kind": "array"},
        {"dtype": "int32"},
        {"dtype": "float64"},
        {"sizes": []},
        {"sizes": {}},
        {"sizes": SIZES},
        {"sizes": SIZES | {"documents": -1}},
        {"sizes": SIZES | {"documents": 12.0}},
        {"sizes": SIZES | {"documents": True}},
        {"sizes": SIZES | {"dimension": 0}},
        {"sizes": SIZES | {"documents": 2**70}},
        {"sizes": SIZES | {"entries": 2**61}},
        {"checksums": {}},
        {"checksums": None},
        {"another": 1},
    ],
)
def test_forged_manifest(fields, tmp_path):
    index, _ = some_index("words", "wrd")
    index.save(tmp_path / "index")
    forge(tmp_path / "index", **fields)
    with pytest.raises(kexue.KexueValueError, match="damaged"):
        DocumentIndex.load(tmp_path / "index")


def test_damaged_vectors_that_are_mapped(metric, tmp_path):
    index, queries = some_index("array", metric)
    index.save(tmp_path / "index")
    vectors = np.load(tmp_path / "index" / "vectors.npy", mmap_mode="r+")
    vectors[0] = np.nan
    vectors.flush()
    loaded = DocumentIndex.load(tmp_path / "index")
    row = np.eye(20)[:1]
    for call in (loaded.add, loaded.kneighbors):
        with pytest.raises(kexue.KexueValueError, match=r"^vectors\[0, 0\] is nan"):
            call(row)
    with pytest.raises(kexue.KexueValueError, match="vectors.npy: damaged"):
        DocumentIndex.load(tmp_path / "index", mmap=False)


# ---- the object ----


def test_attributes(metric, dtype):
    index = DocumentIndex(V.astype(dtype), metric).fit(COUNTS[1:3])
    assert repr(index) == f"DocumentIndex(2 documents, 2 words, 2 dimensions, {metric}, {dtype})"
    assert (index.n_documents, index.n_words, index.dimension, index.metric) == (2, 2, 2, metric)
    assert index.dtype == dtype
    assert repr(DocumentIndex(V, rms=True)) == "DocumentIndex(0 documents, 0 words, 2 dimensions, wmd, rms, float64)"
    assert repr(DocumentIndex(None)) == "DocumentIndex(0 documents, 0 tokens, wmd)"
    entries, words, documents = 3, 2, 2
    assert index.nbytes == V.astype(dtype).nbytes + entries * 12 + (documents + 1) * 8 + documents + words * (
        12 if metric == "wrd" else 4
    )


def test_vectors_are_not_copied(rng):
    vectors = rng.normal(size=(4, 6)).astype(np.float32)
    for given_vectors in (vectors, vectors[::2], vectors[:, :3], vectors[::-1]):
        assert np.shares_memory(DocumentIndex(given_vectors)._vectors, vectors)
    assert DocumentIndex(WORDS)._vectors is WORDS.vectors
    document = rng.normal(size=(3, 5))
    index = DocumentIndex(None).fit([document])
    before = index.kneighbors([np.zeros((1, 5))])[0]
    document[:] = 0  # contextual vectors are the index's own
    np.testing.assert_array_equal(index.kneighbors([np.zeros((1, 5))])[0], before)


def test_copies_are_independent():
    index = DocumentIndex(V).fit(COUNTS)
    for other in (copy.copy(index), copy.deepcopy(index)):
        other.add([[0, 1, 0, 0]])
        other.remove([0, 1])
        assert (len(index), len(other)) == (5, 4)
        index.add([[1, 0, 0, 0]])  # the same number, another document
        assert index.kneighbors([[0, 1, 0, 0]], 6)[0][0, 0] > 0
        index = DocumentIndex(V).fit(COUNTS)


# ---- progress, threads, processes ----


def test_progress(capfd, metric, rng):
    counts, vectors = corpus(rng, documents=400)
    index = DocumentIndex(vectors, metric).fit(counts)
    index.kneighbors(counts[:40], workers=2)
    assert capfd.readouterr().err == ""
    for search in (index.kneighbors, index.search, lambda X, **options: index.radius_neighbors(X, 0.1, **options)):
        search(counts[:40], workers=2, progress=True)
        last = capfd.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
        assert f"{metric}: 100%" in last
        done, total = last.split("|")[2].split("[")[0].strip().split("/")
        assert done == total


def test_many_threads_at_once(metric, rng):
    counts, vectors = corpus(rng, documents=300)
    expected = DocumentIndex(vectors, metric).fit(counts).kneighbors(counts[:10], 10, workers=1)
    index = DocumentIndex(vectors, metric)
    for row in counts:  # so that the first searches find what has yet to be joined
        index.add(row[None])
    barrier = threading.Barrier(6)

    def search(number):
        barrier.wait()
        return index.kneighbors(counts[:10], 10, workers=1 + number % 3)

    with ThreadPoolExecutor(6) as pool:
        for found in pool.map(search, range(6)):
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", ["workers=1", "workers=2", "workers=2, progress=True"])
def test_interrupt(options, tmp_path):
    script = tmp_path / "interrupt.py"
    script.write_text(
        f"""
import json, os, signal, threading, time
import numpy as np, kexue
from scipy import sparse
rng = np.random.default_rng(0)
vectors = rng.normal(size=(8000, 200)).astype(np.float32)
counts = sparse.random_array((20000, 8000), density=0.004, rng=rng, format="csr")
index = kexue.DocumentIndex(vectors).fit(counts)
expected = index.kneighbors(counts[:1], 3)
sent = []
def interrupt():
    time.sleep(0.5)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=interrupt)
thread.start()
error = latency = None
try:
    index.kneighbors(counts[:5000], 20000, {options})
except BaseException as caught:
    error, latency = type(caught).__name__, time.perf_counter() - sent[0]
thread.join()
again = index.kneighbors(counts[:1], 3)
print(json.dumps([error, latency, all((a == b).all() for a, b in zip(again, expected))]))
"""
    )
    done = subprocess.run([sys.executable, "-W", "ignore", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    error, latency, sound = json.loads(done.stdout.splitlines()[-1])
    assert error == "KeyboardInterrupt"
    assert latency < 2
    assert sound


def test_interrupt_of_many_short_queries():
    """No query lasts as long as the pause between two looks at the signals; the whole call would take a minute."""
    script = """
import os, signal, threading, time
import numpy as np
from scipy import sparse
import kexue
rng = np.random.default_rng(0)
vectors = rng.normal(size=(5000, 100)).astype(np.float32)
words = rng.integers(5000, size=(20000, 15))
counts = sparse.csr_array((np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 15)), shape=(20000, 5000))
counts.sum_duplicates()
index = kexue.DocumentIndex(vectors).fit(counts)
for workers in (1, 2):
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    done = False
    try:
        index.kneighbors(counts, 10, workers=workers)
        done = True
    except KeyboardInterrupt:
        pass
    assert not done
    assert index.kneighbors(counts[:1], 1)[1].shape == (1, 1)
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=25)


def test_memory(rng):
    """At most 1.5 times the vectors and the counts, what a search needs included."""
    vectors = rng.normal(size=(20_000, 300)).astype(np.float32)
    words = rng.integers(20_000, size=(20_000, 20))
    counts = sparse.csr_array(
        (np.ones(words.size), words.ravel(), np.arange(0, words.size + 1, 20)), shape=(20_000, 20_000)
    )
    counts.sum_duplicates()
    tracemalloc.start()
    try:
        index = DocumentIndex(vectors).fit(counts)
        index.kneighbors(counts[:8], 10, workers=1)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    given = vectors.nbytes + counts.data.nbytes + counts.indices.nbytes + counts.indptr.nbytes
    assert vectors.nbytes + peak <= 1.5 * given
