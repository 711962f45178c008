"""POT's functions for optimal transport: the same calls, shapes, logs and warnings, over kexue's solvers.

POT is not needed. ``from kexue.compat import pot as ot`` serves a script that uses the functions below on NumPy arrays.
"""

from __future__ import annotations

import sys
import warnings
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array, csr_matrix, issparse
from scipy.spatial.distance import cdist
from scipy.special import xlogy

import kexue
from kexue import KexueValueError

__all__ = [
    "InputError",
    "OTResult",
    "dist",
    "emd",
    "emd2",
    "emd2_1d",
    "emd_1d",
    "sinkhorn",
    "sinkhorn2",
    "solve",
    "unif",
    "wasserstein_1d",
]


class InputError(KexueValueError, AssertionError):
    """Weights or points that cannot be used. POT mostly refuses them with an AssertionError, so this is one, too.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> try:
    ...     ot.emd2([0.5, 0.5], [0.5, 0.6], [[0.0, 1.0], [1.0, 0.0]])
    ... except AssertionError as error:
    ...     print(error)
    a sums to 1.0 and b to 1.1: they must have the same sum, within 1.5e-06
    """


# ---- arguments ----

_TENSORS = {"cupy", "jax", "jaxlib", "tensorflow", "torch"}
_TOTALS = 1.5e-6  # POT's: six decimals
_FLOAT64 = np.dtype(np.float64)

LineMetric: TypeAlias = Literal["sqeuclidean", "minkowski", "cityblock", "euclidean"]


def _array(call: str, name: str, value: ArrayLike) -> np.ndarray:
    package = type(value).__module__.partition(".")[0]
    if package in _TENSORS:
        raise NotImplementedError(f"{name} is an array of {package}, kexue has NumPy arrays only: use {call} of POT")
    if issparse(value):
        raise NotImplementedError(
            f"{name} is sparse: use {call} of POT, or a dense array, where inf in M forbids to move mass"
        )
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it or drop the masked entries first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise KexueValueError(f"{name} is not an array of one shape: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}")
    return array


def _types(*values: Any) -> list[np.dtype]:
    """The types that have a say in that of the result: with POT, lists take the type of the first array."""
    return [value.dtype for value in values if isinstance(value, np.ndarray) and value.size]


def _floating(types: list[np.dtype]) -> np.dtype:
    """One type for them all, or float64 where POT would cut results off to integers."""
    dtype = np.result_type(*types) if types else _FLOAT64
    return dtype if dtype.kind == "f" else _FLOAT64


def _weights(call: str, name: str, value: ArrayLike | None, size: int, ndims: tuple[int, ...]) -> np.ndarray:
    weights = None if value is None else _array(call, name, value)
    if weights is None or weights.shape == (0,):
        return np.full(size, 1.0 / size)
    weights = weights.astype(np.float64, copy=False)
    if weights.ndim not in ndims:
        allowed = "1 dimension" if ndims == (1,) else "1 or 2 dimensions"
        raise InputError(f"{name} must have {allowed}, but its shape is {weights.shape}")
    if weights.shape[0] != size:
        raise InputError(f"{name} must have {size} weights, but its shape is {weights.shape}")
    _require(name, weights, (weights >= 0) & (weights < np.inf))
    return weights


def _require(name: str, array: np.ndarray, sound: np.ndarray) -> None:
    if not sound.all():
        index = np.unravel_index(int(np.argmin(sound)), array.shape)
        value = array[index]
        what = f"is negative ({value})" if -np.inf < value < 0 else f"is {value}"
        raise InputError(f"{name}[{', '.join(map(str, index))}] {what}; {name} has shape {array.shape}")


def _balanced(a: np.ndarray, b: np.ndarray, check: bool = True, names: tuple[str, str] = ("a", "b")) -> np.ndarray:
    """`b` with the totals of `a`; along the first axis both."""
    with np.errstate(over="ignore"):
        totals = a.sum(axis=0), b.sum(axis=0)
    for name, total in zip(names, totals, strict=True):
        bad = (total == 0) | (total == np.inf)
        if bad.any():
            raise InputError(f"{name} sums to {np.extract(bad, total)[0]}")
    differences = np.abs(totals[0] - totals[1])
    if check and (differences >= _TOTALS).any():
        first, second = (np.broadcast_to(total, differences.shape).flat[differences.argmax()] for total in totals)
        raise InputError(
            f"{names[0]} sums to {first} and {names[1]} to {second}: they must have the same sum, within {_TOTALS}"
        )
    # A smaller difference is the solvers' affair: they rescale b too, and keep equal weights equal.
    return b * (totals[0] / totals[1]) if (differences > 1e-10 * totals[0]).any() else b


@dataclass
class _Problem:
    a: np.ndarray
    b: np.ndarray  # (n,), or (n, k) for k targets
    M: np.ndarray
    types: list[np.dtype]


def _problem(
    call: str, a: ArrayLike | None, b: ArrayLike | None, M: ArrayLike, check: bool = True, targets: bool = True
) -> _Problem:
    costs = _array(call, "M", M)
    if costs.ndim != 2 or costs.size == 0:
        raise KexueValueError(f"M must have 2 dimensions and at least one entry, but its shape is {costs.shape}")
    rows = _weights(call, "a", a, costs.shape[0], (1,))
    columns = _weights(call, "b", b, costs.shape[1], (1, 2) if targets else (1,))
    return _Problem(rows, _balanced(rows, columns, check), costs, _types(a, b, M))


def _warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called into kexue."""
    level = 1
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kexue":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


# ---- exact transport ----

_SOLVED, _STOPPED = 1, 3  # POT's result codes
_UNLIMITED = 100_000
_PIVOTS = "numItermax reached before optimality: the plan is feasible, but may not be optimal"


def _check_threads(count: int | str | None) -> None:
    if count is None or isinstance(count, str) and count.lower() == "max":
        count = -1
    elif not isinstance(count, int) or count < 1:
        raise KexueValueError(f'numThreads must be a positive integer or "max", got {count!r}')
    if count != 1:
        _warn("numThreads has no effect, as in POT since 0.9.7: kexue.threads sets the threads", DeprecationWarning)


def _limit(count: float) -> int | None:
    """Pivots at most. Limits from POT's default on are meant for methods that may not end; kexue's does."""
    count = int(count)
    return None if count == 0 or count >= _UNLIMITED else count


def _exact(problem: _Problem, limit: int | None, plans: bool) -> list[dict[str, Any]]:
    """POT's log for each target, with the plan as G if wanted."""
    targets = problem.b.reshape(len(problem.b), -1).T
    solver = kexue.emd if plans else kexue.emd2
    with kexue.errstate(convergence="ignore"):
        found_plans, found = solver(problem.a, targets, problem.M, log=True, max_iter=limit)
    if found["status"].any():
        _warn(_PIVOTS)
    dtype = _floating(problem.types[:1])
    logs = []
    for k, status in enumerate(found["status"].tolist()):
        log = {
            "cost": float(found["cost"][k]),
            "u": found["u"][k].astype(dtype, copy=False),
            "v": found["v"][k].astype(dtype, copy=False),
            "warning": _PIVOTS if status else None,
            "result_code": _STOPPED if status else _SOLVED,
        }
        if plans:
            log["G"] = found_plans[k].astype(dtype, copy=False)
        logs.append(log)
    return logs


def emd(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    numItermax: int = 100000,
    log: bool = False,
    center_dual: bool = True,
    numThreads: int | str | None = 1,
    check_marginals: bool = True,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
) -> Any:
    """Optimal transport plan: ``ot.emd``.

    Parameters
    ----------
    a : array_like, shape (m,)
        Weights of the rows; empty or None: uniform.
    b : array_like, shape (n,)
        Weights of the columns.
    M : array_like, shape (m, n)
        Costs. ``inf`` forbids to move mass from i to j.
    numItermax : int, optional
        Pivots at most, if it is less than 100000: otherwise, and for 0, the plan is optimal. kexue's pivots are others
        than POT's.
    log : bool, optional
        Also return a dict.
    center_dual : bool, optional
        No effect: the potentials are always centred.
    numThreads : int or "max", optional
        No effect, but a DeprecationWarning where it is not 1.
    check_marginals : bool, optional
        Refuse totals of `a` and `b` that differ by 1.5e-6 or more. `b` is rescaled to the total of `a` in any case.
    potentials_init : tuple of array_like, optional
        No effect: in POT, too, it changes the time alone.

    Returns
    -------
    plan : ndarray, shape (m, n)
        Of the type of the first array among `a`, `b` and `M`, float64 if that holds integers.
    log : dict
        Only with ``log=True``: ``cost`` (float), ``u`` and ``v`` (potentials with ``sum(a * u) == sum(b * v)``),
        ``warning`` (None or a text) and ``result_code`` (1 solved, 3 stopped at `numItermax`).

    Raises
    ------
    InputError
        Bad weights: not finite, negative, all zero, of different totals, or of the wrong number.
    KexueValueError
        A NaN or ``-inf`` in `M`, or no plan is feasible.
    NotImplementedError
        Tensors, or a sparse `M`: those are POT's own affair.

    Warns
    -----
    UserWarning
        `numItermax` was reached.

    See Also
    --------
    kexue.emd : without POT's conventions, and for batches.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> plan, log = ot.emd([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]], log=True)
    >>> plan
    array([[0.25, 0.25],
           [0.  , 0.5 ]])
    >>> log["cost"], log["warning"]
    (0.25, None)
    """
    problem = _problem("ot.emd", a, b, M, check_marginals, targets=False)
    _check_threads(numThreads)
    limit = _limit(numItermax)
    if limit is None and not log:  # as most calls are: potentials would take half of the time
        return kexue.emd(problem.a, problem.b, problem.M).astype(_floating(problem.types[:1]), copy=False)
    (found,) = _exact(problem, limit, plans=True)
    plan = found.pop("G")
    return (plan, found) if log else plan


def emd2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    processes: int = 1,
    numItermax: int = 100000,
    log: bool = False,
    return_matrix: bool = False,
    center_dual: bool = True,
    numThreads: int | str | None = 1,
    check_marginals: bool = True,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
) -> Any:
    """Optimal transport cost: ``ot.emd2``.

    Parameters
    ----------
    a, M, numItermax, log, center_dual, numThreads, check_marginals, potentials_init
        As in `emd`.
    b : array_like, shape (n,) or (n, k)
        Weights of the columns, or those of k problems with the same `a` and `M`.
    processes : int, optional
        No effect, but a warning where it is greater than 1 and there are several problems.
    return_matrix : bool, optional
        Put the plan as ``G`` into the log, and return the log.

    Returns
    -------
    cost : float, or list
        Without log or matrix a float, with one of them the list ``[cost, log]``; for several problems a list of
        these.

    Raises
    ------
    InputError, KexueValueError, NotImplementedError
        As in `emd`.

    See Also
    --------
    kexue.emd2 : without POT's conventions, and for batches.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.emd2([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]])
    0.25
    >>> ot.emd2([0.5, 0.5], [[0.25, 1.0], [0.75, 0.0]], [[0.0, 1.0], [1.0, 0.0]])
    [0.25, 0.5]
    """
    problem = _problem("ot.emd2", a, b, M, check_marginals)
    _check_threads(numThreads)
    several = problem.b.ndim == 2
    if several and processes > 1:
        _warn("processes has no effect, as in POT: kexue.threads sets the threads")
    limit = _limit(numItermax)
    if limit is None and not (log or return_matrix):
        costs = kexue.emd2(problem.a, problem.b.T, problem.M)
        return costs.tolist() if several else costs
    found = _exact(problem, limit, plans=return_matrix)
    results = [[one["cost"], one] if log or return_matrix else one["cost"] for one in found]
    return results if several else results[0]


# ---- on the line ----


def _line(
    call: str, x_a: ArrayLike, x_b: ArrayLike, a: ArrayLike | None, b: ArrayLike | None, check: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Points and weights of both sides."""
    points = []
    for name, value in (("x_a", x_a), ("x_b", x_b)):
        array = _array(call, name, value)
        if array.size == 0 or not (array.ndim == 1 or array.ndim == 2 and array.shape[1] == 1):
            raise InputError(f"{name} must be points with one coordinate, but its shape is {array.shape}")
        points.append(array.reshape(-1).astype(np.float64, copy=False))
    rows, columns = (
        _weights(call, name, value, len(array), (1,)) for name, value, array in zip("ab", (a, b), points, strict=True)
    )
    return points[0], points[1], rows, _balanced(rows, columns, check)


def _order_plan(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masses, rows and columns of the plan between sorted points that keeps their order, in O(m + n) memory."""
    ends_a, ends_b = np.cumsum(a), np.cumsum(b)
    # The totals are equal but for rounding, which must not become a move.
    ends_a[-1] = ends_b[-1] = max(ends_a[-1], ends_b[-1])
    ends = np.sort(np.concatenate([ends_a, ends_b]))
    masses = np.diff(ends, prepend=0.0)
    moved = masses > 0
    return masses[moved], np.searchsorted(ends_a, ends[moved]), np.searchsorted(ends_b, ends[moved])


def emd_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: LineMetric = "sqeuclidean",
    p: float = 1.0,
    dense: bool = True,
    log: bool = False,
    check_marginals: bool = True,
) -> Any:
    """Optimal transport plan between points of the line: ``ot.emd_1d``.

    Parameters
    ----------
    x_a : array_like, shape (m,) or (m, 1)
        Points, in any order.
    x_b : array_like, shape (n,) or (n, 1)
        Points.
    a, b : array_like, optional
        Weights; empty or None: uniform.
    metric : {"sqeuclidean", "minkowski", "cityblock", "euclidean"}, optional
        Cost of moving from x to y: ``(x - y)**2``, ``abs(x - y)**p``, or ``abs(x - y)`` for the last two.
    p : float, optional
        The power of "minkowski". Below 1 the plan that POT returns is not optimal, so it must be at least 1.
    dense : bool, optional
        False: a `scipy.sparse.coo_array` of at most m + n entries.
    log : bool, optional
        Also return a dict with ``cost`` (float), ``perms_x_a`` and ``perms_x_b``: rows and columns of the moves, from
        the left to the right.
    check_marginals : bool, optional
        As in `emd`.

    Returns
    -------
    plan : ndarray or coo_array, shape (m, n)
        Of the type of `x_a` (that of `x_b` if `x_a` is a list), float64 if that holds integers.
    log : dict
        Only with ``log=True``.

    Raises
    ------
    InputError
        Points of more than one coordinate, or bad weights as in `emd`.
    KexueValueError
        Another `metric`, or points that are not finite.

    See Also
    --------
    kexue.emd_1d : without POT's conventions, and for batches.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.emd_1d([2.0, 0.0], [0.0, 3.0])
    array([[0. , 0.5],
           [0.5, 0. ]])
    """
    line = _line("ot.emd_1d", x_a, x_b, a, b, check_marginals)
    cost = kexue.emd2_1d(*line, metric=metric, p=p)
    orders = [np.argsort(points, kind="stable") for points in line[:2]]
    masses, rows, columns = _order_plan(*(w[order] for w, order in zip(line[2:], orders, strict=True)))
    rows, columns = orders[0][rows], orders[1][columns]
    dtype = _floating(_types(x_a, x_b)[:1])
    plan = coo_array((masses.astype(dtype), (rows, columns)), shape=(len(line[0]), len(line[1])))
    plan = plan.toarray() if dense else plan
    return (plan, {"cost": cost, "perms_x_a": rows, "perms_x_b": columns}) if log else plan


def emd2_1d(
    x_a: ArrayLike,
    x_b: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    metric: LineMetric = "sqeuclidean",
    p: float = 1.0,
    dense: bool = True,
    log: bool = False,
) -> Any:
    """Optimal transport cost between points of the line: ``ot.emd2_1d``.

    Parameters
    ----------
    x_a, x_b, a, b, metric, p, dense
        As in `emd_1d`.
    log : bool, optional
        Also return a dict with the plan, ``G``.

    Returns
    -------
    cost : float
    log : dict
        Only with ``log=True``.

    Raises
    ------
    InputError, KexueValueError
        As in `emd_1d`.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.emd2_1d([2.0, 0.0], [0.0, 3.0])
    0.5
    """
    if log:
        plan, found = emd_1d(x_a, x_b, a, b, metric, p, dense, log=True)
        return found["cost"], {"G": plan}
    return kexue.emd2_1d(*_line("ot.emd2_1d", x_a, x_b, a, b), metric=metric, p=p)


PlanTuple = namedtuple("PlanTuple", ["data", "rows", "cols"])


def wasserstein_1d(
    u_values: ArrayLike,
    v_values: ArrayLike,
    u_weights: ArrayLike | None = None,
    v_weights: ArrayLike | None = None,
    p: float = 1,
    require_sort: bool = True,
    return_plans: bool | str = False,
) -> Any:
    """Wasserstein distance on the line, to its p-th power, for the columns of arrays: ``ot.wasserstein_1d``.

    Parameters
    ----------
    u_values : array_like, shape (m,) or (m, k)
        Points, a column for each problem.
    v_values : array_like, shape (n,) or (n, k)
        Points.
    u_weights : array_like, shape (m,) or (m, k), optional
        Weights; uniform by default.
    v_weights : array_like, shape (n,) or (n, k), optional
        Weights, of the same totals.
    p : float, optional
        The power of the distances, at least 1.
    require_sort : bool, optional
        No effect: points are always sorted, which takes no time where they are.
    return_plans : bool or "coo_tuple", optional
        Also return a list with the plan of each problem: a `scipy.sparse.coo_array`, or the named tuple
        ``(data, rows, cols)``.

    Returns
    -------
    costs : NumPy scalar, or ndarray of shape (k,)
    plans : list
        Only with `return_plans`.

    Raises
    ------
    InputError
        A `p` below 1, points that are not finite, or bad weights as in `emd`. POT does not compare totals here.
    KexueValueError
        Shapes that do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue.compat import pot as ot
    >>> ot.wasserstein_1d(np.array([[0.0, 0.0], [1.0, 4.0]]), np.array([[1.0, 2.0], [2.0, 2.0]]))
    array([1., 2.])
    """
    if not p >= 1:
        raise InputError(f"p must be at least 1, got {p!r}")
    values, weights = [], []
    for side, points, given in (("u", u_values, u_weights), ("v", v_values, v_weights)):
        array = _array("ot.wasserstein_1d", f"{side}_values", points)
        if array.ndim not in (1, 2) or len(array) == 0:
            raise KexueValueError(f"{side}_values must have 1 or 2 dimensions, but its shape is {array.shape}")
        _require(f"{side}_values", array, np.isfinite(array))
        values.append(array.astype(np.float64, copy=False))
        weights.append(_weights("ot.wasserstein_1d", f"{side}_weights", given, len(array), (1, 2)))
    if values[0].shape[1:] != values[1].shape[1:]:
        raise KexueValueError(
            f"u_values has shape {values[0].shape} and v_values {values[1].shape}: they must have as many columns"
        )
    for side, points, w in zip("uv", values, weights, strict=True):
        if w.ndim == 2 and w.shape != points.shape:
            raise KexueValueError(f"{side}_weights has shape {w.shape}, but {side}_values {points.shape}")
    dtype = _floating(_types(u_values, v_values, u_weights, v_weights))
    single = values[0].ndim == 1
    values = [points.reshape(len(points), -1) for points in values]
    weights = [np.broadcast_to(w.reshape(len(w), -1), points.shape) for w, points in zip(weights, values, strict=True)]
    weights[1] = _balanced(weights[0], weights[1], names=("u_weights", "v_weights"))
    rows = [array.T for array in (*values, *weights)]
    costs = np.asarray(kexue.emd2_1d(*rows, metric="minkowski", p=p)).astype(dtype, copy=False)
    costs = costs[0] if single else costs
    if not return_plans:
        return costs
    as_tuples = isinstance(return_plans, str) and return_plans == "coo_tuple"
    plans: list[Any] = []
    for x, y, w_x, w_y in zip(*rows, strict=True):
        order_x, order_y = np.argsort(x, kind="stable"), np.argsort(y, kind="stable")
        masses, i, j = _order_plan(w_x[order_x], w_y[order_y])
        moves = PlanTuple(masses.astype(dtype), order_x[i], order_y[j])
        plans.append(moves if as_tuples else coo_array((moves.data, moves[1:]), shape=(len(x), len(y))))
    return costs, plans


# ---- entropic transport ----

_METHODS: dict[str, dict[str, Any]] = {
    "sinkhorn": {"method": "auto"},
    "sinkhorn_log": {"method": "log"},
    "greenkhorn": {"method": "auto"},
    "sinkhorn_stabilized": {"method": "stabilized"},
    "sinkhorn_epsilon_scaling": {"method": "stabilized", "epsilon_scaling": True},
}
# Their warmstart and log hold alpha = reg * log u, not log u.
_IN_COSTS = {"sinkhorn_stabilized", "sinkhorn_epsilon_scaling"}


@dataclass
class _Entropic:
    """What kexue found, and how POT writes it."""

    problem: _Problem
    reg: float
    method: str
    result: Any  # the plan, or the cost of each target
    found: dict[str, Any]

    @property
    def dtype(self) -> np.dtype:
        return _floating(self.problem.types)

    @property
    def error(self) -> float:
        return float(np.max(self.found["error"], initial=0.0))

    @property
    def n_iter(self) -> int:
        return int(np.max(self.found["n_iter"], initial=0))

    def cast(self, value: Any) -> Any:
        """A NumPy scalar or an array of the result's type."""
        with np.errstate(over="ignore"):
            return np.asarray(value).astype(self.dtype, copy=False)[()]

    def log_scalings(self) -> tuple[np.ndarray, np.ndarray]:
        """log u and log v of the plan ``u[:, None] * exp(-M / reg) * v``, with a column for each target."""
        a, b = self.problem.a, self.problem.b
        sides = (self.found["u"], a if b.ndim == 1 else a[:, None]), (self.found["v"], b)
        with np.errstate(divide="ignore", invalid="ignore"):
            # The potential of a point without mass may be infinite; its scaling is 0 all the same.
            u, v = (np.where(w > 0, potentials.T / self.reg + np.log(w), -np.inf) for potentials, w in sides)
        return self.cast(u), self.cast(v)

    def log(self) -> dict[str, Any]:
        log_u, log_v = self.log_scalings()
        errors = {"err": [self.error]}
        if self.method in _IN_COSTS:
            alpha, beta = self.reg * log_u, self.reg * log_v
            duals = {"alpha": alpha, "beta": beta, "warmstart": (alpha, beta)}
            if self.method == "sinkhorn_epsilon_scaling":
                return {**errors, **duals, "niter": self.n_iter}
            return {**errors, "n_iter": self.n_iter, "logu": log_u, "logv": log_v, **duals}
        with np.errstate(over="ignore"):
            scalings = {"u": np.exp(log_u), "v": np.exp(log_v)}
        if self.method == "greenkhorn":
            return {**scalings, "n_iter": self.n_iter}
        if self.method == "sinkhorn":
            return {**errors, "niter": self.n_iter, **scalings}
        logs = {"log_u": log_u, "log_v": log_v, **scalings}
        return logs if self.problem.b.ndim == 2 else {**errors, "niter": self.n_iter, **logs}


def _potentials(warmstart: Any, problem: _Problem, reg: float, method: str) -> tuple[np.ndarray, np.ndarray] | None:
    """Potentials as kexue has them, in units of the cost and without the logarithms of the weights."""
    if warmstart is None:
        return None
    several = problem.b.ndim == 2
    if several and method == "sinkhorn_log":
        warmstart = [np.stack(side, axis=-1) for side in zip(*warmstart, strict=True)]
    u, v = (np.asarray(side, dtype=np.float64) for side in warmstart)
    unit = 1.0 if method in _IN_COSTS else reg
    potentials = []
    for name, scalings, weights in (("u", u, problem.a), ("v", v, problem.b)):
        if scalings.shape[:1] != weights.shape[:1] or scalings.ndim > 1 + several:
            raise KexueValueError(f"warmstart has an array of shape {scalings.shape} for {name}")
        columns = (scalings.T if scalings.ndim == 2 else scalings), weights.T
        with np.errstate(divide="ignore", invalid="ignore"):
            potentials.append(np.where(columns[1] > 0, columns[0] * unit - reg * np.log(columns[1]), 0.0))
    return potentials[0], potentials[1]


def _entropic(
    call: str,
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: float,
    method: str,
    numItermax: int,
    stopThr: float,
    verbose: bool,
    warn: bool,
    warmstart: Any,
    *,
    plan: bool,
    targets: bool = True,
) -> _Entropic:
    method = method.lower()
    if method not in _METHODS:
        raise KexueValueError(f"Unknown method {method!r}: there are {', '.join(_METHODS)}")
    problem, reg = _problem(call, a, b, M, targets=targets), float(reg)
    solver = kexue.sinkhorn if plan and problem.b.ndim == 1 else kexue.sinkhorn2
    with kexue.errstate(convergence="ignore"):
        result, found = solver(
            problem.a,
            problem.b.T,
            problem.M,
            reg,
            tol=stopThr,
            max_iter=int(numItermax),
            warmstart=_potentials(warmstart, problem, reg, method),
            log=True,
            **_METHODS[method],
        )
    solution = _Entropic(problem, reg, method, result, found)
    if verbose:
        print(f"{'It.':5s}|{'Err':12s}\n{'-' * 19}\n{solution.n_iter:5d}|{solution.error:8e}|")
    if warn and np.any(found["status"]):
        _warn(
            f"Sinkhorn did not converge: the marginals are wrong by {solution.error:.3g} of the mass after "
            f"numItermax={numItermax} iterations; more of them, or a larger reg, would help"
        )
    return solution


def sinkhorn(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: float,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = True,
    warmstart: Any = None,
    **kwargs: Any,
) -> Any:
    """Entropic transport plan: ``ot.sinkhorn``.

    Parameters
    ----------
    a : array_like, shape (m,)
        Weights of the rows; empty or None: uniform.
    b : array_like, shape (n,) or (n, k)
        Weights of the columns, or those of k problems with the same `a` and `M`.
    M : array_like, shape (m, n)
        Costs. ``inf`` forbids to move mass from i to j.
    reg : float
        Regularisation, in units of the cost, positive.
    method : str, optional
        "sinkhorn" and "greenkhorn" are kexue's ``method="auto"``, "sinkhorn_log" and "sinkhorn_stabilized" the methods
        "log" and "stabilized", "sinkhorn_epsilon_scaling" is "stabilized" with ``epsilon_scaling=True``. In upper or
        lower case.
    numItermax : int, optional
        Iterations at most: passes over the costs, for all methods.
    stopThr : float, optional
        The error of the marginals at which to stop. It is the sum of absolute errors of rows and columns as a share
        of the mass, which is never less than POT's measure where the mass is 1.
    verbose : bool, optional
        Print the number of iterations and the error at the end.
    log : bool, optional
        Also return a dict.
    warn : bool, optional
        Issue a UserWarning if `numItermax` is reached.
    warmstart : tuple of array_like, optional
        ``(log u, log v)`` to start from; for "sinkhorn_stabilized" and "sinkhorn_epsilon_scaling" ``(alpha, beta)``,
        which are reg times as much. For k problems (m, k) and (n, k), with "sinkhorn_log" a list of k tuples.
    **kwargs
        No effect, as for other methods than its own in POT: ``tau``, ``epsilon0``, ``print_period`` ...

    Returns
    -------
    plan : ndarray, shape (m, n)
        ``u[:, None] * exp(-M / reg) * v``. Of the common type of `a`, `b` and `M`, float64 if that is an integer.
    costs : ndarray, shape (k,)
        In place of the plan if `b` has two dimensions: the costs ``sum(plan * M)``.
    log : dict
        Only with ``log=True``, with POT's keys:

        - "sinkhorn": ``err``, ``niter``, ``u``, ``v``;
        - "sinkhorn_log": the same and ``log_u``, ``log_v``; without ``err`` and ``niter`` for k problems;
        - "greenkhorn": ``u``, ``v``, ``n_iter``;
        - "sinkhorn_stabilized": ``err``, ``n_iter``, ``logu``, ``logv``, ``alpha``, ``beta``, ``warmstart``;
        - "sinkhorn_epsilon_scaling": ``err``, ``alpha``, ``beta``, ``warmstart``, ``niter``.

        ``err`` is a list with the last error alone. Scalings are those of POT times and divided by one number.

    Raises
    ------
    InputError
        Bad weights, as in `emd`. POT does not compare totals here, and never converges if they differ.
    KexueValueError
        A NaN or ``-inf`` in `M`, a bad `reg`, or another `method`.
    NotImplementedError
        Tensors and sparse arrays.

    Warns
    -----
    UserWarning
        `numItermax` was reached.

    See Also
    --------
    kexue.sinkhorn : without POT's conventions, and for batches.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.sinkhorn([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1).round(6)
    array([[0.365529, 0.134471],
           [0.134471, 0.365529]])
    """
    solution = _entropic(
        "ot.sinkhorn", a, b, M, reg, method, numItermax, stopThr, verbose, warn, warmstart, plan=True
    )  # fmt: skip
    result = solution.cast(solution.result)
    return (result, solution.log()) if log else result


def sinkhorn2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: float,
    method: str = "sinkhorn",
    numItermax: int = 1000,
    stopThr: float = 1e-9,
    verbose: bool = False,
    log: bool = False,
    warn: bool = False,
    warmstart: Any = None,
    **kwargs: Any,
) -> Any:
    """Cost of the entropic transport plan: ``ot.sinkhorn2``.

    Parameters
    ----------
    a, b, M, reg, method, numItermax, stopThr, verbose, log, warn, warmstart, **kwargs
        As in `sinkhorn`, but `warn` is off by default.

    Returns
    -------
    cost : NumPy scalar, or ndarray of shape (k,)
        ``sum(plan * M)``, without the entropic term.
    log : dict
        Only with ``log=True``, as in `sinkhorn`.

    Raises
    ------
    InputError, KexueValueError, NotImplementedError
        As in `sinkhorn`.

    See Also
    --------
    kexue.sinkhorn2 : without POT's conventions, and for batches.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> float(ot.sinkhorn2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 1).round(6))
    0.268941
    """
    solution = _entropic(
        "ot.sinkhorn2", a, b, M, reg, method, numItermax, stopThr, verbose, warn, warmstart, plan=False
    )  # fmt: skip
    result = solution.cast(solution.result)
    return (result, solution.log()) if log else result


# ---- both ----


@dataclass(frozen=True, eq=False, repr=False)
class OTResult:
    """What `solve` returns, with the attributes of POT's class of this name.

    Attributes
    ----------
    potentials : tuple of ndarray
        Exact: potentials in units of the cost. With `reg`: log u and log v of `sinkhorn`.
    potential_a, potential_b : ndarray
        The first and the second of them.
    value : float or NumPy scalar
        The optimal value of what was solved, with the regularisation.
    value_linear : float or NumPy scalar
        ``sum(plan * M)``.
    plan : ndarray, shape (m, n)
    sparse_plan : csr_matrix
    marginals : tuple of ndarray
        Row and column sums of the plan.
    marginal_a, marginal_b : ndarray
        The first and the second of them.
    status : str or None
        "Converged" or a text; None with `reg`, as in POT.
    log, value_quad, lazy_plan : None
        As in POT for these problems.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.solve([[0.0, 2.0], [1.0, 3.0]])
    OTResult(value=1.5, value_linear=1.5, plan=ndarray(shape=(2, 2)))
    """

    potentials: tuple[np.ndarray, np.ndarray]
    value: Any
    value_linear: Any
    plan: np.ndarray
    status: str | None
    log: None = None
    value_quad: None = None
    lazy_plan: None = None

    def __repr__(self) -> str:
        return (
            f"OTResult(value={self.value}, value_linear={self.value_linear}, "
            f"plan={type(self.plan).__name__}(shape={self.plan.shape}))"
        )

    @property
    def potential_a(self) -> np.ndarray:
        return self.potentials[0]

    @property
    def potential_b(self) -> np.ndarray:
        return self.potentials[1]

    @property
    def sparse_plan(self) -> csr_matrix:
        return csr_matrix(self.plan)

    @property
    def marginals(self) -> tuple[np.ndarray, np.ndarray]:
        return self.marginal_a, self.marginal_b

    @property
    def marginal_a(self) -> np.ndarray:
        return self.plan.sum(axis=1)

    @property
    def marginal_b(self) -> np.ndarray:
        return self.plan.sum(axis=0)


def solve(
    M: ArrayLike,
    a: ArrayLike | None = None,
    b: ArrayLike | None = None,
    reg: float | None = None,
    c: None = None,
    reg_type: str = "KL",
    unbalanced: None = None,
    unbalanced_type: str = "KL",
    method: str | None = None,
    n_threads: int | str | None = 1,
    max_iter: int | None = None,
    plan_init: None = None,
    potentials_init: tuple[ArrayLike, ArrayLike] | None = None,
    tol: float | None = None,
    verbose: bool = False,
    grad: str = "autodiff",
) -> OTResult:
    """Solve a transport problem: ``ot.solve``.

    Parameters
    ----------
    M : array_like, shape (m, n)
        Costs.
    a, b : array_like, optional
        Weights; uniform by default.
    reg : float, optional
        Regularisation; None or 0: exact transport.
    c, unbalanced, plan_init : None
        Of POT alone.
    reg_type : {"KL", "entropy"}, optional
        What `reg` multiplies in the value: the divergence of the plan from ``outer(a, b)``, or its negative entropy.
        The plan is the same. In upper or lower case.
    unbalanced_type : str, optional
        No effect without `unbalanced`.
    method : {"sinkhorn", "sinkhorn_log", "mm", "lbfgsb"}, optional
        "sinkhorn_log" is that of `sinkhorn`; the others have no effect on these problems, as in POT.
    n_threads : int or "max", optional
        No effect, but a DeprecationWarning for exact transport where it is not 1.
    max_iter : int, optional
        As `numItermax` of `emd` (unlimited by default) and `sinkhorn` (1000).
    potentials_init : tuple of array_like, optional
        With `reg` the `warmstart` of `sinkhorn`, which are the `potentials` of such a result; else no effect. No result
        depends on it.
    tol : float, optional
        As `stopThr` of `sinkhorn`.
    verbose : bool, optional
        As in `sinkhorn`.
    grad : str, optional
        No effect: there are no gradients of NumPy arrays.

    Returns
    -------
    OTResult

    Raises
    ------
    InputError, KexueValueError
        As in `emd` and `sinkhorn`.
    NotImplementedError
        `c`, `unbalanced` or `plan_init` is given, or `reg_type` is another one ("L2", functions); tensors and sparse
        arrays.

    See Also
    --------
    kexue.solve : with the duality gap.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> result = ot.solve([[0.0, 2.0], [1.0, 3.0]], [0.5, 0.5], [0.25, 0.75])
    >>> result.value, result.status
    (2.0, 'Converged')
    >>> result.marginal_b
    array([0.25, 0.75])
    """
    for name, value in (("c", c), ("unbalanced", unbalanced), ("plan_init", plan_init)):
        if value is not None:
            raise NotImplementedError(f"{name} is not available in kexue: use ot.solve of POT")
    if method not in (None, "sinkhorn", "sinkhorn_log", "mm", "lbfgsb"):
        raise KexueValueError(f"Unknown method={method!r}: there are sinkhorn, sinkhorn_log, mm and lbfgsb")
    if reg is None or reg == 0:
        problem = _problem("ot.solve", a, b, M, targets=False)
        _check_threads(n_threads)
        (found,) = _exact(problem, _limit(max_iter or 0), plans=True)
        status = found["warning"] or "Converged"
        return OTResult((found["u"], found["v"]), found["cost"], found["cost"], found["G"], status)
    kind = reg_type.lower() if isinstance(reg_type, str) else reg_type
    if kind not in ("kl", "entropy"):
        raise NotImplementedError(f"reg_type={reg_type!r} is not available in kexue: use ot.solve of POT")
    name = "sinkhorn_log" if method == "sinkhorn_log" else "sinkhorn"
    max_iter, tol = 1000 if max_iter is None else max_iter, 1e-9 if tol is None else tol
    solution = _entropic(
        "ot.solve", a, b, M, reg, name, max_iter, tol, verbose, True, potentials_init, plan=True, targets=False
    )  # fmt: skip
    found, plan = solution.found, solution.result
    value = found["value"] if kind == "kl" else found["cost"] + solution.reg * xlogy(plan, plan).sum()
    return OTResult(
        solution.log_scalings(), solution.cast(value), solution.cast(found["cost"]), solution.cast(plan), None
    )


# ---- what scripts need besides ----

# POT computes these itself, in the precision of the points; all others are SciPy's, in float64.
_OWN_METRICS = {"sqeuclidean", "euclidean", "cityblock", "minkowski", "cosine", "correlation"}


def dist(
    x1: ArrayLike,
    x2: ArrayLike | None = None,
    metric: str | Callable[[np.ndarray, np.ndarray], float] = "sqeuclidean",
    p: float = 2,
    w: ArrayLike | None = None,
    backend: str = "auto",
    nx: Any = None,
    use_tensor: bool = False,
) -> np.ndarray:
    """Distances between the rows of two arrays: ``ot.dist``.

    Parameters
    ----------
    x1 : array_like, shape (m, d)
        Points.
    x2 : array_like, shape (n, d), optional
        Points; by default those of `x1`.
    metric : str or callable, optional
        One of `scipy.spatial.distance.cdist`. The default is the *squared* Euclidean distance.
    p : float, optional
        The power of "minkowski".
    w : array_like, shape (d,), optional
        Weights of the coordinates, for "minkowski" alone unless `backend` is "scipy".
    backend : {"auto", "scipy"}, optional
        "scipy": float64, and `w` goes to any metric.
    nx : optional
        POT's NumPy backend, or None.
    use_tensor : bool, optional
        No effect: memory is never more than that of the result.

    Returns
    -------
    distances : ndarray, shape (m, n)
        float32 for float32 points and the metrics "sqeuclidean", "euclidean", "cityblock", "minkowski", "cosine" and
        "correlation", computed in float64; else float64. Made of differences: POT's Euclidean distances lose digits
        where points are close together.

    Raises
    ------
    ValueError
        From SciPy: an unknown metric, or shapes that do not fit.
    NotImplementedError
        Tensors and sparse arrays, or another backend `nx`.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.dist([[0.0, 0.0], [3.0, 4.0]])
    array([[ 0., 25.],
           [25.,  0.]])
    """
    if nx is not None and getattr(nx, "__name__", None) != "numpy":
        raise NotImplementedError("nx must be None or the NumPy backend of POT: use ot.dist of POT for others")
    first = _array("ot.dist", "x1", x1)
    second = first if x2 is None else _array("ot.dist", "x2", x2)
    options: dict[str, Any] = {}
    if isinstance(metric, str) and metric.endswith("minkowski"):
        options = {"p": p, "w": w}
    elif w is not None and backend == "scipy":
        options = {"w": w}
    distances = cdist(first, second, metric, **options)
    if isinstance(metric, str) and metric in _OWN_METRICS and backend != "scipy":
        distances = distances.astype(_floating(_types(x1, x2)), copy=False)
    return distances


def unif(n: int, type_as: np.ndarray | None = None) -> np.ndarray:
    """Uniform weights: ``ot.unif``.

    Parameters
    ----------
    n : int
        How many.
    type_as : ndarray, optional
        An array of the type that is wanted.

    Returns
    -------
    weights : ndarray, shape (n,)
        Of the type of `type_as` where that is floating, else float64.

    Examples
    --------
    >>> from kexue.compat import pot as ot
    >>> ot.unif(4)
    array([0.25, 0.25, 0.25, 0.25])
    """
    dtype = _FLOAT64 if type_as is None else _floating([_array("ot.unif", "type_as", type_as).dtype])
    return np.ones(n, dtype=dtype) / n
