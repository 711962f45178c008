"""CoSENT, and Spearman's correlation, by which sentence vectors are judged."""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _ranking
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_axis, check_number
from kexue._errors import KexueValueError, require_finite
from kexue._ufuncs import cosine_pairs, cosine_pairs_vjp

_EXACT = 2**53  # float64 tells larger integers apart no more
_MOST = 2**32 - 2  # numbers of a row


def _rows_of_pair(
    names: tuple[str, str], first: np.ndarray, second: np.ndarray, axis: int
) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Both as (rows, n), the axis last, and the shape of the rows."""
    if first.shape != second.shape:
        try:
            first, second = np.broadcast_arrays(first, second)
        except ValueError:
            raise KexueValueError(
                f"{names[0]} and {names[1]} must have shapes that broadcast, got {first.shape} and {second.shape}"
            ) from None
    if first.ndim == 0:
        raise KexueValueError(f"{names[0]} must have at least 1 dimension, but its shape is ()")
    if check_axis(names[0], axis, first.ndim) != first.ndim - 1:
        first, second = np.moveaxis(first, axis, -1), np.moveaxis(second, axis, -1)
    outer, n = first.shape[:-1], first.shape[-1]
    rows = math.prod(outer)
    return _aligned(first.reshape(rows, n)), _aligned(second.reshape(rows, n)), outer


def _aligned(array: np.ndarray) -> np.ndarray:
    return array if array.flags.aligned else array.copy()


def _ordered_labels(labels: ArrayLike) -> np.ndarray:
    """Labels as float64 of the same order."""
    array = as_array("labels", labels)
    if array.dtype.kind in "iu" and array.dtype.itemsize == 8 and array.size:
        # One reduction finds that small labels are small, which they are.
        if not 0 <= np.bitwise_or.reduce(array, axis=None) < _EXACT and (array.max() > _EXACT or array.min() < -_EXACT):
            array = np.unique(array, return_inverse=True)[1].reshape(array.shape)
    return as_real("labels", array).astype(np.float64, copy=False)


def _check_scale(scale: float) -> float:
    value = scale if type(scale) is float else check_number("scale", scale)
    if not 0 < value < math.inf:
        raise KexueValueError(f"scale must be positive and finite, got {scale!r}")
    return value


@overload
def cosent_loss(
    cos: ArrayLike,
    labels: ArrayLike,
    scale: float = ...,
    *,
    axis: int = ...,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, np.ndarray]: ...
@overload
def cosent_loss(
    cos: ArrayLike,
    labels: ArrayLike,
    scale: float = ...,
    *,
    axis: int = ...,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def cosent_loss(
    cos: ArrayLike,
    labels: ArrayLike,
    scale: float = 20.0,
    *,
    axis: int = -1,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """CoSENT: how far the order of cosines is from the order of labels, in O(n log n).

    log(1 + sum of exp(scale (cos_k - cos_i)) over the pairs with label_i > label_k). Only the order of labels counts;
    pairs with equal labels give no term.

    Parameters
    ----------
    cos : array_like, shape (..., n)
        Cosines, or any finite scores, of n pairs. float16 and float32 give float32; float64, integers and bool,
        float64.
    labels : array_like, shape (..., n)
        Similarities: finite numbers of any kind, broadcast against `cos`.
    scale : float
        Positive.
    axis : int
        The axis along which the n pairs run.
    return_grad : bool
        Whether to return the gradient by `cos` as well.
    workers : int, optional
        Threads for many rows; see `kexue.threads`.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
        One for each row; 0 for a row without two different labels.
    grad : ndarray, shape (..., n)
        The gradient of each row's loss. Only if `return_grad`. It sums to 0.

    Raises
    ------
    KexueValueError
        If a number is not finite (named), shapes do not broadcast, or `scale` is not positive.
    OverflowError
        If a loss, or a difference of cosines, is beyond float64.

    See Also
    --------
    cosent_embedding_loss : from the embeddings of the pairs.
    cosine_pairs : the cosines of pairs.
    spearman : the measure that this loss stands for.

    Notes
    -----
    One sort a row: with the pairs in the order of labels, the sum over ordered pairs is one of exp(-scale cos_i) times
    the prefix sum of exp(scale cos_k), and so is the gradient; the usual form takes n^2 terms and as much memory. Sums
    are of positive numbers, in float64, and cannot overflow: cosines of +-1e4 are fine. The loss is within
    4 eps max(1, loss, scale (max(cos) - min(cos))), and the gradient and its sum within scale times that.

    References
    ----------
    J. Su, "CoSENT (1): sentence vectors by ranking cosines", Scientific Spaces, 2022, https://kexue.fm/archives/8847.

    Examples
    --------
    >>> import kexue
    >>> cosines, labels = [0.9, 0.8, 0.3, 0.5, 0.6], [1, 1, 0, 0, 2]
    >>> round(float(kexue.cosent_loss(cosines, labels)), 12)
    6.129415335813
    >>> loss, grad = kexue.cosent_loss(cosines, labels, 1.0, return_grad=True)
    >>> grad.round(4)
    array([ 0.0168, -0.0162,  0.2436,  0.2976, -0.5418])
    """
    scale = _check_scale(scale)
    cosines, ordered, outer = _rows_of_pair(("cos", "labels"), as_real("cos", cos), _ordered_labels(labels), axis)
    loss = np.empty(len(cosines), dtype=cosines.dtype)
    grad = np.empty(cosines.shape, dtype=cosines.dtype) if return_grad else None
    try:
        _ranking.cosent(cosines, ordered, scale, loss, grad, workers)
    except KexueValueError:
        require_finite("cos", as_real("cos", cos))
        require_finite("labels", as_real("labels", labels))
        raise
    except OverflowError:
        if cosines.shape[1] > _MOST:
            raise
        raise OverflowError("a loss is beyond float64: scale times the differences of cos is too large") from None
    value = loss.reshape(outer)[()]
    if grad is None:
        return value
    grad = grad.reshape(*outer, cosines.shape[1])
    return value, grad if axis == -1 else np.moveaxis(grad, -1, axis)


@overload
def cosent_embedding_loss(
    U: ArrayLike,
    V: ArrayLike,
    labels: ArrayLike,
    scale: float = ...,
    *,
    return_grad: Literal[True],
    workers: int | None = ...,
) -> tuple[Any, tuple[np.ndarray, np.ndarray]]: ...
@overload
def cosent_embedding_loss(
    U: ArrayLike,
    V: ArrayLike,
    labels: ArrayLike,
    scale: float = ...,
    *,
    return_grad: bool = ...,
    workers: int | None = ...,
) -> Any: ...
@same_kind
def cosent_embedding_loss(
    U: ArrayLike,
    V: ArrayLike,
    labels: ArrayLike,
    scale: float = 20.0,
    *,
    return_grad: bool = False,
    workers: int | None = None,
) -> Any:
    """`cosent_loss` of the cosines of pairs of embeddings.

    Parameters
    ----------
    U, V : array_like, shape (..., n, d)
        The embeddings of the two sides of each pair; they broadcast.
    labels : array_like, shape (..., n)
        As for `cosent_loss`.
    scale : float
        Positive.
    return_grad : bool
        Whether to return the gradients by `U` and `V` as well.
    workers : int, optional
        As for `cosent_loss`.

    Returns
    -------
    loss : ndarray or scalar, shape (...)
    grads : tuple of two ndarrays, shape (..., n, d)
        By `U` and by `V`, in the shape they broadcast to. Only if `return_grad`.

    Raises
    ------
    KexueValueError
        If a number is not finite (named), shapes do not fit, or `scale` is not positive.

    See Also
    --------
    cosent_loss, cosine_pairs, cosine_pairs_vjp

    Notes
    -----
    O(n (d + log n)) time. Vectors shorter than 1e-8 count as that long: see `cosine_pairs`.

    References
    ----------
    J. Su, "CoSENT (1): sentence vectors by ranking cosines", Scientific Spaces, 2022, https://kexue.fm/archives/8847.

    Examples
    --------
    >>> import kexue
    >>> U, V = [[1.0, 2.0], [0.5, -1.0]], [[2.0, 1.0], [1.0, -1.0]]
    >>> loss, (grad_U, grad_V) = kexue.cosent_embedding_loss(U, V, [1, 0], return_grad=True)
    >>> round(float(loss), 6)
    3.023518
    """
    first, second = as_real("U", U), as_real("V", V)
    for name, array in (("U", first), ("V", second)):
        if array.ndim < 2:
            raise KexueValueError(f"{name} must have shape (..., n, d), but its shape is {array.shape}")
        require_finite(name, array)
    try:
        cosines = cosine_pairs(first, second)
    except ValueError:
        raise KexueValueError(
            f"U and V must have shapes that broadcast and one dimension d, got {first.shape} and {second.shape}"
        ) from None
    if not return_grad:
        return cosent_loss(cosines, labels, scale, workers=workers)
    loss, grad = cosent_loss(cosines, labels, scale, return_grad=True, workers=workers)
    return loss, cosine_pairs_vjp(first, second, grad)


@same_kind
def spearman(x: ArrayLike, y: ArrayLike, *, axis: int = -1, workers: int | None = None) -> np.ndarray | np.generic:
    """Spearman's rank correlation of rows, with averaged ranks for equal numbers.

    Parameters
    ----------
    x, y : array_like, shape (..., n)
        Finite numbers; batches broadcast.
    axis : int
        The axis along which the n numbers run.
    workers : int, optional
        Threads for many rows; see `kexue.threads`.

    Returns
    -------
    ndarray or scalar of float64, shape (...)
        From -1 to 1. NaN where a row is constant or n < 2: it has no correlation.

    Raises
    ------
    KexueValueError
        If a number is not finite (named), or shapes do not broadcast.

    See Also
    --------
    cosent_loss : a differentiable loss in its place.

    Notes
    -----
    O(n log n): two sorts a row. It is Pearson's correlation of ranks that are exact, within 8 eps. Integers beyond
    2**53 are rounded.

    References
    ----------
    C. Spearman, "The Proof and Measurement of Association between Two Things", American Journal of Psychology 15 (1904)
    72-101, doi:10.2307/1412159.

    Examples
    --------
    >>> import kexue
    >>> float(kexue.spearman([0.9, 0.8, 0.3, 0.5, 0.6], [4, 4, 1, 0, 5]))
    0.5642880936468347
    """
    first, second = (as_real(name, value).astype(np.float64, copy=False) for name, value in (("x", x), ("y", y)))
    first, second, outer = _rows_of_pair(("x", "y"), first, second, axis)
    correlation = np.empty(len(first))
    try:
        _ranking.spearman(first, second, correlation, workers)
    except KexueValueError:
        require_finite("x", as_real("x", x))
        require_finite("y", as_real("y", y))
        raise
    return correlation.reshape(outer)[()]
