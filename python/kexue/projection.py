"""Random projection and what belongs to it: Hadamard transforms, hashes, theory, randomized SVD."""

from kexue._hadamard import fwht, pad_to_power_of_two

__all__ = [
    "fwht",
    "pad_to_power_of_two",
]
