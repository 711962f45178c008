"""A slow, obvious oracle for classification with alternating normalisation, by its definition, in 60 digits.

Numbers of mpmath have exponents of any size, so that no power underflows.
"""

import mpmath
import numpy as np

DIGITS = 60


def _numbers(row):
    return [mpmath.mpf(float(x)) for x in row]


def _entropy(p):
    return -mpmath.fsum(x * mpmath.log(x) for x in p if x > 0)


def _share_of_top(p, k):
    """The entropy of the k largest entries, which are scaled to sum to 1, as a share of log k."""
    k = min(k, len(p))
    if k <= 1:
        return mpmath.mpf(0)
    top = sorted(p, reverse=True)[:k]
    return _entropy([x / mpmath.fsum(top) for x in top]) / mpmath.log(k)


def _uncertainty(p, k, mode):
    if mode == "post":
        return _share_of_top(p, k)
    if mode == "repo":
        return max((_share_of_top(p, count) for count in range(2, k)), default=mpmath.mpf(0))
    if min(k, len(p)) <= 1:
        return mpmath.mpf(0)
    return _entropy(sorted(p, reverse=True)[:k]) / mpmath.log(len(p))


def topk_entropy(P, k=3, mode="post"):
    with mpmath.workdps(DIGITS):
        return np.array([float(_uncertainty(_numbers(p), k, mode)) for p in P])


def _alternate(Y, prior, alpha, iterations):
    for _ in range(iterations):
        Y = [[x**alpha if x > 0 else x for x in row] for row in Y]
        means = [mpmath.fsum(column) / len(Y) for column in zip(*Y, strict=True)]
        Y = [[x / mean * q if mean > 0 else x for x, mean, q in zip(row, means, prior, strict=True)] for row in Y]
        totals = [mpmath.fsum(row) for row in Y]
        Y = [[x / total for x in row] if total > 0 else row for row, total in zip(Y, totals, strict=True)]
    return Y


def can(P, prior=None, k=3, threshold=0.9, alpha=1.0, iterations=1, mode="post"):
    """New probabilities, and uncertainties. Without confident rows, those of the identity matrix take their place."""
    m = P.shape[1]
    with mpmath.workdps(DIGITS):
        rows = [_numbers(p) for p in P]
        uncertainties = topk_entropy(P, k, mode)
        confident = [p for p, u in zip(rows, uncertainties, strict=True) if u < threshold]
        if not confident:
            confident = [[mpmath.mpf(int(i == j)) for j in range(m)] for i in range(m)]
        weights = _numbers(np.full(m, 1.0) if prior is None else prior)
        result = np.array(P, dtype=np.float64)
        for i in np.flatnonzero(uncertainties >= threshold):
            last = _alternate([*confident, rows[i]], weights, mpmath.mpf(float(alpha)), iterations)[-1]
            result[i] = [float(x) for x in last]
    return result, uncertainties


def sinkhorn_limit(C, prior, sweeps=4000):
    """The rows' scaling of C whose column means are the prior, by plain alternation in float64."""
    Y = np.array(C, dtype=np.float64)
    for _ in range(sweeps):
        Y = Y / Y.mean(axis=0) * prior
        Y = Y / Y.sum(axis=1, keepdims=True)
    return Y
