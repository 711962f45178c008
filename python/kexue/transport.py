"""Optimal transport between discrete measures: exact (the earth mover's distance) and entropic (Sinkhorn)."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _transport
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, result_dtype
from kexue._context import status_name
from kexue._entropic import DEFAULT_MAX_ITER, Acceleration, Method, Settings, sinkhorn, sinkhorn2, solve_dense
from kexue._entropic_means import sinkhorn_barycenter, sinkhorn_divergence
from kexue._errors import KexueValueError, first_bad, raise_status, require_finite, require_nonnegative
from kexue._transport_arguments import Problem, as_weights, byte_offsets, check_problem, explain_failure

if TYPE_CHECKING:
    from scipy.sparse import coo_array

__all__ = [
    "TransportResult",
    "emd",
    "emd2",
    "emd2_1d",
    "emd_1d",
    "sinkhorn",
    "sinkhorn2",
    "sinkhorn_barycenter",
    "sinkhorn_divergence",
    "solve",
    "transport_lower_bound",
]

_POWERS = {"sqeuclidean": 2.0, "euclidean": 1.0, "cityblock": 1.0}


@dataclass(frozen=True)
class TransportResult:
    """The solution of a transport problem, or of a batch of them.

    Attributes
    ----------
    value : float or ndarray
        The optimal value of what was solved: with `reg` it has the entropic term.
    value_linear : float or ndarray
        ``<plan, M>``; equal to `value` for exact transport.
    potentials : tuple of ndarray
        ``(u, v)`` of shapes (..., m) and (..., n), in the units of the cost, shifted so that
        ``sum(a * u) == sum(b * v)``. Exact: ``u[i] + v[j] <= M[i, j]`` everywhere and equality where mass moves.
        With `reg`: ``plan == a[:, None] * b * exp((u[:, None] + v - M) / reg)``, and the sums add up to `value`.
    gap : float or ndarray
        The objective of the plan less ``sum(a * u) + sum(b * v)``. Exact: how far from optimal the plan can be at
        most. With `reg` its sign says nothing: the plan's columns are only right to ``error``.
    error : float or ndarray
        The L1 norm of what the plan's marginals are wrong by, as a share of the mass; 0 for exact transport.
    status : int or ndarray
        0 solved, 1 the iteration limit was reached.
    n_iter : int or ndarray
        Pivots, or passes over the kernel.

    Examples
    --------
    >>> import kexue
    >>> result = kexue.solve([[0.0, 2.0], [1.0, 3.0]])
    >>> result.value, result.gap
    (1.5, 0.0)
    """

    value: Any
    value_linear: Any
    potentials: tuple[np.ndarray, np.ndarray]
    gap: Any
    error: Any
    status: Any
    n_iter: Any
    _arrays: dict[str, np.ndarray] = field(repr=False)
    _shape: tuple[int, ...] = field(repr=False)
    _dtype: np.dtype = field(repr=False)

    @property
    def plan(self) -> np.ndarray:
        """The plan as a dense array of shape (..., m, n); made anew at each access."""
        if "plan" in self._arrays:
            return self._arrays["plan"].copy()
        plan = np.zeros(self._shape, dtype=self._dtype)
        problems = plan.reshape(-1, *self._shape[-2:])
        for k, problem in enumerate(problems):
            rows, columns, masses = self._entries(k)
            problem[rows, columns] = masses
        return plan

    @property
    def sparse_plan(self) -> coo_array | np.ndarray:
        """The plan's non-zero entries as a `scipy.sparse.coo_array`; for a batch an array of them.

        An exact plan has at most m + n - 1 entries, an entropic one m n.
        """
        from scipy.sparse import coo_array

        batch = self._shape[:-2]
        plans = np.empty(batch, dtype=object)
        for k in range(plans.size):
            rows, columns, masses = self._entries(k)
            one = coo_array((masses.astype(self._dtype, copy=False), (rows, columns)), shape=self._shape[-2:])
            if not batch:
                return one
            plans[np.unravel_index(k, batch)] = one
        return plans

    @property
    def gradients(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The gradients of `value` with respect to `a`, `b` and `M`: the potentials and the plan.

        Weights keep their total, so the first two are given up to a constant: they have mean 0. Exact transport has
        kinks; there this is one of its subgradients.
        """
        u, v = self.potentials
        return u - u.mean(axis=-1, keepdims=True), v - v.mean(axis=-1, keepdims=True), self.plan

    def _entries(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if "plan" in self._arrays:
            plan = self._arrays["plan"].reshape(-1, *self._shape[-2:])[k]
            rows, columns = plan.nonzero()
            return rows, columns, plan[rows, columns]
        count = self._arrays["entry_counts"][k]
        rows, columns, masses = (self._arrays[name][k, :count] for name in ("rows", "columns", "masses"))
        return rows, columns, masses


def _run(problem: Problem, max_iter: int | None, workers: int | None, **wanted: bool) -> dict[str, np.ndarray]:
    m, n = problem.M.shape[-2:]
    if max_iter is not None:
        try:
            max_iter = operator.index(max_iter)
        except TypeError:
            raise TypeError(f"max_iter must be an integer or None, not {type(max_iter).__name__}") from None
    if max_iter is not None and not 1 <= max_iter < 2**63:
        raise KexueValueError(f"max_iter must be at least 1 and below 2**63, got {max_iter}")
    count = problem.count
    outputs = _transport.allocate_outputs(count, m, n, **wanted)
    status, failed = _transport.emd(
        problem.a, problem.b, problem.M, count,
        byte_offsets(problem.a, problem.batch, 1), byte_offsets(problem.b, problem.batch, 1),
        byte_offsets(problem.M, problem.batch, 2), problem.M.strides[-2], problem.totals_tolerance,
        max_iter or 0, outputs, workers,
    )  # fmt: skip
    if status < 0 and status_name(status) == "KX_E_OVERFLOW" and _LARGE < _largest(problem.M) < np.inf:
        return _run_scaled(problem, max_iter, workers, **wanted)
    if status < 0:
        explain_failure(problem, status, failed)
    if status > 0:
        stopped = int(np.count_nonzero(outputs["statuses"]))
        raise_status(status, f"{stopped} of {count} transport problems stopped at max_iter={max_iter} pivots; "
                             "the plans are feasible but not optimal, gap tells by how much at most")  # fmt: skip
    return outputs


# Above this the core's sums of costs could overflow, so it refuses; a power of two brings such costs back.
_LARGE, _DOWN = 1e280, 2.0**-200


def _largest(M: np.ndarray) -> float:
    finite = np.isfinite(M)
    return float(np.abs(M[finite]).max()) if finite.any() else 0.0


def _run_scaled(problem: Problem, max_iter: int | None, workers: int | None, **wanted: bool) -> dict[str, np.ndarray]:
    outputs = _run(replace(problem, M=problem.M * _DOWN), max_iter, workers, **wanted)
    with np.errstate(over="ignore"):
        for array in (outputs.get("costs"), outputs.get("u"), outputs.get("v")):
            if array is not None:
                array /= _DOWN
        if "results" in outputs:
            outputs["results"]["gap"] /= _DOWN
    if not np.isfinite(outputs["costs"]).all():
        raise OverflowError("the transport cost is too large for float64")
    return outputs


@overload
def emd(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: Literal[False] = ...,
    max_iter: int | None = ...,
    workers: int | None = ...,
) -> np.ndarray: ...
@overload
def emd(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: Literal[True],
    max_iter: int | None = ...,
    workers: int | None = ...,
) -> tuple[np.ndarray, dict[str, Any]]: ...
@overload
def emd(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: bool,
    max_iter: int | None = ...,
    workers: int | None = ...,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]: ...
@same_kind
def emd(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: bool = False,
    max_iter: int | None = None,
    workers: int | None = None,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]:
    """Optimal transport plan between two sets of weights.

    The plan P minimises ``sum(P * M)`` over ``P >= 0`` with row sums `a` and column sums `b`.

    Parameters
    ----------
    a : array_like, shape (..., m), or None
        Non-negative weights of the rows. None or an empty list: uniform, of sum 1.
    b : array_like, shape (..., n), or None
        Non-negative weights of the columns, of the same total as `a` up to a relative 1e-9 (1e-6 where weights
        are float32); they are rescaled to it exactly.
    M : array_like, shape (..., m, n)
        Costs: any finite numbers; ``inf`` forbids to move mass from i to j. Leading dimensions of the three
        arguments broadcast: each combination is one problem.
    log : bool, optional
        Also return a dict with ``cost``, ``u``, ``v`` (potentials), ``gap``, ``n_iter`` and ``status``, as in
        `TransportResult`.
    max_iter : int, optional
        Pivots per problem at most. There is no limit by default: the method ends by itself.
    workers : int, optional
        Threads for a batch: 1 is serial, -1 all processors, None the default of `kexue.threads`. The result is
        the same for any number, to the bit.

    Returns
    -------
    plan : ndarray, shape (..., m, n)
        float32 if all floating-point arguments are, else float64.
    log : dict
        Only with ``log=True``.

    Raises
    ------
    KexueValueError
        Names the first bad entry: a NaN, an infinite or negative weight, a NaN or ``-inf`` cost; says both
        totals where they differ; or says that the forbidden entries leave no feasible plan.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached; the plan is then feasible but may not be optimal.

    See Also
    --------
    emd2 : the cost alone, which is faster.
    solve : plan, potentials and certificate in one object.

    Notes
    -----
    Network simplex with perturbed integer flows: about O(m n sqrt(m + n)) in practice. Each result can be checked:
    ``gap`` bounds the distance to the optimum. See Peyré and Cuturi, *Computational Optimal Transport*,
    doi:10.1561/2200000073, chapter 3.

    Examples
    --------
    >>> import kexue
    >>> kexue.emd([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]])
    array([[0.25, 0.25],
           [0.  , 0.5 ]])
    """
    problem = check_problem(a, b, M)
    m, n = problem.M.shape[-2:]
    outputs = _run(problem, max_iter, workers, plans=True, potentials=log, results=log)
    plan = problem.shaped(outputs["plans"], m, n)
    return (plan, _log(problem, outputs)) if log else plan


def _log(problem: Problem, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
    m, n = problem.M.shape[-2:]
    results = outputs["results"]
    return {
        "cost": problem.shaped(outputs["costs"]),
        "u": problem.shaped(outputs["u"], m),
        "v": problem.shaped(outputs["v"], n),
        "gap": problem.shaped(results["gap"], dtype=np.float64),
        "n_iter": problem.shaped(results["iterations"], dtype=np.int64),
        "status": problem.shaped(outputs["statuses"], dtype=np.int32),
    }


@overload
def emd2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: Literal[True],
    max_iter: int | None = ...,
    workers: int | None = ...,
) -> tuple[Any, dict[str, Any]]: ...
@overload
def emd2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: bool = ...,
    max_iter: int | None = ...,
    workers: int | None = ...,
) -> Any: ...
def emd2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    log: bool = False,
    max_iter: int | None = None,
    workers: int | None = None,
) -> Any:
    """Optimal transport cost between two sets of weights: the earth mover's distance.

    Parameters
    ----------
    a, b, M, log, max_iter, workers
        As in `emd`.

    Returns
    -------
    cost : float or ndarray, shape (...)
        ``sum(plan * M)`` for the optimal plan; an array for a batch.
    log : dict
        Only with ``log=True``: as in `emd`.

    Raises
    ------
    KexueValueError
        As in `emd`. A failure is never a number.

    See Also
    --------
    emd : the plan.

    Notes
    -----
    As in `emd`. The gradient of the cost with respect to `M` is the plan, and with respect to `a` and `b` the
    potentials, up to a constant.

    Examples
    --------
    >>> import kexue
    >>> kexue.emd2([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]])
    0.25

    Many problems in one call, here one histogram against two:

    >>> kexue.emd2([0.5, 0.5], [[0.25, 0.75], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    array([0.25, 0.5 ])
    """
    if workers is None and max_iter is None and not log:
        cost = _transport.emd2_plain(a, b, M)
        if cost is not None:
            return cost
    return _costs(a, b, M, log=log, max_iter=max_iter, workers=workers)


# Apart from `emd2`, which takes 0.5 us for a small problem and has none of other libraries' arrays there.
@same_kind
def _costs(
    a: ArrayLike | None, b: ArrayLike | None, M: ArrayLike, *, log: bool, max_iter: int | None, workers: int | None
) -> Any:
    problem = check_problem(a, b, M)
    outputs = _run(problem, max_iter, workers, potentials=log, results=log)
    cost = problem.shaped(outputs["costs"])
    return (cost, _log(problem, outputs)) if log else cost


# Beyond it sums of costs could overflow in the core.
_LARGEST_BOUNDED = np.finfo(np.float64).max / 1e8


@same_kind
def transport_lower_bound(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    *,
    sweeps: int = 5,
    reg: float = 0.15,
    log: bool = False,
    workers: int | None = None,
) -> Any:
    """Certified lower bound of `emd2`, for a small part of its price.

    Parameters
    ----------
    a, b : array_like or None
        Weights, as in `emd`.
    M : array_like, shape (..., m, n)
        Finite costs. Leading dimensions broadcast as in `emd`.
    sweeps : int, optional
        Sinkhorn sweeps: more of them make a better bound. 0 gives the relaxed bound of the rows, improved by one
        transform.
    reg : float, optional
        Their regularisation, as a share of the mean cost above its row's minimum. The best one for many sweeps is
        smaller than for few.
    log : bool, optional
        Also return a dict with ``u`` and ``v``, the potentials that prove the bound.
    workers : int, optional
        Threads for a batch, as in `emd`.

    Returns
    -------
    bound : float or ndarray, shape (...)
        ``a @ u + b @ v`` for potentials with ``u[i] + v[j] <= M[i, j]`` (up to a rounding), hence at most
        ``emd2(a, b, M)`` by weak duality.
    log : dict
        Only with ``log=True``.

    Raises
    ------
    KexueValueError
        As in `emd`; also for infinite costs.

    See Also
    --------
    emd2 : the exact cost.
    rwmd : the relaxed bound between documents.

    Notes
    -----
    The sweeps run in float32 and need not converge: the c-transforms ``u = min_j(M - v)`` and
    ``v = min_i(M - u)`` in float64 make any potentials feasible. O(m n sweeps) time, O(m n) memory. The sweeps are
    those of Cuturi, *Sinkhorn distances*, NIPS 2013, arXiv:1306.0895.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> costs = np.random.default_rng(0).random((20, 30))
    >>> kexue.transport_lower_bound(None, None, costs) / kexue.emd2(None, None, costs) > 0.9
    True
    """
    sweeps, reg = operator.index(sweeps), float(reg)
    if sweeps < 0:
        raise KexueValueError(f"sweeps must not be negative, got {sweeps}")
    if not 0 < reg < np.inf:
        raise KexueValueError(f"reg must be positive and finite, got {reg}")
    problem = check_problem(a, b, M)
    if problem.M.dtype != np.float64:
        problem = replace(problem, M=problem.M.astype(np.float64))
    status, failed, bounds, u, v = _transport.lower_bound(
        problem.a, problem.b, problem.M, problem.count,
        byte_offsets(problem.a, problem.batch, 1), byte_offsets(problem.b, problem.batch, 1),
        byte_offsets(problem.M, problem.batch, 2), problem.M.strides[-2], sweeps, reg, problem.totals_tolerance,
        workers,
    )  # fmt: skip
    if status < 0:
        if status_name(status) == "KX_E_NONFINITE":
            for argument, weights in (("a", problem.a), ("b", problem.b)):
                if weights is not None:
                    require_finite(argument, weights)
            first_bad("M", problem.M, lambda costs: ~(np.abs(costs) <= _LARGEST_BOUNDED))
        explain_failure(problem, status, failed)
    m, n = problem.M.shape[-2:]
    bound = problem.shaped(bounds)
    return (bound, {"u": problem.shaped(u, m), "v": problem.shaped(v, n)}) if log else bound


@same_kind
def solve(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: ArrayLike | None = None,
    *,
    method: Method = "auto",
    acceleration: Acceleration = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int | None = None,
    warmstart: tuple[ArrayLike, ArrayLike] | None = None,
    workers: int | None = None,
) -> TransportResult:
    """Solve a transport problem and return everything about the solution.

    Parameters
    ----------
    M : array_like, shape (..., m, n)
        Costs, as in `emd`.
    a, b : array_like, optional
        Weights, as in `emd`; uniform by default.
    reg : float or array_like, optional
        The regularisation, as in `sinkhorn`. None: exact transport.
    method, acceleration, epsilon_scaling, tol, warmstart
        As in `sinkhorn`; exact transport does not use them.
    max_iter : int, optional
        Pivots as in `emd`, or passes as in `sinkhorn`.
    workers : int, optional
        As in `emd`.

    Returns
    -------
    TransportResult

    Raises
    ------
    KexueValueError
        As in `emd` and `sinkhorn`.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached.

    See Also
    --------
    emd, emd2, sinkhorn, sinkhorn2

    Examples
    --------
    >>> import kexue
    >>> result = kexue.solve([[0.0, 2.0], [1.0, 3.0]], [0.5, 0.5], [0.25, 0.75])
    >>> result.value
    2.0
    >>> result.plan.sum(axis=0)
    array([0.25, 0.75])
    >>> result = kexue.solve([[0.0, 2.0], [1.0, 1.0]], reg=0.5)
    >>> round(result.value_linear, 6), round(result.value, 6)
    (0.619203, 0.78311)
    """
    if reg is None:
        return _solve_exactly(a, b, M, max_iter, workers)
    iterations = DEFAULT_MAX_ITER if max_iter is None else max_iter
    settings = Settings(method, acceleration, epsilon_scaling, tol, iterations)
    solution = solve_dense(a, b, M, reg, settings, warmstart, workers, {"costs", "plans", "potentials", "results"})
    log, problem = solution.log(), solution.problem
    return TransportResult(
        value=log["value"],
        value_linear=log["cost"],
        potentials=(log["u"], log["v"]),
        gap=solution.scalars("gaps", np.float64),
        error=log["error"],
        status=log["status"],
        n_iter=log["n_iter"],
        _arrays={"plan": solution.plan},
        _shape=problem.batch + problem.M.shape[-2:],
        _dtype=problem.dtype,
    )


def _solve_exactly(
    a: ArrayLike | None, b: ArrayLike | None, M: ArrayLike, max_iter: int | None, workers: int | None
) -> TransportResult:
    problem = check_problem(a, b, M)
    outputs = _run(problem, max_iter, workers, potentials=True, entries=True, results=True)
    log = _log(problem, outputs)
    return TransportResult(
        value=log["cost"],
        value_linear=log["cost"],
        potentials=(log["u"], log["v"]),
        gap=log["gap"],
        error=problem.shaped(np.zeros(problem.count), dtype=np.float64),
        status=log["status"],
        n_iter=log["n_iter"],
        _arrays={name: outputs[name] for name in ("rows", "columns", "masses", "entry_counts")},
        _shape=problem.batch + problem.M.shape[-2:],
        _dtype=problem.dtype,
    )


@dataclass
class _Line:
    """Checked arguments of transport on the line, all problems flat."""

    outputs: dict[str, np.ndarray]
    batch: tuple[int, ...]
    m: int
    n: int
    dtype: np.dtype


def _solve_line(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None,
    b: ArrayLike | None,
    metric: str,
    p: float,
    workers: int | None,
    *,
    entries: bool,
) -> _Line:
    if metric in _POWERS:
        power = _POWERS[metric]
    elif metric == "minkowski":
        power = float(p)
        if not power >= 1 or power == np.inf:
            raise KexueValueError(f"p must be finite and at least 1, where the sorted plan is optimal, got {p!r}")
    else:
        raise KexueValueError(f'metric must be "sqeuclidean", "euclidean", "cityblock" or "minkowski", got {metric!r}')
    points = []
    for name, value in (("x_a", x_a), ("x_b", x_b)):
        array = as_real(name, value, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] == 0:
            raise KexueValueError(f"{name} must hold at least one point, but its shape is {array.shape}")
        require_finite(name, array)
        points.append(array)
    m, n = points[0].shape[-1], points[1].shape[-1]
    weights = [as_weights("a", a, m, "points"), as_weights("b", b, n, "points")]
    shapes = [array.shape[:-1] for array in (*points, *weights) if array is not None]
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise KexueValueError(f"the batch dimensions of x_a, x_b, a and b do not fit together: {shapes}") from None
    single = np.dtype(np.float32)
    exact = all(w is None or result_dtype(w) != single for w in (a, b))
    flat = [
        as_contiguous(np.broadcast_to(array, batch + array.shape[-1:]).reshape(-1, array.shape[-1]))
        for array in points
    ]
    orders = [np.argsort(array, axis=-1, kind="stable").astype(np.int64, copy=False) for array in flat]
    outputs = _transport.allocate_outputs(flat[0].shape[0], m, n, entries=entries)
    tolerance = 1e-9 if exact else 1e-6
    status = _transport.emd_1d(
        flat[0],
        flat[1],
        weights[0],
        weights[1],
        orders[0],
        orders[1],
        byte_offsets(weights[0], batch, 1),
        byte_offsets(weights[1], batch, 1),
        power,
        tolerance,
        outputs,
        workers,
    )
    if status:
        _explain_line(weights, batch, tolerance, status)
    return _Line(outputs, batch, m, n, result_dtype(x_a, x_b, a, b))


def _explain_line(weights: list[np.ndarray | None], batch: tuple[int, ...], tolerance: float, status: int) -> None:
    for name, array in zip("ab", weights, strict=True):
        if array is not None:
            require_finite(name, array)
            require_nonnegative(name, array)
    totals = [np.broadcast_to(1.0 if w is None else w.sum(axis=-1), batch) for w in weights]
    for name, total in zip("ab", totals, strict=True):
        first_bad(
            f"the total of {name}",
            np.asarray(total),
            lambda entries: entries == 0,
            "is 0: there is no mass to move",
        )
    bad = ~np.isclose(totals[0], totals[1], rtol=tolerance, atol=0)
    message = None
    if bad.any():
        k = np.unravel_index(int(np.argmax(bad)), batch)
        message = (
            f"a sums to {float(totals[0][k])!r} and b to {float(totals[1][k])!r}: "
            f"they may differ by {tolerance:g} relatively"
        )
    elif status_name(status) == "KX_E_OVERFLOW":
        message = "the points or the weights are too large for float64 arithmetic"
    raise_status(status, message)


Metric = Literal["sqeuclidean", "euclidean", "cityblock", "minkowski"]


@overload
def emd_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = ...,
    b: ArrayLike | None = ...,
    *,
    metric: Metric = ...,
    p: float = ...,
    log: Literal[False] = ...,
    workers: int | None = ...,
) -> np.ndarray: ...
@overload
def emd_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = ...,
    b: ArrayLike | None = ...,
    *,
    metric: Metric = ...,
    p: float = ...,
    log: Literal[True],
    workers: int | None = ...,
) -> tuple[np.ndarray, dict[str, Any]]: ...
@overload
def emd_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = ...,
    b: ArrayLike | None = ...,
    *,
    metric: Metric = ...,
    p: float = ...,
    log: bool,
    workers: int | None = ...,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]: ...
@same_kind
def emd_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    metric: Metric = "sqeuclidean",
    p: float = 1.0,
    log: bool = False,
    workers: int | None = None,
) -> np.ndarray | tuple[np.ndarray, dict[str, Any]]:
    """Optimal transport plan between weighted points of the real line.

    Parameters
    ----------
    x_a : array_like, shape (..., m)
        Points, in any order. Leading dimensions of all arguments broadcast.
    x_b : array_like, shape (..., n)
        Points.
    a, b : array_like, optional
        Weights of the points, as in `emd`; uniform by default.
    metric : {"sqeuclidean", "euclidean", "cityblock", "minkowski"}, optional
        The cost of moving from x to y: ``(x - y)**2``, ``abs(x - y)`` (both "euclidean" and "cityblock") or
        ``abs(x - y)**p``.
    p : float, optional
        The power of "minkowski", at least 1.
    log : bool, optional
        Also return a dict with ``cost``.
    workers : int, optional
        As in `emd`.

    Returns
    -------
    plan : ndarray, shape (..., m, n)
    log : dict
        Only with ``log=True``.

    Raises
    ------
    KexueValueError
        As in `emd`; also for points that are not finite.

    See Also
    --------
    emd2_1d : the cost alone, in O(m + n) memory.

    Notes
    -----
    For these convex costs the plan that keeps the order is optimal: O((m + n) log(m + n)) to sort. Santambrogio,
    *Optimal Transport for Applied Mathematicians*, doi:10.1007/978-3-319-20828-2, theorem 2.9.

    Examples
    --------
    >>> import kexue
    >>> kexue.emd_1d([0.0, 1.0], [3.0, 2.0])
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    line = _solve_line(x_a, x_b, a, b, metric, p, workers, entries=True)
    outputs = line.outputs
    plan = np.zeros((len(outputs["costs"]), line.m, line.n), dtype=line.dtype)
    for k, count in enumerate(outputs["entry_counts"]):
        plan[k, outputs["rows"][k, :count], outputs["columns"][k, :count]] = outputs["masses"][k, :count]
    plan = plan.reshape(line.batch + plan.shape[1:])
    return (plan, {"cost": _line_cost(line)}) if log else plan


@same_kind
def emd2_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    *,
    metric: Metric = "sqeuclidean",
    p: float = 1.0,
    workers: int | None = None,
) -> Any:
    """Optimal transport cost between weighted points of the real line.

    Parameters
    ----------
    x_a, x_b, a, b, metric, p, workers
        As in `emd_1d`.

    Returns
    -------
    cost : float or ndarray, shape (...)
        For "minkowski" the cost itself, not its p-th root.

    Raises
    ------
    KexueValueError
        As in `emd_1d`.

    See Also
    --------
    emd_1d : the plan.

    Examples
    --------
    >>> import kexue
    >>> kexue.emd2_1d([0.0, 1.0], [3.0, 2.0], metric="euclidean")
    2.0
    """
    return _line_cost(_solve_line(x_a, x_b, a, b, metric, p, workers, entries=False))


def _line_cost(line: _Line) -> Any:
    with np.errstate(over="ignore"):
        costs = line.outputs["costs"].reshape(line.batch).astype(line.dtype, copy=False)
    if np.isinf(costs).any():
        raise OverflowError("the cost is too large for float32; pass float64 arrays")
    if costs.ndim:
        return costs
    return costs.item() if costs.dtype == np.float64 else costs[()]
