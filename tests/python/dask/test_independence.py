"""Over Dask, points in blocks have the HSIC of one piece."""

import numpy as np
import pytest

import kexue
import kexue.dask
from kexue import KexueValueError

pytest.importorskip("distributed")
import dask.array as da  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    check_errors_of_hsic,
    in_chunks,
    in_chunks_of_columns,
    in_chunks_of_unknown_length,
    in_delayed_lists,
    in_lists,
    in_one,
    in_other_chunks,
)

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize(
    "form",
    [in_chunks, in_chunks_of_columns, in_other_chunks, in_lists, in_delayed_lists, in_chunks_of_unknown_length, in_one],
)
def test_hsic_is_that_of_one_piece(form, scheduler, points):
    lazy = kexue.dask.hsic(*form(points))
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == ((), np.float64)
    assert lazy.compute() == pytest.approx(kexue.hsic(*points), rel=1e-11)
    assert float((2 * lazy).compute()) == pytest.approx(2 * kexue.hsic(*points), rel=1e-11)
    result = kexue.dask.hsic(*form(points), compute=True)
    assert isinstance(result, float)
    assert result == pytest.approx(kexue.hsic(*points), rel=1e-11)


def scalar_products(A, B):
    return A @ B.T


@pytest.mark.parametrize("estimator", ["biased", "n-1", "unbiased"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel": "linear"},
        {"kernel": "laplace"},
        {"kernel": ("rbf", "polynomial"), "degree": 2},
        {"bandwidth": (0.7, "median")},
        {"gamma": 0.3},
        {"kernel": scalar_products},
    ],
    ids=str,
)
def test_options_of_hsic(options, estimator, points):
    lazy = kexue.dask.hsic(*in_chunks(points), estimator=estimator, workers=2, **options)
    expected = kexue.hsic(*points, estimator=estimator, **options)
    assert lazy.compute(scheduler="synchronous") == pytest.approx(expected, rel=1e-10)


def test_hsic_of_points_on_a_line_and_float32(points):
    x, y = (array[:, 0].astype(np.float32) for array in points)
    lazy = kexue.dask.hsic(da.from_array(x, chunks=30), da.from_array(y, chunks=30))
    assert lazy.compute(scheduler="synchronous") == pytest.approx(kexue.hsic(x, y), rel=1e-5)


def test_hsic_of_linear_kernels_far_from_the_origin(points):
    far = kexue.dask.hsic(*in_chunks([array + 2.0**20 for array in points]), kernel="linear")
    assert far.compute(scheduler="synchronous") == pytest.approx(kexue.hsic(*points, kernel="linear"), rel=1e-8)


def test_median_of_a_sample(rng, monkeypatch):
    """Of 500 points of 2000, the same ones each time: within 10 % of the median of all."""
    monkeypatch.setattr(kexue.dask._independence, "SAMPLE_ROWS", 500)
    X = rng.normal(size=(2000, 2))
    sample = kexue.dask._independence._draw([kexue.dask._independence._sample(i, X[i::3], X[i::3]) for i in range(3)])
    assert len(sample[1]) == len(np.unique(sample[1], axis=0)) == 500
    assert kexue.median_bandwidth(sample[1]) == pytest.approx(kexue.median_bandwidth(X), rel=0.1)
    first, second = (
        kexue.dask.hsic(da.from_array(X, chunks=(700, 2)), da.from_array(X, chunks=(700, 2))) for _ in range(2)
    )
    assert first.compute(scheduler="synchronous") == second.compute(scheduler="synchronous")
    assert float(first.compute(scheduler="synchronous")) == pytest.approx(kexue.hsic(X, X), rel=0.2)


def test_hsic_looks_at_each_pair_of_blocks_once(points, monkeypatch):
    seen = []
    for name in ("within", "between"):
        original = getattr(kexue.HSICSums, name)
        monkeypatch.setattr(
            kexue.HSICSums,
            name,
            lambda *arguments, original=original, **options: (
                seen.append([len(array) for array in arguments if isinstance(array, np.ndarray)])
                or original(*arguments, **options)
            ),
        )
    lazy = kexue.dask.hsic(*in_chunks(points), gamma=0.3)
    seen.clear()
    lazy.compute(scheduler="synchronous")
    assert sorted(map(len, seen)) == [2] * 4 + [4] * 6
    assert max(map(max, seen)) == 20


def test_errors_of_hsic(scheduler, points):
    check_errors_of_hsic(points)


def test_errors_of_hsic_that_need_no_task(points):
    X, Y = in_chunks(points)
    for arguments, options, error, message in [
        ((X, Y), {"estimator": "best"}, KexueValueError, "estimator must be"),
        ((X, Y), {"kernel": "cosine"}, KexueValueError, "kernel must be"),
        ((X, Y), {"kernel": ("rbf",) * 3}, KexueValueError, "kernel must be one value or a pair"),
        ((X, Y), {"gamma": -1}, KexueValueError, "gamma must be positive"),
        ((X, Y), {"bandwidth": "mean"}, KexueValueError, "bandwidth"),
        ((X, Y), {"workers": 0}, KexueValueError, "workers"),
        ((X, Y[:30]), {}, KexueValueError, "X has 4 blocks and Y has 2"),
        ((X, [np.ones(20)] * 4), {}, KexueValueError, "block 3 of X has 10 points, and of Y 20"),
        ((X, []), {}, KexueValueError, "Y has no blocks"),
        ((X, [1.0, 2.0]), {}, TypeError, r"Y\[0\] must be an array of points, not float"),
        ((da.zeros((3, 3, 3)), Y), {}, KexueValueError, "X must have 1 or 2 dimensions"),
    ]:
        with pytest.raises(error, match=message):
            kexue.dask.hsic(*arguments, **options)
