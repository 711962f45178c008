"""Losses of scores, with their gradients."""

from kexue._zlpr import (
    pairwise_rank_loss,
    zlpr_loss,
    zlpr_predict,
    zlpr_probability,
    zlpr_sparse_loss,
    zlpr_symmetric_kl,
)

__all__ = [
    "pairwise_rank_loss",
    "zlpr_loss",
    "zlpr_predict",
    "zlpr_probability",
    "zlpr_sparse_loss",
    "zlpr_symmetric_kl",
]
