"""Attention: exact, linear and with talking heads; its entropy, rank and costs."""

from kexue._exact_attention import attention, attention_vjp, entropy_invariant_scale
from kexue._talking_heads import talking_heads_attention, talking_heads_attention_vjp

__all__ = [
    "attention",
    "attention_vjp",
    "entropy_invariant_scale",
    "talking_heads_attention",
    "talking_heads_attention_vjp",
]
