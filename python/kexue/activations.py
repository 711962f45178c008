"""Activation functions as NumPy ufuncs, with the constants that go with them, and functions smoothed by a kernel.

SquarePlus is f(x; b) = (x + sqrt(x**2 + b)) / 2 (J. T. Barron, arXiv:2112.11687).
"""

from kexue._smooth_function import smooth_function
from kexue._smoothing import (
    smooth_abs,
    smooth_ceil,
    smooth_clip,
    smooth_floor,
    smooth_leaky_relu,
    smooth_maximum,
    smooth_relu,
    smooth_round,
    smooth_sign,
    smooth_step,
)
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
    "smooth_abs",
    "smooth_ceil",
    "smooth_clip",
    "smooth_floor",
    "smooth_function",
    "smooth_leaky_relu",
    "smooth_maximum",
    "smooth_relu",
    "smooth_round",
    "smooth_sign",
    "smooth_step",
    "squareplus",
    "squareplus_grad",
    "squareplus_grad_b",
    "squareplus_inverse",
]
