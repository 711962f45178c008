"""Attention: exact, linear and with talking heads; its entropy, rank and costs."""

from kexue._attention_diagnostics import (
    AttentionParamBudget,
    attention_entropy,
    attention_entropy_model,
    attention_param_budget,
    attention_rank,
    entropy_matched_scale,
)
from kexue._attention_scale import entropy_invariant_scale
from kexue._exact_attention import attention, attention_vjp
from kexue._feature_map_errors import (
    KernelError,
    expdef_ratio,
    favor_relative_variance,
    kernel_error,
    taylor_remainder_bound,
)
from kexue._feature_maps import (
    expdef_features,
    favor_features,
    favor_features_vjp,
    favor_projection,
    feature_dimension,
    taylor_features,
)
from kexue._linearized_attention import favor_attention, linear_attention, linear_attention_vjp
from kexue._talking_heads import talking_heads_attention, talking_heads_attention_vjp
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
    "KernelError",
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
    "expdef_features",
    "expdef_ratio",
    "favor_attention",
    "favor_features",
    "favor_features_vjp",
    "favor_projection",
    "favor_relative_variance",
    "feature_dimension",
    "ffn_macs",
    "kernel_error",
    "linear_attention",
    "linear_attention_vjp",
    "talking_heads_attention",
    "talking_heads_attention_vjp",
    "taylor_features",
    "taylor_remainder_bound",
    "transformer_layer_macs",
]
