"""Gradients of expected rewards: by scores, exactly through a softmax, and through a smoothed argmax."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_axis, check_broadcast, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite, require_nonnegative
from kexue._ufuncs import softmax, softmax_vjp

__all__ = ["optimal_baseline", "policy_gradient", "smoothed_argmax_gradient", "softmax_policy_gradient"]

_ENTRIES = 1 << 18  # of logits times nodes at once: 2 MB an array
_ROWS = 1 << 15  # entries of whole rows at once: some arrays of them stay in the cache


# ---- from samples ----


@same_kind
def policy_gradient(
    logp_grad: ArrayLike,
    rewards: ArrayLike,
    baseline: Literal["mean", "optimal"] | ArrayLike | None = "mean",
    *,
    return_std: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The gradient of an expected reward from samples: the mean of (reward - baseline) times the score.

    Parameters
    ----------
    logp_grad : array_like, shape (..., n, d)
        The scores: the gradient of log p(y) by the d parameters at each of n samples y, drawn from p.
    rewards : array_like, shape (..., n)
        Broadcast to the shape of `logp_grad` without the last axis. They need not be differentiable.
    baseline : {"mean", "optimal"}, None or array_like
        What is taken from the rewards, to make the variance smaller. "mean" is the mean reward and "optimal" the one
        of `optimal_baseline`, both of the other samples: so the gradient has no bias, which a sample's own reward in
        its baseline causes. None is 0. Numbers broadcast to the shape of the rewards.
    return_std : bool
        Also return the standard error of each entry.

    Returns
    -------
    gradient : ndarray, shape (..., d)
        float32 if all floating-point arguments are, else float64.
    std : ndarray, shape (..., d)
        With `return_std`: the standard deviation of the n terms over sqrt(n), and what they share by the baseline.

    Raises
    ------
    KexueValueError
        If a number is not finite, a shape does not fit, there is no sample, or there is one where two are needed (for a
        baseline of the others, for the standard error), or `baseline` is another word.
    OverflowError
        If the gradient, or a square of which a baseline or the standard error is made, overflows.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    softmax_policy_gradient : exact, where all outcomes can be enumerated.
    zeroth_order_gradient : by moving the parameters in place of drawing outcomes.

    Notes
    -----
    O(n d). "mean" costs the term-wise mean of rewards a factor n / (n - 1) only.

    References
    ----------
    R. J. Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning", Machine
    Learning 8, 1992, doi:10.1007/BF00992696. J. Su, https://kexue.fm/archives/7737.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> p, rewards = np.array([0.2, 0.3, 0.5]), np.array([1.0, 0.0, 2.0])
    >>> y = np.random.default_rng(0).choice(3, size=10000, p=p)
    >>> gradient, std = kexue.policy_gradient(np.eye(3)[y] - p, rewards[y], return_std=True)
    >>> gradient.round(2), std.round(3)
    (array([-0.04, -0.35,  0.4 ]), array([0.002, 0.003, 0.002]))
    >>> kexue.softmax_policy_gradient(np.log(p), rewards).round(2)
    array([-0.04, -0.36,  0.4 ])
    """
    scores, gains, shape = _scores(logp_grad, rewards)
    count = shape[-1]
    dtype = result_dtype(logp_grad, rewards, None if isinstance(baseline, str) else baseline)
    sizes: np.ndarray | None = None
    if baseline is None:
        advantage = gains
    elif isinstance(baseline, str):
        if baseline not in ("mean", "optimal"):
            raise KexueValueError(f'baseline must be "mean", "optimal", None or numbers, got {baseline!r}')
        if count < 2:
            raise KexueValueError(f'baseline="{baseline}" is that of the other samples, but logp_grad has only one')
        if gains.shape != shape:
            gains = np.broadcast_to(gains, shape)
        with np.errstate(over="ignore", invalid="ignore"):
            if baseline == "mean":
                # `mean_of_others` with equal weights, in fewer passes; the mean's own rounding is taken back.
                offsets = gains - np.add.reduce(gains, axis=-1, keepdims=True) / count
                advantage = offsets * (count / (count - 1)) - np.add.reduce(offsets, axis=-1, keepdims=True) / (
                    count - 1
                )
            else:
                sizes = _square_norms(scores)
                _require_finite_scores(scores, sizes)
                advantage = gains - mean_of_others(gains, sizes)
    else:
        given = as_real("baseline", baseline, dtype=np.float64)
        require_finite("baseline", given)
        if np.broadcast_shapes(check_broadcast(baseline=given.shape, rewards=shape), shape) != shape:
            raise KexueValueError(
                f"baseline has shape {given.shape}, which does not broadcast to that of rewards, {shape}"
            )
        with np.errstate(over="ignore"):
            advantage = gains - given
    if advantage.shape != shape:
        advantage = np.broadcast_to(advantage, shape)
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = (advantage[..., None, :] @ scores)[..., 0, :] / count
    _require_finite_scores(scores, gradient)
    if not np.isfinite(gradient).all():
        raise OverflowError("the gradient overflows: rewards or logp_grad are too large")
    if not return_std:
        return gradient.astype(dtype, copy=False)
    if count < 2:
        raise KexueValueError("return_std needs two samples at least, but logp_grad has only one")
    terms = advantage[..., None] * scores
    terms -= gradient[..., None, :]
    with np.errstate(over="ignore", invalid="ignore"):
        variance = np.square(terms).sum(axis=-2) / (count * (count - 1))
        if isinstance(baseline, str):
            if sizes is None:
                sizes = np.ones(shape)
            # Each reward is in the baselines of the others, so two terms have a covariance of this square.
            total = sizes.sum(axis=-1)[..., None]
            shared = ((advantage * sizes)[..., None, :] @ scores)[..., 0, :]
            variance += np.square(np.divide(shared, total, out=shared, where=total > 0) / (count - 1))
    if not np.isfinite(variance).all():
        raise OverflowError("the squares of the standard error overflow: rewards or logp_grad are too large")
    std = np.sqrt(variance)
    return gradient.astype(dtype), std.astype(dtype)


@same_kind
def optimal_baseline(
    logp_grad: ArrayLike, rewards: ArrayLike, weights: ArrayLike | None = None
) -> np.ndarray | np.generic:
    """The baseline of the least total variance: the mean reward weighted by squared lengths of scores.

    Parameters
    ----------
    logp_grad : array_like, shape (..., n, d)
        The scores of n samples, or of all outcomes.
    rewards : array_like, shape (..., n)
        Broadcast to the shape of `logp_grad` without the last axis.
    weights : array_like, shape (..., n), optional
        How often each sample counts, at least 0: the probabilities, where all outcomes are enumerated.

    Returns
    -------
    ndarray or scalar, shape (...)
        sum w r |s|^2 / sum w |s|^2, and 0 where all scores are. float32 if all floating-point arguments are, else
        float64.

    Raises
    ------
    KexueValueError
        If a number is not finite, a weight is negative, or a shape does not fit.
    OverflowError
        If a squared length of a score, or its product with a reward, overflows.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    policy_gradient : ``baseline="optimal"`` leaves each sample out of its own.

    Notes
    -----
    O(n d). The variance is that of one sample, summed over the d entries.

    References
    ----------
    L. Weaver, N. Tao, "The optimal reward baseline for gradient-based reinforcement learning", UAI 2001,
    arXiv:1301.2315. J. Su, https://kexue.fm/archives/7737.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> p = kexue.softmax([0.2, -0.5, 1.0, 0.3])
    >>> round(float(kexue.optimal_baseline(np.eye(4) - p, [1.0, 0.0, 2.0, -1.0], p)), 6)
    0.522025
    """
    scores, gains, shape = _scores(logp_grad, rewards)
    sizes = _square_norms(scores)
    _require_finite_scores(scores, sizes)
    if weights is not None:
        shares = as_real("weights", weights, dtype=np.float64)
        require_finite("weights", shares)
        require_nonnegative("weights", shares)
        if check_broadcast(weights=shares.shape, rewards=shape) != shape:
            raise KexueValueError(f"weights has shape {shares.shape}, which does not broadcast to {shape} of logp_grad")
        sizes = sizes * shares
    total = sizes.sum(axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        baseline = np.divide((sizes * gains).sum(axis=-1), total, out=np.zeros_like(total), where=total > 0)
    if not np.isfinite(baseline).all():
        raise OverflowError("squared lengths of logp_grad, times rewards, overflow")
    return baseline.astype(result_dtype(logp_grad, rewards, weights))[()]


def mean_of_others(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Of each entry along the last axis, the weighted mean of all but it; 0 where those weigh nothing."""
    values, weights = np.asarray(values), np.asarray(weights)
    # Relative to some mean, so that a large constant in the values costs no digits.
    centre = values.mean(axis=-1, keepdims=True)
    offsets = (values - centre) * weights
    whole = weights.sum(axis=-1, keepdims=True)
    total = whole - weights
    rest = offsets.sum(axis=-1, keepdims=True) - offsets
    top = weights.argmax(axis=-1)[..., None]
    heavy = (np.take_along_axis(weights, top, axis=-1) > 0.5 * whole)[..., 0]
    if heavy.any():
        # An entry that outweighs the others leaves rounding errors of its own in their place, and a baseline that
        # depends on its sample: a bias. So the others are summed by themselves.
        others = np.arange(weights.shape[-1]) != top[heavy]
        place = heavy[..., None] & (np.arange(weights.shape[-1]) == top)
        total[place] = weights[heavy].sum(axis=-1, where=others)
        rest[place] = offsets[heavy].sum(axis=-1, where=others)
    usable = total > 0
    return np.where(usable, centre + np.divide(rest, total, out=np.zeros_like(rest), where=usable), 0)


def _scores(logp_grad: ArrayLike, rewards: ArrayLike) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    scores = as_real("logp_grad", logp_grad, dtype=np.float64)
    if scores.ndim < 2:
        raise KexueValueError(f"logp_grad must have at least 2 dimensions (n, d), but its shape is {scores.shape}")
    gains = as_real("rewards", rewards, dtype=np.float64)
    shape = scores.shape[:-1]
    if not shape[-1]:
        raise KexueValueError(f"logp_grad must have a sample at least, but its shape is {scores.shape}")
    if gains.shape != shape and check_broadcast(**{"rewards": gains.shape, "logp_grad (..., n)": shape}) != shape:
        raise KexueValueError(
            f"rewards has shape {gains.shape}, but logp_grad {scores.shape}: (..., n) and (..., n, d)"
        )
    require_finite("rewards", gains)
    return scores, gains, shape


def _require_finite_scores(scores: np.ndarray, result: np.ndarray) -> None:
    # A product with NaN or infinity is neither finite, so the scores, which are many, need no pass of their own.
    if not np.isfinite(result).all():
        require_finite("logp_grad", scores)


def _square_norms(scores: np.ndarray) -> np.ndarray:
    return np.einsum("...i,...i->...", scores, scores)


# ---- exact ----


@same_kind
def softmax_policy_gradient(
    logits: ArrayLike, rewards: ArrayLike, *, axis: int = -1, return_value: bool = False
) -> np.ndarray | tuple[np.ndarray, Any]:
    """The gradient by the logits of the expected reward of a softmax: p (r - p.r).

    Parameters
    ----------
    logits : array_like, shape (..., n)
        Any finite numbers, and -inf for what is never chosen.
    rewards : array_like, shape (..., n)
        Of each choice. Both broadcast.
    axis : int
        The axis along which the choices run.
    return_value : bool
        Also return the expected reward.

    Returns
    -------
    gradient : ndarray, shape (..., n)
        Of the broadcast shape; float32 if all floating-point arguments are, else float64.
    value : ndarray or scalar, shape (...)
        With `return_value`: p.r.

    Raises
    ------
    KexueValueError
        If a logit is NaN or +inf, all of a row are -inf, a reward is not finite, or a shape does not fit.
    OverflowError
        If a difference of rewards overflows.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    policy_gradient : from samples.
    smoothed_argmax_gradient : the same by noise on the logits.

    Notes
    -----
    Linear time. Differences to the reward of the likeliest choice are formed first: so entries keep their digits where
    one choice has nearly all of the probability, and where rewards are nearly the same.

    References
    ----------
    J. Su, https://kexue.fm/archives/7737.

    Examples
    --------
    >>> import kexue
    >>> gradient, value = kexue.softmax_policy_gradient([0.2, -0.5, 1.0, 0.3], [1, 0, 2, -1], return_value=True)
    >>> gradient.round(4), round(float(value), 4)
    (array([ 0.0207, -0.0926,  0.507 , -0.4351]), 0.9003)
    """
    return _through_argmax(logits, rewards, axis, return_value, "gumbel", 1.0)


@same_kind
def smoothed_argmax_gradient(
    logits: ArrayLike,
    rewards: ArrayLike,
    *,
    noise: Literal["gumbel", "gaussian"] = "gumbel",
    scale: float = 1.0,
    axis: int = -1,
    return_value: bool = False,
) -> np.ndarray | tuple[np.ndarray, Any]:
    """The gradient of the reward of the best choice, where noise on the logits makes it differentiable.

    By the logits s, of E r(argmax(s + scale z)): what `zeroth_order_gradient` estimates for Gaussian z. With Gumbel
    noise the choice has the law softmax(s / scale), so this is exactly the policy gradient; with Gaussian noise it is a
    probit model, and nearly so.

    Parameters
    ----------
    logits : array_like, shape (..., n)
        Any finite numbers, and -inf for what is never chosen.
    rewards : array_like, shape (..., n)
        Of each choice. Both broadcast.
    noise : {"gumbel", "gaussian"}
        The law of z, independent in each entry.
    scale : float
        Positive.
    axis : int
        The axis along which the choices run.
    return_value : bool
        Also return the expected reward.

    Returns
    -------
    gradient : ndarray, shape (..., n)
        Of the broadcast shape; float32 if all floating-point arguments are, else float64.
    value : ndarray or scalar, shape (...)
        With `return_value`.

    Raises
    ------
    KexueValueError
        If a logit is NaN or +inf, all of a row are -inf, a reward is not finite, `scale` is not positive and finite,
        `noise` is another, or a shape does not fit.
    OverflowError
        If a difference of rewards overflows.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    softmax_policy_gradient : Gumbel noise of scale 1.

    Notes
    -----
    Linear time for Gumbel noise. For Gaussian noise the gradient is sum_j A_ij (r_i - r_j), where A_ij is the density
    with which i and j tie at the top: an integral of the product of n distribution functions, by the trapezoidal rule
    with some 300 nodes, of which the error is below 1e-12 of the largest entry (against mpmath).

    References
    ----------
    J. Su, https://kexue.fm/archives/7737.

    Examples
    --------
    >>> import kexue
    >>> s, r = [0.2, -0.5, 1.0, 0.3], [1, 0, 2, -1]
    >>> kexue.smoothed_argmax_gradient(s, r, scale=0.5, return_value=True)[1].round(6)
    np.float64(1.305029)
    >>> kexue.smoothed_argmax_gradient(s, r, noise="gaussian", scale=1.28).round(4)
    array([ 0.0441, -0.0928,  0.5047, -0.456 ])
    """
    if not isinstance(noise, str) or noise not in ("gumbel", "gaussian"):
        raise KexueValueError(f'noise must be "gumbel" or "gaussian", got {noise!r}')
    scale = check_number("scale", scale)
    if not 0 < scale < math.inf:
        raise KexueValueError(f"scale must be positive and finite, got {scale}")
    return _through_argmax(logits, rewards, axis, return_value, noise, scale)


def _through_argmax(
    logits: ArrayLike, rewards: ArrayLike, axis: int, return_value: bool, noise: str, scale: float
) -> Any:
    values, gains = as_real("logits", logits), as_real("rewards", rewards)
    shape = check_broadcast(logits=values.shape, rewards=gains.shape)
    place = check_axis("logits", axis, len(shape))
    if not shape[place]:
        raise KexueValueError(f"logits has no entries along axis {axis}: its shape is {values.shape}")
    rows, rewards_of_rows = (np.moveaxis(np.broadcast_to(array, shape), place, -1) for array in (values, gains))
    batch = rows.shape[:-1]
    rows, rewards_of_rows = rows.reshape(-1, shape[place]), rewards_of_rows.reshape(-1, shape[place])
    dtype = result_dtype(logits, rewards)
    gradient, value = np.empty(rows.shape, dtype), np.empty(len(rows)) if return_value else None
    group = max(1, _ROWS // shape[place])
    is_softmax, are_finite = noise == "gumbel", True
    if not is_softmax:
        require_finite("rewards", gains)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for start in range(0, len(rows), group):
            part = slice(start, start + group)
            block, offsets = rows[part].astype(np.float64, copy=False), rewards_of_rows[part]
            best = np.arange(len(block)), block.argmax(axis=1)
            top, origin = block[best], offsets[best].astype(np.float64, copy=False)
            if not np.isfinite(top).all():  # the first NaN, if there is one, counts as the greatest
                first_bad("logits", values, lambda entries: ~(entries < np.inf))
                row = np.unravel_index(start + int(np.isneginf(top).argmax()), batch)
                where = f" in row {', '.join(map(str, row))}" if row else ""
                raise KexueValueError(f"logits{where} are all -inf: there is nothing to choose")
            offsets = offsets - origin[:, None]
            scaled = block if is_softmax and scale == 1 else (block - top[:, None]) / scale
            if is_softmax:
                p = softmax(scaled)
                slopes = softmax_vjp(p, offsets, out=gradient[part] if scale == 1 else None)
                # A reward that is not finite makes the mean so, whatever its weight: they need no pass of their own.
                are_finite &= bool(np.isfinite(slopes[:, 0]).all())
                means = np.vecdot(p, offsets) if return_value else origin
            else:
                slopes, means = _probit_gradient(scaled, offsets)
                are_finite &= bool(np.isfinite(means).all())
            if not is_softmax or scale != 1:
                np.divide(slopes, scale, out=gradient[part], casting="same_kind")
            if value is not None:
                value[part] = means + origin
    if not are_finite:
        require_finite("rewards", gains)
        raise OverflowError("differences of rewards overflow")
    gradient = np.moveaxis(gradient.reshape(*batch, shape[place]), -1, place)
    if value is None:
        return gradient
    return gradient, value.reshape(batch).astype(dtype)[()]


# Beyond so many standard deviations from where two logits tie at the top nothing is left, and of pairs that are
# further apart the density is below the least number.
_REACH, _MOST = 9.0, 54.0
_STEP = 1 / 16


def _probit_gradient(logits: np.ndarray, rewards: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.special import log_ndtr

    rows, n = logits.shape
    gradient, value = np.zeros((rows, n)), np.zeros(rows)
    if n == 1:
        return gradient, value
    second = np.partition(logits, n - 2, axis=1)[:, n - 2]
    low = np.maximum(second, -_MOST) / 2 - _REACH
    group = max(1, _ENTRIES // n)
    shifted = np.maximum(logits, -1e8)  # finite, but of no weight
    for row in range(rows):
        u = np.arange(low[row], _REACH + 1, _STEP)  # the top of 1e9 normal variables is below 10, too
        for start in range(0, len(u), group):
            gaps = u[start : start + group, None] - shifted[row]
            logs = log_ndtr(gaps)
            hazards = np.exp(-0.5 * gaps * gaps - 0.5 * math.log(2 * math.pi) - logs)
            hazards[:, np.isneginf(logits[row])] = 0
            product = _STEP * np.exp(logs.sum(axis=1))
            weighted = product[:, None] * hazards
            value[row] += float((weighted @ rewards[row]).sum())
            gradient[row] += rewards[row] * (weighted * hazards.sum(axis=1)[:, None]).sum(axis=0)
            gradient[row] -= ((hazards @ rewards[row])[:, None] * weighted).sum(axis=0)
    return gradient, value
