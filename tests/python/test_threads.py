import asyncio
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import kexue
from kexue import _context, _threads


@pytest.mark.parametrize("bad", [0, -2, -(10**30)])
def test_bad_numbers(bad):
    with pytest.raises(kexue.KexueValueError, match="workers must be at least 1"):
        _context.count_workers(bad)
    with pytest.raises(kexue.KexueValueError, match="workers"), kexue.threads(bad):
        pass


@pytest.mark.parametrize("bad", [True, False, np.True_, 1.0, np.float64(2), "2", b"2", [2], np.ones(2)])
def test_bad_types(bad):
    with pytest.raises(TypeError, match="workers must be an integer"):
        _context.count_workers(bad)
    with pytest.raises(TypeError, match="workers"), kexue.threads(bad):
        pass


def test_threads_needs_a_number():
    with pytest.raises(TypeError, match="workers"), kexue.threads(None):
        pass


def test_workers_rule():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert 1 <= _context.cpu_count() <= cores
    assert _context.count_workers(1) == 1
    assert _context.count_workers(np.int32(5)) == 5
    assert _context.count_workers(-1) == _context.cpu_count()
    assert _context.count_workers(10**30) == 1024
    assert _context.count_workers(None) == kexue.get_num_threads() == _threads.default_threads()[0]


def test_blocks_nest_and_end():
    outside = kexue.get_num_threads()
    with kexue.threads(5):
        assert kexue.get_num_threads() == 5
        assert _context.count_workers(2) == 2
        with kexue.threads(-1):
            assert kexue.get_num_threads() == _context.cpu_count()
        with pytest.raises(ZeroDivisionError), kexue.threads(7):
            raise ZeroDivisionError
        assert kexue.get_num_threads() == 5
    assert kexue.get_num_threads() == outside


def test_threads_decorates():
    assert kexue.threads(6)(kexue.get_num_threads)() == 6


def test_block_holds_for_one_thread():
    outside = kexue.get_num_threads()
    seen = []
    with kexue.threads(outside + 3):
        thread = threading.Thread(target=lambda: seen.append(kexue.get_num_threads()))
        thread.start()
        thread.join()
    assert seen == [outside]


def test_block_holds_for_one_task():
    async def task(n):
        with kexue.threads(n):
            await asyncio.sleep(0)
            return kexue.get_num_threads()

    async def both():
        return await asyncio.gather(task(3), task(4))

    assert asyncio.run(both()) == [3, 4]


def run(code, **environment):
    names = ("KEXUE_NUM_THREADS", "OMP_NUM_THREADS")
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    return subprocess.run(
        [sys.executable, "-c", code], env=inherited | environment, capture_output=True, text=True, timeout=60
    )


SHOW = "import kexue; c = kexue.show_config('dict'); print(c['threads'], c['threads_from'])"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "{cores} processors"),
        ({"KEXUE_NUM_THREADS": "3"}, "3 KEXUE_NUM_THREADS"),
        ({"KEXUE_NUM_THREADS": " 3 ", "OMP_NUM_THREADS": "5"}, "3 KEXUE_NUM_THREADS"),
        ({"KEXUE_NUM_THREADS": "-1"}, "{cores} KEXUE_NUM_THREADS"),
        ({"KEXUE_NUM_THREADS": "", "OMP_NUM_THREADS": "5"}, "5 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "4,2"}, "4 OMP_NUM_THREADS"),
        ({"OMP_NUM_THREADS": "many"}, "{cores} processors"),
        ({"OMP_NUM_THREADS": "0"}, "{cores} processors"),
    ],
)
def test_environment(environment, expected):
    done = run(SHOW, **environment)
    assert done.stdout.strip() == expected.format(cores=_context.cpu_count()), done.stderr


@pytest.mark.parametrize("bad", ["0", "-2", "two", "1.5"])
def test_bad_environment_is_an_error_at_every_use(bad):
    code = """
import kexue
for attempt in range(2):
    try:
        kexue.get_num_threads()
    except kexue.KexueValueError as error:
        print(error)
with kexue.threads(2):
    print(kexue.get_num_threads())
"""
    done = run(code, KEXUE_NUM_THREADS=bad)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr
    assert lines[0] == lines[1]
    assert f"KEXUE_NUM_THREADS is '{bad}'" in lines[0]
    assert lines[2] == "2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_reads_the_environment_again():
    code = """
import os, kexue
assert kexue.get_num_threads() == 3
os.environ["KEXUE_NUM_THREADS"] = "4"
assert kexue.get_num_threads() == 3
if os.fork() == 0:
    os._exit(kexue.get_num_threads())
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    done = run(code, KEXUE_NUM_THREADS="3")
    assert done.stdout.strip() == "4", done.stderr


# ---- threads of Python's own, forks and Ctrl-C, each where a hang ends with its process ----

PROBLEMS = """
import os, signal, sys, threading, time
import numpy as np
import kexue

rng = np.random.default_rng(20211229)
counts = (rng.random((150, 400)) < 0.08).astype(float)
counts[:, 0] = 1
vectors = rng.normal(size=(400, 20))
costs = rng.random((300, 30, 40))
lines = rng.random((300, 50)), rng.random((300, 60))

def documents(workers=2):
    return kexue.pairwise_distances(counts, vectors=vectors, workers=workers).tobytes()

def transport(workers=2):
    a, b = lines
    return kexue.emd2(None, None, costs, workers=workers).tobytes() + kexue.emd2_1d(a, b, workers=workers).tobytes()

def busy(call, expected):
    # Calls without a pause until told to stop, and keeps what was wrong.
    state = {"stop": False, "calls": 0, "wrong": 0, "error": None}
    def loop():
        try:
            while not state["stop"]:
                state["wrong"] += call() != expected
                state["calls"] += 1
        except BaseException as error:
            state["error"] = repr(error)
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    while not state["calls"] and thread.is_alive():
        time.sleep(0.001)
    def stop():
        state["stop"] = True
        thread.join(60)
        assert not thread.is_alive(), "the thread hangs"
        return state
    return stop
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_in_the_middle_of_another_threads_call():
    code = (
        PROBLEMS
        + """
expected = documents(1), transport(1)
for call, result in zip((documents, transport), expected):
    stop = busy(call, result)
    for _ in range(6):
        child = os.fork()
        if child == 0:
            os._exit(0 if (documents(), transport()) == expected else 1)
        deadline = time.monotonic() + 20
        ended = 0
        while not ended and time.monotonic() < deadline:
            ended, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.005)
        if not ended:
            os.kill(child, signal.SIGKILL)
            sys.exit("a child hangs")
        print("child", os.waitstatus_to_exitcode(status))
    state = stop()
    print("thread", state["wrong"], state["error"])
print("afterwards", (documents(), transport()) == expected)
"""
    )
    done = run(code)
    part = ["child 0"] * 6 + ["thread 0 None"]
    assert done.stdout.splitlines() == [*part, *part, "afterwards True"], done.stderr


def test_two_threads_get_what_each_gets_alone():
    code = (
        PROBLEMS
        + """
alone = documents(), transport()
gate = threading.Barrier(2, timeout=60)
results = [[], []]
def call_in_turns(number):
    gate.wait()
    for turn in range(6):
        results[number].append((documents, transport)[(number + turn) % 2]())
threads = [threading.Thread(target=call_in_turns, args=(number,), daemon=True) for number in range(2)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(60)
print([results[number] == [alone[(number + turn) % 2] for turn in range(6)] for number in range(2)])
"""
    )
    done = run(code)
    assert done.stdout.strip() == "[True, True]", done.stderr


def test_eight_threads_begin_at_once_and_share_all():
    # In a fresh process, so that imports, the choice of kernels, the pool and the index's postponed work happen there.
    code = (
        PROBLEMS
        + """
sentences = rng.integers(0, 6, (2000, 5)).tolist()
x = np.linspace(-5, 5, 2001)

def make():
    index = kexue.DocumentIndex(vectors, "wmd")
    for row in counts:  # not joined before the first search
        index.add(row[None])
    return index, kexue.PrefixTree(sentences)

def use(index, tree, workers):
    with kexue.threads(workers), np.errstate(all="ignore"):
        distances, found = index.kneighbors(counts[:5], 4)
        results = [distances.tobytes(), found.tobytes(), documents(workers), transport(workers)]
        results += [kexue.squareplus(x, 1.0).tobytes(), float(kexue.squareplus(0.5, 1.0)), kexue.gelu(x).tobytes()]
    for row in sentences[:200]:
        results += [tree.get(row), tree.next_tokens(row[:2]).tolist(), kexue.edit_distance(row, row[::-1])]
    return results

shared = make()
results = [None] * 8
gate = threading.Barrier(8, timeout=60)
def work(number):
    gate.wait()
    results[number] = [use(*shared, 1 + number % 3) for _ in range(3)]
threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(50)
expected = use(*make(), 1)
print([result == [expected] * 3 for result in results] == [True] * 8)
"""
    )
    done = run(code)
    assert done.stdout.strip() == "True", done.stderr


@pytest.mark.parametrize(
    "main",
    [
        "signal.raise_signal(signal.SIGINT)",
        "press_later(); kexue.pairwise_distances(many, vectors=words, workers=1)",
        "press_later(); kexue.pairwise_distances(many, vectors=words, workers=2)",
    ],
    ids=["main thread outside", "serial", "threaded"],
)
def test_interrupt_beside_another_threads_call(main):
    code = (
        PROBLEMS
        + f"""
many = (rng.random((4000, 3000)) < 0.02).astype(float)
words = rng.normal(size=(3000, 300)).astype(np.float32)
expected = documents(1), transport(1)
stop = busy(documents, expected[0])
def press_later():
    threading.Timer(0.4, signal.raise_signal, [signal.SIGINT]).start()
try:
    {main}
    print("not interrupted")
except KeyboardInterrupt:
    print("interrupted")
state = stop()
print("thread", state["wrong"], state["error"])
print("afterwards", (documents(), transport()) == expected)
"""
    )
    done = run(code)
    assert done.stdout.splitlines() == ["interrupted", "thread 0 None", "afterwards True"], done.stderr
