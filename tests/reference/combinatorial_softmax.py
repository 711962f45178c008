"""Elementary symmetric polynomials, slowly: by enumeration of sets, and by the positive recursion in mpmath."""

from itertools import combinations

import mpmath


def brute_force(scores, k, filler=None):
    """(log Z, P(i in S)) over the sets of k scores, or of at most k with the filler in the empty places."""
    weights = [mpmath.exp(mpmath.mpf(float(s))) for s in scores]
    n, total = len(scores), mpmath.mpf(0)
    shares = [mpmath.mpf(0)] * n
    for size in [k] if filler is None else range(min(k, n) + 1):
        for subset in combinations(range(n), size):
            weight = mpmath.fprod([weights[i] for i in subset])
            if filler is not None:
                weight *= mpmath.exp((k - size) * mpmath.mpf(float(filler)))
            total += weight
            for i in subset:
                shares[i] += weight
    return mpmath.log(total), [share / total for share in shares]


def polynomial(weights, k):
    """e_0 .. e_k of the weights."""
    e = [mpmath.mpf(1)] + [mpmath.mpf(0)] * k
    for w in weights:
        for j in range(k, 0, -1):
            e[j] += w * e[j - 1]
    return e


def exact(scores, k, filler=None, *, marginals=True, digits=60):
    """(log Z, P(i in S)) by the recursion, P by leaving each item out; -inf scores are absent."""
    with mpmath.workdps(digits):
        weights = [mpmath.exp(mpmath.mpf(float(s))) for s in scores]
        f = None if filler is None else mpmath.exp(mpmath.mpf(float(filler)))

        def total(some, count):
            if count < 0:
                return mpmath.mpf(0)
            e = polynomial(some, count)
            return e[count] if f is None else mpmath.fsum(e[j] * f ** (count - j) for j in range(count + 1))

        z = total(weights, k)
        if not marginals:
            return mpmath.log(z), None
        return mpmath.log(z), [
            weights[i] * total(weights[:i] + weights[i + 1 :], k - 1) / z for i in range(len(weights))
        ]
