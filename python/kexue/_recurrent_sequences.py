"""Sequences through recurrent networks, and backpropagation through time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_real
from kexue._errors import KexueValueError
from kexue._recurrent_networks import Activation, Convention, Network, Variant, activation_kind, gru_kind


@same_kind
def simple_rnn(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    activation: Activation = "tanh",
    return_jacobians: bool = False,
    workers: int | None = None,
) -> Any:
    """The states of a simple recurrent network, h_t = tanh(x_t W + h_{t-1} U + b).

    Parameters
    ----------
    x : array_like, shape (..., steps, n_in)
        Sequences. float32 or float16 for all arrays gives float32, else float64.
    W : array_like, shape (n_in, n)
    U : array_like, shape (n, n)
    b : array_like, shape (n,), optional
        0 by default.
    h0 : array_like, shape (..., n), optional
        The state before the first step, broadcast over the sequences; 0 by default.
    activation : {"tanh", "relu"}
    return_jacobians : bool
        Whether to return the Jacobian of each step by the state before it as well: see `rnn_jacobian`.
    workers : int, optional
        Threads, among which sequences are shared out; see `kexue.threads`. The result does not depend on it.

    Returns
    -------
    h : ndarray, shape (..., steps, n)
        The state after each step.
    jacobians : ndarray, shape (..., steps, n, n)
        Only if `return_jacobians`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `activation` is unknown.

    See Also
    --------
    simple_rnn_cell : one step.
    simple_rnn_vjp : the gradients.
    simple_rnn_weights_from_torch

    Notes
    -----
    O(steps n (n_in + n)) a sequence. tanh is good to 4 ulps; sums are in the type of the arrays.

    References
    ----------
    J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020, https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> kexue.simple_rnn([[0.5], [0.0], [0.0]], [[1.0]], [[2.0]]).round(4)
    array([[0.4621],
           [0.7279],
           [0.8968]])
    """
    network = Network(activation_kind(activation), x, W, U, b, h0)
    return network.sequence_result(return_jacobians, workers)


@same_kind
def simple_rnn_vjp(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None,
    h0: ArrayLike | None,
    grad_h: ArrayLike,
    *,
    activation: Activation = "tanh",
    workers: int | None = None,
) -> tuple[np.ndarray, ...]:
    """The gradients of `simple_rnn`, by backpropagation through time, from the gradient by all its states.

    Parameters
    ----------
    x, W, U, b, h0, activation, workers
        As for `simple_rnn`.
    grad_h : array_like, shape (..., steps, n)
        The upstream gradient, broadcast to the states' shape.

    Returns
    -------
    grad_x, grad_W, grad_U, grad_b, grad_h0 : ndarray
        In the shapes of the arguments: by `W`, `U` and `b`, and by an `h0` that sequences share, summed over them.
        Where `b` or `h0` is None, the gradients at 0.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or `activation` is unknown.

    See Also
    --------
    simple_rnn

    Notes
    -----
    Some three times the time of `simple_rnn`, whose states are computed once more. max(0, x) has derivative 0 at 0.

    References
    ----------
    P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78 (1990),
    1550-1560, doi:10.1109/5.58337.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> grads = kexue.simple_rnn_vjp([[0.5], [0.0]], [[1.0]], [[2.0]], None, None, [[0.0], [1.0]])
    >>> grads[2].round(4)  # of h_2 by U
    array([[0.2173]])
    """
    network = Network(activation_kind(activation), x, W, U, b, h0)
    return network.gradients(grad_h, None, workers)


@same_kind
def lstm(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    *,
    return_jacobians: bool = False,
    workers: int | None = None,
) -> tuple[np.ndarray, ...]:
    """The states and cells of a long short-term memory.

    ::

        f, i, o = sigma(x W + h' U + b)       c = f c' + i g
        g       =  tanh(x W + h' U + b)       h = o tanh(c)

    Parameters
    ----------
    x : array_like, shape (..., steps, n_in)
        Sequences. float32 or float16 for all arrays gives float32, else float64.
    W : array_like, shape (n_in, 4 n)
        Blocks of n columns for the gates in the order f, i, g, o: forget, input, candidate, output.
    U : array_like, shape (n, 4 n)
    b : array_like, shape (4 n,), optional
        0 by default.
    h0, c0 : array_like, shape (..., n), optional
        State and cell before the first step, broadcast over the sequences; 0 by default.
    return_jacobians : bool
        Whether to return the Jacobian of each step by the states before it as well: see `lstm_jacobian`.
    workers : int, optional
        Threads, among which sequences are shared out; see `kexue.threads`. The result does not depend on it.

    Returns
    -------
    h, c : ndarray, shape (..., steps, n)
        State and cell after each step. |h| < 1; c is not bounded.
    jacobians : ndarray, shape (..., steps, 2 n, 2 n)
        Only if `return_jacobians`.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm_cell : one step.
    lstm_vjp : the gradients.
    lstm_weights_from_torch : W, U and b of a torch.nn.LSTM, whose gates are in the order i, f, g, o.

    Notes
    -----
    O(steps n (n_in + n)) a sequence. tanh and sigma are good to 4 ulps; sums are in the type of the arrays.

    References
    ----------
    S. Hochreiter, J. Schmidhuber, "Long short-term memory", Neural Computation 9 (1997), 1735-1780,
    doi:10.1162/neco.1997.9.8.1735. F. A. Gers, J. Schmidhuber, F. Cummins, "Learning to forget", Neural Computation 12
    (2000), 2451-2471, doi:10.1162/089976600300015015.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = np.array([[0.3, -0.2, 0.4, 0.1]]), np.array([[0.8, 0.5, -0.6, 0.2]]), np.array([0.1, 0, 0.2, 0])
    >>> h, c = kexue.lstm([[0.5], [-0.5]], W, U, b)
    >>> h.round(4).ravel(), c.round(4).ravel()
    (array([0.0915, 0.0304]), array([0.1805, 0.0619]))
    """
    return Network("lstm", x, W, U, b, h0, c0).sequence_result(return_jacobians, workers)


@same_kind
def lstm_vjp(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None,
    h0: ArrayLike | None,
    c0: ArrayLike | None,
    grad_h: ArrayLike,
    grad_c: ArrayLike | None = None,
    *,
    workers: int | None = None,
) -> tuple[np.ndarray, ...]:
    """The gradients of `lstm`, by backpropagation through time, from the gradients by all its states and cells.

    Parameters
    ----------
    x, W, U, b, h0, c0, workers
        As for `lstm`.
    grad_h : array_like, shape (..., steps, n)
        The upstream gradient, broadcast to the states' shape.
    grad_c : array_like, shape (..., steps, n), optional
        The same by the cells; 0 by default.

    Returns
    -------
    grad_x, grad_W, grad_U, grad_b, grad_h0, grad_c0 : ndarray
        In the shapes of the arguments: by `W`, `U` and `b`, and by an `h0` or `c0` that sequences share, summed over
        them. Where `b`, `h0` or `c0` is None, the gradients at 0.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm

    Notes
    -----
    Some three times the time of `lstm`, whose states are computed once more.

    References
    ----------
    P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78 (1990),
    1550-1560, doi:10.1109/5.58337.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> x, W, U = np.array([[0.5], [-0.5]]), np.array([[0.3, -0.2, 0.4, 0.1]]), np.array([[0.8, 0.5, -0.6, 0.2]])
    >>> grads = kexue.lstm_vjp(x, W, U, None, None, None, [[0.0], [1.0]])
    >>> grads[0].round(4).ravel()  # of h_2 by x_1 and x_2
    array([0.0257, 0.1052])
    """
    return Network("lstm", x, W, U, b, h0, c0).gradients(grad_h, grad_c, workers)


@same_kind
def gru(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None = None,
    h0: ArrayLike | None = None,
    *,
    convention: Convention = "kexue",
    variant: Variant = "standard",
    recurrent_bias: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    return_jacobians: bool = False,
    workers: int | None = None,
) -> Any:
    """The states of a gated recurrent unit.

    ::

        z, r = sigma(x W + h' U + b)
        n    =  tanh(x W + (r h') U + b)            h = (1 - z) h' + z n

    Parameters
    ----------
    x : array_like, shape (..., steps, n_in)
        Sequences. float32 or float16 for all arrays gives float32, else float64.
    W : array_like, shape (n_in, 3 n)
        Blocks of n columns for the gates in the order z, r, n: update, reset, candidate.
    U : array_like, shape (n, 3 n)
    b : array_like, shape (3 n,), optional
        0 by default.
    h0 : array_like, shape (..., n), optional
        The state before the first step, broadcast over the sequences; 0 by default.
    convention : {"kexue", "torch"}
        "torch" resets after U, and swaps the sides of z: n = tanh(x W + b + r (h' U + recurrent_bias)),
        h = (1 - z) n + z h'. The blocks stay in the order z, r, n.
    variant : {"standard", "single_gate", "proposal"}
        "single_gate" has r = z, and blocks z, n. "proposal" resets the output: n = tanh(x W + h' U + b),
        c = (1 - z) c' + z n, h = r c.
    recurrent_bias : array_like, shape (n,), optional
        Of torch's convention; 0 by default.
    c0 : array_like, shape (..., n), optional
        Of the proposal: the cell before the first step; 0 by default.
    return_jacobians : bool
        Whether to return the Jacobian of each step by the state before it as well: see `gru_jacobian`.
    workers : int, optional
        Threads, among which sequences are shared out; see `kexue.threads`. The result does not depend on it.

    Returns
    -------
    h : ndarray, shape (..., steps, n)
        The state after each step. Where |h0| <= 1, |h| <= 1: h is between h' and n.
    c : ndarray, shape (..., steps, n)
        Only of the proposal.
    jacobians : ndarray, shape (..., steps, n, n), or (..., steps, 2 n, 2 n) of the proposal
        Only if `return_jacobians`.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or options do not go together.

    See Also
    --------
    gru_cell : one step.
    gru_vjp : the gradients.
    gru_weights_from_torch : W, U, b and recurrent_bias of a torch.nn.GRU, whose gates are in the order r, z, n.

    Notes
    -----
    O(steps n (n_in + n)) a sequence. tanh and sigma are good to 4 ulps; sums are in the type of the arrays.

    References
    ----------
    K. Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine translation",
    2014, arXiv:1406.1078. J. Su, "On the vanishing and exploding gradients of RNNs", Scientific Spaces, 2020,
    https://kexue.fm/archives/7888.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = np.array([[0.3, -0.2, 0.4]]), np.array([[0.8, 0.5, -0.6]]), np.array([0.1, 0, 0.2])
    >>> kexue.gru([[0.5]], W, U, b, [0.4])
    array([[0.31526649]])
    """
    kind = gru_kind(convention, variant, recurrent_bias, c0, "c0")
    return Network(kind, x, W, U, b, h0, c0, recurrent_bias).sequence_result(return_jacobians, workers)


@same_kind
def gru_vjp(
    x: ArrayLike,
    W: ArrayLike,
    U: ArrayLike,
    b: ArrayLike | None,
    h0: ArrayLike | None,
    grad_h: ArrayLike,
    grad_c: ArrayLike | None = None,
    *,
    convention: Convention = "kexue",
    variant: Variant = "standard",
    recurrent_bias: ArrayLike | None = None,
    c0: ArrayLike | None = None,
    workers: int | None = None,
) -> tuple[np.ndarray, ...]:
    """The gradients of `gru`, by backpropagation through time, from the gradient by all its states.

    Parameters
    ----------
    x, W, U, b, h0, convention, variant, recurrent_bias, c0, workers
        As for `gru`.
    grad_h : array_like, shape (..., steps, n)
        The upstream gradient, broadcast to the states' shape.
    grad_c : array_like, shape (..., steps, n), optional
        The same by the cells of the proposal; 0 by default.

    Returns
    -------
    grad_x, grad_W, grad_U, grad_b, grad_h0 : ndarray
        In the shapes of the arguments: by `W`, `U` and `b`, and by an `h0` that sequences share, summed over them.
        Where `b` or `h0` is None, the gradients at 0.
    grad_recurrent_bias : ndarray, shape (n,)
        Only in torch's convention.
    grad_c0 : ndarray, as grad_h0
        Only of the proposal.

    Raises
    ------
    KexueValueError
        If shapes do not fit, or options do not go together.

    See Also
    --------
    gru

    Notes
    -----
    Some three times the time of `gru`, whose states are computed once more.

    References
    ----------
    P. J. Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78 (1990),
    1550-1560, doi:10.1109/5.58337.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = np.array([[0.3, -0.2, 0.4]]), np.array([[0.8, 0.5, -0.6]]), np.array([0.1, 0, 0.2])
    >>> kexue.gru_vjp([[0.5]], W, U, b, [0.4], [[1.0]])[4]  # of h by h0
    array([0.13217937])
    """
    kind = gru_kind(convention, variant, recurrent_bias, c0, "c0")
    if grad_c is not None and variant != "proposal":
        raise KexueValueError('grad_c must be None unless variant="proposal"')
    return Network(kind, x, W, U, b, h0, c0, recurrent_bias).gradients(grad_h, grad_c, workers)


# ---- torch's weights ----


def _torch_parts(
    gates: int, weights: tuple[Any, ...], order: list[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """The four tensors of a layer with gates in our order, transposed."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    parts: list[Any] = []
    for name, value in zip(names, weights, strict=True):
        if value is None and name.startswith("bias"):
            parts.append(None)
            continue
        array = as_real(name, value, ndim=2 if name.startswith("weight") else 1)
        if len(array) % gates:
            raise KexueValueError(f"{name} must have {gates} blocks of rows, but its shape is {array.shape}")
        blocks = np.split(array, gates)
        parts.append(np.ascontiguousarray(np.concatenate([blocks[k] for k in order]).T))
    W, U, b, c = parts
    size = U.shape[0]
    for name, part in zip(names, parts, strict=True):
        if part is not None and part.shape[-1] != gates * size:
            raise KexueValueError(
                f"{name} must have {gates * size} rows for weight_hh of shape {U.shape[::-1]}, "
                f"got {part.shape[-1]}"
            )
    if (b is None) != (c is None):
        raise KexueValueError("bias_ih and bias_hh must both be given, or none of them")
    return W, U, b, c


@same_kind
def simple_rnn_weights_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """W, U and b of `simple_rnn` out of the tensors of a layer of torch.nn.RNN or of a torch.nn.RNNCell.

    Parameters
    ----------
    weight_ih : array_like, shape (n, n_in)
    weight_hh : array_like, shape (n, n)
    bias_ih, bias_hh : array_like, shape (n,), optional

    Returns
    -------
    W, U, b : ndarray, shapes (n_in, n), (n, n) and (n,)
        b is None if there are no biases.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b = kexue.simple_rnn_weights_from_torch(np.ones((3, 2)), np.ones((3, 3)), np.ones(3), np.ones(3))
    >>> W.shape, U.shape, b
    ((2, 3), (3, 3), array([2., 2., 2.]))
    """
    W, U, b, c = _torch_parts(1, (weight_ih, weight_hh, bias_ih, bias_hh), [0])
    return W, U, None if b is None else b + c


@same_kind
def lstm_weights_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """W, U and b of `lstm` out of the tensors of a layer of torch.nn.LSTM or of a torch.nn.LSTMCell.

    Torch's gates are in the order i, f, g, o; here they are in the order f, i, g, o.

    Parameters
    ----------
    weight_ih : array_like, shape (4 n, n_in)
    weight_hh : array_like, shape (4 n, n)
    bias_ih, bias_hh : array_like, shape (4 n,), optional

    Returns
    -------
    W, U, b : ndarray, shapes (n_in, 4 n), (n, 4 n) and (4 n,)
        b is None if there are no biases.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    lstm

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, _ = kexue.lstm_weights_from_torch(np.arange(4.0)[:, None], np.zeros((4, 1)))
    >>> W
    array([[1., 0., 2., 3.]])
    """
    W, U, b, c = _torch_parts(4, (weight_ih, weight_hh, bias_ih, bias_hh), [1, 0, 2, 3])
    return W, U, None if b is None else b + c


@same_kind
def gru_weights_from_torch(
    weight_ih: ArrayLike, weight_hh: ArrayLike, bias_ih: ArrayLike | None = None, bias_hh: ArrayLike | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """W, U, b and recurrent_bias of `gru` in torch's convention out of the tensors of a torch.nn.GRU or a GRUCell.

    Torch's gates are in the order r, z, n; here they are in the order z, r, n. Its two biases of z and of r are added
    up.

    Parameters
    ----------
    weight_ih : array_like, shape (3 n, n_in)
    weight_hh : array_like, shape (3 n, n)
    bias_ih, bias_hh : array_like, shape (3 n,), optional

    Returns
    -------
    W, U, b, recurrent_bias : ndarray, shapes (n_in, 3 n), (n, 3 n), (3 n,) and (n,)
        The last two are None if there are no biases.

    Raises
    ------
    KexueValueError
        If shapes do not fit.

    See Also
    --------
    gru

    Examples
    --------
    >>> import numpy as np, kexue
    >>> W, U, b, recurrent_bias = kexue.gru_weights_from_torch(
    ...     np.arange(3.0)[:, None], np.zeros((3, 1)), np.zeros(3), np.arange(3.0)
    ... )
    >>> W, b, recurrent_bias
    (array([[1., 0., 2.]]), array([1., 0., 0.]), array([2.]))
    """
    W, U, b, c = _torch_parts(3, (weight_ih, weight_hh, bias_ih, bias_hh), [1, 0, 2])
    if b is None or c is None:
        return W, U, None, None
    size = U.shape[0]
    return W, U, np.concatenate([b[: 2 * size] + c[: 2 * size], b[2 * size :]]), c[2 * size :]
