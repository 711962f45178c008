"""SquarePlus, entropy normalisation and HSIC."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

import kexue
from kexue import KexueValueError
from kexue.torch._autograd import Arrays, Needs, as_array, as_tensor, call


def squareplus(x: Tensor, b: Tensor | ArrayLike) -> Tensor:
    """`kexue.squareplus`: (x + sqrt(x**2 + b)) / 2.

    Parameters
    ----------
    x : Tensor
        Real numbers. float16 and float32 give float32; float64, integers and bool, float64.
    b : Tensor or array_like
        Smoothness, b >= 0; broadcast against `x`.

    Returns
    -------
    Tensor
        Of the broadcast shape; NaN for b < 0.

    Raises
    ------
    KexueValueError
        If a tensor is on another device.

    Notes
    -----
    Gradients by `x` and `b`, within an ulp or two; what was broadcast is summed. By `b` it is infinite where both are
    0. O(n). J. T. Barron, arXiv:2112.11687.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> x = torch.tensor([-1.0, 0.0, 2.0], requires_grad=True)
    >>> y = kexue.torch.squareplus(x, 4.0)
    >>> y.sum().backward()
    >>> [round(slope, 4) for slope in x.grad.tolist()]
    [0.2764, 0.5, 0.8536]
    """

    def forward(needs: Needs, given: Arrays) -> Any:
        return kexue.squareplus(given["x"], given["b"]), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        slopes = {"x": kexue.squareplus_grad, "b": kexue.squareplus_grad_b}
        return {name: upstream * as_tensor(slopes[name](given["x"], given["b"])) for name in needs}

    return call("squareplus", forward, backward, required={"x": x}, optional={"b": b})


def entropy_normalize(
    p: Tensor,
    target: Tensor | ArrayLike,
    *,
    axis: int = -1,
    target_kind: Literal["entropy", "perplexity", "fraction", "gap_low", "gap_high"] = "entropy",
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
) -> Tensor:
    """`kexue.entropy_normalize`: the powers of distributions that have a given entropy.

    Parameters
    ----------
    p : Tensor, shape (..., n)
        Non-negative weights.
    target : Tensor or array_like
        The entropies; broadcast with the shape of `p` without the axis.
    axis, target_kind, on_unreachable, tol, max_iter, workers
        As in `kexue.entropy_normalize`.

    Returns
    -------
    Tensor, shape (..., n)
        float32 if `p` is float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.entropy_normalize`; and if a tensor is on another device.

    Warns
    -----
    ConvergenceWarning
        As in `kexue.entropy_normalize`, by the gradient too.

    Notes
    -----
    Gradients by `p` and `target` are those of `kexue.entropy_normalize_vjp`, by implicit differentiation; it solves
    again. They are 0 by entries that are 0, and in rows whose target is out of reach. O(n) a step.
    J. Su, https://kexue.fm/archives/8829.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> p = torch.tensor([0.5, 0.25, 0.15, 0.1], dtype=torch.float64, requires_grad=True)
    >>> q = kexue.torch.entropy_normalize(p, 1.0)
    >>> q[0].backward()
    >>> [round(slope, 4) for slope in p.grad.tolist()]
    [0.1211, -0.4536, 0.1065, 0.3689]
    """
    options = dict(axis=axis, target_kind=target_kind, on_unreachable=on_unreachable, tol=tol, max_iter=max_iter)
    return _normalized(
        "entropy_normalize", kexue.entropy_normalize, kexue.entropy_normalize_vjp, "p", p, target, options, workers
    )


def entropy_normalize_logits(
    u: Tensor,
    target: Tensor | ArrayLike,
    *,
    axis: int = -1,
    target_kind: Literal["entropy", "perplexity", "fraction", "gap_low", "gap_high"] = "entropy",
    on_unreachable: Literal["raise", "limit"] = "raise",
    tol: float = 1e-13,
    max_iter: int = 100,
    workers: int | None = None,
) -> Tensor:
    """`kexue.entropy_normalize_logits`: softmaxes of a given entropy.

    Parameters
    ----------
    u : Tensor, shape (..., n)
        Logits: finite, or -inf for an entry of probability 0.
    target : Tensor or array_like
        The entropies; broadcast with the shape of `u` without the axis.
    axis, target_kind, on_unreachable, tol, max_iter, workers
        As in `kexue.entropy_normalize_logits`.

    Returns
    -------
    Tensor, shape (..., n)
        float32 if `u` is float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.entropy_normalize_logits`; and if a tensor is on another device.

    Warns
    -----
    ConvergenceWarning
        As in `kexue.entropy_normalize_logits`, by the gradient too.

    Notes
    -----
    Gradients by `u` and `target` are those of `kexue.entropy_normalize_logits_vjp`; entries of -inf get 0.
    J. Su, https://kexue.fm/archives/8829.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> u = torch.tensor([2.0, 1.0, 0.5, 0.0], dtype=torch.float64, requires_grad=True)
    >>> q = kexue.torch.entropy_normalize_logits(u, 1.0)
    >>> round(float((-q * q.log()).sum().detach()), 12)
    1.0
    """
    options = dict(axis=axis, target_kind=target_kind, on_unreachable=on_unreachable, tol=tol, max_iter=max_iter)
    return _normalized(
        "entropy_normalize_logits",
        kexue.entropy_normalize_logits,
        kexue.entropy_normalize_logits_vjp,
        "u",
        u,
        target,
        options,
        workers,
    )


def _normalized(
    name: str, function: Any, vjp: Any, argument: str, values: Tensor, target: Any, options: Any, workers: int | None
) -> Tensor:
    def forward(needs: Needs, given: Arrays) -> Any:
        return function(given[argument], given["target"], **options, workers=workers), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        gradients = vjp(
            given[argument], given["target"], as_array("the gradient", upstream), **options, workers=workers
        )
        return dict(zip((argument, "target"), map(as_tensor, gradients), strict=True))

    return call(name, forward, backward, required={argument: values}, optional={"target": target})


def hsic(
    X: Tensor,
    Y: Tensor,
    *,
    kernel: Any = "rbf",
    bandwidth: Any = "median",
    gamma: float | None | tuple[float | None, float | None] = None,
    coef0: float | tuple[float, float] = 1.0,
    degree: int | tuple[int, int] = 3,
    estimator: Literal["biased", "n-1", "unbiased"] = "biased",
    workers: int | None = None,
) -> Tensor:
    """`kexue.hsic`: how strongly paired samples depend on each other.

    Parameters
    ----------
    X, Y : Tensor, shape (n, d_x) or (n,), and (n, d_y) or (n,)
        The samples, row i of X with row i of Y.
    kernel, bandwidth, gamma, coef0, degree, estimator, workers
        As in `kexue.hsic`. A callable takes and returns arrays, and has no gradient.

    Returns
    -------
    Tensor, shape ()
        float32 if both `X` and `Y` are float32 or float16, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.hsic`; if a tensor is on another device; if a gradient is asked for and a kernel is a callable.

    Notes
    -----
    Gradients by `X` and `Y` are those of `kexue.hsic_gradient`: O(n^2 d) time, O(n d) memory. The bandwidth is held
    fixed: with "median" it is computed, in the gradient again, and then a number. In training, whose samples move,
    a bandwidth of one's own keeps the loss the same function.
    Gretton, Bousquet, Smola and Schölkopf, doi:10.1007/11564089_7.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> x = torch.tensor([0.1, -0.4, 0.9, 1.3, -1.1, 0.6], dtype=torch.float64, requires_grad=True)
    >>> y = torch.tensor([0.2, -0.1, 1.1, 0.7, -0.9, 0.3], dtype=torch.float64)
    >>> kexue.torch.hsic(x, y, gamma=1.0, estimator="n-1").backward()
    >>> [round(slope, 6) for slope in x.grad.tolist()]
    [-0.004844, -0.013154, 0.046769, -0.013637, -0.006214, -0.008919]
    """
    options: dict[str, Any] = dict(
        kernel=kernel,
        bandwidth=bandwidth,
        gamma=gamma,
        coef0=coef0,
        degree=degree,
        estimator=estimator,
        workers=workers,
    )

    def forward(needs: Needs, given: Arrays) -> Any:
        if needs and any(map(callable, kernel if isinstance(kernel, tuple) else (kernel,))):
            raise KexueValueError("kernel is a callable, whose derivative is not known: a gradient needs a named one")
        points = given["X"], given["Y"]
        value = kexue.hsic(*points, **{option: given[option] for option in options})
        single = all(array.dtype in ("float16", "float32") for array in points)
        return np.asarray(value, dtype=np.float32 if single else np.float64), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        by_x, by_y = kexue.hsic_gradient(given["X"], given["Y"], **{option: given[option] for option in options})
        return {"X": upstream * as_tensor(by_x), "Y": upstream * as_tensor(by_y)}

    return call("hsic", forward, backward, required={"X": X, "Y": Y}, constant=options)
