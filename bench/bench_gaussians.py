"""Gaussians in batches beside torch, NumPy, SciPy and POT; the Frechet distance beside the square root of a product."""

import pytest
import workloads_gaussians as workloads
from cases import DTYPES, sides

SIZES = pytest.mark.parametrize("d", [16, 64])


@sides("kexue", "torch", "torch unchecked", "NumPy")
@DTYPES
@SIZES
def bench_gaussian_kl(measure, d, dtype, side):
    measure(workloads.gaussian_kl(d, dtype), side)


@sides("kexue", "torch", "NumPy")
@DTYPES
def bench_gaussian_kl_diagonal(measure, dtype, side):
    measure(workloads.gaussian_kl_diagonal(64, dtype), side)


@sides("kexue", "NumPy", "SciPy's sqrtm", "POT")
@SIZES
def bench_gaussian_w2(measure, d, side):
    measure(workloads.gaussian_w2(d), side)


@sides("kexue", "NumPy")
@DTYPES
@SIZES
@pytest.mark.parametrize(
    "function",
    [
        "gaussian_entropy",
        "gaussian_bhattacharyya",
        "gaussian_hellinger",
        "gaussian_ot_map",
        "gaussian_entropy_grad",
        "gaussian_kl_grad",
        "gaussian_bhattacharyya_grad",
        "gaussian_hellinger_grad",
        "gaussian_w2_grad",
    ],
)
def bench_gaussian(measure, function, d, dtype, side):
    measure(workloads.gaussian(function, d, dtype), side)


@sides("kexue", "NumPy")
@DTYPES
def bench_GaussianMap(measure, dtype, side):
    measure(workloads.gaussian_map(100_000, 64, dtype), side)


@sides("kexue", "SciPy's sqrtm")
@DTYPES
@pytest.mark.parametrize(("n", "d"), [(2000, 64), (2000, 512), (300, 512)], ids=["2000x64", "2000x512", "300x512"])
def bench_frechet_distance(measure, n, d, dtype, side):
    measure(workloads.frechet_distance(n, d, dtype), side)


@sides("kexue", "SciPy's sqrtm")
@pytest.mark.parametrize("d", [64, 512])
def bench_frechet_distance_from_statistics(measure, d, side):
    measure(workloads.frechet_distance_from_statistics(2000, d), side)
