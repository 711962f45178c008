"""Random projection, sign hashes, and what rests on them."""

from kexue._randomized_svd import RandomizedSVDResult, randomized_svd

__all__ = [
    "RandomizedSVDResult",
    "randomized_svd",
]
