"""Attention with the whole matrix of weights, in float64: slow and obvious."""

import numpy as np


def visible(queries, keys, mask=None, causal=False):
    """What is added to scores: 0, or -inf where a key is hidden."""
    added = np.zeros((queries, keys))
    if causal:
        added = np.where(np.arange(keys) <= np.arange(queries)[:, None], added, -np.inf)
    if mask is not None:
        mask = np.asarray(mask)
        added = added + (np.where(mask, 0.0, -np.inf) if mask.dtype == bool else mask.astype(float))
    return added


def weights(Q, K, scale, added):
    """Scaled scores and the softmax of rows; a row that sees nothing has weights 0."""
    scores = np.asarray(scale)[..., None] * (Q.astype(float) @ np.swapaxes(K.astype(float), -1, -2)) + added
    top = scores.max(axis=-1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(scores - np.where(top > -np.inf, top, 0))
    total = exponentials.sum(axis=-1, keepdims=True)
    return np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0)


def attention(Q, K, V, scale, added):
    return weights(Q, K, scale, added) @ V.astype(float)


def entropy(P):
    with np.errstate(divide="ignore", invalid="ignore"):
        return -np.where(P > 0, P * np.log(P), 0).sum(axis=-1)


def vjp(Q, K, V, grad, scale, added):
    """Gradients by Q, K, V and by the scale of each query."""
    Q, K, V, grad = (array.astype(float) for array in (Q, K, V, grad))
    P = weights(Q, K, scale, added)
    by_weights = grad @ np.swapaxes(V, -1, -2)
    by_scores = P * (by_weights - (P * by_weights).sum(axis=-1, keepdims=True))
    by_products = by_scores * np.asarray(scale)[..., None]
    products = Q @ np.swapaxes(K, -1, -2)
    return (
        by_products @ K,
        np.swapaxes(by_products, -1, -2) @ Q,
        np.swapaxes(P, -1, -2) @ grad,
        (by_scores * products).sum(axis=-1),
    )
