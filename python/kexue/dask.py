"""Distances and neighbours of documents, HSIC, and random projection, over a Dask cluster.

Dask is loaded when a function is called.
"""

from __future__ import annotations

import operator
import os
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial, reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array, hstack, issparse

import kexue
from kexue import KexueValueError, WordVectors

if TYPE_CHECKING:
    from dask.array import Array
    from dask.delayed import Delayed
    from dask.highlevelgraph import HighLevelGraph
    from distributed import Client

    from kexue import DocumentIndex, HSICSums, RandomProjectionMap

__all__ = ["hsic", "kneighbors", "pairwise_distances", "random_projection"]

_MERGED_AT_ONCE = 8  # results of k neighbours are small: few rounds count for more than few transfers
_SAMPLE_ROWS = 2048  # for a median distance: as many as kexue.hsic_streaming takes
_Path = str | os.PathLike[str]
_Key = str | tuple[Any, ...]


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
    With a `distributed` client, vectors in memory are copied to every worker once, blocks in memory are spread over
    the workers, and tasks refer to them; the result belongs to that client. Ground costs of words are computed once
    for each pair of blocks, so that blocks should have a few hundred documents at least.

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
    _require_dask()
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    options = {"metric": metric, "rms": rms, "empty": empty, "workers": workers, **entropic}
    _no_distances(np.ones((1, 1)), **options)
    client = _client()
    rows = _blocks("X", X, client)
    columns = rows if Y is None else _blocks("Y", Y, client)
    source, dtype = _vectors(vectors, client)
    name = f"pairwise_distances-{uuid.uuid4().hex}"
    tasks: dict[_Key, tuple[Any, ...]] = {}
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
    a `distributed` client, vectors in memory are copied to every worker once, blocks in memory are spread over the
    workers, and the result belongs to that client. Saved indexes are opened once when this is called, on the
    workers, for their sizes.

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
    _require_dask()
    import dask
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    count = _positive_integer("n_neighbors", n_neighbors)
    kexue.DocumentIndex(np.ones((1, 1)), metric, rms=rms, empty=empty)
    _no_distances(np.ones((1, 1)), workers=workers)
    client = _client()
    queries = _blocks("X", X, client)
    if _is_path(corpus) or isinstance(corpus, (list, tuple)) and any(map(_is_path, corpus)):
        if vectors is not None:
            raise KexueValueError("vectors must be None where corpus is saved indexes, which have their own")
        partitions, dtype = _saved(corpus, metric, rms)
        total, source = partitions.total, None
    else:
        if vectors is None:
            raise KexueValueError("vectors must be given, except where corpus is saved indexes")
        partitions = _blocks("corpus", corpus, client)
        source, dtype = _vectors(vectors, client)
        # Which documents are empty is only known where they are.
        total = partitions.total if empty == "raise" else np.nan
    if partitions.total == 0:
        raise KexueValueError("corpus has no documents")
    if wave is None:
        wave = max(1, -(-_threads_of(client) // len(queries.nodes)))
    wave = _positive_integer("wave", wave)

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


def hsic(
    X: Any,
    Y: Any,
    *,
    estimator: Literal["biased", "n-1", "unbiased"] = "biased",
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: Any = None,
    coef0: Any = 1.0,
    degree: Any = 3,
    workers: int | None = 1,
    compute: bool = False,
) -> Array | float:
    """Exact HSIC of points in blocks, a task for each pair of blocks.

    Parameters
    ----------
    X, Y : dask array of shape (n, d) or (n,), or sequence of blocks
        Pairs of points, split along the rows. A block is an array, a `dask.delayed` value or a `Future` of one. Y is
        split again where its chunks are not those of X.
    estimator : {"biased", "n-1", "unbiased"}
        As in `kexue.hsic`.
    kernel, gamma, coef0, degree
        As in `kexue.hsic`: one value, or a pair for X and Y. A callable must be one that the workers can load.
    bandwidth : float or "median", or a pair of these
        "median" is the median of the distances of 2048 points, drawn at random from all with a fixed seed; of all
        points if there are no more.
    workers : int, optional
        Threads of a task; None is the default of `kexue.threads` on the worker.
    compute : bool, optional
        Compute now, and return a float.

    Returns
    -------
    dask array of float64, shape ()
        As `kexue.hsic` of all points with these bandwidths, to rounding.

    Raises
    ------
    ImportError
        If Dask is not installed.
    KexueValueError
        Here, or from the task that computes: names the blocks, and what `kexue.hsic` names, counted within the block.

    See Also
    --------
    kexue.hsic : on one machine, with threads.
    kexue.HSICSums : what the tasks return.

    Notes
    -----
    Tasks are b (b + 1) / 2 for b blocks, each of O(rows^2 d) time and O(rows d) memory; no matrix is
    stored. A task returns 32 bytes for each of its points, and results are added in a tree. Blocks should have some
    thousands of points.

    Examples
    --------
    >>> import dask.array
    >>> import kexue.dask
    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(300, 2))
    >>> y = x[:, 0] ** 2
    >>> lazy = kexue.dask.hsic(dask.array.from_array(x, chunks=(100, 2)), dask.array.from_array(y, chunks=100))
    >>> bool(np.isclose(lazy.compute(scheduler="synchronous"), kexue.hsic(x, y)))
    True
    """
    _require_dask()
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    options = {"kernel": kernel, "bandwidth": bandwidth, "gamma": gamma, "coef0": coef0, "degree": degree}
    options = {name: _pair(name, value) for name, value in options.items()}
    medians = [
        one in ("rbf", "laplace") and length == "median" and factor is None
        for one, length, factor in zip(*(options[name] for name in ("kernel", "bandwidth", "gamma")), strict=True)
    ]
    linear = [one == "linear" for one in options["kernel"]]
    # Of no points: raises for bad options. Those of medians come later.
    known = tuple(1.0 if median else one for one, median in zip(options["bandwidth"], medians, strict=True))
    nothing = np.empty((0, 1))
    kexue.HSICSums.within(nothing, nothing, **{**options, "bandwidth": known, "workers": workers})
    kexue.hsic(np.arange(4), np.arange(4), kernel="linear", estimator=estimator)
    if isinstance(X, Array) and isinstance(Y, Array) and X.chunks[:1] != Y.chunks[:1] and X.shape[:1] == Y.shape[:1]:
        Y = Y.rechunk({0: X.chunks[0]})
    client = _client()
    first, second = (_blocks(name, value, client, _require_points) for name, value in (("X", X), ("Y", Y)))
    _require_pairs(first, second)

    token = uuid.uuid4().hex
    tasks: dict[_Key, Any] = {}
    sample = None
    if any(medians) or any(linear):
        samples = []
        for i, (x, y) in enumerate(zip(first.nodes, second.nodes, strict=True)):
            key = (f"hsic-sample-{token}", i)
            tasks[key] = (partial(_sample, i), x.key, y.key)
            samples.append(key)
        sample = f"hsic-found-{token}"
        drawn = _in_tree(tasks, f"hsic-drawn-{token}", _draw, samples)
        tasks[sample] = (partial(_found, options, medians, linear), drawn)
    parts = []
    for i, (x, y) in enumerate(zip(first.nodes, second.nodes, strict=True)):
        for j in range(i, len(first.nodes)):
            key = (f"hsic-part-{token}", i, j)
            others = (x.key, y.key) if i == j else (x.key, y.key, first.nodes[j].key, second.nodes[j].key)
            tasks[key] = (partial(_part, {**options, "workers": workers}, i, j), sample, *others)
            parts.append(key)
    name = f"hsic-{token}"
    tasks[(name,)] = (partial(_of_all, estimator), _in_tree(tasks, f"hsic-sum-{token}", _add, parts))
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[*first.nodes, *second.nodes])
    result = Array(graph, name, (), dtype=np.float64)
    return float(result.compute()) if compute else result


def random_projection(
    X: Any,
    n_components: int | Literal["auto"],
    *,
    kind: Literal["gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap"] = "gaussian",
    density: float | Literal["achlioptas", "li"] | None = None,
    nonzeros: int | None = None,
    eps: float = 0.1,
    rng: np.random.Generator | int | None = None,
    workers: int | None = 1,
    compute: bool = False,
) -> Array | np.ndarray:
    """Project rows to fewer dimensions by a random matrix, a task for each block of rows.

    Parameters
    ----------
    X : dask array of shape (m, d), or sequence of blocks
        Rows; the chunks of an array, and the blocks, may be sparse. Chunks of columns are put side by side, so that
        memory for whole rows of a block is needed.
    n_components, kind, density, nonzeros, eps, rng
        As in `kexue.random_projection`.
    workers : int, optional
        Threads of a task; None is the default of `kexue.threads` on the worker.
    compute : bool, optional
        Compute now, and return an ndarray.

    Returns
    -------
    dask array, shape (m, n_components)
        Lazy, in the row chunks of X. What `kexue.random_projection` makes of all rows with the same `rng`; for
        "gaussian", to rounding.

    Raises
    ------
    ImportError
        If Dask is not installed.
    KexueValueError
        Here, as `kexue.random_projection`; or from the task that computes: names the block and the first bad entry,
        counted within it.
    TypeError
        If X does not hold real numbers, or a block is not an array.

    See Also
    --------
    kexue.random_projection : on one machine, with threads.
    kexue.RandomProjectionMap : all that a task is sent.

    Notes
    -----
    No matrix is sent: a task makes its own from the key, of 128 bits.

    Examples
    --------
    >>> import dask.array
    >>> import kexue.dask
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(300, 40))
    >>> lazy = kexue.dask.random_projection(dask.array.from_array(X, chunks=(100, 20)), 8, kind="srht", rng=0)
    >>> lazy.chunks
    ((100, 100, 100), (8,))
    >>> Y = kexue.random_projection(X, 8, kind="srht", rng=0)
    >>> bool((lazy.compute(scheduler="synchronous") == Y).all())
    True
    """
    _require_dask()
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    columns, dtype = _columns(X)
    blocks = _blocks("X", X, _client(), _require_rows)
    if isinstance(n_components, str):
        n_components = _automatic(n_components, blocks.total, columns, eps)
    project = kexue.RandomProjectionMap.draw(
        columns, n_components, kind=kind, density=density, nonzeros=nonzeros, rng=rng
    )
    project(np.empty((0, columns)), workers=workers)  # raises for bad workers
    name = f"random_projection-{uuid.uuid4().hex}"
    tasks = {
        (name, i, 0): (partial(_project, f"block {i} of X", project, dtype, workers), block.key)
        for i, block in enumerate(blocks.nodes)
    }
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=blocks.nodes)
    result = Array(graph, name, (blocks.lengths, (project.n_components,)), dtype=dtype)
    return result.compute() if compute else result


def _search_graph(
    queries: _Blocks, partitions: _Blocks, source: Delayed | None, search: _Search, wave: int
) -> tuple[HighLevelGraph, str, list[_Key]]:
    """The graph of the search, its layer's name, and the key of the `_Found` for each block of queries."""
    from dask.highlevelgraph import HighLevelGraph

    token = uuid.uuid4().hex
    tasks: dict[_Key, tuple[Any, ...]] = {}
    found = []
    for b, block in enumerate(queries.nodes):
        best: list[_Key] = []
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
                merged: list[_Key] = []
                for start in range(0, len(best), _MERGED_AT_ONCE):
                    key = (f"kneighbors-merge-{token}", b, first, level, start)
                    tasks[key] = (partial(_merge, search.count), best[start : start + _MERGED_AT_ONCE])
                    merged.append(key)
                best, level = merged, level + 1
        found += best
    name = f"kneighbors-{token}"
    dependencies = [*queries.nodes, *partitions.nodes, *([] if source is None else [source])]
    return HighLevelGraph.from_collections(name, tasks, dependencies=dependencies), name, found


@dataclass(frozen=True)
class _Blocks:
    """Documents in blocks: a node of the graph and a number of documents for each, NaN where it is not known."""

    nodes: list[Delayed]
    lengths: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.lengths)


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

    metric: str
    rms: bool
    empty: str
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
        with _named(f"partition {number} of corpus"):
            if isinstance(partition, _File):
                index = partition.index()
            else:
                _require_table("it", partition)
                index = kexue.DocumentIndex(_array(vectors), self.metric, rms=self.rms, empty=self.empty).fit(partition)
        documents = index._searchable()
        distances = np.full((queries.shape[0], min(self.count, documents)), np.inf, dtype=index.dtype)
        indices = np.full(distances.shape, -1, dtype=np.int64)
        if documents:
            with _named(f"block {block} of X"):
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
    with _named(where):
        return kexue.pairwise_distances(X, vectors=_array(vectors), **options)


def _between(where: str, options: dict[str, Any], X: Any, Y: Any, vectors: np.ndarray | _File) -> np.ndarray:
    with _named(where):
        return kexue.pairwise_distances(X, Y, vectors=_array(vectors), **options)


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in an error which block it is about."""
    try:
        yield
    except (KexueValueError, OverflowError) as error:
        raise type(error)(f"{where}: {error}") from error


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


# ---- HSIC ----


def _pair(name: str, option: Any) -> tuple[Any, Any]:
    pair = tuple(option) if isinstance(option, (tuple, list)) else (option, option)
    if len(pair) != 2:
        raise KexueValueError(f"{name} must be one value or a pair, for X and for Y, but it has {len(pair)} items")
    return pair


def _in_tree(tasks: dict[_Key, Any], name: str, merge: Any, keys: list[_Key]) -> _Key:
    """Merge the values of all keys, a few at once; the key of the result."""
    level = 0
    while len(keys) > 1 or level == 0:
        merged: list[_Key] = []
        for start in range(0, len(keys), _MERGED_AT_ONCE):
            key = (name, level, start)
            tasks[key] = (merge, keys[start : start + _MERGED_AT_ONCE])
            merged.append(key)
        keys, level = merged, level + 1
    return keys[0]


def _sample(block: int, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows of a block, with what decides which of all rows are taken."""
    with _named(f"block {block} of X and Y"):
        _require_pair(X, Y)
        for name, points in (("X", np.asarray(X)), ("Y", np.asarray(Y))):
            _require_finite(name, points)
    order = np.random.default_rng([block, 0]).random(len(X))
    return _draw([(order, np.asarray(X), np.asarray(Y))])


def _draw(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order, X, Y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    lowest = np.argsort(order, kind="stable")[:_SAMPLE_ROWS]
    return order[lowest], X[lowest], Y[lowest]


def _found(
    options: dict[str, Any], medians: list[bool], linear: list[bool], sample: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[tuple[Any, ...], list[Any]]:
    """What the parts have in common: bandwidths, and the origins of linear kernels, to which HSIC is indifferent."""
    bandwidths, origins = list(options["bandwidth"]), [None, None]
    for side, (name, points) in enumerate(zip("XY", sample[1:], strict=True)):
        if medians[side]:
            with _named(f"a sample of {name}"):
                bandwidths[side] = kexue.median_bandwidth(points, kernel=options["kernel"][side])
        elif linear[side] and len(points):
            origins[side] = points.mean(axis=0, dtype=np.float64)
    return tuple(bandwidths), origins


def _part(
    options: dict[str, Any], i: int, j: int, sample: tuple[tuple[Any, ...], list[Any]] | None, *points: Any
) -> HSICSums:
    where = f"block {i} of X and Y" if i == j else f"blocks {i} and {j} of X and Y"
    with _named(where):
        for X, Y in zip(points[::2], points[1::2], strict=True):
            _require_pair(X, Y)
        if sample is not None:
            bandwidths, origins = sample
            options = {**options, "bandwidth": bandwidths}
            points = tuple(
                one if origin is None else np.asarray(one) - origin
                for one, origin in zip(points, origins * (len(points) // 2), strict=True)
            )
        if i == j:
            return kexue.HSICSums.within(*points, i, **options)
        return kexue.HSICSums.between(*points, (i, j), **options)


def _add(parts: Sequence[HSICSums]) -> HSICSums:
    return reduce(operator.add, parts)


def _of_all(estimator: str, sums: HSICSums) -> np.ndarray:
    return np.asarray(sums.hsic(estimator))


def _require_pairs(first: _Blocks, second: _Blocks) -> None:
    if len(first.nodes) != len(second.nodes):
        raise KexueValueError(f"X has {len(first.nodes)} blocks and Y has {len(second.nodes)}")
    for i, (rows, others) in enumerate(zip(first.lengths, second.lengths, strict=True)):
        if rows == rows and others == others and rows != others:
            raise KexueValueError(f"block {i} of X has {rows} points, and of Y {others}")


def _require_points(name: str, block: Any) -> None:
    if not hasattr(block, "shape"):
        raise TypeError(f"{name} must be an array of points, not {type(block).__name__}")
    if len(block.shape) not in (1, 2):
        raise KexueValueError(f"{name} must have 1 or 2 dimensions, but its shape is {block.shape}")


def _require_finite(name: str, points: np.ndarray) -> None:
    """Before rows are drawn, whose numbers would be in an error."""
    if points.dtype.kind == "f" and not np.isfinite(points).all():
        first = tuple(map(int, np.argwhere(~np.isfinite(points))[0]))
        raise KexueValueError(f"{name}[{', '.join(map(str, first))}] is {points[first]}")


def _require_pair(X: Any, Y: Any) -> None:
    for name, block in (("X", X), ("Y", Y)):
        _require_points(name, block)
    if len(X) != len(Y):
        raise KexueValueError(f"X and Y must have as many points, but X has {len(X)} and Y has {len(Y)}")


# ---- random projection ----


@lru_cache(maxsize=4)
def _drawn(project: RandomProjectionMap) -> RandomProjectionMap:
    """One map for all tasks of a process: it keeps what it drew."""
    return project


def _project(where: str, project: RandomProjectionMap, dtype: np.dtype, workers: int | None, X: Any) -> np.ndarray:
    with _named(where):
        _require_rows("it", X)
        if X.dtype.kind == "f" and dtype == np.float64:
            X = X.astype(dtype, copy=False)  # float32 beside blocks of float64, as all rows in one array would be
        return _drawn(project)(X, workers=workers).astype(dtype, copy=False)


def _columns(X: Any) -> tuple[int, np.dtype]:
    """How many columns all blocks have, and the dtype of their projection."""
    from dask.array import Array

    blocks = [X] if isinstance(X, Array) or not isinstance(X, (list, tuple)) else list(X)
    columns: list[int] = []
    dtypes = []
    for i, block in enumerate(blocks):
        name = "X" if isinstance(X, Array) else f"X[{i}]"
        if _is_lazy(block):
            raise TypeError(
                f"{name} is lazy, and its shape and dtype are not known here: make a dask.array.from_delayed of it"
            )
        _require_rows(name, block)
        columns.append(block.shape[1])
        if columns[i] != columns[i]:
            raise KexueValueError(f"{name} has columns in chunks of unknown size: call its compute_chunk_sizes() first")
        if columns[i] != columns[0]:
            raise KexueValueError(f"{name} has {columns[i]} columns, but X[0] has {columns[0]}")
        dtypes.append(kexue.random_projection(np.empty((0, 1), dtype=block.dtype), 1).dtype)
    if not blocks:
        raise KexueValueError("X has no blocks")
    if columns[0] == 0:
        raise KexueValueError(f"X has no columns: its shape is {blocks[0].shape}")
    return columns[0], np.result_type(*dtypes)


def _automatic(name: str, rows: float, columns: int, eps: float) -> int:
    if name != "auto":
        raise KexueValueError(f'n_components must be an integer or "auto", got {name!r}')
    if rows != rows or rows == 0:
        raise KexueValueError('n_components="auto" needs rows, and their number to be known')
    wanted = int(kexue.jl_min_dim(int(rows), eps))
    if wanted > columns:
        raise KexueValueError(
            f'n_components="auto" is {wanted} for {rows} rows and eps={eps}, more than the {columns} columns of X'
        )
    return wanted


def _require_rows(name: str, block: Any) -> None:
    if not (hasattr(block, "shape") and hasattr(block, "dtype")):
        raise TypeError(f"{name} must be an array, not {type(block).__name__}")
    if len(block.shape) != 2:
        raise KexueValueError(f"{name} must have 2 dimensions, but its shape is {block.shape}")


# ---- what is given, as nodes of a graph ----


def _require_dask() -> None:
    try:
        import dask.array  # noqa: F401
    except ImportError as error:
        raise ImportError('kexue.dask needs Dask: pip install "kexue[dask]"') from error


def _client() -> Client | None:
    """The `distributed` client that computes by default."""
    from dask.base import get_scheduler

    try:
        client = getattr(get_scheduler(), "__self__", None)
    except RuntimeError:  # the client is asynchronous: its user computes, and everything in memory is in the graph
        return None
    return client if hasattr(client, "scatter") else None


def _nodes(values: Sequence[Any], client: Client | None, *, broadcast: bool = False) -> list[Delayed]:
    """Values in memory as nodes; on the workers, if there are workers."""
    from dask import delayed

    if client is not None:
        # A key of its own for each call: equal content under one key is lost where an earlier owner lets go of it.
        values = client.scatter(list(values), broadcast=broadcast, hash=False)
    return [delayed(value, traverse=False) for value in values]


def _is_lazy(value: Any) -> bool:
    from dask.delayed import Delayed

    try:
        from distributed import Future
    except ImportError:
        return isinstance(value, Delayed)
    return isinstance(value, (Delayed, Future))


def _is_path(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike))


def _require_table(name: str, block: Any) -> None:
    if not hasattr(block, "shape"):
        raise TypeError(
            f"{name} must be documents x vocabulary, as a sparse matrix or a 2-D array, not {type(block).__name__}"
        )
    if len(block.shape) != 2:
        raise KexueValueError(f"{name} must have 2 dimensions (documents x vocabulary), but its shape is {block.shape}")


def _blocks(
    name: str, value: Any, client: Client | None, require: Callable[[str, Any], None] = _require_table
) -> _Blocks:
    """Documents, or points, as they are given, in blocks."""
    from dask import delayed
    from dask.array import Array

    if isinstance(value, Array):
        require(name, value)
        # Optimizing here would lose the futures of an array that was persisted, and is done at the end anyway.
        rows = value.to_delayed(optimize_graph=False)
        rows = rows.reshape(len(rows), -1)
        whole = rows.shape[1] == 1
        return _Blocks([row[0] if whole else delayed(_side_by_side)(list(row)) for row in rows], value.chunks[0])
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items:
        raise KexueValueError(f"{name} has no blocks")
    nodes: dict[int, Delayed] = {}
    for i, item in enumerate(items):
        if _is_lazy(item):
            nodes[i] = delayed(item, traverse=False)
        else:
            require(name if item is value else f"{name}[{i}]", item)
    here = [i for i in range(len(items)) if i not in nodes]
    if here:
        nodes.update(zip(here, _nodes([items[i] for i in here], client), strict=True))
    lengths = tuple(np.nan if _is_lazy(item) else item.shape[0] for item in items)
    return _Blocks([nodes[i] for i in range(len(items))], lengths)


def _side_by_side(blocks: list[Any]) -> Any:
    # Not by Dask's rechunk, which before 2024.12 cannot join scipy's sparse arrays.
    return hstack(blocks, format="csr") if issparse(blocks[0]) else np.hstack(blocks)


def _saved(corpus: Any, metric: str, rms: bool) -> tuple[_Blocks, np.dtype]:
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
    return _Blocks(nodes, documents), found[0]["dtype"]


def _vectors(vectors: Any, client: Client | None) -> tuple[Delayed, np.dtype]:
    """The vectors as one node, and the data type of their distances."""
    import dask

    if isinstance(vectors, WordVectors):
        vectors = vectors.vectors
    if _is_path(vectors):
        node = dask.delayed(_File(os.path.abspath(vectors)), traverse=False)
    elif _is_lazy(vectors):
        (node,) = dask.persist(dask.delayed(vectors, traverse=False))
    else:
        array = np.asarray(vectors)
        dtype = _dtype_of(array)
        (node,) = _nodes([array.astype(dtype, copy=False)], client, broadcast=True)
        return node, dtype
    return node, dask.compute(dask.delayed(_dtype_of)(node))[0]


def _threads_of(client: Client | None) -> int:
    import dask
    from dask.system import CPU_COUNT

    if client is None:
        return dask.config.get("num_workers", None) or CPU_COUNT
    return sum(client.nthreads().values())


def _positive_integer(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if number < 1:
        raise KexueValueError(f"{name} must be at least 1, got {number}")
    return number
