"""The folder of a `DocumentIndex`: .npy arrays and a JSON file that tells what they are."""

from __future__ import annotations

import glob
import json
import math
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kexue import _npz
from kexue._context import __version__
from kexue._errors import KexueValueError

METRICS = ("wmd", "wrd")
EMPTY = ("raise", "skip")

_FORMAT = "kexue-document-index"
_VERSION = 1
_MANIFEST = "index.json"
_FIELDS = {"format", "version", "kexue", "metric", "rms", "empty", "kind", "dtype", "sizes", "checksums"}
_KINDS = ("array", "words", "contextual")
_SIZES = ("documents", "words", "entries", "vocabulary", "dimension", "key_bytes")
_BLOCK = 1 << 20  # entries that are looked at at once


def write(path: str | os.PathLike[str], description: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Write an index under a temporary name and rename it; what was there stays until then."""
    # A link to a folder stays a link.
    target = Path(os.path.realpath(path))
    if not _is_replaceable(target):
        raise KexueValueError(f"{target}: there is something other than an index, which is not replaced")
    checksums = {name: _checksum(array) for name, array in arrays.items()}
    description = description | {
        "format": _FORMAT, "version": _VERSION, "kexue": __version__, "checksums": checksums
    }  # fmt: skip
    unique = f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}"
    temporary, old = target.with_name(f"{unique}.tmp"), target.with_name(f"{unique}.old")
    temporary.mkdir()
    try:
        for name, array in arrays.items():
            np.save(temporary / f"{name}.npy", array, allow_pickle=False)
        (temporary / _MANIFEST).write_bytes(_manifest(description))
        if target.exists():
            os.replace(target, old)
        os.replace(temporary, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def read(folder: Path, *, mmap: bool) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What the index is, and its arrays, checked."""
    description = _read_manifest(folder)
    arrays = {
        name: _read_array(folder, name, dtype, shape, mapped=mmap)
        for name, (dtype, shape) in _layout(description).items()
    }
    for name, array in arrays.items():
        if (name != "vectors" or not mmap) and _checksum(array) != description["checksums"][name]:
            raise KexueValueError(f"{folder / name}.npy: damaged, its checksum differs")
    problem = _problem(arrays)
    if problem:
        raise KexueValueError(f"{folder}: damaged, {problem}")
    return description, arrays


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    step = max(1, _BLOCK // max(1, array[:1].size))
    return (array[begin : begin + step] for begin in range(0, len(array), step))


def _checksum(array: np.ndarray) -> int:
    checksum = 0
    for block in _blocks(array):
        if block.size:
            checksum = zlib.crc32(np.ascontiguousarray(block).data.cast("B"), checksum)
    return checksum


def _manifest(description: dict[str, Any]) -> bytes:
    body = json.dumps(description, indent=2, sort_keys=True)
    return json.dumps(description | {"checksum": zlib.crc32(body.encode())}, indent=2, sort_keys=True).encode() + b"\n"


def _is_replaceable(target: Path) -> bool:
    """Whether there is nothing but an index at this path."""
    try:
        files = {file.name for file in target.iterdir()}
        if not files:
            return True
        with _npz.open_regular(target / _MANIFEST) as file:
            description = json.loads(file.read())
        own = {_MANIFEST, *(f"{name}.npy" for name in description["checksums"])}
        return description["format"] == _FORMAT and files <= own
    except FileNotFoundError:
        return not target.exists()
    except (NotADirectoryError, ValueError, RecursionError, KeyError, TypeError):
        return False


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / _MANIFEST
    if not folder.exists():
        left = sorted(folder.parent.glob(f".{glob.escape(folder.name)}.*.old"))
        hint = f"; {left[-1]} is what an interrupted save left of it" if left else ""
        raise FileNotFoundError(f"{folder}: there is no such folder{hint}")
    try:
        with _npz.open_regular(file) as manifest:
            content = manifest.read()
    except (FileNotFoundError, NotADirectoryError):
        raise KexueValueError(f"{folder}: not a document index, there is no {_MANIFEST} in it") from None
    try:
        description = json.loads(content)
        fields = description if isinstance(description, dict) else {}
        fields.pop("checksum", None)
        intact = _manifest(fields) == content
    except (ValueError, RecursionError) as error:
        raise KexueValueError(f"{file}: damaged ({error})") from error
    if fields.get("format") != _FORMAT:
        raise KexueValueError(f"{file}: not of a document index")
    if fields.get("version") != _VERSION:
        raise KexueValueError(
            f"{file}: of version {fields.get('version')!r}; kexue {__version__} reads version {_VERSION}"
        )
    if not (intact and _makes_sense(fields)):
        raise KexueValueError(f"{file}: damaged, it does not fit its checksum or makes no sense")
    return fields


def _makes_sense(fields: dict[str, Any]) -> bool:
    if set(fields) != _FIELDS or not all(isinstance(fields[name], dict) for name in ("sizes", "checksums")):
        return False
    sizes = fields["sizes"]
    return (
        fields["metric"] in METRICS
        and isinstance(fields["rms"], bool)
        and not (fields["rms"] and fields["metric"] == "wrd")
        and fields["empty"] in EMPTY
        and fields["kind"] in _KINDS
        and fields["dtype"] in ("float32", "float64")
        and set(sizes) == set(_SIZES)
        and all(type(size) is int and 0 <= size < 2**62 for size in sizes.values())
        and (sizes["dimension"] > 0 or sizes["vocabulary"] == 0)
        and set(fields["checksums"]) == set(_layout(fields))
    )


def _layout(description: dict[str, Any]) -> dict[str, tuple[Any, tuple[int, ...]]]:
    """Data type and shape of each array."""
    documents, words, entries, vocabulary, dimension, key_bytes = (description["sizes"][name] for name in _SIZES)
    layout: dict[str, tuple[Any, tuple[int, ...]]] = {
        "vectors": (description["dtype"], (vocabulary, dimension)),
        "used": (np.int32, (words,)),
        "offsets": (np.int64, (documents + 1,)),
        "words": (np.int32, (entries,)),
        "weights": (np.float64, (entries,)),
        "removed": (np.uint8, (documents,)),
    }
    if description["metric"] == "wrd":
        layout["factors"] = (np.float64, (words,))
    if description["kind"] == "words":
        layout |= {"keys": (np.uint8, (key_bytes,)), "key_offsets": (np.int64, (vocabulary + 1,))}
    return layout


def _read_array(folder: Path, name: str, dtype: Any, shape: tuple[int, ...], *, mapped: bool) -> np.ndarray:
    path = folder / f"{name}.npy"
    expected = np.dtype(dtype)
    try:
        file = _npz.open_regular(path)
    except FileNotFoundError:
        raise KexueValueError(f"{path}: missing, the index is not complete") from None
    with file:
        # Before anything is allocated: a damaged header may ask for any size.
        try:
            version = np.lib.format.read_magic(file)
            found = np.lib.format.read_array_header_1_0(file) if version == (1, 0) else None
        except Exception as error:  # of whatever kind NumPy's parser of the header ends with
            raise KexueValueError(f"{path}: damaged ({error})") from error
        count = math.prod(shape)
        begin = file.tell()
        if found != (shape, False, expected) or os.fstat(file.fileno()).st_size != begin + count * expected.itemsize:
            raise KexueValueError(f"{path}: damaged or truncated, it does not hold {shape} numbers of {expected}")
        if mapped and count and begin % expected.alignment == 0:
            # The base class, which is pickled as any other array.
            return np.asarray(np.memmap(file, dtype=expected, mode="r", offset=begin, shape=shape))
        return np.fromfile(file, dtype=expected, count=count).reshape(shape)


def _problem(arrays: dict[str, np.ndarray]) -> str | None:
    """What would take a search out of its arrays, if it were let in."""
    vectors, used, offsets, words, weights = (
        arrays[name] for name in ("vectors", "used", "offsets", "words", "weights")
    )
    if offsets[0] != 0 or offsets[-1] != len(words) or (offsets[1:] < offsets[:-1]).any():
        return "offsets are no boundaries of the words of documents"
    for name, numbers, end in (("used", used, len(vectors)), ("words", words, len(used))):
        if len(numbers) and not 0 <= numbers.min() <= numbers.max() < end:
            return f"{name} has a number that is not below {end}"
    if len(arrays["removed"]) and arrays["removed"].max() > 1:
        return "removed has a number above 1"
    if len(np.unique(used)) != len(used):
        return "used has a number twice"
    first = np.zeros(len(words) + 1, dtype=bool)
    first[offsets] = True
    for begin in range(0, len(words), _BLOCK):
        end = min(begin + _BLOCK, len(words) - 1)
        rows = used[words[begin : end + 1]]
        if not ((rows[1:] > rows[:-1]) | first[begin + 1 : end + 1]).all():
            return "words are not in the order of the vectors"
    starts = offsets[:-1][offsets[1:] > offsets[:-1]]
    with np.errstate(all="ignore"):
        sums = np.add.reduceat(weights, starts) if len(starts) else np.ones(1)
        sound = len(weights) == 0 or (weights.min() > 0 and np.abs(sums - 1).max() < 1e-9)
    if not sound:
        return "weights are not positive, or do not add up to 1"
    factors = arrays.get("factors", np.zeros(0))
    if len(factors) and not (factors.min() > 0 and np.isfinite(factors.max())):
        return "factors are not positive and finite"
    return None
