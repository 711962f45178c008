"""Codes of bits by NumPy, one bit a byte."""

import numpy as np


def bits_of(codes, n_bits):
    """(n, n_bits) of 0 and 1."""
    every = np.unpackbits(np.ascontiguousarray(codes).astype("<u8").view(np.uint8), axis=1, bitorder="little")
    assert not every[:, n_bits:].any()
    return every[:, :n_bits]


def codes_of(bits):
    """The inverse of `bits_of`."""
    n, n_bits = bits.shape
    padded = np.zeros((n, -(-n_bits // 64) * 64), dtype=np.uint8)
    padded[:, :n_bits] = bits
    return np.packbits(padded, axis=1, bitorder="little").view("<u8").astype(np.uint64)


def distances(a, b):
    """Hamming distances of all pairs."""
    return np.bitwise_count(a[:, None, :] ^ b[None, :, :]).sum(axis=2, dtype=np.int32)


def neighbors(a, b, k):
    """Distances and indices of the k nearest: a stable sort of all."""
    every = distances(a, b)
    order = np.argsort(every, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(every, order, axis=1), order


def cosine_distances(X, Y):
    """1 - cosine of all pairs; a row of zeros is orthogonal to everything."""
    X, Y = (
        rows / np.where(norms == 0, 1, norms) for rows in (X, Y) for norms in [np.linalg.norm(rows, axis=1)[:, None]]
    )
    return 1 - X @ Y.T
