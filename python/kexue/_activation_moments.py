"""What an activation makes of a standard normal variable: its moments, and activations that are rescaled by them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_real
from kexue._errors import KexueValueError, require_finite, warn_convergence
from kexue._quadrature import unit_lobatto
from kexue._ufuncs import gelu, gelu_tanh, softplus, squareplus, swish

__all__ = [
    "ActivationMoments",
    "NormalizedActivation",
    "activation_moments",
    "activation_second_moment",
    "normalized_activation",
    "selu_constants",
]

Activation = str | Callable[[np.ndarray], ArrayLike]

# Where E f(Z) = 0 and E f(Z)^2 = 1, by the closed form with 30 digits.
_SELU_SCALE = 1.0507009873554805
_SELU_ALPHA = 1.6732632423543772

# E f(Z) and E f(Z)^2 by mpmath's quadrature with 30 digits.
_MOMENTS = {
    "elu": (0.16052057226655606, 0.6449454174929239),
    "gelu": (0.28209479177387814, 0.4252214825702987),
    "gelu_tanh": (0.28203858807878873, 0.42519371103309944),
    "leaky_relu": (0.3949528575974183, 0.50005),
    "mish": (0.24040388837479143, 0.45234219237588275),
    "relu": (0.3989422804014327, 0.5),
    "selu": (0.0, 1.0),
    "sigmoid": (0.5, 0.29337903585809294),
    "softplus": (0.8060591833474398, 0.9212459088593002),
    "softsign": (0.0, 0.1830140212665475),
    "squareplus": (0.6772654032406576, 0.75),
    "swish": (0.20662096414190703, 0.35577551981735217),
    "tanh": (0.0, 0.3942944903978412),
}

# Beyond, the density is below 1e-313.
_END = 38.0
# The first panels, to either side of 0 where activations have their kinks.
_EDGES = (0.0, 0.25, 1.0, 2.5, 4.5, 7.0, 11.0, 19.0, _END)
# With nodes at the ends of panels a kink or a jump next to one is seen, which else falls between it and the first node.
_NODES = 15
_INSIDE = 2.0**-46
_MOST_HALVINGS = 60
_MOST_PANELS = 20_000
_SHARE = 1 / 64  # of the tolerance, for a panel
_ROOT = (2 * math.pi) ** -0.25


@dataclass(frozen=True)
class ActivationMoments:
    """The first two moments of an activation of a standard normal variable.

    Attributes
    ----------
    mean, second_moment : float
        E[f(Z)] and E[f(Z)^2].
    error : float
        Estimate of the greater of their absolute errors; half a unit of the last place for names.

    Examples
    --------
    >>> import kexue
    >>> moments = kexue.activation_moments("relu")
    >>> moments.second_moment, round(moments.variance, 12)
    (0.5, 0.340845056908)
    """

    mean: float
    second_moment: float
    error: float

    @property
    def variance(self) -> float:
        """E[f(Z)^2] - E[f(Z)]^2."""
        return self.second_moment - self.mean * self.mean


def activation_moments(fn: Activation, *, breakpoints: Sequence[float] = (), rtol: float = 1e-12) -> ActivationMoments:
    """The mean and the second moment of an activation of a standard normal variable.

    Parameters
    ----------
    fn : str or callable
        "elu", "gelu", "gelu_tanh", "leaky_relu" (slope 0.01), "mish", "relu", "selu", "sigmoid", "softplus",
        "softsign", "squareplus" (b = 1), "swish" or "tanh"; or a function of an array of float64 that returns
        its values.
    breakpoints : sequence of float
        Where `fn` or a derivative of it jumps, next to 0. Without, such places are found, which takes more calls; but
        a bump that is narrower than a tenth may fall between all nodes.
    rtol : float
        Panels are halved until the estimated error is less than this share of the second moment.

    Returns
    -------
    ActivationMoments
        With `mean`, `second_moment`, `error` and `variance`.

    Raises
    ------
    KexueValueError
        If `fn` is an unknown name, returns NaN, infinity or another shape, or grows so fast that the integral diverges;
        a breakpoint is not finite; or `rtol` is not positive.
    TypeError
        If `fn` is neither a name nor callable, or does not return real numbers.

    Warns
    -----
    ConvergenceWarning
        If `rtol` is not reached.

    See Also
    --------
    normalized_activation : rescaled, so that the second moment is 1.

    Notes
    -----
    Names are values to the last digit. For functions: Gauss-Lobatto sums over panels of [-38, 38] that meet at 0 and
    the breakpoints, of which those with the greatest errors are halved. Each panel is compared with its halves. A rule
    for the whole line, such as Gauss-Hermite's, has errors of a percent where a function has a kink.

    References
    ----------
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> moments = kexue.activation_moments(lambda x: np.maximum(x, 0) ** 2)
    >>> round(moments.mean, 12), round(moments.second_moment, 12), moments.error < 1e-11
    (0.5, 1.5, True)
    """
    _function(fn)
    places = as_real("breakpoints", breakpoints, ndim=1, dtype=np.float64)
    require_finite("breakpoints", places)
    tolerance = float(as_real("rtol", rtol, ndim=0, dtype=np.float64))
    if not 0 < tolerance < math.inf:
        raise KexueValueError(f"rtol must be positive and finite, got {rtol}")
    if isinstance(fn, str):
        mean, second = _MOMENTS[fn]
        return ActivationMoments(mean, second, max(math.ulp(mean), math.ulp(second)) / 2)
    return _integrate(fn, places[abs(places) < _END], tolerance)


def activation_second_moment(fn: Activation, *, breakpoints: Sequence[float] = (), rtol: float = 1e-12) -> float:
    """E[f(Z)^2] of an activation f of a standard normal variable Z.

    What is left of the second moment behind the activation: the variance of the weights that follow should be divided
    by it, and the activation by its square root.

    Parameters
    ----------
    fn : str or callable
        A name or a function, see `activation_moments`.
    breakpoints : sequence of float
        Where `fn` or a derivative of it jumps, next to 0.
    rtol : float
        Panels are halved until the estimated error is less than this share.

    Returns
    -------
    float

    Raises
    ------
    KexueValueError
        If `fn` is an unknown name, returns NaN, infinity or another shape, or grows so fast that the integral diverges;
        a breakpoint is not finite; or `rtol` is not positive.
    TypeError
        If `fn` is neither a name nor callable, or does not return real numbers.

    Warns
    -----
    ConvergenceWarning
        If `rtol` is not reached.

    See Also
    --------
    activation_moments : with the mean and an estimate of the error.

    References
    ----------
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> kexue.activation_second_moment("gelu")
    0.4252214825702987
    >>> round(kexue.activation_second_moment(np.sin), 12), round(float(1 - np.exp(-2)) / 2, 12)
    (0.432332358382, 0.432332358382)
    """
    return activation_moments(fn, breakpoints=breakpoints, rtol=rtol).second_moment


@dataclass(frozen=True)
class NormalizedActivation:
    """An activation that is shifted and rescaled: f(x) -> (f(x) - shift) scale.

    Attributes
    ----------
    fn : str or callable
        The activation. A name keeps float32; a function gets the array as it is given, float32 or float64.
    shift, scale : float

    Examples
    --------
    >>> import kexue
    >>> kexue.NormalizedActivation("relu", 0.0, 2.0)([-1, 3])
    array([0., 6.])
    """

    fn: Activation
    shift: float = 0.0
    scale: float = 1.0
    _call: Callable[[np.ndarray], ArrayLike] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_call", _function(self.fn))

    def __call__(self, x: ArrayLike) -> np.ndarray | np.generic:
        """The values at an array_like of real numbers: of its shape, float32 for float32 and float16, else float64."""
        values = as_real("x", x)
        result = as_real("fn(x)", self._call(values))
        return ((result - self.shift) * self.scale).astype(values.dtype)[()]


def normalized_activation(
    fn: Activation, *, center: bool = False, breakpoints: Sequence[float] = (), rtol: float = 1e-12
) -> NormalizedActivation:
    """An activation that keeps the second moment of a standard normal variable: f(x) / sqrt(E[f(Z)^2]).

    Parameters
    ----------
    fn : str or callable
        A name or a function, see `activation_moments`.
    center : bool
        Subtract the mean, and divide by the standard deviation: (f(x) - E[f(Z)]) / sqrt(Var f(Z)).
    breakpoints : sequence of float
        Where `fn` or a derivative of it jumps, next to 0.
    rtol : float
        Of the moments.

    Returns
    -------
    NormalizedActivation
        A callable, which pickles if `fn` does.

    Raises
    ------
    KexueValueError
        If `fn` is an unknown name, returns NaN, infinity or another shape, grows so fast that the integral diverges, or
        is 0, or constant with `center`; a breakpoint is not finite; or `rtol` is not positive.
    TypeError
        If `fn` is neither a name nor callable, or does not return real numbers.

    Warns
    -----
    ConvergenceWarning
        If `rtol` is not reached.

    See Also
    --------
    selu_constants : an activation that needs neither.

    References
    ----------
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> act = kexue.normalized_activation("swish")
    >>> round(float(np.mean(act(np.random.default_rng(0).normal(size=10**6)) ** 2)), 2)
    1.0
    >>> kexue.normalized_activation("relu", center=True)([-1.0, 0.0, 1.0]).round(6)
    array([-0.683332, -0.683332,  1.029527])
    """
    moments = activation_moments(fn, breakpoints=breakpoints, rtol=rtol)
    shift = moments.mean if center else 0.0
    power, noise = moments.second_moment, moments.error
    if center:
        power = moments.variance
        if callable(fn):  # the difference of its moments may be their rounding: integrated without it
            centered = activation_moments(
                lambda x: as_real("fn(x)", fn(x), dtype=np.float64) - shift, breakpoints=breakpoints, rtol=rtol
            )
            power, noise = centered.variance, centered.error
        noise += moments.second_moment * (64 * np.finfo(np.float64).eps) ** 2
    if not power > noise:
        raise KexueValueError(f"fn has no {'variance' if center else 'second moment'} to be divided by: {power:.3g}")
    return NormalizedActivation(fn, shift, 1 / math.sqrt(power))


def selu_constants() -> tuple[float, float]:
    """The constants of SELU: scale and alpha.

    SELU is scale x for x > 0 and scale alpha (exp(x) - 1) elsewhere. With these, a standard normal variable keeps its
    mean of 0 and its variance of 1.

    Returns
    -------
    scale, alpha : float

    References
    ----------
    G. Klambauer et al., "Self-normalizing neural networks", arXiv:1706.02515.
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import kexue
    >>> kexue.selu_constants()
    (1.0507009873554805, 1.6732632423543772)
    """
    return _SELU_SCALE, _SELU_ALPHA


# ---- the named functions ----


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _leaky_relu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, x * 0.01)


def _mish(x: np.ndarray) -> np.ndarray:
    x = np.maximum(x, -800)  # where it is -0 from: -inf times 0 is not
    return x * np.tanh(softplus(x))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _selu(x: np.ndarray) -> np.ndarray:
    return _SELU_SCALE * np.where(x > 0, x, _SELU_ALPHA * np.expm1(np.minimum(x, 0)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


def _softsign(x: np.ndarray) -> np.ndarray:
    x = np.clip(x, -1e30, 1e30)  # where it is 1 from: infinity over infinity is not
    return x / (1 + abs(x))


def _squareplus(x: np.ndarray) -> np.ndarray:
    return squareplus(x, 1)


_FUNCTIONS: dict[str, Callable[[np.ndarray], ArrayLike]] = {
    "elu": _elu,
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "leaky_relu": _leaky_relu,
    "mish": _mish,
    "relu": _relu,
    "selu": _selu,
    "sigmoid": _sigmoid,
    "softplus": softplus,
    "softsign": _softsign,
    "squareplus": _squareplus,
    "swish": swish,
    "tanh": np.tanh,
}


def _function(fn: Any) -> Callable[[np.ndarray], ArrayLike]:
    if isinstance(fn, str):
        if fn not in _FUNCTIONS:
            raise KexueValueError(f"fn must be callable or one of {', '.join(map(repr, _FUNCTIONS))}, got {fn!r}")
        return _FUNCTIONS[fn]
    if not callable(fn):
        raise TypeError(f"fn must be a name or callable, not {type(fn).__name__}")
    return fn


# ---- quadrature ----


def _integrate(fn: Callable, places: np.ndarray, rtol: float) -> ActivationMoments:
    right = np.array(_EDGES)
    edges = np.unique(np.concatenate([-right, right, places]))
    low, high = edges[:-1], edges[1:]
    whole = _panels(fn, low, high)
    done, spent, reached = np.zeros(2), np.zeros(2), False
    for _ in range(_MOST_HALVINGS):
        middle = (low + high) / 2
        low, high = np.concatenate([low, middle]), np.concatenate([middle, high])
        halves = _panels(fn, low, high)
        finer = halves[:, : len(middle)] + halves[:, len(middle) :]
        with np.errstate(invalid="ignore"):
            errors = abs(finer - whole)
        total = done + finer.sum(axis=1)
        # The mean may be 0: it is held to the size of f.
        allowed = rtol * np.array([math.sqrt(total[1]), total[1]])
        rough = (errors > _SHARE * allowed[:, None]).any(axis=0)
        done += finer[:, ~rough].sum(axis=1)
        spent += errors[:, ~rough].sum(axis=1)
        reached = not rough.any()
        if reached or 2 * rough.sum() > _MOST_PANELS:
            break
        both = np.concatenate([rough, rough])
        low, high, whole = low[both], high[both], halves[:, both]
    if not reached:
        done += finer[:, rough].sum(axis=1)
        spent += errors[:, rough].sum(axis=1)
    ends = np.square(_weighted(fn, np.array([-_END, _END])))
    if np.isinf(done[1]):
        raise KexueValueError("fn: the integral of its square overflows")
    if (ends > rtol * done[1]).any():
        raise KexueValueError("fn: the integral of its square diverges, or nearly so: fn grows too fast")
    if not (spent <= rtol * np.array([math.sqrt(done[1]), done[1]])).all():
        share = spent[1] / done[1] if done[1] else math.inf
        warn_convergence(
            f"activation_moments: rtol={rtol:g} was not reached; the error is some {share:.1e} of the second moment"
        )
    return ActivationMoments(float(done[0]), float(done[1]), float(spent.max()))


def _panels(fn: Callable, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The integrals of f and of its square against the density over every panel, shape (2, panels)."""
    nodes, weights = unit_lobatto(_NODES)
    width = (high - low)[:, None]
    # Ends from within: a jump there belongs to one side.
    x = low[:, None] + width * np.clip(nodes, _INSIDE, 1 - _INSIDE)
    values = _weighted(fn, x)
    mass = weights * width
    with np.errstate(over="ignore"):
        squares = np.square(values) * mass
    return np.stack([(values * np.exp(-0.25 * np.square(x)) * _ROOT * mass).sum(axis=1), squares.sum(axis=1)])


def _weighted(fn: Callable, x: np.ndarray) -> np.ndarray:
    """f times the root of the density, whose square overflows later than that of f."""
    with np.errstate(all="ignore"):
        returned = as_real("fn(x)", fn(x.ravel()), dtype=np.float64)
    if returned.shape not in ((), (x.size,)):
        raise KexueValueError(
            f"fn must return an array of the shape of its argument, {(x.size,)}, but returned {returned.shape}"
        )
    values = np.broadcast_to(returned, x.size).reshape(x.shape)
    bad = ~np.isfinite(values)
    if bad.any():
        place = np.unravel_index(int(bad.argmax()), bad.shape)
        raise KexueValueError(f"fn(x) is {values[place]} at x = {x[place]:.17g}")
    return values * np.exp(-0.25 * np.square(x)) * _ROOT
