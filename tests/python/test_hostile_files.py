"""Saved files that were made to do harm: an error that names the file, little memory, nothing run or waited for.

Damage at random is `tests/fuzz_loaders.py`'s.
"""

import gzip
import io
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import kexue

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"
VECTORS = np.arange(12, dtype=np.float32).reshape(4, 3) + 0.5
WORDS = kexue.WordVectors(["cat", "dog", "car", "été"], VECTORS)


def write_text(path):
    path.write_bytes(b"4 3\n" + b"".join(b"%s 0.5 1.25 -2\n" % word for word in (b"cat", b"dog", b"car", b"bus")))


def write_glove(path):
    path.write_bytes(b"".join(b"%s 0.5 1.25 -2\n" % word for word in (b"cat", b"dog", b"car", b"a bus")))


def write_binary(path):
    path.write_bytes(b"4 3\n" + b"".join(b"w%d " % k + VECTORS[k].tobytes() + b"\n" for k in range(4)))


def write_compressed(path):
    path.write_bytes(gzip.compress(b"4 3\n" + b"".join(b"w%d 1 2 3\n" % k for k in range(4)), mtime=0))


KINDS = {
    "npz": (WORDS.save, kexue.WordVectors.load),
    "tree": (kexue.PrefixTree([[3, 1, 4], [3, 1, 5], [9]]).save, kexue.PrefixTree.load),
    "sign hash index": (kexue.SignHashIndex(64, rng=0).fit(np.eye(5)).save, kexue.SignHashIndex.load),
    "word2vec": (write_text, kexue.WordVectors.load),
    "glove": (write_glove, kexue.WordVectors.load),
    "word2vec binary": (write_binary, kexue.WordVectors.load),
    "gzip": (write_compressed, kexue.WordVectors.load),
}
ARCHIVES = ("npz", "tree", "sign hash index")


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # words and members that come twice
        yield


@pytest.fixture(params=KINDS)
def sound(request, tmp_path):
    """A path, its content and its loader."""
    save, load = KINDS[request.param]
    path = tmp_path / "file"
    save(path)
    load(path)
    return path, path.read_bytes(), load


@pytest.fixture(params=ARCHIVES)
def archive(request, tmp_path):
    """A path, the bytes of the members by name, and the loader."""
    save, load = KINDS[request.param]
    path = tmp_path / "file"
    save(path)
    with zipfile.ZipFile(path) as file:
        return path, {name: file.read(name) for name in file.namelist()}, load


def write_zip(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(zipfile.ZipInfo(name), content, method)


def require_refused(path, load, *, may_be_sound=False):
    try:
        load(path)
    except (kexue.KexueValueError, OSError) as error:
        assert str(path) in str(error)
        return
    assert may_be_sound


# ---- what is no such file ----


def test_no_file(sound):
    path, content, load = sound
    for wrong in (
        b"",
        b"\0",
        b"\n\n\n",
        b"PK\x03\x04",
        b"PK\x05\x06" + bytes(18),
        b"\x1f\x8b",
        b"\x80\x04N.",
        b"{}" * 99,
    ):
        path.write_bytes(wrong)
        require_refused(path, load)
    path.unlink()
    require_refused(path, load)
    path.mkdir()
    require_refused(path, load)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_pipes_are_not_waited_for(sound, tmp_path):
    path, _, load = sound
    path.unlink()
    os.mkfifo(path)
    require_refused(path, load)
    folder = tmp_path / "index"
    kexue.DocumentIndex(VECTORS).fit(np.eye(4)).save(folder)
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        file.unlink()
        os.mkfifo(file)
        require_refused(file, lambda _: kexue.DocumentIndex.load(folder))
        file.unlink()
        file.write_bytes(content)
    kexue.DocumentIndex.load(folder)


def test_links(sound, tmp_path):
    path, content, load = sound
    link = tmp_path / "link"
    link.symlink_to(path)
    load(link)
    path.unlink()
    require_refused(link, load)
    path.symlink_to(link)  # round and round
    require_refused(path, load)


# ---- damage, at each place ----


def test_truncated_at_each_byte(sound):
    path, content, load = sound
    for size in range(0, len(content), 1 if LONG else max(1, len(content) // 150)):
        path.write_bytes(content[:size])
        # Text without the last digits, or without the newline at the end, is text.
        require_refused(path, load, may_be_sound=not content.startswith((b"PK", b"\x1f")))


def test_each_bit_flipped(sound):
    path, content, load = sound
    for bit in range(0, 8 * len(content), 1 if LONG else max(1, 8 * len(content) // 300) | 1):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        require_refused(path, load, may_be_sound=True)  # a bit of a date, of padding, of a number


# ---- members ----


def header(descr, shape):
    text = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


RAN = "KEXUE_HOSTILE_FILE_RAN"


class Hostile:
    def __reduce__(self):
        return exec, (f"import os; os.environ[{RAN!r}] = '1'",)


def test_members_that_hold_something_else(archive):
    path, members, load = archive
    contents = [
        npy(np.array([Hostile()], dtype=object)),
        pickle.dumps(Hostile()),
        *(
            header(descr, shape)
            for descr in ("<f4", "<i8", "|u1")
            for shape in ((2**60,), (2**31, 2**31), (2**63,), (-1,))
        ),
        header("|O", (1,)),
        header("|V0", (2**62,)),
        header([("a", "<f4"), ("b", "|O")], (1,)),
        header("<f4", (1,)) + bytes(400),
        *(npy(np.zeros(3, dtype=dtype)) for dtype in ("c16", "M8[s]", "?", "U5", "f2")),
        b"",
    ]
    for name in members:
        for content in contents:
            write_zip(path, (members | {name: content}).items())
            require_refused(path, load, may_be_sound=content.startswith(b"\x93NUMPY"))
            assert RAN not in os.environ
        write_zip(path, [item for item in members.items() if item[0] != name])
        require_refused(path, load)


def test_names_of_members_lead_nowhere(archive):
    path, members, load = archive
    first = next(iter(members.values()))
    outside = path.parent.parent / "outside.npy"
    for name in (
        "../outside.npy",
        str(outside),
        "a/../../outside.npy",
        "..\\outside.npy",
        "C:\\outside.npy",
        "\x00",
        "",
        "/",
    ):
        write_zip(path, [(name, first), *members.items()])
        require_refused(path, load, may_be_sound=True)
    link = zipfile.ZipInfo(next(iter(members)))
    link.external_attr = 0o120777 << 16  # a symbolic link, to what its content says
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(link, b"/etc/passwd")
    require_refused(path, load)
    assert not outside.exists()


def test_a_member_twice(archive):
    path, members, load = archive
    write_zip(path, [*members.items(), next(iter(members.items()))])
    require_refused(path, load)


def test_members_by_the_thousand(archive):
    path, members, load = archive
    empty = npy(np.zeros(0, dtype=np.float32))
    write_zip(path, [*members.items(), *((f"{k}.npy", empty) for k in range(5000))])
    with pytest.raises(kexue.KexueValueError) if load != kexue.WordVectors.load else warnings.catch_warnings():
        load(path)
    write_zip(path, ((f"{k}.npy", empty) for k in range(5000)))
    with pytest.raises(kexue.KexueValueError) as caught:
        load(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 500


# ---- little memory ----

IN_LITTLE_MEMORY = """
import re, resource, sys
import kexue
from kexue import *
path = sys.argv[1]
used = int(re.search(r"VmSize:\\s+(\\d+)", open("/proc/self/status").read()).group(1)) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + 300 * 2**20,) * 2)
try:
    LOAD
except kexue.KexueValueError as error:
    print(path in str(error), error)
"""


def load_in_little_memory(path, load):
    code = IN_LITTLE_MEMORY.replace("LOAD", load)
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stdout.startswith("True"), done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bomb(tmp_path_factory):
    """Zeros in a hundredth of their size, which are never whole here."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for name in ("vectors", "format", "index"):
            with file.open(f"{name}.npy", "w") as stream:
                stream.write(header("|u1", (2**27,)))
                for _ in range(128):
                    stream.write(bytes(2**20))
    assert path.stat().st_size < 2**22
    return path


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its memory")
@pytest.mark.parametrize("load", ["WordVectors.load(path)", "PrefixTree.load(path)", "SignHashIndex.load(path)"])
def test_bombs(load, bomb):
    assert "would unpack to" in load_in_little_memory(bomb, load)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its memory")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0 999999999999999999\n\n", "no word vectors"),
        (b"999999999999999999 999999999999999999\n\n\n", "truncated"),
        (b"999999999999999999 3\ncat 1 2 3\n", "truncated"),
        (b"3 999999999999999999\ncat 1 2 3\n", "expected 999999999999999999 numbers"),
        (b"cat 1e999 2\n", "number 1 is inf"),
        (b"cat 1 2\n" + b"dog" * 10**7, "expected 2 numbers"),
        (b"2 1\ncat \0\0\0\0dog \0\0\xc0\x7f", "number 1 is nan"),
        (b"9" * 10**7, "neither a header"),
        (b"2 999999999999999999\ncat \0\0\0\0", "truncated"),
    ],
    ids=lambda part: part[:20].decode(errors="replace") if isinstance(part, bytes) else "",
)
def test_headers_and_lines_that_promise_too_much(content, message, tmp_path):
    path = tmp_path / "vectors"
    path.write_bytes(content)
    assert message in load_in_little_memory(path, "WordVectors.load(path)")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits its memory")
@pytest.mark.parametrize("options", ["", ", format='word2vec-binary'", ", limit=2"])
def test_compressed_bombs(options, tmp_path):
    path = tmp_path / "vectors.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"1000000000 3\ncat 1 2 3\ndog 1 2 3" if "limit" not in options else b"9 3\ncat 1 2 3\ndog")
        for _ in range(100):
            file.write(b" " * 2**20)
    assert "unpacks to more than" in load_in_little_memory(path, f"WordVectors.load(path{options})")


# ---- no pickle ----


def test_a_pickle_is_not_read_unasked(tmp_path):
    path = tmp_path / "vectors.txt"
    for protocol in range(2, 6):
        path.write_bytes(pickle.dumps(Hostile(), protocol))
        with pytest.raises(kexue.KexueValueError, match="this is a pickle.*format='gensim'"):
            kexue.WordVectors.load(path)
        assert RAN not in os.environ


def test_nothing_unpickles():
    """But for gensim's own files, when asked, and `kexue.compat.gensim`, whose save and load are as gensim's."""
    wanted = re.compile(r"allow_pickle\s*=\s*True|\bpickle\.loads?\b|\bUnpickler\b|\bjoblib\b|\bmarshal\b|\bshelve\b")
    package = Path(kexue.__file__).parent
    found = {
        str(file.relative_to(package)): wanted.findall(file.read_text())
        for file in package.rglob("*.py")
        if "amalgamation" not in file.parts and wanted.search(file.read_text())
    }
    assert found == {"compat/gensim.py": ["pickle.load"]}
    loaders = [file.name for file in package.rglob("*.py") if "KeyedVectors.load(" in file.read_text()]
    assert loaders == ["_word_vector_files.py"]
