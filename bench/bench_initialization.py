"""Initialisation beside torch, SciPy and NumPy."""

import pytest
import workloads_initialization as workloads
from cases import DTYPES, sides


@sides("kexue", "torch", "SciPy", "standard_normal")
@pytest.mark.parametrize("ends", [(-2, 2), (-1, 3), (1.5, 3)], ids=str)
@DTYPES
def bench_truncated_normal(measure, dtype, ends, side):
    measure(workloads.truncated_normal(1_000_000, dtype, *ends), side)


@sides("kexue", "torch", "SciPy's qr")
@pytest.mark.parametrize("shape", [(64, 64), (512, 512), (3072, 768)], ids=str)
@DTYPES
def bench_orthogonal_init(measure, dtype, shape, side):
    measure(workloads.orthogonal_init(*shape, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_orthogonality_error(measure, dtype, side):
    measure(workloads.orthogonality_error(768, 768, dtype), side)


@sides("kexue", "SciPy")
@pytest.mark.parametrize("function", ["truncated_normal_mean", "truncated_normal_variance", "effective_truncated_std"])
def bench_truncated_normal_moments(measure, function, side):
    measure(workloads.truncated_normal_moments(function, 1000), side)


@sides("kexue", "SciPy's quad")
@pytest.mark.parametrize("function", ["activation_moments", "activation_second_moment", "normalized_activation"])
def bench_activation_moments(measure, function, side):
    measure(workloads.activation_moments(function), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize(
    "function",
    [
        "adam_expected_update",
        "embedding_logit_std",
        "expected_orthogonality_error",
        "init_variance",
        "linear_warmup",
        "marchenko_pastur_edges",
        "post_norm_weights",
        "pre_norm_variance",
        "residual_branch_weights",
        "selu_constants",
        "uniform_limits",
        "xavier_std",
    ],
)
def bench_formula(measure, function, side):
    measure(workloads.formula(function), side)
