"""kexue.compat.gensim beside gensim itself: the same numbers, the same edge cases."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError, WordVectors
from kexue.compat.gensim import WmdSimilarity, wmdistance

pytest.importorskip("gensim")

from gensim.models import FastText, KeyedVectors  # noqa: E402
from gensim.similarities import WmdSimilarity as GensimSimilarity  # noqa: E402

DIMENSION = 7


def vocabulary():
    """Unrelated words, and words that are one point: as they are (same), or at length 1 (long)."""
    rng = np.random.default_rng(5)
    words = {f"w{i}": rng.normal(size=DIMENSION) for i in range(8)}
    words |= {"same": words["w0"], "long": 4 * words["w0"], "close": words["w1"] + 1e-6, "tiny": 1e-6 * words["w2"]}
    return list(words), np.array(list(words.values()), dtype=np.float32)


def gensim_vectors(keys, vectors):
    kv = KeyedVectors(vectors.shape[1], dtype=vectors.dtype)
    kv.add_vectors(keys, vectors)
    return kv


KEYS, VECTORS = vocabulary()
KV = gensim_vectors(KEYS, VECTORS)
WORDS = WordVectors(KEYS, VECTORS)
BOTH = pytest.mark.parametrize("kv", [KV, WORDS], ids=["gensim", "kexue"])

documents = st.lists(st.sampled_from([*KEYS, "unknown", "", "科"]), max_size=9)
corpora = st.lists(documents, max_size=6)


def same(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


class TestDistance:
    @given(documents, documents, st.booleans())
    @example(["w0", "same"], ["same", "w0"], False)
    @example(["w0", "long"], ["long"], True)
    @example(["w0", "w1", "w0"], ["w1", "w0", "w0"], True)
    @example(["w0"], ["w0", "w0", "unknown"], True)
    @settings(deadline=None, max_examples=300)
    def test_is_gensims(self, first, second, norm):
        expected = KV.wmdistance(first, second, norm=norm)
        for kv in (KV, WORDS):
            found = wmdistance(kv, first, second, norm=norm)
            assert type(found) is float
            same(found, expected)

    @pytest.mark.parametrize("size", [np.float16, np.float64])
    def test_other_types(self, size):
        kv = gensim_vectors(KEYS, VECTORS.astype(size))
        for norm in (True, False):
            same(wmdistance(kv, KEYS[:4], KEYS[3:9], norm), kv.wmdistance(KEYS[:4], KEYS[3:9], norm))

    def test_long_documents(self, rng):
        kv = gensim_vectors([str(i) for i in range(500)], rng.normal(size=(500, 50)).astype(np.float32))
        first, second = (rng.zipf(1.2, size=300).clip(0, 600).astype(str).tolist() for _ in range(2))
        assert wmdistance(kv, first, second) == pytest.approx(kv.wmdistance(first, second), rel=1e-9)

    @BOTH
    def test_without_a_known_word(self, kv):
        for first, second in ([], []), ([], ["w0"]), (["w0"], ["unknown"]), (["unknown"], ["unknown"]):
            assert wmdistance(kv, first, second) == KV.wmdistance(first, second) == np.inf

    @BOTH
    def test_one_word(self, kv):
        assert wmdistance(kv, ["w0", "w0"], ["w0"]) == KV.wmdistance(["w0", "w0"], ["w0"]) == 0

    @BOTH
    def test_different_words_at_one_point_are_infinitely_far(self, kv):
        assert wmdistance(kv, ["w0"], ["same"], norm=False) == KV.wmdistance(["w0"], ["same"], norm=False) == np.inf
        assert wmdistance(kv, ["w0", "long"], ["same", "w0"]) == KV.wmdistance(["w0", "long"], ["same", "w0"]) == np.inf
        assert wmdistance(kv, ["w0", "w1"], ["w1", "w0"]) == 0

    @BOTH
    def test_any_container(self, kv):
        expected = KV.wmdistance(["w0", "w1"], ["w2"])
        for first in ("w0", "w1"), np.array(["w0", "w1"]), {"w0": 1, "w1": 2}:
            assert wmdistance(kv, first, ("w2",)) == pytest.approx(expected)

    def test_a_string_is_a_sequence_of_characters(self):
        kv = gensim_vectors(list("abc"), VECTORS[:3])
        assert wmdistance(kv, "a cat", "b") == pytest.approx(kv.wmdistance("a cat", "b"))

    def test_vectors_that_are_made_up(self):
        texts = [["cat", "sits", "here"], ["dog", "stands", "there"]] * 3
        kv = FastText(texts, vector_size=5, min_count=1, bucket=50, epochs=1, seed=1, workers=1).wv
        for norm in (True, False):
            first, second = ["cats", "sit"], ["dog", "herein"]
            same(wmdistance(kv, first, second, norm), kv.wmdistance(first, second, norm))

    @BOTH
    @pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
    def test_bad_vectors(self, kv, value):
        broken = type(kv).__new__(type(kv))
        vars(broken).update(vars(kv), vectors=VECTORS.copy(), norms=None)
        broken.vectors[2] = value
        with pytest.raises(KexueValueError, match="the vector of 'w2' is not finite, or its norm is 0"):
            wmdistance(broken, ["w0", "w2"], ["w1"])
        assert np.isfinite(wmdistance(broken, ["w0"], ["w1"]))

    def test_a_zero_vector_is_a_place_without_norm(self):
        kv = gensim_vectors(["zero", "one"], np.array([[0, 0], [3, 4]], dtype=np.float32))
        assert wmdistance(kv, ["zero"], ["one"], norm=False) == kv.wmdistance(["zero"], ["one"], norm=False) == 5

    def test_numbers_are_no_tokens(self):
        for distance in KV.wmdistance, lambda *pair: wmdistance(KV, *pair):
            with pytest.raises(TypeError):
                distance([0, 1], ["w2"])


CORPUS = [["w0", "w1", "unknown"], ["w3"], ["unknown"], ["w4", "w4", "w5", "w0"], [], ["long", "same"], ["w6", "w7"]]
QUERIES = [
    ["w0"],
    ["w0", "same"],
    ["w1", "w0"],
    ["w2", "tiny", "unknown"],
    ["unknown"],
    [],
    ("w3", "w0"),
    "w0",
    [["w3"]],
    [["w3"], ["w1", "w2"], []],
    [[], ["w5"]],
    [("w3",), ("w4",)],
    np.array([3]),
    np.array([0, 2, 5]),
    np.array([], dtype=int),
]


def assert_best(found, similarities, count):
    """The best ones of these similarities, in order, and of equal ones those with lower numbers."""
    assert all(type(number) is int and type(value) is float for number, value in found)
    order = [i for i in np.argsort(-similarities, kind="stable") if similarities[i] > 0][: max(count, 0)]
    same([value for _, value in found], similarities[order])
    for number, value in found:
        same(value, similarities[number])
    assert len({number for number, _ in found}) == len(found)
    assert found == sorted(found, key=lambda pair: (-pair[1], pair[0]))


class TestSimilarity:
    @BOTH
    @pytest.mark.parametrize("query", QUERIES, ids=repr)
    @pytest.mark.parametrize("num_best", [None, -1, 0, 1, 3, 100])
    def test_is_gensims(self, kv, query, num_best):
        ours = WmdSimilarity(CORPUS, kv, num_best=num_best)
        theirs = GensimSimilarity(CORPUS, KV, num_best=num_best)
        found, expected = ours[query], theirs[query]
        if num_best is None:
            assert found.shape == expected.shape
            assert found.dtype == expected.dtype
            same(found, expected)
        elif expected and isinstance(expected[0], list):
            assert [len(best) for best in found] == [len(best) for best in expected]
            for best, similarities in zip(found, theirs.get_similarities(query), strict=True):
                assert_best(best, similarities, num_best)
        else:
            assert len(found) == len(expected)
            assert_best(found, theirs.get_similarities(query), num_best)

    @given(corpora, st.lists(documents, min_size=1, max_size=3), st.integers(1, 7))
    @settings(deadline=None, max_examples=100)
    def test_any_corpus(self, corpus, queries, num_best):
        ours, theirs = WmdSimilarity(corpus, WORDS, num_best), GensimSimilarity(corpus, KV)
        expected = theirs[queries]
        same(ours.get_similarities(queries), expected)
        best = ours[queries] if len(queries) > 1 else [ours[queries]]
        for found, similarities in zip(best, np.atleast_2d(expected), strict=True):
            assert_best(found, similarities, num_best)

    @pytest.mark.parametrize("num_best", [None, 2])
    def test_larger_corpus(self, rng, num_best):
        keys = [str(i) for i in range(300)]
        kv = gensim_vectors(keys, rng.normal(size=(300, 20)).astype(np.float32))
        corpus = [rng.choice(keys, size=size).tolist() for size in rng.integers(1, 30, size=60)]
        queries = [rng.choice(keys, size=12).tolist() for _ in range(4)]
        found, expected = (kind(corpus, kv, num_best)[queries] for kind in (WmdSimilarity, GensimSimilarity))
        if num_best:
            assert [[i for i, _ in best] for best in found] == [[i for i, _ in best] for best in expected]
        same(found, expected)

    def test_what_gensim_puts_at_infinity_makes_room(self):
        corpus = [["w0", "same"], ["same", "long"], ["w1"], ["w2"], ["w3"]]
        best = WmdSimilarity(corpus, WORDS, num_best=3)[["w0", "long"]]
        assert sorted(number for number, _ in best) == [2, 3, 4]
        assert_best(best, GensimSimilarity(corpus, KV)[["w0", "long"]], 3)

    @pytest.mark.parametrize("chunksize", [256, 7, 4])
    def test_iteration(self, chunksize):
        for num_best in (None, 2):
            rows = list(WmdSimilarity(CORPUS, WORDS, num_best, chunksize))
            expected = list(GensimSimilarity(CORPUS, KV, chunksize=chunksize))
            assert len(rows) == len(expected) == len(CORPUS)
            for row, similarities in zip(rows, expected, strict=True):
                if num_best:
                    assert_best(row, similarities, num_best)
                else:
                    same(row, similarities)

    @pytest.mark.parametrize("chunksize", [3, 6, 1, 0])
    def test_iteration_where_a_chunk_has_one_document(self, chunksize):
        same(list(WmdSimilarity(CORPUS, WORDS, chunksize=chunksize)), GensimSimilarity(CORPUS, KV)[np.arange(7)])
        assert list(WmdSimilarity(CORPUS, WORDS, 1, chunksize)) == list(WmdSimilarity(CORPUS, WORDS, 1))

    def test_empty_corpus(self):
        for num_best in (None, 2):
            ours, theirs = (kind([], KV, num_best) for kind in (WmdSimilarity, GensimSimilarity))
            for query in ["w0"], [["w0"], ["w1"]]:
                np.testing.assert_array_equal(ours[query], theirs[query])
            assert list(ours) == list(theirs) == []

    def test_length_and_text(self):
        ours, theirs = (kind(CORPUS, KV) for kind in (WmdSimilarity, GensimSimilarity))
        assert len(ours) == len(theirs)
        assert str(ours) == str(theirs)
        assert (ours.corpus, ours.wv, ours.num_best, ours.chunksize) == (CORPUS, KV, None, 256)

    def test_num_best_can_change(self):
        index = WmdSimilarity(CORPUS, WORDS)
        full = index[["w0", "w2"]]
        for num_best in (1, 3):
            index.num_best = num_best
            assert_best(index[["w0", "w2"]], full, num_best)
        np.testing.assert_array_equal(index.get_similarities(["w0", "w2"]), full)

    def test_the_same_for_any_number_of_threads(self):
        results = []
        for workers in (1, 2, 3):
            with kexue.threads(workers):
                results.append(WmdSimilarity(CORPUS, WORDS)[[["w2"], ["w4", "w1"]]])
        assert (results[0] == results[1]).all()
        assert (results[0] == results[2]).all()

    def test_a_query_that_fails_changes_nothing(self):
        vectors = VECTORS.copy()
        vectors[2] = 0
        index = WmdSimilarity(CORPUS, WordVectors(KEYS, vectors), num_best=2)
        expected = index[["w0", "w1"]]
        for _ in range(2):
            with pytest.raises(KexueValueError, match="'w2'"):
                index[["close", "w2"]]
        assert index[["w0", "w1"]] == expected
        assert index[["close"]] == WmdSimilarity(CORPUS, WORDS, num_best=2)[["close"]]

    def test_bad_vectors_of_the_corpus(self):
        with pytest.raises(KexueValueError, match="the vector of 'zero' is not finite, or its norm is 0"):
            WmdSimilarity([["one"], ["zero"]], WordVectors(["zero", "one"], [[0.0], [1.0]]))

    def test_iterators_are_refused(self):
        for kind in WmdSimilarity, GensimSimilarity:
            with pytest.raises(TypeError):
                kind(CORPUS, KV)[iter([["w0"], ["w1"]])]

    @BOTH
    def test_save_and_load(self, kv, tmp_path):
        index = WmdSimilarity(CORPUS, kv, num_best=2)
        fresh = pickle.dumps(WmdSimilarity(CORPUS, kv, num_best=2))
        expected = index[["w3", "w0"]]
        assert len(pickle.dumps(index)) == len(fresh)  # without what the search keeps
        index.save(tmp_path / "index")
        assert WmdSimilarity.load(tmp_path / "index")[["w3", "w0"]] == expected
        assert pickle.loads(fresh)[["w3", "w0"]] == expected

    def test_files_that_are_something_else(self, tmp_path):
        path = tmp_path / "file"
        GensimSimilarity(CORPUS, KV).save(str(path))
        with pytest.raises(KexueValueError, match="holds a WmdSimilarity, not a WmdSimilarity of kexue"):
            WmdSimilarity.load(path)
        for content in (b"", b"not a pickle", pickle.dumps(WmdSimilarity(CORPUS, WORDS))[:-9]):
            path.write_bytes(content)
            with pytest.raises(KexueValueError, match="file cannot be read as a pickle"):
                WmdSimilarity.load(path)
        with pytest.raises(FileNotFoundError):
            WmdSimilarity.load(tmp_path / "none")


def test_gensim_is_not_imported():
    code = "import sys, kexue.compat; kexue.compat.gensim.wmdistance; print('gensim' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_unknown_module():
    with pytest.raises(AttributeError, match="'kexue.compat' has no attribute 'nothing'"):
        kexue.compat.nothing  # noqa: B018
    assert "gensim" in dir(kexue.compat)
