"""kexue: a compiled numerical core for exact optimal transport, document distances and more.

Every name is reachable here and in its family's module, which is loaded when a name of it is first used.
"""

from __future__ import annotations

import sys as _sys
from importlib import import_module as _import_module
from types import ModuleType as _ModuleType

_NAMES = {
    "_config": ("show_config",),
    "_context": ("__version__",),
    "_errors": ("ConvergenceWarning", "InternalError", "KexueValueError", "errstate"),
    "_threads": ("get_num_threads", "threads"),
    "activations": (
        "SQUAREPLUS_B_CURVATURE",
        "SQUAREPLUS_B_MINIMAX",
        "SQUAREPLUS_B_T2",
        "SQUAREPLUS_B_UPPER",
        "exp_taylor",
        "exp_taylor_grad",
        "exp_taylor_min",
        "gelu",
        "gelu_grad",
        "gelu_tanh",
        "gelu_tanh_grad",
        "smooth_abs",
        "smooth_ceil",
        "smooth_clip",
        "smooth_floor",
        "smooth_function",
        "smooth_leaky_relu",
        "smooth_maximum",
        "smooth_relu",
        "smooth_round",
        "smooth_sign",
        "smooth_step",
        "softplus",
        "softplus_grad",
        "squareplus",
        "squareplus_grad",
        "squareplus_grad_b",
        "squareplus_inverse",
        "swish",
        "swish_grad",
    ),
    "attention": (
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
    ),
    "classification": (
        "AdversarialSplit",
        "ClassStatistics",
        "SamplesContrastResult",
        "SoftmaxRule",
        "apply_thresholds",
        "area_under_curve",
        "can",
        "candidates_contrast",
        "discriminator_weights",
        "grouped_argmax",
        "linear_regression_closed_form",
        "logistic_closed_form",
        "nsp_scores",
        "resample_validation",
        "samples_contrast",
        "softmax_closed_form",
        "topk_entropy",
        "weighted_metric",
    ),
    "density": (
        "LogDensityEstimate",
        "effective_sample_size",
        "elbo",
        "gaussian_logpdf_diag",
        "importance_log_weights",
        "iwae_bound",
        "iwae_bound_grad",
        "iwae_bound_vjp",
        "log_density_estimate",
    ),
    "documents": ("DocumentIndex", "SearchStats", "WordVectors", "pairwise_distances", "rwmd", "wcd", "wmd", "wrd"),
    "entropy": (
        "EntropyNormalization",
        "entropy_normalize",
        "entropy_normalize_logits",
        "entropy_normalize_logits_vjp",
        "entropy_normalize_vjp",
        "entropy_power_curve",
        "perplexity_affinities",
        "temperature_for_entropy",
        "entropy",
        "log_softmax",
        "log_softmax_vjp",
        "logsumexp",
        "logsumexp_vjp",
        "softmax",
        "softmax_loss",
        "softmax_vjp",
        "taylor_softmax",
        "taylor_softmax_loss",
        "taylor_softmax_vjp",
    ),
    "gaussians": (
        "GaussianMap",
        "frechet_distance",
        "frechet_distance_from_statistics",
        "gaussian_bhattacharyya",
        "gaussian_bhattacharyya_grad",
        "gaussian_entropy",
        "gaussian_entropy_grad",
        "gaussian_hellinger",
        "gaussian_hellinger_grad",
        "gaussian_kl",
        "gaussian_kl_grad",
        "gaussian_ot_map",
        "gaussian_w2",
        "gaussian_w2_grad",
    ),
    "independence": (
        "HSICBlockResult",
        "HSICFeaturesResult",
        "HSICSums",
        "HSICTestResult",
        "cka",
        "cka_matrix",
        "hsic",
        "hsic_block",
        "hsic_from_kernels",
        "hsic_from_kernels_unbiased",
        "hsic_gradient",
        "hsic_random_features",
        "hsic_streaming",
        "hsic_test",
        "laplace_kernel",
        "linear_kernel",
        "median_bandwidth",
        "normalized_hsic",
        "polynomial_kernel",
        "rbf_kernel",
    ),
    "losses": (
        "combinatorial_predict",
        "combinatorial_softmax_loss",
        "cosent_embedding_loss",
        "cosent_loss",
        "cosine_pairs",
        "cosine_pairs_vjp",
        "cosine_target_loss",
        "info_nce_loss",
        "l2_normalize",
        "l2_normalize_vjp",
        "log_esp",
        "pairwise_rank_loss",
        "r_drop_loss",
        "sentence_pair_features",
        "softmax_symmetric_kl",
        "spearman",
        "zlpr_loss",
        "zlpr_predict",
        "zlpr_probability",
        "zlpr_sparse_loss",
        "zlpr_symmetric_kl",
    ),
    "projection": (
        "RandomAngle",
        "RandomProjectionMap",
        "RandomizedSVDResult",
        "SignHash",
        "SignHashIndex",
        "angle_from_hamming",
        "attention_head_dim",
        "cosine_from_hamming",
        "embedding_dim",
        "fwht",
        "hamming_distances",
        "hamming_neighbors",
        "inner_product_bound",
        "jl_min_dim",
        "jl_success_probability",
        "norm_concentration_bound",
        "pad_to_power_of_two",
        "random_angle",
        "random_projection",
        "randomized_svd",
        "sign_hash",
    ),
    "sklearn": ("AnalyticLogisticRegression",),
    "transport": (
        "TransportResult",
        "emd",
        "emd2",
        "emd2_1d",
        "emd_1d",
        "sinkhorn",
        "sinkhorn2",
        "sinkhorn_barycenter",
        "sinkhorn_divergence",
        "solve",
        "transport_lower_bound",
    ),
}
_MODULES = (
    "activations",
    "attention",
    "classification",
    "compat",
    "dask",
    "density",
    "documents",
    "entropy",
    "gaussians",
    "independence",
    "losses",
    "plot",
    "projection",
    "sklearn",
    "transport",
    "ufuncs",
)
_HOME = {name: module for module, names in _NAMES.items() for name in names}

# `from kexue import *` needs no optional package.
__all__ = sorted(name for name in _HOME if _HOME[name] != "sklearn")


def __getattr__(name: str) -> object:
    if name in _HOME:
        value = getattr(_import_module(f"kexue.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = _import_module(f"kexue.{name}")
    else:
        raise AttributeError(f"module 'kexue' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


class _Package(_ModuleType):
    # An import of the module kexue.entropy or kexue.attention would bind it here; the name is the function's.
    def __setattr__(self, name: str, value: object) -> None:
        if not (name in ("attention", "entropy") and isinstance(value, _ModuleType)):
            super().__setattr__(name, value)


_sys.modules[__name__].__class__ = _Package
