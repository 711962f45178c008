"""Random projections and hashes, the Walsh-Hadamard transform, randomized SVD, and their theory."""

from kexue._hadamard import fwht, pad_to_power_of_two
from kexue._johnson_lindenstrauss import (
    attention_head_dim,
    embedding_dim,
    inner_product_bound,
    jl_min_dim,
    jl_success_probability,
    norm_concentration_bound,
)
from kexue._random_angle import RandomAngle, random_angle
from kexue._random_projection import RandomProjectionMap, random_projection
from kexue._randomized_svd import RandomizedSVDResult, randomized_svd
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
    "RandomAngle",
    "RandomProjectionMap",
    "RandomizedSVDResult",
    "SignHash",
    "SignHashIndex",
    "angle_from_hamming",
    "attention_head_dim",
    "cosine_from_hamming",
    "embedding_dim",
    "fwht",
    "hamming_distances",
    "hamming_neighbors",
    "inner_product_bound",
    "jl_min_dim",
    "jl_success_probability",
    "norm_concentration_bound",
    "pad_to_power_of_two",
    "random_angle",
    "random_projection",
    "randomized_svd",
    "sign_hash",
]
