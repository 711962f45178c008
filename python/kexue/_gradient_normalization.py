"""Lipschitz constraints: normalisation by the gradient, penalties, clipped weights and spectral norms."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, check_integer, check_number, result_dtype
from kexue._errors import KexueValueError, first_bad, require_finite, warn_convergence
from kexue._gradient_arrays import buffers_for, deliver, parts_of, places_of

__all__ = [
    "SpectralNorm",
    "clip_weights",
    "gn_input_gradient",
    "gradient_normalize",
    "gradient_penalty",
    "spectral_norm",
]

Normalization = Literal["gn", "gran", "plain"]


@same_kind
def gradient_normalize(
    f: ArrayLike, grad_norm: ArrayLike, mode: Normalization = "gn", *, eps: float = 1e-8
) -> np.ndarray:
    """A discriminator's values, normalised by the norms of its gradients.

    With f = D(x) and n = ||grad D(x)||, for each sample:

    - "gn" [1]_: f / (n + abs(f)), in [-1, 1]; 0 where both are 0.
    - "gran" [2]_: f n / (n^2 + eps).
    - "plain": f / (n + eps).

    Parameters
    ----------
    f : array_like
        Values. float16 and float32 give float32; float64, integers and bool, float64.
    grad_norm : array_like
        Norms of the gradients by the input, not negative. It broadcasts with f.
    mode : {"gn", "gran", "plain"}
    eps : float
        Positive and finite; "gn" does without.

    Returns
    -------
    ndarray, shape of f and grad_norm together

    Raises
    ------
    KexueValueError
        If a norm is negative, eps is not positive and finite, the shapes do not fit, or `mode` is none of these.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gn_input_gradient : the gradient of the result by the input.
    gradient_penalty, spectral_norm, clip_weights : other ways to a Lipschitz constant.

    Notes
    -----
    O(1) a sample. No intermediate overflows, and NaN propagates. For a piecewise linear D (a network of relus without
    normalisation layers) the result has a gradient of norm at most 1 inside of a piece, for "gn" and "gran". It is no
    Lipschitz constant: n jumps from piece to piece, and the result with it.

    References
    ----------
    .. [1] Y.-L. Wu, H.-H. Shuai, Z.-R. Tam, H.-Y. Chiu, "Gradient Normalization for Generative Adversarial Networks",
       ICCV 2021, arXiv:2109.02235.
    .. [2] V. Bhaskara, T. Aumentado-Armstrong, A. Jepson, A. Levinshtein, "GraN-GAN: Piecewise Gradient Normalization
       for Generative Adversarial Networks", WACV 2022, arXiv:2111.03162.

    Examples
    --------
    >>> import kexue
    >>> kexue.gradient_normalize([10.0, -1.0, 0.0], [5.0, 0.0, 0.0])
    array([ 0.66666667, -1.        ,  0.        ])
    >>> kexue.gradient_normalize(10.0, 5.0, "gran", eps=1)
    array(1.92307692)
    """
    eps = _check_mode(mode, eps)
    dtype = result_dtype(f, grad_norm)
    value = as_real("f", f, dtype=np.float64)
    norm = as_real("grad_norm", grad_norm, dtype=np.float64)
    check_broadcast(f=value.shape, grad_norm=norm.shape)
    first_bad("grad_norm", norm, lambda entries: entries < 0, "is a norm, but negative ({value})")
    with np.errstate(over="ignore", under="ignore", divide="ignore"):
        if mode == "gn":
            result = _shares(value, norm)[0]
        elif mode == "gran":
            result = value * _gran_factor(norm, eps)
        else:
            result = value / (norm + eps)
        return np.asarray(result).astype(dtype, copy=False)


@same_kind
def gn_input_gradient(
    f: ArrayLike, g: ArrayLike, Hg: ArrayLike | None = None, mode: Normalization = "gn", *, eps: float = 1e-8
) -> np.ndarray:
    """The gradient by the input of a discriminator that is normalised by `gradient_normalize`.

    With f = D(x), g = grad D(x), n = ||g|| and H the Hessian of D at x:

    - "gn": (n g - f Hg / n) / (n + abs(f))^2: the derivatives of abs(f) cancel.
    - "gran": g u + f u' Hg / n with u = n / (n^2 + eps), u' = (eps - n^2) / (n^2 + eps)^2.
    - "plain": g / (n + eps) - f Hg / (n (n + eps)^2).

    Parameters
    ----------
    f : array_like, shape (...)
        Values.
    g : array_like, shape (..., d)
        Gradients by the input; the leading dimensions broadcast with f.
    Hg : array_like, shape (..., d), optional
        The Hessian times g, by double backpropagation or a difference of gradients along g. None is 0, right for a
        piecewise linear D; for "gn" this is the fast form n g / (n + abs(f))^2 that is enough to train a generator.
    mode : {"gn", "gran", "plain"}
    eps : float
        Positive and finite; "gn" does without.

    Returns
    -------
    ndarray, shape (..., d)
        float32 if all arguments are float16 or float32. Where n is 0 its derivative is taken to be 0, which makes all
        of them 0.

    Raises
    ------
    KexueValueError
        If the shapes do not fit, eps is not positive and finite, or `mode` is none of these.
    TypeError
        If an argument does not hold real numbers.

    See Also
    --------
    gradient_normalize : the values.

    Notes
    -----
    O(d) a sample, in float64. No intermediate overflows, and NaN propagates.

    References
    ----------
    Y.-L. Wu et al., "Gradient Normalization for Generative Adversarial Networks", ICCV 2021, arXiv:2109.02235.
    V. Bhaskara et al., "GraN-GAN", WACV 2022, arXiv:2111.03162.

    Examples
    --------
    Of D(x) = 3 x_1 + 4 x_2 - 1 at (1, 2), the norms are 1/9 and 25/26:

    >>> import kexue
    >>> import numpy as np
    >>> round(float(np.linalg.norm(kexue.gn_input_gradient(10.0, [3.0, 4.0])) * 9), 12)
    1.0
    >>> round(float(np.linalg.norm(kexue.gn_input_gradient(10.0, [3.0, 4.0], mode="gran", eps=1)) * 26), 12)
    25.0
    """
    eps = _check_mode(mode, eps)
    dtype = result_dtype(f, g, Hg)
    value, gradient = as_real("f", f, dtype=np.float64), as_real("g", g, dtype=np.float64)
    if gradient.ndim == 0:
        raise KexueValueError("g must have at least one dimension, but it is a number")
    lead = check_broadcast("leading dimensions", f=value.shape, g=gradient.shape[:-1])
    curved = None
    if Hg is not None:
        curved = as_real("Hg", Hg, dtype=np.float64)
        if curved.ndim == 0 or curved.shape[-1] != gradient.shape[-1]:
            raise KexueValueError(
                f"Hg must have as many components as g, of shape {gradient.shape}, but its shape is {curved.shape}"
            )
        lead = check_broadcast("leading dimensions", f=value.shape, g=gradient.shape[:-1], Hg=curved.shape[:-1])
    value = value[..., np.newaxis]
    with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
        # A unit vector and a norm of a gradient of any size
        largest = np.abs(gradient).max(axis=-1, keepdims=True, initial=0)
        unit = np.divide(gradient, largest, out=np.zeros_like(gradient), where=largest != 0)
        length = np.sqrt(np.square(unit).sum(axis=-1, keepdims=True))
        unit = np.divide(unit, length, out=unit, where=length != 0)
        norm = largest * length
        numerators: tuple[np.ndarray, ...]
        denominators: tuple[np.ndarray, ...]
        if mode == "gn":
            # 1 / s is the greater share by the greater of both, and f / s, where it is the lesser share, f times that.
            of_value, of_norm = _shares(value, norm)
            first, size = of_norm * of_norm, np.abs(value)
            is_great, share = size >= norm, np.maximum(np.abs(of_value), of_norm)
            numerators = (-np.where(is_great, of_value, value), np.where(is_great, 1, share), share)
            denominators = (np.where(is_great, 1, norm), np.maximum(size, norm), norm)
        elif mode == "gran":
            factor = _gran_factor(norm, eps)
            # u n = n^2 / (n^2 + eps), u' = (1 - 2 u n) / (n^2 + eps), where that divisor is n / u if n is great
            is_small = norm < math.sqrt(eps)
            first = factor * norm
            numerators = (value, 1 - 2 * first, np.where(is_small, 1, factor))
            denominators = (np.where(is_small, norm * norm + eps, norm), norm)
        else:
            total = norm + eps
            first = norm / total
            numerators, denominators = (-value,), (total, total, norm)
        result = unit * first
        if curved is not None:
            along = _scaled(curved, numerators, denominators)
            result = result + (np.where(norm == 0, 0, along) if not norm.all() else along)
        shape = (*lead, gradient.shape[-1])
        return np.array(np.broadcast_to(result, shape), dtype=dtype)


@same_kind
def gradient_penalty(
    grad_norm: ArrayLike, target: float = 1.0, *, one_sided: bool = False, return_grad: bool = False
) -> Any:
    """The penalty (n - target)^2 on the norm of a gradient, for each sample.

    WGAN-GP adds ten times its mean, over points between real and generated ones, to the loss of the discriminator.

    Parameters
    ----------
    grad_norm : array_like
        Norms, not negative. float16 and float32 give float32; float64, integers and bool, float64.
    target : float
        Not negative, finite.
    one_sided : bool
        Penalise only norms above the target: max(0, n - target)^2.
    return_grad : bool
        Return the derivatives by `grad_norm`, too.

    Returns
    -------
    loss : ndarray, shape as grad_norm
    grad : ndarray, shape as grad_norm
        With `return_grad` only.

    Raises
    ------
    KexueValueError
        If a norm or the target is negative, or the target not finite.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    gradient_normalize : a constraint in place of a penalty.

    Notes
    -----
    O(1) a sample.

    References
    ----------
    I. Gulrajani, F. Ahmed, M. Arjovsky, V. Dumoulin, A. Courville, "Improved Training of Wasserstein GANs", 2017,
    arXiv:1704.00028.

    Examples
    --------
    >>> import kexue
    >>> kexue.gradient_penalty([0.5, 1.0, 3.0])
    array([0.25, 0.  , 4.  ])
    >>> kexue.gradient_penalty([0.5, 1.0, 3.0], one_sided=True, return_grad=True)
    (array([0., 0., 4.]), array([0., 0., 4.]))
    """
    target = check_number("target", target)
    norm = as_real("grad_norm", grad_norm)
    if not 0 <= target <= float(np.finfo(norm.dtype).max):
        raise KexueValueError(f"target must be finite in {norm.dtype} and not negative, got {target}")
    if not isinstance(one_sided, (bool, np.bool_)):
        raise TypeError(f"one_sided must be a bool, not {type(one_sided).__name__}")
    first_bad("grad_norm", norm, lambda entries: entries < 0, "is a norm, but negative ({value})")
    excess = np.asarray(norm - norm.dtype.type(target))
    if one_sided:
        excess = np.asarray(np.maximum(excess, 0))
    loss = np.asarray(np.square(excess))
    return (loss, 2 * excess) if return_grad else loss


@same_kind
def clip_weights(w: Any, c: float, *, out: Any = None) -> Any:
    """Weights cut to [-c, c], which bounds the Lipschitz constant of a network crudely.

    Parameters
    ----------
    w : array_like, or a list of arrays
        float16 and float32 give float32; float64, integers and bool, float64.
    c : float
        Positive.
    out : ndarray, or a list of them, optional
        Where the results go; `w` itself for a change in place.

    Returns
    -------
    ndarray, or a list of them
        `out`, if it was given. NaN stays NaN.

    Raises
    ------
    KexueValueError
        If c is not positive, shapes do not fit, or `out` is read-only.
    TypeError
        If an argument is of the wrong type.

    See Also
    --------
    spectral_norm : the constant of a linear map.

    Notes
    -----
    O(1) a weight.

    References
    ----------
    M. Arjovsky, S. Chintala, L. Bottou, "Wasserstein GAN", 2017, arXiv:1701.07875.

    Examples
    --------
    >>> import kexue
    >>> kexue.clip_weights([0.5, -0.003, -2.0], 0.01)
    array([ 0.01 , -0.003, -0.01 ])
    """
    c = check_number("c", c)
    if not c > 0:
        raise KexueValueError(f"c must be positive, got {c}")
    parts, listed = parts_of("w", w)
    arrays = [as_real(name, item) for name, item in parts]
    if out is None:
        places = [np.empty(array.shape, dtype=array.dtype) for array in arrays]
    else:
        places = places_of(out, "w", arrays, listed)
    buffers = buffers_for(places, arrays)
    for array, buffer in zip(arrays, buffers, strict=True):
        # An infinity is cut, too, unless c is one.
        limit = array.dtype.type(min(c, float(np.finfo(array.dtype).max)) if c < math.inf else c)
        np.clip(array, -limit, limit, out=buffer)
    deliver(buffers, places)
    return places if listed else places[0]


# ---- spectral norms ----

_LOOK = 8  # steps between two looks at the residual; a divisor of the next two
_BASIS, _KEPT = 24, 8  # vectors until a restart, and those that it keeps
_STRANGE = 1e-3  # the part of a start that is drawn: no start keeps the greatest singular value out
_SMALL, _SMALL_OF_MANY = 96, 48  # rows or columns up to which W W^T is decomposed faster than W is iterated with
_WORK = 1 << 27  # multiplications between two looks for an interrupt: 0.1 s or so
_TOLERANCES = {np.dtype(np.float64): 1e-10, np.dtype(np.float32): 1e-5}


@dataclass(frozen=True)
class SpectralNorm:
    """The greatest singular values of matrices, with their vectors: what `spectral_norm` returns, and may start from.

    It unpacks as ``sigma, u, v``.

    Attributes
    ----------
    sigma : ndarray, shape (...)
        Never above the greatest singular value but for rounding.
    u : ndarray, shape (..., m)
        Left singular vectors of norm 1.
    v : ndarray, shape (..., n)
        Right singular vectors of norm 1: ``W @ v`` is ``sigma * u``.
    residual : ndarray, shape (...)
        ||W^T u - sigma v||, within which of sigma there is a singular value; NaN with `n_iter`.
    n_iter : int
        Pairs of products with W and its transpose, of the matrix that took the most; 0 for a decomposition.

    Examples
    --------
    >>> import kexue
    >>> sigma, u, v = kexue.spectral_norm([[3.0, 0.0], [0.0, -4.0]])
    >>> round(float(sigma), 12)
    4.0
    """

    sigma: np.ndarray
    u: np.ndarray
    v: np.ndarray
    residual: np.ndarray
    n_iter: int

    def __iter__(self) -> Iterator[np.ndarray]:
        yield from (self.sigma, self.u, self.v)


@same_kind
def spectral_norm(
    W: ArrayLike,
    start: SpectralNorm | ArrayLike | None = None,
    *,
    n_iter: int | None = None,
    tol: float | None = None,
    max_iter: int = 1000,
    rng: np.random.Generator | int | None = None,
) -> SpectralNorm:
    """The greatest singular value of a matrix, to a tolerance or by a few steps of power iteration.

    Parameters
    ----------
    W : array_like, shape (..., m, n)
        Matrices, finite. The kernel of a convolution is reshaped by the caller, to (out channels, all else) as usual:
        its norm is not that of the convolution.
    start : SpectralNorm or array_like, shape (..., m), optional
        Where to begin: the result for nearly the same matrices, or left vectors. By default it is drawn. An entry of
        nothing but zeros is drawn, too.
    n_iter : int, optional
        Do as many steps of power iteration from `start`, v = W^T u and u = W v made unit vectors, and take what they
        give: training with a warm start does one.
    tol : float, optional
        Without `n_iter`, iterate until the residual is at most ``tol * sigma``; 1e-10 by default, and 1e-5 in
        float32. The value itself is off by the square of that, as a rule.
    max_iter : int
        The limit of it, in pairs of products with W and its transpose.
    rng : numpy.random.Generator, int or None
        Random numbers, through ``numpy.random.default_rng(rng)``.

    Returns
    -------
    SpectralNorm
        With ``sigma``, ``u``, ``v``, ``residual``, ``n_iter``; float32 if W is. The norm of 0 is 0.

    Raises
    ------
    KexueValueError
        If an entry of W or of the start is NaN or infinite; if W has less than two dimensions or an empty matrix, the
        start does not fit, or a number is out of its range.
    TypeError
        If an argument is of the wrong type.
    OverflowError
        If a norm exceeds the range of the dtype.

    Warns
    -----
    ConvergenceWarning
        If `tol` was not reached in `max_iter`, with how many matrices.

    See Also
    --------
    randomized_svd : several singular values.
    gradient_normalize, clip_weights

    Notes
    -----
    O(m n) a step and matrix. To a tolerance, matrices with at most 96 rows or columns (48 in batches of four and more)
    are decomposed, by the eigenvectors of W W^T or W^T W in O(k^2 (m + n)), k the lesser of both. Others take the steps
    of Golub, Kahan and Lanczos with full reorthogonalisation and thick restarts: the power method takes some 1/gap
    steps, this one some 1/sqrt(gap), where gap is how much smaller the second singular value is, relatively. The start
    is mixed with a thousandth of random vectors, so a start in the span of smaller singular vectors does no harm.
    With `n_iter` there is neither.

    References
    ----------
    T. Miyato, T. Kataoka, M. Koyama, Y. Yoshida, "Spectral Normalization for Generative Adversarial Networks", 2018,
    arXiv:1802.05957. G. Golub, W. Kahan, "Calculating the singular values and pseudo-inverse of a matrix", 1965,
    doi:10.1137/0702016.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> W = np.random.default_rng(0).normal(size=(100, 50))
    >>> state = kexue.spectral_norm(W)
    >>> bool(np.isclose(state.sigma, np.linalg.norm(W, 2), rtol=1e-12))
    True
    >>> state = kexue.spectral_norm(W + 0.001, state, n_iter=1)
    >>> bool(np.isclose(state.sigma, np.linalg.norm(W + 0.001, 2), rtol=1e-5))
    True
    """
    matrices = as_real("W", W)
    if matrices.ndim < 2 or 0 in matrices.shape[-2:]:
        raise KexueValueError(f"W must hold matrices that are not empty, but its shape is {matrices.shape}")
    require_finite("W", matrices)
    dtype, lead, (m, n) = matrices.dtype, matrices.shape[:-2], matrices.shape[-2:]
    if n_iter is not None:
        n_iter = check_integer("n_iter", n_iter, 1)
        if tol is not None:
            raise KexueValueError("n_iter and tol exclude each other")
    max_iter = check_integer("max_iter", max_iter, 1)
    if tol is None:
        tol = _TOLERANCES[dtype]
    elif not 0 < check_number("tol", tol) < 1:
        raise KexueValueError(f"tol must be between 0 and 1, got {tol}")
    generator = np.random.default_rng(rng)
    with np.errstate(over="ignore", under="ignore"):
        # By a power of two: entries of at most 1 have squares and sums that neither overflow nor vanish.
        stack = matrices.reshape(-1, m, n)
        size = np.maximum(stack.max(axis=(1, 2), initial=0), -stack.min(axis=(1, 2), initial=0))
        exponent = np.frexp(size)[1]
        if stack.size and (np.abs(exponent) > 30).any():
            stack = np.ldexp(stack, -exponent[:, np.newaxis, np.newaxis])
        else:
            exponent = np.zeros_like(exponent)
        u = _starts(start, lead, m, dtype, generator)
        if n_iter is not None:
            sigma, u, v = _power(stack, u, n_iter)
            residual, steps, left = np.full(len(stack), np.nan, dtype), n_iter, 0
        elif min(m, n) <= (_SMALL if len(stack) < 4 else _SMALL_OF_MANY):
            sigma, u, v, residual = _decomposed(stack)
            steps, left = 0, 0
        elif m < n:  # the space of the shorter vectors is exhausted first
            sigma, v, u, residual, steps, left = _lanczos(stack.swapaxes(1, 2), u, tol, max_iter, generator)
        else:
            v = _unit(_times(stack.swapaxes(1, 2), u))
            sigma, u, v, residual, steps, left = _lanczos(stack, v, tol, max_iter, generator)
        sigma, residual = np.ldexp(sigma, exponent), np.ldexp(residual, exponent)
    first_bad_norm = ~np.isfinite(sigma)
    if first_bad_norm.any():
        raise OverflowError(f"the norm of matrix {int(first_bad_norm.argmax())} of W exceeds the range of {dtype}")
    if left:
        worst = float((residual / np.where(sigma > 0, sigma, 1)).max())
        which = f"{left} of {len(stack)} matrices" if lead else "the matrix"
        warn_convergence(
            f"spectral_norm: {which} did not reach tol={tol:g} in max_iter={max_iter} steps; the worst residual is "
            f"{worst:.2g} of its norm"
        )
    return SpectralNorm(
        sigma.reshape(lead), u.reshape(*lead, m), v.reshape(*lead, n), residual.reshape(lead), int(steps)
    )


def _starts(start: Any, lead: tuple[int, ...], m: int, dtype: np.dtype, generator: np.random.Generator) -> np.ndarray:
    count = math.prod(lead)
    if start is None:
        return _unit(generator.standard_normal((count, m), dtype=dtype))
    given = as_real("start", start.u if isinstance(start, SpectralNorm) else start, dtype=np.float64)
    require_finite("start", given)
    if given.shape != (*lead, m):
        raise KexueValueError(f"start must hold left vectors, of shape {(*lead, m)}, but its shape is {given.shape}")
    u = given.reshape(count, m)
    largest = np.abs(u).max(axis=1, initial=0, keepdims=True)
    if not largest.all():
        drawn = generator.standard_normal((count, m), dtype=dtype)
        u, largest = np.where(largest == 0, drawn, u), np.where(largest == 0, 1, largest)
    return _unit(u / largest).astype(dtype, copy=False)


def _norms(vectors: np.ndarray) -> np.ndarray:
    return np.sqrt(np.square(vectors).sum(axis=-1))


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Divided by their norms; zeros become the first unit vector."""
    norms = _norms(vectors)
    if norms.all():
        return vectors / norms[:, np.newaxis]
    result = vectors / np.where(norms == 0, 1, norms)[:, np.newaxis]
    result[norms == 0, 0] = 1
    return result


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.matmul(matrices, vectors[..., np.newaxis])[..., 0]


def _decomposed(stack: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """From the greatest eigenvalue of W W^T, or W^T W: of all singular values it is the one that keeps its digits.

    A step of power iteration, which does not change the vectors, gives the other one.
    """
    count, m, n = stack.shape
    sigma, residual = np.empty(count, stack.dtype), np.empty(count, stack.dtype)
    left, right = np.empty((count, m), stack.dtype), np.empty((count, n), stack.dtype)
    small = min(m, n)
    size = max(1, _WORK // (small * small * (max(m, n) + 8 * small) + (1 << 14)))
    columns = max(1, _WORK // (small * small))
    for part in (slice(start, start + size) for start in range(0, count, size)):
        block = stack[part]
        transposed = block.swapaxes(1, 2)
        wide = block if m <= n else transposed
        gram = np.zeros((len(block), small, small), stack.dtype)
        for first in range(0, max(m, n), columns):
            some = wide[:, :, first : first + columns]
            gram += np.matmul(some, some.swapaxes(1, 2))
        u = np.linalg.eigh(gram)[1][:, :, -1]
        sigma[part], left[part], right[part] = _power(block, u if m <= n else _unit(_times(block, u)), 1)
        residual[part] = _norms(_times(transposed, left[part]) - sigma[part, np.newaxis] * right[part])
    return sigma, left, right, residual


def _power(stack: np.ndarray, u: np.ndarray, n_iter: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    transposed = stack.swapaxes(1, 2)
    for _ in range(n_iter):
        v = _unit(_times(transposed, u))
        image = _times(stack, v)
        u = _unit(image)
    return _norms(image), u, v


def _lanczos(
    stack: np.ndarray, v: np.ndarray, tol: float, max_iter: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """Golub-Kahan bidiagonalisation with thick restarts, for more than `_BASIS` rows and columns, m >= n.

    W V = U B and W^T U = V B^T + beta v e^T, where V and U have orthonormal rows here, and v is the next of V. A matrix
    leaves when it is done.
    """
    count, m, n = stack.shape
    sigma, residual = np.zeros(count, v.dtype), np.zeros(count, v.dtype)
    best_u, best_v = np.zeros((count, m), v.dtype), np.zeros((count, n), v.dtype)
    left, steps, size, target = np.arange(count), 0, 0, _LOOK
    V, U = np.zeros((count, _BASIS + 1, n), v.dtype), np.zeros((count, _BASIS, m), v.dtype)
    B, scale = np.zeros((count, _BASIS, _BASIS), v.dtype), np.zeros(count, v.dtype)
    V[:, 0] = _unit(v + _STRANGE * _unit(generator.standard_normal(v.shape, dtype=v.dtype)))
    while len(left) and steps < max_iter:
        while size < target and steps < max_iter:
            alpha, U[:, size] = _orthogonalized(_times(stack, V[:, size]), U[:, :size], scale)
            scale = np.maximum(scale, alpha)
            B[:, size, size] = alpha
            image = _times(stack.swapaxes(1, 2), U[:, size])
            beta, V[:, size + 1] = _orthogonalized(image, V[:, : size + 1], scale)
            if size + 1 < _BASIS:
                B[:, size, size + 1] = beta
            size, steps = size + 1, steps + 1
        P, S, Qh = np.linalg.svd(B[:, :size, :size])
        coupling = beta[:, np.newaxis] * P[:, -1]
        sigma[left], residual[left] = S[:, 0], np.abs(coupling[:, 0])
        best_u[left], best_v[left] = _combine(P[:, :, 0], U[:, :size]), _combine(Qh[:, 0], V[:, :size])
        going = residual[left] > tol * sigma[left]
        left = left[going]
        if not going.all():
            stack, V, U, B, scale = stack[going], V[going], U[going], B[going], scale[going]
            P, S, Qh, coupling = P[going], S[going], Qh[going], coupling[going]
        if size == _BASIS:
            V[:, :_KEPT], V[:, _KEPT] = np.matmul(Qh[:, :_KEPT], V[:, :size]), V[:, size]
            U[:, :_KEPT] = np.matmul(P[:, :, :_KEPT].swapaxes(1, 2), U)
            B[:] = 0
            diagonal = np.arange(_KEPT)
            B[:, diagonal, diagonal], B[:, :_KEPT, _KEPT] = S[:, :_KEPT], coupling[:, :_KEPT]
            size = _KEPT
        target = size + _LOOK
    return sigma, _unit(best_u), _unit(best_v), residual, steps, len(left)


def _combine(weights: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    return np.matmul(weights[:, np.newaxis], vectors)[:, 0]


def _orthogonalized(vectors: np.ndarray, basis: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Norms and unit vectors of what is orthogonal to a basis; 0 where that is rounding: the space is exhausted."""
    for _ in range(2):
        vectors = vectors - _combine(_times(basis, vectors), basis)
    norms = _norms(vectors)
    exhausted = norms <= 8 * np.finfo(norms.dtype).eps * scale
    norms = np.where(exhausted, 0, norms).astype(vectors.dtype, copy=False)
    return norms, np.divide(vectors, norms[:, np.newaxis], out=np.zeros_like(vectors), where=norms[:, np.newaxis] != 0)


# ---- arguments and formulas ----


def _check_mode(mode: Normalization, eps: float) -> float:
    if not isinstance(mode, str) or mode not in ("gn", "gran", "plain"):
        raise KexueValueError(f'mode must be "gn", "gran" or "plain", got {mode!r}')
    eps = check_number("eps", eps)
    if not 0 < eps < math.inf:
        raise KexueValueError(f"eps must be positive and finite, got {eps}")
    return eps


def _shares(value: np.ndarray, norm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """f / s and n / s for s = n + |f|, by the ratio of the smaller to the greater one: s itself may overflow."""
    size = np.abs(value)
    greater = np.maximum(size, norm)
    with np.errstate(invalid="ignore"):
        ratio = np.divide(np.minimum(size, norm), greater, out=np.zeros(greater.shape), where=greater != 0)
    larger = 1 / (1 + ratio)
    smaller = ratio * larger
    above = size >= norm
    of_value = np.where(greater == 0, 0, np.copysign(np.where(above, larger, smaller), value))
    of_norm = np.where(greater == 0, 0, np.where(above, smaller, larger))
    return of_value, of_norm


def _scaled(
    vectors: np.ndarray, numerators: tuple[np.ndarray, ...], denominators: tuple[np.ndarray, ...]
) -> np.ndarray:
    """Vectors times a fraction, with its exponents apart: only the result overflows or underflows."""
    mantissa, exponent = np.frexp(numerators[0])
    for numbers, sign in [(numerators[1:], 1), (denominators, -1)]:
        for number in numbers:
            part, power = np.frexp(number)
            mantissa, shift = np.frexp(mantissa * part if sign > 0 else mantissa / part)
            exponent = exponent + shift + sign * power
    if np.abs(exponent).max(initial=0) < 1000:
        return vectors * np.ldexp(mantissa, exponent)
    return np.ldexp(vectors * mantissa, exponent)


def _gran_factor(norm: np.ndarray, eps: float) -> np.ndarray:
    """n / (n^2 + eps), without the square of a large n."""
    safe = np.where(norm == 0, 1, norm)
    return np.where(
        norm < math.sqrt(eps), norm / (np.minimum(norm, math.sqrt(eps)) ** 2 + eps), 1 / (safe + eps / safe)
    )
