"""Word vectors: learned from text, read from a file, written to one."""

from __future__ import annotations

import math
import os
import re
from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from kexue import _npz, _word_vector_files
from kexue._arrays import as_array, as_contiguous
from kexue._errors import ConvergenceWarning, KexueValueError, errstate, require_finite
from kexue._randomized_svd import randomized_svd

if TYPE_CHECKING:
    from scipy import sparse

__all__ = ["WordVectors", "tokenize"]

# A Han character is a word of its own, since text does not mark where words of several end; otherwise a word
# is a run of letters and digits. The underscore joins nothing, so identifiers in snake_case come apart.
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_HAN}]|[^\W_{_HAN}]+")
_CAMEL_CASE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

_TOKENS_PER_BLOCK = 1 << 22
_KRYLOV_BLOCK = 16
_KRYLOV_WIDTH = 2.5  # in dimensions that are kept
_KRYLOV_DEPTH = 8


def tokenize(text: str, *, split_identifiers: bool = False) -> list[str]:
    """Words of a text: lower-cased runs of letters and digits, each Han character by itself.

    Parameters
    ----------
    text : str
    split_identifiers : bool, default False
        Also take CamelCase apart. For text about programs; elsewhere it would break names.

    Returns
    -------
    list of str

    Examples
    --------
    >>> from kexue._word_vectors import tokenize
    >>> tokenize("Read_csv reads UTF-8 files, naïvely. 科学")
    ['read', 'csv', 'reads', 'utf', '8', 'files', 'naïvely', '科', '学']
    >>> tokenize("HTTPServer, DictReader", split_identifiers=True)
    ['http', 'server', 'dict', 'reader']
    """
    if split_identifiers:
        text = _CAMEL_CASE.sub(" ", text)
    return _WORD.findall(text.lower())


class WordVectors:
    """Words and their vectors.

    Parameters
    ----------
    keys : sequence of str
        The words, each one once.
    vectors : array_like of shape (vocabulary, d)
        One finite vector a word, stored as float32. An array that is float32 and C-contiguous is not copied.

    Attributes
    ----------
    vectors : ndarray of shape (vocabulary, d), float32
        C-contiguous; may be a read-only memory map.
    key_to_index : dict of str to int
    index_to_key : list of str

    Raises
    ------
    KexueValueError
        `vectors` is not two-dimensional, is empty, is not finite (the first bad place is named), is not as
        long as `keys`; or a word occurs twice (the first one is named).
    TypeError
        A word is not a string.

    See Also
    --------
    WordVectors.fit : learn vectors from text.
    WordVectors.load : read a file.
    kexue.pairwise_distances : distances between documents, from their counts and these vectors.

    Examples
    --------
    >>> from kexue import WordVectors
    >>> words = WordVectors(["cat", "dog", "car"], [[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])
    >>> len(words), "cat" in words, words.key_to_index["car"]
    (3, True, 2)
    >>> words["dog"]
    array([0.9, 1. , 0. ], dtype=float32)
    >>> words.count_matrix(["Dog, cat, dog!", "a car"]).toarray()
    array([[1., 2., 0.],
           [0., 0., 1.]])
    """

    vectors: np.ndarray
    key_to_index: dict[str, int]
    index_to_key: list[str]

    def __init__(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        if isinstance(keys, str):
            raise TypeError("keys must be a sequence of words, not one string")
        keys = list(keys)
        for position, key in enumerate(keys):
            if not isinstance(key, str):
                raise TypeError(f"keys[{position}] must be a str, not {type(key).__name__}")
        given = as_array("vectors", vectors)
        if given.ndim != 2:
            raise KexueValueError(f"vectors must be 2-D (vocabulary, d), not of shape {given.shape}")
        if given.dtype.kind not in "fiu":
            raise KexueValueError(f"vectors must hold real numbers, not {given.dtype}")
        if given.shape[0] != len(keys):
            raise KexueValueError(f"keys has {len(keys)} words, but vectors has {given.shape[0]} rows")
        if given.size == 0:
            raise KexueValueError(f"vectors is empty: its shape is {given.shape}")
        with np.errstate(over="ignore"):  # what overflows float32 is refused as infinite
            converted = as_contiguous(given, dtype=np.float32)
        require_finite("vectors", converted)
        self._set(keys, converted)
        if len(self.key_to_index) != len(keys):
            seen: set[str] = set()
            for position, key in enumerate(keys):
                if key in seen:
                    raise KexueValueError(f"keys[{position}] repeats the word {key!r}")
                seen.add(key)

    def _set(self, keys: list[str], vectors: np.ndarray) -> None:
        self.vectors = vectors
        self.index_to_key = keys
        self.key_to_index = {key: position for position, key in enumerate(keys)}

    def __len__(self) -> int:
        return len(self.index_to_key)

    def __contains__(self, key: object) -> bool:
        return key in self.key_to_index

    def __getitem__(self, key: str | Sequence[str]) -> np.ndarray:
        if isinstance(key, str):
            return self.vectors[self._index(key)]
        return self.vectors[np.array([self._index(word) for word in key], dtype=np.intp)]

    def _index(self, word: str) -> int:
        try:
            return self.key_to_index[word]
        except KeyError:
            raise KeyError(f"no vector for the word {word!r}") from None

    def __repr__(self) -> str:
        return f"WordVectors({len(self)} words, {self.vectors.shape[1]} dimensions)"

    @classmethod
    def fit(
        cls,
        texts: Iterable[str | Sequence[str]],
        *,
        dimension: int = 100,
        window: int = 5,
        min_count: int = 1,
        context_smoothing: float = 0.75,
        eigenvalue_exponent: float = 0.5,
        normalize: bool = True,
        rng: np.random.Generator | int | None = None,
    ) -> WordVectors:
        """Learn word vectors from text.

        Positive pointwise mutual information (PPMI) of the words that stand near each other, then a truncated
        singular value decomposition.

        Parameters
        ----------
        texts : iterable of str or of sequences of str
            Documents; a string is split into its words, in lower case. A window never crosses from one text to the
            next.
        dimension : int, default 100
            Length of the vectors. Less comes out where the PPMI matrix has a lower rank, as with a vocabulary
            that is smaller than this.
        window : int, default 5
            Words up to this far apart are counted together; the weight falls linearly with the distance, as
            in word2vec.
        min_count : int, default 1
            Words that are rarer are taken out of the texts before anything is counted. 1 keeps all; in a
            large corpus 5 is usual.
        context_smoothing : float, default 0.75
            Context counts are raised to this power, which takes weight from the large PMI of rare contexts. 1
            is no smoothing.
        eigenvalue_exponent : float, default 0.5
            The vectors are ``U * S**eigenvalue_exponent``: 1 is the plain SVD, 0 weighs all dimensions alike.
        normalize : bool, default True
            Scale every vector to length 1. The lengths that the SVD gives grow with how often a word occurs,
            so that raw Euclidean distances say more about frequency than about meaning.
        rng : numpy.random.Generator, int or None
            Random numbers of the SVD, through ``numpy.random.default_rng(rng)``. With an integer, the result
            is the same in every call, signs included.

        Returns
        -------
        WordVectors
            The most frequent word first, ties in alphabetical order. A word with which no other occurs more
            often than by chance, or that has no share in the dimensions kept, has no vector and is left out.

        Raises
        ------
        KexueValueError
            A parameter is out of range; there is no word in the texts; or no two words occur together
            more often than by chance, so that nothing can be learned.
        TypeError
            `texts` is one string, or a text is neither a string nor a sequence of them.

        Notes
        -----
        With ``n`` tokens, ``V`` words, ``z`` pairs of words that occur together and ``k = 2.5 dimension``:
        O(n window) for counting and O(z k + V k^2) for the SVD, O(z + V k) memory. A million tokens take a
        few seconds.

        References
        ----------
        .. [1] O. Levy, Y. Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014.
        .. [2] O. Levy, Y. Goldberg, I. Dagan, "Improving distributional similarity with lessons learned from
           word embeddings", TACL 3, 2015, doi:10.1162/tacl_a_00134 (smoothing, exponent, window weights).
        .. [3] J. Bullinaria, J. Levy, "Extracting semantic representations from word co-occurrence
           statistics", Behavior Research Methods 39, 2007, doi:10.3758/BF03193020 (PPMI), and 44, 2012,
           doi:10.3758/s13428-011-0183-8 (the exponent).
        .. [4] C. Musco, C. Musco, "Randomized block Krylov methods for stronger and faster approximate
           singular value decomposition", NeurIPS 2015, arXiv:1504.05477.
        .. [5] N. Halko, P.-G. Martinsson, J. Tropp, "Finding structure with randomness", SIAM Review 53,
           2011, arXiv:0909.4061.

        Examples
        --------
        >>> from kexue import WordVectors
        >>> texts = ["the cat drinks milk", "the dog drinks water", "a car needs fuel", "a truck needs fuel"]
        >>> words = WordVectors.fit(texts, dimension=4, rng=0)
        >>> words
        WordVectors(11 words, 4 dimensions)
        >>> bool(words["car"] @ words["truck"] > words["car"] @ words["cat"])
        True
        """
        _check_integer("dimension", dimension, 1)
        _check_integer("window", window, 1)
        _check_integer("min_count", min_count, 1)
        if not 0 <= context_smoothing <= 1:
            raise KexueValueError(f"context_smoothing must be between 0 and 1, not {context_smoothing!r}")
        if not np.isfinite(eigenvalue_exponent):
            raise KexueValueError(f"eigenvalue_exponent must be finite, not {eigenvalue_exponent!r}")
        generator = np.random.default_rng(rng)

        keys, ids, lengths = _number_words(texts, min_count)
        ppmi = _positive_pmi(_cooccurrences(ids, lengths, len(keys), window), context_smoothing)
        if ppmi.nnz == 0:
            raise KexueValueError(
                "texts: no two words occur together more often than by chance, so no vectors can be learned"
            )
        left, singular = _truncated_svd(ppmi, dimension, generator)
        # What is left of a word that the kept dimensions do not reach is rounding, and would be noise once
        # normalised.
        share = np.linalg.norm(left * singular, axis=1)
        total = np.sqrt(ppmi.multiply(ppmi).sum(axis=1))
        known = (total > 0) & (share > 1e-4 * total)
        vectors = left[known] * singular**eigenvalue_exponent
        if normalize:
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return cls([key for key, keep in zip(keys, known.tolist(), strict=True) if keep], vectors)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        limit: int | None = None,
        mmap: bool = True,
        errors: str = "strict",
    ) -> WordVectors:
        """Read word vectors from a file.

        Parameters
        ----------
        path : str or path-like
            The first three kinds may be compressed by gzip.

            - word2vec text or fastText ``.vec``: a line with the number of vectors and their dimension, then
              a word and its numbers a line;
            - GloVe: the same without the first line; words may contain blanks;
            - word2vec binary;
            - ``.npz`` as written by :meth:`save`, or by ``numpy.savez(path, keys=..., vectors=...)``;
            - with ``format="gensim"``, a ``KeyedVectors`` or ``Word2Vec`` file of gensim, which must be installed. Such
              a file is a pickle, and reading a pickle can run code: do not load one that you do not trust.
        format : {None, "word2vec", "word2vec-binary", "glove", "fasttext", "npz", "gensim"}
            None finds out from the content, but for gensim's.
        limit : int, optional
            Read only the first `limit` words, which in most files are the most frequent ones.
        mmap : bool, default True
            Map the vectors into memory instead of reading them, where the file allows it: ``.npz`` that is
            not compressed, and gensim's large files. A mapped array is read-only and is not searched for NaN.
        errors : {"strict", "replace", "ignore"}
            What to do with a word that is not UTF-8, as in ``bytes.decode``.

        Returns
        -------
        WordVectors

        Raises
        ------
        OSError
            The file cannot be opened (FileNotFoundError where there is none).
        ValueError
            The file is empty, truncated or damaged, has a line with another number of numbers, a number that
            is not finite, or a word that is not UTF-8; the path and the line or record are named.
        ImportError
            A file of gensim, and gensim is not installed.

        Warns
        -----
        UserWarning
            A word occurs more than once: its first vector is kept.

        Notes
        -----
        Reading text is bounded by turning digits into numbers, 3 to 5 million a second; a word2vec binary or
        an ``.npz`` is read at the speed of the disk. Convert once:
        ``WordVectors.load("glove.txt").save("glove.npz")``.

        Examples
        --------
        >>> import os, tempfile
        >>> from kexue import WordVectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "vectors.txt")
        ...     with open(path, "w") as file:
        ...         _ = file.write("cat 1 0.5\\ndog 0.5 1\\n")
        ...     WordVectors.load(path)["dog"]
        array([0.5, 1. ], dtype=float32)
        """
        if format is not None and format not in _word_vector_files.FORMATS:
            raise KexueValueError(
                f"format must be None or one of {_word_vector_files.FORMATS}, not {format!r}"
            )
        if errors not in ("strict", "replace", "ignore"):
            raise KexueValueError(f"errors must be 'strict', 'replace' or 'ignore', not {errors!r}")
        if limit is not None:
            _check_integer("limit", limit, 1)
        keys, vectors = _word_vector_files.read(path, format=format, limit=limit, mmap=mmap, errors=errors)
        words = cls.__new__(cls)
        words._set(keys, vectors)
        return words

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an uncompressed ``.npz`` file, which :meth:`load` can map into memory.

        The file is written under a temporary name in the same folder and then renamed; it has the name `path`
        exactly, and no pickle inside: the arrays ``vectors``, ``keys`` (UTF-8 bytes) and ``offsets``.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            The file cannot be written; a file that was there before is as it was.

        Examples
        --------
        >>> import os, tempfile
        >>> from kexue import WordVectors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "vectors.npz")
        ...     WordVectors(["cat"], [[1.0, 0.5]]).save(path)
        ...     WordVectors.load(path, mmap=False)
        WordVectors(1 words, 2 dimensions)
        """
        keys, offsets = _npz.pack_strings(self.index_to_key)
        _npz.save_npz(path, {"vectors": self.vectors, "keys": keys, "offsets": offsets})

    def document(self, text: str | Sequence[str]) -> sparse.csr_array:
        """Word counts of one document: ``count_matrix([text])``.

        Parameters
        ----------
        text : str or list of str
            As one of the texts of `count_matrix`.

        Returns
        -------
        csr_array, shape (1, vocabulary)
        """
        return self.count_matrix([text])

    def count_matrix(self, texts: Iterable[str | Sequence[str]]) -> sparse.csr_array:
        """Word counts of documents, as `kexue.pairwise_distances` takes them.

        Parameters
        ----------
        texts : iterable of str or of sequences of str
            Documents; a string is split into its words, in lower case. Unknown words are dropped.

        Returns
        -------
        scipy.sparse.csr_array of shape (documents, vocabulary), float64
            Sorted indices, no duplicates. The row of a document without a known word is empty.

        Raises
        ------
        TypeError
            `texts` is one string, or a text is neither a string nor a sequence of them.

        Examples
        --------
        >>> from kexue import WordVectors
        >>> words = WordVectors(["cat", "dog"], [[1.0, 0.9], [0.9, 1.0]])
        >>> words.count_matrix(["a dog and a dog", ["cat"], ""]).toarray()
        array([[0., 2.],
               [1., 0.],
               [0., 0.]])
        """
        from scipy import sparse

        get = self.key_to_index.get
        ids = array("q")
        ends = array("q", [0])
        for tokens in _tokens_of(texts):
            ids.extend([index for token in tokens if (index := get(token)) is not None])
            ends.append(len(ids))
        indices = np.array(ids, dtype=np.int64)
        counts = sparse.csr_array(
            (np.ones(len(indices)), indices, np.array(ends, dtype=np.int64)), shape=(len(ends) - 1, len(self))
        )
        counts.sum_duplicates()
        return counts


def _check_integer(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise KexueValueError(f"{name} must be an integer of at least {least}, not {value!r}")


def _tokens_of(texts: Iterable[str | Sequence[str]]) -> Iterable[Sequence[str]]:
    if isinstance(texts, str | bytes):
        raise TypeError("texts must be a list of documents, not one string")
    for position, text in enumerate(texts):
        if isinstance(text, str):
            yield tokenize(text)
        elif isinstance(text, list | tuple) and all(isinstance(token, str) for token in text):
            yield text
        else:
            raise TypeError(f"texts[{position}] must be a str or a list of str, not {type(text).__name__}")


def _number_words(
    texts: Iterable[str | Sequence[str]], min_count: int
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Vocabulary by falling frequency, the texts end to end as numbers into it, and each text's length."""
    number: dict[str, int] = {}
    collected = array("i")
    ends = array("q", [0])
    for tokens in _tokens_of(texts):
        collected.extend([number.setdefault(token, len(number)) for token in tokens])
        ends.append(len(collected))
    if not number:
        raise KexueValueError("texts: there is no word in them")
    ids = np.array(collected, dtype=np.int32)
    words = list(number)
    counts = np.bincount(ids, minlength=len(words))
    order = sorted(np.flatnonzero(counts >= min_count).tolist(), key=lambda i: (-counts[i], words[i]))
    if not order:
        raise KexueValueError(
            f"texts: no word occurs min_count={min_count} times; the most frequent one {counts.max()} times"
        )
    renumbered = np.full(len(words), -1, dtype=np.int32)
    renumbered[order] = np.arange(len(order), dtype=np.int32)
    ids = renumbered[ids]
    text_of_token = np.repeat(np.arange(len(ends) - 1), np.ediff1d(np.array(ends, dtype=np.int64)))
    kept = ids >= 0
    lengths = np.bincount(text_of_token[kept], minlength=len(ends) - 1)
    return [words[i] for i in order], ids[kept], lengths


def _cooccurrences(ids: np.ndarray, lengths: np.ndarray, vocabulary: int, window: int) -> sparse.csr_array:
    """Symmetric (vocabulary, vocabulary) weights of words up to `window` apart in one text."""
    from scipy import sparse

    text = np.repeat(np.arange(len(lengths)), lengths)
    counts = sparse.csr_array((vocabulary, vocabulary))
    for begin in range(0, len(ids), _TOKENS_PER_BLOCK):
        for distance in range(1, window + 1):
            end = min(begin + _TOKENS_PER_BLOCK, len(ids) - distance)
            if end <= begin:
                break
            later = slice(begin + distance, end + distance)
            together = text[begin:end] == text[later]
            words, contexts = ids[begin:end][together], ids[later][together]
            weights = np.full(len(words), float(window + 1 - distance))
            counts = counts + sparse.coo_array((weights, (words, contexts)), shape=counts.shape).tocsr()
    return (counts + counts.T).tocsr()


def _positive_pmi(counts: sparse.csr_array, context_smoothing: float) -> sparse.csr_array:
    """max(0, log(P(word, context) / (P(word) P(context)))), with P(context) ~ count**context_smoothing."""
    from scipy import sparse

    totals = counts.sum(axis=1)
    contexts = np.where(totals > 0, totals, 1.0) ** context_smoothing * (totals > 0)
    contexts /= max(contexts.sum(), 1.0)
    rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
    pmi = np.log(counts.data / (totals[rows] * contexts[counts.indices]))
    # A ratio that is 1 but for rounding is independence, not association.
    pmi[pmi < 1e-12] = 0.0
    ppmi = sparse.csr_array((pmi, counts.indices, counts.indptr), shape=counts.shape)
    ppmi.eliminate_zeros()
    return ppmi


def _truncated_svd(
    matrix: sparse.csr_array, dimension: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Left singular vectors and singular values, in float32; fewer than `dimension` where the rank is lower.

    Narrow blocks and many of them: on 60,000 words and 9.5 million pairs subspace iteration with blocks as wide as the
    result takes three times as long for less of the matrix, as a product with 16 columns at a time stays in the cache,
    and no product's result is thrown away.
    """
    n_iter = max(_KRYLOV_DEPTH, math.ceil(_KRYLOV_WIDTH * dimension / _KRYLOV_BLOCK)) - 1
    single, k = matrix.astype(np.float32), min(dimension, matrix.shape[0])
    try:
        with errstate(convergence="raise"):
            found = randomized_svd(single, k, n_iter=n_iter, block_size=_KRYLOV_BLOCK, rng=generator)
    except ConvergenceWarning:
        # Groups of words that are used alike, as a generated text may have them, make a singular value more often
        # than there are columns in a narrow block.
        with errstate(convergence="ignore"):
            found = randomized_svd(single, k, rng=generator)
    left, singular, _ = found
    rank = int(np.count_nonzero(singular > singular[0] * matrix.shape[0] * np.finfo(np.float32).eps))
    return left[:, :rank], singular[:rank]
