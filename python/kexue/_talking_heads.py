"""Talking-heads attention and its gradients."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _attention
from kexue._arrays import as_real, result_dtype, sum_to
from kexue._attention_arrays import items, rows
from kexue._errors import KexueValueError, require_finite
from kexue._exact_attention import _Problem


def _mix(name: str, value: ArrayLike, columns: tuple[str, int] | None) -> np.ndarray:
    mix = np.ascontiguousarray(as_real(name, value), dtype=np.float64)
    if mix.ndim != 2 or not mix.size:
        raise KexueValueError(f"{name} must be a matrix that mixes heads, but its shape is {mix.shape}")
    if columns is not None and mix.shape[1] != columns[1]:
        raise KexueValueError(f"{name} must have {columns[1]} columns, one for each {columns[0]}, got {mix.shape[1]}")
    require_finite(name, mix)
    return mix


class _TalkingProblem(_Problem):
    """Checked arguments of one call: items of heads."""

    def __init__(
        self, Q: Any, K: Any, V: Any, proj_logits: Any, proj_weights: Any, scale: Any, mask: Any, causal: bool
    ) -> None:
        self.dtype = result_dtype(Q, K, V)
        self.arrays = [rows(name, value, self.dtype) for name, value in (("Q", Q), ("K", K), ("V", V))]
        for name, array in zip("QKV", self.arrays, strict=True):
            if array.ndim < 3:
                raise KexueValueError(f"{name} must have shape (..., heads, rows, dimension), but has {array.shape}")
        queries, keys, values = self.arrays
        self._check_rows()
        self.logit_mix = _mix("proj_logits", proj_logits, None)
        heads, key_heads = self.logit_mix.shape
        self.weight_mix = (
            None if proj_weights is None else _mix("proj_weights", proj_weights, ("row of proj_logits", heads))
        )
        value_heads = heads if self.weight_mix is None else self.weight_mix.shape[0]
        for name, array, count, mix in (
            ("Q", queries, key_heads, "columns of proj_logits"),
            ("K", keys, key_heads, "columns of proj_logits"),
            ("V", values, value_heads, "rows of " + ("proj_logits" if self.weight_mix is None else "proj_weights")),
        ):
            if array.shape[-3] not in (1, count):
                raise KexueValueError(
                    f"{name} must have {count} heads, the {mix}, or 1, but its shape is {array.shape}"
                )
        allowed = self._mask(mask)
        leads = [array.shape[:-3] for array in self.arrays]
        if allowed is not None:
            if allowed.ndim == 2:
                allowed = allowed[None]
            if allowed.shape[-3] not in (1, heads):
                raise KexueValueError(
                    f"mask must broadcast to (..., {heads}, {self.queries}, {self.keys}), but is {np.shape(mask)}"
                )
            leads.append(allowed.shape[:-3])
        self.lead = self._broadcast(leads)
        self.outer = (*self.lead, heads)
        self.causal = self._causal(causal)
        self.items = [
            items(array, (*self.lead, count))
            for array, count in zip(self.arrays, (key_heads, key_heads, value_heads), strict=True)
        ]
        self.mask = None if allowed is None else items(allowed, self.outer)
        self._spread(self._scales(scale, allowed, queries.shape[-1]))
        self.heads = (key_heads, key_heads, value_heads)

    def arguments(self) -> tuple[Any, ...]:
        return (*self.items, self.mask, self.causal, self.scales, self.logit_mix, self.weight_mix)

    @property
    def out_shape(self) -> tuple[int, ...]:
        return (*self.lead, self.heads[2], self.queries, self.arrays[2].shape[-1])


def talking_heads_attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    proj_logits: ArrayLike,
    proj_weights: ArrayLike | None = None,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = "sqrt",
    mask: ArrayLike | None = None,
    causal: bool = False,
    workers: int | None = None,
) -> np.ndarray:
    """Attention whose heads mix their logits before the softmax, and their weights after it.

    Parameters
    ----------
    Q : array_like, shape (..., h_k, n_queries, d)
    K : array_like, shape (..., h_k, n_keys, d)
    V : array_like, shape (..., h_v, n_keys, d_v)
        A 1 for the heads shares one. Dimensions before broadcast. float32 or float16 for all give float32, else
        float64.
    proj_logits : array_like, shape (h, h_k)
        The logits of softmax head g are the sum over h of proj_logits[g, h] scale Q[h] K[h]^T.
    proj_weights : array_like, shape (h_v, h), optional
        Head v weighs its values by the sum over g of proj_weights[v, g] softmax(logits[g]). By default heads do not mix
        after the softmax, and h_v = h.
    scale : {"sqrt", "entropy"} or array_like
        As for `attention`; broadcast to (..., h, n_queries).
    mask : array_like, optional
        As for `attention`, for the mixed logits; broadcast to (..., h, n_queries, n_keys).
    causal : bool
        Query i sees keys 0 to i only.
    workers : int, optional
        Threads; see `kexue.threads`.

    Returns
    -------
    ndarray, shape (..., h_v, n_queries, d_v)
        A query that sees no key in a softmax head has weights 0 there.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or a mix, a mask or a scale holds what it must not.

    See Also
    --------
    talking_heads_attention_vjp : the gradients.
    attention : heads that do not talk.
    attention_rank : the bottleneck that mixing opens.

    Notes
    -----
    O(n_queries n_keys (h_k d + h h_k + h_v h + h_v d_v)) time; the logits of at most 96 queries at once are kept, 32 MB
    a worker where that is less. float32 is computed in float32.

    References
    ----------
    N. Shazeer, Z. Lan, Y. Cheng, N. Ding, L. Hou, "Talking-Heads Attention", 2020, arXiv:2003.02436. S. Bhojanapalli,
    C. Yun, A. S. Rawat, S. Reddi, S. Kumar, "Low-Rank Bottleneck in Multi-head Attention Models", 2020,
    arXiv:2002.07028.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q, K, V = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    >>> plain = kexue.talking_heads_attention(Q, K, V, np.eye(2), np.eye(2))
    >>> np.allclose(plain, kexue.attention(Q, K, V))
    True
    >>> kexue.talking_heads_attention(Q, K, V[:1], [[1.0, 0.5], [-0.25, 1.0]]).shape
    (2, 5, 4)
    """
    problem = _TalkingProblem(Q, K, V, proj_logits, proj_weights, scale, mask, causal)
    out = np.empty(problem.out_shape, dtype=problem.dtype)
    _attention.talk(*problem.arguments(), out.reshape(math.prod(problem.lead), *out.shape[-3:]), workers)
    return out


def talking_heads_attention_vjp(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    proj_logits: ArrayLike,
    proj_weights: ArrayLike | None,
    grad: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = "sqrt",
    mask: ArrayLike | None = None,
    causal: bool = False,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """The gradients of `talking_heads_attention`, from the gradient by its output.

    Parameters
    ----------
    Q, K, V, proj_logits, proj_weights, scale, mask, causal, workers
        As for `talking_heads_attention`.
    grad : array_like, shape (..., h_v, n_queries, d_v)
        The upstream gradient, broadcast to the output's shape.

    Returns
    -------
    grad_Q, grad_K, grad_V : ndarray
        In the shapes of `Q`, `K` and `V`: summed over the items and heads that share an operand.
    grad_proj_logits : ndarray of float64, shape (h, h_k)
    grad_proj_weights : ndarray of float64, shape (h_v, h), or None
        None without `proj_weights`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or a mix, a mask or a scale holds what it must not.

    See Also
    --------
    talking_heads_attention

    Notes
    -----
    The weights are computed once more: some three times the time of `talking_heads_attention`. Items of the leading
    dimensions are shared out among threads, the heads of one are not.

    References
    ----------
    N. Shazeer, Z. Lan, Y. Cheng, N. Ding, L. Hou, "Talking-Heads Attention", 2020, arXiv:2003.02436.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q, K, V = np.random.default_rng(0).normal(size=(3, 2, 5, 4))
    >>> *_, by_logits, by_weights = kexue.talking_heads_attention_vjp(
    ...     Q, K, V, np.eye(2), np.eye(2), np.ones((2, 5, 4))
    ... )
    >>> by_logits.shape, by_weights.shape
    ((2, 2), (2, 2))
    """
    problem = _TalkingProblem(Q, K, V, proj_logits, proj_weights, scale, mask, causal)
    shape = problem.out_shape
    upstream = as_real("grad", grad).astype(problem.dtype, copy=False)
    try:
        upstream = np.broadcast_to(upstream, shape)
    except ValueError:
        raise KexueValueError(f"grad must broadcast to {shape}, but its shape is {upstream.shape}") from None
    count = math.prod(problem.lead)
    gradients = [
        np.zeros((count, heads, *array.shape[-2:]), dtype=problem.dtype)
        for heads, array in zip(problem.heads, problem.arrays, strict=True)
    ]
    mixes = [None if mix is None else np.zeros((count, *mix.shape)) for mix in (problem.logit_mix, problem.weight_mix)]
    _attention.talk_gradient(
        *problem.arguments(), items(rows("grad", upstream, problem.dtype), shape[:-2]), *gradients, *mixes, workers
    )
    results = (
        sum_to(gradient.reshape(*problem.lead, *gradient.shape[1:]), array.shape)
        for gradient, array in zip(gradients, problem.arrays, strict=True)
    )
    return (*results, *(None if mix is None else mix.sum(axis=0) for mix in mixes))
