"""Entropic optimal transport: Sinkhorn's algorithm for one problem, for batches, and for problems of many sizes."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _transport
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_csr_rows, as_real, is_sparse, result_dtype
from kexue._context import status_name
from kexue._errors import KexueValueError, first_bad, raise_status, require_finite
from kexue._transport_arguments import Problem, byte_offsets, check_problem, contiguous_rows, explain_failure

Method = Literal["auto", "kernel", "stabilized", "log"]
Acceleration = Literal["auto", "none", "anderson", "overrelaxation", "newton"]

DEFAULT_MAX_ITER = 10_000


@dataclass
class Settings:
    """Checked options of a solve, by the names of the C structure."""

    method: Method = "auto"
    acceleration: Acceleration = "auto"
    epsilon_scaling: bool | None = None
    tol: float = 1e-9
    max_iter: int = DEFAULT_MAX_ITER
    round_plan: bool = False

    def __post_init__(self) -> None:
        for name, choices in (
            ("method", _transport.SINKHORN_METHODS),
            ("acceleration", _transport.SINKHORN_ACCELERATIONS),
        ):
            if getattr(self, name) not in choices:
                allowed = ", ".join(f'"{choice}"' for choice in choices)
                raise KexueValueError(f"{name} must be one of {allowed}, got {getattr(self, name)!r}")
        if self.epsilon_scaling not in (None, True, False):
            raise KexueValueError(f"epsilon_scaling must be True, False or None, got {self.epsilon_scaling!r}")
        try:
            self.tol = float(self.tol)
        except (TypeError, ValueError):
            raise TypeError(f"tol must be a number, not {type(self.tol).__name__}") from None
        if not 0 <= self.tol < np.inf:
            raise KexueValueError(f"tol must be finite and not negative, got {self.tol!r}")
        try:
            self.max_iter = operator.index(self.max_iter)
        except TypeError:
            raise TypeError(f"max_iter must be an integer, not {type(self.max_iter).__name__}") from None
        if not 1 <= self.max_iter < 2**62:
            raise KexueValueError(f"max_iter must be at least 1 and below 2**62, got {self.max_iter}")

    def to_core(self, totals_tolerance: float) -> dict[str, Any]:
        return {
            "tolerance": self.tol,
            "totals_tolerance": totals_tolerance,
            "max_iter": self.max_iter,
            "method": _transport.SINKHORN_METHODS.index(self.method),
            "acceleration": _transport.SINKHORN_ACCELERATIONS.index(self.acceleration),
            "epsilon_scaling": -1 if self.epsilon_scaling is None else int(self.epsilon_scaling),
            "round_plans": int(self.round_plan),
        }


def check_reg(reg: ArrayLike) -> np.ndarray:
    """Regularisations as a float64 array, finite and positive."""
    array = as_contiguous(as_real("reg", reg, dtype=np.float64))
    first_bad(
        "reg",
        array,
        lambda entries: ~(entries > 0),
        "is {value}, but must be positive; emd is the transport without regularisation",
    )
    require_finite("reg", array)
    return array


@dataclass
class Solution:
    """What the core wrote, flat, and how to shape it."""

    outputs: dict[str, np.ndarray]
    problem: Problem

    def scalars(self, name: str, dtype: Any = None) -> Any:
        return self.problem.shaped(self.outputs[name], dtype=dtype)

    @property
    def plan(self) -> np.ndarray:
        return self.problem.shaped(self.outputs["plans"], *self.problem.M.shape[-2:])

    @property
    def potentials(self) -> tuple[np.ndarray, np.ndarray]:
        m, n = self.problem.M.shape[-2:]
        return self.problem.shaped(self.outputs["u"], m), self.problem.shaped(self.outputs["v"], n)

    def log(self: Solution | RaggedSolution) -> dict[str, Any]:
        u, v = self.potentials
        return {
            "cost": self.scalars("costs"),
            "value": self.scalars("values"),
            "u": u,
            "v": v,
            "error": self.scalars("errors", np.float64),
            "n_iter": self.scalars("iterations", np.int64),
            "status": self.scalars("statuses", np.int32),
        }


@dataclass
class RaggedSolution:
    """The same for problems of many sizes: plans and potentials are lists."""

    outputs: dict[str, np.ndarray]
    row_counts: np.ndarray
    column_counts: np.ndarray
    dtype: np.dtype

    def scalars(self, name: str, dtype: Any = None) -> np.ndarray:
        return self.outputs[name].astype(dtype or self.dtype, copy=False)

    def _pieces(self, name: str, offsets: np.ndarray, shapes: Iterable[tuple[int, ...]]) -> list[np.ndarray]:
        flat = self.outputs[name].astype(self.dtype, copy=False)
        return [
            flat[start : start + int(np.prod(shape))].reshape(shape)
            for start, shape in zip(offsets, shapes, strict=True)
        ]

    @property
    def plan(self) -> list[np.ndarray]:
        shapes = zip(self.row_counts.tolist(), self.column_counts.tolist(), strict=True)
        return self._pieces("plans", self.outputs["plan_offsets"], shapes)

    @property
    def potentials(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return (
            self._pieces("u", self.outputs["u_offsets"], [(m,) for m in self.row_counts.tolist()]),
            self._pieces("v", self.outputs["v_offsets"], [(n,) for n in self.column_counts.tolist()]),
        )

    log = Solution.log


# What the dict of log=True holds.
_LOGGED = ("costs", "potentials", "results")


def _allocate(count: int, u_size: int, v_size: int, plan_size: int, dtype: Any, wanted: set[str]) -> dict[str, Any]:
    outputs: dict[str, Any] = {
        "errors": np.empty(count),
        "statuses": np.zeros(count, dtype=np.int32),
    }
    if "costs" in wanted:
        outputs["costs"] = np.empty(count)
    if "results" in wanted:
        outputs.update(values=np.empty(count), gaps=np.empty(count), iterations=np.empty(count, dtype=np.int64))
    if "potentials" in wanted:
        outputs.update(u=np.empty(u_size), v=np.empty(v_size))
    if "plans" in wanted:
        outputs["plans"] = np.empty(plan_size, dtype=dtype)
    return outputs


def solve_dense(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    settings: Settings,
    warmstart: Any,
    workers: int | None,
    wanted: set[str],
    warn: bool = True,
) -> Solution:
    """Solve the problems of broadcast arrays."""
    regs = check_reg(reg)
    problem = check_problem(a, _columns_to_rows(a, b, M), M)
    m, n = problem.M.shape[-2:]
    potentials = _check_warmstart(warmstart, m, n)
    shapes = [problem.batch, regs.shape, *(p.shape[:-1] for p in potentials if p is not None)]
    try:
        problem.batch = np.broadcast_shapes(*shapes)
    except ValueError:
        raise KexueValueError(
            f"the batch dimensions of a, b and M {problem.batch} do not fit to those of reg and warmstart: "
            f"{', '.join(map(str, shapes[1:]))}"
        ) from None
    if problem.dtype != problem.M.dtype:
        problem.M = problem.M.astype(problem.dtype)  # the plan is of M's precision
    if settings.round_plan and np.isposinf(problem.M).any():
        raise KexueValueError("round_plan moves mass wherever it is missing, so M must have no infinite entries")
    count, batch = problem.count, problem.batch
    outputs = _allocate(count, count * m, count * n, count * m * n, problem.M.dtype, wanted)
    status, failed = _transport.sinkhorn(
        {
            "count": count,
            "m": m,
            "n": n,
            "a": problem.a,
            "b": problem.b,
            "M": problem.M,
            "reg": regs,
            "u": potentials[0],
            "v": potentials[1],
            "a_offsets": byte_offsets(problem.a, batch, 1),
            "b_offsets": byte_offsets(problem.b, batch, 1),
            "M_offsets": byte_offsets(problem.M, batch, 2),
            "reg_offsets": byte_offsets(regs, batch, 0),
            "u_offsets": byte_offsets(potentials[0], batch, 1),
            "v_offsets": byte_offsets(potentials[1], batch, 1),
            "row_stride": problem.M.strides[-2],
        },
        settings.to_core(problem.totals_tolerance),
        outputs,
        workers,
    )
    if status < 0:
        _explain(problem, status, failed, settings)
    if status > 0:
        _require_feasible(problem, np.flatnonzero(outputs["statuses"]))
        if warn:
            _warn(status, outputs, settings)
    if "results" in wanted and not np.isfinite(outputs["values"]).all():
        raise OverflowError("the value is too large for float64")
    return Solution(outputs, problem)


def _warn(status: int, outputs: dict[str, np.ndarray], settings: Settings) -> None:
    statuses = outputs["statuses"]
    raise_status(
        status,
        f"{np.count_nonzero(statuses)} of {statuses.size} Sinkhorn problems stopped at max_iter={settings.max_iter}; "
        f"their marginals are wrong by up to {outputs['errors'][statuses > 0].max():.3g} of the mass, "
        f"tol={settings.tol:g} was asked for",
    )


def _require_feasible(problem: Problem, numbers: Iterable[int]) -> None:
    """Where entries are forbidden, no convergence may mean that there is no plan: the exact solver knows."""
    if not np.isposinf(problem.M).any():
        return
    from kexue.transport import emd2

    m, n = problem.M.shape[-2:]
    costs = np.broadcast_to(problem.M, (*problem.batch, m, n))
    a = None if problem.a is None else np.broadcast_to(problem.a, (*problem.batch, m))
    b = None if problem.b is None else np.broadcast_to(problem.b, (*problem.batch, n))
    for k in numbers:
        at = np.unravel_index(k, problem.batch) if problem.batch else ()
        emd2(None if a is None else a[at], None if b is None else b[at], costs[at])


def _columns_to_rows(a: Any, b: Any, M: Any) -> Any:
    """Targets b of shape (n, k) as the batch (k, n) that they are."""
    if b is None or as_array("b", b).ndim != 2:
        return b
    targets, costs = as_array("b", b), as_array("M", M)
    if costs.ndim == 2 and (a is None or as_array("a", a).ndim == 1):
        n = costs.shape[1]
        if targets.shape[0] == n != targets.shape[1]:
            return targets.T
    return b


def _check_warmstart(warmstart: Any, *sizes: int) -> list[np.ndarray | None]:
    if warmstart is None:
        return [None, None]
    if not isinstance(warmstart, (tuple, list)) or len(warmstart) != 2:
        raise KexueValueError("warmstart must be a pair of potentials (u, v)")
    potentials: list[np.ndarray | None] = []
    for k, size in enumerate(sizes):
        name = f"warmstart[{k}]"
        array = as_contiguous(as_real(name, warmstart[k], dtype=np.float64))
        if array.ndim == 0 or array.shape[-1] != size:
            raise KexueValueError(f"{name} must have {size} potentials, but its shape is {array.shape}")
        # A point of weight 0 whose every entry is forbidden has an infinite one.
        if np.isnan(array).any():
            require_finite(name, array)
        potentials.append(np.where(np.isfinite(array), array, 0.0))
    return potentials


def is_ragged(a: Any, M: Any) -> bool:
    """Whether the problems have sizes of their own: CSR weights, or a list of cost matrices."""
    if is_sparse(a):
        return True
    return (
        isinstance(M, (list, tuple)) and len(M) > 0 and all(isinstance(one, np.ndarray) and one.ndim == 2 for one in M)
    )


def solve_ragged(
    a: Any, b: Any, M: Any, reg: ArrayLike, settings: Settings, warmstart: Any, workers: int | None, wanted: set[str]
) -> RaggedSolution:
    """Solve problems of many sizes."""
    if warmstart is not None:
        raise KexueValueError("warmstart is for problems of one size")
    regs = check_reg(reg)
    given = _from_sparse(a, b, M) if is_sparse(a) else _from_lists(a, b, M)
    count = given["count"]
    try:
        given["reg"] = as_contiguous(np.broadcast_to(regs, (count,)))
    except ValueError:
        raise KexueValueError(f"reg has shape {regs.shape}, but there are {count} problems") from None
    given["reg_offsets"] = np.arange(count, dtype=np.int64) * 8
    rows, columns = given["row_counts"], given["column_counts"]
    if settings.round_plan and np.isposinf(given["M"]).any():
        raise KexueValueError("round_plan moves mass wherever it is missing, so M must have no infinite entries")

    outputs = _allocate(count, rows.sum(), columns.sum(), (rows * columns).sum(), given["M"].dtype, wanted)
    outputs.update(u_offsets=_starts(rows), v_offsets=_starts(columns), plan_offsets=_starts(rows * columns))
    if count:
        status, failed = _transport.sinkhorn(given, settings.to_core(given["totals_tolerance"]), outputs, workers)
        if status < 0:
            _explain_ragged(given, status, failed, settings)
        if status > 0:
            if np.isposinf(given["M"]).any():
                for k in np.flatnonzero(outputs["statuses"]).tolist():
                    _require_feasible(_one_of(given, k), [0])
            _warn(status, outputs, settings)
    return RaggedSolution(outputs, rows, columns, given["dtype"])


def _starts(sizes: np.ndarray) -> np.ndarray:
    return (np.cumsum(sizes) - sizes).astype(np.int64)


def _from_sparse(a: Any, b: Any, M: ArrayLike) -> dict[str, Any]:
    """CSR weights over shared vocabularies: problem k is made of the entries of row k of a and of b."""
    if not is_sparse(b):
        raise TypeError(f"b must be sparse where a is, not {type(b).__name__}")
    costs = contiguous_rows(as_real("M", M, ndim=2), 2)
    rows = as_csr_rows("a", a, costs.shape[0], "M has {} rows")
    columns = as_csr_rows("b", b, costs.shape[1], "M has {} columns")
    counts = [np.diff(one[0]) for one in (rows, columns)]
    if len(counts[0]) != len(counts[1]):
        raise KexueValueError(f"a has {len(counts[0])} rows and b has {len(counts[1])}: each pair is a problem")
    for name, sizes in zip("ab", counts, strict=True):
        if sizes.size and sizes.min() == 0:
            raise KexueValueError(f"{name}[{int(sizes.argmin())}] is empty: there is no mass to move")
    single = all(result_dtype(one.data) == np.float32 for one in (a, b))
    if not single:
        costs = costs.astype(np.float64, copy=False)
    return {
        "count": len(counts[0]),
        "m": int(counts[0].max(initial=1)),
        "n": int(counts[1].max(initial=1)),
        "row_counts": counts[0],
        "column_counts": counts[1],
        "a": rows[2],
        "b": columns[2],
        "M": costs,
        "a_offsets": rows[0][:-1] * 8,
        "b_offsets": columns[0][:-1] * 8,
        "row_stride": costs.strides[0],
        "row_indices": rows[1].astype(np.int64),
        "column_indices": columns[1].astype(np.int64),
        "totals_tolerance": 1e-6 if single else 1e-9,
        "dtype": costs.dtype,
    }


def _from_lists(a: Any, b: Any, M: Any) -> dict[str, Any]:
    """Lists of arrays, one problem after the other in one block of memory."""
    count = len(M)
    costs = [as_real(f"M[{k}]", one, ndim=2) for k, one in enumerate(M)]
    dtype = np.result_type(*(one.dtype for one in costs))
    for k, one in enumerate(costs):
        if one.size == 0:
            raise KexueValueError(f"M[{k}] has no entries: its shape is {one.shape}")
    sizes = [np.array([one.shape[axis] for one in costs], dtype=np.int64) for axis in (0, 1)]
    weights, single = [], dtype == np.float32
    for name, given, counts in (("a", a, sizes[0]), ("b", b, sizes[1])):
        if given is None or len(given) == 0:
            given = [None] * count
        if len(given) != count:
            raise KexueValueError(f"{name} has {len(given)} arrays of weights, but M has {count} matrices")
        parts = []
        for k, one in enumerate(given):
            if one is None:
                parts.append(np.full(counts[k], 1.0 / counts[k]))
                continue
            part = as_real(f"{name}[{k}]", one, ndim=1)
            if len(part) != counts[k]:
                raise KexueValueError(f"{name}[{k}] has {len(part)} weights, but M[{k}] has shape {costs[k].shape}")
            single = single and part.dtype == np.float32
            parts.append(part.astype(np.float64))
        weights.append(np.concatenate(parts))
    if not single:
        dtype = np.dtype(np.float64)
    item = dtype.itemsize
    return {
        "count": count,
        "m": int(sizes[0].max()),
        "n": int(sizes[1].max()),
        "row_counts": sizes[0],
        "column_counts": sizes[1],
        "a": weights[0],
        "b": weights[1],
        "M": np.concatenate([one.astype(dtype, copy=False).ravel() for one in costs]),
        "a_offsets": _starts(sizes[0]) * 8,
        "b_offsets": _starts(sizes[1]) * 8,
        "M_offsets": _starts(sizes[0] * sizes[1]) * item,
        "row_stride": item,
        "row_strides": sizes[1] * item,
        "totals_tolerance": 1e-6 if single else 1e-9,
        "dtype": dtype,
    }


def _one_of(given: dict[str, Any], k: int) -> Problem:
    """Problem k as a problem of its own."""
    m, n = (int(given[name][k]) for name in ("row_counts", "column_counts"))
    starts = [given[f"{name}_offsets"][k] // 8 for name in "ab"]
    a, b = given["a"][starts[0] :][:m], given["b"][starts[1] :][:n]
    costs, names = given["M"], (f"a[{k}]", f"b[{k}]", f"M[{k}]")
    if "row_indices" in given:
        costs = costs[np.ix_(given["row_indices"][starts[0] :][:m], given["column_indices"][starts[1] :][:n])]
    else:
        costs = costs[given["M_offsets"][k] // costs.itemsize :][: m * n].reshape(m, n)
    return Problem(a, b, costs, (), given["dtype"], given["totals_tolerance"], names)


def _explain_ragged(given: dict[str, Any], status: int, failed: int, settings: Settings) -> None:
    problem = _one_of(given, failed)
    if "row_indices" in given and (np.isnan(problem.M) | (problem.M == -np.inf)).any():
        first_bad("M", given["M"], lambda entries: np.isnan(entries) | (entries == -np.inf))
    _explain(problem, status, 0, settings, f" (problem {failed} of the batch)")


def _explain(problem: Problem, status: int, failed: int, settings: Settings, where: str = "") -> None:
    """Raise for a failed problem."""
    if status_name(status) == "KX_E_OVERFLOW" and settings.method == "kernel":
        _require_feasible(problem, [failed])
        raise OverflowError('the scalings of method="kernel" leave the range of float64; "auto" absorbs them in time')
    explain_failure(problem, status, failed, where)


def _solve(
    a: Any, b: Any, M: Any, reg: ArrayLike, settings: Settings, warmstart: Any, workers: int | None, wanted: set[str]
) -> Solution | RaggedSolution:
    solver = solve_ragged if is_ragged(a, M) else solve_dense
    return solver(a, b, M, reg, settings, warmstart, workers, wanted)


@overload
def sinkhorn(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = ...,
    acceleration: Acceleration = ...,
    epsilon_scaling: bool | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    warmstart: tuple[ArrayLike, ArrayLike] | None = ...,
    round_plan: bool = ...,
    log: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, dict[str, Any]]: ...
@overload
def sinkhorn(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = ...,
    acceleration: Acceleration = ...,
    epsilon_scaling: bool | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    warmstart: tuple[ArrayLike, ArrayLike] | None = ...,
    round_plan: bool = ...,
    log: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def sinkhorn(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = "auto",
    acceleration: Acceleration = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int = DEFAULT_MAX_ITER,
    warmstart: tuple[ArrayLike, ArrayLike] | None = None,
    round_plan: bool = False,
    log: bool = False,
    workers: int | None = None,
) -> Any:
    """Entropic optimal transport plan between two sets of weights, by Sinkhorn's algorithm.

    The plan P minimises ``sum(P * M) + reg * sum(P * log(P / (a[:, None] * b)))`` over ``P >= 0`` with row sums `a`
    and column sums `b`.

    Parameters
    ----------
    a : array_like, shape (..., m), or None
        Non-negative weights of the rows. None or an empty list: uniform, of sum 1. A scipy.sparse matrix (problems
        x vocabulary): problem k is made of the non-zero entries of row k, and `M` is shared.
    b : array_like, shape (..., n), or None
        Non-negative weights of the columns, of the same total as `a` up to a relative 1e-9 (1e-6 where weights are
        float32). Also of shape (n, k), k other than n, where `a` is one histogram and `M` one matrix: k targets.
    M : array_like, shape (..., m, n)
        Costs: any finite numbers; ``inf`` forbids to move mass from i to j. Leading dimensions broadcast: each
        combination is one problem. A list of 2-D arrays, with lists of weights: problems of many sizes.
    reg : float or array_like
        The regularisation, positive, in the units of the cost; an array broadcasts with the batch.
    method : {"auto", "kernel", "stabilized", "log"}, optional
        "kernel" keeps ``exp(-M / reg)`` and fails with OverflowError where its scalings leave the range of float64;
        "stabilized" absorbs scalings that grow into the potentials; "log" stays with logarithms throughout, in
        O(m + n) memory and some five times as long a pass. "auto" is the second.
    acceleration : {"auto", "none", "anderson", "overrelaxation", "newton"}, optional
        Longer steps. Each is taken back where it does not raise the dual objective. "anderson" mixes the last steps;
        "newton" solves with the Hessian, O(m n**2) a step, for up to 2048 columns. "auto" is Anderson's, in small
        problems after every fourth plain pass only, and Newton's where the error's fall promises more passes than that
        takes.
    epsilon_scaling : bool, optional
        Solve with larger regularisations first. None: where the costs range over more than 500 times `reg`, or over
        more than 80 times and a dozen passes have hardly moved the error.
    tol : float, optional
        The error to end with: the L1 norm of what the plan's marginals are wrong by, as a share of the mass.
    max_iter : int, optional
        Passes over the kernel at most, for each problem (a few more where the last point needs them).
    warmstart : tuple of array_like, optional
        Potentials ``(u, v)`` to start from, as `log` gives them, of shapes (..., m) and (..., n). Only ``v`` is used.
    round_plan : bool, optional
        Move the plan onto the marginals, which it then has up to rounding.
    log : bool, optional
        Also return a dict.
    workers : int, optional
        Threads: 1 is serial, -1 all processors, None the default of `kexue.threads`. The result is the same for any
        number, to the bit.

    Returns
    -------
    plan : ndarray, shape (..., m, n)
        Row sums are exact up to rounding, column sums to `tol`. float32 if all floating-point arguments are (it is
        computed in float64), else float64. A list of plans for problems of many sizes.
    log : dict
        Only with ``log=True``: ``cost`` (<P, M>), ``value`` (the minimum, with the entropic term), potentials ``u``
        and ``v`` in the units of the cost, with ``P = a b exp((u + v - M) / reg)`` and ``sum(a * u) == sum(b * v)``,
        ``error`` (see `tol`; before rounding), ``n_iter`` (passes) and ``status`` (0 converged, 1 `max_iter` reached).

    Raises
    ------
    KexueValueError
        As in `emd`; also for a `reg` that is not positive.
    OverflowError
        With method "kernel", see there.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached, with the largest error; the plan is then as wrong as ``error`` says.

    See Also
    --------
    sinkhorn2 : the cost alone.
    solve : everything in one object.
    emd : without regularisation.

    Notes
    -----
    O(m n) a pass. A pass reads the kernel once for both half steps; about ``range(M) / reg`` plain passes are needed,
    and some square root of it with acceleration. Cuturi, *Sinkhorn distances*, arXiv:1306.0895; Schmitzer,
    *Stabilized sparse scaling algorithms*, arXiv:1610.06519; Walker and Ni, *Anderson acceleration*,
    doi:10.1137/10078356X; Thibault et al., *Overrelaxed Sinkhorn*, arXiv:1711.01851; Altschuler, Weed and Rigollet
    (the rounding), arXiv:1705.09634.

    Examples
    --------
    >>> import kexue
    >>> plan = kexue.sinkhorn([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]], 0.1)
    >>> plan.round(4)
    array([[0.25, 0.25],
           [0.  , 0.5 ]])
    """
    settings = Settings(method, acceleration, epsilon_scaling, tol, max_iter, bool(round_plan))
    solution = _solve(a, b, M, reg, settings, warmstart, workers, {"plans", *(_LOGGED if log else ())})
    return (solution.plan, solution.log()) if log else solution.plan


@overload
def sinkhorn2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = ...,
    acceleration: Acceleration = ...,
    epsilon_scaling: bool | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    warmstart: tuple[ArrayLike, ArrayLike] | None = ...,
    log: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, dict[str, Any]]: ...
@overload
def sinkhorn2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = ...,
    acceleration: Acceleration = ...,
    epsilon_scaling: bool | None = ...,
    tol: float = ...,
    max_iter: int = ...,
    warmstart: tuple[ArrayLike, ArrayLike] | None = ...,
    log: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def sinkhorn2(
    a: ArrayLike | None,
    b: ArrayLike | None,
    M: ArrayLike,
    reg: ArrayLike,
    *,
    method: Method = "auto",
    acceleration: Acceleration = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int = DEFAULT_MAX_ITER,
    warmstart: tuple[ArrayLike, ArrayLike] | None = None,
    log: bool = False,
    workers: int | None = None,
) -> Any:
    """Transport cost of the entropic plan between two sets of weights.

    Parameters
    ----------
    a, b, M, reg, method, acceleration, epsilon_scaling, tol, max_iter, warmstart, log, workers
        As in `sinkhorn`.

    Returns
    -------
    cost : float or ndarray, shape (...)
        ``sum(plan * M)``, without the entropic term: the ``value`` of `log` has it.
    log : dict
        Only with ``log=True``: as in `sinkhorn`.

    Raises
    ------
    KexueValueError
        As in `sinkhorn`.

    Warns
    -----
    ConvergenceWarning
        As in `sinkhorn`.

    See Also
    --------
    sinkhorn : the plan.
    emd2 : without regularisation.

    Examples
    --------
    >>> import kexue
    >>> round(kexue.sinkhorn2([0.5, 0.5], [0.25, 0.75], [[0.0, 1.0], [1.0, 0.0]], 0.1), 6)
    0.25
    """
    settings = Settings(method, acceleration, epsilon_scaling, tol, max_iter)
    solution = _solve(a, b, M, reg, settings, warmstart, workers, {"costs", *(_LOGGED if log else ())})
    cost = solution.scalars("costs")
    return (cost, solution.log()) if log else cost
