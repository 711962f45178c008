"""Exact optimal transport between discrete measures: the earth mover's distance."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _transport
from kexue._arrays import as_contiguous, as_real, result_dtype
from kexue._context import status_name
from kexue._errors import KexueValueError, first_bad, raise_status, require_finite, require_nonnegative

if TYPE_CHECKING:
    from scipy.sparse import coo_array

__all__ = ["TransportResult", "emd", "emd2", "emd2_1d", "emd_1d", "solve", "transport_lower_bound"]

_POWERS = {"sqeuclidean": 2.0, "euclidean": 1.0, "cityblock": 1.0}


@dataclass(frozen=True)
class TransportResult:
    """The solution of a transport problem, or of a batch of them.

    Attributes
    ----------
    value : float or ndarray
        The optimal value of what was solved.
    value_linear : float or ndarray
        ``<plan, M>``; equal to `value` for exact transport.
    potentials : tuple of ndarray
        ``(u, v)`` of shapes (..., m) and (..., n), in the units of the cost, with ``u[i] + v[j] <= M[i, j]``
        everywhere and equality where mass moves. They are shifted so that ``sum(a * u) == sum(b * v)``.
    gap : float or ndarray
        ``value - (sum(a * u) + sum(b * v))``: how far from optimal the plan can be at most.
    status : int or ndarray
        0 solved, 1 the iteration limit was reached.
    n_iter : int or ndarray
        Pivots.

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
    status: Any
    n_iter: Any
    _arrays: dict[str, np.ndarray] = field(repr=False)
    _shape: tuple[int, ...] = field(repr=False)
    _dtype: np.dtype = field(repr=False)

    @property
    def plan(self) -> np.ndarray:
        """The plan as a dense array of shape (..., m, n), made anew at each access."""
        plan = np.zeros(self._shape, dtype=self._dtype)
        problems = plan.reshape(-1, *self._shape[-2:])
        for k, problem in enumerate(problems):
            rows, columns, masses = self._entries(k)
            problem[rows, columns] = masses
        return plan

    @property
    def sparse_plan(self) -> coo_array | np.ndarray:
        """The plan as a `scipy.sparse.coo_array` of at most m + n - 1 entries; for a batch an array of them."""
        from scipy.sparse import coo_array

        batch = self._shape[:-2]
        plans = np.empty(batch, dtype=object)
        for k in range(plans.size):
            rows, columns, masses = self._entries(k)
            one = coo_array((masses.astype(self._dtype), (rows, columns)), shape=self._shape[-2:])
            if not batch:
                return one
            plans[np.unravel_index(k, batch)] = one
        return plans

    def _entries(self, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        count = self._arrays["entry_counts"][k]
        return tuple(self._arrays[name][k, :count] for name in ("rows", "columns", "masses"))


@dataclass
class _Problem:
    """Checked arguments: what the core reads, and what results are cast to."""

    a: np.ndarray | None
    b: np.ndarray | None
    M: np.ndarray
    batch: tuple[int, ...]
    dtype: np.dtype
    totals_tolerance: float

    @property
    def count(self) -> int:
        return int(np.prod(self.batch))

    def shaped(self, flat: np.ndarray, *core: int, dtype: Any = None) -> Any:
        """A flat result in the batch's shape: a Python or NumPy scalar where there is no batch."""
        with np.errstate(over="ignore"):
            result = flat.reshape(self.batch + core).astype(dtype or self.dtype, copy=False)
        if result.dtype == np.float32 and np.isinf(result).any():
            raise OverflowError("the result is too large for float32; pass float64 arrays")
        if result.ndim:
            return result
        return result.item() if result.dtype in (np.float64, np.int64, np.int32) else result[()]


def _weights(name: str, value: ArrayLike | None, size: int, axis: str) -> np.ndarray | None:
    if value is None or (hasattr(value, "__len__") and len(value) == 0 and np.ndim(value) == 1):
        return None
    weights = _contiguous_rows(as_real(name, value, dtype=np.float64), 1)
    if weights.ndim == 0:
        raise KexueValueError(f"{name} must be an array of weights, got a scalar")
    if weights.shape[-1] != size:
        raise KexueValueError(
            f"{name} has {weights.shape[-1]} weights (shape {weights.shape}), but M has {size} {axis}"
        )
    return weights


def _contiguous_rows(array: np.ndarray, core: int) -> np.ndarray:
    """The array itself if its last axis is contiguous and it is aligned, else a contiguous copy of it.

    The `core` last axes must not overlap themselves: a broadcast one is copied.
    """
    strides = array.strides[array.ndim - core :] if array.ndim >= core else ()
    sound = array.flags.aligned and (not strides or strides[-1] == array.itemsize or array.shape[-1] == 1)
    return array if sound else as_contiguous(array)


def _check(a: ArrayLike | None, b: ArrayLike | None, M: ArrayLike) -> _Problem:
    costs = _contiguous_rows(as_real("M", M), 2)
    if costs.ndim < 2:
        raise KexueValueError(f"M must have at least 2 dimensions, but its shape is {costs.shape}")
    m, n = costs.shape[-2:]
    if m == 0 or n == 0:
        raise KexueValueError(f"M has no entries: its shape is {costs.shape}")
    a_weights, b_weights = _weights("a", a, m, "rows"), _weights("b", b, n, "columns")
    shapes = [costs.shape[:-2]] + [w.shape[:-1] for w in (a_weights, b_weights) if w is not None]
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise KexueValueError(
            f"the batch dimensions of a, b and M do not fit together: {', '.join(map(str, shapes[1:] + shapes[:1]))}"
        ) from None
    single = np.dtype(np.float32)
    exact = all(w is None or result_dtype(w) != single for w in (a, b))
    return _Problem(a_weights, b_weights, costs, batch, result_dtype(a, b, M), 1e-9 if exact else 1e-6)


def _offsets(array: np.ndarray | None, batch: tuple[int, ...], core: int) -> np.ndarray | None:
    """Where each problem of the batch starts in a broadcast array, in bytes."""
    if array is None:
        return None
    strides = np.broadcast_to(array, batch + array.shape[array.ndim - core :]).strides[: len(batch)]
    offsets = np.zeros(batch, dtype=np.int64)
    for axis, stride in enumerate(strides):
        shape = [1] * len(batch)
        shape[axis] = batch[axis]
        offsets += (np.arange(batch[axis], dtype=np.int64) * stride).reshape(shape)
    return offsets.ravel()


def _run(problem: _Problem, max_iter: int | None, workers: int | None, **wanted: bool) -> dict[str, np.ndarray]:
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
        _offsets(problem.a, problem.batch, 1), _offsets(problem.b, problem.batch, 1),
        _offsets(problem.M, problem.batch, 2), problem.M.strides[-2], problem.totals_tolerance,
        max_iter or 0, outputs, workers,
    )  # fmt: skip
    if status < 0 and status_name(status) == "KX_E_OVERFLOW" and _LARGE < _largest(problem.M) < np.inf:
        return _run_scaled(problem, max_iter, workers, **wanted)
    if status < 0:
        _explain(problem, status, failed)
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


def _run_scaled(problem: _Problem, max_iter: int | None, workers: int | None, **wanted: bool) -> dict[str, np.ndarray]:
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


def _explain(problem: _Problem, status: int, failed: int) -> None:
    """Raise the exception for a failed problem, with the first bad place where there is one."""
    name = status_name(status)
    where = ""
    if failed >= 0 and problem.batch:
        where = f" (problem {', '.join(map(str, np.unravel_index(failed, problem.batch)))} of the batch)"
    if name in ("KX_E_NONFINITE", "KX_E_NEGATIVE"):
        for argument, weights in (("a", problem.a), ("b", problem.b)):
            if weights is not None:
                require_finite(argument, weights)
                require_nonnegative(argument, weights)
        first_bad("M", problem.M, lambda costs: np.isnan(costs) | (costs == -np.inf))
    message = None
    if name in ("KX_E_TOTALS", "KX_E_EMPTY"):
        totals = []
        for weights in (problem.a, problem.b):
            if weights is None:
                totals.append(1.0)
            else:
                flat = np.broadcast_to(weights, problem.batch + weights.shape[-1:]).reshape(-1, weights.shape[-1])
                totals.append(float(flat[failed].sum()))
        if name == "KX_E_EMPTY":
            message = f"{'a' if totals[0] == 0 else 'b'} sums to 0{where}: there is no mass to move"
        else:
            message = (
                f"a sums to {totals[0]!r} and b to {totals[1]!r}{where}: "
                f"they may differ by {problem.totals_tolerance:g} relatively"
            )
    elif name == "KX_E_INFEASIBLE":
        message = f"no plan is feasible{where}: the infinite entries of M forbid every way to move the mass"
    elif name == "KX_E_OVERFLOW":
        message = (
            "M or the weights are too large (or the weights too small) for float64, "
            f"or the problem for this machine{where}"
        )
    raise_status(status, message)


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
    problem = _check(a, b, M)
    m, n = problem.M.shape[-2:]
    outputs = _run(problem, max_iter, workers, plans=True, potentials=log, results=log)
    plan = problem.shaped(outputs["plans"], m, n)
    return (plan, _log(problem, outputs)) if log else plan


def _log(problem: _Problem, outputs: dict[str, np.ndarray]) -> dict[str, Any]:
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
    problem = _check(a, b, M)
    outputs = _run(problem, max_iter, workers, potentials=log, results=log)
    cost = problem.shaped(outputs["costs"])
    return (cost, _log(problem, outputs)) if log else cost


# Beyond it sums of costs could overflow in the core.
_LARGEST_BOUNDED = np.finfo(np.float64).max / 1e8


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
    problem = _check(a, b, M)
    if problem.M.dtype != np.float64:
        problem = replace(problem, M=problem.M.astype(np.float64))
    status, failed, bounds, u, v = _transport.lower_bound(
        problem.a, problem.b, problem.M, problem.count,
        _offsets(problem.a, problem.batch, 1), _offsets(problem.b, problem.batch, 1),
        _offsets(problem.M, problem.batch, 2), problem.M.strides[-2], sweeps, reg, problem.totals_tolerance, workers,
    )  # fmt: skip
    if status < 0:
        if status_name(status) == "KX_E_NONFINITE":
            for argument, weights in (("a", problem.a), ("b", problem.b)):
                if weights is not None:
                    require_finite(argument, weights)
            first_bad("M", problem.M, lambda costs: ~(np.abs(costs) <= _LARGEST_BOUNDED))
        _explain(problem, status, failed)
    m, n = problem.M.shape[-2:]
    bound = problem.shaped(bounds)
    return (bound, {"u": problem.shaped(u, m), "v": problem.shaped(v, n)}) if log else bound


def solve(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: None = None,
    *,
    max_iter: int | None = None,
    workers: int | None = None,
) -> TransportResult:
    """Solve a transport problem and return everything about the solution.

    Parameters
    ----------
    M : array_like, shape (..., m, n)
        Costs, as in `emd`.
    a, b : array_like, optional
        Weights, as in `emd`; uniform by default.
    reg : None
        Regularisation. Only exact transport (None) is available.
    max_iter, workers : int, optional
        As in `emd`.

    Returns
    -------
    TransportResult

    Raises
    ------
    KexueValueError
        As in `emd`.

    See Also
    --------
    emd, emd2

    Examples
    --------
    >>> import kexue
    >>> result = kexue.solve([[0.0, 2.0], [1.0, 3.0]], [0.5, 0.5], [0.25, 0.75])
    >>> result.value
    2.0
    >>> result.plan.sum(axis=0)
    array([0.25, 0.75])
    """
    if reg is not None:
        raise KexueValueError(f"reg must be None, for exact transport, got {reg!r}")
    problem = _check(a, b, M)
    outputs = _run(problem, max_iter, workers, potentials=True, entries=True, results=True)
    log = _log(problem, outputs)
    return TransportResult(
        value=log["cost"],
        value_linear=log["cost"],
        potentials=(log["u"], log["v"]),
        gap=log["gap"],
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
    weights = [_weights("a", a, m, "points"), _weights("b", b, n, "points")]
    shapes = [array.shape[:-1] for array in (*points, *weights) if array is not None]
    try:
        batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise KexueValueError(f"the batch dimensions of x_a, x_b, a and b do not fit together: {shapes}") from None
    single = np.dtype(np.float32)
    exact = all(w is None or result_dtype(w) != single for w in (a, b))
    flat = [
        np.ascontiguousarray(np.broadcast_to(array, batch + array.shape[-1:]).reshape(-1, array.shape[-1]))
        for array in points
    ]
    orders = [np.argsort(array, axis=-1, kind="stable").astype(np.int64, copy=False) for array in flat]
    outputs = _transport.allocate_outputs(flat[0].shape[0], m, n, entries=entries)
    tolerance = 1e-9 if exact else 1e-6
    status = _transport.emd_1d(
        *flat,
        *weights,
        *orders,
        *(_offsets(w, batch, 1) for w in weights),
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
    bad = ~np.isclose(*totals, rtol=tolerance, atol=0)
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
