"""Bounds and estimates of a log-density from importance weights, all in the log domain."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_real, check_axis, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite
from kexue._lazy import apply_rows, is_lazy
from kexue._ufuncs import logsumexp, softmax

__all__ = [
    "LogDensityEstimate",
    "effective_sample_size",
    "elbo",
    "gaussian_logpdf_diag",
    "importance_log_weights",
    "iwae_bound",
    "iwae_bound_grad",
    "iwae_bound_vjp",
    "log_density_estimate",
]

_LOG_2PI = math.log(2 * math.pi)


# ---- log-weights ----


def _require_log_densities(name: str, values: np.ndarray) -> None:
    first_bad(name, values, lambda entries: ~(entries < np.inf))


def _rows(log_weights: ArrayLike, axis: int) -> np.ndarray:
    """A view with the samples along the last axis, of which there is one at least."""
    array = as_real("log_weights", log_weights)
    if array.ndim == 0:
        raise KexueValueError("log_weights must have at least 1 dimension, but its shape is ()")
    place = check_axis("log_weights", axis, array.ndim)
    if array.shape[place] == 0:
        raise KexueValueError(f"log_weights has no entries along axis {axis}: its shape is {array.shape}")
    return np.moveaxis(array, place, -1)


def _require_weights(log_weights: ArrayLike, results: np.ndarray) -> None:
    """Look for a bad log-weight only where a result shows that there is one: it costs as much as a reduction."""
    if not np.all(results < np.inf):
        _require_log_densities("log_weights", as_real("log_weights", log_weights))


@same_kind
def importance_log_weights(log_px_z: ArrayLike, log_pz: ArrayLike, log_qz_x: ArrayLike) -> np.ndarray | np.generic:
    """Logarithms of importance weights: log p(x|z) + log p(z) - log q(z|x), for samples z of the proposal q(z|x).

    Parameters
    ----------
    log_px_z : array_like
        The log-likelihoods of x given the samples.
    log_pz : array_like
        The log-densities of the samples under the prior, broadcast against `log_px_z`.
    log_qz_x : array_like
        The log-densities of the samples under the proposal, from which they were drawn; broadcast too.

    Returns
    -------
    ndarray or scalar
        float32 if all are float32, else float64. -inf, a weight of 0, where the likelihood or the prior is 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf, or one of `log_qz_x` is -inf (no sample comes from there), or shapes do not
        broadcast.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    iwae_bound, elbo, effective_sample_size : what is made of them.
    log_density_estimate : samples, weights and estimate in one call.

    Notes
    -----
    Linear time; added in float64 and rounded once.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", arXiv:1509.00519.

    Examples
    --------
    >>> import kexue
    >>> kexue.importance_log_weights([-1.0, -2.0, float("-inf")], -0.5, [-1.0, -1.5, -3.0])
    array([-0.5, -1. , -inf])
    """
    dtype = result_dtype(log_px_z, log_pz, log_qz_x)
    parts = {"log_px_z": log_px_z, "log_pz": log_pz, "log_qz_x": log_qz_x}
    arrays = [as_real(name, value) for name, value in parts.items()]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(parts, arrays, strict=True))
        raise KexueValueError(f"the shapes do not broadcast: {shapes}") from None
    likelihood, prior, proposal = arrays
    with np.errstate(invalid="ignore"):
        total = np.asarray(np.add(likelihood, prior, dtype=np.float64))
        if total.shape == shape:
            np.subtract(total, proposal, out=total)
        else:
            total = total - proposal
    # Bad entries show in the result, but +inf in the proposal.
    if not (total.max(initial=-np.inf) < np.inf and proposal.max(initial=-np.inf) < np.inf):
        for name, array in zip(parts, arrays, strict=True):
            _require_log_densities(name, array)
        first_bad("log_qz_x", proposal, np.isneginf, "is {value}: a sample cannot come from where the proposal is 0")
    return total.astype(dtype, copy=False)[()]


@same_kind
def elbo(log_weights: ArrayLike, *, axis: int = -1) -> np.ndarray | np.generic:
    """The evidence lower bound from log-weights: their mean.

    Parameters
    ----------
    log_weights : array_like, shape (..., M)
        Logarithms of importance weights, -inf for a weight of 0. Dask arrays stay lazy.
    axis : int
        The axis along which the samples run.

    Returns
    -------
    ndarray or scalar, shape (...)
        float32 if `log_weights` is float32, else float64. -inf if one of the weights is 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf, or the axis is empty or missing.
    TypeError
        If `log_weights` does not hold real numbers.

    See Also
    --------
    iwae_bound : the tighter bound that the same samples give.

    Notes
    -----
    Linear time, pairwise sums in float64. Its expectation is log p(x) - KL(q(z|x) || p(z|x)), for any number of
    samples.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114.

    Examples
    --------
    >>> import kexue
    >>> kexue.elbo([[-1.0, -3.0], [-2.0, float("-inf")]])
    array([ -2., -inf])
    """
    if is_lazy(log_weights):
        return _lazily(elbo, "(n)->()", log_weights, axis=axis)
    rows = as_contiguous(_rows(log_weights, axis))
    count = rows.shape[-1]
    with np.errstate(over="ignore", invalid="ignore"):
        mean = rows.mean(axis=-1, dtype=np.float64)
        if rows.dtype == np.float64 and not np.all(np.isfinite(mean)):
            # Sums of the largest numbers overflow, to both sides; times a power of two they do not.
            scale = 2.0 ** -count.bit_length()
            mean = (rows * scale).sum(axis=-1) / (count * scale)
    _require_weights(log_weights, mean)
    return mean.astype(rows.dtype, copy=False)[()]


@same_kind
def iwae_bound(log_weights: ArrayLike, *, axis: int = -1) -> np.ndarray | np.generic:
    """The importance-weighted lower bound of log p(x): the logarithm of the mean weight, logsumexp - log M.

    Parameters
    ----------
    log_weights : array_like, shape (..., M)
        Logarithms of importance weights, -inf for a weight of 0. Dask arrays stay lazy.
    axis : int
        The axis along which the samples run.

    Returns
    -------
    ndarray or scalar, shape (...)
        float32 if `log_weights` is float32, else float64. -inf if all weights are 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf, or the axis is empty or missing.
    TypeError
        If `log_weights` does not hold real numbers.

    See Also
    --------
    elbo : the bound of single samples.
    iwae_bound_grad, iwae_bound_vjp : its gradient.

    Notes
    -----
    Linear time, one exponential a weight. The mean weight is an unbiased estimate of p(x), so the expectation of its
    logarithm is at most log p(x), and it does not fall as M grows. What is missing is about
    Var(w) / (2 M E(w)^2).

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", arXiv:1509.00519.

    Examples
    --------
    >>> import kexue
    >>> kexue.iwae_bound([-2.3547619703682825, -2.7618119703682824, -2.9316119703682824]).round(12)
    np.float64(-2.652595063401)
    >>> kexue.iwae_bound([-1000.0, float("-inf")]).round(6)
    np.float64(-1000.693147)
    """
    if is_lazy(log_weights):
        return _lazily(iwae_bound, "(n)->()", log_weights, axis=axis)
    rows = _rows(log_weights, axis)
    total = logsumexp(rows)
    _require_weights(log_weights, total)
    return total - rows.dtype.type(math.log(rows.shape[-1]))


def _shares(log_weights: ArrayLike, rows: np.ndarray) -> np.ndarray:
    """Weights that sum to 1 along the last axis; all 0 where every weight is."""
    with np.errstate(invalid="ignore"):
        shares = softmax(rows)
    # NaN stands for a bad entry, or for no weight at all.
    nothing = np.isnan(shares[..., :1])
    if nothing.any():
        _require_log_densities("log_weights", as_real("log_weights", log_weights))
        np.copyto(shares, 0, where=nothing)
    return shares


@same_kind
def iwae_bound_grad(log_weights: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """The gradient of `iwae_bound` by the log-weights: the weights, scaled to sum to 1.

    Parameters
    ----------
    log_weights : array_like, shape (..., M)
        Logarithms of importance weights, -inf for a weight of 0. Dask arrays stay lazy.
    axis : int
        The axis along which the samples run.

    Returns
    -------
    ndarray, shape (..., M)
        softmax(log_weights); 0 throughout where all weights are 0, for the bound is -inf then and stays so.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf, or the axis is empty or missing.
    TypeError
        If `log_weights` does not hold real numbers.

    See Also
    --------
    iwae_bound_vjp : the product with an upstream gradient.

    Notes
    -----
    Linear time. For a reparameterised proposal z = mean + std * e the chain goes on with dz/dmean = 1, dz/dstd = e.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", arXiv:1509.00519.

    Examples
    --------
    >>> import kexue
    >>> kexue.iwae_bound_grad([-700.0, -700.0, -702.0]).round(6)
    array([0.468311, 0.468311, 0.063379])
    """
    if is_lazy(log_weights):
        return _lazily(iwae_bound_grad, "(n)->(n)", log_weights, axis=axis)
    return np.moveaxis(_shares(log_weights, _rows(log_weights, axis)), -1, axis)


@same_kind
def iwae_bound_vjp(log_weights: ArrayLike, grad: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """The gradient by the log-weights of a function of `iwae_bound`, from its gradient by the bound.

    Parameters
    ----------
    log_weights : array_like, shape (..., M)
        Logarithms of importance weights, -inf for a weight of 0.
    grad : array_like, shape (...)
        The upstream gradient: one number for each bound, or for all.
    axis : int
        The axis along which the samples run.

    Returns
    -------
    ndarray, shape (..., M)
        grad * softmax(log_weights); 0 where all weights are 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf (infinite, in `grad`), the axis is empty or missing, or `grad` does not have the
        shape of the bounds.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    iwae_bound, iwae_bound_grad

    Notes
    -----
    Linear time.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", arXiv:1509.00519.

    Examples
    --------
    >>> import kexue
    >>> kexue.iwae_bound_vjp([[0.0, 0.0], [-1.0, float("-inf")]], [1.0, -2.0])
    array([[ 0.5,  0.5],
           [-2. , -0. ]])
    """
    if is_lazy(log_weights, grad):
        dtype = result_dtype(log_weights, grad)
        return apply_rows(iwae_bound_vjp, "(n),()->(n)", log_weights, grad, axis=axis, output_dtypes=[dtype])
    rows, upstream = _rows(log_weights, axis), as_real("grad", grad)
    if upstream.ndim and upstream.shape != rows.shape[:-1]:
        raise KexueValueError(
            f"grad has shape {upstream.shape}, but the bounds of log_weights {np.shape(log_weights)} "
            f"along axis {axis} have {rows.shape[:-1]}"
        )
    require_finite("grad", upstream)
    product = _shares(log_weights, rows) * upstream[..., None]
    return np.moveaxis(product, -1, axis).astype(result_dtype(log_weights, grad), copy=False)


@same_kind
def effective_sample_size(log_weights: ArrayLike, *, axis: int = -1) -> np.ndarray | np.generic:
    """As how many equal weights these count: (sum w)^2 / sum w^2, between 1 and M.

    Parameters
    ----------
    log_weights : array_like, shape (..., M)
        Logarithms of importance weights, -inf for a weight of 0; they need not be normalised. Dask arrays stay lazy.
    axis : int
        The axis along which the samples run.

    Returns
    -------
    ndarray or scalar, shape (...)
        float32 if `log_weights` is float32, else float64. 0 if all weights are 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or +inf, or the axis is empty or missing.
    TypeError
        If `log_weights` does not hold real numbers.

    See Also
    --------
    iwae_bound, perplexity_affinities

    Notes
    -----
    Linear time. From normalised weights, so that log-weights of any magnitude keep their digits, which
    exp(2 logsumexp(v) - logsumexp(2 v)) does not do.

    References
    ----------
    A. Kong, J. S. Liu, W. H. Wong, "Sequential Imputations and Bayesian Missing Data Problems", 1994,
    doi:10.1080/01621459.1994.10476469.

    Examples
    --------
    >>> import kexue
    >>> kexue.effective_sample_size([[-5.0, -5.0, -5.0], [0.0, -1000.0, -1000.0]])
    array([3., 1.])
    """
    if is_lazy(log_weights):
        return _lazily(effective_sample_size, "(n)->()", log_weights, axis=axis)
    rows = _rows(log_weights, axis)
    squares = _shares(log_weights, as_contiguous(rows))
    np.square(squares, out=squares)
    total = squares.sum(axis=-1, dtype=np.float64)
    size = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
    np.clip(size, np.sign(total), rows.shape[-1], out=size)  # rounding must not pass the ends
    return size.astype(rows.dtype, copy=False)[()]


def _lazily(function: Callable[..., Any], signature: str, log_weights: Any, *, axis: int) -> Any:
    """Bad entries are found when the chunks are computed, the axis is looked at now."""
    place = check_axis("log_weights", axis, log_weights.ndim)
    if log_weights.shape[place] == 0:
        raise KexueValueError(f"log_weights has no entries along axis {axis}: its shape is {log_weights.shape}")
    return apply_rows(function, signature, log_weights, axis=axis, output_dtypes=[result_dtype(log_weights)])


# ---- Gaussians with independent coordinates ----


@same_kind
def gaussian_logpdf_diag(
    x: ArrayLike,
    mean: ArrayLike,
    std: ArrayLike | None = None,
    *,
    log_std: ArrayLike | None = None,
    axis: int = -1,
) -> np.ndarray | np.generic:
    """The log-density of Gaussians with independent coordinates.

    Parameters
    ----------
    x : array_like, shape (..., d)
        The points.
    mean : array_like, shape (..., d)
        The means; `x`, `mean` and the standard deviations are broadcast.
    std : array_like, shape (..., d)
        The standard deviations, positive. Either these or `log_std`.
    log_std : array_like, shape (..., d)
        Their logarithms, of any size: exp(log_std) may overflow or underflow.
    axis : int
        The axis of the broadcast arrays along which the coordinates run.

    Returns
    -------
    ndarray or scalar, shape (...)
        float32 if all arrays are float32, else float64. -inf where the density underflows that far, 0 for d = 0.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite, a standard deviation is not positive, both or none of `std` and `log_std` are
        given, shapes do not broadcast, or the axis is missing.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gaussian_entropy, gaussian_kl : of Gaussians, in closed form.

    Notes
    -----
    Linear time; sums in float64.

    References
    ----------
    D. P. Kingma, M. Welling, "Auto-Encoding Variational Bayes", arXiv:1312.6114, appendix C.2.

    Examples
    --------
    >>> import kexue
    >>> kexue.gaussian_logpdf_diag([[0.5, 0.2], [1.0, 0.0]], [0.8, 0.3], [0.4, 0.5]).round(6)
    array([-0.529689, -0.533439])
    >>> kexue.gaussian_logpdf_diag([0.0, 0.0], 0.0, log_std=[-1000.0, 1.0]).round(6)
    np.float64(997.162123)
    """
    if (std is None) == (log_std is None):
        raise KexueValueError("either std or log_std must be given, " + ("not both" if std is not None else "got none"))
    scale_name, scale = ("std", std) if log_std is None else ("log_std", log_std)
    given: dict[str, Any] = {"x": x, "mean": mean, scale_name: scale}
    dtype = result_dtype(*given.values())
    arrays = {name: as_real(name, value, dtype=dtype) for name, value in given.items()}
    for name, array in arrays.items():
        require_finite(name, array)
    if log_std is None:
        _require_positive("std", arrays["std"])
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
    except ValueError:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise KexueValueError(f"the shapes do not broadcast: {shapes}") from None
    if not shape:
        raise KexueValueError("x must have at least 1 dimension, but its shape is ()")
    place = check_axis("x", axis, len(shape))
    result = _gaussian_logpdf(
        arrays["x"], arrays["mean"], arrays[scale_name], shape, (place,), logarithms=log_std is not None
    )
    return result.astype(dtype, copy=False)[()]


def _require_positive(name: str, array: np.ndarray) -> None:
    first_bad(name, array, lambda entries: entries <= 0, "is {value}, but must be positive")


def _gaussian_logpdf(
    x: np.ndarray,
    mean: np.ndarray,
    scale: np.ndarray,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    *,
    logarithms: bool,
) -> np.ndarray:
    """In float64, of finite arrays that broadcast to a shape, of which these axes are the coordinates."""
    with np.errstate(over="ignore", under="ignore"):
        standard = np.subtract(x, mean, out=np.empty(shape, np.result_type(x, mean)))
        if logarithms:
            # In two halves, so that no factor overflows before the product does; and finite, so that 0 stays 0.
            largest = math.floor(math.log(np.finfo(scale.dtype).max))
            half = np.exp(np.minimum(scale / -2, largest))
            for _ in range(2):
                np.multiply(standard, half, out=standard)
        else:
            np.divide(standard, scale, out=standard)
        squares = np.square(standard, out=standard).sum(axis=axes, dtype=np.float64)
        logs = scale if logarithms else np.log(scale)
        logs = logs.reshape((1,) * (len(shape) - logs.ndim) + logs.shape)
        repeated = math.prod(shape[axis] for axis in axes if logs.shape[axis] == 1)
        logs = logs.sum(axis=axes, dtype=np.float64) * repeated
        return np.asarray(-0.5 * squares - logs - 0.5 * math.prod(shape[axis] for axis in axes) * _LOG_2PI)


class _DiagonalNormal:
    """A pair (mean, standard deviation) with the methods of SciPy's frozen distributions."""

    def __init__(self, name: str, mean: ArrayLike, std: ArrayLike) -> None:
        given = {f"{name} mean": mean, f"{name} std": std}
        self._parameters = {key: as_real(key, value, dtype=np.float64) for key, value in given.items()}
        for key, array in self._parameters.items():
            require_finite(key, array)
        _require_positive(f"{name} std", self._parameters[f"{name} std"])

    def rvs(self, size: int, random_state: np.random.Generator) -> np.ndarray:
        mean, std = self._parameters.values()
        return mean + std * random_state.standard_normal((size, *np.broadcast_shapes(mean.shape, std.shape)))

    def logpdf(self, x: np.ndarray) -> np.ndarray:
        for name, value in self._parameters.items():
            try:
                np.broadcast_to(value, x.shape)
            except ValueError:
                raise KexueValueError(
                    f"{name} has shape {value.shape}, which does not broadcast to {x.shape}"
                ) from None
        mean, std = self._parameters.values()
        return _gaussian_logpdf(x, mean, std, x.shape, tuple(range(1, x.ndim)), logarithms=False)


# ---- the estimate ----


@dataclass(frozen=True)
class LogDensityEstimate:
    """What `log_density_estimate` found.

    Attributes
    ----------
    estimate : float
        The logarithm of the mean weight, an estimate of log p(x) whose expectation is a lower bound. -inf if no sample
        had any weight.
    standard_error : float
        Of the estimate, to first order (the delta method): the relative standard error of the mean weight. inf for a
        single sample, or if no sample had any weight.
    elbo : float
        The mean log-weight, which estimates the evidence lower bound.
    effective_sample_size : float
        (sum w)^2 / sum w^2.
    n_samples : int
        How many samples were drawn.

    Examples
    --------
    >>> import kexue
    >>> normal = (0.0, 1.0)
    >>> result = kexue.log_density_estimate(0.5, lambda z: (z, 1.0), normal, (0.25, 0.5**0.5), n_samples=10, rng=0)
    >>> round(result.estimate, 12), result.standard_error < 1e-12  # the proposal is the posterior
    (-1.328012123485, True)
    """

    estimate: float
    standard_error: float
    elbo: float
    effective_sample_size: float
    n_samples: int


class _Moments:
    """Mean and variance of weights that come in blocks, in units of the largest so far."""

    def __init__(self) -> None:
        self.count, self.top, self.mean, self.deviations, self.log_sum = 0, -math.inf, 0.0, 0.0, 0.0

    def add(self, log_weights: np.ndarray) -> None:
        count, top = log_weights.size, float(log_weights.max())
        self.log_sum += float(log_weights.sum())
        mean = deviations = 0.0
        if top > -math.inf:
            weights = np.exp(log_weights - top)
            mean = float(weights.mean())
            deviations = float(np.square(weights - mean).sum())
        highest = max(self.top, top)
        if highest > -math.inf:
            for_old, for_new = math.exp(self.top - highest), math.exp(top - highest)
            old, new, total = self.mean * for_old, mean * for_new, self.count + count
            self.deviations = self.deviations * for_old**2 + deviations * for_new**2
            self.deviations += (new - old) ** 2 * self.count * count / total
            self.mean = old + (new - old) * (count / total)
            self.top = highest
        self.count += count

    def result(self) -> LogDensityEstimate:
        count, average = self.count, self.log_sum / self.count
        if self.mean == 0:
            return LogDensityEstimate(-math.inf, math.inf, average, 0.0, count)
        spread = self.deviations / self.mean**2
        error = math.sqrt(spread / (count - 1) / count) if count > 1 else math.inf
        return LogDensityEstimate(self.top + math.log(self.mean), error, average, count / (1 + spread / count), count)


@same_kind
def log_density_estimate(
    x: ArrayLike,
    decoder: Callable[[np.ndarray], Any],
    prior: Any,
    proposal: Any,
    *,
    n_samples: int,
    rng: np.random.Generator | int | None = None,
    block_size: int = 4096,
) -> LogDensityEstimate:
    """Estimate log p(x) of a latent variable model by importance sampling: a VAE's likelihood, for one.

    p(x) is the integral of p(x|z) p(z) over z. Samples z come from the proposal q(z|x), with weights
    p(x|z) p(z) / q(z|x), and their mean estimates p(x) without bias.

    Parameters
    ----------
    x : array_like
        One observation, of any shape.
    decoder : callable
        p(x|z): called with samples z of shape (m, ...), it gives one of

        - a pair (mean, std) of arrays that broadcast to (m, *x.shape): a Gaussian with independent coordinates;
        - an object with `logpdf` or `logpmf` that is then evaluated at x: ``lambda z: scipy.stats.bernoulli(f(z))``;
        - the m log-likelihoods themselves, shape (m,).
    prior : distribution
        p(z): a pair (mean, std), an object with `logpdf` (or `logpmf`) such as a frozen distribution of
        `scipy.stats`, or a callable that takes z and gives log-densities of shape (m,).
    proposal : distribution
        q(z|x), or a callable that takes x and gives it (the encoder): a pair (mean, std), or an object with
        ``rvs(size=, random_state=)`` and `logpdf` as SciPy's frozen distributions have, or with ``sample(shape, rng=)``
        and `logpdf` as its newer ones.
    n_samples : int
        How many samples to draw, positive.
    rng : numpy.random.Generator, int or None
        Random numbers, through ``numpy.random.default_rng(rng)``.
    block_size : int
        How many samples are drawn, and decoded, at a time.

    Returns
    -------
    LogDensityEstimate
        With `estimate`, `standard_error`, `elbo`, `effective_sample_size`, `n_samples`.

    Raises
    ------
    KexueValueError
        If a log-density is NaN or +inf, or the proposal's is -inf at a sample of its own; if the log-densities of m
        samples have another shape than (m,), or (m, ...) with the coordinates of z or x; if `n_samples` or `block_size`
        is not positive.
    TypeError
        If a distribution is none of what is listed, or a number is not an integer.

    See Also
    --------
    importance_log_weights, iwae_bound, effective_sample_size : the parts.

    Notes
    -----
    Log-densities of coordinates, (m, d), are added up: ``scipy.stats.norm(0, 1)`` as a prior is a standard normal of
    as many dimensions as z has. Time is that of the n_samples decodings, memory that of a block. Blocks come from the
    generator one after another; SciPy's normal distributions give the same samples for any `block_size`.

    An effective sample size of a few, or a standard error that does not halve with four times the samples, means that
    the proposal misses part of the posterior: then the estimate is too low, and its standard error as well.

    References
    ----------
    Y. Burda, R. Grosse, R. Salakhutdinov, "Importance Weighted Autoencoders", arXiv:1509.00519.

    Examples
    --------
    >>> import kexue, numpy as np, scipy.stats
    >>> W, b = np.array([[1, 0.5], [0, -1], [0.7, 0.2]]), np.array([0.1, -0.2, 0.3])
    >>> prior = scipy.stats.multivariate_normal(np.zeros(2))
    >>> proposal = scipy.stats.norm([0.60837004, 0.29911894], [0.37904902, 0.40291148])
    >>> result = kexue.log_density_estimate(
    ...     [1, -0.5, 0.8], lambda z: (z @ W.T + b, 0.5), prior, proposal, n_samples=10_000, rng=0)
    >>> abs(result.estimate - -2.7441310220253996) < 4 * result.standard_error < 0.03  # the exact value
    True
    """
    observed = as_real("x", x)
    require_finite("x", observed)
    count, block = _positive("n_samples", n_samples), _positive("block_size", block_size)
    if not callable(decoder):
        raise TypeError(f"decoder must be callable, not {type(decoder).__name__}")
    if callable(proposal) and not _is_distribution(proposal):
        proposal = proposal(x)
    proposal = _distribution("proposal", proposal)
    if not (hasattr(proposal, "rvs") or hasattr(proposal, "sample")):
        raise TypeError(f"proposal must have rvs (or sample) and logpdf, but {type(proposal).__name__} has no rvs")
    if not callable(prior) or _is_distribution(prior):
        prior = _distribution("prior", prior)
    generator, moments = np.random.default_rng(rng), _Moments()
    repeated = np.broadcast_to(observed, (min(block, count), *observed.shape))
    for start in range(0, count, block):
        size = min(block, count - start)
        z = _draw(proposal, size, generator)
        decoded = decoder(z)
        if isinstance(decoded, tuple) or _is_distribution(decoded):
            decoded = _log_density(_distribution("decoder", decoded), repeated[:size])
        parts = {
            "decoder": (decoded, observed.shape),
            "prior": (_log_density(prior, z), z.shape[1:]),
            "proposal": (_log_density(proposal, z), z.shape[1:]),
        }
        logs = {name: _of_samples(name, values, size, event, start) for name, (values, event) in parts.items()}
        moments.add(logs["decoder"] + logs["prior"] - logs["proposal"])
    return moments.result()


def _positive(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if number < 1:
        raise KexueValueError(f"{name} must be positive, got {number}")
    return number


def _is_distribution(value: Any) -> bool:
    return hasattr(value, "logpdf") or hasattr(value, "logpmf")


def _distribution(name: str, given: Any) -> Any:
    if isinstance(given, tuple):
        if len(given) != 2:
            raise KexueValueError(f"{name} must be a pair (mean, std), but it has {len(given)} elements")
        return _DiagonalNormal(name, *given)
    if not _is_distribution(given):
        raise TypeError(f"{name} must be a pair (mean, std) or have logpdf, but {type(given).__name__} has not")
    return given


def _log_density(distribution: Any, points: np.ndarray) -> Any:
    if hasattr(distribution, "logpdf"):
        return distribution.logpdf(points)
    return distribution.logpmf(points) if hasattr(distribution, "logpmf") else distribution(points)


def _draw(proposal: Any, count: int, generator: np.random.Generator) -> np.ndarray:
    """Samples of shape (count, ...)."""
    if hasattr(proposal, "rvs"):
        # SciPy takes the size for that of the whole result where parameters are arrays.
        event = np.shape(proposal.support()[0]) if hasattr(proposal, "support") else ()
        z = proposal.rvs(size=(count, *event) if event else count, random_state=generator)
    else:
        z = proposal.sample(count, rng=generator)
    z = np.asarray(z)
    if count == 1 and z.shape[:1] != (1,):
        z = z[None]  # SciPy's multivariate distributions drop an axis of one sample
    if z.shape[:1] != (count,):
        raise KexueValueError(f"proposal gave samples of shape {z.shape}, but the first axis must be that of {count}")
    return z


def _of_samples(name: str, values: Any, count: int, event: tuple[int, ...], start: int) -> np.ndarray:
    """A checked log-density for each sample, of which `start` came before."""
    logs = as_real(f"the log-density of {name}", values, dtype=np.float64)
    if count == 1 and logs.ndim == 0:
        logs = logs[None]
    if logs.shape not in {(count,), (count, *event)}:
        allowed = f"({count},)" + (f" or {(count, *event)}" if event else "")
        raise KexueValueError(f"{name} gave log-densities of shape {logs.shape} for {count} samples, not {allowed}")
    logs = logs.reshape(count, -1).sum(axis=1)
    bad = ~(logs < np.inf)
    if name == "proposal":
        bad |= np.isneginf(logs)
    if bad.any():
        place = int(bad.argmax())
        raise KexueValueError(f"the log-density of {name} at sample {start + place} is {logs[place]}")
    return logs
