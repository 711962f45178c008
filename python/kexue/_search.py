"""What the command line searches: a corpus, counted once and cached; its word vectors; the index, which can be kept."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
from scipy import sparse

from kexue import _npz
from kexue._context import __version__
from kexue._corpus import Document, read_documents, standard_library_docstrings, standard_library_identity
from kexue._document_index import DocumentIndex
from kexue._errors import KexueValueError
from kexue._word_vectors import WordVectors, tokenize

# Raise this when a change here or in WordVectors.fit makes what is in the cache wrong.
_CACHE_VERSION = 2
_CACHED_CORPORA = 8
_SEED = 0
# WMD's mean reciprocal rank with TF-IDF weights (bench/quality.py): 0.317 on docstrings, 0.469 on manual pages; with
# the default of 5 it was 0.299 and 0.431.
_WINDOW = 20

_KEPT_FORMAT = "kexue-search-index"
# Raise this when a change here, or in tokenize, makes what was kept wrong.
_KEPT_VERSION = 1
_KEPT_OPTIONS = "search.json"

# Function words of English, above all those that questions are made of. In a corpus of notes they are rare
# ("how", "I"), so inverse document frequencies alone would make them count. Kusner et al. 2015 leave out stop
# words too.
STOP_WORDS = frozenset(
    """
    a an and any are as at be but by can could did do does for from had has have how i if in into is it its me
    my of on or our should so that the their them then there these they this those to us was we were what when
    where which who why will with would you your
    """.split()
)


@dataclass(frozen=True)
class Corpus:
    """Documents, and how often each one has each word of the corpus's own vocabulary."""

    names: list[str]
    texts: list[str]
    vocabulary: list[str]
    counts: sparse.csr_array
    split_identifiers: bool

    def counts_over(self, words: WordVectors) -> sparse.csr_array:
        """Counts over the vocabulary of `words`; words without a vector are dropped."""
        column = np.array([words.key_to_index.get(word, -1) for word in self.vocabulary], dtype=np.int64)
        coordinates = self.counts.tocoo()
        columns = column[coordinates.col]
        known = columns >= 0
        counts = sparse.csr_array(
            (coordinates.data[known], (coordinates.row[known], columns[known])),
            shape=(len(self.names), len(words)),
        )
        counts.sum_duplicates()
        return counts


def cache_folder() -> Path:
    """``$KEXUE_CACHE_DIR``, else the user's cache folder; it may not exist."""
    if own := os.environ.get("KEXUE_CACHE_DIR"):
        return Path(own)
    if sys.platform == "win32" and (local := os.environ.get("LOCALAPPDATA")):
        return Path(local, "kexue")
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared, "kexue")
    try:
        return Path.home() / ".cache" / "kexue"
    except RuntimeError:  # a user without a home, as in some containers: a folder that cannot be made
        return Path(os.devnull, "kexue")


def load_corpus(
    path: str | None, *, learn: bool, notify: Callable[[str], None] = lambda message: None
) -> tuple[Corpus, WordVectors | None]:
    """The documents of `path`, or the standard library's docstrings, and word vectors learned from them.

    What takes time (parsing, counting, learning) is read from the cache when the same documents were seen
    before. A damaged cache is built again; a cache that cannot be written is done without.

    Parameters
    ----------
    path : str or None
        See `kexue._corpus.read_documents`; None is the standard library.
    learn : bool
        Whether word vectors are wanted; otherwise None is returned for them.
    notify : callable
        Takes a sentence for the user before something slow begins.
    """
    documents = None if path is None else read_documents(path)
    key = _cache_key(documents)
    corpus_file, vectors_file = (cache_folder() / f"{kind}-{key}.npz" for kind in ("corpus", "vectors"))
    corpus: Corpus | None = None
    words: WordVectors | None = None
    with contextlib.suppress(OSError, ValueError):
        corpus = _read_corpus(corpus_file)
        if not learn:
            return corpus, None
        words = WordVectors.load(vectors_file, format="npz", mmap=False)
    if corpus is not None and words is not None:
        return corpus, words

    if documents is None:
        notify("reading the docstrings of the standard library (a few seconds, the first time only)")
        documents = standard_library_docstrings()
        # The text a word vector is learned from is all there is. What is ranked is the public part of it,
        # name and first paragraph: over 36 questions with known answers, the mean reciprocal rank was 0.77
        # so, 0.60 with whole docstrings and 0.66 without the names.
        learned = [tokenize(f"{name}\n{text}", split_identifiers=True) for name, text in documents]
        documents = [document for document in documents if not _is_private(document.name)]
        ranked = [tokenize(name + "\n" + text.split("\n\n")[0], split_identifiers=True) for name, text in documents]
    else:
        learned = ranked = [tokenize(document.text) for document in documents]
    corpus = _count(documents, ranked, split_identifiers=path is None)
    if learn:
        words = WordVectors.fit(learned, window=_WINDOW, rng=_SEED)
    with contextlib.suppress(OSError):
        cache_folder().mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds texts of the user
        _write_corpus(corpus_file, corpus)
        if words is not None:
            words.save(vectors_file)
        _forget_old(cache_folder())
    return corpus, words


def _is_private(name: str) -> bool:
    """Whether a part of a dotted name is private; ``__init__`` and its like are not."""
    return any(part.startswith("_") and not part.endswith("__") for part in name.split("."))


def _cache_key(documents: list[Document] | None) -> str:
    digest = hashlib.sha256(f"kexue {__version__} cache {_CACHE_VERSION}\0".encode())
    if documents is None:
        digest.update(standard_library_identity().encode())
    else:
        for name, text in documents:
            digest.update(f"{len(name)} {len(text)}\0{name}{text}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()[:32]


def _count(documents: list[Document], tokens: Sequence[Sequence[str]], *, split_identifiers: bool) -> Corpus:
    number: dict[str, int] = {}
    indices = [number.setdefault(token, len(number)) for document in tokens for token in document]
    ends = np.cumsum([0, *map(len, tokens)])
    counts = sparse.csr_array((np.ones(len(indices)), indices, ends), shape=(len(documents), len(number)))
    counts.sum_duplicates()
    names, texts = ([document[part] for document in documents] for part in (0, 1))
    return Corpus(names, texts, list(number), counts, split_identifiers)


def _write_corpus(file: Path, corpus: Corpus) -> None:
    arrays = _counts_to_arrays(corpus.counts)
    arrays["split_identifiers"] = np.array(corpus.split_identifiers)
    for field in ("names", "texts", "vocabulary"):
        arrays[field], arrays[f"{field}_offsets"] = _npz.pack_strings(getattr(corpus, field))
    _npz.save_npz(file, arrays)


def _read_corpus(file: Path) -> Corpus:
    arrays = _npz.load_npz(file)
    try:
        names, texts, vocabulary = (
            _npz.unpack_strings(arrays[field], arrays[f"{field}_offsets"]) for field in ("names", "texts", "vocabulary")
        )
        counts = _counts_from_arrays(arrays, (len(names), len(vocabulary)))
        split_identifiers = bool(arrays["split_identifiers"])
    except KeyError as error:
        raise KexueValueError(f"{file}: no array {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise KexueValueError(f"{file}: damaged ({error})") from error
    if len(names) != len(texts):
        raise KexueValueError(f"{file}: {len(names)} names, but {len(texts)} texts")
    return Corpus(names, texts, vocabulary, counts, split_identifiers)


def _counts_to_arrays(counts: sparse.csr_array) -> dict[str, np.ndarray]:
    return {"data": counts.data, "indices": counts.indices, "indptr": counts.indptr}


def _counts_from_arrays(arrays: dict[str, np.ndarray], shape: tuple[int, int]) -> sparse.csr_array:
    counts = sparse.csr_array((arrays["data"], arrays["indices"], arrays["indptr"]), shape=shape)
    counts.check_format(full_check=True)
    return counts


def _forget_old(folder: Path) -> None:
    """Keep the files of the corpora that were written last: every other set of documents makes new ones."""
    for kind in ("corpus", "vectors"):
        files = sorted(folder.glob(f"{kind}-*.npz"), key=lambda file: file.stat().st_mtime_ns, reverse=True)
        for file in files[_CACHED_CORPORA:]:
            file.unlink(missing_ok=True)


@dataclass(frozen=True)
class Query:
    """A text as a row of counts, and its words that have no vector."""

    counts: sparse.csr_array
    unknown: list[str]


def read_query(text: str, words: WordVectors, *, split_identifiers: bool) -> Query:
    """Counts of a text's words over `words`."""
    tokens = tokenize(text, split_identifiers=split_identifiers)
    unknown = [token for token in dict.fromkeys(tokens) if token not in words]
    return Query(words.document(tokens), unknown)


def word_weights(
    counts: sparse.csr_array, queries: Sequence[Query], words: WordVectors, kind: Literal["tfidf", "counts"]
) -> np.ndarray:
    """Factor of each word's count: 1; or log((1 + n) / (1 + documents with it)) + 1, and 0 for stop words.

    The stop words keep their weight where a query has no other word.
    """
    if kind == "counts":
        return np.ones(len(words))
    documents = np.bincount(counts.indices, minlength=len(words))
    weights = np.log((1 + counts.shape[0]) / (1 + documents)) + 1
    stop = [words.key_to_index[word] for word in STOP_WORDS if word in words]
    if all(np.setdiff1d(query.counts.indices, stop).size for query in queries):
        weights[stop] = 0
    return weights


def weighted(counts: sparse.csr_array, weights: np.ndarray) -> sparse.csr_array:
    """Counts times the weights of their words, without stored zeros."""
    result = sparse.csr_array((counts.data * weights[counts.indices], counts.indices, counts.indptr), counts.shape)
    result = result.copy()  # eliminate_zeros works on the index arrays, which are those of `counts`
    result.eliminate_zeros()
    return result


@dataclass(frozen=True)
class Collection:
    """Documents that are searched, in memory or kept in a folder.

    The index is that of queries with a word that is no stop word; `read_counts` is for the others.
    """

    names: Sequence[str]
    texts: Sequence[str]
    split_identifiers: bool
    words: WordVectors
    weights: Literal["tfidf", "counts"]
    factors: np.ndarray
    index: DocumentIndex
    read_counts: Callable[[], sparse.csr_array]


def collect(
    corpus: Corpus, words: WordVectors, *, metric: Literal["wmd", "wrd"], weights: Literal["tfidf", "counts"]
) -> Collection:
    """A corpus, ready to be searched. Documents without a word that has a vector and a weight take no part."""
    counts = corpus.counts_over(words)
    factors = word_weights(counts, [], words, weights)
    return Collection(
        corpus.names,
        corpus.texts,
        corpus.split_identifiers,
        words,
        weights,
        factors,
        DocumentIndex(words, metric, empty="skip").fit(weighted(counts, factors)),
        lambda: counts,
    )


def rank(query: Query, collection: Collection, k: int) -> tuple[list[tuple[int, float]], dict[str, int]]:
    """Index and distance of the `k` nearest documents, and what became of all of them (see `kexue.SearchStats`).

    The nearest comes first, ties are in the order of the corpus.
    """
    index, row = collection.index, weighted(query.counts, collection.factors)
    if row.nnz == 0:  # nothing but stop words, which the index does without
        counts = collection.read_counts()
        factors = word_weights(counts, [query], collection.words, collection.weights)
        row = weighted(query.counts, factors)
        index = DocumentIndex(collection.words, index.metric, empty="skip").fit(weighted(counts, factors))
    if index.n_words == 0:
        return [], {}
    distances, numbers, stats = index.kneighbors(row, k, stats=True)
    nearest = [
        (number, distance)
        for number, distance in zip(numbers[0].tolist(), distances[0].tolist(), strict=True)
        if number >= 0  # a query whose vectors are all zero has no neighbours by "wrd"
    ]
    return nearest, {name: int(value[0]) for name, value in vars(stats).items()}


class _PackedStrings(Sequence[str]):
    """Strings that were packed, decoded one at a time: a search shows few of what may be very many."""

    def __init__(self, data: np.ndarray, offsets: np.ndarray, file: Path) -> None:
        _npz.check_packed_strings(data, offsets)
        self._data, self._offsets, self._file = data, offsets, file

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, position: int) -> str: ...
    @overload
    def __getitem__(self, position: slice) -> list[str]: ...
    def __getitem__(self, position: int | slice) -> str | list[str]:
        if isinstance(position, slice):
            return [self[place] for place in range(len(self))[position]]
        first = range(len(self))[position]
        begin, end = self._offsets[first : first + 2]
        try:
            return self._data[begin:end].tobytes().decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise KexueValueError(f"{self._file}: damaged, string {first} is no UTF-8 ({error.reason})") from error


def keep(collection: Collection, path: str | os.PathLike[str]) -> None:
    """Write a collection to a folder that `open_kept` can read: whole, or not at all.

    Raises
    ------
    OSError
        The folder cannot be written, or there is something at `path`.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    description = {
        "format": _KEPT_FORMAT,
        "version": _KEPT_VERSION,
        "kexue": __version__,
        "weights": collection.weights,
        "split_identifiers": collection.split_identifiers,
    }
    arrays = {"factors": collection.factors}
    for field in ("names", "texts"):
        arrays[field], arrays[f"{field}_offsets"] = _npz.pack_strings(getattr(collection, field))
    temporary.mkdir()
    try:
        collection.index.save(temporary / "documents")
        _npz.save_npz(temporary / "corpus.npz", arrays)
        _npz.save_npz(temporary / "counts.npz", _counts_to_arrays(collection.read_counts()))
        (temporary / _KEPT_OPTIONS).write_text(json.dumps(description, indent=2) + "\n")
        os.replace(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def open_kept(path: str | os.PathLike[str]) -> Collection:
    """What `keep` wrote. Vectors and texts are mapped into memory, and counts are read when a query needs them.

    Raises
    ------
    ValueError
        It is something else, is damaged, or is of a version that this one does not know.
    OSError
        A file cannot be opened.
    """
    folder = Path(path)
    description = _read_description(folder)
    index = DocumentIndex.load(folder / "documents")
    words = index._words
    file = folder / "corpus.npz"
    arrays = _npz.load_npz(file, mapped=("names", "texts"))
    try:
        names, texts = (_PackedStrings(arrays[field], arrays[f"{field}_offsets"], file) for field in ("names", "texts"))
        factors = arrays["factors"]
        if factors.dtype != np.float64 or not np.isfinite(factors).all():
            raise ValueError("factors are not finite float64")
    except KeyError as error:
        raise KexueValueError(f"{file}: damaged, there is no array {error}") from error
    except ValueError as error:
        raise KexueValueError(f"{file}: damaged ({error})") from error
    if words is None or not len(names) == len(texts) == len(index) or factors.shape != (len(words),):
        raise KexueValueError(f"{folder}: damaged, its files do not belong together")
    shape = len(index), len(words)
    return Collection(
        names,
        texts,
        description["split_identifiers"],
        words,
        description["weights"],
        factors,
        index,
        functools.partial(_read_counts, folder / "counts.npz", shape),
    )


def _read_counts(file: Path, shape: tuple[int, int]) -> sparse.csr_array:
    try:
        arrays = _npz.load_npz(file)
        return _counts_from_arrays(arrays, shape)
    except KexueValueError:
        raise
    except KeyError as error:
        raise KexueValueError(f"{file}: no array {error}") from error
    except (ValueError, TypeError, IndexError) as error:
        raise KexueValueError(f"{file}: damaged ({error})") from error


def _read_description(folder: Path) -> dict[str, Any]:
    file = folder / _KEPT_OPTIONS
    try:
        with _npz.open_regular(file) as stream:
            content = stream.read()
    except (FileNotFoundError, NotADirectoryError):
        raise KexueValueError(f"{folder}: not a search index, there is no {_KEPT_OPTIONS} in it") from None
    try:
        description = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise KexueValueError(f"{file}: damaged ({error})") from error
    if not isinstance(description, dict) or description.get("format") != _KEPT_FORMAT:
        raise KexueValueError(f"{file}: not of a search index")
    if description.get("version") != _KEPT_VERSION:
        raise KexueValueError(
            f"{file}: of version {description.get('version')!r}; kexue {__version__} reads version {_KEPT_VERSION}"
        )
    if description.get("weights") not in ("tfidf", "counts") or not isinstance(
        description.get("split_identifiers"), bool
    ):
        raise KexueValueError(f"{file}: damaged, it does not tell weights and split_identifiers")
    return description
