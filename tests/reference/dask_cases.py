"""What the tests of kexue.dask have in common: documents, points and rows in blocks of all forms, and their errors."""

import numpy as np
import pytest
from scipy import sparse

import kexue
import kexue.dask
from kexue import KexueValueError

pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

VOCABULARY, DIMENSION = 40, 5


# ---- documents ----


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


# ---- points ----


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


# ---- rows ----


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
