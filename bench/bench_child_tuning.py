"""Child-tuning beside NumPy and torch."""

import pytest
import workloads_child_tuning as workloads
from cases import DTYPES, sides


@sides("kexue", "NumPy", "torch", "copy")
@pytest.mark.parametrize("p", [0.3, 0.5])
@pytest.mark.parametrize("n", [10_000, 10_000_000])
@pytest.mark.parametrize("function", ["childtuning_gradient", "update_dropout"])
@DTYPES
def bench_by_chance(measure, dtype, function, n, p, side):
    measure(workloads.by_chance(function, n, dtype, p), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_childtuning_gradient_by_mask(measure, dtype, side):
    measure(workloads.by_mask(10_000_000, dtype), side)


@sides("kexue", "NumPy", "torch")
@pytest.mark.parametrize(("samples", "n"), [(32, 100_000), (100_000, 32)])
@DTYPES
def bench_fisher_diagonal(measure, dtype, samples, n, side):
    measure(workloads.fisher_diagonal(samples, n, dtype), side)


@sides("kexue", "NumPy's percentile")
@pytest.mark.parametrize("method", ["exact", "percentile"])
def bench_childtuning_mask(measure, method, side):
    measure(workloads.mask(1_000_000, method), side)


@sides("kexue", "torch")
@pytest.mark.parametrize("p", [0.3, 1.0])
def bench_ChildTuningAdamW(measure, p, side):
    measure(workloads.step(1_000_000, "float32", p), side)
