"""Steps as means of distributions over steps: Boltzmann weights, importance sampling, proposals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_broadcast, check_integer, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite

__all__ = [
    "BoltzmannStep",
    "GaussianMixtureProposal",
    "boltzmann_step",
    "gaussian_mixture_proposal",
    "mgs_step",
    "mgs_weights",
]


# ---- weights ----


@same_kind
def mgs_weights(
    loss_deltas: ArrayLike, log_q: ArrayLike, alpha: float, *, return_ess: bool = False
) -> np.ndarray | tuple[np.ndarray, Any]:
    """Weights of sampled steps that make them a sample of exp(-loss change / alpha): they sum to 1.

    Self-normalised importance weights, exp(-loss_deltas / alpha) / q: what the steps were drawn with is divided out.

    Parameters
    ----------
    loss_deltas : array_like, shape (..., n)
        How each step changes the loss; the loss after it does as well. +inf for a step that must not be taken.
    log_q : array_like
        The logarithm of the density that each step was drawn with, up to a constant; broadcasts with `loss_deltas`.
    alpha : float
        The temperature, at least 0. At 0 the least loss takes all (equal ones share by 1 / q); at inf only q counts.
    return_ess : bool
        Also return the effective sample size.

    Returns
    -------
    weights : ndarray, shape (..., n)
        float32 if both arrays are, else float64.
    ess : ndarray or scalar, shape (...)
        With `return_ess`: 1 / sum of squared weights, between 1 and n. Near 1 a single step decides, and the mean says
        little.

    Raises
    ------
    KexueValueError
        If a loss is NaN or -inf, all losses of a row are infinite, a density is not finite, `alpha` is negative or NaN,
        or the shapes do not fit.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    mgs_step : the weighted mean of the steps.
    effective_sample_size : the same from logarithms of weights.

    Notes
    -----
    Linear time, in float64 and in the log domain: neither losses nor densities of any magnitude overflow.

    References
    ----------
    S. Welleck, K. Cho, "MLE-guided parameter search for task loss minimization in neural sequence modeling",
    arXiv:2006.03158. J. Su, https://kexue.fm/archives/7521.

    Examples
    --------
    >>> import kexue
    >>> weights, ess = kexue.mgs_weights([0.0, 0.5, 1.0], [0.0, 0.0, 0.0], 0.5, return_ess=True)
    >>> weights.round(4), round(float(ess), 3)
    (array([0.6652, 0.2447, 0.09  ]), 1.959)
    """
    losses, densities = as_real("loss_deltas", loss_deltas), as_real("log_q", log_q)
    temperature = check_nonnegative("alpha", alpha)
    shape = check_broadcast(loss_deltas=losses.shape, log_q=densities.shape)
    if not shape or not shape[-1]:
        raise KexueValueError(f"loss_deltas and log_q must have a sample at least, but their shape is {shape}")
    first_bad("loss_deltas", losses, lambda entries: ~(entries > -np.inf))
    require_finite("log_q", densities)
    weights = boltzmann_weights(np.broadcast_to(losses, shape), densities, temperature)
    if np.isnan(weights).any():
        row = np.unravel_index(int(np.isnan(weights[..., 0]).argmax()), shape[:-1])
        place = f" in row {', '.join(map(str, row))}" if row else ""
        raise KexueValueError(f"loss_deltas{place} has no finite entry: there is no step to take")
    result = weights.astype(result_dtype(loss_deltas, log_q), copy=False)
    return (result, sample_size(weights).astype(result.dtype)[()]) if return_ess else result


def boltzmann_weights(losses: np.ndarray, log_q: np.ndarray, alpha: float) -> np.ndarray:
    """The weights in float64; NaN in rows without a finite loss."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        values = losses.astype(np.float64) / 2  # the difference of two finite losses may overflow
        values -= values.min(axis=-1, keepdims=True)
        if alpha == 0:
            logs = np.where(values > 0, -np.inf, values)  # a NaN stays one
        elif alpha == math.inf:
            logs = np.where(np.isfinite(losses), 0.0, np.where(np.isnan(values), np.nan, -np.inf))
        else:
            logs = values / alpha * -2
        logs = logs - log_q
        logs -= logs.max(axis=-1, keepdims=True)
        np.exp(logs, out=logs)
        logs /= logs.sum(axis=-1, keepdims=True)
    return logs


def sample_size(weights: np.ndarray) -> np.ndarray:
    """1 / sum of squares, within what rounding may not leave."""
    return np.clip(1 / np.square(weights).sum(axis=-1), 1, weights.shape[-1])


def check_nonnegative(name: str, value: Any) -> float:
    number = check_number(name, value)
    if not number >= 0:
        raise KexueValueError(f"{name} must be at least 0, got {number}")
    return number


# ---- steps ----


@same_kind
def mgs_step(
    deltas: ArrayLike, loss_deltas: ArrayLike, log_q: ArrayLike, alpha: float, *, return_ess: bool = False
) -> np.ndarray | tuple[np.ndarray, Any]:
    """The mean of sampled steps with `mgs_weights`: an estimate of the mean of exp(-loss change / alpha).

    Parameters
    ----------
    deltas : array_like, shape (..., n, d)
        n steps of d parameters.
    loss_deltas : array_like, shape (..., n)
        How each changes the loss; +inf for a step that must not be taken, whose entries then have no effect as long as
        they are finite.
    log_q : array_like, shape (..., n)
        The logarithm of the density that it was drawn with, up to a constant.
    alpha : float
        The temperature, at least 0.
    return_ess : bool
        Also return the effective sample size.

    Returns
    -------
    step : ndarray, shape (..., d)
        float32 if all arrays are, else float64.
    ess : ndarray or scalar, shape (...)
        With `return_ess`.

    Raises
    ------
    KexueValueError
        As `mgs_weights`, and if an entry of `deltas` is not finite or its shape does not fit.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    boltzmann_step : draws the steps, too.
    gaussian_mixture_proposal : where steps come from.

    Notes
    -----
    Linear time. The estimate is biased by O(1 / n), as all self-normalised ones.

    References
    ----------
    S. Welleck, K. Cho, arXiv:2006.03158. J. Su, https://kexue.fm/archives/7521.

    Examples
    --------
    >>> import kexue
    >>> deltas = [[-0.4, -0.1], [-0.6, -0.3], [0.1, 0.2], [-0.5, -0.2]]
    >>> q = kexue.gaussian_mixture_proposal([-0.5, -0.2], 0.2)
    >>> losses = [0.9, 0.7, 1.3, 1.0]
    >>> kexue.mgs_step(deltas, losses, q.log_density(deltas), 0.5).round(6)
    array([-0.409139, -0.145108])
    """
    steps = as_real("deltas", deltas)
    if steps.ndim < 2:
        raise KexueValueError(f"deltas must have at least 2 dimensions (n, d), but its shape is {steps.shape}")
    weights, ess = mgs_weights(as_float64("loss_deltas", loss_deltas), log_q, alpha, return_ess=True)
    check_broadcast(**{"deltas (..., n)": steps.shape[:-1], "the weights": weights.shape})
    if steps.shape[-2] != weights.shape[-1]:
        raise KexueValueError(
            f"deltas has {steps.shape[-2]} steps (shape {steps.shape}), but {weights.shape[-1]} losses"
        )
    dtype = result_dtype(deltas, loss_deltas, log_q)
    with np.errstate(invalid="ignore"):
        step = (weights[..., None, :] @ steps.astype(np.float64, copy=False))[..., 0, :].astype(dtype)
    if not np.isfinite(step).all():  # as it is with any step that is not, of whatever weight
        require_finite("deltas", steps)
    return (step, ess.astype(dtype)[()]) if return_ess else step


def as_float64(name: str, values: ArrayLike) -> np.ndarray:
    return as_real(name, values, dtype=np.float64)


@dataclass(frozen=True)
class BoltzmannStep:
    """The mean of a distribution over steps, and the sample that it was estimated from.

    Attributes
    ----------
    step : ndarray, of the shape of the parameters
        The mean.
    ess : float
        The effective sample size.
    deltas : ndarray, shape (n, ...)
        The steps that were drawn.
    losses : ndarray, shape (n,)
        The loss after each; inf where it was not finite.
    weights : ndarray, shape (n,)
        What each counts.
    nfev : int
        Calls of the loss.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> q = kexue.gaussian_mixture_proposal(np.zeros(2), 1.0)
    >>> found = kexue.boltzmann_step(lambda x: x @ x, np.zeros(2), 0.4, q, n_samples=20000, rng=0)
    >>> np.diag(found.covariance()).round(1)
    array([0.2, 0.2])
    """

    step: np.ndarray
    ess: float
    deltas: np.ndarray
    losses: np.ndarray
    weights: np.ndarray
    nfev: int

    def covariance(self) -> np.ndarray:
        """The covariance of the distribution, estimated from the weighted sample.

        Returns
        -------
        ndarray, shape (d, d)
        """
        centred = (self.deltas.astype(np.float64) - self.step).reshape(len(self.deltas), -1)
        return (centred * self.weights[:, None]).T @ centred


@same_kind
def boltzmann_step(
    loss: Callable[[np.ndarray], Any],
    theta: ArrayLike,
    alpha: float,
    sampler: Callable[[int, np.random.Generator], tuple[ArrayLike, ArrayLike]],
    *,
    n_samples: int = 100,
    vectorized: bool = False,
    rng: np.random.Generator | int | None = None,
) -> BoltzmannStep:
    """The mean of all steps from a point, weighted by exp(-loss / alpha), from those that a sampler draws.

    A step that needs no derivative of the loss. For small `alpha` it is the best of the sampled steps, for large ones
    the mean of everything. Of a quadratic loss with gradient g and positive definite Hessian H the mean is Newton's
    step -H^-1 g at any temperature, and the covariance alpha H^-1.

    Parameters
    ----------
    loss : callable
        Takes parameters like `theta` and returns a number; NaN and +-inf mean that the step must not be taken.
    theta : array_like
        Where to step from, of any shape.
    alpha : float
        The temperature, at least 0.
    sampler : callable
        ``sampler(n, rng) -> (deltas, log_q)``: n steps, shape (n, ...) with that of `theta` behind, and the logarithms
        of their densities up to a constant, shape (n,). A `GaussianMixtureProposal` is one.
    n_samples : int
        How many steps to draw.
    vectorized : bool
        Whether `loss` takes all points at once, shape (n, ...), and returns n numbers.
    rng : numpy.random.Generator, int or None
        Where random numbers come from, through ``numpy.random.default_rng(rng)``.

    Returns
    -------
    BoltzmannStep

    Raises
    ------
    KexueValueError
        If no loss is finite, `alpha` is negative or NaN, or what a callable returns has a wrong shape or, from the
        sampler, is not finite.
    TypeError
        If a callable is none, or an argument or result does not hold real numbers.

    See Also
    --------
    mgs_step : the same from steps and losses that are there already.
    minimize : repeats such steps.

    Notes
    -----
    `n_samples` calls of the loss, or one if `vectorized`, with the same result.

    References
    ----------
    J. Su, https://kexue.fm/archives/7521.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> def loss(x):
    ...     return (x[0] - 1) ** 2 + 4 * (x[1] + 1) ** 2
    >>> q = kexue.gaussian_mixture_proposal(np.zeros(2), 1.5)
    >>> kexue.boltzmann_step(loss, np.zeros(2), 0.1, q, n_samples=20000, rng=0).step.round(1)
    array([ 1., -1.])
    """
    for name, value in (("loss", loss), ("sampler", sampler)):
        if not callable(value):
            raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    point = as_real("theta", theta)
    require_finite("theta", point)
    temperature = check_nonnegative("alpha", alpha)
    count = check_integer("n_samples", n_samples, 1)
    drawn = sampler(count, np.random.default_rng(rng))
    if not isinstance(drawn, tuple) or len(drawn) != 2:
        raise TypeError(f"sampler must return a tuple (deltas, log_q), not {type(drawn).__name__}")
    deltas, log_q = as_real("the deltas of sampler", drawn[0]), as_float64("the log_q of sampler", drawn[1])
    if deltas.shape != (count, *point.shape):
        raise KexueValueError(f"sampler must return deltas of shape {(count, *point.shape)}, got {deltas.shape}")
    if log_q.shape != (count,):
        raise KexueValueError(f"sampler must return log_q of shape {(count,)}, got {log_q.shape}")
    require_finite("the deltas of sampler", deltas)
    require_finite("the log_q of sampler", log_q)
    losses = evaluate("loss", loss, (point + deltas).astype(point.dtype, copy=False), vectorized)
    losses[~np.isfinite(losses)] = np.inf
    if not np.isfinite(losses).any():
        raise KexueValueError(f"loss is finite after none of the {count} steps")
    weights = boltzmann_weights(losses, log_q, temperature)
    step = np.tensordot(weights, deltas.astype(np.float64, copy=False), axes=1).astype(point.dtype)
    return BoltzmannStep(step, float(sample_size(weights)), deltas, losses, weights, count)


def evaluate(name: str, function: Callable[..., Any], points: np.ndarray, vectorized: bool) -> np.ndarray:
    """The values at points, shape (n, ...), in float64: one call, or one for each."""
    if vectorized:
        values = as_array(f"what {name} returns", function(points))
        if values.shape != (len(points),):
            raise KexueValueError(f"{name} must return an array of shape {(len(points),)}, got {values.shape}")
        return np.array(as_real(f"what {name} returns", values), dtype=np.float64)
    result = np.empty(len(points))
    for i, point in enumerate(points):
        result[i] = single(name, function(point))
    return result


def single(name: str, value: Any) -> float:
    """A number, or an array of one."""
    if type(value) is float:
        return value
    array = as_real(f"what {name} returns", value)
    if array.size != 1:
        raise KexueValueError(f"{name} must return a single number, got an array of shape {array.shape}")
    return float(array.reshape(())[()])


# ---- proposals ----


@dataclass(frozen=True, eq=False)
class GaussianMixtureProposal:
    """mixing N(0, std^2) + (1 - mixing) N(mean, std^2) in as many dimensions as `mean` has entries.

    See `gaussian_mixture_proposal`. Called with a number and a generator it returns steps and their log-densities, as
    `boltzmann_step` wants it.

    Attributes
    ----------
    mean : ndarray
    std, mixing : float

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> q = kexue.gaussian_mixture_proposal([3.0, 0.0], 1.0)
    >>> deltas, log_q = q(4, np.random.default_rng(0))
    >>> deltas.shape, bool((log_q == q.log_density(deltas, normalized=False)).all())
    ((4, 2), True)
    """

    mean: np.ndarray
    std: float
    mixing: float

    def sample(self, n: int, rng: np.random.Generator | int | None = None) -> np.ndarray:
        """Steps that are drawn from the mixture.

        Parameters
        ----------
        n : int
            How many.
        rng : Generator, int or None
            Source of random numbers, or its seed.

        Returns
        -------
        ndarray, shape (n, ...)
            With the shape of `mean` behind, of its dtype.
        """
        generator = np.random.default_rng(rng)
        count = check_integer("n", n, 0)
        moved = generator.random(count) >= self.mixing
        steps = generator.standard_normal((count, *self.mean.shape), self.mean.dtype.type)
        steps *= self.mean.dtype.type(self.std)
        steps[moved] += self.mean
        return steps

    def log_density(self, deltas: ArrayLike, *, normalized: bool = True) -> np.ndarray:
        """The logarithm of the density at steps.

        Parameters
        ----------
        deltas : array_like
            Steps, the shape of `mean` behind any leading one.
        normalized : bool
            False leaves the term -d/2 log(2 pi std^2) out. It cancels in weights, where it would cost digits in high
            dimension.

        Returns
        -------
        ndarray or scalar
            Of the leading shape, in float64.
        """
        steps = as_float64("deltas", deltas)
        depth = self.mean.ndim
        if steps.ndim < depth or steps.shape[steps.ndim - depth :] != self.mean.shape:
            raise KexueValueError(
                f"deltas must have the shape {self.mean.shape} behind, but its shape is {steps.shape}"
            )
        axes = tuple(range(steps.ndim - depth, steps.ndim))
        with np.errstate(over="ignore", divide="ignore"):
            here = np.log(self.mixing) - 0.5 * np.square(steps / self.std).sum(axis=axes)
            moved = np.log1p(-self.mixing) - 0.5 * np.square((steps - self.mean) / self.std).sum(axis=axes)
            result = np.logaddexp(here, moved)
        if normalized:
            result = result - self.mean.size * (0.5 * math.log(2 * math.pi) + math.log(self.std))
        return result

    def __call__(self, n: int, rng: np.random.Generator | int | None = None) -> tuple[np.ndarray, np.ndarray]:
        steps = self.sample(n, rng)
        return steps, self.log_density(steps, normalized=False)


@same_kind
def gaussian_mixture_proposal(mean: ArrayLike, std: float, *, mixing: float = 0.5) -> GaussianMixtureProposal:
    """A distribution of steps around both 0 and a step that looks good, such as one along a surrogate's gradient.

    mixing N(0, std^2 I) + (1 - mixing) N(mean, std^2 I). With `mixing` 0 steps around 0 that are drawn by chance
    have next to no density, and so weights that drown all others: the mixture is the safer choice.

    Parameters
    ----------
    mean : array_like, shape (...)
        The step, such as minus a gradient times a learning rate.
    std : float
        Positive.
    mixing : float
        The share of steps around 0, from 0 to 1.

    Returns
    -------
    GaussianMixtureProposal
        With ``sample(n, rng)`` and ``log_density(deltas, *, normalized=True)``.

    Raises
    ------
    KexueValueError
        If `mean` is not finite, `std` not positive and finite, or `mixing` outside [0, 1].
    TypeError
        If an argument is no real number.

    See Also
    --------
    mgs_step, boltzmann_step : what it is for.

    Notes
    -----
    Linear time for each step.

    References
    ----------
    S. Welleck, K. Cho, arXiv:2006.03158.

    Examples
    --------
    >>> import kexue
    >>> q = kexue.gaussian_mixture_proposal([1.0], 0.5, mixing=0.25)
    >>> round(float(q.log_density([1.0])), 6), q.sample(1000, rng=0).mean().round(1)
    (-0.46935, np.float64(0.8))
    """
    centre = as_real("mean", mean).copy()
    require_finite("mean", centre)
    std, mixing = check_number("std", std), check_number("mixing", mixing)
    if not 0 < std < math.inf:
        raise KexueValueError(f"std must be positive and finite, got {std}")
    with np.errstate(over="ignore", under="ignore"):
        if not 0 < centre.dtype.type(std) < math.inf:
            raise KexueValueError(f"std must be positive and finite in {centre.dtype}, as mean is, got {std}")
    if not 0 <= mixing <= 1:
        raise KexueValueError(f"mixing must be from 0 to 1, got {mixing}")
    centre.flags.writeable = False
    return GaussianMixtureProposal(centre, float(std), float(mixing))
