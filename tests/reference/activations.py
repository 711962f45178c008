"""Activations in mpmath, straight from the formulas, with so many digits that cancellation does not matter.

x**2 + b of float64 numbers spans 2**-2148 to 2**2048, so 4400 bits hold any sum of two terms.
"""

import mpmath

PRECISION = 4400


def _exactly(function):
    def evaluate(x, b):
        with mpmath.workprec(PRECISION):
            return function(mpmath.mpf(float(x)), mpmath.mpf(float(b)))

    return evaluate


@_exactly
def squareplus(x, b):
    return (x + mpmath.sqrt(x * x + b)) / 2


@_exactly
def squareplus_grad(x, b):
    if x == 0 and b == 0:
        return mpmath.mpf(0.5)
    return (1 + x / mpmath.sqrt(x * x + b)) / 2


@_exactly
def squareplus_grad_b(x, b):
    if x == 0 and b == 0:
        return mpmath.inf
    return 1 / (4 * mpmath.sqrt(x * x + b))


@_exactly
def squareplus_inverse(y, b):
    if y == 0:
        return -mpmath.inf if b else mpmath.mpf(0)
    return y - b / (4 * y)


def softplus(x):
    with mpmath.workprec(PRECISION):
        return mpmath.log1p(mpmath.exp(mpmath.mpf(float(x))))
