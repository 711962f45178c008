"""kexue.torch beside what torch computes by itself, forward and backward, and POT's emd2 with torch's tensors."""

import pytest
import workloads_torch as workloads

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])


def sides(*names):
    return pytest.mark.parametrize("side", names)


@sides("kexue", "torch")
@DTYPES
@pytest.mark.parametrize("n", [1000, 1_000_000])
def bench_squareplus(measure, n, dtype, side):
    measure(workloads.squareplus(n, dtype), side)


@sides("kexue", "kexue on arrays", "torch sort", "torch N^2")
@DTYPES
def bench_cosent_loss(measure, dtype, side):
    measure(workloads.cosent_loss(2048, dtype), side)


@sides("kexue", "kexue on arrays", "torch published", "torch masked")
@DTYPES
def bench_zlpr_loss(measure, dtype, side):
    measure(workloads.zlpr_loss(4096, 1000, dtype), side)


@sides("kexue", "POT")
@pytest.mark.parametrize(("m", "n"), [(20, 30), (100, 100), (500, 500)])
def bench_emd2(measure, m, n, side):
    measure(workloads.emd2(m, n), side)


@sides("kexue", "torch unrolled")
def bench_sinkhorn2(measure, side):
    measure(workloads.sinkhorn2(100, 120), side)


@sides("kexue", "torch around POT")
def bench_wmd(measure, side):
    measure(workloads.wmd(20, 30, 100), side)
