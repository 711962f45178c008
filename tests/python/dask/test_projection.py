"""Over Dask, rows in blocks have the random projection of one piece."""

from types import SimpleNamespace

import cloudpickle
import numpy as np
import pytest

import kexue
import kexue.dask
from kexue import KexueValueError

pytest.importorskip("distributed")
import dask  # noqa: E402
import dask.array as da  # noqa: E402

from reference.dask_cases import (  # noqa: E402
    KINDS,
    ROWS,
    assert_same,
    rows_in_chunks,
    rows_in_chunks_of_columns,
    rows_in_list,
    rows_in_one,
)

pytestmark = pytest.mark.timeout(180)


@KINDS
@pytest.mark.parametrize("form", [*ROWS, rows_in_list, rows_in_one])
def test_projection_is_that_of_one_piece(kind, form, scheduler, dtype, rng):
    X = rng.normal(size=(30, 40)).astype(dtype)
    lazy = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3)
    assert isinstance(lazy, da.Array)
    assert (lazy.shape[1], lazy.dtype) == (6, dtype)
    expected = kexue.random_projection(X, 6, kind=kind, rng=3)
    result = lazy.compute()
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, atol=1e-12 if dtype == np.float64 else 1e-5)
    if kind != "gaussian" and form is rows_in_chunks:
        assert_same(result, expected)
    again = kexue.dask.random_projection(form(X), 6, kind=kind, rng=3, compute=True, workers=2)
    assert isinstance(again, np.ndarray)
    assert_same(again, result)


def test_chunks_and_dtypes_of_a_projection(rng):
    X = rng.integers(0, 9, size=(30, 40))
    lazy = kexue.dask.random_projection(rows_in_chunks_of_columns(X), 5, rng=0)
    assert lazy.chunks == ((1, 20, 9), (5,)) and lazy.dtype == np.float64
    np.testing.assert_allclose(lazy[3:9, 2].compute(), kexue.random_projection(X, 5, rng=0)[3:9, 2])
    assert kexue.dask.random_projection(rows_in_chunks(X.astype(np.float16)), 5).dtype == np.float32
    mixed = [X[:10].astype(np.float32), X[10:].astype(np.float64)]
    result = kexue.dask.random_projection(mixed, 5, rng=0, compute=True)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, kexue.random_projection(np.concatenate(mixed), 5, rng=0), rtol=1e-12)
    assert kexue.dask.random_projection(da.ones((40, 2000), chunks=10), "auto", eps=0.4).shape == (
        40,
        kexue.jl_min_dim(40, 0.4),
    )


def test_a_projection_sends_its_key_and_no_matrix(rng):
    X = da.zeros((100, 2**40), chunks=(1, 2**40))
    lazy = kexue.dask.random_projection(X, 2**20, kind="srht")
    assert lazy.shape == (100, 2**20)
    assert len(cloudpickle.dumps(dict(lazy.__dask_graph__()))) < 400_000


def test_errors_of_projections(scheduler, rng):
    X = rng.normal(size=(30, 40))
    X[17, 3] = np.nan
    with pytest.raises(KexueValueError, match=r"^block 2 of X: X\[3, 3\] is nan"):
        kexue.dask.random_projection(rows_in_chunks(X), 5).compute()
    with pytest.raises(KexueValueError, match="'normal'"):
        kexue.dask.random_projection(rows_in_chunks(X), 5, kind="normal")


@pytest.mark.parametrize(
    ("X", "options", "error", "message"),
    [
        (np.ones(5), {}, KexueValueError, r"X\[0\] must have 2 dimensions, but its shape is \(5,\)"),
        (da.ones(5), {}, KexueValueError, r"X must have 2 dimensions, but its shape is \(5,\)"),
        ([], {}, KexueValueError, "X has no blocks"),
        ([np.ones((2, 3)), np.ones((2, 4))], {}, KexueValueError, r"X\[1\] has 4 columns, but X\[0\] has 3"),
        ([[1.0, 2.0]], {}, TypeError, r"X\[0\] must be an array, not list"),
        ([SimpleNamespace(shape=(2, 3))], {}, TypeError, r"X\[0\] must be an array, not SimpleNamespace"),
        ([dask.delayed(np.ones((2, 3)))], {}, TypeError, r"X\[0\] is lazy, .*from_delayed"),
        (da.ones((3, 0)), {}, KexueValueError, "X has no columns"),
        (da.ones((3, 4), dtype=complex), {}, TypeError, "X must hold real numbers"),
        (da.ones((3, 4))[:, da.ones(4) > 0], {}, KexueValueError, "X has columns in chunks of unknown size"),
        (da.ones((3, 4)), {"n_components": 0}, KexueValueError, "n_components must be at least 1"),
        (da.ones((3, 4)), {"n_components": "auto"}, KexueValueError, 'n_components="auto" is .* the 4 columns of X'),
        (da.ones((3, 4)), {"n_components": "all"}, KexueValueError, "n_components must be an integer or"),
        (da.ones((3, 4))[da.ones(3) > 0], {"n_components": "auto"}, KexueValueError, "their number to be known"),
        (da.ones((3, 4)), {"workers": 0}, KexueValueError, "workers"),
    ],
)
def test_errors_of_projections_that_need_no_task(X, options, error, message):
    with pytest.raises(error, match=message):
        kexue.dask.random_projection(X, **{"n_components": 2, **options})
