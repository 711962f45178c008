"""What the command line searches: the ranking against brute force, and what is kept of it in a folder."""

from __future__ import annotations

import errno
import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import DocumentIndex, WordVectors, _npz, _search

WORDS = "cat dog car truck milk fuel null the how".split()
TEXTS = [
    "the cat drinks milk",
    "a dog and a cat",
    "how much fuel the car needs",
    "nothing known",
    "the truck, a car",
    "how the",
    "null",
    "a dog and a cat",
]


def make_corpus(texts):
    documents = [_search.Document(f"text {i}", text) for i, text in enumerate(texts)]
    tokens = [_search.tokenize(text) for text in texts]
    return _search._count(documents, tokens, split_identifiers=False)


def make_words(dimension=4):
    vectors = np.random.default_rng(0).normal(size=(len(WORDS), dimension))
    vectors[WORDS.index("null")] = 0
    return WordVectors(WORDS, vectors)


def brute_force(text, corpus, words, *, metric, weights, k):
    """The nearest documents from all distances."""
    query = _search.read_query(text, words, split_identifiers=corpus.split_identifiers)
    counts = corpus.counts_over(words)
    factors = _search.word_weights(counts, [query], words, weights)
    if metric == "wrd":
        factors = factors * words.vectors.any(axis=1)
    row, rows = _search.weighted(query.counts, factors), _search.weighted(counts, factors)
    present = np.flatnonzero(np.diff(rows.indptr))
    if row.nnz == 0 or len(present) == 0:
        return []
    distances = kexue.pairwise_distances(row, rows[present], vectors=words.vectors, metric=metric)[0]
    nearest = np.argsort(distances, kind="stable")[:k]
    return list(zip(present[nearest].tolist(), distances[nearest].tolist(), strict=True))


def search(text, collection, k=5):
    query = _search.read_query(text, collection.words, split_identifiers=collection.split_identifiers)
    return _search.rank(query, collection, k)


@pytest.fixture(params=["wmd", "wrd"])
def metric(request):
    return request.param


@pytest.fixture(params=["tfidf", "counts"])
def weights(request):
    return request.param


@pytest.fixture(params=["in memory", "kept"])
def through(request, tmp_path):
    """A collection as it is, or as it comes back from its folder."""

    def through(collection):
        if request.param == "in memory":
            return collection
        _search.keep(collection, tmp_path / "index")
        return _search.open_kept(tmp_path / "index")

    return through


@pytest.fixture
def kept(tmp_path):
    collection = _search.collect(make_corpus(TEXTS), make_words(), metric="wmd", weights="tfidf")
    path = tmp_path / "folder" / "index"
    path.parent.mkdir()
    _search.keep(collection, path)
    return path


class TestRank:
    @pytest.mark.parametrize("text", ["a cat", "the car", "dog dog fuel", "null", "null milk", "how the", "the"])
    @pytest.mark.parametrize("k", [1, 3, 100])
    def test_is_brute_force(self, metric, weights, through, text, k):
        corpus, words = make_corpus(TEXTS), make_words()
        collection = through(_search.collect(corpus, words, metric=metric, weights=weights))
        found, stats = search(text, collection, k)
        assert found == brute_force(text, corpus, words, metric=metric, weights=weights, k=k)
        assert set(stats) == {"documents", "relaxed", "dual", "exact"}
        assert stats["documents"] == stats["relaxed"] + stats["dual"] + stats["exact"]

    @given(
        texts=st.lists(st.lists(st.sampled_from([*WORDS, "absent"]), min_size=1).map(" ".join), min_size=1),
        text=st.lists(st.sampled_from(WORDS), min_size=1).map(" ".join),
        metric=st.sampled_from(["wmd", "wrd"]),
        weights=st.sampled_from(["tfidf", "counts"]),
        k=st.integers(1, 10),
    )
    def test_any_texts(self, texts, text, metric, weights, k):
        corpus, words = make_corpus(texts), make_words(dimension=2)
        collection = _search.collect(corpus, words, metric=metric, weights=weights)
        found, _ = search(text, collection, k)
        assert found == brute_force(text, corpus, words, metric=metric, weights=weights, k=k)

    def test_ties_are_in_the_order_of_the_corpus(self, metric, weights, through):
        corpus = make_corpus(["car", *["dog milk", "milk the dog", "dog milk milk dog"] * 20, "fuel"])
        collection = through(_search.collect(corpus, make_words(), metric=metric, weights=weights))
        found, _ = search("dog dog milk milk", collection, 7)
        if weights == "tfidf":  # where "the" does not count
            assert found == [(i, 0.0) for i in range(1, 8)]
        else:
            assert found == [(i, 0.0) for i in (1, 3, 4, 6, 7, 9, 10)]

    def test_stop_words_count_where_there_is_nothing_else(self, metric, through):
        collection = through(_search.collect(make_corpus(TEXTS), make_words(), metric=metric, weights="tfidf"))
        assert search("how the", collection)[0][0] == (5, 0.0)
        # The document that has nothing else cannot be found by other words.
        assert 5 not in dict(search("how the cat", collection, 100)[0])
        assert search("how the cat", collection)[0] == search("cat", collection)[0]

    def test_no_document_has_a_word(self, metric, through):
        collection = through(_search.collect(make_corpus(["x", "y"]), make_words(), metric=metric, weights="tfidf"))
        assert search("cat", collection) == ([], {})
        assert search("the", collection) == ([], {})


class TestKeep:
    def test_everything_comes_back(self, kept):
        corpus, words = make_corpus(TEXTS), make_words()
        for metric, weights, split in (("wmd", "tfidf", False), ("wrd", "counts", True)):
            corpus = _search.Corpus(corpus.names, corpus.texts, corpus.vocabulary, corpus.counts, split)
            collection = _search.collect(corpus, words, metric=metric, weights=weights)
            path = kept.with_name(metric)
            _search.keep(collection, path)
            found = _search.open_kept(path)
            assert (found.index.metric, found.weights, found.split_identifiers) == (metric, weights, split)
            assert (list(found.names), list(found.texts)) == (corpus.names, corpus.texts)
            assert found.words.index_to_key == words.index_to_key
            np.testing.assert_array_equal(found.words.vectors, words.vectors)
            np.testing.assert_array_equal(found.factors, collection.factors)
            np.testing.assert_array_equal(found.read_counts().toarray(), collection.read_counts().toarray())
            _search.keep(found, path.with_name(f"{metric} again"))
            for file in ("corpus.npz", "counts.npz", "search.json"):
                assert (path.with_name(f"{metric} again") / file).read_bytes() == (path / file).read_bytes()

    def test_texts_in_any_script(self, kept):
        texts = ["cat 科学\nspaces", "naïve dog", "", "cat \udcff"]
        _search.keep(
            _search.collect(make_corpus(texts), make_words(), metric="wmd", weights="tfidf"), kept.with_name("b")
        )
        found = _search.open_kept(kept.with_name("b")).texts
        assert (list(found), found[-1], len(found)) == (texts, texts[-1], 4)
        with pytest.raises(IndexError):
            found[4]

    def test_vectors_and_texts_are_mapped(self, kept):
        collection = _search.open_kept(kept)
        assert not collection.words.vectors.flags.owndata
        assert isinstance(collection.texts._data, np.memmap)

    def test_counts_are_read_when_a_query_needs_them(self, kept):
        (kept / "counts.npz").unlink()
        collection = _search.open_kept(kept)
        assert search("the cat", collection)[0]
        with pytest.raises(FileNotFoundError):
            search("the", collection)

    def test_a_link_stays_a_link(self, kept):
        link = kept.with_name("link")
        link.symlink_to(kept.with_name("target"))
        _search.keep(_search.open_kept(kept), link)
        assert link.is_symlink()
        assert len(_search.open_kept(link).names) == len(TEXTS)

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
    @pytest.mark.parametrize("stage", ["index", "arrays", "rename"])
    def test_nothing_half_made_is_left(self, kept, monkeypatch, stage, error):
        collection = _search.open_kept(kept)
        calls = []

        def fail(*args, **options):
            calls.append(args)
            raise error

        owner, name = {"index": (DocumentIndex, "save"), "arrays": (_npz, "save_npz"), "rename": (os, "replace")}[stage]
        monkeypatch.setattr(owner, name, fail)
        with pytest.raises(type(error)):
            _search.keep(collection, kept.with_name("new"))
        assert len(calls) == 1
        assert list(kept.parent.iterdir()) == [kept]

    @pytest.mark.parametrize("taken", ["an index", "a folder", "a file"])
    def test_what_is_there_is_not_replaced(self, kept, taken):
        collection, path = _search.open_kept(kept), kept.with_name("taken")
        if taken == "an index":
            shutil.copytree(kept, path)
        elif taken == "a folder":
            path.mkdir()
            (path / "letter.txt").write_text("dear")
        else:
            path.write_text("dear")
        before = sorted(file.name for file in path.iterdir()) if path.is_dir() else path.read_text()
        with pytest.raises(OSError):
            _search.keep(collection, path)
        assert (sorted(file.name for file in path.iterdir()) if path.is_dir() else path.read_text()) == before
        assert sorted(kept.parent.iterdir()) == [kept, path]


class TestOpenKept:
    @pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage"])
    @pytest.mark.parametrize(
        "name", ["search.json", "corpus.npz", "counts.npz", "documents/index.json", "documents/words.npy"]
    )
    def test_damaged_file(self, kept, name, damage):
        file = kept / name
        content = file.read_bytes()
        if damage == "missing":
            file.unlink()
        else:
            file.write_bytes({"empty": b"", "half": content[: len(content) // 2], "garbage": b"garbage"}[damage])
        with pytest.raises((ValueError, OSError)) as caught:
            _search.open_kept(kept).read_counts()
        assert name.split("/")[-1] in str(caught.value)

    @pytest.mark.parametrize("name", ["search.json", "corpus.npz", "counts.npz"])
    def test_flipped_bits(self, kept, name):
        """An error that names the file, or a collection that answers; the documents' own files are fuzzed elsewhere."""
        file, rng = kept / name, np.random.default_rng(0)
        content = file.read_bytes()
        refused = 0
        for _ in range(300):
            damaged = bytearray(content)
            damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
            file.write_bytes(damaged)
            try:
                collection = _search.open_kept(kept)
                search("cat milk", collection)
                assert len(collection.names[:]) == len(collection.texts[:]) == len(TEXTS)
                collection.read_counts()
            except (kexue.KexueValueError, OSError) as error:
                assert name in str(error)
                refused += 1
        assert 0 < refused < 300

    @pytest.mark.parametrize(
        ("array", "value"),
        [
            ("texts_offsets", lambda offsets: offsets[::-1]),
            ("texts_offsets", lambda offsets: offsets.astype(float)),
            ("texts_offsets", lambda offsets: offsets + 1),
            ("names_offsets", lambda offsets: offsets[:, None]),
            ("names_offsets", lambda offsets: offsets[:0]),
            ("names", lambda data: data.astype(np.int16)),
            ("factors", lambda factors: factors * np.nan),
            ("factors", lambda factors: factors.astype(np.complex128)),
            ("factors", lambda factors: factors.astype("S8")),
        ],
    )
    def test_arrays_that_are_no_such_thing(self, kept, array, value):
        arrays = _npz.load_npz(kept / "corpus.npz")
        arrays[array] = value(arrays[array])
        _npz.save_npz(kept / "corpus.npz", arrays)
        with pytest.raises(kexue.KexueValueError, match=r"corpus\.npz: damaged"):
            _search.open_kept(kept)

    def test_text_that_is_none(self, kept):
        """It is met where it is shown: texts are mapped, not read."""
        arrays = dict(_npz.load_npz(kept / "corpus.npz"))
        arrays["texts"] = arrays["texts"] | np.uint8(0x80)
        _npz.save_npz(kept / "corpus.npz", arrays)
        collection = _search.open_kept(kept)
        assert search("cat milk", collection)
        with pytest.raises(kexue.KexueValueError, match=r"corpus\.npz: damaged, string 0 is no UTF-8"):
            collection.texts[0]

    @pytest.mark.parametrize("file", ["corpus.npz", "counts.npz"])
    def test_absent_array(self, kept, file):
        arrays = _npz.load_npz(kept / file)
        for name in arrays:
            _npz.save_npz(kept / file, {other: array for other, array in arrays.items() if other != name})
            with pytest.raises(ValueError, match=f"no array '{name}'"):
                _search.open_kept(kept).read_counts()

    @pytest.mark.parametrize("name", ["corpus.npz", "documents"])
    @pytest.mark.parametrize(("documents", "words"), [(3, len(WORDS)), (len(TEXTS), 5)])
    def test_parts_of_another_index(self, kept, name, documents, words):
        fewer = WordVectors(WORDS[:words], make_words().vectors[:words])
        other = _search.collect(make_corpus(TEXTS[:documents]), fewer, metric="wmd", weights="tfidf")
        _search.keep(other, kept.with_name("other"))
        if name == "documents":
            shutil.rmtree(kept / name)
        os.replace(kept.with_name("other") / name, kept / name)
        with pytest.raises(ValueError, match="its files do not belong together"):
            _search.open_kept(kept)

    def test_an_index_without_words(self, kept):
        collection = _search.open_kept(kept)
        plain = DocumentIndex(collection.words.vectors, empty="skip").fit(collection.read_counts())
        plain.save(kept / "documents")
        with pytest.raises(ValueError, match="its files do not belong together"):
            _search.open_kept(kept)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 2}, r"of version 2; kexue .* reads version 1"),
            ({"version": None}, r"of version None"),
            ({"format": "kexue-document-index"}, "not of a search index"),
            ({"weights": "bm25"}, "damaged, it does not tell"),
            ({"weights": ["tfidf"]}, "damaged, it does not tell"),
            ({"split_identifiers": 1}, "damaged, it does not tell"),
        ],
    )
    def test_description(self, kept, change, message):
        description = json.loads((kept / "search.json").read_bytes())
        (kept / "search.json").write_text(json.dumps(description | change))
        with pytest.raises(ValueError, match=message):
            _search.open_kept(kept)

    @pytest.mark.parametrize("content", ["[]", "1", "[" * 100_000, "{"])
    def test_description_is_something_else(self, kept, content):
        (kept / "search.json").write_text(content)
        with pytest.raises(ValueError, match="search.json: "):
            _search.open_kept(kept)

    @pytest.mark.parametrize("kind", ["empty folder", "document index", "file", "absent"])
    def test_foreign(self, kept, kind):
        path = kept.with_name("foreign")
        if kind == "empty folder":
            path.mkdir()
        elif kind == "document index":
            shutil.copytree(kept / "documents", path)
        elif kind == "file":
            path.write_text("a letter")
        with pytest.raises(ValueError, match="not a search index, there is no search.json in it"):
            _search.open_kept(path)
