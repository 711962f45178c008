"""The Frechet distance of two sets of features, without the square root of a product of covariances."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite

__all__ = ["frechet_distance", "frechet_distance_from_statistics"]

# Below this share of both traces the difference of traces and nuclear norm has lost digits, and differences of the
# factors are squared instead: 1e-3 leaves 13 of them, and costs the singular vectors for close distributions only.
_CLOSE = 1e-3
# Of the norm of Q^T Q - 1 after the first of two Cholesky decompositions.
_NEARLY = 0.1
# Squares of numbers between 2**-_SAFE and 2**_SAFE neither overflow nor underflow, nor do their sums.
_SAFE = 400


def _covariance_part(factor_a: np.ndarray, factor_b: np.ndarray) -> float:
    """tr(A + B - 2 (A B)^(1/2)) for A = F F^T and B = G G^T, from F (d, k) and G (d, l).

    It is the least ||F - G U||_F^2 over all U with U U^T = 1 (Procrustes), and tr (A B)^(1/2) is the nuclear norm of
    G^T F. An error of U enters as a product with F - G U, which is small where the distance is.
    """
    from scipy.linalg import svd, svdvals

    if factor_b.shape[1] > factor_a.shape[1]:
        factor_a, factor_b = factor_b, factor_a
    product = factor_b.T @ factor_a
    if not product.size:
        return float(np.square(factor_a).sum())
    traces = float(np.square(factor_a).sum() + np.square(factor_b).sum())
    part = traces - 2 * float(svdvals(product, check_finite=False).sum())
    if part > _CLOSE * traces:
        return part
    left, _, right = svd(product, full_matrices=False, check_finite=False)
    return float(np.square(factor_a - factor_b @ (left @ right)).sum())


def _triangle(tall: np.ndarray) -> np.ndarray:
    """R of the QR decomposition of many rows, by two Cholesky decompositions: 1.5 to 2 times as fast as LAPACK's.

    The first one loses twice as many digits as the condition has, and the second gets them back if the columns came
    out nearly orthogonal (Y. Yamamoto et al., "Roundoff Error Analysis of the CholeskyQR2 Algorithm", ETNA 44, 2015).
    """
    from scipy.linalg.blas import dtrsm
    from scipy.linalg.lapack import dpotrf

    first, failed = dpotrf(tall.T @ tall)
    if not failed:
        rows = dtrsm(1.0, first, tall.T, trans_a=1)
        product = rows @ rows.T
        if np.linalg.norm(product - np.eye(len(product))) < _NEARLY:
            second, _ = dpotrf(product)
            return second @ first
    return np.asarray(np.linalg.qr(tall, mode="r"))  # whose annotation knows no modes


def _factor(centred: np.ndarray) -> np.ndarray:
    """F with F F^T = the covariance of centred features, as narrow as it can be."""
    count, width = centred.shape
    lines = _triangle(centred) if 0 < width < count else centred
    return lines.T / math.sqrt(count - 1)


@same_kind
def frechet_distance(features_a: ArrayLike, features_b: ArrayLike) -> np.floating:
    """The Frechet distance of two sets of features, squared: the formula of the FID.

    ||mean_a - mean_b||^2 + tr(A + B - 2 (A B)^(1/2)), A and B the covariances of the features: the squared Wasserstein
    distance of the Gaussians with these means and covariances. With Inception's features this is the FID.

    Parameters
    ----------
    features_a : array_like, shape (n_a, d)
        A sample in each row, 2 at least. n_a may be less than d: the covariance is singular then, which does no harm.
    features_b : array_like, shape (n_b, d)
        The other samples.

    Returns
    -------
    scalar
        float32 if both are float32, else float64; computed in float64. Never negative, and below 1e-15 of the traces
        for equal features.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite, there are fewer than 2 samples, or the numbers of features differ.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    frechet_distance_from_statistics : from means and covariances.
    gaussian_w2 : of batches of small Gaussians.

    Notes
    -----
    Covariances are those of `numpy.cov`, with n - 1. They are not formed: each has a factor F of the centred features
    (or of their QR decomposition), and tr (A B)^(1/2) is the sum of the singular values of F_b^T F_a. The usual
    ``scipy.linalg.sqrtm(A @ B)`` squares the condition numbers, fails for singular covariances, and leaves the
    rounding errors of the traces for close distributions, where the result comes out negative too.

    O((n_a + n_b) d min(n, d) + min(n, d)^3), with the threads of BLAS; memory for float64 copies of the features.

    References
    ----------
    M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    arXiv:1706.08500. D. C. Dowson, B. V. Landau, "The Frechet distance between multivariate normal distributions",
    1982, doi:10.1016/0047-259X(82)90077-X.

    Examples
    --------
    >>> import kexue, numpy as np
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(10, 64))  # fewer than dimensions
    >>> bool(kexue.frechet_distance(features, features) < 1e-15 * 64)
    True
    >>> kexue.frechet_distance(features, features + 0.5).round(12)  # 64 times 0.25
    np.float64(16.0)
    """
    dtype = result_dtype(features_a, features_b)
    given = {"features_a": features_a, "features_b": features_b}
    first, second = (as_real(name, value, ndim=2) for name, value in given.items())
    for name, array in zip(given, (first, second), strict=True):
        if len(array) < 2:
            raise KexueValueError(f"{name} must have 2 rows at least, for a covariance, but its shape is {array.shape}")
        require_finite(name, array)
    if first.shape[1] != second.shape[1]:
        raise KexueValueError(f"features_a has {first.shape[1]} columns, but features_b has {second.shape[1]}")
    largest = max(float(max(array.max(), -array.min())) if array.size else 0.0 for array in (first, second))
    exponent = math.frexp(largest)[1]
    if -_SAFE < exponent < _SAFE:
        exponent = 0
    else:
        first, second = (np.ldexp(array.astype(np.float64), -exponent) for array in (first, second))
    # Means of what is left after a common shift do not suffer from a large offset.
    shift = first.mean(axis=0, dtype=np.float64)
    first, second = (np.subtract(array, shift, dtype=np.float64) for array in (first, second))
    means = []
    for array in (first, second):
        means.append(array.mean(axis=0))
        array -= means[-1]
    value = float(np.square(means[0] - means[1]).sum()) + _covariance_part(_factor(first), _factor(second))
    return np.ldexp(value, 2 * exponent).astype(dtype)


def _spectral_factor(name: str, covariance: np.ndarray, eps: float) -> np.ndarray:
    from scipy.linalg import eigh

    largest = np.abs(covariance).max(initial=0)
    skew = np.abs(covariance - covariance.T)
    first_bad(name, skew, lambda entries: entries > 1e3 * eps * largest, "differs from its mirror image by {value}")
    values, vectors = eigh((covariance + covariance.T) / 2, check_finite=False)
    least = values.min(initial=0)
    if least < -10 * len(values) * eps * largest:
        raise KexueValueError(f"{name} is not positive semidefinite: its least eigenvalue is {least:.5g}")
    return vectors * np.sqrt(np.maximum(values, 0))


@same_kind
def frechet_distance_from_statistics(
    mean_a: ArrayLike, cov_a: ArrayLike, mean_b: ArrayLike, cov_b: ArrayLike
) -> np.floating:
    """The Frechet distance, squared, from means and covariances: of statistics that were stored, for one.

    Parameters
    ----------
    mean_a : array_like, shape (d,)
        The mean of the first features.
    cov_a : array_like, shape (d, d)
        Their covariance, symmetric and positive semidefinite.
    mean_b : array_like, shape (d,)
        The mean of the second features.
    cov_b : array_like, shape (d, d)
        Their covariance.

    Returns
    -------
    scalar
        float32 if all are float32, else float64; computed in float64. Never negative.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite, shapes do not fit, or a matrix is not symmetric (to 1000 eps of its largest
        entry) or not positive semidefinite (an eigenvalue below -10 d eps of it); eps is that of its dtype.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    frechet_distance : from the features themselves, which is more accurate where covariances are nearly singular.
    gaussian_w2 : of batches of small Gaussians.

    Notes
    -----
    O(d^3): two symmetric eigenproblems, and singular values of one product. Of a rounded covariance, eigenvalues below
    d eps of the largest are noise, and their roots count: where covariances are nearly singular the result is
    uncertain by some sqrt(eps) of the traces.

    References
    ----------
    M. Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium",
    arXiv:1706.08500.

    Examples
    --------
    >>> import kexue, numpy as np
    >>> kexue.frechet_distance_from_statistics([0, 0], np.diag([1, 4]), [0, 3], np.diag([9, 0])).round(12)
    np.float64(17.0)
    """
    given = {"mean_a": mean_a, "cov_a": cov_a, "mean_b": mean_b, "cov_b": cov_b}
    dtype = result_dtype(*given.values())
    arrays = {name: as_real(name, value, ndim=1 if "mean" in name else 2) for name, value in given.items()}
    width = arrays["mean_a"].size
    for name, array in arrays.items():
        if array.shape != (width,) * array.ndim:
            raise KexueValueError(f"{name} has shape {array.shape}, but mean_a has {width} entries")
        require_finite(name, array)
    precision = {name: float(np.finfo(array.dtype).eps) for name, array in arrays.items()}
    arrays = {name: array.astype(np.float64) for name, array in arrays.items()}
    # Squares and eigenvalues of what is scaled by a power of two neither overflow nor underflow.
    sizes = ((name, float(np.abs(array).max(initial=0))) for name, array in arrays.items())
    exponent = max(math.frexp(size)[1] if "mean" in name else -(-math.frexp(size)[1] // 2) for name, size in sizes)
    if not -_SAFE < exponent < _SAFE:
        arrays = {name: np.ldexp(array, -exponent * array.ndim) for name, array in arrays.items()}
    else:
        exponent = 0
    factors = (_spectral_factor(name, arrays[name], precision[name]) for name in ("cov_a", "cov_b"))
    difference = float(np.square(arrays["mean_a"] - arrays["mean_b"]).sum())
    return np.ldexp(difference + _covariance_part(*factors), 2 * exponent).astype(dtype)
