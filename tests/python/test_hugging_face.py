"""The adapters for transformers, called as it calls them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import PrefixAllowedTokens, PrefixTree, PrefixTreeLogitsProcessor

END = 0
TREE = PrefixTree([[3, 1], [3, 1, 4], [2], [5, 6, 7]])
# After a prompt of two tokens: what has been decoded, and what may follow.
CASES = [
    ([], [2, 3, 5]),
    ([3], [1]),
    ([3, 1], [4, END]),
    ([3, 1, 4], [END]),
    ([2], [END]),
    ([2, END], [END]),  # behind the end, where transformers pads
    ([2, END, 9], [END]),
    ([9], [END]),
]


class Tensor:
    """What a tensor of another device lets one do: no view in memory, but indices."""

    dtype, device = "torch.float32", "elsewhere"

    def __init__(self, array):
        self.array = array

    ndim = property(lambda self: self.array.ndim)
    shape = property(lambda self: self.array.shape)

    def __len__(self):
        return len(self.array)

    def new_full(self, shape, value):
        return Tensor(np.full(shape, value, dtype=np.float32))

    def clone(self):
        return Tensor(self.array.copy())

    def __getitem__(self, index):
        return self.array[index]

    def __setitem__(self, index, value):
        self.array[index] = value


@pytest.mark.parametrize(("decoded", "expected"), CASES)
def test_allowed_tokens(decoded, expected):
    allowed = PrefixAllowedTokens(TREE, END, prompt_length=2)
    for ids in ([8, 9, *decoded], tuple([8, 9, *decoded]), np.array([8, 9, *decoded])):
        found = allowed(0, ids)
        assert found == expected
        assert all(type(token) is int for token in found)
    assert PrefixAllowedTokens(TREE, END)(3, [8, *decoded]) == expected  # the start token of a decoder
    assert PrefixAllowedTokens(TREE, END, prompt_length=0)(3, decoded) == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_processor(dtype, order, rng):
    for decoded, expected in CASES:
        ids = np.array([[8, 9, *decoded]] * 3)
        scores = np.asarray(rng.normal(size=(3, 10)).astype(dtype), order=order)
        before = scores.copy()
        result = PrefixTreeLogitsProcessor(TREE, END, prompt_length=2)(ids, scores)
        assert result.dtype == scores.dtype
        np.testing.assert_array_equal(result[:, expected], before[:, expected])
        assert np.isneginf(np.delete(result, expected, axis=1)).all()
        in_place = order == "C" and dtype in ("float32", "float64")
        assert (result is scores) == in_place
        if not in_place:
            np.testing.assert_array_equal(scores, before)


def test_copy(rng):
    scores = rng.normal(size=(1, 10))
    before = scores.copy()
    result = PrefixTreeLogitsProcessor(TREE, END, copy=True)([[9]], scores)
    np.testing.assert_array_equal(scores, before)
    assert np.isfinite(result).sum() == 3


def test_read_only_scores(rng):
    scores = rng.normal(size=(1, 10))
    scores.flags.writeable = False
    assert np.isfinite(PrefixTreeLogitsProcessor(TREE, END)([[9]], scores)).sum() == 3
    assert np.isfinite(scores).all()


def test_other_devices(rng):
    array = rng.normal(size=(2, 10)).astype(np.float32)
    for copy in (False, True):
        scores = Tensor(array.copy())
        result = PrefixTreeLogitsProcessor(TREE, END, copy=copy)([[9, 3], [9, 5]], scores)
        np.testing.assert_array_equal(scores.array, array)
        assert np.flatnonzero(np.isfinite(result.array[0])).tolist() == [1]
        assert np.flatnonzero(np.isfinite(result.array[1])).tolist() == [6]
        assert result.array[1, 6] == array[1, 6]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_tensors(dtype):
    torch = pytest.importorskip("torch")
    ids = torch.tensor([[9, 3, 1], [9, 5, 6]])
    scores = torch.randn(2, 10, dtype=getattr(torch, dtype), generator=torch.Generator().manual_seed(0))
    before = scores.clone()
    result = PrefixTreeLogitsProcessor(TREE, END)(ids, scores)
    assert (result is scores) == (dtype in ("float32", "float64"))
    assert result.dtype == before.dtype
    assert torch.isfinite(result).nonzero().tolist() == [[0, 0], [0, 4], [1, 7]]
    assert torch.equal(result[0, [0, 4]], before[0, [0, 4]])
    assert PrefixAllowedTokens(TREE, END)(0, ids[0]) == [4, END]


@given(
    st.lists(st.lists(st.integers(1, 5), max_size=5), min_size=1, max_size=10), st.lists(st.integers(0, 5), max_size=6)
)
def test_both_agree(stored, decoded):
    tree = PrefixTree(stored)
    allowed = PrefixAllowedTokens(tree, END)(0, [9, *decoded])
    masked = PrefixTreeLogitsProcessor(tree, END)([[9, *decoded]], np.zeros((1, 6)))
    assert sorted(allowed) == np.flatnonzero(np.isfinite(masked[0])).tolist()
    assert allowed  # transformers refuses an empty list


def test_an_empty_tree():
    tree = PrefixTree([])
    assert PrefixAllowedTokens(tree, END)(0, [9]) == [END]
    assert np.isfinite(PrefixTreeLogitsProcessor(tree, END)([[9]], np.zeros((1, 3)))).tolist() == [[True, False, False]]


def test_greedy_decoding_writes_stored_sequences(rng):
    process = PrefixTreeLogitsProcessor(TREE, END)
    for _ in range(50):
        ids = [9]
        while ids[-1] != END:
            ids.append(int(process([ids], rng.normal(size=(1, 10)))[0].argmax()))
        assert ids[1:-1] in TREE


def test_tokens_beyond_the_vocabulary():
    masked = PrefixTreeLogitsProcessor(PrefixTree([[1], [4], [50]]), END)([[9]], np.zeros((1, 4), dtype=np.float16))
    assert np.flatnonzero(np.isfinite(masked[0])).tolist() == [1]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_no_token_in_the_vocabulary(dtype):
    process = PrefixTreeLogitsProcessor(PrefixTree([[50]]), END)
    with pytest.raises(kexue.KexueValueError, match="scores has 4 columns, and none of them"):
        process([[9]], np.zeros((1, 4), dtype=dtype))


@pytest.mark.parametrize("adapter", [PrefixAllowedTokens, PrefixTreeLogitsProcessor])
def test_errors(adapter):
    with pytest.raises(TypeError, match="tree must be a kexue.PrefixTree"):
        adapter([[1]], END)
    with pytest.raises(kexue.KexueValueError, match="end_token must be at least 0"):
        adapter(TREE, -1)
    with pytest.raises(kexue.KexueValueError, match="prompt_length must be at least 0"):
        adapter(TREE, END, -1)
    with pytest.raises(kexue.KexueValueError, match="end_token must be at most"):
        adapter(TREE, 2**63)


def test_types():
    process = PrefixTreeLogitsProcessor(TREE, END)
    for scores in (np.zeros((1, 10), dtype=int), [[0.0] * 10], None):
        with pytest.raises(TypeError, match="scores must be an array or a tensor of floating-point"):
            process([[9]], scores)
    for ids in ([[9, 3.0]], np.array([[9.0, 3.0]]), [9], [None]):
        with pytest.raises(TypeError, match="input_ids must hold"):
            process(ids, np.zeros((1, 10)))
        with pytest.raises(TypeError, match="input_ids must hold"):
            PrefixAllowedTokens(TREE, END)(0, ids[0])


def test_shapes():
    with pytest.raises(kexue.KexueValueError, match="input_ids has 1 tokens, and prompt_length is 2"):
        PrefixAllowedTokens(TREE, END, 2)(0, [9])
    process = PrefixTreeLogitsProcessor(TREE, END)
    with pytest.raises(kexue.KexueValueError, match=r"scores must have shape \(1, vocabulary\), got \(2, 10\)"):
        process([[9]], np.zeros((2, 10)))
    with pytest.raises(kexue.KexueValueError, match="end_token is 0, but scores has 0 columns"):
        process([[9]], np.zeros((1, 0)))
