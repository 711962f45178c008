"""Exact attention, its gradients, and the scale that keeps its entropy."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _attention
from kexue._arrays import as_array, as_real, result_dtype, sum_to
from kexue._attention_arrays import items, rows
from kexue._errors import KexueValueError, first_bad, require_finite

_BASE_LENGTH = 512  # where the entropy-invariant scale is 1 / sqrt(d)
_BLOCK = 1 << 20  # entries of a mask that are counted at a time: a mask may be small, and large where it is broadcast


def entropy_invariant_scale(
    n: ArrayLike, d: int, *, kappa: float | None = None, base_length: int = _BASE_LENGTH, min_length: int = 1
) -> np.ndarray | np.generic:
    """The scale of logits at which attention over n keys has about the entropy it has over others: kappa log(n) / d.

    Parameters
    ----------
    n : array_like of int
        How many keys a query sees.
    d : int
        The dimension of queries and keys.
    kappa : float, optional
        By default sqrt(d) / log(base_length), which makes the scale 1 / sqrt(d) for `base_length` keys.
    base_length : int
        At least 2.
    min_length : int
        Fewer keys count as so many. One key has scale 0 otherwise, and needs none.

    Returns
    -------
    ndarray or scalar of float64, shape as `n`

    Raises
    ------
    KexueValueError
        If a number is out of range.

    Notes
    -----
    The growth of entropy with n is reduced, not removed: for keys on a sphere in 64 dimensions it falls from 4.15 nats
    between 64 and 4096 keys to 3.52.

    References
    ----------
    J. Su, "From entropy invariance to the scale of attention", Scientific Spaces, 2021, https://kexue.fm/archives/8823.

    Examples
    --------
    >>> import kexue
    >>> (kexue.entropy_invariant_scale([64, 512, 4096], 64) * 8).round(6)
    array([0.666667, 1.      , 1.333333])
    """
    counts = as_real("n", n)
    first_bad("n", counts, lambda values: ~(values >= 0), "is {value}, not a number of keys")
    for name, value, least in (("d", d, 1), ("base_length", base_length, 2), ("min_length", min_length, 1)):
        if not value >= least:
            raise KexueValueError(f"{name} must be at least {least}, got {value!r}")
    if kappa is None:
        kappa = math.sqrt(d) / math.log(base_length)
    elif not math.isfinite(kappa):
        raise KexueValueError(f"kappa must be finite, got {kappa!r}")
    return (kappa / d * np.log(np.maximum(counts.astype(np.float64), min_length)))[()]


class _Problem:
    """Checked arguments of one call."""

    def __init__(self, Q: Any, K: Any, V: Any, scale: Any, mask: Any, causal: bool) -> None:
        self.dtype = result_dtype(Q, K, V)
        self.arrays = [rows(name, value, self.dtype) for name, value in (("Q", Q), ("K", K), ("V", V))]
        self._check_rows()
        allowed = self._mask(mask)
        self.outer = self._broadcast(
            [array.shape[:-2] for array in (*self.arrays, *([] if allowed is None else [allowed]))]
        )
        self.causal = self._causal(causal)
        self.items = [items(array, self.outer) for array in self.arrays]
        self.mask = None if allowed is None else items(allowed, self.outer)
        self._spread(self._scales(scale, allowed, self.arrays[0].shape[-1]))

    def _check_rows(self) -> None:
        queries, keys, values = self.arrays
        if queries.shape[-1] != keys.shape[-1]:
            raise KexueValueError(f"Q and K must have one dimension, got shapes {queries.shape} and {keys.shape}")
        if keys.shape[-2] != values.shape[-2]:
            raise KexueValueError(f"K and V must have as many rows, got shapes {keys.shape} and {values.shape}")
        self.queries, self.keys = queries.shape[-2], keys.shape[-2]

    def _broadcast(self, leads: list[tuple[int, ...]]) -> tuple[int, ...]:
        try:
            return np.broadcast_shapes(*leads)
        except ValueError:
            raise KexueValueError(
                f"Q, K, V and mask must have leading dimensions that broadcast, got {', '.join(map(str, leads))}"
            ) from None

    @staticmethod
    def _causal(causal: Any) -> bool:
        if not isinstance(causal, (bool, np.bool_)):
            raise TypeError(f"causal must be True or False, not {type(causal).__name__}")
        return bool(causal)

    def _spread(self, scales: np.ndarray) -> None:
        """One scale for each row of each item; a single one is not repeated in memory."""
        whole, shape = np.broadcast_to(scales, (*self.outer, self.queries)), (self.count, self.queries)
        self.scales = whole.reshape(shape) if scales.ndim else np.broadcast_to(scales, shape)

    @property
    def count(self) -> int:
        return math.prod(self.outer)

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
        try:
            array = np.broadcast_to(array, np.broadcast_shapes(array.shape, (self.queries, self.keys)))
        except ValueError:
            array = np.empty((0, 0, 0))
        if array.shape[-2:] != (self.queries, self.keys):
            raise KexueValueError(
                f"mask must broadcast to (..., {self.queries}, {self.keys}), but its shape is {np.shape(mask)}"
            )
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
        with np.errstate(over="ignore"):
            narrow = scales.astype(self.dtype)
        first_bad("scale", scales, lambda _: np.isinf(narrow), f"is {{value}}, beyond {self.dtype}")
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

    def run(self, *, entropies: bool, log_sums: bool, workers: int | None) -> tuple[np.ndarray, Any, Any]:
        rows = (self.count, self.queries)
        out = np.empty((*rows, self.arrays[2].shape[-1]), dtype=self.dtype)
        sums = np.empty((*rows, 2)) if log_sums else None
        entropy = np.empty(rows) if entropies else None
        _attention.attend(*self.items, self.mask, self.causal, self.scales, out, sums, entropy, workers)
        return out, sums, entropy


def attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = "sqrt",
    mask: ArrayLike | None = None,
    causal: bool = False,
    return_entropy: bool = False,
    workers: int | None = None,
) -> Any:
    """Scaled dot-product attention, softmax(scale Q K^T) V, exact and without the matrix of weights.

    Parameters
    ----------
    Q : array_like, shape (..., n_queries, d)
    K : array_like, shape (..., n_keys, d)
    V : array_like, shape (..., n_keys, d_v)
        Leading dimensions (batches, heads) broadcast: heads may share keys and values. float32 or float16 for all give
        float32, else float64.
    scale : {"sqrt", "entropy"} or array_like
        What the products of queries and keys are multiplied by: 1 / sqrt(d); `entropy_invariant_scale` of the number of
        keys that the query sees; or a number, or one for each query (broadcast to (..., n_queries)).
    mask : array_like, optional
        Broadcast to (..., n_queries, n_keys). bool: True takes part; floating-point numbers are added to the scaled
        products, -inf hides. Integers are refused: they could mean either.
    causal : bool
        Query i sees keys 0 to i only, whatever the numbers of queries and keys.
    return_entropy : bool
        Whether to return the entropy of each query's weights as well.
    workers : int, optional
        Threads; see `kexue.threads`.

    Returns
    -------
    out : ndarray, shape (..., n_queries, d_v)
        0 for a query that sees no key. NaN or infinite for one that sees, or is, something that is not finite, and for
        no other.
    entropy : ndarray of float64, shape (..., n_queries)
        In nats. Only if `return_entropy`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or a mask or a scale holds what it must not.
    TypeError
        If an argument does not hold real numbers, a mask holds integers, or `causal` is no bool.

    See Also
    --------
    attention_vjp : the gradients.
    entropy_invariant_scale

    Notes
    -----
    O(n_queries n_keys (d + d_v)) time, O(1) memory besides the result: tiles of weights of 64 keys, with the sum and
    the maximum of each row so far, in registers and the first cache. float32 is computed in float32.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact Attention with
    IO-Awareness", 2022, arXiv:2205.14135. M. Milakov, N. Gimelshein, "Online normalizer calculation for softmax", 2018,
    arXiv:1805.02867.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q = K = V = np.eye(3)
    >>> kexue.attention(Q, K, V, scale=2.0, causal=True).round(4)
    array([[1.    , 0.    , 0.    ],
           [0.1192, 0.8808, 0.    ],
           [0.1065, 0.1065, 0.787 ]])
    >>> _, entropy = kexue.attention(Q, K, V, return_entropy=True)
    >>> entropy.round(4)
    array([1.0581, 1.0581, 1.0581])
    """
    problem = _Problem(Q, K, V, scale, mask, causal)
    out, _, entropy = problem.run(entropies=return_entropy, log_sums=False, workers=workers)
    shape = (*problem.outer, problem.queries)
    out = out.reshape(*shape, out.shape[-1])
    return (out, entropy.reshape(shape)) if return_entropy else out


def attention_vjp(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    grad: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = "sqrt",
    mask: ArrayLike | None = None,
    causal: bool = False,
    return_grad_scale: bool = False,
    workers: int | None = None,
) -> Any:
    """The gradients of `attention` by queries, keys and values, from the gradient by its output.

    Parameters
    ----------
    Q, K, V, scale, mask, causal, workers
        As for `attention`.
    grad : array_like, shape (..., n_queries, d_v)
        The upstream gradient, broadcast to the output's shape.
    return_grad_scale : bool
        Whether to return the gradient by each query's scale as well. By the kappa of an entropy-invariant scale it is
        the sum of this times the scales, over kappa.

    Returns
    -------
    grad_Q, grad_K, grad_V : ndarray
        In the shapes of `Q`, `K` and `V`: summed over the items that share an operand.
    grad_scale : ndarray of float64, shape (..., n_queries)
        Only if `return_grad_scale`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or a mask or a scale holds what it must not.
    TypeError
        If an argument does not hold real numbers, a mask holds integers, or `causal` is no bool.

    See Also
    --------
    attention

    Notes
    -----
    The output is computed once more, and the weights in tiles from the logarithms of their sums: some 3.5 times the
    time of `attention`. Items (heads of batches) are shared out among threads.

    References
    ----------
    T. Dao, D. Y. Fu, S. Ermon, A. Rudra, C. Ré, "FlashAttention: Fast and Memory-Efficient Exact Attention with
    IO-Awareness", 2022, arXiv:2205.14135.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q, K, V = np.random.default_rng(0).normal(size=(3, 4, 2))
    >>> grad_Q, grad_K, grad_V = kexue.attention_vjp(Q, K, V, np.ones((4, 2)))
    >>> np.allclose(grad_V.sum(axis=0), 4)  # weights sum to 1
    True
    """
    problem = _Problem(Q, K, V, scale, mask, causal)
    queries, keys, values = problem.arrays
    shape = (*problem.outer, problem.queries, values.shape[-1])
    upstream = as_real("grad", grad).astype(problem.dtype, copy=False)
    try:
        upstream = np.broadcast_to(upstream, shape)
    except ValueError:
        raise KexueValueError(f"grad must broadcast to {shape}, but its shape is {upstream.shape}") from None
    out, log_sums, _ = problem.run(entropies=False, log_sums=True, workers=workers)
    gradients = [np.empty((problem.count, *array.shape[-2:]), dtype=problem.dtype) for array in problem.arrays]
    by_scales = np.empty((problem.count, problem.queries)) if return_grad_scale else None
    _attention.gradient(
        *problem.items,
        problem.mask,
        problem.causal,
        problem.scales,
        out,
        log_sums,
        items(rows("grad", upstream, problem.dtype), problem.outer),
        *gradients,
        by_scales,
        workers,
    )
    results = tuple(
        sum_to(gradient.reshape(*problem.outer, *array.shape[-2:]), array.shape)
        for gradient, array in zip(gradients, problem.arrays, strict=True)
    )
    return (*results, by_scales.reshape(shape[:-1])) if return_grad_scale else results
