"""Damaged saved files through the loaders of search indexes and prefix trees.

    python tests/fuzz_loaders.py [index] [tree] [--count 1000000] [--seed 0] [--seconds 10] [--megabytes 512]

Every load ends as a ValueError or OSError, or as an object that answers as a sound one does; within a time limit, in a
process whose memory is limited, without a file beside the saved one touched and without running what is in it. Damage:
truncation, flipped bits, moved and doubled stretches, forged headers, sizes and checksums, members that are compressed,
pickled, doubled or misnamed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import random
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import numpy as np

import kexue
from fuzz_expressions import limit_memory, tell, time_limit

RAN = "KEXUE_FUZZ_RAN"  # an environment variable that a member that is unpickled would set
SPECIAL = [0, 1, 2, 3, 7, 63, 64, 65, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31]
SPECIAL += [2**32 - 2, 2**32 - 1, 2**62, 2**63 - 1, -1, -2]
SEQUENCES = [[3, 1, 4], [3, 1, 5], [3], [2, 7, 1, 8, 2, 8], [2, 7], [9], [], [3, 1, 4, 1, 5, 9], [70_000, 1]]
LARGE = [[2**40, 5], [2**40, 6, 7], [1], [2**62]]
TEXTS = ["a cat sat", "the dog ran far", "a dog and a cat", "far far away", "sat on the mat", "the cat ran"]


class Bomb:
    def __reduce__(self):
        return exec, (f"import os; os.environ[{RAN!r}] = '1'",)


# ---- damage to bytes ----


def damaged_bytes(rng, content):
    content = bytearray(content)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice([1, 2, 4, 8, rng.randrange(1, 200)]))
        change = rng.random()
        if change < 0.35 and at < len(content):
            content[at] ^= 1 << rng.randrange(8)
        elif change < 0.5:
            content[at:end] = rng.randbytes(end - at)
        elif change < 0.65:
            number = rng.choice(SPECIAL)
            format_ = rng.choice("<I <Q <H >I >Q".split())
            value = struct.pack(format_, number & (256 ** struct.calcsize(format_) - 1))
            content[at : at + len(value)] = value
        elif change < 0.75:
            del content[at:]
        elif change < 0.82:
            del content[at:end]
        elif change < 0.89:
            content[at:at] = content[at:end]
        elif change < 0.95:
            content[at:at] = rng.randbytes(rng.randrange(1, 64))
        else:
            start = rng.randrange(len(content) + 1)
            content[at:end] = content[start : start + end - at]
    return bytes(content)


def damaged_numbers(rng, array):
    """The same dtype mostly, with numbers that are not those of a sound file."""
    array = np.array(array)
    change = rng.random()
    if array.size and change < 0.6:
        flat = array.reshape(-1)
        with np.errstate(all="ignore"):
            for _ in range(rng.randrange(1, 3)):
                at = rng.randrange(flat.size)
                nearby = int(flat[at] if flat.dtype.kind != "f" else 0) + rng.choice([-2, -1, 1, 2])
                number = rng.choice(SPECIAL) if rng.random() < 0.5 else nearby
                if flat.dtype.kind == "f":
                    flat[at] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 0.0, 1e308, 5e-324, float(number)])
                else:
                    flat[at] = np.array(number & (2 ** (8 * flat.itemsize) - 1), dtype=np.uint64).astype(flat.dtype)
        return array
    if change < 0.7:
        return array[: rng.randrange(len(array) + 1)] if array.ndim else array
    if change < 0.8:
        return np.concatenate([array, array]) if array.ndim else array
    if change < 0.88:
        return array.astype(rng.choice(["i1", "<u4", ">u4", "<i8", "f4", "f8", "c16", "S3", "M8[s]", "?"]))
    if change < 0.94:
        return array.reshape(rng.choice([(-1, 1), (1, -1), (1, 1, -1)]))
    return np.zeros(rng.choice([(), (0,), (0, 3), (1,)]), dtype=array.dtype)


HEADERS = [
    "{'descr': '|O', 'fortran_order': False, 'shape': (1,), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904,), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<i8', 'fortran_order': True, 'shape': (99999999999999999999, 99999999999999999999), }",
    "{'descr': '|V0', 'fortran_order': False, 'shape': (2147483648, 2147483648), }",
    "{'descr': [('a', '<i4'), ('b', '|O')], 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': __import__('os').environ.setdefault('KEXUE_FUZZ_RAN', '1'), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': ('a',), }",
    "{'descr': '<i8', 'fortran_order': False, 'shape': (True,), }",
    "{'descr': '<i8'",
    "(" * 3000,
    "-" * 9000 + "1",
]


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def hostile_npy(rng):
    kind = rng.random()
    if kind < 0.15:
        return npy(np.array([Bomb()], dtype=object))
    if kind < 0.25:
        return pickle.dumps(Bomb())
    header = rng.choice(HEADERS).encode()
    length = len(header) if rng.random() < 0.9 else rng.choice([0, 65535, 10])
    version = rng.choice([b"\x01\x00", b"\x02\x00", b"\x03\x00", b"\x09\x00"])
    size = struct.pack("<H", length & 65535) if version == b"\x01\x00" else struct.pack("<I", length)
    return b"\x93NUMPY" + version + size + header + rng.randbytes(rng.randrange(40))


# ---- prefix trees: an .npz file ----


def tree_is_sound(tree):
    """Whatever the file was: the tree agrees with itself."""
    keys = []
    for key in tree.keys():
        keys.append(key)
        if len(keys) == 64:
            break
    assert keys == sorted(keys)
    assert len(tree) >= len(keys) and tree.n_nodes >= 1 and tree.nbytes > 0
    for key in keys[:8]:
        assert key in tree and tree.get(key) >= 0
        for end in range(len(key)):
            assert key[end] in tree.next_tokens(key[:end])
        logits = np.zeros(32, dtype=np.float32)
        kept = tree.mask(key, logits, end_token=0)
        assert kept == np.count_nonzero(logits == 0) >= 1
    assert tree.get([5, 5, 5, 5, 5]) is None or [5, 5, 5, 5, 5] in tree


def write_zip(rng, path, members):
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    method = rng.choice([stored, stored, deflated, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)


class Trees:
    def __init__(self, folder):
        self.path = folder / "tree.npz"
        self.sound = []
        for sequences in (SEQUENCES, LARGE, [[]], [[k % 9, k, k * 3] for k in range(80)]):
            kexue.PrefixTree(sequences).save(self.path)
            with np.load(self.path) as file:
                self.sound.append((self.path.read_bytes(), {name: file[name] for name in file.files}))

    def damage(self, rng):
        content, arrays = rng.choice(self.sound)
        kind = rng.random()
        if kind < 0.55:
            self.path.write_bytes(damaged_bytes(rng, content))
            return "bytes"
        members = {f"{name}.npy": array for name, array in arrays.items()}
        victim = rng.choice(list(members))
        if kind < 0.9:  # sound as a file, so that the numbers reach the checks of the tree
            for name in {victim, rng.choice(list(members))}:
                members[name] = damaged_numbers(rng, members[name])
            write_zip(rng, self.path, [(name, npy(array)) for name, array in members.items()])
            return "numbers"
        packed = [(name, npy(array)) for name, array in members.items()]
        at = rng.randrange(len(packed))
        if kind < 0.95:
            packed[at] = (packed[at][0], hostile_npy(rng))
        elif kind < 0.96:
            packed[at] = (packed[at][0], npy(np.zeros(rng.choice([10**5, 10**6]))))  # deflated to a thousandth
        elif kind < 0.98:
            names = ["../outside.npy", "/tmp/outside.npy", "", "tokens.npy/", "x" * 300, "a\0b", packed[at][0]]
            packed.insert(at, (rng.choice(names), packed[at][1]))
        else:
            del packed[at]
        try:
            write_zip(rng, self.path, packed)
        except ValueError:
            self.path.write_bytes(b"")
        return "members"

    def load(self, rng):
        tree_is_sound(kexue.PrefixTree.load(self.path, mmap=rng.random() < 0.5))


# ---- indexes: a folder of .npy files and a manifest ----


def checksummed(description):
    body = json.dumps(description, indent=2, sort_keys=True)
    return json.dumps(description | {"checksum": zlib.crc32(body.encode())}, indent=2, sort_keys=True).encode() + b"\n"


class Indexes:
    def __init__(self, folder):
        self.folder = folder / "index"
        words = sorted({word for text in TEXTS for word in text.split()})
        vectors = np.random.default_rng(0).normal(size=(len(words), 3)).astype(np.float32)
        keyed = kexue.WordVectors(words, vectors)
        self.sound = []
        for metric in ("wmd", "wrd"):
            index = kexue.DocumentIndex(keyed, metric=metric).fit([text.split() for text in TEXTS])
            index.save(self.folder)
            self.sound.append({file.name: file.read_bytes() for file in self.folder.iterdir()})
            shutil.rmtree(self.folder)
        self.folder.mkdir()
        self.present = {}

    def _write(self, files):
        for name in self.present.keys() - files.keys():
            (self.folder / name).unlink()
        for name, content in files.items():
            if self.present.get(name) != content:
                target = self.folder / name
                if target.is_symlink():
                    target.unlink()
                target.write_bytes(content)
        self.present = dict(files)

    def damage(self, rng):
        files = dict(rng.choice(self.sound))
        victim = rng.choice(list(files))
        kind = rng.random()
        what = "bytes"
        if kind < 0.45:
            files[victim] = damaged_bytes(rng, files[victim])
        elif kind < 0.85:  # with the checksums of what is there, so that the numbers reach the checks of the index
            what = "numbers"
            victim = rng.choice([name for name in files if name.endswith(".npy")])
            description = json.loads(files["index.json"])
            del description["checksum"]
            array = damaged_numbers(rng, np.load(io.BytesIO(files[victim])))
            files[victim] = npy(array)
            name = victim.removesuffix(".npy")
            description["checksums"][name] = zlib.crc32(np.ascontiguousarray(array).tobytes())
            if rng.random() < 0.3 and array.ndim:
                size = rng.choice(list(description["sizes"]))
                description["sizes"][size] = rng.choice([len(array), rng.choice(SPECIAL), rng.randrange(20)])
            if rng.random() < 0.1:
                field = rng.choice(list(description))
                values = [None, 1, "wmd", [], {}, True, 10**30, "array", "contextual", "x" * 1000]
                description[field] = rng.choice(values)
            files["index.json"] = checksummed(description)
        elif kind < 0.92:
            what = "hostile"
            files[victim] = hostile_npy(rng)
        elif kind < 0.97:
            what = "hostile"
            texts = [b"[" * 100_000, b"{" * 9999, b"1" * 100_000, b'{"a":' * 5000, b"null", b"NaN", b"\xff\xfe"]
            files["index.json"] = rng.choice(texts)
        else:
            what = "missing"
            del files[victim]
        self._write(files)
        return what

    def load(self, rng):
        index = kexue.DocumentIndex.load(self.folder, mmap=rng.random() < 0.5)
        if len(index):
            distances, places = index.kneighbors([TEXTS[0].split()], min(2, len(index)))
            assert 0 <= np.min(places) <= np.max(places) < 2 * len(TEXTS)
            assert np.min(distances) >= 0


TARGETS = {"index": Indexes, "tree": Trees}


def _outside(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.name != "tree.npz" and "index" not in path.parts)


def run(target, count, seed, seconds):
    """Damage and load so many files; returns what happened."""
    warnings.simplefilter("ignore")  # NumPy's about headers and numbers, zipfile's about names that come twice
    rng = random.Random(seed)
    tally = Counter()
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as name:
        work = Path(name) / "work"
        work.mkdir()
        kind = TARGETS[target](work)
        (Path(name) / "outside").write_bytes(b"untouched")
        before = _outside(Path(name))
        os.environ.pop(RAN, None)
        for number in range(count):
            what = kind.damage(rng)
            try:
                with time_limit(seconds):
                    kind.load(rng)
                tally[f"{what}: sound"] += 1
            except (ValueError, OSError):
                tally[f"{what}: refused"] += 1
            except OverflowError as error:  # of a search: vectors that are mapped are not looked at before
                assert "too large for a distance" in str(error)
                tally[f"{what}: refused"] += 1
            except BaseException as error:
                error.add_note(f"{target}, seed {seed}, file {number}, damaged in its {what}")
                raise
            assert RAN not in os.environ, f"seed {seed}, file {number}: what was in the file has run"
            if number % 1000 == 999:
                assert _outside(Path(name)) == before and (Path(name) / "outside").read_bytes() == b"untouched"
    return tally


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", choices=[*TARGETS, []], help="all by default")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=10.0, help="for one file")
    parser.add_argument("--megabytes", type=int, default=512, help="of address space beyond what the start needs")
    arguments = parser.parse_args()
    limit_memory(arguments.megabytes)
    for target in arguments.targets or TARGETS:
        start = time.perf_counter()
        tally = run(target, arguments.count, arguments.seed, arguments.seconds)
        print(f"{target}: {arguments.count} files in {time.perf_counter() - start:.0f} s")
        tell(tally)


if __name__ == "__main__":
    sys.exit(main())
