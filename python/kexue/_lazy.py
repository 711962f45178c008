"""Functions of rows on Dask arrays: the result stays lazy, and the function runs on each chunk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any


def is_lazy(*values: Any) -> bool:
    """Whether one of the values is a Dask array.

    Parameters
    ----------
    *values : object

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._lazy import is_lazy
    >>> is_lazy(np.ones(2), None)
    False
    """
    return any(type(value).__module__.partition(".")[0] == "dask" for value in values)


def apply_rows(
    function: Callable[..., Any],
    signature: str,
    *operands: Any,
    axis: int,
    output_dtypes: Sequence[Any],
    **options: Any,
) -> Any:
    """Put a function of rows off until its chunks are computed.

    Parameters
    ----------
    function : callable
        It has the signature of a gufunc, whose core dimension, if an operand has one, is the last.
    signature : str
        As "(n),()->(n)", without optional spaces.
    *operands : array_like
        One of them at least is a Dask array. An array with a core dimension must be one chunk along it.
    axis : int
        Where the core dimension is, in the operands and in the results.
    output_dtypes : sequence of dtype
        One for each result.
    **options
        Passed to `function`.

    Returns
    -------
    dask array or tuple of dask arrays
    """
    from dask.array import apply_gufunc, asarray
    from dask.array.core import unify_chunks

    before, after = ([core == "n" for core in side[1:-1].split("),(")] for side in signature.split("->"))
    labelled = []
    for operand, has_core in zip(operands, before, strict=True):
        array = asarray(operand)
        # Dimensions are numbered from the back, as they broadcast; the rows' own has no number.
        labels: list[Any] = list(range(array.ndim - has_core - 1, -1, -1))
        if has_core:
            labels.insert(axis % array.ndim, "row")
        labelled += [array, labels]
    _, arrays = unify_chunks(*labelled)
    return apply_gufunc(
        function,
        signature,
        *arrays,
        axes=[(axis,) if has_core else () for has_core in before + after],
        output_dtypes=list(output_dtypes) if len(after) > 1 else output_dtypes[0],
        **options,
    )


def apply_items(
    function: Callable[..., Any], signature: str, *operands: Any, output_dtypes: Sequence[Any], **options: Any
) -> Any:
    """Put a function of batches, with all core dimensions at the end, off until its chunks are computed.

    Parameters
    ----------
    function : callable
        It has the signature of a gufunc.
    signature : str
        As "(n),(n,n)->()", without optional spaces.
    *operands : array_like
        One of them at least is a Dask array. An array must be one chunk along its core dimensions.
    output_dtypes : sequence of dtype
        One for each result.
    **options
        Passed to `function`.

    Returns
    -------
    dask array or tuple of dask arrays
    """
    from dask.array import apply_gufunc, asarray
    from dask.array.core import unify_chunks

    labelled = []
    for place, (operand, core) in enumerate(zip(operands, signature.split("->")[0][1:-1].split("),("), strict=True)):
        array, cores = asarray(operand), core.count(",") + 1
        # Leading dimensions are numbered from the back, as they broadcast; core dimensions are left alone.
        labels: list[Any] = list(range(array.ndim - cores - 1, -1, -1))
        labelled += [array, labels + [(place, i) for i in range(cores)]]
    _, arrays = unify_chunks(*labelled)
    return apply_gufunc(
        function,
        signature,
        *arrays,
        output_dtypes=list(output_dtypes) if len(output_dtypes) > 1 else output_dtypes[0],
        **options,
    )
