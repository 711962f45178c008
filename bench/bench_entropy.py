"""Softmaxes, their losses and backward passes beside torch and SciPy; entropy normalisation beside t-SNE's searches."""

import pytest
import workloads_entropy as workloads
from cases import DTYPES, sides

SHAPES = pytest.mark.parametrize(("rows", "n"), [(4096, 1000), (100_000, 10)], ids=["4096x1000", "100000x10"])
TARGETS = [
    *((10_000, 10, target) for target in (5, "half")),
    *((10_000, 100, target) for target in (30, "half")),
    *((1000, 5000, target) for target in (30, "half")),
]
SEARCHES = ("kexue", "scikit-learn", "openTSNE", "torch Newton")


@sides("kexue", "torch", "SciPy")
@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
@DTYPES
@SHAPES
@pytest.mark.parametrize("function", ["softmax", "log_softmax", "logsumexp"])
def bench_softmax(measure, function, rows, n, dtype, into, side):
    measure(workloads.softmax(function, rows, n, dtype, into=into), side)


@sides("kexue", "torch", "NumPy")
@DTYPES
@SHAPES
def bench_taylor_softmax(measure, rows, n, dtype, side):
    measure(workloads.softmax("taylor_softmax", rows, n, dtype), side)


@sides("kexue", "torch", "NumPy")
@DTYPES
@SHAPES
@pytest.mark.parametrize("function", ["softmax_vjp", "log_softmax_vjp"])
def bench_softmax_vjp(measure, function, rows, n, dtype, side):
    measure(workloads.softmax_vjp(function, rows, n, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
@SHAPES
@pytest.mark.parametrize("function", ["logsumexp_vjp", "taylor_softmax_vjp"])
def bench_other_vjp(measure, function, rows, n, dtype, side):
    measure(workloads.softmax_vjp(function, rows, n, dtype), side)


@sides("kexue", "torch", "NumPy")
@DTYPES
@SHAPES
@pytest.mark.parametrize("function", ["softmax_loss", "taylor_softmax_loss"])
def bench_loss(measure, function, rows, n, dtype, side):
    measure(workloads.loss(function, rows, n, dtype), side)


@sides("kexue", "SciPy")
@DTYPES
@SHAPES
def bench_entropy(measure, rows, n, dtype, side):
    measure(workloads.entropy(rows, n, dtype), side)


@sides(*SEARCHES, "SciPy's find_root")
@DTYPES
@pytest.mark.parametrize(("rows", "n", "target"), TARGETS)
def bench_entropy_normalize(measure, rows, n, dtype, target, side):
    measure(workloads.entropy_normalize(rows, n, dtype, target), side)


@sides(*SEARCHES)
@DTYPES
def bench_entropy_normalize_logits(measure, dtype, side):
    measure(workloads.entropy_normalize_logits(10_000, 100, dtype, 30), side)


@sides("kexue", "torch Newton")
@pytest.mark.parametrize("function", ["entropy_normalize_vjp", "entropy_normalize_logits_vjp"])
def bench_entropy_normalize_vjp(measure, function, side):
    measure(workloads.entropy_normalize_vjp(function, 10_000, 100, 30), side)


@sides("kexue", "torch Newton")
def bench_temperature_for_entropy(measure, side):
    measure(workloads.temperature_for_entropy(10_000, 100, "half"), side)


@sides(*SEARCHES)
@DTYPES
@pytest.mark.parametrize(("rows", "neighbors"), [(2000, None), (10_000, 90)], ids=["2000x2000", "10000x90"])
def bench_perplexity_affinities(measure, rows, neighbors, dtype, side):
    measure(workloads.perplexity_affinities(rows, neighbors, 30, dtype), side)


@sides("kexue", "NumPy")
def bench_entropy_power_curve(measure, side):
    measure(workloads.entropy_power_curve(10_000, 100), side)
