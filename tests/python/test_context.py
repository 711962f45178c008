"""kexue._context offers fill_context to other Cython modules only; here it is called through its capsule."""

import ctypes
import threading
import tracemalloc

import pytest

import kexue
from kexue import _context

RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int)


class Context(ctypes.Structure):
    """kx_ctx_t"""

    _fields_ = [
        ("allocate", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)),
        ("release", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)),
        ("allocator_state", ctypes.c_void_p),
        ("cancel", ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p)),
        ("cancel_state", ctypes.c_void_p),
        ("launch", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, RUN, ctypes.c_void_p)),
        ("launch_state", ctypes.c_void_p),
        ("workers", ctypes.c_int),
    ]


def exported(name, *types):
    capsule = _context.__pyx_capi__[name]
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype, api.PyCapsule_GetName.argtypes = ctypes.c_char_p, [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    address = api.PyCapsule_GetPointer(capsule, api.PyCapsule_GetName(capsule))
    return ctypes.PYFUNCTYPE(ctypes.c_int, *types)(address)


fill_context = exported("fill_context", ctypes.POINTER(Context), ctypes.py_object)


def filled(workers=None):
    context = Context()
    assert fill_context(context, workers) == 0
    return context


def test_workers():
    assert filled(3).workers == 3
    assert filled().workers == kexue.get_num_threads()
    with kexue.threads(5):
        assert filled().workers == 5
        assert filled(2).workers == 2


@pytest.mark.parametrize(("bad", "error"), [(0, ValueError), (1.5, TypeError), (True, TypeError)])
def test_bad_workers_raise(bad, error):
    with pytest.raises(error, match="workers"):
        filled(bad)


@pytest.mark.parametrize("size", [0, 1, 63, 64, 1000, 1 << 20])
def test_blocks_are_aligned_and_usable(size):
    context = filled()
    block = context.allocate(None, size)
    assert block % 64 == 0
    ctypes.memset(block, 0xA5, size)
    context.release(None, block)


def test_impossible_sizes_give_null():
    context = filled()
    for size in (2**64 - 1, 2**64 - 70, 2**62):
        assert context.allocate(None, size) is None
    context.release(None, None)


@pytest.mark.skipif(".abi3." in _context.__file__, reason="the limited API of 3.12 lends no allocator that is traced")
def test_tracemalloc_sees_blocks():
    context = filled()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        block = context.allocate(None, 10_000_000)
        during = tracemalloc.get_traced_memory()[0]
        context.release(None, block)
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert 10_000_000 <= during - before < 10_001_000
    assert after - before < 1000


def launched(workers, meet):
    """The workers that ran, and the threads they ran on."""
    seen = []

    @RUN
    def run(job, worker):
        meet()
        seen.append((worker, threading.get_ident()))

    filled().launch(None, workers, run, None)
    return seen


def test_pool_runs_every_worker_at_the_same_time():
    for _ in range(3):
        seen = launched(4, threading.Barrier(4, timeout=60).wait)
        assert sorted(worker for worker, _ in seen) == [0, 1, 2, 3]
        assert len({thread for _, thread in seen}) == 4
        assert (0, threading.get_ident()) in seen


def test_many_callers_share_the_pool():
    # A launch may get fewer threads than it asks for; worker 0 always runs, on the caller.
    results = []

    def call():
        for _ in range(50):
            seen = launched(3, lambda: None)
            workers = [worker for worker, _ in seen]
            results.append(
                (0, threading.get_ident()) in seen
                and len(set(workers)) == len(workers)
                and set(workers) <= {0, 1, 2}
            )

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 200


def test_cancel_without_a_signal():
    results = []
    thread = threading.Thread(target=lambda: results.append(filled().cancel(None)))
    thread.start()
    thread.join()
    assert [*results, filled().cancel(None)] == [0, 0]
