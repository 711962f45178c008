"""Exact transport beside POT, its C++ core alone, and SciPy's assignment."""

import pytest
import workloads

SMALL = [(5, 7), (10, 15), (20, 30), (50, 60)]
SIZES = [*SMALL, (100, 100), (500, 500), (1000, 1000)]
COSTS = pytest.mark.parametrize("costs", ["random", "plane"])


def sizes(chosen):
    return pytest.mark.parametrize("size", chosen, ids="{0[0]}x{0[1]}".format)


def sides(*names):
    return pytest.mark.parametrize("side", names)


@sides("kexue", "POT", "POT's C++")
@sizes([*SIZES, (2000, 2000)])
@COSTS
def bench_emd2(measure, costs, size, side):
    measure(workloads.emd2(*size, costs), side)


@sides("kexue", "POT", "POT's C++")
@sizes(SMALL)
@COSTS
def bench_emd2_batch(measure, costs, size, side):
    measure(workloads.emd2_batch(*size, costs), side)


@sides("kexue", "POT", "POT's C++", "SciPy's assignment")
@pytest.mark.parametrize("n", [32, 64])
@COSTS
def bench_emd2_uniform(measure, costs, n, side):
    measure(workloads.emd2_uniform(n, costs), side)


@sides("kexue", "POT")
@sizes(SIZES)
def bench_emd(measure, size, side):
    measure(workloads.emd(*size, "random"), side)


@sides("kexue", "POT")
@sizes(SIZES)
def bench_solve(measure, size, side):
    measure(workloads.solve(*size, "random"), side)


@sides("kexue", "POT")
@pytest.mark.parametrize("n", [100, 1000])
def bench_emd_1d(measure, n, side):
    measure(workloads.emd_1d(n), side)


@sides("kexue", "POT", "POT's wasserstein_1d")
@pytest.mark.parametrize("n", [100, 1000, 20000])
def bench_emd2_1d(measure, n, side):
    measure(workloads.emd2_1d(n), side)


@sides("kexue", "kexue's emd2")
@sizes([(20, 30), (100, 100)])
@COSTS
def bench_transport_lower_bound(measure, costs, size, side):
    measure(workloads.transport_lower_bound(*size, costs), side)
