"""Reading documents: the standard library's docstrings, files, folders, standard input."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kexue import _corpus
from kexue._corpus import Document, read_documents, standard_library_docstrings, standard_library_identity


@pytest.fixture(scope="module")
def docstrings():
    return standard_library_docstrings()


class TestStandardLibrary:
    def test_thousands_of_documents(self, docstrings):
        assert len(docstrings) > 5000
        assert all(isinstance(document, Document) for document in docstrings)
        assert all(document.text == document.text.strip() != "" for document in docstrings)

    def test_names_are_unique(self, docstrings):
        assert len({document.name for document in docstrings}) == len(docstrings)

    @pytest.mark.parametrize(
        ("name", "beginning"),
        [
            ("json", "JSON (JavaScript Object Notation)"),
            ("json.loads", "Deserialize ``s``"),
            ("textwrap.TextWrapper.wrap", "wrap(text : string)"),
            ("asyncio.tasks.sleep", "Coroutine that completes"),
            ("math.sqrt", "Return the square root of x."),
            ("builtins.sorted", "Return a new list"),
            ("builtins.list.sort", "Sort the list in ascending order"),
            ("os.listdir", "Return a list containing the names"),
            ("zlib.compress", "Returns a bytes object containing compressed data."),
            ("itertools.chain", "chain(*iterables)"),
        ],
    )
    def test_known_ones(self, docstrings, name, beginning):
        assert dict(docstrings)[name].startswith(beginning)

    def test_c_functions_have_the_name_of_their_public_module(self, docstrings):
        names = {document.name for document in docstrings}
        assert "csv.reader" in names
        assert "_csv.reader" not in names
        assert "socket.socket.send" in names
        assert "socket.SocketType.send" not in names

    def test_what_is_left_out(self, docstrings):
        top = {document.name.partition(".")[0] for document in docstrings}
        assert not top & {
            "test",
            "idlelib",
            "lib2to3",
            "distutils",
            "turtledemo",
            "numpy",
            "pytest",
            "site-packages",
        }
        assert not any(".tests." in document.name or ".test." in document.name for document in docstrings)

    def test_deterministic(self, docstrings):
        assert standard_library_docstrings() == docstrings
        assert standard_library_identity() == standard_library_identity()

    def test_modules_are_not_imported(self):
        # antigravity opens a browser, this prints a poem.
        code = "import sys, kexue._corpus as c; c.standard_library_docstrings(); print(*sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
        )
        assert not {"antigravity", "this", "tkinter", "turtle", "readline", "unittest"} & set(
            done.stdout.split()
        )
        assert done.stderr == ""


class TestSources:
    def read(self, tmp_path, source, monkeypatch):
        path = tmp_path / "package" / "module.py"
        path.parent.mkdir()
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        monkeypatch.setattr(_corpus.sysconfig, "get_path", lambda name: str(tmp_path))
        return list(_corpus._standard_library_sources()), list(
            _corpus._source_documents("package.module", str(path))
        )

    def test_every_kind_of_definition(self, tmp_path, monkeypatch):
        sources, documents = self.read(
            tmp_path,
            '''
            """The module.

            More of it.
            """
            def function():
                """A function."""
                def inner():
                    """Not reachable."""
            async def coroutine():
                "A coroutine."
            class Outer:
                """A class."""
                def method(self):
                    """A method."""
                class Inner:
                    def method(self): "Inner method."
            if True:
                def conditional(): "By platform."
            elif False:
                def otherwise(): "By other platform."
            else:
                def at_last(): "By no platform."
            try:
                import absent
            except ImportError:
                def fallback(): "A fallback."
            def bare(): pass
            def blank(): "   "
            x = """No docstring."""
            ''',
            monkeypatch,
        )
        assert sources == [("package.module", str(tmp_path / "package" / "module.py"))]
        assert documents == [
            ("package.module", "The module.\n\nMore of it."),
            ("package.module.function", "A function."),
            ("package.module.coroutine", "A coroutine."),
            ("package.module.Outer", "A class."),
            ("package.module.Outer.method", "A method."),
            ("package.module.Outer.Inner.method", "Inner method."),
            ("package.module.conditional", "By platform."),
            ("package.module.otherwise", "By other platform."),
            ("package.module.at_last", "By no platform."),
            ("package.module.fallback", "A fallback."),
        ]

    @pytest.mark.parametrize("source", ["def broken(:", "print 'Python 2'", "\0"])
    def test_broken_source_is_passed_over(self, tmp_path, source, monkeypatch):
        assert self.read(tmp_path, source, monkeypatch)[1] == []

    def test_identity_follows_the_files(self, tmp_path, monkeypatch):
        self.read(tmp_path, '"""One."""', monkeypatch)
        identities = [standard_library_identity()]
        (tmp_path / "package" / "other.py").write_text('"""Two."""')
        identities.append(standard_library_identity())
        (tmp_path / "package" / "other.py").write_text('"""Three."""')
        identities.append(standard_library_identity())
        (tmp_path / "test").mkdir()
        (tmp_path / "test" / "left_out.py").write_text('"""Four."""')
        assert len(set(identities)) == 3
        assert standard_library_identity() == identities[-1]


class TestFile:
    def read(self, tmp_path, content, name="notes.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return [tuple(document) for document in read_documents(path)]

    @pytest.mark.parametrize("name", ["notes.txt", "README.md", "page.rst", "no_suffix"])
    def test_paragraphs(self, tmp_path, name):
        content = "\n\nfirst\n  of two lines  \n\n \t \nsecond\n\n\nthird"
        expected = [(f"{name}:3", "first\n  of two lines"), (f"{name}:7", "second"), (f"{name}:10", "third")]
        assert self.read(tmp_path, content, name) == expected
        assert self.read(tmp_path, content.replace("\n", "\r\n"), name) == expected

    def test_lines_where_no_line_is_blank(self, tmp_path):
        expected = [("notes.txt:1", "first"), ("notes.txt:2", "second"), ("notes.txt:3", "third")]
        assert self.read(tmp_path, "first\n second \nthird\n\n") == expected

    def test_one_line(self, tmp_path):
        assert self.read(tmp_path, "only") == [("notes.txt:1", "only")]

    def test_byte_order_mark(self, tmp_path):
        assert self.read(tmp_path, b"\xef\xbb\xbfna\xc3\xafve") == [("notes.txt:1", "naïve")]

    def test_json_lines(self, tmp_path):
        lines = [
            {"text": " one "},
            {"text": "two\nlines", "name": "second"},
            {"text": " "},
            {"text": "4", "name": 4},
        ]
        content = "\n".join(map(json.dumps, lines)) + "\n\n"
        expected = [("a.jsonl:1", "one"), ("second", "two\nlines"), ("4", "4")]
        assert self.read(tmp_path, content, "a.jsonl") == expected

    @pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
    def test_tables(self, tmp_path, suffix, delimiter):
        rows = [
            ["name", "text", "year"],
            ["a", '"one, two\nlines"', "1"],
            ["", "second", "2"],
            ["c", "", "3"],
        ]
        content = "\n".join(delimiter.join(row) for row in rows)
        assert self.read(tmp_path, content, f"t.{suffix}") == [
            ("a", "one, two\nlines"),
            (f"t.{suffix}:4", "second"),
        ]

    @pytest.mark.parametrize(
        ("name", "content", "message"),
        [
            ("a.txt", b"", "no documents in it"),
            ("a.txt", b" \n\t\n", "no documents in it"),
            ("a.jsonl", b"\n", "no documents in it"),
            ("a.csv", b"text\n", "no documents in it"),
            ("a.txt", b"0123\xff567", "byte 0xff at offset 4"),
            ("a.txt", "é".encode("utf-16"), "byte 0xff at offset 0"),
            ("a.txt", "café".encode("latin-1"), "byte 0xe9 at offset 3"),
            ("a.jsonl", b'{"text": "a"}\n{"text"', "line 2 is not JSON"),
            ("a.jsonl", b'\n["text"]', 'line 2 is not a JSON object with a string "text"'),
            ("a.jsonl", b'{"text": 3}', "line 1 is not a JSON object"),
            ("a.csv", b"title,body\n1,2\n", "no column 'text' .*'title', 'body'"),
            ("a.csv", b"", "no column 'text'"),
        ],
    )
    def test_bad_files(self, tmp_path, name, content, message):
        with pytest.raises(ValueError, match=message) as caught:
            self.read(tmp_path, content, name)
        assert str(tmp_path / name) in str(caught.value)

    def test_missing(self, tmp_path):
        with pytest.raises(FileNotFoundError):
            read_documents(tmp_path / "absent.txt")

    @given(
        st.lists(st.lists(st.text("ab ", min_size=1).filter(str.strip), min_size=1, max_size=3), min_size=2)
    )
    def test_paragraphs_are_found_again(self, paragraphs):
        texts = ["\n".join(lines) for lines in paragraphs]
        found = _corpus._paragraph_documents("", "\n\n".join(texts))
        assert [document.text for document in found] == [text.strip() for text in texts]
        lines = "\n\n".join(texts).split("\n")
        assert all(
            lines[int(document.name) - 1].strip() == document.text.split("\n")[0].strip()
            for document in found
        )


class TestFolder:
    def test_files_below_in_order(self, tmp_path):
        for name in ("b.txt", "a.md", "sub/c.py", "sub/deep/d", "a/e.txt"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"text of {name}\n\nall of it")
        (tmp_path / "empty.txt").write_text(" \n")
        (tmp_path / ".hidden").write_text("hidden")
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "config").write_text("hidden")
        documents = read_documents(tmp_path)
        assert [document.name for document in documents] == [
            "a.md",
            "b.txt",
            "a/e.txt",
            "sub/c.py",
            "sub/deep/d",
        ]
        assert documents[0].text == "text of a.md\n\nall of it"

    def test_binary_files_are_passed_over(self, tmp_path):
        (tmp_path / "a.bin").write_bytes(b"\x00\xff")
        (tmp_path / "b.bin").write_bytes(b"text\x00")
        (tmp_path / "c.txt").write_text("text")
        with pytest.warns(UserWarning, match=r"2 binary files \(the first is a.bin\)"):
            assert read_documents(tmp_path) == [("c.txt", "text")]

    def test_undecodable(self, tmp_path):
        (tmp_path / "a.txt").write_bytes(b"caf\xe9")
        with pytest.raises(ValueError, match="a.txt: not UTF-8 text: byte 0xe9 at offset 3"):
            read_documents(tmp_path)

    def test_empty(self, tmp_path):
        with pytest.raises(ValueError, match="no documents in it"):
            read_documents(tmp_path)

    def test_pipes_and_broken_links_are_passed_over(self, tmp_path):
        if hasattr(os, "mkfifo"):
            os.mkfifo(tmp_path / "pipe")
        (tmp_path / "link").symlink_to(tmp_path / "absent")
        (tmp_path / "loop").symlink_to(tmp_path)
        (tmp_path / "c.txt").write_text("text")
        assert read_documents(tmp_path) == [("c.txt", "text")]


class TestStandardInput:
    def read(self, monkeypatch, content):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
        return read_documents("-")

    def test_lines(self, monkeypatch):
        assert self.read(monkeypatch, "one\n\n zwölf \n".encode()) == [("line 1", "one"), ("line 3", "zwölf")]

    def test_bad_input(self, monkeypatch):
        with pytest.raises(ValueError, match="standard input: not UTF-8 text: byte 0xff at offset 2"):
            self.read(monkeypatch, b"ab\xff")
        with pytest.raises(ValueError, match="standard input: no documents"):
            self.read(monkeypatch, b"\n")


def test_asyncio_works_after_its_docstrings_were_read():
    """The C half of asyncio, imported before the other, breaks it for the whole process."""
    code = (
        "from kexue._corpus import standard_library_docstrings\n"
        "import sys\n"
        "assert 'asyncio' not in sys.modules\n"
        "standard_library_docstrings()\n"
        "import asyncio\n"
        "async def main():\n"
        "    async with asyncio.timeout(60):\n"
        "        return 3\n"
        "print(asyncio.run(main()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "3\n", done.stderr
