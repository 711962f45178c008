"""Attention: exact, without the matrix of weights; what it costs, and what its entropy and rank say."""

from kexue._attention_diagnostics import (
    AttentionParamBudget,
    attention_entropy,
    attention_entropy_model,
    attention_param_budget,
    attention_rank,
    entropy_matched_scale,
)
from kexue._exact_attention import (
    attention,
    attention_vjp,
    entropy_invariant_scale,
)
from kexue._transformer_costs import (
    CrossoverLengths,
    attention_macs,
    crossover_lengths,
    ffn_macs,
    transformer_layer_macs,
)

__all__ = [
    "AttentionParamBudget",
    "CrossoverLengths",
    "attention",
    "attention_entropy",
    "attention_entropy_model",
    "attention_macs",
    "attention_param_budget",
    "attention_rank",
    "attention_vjp",
    "crossover_lengths",
    "entropy_invariant_scale",
    "entropy_matched_scale",
    "ffn_macs",
    "transformer_layer_macs",
]
