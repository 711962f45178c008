"""Over Dask, documents in blocks have the distances of one piece, to the bit, whatever the blocks and vectors are."""

import itertools

import numpy as np
import pytest
from scipy import sparse

import kexue
import kexue.dask
from kexue import KexueValueError, WordVectors

pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    FORMS,
    VOCABULARY,
    as_chunks_of_unknown_length,
    as_delayed,
    as_mixed,
    assert_same,
    assert_same_neighbours,
    bad_blocks,
    check_errors_of_tasks,
    nearest,
    together,
)

pytestmark = pytest.mark.timeout(180)


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


def test_errors_of_tasks(scheduler, queries, blocks, vectors):
    check_errors_of_tasks(queries, bad_blocks(blocks), vectors)
