"""Prefix trees against sets of prefixes: what follows, what ends, places, masks; input of all kinds; damaged files."""

import _thread
import copy
import os
import pickle
import signal
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import kexue
from kexue import KexueValueError, PrefixTree, _npz

# The eight sentences of https://kexue.fm/archives/8802.
SENTENCES = "明月几时有 明天会更好 明天下雨 明天下午开会 明天下午放假 明年见 今夕是何年 今天去哪里玩".split()


def followers(sequences):
    """What comes after each prefix."""
    found = {(): set()}
    for sequence in sequences:
        for k, token in enumerate(sequence):
            found.setdefault(tuple(sequence[:k]), set()).add(token)
            found.setdefault(tuple(sequence[: k + 1]), set())
    return found


def check_tree(tree, sequences):
    """sequences : lists of int."""
    places = {tuple(sequence): i for i, sequence in enumerate(sequences)}
    after = followers(sequences)
    assert len(tree) == len(places)
    assert tree.n_nodes == len(after)
    assert [tuple(key) for key in tree.keys()] == sorted(places)
    for prefix, tokens in after.items():
        following = tree.next_tokens(prefix)
        assert following.tolist() == sorted(tokens)
        assert tree.is_end(prefix) == (prefix in tree) == (prefix in places)
        assert tree.get(prefix, "none") == places.get(prefix, "none")
        missing = [t for t in (0, 1, 2**31, 2**32, 2**63 - 1, 2**63, 2**70, -1) if t not in tokens]
        for token in missing:
            unknown = [*prefix, token]
            assert tree.next_tokens(unknown).tolist() == []
            assert unknown not in tree
            assert tree.get(unknown) is None
            assert list(tree.keys(unknown)) == []


# ---- values ----


def test_values_of_the_source():
    tree = PrefixTree(SENTENCES)
    assert sum(map(len, SENTENCES)) == 40
    assert tree.n_nodes - 1 == 28
    expected = {
        "": "今明",
        "明": "天年月",
        "明天": "下会",
        "明天下": "午雨",
        "明天下午": "开放",
        "明天下午开会": "",
        "天": "",
    }
    for prefix, tokens in expected.items():
        assert {chr(token) for token in tree.next_tokens(prefix)} == set(tokens)
    assert ["".join(map(chr, key)) for key in tree.keys("明天")] == sorted(s for s in SENTENCES if s.startswith("明天"))
    assert [tree.get(sentence) for sentence in SENTENCES] == list(range(8))
    assert "明天下" not in tree
    assert repr(tree) == "PrefixTree(8 sequences, 29 nodes)"
    check_tree(tree, [[ord(c) for c in sentence] for sentence in SENTENCES])


def test_is_public():
    assert kexue.PrefixTree is PrefixTree is kexue.decoding.PrefixTree


@pytest.mark.parametrize(
    "sequences",
    [
        [],
        [[]],
        [[], []],
        [[5]],
        [[], [5], []],
        [[1, 2], [1, 2, 3], [1], [1, 2]],
        [[0] * 300, [0] * 299, [0] * 300 + [1]],
    ],
)
def test_small_sets(sequences):
    tree = PrefixTree(sequences)
    check_tree(tree, sequences)
    assert tree.next_tokens([]).dtype == np.int32


tokens = st.integers(0, 3) | st.sampled_from([0, 255, 65535, 2**31 - 1, 2**31, 2**32 + 1, 2**62, 2**63 - 1])
narrow_lists = st.lists(st.lists(st.integers(0, 3), max_size=7), max_size=25)
wide_lists = st.lists(st.lists(tokens, max_size=5), max_size=12)


@given(narrow_lists | wide_lists)
def test_against_sets(sequences):
    check_tree(PrefixTree(sequences), sequences)


@given(narrow_lists | wide_lists)
def test_all_forms_of_sequences_are_the_same(sequences):
    forms = [
        tuple,
        np.array,
        iter,
        lambda s: (x for x in s),
        lambda s: np.array(s, dtype=np.uint64),
        lambda s: [np.int64(x) for x in s],
        lambda s: memoryview(np.array(s, dtype=np.int64)),
    ]
    wanted = PrefixTree(sequences)._arrays()
    mixed = (
        forms[i % len(forms)](s) if s else [[], (), "", np.array([], dtype=np.float64)][i % 4]
        for i, s in enumerate(sequences)
    )
    flat = [token for s in sequences for token in s]
    starts = np.cumsum([0, *map(len, sequences)])
    before = np.concatenate([[7], np.array(flat, dtype=np.int64), [7]])
    for tree in (
        PrefixTree(mixed),
        PrefixTree.from_arrays(flat, starts),
        PrefixTree.from_arrays(before, starts.astype(np.uint16) + np.uint16(1)),
    ):
        for got, want in zip(tree._arrays(), wanted, strict=True):
            assert_array_equal(got, want, strict=True)


@given(st.lists(st.text(st.sampled_from("ab明é\U0001f600\ud800"), max_size=6), max_size=20))
def test_strings(texts):
    sequences = [[ord(c) for c in text] for text in texts]
    tree = PrefixTree(texts)
    check_tree(tree, sequences)
    assert all(tree.get(text) == tree.get(sequence) for text, sequence in zip(texts, sequences, strict=True))
    assert [tuple(key) for key in tree.keys("a")] == sorted({tuple(s) for s in sequences if s[:1] == [97]})


def test_strings_of_other_kinds():
    class Text(str):
        pass

    wanted = PrefixTree(["ab", "b"])
    for tree in (PrefixTree(np.array(["ab", "b"])), PrefixTree([Text("ab"), np.str_("b")]), PrefixTree([b"ab", b"b"])):
        assert equal(tree, wanted)
        assert tree.get(np.str_("b")) == tree.get(Text("b")) == tree.get(b"b") == 1
    assert kexue.edit_distance(np.str_("kitten"), Text("sitting")) == 3


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", ">i4", ">u8"])
def test_arrays_of_two_dimensions(dtype, rng):
    rows = rng.integers(0, 4, (50, 6)).astype(dtype)
    wanted = PrefixTree(rows.tolist())._arrays()
    reversed_copy = rows[::-1].copy()[::-1]
    unaligned = np.frombuffer(b"." + rows.tobytes(), dtype=dtype, offset=1).reshape(rows.shape)
    for form in (
        rows,
        np.asfortranarray(rows),
        np.repeat(rows, 2, axis=1)[:, ::2],
        reversed_copy,
        unaligned,
        list(rows),
    ):
        for got, want in zip(PrefixTree(form)._arrays(), wanted, strict=True):
            assert_array_equal(got, want, strict=True)
    assert len(PrefixTree(rows[:0])) == 0
    assert PrefixTree(rows[:, :0]).get([]) == 49


def test_tokens_are_as_narrow_as_they_can_be():
    assert PrefixTree(np.array([[1, 2**31 - 1]])).next_tokens([1]).dtype == np.int32
    assert PrefixTree(np.array([[1, 2**31]])).next_tokens([1]).dtype == np.int64
    assert PrefixTree([[1], [2**31, 3], [4]]).next_tokens([]).tolist() == [1, 4, 2**31]


def test_what_a_node_takes(rng):
    tree = PrefixTree(rng.integers(0, 2**31, (2000, 20)))
    assert tree.nbytes <= 8.2 * tree.n_nodes + 4 * len(tree)


def test_many_sequences(rng):
    """More than are sorted by merges, with common beginnings of many lengths."""
    rows = np.minimum(rng.zipf(1.3, (30_000, 9)), 70_000)
    tree = PrefixTree(rows)
    ordered = np.unique(rows, axis=0)
    assert_array_equal(np.array(list(tree.keys())), ordered)
    last = {tuple(row): i for i, row in enumerate(rows.tolist())}
    assert all(tree.get(row) == place for row, place in last.items())


# ---- masks ----


@given(narrow_lists, st.none() | st.integers(0, 5), st.integers(0, 6), st.sampled_from([np.float32, np.float64]))
def test_mask(sequences, end_token, vocabulary, dtype):
    tree = PrefixTree(sequences)
    if end_token is not None and end_token >= vocabulary:
        end_token = None
    prefixes = [list(prefix) for prefix in followers(sequences)] + [[9], [-1]]
    rows = np.random.default_rng(0).normal(size=(len(prefixes), vocabulary)).astype(dtype)
    expected, kept = np.full_like(rows, -np.inf), []
    for i, prefix in enumerate(prefixes):
        allowed = [t for t in tree.next_tokens(prefix).tolist() if t < vocabulary]
        if end_token is not None and prefix in tree:
            allowed = sorted({*allowed, end_token})
        expected[i, allowed] = rows[i, allowed]
        kept.append(len(allowed))
    together = rows.copy()
    counts = tree.mask(prefixes, together, end_token=end_token)
    assert_array_equal(together, expected)
    assert_array_equal(counts, kept, strict=False)
    assert counts.dtype == np.int64
    for row, prefix, want, count in zip(rows, prefixes, expected, kept, strict=True):
        assert tree.mask(prefix, row, end_token=end_token) == count
        assert_array_equal(row, want)


def test_mask_of_rows():
    tree = PrefixTree([[1, 2], [1, 3, 4]])
    wide = np.zeros((4, 9))
    assert tree.mask(np.array([[1], [3]]), wide[::2, 1:7]).tolist() == [2, 0]
    assert_array_equal(np.isinf(wide[0]), [0, 1, 1, 0, 0, 1, 1, 0, 0])
    assert_array_equal(np.isinf(wide[2]), [0, 1, 1, 1, 1, 1, 1, 0, 0])
    assert not wide[[1, 3]].any()
    assert PrefixTree(["ab", "b"]).mask(["a", ""], np.zeros((2, 200))).tolist() == [1, 2]
    assert tree.mask([], np.zeros((0, 5))).tolist() == []


def test_tokens_that_no_logit_is_for():
    tree = PrefixTree([[1], [2**32 + 1], [2**40, 5]])
    row = np.zeros(3)
    assert tree.mask([], row) == 1
    assert_array_equal(row, [-np.inf, 0, -np.inf])
    assert tree.mask([2**40], row) == 0


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        ([0.0, 0.0], "one or two dimensions"),
        (np.zeros(3, dtype=int), "float32 or float64"),
        (np.zeros(3, dtype=np.float16), "float32 or float64"),
        (np.zeros(3, dtype=">f8"), "float32 or float64"),
        (np.zeros((1, 1, 3)), "one or two dimensions"),
        (np.zeros(()), "one or two dimensions"),
        (np.zeros(6)[::2], "contiguous rows"),
        (np.zeros((3, 2)).T, "contiguous rows"),
        (np.broadcast_to(0.0, (2, 3)), "contiguous rows"),
        (np.frombuffer(bytearray(25), dtype=np.float64, offset=1), "aligned"),
        (np.frombuffer(bytes(24), dtype=np.float64), "writable"),
    ],
)
def test_logits_that_are_refused(logits, message):
    tree = PrefixTree([[1, 2]])
    with pytest.raises(KexueValueError, match=f"logits must .*{message}"):
        tree.mask([] if np.ndim(logits) < 2 else [[], []], logits)


def test_bad_arguments_of_mask_change_nothing():
    tree, row, rows = PrefixTree([[1, 2]]), np.zeros(3), np.zeros((2, 3))
    for end_token in (-1, 3, 2**70):
        with pytest.raises(KexueValueError, match="end_token"):
            tree.mask([], row, end_token=end_token)
    with pytest.raises(TypeError, match="end_token"):
        tree.mask([], row, end_token=1.0)
    for prefixes in ([[]], [[], [], []], "ab", [], iter([[], []])):
        with pytest.raises(KexueValueError, match="prefix must hold one prefix for each of the 2 rows"):
            tree.mask(prefixes, rows)
    with pytest.raises(TypeError, match="prefix must be a sequence of integers"):
        tree.mask([[], [1.5]], rows)
    assert not row.any()
    assert not rows.any()


# ---- bad sequences ----


class Index:
    def __init__(self, value):
        self.value = value

    def __index__(self):
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    ("sequences", "error", "message"),
    [
        ([[1], [2, -3]], KexueValueError, r"sequences\[1\]\[1\] is -3, and tokens are not negative"),
        ([[1], [2, -(2**70)]], KexueValueError, r"sequences\[1\]\[1\] is -\d+, and tokens are not negative"),
        ([[1], (2, 2**63)], KexueValueError, r"sequences\[1\]\[1\] is 9223372036854775808, beyond int64"),
        ([[1, True]], TypeError, r"sequences\[0\]\[1\] must be an integer, not bool"),
        ([[1, np.True_]], TypeError, r"sequences\[0\]\[1\] must be an integer, not bool"),
        ([[1, 2.0]], TypeError, r"sequences\[0\]\[1\] must be an integer, not float"),
        ([[1, "a"]], TypeError, r"sequences\[0\]\[1\] must be an integer, not str"),
        ([[1, [2]]], TypeError, r"sequences\[0\]\[1\] must be an integer, not list"),
        ([[1], 3], TypeError, r"sequences\[1\] must be a sequence of tokens, not int"),
        ([[1], {3}], TypeError, r"sequences\[1\] must be a sequence of tokens, not set"),
        ([{3: 1}], TypeError, r"sequences\[0\] must be a sequence of tokens, not dict"),
        ([[1], np.array([1, -2])], KexueValueError, r"sequences\[1\]\[1\] is -2, and tokens are not negative"),
        (
            [np.array([1, 2**63], dtype=np.uint64)],
            KexueValueError,
            r"sequences\[0\]\[1\] is 9223372036854775808, beyond",
        ),
        ([[1], np.array([1.0])], TypeError, r"sequences\[1\] must hold integers, but its dtype is float64"),
        ([np.array([True])], TypeError, r"sequences\[0\] must hold integers, but its dtype is bool"),
        ([np.zeros((1, 2), dtype=int)], KexueValueError, r"sequences\[0\] .*shape is \(1, 2\)"),
        (np.array([[1, 2], [3, -4]]), KexueValueError, r"sequences\[1\]\[1\] is -4, and tokens are not negative"),
        (np.array([[2**63]], dtype=np.uint64), KexueValueError, r"sequences\[0\]\[0\] is 9223372036854775808, beyond"),
        (np.zeros((2, 2)), TypeError, "sequences must hold integers, but its dtype is float64"),
        (np.zeros(3, dtype=int), KexueValueError, r"sequences\[0\] must be a sequence of tokens, .*shape is \(\)"),
        ("abc", TypeError, "sequences must be a list of sequences of tokens, not str"),
        (b"abc", TypeError, "sequences must be a list of sequences of tokens, not bytes"),
        ({"abc": 1}, TypeError, "sequences must be a list of sequences of tokens, not dict"),
        (3, TypeError, "sequences must be a list of sequences of tokens, not int"),
        (None, TypeError, "sequences must be a list of sequences of tokens, not NoneType"),
    ],
)
def test_bad_sequences(sequences, error, message):
    with pytest.raises(error, match=message):
        PrefixTree(sequences)


def test_exceptions_of_others_pass():
    def failing():
        yield [1]
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        PrefixTree(failing())
    with pytest.raises(LookupError, match="mine"):
        PrefixTree([[1], failing()])
    with pytest.raises(LookupError, match="mine"):
        PrefixTree([[1, Index(LookupError("mine"))]])
    assert PrefixTree([[Index(4)]]).get([Index(4)]) == 0


def test_a_list_that_changes_while_it_is_read():
    class Growing:
        def __init__(self, sequence):
            self.sequence = sequence

        def __index__(self):
            self.sequence.extend(range(5000))
            return 7

    class Clearing(Growing):
        def __index__(self):
            self.sequence.clear()
            return 7

    growing, clearing = [], []
    growing.append(Growing(growing))
    clearing += [1, Clearing(clearing), 2]
    tree = PrefixTree([growing, clearing])
    assert [7, *range(5000)] in tree
    assert [1, 7] in tree


@pytest.mark.parametrize(
    ("flat", "starts", "error", "message"),
    [
        ([1, 2], [], KexueValueError, "starts must hold one number more"),
        ([1, 2], 0, KexueValueError, "starts must hold one number more"),
        ([1, 2], [[0, 2]], KexueValueError, r"starts must .*shape is \(1, 2\)"),
        ([1, 2], [0.0, 2.0], TypeError, "starts must hold integers"),
        ([1, 2], [0, 2, 1], KexueValueError, r"starts\[2\] is less than the one before it"),
        ([1, 2], [0, 3], KexueValueError, r"starts\[1\] is 3, and there are 2 tokens"),
        ([1, 2], [-1, 2], KexueValueError, r"starts\[0\] is -1, and there are 2 tokens"),
        ([1, 2], np.array([0, 2**64 - 1], dtype=np.uint64), KexueValueError, r"starts\[1\] is 18446744073709551615"),
        ([1, -2], [0, 2], KexueValueError, r"tokens\[1\] is -2, and tokens are not negative"),
        ([[1, 2]], [0, 2], KexueValueError, r"tokens must .*shape is \(1, 2\)"),
        ([1.5, 2], [0, 2], TypeError, "tokens must hold integers"),
        ([[1], [2, 3]], [0, 2], KexueValueError, "tokens must be a sequence of tokens"),
        ([1, 2], [[0], [1, 2]], KexueValueError, "starts is not an array of one shape"),
        (np.ma.masked_less([1, 2], 2), [0, 2], TypeError, "tokens is a masked array"),
    ],
)
def test_bad_arrays(flat, starts, error, message):
    with pytest.raises(error, match=message):
        PrefixTree.from_arrays(flat, starts)


@pytest.mark.parametrize(
    "prefix", [[1.5], ["a"], [None], 3, None, [[1]], np.array([1.0]), np.array([[1]]), [True], [7, 1.5], {1}, {1: 2}]
)
def test_bad_prefixes(prefix):
    tree = PrefixTree([[1, 2]])
    calls = (tree.next_tokens, tree.is_end, tree.get, tree.keys, tree.__contains__)
    for call in (*calls, lambda p: tree.mask(p, np.zeros(3))):
        with pytest.raises(TypeError, match="prefix must be a sequence of integers, or a string"):
            call(prefix)


# ---- sharing and copying ----


def equal(tree, other):
    arrays = zip(tree._arrays(), other._arrays(), strict=True)
    return tree._n_given == other._n_given and all(np.array_equal(a, b) and a.dtype == b.dtype for a, b in arrays)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_and_copying(protocol, tmp_path):
    tree = PrefixTree([*SENTENCES, SENTENCES[0], [2**40]])
    tree.save(tmp_path / "tree.npz")
    for one in (tree, PrefixTree.load(tmp_path / "tree.npz")):
        again = pickle.loads(pickle.dumps(one, protocol))
        for other in (again, copy.copy(one), copy.deepcopy(one)):
            assert equal(other, tree)
            assert other.get(SENTENCES[0]) == 8
            assert not other.next_tokens("明").flags.writeable


def test_pickles_of_another_machine():
    tree = PrefixTree([[3, 1], [2, 2**40]])
    restore, (n_given, *arrays) = tree.__reduce__()
    swapped = [array.astype(array.dtype.newbyteorder()) for array in arrays]
    shifted = []
    for array in arrays:
        buffer = np.empty(array.nbytes + 1, dtype=np.uint8)
        shifted.append(buffer[1:].view(array.dtype))
        shifted[-1][:] = array
    assert not shifted[0].flags.aligned
    for others in (swapped, shifted):
        other = restore(n_given, *others)
        assert equal(other, tree)
        assert all(array.flags.aligned for array in other._arrays())
        assert other.next_tokens([2]).tolist() == [2**40]


def test_what_is_given_away_is_read_only():
    following = PrefixTree(SENTENCES).next_tokens("明")
    with pytest.raises(ValueError, match="read-only"):
        following[0] = -5
    assert len(following) == 3  # the arrays outlive the tree


def test_threads_share_a_tree(rng):
    rows = rng.integers(0, 5, (3000, 6))
    tree = PrefixTree(rows)

    def work(rows):
        return [
            (tree.get(row), tree.next_tokens(row[:2]).tolist(), tree.mask(row[:3], np.zeros(5)))
            for row in rows.tolist()
        ]

    expected = work(rows)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, [rows] * 4)) == [expected] * 4


def test_a_cancelled_build(rng):
    rows = rng.integers(0, 50_000, (4_000_000, 6), dtype=np.int32)
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.15, _thread.interrupt_main)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            while True:
                PrefixTree(rows)
    finally:
        timer.cancel()
        signal.signal(signal.SIGINT, handler)


# ---- files ----


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize(
    "sequences", [[], [[]], SENTENCES, [[1, 2**40], [1], [1]]], ids=["none", "empty", "texts", "wide"]
)
def test_save_and_load(sequences, mmap, tmp_path):
    tree = PrefixTree(sequences)
    tree.save(tmp_path / "tree.npz")
    loaded = PrefixTree.load(str(tmp_path / "tree.npz"), mmap=mmap)
    assert equal(loaded, tree)
    assert type(loaded.next_tokens([])) is np.ndarray
    assert os.listdir(tmp_path) == ["tree.npz"]


def test_a_tree_in_use_outlives_its_file(tmp_path):
    path = tmp_path / "tree.npz"
    PrefixTree(SENTENCES).save(path)
    loaded = PrefixTree.load(path)
    PrefixTree([[1], [2]]).save(path)
    assert equal(loaded, PrefixTree(SENTENCES))
    loaded.save(path)  # over the file it is mapped from
    assert equal(PrefixTree.load(path), loaded)


def test_a_file_that_is_replaced_while_it_is_loaded(tmp_path, monkeypatch):
    path, data_offset = tmp_path / "tree.npz", _npz._data_offset

    def replacing(*arguments):
        PrefixTree([[1], [2]]).save(path)
        return data_offset(*arguments)

    PrefixTree(SENTENCES).save(path)
    monkeypatch.setattr(_npz, "_data_offset", replacing)
    assert equal(PrefixTree.load(path), PrefixTree(SENTENCES))


def saved(path, tree, **changes):
    """A file with some of the arrays changed; None leaves one out."""
    arrays = {"format": np.array([1, tree._n_given])}
    arrays |= dict(zip(("tokens", "children", "ends", "ranks", "places"), tree._arrays(), strict=True))
    _npz.save_npz(path, {name: array for name, array in (arrays | changes).items() if array is not None})
    return path


def changed(array, index, value):
    array = array.copy()
    array[index] = value
    return array


TREE = PrefixTree([[1, 2], [1, 3], [4], [4, 1]])
TOKENS, CHILDREN, ENDS, RANKS, PLACES = TREE._arrays()
DAMAGES = {
    "another format": {"format": np.array([2, 4])},
    "format of another shape": {"format": np.array([[1, 4]])},
    "format of reals": {"format": np.array([1.0, 4.0])},
    "fewer sequences given": {"format": np.array([1, 3])},
    "no tokens": {"tokens": None},
    "more arrays": {"others": TOKENS},
    "tokens of 16 bits": {"tokens": TOKENS.astype(np.int16)},
    "tokens without sign": {"tokens": TOKENS.astype(np.uint32)},
    "tokens of the other order": {"tokens": TOKENS.astype(">i4")},
    "real tokens": {"tokens": TOKENS.astype(np.float32)},
    "tokens in rows": {"tokens": TOKENS.reshape(-1, 1)},
    "fewer tokens": {"tokens": TOKENS[:-1]},
    "nothing": {
        "tokens": TOKENS[:0],
        "children": CHILDREN[:1],
        "ends": ENDS[:0],
        "ranks": RANKS[:0],
        "places": PLACES[:0],
    },
    "another root": {"tokens": changed(TOKENS, 0, 0)},
    "a negative token": {"tokens": changed(TOKENS, 1, -1)},
    "siblings descend": {"tokens": changed(TOKENS, 2, 0)},
    "siblings are equal": {"tokens": changed(TOKENS, 2, 1)},
    "fewer children": {"children": CHILDREN[:-1]},
    "children of 64 bits": {"children": CHILDREN.astype(np.int64)},
    "children descend": {"children": changed(CHILDREN, 2, 1)},
    "a child of its own": {"children": changed(CHILDREN, 0, 0)},
    "children beyond": {"children": changed(CHILDREN, -1, 100)},
    "fewer nodes": {"children": changed(CHILDREN, -1, CHILDREN[-1] - 1)},
    "ends beyond": {"ends": ENDS | np.uint64(1 << 63)},
    "a leaf that is no end": {"ends": ENDS & ~np.uint64(1 << 5)},
    "one end more": {"ends": ENDS | np.uint64(1)},
    "fewer ends": {"ends": ENDS[:0]},
    "ranks": {"ranks": RANKS + np.uint32(1)},
    "ranks of 64 bits": {"ranks": RANKS.astype(np.int64)},
    "a place beyond": {"places": changed(PLACES, 0, 4)},
    "fewer places": {"places": PLACES[:-1]},
    "places in rows": {"places": PLACES.reshape(1, -1)},
    "places with sign": {"places": PLACES.astype(np.int64)},
}


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_damaged_arrays(damage, mmap, tmp_path):
    assert equal(PrefixTree.load(saved(tmp_path / "good.npz", TREE), mmap=mmap), TREE)
    path = saved(tmp_path / "bad.npz", TREE, **damage)
    with pytest.raises(ValueError, match="bad.npz"):
        PrefixTree.load(path, mmap=mmap)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError):
        PrefixTree.load(tmp_path / "tree.npz")
    for content in (b"", b"PK", b"no archive" * 100):
        (tmp_path / "tree.npz").write_bytes(content)
        with pytest.raises(ValueError, match="tree.npz"):
            PrefixTree.load(tmp_path / "tree.npz")


def test_a_header_whose_shape_is_no_number(tmp_path):
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (True,), }"
    with zipfile.ZipFile(tmp_path / "tree.npz", "w") as archive:
        archive.writestr("tokens.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0")
    for mmap in (True, False):
        with pytest.raises(ValueError, match="tree.npz: .* has not the size"):
            PrefixTree.load(tmp_path / "tree.npz", mmap=mmap)


def test_keys_belong_to_whoever_gets_them():
    tree = PrefixTree([[1], [1, 2], [1, 2, 3], [4]])
    keys = []
    for key in tree.keys():
        keys.append(key.copy())
        key.clear()
    assert keys == [[1], [1, 2], [1, 2, 3], [4]]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("text", [b"'shape': {", b"'shape': ]", b"'shape': \0", b"'shape', (", b"'shape': -"])
def test_headers_that_python_cannot_read(text, mmap, tmp_path):
    TREE.save(tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b"'shape': (", text))
    with pytest.raises(ValueError, match="bad.npz"):
        PrefixTree.load(tmp_path / "bad.npz", mmap=mmap)


def use(tree):
    """All that reads the arrays of a tree that may be another than was saved."""
    row = np.zeros(64)
    for prefix in [[], *tree.keys()][:50]:
        assert tree.next_tokens(prefix).min(initial=0) >= 0
        assert tree.mask(prefix, row, end_token=0) == np.count_nonzero(row == 0)
        assert tree.get(prefix, 0) >= 0
        row[:] = 0


@pytest.mark.timeout(3600)
def test_damaged_files(tmp_path, rng):
    """Cut off, bits turned, bytes replaced: ValueError, or a tree that can be used."""
    path = tmp_path / "tree.npz"
    PrefixTree(rng.integers(0, 4, (30, 5))).save(path)
    good = path.read_bytes()
    refused = 0
    for k in range(100_000 if os.environ.get("KEXUE_LONG_TESTS") == "1" else 1500):
        bad = bytearray(good)
        if k % 10 == 0:
            del bad[rng.integers(len(bad)) :]
        else:
            for place in rng.integers(len(bad), size=rng.integers(1, 4)):
                bad[place] = bad[place] ^ 1 << rng.integers(8) if k % 2 else rng.integers(256)
        path.write_bytes(bad)
        for mmap in (True, False):
            try:
                use(PrefixTree.load(path, mmap=mmap))
            except ValueError:
                refused += 1
    assert refused > 1500
