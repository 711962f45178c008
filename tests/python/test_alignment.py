"""Common subsequences and edit distances against the dynamic program, for strings and integers of any width."""

import _thread
import signal
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from kexue.decoding import edit_distance, lcs_f1, longest_common_subsequence

BOTH = (longest_common_subsequence, edit_distance)


def plain(a, b):
    """Both by the recurrence, a row at a time."""
    common, edits = [0] * (len(b) + 1), list(range(len(b) + 1))
    for i, x in enumerate(a):
        common_above, edits_above, edits = common, edits, [i + 1]
        common = [0]
        for j, y in enumerate(b):
            common.append(common_above[j] + 1 if x == y else max(common_above[j + 1], common[j]))
            edits.append(min(edits_above[j] + (x != y), edits_above[j + 1] + 1, edits[j] + 1))
    return common[-1], edits[-1]


def both(a, b):
    return longest_common_subsequence(a, b), edit_distance(a, b)


# ---- values ----


def test_values_of_the_sources():
    assert longest_common_subsequence("主讲课程", "XXX主要讲什么课程") == 4
    assert longest_common_subsequence("主", "XXX主要讲什么课程") == 1
    assert longest_common_subsequence("主要成就", "XXX主要讲什么课程") == 2
    assert edit_distance("kitten", "sitting") == 3
    assert lcs_f1("abcd", "acd") == 6 / 7
    assert lcs_f1("", "") == 1
    assert lcs_f1("", "a") == 0


def test_is_public():
    assert kexue.longest_common_subsequence is longest_common_subsequence
    assert kexue.edit_distance is edit_distance
    assert kexue.lcs_f1 is lcs_f1


characters = st.text(st.sampled_from("ab明é\U0001f600\ud800"), max_size=200)
few = st.lists(st.integers(0, 3), max_size=200)
many = st.lists(st.sampled_from([0, 1, 255, 256, 2**31 - 1, 2**31, 2**32, 2**32 + 1, 2**63 - 1]), max_size=90)


@given(characters, characters)
def test_strings(a, b):
    assert both(a, b) == plain(a, b)


@given(few | many, few | many)
def test_integers(a, b):
    assert both(a, b) == plain(a, b)
    assert both(tuple(a), np.array(b, dtype=np.uint64)) == plain(a, b)


@given(characters, few, characters)
def test_relations(a, middle, b):
    a, b = [ord(c) for c in a], [ord(c) for c in b]
    common, distance = both(a, b)
    assert both(b, a) == (common, distance)
    # what both begin and end with
    assert both(middle + a + middle, middle + b + middle) == (common + 2 * len(middle), distance)
    assert max(len(a), len(b)) - common <= distance <= len(a) + len(b) - 2 * common
    assert both(a[::-1], b[::-1]) == (common, distance)
    assert both(a, a) == (len(a), 0)
    assert lcs_f1(a, b) == (2 * common / (len(a) + len(b)) if a or b else 1)


@pytest.mark.parametrize("kinds", [2, 30, 700, 10**6])
def test_long_sequences(kinds, rng):
    """Patterns of several strips."""
    a, b = rng.integers(kinds, size=2500), rng.integers(kinds, size=2100)
    common, edits = np.zeros(len(b) + 1, dtype=int), np.arange(len(b) + 1)
    steps = np.arange(len(b) + 1)
    for x in a:
        same = b == x
        common[1:] = np.maximum(common[:-1] + same, common[1:])
        np.maximum.accumulate(common, out=common)
        above = edits + 1
        above[1:] = np.minimum(above[1:], edits[:-1] + ~same)
        edits = np.minimum.accumulate(above - steps) + steps
    assert both(a, b) == (common[-1], edits[-1])
    assert both(a.astype(np.int32), b.astype(np.int32)) == (common[-1], edits[-1])


@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 127, 128, 129, 2048, 2049])
def test_sizes_of_strings(size):
    a, b = "ab" * size, "a" * size
    assert both(a[:size], b) == (-(-size // 2), size // 2)
    assert both(a[:size], "") == (0, size)


@pytest.mark.parametrize("size", [64, 2048, 4096])
def test_whole_words_and_strips(size):
    """The last row of a pattern is the last of a word, or of a strip."""
    pattern, other = np.arange(size), np.arange(size, 2 * size + 7)
    assert both(pattern, other) == (0, size + 7)
    assert both(pattern, np.append(other, [0])) == (1, size + 8)


def test_a_string_stands_for_its_code_points():
    assert both("明a", [ord("明"), ord("a")]) == (2, 0)
    assert both([97, 2**40], "ab") == (1, 1)
    assert both("\U0001f600", [0x1F600]) == (1, 0)


# ---- input ----


def test_bytes_are_integers():
    assert both(b"kitten", bytearray(b"sitting")) == plain(b"kitten", b"sitting") == both("kitten", b"sitting")


LAYOUTS = {
    "contiguous": lambda x: x,
    "every second": lambda x: np.repeat(x, 2)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "not aligned": lambda x: np.frombuffer(b"." + x.tobytes(), dtype=x.dtype, offset=1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "i4", "u4", "i8", "u8", ">i4", ">i8"])
def test_arrays(dtype, layout, rng, untouched):
    a, b = layout(rng.integers(0, 5, 70).astype(dtype)), layout(rng.integers(0, 5, 90).astype(dtype))
    with untouched(a, b):
        assert both(a, b) == plain(a.tolist(), b.tolist())


@pytest.mark.parametrize("function", [longest_common_subsequence, edit_distance, lcs_f1])
@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ([1, -1], KexueValueError, r"\[1\] is -1, and tokens are not negative"),
        (np.array([3, 2**63], dtype=np.uint64), KexueValueError, r"\[1\] is 9223372036854775808, beyond int64"),
        ([[1, 2]], KexueValueError, r"shape is \(1, 2\)"),
        ([1.0], TypeError, "float64"),
        ([True], TypeError, "bool"),
        (["a"], TypeError, "<U1"),
        ([[1], [2, 3]], KexueValueError, "sequence of tokens"),
        (np.ma.masked_equal([1, 2], 2), TypeError, "masked array"),
        (5, KexueValueError, r"shape is \(\)"),
        (None, KexueValueError, r"shape is \(\)"),
    ],
)
def test_bad_sequences(function, bad, error, message):
    with pytest.raises(error, match=f"a.*{message}"):
        function(bad, [1])
    with pytest.raises(error, match=f"b.*{message}"):
        function("x", bad)


@pytest.mark.parametrize("function", BOTH)
def test_ctrl_c_stops_it(function, rng):
    a, b = rng.integers(0, 26, (2, 3_000_000))
    a[[0, -1]] = 26
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            function(a, b)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, handler)


def test_memory_grows_with_the_length():
    """Not with the length times the kinds of tokens, which would be 200 MB."""
    a = np.arange(40_000)
    b = np.roll(a, 100)
    tracemalloc.start()
    try:
        assert both(a, b) == (39_900, 200)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
