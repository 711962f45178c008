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
]
