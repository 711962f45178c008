"""Activation functions as NumPy ufuncs, with the constants that go with them, and functions smoothed by a kernel.

SquarePlus is f(x; b) = (x + sqrt(x**2 + b)) / 2 (J. T. Barron, arXiv:2112.11687); softplus, Swish and GELU are the
usual ones; exp_taylor(x, n) is the Taylor polynomial of exp of degree n, positive everywhere for an even n.

Attributes
----------
SQUAREPLUS_B_MINIMAX : float
    b with the least maximal distance of SquarePlus to softplus.
SQUAREPLUS_B_UPPER : float
    4 log(2)**2, from which on SquarePlus is nowhere below softplus.
SQUAREPLUS_B_CURVATURE : float
    b with softplus' curvature at 0.
SQUAREPLUS_B_T2 : float
    b whose SquarePlus is relu convolved with Student's t of two degrees of freedom.
"""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

from kexue._errors import KexueValueError
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
    exp_taylor,
    exp_taylor_grad,
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    softplus,
    softplus_grad,
    squareplus,
    squareplus_grad,
    squareplus_grad_b,
    squareplus_inverse,
    swish,
    swish_grad,
)

__all__ = [
    "SQUAREPLUS_B_CURVATURE",
    "SQUAREPLUS_B_MINIMAX",
    "SQUAREPLUS_B_T2",
    "SQUAREPLUS_B_UPPER",
    "exp_taylor",
    "exp_taylor_grad",
    "exp_taylor_min",
    "gelu",
    "gelu_grad",
    "gelu_tanh",
    "gelu_tanh_grad",
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
    "softplus",
    "softplus_grad",
    "squareplus",
    "squareplus_grad",
    "squareplus_grad_b",
    "squareplus_inverse",
    "swish",
    "swish_grad",
]

# Above, the minimum is not a normal float64.
_MOST_FOR_MINIMUM = 2500


def exp_taylor_min(n: SupportsIndex) -> tuple[float, float]:
    """The minimum of the Taylor polynomial of exp of an even degree.

    Parameters
    ----------
    n : int
        The degree: even, 2 to 2500. An odd one has no minimum, and above 2500 the minimum is not a normal float64.

    Returns
    -------
    x, value : float
        The place, near -0.28 n, and the value there, x**n / n!. Both to an ulp.

    Raises
    ------
    KexueValueError
        If `n` is odd or out of range.

    See Also
    --------
    exp_taylor : the polynomial.

    Notes
    -----
    Newton's method for the zero of the derivative, which is the polynomial of degree n - 1. x / n tends to
    -W(1 / e) = -0.278464542761. max(x, exp_taylor_min(n)[0]) in the place of x makes the polynomial monotone.

    References
    ----------
    J. Su, https://kexue.fm/archives/7919.

    Examples
    --------
    >>> import kexue
    >>> kexue.exp_taylor_min(2)
    (-1.0, 0.5)
    """
    degree = operator.index(n)
    if degree < 2 or degree % 2 or degree > _MOST_FOR_MINIMUM:
        raise KexueValueError(f"n must be even and from 2 to {_MOST_FOR_MINIMUM}, not {degree}")
    x = -(0.278464542761 * degree + 0.083 * math.log(degree) + 0.36)
    for _ in range(20):
        step = float(exp_taylor(x, degree - 1) / exp_taylor_grad(x, degree - 1))
        x -= step
        if abs(step) <= 1e-16 * abs(x):
            break
    return x, float(exp_taylor(x, degree))
