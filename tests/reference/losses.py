"""ZLPR and its relatives in mpmath, straight from the formulas, for a row of Python or NumPy numbers.

Nothing is arranged against overflow: mpmath's exponents have no bounds, and DIGITS digits hold sums of terms from
e^-700 to e^700.
"""

import mpmath

DIGITS = 700


def _exact(row):
    return [mpmath.mpf(float(value)) for value in row]


def zlpr(scores, targets, threshold=0.0, label_smoothing=0.0, mask=None, digits=DIGITS):
    """The loss, its gradient by the scores, and its derivative by the threshold."""
    with mpmath.workdps(digits):
        scores, targets = _exact(scores), _exact(targets)
        e, s0 = mpmath.mpf(label_smoothing), mpmath.mpf(float(threshold))
        mask = [True] * len(scores) if mask is None else mask
        weights = [
            (t * (1 - e) + e / 2, (1 - t) * (1 - e) + e / 2) if m and not (mpmath.isinf(s) and t == 0) else (0, 0)
            for s, t, m in zip(scores, targets, mask, strict=True)
        ]
        entries = [(s, p, q) for s, (p, q) in zip(scores, weights, strict=True)]
        positive = mpmath.exp(-s0) + mpmath.fsum(p * mpmath.exp(-s) for s, p, _ in entries if p)
        negative = mpmath.exp(s0) + mpmath.fsum(q * mpmath.exp(s) for s, _, q in entries if q)
        grad = [
            (q * mpmath.exp(s) / negative if q else 0) - (p * mpmath.exp(-s) / positive if p else 0)
            for s, p, q in entries
        ]
        slope = mpmath.exp(s0) / negative - mpmath.exp(-s0) / positive
        return mpmath.log(positive) + mpmath.log(negative), grad, slope


def pairwise_rank(scores, targets, gamma=1.0, margin=0.0, digits=DIGITS):
    """A sum over all pairs."""
    with mpmath.workdps(digits):
        scores = _exact(scores)
        positive = [s for s, t in zip(scores, targets, strict=True) if t]
        negative = [s for s, t in zip(scores, targets, strict=True) if not t]
        pairs = mpmath.fsum(mpmath.exp(gamma * (n - p + mpmath.mpf(margin))) for p in positive for n in negative)
        return mpmath.log(1 + pairs)


def symmetric_kl(s, t, digits=DIGITS):
    """The Kullback-Leibler divergences of Bernoulli distributions, both ways."""
    with mpmath.workdps(digits):

        def divergence(a, b):
            p, q = 1 / (1 + mpmath.exp(-a)), 1 / (1 + mpmath.exp(-b))
            return p * mpmath.log(p / q) + (1 - p) * mpmath.log((1 - p) / (1 - q))

        return mpmath.fsum(divergence(a, b) + divergence(b, a) for a, b in zip(_exact(s), _exact(t), strict=True))
