"""Checked arguments of exact attention, whose heads talk or do not."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_array, as_real, result_dtype, sum_to
from kexue._attention_arrays import as_upstream, broadcast_leads, check_causal, items, rows
from kexue._attention_scale import entropy_invariant_scale
from kexue._errors import KexueValueError, first_bad, require_finite

_BLOCK = 1 << 20  # entries of a mask that are counted at a time: a mask may be small, and large where it is broadcast


def require_within(name: str, numbers: np.ndarray, dtype: np.dtype) -> None:
    """Finite numbers of float64 must be so in the dtype in which they are used."""
    with np.errstate(over="ignore"):
        narrow = numbers.astype(dtype)
    first_bad(name, numbers, lambda _: np.isinf(narrow), f"is {{value}}, beyond {dtype}")


class AttentionProblem:
    """What a call is about: operands of one dtype, and where the items of each are.

    `heads` are the dimensions of Q, K, V and of the softmax that come after the leading ones, which all share: none,
    or one that may differ.
    """

    heads: tuple[tuple[int, ...], ...] = ((), (), (), ())

    def __init__(self, Q: Any, K: Any, V: Any, scale: Any, mask: Any, causal: Any) -> None:
        self.dtype = result_dtype(Q, K, V)
        self.arrays = [rows(name, value, self.dtype) for name, value in zip("QKV", (Q, K, V), strict=True)]
        queries, keys, values = self.arrays
        if queries.shape[-1] != keys.shape[-1]:
            raise KexueValueError(f"Q and K must have one dimension, got shapes {queries.shape} and {keys.shape}")
        if keys.shape[-2] != values.shape[-2]:
            raise KexueValueError(f"K and V must have as many rows, got shapes {keys.shape} and {values.shape}")
        self.queries, self.keys = queries.shape[-2], keys.shape[-2]
        self._check_heads()
        self.causal = check_causal(causal)
        allowed = self._mask(mask)
        operands = [*self.arrays, *([] if allowed is None else [allowed])]
        self.lead = broadcast_leads(
            "Q, K, V and mask",
            [array.shape[: array.ndim - 2 - len(heads)] for array, heads in zip(operands, self.heads, strict=False)],
        )
        self.outer = (*self.lead, *self.heads[3])
        places = [items(array, (*self.lead, *heads)) for array, heads in zip(operands, self.heads, strict=False)]
        self.items = places[0], places[1], places[2]
        self.mask = None if allowed is None else places[3]
        scales = self._scales(scale, allowed, queries.shape[-1])
        whole, shape = np.broadcast_to(scales, (*self.outer, self.queries)), (math.prod(self.outer), self.queries)
        # One for each row of each item; a single one is not repeated in memory.
        self.scales = whole.reshape(shape) if scales.ndim else np.broadcast_to(scales, shape)

    def _check_heads(self) -> None:
        """Whether the operands have `heads`."""

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (*self.lead, *self.heads[2], self.queries, self.arrays[2].shape[-1])

    def upstream(self, grad: ArrayLike) -> Any:
        """The items of the gradient by the output."""
        upstream = as_upstream(grad, self.out_shape, self.dtype)
        return items(rows("grad", upstream, self.dtype), self.out_shape[:-2])

    def sums(self, gradients: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gradients of all items as those of the operands that they share."""
        by_queries, by_keys, by_values = (
            sum_to(gradient.reshape(*self.lead, *heads, *array.shape[-2:]), array.shape)
            for gradient, array, heads in zip(gradients, self.arrays, self.heads, strict=False)
        )
        return by_queries, by_keys, by_values

    def _mask(self, mask: Any) -> np.ndarray | None:
        if mask is None:
            return None
        array = as_array("mask", mask)
        if array.dtype != bool:
            if array.dtype.kind in "iu":
                raise TypeError(f"mask must be of bool or floating-point numbers, but its dtype is {array.dtype}")
            with np.errstate(over="ignore"):  # -1e300 hides in float32
                array = as_real("mask", array).astype(self.dtype, copy=False)
            first_bad("mask", array, lambda values: np.isnan(values) | (values == np.inf))
        wanted = (*self.heads[3], self.queries, self.keys)
        try:
            fits = np.broadcast_shapes(array.shape, wanted)[-len(wanted) :] == wanted
        except ValueError:
            fits = False
        if not fits:
            expected = ", ".join(map(str, ("...", *wanted)))
            raise KexueValueError(f"mask must broadcast to ({expected}), but its shape is {array.shape}")
        array = np.broadcast_to(array, np.broadcast_shapes(array.shape, (self.queries, self.keys)))
        array = array.reshape((1,) * (len(wanted) - array.ndim) + array.shape)
        return array if array.flags.aligned else array.copy()

    def _scales(self, scale: Any, mask: np.ndarray | None, dimension: int) -> np.ndarray:
        if isinstance(scale, str):
            if scale == "sqrt":
                return np.array(1 / math.sqrt(dimension) if dimension else 1.0)
            if scale == "entropy":
                return np.asarray(entropy_invariant_scale(self._visible(mask), max(dimension, 1)))
            raise KexueValueError(f'scale must be "sqrt", "entropy" or a number, got {scale!r}')
        scales = as_real("scale", scale).astype(np.float64)
        require_finite("scale", scales)
        require_within("scale", scales, self.dtype)
        try:
            np.broadcast_to(scales, (*self.outer, self.queries))
        except ValueError:
            raise KexueValueError(
                f"scale must be a number, or broadcast to {(*self.outer, self.queries)}, but has shape {scales.shape}"
            ) from None
        return scales

    def _visible(self, mask: np.ndarray | None) -> np.ndarray:
        """How many keys each query sees."""
        places = np.arange(self.queries)
        if mask is None:
            return np.minimum(places + 1, self.keys) if self.causal else np.full(self.queries, self.keys)
        counts = np.empty(mask.shape[:-1], dtype=np.int64)
        block = max(1, _BLOCK // max(1, mask.size // max(1, self.queries)))
        for begin in range(0, self.queries, block):
            part = mask[..., begin : begin + block, :]
            seen = part if part.dtype == bool else part > -np.inf
            if self.causal:
                seen = seen & (np.arange(self.keys) <= places[begin : begin + block, None])
            counts[..., begin : begin + block] = np.count_nonzero(seen, axis=-1)
        return counts
