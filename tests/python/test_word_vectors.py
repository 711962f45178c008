"""WordVectors: learning, every file format, damaged files, counts."""

from __future__ import annotations

import builtins
import gzip
import itertools
import os
import struct
import sys
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from kexue import KexueValueError, WordVectors
from kexue._word_vectors import _cooccurrences, _positive_pmi, _truncated_svd, tokenize

KEYS = ["the", "naïve", "科学", "x-1", "7"]
VECTORS = np.array(
    [[1, -2.5, 3e-5], [0.25, 0, -1e10], [1 / 3, 2 / 3, 1], [0.1, 0.2, 0.3], [5, 6, 7]], dtype=np.float32
)


def text_lines(keys=KEYS, vectors=VECTORS, end=""):
    return [
        f"{key} {' '.join(str(number) for number in row)}{end}\n"
        for key, row in zip(keys, vectors, strict=True)
    ]


def glove(**options):
    return "".join(text_lines(**options)).encode()


def word2vec(**options):
    return b"5 3\n" + glove(**options)


def binary(newline=b"\n", keys=KEYS, vectors=VECTORS):
    records = [
        key.encode() + b" " + row.astype("<f4").tobytes() + newline
        for key, row in zip(keys, vectors, strict=True)
    ]
    return b"%d %d\n" % vectors.shape + b"".join(records)


def write(folder, content, name="vectors"):
    path = folder / name
    path.write_bytes(content)
    return path


def assert_same(words, keys=KEYS, vectors=VECTORS):
    assert words.index_to_key == list(keys)
    assert words.key_to_index == {key: index for index, key in enumerate(keys)}
    assert words.vectors.dtype == np.float32
    assert words.vectors.flags.c_contiguous
    np.testing.assert_array_equal(words.vectors, vectors)


class TestTokenize:
    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("", []),
            ("  ,.!  ", []),
            ("Hello, World!", ["hello", "world"]),
            ("snake_case __init__", ["snake", "case", "init"]),
            ("utf8 3.14", ["utf8", "3", "14"]),
            ("ÉTÉ Straße", ["été", "straße"]),
            ("科学空间 is a site", ["科", "学", "空", "间", "is", "a", "site"]),
            ("用Python写", ["用", "python", "写"]),
            ("CamelCase", ["camelcase"]),
        ],
    )
    def test_words(self, text, tokens):
        assert tokenize(text) == tokens

    @pytest.mark.parametrize(
        ("text", "tokens"),
        [
            ("CamelCase", ["camel", "case"]),
            ("HTTPServer", ["http", "server"]),
            ("readCSVFile2Json", ["read", "csv", "file2", "json"]),
            ("plain words", ["plain", "words"]),
        ],
    )
    def test_identifiers(self, text, tokens):
        assert tokenize(text, split_identifiers=True) == tokens

    @given(st.text())
    def test_tokens_are_stable(self, text):
        tokens = tokenize(text)
        assert all(tokens)
        # Lower-casing can bring combining marks, at which a second pass splits again ("İ").
        if text.isascii():
            assert tokenize(" ".join(tokens)) == tokens


class TestConstructor:
    def test_attributes(self):
        words = WordVectors(KEYS, VECTORS)
        assert_same(words)
        assert len(words) == 5
        assert "科学" in words
        assert "absent" not in words
        assert repr(words) == "WordVectors(5 words, 3 dimensions)"

    def test_float32_is_not_copied(self):
        assert np.shares_memory(WordVectors(KEYS, VECTORS).vectors, VECTORS)

    @pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int64, ">f4"])
    def test_other_types_become_float32(self, dtype):
        given_vectors = np.arange(6).reshape(2, 3).astype(dtype)
        assert_same(WordVectors(["a", "b"], given_vectors), ["a", "b"], np.arange(6).reshape(2, 3))

    def test_strided_and_read_only_input(self):
        wide = np.arange(24, dtype=np.float32).reshape(4, 6)
        wide.flags.writeable = False
        assert_same(WordVectors(list("abcd"), wide[:, ::2]), "abcd", wide[:, ::2])

    def test_get_one_and_several(self):
        words = WordVectors(KEYS, VECTORS)
        np.testing.assert_array_equal(words["7"], VECTORS[4])
        np.testing.assert_array_equal(words[["7", "the", "7"]], VECTORS[[4, 0, 4]])
        assert words[[]].shape == (0, 3)

    @pytest.mark.parametrize("key", ["absent", ["the", "absent"]])
    def test_unknown_word_is_named(self, key):
        with pytest.raises(KeyError, match="'absent'"):
            WordVectors(KEYS, VECTORS)[key]

    @pytest.mark.parametrize(
        ("keys", "vectors", "message"),
        [
            (["a"], [1.0], "2-D"),
            (["a"], [[[1.0]]], "2-D"),
            (["a", "b"], [[1.0]], "2 words, but vectors has 1 rows"),
            ([], np.empty((0, 3)), "empty"),
            (["a"], np.empty((1, 0)), "empty"),
            (["a"], [["x"]], "real numbers"),
            (["a"], [[1j]], "real numbers"),
            (["a", "b"], [[1.0, 2.0], [3.0, np.nan]], r"vectors\[1, 1\] is nan"),
            (["a", "b"], [[1.0, np.inf], [3.0, np.nan]], r"vectors\[0, 1\] is inf"),
            (["a"], [[1e39]], r"vectors\[0, 0\] is inf"),
            (["a", "b", "c", "b", "a"], np.ones((5, 1)), r"keys\[3\] repeats the word 'b'"),
        ],
    )
    def test_bad_input(self, keys, vectors, message):
        with pytest.raises(KexueValueError, match=message):
            WordVectors(keys, vectors)

    @pytest.mark.parametrize("keys", ["ab", ["a", 2], ["a", None], [b"a", "b"]])
    def test_keys_must_be_strings(self, keys):
        with pytest.raises(TypeError, match="keys"):
            WordVectors(keys, np.ones((2, 2)))


ANIMALS = ["cat", "dog", "horse", "cow", "sheep"]
MACHINES = ["car", "truck", "train", "plane", "ship"]


def two_topics(n=400, seed=0):
    """Sentences about animals and about machines, which share only their function words."""
    generator = np.random.default_rng(seed)
    verbs = {0: ["eats", "sleeps", "drinks", "runs"], 1: ["burns", "rolls", "carries", "stops"]}
    objects = {0: ["grass", "milk", "water", "hay"], 1: ["fuel", "cargo", "passengers", "oil"]}
    texts = []
    for _ in range(n):
        topic = int(generator.integers(2))
        noun = generator.choice((ANIMALS, MACHINES)[topic])
        texts.append(f"the {noun} {generator.choice(verbs[topic])} the {generator.choice(objects[topic])}")
    return texts


class TestFit:
    def test_topics_come_apart(self):
        words = WordVectors.fit(two_topics(), dimension=8, rng=0)
        within = [
            words[a] @ words[b] for group in (ANIMALS, MACHINES) for a, b in itertools.combinations(group, 2)
        ]
        across = [words[a] @ words[b] for a in ANIMALS for b in MACHINES]
        assert min(within) > max(across)
        assert np.mean(within) > np.mean(across) + 0.5

    def test_vectors_have_length_one(self):
        words = WordVectors.fit(two_topics(), dimension=5, rng=0)
        np.testing.assert_allclose(np.linalg.norm(words.vectors, axis=1), 1, atol=1e-6)
        raw = WordVectors.fit(two_topics(), dimension=5, rng=0, normalize=False)
        lengths = np.linalg.norm(raw.vectors, axis=1, keepdims=True)
        assert np.ptp(lengths) > 0.1
        np.testing.assert_allclose(raw.vectors / lengths, words.vectors, atol=1e-6)

    def test_most_frequent_first_and_ties_sorted(self):
        words = WordVectors.fit(["b a", "b c", "b a", "d e", "e d", "e d"], rng=0)
        assert words.index_to_key == ["b", "d", "e", "a", "c"]

    @pytest.mark.parametrize("size", [60, 900])  # dense and randomized SVD
    def test_same_seed_same_vectors(self, size):
        generator = np.random.default_rng(5)
        texts = [[f"w{i}" for i in generator.integers(0, size, 30)] for _ in range(300)]
        first = WordVectors.fit(texts, dimension=20, rng=3)
        again = WordVectors.fit(texts, dimension=20, rng=3)
        same_generator = WordVectors.fit(texts, dimension=20, rng=np.random.default_rng(3))
        np.testing.assert_array_equal(first.vectors, again.vectors)
        np.testing.assert_array_equal(first.vectors, same_generator.vectors)
        assert first.vectors.shape == (len(first), 20)

    def test_global_random_state_is_untouched(self):
        np.random.seed(1)  # noqa: NPY002
        expected = np.random.random()  # noqa: NPY002
        np.random.seed(1)  # noqa: NPY002
        WordVectors.fit(two_topics(50), rng=0)
        assert np.random.random() == expected  # noqa: NPY002

    def test_signs_do_not_depend_on_the_seed(self):
        generator = np.random.default_rng(0)
        # Well separated singular values, so that the vectors themselves are the same for any start.
        left, right = (np.linalg.qr(generator.standard_normal((700, 6)))[0] for _ in range(2))
        matrix = scipy_csr(left * 2.0 ** -np.arange(6) @ right.T)
        first, second = (_truncated_svd(matrix, 6, np.random.default_rng(seed))[0] for seed in (1, 2))
        np.testing.assert_allclose(first, second, atol=1e-4)
        np.testing.assert_allclose(np.abs(first.T @ left), np.eye(6), atol=1e-4)

    def test_text_and_tokens_are_the_same(self):
        texts = two_topics(60)
        strings = WordVectors.fit(texts, dimension=6, rng=0)
        tokens = WordVectors.fit((tuple(text.split()) for text in texts), dimension=6, rng=0)
        assert strings.index_to_key == tokens.index_to_key
        np.testing.assert_array_equal(strings.vectors, tokens.vectors)

    def test_min_count_takes_words_out_before_counting(self):
        rare = WordVectors.fit(["a rare b", "a b", "c d", "c d"], window=1, min_count=2, rng=0)
        without = WordVectors.fit(["a b", "a b", "c d", "c d"], window=1, rng=0)
        assert rare.index_to_key == without.index_to_key == ["a", "b", "c", "d"]
        np.testing.assert_array_equal(rare.vectors, without.vectors)

    def test_dimension_above_the_rank(self):
        words = WordVectors.fit(["a b", "c d", "e f"], dimension=50, rng=0)
        assert words.vectors.shape[0] == 6
        assert 3 <= words.vectors.shape[1] <= 6

    def test_word_without_company_is_left_out(self):
        words = WordVectors.fit(["a b", "a b", "c d", "lonely", ""], rng=0)
        assert "lonely" not in words
        assert words.index_to_key == ["a", "b", "c", "d"]

    def test_window_does_not_cross_texts(self):
        words = WordVectors.fit([["a", "b"], ["c", "d"]], window=5, rng=0)
        np.testing.assert_allclose(words["a"] @ words["c"], 0, atol=1e-6)

    @pytest.mark.parametrize(
        ("texts", "message"),
        [
            ([], "no word"),
            (["", "  ", "..."], "no word"),
            (["one"], "no two words occur together"),
            (["same same same"], "no two words occur together"),
            (["one", "two", "three"], "no two words occur together"),
        ],
    )
    def test_nothing_to_learn(self, texts, message):
        with pytest.raises(KexueValueError, match=message):
            WordVectors.fit(texts)

    def test_min_count_above_all(self):
        with pytest.raises(KexueValueError, match="min_count=3.*2 times"):
            WordVectors.fit(["a b", "a c"], min_count=3)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"dimension": 0}, "dimension"),
            ({"dimension": 2.5}, "dimension"),
            ({"dimension": True}, "dimension"),
            ({"window": 0}, "window"),
            ({"min_count": 0}, "min_count"),
            ({"context_smoothing": -0.1}, "context_smoothing"),
            ({"context_smoothing": np.nan}, "context_smoothing"),
            ({"eigenvalue_exponent": np.inf}, "eigenvalue_exponent"),
        ],
    )
    def test_bad_parameters(self, options, message):
        with pytest.raises(KexueValueError, match=message):
            WordVectors.fit(["a b"], **options)

    @pytest.mark.parametrize("texts", ["one string", [3], [None], [["a", 1]], [b"bytes"]])
    def test_bad_texts(self, texts):
        with pytest.raises(TypeError, match="texts"):
            WordVectors.fit(texts)


def scipy_csr(array):
    from scipy import sparse

    return sparse.csr_array(array)


class TestCounting:
    def reference(self, texts, vocabulary, window):
        counts = np.zeros((vocabulary, vocabulary))
        for text in texts:
            for i, word in enumerate(text):
                for j in range(max(0, i - window), min(len(text), i + window + 1)):
                    if i != j:
                        counts[word, text[j]] += window + 1 - abs(i - j)
        return counts

    @given(
        texts=st.lists(st.lists(st.integers(0, 6), max_size=12), max_size=8),
        window=st.integers(1, 15),
        block=st.integers(1, 20),
    )
    def test_cooccurrences_against_loops(self, texts, window, block):
        from kexue import _word_vectors

        ids = np.array([word for text in texts for word in text], dtype=np.int32)
        lengths = np.array([len(text) for text in texts], dtype=np.int64)
        whole = _word_vectors._TOKENS_PER_BLOCK
        _word_vectors._TOKENS_PER_BLOCK = block
        try:
            counts = _cooccurrences(ids, lengths, 7, window)
        finally:
            _word_vectors._TOKENS_PER_BLOCK = whole
        np.testing.assert_array_equal(counts.toarray(), self.reference(texts, 7, window))

    @pytest.mark.parametrize("smoothing", [1.0, 0.75, 0.0])
    def test_positive_pmi_against_the_definition(self, smoothing):
        counts = np.random.default_rng(0).integers(0, 4, (9, 9)).astype(float)
        counts += counts.T
        counts[4] = counts[:, 4] = 0
        word = counts.sum(axis=1) / counts.sum()
        context = np.where(counts.sum(axis=0) > 0, counts.sum(axis=0) ** smoothing, 0)
        context /= context.sum()
        with np.errstate(divide="ignore", invalid="ignore"):
            pmi = np.log(counts / counts.sum() / np.outer(word, context))
        expected = np.where(counts > 0, np.maximum(pmi, 0), 0)
        np.testing.assert_allclose(
            _positive_pmi(scipy_csr(counts), smoothing).toarray(), expected, atol=1e-12
        )


class TestTruncatedSvd:
    def decaying(self, size, seed=0):
        generator = np.random.default_rng(seed)
        left, right = (np.linalg.qr(generator.standard_normal((size, size)))[0] for _ in range(2))
        singular = 1 / np.arange(1, size + 1)
        return left * singular @ right.T, singular

    def test_randomized_against_dense(self):
        matrix, singular = self.decaying(800)
        left, found = _truncated_svd(scipy_csr(matrix), 12, np.random.default_rng(0))
        assert left.shape == (800, 12)
        np.testing.assert_allclose(found, singular[:12], rtol=2e-3)
        np.testing.assert_allclose(left.T @ left, np.eye(12), atol=1e-5)

    def test_low_rank_large_matrix(self):
        generator = np.random.default_rng(0)
        matrix = generator.standard_normal((700, 4)) @ generator.standard_normal((4, 700))
        left, singular = _truncated_svd(scipy_csr(matrix), 30, np.random.default_rng(0))
        assert left.shape == (700, 4)
        np.testing.assert_allclose(singular, np.linalg.svd(matrix, compute_uv=False)[:4], rtol=1e-4)
        np.testing.assert_allclose(left @ (left.T @ matrix), matrix, atol=1e-3 * np.abs(matrix).max())

    def test_multiple_singular_values(self):
        # 40 pairs of words that only occur with each other, which a block of 16 columns cannot tell apart.
        matrix = np.zeros((700, 700))
        for first in range(0, 80, 2):
            matrix[first, first + 1] = matrix[first + 1, first] = 1
        matrix[80:, 80:] = 0.01 * np.random.default_rng(0).random((620, 620)) / 620
        left, singular = _truncated_svd(scipy_csr(matrix), 90, np.random.default_rng(0))
        np.testing.assert_allclose(singular[:80], 1, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(left[:80, :80], axis=1), 1, atol=1e-4)

    def test_rank_one_large_matrix(self):
        matrix = np.outer(np.arange(1.0, 601), np.ones(600))
        left, singular = _truncated_svd(scipy_csr(matrix), 10, np.random.default_rng(0))
        assert left.shape == (600, 1)
        np.testing.assert_allclose(singular, np.linalg.norm(matrix), rtol=1e-5)
        assert (left > 0).all()


FORMATS = {
    "glove": (glove(), "glove"),
    "glove, CRLF": (glove().replace(b"\n", b"\r\n"), "glove"),
    "glove, no last newline": (glove().rstrip(b"\n"), "glove"),
    "glove, tabs": (glove().replace(b" ", b"\t"), "glove"),
    "word2vec text": (word2vec(), "word2vec"),
    "word2vec text, blank lines at the end": (word2vec() + b"\n\n", "word2vec"),
    "fastText .vec": (word2vec(end=" "), "fasttext"),
    "word2vec binary": (binary(), "word2vec-binary"),
    "word2vec binary of gensim": (binary(newline=b""), "word2vec-binary"),
}


class TestLoad:
    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize("compressed", [False, True])
    @pytest.mark.parametrize("told", [False, True])
    def test_formats(self, tmp_path, kind, compressed, told):
        content, format = FORMATS[kind]
        path = write(tmp_path, gzip.compress(content) if compressed else content)
        assert_same(WordVectors.load(path, format=format if told else None))
        assert_same(WordVectors.load(str(path)))

    @pytest.mark.parametrize("kind", FORMATS)
    @pytest.mark.parametrize("limit", [1, 3, 5, 99])
    def test_limit(self, tmp_path, kind, limit):
        path = write(tmp_path, FORMATS[kind][0])
        assert_same(WordVectors.load(path, limit=limit), KEYS[:limit], VECTORS[:limit])

    def test_limit_does_not_read_the_rest(self, tmp_path):
        assert_same(WordVectors.load(write(tmp_path, word2vec() + b"broken"), limit=5))
        assert_same(WordVectors.load(write(tmp_path, binary() + b"broken"), limit=5))

    def test_words_with_blanks(self, tmp_path):
        keys = [". . .", "at name@domain.com", "a", "3 : 0 pm"]
        vectors = np.arange(12, dtype=np.float32).reshape(4, 3)
        for order in (slice(None), slice(None, None, -1)):
            path = write(tmp_path, glove(keys=keys[order], vectors=vectors[order]))
            assert_same(WordVectors.load(path), keys[order], vectors[order])

    def test_white_space_and_unusual_words(self, tmp_path):
        keys = ["\u00a0", "\u3000", "\u2028", "\x85", "-", "1e5", "nan", "inf"]
        vectors = np.arange(24, dtype=np.float32).reshape(8, 3)
        for content in (glove(keys=keys, vectors=vectors), b"8 3\n" + glove(keys=keys, vectors=vectors)):
            assert_same(WordVectors.load(write(tmp_path, content)), keys, vectors)
        assert_same(WordVectors.load(write(tmp_path, binary(keys=keys, vectors=vectors))), keys, vectors)

    def test_one_dimension(self, tmp_path):
        vectors = np.array([[0.5], [1.5]], dtype=np.float32)
        assert_same(WordVectors.load(write(tmp_path, b"2 1\na 0.5\nb 1.5\n")), "ab", vectors)
        assert_same(WordVectors.load(write(tmp_path, b"a 0.5\nb 1.5\n")), "ab", vectors)
        path = write(tmp_path, b"2 1\na " + struct.pack("<f", 0.5) + b"b " + struct.pack("<f", 1.5))
        assert_same(WordVectors.load(path), "ab", vectors)

    def test_header_that_is_a_vector(self, tmp_path):
        path = write(tmp_path, b"7 5\n8 6\n")
        assert_same(WordVectors.load(path, format="glove"), ["7", "8"], [[5], [6]])

    def test_binary_vectors_with_any_bytes(self, tmp_path):
        raw = np.frombuffer(b" \n \n\n\n \nab \n", dtype="<f4").reshape(1, 3)
        keys = ["x"]
        for newline in (b"", b"\n"):
            path = write(tmp_path, binary(newline, keys, raw))
            assert_same(WordVectors.load(path, format="word2vec-binary"), keys, raw)

    def test_many_lines_cross_blocks(self, tmp_path, monkeypatch):
        from kexue import _word_vector_files

        monkeypatch.setattr(_word_vector_files, "_BLOCK_BYTES", 1000)
        monkeypatch.setattr(_word_vector_files, "_LINES_WITH_LIMIT", 7)
        vectors = np.random.default_rng(0).standard_normal((500, 10)).astype(np.float32)
        keys = [f"w{i}" for i in range(500)]
        content = b"500 10\n" + glove(keys=keys, vectors=vectors)
        assert_same(WordVectors.load(write(tmp_path, content)), keys, vectors)
        assert_same(WordVectors.load(write(tmp_path, content), limit=50), keys[:50], vectors[:50])
        bad = content.replace(b"\nw321 ", b"\nw321 x")
        with pytest.raises(ValueError, match="line 323: number 1 is 'x"):
            WordVectors.load(write(tmp_path, bad))
        with pytest.raises(ValueError, match="vector 1: number 1 is nan|record 400: number 2 is nan"):
            broken = vectors.copy()
            broken[399, 1] = np.nan
            WordVectors.load(write(tmp_path, binary(keys=keys, vectors=broken)))

    @pytest.mark.parametrize("content", [glove(), word2vec(), binary()], ids=["glove", "word2vec", "binary"])
    def test_duplicates_first_wins(self, tmp_path, content):
        content = content.replace("科学".encode(), b"the")
        with pytest.warns(UserWarning, match="1 words occur more than once .*'the'"):
            words = WordVectors.load(write(tmp_path, content))
        kept = [0, 1, 3, 4]
        assert_same(words, [KEYS[i] for i in kept], VECTORS[kept])

    @pytest.mark.parametrize("content", [word2vec(), binary()], ids=["text", "binary"])
    def test_not_utf8(self, tmp_path, content):
        path = write(tmp_path, content.replace("ï".encode(), b"\xff"))
        with pytest.raises(ValueError, match=r"vectors: (line 3|record 2): .*not UTF-8"):
            WordVectors.load(path)
        assert WordVectors.load(path, errors="replace").index_to_key[1] == "na\ufffdve"
        assert WordVectors.load(path, errors="ignore").index_to_key[1] == "nave"

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "empty"),
            (b"\n", "neither a header"),
            (b"hello\nworld\n", "neither a header"),
            (b"5 3\n", "truncated: line 1 says 5 vectors, the file ends after 0"),
            (
                word2vec().rsplit(b"\n", 2)[0],
                "truncated: line 1 says 5 vectors, the file ends after 4, at line 5",
            ),
            (b"4" + word2vec()[1:], "line 1 says 4 vectors, the file has 5"),
            (b"5 0\na\n", "dimension"),
            (b"99999999999999999 99999999999999999\na 1 2\n", "line 2: expected 99999999999999999 numbers"),
            (b"99999999999999999 2\na 1 2\n", "ends after 1"),
            (glove().replace(b"0.2 ", b""), "line 4: expected 3 numbers after the word, found 2"),
            (glove().replace(b"0.2 ", b"0.2 0.25 "), "line 4: expected 3 numbers after the word, found 4"),
            (glove().replace(b"0.2 ", b"0,2 "), "line 4: .*"),
            (word2vec().replace(b"0.2 ", b"0x2 "), "line 5: number 2 is '0x2'"),
            (word2vec().replace(b"0.2 ", b"1_0 "), "line 5: number 2 is '1_0'"),
            (glove().replace(b"0.2 ", b"nan "), "line 4: number 2 is nan"),
            (glove().replace(b"0.2 ", b"-inf "), "line 4: number 2 is -inf"),
            (glove().replace(b"0.2 ", b"1e39 "), "line 4: number 2 is inf"),
            (glove()[:-5], "line 5: expected 3 numbers after the word, found 2"),
            (b"\xba\x16\x4f\x2f rest of a fastText model", r"fastText model \(.bin\)"),
            (binary() + b"more", "goes on after"),
            (binary(vectors=np.where(VECTORS == 7, np.nan, VECTORS)), "record 5: number 3 is nan"),
            (b"99999999999999999 99999999999999999\n\x00\xff\x00 ", "truncated: .* record 1"),
            (b"9999999999999999 1\n\x01 \x00\x00\x00\x00", "truncated: .* record 2"),
        ],
    )
    @pytest.mark.parametrize("compressed", [False, True])
    def test_damaged(self, tmp_path, content, message, compressed):
        if compressed and b"fastText" in content:  # which are never compressed
            message = "neither a header"
        path = write(tmp_path, gzip.compress(content) if compressed and content else content)
        with pytest.raises(ValueError, match=message) as caught:
            WordVectors.load(path)
        assert str(path) in str(caught.value)

    @pytest.mark.parametrize("newline", [b"", b"\n"])
    def test_binary_truncated_anywhere(self, tmp_path, newline):
        content = binary(newline)
        begin = content.index(b"\n") + 1
        complete = len(content) - len(newline)
        for length in range(begin, complete):
            path = write(tmp_path, content[:length])
            with pytest.raises(
                ValueError, match="truncated: the header says 5 vectors, the file ends in record [1-5]"
            ):
                WordVectors.load(path, format="word2vec-binary")

    def test_text_truncated_anywhere(self, tmp_path):
        content = word2vec()
        for length in range(4, len(content) - 3):
            try:
                words = WordVectors.load(write(tmp_path, content[:length]))
            except ValueError as error:
                assert str(tmp_path) in str(error)
            else:  # only the last digits of the last number are gone, which nobody can tell
                assert len(words) == 5

    def test_gzip_truncated_anywhere(self, tmp_path):
        content = gzip.compress(word2vec())
        for length in range(3, len(content)):
            with pytest.raises(ValueError, match="vectors: "):
                WordVectors.load(write(tmp_path, content[:length]))

    @pytest.mark.parametrize("format", ["word2vec", "word2vec-binary", "fasttext"])
    def test_header_is_asked_for(self, tmp_path, format):
        with pytest.raises(ValueError, match=f"line 1 is not the number of vectors .* {format}"):
            WordVectors.load(write(tmp_path, glove()), format=format)

    def test_missing_file_and_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            WordVectors.load(tmp_path / "absent")
        with pytest.raises(OSError):
            WordVectors.load(tmp_path)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"format": "word3vec"}, "format"),
            ({"limit": 0}, "limit"),
            ({"limit": 1.5}, "limit"),
            ({"errors": "x"}, "errors"),
        ],
    )
    def test_bad_options(self, tmp_path, options, message):
        with pytest.raises(KexueValueError, match=message):
            WordVectors.load(write(tmp_path, glove()), **options)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
    @given(
        content=st.binary(max_size=200),
        start=st.sampled_from([b"", b"3 2\n", b"a 1 2\n", b"PK\x03\x04", b"\x1f\x8b\x08"]),
    )
    def test_any_bytes_give_words_or_value_error(self, tmp_path, content, start):
        path = write(tmp_path, start + content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            try:
                words = WordVectors.load(path, format=None if start else "glove")
            except ValueError as error:
                assert str(path) in str(error)
            else:
                assert len(words) == len(words.vectors) == len(words.key_to_index)
                assert np.isfinite(words.vectors).all()


class TestSave:
    @pytest.mark.parametrize("mmap", [True, False])
    def test_round_trip(self, tmp_path, mmap):
        path = tmp_path / "saved"  # the name is taken as it is
        WordVectors(KEYS, VECTORS).save(path)
        assert os.listdir(tmp_path) == ["saved"]
        words = WordVectors.load(path, mmap=mmap)
        assert_same(words)
        assert isinstance(words.vectors, np.memmap) == mmap
        assert words.vectors.flags.aligned
        if mmap:
            assert not words.vectors.flags.writeable
            assert words.vectors.offset % 64 == 0
        assert_same(WordVectors.load(path, limit=2, mmap=mmap), KEYS[:2], VECTORS[:2])

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
    @given(data=st.data())
    def test_round_trip_of_anything(self, tmp_path, data):
        keys = data.draw(st.lists(st.text(max_size=8), min_size=1, max_size=12, unique=True))
        shape = (len(keys), data.draw(st.integers(1, 6)))
        vectors = data.draw(
            hnp.arrays(np.float32, shape, elements=st.floats(width=32, allow_nan=False, allow_infinity=False))
        )
        path = tmp_path / "words.npz"
        WordVectors(keys, vectors).save(path)
        for mmap in (True, False):
            assert_same(WordVectors.load(path, mmap=mmap), keys, vectors)
        # A mapped file may be replaced while it is mapped, here by itself
        mapped = WordVectors.load(path)
        if sys.platform != "win32":
            mapped.save(path)
            assert_same(WordVectors.load(path), keys, vectors)

    def test_readable_without_kexue(self, tmp_path):
        path = tmp_path / "words.npz"
        WordVectors(KEYS, VECTORS).save(path)
        with np.load(path, allow_pickle=False) as file:
            np.testing.assert_array_equal(file["vectors"], VECTORS)
            assert file["keys"].tobytes().decode() == "".join(KEYS)
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
    def test_files_of_numpy(self, tmp_path, save, dtype):
        path = tmp_path / "words.npz"
        vectors = np.arange(10, dtype=dtype).reshape(5, 2)
        save(path, keys=np.array(KEYS), vectors=vectors)
        assert_same(WordVectors.load(path), KEYS, vectors)
        save(path, keys=np.array(KEYS), vectors=np.asfortranarray(vectors))
        assert_same(WordVectors.load(path), KEYS, vectors)

    def test_equal_vectors_equal_files(self, tmp_path):
        for name in ("a", "b"):
            WordVectors(KEYS, VECTORS).save(tmp_path / name)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def test_failure_leaves_the_old_file(self, tmp_path, monkeypatch):
        path = tmp_path / "words.npz"
        WordVectors(KEYS, VECTORS).save(path)

        def fail(*args, **options):
            raise OSError("disk full")

        monkeypatch.setattr(np.lib.format, "write_array", fail)
        with pytest.raises(OSError, match="disk full"):
            WordVectors(["other"], [[1.0]]).save(path)
        monkeypatch.undo()
        assert os.listdir(tmp_path) == ["words.npz"]
        assert_same(WordVectors.load(path))

    def test_missing_folder(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            WordVectors(KEYS, VECTORS).save(tmp_path / "absent" / "words.npz")

    def test_truncated_anywhere(self, tmp_path):
        path = tmp_path / "words.npz"
        WordVectors(KEYS, VECTORS).save(path)
        content = path.read_bytes()
        for length in range(4, len(content)):
            path.write_bytes(content[:length])
            for mmap in (True, False):
                with pytest.raises(ValueError, match="words.npz"):
                    WordVectors.load(path, mmap=mmap)

    def test_one_changed_byte_never_gives_other_words(self, tmp_path):
        path = tmp_path / "words.npz"
        WordVectors(KEYS, VECTORS).save(path)
        content = path.read_bytes()
        for position in range(4, len(content)):
            path.write_bytes(content[:position] + bytes([content[position] ^ 0x55]) + content[position + 1 :])
            try:
                words = WordVectors.load(path, mmap=False)
            except ValueError as error:
                assert "words.npz" in str(error)
            else:
                assert_same(words)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.ones(3)}, "no arrays 'keys' and 'vectors'"),
            ({"vectors": np.ones((2, 2))}, "no arrays 'keys'"),
            ({"vectors": np.ones(2), "keys": np.array(["a", "b"])}, "not a 2-D array"),
            ({"vectors": np.ones((2, 2), dtype=complex), "keys": np.array(["a", "b"])}, "not a 2-D array"),
            ({"vectors": np.ones((2, 2)), "keys": np.array(["a"])}, "1 words, but 2 vectors"),
            ({"vectors": np.ones((2, 2)), "keys": np.arange(2)}, "'keys' is int64"),
            ({"vectors": np.ones((2, 2)), "keys": np.array(["a", {}], dtype=object)}, "Python objects"),
            (
                {"vectors": np.array([[1.0], [np.nan]]), "keys": np.array(["a", "b"])},
                "vector 2: number 1 is nan",
            ),
            (
                {
                    "vectors": np.ones((1, 2)),
                    "keys": np.array([255], dtype=np.uint8),
                    "offsets": np.array([0, 1]),
                },
                "words cannot be read",
            ),
            (
                {
                    "vectors": np.ones((1, 2)),
                    "keys": np.array([65], dtype=np.uint8),
                    "offsets": np.array([0, 2]),
                },
                "do not fit",
            ),
        ],
    )
    def test_other_npz_files(self, tmp_path, arrays, message):
        path = tmp_path / "words.npz"
        np.savez(path, allow_pickle=True, **arrays)
        with pytest.raises(ValueError, match=message) as caught:
            WordVectors.load(path)
        assert str(path) in str(caught.value)


class TestGensim:
    @pytest.fixture
    def keyed_vectors(self):
        models = pytest.importorskip("gensim.models")
        model = models.KeyedVectors(3)
        model.add_vectors(KEYS, VECTORS)
        return model

    def test_word2vec_files(self, tmp_path, keyed_vectors):
        for binary_format in (False, True):
            path = str(tmp_path / "vectors")
            keyed_vectors.save_word2vec_format(path, binary=binary_format, sort_attr="none")
            words = WordVectors.load(path)
            assert words.index_to_key == keyed_vectors.index_to_key
            np.testing.assert_array_equal(words.vectors, keyed_vectors[words.index_to_key])

    @pytest.mark.parametrize("mmap", [True, False])
    def test_keyed_vectors(self, tmp_path, keyed_vectors, mmap):
        path = tmp_path / "vectors.kv"
        keyed_vectors.save(str(path))
        assert_same(WordVectors.load(path, format="gensim", mmap=mmap))
        assert_same(WordVectors.load(path, format="gensim", limit=2, mmap=mmap), KEYS[:2], VECTORS[:2])

    def test_large_files_are_mapped(self, tmp_path, keyed_vectors):
        path = tmp_path / "vectors.kv"
        keyed_vectors.save(str(path), separately=["vectors"])
        words = WordVectors.load(path, format="gensim")
        assert isinstance(words.vectors, np.memmap)
        assert_same(words)

    def test_whole_model(self, tmp_path):
        models = pytest.importorskip("gensim.models")
        model = models.Word2Vec([["a", "b", "c"]] * 5, vector_size=4, min_count=1, workers=1, seed=1)
        path = tmp_path / "model"
        model.save(str(path))
        assert_same(WordVectors.load(path, format="gensim"), model.wv.index_to_key, model.wv.vectors)

    def test_other_pickle(self, tmp_path):
        import pickle

        pytest.importorskip("gensim.models")
        for content in (pickle.dumps({"a": 1}), pickle.dumps({"a": 1})[:-3]):
            with pytest.raises(ValueError, match="vectors: "):
                WordVectors.load(write(tmp_path, content), format="gensim")

    def test_without_gensim(self, tmp_path, monkeypatch):
        real_import = builtins.__import__

        def no_gensim(name, *rest):
            if name.startswith("gensim"):
                raise ImportError("no gensim")
            return real_import(name, *rest)

        monkeypatch.setattr(builtins, "__import__", no_gensim)
        with pytest.raises(ImportError, match="install gensim to read it"):
            WordVectors.load(write(tmp_path, b"\x80\x04}."), format="gensim")


class TestCountMatrix:
    words = WordVectors(["cat", "dog", "car"], np.eye(3))

    def test_counts(self):
        counts = self.words.count_matrix(["car dog Cat, dog", "", "zebra", ["cat", "Dog"], ("car",)])
        assert counts.format == "csr"
        assert counts.dtype == np.float64
        assert counts.has_canonical_format
        assert counts.toarray().tolist() == [[1, 2, 1], [0, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]

    def test_no_documents(self):
        assert self.words.count_matrix([]).shape == (0, 3)

    def test_document(self):
        assert self.words.document("dog dog").toarray().tolist() == [[0, 2, 0]]
        assert self.words.document(["dog", "car"]).toarray().tolist() == [[0, 1, 1]]

    @pytest.mark.parametrize("texts", ["cat", b"cat", [1], [["cat", 1]]])
    def test_bad_texts(self, texts):
        with pytest.raises(TypeError, match="texts"):
            self.words.count_matrix(texts)

    @given(st.lists(st.lists(st.sampled_from(["cat", "dog", "car", "x"]), max_size=9), max_size=9))
    def test_against_counting(self, texts):
        counts = self.words.count_matrix(texts)
        expected = [[text.count(word) for word in self.words.index_to_key] for text in texts]
        assert counts.toarray().tolist() == expected

    def test_distances_of_documents(self):
        from kexue import pairwise_distances

        counts = self.words.count_matrix(["cat dog", "dog cat", "car"])
        distances = pairwise_distances(counts, vectors=self.words.vectors)
        np.testing.assert_allclose(
            distances, np.sqrt(2) * np.array([[0, 0, 1], [0, 0, 1], [1, 1, 0]]), rtol=1e-6
        )
