"""What every public function of arrays leaves as it found it: the processor's mode, reference counts, memory."""

import concurrent.futures
import ctypes
import gc
import multiprocessing
import os
import pickle
import platform
import sys
import warnings

import numpy as np
import pytest

import kexue
from reference.array_calls import CALLS, at_place, mapped, places_of_arrays, replaced, require_same_bits

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"
GLIBC = platform.libc_ver()[0] == "glibc"


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", (RuntimeWarning, kexue.ConvergenceWarning))
        yield


def call(name, arguments):
    args, options = arguments
    return getattr(kexue, name)(*args, **options)


# ---- the processor's mode ----

FLUSH = 0x8040  # results below the least normal number to 0, and so arguments: what -ffast-math sets for its process
ROUNDING = {"up": 0x4000, "down": 0x2000, "to zero": 0x6000}
# Between directed roundings and the nearest: draws in float32, and what is between two bounds that differ by so much.
LOOSE = {"hsic_random_features", "hsic_test", "transport_lower_bound"}


class Mode:
    """The floating-point environment: fenv_t of glibc on x86-64, whose last word is the control register of SSE."""

    def __init__(self):
        self.libm = ctypes.CDLL("libm.so.6")

    def read(self):
        buffer = ctypes.create_string_buffer(32)
        assert self.libm.fegetenv(buffer) == 0
        return buffer

    def control(self):
        content = self.read().raw
        return int.from_bytes(content[28:], "little") & ~0x3F, content[:2]  # without the flags of what has happened

    def within(self, bits, function):
        """What a function gives in another mode, and whether it stays in that."""
        before, other = self.read(), self.read()
        register = int.from_bytes(other.raw[28:], "little") & ~0xE040 | bits
        ctypes.memmove(ctypes.addressof(other) + 28, register.to_bytes(4, "little"), 4)
        self.libm.fesetenv(other)
        try:
            given = self.control()
            result = function()
            return result, self.control() == given
        finally:
            self.libm.fesetenv(before)


@pytest.fixture(scope="module")
def mode():
    if not (GLIBC and platform.machine() == "x86_64"):
        pytest.skip("knows the environment of glibc on x86-64 alone")
    return Mode()


@pytest.mark.parametrize("name", CALLS)
def test_the_mode_of_the_processor_stays(name, mode):
    before = mode.control()
    expected = call(name, CALLS[name])
    assert mode.control() == before
    found, stays = mode.within(FLUSH, lambda: call(name, CALLS[name]))
    assert stays
    require_same_bits(found, expected)  # there is no subnormal number in it
    for bits in ROUNDING.values():
        found, stays = mode.within(bits, lambda: call(name, CALLS[name]))
        assert stays
        if name not in {"sinkhorn", "sinkhorn2"}:  # whose marginals' error is one of rounding itself
            require_same_bits(found, expected, relative=1e-5 if name in LOOSE else 1e-11)
    assert mode.control() == before


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_range_of_gamma_when_subnormal_numbers_are_0(dtype, mode):
    """Its least is found from the exponent: the logarithm of the least number is that of 0 there."""
    points = np.arange(6, dtype=dtype).reshape(3, 2)
    expected = kexue.rbf_kernel(points, gamma=0.5)
    found, _ = mode.within(FLUSH, lambda: kexue.rbf_kernel(points, gamma=0.5))
    require_same_bits(found, expected)
    with pytest.raises(kexue.KexueValueError, match="^gamma is .*out of range"):
        mode.within(FLUSH, lambda: kexue.rbf_kernel(points, gamma=1e-307 if dtype == np.float64 else 1e-37))


# ---- memory ----

CALL_COUNT = 10_000 if LONG else 80
# A leak is one block or 16 bytes a call at least; up to 50 blocks come and go in the free lists of Python.
ALLOWED_BLOCKS, ALLOWED_BYTES = CALL_COUNT * 3 // 4, CALL_COUNT * 8
WATCHED = sorted(CALLS)[:: 1 if LONG else 4]


class MallInfo(ctypes.Structure):
    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


@pytest.fixture(scope="module")
def few_objects():
    """Collections go over what is new alone."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def memory_in_use():
    """Blocks of Python's own allocator, and bytes that malloc has handed out."""
    gc.collect()
    function = getattr(ctypes.CDLL(None), "mallinfo2", None) if GLIBC else None
    if function is None:
        return sys.getallocatedblocks(), 0
    function.restype = MallInfo
    numbers = function()
    return sys.getallocatedblocks(), numbers.uordblks + numbers.hblkhd


def require_steady(function):
    for _ in range(5):
        function()
    # What grows once, such as a cache, does not do so again and again.
    for _attempt in range(4):
        before = memory_in_use()
        for _ in range(CALL_COUNT):
            function()
        grown = [after - first for after, first in zip(memory_in_use(), before, strict=True)]
        if grown[0] < ALLOWED_BLOCKS and grown[1] < ALLOWED_BYTES:
            return
    raise AssertionError(f"{CALL_COUNT} calls left {grown[0]} blocks and {grown[1]} bytes")


@pytest.mark.parametrize("name", WATCHED)
def test_memory_and_reference_counts_are_steady(name, few_objects):
    given = []
    args, options = mapped(lambda array: given.append(array.copy()) or given[-1], CALLS[name])
    function = getattr(kexue, name)
    before = [sys.getrefcount(array) for array in given]
    require_steady(lambda: function(*args, **options))
    gc.collect()
    assert [sys.getrefcount(array) for array in given] == before


@pytest.mark.parametrize("name", WATCHED)
def test_memory_and_reference_counts_are_steady_when_a_call_fails(name, few_objects):
    """With the last array of complex numbers, so that all others are read before."""
    place = list(places_of_arrays(CALLS[name]))[-1]
    array = at_place(CALLS[name], place).astype(complex)
    args, options = replaced(CALLS[name], place, array)
    function = getattr(kexue, name)

    def fail():
        try:
            function(*args, **options)
        except (TypeError, ValueError):
            return True
        return False

    if not fail():
        pytest.skip("takes any dtype")
    before = sys.getrefcount(array)
    require_steady(fail)
    assert sys.getrefcount(array) == before


# ---- processes ----

SHARED = ("emd2", "sinkhorn", "pairwise_distances", "entropy_normalize", "hsic", "attention", "random_projection")


def results_of(names, workers):
    with kexue.threads(workers):
        return [call(name, CALLS[name]) for name in names]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_pools_of_processes(method):
    """After calls with threads in this process; fork leaves them behind."""
    expected = results_of(SHARED, 2)
    context = multiprocessing.get_context(method)
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        for found in pool.map(kexue_results, [SHARED] * 3, [1, 2, 3], timeout=100):
            require_same_bits(pickle.loads(found), expected)


def kexue_results(names, workers):
    return pickle.dumps(results_of(names, workers))
