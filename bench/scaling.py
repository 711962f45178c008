"""How the cost of every family grows with its problem: time, memory, threads, precision, instruction sets.

    python bench/scaling.py [--quick] [--only TEXT] [--processor-time] [--json FILE]

A series is one function, one way of calling it, and sizes in steps of two to four: the least of several calls at each
size, up to the first one where a call takes more than 1.5 s. Every series runs in float32 and float64 with one thread,
with two where the function has threads, and some at every instruction set that the processor has, each in a process of
its own. The exponent is that of the last half of the sizes, where the cost of the call itself is gone. On a machine
that others use too, --processor-time counts what the process got, and leaves two threads out.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
from report import fitted_exponent, told, write_text
from report_pages import table
from scipy.sparse import csr_array

import kexue as kx

LONGEST_CALL, LONGEST_QUICK_CALL = 1.5, 0.05
LEAST_SECONDS = 0.003  # of a measurement: short calls are repeated
WORDS, DIMENSION = 20, 300  # of a document, of a word's vector: as in workloads.py

Call = Callable[[int], Any]  # with a number of workers
Work = Callable[[int, int], int]  # of a size and the bytes of a number


@dataclass(frozen=True)
class Series:
    """How one function's cost grows along one axis.

    `make` takes a size and a dtype and returns the call. `axis` tells what the size counts. A call may solve several
    `problems`; what is told is for one of them: the time, how many bytes are read and written at least, how many
    `operations` it takes. `memory`, of the call, is measured where it does not follow from the result. With `isas` the
    series is also run at the lower instruction sets. `instead` is what to take where the sizes pass what is reasonable.
    """

    family: str
    function: str
    axis: str
    sizes: Sequence[int]
    make: Callable[[int, np.dtype], Call]
    threads: bool = True
    dtypes: Sequence[str] = ("float32", "float64")
    isas: bool = False
    memory: bool = False
    problems: Callable[[int], int] | None = None
    reads: Work | None = None
    operations: Work | None = None
    note: str = ""
    instead: str = ""

    @property
    def title(self) -> str:
        return f"{self.family} {self.function} {self.axis}"


def doubling(first: int, last: int, factor: int = 2) -> list[int]:
    """Sizes from the first to the last at most, each `factor` times the one before."""
    return list(itertools.takewhile(lambda size: size <= last, (first * factor**i for i in itertools.count())))


def normal(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([seed, *shape]).standard_normal(shape, dtype=np.dtype(dtype).type)


def probabilities(*shape: int, dtype: Any = np.float64, seed: int = 0) -> np.ndarray:
    x = np.exp(2 * normal(*shape, dtype=dtype, seed=seed))
    x /= x.sum(axis=-1, keepdims=True)
    return x


# ---- what is called ----


def problems(n: int) -> int:
    """How many transport problems are solved in a call, which lasts long enough to share among threads."""
    return max(1, min(1000, 250_000 // n**2))


def transport(function: Callable[..., Any], n: int) -> Call:
    count = problems(n)
    a, b = probabilities(count, n), probabilities(count, n, seed=1)
    # In the plane: the costs of real problems have few dimensions, which makes them harder than independent ones.
    x, y = normal(count, n, 2), normal(count, n, 2, seed=1)
    M = np.sqrt(((x[:, :, None] - y[:, None]) ** 2).sum(-1))
    return lambda workers: function(a, b, M, workers=workers)


def transport_on_the_line(n: int, dtype: np.dtype) -> Call:
    x, y = normal(n, dtype=dtype), normal(n, dtype=dtype, seed=1)
    return lambda workers: kx.emd2_1d(x, y, workers=workers)


@lru_cache(maxsize=2)
def _entropic(n: int) -> tuple[np.ndarray, ...]:
    x, y = normal(n, 2), normal(n, 2, seed=1)
    M = ((x[:, None] - y[None]) ** 2).sum(-1)
    return probabilities(n), probabilities(n, seed=1), M / M.max()


def entropic(n: int, dtype: np.dtype, reg: float = 0.05) -> Call:
    a, b, M = (array.astype(dtype) for array in _entropic(n))
    tol = 1e-9 if dtype == np.float64 else 1e-5  # what float32 can reach
    return lambda workers: kx.sinkhorn2(a, b, M, reg, tol=tol, max_iter=100_000, workers=workers)


def entropic_regularization(thousandths: int, dtype: np.dtype) -> Call:
    return entropic(500, dtype, thousandths / 1000)


@lru_cache(maxsize=2)
def corpus(documents: int, vocabulary: int, words: int, dtype: str) -> tuple[np.ndarray, csr_array]:
    """Documents about three of 200 topics each, as in workloads.py, and vectors of words in those clusters."""
    rng = np.random.default_rng([documents, vocabulary, words])
    vectors = rng.standard_normal((vocabulary, DIMENSION), dtype=np.float32)
    topics = min(200, vocabulary // 50)
    members = rng.permutation(vocabulary)[: vocabulary // topics * topics].reshape(topics, -1)
    centres = rng.standard_normal((topics, DIMENSION), dtype=np.float32)
    for topic, centre in zip(members, centres, strict=True):
        vectors[topic] = 0.8 * vectors[topic] + centre
    own = np.take_along_axis(
        rng.integers(topics, size=(documents, 3)), rng.integers(3, size=(documents, words)), axis=1
    )
    tokens = members[own, rng.integers(members.shape[1], size=own.shape)]
    counts = csr_array(
        (np.ones(tokens.size), tokens.ravel(), np.arange(0, tokens.size + 1, words)), shape=(documents, vocabulary)
    )
    counts.sum_duplicates()
    return vectors.astype(dtype), counts


def pairwise(n: int, dtype: np.dtype) -> Call:
    vectors, counts = corpus(2 * n, 20_000, WORDS, dtype.name)
    X, Y = counts[:n], counts[n:]
    return lambda workers: kx.pairwise_distances(X, Y, vectors=vectors, workers=workers)


QUERIES = 10


@lru_cache(maxsize=1)
def index_of(documents: int, vocabulary: int, words: int, dtype: str) -> tuple[kx.DocumentIndex, csr_array]:
    vectors, counts = corpus(documents + QUERIES, vocabulary, words, dtype)
    return kx.DocumentIndex(vectors).fit(counts[QUERIES:]), counts[:QUERIES]


def search(documents: int, dtype: np.dtype, vocabulary: int = 20_000, words: int = WORDS) -> Call:
    index, queries = index_of(documents, vocabulary, words, dtype.name)
    return lambda workers: index.kneighbors(queries, 10, workers=workers)


def search_vocabulary(vocabulary: int, dtype: np.dtype) -> Call:
    return search(20_000, dtype, vocabulary)


def search_words(words: int, dtype: np.dtype) -> Call:
    return search(10_000, dtype, words=words)


def build_index(documents: int, dtype: np.dtype) -> Call:
    vectors, counts = corpus(documents + QUERIES, 20_000, WORDS, dtype.name)
    rows = counts[QUERIES:]
    return lambda workers: kx.DocumentIndex(vectors).fit(rows)


def word_vectors(tokens: int, dtype: np.dtype) -> Call:
    rng = np.random.default_rng(tokens)
    vocabulary = min(20_000, tokens // 10)
    weights = 1 / np.arange(1, vocabulary + 1)
    drawn = rng.choice(vocabulary, size=(tokens // 100, 100), p=weights / weights.sum())
    texts = [[str(word) for word in row] for row in drawn.tolist()]
    return lambda workers: kx.WordVectors.fit(texts, dimension=50, rng=0)


def elementwise(ufunc: Callable[..., Any], *arguments: float) -> Callable[[int, np.dtype], Call]:
    def make(n: int, dtype: np.dtype) -> Call:
        x, out = normal(n, dtype=dtype), np.empty(n, dtype=dtype)
        numbers = [dtype.type(argument) for argument in arguments]
        return lambda workers: ufunc(x, *numbers, out=out)

    return make


def softmax_rows(rows: int, dtype: np.dtype) -> Call:
    x, out = normal(rows, 1000, dtype=dtype), np.empty((rows, 1000), dtype=dtype)
    return lambda workers: kx.softmax(x, out=out)


def normalize_rows(rows: int, dtype: np.dtype) -> Call:
    p = probabilities(rows, 100, dtype=dtype)
    return lambda workers: kx.entropy_normalize(p, 3.0, tol=1e-10 if dtype == np.float64 else 1e-6, workers=workers)


def normalize_columns(columns: int, dtype: np.dtype) -> Call:
    p, target = probabilities(200, columns, dtype=dtype), 0.6 * math.log(columns)
    return lambda workers: kx.entropy_normalize(p, target, tol=1e-10 if dtype == np.float64 else 1e-6, workers=workers)


def affinities(points: int, dtype: np.dtype) -> Call:
    x = normal(points, 10, dtype=dtype)
    squares = (x**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares - 2 * x @ x.T, 0)
    np.fill_diagonal(distances, 0)
    return lambda workers: kx.perplexity_affinities(distances, 30.0, workers=workers)


def dependent(points: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    x = normal(points, 50, dtype=dtype)
    return x, x[:, :10] ** 2


def hsic(points: int, dtype: np.dtype) -> Call:
    x, y = dependent(points, dtype)
    return lambda workers: kx.hsic(x, y, bandwidth=7.0, workers=workers)


def hsic_features(points: int, dtype: np.dtype) -> Call:
    x, y = dependent(points, dtype)
    return lambda workers: kx.hsic_random_features(x, y, n_features=512, bandwidth=7.0, rng=0, workers=workers)


def hsic_permutations(points: int, dtype: np.dtype) -> Call:
    x, y = dependent(points, dtype)
    return lambda workers: kx.hsic_test(x, y, n_permutations=200, bandwidth=7.0, rng=0, workers=workers)


def gaussians(function: Callable[..., Any], pairs: int, dimension: int, dtype: np.dtype) -> Call:
    means = normal(2, pairs, dimension, dtype=dtype)
    roots = normal(2, pairs, dimension, dimension, dtype=dtype) / math.sqrt(dimension)
    covariances = roots @ roots.swapaxes(-1, -2) + np.eye(dimension, dtype=dtype)
    arguments = means[0], covariances[0], means[1], covariances[1]
    return lambda workers: function(*arguments)


def projected(kind: Any, columns: int = 1000) -> Callable[[int, np.dtype], Call]:
    def make(rows: int, dtype: np.dtype) -> Call:
        x = normal(rows, columns, dtype=dtype)
        return lambda workers: kx.random_projection(x, 128, kind=kind, rng=0, workers=workers)

    return make


def projected_columns(columns: int, dtype: np.dtype) -> Call:
    return projected("srht", columns)(1000, dtype)


def hadamard(n: int, dtype: np.dtype) -> Call:
    x = normal(64, n, dtype=dtype)
    return lambda workers: kx.fwht(x)


def hamming(codes: int, dtype: np.dtype) -> Call:
    data, queries = np.random.default_rng(0).integers(0, 2**64, (codes + 64, 2), dtype=np.uint64), 64
    return lambda workers: kx.hamming_neighbors(data[:queries], data[queries:], 10, workers=workers)


def decomposed(rows: int, dtype: np.dtype) -> Call:
    x = normal(rows, 50, dtype=dtype) @ normal(50, 1000, dtype=dtype) + normal(rows, 1000, dtype=dtype)
    return lambda workers: kx.randomized_svd(x, 20, rng=0)


def ranking(pairs: int, dtype: np.dtype) -> Call:
    rng = np.random.default_rng(pairs)
    cosines, labels = rng.uniform(-1, 1, pairs).astype(dtype), rng.integers(0, 5, pairs)
    return lambda workers: kx.cosent_loss(cosines, labels, return_grad=True, workers=workers)


def multilabel(classes: int, dtype: np.dtype) -> Call:
    scores = normal(64, classes, dtype=dtype)
    targets = np.random.default_rng(0).random(scores.shape) < 0.1
    return lambda workers: kx.zlpr_loss(scores, targets, return_grad=True, workers=workers)


def attended(length: int, dtype: np.dtype) -> Call:
    Q, K, V = normal(3, 4, length, 64, dtype=dtype)
    return lambda workers: kx.attention(Q, K, V, workers=workers)


def linearly_attended(length: int, dtype: np.dtype) -> Call:
    V = normal(4, length, 64, dtype=dtype)
    phi_Q, phi_K = np.abs(normal(2, 4, length, 64, dtype=dtype))
    return lambda workers: kx.linear_attention(phi_Q, phi_K, V, workers=workers)


def recurrent(batch: int, steps: int, units: int, dtype: np.dtype) -> Call:
    x = normal(batch, steps, units, dtype=dtype)
    W, U = normal(units, 4 * units, dtype=dtype) / 10, normal(units, 4 * units, dtype=dtype, seed=1) / 10
    return lambda workers: kx.lstm(x, W, U, workers=workers)


def layer_normalized(rows: int, dtype: np.dtype) -> Call:
    x, out = normal(rows, 768, dtype=dtype), np.empty((rows, 768), dtype=dtype)
    return lambda workers: kx.layer_norm(x, out=out)


def clipped(n: int, dtype: np.dtype) -> Call:
    gradients = [part.copy() for part in np.array_split(normal(n, dtype=dtype), 8)]
    return lambda workers: kx.clip_global_norm(gradients, 1.0, out=gradients, workers=workers)


def dropped(n: int, dtype: np.dtype) -> Call:
    x, out = normal(n, dtype=dtype), np.empty(n, dtype=dtype)
    return lambda workers: kx.update_dropout(x, 0.3, 0, out=out, workers=workers)


@lru_cache(maxsize=1)
def sequences(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 50_000, (count, 12), dtype=np.int32)


def prefix_tree(count: int, dtype: np.dtype) -> Call:
    stored = sequences(count)
    return lambda workers: kx.PrefixTree(stored)


def beam_search(count: int, dtype: np.dtype) -> Call:
    stored = np.concatenate([sequences(count), np.zeros((count, 1), dtype=np.int32)], axis=1)
    tree, scores = kx.PrefixTree(stored), normal(4, 50_000, dtype=dtype)
    return lambda workers: kx.constrained_beam_search(
        lambda live: scores[: len(live)], tree, end_token=0, beam_size=4, max_length=13
    )


def letters(function: Callable[..., Any]) -> Callable[[int, np.dtype], Call]:
    def make(n: int, dtype: np.dtype) -> Call:
        rng = np.random.default_rng(n)
        a, b = ("".join(map(chr, rng.integers(97, 123, n))) for _ in range(2))
        return lambda workers: function(a, b)

    return make


def alternating(rows: int, dtype: np.dtype) -> Call:
    p = probabilities(rows, 10, dtype=dtype)
    return lambda workers: kx.can(p, workers=workers)


def classified(rows: int, dtype: np.dtype) -> Call:
    x, y = normal(rows, 64, dtype=dtype), np.arange(rows) % 10
    return lambda workers: kx.softmax_closed_form(x, y, shrinkage=0.1)


def minimized(dimension: int, dtype: np.dtype) -> Call:
    start = np.ones(dimension, dtype=dtype)
    return lambda workers: kx.minimize(
        lambda x: (x**2).sum(axis=-1), start, method="zeroth-order", max_iter=50, vectorized=True, rng=0
    )


def log_likelihoods(rows: int, dtype: np.dtype) -> Call:
    x = normal(rows, 50, dtype=dtype)
    return lambda workers: kx.iwae_bound(x)


def _square(n: int, itemsize: int) -> int:
    return itemsize * n**2


ROWS = doubling(1000, 256_000, 4)
ELEMENTS = doubling(1000, 16_384_000, 4)
POINTS = doubling(250, 16_000)

SERIES = [
    Series("transport", "emd2", "points of each side", [8, 16, 32, 64, 125, 250, 500, 1000, 2000],
           lambda n, t: transport(kx.emd2, n), dtypes=("float64",), isas=True, memory=True, problems=problems,
           reads=lambda n, b: 8 * n**2,
           note="as many problems a call as make 250,000 costs, 1000 at most; costs in the plane",
           instead="`sinkhorn2` at a moderate `reg`; on points, distances along random lines "
                   "(`emd2_1d` of projections)"),
    Series("transport", "transport_lower_bound", "points of each side", [8, 16, 32, 64, 125, 250, 500],
           lambda n, t: transport(kx.transport_lower_bound, n), dtypes=("float64",), problems=problems,
           reads=lambda n, b: 8 * n**2, note="as for emd2",
           instead="it is made for pairs of documents; for large problems `sinkhorn2` is closer"),
    Series("transport", "emd2_1d", "points of each side", ELEMENTS, transport_on_the_line,
           instead="nothing: it is a sort"),
    Series("transport", "sinkhorn2", "points of each side", doubling(32, 4096), entropic, isas=True, memory=True,
           note="reg 0.05 of the largest cost, tol 1e-9 (float32: 1e-5)",
           instead="`sinkhorn_divergence` of samples, which keeps no matrix of costs; fewer points"),
    Series("transport", "sinkhorn2", "thousandths of reg", [200, 100, 50, 20, 10, 5, 2, 1], entropic_regularization,
           dtypes=("float64",), note="500 and 500 points",
           instead="`emd2`, where `reg` is below a thousandth of the costs"),
    Series("documents", "pairwise_distances", "documents of each side", doubling(25, 3200), pairwise, isas=True,
           memory=True, note="wmd, 20 words a document, 20,000 words of 300 dimensions",
           instead='`DocumentIndex`, if only the nearest are wanted; `metric="rwmd"` or `"wcd"`; `kexue.dask`'),
    Series("documents", "DocumentIndex.kneighbors", "documents", [1000, 5000, 20_000, 50_000, 100_000, 200_000],
           search, isas=True, memory=True, problems=lambda n: QUERIES,
           note="one of 10 queries, 10 neighbours, 20 words, 20,000 words of 300 dimensions",
           instead="partitions (`kexue.dask.kneighbors`); BM25 or centroids first, and this index for their best"),
    Series("documents", "DocumentIndex.kneighbors", "words in the vocabulary", doubling(5000, 160_000),
           search_vocabulary, dtypes=("float32",), memory=True, problems=lambda n: QUERIES,
           note="20,000 documents of 20 words",
           instead="leave out rare words: the table is made for all of them, for each query"),
    Series("documents", "DocumentIndex.kneighbors", "words in a document", doubling(5, 320), search_words,
           dtypes=("float32",), memory=True, problems=lambda n: QUERIES,
           note="10,000 documents, queries as long as they",
           instead="paragraphs in place of books; the heaviest words by TF-IDF"),
    Series("documents", "DocumentIndex.fit", "documents", [1000, 5000, 20_000, 50_000, 100_000, 200_000], build_index,
           threads=False, dtypes=("float32",), memory=True, note="20 words a document",
           instead="partitions, each saved, which are made side by side"),
    Series("documents", "WordVectors.fit", "tokens", doubling(10_000, 1_280_000), word_vectors, threads=False,
           dtypes=("float64",), memory=True, note="50 dimensions, at most 20,000 words",
           instead="vectors that others learned (`WordVectors.load`)"),
    Series("activations", "squareplus", "elements", ELEMENTS, elementwise(kx.squareplus, 4.0), threads=False,
           isas=True, reads=lambda n, b: 2 * b * n,
           instead="memory decides: blocks with `out=`"),
    Series("activations", "gelu", "elements", ELEMENTS, elementwise(kx.gelu), threads=False, isas=True,
           reads=lambda n, b: 2 * b * n,
           instead="memory decides: blocks with `out=`"),
    Series("entropy", "softmax", "rows", doubling(250, 64_000, 4), softmax_rows, threads=False, isas=True,
           reads=lambda n, b: 2000 * b * n, note="1000 columns",
           instead="blocks of rows"),
    Series("entropy", "entropy_normalize", "rows", ROWS, normalize_rows, isas=True, note="100 columns",
           instead="blocks of rows"),
    Series("entropy", "entropy_normalize", "columns", doubling(10, 40_960, 4), normalize_columns, note="200 rows",
           instead="the largest entries of each row alone"),
    Series("entropy", "perplexity_affinities", "points", doubling(250, 8000), affinities, memory=True,
           reads=lambda n, b: 2 * _square(n, b), note="perplexity 30, dense distances",
           instead="the distances of the nearest neighbours alone (rows of 3 x perplexity), as openTSNE does"),
    Series("independence", "hsic", "points", POINTS, hsic, isas=True, memory=True,
           operations=lambda n, b: 60 * n**2, note="50 and 10 columns; half of the products, by symmetry",
           instead="`hsic_random_features`, `hsic_block`; `kexue.dask.hsic` for the exact value"),
    Series("independence", "hsic_random_features", "points", ROWS, hsic_features, memory=True,
           note="512 features, 50 and 10 columns",
           instead="nothing: it is linear"),
    Series("independence", "hsic_test", "points", doubling(125, 4000), hsic_permutations, memory=True,
           note="200 permutations",
           instead='`method="gamma"`; a sample of the points'),
    Series("gaussians", "gaussian_kl", "pairs", ROWS, lambda n, t: gaussians(kx.gaussian_kl, n, 16, t), threads=False,
           note="16 dimensions",
           instead="blocks of pairs"),
    Series("gaussians", "gaussian_kl", "dimensions", doubling(4, 512), lambda n, t: gaussians(kx.gaussian_kl, 64, n, t),
           threads=False, note="64 pairs",
           instead='`form="diagonal"`, or projected means and covariances'),
    Series("gaussians", "gaussian_w2", "dimensions", doubling(4, 256), lambda n, t: gaussians(kx.gaussian_w2, 64, n, t),
           threads=False, isas=True, note="64 pairs",
           instead='`form="diagonal"`, or projected means and covariances'),
    Series("projection", "random_projection srht", "rows", ROWS, projected("srht"), isas=True,
           reads=lambda n, b: 1128 * b * n, note="1000 columns to 128",
           instead="blocks of rows with the same `rng`; `kexue.dask.random_projection`"),
    Series("projection", "random_projection gaussian", "rows", ROWS, projected("gaussian"),
           operations=lambda n, b: 2 * 1000 * 128 * n, note="1000 columns to 128",
           instead='`kind="srht"`'),
    Series("projection", "random_projection srht", "columns", doubling(256, 65_536, 4), projected_columns,
           note="1000 rows to 128",
           instead='`kind="countsketch"` for sparse rows'),
    Series("projection", "fwht", "length", doubling(64, 262_144, 4), hadamard, threads=False, isas=True,
           reads=lambda n, b: 128 * b * n, note="64 rows",
           instead="nothing: n log n"),
    Series("projection", "hamming_neighbors", "codes", doubling(4000, 4_096_000, 4), hamming, dtypes=("float64",),
           isas=True, operations=lambda n, b: 128 * n, note="codes of 128 bits, which have no precision; 64 queries",
           instead="`SignHashIndex`, which looks at buckets alone"),
    Series("projection", "randomized_svd", "rows", doubling(500, 32_000), decomposed, threads=False, memory=True,
           note="1000 columns, rank 20",
           instead="a sketch by `random_projection` first, or blocks of rows from a memory map"),
    Series("losses", "cosent_loss", "pairs", ELEMENTS, ranking, note="5 labels, with the gradient",
           instead="nothing: it is a sort"),
    Series("losses", "zlpr_loss", "classes", doubling(100, 102_400, 4), multilabel, note="64 rows, with the gradient",
           instead="`zlpr_sparse_loss`, where few classes are positive"),
    Series("attention", "attention", "length", doubling(64, 8192), attended, isas=True, memory=True,
           operations=lambda n, b: 4 * 4 * 64 * n**2, note="4 heads of 64",
           instead="`linear_attention`; windows"),
    Series("attention", "linear_attention", "length", doubling(64, 131_072, 4), linearly_attended,
           operations=lambda n, b: 4 * 4 * 64 * 64 * n, note="4 heads of 64, 64 features that are there",
           instead="nothing: it is linear"),
    Series("recurrent", "lstm", "steps", doubling(8, 2048), lambda n, t: recurrent(16, n, 64, t),
           note="16 sequences, 64 units",
           instead="pieces with `h0` and `c0` handed on"),
    Series("recurrent", "lstm", "units", doubling(16, 1024), lambda n, t: recurrent(16, 16, n, t),
           operations=lambda n, b: 16 * 16 * 16 * n**2, note="16 sequences of 16 steps",
           instead="nothing on a processor; it is a matrix product a step"),
    Series("initialization", "layer_norm", "rows", doubling(250, 64_000, 4), layer_normalized, threads=False,
           isas=True, reads=lambda n, b: 1536 * b * n, note="768 columns",
           instead="blocks of rows"),
    Series("gradients", "clip_global_norm", "elements", ELEMENTS, clipped, reads=lambda n, b: 3 * b * n,
           instead="nothing: two passes over memory"),
    Series("gradients", "update_dropout", "elements", ELEMENTS, dropped, reads=lambda n, b: 2 * b * n,
           instead="nothing: one pass over memory"),
    Series("gradients", "minimize", "dimensions", doubling(10, 10_240, 4), minimized, threads=False,
           dtypes=("float64",), note="zeroth order, 50 steps on a sum of squares",
           instead="a method with gradients (`scipy.optimize`): samples needed grow with the dimension"),
    Series("density", "iwae_bound", "rows", ROWS, log_likelihoods, threads=False, note="50 samples a row",
           instead="blocks of rows"),
    Series("decoding", "PrefixTree", "sequences", doubling(1000, 1_024_000, 4), prefix_tree, threads=False,
           dtypes=("float64",), memory=True, note="12 random tokens each, which have no precision",
           instead="trees of parts of the sequences, by first token"),
    Series("decoding", "constrained_beam_search", "sequences", doubling(1000, 256_000, 4), beam_search, threads=False,
           dtypes=("float32",), note="4 beams, 12 tokens each; the model costs nothing",
           instead="nothing: it hardly depends on them"),
    Series("decoding", "longest_common_subsequence", "letters", doubling(100, 102_400, 4),
           letters(kx.longest_common_subsequence), threads=False, dtypes=("float64",), isas=True,
           instead="pieces between anchors that both texts share; hashes of shingles for near duplicates"),
    Series("decoding", "edit_distance", "letters", doubling(100, 102_400, 4), letters(kx.edit_distance), threads=False,
           dtypes=("float64",),
           instead="the same"),
    Series("classification", "can", "rows", ROWS, alternating, note="10 classes",
           instead="blocks, with `prior` given"),
    Series("classification", "softmax_closed_form", "rows", ROWS, classified, threads=False,
           note="64 columns, 10 classes",
           instead="`ClassStatistics`, block by block"),
]  # fmt: skip


# ---- measuring ----


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"elapsed time": time.perf_counter, "processor time": time.process_time}


def least_seconds(call: Callable[[], Any], longest: float, clock: Clock) -> float:
    """The least time of several calls, after one that warms up and is all where it takes very long."""
    begin = clock()
    call()
    first = clock() - begin
    if first > 2 * longest:
        return first
    repeats = max(1, int(LEAST_SECONDS / max(first, 1e-9)))
    least, spent, turns = math.inf, 0.0, 0
    while turns < 3 or (turns < 7 and spent < longest / 10):
        begin = clock()
        for _ in range(repeats):
            call()
        seconds = clock() - begin
        least, spent, turns = min(least, seconds / repeats), spent + seconds, turns + 1
        if spent > longest:
            break
    return least


def peak_memory(call: Callable[[], Any]) -> int:
    """What a call allocates at most at a time, its result among it: the core's blocks are traced too."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def measure(series: Series, dtype: str, workers: int, longest: float, clock: Clock) -> dict[str, Any]:
    points: list[dict[str, Any]] = []
    item = np.dtype(dtype)
    for size in series.sizes:
        call = series.make(size, item)
        seconds = least_seconds(lambda call=call: call(workers), longest, clock)  # type: ignore[misc]
        solved = 1 if series.problems is None else series.problems(size)
        point: dict[str, Any] = {"size": size, "seconds": seconds / solved}
        if series.reads is not None:
            point["bytes"] = series.reads(size, item.itemsize)
        if series.operations is not None:
            point["operations"] = series.operations(size, item.itemsize)
        if series.memory and workers == 1:
            point["memory"] = peak_memory(lambda call=call: call(1))  # type: ignore[misc]
        points.append(point)
        if seconds > longest:
            break
    about = {key: getattr(series, key) for key in ("family", "function", "axis")}
    isa = kx.show_config(mode="dict")["isa"]
    return {**about, "dtype": dtype, "isa": isa, "workers": workers, "points": points, "note": series.note}


def ways(series: Series, *, threads: bool, this_isa: bool) -> list[tuple[str, int]]:
    """The dtypes and numbers of threads of a series; one of them where only the instruction set is asked."""
    if this_isa:
        return [(series.dtypes[0], 1)]
    two = [(series.dtypes[0], 2)] if threads and series.threads else []
    return [(dtype, 1) for dtype in series.dtypes] + two


def run(chosen: Iterable[Series], longest: float, clock: Clock, *, this_isa: bool) -> list[dict[str, Any]]:
    from workloads import pinned_threads  # needs POT and gensim, which only measuring does

    found = []
    with pinned_threads():
        for series in chosen:
            # Processor time is the sum of all threads'.
            for dtype, workers in ways(series, threads=clock is time.perf_counter, this_isa=this_isa):
                found.append(measure(series, dtype, workers, longest, clock))
                print("| " + " | ".join(growth_row(found[-1])) + " |", flush=True)
    return found


def run_below(arguments: Sequence[str]) -> list[dict[str, Any]]:
    """The series that tell instruction sets apart, at those below the one in use."""
    config, found = kx.show_config(mode="dict"), []
    compiled = list(config["isas_compiled"])
    for isa in compiled[: compiled.index(config["isa"])]:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "series.json")
            command = [sys.executable, __file__, *arguments, "--json", path, "--this-isa"]
            subprocess.run(command, env={**os.environ, "KEXUE_ISA": isa}, check=True)
            with open(path) as file:
                found += json.load(file)["series"]
    return found


# ---- what is told ----


def exponent(points: Sequence[dict[str, Any]], key: str = "seconds") -> float | None:
    return fitted_exponent((point["size"], point[key]) for point in points if point.get(key, 0) > 0)


def told_bytes(count: float) -> str:
    units = (("EB", 1e18), ("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("bytes", 1.0))
    unit, factor = next(((unit, factor) for unit, factor in units if count >= factor), units[-1])
    return f"{count / factor:.3g} {unit}"


HEADER = (
    "function", "of", "type", "ISA", "threads", "sizes", "time at the largest", "exponent", "memory there",
    "its exponent",
)  # fmt: skip


def growth_row(series: dict[str, Any]) -> tuple[str, ...]:
    points, axis = series["points"], series["axis"]
    sizes = f"{points[0]['size']:,} to {points[-1]['size']:,}"
    time_slope, memory_slope = exponent(points), exponent(points, "memory")
    return (
        f"`{series['function']}`", axis, series["dtype"], series["isa"], str(series["workers"]), sizes,
        told(points[-1]["seconds"]), "" if time_slope is None else f"{time_slope:.2f}",
        told_bytes(points[-1]["memory"]) if "memory" in points[-1] else "",
        "" if memory_slope is None else f"{memory_slope:.2f}",
    )  # fmt: skip


def _times_as_long(one: dict[str, Any], other: dict[str, Any]) -> float | None:
    """What the first takes in units of the second, at the largest size of both."""
    seconds = {point["size"]: point["seconds"] for point in other["points"]}
    common = [point for point in one["points"] if point["size"] in seconds]
    return common[-1]["seconds"] / seconds[common[-1]["size"]] if common else None


def summary(series: Sequence[dict[str, Any]], isa: str) -> list[dict[str, Any]]:
    """A row for each function and axis: how its first type grows, and what the other ways take beside it."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    bases: dict[tuple[str, str, str], dict[str, Any]] = {}
    for one in series:
        key = one["family"], one["function"], one["axis"]
        if one["isa"] == isa and one["workers"] == 1 and key not in rows:
            last = one["points"][-1]
            rows[key] = {
                **dict(zip(("family", "function", "axis"), key, strict=True)),
                "dtype": one["dtype"],
                "sizes": [one["points"][0]["size"], last["size"]],
                "seconds": last["seconds"],
                "exponent": exponent(one["points"]),
                "memory": last.get("memory"),
                "memory_exponent": exponent(one["points"], "memory"),
                "beside": {},
            }
            bases[key] = one
            continue
        if key in rows:
            way = (
                one["isa"] if one["isa"] != isa else f"{one['workers']} threads" if one["workers"] > 1 else one["dtype"]
            )
            rows[key]["beside"][way] = _times_as_long(one, bases[key])
    return list(rows.values())


def _number(value: float | None, form: str = ".2f") -> str:
    return "" if value is None else format(value, form)


WAYS = ("float64", "2 threads", "v3", "baseline")


def growth_table(rows: Sequence[dict[str, Any]]) -> str:
    header = ("function", "of", "type", "sizes", "time at the last", "exponent", "memory there", "its exponent", *WAYS)
    lines = []
    for row in rows:
        first, last = row["sizes"]
        memory = "" if row["memory"] is None else told_bytes(row["memory"])
        lines.append(
            (
                f"`{row['function']}`",
                row["axis"],
                row["dtype"],
                f"{first:,} to {last:,}",
                told(row["seconds"]),
                _number(row["exponent"]),
                memory,
                _number(row["memory_exponent"]),
                *(_number(row["beside"].get(way)) for way in WAYS),
            )
        )
    return table(header, lines)


LONG, LARGE = 10.0, 8e9  # seconds, bytes
FARTHEST = 1000  # in units of the last size: nothing is told of larger ones


def _reached(size: int, value: float | None, goal: float, slope: float | None) -> str:
    """The size at which a value that grows as it did would reach a goal."""
    if value is None or slope is None or slope < 0.3:
        return ""
    reached = size * (goal / value) ** (1 / slope)
    return f"{float(f'{reached:.1g}'):,.0f}" if reached < FARTHEST * size else ""


def limits_table(rows: Sequence[dict[str, Any]]) -> str:
    texts = {(series.family, series.function, series.axis): series for series in SERIES}
    header = ("function", "of", "10 s at", "8 GB at", "beyond that", "measured with")
    lines = []
    for row in rows:
        series = texts[row["family"], row["function"], row["axis"]]
        long = _reached(row["sizes"][1], row["seconds"], LONG, row["exponent"])
        large = _reached(row["sizes"][1], row["memory"], LARGE, row["memory_exponent"])
        lines.append((f"`{row['function']}`", row["axis"], long, large, series.instead, series.note))
    return table(header, lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="stop a series early, to see that all works")
    parser.add_argument("--only", metavar="TEXT", default="", help="series whose family, function or axis has this")
    parser.add_argument("--json", metavar="FILE", help="also write machine, limits and series to a file")
    parser.add_argument("--processor-time", action="store_true", help="for a machine that others use: one thread only")
    parser.add_argument("--this-isa", action="store_true", help="only what tells instruction sets apart, at this one")
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    options = parser.parse_args(arguments)
    chosen = [series for series in SERIES if options.only in series.title]
    if not chosen:
        parser.error(f"--only: no series has {options.only!r} in its name")
    if options.this_isa:
        chosen = [series for series in chosen if series.isas]
    from ratios import limits
    from workloads import machine, pinned_threads

    clock = "processor time" if options.processor_time else "elapsed time"
    about: dict[str, Any] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **machine(), "clock": clock}
    if not options.this_isa:
        with pinned_threads():
            about["limits"] = limits()
        for key, value in about.items():
            print(f"{key:14} {value}")
        print("\n" + table(HEADER, []), flush=True)
    longest = LONGEST_QUICK_CALL if options.quick else LONGEST_CALL
    found = run(chosen, longest, CLOCKS[clock], this_isa=options.this_isa)
    if not options.this_isa and any(series.isas for series in chosen):
        found += run_below(arguments)
    if not options.this_isa:
        print("\n" + growth_table(summary(found, about["isa"])))
    if options.json:
        write_text(options.json, json.dumps({**about, "series": found}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
