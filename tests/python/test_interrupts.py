"""Ctrl-C ends what would take hours, and what was interrupted is as it was.

No time is asserted: a call that is not interrupted would go on until the watchdog ends its process.
"""

import multiprocessing
import subprocess
import sys

import pytest

WATCHDOG = 300  # seconds

PREPARE = """
import os, signal, sys, threading, time
import numpy as np
import kexue

signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job ignores it
rng = np.random.default_rng(0)
"""

# What is prepared, and the call. Most of what is large here is one small array with zero strides.
CALLS = {
    "emd2": ("M = np.broadcast_to(rng.random((60, 60)), (10**7, 60, 60))", "emd2(None, None, M)"),
    "emd2_1d": ("x = np.broadcast_to(rng.random((1, 20)), (10**7, 20))", "emd2_1d(x, x[:, ::-1], metric='euclidean')"),
    "sinkhorn2": ("M = rng.random((300, 300))", "sinkhorn2(None, None, M, 1e-3, tol=1e-300, max_iter=10**9)"),
    "sinkhorn_barycenter": (
        "M = rng.random((600, 600)); H = rng.dirichlet(np.ones(600), 8)",
        "sinkhorn_barycenter(H, M, 1e-4, tol=1e-300, max_iter=10**9, acceleration='none')",
    ),
    "transport_lower_bound": (
        "M = np.broadcast_to(rng.random((60, 60)), (10**7, 60, 60))",
        "transport_lower_bound(None, None, M)",
    ),
    "pairwise_distances": (
        "X = (rng.random((6000, 3000)) < 0.02).astype(float); vectors = rng.normal(size=(3000, 100))",
        "pairwise_distances(X, vectors=vectors)",
    ),
    "hsic": ("X = rng.normal(size=(10**6, 10))", "hsic(X, X, bandwidth=1.0)"),
    "hsic_gradient": ("X = rng.normal(size=(10**6, 10))", "hsic_gradient(X, X, bandwidth=1.0)"),
    "hsic_streaming": ("X = rng.normal(size=(10**6, 10))", "hsic_streaming(X, X, bandwidth=1.0)"),
    "hsic_test": ("X = rng.normal(size=(2000, 3))", "hsic_test(X, X, n_permutations=10**7, rng=0)"),
    "cka": ("X = rng.normal(size=(10**6, 10))", "cka(X, X, kernel='rbf', bandwidth=1.0)"),
    "attention": ("Q = rng.normal(size=(10**6, 16)).astype(np.float32)", "attention(Q, Q, Q)"),
    "attention_vjp": ("Q = rng.normal(size=(10**6, 16)).astype(np.float32)", "attention_vjp(Q, Q, Q, Q)"),
    "talking_heads_attention": (
        "Q = rng.normal(size=(2, 300_000, 8)).astype(np.float32)",
        "talking_heads_attention(Q, Q, Q, np.eye(2))",
    ),
    "hamming_neighbors": (
        "codes = rng.integers(0, 2**63, size=(10**6, 8), dtype=np.uint64)",
        "hamming_neighbors(codes, codes, 1)",
    ),
    "random_projection": (
        "X = np.broadcast_to(rng.normal(size=(1, 4096)), (10**7, 4096))",
        "random_projection(X, 4, kind='srht', rng=0)",
    ),
    "can": ("P = rng.dirichlet(np.ones(10), 2000)", "can(P, iterations=10**7, threshold=0.01)"),
    "edit_distance": ("x = rng.integers(0, 4, 10**7)", "edit_distance(x, x[::-1])"),
    "minimize": ("", "minimize(lambda x: -float(x.sum()), np.ones(3), rng=0, xtol=0, max_nfev=10**9)"),
}
NO_WORKERS = {"edit_distance", "minimize"}


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=WATCHDOG)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("name", CALLS)
def test_interrupt(name):
    prepare, call = CALLS[name]
    # Threads in one half of the calls; a signal comes to the main thread, whichever works.
    workers = "" if name in NO_WORKERS else f", workers={1 + sorted(CALLS).index(name) % 2}"
    code = f"""{PREPARE}
{prepare}
given = [array for array in list(globals().values()) if isinstance(array, np.ndarray)]
sums = [array.ravel()[:1000].tobytes() for array in given if array.size < 10**8]
costs = rng.random((9, 8))
expected = kexue.emd2(None, None, costs, workers=2)
calling = threading.Event()
def press():
    calling.wait()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=press, daemon=True).start()
try:
    calling.set()
    kexue.{call[:-1]}{workers})
    print("ended")
except KeyboardInterrupt:
    print("interrupted")
print(sums == [array.ravel()[:1000].tobytes() for array in given if array.size < 10**8])
print(kexue.emd2(None, None, costs, workers=2) == expected)
"""
    assert run(code) == ["interrupted", "True", "True"]


def test_an_index_goes_on_after_an_interrupt():
    code = f"""{PREPARE}
counts = (rng.random((3000, 1500)) < 0.05).astype(float)
index = kexue.DocumentIndex(rng.normal(size=(1500, 50)), "wmd").fit(counts)
expected = [part.tobytes() for part in index.kneighbors(counts[:2], 3)]
calling = threading.Event()
def press():
    calling.wait()
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
for call in (
    lambda: index.kneighbors(counts, 3000),
    lambda: index.radius_neighbors(counts, 1e3),
    lambda: index.search(counts, 3000),
):
    calling.clear()
    threading.Thread(target=press, daemon=True).start()
    try:
        calling.set()
        call()
        print("ended")
    except KeyboardInterrupt:
        print("interrupted")
print(expected == [part.tobytes() for part in index.kneighbors(counts[:2], 3)])
"""
    assert run(code) == ["interrupted"] * 3 + ["True"]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_process_of_a_pool_goes_on_after_an_interrupt(method):
    code = f"""{PREPARE}
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

costs, M = rng.random((9, 8)), rng.random((300, 300))
expected = kexue.emd2(None, None, costs, workers=2)
with ProcessPoolExecutor(1, mp_context=get_context({method!r})) as pool:
    print(pool.submit(kexue.emd2, None, None, costs, workers=2).result() == expected)
    process = pool.submit(os.getpid).result()
    task = pool.submit(kexue.sinkhorn2, None, None, M, 1e-3, tol=1e-300, max_iter=10**9)
    time.sleep(1)
    os.kill(process, signal.SIGINT)
    print(type(task.exception()).__name__)
    print(pool.submit(kexue.emd2, None, None, costs, workers=2).result() == expected)
    print(pool.submit(os.getpid).result() == process)
"""
    assert run(code) == ["True", "KeyboardInterrupt", "True", "True"]
