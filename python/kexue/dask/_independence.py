"""HSIC of points in blocks."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import kexue
from kexue import KexueValueError
from kexue.dask._graph import Blocks, Key, default_client, in_blocks, in_tree, named, require_dask, token_of

if TYPE_CHECKING:
    from dask.array import Array

    from kexue import HSICSums

SAMPLE_ROWS = 2048  # for a median distance: as many as kexue.hsic_streaming takes


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
    require_dask()
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
    client = default_client()
    first, second = (in_blocks(name, value, client, _require_points) for name, value in (("X", X), ("Y", Y)))
    _require_pairs(first, second)

    token = token_of(first.keys, second.keys, estimator, options, workers)
    tasks: dict[Key, Any] = {}
    sample = None
    if any(medians) or any(linear):
        samples: list[Key] = []
        for i, (x, y) in enumerate(zip(first.nodes, second.nodes, strict=True)):
            key = (f"hsic-sample-{token}", i)
            tasks[key] = (partial(_sample, i), x.key, y.key)
            samples.append(key)
        sample = f"hsic-found-{token}"
        drawn = in_tree(tasks, f"hsic-drawn-{token}", _draw, samples)
        tasks[sample] = (partial(_found, options, medians, linear), drawn)
    parts: list[Key] = []
    for i, (x, y) in enumerate(zip(first.nodes, second.nodes, strict=True)):
        for j in range(i, len(first.nodes)):
            part = (f"hsic-part-{token}", i, j)
            others = (x.key, y.key) if i == j else (x.key, y.key, first.nodes[j].key, second.nodes[j].key)
            tasks[part] = (partial(_part, {**options, "workers": workers}, i, j), sample, *others)
            parts.append(part)
    name = f"hsic-{token}"
    tasks[(name,)] = (partial(_of_all, estimator), in_tree(tasks, f"hsic-sum-{token}", _add, parts))
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=[*first.nodes, *second.nodes])
    result = Array(graph, name, (), dtype=np.float64)
    return float(result.compute()) if compute else result


def _pair(name: str, option: Any) -> tuple[Any, Any]:
    pair = tuple(option) if isinstance(option, (tuple, list)) else (option, option)
    if len(pair) != 2:
        raise KexueValueError(f"{name} must be one value or a pair, for X and for Y, but it has {len(pair)} items")
    return pair


def _sample(block: int, X: Any, Y: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random rows of a block, with what decides which of all rows are taken."""
    with named(f"block {block} of X and Y"):
        _require_pair(X, Y)
        for name, points in (("X", np.asarray(X)), ("Y", np.asarray(Y))):
            _require_finite(name, points)
    order = np.random.default_rng([block, 0]).random(len(X))
    return _draw([(order, np.asarray(X), np.asarray(Y))])


def _draw(parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    order, X, Y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    lowest = np.argsort(order, kind="stable")[:SAMPLE_ROWS]
    return order[lowest], X[lowest], Y[lowest]


def _found(
    options: dict[str, Any], medians: list[bool], linear: list[bool], sample: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> tuple[tuple[Any, ...], list[Any]]:
    """What the parts have in common: bandwidths, and the origins of linear kernels, to which HSIC is indifferent."""
    bandwidths, origins = list(options["bandwidth"]), [None, None]
    for side, (name, points) in enumerate(zip("XY", sample[1:], strict=True)):
        if medians[side]:
            with named(f"a sample of {name}"):
                bandwidths[side] = kexue.median_bandwidth(points, kernel=options["kernel"][side])
        elif linear[side] and len(points):
            origins[side] = points.mean(axis=0, dtype=np.float64)
    return tuple(bandwidths), origins


def _part(
    options: dict[str, Any], i: int, j: int, sample: tuple[tuple[Any, ...], list[Any]] | None, *points: Any
) -> HSICSums:
    where = f"block {i} of X and Y" if i == j else f"blocks {i} and {j} of X and Y"
    with named(where):
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
            return kexue.HSICSums.within(points[0], points[1], i, **options)
        return kexue.HSICSums.between(points[0], points[1], points[2], points[3], (i, j), **options)


def _add(parts: Sequence[HSICSums]) -> HSICSums:
    return reduce(operator.add, parts)


def _of_all(estimator: Any, sums: HSICSums) -> np.ndarray:
    return np.asarray(sums.hsic(estimator))


def _require_pairs(first: Blocks, second: Blocks) -> None:
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
