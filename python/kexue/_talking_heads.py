"""Talking-heads attention and its gradients."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _attention
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real
from kexue._attention_problem import AttentionProblem, require_within
from kexue._errors import KexueValueError, require_finite


def _mix(name: str, value: ArrayLike, columns: tuple[str, int] | None) -> np.ndarray:
    mix = as_contiguous(as_real(name, value), dtype=np.float64)
    if mix.ndim != 2 or not mix.size:
        raise KexueValueError(f"{name} must be a matrix that mixes heads, but its shape is {mix.shape}")
    if columns is not None and mix.shape[1] != columns[1]:
        raise KexueValueError(f"{name} must have {columns[1]} columns, one for each {columns[0]}, got {mix.shape[1]}")
    require_finite(name, mix)
    return mix


class _Problem(AttentionProblem):
    """Items are heads: of queries and keys, of values, and of the softmax."""

    def __init__(
        self, Q: Any, K: Any, V: Any, proj_logits: Any, proj_weights: Any, scale: Any, mask: Any, causal: Any
    ) -> None:
        self.logit_mix = _mix("proj_logits", proj_logits, None)
        count, of_keys = self.logit_mix.shape
        columns = ("row of proj_logits", count)
        self.weight_mix = None if proj_weights is None else _mix("proj_weights", proj_weights, columns)
        of_values = count if self.weight_mix is None else self.weight_mix.shape[0]
        self.heads = ((of_keys,), (of_keys,), (of_values,), (count,))
        super().__init__(Q, K, V, scale, mask, causal)
        for name, mix in (("proj_logits", self.logit_mix), ("proj_weights", self.weight_mix)):
            if mix is not None:
                require_within(name, mix, self.dtype)

    def _check_heads(self) -> None:
        of_keys = "columns of proj_logits"
        of_values = "rows of proj_logits" if self.weight_mix is None else "rows of proj_weights"
        for name, array, (count,), mix in zip(
            "QKV", self.arrays, self.heads, (of_keys, of_keys, of_values), strict=False
        ):
            if array.ndim < 3:
                raise KexueValueError(f"{name} must have shape (..., heads, rows, dimension), but has {array.shape}")
            if array.shape[-3] not in (1, count):
                raise KexueValueError(
                    f"{name} must have {count} heads, the {mix}, or 1, but its shape is {array.shape}"
                )

    def arguments(self) -> dict[str, Any]:
        queries, keys, values = self.items
        return {
            "queries": queries,
            "keys": keys,
            "values": values,
            "mask": self.mask,
            "is_causal": self.causal,
            "scales": self.scales,
            "logit_mix": self.logit_mix,
            "weight_mix": self.weight_mix,
        }


@same_kind
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
        A query that sees no key in a softmax head has weights 0 there. NaN or infinite for one that sees, or is,
        something that is not finite, in a softmax head that its head mixes, and for no other.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or a mix, a mask or a scale holds what it must not.
    TypeError
        If an argument does not hold real numbers, a mask holds integers, or `causal` is no bool.

    See Also
    --------
    talking_heads_attention_vjp : the gradients.
    attention : heads that do not talk.
    attention_rank : the bottleneck that mixing opens.

    Notes
    -----
    O(n_queries n_keys (h_k d + h h_k + h_v h + h_v d_v)) time; the logits of at most 96 queries at once are kept, 32 MB
    a worker where that is less (but of 6 queries at least). float32 is computed in float32.

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
    problem = _Problem(Q, K, V, proj_logits, proj_weights, scale, mask, causal)
    out = np.empty(problem.out_shape, dtype=problem.dtype)
    _attention.talk(
        **problem.arguments(), out=out.reshape(math.prod(problem.lead), *out.shape[-3:]), workers=workers
    )
    return out


@same_kind
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
    TypeError
        If an argument does not hold real numbers, a mask holds integers, or `causal` is no bool.

    See Also
    --------
    talking_heads_attention

    Notes
    -----
    The weights are computed once more: some three times the time of `talking_heads_attention`, and its memory. Items of
    the leading dimensions are shared out among threads, the heads of one are not. What no softmax head sees has no
    part in any gradient, whatever it holds.

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
    problem = _Problem(Q, K, V, proj_logits, proj_weights, scale, mask, causal)
    upstream, items = problem.upstream(grad), math.prod(problem.lead)
    gradients = [
        np.zeros((items, *heads, *array.shape[-2:]), dtype=problem.dtype)
        for array, heads in zip(problem.arrays, problem.heads, strict=False)
    ]
    by_logits = np.zeros((items, *problem.logit_mix.shape))
    by_weights = None if problem.weight_mix is None else np.zeros((items, *problem.weight_mix.shape))
    _attention.talk_gradient(
        **problem.arguments(),
        out_gradients=upstream,
        by_queries=gradients[0],
        by_keys=gradients[1],
        by_values=gradients[2],
        by_logit_mix=by_logits,
        by_weight_mix=by_weights,
        workers=workers,
    )
    return (*problem.sums(gradients), by_logits.sum(axis=0), None if by_weights is None else by_weights.sum(axis=0))
