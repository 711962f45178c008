"""Independence of paired samples: kernels, HSIC, and CKA."""

from kexue._cka import cka_matrix
from kexue._hsic import cka, hsic, hsic_gradient, normalized_hsic
from kexue._hsic_large import HSICBlockResult, HSICFeaturesResult, hsic_block, hsic_random_features
from kexue._hsic_sums import HSICSums, hsic_streaming
from kexue._hsic_test import HSICTestResult, hsic_test
from kexue._kernels import laplace_kernel, linear_kernel, median_bandwidth, polynomial_kernel, rbf_kernel
from kexue._ufuncs import hsic_from_kernels, hsic_from_kernels_unbiased

__all__ = [
    "HSICBlockResult",
    "HSICFeaturesResult",
    "HSICSums",
    "HSICTestResult",
    "cka",
    "cka_matrix",
    "hsic",
    "hsic_block",
    "hsic_from_kernels",
    "hsic_from_kernels_unbiased",
    "hsic_gradient",
    "hsic_random_features",
    "hsic_streaming",
    "hsic_test",
    "laplace_kernel",
    "linear_kernel",
    "median_bandwidth",
    "normalized_hsic",
    "polynomial_kernel",
    "rbf_kernel",
]
