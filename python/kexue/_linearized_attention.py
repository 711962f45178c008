"""Attention whose weights are products of features, in linear time, and its gradients."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _linear_attention
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_real, result_dtype, sum_to
from kexue._attention_arrays import as_upstream, broadcast_leads, check_causal, items, rows
from kexue._errors import KexueValueError, first_bad
from kexue._feature_maps import FavorKind, favor_features

_ENTRIES_AT_ONCE = 1 << 16


def _log_scales(mask: Any, key_log_scale: Any, keys: int) -> np.ndarray | None:
    """One number a key: its log-scale, or -inf if it is hidden."""
    scales = None
    if key_log_scale is not None:
        scales = as_real("key_log_scale", key_log_scale).astype(np.float64, copy=False)
        first_bad("key_log_scale", scales, lambda values: np.isnan(values) | (values == np.inf))
    if mask is not None:
        seen = as_array("mask", mask)
        if seen.dtype != bool:
            raise TypeError(f"mask must be of bool, but its dtype is {seen.dtype}")
        scales = np.where(seen, 0.0, -np.inf) if scales is None else _hidden(scales, seen)
    if scales is None:
        return None
    scales = np.atleast_1d(scales)
    if scales.shape[-1] not in (1, keys):
        name = "key_log_scale" if mask is None else "mask"
        raise KexueValueError(f"{name} must broadcast to (..., {keys}), one for each key, but has shape {scales.shape}")
    return np.broadcast_to(scales, (*scales.shape[:-1], keys))


def _hidden(scales: np.ndarray, seen: np.ndarray) -> np.ndarray:
    try:
        return np.where(seen, scales, -np.inf)
    except ValueError:
        raise KexueValueError(
            f"mask and key_log_scale must broadcast, got shapes {seen.shape} and {scales.shape}"
        ) from None


class _Problem:
    """Checked arguments of one call."""

    def __init__(
        self, phi_Q: Any, phi_K: Any, V: Any, causal: bool, mask: Any, key_log_scale: Any, eps: Any, workers: int | None
    ) -> None:
        self.dtype = result_dtype(phi_Q, phi_K, V)
        self.arrays = [rows(name, value, self.dtype) for name, value in (("phi_Q", phi_Q), ("phi_K", phi_K), ("V", V))]
        queries, keys, values = self.arrays
        if queries.shape[-1] != keys.shape[-1]:
            raise KexueValueError(
                f"phi_Q and phi_K must have as many features, got shapes {queries.shape} and {keys.shape}"
            )
        if keys.shape[-2] != values.shape[-2]:
            raise KexueValueError(f"phi_K and V must have as many rows, got shapes {keys.shape} and {values.shape}")
        self.queries, self.keys = queries.shape[-2], keys.shape[-2]
        self.scales = _log_scales(mask, key_log_scale, self.keys)
        outers = [array.shape[:-2] for array in self.arrays]
        if self.scales is not None:
            outers.append(self.scales.shape[:-1])
        self.outer = broadcast_leads("phi_Q, phi_K, V, mask and key_log_scale", outers)
        if not (isinstance(eps, (int, float, np.number)) and math.isfinite(eps) and eps >= 0):
            raise KexueValueError(f"eps must be finite and not negative, got {eps!r}")
        self.eps, self.causal, self.workers = float(eps), check_causal(causal), workers

    def run(
        self,
        queries: np.ndarray,
        keys: np.ndarray,
        values: np.ndarray,
        scales: np.ndarray | None,
        *,
        is_normalized: bool = False,
        denominators: bool = False,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The kernel on arrays that broadcast to `outer`: the outputs, and the denominators if they are wanted."""
        shape = (*self.outer, queries.shape[-2])
        out = np.empty((math.prod(self.outer), queries.shape[-2], values.shape[-1]), dtype=self.dtype)
        sums = np.empty(out.shape[:2]) if denominators else None
        places = None if scales is None else items(scales[..., None, :], self.outer)
        _linear_attention.attend(
            items(queries, self.outer),
            items(keys, self.outer),
            items(values, self.outer),
            places,
            self.causal,
            is_normalized,
            self.eps if is_normalized else 0.0,
            out,
            sums,
            self.workers,
        )
        return out.reshape(*shape, values.shape[-1]), None if sums is None else sums.reshape(shape)

    def tops(self) -> np.ndarray:
        """The largest log-scale that each query sees."""
        assert self.scales is not None
        whole = np.broadcast_to(self.scales, (*self.outer, self.keys))
        if self.keys == 0:
            return np.full((*self.outer, self.queries), -np.inf)
        if not self.causal:
            return np.broadcast_to(whole.max(axis=-1, keepdims=True), (*self.outer, self.queries))
        places = np.minimum(np.arange(self.queries), self.keys - 1)
        return np.maximum.accumulate(whole, axis=-1)[..., places]


@same_kind
def linear_attention(
    phi_Q: ArrayLike,
    phi_K: ArrayLike,
    V: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    key_log_scale: ArrayLike | None = None,
    eps: float = 0.0,
    workers: int | None = None,
) -> np.ndarray:
    """Attention with weights phi_Q phi_K^T, each row over its sum, in linear time and without the matrix of weights.

    Parameters
    ----------
    phi_Q : array_like, shape (..., n_queries, m)
    phi_K : array_like, shape (..., n_keys, m)
        Features of queries and keys, as from `favor_features`, `taylor_features`, `expdef_features`, or any others
        (1 + elu, ReLU).
    V : array_like, shape (..., n_keys, d_v)
        Leading dimensions (batches, heads) broadcast. float32 or float16 for all give float32, else float64.
    causal : bool
        Query i sees keys 0 to i only.
    mask : array_like of bool, optional
        Broadcast to (..., n_keys). False hides the key from all queries (padding).
    key_log_scale : array_like, optional
        Broadcast to (..., n_keys): the features of key j are ``exp(key_log_scale[j]) * phi_K[j]``, which may be far out
        of range. As from ``favor_features(K, W, return_log_scale=True)``; -inf hides the key. Factors of queries
        cancel.
    eps : float
        Is added to the sums of weights; with `key_log_scale`, relative to the largest factor of the keys seen.
    workers : int, optional
        Threads, which share items (heads of batches); see `kexue.threads`.

    Returns
    -------
    ndarray, shape (..., n_queries, d_v)
        0 for a query that sees no key. Where the weights' sum is 0 otherwise, infinite or NaN, as it is for queries
        that see, or are, something that is not finite, and for no others. Weights of features that
        may be negative (trigonometric, odd Taylor degrees) are not convex: their sums can be near 0, and outputs then
        anything.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or an argument holds what it must not.
    TypeError
        If `mask` is not of bool, or `causal` is no bool.

    See Also
    --------
    favor_attention : queries and keys in, softmax attention approximated.
    attention : exact.
    linear_attention_vjp : the gradients.

    Notes
    -----
    O((n_queries + n_keys) m d_v) time; besides the result, O(m d_v) memory a worker. Causal sums are made in blocks of
    64 keys: weights within a block, sums before it, with compensation, so float32 keeps its accuracy over any length.
    The matrix of weights has rank m at most. It pays for n well above m; see `attention` otherwise.

    References
    ----------
    A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", 2020, arXiv:2006.16236.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> phi = np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    >>> kexue.linear_attention(phi, phi, np.eye(3), causal=True).round(3)
    array([[1.   , 0.   , 0.   ],
           [0.333, 0.667, 0.   ],
           [0.   , 0.333, 0.667]])
    """
    problem = _Problem(phi_Q, phi_K, V, causal, mask, key_log_scale, eps, workers)
    queries, keys, values = problem.arrays
    return problem.run(queries, keys, values, problem.scales, is_normalized=True)[0]


@same_kind
def linear_attention_vjp(
    phi_Q: ArrayLike,
    phi_K: ArrayLike,
    V: ArrayLike,
    grad: ArrayLike,
    *,
    causal: bool = False,
    mask: ArrayLike | None = None,
    key_log_scale: ArrayLike | None = None,
    eps: float = 0.0,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of `linear_attention` by features and values, from the gradient by its output.

    Parameters
    ----------
    phi_Q, phi_K, V, causal, mask, key_log_scale, eps, workers
        As for `linear_attention`.
    grad : array_like, shape (..., n_queries, d_v)
        The upstream gradient, broadcast to the output's shape.

    Returns
    -------
    grad_phi_Q, grad_phi_K, grad_V : ndarray
        In the shapes of `phi_Q`, `phi_K` and `V`: summed over the items that share an operand. By `phi_K` as it was
        given, without its factors; by the logarithm of key j's factor the gradient is ``phi_K[j] @ grad_phi_K[j]``.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or an argument holds what it must not.
    TypeError
        If `mask` is not of bool, or `causal` is no bool.

    See Also
    --------
    linear_attention
    favor_features_vjp : from features to queries and keys.

    Notes
    -----
    With g over the weights' sum, and minus g . out over it, as one more column: the gradients are three more linear
    attentions without division, of which the last two go from the end to the beginning. Linear time as well, four times
    that of `linear_attention`.

    References
    ----------
    A. Katharopoulos, A. Vyas, N. Pappas, F. Fleuret, "Transformers are RNNs: Fast Autoregressive Transformers with
    Linear Attention", 2020, arXiv:2006.16236.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> rng = np.random.default_rng(0)
    >>> phi_Q, phi_K, V = rng.random((3, 5, 4))
    >>> grad_phi_Q, grad_phi_K, grad_V = kexue.linear_attention_vjp(phi_Q, phi_K, V, np.ones((5, 4)))
    >>> np.allclose(grad_V.sum(axis=0), 5)  # weights sum to 1
    True
    """
    problem = _Problem(phi_Q, phi_K, V, causal, mask, key_log_scale, eps, workers)
    queries, keys, values = problem.arrays
    shape = (*problem.outer, problem.queries, values.shape[-1])
    upstream = as_contiguous(as_upstream(grad, shape, problem.dtype))  # sums are made in one order
    scales = problem.scales
    out, sums = problem.run(queries, keys, values, scales, is_normalized=True, denominators=True)
    assert sums is not None
    tops = None if scales is None else problem.tops()
    blind = np.full(sums.shape, problem.keys == 0) if tops is None else tops == -np.inf
    columns = _columns(upstream, out, np.where(blind, 1, sums + problem.eps))
    ones = np.broadcast_to(problem.dtype.type(1), (*values.shape[:-1], 1))
    extended = np.concatenate([values, ones], axis=-1)
    by_queries, _ = problem.run(columns, extended, keys, scales)
    by_keys, by_values = _by_keys(problem, extended, columns, tops)
    return (
        sum_to(by_queries, queries.shape),
        sum_to(by_keys, keys.shape),
        sum_to(by_values, values.shape),
    )


@same_kind
def favor_attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    W: ArrayLike,
    *,
    kind: FavorKind = "positive",
    scale: Literal["sqrt"] | float = "sqrt",
    causal: bool = False,
    mask: ArrayLike | None = None,
    eps: float = 0.0,
    workers: int | None = None,
) -> np.ndarray:
    """Softmax attention, approximated by random features in linear time, for queries and keys of any norm.

    Parameters
    ----------
    Q : array_like, shape (..., n_queries, d)
    K : array_like, shape (..., n_keys, d)
    V : array_like, shape (..., n_keys, d_v)
        Leading dimensions (batches, heads) broadcast. float32 or float16 for all give float32, else float64.
    W : array_like, shape (m, d)
        Directions, from `favor_projection`.
    kind : {"positive", "hyperbolic", "trigonometric"}
        As for `favor_features`.
    scale : "sqrt" or float
        What the products of queries and keys are multiplied by: 1 / sqrt(d), or a positive number.
    causal, mask, eps, workers
        As for `linear_attention`.

    Returns
    -------
    ndarray, shape (..., n_queries, d_v)
        0 for a query that sees no key. NaN for one that sees, or is, something that is not finite or whose squared norm
        overflows.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or an argument holds what it must not.
    TypeError
        If `mask` is not of bool, or `causal` is no bool.

    See Also
    --------
    attention : what it approximates.
    linear_attention : for other features.

    Notes
    -----
    Exponents are taken out of each row of features: queries' cancel, and keys' are kept relative to the largest that a
    query sees. So no weight overflows, and a causal query does not lose its keys to a larger one that comes later. The
    error is that of the features, not of rounding: see `favor_relative_variance`.

    References
    ----------
    K. Choromanski et al., "Rethinking Attention with Performers", 2021, arXiv:2009.14794.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q, K, V = np.random.default_rng(0).normal(size=(3, 50, 8)) / 2
    >>> W = kexue.favor_projection(2048, 8, rng=1)
    >>> bool(abs(kexue.favor_attention(Q, K, V, W) - kexue.attention(Q, K, V)).max() < 0.02)
    True
    """
    dtype = result_dtype(Q, K, V)
    queries, keys = rows("Q", Q, dtype), rows("K", K, dtype)
    d = queries.shape[-1]
    if keys.shape[-1] != d:
        raise KexueValueError(f"Q and K must have one dimension, got shapes {queries.shape} and {keys.shape}")
    values = rows("V", V, dtype)
    if keys.shape[-2] != values.shape[-2]:
        raise KexueValueError(f"K and V must have as many rows, got shapes {keys.shape} and {values.shape}")
    if isinstance(scale, str):
        if scale != "sqrt":
            raise KexueValueError(f'scale must be "sqrt" or a number, got {scale!r}')
        factor = max(d, 1) ** -0.25
    elif isinstance(scale, (int, float, np.number)) and math.isfinite(scale) and scale > 0:
        factor = math.sqrt(scale)
    else:
        raise KexueValueError(f"scale must be finite and positive, got {scale!r}")
    phi_Q, _ = _favor(queries * dtype.type(factor), W, kind)
    phi_K, log_scale = _favor(keys * dtype.type(factor), W, kind)
    return linear_attention(
        phi_Q,
        phi_K,
        values,
        causal=causal,
        mask=mask,
        key_log_scale=log_scale,
        eps=eps,
        workers=workers,
    )


def _favor(rows: np.ndarray, W: ArrayLike, kind: FavorKind) -> tuple[np.ndarray, np.ndarray]:
    """Features and log-scales; what is not finite, or has no exponent that is, is in the features alone, as NaN."""
    with np.errstate(over="ignore", invalid="ignore"):
        phi, log_scale = favor_features(rows, W, kind=kind, return_log_scale=True)
    lost = ~np.isfinite(log_scale)
    phi[lost], log_scale[lost] = np.nan, 0
    return phi, log_scale


def _columns(upstream: np.ndarray, out: np.ndarray, sums: np.ndarray) -> np.ndarray:
    """The upstream gradient over the sums of weights, and what it does through them; block by block, in float64."""
    width = upstream.shape[-1]
    columns = np.empty((sums.size, width + 1), dtype=upstream.dtype)
    rows, values = (array.reshape(sums.size, width) for array in (upstream, out))
    divisors = sums.reshape(-1)
    for first in range(0, sums.size, step := max(1, _ENTRIES_AT_ONCE // (width + 1))):
        block = slice(first, first + step)
        columns[block, :width] = rows[block] / divisors[block, None]
        columns[block, width] = -np.einsum("ik,ik->i", rows[block], values[block], dtype=np.float64) / divisors[block]
    return columns.reshape(*upstream.shape[:-1], width + 1)


def _by_keys(
    problem: _Problem, extended: np.ndarray, columns: np.ndarray, tops: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients by keys and by values, for which keys ask queries."""
    queries, keys, values = problem.arrays
    asking, scales = [extended, keys], None
    if problem.causal:
        # Key j is seen by queries j and later: reversed, it sees 0 to its place.
        asking = [_fitted(array, problem.queries)[..., ::-1, :] for array in asking]
        queries, columns = queries[..., ::-1, :], columns[..., ::-1, :]
        if tops is not None:
            scales = np.where(tops > -np.inf, -tops, -np.inf)[..., ::-1]
    by_keys, _ = problem.run(asking[0], columns, queries, scales)
    by_values, _ = problem.run(asking[1], queries, np.ascontiguousarray(columns[..., :-1]), scales)
    results = [by_keys, by_values]
    if problem.causal:
        results = [_fitted(array[..., ::-1, :], problem.keys) for array in results]
    if tops is not None:
        assert problem.scales is not None
        count = min(problem.queries, problem.keys)
        factors = np.zeros((*problem.outer, problem.keys))
        if problem.causal:
            known, high = problem.scales[..., :count], tops[..., :count]
        else:
            count = problem.keys if problem.queries else 0
            known, high = problem.scales[..., :count], tops[..., :1]
        with np.errstate(invalid="ignore"):
            factors[..., :count] = np.where(known > -np.inf, np.exp(known - high), 0)
        factors = factors.astype(problem.dtype)
        for place in np.ndindex(problem.outer):
            for array in results:
                with np.errstate(invalid="ignore"):
                    array[place] *= factors[place][:, None]
                array[place][factors[place] == 0] = 0  # a hidden key may hold anything
    return results[0], results[1]


def _fitted(array: np.ndarray, count: int) -> np.ndarray:
    """The first `count` rows, with rows of 0 where there are fewer."""
    if array.shape[-2] >= count:
        return array[..., :count, :]
    fitted = np.zeros((*array.shape[:-2], count, array.shape[-1]), dtype=array.dtype)
    fitted[..., : array.shape[-2], :] = array
    return fitted
