"""Arguments that are one array or a list of them, as the parameters of a model are."""

from __future__ import annotations

from typing import Any

import numpy as np

from kexue._errors import KexueValueError
from kexue._gradient_clipping_core import have_overlaps


def parts_of(name: str, value: Any) -> tuple[list[tuple[str, Any]], bool]:
    """The arrays of an argument by their names, and whether it was a list of them.

    A list or tuple that holds an array is a list of arrays; nested lists of numbers are one array.
    """
    listed = isinstance(value, (list, tuple)) and any(_is_array(item) for item in value)
    if listed:
        return [(f"{name}[{i}]", item) for i, item in enumerate(value)], True
    return [(name, value)], False


def _is_array(item: Any) -> bool:
    return hasattr(item, "__array__") and not isinstance(item, np.generic)


def matching_parts(name: str, value: Any, like: str, count: int, listed: bool) -> list[tuple[str, Any]]:
    """The same of an argument that comes with another one: a list of as many arrays, or one array."""
    if not listed:
        return [(name, value)]
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name} must be a list of arrays, as {like} is, not {type(value).__name__}")
    if len(value) != count:
        raise KexueValueError(f"{name} has {len(value)} arrays, but {like} has {count}")
    return [(f"{name}[{i}]", item) for i, item in enumerate(value)]


def places_of(out: Any, like: str, arrays: list[np.ndarray], listed: bool) -> list[np.ndarray]:
    """The arrays of `out`, to which results like `arrays` can be written."""
    parts = matching_parts("out", out, like, len(arrays), listed)
    return [require_place(*part, array.shape, array.dtype) for part, array in zip(parts, arrays, strict=True)]


def require_place(name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array that a result can be written to, as it is."""
    is_plain = isinstance(out, np.ndarray) and not isinstance(out, np.ma.MaskedArray)
    if not is_plain or out.dtype != dtype:
        found = f"dtype {out.dtype}" if is_plain else type(out).__name__
        raise TypeError(f"{name} must be an array of dtype {dtype}, not {found}")
    if out.shape != shape:
        raise KexueValueError(f"{name} has shape {out.shape}, but the result has shape {shape}")
    if not out.flags.writeable:
        raise KexueValueError(f"{name} is read-only")
    return out


def buffers_for(places: list[np.ndarray], arrays: list[np.ndarray]) -> list[np.ndarray]:
    """What the core computes results of `arrays` into: the places, or new arrays.

    New ones where a place is not C-contiguous, and where writing to one may change another, or what is still to be
    read: results do not depend on the order in which they come.
    """
    is_apart = not have_overlaps(places, arrays)
    return [place if is_apart and place.flags.carray else np.empty(place.shape, place.dtype) for place in places]


def deliver(buffers: list[np.ndarray], places: list[np.ndarray]) -> None:
    """Copy results to their places."""
    for buffer, place in zip(buffers, places, strict=True):
        if buffer is not place:
            place[...] = buffer
