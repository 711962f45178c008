"""What every public function goes through. A test takes these as arguments.

dtype
    float32, float64.
workers
    1, 2, 3, 8: a result must not differ by a bit.
layout
    A function array -> array with the same values in another memory layout: C, Fortran, sliced, negative
    stride, misaligned, byte-swapped, read-only, memory-mapped.
any_layout
    The same and those that change the values or the shape: broadcast (zero strides), empty (no rows), one
    element, float16. Compute what you expect from `plain(x)`, not from the array you passed in. `__name__` tells
    which it is.
plain
    A function array -> C-contiguous, aligned, native copy (of float32 for float16).
untouched
    A context manager: `with untouched(x, b): ...` fails if the block changes one of these arrays.
rng
    A numpy Generator with a fixed seed.

    def test_layouts(any_layout, plain, untouched, dtype, rng):
        x = any_layout(rng.normal(size=(5, 7)).astype(dtype))
        with untouched(x):
            result = kexue.squareplus(x, 1)
        np.testing.assert_array_equal(result, kexue.squareplus(plain(x), 1))
"""

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import settings

# On a busy machine an example takes what it takes: no test asserts a time.
settings.register_profile("kexue", deadline=None)
settings.load_profile("kexue")


def _sliced(array):
    gap = np.nan if array.dtype.kind in "fc" else 1  # of integers there is none that every function refuses
    wide = np.full([3 * n for n in array.shape], gap, dtype=array.dtype)
    view = wide[tuple(slice(1, None, 3) for _ in array.shape)]
    view[...] = array
    return view


def _negative_stride(array):
    back = tuple(slice(None, None, -1) for _ in array.shape)
    return np.ascontiguousarray(array[back])[back]


def _misaligned(array):
    buffer = np.empty(array.nbytes + 1, dtype=np.uint8)
    view = buffer[1:].view(array.dtype).reshape(array.shape)
    view[...] = array
    assert array.size == 0 or array.itemsize == 1 or not view.flags.aligned
    return view


def _byte_swapped(array):
    return array.astype(array.dtype.newbyteorder())


def _read_only(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _broadcast(array):
    return np.broadcast_to(array[..., :1], array.shape)


_SAME_VALUES = {
    "c": lambda array: array.copy(order="C"),
    "fortran": lambda array: array.copy(order="F"),
    "sliced": _sliced,
    "negative_stride": _negative_stride,
    "misaligned": _misaligned,
    "byte_swapped": _byte_swapped,
    "read_only": _read_only,
    "memmap": None,  # needs a file
}
_OTHER_VALUES = {
    "broadcast": _broadcast,
    "empty": lambda array: array[:0],
    "one_element": lambda array: array[(slice(0, 1),) * array.ndim],
    "float16": lambda array: array.astype(np.float16),
}


def _layout(name, tmp_path_factory):
    def layout(array):
        if name != "memmap":
            return (_SAME_VALUES | _OTHER_VALUES)[name](array)
        path = tmp_path_factory.mktemp("memmap") / "array.npy"
        np.save(path, array)
        return np.load(path, mmap_mode="r")

    layout.__name__ = name
    return layout


@pytest.fixture(params=_SAME_VALUES)
def layout(request, tmp_path_factory):
    return _layout(request.param, tmp_path_factory)


@pytest.fixture(params=_SAME_VALUES | _OTHER_VALUES)
def any_layout(request, tmp_path_factory):
    return _layout(request.param, tmp_path_factory)


@pytest.fixture
def misaligned():
    return _misaligned


@pytest.fixture
def plain():
    def copy(array):
        dtype = np.float32 if array.dtype == np.float16 else array.dtype.newbyteorder("=")
        return np.array(array, dtype=dtype, order="C")

    return copy


@pytest.fixture
def untouched():
    @contextmanager
    def watch(*arrays):
        before = [array.tobytes() for array in arrays]
        yield
        for number, (array, content) in enumerate(zip(arrays, before, strict=True)):
            assert array.tobytes() == content, f"input {number} was changed"

    return watch


@pytest.fixture(params=[np.float32, np.float64], ids=["f32", "f64"])
def dtype(request):
    return np.dtype(request.param)


@pytest.fixture(params=[1, 2, 3, 8], ids="workers={}".format)
def workers(request):
    return request.param


@pytest.fixture
def rng():
    return np.random.default_rng(20211229)
