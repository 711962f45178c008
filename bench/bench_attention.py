"""Attention beside torch's scaled_dot_product_attention, and NumPy with the whole matrix of weights; linear attention
beside torch's products of matrices, and features beside their formulas."""

import numpy as np
import pytest
import workloads_attention as workloads

import kexue as kx

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.mark.parametrize("side", ["kexue", "NumPy", "torch", "torch (n, h, d)"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
@DTYPES
def bench_attention(measure, dtype, causal, side):
    measure(workloads.attention(12, 2048, 64, dtype, causal), side)


@pytest.mark.parametrize("side", ["kexue", "torch"])
@DTYPES
def bench_attention_vjp(measure, dtype, side):
    measure(workloads.attention_vjp(12, 1024, 64, dtype), side)


def bench_entropy_invariant_scale(benchmark):
    benchmark(kx.entropy_invariant_scale, np.arange(1, 4097), 64)


@pytest.mark.parametrize("side", ["kexue", "torch"])
@pytest.mark.parametrize("mixes_weights", [False, True], ids=["logits", "both"])
@DTYPES
def bench_talking_heads_attention(measure, dtype, mixes_weights, side):
    measure(workloads.talking_heads_attention(12, 1024, 64, dtype, mixes_weights), side)


@pytest.mark.parametrize("side", ["kexue", "torch"])
@DTYPES
def bench_talking_heads_attention_vjp(measure, dtype, side):
    measure(workloads.talking_heads_attention_vjp(12, 1024, 64, dtype), side)


@pytest.mark.parametrize("side", ["kexue", "NumPy", "torch"])
@DTYPES
def bench_linear_attention(measure, dtype, side):
    measure(workloads.linear_attention(12, 4096, 128, 64, dtype, False), side)


@pytest.mark.parametrize("side", ["kexue", "torch, blocks at once", "torch, block after block"])
@DTYPES
def bench_linear_attention_causal(measure, dtype, side):
    measure(workloads.linear_attention(12, 4096, 128, 64, dtype, True), side)


@pytest.mark.parametrize("side", ["kexue", "torch, block after block", "torch cumsum"])
def bench_linear_attention_causal_short(measure, side):
    measure(workloads.linear_attention(2, 1024, 128, 64, "float32", True), side)


@pytest.mark.parametrize("side", ["kexue", "torch"])
@pytest.mark.parametrize("causal", [False, True], ids=["all", "causal"])
def bench_linear_attention_vjp(measure, causal, side):
    measure(workloads.linear_attention_vjp(12, 2048, 128, 64, "float32", causal), side)


@pytest.mark.parametrize("side", ["kexue", "NumPy", "torch"])
@pytest.mark.parametrize("kind", ["positive", "trigonometric"])
@DTYPES
def bench_favor_features(measure, dtype, kind, side):
    measure(workloads.favor_features(12, 2048, 128, 64, dtype, kind), side)


@pytest.mark.parametrize("side", ["kexue", "scikit-learn"])
@pytest.mark.parametrize(("n", "d", "degree"), [(4096, 64, 2), (256, 64, 3), (4096, 8, 4)])
@DTYPES
def bench_taylor_features(measure, dtype, n, d, degree, side):
    measure(workloads.taylor_features(n, d, degree, dtype), side)


def bench_expdef_features(benchmark):
    benchmark(kx.expdef_features, workloads.heads(1, 4096, 64, "float64")[0][0], 2, workers=1)


def bench_favor_attention(benchmark):
    Q, K, V, _ = workloads.heads(12, 2048, 64, "float32")
    benchmark(kx.favor_attention, Q, K, V, kx.favor_projection(128, 64, rng=0), workers=1)


def bench_favor_features_vjp(benchmark):
    X = workloads.heads(12, 2048, 64, "float32")[0]
    W = kx.favor_projection(128, 64, rng=0)
    benchmark(kx.favor_features_vjp, X, W, np.ones((12, 2048, 128), dtype=np.float32))


def bench_favor_projection(benchmark):
    benchmark(kx.favor_projection, 256, 64, rng=0)


def bench_favor_relative_variance(benchmark):
    benchmark(kx.favor_relative_variance, *workloads.heads(1, 4096, 64, "float64")[:2])


def bench_kernel_error(benchmark):
    X = workloads.heads(1, 1024, 64, "float64")[0][0] / 8
    phi = kx.favor_features(X, kx.favor_projection(256, 64, rng=0))
    benchmark(kx.kernel_error, X, X, phi, phi)


@pytest.mark.parametrize("function", [kx.taylor_remainder_bound, kx.expdef_ratio])
def bench_laws(benchmark, function):
    """kexue.taylor_remainder_bound and kexue.expdef_ratio."""
    benchmark(function, np.linspace(-10, 10, 100_001), 8)


def bench_feature_dimension(benchmark):
    benchmark(kx.feature_dimension, 768, 100)


@pytest.mark.parametrize("side", ["kexue", "NumPy"])
def bench_transformer_layer_macs(measure, side):
    measure(workloads.transformer_layer_macs(1000), side)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (kx.attention_macs, (512, 12, 64)),
        (kx.ffn_macs, (512, 768)),
        (kx.transformer_layer_macs, (512, 12, 64)),
        (kx.crossover_lengths, (12, 64)),
        (kx.attention_param_budget, (512, 768, 12)),
    ],
)
def bench_counting(benchmark, function, arguments):
    benchmark(function, *arguments)


@pytest.mark.parametrize("side", ["kexue", "NumPy"])
def bench_attention_rank(measure, side):
    measure(workloads.attention_rank(4, 256, 32), side)


@pytest.mark.parametrize("side", ["kexue", "SciPy"])
@pytest.mark.parametrize("kind", ["weights", "logits"])
@DTYPES
def bench_attention_entropy(measure, dtype, kind, side):
    measure(workloads.attention_entropy(2048, 1024, dtype, kind), side)


@pytest.mark.parametrize("side", ["kexue", "SciPy's ive"])
def bench_attention_entropy_model(measure, side):
    measure(workloads.attention_entropy_model(100), side)


@pytest.mark.parametrize("side", ["kexue", "large d"])
def bench_entropy_matched_scale(measure, side):
    measure(workloads.entropy_matched_scale(10), side)
