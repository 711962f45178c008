"""What is measured of independence: kernels, HSIC and its tests, CKA, with scikit-learn, hyppo, torch, NumPy beside."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import linalg, stats
from scipy.spatial.distance import pdist
from sklearn.metrics import pairwise
from threadpoolctl import ThreadpoolController
from workloads import NO_TORCH, Side, Workload, installed, recent

import kexue as kx

NO_HYPPO = "hyppo is not installed"


def _hyppo() -> Any:
    """Its imports warn of what is to come in other packages."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return installed("hyppo.independence")


@recent
def pairs(n: int, d: int, dtype: str = "float64") -> tuple[np.ndarray, np.ndarray, float]:
    """Points X and Y that depend on each other, and a gamma of which kernel values are neither 0 nor 1."""
    rng = np.random.default_rng([n, d])
    X = rng.standard_normal((n, d))
    Y = np.tanh(X @ rng.standard_normal((d, d)) / math.sqrt(d)) + 0.5 * rng.standard_normal((n, d))
    return X.astype(dtype), Y.astype(dtype), 1 / (2 * d)


# ---- HSIC ----


def _from_sums(product: Any, of_k: Any, of_l: Any) -> Any:
    """The biased HSIC from a sum of products and row sums, in NumPy or in torch."""
    n = len(of_k)
    return (product - 2 / n * (of_k @ of_l) + of_k.sum() * of_l.sum() / n**2) / n**2


def _biased(K: np.ndarray, L: np.ndarray) -> float:
    """The row-sum trick: no product of matrices, and none of them is centred."""
    return _from_sums((K * L).sum(), K.sum(0), L.sum(0))


def _unbiased(K: np.ndarray, L: np.ndarray) -> float:
    """Of matrices that are changed: their diagonals become 0."""
    n = len(K)
    np.fill_diagonal(K, 0)
    np.fill_diagonal(L, 0)
    of_k, of_l = K.sum(0), L.sum(0)
    product = (K * L).sum() + of_k.sum() * of_l.sum() / ((n - 1) * (n - 2)) - 2 / (n - 2) * (of_k @ of_l)
    return product / (n * (n - 3))


def _by_sklearn(X: np.ndarray, Y: np.ndarray, gamma: float) -> float:
    return _biased(pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma))


def _text_book(X: np.ndarray, Y: np.ndarray, gamma: float) -> float:
    n = len(X)
    J = np.eye(n) - 1 / n
    K, L = pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma)
    return np.trace(K @ J @ L @ J) / n**2


def _centred(K: np.ndarray) -> np.ndarray:
    means = K.mean(axis=0)
    return K - means - means[:, None] + means.mean()


@recent
def hsic(n: int, d: int = 50, dtype: str = "float64", workers: int = 1) -> Workload:
    """From points to the biased HSIC. hyppo's statistic is the root of its share of both HSICs with themselves."""
    X, Y, gamma = pairs(n, d, dtype)
    sides = {"kexue": Side(lambda: kx.hsic(X, Y, gamma=gamma, workers=workers))}
    absent = {}
    if workers == 1:
        sides["scikit-learn"] = Side(lambda: _by_sklearn(X, Y, gamma))
    else:
        threads = ThreadpoolController()

        def with_threads() -> float:
            with threads.limit(limits=workers):
                return _by_sklearn(X, Y, gamma)

        sides["scikit-learn"] = Side(with_threads)
    if n <= 2000 and workers == 1:
        sides["tr(KJLJ)"] = Side(lambda: _text_book(X, Y, gamma))
    if n <= 500 and workers == 1 and dtype == "float64":  # it cannot do float32
        hyppo = _hyppo()
        if hyppo is None:
            absent["hyppo"] = NO_HYPPO
        else:
            itself = math.sqrt(_by_sklearn(X, X, gamma) * _by_sklearn(Y, Y, gamma))
            test = hyppo.Hsic(bias=True, gamma=gamma)
            sides["hyppo"] = Side(lambda: test.statistic(X, Y), comparable=lambda value: np.asarray(value**2 * itself))
    title = f"hsic, {n}x{d} {dtype}" + (f", {workers} threads" if workers > 1 else "")
    return Workload(title, sides, rtol=1e-9 if dtype == "float64" else 1e-3, absent=absent, operations=2 * n * n * d)


@recent
def hsic_test(n: int, d: int = 50, count: int = 1000) -> Workload:
    """A permutation test; times are for one permutation, with its share of the kernel matrices.

    Every side draws its own permutations, so quantiles of the statistic are compared. Where it would take long, NumPy
    takes some only. hyppo computes its statistic anew for each of a few: of a thousand it is extrapolated.
    """
    X, Y, gamma = pairs(n, d)
    some = count if n <= 500 else 50

    def gather() -> tuple[float, np.ndarray]:
        rng = np.random.default_rng(0)
        K, L = pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma)
        of_k, of_l = K.sum(0), L.sum(0)
        permutations = (rng.permutation(n) for _ in range(some))
        null = [_from_sums((K * L[p][:, p]).sum(), of_k, of_l[p]) for p in permutations]
        return n * _biased(K, L), n * np.array(null)

    def summary(statistic: float, null: np.ndarray) -> np.ndarray:
        return np.array([statistic, *np.quantile(null, [0.1, 0.5, 0.9])])

    sides = {
        "kexue": Side(
            lambda: kx.hsic_test(X, Y, n_permutations=count, gamma=gamma, rng=0),
            items=count,
            comparable=lambda result: summary(result.statistic, result.null_distribution),
        ),
        "NumPy's gather": Side(gather, items=some, comparable=lambda result: summary(*result)),
    }
    absent = {}
    hyppo = _hyppo()
    if hyppo is None:
        absent["hyppo"] = NO_HYPPO
    elif n <= 500:
        few = 3

        def some_of_hyppo() -> None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it would like to do a thousand
                hyppo.Hsic(gamma=gamma).test(X, Y, reps=few, auto=False)

        # The statistic of the given order is one more.
        sides["hyppo"] = Side(some_of_hyppo, items=few + 1, comparable=None)
    return Workload(
        f"hsic_test, {count} permutations, n={n}",
        sides,
        rtol=0.02,
        absent=absent,
        operations=2 * n * n * d + count * n * n,
    )


def _gamma_pvalue(X: np.ndarray, Y: np.ndarray, gamma: float) -> tuple[float, float, float]:
    """Gretton's approximation with all matrices at hand."""
    n = len(X)
    K, L = pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma)
    A, B = _centred(K), _centred(L)
    statistic = (A * B).sum() / n
    squares = ((A * B) / 6) ** 2
    variance = (squares.sum() - np.trace(squares)) / n / (n - 1)
    variance *= 72 * (n - 4) * (n - 5) / n / (n - 1) / (n - 2) / (n - 3)
    means = [(M.sum() - n) / n / (n - 1) for M in (K, L)]
    mean = (1 + means[0] * means[1] - means[0] - means[1]) / n
    shape, scale = mean**2 / variance, n * variance / mean
    return shape, scale, float(stats.gamma.sf(statistic, shape, scale=scale))


@recent
def hsic_test_gamma(n: int, d: int = 50) -> Workload:
    """The approximation, which needs no permutation."""
    X, Y, gamma = pairs(n, d)
    sides = {
        "kexue": Side(
            lambda: kx.hsic_test(X, Y, method="gamma", gamma=gamma),
            comparable=lambda result: np.array([result.shape, result.scale, result.pvalue]),
        ),
        "NumPy": Side(lambda: _gamma_pvalue(X, Y, gamma)),
    }
    return Workload(f'hsic_test, method="gamma", n={n}', sides, rtol=1e-7, atol=1e-12, operations=2 * n * n * d)


@recent
def hsic_gradient(n: int, d: int = 50) -> Workload:
    """By X and by Y; torch differentiates the row-sum form."""
    X, Y, gamma = pairs(n, d)
    sides = {"kexue": Side(lambda: kx.hsic_gradient(X, Y, gamma=gamma), comparable=np.concatenate)}

    def expression() -> tuple[np.ndarray, ...]:
        K, L = pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma)
        results = []
        for points, own, other in ((X, K, L), (Y, L, K)):
            W = _centred(other) * own
            results.append(-4 * gamma / n**2 * (W.sum(1)[:, None] * points - W @ points))
        return tuple(results)

    sides["NumPy"] = Side(expression, comparable=np.concatenate)
    absent = {}
    torch = installed("torch")
    if torch is None:
        absent["torch"] = NO_TORCH
    else:

        def kernel(points: Any) -> Any:
            norms = (points * points).sum(1)
            return torch.exp(-gamma * (norms[:, None] + norms - 2 * points @ points.T))

        def with_torch() -> tuple[Any, Any]:
            x, y = (torch.from_numpy(points).requires_grad_() for points in (X, Y))
            K, L = kernel(x), kernel(y)
            _from_sums((K * L).sum(), K.sum(0), L.sum(0)).backward()
            return x.grad.numpy(), y.grad.numpy()

        sides["torch"] = Side(with_torch, comparable=np.concatenate)
    return Workload(f"hsic_gradient, {n}x{d}", sides, rtol=1e-7, atol=1e-12, absent=absent, operations=6 * n * n * d)


@recent
def hsic_from_kernels(name: str, n: int, dtype: str = "float64") -> Workload:
    """Of matrices that are there already."""
    X, Y, gamma = pairs(n, 50, dtype)
    K, L = pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma)
    kexue, expression = {
        "hsic_from_kernels": (lambda: kx.hsic_from_kernels(K, L), lambda: _biased(K, L)),
        "hsic_from_kernels_unbiased": (
            lambda: kx.hsic_from_kernels_unbiased(K, L),
            lambda: _unbiased(K.copy(), L.copy()),
        ),
    }[name]
    rtol = 1e-9 if dtype == "float64" else 1e-3
    return Workload(
        f"{name}, n={n} {dtype}",
        {"kexue": Side(kexue), "NumPy": Side(expression)},
        rtol=rtol,
        bytes_moved=K.nbytes + L.nbytes,
    )


@recent
def normalized_hsic(n: int, d: int = 50) -> Workload:
    """Solves of n equations: no row-sum trick."""
    X, Y, gamma = pairs(n, d)
    epsilon = 1e-3

    def expression() -> float:
        shares = []
        for points in (X, Y):
            centred = _centred(pairwise.rbf_kernel(points, gamma=gamma))
            shares.append(np.linalg.solve(centred + epsilon * n * np.eye(n), centred))
        return (shares[0] * shares[1].T).sum()

    sides = {
        "kexue": Side(lambda: kx.normalized_hsic(X, Y, gamma=gamma, epsilon=epsilon)),
        "NumPy": Side(expression),
    }
    return Workload(f"normalized_hsic, {n}x{d}", sides, rtol=1e-8)


# ---- many points ----


@recent
def hsic_block(n: int, d: int, block_size: int) -> Workload:
    """The mean of unbiased HSICs of blocks."""
    X, Y, gamma = pairs(n, d)

    def expression() -> float:
        starts = range(0, n - block_size + 1, block_size)
        blocks = [(X[start : start + block_size], Y[start : start + block_size]) for start in starts]
        return np.mean([_unbiased(*(pairwise.rbf_kernel(part, gamma=gamma) for part in block)) for block in blocks])

    sides = {
        "kexue": Side(lambda: kx.hsic_block(X, Y, block_size=block_size, gamma=gamma), comparable=lambda r: r.hsic),
        "scikit-learn": Side(expression),
    }
    return Workload(
        f"hsic_block, {n}x{d} in blocks of {block_size}", sides, rtol=1e-9, operations=2 * n * block_size * d
    )


@recent
def hsic_random_features(n: int, d: int, n_features: int) -> Workload:
    """As many frequencies on both sides; kexue's are orthogonal. The exact sums are there to be seen."""
    X, Y, gamma = pairs(n, d)

    def features(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        phases = points @ (math.sqrt(2 * gamma) * rng.standard_normal((d, n_features)))
        result = np.concatenate([np.cos(phases), np.sin(phases)], axis=1) / math.sqrt(n_features)
        return result - result.mean(axis=0)

    def expression() -> float:
        rng = np.random.default_rng(0)
        return float(np.square(features(X, rng).T @ features(Y, rng)).sum()) / n**2

    sides = {
        "kexue": Side(
            lambda: kx.hsic_random_features(X, Y, n_features=n_features, gamma=gamma, rng=0),
            comparable=lambda result: result.hsic,
        ),
        "NumPy": Side(expression),
        "kexue's hsic": Side(lambda: kx.hsic(X, Y, gamma=gamma)),
    }
    return Workload(
        f"hsic_random_features, {n}x{d}, {n_features} features",
        sides,
        rtol=0.2,
        operations=4 * n * d * n_features + 256 * n * n_features,  # kexue's: groups of 32 frequencies
    )


@recent
def hsic_streaming(n: int, d: int = 50, block_rows: int = 1000) -> Workload:
    """Exact, from blocks of rows: what scikit-learn can do in bounded memory."""
    X, Y, gamma = pairs(n, d)

    def expression() -> float:
        product, of_k, of_l = 0.0, np.empty(n), np.empty(n)
        for start in range(0, n, block_rows):
            rows = slice(start, start + block_rows)
            K, L = (pairwise.rbf_kernel(points[rows], points, gamma=gamma) for points in (X, Y))
            product += (K * L).sum()
            of_k[rows], of_l[rows] = K.sum(1), L.sum(1)
        return _from_sums(product, of_k, of_l)

    sides = {
        "kexue": Side(lambda: kx.hsic_streaming(X, Y, block_rows=block_rows, gamma=gamma)),
        "scikit-learn": Side(expression),
    }
    return Workload(f"hsic_streaming, {n}x{d} in blocks of {block_rows}", sides, rtol=1e-9, operations=2 * n * n * d)


@recent
def hsic_sums(n: int, d: int = 50) -> Workload:
    """Two blocks and their pairs, added up, beside the same sums of blocks of scikit-learn's kernels."""
    X, Y, gamma = pairs(n, d)
    halves = slice(0, n // 2), slice(n // 2, n)

    def by_parts() -> float:
        first, second = ((X[half], Y[half]) for half in halves)
        sums = kx.HSICSums.within(*first, 0, gamma=gamma, workers=1) + kx.HSICSums.within(
            *second, 1, gamma=gamma, workers=1
        )
        return (sums + kx.HSICSums.between(*first, *second, (0, 1), gamma=gamma, workers=1)).hsic()

    def expression() -> float:
        product, of_k, of_l = 0.0, np.zeros(n), np.zeros(n)
        for i, j in ((0, 0), (0, 1), (1, 1)):
            K, L = (pairwise.rbf_kernel(points[halves[i]], points[halves[j]], gamma=gamma) for points in (X, Y))
            product += (1 + (i != j)) * (K * L).sum()
            for sums, matrix in ((of_k, K), (of_l, L)):
                sums[halves[i]] += matrix.sum(1)
                if i != j:
                    sums[halves[j]] += matrix.sum(0)
        return _from_sums(product, of_k, of_l)

    sides = {"kexue": Side(by_parts), "scikit-learn": Side(expression)}
    return Workload(f"HSICSums, {n}x{d} in two blocks", sides, rtol=1e-9, operations=2 * n * n * d)


# ---- CKA ----


@recent
def activations(layers: int, n: int, d: int) -> list[np.ndarray]:
    """Of layers each of which is made of the one before."""
    rng = np.random.default_rng([layers, n, d])
    result = [rng.standard_normal((n, d))]
    for _ in range(layers - 1):
        result.append(np.maximum(result[-1] @ rng.standard_normal((d, d)) * math.sqrt(2 / d), 0))
    return result


def _feature_cka(X: np.ndarray, Y: np.ndarray) -> float:
    """Kornblith's form for fewer columns than points."""
    X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
    return linalg.norm(X.T @ Y) ** 2 / (linalg.norm(X.T @ X) * linalg.norm(Y.T @ Y))


def _gram_cka(K: np.ndarray, L: np.ndarray) -> float:
    return _biased(K, L) / math.sqrt(_biased(K, K) * _biased(L, L))


def _by_sklearn_kernels(X: np.ndarray, Y: np.ndarray, gamma: float) -> float:
    return _gram_cka(pairwise.rbf_kernel(X, gamma=gamma), pairwise.rbf_kernel(Y, gamma=gamma))


@recent
def cka(kernel: str, n: int, d: int) -> Workload:
    X, Y, gamma = pairs(n, d)
    absent = {}
    if kernel == "linear":
        sides = {
            "kexue": Side(lambda: kx.cka(X, Y)),
            "NumPy, features": Side(lambda: _feature_cka(X, Y)),
            "NumPy, Gram matrices": Side(lambda: _gram_cka(X @ X.T, Y @ Y.T)),
        }
    else:
        sides = {
            "kexue": Side(lambda: kx.cka(X, Y, kernel="rbf", gamma=gamma)),
            "scikit-learn": Side(lambda: _by_sklearn_kernels(X, Y, gamma)),
        }
        hyppo = _hyppo()
        if hyppo is None:
            absent["hyppo"] = NO_HYPPO
        elif n <= 500:
            test = hyppo.Hsic(bias=True, gamma=gamma)
            sides["hyppo"] = Side(lambda: test.statistic(X, Y), comparable=np.square)
    return Workload(
        f"cka, {kernel}, {n}x{d}",
        sides,
        rtol=1e-9,
        absent=absent,
        operations=4 * n * d * d if kernel == "linear" else 2 * n * n * d,
    )


@recent
def cka_matrix(layers: int, n: int, d: int) -> Workload:
    """All pairs of layers."""
    given = activations(layers, n, d)

    def expression() -> np.ndarray:
        return np.array([[_feature_cka(X, Y) for Y in given] for X in given])

    sides = {"kexue": Side(lambda: kx.cka_matrix(given)), "NumPy": Side(expression)}
    return Workload(
        f"cka_matrix, {layers} layers of {n}x{d}", sides, rtol=1e-9, operations=n * d * d * layers * (layers + 1)
    )


# ---- kernels ----


@recent
def kernel(name: str, n: int, d: int = 50, dtype: str = "float64") -> Workload:
    """A whole matrix of kernel values."""
    X, _, gamma = pairs(n, d, dtype)
    functions: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
        "rbf_kernel": (lambda: kx.rbf_kernel(X, gamma=gamma), lambda: pairwise.rbf_kernel(X, gamma=gamma)),
        "laplace_kernel": (
            lambda: kx.laplace_kernel(X, gamma=gamma),
            lambda: pairwise.laplacian_kernel(X, gamma=gamma),
        ),
        "polynomial_kernel": (
            lambda: kx.polynomial_kernel(X, degree=3, gamma=gamma, coef0=1.0),
            lambda: pairwise.polynomial_kernel(X, degree=3, gamma=gamma, coef0=1.0),
        ),
        "linear_kernel": (lambda: kx.linear_kernel(X), lambda: pairwise.linear_kernel(X)),
    }
    kexue, sklearn = functions[name]
    eps = float(np.finfo(dtype).eps)
    return Workload(
        f"{name}, {n}x{d} {dtype}",
        {"kexue": Side(kexue), "scikit-learn": Side(sklearn)},
        rtol=1e3 * eps,
        atol=1e3 * eps,
        operations=n * n * d,
    )


@recent
def median_bandwidth(n: int, d: int = 50) -> Workload:
    X, _, _ = pairs(n, d)
    sides = {
        "kexue": Side(lambda: kx.median_bandwidth(X)),
        "SciPy and NumPy": Side(lambda: np.median(pdist(X))),
        "scikit-learn and NumPy": Side(
            lambda: np.median(pairwise.euclidean_distances(X)[np.triu_indices(n, 1)]),
        ),
    }
    return Workload(f"median_bandwidth, {n}x{d}", sides, rtol=1e-7, operations=n * n * d)
