"""Losses of scores, with their gradients: multi-label, ranking, contrastive."""

from kexue._combinatorial_softmax import combinatorial_predict, combinatorial_softmax_loss, log_esp
from kexue._contrastive import info_nce_loss, r_drop_loss, softmax_symmetric_kl
from kexue._cosent import cosent_embedding_loss, cosent_loss, spearman
from kexue._pair_losses import cosine_target_loss, sentence_pair_features
from kexue._ufuncs import cosine_pairs, cosine_pairs_vjp, l2_normalize, l2_normalize_vjp
from kexue._zlpr import (
    pairwise_rank_loss,
    zlpr_loss,
    zlpr_predict,
    zlpr_probability,
    zlpr_sparse_loss,
    zlpr_symmetric_kl,
)

__all__ = [
    "combinatorial_predict",
    "combinatorial_softmax_loss",
    "cosent_embedding_loss",
    "cosent_loss",
    "cosine_pairs",
    "cosine_pairs_vjp",
    "cosine_target_loss",
    "info_nce_loss",
    "l2_normalize",
    "l2_normalize_vjp",
    "log_esp",
    "pairwise_rank_loss",
    "r_drop_loss",
    "sentence_pair_features",
    "softmax_symmetric_kl",
    "spearman",
    "zlpr_loss",
    "zlpr_predict",
    "zlpr_probability",
    "zlpr_sparse_loss",
    "zlpr_symmetric_kl",
]
