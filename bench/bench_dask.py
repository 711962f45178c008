"""kexue.dask on one thread, beside a library's functions mapped over blocks, and kexue's own without a graph."""

import workloads_dask as workloads
from cases import sides


@sides("kexue", "POT and SciPy", "kexue at once")
def bench_dask_pairwise_distances(measure, side):
    measure(workloads.pairwise_distances(), side)


@sides("kexue", "kexue, all distances", "kexue at once")
def bench_dask_kneighbors(measure, side):
    measure(workloads.kneighbors(), side)


@sides("kexue", "scikit-learn", "kexue at once")
def bench_dask_hsic(measure, side):
    measure(workloads.hsic(), side)


@sides("kexue", "scikit-learn", "kexue at once")
def bench_dask_random_projection(measure, side):
    measure(workloads.random_projection(), side)
