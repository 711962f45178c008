"""What the command line searches: a corpus, counted once and cached; its word vectors; the ranking."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from kexue import _npz
from kexue._context import __version__
from kexue._corpus import Document, read_documents, standard_library_docstrings, standard_library_identity
from kexue._word_vectors import WordVectors, tokenize

# Raise this when a change here or in WordVectors.fit makes what is in the cache wrong.
_CACHE_VERSION = 1
_CACHED_CORPORA = 8
_SEED = 0

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

    def tokens(self, text: str) -> list[str]:
        """Words of a text, taken apart as the documents were."""
        return tokenize(text, split_identifiers=self.split_identifiers)

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
        ranked = [
            tokenize(name + "\n" + text.split("\n\n")[0], split_identifiers=True) for name, text in documents
        ]
    else:
        learned = ranked = [tokenize(document.text) for document in documents]
    corpus = _count(documents, ranked, split_identifiers=path is None)
    if learn:
        words = WordVectors.fit(learned, rng=_SEED)
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
    arrays = {
        "data": corpus.counts.data,
        "indices": corpus.counts.indices,
        "indptr": corpus.counts.indptr,
        "split_identifiers": np.array(corpus.split_identifiers),
    }
    for field in ("names", "texts", "vocabulary"):
        arrays[field], arrays[f"{field}_offsets"] = _npz.pack_strings(getattr(corpus, field))
    _npz.save_npz(file, arrays)


def _read_corpus(file: Path) -> Corpus:
    arrays = _npz.load_npz(file)
    try:
        names, texts, vocabulary = (
            _npz.unpack_strings(arrays[field], arrays[f"{field}_offsets"])
            for field in ("names", "texts", "vocabulary")
        )
        counts = sparse.csr_array(
            (arrays["data"], arrays["indices"], arrays["indptr"]), shape=(len(names), len(vocabulary))
        )
        counts.check_format(full_check=True)
        split_identifiers = bool(arrays["split_identifiers"])
    except KeyError as error:
        raise ValueError(f"{file}: no array {error}") from error
    if len(names) != len(texts):
        raise ValueError(f"{file}: {len(names)} names, but {len(texts)} texts")
    return Corpus(names, texts, vocabulary, counts, split_identifiers)


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


def read_query(text: str, corpus: Corpus | None, words: WordVectors) -> Query:
    """Counts of a text's words over `words`."""
    tokens = tokenize(text) if corpus is None else corpus.tokens(text)
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
    result = sparse.csr_array(
        (counts.data * weights[counts.indices], counts.indices, counts.indptr), counts.shape
    )
    result = result.copy()  # eliminate_zeros works on the index arrays, which are those of `counts`
    result.eliminate_zeros()
    return result


def rank(
    query: Query,
    corpus: Corpus,
    words: WordVectors,
    *,
    metric: Literal["wmd", "wrd"],
    weights: Literal["tfidf", "counts"],
    k: int,
) -> list[tuple[int, float]]:
    """Index and distance of the `k` nearest documents, nearest first; ties in the order of the corpus.

    Documents without a word that has a vector and a weight take no part.
    """
    from kexue import pairwise_distances

    counts = corpus.counts_over(words)
    factor = word_weights(counts, [query], words, weights)
    query_row, rows = weighted(query.counts, factor), weighted(counts, factor)
    # Files of word vectors have hundreds of thousands of words, a corpus has thousands.
    used = np.union1d(query_row.indices, rows.indices)
    query_row, rows, vectors = query_row[:, used], rows[:, used], words.vectors[used]
    if metric == "wrd":  # where the mass of a document is the length of its vectors, zero vectors make none
        nonzero = vectors.any(axis=1)
        query_row, rows = weighted(query_row, nonzero), weighted(rows, nonzero)
    present = np.flatnonzero(np.diff(rows.indptr))
    if query_row.nnz == 0 or present.size == 0:
        return []
    distances = pairwise_distances(query_row, rows[present], vectors=vectors, metric=metric)[0]
    nearest = np.argsort(distances, kind="stable")[:k]
    return [(int(present[position]), float(distances[position])) for position in nearest]
