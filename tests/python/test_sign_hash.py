"""Sign hashes follow their law; nearest codes are those of a stable sort of all distances."""

import copy
import pickle

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import hadamard

import kexue
from kexue import _sign_hash
from reference import hamming as reference

THETA = 0.3
KINDS = ["gaussian", "srht"]


def pairs_at(theta, dimension, entries, count, rng):
    """`count` pairs of vectors at this angle, with as many entries at random places."""
    X, Y = np.zeros((2, count, dimension))
    for i in range(count):
        places = rng.choice(dimension, entries, replace=False)
        u, v = np.linalg.qr(rng.normal(size=(entries, 2)))[0].T
        X[i, places], Y[i, places] = u, np.cos(theta) * u + np.sin(theta) * v
    return X, Y


def differing(X, Y, n_bits, kind, count):
    """Share of bits that differ: (hashes, pairs)."""
    shares = np.empty((count, len(X)))
    for seed in range(count):
        hashing = kexue.SignHash(X.shape[1], n_bits, kind=kind, rng=seed)
        shares[seed] = np.bitwise_count(hashing.transform(X) ^ hashing.transform(Y)).sum(axis=1) / n_bits
    return shares


# ---- the law ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dimension", "entries"), [(64, 64), (64, 5), (512, 5), (5, 5)])
def test_law_of_a_pair(kind, dimension, entries):
    X, Y = pairs_at(THETA, dimension, entries, 10, np.random.default_rng(0))
    hashes, n_bits = 100, 256
    shares = differing(X, Y, n_bits, kind, hashes)
    # Binomial: sqrt(theta (pi - theta) / n) / pi for each pair; 0.0018 for a pair's mean over the hashes.
    error = np.sqrt(THETA * (np.pi - THETA) / (n_bits * hashes)) / np.pi
    assert np.abs(shares.mean(axis=0) - THETA / np.pi).max() < 4 * error
    mean_product = 1 - 2 * shares.mean()
    assert mean_product == pytest.approx(0.8090140682897256, abs=4 * 2 * error / np.sqrt(len(X)))
    assert abs(mean_product - np.cos(THETA)) > 0.1  # which is what it is not
    assert 0.6 < shares.var(axis=0).mean() / error**2 / hashes < 1.4


def test_a_single_round_has_not_the_law(monkeypatch):
    monkeypatch.setattr(_sign_hash, "_ROUNDS", 1)
    X, Y = pairs_at(THETA, 1024, 5, 10, np.random.default_rng(0))
    assert np.abs(differing(X, Y, 1024, "srht", 20).mean(axis=0) - THETA / np.pi).max() > 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("theta", [0.01, 1.0, 2.5, np.pi])
def test_estimates_are_within_their_errors(kind, theta):
    X, Y = pairs_at(theta, 100, 100, 30, np.random.default_rng(1))
    hashing = kexue.SignHash(100, 4096, kind=kind, rng=2)
    h = np.bitwise_count(hashing.transform(X) ^ hashing.transform(Y)).sum(axis=1)
    error = np.sqrt(theta * (np.pi - theta) / 4096)
    assert np.abs(kexue.angle_from_hamming(h, 4096) - theta).max() <= 4 * error + 1e-12
    angle, angle_error = kexue.angle_from_hamming(h, 4096, return_error=True)
    assert np.allclose(angle_error, np.sqrt(angle * (np.pi - angle) / 4096), rtol=1e-12, atol=0)
    assert angle_error.mean() == pytest.approx(error, rel=0.1)
    cosine, cosine_error = kexue.cosine_from_hamming(h, 4096, return_error=True)
    assert np.allclose(cosine, np.cos(angle), rtol=0, atol=1e-15)
    assert np.allclose(cosine_error, np.sin(angle) * angle_error)
    assert np.abs(cosine - np.cos(theta)).max() <= 4 * np.sin(theta) * error + 8 * error**2 + 1e-12


@pytest.mark.parametrize(("theta", "least", "most"), [(0.3, 0.75, 1.05), (np.pi / 2, 0.45, 0.75)])
def test_bits_of_a_transform_vary_less_than_independent_ones(theta, least, most):
    u, v = np.linalg.qr(np.random.default_rng(0).normal(size=(256, 2)))[0].T
    pair = np.array([u, np.cos(theta) * u + np.sin(theta) * v])
    h = [kexue.hamming_distances(kexue.sign_hash(pair, 256, kind="srht", rng=i))[0, 1] for i in range(1000)]
    assert least < np.var(h) / (256 * theta / np.pi * (1 - theta / np.pi)) < most


def test_cosine_is_the_sine_of_the_mean_product():
    h = np.arange(129)
    s = 1 - 2 * h / 128
    assert np.allclose(kexue.cosine_from_hamming(h, 128), np.sin(np.pi / 2 * s), rtol=0, atol=1e-15)
    assert np.array_equal(kexue.cosine_from_hamming([0, 64, 128], 128), [1, 0, -1])
    assert isinstance(kexue.angle_from_hamming(1, 128), np.float64)
    assert kexue.cosine_from_hamming(h.reshape(3, 43).astype(np.float32), 128).dtype == np.float64


# ---- the codes ----


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n_bits", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bits_are_the_signs_of_projections(kind, n_bits, dtype):
    X = np.random.default_rng(0).normal(size=(33, 20)).astype(dtype)
    X[7] = 0
    hashing = kexue.SignHash(20, n_bits, kind=kind, rng=1)
    projections, codes = hashing.project(X), hashing.transform(X)
    assert projections.dtype == dtype and projections.shape == (33, n_bits)
    assert codes.dtype == np.uint64 and codes.shape == (33, -(-n_bits // 64))
    assert np.array_equal(reference.bits_of(codes, n_bits), projections >= 0)
    assert reference.bits_of(codes, n_bits)[7].all()


@pytest.mark.parametrize(("dimension", "size"), [(100, 256), (256, 256), (300, 512)])
def test_srht_is_three_signed_hadamard_transforms(dimension, size):
    hashing = kexue.SignHash(dimension, 2 * size - 50, kind="srht", rng=0)
    X = np.random.default_rng(0).normal(size=(4, dimension))
    padded = np.pad(X, ((0, 0), (0, size - dimension)))
    H = hadamard(size) / np.sqrt(size)
    every = []
    for block in range(2):
        one, two, three = hashing._signs(block, size, np.dtype(np.float64))
        assert {*one, *two, *three} == {-1.0, 1.0}
        assert abs(one @ two) < 5 * np.sqrt(size) and abs(two @ three) < 5 * np.sqrt(size)
        every.append(padded * one @ H * two @ H * three @ H)
    assert np.allclose(hashing.project(X), np.concatenate(every, axis=1)[:, :-50])


def test_gaussian_directions_are_those_of_a_seed():
    hashing = kexue.SignHash(5, 70, rng=3)
    key = np.random.default_rng(3).integers(0, 1 << 64, size=2, dtype=np.uint64)
    blocks = [
        np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, block])).standard_normal((64, 5))
        for block in range(2)
    ]
    directions = np.concatenate(blocks)[:70].astype(np.float32)
    X = np.random.default_rng(0).normal(size=(9, 5))
    assert np.allclose(hashing.project(X), X @ directions.T)


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_bits_are_the_beginning_of_more(kind):
    X = np.random.default_rng(0).normal(size=(10, 100))
    long = reference.bits_of(kexue.sign_hash(X, 300, kind=kind, rng=5), 300)
    for n_bits in (1, 64, 100, 129):
        short = reference.bits_of(kexue.sign_hash(X, n_bits, kind=kind, rng=5), n_bits)
        assert np.array_equal(short, long[:, :n_bits])


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_and_workers_change_nothing(kind, monkeypatch):
    X = np.random.default_rng(0).integers(-3, 4, size=(50, 40)).astype(np.float64)
    X[:, 0] += 0.5
    hashing = kexue.SignHash(40, 130, kind=kind, rng=0)
    codes, projections = hashing.transform(X, workers=1), hashing.project(X, workers=1)
    monkeypatch.setattr(_sign_hash, "_BLOCK_ENTRIES", 1000)
    monkeypatch.setattr(_sign_hash, "_KEPT_ENTRIES", 1000)
    for workers in (1, 3):
        again = kexue.SignHash(40, 130, kind=kind, rng=0)
        assert np.array_equal(again.transform(X, workers=workers), codes)
        assert np.allclose(again.project(X, workers=workers), projections)
    assert np.array_equal(again.transform(X[3:4]), codes[3:4])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_matrix, sp.coo_array])
def test_sparse_rows_are_the_dense_ones(kind, make):
    X = sp.random_array((40, 90), density=0.1, rng=np.random.default_rng(0))
    expected = kexue.sign_hash(X.toarray(), 128, kind=kind, rng=0)
    assert np.array_equal(kexue.sign_hash(make(X), 128, kind=kind, rng=0), expected)
    counts = (X * 100).astype(np.int32)
    assert np.array_equal(
        kexue.sign_hash(make(counts), 128, kind=kind, rng=0),
        kexue.sign_hash(counts.toarray(), 128, kind=kind, rng=0),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_repeated_entries_of_small_integers_do_not_wrap_around(kind):
    X = sp.coo_array((np.ones(257, dtype=np.uint8), (np.zeros(257, int), np.repeat([3, 4], [256, 1]))))
    whole = np.array([[0.0, 0.0, 0.0, 256.0, 1.0]])
    assert np.array_equal(kexue.sign_hash(X, 64, kind=kind, rng=0), kexue.sign_hash(whole, 64, kind=kind, rng=0))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [sp.csr_array, sp.csc_array])
def test_sparse_matrices_that_are_none(kind, make):
    X = make(np.ones((8, 8)))
    X.indices[3] = 10**8
    with pytest.raises(kexue.KexueValueError, match="X is no valid sparse matrix"):
        kexue.sign_hash(X, 64, kind=kind, rng=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_length_is_nothing(kind, dtype):
    X = np.random.default_rng(0).normal(size=(30, 60)).astype(dtype)
    hashing = kexue.SignHash(60, 128, kind=kind, rng=0)
    codes = hashing.transform(X)
    limits = np.finfo(dtype)
    for scale in (limits.max / 8, limits.tiny * 2.0**8, 2.0**-30):
        scaled = X * dtype(2.0 ** np.floor(np.log2(scale)))
        before = scaled.copy()
        assert np.array_equal(hashing.transform(scaled), codes)
        assert np.array_equal(hashing.transform(sp.csr_array(scaled)), codes)
        assert np.array_equal(scaled, before)


def test_opposite_vectors_have_opposite_bits():
    X = np.random.default_rng(0).normal(size=(5, 30))
    assert np.array_equal(
        np.diag(kexue.hamming_distances(*(kexue.sign_hash(s * X, 100, rng=0) for s in (1, -1)))), [100] * 5
    )


@pytest.mark.parametrize("kind", KINDS)
def test_sign_hash_is_that_of_the_class(kind):
    X = np.random.default_rng(0).normal(size=(5, 30)).astype(np.float16)
    hashing = kexue.SignHash(30, 77, kind=kind, rng=4)
    codes = kexue.sign_hash(X, 77, kind=kind, rng=4)
    assert np.array_equal(hashing.transform(X), codes)
    assert (hashing.n_features, hashing.n_bits, hashing.kind) == (30, 77, kind)
    for again in (
        pickle.loads(pickle.dumps(hashing)),
        copy.deepcopy(hashing),
        kexue.SignHash.from_key(30, 77, kind, hashing.key),
    ):
        assert np.array_equal(again.transform(X), codes)
        assert again.fingerprint() == hashing.fingerprint()
    other = kexue.SignHash(30, 77, kind=kind, rng=5)
    assert not np.array_equal(other.transform(X), codes)
    assert other.fingerprint() != hashing.fingerprint()
    assert not np.array_equal(kexue.sign_hash(X, 77, kind=kind), kexue.sign_hash(X, 77, kind=kind))


def test_layouts():
    X = np.random.default_rng(0).normal(size=(12, 10))
    codes = kexue.sign_hash(X, 64, rng=0)
    strided = np.zeros((24, 30))
    strided[::2, ::3] = X
    read_only = X.copy()
    read_only.flags.writeable = False
    for same in (np.asfortranarray(X), strided[::2, ::3], X.astype(">f8"), X.tolist(), read_only):
        assert np.array_equal(kexue.sign_hash(same, 64, rng=0), codes)
    assert kexue.sign_hash(X[:0], 100, rng=0).shape == (0, 2)
    assert kexue.sign_hash(X[:1], 64, rng=0).shape == (1, 1)


# ---- nearest codes ----


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 6), st.integers(1, 300), st.integers(1, 7), st.integers(0, 2**32), st.booleans(), st.data())
def test_neighbors_are_those_of_a_stable_sort(q, n, words, seed, few, data):
    k = data.draw(st.integers(1, n))
    rng = np.random.default_rng(seed)
    high = 4 if few else 1 << 64  # few: many ties
    queries, codes = (rng.integers(0, high, size=(size, words), dtype=np.uint64) for size in (q, n))
    found, indices = kexue.hamming_neighbors(queries, codes, k)
    expected, order = reference.neighbors(queries, codes, k)
    assert found.dtype == np.int32 and indices.dtype == np.int64
    assert np.array_equal(found, expected) and np.array_equal(indices, order)
    assert np.array_equal(kexue.hamming_distances(queries, codes), reference.distances(queries, codes))


@pytest.mark.parametrize("words", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("k", [1, 10, 1000, 40000, 70001])
def test_neighbors_among_many_codes(words, k):
    rng = np.random.default_rng(words)
    codes = rng.integers(0, 1 << 64, size=(70001, words), dtype=np.uint64)
    codes[50000:] = codes[:20001]  # ties across the segments of several workers
    queries = codes[[0, 5, 69999]] ^ np.uint64(0b1011)
    expected, order = reference.neighbors(queries, codes, k)
    for workers in (1, 2, 4):
        distances, indices = kexue.hamming_neighbors(queries, codes, k, workers=workers)
        assert np.array_equal(distances, expected) and np.array_equal(indices, order)


def test_neighbors_when_every_code_is_better_than_the_last():
    codes = np.tri(64, dtype=np.uint8)[::-1]
    codes = reference.codes_of(np.repeat(codes, 100, axis=0))
    queries = np.zeros((1, 1), dtype=np.uint64)
    for k in (1, 50, 150, 6400):
        expected, order = reference.neighbors(queries, codes, k)
        distances, indices = kexue.hamming_neighbors(queries, codes, k)
        assert np.array_equal(distances, expected) and np.array_equal(indices, order)


def test_distances_of_one_set_and_of_long_codes():
    codes = np.random.default_rng(0).integers(0, 1 << 64, size=(50, 40), dtype=np.uint64)
    expected = reference.distances(codes, codes)
    for workers in (1, 3):
        assert np.array_equal(kexue.hamming_distances(codes, workers=workers), expected)
    assert np.array_equal(kexue.hamming_distances(codes.astype(">u8"), np.asfortranarray(codes)), expected)
    assert kexue.hamming_distances(codes[:0], codes).shape == (0, 50)
    assert kexue.hamming_distances(codes, codes[:0]).shape == (50, 0)


# ---- bad input ----


def test_bad_vectors():
    X = np.ones((4, 3))
    X[2, 1] = np.nan
    with pytest.raises(kexue.KexueValueError, match=r"X\[2, 1\] is nan; X has shape \(4, 3\)"):
        kexue.sign_hash(X, 64)
    X[2, 1] = np.inf
    with pytest.raises(kexue.KexueValueError, match=r"X\[2, 1\] is inf; X has shape \(4, 3\)"):
        kexue.sign_hash(sp.csr_array(X), 64)
    with pytest.raises(kexue.KexueValueError, match="X must have 2 dimensions"):
        kexue.sign_hash([1.0, 2.0], 64)
    with pytest.raises(kexue.KexueValueError, match="X must have 2 dimensions"):
        kexue.sign_hash(sp.coo_array(np.ones(3)), 64)
    with pytest.raises(kexue.KexueValueError, match="X has no columns"):
        kexue.sign_hash(np.ones((3, 0)), 64)
    with pytest.raises(kexue.KexueValueError, match="X has 4 columns .* 3 features"):
        kexue.SignHash(3, 64).transform(np.ones((2, 4)))
    for bad in ([["a"]], np.ones((2, 2), dtype=complex), sp.csr_array(np.ones((2, 2), dtype=complex))):
        with pytest.raises(TypeError, match="X must hold real numbers"):
            kexue.sign_hash(bad, 64)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"n_bits": 0}, ValueError, "n_bits must be at least 1, got 0"),
        ({"n_bits": 1 << 40}, ValueError, "n_bits must be at most"),
        ({"n_bits": 64.0}, TypeError, "n_bits must be an integer, not float"),
        ({"n_bits": True}, TypeError, "n_bits must be an integer, not bool"),
        ({"n_bits": 64, "kind": "rademacher"}, ValueError, "kind must be"),
        ({"n_bits": 64, "workers": 0}, ValueError, "workers"),
    ],
)
def test_bad_numbers(arguments, error, message):
    for kind in ("gaussian", "srht"):
        with pytest.raises(error, match=message):
            kexue.sign_hash(np.ones((2, 3)), **{"kind": kind} | arguments)


@pytest.mark.parametrize(
    ("key", "error", "text"),
    [
        ([1], ValueError, r"key must be two numbers, but its shape is \(1,\)"),
        ([1, 2, 3], ValueError, "key must be two numbers"),
        (None, ValueError, "key must be two numbers"),
        ([-1, 2], ValueError, "key must be at least 0"),
        ([2**64, 2], ValueError, "key must be at most"),
        ([1.5, 2], TypeError, "key must be an integer"),
    ],
)
def test_bad_keys(key, error, text):
    with pytest.raises(error, match=text):
        kexue.SignHash.from_key(3, 64, "gaussian", key)


def test_bad_features():
    with pytest.raises(kexue.KexueValueError, match="n_features must be at least 1"):
        kexue.SignHash(0, 64)


def test_bad_codes():
    codes = np.zeros((5, 2), dtype=np.uint64)
    with pytest.raises(TypeError, match="queries must be codes of uint64, but its dtype is int64"):
        kexue.hamming_neighbors(codes.astype(np.int64), codes, 1)
    with pytest.raises(TypeError, match="codes must be codes of uint64, but its dtype is uint8"):
        kexue.hamming_neighbors(codes, codes.astype(np.uint8), 1)
    with pytest.raises(kexue.KexueValueError, match=r"queries must have 2 dimensions .* \(2,\)"):
        kexue.hamming_neighbors(codes[0], codes, 1)
    with pytest.raises(kexue.KexueValueError, match="codes of 1 words .* codes of 2"):
        kexue.hamming_neighbors(codes[:, :1], codes, 1)
    with pytest.raises(kexue.KexueValueError, match="a has codes of 2 words .* b of 1"):
        kexue.hamming_distances(codes, codes[:, :1])
    with pytest.raises(kexue.KexueValueError, match="a must have 1 to 1048576 words"):
        kexue.hamming_distances(codes[:, :0])
    with pytest.raises(kexue.KexueValueError, match="k is 6, but there are only 5 codes"):
        kexue.hamming_neighbors(codes, codes, 6)
    with pytest.raises(kexue.KexueValueError, match="k must be at least 1"):
        kexue.hamming_neighbors(codes, codes, 0)
    with pytest.raises(TypeError, match="k must be an integer"):
        kexue.hamming_neighbors(codes, codes, 1.5)
    with pytest.raises(TypeError, match="a is a masked array"):
        kexue.hamming_distances(np.ma.array(codes))
    with pytest.raises(kexue.KexueValueError, match="codes is not an array of one shape"):
        kexue.hamming_neighbors(codes, [[1], [1, 2]], 1)


@pytest.mark.parametrize("convert", [kexue.angle_from_hamming, kexue.cosine_from_hamming])
def test_bad_distances(convert):
    for bad, text in ((-1, "-1.0"), (65, "65.0"), (np.nan, "nan")):
        with pytest.raises(kexue.KexueValueError, match=rf"h\[1\] is {text}, not from 0 to n_bits = 64"):
            convert([3, bad], 64)
    with pytest.raises(kexue.KexueValueError, match="n_bits must be at least 1"):
        convert(0, 0)
    with pytest.raises(kexue.KexueValueError, match="n_bits must be at most"):
        convert(0, 10**400)
