"""What noise at the input adds to a loss, to second order: penalties of gradients, Jacobians and Laplacians."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, as_real_like, check_integer, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite, require_nonnegative

__all__ = ["jacobian_penalty_hutchinson", "laplacian_penalty", "noise_regularizer"]

Probes = Literal["rademacher", "gaussian"]


@same_kind
def noise_regularizer(
    J: ArrayLike,
    sigma: float,
    *,
    loss: Literal["squared_error", "kl"] | ArrayLike = "squared_error",
    f: ArrayLike | None = None,
    from_logits: bool = False,
) -> Any:
    """The expected change of outputs under noise at the input, E l(f(x + e), f(x)), to second order.

    For independent noise of mean 0 and standard deviation sigma it is sigma^2 / 2 sum_i lambda_i norm(grad f_i)^2, with
    lambda_i the second derivative of l: 2 for the sum of squared errors, and 1 / f_i for KL(f(x) || f(x + e)), where
    the sum is the trace of the Fisher information in x.

    Parameters
    ----------
    J : array_like, shape (..., outputs, inputs)
        Jacobian of f at each sample.
    sigma : float
        Standard deviation of the noise, at least 0.
    loss : {"squared_error", "kl"} or array_like, shape (..., outputs)
        Or the lambda_i of another loss, at least 0.
    f : array_like, shape (..., outputs)
        Of "kl" only: the probabilities, or with `from_logits` the logits, and `J` is the Jacobian of these. An output
        of probability 0 must have the gradient 0; logits have no such exceptions, and no cancellation.
    from_logits : bool

    Returns
    -------
    ndarray or scalar, shape (...)
        One for each sample; float32 for float32.

    Raises
    ------
    TypeError
        If `f` is missing, or given where it has no part.
    KexueValueError
        If an entry is not finite or negative where it must not, or shapes do not fit.
    OverflowError
        If a squared norm or the penalty overflows.

    See Also
    --------
    jacobian_penalty_hutchinson : without the Jacobian.
    laplacian_penalty : what noise adds to a loss with labels.

    Notes
    -----
    Linear time. The error is of the order of sigma^4 for symmetric noise.

    References
    ----------
    C. M. Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7, 1995,
    doi:10.1162/neco.1995.7.1.108.
    J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import kexue
    >>> J = [[1.0, 2.0], [0.0, 1.0]]
    >>> float(kexue.noise_regularizer(J, 0.1))
    0.06000000000000001
    >>> round(float(kexue.noise_regularizer(J, 0.1, loss="kl", f=[0.0, 0.0], from_logits=True)), 12)
    0.0025
    """
    jacobian = as_array("J", J)
    level = check_number("sigma", sigma, finite=True)
    if level < 0:
        raise KexueValueError(f"sigma must be at least 0, got {level!r}")
    dtype = result_dtype(jacobian, None if isinstance(loss, str) else loss, f)
    jacobian = as_real("J", jacobian, dtype=np.float64)
    if jacobian.ndim < 2:
        raise KexueValueError(f"J must have shape (..., outputs, inputs), but its shape is {jacobian.shape}")
    if from_logits and not (isinstance(loss, str) and loss == "kl"):
        raise TypeError('from_logits is an option of loss="kl"')
    if isinstance(loss, str) and loss == "kl":
        if f is None:
            raise TypeError('loss="kl" needs f, the probabilities (or logits)')
        outputs = _per_output("f", f, jacobian)
        total = _fisher_of_logits(jacobian, outputs) if from_logits else _fisher(jacobian, outputs)
    else:
        if f is not None:
            raise TypeError('f is an option of loss="kl"')
        if isinstance(loss, str):
            if loss != "squared_error":
                raise KexueValueError(f'loss must be "squared_error", "kl" or weights of outputs, got {loss!r}')
            # All of a sample at once: 256 of 100 x 64 take 290 us, row by row 380.
            total = 2 * _squares(jacobian.reshape(*jacobian.shape[:-2], math.prod(jacobian.shape[-2:])), jacobian)
        else:
            weights = _per_output("loss", loss, jacobian)
            require_nonnegative("loss", weights)
            with np.errstate(over="ignore"):
                total = (weights * _squares(jacobian, jacobian)).sum(axis=-1)
    with np.errstate(over="ignore", invalid="ignore"):
        return _in_range(0.5 * level * (level * total), dtype)


@same_kind
def jacobian_penalty_hutchinson(
    vjp: Callable[[np.ndarray], ArrayLike],
    outputs: int | tuple[int, ...],
    *,
    n_samples: int | None = 1,
    weights: ArrayLike | None = None,
    probes: Probes = "rademacher",
    dtype: DTypeLike = np.float64,
    rng: np.random.Generator | int | None = None,
    return_std: bool = False,
) -> Any:
    """The squared norms of the gradients of all outputs, sum_i lambda_i norm(grad f_i)^2, without the Jacobian.

    Hutchinson's estimate: the mean of norm(grad sum_i sqrt(lambda_i) eta_i f_i)^2 over random eta of mean 0 and
    variance 1, each of which takes a single backward pass. It is unbiased.

    Parameters
    ----------
    vjp : callable
        Takes eta, of the shape `outputs`, and returns the gradient of sum(eta * f) by the input, of shape (..., d) or
        with several axes for the input, where ... are the axes of samples.
    outputs : int or tuple of int
        The shape of f: K, or (..., K) with axes of samples before.
    n_samples : int or None
        How many eta; None for the K unit vectors in turn, which gives the exact sum.
    weights : array_like, optional
        lambda, at least 0, broadcast to `outputs`; 1 if not given.
    probes : {"rademacher", "gaussian"}
        Signs, which have the least variance of all, or standard normal eta.
    dtype : {float64, float32}
        Of eta.
    rng : numpy.random.Generator, int or None
        Through ``numpy.random.default_rng(rng)``. An integer gives the same estimate each time.
    return_std : bool
        Whether to return the estimate's standard error as well, for which `n_samples` must be 2 or None.

    Returns
    -------
    penalty : ndarray or scalar, shape (...)
        One for each sample; float32 where the gradients are.
    std : ndarray or scalar, shape (...)
        Only if `return_std`: the standard deviation of `penalty`, estimated; 0 for `n_samples=None`.

    Raises
    ------
    KexueValueError
        If what `vjp` returns is not finite or has not the axes of samples, or an argument is out of range.
    OverflowError
        If a squared norm or the penalty overflows.

    See Also
    --------
    noise_regularizer : with the Jacobian.

    Notes
    -----
    n_samples calls of `vjp`, and memory for two gradients. With signs the variance of one sample is
    2 sum_{i != j} (grad f_i . grad f_j)^2 (with weights: of sqrt(lambda_i) f_i): none where gradients are orthogonal.

    References
    ----------
    M. F. Hutchinson, "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing splines",
    Communications in Statistics 19, 1990, doi:10.1080/03610919008812866.
    J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> J = np.array([[1.0, 2.0], [0.0, 1.0]])
    >>> float(kexue.jacobian_penalty_hutchinson(lambda eta: eta @ J, 2, n_samples=None))
    6.0
    >>> penalty, std = kexue.jacobian_penalty_hutchinson(lambda eta: eta @ J, 2, n_samples=100, rng=0, return_std=True)
    >>> bool(abs(penalty - 6) < 4 * std)
    True
    """
    if not callable(vjp):
        raise TypeError(f"vjp must be callable, not {type(vjp).__name__}")
    shape = outputs if isinstance(outputs, tuple) else (outputs,)
    shape = tuple(check_integer("outputs", size, 0) for size in shape)
    if not shape:
        raise KexueValueError("outputs must be K or (..., K), got ()")
    kind = np.dtype(dtype)
    if kind not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"dtype must be float32 or float64, not {kind}")
    root = None
    if weights is not None:
        values = as_real("weights", weights, dtype=np.float64)
        try:
            np.broadcast_to(values, shape)
        except ValueError:
            raise KexueValueError(f"weights must broadcast to {shape}, but the shape is {values.shape}") from None
        require_finite("weights", values)
        require_nonnegative("weights", values)
        with np.errstate(over="ignore"):
            root = np.sqrt(values).astype(kind)
        if not np.isfinite(root).all():
            raise OverflowError(f"the square root of weights overflows in {kind}")
    count = _check_samples(n_samples, probes, return_std)
    found_dtype = kind
    batch = shape[:-1]
    sums = _Moments(batch)
    for eta in _probes(shape, count, probes, kind, rng):
        gradient = as_array("vjp(eta)", vjp(eta if root is None else eta * root))
        found_dtype = result_dtype(gradient)
        gradient = as_real("vjp(eta)", gradient)
        if gradient.shape[: len(batch)] != batch:
            raise KexueValueError(
                f"vjp(eta) must have shape {(*batch, '...')} for outputs of shape {shape}, but it has {gradient.shape}"
            )
        flat = gradient.reshape(*batch, math.prod(gradient.shape[len(batch) :]))
        flat = flat.astype(np.float64, copy=False)
        with np.errstate(over="ignore"):
            square = np.vecdot(flat, flat)
        if not np.isfinite(square).all():
            require_finite("vjp(eta)", gradient)
            raise OverflowError("the squared norm of vjp(eta) overflows")
        sums.add(square)
    return sums.result(found_dtype, is_sum=count is None, return_std=return_std)


@same_kind
def laplacian_penalty(
    derivative: ArrayLike | Callable[[np.ndarray], ArrayLike],
    sigma: float,
    *,
    x: ArrayLike | None = None,
    n_samples: int | None = 1,
    step: float | None = None,
    probes: Probes = "rademacher",
    rng: np.random.Generator | int | None = None,
    return_std: bool = False,
) -> Any:
    """What noise at the input adds to a loss, E l(x + e) - l(x), to second order: sigma^2 / 2 times its Laplacian.

    Parameters
    ----------
    derivative : array_like of shape (..., d, d), or callable
        Hessians of the loss by the input; or its gradient: a function of inputs of the shape and dtype of `x` that
        returns the gradients, of the same shape. The Laplacian is then estimated by Hutchinson's method, as the
        mean of eta . (g(x + h eta) - g(x - h eta)) / 2 h over random eta.
    sigma : float
        Standard deviation of the noise, at least 0.
    x : array_like, shape (..., d)
        Inputs, of a gradient only; the last axis is a sample.
    n_samples : int or None
        How many eta; None for the d unit vectors in turn, without randomness.
    step : float, optional
        h, eps^(1/3) times the greatest of 1 and the entries of `x` by default: 6e-6 in float64, 5e-3 in float32. Errors
        are of the order of h^2, and of eps / h for rounding; there are none for quadratic losses but the latter.
    probes : {"rademacher", "gaussian"}
        Signs or standard normal eta. Only signs are exact for diagonal Hessians.
    rng : numpy.random.Generator, int or None
        Through ``numpy.random.default_rng(rng)``.
    return_std : bool
        Whether to return the estimate's standard error as well, for which `n_samples` must be 2 or None.

    Returns
    -------
    penalty : ndarray or scalar, shape (...)
        One for each sample, of any sign.
    std : ndarray or scalar, shape (...)
        Only if `return_std`.

    Raises
    ------
    TypeError
        If `x` is missing, or given beside Hessians.
    KexueValueError
        If an entry or what the gradient returns is not finite, if shapes do not fit, or if an entry of `x` plus `step`
        is that entry, or infinite.
    OverflowError
        If the penalty overflows.

    See Also
    --------
    noise_regularizer : of a change of outputs.

    Notes
    -----
    Two calls of the gradient for each eta.

    References
    ----------
    C. M. Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural Computation 7, 1995,
    doi:10.1162/neco.1995.7.1.108.
    J. Su, https://kexue.fm/archives/7466.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.laplacian_penalty([[2.0, 1.0], [1.0, 4.0]], 0.1))
    0.030000000000000006
    >>> round(float(kexue.laplacian_penalty(lambda x: 4 * x**3, 0.1, x=[1.0, 2.0], n_samples=None)), 9)
    0.3
    """
    level = check_number("sigma", sigma, finite=True)
    if level < 0:
        raise KexueValueError(f"sigma must be at least 0, got {level!r}")
    if not callable(derivative):
        if x is not None or return_std:
            raise TypeError("x and return_std are options for a gradient: of Hessians nothing is estimated")
        hessian = as_array("derivative", derivative)
        dtype = result_dtype(hessian)
        hessian = as_real("derivative", hessian)
        if hessian.ndim < 2 or hessian.shape[-1] != hessian.shape[-2]:
            raise KexueValueError(f"derivative must have shape (..., d, d), but its shape is {hessian.shape}")
        require_finite("derivative", hessian)
        with np.errstate(over="ignore", invalid="ignore"):
            trace = np.trace(hessian, axis1=-2, axis2=-1, dtype=np.float64)
            return _in_range(0.5 * level * (level * trace), dtype)
    if x is None:
        raise TypeError("x is needed, where the gradient is to be taken")
    inputs = as_array("x", x)
    dtype = result_dtype(inputs)
    inputs = as_real("x", inputs, dtype=dtype)
    if inputs.ndim == 0:
        raise KexueValueError("x must have shape (..., d), but its shape is ()")
    require_finite("x", inputs)
    if step is None:
        h = np.cbrt(np.finfo(dtype).eps) * np.maximum(np.abs(inputs).max(axis=-1, keepdims=True, initial=0), 1)
    else:
        h = check_number("step", step, finite=True)
        if h <= 0:
            raise KexueValueError(f"step must be positive, got {h!r}")
    with np.errstate(over="ignore"):
        h = np.asarray(h, dtype=dtype)
        if step is not None:
            what = f"({{value}}) stays as it is with step {step!r}"
            first_bad("x", inputs, lambda entries: entries + h == entries, what)
    count = _check_samples(n_samples, probes, return_std)
    sums = _Moments(inputs.shape[:-1])
    for eta in _probes(inputs.shape, count, probes, dtype, rng):
        with np.errstate(over="ignore"):
            above, below = inputs + h * eta, inputs - h * eta
            # By the distance of what was rounded: in each coordinate where it is not 0.
            distance = above.astype(np.float64) - below
        first_bad("x", distance, lambda entries: ~np.isfinite(entries), "is beyond the range, a step away")
        change = _gradient(derivative, above) - _gradient(derivative, below)
        slope = np.divide(change, distance, out=np.zeros_like(distance), where=distance != 0)
        with np.errstate(over="ignore", invalid="ignore"):
            sums.add(0.5 * level * (level * (slope * eta.astype(np.float64) ** 2).sum(axis=-1)))
    return sums.result(dtype, is_sum=count is None, return_std=return_std)


# ---- arguments ----


def _per_output(name: str, value: Any, jacobian: np.ndarray) -> np.ndarray:
    array = as_real(name, value, dtype=np.float64)
    try:
        fits = np.broadcast_shapes(array.shape, jacobian.shape[:-1]) == jacobian.shape[:-1]
    except ValueError:
        fits = False
    if not fits or array.ndim == 0 or array.shape[-1] != jacobian.shape[-2]:
        raise KexueValueError(
            f"{name} must have shape (..., outputs) = {jacobian.shape[:-1]} for J of shape {jacobian.shape}, "
            f"but its shape is {array.shape}"
        )
    require_finite(name, array)
    return array


def _check_samples(n_samples: Any, probes: Any, return_std: bool) -> int | None:
    if not isinstance(probes, str) or probes not in ("rademacher", "gaussian"):
        raise KexueValueError(f'probes must be "rademacher" or "gaussian", got {probes!r}')
    return None if n_samples is None else check_integer("n_samples", n_samples, 2 if return_std else 1)


def _gradient(function: Callable[[np.ndarray], ArrayLike], x: np.ndarray) -> np.ndarray:
    gradient = as_real_like("derivative(x)", function(x), "x", x, np.float64)
    require_finite("derivative(x)", gradient)
    return gradient


# ---- sums ----


def _squares(vectors: np.ndarray, jacobian: np.ndarray) -> np.ndarray:
    """The squared norms of the Jacobian's rows, or of all of a sample, finite ones."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.vecdot(vectors, vectors)
    if not np.isfinite(squares).all():
        require_finite("J", jacobian)
        raise OverflowError("a squared norm of J overflows")
    return squares


def _fisher(jacobian: np.ndarray, f: np.ndarray) -> np.ndarray:
    """The trace of the Fisher information, sum_i norm(grad f_i)^2 / f_i."""
    first_bad("f", f, lambda values: values < 0, "is negative ({value}), no probability")
    first_bad("f", f, lambda values: values > 1 + 1e-4, "is above 1 ({value}), no probability")
    squares = _squares(jacobian, jacobian)
    f = np.broadcast_to(f, squares.shape)
    first_bad("f", f, lambda values: (values == 0) & (squares > 0), "is 0, but its gradient is not")
    with np.errstate(over="ignore"):
        return np.divide(squares, f, out=np.zeros_like(squares), where=f > 0).sum(axis=-1)


def _fisher_of_logits(jacobian: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The same, sum_i p_i norm(grad log p_i)^2, of softmax: grad log p_i is grad z_i less the mean of these."""
    require_finite("J", jacobian)
    with np.errstate(over="ignore"):
        p = np.exp(logits - logits.max(axis=-1, keepdims=True, initial=-np.inf))
    p /= p.sum(axis=-1, keepdims=True)
    p = np.broadcast_to(p, jacobian.shape[:-1])
    with np.errstate(over="ignore", invalid="ignore"):
        centred = jacobian - np.einsum("...i,...ij->...j", p, jacobian)[..., None, :]
        return np.einsum("...i,...ij,...ij->...", p, centred, centred)


def _probes(
    shape: tuple[int, ...], count: int | None, probes: Probes, dtype: np.dtype, rng: Any
) -> Iterator[np.ndarray]:
    if count is None:
        for i in range(shape[-1]):
            eta = np.zeros(shape, dtype=dtype)
            eta[..., i] = 1
            yield eta
        return
    generator = np.random.default_rng(rng)
    for _ in range(count):
        if probes == "gaussian":
            yield generator.standard_normal(shape, dtype=dtype)
        else:
            yield generator.integers(2, size=shape, dtype=np.int8).astype(dtype) * 2 - 1


def _in_range(value: np.ndarray, dtype: np.dtype) -> Any:
    """A result in its type, where it is finite."""
    with np.errstate(over="ignore"):
        result = np.asarray(value).astype(dtype, copy=False)
    if not np.isfinite(result).all():
        raise OverflowError(f"the penalty overflows in {dtype}")
    return result[()]


class _Moments:
    """Mean and variance of what comes one by one (Welford, 1962)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.count = 0
        self.mean = np.zeros(shape)
        self.squares = np.zeros(shape)

    def add(self, value: np.ndarray) -> None:
        self.count += 1
        with np.errstate(over="ignore", invalid="ignore"):
            change = value - self.mean
            self.mean = self.mean + change / self.count
            self.squares = self.squares + change * (value - self.mean)

    def result(self, dtype: np.dtype, *, is_sum: bool, return_std: bool) -> Any:
        """The mean, or the sum, and the standard error of the mean."""
        with np.errstate(over="ignore", invalid="ignore"):
            value = _in_range(self.mean * self.count if is_sum else self.mean, dtype)
        if not return_std:
            return value
        if is_sum:
            return value, np.zeros_like(value)[()]
        return value, _in_range(np.sqrt(self.squares / (self.count * (self.count - 1))), dtype)
