from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse

import kexue
from kexue._arrays import (
    as_array,
    as_contiguous,
    as_csr,
    as_real,
    check_broadcast,
    check_number,
    result_dtype,
    sum_to,
)


@pytest.mark.parametrize(
    ("given_dtype", "expected"),
    [
        ("f2", "f4"),
        ("f4", "f4"),
        ("f8", "f8"),
        ("g", "f8"),
        ("?", "f8"),
        ("i1", "f8"),
        ("u2", "f8"),
        ("i8", "f8"),
        ("u8", "f8"),
        (">f2", "f4"),
        (">f4", "f4"),
        (">f8", "f8"),
        (">i4", "f8"),
        ("<f8", "f8"),
    ],
)
def test_dtype_rule(given_dtype, expected):
    array = as_real("a", np.ones(3, dtype=given_dtype))
    assert array.dtype == np.dtype(expected)
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, [1, 1, 1])


@pytest.mark.parametrize("wanted", [np.float32, np.float64, "f4", "f8"])
@pytest.mark.parametrize("given_dtype", ["f4", "f8", "i4", ">f4"])
def test_dtype_argument(given_dtype, wanted):
    assert as_real("a", np.ones(3, dtype=given_dtype), dtype=wanted).dtype == np.dtype(wanted)
    with pytest.raises(TypeError):
        as_real("a", ["x"], dtype=wanted)


def test_no_copy_where_none_is_needed(layout, dtype):
    array = layout(np.arange(12, dtype=dtype).reshape(3, 4))
    result = as_real("a", array)
    assert type(result) is np.ndarray
    assert np.shares_memory(result, array) == array.dtype.isnative
    np.testing.assert_array_equal(result, array)


def test_any_layout(any_layout, plain, untouched, dtype, rng):
    array = any_layout(rng.random((5, 7)).astype(dtype))
    with untouched(array):
        result = as_contiguous(as_real("a", array))
    assert result.flags.c_contiguous
    assert result.flags.aligned
    assert result.dtype == plain(array).dtype
    np.testing.assert_array_equal(result, plain(array))


@pytest.mark.parametrize("value", [[1, 2.5], (1, 2), range(3), 3, 2.5, [], [[1], [2]], memoryview(b"ab")])
def test_sequences_and_scalars(value):
    result = as_real("a", value)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, np.asarray(value))


class HasArray:
    def __array__(self, dtype=None, copy=None):
        return np.arange(3, dtype=np.float32)


def test_array_protocol_and_subclasses():
    assert as_real("a", HasArray()).dtype == np.float32
    matrix = np.array([[1.0, 2.0]]).view(type("Tagged", (np.ndarray,), {}))
    assert type(as_real("a", matrix)) is np.ndarray


@pytest.mark.parametrize(
    "value",
    [
        [1j],
        ["x"],
        [b"x"],
        [None],
        [object()],
        np.array(["2020-01-01"], dtype="M8[D]"),
        np.array([1], dtype="m8[s]"),
        np.zeros(1, dtype=[("x", "f8")]),
        None,
        "x",
        object(),
        {"a": 1},
        scipy.sparse.eye_array(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_real_number_is_refused(value):
    with pytest.raises(TypeError, match="^weights "):
        as_real("weights", value)


def test_masked_arrays_are_refused():
    with pytest.raises(TypeError, match="^weights is a masked array"):
        as_real("weights", np.ma.masked_array([1.0, 2.0], mask=[0, 1]))


def test_ragged_lists_are_refused():
    with pytest.raises(kexue.KexueValueError, match="^weights is not an array of one shape"):
        as_real("weights", [[1, 2], [3]])


def test_dimensions():
    assert as_real("a", [1], ndim=1).shape == (1,)
    assert as_real("a", [[1]], ndim=(1, 2)).shape == (1, 1)
    with pytest.raises(kexue.KexueValueError, match=r"^a must have 1 dimension, but its shape is \(1, 2\)$"):
        as_real("a", [[1, 2]], ndim=1)
    with pytest.raises(kexue.KexueValueError, match=r"^a must have 1 or 2 dimensions, .* \(\)$"):
        as_real("a", 3, ndim=(1, 2))


def test_as_array():
    given = np.ones(3, dtype=bool)
    assert as_array("mask", given) is given
    assert as_array("mask", [1, 0]).dtype == np.int64
    with pytest.raises(TypeError, match="^mask is a masked array"):
        as_array("mask", np.ma.masked_array(given, mask=given))
    with pytest.raises(kexue.KexueValueError, match="^mask is not an array of one shape"):
        as_array("mask", [[True], [True, False]])
    with pytest.raises(TypeError, match="^mask must be an array of real numbers, not NoneType"):
        as_array("mask", None)


class HasForeignDtype:
    """As a tensor of PyTorch: its dtype is not NumPy's."""

    class dtype:
        itemsize = 4

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array


def test_result_dtype_of_foreign_dtypes():
    assert result_dtype(HasForeignDtype(np.ones(2, np.int32))) == np.float64
    assert result_dtype(HasForeignDtype(np.ones(2, np.float32))) == np.float32


def test_result_dtype():
    half, single, double, integer = (np.ones(1, dtype=t) for t in ("f2", "f4", "f8", "i8"))
    assert result_dtype(single) == np.float32
    assert result_dtype(half, single) == np.float32
    assert result_dtype(single, double) == np.float64
    assert result_dtype(double, single) == np.float64
    assert result_dtype(single, integer, None, 0.5, 2, True) == np.float32
    assert result_dtype(integer) == np.float64
    assert result_dtype(integer, None) == np.float64
    assert result_dtype() == np.float64
    assert result_dtype([0.5], single) == np.float64
    assert result_dtype(single, np.float64(1)) == np.float64
    assert result_dtype(single.astype(np.longdouble)) == np.float64
    assert result_dtype(single.astype(">f4")) == np.float32


def test_as_contiguous_returns_the_array_itself():
    array = np.ones((3, 4))
    assert as_contiguous(array) is array
    assert as_contiguous(array.T) is not array.T


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
@pytest.mark.parametrize("place", [-1, 5, 10**8])
def test_sparse_matrices_with_indices_out_of_their_shape(form, place):
    matrix = getattr(scipy.sparse, f"{form}_array")(np.ones((5, 5)))
    if form == "bsr":
        matrix = scipy.sparse.bsr_array(np.ones((5, 5)), blocksize=(1, 1))
    (matrix.row if form == "coo" else matrix.indices)[3] = place
    for call in (
        lambda: as_csr("X", matrix, np.dtype(np.float64)),
        lambda: kexue.pairwise_distances(matrix, vectors=np.eye(5)),
    ):
        with pytest.raises(kexue.KexueValueError, match=r"^X is no valid sparse matrix: .* its shape \(5, 5\)"):
            call()


def test_as_csr_returns_the_matrix_itself():
    matrix = scipy.sparse.csr_array(np.eye(3))
    assert np.shares_memory(as_csr("X", matrix, matrix.dtype).data, matrix.data)
    assert as_csr("X", matrix, np.dtype(np.float32)).dtype == np.float32


def test_shapes_that_broadcast():
    assert check_broadcast(a=(2, 1), b=(3,), c=()) == (2, 3)
    with pytest.raises(
        kexue.KexueValueError, match=r"a, b and c must have rows that broadcast, got \(2,\), \(\), \(3,\)"
    ):
        check_broadcast("rows", a=(2,), b=(), c=(3,))


@pytest.mark.parametrize("shape", [(4, 2, 3), (2, 3), (1, 2, 1), (3,), (1,), (), (4, 1, 3), (1, 1, 1)])
def test_a_broadcast_is_undone(shape, dtype, rng):
    whole = rng.normal(size=(4, 2, 3)).astype(dtype)
    result = sum_to(whole, shape)
    assert result.shape == shape and result.dtype == dtype
    weights = rng.normal(size=shape)
    expected = (np.broadcast_to(weights, whole.shape) * whole).sum()
    np.testing.assert_allclose((weights * result).sum(), expected, rtol=1e-5 if dtype == np.float32 else 1e-12)
    assert sum_to(np.ones((0, 2)), (1, 2)).tolist() == [[0, 0]]
    # float32 would lose every 1 next to 2^24.
    assert sum_to(np.array([2.0**24, *[1.0] * 1000], dtype=np.float32), ()) == 2**24 + 1000


def test_check_number():
    for value in (2, 2.0, np.float32(2), np.int8(2), Fraction(4, 2), np.array(2), np.array(2.0)):
        number = check_number("eps", value, finite=True)
        assert number == 2
        assert type(number) is float
    assert check_number("eps", -np.inf) == -np.inf
    for wrong in (True, np.True_, "1", None, 1j, [1.0], np.ones(1), np.array(True), np.array(1j)):
        with pytest.raises(TypeError, match="eps must be a number, not"):
            check_number("eps", wrong)
    for wrong in (np.nan, np.inf):
        with pytest.raises(kexue.KexueValueError, match="eps must be finite, got"):
            check_number("eps", wrong, finite=True)
    with pytest.raises(kexue.KexueValueError, match="eps exceeds the range of float64"):
        check_number("eps", 10**400)
