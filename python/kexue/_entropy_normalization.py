"""Entropy normalisation: distributions made sharper or flatter until they have a given entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, is_sparse, result_dtype
from kexue._entropy_rows import (
    COSTS,
    COSTS_OFF_DIAGONAL,
    LOG_WEIGHTS,
    WEIGHTS,
    DenseRows,
    Names,
    Settings,
    SparseRows,
    TargetKind,
    check_axis,
    rows_of,
)
from kexue._errors import KexueValueError, first_bad
from kexue._lazy import apply_rows, is_lazy

_INFO_DTYPES: tuple[type, ...] = (np.float64, np.float64, np.int32, np.int32)


@dataclass(frozen=True, eq=False)
class EntropyNormalization:
    """How entropy normalisation ended, for each row.

    Attributes
    ----------
    gamma : ndarray or float
        The exponent: ``q`` is proportional to ``p**gamma``. In the shape of the batch, that of ``p`` without the
        axis; a scalar for a single row.
    entropy : ndarray or float
        The entropy of ``q`` in nats, the one that was reached.
    status : ndarray or int
        0: the target is reached. 1: `max_iter` was. Where the target is out of reach, the limit was taken: 2: gamma
        is inf, and q uniform on the largest entries; 3: gamma is 0, and q uniform on the support; 4: all entries of
        the support are equal, gamma is 1, and q is p.
    n_iter : ndarray or int
        Iterations.

    See Also
    --------
    entropy_normalize

    Examples
    --------
    >>> import kexue
    >>> q, info = kexue.entropy_normalize([0.5, 0.25, 0.25], 1.0, log=True)
    >>> print(f"{info.gamma:.6f} {info.entropy:.6f} {info.status}")
    1.289866 1.000000 0
    """

    gamma: Any
    entropy: Any
    status: Any
    n_iter: Any


def _normalize(
    names: Names,
    values: Any,
    target: Any,
    *,
    domain: int,
    axis: int,
    log: bool,
    workers: int | None,
    out: np.ndarray | None,
    **settings: Any,
) -> Any:
    checked = Settings(**settings)
    if is_lazy(values, target):
        return _normalize_lazily(names, values, target, domain, axis, log, workers, out, settings)
    rows = rows_of(names, values, target, domain=domain, axis=axis)
    return _solve(rows, checked, log, workers, out)


def _solve(
    rows: DenseRows | SparseRows, settings: Settings, log: bool, workers: int | None, out: np.ndarray | None
) -> Any:
    place, result = _output(rows, out)
    solved = rows.solve(settings, workers, q=place, wanted=log)
    if out is None or result is None:
        result = rows.shaped(place)
    elif not np.may_share_memory(place, out):
        result[...] = rows.shaped(place)
    if not log:
        return result
    parts = (solved.gamma, solved.entropy, solved.status, solved.n_iter)
    return result, EntropyNormalization(*(None if part is None else rows.scalars(part) for part in parts))


def _output(rows: DenseRows | SparseRows, out: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Where the core writes, and the array of the caller, if there is one."""
    if out is None:
        return np.empty_like(rows.values), None
    if isinstance(rows, SparseRows):
        raise KexueValueError(f"out is for arrays, but {rows.names.values} is sparse")
    if not isinstance(out, np.ndarray) or out.dtype != rows.values.dtype:
        found = f"dtype {out.dtype}" if isinstance(out, np.ndarray) else type(out).__name__
        raise TypeError(f"out must be an array of dtype {rows.values.dtype}, not {found}")
    if out.shape != rows.result_shape:
        raise KexueValueError(f"out has shape {out.shape}, but the result has shape {rows.result_shape}")
    if not out.flags.writeable:
        raise KexueValueError("out is read-only")
    return rows.place_for(out), out


def _normalize_lazily(
    names: Names,
    values: Any,
    target: Any,
    domain: int,
    axis: int,
    log: bool,
    workers: int | None,
    out: Any,
    settings: dict[str, Any],
) -> Any:
    if out is not None:
        raise TypeError("out cannot be used with Dask arrays")

    def solve_chunk(chunk: np.ndarray, targets: np.ndarray) -> Any:
        answer = _normalize(
            names, chunk, targets, domain=domain, axis=-1, log=log, workers=workers, out=None, **settings
        )
        if not log:
            return answer
        q, info = answer
        return q, *(np.asarray(part) for part in (info.gamma, info.entropy, info.status, info.n_iter))

    dtype = result_dtype(values)
    if not log:
        return apply_rows(solve_chunk, "(n),()->(n)", values, target, axis=axis, output_dtypes=[dtype])
    q, *parts = apply_rows(
        solve_chunk, "(n),()->(n),(),(),(),()", values, target, axis=axis, output_dtypes=[dtype, *_INFO_DTYPES]
    )
    return q, EntropyNormalization(*parts)


@overload
def entropy_normalize(
    p: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = ...,
    target_kind: TargetKind = ...,
    log: Literal[True],
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> tuple[Any, EntropyNormalization]: ...
@overload
def entropy_normalize(
    p: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = ...,
    target_kind: TargetKind = ...,
    log: bool = ...,
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> Any: ...
@same_kind
def entropy_normalize(
    p: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    target_kind: TargetKind = "entropy",
    log: bool = False,
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
    out: np.ndarray | None = None,
) -> Any:
    """Distributions ``q ~ p**gamma`` with a given entropy.

    The exponent gamma > 0 is found for each row: above 1 it sharpens, below 1 it flattens. The order of the entries
    stays, and so do zeros.

    Parameters
    ----------
    p : array_like or sparse matrix, shape (..., n)
        Weights, finite and not negative, of any scale. In a sparse matrix entries that are not stored are zeros.
    target : array_like
        The entropy in nats, or what `target_kind` says. It broadcasts with the shape of `p` without the axis.
    axis : int, optional
        The axis of the distributions; of a sparse matrix the last one.
    target_kind : {"entropy", "perplexity", "fraction", "gap_low", "gap_high"}, optional
        The target is the entropy H; exp(H); H / log n; H - log m; or log s - H. Here n is the number of entries,
        zeros included, s that of positive entries, and m that of entries equal to the largest one. An entropy
        within 1e-16 of a limit is no longer a number of its own, but the gap to the limit is.
    log : bool, optional
        Also return how it ended.
    on_unreachable : {"raise", "limit"}, optional
        What becomes of a target that no gamma reaches, see Notes.
    tol : float, optional
        Relative error of the distance to the nearer limit, log m or log s, at which the iteration stops.
    max_iter : int, optional
        Most iterations of a row.
    workers : int, optional
        Threads; -1 is all processors, None the number of `kexue.threads`. The result does not depend on it.
    out : ndarray, optional
        The result's place, of its shape and dtype. It may be `p`.

    Returns
    -------
    q : ndarray, or sparse CSR matrix of the structure of `p`
        Of the shape of `p`, broadcast with that of the targets. float32 if `p` is float32 or float16, else float64.
    info : EntropyNormalization
        gamma, entropy, status and n_iter of the rows, in float64 for any `p`. Only if `log`.

    Raises
    ------
    KexueValueError
        Names the first entry of `p` that is negative, NaN or infinite, a row of zeros, a target outside of its
        domain, or, without ``on_unreachable="limit"``, one out of reach and what is within reach.
    TypeError
        If an argument has no real numbers, or `out` another dtype.

    Warns
    -----
    ConvergenceWarning
        Once, if rows reached `max_iter`; `kexue.errstate` makes it an error.

    See Also
    --------
    entropy_normalize_logits : of log-probabilities.
    entropy_normalize_vjp : the gradient.
    perplexity_affinities : of squared distances, as in t-SNE.

    Notes
    -----
    For gamma from 0 to inf the entropy falls from log s, where q is uniform on the positive entries, towards log m,
    where it is uniform on the largest ones. log s is reached (gamma = 0), log m is not, unless all positive entries
    are equal. ``on_unreachable="limit"`` takes the nearer limit and puts it into the status; see
    `EntropyNormalization`.

    A row costs some 2 to 12 passes over its entries, each with an exponential for every entry.

    A Dask array, one chunk along the axis, gives a Dask array: nothing is computed, and no error found, before its
    ``compute()``; messages then count rows within the chunk.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> q = kexue.entropy_normalize([0.5, 0.25, 0.15, 0.1], np.log(2))
    >>> q.round(4)
    array([0.7826, 0.1534, 0.0462, 0.0178])
    >>> kexue.entropy_normalize([[3, 1, 0], [1, 2, 3]], 1.5, target_kind="perplexity").round(4)
    array([[0.8597, 0.1403, 0.    ],
           [0.0045, 0.1251, 0.8703]])
    >>> kexue.entropy_normalize([3, 1, 0], 1.0)
    Traceback (most recent call last):
    kexue._errors.KexueValueError: target = 1 is above the largest entropy 0.69315 of p (2 positive entries); \
on_unreachable="limit" takes the nearest limit
    """
    return _normalize(
        Names("p"),
        p,
        target,
        domain=WEIGHTS,
        axis=axis,
        target_kind=target_kind,
        log=log,
        on_unreachable=on_unreachable,
        tol=tol,
        max_iter=max_iter,
        workers=workers,
        out=out,
    )


@overload
def entropy_normalize_logits(
    u: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = ...,
    target_kind: TargetKind = ...,
    log: Literal[True],
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> tuple[Any, EntropyNormalization]: ...
@overload
def entropy_normalize_logits(
    u: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = ...,
    target_kind: TargetKind = ...,
    log: bool = ...,
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> Any: ...
@same_kind
def entropy_normalize_logits(
    u: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    target_kind: TargetKind = "entropy",
    log: bool = False,
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
    out: np.ndarray | None = None,
) -> Any:
    """Distributions ``q = softmax(gamma * u)`` with a given entropy.

    The same as `entropy_normalize` of ``exp(u)``, without its overflow and underflow.

    Parameters
    ----------
    u : array_like or sparse matrix, shape (..., n)
        Logits; they need not be normalised. -inf is a probability of zero. In a sparse matrix a stored 0 is a logit
        like others, and an entry that is not stored has probability zero.
    target, axis, target_kind, log, on_unreachable, tol, max_iter, workers, out
        As in `entropy_normalize`.

    Returns
    -------
    q : ndarray, or sparse CSR matrix of the structure of `u`
        Probabilities, float32 if `u` is float32 or float16, else float64.
    info : EntropyNormalization
        Only if `log`.

    Raises
    ------
    KexueValueError
        As `entropy_normalize`, for entries that are NaN or inf, and rows of -inf.

    Warns
    -----
    ConvergenceWarning
        As `entropy_normalize`.

    See Also
    --------
    temperature_for_entropy : only 1 / gamma.
    entropy_normalize_logits_vjp : the gradient.

    Notes
    -----
    The costs are those of `entropy_normalize`.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> kexue.entropy_normalize_logits([5.0, 4.0, 1.0, -np.inf], 0.5, target_kind="fraction").round(4)
    array([0.692 , 0.2874, 0.0206, 0.    ])
    """
    return _normalize(
        Names("u"),
        u,
        target,
        domain=LOG_WEIGHTS,
        axis=axis,
        target_kind=target_kind,
        log=log,
        on_unreachable=on_unreachable,
        tol=tol,
        max_iter=max_iter,
        workers=workers,
        out=out,
    )


@overload
def perplexity_affinities(
    squared_distances: ArrayLike,
    perplexity: ArrayLike,
    *,
    exclude_diagonal: bool | None = ...,
    log: Literal[True],
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> tuple[Any, EntropyNormalization]: ...
@overload
def perplexity_affinities(
    squared_distances: ArrayLike,
    perplexity: ArrayLike,
    *,
    exclude_diagonal: bool | None = ...,
    log: bool = ...,
    on_unreachable: Literal["raise", "limit"] = ...,
    tol: float = ...,
    max_iter: int = ...,
    workers: int | None = ...,
    out: np.ndarray | None = ...,
) -> Any: ...
@same_kind
def perplexity_affinities(
    squared_distances: ArrayLike,
    perplexity: ArrayLike,
    *,
    exclude_diagonal: bool | None = None,
    log: bool = False,
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
    out: np.ndarray | None = None,
) -> Any:
    """Conditional affinities of t-SNE and its kin: Gaussian weights of neighbours, each row of a given perplexity.

    Row i is proportional to ``exp(-beta[i] * squared_distances[i])``, where beta is such that the perplexity
    exp(entropy), the effective number of neighbours, is the given one.

    Parameters
    ----------
    squared_distances : array_like or sparse matrix, shape (m, n)
        Between all points (n, n), from each point to its k nearest (n, k), or a sparse graph of neighbours (n, n).
        Only differences within a row matter. inf is a point that is no neighbour.
    perplexity : array_like
        A number, or one for each row.
    exclude_diagonal : bool, optional
        Leave out the point itself, entry [i, i]. By default, if the matrix is square: pass False where n points
        have n neighbours each.
    log : bool, optional
        Also return how it ended: ``info.gamma`` is beta.
    on_unreachable, tol, max_iter, workers, out
        As in `entropy_normalize`.

    Returns
    -------
    affinities : ndarray, or sparse CSR matrix of the structure of `squared_distances`
        Rows sum to 1. float32 if `squared_distances` is float32 or float16, else float64. The diagonal is 0 if it
        was excluded.
    info : EntropyNormalization
        Only if `log`.

    Raises
    ------
    KexueValueError
        As `entropy_normalize`: a perplexity above the number of neighbours of a row is out of reach.

    Warns
    -----
    ConvergenceWarning
        As `entropy_normalize`.

    See Also
    --------
    entropy_normalize_logits : the same for any logits and targets.

    Notes
    -----
    It solves for what ``sklearn.manifold._utils._binary_search_perplexity`` solves for, to the precision of the
    dtype in place of 1e-5 on the entropy. t-SNE's joint probabilities are ``(P + P.T) / (2 * n)``. The costs are
    those of `entropy_normalize`.

    References
    ----------
    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE", Journal of Machine Learning Research 9 (2008),
    2579-2605, https://www.jmlr.org/papers/v9/vandermaaten08a.html

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> x = np.array([0.0, 1.0, 3.0, 7.0])
    >>> P = kexue.perplexity_affinities((x[:, None] - x) ** 2, 2.0)
    >>> P.round(3)
    array([[0.   , 0.656, 0.333, 0.011],
           [0.604, 0.   , 0.392, 0.004],
           [0.223, 0.736, 0.   , 0.042],
           [0.067, 0.174, 0.76 , 0.   ]])
    """
    names = Names("squared_distances", "perplexity")
    settings: dict[str, Any] = {
        "target_kind": "perplexity",
        "on_unreachable": on_unreachable,
        "tol": tol,
        "max_iter": max_iter,
    }
    if is_lazy(squared_distances, perplexity):
        return _affinities_lazily(names, squared_distances, perplexity, exclude_diagonal, log, workers, out, settings)
    sparse = is_sparse(squared_distances)
    given: Any = squared_distances if sparse else as_real(names.values, squared_distances, ndim=2)
    exclude = _excludes_diagonal(given.shape, exclude_diagonal)
    rows: DenseRows | SparseRows
    if sparse:
        rows = SparseRows(names, given, perplexity, domain=COSTS, exclude_diagonal=exclude)
    else:
        rows = DenseRows(names, given, perplexity, domain=COSTS_OFF_DIAGONAL if exclude else COSTS)
        if rows.batch != rows.own_shape:
            raise KexueValueError(
                f"perplexity must be a scalar or have a number for each of the {given.shape[0]} rows of "
                f"squared_distances, but its shape is {rows.given_target.shape}"
            )
    return _solve(rows, Settings(**settings), log, workers, out)


def _excludes_diagonal(shape: tuple[int, ...], exclude_diagonal: bool | None) -> bool:
    square = len(shape) == 2 and shape[0] == shape[1]
    if exclude_diagonal and not square:
        raise KexueValueError(f"exclude_diagonal needs a square matrix, but squared_distances has shape {shape}")
    return square if exclude_diagonal is None else bool(exclude_diagonal)


def _affinities_lazily(
    names: Names,
    distances: Any,
    perplexity: Any,
    exclude_diagonal: bool | None,
    log: bool,
    workers: int | None,
    out: Any,
    settings: dict[str, Any],
) -> Any:
    if np.ndim(distances) != 2:
        raise KexueValueError(f"squared_distances must have 2 dimensions, but its shape is {np.shape(distances)}")
    if np.ndim(perplexity) > 1 or np.size(perplexity) not in (1, np.shape(distances)[0]):
        raise KexueValueError(
            f"perplexity must be a scalar or have a number for each of the {np.shape(distances)[0]} rows of "
            f"squared_distances, but its shape is {np.shape(perplexity)}"
        )
    if _excludes_diagonal(np.shape(distances), exclude_diagonal):
        # A chunk does not know which rows it holds.
        from dask.array import asarray, eye, where

        dtype = result_dtype(distances)
        distances = asarray(distances)
        diagonal = eye(distances.shape[0], chunks=distances.chunksize[0], dtype=bool).rechunk(distances.chunks)
        distances = where(diagonal, dtype.type(np.inf), distances.astype(dtype))
    return _normalize_lazily(names, distances, perplexity, COSTS, -1, log, workers, out, settings)


@same_kind
def temperature_for_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    target_kind: TargetKind = "entropy",
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
) -> Any:
    """The temperature T at which ``softmax(logits / T)`` has a given entropy.

    Parameters
    ----------
    logits : array_like or sparse matrix, shape (..., n)
        As in `entropy_normalize_logits`.
    target, axis, target_kind, on_unreachable, tol, max_iter, workers
        As in `entropy_normalize`.

    Returns
    -------
    temperature : ndarray or float
        float64, in the shape of `logits` without the axis, broadcast with that of the targets; a scalar for a single
        row. inf where only uniform probabilities have the entropy, and 0 for the limit of the largest entries alone.

    Raises
    ------
    KexueValueError
        As `entropy_normalize_logits`.

    Warns
    -----
    ConvergenceWarning
        As `entropy_normalize`.

    See Also
    --------
    entropy_normalize_logits : the probabilities themselves.

    Notes
    -----
    The costs are those of `entropy_normalize`. Dask arrays stay lazy, as there.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import kexue
    >>> print(f"{kexue.temperature_for_entropy([2.0, 1.0, 0.0, -1.0], 1.0):.6f}")
    1.092391
    """
    settings: dict[str, Any] = {
        "target_kind": target_kind,
        "on_unreachable": on_unreachable,
        "tol": tol,
        "max_iter": max_iter,
    }
    checked = Settings(**settings)
    if is_lazy(logits, target):

        def solve_chunk(chunk: np.ndarray, targets: np.ndarray) -> np.ndarray:
            return np.asarray(temperature_for_entropy(chunk, targets, workers=workers, **settings))

        return apply_rows(solve_chunk, "(n),()->()", logits, target, axis=axis, output_dtypes=[np.float64])
    rows = rows_of(Names("logits"), logits, target, domain=LOG_WEIGHTS, axis=axis)
    solved = rows.solve(checked, workers)
    with np.errstate(divide="ignore"):
        return rows.scalars(1.0 / solved.gamma)


# ---- the curve ----


@same_kind
def entropy_power_curve(p: ArrayLike, gamma: ArrayLike, *, axis: int = -1) -> tuple[Any, Any]:
    """The entropy of ``q ~ p**gamma``, and its derivative by gamma.

    Parameters
    ----------
    p : array_like, shape (..., n)
        Weights, finite and not negative, of any scale; a positive one in every row.
    gamma : array_like
        Exponents, finite and not negative. They broadcast with the shape of `p` without the axis.
    axis : int, optional
        The axis of the distributions.

    Returns
    -------
    entropy : ndarray or float
        In nats, float64, of the broadcast shape; a scalar for a single row.
    derivative : ndarray or float
        -gamma times the variance of log p under q, never positive.

    Raises
    ------
    KexueValueError
        Names the first bad entry of `p` or `gamma`.

    See Also
    --------
    entropy_normalize : finds the gamma of an entropy.

    Notes
    -----
    A few passes over the entries in NumPy. Entropies near 0 keep their relative precision. Dask arrays stay lazy.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import kexue
    >>> entropy, derivative = kexue.entropy_power_curve([0.5, 0.25, 0.15, 0.1], [0.0, 1.0, 1.7])
    >>> entropy.round(6), derivative.round(6)
    (array([1.386294, 1.207974, 0.942273]), array([ 0.      , -0.331529, -0.400643]))
    """
    if is_lazy(p, gamma):

        def curve_of_chunk(chunk: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            entropy, derivative = entropy_power_curve(chunk, exponents)
            return np.asarray(entropy), np.asarray(derivative)

        return apply_rows(curve_of_chunk, "(n),()->(),()", p, gamma, axis=axis, output_dtypes=[np.float64] * 2)
    weights = as_real("p", p, dtype=np.float64)
    if weights.ndim == 0:
        raise KexueValueError("p must have at least 1 dimension, but it is a scalar")
    place = check_axis("p", axis, weights.ndim)
    first_bad("p", weights, lambda entries: ~np.isfinite(entries))
    first_bad("p", weights, lambda entries: entries < 0, "is negative ({value})")
    exponents = as_real("gamma", gamma, dtype=np.float64)
    first_bad("gamma", exponents, lambda entries: ~((entries >= 0) & (entries < np.inf)), "is {value}")
    lines = np.moveaxis(weights, place, -1)
    if lines.shape[-1] == 0:
        raise KexueValueError(f"p has no entries along the axis: its shape is {weights.shape}")
    top = lines.max(axis=-1, keepdims=True)
    first_bad("p without its axis", top[..., 0], lambda entries: entries == 0, "has no positive entry")
    support, logs = lines > 0, _log_ratio(lines, top)
    logs[~support] = 0.0
    try:
        np.broadcast_shapes(lines.shape[:-1], exponents.shape)
    except ValueError:
        raise KexueValueError(
            f"gamma has shape {exponents.shape}, which does not broadcast with {lines.shape[:-1]}, "
            f"the shape {weights.shape} of p without the axis"
        ) from None
    scaled = exponents[..., None] * logs
    with np.errstate(under="ignore"):
        powers = np.where(support, np.exp(scaled), 0.0)
        # Of the largest entries, which give 1 each, one is counted by the logarithm itself.
        others = np.where(logs == 0, 0.0, powers).sum(axis=-1) + (((logs == 0) & support).sum(axis=-1) - 1)
        q = powers / (1 + others)[..., None]
        entropy = np.log1p(others) - (q * scaled).sum(axis=-1)
        centred = logs - (q * logs).sum(axis=-1, keepdims=True)
        derivative = 0.0 - exponents * (q * centred**2).sum(axis=-1)
    return entropy[()], derivative[()]


def _log_ratio(p: np.ndarray, top: np.ndarray) -> np.ndarray:
    """log(p / top) for p <= top, to a relative error of a few eps, zeros as -inf."""
    with np.errstate(divide="ignore", under="ignore"):
        ratio = p / top
        logs = np.log(ratio)
        # p - top is exact where the ratio is above one half.
        np.log1p((p - top) / top, out=logs, where=ratio > 0.5)
        lost = (ratio < 1e-290) & (p > 0)
        if lost.any():
            logs = np.where(lost, np.log(p) - np.log(top), logs)
    return logs
