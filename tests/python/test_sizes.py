"""More entries than int32 counts, of which memory holds one by zero strides: a result or an error, never a crash.

Each call is one of a child whose memory is limited, so that what must copy its argument cannot.
"""

import os
import pickle
import signal
import sys
import warnings

import numpy as np
import pytest

import kexue
from reference.array_calls import CALLS, mapped, places_of_arrays

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the memory of a forked child")

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"
MANY = 2**31 + 1
ROOM = 2**30  # bytes of address space beyond what the start needs


def in_a_child(function, seconds=None):
    """What a call gives or raises in little memory; None where it was still running after so many seconds."""
    import resource

    receiving, sending = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with open("/proc/self/statm") as file:
                used = int(file.read().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, used + ROOM))
            if seconds:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(seconds)
            try:
                with np.errstate(all="ignore"), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    result = function()
            except Exception as error:
                result = error
            os.write(sending, pickle.dumps(result))
        finally:
            os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        content = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGALRM), f"ended by signal {-status}"
    assert content or status, "ended without a word"
    return pickle.loads(content) if content else None


def stretched(array, axis):
    """Its first entry along an axis, as often as makes more than 2^31 entries of all."""
    first = np.take(array, [0], axis=axis)
    shape = list(first.shape)
    shape[axis] = MANY // first.size + 1
    return np.broadcast_to(first, shape)


@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("name", sorted(CALLS)[:: 1 if LONG else 16])
def test_no_crash(name, axis):
    call = CALLS[name]
    if not list(places_of_arrays(call)):
        pytest.skip("takes no array alone")
    args, options = mapped(lambda array: stretched(array, axis) if array.ndim else array, call)
    # What reads its argument where it is would take minutes, and need not end here.
    error = in_a_child(lambda: summary(getattr(kexue, name)(*args, **options)), seconds=20 if LONG else 1)
    assert error is None or isinstance(error, (TypeError, ValueError, MemoryError, OverflowError)), repr(error)


def summary(result):
    """Nothing: a result may be as large as the argument."""


def columns_of(count):
    """So many columns, of which all are the same numbers, and more than 2^31 entries."""
    rows = MANY // count + 1
    numbers = np.linspace(-1, 1, count).astype(np.float32)
    return numbers, np.broadcast_to(numbers, (rows, count))


@pytest.mark.parametrize("kind", ["countsketch"] + ["sparse", "osnap", "srht"] * LONG)
def test_projections_of_more_rows_than_memory_holds(kind):
    numbers, rows = columns_of(2**15)
    draw = kexue.RandomProjectionMap.draw(len(numbers), 2, kind=kind, rng=0)
    first, last = in_a_child(lambda: draw(rows)[[0, -1]])
    np.testing.assert_array_equal(first, last)
    np.testing.assert_allclose(first, draw(numbers), rtol=1e-6)


# Reductions that read where the numbers are: of rows that are all the same, and one result for each.
REDUCTIONS = {
    "logsumexp": lambda rows: kexue.logsumexp(rows),
    "entropy": lambda rows: kexue.entropy(rows + 1 if rows.ndim == 1 else np.broadcast_to(rows[0] + 1, rows.shape)),
    "cosine_pairs": lambda rows: kexue.cosine_pairs(rows, rows[..., ::-1]),
    "iwae_bound": lambda rows: kexue.iwae_bound(rows),
}


@pytest.mark.skipif(not LONG, reason="some ten seconds each")
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions_of_more_rows_than_memory_holds(name):
    numbers, rows = columns_of(2**15)
    first, last = in_a_child(lambda: REDUCTIONS[name](rows)[[0, -1]])
    assert first == last
    np.testing.assert_allclose(first, REDUCTIONS[name](numbers), rtol=1e-6, atol=1e-6)
