"""Reading files of word vectors: word2vec text and binary, GloVe, fastText ``.vec``, ``.npz``, gensim."""

from __future__ import annotations

import contextlib
import gzip
import io
import itertools
import mmap as memory_map
import os
import warnings
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from kexue import _npz
from kexue._arrays import as_contiguous
from kexue._errors import KexueValueError

FORMATS = ("word2vec", "word2vec-binary", "glove", "fasttext", "npz", "gensim")

_BLOCK_BYTES = 1 << 24
_LINES_WITH_LIMIT = 4096
_LONGEST_LINE = 1 << 24
_LONGEST_KEY = 1 << 16
_FASTTEXT_MODEL_MAGIC = b"\xba\x16\x4f\x2f"


def read(
    path: str | os.PathLike[str], *, format: str | None, limit: int | None, mmap: bool, errors: str
) -> tuple[list[str], np.ndarray]:
    """Keys (unique) and finite float32 vectors of the file at `path`. See ``WordVectors.load``."""
    name = os.fspath(path)
    with _npz.open_regular(path) as file:
        start = file.read(4)
        if format is None:
            format = _outer_format(name, start)
        if format == "npz":
            keys, vectors = _read_npz(path, mmap)
        elif format == "gensim":
            keys, vectors = _read_gensim(name, mmap)
        else:
            file.seek(0)
            with _decompressed(name, file, start) as stream:
                first, second = stream.readline(_LONGEST_LINE), stream.readline(_LONGEST_LINE)
                header = _header(first)
                if format is None:
                    format = _inner_format(name, header, first, second)
                if format != "glove" and header is None:
                    raise KexueValueError(
                        f"{name}: line 1 is not the number of vectors and their dimension, as in {format}"
                    )
                if format == "word2vec-binary" and header is not None:
                    keys, vectors = _read_binary(name, stream, header, len(first), limit, errors)
                else:
                    stream.seek(0)
                    keys, vectors = _read_text(
                        name, stream, None if format == "glove" else header, limit, errors
                    )
    if limit is not None:
        keys, vectors = keys[:limit], vectors[:limit]
    if not keys:
        raise KexueValueError(f"{name}: no word vectors in the file")
    return _without_duplicates(name, keys, vectors)


def _outer_format(name: str, start: bytes) -> str | None:
    """Formats that their first bytes tell; None where the lines must be looked at."""
    if not start:
        raise KexueValueError(f"{name}: the file is empty")
    if start == b"PK\x03\x04":
        return "npz"
    if start[0] == 0x80 and len(start) > 1 and start[1] in (2, 3, 4, 5):
        raise KexueValueError(
            f"{name}: this is a pickle, as gensim writes them, and reading one can run what is in it; if you trust it, "
            "read it by WordVectors.load(path, format='gensim'), and .save it as .npz"
        )
    if start == _FASTTEXT_MODEL_MAGIC:
        raise KexueValueError(
            f"{name}: this is a fastText model (.bin); its word vectors are in the .vec file beside it"
        )
    return None


def _inner_format(name: str, header: tuple[int, int] | None, first: bytes, second: bytes) -> str:
    if header is not None:
        numbers = _trailing_numbers(second)
        return "word2vec" if numbers >= header[1] or _is_text(second) else "word2vec-binary"
    if _trailing_numbers(first) == 0:
        raise KexueValueError(
            f"{name}: line 1 is neither a header nor a word and its numbers; "
            f"known formats are {', '.join(FORMATS)}"
        )
    return "glove"


def _is_text(line: bytes) -> bool:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)


def _header(line: bytes) -> tuple[int, int] | None:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdigit() and len(field) <= 18 for field in fields):
        return None
    return int(fields[0]), int(fields[1])


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _trailing_numbers(line: bytes) -> int:
    """How many fields at the end of the line are numbers. The first field is the word, whatever it is."""
    count = 0
    for field in reversed(line.split()[1:]):
        if not _is_number(field):
            break
        count += 1
    return count


@contextlib.contextmanager
def _decompressed(name: str, file: BinaryIO, start: bytes) -> Iterator[BinaryIO]:
    if start[:2] != b"\x1f\x8b":
        yield file
        return
    try:
        with gzip.open(file) as stream:
            yield io.BufferedReader(_Unpacked(name, stream, os.fstat(file.fileno()).st_size))
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise KexueValueError(f"{name}: the compressed data is damaged or truncated ({error})") from error


class _Unpacked(io.RawIOBase):
    """What a compressed file holds, up to a size that is likely for its own."""

    def __init__(self, name: str, stream: gzip.GzipFile, size: int) -> None:
        self._name, self._stream, self._most = name, stream, _npz.most_unpacked(size)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: Any) -> int:
        count = self._stream.readinto(buffer)
        if self._stream.tell() > self._most:
            raise KexueValueError(f"{self._name}: unpacks to more than {self._most} bytes, unlikely for its size")
        return count


class _Rows:
    """A (rows, dimension) float32 array that grows as rows come in, without a second copy at the end."""

    def __init__(self, dimension: int, expected: int) -> None:
        self._array = np.empty((expected, dimension), dtype=np.float32)
        self._count = 0

    def append(self, rows: np.ndarray) -> None:
        needed = self._count + len(rows)
        if needed > len(self._array):
            self._array.resize((max(needed, len(self._array) * 3 // 2), self._array.shape[1]), refcheck=False)
        self._array[self._count : needed] = rows
        self._count = needed

    def finish(self) -> np.ndarray:
        if self._count != len(self._array):
            self._array.resize((self._count, self._array.shape[1]), refcheck=False)
        return self._array


def _decode_key(name: str, place: str, key: bytes, errors: str) -> str:
    try:
        return key.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise KexueValueError(
            f"{name}: {place}: the word {key[:40]!r} is not UTF-8; errors='replace' reads it all the same"
        ) from error


def _read_text(
    name: str, stream: BinaryIO, header: tuple[int, int] | None, limit: int | None, errors: str
) -> tuple[list[str], np.ndarray]:
    promised, dimension = header if header is not None else (None, 0)
    number = 1
    if header is not None:
        stream.readline()
        number = 2
        if dimension == 0:
            raise KexueValueError(f"{name}: line 1: the dimension is 0")
    wanted = promised if limit is None else limit if promised is None else min(limit, promised)
    keys: list[str] = []
    rows: _Rows | None = None
    while lines := (
        stream.readlines(_BLOCK_BYTES)
        if limit is None
        else list(itertools.islice(stream, min(_LINES_WITH_LIMIT, limit - len(keys))))
    ):
        if dimension == 0:
            dimension = _trailing_numbers(lines[0])
            if dimension == 0:
                raise KexueValueError(f"{name}: line {number}: no numbers after the word")
        block_keys, block = _parse_lines(name, lines, number, dimension, errors)
        number += len(lines)
        if rows is None:
            # A header is a promise, not a fact: never allocate more than this block's lines could turn into.
            rows = _Rows(dimension, len(block_keys))
        keys += block_keys
        rows.append(block)
    if promised is not None:
        if limit is None and len(keys) > promised:
            raise KexueValueError(f"{name}: line 1 says {promised} vectors, the file has {len(keys)}")
        if len(keys) < (wanted or 0):
            raise KexueValueError(
                f"{name}: truncated: line 1 says {promised} vectors, "
                f"the file ends after {len(keys)}, at line {number - 1}"
            )
    if rows is None:
        return [], np.empty((0, 1), dtype=np.float32)
    return keys, rows.finish()


def _parse_lines(
    name: str, lines: list[bytes], first: int, dimension: int, errors: str
) -> tuple[list[str], np.ndarray]:
    keys: list[str] = []
    numbers: list[bytes] = []
    places: list[int] = []
    for place, raw in enumerate(lines, first):
        line = raw.rstrip()
        if line.count(b" ") == dimension:
            key, _, rest = line.partition(b" ")
        elif line:
            key, rest = _split_unusual_line(name, place, raw, dimension)
        else:
            continue
        try:
            keys.append(key.decode())
        except UnicodeDecodeError:
            keys.append(_decode_key(name, f"line {place}", key, errors))
        numbers.append(rest)
        places.append(place)
    if not numbers:
        return [], np.empty((0, dimension), dtype=np.float32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", DeprecationWarning)  # how fromstring says that it stopped early
            values = np.fromstring(b" ".join(numbers), dtype=np.float32, sep=" ")
    except (DeprecationWarning, ValueError):
        values = np.empty(0, dtype=np.float32)
    if values.size != len(numbers) * dimension:
        raise KexueValueError(f"{name}: {_first_bad_line(numbers, places, dimension)}")
    values = values.reshape(-1, dimension)
    _check_finite(name, values, places, "line")
    return keys, values


def _split_unusual_line(name: str, place: int, line: bytes, dimension: int) -> tuple[bytes, bytes]:
    """Word and numbers of a line with a word of several words, or other white space than single blanks."""
    fields = line.rsplit(None, dimension)
    if len(fields) == dimension + 1 and _trailing_numbers(fields[0]) == 0:
        return fields[0], b" ".join(fields[1:])
    if len(fields) == dimension and line[:1].isspace():  # the word is itself white space
        return b"", b" ".join(fields)
    found = _trailing_numbers(line)
    raise KexueValueError(f"{name}: line {place}: expected {dimension} numbers after the word, found {found}")


def _first_bad_line(numbers: list[bytes], places: list[int], dimension: int) -> str:
    for place, rest in zip(places, numbers, strict=True):
        fields = rest.split()
        for position, field in enumerate(fields, 1):
            if not _is_number(field) or b"_" in field:
                return f"line {place}: number {position} is {field[:40].decode(errors='replace')!r}"
        if len(fields) != dimension:
            return f"line {place}: expected {dimension} numbers after the word, found {len(fields)}"
    return f"lines {places[0]} to {places[-1]}: not all numbers could be read"


def _check_finite(name: str, values: np.ndarray, places: list[int] | None, noun: str) -> None:
    rows = max(1, _BLOCK_BYTES // (4 * values.shape[1]))
    for begin in range(0, len(values), rows):
        finite = np.isfinite(values[begin : begin + rows])
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            place = places[begin + row] if places is not None else begin + row + 1
            raise KexueValueError(f"{name}: {noun} {place}: number {column + 1} is {values[begin + row, column]}")


def _read_binary(
    name: str, stream: BinaryIO, header: tuple[int, int], begin: int, limit: int | None, errors: str
) -> tuple[list[str], np.ndarray]:
    promised, dimension = header
    if dimension == 0:
        raise KexueValueError(f"{name}: the header says dimension 0")
    count = promised if limit is None else min(limit, promised)
    row_bytes = 4 * dimension
    with contextlib.ExitStack() as stack:
        data: memory_map.mmap | bytes
        if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, _Unpacked):
            stream.seek(0)
            data = stream.read()
        else:
            data = stack.enter_context(memory_map.mmap(stream.fileno(), 0, access=memory_map.ACCESS_READ))
        size = len(data)
        # A record is at least a letter, a blank and the numbers. The header may promise more than there is
        # room for.
        vectors = np.empty((min(count, (size - begin) // (row_bytes + 2)), dimension), dtype="<f4")
        target = vectors.reshape(-1).view(np.uint8).data
        keys: list[str] = []
        position = begin
        for record in range(1, count + 1):
            blank = data.find(b" ", position, position + _LONGEST_KEY)
            end = blank + 1 + row_bytes
            if blank < 0 or end > size:
                if blank < 0 and size - position > _LONGEST_KEY:
                    raise KexueValueError(
                        f"{name}: record {record}: no blank after the word in {_LONGEST_KEY} bytes"
                    )
                raise KexueValueError(
                    f"{name}: truncated: the header says {promised} vectors, the file ends in record {record}"
                )
            # The original word2vec ends every vector with a newline, gensim does not.
            key = data[position:blank].lstrip(b"\n")
            keys.append(_decode_key(name, f"record {record}", key, errors))
            if len(keys) > len(vectors):
                raise KexueValueError(f"{name}: record {record}: the word is empty")
            target[(record - 1) * row_bytes : record * row_bytes] = data[blank + 1 : end]
            position = end
        if limit is None and data[position : position + 64].strip():
            raise KexueValueError(f"{name}: the header says {promised} vectors, but the file goes on after them")
    _check_finite(name, vectors, None, "record")
    return keys, vectors.astype(np.float32, copy=False)


def _read_npz(path: str | os.PathLike[str], mmap: bool) -> tuple[list[str], np.ndarray]:
    name = os.fspath(path)
    arrays = _npz.load_npz(path, mapped=("vectors",) if mmap else ())
    if "vectors" not in arrays or "keys" not in arrays:
        raise KexueValueError(f"{name}: no arrays 'keys' and 'vectors' in the file, but {sorted(arrays)[:9]}")
    vectors, keys = arrays["vectors"], arrays["keys"]
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or vectors.shape[1] == 0:
        raise KexueValueError(
            f"{name}: 'vectors' is {vectors.dtype} of shape {vectors.shape}, not a 2-D array of numbers"
        )
    try:
        if keys.dtype.kind == "U" and keys.ndim == 1:  # written by np.savez(path, keys=[...], vectors=...)
            words = keys.tolist()
        elif "offsets" in arrays:
            words = _npz.unpack_strings(keys, arrays["offsets"])
        else:
            raise KexueValueError(f"'keys' is {keys.dtype} of shape {keys.shape}")
    except ValueError as error:
        raise KexueValueError(f"{name}: the words cannot be read ({error})") from error
    if len(words) != len(vectors):
        raise KexueValueError(f"{name}: {len(words)} words, but {len(vectors)} vectors")
    vectors = as_contiguous(vectors, dtype=np.float32)
    # A mapped file was checked when it was saved; reading it all now would undo the mapping.
    if not isinstance(vectors, np.memmap):
        _check_finite(name, vectors, None, "vector")
    return words, vectors


def _read_gensim(name: str, mmap: bool) -> tuple[list[str], np.ndarray]:
    try:
        from gensim.models import KeyedVectors
    except ImportError as error:
        raise ImportError(f"{name} is a file of gensim: install gensim to read it") from error
    try:
        model = KeyedVectors.load(name, mmap="r" if mmap else None)
    except OSError:
        raise
    except Exception as error:  # unpickling a damaged file can raise anything
        raise KexueValueError(f"{name}: gensim cannot read the file ({type(error).__name__}: {error})") from error
    model = getattr(model, "wv", model)
    if not hasattr(model, "index_to_key") or not hasattr(model, "vectors"):
        raise KexueValueError(f"{name}: the file holds a {type(model).__name__}, not word vectors")
    vectors = as_contiguous(model.vectors, dtype=np.float32)
    _check_finite(name, vectors, None, "vector")
    return [str(key) for key in model.index_to_key], vectors


def _without_duplicates(name: str, keys: list[str], vectors: np.ndarray) -> tuple[list[str], np.ndarray]:
    if len(set(keys)) == len(keys):
        return keys, vectors
    seen: set[str] = set()
    kept: list[int] = []
    repeated: list[str] = []
    for position, key in enumerate(keys):
        if key in seen:
            repeated.append(key)
        else:
            seen.add(key)
            kept.append(position)
    warnings.warn(
        f"{name}: {len(repeated)} words occur more than once (the first is {repeated[0]!r}); "
        "the first vector is kept",
        UserWarning,
        stacklevel=4,
    )
    return [keys[position] for position in kept], vectors[kept]
