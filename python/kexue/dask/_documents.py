"""Distances and neighbours of documents in blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array

import kexue
from kexue import KexueValueError, WordVectors
from kexue.dask._graph import (
    MERGED_AT_ONCE,
    Blocks,
    Key,
    default_client,
    in_blocks,
    in_graph,
    is_lazy,
    named,
    positive_integer,
    require_dask,
    threads_of,
    token_of,
)

if TYPE_CHECKING:
    from dask.array import Array
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph
    from distributed import Client

    from kexue import DocumentIndex

_Path = str | os.PathLike[str]


def pairwise_distances(
    X: Any,
    Y: Any = None,
    *,
    vectors: ArrayLike | WordVectors | _Path,
    metric: Literal["wmd", "wrd", "wcd", "rwmd", "sinkhorn"] = "wmd",
    rms: bool = False,
    empty: Literal["raise", "nan", "inf"] = "raise",
    workers: int | None = 1,
    compute: bool = False,
    **entropic: Any,
) -> Array | np.ndarray:
    """Distances between all pairs of documents, a task for each pair of blocks.

    Parameters
    ----------
    X : dask array, block, or sequence of blocks
        Documents over the vocabulary, split along the documents. A block is a scipy.sparse matrix or a 2-D array of
        weights, as `kexue.pairwise_distances` takes it, a `dask.delayed` value or a `Future` of one. The blocks of a
        dask array may be sparse.
    Y : the same, optional
        The other set. Without it, all pairs within X, each solved once: the blocks below the diagonal are
        transposes.
    vectors : array_like, WordVectors, path, Future or Delayed
        Word vectors, float32 or float64. Of a path (an ``.npy`` file, or one that `WordVectors.load` reads), every
        worker maps the file itself.
    metric, rms, empty
        As in `kexue.pairwise_distances`.
    workers : int, optional
        Threads of a task; None is the default of `kexue.threads` on the worker.
    compute : bool, optional
        Compute now, and return an ndarray.
    **entropic
        `reg`, `tol` and `max_iter` of metric "sinkhorn", as in `kexue.pairwise_distances`.

    Returns
    -------
    distances : dask array, shape (n_x, n_y)
        A chunk for each pair of blocks, to the bit as from `kexue.pairwise_distances`. float32 if the vectors are,
        else float64. Where the length of a block is not known, as of a `dask.delayed` one, it is NaN in `chunks`.

    Raises
    ------
    ImportError
        If Dask is not installed.
    KexueValueError
        Here, or from the task that computes: names the blocks, and what `kexue.pairwise_distances` names, counted
        within the block.

    See Also
    --------
    kexue.pairwise_distances : on one machine, with threads.
    kneighbors : only the nearest documents.

    Notes
    -----
    With a `distributed` client, vectors and blocks in memory are sent once and kept by the scheduler, for workers that
    need them, also in place of one that died; the result belongs to that client. Ground costs of words are computed
    once for each pair of blocks, so that blocks should have a few hundred documents at least. A task has its two
    blocks, the vectors and its chunk of the result in memory.

    Examples
    --------
    >>> import kexue.dask
    >>> from scipy.sparse import csr_array, hstack, issparse
    >>> blocks = [csr_array([[1, 1, 0], [0, 1, 1]]), csr_array([[0, 0, 2]])]
    >>> distances = kexue.dask.pairwise_distances(blocks, vectors=[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    >>> distances.chunks
    ((2, 1), (2, 1))
    >>> distances.compute(scheduler="synchronous")
    array([[0.        , 2.5       , 4.73606798],
           [2.5       , 0.        , 2.23606798],
           [4.73606798, 2.23606798, 0.        ]])
    """
    require_dask()
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    options = {"metric": metric, "rms": rms, "empty": empty, "workers": workers, **entropic}
    _no_distances(np.ones((1, 1)), **options)
    client = default_client()
    rows = in_blocks("X", X, client, _require_table)
    columns = rows if Y is None else in_blocks("Y", Y, client, _require_table)
    source, dtype = _vectors(vectors, client)
    name = f"pairwise_distances-{token_of(rows.keys, Y is None or columns.keys, source.key, options)}"
    tasks: dict[Key, tuple[Any, ...]] = {}
    for i, x in enumerate(rows.nodes):
        for j, y in enumerate(columns.nodes):
            if Y is None and j < i:
                tasks[name, i, j] = (np.transpose, (name, j, i))
            elif Y is None and j == i:
                block = partial(_within, f"block {i} of X", options)
                tasks[name, i, j] = (block, x.key, source.key)
            else:
                where = f"block {i} of X with block {j} of {'X as Y' if Y is None else 'Y'}"
                tasks[name, i, j] = (partial(_between, where, options), x.key, y.key, source.key)
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[*rows.nodes, *columns.nodes, source])
    distances = Array(graph, name, (rows.lengths, columns.lengths), dtype=dtype)
    return distances.compute() if compute else distances


def kneighbors(
    X: Any,
    corpus: Any,
    n_neighbors: int = 5,
    *,
    vectors: ArrayLike | WordVectors | _Path | None = None,
    metric: Literal["wmd", "wrd"] = "wmd",
    rms: bool = False,
    empty: Literal["raise", "skip"] = "raise",
    wave: int | None = None,
    workers: int | None = 1,
    compute: bool = False,
) -> tuple[Array, Array] | tuple[np.ndarray, np.ndarray]:
    """The nearest documents of a partitioned corpus, as one `kexue.DocumentIndex` over all of it finds them.

    Parameters
    ----------
    X : dask array, block, or sequence of blocks
        Queries, as documents in `pairwise_distances`.
    corpus : dask array, block, sequence of blocks, path or sequence of paths
        The partitions: blocks of documents, or folders that `DocumentIndex.save` wrote, which every worker must be
        able to read, and maps into its memory.
    n_neighbors : int
        How many, at most; all if the corpus has fewer.
    vectors : array_like, WordVectors, path, Future or Delayed
        As in `pairwise_distances`. Saved indexes have their own: None.
    metric, rms
        As in `DocumentIndex`. Saved indexes must have the same.
    empty : {"raise", "skip"}
        As in `DocumentIndex`; saved indexes have their own.
    wave : int, optional
        How many partitions are searched before the distance of the k-th best document so far is passed on, beyond
        which the next ones need not look. By default as many as keep all threads of the cluster busy. It has no
        influence on the result.
    workers : int, optional
        Threads of a task; None is the default of `kexue.threads` on the worker.
    compute : bool, optional
        Compute now, and return ndarrays.

    Returns
    -------
    distances : dask array, shape (queries, min(n_neighbors, documents))
        Ascending; float32 if the vectors are, else float64. One chunk for each block of X.
    indices : dask array of int64, the same shape
        Numbers of the documents in the whole corpus, partition after partition; the lower one first where distances
        are equal.

    Raises
    ------
    ImportError
        If Dask is not installed.
    KexueValueError
        Here, or from the task that computes: names the block or partition, and what `DocumentIndex` names, counted
        within it.

    See Also
    --------
    kexue.DocumentIndex : on one machine.
    pairwise_distances

    Notes
    -----
    Compute both results together, as ``dask.compute(distances, indices)`` or with ``compute=True``, or the search runs
    twice. Partitions of a wave are searched at the same time, each for its k nearest, and their results are merged in
    a tree. Small waves prune more and large ones keep more workers busy; several blocks of queries do both. With
    a `distributed` client, vectors and blocks in memory are sent once and kept by the scheduler, for workers that need
    them, also in place of one that died, and the result belongs to that client. A task makes the index of its
    partition, which is never sent. Saved indexes are opened once when this is called, on the workers, for their sizes.

    Examples
    --------
    >>> import kexue.dask
    >>> from scipy.sparse import csr_array, hstack, issparse
    >>> partitions = [csr_array([[1, 1, 0], [0, 1, 1]]), csr_array([[0, 0, 2]])]
    >>> distances, indices = kexue.dask.kneighbors(
    ...     csr_array([[0, 1, 2]]), partitions, 2, vectors=[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]], compute=True
    ... )
    >>> indices
    array([[1, 2]])
    """
    require_dask()
    import dask
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    count = positive_integer("n_neighbors", n_neighbors)
    kexue.DocumentIndex(np.ones((1, 1)), metric, rms=rms, empty=empty)
    _no_distances(np.ones((1, 1)), workers=workers)
    client = default_client()
    queries = in_blocks("X", X, client, _require_table)
    if _is_path(corpus) or isinstance(corpus, (list, tuple)) and any(map(_is_path, corpus)):
        if vectors is not None:
            raise KexueValueError("vectors must be None where corpus is saved indexes, which have their own")
        partitions, dtype = _saved(corpus, metric, rms)
        total, source = partitions.total, None
    else:
        if vectors is None:
            raise KexueValueError("vectors must be given, except where corpus is saved indexes")
        partitions = in_blocks("corpus", corpus, client, _require_table)
        source, dtype = _vectors(vectors, client)
        # Which documents are empty is only known where they are.
        total = partitions.total if empty == "raise" else np.nan
    if partitions.total == 0:
        raise KexueValueError("corpus has no documents")
    if wave is None:
        wave = max(1, -(-threads_of(client) // len(queries.nodes)))
    wave = positive_integer("wave", wave)

    search = _Search(metric, rms, empty, workers, count)
    graph, name, found = _search_graph(queries, partitions, source, search, wave)
    width = min(count, total) if total == total else np.nan
    results = []
    for field, kind in (("distances", dtype), ("indices", np.dtype(np.int64))):
        part = f"kneighbors-{field}-{name.rpartition('-')[2]}"
        layer = {(part, b, 0): (partial(_finish, field), key) for b, key in enumerate(found)}
        layers = HighLevelGraph({**graph.layers, part: layer}, {**graph.dependencies, part: {name}})
        results.append(Array(layers, part, (queries.lengths, (width,)), dtype=kind))
    return dask.compute(*results) if compute else (results[0], results[1])


def _search_graph(
    queries: Blocks, partitions: Blocks, source: Delayed | None, search: _Search, wave: int
) -> tuple[HighLevelGraph, str, list[Key]]:
    """The graph of the search, its layer's name, and the key of the `_Found` for each block of queries."""
    from dask.highlevelgraph import HighLevelGraph

    token = token_of(queries.keys, partitions.keys, None if source is None else source.key, search, wave)
    tasks: dict[Key, tuple[Any, ...]] = {}
    found = []
    for b, block in enumerate(queries.nodes):
        best: list[Key] = []
        for first in range(0, len(partitions.nodes), wave):
            limits = None
            if best:
                limits = (f"kneighbors-limits-{token}", b, first)
                tasks[limits] = (partial(_limits, search.count), best[0])
            for p, partition in enumerate(partitions.nodes[first : first + wave], first):
                key = (f"kneighbors-search-{token}", b, p)
                inputs = (block.key, partition.key, None if source is None else source.key, limits)
                tasks[key] = (partial(search, b, p), *inputs)
                best.append(key)
            level = 0
            while len(best) > 1:
                merged: list[Key] = []
                for start in range(0, len(best), MERGED_AT_ONCE):
                    merged_key = (f"kneighbors-merge-{token}", b, first, level, start)
                    tasks[merged_key] = (partial(_merge, search.count), best[start : start + MERGED_AT_ONCE])
                    merged.append(merged_key)
                best, level = merged, level + 1
        found += best
    name = f"kneighbors-{token}"
    dependencies = [*queries.nodes, *partitions.nodes, *([] if source is None else [source])]
    return HighLevelGraph.from_collections(name, tasks, dependencies=dependencies), name, found


@dataclass(frozen=True)
class _File:
    """A file of vectors or a folder of an index, which the workers open themselves."""

    path: str

    def vectors(self) -> np.ndarray:
        return _open_vectors(self.path, *self._identity())

    def index(self) -> DocumentIndex:
        return _open_index(self.path, *self._identity())

    def _identity(self) -> tuple[int, ...]:
        """Changes where the file is written anew, so that what was opened before is not taken for it."""
        status = os.stat(self.path)
        return status.st_ino, status.st_mtime_ns, status.st_size


@lru_cache(maxsize=2)
def _open_vectors(path: str, *identity: int) -> np.ndarray:
    return np.load(path, mmap_mode="r") if path.endswith(".npy") else WordVectors.load(path).vectors


@lru_cache(maxsize=16)  # of partitions that many blocks of queries come to; loading one reads and checks it
def _open_index(path: str, *identity: int) -> DocumentIndex:
    return kexue.DocumentIndex.load(path)


@dataclass(frozen=True)
class _Found:
    """The nearest documents of partitions that follow each other; rows with fewer than others end in infinity."""

    distances: np.ndarray
    indices: np.ndarray  # counted from the first document of these partitions; -1 in the padding
    numbers: int  # that their documents take, the removed ones too
    documents: int  # that can be found


@dataclass(frozen=True)
class _Search:
    """The task that searches one partition for one block of queries."""

    metric: Literal["wmd", "wrd"]
    rms: bool
    empty: Literal["raise", "skip"]
    workers: int | None
    count: int

    def __call__(
        self,
        block: int,
        number: int,
        queries: Any,
        partition: Any,
        vectors: np.ndarray | _File | None,
        limits: np.ndarray | None,
    ) -> _Found:
        _require_table(f"block {block} of X", queries)
        with named(f"partition {number} of corpus"):
            if isinstance(partition, _File):
                index = partition.index()
            else:
                _require_table("it", partition)
                assert vectors is not None
                index = kexue.DocumentIndex(_array(vectors), self.metric, rms=self.rms, empty=self.empty).fit(partition)
        documents = index._searchable()
        distances = np.full((queries.shape[0], min(self.count, documents)), np.inf, dtype=index.dtype)
        indices = np.full(distances.shape, -1, dtype=np.int64)
        if documents:
            with named(f"block {block} of X"):
                (offsets, found, near), _ = index._search(queries, self.count, limits, self.workers, False, None)
            place = np.arange(distances.shape[1]) < np.diff(offsets)[:, None]
            distances[place], indices[place] = near, found
        return _Found(distances, indices, len(index._removed), documents)


def _merge(count: int, parts: Sequence[_Found]) -> _Found:
    """Partitions after each other: a stable sort keeps the lower number first where distances are equal."""
    starts = np.cumsum([0, *(part.numbers for part in parts)])
    distances = np.concatenate([part.distances for part in parts], axis=1)
    indices = np.concatenate(
        [part.indices + start * (part.indices >= 0) for part, start in zip(parts, starts[:-1], strict=True)], axis=1
    )
    order = np.argsort(distances, axis=1, kind="stable")[:, :count]
    return _Found(
        np.take_along_axis(distances, order, axis=1),
        np.take_along_axis(indices, order, axis=1),
        int(starts[-1]),
        sum(part.documents for part in parts),
    )


def _limits(count: int, best: _Found) -> np.ndarray:
    """The k-th best distance so far of each query, infinity where there are fewer."""
    if best.distances.shape[1] < count:
        return np.full(len(best.distances), np.inf)
    return best.distances[:, count - 1].astype(np.float64)


def _finish(field: str, best: _Found) -> np.ndarray:
    if best.documents == 0:
        raise KexueValueError("corpus has no documents")
    return getattr(best, field)


def _within(where: str, options: dict[str, Any], X: Any, vectors: np.ndarray | _File) -> np.ndarray:
    with named(where):
        return kexue.pairwise_distances(X, vectors=_array(vectors), **options)


def _between(where: str, options: dict[str, Any], X: Any, Y: Any, vectors: np.ndarray | _File) -> np.ndarray:
    with named(where):
        return kexue.pairwise_distances(X, Y, vectors=_array(vectors), **options)


def _array(vectors: np.ndarray | _File) -> np.ndarray:
    return vectors.vectors() if isinstance(vectors, _File) else vectors


def _no_distances(vectors: np.ndarray, **options: Any) -> np.ndarray:
    """Distances of no documents, which have their dtype: raises for bad vectors or options."""
    return kexue.pairwise_distances(csr_array((0, len(vectors))), vectors=vectors, **options)


def _describe(file: _File) -> tuple[int, dict[str, Any]]:
    """The number of documents of a saved index, and what all partitions must have in common."""
    index = file.index()
    shape = None if index._vectors is None else index._vectors.shape
    return index._searchable(), {"metric": index.metric, "rms": index._rms, "dtype": index.dtype, "shape": shape}


def _dtype_of(vectors: np.ndarray | _File) -> np.dtype:
    return _no_distances(_array(vectors)).dtype


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _require_table(name: str, block: Any) -> None:
    if not hasattr(block, "shape"):
        raise TypeError(
            f"{name} must be documents x vocabulary, as a sparse matrix or a 2-D array, not {type(block).__name__}"
        )
    if len(block.shape) != 2:
        raise KexueValueError(f"{name} must have 2 dimensions (documents x vocabulary), but its shape is {block.shape}")


def _saved(corpus: Any, metric: str, rms: bool) -> tuple[Blocks, np.dtype]:
    """Saved indexes as partitions, and the data type of their distances."""
    import dask

    paths = [corpus] if _is_path(corpus) else list(corpus)
    for i, path in enumerate(paths):
        if not _is_path(path):
            raise TypeError(f"corpus[{i}] must be a path as the others, not {type(path).__name__}")
    files = [_File(os.path.abspath(path)) for path in paths]
    nodes = [dask.delayed(file, traverse=False) for file in files]
    documents, found = zip(*dask.compute(*map(dask.delayed(_describe), nodes)), strict=True)
    for i, kind in enumerate(found):
        if kind["shape"] is None:
            raise KexueValueError(f"corpus[{i}] is an index of contextual vectors, which is not searched here")
        for option, value in (("metric", metric), ("rms", rms)):
            if kind[option] != value:
                raise KexueValueError(f"{option} is {value!r}, but corpus[{i}] is an index with {kind[option]!r}")
        for what in ("dtype", "shape"):
            if kind[what] != found[0][what]:
                raise KexueValueError(
                    f"the vectors of corpus[{i}] have {what} {kind[what]}, but those of corpus[0] {found[0][what]}"
                )
    return Blocks(nodes, documents), found[0]["dtype"]


def _vectors(vectors: Any, client: Client | None) -> tuple[Delayed, np.dtype]:
    """The vectors as one node, and the data type of their distances."""
    import dask

    if isinstance(vectors, WordVectors):
        vectors = vectors.vectors
    if _is_path(vectors):
        node = dask.delayed(_File(os.path.abspath(vectors)), traverse=False)
    elif is_lazy(vectors):
        (node,) = dask.persist(dask.delayed(vectors, traverse=False))
    else:
        array = np.asarray(vectors)
        dtype = _dtype_of(array)
        (node,) = in_graph([array.astype(dtype, copy=False)], client)
        return node, dtype
    return node, dask.compute(dask.delayed(_dtype_of)(node))[0]
