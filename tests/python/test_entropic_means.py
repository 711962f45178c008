import re
from itertools import product

import numpy as np
import ot
import pytest

import kexue as kx
from accuracy_entropic import ACCELERATIONS, METHODS, weights
from reference import entropic as reference

NAN, INF = float("nan"), float("inf")

# ---- the divergence ----

METRICS = ["sqeuclidean", "euclidean", "cosine"]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("reg", [1.0, 0.2])
@pytest.mark.parametrize(("m", "n"), [(1, 1), (1, 40), (7, 8), (3, 150), (60, 50)])
def test_divergence(metric, reg, m, n, rng):
    X, Y = rng.normal(size=(m, 3)), rng.normal(size=(n, 3)) + 0.5
    for a, b in ((None, None), (weights(rng, m), weights(rng, n))):
        found = kx.sinkhorn_divergence(X, Y, reg, a=a, b=b, metric=metric)
        assert isinstance(found, float)
        assert found == pytest.approx(reference.divergence(X, Y, reg, a, b, metric), rel=1e-7, abs=1e-8)
        assert found >= -1e-9
        assert kx.sinkhorn_divergence(Y, X, reg, a=b, b=a, metric=metric) == pytest.approx(found, abs=1e-8)
    if metric == "sqeuclidean":
        assert kx.sinkhorn_divergence(X, Y, reg, a=a, b=b) == found


@pytest.mark.parametrize("metric", METRICS)
def test_divergence_of_equal_clouds_is_nothing(metric, rng):
    X, a = rng.normal(size=(30, 4)), weights(rng, 30)
    order = rng.permutation(30)
    for other, b in ((X, a), (X[order], a[order])):
        assert kx.sinkhorn_divergence(X, other, 0.3, a=a, b=b, metric=metric) == pytest.approx(0, abs=1e-9)
    twice, half = np.concatenate([X, X]), np.concatenate([a, a]) / 2
    assert kx.sinkhorn_divergence(X, twice, 0.3, a=a, b=half, metric=metric) == pytest.approx(0, abs=1e-9)
    assert kx.sinkhorn_divergence(X, X + 0.1 * rng.normal(size=X.shape), 0.3, a=a, b=a, metric=metric) > 1e-4


@pytest.mark.parametrize("metric", METRICS)
def test_divergence_of_float32(metric, rng):
    X, Y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=(15, 3)).astype(np.float32)
    found = kx.sinkhorn_divergence(X, Y, 0.5, metric=metric)
    assert found.dtype == np.float32
    assert found == pytest.approx(
        kx.sinkhorn_divergence(X.astype(float), Y.astype(float), 0.5, metric=metric), rel=1e-4
    )


def test_divergence_is_translation_invariant(rng):
    # Squared distances far from the origin, where a sum of norms less a product would lose their digits.
    X, Y = rng.normal(size=(12, 3)), rng.normal(size=(14, 3))
    expected = kx.sinkhorn_divergence(X, Y, 0.5)
    assert kx.sinkhorn_divergence(X + 1e4, Y + 1e4, 0.5) == pytest.approx(expected, abs=1e-7)
    assert kx.sinkhorn_divergence(X + 1, Y, 1e6) == pytest.approx(((X.mean(0) + 1 - Y.mean(0)) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("metric", METRICS)
def test_every_way_to_the_same_divergence(metric, rng):
    X, Y = rng.normal(size=(25, 2)), 2 + rng.normal(size=(20, 2))
    a, b = weights(rng, 25) * (np.arange(25) % 4 > 0), weights(rng, 20)
    a, reg = a / a.sum(), 0.05 * np.ptp(reference.costs(X, Y, metric))
    expected, tolerance = reference.divergence(X, Y, reg, a, b, metric), 1e-9 * reference.costs(X, Y, metric).max()
    options = {"a": a, "b": b, "metric": metric, "tol": 1e-11}
    for method, acceleration, epsilon_scaling in product(METHODS, ACCELERATIONS, (None, True)):
        with kx.errstate(convergence="raise" if acceleration != "none" else "ignore"):
            found = kx.sinkhorn_divergence(
                X, Y, reg, method=method, acceleration=acceleration, epsilon_scaling=epsilon_scaling, **options
            )
        assert found == pytest.approx(expected, abs=tolerance if acceleration != "none" else 1e4 * tolerance)
    costs = [reference.costs(*pair, metric) for pair in ((X, Y), (X, X), (Y, Y))]
    options["metric"] = "precomputed"
    assert kx.sinkhorn_divergence(costs[0], costs[1:], reg, **options) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize("factor", [1e-100, 1e-3, 1e3, 1e100])
def test_scale_of_the_divergence(factor, rng):
    X, Y, a, b = rng.normal(size=(9, 2)), rng.normal(size=(8, 2)), weights(rng, 9), weights(rng, 8)
    expected = kx.sinkhorn_divergence(X, Y, 0.5, a=a, b=b)
    assert kx.sinkhorn_divergence(factor * X, factor * Y, factor**2 * 0.5, a=a, b=b) / factor**2 == pytest.approx(
        expected
    )
    heavy = kx.sinkhorn_divergence(X, Y, 0.5, a=factor * a, b=factor * b, tol=1e-12) / factor
    assert heavy == pytest.approx(expected, rel=1e-7)


def test_divergence_of_far_clouds_at_little_regularisation(rng):
    X, Y = rng.normal(size=(30, 3)), rng.normal(size=(20, 3)) + 100
    for reg in (1e-1, 1e-2):
        found = kx.sinkhorn_divergence(X, Y, reg)
        values = [kx.solve(reference.costs(*pair, "sqeuclidean"), reg=reg).value for pair in ((X, Y), (X, X), (Y, Y))]
        assert found == pytest.approx(values[0] - (values[1] + values[2]) / 2, rel=1e-9)
    # Where there is next to no regularisation the clouds cost nothing to themselves, but for reg log(size) of each.
    exact = kx.emd2(None, None, reference.costs(X, Y, "sqeuclidean"))
    assert kx.sinkhorn_divergence(X, Y, 1e-2, max_iter=10**6) == pytest.approx(exact, abs=0.05)


def test_divergence_log_and_limit(rng):
    X, Y = rng.normal(size=(40, 2)), rng.normal(size=(30, 2))
    found, log = kx.sinkhorn_divergence(X, Y, 0.1, log=True)
    assert found == log["values"][0] - (log["values"][1] + log["values"][2]) / 2
    for (x, y), value in zip(((X, Y), (X, X), (Y, Y)), log["values"], strict=True):
        assert kx.solve(reference.costs(x, y, "sqeuclidean"), reg=0.1).value == pytest.approx(value, abs=1e-8)
    assert (log["errors"] <= 1e-9).all() and (log["n_iter"] > 1).all()
    with pytest.warns(kx.ConvergenceWarning, match="3 of 3 .*max_iter=2") as caught:
        limited, log = kx.sinkhorn_divergence(X, Y, 0.1, max_iter=2, log=True)
    numbers = [float(text) for text in re.findall(r"\d\.?\d*(?:e[-+]?\d+)?", str(caught[0].message))]
    assert any(number == pytest.approx(log["errors"].max(), rel=0.1) for number in numbers)
    assert len(caught) == 1 and np.isfinite(limited)


def test_divergence_layouts(layout, untouched, workers, rng):
    X, Y = rng.normal(size=(20, 3)), rng.normal(size=(15, 3))
    a, b = weights(rng, 20), weights(rng, 15)
    expected = kx.sinkhorn_divergence(X, Y, 0.5, a=a, b=b, workers=1)
    X, Y, a, b = layout(X), layout(Y), layout(a), layout(b)
    with untouched(X, Y, a, b):
        assert kx.sinkhorn_divergence(X, Y, 0.5, a=a, b=b, workers=workers) == expected


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([[0.0], [NAN]], [[1.0]], 0.1), {}, r"X\[1, 0\] is nan"),
        (([[0.0]], [[INF]], 0.1), {}, r"Y\[0, 0\] is inf"),
        (([[0.0, 1.0]], [[1.0]], 0.1), {}, "X.*Y"),
        (([0.0], [[1.0]], 0.1), {}, "X must"),
        ((np.zeros((0, 2)), np.zeros((1, 2)), 0.1), {}, "X"),
        (([[0.0]], [[1.0]], 0.0), {}, "reg"),
        (([[0.0]], [[1.0]], NAN), {}, "reg"),
        (([[0.0]], [[1.0]], [0.1, 0.2]), {}, "reg"),
        (([[0.0]], [[1.0]], 0.1), {"metric": "hamming"}, "metric"),
        (([[1.0], [0.0]], [[1.0]], 0.1), {"metric": "cosine"}, r"X\[1\] is 0"),
        (([[1.0]], [[1.0]], 0.1), {"metric": "precomputed"}, "Y must be the pair"),
        (([[1.0]], ([[NAN]], [[1.0]]), 0.1), {"metric": "precomputed"}, r"\[0, 0\] is nan"),
        (([[1.0]], ([[1.0, 2.0]], [[1.0]]), 0.1), {"metric": "precomputed"}, "Y|costs"),
        (([[0.0]], [[1.0]], 0.1), {"a": [[1.0]]}, "a must have 1 dimension"),
        (([[0.0]], [[1.0]], 0.1), {"a": [0.5, 0.5]}, "a has 2 weights"),
        (([[0.0]], [[1.0]], 0.1), {"b": [NAN]}, r"b\[0\] is nan"),
        (([[0.0]], [[1.0]], 0.1), {"a": [1.0], "b": [2.0]}, "a sums to 1.0 and b to 2.0"),
    ],
)
def test_bad_divergence(arguments, options, message):
    with pytest.raises(kx.KexueValueError, match=message):
        kx.sinkhorn_divergence(*arguments, **options)


# ---- the barycenter ----


def grid(bins):
    x = np.linspace(0, 1, bins)
    return (x[:, None] - x) ** 2


@pytest.mark.parametrize("reg", [0.1, 0.01])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_barycenter(reg, count, rng):
    H, M = weights(rng, count, 20), grid(20)
    H[0, 3] = H[-1, 7:10] = 0
    H /= H.sum(axis=1, keepdims=True)
    for shares in (None, weights(rng, count), np.arange(1.0, count + 1)):
        found = kx.sinkhorn_barycenter(H, M, reg, weights=shares, tol=1e-11)
        expected = reference.barycenter(H, M, reg, shares)
        assert found.shape == (20,)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
    assert found.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (6, 1), (12, 7), (5, 30)])
@pytest.mark.parametrize("acceleration", ACCELERATIONS)
def test_barycenter_on_bins_of_its_own(shape, acceleration, rng):
    H, M, shares = weights(rng, 3, shape[0]), rng.random(shape), weights(rng, 3)
    expected = reference.barycenter(H, M, 0.2, shares)
    for scaling, totals in product((None, True), (1.0, np.array([[1e-200], [3.0], [1e200]]))):
        found = kx.sinkhorn_barycenter(
            totals * H, M, 0.2, weights=7 * shares, acceleration=acceleration, epsilon_scaling=scaling, tol=1e-11
        )
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)
        assert found.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kx.sinkhorn_barycenter(H, M + 1e6, 0.2, weights=shares), expected, rtol=0, atol=1e-8)


def test_barycenter_layouts(layout, dtype, untouched, workers, rng):
    H, M, shares = (array.astype(dtype) for array in (weights(rng, 4, 40), grid(40), weights(rng, 4)))
    expected = kx.sinkhorn_barycenter(H, M, 0.05, weights=shares, workers=1)
    assert expected.dtype == dtype
    np.testing.assert_allclose(expected, reference.barycenter(H, grid(40), 0.05, shares), rtol=0, atol=1e-6)
    H, M, shares = layout(H), layout(M), layout(shares)
    with untouched(H, M, shares):
        np.testing.assert_array_equal(kx.sinkhorn_barycenter(H, M, 0.05, weights=shares, workers=workers), expected)


def test_barycenter_against_pot(rng):
    H, M, shares = weights(rng, 4, 15), grid(15), weights(rng, 4)
    expected = ot.bregman.barycenter(
        H.T, M, 0.02, weights=shares, method="sinkhorn_log", stopThr=1e-13, numItermax=100_000
    )
    np.testing.assert_allclose(kx.sinkhorn_barycenter(H, M, 0.02, weights=shares, tol=1e-11), expected, atol=1e-9)


def test_barycenter_of_one_histogram_is_blurred(rng):
    h, M = weights(rng, 12), grid(12)
    kernel = np.exp(-M / 0.05)
    blurred = kernel @ (h / kernel.sum(axis=0))
    np.testing.assert_allclose(kx.sinkhorn_barycenter(h[None], M, 0.05), blurred, atol=1e-9)
    np.testing.assert_allclose(kx.sinkhorn_barycenter([h] * 3, M, 0.05), blurred, atol=1e-9)
    np.testing.assert_allclose(kx.sinkhorn_barycenter([h] * 3, M, 0.05, weights=[1, 0, 0]), blurred, atol=1e-9)


def test_barycenter_is_between(rng):
    M = grid(60)
    x = np.linspace(0, 1, 60)
    H = np.exp(-(((x - np.array([[0.25], [0.75]])) / 0.05) ** 2))
    H /= H.sum(axis=1, keepdims=True)
    for share in (0.25, 0.5):
        q = kx.sinkhorn_barycenter(H, M, 1e-3, weights=[1 - share, share])
        assert q @ x == pytest.approx(0.25 + 0.5 * share, abs=1e-6)
        assert x[q.argmax()] == pytest.approx(0.25 + 0.5 * share, abs=0.01)


def test_barycenter_log_and_limit(rng, untouched):
    H, M = weights(rng, 3, 20), grid(20)
    with untouched(H, M):
        q, log = kx.sinkhorn_barycenter(H, M, 0.01, log=True)
    np.testing.assert_array_equal(q, kx.sinkhorn_barycenter(H, M, 0.01))
    assert log["status"] == 0 and log["n_iter"] > 1 and 0 <= log["error"] <= 1e-9
    with pytest.warns(kx.ConvergenceWarning):
        q, log = kx.sinkhorn_barycenter(H, M, 0.001, max_iter=2, log=True)
    assert log["status"] == 1 and log["error"] > 1e-9 and np.isfinite(q).all()


def test_barycenter_of_little_regularisation(rng):
    H, M = weights(rng, 3, 20), grid(20)
    with kx.errstate(convergence="ignore"):
        for reg in (1e-3, 1e-5, 1e-8):
            q = kx.sinkhorn_barycenter(H, M, reg, max_iter=300)
            assert np.isfinite(q).all() and q.min() >= 0


@pytest.mark.parametrize(
    ("H", "M", "reg", "options", "message"),
    [
        ([[0.5, NAN]], np.ones((2, 2)), 0.1, {}, r"H\[0, 1\] is nan"),
        ([[1.5, -0.5]], np.ones((2, 2)), 0.1, {}, r"H\[0, 1\] is negative"),
        ([0.5, 0.5], np.ones((2, 2)), 0.1, {}, "H"),
        ([[0.5, 0.5]], np.ones((3, 3)), 0.1, {}, "M"),
        ([[0.5, 0.5]], np.ones((2, 2)), 0.0, {}, "reg"),
        ([[0.5, 0.5]], np.ones((2, 2)), 0.1, {"weights": [0.5, 0.5]}, "weights"),
        ([[0.5, 0.5]], np.ones((2, 2)), 0.1, {"weights": [-1.0]}, "weights"),
    ],
)
def test_bad_barycenter(H, M, reg, options, message):
    with pytest.raises(kx.KexueValueError, match=message):
        kx.sinkhorn_barycenter(H, M, reg, **options)
