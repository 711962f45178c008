"""Gaussians: entropy, divergences, distances and maps between them, in batches, with gradients; Frechet distance."""

from kexue._frechet import frechet_distance, frechet_distance_from_statistics
from kexue._gaussian_divergences import (
    gaussian_bhattacharyya,
    gaussian_bhattacharyya_grad,
    gaussian_entropy,
    gaussian_entropy_grad,
    gaussian_hellinger,
    gaussian_hellinger_grad,
    gaussian_kl,
    gaussian_kl_grad,
)
from kexue._gaussian_transport import GaussianMap, gaussian_ot_map, gaussian_w2, gaussian_w2_grad

__all__ = [
    "GaussianMap",
    "frechet_distance",
    "frechet_distance_from_statistics",
    "gaussian_bhattacharyya",
    "gaussian_bhattacharyya_grad",
    "gaussian_entropy",
    "gaussian_entropy_grad",
    "gaussian_hellinger",
    "gaussian_hellinger_grad",
    "gaussian_kl",
    "gaussian_kl_grad",
    "gaussian_ot_map",
    "gaussian_w2",
    "gaussian_w2_grad",
]
