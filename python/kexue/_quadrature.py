"""Gauss-Legendre and Gauss-Lobatto rules."""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import cache

import numpy as np


@cache
def unit_legendre(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule of `count` nodes on [0, 1], exact for polynomials below degree 2 count.

    Both are rounded from 34 digits: NumPy's and SciPy's weights of 64 nodes are off by up to 1e-12 at the ends.
    """
    nodes, weights = [], []
    with localcontext() as context:
        context.prec = 34
        for start in np.polynomial.legendre.leggauss(count)[0]:
            x = Decimal(float(start))
            for _ in range(2):
                value, slope = _legendre(count, x)
                x -= value / slope
            _, slope = _legendre(count, x)
            nodes.append(float((1 + x) / 2))
            weights.append(float(1 / ((1 - x * x) * slope * slope)))
    return np.array(nodes), np.array(weights)


@cache
def unit_lobatto(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule of at least 3 nodes on [0, 1] that has both ends, rounded from 34 digits.

    It is exact for polynomials below degree 2 count - 2.
    """
    degree = count - 1
    derivative = np.polynomial.legendre.Legendre.basis(degree).deriv()
    nodes, weights = [], []
    with localcontext() as context:
        context.prec = 34
        for start in [-1.0, *np.sort(derivative.roots()), 1.0]:
            x = Decimal(float(start))
            for _ in range(0 if abs(x) == 1 else 3):
                value, slope = _legendre(degree, x)
                x -= slope * (1 - x * x) / (2 * x * slope - degree * count * value)
            value = _legendre(degree, x)[0] if abs(x) < 1 else Decimal(1)
            nodes.append(float((1 + x) / 2))
            weights.append(float(1 / (degree * count * value * value)))
    return np.array(nodes), np.array(weights)


def _legendre(degree: int, x: Decimal) -> tuple[Decimal, Decimal]:
    """The polynomial and its derivative."""
    before, value = Decimal(1), x
    for k in range(2, degree + 1):
        before, value = value, ((2 * k - 1) * x * value - (k - 1) * before) / k
    return value, degree * (x * value - before) / (x * x - 1)
