"""Initialisation: weights of the right variance, normalised layers, residual branches."""

from kexue._activation_moments import (
    ActivationMoments,
    NormalizedActivation,
    activation_moments,
    activation_second_moment,
    normalized_activation,
    selu_constants,
)
from kexue._initialization import (
    expected_orthogonality_error,
    init_variance,
    marchenko_pastur_edges,
    orthogonal_init,
    orthogonality_error,
    uniform_limits,
    xavier_std,
)
from kexue._layer_norm import layer_norm, layer_norm_vjp, ntk_linear, rms_norm, rms_norm_vjp
from kexue._residual import (
    ResidualWeights,
    adam_expected_update,
    embedding_logit_std,
    linear_warmup,
    post_norm_weights,
    pre_norm_variance,
    residual_branch_weights,
)
from kexue._truncated_normal import (
    effective_truncated_std,
    truncated_normal,
    truncated_normal_mean,
    truncated_normal_variance,
)

__all__ = [
    "ActivationMoments",
    "NormalizedActivation",
    "ResidualWeights",
    "activation_moments",
    "activation_second_moment",
    "adam_expected_update",
    "effective_truncated_std",
    "embedding_logit_std",
    "expected_orthogonality_error",
    "init_variance",
    "layer_norm",
    "layer_norm_vjp",
    "linear_warmup",
    "marchenko_pastur_edges",
    "normalized_activation",
    "ntk_linear",
    "orthogonal_init",
    "orthogonality_error",
    "post_norm_weights",
    "pre_norm_variance",
    "residual_branch_weights",
    "rms_norm",
    "rms_norm_vjp",
    "selu_constants",
    "truncated_normal",
    "truncated_normal_mean",
    "truncated_normal_variance",
    "uniform_limits",
    "xavier_std",
]
