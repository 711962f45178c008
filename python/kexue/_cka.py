"""CKA of many representations with each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._context import count_workers
from kexue._errors import KexueValueError
from kexue._hsic import (
    FLOAT64_EPS,
    Estimator,
    PairSums,
    alignment,
    centred,
    feature_hsic,
    prepared,
    require_estimator,
    require_spread,
    require_symmetric,
    unit_scale,
)
from kexue._kernels import Bandwidth, Kernel, KernelLike, as_points, make_kernel, require_use, with_room

_TILE_ENTRIES = 1 << 22  # of all layers together: 32 MB


@same_kind
def cka_matrix(
    layers_a: Sequence[ArrayLike] | Mapping[Any, ArrayLike],
    layers_b: Sequence[ArrayLike] | Mapping[Any, ArrayLike] | None = None,
    *,
    kernel: KernelLike = "linear",
    bandwidth: Bandwidth | None = "median",
    gamma: float | None = None,
    coef0: float = 1.0,
    degree: int = 3,
    debiased: bool = False,
    workers: int | None = None,
) -> np.ndarray:
    """CKA of each representation with each other, as of the layers of one network or of two.

    Parameters
    ----------
    layers_a, layers_b : sequence or mapping of array_like, each of shape (n, d) or (n,)
        Activations of the same n items, with any d; activations with more dimensions are to be reshaped to (n, d). Of a
        mapping, the values. Without `layers_b`, all pairs within `layers_a`, each computed once.
    kernel, bandwidth, gamma, coef0, degree
        As for `cka`, one value for all layers; "median" is that of each layer.
    debiased : bool, optional
        As for `cka`.
    workers : int, optional
        Threads of the kernels; -1 is all processors, None the number of `kexue.threads`. Matrix products use those of
        NumPy's BLAS.

    Returns
    -------
    ndarray of float64, shape (len(layers_a), len(layers_b) or len(layers_a))
        As `cka` of each pair, to rounding. 1 on the diagonal without `layers_b`.

    Raises
    ------
    KexueValueError
        If there are no layers; if they have different numbers of items, or too few; and as `cka`, with the number of
        the layer.
    TypeError
        If a layer does not hold real numbers.

    See Also
    --------
    cka : of one pair.
    kexue.plot.cka : draws the result.

    Notes
    -----
    What belongs to one layer, its kernel and HSIC with itself, is computed once. Linear kernels where d < n for all
    layers: in feature space, O(n d_a d_b) for a pair, with two layers in memory as float64. Otherwise tiles of the
    kernel matrices of all layers are multiplied with each other: O(n^2 d) for a layer, n^2 for a pair, and 32 MB or a
    row for each layer, whichever is more.

    References
    ----------
    S. Kornblith, M. Norouzi, H. Lee, G. Hinton, "Similarity of Neural Network Representations Revisited", 2019,
    arXiv:1905.00414.

    Examples
    --------
    >>> import kexue
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> first = rng.normal(size=(200, 10))
    >>> second = first @ rng.normal(size=(10, 20))
    >>> third = np.maximum(second, 0)
    >>> kexue.cka_matrix([first, second, third]).round(2)
    array([[1.  , 0.82, 0.71],
           [0.82, 1.  , 0.89],
           [0.71, 0.89, 1.  ]])
    """
    estimator: Estimator = "unbiased" if debiased else "biased"
    at_least = require_estimator(estimator)
    workers = count_workers(workers)
    options = {"kernel": kernel, "bandwidth": bandwidth, "gamma": gamma, "coef0": coef0, "degree": degree}
    require_use("gamma", gamma, gamma is not None, (kernel, kernel), ("rbf", "laplace", "polynomial"))
    given = bandwidth is not None and not isinstance(bandwidth, str)
    require_use("bandwidth", bandwidth, given, (kernel, kernel), ("rbf", "laplace"))
    layers = _layers("layers_a", layers_a, options, workers)
    rows = len(layers)
    if layers_b is not None:
        layers += _layers("layers_b", layers_b, options, workers)
    n = len(layers[0].points)
    for layer in layers:
        if len(layer.points) != n:
            raise KexueValueError(
                f"all layers must have as many items, but {layers[0].name} has {n} and {layer.name} has "
                f"{len(layer.points)}"
            )
    if n < at_least:
        raise KexueValueError(f"{layers[0].name} has {n} item{'s' * (n != 1)}, but at least {at_least} are needed")
    columns = range(rows, len(layers)) if layers_b is not None else range(rows)
    in_features = all(layer.kernel.name == "linear" and layer.points.shape[1] < n for layer in layers)
    compute = _in_feature_space if in_features else _in_tiles
    return compute(layers, rows, columns, estimator, workers)


@dataclass(frozen=True)
class _Layer:
    name: str
    points: np.ndarray
    kernel: Kernel


def _layers(name: str, values: Any, options: dict[str, Any], workers: int) -> list[_Layer]:
    if isinstance(values, Mapping):
        items = [(f"{name}[{key!r}]", value) for key, value in values.items()]
    elif isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise TypeError(f"{name} must be a sequence of arrays, not {type(values).__name__}")
    else:
        items = [(f"{name}[{number}]", value) for number, value in enumerate(values)]
    if not items:
        raise KexueValueError(f"{name} has no layers")
    layers = []
    for where, value in items:
        (points,) = with_room(as_points(where, value))
        layers.append(_Layer(where, points, make_kernel(points, **options, name=where, workers=workers)))
    return layers


def _aligned(
    layers: list[_Layer], rows: int, columns: range, own: list[float], both: Any, estimator: Estimator
) -> np.ndarray:
    """CKA from HSIC of each layer with itself and of each pair, that of a pair from one side only."""
    symmetric = columns.start == 0
    result = np.ones((rows, len(columns)))
    for i in range(rows):
        for place, j in enumerate(columns):
            if symmetric and j <= i:
                result[i, place] = result[j, i] if j < i else 1.0
            else:
                result[i, place] = alignment(both(i, j), own[i], own[j], debiased=estimator == "unbiased")
    return result


def _in_feature_space(
    layers: list[_Layer], rows: int, columns: range, estimator: Estimator, workers: int
) -> np.ndarray:
    def features(i: int) -> np.ndarray:
        return unit_scale(centred(layers[i].points, np.dtype(np.float64)))

    own = []
    for i, layer in enumerate(layers):
        A = features(i)
        own.append(feature_hsic(A, A, estimator))
        size = feature_hsic(A, A, "biased") if estimator == "unbiased" else own[i]
        require_spread(layer.name, own[i], size, FLOAT64_EPS)
    left: tuple[int, np.ndarray] | None = None

    def both(i: int, j: int) -> float:
        nonlocal left
        if left is None or left[0] != i:
            left = i, features(i)
        return feature_hsic(left[1], features(j), estimator)

    return _aligned(layers, rows, columns, own, both, estimator)


def _in_tiles(layers: list[_Layer], rows: int, columns: range, estimator: Estimator, workers: int) -> np.ndarray:
    points = [
        unit_scale(prepared(layer.points, layer.kernel)) if layer.kernel.name == "linear"
        else prepared(layer.points, layer.kernel)
        for layer in layers
    ]  # fmt: skip
    count, n = len(layers), len(points[0])
    products = np.zeros((count, count))
    sums = np.zeros((count, n))
    step = max(1, min(n, _TILE_ENTRIES // (count * n)))
    space = np.empty(count * step * n)
    for start in range(0, n, step):
        stop = min(start + step, n)
        # The half above the diagonal is all there is to know.
        tile = space[: count * (stop - start) * (n - start)].reshape(count, stop - start, n - start)
        for layer, own, matrix in zip(layers, points, tile, strict=True):
            matrix[...] = layer.kernel.matrix(own[start:stop], own[start:], workers=workers)
        _require_symmetric(layers, tile[:, :, : stop - start])
        inside = np.tril_indices(stop - start)
        tile[:, inside[0], inside[1]] = 0
        sums[:, start:stop] += tile.sum(axis=2)
        sums[:, start:] += tile.sum(axis=1)
        flat = tile.reshape(count, -1)
        products += 2 * (flat @ flat.T)
    diagonals = [layer.kernel.diagonal(own) for layer, own in zip(layers, points, strict=True)]

    def pair(i: int, j: int) -> PairSums:
        numbers = float(products[i, j]), float(products[i, i]), float(products[j, j])
        return PairSums(*numbers, sums[i], sums[j], diagonals[i], diagonals[j], FLOAT64_EPS)

    of_themselves: list[float] = []
    for i, layer in enumerate(layers):
        of_itself = pair(i, i)
        of_themselves.append(of_itself.hsic(estimator))
        size = of_itself.square_x / n**2 if estimator == "unbiased" else of_itself.size_x  # the former has no diagonal
        require_spread(layer.name, of_themselves[i], size, FLOAT64_EPS)
    return _aligned(layers, rows, columns, of_themselves, lambda i, j: pair(i, j).hsic(estimator), estimator)


def _require_symmetric(layers: list[_Layer], squares: np.ndarray) -> None:
    """Of callables, of which no more than half of the matrix is asked for otherwise."""
    for layer, square in zip(layers, squares, strict=True):
        if layer.kernel.is_callable:
            sizes = np.abs(square).sum(axis=1)
            require_symmetric(square.sum(axis=1), square.sum(axis=0), sizes, where=f" on {layer.name}")
