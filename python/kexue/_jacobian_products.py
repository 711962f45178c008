"""Products of the Jacobians of many steps by their logarithms, and sums through time."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast, check_integer
from kexue._errors import KexueValueError, require_finite

_BLOCK = 64  # steps whose spectral norms are taken together
_MOST_SWEEPS = 60
# Where entries of one matrix may be as far apart as numbers are, it is lifted to the upper end of the range; sums of
# 2^23 products with an orthogonal matrix are still finite.
_TOP = 1000


def _matrices(jacobians: ArrayLike, dtype: DTypeLike | None = np.float64) -> tuple[np.ndarray, tuple[int, ...]]:
    array = as_real("jacobians", jacobians, dtype=dtype)
    if array.ndim < 3 or array.shape[-1] != array.shape[-2] or array.shape[-1] == 0:
        raise KexueValueError(f"jacobians must have shape (..., steps, n, n), but its shape is {array.shape}")
    require_finite("jacobians", array)
    outer = array.shape[:-3]
    return array.reshape(math.prod(outer), *array.shape[-3:]), outer


def _scaled(matrices: np.ndarray, top: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Matrices with the largest entry in [1/2, 1) 2^top, and the powers of two they lack: only underflow rounds."""
    largest = np.abs(matrices).max(axis=(-2, -1))
    exponents = np.frexp(largest)[1] - top
    # By halves: the power of two that lifts the least subnormal number is out of range.
    half = -exponents // 2
    scaled = np.ldexp(matrices, half[..., None, None])
    return np.ldexp(scaled, (-exponents - half)[..., None, None]), exponents


@same_kind
def jacobian_product_log_norms(
    jacobians: ArrayLike,
    *,
    norm: Literal["spectral", "frobenius"] = "spectral",
    direction: Literal["forward", "backward"] = "forward",
    stabilization: Literal["qr", "none"] = "qr",
) -> np.ndarray:
    """Logarithms of the norms of products of Jacobians, through any number of steps.

    Parameters
    ----------
    jacobians : array_like, shape (..., steps, n, n)
        J_1 to J_T: of each step, as `rnn_jacobian`, `lstm_jacobian` and `gru_jacobian` give them.
    norm : {"spectral", "frobenius"}
        The largest singular value, or the root of the sum of the squares of the entries.
    direction : {"forward", "backward"}
        Of J_t ... J_1 for each t, the last state's dependence on the first as the last moves on; or of J_T ... J_t,
        as the gradient goes back through time.
    stabilization : {"qr", "none"}
        Whether the product is carried as an orthogonal matrix, scales and a rest, which keeps what is small beside what
        is large; or as one matrix, which is right as long as what has grown is not cut off later, in half of the
        time.

    Returns
    -------
    ndarray of float64, shape (..., steps)
        Natural logarithms; -inf where a product is 0.

    Raises
    ------
    KexueValueError
        If `jacobians` is of another shape or not finite, or an option is unknown.

    See Also
    --------
    jacobian_product_log_singular_values, lyapunov_exponents : all directions.

    Notes
    -----
    Norms from e^-10^15 to e^10^15 are fine: scales are kept by their logarithms. With QR the product is Q D M, as in
    `jacobian_product_log_singular_values`, the columns of J Q D taken in the order of their norms. Where later steps
    cut off just the units that had grown, the others are still there. The error is some n eps for each step. Without,
    it is so relative to the product of all norms. O(steps n^3).

    References
    ----------
    R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks", 2013, arXiv:1211.5063.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> kexue.jacobian_product_log_norms(np.tile(0.5 * np.eye(2), (4000, 1, 1)))[[0, -1]]
    array([-6.93147181e-01, -2.77258872e+03])
    """
    if norm not in ("spectral", "frobenius"):
        raise KexueValueError(f'norm must be "spectral" or "frobenius", got {norm!r}')
    if direction not in ("forward", "backward"):
        raise KexueValueError(f'direction must be "forward" or "backward", got {direction!r}')
    if stabilization not in ("qr", "none"):
        raise KexueValueError(f'stabilization must be "qr" or "none", got {stabilization!r}')
    matrices, outer = _matrices(jacobians, dtype=None)  # a float32 array of many steps is converted block by block
    if direction == "backward":  # a matrix and its transpose have the same norms
        matrices = matrices[:, ::-1].swapaxes(-1, -2)
    count, steps, n, _ = matrices.shape
    logs = np.empty((count, steps))
    advance = _advance_qr if stabilization == "qr" else _advance
    frame = np.broadcast_to(np.eye(n), (count, n, n))
    heights, rest = np.zeros((count, n)), frame
    for begin in range(0, steps, _BLOCK):
        block, exponents = _scaled(matrices[:, begin : begin + _BLOCK].astype(np.float64, copy=False), _TOP)
        products = np.empty_like(block)
        for t in range(block.shape[1]):
            frame, heights, rest = advance(block[:, t], frame, heights, rest)
            heights = heights + exponents[:, t, None]
            top = heights.max(axis=-1, keepdims=True)
            logs[:, begin + t] = top[:, 0]
            with np.errstate(invalid="ignore"):
                products[:, t] = np.where(top > -np.inf, np.exp2(heights - top), 0)[..., None] * rest
        if norm == "spectral":
            # A root halves the error: the largest singular value, unlike the others, loses nothing by the squares.
            sizes = np.sqrt(np.linalg.eigvalsh(products.swapaxes(-1, -2) @ products)[..., -1])
        else:
            sizes = np.sqrt((products * products).sum(axis=(-2, -1)))
        with np.errstate(divide="ignore"):
            part = logs[:, begin : begin + _BLOCK]
            part *= math.log(2)
            part += np.log(sizes)
    return (logs[:, ::-1] if direction == "backward" else logs).reshape(*outer, steps)


_Product = tuple[np.ndarray, np.ndarray, np.ndarray]


def _advance(matrix: np.ndarray, frame: np.ndarray, heights: np.ndarray, rest: np.ndarray) -> _Product:
    """2^heights rest times a matrix from the left: all rows have one height."""
    product, more = _scaled(matrix @ rest)
    return frame, heights + more[:, None], product


def _advance_qr(matrix: np.ndarray, frame: np.ndarray, heights: np.ndarray, rest: np.ndarray) -> _Product:
    """The matrix times frame diag(2^heights) rest, in the same form."""
    moved = matrix @ frame
    # Each column by itself: squares of those that are 2^-500 of the largest would underflow.
    powers = np.frexp(np.abs(moved).max(axis=-2))[1]
    moved = np.ldexp(moved, -powers[:, None, :])
    heights = heights + powers
    with np.errstate(divide="ignore"):
        sizes = np.log2((moved * moved).sum(axis=-2)) / 2 + heights
    order = np.argsort(-sizes, axis=-1, kind="stable")
    moved = np.take_along_axis(moved, order[:, None, :], axis=-1)
    heights = np.take_along_axis(heights, order, axis=-1)
    rest = np.take_along_axis(rest, order[:, :, None], axis=-2)
    frame, factor = np.linalg.qr(moved)
    with np.errstate(divide="ignore", invalid="ignore"):
        entries = np.log2(np.abs(factor)) + heights[:, None, :]
        tops = entries.max(axis=-1)
        weights = np.where(entries > -np.inf, np.exp2(entries - tops[..., None]), 0)
    rest = np.copysign(weights, factor) @ rest
    more = np.frexp(np.abs(rest).max(axis=-1))[1]
    rest = np.ldexp(rest, -more[..., None])
    return frame, np.where(rest.any(axis=-1), tops + more, -np.inf), rest


def _pivoted_qr(matrix: np.ndarray, logs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Q, R and the order of columns of matrix diag(2^logs), but R without the scales: the largest column goes first."""
    n = len(matrix)
    rest, order, factor = matrix.copy(), np.arange(n), np.zeros((n, n))
    orthonormal = np.zeros((n, n))
    sizes = np.sqrt((rest * rest).sum(axis=0))
    for k in range(n):
        left = np.sqrt((rest[:, k:] ** 2).sum(axis=0))
        # What is left of a column that depends on those before it is rounding.
        left = np.where(left <= 4 * n * np.finfo(float).eps * sizes[order[k:]], 0, left)
        with np.errstate(divide="ignore"):
            heights = np.log2(left) + logs[order[k:]]
        best = k + int(heights.argmax())
        if heights[best - k] == -np.inf:
            break
        if best != k:
            rest[:, [k, best]] = rest[:, [best, k]]
            factor[:k, [k, best]] = factor[:k, [best, k]]
            order[[k, best]] = order[[best, k]]
        column = rest[:, k]
        again = orthonormal[:, :k].T @ column
        column = column - orthonormal[:, :k] @ again
        factor[:k, k] += again
        factor[k, k] = math.sqrt(column @ column)
        orthonormal[:, k] = column / factor[k, k]
        factor[k, k + 1 :] = orthonormal[:, k] @ rest[:, k + 1 :]
        rest[:, k + 1 :] -= np.outer(orthonormal[:, k], factor[k, k + 1 :])
    return orthonormal, factor, order


def _jacobi_logs(columns: np.ndarray, logs: np.ndarray) -> np.ndarray:
    """log2 of the singular values of columns diag(2^logs), by rotations of pairs; no scale is multiplied out."""
    n = columns.shape[1]
    sizes = np.sqrt((columns * columns).sum(axis=0))
    with np.errstate(divide="ignore"):
        logs = logs + np.log2(sizes)
    columns = columns / np.where(sizes > 0, sizes, 1)
    threshold = n * np.finfo(float).eps
    for _ in range(_MOST_SWEEPS):
        worst = 0.0
        for first in range(n - 1):
            for second in range(first + 1, n):
                i, j = (first, second) if logs[first] >= logs[second] else (second, first)
                cosine = float(columns[:, i] @ columns[:, j])
                if logs[j] == -np.inf or abs(cosine) <= threshold:
                    continue
                worst = max(worst, abs(cosine))
                ratio = 2.0 ** (logs[j] - logs[i])
                # tan / ratio of the rotation's angle, which stays finite where the ratio underflows
                half = (1 - ratio * ratio) / (2 * abs(cosine))
                slope = -math.copysign(1, cosine) / (half + math.hypot(ratio, half))
                tangent = slope * ratio
                scale = 1 / math.hypot(1, tangent)
                large = (columns[:, i] - tangent * ratio * columns[:, j]) * scale
                small = (slope * columns[:, i] + columns[:, j]) * scale
                for place, column in ((i, large), (j, small)):
                    size = math.sqrt(column @ column)
                    columns[:, place] = column / size if size > 0 else column
                    logs[place] += math.log2(size) if size > 0 else -np.inf
        if worst <= threshold:
            break
    return logs


@same_kind
def jacobian_product_log_singular_values(jacobians: ArrayLike) -> np.ndarray:
    """Logarithms of all singular values of the product J_T ... J_1, however far they are apart.

    Parameters
    ----------
    jacobians : array_like, shape (..., steps, n, n)
        J_1 to J_T.

    Returns
    -------
    ndarray of float64, shape (..., n)
        Natural logarithms, the largest first; -inf where the product is singular, or a step's matrix is within the
        rounding of its columns. 0 for no steps.

    Raises
    ------
    KexueValueError
        If `jacobians` is of another shape or not finite.

    See Also
    --------
    jacobian_product_log_norms : the largest, after each step.
    lyapunov_exponents : their growth, from the diagonals of QR decompositions alone.

    Notes
    -----
    The product is carried as Q D M, Q orthogonal, D a diagonal that is kept by its logarithms, M with rows of one
    size: a step is a QR decomposition of J Q D with the columns in the order of their norms. Multiplied out, all but
    the largest singular value would drown in its rounding after some tens of steps. The singular values of D M are
    found by one-sided Jacobi rotations, which keep the relative accuracy of graded columns. O(steps n^3), in Python
    loops over n.

    References
    ----------
    J. Demmel, K. Veselić, "Jacobi's method is more accurate than QR", SIAM J. Matrix Anal. Appl. 13 (1992), 1204-1245,
    doi:10.1137/0613074. E. Y. Loh et al., "Stable matrix-multiplication algorithms for low-temperature numerical
    simulations of fermions", in Interacting Electrons in Reduced Dimensions, 1989, doi:10.1007/978-1-4613-0565-1_8.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> kexue.jacobian_product_log_singular_values(np.tile(np.diag([2.0, 0.5]), (3000, 1, 1)))
    array([ 2079.44154168, -2079.44154168])
    """
    matrices, outer = _matrices(jacobians)
    n = matrices.shape[-1]
    results = np.empty((len(matrices), n))
    for item, sequence in enumerate(matrices):
        frame, logs, mixing = np.eye(n), np.zeros(n), np.eye(n)
        shift = 0
        for matrix in sequence:
            scaled, exponent = _scaled(matrix, _TOP)
            shift += int(exponent) + _TOP
            moved = scaled @ frame
            # Each column by itself: squares of those that are 2^-500 of the largest would underflow.
            powers = np.frexp(np.abs(moved).max(axis=0))[1]
            logs = logs + (powers - _TOP)
            frame, factor, order = _pivoted_qr(np.ldexp(moved, -powers), logs)
            diagonal = np.diag(factor)
            is_live = diagonal > 0
            before, after = logs[order], np.full(n, -np.inf)
            after[is_live] = np.log2(diagonal[is_live]) + before[is_live]
            # Row k of R diag(2^before) over 2^after[k]: at most 1, for the pivot is the largest.
            weights = np.eye(n)
            rows = np.flatnonzero(is_live)
            powers = np.exp2(np.minimum(before[None, :] - before[rows, None], 1023))
            weights[rows] = factor[rows] / diagonal[rows, None] * powers
            mixing, logs = weights @ mixing[order], after
        results[item] = np.sort(_jacobi_logs(mixing.T, logs) + shift)[::-1] * math.log(2)
    return results.reshape(*outer, n)


@same_kind
def lyapunov_exponents(jacobians: ArrayLike, *, discard: int = 0) -> np.ndarray:
    """Lyapunov exponents, the mean growth a step of the logarithms of the product's singular values.

    Parameters
    ----------
    jacobians : array_like, shape (..., steps, n, n)
        J_1 to J_T, along one orbit of each network.
    discard : int
        So many steps at the beginning turn the frame, and are not counted.

    Returns
    -------
    ndarray of float64, shape (..., n)
        The largest first; -inf where a direction is lost.

    Raises
    ------
    KexueValueError
        If `jacobians` is of another shape or not finite, or no step is left to be counted.

    See Also
    --------
    jacobian_product_log_singular_values : exact for a finite product.

    Notes
    -----
    The mean of log |diag R_t| with Q_t R_t = J_t Q_{t-1}; the error is O(1 / steps). The sum of all n is the mean of
    log |det J_t|. Positive: states that were close part, and gradients explode. O(steps n^3).

    References
    ----------
    G. Benettin, L. Galgani, A. Giorgilli, J.-M. Strelcyn, "Lyapunov characteristic exponents for smooth dynamical
    systems and for Hamiltonian systems; a method for computing all of them", Meccanica 15 (1980), 9-30,
    doi:10.1007/BF02128236 and doi:10.1007/BF02128237.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> kexue.lyapunov_exponents(np.tile([[1.0, 1.0], [1.0, 0.0]], (2000, 1, 1))).round(3)  # log of the golden ratio
    array([ 0.481, -0.481])
    """
    matrices, outer = _matrices(jacobians)
    count, steps, n, _ = matrices.shape
    discard = check_integer("discard", discard, 0)
    if discard >= steps:
        raise KexueValueError(f"jacobians must have more steps than are discarded ({discard}), but has {steps}")
    frame, sums = np.broadcast_to(np.eye(n), (count, n, n)), np.zeros((count, n))
    for t in range(steps):
        scaled, exponents = _scaled(matrices[:, t], _TOP)
        frame, factor = np.linalg.qr(scaled @ frame)
        if t >= discard:
            sizes, more = np.frexp(np.abs(np.diagonal(factor, axis1=-2, axis2=-1)))
            with np.errstate(divide="ignore"):
                sums += np.log(sizes) + (more + exponents[:, None]) * math.log(2)
    return np.sort(sums / (steps - discard), axis=-1)[:, ::-1].reshape(*outer, n)


@same_kind
def rnn_gradient_recursion(jacobians: ArrayLike, explicit: ArrayLike, start: ArrayLike | None = None) -> np.ndarray:
    """d h_t / d theta of every step, by G_t = J_t G_{t-1} + E_t: forward accumulation through time.

    Parameters
    ----------
    jacobians : array_like, shape (..., steps, n, n)
        J_t, of each step's state by the state before it.
    explicit : array_like, shape (..., steps, n, p)
        E_t, of each step's state by the p parameters, with the state before it held.
    start : array_like, shape (..., n, p), optional
        G_0; 0 by default.

    Returns
    -------
    ndarray, shape (..., steps, n, p)
        G_1 to G_T. float32 if all arrays are, else float64.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    simple_rnn_vjp, lstm_vjp, gru_vjp : backward accumulation, where there are many parameters and one loss.

    Notes
    -----
    O(steps n^2 p). The term E_s comes to G_t by way of J_t ... J_{s+1}: see `jacobian_product_log_norms`.

    References
    ----------
    R. J. Williams, D. Zipser, "A learning algorithm for continually running fully recurrent neural networks", Neural
    Computation 1 (1989), 270-280, doi:10.1162/neco.1989.1.2.270.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> h, jacobians = kexue.simple_rnn([[0.5], [0.0]], [[1.0]], [[2.0]], return_jacobians=True)
    >>> by_U = (1 - h**2) * np.concatenate([[[0.0]], h[:-1]])  # of tanh(x + U h') by U, h' held
    >>> kexue.rnn_gradient_recursion(jacobians, by_U[:, :, None]).ravel().round(4)
    array([0.    , 0.2173])
    """
    matrices, terms = as_real("jacobians", jacobians), as_real("explicit", explicit)
    if matrices.ndim < 3 or matrices.shape[-1] != matrices.shape[-2]:
        raise KexueValueError(f"jacobians must have shape (..., steps, n, n), but its shape is {matrices.shape}")
    steps, n = matrices.shape[-3:-1]
    if terms.ndim < 3 or terms.shape[-3:-1] != (steps, n):
        raise KexueValueError(f"explicit must have shape (..., {steps}, {n}, p), but its shape is {terms.shape}")
    leads, arrays = {"jacobians": matrices.shape[:-3], "explicit": terms.shape[:-3]}, [matrices, terms]
    sums = None
    if start is not None:
        sums = as_real("start", start)
        if sums.ndim < 2 or sums.shape[-2:] != (n, terms.shape[-1]):
            raise KexueValueError(f"start must have shape (..., {n}, {terms.shape[-1]}), but its shape is {sums.shape}")
        leads["start"] = sums.shape[:-2]
        arrays.append(sums)
    outer = check_broadcast("leading dimensions", **leads)
    out = np.empty((*outer, *terms.shape[-3:]), dtype=np.result_type(*arrays))
    for t in range(steps):
        sums = terms[..., t, :, :] if sums is None else matrices[..., t, :, :] @ sums + terms[..., t, :, :]
        out[..., t, :, :] = sums
    return out
