"""Attention beside torch's scaled_dot_product_attention, and NumPy with the whole matrix of weights; linear attention
beside torch's products of matrices, and features beside their formulas."""

import pytest
import workloads_attention as workloads
import workloads_feature_maps
from cases import DTYPES, sides


@sides("kexue", "NumPy", "torch", "torch (n, h, d)")
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@DTYPES
def bench_attention(measure, dtype, causal, side):
    measure(workloads.attention(12, 2048, 64, dtype, causal), side)


@sides("kexue", "torch")
@DTYPES
def bench_attention_vjp(measure, dtype, side):
    measure(workloads.attention_vjp(12, 1024, 64, dtype), side)


@sides("kexue", "NumPy")
def bench_entropy_invariant_scale(measure, side):
    measure(workloads.entropy_invariant_scale(4096, 64), side)


@sides("kexue", "torch")
@pytest.mark.parametrize("mixes_weights", [False, True], ids=["logits", "both"])
@DTYPES
def bench_talking_heads_attention(measure, dtype, mixes_weights, side):
    measure(workloads.talking_heads_attention(12, 1024, 64, dtype, mixes_weights), side)


@sides("kexue", "torch")
@DTYPES
def bench_talking_heads_attention_vjp(measure, dtype, side):
    measure(workloads.talking_heads_attention_vjp(12, 1024, 64, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_linear_attention(measure, dtype, side):
    measure(workloads.linear_attention(12, 4096, 128, 64, dtype, False), side)


@sides("kexue", "torch, blocks at once", "torch, block after block")
@DTYPES
def bench_linear_attention_causal(measure, dtype, side):
    measure(workloads.linear_attention(12, 4096, 128, 64, dtype, True), side)


@sides("kexue", "torch, block after block", "torch cumsum")
def bench_linear_attention_causal_short(measure, side):
    measure(workloads.linear_attention(2, 1024, 128, 64, "float32", True), side)


@sides("kexue", "torch")
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def bench_linear_attention_vjp(measure, causal, side):
    measure(workloads.linear_attention_vjp(12, 2048, 128, 64, "float32", causal), side)


@sides("kexue", "NumPy", "torch")
@pytest.mark.parametrize("kind", ["positive", "trigonometric"])
@DTYPES
def bench_favor_features(measure, dtype, kind, side):
    measure(workloads.favor_features(12, 2048, 128, 64, dtype, kind), side)


@sides("kexue", "scikit-learn")
@pytest.mark.parametrize(("n", "d", "degree"), [(4096, 64, 2), (256, 64, 3), (4096, 8, 4)])
@DTYPES
def bench_taylor_features(measure, dtype, n, d, degree, side):
    measure(workloads.taylor_features(n, d, degree, dtype), side)


@sides("kexue", "NumPy")
def bench_expdef_features(measure, side):
    measure(workloads_feature_maps.expdef_features(4096, 64, 2), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_favor_attention(measure, dtype, side):
    measure(workloads_feature_maps.favor_attention(12, 2048, 128, 64, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_favor_features_vjp(measure, dtype, side):
    measure(workloads_feature_maps.favor_features_vjp(12, 2048, 128, 64, dtype), side)


@sides("kexue", "NumPy")
def bench_favor_projection(measure, side):
    measure(workloads_feature_maps.favor_projection(256, 64), side)


@sides("kexue", "NumPy")
def bench_favor_relative_variance(measure, side):
    measure(workloads_feature_maps.favor_relative_variance(4096, 64), side)


@sides("kexue", "NumPy")
def bench_kernel_error(measure, side):
    measure(workloads_feature_maps.kernel_error(1024, 256, 64), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["taylor_remainder_bound", "expdef_ratio"])
def bench_law(measure, function, side):
    measure(workloads_feature_maps.law(function, 100_000, 16), side)


@sides("kexue", "Python")
def bench_feature_dimension(measure, side):
    measure(workloads_feature_maps.feature_dimension(768, 100), side)


@sides("kexue", "NumPy")
def bench_transformer_layer_macs(measure, side):
    measure(workloads.transformer_layer_macs(1000), side)


@sides("kexue", "Python")
@pytest.mark.parametrize(
    "function", ["attention_macs", "ffn_macs", "transformer_layer_macs", "crossover_lengths", "attention_param_budget"]
)
def bench_counting(measure, function, side):
    measure(workloads.counting(function), side)


@sides("kexue", "NumPy")
def bench_attention_rank(measure, side):
    measure(workloads.attention_rank(4, 256, 32), side)


@sides("kexue", "SciPy")
@pytest.mark.parametrize("kind", ["weights", "logits"])
@DTYPES
def bench_attention_entropy(measure, dtype, kind, side):
    measure(workloads.attention_entropy(2048, 1024, dtype, kind), side)


@sides("kexue", "SciPy's ive")
def bench_attention_entropy_model(measure, side):
    measure(workloads.attention_entropy_model(100), side)


@sides("kexue", "kexue, large d")
def bench_entropy_matched_scale(measure, side):
    measure(workloads.entropy_matched_scale(10), side)
