"""Attention: exact, without the matrix of weights."""

from kexue._exact_attention import attention, attention_vjp, entropy_invariant_scale
from kexue._talking_heads import talking_heads_attention, talking_heads_attention_vjp

__all__ = [
    "attention",
    "attention_vjp",
    "entropy_invariant_scale",
    "talking_heads_attention",
    "talking_heads_attention_vjp",
]
