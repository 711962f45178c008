"""Slow, obvious oracles for Gaussians: mpmath in 50 digits (mpmath.workdps, if more), and NumPy for large sizes.

A Gaussian is a mean and a scale; the scale is a covariance matrix, a lower Cholesky factor, or a vector of variances.
Gradients are differences of the function, so that no formula of theirs is taken for granted.
"""

import functools
import math

import mpmath
import numpy as np

DIGITS = 50

# METHODS' example.
MEAN_P = np.array([1.0, 2.0, -1.0])
MEAN_Q = np.array([0.0, 1.0, 0.5])
COV_P = np.array([[2, 0.5, 0.3], [0.5, 1.5, -0.2], [0.3, -0.2, 1]])
COV_Q = np.array([[1, -0.3, 0.1], [-0.3, 2, 0.4], [0.1, 0.4, 1.5]])
VALUES = {
    "kl": 2.698669730719506,
    "kl_reversed": 2.2028601111034596,
    "bhattacharyya": 0.5435350047057395,
    "coefficient": 0.5806918713592899,
    "hellinger": 0.6475400594872182,
    "w2_squared": 4.85743844164397,
    "entropy_p": 4.709935797624345,
    "kl_to_standard": 3.296879801989673,
    "w2_squared_to_standard": 6.33298656231089,
}
MAP = np.array(
    [
        [0.7548408151866203, -0.26287063730283, -0.09720109337297],
        [-0.26287063730283, 1.2358901011217602, 0.28311685232052],
        [-0.09720109337297, 0.28311685232052, 1.2672020313769483],
    ]
)


def exactly(function):
    @functools.wraps(function)
    def with_digits(*arguments, **options):
        with mpmath.workdps(max(DIGITS, mpmath.mp.dps)):
            return function(*arguments, **options)

    return with_digits


def numbers(array):
    """The same numbers, as an array of mpf."""
    array = np.asarray(array)
    exact = np.empty(array.shape, dtype=object)
    for index, value in np.ndenumerate(array):
        exact[index] = value if isinstance(value, mpmath.mpf) else mpmath.mpf(float(value))
    return exact


def covariance(scale, form):
    """The covariance matrix that a scale stands for; of a symmetric matrix the lower triangle is read."""
    scale = numbers(scale)
    n = len(scale)
    if form == "covariance":
        return mpmath.matrix([[scale[max(i, j), min(i, j)] for j in range(n)] for i in range(n)])
    if form == "cholesky":
        factor = mpmath.matrix([[scale[i, j] if j <= i else 0 for j in range(n)] for i in range(n)])
        return factor * factor.T
    return mpmath.diag(list(scale))


def column(values):
    return mpmath.matrix([[value] for value in numbers(values)])


def log_det(matrix):
    det = mpmath.det(matrix)
    return mpmath.log(det) if det > 0 else -mpmath.inf


def trace(matrix):
    return mpmath.fsum(matrix[i, i] for i in range(matrix.rows))


def square_root(matrix):
    values, vectors = mpmath.eigsy(matrix)
    return vectors * mpmath.diag([mpmath.sqrt(max(value, 0)) for value in values]) * vectors.T


# ---- values ----


@exactly
def entropy(scale, form="covariance"):
    S = covariance(scale, form)
    return S.rows * (1 + mpmath.log(2 * mpmath.pi)) / 2 + log_det(S) / 2


@exactly
def kl(mean_p, scale_p, mean_q, scale_q, form="covariance"):
    P, Q = covariance(scale_p, form), covariance(scale_q, form)
    D, inverse = column(mean_p) - column(mean_q), Q**-1
    return ((D.T * inverse * D)[0] - log_det(P) + log_det(Q) + trace(inverse * P) - P.rows) / 2


@exactly
def bhattacharyya(mean_p, scale_p, mean_q, scale_q, form="covariance"):
    P, Q = covariance(scale_p, form), covariance(scale_q, form)
    D, S = column(mean_p) - column(mean_q), (P + Q) / 2
    return (D.T * S**-1 * D)[0] / 8 + (log_det(S) - (log_det(P) + log_det(Q)) / 2) / 2


@exactly
def hellinger(mean_p, scale_p, mean_q, scale_q, form="covariance"):
    return mpmath.sqrt(abs(1 - mpmath.exp(-bhattacharyya(mean_p, scale_p, mean_q, scale_q, form))))


@exactly
def w2_squared(mean_p, scale_p, mean_q, scale_q, form="covariance"):
    P, Q = covariance(scale_p, form), covariance(scale_q, form)
    D, root = column(mean_p) - column(mean_q), square_root(P)
    return (D.T * D)[0] + trace(P) + trace(Q) - 2 * trace(square_root(root * Q * root))


@exactly
def w2(mean_p, scale_p, mean_q, scale_q, form="covariance"):
    return mpmath.sqrt(max(w2_squared(mean_p, scale_p, mean_q, scale_q, form), 0))


@exactly
def ot_map(scale_p, scale_q, form="covariance"):
    """T with T P T = Q, as an array."""
    P, Q = covariance(scale_p, form), covariance(scale_q, form)
    root = square_root(P)
    T = root**-1 * square_root(root * Q * root) * root**-1
    return np.array([[T[i, j] for j in range(T.cols)] for i in range(T.rows)], dtype=object).reshape(T.rows, T.cols)


# ---- gradients ----


def entries(scale, form):
    """The entries of a scale that are free, and how many places of the matrix each one fills."""
    n = len(scale)
    if form == "diagonal":
        return [((i,), 1) for i in range(n)]
    return [((i, j), 1 if i == j or form == "cholesky" else 2) for i in range(n) for j in range(i + 1)]


@exactly
def gradient(function, arguments, form="covariance", step="1e-16", dtype=float):
    """By each argument, from central differences: an array of floats (or with dtype=object, of mpf) like it.

    By a covariance it is the symmetric matrix G with df = tr(G dS); by a factor, the lower triangle.
    """
    arguments, step = [numbers(argument) for argument in arguments], mpmath.mpf(step)
    results = []
    for place, argument in enumerate(arguments):
        mean = argument.ndim == 1 and place % 2 == 0 and len(arguments) > 1
        result = np.zeros(argument.shape, dtype=dtype)
        for index, places in entries(argument, "diagonal" if mean else form):
            values = []
            for sign in (1, -1):
                moved = argument.copy()
                moved[index] += sign * step
                values.append(function(*arguments[:place], moved, *arguments[place + 1 :], form))
            result[index] = result[index[::-1] if places == 2 else index] = (values[0] - values[1]) / (
                2 * step * places
            )
        results.append(result)
    return tuple(results)


# ---- plain NumPy, for one pair of covariance matrices ----


def plain_entropy(cov):
    return len(cov) * (1 + math.log(2 * math.pi)) / 2 + np.linalg.slogdet(cov)[1] / 2


def plain_kl(mean_p, cov_p, mean_q, cov_q):
    D, ratio = mean_p - mean_q, np.linalg.solve(cov_q, cov_p)
    return (D @ np.linalg.solve(cov_q, D) - np.linalg.slogdet(ratio)[1] + np.trace(ratio) - len(D)) / 2


def plain_bhattacharyya(mean_p, cov_p, mean_q, cov_q):
    D, S = mean_p - mean_q, (cov_p + cov_q) / 2
    logs = [np.linalg.slogdet(matrix)[1] for matrix in (S, cov_p, cov_q)]
    return D @ np.linalg.solve(S, D) / 8 + (logs[0] - (logs[1] + logs[2]) / 2) / 2


def plain_hellinger(mean_p, cov_p, mean_q, cov_q):
    return math.sqrt(-math.expm1(-plain_bhattacharyya(mean_p, cov_p, mean_q, cov_q)))


def plain_root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T


def plain_w2_squared(mean_p, cov_p, mean_q, cov_q):
    D, root = mean_p - mean_q, plain_root(cov_p)
    return D @ D + np.trace(cov_p) + np.trace(cov_q) - 2 * np.trace(plain_root(root @ cov_q @ root))


def plain_w2(mean_p, cov_p, mean_q, cov_q):
    return math.sqrt(max(plain_w2_squared(mean_p, cov_p, mean_q, cov_q), 0))


def plain_ot_map(cov_p, cov_q):
    root = plain_root(cov_p)
    inverse = np.linalg.inv(root)
    return inverse @ plain_root(root @ cov_q @ root) @ inverse
