"""Importance weights, their bounds and estimates beside torch, SciPy and NumPy."""

import pytest
import workloads_density as workloads
from cases import DTYPES, sides


@sides("kexue", "torch", "SciPy")
@DTYPES
@pytest.mark.parametrize(("rows", "samples"), [(10_000, 50), (100, 5000)], ids=["10000x50", "100x5000"])
@pytest.mark.parametrize(
    "function", ["elbo", "iwae_bound", "iwae_bound_grad", "iwae_bound_vjp", "effective_sample_size"]
)
def bench_reduction(measure, function, rows, samples, dtype, side):
    measure(workloads.reduction(function, rows, samples, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_importance_log_weights(measure, dtype, side):
    measure(workloads.importance_log_weights(1_000_000, dtype), side)


@sides("kexue", "torch", "SciPy")
@DTYPES
def bench_gaussian_logpdf_diag(measure, dtype, side):
    measure(workloads.gaussian_logpdf_diag(20_000, 50, dtype), side)


@sides("kexue", "NumPy", "torch")
def bench_log_density_estimate(measure, side):
    measure(workloads.log_density_estimate(20_000, 20, 200), side)
