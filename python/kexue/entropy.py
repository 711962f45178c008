"""Entropies, softmaxes, and distributions of a given entropy."""

from kexue._entropy_gradients import entropy_normalize_logits_vjp, entropy_normalize_vjp
from kexue._entropy_normalization import (
    EntropyNormalization,
    entropy_normalize,
    entropy_normalize_logits,
    entropy_power_curve,
    perplexity_affinities,
    temperature_for_entropy,
)
from kexue._softmax import (
    entropy,
    log_softmax,
    log_softmax_vjp,
    logsumexp,
    logsumexp_vjp,
    softmax,
    softmax_loss,
    softmax_vjp,
    taylor_softmax,
    taylor_softmax_loss,
    taylor_softmax_vjp,
)

__all__ = [
    "EntropyNormalization",
    "entropy",
    "entropy_normalize",
    "entropy_normalize_logits",
    "entropy_normalize_logits_vjp",
    "entropy_normalize_vjp",
    "entropy_power_curve",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "perplexity_affinities",
    "softmax",
    "softmax_loss",
    "softmax_vjp",
    "taylor_softmax",
    "taylor_softmax_loss",
    "taylor_softmax_vjp",
    "temperature_for_entropy",
]
