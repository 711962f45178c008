"""Independence of paired samples: kernels, HSIC, and CKA."""

from kexue._hsic import cka, hsic, hsic_gradient, normalized_hsic
from kexue._kernels import laplace_kernel, linear_kernel, median_bandwidth, polynomial_kernel, rbf_kernel

__all__ = [
    "cka",
    "hsic",
    "hsic_gradient",
    "laplace_kernel",
    "linear_kernel",
    "median_bandwidth",
    "normalized_hsic",
    "polynomial_kernel",
    "rbf_kernel",
]
