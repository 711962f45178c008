"""Eight threads at once, on one object or in different functions: the bits that each gets alone."""

import os
import threading
import warnings

import numpy as np
import pytest

import kexue
from reference.array_calls import CALLS as SMALL_CALLS
from reference.array_calls import require_same_bits
from reference.worker_calls import CALLS as LARGE_CALLS

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"
THREADS = 8


def at_once(functions):
    """What each gives, all begun together; each with another number of workers."""
    gate = threading.Barrier(len(functions))
    results = [None] * len(functions)

    def work(number):
        with kexue.threads(1 + number % 3), np.errstate(all="ignore"):
            gate.wait(100)
            try:
                results[number] = functions[number]()
            except BaseException as error:
                results[number] = error

    threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(functions))]
    with warnings.catch_warnings():  # of the process: before its threads begin
        warnings.simplefilter("ignore")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    return results


_rng = np.random.default_rng(20211229)
X = _rng.normal(size=(300, 40))
COUNTS = (_rng.random((200, 120)) < 0.1).astype(float)
COUNTS[:, 0] = 1
VECTORS = _rng.normal(size=(120, 12))
SEQUENCES = _rng.integers(0, 5, (400, 4)).tolist()
WORDS = [f"w{k}" for k in range(120)]


def document_index():
    index = kexue.DocumentIndex(VECTORS, "wmd")
    for row in COUNTS:  # joined at the first search
        index.add(row[None])
    return index


def sign_hash_index():
    return kexue.SignHashIndex(128, rng=0).fit(X)


def estimator(name, *args, **options):
    def fitted():
        sklearn = pytest.importorskip("kexue.sklearn")
        return getattr(sklearn, name)(*args, **options)

    return fitted


# What makes an object, and what is asked of it.
OBJECTS = {
    "DocumentIndex": (
        document_index,
        lambda o: [
            o.kneighbors(COUNTS[:6], 4),
            o.search(COUNTS[:2], 3),
            o.radius_neighbors(COUNTS[:2], 2.0)[0].tolist(),
        ],
    ),
    "PrefixTree": (
        lambda: kexue.PrefixTree(SEQUENCES),
        lambda o: [[o.get(row), o.next_tokens(row[:2])] for row in SEQUENCES[:100]] + [list(map(tuple, o.keys()))],
    ),
    **{
        f"RandomProjectionMap/{kind}": (
            lambda kind=kind: kexue.RandomProjectionMap.draw(40, 16, kind=kind, rng=0),
            lambda o: [o(X), o.adjoint(X[:, :16]), o.inverse(X[:9, :16]), o.matrix()],
        )
        for kind in ("gaussian", "rademacher", "sparse", "srht", "countsketch", "osnap")
    },
    "SignHash/gaussian": (lambda: kexue.SignHash(40, 96, rng=0), lambda o: [o.transform(X), o.fingerprint()]),
    "SignHash/srht": (lambda: kexue.SignHash(40, 96, kind="srht", rng=0), lambda o: [o.transform(X), o.project(X)]),
    "SignHashIndex": (
        sign_hash_index,
        lambda o: [o.kneighbors(X[:20], 3), o.kneighbors(X[:20], 3, method="probe")],
    ),
    "WordVectors": (
        lambda: kexue.WordVectors(WORDS, VECTORS),
        lambda o: [o.count_matrix([WORDS[:9], WORDS[3:30]]).toarray(), o["w7"], "w9" in o],
    ),
    "random_angle": (lambda: kexue.random_angle(9), lambda o: [o.pdf(X), o.cdf(X), o.ppf(np.linspace(0, 1, 33))]),
    "sklearn.RandomProjection": (
        lambda: estimator("RandomProjection", 16, random_state=0)().fit(X),
        lambda o: [o.transform(X)],
    ),
    "sklearn.EntropyNormalizer": (
        lambda: estimator("EntropyNormalizer", 0.5)().fit(np.abs(X)),
        lambda o: [o.transform(np.abs(X))],
    ),
    "sklearn.AnalyticLogisticRegression": (
        lambda: estimator("AnalyticLogisticRegression")().fit(X, X[:, 0] > 0),
        lambda o: [o.predict_proba(X), o.predict(X)],
    ),
    "sklearn.WMDNeighbors": (
        lambda: estimator("WMDNeighbors", VECTORS)().fit(COUNTS, COUNTS[:, 1]),
        lambda o: [o.predict(COUNTS[:6]), o.predict_proba(COUNTS[:6])],
    ),
}


@pytest.mark.parametrize("name", OBJECTS)
def test_eight_threads_on_one_object(name):
    make, ask = OBJECTS[name]
    expected = ask(make())
    shared = make()  # what it postpones until it is asked happens in all threads at once
    for result in at_once([lambda: ask(shared)] * THREADS):
        require_same_bits(result, expected)


def called(name):
    args, options = SMALL_CALLS[name]
    return getattr(kexue, name)(*args, **options)


@pytest.mark.parametrize("seed", range(8 if LONG else 2))
def test_small_calls_of_all_functions_at_once(seed):
    names = sorted(SMALL_CALLS)
    expected = at_once([lambda: {name: called(name) for name in names}])[0]
    orders = [np.random.default_rng([seed, number]).permutation(names) for number in range(THREADS)]
    for result in at_once([lambda order=order: {name: called(name) for name in order} for order in orders]):
        assert isinstance(result, dict), result
        for name in names:
            require_same_bits(result[name], expected[name])


@pytest.mark.parametrize("seed", range(8 if LONG else 1))
def test_large_calls_of_different_functions_at_once(seed):
    names = np.random.default_rng(seed).permutation(sorted(LARGE_CALLS))[: None if LONG else 48]
    expected = {name: LARGE_CALLS[name](np.float32, workers=1) for name in names}
    shares = [names[number::THREADS] for number in range(THREADS)]
    results = at_once([lambda share=share: {name: LARGE_CALLS[name](np.float32) for name in share} for share in shares])
    for result in results:
        assert isinstance(result, dict), result
        for name in result:
            require_same_bits(result[name], expected[name])
