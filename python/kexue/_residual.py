"""Deep residual networks at their initialisation: what reaches the output, and how training begins."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, check_integer, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite

__all__ = [
    "ResidualWeights",
    "adam_expected_update",
    "embedding_logit_std",
    "linear_warmup",
    "post_norm_weights",
    "pre_norm_variance",
    "residual_branch_weights",
]

Kind = Literal["post", "pre", "plain", "rezero", "fixup"]

_KINDS = ("post", "pre", "plain", "rezero", "fixup")


@same_kind
def post_norm_weights(
    layers: int,
    rho: ArrayLike = 1.0,
    *,
    log: bool = False,
) -> tuple[np.ndarray | np.generic, np.ndarray]:
    """The weights of the input and of each branch in the output of a post-norm residual network.

    Each layer is x_{t+1} = (x_t + F_t) / sqrt(1 + rho): normalisation of a sum of independent parts, the branch's
    variance being rho times that of the input. So x_l is skip x_0 + sum_t branches[t] F_t with skip (1 + rho)^(-l/2)
    and branches[t] = (1 + rho)^(-(l - t)/2): what is far from the output counts for exponentially little, and so do its
    gradients.

    Parameters
    ----------
    layers : int
        How many, l; 0 or more.
    rho : array_like
        Var F / Var x, at least 0: one for all layers, or one for each, shape (l,).
    log : bool
        The logarithms, which do not underflow: with rho = 1, `skip` is below the least float64 for l > 2148.

    Returns
    -------
    skip : scalar
        Of x_0.
    branches : ndarray, shape (l,)
        Of F_0 ... F_{l-1}. Both are float32 if `rho` is, else float64.

    Raises
    ------
    KexueValueError
        If `layers` is negative, a `rho` negative, infinite or NaN, or its shape another.
    TypeError
        If `layers` is no integer, or `rho` does not hold real numbers.

    See Also
    --------
    residual_branch_weights : of other kinds of networks.

    Notes
    -----
    O(l). skip^2 + sum_t rho_t branches[t]^2 is 1: variances are kept.

    References
    ----------
    J. Su, https://kexue.fm/archives/8747.

    Examples
    --------
    >>> import kexue
    >>> skip, branches = kexue.post_norm_weights(12)
    >>> float(skip), branches[-2:].round(6)
    (0.015625, array([0.5     , 0.707107]))
    >>> round(float(kexue.post_norm_weights(5000, log=True)[0]), 6)
    -1732.867951
    """
    count = check_integer("layers", layers, 0)
    ratios = _ratios("rho", rho, count)
    if ratios.ndim == 0:
        exponents = np.arange(count, -1, -1) / 2
        if log:
            weights = -exponents * np.log1p(ratios)
        else:
            # What 1 + rho loses to rounding would count as many times as there are layers.
            base = 1 + ratios
            lost = (1 - (base - (base - 1))) + (ratios - (base - 1))
            weights = base**-exponents * np.exp(-exponents * (lost / base))
        skip, branches = weights[0], weights[:-1]
    else:
        sums = np.cumsum(np.log1p(ratios)[::-1])[::-1] / -2
        branches = sums if log else np.exp(sums)
        skip = branches[0] if count else np.float64(0.0 if log else 1.0)
    kind = result_dtype(rho)
    return skip.astype(kind), branches.astype(kind)


@dataclass(frozen=True, eq=False)
class ResidualWeights:
    """What reaches the output of a residual network: x_l = skip x_0 + sum_t branches[t] F_t.

    Attributes
    ----------
    skip : float
        The weight of the input.
    branches : ndarray, shape (l,)
        The weight of each branch's output.
    variance : float
        Var x_l for Var x_0 = 1; infinite where it overflows.
    log_variance : float
        Its logarithm.

    Examples
    --------
    >>> import kexue
    >>> kexue.residual_branch_weights(24, "pre").variance
    25.0
    """

    skip: float
    branches: np.ndarray
    variance: float
    log_variance: float


def residual_branch_weights(
    layers: int,
    kind: Kind = "post",
    variance_ratio: float = 1.0,
    *,
    alpha: float = 0.0,
) -> ResidualWeights:
    """The weights of the input and of each branch in the output of a residual network, and the output's variance.

    Parameters
    ----------
    layers : int
        How many, l; 0 or more.
    kind : {"post", "pre", "plain", "rezero", "fixup"}
        "post": x_{t+1} = Norm(x_t + F(x_t)), see `post_norm_weights`; the variance stays 1. "pre": x_t + F(Norm(x_t));
        all weights are 1, and the variance grows by the same amount with each layer. "plain": x_t + F(x_t); all weights
        are 1, and the variance is multiplied by 1 + variance_ratio with each layer. "rezero" (and SkipInit): x_t +
        alpha F(x_t) with alpha 0 at first. "fixup": the last layer of each branch begins at 0, and so does the branch.
    variance_ratio : float
        Var F / Var of what F sees, at least 0.
    alpha : float
        Of "rezero", finite; others do not use it.

    Returns
    -------
    ResidualWeights
        With `skip`, `branches`, `variance` and `log_variance`.

    Raises
    ------
    KexueValueError
        If `layers` is negative, `kind` is none of these, `variance_ratio` negative, infinite or NaN, or `alpha` not
        finite.
    TypeError
        If `layers` is no integer, or another argument no number.

    See Also
    --------
    pre_norm_variance : of every layer of the kind "pre".

    Notes
    -----
    O(l). Branches are taken to be independent of each other and of the input.

    References
    ----------
    T. Bachlechner et al., "ReZero is all you need", arXiv:2003.04887. S. De, S. Smith, arXiv:2002.10444 (SkipInit).
    H. Zhang, Y. Dauphin, T. Ma, "Fixup initialization", arXiv:1901.09321. J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import kexue
    >>> for kind in ("post", "pre", "plain", "rezero"):
    ...     weights = kexue.residual_branch_weights(12, kind)
    ...     print(kind, weights.skip, weights.branches[0], round(weights.variance))
    post 0.015625 0.015625 1
    pre 1.0 1.0 13
    plain 1.0 1.0 4096
    rezero 1.0 0.0 1
    """
    count = check_integer("layers", layers, 0)
    if kind not in _KINDS:
        raise KexueValueError(f"kind must be one of {', '.join(map(repr, _KINDS))}, got {kind!r}")
    ratio = float(_ratios("variance_ratio", as_real("variance_ratio", variance_ratio, ndim=0), count))
    factor = float(as_real("alpha", alpha, ndim=0, dtype=np.float64))
    if not math.isfinite(factor):
        raise KexueValueError(f"alpha must be finite, got {alpha}")
    if kind == "post":
        skip, branches = post_norm_weights(count, ratio)
        return ResidualWeights(float(skip), branches, 1.0, 0.0)
    if kind == "pre":
        return ResidualWeights(1.0, np.ones(count), 1 + count * ratio, math.log1p(count * ratio))
    weight = {"plain": 1.0, "rezero": factor, "fixup": 0.0}[kind]
    growth = weight * weight * ratio
    with np.errstate(over="ignore"):
        variance = float(np.power(1 + growth, count))
    return ResidualWeights(1.0, np.full(count, weight), variance, count * math.log1p(growth))


@same_kind
def pre_norm_variance(layers: ArrayLike, variance_ratio: ArrayLike = 1.0) -> np.ndarray | np.generic:
    """The variance after l layers of a pre-norm residual network: 1 + l variance_ratio, that of the input being 1.

    Each branch sees a normalised input, and adds the same amount: layer t changes its input by the share
    sqrt(variance_ratio / (1 + t variance_ratio)) only, so that deep networks act like wide ones.

    Parameters
    ----------
    layers : array_like of int
        How many, l; 0 or more.
    variance_ratio : array_like
        Var F, at least 0. Broadcast against `layers`.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a `layers` is negative, or a `variance_ratio` negative, or either infinite or NaN, or the shapes do not
        broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    J. Su, https://kexue.fm/archives/8620.

    Examples
    --------
    >>> import kexue
    >>> kexue.pre_norm_variance([0, 12, 48], 0.25)
    array([ 1.,  4., 13.])
    """
    counts, ratios = _nonnegative("layers", layers), _nonnegative("variance_ratio", variance_ratio)
    check_broadcast(layers=counts.shape, variance_ratio=ratios.shape)
    return np.asarray(1 + counts * ratios).astype(result_dtype(layers, variance_ratio))[()]


@same_kind
def linear_warmup(step: ArrayLike, T: float, lr: float = 1.0) -> np.ndarray | np.generic:
    """The learning rate that grows linearly over the first T steps: lr min(1, step / T).

    Parameters
    ----------
    step : array_like
        Steps, 0 or more.
    T : float
        Length of the warmup, 0 or more. 0 is none.
    lr : float
        The rate after it, finite.

    Returns
    -------
    ndarray or scalar
        Of the shape of `step`, float32 for float32, else float64.

    Raises
    ------
    KexueValueError
        If a `step` is negative or NaN, `T` negative, infinite or NaN, or `lr` not finite.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each step.

    References
    ----------
    J. Su, https://kexue.fm/archives/8747.

    Examples
    --------
    >>> import kexue
    >>> kexue.linear_warmup([0, 250, 1000, 5000], 1000, 1e-3)
    array([0.     , 0.00025, 0.001  , 0.001  ])
    """
    steps = as_real("step", step, dtype=np.float64)
    first_bad("step", steps, lambda entries: ~(entries >= 0), "is {value}, but must be 0 or more")
    length = float(_nonnegative("T", as_real("T", T, ndim=0)))
    rate = as_real("lr", lr, ndim=0, dtype=np.float64)
    require_finite("lr", rate)
    share = np.minimum(steps, length) / length if length else np.ones_like(steps)
    return np.asarray(rate * share).astype(result_dtype(step))[()]


@same_kind
def adam_expected_update(
    mean: ArrayLike, second_moment: ArrayLike, lr: float = 1e-3, *, eps: float = 0.0
) -> np.ndarray | np.generic:
    """The update that Adam takes in the long run on gradients of given moments: lr E[g] / (sqrt(E[g^2]) + eps).

    It does not depend on the gradients' scale, and never exceeds `lr`: where gradients vanish, as in the lower layers
    of a post-norm network, Adam still moves by as much, which plain gradient descent does not.

    Parameters
    ----------
    mean : array_like
        E[g], finite.
    second_moment : array_like
        E[g^2], at least mean^2; less is taken for what rounding of float32 has left of that. Broadcast against `mean`.
    lr : float
        The learning rate, finite.
    eps : float
        Adam's epsilon, 0 or more.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape, to be subtracted. 0 where gradients are 0, with any `eps`. float32 if all floating-point
        arrays are, else float64.

    Raises
    ------
    KexueValueError
        If an entry is NaN or infinite, a `second_moment` below the square of its mean (by more than rounding of
        float32), `lr` not finite, `eps` negative, infinite or NaN, or the shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    D. Kingma, J. Ba, "Adam: a method for stochastic optimization", arXiv:1412.6980. J. Su,
    https://kexue.fm/archives/8747.

    Examples
    --------
    >>> import kexue
    >>> kexue.adam_expected_update([1e-8, 0.5, 0.0], [1e-16, 1.0, 1.0], 1e-3)
    array([0.001 , 0.0005, 0.    ])
    """
    first = as_real("mean", mean, dtype=np.float64)
    require_finite("mean", first)
    roots = np.sqrt(_nonnegative("second_moment", second_moment))
    check_broadcast(mean=first.shape, second_moment=roots.shape)
    first, roots = np.broadcast_arrays(first, roots)
    # float32's squares underflow from 1e-19 on.
    bad = abs(first) > roots * (1 + 1e-6) + 1e-22
    if bad.any():
        index = np.unravel_index(int(bad.argmax()), bad.shape)
        place = tuple(map(int, index))
        raise KexueValueError(f"second_moment must be at least mean^2, but at {place} it is below {first[index]}^2")
    rate, epsilon = as_real("lr", lr, ndim=0, dtype=np.float64), _nonnegative("eps", as_real("eps", eps, ndim=0))
    require_finite("lr", rate)
    size = np.maximum(roots, abs(first)) + epsilon
    ratio = np.divide(first, size, out=np.zeros(size.shape), where=size > 0)
    return np.asarray(rate * ratio).astype(result_dtype(mean, second_moment))[()]


@same_kind
def embedding_logit_std(d: ArrayLike, std: ArrayLike) -> np.ndarray | np.generic:
    """The standard deviation of logits that are products of a normalised vector and embeddings: std sqrt(d).

    The output of a layer normalisation has the norm sqrt(d). Where it meets the embeddings directly, as in a masked
    language model with shared embeddings, the first softmax is nearly uniform for BERT's 0.02 and d = 768.

    Parameters
    ----------
    d : array_like
        Dimensions, positive.
    std : array_like
        Of the embeddings' entries, 0 or more: see `effective_truncated_std`. Broadcast against `d`.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape. float32 if all floating-point arguments are, else float64.

    Raises
    ------
    KexueValueError
        If a `d` is not positive, a `std` negative, either infinite or NaN, or the shapes do not broadcast.
    TypeError
        If an argument does not hold real numbers.

    Notes
    -----
    Constant time for each entry.

    References
    ----------
    J. Su, https://kexue.fm/archives/8747.

    Examples
    --------
    >>> import kexue
    >>> round(float(kexue.embedding_logit_std(768, kexue.effective_truncated_std(0.02))), 15)
    0.487538027696852
    """
    sizes, deviations = _nonnegative("d", d), _nonnegative("std", std)
    first_bad("d", sizes, lambda entries: entries == 0, "is {value}, but must be positive")
    check_broadcast(d=sizes.shape, std=deviations.shape)
    return np.asarray(deviations * np.sqrt(sizes)).astype(result_dtype(d, std))[()]


def _nonnegative(name: str, value: ArrayLike) -> np.ndarray:
    array = as_real(name, value, dtype=np.float64)
    first_bad(
        name, array, lambda entries: ~((entries >= 0) & np.isfinite(entries)), "is {value}, but must be 0 or more"
    )
    return array


def _ratios(name: str, value: Any, layers: int) -> np.ndarray:
    ratios = _nonnegative(name, value)
    if ratios.ndim and ratios.shape != (layers,):
        raise KexueValueError(
            f"{name} must be one number or one for each of {layers} layers, but its shape is {ratios.shape}"
        )
    return ratios
