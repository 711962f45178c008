"""Reading documents: the standard library's docstrings, a file, a folder, or standard input.

Everything here returns a list of :class:`Document`, in an order that depends on the content alone, and works
on the standard library only: no NumPy, so that a usage error is told before anything heavy is imported.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import importlib
import inspect
import io
import itertools
import json
import os
import platform
import sys
import sysconfig
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Document", "read_documents", "standard_library_docstrings", "standard_library_identity"]


class Document(NamedTuple):
    """A text and the name by which it is shown."""

    name: str
    text: str


# Tests and bundled wheels are no documentation; idlelib, turtledemo and lib2to3 are programs, whose
# docstrings speak of their own internals; distutils is not to be used any more, and its many commands answer
# every question about "running a command".
_SKIPPED_FOLDERS = frozenset(
    "__pycache__ _bundled dist-packages distutils idlelib lib2to3 site-packages test tests turtledemo".split()
)

# Modules written in C have no source to parse, so these are imported: each one only defines functions and
# types. Absent ones are passed over. Not here: readline and the curses modules, which write to the terminal
# on import.
_EXTENSION_MODULES = """
    _asyncio _bisect _bz2 _contextvars _csv _datetime _decimal _hashlib _heapq _json _lzma _pickle _queue
    _random _socket _sqlite3 _statistics _struct _zoneinfo array binascii cmath fcntl grp math mmap resource
    select syslog termios unicodedata zlib
""".split()

# Where the public module's name is not the C module's name without its underscore.
_PUBLIC_MODULE = {"_hashlib": "hashlib", "_thread": "threading", "nt": "os", "posix": "os"}


def _standard_library_sources() -> Iterator[tuple[str, str]]:
    """Dotted module name and path of every source file of the standard library, sorted by path."""
    root = sysconfig.get_path("stdlib")
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(
            name for name in subfolders if name not in _SKIPPED_FOLDERS and name.isidentifier()
        )
        package = os.path.relpath(folder, root).split(os.sep) if folder != root else []
        for file in sorted(files):
            stem, extension = os.path.splitext(file)
            if extension != ".py" or not stem.isidentifier():
                continue
            parts = package if stem == "__init__" else [*package, stem]
            if parts:
                yield ".".join(parts), os.path.join(folder, file)


def standard_library_identity() -> str:
    """Digest that changes when another Python, or another standard library, would be read.

    Made from the interpreter's version and from every source file's name, size and time of change: reading
    the files takes seconds, asking for this takes milliseconds.
    """
    digest = hashlib.sha256(f"{platform.python_implementation()} {sys.version}".encode())
    for module, path in _standard_library_sources():
        status = os.stat(path)
        digest.update(f"\n{module} {status.st_size} {status.st_mtime_ns}".encode())
    return digest.hexdigest()


def _source_documents(module: str, path: str) -> Iterator[Document]:
    """Docstrings of one source file, read from its syntax tree."""
    with open(path, "rb") as file:
        source = file.read()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in somebody else's source
            tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a file that is broken on purpose, as 2to3's fixtures were
        return

    def own(
        node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef, name: str
    ) -> Iterator[Document]:
        text = ast.get_docstring(node)
        if text and text.strip():
            yield Document(name, text.strip())

    def definitions(node: ast.AST, name: str) -> Iterator[Document]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                # Functions inside a function cannot be reached by their name, so they are not documents.
                yield from own(child, f"{name}.{child.name}")
            elif isinstance(child, ast.ClassDef):
                yield from own(child, f"{name}.{child.name}")
                yield from definitions(child, f"{name}.{child.name}")
            elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler):  # by platform, or with a fallback
                yield from definitions(child, name)

    yield from own(tree, module)
    yield from definitions(tree, module)


def _extension_documents(name: str, public_name: str) -> Iterator[Document]:
    """Docstrings of one module written in C."""
    try:
        if name == "_asyncio":
            # It imports asyncio, which imports it: begun at this end, asyncio keeps half of its Python fallbacks, and
            # no asyncio.timeout of the process works any more.
            importlib.import_module("asyncio")
        module = importlib.import_module(name)
    except ImportError:
        return

    def document(full_name: str, value: object) -> Iterator[Document]:
        text = getattr(value, "__doc__", None)
        if isinstance(text, str) and text.strip():
            yield Document(full_name, inspect.cleandoc(text).strip())

    yield from document(public_name, module)
    for attribute, value in sorted(vars(module).items()):
        if getattr(value, "__module__", None) not in (name, public_name, None):
            continue
        own_name = getattr(value, "__name__", attribute)
        if own_name != attribute and getattr(module, own_name, None) is value:
            continue  # an alias, as socket.SocketType is of socket.socket
        if isinstance(value, types.BuiltinFunctionType):
            yield from document(f"{public_name}.{attribute}", value)
        elif isinstance(value, type):
            yield from document(f"{public_name}.{attribute}", value)
            for member, method in sorted(vars(value).items()):
                # Dunder methods of C types all carry the same generated sentence ("Return self+value.").
                if not member.startswith("__") and callable(method):
                    yield from document(f"{public_name}.{attribute}.{member}", method)


def standard_library_docstrings() -> list[Document]:
    """Docstrings of the running Python's standard library.

    Returns
    -------
    list of Document
        One ``(name, text)`` for every module, class and function that has a docstring, several thousands in
        all; sorted by file and then in the order of the source. Source files are parsed, never imported;
        built-in modules and a fixed list of harmless extension modules are asked for theirs. A C function
        appears under the name of its public module (``csv.reader``, not ``_csv.reader``), and once where
        Python source documents it too.

    Notes
    -----
    Tests, ``site-packages``, ``distutils``, ``idlelib``, ``lib2to3`` and ``turtledemo`` are left out. About 2
    seconds.

    Examples
    --------
    >>> from kexue._corpus import standard_library_docstrings
    >>> documents = dict(standard_library_docstrings())
    >>> documents["csv.reader"].splitlines()[0] != ""
    True
    """
    documents: dict[str, str] = {}
    modules = set()
    for module, path in _standard_library_sources():
        modules.add(module)
        for name, text in _source_documents(module, path):
            documents.setdefault(name, text)
    for module in sorted({*sys.builtin_module_names, *_EXTENSION_MODULES}):
        stripped = module.removeprefix("_")
        public_name = _PUBLIC_MODULE.get(module, stripped if stripped in modules else module)
        for name, text in _extension_documents(module, public_name):
            documents.setdefault(name, text)
    return [Document(name, text) for name, text in documents.items()]


def read_documents(path: str | os.PathLike[str]) -> list[Document]:
    """Documents of a file, a folder, or standard input.

    Parameters
    ----------
    path : str or path-like
        A folder
            Every text file in it and below it is one document, named by its path inside the folder, in sorted
            order. Hidden files and folders (``.git``) are passed over, and so are binary files (a NUL byte
            among the first 8192), with a warning that says how many.
        ``*.jsonl``
            One JSON object a line, with the text in ``"text"`` and, if wanted, a name in ``"name"``.
        ``*.csv``, ``*.tsv``
            A table with a first line of column names, ``text`` among them and, if wanted, ``name``.
        any other file
            Paragraphs separated by blank lines; or, in a file without blank lines, one document a line.
        ``"-"``
            Standard input, one document a line.

    Returns
    -------
    list of Document
        ``(name, text)``, without empty texts. Unnamed documents are named by file and line.

    Raises
    ------
    OSError
        Something cannot be opened (FileNotFoundError where there is nothing).
    ValueError
        A file is not UTF-8 (the offset of the first bad byte is named), is no JSON lines or table as its name
        says, or there is no document at all.

    Warns
    -----
    UserWarning
        Binary files in a folder were passed over.

    Examples
    --------
    >>> import os, tempfile
    >>> from kexue._corpus import read_documents
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "notes.txt")
    ...     with open(path, "w") as file:
    ...         _ = file.write("Cats drink milk.\\n\\nCars\\nneed fuel.\\n")
    ...     [(document.name, document.text) for document in read_documents(path)]
    [('notes.txt:1', 'Cats drink milk.'), ('notes.txt:3', 'Cars\\nneed fuel.')]
    """
    if os.fspath(path) == "-":
        text = _decode("standard input", sys.stdin.buffer.read())
        documents = _line_documents("line ", text)
        source = "standard input"
    else:
        source = os.fspath(path)
        file = Path(path)
        if file.is_dir():
            documents = _folder_documents(file)
        else:
            text = _decode(source, file.read_bytes())
            suffix = file.suffix.lower()
            if suffix == ".jsonl":
                documents = _json_documents(source, text)
            elif suffix in (".csv", ".tsv"):
                documents = _table_documents(source, text, "," if suffix == ".csv" else "\t")
            else:
                documents = _paragraph_documents(f"{file.name}:", text)
                if len(documents) == 1:
                    documents = _line_documents(f"{file.name}:", text)
    if not documents:
        raise ValueError(f"{source}: no documents in it")
    return documents


def _decode(source: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{source}: not UTF-8 text: byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from error


def _line_documents(prefix: str, text: str) -> list[Document]:
    lines = enumerate(text.split("\n"), 1)
    return [Document(f"{prefix}{number}", line.strip()) for number, line in lines if line.strip()]


def _paragraph_documents(prefix: str, text: str) -> list[Document]:
    documents = []
    numbered = enumerate(text.split("\n"), 1)
    for filled, group in itertools.groupby(numbered, key=lambda line: bool(line[1].strip())):
        if filled:
            numbers, lines = zip(*group, strict=True)
            documents.append(Document(f"{prefix}{numbers[0]}", "\n".join(lines).strip()))
    return documents


def _json_documents(source: str, text: str) -> list[Document]:
    documents = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise ValueError(f"{source}: line {number} is not JSON ({error})") from error
        if not isinstance(entry, dict) or not isinstance(entry.get("text"), str):
            raise ValueError(f'{source}: line {number} is not a JSON object with a string "text"')
        if entry["text"].strip():
            name = entry.get("name")
            documents.append(
                Document(
                    f"{os.path.basename(source)}:{number}" if name is None else str(name),
                    entry["text"].strip(),
                )
            )
    return documents


def _table_documents(source: str, text: str, delimiter: str) -> list[Document]:
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    if "text" not in (reader.fieldnames or ()):
        raise ValueError(
            f"{source}: no column 'text' in the first line, which names {reader.fieldnames or 'none'}"
        )
    documents = []
    try:
        for row in reader:
            content = (row["text"] or "").strip()
            if content:
                name = row.get("name") or f"{os.path.basename(source)}:{reader.line_num}"
                documents.append(Document(name, content))
    except csv.Error as error:
        raise ValueError(f"{source}: line {reader.line_num}: {error}") from error
    return documents


def _folder_documents(folder: Path) -> list[Document]:
    documents = []
    binary = []

    def fail(error: OSError) -> None:
        raise error

    for parent, subfolders, files in os.walk(folder, onerror=fail):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for file in sorted(files):
            path = Path(parent, file)
            # Neither a broken link nor a pipe, which would block
            if file.startswith(".") or not path.is_file():
                continue
            data = path.read_bytes()
            if b"\0" in data[:8192]:
                binary.append(path)
                continue
            text = _decode(os.fspath(path), data).strip()
            if text:
                documents.append(Document(path.relative_to(folder).as_posix(), text))
    if binary:
        warnings.warn(
            f"{folder}: passed over {len(binary)} binary file{'s' * (len(binary) > 1)}"
            f" (the first is {binary[0].name})",
            UserWarning,
            stacklevel=3,
        )
    return documents
