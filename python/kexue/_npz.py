"""Arrays in an uncompressed ``.npz`` file: written whole or not at all, read without pickle, or mapped."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from kexue._errors import KexueValueError

_ALIGNMENT = 64  # a cache line, and NumPy's own alignment of an .npy header
_LOCAL_HEADER_BYTES = 30
_ZIP64_EXTRA_BYTES = 20
_PADDING_ID = 0xD935  # the extra field Android's zipalign writes
_READ_BYTES = 1 << 24
_MOST_DEFLATION = 1032  # bytes that a byte can stand for: 258 of them take two bits at least
# What a file may unpack to: numbers of any use do not shrink to a thirtieth, and a bomb to a thousandth.
_ROOM, _LIKELY_DEFLATION = 1 << 26, 32


def pack_strings(strings: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """UTF-8 bytes of all strings, one after another, and the ``len(strings) + 1`` offsets between them."""
    encoded = [string.encode("utf-8", "surrogatepass") for string in strings]
    offsets = np.zeros(len(encoded) + 1, dtype=np.int64)
    np.cumsum([len(string) for string in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), dtype=np.uint8), offsets


def check_packed_strings(data: np.ndarray, offsets: np.ndarray) -> None:
    """ValueError unless these could come from :func:`pack_strings`; the strings themselves are not looked at."""
    if data.dtype != np.uint8 or offsets.dtype != np.int64 or data.ndim != 1 or offsets.ndim != 1:
        raise ValueError("strings are not stored as bytes and offsets")
    if len(offsets) == 0 or offsets[0] != 0 or offsets[-1] != len(data) or np.any(np.diff(offsets) < 0):
        raise ValueError("offsets of the strings do not fit their bytes")


def unpack_strings(data: np.ndarray, offsets: np.ndarray) -> list[str]:
    """Inverse of :func:`pack_strings`; ValueError when the two do not belong together."""
    check_packed_strings(data, offsets)
    buffer = data.tobytes()
    bounds = offsets.tolist()
    return [
        buffer[begin:end].decode("utf-8", "surrogatepass")
        for begin, end in zip(bounds[:-1], bounds[1:], strict=True)
    ]


def save_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write `arrays` to `path` under a temporary name, then rename.

    Every member's data starts at a multiple of 64 bytes, so that it can be memory-mapped as an aligned array;
    NumPy's own ``savez`` does not see to that.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                for name, array in arrays.items():
                    _write_member(archive, file, f"{name}.npy", array)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _write_member(archive: zipfile.ZipFile, file: BinaryIO, name: str, array: np.ndarray) -> None:
    # A fixed date makes equal arrays equal files.
    member = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    begin = file.tell() + _LOCAL_HEADER_BYTES + len(name.encode()) + _ZIP64_EXTRA_BYTES + 4
    padding = -begin % _ALIGNMENT
    member.extra = struct.pack("<HH", _PADDING_ID, padding) + bytes(padding)
    with archive.open(member, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.asarray(array), allow_pickle=False)


def most_unpacked(size: int) -> int:
    """The bytes that a compressed file of so many bytes may hold and be believed."""
    return _ROOM + _LIKELY_DEFLATION * size


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """The file at `path`, open for reading; not what would be waited for, such as a pipe that nobody writes to."""
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise KexueValueError(f"{os.fspath(path)}: not a regular file")
    return file


def load_npz(path: str | os.PathLike[str], *, mapped: Collection[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of the ``.npz`` file at `path`; those named in `mapped` as read-only memory maps where possible.

    A member that is compressed, or not aligned, is read instead of mapped. What is mapped is not checked
    against its checksum.

    Raises
    ------
    KexueValueError
        The file is damaged, holds Python objects, or would unpack to more than its size makes likely.
    OSError
        The file cannot be opened.
    """
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            arrays: dict[str, np.ndarray] = {}
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                # Before the first is unpacked, and where several share their bytes, too.
                total = sum(member.file_size for member in members)
                if total > most_unpacked(size):
                    raise ValueError(f"it would unpack to {total} bytes from {size}")
                for member in members:
                    name = member.filename.removesuffix(".npy")
                    if name in arrays:
                        raise ValueError(f"{member.filename} is in it twice")
                    arrays[name] = _read_member(file, archive, member, size, map_it=name in mapped)
            return arrays
        except (
            zipfile.BadZipFile,
            zlib.error,
            struct.error,
            ValueError,
            EOFError,
            OSError,
            RuntimeError,
        ) as error:
            raise KexueValueError(f"{os.fspath(path)}: not a readable .npz file ({error})") from error


def _read_member(
    file: BinaryIO,
    archive: zipfile.ZipFile,
    member: zipfile.ZipInfo,
    size: int,
    *,
    map_it: bool,
) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{member.filename} is compressed in a way that NumPy does not write")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"{member.filename} is of .npy version {version}")
        read_header = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        try:
            shape, fortran_order, dtype = read_header(stream)
        except Exception as error:  # whatever Python's tokenizer and parser make of a damaged literal
            raise ValueError(f"the header of {member.filename} is damaged ({error})") from error
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects, which are not loaded")
        if dtype.itemsize == 0:
            raise ValueError(f"{member.filename} holds entries of no size")
        order: Literal["F", "C"] = "F" if fortran_order else "C"
        count = 1
        for length in shape:
            count *= length
        # Before anything is allocated: a damaged header may ask for any size.
        is_shape = all(type(length) is int and length >= 0 for length in shape)
        if not is_shape or stream.tell() + count * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} has not the size its header says")
        stored = member.compress_type == zipfile.ZIP_STORED
        if member.header_offset + member.compress_size > size or stored and member.file_size > member.compress_size:
            raise ValueError(f"{member.filename} ends after the end of the file")
        if member.file_size > _MOST_DEFLATION * member.compress_size:
            raise ValueError(f"{member.filename} is too short for the size its header says")
        if map_it and stored and count:
            begin = _data_offset(archive, member) + stream.tell()
            if begin % dtype.alignment == 0:
                # Of the file that is open: another may have its name by now.
                return np.memmap(file, dtype=dtype, mode="r", offset=begin, shape=shape, order=order)
        array = np.empty(shape, dtype=dtype, order=order)
        buffer = array.reshape(-1, order="A").view(np.uint8).data
        filled = 0
        while filled < len(buffer):
            block = stream.read(min(_READ_BYTES, len(buffer) - filled))
            if not block:
                raise ValueError(f"{member.filename} is truncated")
            buffer[filled : filled + len(block)] = block
            filled += len(block)
        stream.read(1)  # reaching the end is what compares the checksum
        return array


def _data_offset(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> int:
    file = archive.fp
    assert file is not None  # it is open
    position = file.tell()
    file.seek(member.header_offset)
    header = file.read(_LOCAL_HEADER_BYTES)
    file.seek(position)
    name_bytes, extra_bytes = struct.unpack("<HH", header[26:30])
    return member.header_offset + _LOCAL_HEADER_BYTES + name_bytes + extra_bytes
