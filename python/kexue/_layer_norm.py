"""Layer and RMS normalisation, their gradients, and the linear layer of the NTK parameterisation."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue import _layer_norm_core
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, check_axis, check_broadcast, require_operands, result_dtype, sum_to
from kexue._errors import KexueValueError
from kexue._lazy import is_lazy
from kexue._ufuncs import _layer_norm, _layer_norm_vjp, _rms_norm, _rms_norm_vjp


def _check_eps(eps: float, dtype: np.dtype) -> float:
    """The number of the dtype, which is 0 only if `eps` is: it is there lest 0 be divided by 0."""
    if isinstance(eps, (bool, np.bool_)) or not isinstance(eps, (int, float, np.integer, np.floating)):
        raise TypeError(f"eps must be a number, not {type(eps).__name__}")
    if not 0 <= eps < math.inf:
        raise KexueValueError(f"eps must be finite and not negative, got {eps}")
    limits = np.finfo(dtype)
    if eps > float(limits.max):
        raise KexueValueError(f"eps is too large for {dtype}: {eps}")
    return max(float(dtype.type(eps)), float(limits.smallest_subnormal)) if eps else 0.0


def _vectors(name: str, value: ArrayLike | None, n: int, missing: float, dtype: np.dtype) -> np.ndarray:
    """Weights for rows of n; without any, one number that is repeated, which costs the kernel nothing."""
    if value is None:
        return np.broadcast_to(np.asarray(missing, dtype=dtype), (n,))
    array = as_real(name, value, dtype=dtype)
    if array.ndim == 0 or array.shape[-1] != n:
        raise KexueValueError(
            f"{name} must have the rows' length {n} as its last dimension, but its shape is {array.shape}"
        )
    return array


def _normalize(
    ufunc: np.ufunc, x: Any, weights: dict[str, tuple[ArrayLike | None, float]], eps: float, axis: int, out: Any
) -> Any:
    if not is_lazy(x):
        x = as_array("x", x)
    place = check_axis("x", axis, x.ndim)
    dtype = result_dtype(x, *(value for value, _ in weights.values()))
    eps = _check_eps(eps, dtype)
    operands = [_vectors(name, value, x.shape[place], missing, dtype) for name, (value, missing) in weights.items()]
    if any(array.ndim > 1 for array in operands):
        leads = {name: array.shape[:-1] for name, array in zip(weights, operands, strict=True)}
        check_broadcast("dimensions besides the rows'", x=x.shape[:place] + x.shape[place + 1 :], **leads)
    axes = [operator.index(axis), *(-1 for _ in operands), (), operator.index(axis)]
    keywords = {} if out is None else {"out": out}
    try:
        return ufunc(x, *operands, dtype.type(eps), axes=axes, **keywords)
    except (TypeError, ValueError):
        require_operands(axes, x=x, **dict(zip(weights, operands, strict=True)))
        raise


@same_kind
def layer_norm(
    x: ArrayLike,
    gamma: ArrayLike | None = None,
    beta: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = -1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Layer normalisation: gamma (x - mean) / sqrt(variance + eps) + beta for each row.

    The variance is the population's, the mean of (x - mean)**2.

    Parameters
    ----------
    x : array_like, shape (..., n)
        Rows. float16 and float32 give float32; float64, integers and bool, float64. A Dask array stays lazy.
    gamma, beta : array_like, shape (n,) or (..., n), optional
        Scale and offset, by default 1 and 0, at no cost. Leading dimensions broadcast against those of x without the
        rows' (conditional layer normalisation has weights for each sample).
    eps : float
        Finite, not negative. What float32 would round to 0 is its least number.
    axis : int
        The axis along which the rows run. For several last axes, as PyTorch's `normalized_shape` may have, reshape:
        they are one row.
    out : ndarray, optional
        For the result; it may be x.

    Returns
    -------
    ndarray, shape (..., n)
        A row with a NaN is NaN; so is one with an infinity, and the invalid flag is raised (`numpy.errstate`). With
        eps = 0 a row of equal numbers is 0 / 0: NaN, with the flag, as in NumPy; PyTorch gives NaN too.

    Raises
    ------
    KexueValueError
        If `eps` is negative or beyond the dtype's range, `axis` is not one of x, or `gamma` or `beta` has another
        length or leading dimensions that do not broadcast.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    layer_norm_vjp : its gradients.
    rms_norm : without the mean.

    Notes
    -----
    O(n) time a row, one pass through memory. x may be of any magnitude and its mean may be as large beside the
    deviation as numbers allow: with h the normalised row, errors are at most 4 eps (1 + log2 n) times |gamma| (1 +
    |h|) + |beta|, with the eps of the dtype, up to n = 50,000
    at most 1.3 eps were seen.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import kexue
    >>> kexue.layer_norm([1.0, 2.0, -1.0, 0.5], [1.0, 0.5, 2.0, 1.0], [0.0, 0.1, 0.0, 0.0])
    array([ 0.34640868,  0.73508259, -3.00220859, -0.11546956])
    """
    return _normalize(_layer_norm, x, {"gamma": (gamma, 1), "beta": (beta, 0)}, eps, axis, out)


@same_kind
def rms_norm(
    x: ArrayLike, gamma: ArrayLike | None = None, *, eps: float = 1e-5, axis: int = -1, out: np.ndarray | None = None
) -> np.ndarray:
    """RMS normalisation: gamma x / sqrt(mean(x**2) + eps) for each row.

    Parameters
    ----------
    x : array_like, shape (..., n)
        Rows. float16 and float32 give float32; float64, integers and bool, float64. A Dask array stays lazy.
    gamma : array_like, shape (n,) or (..., n), optional
        The scale, by default 1, at no cost. Leading dimensions broadcast against those of x without the rows'.
    eps : float
        Finite, not negative. PyTorch's `rms_norm` has the dtype's eps by default.
    axis : int
        The axis along which the rows run.
    out : ndarray, optional
        For the result; it may be x.

    Returns
    -------
    ndarray, shape (..., n)
        A row with a NaN is NaN; so is one with an infinity, and the invalid flag is raised (`numpy.errstate`). With
        eps = 0 a row of zeros is 0 / 0: NaN, with the flag.

    Raises
    ------
    KexueValueError
        If `eps` is negative or beyond the dtype's range, `axis` is not one of x, or `gamma` has another length or
        leading dimensions that do not broadcast.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    rms_norm_vjp : its gradients.
    layer_norm

    Notes
    -----
    O(n) time a row, one pass through memory, for x of any magnitude. Relative errors are at most 4 eps (1 + log2 n),
    with the eps of the dtype.

    References
    ----------
    B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import kexue
    >>> kexue.rms_norm([1.0, 2.0, -1.0, 0.5], [1.0, 0.5, 2.0, 1.0])
    array([ 0.79999744,  0.79999744, -1.59999488,  0.39999872])
    """
    return _normalize(_rms_norm, x, {"gamma": (gamma, 1)}, eps, axis, out)


def _rows_of(array: np.ndarray, axis: int) -> np.ndarray:
    """Two dimensions, the rows in the last, without a copy where strides and alignment allow it."""
    moved = np.moveaxis(array, axis, -1)
    rows = moved.reshape(math.prod(moved.shape[:-1]), moved.shape[-1])
    return rows if rows.flags.aligned else rows.copy()


def _differentiate(
    is_layer: bool, x: ArrayLike, grad: ArrayLike, gamma: ArrayLike | None, eps: float, axis: int, workers: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    dtype = result_dtype(x, grad, gamma)
    eps = _check_eps(eps, dtype)
    x, grad = as_real("x", x, dtype=dtype), as_real("grad", grad, dtype=dtype)
    if grad.shape != x.shape:
        raise KexueValueError(f"grad must have the shape of x, but the shapes are {grad.shape} and {x.shape}")
    place = check_axis("x", axis, x.ndim)
    n = x.shape[place]
    weights = None if gamma is None else _vectors("gamma", gamma, n, 1, dtype)
    if weights is not None and math.prod(weights.shape[:-1]) != 1:
        return _differentiate_samples(
            is_layer, np.moveaxis(x, place, -1), np.moveaxis(grad, place, -1), weights, eps, place
        )
    grad_x = np.empty_like(x)
    by_x = np.moveaxis(grad_x, place, -1)
    target = by_x.reshape(math.prod(by_x.shape[:-1]), n)  # a copy, where no two strides describe the rows
    grad_gamma = np.zeros(n, dtype=dtype)
    grad_beta = np.zeros(n, dtype=dtype) if is_layer else None
    row = None if weights is None else _rows_of(weights, -1)
    _layer_norm_core.gradients(
        _rows_of(x, place), _rows_of(grad, place), row, eps, target, grad_gamma, grad_beta, workers
    )
    if not np.shares_memory(target, grad_x):
        by_x[...] = target.reshape(by_x.shape)
    shape = n if weights is None else weights.shape
    return grad_x, grad_gamma.reshape(shape), None if grad_beta is None else grad_beta.reshape(shape)


def _differentiate_samples(
    is_layer: bool, x: np.ndarray, grad: np.ndarray, gamma: np.ndarray, eps: float, place: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """With weights for each sample; rows are last in the arguments."""
    try:
        fits = np.broadcast_shapes(x.shape, gamma.shape) == x.shape
    except ValueError:
        fits = False
    if not fits:
        raise KexueValueError(f"gamma does not broadcast to the rows of x: the shapes are {gamma.shape} and {x.shape}")
    ufunc, normalize = (_layer_norm_vjp, layer_norm) if is_layer else (_rms_norm_vjp, rms_norm)
    by_x = ufunc(x, grad, gamma, x.dtype.type(eps))
    by_gamma = sum_to(grad * normalize(x, eps=eps), gamma.shape)
    return np.moveaxis(by_x, -1, place), by_gamma, sum_to(grad, gamma.shape) if is_layer else None


@same_kind
def layer_norm_vjp(
    x: ArrayLike,
    grad: ArrayLike,
    gamma: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = -1,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The gradients of `layer_norm` by x, gamma and beta, from the gradient by its result.

    With h the normalised row, s = sqrt(variance + eps) and d = gamma grad: (d - mean(d) - h mean(d h)) / s for each
    row, and the sums over rows of grad h and of grad.

    Parameters
    ----------
    x : array_like, shape (..., n)
        As for `layer_norm`.
    grad : array_like, shape (..., n)
        The upstream gradient.
    gamma : array_like, shape (n,) or (..., n), optional
        As for `layer_norm`; its leading dimensions broadcast to those of x.
    eps : float
        Finite, not negative.
    axis : int
        The axis along which the rows run.
    workers : int, optional
        Threads, see `kexue.threads`. The results do not depend on their number.

    Returns
    -------
    grad_x : ndarray, shape as x
    grad_gamma, grad_beta : ndarray, shape (n,), or as gamma
        Gradients by weights of 1 and 0, if none were given. Rows that are NaN make them NaN.

    Raises
    ------
    KexueValueError
        If shapes do not fit, `axis` is not one of x, or `eps` is negative or beyond the dtype's range.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    layer_norm

    Notes
    -----
    O(n) time a row, one pass through memory for all three, for x of any magnitude. Sums over rows are taken by 32 in
    the dtype and from there in float64 with compensation: their errors are at most 64 eps of the sum of sizes,
    however many rows there are. Weights for each sample take two more passes.

    References
    ----------
    J. L. Ba, J. R. Kiros, G. E. Hinton, "Layer Normalization", 2016, arXiv:1607.06450.

    Examples
    --------
    >>> import kexue
    >>> grads = kexue.layer_norm_vjp([1.0, 2.0, -1.0, 0.5], [0.3, -0.2, 0.1, 0.5], [1.0, 0.5, 2.0, 1.0])
    >>> grads[0]
    array([ 0.09976544, -0.18844728, -0.15518996,  0.2438718 ])
    >>> grads[2]
    array([ 0.3, -0.2,  0.1,  0.5])
    """
    grad_x, grad_gamma, grad_beta = _differentiate(True, x, grad, gamma, eps, axis, workers)
    assert grad_beta is not None
    return grad_x, grad_gamma, grad_beta


@same_kind
def rms_norm_vjp(
    x: ArrayLike,
    grad: ArrayLike,
    gamma: ArrayLike | None = None,
    *,
    eps: float = 1e-5,
    axis: int = -1,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The gradients of `rms_norm` by x and gamma, from the gradient by its result.

    With h the normalised row, s = sqrt(mean(x**2) + eps) and d = gamma grad: (d - h mean(d h)) / s for each row, and
    the sum over rows of grad h.

    Parameters
    ----------
    x : array_like, shape (..., n)
        As for `rms_norm`.
    grad : array_like, shape (..., n)
        The upstream gradient.
    gamma : array_like, shape (n,) or (..., n), optional
        As for `rms_norm`; its leading dimensions broadcast to those of x.
    eps : float
        Finite, not negative.
    axis : int
        The axis along which the rows run.
    workers : int, optional
        Threads, see `kexue.threads`. The results do not depend on their number.

    Returns
    -------
    grad_x : ndarray, shape as x
    grad_gamma : ndarray, shape (n,), or as gamma
        The gradient by a weight of 1, if none was given. Rows that are NaN make it NaN.

    Raises
    ------
    KexueValueError
        If shapes do not fit, `axis` is not one of x, or `eps` is negative or beyond the dtype's range.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    rms_norm

    Notes
    -----
    O(n) time a row, one pass through memory for both; sums as in `layer_norm_vjp`.

    References
    ----------
    B. Zhang, R. Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467.

    Examples
    --------
    >>> import kexue
    >>> kexue.rms_norm_vjp([1.0, 2.0, -1.0, 0.5], [0.3, -0.2, 0.1, 0.5], [1.0, 0.5, 2.0, 1.0])[0]
    array([ 0.22079942, -0.11839938,  0.1791993 ,  0.39039881])
    """
    return _differentiate(False, x, grad, gamma, eps, axis, workers)[:2]


@same_kind
def ntk_linear(x: ArrayLike, W: ArrayLike, b: ArrayLike | None = None) -> np.ndarray:
    """A linear layer of the NTK parameterisation: x W / sqrt(m) + b, for weights of variance 1.

    The variance 1/m that an initialiser would give to weights is the layer's own factor. For x with E[x**2] = 1 the
    results have it too; the gradient by W is smaller by sqrt(m), so one learning rate suits all widths.

    Parameters
    ----------
    x : array_like, shape (..., m)
        Inputs. float16 and float32 give float32; float64, integers and bool, float64.
    W : array_like, shape (m, n)
        Weights, drawn with mean 0 and variance 1.
    b : array_like, shape (n,), optional
        The bias, not scaled.

    Returns
    -------
    ndarray, shape (..., n)

    Raises
    ------
    KexueValueError
        If the shapes do not fit, or m = 0.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    layer_norm

    Notes
    -----
    O(m n) time a row: NumPy's matrix product.

    References
    ----------
    A. Jacot, F. Gabriel, C. Hongler, "Neural Tangent Kernel: Convergence and Generalization in Neural Networks", 2018,
    arXiv:1806.07572.

    Examples
    --------
    >>> import kexue
    >>> kexue.ntk_linear([1.0, -1.0, 2.0, 0.0], [[1.0, 0.0], [2.0, 1.0], [3.0, 0.0], [0.0, 5.0]], [0.5, 0.0])
    array([ 3. , -0.5])
    """
    dtype = result_dtype(x, W, b)
    x, W = as_real("x", x, dtype=dtype), as_real("W", W, ndim=2, dtype=dtype)
    m, n = W.shape
    if m == 0:
        raise KexueValueError(f"W must have at least one row, but its shape is {W.shape}")
    if x.ndim == 0 or x.shape[-1] != m:
        raise KexueValueError(f"x must have the rows of W, {m}, as its last dimension, but its shape is {x.shape}")
    y = np.matmul(x, W)
    y *= dtype.type(1 / math.sqrt(m))
    if b is not None:
        b = as_real("b", b, ndim=1, dtype=dtype)
        if b.shape != (n,):
            raise KexueValueError(f"b must have the columns of W, {n}, as its shape, but it is {b.shape}")
        y += b
    return y
