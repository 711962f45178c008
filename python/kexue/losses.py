"""Losses for multi-label classification, ranking and contrastive learning."""

from kexue._combinatorial_softmax import combinatorial_predict, combinatorial_softmax_loss, log_esp

__all__ = [
    "combinatorial_predict",
    "combinatorial_softmax_loss",
    "log_esp",
]
