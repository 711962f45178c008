"""The picture of gradients through time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

import kexue
from kexue import KexueValueError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SHADE = 0.2


def gradient_norms(
    jacobians: ArrayLike | Mapping[Any, ArrayLike],
    *,
    norm: Literal["spectral", "frobenius"] = "spectral",
    band: float = 0.8,
    ax: Axes | None = None,
) -> Axes:
    """Draw how gradients vanish or explode: the norm of d h_T / d h_t for every step t, by its logarithm.

    Parameters
    ----------
    jacobians : array_like of shape (..., steps, n, n), or mapping of such arrays
        Of each step, as `kexue.rnn_jacobian`, `kexue.lstm_jacobian` and `kexue.gru_jacobian` give them, or
        ``return_jacobians=True``. A line for each entry of a mapping, with its key in the legend: networks, say, which
        may differ in n. Leading dimensions are sequences: the line is their median.
    norm : {"spectral", "frobenius"}
    band : float
        The share of the sequences that is shaded around their median, in [0, 1].
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot.

    Returns
    -------
    Axes
        A line has t at x, from 0 to T - 1, and the natural logarithm at y; where a product is 0, it has a gap.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If there is nothing to draw, `band` is out of range, and as `kexue.jacobian_product_log_norms`. Nothing is drawn
        then.

    See Also
    --------
    kexue.jacobian_product_log_norms

    Examples
    --------
    >>> import kexue.plot
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> x, W, U = rng.normal(size=(20, 2)), rng.normal(size=(2, 4)), 0.3 * rng.normal(size=(4, 4))
    >>> _, jacobians = kexue.simple_rnn(x, W, U, return_jacobians=True)
    >>> ax = kexue.plot.gradient_norms({"tanh": jacobians}, ax=Figure(layout="constrained").subplots())
    >>> bool(ax.lines[0].get_ydata()[0] < -20)  # d h_20 / d h_0
    True
    """
    from kexue.plot import require_matplotlib

    require_matplotlib()
    if not 0 <= band <= 1:
        raise KexueValueError(f"band must be from 0 to 1, got {band!r}")
    named = jacobians.items() if isinstance(jacobians, Mapping) else [(None, jacobians)]
    lines = []
    for label, arrays in named:
        logs = kexue.jacobian_product_log_norms(arrays, norm=norm, direction="backward")
        if logs.size == 0:
            raise KexueValueError(
                f"jacobians must have at least one sequence and one step, but the shape is {np.shape(arrays)}"
            )
        lines.append((label, np.where(np.isneginf(logs), np.nan, logs).reshape(-1, logs.shape[-1])))
    if not lines:
        raise KexueValueError("jacobians is empty")

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    for label, logs in lines:
        steps = np.arange(logs.shape[1])
        # A product that is 0 for one sequence leaves a gap: its median would be of the others.
        low, middle, high = np.quantile(logs, [0.5 - band / 2, 0.5, 0.5 + band / 2], axis=0)
        (line,) = ax.plot(steps, middle, label=None if label is None else str(label))
        if len(logs) > 1 and band > 0:
            ax.fill_between(steps, low, high, color=line.get_color(), alpha=_SHADE, linewidth=0)
    ax.axhline(0, color="gray", linewidth=0.8, zorder=0)
    ax.set_xlabel("step t")
    ax.set_ylabel(r"$\log\,\|\partial h_T / \partial h_t\|$")
    if any(label is not None for label, _ in lines):
        ax.legend()
    return ax
