"""Every public function with `workers` gives the same bits for any number of them, and its threads take part."""

import inspect
import json
import os
import sys
import threading
import warnings

import numpy as np
import pytest

import kexue
from reference.array_calls import require_same_bits
from reference.worker_calls import CALLS, WITHOUT_THREADS


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", (RuntimeWarning, kexue.ConvergenceWarning))
        yield


def takes_workers(function):
    try:
        return "workers" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # of ufuncs, and of types that mean no class
        return False


def names_with_workers():
    for name in kexue.__all__:
        public = getattr(kexue, name)
        if takes_workers(public):
            yield name
        if inspect.isclass(public):
            methods = dict(inspect.getmembers(public, inspect.isroutine))
            own = [method for method in methods if not method.startswith("_") or method == "__call__"]
            yield from (f"{name}.{method}" for method in own if takes_workers(methods[method]))


def test_the_table_is_complete():
    assert {name.partition("/")[0] for name in CALLS} == set(names_with_workers())


@pytest.mark.parametrize("name", CALLS)
def test_the_same_bits_for_any_number_of_workers(name, dtype):
    call = CALLS[name]
    expected = call(dtype, workers=1)
    for workers in (2, 3, 8):
        require_same_bits(call(dtype, workers=workers), expected)
        with kexue.threads(workers):
            require_same_bits(call(dtype), expected)


def threads_of(function):
    """How many threads a call starts in a child, where the pool has none at the beginning."""
    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            started = []
            start = threading.Thread.start
            threading.Thread.start = lambda thread: (started.append(1), start(thread))[1]
            function()
            count = len(os.listdir("/proc/self/task")) - 1 + len(started)
            os.write(sending, json.dumps(count).encode())
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    return json.loads(content)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts threads in /proc")
@pytest.mark.parametrize("name", sorted(set(CALLS) - WITHOUT_THREADS))
def test_threads_take_part(name, dtype):
    """Without this the test above might compare serial calls with each other."""
    call = CALLS[name]
    alone, several = (threads_of(lambda workers=workers: call(dtype, workers=workers)) for workers in (1, 4))
    assert several > alone
