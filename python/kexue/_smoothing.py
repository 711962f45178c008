"""Piecewise linear and piecewise constant functions, smoothed by a kernel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _ufuncs
from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, require_operands
from kexue._errors import KexueValueError, first_bad

__all__ = [
    "smooth_abs",
    "smooth_ceil",
    "smooth_clip",
    "smooth_floor",
    "smooth_leaky_relu",
    "smooth_maximum",
    "smooth_relu",
    "smooth_round",
    "smooth_sign",
    "smooth_step",
]

Kernel = Literal["gaussian", "logistic", "student_t2", "cauchy"]
Form = Literal["auto", "window", "fourier"]

KERNELS = ("gaussian", "logistic", "student_t2", "cauchy")
_FORMS = {"auto": 0.0, "window": 1.0, "fourier": 2.0}
_MOST_TERMS = 1000

# SquarePlus is the relu of Student's t, and its derivative the step: they are there already.
_RELU = {
    "gaussian": _ufuncs.smooth_relu_gaussian,
    "logistic": _ufuncs.smooth_relu_logistic,
    "student_t2": _ufuncs.squareplus,
}
_STEP = {
    "gaussian": _ufuncs.smooth_step_gaussian,
    "logistic": _ufuncs.smooth_step_logistic,
    "student_t2": _ufuncs.squareplus_grad,
    "cauchy": _ufuncs.smooth_step_cauchy,
}


def _family(name: str) -> dict[str, np.ufunc]:
    return {kernel: getattr(_ufuncs, f"{name}_{kernel}") for kernel in KERNELS if hasattr(_ufuncs, f"{name}_{kernel}")}


_ABS, _SIGN, _LEAKY_RELU = _family("smooth_abs"), _family("smooth_sign"), _family("smooth_leaky_relu")
_MAXIMUM, _CLIP = _family("smooth_maximum"), _family("smooth_clip")
_FLOOR, _CEIL, _ROUND = _family("smooth_floor"), _family("smooth_ceil"), _family("smooth_round")


def _is_at_hand(value: object) -> bool:
    """Whether the numbers can be looked at: those of a lazy array cannot, and there a bad one gives NaN."""
    if isinstance(value, (int, float, np.ndarray, np.generic, list, tuple)):
        return True
    # A Series of pandas is at hand; what comes in chunks, from Dask or around it, is not.
    return hasattr(value, "__array__") and getattr(value, "chunks", None) is None


def require_kernel(kernel: str) -> None:
    if kernel not in KERNELS:
        names = ", ".join(f'"{name}"' for name in KERNELS)
        raise KexueValueError(f"kernel must be one of {names}, got {kernel!r}")


def require_scale(scale: ArrayLike) -> None:
    if _is_at_hand(scale):
        first_bad(
            "scale",
            as_real("scale", scale),
            lambda s: ~((s > 0) & (s < np.inf)),
            "is {value}, but it must be positive and finite",
        )


def _choose(function: str, table: Mapping[str, np.ufunc], kernel: str, scale: ArrayLike) -> np.ufunc:
    require_kernel(kernel)
    if kernel not in table:
        raise KexueValueError(
            f'kernel="cauchy": the integral of {function} diverges, for the kernel decays like 1 / x**2 where the '
            "function grows like x; the other kernels have it"
        )
    require_scale(scale)
    return table[kernel]


@same_kind
def smooth_relu(x: ArrayLike, *, kernel: Kernel = "gaussian", scale: ArrayLike = 1.0, **ufunc_kwargs: Any) -> Any:
    """
    Smooth ReLU: max(x, 0) convolved with a kernel.

    It is positive, increasing and convex, above max(x, 0), and R(x) - R(-x) = x. Its derivative is
    `smooth_step`.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape. float16 and float32 give float32; float64, integers and bool, float64.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        The density k, see Notes.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. The table in Notes has its meaning, which is the
        same for all functions of this family.
    **ufunc_kwargs
        ``out``, ``where``, ``dtype`` and so on, as for every NumPy ufunc: see `numpy.ufunc`.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape; a lazy array for a lazy one. NaN where an operand is NaN, and where the scale of
        a lazy array is not positive and finite.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown, if the integral diverges (``kernel="cauchy"``), or if `scale` is not positive and
        finite.

    See Also
    --------
    smooth_step : the derivative.
    smooth_leaky_relu, smooth_abs, smooth_maximum, smooth_clip : other piecewise linear functions.
    smooth_sign, smooth_floor, smooth_ceil, smooth_round : piecewise constant functions.
    smooth_function : any function, by quadrature.
    squareplus : the ufunc behind ``kernel="student_t2"``.

    Notes
    -----
    ============  ===============================  ===========  ================================
    kernel        density k(x), s = scale          sharp limit  smooth ReLU
    ============  ===============================  ===========  ================================
    gaussian      phi(x / s) / s                   s -> 0       x Phi(x / s) + s phi(x / s)
    logistic      s e**(s x) / (1 + e**(s x))**2   s -> inf     log(1 + e**(s x)) / s (softplus)
    student_t2    s / (2 (x**2 + s)**1.5)          s -> 0       (x + sqrt(x**2 + s)) / 2
    cauchy        s / (pi (x**2 + s**2))           s -> 0       diverges
    ============  ===============================  ===========  ================================

    Linear time. The error is at most 1 ulp in float32 and 2 ulp in float64, deep tails included.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718. C. Dugas et al., "Incorporating Second-Order Functional Knowledge for
    Better Option Pricing", NIPS 2000 (softplus). J. T. Barron, arXiv:2112.11687 (SquarePlus).

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_relu([-2.0, 0.0, 1.0])
    array([0.0084907 , 0.39894228, 1.08331547])
    >>> kexue.smooth_relu(1.0, kernel="logistic", scale=[1.0, 10.0, 100.0])
    array([1.31326169, 1.00000454, 1.        ])
    """
    ufunc = _choose("smooth_relu", _RELU, kernel, scale)
    try:
        return ufunc(x, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, scale=scale)
        raise


@same_kind
def smooth_step(x: ArrayLike, *, kernel: Kernel = "gaussian", scale: ArrayLike = 1.0, **ufunc_kwargs: Any) -> Any:
    """
    Smooth unit step: the distribution function of a kernel, and the derivative of `smooth_relu`.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Between 0 and 1, 1/2 at 0.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown or `scale` is not positive and finite.

    See Also
    --------
    smooth_sign : 2 K(x) - 1, exact near 0.

    Notes
    -----
    Linear time. The error is at most 1 ulp in float32 and 2 ulp in float64, deep tails included.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_step([-1.0, 0.0, 1.0], kernel="cauchy")
    array([0.25, 0.5 , 0.75])
    """
    ufunc = _choose("smooth_step", _STEP, kernel, scale)
    try:
        return ufunc(x, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, scale=scale)
        raise


@same_kind
def smooth_abs(x: ArrayLike, *, kernel: Kernel = "gaussian", scale: ArrayLike = 1.0, **ufunc_kwargs: Any) -> Any:
    """
    Smooth absolute value: |x| convolved with a kernel.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`; with "cauchy" the integral diverges.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape: even, convex, above |x|.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown or "cauchy", or `scale` is not positive and finite.

    See Also
    --------
    smooth_sign : the derivative.

    Notes
    -----
    Linear time. The error is at most 1 ulp in float32 and 2 ulp in float64. ``kernel="student_t2"`` is
    sqrt(x**2 + scale).

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_abs([-3.0, 0.0, 3.0], kernel="student_t2", scale=16.0)
    array([5., 4., 5.])
    """
    ufunc = _choose("smooth_abs", _ABS, kernel, scale)
    try:
        return ufunc(x, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, scale=scale)
        raise


@same_kind
def smooth_sign(x: ArrayLike, *, kernel: Kernel = "gaussian", scale: ArrayLike = 1.0, **ufunc_kwargs: Any) -> Any:
    """
    Smooth sign: sign(x) convolved with a kernel, 2 K(x) - 1.

    erf(x / (s sqrt 2)), tanh(s x / 2), x / sqrt(x**2 + s) and 2 atan(x / s) / pi for the four kernels.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Odd, between -1 and 1.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown or `scale` is not positive and finite.

    See Also
    --------
    smooth_step : (1 + sign) / 2, exact in the left tail.

    Notes
    -----
    Linear time. The error is at most 1 ulp in float32 and 2 ulp in float64, near 0 as well.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_sign([-1e-20, 0.0, 2.0], kernel="logistic", scale=2.0)
    array([-1.0000000e-20,  0.0000000e+00,  9.6402758e-01])
    """
    ufunc = _choose("smooth_sign", _SIGN, kernel, scale)
    try:
        return ufunc(x, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, scale=scale)
        raise


@same_kind
def smooth_leaky_relu(
    x: ArrayLike,
    slope: ArrayLike = 0.01,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth leaky ReLU: max(x, 0) + slope min(x, 0) convolved with a kernel.

    That is slope x + (1 - slope) R(x) with R = `smooth_relu`.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape; types as for `smooth_relu`.
    slope : array_like, default 0.01
        The slope of the left half; broadcast against `x`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`; with "cauchy" the integral diverges.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown or "cauchy", or `scale` is not positive and finite.

    Notes
    -----
    Linear time. The error is at most 4 eps of the larger one of its two terms; float32 results are within
    1 ulp unless they cancel to less than 2**-20 of that.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718. K. Biswas et al., "SAU: Smooth activation function using convolution with
    approximate identities", arXiv:2109.13210.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_leaky_relu([-1.0, 0.0, 2.0], 0.25, scale=0.5)
    array([-0.24681599,  0.14960336,  2.00000268])
    """
    ufunc = _choose("smooth_leaky_relu", _LEAKY_RELU, kernel, scale)
    try:
        return ufunc(x, slope, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, slope=slope, scale=scale)
        raise


@same_kind
def smooth_maximum(
    x: ArrayLike,
    y: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth maximum of two numbers: y + R(x - y) with R = `smooth_relu`.

    Symmetric in `x` and `y`, above both. For a smooth minimum take ``-smooth_maximum(-x, -y)``.

    Parameters
    ----------
    x, y : array_like
        Real numbers, broadcast against each other; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`; with "cauchy" the integral diverges.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown or "cauchy", or `scale` is not positive and finite.

    Notes
    -----
    Linear time. ``kernel="logistic"`` is logaddexp(scale x, scale y) / scale. The error is at most 4 eps of
    the larger one of |max(x, y)| and what smoothing adds; float32 results are within 1 ulp unless they cancel to less
    than 2**-20 of that.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_maximum([1.0, 2.0, 5.0], 2.0, kernel="logistic", scale=4.0)
    array([2.00453748, 2.1732868 , 5.00000154])
    """
    ufunc = _choose("smooth_maximum", _MAXIMUM, kernel, scale)
    try:
        return ufunc(x, y, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, y=y, scale=scale)
        raise


@same_kind
def smooth_clip(
    x: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth clip: min(max(x, low), high) convolved with a kernel.

    low + R(x - low) - R(x - high) with R = `smooth_relu`; for Cauchy's kernel, with which R diverges, its limit.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape; types as for `smooth_relu`.
    low, high : array_like
        The bounds, low <= high; broadcast against `x`. An infinite one is no bound, except for
        ``kernel="cauchy"``, for which the integral then diverges.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Between `low` and `high`.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown, `scale` is not positive and finite, `low` exceeds `high`, or a bound is infinite
        and `kernel` is "cauchy".

    Notes
    -----
    Linear time. The error is at most 4 eps of the largest of |clip(x, low, high)| and what smoothing adds at either
    bound, and of the larger bound for Cauchy's kernel; float32 results are within 1 ulp unless they cancel to less
    than 2**-20 of that.

    With D(u) = -(u atan(a / u) + a log(u**2 + a**2) / 2) / pi Cauchy's form is clip(x, low, high) + D(|x - low|) -
    D(|x - high|).

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_clip([-2.0, 0.5, 3.0], 0.0, 1.0, kernel="logistic", scale=4.0)
    array([8.23155449e-05, 5.00000000e-01, 9.99917684e-01])
    """
    ufunc = _choose("smooth_clip", _CLIP, kernel, scale)
    if _is_at_hand(low) and _is_at_hand(high):
        lowest, highest = as_real("low", low), as_real("high", high)
        lowest = np.broadcast_to(lowest, check_broadcast(low=lowest.shape, high=highest.shape))
        first_bad("low", lowest, lambda one: one > highest, "is {value}, more than high")
    if kernel == "cauchy":
        for name, bound in (("low", low), ("high", high)):
            if _is_at_hand(bound):
                text = 'is {value}: with kernel="cauchy" the integral diverges'
                first_bad(name, as_real(name, bound), np.isinf, text)
    try:
        return ufunc(x, low, high, scale, **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, low=low, high=high, scale=scale)
        raise


def _rounding(
    function: str,
    table: dict[str, np.ufunc],
    x: ArrayLike,
    kernel: str,
    scale: ArrayLike,
    form: str,
    ufunc_kwargs: dict,
) -> Any:
    ufunc = _choose(function, table, kernel, scale)
    if form not in _FORMS:
        raise KexueValueError(f'form must be "auto", "window" or "fourier", got {form!r}')
    if form != "auto" and _is_at_hand(scale):
        scales = np.asarray(scale)
        if scales.size:
            terms = max(_terms(kernel, form, float(scales.min())), _terms(kernel, form, float(scales.max())))
            if terms > _MOST_TERMS:
                raise KexueValueError(
                    f'form="{form}" would take more than {_MOST_TERMS} terms for kernel="{kernel}" and this scale; '
                    'form="auto" takes a few'
                )
    try:
        return ufunc(x, scale, _FORMS[form], **ufunc_kwargs)
    except (TypeError, ValueError):
        require_operands(x=x, scale=scale)
        raise


def _terms(kernel: str, form: str, scale: float) -> float:
    """How many terms the compiled sums have (kernels/smoothing_floor.c)."""
    if form == "window":
        return {
            "gaussian": 9 * scale + 0.5,
            "logistic": 38 / scale + 0.5,
            "student_t2": 8 + 3 * scale**0.5,
            "cauchy": np.inf,
        }[kernel]
    return {
        "gaussian": 1.4 / scale,
        "logistic": 2.15 * scale,
        "student_t2": 6.6 / scale**0.5,
        "cauchy": 6.2 / scale,
    }[kernel]


@same_kind
def smooth_floor(
    x: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    form: Form = "auto",
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth floor: floor(x) convolved with a kernel, for any `x`.

    Increasing, and smooth_floor(x + 1) = smooth_floor(x) + 1. Where the kernel is wide it tends to x - 1/2.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape and size; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    form : {"auto", "window", "fourier"}, default "auto"
        How it is computed: as a sum of the steps around `x`, as the Fourier series of the periodic part, or
        whichever is shorter; the results agree. For Cauchy's kernel "auto" is a closed form.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape.

    Raises
    ------
    KexueValueError
        If `kernel` or `form` is unknown, `scale` is not positive and finite, or the form asked for would take more
        than 1000 terms (always so for "window" with "cauchy").

    See Also
    --------
    smooth_ceil, smooth_round : -floor(-x) and floor(x + 1/2).

    Notes
    -----
    A few terms an element. The error is at most 4 eps max(|x|, 1); float32 results are within 1 ulp
    unless they are smaller than 2**-20. The sum is sum_{n <= 0} (K(x - n) - 1) + sum_{n > 0} K(x - n),
    around the nearest integer; the series x - 1/2 + sum_m khat(2 pi m) sin(2 pi m x) / (pi m) with the kernel's
    characteristic function khat, and for Cauchy's x - 1/2 + atan2(r sin 2 pi x, 1 - r cos 2 pi x) / pi,
    r = e**(-2 pi scale).

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_floor([0.3, 2.5, 2.95, 3.0], scale=0.1)
    array([-1.34989803e-03,  2.00000000e+00,  2.30853754e+00,  2.50000000e+00])
    >>> kexue.smooth_floor(1e6 + 0.25, kernel="cauchy", scale=[1e-3, 0.1, 10.0])
    array([999999.99900001, 999999.90599661, 999999.75      ])
    """
    return _rounding("smooth_floor", _FLOOR, x, kernel, scale, form, ufunc_kwargs)


@same_kind
def smooth_ceil(
    x: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    form: Form = "auto",
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth ceil: ceil(x) convolved with a kernel, which is -smooth_floor(-x).

    Parameters
    ----------
    x : array_like
        Real numbers, any shape and size; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    form : {"auto", "window", "fourier"}, default "auto"
        See `smooth_floor`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape.

    Raises
    ------
    KexueValueError
        As `smooth_floor`.

    Notes
    -----
    A few terms an element, with the accuracy of `smooth_floor`.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_ceil([-0.3, 2.0, 2.5], scale=0.1)
    array([1.34989803e-03, 2.50000000e+00, 3.00000000e+00])
    """
    return _rounding("smooth_ceil", _CEIL, x, kernel, scale, form, ufunc_kwargs)


@same_kind
def smooth_round(
    x: ArrayLike,
    *,
    kernel: Kernel = "gaussian",
    scale: ArrayLike = 1.0,
    form: Form = "auto",
    **ufunc_kwargs: Any,
) -> Any:
    """
    Smooth round: the nearest integer convolved with a kernel, which is smooth_floor(x + 1/2).

    Odd, and halves stay what they are, up to the error in Notes.

    Parameters
    ----------
    x : array_like
        Real numbers, any shape and size; types as for `smooth_relu`.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : array_like, default 1.0
        Its parameter, positive and finite; broadcast against `x`. See `smooth_relu`.
    form : {"auto", "window", "fourier"}, default "auto"
        See `smooth_floor`.
    **ufunc_kwargs
        As for every NumPy ufunc.

    Returns
    -------
    ndarray or scalar
        Of the broadcast shape.

    Raises
    ------
    KexueValueError
        As `smooth_floor`.

    Notes
    -----
    A few terms an element, with the accuracy of `smooth_floor`.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718.

    Examples
    --------
    >>> import kexue
    >>> kexue.smooth_round([-0.5, 0.0, 2.45, 2.5], kernel="logistic", scale=50.0)
    array([-0.5       ,  0.        ,  2.07585818,  2.5       ])
    """
    return _rounding("smooth_round", _ROUND, x, kernel, scale, form, ufunc_kwargs)
