"""Minimisation without derivatives, by steps that are means of sampled ones."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, as_real_like, check_integer, check_number
from kexue._errors import KexueValueError, first_bad, require_finite
from kexue._sampling_steps import boltzmann_weights, check_nonnegative, evaluate, gaussian_mixture_proposal, sample_size

if TYPE_CHECKING:
    from scipy.optimize import OptimizeResult

__all__ = ["minimize"]

_FULL = 100  # parameters up to which the covariance of steps is kept whole; beyond, its diagonal
_ESS_SHARE = 0.3  # of the steps that count, where the temperature is chosen
_FACTOR = 2.0  # by which the radius grows after a success and shrinks after a failure
_CALLBACK_STOP = 99  # SciPy's


@same_kind
def minimize(
    fun: Callable[..., Any],
    x0: ArrayLike,
    args: Any = (),
    *,
    method: Literal["mgs", "zeroth-order"] = "mgs",
    jac: Callable[..., Any] | None = None,
    bounds: Any = None,
    callback: Callable[..., Any] | None = None,
    n_samples: int | None = None,
    radius: ArrayLike | None = None,
    temperature: float | None = None,
    mixing: float = 0.5,
    max_nfev: int | None = None,
    max_iter: int | None = None,
    xtol: float | None = None,
    vectorized: bool = False,
    rng: np.random.Generator | int | None = None,
    history: bool = False,
) -> OptimizeResult:
    """Minimise a function by its values alone; it may have jumps, and fail at some points.

    "mgs" draws steps from a mixture of two Gaussians, around 0 and around the step that looks good, and takes the mean
    of exp(-loss / temperature) times a Gaussian of the samples' spread, as `mgs_step` does. The spread follows the
    weighted samples' covariance, its size grows when a step succeeds and shrinks when it does not. "zeroth-order" takes
    steps of that size along `zeroth_order_gradient`'s antithetic estimate. Both keep the best point that they see.

    Parameters
    ----------
    fun : callable
        ``fun(x, *args)`` takes d parameters and returns a number. A point where it is NaN or infinite is never
        taken.
    x0 : array_like, shape (d,)
        Where to begin, of entries up to 1e150 (3e32 in float32). float32 stays float32.
    args : tuple
        Further arguments of `fun` and `jac`.
    method : {"mgs", "zeroth-order"}
    jac : callable, optional
        For "mgs": ``jac(x, *args)`` returns a gradient, shape (d,), against which one of the Gaussians is moved: that
        of `fun`, or of a surrogate that is easier to come by. Without, it is moved along the step before.
    bounds : sequence of (low, high), or scipy.optimize.Bounds, optional
        None or an infinity for no bound. Points are moved into them, the first one too.
    callback : callable, optional
        Called after each iteration as ``callback(x)``, or as ``callback(intermediate_result=...)`` with an
        ``OptimizeResult`` where its parameter has that name, as SciPy does. StopIteration ends the search.
    n_samples : int, optional
        Points in an iteration, besides the step's end. Default: 4 + 2 floor(3 log d).
    radius : array_like, optional
        The standard deviation of the first steps, positive, one for all parameters or one for each. Default: a fifth of
        the bounds' widths where all are finite, else 0.3 times the greater of 1 and the root mean square of `x0`.
    temperature : float, optional
        At least 0. Default: such that 0.3 times as many samples count as there are, whatever the scale of `fun`.
    mixing : float
        The share of the Gaussian around 0.
    max_nfev : int, optional
        The most values of `fun`, never exceeded. Default: 2000 d, and 10,000 at least.
    max_iter : int, optional
        The most iterations. Default: no limit.
    xtol : float, optional
        The search has converged when the standard deviation of steps, as a root mean square over the parameters, is
        below this times the greater of 1 and max |x|. Default: 1e-8, for float32 1e-4.
    vectorized : bool
        Whether `fun` takes k points at once, shape (k, d), and returns k numbers.
    rng : numpy.random.Generator, int or None
        Where random numbers come from, through ``numpy.random.default_rng(rng)``.
    history : bool
        Whether the result has ``history``.

    Returns
    -------
    scipy.optimize.OptimizeResult
        ``x`` (of the dtype of `x0`), ``fun``, ``nit``, ``nfev``, ``njev``, ``success``, ``status``, ``message``,
        ``radius`` (the last), and with `history` ``history``, shape (nit + 1, 2): values used and the least so far.
        ``status`` is 0 for convergence, 1 for `max_nfev`, 2 for `max_iter`, 3 if `fun` was finite nowhere, 99 if the
        callback stopped.

    Raises
    ------
    KexueValueError
        If an argument is out of range or has a wrong shape, or what a callable returns has.
    TypeError
        If a callable is none, or an argument or a result does not hold real numbers.

    See Also
    --------
    mgs_step, zeroth_order_gradient : the steps that this repeats.
    scipy.optimize.minimize, scipy.optimize.differential_evolution

    Notes
    -----
    An iteration takes n + 1 values of `fun` and O(n d^2 + d^3) operations, O(n d) for more than 100 parameters, of
    which the covariance is kept diagonal, and for "zeroth-order". A search that is local: of several minima it finds a
    near one. The same result whether vectorized or not, as far as `fun` returns the same.

    References
    ----------
    S. Welleck, K. Cho, arXiv:2006.03158. J. Su, https://kexue.fm/archives/7521 and 7737. N. Hansen, "The CMA evolution
    strategy: a tutorial", arXiv:1604.00772, for the rates of the covariance.

    Examples
    --------
    >>> import kexue
    >>> def rosenbrock(x):
    ...     return float(100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2)
    >>> found = kexue.minimize(rosenbrock, [-1.2, 1.0], rng=0)
    >>> found.x.round(6), found.success, found.nfev < 4000
    (array([1., 1.]), True, True)
    """
    from scipy.optimize import OptimizeResult

    for name, value, optional in (("fun", fun, False), ("jac", jac, True), ("callback", callback, True)):
        if not callable(value) and not (optional and value is None):
            raise TypeError(f"{name} must be callable, not {type(value).__name__}")
    if not isinstance(method, str) or method not in ("mgs", "zeroth-order"):
        raise KexueValueError(f'method must be "mgs" or "zeroth-order", got {method!r}')
    if jac is not None and method != "mgs":
        raise KexueValueError('jac is of use for method="mgs" only')
    start = np.atleast_1d(as_real("x0", x0))
    if start.ndim != 1 or not start.size:
        raise KexueValueError(f"x0 must have one dimension and a parameter at least, but its shape is {start.shape}")
    require_finite("x0", start)
    size = start.size
    count = 4 + 2 * int(3 * math.log(size)) if n_samples is None else check_integer("n_samples", n_samples, 2)
    most_values = max(10_000, 2000 * size) if max_nfev is None else check_integer("max_nfev", max_nfev, 1)
    most_steps = None if max_iter is None else check_integer("max_iter", max_iter, 0)
    tolerance = (1e-4 if start.dtype == np.float32 else 1e-8) if xtol is None else check_nonnegative("xtol", xtol)
    alpha = None if temperature is None else check_nonnegative("temperature", temperature)
    if not 0 <= check_number("mixing", mixing) <= 1:
        raise KexueValueError(f"mixing must be from 0 to 1, got {mixing}")
    low, high = _bounds(bounds, size)
    extra = args if isinstance(args, tuple) else (args,)
    function = (lambda x: fun(x, *extra)) if extra else fun
    slope = None if jac is None else (lambda x: jac(x, *extra))
    report = None if callback is None else _reporter(callback, OptimizeResult)
    # Beyond, squares of lengths, or points of a few thousand steps, would overflow.
    largest = min(1e-4 * math.sqrt(float(np.finfo(np.float64).max)), 1e-6 * float(np.finfo(start.dtype).max))
    first_bad("x0", start, lambda e: abs(e) > largest, f"is {{value}}, of more than {largest:.0e}")
    widths = _radius(radius, start, low, high, largest)

    search = _Search(function, start, low, high, vectorized, most_values)
    steps = _BoltzmannSteps if method == "mgs" else _GradientSteps
    stepper = steps(search, widths, np.random.default_rng(rng), count, alpha, float(mixing), slope)
    record = [(search.nfev, search.value)]
    iterations, status = 0, None
    while status is None:
        if search.nfev >= most_values:
            status = 1
        elif most_steps is not None and iterations >= most_steps:
            status = 2
        elif stepper.radius <= tolerance * max(1.0, float(abs(search.x).max())):
            status = 0
        else:
            stepper.radius = min(stepper.radius, largest)
            stepper.step()
            iterations += 1
            record.append((search.nfev, search.value))
            if report is not None:
                try:
                    report(search.x.copy(), search.value)
                except StopIteration:
                    status = _CALLBACK_STOP
    if not math.isfinite(search.value) and status != _CALLBACK_STOP:
        status = 3
    result = OptimizeResult(
        x=search.x,
        fun=search.value if math.isfinite(search.value) else search.first,
        nit=iterations,
        nfev=search.nfev,
        njev=stepper.slopes,
        success=status == 0,
        status=status,
        message=_MESSAGES[status],
        radius=stepper.radius,
    )
    if history:
        result.history = np.array(record, dtype=np.float64)
    return result


_MESSAGES = {
    0: "The spread of steps fell below xtol.",
    1: "The number of values of fun reached max_nfev.",
    2: "The number of iterations reached max_iter.",
    3: "fun was finite at none of the points.",
    _CALLBACK_STOP: "`callback` raised `StopIteration`.",
}


# ---- arguments ----


def _bounds(bounds: Any, size: int) -> tuple[np.ndarray, np.ndarray]:
    if bounds is None:
        return np.full(size, -np.inf), np.full(size, np.inf)
    if hasattr(bounds, "lb") and hasattr(bounds, "ub"):
        ends = [as_real("bounds", side, dtype=np.float64) for side in (bounds.lb, bounds.ub)]
        if any(side.shape not in ((), (1,), (size,)) for side in ends):
            raise KexueValueError(f"bounds must have {size} entries, got {ends[0].shape} and {ends[1].shape}")
        low, high = (np.broadcast_to(side, size).copy() for side in ends)
    else:
        pairs = list(bounds) if isinstance(bounds, Iterable) else []
        if len(pairs) != size or any(np.shape(pair) != (2,) for pair in pairs):
            raise KexueValueError(f"bounds must be {size} pairs (low, high), one for each parameter")
        low = as_real("bounds", [-np.inf if pair[0] is None else pair[0] for pair in pairs], dtype=np.float64)
        high = as_real("bounds", [np.inf if pair[1] is None else pair[1] for pair in pairs], dtype=np.float64)
    bad = ~(low <= high) | (low == np.inf) | (high == -np.inf)
    if bad.any():
        place = int(bad.argmax())
        raise KexueValueError(f"bounds[{place}] is no interval: {low[place]} to {high[place]}")
    return low, high


def _radius(
    radius: ArrayLike | None, start: np.ndarray, low: np.ndarray, high: np.ndarray, largest: float
) -> np.ndarray:
    if radius is not None:
        given = as_real("radius", radius, dtype=np.float64)
        if given.shape not in ((), start.shape):
            raise KexueValueError(f"radius must be a number or have the shape of x0, {start.shape}, got {given.shape}")
        first_bad("radius", given, lambda e: ~((e > 0) & np.isfinite(e)), "is {value}, not positive and finite")
        first_bad("radius", given, lambda e: e > largest, f"is {{value}}, of more than {largest:.0e}")
        return np.broadcast_to(given, start.shape).copy()
    with np.errstate(over="ignore"):
        widths = high - low
    if (widths <= largest).all() and widths.any():
        return 0.2 * np.where(widths > 0, widths, widths[widths > 0].mean())
    return np.full(start.shape, 0.3 * max(1.0, _root_mean_square(start)))


def _root_mean_square(values: np.ndarray) -> float:
    """Without underflow or overflow of squares, and positive if one of the values is."""
    top = float(abs(values).max())
    return top * math.sqrt(float(np.square(values / top, dtype=np.float64).mean())) if top > 0 else 0.0


def _reporter(callback: Callable[..., Any], result: type) -> Callable[[np.ndarray, float], Any]:
    try:
        names = set(inspect.signature(callback).parameters)
    except (TypeError, ValueError):  # a callable without a signature
        names = set()
    if names == {"intermediate_result"}:
        return lambda x, value: callback(intermediate_result=result(x=x, fun=value))
    return lambda x, value: callback(x)


def _bounds_in(dtype: np.dtype, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rounded inwards; where there is no number between them, both to the nearest."""
    with np.errstate(over="ignore", under="ignore"):
        ends = low.astype(dtype), high.astype(dtype)
    inner = (
        np.where(ends[0] < low, np.nextafter(ends[0], np.inf, dtype=dtype), ends[0]),
        np.where(ends[1] > high, np.nextafter(ends[1], -np.inf, dtype=dtype), ends[1]),
    )
    empty = inner[0] > inner[1]
    return np.where(empty, ends[0], inner[0]), np.where(empty, ends[0], inner[1])


# ---- the search ----


class _Search:
    """The best point, and the budget of values."""

    def __init__(
        self,
        function: Callable[[np.ndarray], Any],
        start: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        vectorized: bool,
        most: int,
    ) -> None:
        self.function, self.vectorized = function, vectorized
        self.low, self.high, self.most = *_bounds_in(start.dtype, low, high), most
        self.x, self.value = np.clip(start, self.low, self.high), math.inf
        self.nfev = 1
        self.first = float(evaluate("fun", function, self.x[None].copy(), vectorized)[0])
        if math.isfinite(self.first):
            self.value = self.first

    def values(self, deltas: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of the points x + deltas for which there is a budget: points, steps within the bounds, values or inf."""
        deltas = deltas[: self.most - self.nfev]
        points = np.clip(self.x + deltas, self.low, self.high).astype(self.x.dtype)
        if not len(points):
            return points, deltas, np.empty(0)
        self.nfev += len(points)
        found = evaluate("fun", self.function, points.copy(), self.vectorized)
        found[~np.isfinite(found)] = np.inf
        return points, points.astype(np.float64) - self.x, found

    def take(self, points: np.ndarray, values: np.ndarray) -> int | None:
        """Move to the best of the points if it is better, and tell which."""
        if not len(values) or not values.min() < self.value:
            return None
        best = int(values.argmin())
        self.x, self.value = points[best], float(values[best])
        return best


class _BoltzmannSteps:
    """Means of exp(-loss / temperature) times a Gaussian, which bounds the weights: where there are two Gaussians to
    draw from, by 1 / mixing."""

    def __init__(
        self,
        search: _Search,
        widths: np.ndarray,
        generator: np.random.Generator,
        count: int,
        alpha: float | None,
        mixing: float,
        slope: Callable[[np.ndarray], Any] | None,
    ) -> None:
        self.search, self.generator, self.count = search, generator, count
        self.alpha, self.mixing, self.slope, self.slopes = alpha, mixing, slope, 0
        self.radius = _root_mean_square(widths)
        self.whole = len(widths) <= _FULL
        squares = np.square(np.maximum(widths / self.radius, 1e-7))  # as narrow as `_learn` lets one become
        self.covariance = np.diag(squares) if self.whole else squares
        self.factor = np.sqrt(self.covariance)
        self.drift = np.zeros(len(widths))

    def step(self) -> None:
        search, size = self.search, len(self.drift)
        if self.slope is not None:
            gradient = self._gradient(self.slope)
            top = abs(gradient).max()
            if top > 0:
                gradient = gradient / top
            self.drift = -self.times(gradient, transposed=True)
            length = np.linalg.norm(self.drift)
            if length > 0:
                self.drift *= math.sqrt(size) / length
        proposal = gaussian_mixture_proposal(self.drift, 1.0, mixing=self.mixing)
        white = proposal.sample(min(self.count, search.most - search.nfev), self.generator)
        points, deltas, losses = search.values(self.radius * self.times(white))
        prior = -0.5 * np.square(white).sum(axis=1)
        log_ratio = proposal.log_density(white, normalized=False) - prior
        mean = np.zeros(size)
        if np.isfinite(losses).any():
            alpha = _temperature_of(losses, _ESS_SHARE * len(losses)) if self.alpha is None else self.alpha
            weights = boltzmann_weights(losses, log_ratio, alpha)
            mean = weights @ deltas
            end, _, loss = search.values(mean[None])
            points, losses = np.concatenate([points, end]), np.concatenate([losses, loss])
            self._learn(deltas / self.radius, weights)
            deltas = np.concatenate([deltas, mean[None]])
        best = search.take(points, losses)
        if best is None:
            self.radius /= _FACTOR
            self.drift /= 2
        else:
            # Where the last step went is worth a look, by half of it; of the covariance that is now.
            self.drift = self._whitened(deltas[best] / (2 * self.radius))
            self.radius *= _FACTOR
        length = np.linalg.norm(self.drift)
        if length > 2 * math.sqrt(size):
            self.drift *= 2 * math.sqrt(size) / length

    def times(self, rows: np.ndarray, transposed: bool = False) -> np.ndarray:
        """Rows times the factor's transpose, or times the factor."""
        if not self.whole:
            return rows * self.factor
        return rows @ (self.factor if transposed else self.factor.T)

    def _whitened(self, step: np.ndarray) -> np.ndarray:
        if not self.whole:
            return step / self.factor
        return np.linalg.solve(self.factor, step)

    def _learn(self, deltas: np.ndarray, weights: np.ndarray) -> None:
        size, count = len(self.drift), float(sample_size(weights))
        degrees = (size + 2) ** 2 if self.whole else size + 2
        rate = min(0.5, 4 * max(count - 2 + 1 / count, 0) / (degrees + count))
        weighted = deltas.T * weights
        found = weighted @ deltas if self.whole else np.einsum("ji,ij->j", weighted, deltas)
        covariance = (1 - rate) * self.covariance + rate * found
        trace = (np.trace(covariance) if self.whole else covariance.sum()) / size
        covariance /= trace
        # A parameter may be fixed by its bounds, and 1e-7 is as narrow as double precision can tell from it.
        if self.whole:
            covariance.flat[:: size + 1] += 1e-14
            self.factor = np.linalg.cholesky(covariance)
        else:
            covariance += 1e-14
            self.factor = np.sqrt(covariance)
        self.covariance = covariance

    def _gradient(self, slope: Callable[[np.ndarray], Any]) -> np.ndarray:
        gradient = as_real_like("jac(x)", slope(self.search.x.copy()), "x", self.search.x, np.float64)
        require_finite("jac(x)", gradient)
        self.slopes += 1
        return gradient


class _GradientSteps:
    """Steps along the antithetic estimate of the gradient."""

    def __init__(
        self,
        search: _Search,
        widths: np.ndarray,
        generator: np.random.Generator,
        count: int,
        alpha: float | None,
        mixing: float,
        slope: Callable[[np.ndarray], Any] | None,
    ) -> None:
        self.search, self.generator, self.pairs, self.slopes = search, generator, max(1, count // 2), 0
        self.radius = _root_mean_square(widths)
        self.scales = widths / self.radius
        self.slope = np.zeros(len(widths))

    def step(self) -> None:
        search, size = self.search, len(self.slope)
        u = self.generator.standard_normal((self.pairs, size))
        # Pair by pair, so that a budget that ends leaves whole ones.
        signed = np.stack([u, -u], axis=1).reshape(-1, size)
        points, _, losses = search.values(self.radius * self.scales * signed)
        whole = len(losses) // 2
        changes = losses[0 : 2 * whole : 2], losses[1 : 2 * whole : 2]
        usable = np.isfinite(changes[0]) & np.isfinite(changes[1])
        if usable.any():
            with np.errstate(over="ignore"):
                change = changes[0][usable] / 2 - changes[1][usable] / 2
            top = abs(change).max()
            if top > 0:
                estimate = (change / top) @ u[:whole][usable]
                # Half of the estimates before: a valley's walls cancel.
                self.slope = self.slope / 2 + estimate / np.linalg.norm(estimate)
                step = self.scales * self.slope * (-self.radius * math.sqrt(size) / np.linalg.norm(self.slope))
                end, _, loss = search.values(step[None])
                points, losses = np.concatenate([points, end]), np.concatenate([losses, loss])
        if search.take(points, losses) is None:
            self.radius /= _FACTOR
        else:
            self.radius *= _FACTOR


def _temperature_of(losses: np.ndarray, wanted: float) -> float:
    """At which so many of the finite losses count, by bisection; inf if all are the same."""
    finite = losses[np.isfinite(losses)]
    with np.errstate(over="ignore"):
        gaps = finite - finite.min()
    spread = float(gaps.max())
    if not 0 < spread < math.inf:
        return math.inf if spread == 0 else 0.0
    gaps /= spread
    wanted = max(wanted, 1.5)
    low, high = 1e-4, 1e2
    for _ in range(14):
        middle = math.sqrt(low * high)
        with np.errstate(under="ignore"):
            weights = np.exp(gaps / -middle)
        total = weights.sum()
        if total * total < wanted * (weights @ weights):
            low = middle
        else:
            high = middle
    return high * spread
