"""Nothing is computed before it is asked for, no chunks change a result, tasks are small, and Dask is loaded late."""

import subprocess
import sys

import cloudpickle
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
from dask.callbacks import Callback  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    DIMENSION,
    VOCABULARY,
    as_delayed,
    assert_same_neighbours,
    documents,
    in_chunks,
    in_other_chunks,
    nearest,
    together,
)

pytestmark = pytest.mark.timeout(180)


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


# ---- names ----


@functions
def test_equal_calls_are_one_work(name, vectors, tasks_run):
    """What is computed or kept under a name need not be computed again."""
    table = documents(np.random.default_rng(3), 17).toarray()
    for form in (lambda: da.from_array(table, chunks=(5, 15)), lambda: [table[:5].copy(), table[5:].copy()]):
        first, second = (as_tuple(LAZY[name](form(), vectors.copy())) for _ in range(2))
        assert [array.name for array in first] == [array.name for array in second]
        dask.compute(*first, scheduler="synchronous")
        alone = len(tasks_run)
        tasks_run.clear()
        dask.compute(*first, *second, scheduler="synchronous")
        assert len(tasks_run) == alone > 0
        tasks_run.clear()


def test_other_calls_have_other_names(queries, blocks, vectors):
    tables = [block.toarray() for block in blocks]
    pairs, neighbours = kexue.dask.pairwise_distances, kexue.dask.kneighbors
    project, hsic = kexue.dask.random_projection, kexue.dask.hsic
    calls = [
        *(pairs(blocks, vectors=vectors, **options) for options in ({}, {"metric": "wrd"}, {"rms": True})),
        *(pairs(blocks, Y, vectors=vectors) for Y in (blocks, blocks[:2], queries)),
        pairs(blocks, vectors=vectors + 1),
        pairs([together(blocks)], vectors=vectors),
        *(neighbours(queries, blocks, k, vectors=vectors, wave=wave)[0] for k in (1, 2) for wave in (1, 2)),
        neighbours(queries, blocks, 1, vectors=vectors, wave=1)[1],
        *(hsic(tables, tables, **options) for options in ({}, {"estimator": "n-1"}, {"gamma": 0.3}, {"gamma": 0.4})),
        hsic(tables, [2 * table for table in tables]),
        *(project(blocks, n, kind="srht", rng=rng) for n in (2, 3) for rng in (0, 1)),
        *(project(blocks, 2, kind="srht") for _ in range(2)),  # each drawn anew
    ]
    assert len({array.name for array in calls}) == len(calls)


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


def test_projection_without_dask(monkeypatch):
    monkeypatch.setitem(sys.modules, "dask", None)
    monkeypatch.delitem(sys.modules, "dask.array")
    with pytest.raises(ImportError, match=r'pip install "kexue\[dask\]"'):
        kexue.dask.random_projection(np.ones((2, 3)), 2)


def test_without_distributed(queries, blocks, vectors, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    result = kexue.dask.kneighbors(as_delayed(queries), blocks, 3, vectors=vectors, compute=True)
    assert_same_neighbours(result, nearest(together(queries), together(blocks), vectors, 3))
