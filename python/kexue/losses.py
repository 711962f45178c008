"""Losses for multi-label classification, ranking and contrastive learning."""

from kexue._combinatorial_softmax import combinatorial_predict, combinatorial_softmax_loss, log_esp
from kexue._contrastive import info_nce_loss, r_drop_loss, softmax_symmetric_kl

__all__ = [
    "combinatorial_predict",
    "combinatorial_softmax_loss",
    "info_nce_loss",
    "log_esp",
    "r_drop_loss",
    "softmax_symmetric_kl",
]
