"""What sentence vectors were trained with before CoSENT: losses of each cosine by itself, and features of a pair."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite

_KINDS = ("linear", "squared", "margin")


@overload
def cosine_target_loss(
    cos: ArrayLike,
    targets: ArrayLike,
    *,
    kind: Literal["linear", "squared", "margin"] = ...,
    margin: float = ...,
    return_grad: Literal[True],
) -> tuple[Any, Any]: ...
@overload
def cosine_target_loss(
    cos: ArrayLike,
    targets: ArrayLike,
    *,
    kind: Literal["linear", "squared", "margin"] = ...,
    margin: float = ...,
    return_grad: bool = ...,
) -> Any: ...
@same_kind
def cosine_target_loss(
    cos: ArrayLike,
    targets: ArrayLike,
    *,
    kind: Literal["linear", "squared", "margin"] = "linear",
    margin: float = 0.7,
    return_grad: bool = False,
) -> Any:
    """Losses of each cosine by itself, against 1 for similar and -1 or 0 for other pairs.

    With target t and cosine c: "linear" t (1 - c) + (1 - t) (1 + c); "squared" t (1 - c)^2 + (1 - t) c^2; "margin"
    t (1 - c) + (1 - t) max(c, margin), which leaves dissimilar pairs alone below the margin. They ask for more than an
    order of cosines, and train worse sentence vectors than `cosent_loss`.

    Parameters
    ----------
    cos : array_like
        Cosines, finite.
    targets : array_like
        From 0 to 1, broadcast against `cos`. float32 (or float16, or integers) beside float32 gives float32.
    kind : {"linear", "squared", "margin"}
    margin : float
        Of "margin".
    return_grad : bool
        Whether to return the gradient by `cos` as well.

    Returns
    -------
    loss : ndarray or scalar
        One for each pair.
    grad : ndarray or scalar
        Only if `return_grad`. At the margin itself it is 0.

    Raises
    ------
    KexueValueError
        If a cosine or `margin` is not finite, a target not in [0, 1], shapes do not broadcast, or `kind` is none of
        these.

    See Also
    --------
    cosent_loss : the loss of their order.

    Notes
    -----
    Linear time.

    References
    ----------
    J. Su, "CoSENT (1): sentence vectors by ranking cosines", Scientific Spaces, 2022, https://kexue.fm/archives/8847.

    Examples
    --------
    >>> import kexue
    >>> kexue.cosine_target_loss([0.9, 0.8, -0.5], [1, 0, 0], kind="squared").round(2)
    array([0.01, 0.64, 0.25])
    """
    if kind not in _KINDS:
        allowed = ", ".join(f'"{name}"' for name in _KINDS)
        raise KexueValueError(f"kind must be one of {allowed}, got {kind!r}")
    margin = check_number("margin", margin, finite=True)
    targets = as_array("targets", targets)
    dtype = result_dtype(cos, targets)
    c, t = as_real("cos", cos, dtype=dtype), as_real("targets", targets, dtype=dtype)
    require_finite("cos", c)
    first_bad("targets", t, lambda values: ~((values >= 0) & (values <= 1)), "is {value}, not in [0, 1]")
    try:
        c, t = np.broadcast_arrays(c, t)
    except ValueError:
        raise KexueValueError(f"cos and targets must have shapes that broadcast, got {c.shape} and {t.shape}") from None
    other = 1 - t
    if kind == "linear":
        loss, grad = t * (1 - c) + other * (1 + c), other - t
    elif kind == "squared":
        loss, grad = t * (1 - c) ** 2 + other * c**2, 2 * (c - t)
    else:
        edge = c.dtype.type(np.clip(margin, -float(np.finfo(dtype).max), float(np.finfo(dtype).max)))
        loss, grad = t * (1 - c) + other * np.maximum(c, edge), other * (c > edge) - t
    return (loss, grad) if return_grad else loss


@same_kind
def sentence_pair_features(u: ArrayLike, v: ArrayLike) -> np.ndarray:
    """The features of a pair of sentence vectors that Sentence-BERT classifies: u, v and abs(u - v), one after another.

    Parameters
    ----------
    u, v : array_like, shape (..., d)
        They broadcast. float32 for both gives float32.

    Returns
    -------
    ndarray, shape (..., 3 d)

    Raises
    ------
    KexueValueError
        If shapes do not broadcast, or there is no last axis.

    References
    ----------
    N. Reimers, I. Gurevych, "Sentence-BERT: Sentence Embeddings using Siamese BERT-Networks", 2019, arXiv:1908.10084.

    Examples
    --------
    >>> import kexue
    >>> kexue.sentence_pair_features([1.0, 2.0], [3.0, 1.0])
    array([1., 2., 3., 1., 2., 1.])
    """
    dtype = result_dtype(u, v)
    first, second = as_real("u", u).astype(dtype, copy=False), as_real("v", v).astype(dtype, copy=False)
    if first.ndim == 0 or second.ndim == 0 or first.shape[-1] != second.shape[-1]:
        raise KexueValueError(f"u and v must have the same last dimension, got shapes {first.shape} and {second.shape}")
    try:
        first, second = np.broadcast_arrays(first, second)
    except ValueError:
        raise KexueValueError(
            f"u and v must have shapes that broadcast, got {first.shape} and {second.shape}"
        ) from None
    return np.concatenate([first, second, np.abs(first - second)], axis=-1)
