"""Word Mover's Distance and its similarity index as gensim has them: the same calls, numbers and edge cases.

gensim is not needed, unless the word vectors are its own.
"""

from __future__ import annotations

import os
import pickle
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist

from kexue import DocumentIndex, KexueValueError, pairwise_distances, wmd

__all__ = ["WmdSimilarity", "wmdistance"]

# Where all distances between two documents add up to less than this, gensim says that they are infinitely far.
_TOUCHING = 1e-8


def wmdistance(kv: Any, document1: Sequence[str], document2: Sequence[str], norm: bool = True) -> float:
    """Word Mover's Distance of two documents: ``kv.wmdistance(document1, document2, norm)`` of gensim.

    Parameters
    ----------
    kv : KeyedVectors or WordVectors
        Words and vectors, of gensim or of kexue.
    document1, document2 : sequence of str
        Tokens. Those without a vector are dropped. A plain string is, as in gensim, a sequence of characters.
    norm : bool, optional
        Scale all vectors to length 1 first.

    Returns
    -------
    distance : float
        float64, whatever the vectors are.

        - inf if a document has no token with a vector;
        - 0.0 if both documents are of one and the same word;
        - inf, as in gensim, if there is more than one word, and the distances of all words of one document to
          all of the other add up to less than 1e-8.

    Raises
    ------
    KexueValueError
        A vector is not finite, or is zero and has no direction (gensim returns 0.0).
    TypeError
        A token is not a string, but `kv` has a vector for it.

    See Also
    --------
    kexue.wmd : on arrays, with weights.
    kexue.pairwise_distances : all pairs of two sets.

    Notes
    -----
    Unit vectors are rounded to the type of the vectors, as in gensim; everything else is float64. gensim's log messages
    are left out.

    Examples
    --------
    >>> from kexue import WordVectors
    >>> from kexue.compat.gensim import wmdistance
    >>> words = WordVectors(["cat", "dog", "car"], [[3.0, 0.0], [0.0, 1.0], [0.0, 2.0]])
    >>> wmdistance(words, ["cat", "cat", "unknown"], ["dog"], norm=False) == 10**0.5
    True
    >>> wmdistance(words, ["unknown"], ["dog"])
    inf
    """
    counts1, counts2 = (Counter(token for token in document if token in kv) for document in (document1, document2))
    if not counts1 or not counts2:
        return float("inf")
    if len(counts1.keys() | counts2.keys()) == 1:
        return 0.0
    vectors1, vectors2 = _vectors_of(kv, list(counts1), norm), _vectors_of(kv, list(counts2), norm)
    if _are_touching(vectors1, vectors2):
        return float("inf")
    return float(wmd(vectors1, vectors2, list(counts1.values()), list(counts2.values())))


class WmdSimilarity:
    """Similarity 1 / (1 + Word Mover's Distance) of queries to a corpus: gensim's class of this name.

    ``index[query]`` gives the similarities to all documents, or, with `num_best`, the best documents.

    Parameters
    ----------
    corpus : sequence of sequences of str
        Documents as tokens. It is counted here, so later changes to the list have no effect.
    kv_model : KeyedVectors or WordVectors
        Words and vectors, of gensim or of kexue. They are scaled to length 1.
    num_best : int, optional
        How many documents a query gives. May be set later. Then the search is exact and solves few of the transport
        problems (`kexue.DocumentIndex`).
    chunksize : int, optional
        How many documents iteration compares with the corpus at a time.

    Attributes
    ----------
    corpus, wv, num_best, chunksize
        As they were given.

    Raises
    ------
    KexueValueError
        Here or in a query: a vector of a word in use is not finite, or is zero.
    TypeError
        A token is not a string, but `kv_model` has a vector for it.

    See Also
    --------
    wmdistance : the distance, with all edge cases.
    kexue.DocumentIndex : the search by itself: saved to a file, extended, memory-mapped.

    Notes
    -----
    Where it is not gensim's class:

    - of equally similar documents `num_best` takes the ones with lower numbers, and its results are int and float;
    - iteration yields one result a document also where a chunk has one document;
    - the vectors of the words in use are kept, as float64.

    The threads are those of `kexue.threads`.

    Examples
    --------
    >>> from kexue import WordVectors
    >>> from kexue.compat.gensim import WmdSimilarity
    >>> words = WordVectors(["cat", "dog", "car"], [[1.0, 0.0], [0.0, 1.0], [-2.0, 0.0]])
    >>> index = WmdSimilarity([["cat", "dog"], ["car"], ["unknown"]], words)
    >>> index[["dog", "cat"]].round(3)
    array([1.   , 0.369, 0.   ])
    >>> index.num_best = 1
    >>> index[[["car", "unknown"], ["cat", "dog"]]]
    [[(1, 1.0)], [(0, 1.0)]]
    """

    def __init__(
        self, corpus: Sequence[Sequence[str]], kv_model: Any, num_best: int | None = None, chunksize: int = 256
    ) -> None:
        self.corpus = corpus
        self.wv = kv_model
        self.num_best = num_best
        self.chunksize = chunksize
        self._rows: dict[str, int] = {}
        self._vectors = np.zeros((0, kv_model.vectors.shape[1]))
        self._search: DocumentIndex | None = None
        self._counts = self._count(corpus)

    def __len__(self) -> int:
        return len(self.corpus)

    def __repr__(self) -> str:
        return f"WmdSimilarity<{len(self)} docs, {self._vectors.shape[1]} features>"

    def __getitem__(self, query: Any) -> Any:
        """Similarities of a document, of several, or of documents of the corpus by their numbers.

        Parameters
        ----------
        query : sequence of str, list of lists of str, or ndarray of int
            A document; documents; or numbers of documents of the corpus.

        Returns
        -------
        similarities : ndarray, shape (documents,) or (queries, documents)
            Without `num_best`. One query, also as a list of one, gives one dimension. 0 if a side has no known word.
        best : list of (int, float), or a list of such lists
            With `num_best`: numbers and similarities, the best first; documents of similarity 0 are left out.
        """
        if self.num_best is None:
            return self.get_similarities(query)
        best = self._best(self._queries(query))
        return best[0] if len(best) == 1 else best

    def __iter__(self) -> Iterator[Any]:
        """``index[document]`` for every document of the corpus."""
        step = max(1, self.chunksize)
        for start in range(0, len(self), step):
            numbers = np.arange(start, min(start + step, len(self)))
            results = self[numbers]
            yield from results if len(numbers) > 1 else [results]

    def get_similarities(self, query: Any) -> np.ndarray:
        """Similarities to all documents, whatever `num_best` is.

        Parameters
        ----------
        query : list of str, or list of lists
            A document or several, as for ``index[query]``.

        Returns
        -------
        ndarray, shape (n_documents,) or (n_queries, n_documents)
        """
        similarities = 1.0 / (1.0 + self._distances(self._count(self._queries(query))))
        return similarities[0] if len(similarities) == 1 else similarities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write corpus, vectors and all into a pickle.

        Parameters
        ----------
        path : str or path-like
        """
        with open(path, "wb") as file:
            pickle.dump(self, file)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WmdSimilarity:
        """Read what :meth:`save` wrote. Reading a pickle can run code: load only what you trust.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        WmdSimilarity

        Raises
        ------
        KexueValueError
            The file holds something else, an index of gensim for instance.
        OSError
            The file cannot be opened.
        """
        with open(path, "rb") as file:
            try:
                index = pickle.load(file)
            except Exception as error:  # of whatever kind a damaged pickle ends with
                raise KexueValueError(f"{path} cannot be read as a pickle: {error}") from error
        if not isinstance(index, cls):
            raise KexueValueError(f"{path} holds a {type(index).__name__}, not a {cls.__name__} of kexue")
        return index

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_search": None}

    def _queries(self, query: Any) -> Sequence[Sequence[str]]:
        if isinstance(query, np.ndarray):
            query = [self.corpus[i] for i in query]
        return query if query and isinstance(query[0], list) else [query]

    def _count(self, documents: Iterable[Iterable[str]]) -> csr_array:
        """Counts of the known words of each document; a word that is met for the first time gets a row."""
        indices, ends, fresh = array("q"), array("q", [0]), []
        for document in documents:
            for token in document:
                row = self._rows.get(token)
                if row is None:
                    if token not in self.wv:
                        continue
                    row = self._rows[token] = len(self._rows)
                    fresh.append(token)
                indices.append(row)
            ends.append(len(indices))
        if fresh:
            try:
                self._vectors = np.concatenate([self._vectors, _vectors_of(self.wv, fresh, True)])
            except BaseException:
                for token in fresh:
                    del self._rows[token]
                raise
            self._search = None
        counts = csr_array(
            (np.ones(len(indices)), np.array(indices, dtype=np.int64), np.array(ends, dtype=np.int64)),
            shape=(len(ends) - 1, len(self._rows)),
        )
        counts.sum_duplicates()
        return counts

    def _corpus_counts(self) -> csr_array:
        """The counts of the corpus with columns for all words that have been met."""
        counts = self._counts
        return csr_array((counts.data, counts.indices, counts.indptr), (len(self), len(self._rows)))

    def _distances(self, queries: csr_array) -> np.ndarray:
        if not self._counts.nnz or not queries.nnz:
            return np.full((queries.shape[0], len(self)), np.inf)
        distances = pairwise_distances(queries, self._corpus_counts(), vectors=self._vectors, empty="inf")
        for i, j in np.argwhere(distances < _TOUCHING):
            if self._is_touching(queries, i, j):
                distances[i, j] = np.inf
        return distances

    def _best(self, queries: Sequence[Sequence[str]]) -> list[list[tuple[int, float]]]:
        assert self.num_best is not None
        counts = self._count(queries)
        if self.num_best <= 0 or not self._counts.nnz or not counts.nnz:
            return [[] for _ in queries]
        if self._search is None:
            self._search = DocumentIndex(self._vectors, empty="skip").fit(self._corpus_counts())
        distances, numbers = self._search.kneighbors(counts, self.num_best)
        for i in np.unique(np.nonzero(distances < _TOUCHING)[0]):
            if any(self._is_touching(counts, i, j) for j in numbers[i, distances[i] < _TOUCHING]):
                # gensim leaves these out, so as many others move up.
                row = self._distances(counts[[i]])[0]
                numbers[i] = np.argsort(row, kind="stable")[: numbers.shape[1]]
                distances[i] = row[numbers[i]]
        return [
            [
                (number, 1.0 / (1.0 + distance))
                for number, distance in zip(row_numbers, row, strict=True)
                if distance < np.inf
            ]
            for row_numbers, row in zip(numbers.tolist(), distances.tolist(), strict=True)
        ]

    def _is_touching(self, queries: csr_array, i: int, j: int) -> bool:
        words1, words2 = (
            counts.indices[counts.indptr[k] : counts.indptr[k + 1]] for counts, k in ((queries, i), (self._counts, j))
        )
        one_word = len(words1) == len(words2) == 1 and words1[0] == words2[0]
        return not one_word and _are_touching(self._vectors[words1], self._vectors[words2])


def _are_touching(vectors1: np.ndarray, vectors2: np.ndarray) -> bool:
    first = cdist(vectors1[:1], vectors2).sum()  # nearly always decides
    return first < _TOUCHING and cdist(vectors1, vectors2).sum() < _TOUCHING


def _vectors_of(kv: Any, words: list[str], norm: bool) -> np.ndarray:
    for word in words:
        if not isinstance(word, str):
            raise TypeError(f"tokens must be str, not {type(word).__name__}")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if hasattr(kv, "get_vector"):  # gensim's may make up vectors for unknown words
            vectors = np.array([kv.get_vector(word, norm=norm) for word in words])
        else:
            vectors = kv[words]
            if norm:
                vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    sound = np.isfinite(vectors).all(axis=1)
    if not sound.all():
        word = words[int(np.argmin(sound))]
        raise KexueValueError(f"the vector of {word!r} is not finite" + norm * ", or its norm is 0")
    return vectors.astype(np.float64)
