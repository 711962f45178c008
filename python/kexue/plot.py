"""Pictures of results; matplotlib is loaded when a function is called."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

import kexue
from kexue import KexueValueError
from kexue._plot_attention import kernel_error
from kexue._plot_recurrent import gradient_norms

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

__all__ = ["cka", "discriminator_weights", "distortion", "gradient_norms", "kernel_error", "transport"]

_BAR_WIDTH = 0.03  # of the distance between the outer edges of the two columns of bars
_LINE_HEIGHT = 1.3  # of the font size
_LARGEST_SHARE_OF_LABELS = 0.75  # of the height; beyond, the font shrinks, so that weights stay comparable
_GAP = 0.25  # between words, of the height of a line
_LONGEST_LABEL = 30
_MOST_VALUES = 12  # rows or columns of a matrix whose values are written into it
_ENTRIES_AT_ONCE = 1 << 22  # of the differences of rows
_KINDS = ("gaussian", "rademacher", "srht", "osnap", "countsketch", "sparse")
_SWEEPS = 12  # the order of 60 words seldom gets better after four
# Families with Chinese, Japanese or Korean characters, as they are called on the common systems.
_EAST_ASIAN_FONTS = (
    "Noto Sans CJK SC",
    "Noto Sans CJK JP",
    "Noto Sans SC",
    "Source Han Sans SC",
    "Source Han Sans CN",
    "WenQuanYi Micro Hei",
    "WenQuanYi Zen Hei",
    "Droid Sans Fallback",
    "PingFang SC",
    "Hiragino Sans GB",
    "Heiti TC",
    "Microsoft YaHei",
    "SimHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Arial Unicode MS",
)


def transport(
    plan: ArrayLike,
    source_labels: Sequence[Any] | None = None,
    target_labels: Sequence[Any] | None = None,
    *,
    cost: ArrayLike | None = None,
    cost_label: str | None = "cost",
    threshold: float = 1e-3,
    sort: bool = True,
    cmap: str | Colormap = "plasma_r",
    ax: Axes | None = None,
) -> Axes:
    """Draw a transport plan: which word moved to which, and how much of it.

    Sources are bars on the left, targets bars on the right, as high as their weights. Each move is a band between
    them, as wide as the mass that moves; of two bands that overlap, the one with less mass is in front.

    Parameters
    ----------
    plan : array_like or sparse matrix, shape (m, n)
        Mass that moves from source i to target j; finite, non-negative, with any total above 0. Rows and columns
        without mass are left out.
    source_labels, target_labels : sequence of length m and n, optional
        What to write beside the bars, by default the numbers of rows and columns. Texts are shown literally
        (``$`` has no meaning), and cut after 30 characters.
    cost : array_like, shape (m, n), optional
        Cost of a unit of mass, which colours the bands. It must be finite where there is mass. Without it every
        band has a colour of its source.
    cost_label : str or None
        Text at the colour bar; None leaves the colour bar out.
    threshold : float
        Moves of less than this share of the total mass are not drawn, and a line below says how much that is in
        all. From 0 to below 1.
    sort : bool
        Order the words so that few bands cross; False keeps the order of rows and columns.
    cmap : str or Colormap
        Colours of `cost`, from the lesser of 0 and the lowest cost to the highest.
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot with room for all words.

    Returns
    -------
    Axes
        The unit of its y axis is the total mass. The bands are a `PathCollection`, the bars two containers.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If `plan` is not two-dimensional, has a negative, infinite or NaN entry or no mass; if the number of labels or
        the shape of `cost` is not that of `plan`; if `cost` is NaN, or infinite where there is mass; if `threshold` is
        out of range. Nothing is drawn then.
    TypeError
        If `plan` or `cost` does not hold real numbers, or the labels are one string.

    See Also
    --------
    kexue.emd, kexue.solve : plans.

    Notes
    -----
    Labels stand outside of the axes; ``layout="constrained"`` makes room for them in a figure of your own. Words are
    ordered by the barycentre heuristic (K. Sugiyama, S. Tagawa and M. Toda, doi:10.1109/TSMC.1981.4308636) in a few
    sweeps, of which the one with the least mass times mass in crossings is kept: O(m n) time and memory.
    Chinese, Japanese and Korean labels use the first installed font of a list of common ones where matplotlib's
    default lacks them.

    Examples
    --------
    >>> import kexue
    >>> import kexue.plot
    >>> from matplotlib.figure import Figure
    >>> cost = [[0.0, 3.0], [3.0, 1.0]]
    >>> plan = kexue.emd([0.5, 0.5], [0.25, 0.75], cost)
    >>> ax = Figure(layout="constrained").subplots()
    >>> ax = kexue.plot.transport(plan, ["cat", "car"], ["cat", "truck"], cost=cost, ax=ax)
    >>> [text.get_text() for text in ax.texts]
    ['cat', 'car', 'cat', 'truck']
    >>> len(ax.collections[0].get_paths())
    3
    """
    require_matplotlib()
    from matplotlib import colormaps
    from matplotlib.collections import PathCollection
    from matplotlib.colors import Normalize

    rows, columns, masses, shape = _moves(plan)
    labels = [
        _labels("source_labels", source_labels, shape[0], "rows"),
        _labels("target_labels", target_labels, shape[1], "columns"),
    ]
    costs = None if cost is None else _costs(cost, rows, columns, shape)
    if not isinstance(threshold, Real):
        raise TypeError(f"threshold must be a number, not {type(threshold).__name__}")
    if not 0 <= threshold < 1:
        raise KexueValueError(f"threshold must be at least 0 and below 1, got {threshold}")
    colormap = colormaps.get_cmap(cmap)  # here, so that no figure is made when there is none of that name

    # First by the largest: the sum of very large masses would overflow.
    shares = masses / masses.max()
    shares /= shares.sum()
    ends = []
    for side, places in enumerate((rows, columns)):
        used, places = np.unique(places, return_inverse=True)
        labels[side] = [labels[side][index] for index in used]
        ends.append(places)
    weights = [np.bincount(places, shares) for places in ends]
    shown = shares >= threshold
    hidden = shares[~shown].sum()
    shares, ends = shares[shown], [places[shown] for places in ends]

    orders = [np.arange(len(one)) for one in weights]
    if sort:
        drawn = np.zeros([len(order) for order in orders])
        drawn[ends[0], ends[1]] = shares
        orders = _few_crossings(drawn)
    ranks = [np.argsort(order) for order in orders]

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(figsize=figure_size(*labels), layout="constrained")
    font_size, line, height = _vertical_scale(ax, weights, colorbar=costs is not None and cost_label is not None)
    tops = [_tops(one, order, line, height) for one, order in zip(weights, orders, strict=True)]

    # Within a bar, bands leave in the order in which they arrive.
    first = _stack(ends[0], ranks[1][ends[1]], shares, tops[0])
    second = _stack(ends[1], ranks[0][ends[0]], shares, tops[1])
    front = np.argsort(-shares, kind="stable")
    bands = PathCollection(
        [_band(first[k], second[k], shares[k]) for k in front], alpha=0.7, linewidths=0.3, edgecolors="face"
    )
    colors = _cycle(ranks[0])
    if costs is None:
        bands.set_facecolor([colors[i] for i in ends[0][front]])
    else:
        costs = costs[shown]
        lowest, highest = (costs.min(), costs.max()) if len(costs) else (0.0, 0.0)
        lowest = min(lowest, 0.0)
        bands.set_array(costs[front])
        bands.set_cmap(colormap)
        bands.set_norm(Normalize(lowest, highest if highest > lowest else lowest + 1.0))
    ax.add_collection(bands, autolim=False)

    family = _font_family(labels)
    for side, (left, label_x, align) in enumerate(((0.0, -0.015, "right"), (1.0 - _BAR_WIDTH, 1.015, "left"))):
        filled = colors if costs is None and side == 0 else "0.35"
        ax.bar(left, weights[side], _BAR_WIDTH, bottom=tops[side], align="edge", color=filled, linewidth=0)
        for label, weight, top in zip(labels[side], weights[side], tops[side], strict=True):
            ax.text(
                label_x, top + weight / 2, label, ha=align, va="center_baseline", fontsize=font_size,
                fontfamily=family, parse_math=False, usetex=False,
            )  # fmt: skip
    if hidden >= 5e-4:
        ax.text(
            0.5, -0.01, f"not shown: small moves of {hidden:.1%} of the mass", ha="center", va="top",
            fontsize="small", fontstyle="italic", transform=ax.transAxes, parse_math=False, usetex=False,
        )  # fmt: skip
    ax.set_xlim(0.0, 1.0)
    ax.set_ylim(height, 0.0)
    ax.set_axis_off()
    if costs is not None and cost_label is not None:
        # Below, where it cannot meet the labels whatever the layout, and not larger in a large figure.
        inches = max(_inches(ax), 1.0)
        ax.figure.colorbar(
            bands, ax=ax, location="bottom", label=cost_label, aspect=40, shrink=0.6,
            pad=min(0.15, 0.4 / inches), fraction=min(0.15, 0.4 / inches),
        )  # fmt: skip
    return ax


def cka(
    matrix_or_layers: Any,
    layers_b: Any = None,
    *,
    labels_a: Sequence[Any] | None = None,
    labels_b: Sequence[Any] | None = None,
    values: bool | None = None,
    colorbar_label: str | None = "CKA",
    cmap: str | Colormap = "magma",
    ax: Axes | None = None,
    **options: Any,
) -> Axes:
    """Draw how similar the layers of a network, or of two, are: a square for each pair.

    The first layer is at the bottom left, so that depth grows upwards and to the right.

    Parameters
    ----------
    matrix_or_layers : array_like of shape (m, n), or sequence or mapping of arrays of shape (items, d)
        What `kexue.cka_matrix` returned, or the activations that it takes as `layers_a`.
    layers_b : sequence or mapping of arrays, optional
        The other network's activations.
    labels_a, labels_b : sequence of length m and n, optional
        What to write at the rows and columns; by default the keys of a mapping, or numbers. Texts are shown literally.
        Of layers without `layers_b`, `labels_a` stands at both.
    values : bool, optional
        Write the values into the squares; by default where there are no more than 12 rows and columns.
    colorbar_label : str or None
        Text at the colour bar; None leaves the colour bar out.
    cmap : str or Colormap
        Colours from 0, or the lowest value if it is negative, to 1.
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot.
    **options
        Of `kexue.cka_matrix` for layers: `kernel`, `debiased` and so on.

    Returns
    -------
    Axes
        Row i of the matrix is at y = i, column j at x = j. The picture is an `AxesImage`.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If the matrix is not two-dimensional, is empty, or has an entry that is NaN or infinite; if the number of labels
        is not that of its rows or columns; and as `kexue.cka_matrix`. Nothing is drawn then.
    TypeError
        If the matrix does not hold real numbers, or there are options for a matrix.

    See Also
    --------
    kexue.cka_matrix

    Notes
    -----
    A list of two-dimensional arrays is layers, and so is one array of three dimensions; an array of two dimensions,
    or a list of rows, is a matrix.

    Examples
    --------
    >>> import kexue.plot
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> first = rng.normal(size=(100, 8))
    >>> layers = {"input": first, "hidden": np.tanh(first @ rng.normal(size=(8, 16)))}
    >>> ax = kexue.plot.cka(layers, ax=Figure(layout="constrained").subplots())
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['input', 'hidden']
    >>> ax.images[0].get_array().shape
    (2, 2)
    """
    require_matplotlib()
    from matplotlib import colormaps

    if _are_layers(matrix_or_layers) or layers_b is not None:
        matrix = kexue.cka_matrix(matrix_or_layers, layers_b, **options)
        labels_a = _keys(matrix_or_layers) if labels_a is None else labels_a
        if labels_b is None:
            labels_b = labels_a if layers_b is None else _keys(layers_b)
    elif options:
        raise TypeError(f"a matrix has no options, but got {', '.join(options)}")
    else:
        matrix = _as_matrix("matrix_or_layers", matrix_or_layers)
    if matrix.size == 0:
        raise KexueValueError(f"matrix_or_layers is empty: its shape is {matrix.shape}")
    rows, columns = np.nonzero(~np.isfinite(matrix))
    _refuse("matrix_or_layers", np.ones(len(rows), dtype=bool), rows, columns, matrix[rows, columns], "is {}")
    rows, columns = matrix.shape
    labels = [
        _labels("labels_a", labels_a, rows, "rows", of="the matrix"),
        _labels("labels_b", labels_b, columns, "columns", of="the matrix"),
    ]
    colormap = colormaps.get_cmap(cmap)  # here, so that no figure is made when there is none of that name

    if ax is None:
        from matplotlib import pyplot

        size = min(max(3.5, 1.8 + 0.35 * max(rows, columns)), 20.0)
        _, ax = pyplot.subplots(figsize=(1.2 * size, size), layout="constrained")
    lowest = min(0.0, float(matrix.min()))
    image = ax.imshow(matrix, cmap=colormap, vmin=lowest, vmax=1.0, origin="lower", interpolation="nearest")
    family = _font_family(labels)
    for side, axis in zip(labels, (ax.yaxis, ax.xaxis), strict=True):
        axis.set_ticks(np.arange(len(side)), side)
        for text in axis.get_ticklabels():
            text.set(parse_math=False, usetex=False, fontfamily=family)
    if any(len(label) > 3 for label in labels[1]):
        for text in ax.get_xticklabels():
            text.set(rotation=45, ha="right", rotation_mode="anchor")
    if max(matrix.shape) <= _MOST_VALUES if values is None else values:
        for (i, j), value in np.ndenumerate(matrix):
            red, green, blue, _ = colormap(image.norm(value))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
            color = "white" if dark else "black"
            ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize="small", color=color)
    if colorbar_label is not None:
        ax.figure.colorbar(image, ax=ax, label=colorbar_label)
    return ax


def discriminator_weights(
    weights: Any,
    target_weights: ArrayLike | None = None,
    *,
    bins: int = 40,
    labels: tuple[str, str] = ("training set", "test set"),
    ax: Axes | None = None,
) -> Axes:
    """Draw how the weights of training rows and of test rows are distributed: where the two overlap, weighting works.

    Histograms of the weights on a logarithmic axis, each with an area of 1. Two sets that the discriminator cannot tell
    apart have all weights near 1; of two that do not overlap, one is on the left and one on the right.

    Parameters
    ----------
    weights : AdversarialSplit or array_like of shape (N,)
        A splitter that has split, whose weights are drawn; or weights of the training rows, not negative.
    target_weights : array_like, shape (M,), optional
        Of the test rows, not negative; for an array in `weights` only.
    bins : int
        How many, from the least weight to the largest.
    labels : pair of str
        Names of the two sets in the legend.
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot.

    Returns
    -------
    Axes
        ``ax.containers`` has the bars of the training rows, then those of the test rows. Heights are densities in log10
        of the weight.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If weights are not one-dimensional, empty, negative or NaN, the splitter has not split yet, there is no positive
        finite weight, or `bins` is less than 1. Nothing is drawn then.
    TypeError
        If weights are not real numbers, or `target_weights` is given beside a splitter or missing beside an array.

    See Also
    --------
    kexue.AdversarialSplit, kexue.discriminator_weights

    Notes
    -----
    Weights of 0 and infinity count in the outermost bins.

    Examples
    --------
    >>> import kexue.plot
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> rng = np.random.default_rng(0)
    >>> splitter = kexue.AdversarialSplit(rng.normal(size=(200, 2)) + 0.5, rng=0)
    >>> train, validation = next(splitter.split(rng.normal(size=(300, 2))))
    >>> ax = Figure(layout="constrained").subplots()
    >>> ax = kexue.plot.discriminator_weights(splitter, ax=ax)
    >>> [len(bars) for bars in ax.containers]
    [40, 40]
    """
    require_matplotlib()
    if hasattr(weights, "get_n_splits"):
        if target_weights is not None:
            raise TypeError("target_weights is for an array of weights; a splitter has its own")
        if not hasattr(weights, "weights_"):
            raise KexueValueError("weights is a splitter that has not split yet: call next(splitter.split(X)) first")
        weights, target_weights = weights.weights_, weights.target_weights_
    elif target_weights is None:
        raise TypeError("target_weights must be given beside an array of weights")
    if not isinstance(bins, (int, np.integer)) or isinstance(bins, bool):
        raise TypeError(f"bins must be an integer, not {type(bins).__name__}")
    if bins < 1:
        raise KexueValueError(f"bins must be at least 1, got {bins}")
    names = list(labels)
    if isinstance(labels, str) or len(names) != 2:
        raise KexueValueError(f"labels must be two texts, got {labels!r}")
    both = [_log_weights("weights", weights), _log_weights("target_weights", target_weights)]
    joined = np.concatenate(both)
    finite = joined[np.isfinite(joined)]
    if not finite.size:
        raise KexueValueError("weights and target_weights have no entry that is positive and finite")
    low, high = finite.min(), finite.max()
    if high - low < 1e-6:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, bins + 1)

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    for values, name in zip(both, names, strict=True):
        heights, _ = np.histogram(np.clip(values, low, high), edges, density=True)
        ax.bar(
            10 ** edges[:-1], heights, np.diff(10**edges), align="edge", alpha=0.5, linewidth=0, label=name,
        )  # fmt: skip
    ax.set_xscale("log")
    ax.axvline(1.0, color="0.3", linestyle=":", linewidth=1)
    ax.set_xlabel("weight")
    ax.set_ylabel("density in log10 of the weight")
    ax.legend(fontsize="small")
    return ax


def _log_weights(name: str, weights: Any) -> np.ndarray:
    try:
        array = np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must hold real numbers: {error}") from error
    if array.ndim != 1 or not array.size:
        raise KexueValueError(f"{name} must have 1 dimension and an entry, but its shape is {array.shape}")
    bad = ~(array >= 0)
    if bad.any():
        place = int(bad.argmax())
        raise KexueValueError(f"{name}[{place}] is {array[place]}, but weights are not negative")
    with np.errstate(divide="ignore"):
        return np.log10(array)


def distortion(
    X: ArrayLike,
    n_components: Sequence[int] | None = None,
    *,
    kinds: Sequence[str] | Mapping[str, Mapping[str, Any]] | None = None,
    n_pairs: int = 1000,
    quantile: float | None = 0.95,
    confidence: float = 0.95,
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw how far random projections of your data change squared distances, against the dimension.

    For pairs of rows, |y - y'|^2 / |x - x'|^2 - 1 should be near 0. For every kind of projection there is a line of the
    largest such change and one of a quantile, and for all a line below which the largest is with some confidence
    if the projection is "gaussian".

    Parameters
    ----------
    X : array_like or sparse matrix, shape (m, d)
        At least two different rows.
    n_components : sequence of int, optional
        Dimensions; by default seven from 16 to 1024, or to d if that is less.
    kinds : sequence of str, or mapping from labels to options, optional
        Kinds of `kexue.random_projection`, by default all. A mapping has options too:
        ``{"4 non-zeros": {"kind": "osnap", "nonzeros": 4}}``.
    n_pairs : int
        How many pairs are drawn from X; all, if there are no more.
    quantile : float or None
        Which quantile, in [0, 1], is drawn beside the largest change; None draws none.
    confidence : float
        Of the bound, in (0, 1).
    rng : numpy.random.Generator, int or None
        Draws the pairs and the projections, through ``numpy.random.default_rng(rng)``.
    workers : int, optional
        As in `kexue.random_projection`.
    ax : Axes, optional
        Where to draw. By default a new figure of pyplot.

    Returns
    -------
    Axes
        ``ax.lines`` has for each kind the line of the largest changes, with its name as label, then that of the
        quantile, with the name and the quantile; the last line is the bound. Their ``get_xydata()`` has the numbers.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    KexueValueError
        If X is not two-dimensional, has no two different rows, or an entry that is NaN or infinite; if an option is
        out of range, and as `kexue.random_projection`. Nothing is drawn then.
    TypeError
        If X does not hold real numbers.

    See Also
    --------
    kexue.random_projection : what the kinds are.
    kexue.jl_min_dim : the dimension for a distortion, without data.

    Notes
    -----
    The bound is where the two tails of the chi-square law of |y - y'|^2, times the number of pairs, are 1 - confidence:
    exact for one pair, and by the union bound for all. Each point of a line is one projection, drawn for itself.

    Examples
    --------
    >>> import kexue.plot
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> X = np.random.default_rng(0).normal(size=(40, 500))
    >>> ax = Figure(layout="constrained").subplots()
    >>> ax = kexue.plot.distortion(X, [50, 200], kinds=["gaussian", "srht"], n_pairs=100, rng=0, ax=ax)
    >>> [line.get_label() for line in ax.lines]
    ['gaussian', '_gaussian, 95%', 'srht', '_srht, 95%', 'bound of "gaussian", 95%']
    >>> largest, bound = ax.lines[0].get_ydata(), ax.lines[-1].get_ydata()
    >>> bool((largest < bound).all())
    True
    """
    require_matplotlib()
    from scipy.sparse import issparse

    for name, value, low in (("quantile", quantile, 0), ("confidence", confidence, None)):
        if value is None and name == "quantile":
            continue
        if not isinstance(value, Real):
            raise TypeError(f"{name} must be a number, not {type(value).__name__}")
        if not (0 < value < 1 or value in (0, 1) and low == 0):
            raise KexueValueError(f"{name} must be between 0 and 1, got {value}")
    rng = np.random.default_rng(rng)
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X is a masked array; fill it or drop the masked entries first")
    rows: Any = X if issparse(X) else np.asarray(X)
    _require_matrix("X", rows)
    if issparse(rows):
        rows = rows.astype(np.float64).tocsr()  # in this order: repeated entries of uint8 would wrap around
    first, second = _pairs(rows.shape[0], n_pairs, rng)
    d = rows.shape[1]
    if d == 0:
        raise KexueValueError(f"X has no columns: its shape is {rows.shape}")
    if n_components is None:
        n_components = np.unique(np.geomspace(min(16, d), min(1024, d), 7).astype(int)).tolist()
    dimensions: list[Any] = [n_components] if isinstance(n_components, (int, np.integer)) else list(n_components)
    if not dimensions:
        raise KexueValueError("n_components is empty")
    if kinds is None:
        kinds = _KINDS
    if isinstance(kinds, str):
        kinds = [kinds]
    options = dict(kinds) if isinstance(kinds, Mapping) else {kind: {"kind": kind} for kind in kinds}
    if not options:
        raise KexueValueError("kinds is empty")
    for label, keywords in options.items():
        if not isinstance(keywords, Mapping):
            raise TypeError(f"kinds[{label!r}] must be a mapping of options, not {type(keywords).__name__}")
    maps = {
        label: [kexue.RandomProjectionMap.draw(d, n, rng=rng, **keywords) for n in dimensions]
        for label, keywords in options.items()
    }
    changes, count = _changes(rows, first, second, maps, workers)

    if ax is None:
        from matplotlib import pyplot

        _, ax = pyplot.subplots(layout="constrained")
    for label, change in changes.items():
        (line,) = ax.plot(dimensions, change.max(axis=1), marker="o", markersize=4, label=label)
        if quantile is not None:
            values = np.quantile(change, quantile, axis=1)
            # matplotlib leaves labels with a leading underscore out of the legend.
            ax.plot(dimensions, values, linestyle="--", color=line.get_color(), label=f"_{label}, {100 * quantile:g}%")
    bound = [_largest_change(n, (1 - confidence) / count) for n in dimensions]
    ax.plot(dimensions, bound, color="0.3", linestyle=":", label=f'bound of "gaussian", {100 * confidence:g}%')
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    # Pairs that no entries meet in have changes of 0, up to rounding, which are not to decide what can be seen.
    ax.set_ylim(bottom=max(ax.get_ylim()[0], min(bound) / 20))
    ax.set_xlabel("dimension")
    ax.set_ylabel("change of squared distances")
    ax.legend(fontsize="small")
    return ax


def require_matplotlib() -> None:
    """Raise an ImportError that says what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError('kexue.plot needs matplotlib: pip install "kexue[plot]"') from error


def figure_size(source_labels: Sequence[str], target_labels: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches of a figure in which all labels are readable."""
    words = max(len(source_labels), len(target_labels))
    columns = sum(max((_columns(label) for label in labels), default=0) for labels in (source_labels, target_labels))
    return 4.5 + 0.09 * columns, min(max(3.5, 1.4 + 0.26 * words), 40.0)


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


# ---- arguments ----


def _moves(plan: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int]]:
    """Row, column and mass of each positive entry, row by row, and the shape."""
    from scipy.sparse import issparse

    if issparse(plan):
        _require_matrix("plan", plan)
        plan = plan.tocoo(copy=True)
        plan.sum_duplicates()
        rows, columns, masses = plan.row, plan.col, plan.data.astype(np.float64)
        order = np.lexsort((columns, rows))
        rows, columns, masses = rows[order], columns[order], masses[order]
    else:
        plan = _as_matrix("plan", plan)
        rows, columns = np.nonzero(plan)
        masses = plan[rows, columns]
    for bad, what in ((~np.isfinite(masses), "is {}"), (masses < 0, "is negative ({})")):
        _refuse("plan", bad, rows, columns, masses, what)
    positive = masses > 0
    if not positive.any():
        raise KexueValueError(f"plan has no mass: all of its entries are 0 (its shape is {plan.shape})")
    return rows[positive], columns[positive], masses[positive], plan.shape


def _as_matrix(name: str, value: Any) -> np.ndarray:
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it first")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise KexueValueError(f"{name} is not an array of one shape: {error}") from error
    _require_matrix(name, array)
    return array.astype(np.float64)


def _require_matrix(name: str, array: Any) -> None:
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, but its dtype is {array.dtype}")
    if len(array.shape) != 2:
        raise KexueValueError(f"{name} must have 2 dimensions, but its shape is {array.shape}")


def _refuse(name: str, bad: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray, what: str) -> None:
    if bad.any():
        k = bad.argmax()
        raise KexueValueError(f"{name}[{rows[k]}, {columns[k]}] {what.format(values[k])}")


def _are_layers(value: Any) -> bool:
    if isinstance(value, Mapping) or getattr(value, "ndim", 0) == 3:
        return True
    return isinstance(value, (list, tuple)) and any(getattr(item, "ndim", 0) == 2 for item in value)


def _keys(layers: Any) -> list[Any] | None:
    return list(layers) if isinstance(layers, Mapping) else None


def _labels(name: str, labels: Any, count: int, axis: str, *, of: str = "plan") -> list[str]:
    if labels is None:
        return [str(number) for number in range(count)]
    if isinstance(labels, (str, bytes)):
        raise TypeError(f"{name} must be a sequence of labels, not one {type(labels).__name__}")
    try:
        texts = [str(label) for label in labels]
    except TypeError:
        raise TypeError(f"{name} must be a sequence of labels, not {type(labels).__name__}") from None
    if len(texts) != count:
        raise KexueValueError(f"{name} has {len(texts)} labels, but {of} has {count} {axis}")
    # A control character or half a surrogate pair would make an SVG file that no program reads.
    texts = ["".join(character if character.isprintable() else " " for character in text) for text in texts]
    return [text if len(text) <= _LONGEST_LABEL else text[: _LONGEST_LABEL - 1] + "…" for text in texts]


def _costs(cost: Any, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    matrix = _as_matrix("cost", cost)
    if matrix.shape != shape:
        raise KexueValueError(f"cost has shape {matrix.shape}, but plan has shape {shape}")
    unknown = np.isnan(matrix)
    at_rows, at_columns = np.nonzero(unknown)
    _refuse("cost", np.ones(len(at_rows), dtype=bool), at_rows, at_columns, matrix[unknown], "is {}")
    costs = matrix[rows, columns]
    _refuse("cost", ~np.isfinite(costs), rows, columns, costs, "is {}, and plan moves mass there")
    return costs


# ---- distortion ----


def _pairs(rows: int, count: Any, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of pairs of different rows: all, or as many at random."""
    if isinstance(count, (bool, np.bool_)) or not isinstance(count, (int, np.integer)):
        raise TypeError(f"n_pairs must be an integer, not {type(count).__name__}")
    if count < 1:
        raise KexueValueError(f"n_pairs must be at least 1, got {count}")
    if rows < 2:
        raise KexueValueError(f"X must have at least two rows, but it has {rows}")
    if rows * (rows - 1) // 2 <= count:
        return np.triu_indices(rows, 1)
    first = rng.integers(rows, size=count)
    second = rng.integers(rows - 1, size=count)
    return first, second + (second >= first)


def _changes(
    X: Any, first: np.ndarray, second: np.ndarray, maps: Mapping[str, list[Any]], workers: int | None
) -> tuple[dict[str, np.ndarray], int]:
    """| |y|^2 / |x|^2 - 1 | for the differences x of pairs, by label, a row for each map; and how many differences."""
    parts: dict[str, list[np.ndarray]] = {label: [] for label in maps}
    step, count = max(1, _ENTRIES_AT_ONCE // X.shape[1]), 0
    for start in range(0, len(first), step):
        sides = [_finite_rows(X, side[start : start + step]) for side in (first, second)]
        # By a half and the largest entry first: differences of very large entries, and squares, would leave the range.
        if max(abs(side).max() for side in sides) > np.finfo(np.float64).max / 2:
            sides = [side / 2 for side in sides]
        difference = _divided(sides[0] - sides[1], lambda entries: abs(entries).max(axis=1))
        difference = _divided(difference, lambda entries: np.sqrt((entries * entries).sum(axis=1)))
        count += difference.shape[0]
        for label, projections in maps.items():
            images = [project(difference, workers=workers) for project in projections]
            parts[label].append(np.array([abs(np.einsum("ij,ij->i", Y, Y) - 1) for Y in images]))
    if count == 0:
        raise KexueValueError("X has no two different rows among the pairs")
    return {label: np.concatenate(values, axis=1) for label, values in parts.items()}, count


def _finite_rows(X: Any, numbers: np.ndarray) -> Any:
    from scipy.sparse import csr_array, issparse

    rows = X[numbers].astype(np.float64)
    if issparse(rows):
        rows = csr_array(rows)
        rows.sum_duplicates()
        place = np.repeat(np.arange(len(numbers)), np.diff(rows.indptr)), rows.indices
    else:
        place = np.divmod(np.arange(rows.size), max(1, rows.shape[1]))
    values = rows.data if issparse(rows) else rows.ravel()
    _refuse("X", ~np.isfinite(values), numbers[place[0]], place[1], values, "is {}")
    return rows


def _divided(rows: Any, size: Any) -> Any:
    """Rows over their size, without those of size 0."""
    from scipy.sparse import csr_array, issparse

    sizes = size(rows)
    sizes = np.ravel(sizes.toarray() if issparse(sizes) else sizes)
    rows, sizes = rows[sizes > 0], sizes[sizes > 0]
    if not issparse(rows):
        return rows / sizes[:, None]
    rows = csr_array(rows, copy=True)
    rows.data /= np.repeat(sizes, np.diff(rows.indptr))  # the inverse of a subnormal number would be infinite
    return rows


def _largest_change(n: int, probability: float) -> float:
    """Where the two tails of |y|^2 - 1, y of n normal components of variance 1/n, have this probability."""

    from scipy.optimize import brentq
    from scipy.special import gammainc, gammaincc

    def excess(change: float) -> float:
        upper, lower = gammaincc(n / 2, n * (1 + change) / 2), gammainc(n / 2, n * max(1 - change, 0) / 2)
        return upper + lower - probability

    high = 1.0
    while excess(high) > 0:
        high *= 2
    return brentq(excess, 0, high, xtol=1e-12)


# ---- layout ----


def _few_crossings(shares: np.ndarray) -> list[np.ndarray]:
    """Orders of rows and columns: each word beside the middle of what it is linked with, in turns."""
    orders = [np.arange(size) for size in shares.shape]
    best, least = list(orders), _crossings(shares)
    for sweep in range(_SWEEPS):
        if least == 0:
            break
        side = 1 - sweep % 2
        linked = shares if side == 1 else shares.T
        positions, own = (np.empty(len(orders[one])) for one in (1 - side, side))
        positions[orders[1 - side]] = (np.arange(len(positions)) + 0.5) / len(positions)
        own[orders[side]] = (np.arange(len(own)) + 0.5) / len(own)
        totals = linked.sum(axis=0)
        # A word none of whose moves is drawn stays where it is.
        middles = np.where(totals > 0, positions @ linked / np.where(totals > 0, totals, 1.0), own)
        orders[side] = orders[side][np.argsort(middles[orders[side]], kind="stable")]
        crossings = _crossings(shares[np.ix_(*orders)])
        if crossings < least:
            best, least = list(orders), crossings
    return best


def _crossings(shares: np.ndarray) -> float:
    """Sum over all pairs of bands that cross of the product of their masses."""
    below_and_left = shares[::-1].cumsum(axis=0)[::-1].cumsum(axis=1)
    return float((shares[:-1, 1:] * below_and_left[1:, :-1]).sum())


def _vertical_scale(ax: Axes, weights: list[np.ndarray], *, colorbar: bool) -> tuple[float, float, float]:
    """Font size, height of a line, and height of the axes, the two latter in units of the total mass."""
    from matplotlib import rcParams

    words = max(map(len, weights))
    # A colour bar takes its part of the axes later, and a title may.
    inches = _inches(ax)
    points = 72.0 * max(inches - (1.2 if colorbar else 0.3), 0.5 * inches)
    line = min(rcParams["font.size"] * _LINE_HEIGHT / points, _LARGEST_SHARE_OF_LABELS / (words * (1.0 + _GAP)))
    # A word takes its weight or a line, whichever is more, so the height of a column is the largest of the
    # sums in which the k heaviest take their weights: at full height each of them bounds the scale.
    scale = math.inf
    for one in weights:
        heaviest = np.sort(one)[::-1].cumsum()
        lines = np.arange(len(one))[::-1]
        room = 1.0 - _GAP * line * len(one) - line * lines
        scale = min(scale, float((room / heaviest).min()))
    return line * points / _LINE_HEIGHT, line / scale, 1.0 / scale


def _inches(ax: Axes) -> float:
    """Height of the axes; a layout engine, which works when the figure is drawn, takes matplotlib's margins away."""
    inches = ax.get_window_extent().height / ax.figure.dpi
    return inches if ax.figure.get_layout_engine() is None else 1.25 * inches


def _tops(weights: np.ndarray, order: np.ndarray, line: float, height: float) -> np.ndarray:
    """Where each bar begins: in the middle of its word's place, the places filling the whole height."""
    places = np.maximum(weights[order], line)
    places += (height - places.sum()) / len(places)
    tops = np.empty(len(order))
    tops[order] = places.cumsum() - (places + weights[order]) / 2
    return tops


def _stack(places: np.ndarray, far_ranks: np.ndarray, shares: np.ndarray, tops: np.ndarray) -> np.ndarray:
    """Upper edge of each band at one of its ends."""
    order = np.lexsort((far_ranks, places))
    above = shares[order].cumsum() - shares[order]
    starts = np.searchsorted(places[order], places[order])
    edges = np.empty(len(shares))
    edges[order] = tops[places[order]] + above - above[starts]
    return edges


def _band(first: float, second: float, width: float) -> Any:
    """A band whose height is `width` at every x: its lower edge is the upper one, moved down."""
    from matplotlib.path import Path

    left, middle, right = _BAR_WIDTH, 0.5, 1.0 - _BAR_WIDTH
    upper = [(left, first), (middle, first), (middle, second), (right, second)]
    lower = [(x, y + width) for x, y in reversed(upper)]
    curve = [Path.CURVE4] * 3
    return Path([*upper, *lower, upper[0]], [Path.MOVETO, *curve, Path.LINETO, *curve, Path.CLOSEPOLY])


def _cycle(ranks: np.ndarray) -> list[Any]:
    """A colour for each source: neighbours differ."""
    from matplotlib import rcParams

    colors = rcParams["axes.prop_cycle"].by_key().get("color", ["C0"])
    return [colors[rank % len(colors)] for rank in ranks]


def _font_family(labels: list[list[str]]) -> list[str] | None:
    from matplotlib import font_manager, rcParams

    if all(_columns(label) == len(label) for side in labels for label in side):
        return None
    installed = set(font_manager.fontManager.get_font_names())
    return [*rcParams["font.family"], *(name for name in _EAST_ASIAN_FONTS if name in installed)]
