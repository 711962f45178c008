"""Every NumPy ufunc and gufunc of kexue in one namespace."""

# Those with an underscore are here for pickle, which finds a ufunc by its module.
from kexue._ufuncs import (
    _taylor_softmax,  # noqa: F401
    _taylor_softmax_vjp,  # noqa: F401
    entropy,
    log_softmax,
    log_softmax_vjp,
    logsumexp,
    logsumexp_vjp,
    softmax,
    softmax_vjp,
    squareplus,
    squareplus_grad,
    squareplus_grad_b,
    squareplus_inverse,
)

__all__ = [
    "entropy",
    "log_softmax",
    "log_softmax_vjp",
    "logsumexp",
    "logsumexp_vjp",
    "softmax",
    "softmax_vjp",
    "squareplus",
    "squareplus_grad",
    "squareplus_grad_b",
    "squareplus_inverse",
]
