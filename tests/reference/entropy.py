"""A slow, obvious oracle for entropy normalisation, in 60 digits and more.

Of weights p the distribution q ~ p**gamma with a given entropy, or with a given gap of it to log m (m entries are equal
to the largest) or to log s (s entries are positive).
"""

from dataclasses import dataclass

import mpmath
import numpy as np


@dataclass
class Solution:
    gamma: mpmath.mpf
    q: list
    entropy: mpmath.mpf
    gap_low: mpmath.mpf
    gap_high: mpmath.mpf


def logs_of_weights(p):
    """Exact to the working precision; zeros are -inf."""
    return [mpmath.log(mpmath.mpf(float(x))) if x > 0 else -mpmath.inf for x in p]


def logs_of_logits(u):
    return [mpmath.mpf(float(x)) for x in u]


def counts(logs):
    """s and m."""
    return sum(x > -mpmath.inf for x in logs), sum(x == max(logs) for x in logs)


def moments(logs, gamma):
    """q, its gaps to both limits, and the derivative of the entropy by gamma."""
    top = max(logs)
    values = [x - top for x in logs if x > -mpmath.inf]
    powers = [mpmath.exp(gamma * v) for v in values]
    total = mpmath.fsum(powers)
    q = [power / total for power in powers]
    mean = mpmath.fsum(x * v for x, v in zip(q, values, strict=True))
    variance = mpmath.fsum(x * (v - mean) ** 2 for x, v in zip(q, values, strict=True))
    entropy = mpmath.log(total) - gamma * mean
    s, m = counts(logs)
    iterator = iter(q)
    everywhere = [next(iterator) if x > -mpmath.inf else mpmath.mpf(0) for x in logs]
    return everywhere, entropy - mpmath.log(m), mpmath.log(s) - entropy, -gamma * variance


def gap_of(logs, target, kind):
    """The target as a gap, and to which limit."""
    s, m = counts(logs)
    target = mpmath.mpf(target)
    if kind in ("gap_low", "gap_high"):
        return target, kind
    entropy = {
        "entropy": lambda: target,
        "perplexity": lambda: mpmath.log(target),
        "fraction": lambda: target * mpmath.log(len(logs)),
    }[kind]()
    low, high = entropy - mpmath.log(m), mpmath.log(s) - entropy
    return (high, "gap_high") if high < low else (low, "gap_low")


def solve(logs, target, kind="entropy", digits=60):
    """The exact answer where 0 < gamma < inf: bisection of log gamma, then Newton's method."""
    with mpmath.workdps(digits):
        gap, side = gap_of(logs, target, kind)
        s, m = counts(logs)
        assert 0 < gap < mpmath.log(mpmath.mpf(s) / m), "out of reach"
        sign = 1 if side == "gap_high" else -1

        def residual(gamma):
            """Increasing in gamma for either side, and its derivative by log gamma; nearly linear in it or in gamma."""
            _, low, high, slope = moments(logs, gamma)
            found = high if side == "gap_high" else low
            return sign * mpmath.log(found / gap), -gamma * slope / found

        top = max(logs)
        spread = max(top - x for x in logs if x > -mpmath.inf)
        low = high = 1 / spread
        while residual(low)[0] > 0:
            low /= 16
        while residual(high)[0] < 0:
            high *= 4
        while high / low > mpmath.mpf("1.3"):
            middle = mpmath.sqrt(low * high)
            if residual(middle)[0] < 0:
                low = middle
            else:
                high = middle
        gamma = mpmath.sqrt(low * high)
        for _ in range(100):
            value, slope = residual(gamma)
            if value < 0:
                low = gamma
            else:
                high = gamma
            step = mpmath.exp(-value / slope)
            following = gamma * step
            if not low <= following <= high:
                following = mpmath.sqrt(low * high)
            if abs(following / gamma - 1) < mpmath.mpf(10) ** (-digits // 2):
                break
            gamma = following
        else:
            raise ArithmeticError("no convergence")
        q, gap_low, gap_high, _ = moments(logs, following)
        return Solution(following, q, mpmath.log(m) + gap_low, gap_low, gap_high)


def gaps(logs, gamma, digits=60):
    """The exact entropy of q ~ p**gamma and its gaps, for a gamma that was found."""
    with mpmath.workdps(digits):
        _, low, high, _ = moments(logs, mpmath.mpf(float(gamma)))
        return mpmath.log(counts(logs)[1]) + low, low, high


def gradient(solve_for, inputs, upstream, step="1e-20"):
    """Of sum(upstream * q) by each input, by central differences in 60 digits: inputs is a list of mpf."""
    with mpmath.workdps(60):
        step = mpmath.mpf(step)

        def loss(moved):
            return mpmath.fsum(mpmath.mpf(float(g)) * x for g, x in zip(upstream, solve_for(moved), strict=True))

        result = []
        for k, value in enumerate(inputs):
            if not mpmath.isfinite(value):
                result.append(mpmath.mpf(0))
                continue
            above, below = list(inputs), list(inputs)
            h = step * max(1, abs(value))
            above[k], below[k] = value + h, value - h
            result.append((loss(above) - loss(below)) / (2 * h))
        return result


def relative_error(found, exact):
    with mpmath.workdps(60):
        if exact == 0:
            return float(abs(found))
        return float(abs(mpmath.mpf(float(found)) / exact - 1))


def relative_errors(found, exact):
    return np.array([relative_error(x, y) for x, y in zip(found, exact, strict=True)])
