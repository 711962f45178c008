"""Random projection and what belongs to it: Hadamard transforms, hashes, theory, randomized SVD."""

from kexue._hadamard import fwht, pad_to_power_of_two

__all__ = [
    "fwht",
    "pad_to_power_of_two",
"""Projection to fewer dimensions: random maps that keep distances."""

from kexue._random_projection import RandomProjectionMap, random_projection

__all__ = [
    "RandomProjectionMap",
    "random_projection",
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
"""Random projections and hashes, the Walsh-Hadamard transform, randomized SVD, and their theory."""

from kexue._johnson_lindenstrauss import (
    attention_head_dim,
    embedding_dim,
    inner_product_bound,
    jl_min_dim,
    jl_success_probability,
    norm_concentration_bound,
)
from kexue._random_angle import RandomAngle, random_angle

__all__ = [
    "RandomAngle",
    "attention_head_dim",
    "embedding_dim",
    "inner_product_bound",
    "jl_min_dim",
    "jl_success_probability",
    "norm_concentration_bound",
    "random_angle",
"""Random projection, sign hashes, and what rests on them."""

from kexue._randomized_svd import RandomizedSVDResult, randomized_svd

__all__ = [
    "RandomizedSVDResult",
    "randomized_svd",
]
