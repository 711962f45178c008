"""How many dimensions keep distances: the Johnson-Lindenstrauss lemma and its kin as numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, result_dtype
from kexue._errors import KexueValueError, first_bad
from kexue._random_angle import tilted_cosine

__all__ = [
    "attention_head_dim",
    "embedding_dim",
    "inner_product_bound",
    "jl_min_dim",
    "jl_success_probability",
    "norm_concentration_bound",
]

Rule = Literal["exact", "chernoff", "lemma24", "lemma16", "dasgupta-gupta"]
Kind = Literal["exact", "chernoff", "lemma"]

# Whole numbers beyond are not exact in float64.
_LARGEST = 2.0**53

# Where the exponent of a gamma tail is above, it comes from a continued fraction, elsewhere from SciPy, whose functions
# underflow, and for large arguments lose digits in the tails (1.17's gammainc all: 60% off at a = 5e8, exponent 12).
_LARGE, _FAR_OF_LARGE, _FAR = 200.0, 3.0, 500.0

# Above, a (1 + x) as a number loses the digits of x that count. Temme's uniform expansion (DLMF 8.12) takes x, with the
# terms that matter where the exponent is at most _FAR_OF_LARGE.
_HUGE = 1e6

# Terms of the fractions, which converge the faster the further out: enough for 2e-15 at exponent 3.
_TERMS = 60

# -h_n / n of `embedding_dim` as n grows: half the logarithm of the golden ratio, 0.2406.
_ENTROPY_RATE = 0.5 * math.log((1 + math.sqrt(5)) / 2)


# ---- one vector, or two ----


@same_kind
def norm_concentration_bound(
    n: ArrayLike, eps: ArrayLike, *, kind: Kind = "exact", log: bool = False
) -> np.ndarray | np.generic:
    """The probability that a Gaussian projection to n dimensions changes a squared length by a factor outside 1 -+ eps.

    P(| ||u||^2 - 1 | >= eps) of u with n independent entries N(0, 1/n), which is what a matrix of such entries makes of
    any unit vector: exactly, or a bound of it.

    Parameters
    ----------
    n : array_like of int
        Dimensions, at least 1.
    eps : array_like
        Distortions of the squared length, in (0, 1). Broadcast against `n`.
    kind : {"exact", "chernoff", "lemma"}
        "exact": the tails of the chi-square distribution, Q(n/2, n(1+eps)/2) + P(n/2, n(1-eps)/2). "chernoff": the best
        exponential bound of each tail, exp(n (log(1+eps) - eps) / 2) + exp(n (log(1-eps) + eps) / 2). "lemma": what
        text books make of it, 2 exp(-eps^2 n / 8). They grow in this order, and the bounds may exceed 1.
    log : bool
        The logarithm, which does not underflow.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if `eps` is, else float64.

    Raises
    ------
    KexueValueError
        If an entry of `n` is not a whole number from 1 on, one of `eps` not in (0, 1), or `kind` is none of these.
    TypeError
        If `n` or `eps` does not hold real numbers.

    See Also
    --------
    jl_success_probability : of all pairs of points.

    Notes
    -----
    Constant time for each number. The relative error is below 1e-12, that of the logarithm 5e-14, absolute where its
    size is below 1.

    References
    ----------
    S. Dasgupta, A. Gupta, "An elementary proof of a theorem of Johnson and Lindenstrauss", Random Structures and
    Algorithms 22, 2003, doi:10.1002/rsa.10073.

    Examples
    --------
    >>> import kexue
    >>> [f"{kexue.norm_concentration_bound(100, 0.5, kind=kind):.12g}" for kind in ("exact", "chernoff", "lemma")]
    ['0.000910885347602', '0.00891920479977', '0.0878738672468']
    >>> round(float(kexue.norm_concentration_bound(10**6, 0.5, log=True)), 6)
    -47274.232931
    """
    dimensions, distortions = _whole("n", n), _fraction("eps", eps)
    check_broadcast(n=dimensions.shape, eps=distortions.shape)
    result = _choose("kind", kind, _NORM)(dimensions, distortions)
    return _finished(result, log, eps)


@same_kind
def inner_product_bound(
    n: ArrayLike, eps: ArrayLike, *, kind: Literal["chernoff", "lemma"] = "lemma", log: bool = False
) -> np.ndarray | np.generic:
    """A bound of the probability that two independent random vectors have an inner product of at least eps in size.

    P(\\|<u, v>\\| >= eps) of u and v with n independent entries N(0, 1/n): so many directions are nearly orthogonal.

    Parameters
    ----------
    n : array_like of int
        Dimensions, at least 1.
    eps : array_like
        In (0, 1). Broadcast against `n`.
    kind : {"lemma", "chernoff"}
        "lemma": 4 exp(-eps^2 n / 8), which follows from `norm_concentration_bound`. "chernoff": the best exponential
        bound, 2 exp(-n (t eps + log(1 - t^2) / 2)) with t = 2 eps / (1 + sqrt(1 + 4 eps^2)); for small eps about as
        good as the lemma with four times the dimensions. Bounds may exceed 1.
    log : bool
        The logarithm, which does not underflow.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if `eps` is, else float64.

    Raises
    ------
    KexueValueError
        If an entry of `n` is not a whole number from 1 on, one of `eps` not in (0, 1), or `kind` is none of these.
    TypeError
        If `n` or `eps` does not hold real numbers.

    See Also
    --------
    random_angle : vectors of length 1, exactly: twice its ``cosine_sf(eps)``.

    Notes
    -----
    n <u, v> is a sum of products of two standard normals, of which E exp(t x y) = (1 - t^2)^(-1/2).

    References
    ----------
    S. Boucheron, G. Lugosi, P. Massart, "Concentration Inequalities", 2013, section 2.2,
    doi:10.1093/acprof:oso/9780199535255.001.0001.

    Examples
    --------
    >>> import kexue
    >>> round(float(kexue.inner_product_bound(1000, 0.2)), 12)
    0.026951787996
    >>> round(float(kexue.inner_product_bound(1000, 0.2, kind="chernoff")), 12)
    6.029e-09
    """
    dimensions, distortions = _whole("n", n), _fraction("eps", eps)
    check_broadcast(n=dimensions.shape, eps=distortions.shape)
    result = _choose("kind", kind, _INNER)(dimensions, distortions)
    return _finished(result, log, eps)


def _log_norm_exact(n: np.ndarray, eps: np.ndarray) -> np.ndarray:
    from scipy.special import gammainc, gammaincc

    a = n / 2
    return np.logaddexp(
        _log_gamma_tail(a, eps, gammaincc, _upper_fraction), _log_gamma_tail(a, -eps, gammainc, _lower_fraction)
    )


def _log_norm_chernoff(n: np.ndarray, eps: np.ndarray) -> np.ndarray:
    return np.logaddexp(-n / 2 * _excess(eps), -n / 2 * _excess(-eps))


def _log_norm_lemma(n: np.ndarray, eps: np.ndarray) -> np.ndarray:
    return math.log(2) - eps * eps * n / 8


def _log_inner_chernoff(n: np.ndarray, eps: np.ndarray) -> np.ndarray:
    t = 2 * eps / (1 + np.sqrt(1 + 4 * eps * eps))
    return math.log(2) - n * (t * eps + np.log1p(-t * t) / 2)


def _log_inner_lemma(n: np.ndarray, eps: np.ndarray) -> np.ndarray:
    return math.log(4) - eps * eps * n / 8


_Bound = Callable[[np.ndarray, np.ndarray], np.ndarray]
_NORM: dict[str, _Bound] = {"exact": _log_norm_exact, "chernoff": _log_norm_chernoff, "lemma": _log_norm_lemma}
_INNER: dict[str, _Bound] = {"chernoff": _log_inner_chernoff, "lemma": _log_inner_lemma}


def _excess(x: np.ndarray) -> np.ndarray:
    """x - log(1 + x) for |x| < 1, to a few ulp."""
    # log(1 + x) = 2 atanh(r), and x - 2 r = x r: what is left is a series in which nothing cancels.
    r = x / (2 + x)
    square = r * r
    series = np.zeros_like(x)
    for k in range(39, 1, -2):
        series = (series + 1 / k) * square
    return np.where(np.abs(x) < 0.5, r * (x - 2 * series), x - np.log1p(x))


@np.errstate(divide="ignore", under="ignore")  # where a tail underflows, and in terms that are then nothing
def _log_gamma_tail(a: np.ndarray, x: np.ndarray, tail: _Bound, fraction: _Bound) -> np.ndarray:
    """log of the upper tail Q(a, a (1 + x)), x > 0, or the lower one P(a, a (1 + x)), x < 0."""
    from scipy.special import erfc

    a, x = np.broadcast_arrays(a, x)
    exponent = a * _excess(x)
    at = a * (1 + x)
    result = np.log(tail(a, at))
    # a (1 + x) was rounded, of which a times is felt: to first order, what the rounding did to the exponent.
    result = np.asarray(result + a * _excess((at - a) / a) - exponent)
    huge = a > _HUGE
    if huge.any():
        eta = np.copysign(np.sqrt(2 * exponent[huge] / a[huge]), x[huge])
        rest = -1 / 3 + eta / 12 - eta * eta / 135 * 2 - 1 / 540 / a[huge]
        rest *= np.sign(x[huge]) * np.exp(-exponent[huge]) / np.sqrt(a[huge]) / math.sqrt(2 * math.pi)
        result[huge] = np.log(erfc(np.sqrt(exponent[huge])) / 2 + rest)
    far = exponent > np.where(a > _LARGE, _FAR_OF_LARGE, _FAR)
    if far.any():
        a, x, exponent = a[far], x[far], exponent[far]
        stirling = (1 / 12 - (1 / 360 - 1 / a / a / 1260) / a / a) / a
        result[far] = 0.5 * np.log(a / (2 * math.pi)) - stirling - exponent - np.log(fraction(a, x))
    return result


def _upper_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """at^a exp(-at) / Gamma(a, at) with at = a (1 + x), Legendre's: of positive terms, as a > _TERMS."""
    result = a * x + 2 * _TERMS + 1
    for k in range(_TERMS, 0, -1):
        result = a * x + 2 * k - 1 + k * ((a - k) / result)
    return result


def _lower_fraction(a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """at^a exp(-at) / gamma(a, at) with at = a (1 + x), the M-fraction, of positive terms."""
    result = _TERMS - a * x
    for k in range(_TERMS, 0, -1):
        result = k - 1 - a * x + k * (a * (1 + x) / result)
    return result


# ---- many points ----


@same_kind
def jl_success_probability(
    n_samples: ArrayLike, n_components: ArrayLike, eps: ArrayLike, *, kind: Kind = "exact", log: bool = False
) -> np.ndarray | np.generic:
    """With what probability, at least, a Gaussian projection keeps all squared distances within a factor of 1 -+ eps.

    Parameters
    ----------
    n_samples : array_like of int
        The number of points, at least 1.
    n_components : array_like of int
        The dimension to which they are projected, at least 1.
    eps : array_like
        Distortion of the squared distances, in (0, 1). The three arguments are broadcast.
    kind : {"exact", "chernoff", "lemma"}
        How the probability that one pair fails is found: see `norm_concentration_bound`.
    log : bool
        The logarithm: of a success that is all but certain, minus the probability of failure.

    Returns
    -------
    ndarray or scalar
        1 - N (N-1) / 2 P with P that of one pair, or 0 if that is negative: the union bound, which holds whatever the
        points and however they depend on each other. float32 if `eps` is, else float64.

    Raises
    ------
    KexueValueError
        If an entry of `n_samples` or `n_components` is not a whole number from 1 on, one of `eps` not in (0, 1), or
        `kind` is none of these.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    jl_min_dim : the other way around.
    random_projection : projects.

    Notes
    -----
    Constant time for each number. "exact" is of the pair; nothing but the union bound is lost.

    References
    ----------
    S. Dasgupta, A. Gupta, "An elementary proof of a theorem of Johnson and Lindenstrauss", Random Structures and
    Algorithms 22, 2003, doi:10.1002/rsa.10073.

    Examples
    --------
    >>> import kexue
    >>> kexue.jl_success_probability(1000, [300, 364, 424], 0.5).round(6)
    array([0.978237, 0.999035, 0.999947])
    >>> float(kexue.jl_success_probability(1000, 331, 0.5).round(6))  # what scikit-learn takes
    0.995198
    """
    samples, dimensions, distortions = (
        _whole("n_samples", n_samples),
        _whole("n_components", n_components),
        _fraction("eps", eps),
    )
    check_broadcast(n_samples=samples.shape, n_components=dimensions.shape, eps=distortions.shape)
    failure = _log_pairs(samples) + _choose("kind", kind, _NORM)(dimensions, distortions)
    with np.errstate(divide="ignore", under="ignore"):
        result = np.log1p(-np.exp(np.minimum(failure, 0.0)))
    return _finished(result, log, eps)


@same_kind
def jl_min_dim(
    n_samples: ArrayLike, eps: ArrayLike, *, rule: Rule = "chernoff", delta: ArrayLike | None = None
) -> int | np.ndarray:
    """The least dimension in which a random projection keeps all squared distances of N points within 1 -+ eps.

    Parameters
    ----------
    n_samples : array_like of int
        N, the number of points, at least 1.
    eps : array_like
        Distortion of the squared distances, in (0, 1). Broadcast against `n_samples`.
    rule : {"chernoff", "exact", "lemma24", "lemma16", "dasgupta-gupta"}
        What is guaranteed of a Gaussian projection, and at what price:

        - "exact": success with probability 1 - delta at least, from the exact law of one pair and the union bound;
        - "chernoff": the same from exponential bounds of both tails, about a tenth more dimensions;
        - "lemma24": 24 log(N) / eps^2, success with probability 1 - 1/N at least;
        - "lemma16": 16 log(N) / eps^2, success with probability 1/N at least: such a projection exists;
        - "dasgupta-gupta": 4 log(N) / (eps^2/2 - eps^3/3), success with probability 1/N at least as well: what
          ``sklearn.random_projection.johnson_lindenstrauss_min_dim`` computes.
    delta : array_like, optional
        Of "exact" and "chernoff", the probability of failure, in (0, 1): 1/N by default. Broadcast too.

    Returns
    -------
    int or ndarray of int64
        Of the broadcast shape. The least whole number, so a formula's value is rounded up; scikit-learn rounds down,
        which is 1 less. 1 for a single point.

    Raises
    ------
    KexueValueError
        If an entry of `n_samples` is not a whole number from 1 on, one of `eps` or `delta` not in (0, 1), `rule` is
        none of these, or `delta` is given to a rule that has its own.
    OverflowError
        If the dimension is beyond 2^53, as for eps below 1e-7.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    jl_success_probability : what a given dimension guarantees.
    random_projection : takes ``n_components="auto"``.

    Notes
    -----
    The dimension of the points has no say. Random signs are within the bound of "dasgupta-gupta" too (Achlioptas), the
    other rules are of Gaussian matrices. A probability of 1/N is what the proofs of two rules give, which is next to
    nothing; by the exact law, 331 dimensions for 1000 points and eps = 0.5 do it with a probability of 0.995, see
    `jl_success_probability`. The search is a bisection: the probability falls as the dimension grows. Some 50
    evaluations of it, whatever the arguments.

    References
    ----------
    W. Johnson, J. Lindenstrauss, "Extensions of Lipschitz mappings into a Hilbert space", 1984,
    doi:10.1090/conm/026/737400.
    S. Dasgupta, A. Gupta, "An elementary proof of a theorem of Johnson and Lindenstrauss", Random Structures and
    Algorithms 22, 2003, doi:10.1002/rsa.10073.
    D. Achlioptas, "Database-friendly random projections", 2003, doi:10.1016/S0022-0000(03)00025-4.

    Examples
    --------
    >>> import kexue
    >>> rules = ("exact", "chernoff", "lemma24", "lemma16", "dasgupta-gupta")
    >>> [kexue.jl_min_dim(1000, 0.1, rule=rule) for rule in rules]
    [7403, 8565, 16579, 11053, 5921]
    >>> kexue.jl_min_dim([1000, 10**6], [[0.1], [0.5]], rule="exact", delta=0.01)
    array([[ 6460, 12184],
           [  316,   602]])
    """
    samples, distortions = _whole("n_samples", n_samples), _fraction("eps", eps)
    if rule not in ("exact", "chernoff", *_CLOSED):
        raise _unknown("rule", rule, ("exact", "chernoff", *_CLOSED))
    if rule in _CLOSED:
        if delta is not None:
            raise KexueValueError(f'delta is for the rules "exact" and "chernoff": {rule!r} has its own')
        check_broadcast(n_samples=samples.shape, eps=distortions.shape)
        samples, distortions = np.broadcast_arrays(samples, distortions)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            found = np.ceil(_CLOSED[rule](np.log(samples), distortions))
        found = np.where(samples == 1, 1.0, found)  # 0 / 0 if eps is tiny
    else:
        failure = 1 / samples if delta is None else _fraction("delta", delta)
        check_broadcast(n_samples=samples.shape, eps=distortions.shape, delta=failure.shape)
        goal = np.log(failure)
        goal, distortions = np.broadcast_arrays(goal - _log_pairs(samples), distortions)
        found = _least(_NORM["chernoff"], goal, distortions, _chernoff_limit(goal, distortions))
        if rule == "exact":
            found = _least(_NORM["exact"], goal, distortions, found)
    if (found > _LARGEST).any():
        raise OverflowError("eps is so small that the dimension is beyond 2^53")
    return _as_int(np.maximum(found, 1))


_CLOSED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "lemma24": lambda log_n, eps: 24 * log_n / (eps * eps),
    "lemma16": lambda log_n, eps: 16 * log_n / (eps * eps),
    "dasgupta-gupta": lambda log_n, eps: 24 * log_n / (eps * eps * (3 - 2 * eps)),
}


def _log_pairs(samples: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(samples) + np.log(samples - 1) - math.log(2)


def _chernoff_limit(goal: np.ndarray, eps: np.ndarray) -> np.ndarray:
    """A dimension that is enough: the upper tail's bound is the larger of the two, so twice it bounds their sum."""
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        limit = np.ceil(np.maximum(2 * (math.log(2) - goal) / _excess(eps), 1))
    return np.where(goal == np.inf, 1.0, limit)


def _least(bound: _Bound, goal: np.ndarray, eps: np.ndarray, enough: np.ndarray) -> np.ndarray:
    """The least dimension in which a logarithm of a probability is at most its goal; `enough` is one that does."""
    if (enough > _LARGEST).any():
        return enough
    low, high = np.zeros_like(enough), enough
    while ((high - low) > 1).any():
        middle = np.floor((low + high) / 2)
        does = bound(np.maximum(middle, 1), eps) <= goal  # 0 comes up where the search is over
        low, high = np.where(does, low, middle), np.where(does, middle, high)
    return high


# ---- embeddings ----


@same_kind
def embedding_dim(n_items: ArrayLike, *, method: Literal["exact", "asymptotic", "post"] = "exact") -> int | np.ndarray:
    """How many dimensions the embeddings of N items need, by the minimum entropy principle: about 8.33 log N.

    If items i and j, embedded as vectors of length sqrt(n), occur together with a probability in proportion to
    exp(<v_i, v_j>), that probability must be able to be far from uniform: the entropy of a random one must be
    no more than 0, which is log N^2 + h_n, where h_n is that of the weight exp(n cos theta) of random angles.

    Parameters
    ----------
    n_items : array_like of int
        The number of items, as words of a vocabulary; at least 1.
    method : {"exact", "asymptotic", "post"}
        "exact": the least n with log N^2 + h_n < 0. "asymptotic": 4 log(N) / log((1 + sqrt 5) / 2), that is
        8.31234768494011 log N, rounded up: h_n / n tends to -0.2406. "post": 8.33 log N, from 2 / 0.24, rounded up.

    Returns
    -------
    int or ndarray of int64
        Of the shape of `n_items`.

    Raises
    ------
    KexueValueError
        If an entry of `n_items` is not a whole number from 1 on, or `method` is none of these.
    TypeError
        If `n_items` does not hold real numbers.

    See Also
    --------
    attention_head_dim : of keys and queries.
    random_angle : the law of theta.

    Notes
    -----
    h_n = log E exp(n cos) - n E_w cos, where E_w has the weight exp(n cos); in Bessel functions, with nu = n/2 - 1,
    log(Gamma(nu+1) (2/n)^nu I_nu(n)) - n I_{nu+1}(n) / I_nu(n). It is computed to 1e-13 relative. This tells an order
    of magnitude, not what an embedding is worth. Constant time for each number.

    References
    ----------
    J. Su, "The minimum entropy principle (6): how to choose the dimension of word vectors", 2020,
    https://kexue.fm/archives/7695; "The amazing Johnson-Lindenstrauss lemma: applications", 2021,
    https://kexue.fm/archives/8706.

    Examples
    --------
    >>> import kexue
    >>> kexue.embedding_dim([512, 100_000, 5_000_000])
    array([ 52,  96, 128])
    >>> kexue.embedding_dim(512, method="post")
    52
    """
    items = _whole("n_items", n_items)
    return _as_int(_choose("method", method, _EMBEDDING)(items))


@same_kind
def attention_head_dim(
    length: ArrayLike, *, method: Literal["exact", "asymptotic", "post"] = "exact"
) -> int | np.ndarray:
    """How many dimensions a head of attention needs for sequences of a length, as `embedding_dim` of so many items.

    The argument is the same: the attention of a position, in proportion to exp(<q_i, k_j>), must be able to be far from
    uniform. It takes over the entropy log L^2 of pairs of positions.

    Parameters
    ----------
    length : array_like of int
        The number of positions, at least 1.
    method : {"exact", "asymptotic", "post"}
        As in `embedding_dim`.

    Returns
    -------
    int or ndarray of int64
        Of the shape of `length`.

    Raises
    ------
    KexueValueError
        If an entry of `length` is not a whole number from 1 on, or `method` is none of these.
    TypeError
        If `length` does not hold real numbers.

    See Also
    --------
    embedding_dim : with the formulas.

    Notes
    -----
    Each row of attention alone has the entropy log L, which would give half as many. Constant time for each number.

    References
    ----------
    J. Su, "How large must the head size of attention be?", 2021, https://kexue.fm/archives/8711.

    Examples
    --------
    >>> import kexue
    >>> kexue.attention_head_dim(512)
    52
    """
    positions = _whole("length", length)
    return _as_int(_choose("method", method, _EMBEDDING)(positions))


def _embedding_exact(items: np.ndarray) -> np.ndarray:
    return np.reshape([_embedding_dim(2 * math.log(value)) for value in items.flat], items.shape)


def _embedding_dim(entropy: float) -> float:
    # h_n + 0.2406 n lies between -0.0904 (n = 2) and -0.0739 (n large), so this is the dimension or just below.
    n = max(1, math.floor((entropy - 0.1) / _ENTROPY_RATE))
    while entropy + _tilted_entropy(n) >= 0:
        n += 1
    return float(n)


@lru_cache(maxsize=8192)  # a vocabulary of 1e308 needs 5900 dimensions
def _tilted_entropy(n: int) -> float:
    """h_n: the entropy of the angle's law under the weight exp(n cos), less that without it."""
    log_mean, cosine = tilted_cosine(n, float(n))
    return log_mean - n * cosine


_EMBEDDING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exact": _embedding_exact,
    "asymptotic": lambda items: np.maximum(np.ceil(2 / _ENTROPY_RATE * np.log(items)), 1),
    "post": lambda items: np.maximum(np.ceil(8.33 * np.log(items)), 1),
}


# ---- arguments and results ----


def _whole(name: str, value: ArrayLike) -> np.ndarray:
    if isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)  # beyond int64, too
        except OverflowError:
            raise KexueValueError(f"{name} must be a whole number from 1 to 1.8e308, the largest of float64") from None
    array = as_real(name, value)
    if np.asarray(value).dtype == bool:
        raise TypeError(f"{name} must hold whole numbers, not bool")
    array = array.astype(np.float64)
    first_bad(
        name,
        array,
        lambda entries: ~((entries >= 1) & (entries == np.floor(entries)) & (entries < np.inf)),
        "must be a whole number of at least 1, but is {value}",
    )
    return array


def _fraction(name: str, value: ArrayLike) -> np.ndarray:
    array = as_real(name, value).astype(np.float64)
    first_bad(name, array, lambda entries: ~((entries > 0) & (entries < 1)), "must be in (0, 1), but is {value}")
    return array


def _unknown(name: str, value: object, known: tuple[str, ...]) -> KexueValueError:
    return KexueValueError(f"{name} must be one of {', '.join(map(repr, known))}, got {value!r}")


def _choose(name: str, value: str, among: dict) -> Callable[..., np.ndarray]:
    try:
        return among[value]
    except (KeyError, TypeError):
        raise _unknown(name, value, tuple(among)) from None


def _finished(logarithm: np.ndarray, log: bool, eps: ArrayLike) -> np.ndarray | np.generic:
    with np.errstate(under="ignore"):
        result = logarithm if log else np.exp(logarithm)
        return result.astype(result_dtype(eps), copy=False)[()]


def _as_int(values: np.ndarray) -> int | np.ndarray:
    return int(values) if values.ndim == 0 else values.astype(np.int64)
