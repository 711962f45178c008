"""Attention beside torch's scaled_dot_product_attention, and NumPy with the whole matrix of weights."""

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
