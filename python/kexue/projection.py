"""Random projections, and what follows from them: hashing, nearest neighbours, low rank."""

from kexue._sign_hash import (
    SignHash,
    angle_from_hamming,
    cosine_from_hamming,
    hamming_distances,
    hamming_neighbors,
    sign_hash,
)
from kexue._sign_hash_index import SignHashIndex

__all__ = [
    "SignHash",
    "SignHashIndex",
    "angle_from_hamming",
    "cosine_from_hamming",
    "hamming_distances",
    "hamming_neighbors",
    "sign_hash",
]
