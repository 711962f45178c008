"""Exact transport beside POT, its C++ core alone, and SciPy's assignment; entropic transport beside POT."""

import pytest
import workloads
from cases import sides

SMALL = [(5, 7), (10, 15), (20, 30), (50, 60)]
SIZES = [*SMALL, (100, 100), (500, 500), (1000, 1000)]
COSTS = pytest.mark.parametrize("costs", ["random", "plane"])


def sizes(chosen):
    return pytest.mark.parametrize("size", chosen, ids="{0[0]}x{0[1]}".format)


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


ENTROPIC = [(n, costs, reg) for n in (30, 200, 1000) for costs in ("plane", "clustered") for reg in (0.1, 0.01)]
BATCHES = [problem for problem in ENTROPIC if problem[0] == 30]


def entropic(problems):
    return pytest.mark.parametrize("problem", problems, ids="{0[0]}-{0[1]}-{0[2]}".format)


@sides("kexue", "POT")
@entropic(ENTROPIC)
def bench_sinkhorn(measure, problem, side):
    measure(workloads.sinkhorn(*problem), side)


@sides("kexue", "POT", "POT's solve_batch")
@entropic([(30, "random", 0.1), (30, "random", 0.01)])
def bench_sinkhorn_batch(measure, problem, side):
    measure(workloads.sinkhorn(*problem), side)


@sides("kexue", "POT's sinkhorn_log")
def bench_sinkhorn_underflow(measure, side):
    measure(workloads.sinkhorn(300, "apart", 0.001), side)


@sides("kexue", "POT")
@entropic(BATCHES)
def bench_sinkhorn2(measure, problem, side):
    measure(workloads.sinkhorn2(*problem), side)


@sides("kexue", "POT")
@entropic([(200, "clustered", 0.01), (1000, "plane", 0.1), (1000, "plane", 0.01)])
def bench_sinkhorn_divergence(measure, problem, side):
    measure(workloads.sinkhorn_divergence(*problem), side)


@sides("kexue", "POT", "POT's solve_sample")
@entropic([(200, "plane", 0.1)])
def bench_sinkhorn_divergence_small(measure, problem, side):
    measure(workloads.sinkhorn_divergence(*problem), side)


@sides("kexue", "POT", "POT's sinkhorn_log")
@entropic([(200, 5, 0.01), (200, 5, 0.002), (1000, 5, 0.01)])
def bench_sinkhorn_barycenter(measure, problem, side):
    measure(workloads.sinkhorn_barycenter(*problem), side)


@sides("kexue", "POT and SciPy")
@pytest.mark.parametrize("workers", [1, 2], ids="workers={}".format)
@pytest.mark.parametrize(("frequencies", "reg"), [("uniform", 5.0), ("uniform", 2.0), ("Zipf", 5.0)], ids="{}".format)
def bench_pairwise_distances_sinkhorn(measure, frequencies, reg, workers, side):
    measure(workloads.pairwise_sinkhorn(5000, frequencies, reg, workers=workers), side)
