"""The fast Walsh-Hadamard transform, against SciPy's matrix and its own inverse."""

import tracemalloc

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

import kexue


@pytest.mark.parametrize("n", [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_is_the_matrix(n, orthonormal, dtype, rng):
    x = rng.normal(size=(5, n)).astype(dtype)
    matrix = hadamard(n) / (np.sqrt(n) if orthonormal else 1)
    result = kexue.fwht(x, orthonormal=orthonormal)
    assert result.dtype == dtype
    size = np.abs(x).sum(axis=1, keepdims=True) * (1 / np.sqrt(n) if orthonormal else 1)
    assert (np.abs(result - x.astype(np.float64) @ matrix) <= (np.log2(n) + 1) * np.finfo(dtype).eps * size).all()


def test_reference_values():
    assert kexue.fwht([1, 0, 1, 0, 0, 1, 1, 0]).tolist() == [4, 2, 0, -2, 0, 2, 0, 2]
    assert kexue.fwht([3, 1, 1, 1], orthonormal=True).tolist() == [3, 1, 1, 1]


@given(
    x=st.integers(0, 13).flatmap(
        lambda p: arrays.arrays(np.float64, (2, 1 << p), elements=st.integers(-1000, 1000).map(float))
    )
)
@settings(max_examples=60, deadline=None)
def test_is_its_own_inverse_on_integers(x):
    n = x.shape[-1]
    np.testing.assert_array_equal(kexue.fwht(kexue.fwht(x)), n * x)
    np.testing.assert_array_equal(kexue.fwht(kexue.fwht(x.T, axis=0), axis=0), n * x.T)


@pytest.mark.parametrize("p", [14, 17, 20])
def test_long_rows(p, dtype, rng):
    x = rng.integers(-50, 50, size=1 << p).astype(dtype)
    blocks = kexue.fwht(x.reshape(-1, 1024))  # H of 2^p is the Kronecker product of H of 2^(p - 10) and H of 1024
    expected = hadamard(len(blocks)) @ blocks.astype(np.float64)
    np.testing.assert_array_equal(kexue.fwht(x), expected.ravel())


def test_keeps_lengths_and_inverts(dtype, rng):
    x = rng.normal(size=(3, 2048)).astype(dtype)
    y = kexue.fwht(x, orthonormal=True)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), np.linalg.norm(x, axis=1), rtol=40 * np.finfo(dtype).eps)
    np.testing.assert_allclose(kexue.fwht(y, orthonormal=True), x, atol=100 * np.finfo(dtype).eps)


def test_layouts(any_layout, plain, untouched, dtype, rng):
    x = any_layout(rng.normal(size=(4, 8)).astype(dtype))
    with untouched(x):
        result = kexue.fwht(x)
    np.testing.assert_array_equal(result, kexue.fwht(plain(x)))


def test_in_place_without_a_copy(dtype):
    x = np.ones((4, 1 << 16), dtype=dtype)
    tracemalloc.start()
    result = kexue.fwht(x, out=x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result is x
    assert (x[:, 0] == 1 << 16).all()
    assert not x[:, 1:].any()
    assert peak < x.nbytes / 8


def test_integers_and_half_precision():
    assert kexue.fwht([[1, 2], [3, 4]], axis=0).dtype == np.float64
    assert kexue.fwht(np.ones(4, np.float16)).dtype == np.float32


def test_nan_stays_in_its_row():
    x = np.ones((3, 64))
    x[1, 5] = np.nan
    assert np.isnan(kexue.fwht(x)).any(axis=1).tolist() == [False, True, False]


@pytest.mark.parametrize("n", [0, 3, 6, 12, 1000])
def test_length_is_a_power_of_two(n):
    with pytest.raises(
        kexue.KexueValueError, match=rf"x must have a power of two as its length along axis -1, got {n} .*pad"
    ):
        kexue.fwht(np.ones((2, n)))


def test_ufunc_of_another_length_is_nan():
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        kexue.ufuncs.fwht(np.ones(3))
    with np.errstate(invalid="ignore"):
        assert np.isnan(kexue.ufuncs.fwht_orthonormal(np.ones(12))).all()


def test_axis():
    with pytest.raises(kexue.KexueValueError, match="axis 2 is out of bounds for x"):
        kexue.fwht(np.ones((2, 2)), axis=2)
    with pytest.raises(kexue.KexueValueError, match="axis -1 is out of bounds for x"):
        kexue.fwht(1.0)


@pytest.mark.parametrize(("n", "padded"), [(0, 1), (1, 1), (2, 2), (3, 4), (5, 8), (8, 8), (1000, 1024)])
def test_padding(n, padded):
    x = np.arange(2 * n).reshape(2, n)
    result = kexue.pad_to_power_of_two(x)
    assert result.shape == (2, padded)
    assert result.dtype == x.dtype
    np.testing.assert_array_equal(result[:, :n], x)
    assert not result[:, n:].any()
    np.testing.assert_array_equal(kexue.pad_to_power_of_two(x.T, axis=0), result.T)


def test_padding_keeps_no_mask():
    with pytest.raises(TypeError, match="x is a masked array"):
        kexue.pad_to_power_of_two(np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False]))
