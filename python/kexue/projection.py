"""Random projection and what belongs to it: Hadamard transforms, hashes, theory, randomized SVD."""

from kexue._hadamard import fwht, pad_to_power_of_two
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
    "fwht",
    "hamming_distances",
    "hamming_neighbors",
    "pad_to_power_of_two",
    "sign_hash",
]
