"""What is done to the probabilities of classifiers."""

from kexue._can import can, topk_entropy

__all__ = [
    "can",
    "topk_entropy",
]
