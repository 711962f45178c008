"""Gradients of functions that have none, or that nobody has written: from values at random points nearby."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_integer, check_number
from kexue._errors import KexueValueError, require_finite
from kexue._policy_gradient import mean_of_others
from kexue._sampling_steps import evaluate

__all__ = ["zeroth_order_gradient"]

Noise = Literal["gaussian", "rademacher", "sphere"]

_ENTRIES = 1 << 18  # of directions at once: 2 MB an array


@same_kind
def zeroth_order_gradient(
    f: Callable[[np.ndarray], Any],
    x: ArrayLike,
    *,
    epsilon: float,
    n_samples: int,
    mode: Literal["antithetic", "forward", "baseline"] = "antithetic",
    noise: Noise = "gaussian",
    vectorized: bool = False,
    rng: np.random.Generator | int | None = None,
    return_std: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """The gradient of a function from its values alone, at points x + epsilon u around x with random u.

    With Gaussian u it is an unbiased estimate of the gradient of the mean of f(x + epsilon u), which exists for
    functions with jumps, too, such as an accuracy. Of a quadratic function it is the gradient itself.

    Parameters
    ----------
    f : callable
        Takes an array like `x` and returns a finite number.
    x : array_like
        Of any shape, with d entries. float32 stays float32, in what `f` gets as well.
    epsilon : float
        How far the points are away, positive: the root mean square of each entry's change.
    n_samples : int
        K, the number of directions.
    mode : {"antithetic", "forward", "baseline"}
        How each direction counts: (f(x + epsilon u) - f(x - epsilon u)) / 2, f(x + epsilon u) - f(x), or
        f(x + epsilon u) - b with the optimal baseline b, the mean of the other samples weighted by their |u|^2. All
        times u / epsilon. They take 2 K, K + 1 and K evaluations.
    noise : {"gaussian", "rademacher", "sphere"}
        The law of u: independent normal entries, independent signs, or uniform on the sphere of radius sqrt(d).
    vectorized : bool
        Whether `f` takes many points at once, shape (k, *x.shape), and returns k numbers.
    rng : numpy.random.Generator, int or None
        Where directions come from, through ``numpy.random.default_rng(rng)``.
    return_std : bool
        Also return the standard error of each entry.

    Returns
    -------
    gradient : ndarray, of the shape of `x`
        float32 if `x` is, else float64.
    std : ndarray, of the shape of `x`
        With `return_std`: the standard deviation of the K terms over sqrt(K), and what they share by the baseline.

    Raises
    ------
    KexueValueError
        If `f` returns something else than a finite number, `x` is not finite, `epsilon` is not positive and finite or
        too small to change `x`, there are too few samples (2 for the baseline and the standard error), or an option is
        another.
    OverflowError
        If the gradient, or a square of which the standard error is made, overflows.
    TypeError
        If `f` is not callable or returns no real number, or another argument is no number.

    See Also
    --------
    smoothed_argmax_gradient : exact where f is a reward of the greatest logit.
    minimize : ``method="zeroth-order"`` follows such gradients.

    Notes
    -----
    K d operations besides those of `f`, and memory for some arrays like `x` and 2 MB. The same numbers whether
    vectorized or not, as far as `f` returns the same. Of a quadratic function with gradient g, one antithetic Gaussian
    direction has a total variance of (d + 1) |g|^2, one of signs (d - 1) |g|^2. Curvature adds to that of the other
    modes; that of "baseline" is close to "forward", and needs no value at x, which may be noisy itself.

    References
    ----------
    Y. Nesterov, V. Spokoiny, "Random gradient-free minimization of convex functions", Foundations of Computational
    Mathematics 17, 2017, doi:10.1007/s10208-015-9296-2. J. Su, https://kexue.fm/archives/7737.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> def f(x):
    ...     return float(np.sin(x[0]) + x[1] ** 2)
    >>> gradient, std = kexue.zeroth_order_gradient(
    ...     f, [0.0, 1.0], epsilon=0.01, n_samples=2000, rng=0, return_std=True
    ... )
    >>> bool((abs(gradient - [1, 2]) < 5 * std).all()), std.round(2)
    (True, array([0.05, 0.06]))
    """
    if not callable(f):
        raise TypeError(f"f must be callable, not {type(f).__name__}")
    point = as_real("x", x)
    require_finite("x", point)
    epsilon = check_number("epsilon", epsilon)
    if not 0 < epsilon < math.inf:
        raise KexueValueError(f"epsilon must be positive and finite, got {epsilon}")
    if not isinstance(mode, str) or mode not in ("antithetic", "forward", "baseline"):
        raise KexueValueError(f'mode must be "antithetic", "forward" or "baseline", got {mode!r}')
    if not isinstance(noise, str) or noise not in ("gaussian", "rademacher", "sphere"):
        raise KexueValueError(f'noise must be "gaussian", "rademacher" or "sphere", got {noise!r}')
    count = check_integer("n_samples", n_samples, 2 if mode == "baseline" or return_std else 1)
    size = point.size
    if not size:
        empty = np.zeros(point.shape, point.dtype)
        return (empty, empty.copy()) if return_std else empty
    with np.errstate(over="ignore", under="ignore"):
        step = point.dtype.type(epsilon)
    if not np.isfinite(step):
        raise KexueValueError(f"epsilon must be finite in {point.dtype}, as x is, got {epsilon}")
    if step == 0 or not (point + step != point).any():
        raise KexueValueError(f"epsilon is too small: no entry of x changes by {epsilon}")

    def values_at(points: np.ndarray) -> np.ndarray:
        values = evaluate("f", f, points, vectorized)
        bad = ~np.isfinite(values)
        if bad.any():
            raise KexueValueError(f"f must return finite numbers, got {values[bad.argmax()]} near x")
        return values

    centre = values_at(point[None].copy())[0] if mode == "forward" else 0.0  # f may write into what it gets
    generator = np.random.default_rng(rng)
    block = max(1, _ENTRIES // size)
    parts = [slice(start, min(start + block, count)) for start in range(0, count, block)]

    def draw(part: slice) -> np.ndarray:
        return draw_directions(generator, part.stop - part.start, size, noise, point.dtype)

    if mode == "baseline":
        # The baseline of each sample needs all values: directions are drawn a second time from the same states, of
        # which there is one for each block, as f may draw from the generator, too.
        states: list[Any] = []
        values, squares = np.empty(count), np.empty(count)
        for part in parts:
            states.append(generator.bit_generator.state)
            u = draw(part)
            values[part] = values_at(point + step * u.reshape(-1, *point.shape))
            squares[part] = np.square(u, dtype=np.float64).sum(axis=1)
        with np.errstate(over="ignore", invalid="ignore"):
            changes = values - mean_of_others(values, squares)
        end = generator.bit_generator.state
    total, shifted, shared = np.zeros(size), np.zeros(size), np.zeros(size)
    origin: np.ndarray | None = None
    for i, part in enumerate(parts):
        if mode == "baseline":
            generator.bit_generator.state = states[i]
        u = draw(part)
        offsets = step * u.reshape(-1, *point.shape)
        if mode == "antithetic":
            change = values_at(point + offsets) / 2 - values_at(point - offsets) / 2
        elif mode == "forward":
            change = values_at(point + offsets)
        with np.errstate(over="ignore", invalid="ignore"):
            change = changes[part] if mode == "baseline" else change - centre
            total += change @ u.astype(np.float64, copy=False)
            if return_std:
                terms = change[:, None] * u
                if origin is None:  # squares of deviations from the first block's mean: from 0 they might cancel
                    origin = terms.mean(axis=0)
                shifted += np.square(terms - origin).sum(axis=0)
                if mode == "baseline":
                    shared += squares[part] @ terms
    if mode == "baseline":
        generator.bit_generator.state = end
    mean = total / count
    with np.errstate(over="ignore", invalid="ignore"):
        gradient = (mean / float(step)).reshape(point.shape).astype(point.dtype)
        if not np.isfinite(gradient).all():
            raise OverflowError("the gradient overflows: values of f are too large, or epsilon is too small")
        if not return_std:
            return gradient
        assert origin is not None
        variance = np.maximum(shifted / count - np.square(mean - origin), 0) / (count - 1)
        if mode == "baseline" and squares.any():
            # Each value is in the baselines of the others, so two terms have a covariance of this square.
            variance += np.square(shared / squares.sum() / (count - 1))
        std = (np.sqrt(variance) / float(step)).reshape(point.shape).astype(point.dtype)
    if not np.isfinite(std).all():
        raise OverflowError("the standard error, or a square that it is made of, overflows: values of f are too large")
    return gradient, std


def draw_directions(generator: np.random.Generator, count: int, size: int, noise: Noise, dtype: np.dtype) -> np.ndarray:
    """Rows of mean 0 and covariance 1; more rows later continue the stream."""
    if noise == "rademacher":
        return generator.integers(0, 2, size=(count, size), dtype=np.int8).astype(dtype) * 2 - 1
    u = generator.standard_normal((count, size), dtype.type)
    if noise == "sphere":
        lengths = np.linalg.norm(u, axis=1, keepdims=True)
        u *= math.sqrt(size) / np.where(lengths > 0, lengths, 1)
    return u
