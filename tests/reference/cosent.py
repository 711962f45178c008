"""CoSENT over all ordered pairs in exact arithmetic, and ranks by counting: slow and obvious."""

import mpmath
import numpy as np


def cosent(cosines, labels, scale=20):
    """The loss and its gradient, to 40 digits; returned as float64."""
    with mpmath.workdps(40):
        c, scale = [mpmath.mpf(float(value)) for value in cosines], mpmath.mpf(scale)
        pairs = [(i, k) for i in range(len(c)) for k in range(len(c)) if labels[i] > labels[k]]
        terms = [mpmath.exp(scale * (c[k] - c[i])) for i, k in pairs]
        total = 1 + mpmath.fsum(terms)
        grad = [mpmath.mpf(0)] * len(c)
        for (i, k), term in zip(pairs, terms, strict=True):
            grad[k] += scale * term / total
            grad[i] -= scale * term / total
        return float(mpmath.log(total)), np.array([float(g) for g in grad])


def ranks(values):
    """From 1; equal numbers share the mean of theirs."""
    values = np.asarray(values)
    return np.array([np.sum(values < value) + (np.sum(values == value) + 1) / 2 for value in values])


def spearman(x, y):
    return float(np.corrcoef(ranks(x), ranks(y))[0, 1])


def cosine(u, v, least=1e-8):
    with mpmath.workdps(40):
        u, v = [[mpmath.mpf(float(value)) for value in row] for row in (u, v)]
        lengths = [max(mpmath.sqrt(mpmath.fsum(a * a for a in row)), mpmath.mpf(least)) for row in (u, v)]
        return mpmath.fsum(a * b for a, b in zip(u, v, strict=True)) / lengths[0] / lengths[1]
