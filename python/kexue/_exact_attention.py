"""Exact attention and its gradients."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _attention
from kexue._array_kinds import same_kind
from kexue._attention_problem import AttentionProblem


class _Problem(AttentionProblem):
    def run(self, *, entropies: bool, log_sums: bool, workers: int | None) -> tuple[np.ndarray, Any, Any]:
        rows = (math.prod(self.outer), self.queries)
        out = np.empty((*rows, self.arrays[2].shape[-1]), dtype=self.dtype)
        sums = np.empty((*rows, 2)) if log_sums else None
        entropy = np.empty(rows) if entropies else None
        queries, keys, values = self.items
        _attention.attend(queries, keys, values, self.mask, self.causal, self.scales, out, sums, entropy, workers)
        return out, sums, entropy


@overload
def attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_entropy: Literal[False] = ...,
    workers: int | None = ...,
) -> np.ndarray: ...
@overload
def attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_entropy: Literal[True],
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray]: ...
@overload
def attention(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_entropy: bool,
    workers: int | None = ...,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]: ...
@same_kind
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
    out = out.reshape(problem.out_shape)
    return (out, entropy.reshape(out.shape[:-1])) if return_entropy else out


@overload
def attention_vjp(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    grad: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_grad_scale: Literal[False] = ...,
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]: ...
@overload
def attention_vjp(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    grad: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_grad_scale: Literal[True],
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...
@overload
def attention_vjp(
    Q: ArrayLike,
    K: ArrayLike,
    V: ArrayLike,
    grad: ArrayLike,
    *,
    scale: Literal["sqrt", "entropy"] | ArrayLike = ...,
    mask: ArrayLike | None = ...,
    causal: bool = ...,
    return_grad_scale: bool,
    workers: int | None = ...,
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]: ...
@same_kind
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
    upstream = problem.upstream(grad)
    out, log_sums, _ = problem.run(entropies=False, log_sums=True, workers=workers)
    count = math.prod(problem.outer)
    gradients = [np.empty((count, *array.shape[-2:]), dtype=problem.dtype) for array in problem.arrays]
    by_scales = np.empty((count, problem.queries)) if return_grad_scale else None
    queries, keys, values = problem.items
    _attention.gradient(
        queries,
        keys,
        values,
        problem.mask,
        problem.causal,
        problem.scales,
        out,
        log_sums,
        upstream,
        gradients[0],
        gradients[1],
        gradients[2],
        by_scales,
        workers,
    )
    results = problem.sums(gradients)
    return results if by_scales is None else (*results, by_scales.reshape(problem.out_shape[:-1]))
