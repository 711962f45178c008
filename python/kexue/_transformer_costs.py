"""How many multiplications the parts of a Transformer take, and the lengths at which one overtakes another."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue._array_kinds import same_kind
from kexue._arrays import as_array, check_integer
from kexue._errors import KexueValueError

_LARGEST = 2**63 - 1


@same_kind
def attention_macs(
    n: ArrayLike,
    h: ArrayLike,
    d: ArrayLike,
    kind: Literal["softmax", "linear"] = "softmax",
    *,
    feature_dim: ArrayLike | None = None,
    core_ratio: ArrayLike = 1,
    part: Literal["all", "projections", "core"] = "all",
) -> int | np.ndarray:
    """How many multiply-accumulates self-attention of h heads of dimension d takes for n positions.

    Parameters
    ----------
    n : array_like of int
        The number of positions.
    h : array_like of int
        The number of heads. The hidden dimension is D = h d.
    d : array_like of int
        The dimension of a head: of queries, keys and values. All numbers are broadcast.
    kind : {"softmax", "linear"}
        The core: products of all pairs and their mix of values, 2 n^2 d a head; or sums over keys of features times
        values, and their products with queries' features, 2 n m d a head.
    feature_dim : array_like of int, optional
        m, of "linear" only: d by default. What features cost to compute is not counted.
    core_ratio : array_like of int
        c: the core of every head has c times the dimension d, as if projections gave so much for nothing.
    part : {"all", "projections", "core"}
        Projections are those of queries, keys, values and the output, 4 n D^2.

    Returns
    -------
    int or ndarray of int64
        Of the broadcast shape. The ints have no limit. Floating-point operations are twice as many.

    Raises
    ------
    KexueValueError
        If a number is negative, or `kind` or `part` is none of these, or `feature_dim` is given for "softmax".
    OverflowError
        If arrays are given and a result is above 2^63 - 1.
    TypeError
        If a number is no integer.

    See Also
    --------
    transformer_layer_macs : with the feed-forward network.
    crossover_lengths : where one overtakes another.

    Notes
    -----
    4 n D^2 + 2 n^2 D in all for "softmax". Additions, softmax, biases and normalisation are not counted: they are of
    the order of n^2 h and n D.

    References
    ----------
    J. Su, "On the complexity of Transformers", Scientific Spaces, 2021, https://kexue.fm/archives/8610.

    Examples
    --------
    >>> import kexue
    >>> kexue.attention_macs(512, 12, 64)
    1610612736
    >>> kexue.attention_macs(512, 12, 64, part="core"), kexue.attention_macs(512, 12, 64, "linear", part="core")
    (402653184, 50331648)
    >>> kexue.attention_macs([512, 1024], 12, 64)
    array([1610612736, 4026531840])
    """
    if part not in ("all", "projections", "core"):
        raise KexueValueError(f'part must be "all", "projections" or "core", got {part!r}')
    projections, core, _, _ = _attention_parts(n, h, d, kind, feature_dim, core_ratio)
    return _result({"all": projections + core, "projections": projections + 0 * core, "core": core}[part])


@same_kind
def ffn_macs(n: ArrayLike, hidden: ArrayLike, ratio: float = 4) -> int | np.ndarray:
    """How many multiply-accumulates a feed-forward network of two matrices takes for n positions: 2 r n D^2.

    Parameters
    ----------
    n : array_like of int
        The number of positions.
    hidden : array_like of int
        D, the hidden dimension. Broadcast against `n`.
    ratio : int or float
        r, of the inner dimension to D. It need not be whole, but the inner dimension must.

    Returns
    -------
    int or ndarray of int64
        Of the broadcast shape. The ints have no limit.

    Raises
    ------
    KexueValueError
        If a number is negative, or `ratio` times `hidden` is not whole.
    OverflowError
        If arrays are given and a result is above 2^63 - 1.
    TypeError
        If a number is no integer, or `ratio` no number.

    See Also
    --------
    attention_macs
    transformer_layer_macs

    Notes
    -----
    A gated network of three matrices takes half as much again.

    References
    ----------
    J. Su, "On the complexity of Transformers", Scientific Spaces, 2021, https://kexue.fm/archives/8610.

    Examples
    --------
    >>> import kexue
    >>> kexue.ffn_macs(512, 768)
    2415919104
    """
    length, dimension = _together(n=n, hidden=hidden)
    return _result(2 * length * dimension * _inner(ratio, dimension, "hidden"))


@same_kind
def transformer_layer_macs(
    n: ArrayLike,
    h: ArrayLike,
    d: ArrayLike,
    kind: Literal["softmax", "linear"] = "softmax",
    *,
    feature_dim: ArrayLike | None = None,
    core_ratio: ArrayLike = 1,
    ratio: float = 4,
) -> int | np.ndarray:
    """How many multiply-accumulates a layer takes, self-attention and feed-forward network: 12 n D^2 + 2 n^2 D.

    Parameters
    ----------
    n, h, d, kind, feature_dim, core_ratio
        As for `attention_macs`.
    ratio : int or float
        As for `ffn_macs`.

    Returns
    -------
    int or ndarray of int64
        Of the broadcast shape. The ints have no limit.

    Raises
    ------
    KexueValueError
        If a number is negative, `ratio` times h d is not whole, or `kind` is none of these.
    OverflowError
        If arrays are given and a result is above 2^63 - 1.
    TypeError
        If a number is no integer.

    See Also
    --------
    attention_macs
    ffn_macs
    crossover_lengths

    Notes
    -----
    With the defaults. (4 + 2 r) n D^2 and the core of attention in general.

    References
    ----------
    J. Su, "On the complexity of Transformers", Scientific Spaces, 2021, https://kexue.fm/archives/8610.

    Examples
    --------
    >>> import kexue
    >>> kexue.transformer_layer_macs(512, 12, 64), kexue.transformer_layer_macs(512, 12, 64, "linear")
    (4026531840, 3674210304)
    >>> kexue.transformer_layer_macs(512, 12, 64, "linear", core_ratio=4)  # more than exact attention
    4429185024
    """
    projections, core, length, hidden = _attention_parts(n, h, d, kind, feature_dim, core_ratio)
    return _result(projections + core + 2 * length * hidden * _inner(ratio, hidden, "h d"))


@dataclass(frozen=True)
class CrossoverLengths:
    """The numbers of positions above which one part of a Transformer takes more than another.

    Attributes
    ----------
    attention_over_ffn : int
        Self-attention takes more than the feed-forward network: 2 D.
    quadratic_over_linear : int
        The terms in n^2 are more than those in n, in a layer: 6 D.
    softmax_over_linear : int
        The core of exact attention takes more than that of linear attention: m features, d by default.

    See Also
    --------
    crossover_lengths : makes one.

    Examples
    --------
    >>> import kexue
    >>> isinstance(kexue.crossover_lengths(12, 64), kexue.CrossoverLengths)
    True
    """

    attention_over_ffn: int
    quadratic_over_linear: int
    softmax_over_linear: int


def crossover_lengths(
    h: int, d: int, *, feature_dim: int | None = None, core_ratio: int = 1, ratio: float = 4
) -> CrossoverLengths:
    """Above how many positions one part of a Transformer takes more multiplications than another.

    Parameters
    ----------
    h : int
        The number of heads, at least 1.
    d : int
        The dimension of a head, at least 1.
    feature_dim : int, optional
        m, of linear attention: d by default.
    core_ratio : int
        c: heads of linear attention have c times the dimension d, as in `attention_macs`; those of exact attention, d.
    ratio : int or float
        As for `ffn_macs`.

    Returns
    -------
    CrossoverLengths
        At these lengths, both sides are equal.

    Raises
    ------
    KexueValueError
        If a number is less than 1, or `ratio` is negative or times h d not whole.
    TypeError
        If a number is no integer.

    See Also
    --------
    attention_macs
    transformer_layer_macs

    Notes
    -----
    With D = h d: (r - 2) D, (r + 2) D, and c m, with m = c d by default. A network with r < 2 never takes more than
    attention: 0. Times are another matter: ``bench/crossover.py`` finds where they cross on a machine.

    References
    ----------
    J. Su, "On the complexity of Transformers", Scientific Spaces, 2021, https://kexue.fm/archives/8610.

    Examples
    --------
    >>> import kexue
    >>> kexue.crossover_lengths(12, 64)
    CrossoverLengths(attention_over_ffn=1536, quadratic_over_linear=4608, softmax_over_linear=64)
    >>> kexue.crossover_lengths(12, 64, core_ratio=4).softmax_over_linear
    1024
    """
    heads, dimension = check_integer("h", h, 1), check_integer("d", d, 1)
    multiple = check_integer("core_ratio", core_ratio, 1)
    features = dimension * multiple if feature_dim is None else check_integer("feature_dim", feature_dim, 1)
    hidden = heads * dimension
    inner = int(_inner(ratio, np.array(hidden, dtype=object), "h d"))
    return CrossoverLengths(max(inner - 2 * hidden, 0), inner + 2 * hidden, features * multiple)


# ---- arguments and results ----


def _together(**numbers: Any) -> list[np.ndarray]:
    """The numbers as arrays that broadcast."""
    arrays = [_count(name, value) for name, value in numbers.items()]
    try:
        np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise KexueValueError(f"{', '.join(numbers)} must broadcast, got shapes {shapes}") from None
    return arrays


def _count(name: str, value: Any) -> np.ndarray:
    """Whole numbers of at least 0 as an array of Python's ints."""
    if isinstance(value, Integral) and not isinstance(value, (bool, np.bool_)):
        array = np.array(int(value), dtype=object)
    else:
        array = as_array(name, value) if not (isinstance(value, np.ndarray) and value.dtype == object) else value
        if array.dtype == object:
            array = np.array([check_integer(name, entry, 0) for entry in array.flat], dtype=object).reshape(array.shape)
        elif array.dtype.kind not in "iu" and array.size:
            raise TypeError(f"{name} must hold integers, but its dtype is {array.dtype}")
        array = array.astype(object)
    bad = np.argwhere(np.asarray(array < 0, dtype=bool))
    if len(bad):
        place = tuple(map(int, bad[0]))
        where = f"{name}[{', '.join(map(str, place))}]" if place else name
        raise KexueValueError(f"{where} must be at least 0, got {array[place]}")
    return array


def _attention_parts(
    n: Any, h: Any, d: Any, kind: str, feature_dim: Any, core_ratio: Any
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What projections and cores take, the lengths, and the hidden dimensions."""
    if kind not in ("softmax", "linear"):
        raise KexueValueError(f'kind must be "softmax" or "linear", got {kind!r}')
    if feature_dim is not None and kind == "softmax":
        raise KexueValueError('feature_dim is for kind="linear" only')
    given = {} if feature_dim is None else {"feature_dim": feature_dim}
    length, heads, dimension, multiple, *features = _together(n=n, h=h, d=d, core_ratio=core_ratio, **given)
    across = length if kind == "softmax" else features[0] if features else dimension * multiple
    hidden = heads * dimension
    return 4 * length * hidden**2, 2 * length * across * hidden * multiple, length, hidden


def _inner(ratio: Any, hidden: np.ndarray, what: str) -> np.ndarray:
    """The inner dimension of a feed-forward network."""
    if not isinstance(ratio, Real) or isinstance(ratio, (bool, np.bool_)):
        raise TypeError(f"ratio must be a number, not {type(ratio).__name__}")
    if ratio < 0 or not ratio < float("inf"):
        raise KexueValueError(f"ratio must be finite and at least 0, got {ratio!r}")
    if isinstance(ratio, Integral):
        return int(ratio) * np.asarray(hidden, dtype=object)
    exact: Any = ratio  # a fraction stays one
    inner = [exact * int(size) for size in np.ravel(hidden)]
    if any(size != int(size) for size in inner):
        raise KexueValueError(f"ratio times {what} must be a whole number, got {next(s for s in inner if s != int(s))}")
    return np.array([int(size) for size in inner], dtype=object).reshape(np.shape(hidden))


def _result(values: Any) -> int | np.ndarray:
    array = np.asarray(values, dtype=object)
    if array.ndim == 0:
        return int(array[()])
    if any(value > _LARGEST for value in array.flat):
        raise OverflowError(f"a number of multiplications is above 2^63 - 1: {max(array.flat)}; pass ints, not arrays")
    return array.astype(np.int64)
