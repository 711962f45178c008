"""bench/quality.py: documents in two parts, the pool, the plain methods, the figures, the command."""

import gzip
import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.sparse import csr_array

import kexue as kx

SCRIPT = Path(__file__).parents[2] / "bench" / "quality.py"


def _module():
    spec = importlib.util.spec_from_file_location("bench_quality", SCRIPT)
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


quality = _module()

PAGE = r"""'\" t
.\" A comment.
.TH LS "1" "September 2022"
.de HEAD
a definition
..
.ie n \{\
.ds Aq \(aq
.\}
.SH NAME
.
ls, dir \- list directory\*(Aqs contents
.SH SYNOPSIS
.B ls
.SH DESCRIPTION
.PP
List information about the \fIFILEs\fR\&. Sort
.BR read (2)
entries.
.ie n .IP "quoted ""word"" here" 4
.el .IP "printed" 4
if none of \fB\-cf\fR is\ given.\" not this
.TS
tab(@);
a@table
.TE
.SS "Second part"
The end.
.SH BUGS
None.
"""

MDOC_PAGE = r"""
.Dd May 1, 2020
.Dt NOLOGIN 8
.Os
.Sh NAME
.Nm nologin
.Nd politely refuse a login
.Sh DESCRIPTION
.Nm
displays a message with the option
.Fl a Ar file .
.Bl -tag -width Ds
.It Pa /etc/nologin
The message.
.El
.Sh SEE ALSO
.Xr login 1
"""


class TestTwoParts:
    @pytest.mark.parametrize(
        ("text", "sentence", "rest"),
        [
            ("Return x. And y.", "Return x.", "And y."),
            ("Return x\nof y.\n\nMore.", "Return x\nof y.", "More."),
            ("A title\n\nMore. Still more.", "A title", "More. Still more."),
            ("Uses e.g. version 1.5 of it. More.", "Uses e.g. version 1.5 of it.", "More."),
            ("Is it 'x'?' More.", "Is it 'x'?'", "More."),
            ("Only this.", "Only this.", ""),
            ("", "", ""),
            ("f(x, (y, z)) -> int\n\nDo it. More.", "Do it.", "More."),
            ("slice(stop)\nslice(start, stop)\n\nDo it. More.", "Do it.", "More."),
            ("repeat(x) -> create one\nfor ever.  If not,\nend.", "create one\nfor ever.", "If not,\nend."),
        ],
    )
    def test_first_sentence(self, text, sentence, rest):
        first, after = quality.split_first_sentence(text)
        assert (first, after.strip()) == (sentence, rest)

    @given(st.text())
    def test_first_sentence_is_not_in_the_rest(self, text):
        first, after = quality.split_first_sentence(text)
        assert text.strip().endswith(first + after)

    def test_repetitions_are_cut_out_of_the_target(self):
        question = "write the file".split()
        item = quality.make_item("x", question, "so write the file and write the file or write a file".split())
        assert item.target == "so and or write a file".split()
        assert quality.without_phrase(["a", "b", "a", "b"], ["a", "b"]) == ["a", "b", "a", "b"]

    def test_long_targets_are_cut(self):
        item = quality.make_item("x", ["a"], ["b"] * 10_000)
        assert len(item.target) == quality.MOST_WORDS


class TestManualPages:
    def test_man_macros(self):
        question, target = quality.split_manual_page(PAGE)
        assert question == "list directorys contents"
        expected = 'List information about the FILEs. Sort read(2) entries. quoted "word" here if none of -cf is given.'
        assert target.split() == f"{expected} Second part The end.".split()

    def test_mdoc_macros(self):
        question, target = quality.split_manual_page(MDOC_PAGE)
        assert question == "politely refuse a login"
        assert target.split() == (
            "nologin displays a message with the option a file . /etc/nologin The message.".split()
        )

    @pytest.mark.parametrize("dash", [r"\-", "-", r"\(em", r"\-\-", "\u2013"])
    def test_dashes_of_the_name(self, dash):
        page = f".SH NAME\nx-y {dash} do-it - now\n.SH DESCRIPTION\nWords."
        assert quality.split_manual_page(page) == ("do-it - now", "Words.")

    @pytest.mark.parametrize("page", ["", ".so man1/other.1\n", ".SH NAME\nno dash\n.SH DESCRIPTION\nWords."])
    def test_pages_without_a_question(self, page):
        assert quality.split_manual_page(page) == ("", "")

    @given(st.text(alphabet=".\\\"'{}SHNABdeifnl \n-([*f", max_size=200))
    def test_any_text_is_read(self, text):
        question, target = quality.split_manual_page(text)
        assert question != "" or target == ""

    def test_files(self, tmp_path):
        folder = tmp_path / "man1"
        folder.mkdir()
        (tmp_path / "de" / "man1").mkdir(parents=True)
        (tmp_path / "de" / "man1" / "ls.1").write_text(PAGE)
        (folder / "nologin.1").write_text(MDOC_PAGE)
        with gzip.open(folder / "ls.1.gz", "wt") as file:
            file.write(PAGE)
        for i in range(quality.PAGES_OF_ONE_PROGRAM + 20):
            (folder / f"cloud-{i}.1").write_text(PAGE)
        (folder / "broken.1").symlink_to(folder / "absent.1")
        files = quality.manual_files([str(tmp_path)], np.random.default_rng(0))
        names = [os.path.basename(path) for path in files]
        assert sum(name.startswith("cloud-") for name in names) == quality.PAGES_OF_ONE_PROGRAM
        items = {item.name: item for item in quality.manual_items(files)}
        assert not any(str(tmp_path / "de") in path for path in files)
        assert items["ls.1"].question == "list directorys contents".split()
        assert items["nologin.1"].target[0] == "nologin"
        assert "broken.1" not in items


def _items():
    rng = np.random.default_rng(3)
    words = [f"w{i}" for i in range(60)]
    return [
        quality.Item(str(i), [*rng.choice(words, 3), f"only{i}"], rng.choice(words, 20).tolist()) for i in range(40)
    ]


class TestPool:
    def test_vectors_know_the_targets_only(self):
        pool = quality.make_pool(_items(), 30, 10, np.random.default_rng(0))
        assert len(pool.items) == 30 and pool.questions.shape == (10, len(pool.words))
        assert not any(word.startswith("only") for word in pool.words.index_to_key)

    def test_question_and_answer_belong_together(self):
        pool = quality.make_pool(_items(), 30, 10, np.random.default_rng(0))
        for row, answer in enumerate(pool.answers):
            expected = pool.words.document(pool.items[answer].question)
            assert (pool.questions[[row]] != expected).nnz == 0
            expected = pool.words.document(pool.items[answer].target)
            assert (pool.targets[[answer]] != expected).nnz == 0

    def test_what_is_left_out(self):
        items = _items()
        twin = quality.Item("twin", ["w1"], items[0].target[::-1])
        short = quality.Item("short", ["w1"], ["w2"] * (quality.LEAST_WORDS - 1))
        function_words = quality.Item("function words", ["w1"], ["the", "of"] * 10)
        without_question = quality.Item("without question", [], items[1].target + ["w3"])
        extra = [twin, short, function_words, without_question]
        pool = quality.make_pool([*items, *extra], 1000, 1000, np.random.default_rng(0))
        assert [item.name for item in pool.items] == [item.name for item in items]

    def test_what_is_not_asked(self):
        items = _items()
        items[0] = items[0]._replace(question=["w1", "w2"])
        items[1] = items[1]._replace(question=["w1", "w2"])
        items[2] = items[2]._replace(question=["the", "unknown"])
        pool = quality.make_pool(items, 1000, 1000, np.random.default_rng(0))
        assert len(pool.items) == 40
        assert pool.answers.tolist() == list(range(3, 40))

    def test_nothing_to_ask(self):
        with pytest.raises(ValueError, match="none of 0 documents"):
            quality.make_pool([], 10, 10, np.random.default_rng(0))
        items = [item._replace(question=["the"]) for item in _items()]
        with pytest.raises(ValueError, match="none of 40 documents has a question"):
            quality.make_pool(items, 1000, 10, np.random.default_rng(0))


# No empty row.
counts = arrays(np.float64, (5, 8), elements=st.integers(0, 3)).map(
    lambda rows: rows + ~rows.any(axis=1, keepdims=True)
)


class TestPlainMethods:
    @given(counts, counts)
    def test_cosine(self, x, y):
        expected = 1 - (x @ y.T) / np.linalg.norm(x, axis=1)[:, None] / np.linalg.norm(y, axis=1)
        result = quality.cosine_distances(csr_array(x), csr_array(y))
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-14)

    @given(counts, counts)
    def test_l1_is_the_transport_between_equally_distant_words(self, x, y):
        result = quality.l1_distances(csr_array(x), csr_array(y))
        expected = np.abs((x / x.sum(axis=1)[:, None])[:, None] - y / y.sum(axis=1)[:, None]).sum(axis=2)
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-14)
        moved = kx.pairwise_distances(csr_array(x), csr_array(y), vectors=np.eye(8))
        np.testing.assert_allclose(moved, result / math.sqrt(2), rtol=0, atol=1e-12)

    @given(counts, counts)
    def test_bm25(self, x, y):
        result = quality.bm25_distances(csr_array(x), csr_array(y), k1=1.2, b=0.75)
        for i, question in enumerate(x):
            for j, target in enumerate(y):
                score = 0.0
                for word in np.flatnonzero(question * target):
                    having = np.count_nonzero(y[:, word])
                    damping = 1.2 * (1 - 0.75 + 0.75 * target.sum() / y.sum(axis=1).mean())
                    part = target[word] * (1.2 + 1) / (target[word] + damping)
                    score += question[word] * math.log(1 + (5 - having + 0.5) / (having + 0.5)) * part
                assert result[i, j] == pytest.approx(-score, abs=1e-12)

    @given(counts, counts)
    def test_centroid(self, x, y):
        vectors = np.random.default_rng(0).normal(size=(8, 3))
        result = quality.centroid_distances(csr_array(x), csr_array(y), vectors)
        a, b = x[0] @ vectors, y[0] @ vectors
        assert result[0, 0] == pytest.approx(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-12)

    def test_every_method_finds_what_is_asked_with_its_own_words(self):
        items = _items()
        items[7] = items[7]._replace(question=items[7].target)
        pool = quality.make_pool(items, 1000, 1000, np.random.default_rng(0))
        row = pool.answers.tolist().index(7)
        for name, distances in quality.methods(pool).items():
            assert quality.pessimistic_ranks(distances(), pool.answers)[row] == 1, name


class TestFigures:
    @given(arrays(np.int64, (4, 6), elements=st.integers(0, 3)), arrays(np.int64, 4, elements=st.integers(0, 5)))
    def test_ties_count_against_a_method(self, distances, answers):
        ranks = quality.pessimistic_ranks(distances, answers)
        for row, answer, rank in zip(distances, answers, ranks, strict=True):
            assert rank == len(row) - sorted(row[::-1], reverse=True).index(row[answer])

    def test_scores(self):
        assert quality.scores_of(np.array([1, 4, 10, 11])).tolist() == [
            [1, 1, 1],
            [0.25, 0, 1],
            [0.1, 0, 1],
            [1 / 11, 0, 0],
        ]

    def test_bootstrap_has_the_spread_of_a_mean(self):
        scores = np.random.default_rng(1).random((400, 2, 3))
        means = quality.bootstrap_means(scores, 5000, np.random.default_rng(2))
        assert means.shape == (5000, 2, 3)
        np.testing.assert_allclose(means.mean(axis=0), scores.mean(axis=0), rtol=0, atol=1e-3)
        np.testing.assert_allclose(means.std(axis=0), scores.std(axis=0) / math.sqrt(400), rtol=0.05)

    def test_lines(self):
        rng = np.random.default_rng(4)
        good, bad = rng.integers(1, 5, 100), rng.integers(20, 50, 100)
        ranks = {"bad": bad, "good": good, "as good": good}
        is_long, shares = np.arange(100) < 30, np.arange(100) % 2 == 0
        lines = quality.summarize(ranks, dict.fromkeys(ranks, 1.0), is_long, shares)
        assert [(line.method, line.best_other) for line in lines] == [
            ("good", "as good"),
            ("as good", "good"),
            ("bad", "good"),
        ]
        assert lines[1].differences["good"] == quality.Interval(0.0, 0.0, 0.0)
        lost, won = lines[2].differences["good"], lines[0].differences["bad"]
        assert lost.low <= lost.value <= lost.high < 0 < won.low
        assert won.value == -lost.value == pytest.approx((1 / good - 1 / bad).mean())
        assert lines[0].metrics["MRR"].value == pytest.approx((1 / good).mean())
        assert lines[0].longer == pytest.approx((1 / good[:30]).mean())
        assert lines[0].shorter == pytest.approx((1 / good[30:]).mean())
        assert [line.found_unshared for line in lines] == [50, 50, 0]


def test_command(tmp_path):
    """On a machine without manual pages, in a tiny form."""
    json_file, markdown_file = tmp_path / "quality.json", tmp_path / "quality.md"
    sizes = ["--queries", "20", "--documents", "150"]
    done = subprocess.run(
        [sys.executable, SCRIPT, *sizes, "--json", json_file, "--markdown", markdown_file],
        env={**os.environ, "PATH": str(tmp_path), "MANPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert "There are no manual pages on this machine" in done.stdout
    assert markdown_file.read_text() in done.stdout
    (corpus,) = json.loads(json_file.read_text())["corpora"]
    assert (corpus["targets"], corpus["questions"]) == (150, 20)
    assert len(corpus["lines"]) == 9
    for line in corpus["lines"]:
        for interval in line["metrics"].values():
            assert 0 <= interval["low"] <= interval["value"] <= interval["high"] <= 1
        assert markdown_file.read_text().count(f"\n| {line['method']} |") == 1


@pytest.mark.parametrize("arguments", [["--queries", "0"], ["--documents", "x"], ["--corpus", "news"]])
def test_usage_errors(arguments):
    with pytest.raises(SystemExit) as error:
        quality.main(arguments)
    assert error.value.code == 2
