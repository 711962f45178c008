"""Over Dask, the neighbours of documents in partitions, saved ones too, are those of one index, to the bit."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import kexue
import kexue.dask
from kexue import DocumentIndex, KexueValueError

pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    VOCABULARY,
    as_delayed,
    as_lists,
    assert_same_neighbours,
    documents,
    nearest,
    together,
)

pytestmark = pytest.mark.timeout(180)


@st.composite
def partitioned(draw):
    """Few words and small integers as vectors, so that many distances are equal."""
    rows = st.lists(st.integers(0, 2), min_size=4, max_size=4).filter(any)
    table = draw(st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=4, max_size=4))
    corpus, queries = (sparse.csr_array(draw(st.lists(rows, min_size=1, max_size=12))) for _ in range(2))
    cuts = sorted(draw(st.lists(st.integers(0, corpus.shape[0]), max_size=5)))
    blocks = [corpus[a:b] for a, b in itertools.pairwise([0, *cuts, corpus.shape[0]])]
    cut = draw(st.integers(0, queries.shape[0]))
    return np.array(table), corpus, blocks, queries, [queries[:cut], queries[cut:]]


@settings(max_examples=60, deadline=None)
@given(partitioned(), st.integers(1, 14), st.integers(1, 7), st.sampled_from([np.float32, np.float64]))
def test_neighbours_do_not_depend_on_the_partitions(problem, k, wave, dtype):
    table, corpus, blocks, queries, query_blocks = problem
    vectors = table.astype(dtype)
    result = kexue.dask.kneighbors(query_blocks, blocks, k, vectors=vectors, wave=wave)
    result = dask.compute(*result, scheduler="synchronous")
    assert_same_neighbours(result, nearest(queries, corpus, vectors, k))
    assert_same_neighbours(result, DocumentIndex(vectors).fit(corpus).kneighbors(queries, k))


@pytest.mark.parametrize("options", [{"metric": "wrd"}, {"rms": True}], ids=["wrd", "rms"])
@pytest.mark.parametrize("wave", [None, 1, 3])
def test_neighbours_are_those_of_one_index(options, wave, scheduler, queries, blocks, vectors):
    result = kexue.dask.kneighbors(queries, blocks, 7, vectors=vectors, wave=wave, **options)
    assert all(isinstance(array, da.Array) and array.chunks == ((3, 2), (7,)) for array in result)
    index = DocumentIndex(vectors, options.get("metric", "wmd"), rms=options.get("rms", False)).fit(together(blocks))
    assert_same_neighbours(dask.compute(*result), index.kneighbors(together(queries), 7))


def test_many_partitions(scheduler, rng, vectors):
    blocks = [documents(rng, int(count)) for count in rng.integers(0, 3, size=30)]
    query = documents(rng, 2)
    for wave in (1, 8, 30):
        result = kexue.dask.kneighbors(query, blocks, 6, vectors=vectors, wave=wave, compute=True)
        assert_same_neighbours(result, nearest(query, together(blocks), vectors, 6))


def test_the_lower_number_comes_first_across_partitions(scheduler, rng, vectors):
    block = documents(rng, 3)
    for wave in (1, 2, 4):
        distances, indices = kexue.dask.kneighbors(block[:1], [block] * 4, 6, vectors=vectors, wave=wave, compute=True)
        assert indices[0, :4].tolist() == [0, 3, 6, 9]
        assert (distances[0, :4] == 0).all()
        assert_same_neighbours((distances, indices), nearest(block[:1], together([block] * 4), vectors, 6))


@pytest.mark.parametrize("given_form", [as_lists, as_delayed])
def test_empty_documents_can_be_skipped(given_form, scheduler, rng, queries, blocks, vectors):
    nothing = sparse.csr_array((2, VOCABULARY))
    blocks = [nothing, together([blocks[0], nothing]), blocks[3], nothing]
    queries = [nothing, together([queries[0], nothing])]
    index = DocumentIndex(vectors, empty="skip").fit(together(blocks))
    for k, wave in itertools.product((4, 30), (1, 3)):
        result = kexue.dask.kneighbors(
            given_form(queries), given_form(blocks), k, vectors=vectors, empty="skip", wave=wave, compute=True
        )
        assert_same_neighbours(result, index.kneighbors(together(queries), k))
        assert (result[1][:2] == -1).all()


def test_no_queries(blocks, vectors):
    distances, indices = kexue.dask.kneighbors(
        sparse.csr_array((0, VOCABULARY)), blocks, 3, vectors=vectors, compute=True
    )
    assert distances.shape == indices.shape == (0, 3)


@pytest.fixture
def searches(monkeypatch):
    """(documents, limits, workers, stats) of every search of an index."""
    calls = []
    original = DocumentIndex._search

    def spy(self, X, k, limits, workers, progress, weights):
        result = original(self, X, k, limits, workers, progress, weights)
        calls.append((len(self), limits, workers, result[1]))
        return result

    monkeypatch.setattr(DocumentIndex, "_search", spy)
    return calls


def test_the_best_so_far_limits_the_next_wave(rng, vectors, searches):
    blocks, query = [documents(rng, count) for count in (40, 2, 50, 60)], documents(rng, 3)
    result = kexue.dask.kneighbors(query, blocks, 4, vectors=vectors, wave=2)
    dask.compute(*result, scheduler="synchronous")
    limits = {length: limit for length, limit, _, _ in searches}
    assert len(searches) == 4
    assert limits[40] is None and limits[2] is None
    expected = nearest(query, together(blocks[:2]), vectors, 4)[0][:, -1]
    for length in (50, 60):
        np.testing.assert_array_equal(limits[length], expected.astype(np.float64))
    alone = DocumentIndex(vectors).fit(blocks[3]).kneighbors(query, 4, stats=True)[2]
    limited = next(stats for length, _, _, stats in searches if length == 60)
    assert limited.exact.sum() < alone.exact.sum()


def test_there_is_no_limit_as_long_as_k_are_not_found(rng, vectors, searches):
    blocks, query = [documents(rng, count) for count in (2, 3, 4)], documents(rng, 3)
    result = kexue.dask.kneighbors(query, blocks, 5, vectors=vectors, wave=1)
    dask.compute(*result, scheduler="synchronous")
    assert {length: None if limit is None else np.isinf(limit).all() for length, limit, _, _ in searches} == {
        2: None,
        3: True,
        4: False,
    }


def test_both_results_take_one_search(queries, blocks, vectors, searches):
    result = kexue.dask.kneighbors(queries, blocks, vectors=vectors)
    dask.compute(*result, scheduler="synchronous")
    assert len(searches) == 2 * 3  # a block without documents is not searched


@pytest.mark.parametrize(("given_workers", "expected"), [({}, 1), ({"workers": 2}, 2), ({"workers": None}, None)])
def test_workers_of_a_task(given_workers, expected, queries, blocks, vectors, searches, monkeypatch):
    seen = []
    original = kexue.pairwise_distances
    with dask.config.set(scheduler="synchronous"):
        kexue.dask.kneighbors(queries, blocks, vectors=vectors, compute=True, **given_workers)
        distances = kexue.dask.pairwise_distances(queries, blocks, vectors=vectors, **given_workers)
        monkeypatch.setattr(
            kexue,
            "pairwise_distances",
            lambda *documents, **options: seen.append(options["workers"]) or original(*documents, **options),
        )
        distances.compute()
    assert {workers for _, _, workers, _ in searches} == {expected} == set(seen)


# ---- saved indexes ----


@pytest.mark.parametrize("wave", [None, 1, 3])
def test_saved_indexes(wave, scheduler, queries, blocks, vectors, folders):
    for k in (4, 30):
        result = kexue.dask.kneighbors(queries, folders, k, wave=wave)
        assert all(array.chunks == ((3, 2), (min(k, 16),)) for array in result)
        assert_same_neighbours(dask.compute(*result), nearest(together(queries), together(blocks), vectors, k))
    alone = kexue.dask.kneighbors(queries, str(folders[3]), 4, wave=wave, compute=True)
    assert_same_neighbours(alone, nearest(together(queries), blocks[3], vectors, 4))


def test_saved_indexes_with_removed_documents(scheduler, queries, blocks, vectors, folders):
    whole = DocumentIndex(vectors).fit(together(blocks))
    for path, first, removed in ((folders[0], 0, [1, 5]), (folders[2], 6, [0])):
        index = DocumentIndex.load(path, mmap=False)
        index.remove(removed)
        index.save(path)
        whole.remove(first + np.array(removed))
    for k in (4, 30):
        result = kexue.dask.kneighbors(queries, folders, k, wave=1, compute=True)
        assert_same_neighbours(result, whole.kneighbors(together(queries), k))


def test_an_index_that_is_saved_anew_is_opened_anew(scheduler, queries, blocks, vectors, folders):
    kexue.dask.kneighbors(queries, folders[0], 3, compute=True)
    DocumentIndex(vectors).fit(blocks[3]).save(folders[0])
    result = kexue.dask.kneighbors(queries, folders[0], 3, compute=True)
    assert_same_neighbours(result, nearest(together(queries), blocks[3], vectors, 3))


def test_saved_indexes_must_fit_together(queries, blocks, vectors, folders, tmp_path):
    for change, options, message in [
        ({"metric": "wrd"}, {}, "metric is 'wmd', but corpus[1] is an index with 'wrd'"),
        ({"rms": True}, {}, "rms is False, but corpus[1] is an index with True"),
        ({}, {"metric": "wrd"}, "metric is 'wrd', but corpus[0] is an index with 'wmd'"),
    ]:
        DocumentIndex(vectors, **change).fit(blocks[3]).save(tmp_path / "other")
        with pytest.raises(KexueValueError) as caught:
            kexue.dask.kneighbors(queries, [folders[0], tmp_path / "other"], **options)
        assert message in str(caught.value)
    other = np.float64 if vectors.dtype == np.float32 else np.float32
    DocumentIndex(vectors.astype(other)).fit(blocks[3]).save(tmp_path / "other")
    with pytest.raises(KexueValueError, match=r"corpus\[1\] have dtype"):
        kexue.dask.kneighbors(queries, [folders[0], tmp_path / "other"])
    DocumentIndex(np.vstack([vectors, vectors])).fit(documents(np.random.default_rng(0), 2, 80)).save(
        tmp_path / "other"
    )
    with pytest.raises(KexueValueError, match=r"corpus\[1\] have shape \(80, 5\), but those of corpus\[0\] \(40, 5\)"):
        kexue.dask.kneighbors(queries, [folders[0], tmp_path / "other"])
    DocumentIndex(None).fit([vectors]).save(tmp_path / "other")
    with pytest.raises(KexueValueError, match=r"corpus\[1\] is an index of contextual vectors"):
        kexue.dask.kneighbors(queries, [folders[0], tmp_path / "other"])
    with pytest.raises(KexueValueError, match="vectors must be None"):
        kexue.dask.kneighbors(queries, folders, vectors=vectors)
    with pytest.raises(TypeError, match=r"corpus\[1\] must be a path"):
        kexue.dask.kneighbors(queries, [folders[0], blocks[0]])
    with pytest.raises(FileNotFoundError):
        kexue.dask.kneighbors(queries, tmp_path / "missing")
    with pytest.raises(KexueValueError, match="corpus has no documents"):
        kexue.dask.kneighbors(queries, folders[1])
