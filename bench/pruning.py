"""How the search index prunes, and the same search replayed over partitions that do not exist.

    python bench/pruning.py

prints what the index looks at as a corpus grows, and how well a replay foretells it. Which documents a partition looks
at depends on the order in which their bounds and distances come, so a replay takes these from real searches, or draws
them for a larger corpus, and sends them through the same heap of the k nearest.
"""

from __future__ import annotations

import heapq
import itertools
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.sparse import csr_array

import kexue as kx

NEIGHBORS = 10
SEGMENT = 1 << 18  # documents whose bounds the index keeps at a time: SEGMENT of document_index.c

# ---- the search, replayed ----

Candidate = tuple[float, int, float, float]  # relaxed bound, number, dual bound, distance
Neighbor = tuple[float, int]  # distance, number


@dataclass
class Found:
    """What a search has come to: the k nearest so far, and what became of the documents that were looked at."""

    k: int
    limit: float = math.inf
    dual: int = 0
    exact: int = 0
    heap: list[tuple[float, int]] = field(default_factory=list)  # negated: the farthest on top

    def neighbors(self) -> list[Neighbor]:
        return sorted((-distance, -number) for distance, number in self.heap)

    @property
    def looked_at(self) -> int:
        return self.dual + self.exact

    def look(self, candidates: Iterable[Candidate]) -> None:
        """Go through documents in the order of their bounds, as the index does, until no other can be a neighbour."""
        for bound, number, dual, distance in candidates:
            full = len(self.heap) == self.k
            if bound > self.limit or (full and (bound, number) >= (-self.heap[0][0], -self.heap[0][1])):
                break
            if dual > (min(self.limit, -self.heap[0][0]) if full else self.limit):
                self.dual += 1
                continue
            self.exact += 1
            if distance > self.limit:
                continue
            if not full:
                heapq.heappush(self.heap, (-distance, -number))
            elif (distance, number) < (-self.heap[0][0], -self.heap[0][1]):
                heapq.heapreplace(self.heap, (-distance, -number))


@dataclass(frozen=True)
class Replay:
    """A search over partitions: the nearest of all, and the counts of every partition."""

    neighbors: list[Neighbor]
    dual: np.ndarray
    exact: np.ndarray

    @property
    def looked_at(self) -> int:
        return int(self.dual.sum() + self.exact.sum())


def search_partitions(partitions: Sequence[Iterable[Iterable[Candidate]]], k: int, wave: int) -> Replay:
    """Search partitions, each given by its segments, `wave` of them at a time.

    Partitions of a wave know nothing of each other; those of the next one get the k-th best distance so far as their
    limit. So ``wave=len(partitions)`` prunes by each partition's own neighbours alone, ``wave=1`` by all before it.
    """
    for name, value in (("k", k), ("wave", wave)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must be a positive integer, got {value!r}")
    best: list[Neighbor] = []
    dual, exact = np.zeros(len(partitions), dtype=np.int64), np.zeros(len(partitions), dtype=np.int64)
    for first in range(0, len(partitions), wave):
        limit = best[-1][0] if len(best) == k else math.inf
        results = [best]
        for p, segments in enumerate(partitions[first : first + wave], first):
            found = Found(k, limit)
            for segment in segments:
                found.look(segment)
            dual[p], exact[p] = found.dual, found.exact
            results.append(found.neighbors())
        best = sorted(itertools.chain.from_iterable(results))[:k]
    return Replay(best, dual, exact)


# ---- real bounds and distances ----


@dataclass(frozen=True)
class Measured:
    """Bounds and distances of one query to the documents of a corpus; a dual bound is 0 where it was not needed."""

    bounds: np.ndarray
    duals: np.ndarray
    distances: np.ndarray

    def __post_init__(self) -> None:
        for name in ("bounds", "duals", "distances"):
            array = getattr(self, name)
            if array.shape != self.bounds.shape or array.ndim != 1 or len(array) == 0:
                raise ValueError(f"{name} must be one number a document, but its shape is {array.shape}")
            bad = ~(np.isfinite(array) & (array >= 0))
            if bad.any():
                place = int(np.argmax(bad))
                raise ValueError(f"{name}[{place}] is {array[place]}")

    def first(self, documents: int) -> Measured:
        """The same query against the first documents alone."""
        return Measured(self.bounds[:documents], self.duals[:documents], self.distances[:documents])

    def part(self, begin: int, end: int) -> list[list[Candidate]]:
        """The documents from `begin` to `end` as a partition, in segments."""
        segments = []
        for first in range(begin, end, SEGMENT):
            numbers = np.arange(first, min(first + SEGMENT, end))
            numbers = numbers[np.lexsort((numbers, self.bounds[numbers]))]
            columns = (self.bounds[numbers], numbers, self.duals[numbers], self.distances[numbers])
            segments.append(list(zip(*(column.tolist() for column in columns), strict=True)))
        return segments

    def split(self, partitions: int) -> list[list[list[Candidate]]]:
        edges = partition_edges(len(self.bounds), partitions)
        return [self.part(begin, end) for begin, end in itertools.pairwise(edges)]


def partition_edges(documents: int, partitions: int) -> list[int]:
    if not 1 <= partitions <= documents:
        raise ValueError(f"partitions must be from 1 to the number of documents, {documents}, got {partitions}")
    return [documents * p // partitions for p in range(partitions + 1)]


def _coded(distances: np.ndarray) -> np.ndarray:
    """Distances as the index keeps them for its bounds: float32 with the lower 13 bits cut off."""
    bits = distances.astype(np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)


def relaxed_bounds(table: np.ndarray, weights: np.ndarray, counts: csr_array) -> np.ndarray:
    """The index's relaxed bounds of all documents for one query, from the distances of its words to all words."""
    coded = _coded(table)
    sums = np.asarray(counts.sum(axis=1)).ravel()
    lengths = np.diff(counts.indptr)
    rows = np.repeat(np.arange(len(sums)), lengths)
    forth = np.bincount(
        rows, counts.data / sums[rows] * coded.min(axis=0).astype(np.float64)[counts.indices], len(sums)
    )
    back = np.zeros(len(sums))
    for word, weight in zip(coded, weights, strict=True):
        back += weight * np.minimum.reduceat(word[counts.indices], counts.indptr[:-1]).astype(np.float64)
    back *= 1 - (len(weights) + 64) * float(np.finfo(np.float32).eps)
    bounds = np.maximum(forth, back) * (1 - (lengths + 16) * np.finfo(np.float64).eps)
    return (bounds * (1 - 4 * float(np.finfo(np.float32).eps))).astype(np.float32).astype(np.float64)


def dual_bound(table: np.ndarray, weights: np.ndarray, words: np.ndarray, own: np.ndarray, mass: np.ndarray) -> float:
    """The bound that the index takes where the relaxed one does not decide; 0 for documents that it solves at once."""
    a, b = weights.copy(), mass.copy()
    _, i, j = np.intersect1d(words, own, return_indices=True)  # shared words stay where they are
    shared = np.minimum(a[i], b[j])
    a[i] -= shared
    b[j] -= shared
    rows, columns = np.flatnonzero(a > 0), np.flatnonzero(b > 0)
    entries = len(rows) * len(columns)
    if entries < 256 or len(rows) == 1 or len(columns) == 1:
        return 0.0
    M = table[np.ix_(rows, own[columns])].astype(np.float64)
    left = a[rows].sum()
    sweeps = 3 if entries < 1024 else 8
    a, b = a[rows] / left, b[columns] / b[columns].sum()
    return max(0.0, left * float(kx.transport_lower_bound(a, b, M, sweeps=sweeps, reg=0.1, workers=1)))


def measure_query(vectors: np.ndarray, counts: csr_array, query: csr_array, partitions: int) -> Measured:
    """One query against all documents: enough dual bounds to replay up to so many partitions."""
    words = query.indices.astype(np.int64)
    weights = query.data / query.data.sum()
    # The distance of two documents of one word is that of the words.
    every = csr_array((np.ones(len(vectors)), (np.arange(len(vectors)),) * 2), shape=(len(vectors),) * 2)
    table = kx.pairwise_distances(every[words], every, vectors=vectors, workers=1)
    distances = kx.pairwise_distances(query, counts, vectors=vectors, workers=1)[0].astype(np.float64)
    bounds = relaxed_bounds(table, weights, counts)
    duals = np.zeros(len(bounds))
    farthest = 0.0
    for begin, end in itertools.pairwise(partition_edges(len(bounds), partitions)):
        k = min(NEIGHBORS, end - begin) - 1
        farthest = max(farthest, float(np.partition(distances[begin:end], k)[k]))
    for d in np.flatnonzero(bounds <= farthest):
        span = slice(counts.indptr[d], counts.indptr[d + 1])
        mass = counts.data[span] / counts.data[span].sum()
        duals[d] = dual_bound(table, weights, words, counts.indices[span].astype(np.int64), mass)
    return Measured(bounds, np.minimum(duals, distances), distances)


def real_counts(
    vectors: np.ndarray, counts: csr_array, queries: csr_array, partitions: int, wave: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the index really does in the place of `search_partitions`: dual, exact and numbers of the nearest.

    An index for each partition, and between waves the limits that kexue.dask passes on.
    """
    edges = partition_edges(counts.shape[0], partitions)
    dual, exact = np.zeros(queries.shape[0], dtype=np.int64), np.zeros(queries.shape[0], dtype=np.int64)
    best: list[list[Neighbor]] = [[] for _ in range(queries.shape[0])]
    for first in range(0, partitions, wave):
        full = all(len(near) == NEIGHBORS for near in best)
        limits = np.array([near[-1][0] for near in best]) if full else None
        for begin, end in itertools.pairwise(edges[first : first + wave + 1]):
            index = kx.DocumentIndex(vectors).fit(counts[begin:end])
            (offsets, numbers, distances), stats = index._search(queries, NEIGHBORS, limits, 1, False, None)
            dual, exact = dual + stats.dual, exact + stats.exact
            for q, (lower, upper) in enumerate(itertools.pairwise(offsets.tolist())):
                best[q] += zip(distances[lower:upper].tolist(), (numbers[lower:upper] + begin).tolist(), strict=True)
        best = [sorted(near)[:NEIGHBORS] for near in best]
    return dual, exact, np.array([[number for _, number in near] for near in best])


# ---- a corpus that does not exist ----


class Drawn:
    """Documents of a corpus of any size for one query, drawn in the order of their bounds.

    The share of documents below a bound is that of the measured ones; beyond the `TAIL` least of them it follows the
    power law that fits these (B. Hill, Annals of Statistics 1975, doi:10.1214/aos/1176343247), whose exponent would be
    d for points that fill d dimensions around the query. A document's dual bound and distance, in units of its relaxed
    bound, are those of a measured document of about the same rank. Distances have a power law of their own, with a
    larger exponent: relaxed bounds are looser for the nearest documents of a larger corpus, and these units grow.
    """

    TAIL = 64
    CHUNK = 128

    def __init__(self, measured: Measured, seed: int | Sequence[int]) -> None:
        order = np.argsort(measured.bounds, kind="stable")
        order = order[measured.bounds[order] > 0]
        if len(order) < 2 * self.TAIL:
            raise ValueError(f"{len(order)} documents with positive bounds are too few to draw from: {2 * self.TAIL}")
        self.documents = len(measured.bounds)
        self.bounds = measured.bounds[order]
        self.duals = measured.duals[order] / self.bounds
        self.distances = measured.distances[order] / self.bounds
        self.exponent = self._exponent(self.bounds)
        self.distance_exponent = self._exponent(np.sort(measured.distances[order]))
        self.rng = np.random.default_rng(seed)

    def _exponent(self, ascending: np.ndarray) -> float:
        return float(1 / max(np.log(ascending[self.TAIL - 1] / ascending[: self.TAIL - 1]).mean(), 1e-9))

    def segment(self, first: int, count: int) -> Iterator[Candidate]:
        """`count` documents, numbered from `first`: as many as are asked for, with ascending bounds."""
        arrived, number = 0.0, first
        while number < first + count:
            arrivals = arrived + np.cumsum(self.rng.standard_exponential(self.CHUNK))
            arrived = float(arrivals[-1])
            rank = np.minimum(arrivals / count, 1.0) * self.documents
            beyond = np.minimum(rank / self.TAIL, 1.0)
            inside = np.interp(rank, np.arange(1, len(self.bounds) + 1), self.bounds)
            bounds = np.where(rank < self.TAIL, self.bounds[self.TAIL - 1] * beyond ** (1 / self.exponent), inside)
            like = np.where(
                rank < self.TAIL,
                self.rng.uniform(0, self.TAIL, self.CHUNK),
                rank * self.rng.uniform(0.75, 1.25, self.CHUNK),
            )
            like = like.astype(np.int64).clip(0, len(self.bounds) - 1)
            units = bounds * beyond ** (1 / self.distance_exponent - 1 / self.exponent)
            columns = (bounds, units * self.duals[like], np.maximum(units * self.distances[like], bounds))
            for bound, dual, distance in zip(*(column.tolist() for column in columns), strict=True):
                if number == first + count:
                    return
                yield bound, number, dual, distance
                number += 1

    def split(self, documents: int, partitions: int) -> list[list[Iterator[Candidate]]]:
        edges = partition_edges(documents, partitions)
        return [
            [self.segment(first, min(SEGMENT, end - first)) for first in range(begin, end, SEGMENT)]
            for begin, end in itertools.pairwise(edges)
        ]


# ---- corpora ----


@dataclass(frozen=True)
class Corpus:
    """Documents in an order drawn by lot, so that the first ones are a sample, and what is asked."""

    name: str
    vectors: np.ndarray
    counts: csr_array
    queries: csr_array


def topics(documents: int, queries: int) -> Corpus:
    import scaling

    vectors, counts = scaling.corpus(documents + queries, 20_000, scaling.WORDS, "float32")
    return Corpus("topics", vectors, counts[queries:], counts[:queries])


def docstrings(queries: int) -> Corpus:
    """First sentences of the standard library's docstrings against the rest of them, as in quality.py."""
    import quality

    rng = np.random.default_rng(quality.SEED)
    pool = quality.make_pool(quality.docstring_items(), 100_000, queries, rng)
    targets, questions = csr_array(pool.targets), csr_array(pool.questions)
    for counts in (targets, questions):
        counts.sum_duplicates()
    return Corpus("docstrings", pool.words.vectors, targets[rng.permutation(targets.shape[0])], questions)


def growth(corpus: Corpus, sizes: Iterable[int]) -> list[dict[str, Any]]:
    """What the index looks at and solves as the corpus grows, on average over the queries."""
    rows = []
    for size in sizes:
        dual, exact, _ = real_counts(corpus.vectors, corpus.counts[:size], corpus.queries, 1, 1)
        rows.append(
            {
                "corpus": corpus.name,
                "documents": size,
                "looked_at": float((dual + exact).mean()),
                "exact": float(exact.mean()),
            }
        )
    return rows


def compare(corpus: Corpus, measured: Sequence[Measured], partitions: int, share: int = 5) -> list[dict[str, Any]]:
    """Documents looked at: by the index, by the replay, and by draws from the first `share`-th part of the corpus."""
    documents = corpus.counts.shape[0]
    drawn = [Drawn(query.first(documents // share), number) for number, query in enumerate(measured)]
    rows = []
    for wave in sorted({1, partitions}, reverse=True):
        dual, exact, numbers = real_counts(corpus.vectors, corpus.counts, corpus.queries, partitions, wave)
        replays = [search_partitions(query.split(partitions), NEIGHBORS, wave) for query in measured]
        draws = [search_partitions(query.split(documents, partitions), NEIGHBORS, wave) for query in drawn]
        same = all(
            [n for _, n in replay.neighbors] == row.tolist() for replay, row in zip(replays, numbers, strict=True)
        )
        rows.append(
            {
                "corpus": corpus.name,
                "documents": documents,
                "partitions": partitions,
                "wave": wave,
                "index": float((dual + exact).mean()),
                "index_exact": float(exact.mean()),
                "replay": float(np.mean([replay.looked_at for replay in replays])),
                "replay_exact": float(np.mean([replay.exact.sum() for replay in replays])),
                "same_neighbors": same,
                "drawn_from": documents // share,
                "drawn": float(np.mean([replay.looked_at for replay in draws])),
                "drawn_exact": float(np.mean([replay.exact.sum() for replay in draws])),
            }
        )
    return rows


def measure_corpus(corpus: Corpus, partitions: int = 20) -> list[Measured]:
    queries = [corpus.queries[[q]] for q in range(corpus.queries.shape[0])]
    return [measure_query(corpus.vectors, corpus.counts, query, partitions) for query in queries]


@dataclass(frozen=True)
class Pruning:
    """All that is measured of pruning: rows for the page, and for each corpus what its queries are drawn from."""

    growth: list[dict[str, Any]]
    comparison: list[dict[str, Any]]
    measured: dict[str, list[Measured]]


def measure_pruning(largest: int = 100_000, queries: int = 10) -> Pruning:
    grown, compared, measured = [], [], {}
    synthetic, real = topics(largest, queries), docstrings(2 * queries)
    documents = real.counts.shape[0]
    sizes = {
        "topics": sorted({size for size in (1000, 5000, 20_000, 50_000) if size < largest} | {largest}),
        "docstrings": [documents // 4, documents // 2, documents],
    }
    for corpus in (synthetic, real):
        grown += growth(corpus, sizes[corpus.name])
        measured[corpus.name] = measure_corpus(corpus)
        for partitions in (1, 4):
            compared += compare(corpus, measured[corpus.name], partitions)
    return Pruning(grown, compared, measured)


def main() -> int:
    pruning = measure_pruning()
    for row in pruning.growth + pruning.comparison:
        print(row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
