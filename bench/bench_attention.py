"""Attention beside torch's scaled_dot_product_attention, and NumPy with the whole matrix of weights."""

import numpy as np
import pytest
import workloads_attention as workloads

import kexue as kx

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.mark.parametrize("side", ["kexue", "NumPy", "torch"])
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
