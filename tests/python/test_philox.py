"""The generator behind implicit random matrices: bit for bit NumPy's, and the matrix of signs is its bits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexue import _projection

words = st.integers(0, 2**64 - 1)


@given(low=words, high=words, first_word=st.integers(0, 2**64 - 200), count=st.integers(0, 70))
def test_words_are_numpys(low, high, first_word, count):
    key = np.array([low, high], np.uint64)
    reference = np.random.Philox(key=key)
    reference.advance(first_word // 4)
    expected = reference.random_raw(first_word % 4 + count)[first_word % 4 :]
    np.testing.assert_array_equal(_projection.philox_words(key, first_word, count), expected)


def test_the_first_words_of_key_zero():
    key = np.zeros(2, np.uint64)
    assert _projection.philox_words(key, 0, 5).tolist() == np.random.Philox(key=0).random_raw(5).tolist()


def signs(key, n_components, d):
    """R as kx_projection.h documents it, from numpy.random.Philox alone."""
    streams = []
    for stream in range(-(-n_components // 256)):
        raw = np.random.Philox(key=key, counter=stream << 64).random_raw(4 * d)
        bits = np.unpackbits(raw.astype("<u8").view(np.uint8), bitorder="little").reshape(d, 256)
        streams.append(1.0 - 2.0 * bits.T)
    return np.concatenate(streams)[:n_components] if streams else np.empty((0, d))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n_components", "d"), [(1, 1), (64, 3), (65, 17), (256, 5), (257, 40), (700, 2), (0, 3), (3, 0)]
)
def test_rademacher_matrix_is_its_bits(n_components, d, dtype):
    key = np.array([3, 2**63 + 5], np.uint64)
    matrix = _projection.rademacher_matrix(key, n_components, d, dtype, 0.5)
    assert matrix.dtype == dtype
    np.testing.assert_array_equal(matrix, 0.5 * signs(key, n_components, d))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rademacher_and_its_adjoint_apply_the_matrix(dtype):
    key = np.array([3, 2**63 + 5], np.uint64)
    R = signs(key, 90, 211)
    rng = np.random.default_rng(7)
    X, Y = rng.standard_normal((37, 211)).astype(dtype), rng.standard_normal((37, 90)).astype(dtype)
    projected, back = np.empty_like(Y), np.empty_like(X)
    _projection.rademacher(X, key, 0.5, projected, 2)
    _projection.rademacher_adjoint(Y, key, 0.5, back, 2)
    tolerance = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(projected, 0.5 * X @ R.T, rtol=0, atol=tolerance * 10)
    np.testing.assert_allclose(back, 0.5 * Y @ R, rtol=0, atol=tolerance * 10)
