"""Distances between documents as weighted sets of word vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from kexue import _documents
from kexue._array_kinds import same_kind
from kexue._arrays import as_contiguous, as_csr_rows, as_real, is_sparse
from kexue._context import status_name
from kexue._document_index import DocumentIndex, SearchStats
from kexue._entropic import DEFAULT_MAX_ITER, Settings, check_reg
from kexue._errors import KexueValueError, raise_status, require_finite, require_nonnegative
from kexue._word_vectors import WordVectors

__all__ = ["DocumentIndex", "SearchStats", "WordVectors", "pairwise_distances", "rwmd", "wcd", "wmd", "wrd"]

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # offsets, words, weights
_EMPTY = {"raise": np.nan, "nan": np.nan, "inf": np.inf}
Metric = Literal["wmd", "wrd", "wcd", "rwmd", "sinkhorn"]


def _vectors(name: str, value: ArrayLike) -> np.ndarray:
    vectors = as_real(name, value, ndim=2)
    if vectors.shape[1] == 0:
        raise KexueValueError(f"{name} must have at least one column, but its shape is {vectors.shape}")
    strided = vectors.flags.aligned and (vectors.strides[1] == vectors.itemsize or vectors.shape[1] == 1)
    return vectors if strided else as_contiguous(vectors)


def _weights(name: str, value: ArrayLike | None, count: int) -> np.ndarray:
    if value is None:
        return np.ones(count)
    weights = as_contiguous(as_real(name, value, ndim=1, dtype=np.float64))
    if weights.shape[0] != count:
        raise KexueValueError(f"{name} has {weights.shape[0]} weights for {count} word vectors")
    require_finite(name, weights)
    require_nonnegative(name, weights)
    return weights


def _one_document(name: str, words: int, first: int, weights: np.ndarray) -> _Rows:
    offsets = np.array([0, words], dtype=np.int64)
    return offsets, np.arange(first, first + words, dtype=np.int32), weights


def _pair(
    x: ArrayLike, y: ArrayLike, x_weights: ArrayLike | None, y_weights: ArrayLike | None
) -> tuple[np.ndarray, _Rows, _Rows]:
    """The two sets as one vocabulary and two documents of it."""
    x_vectors, y_vectors = _vectors("x", x), _vectors("y", y)
    if x_vectors.shape[1] != y_vectors.shape[1]:
        raise KexueValueError(
            f"x and y must have vectors of one dimension, but their shapes are {x_vectors.shape} and {y_vectors.shape}"
        )
    for name, array in (("x", x_vectors), ("y", y_vectors)):
        if array.shape[0] == 0:
            raise KexueValueError(f"{name} has no word vectors: its shape is {array.shape}")
    m, n = x_vectors.shape[0], y_vectors.shape[0]
    rows = _one_document("x", m, 0, _weights("x_weights", x_weights, m))
    columns = _one_document("y", n, m, _weights("y_weights", y_weights, n))
    vectors = as_contiguous(np.concatenate([x_vectors, y_vectors]))
    return vectors, rows, columns


def _explain(status: int, **vectors: np.ndarray) -> None:
    """Raise the exception for a failed call, with the first bad entry of the vectors where there is one."""
    if status_name(status) == "KX_E_NONFINITE":
        for name, array in vectors.items():
            require_finite(name, array)
    message = None
    if status_name(status) == "KX_E_OVERFLOW":
        kind = next(iter(vectors.values())).dtype
        message = f"the vectors or the weights are too large for a distance in {kind}"
    raise_status(status, message)


def _used_words(*sets: _Rows | None) -> np.ndarray:
    return np.unique(np.concatenate([rows[1] for rows in sets if rows is not None]))


def _chunks(words: np.ndarray) -> list[np.ndarray]:
    """The words a few thousand at a time: the vectors may be memory-mapped and larger than the memory."""
    return [words[k : k + 4096] for k in range(0, len(words), 4096)]


def _require_finite_words(vectors: np.ndarray, words: np.ndarray) -> None:
    """Raise for the first of the words whose vector is not finite; the others may hold anything."""
    for chunk in _chunks(words):
        bad = ~np.isfinite(vectors[chunk])
        if bad.any():
            row, column = np.argwhere(bad)[0]
            word = chunk[row]
            raise KexueValueError(
                f"vectors[{word}, {column}] is {vectors[word, column]}; vectors has shape {vectors.shape}"
            )


def _pair_distance(x: ArrayLike, y: ArrayLike, x_weights: Any, y_weights: Any, metric: str, rms: bool) -> Any:
    vectors, rows, columns = _pair(x, y, x_weights, y_weights)
    scale = 1.0 / np.sqrt(vectors.shape[1]) if rms else 1.0
    status, distances, _ = _documents.pairwise(vectors, rows, columns, metric, scale, np.nan, 1)
    if status:
        m = rows[1].shape[0]
        _explain(status, x=vectors[:m], y=vectors[m:])
    distance = distances[0, 0]
    if np.isnan(distance):
        m = rows[1].shape[0]
        for name, (_, words, weights) in (("x", rows), ("y", columns)):
            if not weights.any():
                raise KexueValueError(f"{name}_weights sum to 0: {name} is empty")
            if metric in ("wrd", "rwrd") and not (weights[:, None] * vectors[words]).any():
                raise KexueValueError(f"{name} is empty: all its vectors of positive weight are zero")
        raise KexueValueError("the norms of x or y are too small for float64: scale the vectors up")
    return distance.item() if distances.dtype == np.float64 else distance


def wmd(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    *,
    rms: bool = False,
) -> Any:
    """Word Mover's Distance: the exact transport cost between two sets of word vectors.

    Parameters
    ----------
    x : array_like, shape (m, d)
        Word vectors of one document, float32 or float64.
    y : array_like, shape (n, d)
        Word vectors of the other.
    x_weights : array_like, shape (m,), optional
        Non-negative weights, counts for instance; scaled to sum 1. Uniform by default.
    y_weights : array_like, shape (n,), optional
        The same for `y`.
    rms : bool, optional
        Use the root mean square difference, Euclid / sqrt(d), as the ground cost.

    Returns
    -------
    distance : float
        float32 if both arrays are.

    Raises
    ------
    KexueValueError
        For an empty side, a vector that is not finite, weights that are negative, not finite or all 0.

    See Also
    --------
    wcd, rwmd : lower bounds.
    wrd : by norm and angle.
    pairwise_distances : many documents at once.

    Notes
    -----
    O(m n d) for the ground costs, then a transport problem (`emd`). Kusner, Sun, Kolkin and Weinberger, *From word
    embeddings to document distances*, ICML 2015 (PMLR 37:957-966).

    Examples
    --------
    >>> import kexue
    >>> kexue.wmd([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]])
    2.5
    """
    return _pair_distance(x, y, x_weights, y_weights, "wmd", rms)


def wrd(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
) -> Any:
    """Word Rotator's Distance: transport by angle, weighted by the norms of the word vectors.

    Parameters
    ----------
    x : array_like, shape (m, d)
        Word vectors of one document, float32 or float64. A zero vector weighs nothing.
    y : array_like, shape (n, d)
        Word vectors of the other.
    x_weights, y_weights : array_like, optional
        Weights as in `wmd`, which multiply the norms.

    Returns
    -------
    distance : float
        In [0, 2]; ``1 - distance`` is a similarity. float32 if both arrays are.

    Raises
    ------
    KexueValueError
        As in `wmd`; also where all vectors of a side are zero.

    See Also
    --------
    wmd, pairwise_distances

    Notes
    -----
    The ground cost ``1 - cos`` is computed as half the squared distance of the unit vectors, without
    cancellation. Yokoi, Takahashi, Akama, Suzuki and Inui, *Word Rotator's Distance*, EMNLP 2020, arXiv:2004.15003.

    Examples
    --------
    >>> import kexue
    >>> kexue.wrd([[2.0, 0.0]], [[0.0, 0.5]])
    1.0
    """
    return _pair_distance(x, y, x_weights, y_weights, "wrd", False)


def rwmd(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    *,
    metric: Literal["wmd", "wrd"] = "wmd",
    rms: bool = False,
) -> Any:
    """Relaxed Word Mover's Distance: a lower bound of `wmd` (or of `wrd`) in O(m n d).

    Each word goes to its nearest word of the other side, whatever that can take; the larger of both directions.

    Parameters
    ----------
    x, y, x_weights, y_weights
        As in `wmd`.
    metric : {"wmd", "wrd"}, optional
        The distance to bound.
    rms : bool, optional
        As in `wmd`; only for "wmd".

    Returns
    -------
    bound : float

    Raises
    ------
    KexueValueError
        As in `wmd`.

    See Also
    --------
    wcd, wmd, wrd

    Notes
    -----
    Kusner, Sun, Kolkin and Weinberger, ICML 2015 (PMLR 37:957-966).

    Examples
    --------
    >>> import kexue
    >>> kexue.rwmd([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]])
    2.5
    """
    if metric not in ("wmd", "wrd"):
        raise KexueValueError(f'metric must be "wmd" or "wrd", got {metric!r}')
    if rms and metric == "wrd":
        raise KexueValueError('rms goes with metric="wmd" only')
    return _pair_distance(x, y, x_weights, y_weights, "r" + metric, rms)


def wcd(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    *,
    rms: bool = False,
) -> Any:
    """Word Centroid Distance: the distance of the weighted means, a lower bound of `wmd` in O((m + n) d).

    Parameters
    ----------
    x, y, x_weights, y_weights, rms
        As in `wmd`.

    Returns
    -------
    bound : float

    Raises
    ------
    KexueValueError
        As in `wmd`.

    See Also
    --------
    rwmd, wmd

    Notes
    -----
    Kusner, Sun, Kolkin and Weinberger, ICML 2015 (PMLR 37:957-966).

    Examples
    --------
    >>> import kexue
    >>> kexue.wcd([[0.0, 0.0], [3.0, 4.0]], [[0.0, 0.0]])
    2.5
    """
    vectors, (_, _, a), (_, _, b) = _pair(x, y, x_weights, y_weights)
    m = a.shape[0]
    for name, array in (("x", vectors[:m]), ("y", vectors[m:])):
        require_finite(name, array)
    centroids = []
    for name, weights, words in (("x", a, vectors[:m]), ("y", b, vectors[m:])):
        total = weights.sum()
        if total == 0:
            raise KexueValueError(f"{name}_weights sum to 0: {name} is empty")
        centroids.append((weights / total) @ words.astype(np.float64))
    distance = np.linalg.norm(centroids[0] - centroids[1]) * (1.0 / np.sqrt(vectors.shape[1]) if rms else 1.0)
    return float(distance) if vectors.dtype == np.float64 else vectors.dtype.type(distance)


def _array_rows(
    name: str, documents: Sequence[ArrayLike], weights: Sequence[ArrayLike | None] | None, first: int
) -> tuple[list[np.ndarray], _Rows]:
    """A list of arrays of word vectors as documents whose every word is its own."""
    if isinstance(documents, (str, bytes)) or not hasattr(type(documents), "__len__") or is_sparse(documents):
        raise TypeError(f"{name} must be a sequence of arrays where vectors is None, not {type(documents).__name__}")
    if weights is not None and len(weights) != len(documents):
        raise KexueValueError(f"{name.lower()}_weights has {len(weights)} entries for {len(documents)} documents")
    arrays = []
    for i, document in enumerate(documents):
        array = as_real(f"{name}[{i}]", document)
        arrays.append(as_real(f"{name}[{i}]", array.reshape(0, 0) if array.size == 0 else array, ndim=2))
    dimension = next((array.shape[1] for array in arrays if array.size), 0)
    for i, array in enumerate(arrays):
        if array.size and array.shape[1] != dimension:
            raise KexueValueError(
                f"the documents of {name} differ in dimension: {name}[{i}] has shape {array.shape}, "
                f"others have {dimension} columns"
            )
    lengths = np.array([array.shape[0] for array in arrays], dtype=np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    parts = [
        _weights(f"{name.lower()}_weights[{i}]", None if weights is None else weights[i], int(lengths[i]))
        for i in range(len(arrays))
    ]
    flat = np.concatenate(parts) if parts else np.zeros(0)
    words = np.arange(first, first + int(offsets[-1]), dtype=np.int32)
    return arrays, (offsets, words, flat)


def _refuse_empty(name: str, rows: _Rows, moving: np.ndarray | None) -> None:
    """Raise if a document has no mass. moving: whether a word's vector is other than zero, for WRD."""
    offsets, words, weights = rows
    mass = weights if moving is None else weights * moving[words]
    totals = np.zeros(len(offsets) - 1)
    if len(totals):
        with np.errstate(over="ignore"):  # the core reports it
            totals += np.add.reduceat(np.append(mass, 0.0), np.minimum(offsets[:-1], mass.size))
    totals = np.where(np.diff(offsets) > 0, totals, 0.0)
    if (totals > 0).all():
        return
    i = int(np.argmax(~(totals > 0)))
    no_words = moving is None or not weights[offsets[i] : offsets[i + 1]].any()
    reason = "it has no words of positive weight" if no_words else "all its vectors are zero"
    raise KexueValueError(f'document {i} of {name} is empty: {reason}; empty="nan" or empty="inf" lets it pass')


def _moving_words(vectors: np.ndarray, words: np.ndarray) -> np.ndarray:
    moving = np.zeros(vectors.shape[0], dtype=bool)
    for chunk in _chunks(words):
        # As in the core: of subnormal norms there is no reciprocal.
        moving[chunk] = np.abs(vectors[chunk].astype(np.float64)).max(axis=1) >= np.finfo(np.float64).tiny
    return moving


@same_kind
def pairwise_distances(
    X: Any,
    Y: Any = None,
    *,
    vectors: ArrayLike | None = None,
    metric: Metric = "wmd",
    x_weights: Sequence[ArrayLike | None] | None = None,
    y_weights: Sequence[ArrayLike | None] | None = None,
    rms: bool = False,
    empty: Literal["raise", "nan", "inf"] = "raise",
    workers: int | None = None,
    progress: bool = False,
    reg: float | None = None,
    tol: float = 1e-9,
    max_iter: int = DEFAULT_MAX_ITER,
) -> np.ndarray:
    """Distances between all pairs of documents.

    Parameters
    ----------
    X : sparse matrix or array, shape (n_x, vocabulary), or sequence of array_like
        With `vectors`: documents as rows of non-negative word weights (counts, TF-IDF, ...) in any scale. Without: a
        list of arrays of shape (words, d), one vector for each token of a document (contextual vectors).
    Y : the same, optional
        The other set. Without it, all pairs within X, each solved once.
    vectors : array_like, shape (vocabulary, d), optional
        Word vectors, float32 or float64; may be memory-mapped. Only rows in use must be finite.
    metric : {"wmd", "wrd", "wcd", "rwmd", "sinkhorn"}, optional
        `wmd` and `wrd` are exact; `wcd` and `rwmd` are lower bounds of "wmd"; "sinkhorn" is the cost of the entropic
        plan (`sinkhorn2`) between the words' Euclidean distances, at least "wmd" and not 0 between equal documents.
    x_weights, y_weights : sequence, optional
        For lists of arrays: the weights of each document's tokens, or None for uniform ones.
    rms : bool, optional
        As in `wmd`; not for "wrd".
    empty : {"raise", "nan", "inf"}, optional
        What a pair with an empty document gives: an error, NaN or infinity. A document is empty if it has no word of
        positive weight, for "wrd" none with a vector other than zero.
    workers : int, optional
        Threads: 1 is serial, -1 all processors, None the default of `kexue.threads`. The result is the same for any
        number, to the bit.
    progress : bool, optional
        Show a bar, if tqdm is installed.
    reg : float
        The regularisation of "sinkhorn", which needs it: positive, in the units of the distance.
    tol, max_iter : optional
        For "sinkhorn", as in `sinkhorn2`.

    Returns
    -------
    distances : ndarray, shape (n_x, n_y)
        float32 if the vectors are, else float64. The same word is at distance exactly 0; without `Y` the matrix is
        symmetric with a zero diagonal (which "sinkhorn" has not).

    Raises
    ------
    KexueValueError
        Names the first bad document or entry: empty (see `empty`), negative or not finite, a vocabulary that does not
        fit.
    KeyboardInterrupt
        On Ctrl-C, within a fraction of a second.

    Warns
    -----
    ConvergenceWarning
        If pairs of "sinkhorn" reached `max_iter`.

    See Also
    --------
    wmd, wrd, rwmd, wcd : for one pair.
    sinkhorn2

    Notes
    -----
    Blocks of documents share one table of distances between their words; each pair then takes its costs from the
    table. For "wmd" the mass that two documents share on the same word stays where it is, which is exact for a
    metric cost. Memory: the result, the documents' words and one tile a worker.

    Examples
    --------
    >>> import kexue
    >>> from scipy.sparse import csr_array
    >>> counts = csr_array([[1, 1, 0], [0, 1, 1]])
    >>> kexue.pairwise_distances(counts, vectors=[[0.0, 0.0], [1.0, 0.0], [3.0, 4.0]])
    array([[0. , 2.5],
           [2.5, 0. ]])
    """
    if metric not in ("wmd", "wrd", "wcd", "rwmd", "sinkhorn"):
        raise KexueValueError(f'metric must be "wmd", "wrd", "wcd", "rwmd" or "sinkhorn", got {metric!r}')
    entropic: dict[str, Any] = {}
    if metric == "sinkhorn":
        if reg is None:
            raise KexueValueError('metric="sinkhorn" needs reg, its regularisation')
        settings = Settings(tol=tol, max_iter=max_iter)
        regs = check_reg(reg)
        if regs.ndim:
            raise KexueValueError(f"reg must be a number, but its shape is {regs.shape}")
        entropic = {"reg": float(regs), "tolerance": settings.tol, "max_iter": settings.max_iter}
    elif reg is not None:
        raise KexueValueError(f'reg goes with metric="sinkhorn", not with {metric!r}')
    if empty not in _EMPTY:
        raise KexueValueError(f'empty must be "raise", "nan" or "inf", got {empty!r}')
    if rms and metric == "wrd":
        raise KexueValueError('rms does not go with metric="wrd"')
    sets: dict[str, list[np.ndarray]] = {}
    if vectors is not None:
        if x_weights is not None or y_weights is not None:
            raise KexueValueError(
                "x_weights and y_weights go with lists of arrays; with vectors, X and Y hold the weights"
            )
        words = _vectors("vectors", vectors)
        rows = as_csr_rows("X", X, words.shape[0], "vectors has {} rows")
        columns = None if Y is None else as_csr_rows("Y", Y, words.shape[0], "vectors has {} rows")
    else:
        sets["X"], rows = _array_rows("X", X, x_weights, 0)
        columns = None
        if Y is not None:
            sets["Y"], columns = _array_rows("Y", Y, y_weights, int(rows[0][-1]))
        parts = {name: [array for array in arrays if array.size] for name, arrays in sets.items()}
        if Y is not None and parts["X"] and parts["Y"] and parts["X"][0].shape[1] != parts["Y"][0].shape[1]:
            raise KexueValueError(f"X has vectors of dimension {parts['X'][0].shape[1]}, Y of {parts['Y'][0].shape[1]}")
        every = sum(parts.values(), [])
        words = as_contiguous(np.concatenate(every)) if every else np.zeros((1, 1))  # Fortran order stays otherwise
    if empty == "raise":
        moving = _moving_words(words, _used_words(rows, columns)) if metric == "wrd" else None
        _refuse_empty("X", rows, moving)
        if columns is not None:
            _refuse_empty("Y", columns, moving)
    scale = 1.0 / np.sqrt(words.shape[1]) if rms else 1.0
    dtype, used = words.dtype, _used_words(rows, columns)
    if metric == "wcd":
        _require_finite(sets, words, used)
        words, rows, columns = _as_centroids(words, used, rows, columns)
    core_metric = "wmd" if metric == "wcd" else metric
    with _progress_bar(progress, metric) as report:
        status, distances, unconverged = _documents.pairwise(
            words, rows, columns, str(core_metric), scale, _EMPTY[empty], workers, report, **entropic
        )
    if status > 0:
        raise_status(
            status,
            f"{unconverged} of {distances.size} pairs stopped at max_iter={max_iter} before their marginals were right "
            f"to tol={tol:g}; without Y a pair counts once",
        )
    if status < 0:
        if status_name(status) == "KX_E_NONFINITE":
            _require_finite(sets, words, used)
        if entropic and status_name(status) == "KX_E_OVERFLOW":
            raise OverflowError(
                f"distances over reg={reg!r} are too large for float64, or the problem for this machine"
            )
        if status_name(status) == "KX_E_OVERFLOW":
            raise OverflowError(
                f"the vectors or the weights of X or Y are too large for a distance in {dtype}, or the problem for "
                "this machine"
            )
        raise_status(status)
    return distances.astype(dtype, copy=False)


def _require_finite(sets: dict[str, list[np.ndarray]], words: np.ndarray, used: np.ndarray) -> None:
    """Raise for the first vector in use that is not finite, by the name it has for the caller."""
    for name, arrays in sets.items():
        for i, array in enumerate(arrays):
            require_finite(f"{name}[{i}]", array)
    _require_finite_words(words, used)


def _as_centroids(
    words: np.ndarray, used: np.ndarray, rows: _Rows, columns: _Rows | None
) -> tuple[np.ndarray, _Rows, _Rows | None]:
    """Documents of one word each, the centroid in float64: their transport is the centroid distance."""
    from scipy.sparse import csr_array

    vectors = words[used].astype(np.float64)
    sets: list[Any] = []
    centroids, first = [], 0
    for part in (rows, columns):
        if part is None:
            sets.append(None)
            continue
        offsets, part_words, weights = part
        count = len(offsets) - 1
        matrix = csr_array((weights, np.searchsorted(used, part_words), offsets), shape=(count, len(used)))
        with np.errstate(over="ignore"):
            totals = matrix.sum(axis=1)
        if not np.isfinite(totals).all():
            raise OverflowError(
                f"the weights of document {int(np.argmin(np.isfinite(totals)))} are too large to add up"
            )
        sound = totals > 0
        # Divided first: sums of large weights times large vectors would overflow.
        matrix.data = matrix.data / np.repeat(np.where(sound, totals, 1.0), np.diff(matrix.indptr))
        centroids.append(matrix @ vectors)
        offsets = np.concatenate([[0], np.cumsum(sound)]).astype(np.int64)
        sets.append((offsets, (first + np.flatnonzero(sound)).astype(np.int32), np.ones(int(offsets[-1]))))
        first += count
    table = np.concatenate(centroids)
    return table if len(table) else np.zeros((1, vectors.shape[1])), sets[0], sets[1]


class _progress_bar:
    """A context that gives the callback for `progress=True`, or None."""

    def __init__(self, wanted: bool, description: str) -> None:
        self.bar: Any = None
        if wanted:
            try:
                from tqdm.auto import tqdm
            except ImportError:
                return
            self.bar = tqdm(desc=description, unit="tile")

    def __enter__(self) -> Any:
        return None if self.bar is None else self.report

    def report(self, done: int, total: int) -> None:
        self.bar.total = total
        self.bar.update(done - self.bar.n)

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
