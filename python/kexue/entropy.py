"""Entropies, softmaxes, and distributions of a given entropy."""

from kexue._softmax import (
    entropy,
    log_softmax,
    log_softmax_vjp,
    logsumexp,
    logsumexp_vjp,
    softmax,
    softmax_loss,
    softmax_vjp,
    taylor_softmax,
    taylor_softmax_loss,
    taylor_softmax_vjp,
)

__all__ = [
    "entropy",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_loss",
    "softmax_vjp",
    "taylor_softmax",
    "taylor_softmax_loss",
    "taylor_softmax_vjp",
]
