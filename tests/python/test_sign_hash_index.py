"""The index of sign hashes: exact distances, recall against exact search, files that are whole or refused."""

import io
import itertools
import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import _npz, _sign_hash_index
from reference import hamming as reference

KINDS = ["gaussian", "srht"]


@pytest.fixture(scope="module")
def clusters():
    """20000 unit vectors about 2000 centres in 100 dimensions, and 100 queries."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2000, 100))
    X = centres[rng.integers(2000, size=20000)] + 0.6 * rng.normal(size=(20000, 100))
    queries = centres[rng.integers(2000, size=100)] + 0.6 * rng.normal(size=(100, 100))
    return X.astype(np.float32), queries.astype(np.float32)


def exact(X, queries, k):
    far = reference.cosine_distances(np.asarray(queries, dtype=np.float64), np.asarray(X, dtype=np.float64))
    order = np.argsort(far, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(far, order, axis=1), order


def recall(found, order):
    return np.mean([len(np.intersect1d(a, b)) / len(b) for a, b in zip(found, order, strict=True)])


# ---- what is found ----


# Measured: scan 0.959, 0.990, probe 0.943, 0.989; srht 0.979, 0.998, 0.944, 0.997.
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("options", "least"),
    [
        ({"method": "scan"}, 0.94),
        ({"method": "scan", "n_candidates": 500}, 0.98),
        ({"method": "probe"}, 0.92),
        ({"method": "probe", "n_probes": 200, "n_candidates": 500}, 0.98),
    ],
)
def test_recall_of_ten_neighbours(clusters, kind, options, least):
    X, queries = clusters
    index = kexue.SignHashIndex(256, kind=kind, rng=1).fit(X)
    distances, indices = index.kneighbors(queries, 10, **options)
    expected, order = exact(X, queries, 10)
    assert recall(indices, order) >= least
    true = reference.cosine_distances(queries.astype(np.float64), X.astype(np.float64))
    assert np.allclose(distances, np.take_along_axis(true, indices, axis=1), rtol=1e-5, atol=1e-6)
    assert (np.diff(distances, axis=1) >= 0).all()


def test_more_probes_find_more(clusters):
    X, queries = clusters
    index = kexue.SignHashIndex(256, n_tables=4, bucket_bits=12, rng=1).fit(X)
    order = exact(X, queries, 10)[1]
    shares = [
        recall(index.kneighbors(queries, 10, False, method="probe", n_probes=n, n_candidates=20000), order)
        for n in (1, 8, 64, 512)
    ]
    assert shares == sorted(shares) and shares[0] < 0.9 < shares[-1]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_all_candidates_are_exact(dtype, sparse, kind):
    rng = np.random.default_rng(0)
    X = sp.random_array((300, 40), density=0.3, rng=rng, data_sampler=rng.normal).toarray().astype(dtype)
    X[10] = 0
    X[20] = 2 * X[19]  # of two neighbours as near, the lower number
    queries = np.concatenate([X[19:22] * 3, np.zeros((1, 40), dtype), rng.normal(size=(5, 40)).astype(dtype)])
    make = sp.csr_array if sparse else np.asarray
    index = kexue.SignHashIndex(64, kind=kind, rng=0).fit(make(X))
    distances, indices = index.kneighbors(make(queries), 300, n_candidates=300)
    assert distances.dtype == dtype and indices.dtype == np.int64
    true = reference.cosine_distances(queries.astype(np.float64), X.astype(np.float64))
    assert np.allclose(distances, np.sort(true, axis=1), atol=20 * np.finfo(dtype).eps)
    assert np.allclose(np.take_along_axis(true, indices, axis=1), distances, atol=20 * np.finfo(dtype).eps)
    assert np.array_equal(np.sort(indices, axis=1), np.tile(np.arange(300), (9, 1)))
    assert indices[0, :2].tolist() == [19, 20] and indices[1, :2].tolist() == [19, 20]
    assert np.array_equal(indices[3], np.arange(300)) and (distances[3] == 1).all()


def test_zeros_that_are_stored():
    X = sp.csr_array(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    X.data[2:4] = 0
    distances, indices = kexue.SignHashIndex(64, rng=0).fit(X).kneighbors(X, 3)
    assert distances[1].tolist() == [1, 1, 1] and indices[1].tolist() == [0, 1, 2]


def test_near_vectors_are_not_at_distance_zero():
    rng = np.random.default_rng(0)
    x = rng.normal(size=50)
    X = x + np.array([0, 1e-6, 1e-9])[:, None] * rng.normal(size=(3, 50))
    distances, indices = kexue.SignHashIndex(64, rng=0).fit(X).kneighbors(x[None] * 7, 3)
    assert indices.tolist() == [[0, 2, 1]]
    u, v = X / np.linalg.norm(X, axis=1)[:, None], x / np.linalg.norm(x)
    assert distances[0, 1:] == pytest.approx((((u - v) ** 2).sum(axis=1) / 2)[[2, 1]], rel=1e-5)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("method", ["scan", "probe"])
def test_adding_is_as_fitting_all(clusters, sparse, method):
    make = sp.csr_array if sparse else np.asarray
    X, queries = (make(rows) for rows in (clusters[0][:3000], clusters[1]))
    whole = kexue.SignHashIndex(128, rng=3).fit(X)
    grown = kexue.SignHashIndex(128, rng=3).add(X[:100])
    grown.kneighbors(queries, 3, method=method)
    for begin, end in ((100, 101), (101, 101), (101, 3000)):
        grown.add(X[begin:end].astype(np.float64))
    assert len(grown) == len(whole) == 3000
    for a, b in zip(
        grown.kneighbors(queries, 5, method=method), whole.kneighbors(queries, 5, method=method), strict=True
    ):
        assert np.array_equal(a, b)
    refitted = grown.fit(X[:7])
    assert refitted is grown and len(grown) == 7
    assert np.array_equal(
        grown.kneighbors(queries, 7, n_candidates=7)[1],
        kexue.SignHashIndex(128, rng=3).fit(X[:7]).kneighbors(queries, 7)[1],
    )


def test_adding_while_tables_are_made(monkeypatch):
    X = np.random.default_rng(0).normal(size=(300, 10))
    index = kexue.SignHashIndex(64, rng=0).fit(X[:200])
    tables = _sign_hash_index._Tables

    def make(*arguments):
        monkeypatch.setattr(_sign_hash_index, "_Tables", tables)
        index.add(X[200:])  # as another thread might
        return tables(*arguments)

    monkeypatch.setattr(_sign_hash_index, "_Tables", make)
    assert index.kneighbors(X, 1, method="probe", return_distance=False).max() < 200
    assert index.kneighbors(X, 1, method="probe", return_distance=False).ravel().tolist() == list(range(300))


@pytest.mark.parametrize("sparse", [False, True])
def test_threads_search_while_one_adds(sparse):
    X = np.random.default_rng(0).normal(size=(600, 10))
    X = sp.csr_array(X) if sparse else X
    index = kexue.SignHashIndex(64, rng=0).fit(X[:100])

    def search(method):
        for _ in range(20):
            distances, indices = index.kneighbors(X[:5], 3, method=method, workers=1)
            assert indices[:, 0].tolist() == [0, 1, 2, 3, 4]
            assert (distances[:, 0] < 1e-12).all()

    with ThreadPoolExecutor(8) as pool:
        searches = [pool.submit(search, method) for method in ("scan", "probe") * 4]
        for begin in range(100, 600, 20):
            index.add(X[begin : begin + 20])
        for done in searches:
            done.result()
    assert index.kneighbors(X, 1, method="probe", return_distance=False).ravel().tolist() == list(range(600))


@pytest.mark.parametrize("method", ["scan", "probe"])
def test_workers_change_nothing(clusters, method):
    X, queries = clusters
    index = kexue.SignHashIndex(128, kind="srht", rng=0).fit(X, workers=1)
    expected = index.kneighbors(queries, 5, method=method, workers=1)
    for workers in (2, 3):
        again = kexue.SignHashIndex(128, kind="srht", rng=0).fit(X, workers=workers)
        for a, b in zip(again.kneighbors(queries, 5, method=method, workers=workers), expected, strict=True):
            assert np.array_equal(a, b)


def test_empty_buckets_are_made_up_by_a_scan():
    X = np.random.default_rng(0).normal(size=(50, 10))
    index = kexue.SignHashIndex(64, n_tables=1, bucket_bits=20, rng=0).fit(X)
    assert np.array_equal(
        index.kneighbors(-X, 5, False, method="probe", n_probes=1), index.kneighbors(-X, 5, False, method="scan")
    )


def test_queries_change_nothing_and_keep_their_order():
    X = np.random.default_rng(0).normal(size=(600, 8))
    index = kexue.SignHashIndex(192, rng=0).fit(X)
    before = X.copy()
    indices = index.kneighbors(X, 1, False)  # more queries than are worked at together
    assert np.array_equal(indices[:, 0], np.arange(600))
    assert np.array_equal(X, before)
    assert index.kneighbors(X[:0], 3)[1].shape == (0, 3)
    for scale in (2.0**600, 2.0**-1000):
        assert np.array_equal(index.kneighbors(X * scale, 1, False), indices)


# ---- buckets ----


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 10), st.integers(1, 200), st.integers(0, 2**32), st.booleans())
def test_cheapest_sets_of_bits(bits, count, seed, even):
    rng = np.random.default_rng(seed)
    costs = np.sort(1 + 0.01 * rng.random(bits) if even else rng.exponential(size=bits) ** 3)
    some = _sign_hash_index._subsets(bits, count)
    every = np.array(list(itertools.product((0, 1), repeat=bits))).T
    assert np.allclose(np.sort(costs @ some)[:count], np.sort(costs @ every)[:count])
    assert len(np.unique(some, axis=1).T) == some.shape[1] <= every.shape[1]


@pytest.mark.parametrize(("bits", "n_tables"), [(1, 3), (7, 9), (13, 20), (20, 3)])
def test_lookup_is_that_of_the_cheapest_buckets(bits, n_tables):
    rng = np.random.default_rng(bits)
    projections = rng.normal(size=(3000, bits * n_tables + 5))
    codes = reference.codes_of(projections >= 0)
    tables = _sign_hash_index._Tables(codes, n_tables, bits)
    query = rng.normal(size=(1, projections.shape[1]))
    n_probes = 10
    (found,) = tables.lookup(reference.codes_of(query >= 0), query, n_probes)
    expected = set()
    for table in range(n_tables):
        part = slice(table * bits, (table + 1) * bits)
        differs = (projections[:, part] >= 0) != (query[:, part] >= 0)
        order = np.sort(query[0, part] ** 2)
        limit = np.sort(order @ _sign_hash_index._subsets(bits, n_probes))[:n_probes][-1]
        expected.update(np.flatnonzero(differs @ query[0, part] ** 2 <= limit * (1 + 1e-12)).tolist())
    assert found.tolist() == sorted(expected)


def test_sizes():
    assert [_sign_hash_index._bucket_bits(n, 100) for n in (0, 1, 31, 32, 64, 10**6)] == [1, 1, 1, 2, 3, 16]
    assert _sign_hash_index._bucket_bits(10**9, 100) == 24 and _sign_hash_index._bucket_bits(10**9, 5) == 5
    index = kexue.SignHashIndex(64, rng=0)
    assert (len(index), index.n_features, index.nbytes) == (0, None, 0)
    assert repr(index) == "SignHashIndex(0 vectors, no features, 64 bits, gaussian)"
    index.fit(np.ones((10, 3), dtype=np.float32))
    assert (index.n_bits, index.n_tables, index.kind, index.n_features) == (64, 8, "gaussian", 3)
    assert index.nbytes == 10 * (8 + 12)
    index.kneighbors(np.ones((1, 3)), 1, method="probe")
    assert index.nbytes == 10 * (8 + 12) + 8 * (10 * 8 + 3 * 8)
    assert kexue.SignHashIndex(64, rng=0).fit(sp.csr_array(np.ones((10, 3)))).nbytes == 10 * 8 + 30 * 16 + 11 * 8


# ---- files ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [np.asarray, sp.csr_array], ids=["dense", "sparse"])
def test_saved_and_loaded(tmp_path, kind, make):
    rng = np.random.default_rng(0)
    X, queries = make(rng.normal(size=(200, 30)).astype(np.float32)), make(rng.normal(size=(9, 30)))
    index = kexue.SignHashIndex(100, kind=kind, n_tables=3, bucket_bits=5, rng=0).fit(X)
    path = tmp_path / "index"
    index.save(path)
    assert os.listdir(tmp_path) == ["index"]
    again = kexue.SignHashIndex.load(path)
    assert repr(again) == repr(index) and again.n_tables == 3
    for method in ("scan", "probe"):
        for a, b in zip(
            again.kneighbors(queries, 5, method=method), index.kneighbors(queries, 5, method=method), strict=True
        ):
            assert a.dtype == b.dtype and np.array_equal(a, b)
    assert np.array_equal(
        again.add(X[:3]).kneighbors(queries, 9, False), index.add(X[:3]).kneighbors(queries, 9, False)
    )
    index.save(path)
    assert len(kexue.SignHashIndex.load(str(path))) == 203


def test_an_empty_index_is_saved_too(tmp_path):
    index = kexue.SignHashIndex(70, rng=0)
    index.save(tmp_path / "index.npz")
    again = kexue.SignHashIndex.load(tmp_path / "index.npz")
    X = np.random.default_rng(0).normal(size=(5, 4))
    assert np.array_equal(again.fit(X)._contents.codes, index.fit(X)._contents.codes)


def test_a_failed_save_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "index.npz"
    index = kexue.SignHashIndex(64, rng=0).fit(np.eye(3))
    index.save(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(_npz, "_write_member", fail)
    with pytest.raises(OSError, match="the disk is full"):
        index.fit(np.eye(4)).save(path)
    assert os.listdir(tmp_path) == ["index.npz"] and path.read_bytes() == before


def saved(tmp_path, make=np.asarray):
    X = make(np.random.default_rng(0).normal(size=(20, 6)))
    kexue.SignHashIndex(70, n_tables=2, bucket_bits=5, rng=0).fit(X).save(tmp_path / "good.npz")
    arrays = _npz.load_npz(tmp_path / "good.npz")
    return arrays, json.loads(arrays["index"].tobytes())


def refused(tmp_path, arrays, fields, text):
    content = np.frombuffer(json.dumps(fields).encode(), dtype=np.uint8)
    _npz.save_npz(tmp_path / "bad.npz", {**arrays, "index": content})
    with pytest.raises(kexue.KexueValueError, match=text):
        kexue.SignHashIndex.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": "other"}, "no description"),
        ({"version": 2}, "of version 2; kexue"),
        ({"n_bits": 0}, "makes no sense"),
        ({"n_bits": "70"}, "makes no sense"),
        ({"n_bits": True}, "makes no sense"),
        ({"n_bits": 128}, None),
        ({"n_bits": 129}, "codes are not of this size"),
        ({"n_bits": 65}, "bits beyond the last"),
        ({"kind": "other"}, "makes no sense"),
        ({"kind": []}, "makes no sense"),
        ({"kind": "srht"}, "other random numbers"),
        ({"n_tables": 15}, "makes no sense"),
        ({"n_tables": -1}, "makes no sense"),
        ({"bucket_bits": 40}, "makes no sense"),
        ({"key": [1]}, "makes no sense"),
        ({"key": [1, -1]}, "makes no sense"),
        ({"key": [1, 2]}, "other random numbers"),
        ({"key": 5}, "makes no sense"),
        ({"features": 7}, "vectors are not of this size"),
        ({"features": None}, "makes no sense"),
        ({"vectors": "sparse"}, "arrays are missing"),
        ({"vectors": None}, "arrays are missing"),
        ({"vectors": {}}, "makes no sense"),
        ({"directions": 1}, "other random numbers"),
        ({"more": 1}, "makes no sense"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path, change, text):
    arrays, fields = saved(tmp_path)
    if text is None:  # a longer code begins like the shorter one: nothing tells, and nothing breaks
        content = np.frombuffer(json.dumps(fields | change).encode(), dtype=np.uint8)
        _npz.save_npz(tmp_path / "odd.npz", {**arrays, "index": content})
        assert kexue.SignHashIndex.load(tmp_path / "odd.npz").kneighbors(np.eye(6), 20).__len__() == 2
    else:
        refused(tmp_path, arrays, fields | change, text)


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("codes", lambda a: a[:-1], "vectors are not of this size"),
        ("codes", lambda a: a.astype(np.int64), "codes are not of this size"),
        ("codes", lambda a: a[0], "codes are not of this size"),
        ("codes", lambda a: np.asfortranarray(a), "row after row"),
        ("codes", lambda a: a | np.uint64(1 << 63), "bits beyond the last"),
        ("vectors", lambda a: a.astype(np.float16), "not of real numbers"),
        ("vectors", lambda a: a * np.nan, "not of norm 1"),
        ("vectors", lambda a: a * 100, "not of norm 1"),
        ("vectors", lambda a: a * 0.9, "not of norm 1"),
        ("vectors", lambda a: np.ones_like(a), "not of norm 1"),
        ("vectors", lambda a: a[:, :-1], "vectors are not of this size"),
        ("vectors", lambda a: a.ravel(), "vectors are not of this size"),
        ("extra", lambda a: np.zeros(1), "too many"),
        ("index", lambda a: np.zeros(3), "no description"),
        ("index", lambda a: np.frombuffer(b"[" * 100000, dtype=np.uint8), "no description"),
        ("index", lambda a: np.frombuffer(b"\xff{}", dtype=np.uint8), "no description"),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, name, damage, text):
    arrays, fields = saved(tmp_path)
    arrays[name] = damage(arrays.get(name))
    if name == "index":
        _npz.save_npz(tmp_path / "bad.npz", arrays)
        with pytest.raises(kexue.KexueValueError, match=text):
            kexue.SignHashIndex.load(tmp_path / "bad.npz")
    else:
        refused(tmp_path, arrays, fields, text)


@pytest.mark.parametrize(
    ("name", "damage", "text"),
    [
        ("columns", lambda a: a + 1, "a column is out of range"),
        ("columns", lambda a: a - 1, "a column is out of range"),
        ("columns", lambda a: a[:-1], "vectors are not of this size"),
        ("columns", lambda a: a.astype(np.float64), "vectors are not of this size"),
        ("offsets", lambda a: a[::-1].copy(), "no boundaries"),
        ("offsets", lambda a: a + 1, "no boundaries"),
        ("offsets", lambda a: a[:-1], "vectors are not of this size"),
        ("data", lambda a: a[:, None], "vectors are not of this size"),
        ("data", lambda a: a * np.inf, "not of norm 1"),
        ("data", lambda a: a * 0.9, "not of norm 1"),
    ],
)
def test_sparse_arrays_that_do_not_fit(tmp_path, name, damage, text):
    arrays, fields = saved(tmp_path, sp.csr_array)
    arrays[name] = damage(arrays[name])
    refused(tmp_path, arrays, fields, text)


def test_files_of_something_else(tmp_path):
    with pytest.raises(FileNotFoundError):
        kexue.SignHashIndex.load(tmp_path / "missing")
    (tmp_path / "text").write_text("text")
    with pytest.raises(ValueError, match="not a readable .npz file"):
        kexue.SignHashIndex.load(tmp_path / "text")
    saved(tmp_path)
    content = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "short").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a readable .npz file"):
        kexue.SignHashIndex.load(tmp_path / "short")
    np.savez(tmp_path / "other.npz", index=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match="Python objects"):
        kexue.SignHashIndex.load(tmp_path / "other.npz")


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be at least 1"),
        ({"n_bits": 64.0}, TypeError, "n_bits must be an integer"),
        ({"kind": "other"}, ValueError, "kind must be"),
        ({"n_tables": 0}, ValueError, "n_tables must be at least 1"),
        ({"n_tables": 65}, ValueError, r"n_tables \* bucket_bits is 65, more than n_bits = 64"),
        ({"bucket_bits": 9}, ValueError, r"n_tables \* bucket_bits is 72"),
        ({"bucket_bits": 25}, ValueError, "bucket_bits must be at most 24"),
        ({"bucket_bits": 0}, ValueError, "bucket_bits must be at least 1"),
    ],
)
def test_bad_parameters(arguments, error, text):
    with pytest.raises(error, match=text):
        kexue.SignHashIndex(**{"n_bits": 64} | arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n_neighbors": 0}, ValueError, "n_neighbors must be at least 1"),
        ({"n_neighbors": 5}, ValueError, "n_neighbors is 5, but the index holds only 4 vectors"),
        ({"n_neighbors": 1.0}, TypeError, "n_neighbors must be an integer"),
        ({"method": "other"}, ValueError, "method must be"),
        ({"n_candidates": 1}, ValueError, "n_candidates is 1, less than n_neighbors = 2"),
        ({"n_candidates": 0}, ValueError, "n_candidates must be at least 1"),
        ({"n_probes": 0}, ValueError, "n_probes must be at least 1"),
        ({"n_probes": 1025}, ValueError, "n_probes must be at most 1024"),
        ({"workers": 0}, ValueError, "workers"),
        ({"X": np.ones((2, 4))}, ValueError, "X has 4 columns"),
        ({"X": np.full((2, 3), np.nan)}, ValueError, r"X\[0, 0\] is nan"),
        ({"X": sp.csr_array(np.ones((2, 3)))}, TypeError, "X must be dense"),
    ],
)
def test_bad_queries(arguments, error, text):
    index = kexue.SignHashIndex(64, rng=0).fit(np.eye(4, 3))
    with pytest.raises(error, match=text):
        index.kneighbors(**{"X": np.ones((2, 3)), "n_neighbors": 2} | arguments)


def test_bad_vectors():
    index = kexue.SignHashIndex(64, rng=0)
    with pytest.raises(kexue.KexueValueError, match="the index holds no vectors"):
        index.kneighbors(np.ones((1, 3)), 1)
    index.fit(sp.csr_array(np.eye(3)))
    with pytest.raises(TypeError, match="X must be sparse"):
        index.add(np.eye(3))
    with pytest.raises(kexue.KexueValueError, match=r"X\[0, 1\] is inf"):
        index.fit([[1, np.inf, 2]])
    assert len(index) == 3  # a failed fit changes nothing


@pytest.mark.parametrize(
    ("descr", "length", "more", "text"),
    [
        ("<f8", 1 << 42, 8 << 42, "it would unpack to 35184372088960 bytes"),
        ("<f8", 1 << 20, 8 << 20, "codes.npy is too short"),
        ("|S0", 1 << 60, 0, "codes.npy holds entries of no size"),
    ],
)
def test_sizes_that_no_file_can_have(tmp_path, descr, length, more, text):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": descr, "fortran_order": False, "shape": (length,)})
    with zipfile.ZipFile(tmp_path / "bad.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("codes.npy", header.getvalue())
        archive.getinfo("codes.npy").file_size += more
    with pytest.raises(ValueError, match=text):
        kexue.SignHashIndex.load(tmp_path / "bad.npz")
