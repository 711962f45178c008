"""HSIC, CKA and their kernels by definition: whole matrices, loops, and mpmath."""

from itertools import permutations

import mpmath
import numpy as np


def kernel_value(name, x, y, gamma=1.0, coef0=1.0, degree=3):
    """k(x, y) of two vectors, in whatever arithmetic their entries have."""
    product = sum(a * b for a, b in zip(x, y, strict=True))
    if name == "linear":
        return product
    if name == "polynomial":
        return (gamma * product + coef0) ** degree
    if name == "laplace":
        exponent = sum(abs(a - b) for a, b in zip(x, y, strict=True))
    else:
        exponent = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
    return mpmath.exp(-gamma * exponent) if isinstance(exponent, mpmath.mpf) else np.exp(-gamma * exponent)


def kernel_matrix(name, X, Y=None, **parameters):
    Y = X if Y is None else Y
    return np.array([[kernel_value(name, x, y, **parameters) for y in Y] for x in X])


def distances(X, norm=2):
    """The n (n - 1) / 2 distances, in the norm of order 1 or 2."""
    return np.array([np.linalg.norm(X[i] - X[j], norm) for i in range(len(X)) for j in range(i)])


def centring(n):
    return np.eye(n) - 1 / n


def hsic(K, L, estimator="biased"):
    n = len(K)
    if estimator == "unbiased":
        K, L = K - np.diag(np.diag(K)), L - np.diag(np.diag(L))
        product = K @ L
        total = np.trace(product) + K.sum() * L.sum() / ((n - 1) * (n - 2)) - 2 * product.sum() / (n - 2)
        return total / (n * (n - 3))
    J = centring(n)
    return np.trace(K @ J @ L @ J) / (n**2 if estimator == "biased" else (n - 1) ** 2)


def hsic_by_enumeration(K, L):
    """The mean of K_ij (L_ij + L_qr - 2 L_iq) over all i, j, q, r that are different: unbiased by its form."""
    terms = [K[i, j] * (L[i, j] + L[q, r] - 2 * L[i, q]) for i, j, q, r in permutations(range(len(K)), 4)]
    return np.mean(terms)


def hsic_mpmath(name, X, Y, gamma_x, gamma_y, digits=50):
    """The biased form, from the entries of X and Y as they are."""
    with mpmath.workdps(digits):
        K, L = (
            [[kernel_value(name, x, y, mpmath.mpf(gamma)) for y in points] for x in points]
            for points, gamma in (
                ([[mpmath.mpf(float(v)) for v in row] for row in X], gamma_x),
                ([[mpmath.mpf(float(v)) for v in row] for row in Y], gamma_y),
            )
        )
        n = len(K)
        rows_k, rows_l = [mpmath.fsum(row) for row in K], [mpmath.fsum(row) for row in L]
        product = mpmath.fsum(K[i][j] * L[i][j] for i in range(n) for j in range(n))
        cross = mpmath.fsum(a * b for a, b in zip(rows_k, rows_l, strict=True))
        return float((product - 2 * cross / n + mpmath.fsum(rows_k) * mpmath.fsum(rows_l) / n**2) / n**2)


def cka(K, L, estimator="biased"):
    return hsic(K, L, estimator) / np.sqrt(hsic(K, K, estimator) * hsic(L, L, estimator))


def normalized_hsic(K, L, epsilon):
    n = len(K)
    J = centring(n)
    first, second = ((J @ M @ J) @ np.linalg.inv(J @ M @ J + epsilon * n * np.eye(n)) for M in (K, L))
    return np.trace(first @ second)


def gradient(function, X, step=1e-5):
    """Central differences of a function of an array, of fourth order."""
    result = np.empty(X.shape)
    for index in np.ndindex(X.shape):
        values = []
        for k in (-2, -1, 1, 2):
            moved = X.copy()
            moved[index] += k * step
            values.append(function(moved))
        result[index] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return result
