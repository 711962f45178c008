"""What a matrix of attention can say: parameters for its entries, its rank, its entropy, and a model of that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_axis, check_integer
from kexue._errors import KexueValueError, first_bad
from kexue._ufuncs import entropy

# ---- the bottleneck ----


@dataclass(frozen=True)
class AttentionParamBudget:
    """The numbers that make the scores of one head, beside how many scores there are.

    Attributes
    ----------
    parameters : int
        Entries of the queries and keys of a head, 2 n key_size.
    entries : int
        Scores of a head, n^2.
    ratio : float
        Parameters to entries. Below 1 the scores are of lower rank than n, however the head is trained.
    projection_macs : int
        Multiply-accumulates of making the queries and keys of all heads, 2 n d h key_size.

    See Also
    --------
    attention_param_budget : makes one.

    Examples
    --------
    >>> import kexue
    >>> isinstance(kexue.attention_param_budget(512, 768, 12), kexue.AttentionParamBudget)
    True
    """

    parameters: int
    entries: int
    ratio: float
    projection_macs: int


def attention_param_budget(n: int, d: int, h: int, key_size: int | None = None) -> AttentionParamBudget:
    """How many numbers describe the n^2 scores of a head of attention: the low-rank bottleneck.

    Parameters
    ----------
    n : int
        The number of positions, at least 1.
    d : int
        The hidden dimension of the layer (not of a head), at least 1.
    h : int
        The number of heads, at least 1.
    key_size : int, optional
        The dimension of a head's queries and keys, at least 1: d / h by default.

    Returns
    -------
    AttentionParamBudget
        Exact ints, and their ratio.

    Raises
    ------
    KexueValueError
        If a number is less than 1, or `h` does not divide `d` and no `key_size` is given.
    TypeError
        If a number is no integer.

    See Also
    --------
    attention_rank : what is left of it in a matrix of weights.

    Notes
    -----
    Scores of n positions by queries and keys of dimension k have rank k at most. More heads with d / h make each one
    poorer; a key_size that does not shrink with h costs projections only: the values keep theirs.

    References
    ----------
    S. Bhojanapalli, C. Yun, A. S. Rawat, S. Reddi, S. Kumar, "Low-Rank Bottleneck in Multi-head Attention Models",
    2020, arXiv:2002.07028. J. Su, Scientific Spaces, 2020, https://kexue.fm/archives/7325.

    Examples
    --------
    >>> import kexue
    >>> kexue.attention_param_budget(512, 768, 12)
    AttentionParamBudget(parameters=65536, entries=262144, ratio=0.25, projection_macs=603979776)
    >>> kexue.attention_param_budget(512, 768, 12, key_size=256).ratio
    1.0
    """
    n, d, h = (check_integer(name, value, 1) for name, value in (("n", n), ("d", d), ("h", h)))
    if key_size is None:
        if d % h:
            raise KexueValueError(f"h must divide d where key_size is not given, got d = {d} and h = {h}")
        key_size = d // h
    else:
        key_size = check_integer("key_size", key_size, 1)
    return AttentionParamBudget(2 * n * key_size, n * n, 2 * key_size / n, 2 * n * d * h * key_size)


@same_kind
def attention_rank(
    A: ArrayLike, *, kind: Literal["weights", "logits"] = "weights", tol: float | None = None
) -> int | np.ndarray:
    """The numeric rank of attention's scores, each row less its mean, from them or from their softmax.

    The logarithm of a softmax is the scores less a number for each row, which the mean of the row takes away. With
    queries and keys of dimension k this rank is k at most.

    Parameters
    ----------
    A : array_like, shape (..., n_queries, n_keys)
        Weights, all positive, or scores, all finite: masks, causal ones too, are no scores of rank k.
    kind : {"weights", "logits"}
        Which of them `A` is.
    tol : float, optional
        Singular values up to it count as 0. By default what rounding makes of 0: the largest one times max(n_queries,
        n_keys) eps, as in `numpy.linalg.matrix_rank`, or eps times the largest score (1 more for weights) times
        sqrt(n_queries n_keys) if that is more; eps that of A's dtype.

    Returns
    -------
    int or ndarray of int64, shape (...)

    Raises
    ------
    KexueValueError
        If an entry is not finite, or a weight is 0, negative, or below the normal numbers of its dtype: its logarithm
        is lost. If `A` has fewer than two dimensions, or `kind` or `tol` is not one of these.
    TypeError
        If `A` does not hold real numbers.

    See Also
    --------
    attention_param_budget : what rank can be hoped for.

    Notes
    -----
    Singular values of each matrix, O(m n min(m, n)) time, in float64. The rank of float32 weights is one to float32's
    digits: scores of a millionth of the largest are noise.

    References
    ----------
    S. Bhojanapalli, C. Yun, A. S. Rawat, S. Reddi, S. Kumar, "Low-Rank Bottleneck in Multi-head Attention Models",
    2020, arXiv:2002.07028. J. Su, Scientific Spaces, 2020, https://kexue.fm/archives/7325.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> Q, K = np.random.default_rng(0).normal(size=(2, 100, 8))
    >>> kexue.attention_rank(kexue.softmax(Q @ K.T))
    8
    """
    if kind not in ("weights", "logits"):
        raise KexueValueError(f'kind must be "weights" or "logits", got {kind!r}')
    array = as_real("A", A)
    if array.ndim < 2:
        raise KexueValueError(f"A must have shape (..., n_queries, n_keys), but its shape is {array.shape}")
    if tol is not None and not (tol >= 0):
        raise KexueValueError(f"tol must be at least 0, got {tol!r}")
    first_bad("A", array, lambda values: ~np.isfinite(values), "is {value}: masked scores have no rank of this kind")
    limits = np.finfo(np.float16 if getattr(A, "dtype", None) == np.float16 else array.dtype)
    scores = array.astype(np.float64)
    if kind == "weights":
        message = "is {value}, and its logarithm is lost: pass the scores, without a mask, as logits"
        first_bad("A", array, lambda values: ~(values >= limits.tiny), message)
        scores = np.log(scores)
    rows, columns = scores.shape[-2:]
    if not scores.size:
        ranks = np.zeros(scores.shape[:-2], dtype=np.int64)
        return int(ranks) if ranks.ndim == 0 else ranks
    largest = np.abs(scores).max(axis=(-2, -1))
    values = np.linalg.svd(scores - scores.mean(axis=-1, keepdims=True), compute_uv=False)
    if tol is None:
        eps = float(limits.eps)
        noise = eps * math.sqrt(rows * columns) * (largest + (kind == "weights"))
        bound = np.maximum(values[..., 0] * max(rows, columns) * eps, noise)
    else:
        bound = np.full(scores.shape[:-2], float(tol))
    ranks = np.count_nonzero(values > bound[..., None], axis=-1)
    return int(ranks) if scores.ndim == 2 else ranks


# ---- entropies ----


@same_kind
def attention_entropy(
    A: ArrayLike, *, kind: Literal["weights", "logits"] = "weights", axis: int = -1
) -> np.ndarray | np.generic:
    """The entropy of each row of attention, in nats, from weights or from scores.

    Parameters
    ----------
    A : array_like, shape (..., n)
        Weights that are not negative, or scores, where -inf hides. Rows of weights are taken relative to their sum, so
        those that dropout left are fine.
    kind : {"weights", "logits"}
        Which of them `A` is.
    axis : int
        Along which the rows run.

    Returns
    -------
    ndarray or scalar, shape (...)
        0 for a row that sees nothing: with weights of 0, scores of -inf, or no entry. NaN for one with a NaN, or with a
        score of +inf. float32 if `A` is float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        If a weight is negative or infinite, `axis` is out of range, or `kind` is neither.
    TypeError
        If `A` does not hold real numbers.

    See Also
    --------
    attention : gives it with ``return_entropy=True``, without the matrix.
    entropy : the ufunc.
    attention_entropy_model : what to expect of it.

    Notes
    -----
    Linear time. Weights: within 8 eps (1 + log2 n) relatively, for rows of next to no entropy as well. Scores: their
    differences to the largest are rounded, which adds eps times the largest difference.

    References
    ----------
    C. E. Shannon, "A Mathematical Theory of Communication", 1948, doi:10.1002/j.1538-7305.1948.tb01338.x.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> kexue.attention_entropy([[0.5, 0.5, 0], [1, 0, 0]])
    array([0.69314718, 0.        ])
    >>> kexue.attention_entropy([[0, 0, -np.inf], [800, 0, 0]], kind="logits")
    array([0.69314718, 0.        ])
    """
    if kind not in ("weights", "logits"):
        raise KexueValueError(f'kind must be "weights" or "logits", got {kind!r}')
    array = as_real("A", A)
    array = np.moveaxis(array, check_axis("A", axis, array.ndim), -1)
    if kind == "weights":
        first_bad("A", array, lambda values: (values < 0) | (values == np.inf), "is {value}, not a weight")
        weights = array
    else:
        top = array.max(axis=-1, keepdims=True, initial=-np.inf)
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            weights = np.exp(array - np.where(top > -np.inf, top, 0))
        weights = np.where(top == np.inf, np.nan, weights)
    with np.errstate(invalid="ignore"):
        entropies = entropy(weights)
    return np.where((weights == 0).all(axis=-1), entropies.dtype.type(0), entropies)[()]


_LARGEST_SCALE = 1e6  # the entropy is a difference of numbers lambda d: beyond, few of its digits are left
_SERIES_BELOW = 1e-3  # scales: the terms left out of the series are 1e-17 of it


@same_kind
def attention_entropy_model(
    n: ArrayLike, d: ArrayLike, lam: ArrayLike, *, method: Literal["exact", "asymptotic"] = "exact"
) -> np.ndarray | np.generic:
    """The entropy to expect of attention over n keys in d dimensions with scale lambda: log n + h(d, lambda d).

    Queries and keys are uniform on the sphere of radius sqrt(d), and so many that their sums are means.

    Parameters
    ----------
    n : array_like
        How many keys a query sees, at least 1.
    d : array_like of int
        The dimension, at least 1.
    lam : array_like
        The scale of products of queries and keys, 1e6 at most. The three are broadcast.
    method : {"exact", "asymptotic"}
        h of that dimension, or its law for many: d/2 log(1 - r^2) with r = (sqrt(1 + 4 lambda^2) - 1) / (2 lambda).

    Returns
    -------
    ndarray or scalar of float64
        In nats. It falls below 0 where the model does not hold.

    Raises
    ------
    KexueValueError
        If a number is out of range, or `method` is neither.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    entropy_matched_scale : the other way around.
    attention_entropy : of a matrix.
    entropy_invariant_scale : the scale in proportion to log n.

    Notes
    -----
    h is the entropy of the angle's law under the weight exp(lambda d cos), less that without it: the term of
    `embedding_dim`, where lambda is 1. For small lambda it is -lambda^2 d / 2, so 1 / sqrt(d) takes some 0.49 nats in
    any dimension. It holds while n keys sample exp(lambda q k) well, whose logarithm has a standard deviation of
    lambda sqrt(d): up to 2 or so for hundreds of keys, and 3 for many thousands. Beyond, a few keys make the sum, and
    the entropy is above the model's. Constant time for each number.

    References
    ----------
    J. Su, "From entropy invariance to the scale of attention", Scientific Spaces, 2021, https://kexue.fm/archives/8823.

    Examples
    --------
    >>> import kexue
    >>> kexue.attention_entropy_model([64, 4096], 64, 1 / 8).round(3)
    array([3.67 , 7.829])
    """
    lengths, dimensions, scales = _model_arguments(n, d, lam=lam)
    first_bad("lam", scales, lambda values: np.abs(values) > _LARGEST_SCALE, "is {value}, beyond 1e6")
    if method == "exact":
        terms = np.reshape(
            [_tilted_entropy(int(m), abs(float(s))) for m, s in zip(dimensions.flat, scales.flat, strict=True)],
            scales.shape,
        )
    elif method == "asymptotic":
        # With root = sqrt(1 + 4 lambda^2), r = 2 lambda / (1 + root) and 1 - r^2 = 2 / (1 + root).
        terms = -dimensions / 2 * np.log1p(2 * scales**2 / (1 + np.hypot(1, 2 * scales)))
    else:
        raise KexueValueError(f'method must be "exact" or "asymptotic", got {method!r}')
    return (np.log(lengths) + terms)[()]


@same_kind
def entropy_matched_scale(
    entropy: ArrayLike, n: ArrayLike, d: ArrayLike, *, method: Literal["exact", "asymptotic"] = "exact"
) -> np.ndarray | np.generic:
    """The scale at which attention over n keys in d dimensions has a given entropy, by `attention_entropy_model`.

    Parameters
    ----------
    entropy : array_like
        In nats, log n at most.
    n : array_like
        How many keys a query sees, at least 1.
    d : array_like of int
        The dimension, at least 1. The three are broadcast.
    method : {"exact", "asymptotic"}
        As in the model. "asymptotic" is closed: lambda = r / (1 - r^2) with r^2 = 1 - exp(2 (H - log n) / d).

    Returns
    -------
    ndarray or scalar of float64
        Not negative. 0 for log n.

    Raises
    ------
    KexueValueError
        If an entropy is above log n, or beyond the reach of scale 1e6; if a number is out of range, or `method` is
        neither.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    attention_entropy_model : with what it holds for.
    entropy_invariant_scale : keeps the entropy about the same, without a model.

    Notes
    -----
    Unlike log n / (log 512 sqrt(d)) this keeps the entropy, where the model holds: while lambda sqrt(d) is below 2 or
    3. Root finding for each number, some 1 ms.

    References
    ----------
    J. Su, "From entropy invariance to the scale of attention", Scientific Spaces, 2021, https://kexue.fm/archives/8823.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> target = kexue.attention_entropy_model(512, 64, 1 / 8)
    >>> kexue.entropy_matched_scale(target, [512, 1024, 4096], 64).round(4)
    array([0.125 , 0.1975, 0.3005])
    """
    lengths, dimensions, targets = _model_arguments(n, d, entropy=entropy)
    gaps = np.log(lengths) - targets
    slack = 4 * np.finfo(np.float64).eps * np.maximum(np.abs(np.log(lengths)), 1)
    first_bad("entropy", np.where(gaps < -slack, targets, -np.inf), np.isfinite, "is {value}, above log n")
    gaps = np.maximum(gaps, 0)
    if method == "asymptotic":
        with np.errstate(over="ignore"):
            scales = np.sqrt(-np.expm1(-2 * gaps / dimensions)) * np.exp(2 * gaps / dimensions)
    elif method == "exact":
        pairs = zip(dimensions.flat, gaps.flat, strict=True)
        scales = np.reshape([_scale_of_gap(int(m), float(gap)) for m, gap in pairs], gaps.shape)
    else:
        raise KexueValueError(f'method must be "exact" or "asymptotic", got {method!r}')
    beyond = np.where(scales <= _LARGEST_SCALE, -np.inf, targets)
    first_bad("entropy", beyond, np.isfinite, "is {value}, out of reach of any scale up to 1e6")
    return scales[()]


def _model_arguments(n: ArrayLike, d: ArrayLike, **third: ArrayLike) -> tuple[np.ndarray, ...]:
    ((name, value),) = third.items()
    lengths, dimensions, others = (
        as_real(label, number).astype(np.float64) for label, number in (("n", n), ("d", d), (name, value))
    )
    first_bad(
        "n", lengths, lambda entries: ~((entries >= 1) & (entries < np.inf)), "must be at least 1, but is {value}"
    )
    first_bad(
        "d",
        dimensions,
        lambda entries: ~((entries >= 1) & (entries <= 2**53) & (entries == np.floor(entries))),
        "must be a whole number of at least 1, but is {value}",
    )
    first_bad(name, others, lambda entries: ~np.isfinite(entries))
    try:
        return np.broadcast_arrays(lengths, dimensions, others)
    except ValueError:
        raise KexueValueError(
            f"n, d and {name} must broadcast, got shapes {lengths.shape}, {dimensions.shape} and {others.shape}"
        ) from None


def _tilted_entropy(d: int, scale: float) -> float:
    """h(d, scale d): the entropy of the angle's law under the weight exp(scale d cos), less that without it."""
    if scale <= _SERIES_BELOW:  # where the difference of large numbers below has few digits
        square = scale * scale * d
        return -square * (0.5 - square * (0.75 / (d + 2) - square * (5 / 3) / ((d + 2) * (d + 4))))
    from kexue._random_angle import tilted_cosine  # loads scipy.special, which attention does without

    log_mean, cosine = tilted_cosine(d, scale * d)
    return log_mean - scale * d * cosine


def _scale_of_gap(d: int, gap: float) -> float:
    """The scale whose model's entropy is `gap` below log n; infinite if there is none."""
    from scipy.optimize import brentq

    if gap == 0:
        return 0.0
    if gap > -_tilted_entropy(d, _LARGEST_SCALE):
        return math.inf
    low = high = math.sqrt(2 * gap / d)
    while -_tilted_entropy(d, high) < gap:
        low, high = high, 2 * high
    while -_tilted_entropy(d, low) > gap:
        low /= 2
    return brentq(lambda scale: -_tilted_entropy(d, scale) - gap, low, high, xtol=1e-300, rtol=1e-15)
