"""The law of the angle between two random directions of n-space, and of its cosine."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kexue._arrays import as_real, check_integer, result_dtype
from kexue._errors import KexueValueError

__all__ = ["RandomAngle", "random_angle"]

# (2^(1-2j) - 2) B_2j / (2j (2j-1)) for j = 1, 2, ...: log Gamma(x + 1/2) - log Gamma(x) - log(x)/2 in powers of 1/x,
# from the Stirling series of both.
_HALF_STEP = (-1 / 8, 1 / 192, -1 / 640, 17 / 14336, -31 / 18432, 691 / 180224, -5461 / 425984)
_HALF_STEP_FROM = 20.0

# The double exponential rule for integrands that fall from 1 at 0 to exp(-_FALL) at 1, and further: the trapezoidal one
# over u, where nodes are exp(u - exp(-u)) / _FALL. NumPy's Gauss-Legendre weights are good to 2e-14 only.
_FALL = 40.0
_U = np.linspace(-3.7, 3.7, 64)
_NODES = np.exp(_U - np.exp(-_U)) / _FALL
_WEIGHTS = (_U[1] - _U[0]) * (1 + np.exp(-_U)) * _NODES

# Dimensions beyond are not exact in float64.
_LARGEST = 2**53

# Orders of moments, to which nodes are 0.25 apart (pi^620 is the end of float64), and of cumulants: Gamma's own end.
_MOST_MOMENT, _MOST_CUMULANT = 700, 171

# Points at a time: times the nodes, they stay in the second-level cache.
_BLOCK = 1024

_Pairs = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _half_step_ratio(x: float) -> float:
    """Gamma(x + 1/2) / Gamma(x) to a few ulp: a difference of log Gamma's would lose log(x) x eps."""
    if x < _HALF_STEP_FROM:
        return math.gamma(x + 0.5) / math.gamma(x)
    return math.sqrt(x) * math.exp(math.fsum(c / x ** (2 * j + 1) for j, c in enumerate(_HALF_STEP)))


def _constant(n: int) -> float:
    """c_n of the density c_n sin^(n-2)."""
    return _half_step_ratio((n - 1) / 2) / math.sqrt(math.pi)


def _log_cosh(s: np.ndarray) -> np.ndarray:
    return 0.5 * np.log1p(np.square(np.sinh(s)))


def _log_sine(cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """For sines near 1, whose own rounding n would amplify, from the cosine."""
    return np.where(np.abs(cosine) < 0.7, 0.5 * np.log1p(-np.square(cosine)), np.log(sine))


def _power(cosine: np.ndarray, sine: np.ndarray, exponent: int) -> np.ndarray:
    """The logarithm of sine to an exponent, of which 0^0 is 1."""
    return exponent * _log_sine(cosine, sine) if exponent else np.zeros_like(sine)


def _line(centre: float, reach: float) -> tuple[np.ndarray, float]:
    """Nodes of the trapezoidal rule, at most 0.25 apart: for 1e-17, as singularities lie at +-i pi/2."""
    return centre + np.linspace(-reach, reach, 385), reach / 192


def tilted_cosine(n: int, kappa: float) -> tuple[float, float]:
    """log E exp(kappa cos) of a random angle of n-space, and the mean of cos under the weight exp(kappa cos).

    With nu = n/2 - 1 the first is log(Gamma(nu+1) (2/kappa)^nu I_nu(kappa)), the second I_(nu+1)(kappa) / I_nu(kappa).
    These Bessel functions over- and underflow, so cos = tanh s is put in, and the trapezoidal rule sums positive terms:
    its error falls exponentially in the number of nodes.

    Parameters
    ----------
    n : int
        From 1 on.
    kappa : float
        Positive.
    """
    if n == 1:  # cos is 1 or -1
        return kappa + math.log1p(math.exp(-2 * kappa)) - math.log(2), math.tanh(kappa)
    peak = 2 * kappa / (n - 1 + math.hypot(n - 1, 2 * kappa))
    width = 1 / math.sqrt((1 - peak * peak) * (2 * kappa * peak + n - 1))
    s, step = _line(math.atanh(peak), max(10 * width, 45 / (n - 1)))
    cosines = np.tanh(s)
    exponents = kappa * cosines - (n - 1) * _log_cosh(s)
    top = float(exponents.max())
    terms = np.exp(exponents - top)
    total = math.fsum(terms)
    return top + math.log(_constant(n) * step * total), math.fsum(terms * cosines) / total


@dataclass(frozen=True)
class RandomAngle:
    """The law of the angle in [0, pi] between two independent uniform directions of n-space, n >= 2.

    One of the two may as well be fixed. The density is c_n sin(theta)^(n-2). Methods have the names of SciPy's
    frozen distributions; those of the cosine start with ``cosine_``. `random_angle` makes one.

    Parameters
    ----------
    n : int
        The dimension, from 2 to 2^53.

    Raises
    ------
    KexueValueError
        If n is less than 2: for n = 1 the angle is 0 or pi, and has no density. If n is above 2^53.
    TypeError
        If n is not an integer.

    See Also
    --------
    random_angle : with the formulas.

    Examples
    --------
    >>> import kexue
    >>> angle = kexue.RandomAngle(3)
    >>> angle.pdf([0.0, 0.5, 4.0]), angle.cosine_cdf(0.5)
    (array([0.        , 0.23971277, 0.        ]), np.float64(0.75))
    """

    n: int

    def __post_init__(self) -> None:
        try:
            n = None if isinstance(self.n, (bool, np.bool_)) else operator.index(self.n)
        except TypeError:
            n = None
        if n is None:
            raise TypeError(f"n must be an integer, not {type(self.n).__name__}")
        if n < 2:
            reason = ": on the line an angle is 0 or pi and has no density" if n == 1 else ""
            raise KexueValueError(f"n must be at least 2, got {n}{reason}")
        if n > _LARGEST:
            raise KexueValueError(f"n must be at most 2^53, got {n}")
        object.__setattr__(self, "n", n)

    # ---- the angle ----

    def support(self) -> tuple[float, float]:
        """The least and the largest angle, 0 and pi."""
        return 0.0, math.pi

    def pdf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """The density at angles in radians, c_n sin(theta)^(n-2); 0 outside [0, pi]."""
        return self._of_angles(theta, lambda c, s: _constant(self.n) * np.exp(_power(c, s, self.n - 2)), 0.0, 0.0)

    def logpdf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """The logarithm of the density at angles in radians; -inf outside [0, pi]."""
        constant = math.log(_constant(self.n))
        return self._of_angles(theta, lambda c, s: constant + _power(c, s, self.n - 2), -math.inf, -math.inf)

    def cdf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """The probability of an angle of at most theta."""
        return self._of_angles(theta, self._probability, 0.0, 1.0)

    def sf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """The probability of an angle above theta: 1 - cdf without its loss of digits."""
        return self._of_angles(theta, lambda c, s: self._probability(-c, s), 1.0, 0.0)

    def logcdf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """log cdf, also where cdf underflows."""
        return self._of_angles(theta, self._log_probability, -math.inf, 0.0)

    def logsf(self, theta: ArrayLike) -> np.ndarray | np.generic:
        """log sf, also where sf underflows."""
        return self._of_angles(theta, lambda c, s: self._log_probability(-c, s), 0.0, -math.inf)

    def ppf(self, q: ArrayLike) -> np.ndarray | np.generic:
        """The inverse of cdf; nan for q outside [0, 1]."""
        return self._of_levels(q, lambda lower, t, _: np.where(lower, t, math.pi - t))

    def isf(self, q: ArrayLike) -> np.ndarray | np.generic:
        """The inverse of sf; nan for q outside [0, 1]."""
        return self._of_levels(q, lambda lower, t, _: np.where(lower, math.pi - t, t))

    def median(self) -> float:
        """pi/2."""
        return math.pi / 2

    def mean(self) -> float:
        """pi/2."""
        return math.pi / 2

    def var(self) -> float:
        """trigamma(n/2) / 2, about 1 / (n - 1)."""
        return self.cumulant(2)

    def std(self) -> float:
        """The square root of `var`."""
        return math.sqrt(self.var())

    def kurtosis(self) -> float:
        """The excess kurtosis, cumulant(4) / cumulant(2)^2: -1.2 for n = 2, and towards 0."""
        return self.cumulant(4) / self.cumulant(2) ** 2

    def cumulant(self, order: int) -> float:
        """The cumulant of an order from 1 to 171: pi/2 of 1, -2 (-1/4)^j polygamma(2j-1, n/2) of 2j, else 0."""
        order = check_integer("order", order, 1, _MOST_CUMULANT)
        if order % 2:
            return math.pi / 2 if order == 1 else 0.0
        from scipy.special import zeta

        size = 2 * math.gamma(order) * 0.5**order * float(zeta(order, self.n / 2))
        return size if order % 4 == 2 else -size

    def moment(self, order: int) -> float:
        """E theta^order, of an order from 0 to 700."""
        return self._expectation(lambda s: 2 * np.arctan(np.exp(-s)), check_integer("order", order, 0, _MOST_MOMENT))

    def central_moment(self, order: int) -> float:
        """E (theta - pi/2)^order, of an order from 0 to 700: 0 for odd ones."""
        if check_integer("order", order, 0, _MOST_MOMENT) % 2:
            return 0.0
        return self._expectation(lambda s: 2 * np.arctan(np.tanh(s / 2)), order)

    def entropy(self) -> float:
        """The differential entropy in nats, -log c_n + (n-2)/2 (digamma(n/2) - digamma((n-1)/2))."""
        x = (self.n - 1) / 2
        if x < _HALF_STEP_FROM:
            from scipy.special import psi

            difference = float(psi(x + 0.5) - psi(x))
        else:  # the derivative of the series: digammas of large numbers agree in most digits
            terms = ((2 * j + 1) * c / x ** (2 * j + 2) for j, c in enumerate(_HALF_STEP))
            difference = 0.5 / x - math.fsum(terms)
        return (self.n - 2) / 2 * difference - math.log(_constant(self.n))

    def rvs(
        self, size: int | tuple[int, ...] | None = None, *, rng: np.random.Generator | int | None = None
    ) -> np.ndarray | np.generic:
        """Independent angles of a shape, float64; ``rng`` goes through ``numpy.random.default_rng``.

        They are those of Gaussian vectors with the first axis, which take the first coordinate and the norm of the
        others: the exact law at a cost that does not depend on n.
        """
        generator = np.random.default_rng(rng)
        first = generator.standard_normal(size)
        return np.arctan2(np.sqrt(generator.chisquare(self.n - 1, size)), first)

    # ---- its cosine ----

    def cosine_pdf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """The cosine's density c_n (1 - x^2)^((n-3)/2); 0 outside [-1, 1], for n = 2 inf at +-1."""
        return self._of_cosines(x, lambda c, s: _constant(self.n) * np.exp(_power(c, s, self.n - 3)), 0.0, 0.0)

    def cosine_logpdf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """The logarithm of the cosine's density; -inf outside [-1, 1]."""
        constant = math.log(_constant(self.n))
        return self._of_cosines(x, lambda c, s: constant + _power(c, s, self.n - 3), -math.inf, -math.inf)

    def cosine_cdf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """The probability of a cosine of at most x."""
        return self._of_cosines(x, lambda c, s: self._probability(-c, s), 0.0, 1.0)

    def cosine_sf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """The probability of a cosine above x; twice of it, for x >= 0, that of an absolute value above x."""
        return self._of_cosines(x, self._probability, 1.0, 0.0)

    def cosine_logcdf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """log cosine_cdf, also where that underflows."""
        return self._of_cosines(x, lambda c, s: self._log_probability(-c, s), -math.inf, 0.0)

    def cosine_logsf(self, x: ArrayLike) -> np.ndarray | np.generic:
        """log cosine_sf, also where that underflows."""
        return self._of_cosines(x, self._log_probability, 0.0, -math.inf)

    def cosine_ppf(self, q: ArrayLike) -> np.ndarray | np.generic:
        """The inverse of cosine_cdf; nan for q outside [0, 1]."""
        return self._of_levels(q, lambda lower, _, c: np.where(lower, -c, c))

    def cosine_isf(self, q: ArrayLike) -> np.ndarray | np.generic:
        """The inverse of cosine_sf; nan for q outside [0, 1]."""
        return self._of_levels(q, lambda lower, _, c: np.where(lower, c, -c))

    def cosine_moment(self, order: int) -> float:
        """E cos^order, of an order from 0 on: 0 for odd ones, 1/n for 2."""
        return 0.0 if check_integer("order", order, 0) % 2 else self.cosine_abs_moment(order)

    def cosine_abs_moment(self, order: int) -> float:
        """The mean of the order-th power, from 0 on, of the cosine's absolute value."""
        odd = check_integer("order", order, 0) % 2
        first = 1 / (math.sqrt(math.pi) * _half_step_ratio(self.n / 2)) if odd else 1.0
        return first * math.prod((k + 1) / (self.n + k) for k in range(odd, order, 2))

    # ---- how ----

    def _of_angles(self, theta: ArrayLike, function: _Pairs, below: float, above: float) -> np.ndarray | np.generic:
        return _in_blocks("theta", theta, lambda t: function(np.cos(t), np.sin(t)), (0.0, math.pi), below, above)

    def _of_cosines(self, x: ArrayLike, function: _Pairs, below: float, above: float) -> np.ndarray | np.generic:
        return _in_blocks("x", x, lambda c: function(c, np.sqrt((1 - c) * (1 + c))), (-1.0, 1.0), below, above)

    def _of_levels(self, q: ArrayLike, choose: Callable[..., np.ndarray]) -> np.ndarray | np.generic:
        def function(q: np.ndarray) -> np.ndarray:
            return choose(q <= 0.5, *self._solve(np.minimum(q, 1 - q)))

        return _in_blocks("q", q, function, (0.0, 1.0), math.nan, math.nan)

    def _probability(self, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
        """Of a cosine above this one, whose sine comes with it."""
        tail = np.exp(self._log_tail(np.abs(cosine), sine)[0])
        return np.where(cosine < 0, 1 - tail, tail)

    def _log_probability(self, cosine: np.ndarray, sine: np.ndarray) -> np.ndarray:
        tail = self._log_tail(np.abs(cosine), sine)[0]
        return np.where(cosine < 0, np.log1p(-np.exp(tail)), tail)

    def _log_tail(self, cosine: np.ndarray, sine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log P(cos > x) for x >= 0, and P / (-dP/ds) where x = tanh s.

        With tanh s for x, P is c_n sin^(n-1) times the integral over v > 0 of (cosh v + x sinh v)^-(n-1), in which
        nothing cancels, and which depends on x but mildly.
        """
        if self.n == 2:
            angle = np.arctan2(sine, cosine)
            return np.log(angle / math.pi), angle / sine
        if self.n == 3:
            return np.log(sine) * 2 - np.log(2 * (1 + cosine)), 1 / (1 + cosine)
        # cosh v + x sinh v is exp(_FALL / (n-1)) at the end: a quadratic equation of exp(v).
        fall, twice = math.expm1(_FALL / (self.n - 1)), math.expm1(2 * _FALL / (self.n - 1))
        root = np.sqrt(twice + cosine * cosine)
        end = np.log1p((fall + twice / (root + cosine)) / (1 + cosine))
        e = np.expm1(_NODES[:, None] * end)
        growth = (e * e + cosine * (e * e + 2 * e)) / (2 * (1 + e))
        integral = end * (_WEIGHTS @ np.exp((1 - self.n) * np.log1p(growth)))
        return math.log(_constant(self.n)) + _power(cosine, sine, self.n - 1) + np.log(integral), integral

    def _solve(self, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The angle below which there is a probability p <= 1/2, and its cosine."""
        if self.n == 2:
            return math.pi * p, np.sin(math.pi * (0.5 - p))
        if self.n == 3:
            return np.arctan2(2 * np.sqrt(p * (1 - p)), 1 - 2 * p), 1 - 2 * p
        from scipy.special import ndtri

        goal = np.log(p)
        s = np.minimum(-ndtri(p) / math.sqrt(self.n - 1), 1 - goal / (self.n - 1))
        s[p == 0] = np.inf
        going = np.flatnonzero((p > 0) & (p < 0.5))
        # log P is concave in s: Newton's steps come from the right after the first, and cannot miss.
        while going.size:
            at = s[going]
            tail, slope = self._log_tail(np.tanh(at), 1 / np.cosh(at))
            step = (tail - goal[going]) * slope
            s[going] = np.maximum(at + step, 0)
            # Each step squares the error, in units of at and 1/sqrt(n); below this one the next would change nothing.
            going = going[np.abs(step) > 1e-8 * (at + 0.01 / math.sqrt(self.n))]
        return 2 * np.arctan(np.exp(-s)), np.tanh(s)

    def _expectation(self, function: Callable[[np.ndarray], np.ndarray], order: int) -> float:
        """The mean of function(s)^order where the cosine is tanh s."""
        s, step = _line(0.0, max((10 + math.sqrt(2 * order)) / math.sqrt(self.n - 1), 45 / (self.n - 1)))
        weights = np.exp((1 - self.n) * _log_cosh(s))
        return _constant(self.n) * step * math.fsum(weights * function(s) ** order)


def _in_blocks(
    name: str,
    value: ArrayLike,
    function: Callable[[np.ndarray], np.ndarray],
    support: tuple[float, float],
    below: float,
    above: float,
) -> np.ndarray | np.generic:
    """A function on its support and constants on both sides of it, at points of any shape; nan for nan."""
    given = as_real(name, value)
    points = given.astype(np.float64).ravel()
    result = np.where(points < support[0], below, np.where(points > support[1], above, np.nan))
    inside = np.flatnonzero((points >= support[0]) & (points <= support[1]))
    with np.errstate(all="ignore"):
        for start in range(0, inside.size, _BLOCK):
            block = inside[start : start + _BLOCK]
            result[block] = function(points[block])
        return result.reshape(given.shape).astype(result_dtype(value), copy=False)[()]


def random_angle(n: int) -> RandomAngle:
    """The law of the angle between two random directions of n-space, as a frozen distribution.

    Two independent vectors that are uniform on the sphere, or Gaussian with equal variances; one of them may as well
    be fixed. For large n almost all angles are near pi/2, within about 1/sqrt(n).

    Parameters
    ----------
    n : int
        The dimension, from 2 to 2^53.

    Returns
    -------
    RandomAngle
        Of the angle: ``pdf``, ``logpdf``, ``cdf``, ``sf``, ``logcdf``, ``logsf``, ``ppf``, ``isf``, ``mean``,
        ``median``, ``var``, ``std``, ``kurtosis``, ``cumulant``, ``moment``, ``central_moment``, ``entropy``,
        ``support``, ``rvs(size, rng=)``. Of its cosine: ``cosine_pdf``, ``cosine_logpdf``, ``cosine_cdf``,
        ``cosine_sf``, ``cosine_logcdf``, ``cosine_logsf``, ``cosine_ppf``, ``cosine_isf``, ``cosine_moment``,
        ``cosine_abs_moment``.

    Raises
    ------
    KexueValueError
        If n is less than 2: for n = 1 the angle is 0 or pi, and has no density. If n is above 2^53.
    TypeError
        If n is not an integer.

    See Also
    --------
    jl_min_dim : what follows for projections.
    embedding_dim : what follows for embeddings.

    Notes
    -----
    The density is c_n sin(theta)^(n-2) with c_n = Gamma(n/2) / (sqrt(pi) Gamma((n-1)/2)); that of the cosine is
    c_n (1 - x^2)^((n-3)/2). The mean is pi/2, the variance trigamma(n/2) / 2, that of the cosine 1/n. The angle is
    uniform for n = 2, its cosine for n = 3.

    Methods take arrays: float32 gives float32, anything else float64, nan gives nan. In float64, densities and both
    tails, however small, are good to 1e-12 relative at the number as it is given, for n up to 1e6 and beyond; so are
    quantiles, but for the rounding of angles near pi and of cosines near 0. A probability costs the time of 64 exp and
    as many log1p, a quantile some three times that, whatever n is.

    References
    ----------
    T. Cai, J. Fan, T. Jiang, "Distributions of angles in random packing on spheres", 2013, arXiv:1306.0256.

    Examples
    --------
    >>> import kexue
    >>> angle = kexue.random_angle(100)
    >>> round(float(angle.cdf(1.5)), 12), round(angle.var(), 12)
    (0.241048889421, 0.010100666613)
    >>> round(float(2 * angle.cosine_sf(0.1)), 12)  # that two directions are off the right angle by this much
    0.319748474139
    >>> angle.ppf([0.025, 0.5, 0.975])
    array([1.37395726, 1.57079633, 1.76763539])
    """
    return RandomAngle(n)
