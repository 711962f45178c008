"""Independence of paired samples: kernels, HSIC, and CKA."""

from kexue._kernels import laplace_kernel, linear_kernel, median_bandwidth, polynomial_kernel, rbf_kernel

__all__ = ["laplace_kernel", "linear_kernel", "median_bandwidth", "polynomial_kernel", "rbf_kernel"]
