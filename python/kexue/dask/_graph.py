"""Values, lazy or not, as nodes of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import hstack, issparse

from kexue import KexueValueError

if TYPE_CHECKING:
    from dask.delayed import Delayed
    from distributed import Client

MERGED_AT_ONCE = 8  # results of k neighbours are small: few rounds count for more than few transfers
Key = str | tuple[Any, ...]


@dataclass(frozen=True)
class Blocks:
    """Documents in blocks: a node of the graph and a number of documents for each, NaN where it is not known."""

    nodes: list[Delayed]
    lengths: tuple[float, ...]

    @property
    def total(self) -> float:
        return sum(self.lengths)

    @property
    def keys(self) -> list[Key]:
        return [node.key for node in self.nodes]


def token_of(*arguments: Any) -> str:
    """The end of a name: calls with equal arguments are one work for Dask, and one result if it is kept."""
    from dask.base import tokenize

    return tokenize(*arguments)


def require_dask() -> None:
    try:
        import dask.array  # noqa: F401
    except ImportError as error:
        raise ImportError('kexue.dask needs Dask: pip install "kexue[dask]"') from error


def default_client() -> Client | None:
    """The `distributed` client that computes by default."""
    from dask.base import get_scheduler

    try:
        client: Any = getattr(get_scheduler(), "__self__", None)
    except RuntimeError:  # newer versions do so for an asynchronous client
        return None
    # Of an asynchronous one the user computes, and everything in memory is in the graph.
    return client if hasattr(client, "scatter") and not client.asynchronous else None


def in_graph(values: Sequence[Any], client: Client | None) -> list[Delayed]:
    """Values in memory as nodes; where there is a cluster, as futures that a lost worker does not take along."""
    import dask

    if client is not None:
        # Not by scatter, whose values are in the memory of workers alone: where one of them dies, they are gone. The
        # scheduler keeps those of a task, large as they are, and sends them again.
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": 2**63}):
            values = client.map(_itself, list(values), pure=False)
    # Without a cluster they are named by their content, as by dask.array.from_array.
    return [dask.delayed(value, traverse=False, pure=client is None) for value in values]


def _itself(value: Any) -> Any:
    return value


def is_lazy(value: Any) -> bool:
    from dask.delayed import Delayed

    try:
        from distributed import Future
    except ImportError:
        return isinstance(value, Delayed)
    return isinstance(value, (Delayed, Future))


def in_blocks(name: str, value: Any, client: Client | None, require: Callable[[str, Any], None]) -> Blocks:
    """Documents, or points, as they are given, in blocks."""
    from dask import delayed
    from dask.array import Array

    if isinstance(value, Array):
        require(name, value)
        # Optimizing here would lose the futures of an array that was persisted, and is done at the end anyway.
        rows = value.to_delayed(optimize_graph=False)
        rows = rows.reshape(len(rows), -1)
        whole = rows.shape[1] == 1
        join = delayed(_side_by_side, pure=True)
        return Blocks([row[0] if whole else join(list(row)) for row in rows], value.chunks[0])
    items = list(value) if isinstance(value, (list, tuple)) else [value]
    if not items:
        raise KexueValueError(f"{name} has no blocks")
    nodes: dict[int, Delayed] = {}
    for i, item in enumerate(items):
        if is_lazy(item):
            nodes[i] = delayed(item, traverse=False)
        else:
            require(name if item is value else f"{name}[{i}]", item)
    here = [i for i in range(len(items)) if i not in nodes]
    if here:
        nodes.update(zip(here, in_graph([items[i] for i in here], client), strict=True))
    lengths = tuple(np.nan if is_lazy(item) else item.shape[0] for item in items)
    return Blocks([nodes[i] for i in range(len(items))], lengths)


def _side_by_side(blocks: list[Any]) -> Any:
    # Not by Dask's rechunk, which before 2024.12 cannot join scipy's sparse arrays.
    return hstack(blocks, format="csr") if issparse(blocks[0]) else np.hstack(blocks)


@contextmanager
def named(where: str) -> Iterator[None]:
    """Say in an error which block it is about."""
    try:
        yield
    except (KexueValueError, OverflowError) as error:
        raise type(error)(f"{where}: {error}") from error


def in_tree(tasks: dict[Key, Any], name: str, merge: Any, keys: list[Key]) -> Key:
    """Merge the values of all keys, a few at once; the key of the result."""
    level = 0
    while len(keys) > 1 or level == 0:
        merged: list[Key] = []
        for start in range(0, len(keys), MERGED_AT_ONCE):
            key = (name, level, start)
            tasks[key] = (merge, keys[start : start + MERGED_AT_ONCE])
            merged.append(key)
        keys, level = merged, level + 1
    return keys[0]


def positive_integer(name: str, value: Any) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if number < 1:
        raise KexueValueError(f"{name} must be at least 1, got {number}")
    return number


def threads_of(client: Client | None) -> int:
    import dask
    from dask.system import CPU_COUNT

    if client is None:
        return dask.config.get("num_workers", None) or CPU_COUNT
    return sum(client.nthreads().values())
