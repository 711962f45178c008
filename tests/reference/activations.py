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


# The unary activations have no terms so far apart; a derivative near its zero loses a hundred bits at most. Past 1500
# all of them are their limits to more digits than any float has, and below -1500 they are less than any float.


def _unary(at_the_far_right):
    def decorate(function):
        def evaluate(x):
            x = mpmath.mpf(float(x))
            if mpmath.isnan(x) or abs(x) > 1500:
                return x if mpmath.isnan(x) else at_the_far_right(x) if x > 0 else mpmath.mpf(0)
            with mpmath.workprec(500):
                return function(x)

        return evaluate

    return decorate


_value, _derivative = _unary(lambda x: x), _unary(lambda x: mpmath.mpf(1))


def _logistic(x):
    return 1 / (1 + mpmath.exp(-x))


def _inner(x):
    """2 y, and its derivative, for GELU's tanh form x (1 + tanh(y)) / 2 = x s(2 y)."""
    scale, cubic = 2 * mpmath.sqrt(2 / mpmath.pi), mpmath.mpf("0.044715")
    return scale * (x + cubic * x**3), scale * (1 + 3 * cubic * x**2)


@_value
def softplus(x):
    return mpmath.log1p(mpmath.exp(x))


softplus_grad = _derivative(_logistic)


@_value
def swish(x):
    return x * _logistic(x)


@_derivative
def swish_grad(x):
    s = _logistic(x)
    return s + x * s * (1 - s)


@_value
def gelu(x):
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


@_derivative
def gelu_grad(x):
    return mpmath.erfc(-x / mpmath.sqrt(2)) / 2 + x * mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)


@_value
def gelu_tanh(x):
    return x * _logistic(_inner(x)[0])


@_derivative
def gelu_tanh_grad(x):
    y, slope = _inner(x)
    return _logistic(y) + x * _logistic(y) * _logistic(-y) * slope


def exp_taylor(x, n):
    x, n = mpmath.mpf(float(x)), int(n)
    with mpmath.workprec(500 + 4 * max(n, 0)):
        total = mpmath.mpf(n >= 0)
        for k in range(n, 0, -1):
            total = 1 + x * total / k
        return total


def exp_taylor_grad(x, n):
    return exp_taylor(x, int(n) - 1)
