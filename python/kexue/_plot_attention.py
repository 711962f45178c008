"""Pictures of attention, for kexue.plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

import kexue
from kexue import KexueValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RANDOM = ("positive", "hyperbolic", "trigonometric")
_POLYNOMIALS = ("taylor", "expdef")
_KINDS = (*_RANDOM, *_POLYNOMIALS)


def kernel_error(
    Q: ArrayLike,
    K: ArrayLike | None = None,
    n_features: Sequence[int] | None = None,
    *,
    kinds: Sequence[str] = _KINDS,
    orthogonal: bool = True,
    repeats: int = 5,
    n_points: int = 200,
    rng: np.random.Generator | int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how far products of features are from exp(q . k) for your queries and keys, against the number of features.

    The error is the root mean square of phi(q) . phi(k) / exp(q . k) - 1 over pairs, of `kexue.kernel_error`. For each
    kind of random features there is a line of it, and a dotted one of what `kexue.favor_relative_variance` says of
    independent directions; for polynomials a point for each degree.

    Parameters
    ----------
    Q : array_like, shape (..., n_queries, d)
        Queries, scaled as the kernel takes them (by d^(-1/4) for softmax attention).
    K : array_like, shape (..., n_keys, d), optional
        Keys, by default the queries.
    n_features : sequence of int, optional
        Numbers of features, by default powers of 2 from 16 to 2048. Hyperbolic and trigonometric features have half as
        many directions. Polynomials are drawn up to the largest.
    kinds : sequence of str
        Of "positive", "hyperbolic", "trigonometric", "taylor" and "expdef".
    orthogonal : bool
        As for `kexue.favor_projection`.
    repeats : int
        How many directions are drawn for each point of a line.
    n_points : int
        How many queries and keys are drawn from `Q` and `K`; all, if there are no more.
    rng : numpy.random.Generator, int or None
        Draws points and directions, through ``numpy.random.default_rng(rng)``.
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot.

    Returns
    -------
    Axes
        ``ax.lines`` has for each kind, in their order, the line of errors with the kind as label, and after that of a
        random kind the law's. Their ``get_xydata()`` has the numbers.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If shapes do not fit, a point is NaN or infinite, or an option is out of range. Nothing is drawn then.
    TypeError
        If `Q` or `K` does not hold real numbers, or a number is no integer.

    See Also
    --------
    kexue.kernel_error : the numbers.

    Examples
    --------
    >>> import kexue.plot
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> Q = np.random.default_rng(0).normal(size=(100, 4)) / 2
    >>> ax = Figure(layout="constrained").subplots()
    >>> ax = kexue.plot.kernel_error(Q, n_features=[16, 64], kinds=["positive", "taylor"], rng=0, ax=ax)
    >>> [line.get_label() for line in ax.lines]
    ['positive', '_positive, law', 'taylor']
    """
    from kexue.plot import require_matplotlib

    require_matplotlib()
    if isinstance(kinds, str):
        kinds = [kinds]
    unknown = [kind for kind in kinds if kind not in _KINDS]
    if unknown or not len(kinds):
        raise KexueValueError(f"kinds must be of {', '.join(map(repr, _KINDS))}, got {unknown or list(kinds)!r}")
    _check("repeats", repeats, 1)
    _check("n_points", n_points, 1)
    counts = [2**k for k in range(4, 12)] if n_features is None else sorted(n_features)
    if not counts:
        raise KexueValueError("n_features is empty")
    for count in counts:
        _check("n_features", count, 2)
    generator = np.random.default_rng(rng)
    queries = _some("Q", Q, n_points, generator)
    keys = queries if K is None else _some("K", K, n_points, generator)
    if queries.shape[1] != keys.shape[1]:
        raise KexueValueError(f"Q and K must have one dimension, got {queries.shape[1]} and {keys.shape[1]}")
    lines = {
        kind: _polynomial_errors(kind, queries, keys, counts[-1])
        if kind in _POLYNOMIALS
        else _random_errors(kind, queries, keys, counts, orthogonal, repeats, generator)
        for kind in kinds
    }

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    kind: Any
    for kind, (sizes, errors) in lines.items():
        marker = "o" if kind in _RANDOM else "s"
        style = "-" if kind in _RANDOM else "--"
        (line,) = ax.plot(sizes, errors, marker=marker, markersize=4, linestyle=style, label=kind)
        if kind in _RANDOM:
            laws = kexue.favor_relative_variance(queries[:, None], keys, kind=kind).mean()
            directions = np.array(sizes) / (1 if kind == "positive" else 2)
            ax.plot(sizes, np.sqrt(laws / directions), linestyle=":", color=line.get_color(), label=f"_{kind}, law")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xlabel("features")
    ax.set_ylabel("relative error of exp(q · k), rms")
    ax.legend(fontsize="small")
    return ax


def _check(name: str, value: Any, least: int) -> None:
    if not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < least:
        raise KexueValueError(f"{name} must be at least {least}, got {value}")


def _some(name: str, value: ArrayLike, count: int, rng: np.random.Generator) -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}")
    if array.ndim < 2 or array.size == 0:
        raise KexueValueError(f"{name} must have shape (..., rows, d) and rows, but its shape is {array.shape}")
    points = array.astype(np.float64).reshape(-1, array.shape[-1])
    bad = np.argwhere(~np.isfinite(points))
    if len(bad):
        row, column = bad[0]
        raise KexueValueError(f"{name}[{row}, {column}] is {points[row, column]}, in rows of {points.shape[1]}")
    return points if len(points) <= count else points[rng.choice(len(points), count, replace=False)]


def _random_errors(
    kind: Any,
    queries: np.ndarray,
    keys: np.ndarray,
    counts: Sequence[int],
    orthogonal: bool,
    repeats: int,
    rng: np.random.Generator,
) -> tuple[list[int], list[float]]:
    sizes, errors = [], []
    for count in counts:
        directions = count if kind == "positive" else count // 2
        squares = 0.0
        for _ in range(repeats):
            W = kexue.favor_projection(directions, queries.shape[1], orthogonal=orthogonal, rng=rng)
            (phi_Q, of_Q), (phi_K, of_K) = (
                kexue.favor_features(points, W, kind=kind, return_log_scale=True) for points in (queries, keys)
            )
            squares += kexue.kernel_error(queries, keys, phi_Q, phi_K, log_scale_Q=of_Q, log_scale_K=of_K).rms ** 2
        sizes.append(directions if kind == "positive" else 2 * directions)
        errors.append(math.sqrt(squares / repeats))
    return sizes, errors


def _polynomial_errors(kind: Any, queries: np.ndarray, keys: np.ndarray, most: int) -> tuple[list[int], list[float]]:
    sizes, errors = [], []
    degree = 1
    while (size := kexue.feature_dimension(queries.shape[1], degree, kind=kind)) <= most:
        phi_Q, phi_K = (getattr(kexue, f"{kind}_features")(points, degree) for points in (queries, keys))
        sizes.append(size)
        errors.append(kexue.kernel_error(queries, keys, phi_Q, phi_K).rms)
        degree += 1
    return sizes, errors
