"""Costs of optimal transport, exact and entropic."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy.sparse import issparse
from torch import Tensor

import kexue
from kexue import KexueValueError
from kexue.torch._autograd import Arrays, Needs, call


def emd2(
    a: Tensor | ArrayLike | None,
    b: Tensor | ArrayLike | None,
    M: Tensor,
    *,
    max_iter: int | None = None,
    workers: int | None = None,
) -> Tensor:
    """`kexue.emd2`: the cost of optimal transport, the earth mover's distance.

    Parameters
    ----------
    a : Tensor or array_like, shape (..., m), or None
        Non-negative weights of the rows; None: uniform.
    b : Tensor or array_like, shape (..., n), or None
        Non-negative weights of the columns, of the same total.
    M : Tensor, shape (..., m, n)
        Costs; ``inf`` forbids. Leading dimensions broadcast: each combination is one problem.
    max_iter, workers
        As in `kexue.emd2`.

    Returns
    -------
    Tensor, shape (...)
        float32 if all floating-point tensors are, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.emd2`; and if a tensor is on another device.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached; the gradient is that of a feasible plan.

    See Also
    --------
    sinkhorn2 : a smooth one.

    Notes
    -----
    The gradient by `M` is the plan, and by `a` and `b` the dual potentials, of the same solution: it takes no second
    one. Weights of equal totals determine the potentials up to ``(u + c, v - c)``; c is such that both have the same
    mean. All derivatives along which totals stay equal are right, whatever c is. Where plan or potentials are not
    unique the cost has a kink, and this is one of its subgradients. That by the weight of a
    point without mass to which everything is forbidden has no meaning.

    Memory for the plan, m n numbers a problem, is taken only if `M` needs a gradient.
    Peyré and Cuturi, doi:10.1561/2200000073, chapter 3.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> M = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    >>> weights = torch.tensor([0.5, 0.5], dtype=torch.float64), torch.tensor([0.25, 0.75], dtype=torch.float64)
    >>> cost = kexue.torch.emd2(*weights, M)
    >>> cost.backward()
    >>> cost.item(), M.grad.tolist()
    (0.25, [[0.25, 0.25], [0.0, 0.5]])
    """
    options: dict[str, Any] = dict(max_iter=max_iter, workers=workers)

    def forward(needs: Needs, given: Arrays) -> Any:
        arrays = given["a"], given["b"], given["M"]
        if "M" in needs:
            plan, log = kexue.emd(*arrays, log=True, **options)
            return log["cost"], (log["u"], log["v"], plan)
        if needs:
            cost, log = kexue.emd2(*arrays, log=True, **options)
            return cost, (log["u"], log["v"])
        return kexue.emd2(*arrays, **options), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        u, v, *plan = kept
        gradients = {"M": upstream[..., None, None] * plan[0]} if plan else {}
        if "a" in needs or "b" in needs:
            u, v = with_equal_means(u, v)
            gradients |= {"a": upstream[..., None] * u, "b": upstream[..., None] * v}
        return gradients

    return call("emd2", forward, backward, required={"M": M}, optional={"a": a, "b": b})


def with_equal_means(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The potentials u + c and v - c with the same mean."""
    shift = (v.mean(-1, keepdim=True) - u.mean(-1, keepdim=True)) / 2
    return u + shift, v - shift


def sinkhorn2(
    a: Tensor | ArrayLike | None,
    b: Tensor | ArrayLike | None,
    M: Tensor,
    reg: Tensor | ArrayLike,
    *,
    method: Literal["auto", "kernel", "stabilized", "log"] = "auto",
    acceleration: Literal["auto", "none", "anderson", "overrelaxation", "newton"] = "auto",
    epsilon_scaling: bool | None = None,
    tol: float = 1e-9,
    max_iter: int = 10_000,
    warmstart: tuple[Any, Any] | None = None,
    workers: int | None = None,
) -> Tensor:
    """`kexue.sinkhorn2`: the transport cost <P, M> of the entropic plan P, without the entropic term.

    Parameters
    ----------
    a : Tensor or array_like, shape (..., m), or None
        Non-negative weights of the rows; None: uniform.
    b : Tensor or array_like, shape (..., n) or (n, k), or None
        Non-negative weights of the columns, of the same total; or k targets, as in `kexue.sinkhorn`.
    M : Tensor, shape (..., m, n)
        Costs; ``inf`` forbids. Leading dimensions broadcast: each combination is one problem.
    reg : Tensor or array_like
        The regularisation, positive; broadcasts with the batch.
    method, acceleration, epsilon_scaling, tol, max_iter, workers
        As in `kexue.sinkhorn`.
    warmstart : tuple of Tensor or array_like, optional
        Potentials to start from, without a gradient.

    Returns
    -------
    Tensor, shape (...)
        float32 if all floating-point tensors but `reg` are, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.sinkhorn`; and if a tensor is on another device.

    Warns
    -----
    ConvergenceWarning
        If `max_iter` was reached; the gradient is then of no worth.

    See Also
    --------
    emd2 : without regularisation.

    Notes
    -----
    The gradients by `a`, `b`, `M` and `reg` are those of this number, not of the regularised minimum, whose gradients
    are potentials and plan. With P = a b Q the derivative of the plan solves the linear system of the marginals:
    with x and y such that

        x_i + sum_j b_j Q_ij y_j = -reg sum_j b_j Q_ij log Q_ij
        y_j + sum_i a_i Q_ij x_i = -reg sum_i a_i Q_ij log Q_ij,

    the gradients are u + x by a and v + y by b, (1 + log Q_ij + (x_i + y_j) / reg) P_ij by M_ij. They tend to those of
    `emd2` as `reg` tends to 0. Those by `a` and `b` are shifted as there. The system is solved directly, in float64:
    O(m n min(m, n)) time and O(m n) memory, no iterations are recorded. It is as singular as the plan nearly falls
    apart into blocks; shares of such blocks that are coupled by less than 1e-10 of their mass get the potentials'
    difference. The gradient is wrong by the marginals' error over that coupling: gradients of a small `reg` may need a
    smaller `tol`.

    Cuturi, arXiv:1306.0895; Luise, Rudi, Pontil and Ciliberto, *Differential properties of Sinkhorn approximation*,
    arXiv:1805.11897.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> M = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    >>> cost = kexue.torch.sinkhorn2(None, None, M, 1.0)
    >>> cost.backward()
    >>> round(cost.item(), 6), [round(slope, 6) for slope in M.grad[0].tolist()]
    (0.268941, [0.463835, 0.036165])
    """
    if isinstance(b, Tensor) and isinstance(M, Tensor) and b.ndim == M.ndim == 2 and (a is None or np.ndim(a) == 1):
        if b.shape[0] == M.shape[1] != b.shape[1]:
            b = b.T  # as kexue reads it
    start: dict[str, Any] = {"warmstart": warmstart}  # None, or what is no pair, which kexue refuses
    if isinstance(warmstart, (tuple, list)):
        start = {f"warmstart[{k}]": one for k, one in enumerate(warmstart)}
    options: dict[str, Any] = dict(
        method=method,
        acceleration=acceleration,
        epsilon_scaling=epsilon_scaling,
        tol=tol,
        max_iter=max_iter,
        workers=workers,
    )

    def forward(needs: Needs, given: Arrays) -> Any:
        arrays = given["a"], given["b"], given["M"], given["reg"]
        potentials = given["warmstart"] if "warmstart" in start else tuple(given[name] for name in start)
        if not needs:
            return kexue.sinkhorn2(*arrays, warmstart=potentials, **options), ()
        if issparse(given["a"]):
            raise KexueValueError("a is sparse, and a gradient of problems of several sizes is not known: a.toarray()")
        plan, log = kexue.sinkhorn(*arrays, warmstart=potentials, log=True, **options)
        return log["cost"], (plan, log["u"], log["v"])

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        costs, regs = (torch.as_tensor(given[name], dtype=torch.float64) for name in ("M", "reg"))
        return _entropic_gradients(needs, upstream.double(), costs, regs, *(tensor.double() for tensor in kept))

    return call(
        "sinkhorn2",
        forward,
        backward,
        required={"M": M},
        optional={"a": a, "b": b, "reg": reg},
        constant=start,
    )


# Shares of mass by which blocks of a plan are coupled and below which they count as uncoupled. A tolerance of 1e-9
# leaves nothing right of what less of a coupling says.
_UNCOUPLED = 1e-13


def _entropic_gradients(
    needs: Needs, upstream: Tensor, M: Tensor, reg: Tensor, P: Tensor, u: Tensor, v: Tensor
) -> dict[str, Tensor]:
    reg = reg[..., None, None]
    # Infinite ones are those of points without mass to which everything is forbidden.
    u, v = (torch.where(one.isfinite(), one, 0.0) for one in (u, v))
    a, b = P.sum(-1, keepdim=True), P.sum(-2, keepdim=True)
    moving = P > 0
    # Of the plan, not of the potentials: these may be rounded to float32, and (u + v - M) / reg cancels.
    log_q = torch.where(moving, P / a / b, 1.0).log()
    terms = -reg * P * log_q
    x, y = _offsets(P, a, b, terms.sum(-1, keepdim=True), terms.sum(-2, keepdim=True))
    if not (a > 0).all() or not (b > 0).all():
        x, y = _of_massless_points(M, reg, a, b, u[..., :, None], v[..., None, :], x, y)
    by_a, by_b = with_equal_means(u + x[..., 0], v + y[..., 0, :])
    gradients = {"a": upstream[..., None] * by_a, "b": upstream[..., None] * by_b}
    if "M" in needs or "reg" in needs:
        slopes = log_q + (x + y) / reg
        gradients["M"] = upstream[..., None, None] * torch.where(moving, P * (1 + slopes), 0.0)
        gradients["reg"] = -upstream * torch.where(moving, P * M * slopes, 0.0).sum((-2, -1)) / reg[..., 0, 0]
    return gradients


def _offsets(P: Tensor, a: Tensor, b: Tensor, r: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
    """x and y with ``a x + P y = r`` and ``P' x + b y = s``; x is a column, y a row. The longer one is eliminated."""
    if P.shape[-2] > P.shape[-1]:
        y, x = _offsets(P.mT, b.mT, a.mT, s.mT, r.mT)
        return x.mT, y.mT
    root_a, root_b = a.sqrt(), b.sqrt()
    scaled = torch.where(P > 0, P / root_a / root_b, 0.0)
    # x = 1, y = -1 solves the system with 0: its direction is given the eigenvalue 1, others at least some above 0.
    direction = root_a / a.sum(-2, keepdim=True).sqrt()
    matrix = direction @ direction.mT - scaled @ scaled.mT
    matrix.diagonal(dim1=-2, dim2=-1).add_(1 + _UNCOUPLED)
    right = _divided(r, root_a) - scaled @ _divided(s, root_b).mT
    x = _divided(torch.linalg.solve(matrix, right), root_a)
    return x, _divided(s - x.mT @ P, b)


def _divided(numbers: Tensor, by: Tensor) -> Tensor:
    return torch.where(by > 0, numbers / by, 0.0)


def _of_massless_points(
    M: Tensor, reg: Tensor, a: Tensor, b: Tensor, u: Tensor, v: Tensor, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with the rows and columns without mass, whose Q the plan does not tell."""
    log_q = (u + v - M) / reg
    q = log_q.exp()
    log_q = torch.where(q > 0, log_q, 0.0)
    x = torch.where(a > 0, x, -(q * b * (reg * log_q + y)).sum(-1, keepdim=True))
    y = torch.where(b > 0, y, -(q * a * (reg * log_q + x)).sum(-2, keepdim=True))
    return x, y
