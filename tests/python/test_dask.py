"""Over Dask, documents in blocks have the distances and neighbours of one piece, to the bit; points have its HSIC,
rows its random projection."""

import asyncio
import itertools
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import kexue
import kexue.dask
from kexue import DocumentIndex, KexueValueError, WordVectors

dask = pytest.importorskip("dask")
distributed = pytest.importorskip("distributed")
import dask.array as da  # noqa: E402
from dask.callbacks import Callback  # noqa: E402

pytestmark = pytest.mark.timeout(180)

VOCABULARY, DIMENSION = 40, 5


def documents(rng, count, vocabulary=VOCABULARY, words=5):
    columns = rng.integers(vocabulary, size=(count, words))
    rows = np.repeat(np.arange(count), words)
    return sparse.csr_array((np.ones(rows.size), (rows, columns.ravel())), shape=(count, vocabulary))


def together(blocks):
    return sparse.csr_array(sparse.vstack(blocks))


def assert_same(result, expected):
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected, strict=True)


def assert_same_neighbours(result, expected):
    for array, wanted in zip(result, expected, strict=True):
        assert isinstance(array, np.ndarray)
        assert_same(array, wanted)


def nearest(queries, corpus, vectors, k, **options):
    """By all distances."""
    distances = kexue.pairwise_distances(queries, corpus, vectors=vectors, **options)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, order, axis=1), order


@pytest.fixture
def vectors(rng, dtype):
    return rng.normal(size=(VOCABULARY, DIMENSION)).astype(dtype)


@pytest.fixture
def blocks(rng):
    return [documents(rng, count) for count in (6, 0, 1, 9)]


@pytest.fixture
def queries(rng):
    return [documents(rng, count) for count in (3, 2)]


@pytest.fixture(params=["synchronous", "threads"])
def scheduler(request):
    with dask.config.set(scheduler=request.param):
        yield request.param


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, processes=True, threads_per_worker=1, dashboard_address=":0", worker_dashboard_address=":0"
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        yield client


# ---- distances ----


@pytest.mark.parametrize("metric", ["wmd", "wrd", "wcd", "rwmd"])
def test_distances_are_those_of_one_piece(metric, scheduler, queries, blocks, vectors):
    distances = kexue.dask.pairwise_distances(queries, blocks, vectors=vectors, metric=metric)
    assert isinstance(distances, da.Array)
    assert distances.chunks == ((3, 2), (6, 0, 1, 9))
    expected = kexue.pairwise_distances(together(queries), together(blocks), vectors=vectors, metric=metric)
    assert distances.dtype == expected.dtype
    assert_same(distances.compute(), expected)
    assert_same(distances[1:4, ::3].compute(), expected[1:4, ::3])


@pytest.mark.parametrize("metric", ["wmd", "wrd", "wcd", "rwmd"])
def test_distances_within_are_those_of_one_piece(metric, scheduler, blocks, vectors):
    distances = kexue.dask.pairwise_distances(blocks, vectors=vectors, metric=metric, compute=True)
    assert isinstance(distances, np.ndarray)
    assert_same(distances, kexue.pairwise_distances(together(blocks), vectors=vectors, metric=metric))


def test_entropic_distances_within_are_those_of_one_piece(scheduler, blocks, vectors):
    options = {"vectors": vectors, "metric": "sinkhorn", "reg": 0.5, "tol": 1e-8, "empty": "nan"}
    result = kexue.dask.pairwise_distances(blocks, **options)
    assert_same(result.compute(), kexue.pairwise_distances(sparse.vstack(blocks, format="csr"), **options))
    with pytest.raises(kexue.KexueValueError, match="needs reg"):
        kexue.dask.pairwise_distances(blocks, vectors=vectors, metric="sinkhorn")


def test_blocks_below_the_diagonal_are_transposes(blocks, vectors, monkeypatch):
    solved = []
    original = kexue.pairwise_distances

    def spy(X, Y=None, **options):
        solved.append((X.shape[0], None if Y is None else Y.shape[0]))
        return original(X, Y, **options)

    distances = kexue.dask.pairwise_distances(blocks, vectors=vectors)
    monkeypatch.setattr(kexue, "pairwise_distances", spy)
    distances.compute(scheduler="synchronous")
    lengths = [block.shape[0] for block in blocks]
    above = itertools.combinations(lengths, 2)
    assert sorted(solved, key=str) == sorted([*((n, None) for n in lengths), *above], key=str)


@pytest.mark.parametrize("empty", ["nan", "inf"])
def test_options_reach_the_tasks(empty, blocks, vectors):
    blocks[1] = sparse.csr_array((2, VOCABULARY))
    options = {"vectors": vectors, "rms": True, "empty": empty}
    distances = kexue.dask.pairwise_distances(blocks, **options).compute(scheduler="synchronous")
    assert_same(distances, kexue.pairwise_distances(together(blocks), **options))


# ---- what documents and vectors may be ----


def as_lists(blocks):
    return blocks


def as_tuple_of_matrices(blocks):
    return tuple(sparse.csr_matrix(block) for block in blocks)


def as_arrays(blocks):
    return [block.toarray() for block in blocks]


def as_delayed(blocks):
    return [dask.delayed(block) for block in blocks]


def as_mixed(blocks):
    return [dask.delayed(block) if i % 2 else block for i, block in enumerate(blocks)]


def as_one(blocks):
    return together(blocks)


def as_dense_chunks(blocks):
    return da.from_array(together(blocks).toarray(), chunks=(4, VOCABULARY))


def as_sparse_chunks(blocks):
    return as_dense_chunks(blocks).map_blocks(sparse.csr_array)


def as_chunks_of_columns(blocks):
    return da.from_array(together(blocks).toarray(), chunks=(4, 15))


def as_sparse_chunks_of_columns(blocks):
    return as_chunks_of_columns(blocks).map_blocks(sparse.csr_array)


def as_chunks_of_unknown_length(blocks):
    parts = [da.from_delayed(dask.delayed(block), (np.nan, VOCABULARY), dtype=float) for block in blocks]
    return da.concatenate(parts)


FORMS = [
    as_lists,
    as_tuple_of_matrices,
    as_arrays,
    as_delayed,
    as_mixed,
    as_one,
    as_dense_chunks,
    as_sparse_chunks,
    as_chunks_of_columns,
    as_sparse_chunks_of_columns,
    as_chunks_of_unknown_length,
]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_documents(form, scheduler, queries, blocks, vectors):
    x, y = together(queries), together(blocks)
    distances = kexue.dask.pairwise_distances(form(queries), form(blocks), vectors=vectors)
    assert_same(distances.compute(), kexue.pairwise_distances(x, y, vectors=vectors))
    neighbours = kexue.dask.kneighbors(form(queries), form(blocks), 4, vectors=vectors, wave=1, compute=True)
    assert_same_neighbours(neighbours, nearest(x, y, vectors, 4))


@pytest.mark.parametrize("form", FORMS)
def test_known_shapes_are_told(form, queries, blocks, vectors):
    distances, indices = kexue.dask.kneighbors(form(queries), form(blocks), 40, vectors=vectors)
    unknown = form in (as_delayed, as_mixed, as_chunks_of_unknown_length)
    shape = (np.nan, np.nan) if unknown else (5, 16)
    np.testing.assert_array_equal(distances.shape, shape)
    np.testing.assert_array_equal(indices.shape, shape)
    assert distances.dtype == vectors.dtype and indices.dtype == np.int64


def test_forms_of_vectors(scheduler, queries, blocks, vectors, tmp_path):
    np.save(tmp_path / "vectors.npy", vectors)
    words = WordVectors([f"word{i}" for i in range(VOCABULARY)], vectors)
    words.save(tmp_path / "words.npz")
    single = vectors.astype(np.float32)
    for given_vectors, used in [
        (vectors.tolist(), vectors.astype(np.float64)),
        (tmp_path / "vectors.npy", vectors),
        (str(tmp_path / "vectors.npy"), vectors),
        (np.load(tmp_path / "vectors.npy", mmap_mode="r"), vectors),
        (dask.delayed(vectors), vectors),
        (words, single),
        (tmp_path / "words.npz", single),
        (vectors.astype(np.float16), vectors.astype(np.float16).astype(np.float32)),
        ((vectors * 10).astype(int), (vectors * 10).astype(int).astype(np.float64)),
    ]:
        distances = kexue.dask.pairwise_distances(queries, blocks, vectors=given_vectors)
        expected = kexue.pairwise_distances(together(queries), together(blocks), vectors=used)
        assert distances.dtype == expected.dtype
        assert_same(distances.compute(), expected)
        neighbours = kexue.dask.kneighbors(queries, blocks, 3, vectors=given_vectors, compute=True)
        assert_same_neighbours(neighbours, nearest(together(queries), together(blocks), used, 3))


def test_a_file_that_is_written_anew_is_read_anew(queries, blocks, vectors, tmp_path):
    for scale in (1, 3):
        np.save(tmp_path / "new.npy", scale * vectors)
        (tmp_path / "new.npy").rename(tmp_path / "vectors.npy")
        distances = kexue.dask.pairwise_distances(queries, blocks, vectors=tmp_path / "vectors.npy", compute=True)
        expected = kexue.pairwise_distances(together(queries), together(blocks), vectors=scale * vectors)
        assert_same(distances, expected)


def test_nothing_is_changed(queries, blocks, vectors, untouched):
    arrays = [array for block in queries + blocks for array in (block.data, block.indices, block.indptr)]
    with untouched(vectors, *arrays):
        kexue.dask.pairwise_distances(queries, blocks, vectors=vectors, compute=True)
        kexue.dask.kneighbors(queries, blocks, vectors=vectors, compute=True)


# ---- neighbours ----


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


@pytest.fixture
def folders(blocks, vectors, tmp_path):
    paths = [tmp_path / str(i) for i in range(len(blocks))]
    for path, block in zip(paths, blocks, strict=True):
        DocumentIndex(vectors).fit(block).save(path)
    return paths


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


# ---- lazy, and the same for any chunks ----


@pytest.fixture
def tasks_run():
    """The keys of all tasks that run here."""
    keys = []
    with Callback(pretask=lambda key, graph, state: keys.append(key)):
        yield keys


LAZY = {
    "pairwise_distances": lambda X, vectors: kexue.dask.pairwise_distances(X, X, vectors=vectors),
    "pairwise_distances, within": lambda X, vectors: kexue.dask.pairwise_distances(X, vectors=vectors),
    "kneighbors": lambda X, vectors: kexue.dask.kneighbors(X, X, 4, vectors=vectors, wave=2),
    "hsic": lambda X, vectors: kexue.dask.hsic(X, X),
    "random_projection": lambda X, vectors: kexue.dask.random_projection(X, 3, kind="srht", rng=0),
}
EAGER = {
    "pairwise_distances": lambda X, vectors: kexue.pairwise_distances(X, X, vectors=vectors),
    "pairwise_distances, within": lambda X, vectors: kexue.pairwise_distances(X, vectors=vectors),
    "kneighbors": lambda X, vectors: DocumentIndex(vectors).fit(X).kneighbors(X, 4),
    "hsic": lambda X, vectors: kexue.hsic(X, X),
    "random_projection": lambda X, vectors: kexue.random_projection(X, 3, kind="srht", rng=0),
}
functions = pytest.mark.parametrize("name", LAZY)


def as_tuple(result):
    return result if isinstance(result, tuple) else (result,)


@functions
def test_nothing_is_computed_before_it_is_asked_for(name, queries, blocks, vectors, tasks_run):
    looked_at = []

    def look(block):
        looked_at.append(block.shape)
        return block

    table = together([*queries, *blocks]).toarray()
    X = da.from_array(table, chunks=(5, 15)).map_blocks(look, meta=np.empty((0, 0)))
    forms = [X, X.map_blocks(sparse.csr_array)]
    if name != "random_projection":  # which needs to know the columns
        forms.append([dask.delayed(look)(table[i : i + 5]) for i in range(0, len(table), 5)])
    looked_at.clear()
    for form in forms if name != "hsic" else forms[::2]:
        results = as_tuple(LAZY[name](form, vectors))
        follows = [(result * 2).sum() for result in results]
        assert (looked_at, tasks_run) == ([], [])
        for result, following, wanted in zip(results, follows, as_tuple(EAGER[name](table, vectors)), strict=True):
            assert isinstance(result._meta, np.ndarray) and result._meta.dtype == result.dtype
            computed = result.compute(scheduler="synchronous")
            assert (np.asarray(computed).dtype, np.ndim(computed)) == (result.dtype, result.ndim)
            np.testing.assert_allclose(computed, wanted, rtol=1e-11 if name == "hsic" else 0)
            assert following.compute(scheduler="synchronous") == pytest.approx(2 * np.sum(wanted), rel=1e-4)
        assert looked_at and tasks_run
        looked_at.clear()
        tasks_run.clear()


@st.composite
def chunkings(draw):
    """How 17 rows can be split: blocks of one row and of none are likely."""
    cuts = sorted(draw(st.lists(st.integers(0, 17), max_size=7)))
    lengths = tuple(int(length) for length in np.diff([0, *cuts, 17]))
    return lengths, draw(st.sampled_from([(40,), (15, 25), (1, 38, 1)]))


@functions
@settings(max_examples=25, deadline=None)
@given(chunks=chunkings(), form=st.sampled_from(["dense", "sparse", "list", "unknown"]))
def test_any_chunks_give_the_same(name, chunks, form):
    rng = np.random.default_rng(3)
    table, vectors = documents(rng, 17).toarray(), rng.normal(size=(VOCABULARY, DIMENSION))
    X = da.from_array(table, chunks=chunks)
    if form == "list":
        ends = np.cumsum(chunks[0])
        X = [table[end - length : end] for end, length in zip(ends, chunks[0], strict=True)]
    elif form == "sparse" and name != "hsic":
        X = X.map_blocks(sparse.csr_array)
    elif form == "unknown":
        X = X[da.ones(17, chunks=(chunks[0],)) > 0]
    results = dask.compute(*as_tuple(LAZY[name](X, vectors)), scheduler="synchronous")
    for result, wanted in zip(results, as_tuple(EAGER[name](table, vectors)), strict=True):
        np.testing.assert_allclose(result, wanted, rtol=1e-11 if name == "hsic" else 0, strict=name != "hsic")


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sparse", "countsketch", "osnap"])
@settings(max_examples=10, deadline=None)
@given(chunks=chunkings())
def test_projections_of_any_chunks(kind, chunks):
    """To the bit, but for "gaussian", where matrix products of other shapes round in another order."""
    X = np.random.default_rng(3).normal(size=(17, 40))
    lazy = kexue.dask.random_projection(da.from_array(X, chunks=chunks), 6, kind=kind, rng=3)
    expected = kexue.random_projection(X, 6, kind=kind, rng=3)
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if kind == "gaussian" else {"rtol": 0}
    np.testing.assert_allclose(lazy.compute(scheduler="synchronous"), expected, **tolerance)


def test_all_chunks_without_rows(vectors):
    X, one = da.zeros((0, VOCABULARY)), da.ones((1, VOCABULARY))
    assert kexue.dask.pairwise_distances(X, one, vectors=vectors).compute(scheduler="synchronous").shape == (0, 1)
    assert kexue.dask.pairwise_distances(X, vectors=vectors).compute(scheduler="synchronous").shape == (0, 0)
    assert kexue.dask.kneighbors(X, one, vectors=vectors)[1].compute(scheduler="synchronous").shape == (0, 1)
    assert kexue.dask.random_projection(X, 3).compute(scheduler="synchronous").shape == (0, 3)
    with pytest.raises(KexueValueError, match="corpus has no documents"):
        kexue.dask.kneighbors(one, X, vectors=vectors)


def test_hsic_of_blocks_of_unknown_length_that_do_not_fit(points):
    X, Y = (array[array[:, 0] < np.inf] for array in in_other_chunks(points))
    with pytest.raises(KexueValueError, match="X has 3 blocks and Y has 5"):
        kexue.dask.hsic(X, Y)
    Y = in_chunks(points)[1]
    with pytest.raises(KexueValueError, match="X has 3 blocks and Y has 4"):
        kexue.dask.hsic(X, Y)


def test_what_a_task_is_sent_is_small(blocks, queries, vectors):
    """Not the vectors or blocks, which are inputs of their own."""
    lazy = [
        kexue.dask.pairwise_distances(queries, blocks, vectors=vectors),
        kexue.dask.kneighbors(queries, blocks, vectors=vectors)[0],
        kexue.dask.hsic([block.toarray() for block in blocks], [block.toarray() for block in blocks]),
        kexue.dask.random_projection(blocks, 3),
    ]
    for array in lazy:
        tasks = {key: task for key, task in dict(array.__dask_graph__()).items() if isinstance(task, tuple)}
        assert tasks
        for task in tasks.values():
            again = cloudpickle.loads(cloudpickle.dumps(task))
            assert len(again) == len(task)
            assert len(cloudpickle.dumps(task)) < 1500


# ---- errors ----


def test_errors_that_need_no_task(queries, blocks, vectors):
    cube = np.zeros((2, 2, 2))
    for function, arguments in (
        (kexue.dask.pairwise_distances, (queries, blocks)),
        (kexue.dask.kneighbors, (queries, blocks)),
    ):
        name = "Y" if function is kexue.dask.pairwise_distances else "corpus"
        for options, message in [
            ({"metric": "euclid"}, "metric must be"),
            ({"empty": "ignore"}, "empty must be"),
            ({"metric": "wrd", "rms": True}, "rms"),
            ({"workers": 0}, "workers"),
            ({"vectors": vectors[0]}, "vectors must have 2 dimensions"),
        ]:
            with pytest.raises(KexueValueError, match=message):
                function(*arguments, **{"vectors": vectors} | options)
        for bad, error, message in [
            ([], KexueValueError, f"{name} has no blocks"),
            ([blocks[0], cube], KexueValueError, rf"{name}\[1\] must have 2 dimensions"),
            (cube, KexueValueError, f"{name} must have 2 dimensions"),
            (da.zeros(3), KexueValueError, f"{name} must have 2 dimensions"),
            ([["word", "word"]], TypeError, rf"{name}\[0\] must be documents x vocabulary"),
            (3, TypeError, f"{name} must be documents x vocabulary"),
        ]:
            with pytest.raises(error, match=message):
                function(queries, bad, vectors=vectors)
        with pytest.raises(FileNotFoundError):
            function(*arguments, vectors="missing.npy")
    for options, error, message in [
        ({"n_neighbors": 0}, KexueValueError, "n_neighbors must be at least 1, got 0"),
        ({"n_neighbors": 1.5}, TypeError, "n_neighbors must be an integer"),
        ({"wave": 0}, KexueValueError, "wave must be at least 1, got 0"),
        ({"vectors": None}, KexueValueError, "vectors must be given"),
    ]:
        with pytest.raises(error, match=message):
            kexue.dask.kneighbors(queries, blocks, **{"vectors": vectors} | options)
    with pytest.raises(KexueValueError, match="corpus has no documents"):
        kexue.dask.kneighbors(queries, [blocks[1], blocks[1]], vectors=vectors)


def bad_blocks(blocks):
    return [*blocks[:2], sparse.csr_array(np.eye(2, VOCABULARY) * [[1], [0]])]


def check_errors_of_tasks(queries, blocks, vectors):
    """With `bad_blocks`, whose last document is empty."""
    distances = kexue.dask.pairwise_distances(queries, blocks, vectors=vectors)
    with pytest.raises(KexueValueError, match=r"block \d of X with block 2 of Y: document 1 of Y is empty"):
        distances.compute()
    with pytest.raises(KexueValueError, match=r"block \d of X.*: document 1 of [XY] is empty"):
        kexue.dask.pairwise_distances(blocks, vectors=vectors, compute=True)
    result = kexue.dask.kneighbors(queries, blocks, vectors=vectors)
    with pytest.raises(KexueValueError, match=r"partition 2 of corpus: X\[1\] is empty"):
        dask.compute(*result)
    result = kexue.dask.kneighbors(blocks[1:], queries, vectors=vectors)
    with pytest.raises(KexueValueError, match=r"block 1 of X: X\[1\] is empty"):
        dask.compute(*result)
    with pytest.raises(KexueValueError, match="partition 1 of corpus: X has 3 columns"):
        kexue.dask.kneighbors(queries, [queries[0], np.ones((2, 3))], vectors=vectors, compute=True)
    with pytest.raises(TypeError, match="block 0 of X must be documents x vocabulary"):
        kexue.dask.kneighbors([dask.delayed("text")], queries, vectors=vectors, compute=True)
    with pytest.raises(KexueValueError, match="corpus has no documents"):
        kexue.dask.kneighbors(queries, as_delayed(blocks[1:2]), vectors=vectors, compute=True)


def test_errors_of_tasks(scheduler, queries, blocks, vectors):
    check_errors_of_tasks(queries, bad_blocks(blocks), vectors)


# ---- HSIC ----


@pytest.fixture
def points(rng):
    X = rng.normal(size=(70, 3))
    return X, np.tanh(X[:, :1]) + rng.normal(size=(70, 2))


def in_chunks(points):
    return [da.from_array(array, chunks=(20, array.shape[1])) for array in points]


def in_chunks_of_columns(points):
    return [da.from_array(array, chunks=(20, 1)) for array in points]


def in_other_chunks(points):
    return [da.from_array(array, chunks=(rows, 2)) for array, rows in zip(points, (30, 16), strict=True)]


def in_lists(points):
    return [[array[:1], array[1:1], array[1:50], array[50:]] for array in points]


def in_delayed_lists(points):
    return [[dask.delayed(block) for block in blocks] for blocks in in_lists(points)]


def in_chunks_of_unknown_length(points):
    return [array[array[:, 0] < np.inf] for array in in_chunks(points)]


def in_one(points):
    return list(points)


@pytest.mark.parametrize(
    "form",
    [in_chunks, in_chunks_of_columns, in_other_chunks, in_lists, in_delayed_lists, in_chunks_of_unknown_length, in_one],
)
def test_hsic_is_that_of_one_piece(form, scheduler, points):
    lazy = kexue.dask.hsic(*form(points))
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == ((), np.float64)
    assert lazy.compute() == pytest.approx(kexue.hsic(*points), rel=1e-11)
    assert float((2 * lazy).compute()) == pytest.approx(2 * kexue.hsic(*points), rel=1e-11)
    result = kexue.dask.hsic(*form(points), compute=True)
    assert isinstance(result, float)
    assert result == pytest.approx(kexue.hsic(*points), rel=1e-11)


def scalar_products(A, B):
    return A @ B.T


@pytest.mark.parametrize("estimator", ["biased", "n-1", "unbiased"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "linear"},
        {"kernel": "laplace"},
        {"kernel": ("rbf", "polynomial"), "degree": 2},
        {"bandwidth": (0.7, "median")},
        {"gamma": 0.3},
        {"kernel": scalar_products},
    ],
    ids=str,
)
def test_options_of_hsic(options, estimator, points):
    lazy = kexue.dask.hsic(*in_chunks(points), estimator=estimator, workers=2, **options)
    expected = kexue.hsic(*points, estimator=estimator, **options)
    assert lazy.compute(scheduler="synchronous") == pytest.approx(expected, rel=1e-10)


def test_hsic_of_points_on_a_line_and_float32(points):
    x, y = (array[:, 0].astype(np.float32) for array in points)
    lazy = kexue.dask.hsic(da.from_array(x, chunks=30), da.from_array(y, chunks=30))
    assert lazy.compute(scheduler="synchronous") == pytest.approx(kexue.hsic(x, y), rel=1e-5)


def test_hsic_of_linear_kernels_far_from_the_origin(points):
    far = kexue.dask.hsic(*in_chunks([array + 2.0**20 for array in points]), kernel="linear")
    assert far.compute(scheduler="synchronous") == pytest.approx(kexue.hsic(*points, kernel="linear"), rel=1e-8)


def test_median_of_a_sample(rng, monkeypatch):
    """Of 500 points of 2000, the same ones each time: within 10 % of the median of all."""
    monkeypatch.setattr(kexue.dask._independence, "SAMPLE_ROWS", 500)
    X = rng.normal(size=(2000, 2))
    sample = kexue.dask._independence._draw([kexue.dask._independence._sample(i, X[i::3], X[i::3]) for i in range(3)])
    assert len(sample[1]) == len(np.unique(sample[1], axis=0)) == 500
    assert kexue.median_bandwidth(sample[1]) == pytest.approx(kexue.median_bandwidth(X), rel=0.1)
    first, second = (
        kexue.dask.hsic(da.from_array(X, chunks=(700, 2)), da.from_array(X, chunks=(700, 2))) for _ in range(2)
    )
    assert first.compute(scheduler="synchronous") == second.compute(scheduler="synchronous")
    assert float(first.compute(scheduler="synchronous")) == pytest.approx(kexue.hsic(X, X), rel=0.2)


def test_hsic_looks_at_each_pair_of_blocks_once(points, monkeypatch):
    seen = []
    for name in ("within", "between"):
        original = getattr(kexue.HSICSums, name)
        monkeypatch.setattr(
            kexue.HSICSums,
            name,
            lambda *arguments, original=original, **options: (
                seen.append([len(array) for array in arguments if isinstance(array, np.ndarray)])
                or original(*arguments, **options)
            ),
        )
    lazy = kexue.dask.hsic(*in_chunks(points), gamma=0.3)
    seen.clear()
    lazy.compute(scheduler="synchronous")
    assert sorted(map(len, seen)) == [2] * 4 + [4] * 6
    assert max(map(max, seen)) == 20


def check_errors_of_hsic(points):
    X, Y = in_lists(points)
    for blocks, message in [
        ([*Y[:3], dask.delayed(Y[3][:4])], r"blocks? .*3 of X and Y: X and Y must have as many points"),
        ([*Y[:3], Y[3] * np.nan], r"blocks? .*3 of X and Y: Y2?\[0, 0\] is nan"),
        ([*Y[:3], dask.delayed(Y[3][:, :, None])], "blocks? .*3 of X and Y: Y must have 1 or 2 dimensions"),
        ([*Y[:3], Y[3][:, :1]], "blocks . and 3 of X and Y: Y and Y2 must have as many columns"),
    ]:
        with pytest.raises(KexueValueError, match=message):
            kexue.dask.hsic(X, blocks, gamma=0.3).compute()
    with pytest.raises(KexueValueError, match=r"block 3 of X and Y: Y\[0, 0\] is nan"):
        kexue.dask.hsic(X, [*Y[:3], Y[3] * np.nan]).compute()
    with pytest.raises(KexueValueError, match="a sample of X: .*all points are equal"):
        kexue.dask.hsic([np.ones(5), np.ones(5)], [np.arange(5), np.arange(5)], compute=True)
    with pytest.raises(KexueValueError, match="3 points, but at least 4"):
        kexue.dask.hsic([np.arange(3)], [np.arange(3)], estimator="unbiased", compute=True)


def test_errors_of_hsic(scheduler, points):
    check_errors_of_hsic(points)


def test_errors_of_hsic_that_need_no_task(points):
    X, Y = in_chunks(points)
    for arguments, options, error, message in [
        ((X, Y), {"estimator": "best"}, KexueValueError, "estimator must be"),
        ((X, Y), {"kernel": "cosine"}, KexueValueError, "kernel must be"),
        ((X, Y), {"kernel": ("rbf",) * 3}, KexueValueError, "kernel must be one value or a pair"),
        ((X, Y), {"gamma": -1}, KexueValueError, "gamma must be positive"),
        ((X, Y), {"bandwidth": "mean"}, KexueValueError, "bandwidth"),
        ((X, Y), {"workers": 0}, KexueValueError, "workers"),
        ((X, Y[:30]), {}, KexueValueError, "X has 4 blocks and Y has 2"),
        ((X, [np.ones(20)] * 4), {}, KexueValueError, "block 3 of X has 10 points, and of Y 20"),
        ((X, []), {}, KexueValueError, "Y has no blocks"),
        ((X, [1.0, 2.0]), {}, TypeError, r"Y\[0\] must be an array of points, not float"),
        ((da.zeros((3, 3, 3)), Y), {}, KexueValueError, "X must have 1 or 2 dimensions"),
    ]:
        with pytest.raises(error, match=message):
            kexue.dask.hsic(*arguments, **options)


# ---- without Dask, and without loading it ----


def test_dask_is_loaded_late():
    code = "import kexue.dask, sys; assert not {'dask', 'distributed'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_without_dask(queries, blocks, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.delitem(sys.modules, "dask.array")
    for function in (kexue.dask.pairwise_distances, kexue.dask.kneighbors):
        with pytest.raises(ImportError, match=r'pip install "kexue\[dask\]"'):
            function(queries, blocks, vectors=vectors)


def test_hsic_without_dask(points, monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.delitem(sys.modules, "dask.array")
    with pytest.raises(ImportError, match=r'pip install "kexue\[dask\]"'):
        kexue.dask.hsic(*points)


def test_without_distributed(queries, blocks, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = kexue.dask.kneighbors(as_delayed(queries), blocks, 3, vectors=vectors, compute=True)
    assert_same_neighbours(result, nearest(together(queries), together(blocks), vectors, 3))


# ---- random projection ----

KINDS = pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"])


def rows_in_chunks(X):
    return da.from_array(X, chunks=(7, X.shape[1]))


def rows_in_chunks_of_columns(X):
    return da.from_array(X, chunks=((1, 20, 9), 13))


def rows_in_sparse_chunks(X):
    return da.from_array(X, chunks=(11, 13)).map_blocks(sparse.csr_array)


def rows_in_chunks_of_unknown_length(X):
    return da.from_array(X, chunks=(7, X.shape[1]))[da.from_array(X[:, 0], chunks=7) < np.inf]


def rows_in_list(X):
    return [X[:4], sparse.csr_array(X[4:5]), X[5:5], X[5:]]


def rows_in_one(X):
    return X


ROWS = [rows_in_chunks, rows_in_chunks_of_columns, rows_in_sparse_chunks, rows_in_chunks_of_unknown_length]


@KINDS
@pytest.mark.parametrize("form", [*ROWS, rows_in_list, rows_in_one])
def test_projection_is_that_of_one_piece(kind, form, scheduler, dtype, rng):
    X = rng.normal(size=(30, 40)).astype(dtype)
    lazy = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape[1], lazy.dtype) == (6, dtype)
    expected = kexue.random_projection(X, 6, kind=kind, rng=3)
    result = lazy.compute()
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, atol=1e-12 if dtype == np.float64 else 1e-5)
    if kind != "gaussian" and form is rows_in_chunks:
        assert_same(result, expected)
    again = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3, compute=True, workers=2)
    assert isinstance(again, np.ndarray)
    assert_same(again, result)


def test_chunks_and_dtypes_of_a_projection(rng):
    X = rng.integers(0, 9, size=(30, 40))
    lazy = kexue.dask.random_projection(rows_in_chunks_of_columns(X), 5, rng=0)
    assert lazy.chunks == ((1, 20, 9), (5,)) and lazy.dtype == np.float64
    np.testing.assert_allclose(lazy[3:9, 2].compute(), kexue.random_projection(X, 5, rng=0)[3:9, 2])
    assert kexue.dask.random_projection(rows_in_chunks(X.astype(np.float16)), 5).dtype == np.float32
    mixed = [X[:10].astype(np.float32), X[10:].astype(np.float64)]
    result = kexue.dask.random_projection(mixed, 5, rng=0, compute=True)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, kexue.random_projection(np.concatenate(mixed), 5, rng=0), rtol=1e-12)
    assert kexue.dask.random_projection(da.ones((40, 2000), chunks=10), "auto", eps=0.4).shape == (
        40,
        kexue.jl_min_dim(40, 0.4),
    )


def test_a_projection_sends_its_key_and_no_matrix(rng):
    X = da.zeros((100, 2**40), chunks=(1, 2**40))
    lazy = kexue.dask.random_projection(X, 2**20, kind="srht")
    assert lazy.shape == (100, 2**20)
    assert len(cloudpickle.dumps(dict(lazy.__dask_graph__()))) < 400_000


def test_errors_of_projections(scheduler, rng):
    X = rng.normal(size=(30, 40))
    X[17, 3] = np.nan
    with pytest.raises(KexueValueError, match=r"^block 2 of X: X\[3, 3\] is nan"):
        kexue.dask.random_projection(rows_in_chunks(X), 5).compute()
    with pytest.raises(KexueValueError, match="'normal'"):
        kexue.dask.random_projection(rows_in_chunks(X), 5, kind="normal")


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.ones(5), {}, KexueValueError, r"X\[0\] must have 2 dimensions, but its shape is \(5,\)"),
        (da.ones(5), {}, KexueValueError, r"X must have 2 dimensions, but its shape is \(5,\)"),
        ([], {}, KexueValueError, "X has no blocks"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, KexueValueError, r"X\[1\] has 4 columns, but X\[0\] has 3"),
        ([[1.0, 2.0]], {}, TypeError, r"X\[0\] must be an array, not list"),
        ([SimpleNamespace(shape=(2, 3))], {}, TypeError, r"X\[0\] must be an array, not SimpleNamespace"),
        ([dask.delayed(np.ones((2, 3)))], {}, TypeError, r"X\[0\] is lazy, .*from_delayed"),
        (da.ones((3, 0)), {}, KexueValueError, "X has no columns"),
        (da.ones((3, 4), dtype=complex), {}, TypeError, "X must hold real numbers"),
        (da.ones((3, 4))[:, da.ones(4) > 0], {}, KexueValueError, "X has columns in chunks of unknown size"),
        (da.ones((3, 4)), {"n_components": 0}, KexueValueError, "n_components must be at least 1"),
        (da.ones((3, 4)), {"n_components": "auto"}, KexueValueError, 'n_components="auto" is .* the 4 columns of X'),
        (da.ones((3, 4)), {"n_components": "all"}, KexueValueError, "n_components must be an integer or"),
        (da.ones((3, 4))[da.ones(3) > 0], {"n_components": "auto"}, KexueValueError, "their number to be known"),
        (da.ones((3, 4)), {"workers": 0}, KexueValueError, "workers"),
    ],
)
def test_errors_of_projections_that_need_no_task(X, options, error, message):
    with pytest.raises(error, match=message):
        kexue.dask.random_projection(X, **{"n_components": 2, **options})


def test_projection_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.delitem(sys.modules, "dask.array")
    with pytest.raises(ImportError, match=r'pip install "kexue\[dask\]"'):
        kexue.dask.random_projection(np.ones((2, 3)), 2)


# ---- on two worker processes ----


def test_cluster(client, queries, blocks, vectors):
    x, y = together(queries), together(blocks)
    distances = kexue.dask.pairwise_distances(queries, blocks, vectors=vectors)
    assert_same(distances.compute(), kexue.pairwise_distances(x, y, vectors=vectors))
    within = kexue.dask.pairwise_distances(blocks, vectors=vectors, metric="wrd", compute=True)
    assert_same(within, kexue.pairwise_distances(y, vectors=vectors, metric="wrd"))
    for wave in (None, 1, 3):
        result = kexue.dask.kneighbors(queries, blocks, 7, vectors=vectors, wave=wave, compute=True)
        assert_same_neighbours(result, DocumentIndex(vectors).fit(y).kneighbors(x, 7))


def test_cluster_with_what_is_there_already(client, queries, blocks, vectors, folders, tmp_path):
    x, y = together(queries), together(blocks)
    expected = nearest(x, y, vectors, 30)
    np.save(tmp_path / "vectors.npy", vectors)
    for corpus, table in [
        (client.scatter(blocks), client.scatter(vectors)),
        (as_delayed(blocks), dask.delayed(vectors)),
        (list(dask.persist(*as_delayed(blocks))), dask.delayed(vectors).persist()),
        (as_sparse_chunks(blocks).persist(), tmp_path / "vectors.npy"),
        (folders, None),
    ]:
        result = kexue.dask.kneighbors(queries, corpus, 30, vectors=table, wave=2, compute=True)
        assert_same_neighbours(result, expected)


def wait_until_forgotten(client):
    while any(client.has_what().values()):
        time.sleep(0.01)


def fetched(dask_worker):
    """How often the worker has got each key from another worker."""
    return Counter(str(key) for transfer in dask_worker.transfer_incoming_log for key in transfer["keys"])


@pytest.mark.parametrize("name", ["kneighbors", "pairwise_distances"])
def test_cluster_sends_vectors_to_a_worker_once(name, client, rng):
    vectors = rng.normal(size=(4000, 50))
    blocks = [documents(rng, 5, 4000) for _ in range(4)]
    wait_until_forgotten(client)
    before = client.run(fetched)
    result = getattr(kexue.dask, name)(blocks, blocks, vectors=vectors)
    first = result[0] if isinstance(result, tuple) else result
    assert len(cloudpickle.dumps(dict(first.__dask_graph__()))) < vectors.nbytes / 10
    inputs = set(map(str, client.futures))
    assert len(inputs) == 9
    kept = client.persist(first)
    distributed.wait(kept)
    for worker, counts in client.run(fetched).items():
        assert all(counts[key] - before[worker][key] <= 1 for key in inputs)
    del result, first, kept
    wait_until_forgotten(client)


def test_data_too_large_for_a_graph_is_no_reason_for_a_warning(client, rng):
    vectors = rng.normal(size=(40_000, 50))  # 16 MB; 10 MB in a graph give the warning
    distances = kexue.dask.pairwise_distances([documents(rng, 2, 40_000)], vectors=vectors, compute=True)
    assert distances.shape == (2, 2)


def test_cluster_raises_what_a_worker_raises(client, queries, blocks, vectors):
    check_errors_of_tasks(queries, bad_blocks(blocks), vectors)


def test_hsic_on_a_cluster(client, points):
    expected = kexue.hsic(*points)
    for form in (in_chunks, in_lists, in_delayed_lists):
        assert kexue.dask.hsic(*form(points)).compute() == pytest.approx(expected, rel=1e-11)
    futures = [client.scatter(blocks) for blocks in in_lists(points)]
    assert kexue.dask.hsic(*futures, compute=True) == pytest.approx(expected, rel=1e-11)
    check_errors_of_hsic(points)


@KINDS
def test_projection_on_a_cluster(kind, client, rng):
    X = rng.normal(size=(30, 40))
    expected = kexue.random_projection(X, 6, kind=kind, rng=3)
    for form in (rows_in_chunks, rows_in_sparse_chunks, rows_in_list):
        result = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3, compute=True)
        np.testing.assert_allclose(result, expected, atol=1e-12)


def test_asynchronous_client(cluster, queries, blocks, vectors):
    async def search():
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            return await client.gather(client.compute(kexue.dask.kneighbors(queries, blocks, 7, vectors=vectors)))

    expected = nearest(together(queries), together(blocks), vectors, 7)
    assert_same_neighbours(asyncio.run(search()), expected)
