"""Perturbations of inputs that raise a loss the most: by its gradient (FGM), or without labels (VAT)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import (
    as_array,
    as_contiguous,
    as_real,
    as_real_like,
    check_axes,
    check_axis,
    check_integer,
    check_number,
    result_dtype,
)
from kexue._contrastive_core import softmax_kl
from kexue._errors import KexueValueError, first_bad, require_finite
from kexue._gradient_arrays import require_place
from kexue._gradient_clipping_core import FACTOR, row_norms, scale_rows

__all__ = ["fgm_perturbation", "vat_loss", "vat_perturbation"]

# exp of it is finite, and so is a sum of 1e8 of those.
_MOST_EXPONENT = 690.0
# 1/2!, 1/3!, ...: of exp(t) - 1 - t for |t| <= 1.
_SERIES = [1 / math.factorial(k) for k in range(2, 23)]
# Entries of a block of samples: 256 KB an array.
_BLOCK = 1 << 15


@same_kind
def fgm_perturbation(
    g: ArrayLike,
    epsilon: ArrayLike = 1.0,
    *,
    axis: int | tuple[int, ...] | None = -1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The fast gradient method: the step of length epsilon along the gradient, epsilon g / norm(g), for each sample.

    To first order no perturbation of that length raises a loss by more: by epsilon norm(g).

    Parameters
    ----------
    g : array_like, shape (..., d)
        Gradients of the loss by the input, or by the embeddings, finite.
    epsilon : array_like
        Lengths, broadcast against `g`: a number, or of size 1 along `axis`. Negative ones lower the loss.
    axis : int, tuple of int, or None
        The axes of a sample. The last one by default: a vector is a sample. (1, 2) for embeddings
        (batch, length, d), where the norm is that of a text, and None for all of `g`.
    out : ndarray, optional
        Receives the result; may be `g`.

    Returns
    -------
    ndarray
        Of the shape of `g`; float32 for float32. A gradient of 0 has the perturbation 0.

    Raises
    ------
    TypeError
        If `out` is no array of the result's dtype.
    KexueValueError
        If an entry is not finite, or shapes do not fit.

    See Also
    --------
    vat_perturbation : without labels.

    Notes
    -----
    Linear time. The norm neither overflows nor underflows.

    References
    ----------
    T. Miyato, A. M. Dai, I. Goodfellow, "Adversarial training methods for semi-supervised text classification",
    arXiv:1605.07725.
    J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import kexue
    >>> kexue.fgm_perturbation([[3.0, -4.0], [0.0, 0.0]], 0.5)
    array([[ 0.3, -0.4],
           [ 0. ,  0. ]])
    """
    gradient = as_array("g", g)
    dtype = result_dtype(gradient)
    gradient = as_real("g", gradient, dtype=dtype)
    lengths = as_real("epsilon", epsilon, dtype=np.float64)
    require_finite("epsilon", lengths)
    axes = check_axes("g", axis, gradient.ndim)
    wanted = tuple(1 if i in axes else size for i, size in enumerate(gradient.shape))
    try:
        fits = np.broadcast_shapes(lengths.shape, wanted) == wanted
    except ValueError:
        fits = False
    if not fits:
        raise KexueValueError(
            f"epsilon must be a number or broadcast to {wanted}, one for each sample, but its shape is {lengths.shape}"
        )
    if out is not None:
        require_place("out", out, gradient.shape, dtype)
    result = _unit("g", gradient, axes, lengths)[0]
    if out is None:
        return result
    out[...] = result
    return out


@same_kind
def vat_perturbation(
    grad: Callable[[np.ndarray], ArrayLike],
    x: ArrayLike,
    *,
    xi: float | None = None,
    epsilon: float = 1.0,
    iterations: int = 1,
    axis: int | tuple[int, ...] | None = -1,
    start: ArrayLike | None = None,
    rng: np.random.Generator | int | None = None,
) -> np.ndarray:
    """The perturbation of virtual adversarial training: where a model's output changes the most, found without labels.

    With the divergence D(x') = l(f(x'), f(x)) of the output at x' from that at x, which is held fixed, D(x + r) is
    about r H r / 2, for D and its gradient are 0 at x. So grad D(x + xi u) / xi is about H u, and

        repeat: u <- grad D(x + xi u), u <- u / norm(u)

    is power iteration, from a random direction, towards the greatest eigenvector of H.

    Parameters
    ----------
    grad : callable
        Takes inputs x' of the shape and dtype of `x` and returns the gradient of D by x', of the same shape, where the
        divergences of samples are summed. With logits z(x) and KL it is the gradient of
        ``vat_loss(z(x), z(x'), return_grad=True)`` through the model.
    x : array_like, shape (..., d)
        Inputs.
    xi : float, optional
        Length of the steps with which H is probed; 1e-3, or 0.1 in float32. Errors are of the order of xi, and of
        rounding over xi: take more where entries of `x` are large.
    epsilon : float
        Length of the perturbation.
    iterations : int
        Calls of `grad`. One is usual, and 0 is Gaussian noise of that length.
    axis : int, tuple of int, or None
        The axes of a sample, as in `fgm_perturbation`.
    start : array_like, optional
        Directions to start from, of the shape of `x`, in the place of normal ones: those that were found before, say.
    rng : numpy.random.Generator, int or None
        Through ``numpy.random.default_rng(rng)``. An integer gives the same directions each time.

    Returns
    -------
    ndarray
        epsilon u, of the shape and dtype of `x`. Its sign is arbitrary: divergences of both differ at the order of
        epsilon^3. Where a gradient is 0 the direction before stays.

    Raises
    ------
    KexueValueError
        If an entry or what `grad` returns is not finite, shapes do not fit, or `start` is 0 for a sample.

    See Also
    --------
    vat_loss : the divergence, and its gradient by the logits.
    fgm_perturbation : with labels.

    Notes
    -----
    Each iteration shrinks the angle to the eigenvector by the ratio of the two greatest eigenvalues.

    References
    ----------
    T. Miyato et al., "Virtual adversarial training: a regularization method for supervised and semi-supervised
    learning", arXiv:1704.03976.
    J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> W, x = np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), np.array([0.3, -0.2])
    >>> def grad(x_perturbed):
    ...     return kexue.vat_loss(W @ x, W @ x_perturbed, return_grad=True)[1] @ W
    >>> r = kexue.vat_perturbation(grad, x, epsilon=0.1, iterations=20, rng=0)
    >>> abs(r).round(4)
    array([0.0969, 0.0247])
    """
    if not callable(grad):
        raise TypeError(f"grad must be callable, not {type(grad).__name__}")
    inputs = as_array("x", x)
    dtype = result_dtype(inputs)
    inputs = as_real("x", inputs, dtype=dtype)
    require_finite("x", inputs)
    axes = check_axes("x", axis, inputs.ndim)
    step = check_number("xi", (0.1 if dtype == np.float32 else 1e-3) if xi is None else xi, finite=True)
    if step <= 0:
        raise KexueValueError(f"xi must be positive, got {xi!r}")
    length = check_number("epsilon", epsilon, finite=True)
    count = check_integer("iterations", iterations, 0)
    if start is None:
        generator = np.random.default_rng(rng)
        direction, is_zero = _unit("start", generator.standard_normal(inputs.shape, dtype=dtype), axes)
    else:
        direction, is_zero = _unit("start", as_real_like("start", start, "x", inputs, dtype), axes)
        if is_zero.any():
            raise KexueValueError("start must not be 0 for a sample: it would have no direction")
    for _ in range(count):
        point = dtype.type(step) * direction
        point += inputs
        found, is_zero = _unit("grad(x)", as_real_like("grad(x)", grad(point), "x", inputs, dtype), axes)
        direction = np.where(is_zero, direction, found) if is_zero.any() else found
    direction *= dtype.type(length)
    return direction


@overload
def vat_loss(
    clean: ArrayLike,
    perturbed: ArrayLike,
    *,
    kind: Literal["logits", "probabilities"] = ...,
    axis: int = ...,
    return_grad: Literal[True],
) -> tuple[Any, np.ndarray]: ...
@overload
def vat_loss(
    clean: ArrayLike,
    perturbed: ArrayLike,
    *,
    kind: Literal["logits", "probabilities"] = ...,
    axis: int = ...,
    return_grad: bool = ...,
) -> Any: ...
@same_kind
def vat_loss(
    clean: ArrayLike,
    perturbed: ArrayLike,
    *,
    kind: Literal["logits", "probabilities"] = "logits",
    axis: int = -1,
    return_grad: bool = False,
) -> Any:
    """KL(f(x) || f(x + r)), the loss of virtual adversarial training, with all digits where both hardly differ.

    Parameters
    ----------
    clean, perturbed : array_like, shape (..., n)
        Logits of softmaxes at x and at x + r, or probabilities. They broadcast. -inf is a class of probability 0.
    kind : {"logits", "probabilities"}
        Probabilities are divided by their sum.
    axis : int
        The axis of the classes.
    return_grad : bool
        Whether to return the gradient by `perturbed` as well; `clean` is a constant.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        One for each distribution, at least 0. inf where a class that was possible no longer is. float32 for float32,
        computed in float64.
    grad : ndarray, shape (..., n)
        Only if `return_grad`. By logits softmax(perturbed) - softmax(clean), by probabilities
        (1 - clean / perturbed) / sum(perturbed), with both divided by their sums; without cancellation.

    Raises
    ------
    KexueValueError
        If an entry is nan or inf (or a probability is negative), shapes do not broadcast, or a distribution is empty.

    See Also
    --------
    softmax_symmetric_kl : both directions at once.

    Notes
    -----
    With d = perturbed - clean, centred so that its mean under p = softmax(clean) is 0, KL is the logarithm of the mean
    of exp(d), log1p(E_p (exp(d) - 1 - d)): a sum of positive terms. The usual sum of p (log p - log q) has no digit
    left at KL = 1e-16, which is a perturbation of 1e-8.

    References
    ----------
    T. Miyato et al., arXiv:1704.03976. J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import kexue
    >>> loss, grad = kexue.vat_loss([0.0, 1.0], [0.0, 1.5], return_grad=True)
    >>> round(float(loss), 6), grad.round(6)
    (0.022622, array([-0.086516,  0.086516]))
    >>> print(f"{kexue.vat_loss([0.0, 0.0], [0.0, 2e-9]):.15g}")
    5e-19
    """
    if not isinstance(kind, str) or kind not in ("logits", "probabilities"):
        raise KexueValueError(f'kind must be "logits" or "probabilities", got {kind!r}')
    dtype = result_dtype(clean, perturbed)
    given = {"clean": as_real("clean", clean), "perturbed": as_real("perturbed", perturbed)}
    try:
        a, b = np.broadcast_arrays(*given.values())
    except ValueError:
        raise KexueValueError(
            "clean and perturbed must have shapes that broadcast, "
            f"got {given['clean'].shape} and {given['perturbed'].shape}"
        ) from None
    place = check_axis("clean", axis, a.ndim)
    if a.shape[place] == 0:
        raise KexueValueError(f"clean must have a class along axis {axis}, but its shape is {a.shape}")
    a, b = np.moveaxis(a, place, -1), np.moveaxis(b, place, -1)
    shape, rows, n = a.shape, math.prod(a.shape[:-1]), a.shape[-1]
    a, b = a.reshape(rows, n), b.reshape(rows, n)
    loss = np.empty(rows, dtype=dtype)
    grad = np.empty((rows, n), dtype=dtype) if return_grad else None
    size = max(1, _BLOCK // n)
    block = _of_logits if kind == "logits" else _of_probabilities
    for part in (slice(start, start + size) for start in range(0, rows, size)):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            block(a[part], b[part], loss[part], None if grad is None else grad[part], given)
    loss = loss.reshape(shape[:-1])[()]
    return loss if grad is None else (loss, np.moveaxis(grad.reshape(shape), -1, place))


# ---- blocks of distributions ----


def _of_logits(
    a: np.ndarray, b: np.ndarray, loss: np.ndarray, grad: np.ndarray | None, given: dict[str, np.ndarray]
) -> None:
    a, b = (as_contiguous(logits.astype(loss.dtype, copy=False)) for logits in (a, b))
    softmax_kl(a, b, np.empty(2 * a.shape[1] + 32), loss, grad)
    rest = np.isnan(loss)
    if not rest.any():
        return
    for name, array in given.items():
        first_bad(name, array, lambda entries: ~(entries < np.inf))
    first, second = a[rest].astype(np.float64), b[rest].astype(np.float64)
    difference = second - first
    if (np.isinf(difference) & (first > -np.inf) & (second > -np.inf)).any():
        first, second = (logits - logits.max(axis=-1, keepdims=True) for logits in (first, second))
        difference = second - first
    _require_a_class(first, second)
    found = _divergence(first, second, difference)
    loss[rest] = found.loss
    if grad is not None:
        grad[rest] = _logit_gradient(found, second)


def _of_probabilities(
    a: np.ndarray, b: np.ndarray, loss: np.ndarray, grad: np.ndarray | None, given: dict[str, np.ndarray]
) -> None:
    a, b = a.astype(np.float64, copy=False), b.astype(np.float64, copy=False)
    for name, block in (("clean", a), ("perturbed", b)):
        if not (block.min() >= 0 and block.max() < np.inf):
            first_bad(
                name, given[name], lambda entries: ~((entries >= 0) & (entries < np.inf)), "is {value}, no probability"
            )
    first, second = np.log(a), np.log(b)
    _require_a_class(first, second)
    relative = (b - a) / a
    difference = np.where(np.abs(relative) < 0.5, np.log1p(relative), second - first)
    found = _divergence(first, second, difference)
    loss[:] = found.loss
    if grad is not None:
        grad[:] = _probability_gradient(found, b)


def _require_a_class(a: np.ndarray, b: np.ndarray) -> None:
    for name, logits in (("clean", a), ("perturbed", b)):
        if not np.isfinite(logits.max(axis=-1)).all():
            raise KexueValueError(f"{name} has a distribution without a possible class")


# ---- in common ----


def _unit(name: str, vectors: np.ndarray, axes: tuple[int, ...], length: Any = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Vectors scaled to a length, those of 0 left as they are; and, with axes kept, where they are 0."""
    kept = vectors.ndim - len(axes)
    last = tuple(range(kept, vectors.ndim))
    moved = np.moveaxis(vectors, axes, last)
    samples, entries = math.prod(moved.shape[:kept]), math.prod(moved.shape[kept:])
    rows = moved.reshape(samples, entries)
    wanted = tuple(1 if i in axes else size for i, size in enumerate(vectors.shape))
    # Axes of size 1 may stand anywhere.
    lengths = np.full(samples, length) if np.ndim(length) == 0 else np.broadcast_to(length, wanted).reshape(samples)
    rows = as_contiguous(rows)
    norms = row_norms([rows], None)
    if not np.isfinite(norms["square"]).all():
        require_finite(name, vectors)
    is_zero = norms["square"] == 0
    with np.errstate(over="ignore"):
        factor = lengths / np.where(is_zero, 1, np.sqrt(norms["square"]))
    result, factors = np.empty_like(rows), np.ones(samples, dtype=FACTOR)
    factors["first"] = np.where(is_zero, 0, factor)
    scale_rows([rows], factors, [result], None)
    size = np.abs(factor)
    far = ~is_zero & (lengths != 0) & ((norms["exponent"] != 0) | (size < 2.0**-1000) | (size > 2.0**1000))
    if far.any():
        wide = rows[far].astype(np.float64)
        wide /= np.abs(wide).max(axis=1, keepdims=True)
        result[far] = wide * (lengths[far] / np.sqrt(np.vecdot(wide, wide)))[:, None]
    return as_contiguous(np.moveaxis(result.reshape(moved.shape), last, axes)), is_zero.reshape(wanted)


def _series(t: np.ndarray, size: float) -> np.ndarray:
    """exp(t) - 1 - t for abs(t) <= size <= 1, to a rounding error."""
    terms = next(k for k in range(1, len(_SERIES)) if size**k * _SERIES[k] < 1e-17)
    result = np.full_like(t, _SERIES[terms])
    for coefficient in _SERIES[terms - 1 :: -1]:
        result *= t
        result += coefficient
    result *= t
    result *= t
    return result


def _excess(t: np.ndarray) -> np.ndarray:
    """exp(t) - 1 - t, to a few eps at any t."""
    return np.where(np.abs(t) <= 1, _series(np.clip(t, -1, 1), 1.0), np.expm1(t) - t)


@dataclass(frozen=True)
class _Divergence:
    """KL of two softmaxes along the last axis, and what its gradient needs."""

    loss: np.ndarray
    p: np.ndarray  # the first softmax
    log_ratio: np.ndarray  # of the second one to it
    has_ratio: np.ndarray  # where neither is 0


def _divergence(a: np.ndarray, b: np.ndarray, difference: np.ndarray) -> _Divergence:
    """Of logits; `difference` is b - a, which the caller may know to more digits."""
    top = a.max(axis=-1, keepdims=True)
    p = np.exp(a - top)
    total = p.sum(axis=-1, keepdims=True)
    p /= total
    log_total = top + np.log(total)
    has_ratio = (p > 0) & (b > -np.inf)
    delta = np.where(has_ratio, difference, 0.0)
    shift = np.zeros_like(total)
    for _ in range(2):  # once more for what the first mean was rounded by
        mean = (p * delta).sum(axis=-1, keepdims=True)
        shift += mean
        delta = np.where(has_ratio, delta - mean, 0.0)
    # Where p is 0, if only by underflow, what counts is b.
    exponent = np.where(has_ratio, delta, b - log_total - shift)
    bounded = np.minimum(exponent, _MOST_EXPONENT)
    terms = np.where(has_ratio, p * _excess(np.where(has_ratio, bounded, 0.0)), np.exp(bounded))
    loss = np.log1p(terms.sum(axis=-1, keepdims=True))
    is_far = exponent.max(axis=-1, keepdims=True) > _MOST_EXPONENT
    if is_far.any():
        logs = np.where(is_far, b - log_total - shift, 0.0)
        most = logs.max(axis=-1, keepdims=True)
        loss = np.where(is_far, most + np.log(np.exp(logs - most).sum(axis=-1, keepdims=True)), loss)
    is_infinite = ((a > -np.inf) & (b == -np.inf)).any(axis=-1, keepdims=True)
    has_ratio &= ~is_infinite
    return _Divergence(np.where(is_infinite, np.inf, loss)[..., 0], p, delta - loss, has_ratio)


def _logit_gradient(found: _Divergence, b: np.ndarray) -> np.ndarray:
    """softmax(b) - p, with all digits where both hardly differ."""
    with np.errstate(over="ignore"):
        q = np.exp(b - b.max(axis=-1, keepdims=True))
    q /= q.sum(axis=-1, keepdims=True)
    is_near = found.has_ratio & (np.abs(found.log_ratio) <= 1)
    return np.where(is_near, found.p * np.expm1(np.where(is_near, found.log_ratio, 0.0)), q - found.p)


def _probability_gradient(found: _Divergence, perturbed: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        near = -np.expm1(-np.where(found.has_ratio, found.log_ratio, 0.0))
        total = perturbed.sum(axis=-1, keepdims=True)
        far = np.where(found.p > 0, 1 - found.p / (perturbed / total), 1.0)
        return np.where(found.has_ratio, near, far) / total
