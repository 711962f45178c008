"""Slow, obvious stand-ins for the compiled functions of the document index, and neighbours by brute force."""

import numpy as np

import kexue
from kexue._context import status_name

_CODES = {status_name(code): code for code in range(-10, 1)}


def nearest(distances, k, limit=np.inf):
    """Columns of one row of distances, nearest first, ties by the lower number; NaN is nobody's neighbour."""
    distances = np.asarray(distances)
    order = np.argsort(distances, kind="stable")
    # A limit compares with the distance that a caller sees, float32 or not.
    order = order[np.asarray(distances[order], dtype=np.float64) <= limit]
    return order[:k]


def neighbours(X, Y, k, *, limit=np.inf, present=None, **options):
    """Distances and numbers of the k nearest of Y (those that are present) for each of X, from all the distances."""
    distances = kexue.pairwise_distances(X, Y, empty="nan", **options)
    if present is not None:
        distances[:, ~np.asarray(present)] = np.nan
    numbers = [nearest(row, k, limit) for row in distances]
    return [row[chosen] for row, chosen in zip(distances, numbers, strict=True)], numbers


def normalize(vectors, rows, metric):
    """As kexue._documents.normalize: status, offsets, words, weights, factors."""
    offsets, words, weights = rows
    used = np.unique(words[weights > 0])
    if not np.isfinite(vectors[used]).all():
        return _CODES["KX_E_NONFINITE"], None, None, None, None
    factors = None
    if metric == "wrd":
        factors = np.full(len(vectors), np.nan)
        norms = np.linalg.norm(vectors[used].astype(np.float64), axis=1)
        factors[used] = np.divide(1.0, norms, out=np.zeros(len(used)), where=norms > 0)
    ends, kept_words, kept_weights = [0], [], []
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        mass = np.array(weights[begin:end])
        if metric == "wrd":
            factor = factors[words[begin:end]]
            mass = np.divide(mass, factor, out=np.zeros(len(mass)), where=factor > 0)
        with np.errstate(over="ignore"):
            total = mass.sum()
        if not np.isfinite(total):
            return _CODES["KX_E_OVERFLOW"], None, None, None, None
        kept_words.extend(words[begin:end][mass > 0])
        kept_weights.extend(mass[mass > 0] / total)
        ends.append(len(kept_words))
    return (
        0,
        np.array(ends, dtype=np.int64),
        np.array(kept_words, dtype=np.int32),
        np.array(kept_weights, dtype=np.float64),
        factors,
    )


def _documents(vectors, offsets, words, weights, metric):
    """Lists of arrays and of weights, as pairwise_distances takes them; without the norms that it multiplies by."""
    arrays, parts = [], []
    for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
        array = vectors[words[begin:end]]
        mass = weights[begin:end]
        if metric == "wrd":
            mass = mass / np.linalg.norm(array.astype(np.float64), axis=1)
        arrays.append(array)
        parts.append(mass)
    return arrays, parts


def search(
    vectors,
    used,
    factors,
    offsets,
    words,
    weights,
    removed,
    queries,
    query_vectors,
    metric,
    scale,
    k,
    limits,
    workers,
    report=None,
):
    """As kexue._documents.search: status, (offsets, indices, distances), stats. Every document is solved."""
    corpus, corpus_weights = _documents(vectors, offsets, used[words], weights, metric)
    asked, asked_weights = _documents(vectors if query_vectors is None else query_vectors, *queries, metric)
    distances = kexue.pairwise_distances(
        asked, corpus, x_weights=asked_weights, y_weights=corpus_weights, metric=metric, empty="nan"
    )
    distances = (distances * scale).astype(vectors.dtype)
    distances[:, np.asarray(removed, dtype=bool)] = np.nan
    limits = np.full(len(asked), np.inf) if limits is None else limits
    numbers = [nearest(row, k, limit) for row, limit in zip(distances, limits, strict=True)]
    ends = np.cumsum([0, *map(len, numbers)])
    indices = np.array([number for chosen in numbers for number in chosen], dtype=np.int64)
    rows = np.repeat(np.arange(len(asked)), np.diff(ends))
    stats = np.zeros((len(asked), 4), dtype=np.int64)
    stats[:, 0] = stats[:, 3] = np.isfinite(distances).sum(axis=1)
    if report is not None:
        report(1, 1)
    return 0, (ends.astype(np.int64), indices, distances[rows, indices]), stats


def present(counts, vectors, metric):
    """Which rows of counts are not empty."""
    moving = np.any(vectors, axis=1) if metric == "wrd" else np.ones(len(vectors), dtype=bool)
    return (np.asarray(counts)[:, moving] > 0).any(axis=1)
