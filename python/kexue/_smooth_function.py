"""Any function smoothed by a kernel, by quadrature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real
from kexue._errors import KexueValueError, require_finite, warn_convergence
from kexue._smoothing import Kernel, require_kernel, require_scale

__all__ = ["smooth_function"]

# Nodes t = -4.5 ... 4.5: offsets from 1e-31 to 1e31 of a piece's unit, of which a bounded integrand needs far less.
_RANGE = 4.5
_FIRST_STEP = 0.5
_MOST_HALVINGS = 7
_ENTRIES = 1 << 18  # of x times nodes at once: 2 MB an array
_REACH = 1000.0  # lengths of the first part of a long piece, and the growth from part to part
_SLOW = 1e-6  # share of the last node beyond which a tail is taken for divergent


def smooth_function(
    f: Callable[[np.ndarray], ArrayLike],
    kernel: Kernel = "gaussian",
    scale: float = 1.0,
    breakpoints: Sequence[float] = (),
    *,
    rtol: float = 1e-10,
) -> Callable[[ArrayLike], Any]:
    """
    Smooth any function: f convolved with a kernel, by quadrature.

    Parameters
    ----------
    f : callable
        Takes an array of float64 and returns its values. It should be smooth between the breakpoints, and its
        integral against the kernel has to exist.
    kernel : {"gaussian", "logistic", "student_t2", "cauchy"}, default "gaussian"
        See `smooth_relu`.
    scale : float, default 1.0
        Its parameter, positive and finite. See `smooth_relu`.
    breakpoints : sequence of float, optional
        Where f or a derivative of it jumps.
    rtol : float, default 1e-10
        The step is halved until two results differ by less than this share of the integral of |f| times the kernel.

    Returns
    -------
    callable
        A function of an array_like x that gives (f * k)(x), of its shape, float32 for float32 or float16 and
        else float64. It raises `KexueValueError` where the integral diverges, and issues a `ConvergenceWarning` where
        `rtol` is not reached.

    Raises
    ------
    KexueValueError
        If `kernel` is unknown, `scale` or `rtol` is not positive and finite, or a breakpoint is not finite.
    TypeError
        If `f` is not callable.

    See Also
    --------
    smooth_relu, smooth_clip, smooth_floor : closed forms, which are much faster.

    Notes
    -----
    Every piece between breakpoints is split at x, where the kernel has its peak, and summed by the double exponential
    rule (tanh-sinh, exp-sinh for the outermost pieces). f is called a few hundred times for an x and a piece.

    References
    ----------
    J. Su, https://kexue.fm/archives/8718. H. Takahasi and M. Mori, "Double exponential formulas for numerical
    integration", Publ. RIMS 9 (1974), doi:10.2977/prims/1195192451.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> smooth_triangle = kexue.smooth_function(lambda x: np.maximum(1 - abs(x), 0), scale=0.5, breakpoints=[-1, 0, 1])
    >>> smooth_triangle([0.0, 1.0])
    array([0.60954842, 0.19098401])
    """
    if not callable(f):
        raise TypeError(f"f must be callable, not {type(f).__name__}")
    require_kernel(kernel)
    if np.ndim(scale) != 0:
        raise KexueValueError(f"scale must be a single number, but its shape is {np.shape(scale)}")
    require_scale(scale)
    edges = np.sort(as_real("breakpoints", np.asarray(breakpoints, dtype=np.float64), ndim=1))
    require_finite("breakpoints", edges)
    if not 0 < rtol < np.inf:
        raise KexueValueError(f"rtol must be positive and finite, got {rtol}")
    length = {"gaussian": scale, "logistic": 1 / scale, "student_t2": np.sqrt(scale), "cauchy": scale}[kernel]
    density = _DENSITIES[kernel]
    edges = np.unique(edges)
    ends = np.concatenate([[-np.inf], edges, [np.inf]])

    @same_kind
    def smoothed(x: ArrayLike) -> Any:
        values = as_real("x", x)
        points = values.ravel().astype(np.float64)
        finite = np.isfinite(points)
        result = np.full(len(points), np.nan)
        result[finite] = _integrate(f, density, float(length), ends, points[finite], rtol)
        return result.reshape(values.shape).astype(values.dtype)[()]

    return smoothed


def _gaussian(w: np.ndarray) -> np.ndarray:
    return np.exp(-0.5 * w * w) / np.sqrt(2 * np.pi)


def _logistic(w: np.ndarray) -> np.ndarray:
    e = np.exp(-abs(w))
    return e / (1 + e) ** 2


def _student_t2(w: np.ndarray) -> np.ndarray:
    return 0.5 / np.hypot(w, 1) ** 3


def _cauchy(w: np.ndarray) -> np.ndarray:
    return 1 / (np.pi * np.hypot(w, 1) ** 2)


# Densities of unit length: even, of w = (u - x) / length.
_DENSITIES = {"gaussian": _gaussian, "logistic": _logistic, "student_t2": _student_t2, "cauchy": _cauchy}


def _integrate(
    f: Callable, density: Callable, length: float, ends: np.ndarray, x: np.ndarray, rtol: float
) -> np.ndarray:
    """The convolution at every x: step by step, the x that have not converged."""
    result, size, change = np.zeros(len(x)), np.zeros(len(x)), np.full(len(x), np.inf)
    open_points = np.arange(len(x))
    step = _FIRST_STEP
    for _ in range(_MOST_HALVINGS):
        if not len(open_points):
            return result
        nodes = np.arange(-_RANGE, _RANGE + step / 2, step)
        group = max(1, _ENTRIES // len(nodes))
        for start in range(0, len(open_points), group):
            now = open_points[start : start + group]
            value, size[now] = _sums(f, density, length, ends, x[now], nodes)
            # A NaN of f stays one.
            change[now] = np.where(np.isnan(value), 0, abs(value - result[now]))
            result[now] = value
        if step < _FIRST_STEP:
            open_points = open_points[change[open_points] > rtol * size[open_points]]
        step /= 2
    if len(open_points):
        share = np.max(change[open_points] / size[open_points])
        warn_convergence(
            f"smooth_function: {len(open_points)} of {len(x)} values did not converge to rtol={rtol:g}, the last step "
            f"changed them by up to {share:.1e}; does f jump where there is no breakpoint?"
        )
    return result


def _sums(
    f: Callable, density: Callable, length: float, ends: np.ndarray, x: np.ndarray, nodes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The sum of all pieces over the nodes, and that of their absolute values."""
    total, size = np.zeros(len(x)), np.zeros(len(x))
    for low, high in zip(ends[:-1], ends[1:], strict=True):
        # Away from x: to the right of max(low, x), and to the left of min(high, x).
        for side, near, far in ((1, np.maximum(low, x), high), (-1, np.minimum(high, x), low)):
            gap, begun, reach = side * (far - near), np.zeros(len(x)), _REACH * length
            inside = gap > 0
            while inside.any():
                # In a finite piece of many lengths the nodes would miss the kernel: it is taken in parts that grow.
                end = gap if np.isinf(far) else np.minimum(gap, begun + reach)
                terms = _terms(
                    f,
                    density,
                    length,
                    side,
                    far,
                    gap[inside],
                    near[inside],
                    begun[inside],
                    end[inside],
                    x[inside],
                    nodes,
                )
                value, absolute = terms.sum(axis=1), abs(terms).sum(axis=1)
                slow = np.isinf(far) & (
                    (abs(terms[:, -1]) > _SLOW * absolute) | np.isinf(terms[:, len(nodes) // 2 :]).any(axis=1)
                )
                if slow.any():
                    raise KexueValueError(
                        f"f: its integral against the kernel diverges towards {far}, or nearly so: f grows too fast"
                    )
                total[inside] += value
                size[inside] += absolute
                begun, reach = end, reach * _REACH
                inside = gap > begun
    return total, size


def _terms(
    f: Callable,
    density: Callable,
    length: float,
    side: int,
    far: float,
    gap: np.ndarray,
    near: np.ndarray,
    begun: np.ndarray,
    end: np.ndarray,
    x: np.ndarray,
    nodes: np.ndarray,
) -> np.ndarray:
    """Weighted values at `begun` + offset from near; offset = exp(pi / 2 sinh t), in a finite part over 1 plus that.

    Distances are kept as such: next to a large x a short kernel's places are all x.
    """
    step = nodes[1] - nodes[0]
    distance = (side * (near - x) + begun)[:, None] / length  # of the near end from the peak
    growth = np.exp(np.pi / 2 * np.sinh(nodes))
    jacobian = step * np.pi / 2 * np.cosh(nodes) * growth
    start = (near + side * begun)[:, None]
    if np.isinf(far):
        # Far out Gaussian tails fall off over 1 / distance, those of powers over the distance itself.
        unit = 1 + distance if density in (_student_t2, _cauchy) else 1 / (1 + distance)
        offset, weight = growth * unit, jacobian * unit
        place = start + side * length * offset
    else:
        width = (end - begun)[:, None]
        offset = width / length * (growth / (1 + growth))
        weight = width / length * (jacobian / (1 + growth) ** 2)
        left = width / (1 + growth)  # to the far end, which must not be rounded away
        stop = np.where(end == gap, far, near + side * end)[:, None]
        place = np.where(growth < 1, start + side * length * offset, stop - side * left)
    with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
        weight = weight * density(distance + offset)
        values = np.broadcast_to(as_real("f(x)", f(place), dtype=np.float64), place.shape)
        # Far out f may overflow, where the kernel is 0.
        return np.where(weight == 0, 0, values * weight)
