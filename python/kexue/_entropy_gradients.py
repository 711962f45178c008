"""The gradients of entropy normalisation."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _entropy
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, is_sparse, result_dtype, sum_to
from kexue._entropy_rows import (
    LOG_WEIGHTS,
    MAX_ITER,
    WEIGHTS,
    DenseRows,
    Names,
    Settings,
    SparseRows,
    TargetKind,
    rows_of,
)
from kexue._errors import KexueValueError
from kexue._lazy import apply_rows, is_lazy


@same_kind
def entropy_normalize_vjp(
    p: ArrayLike,
    target: ArrayLike,
    grad_q: ArrayLike,
    *,
    axis: int = -1,
    target_kind: TargetKind = "entropy",
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
) -> tuple[Any, Any]:
    """The gradient of a loss by `p` and `target` from that by ``q = entropy_normalize(p, target)``.

    Parameters
    ----------
    p, target
        As in `entropy_normalize`.
    grad_q : array_like or sparse matrix
        The gradient by q, of its shape or broadcast to it. With sparse `p`, an array of that shape, of which the
        stored places count, or a sparse matrix of the same structure.
    axis, target_kind, on_unreachable, tol, max_iter, workers
        As in `entropy_normalize`.

    Returns
    -------
    grad_p : ndarray, or sparse CSR matrix of the structure of `p`
        Of the shape of `p`: what was broadcast is summed. float32 if `p` is float32 or float16, else float64.
    grad_target : ndarray or float
        Of the shape of `target`, float64: what was broadcast is summed.

    Raises
    ------
    KexueValueError
        As `entropy_normalize`, and if `grad_q` does not fit.

    Warns
    -----
    ConvergenceWarning
        As `entropy_normalize`.

    See Also
    --------
    entropy_normalize_logits_vjp : by logits.

    Notes
    -----
    With u = log p, mean E and covariances under q, and g = `grad_q`, the derivative by the entropy is
    ``-Cov(u, g) / (gamma * Var(u))``, and that by u_j ``gamma * q_j * (g_j - E g - (u_j - E u) * Cov(u, g) / Var(u))``
    (implicit differentiation of entropy(q) = target).

    Gradients are 0 in these cases: by entries that are zero, since they stay so; in rows whose target is out of
    reach, since the limits do not move with it; and in rows with gamma = 0, whose q is uniform. In the last case
    the one-sided derivative by the target does not exist: it grows beyond bounds as the target comes close to log s.
    The numbers m and s of the gaps are taken as constant.

    It solves once, which is most of the time, and makes three passes over the entries. float32 `p` is solved and
    differentiated in float32, with sums in float64: some 1e-6 of the row's largest gradient, more where nearly all of
    q lies on two entries, of which the entropy leaves no choice.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import kexue
    >>> p, grad_q = [0.5, 0.25, 0.15, 0.1], [0.3, -0.7, 1.1, 0.2]
    >>> grad_p, grad_target = kexue.entropy_normalize_vjp(p, 1.0, grad_q)
    >>> grad_p.round(6)
    array([ 0.245001, -1.126351,  1.000657,  0.08989 ])
    >>> print(f"{grad_target:.6f}")
    -0.034860
    """
    return _vjp(
        Names("p"),
        p,
        target,
        grad_q,
        domain=WEIGHTS,
        axis=axis,
        workers=workers,
        target_kind=target_kind,
        on_unreachable=on_unreachable,
        tol=tol,
        max_iter=max_iter,
    )


@same_kind
def entropy_normalize_logits_vjp(
    u: ArrayLike,
    target: ArrayLike,
    grad_q: ArrayLike,
    *,
    axis: int = -1,
    target_kind: TargetKind = "entropy",
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
) -> tuple[Any, Any]:
    """The gradient of a loss by `u` and `target` from that by ``q = entropy_normalize_logits(u, target)``.

    Parameters
    ----------
    u, target
        As in `entropy_normalize_logits`.
    grad_q, axis, target_kind, on_unreachable, tol, max_iter, workers
        As in `entropy_normalize_vjp`.

    Returns
    -------
    grad_u : ndarray, or sparse CSR matrix of the structure of `u`
        Of the shape of `u`. Entries of -inf get 0.
    grad_target : ndarray or float
        Of the shape of `target`, float64.

    Raises
    ------
    KexueValueError
        As `entropy_normalize_logits`, and if `grad_q` does not fit.

    Warns
    -----
    ConvergenceWarning
        As `entropy_normalize`.

    See Also
    --------
    entropy_normalize_vjp : by probabilities; its notes hold here too.

    Notes
    -----
    The costs are those of `entropy_normalize_vjp`.

    References
    ----------
    J. Su, "概率分布的熵归一化", Scientific Spaces 8829 (2021), https://kexue.fm/archives/8829

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> u, grad_q = np.log([0.5, 0.25, 0.15, 0.1]), [0.3, -0.7, 1.1, 0.2]
    >>> grad_u, grad_target = kexue.entropy_normalize_logits_vjp(u, 1.0, grad_q)
    >>> grad_u.round(6)
    array([ 0.1225  , -0.281588,  0.150099,  0.008989])
    """
    return _vjp(
        Names("u"),
        u,
        target,
        grad_q,
        domain=LOG_WEIGHTS,
        axis=axis,
        workers=workers,
        target_kind=target_kind,
        on_unreachable=on_unreachable,
        tol=tol,
        max_iter=max_iter,
    )


def _vjp(
    names: Names,
    values: Any,
    target: Any,
    grad_q: Any,
    *,
    domain: int,
    axis: int,
    workers: int | None,
    **settings: Any,
) -> tuple[Any, Any]:
    checked = Settings(**settings)
    if is_lazy(values, target, grad_q):
        return _vjp_lazily(names, values, target, grad_q, domain, axis, workers, settings)
    rows = rows_of(names, values, target, domain=domain, axis=axis)
    by_values, by_target = _vjp_rows(rows, grad_q, checked, workers)
    if isinstance(rows, SparseRows):
        return rows.shaped(by_values), sum_to(by_target, rows.given_target.shape)[()]
    by_values = sum_to(by_values.reshape(*rows.batch, rows.n), (*rows.own_shape, rows.n))
    return np.moveaxis(by_values, -1, axis), sum_to(by_target.reshape(rows.batch), rows.given_target.shape)[()]


def _vjp_rows(
    rows: DenseRows | SparseRows, grad_q: Any, settings: Settings, workers: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients by the entries and by each row's target."""
    upstream = as_contiguous(_upstream(rows, grad_q))
    solved = rows.solve(settings, workers)
    gamma = np.where(solved.status <= MAX_ITER, solved.gamma, 0.0)
    by_values, by_entropy = np.empty_like(rows.values), np.empty(rows.count)
    if rows.count:
        _entropy.gradient(rows.values, rows.offsets, gamma, upstream, rows.domain, by_values, by_entropy, workers)
    kind = settings.target_kind
    if kind == "perplexity":
        by_entropy /= rows.targets
    elif kind == "fraction" and rows.count:
        by_entropy *= np.log(rows.entries_of(0))
    elif kind == "gap_high":
        by_entropy *= -1
    return by_values, by_entropy


def _upstream(rows: DenseRows | SparseRows, grad_q: Any) -> np.ndarray:
    if isinstance(rows, SparseRows):
        return _sparse_upstream(rows, grad_q)
    array = as_real("grad_q", grad_q, dtype=rows.values.dtype)
    try:
        array = np.broadcast_to(array, rows.result_shape)
    except ValueError:
        raise KexueValueError(f"grad_q has shape {array.shape}, but q has shape {rows.result_shape}") from None
    return np.moveaxis(array, rows.given_axis, -1).reshape(rows.values.shape)


def _sparse_upstream(rows: SparseRows, grad_q: Any) -> np.ndarray:
    shape = rows.matrix.shape
    if not is_sparse(grad_q):
        array = as_real("grad_q", grad_q, dtype=rows.values.dtype)
        try:
            array = np.broadcast_to(array, shape)
        except ValueError:
            raise KexueValueError(f"grad_q has shape {array.shape}, but q has shape {shape}") from None
        return array[rows.row_numbers(), rows.matrix.indices]
    same = (
        grad_q.format == "csr"
        and grad_q.shape == shape
        and np.array_equal(grad_q.indptr, rows.matrix.indptr)
        and np.array_equal(grad_q.indices, rows.matrix.indices)
    )
    if not same:
        raise KexueValueError(f"grad_q must be an array or a CSR matrix of the structure of {rows.names.values}")
    return as_real("grad_q", grad_q.data, dtype=rows.values.dtype)


def _vjp_lazily(
    names: Names,
    values: Any,
    target: Any,
    grad_q: Any,
    domain: int,
    axis: int,
    workers: int | None,
    settings: dict[str, Any],
) -> tuple[Any, Any]:
    def solve_chunk(chunk: np.ndarray, targets: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = DenseRows(names, chunk, targets, domain=domain)
        by_values, by_target = _vjp_rows(rows, upstream, Settings(**settings), workers)
        return by_values.reshape(rows.result_shape), by_target.reshape(rows.batch)

    by_values, by_target = apply_rows(
        solve_chunk,
        "(n),(),(n)->(n),()",
        values,
        target,
        grad_q,
        axis=axis,
        output_dtypes=[result_dtype(values), np.float64],
    )
    return sum_to(by_values, np.shape(values)), sum_to(by_target, np.shape(target))
