"""Projection to fewer dimensions: random maps that keep distances."""

from kexue._random_projection import RandomProjectionMap, random_projection

__all__ = [
    "RandomProjectionMap",
    "random_projection",
]
