"""Nearest neighbours by Word Mover's or Word Rotator's Distance, as a classifier and as a regressor."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import pairwise_distances_chunked
from sklearn.preprocessing import normalize
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from kexue import DocumentIndex, KexueValueError
from kexue.sklearn._fitting import columns_kept_on_failure
from kexue.sklearn._jobs import count_jobs

_DTYPES = [np.float64, np.float32]  # sparse matrices know neither float16 nor other byte orders


class _Neighbors(BaseEstimator):
    def __init__(
        self,
        vectors: Any = None,
        *,
        vocabulary: Any = None,
        metric: Literal["wmd", "wrd"] = "wmd",
        n_neighbors: int = 5,
        weights: Literal["uniform", "distance"] | Callable[[np.ndarray], np.ndarray] = "uniform",
        empty: Literal["skip", "raise"] = "skip",
        n_jobs: int | None = None,
    ) -> None:
        self.vectors = vectors
        self.vocabulary = vocabulary
        self.metric = metric
        self.n_neighbors = n_neighbors
        self.weights = weights
        self.empty = empty
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def __sklearn_clone__(self) -> Self:
        # Vectors can be gigabytes and are never changed: the clones of a grid search share them.
        bare = copy.copy(self).set_params(vectors=None)
        return BaseEstimator.__sklearn_clone__(bare).set_params(vectors=self.vectors)

    def kneighbors(
        self, X: Any = None, n_neighbors: int | None = None, return_distance: bool = True
    ) -> tuple[np.ndarray, np.ndarray] | np.ndarray:
        """Nearest documents of the training set.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_queries, n_features), optional
            Word counts or other weights. Without it, the training documents, none of which is its own neighbour.
        n_neighbors : int, optional
            By default the estimator's.
        return_distance : bool, optional

        Returns
        -------
        distances : ndarray of shape (n_queries, k)
            Ascending, where k is `n_neighbors` or, if they are fewer, the training documents. inf where there is no
            neighbour, as for all of a query without a known word. Only if `return_distance`.
        indices : ndarray of shape (n_queries, k), int64
            The lower index first where distances are equal; -1 where there is no neighbour.
        """
        check_is_fitted(self, "n_samples_fit_")
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        _check_count("n_neighbors", k)
        if X is None:
            distances, indices = self._index.kneighbors(self._fit_X, k + 1, workers=count_jobs(self.n_jobs))
            others = indices != np.arange(len(indices))[:, None]
            # k + 1 equal documents with lower numbers leave no place for the document itself.
            others[others.all(axis=1), -1] = False
            distances, indices = (a[others].reshape(len(a), -1) for a in (distances, indices))
        else:
            X = validate_data(self, X, accept_sparse="csr", dtype=_DTYPES, reset=False)
            distances, indices = self._index.kneighbors(self._rows(X), k, workers=count_jobs(self.n_jobs))
        return (distances, indices) if return_distance else indices

    def kneighbors_graph(
        self, X: Any = None, n_neighbors: int | None = None, mode: Literal["connectivity", "distance"] = "connectivity"
    ) -> csr_array:
        """The neighbours as a sparse matrix.

        Parameters
        ----------
        X, n_neighbors
            As in :meth:`kneighbors`.
        mode : {"connectivity", "distance"}, optional
            Whether a neighbour's entry is 1 or its distance (0 is stored).

        Returns
        -------
        graph : csr_array of shape (n_queries, n_samples_fit)
        """
        if mode not in ("connectivity", "distance"):
            raise KexueValueError(f'mode must be "connectivity" or "distance", got {mode!r}')
        distances, indices = self.kneighbors(X, n_neighbors)
        found = indices >= 0
        offsets = np.concatenate([[0], np.cumsum(found.sum(axis=1))])
        entries = np.ones(offsets[-1]) if mode == "connectivity" else distances[found]
        return csr_array((entries, indices[found], offsets), shape=(len(indices), self.n_samples_fit_))

    def _fit_documents(self, X: Any) -> Self:
        _check_count("n_neighbors", self.n_neighbors)
        if self.metric not in ("wmd", "wrd"):
            raise KexueValueError(f'metric must be "wmd" or "wrd", got {self.metric!r}')
        if self.empty not in ("skip", "raise"):
            raise KexueValueError(f'empty must be "skip" or "raise", got {self.empty!r}')
        if self.weights not in ("uniform", "distance") and not callable(self.weights):
            raise KexueValueError(f'weights must be "uniform", "distance" or callable, got {self.weights!r}')
        vectors, words, n_words = self._match_words()
        index: DocumentIndex | _OneHotIndex = _OneHotIndex(self.metric, self.empty)
        if vectors is not None:
            index = DocumentIndex(vectors, self.metric, empty=self.empty)
        rows = self._with_words(X, words, n_words)
        if not rows.count_nonzero():
            raise KexueValueError(f"no document of X (shape {X.shape}) has a word with a vector")
        index.fit(rows)
        # All at once: where a fit fails, what was there before still is, and fits together.
        self._words, self._n_words, self._index, self._fit_X = words, n_words, index, rows
        self.n_samples_fit_ = rows.shape[0]
        return self

    def _match_words(self) -> tuple[Any, np.ndarray | None, int]:
        """The vectors, the row of them for each column of X (-1 for none; None for the same one), and their number."""
        n_features = self.n_features_in_
        word_rows = getattr(self.vectors, "key_to_index", None)
        if word_rows is None:
            if self.vocabulary is not None:
                raise KexueValueError("vocabulary goes with WordVectors (or KeyedVectors) as vectors")
            vectors = None if self.vectors is None else np.asanyarray(self.vectors)
            if vectors is not None and vectors.shape[:1] != (n_features,):
                raise KexueValueError(f"X has {n_features} columns, but vectors has shape {vectors.shape}")
            return vectors, None, n_features
        vectors = self.vectors.vectors
        if self.vocabulary is None:
            if len(vectors) != n_features:
                raise KexueValueError(
                    f"X has {n_features} columns, but vectors has {len(vectors)} words: give the vectorizer "
                    "vocabulary=vectors.key_to_index, or the words of the columns as vocabulary"
                )
            return vectors, None, n_features
        names = self._column_names()
        if len(names) != n_features:
            raise KexueValueError(f"X has {n_features} columns, but vocabulary has {len(names)} words")
        if len(set(names)) != n_features:
            repeated = next(name for name in names if names.count(name) > 1)
            raise KexueValueError(f"vocabulary has the word {repeated!r} twice")
        words = np.array([word_rows.get(name, -1) for name in names], dtype=np.int64)
        if (words < 0).all():
            raise KexueValueError("no word of vocabulary has a vector")
        return vectors, words, len(vectors)

    def _column_names(self) -> list[str]:
        if isinstance(self.vocabulary, str):
            raise TypeError("vocabulary must be a sequence of words, not one string")
        if not isinstance(self.vocabulary, Mapping):
            return list(self.vocabulary)
        if sorted(self.vocabulary.values()) != list(range(len(self.vocabulary))):
            raise KexueValueError(f"vocabulary must number its {len(self.vocabulary)} words from 0 without gaps")
        return sorted(self.vocabulary, key=self.vocabulary.__getitem__)

    def _rows(self, X: Any) -> csr_array:
        return self._with_words(X, self._words, self._n_words)

    def _with_words(self, X: Any, words: np.ndarray | None, n_words: int) -> csr_array:
        """X with a column for each word vector."""
        check_non_negative(X, type(self).__name__)
        X = csr_array(X)
        if words is None:
            return X
        known = words >= 0
        X = X[:, known]
        return csr_array((X.data, words[known][X.indices], X.indptr), shape=(X.shape[0], n_words))

    def _votes(self, X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neighbours, their shares of the vote, and whether there is any; the shares are 0 otherwise."""
        distances, indices = self.kneighbors(X)
        present = indices >= 0
        if callable(self.weights):
            weights = np.asarray(self.weights(distances), dtype=np.float64)
            if weights.shape != distances.shape:
                raise KexueValueError(f"weights gave an array of shape {weights.shape} for one of {distances.shape}")
            weights = np.where(present, weights, 0.0)
            if not (weights >= 0).all() or np.isinf(weights).any():
                raise KexueValueError("weights gave a negative number, NaN or infinity")
        elif self.weights == "distance":
            with np.errstate(divide="ignore", over="ignore"):
                weights = 1.0 / distances.astype(np.float64)
            at = np.isinf(weights)
            weights = np.where(at.any(axis=1, keepdims=True), at, weights)
        else:
            weights = present.astype(np.float64)
        totals = weights.sum(axis=1, keepdims=True)
        return indices, np.divide(weights, totals, out=weights, where=totals > 0), totals[:, 0] > 0


class WMDNeighbors(ClassifierMixin, _Neighbors):
    """Classifier by the labels of the nearest documents.

    It stands behind a vectorizer: X holds word counts, TF-IDF or other weights that are not negative, in any scale.

    Parameters
    ----------
    vectors : array_like of shape (n_features, d), WordVectors, KeyedVectors or None
        The word vectors of the columns of X, see Notes. None takes all words for equally different (one-hot
        vectors): a baseline that shows what the vectors are worth.
    vocabulary : sequence of str or dict of str to int, optional
        The words of the columns, as ``get_feature_names_out()`` or ``vocabulary_`` of a vectorizer give them. Only
        with words in `vectors`.
    metric : {"wmd", "wrd"}
        Word Mover's or Word Rotator's Distance.
    n_neighbors : int
        How many neighbours; all documents where there are fewer.
    weights : {"uniform", "distance"} or callable
        What a neighbour counts: 1; 1 / distance, where neighbours at distance 0 count alone; or a function of the
        array of distances to an array of its shape, not negative. Its value is not used where a distance is inf.
    empty : {"skip", "raise"}
        What becomes of a document without a known word: "skip" makes it nobody's neighbour in `fit`, and gives it the
        class prior in `predict`; "raise" raises.
    n_jobs : int, optional
        Threads of the search: -1 is all processors, -2 all but one; None is the number of `kexue.threads`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    class_prior_ : ndarray of shape (n_classes,)
        The share of each class in the training set.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.
    n_samples_fit_ : int

    See Also
    --------
    WMDNeighborsRegressor
    kexue.DocumentIndex : the search by itself.

    Notes
    -----
    How columns find their vectors: an array has a row for each column. `WordVectors` are matched by word if
    `vocabulary` is given, and columns without a vector are left out; without it, the columns are the words in their
    order, as from ``CountVectorizer(vocabulary=vectors.key_to_index)``.

    The search is exact, and ties go to the lower index. A query without neighbours, or whose neighbours all weigh 0,
    gets the class prior. The vectors are not copied, and clones share them, so do not change them after `fit`.

    M. Kusner, Y. Sun, N. Kolkin and K. Weinberger, *From word embeddings to document distances*, ICML 2015
    (PMLR 37:957-966); S. Yokoi, R. Takahashi, R. Akama, J. Suzuki and K. Inui, *Word Rotator's Distance*, EMNLP 2020,
    arXiv:2004.15003.

    Examples
    --------
    >>> import kexue
    >>> from kexue.sklearn import WMDNeighbors
    >>> from sklearn.feature_extraction.text import CountVectorizer
    >>> from sklearn.pipeline import make_pipeline
    >>> words = kexue.WordVectors(["cat", "dog", "car", "bus"], [[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    >>> model = make_pipeline(CountVectorizer(vocabulary=words.key_to_index), WMDNeighbors(words, n_neighbors=1))
    >>> model.fit(["the cat", "my car"], ["animal", "vehicle"]).predict(["a dog", "a bus"]).tolist()
    ['animal', 'vehicle']
    """

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Keep the documents and their labels.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)

        Returns
        -------
        self
        """
        with columns_kept_on_failure(self):
            X, y = validate_data(self, X, y, accept_sparse="csr", dtype=_DTYPES)
            check_classification_targets(y)
            classes, labels = np.unique(y, return_inverse=True)
            self._fit_documents(X)
        self.classes_, self._labels = classes, labels
        self.class_prior_ = np.bincount(self._labels) / len(self._labels)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The share of each class among the neighbours, by their weights.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_queries, n_features)

        Returns
        -------
        probabilities : ndarray of shape (n_queries, n_classes)
        """
        indices, shares, found = self._votes(X)
        probabilities = np.zeros((len(indices), len(self.classes_)))
        np.add.at(probabilities, (np.arange(len(indices))[:, None], self._labels[indices]), shares)
        probabilities[~found] = self.class_prior_
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class; the first one of several.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_queries, n_features)

        Returns
        -------
        labels : ndarray of shape (n_queries,)
        """
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]


class WMDNeighborsRegressor(RegressorMixin, _Neighbors):
    """Regression to the mean of the nearest documents' targets.

    Parameters
    ----------
    vectors, vocabulary, metric, n_neighbors, weights, empty, n_jobs
        As in `WMDNeighbors`, with the mean of the training set in place of the class prior.

    Attributes
    ----------
    y_mean_ : float or ndarray of shape (n_targets,)
        The mean of the training set.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.
    n_samples_fit_ : int

    See Also
    --------
    WMDNeighbors : classification, and how columns find their vectors.

    Examples
    --------
    >>> import kexue
    >>> from kexue.sklearn import WMDNeighborsRegressor
    >>> words = kexue.WordVectors(["bad", "fine", "good"], [[-1.0], [0.5], [1.0]])
    >>> model = WMDNeighborsRegressor(words, n_neighbors=2, weights="distance")
    >>> model.fit(words.count_matrix(["bad", "good"]), [1.0, 5.0]).predict(words.count_matrix(["fine", "good"]))
    array([4., 5.])
    """

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: ArrayLike) -> Self:
        """Keep the documents and their targets.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_samples, n_features)
        y : array_like of shape (n_samples,) or (n_samples, n_targets)

        Returns
        -------
        self
        """
        with columns_kept_on_failure(self):
            X, targets = validate_data(
                self, X, y, accept_sparse="csr", dtype=_DTYPES, multi_output=True, y_numeric=True
            )
            self._fit_documents(X)
        self._targets = targets.astype(np.float64)
        self.y_mean_ = self._targets.mean(axis=0)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The mean of the neighbours' targets, by their weights.

        Parameters
        ----------
        X : {array_like, sparse matrix} of shape (n_queries, n_features)

        Returns
        -------
        targets : ndarray of shape (n_queries,) or (n_queries, n_targets)
        """
        indices, shares, found = self._votes(X)
        targets = np.einsum("qk,qk...->q...", shares, self._targets[indices])
        targets[~found] = self.y_mean_
        return targets


class _OneHotIndex:
    """`DocumentIndex` for words that have nothing in common, in closed form.

    Between one-hot vectors all mass that is not on a shared word moves by the same distance, so that both metrics are
    the total variation of the histograms in units of it.
    """

    def __init__(self, metric: str, empty: str) -> None:
        self.scale = 0.5 * np.sqrt(2.0) if metric == "wmd" else 0.5
        self.empty = empty

    def fit(self, X: csr_array) -> None:
        self.histograms, self.numbers = self._histograms(X)

    def kneighbors(self, X: csr_array, n_neighbors: int, *, workers: int | None) -> tuple[np.ndarray, np.ndarray]:
        queries, numbers = self._histograms(X)
        k = min(n_neighbors, len(self.numbers))
        distances, indices = np.full((X.shape[0], k), np.inf), np.full((X.shape[0], k), -1)

        def nearest(block: np.ndarray, start: int) -> tuple[np.ndarray, np.ndarray]:
            columns = np.argsort(block, axis=1, kind="stable")[:, :k]
            return np.take_along_axis(block, columns, axis=1), columns

        start = 0
        if len(numbers):
            for block, columns in pairwise_distances_chunked(
                queries, self.histograms, reduce_func=nearest, metric="manhattan", n_jobs=workers
            ):
                rows = numbers[start : start + len(block)]
                distances[rows], indices[rows] = self.scale * block, self.numbers[columns]
                start += len(block)
        return distances, indices

    def _histograms(self, X: csr_array) -> tuple[csr_array, np.ndarray]:
        """The documents that have words, each with sum 1, and their numbers."""
        numbers = np.flatnonzero(X.max(axis=1).toarray())
        if self.empty == "raise" and len(numbers) < X.shape[0]:
            first = int(np.setdiff1d(np.arange(X.shape[0]), numbers)[0])
            raise KexueValueError(f"X[{first}] is empty: it has no words of positive weight")
        if max(X.nnz, X.shape[1]) <= np.iinfo(np.int32).max:  # all that scikit-learn's distances take
            X = csr_array((X.data, X.indices.astype(np.int32), X.indptr.astype(np.int32)), shape=X.shape)
        # The sum of large weights may be infinite, that of what is at most 1 is not.
        return normalize(normalize(X, norm="max"), norm="l1")[numbers], numbers


def _check_count(name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise KexueValueError(f"{name} must be an integer of at least 1, not {value!r}")
