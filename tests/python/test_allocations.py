"""Each block of memory that the core asks for, refused in turn: a MemoryError, none held, and the next call right."""

import ctypes
import gc
import platform
import shutil
import subprocess
import sysconfig
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import kexue
from reference import array_calls, worker_calls
from reference.array_calls import require_same_bits

SOURCE = Path(__file__).parents[1] / "reference" / "refusing_allocator.c"
# Small calls of all functions, and large ones of what takes workers, with all its methods.
SMALL = {name: partial(getattr(kexue, name), *args, **options) for name, (args, options) in array_calls.CALLS.items()}
LARGE = {f"{name}, large": partial(call, np.float64, workers=2) for name, call in worker_calls.CALLS.items()}
CALLS = SMALL | LARGE
# Some that ask for memory: were nothing refused, the test would show nothing.
ASKING = {
    "emd2",
    "sinkhorn",
    "pairwise_distances/wmd, large",
    "hsic, large",
    "attention, large",
    "DocumentIndex.search, large",
}


@pytest.fixture(scope="module")
def allocator(tmp_path_factory):
    compiler, include = shutil.which("cc"), Path(sysconfig.get_paths()["include"])
    if compiler is None or platform.libc_ver()[0] != "glibc" or platform.python_implementation() != "CPython":
        pytest.skip("needs a C compiler, glibc and CPython")
    if not (include / "Python.h").exists():
        pytest.skip("needs the headers of Python")
    library = tmp_path_factory.mktemp("allocator") / "refusing.so"
    flags = ["-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", f"-I{include}", "-ldl", "-lpthread"]
    command = [compiler, str(SOURCE), "-o", str(library), *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    refusing = ctypes.PyDLL(str(library))
    refusing.refusing_begin.argtypes = [ctypes.c_long]
    for name in ("asked", "refused", "held"):
        getattr(refusing, f"refusing_{name}").restype = ctypes.c_long
    return refusing


@pytest.fixture
def installed(allocator):
    allocator.refusing_begin(-1)
    allocator.refusing_install()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", (RuntimeWarning, kexue.ConvergenceWarning))
        yield allocator
    allocator.refusing_begin(-1)
    allocator.refusing_remove()


@pytest.mark.parametrize("name", CALLS)
def test_every_block_refused_in_turn(name, installed):
    function = CALLS[name]
    expected = function()
    gc.collect()
    held = installed.refusing_held()
    number = 0
    while True:
        installed.refusing_begin(number)
        try:
            found = function()
        except MemoryError:
            found = None
        refused = installed.refusing_refused()
        installed.refusing_begin(-1)
        if not refused:
            break
        assert found is None, f"block {number} of {name} was refused, and the call has a result"
        gc.collect()
        assert installed.refusing_held() == held, f"block {number} of {name} was refused, and others were not released"
        number += 1
    require_same_bits(found, expected)
    assert number or name not in ASKING


def test_calls_that_ask_for_memory_are_among_them():
    assert set(CALLS) >= ASKING
