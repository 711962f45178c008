"""Attention: exact, without the matrix of weights."""

from kexue._exact_attention import attention, attention_vjp, entropy_invariant_scale

__all__ = ["attention", "attention_vjp", "entropy_invariant_scale"]
