"""Clipping beside torch, NumPy and the reading of memory."""

import pytest
import workloads_clipping as workloads
from cases import DTYPES, sides

SIZES = pytest.mark.parametrize(("n", "count"), [(10_000_000, 1), (1_000_000, 200)])


@sides("kexue", "reading: np.max", "reading: BLAS dot", "torch")
@SIZES
@DTYPES
def bench_clip_global_norm(measure, dtype, n, count, side):
    measure(workloads.clip_global_norm(n, count, dtype), side)


@sides("kexue", "NumPy and BLAS", "torch")
@SIZES
@DTYPES
def bench_clip_global_norm_clipped(measure, dtype, n, count, side):
    measure(workloads.clip_global_norm_clipped(n, count, dtype), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_clip_by_norm(measure, dtype, side):
    measure(workloads.clip_by_norm(10_000, 1000, dtype), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("name", ["smoothness_step_size", "descent_bound"])
def bench_step_of_smoothness(measure, name, side):
    measure(workloads.step_of_smoothness(name, 100_000), side)
