"""Every block of memory that a public function asks for, refused in turn: a MemoryError, nothing left behind, and the next call right."""

import ctypes
import gc
import platform
import shutil
import subprocess
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest

import kexue
from reference import array_calls, worker_calls
from reference.array_calls import require_same_bits

SOURCE = Path(__file__).parents[1] / "reference" / "refusing_allocator.c"
# Small calls of all, and of what takes workers such as have several chunks, and each way and method.
SMALL = {name: lambda name=name: calls_function(name) for name in array_calls.CALLS}
LARGE = {f"{name} large": call for name, call in worker_calls.CALLS.items()}
ALLOCATING = {"emd2", "sinkhorn", "pairwise_distances", "hsic", "attention", "entropy_normalize large", "DocumentIndex.kneighbors large"}


def calls_function(name):
    args, options = array_calls.CALLS[name]
    return getattr(kexue, name)(*args, **options)


@pytest.fixture(scope="module")
def allocator(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or platform.libc_ver()[0] != "glibc" or platform.python_implementation() != "CPython":
        pytest.skip("needs a C compiler, glibc and CPython")
    library = tmp_path_factory.mktemp("allocator") / "refusing.so"
    include = sysconfig.get_paths()["include"]
    done = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", f"-I{include}", SOURCE, "-o", library, "-ldl", "-lpthread"],
        capture_output=True,
        text=True,
        timeout=100,
    )
    if done.returncode:
        pytest.skip(f"the headers of Python are not here: {done.stderr[:200]}")
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


@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_every_block_refused_in_turn(name, installed):
    function = SMALL.get(name) or (lambda: LARGE[name](np.float64, workers=2))
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
    assert number or name not in ALLOCATING
