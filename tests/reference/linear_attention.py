"""Linear attention and its features as they are defined: tensor products, and sums over keys one by one."""

import itertools
import math
from functools import reduce

import numpy as np


def attention(phi_Q, phi_K, V, causal=False, log_scales=None, eps=0.0):
    """One item, in long double; `log_scales` of -inf hide keys."""
    phi_Q, phi_K, V = (array.astype(np.longdouble) for array in (phi_Q, phi_K, V))
    out = np.zeros((len(phi_Q), V.shape[1]), dtype=np.longdouble)
    for i, phi_q in enumerate(phi_Q):
        seen = range(min(i + 1, len(phi_K)) if causal else len(phi_K))
        if log_scales is not None:
            seen = [j for j in seen if log_scales[j] > -np.inf]
        if not len(seen):
            continue
        top = 0 if log_scales is None else max(log_scales[j] for j in seen)
        numerator, denominator = np.zeros(V.shape[1], dtype=np.longdouble), np.longdouble(eps)
        for j in seen:
            weight = phi_q @ phi_K[j] * (1 if log_scales is None else np.exp(np.longdouble(log_scales[j] - top)))
            numerator += weight * V[j]
            denominator += weight
        out[i] = numerator / denominator
    return out


def favor(x, W, kind):
    half = x @ x / 2
    if kind == "positive":
        return np.array([math.exp(w @ x - half) for w in W]) / math.sqrt(len(W))
    if kind == "hyperbolic":
        return np.array([math.exp(sign * (w @ x) - half) for sign in (1, -1) for w in W]) / math.sqrt(2 * len(W))
    return np.array([math.exp(half) * f(w @ x) for f in (math.cos, math.sin) for w in W]) / math.sqrt(len(W))


def tensor_power(x, m):
    return reduce(np.kron, [x] * m, np.ones(1))


def taylor(x, degree, symmetric):
    if not symmetric:
        return np.concatenate([tensor_power(x, m) / math.sqrt(math.factorial(m)) for m in range(degree + 1)])
    features = []
    for m in range(degree + 1):
        for factors in itertools.combinations_with_replacement(range(len(x)), m):
            weight = math.prod(math.factorial(factors.count(i)) for i in set(factors))
            features.append(math.prod(x[i] for i in factors) / math.sqrt(weight))
    return np.array(features)


def expdef(x, n, symmetric):
    y = np.concatenate([[1.0], x / math.sqrt(n)])
    if not symmetric:
        return tensor_power(y, n)
    features = []
    for m in range(n + 1):
        for factors in itertools.combinations_with_replacement(range(len(x)), m):
            counts = [n - m, *(factors.count(i) for i in set(factors))]
            multinomial = math.factorial(n) / math.prod(map(math.factorial, counts))
            features.append(math.sqrt(multinomial) * math.prod(x[i] / math.sqrt(n) for i in factors))
    return np.array(features)
