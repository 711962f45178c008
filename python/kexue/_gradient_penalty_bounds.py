"""How penalties of gradients by inputs bound those by parameters: both sides of the inequality, for each sample."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_real, result_dtype
from kexue._errors import KexueValueError, require_finite
from kexue._ufuncs import (
    gelu,
    gelu_grad,
    gelu_tanh,
    gelu_tanh_grad,
    softplus,
    softplus_grad,
    squareplus,
    squareplus_grad,
    swish,
    swish_grad,
)

__all__ = ["GradientPenalties", "LayerPenalties", "mlp_gradient_penalties"]

Function = Callable[[np.ndarray], ArrayLike]
Activation = str | tuple[Function, Function]

# Entries of the Jacobians of a block of samples: 4 MB, which stay in the cache.
_BLOCK = 1 << 19


def _sigmoid_grad(z: np.ndarray) -> np.ndarray:
    return softplus_grad(z) * softplus_grad(-z)


_ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "gelu": (gelu, gelu_grad),
    "gelu_tanh": (gelu_tanh, gelu_tanh_grad),
    "identity": (lambda z: z, np.ones_like),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1.0, 0.01)),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(np.float64)),
    "sigmoid": (softplus_grad, _sigmoid_grad),
    "softplus": (softplus, softplus_grad),
    "squareplus": (lambda z: squareplus(z, 1), lambda z: squareplus_grad(z, 1)),
    "swish": (swish, swish_grad),
    # 1 - tanh(z)^2 would lose its digits where it is small.
    "tanh": (np.tanh, lambda z: 4 * _sigmoid_grad(2 * z)),
}


@dataclass(frozen=True)
class LayerPenalties:
    """Both sides of the inequality for each layer, for its weights and its biases by themselves.

    Attributes
    ----------
    weight_lhs, weight_lhs_tight, weight_rhs : ndarray, shape (..., layers)
        Lower bounds and value of the squared norm of the gradient by a layer's weights.
    bias_lhs, bias_lhs_tight, bias_rhs : ndarray, shape (..., layers)
        The same for its biases; 0 where it has none.

    Examples
    --------
    >>> import kexue
    >>> found = kexue.mlp_gradient_penalties([[[2.0]], [[3.0]]], None, "identity", [1.5], [1.0])
    >>> found.per_layer.weight_lhs, found.per_layer.weight_rhs
    (array([20.25,  9.  ]), array([20.25,  9.  ]))
    """

    weight_lhs: np.ndarray
    weight_lhs_tight: np.ndarray
    weight_rhs: np.ndarray
    bias_lhs: np.ndarray
    bias_lhs_tight: np.ndarray
    bias_rhs: np.ndarray


@dataclass(frozen=True)
class GradientPenalties:
    """Both sides of the inequality between gradient penalties: lhs <= lhs_tight <= rhs, for each sample.

    Attributes
    ----------
    lhs : ndarray or scalar, shape (...)
        The squared norm of the gradient by the input, times the sum over layers of
        (1 + norm(h)^2) / (norm(W) norm(J))^2.
    lhs_tight : ndarray or scalar, shape (...)
        The same with norm(W J) in the place of norm(W) norm(J).
    rhs : ndarray or scalar, shape (...)
        The squared norm of the gradient by all parameters, also known as `gtheta_sq`.
    gx_sq : ndarray or scalar, shape (...)
        The squared norm of the gradient by the input.
    per_layer : LayerPenalties
        The summands.

    Examples
    --------
    >>> import kexue
    >>> found = kexue.mlp_gradient_penalties([[[1.0, 0.0], [0.0, 2.0]]], [[0.0, 0.0]], "identity", [1, 1], [1, 1])
    >>> [round(float(value), 12) for value in (found.gx_sq, found.lhs, found.gtheta_sq)]
    [5.0, 3.75, 6.0]
    """

    lhs: Any
    rhs: Any
    lhs_tight: Any
    per_layer: LayerPenalties
    gx_sq: Any

    @property
    def gtheta_sq(self) -> Any:
        """The squared norm of the gradient by all parameters: `rhs`."""
        return self.rhs


@same_kind
def mlp_gradient_penalties(
    weights: Sequence[ArrayLike],
    biases: Sequence[ArrayLike | None] | None,
    activation: Activation | Sequence[Activation],
    x: ArrayLike,
    f_grad: ArrayLike | Function,
    *,
    norm: Literal["spectral", "frobenius"] = "spectral",
) -> GradientPenalties:
    """How a penalty of the gradient by the input bounds that of the gradient by the parameters, in a perceptron.

    A function f of the output of h_{t+1} = g_t(W_t h_t + b_t), t = 1 ... l, h_1 = x, has

        norm(df/dx)^2 sum_t (1 + norm(h_t)^2) / (norm(W_t) norm(J_t))^2 <= norm(df/dtheta)^2,   J_t = dh_t/dx,

    so whatever keeps the gradient by the parameters small, as gradient descent itself does a little, also makes f
    smooth in x. The inequality holds for each layer, and there for weights and biases by themselves.

    Parameters
    ----------
    weights : sequence of array_like, each of shape (out, in)
        W_t, as in W h.
    biases : sequence of array_like of shape (out,), or None
        b_t. None, for all or for a layer, is a layer without biases: their gradient does not count.
    activation : str or (g, g'), or a sequence of such, one for each layer
        "elu", "gelu", "gelu_tanh", "identity", "leaky_relu" (slope 0.01), "relu" (derivative 0 at 0), "sigmoid",
        "softplus", "squareplus" (b = 1), "swish" or "tanh"; or a function and its derivative, elementwise on arrays of
        float64 with shape (samples, out). One for all layers, the last included.
    x : array_like, shape (..., d)
        A sample, or a batch.
    f_grad : array_like, shape (..., out), or callable
        The gradient of f by the output. One vector serves all samples of a batch; a function takes the outputs, float64
        of shape (..., out), and returns the gradients, which must not depend on other samples.
    norm : {"spectral", "frobenius"}
        Norm of W, J and W J. The Frobenius norm is cheaper, and the bounds are weaker with it.

    Returns
    -------
    GradientPenalties
        With `lhs`, `lhs_tight`, `rhs` (or `gtheta_sq`), `gx_sq`, each of shape (...), and `per_layer`. Where W_t or
        J_t is 0, as behind dead units, the gradient by the input is 0, and so is the layer's left side.

    Raises
    ------
    KexueValueError
        If shapes do not fit, an argument or an output is not finite, or a name is unknown.
    OverflowError
        If a gradient, a Jacobian or the square of a norm overflows.

    Notes
    -----
    All are values of one sample. The gradient of a mean loss over a batch is no mean of norms: apply the inequality to
    each sample, then take means.

    Computed in float64. For n samples, O(n k sum_t out_t in_t) for the Jacobians, k = min(d, out_1), and O(n k^3) for
    each layer's spectral norms; memory for Jacobians is bounded. Rounding may break an inequality by some eps, times
    norm(W_t) norm(J_t) / norm(W_t J_t) where weights of two layers nearly cancel.

    References
    ----------
    B. Dherin et al., "The Geometric Occam's Razor Implicit in Deep Learning", arXiv:2111.15090.
    J. Su, https://kexue.fm/archives/8796.

    Examples
    --------
    >>> import kexue
    >>> weights, biases = [[[1.0, -0.5], [0.25, 1.0]], [[1.0, 2.0]]], [[0.1, 0.2], [0.0]]
    >>> found = kexue.mlp_gradient_penalties(weights, biases, ["tanh", "identity"], [0.3, -0.4], [1.0])
    >>> [round(float(side), 4) for side in (found.lhs, found.lhs_tight, found.rhs)]
    [4.5227, 4.8626, 6.7834]
    """
    if not isinstance(norm, str) or norm not in ("spectral", "frobenius"):
        raise KexueValueError(f'norm must be "spectral" or "frobenius", got {norm!r}')
    samples = as_array("x", x)
    weights, biases = _listed("weights", weights), None if biases is None else _listed("biases", biases)
    dtype = result_dtype(samples, *weights, *(biases or []), None if callable(f_grad) else f_grad)
    samples = as_real("x", samples, dtype=np.float64)
    if samples.ndim == 0 or samples.shape[-1] == 0:
        raise KexueValueError(f"x must have shape (d,) or (..., d), but its shape is {samples.shape}")
    require_finite("x", samples)
    matrices, vectors = _parameters(weights, biases, samples.shape[-1])
    functions = _functions(activation, len(matrices))

    batch = samples.shape[:-1]
    states, slopes = _forward(samples.reshape(math.prod(batch), samples.shape[-1]), matrices, vectors, functions)
    outputs = states[-1].reshape(*batch, states[-1].shape[1])
    upstream = _output_gradient(f_grad, outputs).reshape(states[-1].shape)
    with np.errstate(over="ignore", invalid="ignore"):
        delta_sq, gx = _backward(upstream, matrices, slopes)
        weight_norms = np.array([_norms(W[:, None, :], norm)[0] for W in matrices])
        jacobian_norms, product_norms = _jacobian_norms(matrices, slopes, weight_norms, norm)
        factor, tight = _ratios(gx, weight_norms, jacobian_norms, product_norms)
        state_sq = np.stack([np.einsum("ij,ij->i", h, h) for h in states[:-1]], axis=1)
        has_bias = np.array([b is not None for b in vectors], dtype=np.float64)
        parts = {}
        for side, values in (("lhs", factor), ("lhs_tight", tight), ("rhs", delta_sq)):
            parts[f"weight_{side}"], parts[f"bias_{side}"] = values * state_sq, values * has_bias
        totals = {
            side: (parts[f"weight_{side}"] + parts[f"bias_{side}"]).sum(axis=1) for side in ("lhs", "lhs_tight", "rhs")
        }
        totals["gx_sq"] = gx * gx

    def shaped(values: np.ndarray) -> Any:
        with np.errstate(over="ignore"):
            result = values.reshape(batch + values.shape[1:]).astype(dtype, copy=False)[()]
        if not np.isfinite(result).all():
            raise OverflowError(f"the square of a norm overflows in {dtype}: weights or f_grad are too large")
        return result

    per_layer = LayerPenalties(**{side: shaped(values) for side, values in parts.items()})
    return GradientPenalties(**{side: shaped(values) for side, values in totals.items()}, per_layer=per_layer)


# ---- the two passes ----


def _forward(
    x: np.ndarray,
    matrices: list[np.ndarray],
    vectors: list[np.ndarray | None],
    functions: list[tuple[Function, Function]],
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """All h_t, and g'_t at their arguments."""
    states, slopes = [x], []
    for t, (W, b, (g, g_grad)) in enumerate(zip(matrices, vectors, functions, strict=True)):
        with np.errstate(over="ignore", invalid="ignore"):
            z = states[-1] @ W.T if b is None else states[-1] @ W.T + b
        require_finite(f"the argument of layer {t}'s activation", z)
        # A copy: a function may work in place.
        states.append(_elementwise(f"the output of layer {t}", g(z.copy()), z.shape))
        slopes.append(_elementwise(f"the slope of layer {t}", g_grad(z), z.shape))
    return states, slopes


def _backward(
    upstream: np.ndarray, matrices: list[np.ndarray], slopes: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The squared norms of all delta_t, (n, layers), and the norm of the gradient by the input."""
    delta_sq = np.empty((len(upstream), len(matrices)))
    for t in range(len(matrices) - 1, -1, -1):
        delta = slopes[t] * upstream
        delta_sq[:, t] = np.einsum("ij,ij->i", delta, delta)
        upstream = delta @ matrices[t]
    return delta_sq, _norms(upstream[None], "frobenius")


# ---- arguments ----


def _listed(name: str, value: Any) -> list[Any]:
    try:
        return list(value)
    except TypeError:
        raise TypeError(
            f"{name} must be a sequence of arrays, one for each layer, not {type(value).__name__}"
        ) from None


def _parameters(
    weights: list[Any], biases: list[Any] | None, d: int
) -> tuple[list[np.ndarray], list[np.ndarray | None]]:
    matrices: list[np.ndarray] = []
    for t, value in enumerate(weights):
        W = as_real(f"weights[{t}]", value, ndim=2, dtype=np.float64)
        wanted, whose = (
            (matrices[-1].shape[0], f"weights[{t - 1}] has as many rows") if matrices else (d, "x has as many columns")
        )
        if W.shape[1] != wanted or W.shape[0] == 0:
            raise KexueValueError(f"weights[{t}] has shape {W.shape}, but must have shape (out, {wanted}): {whose}")
        require_finite(f"weights[{t}]", W)
        matrices.append(W)
    if not matrices:
        raise KexueValueError("weights is empty: there must be a layer")
    given = [None] * len(matrices) if biases is None else biases
    if len(given) != len(matrices):
        raise KexueValueError(f"biases must have an entry for each layer, {len(matrices)}, but it has {len(given)}")
    vectors: list[np.ndarray | None] = []
    for t, value in enumerate(given):
        if value is None:
            vectors.append(None)
            continue
        b = as_real(f"biases[{t}]", value, ndim=1, dtype=np.float64)
        if b.shape != matrices[t].shape[:1]:
            raise KexueValueError(f"biases[{t}] has shape {b.shape}, but weights[{t}] has shape {matrices[t].shape}")
        require_finite(f"biases[{t}]", b)
        vectors.append(b)
    return matrices, vectors


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(map(callable, value))


def _functions(activation: Any, layers: int) -> list[tuple[Function, Function]]:
    if isinstance(activation, str) or _is_pair(activation):
        named = [("activation", activation)] * layers
    elif isinstance(activation, (tuple, list)):
        named = [(f"activation[{t}]", entry) for t, entry in enumerate(activation)]
        if len(named) != layers:
            raise KexueValueError(f"activation must have an entry for each layer, {layers}, but it has {len(named)}")
    else:
        raise TypeError(
            f"activation must be a name, a pair of functions or a list of these, not {type(activation).__name__}"
        )
    functions = []
    for name, entry in named:
        if isinstance(entry, str):
            if entry not in _ACTIVATIONS:
                known = ", ".join(f'"{known}"' for known in _ACTIVATIONS)
                raise KexueValueError(f"{name} must be one of {known}, or a pair of functions, got {entry!r}")
            functions.append(_ACTIVATIONS[entry])
        elif _is_pair(entry):
            functions.append((entry[0], entry[1]))
        else:
            raise TypeError(f"{name} must be a name or a pair of functions (g, g'), not {type(entry).__name__}")
    return functions


def _elementwise(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = as_real(name, value, dtype=np.float64)
    if array.shape != shape:
        raise KexueValueError(f"{name}, by activation, has shape {array.shape}, but must have {shape}")
    require_finite(name, array)
    return array


def _output_gradient(f_grad: Any, outputs: np.ndarray) -> np.ndarray:
    if callable(f_grad):
        name, gradient = "f_grad(output)", as_real("f_grad(output)", f_grad(outputs), dtype=np.float64)
        fits = gradient.shape == outputs.shape
    else:
        name, gradient = "f_grad", as_real("f_grad", f_grad, dtype=np.float64)
        fits = gradient.shape in (outputs.shape, outputs.shape[-1:])
    if not fits:
        raise KexueValueError(f"{name} has shape {gradient.shape}, but the output has shape {outputs.shape}")
    require_finite(name, gradient)
    return np.broadcast_to(gradient, outputs.shape)


# ---- norms ----


def _norms(A: np.ndarray, norm: str) -> np.ndarray:
    """The norm of each of n matrices, A of shape (rows, n, columns), without overflow or underflow of squares."""
    scale = np.abs(A).max(axis=(0, 2), initial=0.0)
    if not np.isfinite(scale).all():
        raise OverflowError("a gradient or a Jacobian overflows: weights or f_grad are too large")
    scaled = A / np.where(scale > 0, scale, 1)[:, None]
    if norm == "frobenius" or min(A.shape[0], A.shape[2]) == 1:
        return scale * np.sqrt(np.einsum("inj,inj->n", scaled, scaled))
    # The greatest eigenvalue of the product keeps its digits, and takes a fraction of the time of singular values.
    wide = scaled.transpose(1, 0, 2) if A.shape[0] <= A.shape[2] else scaled.transpose(1, 2, 0)
    gram = wide @ wide.swapaxes(1, 2)
    if gram.shape[1] == 2:
        a, b, c = gram[:, 0, 0], gram[:, 0, 1], gram[:, 1, 1]
        return scale * np.sqrt((a + c) / 2 + np.hypot((a - c) / 2, b))
    return scale * np.sqrt(np.linalg.eigvalsh(gram)[:, -1])


def _blocks(count: int, entries: int) -> Iterator[slice]:
    size = max(1, _BLOCK // entries)
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def _jacobian_norms(
    matrices: list[np.ndarray], slopes: list[np.ndarray], weight_norms: np.ndarray, norm: str
) -> tuple[np.ndarray, np.ndarray]:
    """norm(J_t) and norm(W_t J_t) of each sample and layer, both (count, layers)."""
    first, (count, d) = matrices[0], (len(slopes[0]), matrices[0].shape[1])
    if d > first.shape[0]:
        # W_1 = L Q with orthonormal rows of Q, which change no norm: what follows is as narrow as the first layer.
        first = np.ascontiguousarray(np.asarray(np.linalg.qr(first.T, mode="r")).T)
    jacobians = np.empty((count, len(matrices)))
    products = np.empty((count, len(matrices)))
    jacobians[:, 0] = 1.0 if norm == "spectral" else np.sqrt(d)
    products[:, 0] = weight_norms[0]
    widest = max(W.shape[0] for W in matrices)
    for block in _blocks(count, widest * first.shape[1]) if len(matrices) > 1 else ():
        product = first[:, None, :]  # of one matrix for all samples
        for t, W in enumerate(matrices[1:], start=1):
            jacobian = slopes[t - 1][block].T[:, :, None] * product
            jacobians[block, t] = _norms(jacobian, norm)
            product = (W @ jacobian.reshape(len(jacobian), -1)).reshape(len(W), *jacobian.shape[1:])
            products[block, t] = _norms(product, norm)
            is_noise = _is_rounding(W, jacobian, products[block, t], weight_norms[t] * jacobians[block, t])
            products[block, t][is_noise] = 0.0
    return jacobians, products


def _is_rounding(W: np.ndarray, jacobian: np.ndarray, product_norms: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """Where W J is 0 but for its rounding, as where weights of two layers cancel."""
    noise = 2 * max(W.shape) * np.finfo(np.float64).eps
    result = product_norms <= noise * bound
    if result.any():
        # Entries may be small because those of W are 0 where those of J are great, and right nevertheless.
        suspects = np.abs(jacobian[:, result])
        sizes = (np.abs(W) @ suspects.reshape(len(suspects), -1)).reshape(len(W), *suspects.shape[1:])
        result[result] = product_norms[result] <= noise * _norms(sizes, "frobenius")
    return result


def _ratios(
    gx: np.ndarray, weight_norms: np.ndarray, jacobian_norms: np.ndarray, product_norms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """gx^2 over the squares of norm(W) norm(J), and of norm(W J); 0 where one of a sample's products is 0."""
    alive = (product_norms > 0).all(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        factor = np.where(alive, gx[:, None] / weight_norms / jacobian_norms, 0.0)
        tight = np.where(alive, gx[:, None] / product_norms, 0.0)
    return factor * factor, tight * tight
