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

__all__ = [
    "EntropyNormalization",
    "entropy_normalize",
    "entropy_normalize_logits",
    "entropy_normalize_logits_vjp",
    "entropy_normalize_vjp",
    "entropy_power_curve",
    "perplexity_affinities",
    "temperature_for_entropy",
]
