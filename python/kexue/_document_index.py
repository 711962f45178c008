"""The k nearest documents of a corpus, exactly; kept as a folder of arrays."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike

import kexue  # kexue.documents exports this module's class, so its helpers are looked up when they are called
from kexue import _document_index_files, _documents, _npz
from kexue._arrays import as_array, as_contiguous, as_csr_rows, as_real
from kexue._context import status_name
from kexue._document_index_files import EMPTY, METRICS
from kexue._errors import KexueValueError
from kexue._word_vectors import WordVectors, _check_integer

__all__ = ["DocumentIndex", "SearchStats"]

_Rows = tuple[np.ndarray, np.ndarray, np.ndarray]  # offsets, words, weights


@dataclass(frozen=True)
class SearchStats:
    """What became of the documents, for each query of a search.

    Attributes
    ----------
    documents : ndarray of int64, shape (queries,)
        Documents that are there and not empty: the sum of the others. 0 for an empty query.
    relaxed : ndarray of int64, shape (queries,)
        Excluded by the relaxed bound.
    dual : ndarray of int64, shape (queries,)
        Excluded by the dual bound.
    exact : ndarray of int64, shape (queries,)
        Solved.

    See Also
    --------
    DocumentIndex.kneighbors : returns it, with ``stats=True``.

    Examples
    --------
    >>> import kexue
    >>> index = kexue.DocumentIndex([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).fit([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
    >>> _, _, stats = index.kneighbors([[1, 0, 0]], 1, stats=True)
    >>> int((stats.relaxed + stats.dual + stats.exact)[0])
    3
    """

    documents: np.ndarray
    relaxed: np.ndarray
    dual: np.ndarray
    exact: np.ndarray


@dataclass(frozen=True)
class _Documents:
    """Documents that were added together, or all of them. Nothing changes the arrays, so indexes may share them."""

    vectors: np.ndarray | None  # contextual ones, which belong to the documents
    used: np.ndarray  # row of the vectors of each word, in the order of first use
    factors: np.ndarray | None  # 1 / norm of each word, for WRD
    offsets: np.ndarray
    words: np.ndarray  # by number; in every document ascending by row of the vectors
    weights: np.ndarray  # of sum 1

    @property
    def size(self) -> int:
        return len(self.offsets) + len(self.words)

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: array for name, array in vars(self).items() if array is not None}


def _joined(pieces: Sequence[_Documents]) -> _Documents:
    def together(name: str) -> Any:
        arrays = [getattr(piece, name) for piece in pieces]
        full = [array for array in arrays if array is not None and len(array)]
        return np.concatenate(full) if len(full) > 1 else full[0] if full else arrays[-1]

    starts = itertools.accumulate((int(piece.offsets[-1]) for piece in pieces), initial=0)
    ends = [piece.offsets[1:] + start for piece, start in zip(pieces, starts, strict=False)]
    return _Documents(
        together("vectors"),
        together("used"),
        together("factors"),
        np.concatenate([np.zeros(1, dtype=np.int64), *ends]),
        together("words"),
        together("weights"),
    )


class DocumentIndex:
    """A corpus that is searched for the documents nearest to a query, exactly.

    The neighbours are those that all distances to the corpus would give, to the bit, but nearly all documents are
    excluded by lower bounds of their distance, and only what is left is solved.

    Parameters
    ----------
    vectors : array_like of shape (vocabulary, d), WordVectors, or None
        Word vectors, float32 or float64; may be memory-mapped. They are not copied where they can be used as they are,
        so do not change them afterwards. With `WordVectors`, texts can be given instead of counts. None is for
        contextual vectors: every token of a document has its own.
    metric : {"wmd", "wrd"}, optional
        Word Mover's or Word Rotator's Distance; see `kexue.wmd` and `kexue.wrd`.
    rms : bool, optional
        Use the root mean square difference, Euclid / sqrt(d), as the ground cost; only for "wmd".
    empty : {"raise", "skip"}, optional
        An empty document or query is an error, or: the document keeps its number and is nobody's neighbour; the query
        has no neighbours. A document is empty if it has no word of positive weight, for "wrd" none with a vector other
        than zero.

    Attributes
    ----------
    metric : str
    n_documents : int
        Documents that are there; also ``len(index)``.
    n_words : int
        Different words in use, or tokens of contextual vectors, those of removed documents too.
    dimension : int or None
        Of the vectors; None as long as no contextual vectors were added.
    dtype : numpy.dtype or None
        float32 or float64, of the vectors and of the distances.
    nbytes : int
        Of all arrays, the vectors among them.

    Raises
    ------
    KexueValueError
        `vectors` is not a table of numbers; `metric` or `empty` is none of the above; `rms` with "wrd".

    See Also
    --------
    kexue.pairwise_distances : all distances.
    DocumentIndex.load : an index that was saved.

    Notes
    -----
    **How.** With m different words in a query, U in the corpus and z words in all documents together, a query takes
    O(m U d) for the distances of words, as a matrix product, and O(m z) for the relaxed bounds of all documents
    from it ([1]_; [2]_ brings them to O(z)). Where that does not decide, a feasible solution of the dual transport
    problem is a closer bound. Documents are taken in the order of their bounds, and solved until the next bound,
    less what it may have lost to rounding, is above the k-th best distance.

    **Memory.** The vectors, 12 bytes for each word of each document, 8 for each document, 4 (with "wrd" 12) for each
    different word. What was added is joined to the rest at the next search, which copies the documents, and
    contextual vectors, but never word vectors.

    **Numbers.** Documents have the numbers 0, 1, ... in the order in which they were added. A number is never given
    again, except by `fit`, which starts anew.

    **Threads.** Several threads may search one index at a time; nobody may add or remove meanwhile.

    References
    ----------
    .. [1] M. Kusner, Y. Sun, N. Kolkin and K. Weinberger, *From word embeddings to document distances*, ICML 2015
       (PMLR 37:957-966): the distance, its relaxed bound, and search by it.
    .. [2] K. Atasu, T. Parnell, C. Dünner, M. Sifalakis, H. Pozidis, V. Vasileiadis, M. Vlachos, C. Berrospi and
       A. Labbi, *Linear-complexity relaxed word mover's distance with GPU acceleration*, IEEE Big Data 2017,
       arXiv:1711.07227: relaxed bounds of all documents from one table of distances.
    .. [3] S. Yokoi, R. Takahashi, R. Akama, J. Suzuki and K. Inui, *Word Rotator's Distance*, EMNLP 2020,
       arXiv:2004.15003.

    Examples
    --------
    >>> import kexue
    >>> words = kexue.WordVectors(["cat", "dog", "car"], [[1.0, 0.5], [1.0, 0.0], [-3.0, 0.0]])
    >>> index = kexue.DocumentIndex(words).fit([["cat", "dog"], ["car"], ["car", "dog"]])
    >>> index
    DocumentIndex(3 documents, 3 words, 2 dimensions, wmd, float32)
    >>> distances, indices = index.kneighbors([["dog"]], 2)
    >>> distances, indices
    (array([[0.25, 2.  ]], dtype=float32), array([[0, 2]]))
    >>> index.search([["dog", "dog"]], top_k=1)
    [[{'corpus_id': 0, 'score': 0.8}]]
    """

    def __init__(
        self,
        vectors: ArrayLike | WordVectors | None,
        metric: Literal["wmd", "wrd"] = "wmd",
        *,
        rms: bool = False,
        empty: Literal["raise", "skip"] = "raise",
    ) -> None:
        if metric not in METRICS:
            raise KexueValueError(f'metric must be "wmd" or "wrd", got {metric!r}')
        if empty not in EMPTY:
            raise KexueValueError(f'empty must be "raise" or "skip", got {empty!r}')
        if rms and metric == "wrd":
            raise KexueValueError('rms goes with metric="wmd" only')
        self._metric: Literal["wmd", "wrd"] = "wrd" if metric == "wrd" else "wmd"
        self._rms = bool(rms)
        self._empty: Literal["raise", "skip"] = "skip" if empty == "skip" else "raise"
        self._words = vectors if isinstance(vectors, WordVectors) else None
        table = vectors.vectors if isinstance(vectors, WordVectors) else vectors
        self._vectors = None if table is None else kexue.documents._vectors("vectors", table)
        self._clear()

    def _clear(self) -> None:
        self._pieces = [
            _Documents(
                None,
                np.zeros(0, dtype=np.int32),
                np.zeros(0) if self._metric == "wrd" else None,
                np.zeros(1, dtype=np.int64),
                np.zeros(0, dtype=np.int32),
                np.zeros(0),
            )
        ]
        self._removed = bytearray()  # grows in place, unlike an array
        self._numbers: np.ndarray | None = None

    # ---- what is there ----

    def __len__(self) -> int:
        return self._removed.count(0)

    @property
    def n_documents(self) -> int:
        return len(self)

    @property
    def n_words(self) -> int:
        return sum(len(piece.used) for piece in self._pieces)

    @property
    def metric(self) -> Literal["wmd", "wrd"]:
        return self._metric

    def _known_vectors(self) -> np.ndarray | None:
        """A table of the dimension and the dtype of all others, if there is one yet."""
        return self._pieces[-1].vectors if self._vectors is None else self._vectors

    @property
    def dimension(self) -> int | None:
        vectors = self._known_vectors()
        return None if vectors is None else vectors.shape[1]

    @property
    def dtype(self) -> np.dtype | None:
        vectors = self._known_vectors()
        return None if vectors is None else vectors.dtype

    @property
    def nbytes(self) -> int:
        arrays = [array for piece in self._pieces for array in piece.arrays().values()]
        vectors = 0 if self._vectors is None else self._vectors.nbytes
        return vectors + sum(array.nbytes for array in arrays) + len(self._removed)

    def __repr__(self) -> str:
        known = "" if self.dimension is None else f"{self.dimension} dimensions, "
        rms = ", rms" if self._rms else ""
        dtype = "" if self.dtype is None else f", {self.dtype}"
        words = "tokens" if self._vectors is None else "words"
        return f"DocumentIndex({len(self)} documents, {self.n_words} {words}, {known}{self._metric}{rms}{dtype})"

    def __copy__(self) -> Self:
        copied = type(self).__new__(type(self))
        copied.__setstate__(self.__getstate__())
        return copied

    def __getstate__(self) -> dict[str, Any]:
        # What add changes in place must not be shared with a copy. The numbers follow from the documents, and the
        # vectors from the words, whose array may be another view of the same memory.
        state = vars(self) | {"_pieces": list(self._pieces), "_removed": bytearray(self._removed), "_numbers": None}
        return state if self._words is None else state | {"_vectors": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if self._words is not None:
            self._vectors = kexue.documents._vectors("vectors", self._words.vectors)

    # ---- documents come and go ----

    def fit(self, X: Any, *, weights: Sequence[ArrayLike | None] | None = None) -> Self:
        """Make these the documents of the index, numbered from 0, in place of those that were there.

        Parameters
        ----------
        X, weights
            As in `add`.

        Returns
        -------
        DocumentIndex
            This index.

        Raises
        ------
        KexueValueError, TypeError
            As in `add`; the index is then as it was before.

        Examples
        --------
        >>> import kexue
        >>> kexue.DocumentIndex([[0.0, 1.0], [1.0, 0.0]]).fit([[1, 0], [1, 1]])
        DocumentIndex(2 documents, 2 words, 2 dimensions, wmd, float64)
        """
        fresh = self.__copy__()
        fresh._clear()
        fresh.add(X, weights=weights)
        vars(self).update(vars(fresh))
        return self

    def add(self, X: Any, *, weights: Sequence[ArrayLike | None] | None = None) -> np.ndarray:
        """Append documents.

        Parameters
        ----------
        X : sparse matrix, array_like, list of texts, or sequence of array_like
            - With word vectors: documents as rows of non-negative word weights (counts, TF-IDF, ...) in any scale, of
              shape (documents, vocabulary), sparse or dense.
            - With `WordVectors` also a list of documents, each a list of words, or a string that is split as in
              `WordVectors.count_matrix`; words without a vector are left out.
            - With contextual vectors (``vectors=None``): a list of arrays of shape (words, d). The first ones that are
              added decide on the dimension and the dtype, and later ones are converted to it.
        weights : sequence, optional
            For contextual vectors: the weights of each document's tokens, or None for uniform ones.

        Returns
        -------
        numbers : ndarray of int64
            The numbers of these documents.

        Raises
        ------
        KexueValueError
            Names the first bad document or entry: empty (see `empty`), negative or not finite, a vocabulary or a
            dimension that does not fit. The index is then as it was before.
        TypeError
            `X` is not what goes with the index's vectors.
        OverflowError
            Weights or vectors are too large for the distances.

        Notes
        -----
        O(words in X), times the logarithm of the number of calls, and for "wrd" also O(vocabulary): add many documents
        at a time where you can.

        Examples
        --------
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 1.0], [1.0, 0.0]]).fit([[1, 0], [1, 1]])
        >>> index.add([[0, 5]])
        array([2])
        """
        vectors, (offsets, words, mass), factors = self._normalized(X, weights)
        first_number = self.n_words
        if self._vectors is None:
            # Every token is a word of its own, so they ascend from the first document to the last.
            own = vectors if len(vectors) or self.dimension is not None else None
            first_row = sum(len(piece.vectors) for piece in self._pieces if piece.vectors is not None)
            if first_row + len(vectors) > np.iinfo(np.int32).max:
                raise OverflowError(f"the index would have {first_row + len(vectors)} tokens, more than 2**31 - 1")
            known, rows, used = None, words, words + np.int32(first_row)
            numbers = np.arange(first_number, first_number + len(words), dtype=np.int32)
        else:
            own, known = None, self._word_numbers()
            self._numbers = None  # until the documents are there: an interruption must not leave numbers without words
            rows, first_place = np.unique(words, return_index=True)
            unknown = known[rows] < 0
            used = rows = rows[unknown][np.argsort(first_place[unknown])]
            known[used] = np.arange(first_number, first_number + len(used), dtype=np.int32)
            numbers = known[words]
        piece = _Documents(own, used, None if factors is None else factors[rows], offsets, numbers, mass)
        first = len(self._removed)
        if first == 0:
            self._pieces = []
        self._pieces.append(piece)
        self._removed.extend(bytes(len(offsets) - 1))
        self._numbers = known
        # Each piece is larger than the next one, so there are few, and a document is copied a few times at most.
        while len(self._pieces) > 1 and self._pieces[-2].size <= self._pieces[-1].size:
            self._pieces[-2:] = [_joined(self._pieces[-2:])]
        return np.arange(first, len(self._removed), dtype=np.int64)

    def remove(self, indices: ArrayLike) -> None:
        """Take documents out. The others keep their numbers.

        Parameters
        ----------
        indices : int or array_like of int
            Numbers of documents.

        Raises
        ------
        IndexError
            There never was a document of that number.
        KexueValueError
            It was removed before, or is given twice. No document is then removed.
        TypeError
            `indices` are not integers.

        Notes
        -----
        A removed document costs no time in a search, but its memory is only free after a new `fit`.

        Examples
        --------
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 1.0], [1.0, 0.0]]).fit([[1, 0], [1, 1], [0, 1]])
        >>> index.remove(1)
        >>> index.kneighbors([[1, 0]], return_distance=False)
        array([[0, 2]])
        """
        numbers = np.atleast_1d(as_array("indices", indices))
        if numbers.size == 0:
            return
        if numbers.dtype.kind not in "iu":
            raise TypeError(f"indices must be integers, but their dtype is {numbers.dtype}")
        if numbers.ndim != 1:
            raise KexueValueError(f"indices must have at most 1 dimension, but their shape is {numbers.shape}")
        seen: set[int] = set()
        for number in numbers.tolist():
            if not 0 <= number < len(self._removed):
                raise IndexError(
                    f"there is no document {number}; the index has given numbers up to {len(self._removed)}"
                )
            if self._removed[number] or number in seen:
                raise KexueValueError(f"document {number} is {'given twice' if number in seen else 'removed already'}")
            seen.add(number)
        for number in seen:
            self._removed[number] = 1

    # ---- search ----

    @overload
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = ...,
        *,
        return_distance: Literal[True] = ...,
        workers: int | None = ...,
        progress: bool = ...,
        stats: Literal[False] = ...,
        weights: Sequence[ArrayLike | None] | None = ...,
    ) -> tuple[np.ndarray, np.ndarray]: ...
    @overload
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = ...,
        *,
        return_distance: Literal[False],
        workers: int | None = ...,
        progress: bool = ...,
        stats: Literal[False] = ...,
        weights: Sequence[ArrayLike | None] | None = ...,
    ) -> np.ndarray: ...
    @overload
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = ...,
        *,
        return_distance: Literal[True] = ...,
        workers: int | None = ...,
        progress: bool = ...,
        stats: Literal[True],
        weights: Sequence[ArrayLike | None] | None = ...,
    ) -> tuple[np.ndarray, np.ndarray, SearchStats]: ...
    @overload
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = ...,
        *,
        return_distance: Literal[False],
        workers: int | None = ...,
        progress: bool = ...,
        stats: Literal[True],
        weights: Sequence[ArrayLike | None] | None = ...,
    ) -> tuple[np.ndarray, SearchStats]: ...
    @overload
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = ...,
        *,
        return_distance: bool = ...,
        workers: int | None = ...,
        progress: bool = ...,
        stats: bool = ...,
        weights: Sequence[ArrayLike | None] | None = ...,
    ) -> Any: ...
    def kneighbors(
        self,
        X: Any,
        n_neighbors: int = 5,
        *,
        return_distance: bool = True,
        workers: int | None = None,
        progress: bool = False,
        stats: bool = False,
        weights: Sequence[ArrayLike | None] | None = None,
    ) -> Any:
        """The nearest documents of each query.

        Parameters
        ----------
        X, weights
            Queries, given as documents are: see `add`.
        n_neighbors : int, optional
            How many; if the index has fewer documents, all of them.
        return_distance : bool, optional
            Return the distances too.
        workers : int, optional
            Threads: 1 is serial, -1 all processors, None the default of `kexue.threads`. The result is the same for any
            number, to the bit.
        progress : bool, optional
            Show a bar, if tqdm is installed.
        stats : bool, optional
            Also return how many documents each bound excluded.

        Returns
        -------
        distances : ndarray of shape (queries, min(n_neighbors, documents)), the index's dtype
            Ascending; only with `return_distance`. Empty documents do not count. inf for an empty query.
        indices : ndarray of the same shape, int64
            The documents' numbers; of documents at the same distance the lower number comes first. -1 for an empty
            query.
        stats : SearchStats
            Only with ``stats=True``.

        Raises
        ------
        KexueValueError
            There is no document to find; an empty query (see `empty`); otherwise as in `add`.
        KeyboardInterrupt
            On Ctrl-C, within a fraction of a second.

        See Also
        --------
        radius_neighbors, search

        Examples
        --------
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).fit([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
        >>> distances, indices = index.kneighbors([[1, 0, 0], [0, 2, 0]], n_neighbors=2)
        >>> distances.round(3)
        array([[1.   , 2.5  ],
               [2.121, 2.5  ]])
        >>> indices
        array([[2, 0],
               [1, 0]])
        """
        _check_integer("n_neighbors", n_neighbors, 1)
        (offsets, indices, distances), counts = self._search(X, n_neighbors, None, workers, progress, weights)
        shape = len(offsets) - 1, min(int(n_neighbors), self._searchable())
        filled = np.broadcast_to((np.diff(offsets) > 0)[:, None], shape)
        table = np.full(shape, -1, dtype=np.int64)
        table[filled] = indices
        result: list[Any] = [table]
        if return_distance:
            near = np.full(shape, np.inf, dtype=distances.dtype)
            near[filled] = distances
            result.insert(0, near)
        return _result(result, counts if stats else None)

    def radius_neighbors(
        self,
        X: Any,
        radius: float,
        *,
        return_distance: bool = True,
        workers: int | None = None,
        progress: bool = False,
        stats: bool = False,
        weights: Sequence[ArrayLike | None] | None = None,
    ) -> Any:
        """All documents within a distance of each query.

        Parameters
        ----------
        X, weights
            Queries, given as documents are: see `add`.
        radius : float
            The largest distance, which is included.
        return_distance, workers, progress, stats
            As in `kneighbors`.

        Returns
        -------
        distances : ndarray of shape (queries,) of arrays
            Ascending; only with `return_distance`. Empty for an empty query.
        indices : ndarray of shape (queries,) of arrays of int64
            The documents' numbers, in the order of their distances; ties by number.
        stats : SearchStats
            Only with ``stats=True``.

        Raises
        ------
        KexueValueError
            `radius` is negative or NaN; otherwise as in `kneighbors`.
        TypeError
            `radius` is not a number.

        See Also
        --------
        kneighbors

        Examples
        --------
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]]).fit([[1, 1, 0], [0, 1, 1], [0, 0, 1]])
        >>> distances, indices = index.radius_neighbors([[1, 0, 0]], 2.5)
        >>> distances[0], indices[0]
        (array([1. , 2.5]), array([2, 0]))
        """
        limit = as_real("radius", radius, ndim=0, dtype=np.float64)
        if not limit >= 0:
            raise KexueValueError(f"radius must be at least 0, got {radius!r}")
        (offsets, *found), counts = self._search(X, len(self._removed), limit, workers, progress, weights)
        indices, distances = (_object_array(np.split(array, offsets[1:-1]), len(offsets) - 1) for array in found)
        return _result([distances, indices] if return_distance else [indices], counts if stats else None)

    def search(
        self,
        X: Any,
        top_k: int = 5,
        *,
        workers: int | None = None,
        progress: bool = False,
        weights: Sequence[ArrayLike | None] | None = None,
    ) -> list[list[dict[str, Any]]]:
        """The nearest documents of each query as records with a score, the highest first.

        Parameters
        ----------
        X, weights
            Queries, given as documents are: see `add`.
        top_k : int, optional
            How many; if the index has fewer documents, all of them.
        workers, progress
            As in `kneighbors`.

        Returns
        -------
        list of list of dict
            For each query ``{"corpus_id": int, "score": float}`` for each neighbour. The score is 1 - distance for
            "wrd" and 1 / (1 + distance) for "wmd" (the similarity of gensim). An empty list for an empty query.

        Raises
        ------
        KexueValueError
            As in `kneighbors`.

        See Also
        --------
        kneighbors

        Examples
        --------
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 1.0], [1.0, 0.0]], metric="wrd").fit([[1, 0], [1, 1]])
        >>> index.search([[0, 1]])
        [[{'corpus_id': 1, 'score': 0.5}, {'corpus_id': 0, 'score': 0.0}]]
        """
        _check_integer("top_k", top_k, 1)
        (offsets, indices, distances), _ = self._search(X, top_k, None, workers, progress, weights)
        distances = distances.astype(np.float64)
        scores = 1.0 - distances if self._metric == "wrd" else 1.0 / (1.0 + distances)
        records = [
            {"corpus_id": number, "score": score}
            for number, score in zip(indices.tolist(), scores.tolist(), strict=True)
        ]
        return [records[begin:end] for begin, end in itertools.pairwise(offsets.tolist())]

    def _search(
        self,
        X: Any,
        k: int,
        limits: ArrayLike | None,
        workers: int | None,
        progress: bool,
        weights: Sequence[ArrayLike | None] | None,
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], SearchStats]:
        """Up to k documents within the limit (one, or one a query): (offsets, indices, distances), and the stats."""
        found = self._searchable()
        if found == 0:
            raise KexueValueError("the index has no document to find: fit or add some that are not empty")
        documents = self._joined()
        query_vectors, queries, _ = self._normalized(X, weights)
        vectors = documents.vectors if self._vectors is None else self._vectors
        assert vectors is not None  # documents that are not empty have some
        if limits is not None:
            limits = np.array(np.broadcast_to(limits, len(queries[0]) - 1), dtype=np.float64)
        with kexue.documents._progress_bar(progress, self._metric) as report:
            status, result, stats = _documents.search(
                vectors,
                documents.used,
                documents.factors,
                documents.offsets,
                documents.words,
                documents.weights,
                np.frombuffer(self._removed, dtype=np.uint8),
                queries,
                query_vectors if self._vectors is None else None,
                self._metric,
                1.0 / np.sqrt(vectors.shape[1]) if self._rms else 1.0,
                min(int(k), found),
                limits,
                workers,
                report,
            )
        if status:
            _raise(status, {}, vectors, documents.used)
        assert result is not None and stats is not None
        return result, SearchStats(*np.ascontiguousarray(stats.T))

    def _searchable(self) -> int:
        """How many documents are there and not empty."""
        lengths = np.diff(self._joined().offsets)
        return int(np.count_nonzero((lengths > 0) & (np.array(self._removed) == 0)))

    def _joined(self) -> _Documents:
        if len(self._pieces) > 1:
            self._pieces = [_joined(self._pieces)]
        return self._pieces[0]

    def _word_numbers(self) -> np.ndarray:
        """The number of each word of the vocabulary, -1 for those that no document has."""
        if self._numbers is None:
            assert self._vectors is not None
            used = self._joined().used
            self._numbers = np.full(len(self._vectors), -1, dtype=np.int32)
            self._numbers[used] = np.arange(len(used), dtype=np.int32)
        return self._numbers

    # ---- documents and queries as they are given ----

    def _normalized(
        self, X: Any, weights: Sequence[ArrayLike | None] | None
    ) -> tuple[np.ndarray, _Rows, np.ndarray | None]:
        """The vectors that the words are rows of, the documents with weights of sum 1, and 1 / norm of the rows."""
        sets: dict[str, list[np.ndarray]] = {}
        if self._vectors is None:
            sets["X"], vectors, rows = self._contextual_rows(X, weights)
        else:
            if weights is not None:
                raise KexueValueError("weights go with contextual vectors; with word vectors, X holds the weights")
            vectors = self._vectors
            rows = as_csr_rows("X", self._counts(X), len(vectors), "vectors has {} rows")
        offsets, words, mass = rows
        factors = np.zeros(0) if self._metric == "wrd" else None
        if len(words):
            normalized = _documents.normalize(vectors, rows, self._metric)
            if normalized[0]:
                _raise(normalized[0], sets, vectors, kexue.documents._used_words(rows))
            assert normalized[1] is not None
            _, offsets, words, mass, factors = normalized
        empty = np.flatnonzero(np.diff(offsets) == 0)
        if empty.size and self._empty == "raise":
            first = int(empty[0])
            begin, end = rows[0][first : first + 2]
            present = rows[1][begin:end][rows[2][begin:end] > 0]
            if vectors[present].any():
                reason = "the norms of its vectors are too small for float64"
            elif present.size:
                reason = "all its vectors are zero"
            elif self._words is not None and begin == end:
                reason = "it has no words with a vector"
            else:
                reason = "it has no words of positive weight"
            raise KexueValueError(f'X[{first}] is empty: {reason}; an index with empty="skip" lets it pass')
        return vectors, (offsets, words, mass), factors

    def _counts(self, X: Any) -> Any:
        """Texts as counts, and everything else as it is."""
        if isinstance(X, str | bytes):
            raise TypeError("X must be a list of documents, not one string")
        if getattr(getattr(X, "dtype", None), "kind", None) in ("O", "U", "T"):  # arrays and pandas' columns of texts
            X = list(X)
        if not isinstance(X, list | tuple):
            return X
        texts = [_is_text(document) for document in X]
        full = [i for i, text in enumerate(texts) if text and X[i]]
        if self._words is None:
            if full:
                raise TypeError(
                    f"X[{full[0]}] is a text, but the index has an array of vectors: "
                    "make it with WordVectors, or give counts"
                )
        elif all(texts):
            return self._words.count_matrix(X)
        elif full:
            first = texts.index(False)
            raise TypeError(f"X[{first}] must be a list of words or a string, not {type(X[first]).__name__}")
        return X

    def _contextual_rows(
        self, X: Any, weights: Sequence[ArrayLike | None] | None
    ) -> tuple[list[np.ndarray], np.ndarray, _Rows]:
        family = kexue.documents
        arrays, (offsets, words, flat) = family._array_rows("X", X, None, 0)
        if weights is not None:
            if len(weights) != len(arrays):
                raise KexueValueError(f"weights has {len(weights)} entries for {len(arrays)} documents")
            parts = [family._weights(f"weights[{i}]", part, len(arrays[i])) for i, part in enumerate(weights)]
            flat = np.concatenate([flat[:0], *parts])
        full = [array for array in arrays if array.size]
        dimension = self.dimension
        if full and dimension is not None and full[0].shape[1] != dimension:
            i = next(i for i, array in enumerate(arrays) if array.size)
            raise KexueValueError(
                f"X[{i}] has shape {arrays[i].shape}, but the index has vectors of dimension {dimension}"
            )
        if self.dtype is not None:
            with np.errstate(over="ignore"):  # what becomes infinite is refused as such
                arrays = [array.astype(self.dtype, copy=False) for array in arrays]
            full = [array for array in arrays if array.size]
        if full:
            vectors = as_contiguous(np.concatenate(full))
        else:
            vectors = np.zeros((0, dimension or 1), dtype=self.dtype or np.float64)
        return arrays, vectors, (offsets, words, flat)

    # ---- files ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the index to a folder, which `load` can map into memory.

        The folder holds arrays as ``.npy`` files, the vectors among them, without pickle, and ``index.json``, which
        says what they are. It is written under a temporary name next to `path` and then renamed, so that an index that
        was there before is replaced at the end or not at all.

        Parameters
        ----------
        path : str or path-like
            A folder that does not exist yet, an empty one, or one that holds an index.

        Raises
        ------
        KexueValueError
            `path` is there, and holds something other than an index.
        OSError
            The folder cannot be written, or on Windows, an index that is mapped cannot be replaced; an index that was
            there before is as it was.

        See Also
        --------
        load

        Examples
        --------
        >>> import os, tempfile
        >>> import kexue
        >>> index = kexue.DocumentIndex([[0.0, 1.0], [1.0, 0.0]]).fit([[1, 0], [1, 1]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "index")
        ...     index.save(path)
        ...     kexue.DocumentIndex.load(path, mmap=False)
        DocumentIndex(2 documents, 2 words, 2 dimensions, wmd, float64)
        """
        arrays = self._stored_arrays()
        description = {
            "metric": self._metric,
            "rms": self._rms,
            "empty": self._empty,
            "kind": "contextual" if self._vectors is None else "array" if self._words is None else "words",
            "dtype": arrays["vectors"].dtype.name,
            "sizes": {
                "documents": len(self._removed),
                "words": len(arrays["used"]),
                "entries": len(arrays["words"]),
                "vocabulary": arrays["vectors"].shape[0],
                "dimension": arrays["vectors"].shape[1],
                "key_bytes": len(arrays.get("keys", ())),
            },
        }
        _document_index_files.write(path, description, arrays)

    def _stored_arrays(self) -> dict[str, np.ndarray]:
        # Contextual vectors of which there are none yet have no dimension either.
        vectors = np.zeros((0, 0)) if self._vectors is None else self._vectors
        arrays = {"vectors": vectors, "removed": np.array(self._removed)} | self._joined().arrays()
        if self._words is not None:
            arrays["keys"], arrays["key_offsets"] = _npz.pack_strings(self._words.index_to_key)
        return arrays

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = True) -> Self:
        """An index that was saved.

        Parameters
        ----------
        path : str or path-like
            The folder.
        mmap : bool, optional
            Map the arrays into memory instead of reading them, so that an index can be larger than the memory.

        Returns
        -------
        DocumentIndex
            With `WordVectors` if it was made with them.

        Raises
        ------
        FileNotFoundError
            There is nothing at `path`.
        KexueValueError
            It is not an index, is damaged, or is of a version that this one does not know; says what is wrong.
        OSError
            A file cannot be opened.

        Notes
        -----
        All arrays are checked against their checksums, except vectors that are mapped. A damaged number in those is
        found where it is not finite, when it is used.

        Examples
        --------
        >>> import os, tempfile
        >>> import kexue
        >>> words = kexue.WordVectors(["cat", "dog"], [[1.0, 0.5], [1.0, 0.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "index")
        ...     kexue.DocumentIndex(words).fit(["cat and dog", "dog"]).save(path)
        ...     kexue.DocumentIndex.load(path).kneighbors(["a dog"], 1)
        (array([[0.]], dtype=float32), array([[1]]))
        """
        folder = Path(path)
        description, arrays = _document_index_files.read(folder, mmap=mmap)
        kind, sizes = description["kind"], description["sizes"]
        index = cls.__new__(cls)
        index._metric, index._rms, index._empty = (description[name] for name in ("metric", "rms", "empty"))
        index._words, index._vectors = None, None if kind == "contextual" else arrays["vectors"]
        if kind == "words":
            index._words = _stored_words(folder, arrays)
        index._removed = bytearray(arrays["removed"].tobytes())
        index._numbers = None
        own = arrays["vectors"] if kind == "contextual" and sizes["dimension"] else None
        parts = {name: arrays[name] for name in ("used", "offsets", "words", "weights")}
        index._pieces = [_Documents(own, factors=arrays.get("factors"), **parts)]
        return index


def _result(values: list[Any], stats: SearchStats | None) -> Any:
    if stats is not None:
        values.append(stats)
    return values[0] if len(values) == 1 else tuple(values)


def _object_array(arrays: Iterable[np.ndarray], count: int) -> np.ndarray:
    result = np.empty(count, dtype=object)
    for i, array in zip(range(count), arrays, strict=False):  # np.split makes one part of nothing
        result[i] = array
    return result


def _is_text(document: Any) -> bool:
    return isinstance(document, str) or (
        isinstance(document, list | tuple) and all(isinstance(word, str) for word in document)
    )


def _raise(status: int, sets: dict[str, list[np.ndarray]], vectors: np.ndarray, used: np.ndarray) -> None:
    """The exception for a failed call. Only the vectors of the words in use must be finite."""
    if status_name(status) == "KX_E_NONFINITE":
        kexue.documents._require_finite(sets, vectors, used)
    kexue.documents._explain(status, vectors=vectors)


def _stored_words(folder: Path, arrays: dict[str, np.ndarray]) -> WordVectors:
    words = WordVectors.__new__(WordVectors)
    try:
        words._set(_npz.unpack_strings(arrays["keys"], arrays["key_offsets"]), arrays["vectors"])
    except ValueError as error:
        raise KexueValueError(f"{folder}: damaged ({error})") from error
    if len(words.key_to_index) != len(arrays["vectors"]):
        raise KexueValueError(f"{folder}: damaged, a word is there twice")
    return words
