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


def talking_heads(Q, K, V, logit_mix, weight_mix, scale, added):
    """Outputs, and the weights of the softmax heads; added: (..., softmax heads, queries, keys)."""
    products = np.asarray(Q, float) @ np.swapaxes(np.asarray(K, float), -1, -2)
    logits = np.einsum("gh,...hij->...gij", logit_mix, products) * np.asarray(scale)[..., None] + added
    top = logits.max(axis=-1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(logits - np.where(top > -np.inf, top, 0))
    total = exponentials.sum(axis=-1, keepdims=True)
    P = np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0)
    mixed = P if weight_mix is None else np.einsum("vg,...gij->...vij", weight_mix, P)
    return mixed @ np.asarray(V, float), P


def talking_heads_vjp(Q, K, V, logit_mix, weight_mix, grad, scale, added):
    """Gradients by Q, K, V and both mixes; heads and items as they are, none shared."""
    Q, K, V, grad = (np.asarray(array, float) for array in (Q, K, V, grad))
    _, P = talking_heads(Q, K, V, logit_mix, weight_mix, scale, added)
    mix = np.eye(P.shape[-3]) if weight_mix is None else np.asarray(weight_mix)
    by_mixed = grad @ np.swapaxes(V, -1, -2)
    mixed = np.einsum("vg,...gij->...vij", mix, P)
    by_weights = np.einsum("vg,...vij->...gij", mix, by_mixed)
    by_logits = P * (by_weights - (P * by_weights).sum(axis=-1, keepdims=True)) * np.asarray(scale)[..., None]
    products = Q @ np.swapaxes(K, -1, -2)
    by_products = np.einsum("gh,...gij->...hij", logit_mix, by_logits)
    return (
        by_products @ K,
        np.swapaxes(by_products, -1, -2) @ Q,
        np.swapaxes(mixed, -1, -2) @ grad,
        np.einsum("bgij,bhij->gh", *(array.reshape(-1, *array.shape[-3:]) for array in (by_logits, products))),
        np.einsum("bvij,bgij->vg", *(array.reshape(-1, *array.shape[-3:]) for array in (by_mixed, P))),
    )
