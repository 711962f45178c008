"""Importance weights, their bounds and Frechet distances in mpmath, straight from the formulas."""

import mpmath
import numpy as np

DIGITS = 50


def _numbers(values):
    return [mpmath.mpf(float(value)) for value in values]


def importance_log_weights(log_px_z, log_pz, log_qz_x):
    with mpmath.workdps(DIGITS):
        return [
            likelihood + prior - proposal
            for likelihood, prior, proposal in zip(*map(_numbers, (log_px_z, log_pz, log_qz_x)), strict=True)
        ]


def elbo(log_weights):
    with mpmath.workdps(DIGITS):
        return mpmath.fsum(_numbers(log_weights)) / len(log_weights)


def _weights(log_weights):
    return [mpmath.exp(value) for value in _numbers(log_weights)]


def iwae_bound(log_weights):
    """exp of mpmath does not underflow."""
    with mpmath.workdps(DIGITS):
        total = mpmath.fsum(_weights(log_weights))
        return mpmath.log(total / len(log_weights)) if total else -mpmath.inf


def iwae_bound_grad(log_weights):
    with mpmath.workdps(DIGITS):
        weights = _weights(log_weights)
        return [weight / mpmath.fsum(weights) for weight in weights]


def effective_sample_size(log_weights):
    with mpmath.workdps(DIGITS):
        weights = _weights(log_weights)
        return mpmath.fsum(weights) ** 2 / mpmath.fsum(weight**2 for weight in weights)


def standard_error(log_weights):
    """Of the logarithm of the mean weight, by the delta method."""
    with mpmath.workdps(DIGITS):
        weights = _weights(log_weights)
        count, mean = len(weights), mpmath.fsum(weights) / len(weights)
        variance = mpmath.fsum((weight - mean) ** 2 for weight in weights) / (count - 1)
        return mpmath.sqrt(variance / count) / mean


def gaussian_logpdf_diag(x, mean, std):
    with mpmath.workdps(DIGITS):
        return mpmath.fsum(
            -(((point - centre) / width) ** 2) / 2 - mpmath.log(width) - mpmath.log(2 * mpmath.pi) / 2
            for point, centre, width in zip(*map(_numbers, (x, mean, std)), strict=True)
        )


def _matrix(array):
    return mpmath.matrix([_numbers(row) for row in np.atleast_2d(array)])


def _root_of_product_trace(a, b):
    """tr (A B)^(1/2) of two semidefinite matrices: by the eigenvalues of A^(1/2) B A^(1/2)."""
    values, vectors = mpmath.eigsy(a)
    root = vectors * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values]) * vectors.T
    return mpmath.fsum(mpmath.sqrt(max(value, 0)) for value in mpmath.eigsy(root * b * root, eigvals_only=True))


def frechet_distance_from_statistics(mean_a, cov_a, mean_b, cov_b):
    with mpmath.workdps(DIGITS):
        a, b = _matrix(cov_a), _matrix(cov_b)
        means = mpmath.fsum((p - q) ** 2 for p, q in zip(*map(_numbers, (mean_a, mean_b)), strict=True))
        traces = mpmath.fsum(matrix[i, i] for matrix in (a, b) for i in range(len(matrix)))
        return means + traces - 2 * _root_of_product_trace(a, b)


def _statistics(features):
    rows = _matrix(features)
    count, width = rows.rows, rows.cols
    mean = [mpmath.fsum(rows[i, j] for i in range(count)) / count for j in range(width)]
    centred = mpmath.matrix(count, width)
    for i in range(count):
        for j in range(width):
            centred[i, j] = rows[i, j] - mean[j]
    return mean, centred.T * centred / (count - 1)


def frechet_distance(features_a, features_b):
    with mpmath.workdps(DIGITS):
        (mean_a, a), (mean_b, b) = _statistics(features_a), _statistics(features_b)
        means = mpmath.fsum((p - q) ** 2 for p, q in zip(mean_a, mean_b, strict=True))
        traces = mpmath.fsum(matrix[i, i] for matrix in (a, b) for i in range(len(matrix)))
        return means + traces - 2 * _root_of_product_trace(a, b)
