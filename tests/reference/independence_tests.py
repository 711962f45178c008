"""Tests of independence by definition: whole matrices, a product for each permutation, sums over pairs."""

import numpy as np

from reference.independence import centring


def statistic(K, L):
    """n HSIC."""
    J = centring(len(K))
    return np.trace(K @ J @ L @ J) / len(K)


def null_distribution(K, L, permutations):
    return np.array([statistic(K, L[np.ix_(p, p)]) for p in permutations])


def permutation_pvalue(K, L, permutations, tolerance=1e-12):
    observed, null = statistic(K, L), null_distribution(K, L, permutations)
    return (1 + np.count_nonzero(null >= observed - tolerance * abs(observed))) / (1 + len(permutations))


def gamma_moments(K, L):
    """Mean and variance of HSIC under independence: section 3 of Gretton et al., 2007, K_ii = L_ii = 1."""
    n = len(K)
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    mean_k, mean_l = (np.mean([M[i, j] for i, j in pairs]) for M in (K, L))
    J = centring(n)
    A, B = J @ K @ J, J @ L @ J
    average = np.mean([(A[i, j] * B[i, j] / 6) ** 2 for i, j in pairs])
    variance = 72 * (n - 4) * (n - 5) / (n * (n - 1) * (n - 2) * (n - 3)) * average
    return (1 + mean_k * mean_l - mean_k - mean_l) / n, variance
