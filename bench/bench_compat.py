"""The calls of POT, gensim and SciPy, beside these libraries themselves."""

import pytest
import workloads_compat as workloads
from cases import sides


@sides("kexue", "POT")
@pytest.mark.parametrize(("m", "n"), [(20, 30), (100, 100)])
@pytest.mark.parametrize(
    "name",
    ["dist", "emd", "emd2", "emd2_1d", "emd_1d", "sinkhorn", "sinkhorn2", "solve", "unif", "wasserstein_1d"],
    ids="compat.pot.{}".format,
)
def bench_pot(measure, name, m, n, side):
    measure(workloads.pot(name, m, n), side)


@sides("kexue", "gensim")
def bench_compat_gensim_wmdistance(measure, side):
    measure(workloads.wmdistance(), side)


@sides("kexue", "gensim")
def bench_compat_gensim_WmdSimilarity(measure, side):
    measure(workloads.similarity(), side)


@sides("kexue", "SciPy")
def bench_compat_scipy_wasserstein_distance_nd(measure, side):
    measure(workloads.scipy_distance(50, 2), side)
