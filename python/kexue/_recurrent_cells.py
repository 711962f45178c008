"""Single steps of recurrent networks: states, Jacobians, and what bounds them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real, check_broadcast
from kexue._errors import KexueValueError
from kexue._recurrent_networks import (
    CELL_NAMES,
    Activation,
    Convention,
    Network,
    Variant,
    activation_kind,
    cell_result,
    gru_kind,
)

# c sech^2 c is largest where c tanh c = 1/2; both by mpmath.
TANH_JACOBIAN_ARGUMENT = 0.77170231920910422398
TANH_JACOBIAN_BOUND = 0.44774320469430284918


@same_kind
def simple_rnn_cell(
    x: ArrayLike,
    h: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
    workers: int | None = None,
) -> np.ndarray:
    """One step of a simple recurrent network, tanh(x W + h U + b).

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h : array_like, shape (..., n)
        The state before; leading dimensions broadcast with those of `x`.
    W, U, b, activation, workers
        As for `simple_rnn`.

    Returns
    -------
    h : ndarray, shape (..., n)

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `activation` is unknown.

    See Also
    --------
    simple_rnn : sequences.

    Examples
    --------
    >>> import kexue
    >>> kexue.simple_rnn_cell([0.1], [0.3], [[1.0]], [[2.0]])
    array([0.60436778])
    """
    return cell_result(activation_kind(activation), x, W, U, b, h, None, None, workers)


@same_kind
def lstm_cell(
    x: ArrayLike,
    h: ArrayLike,
    c: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    *,
    workers: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One step of a long short-term memory.

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h, c : array_like, shape (..., n)
        State and cell before; leading dimensions broadcast with those of `x`.
    W, U, b, workers
        As for `lstm`: gates in the order f, i, g, o.

    Returns
    -------
    h, c : ndarray, shape (..., n)

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm : sequences.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U = np.array([[0.3, -0.2, 0.4, 0.1]]), np.array([[0.8, 0.5, -0.6, 0.2]])
    >>> kexue.lstm_cell([0.5], [0.2], [0.9], W, U)
    (array([0.26506595]), array([0.55911162]))
    """
    return cell_result("lstm", x, W, U, b, h, c, None, workers)


@same_kind
def gru_cell(
    x: ArrayLike,
    h: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    *,
    convention: Convention = "kexue",
    variant: Variant = "standard",
    recurrent_bias: ArrayLike | None = None,
    c: ArrayLike | None = None,
    workers: int | None = None,
) -> Any:
    """One step of a gated recurrent unit.

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h : array_like, shape (..., n)
        The state before; leading dimensions broadcast with those of `x`.
    W, U, b, convention, variant, recurrent_bias, workers
        As for `gru`: gates in the order z, r, n.
    c : array_like, shape (..., n), optional
        Of the proposal: the cell before; 0 by default.

    Returns
    -------
    h : ndarray, shape (..., n)
    c : ndarray, shape (..., n)
        Only of the proposal.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or options do not go together.

    See Also
    --------
    gru : sequences.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = np.array([[0.3, -0.2, 0.4]]), np.array([[0.8, 0.5, -0.6]]), np.array([0.1, 0, 0.2])
    >>> kexue.gru_cell([0.5], [0.4], W, U, b)
    array([0.31526649])
    """
    kind = gru_kind(convention, variant, recurrent_bias, c, "c")
    return cell_result(kind, x, W, U, b, h, c, recurrent_bias, workers)


def _step(network: Network) -> np.ndarray:
    matrices = network.jacobians(network.run(gates=True, workers=1))
    return matrices[..., 0, :, :]


@same_kind
def rnn_jacobian(
    x: ArrayLike,
    h: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
) -> np.ndarray:
    """The Jacobian of a step of a simple recurrent network by the state before it: diag(1 - h_t^2) U^T.

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h : array_like, shape (..., n)
        The state before; leading dimensions broadcast with those of `x`.
    W, U, b, activation
        As for `simple_rnn`.

    Returns
    -------
    ndarray, shape (..., n, n)
        Row i, column j: unit i after the step by unit j before it.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `activation` is unknown.

    See Also
    --------
    rnn_jacobian_bound
    jacobian_product_log_norms : through many steps.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import kexue
    >>> kexue.rnn_jacobian([0.1], [0.3], [[1.0]], [[2.0]])
    array([[1.26947918]])
    """
    return _step(Network(activation_kind(activation), x, W, U, b, h, names=CELL_NAMES, is_cell=True))


@same_kind
def lstm_jacobian(
    x: ArrayLike, h: ArrayLike, c: ArrayLike, W: ArrayLike, U: ArrayLike, b: ArrayLike | None = None
) -> np.ndarray:
    """The Jacobian of a step of a long short-term memory, of (h, c) by the (h, c) before it.

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h, c : array_like, shape (..., n)
        State and cell before; leading dimensions broadcast with those of `x`.
    W, U, b
        As for `lstm`: gates in the order f, i, g, o.

    Returns
    -------
    ndarray, shape (..., 2 n, 2 n)
        Rows: h and c after the step; columns: h and c before it.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm_path_derivative : of a scalar network, with the output gate held.

    Notes
    -----
    ::

        dc/dc' = D(f)              dc/dh' = D(c' f (1 - f)) U_f + D(g i (1 - i)) U_i + D(i (1 - g^2)) U_g
        dh/dc' = D(k) dc/dc'       dh/dh' = D(o (1 - o) tanh c) U_o + D(k) dc/dh'       k = o (1 - tanh(c)^2)

    with blocks of U transposed, so that they act on columns.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U = np.array([[0.3, -0.2, 0.4, 0.1]]), np.array([[0.8, 0.5, -0.6, 0.2]])
    >>> kexue.lstm_jacobian([0.5], [0.2], [0.9], W, U).round(4)
    array([[-0.0183,  0.2238],
           [-0.1124,  0.5769]])
    """
    return _step(Network("lstm", x, W, U, b, h, c, names=CELL_NAMES, is_cell=True))


@same_kind
def gru_jacobian(
    x: ArrayLike,
    h: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    *,
    convention: Convention = "kexue",
    variant: Variant = "standard",
    recurrent_bias: ArrayLike | None = None,
    c: ArrayLike | None = None,
) -> np.ndarray:
    """The Jacobian of a step of a gated recurrent unit by the state before it.

    Parameters
    ----------
    x : array_like, shape (..., n_in)
    h : array_like, shape (..., n)
        The state before; leading dimensions broadcast with those of `x`.
    W, U, b, convention, variant, recurrent_bias
        As for `gru`: gates in the order z, r, n.
    c : array_like, shape (..., n), optional
        Of the proposal: the cell before; 0 by default.

    Returns
    -------
    ndarray, shape (..., n, n), or (..., 2 n, 2 n) of the proposal
        Row i, column j: unit i after the step by unit j before it; of the proposal h above c, as `lstm_jacobian`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or options do not go together.

    Notes
    -----
    ::

        D(1 - z) + D((n - h') z (1 - z)) U_z + D(z (1 - n^2)) U_n (D(r) + D(h' r (1 - r)) U_r)

    with blocks of U transposed, so that they act on columns.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = np.array([[0.3, -0.2, 0.4]]), np.array([[0.8, 0.5, -0.6]]), np.array([0.1, 0, 0.2])
    >>> kexue.gru_jacobian([0.5], [0.4], W, U, b)
    array([[0.13217937]])
    """
    kind = gru_kind(convention, variant, recurrent_bias, c, "c")
    return _step(Network(kind, x, W, U, b, h, c, recurrent_bias, names=CELL_NAMES, is_cell=True))


@same_kind
def rnn_jacobian_bound(h: ArrayLike) -> np.ndarray | np.generic:
    """The most that |d h_t / d h_{t-1}| of the scalar network h_t = tanh(U h_{t-1}) can be, whatever U is.

    Parameters
    ----------
    h : array_like
        h_{t-1}.

    Returns
    -------
    ndarray or scalar
        `TANH_JACOBIAN_BOUND` / |h|; infinite at 0.

    Raises
    ------
    TypeError
        If `h` does not hold real numbers.

    See Also
    --------
    rnn_jacobian

    Notes
    -----
    With c = U h the derivative is (c sech^2 c) / h, and c sech^2 c is at most 0.4477 (`TANH_JACOBIAN_BOUND`) at
    c = 0.7717 (`TANH_JACOBIAN_ARGUMENT`). It holds without an offset: tanh(U h + b) with b = -U h has derivative U.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import kexue
    >>> kexue.rnn_jacobian_bound([0.5, -1.0])
    array([0.89548641, 0.4477432 ])
    """
    values = np.abs(as_real("h", h))
    with np.errstate(divide="ignore"):
        return (values.dtype.type(TANH_JACOBIAN_BOUND) / values)[()]


@same_kind
def lstm_path_derivative(
    x: ArrayLike, c: ArrayLike, o: ArrayLike, W: ArrayLike, U: ArrayLike, b: ArrayLike | None = None
) -> tuple[np.ndarray | np.generic, np.ndarray]:
    """d c_t / d c_{t-1} of a scalar long short-term memory, o_{t-1} held, and the four paths that it sums.

    Parameters
    ----------
    x : array_like
        The input.
    c, o : array_like
        Cell and output gate before the step, so that h_{t-1} = o tanh(c). Broadcast with `x`.
    W, U, b : array_like, shape (..., 3)
        Of the gates f, i, g; a fourth, of o, plays no part. Leading dimensions broadcast with `x`.

    Returns
    -------
    derivative : ndarray or scalar of float64
    terms : ndarray of float64, shape (..., 4)
        Directly, f, and by way of h_{t-1} through the gates f, i and g.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm_jacobian

    Notes
    -----
    f + f (1 - f) k c U_f + i (1 - i) k g U_i + (1 - g^2) k i U_g with k = o (1 - tanh(c)^2). The first is the constant
    error carousel; the others are products of several numbers below 1.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import kexue
    >>> W, U, b = [0.3, -0.2, 0.4], [0.8, 0.5, -0.6], [0.1, 0.0, 0.2]
    >>> derivative, terms = kexue.lstm_path_derivative(0.5, 0.9, 0.7, W, U, b)
    >>> derivative.round(6), terms.round(6)
    (np.float64(0.607864), array([ 0.657264,  0.055282,  0.004187, -0.108869]))
    """
    x, c, o = (as_real(name, value, dtype=np.float64) for name, value in (("x", x), ("c", c), ("o", o)))
    weights = []
    for name, value in (("W", W), ("U", U), ("b", np.zeros(3) if b is None else b)):
        array = as_real(name, value, dtype=np.float64)
        if array.ndim == 0 or array.shape[-1] not in (3, 4):
            raise KexueValueError(
                f"{name} must have shape (..., 3), of the gates f, i, g, but its shape is {array.shape}"
            )
        weights.append(array[..., :3])
    W, U, b = weights
    leads = {"W": W.shape[:-1], "U": U.shape[:-1], "b": b.shape[:-1]}
    check_broadcast("dimensions besides the gates'", x=x.shape, c=c.shape, o=o.shape, **leads)
    before = np.tanh(c)
    inputs = x[..., None] * W + (o * before)[..., None] * U + b
    f, i = (0.5 + 0.5 * np.tanh(0.5 * inputs[..., k]) for k in (0, 1))  # sigma
    g, k = np.tanh(inputs[..., 2]), o * (1 - before**2)
    parts = (f, f * (1 - f) * k * c * U[..., 0], i * (1 - i) * k * g * U[..., 1], (1 - g**2) * k * i * U[..., 2])
    terms = np.stack(np.broadcast_arrays(*parts), axis=-1)
    return terms.sum(axis=-1)[()], terms
