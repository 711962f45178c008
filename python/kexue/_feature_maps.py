"""Features whose products stand for exp(q . k): random ones, and polynomials."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _linear_attention
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, check_integer
from kexue._errors import KexueValueError

FavorKind = Literal["positive", "hyperbolic", "trigonometric"]
_FAVOR_KINDS = ("positive", "hyperbolic", "trigonometric")

_ENTRIES_AT_ONCE = 1 << 16  # of features: what is done to them one after another is done in the second cache
# Where a factor is taken out, features below the largest of the row times e^this are raised to it: products of two rows
# do not vanish then.
_LEAST_EXPONENT = {np.dtype(np.float32): -60, np.dtype(np.float64): -600}
_MOST_FEATURES = 1 << 31
_MONOMIALS, _TENSORS, _TENSOR_POWER = range(3)  # kx_polynomial_t


def favor_projection(
    n_features: int, d: int, *, orthogonal: bool = True, rng: np.random.Generator | int | None = None
) -> np.ndarray:
    """Random directions for `favor_features`: normal vectors, independent or orthogonal in blocks.

    Parameters
    ----------
    n_features : int
        How many rows.
    d : int
        The dimension of queries and keys.
    orthogonal : bool
        Whether rows are orthogonal in blocks of d. Each row by itself is normal still: a direction by QR, with the
        length of a normal vector of its own. Features then have less variance together than independent ones.
    rng : numpy.random.Generator, int or None
        Through ``numpy.random.default_rng(rng)``. An integer gives the same rows each time.

    Returns
    -------
    ndarray of float64, shape (n_features, d)

    Raises
    ------
    KexueValueError
        If a number is out of range.
    TypeError
        If a number is no integer.

    See Also
    --------
    favor_features

    Notes
    -----
    O(n_features d^2) time for orthogonal rows.

    References
    ----------
    K. Choromanski et al., "Rethinking Attention with Performers", 2021, arXiv:2009.14794. F. X. Yu et al., "Orthogonal
    Random Features", 2016, arXiv:1610.09072.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W = kexue.favor_projection(6, 3, rng=0)
    >>> products = W[:3] @ W[:3].T
    >>> np.allclose(products, np.diag(np.diag(products)))
    True
    """
    n_features = check_integer("n_features", n_features, 1)
    d = check_integer("d", d, 1)
    generator = np.random.default_rng(rng)
    if not orthogonal:
        return generator.standard_normal((n_features, d))
    blocks = []
    for first in range(0, n_features, d):
        Q, R = np.linalg.qr(generator.standard_normal((d, d)))
        Q = Q * np.copysign(1.0, np.diag(R))  # without it the law of Q is not uniform
        lengths = np.sqrt(generator.chisquare(d, size=d))
        blocks.append((Q.T * lengths[:, None])[: n_features - first])
    return np.concatenate(blocks)


def _points(name: str, X: ArrayLike, dtype: np.dtype | None = None) -> np.ndarray:
    array = as_real(name, X) if dtype is None else as_real(name, X, dtype=dtype)
    if array.ndim == 0:
        raise KexueValueError(f"{name} must have shape (..., d), but is a number")
    return array


def _as_rows(array: np.ndarray) -> np.ndarray:
    return array.reshape(math.prod(array.shape[:-1]), array.shape[-1])


def _directions(W: ArrayLike, d: int, dtype: np.dtype) -> np.ndarray:
    rows = as_real("W", W, ndim=2)
    if rows.shape[1] != d or rows.shape[0] == 0:
        raise KexueValueError(f"W must have shape (n_features, {d}) for X of {d} columns, but has shape {rows.shape}")
    return as_contiguous(rows, dtype=dtype)


def check_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in _FAVOR_KINDS:
        raise KexueValueError(f"kind must be one of {', '.join(map(repr, _FAVOR_KINDS))}, got {kind!r}")


def _favor_blocks(
    rows: np.ndarray, W: np.ndarray, kind: str, out: np.ndarray, log_scale: np.ndarray | None
) -> Iterator[slice]:
    """Fills `out` and `log_scale` block by block, and yields which rows are done."""
    m = len(W)
    across = W.T
    for first in range(0, len(rows), step := max(1, _ENTRIES_AT_ONCE // out.shape[1])):
        block = slice(first, first + step)
        x, phi = rows[block], out[block]
        halves = 0.5 * np.einsum("ij,ij->i", x, x, dtype=np.float64)
        projections = phi[:, :m]
        np.matmul(x, across, out=projections)
        if kind == "trigonometric":
            np.sin(projections, out=phi[:, m:])
            np.cos(projections, out=projections)
            if log_scale is None:
                factors = np.exp(halves) / math.sqrt(m)
                phi *= factors.astype(out.dtype)[:, None]
            else:
                log_scale[block] = halves
                phi *= out.dtype.type(1 / math.sqrt(m))
        else:
            less = halves
            if kind == "hyperbolic":
                np.negative(projections, out=phi[:, m:])
            if log_scale is not None:
                less = phi.max(axis=1).astype(np.float64)
                log_scale[block] = less - halves
            # The weight 1 / sqrt(features) goes into the exponent: a pass less.
            weight = 0.5 * math.log(out.shape[1])
            phi -= (less + weight).astype(out.dtype)[:, None]
            if log_scale is not None:
                np.maximum(phi, _LEAST_EXPONENT[out.dtype] - weight, out=phi)
            np.exp(phi, out=phi)
        yield block


@same_kind
def favor_features(X: ArrayLike, W: ArrayLike, *, kind: FavorKind = "positive", return_log_scale: bool = False) -> Any:
    """Random features with the mean of ``phi(q) @ phi(k)`` equal to exp(q . k).

    Parameters
    ----------
    X : array_like, shape (..., d)
        Queries or keys. For softmax attention both are scaled by d^(-1/4) first, as `favor_attention` does.
    W : array_like, shape (m, d)
        Directions, from `favor_projection`: the same for queries and keys.
    kind : {"positive", "hyperbolic", "trigonometric"}
        exp(w . x - |x|^2 / 2) over the rows w of W, m features; over W and -W, 2 m; or exp(|x|^2 / 2) times cosines and
        sines of w . x, 2 m, whose products may be negative.
    return_log_scale : bool
        Whether to take a factor out of each row, so that no exponential overflows and no row vanishes. Positive and
        hyperbolic features are at least e^-60 of their row's largest then (float64: e^-600), so products do not vanish
        either.

    Returns
    -------
    phi : ndarray, shape (..., m) or (..., 2 m)
        float32 for X of float32 or float16, else float64. With the weight 1 / sqrt of the number of features (or
        pairs).
    log_scale : ndarray of float64, shape (...)
        Only if `return_log_scale`: the features are ``exp(log_scale)[..., None] * phi``. Of keys it goes to
        `linear_attention` as `key_log_scale`; of queries it has no effect there.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `kind` is none of these.

    See Also
    --------
    favor_relative_variance : how far products are from exp(q . k).
    kernel_error : the same, measured.
    favor_features_vjp : the gradient.

    Notes
    -----
    O(n m d) time, by matrix multiplication in NumPy's BLAS and its threads. The relative variance of positive features
    grows as exp(|q + k|^2): with norms above some 2, hundreds of features leave errors of the size of the kernel.

    References
    ----------
    K. Choromanski et al., "Rethinking Attention with Performers", 2021, arXiv:2009.14794.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> q, k = [0.3, -0.5, 0.8], [-0.2, 0.4, 0.9]
    >>> W = kexue.favor_projection(100_000, 3, rng=0)
    >>> products = [kexue.favor_features(q, W, kind=kind) @ kexue.favor_features(k, W, kind=kind)
    ...             for kind in ("positive", "hyperbolic", "trigonometric")]
    >>> np.allclose(products, np.exp(np.dot(q, k)), rtol=0.05)
    True
    """
    check_kind(kind)
    points = _points("X", X)
    directions = _directions(W, points.shape[-1], points.dtype)
    shape, rows = points.shape[:-1], _as_rows(points)
    out = np.empty((len(rows), len(directions) * (1 if kind == "positive" else 2)), dtype=points.dtype)
    log_scale = np.empty(len(rows)) if return_log_scale else None
    for _ in _favor_blocks(rows, directions, kind, out, log_scale):
        pass
    phi = out.reshape(*shape, out.shape[1])
    return phi if log_scale is None else (phi, log_scale.reshape(shape))


@same_kind
def favor_features_vjp(
    X: ArrayLike,
    W: ArrayLike,
    grad: ArrayLike,
    *,
    kind: FavorKind = "positive",
    return_log_scale: bool = False,
) -> np.ndarray:
    """The gradient of `favor_features` by X, from the gradient by the features.

    Parameters
    ----------
    X, W, kind
        As for `favor_features`.
    grad : array_like, shape (..., m) or (..., 2 m)
        The upstream gradient, in the features' shape.
    return_log_scale : bool
        As it was for the features. The factors are held constant: what does not depend on them, as `linear_attention`
        with both their parts does not, has this gradient all the same.

    Returns
    -------
    ndarray, shape as X

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `kind` is none of these.

    See Also
    --------
    linear_attention_vjp

    Notes
    -----
    By x of a positive feature: phi (w - x). The features are computed once more, in blocks.

    References
    ----------
    K. Choromanski et al., "Rethinking Attention with Performers", 2021, arXiv:2009.14794.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> x, W = np.array([0.5, -1.0]), np.array([[1.0, 2.0]])
    >>> phi = kexue.favor_features(x, W)
    >>> np.allclose(kexue.favor_features_vjp(x, W, [1.0]), phi * (W[0] - x))
    True
    """
    check_kind(kind)
    points = _points("X", X)
    dtype = points.dtype
    directions = _directions(W, points.shape[-1], dtype)
    m = len(directions)
    shape = (*points.shape[:-1], m if kind == "positive" else 2 * m)
    upstream = as_real("grad", grad, dtype=dtype)
    if upstream.shape != shape:
        raise KexueValueError(f"grad must have the features' shape {shape}, but has shape {upstream.shape}")
    rows, upstream = _as_rows(points), _as_rows(upstream)
    phi = np.empty(upstream.shape, dtype=dtype)
    log_scale = np.empty(len(rows)) if return_log_scale else None
    result = np.empty(rows.shape, dtype=dtype)
    for block in _favor_blocks(rows, directions, kind, phi, log_scale):
        features, by_features = phi[block], upstream[block]
        products = features * by_features
        along = products.sum(axis=1, keepdims=True)
        if kind == "positive":
            result[block] = products @ directions - along * rows[block]
        elif kind == "hyperbolic":
            result[block] = (products[:, :m] - products[:, m:]) @ directions - along * rows[block]
        else:
            by_projections = features[:, :m] * by_features[:, m:] - features[:, m:] * by_features[:, :m]
            result[block] = by_projections @ directions
            if log_scale is None:
                result[block] += along * rows[block]
    return result.reshape(points.shape)


def feature_dimension(
    d: int, degree: int, *, kind: Literal["taylor", "expdef"] = "taylor", symmetric: bool = True
) -> int:
    """How many features `taylor_features` or `expdef_features` has.

    Parameters
    ----------
    d : int
        The dimension of queries and keys.
    degree : int
        The degree, or n of `expdef_features`.
    kind : {"taylor", "expdef"}
    symmetric : bool
        One feature for each monomial, or one for each entry of tensor powers.

    Returns
    -------
    int
        C(d + degree, degree) if symmetric; else the sum of d^m up to the degree, or (d + 1)^degree. Of any size.

    Raises
    ------
    KexueValueError
        If a number is out of range, or `kind` none of these.
    TypeError
        If a number is no integer.

    Examples
    --------
    >>> import kexue
    >>> kexue.feature_dimension(64, 2), kexue.feature_dimension(64, 4), kexue.feature_dimension(64, 4, symmetric=False)
    (2145, 814385, 17043521)
    """
    if kind not in ("taylor", "expdef"):
        raise KexueValueError(f'kind must be "taylor" or "expdef", got {kind!r}')
    d = check_integer("d", d, 0)
    degree = check_integer("degree", degree, 0 if kind == "taylor" else 1)
    if symmetric:
        return math.comb(d + degree, degree)
    if kind == "expdef":
        return (d + 1) ** degree
    return degree + 1 if d == 1 else (d ** (degree + 1) - 1) // (d - 1)


def _memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE")) * float(os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):
        return math.inf


def _polynomials(
    X: ArrayLike, name: str, degree: int, what: str, symmetric: bool, scales: np.ndarray | None, workers: int | None
) -> np.ndarray:
    points = _points("X", X)
    d = points.shape[-1]
    if degree > _MOST_FEATURES:
        raise KexueValueError(f"{name} must be at most {_MOST_FEATURES}, got {degree}")
    size = feature_dimension(d, degree, kind="taylor" if what == "taylor" else "expdef", symmetric=symmetric)
    shape = (*points.shape[:-1], size)
    if size > _MOST_FEATURES:
        raise KexueValueError(f"{size} features for X of {d} columns and {name}={degree}; at most 2^31 are computed")
    needed = math.prod(shape) * points.itemsize
    if needed > _memory():
        raise MemoryError(f"{size} features of {math.prod(shape[:-1])} rows of X take {needed / 2**30:.3g} GiB")
    rows = _as_rows(points)
    if not rows.flags.aligned or (d > 1 and rows.strides[1] != rows.itemsize):
        rows = rows.copy()
    out = np.empty((len(rows), size), dtype=points.dtype)
    kind, scale = _MONOMIALS, 1.0
    if not symmetric:
        kind, scale = (_TENSORS, 1.0) if what == "taylor" else (_TENSOR_POWER, 1 / math.sqrt(degree))
        scales = None
    _linear_attention.polynomials(kind, rows, degree, scale, scales, out, workers)
    return out.reshape(shape)


@same_kind
def taylor_features(X: ArrayLike, degree: int, *, symmetric: bool = True, workers: int | None = None) -> np.ndarray:
    """Features with ``phi(q) @ phi(k)`` equal to the Taylor polynomial of exp(q . k).

    Parameters
    ----------
    X : array_like, shape (..., d)
    degree : int
        The polynomial's; with an even one products are positive.
    symmetric : bool
        One feature for each monomial, x^a / sqrt(a!); False: all entries of the tensor powers of x over sqrt(m!), which
        has the same products with more features.
    workers : int, optional
        Threads, which share rows; see `kexue.threads`.

    Returns
    -------
    ndarray, shape (..., feature_dimension(d, degree, symmetric=symmetric))
        Monomials by degree, and by the order of their sorted factors: 1, x0, x1, x0 x0, x0 x1, x1 x1. float32 for X of
        float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        If the degree is negative, or there would be more than 2^31 features.
    MemoryError
        If the result does not fit into memory.

    See Also
    --------
    feature_dimension
    taylor_remainder_bound : the error.
    exp_taylor : the polynomial itself.

    Notes
    -----
    One multiplication a feature. The number of features exceeds common lengths n soon, where exact attention is both
    faster and exact: this is of use for small d, and to compare.

    References
    ----------
    J. Su, "Upgrades of the Transformer: 5, as infinite-dimensional linear attention", Scientific Spaces, 2021,
    https://kexue.fm/archives/8601.

    Examples
    --------
    >>> import kexue
    >>> q, k = kexue.taylor_features([[0.3, -0.5, 0.8], [-0.2, 0.4, 0.9]], 4)
    >>> q.shape, round(float(q @ k), 10), round(float(kexue.exp_taylor(0.46, 4)), 10)
    ((35,), 1.5838882733, 1.5838882733)
    """
    degree = check_integer("degree", degree, 0)
    return _polynomials(X, "degree", degree, "taylor", symmetric, None, workers)


@same_kind
def expdef_features(X: ArrayLike, n: int, *, symmetric: bool = True, workers: int | None = None) -> np.ndarray:
    """Features with ``phi(q) @ phi(k)`` equal to (1 + q . k / n)^n.

    Parameters
    ----------
    X : array_like, shape (..., d)
    n : int
        At least 1. With an even one products are never negative, and 0 where q . k = -n.
    symmetric : bool
        One feature for each monomial, with the square root of a multinomial coefficient; False: all entries of the n-th
        tensor power of (1, x / sqrt(n)), which has the same products with more features.
    workers : int, optional
        Threads, which share rows; see `kexue.threads`.

    Returns
    -------
    ndarray, shape (..., feature_dimension(d, n, kind="expdef", symmetric=symmetric))
        In the order of `taylor_features` if symmetric. float32 for X of float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        If n is below 1, or there would be more than 2^31 features.
    MemoryError
        If the result does not fit into memory.

    See Also
    --------
    expdef_ratio : the error.

    Notes
    -----
    One multiplication a feature. As with `taylor_features`, there are soon more features than keys.

    References
    ----------
    J. Su, "Upgrades of the Transformer: 5, as infinite-dimensional linear attention", Scientific Spaces, 2021,
    https://kexue.fm/archives/8601.

    Examples
    --------
    >>> import kexue
    >>> q, k = kexue.expdef_features([[0.3, -0.5, 0.8], [-0.2, 0.4, 0.9]], 4)
    >>> q.shape, round(float(q @ k), 10), round((1 + 0.46 / 4) ** 4, 10)
    ((35,), 1.5456084006, 1.5456084006)
    """
    n = check_integer("n", n, 1)
    if n > _MOST_FEATURES:
        raise KexueValueError(f"n must be at most {_MOST_FEATURES}, got {n}")
    scales = None
    if symmetric and feature_dimension(_points("X", X).shape[-1], n) <= _MOST_FEATURES:
        # n! / ((n - m)! n^m), the share of the Taylor coefficient.
        scales = np.sqrt(np.concatenate([[1.0], np.cumprod(1 - np.arange(n) / n)]))
    return _polynomials(X, "n", n, "expdef", symmetric, scales, workers)
