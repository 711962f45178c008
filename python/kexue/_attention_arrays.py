"""Batches of matrices whose leading dimensions broadcast, as the kernels of attention take them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_real
from kexue._errors import KexueValueError

Item = tuple[np.ndarray, np.ndarray]


def rows(name: str, value: ArrayLike, dtype: np.dtype) -> np.ndarray:
    array = as_real(name, value)
    if array.ndim < 2:
        raise KexueValueError(f"{name} must have shape (..., rows, dimension), but its shape is {array.shape}")
    array = array.astype(dtype, copy=False)
    if not array.flags.aligned or (array.shape[-1] > 1 and array.strides[-1] != array.itemsize):
        array = array.copy()
    return array


def items(array: np.ndarray, outer: tuple[int, ...]) -> Item:
    """The first of the items that an array broadcasts to, and the bytes from it to each."""
    whole = np.broadcast_to(array, outer + array.shape[-2:])
    offsets = np.zeros(outer, dtype=np.int64)
    for axis, (size, stride) in enumerate(zip(outer, whole.strides, strict=False)):
        shape = [1] * len(outer)
        shape[axis] = size
        offsets += np.arange(size, dtype=np.int64).reshape(shape) * stride
    first = whole[(0,) * len(outer)] if whole.size else np.empty(array.shape[-2:], dtype=array.dtype)
    return first, offsets.reshape(-1)


def broadcast_leads(names: str, leads: list[tuple[int, ...]]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(*leads)
    except ValueError:
        raise KexueValueError(
            f"{names} must have leading dimensions that broadcast, got {', '.join(map(str, leads))}"
        ) from None


def check_causal(causal: Any) -> bool:
    if not isinstance(causal, (bool, np.bool_)):
        raise TypeError(f"causal must be True or False, not {type(causal).__name__}")
    return bool(causal)


def as_upstream(grad: ArrayLike, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The gradient by an output of that shape."""
    upstream = as_real("grad", grad).astype(dtype, copy=False)
    try:
        return np.broadcast_to(upstream, shape)
    except ValueError:
        raise KexueValueError(f"grad must broadcast to {shape}, but its shape is {upstream.shape}") from None
