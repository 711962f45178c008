"""Random projection of blocks."""

from __future__ import annotations

from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

import kexue
from kexue import KexueValueError
from kexue.dask._graph import default_client, in_blocks, is_lazy, named, require_dask, token_of

if TYPE_CHECKING:
    from dask.array import Array

    from kexue import RandomProjectionMap


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
    require_dask()
    from dask.array import Array
    from dask.highlevelgraph import HighLevelGraph

    columns, dtype = _columns(X)
    blocks = in_blocks("X", X, default_client(), _require_rows)
    if isinstance(n_components, str):
        n_components = _automatic(n_components, blocks.total, columns, eps)
    project = kexue.RandomProjectionMap.draw(
        columns, n_components, kind=kind, density=density, nonzeros=nonzeros, rng=rng
    )
    project(np.empty((0, columns)), workers=workers)  # raises for bad workers
    name = f"random_projection-{token_of(blocks.keys, project, dtype, workers)}"
    tasks = {
        (name, i, 0): (partial(_project, f"block {i} of X", project, dtype, workers), block.key)
        for i, block in enumerate(blocks.nodes)
    }
    graph = HighLevelGraph.from_collections(name, tasks, dependencies=blocks.nodes)
    result = Array(graph, name, (blocks.lengths, (project.n_components,)), dtype=dtype)
    return result.compute() if compute else result


@lru_cache(maxsize=4)
def _drawn(project: RandomProjectionMap) -> RandomProjectionMap:
    """One map for all tasks of a process: it keeps what it drew."""
    return project


def _project(where: str, project: RandomProjectionMap, dtype: np.dtype, workers: int | None, X: Any) -> np.ndarray:
    with named(where):
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
        if is_lazy(block):
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
