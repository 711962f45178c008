"""Activation functions as NumPy ufuncs, with the constants that go with them.

SquarePlus is f(x; b) = (x + sqrt(x**2 + b)) / 2 (J. T. Barron, arXiv:2112.11687).
"""

from kexue._ufuncs import (
    SQUAREPLUS_B_CURVATURE,
    SQUAREPLUS_B_MINIMAX,
    SQUAREPLUS_B_T2,
    SQUAREPLUS_B_UPPER,
    squareplus,
    squareplus_grad,
    squareplus_grad_b,
    squareplus_inverse,
)

__all__ = [
    "SQUAREPLUS_B_CURVATURE",
    "SQUAREPLUS_B_MINIMAX",
    "SQUAREPLUS_B_T2",
    "SQUAREPLUS_B_UPPER",
    "squareplus",
    "squareplus_grad",
    "squareplus_grad_b",
    "squareplus_inverse",
]
