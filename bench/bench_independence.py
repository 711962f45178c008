"""HSIC, its tests, CKA and kernels beside scikit-learn, hyppo, torch and NumPy."""

import pytest
import workloads_independence as workloads
from cases import DTYPES, sides


@sides("kexue", "scikit-learn", "tr(KJLJ)", "hyppo")
def bench_hsic(measure, side):
    measure(workloads.hsic(500), side)


@sides("kexue", "scikit-learn")
@pytest.mark.parametrize("workers", [1, 2])
@DTYPES
@pytest.mark.parametrize("n", [2000, 5000])
def bench_hsic_of_more(measure, n, dtype, workers, side):
    measure(workloads.hsic(n, dtype=dtype, workers=workers), side)


@sides("kexue", "NumPy's gather", "hyppo")
def bench_hsic_test(measure, side):
    measure(workloads.hsic_test(500), side)


@sides("kexue", "NumPy")
def bench_hsic_test_gamma(measure, side):
    measure(workloads.hsic_test_gamma(1000), side)


@sides("kexue", "NumPy", "torch")
def bench_hsic_gradient(measure, side):
    measure(workloads.hsic_gradient(1000), side)


@sides("kexue", "NumPy")
@DTYPES
@pytest.mark.parametrize("function", ["hsic_from_kernels", "hsic_from_kernels_unbiased"])
def bench_hsic_from_kernels(measure, function, dtype, side):
    measure(workloads.hsic_from_kernels(function, 1000, dtype), side)


@sides("kexue", "NumPy")
def bench_normalized_hsic(measure, side):
    measure(workloads.normalized_hsic(500), side)


@sides("kexue", "scikit-learn")
def bench_hsic_block(measure, side):
    measure(workloads.hsic_block(20_000, 10, 200), side)


@sides("kexue", "NumPy", "kexue's hsic")
def bench_hsic_random_features(measure, side):
    measure(workloads.hsic_random_features(20_000, 10, 1024), side)


@sides("kexue", "scikit-learn")
def bench_hsic_streaming(measure, side):
    measure(workloads.hsic_streaming(4000), side)


@sides("kexue", "scikit-learn")
def bench_HSICSums(measure, side):
    measure(workloads.hsic_sums(2000), side)


@sides("kexue", "NumPy, features", "NumPy, Gram matrices")
def bench_cka_linear(measure, side):
    measure(workloads.cka("linear", 2000, 200), side)


@sides("kexue", "scikit-learn", "hyppo")
def bench_cka_rbf(measure, side):
    measure(workloads.cka("rbf", 500, 50), side)


@sides("kexue", "NumPy")
def bench_cka_matrix(measure, side):
    measure(workloads.cka_matrix(8, 2000, 128), side)


@sides("kexue", "scikit-learn")
@DTYPES
@pytest.mark.parametrize("function", ["rbf_kernel", "laplace_kernel", "polynomial_kernel", "linear_kernel"])
def bench_kernel(measure, function, dtype, side):
    measure(workloads.kernel(function, 1000, dtype=dtype), side)


@sides("kexue", "SciPy and NumPy", "scikit-learn and NumPy")
def bench_median_bandwidth(measure, side):
    measure(workloads.median_bandwidth(2000), side)
