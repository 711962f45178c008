"""SciPy's Wasserstein distance between weighted points, with the network simplex in place of a linear programme."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist

from kexue import KexueValueError, emd2

__all__ = ["wasserstein_distance_nd"]


def wasserstein_distance_nd(
    u_values: ArrayLike,
    v_values: ArrayLike,
    u_weights: ArrayLike | None = None,
    v_weights: ArrayLike | None = None,
) -> float:
    """Wasserstein distance of order 1 between weighted points: ``scipy.stats.wasserstein_distance_nd``.

    Parameters
    ----------
    u_values : array_like, shape (m, d) or (m,)
        Points; with one dimension points of the line.
    v_values : array_like, shape (n, d) or (n,)
        Points.
    u_weights : array_like, shape (m,), optional
        Weights, of any positive sum: they are scaled to 1. Uniform by default.
    v_weights : array_like, shape (n,), optional
        Weights.

    Returns
    -------
    distance : float
        For the Euclidean distance between points. inf if a coordinate of one side alone is infinite, nan if one is on
        each side. On the line, as in SciPy, the integral of the difference of the distribution functions, which is nan
        for a NaN, and also where infinite points of both sides meet.

    Raises
    ------
    KexueValueError
        With SciPy's texts: an empty side, more than two dimensions, different numbers of dimensions or of columns,
        weights of the wrong number, negative, or of a sum that is not positive and finite. Beyond these: weights of two
        dimensions, a coordinate that is NaN where d is given (in SciPy a TypeError).

    See Also
    --------
    kexue.emd2 : any costs, and batches.
    kexue.emd2_1d : the line.

    Notes
    -----
    The costs are computed from differences of coordinates, so that equal points have distance 0 to the bit.
    O(m n sqrt(m + n)) time in practice and O(m n) memory, O((m + n) log(m + n)) time on the line.

    Examples
    --------
    >>> from kexue.compat.scipy import wasserstein_distance_nd
    >>> wasserstein_distance_nd([[0, 2, 3], [1, 2, 5]], [[3, 2, 3], [4, 2, 5]])
    3.0
    >>> wasserstein_distance_nd([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]], [3, 1])
    1.25
    """
    values: Any
    for values in (u_values, v_values):
        len(values)  # what has no length ends as it does in SciPy
    u_values, v_values = np.asarray(u_values), np.asarray(v_values)
    if max(u_values.ndim, v_values.ndim) > 2:
        raise KexueValueError("Invalid input values. The inputs must have either one or two dimensions.")
    if u_values.ndim != v_values.ndim:
        raise KexueValueError("Invalid input values. Dimensions of inputs must be equal.")
    u, a = _distribution("u", u_values, u_weights)
    v, b = _distribution("v", v_values, v_weights)
    if u.ndim == 1:
        return _on_the_line(u, v, a, b)
    if u.shape[1] != v.shape[1]:
        raise KexueValueError(
            "Invalid input values. If two-dimensional, `u_values` and `v_values` must have the same number of columns."
        )
    infinite = [bool(np.isinf(points).any()) for points in (u, v)]
    if any(infinite):
        return np.nan if all(infinite) else np.inf
    for name, points in (("u_values", u), ("v_values", v)):
        missing = np.isnan(points)
        if missing.any():
            index = np.unravel_index(int(missing.argmax()), points.shape)
            raise KexueValueError(f"{name}[{index[0]}, {index[1]}] is nan; {name} has shape {points.shape}")
    # A power of two changes no digit, and keeps the squares in the range of float64.
    largest = max(np.abs(points).max(initial=0.0) for points in (u, v))
    scale = float(np.ldexp(1.0, np.frexp(largest)[1] - 1)) if largest > 0 else 1.0
    return emd2(a, b, cdist(u / scale, v / scale)) * scale


def _distribution(side: str, values: ArrayLike, weights: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    """Points, and weights that sum to 1."""
    points = np.asarray(values, dtype=np.float64)
    if len(points) == 0:
        raise KexueValueError("Distribution can't be empty.")
    if weights is None:
        return points, np.full(len(points), 1 / len(points))
    masses = np.asarray(weights, dtype=np.float64)
    if len(masses) != len(points):
        raise KexueValueError(
            "Value and weight array-likes for the same empirical distribution must be of the same size."
        )
    if (masses < 0).any():
        raise KexueValueError("All weights must be non-negative.")
    with np.errstate(over="ignore"):
        total = masses.sum()
    if not 0 < total < np.inf:
        raise KexueValueError(
            "Weight array-like sum must be positive and finite. Set as None for an equal distribution of weight."
        )
    if masses.ndim != 1:
        raise KexueValueError(f"{side}_weights must have 1 dimension, but its shape is {masses.shape}")
    return points, masses / total


def _on_the_line(u: np.ndarray, v: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """The integral of the distance between the distribution functions, which also holds for infinite points."""
    ends = np.sort(np.concatenate([u, v]))
    with np.errstate(invalid="ignore"):
        steps = np.diff(ends)
        below = [_mass_up_to(points, masses, ends[:-1]) for points, masses in ((u, a), (v, b))]
        return np.abs(below[0] - below[1]) @ steps


def _mass_up_to(points: np.ndarray, masses: np.ndarray, places: np.ndarray) -> np.ndarray:
    order = np.argsort(points)
    sums = np.concatenate([[0.0], np.cumsum(masses[order])])
    return sums[np.searchsorted(points[order], places, side="right")]
