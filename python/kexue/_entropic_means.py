"""What is built of entropic transport: the debiased divergence of two samples, and barycenters of histograms."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _transport
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, result_dtype
from kexue._context import status_name
from kexue._entropic import DEFAULT_MAX_ITER, Acceleration, Method, Settings, check_reg, solve_dense
from kexue._errors import KexueValueError, first_bad, raise_status, require_finite, require_nonnegative
from kexue._transport_arguments import Problem, as_weights, explain_failure

PointMetric = Literal["sqeuclidean", "euclidean", "cosine", "precomputed"]


@same_kind
def sinkhorn_divergence(
    X: ArrayLike,
    Y: ArrayLike | tuple[ArrayLike, ArrayLike],
    reg: float,
    *,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: PointMetric = "sqeuclidean",
    method: Method = "auto",
    acceleration: Acceleration = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int = DEFAULT_MAX_ITER,
    log: bool = False,
    workers: int | None = None,
) -> Any:
    """Sinkhorn divergence between two weighted samples: entropic transport without its bias.

    ``S = OT(x, y) - (OT(x, x) + OT(y, y)) / 2``, where OT is the regularised value (the ``value`` of `solve`).

    Parameters
    ----------
    X : array_like, shape (m, d)
        Points. With ``metric="precomputed"``, the costs between x and y, of shape (m, n).
    Y : array_like, shape (n, d)
        Points. With ``metric="precomputed"``, the pair of the costs within x, (m, m), and within y, (n, n).
    reg : float
        The regularisation, positive, in the units of the cost.
    a, b : array_like, optional
        Weights of the points, of equal totals; uniform of sum 1 by default.
    metric : {"sqeuclidean", "euclidean", "cosine", "precomputed"}, optional
        The cost between two points: ``|x - y|**2``, ``|x - y|`` or ``1 - x @ y / (|x| |y|)``.
    method, acceleration, epsilon_scaling, tol, max_iter, workers
        As in `sinkhorn`. Kernels of more than 2**24 entries are not kept with method "auto".
    log : bool, optional
        Also return a dict with ``values`` (OT of x and y, x and x, y and y), ``errors`` and ``n_iter`` (three each).

    Returns
    -------
    divergence : float
        At least 0 up to the errors of the three values (for the first three metrics), and 0 for equal measures.
    log : dict
        Only with ``log=True``.

    Raises
    ------
    KexueValueError
        Points that are not finite or of different dimensions, a point 0 with "cosine", bad weights, bad `reg`.

    Warns
    -----
    ConvergenceWarning
        If one of the three problems reached `max_iter`.

    See Also
    --------
    sinkhorn, solve

    Notes
    -----
    O(m n d) a pass, and O((m + n) d) memory beyond kernels that are kept: costs are made anew where they are needed, as
    sums of squared differences. The terms of x and of y with themselves use the symmetric iteration. Feydy et al.,
    *Interpolating between optimal transport and MMD using Sinkhorn divergences*, arXiv:1810.08278.

    Examples
    --------
    >>> import kexue
    >>> x, y = [[0.0], [1.0]], [[2.0], [3.0]]
    >>> round(kexue.sinkhorn_divergence(x, y, 0.1), 9)
    4.0
    >>> kexue.sinkhorn_divergence(x, x, 0.1)
    0.0
    """
    settings = Settings(method, acceleration, epsilon_scaling, tol, max_iter)
    regs = check_reg(reg)
    if regs.ndim:
        raise KexueValueError(f"reg must be a number, but its shape is {regs.shape}")
    if metric == "precomputed":
        return _divergence_of_costs(X, Y, float(regs), a, b, settings, log, workers)
    if metric not in _transport.POINT_METRICS:
        allowed = ", ".join(f'"{name}"' for name in (*_transport.POINT_METRICS, "precomputed"))
        raise KexueValueError(f"metric must be one of {allowed}, got {metric!r}")
    x, y = _points("X", X, metric), _points("Y", Y, metric)
    if x.shape[1] != y.shape[1]:
        raise KexueValueError(f"X has points of {x.shape[1]} dimensions (shape {x.shape}), but Y has {y.shape}")
    a_weights, b_weights = as_weights("a", a, len(x), "points"), as_weights("b", b, len(y), "points")
    for name, weights in (("a", a_weights), ("b", b_weights)):
        if weights is not None and weights.ndim != 1:
            raise KexueValueError(f"{name} must have 1 dimension, but its shape is {weights.shape}")
    single = np.dtype(np.float32)
    exact = all(w is None or result_dtype(w) != single for w in (a, b))
    core = settings.to_core(1e-9 if exact else 1e-6)
    index = _transport.POINT_METRICS.index(metric)
    a_weights, b_weights = (None if w is None else as_contiguous(w) for w in (a_weights, b_weights))
    solved = []
    # The problem of x and y first: it is the one that finds out whether the weights fit.
    for first, second, one, other in (
        (x, y, a_weights, b_weights),
        (x, None, a_weights, None),
        (y, None, b_weights, None),
    ):
        status, *result = _transport.sinkhorn_points(first, second, one, other, float(regs), index, core, workers)
        if status < 0:
            problem = Problem(one, other, np.zeros((1, 1)), (), x.dtype, core["totals_tolerance"])
            explain_failure(problem, status, 0)
        solved.append((status, *result))
    return _debias(solved, settings, result_dtype(X, Y, a, b), log)


def _points(name: str, value: Any, metric: str) -> np.ndarray:
    points = as_contiguous(as_real(name, value, ndim=2, dtype=np.float64))
    if points.size == 0:
        raise KexueValueError(f"{name} must hold at least one point of one dimension, but its shape is {points.shape}")
    require_finite(name, points)
    if metric == "cosine" and not points.any(axis=1).all():
        row = int(np.argmin(points.any(axis=1)))
        raise KexueValueError(f"{name}[{row}] is 0, which has no direction; {name} has shape {points.shape}")
    return points


def _divergence_of_costs(
    X: ArrayLike, Y: Any, reg: float, a: Any, b: Any, settings: Settings, log: bool, workers: int | None
) -> Any:
    if not isinstance(Y, (tuple, list)) or len(Y) != 2:
        raise KexueValueError('with metric="precomputed" Y must be the pair of the costs within x and within y')
    costs = [as_real(name, M, ndim=2) for name, M in (("X", X), ("Y[0]", Y[0]), ("Y[1]", Y[1]))]
    for k, size in enumerate(costs[0].shape):
        if costs[1 + k].shape != (size, size):
            raise KexueValueError(f"Y[{k}] must have shape ({size}, {size}) beside X, but it has {costs[1 + k].shape}")
    solved = []
    for M, one, other in zip(costs, (a, a, b), (b, a, b), strict=True):
        outputs = solve_dense(one, other, M, reg, settings, None, workers, {"results"}, warn=False).outputs
        solved.append(tuple(outputs[name][0] for name in ("statuses", "values", "errors", "iterations")))
    return _debias(solved, settings, result_dtype(X, *Y, a, b), log)


def _debias(solved: list[tuple[Any, ...]], settings: Settings, dtype: np.dtype, log: bool) -> Any:
    statuses, values, errors, iterations = (np.array(column) for column in zip(*solved, strict=True))
    if statuses.any():
        raise_status(
            int(statuses.max()),
            f"{np.count_nonzero(statuses)} of 3 Sinkhorn problems stopped at max_iter={settings.max_iter}; their "
            f"marginals are wrong by up to {errors[statuses > 0].max():.3g} of the mass, "
            f"tol={settings.tol:g} was asked for",
        )
    if not np.isfinite(values).all():
        raise OverflowError("the divergence is too large for float64")
    divergence = float(values[0] - (values[1] + values[2]) / 2)
    result = divergence if dtype == np.float64 else dtype.type(divergence)
    return (result, {"values": values, "errors": errors, "n_iter": iterations}) if log else result


@same_kind
def sinkhorn_barycenter(
    H: ArrayLike,
    M: ArrayLike,
    reg: float,
    *,
    weights: ArrayLike | None = None,
    acceleration: Acceleration = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int = DEFAULT_MAX_ITER,
    log: bool = False,
    workers: int | None = None,
) -> Any:
    """Entropic Wasserstein barycenter of histograms.

    The histogram p that minimises ``sum(weights[k] * W(H[k], p))``, W being the minimum of
    ``sum(P * M) + reg * sum(P * log(P))`` over the plans between the two.

    Parameters
    ----------
    H : array_like, shape (histograms, bins)
        Non-negative, each of a total that is not 0; each is divided by it.
    M : array_like, shape (bins, n)
        Finite costs, from the bins of `H` to those of the barycenter; mostly square.
    reg : float
        The regularisation, positive, in the units of the cost. It blurs: the barycenter of one histogram is not itself.
    weights : array_like, shape (histograms,), optional
        Non-negative; they are divided by their sum. Equal by default.
    acceleration, epsilon_scaling, max_iter, workers
        As in `sinkhorn`; "auto" and all others but "none" are Anderson's. A pass goes over all histograms.
    tol : float, optional
        The error to end with: the weighted mean of the L1 norms of the differences between a plan's column sums and p.
    log : bool, optional
        Also return a dict with ``error``, ``n_iter`` and ``status``.

    Returns
    -------
    p : ndarray, shape (n,)
        Of sum 1; float32 if all floating-point arguments are, else float64.
    log : dict
        Only with ``log=True``.

    Raises
    ------
    KexueValueError
        Entries that are negative or not finite, an empty histogram, shapes that do not fit, a bad `reg`.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached.

    See Also
    --------
    sinkhorn

    Notes
    -----
    O(histograms * bins * n) a pass; one kernel for all histograms as long as the potentials allow it. Benamou et al.,
    *Iterative Bregman projections*, arXiv:1412.5154, with Anderson's acceleration under the dual objective.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> bins = np.arange(5.0)
    >>> p = kexue.sinkhorn_barycenter([[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], (bins[:, None] - bins) ** 2, 0.5)
    >>> p.round(3)
    array([0.   , 0.106, 0.787, 0.106, 0.   ])
    """
    settings = Settings("auto", acceleration, epsilon_scaling, tol, max_iter)
    regs = check_reg(reg)
    if regs.ndim:
        raise KexueValueError(f"reg must be a number, but its shape is {regs.shape}")
    histograms = as_contiguous(as_real("H", H, ndim=2, dtype=np.float64))
    costs = as_contiguous(as_real("M", M, ndim=2, dtype=np.float64))
    if histograms.size == 0:
        raise KexueValueError(f"H has no entries: its shape is {histograms.shape}")
    if costs.shape[0] != histograms.shape[1] or costs.shape[1] == 0:
        raise KexueValueError(f"H has {histograms.shape[1]} bins (shape {histograms.shape}), but M has {costs.shape}")
    for name, array in (("H", histograms), ("M", costs)):
        require_finite(name, array)
    require_nonnegative("H", histograms)
    totals = histograms.max(axis=1, keepdims=True)
    first_bad("H", totals[:, 0], lambda entries: entries == 0, "sums to 0: there is no mass to move")
    histograms = histograms / totals
    histograms /= histograms.sum(axis=1, keepdims=True)
    shares = np.ones(len(histograms))
    if weights is not None:
        shares = as_real("weights", weights, ndim=1, dtype=np.float64)
        if len(shares) != len(histograms):
            raise KexueValueError(f"weights has {len(shares)} entries, but H has {len(histograms)} histograms")
        require_finite("weights", shares)
        require_nonnegative("weights", shares)
        if not shares.any():
            raise KexueValueError("weights sum to 0")
    used = shares > 0
    shares = shares[used] / shares.max()
    core = settings.to_core(1e-9)
    status, result, error, iterations = _transport.barycenter(
        np.ascontiguousarray(histograms[used]), costs, shares / shares.sum(), float(regs), core, workers
    )
    if status < 0 and status_name(status) == "KX_E_OVERFLOW":
        raise OverflowError("M is too large for float64 at this reg, or the problem for this machine")
    raise_status(
        status,
        f"the barycenter stopped at max_iter={settings.max_iter} with an error of {error:.3g}, "
        f"tol={settings.tol:g} was asked for"
        if status > 0
        else None,
    )
    result = result.astype(result_dtype(H, M, weights), copy=False)
    return (result, {"error": error, "n_iter": iterations, "status": status}) if log else result
