"""Lipschitz constraints beside NumPy, SciPy and torch."""

import pytest
import workloads_gradient_normalization as workloads
from cases import DTYPES, sides


@sides("kexue", "NumPy")
@pytest.mark.parametrize("mode", ["gn", "gran", "plain"])
@DTYPES
def bench_gradient_normalize(measure, dtype, mode, side):
    measure(workloads.normalize(mode, 10_000, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_gn_input_gradient(measure, dtype, side):
    measure(workloads.input_gradient(64, 3072, dtype), side)


@sides("kexue", "NumPy")
def bench_gradient_penalty(measure, side):
    measure(workloads.penalty(10_000), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_clip_weights(measure, dtype, side):
    measure(workloads.clip(1_000_000, dtype), side)


@sides("kexue", "NumPy", "SciPy's svds")
@pytest.mark.parametrize(("m", "n"), [(32, 32), (256, 256), (512, 4608)])
@DTYPES
def bench_spectral_norm(measure, dtype, m, n, side):
    measure(workloads.spectral_norm(m, n, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_spectral_norm_warm_start(measure, dtype, side):
    measure(workloads.warm_start(512, 4608, dtype), side)
