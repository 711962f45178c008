"""Softmax and its relatives in mpmath, straight from the formulas, for a row of Python or NumPy numbers.

Exponentials of float64 logits that matter span 2**-1100 to 1 around the largest one: 1500 bits hold their sum.
"""

import functools

import mpmath

PRECISION = 1500


def _exactly(function):
    @functools.wraps(function)
    def evaluate(row, *arguments, **options):
        with mpmath.workprec(PRECISION):
            return function([mpmath.mpf(float(value)) for value in row], *arguments, **options)

    return evaluate


@_exactly
def logsumexp(x):
    return mpmath.log(mpmath.fsum(map(mpmath.exp, x))) if x else -mpmath.inf


@_exactly
def softmax(x):
    terms = [mpmath.exp(value) for value in x]
    total = mpmath.fsum(terms)
    return [term / total for term in terms]


@_exactly
def log_softmax(x):
    total = mpmath.log(mpmath.fsum(map(mpmath.exp, x)))
    return [value - total for value in x]


@_exactly
def entropy(p):
    total = mpmath.fsum(p)
    return -mpmath.fsum(value / total * mpmath.log(value / total) for value in p if value)


def exp_taylor(x, n):
    return mpmath.fsum(x**k / mpmath.factorial(k) for k in range(n + 1))


def taylor_minimum(n):
    """The zero of the polynomial of order n - 1, which is the only one, by Newton's method."""
    with mpmath.workprec(PRECISION):
        x = -mpmath.mpf(n) / 3 - 1
        for _ in range(200):
            x -= exp_taylor(x, n - 1) / exp_taylor(x, n - 2)
        return x


@_exactly
def taylor_softmax(x, n, lowest=None):
    values = [exp_taylor(value if lowest is None else max(value, lowest), n) for value in x]
    total = mpmath.fsum(values)
    return [value / total for value in values]


@_exactly
def taylor_softmax_vjp(x, grad, n, lowest=None):
    grad = [mpmath.mpf(float(value)) for value in grad]
    clamped = [value if lowest is None else max(value, lowest) for value in x]
    values = [exp_taylor(value, n) for value in clamped]
    slopes = [exp_taylor(value, n - 1) if lowest is None or value > lowest else mpmath.mpf(0) for value in clamped]
    total = mpmath.fsum(values)
    mean = mpmath.fsum(f * g for f, g in zip(values, grad, strict=True)) / total
    return [slope / total * (g - mean) for slope, g in zip(slopes, grad, strict=True)]
