"""What is measured of kexue.dask: small graphs, on the calling thread, beside what one writes with Dask and a library.

Dask has none of these functions. Its users map a library's function over blocks; "kexue at once" is the same work
without a graph, so that the ratio tells what the graph costs.
"""

from __future__ import annotations

from typing import Any

import dask
import dask.array
import numpy as np
import workloads
from sklearn.metrics import pairwise
from sklearn.random_projection import GaussianRandomProjection
from workloads import Side, Workload, recent
from workloads_independence import pairs
from workloads_projection import rows

import kexue as kx
import kexue.dask


def _computed(lazy: Any) -> Any:
    """On one thread."""
    return dask.compute(lazy, scheduler="synchronous")[0]


def _blocks(matrix: Any, size: int) -> list[Any]:
    return [matrix[start : start + size] for start in range(0, matrix.shape[0], size)]


@recent
def pairwise_distances(size: int = 50) -> Workload:
    """200 and 200 documents; with POT, a delayed loop over the pairs of some blocks."""
    sets = workloads.documents(5000, "uniform")
    X, Y = (_blocks(matrix, size) for matrix in (sets.X, sets.Y))
    wmd = workloads.transport_of("wmd")
    some = [sets.arrays(i, j) for i, j in sets.pairs]

    def by_pot() -> np.ndarray:
        parts = [dask.delayed(lambda part: [wmd(*pair) for pair in part])(some[k::4]) for k in range(4)]
        found = np.empty(len(some))
        for k, part in enumerate(dask.compute(*parts, scheduler="synchronous")):
            found[k::4] = part
        return found

    count = workloads.DOCUMENTS**2
    sides = {
        "kexue": Side(
            lambda: _computed(kexue.dask.pairwise_distances(X, Y, vectors=sets.vectors)), count, sets.gathered
        ),
        "kexue at once": Side(
            lambda: kx.pairwise_distances(sets.X, sets.Y, vectors=sets.vectors, workers=1), count, sets.gathered
        ),
        "POT and SciPy": Side(by_pot, len(some)),
    }
    return Workload("dask.pairwise_distances, 200 and 200 documents in blocks of 50", sides, rtol=1e-6)


@recent
def kneighbors(k: int = 10, size: int = 50) -> Workload:
    """Of 200 documents in four partitions, for 200 queries. All distances and a partition of them are the peer."""
    sets = workloads.documents(5000, "uniform")
    corpus, queries = _blocks(sets.Y, size), sets.X

    def from_all() -> tuple[np.ndarray, np.ndarray]:
        found = _computed(kexue.dask.pairwise_distances([queries], corpus, vectors=sets.vectors))
        chosen = np.argsort(found, axis=1)[:, :k]
        return np.take_along_axis(found, chosen, axis=1), chosen

    index = kx.DocumentIndex(sets.vectors).fit(sets.Y)

    def distances(found: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        return np.asarray(found[0])

    count = workloads.DOCUMENTS
    sides = {
        "kexue": Side(
            lambda: dask.compute(
                *kexue.dask.kneighbors(queries, corpus, k, vectors=sets.vectors), scheduler="synchronous"
            ),
            count,
            distances,
        ),
        "kexue, all distances": Side(from_all, count, distances),
        "kexue at once": Side(lambda: index.kneighbors(queries, k, workers=1), count, distances),
    }
    return Workload(f"dask.kneighbors, {k} of 200 documents in blocks of 50", sides, rtol=1e-6)


@recent
def hsic(n: int = 2000, d: int = 50, size: int = 500) -> Workload:
    """Beside scikit-learn's kernels of all pairs of blocks, summed by Dask."""
    X, Y, gamma = pairs(n, d)
    x, y = (dask.array.from_array(points, chunks=(size, d)) for points in (X, Y))

    def matrix(points: Any) -> Any:
        def of_blocks(left: np.ndarray, right: np.ndarray) -> np.ndarray:
            return pairwise.rbf_kernel(left, right, gamma=gamma)

        return dask.array.blockwise(
            of_blocks, "ij", points, "ik", points, "jk", dtype=points.dtype, concatenate=True, align_arrays=False
        )

    def by_dask() -> float:
        K, L = matrix(x), matrix(y)
        of_k, of_l = K.sum(axis=0), L.sum(axis=0)
        product, of_k, of_l = dask.compute((K * L).sum(), of_k, of_l, scheduler="synchronous")
        return (product - 2 / n * (of_k @ of_l) + of_k.sum() * of_l.sum() / n**2) / n**2

    sides = {
        "kexue": Side(lambda: _computed(kexue.dask.hsic(x, y, gamma=gamma)), comparable=float),
        "scikit-learn": Side(by_dask),
        "kexue at once": Side(lambda: kx.hsic(X, Y, gamma=gamma, workers=1)),
    }
    return Workload(f"dask.hsic, {n}x{d} in blocks of {size}", sides, rtol=1e-9)


@recent
def random_projection(n: int = 4000, d: int = 1024, n_components: int = 256, size: int = 1000) -> Workload:
    """Gaussian; kexue draws its projection in the call, scikit-learn has it ready. Lengths are compared."""
    X = rows(n, d, "float32")
    lazy = dask.array.from_array(X, chunks=(size, d))
    by_sklearn = GaussianRandomProjection(n_components, random_state=0).fit(X[:10])
    squares = np.einsum("ij,ij->i", X, X)

    def lengths(projected: np.ndarray) -> np.ndarray:
        return np.quantile(np.einsum("ij,ij->i", projected, projected) / squares, [0.1, 0.5, 0.9])

    sides = {
        "kexue": Side(lambda: _computed(kexue.dask.random_projection(lazy, n_components, rng=0)), comparable=lengths),
        "scikit-learn": Side(
            lambda: _computed(
                lazy.map_blocks(by_sklearn.transform, chunks=(lazy.chunks[0], (n_components,)), dtype=X.dtype)
            ),
            comparable=lengths,
        ),
        "kexue at once": Side(lambda: kx.random_projection(X, n_components, rng=0, workers=1), comparable=lengths),
    }
    name = f"dask.random_projection, gaussian, {n}x{d} float32 to {n_components} in blocks of {size}"
    return Workload(name, sides, rtol=0.05)
