"""Slow, obvious distances between all pairs of two sets of documents, one pair after another, in float64.

Documents are dense rows of weights over a vocabulary; exact transport is POT's. NaN where a document has no mass.
"""

import numpy as np
import ot

from reference import transport


def distance(a, b, vectors, metric):
    """Of the documents of weights a and b, whose words have these vectors."""
    vectors = np.asarray(vectors, dtype=np.float64)
    if metric == "wrd":
        a, b = (np.where(vectors.any(axis=1), weights, 0.0) for weights in (a, b))
    if not (np.any(a) and np.any(b)):
        return np.nan
    sides = vectors[a > 0], vectors[b > 0], a[a > 0], b[b > 0]
    if metric in ("wcd", "rwmd"):
        return getattr(transport, metric)(*sides)
    return ot.emd2(*getattr(transport, f"{metric}_problem")(*sides), numItermax=10**7)


def pairwise(X, Y, vectors, metric):
    return np.array([[distance(a, b, vectors, metric) for b in Y] for a in X]).reshape(len(X), len(Y))
