"""What is measured of projections: sketches, Hadamard transforms, hashes, randomized SVD, and their theory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse, stats
from scipy.linalg import clarkson_woodruff_transform, hadamard
from scipy.special import gammaln, ive
from sklearn.neighbors import NearestNeighbors
from sklearn.random_projection import (
    GaussianRandomProjection,
    SparseRandomProjection,
    johnson_lindenstrauss_min_dim,
)
from sklearn.utils.extmath import randomized_svd as sklearn_randomized_svd
from workloads import Side, Workload, installed, recent

import kexue as kx

NO_FAISS = "faiss is not installed"


def _faiss() -> Any:
    faiss = installed("faiss")
    if faiss is not None:
        faiss.omp_set_num_threads(1)
    return faiss


# ---- random projection ----


@recent
def rows(n: int, d: int, dtype: str) -> np.ndarray:
    return np.random.default_rng([n, d]).standard_normal((n, d), dtype=np.dtype(dtype))


@recent
def sparse_rows(n: int, d: int, nonzeros: int, dtype: str) -> sparse.csr_array:
    rng = np.random.default_rng([n, d, nonzeros])
    columns = np.concatenate([rng.choice(d, nonzeros, replace=False) for _ in range(n)])
    values = rng.standard_normal(n * nonzeros, dtype=np.dtype(dtype))
    return sparse.csr_array((values, columns, np.arange(0, n * nonzeros + 1, nonzeros)), shape=(n, d))


def lengths_of(X: Any) -> Callable[[Any], np.ndarray]:
    """What all projections of X share: quantiles of the factors by which they change squared lengths."""
    squares = np.asarray(X.multiply(X).sum(axis=1)).ravel() if sparse.issparse(X) else np.einsum("ij,ij->i", X, X)

    def quantiles(projected: Any) -> np.ndarray:
        projected = projected.toarray() if sparse.issparse(projected) else projected
        return np.quantile(np.einsum("ij,ij->i", projected, projected) / squares, [0.1, 0.5, 0.9])

    return quantiles


def _normal_matrix(n_components: int, d: int, dtype: str) -> np.ndarray:
    matrix = np.random.default_rng(0).standard_normal((n_components, d), dtype=np.dtype(dtype))
    matrix /= math.sqrt(n_components)
    return matrix


@recent
def random_projection(
    kind: str, n: int = 10_000, d: int = 4096, n_components: int = 256, dtype: str = "float32"
) -> Workload:
    """Of dense rows. Peers have their matrices ready; kexue draws its projection in the call.

    SciPy's transform sketches rows, so it gets the transpose: the same work. "reading X" is the limit of all.
    """
    X = rows(n, d, dtype)
    comparable = lengths_of(X)
    R = _normal_matrix(n_components, d, dtype)
    by_sklearn = SparseRandomProjection(n_components, random_state=0).fit(X)
    flat = X.ravel()
    sides = {
        "kexue": Side(
            lambda: kx.random_projection(X, n_components, kind=kind, rng=0, workers=1), comparable=comparable
        ),
        "X @ R.T": Side(lambda: X @ R.T, comparable=comparable),
        "scikit-learn Sparse": Side(lambda: by_sklearn.transform(X), comparable=comparable),
        "reading X": Side(lambda: flat.dot(flat), comparable=None),
    }
    if kind == "gaussian":
        gaussian = GaussianRandomProjection(n_components, random_state=0).fit(X)
        sides["scikit-learn Gaussian"] = Side(lambda: gaussian.transform(X), comparable=comparable)
    if kind == "countsketch":
        sides["SciPy's clarkson_woodruff"] = Side(
            lambda: clarkson_woodruff_transform(X.T, n_components, 0), comparable=lambda sketch: comparable(sketch.T)
        )
    # The sketches differ, and so do the quantiles, by their standard errors.
    return Workload(
        f"random_projection, {kind}, {n}x{d} {dtype} to {n_components}",
        sides,
        rtol=0.05,
        bytes_moved=X.nbytes + n * n_components * X.itemsize,
        operations=2 * n * d * n_components if kind == "gaussian" else 0,
    )


@recent
def random_projection_csr(
    kind: str, n: int = 10_000, d: int = 100_000, nonzeros: int = 100, n_components: int = 256, dtype: str = "float32"
) -> Workload:
    """Of sparse rows. scikit-learn gives a sparse result by default, a dense one if asked to."""
    X = sparse_rows(n, d, nonzeros, dtype)
    comparable = lengths_of(X)
    by_sklearn = SparseRandomProjection(n_components, random_state=0).fit(X)
    dense = SparseRandomProjection(n_components, dense_output=True, random_state=0).fit(X)
    sides = {
        "kexue": Side(
            lambda: kx.random_projection(X, n_components, kind=kind, rng=0, workers=1), comparable=comparable
        ),
        "scikit-learn Sparse": Side(lambda: by_sklearn.transform(X), comparable=comparable),
        "scikit-learn, dense": Side(lambda: dense.transform(X), comparable=comparable),
    }
    name = f"random_projection, {kind}, {n}x{d} {dtype}, {nonzeros} non-zeros a row, to {n_components}"
    # Few non-zeros: scikit-learn's very sparse matrix spreads the lengths more than the others.
    return Workload(
        name, sides, rtol=0.3, bytes_moved=X.data.nbytes + X.indices.nbytes + n * n_components * X.data.itemsize
    )


@recent
def projection_map(
    kind: str, n: int = 2000, d: int = 4096, n_components: int = 256, dtype: str = "float32"
) -> Workload:
    """One that was drawn before, beside the product with its own matrix: sparse where that is."""
    X = rows(n, d, dtype)
    project = kx.RandomProjectionMap.draw(d, n_components, kind=kind, rng=0)
    matrix = project.matrix(dtype)
    turned = matrix.T.tocsr() if sparse.issparse(matrix) else matrix.T
    sides = {"kexue": Side(lambda: project(X, workers=1)), "X @ R.T": Side(lambda: X @ turned)}
    name = f"RandomProjectionMap, {kind}, {n}x{d} {dtype} to {n_components}"
    return Workload(name, sides, rtol=1e-3, atol=1e-3, bytes_moved=X.nbytes + 4 * n * n_components)


# ---- the Walsh-Hadamard transform ----


def _butterfly(x: np.ndarray, buffers: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """All rows at once, no new arrays, long inner loops in every pass: of neighbours into halves, as Pease does it.

    Of seven forms that were tried none was clearly faster; the one in text books takes three times as long.
    """
    half = x.shape[1] // 2
    source = x
    for number in range(x.shape[1].bit_length() - 1):
        target = buffers[number % 2]
        np.add(source[:, 0::2], source[:, 1::2], out=target[:, :half])
        np.subtract(source[:, 0::2], source[:, 1::2], out=target[:, half:])
        source = target
    return source


def _in_place_butterfly(x: np.ndarray, buffers: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """As in text books: sums and differences of blocks, by reshaping."""
    result, spare = buffers
    np.copyto(result, x)
    n = x.shape[1]
    width = 1
    while width < n:
        pairs = result.reshape(len(x), n // (2 * width), 2, width)
        differences = spare.reshape(-1)[: x.size // 2].reshape(len(x), n // (2 * width), width)
        np.subtract(pairs[:, :, 0], pairs[:, :, 1], out=differences)
        np.add(pairs[:, :, 0], pairs[:, :, 1], out=pairs[:, :, 0])
        np.copyto(pairs[:, :, 1], differences)
        width *= 2
    return result


@recent
def fwht(count: int, n: int = 4096, dtype: str = "float32") -> Workload:
    """A batch of rows, into given arrays on all sides.

    In blocks: the butterfly of 16 rows at a time, in the cache. Kronecker: two products with small Hadamard matrices.
    """
    x = rows(count, n, dtype)
    out = np.empty_like(x)
    buffers = np.empty_like(x), np.empty_like(x)
    few = 16
    small = np.empty_like(x[:few]), np.empty_like(x[:few])
    first = 1 << (n.bit_length() - 1) // 2
    left, right = (hadamard(size).astype(dtype) for size in (first, n // first))

    def in_blocks() -> np.ndarray:
        for start in range(0, count, few):
            out[start : start + few] = _butterfly(x[start : start + few], small)
        return out

    def kronecker() -> np.ndarray:
        np.matmul(x.reshape(-1, n // first), right, out=buffers[0].reshape(-1, n // first))
        np.matmul(left, buffers[0].reshape(-1, first, n // first), out=out.reshape(-1, first, n // first))
        return out

    eps = float(np.finfo(dtype).eps)
    return Workload(
        f"fwht out=, {count}x{n} {dtype}, {x.nbytes / 2**20:g} MB",
        {
            "kexue": Side(lambda: kx.fwht(x, out=out)),
            "NumPy butterfly": Side(lambda: _butterfly(x, buffers)),
            "NumPy in blocks": Side(in_blocks),
            "NumPy in place": Side(lambda: _in_place_butterfly(x, buffers)),
            "NumPy Kronecker": Side(kronecker),
            "a copy": Side(lambda: np.copyto(out, x), comparable=None),
        },
        rtol=0.0,
        atol=4 * eps * math.log2(n) * math.sqrt(n) * 6,
        bytes_moved=2 * x.nbytes,
    )


@recent
def pad_to_power_of_two(count: int = 1000, n: int = 3000) -> Workload:
    x = rows(count, n, "float32")
    wide = 1 << (n - 1).bit_length()
    return Workload(
        f"pad_to_power_of_two, {count}x{n}",
        {
            "kexue": Side(lambda: kx.pad_to_power_of_two(x)),
            "NumPy's pad": Side(lambda: np.pad(x, ((0, 0), (0, wide - n)))),
        },
        rtol=0.0,
        bytes_moved=x.nbytes + count * wide * x.itemsize,
    )


# ---- hashes ----


@recent
def codes(n: int, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Random codes, and as many queries as may be taken of them."""
    rng = np.random.default_rng([n, n_bits])
    shape = n_bits // 64
    return tuple(rng.integers(0, 2**64, (size, shape), dtype=np.uint64) for size in (n, 1024))


def _least_distances(result: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Which of several codes at the same distance comes last is up to each side."""
    return np.asarray(result[0])


@recent
def hamming_neighbors(n: int = 1_000_000, n_bits: int = 128, queries: int = 64, k: int = 10) -> Workload:
    """The exact nearest codes. faiss gets its index ready-made."""
    data, asked = codes(n, n_bits)
    asked = asked[:queries]
    sides = {
        "kexue": Side(lambda: kx.hamming_neighbors(asked, data, k, workers=1), comparable=_least_distances),
    }
    absent = {}
    faiss = _faiss()
    if faiss is None:
        absent["faiss"] = NO_FAISS
    else:
        index = faiss.IndexBinaryFlat(n_bits)
        index.add(data.view(np.uint8))
        queried = asked.view(np.uint8)
        sides["faiss"] = Side(lambda: index.search(queried, k), comparable=_least_distances)

    def by_counting() -> tuple[np.ndarray, None]:
        result = np.empty((len(asked), k), dtype=np.int32)
        for number, query in enumerate(asked):
            distances = np.bitwise_count(data ^ query).sum(axis=1, dtype=np.int32)
            result[number] = np.sort(np.partition(distances, k - 1)[:k])
        return result, None

    sides["NumPy"] = Side(by_counting, comparable=_least_distances)
    return Workload(
        f"hamming_neighbors, {k} of {n:.0e}, {n_bits} bits, {queries} queries",
        sides,
        absent=absent,
        bytes_moved=data.nbytes,
    )


@recent
def hamming_distances(m: int = 200, n: int = 10_000, n_bits: int = 128) -> Workload:
    data, asked = codes(n, n_bits)
    asked = asked[:m]

    def expression() -> np.ndarray:
        return np.bitwise_count(asked[:, None] ^ data).sum(axis=-1, dtype=np.int32)

    return Workload(
        f"hamming_distances, {m}x{n}, {n_bits} bits",
        {"kexue": Side(lambda: kx.hamming_distances(asked, data, workers=1)), "NumPy": Side(expression)},
        rtol=0.0,
        bytes_moved=4 * m * n,
    )


@recent
def sign_hash(kind: str, n: int = 10_000, d: int = 1024, n_bits: int = 256) -> Workload:
    """Codes; compared is the mean distance of neighbouring rows, which are independent. faiss has its matrix ready."""
    X = rows(n, d, "float32")
    R = _normal_matrix(n_bits, d, "float32")

    def mean_distance(found: np.ndarray) -> np.ndarray:
        found = np.ascontiguousarray(found).view(np.uint8)
        return np.bitwise_count(found[1:] ^ found[:-1]).sum(axis=1).mean()

    sides = {
        "kexue": Side(lambda: kx.sign_hash(X, n_bits, kind=kind, rng=0, workers=1), comparable=mean_distance),
        "NumPy": Side(lambda: np.packbits(X @ R.T >= 0, axis=1, bitorder="little"), comparable=mean_distance),
    }
    absent = {}
    faiss = _faiss()
    if faiss is None:
        absent["faiss"] = NO_FAISS
    else:
        index = faiss.IndexLSH(d, n_bits)
        sides["faiss"] = Side(lambda: index.sa_encode(X), comparable=mean_distance)
    return Workload(
        f"sign_hash, {kind}, {n}x{d} to {n_bits} bits",
        sides,
        rtol=0.02,
        absent=absent,
        operations=2 * n * d * n_bits if kind == "gaussian" else 0,
        bytes_moved=X.nbytes + n * n_bits // 8,
    )


@recent
def hashing(n: int = 10_000, d: int = 1024, n_bits: int = 256) -> Workload:
    """Codes of a hash that was drawn before; NumPy has its directions, and takes their signs."""
    X = rows(n, d, "float32")
    hashed = kx.SignHash(d, n_bits, rng=0)
    directions = hashed.project(np.eye(d)).astype(np.float32)

    def bits(found: np.ndarray) -> np.ndarray:
        """A row's bits, but for those of projections that rounding may turn: of ten million, tens."""
        flat = np.ascontiguousarray(found).view(np.uint8)
        return np.bitwise_count(flat).sum() / (8 * flat.size)

    def by_numpy() -> np.ndarray:
        return np.packbits(X @ directions >= 0, axis=1, bitorder="little")

    differing = np.bitwise_count(hashed.transform(X[:1000]).view(np.uint8) ^ by_numpy()[:1000]).sum()
    assert differing <= 1e-4 * 1000 * n_bits
    sides = {
        "kexue": Side(lambda: hashed.transform(X, workers=1), comparable=bits),
        "NumPy": Side(by_numpy, comparable=bits),
    }
    name = f"SignHash.transform, gaussian, {n}x{d} to {n_bits} bits"
    return Workload(name, sides, rtol=1e-4, operations=2 * n * d * n_bits)


@recent
def sign_hash_index(n: int = 20_000, d: int = 128, queries: int = 20, k: int = 10) -> Workload:
    """The nearest by cosine in clusters; times are for one query. Peers find all, and kexue's index 95% or more."""
    rng = np.random.default_rng(n)
    centres = rng.standard_normal((n // 20, d))
    X = (centres[rng.integers(len(centres), size=n)] + 0.3 * rng.standard_normal((n, d))).astype(np.float32)
    asked = X[:queries] + np.float32(0.05) * rng.standard_normal((queries, d), dtype=np.float32)
    units, turned = (part / np.linalg.norm(part, axis=1)[:, None] for part in (X, asked))
    index = kx.SignHashIndex(512, rng=0).fit(X)
    exact = np.argsort(-(turned @ units.T), axis=1)[:, :k]

    def by_numpy() -> np.ndarray:
        cosines = turned @ units.T
        few = np.argpartition(-cosines, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(cosines, few, axis=1), axis=1)
        return np.take_along_axis(few, order, axis=1)

    def is_near(found: np.ndarray) -> bool:
        shared = np.mean([len(np.intersect1d(*pair)) for pair in zip(found, exact, strict=True)]) / k
        assert shared >= 0.95, f"only {shared:.0%} of the neighbours were found"
        return True

    brute = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(X)
    sides = {
        "kexue": Side(lambda: index.kneighbors(asked, k, return_distance=False, workers=1), queries, is_near),
        "NumPy": Side(by_numpy, queries, is_near),
        "scikit-learn": Side(lambda: brute.kneighbors(asked, return_distance=False), queries, is_near),
    }
    absent = {}
    faiss = _faiss()
    if faiss is None:
        absent["faiss"] = NO_FAISS
    else:
        flat = faiss.IndexFlatIP(d)
        flat.add(units)
        sides["faiss"] = Side(lambda: flat.search(turned, k)[1], queries, is_near)
    name = f"SignHashIndex.kneighbors, {k} of {n}x{d}, {queries} queries"
    return Workload(name, sides, absent=absent)


@recent
def from_hamming(name: str, n: int = 1_000_000, n_bits: int = 128) -> Workload:
    h = np.random.default_rng(n).integers(0, n_bits + 1, n, dtype=np.int32)
    kexue, expression = {
        "angle_from_hamming": (lambda: kx.angle_from_hamming(h, n_bits), lambda: h * (math.pi / n_bits)),
        "cosine_from_hamming": (lambda: kx.cosine_from_hamming(h, n_bits), lambda: np.cos(h * (math.pi / n_bits))),
    }[name]
    return Workload(
        f"{name}, {n:.0e}",
        {"kexue": Side(kexue), "NumPy": Side(expression)},
        rtol=1e-12,
        atol=1e-15,
        bytes_moved=12 * n,
    )


# ---- randomized SVD ----


@recent
def matrix_of_spectrum(spectrum: str, m: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """A with given singular values, which come with it; Householder reflections make the vectors dense."""
    rng = np.random.default_rng([m, n])
    i = np.arange(1, n + 1)
    values = {"1/i": 1 / i, "exp(-i/20)": np.exp(-i / 20), "1/sqrt(i)": i**-0.5, "flat": np.linspace(1, 0.5, n)}[
        spectrum
    ]
    A = np.zeros((m, n))
    A[:n] = np.linalg.qr(rng.standard_normal((n, n)))[0] * values @ np.linalg.qr(rng.standard_normal((n, n)))[0]
    for _ in range(3):
        direction = rng.standard_normal(m)
        direction /= np.linalg.norm(direction)
        A -= np.outer(2 * direction, direction @ A)
    return A, values


@recent
def randomized_svd(spectrum: str, m: int = 10_000, n: int = 2000, k: int = 50) -> Workload:
    """Both as they are by default. Compared are the errors, as multiples of the least that rank k can have."""
    A, values = matrix_of_spectrum(spectrum, m, n)

    def errors(result: Any) -> np.ndarray:
        U, S, Vh = result
        E = A - (U * S) @ Vh
        block = np.random.default_rng(0).standard_normal((n, 10))
        for _ in range(30):
            block = np.linalg.qr(E.T @ (E @ block))[0]
        return np.array([np.linalg.norm(E) / np.linalg.norm(values[k:]), np.linalg.norm(E @ block, 2) / values[k]])

    return Workload(
        f"randomized_svd, {m}x{n}, k={k}, {spectrum}",
        {
            "kexue": Side(lambda: kx.randomized_svd(A, k, rng=0), comparable=errors),
            "scikit-learn": Side(lambda: sklearn_randomized_svd(A, k, random_state=0), comparable=errors),
        },
        rtol=0.03,
        operations=4 * m * n * k,
    )


# ---- theory ----


@recent
def random_angle(method: str, n: int, count: int = 100_000) -> Workload:
    """SciPy has no such law, but (1 + cos) / 2 is beta distributed."""
    angle = kx.random_angle(n)
    beta = stats.beta((n - 1) / 2, (n - 1) / 2)
    rng = np.random.default_rng(n)
    if method == "rvs":
        few = min(count, 10_000_000 // n)

        def of_vectors() -> np.ndarray:
            x = rng.standard_normal((few, n))
            return np.arccos(x[:, 0] / np.linalg.norm(x, axis=1))

        def spread(sample: np.ndarray) -> np.ndarray:
            return np.quantile(sample, [0.1, 0.5, 0.9])

        sides = {
            "kexue": Side(lambda: angle.rvs(few, rng=rng), comparable=spread),
            "normal vectors": Side(of_vectors, comparable=spread),
            "SciPy's beta": Side(lambda: np.arccos(2 * beta.rvs(few, random_state=rng) - 1), comparable=spread),
        }
        return Workload(f"random_angle({n}).rvs, {few}", sides, rtol=0.02)
    theta = rng.uniform(max(0.1, math.pi / 2 - 5 / math.sqrt(n)), math.pi / 2, count)
    level = rng.uniform(1e-6, 0.5, count)
    kexue, expression = {
        "pdf": (
            lambda: angle.pdf(theta),
            lambda: beta.pdf((1 + np.cos(theta)) / 2) * np.sin(theta) / 2,
        ),
        "cdf": (lambda: angle.cdf(theta), lambda: beta.sf((1 + np.cos(theta)) / 2)),
        "ppf": (lambda: angle.ppf(level), lambda: np.arccos(2 * beta.isf(level) - 1)),
    }[method]
    return Workload(
        f"random_angle({n}).{method}, {count}", {"kexue": Side(kexue), "SciPy's beta": Side(expression)}, rtol=1e-7
    )


def _log_deviation(n: ArrayLike, eps: ArrayLike) -> np.ndarray:
    law = stats.chi2(n)
    return np.logaddexp(law.logsf(np.multiply(n, np.add(1, eps))), law.logcdf(np.multiply(n, np.subtract(1, eps))))


@recent
def norm_concentration_bound(count: int = 100_000) -> Workload:
    rng = np.random.default_rng(count)
    n, eps = rng.integers(1, 1000, count), rng.uniform(0.05, 0.5, count)
    sides = {
        "kexue": Side(lambda: kx.norm_concentration_bound(n, eps)),
        "SciPy's chi2": Side(lambda: stats.chi2.sf(n * (1 + eps), n) + stats.chi2.cdf(n * (1 - eps), n)),
    }
    return Workload(f"norm_concentration_bound, {count}", sides, rtol=1e-9)


@recent
def inner_product_bound(count: int = 100_000) -> Workload:
    rng = np.random.default_rng(count)
    n, eps = rng.integers(1, 1000, count), rng.uniform(0.05, 0.5, count)
    sides = {
        "kexue": Side(lambda: kx.inner_product_bound(n, eps)),
        "NumPy": Side(lambda: 4 * np.exp(-(eps**2) * n / 8)),
    }
    return Workload(f"inner_product_bound, {count}", sides, rtol=1e-12)


@recent
def jl_success_probability(count: int = 100_000) -> Workload:
    rng = np.random.default_rng(count)
    n, eps = rng.integers(100, 2000, count), rng.uniform(0.2, 0.5, count)
    sides = {
        "kexue": Side(lambda: kx.jl_success_probability(100, n, eps)),
        "SciPy's chi2": Side(lambda: np.maximum(1 - 4950 * np.exp(_log_deviation(n, eps)), 0)),
    }
    return Workload(f"jl_success_probability, {count}", sides, rtol=1e-9, atol=1e-12)


@recent
def jl_min_dim(rule: str, count: int = 1000) -> Workload:
    samples = np.random.default_rng(count).integers(10, 10**6, count)
    eps = 0.2
    if rule == "dasgupta-gupta":  # scikit-learn's, which rounds down
        peer = "scikit-learn"

        def call() -> np.ndarray:
            return johnson_lindenstrauss_min_dim(samples, eps=eps) + 1
    else:
        peer = "SciPy's chi2"

        def call() -> np.ndarray:
            goal = np.log(2 / (samples - 1.0)) - 2 * np.log(samples)
            low, high = np.zeros(count), np.full(count, 2.0**14)
            while (high - low > 1).any():
                middle = np.floor((low + high) / 2)
                enough = _log_deviation(np.maximum(middle, 1), eps) <= goal
                low, high = np.where(enough, low, middle), np.where(enough, middle, high)
            return high

    sides = {"kexue": Side(lambda: kx.jl_min_dim(samples, eps, rule=rule)), peer: Side(call)}
    return Workload(f"jl_min_dim, {rule}, {count}", sides, rtol=0.0)


@recent
def embedding_dim(name: str, count: int = 100) -> Workload:
    """SciPy's scaled Bessel functions, which underflow from n = 6000 on only."""
    items = np.unique(np.geomspace(10, 10**9, count).astype(np.int64))
    function = {"embedding_dim": kx.embedding_dim, "attention_head_dim": kx.attention_head_dim}[name]

    def by_bessel() -> np.ndarray:
        n = np.arange(1, 300)
        nu = n / 2 - 1
        bessel = ive(nu, n)
        entropy = gammaln(nu + 1) + nu * np.log(2 / n) + np.log(bessel) + n - n * ive(nu + 1, n) / bessel
        return np.argmax(2 * np.log(items)[:, None] + entropy < 0, axis=1) + 1

    sides = {"kexue": Side(lambda: function(items)), "SciPy's ive": Side(by_bessel)}
    return Workload(f"{name}, {len(items)}", sides, rtol=0.0)
