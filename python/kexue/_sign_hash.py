"""Signs of random projections as codes of bits, codes that are near, and the angles they stand for."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

import kexue  # kexue.projection exports this module's names too, so fwht is looked up when it is called
from kexue import _hamming
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, as_contiguous, as_csr, as_real, check_integer, is_sparse
from kexue._context import count_workers
from kexue._errors import KexueValueError, first_bad, require_finite, require_finite_entries

HashKind: TypeAlias = Literal["gaussian", "srht"]
_Take: TypeAlias = Callable[[int, int, np.ndarray], None]

KINDS = ("gaussian", "srht")
_WORD = 64
_ROUNDS = 3  # of random signs and a Hadamard transform: see SignHash
_LEAST_SIZE = (
    256  # of a transform: at 64, P(differs) of vectors of 2 entries is 0.077 to 0.119 where the law says 0.0955
)
_BLOCK_ENTRIES = 1 << 20  # of rows that are projected at once
_KEPT_ENTRIES = 1 << 24  # directions are kept if they are fewer numbers: 64 MB in float32
_SAFE_EXPONENT = {np.dtype(np.float32): 40, np.dtype(np.float64): 400}


class SignHash:
    """Codes of vectors: the signs of random projections, 64 in a word.

    Vectors at an angle theta have codes in which each bit differs with probability theta / pi [1]_: the Hamming
    distance of codes estimates the angle, see `angle_from_hamming`. Codes of one `SignHash` can be compared with each
    other, whenever they were made.

    Parameters
    ----------
    n_features : int
        Numbers of a vector, at least 1.
    n_bits : int
        Bits of a code, at least 1. A code of fewer bits is the beginning of one of more.
    kind : {"gaussian", "srht"}, optional
        Independent Gaussian directions; or rows of H D3 H D2 H D1, with Hadamard matrices H and random signs D1, D2,
        D3.
    rng : numpy.random.Generator, int or None, optional
        Random numbers, through ``numpy.random.default_rng(rng)``: two are drawn, from which the rest follows.

    Attributes
    ----------
    n_features, n_bits : int
    kind : str

    Raises
    ------
    KexueValueError
        `n_features` or `n_bits` is below 1 or too large, or `kind` is none of these.
    TypeError
        `n_features` or `n_bits` is no integer.

    See Also
    --------
    kexue.sign_hash : codes in one call.
    kexue.SignHashIndex : nearest vectors by such codes.

    Notes
    -----
    **Cost** for n vectors of d numbers: "gaussian" O(n d n_bits), a matrix product (n_bits times the entries of sparse
    rows); "srht" O(n D log D) for each D bits that are begun, D being the power of two from d on, at least 256. Memory
    beyond the result: blocks of 8 MB, and for "gaussian" the directions, which are kept up to 2^24 numbers, and beyond
    that made 64 bits at a time, at each call.

    **The law** is exact for "gaussian". "srht" comes close to it for any vectors by its three rounds of signs and
    transforms: of pairs at theta = 0.3, where it says 0.0955, dense ones and ones with 5 entries have measured
    probabilities that agree with it within their errors of 0.0004; with 2 entries, 0.093 to 0.099 at D = 256, within
    the errors again at D = 1024. After a single round they would be anything from 0 to 0.5, depending on the vectors.
    The bits of one transform are not quite independent, which helps: for D bits the variance of h is below the binomial
    one, by some 10 % at theta = 0.3 and 40 % at right angles.

    **Rounding.** A code does not depend on the lengths of vectors (rows are scaled where products would overflow). A
    projection within rounding of 0 may have either sign: a vector in float32 and in float64, or in another company,
    may differ in some bit of a million. Zero vectors have all bits set: the sign of 0 is +.

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.
    .. [2] A. Andoni, P. Indyk, T. Laarhoven, I. Razenshteyn and L. Schmidt, *Practical and optimal LSH for angular
       distance*, NeurIPS 2015, arXiv:1509.02897: three rounds of signs and Hadamard transforms in place of a
       rotation.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> hashing = kexue.SignHash(3, 128, rng=0)
    >>> hashing
    SignHash(3 features, 128 bits, gaussian)
    >>> codes = hashing.transform([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, -2.0, -3.0]])
    >>> codes.shape, codes.dtype
    ((3, 2), dtype('uint64'))
    >>> kexue.hamming_distances(codes)
    array([[  0,   0, 128],
           [  0,   0, 128],
           [128, 128,   0]], dtype=int32)
    """

    def __init__(
        self,
        n_features: int,
        n_bits: int,
        *,
        kind: HashKind = "gaussian",
        rng: np.random.Generator | int | None = None,
    ) -> None:
        self._set(n_features, n_bits, kind, new_key(rng))

    @classmethod
    def from_key(cls, n_features: int, n_bits: int, kind: HashKind, key: np.ndarray) -> SignHash:
        """The one with these random numbers.

        Parameters
        ----------
        n_features, n_bits : int
        kind : {"gaussian", "srht"}
        key : ndarray of uint64, shape (2,)
            Another's `key`.

        Returns
        -------
        SignHash

        Raises
        ------
        KexueValueError
            As of `SignHash`; or `key` is not of two numbers from 0 to 2^64 - 1.
        TypeError
            A number is no integer.

        Examples
        --------
        >>> import kexue
        >>> hashing = kexue.SignHash(4, 64, rng=0)
        >>> again = kexue.SignHash.from_key(4, 64, "gaussian", hashing.key)
        >>> bool((again.transform([[1, 2, 3, 4]]) == hashing.transform([[1, 2, 3, 4]])).all())
        True
        """
        hashing = cls.__new__(cls)
        hashing._set(n_features, n_bits, kind, key)
        return hashing

    def _set(self, n_features: int, n_bits: int, kind: str, key: np.ndarray) -> None:
        if kind not in KINDS:
            raise KexueValueError(f'kind must be "gaussian" or "srht", got {kind!r}')
        self._n_features = check_integer("n_features", n_features, 1, 1 << 40)
        self._n_bits = check_integer("n_bits", n_bits, 1, _WORD * _hamming.MAX_WORDS)
        self._kind = str(kind)
        if np.shape(key) != (2,):
            raise KexueValueError(f"key must be two numbers, but its shape is {np.shape(key)}")
        self._key = tuple(check_integer("key", part, 0, 2**64 - 1) for part in key)

    @property
    def n_features(self) -> int:
        return self._n_features

    @property
    def n_bits(self) -> int:
        return self._n_bits

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def key(self) -> np.ndarray:
        """The two numbers that all random ones follow from."""
        return np.array(self._key, dtype=np.uint64)

    def fingerprint(self) -> int:
        """A number that tells whether the same random numbers follow from `key` elsewhere.

        Bits are NumPy's promise, normal numbers are not: the next version may draw them in another way.

        Returns
        -------
        int

        Examples
        --------
        >>> import kexue
        >>> kexue.SignHash(3, 64, rng=0).fingerprint() == kexue.SignHash(5, 64, rng=0).fingerprint()
        True
        """
        generator = self._generator(0)
        if self._kind == "srht":
            return zlib.crc32(generator.random_raw(_WORD).astype("<u8").data)
        numbers = np.random.Generator(generator).standard_normal(1 << 12)
        return zlib.crc32(
            np.rint(1000 * numbers).astype("<i4").data
        )  # not of what the last digits may be on another machine

    def __reduce__(self) -> tuple[Any, ...]:
        return SignHash.from_key, (self._n_features, self._n_bits, self._kind, self.key)

    def __repr__(self) -> str:
        return f"SignHash({self._n_features} features, {self._n_bits} bits, {self._kind})"

    def transform(self, X: ArrayLike, *, workers: int | None = None) -> np.ndarray:
        """Codes of vectors.

        Parameters
        ----------
        X : array_like or scipy.sparse matrix, shape (n, n_features)
            Vectors, float32 or float64 by the rules of `kexue`; finite.
        workers : int, optional
            Threads for "srht"; matrix products have the threads of NumPy's BLAS library.

        Returns
        -------
        ndarray of uint64, shape (n, ceil(n_bits / 64))
            Bit i of a code is ``code[i // 64] >> i % 64 & 1``: whether the i-th projection is not negative. Bits from
            `n_bits` on are 0.

        Raises
        ------
        KexueValueError
            `X` is not of this shape, or holds NaN or infinity.
        TypeError
            `X` does not hold real numbers.

        Examples
        --------
        >>> import kexue
        >>> kexue.SignHash(2, 8, rng=0).transform([[1.0, 0.0], [0.0, 0.0]])
        array([[163],
               [255]], dtype=uint64)
        """
        rows = as_vectors("X", X, self._n_features)
        codes = np.empty((rows.shape[0], words_of(self._n_bits)), dtype=np.uint64)

        def take(begin: int, first: int, values: np.ndarray) -> None:
            word = first // _WORD
            _hamming.pack(values, codes[begin : begin + len(values), word : word + words_of(values.shape[1])])

        self._run(rows, take, workers)
        return codes

    def project(self, X: ArrayLike, *, workers: int | None = None) -> np.ndarray:
        """The projections whose signs are the bits.

        Parameters
        ----------
        X : array_like or scipy.sparse matrix, shape (n, n_features)
        workers : int, optional
            As of `transform`.

        Returns
        -------
        ndarray of float32 or float64, shape (n, n_bits)
            Up to a positive factor for each row. How far one is from 0 says how easily its bit might have been the
            other.

        Examples
        --------
        >>> import kexue
        >>> kexue.SignHash(2, 8, rng=0).project([[1.0, 0.0]]).shape
        (1, 8)
        """
        rows = as_vectors("X", X, self._n_features)
        projections = np.empty((rows.shape[0], self._n_bits), dtype=rows.dtype)

        def take(begin: int, first: int, values: np.ndarray) -> None:
            projections[begin : begin + len(values), first : first + values.shape[1]] = values

        self._run(rows, take, workers)
        return projections

    def _run(self, rows: Any, take: _Take, workers: int | None) -> None:
        """Call `take` with the first row, the first bit and the projections of each piece of the result."""
        rows = _of_moderate_size(rows)
        threads = count_workers(workers)
        if self._kind == "gaussian":
            step = max(1, _BLOCK_ENTRIES // (_WORD if self._kept_directions is None else self._n_bits))
            for first, directions in self._directions(rows.dtype):
                for begin in range(0, rows.shape[0], step):
                    take(begin, first, rows[begin : begin + step] @ directions)
            return
        size = max(_LEAST_SIZE, 1 << (self._n_features - 1).bit_length())
        signs = [self._signs(block, size, rows.dtype) for block in range(-(-self._n_bits // size))]
        step = max(1, _BLOCK_ENTRIES // size)

        def transform(begin: int) -> None:
            part = rows[begin : begin + step]
            padded = np.zeros((part.shape[0], size), dtype=rows.dtype)
            padded[:, : self._n_features] = part.toarray() if hasattr(part, "toarray") else part
            for block, rounds in enumerate(signs):
                values = padded.copy() if block + 1 < len(signs) else padded
                for row in rounds:
                    values *= row
                    kexue.fwht(values, orthonormal=True, out=values)
                take(begin, block * size, values[:, : self._n_bits - block * size])

        begins = range(0, rows.shape[0], step)
        threads = min(threads, len(begins))
        if threads > 1:
            with ThreadPoolExecutor(threads) as pool:
                try:
                    for done in [pool.submit(transform, begin) for begin in begins]:
                        done.result()
                except BaseException:  # Ctrl-C: leaving the pool waits for all that was submitted
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        else:
            for begin in begins:
                transform(begin)

    def _generator(self, block: int) -> np.random.Philox:
        """Random numbers of a block of directions, its own ones however many others there are."""
        return np.random.Philox(key=self.key, counter=np.array([0, 0, 0, block], dtype=np.uint64))

    def _normal(self, block: int) -> np.ndarray:
        """64 directions, (n_features, 64). Rounded to float32 for float64 vectors too: one is as good as the next."""
        normal = np.random.Generator(self._generator(block)).standard_normal((_WORD, self._n_features))
        return np.ascontiguousarray(normal.T, dtype=np.float32)

    @cached_property
    def _kept_directions(self) -> np.ndarray | None:
        """Those of all bits, (n_features, n_bits), or None if they are too many."""
        if self._n_bits * self._n_features > _KEPT_ENTRIES:
            return None
        return np.concatenate([self._normal(block) for block in range(words_of(self._n_bits))], axis=1)[
            :, : self._n_bits
        ]

    def _directions(self, dtype: np.dtype) -> Iterator[tuple[int, np.ndarray]]:
        """The first bit and the directions, as columns, of each group of bits."""
        kept = self._kept_directions
        if kept is not None:
            yield 0, kept.astype(dtype, order="C", copy=False)
            return
        for first in range(0, self._n_bits, _WORD):
            yield first, self._normal(first // _WORD)[:, : self._n_bits - first].astype(dtype, order="C", copy=False)

    def _signs(self, block: int, size: int, dtype: np.dtype) -> np.ndarray:
        """The diagonals of D1, D2 and D3."""
        raw = self._generator(block).random_raw(-(-_ROUNDS * size // _WORD))
        bits = np.unpackbits(raw.astype("<u8").view(np.uint8), count=_ROUNDS * size, bitorder="little")
        return (1 - 2 * bits.astype(np.int8)).astype(dtype).reshape(_ROUNDS, size)


@same_kind
def sign_hash(
    X: ArrayLike,
    n_bits: int,
    *,
    kind: HashKind = "gaussian",
    rng: np.random.Generator | int | None = None,
    workers: int | None = None,
) -> np.ndarray:
    """Codes of vectors whose Hamming distance estimates their angle: the signs of random projections.

    To compare with vectors that come later, keep a `SignHash`, or give an integer as `rng` each time.

    Parameters
    ----------
    X : array_like or scipy.sparse matrix, shape (n, d)
        Vectors; finite.
    n_bits : int
        Bits of a code, at least 1.
    kind : {"gaussian", "srht"}, optional
        Independent Gaussian directions, or those of randomised Hadamard transforms: see `SignHash`.
    rng : numpy.random.Generator, int or None, optional
        Random numbers, through ``numpy.random.default_rng(rng)``.
    workers : int, optional
        Threads for "srht"; matrix products have the threads of NumPy's BLAS library.

    Returns
    -------
    ndarray of uint64, shape (n, ceil(n_bits / 64))
        Bit i of a code is ``code[i // 64] >> i % 64 & 1``; 1 if the i-th projection is not negative. Bits from
        `n_bits` on are 0.

    Raises
    ------
    KexueValueError
        `X` is not finite or has no columns, `n_bits` is below 1, or `kind` is none of these.
    TypeError
        `X` does not hold real numbers, or `n_bits` is no integer.

    See Also
    --------
    kexue.SignHash : the same hash for more vectors; cost, accuracy and sources.
    kexue.hamming_neighbors : nearest codes.
    kexue.angle_from_hamming : the angle of the vectors.

    Notes
    -----
    A bit differs with probability theta / pi. The mean product of signs (as +1 and -1) has the expectation 1 - 2
    theta / pi, not cos theta. O(n d n_bits) time for "gaussian", for "srht" O(n D log D) for each D bits that are
    begun, D being the power of two from d on, at least 256.

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> X = [[1.0, 0.0, 0.0], [np.cos(0.3), np.sin(0.3), 0.0]]
    >>> codes = kexue.sign_hash(X, 4096, rng=0)
    >>> float(kexue.angle_from_hamming(kexue.hamming_distances(codes)[0, 1], 4096).round(2))
    0.3
    """
    rows = as_vectors("X", X, None)
    return SignHash(rows.shape[1], n_bits, kind=kind, rng=rng).transform(rows, workers=workers)


@same_kind
def hamming_distances(a: ArrayLike, b: ArrayLike | None = None, *, workers: int | None = None) -> np.ndarray:
    """How many bits of codes differ, for all pairs.

    Parameters
    ----------
    a : array_like of uint64, shape (n, words)
        Codes, as `sign_hash` makes them.
    b : array_like of uint64, shape (m, words), optional
        Codes to compare with; those of `a` if None.
    workers : int, optional
        Threads, by the rules of `kexue.threads`.

    Returns
    -------
    ndarray of int32, shape (n, m)

    Raises
    ------
    TypeError
        The codes are not uint64.
    KexueValueError
        They are not of such shapes.

    See Also
    --------
    kexue.hamming_neighbors : the least of each row, without the matrix.

    Notes
    -----
    O(n m words), bound by writing the result for codes of a few words.

    References
    ----------
    .. [1] R. Hamming, *Error detecting and error correcting codes*, Bell System Technical Journal 29 (1950),
       doi:10.1002/j.1538-7305.1950.tb00463.x.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> codes = np.array([[0b1111], [0b0011], [0b1100]], dtype=np.uint64)
    >>> kexue.hamming_distances(codes[:1], codes)
    array([[0, 2, 2]], dtype=int32)
    """
    left = as_codes("a", a)
    right = left if b is None else as_codes("b", b)
    if left.shape[1] != right.shape[1]:
        raise KexueValueError(
            f"a has codes of {left.shape[1]} words (shape {left.shape}), b of {right.shape[1]} ({right.shape})"
        )
    out = np.empty((len(left), len(right)), dtype=np.int32)
    _hamming.distances(left, right, out, workers)
    return out


@same_kind
def hamming_neighbors(
    queries: ArrayLike, codes: ArrayLike, k: int, *, workers: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k codes nearest to each query, exactly.

    What is searched for comes first, then where: as in ``index.search(queries, k)`` of an index of `codes`.

    Parameters
    ----------
    queries : array_like of uint64, shape (q, words)
        Codes, as `sign_hash` makes them.
    codes : array_like of uint64, shape (n, words)
        Codes of the same hash.
    k : int
        How many, from 1 to n.
    workers : int, optional
        Threads, by the rules of `kexue.threads`.

    Returns
    -------
    distances : ndarray of int32, shape (q, k)
        Bits that differ, ascending.
    indices : ndarray of int64, shape (q, k)
        Rows of `codes`; of equal distances the lower comes first, and is the one that is kept.

    Raises
    ------
    TypeError
        The codes are not uint64, or `k` is no integer.
    KexueValueError
        They are not of such shapes, or `k` is below 1 or above n.

    See Also
    --------
    kexue.SignHashIndex : vectors in, vectors out.
    kexue.angle_from_hamming, kexue.cosine_from_hamming : what a distance means.

    Notes
    -----
    O(q n words + q k log n): every code is compared with every query, 64 queries with 10^6 codes of 128 bits in 4 ms
    on one core with AVX-512. The memory is O(k + words) for each query at work. The result does not depend on
    `workers`.

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> codes = np.array([[0b1111], [0b0011], [0b1100]], dtype=np.uint64)
    >>> distances, indices = kexue.hamming_neighbors(np.array([[0b0111]], dtype=np.uint64), codes, 2)
    >>> distances, indices
    (array([[1, 1]], dtype=int32), array([[0, 1]]))
    """
    wanted, known = as_codes("queries", queries), as_codes("codes", codes)
    if wanted.shape[1] != known.shape[1]:
        raise KexueValueError(
            f"queries has codes of {wanted.shape[1]} words (shape {wanted.shape}), "
            f"codes of {known.shape[1]} ({known.shape})"
        )
    k = check_integer("k", k, 1)
    if k > len(known):
        raise KexueValueError(f"k is {k}, but there are only {len(known)} codes")
    distances = np.empty((len(wanted), k), dtype=np.int32)
    indices = np.empty((len(wanted), k), dtype=np.int64)
    _hamming.neighbors(wanted, known, distances, indices, workers)
    return distances, indices


@same_kind
def angle_from_hamming(
    h: ArrayLike, n_bits: int, *, return_error: bool = False
) -> np.ndarray | np.float64 | tuple[Any, Any]:
    """The angle of two vectors, estimated from the Hamming distance of their codes: pi h / n_bits.

    Parameters
    ----------
    h : array_like
        Distances, from 0 to `n_bits`, of codes of `sign_hash`.
    n_bits : int
        Bits of the codes.
    return_error : bool, optional
        Return the standard error too.

    Returns
    -------
    angle : ndarray of float64, or a number, of h's shape
        In radians, from 0 to pi.
    error : the same
        With ``return_error=True``: sqrt(angle (pi - angle) / n_bits). At h = 0 and h = n_bits it is 0, which says
        only that no bit told otherwise.

    Raises
    ------
    KexueValueError
        A distance is below 0, above `n_bits` or NaN, or `n_bits` is below 1 or above 2^53.

    See Also
    --------
    kexue.cosine_from_hamming : the cosine.

    Notes
    -----
    h is binomial with probability theta / pi, so the estimate is unbiased, of variance theta (pi - theta) / n_bits;
    exact for codes of ``kind="gaussian"``, nearly so for "srht" (`SignHash`). O(size).

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.

    Examples
    --------
    >>> import kexue
    >>> kexue.angle_from_hamming([0, 32, 64], 64)
    array([0.        , 1.57079633, 3.14159265])
    """
    angle, error = _angle_and_error(h, n_bits)
    return (angle[()], error[()]) if return_error else angle[()]


@same_kind
def cosine_from_hamming(
    h: ArrayLike, n_bits: int, *, return_error: bool = False
) -> np.ndarray | np.float64 | tuple[Any, Any]:
    """The cosine of two vectors, estimated from the Hamming distance of their codes: cos(pi h / n_bits).

    Parameters
    ----------
    h : array_like
        Distances, from 0 to `n_bits`, of codes of `sign_hash`.
    n_bits : int
        Bits of the codes.
    return_error : bool, optional
        Return the standard error too.

    Returns
    -------
    cosine : ndarray of float64, or a number, of h's shape
    error : the same
        With ``return_error=True``: sin(angle) times the error of `angle_from_hamming`, to first order.

    Raises
    ------
    KexueValueError
        A distance is below 0, above `n_bits` or NaN, or `n_bits` is below 1 or above 2^53.

    See Also
    --------
    kexue.angle_from_hamming : the angle, whose estimate is unbiased.

    Notes
    -----
    The mean product of signs, s = 1 - 2 h / n_bits, is no estimate of the cosine: its expectation is 1 - 2 theta / pi
    = (2 / pi) asin(cos theta), 0.809 at theta = 0.3, where the cosine is 0.955. This is sin(pi s / 2). O(size).

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.

    Examples
    --------
    >>> import kexue
    >>> kexue.cosine_from_hamming([0, 32, 64], 64)
    array([ 1.,  0., -1.])
    """
    angle, error = _angle_and_error(h, n_bits)
    # cos(pi / 2) is not 0 in floating point, sin of what is left of it is.
    cosine = np.sin(np.pi / 2 - angle)
    return (cosine[()], (np.sin(angle) * error)[()]) if return_error else cosine[()]


def _angle_and_error(h: ArrayLike, n_bits: int) -> tuple[np.ndarray, np.ndarray]:
    n_bits = check_integer("n_bits", n_bits, 1, 1 << 53)
    distances = as_real("h", h, dtype=np.float64)
    first_bad("h", distances, lambda d: ~((d >= 0) & (d <= n_bits)), f"is {{value}}, not from 0 to n_bits = {n_bits}")
    share = distances / n_bits
    return np.pi * share, np.pi * np.sqrt(share * (1 - share) / n_bits)


# ---- arguments, for SignHashIndex too ----


def new_key(rng: np.random.Generator | int | None) -> np.ndarray:
    """Two random words, from which a hash makes all its numbers."""
    return np.random.default_rng(rng).integers(0, 1 << 64, size=2, dtype=np.uint64)


def words_of(n_bits: int) -> int:
    return -(-n_bits // _WORD)


def as_vectors(name: str, value: Any, n_features: int | None) -> Any:
    """Finite rows of float32 or float64: an array, or a CSR array."""
    if is_sparse(value):
        from scipy.sparse import csr_array

        dtype = as_real(name, np.empty(0, dtype=value.dtype)).dtype
        if value.ndim != 2:
            raise KexueValueError(f"{name} must have 2 dimensions, but its shape is {value.shape}")
        rows = csr_array(as_csr(name, value, dtype))
        require_finite_entries(name, rows)
    else:
        rows = as_real(name, value, ndim=2)
        require_finite(name, rows)
    if rows.shape[1] == 0:
        raise KexueValueError(f"{name} has no columns: its shape is {rows.shape}")
    if n_features is not None and rows.shape[1] != n_features:
        raise KexueValueError(
            f"{name} has {rows.shape[1]} columns (shape {rows.shape}), but the hash is of {n_features} features"
        )
    return rows


def as_codes(name: str, value: ArrayLike) -> np.ndarray:
    """Codes as the core takes them."""
    codes = as_array(name, value)
    if codes.dtype != np.uint64:
        if codes.dtype.kind != "u" or codes.dtype.itemsize != 8:
            raise TypeError(f"{name} must be codes of uint64, but its dtype is {codes.dtype}")
        codes = codes.astype(np.uint64)
    if codes.ndim != 2:
        raise KexueValueError(f"{name} must have 2 dimensions (codes x words), but its shape is {codes.shape}")
    if not 1 <= codes.shape[1] <= _hamming.MAX_WORDS:
        raise KexueValueError(f"{name} must have 1 to {_hamming.MAX_WORDS} words, but its shape is {codes.shape}")
    return as_contiguous(codes)


def exponents_of(rows: Any) -> np.ndarray:
    """Of the entry of each row, of an array or CSR, that is largest in size: it is below 2 to this."""
    if hasattr(rows, "toarray"):
        largest = np.zeros(rows.shape[0], dtype=rows.dtype)
        np.maximum.at(largest, np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr)), np.abs(rows.data))
    else:
        largest = np.maximum(rows.max(axis=1, initial=0), -rows.min(axis=1, initial=0))
    return np.frexp(largest)[1]


def _of_moderate_size(rows: Any) -> Any:
    """Rows none of whose projections overflows or vanishes: scaled by a power of two, where that is needed."""
    sparse = hasattr(rows, "toarray")
    limit = 2.0 ** _SAFE_EXPONENT[rows.dtype]
    if not sparse:
        # Squares are five times as fast to look at as extremes; what is 0 or out of their range is looked at again.
        with np.errstate(over="ignore", under="ignore"):
            squares = np.einsum("ij,ij->i", rows, rows)
        if rows.shape[0] and squares.min() > 1 / limit and squares.max() < limit:
            return rows
    exponents = exponents_of(rows)
    extreme = np.abs(exponents) > _SAFE_EXPONENT[rows.dtype]
    if not extreme.any():
        return rows
    shifts = np.where(extreme, -exponents, 0)
    rows = rows.copy()
    if sparse:
        rows.data = np.ldexp(rows.data, np.repeat(shifts, np.diff(rows.indptr)))
        return rows
    return np.ldexp(rows, shifts[:, None])
