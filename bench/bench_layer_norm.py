"""Normalisation of rows beside torch and NumPy."""

import pytest
import workloads_layer_norm as workloads
from cases import DTYPES, sides


@sides("kexue", "kexue out=", "NumPy", "torch")
@DTYPES
def bench_layer_norm(measure, dtype, side):
    measure(workloads.normalize("layer_norm", 8192, 768, dtype), side)


@sides("kexue", "kexue out=", "NumPy", "torch")
@DTYPES
def bench_rms_norm(measure, dtype, side):
    measure(workloads.normalize("rms_norm", 8192, 768, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
@pytest.mark.parametrize("function", ["layer_norm_vjp", "rms_norm_vjp"])
def bench_normalisation_gradients(measure, function, dtype, side):
    measure(workloads.normalize_vjp(function, 8192, 768, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_ntk_linear(measure, dtype, side):
    measure(workloads.ntk_linear(2048, 768, 768, dtype), side)
