"""How far products of features are from exp(q . k): by theory, and measured."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_integer
from kexue._attention_arrays import rows
from kexue._errors import KexueValueError, first_bad
from kexue._feature_maps import FavorKind, check_kind

_ENTRIES_AT_ONCE = 1 << 20
_LARGEST_EXPONENT = 700


@same_kind
def favor_relative_variance(
    q: ArrayLike, k: ArrayLike, *, kind: FavorKind = "positive", log: bool = False
) -> np.ndarray | np.generic:
    """The variance of one random feature's part of exp(q . k), over exp(2 q . k).

    Parameters
    ----------
    q, k : array_like, shape (..., d)
        Leading dimensions broadcast.
    kind : {"positive", "hyperbolic", "trigonometric"}
        As for `favor_features`.
    log : bool
        Whether to return the logarithm, which does not overflow.

    Returns
    -------
    ndarray or scalar of float64, shape (...)
        exp(|q + k|^2) - 1; of a pair of features, cosh(|q + k|^2) - 1 or cosh(|q - k|^2) - 1. The mean over m
        independent directions has this over m; orthogonal ones have less.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `kind` is none of these.

    See Also
    --------
    favor_features
    kernel_error : errors of features at hand.

    References
    ----------
    K. Choromanski et al., "Rethinking Attention with Performers", 2021, arXiv:2009.14794.

    Examples
    --------
    >>> import kexue
    >>> q, k = [0.3, -0.5, 0.8], [-0.2, 0.4, 0.9]
    >>> for kind in ("positive", "hyperbolic", "trigonometric"):
    ...     print(round(float(kexue.favor_relative_variance(q, k, kind=kind)), 6))
    17.356799
    8.205637
    0.629194
    """
    check_kind(kind)
    first, second = (as_real(name, value, dtype=np.float64) for name, value in (("q", q), ("k", k)))
    try:
        if first.ndim == 0 or second.ndim == 0 or first.shape[-1] != second.shape[-1]:
            raise ValueError
        between = first - second if kind == "trigonometric" else first + second
    except ValueError:
        raise KexueValueError(f"q and k must broadcast, got shapes {first.shape} and {second.shape}") from None
    square = np.einsum("...i,...i->...", between, between)
    with np.errstate(over="ignore", divide="ignore"):
        if not log:
            result = np.expm1(square) if kind == "positive" else 2 * np.sinh(square / 2) ** 2
        else:  # of e^a - 1 = e^a (1 - e^-a) and cosh(a) - 1 = e^a (1 - e^-a)^2 / 2
            rest = np.log(-np.expm1(-square))
            result = square + rest if kind == "positive" else square + 2 * rest - math.log(2)
    return result[()]


@same_kind
def taylor_remainder_bound(s: ArrayLike, degree: int) -> np.ndarray | np.generic:
    """What exp(s) is at most away from its Taylor polynomial: |s|^(n + 1) / (n + 1)! max(1, e^s).

    Parameters
    ----------
    s : array_like
        Products q . k.
    degree : int
        n, the polynomial's.

    Returns
    -------
    ndarray or scalar of float64, shape as `s`
        Divided by exp(s) it bounds the relative error of ``taylor_features(q, n) @ taylor_features(k, n)``.

    Raises
    ------
    KexueValueError
        If the degree is negative.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> bool(np.exp(0.46) - kexue.exp_taylor(0.46, 4) <= kexue.taylor_remainder_bound(0.46, 4))
    True
    """
    degree = check_integer("degree", degree, 0)
    products = as_real("s", s, dtype=np.float64)
    with np.errstate(divide="ignore", over="ignore"):
        exponent = (degree + 1) * np.log(np.abs(products)) - math.lgamma(degree + 2) + np.maximum(products, 0)
        return np.exp(exponent)[()]


@same_kind
def expdef_ratio(s: ArrayLike, n: int, *, exact: bool = True) -> np.ndarray | np.generic:
    """(1 + s / n)^n over exp(s): what `expdef_features` make of the kernel.

    Parameters
    ----------
    s : array_like
        Products q . k.
    n : int
        At least 1.
    exact : bool
        False: exp(-s^2 / (2 n)), which it is near to for s well below n.

    Returns
    -------
    ndarray or scalar of float64, shape as `s`
        At most 1 for s >= -n; 0 at s = -n, and beyond it negative for odd n.

    Raises
    ------
    KexueValueError
        If n is below 1.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.expdef_ratio(0.46, 4).round(6)), float(kexue.expdef_ratio(0.46, 4, exact=False).round(6))
    (0.975717, 0.973897)
    """
    n = check_integer("n", n, 1)
    products = as_real("s", s, dtype=np.float64)
    if not exact:
        return np.exp(-products * (products / (2 * n)))[()]
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        share = products / n
        above = share > -1
        logarithm = np.where(above, np.log1p(np.where(above, share, 0)), np.log(np.where(above, 1, -1 - share)))
        sign = np.where(above, 1.0, 1.0 if n % 2 == 0 else -1.0)
        return np.where(products == np.inf, 0.0, sign * np.exp(n * logarithm - products))[()]


@dataclass(frozen=True)
class KernelError:
    """Relative errors of products of features, r = phi(q) . phi(k) / exp(q . k) - 1, over pairs of queries and keys.

    Attributes
    ----------
    mean : float
        The mean of r: the bias.
    mean_absolute, rms, max : float
        Of |r|: the mean, the root of the mean of squares, and the largest.
    nonpositive : float
        The share of pairs whose product is not positive, as no weight of softmax attention is.
    count : int
        How many pairs there are.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> X = np.random.default_rng(0).normal(size=(100, 3)) / 2
    >>> phi = kexue.taylor_features(X, 6)
    >>> error = kexue.kernel_error(X, X, phi, phi)
    >>> error.count, error.nonpositive, error.rms < 0.1
    (10000, 0.0, True)
    """

    mean: float
    mean_absolute: float
    rms: float
    max: float
    nonpositive: float
    count: int


def _factors(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    scales = as_real(name, 0.0 if value is None else value, dtype=np.float64)
    first_bad(name, scales, np.isnan)
    try:
        return np.broadcast_to(scales, shape)
    except ValueError:
        raise KexueValueError(f"{name} must broadcast to {shape}, but has shape {scales.shape}") from None


@same_kind
def kernel_error(
    Q: ArrayLike,
    K: ArrayLike,
    phi_Q: ArrayLike,
    phi_K: ArrayLike,
    *,
    log_scale_Q: ArrayLike | None = None,
    log_scale_K: ArrayLike | None = None,
) -> KernelError:
    """How far products of features are from exp(q . k), over all pairs of queries and keys.

    Parameters
    ----------
    Q : array_like, shape (..., n_queries, d)
    K : array_like, shape (..., n_keys, d)
        Queries and keys as the features were made of.
    phi_Q : array_like, shape (..., n_queries, m)
    phi_K : array_like, shape (..., n_keys, m)
        Their features; all leading dimensions broadcast.
    log_scale_Q, log_scale_K : array_like, optional
        Broadcast to (..., n_queries) and (..., n_keys): what was taken out of the features, from
        ``favor_features(..., return_log_scale=True)``. exp(q . k) and the products may then be far out of range.

    Returns
    -------
    KernelError
        ``mean``, ``mean_absolute``, ``rms`` and ``max`` of the relative errors, the share that is ``nonpositive``, and
        ``count``. NaN where there is no pair.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    favor_relative_variance : what to expect.
    kexue.plot.kernel_error : against the number of features.

    Notes
    -----
    O(n_queries n_keys (d + m)) time, in float64; memory for about a million pairs.

    References
    ----------
    J. Su, "Upgrades of the Transformer: 5, as infinite-dimensional linear attention", Scientific Spaces, 2021,
    https://kexue.fm/archives/8601.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> X = np.random.default_rng(0).normal(size=(100, 8)) / 4
    >>> W = kexue.favor_projection(4096, 8, rng=1)
    >>> phi = kexue.favor_features(X, W)
    >>> bool(kexue.kernel_error(X, X, phi, phi).rms < 0.1)
    True
    """
    double = np.dtype(np.float64)
    names = ("Q", "K", "phi_Q", "phi_K")
    arrays = [rows(name, value, double) for name, value in zip(names, (Q, K, phi_Q, phi_K), strict=True)]
    for first, second, place, what in (
        (0, 1, -1, "columns"),
        (2, 3, -1, "columns"),
        (0, 2, -2, "rows"),
        (1, 3, -2, "rows"),
    ):
        if arrays[first].shape[place] != arrays[second].shape[place]:
            raise KexueValueError(
                f"{names[first]} and {names[second]} must have as many {what}, got shapes {arrays[first].shape} and "
                f"{arrays[second].shape}"
            )
    try:
        outer = np.broadcast_shapes(*(array.shape[:-2] for array in arrays))
    except ValueError:
        raise KexueValueError(
            "Q, K, phi_Q and phi_K must have leading dimensions that broadcast, got "
            + ", ".join(str(array.shape[:-2]) for array in arrays)
        ) from None
    arrays = [np.broadcast_to(array, (*outer, *array.shape[-2:])) for array in arrays]
    queries, keys = arrays[0].shape[-2], arrays[1].shape[-2]
    of_queries = _factors("log_scale_Q", log_scale_Q, (*outer, queries))
    of_keys = _factors("log_scale_K", log_scale_K, (*outer, keys))
    count = math.prod(outer) * queries * keys
    if count == 0:
        return KernelError(math.nan, math.nan, math.nan, math.nan, math.nan, 0)
    total = absolute = squares = largest = 0.0
    nonpositive = 0
    step = max(1, _ENTRIES_AT_ONCE // keys)
    for at in np.ndindex(outer):
        q, k, phi_q, phi_k = (array[at] for array in arrays)
        for first in range(0, queries, step):
            block = slice(first, first + step)
            products = phi_q[block] @ phi_k.T
            exponents = of_queries[at][block, None] + of_keys[at] - q[block] @ k.T
            nonpositive += int(np.count_nonzero(~(products > 0)))
            errors = _scaled(products, exponents) - 1
            total += float(errors.sum())
            np.abs(errors, out=errors)
            absolute += float(errors.sum())
            squares += float(np.vdot(errors, errors))
            largest = float(np.maximum(largest, errors.max()))  # a NaN stays
    return KernelError(total / count, absolute / count, math.sqrt(squares / count), largest, nonpositive / count, count)


def _scaled(products: np.ndarray, exponents: np.ndarray) -> np.ndarray:
    """products e^exponents, where either may be out of range alone."""
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        if np.abs(exponents).max() < _LARGEST_EXPONENT:
            return products * np.exp(exponents)
        return np.sign(products) * np.exp(np.log(np.abs(products)) + exponents)
