"""What is measured of word vectors: fitting them to texts, counting words, reading files."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from gensim.models import KeyedVectors
from scipy.sparse import csr_array
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer
from workloads import Side, Workload, recent

import kexue as kx


@recent
def texts(count: int, length: int = 100, vocabulary: int = 5000) -> list[list[str]]:
    """Of topics: a word is followed by words of its own topic mostly, the r-th of them with weight 1 / r."""
    rng = np.random.default_rng(count)
    size = vocabulary // 50
    weights = 1 / np.arange(1, size + 1)
    topics = np.repeat(rng.integers(50, size=(count, length // 10)), 10, axis=1)
    ids = topics * size + rng.choice(size, size=topics.shape, p=weights / weights.sum())
    return [[f"word{number}" for number in row] for row in ids.tolist()]


def _by_scikit_learn(given: list[list[str]], dimension: int) -> np.ndarray:
    """Positive pointwise mutual information of a window of five words, and scikit-learn's decomposition."""
    counter = CountVectorizer(analyzer=lambda words: words)
    counter.fit(given)
    number = counter.vocabulary_
    size, rows, columns, values = len(number), [], [], []
    ids = np.array([[number[word] for word in words] for words in given])
    for gap in range(1, 6):
        first, second = ids[:, :-gap].ravel(), ids[:, gap:].ravel()
        rows += [first, second]
        columns += [second, first]
        values += [np.ones(2 * len(first))]
    counts = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=(size, size))
    counts.sum_duplicates()
    words, contexts = counts.sum(axis=1), counts.sum(axis=0) ** 0.75
    entries = counts.tocoo()
    scores = np.log(entries.data * contexts.sum() / (words[entries.row] * contexts[entries.col]))
    positive = csr_array((np.maximum(scores, 0), (entries.row, entries.col)), shape=(size, size))
    found = TruncatedSVD(dimension, random_state=0).fit(positive)
    vectors = found.components_.T * np.sqrt(found.singular_values_)
    return vectors / np.linalg.norm(vectors, axis=1)[:, None]


@recent
def fit(count: int, dimension: int) -> Workload:
    """From texts that are split into words. Cosines of words of one topic, and of others, are compared, on average."""
    given = texts(count)

    def cosines(vectors: np.ndarray, keys: list[str]) -> np.ndarray:
        topics = np.array([int(key.removeprefix("word")) for key in keys]) // 100
        products = vectors @ vectors.T
        alike = topics[:, None] == topics
        return np.array([products[alike].mean(), products[~alike].mean()])

    keys = sorted({word for words in given for word in words})
    sides = {
        "kexue": Side(
            lambda: kx.WordVectors.fit(given, dimension=dimension, rng=0),
            comparable=lambda words: cosines(words.vectors, words.index_to_key),
        ),
        "scikit-learn": Side(
            lambda: _by_scikit_learn(given, dimension), comparable=lambda vectors: cosines(vectors, keys)
        ),
    }
    return Workload(f"WordVectors.fit, {count} texts of 100 words, {dimension}", sides, rtol=0.05, atol=0.02)


@recent
def count_matrix(count: int) -> Workload:
    """Texts as strings; columns are compared in the order of the words."""
    given = [" ".join(words) for words in texts(count)]
    keys = sorted({word for words in texts(count) for word in words})
    words = kx.WordVectors(keys, np.ones((len(keys), 1)))
    counter = CountVectorizer(vocabulary=keys)

    def columns(matrix: Any) -> np.ndarray:
        return np.concatenate([matrix.sum(axis=0).ravel(), matrix.sum(axis=1).ravel()])

    sides = {
        "kexue": Side(lambda: words.count_matrix(given), comparable=columns),
        "scikit-learn": Side(lambda: csr_array(counter.transform(given)), comparable=columns),
    }
    return Workload(f"WordVectors.count_matrix, {count} texts of 100 words", sides, rtol=0)


@recent
def load(vocabulary: int, dimension: int, form: str) -> Workload:
    """A file in the format of word2vec, "bin" or "txt". It is in the cache of the system."""
    rng = np.random.default_rng(vocabulary)
    keyed = KeyedVectors(dimension)
    keyed.add_vectors(
        [f"word{number}" for number in range(vocabulary)],
        rng.standard_normal((vocabulary, dimension)).astype(np.float32),
    )
    folder = tempfile.mkdtemp()
    path = str(Path(folder) / f"vectors.{form}")
    keyed.save_word2vec_format(path, binary=form == "bin")

    def by_gensim() -> Any:
        return KeyedVectors.load_word2vec_format(path, binary=form == "bin")

    weakref.finalize(by_gensim, shutil.rmtree, folder)  # it goes with the workload
    sides = {
        "kexue": Side(lambda: kx.WordVectors.load(path), comparable=lambda words: words.vectors),
        "gensim": Side(by_gensim, comparable=lambda words: words.vectors),
    }
    return Workload(f"WordVectors.load, {vocabulary} words of {dimension}, {form}", sides, rtol=1e-6)
