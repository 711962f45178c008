"""The search index against brute force, on real text and on corpora made to break bounds:

    python tests/accuracy_index.py [--documents 2000] [--queries 40]

prints, for each corpus, metric and precision, the worst relative difference of a distance, whether all neighbours
are the same, and what share of the documents was solved exactly. tests/python/test_document_index.py runs short forms.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import sparse

import kexue

sys.path.insert(0, str(Path(__file__).parents[1] / "bench"))
import quality

NEIGHBORS = 10


def real_text(items, documents, rng):
    texts = [item.target for item in items if len(item.target) >= 5]
    texts = [texts[i] for i in rng.permutation(len(texts))[:documents]]
    words = kexue.WordVectors.fit(texts, rng=0)
    counts = words.count_matrix(texts)
    return counts[np.flatnonzero(np.diff(counts.indptr))], words.vectors


def synthetic(kind, documents, rng):
    vocabulary = 3000
    vectors = rng.normal(size=(vocabulary, 50)).astype(np.float32)
    lengths = np.ones(documents, int) if kind == "one-word documents" else rng.integers(1, 40, documents)
    popular = 60 if kind == "shared words" else vocabulary
    rows = np.repeat(np.arange(documents), lengths)
    words = rng.integers(popular, size=len(rows))
    weights = 10.0 ** rng.uniform(-3, 3, len(rows)) if kind == "weights over six orders" else np.ones(len(rows))
    if kind == "all-equal vectors":
        vectors[:] = vectors[0]
    counts = sparse.csr_array((weights, (rows, words)), shape=(documents, vocabulary))
    if kind == "duplicates":
        counts = counts[rng.integers(documents // 20, size=documents)]
    return counts, vectors


def line(name, counts, vectors, metric, dtype, queries, rng):
    vectors = vectors.astype(dtype)
    chosen = rng.choice(counts.shape[0], queries, replace=False)
    asked = counts[chosen]
    scan = kexue.pairwise_distances(asked, counts, vectors=vectors, metric=metric, empty="inf")
    expected = np.argsort(scan, axis=1, kind="stable")[:, :NEIGHBORS]
    index = kexue.DocumentIndex(vectors, metric, empty="skip").fit(counts)
    distances, found, stats = index.kneighbors(asked, NEIGHBORS, stats=True)
    true = np.take_along_axis(scan, expected, axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        worst = np.nanmax(np.abs(distances - true) / np.where(true > 0, true, 1))
    same = bool((found == expected).all())
    share = stats.exact.sum() / stats.documents.sum()
    print(f"| {name} | {metric} | {np.dtype(dtype).name} | {counts.shape[0]} | {worst:.1e} | {same} | {share:.2%} |")
    return same and worst <= (2e-6 if dtype == np.float32 else 1e-10)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=40)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    corpora = {"docstrings": lambda: real_text(quality.docstring_items(), options.documents, rng)}
    files = quality.manual_files(quality.manual_folders(), rng)
    if files:
        corpora["manual pages"] = lambda: real_text(quality.manual_items(files), options.documents, rng)
    else:
        print("this machine has no manual pages")
    for kind in (
        "duplicates", "shared words", "one-word documents", "all-equal vectors", "weights over six orders", "random"
    ):  # fmt: skip
        corpora[kind] = lambda kind=kind: synthetic(kind, options.documents, rng)
    print("| corpus | metric | precision | documents | worst relative difference | same neighbours | solved |")
    print("|---|---|---|---|---|---|---|")
    good = True
    for name, make in corpora.items():
        counts, vectors = make()
        for metric in ("wmd", "wrd"):
            for dtype in (np.float32, np.float64):
                good &= line(name, counts, vectors, metric, dtype, min(options.queries, counts.shape[0]), rng)
    return not good


if __name__ == "__main__":
    sys.exit(main())
