"""The command line: answers, errors, exit codes, the cache."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest

import kexue
import kexue.plot
from kexue import WordVectors, _cli, _search

NOTES = [
    "The cat drinks milk in the kitchen.",
    "A dog chases the cat through the garden.",
    "The car needs fuel and oil.",
    "A truck carries fuel to the station.",
    "The train stops at the station.",
    "Cows eat grass and give milk.",
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("KEXUE_CACHE_DIR", str(folder))
    monkeypatch.setenv("COLUMNS", "80")
    return folder


@pytest.fixture
def notes(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("\n".join(NOTES), encoding="utf-8")
    return str(path)


@pytest.fixture
def vectors(tmp_path):
    path = tmp_path / "vectors.npz"
    keys = ["cat", "dog", "car", "truck", "null"]
    WordVectors(keys, [[1, 0, 0], [3, 4, 0], [0, 0, 2], [0, 1, 1], [0, 0, 0]]).save(path)
    return str(path)


@pytest.fixture
def run(capsys):
    def run(*arguments):
        code = _cli.main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def subprocess_run(*arguments, **options):
    command = [sys.executable, "-m", "kexue", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=120, **options)


class TestSearch:
    def test_answers(self, run, notes):
        code, out, err = run("search", "what does the cow eat, grass?", "--docs", notes, "--k", 2)
        assert code == 0
        assert err == "kexue: note: not known, and left out of the query: what, does, cow\n"
        first, second = out.splitlines()
        assert re.fullmatch(r"1  \d\.\d{4}  notes\.txt:6  Cows eat grass and give milk\.", first)
        assert second.startswith("2  ")

    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    @pytest.mark.parametrize("weights", ["tfidf", "counts"])
    def test_json(self, run, notes, metric, weights):
        code, out, err = run(
            "search",
            "fuel for the bicycle",
            "--docs",
            notes,
            "--metric",
            metric,
            "--weights",
            weights,
            "--json",
        )
        assert (code, err) == (0, "kexue: note: not known, and left out of the query: for, bicycle\n")
        answer = json.loads(out)
        assert answer["query"] == "fuel for the bicycle"
        assert (answer["metric"], answer["weights"], answer["documents"]) == (metric, weights, 6)
        assert answer["unknown_words"] == ["for", "bicycle"]
        assert set(answer["timings"]) == {"corpus", "index", "search"}
        stats = answer["stats"]
        assert stats["documents"] == stats["relaxed"] + stats["dual"] + stats["exact"] == 6
        results = answer["results"]
        assert [result["rank"] for result in results] == [1, 2, 3, 4, 5]
        distances = [result["distance"] for result in results]
        assert distances == sorted(distances)
        assert all(result["text"] == NOTES[int(result["name"].removeprefix("notes.txt:")) - 1] for result in results)
        assert "fuel" in results[0]["text"]
        assert weights == "counts" or "fuel" in results[1]["text"]

    def test_own_text_is_at_distance_zero(self, run, notes):
        _, out, _ = run("search", NOTES[3], "--docs", notes, "--json")
        nearest, other = json.loads(out)["results"][:2]
        assert nearest["text"] == NOTES[3]
        assert nearest["distance"] == 0
        assert other["distance"] > 0.1

    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    def test_distances_are_those_of_the_library(self, run, tmp_path, vectors, metric):
        docs = tmp_path / "docs.txt"
        docs.write_text("cat dog dog\nunknown\ncar null\ntruck cat\nnull\n")
        _, out, _ = run(
            "search",
            "car truck",
            "--docs",
            docs,
            "--vectors",
            vectors,
            "--metric",
            metric,
            "--weights",
            "counts",
            "--json",
        )
        words = WordVectors.load(vectors)
        expected = {}
        for text in ("cat dog dog", "car null", "truck cat", *(["null"] if metric == "wmd" else [])):
            distance = getattr(kexue, metric)(words[["car", "truck"]], words[text.split()])
            expected[text] = pytest.approx(distance, rel=1e-6)
        found = {result["text"]: result["distance"] for result in json.loads(out)["results"]}
        assert found == expected

    def test_tfidf_weights(self, tmp_path):
        docs = tmp_path / "docs.txt"
        docs.write_text("rare the common\ncommon the b\ncommon c\n")
        corpus, words = _search.load_corpus(str(docs), learn=True)
        counts = corpus.counts_over(words)
        query = _search.read_query("the rare common", words, split_identifiers=False)
        weights = _search.word_weights(counts, [query], words, "tfidf")
        weight = {word: weights[words.key_to_index[word]] for word in ("the", "rare", "common")}
        assert weight == pytest.approx({"the": 0, "rare": np.log(4 / 2) + 1, "common": np.log(4 / 4) + 1})
        only_stop = _search.read_query("the", words, split_identifiers=False)
        weights = _search.word_weights(counts, [only_stop], words, "tfidf")
        assert weights[words.key_to_index["the"]] == pytest.approx(np.log(4 / 3) + 1)

    def test_documents_without_known_words_are_left_out(self, run, tmp_path, vectors):
        docs = tmp_path / "docs.txt"
        docs.write_text("cat\nunknown words\ndog\n")
        _, out, _ = run("search", "cat", "--docs", docs, "--vectors", vectors)
        assert [line.split()[2] for line in out.splitlines()] == ["docs.txt:1", "docs.txt:3"]

    def test_folder_and_json_lines(self, run, tmp_path):
        folder = tmp_path / "folder"
        folder.mkdir()
        for number, text in enumerate(NOTES):
            (folder / f"{number}.txt").write_text(text)
        (folder / "image.png").write_bytes(b"\x89PNG\x00")
        code, out, err = run("search", "fuel oil", "--docs", folder, "--k", 1)
        assert (code, out.split()[2]) == (0, "2.txt")
        assert re.fullmatch(r"kexue: note: .*passed over 1 binary file \(the first is image.png\)\n", err)
        lines = tmp_path / "notes.jsonl"
        lines.write_text("\n".join(json.dumps({"name": text.split()[1], "text": text}) for text in NOTES))
        code, out, _ = run("search", "fuel oil", "--docs", lines, "--k", 1)
        assert (code, out.split()[2]) == (0, "car")

    def test_standard_input(self):
        done = subprocess_run("search", "fuel oil", "--docs", "-", "--k", 1, input="\n".join(NOTES).encode())
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"line 3  The car needs fuel and oil." in done.stdout

    def test_output_fits_the_terminal(self, run, tmp_path, monkeypatch):
        docs = tmp_path / ("long_name_" * 8 + ".txt")
        docs.write_text(
            f"alpha beta {'gamma ' * 40}\nalpha 科学{'空间' * 40}\nalpha \x1b[31mred\x07 beta\n",
            encoding="utf-8",
        )
        monkeypatch.setenv("COLUMNS", "60")
        code, out, _ = run("search", "alpha beta", "--docs", docs)
        assert code == 0
        assert len(out.splitlines()) == 3
        assert all(_cli._columns(line) <= 60 for line in out.splitlines())
        assert all(character.isprintable() or character == "\n" for character in out)

    def test_larger_k_than_documents(self, run, notes):
        _, out, _ = run("search", "milk", "--docs", notes, "--k", 100)
        assert len(out.splitlines()) == 6

    def test_chinese(self, run, tmp_path):
        docs = tmp_path / "docs.txt"
        docs.write_text("猫喝牛奶\n狗吃骨头\n汽车需要汽油\n", encoding="utf-8")
        _, out, _ = run("search", "汽车", "--docs", docs, "--k", 1)
        assert "汽车需要汽油" in out


class TestIndex:
    """`search --index`."""

    @pytest.fixture
    def index(self, tmp_path):
        path = tmp_path / "kept" / "notes.index"
        path.parent.mkdir()
        return path

    def contents(self, path):
        return {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}

    @pytest.mark.parametrize("query", ["the cat drinks", "a car", "the", "to the"])
    @pytest.mark.parametrize("options", [(), ("--metric", "wrd"), ("--weights", "counts", "--k", "3")])
    def test_is_built_and_then_used_alone(self, run, notes, index, query, options, monkeypatch):
        expected = run("search", query, "--docs", notes, *options)
        code, out, err = run("search", query, "--docs", notes, *options, "--index", index)
        assert (code, out, err) == (
            0,
            expected[1],
            f"{expected[2]}kexue: note: kept the index of 6 documents in {index}\n",
        )
        assert list(index.parent.iterdir()) == [index]
        os.unlink(notes)
        monkeypatch.setattr(_search, "load_corpus", None)
        monkeypatch.setattr(WordVectors, "load", None)
        before = self.contents(index)
        assert run("search", query, *options, "--index", index) == expected
        assert self.contents(index) == before

    def test_json(self, run, notes, vectors, index):
        arguments = ("search", "cat truck", "--json", "--index", index)
        code, out, _ = run(*arguments, "--docs", notes, "--vectors", vectors, "--metric", "wrd", "--weights", "counts")
        assert code == 0
        built = json.loads(out)
        assert set(built.pop("timings")) == {"vectors", "corpus", "index", "search", "keep"}
        code, out, err = run(*arguments)
        assert (code, err) == (0, "")
        found = json.loads(out)
        assert set(found.pop("timings")) == {"index", "search"}
        assert found == built
        assert (found["metric"], found["weights"], found["documents"]) == ("wrd", "counts", 6)
        assert found["stats"]["documents"] == 4  # of the six, these have a word with a vector

    def test_words_that_no_document_has(self, run, tmp_path, vectors, index):
        docs = tmp_path / "docs.txt"
        docs.write_text("cat\ndog\n")
        run("search", "cat", "--docs", docs, "--vectors", vectors, "--index", index)
        code, out, err = run("search", "truck car", "--index", index, "--k", 1)
        assert (code, err) == (0, "")
        assert out.split()[2] == "docs.txt:1"

    @pytest.mark.parametrize("given", [("--docs",), ("--vectors",), ("--docs", "--vectors"), ("--docs", "-")])
    def test_documents_and_vectors_are_not_ignored(self, run, notes, vectors, index, given, monkeypatch):
        run("search", "cat", "--docs", notes, "--index", index)
        before = self.contents(index)
        monkeypatch.setattr(sys, "stdin", None)
        places = {"--docs": notes, "--vectors": vectors}
        arguments = given if "-" in given else [part for option in given for part in (option, places[option])]
        found = run("search", "cat", *arguments, "--index", index)
        message = (
            f"kexue: error: {index} is there already and would not follow {given[0]}: search it without, "
            "or delete it first to have it made anew\n"
        )
        assert found == (2, "", message)
        assert self.contents(index) == before

    @pytest.mark.parametrize(
        ("option", "made", "other"),
        [("--metric", "wrd", "wmd"), ("--metric", "wmd", "wrd"), ("--weights", "counts", "tfidf")],
    )
    def test_another_metric_or_other_weights(self, run, notes, index, option, made, other):
        _, expected, _ = run("search", "cat", "--docs", notes, "--index", index, option, made)
        assert run("search", "cat", "--index", index, option, made) == (0, expected, "")
        message = (
            f"kexue: error: {index} was made with {option} {made}: search it without {option}, "
            "or delete it first to have it made anew\n"
        )
        assert run("search", "cat", "--index", index, option, other) == (2, "", message)

    @pytest.mark.parametrize("kind", ["empty folder", "folder", "file"])
    def test_something_else_is_there(self, run, notes, index, kind):
        if kind == "file":
            index.write_text("dear")
        else:
            index.mkdir()
        if kind == "folder":
            (index / "letter.txt").write_text("dear")
        before = self.contents(index.parent)
        found = run("search", "cat", "--docs", notes, "--index", index)
        assert found == (2, "", f"kexue: error: {index}: not a search index, there is no search.json in it\n")
        assert self.contents(index.parent) == before

    @pytest.mark.parametrize(
        ("file", "message"),
        [
            ("search.json", "search.json: damaged"),
            ("corpus.npz", "corpus.npz: not a readable .npz file"),
            ("counts.npz", "counts.npz: not a readable .npz file"),
            ("documents/index.json", "index.json: damaged"),
            ("documents/words.npy", "words.npy: damaged"),
            ("documents", "documents: there is no such folder"),
        ],
    )
    def test_truncated(self, run, notes, index, file, message):
        run("search", "cat", "--docs", notes, "--index", index)
        if file == "documents":
            os.rename(index / file, index / "elsewhere")
        else:
            os.truncate(index / file, (index / file).stat().st_size // 2)
        code, out, err = run("search", "the", "--index", index)
        assert (code, out) == (2, "")
        assert err.startswith("kexue: error: ") and message in err
        assert err.count("\n") == 1

    def test_damage_in_what_is_mapped(self, run, tmp_path, vectors, index):
        docs = tmp_path / "docs.txt"
        docs.write_text("\n".join([*NOTES, *["dog " * 5000] * 4]))
        run("search", "cat", "--docs", docs, "--vectors", vectors, "--index", index)
        file = index / "corpus.npz"
        file.write_bytes(file.read_bytes().replace(b"The car needs", b"The \xffar needs"))
        code, out, err = run("search", "car", "--index", index)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "corpus.npz: damaged, string 2 is no UTF-8 (invalid start byte)" in err
        table = np.load(index / "documents" / "vectors.npy", mmap_mode="r+")
        table[2, 1] = np.nan
        table.flush()
        code, out, err = run("search", "car", "--index", index)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert "vectors[2, 1] is nan" in err

    def test_unknown_version(self, run, notes, index):
        run("search", "cat", "--docs", notes, "--index", index)
        file = index / "search.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 99}))
        message = f"kexue: error: {file}: of version 99; kexue {kexue.__version__} reads version 1\n"
        assert run("search", "cat", "--index", index) == (2, "", message)

    @pytest.mark.parametrize("query", ["zebra", "", "null"])
    def test_a_search_that_fails_keeps_nothing(self, run, tmp_path, vectors, index, query):
        docs = tmp_path / "docs.txt"
        docs.write_text("one\ntwo\n")
        assert run("search", query, "--docs", docs, "--vectors", vectors, "--index", index)[:2] == (2, "")
        assert list(index.parent.iterdir()) == []

    @pytest.mark.parametrize("parent", ["absent", "notes.txt"])
    def test_no_folder_to_keep_it_in(self, run, notes, tmp_path, parent, monkeypatch):
        monkeypatch.setattr(_search, "load_corpus", None)
        path = tmp_path / parent / "index"
        found = run("search", "cat", "--docs", notes, "--index", path)
        assert found == (2, "", f"kexue: error: {path}: there is no folder {path.parent}\n")

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
    def test_nothing_half_made_is_left(self, run, notes, index, monkeypatch, error):
        expected = run("search", "cat", "--docs", notes)

        def fail(source, target):
            if os.fspath(target) == os.fspath(index):
                raise error
            real(source, target)

        real = os.replace
        monkeypatch.setattr(os, "replace", fail)
        code, out, err = run("search", "cat", "--docs", notes, "--index", index)
        if isinstance(error, OSError):
            assert (code, err) == (2, f"kexue: error: {index}: {os.strerror(errno.ENOSPC)}\n")
        else:
            assert (code, err) == (130, "kexue: interrupted\n")
        assert out == ""
        assert list(index.parent.iterdir()) == []
        monkeypatch.undo()
        assert run("search", "cat", "--docs", notes, "--index", index)[:2] == expected[:2]

    def test_standard_input(self, index):
        arguments = ("search", "fuel oil", "--index", index, "--k", 1)
        built = subprocess_run(*arguments, "--docs", "-", input="\n".join(NOTES).encode())
        assert built.returncode == 0
        found = subprocess_run(*arguments)
        assert (found.returncode, found.stdout, found.stderr) == (0, built.stdout, b"")
        assert b"line 3  The car needs fuel and oil." in found.stdout


class TestCut:
    @pytest.mark.parametrize(
        ("text", "width", "expected"),
        [
            ("abc", 3, "abc"),
            ("abcd", 3, "ab…"),
            ("科学", 4, "科学"),
            ("科学空", 4, "科…"),
            ("", 3, ""),
            ("ab", 1, "…"),
        ],
    )
    def test_cut(self, text, width, expected):
        assert _cli._cut(text, width) == expected
        assert _cli._columns(_cli._cut(text, width)) <= width


class TestCompare:
    def test_table(self, run, vectors):
        code, out, err = run("compare", "cat truck unknown", "dog car", "--vectors", vectors)
        assert (code, err) == (0, "kexue: note: not known, and left out of text A: unknown\n")
        words = WordVectors.load(vectors)
        x, y = words[["cat", "truck"]], words[["dog", "car"]]
        lines = out.splitlines()
        assert lines[0] == f"wmd   {kexue.wmd(x, y):.6f}"
        assert lines[1] == f"wcd   {kexue.wcd(x, y):.6f}  (lower bound)"
        assert lines[2] == f"rwmd  {kexue.rwmd(x, y):.6f}  (lower bound)"
        assert lines[4].split() == ["from", "to", "mass", "distance", "cost", "share"]
        rows = [line.split() for line in lines[5:]]
        assert [row[:2] for row in rows] == [["cat", "dog"], ["truck", "car"]]
        cat, truck = np.hypot(2, 4), np.hypot(1, 1)
        assert [float(row[3]) for row in rows] == pytest.approx([cat, truck], abs=1e-4)
        assert rows[0][5] == f"{cat / (cat + truck):.1%}"

    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    def test_json(self, run, vectors, metric):
        _, out, _ = run(
            "compare", "cat truck cat null", "dog car cat", "--vectors", vectors, "--metric", metric, "--json"
        )
        answer = json.loads(out)
        words = WordVectors.load(vectors)
        x, y = words[["cat", "truck", "null"]], words[["dog", "car", "cat"]]
        expected = getattr(kexue, metric)(x, y, [2, 1, 1], [1, 1, 1])
        assert answer["distance"] == pytest.approx(expected, rel=1e-6)
        assert answer["weights"] == "counts"
        moves = answer["moves"]
        assert sum(move["cost"] for move in moves) == pytest.approx(expected, rel=1e-6)
        assert sum(move["mass"] for move in moves) == pytest.approx(1)
        assert sum(move["share"] for move in moves) == pytest.approx(1)
        costs = [move["cost"] for move in moves]
        assert costs == sorted(costs, reverse=True)
        assert all(0 <= bound <= expected * (1 + 1e-6) for bound in answer["bounds"].values())
        assert set(answer["bounds"]) == ({"wcd", "rwmd"} if metric == "wmd" else {"rwmd"})

    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    def test_same_words(self, run, vectors, metric):
        code, out, _ = run("compare", "cat dog", "dog cat", "--vectors", vectors, "--metric", metric)
        assert code == 0
        assert out.startswith(f"{metric}   0.000000\n")
        assert {tuple(line.split()[:2]) for line in out.splitlines()[-2:]} == {("cat", "cat"), ("dog", "dog")}

    def test_distance_is_that_of_search(self, run, notes):
        _, out, _ = run("search", "milk for a cat", "--docs", notes, "--json", "--k", 1)
        nearest = json.loads(out)["results"][0]
        _, out, _ = run("compare", "milk for a cat", nearest["text"], "--docs", notes, "--json")
        assert json.loads(out)["distance"] == pytest.approx(nearest["distance"], rel=1e-6)

    def test_many_moves_are_summed_up(self, run, tmp_path):
        docs = tmp_path / "docs.txt"
        left, right = (" ".join(f"{side}{i}" for i in range(40)) for side in "lr")
        docs.write_text(f"{left}\n{right}\n")
        _, out, _ = run("compare", left, right, "--docs", docs)
        assert re.fullmatch(r"and \d+ smaller moves that cost \d\.\d{4} in all", out.splitlines()[-1])

    def test_only_zero_vectors(self, run, vectors):
        code, out, err = run("compare", "null", "cat", "--vectors", vectors, "--metric", "wrd")
        assert (code, out) == (2, "")
        assert "the vectors of all words of text A are zero" in err


class TestPlot:
    """`compare --plot`."""

    TEXTS = ("cat truck cat null", "dog car cat")
    BEGINNINGS = {"png": b"\x89PNG\r\n\x1a\n", "svg": b"<?xml", "pdf": b"%PDF-"}

    @pytest.fixture(autouse=True)
    def matplotlib(self):
        return pytest.importorskip("matplotlib")

    @pytest.mark.parametrize("name", ["a.png", "b.svg", "c.pdf", "D.SVG"])
    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    def test_writes_the_file_and_prints_the_same(self, run, tmp_path, vectors, metric, name):
        arguments = ["compare", *self.TEXTS, "--vectors", vectors, "--metric", metric]
        folder = tmp_path / "pictures"
        folder.mkdir()
        assert run(*arguments, "--plot", folder / name) == run(*arguments)
        assert [path.name for path in folder.iterdir()] == [name]
        content = (folder / name).read_bytes()
        assert content.startswith(self.BEGINNINGS[name[-3:].lower()])
        assert run(*arguments, "--plot", folder / name)[0] == 0
        assert (folder / name).read_bytes() == content

    def test_png_can_be_read(self, run, tmp_path, vectors):
        from matplotlib import image

        run("compare", *self.TEXTS, "--vectors", vectors, "--plot", tmp_path / "a.png")
        pixels = image.imread(tmp_path / "a.png")
        assert pixels.shape[2] == 4
        assert min(pixels.shape[:2]) > 300
        assert pixels[..., :3].std() > 0.1

    def test_svg_has_words_and_distance(self, run, tmp_path, vectors):
        _, out, _ = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", tmp_path / "a.svg")
        tree = ElementTree.parse(tmp_path / "a.svg")
        texts = [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]
        assert {"cat", "truck", "null", "dog", "car", "distance"} <= set(texts)
        assert texts.count("cat") == 2
        assert re.sub(" +", " ", out.splitlines()[0]) in texts

    @pytest.mark.parametrize("metric", ["wmd", "wrd"])
    def test_draws_the_moves_of_the_table(self, run, tmp_path, vectors, metric, monkeypatch):
        drawn = []

        def transport(plan, *labels, cost, **options):
            drawn.append((plan, *labels, cost))
            return real(plan, *labels, cost=cost, **options)

        real = kexue.plot.transport
        monkeypatch.setattr(kexue.plot, "transport", transport)
        arguments = ("compare", *self.TEXTS, "--vectors", vectors, "--metric", metric, "--json")
        _, out, _ = run(*arguments, "--plot", tmp_path / "a.svg")
        answer = json.loads(out)
        assert set(answer["timings"]) == {"vectors", "compare", "plot"}
        ((plan, sources, targets, cost),) = drawn
        found = {(sources[i], targets[j]): (plan[i, j], cost[i, j]) for i, j in zip(*np.nonzero(plan), strict=True)}
        moves = {(move["from"], move["to"]): (move["mass"], move["distance"]) for move in answer["moves"]}
        assert found == moves

    def test_no_figure_is_kept(self, run, tmp_path, vectors):
        from matplotlib import pyplot

        before = pyplot.get_fignums()
        assert run("compare", *self.TEXTS, "--vectors", vectors, "--plot", tmp_path / "a.png")[0] == 0
        assert pyplot.get_fignums() == before

    @pytest.mark.parametrize("name", ["a.png", "a.svg"])
    def test_one_note_for_all_missing_characters(self, run, tmp_path, name, monkeypatch):
        from matplotlib import font_manager

        monkeypatch.setattr(font_manager.fontManager, "get_font_names", list)
        docs = tmp_path / "docs.txt"
        docs.write_text("猫喝牛奶\n狗吃骨头\n汽车需要汽油\n", encoding="utf-8")
        code, _, err = run("compare", "猫喝牛奶", "狗吃骨头", "--docs", docs, "--plot", tmp_path / name)
        assert code == 0
        # An SVG file has the text itself, for the fonts of whoever reads it.
        assert err == ("" if name == "a.svg" else f"kexue: note: {_cli._MISSING_CHARACTERS}\n")
        if name == "a.svg":
            assert "猫" in (tmp_path / name).read_text(encoding="utf-8")

    def test_other_warnings_are_shown(self, run, tmp_path, vectors, monkeypatch):
        def transport(*arguments, **options):
            warnings.warn("something odd", UserWarning, stacklevel=1)
            return real(*arguments, **options)

        real = kexue.plot.transport
        monkeypatch.setattr(kexue.plot, "transport", transport)
        code, _, err = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", tmp_path / "a.svg")
        assert (code, err) == (0, "kexue: note: something odd\n")

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("a.jpg", "{path}: the name of a picture must end in .png, .svg or .pdf"),
            ("png", "{path}: the name of a picture must end in .png, .svg or .pdf"),
            ("absent/a.png", "{path}: there is no folder {path.parent}"),
            ("vectors.npz/a.png", "{path}: there is no folder {path.parent}"),
        ],
    )
    def test_bad_names_are_refused_at_once(self, run, tmp_path, vectors, name, message, monkeypatch):
        monkeypatch.setattr(_cli, "_comparison", None)
        path = tmp_path / name
        found = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", path)
        assert found == (2, "", f"kexue: error: {message.format(path=path)}\n")

    def test_without_matplotlib(self, run, tmp_path, vectors, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        found = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", tmp_path / "a.png")
        message = 'kexue.plot needs matplotlib: pip install "kexue[plot]"'
        assert found == (2, "", f"kexue: error: {message}\n")
        assert run("compare", *self.TEXTS, "--vectors", vectors)[0] == 0

    def test_a_folder_of_that_name(self, run, tmp_path, vectors):
        path = tmp_path / "taken" / "a.png"
        path.mkdir(parents=True)
        code, out, err = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", path)
        assert (code, out) == (2, "")
        assert err.startswith(f"kexue: error: {path}: ")
        assert err.count("\n") == 1
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize("error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
    def test_the_old_file_stays_when_writing_fails(self, run, tmp_path, vectors, monkeypatch, error):
        from matplotlib.figure import Figure

        def fail(figure, file, **options):
            file.write(b"half a pic")
            raise error

        monkeypatch.setattr(Figure, "savefig", fail)
        folder = tmp_path / "pictures"
        folder.mkdir()
        path = folder / "a.svg"
        path.write_bytes(b"old")
        code, out, err = run("compare", *self.TEXTS, "--vectors", vectors, "--plot", path)
        if isinstance(error, OSError):
            assert (code, err) == (2, f"kexue: error: {path}: {os.strerror(errno.ENOSPC)}\n")
        else:
            assert (code, err) == (130, "kexue: interrupted\n")
        assert out == ""
        assert path.read_bytes() == b"old"
        assert list(folder.iterdir()) == [path]


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["search", "cat", "--docs", "{tmp}/absent.txt"], "{tmp}/absent.txt: No such file or directory"),
            (
                ["search", "cat", "--docs", "{tmp}/latin.txt"],
                "{tmp}/latin.txt: not UTF-8 text: byte 0xe9 at offset 3",
            ),
            (["search", "cat", "--docs", "{tmp}/empty.txt"], "{tmp}/empty.txt: no documents in it"),
            (["search", "cat", "--docs", "{tmp}/dots.txt"], "there is no word in them"),
            (["search", "cat", "--docs", "{tmp}/one.txt"], "no two words occur together"),
            (["search", "zebra yak", "--docs", "{notes}"], "no word of the query is known: zebra, yak"),
            (["search", "", "--docs", "{notes}"], "the query '' has no word in it"),
            (["search", "...", "--docs", "{notes}"], "the query '...' has no word in it"),
            (
                ["search", "cat", "--vectors", "{tmp}/absent.vec"],
                "{tmp}/absent.vec: No such file or directory",
            ),
            (
                ["search", "cat", "--docs", "{notes}", "--vectors", "{notes}"],
                "{notes}: line 1 is neither a header",
            ),
            (
                ["search", "null", "--docs", "{tmp}/one.txt", "--vectors", "{vectors}"],
                "no document has a word",
            ),
            (
                ["search", "cat", "--docs", "{notes}", "--vectors", "{tmp}/large.txt"],
                "the vectors or the weights are too large for a distance",
            ),
            (["compare", "cat", "yak", "--vectors", "{vectors}"], "no word of text B is known: yak"),
            (["compare", "", "cat", "--vectors", "{vectors}"], "text A '' has no word in it"),
        ],
    )
    def test_bad_input(self, run, tmp_path, notes, vectors, arguments, message):
        for name, content in {
            "latin": b"caf\xe9",
            "empty": b"\n",
            "dots": b"...\n",
            "one": b"word\n",
            "large": b"cat 3e38 3e38\ndog -3e38 -3e38\n",
        }.items():
            (tmp_path / f"{name}.txt").write_bytes(content)
        places = {"tmp": tmp_path, "notes": notes, "vectors": vectors}
        code, out, err = run(*(argument.format(**places) for argument in arguments))
        assert (code, out) == (2, "")
        assert err.startswith("kexue: error: ")
        assert message.format(**places) in err
        assert err.count("\n") == 1

    @pytest.mark.parametrize(
        "arguments",
        [
            [],
            ["find"],
            ["search"],
            ["search", "a", "--k", "0"],
            ["search", "a", "--k", "x"],
            ["search", "a", "--metric", "cosine"],
            ["compare", "a"],
        ],
    )
    def test_usage(self, capsys, arguments):
        with pytest.raises(SystemExit) as caught:
            _cli.main(arguments)
        assert caught.value.code == 2
        assert "usage: python -m kexue" in capsys.readouterr().err

    def test_help_and_version(self, capsys):
        for option, expected in (("--help", "search"), ("--version", f"kexue {kexue.__version__}")):
            with pytest.raises(SystemExit) as caught:
                _cli.main([option])
            assert caught.value.code == 0
            assert expected in capsys.readouterr().out

    def test_no_traceback_and_exit_code(self, tmp_path):
        done = subprocess_run("search", "cat", "--docs", tmp_path / "absent")
        assert done.returncode == 2
        assert done.stderr.decode().splitlines() == [f"kexue: error: {tmp_path / 'absent'}: No such file or directory"]

    def test_pickled_vectors(self, run, tmp_path, notes):
        (tmp_path / "model.kv").write_bytes(b"\x80\x04}.")
        code, _, err = run("search", "cat", "--docs", notes, "--vectors", tmp_path / "model.kv")
        assert code == 2
        assert "this is a pickle" in err

    def test_a_bug_is_not_hidden(self, notes, monkeypatch):
        def fail(*args, **options):
            raise ZeroDivisionError("a bug")

        monkeypatch.setattr(_search, "rank", fail)
        with pytest.raises(ZeroDivisionError):
            _cli.main(["search", "cat", "--docs", notes])

    def test_interrupt(self, run, notes, monkeypatch):
        def interrupt(*args, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr(_search, "load_corpus", interrupt)
        code, out, err = run("search", "cat", "--docs", notes)
        assert (code, out, err) == (130, "", "kexue: interrupted\n")


class TestProcess:
    def test_ctrl_c(self, tmp_path):
        # It waits for standard input, so that the signal surely comes in the middle of the command.
        command = [sys.executable, "-c", READY_THEN_RUN, "search", "cat", "--docs", "-"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            assert process.stdout.readline().strip() == b"ready"
            process.send_signal(signal.SIGINT)
            deadline = time.monotonic() + 60
            while process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            code = process.returncode
        finally:
            process.kill()
            out, err = process.communicate()
        assert (code, out, err.strip()) == (130, b"", b"kexue: interrupted")

    def test_reader_that_goes_away(self, tmp_path):
        docs = tmp_path / "docs.jsonl"
        docs.write_text("\n".join(json.dumps({"text": f"alpha beta w{i} " + "x" * 500}) for i in range(2000)))
        command = [sys.executable, "-m", "kexue", "search", "alpha", "--docs", docs, "--k", "2000", "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout.read(10) == b'{"query": '
        process.stdout.close()
        err = process.stderr.read()
        process.stderr.close()
        assert (process.wait(60), err) == (141, b"")

    def test_output_that_cannot_be_written(self, notes, capsys, monkeypatch):
        class Full(io.StringIO):
            def write(self, text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(sys, "stdout", Full())
        assert _cli.main(["search", "cat", "--docs", notes]) == 1
        message = f"kexue: error: the output cannot be written: {os.strerror(errno.ENOSPC)}\n"
        assert capsys.readouterr().err == message

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
    def test_any_output_encoding(self, tmp_path, encoding):
        docs = tmp_path / "docs.txt"
        docs.write_text("alpha 科学空间 naïve\nalpha beta\n", encoding="utf-8")
        environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
        done = subprocess_run("search", "alpha", "--docs", docs, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert len(done.stdout.splitlines()) == 2
        done = subprocess_run("search", "alpha", "--docs", docs, "--json", env=environment)
        texts = {result["text"] for result in json.loads(done.stdout)["results"]}
        assert "alpha 科学空间 naïve" in texts


READY_THEN_RUN = """
import sys
from kexue import _cli, _corpus
import kexue._search

class Input:
    class buffer:
        @staticmethod
        def read():
            print("ready", flush=True)
            return real.buffer.read()

real, sys.stdin = sys.stdin, Input
sys.exit(_cli.main())
"""


class TestCache:
    def files(self, cache):
        return sorted(path.name.partition("-")[0] for path in cache.iterdir())

    def forbid(self, monkeypatch, *names):
        def fail(*args, **options):
            raise AssertionError("done again")

        for name in names:
            monkeypatch.setattr(_search, name, fail)

    def test_second_run_learns_nothing(self, run, notes, cache, monkeypatch):
        first = run("search", "cat", "--docs", notes)
        assert self.files(cache) == ["corpus", "vectors"]
        self.forbid(monkeypatch, "_count")
        monkeypatch.setattr(WordVectors, "fit", None)
        assert run("search", "cat", "--docs", notes) == first
        assert first[0] == 0

    def test_other_documents_are_other_entries(self, run, notes, cache, tmp_path):
        run("search", "cat", "--docs", notes)
        changed = tmp_path / "changed.txt"
        changed.write_text("\n".join([*NOTES, "A cat."]))
        code, out, _ = run("search", "cat", "--docs", changed, "--k", 1)
        assert "changed.txt:7" in out
        assert self.files(cache) == ["corpus"] * 2 + ["vectors"] * 2

    def test_given_vectors_learn_nothing(self, run, notes, vectors, cache, monkeypatch):
        monkeypatch.setattr(WordVectors, "fit", None)
        assert run("search", "cat", "--docs", notes, "--vectors", vectors)[0] == 0
        assert self.files(cache) == ["corpus"]
        monkeypatch.undo()
        os.environ["KEXUE_CACHE_DIR"] = str(cache)
        assert run("search", "cat", "--docs", notes)[0] == 0
        assert self.files(cache) == ["corpus", "vectors"]

    @pytest.mark.parametrize("kind", ["corpus", "vectors"])
    @pytest.mark.parametrize("damage", [b"", b"garbage", b"PK\x03\x04garbage", "half", "deleted", "folder", "swapped"])
    def test_damaged_cache_is_built_again(self, run, notes, cache, kind, damage):
        first = run("search", "cat", "--docs", notes)
        (path,) = cache.glob(f"{kind}-*")
        content = path.read_bytes()
        if damage == "half":
            path.write_bytes(content[: len(content) // 2])
        elif damage == "deleted":
            path.unlink()
        elif damage == "folder":
            path.unlink()
            path.mkdir()
        elif damage == "swapped":
            (other,) = set(cache.iterdir()) - {path}
            path.write_bytes(other.read_bytes())
        else:
            path.write_bytes(damage)
        assert run("search", "cat", "--docs", notes) == first
        if damage != "folder":
            assert path.read_bytes() == content
        assert not list(cache.glob(".*"))

    def test_unwritable_folder(self, run, notes, cache):
        cache.write_text("a file is where the folder should be")
        code, out, err = run("search", "cat", "--docs", notes)
        assert (code, err) == (0, "")
        assert "notes.txt:1" in out

    def test_write_fails(self, run, notes, cache, monkeypatch):
        def fail(*args, **options):
            raise PermissionError("read-only file system")

        monkeypatch.setattr(os, "replace", fail)
        code, out, err = run("search", "cat", "--docs", notes)
        assert (code, err) == (0, "")
        assert list(cache.iterdir()) == []

    def test_old_entries_are_forgotten(self, run, notes, cache, tmp_path):
        for number in range(_search._CACHED_CORPORA + 3):
            path = tmp_path / "docs.txt"
            path.write_text(f"cat dog {number}\ncar truck\n")
            assert run("search", "cat", "--docs", path)[0] == 0
        assert self.files(cache) == ["corpus"] * _search._CACHED_CORPORA + ["vectors"] * _search._CACHED_CORPORA

    def test_no_pickle(self, run, notes, cache):
        run("search", "cat", "--docs", notes)
        for path in cache.iterdir():
            with np.load(path, allow_pickle=False) as file:
                assert all(file[name].dtype.kind in "uifb" for name in file.files)

    @pytest.mark.parametrize(
        ("environment", "expected"),
        [
            ({"KEXUE_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
            ({"XDG_CACHE_HOME": "/b", "HOME": "/c"}, "/b/kexue"),
            ({"KEXUE_CACHE_DIR": "", "XDG_CACHE_HOME": "", "HOME": "/c"}, "/c/.cache/kexue"),
        ],
    )
    def test_folder(self, monkeypatch, environment, expected):
        monkeypatch.setattr(sys, "platform", "linux")
        monkeypatch.delenv("KEXUE_CACHE_DIR")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert _search.cache_folder().as_posix() == expected

    def test_folder_on_windows(self, monkeypatch):
        monkeypatch.setattr(sys, "platform", "win32")
        monkeypatch.delenv("KEXUE_CACHE_DIR")
        monkeypatch.setenv("LOCALAPPDATA", "/local")
        assert _search.cache_folder().as_posix() == "/local/kexue"

    def test_info(self, run, notes, cache):
        assert f"cache          {cache} (0 files, 0.0 MB)" in run("info")[1]
        run("search", "cat", "--docs", notes)
        code, out, err = run("info")
        assert (code, err) == (0, "")
        assert f"kexue          {kexue.__version__}\n" in out
        assert f"cache          {cache} (2 files, " in out

    def test_info_for_builds(self, run, monkeypatch, tmp_path):
        code, out, _ = run("info", "--includes")
        assert (code, out) == (0, f"-I{shlex.quote(kexue.get_include())}\n")
        assert run("info", "--libs")[:2] == (0, "-lm -lpthread\n")
        monkeypatch.setattr("kexue._context.__file__", str(tmp_path / "_context.so"))
        for option in ("--includes", "--cmakedir", "--pkgconfigdir", "--source", "--amalgamation"):
            code, out, err = run("info", option)
            assert (code, out) == (2, "")
            assert "installed without its C files" in err
        for option, name in (("--cmakedir", "lib/cmake/kexue"), ("--source", "source")):
            (tmp_path / name).mkdir(parents=True)
            assert run("info", option)[:2] == (0, f"{tmp_path.resolve() / name}\n")


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standard_library")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KEXUE_CACHE_DIR", str(folder))
        _search.load_corpus(None, learn=True)
    return folder


class TestStandardLibrary:
    """The default corpus, once from nothing and then from the cache."""

    @pytest.fixture(autouse=True)
    def use_own_cache(self, own_cache, monkeypatch):
        monkeypatch.setenv("KEXUE_CACHE_DIR", str(own_cache))

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("read a csv file", r"csv(\.\w+)?"),
            ("parse command line arguments", r"(argparse|getopt|optparse).*"),
            ("compress data with gzip", r"gzip\.\w+"),
            ("how do I send an email", r"smtplib.*"),
            ("square root", r"math\.sqrt"),
            ("sort a list", r"builtins\.list\.sort"),
        ],
    )
    def test_sensible_answers(self, run, query, expected):
        code, out, err = run("search", query, "--json")
        assert (code, err) == (0, "")
        answer = json.loads(out)
        assert answer["documents"] > 4000
        names = [result["name"] for result in answer["results"]]
        assert any(re.fullmatch(expected, name) for name in names[:3]), names
        assert not any("._" in name for name in names)

    def test_identifiers_are_taken_apart(self, run):
        _, out, err = run("search", "ArgumentParser", "--json")
        assert err == ""
        assert any(result["name"].startswith("argparse") for result in json.loads(out)["results"])

    def test_kept_index(self, run, tmp_path):
        expected = run("search", "ArgumentParser", "--k", 20)
        path = tmp_path / "index"
        assert run("search", "ArgumentParser", "--k", 20, "--index", path)[:2] == expected[:2]
        assert run("search", "ArgumentParser", "--k", 20, "--index", path) == expected

    def test_demo(self, run):
        code, out, err = run("demo")
        assert (code, err) == (0, "")
        assert out.count("search '") == len(_cli._DEMO_QUERIES)
        assert "csv" in out
        assert "(lower bound)" in out

    def test_subprocess(self, own_cache):
        done = subprocess_run("search", "read a csv file", env={**os.environ, "KEXUE_CACHE_DIR": str(own_cache)})
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.splitlines()[0].split()[2].startswith(b"csv")

    def test_note_on_a_terminal_only(self, monkeypatch, capsys):
        _cli._notify("reading")
        assert capsys.readouterr().err == ""
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", terminal)
        _cli._notify("reading")
        assert terminal.getvalue() == "kexue: reading\n"
