"""Gaussians: entropies, divergences and optimal transport."""

from kexue._frechet import frechet_distance, frechet_distance_from_statistics

__all__ = ["frechet_distance", "frechet_distance_from_statistics"]
