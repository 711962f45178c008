"""Nearest vectors by cosine: candidates by codes of bits, then true cosines."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, Self, overload

import numpy as np
from numpy.typing import ArrayLike

from kexue import _hamming, _npz
from kexue._arrays import check_integer
from kexue._context import __version__
from kexue._errors import KexueValueError
from kexue._sign_hash import (
    KINDS,
    HashKind,
    SignHash,
    as_vectors,
    exponents_of,
    hamming_neighbors,
    new_key,
    words_of,
)

_FORMAT = "kexue-sign-hash-index"
_VERSION = 1
_FIELDS = {
    "format",
    "version",
    "kexue",
    "n_bits",
    "kind",
    "n_tables",
    "bucket_bits",
    "key",
    "features",
    "vectors",
    "directions",
}
_LAYOUTS = (None, "dense", "sparse")  # no vectors yet, an array, CSR
_MOST_BUCKET_BITS = 24  # a table of 2^24 buckets has 128 MB of bounds
_MOST_PROBES = 1024
_BUCKET_SIZE = 16  # wanted vectors in a bucket
_QUERIES = 256  # that are worked at together: bounds memory


class SignHashIndex:
    """Vectors that are searched for those of greatest cosine with a query, approximately.

    Codes of bits (`SignHash`) choose candidates, whose true cosines are then computed: distances are exact, but a
    neighbour whose code is far by chance is missed.

    Parameters
    ----------
    n_bits : int, optional
        Bits of a code.
    kind : {"gaussian", "srht"}, optional
        How they are made: see `SignHash`.
    n_tables : int, optional
        Tables of buckets for ``method="probe"``, each by bits of its own.
    bucket_bits : int, optional
        Bits of a bucket's number, at most 24; ``n_tables * bucket_bits <= n_bits``. By default as many as make
        buckets of 16 vectors on average.
    rng : numpy.random.Generator, int or None, optional
        Random numbers of the hash, through ``numpy.random.default_rng(rng)``.

    Attributes
    ----------
    n_bits, n_tables : int
    kind : str
    n_features : int or None
        Numbers of a vector; None as long as there is none.
    nbytes : int
        Of all arrays.

    Raises
    ------
    KexueValueError
        A number is out of its range, or `kind` is none of these.
    TypeError
        A number is no integer.

    See Also
    --------
    kexue.SignHash, kexue.hamming_neighbors : what it is made of.

    Notes
    -----
    **Search.** ``method="scan"`` compares the query's code with all codes, at the speed of memory for one query and
    some 0.1 ms a million codes of 256 bits for each of many. ``method="probe"`` looks into buckets: in each table the
    query's own, and those whose numbers differ in the bits that would flip most easily, in the order of the sums of
    squared projections (query-directed probing [2]_), which takes O(probes) in place of O(n). It pays for queries
    that come one by one, from some million vectors on, and finds less. Candidates of either are cut to `n_candidates`
    by the Hamming distance and put in the order of their distance 1 - cos, computed as ``|u - v|^2 / 2`` of unit
    vectors where dense ones are near.

    **Memory.** The vectors, scaled to norm 1, n_bits / 8 bytes for each code, and for each table 8 bytes for each
    vector, made at the first search that probes.

    **Threads.** Searches may run in any number of threads, also while one other thread adds vectors: each is among
    the vectors that were there when it began.

    References
    ----------
    .. [1] M. Charikar, *Similarity estimation techniques from rounding algorithms*, STOC 2002,
       doi:10.1145/509907.509965; also kexue.fm post 8706.
    .. [2] Q. Lv, W. Josephson, Z. Wang, M. Charikar and K. Li, *Multi-probe LSH: efficient indexing for
       high-dimensional similarity search*, VLDB 2007, doi:10.5555/1325851.1325958.

    Examples
    --------
    >>> import numpy as np
    >>> import kexue
    >>> X = np.random.default_rng(0).normal(size=(1000, 20))
    >>> index = kexue.SignHashIndex(256, rng=0).fit(X)
    >>> index
    SignHashIndex(1000 vectors, 20 features, 256 bits, gaussian)
    >>> distances, indices = index.kneighbors(2 * X[:2] + 0.01, 1)
    >>> indices
    array([[0],
           [1]])
    """

    def __init__(
        self,
        n_bits: int = 256,
        *,
        kind: HashKind = "gaussian",
        n_tables: int = 8,
        bucket_bits: int | None = None,
        rng: np.random.Generator | int | None = None,
    ) -> None:
        n_bits = check_integer("n_bits", n_bits, 1, 64 * _hamming.MAX_WORDS)
        if kind not in KINDS:
            raise KexueValueError(f'kind must be "gaussian" or "srht", got {kind!r}')
        n_tables = check_integer("n_tables", n_tables, 1)
        least = 1
        if bucket_bits is not None:
            least = bucket_bits = check_integer("bucket_bits", bucket_bits, 1, _MOST_BUCKET_BITS)
        if n_tables * least > n_bits:
            raise KexueValueError(f"n_tables * bucket_bits is {n_tables * least}, more than n_bits = {n_bits}")
        self._kind: HashKind = "srht" if kind == "srht" else "gaussian"
        self._n_bits, self._n_tables, self._bucket_bits = n_bits, n_tables, bucket_bits
        self._key = new_key(rng)
        self._contents = _Contents(None, None, np.empty((0, words_of(n_bits)), dtype=np.uint64))

    # ---- what is there ----

    @property
    def n_bits(self) -> int:
        return self._n_bits

    @property
    def kind(self) -> str:
        return self._kind

    @property
    def n_tables(self) -> int:
        return self._n_tables

    @property
    def n_features(self) -> int | None:
        return _features(self._contents.hash)

    @property
    def nbytes(self) -> int:
        contents = self._contents
        arrays = [contents.codes, *_parts(contents.vectors).values()]
        if contents.tables is not None:
            arrays += [contents.tables.order, contents.tables.bounds]
        return sum(array.nbytes for array in arrays)

    def __len__(self) -> int:
        return len(self._contents.codes)

    def __repr__(self) -> str:
        features = "no" if self.n_features is None else self.n_features
        return f"SignHashIndex({len(self)} vectors, {features} features, {self._n_bits} bits, {self._kind})"

    # ---- building ----

    def fit(self, X: ArrayLike, *, workers: int | None = None) -> Self:
        """Take these vectors, in place of what was there.

        Parameters
        ----------
        X : array_like or scipy.sparse matrix, shape (n, d)
            Finite vectors; float32 takes half the memory. A vector of zeros is at distance 1 from everything.
        workers : int, optional
            As of `SignHash.transform`.

        Returns
        -------
        SignHashIndex
            Itself.

        Raises
        ------
        KexueValueError
            `X` is not of this shape, or holds NaN or infinity.
        TypeError
            `X` does not hold real numbers.

        Examples
        --------
        >>> import kexue
        >>> len(kexue.SignHashIndex(64, rng=0).fit([[1.0, 2.0], [3.0, 4.0]]))
        2
        """
        rows = as_vectors("X", X, None)
        hashing = SignHash.from_key(rows.shape[1], self._n_bits, self._kind, self._key)
        units = _unit(rows, rows.dtype)
        self._contents = _Contents(hashing, units, hashing.transform(units, workers=workers))
        return self

    def add(self, X: ArrayLike, *, workers: int | None = None) -> Self:
        """Take these vectors too: they get the next numbers.

        What is there is copied: add many at a time.

        Parameters
        ----------
        X : array_like or scipy.sparse matrix, shape (n, n_features)
            Sparse if the vectors that are there are, else dense. They are kept in the dtype of those.
        workers : int, optional
            As of `SignHash.transform`.

        Returns
        -------
        SignHashIndex
            Itself.

        Raises
        ------
        KexueValueError
            `X` is not of this shape, or holds NaN or infinity.
        TypeError
            `X` is sparse and the vectors that are there are not, or the other way round; or holds no real numbers.

        Examples
        --------
        >>> import kexue
        >>> index = kexue.SignHashIndex(64, rng=0).fit([[1.0, 2.0]]).add([[1.0, -2.0], [2.0, 1.0]])
        >>> len(index)
        3
        """
        contents = self._contents
        if contents.hash is None:
            return self.fit(X, workers=workers)
        units = contents.as_units(X)
        codes = contents.hash.transform(units, workers=workers)
        if _is_sparse(units):
            from scipy.sparse import vstack

            vectors = vstack([contents.vectors, units], format="csr")
        else:
            vectors = np.concatenate([contents.vectors, units])
        self._contents = _Contents(contents.hash, vectors, np.concatenate([contents.codes, codes]))
        return self

    # ---- searching ----

    @overload
    def kneighbors(
        self,
        X: ArrayLike,
        n_neighbors: int,
        return_distance: Literal[True] = ...,
        *,
        method: Literal["scan", "probe"] = ...,
        n_candidates: int | None = ...,
        n_probes: int = ...,
        workers: int | None = ...,
    ) -> tuple[np.ndarray, np.ndarray]: ...
    @overload
    def kneighbors(
        self,
        X: ArrayLike,
        n_neighbors: int,
        return_distance: Literal[False],
        *,
        method: Literal["scan", "probe"] = ...,
        n_candidates: int | None = ...,
        n_probes: int = ...,
        workers: int | None = ...,
    ) -> np.ndarray: ...
    @overload
    def kneighbors(
        self,
        X: ArrayLike,
        n_neighbors: int,
        return_distance: bool,
        *,
        method: Literal["scan", "probe"] = ...,
        n_candidates: int | None = ...,
        n_probes: int = ...,
        workers: int | None = ...,
    ) -> tuple[np.ndarray, np.ndarray] | np.ndarray: ...
    def kneighbors(
        self,
        X: ArrayLike,
        n_neighbors: int,
        return_distance: bool = True,
        *,
        method: Literal["scan", "probe"] = "scan",
        n_candidates: int | None = None,
        n_probes: int = 32,
        workers: int | None = None,
    ) -> tuple[np.ndarray, np.ndarray] | np.ndarray:
        """The vectors of greatest cosine with each query, as far as they are among the candidates.

        Parameters
        ----------
        X : array_like or scipy.sparse matrix, shape (q, n_features)
            Queries; sparse if the vectors of the index are.
        n_neighbors : int
            From 1 to the number of vectors.
        return_distance : bool, optional
            Return distances too.
        method : {"scan", "probe"}, optional
            Candidates are the nearest of all codes, or those in some buckets.
        n_candidates : int, optional
            Vectors whose cosines are computed, for each query; by default 10 for each neighbour, at least 100. All
            vectors make the search exact.
        n_probes : int, optional
            Buckets of each table that "probe" looks into, at most 1024. Where they have fewer vectors than
            `n_neighbors`, the query is scanned.
        workers : int, optional
            Threads of the scan, by the rules of `kexue.threads`.

        Returns
        -------
        distances : ndarray of the vectors' dtype, shape (q, n_neighbors)
            1 - cosine, ascending; left out with ``return_distance=False``.
        indices : ndarray of int64, shape (q, n_neighbors)
            Numbers of vectors; of equal distances the lower comes first.

        Raises
        ------
        KexueValueError
            The index is empty; `X` is not of this shape, or not finite; a number is out of its range.
        TypeError
            `X` is sparse and the vectors are not, or the other way round; a number is no integer.

        Examples
        --------
        >>> import kexue
        >>> index = kexue.SignHashIndex(64, rng=0).fit([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
        >>> distances, indices = index.kneighbors([[1.0, 0.9]], 2)
        >>> distances.round(4), indices
        (array([[0.0014, 0.2567]]), array([[2, 0]]))
        """
        contents = self._contents
        n = len(contents.codes)
        if contents.hash is None or not n:
            raise KexueValueError("the index holds no vectors; call fit first")
        k = check_integer("n_neighbors", n_neighbors, 1)
        if k > n:
            raise KexueValueError(f"n_neighbors is {k}, but the index holds only {n} vectors")
        if method not in ("scan", "probe"):
            raise KexueValueError(f'method must be "scan" or "probe", got {method!r}')
        if n_candidates is None:
            n_candidates = max(10 * k, 100)
        elif check_integer("n_candidates", n_candidates, 1) < k:
            raise KexueValueError(f"n_candidates is {n_candidates}, less than n_neighbors = {k}")
        count = min(int(n_candidates), n)
        n_probes = check_integer("n_probes", n_probes, 1, _MOST_PROBES)
        queries = contents.as_units(X)
        distances = np.empty((queries.shape[0], k), dtype=queries.dtype)
        indices = np.empty((queries.shape[0], k), dtype=np.int64)
        for begin in range(0, queries.shape[0], _QUERIES):
            block = queries[begin : begin + _QUERIES]
            candidates: Iterable[np.ndarray]
            if method == "scan":
                codes = contents.hash.transform(block, workers=workers)
                _, candidates = hamming_neighbors(codes, contents.codes, count, workers=workers)
            else:
                candidates = self._probe(contents, block, k, count, n_probes, workers)
            for i, chosen in enumerate(candidates):
                far = _distances(contents.vectors, chosen, block[i : i + 1])
                best = np.lexsort((chosen, far))[:k]
                distances[begin + i], indices[begin + i] = far[best], chosen[best]
        return (distances, indices) if return_distance else indices

    def _probe(
        self, contents: _Contents, block: Any, k: int, count: int, n_probes: int, workers: int | None
    ) -> list[np.ndarray]:
        assert contents.hash is not None
        if contents.tables is None:
            bits = self._bucket_bits or _bucket_bits(len(contents.codes), self._n_bits // self._n_tables)
            contents.tables = _Tables(contents.codes, self._n_tables, bits)
        projections = contents.hash.project(block, workers=workers)
        codes = np.empty((len(projections), words_of(self._n_bits)), dtype=np.uint64)
        _hamming.pack(projections, codes)
        found = contents.tables.lookup(codes, projections, n_probes)
        for i, candidates in enumerate(found):
            whole = len(candidates) < k
            if whole or len(candidates) > count:
                among = contents.codes if whole else np.take(contents.codes, candidates, axis=0)
                nearest = hamming_neighbors(codes[i : i + 1], among, count, workers=workers)[1][0]
                found[i] = nearest if whole else candidates[nearest]
        return found

    # ---- files ----

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an uncompressed ``.npz`` file.

        It is written under a temporary name in the same folder and then renamed, has the name `path` exactly, and no
        pickle inside.

        Parameters
        ----------
        path : str or path-like

        Raises
        ------
        OSError
            The file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import kexue
        >>> index = kexue.SignHashIndex(64, rng=0).fit([[1.0, 0.0], [0.0, 1.0]])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "index.npz")
        ...     index.save(path)
        ...     kexue.SignHashIndex.load(path).kneighbors([[2.0, 1.0]], 1)[1]
        array([[0]])
        """
        contents = self._contents
        vectors = contents.vectors
        description = {
            "format": _FORMAT,
            "version": _VERSION,
            "kexue": __version__,
            "n_bits": self._n_bits,
            "kind": self._kind,
            "n_tables": self._n_tables,
            "bucket_bits": self._bucket_bits,
            "key": [int(part) for part in self._key],
            "features": _features(contents.hash),
            "vectors": None if vectors is None else "sparse" if _is_sparse(vectors) else "dense",
            "directions": None if contents.hash is None else contents.hash.fingerprint(),
        }
        text = np.frombuffer(json.dumps(description, sort_keys=True).encode(), dtype=np.uint8)
        _npz.save_npz(path, {"index": text, "codes": contents.codes, **_parts(vectors)})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """An index that was saved.

        Parameters
        ----------
        path : str or path-like

        Returns
        -------
        SignHashIndex

        Raises
        ------
        ValueError
            The file is damaged, or not of a `SignHashIndex`, or this NumPy makes other random numbers from the same
            key, so that queries would not be hashed as the vectors were.
        OSError
            The file cannot be opened.

        Examples
        --------
        See `save`.

        >>> import kexue
        >>> kexue.SignHashIndex.load("missing.npz")
        Traceback (most recent call last):
        FileNotFoundError: [Errno 2] No such file or directory: 'missing.npz'
        """
        arrays = _npz.load_npz(path)
        fields = _description(arrays)
        problem = "there is no description of an index in it" if fields is None else _problem(fields, arrays)
        if fields is None or problem:
            raise KexueValueError(f"{os.fspath(path)}: not a sign hash index, or a damaged one: {problem}")
        index = cls(
            fields["n_bits"], kind=fields["kind"], n_tables=fields["n_tables"], bucket_bits=fields["bucket_bits"], rng=0
        )
        index._key = np.array(fields["key"], dtype=np.uint64)
        if fields["vectors"] is None:
            return index
        hashing = SignHash.from_key(fields["features"], index._n_bits, index._kind, index._key)
        if hashing.fingerprint() != fields["directions"]:
            raise KexueValueError(
                f"{os.fspath(path)}: NumPy {np.__version__} makes other random numbers of the index's key than the "
                "version that it was made with"
            )
        codes = arrays["codes"]
        if fields["vectors"] == "dense":
            vectors = arrays["vectors"]
        else:
            from scipy.sparse import csr_array

            parts = (arrays["data"], arrays["columns"], arrays["offsets"])
            vectors = csr_array(parts, shape=(len(codes), fields["features"]))
        index._contents = _Contents(hashing, vectors, codes)
        return index


@dataclass(slots=True, eq=False)
class _Contents:
    """What is replaced as a whole when vectors are added: a search keeps to the ones that it began with."""

    hash: SignHash | None
    vectors: Any
    codes: np.ndarray
    tables: _Tables | None = None

    def as_units(self, X: ArrayLike) -> Any:
        assert self.hash is not None
        rows = as_vectors("X", X, self.hash.n_features)
        if _is_sparse(rows) != _is_sparse(self.vectors):
            there = "sparse" if _is_sparse(self.vectors) else "dense"
            raise TypeError(f"X must be {there}, as the vectors of the index are")
        return _unit(rows, self.vectors.dtype)


def _features(hashing: SignHash | None) -> int | None:
    return None if hashing is None else hashing.n_features


class _Tables:
    """Vectors by the buckets they are in: `order[t]` has them bucket after bucket, which begin at `bounds[t]`."""

    def __init__(self, codes: np.ndarray, n_tables: int, bits: int) -> None:
        self.n_tables, self.bits = n_tables, bits
        self.order = np.empty((n_tables, len(codes)), dtype=np.int64)
        self.bounds = np.empty((n_tables, (1 << bits) + 1), dtype=np.int64)
        for table in range(n_tables):
            buckets = self._buckets(codes, table)
            self.order[table] = np.argsort(buckets, kind="stable")
            self.bounds[table] = np.searchsorted(buckets[self.order[table]], np.arange((1 << bits) + 1))

    def _buckets(self, codes: np.ndarray, table: int) -> np.ndarray:
        """Bits table * bits ... of each code, as a number."""
        word, shift = divmod(table * self.bits, 64)
        numbers = codes[:, word] >> np.uint64(shift)
        if shift + self.bits > 64:
            numbers = numbers | codes[:, word + 1] << np.uint64(64 - shift)
        return (numbers & np.uint64((1 << self.bits) - 1)).astype(np.int64)

    def lookup(self, codes: np.ndarray, projections: np.ndarray, n_probes: int) -> list[np.ndarray]:
        """For each query, what is in the `n_probes` buckets of each table that its neighbours are likeliest in."""
        members = _subsets(self.bits, n_probes)
        starts, ends = [], []
        for table in range(self.n_tables):
            squares = projections[:, table * self.bits : (table + 1) * self.bits].astype(np.float64) ** 2
            cheapest = np.argsort(squares, axis=1, kind="stable")
            costs = np.take_along_axis(squares, cheapest, axis=1) @ members
            flips = (np.int64(1) << cheapest.astype(np.int64)) @ members.astype(np.int64)
            chosen = np.argsort(costs, axis=1, kind="stable")[:, :n_probes]
            buckets = self._buckets(codes, table)[:, None] ^ np.take_along_axis(flips, chosen, axis=1)
            starts.append(self.bounds[table][buckets] + table * self.order.shape[1])
            ends.append(self.bounds[table][buckets + 1] + table * self.order.shape[1])
        flat = self.order.reshape(-1)
        found = []
        for first, last in zip(np.concatenate(starts, axis=1), np.concatenate(ends, axis=1), strict=True):
            counts = last - first
            places = np.arange(counts.sum()) + np.repeat(first - np.cumsum(counts) + counts, counts)
            ids = np.sort(flat[places])  # ten times as fast as np.unique, which hashes
            found.append(ids[np.concatenate([ids[:1] >= 0, ids[1:] != ids[:-1]])])
        return found


@lru_cache(maxsize=32)
def _subsets(bits: int, count: int) -> np.ndarray:
    """Sets of bits among which the `count` cheapest are, whatever bits cost, if bit 0 costs least, then 1 and so on.

    A set costs no less than one that has for each of its bits another that costs no more. It is left out if there are
    `count` of those. The result is (bits, sets), of 0 and 1.
    """
    tails = np.empty((64, bits), dtype=np.int64)  # of each set, how many of its bits are among i, i + 1, ...
    kept = 0
    level: set[tuple[int, ...]] = {()}
    while level:
        following: set[tuple[int, ...]] = set()
        for members in sorted(level):
            tail = (np.array(members, dtype=np.int64)[:, None] >= np.arange(bits)).sum(axis=0)
            if (tails[:kept] <= tail).all(axis=1).sum() >= count:
                continue
            if kept == len(tails):
                tails = np.concatenate([tails, np.empty_like(tails)])
            tails[kept] = tail
            kept += 1
            if 0 not in members:
                following.add((0, *members))
            for i, member in enumerate(members):
                if member + 1 < bits and member + 1 not in members:
                    following.add((*members[:i], member + 1, *members[i + 1 :]))
        level = following
    return -np.diff(tails[:kept].T, axis=0, append=0)


def _bucket_bits(n: int, most: int) -> int:
    return max(1, min((n // _BUCKET_SIZE).bit_length(), most, _MOST_BUCKET_BITS))


def _is_sparse(rows: Any) -> bool:
    return not isinstance(rows, np.ndarray)


def _unit(rows: Any, dtype: np.dtype) -> Any:
    """Rows of norm 1, or 0, of this type; a copy."""
    sparse = _is_sparse(rows)
    if sparse:
        rows = rows.copy()
        rows.sum_duplicates()
    # By a power of two first: squares neither overflow nor vanish then, nor does float64 as float32.
    exponents = -exponents_of(rows)
    if sparse:
        number = np.repeat(np.arange(rows.shape[0]), np.diff(rows.indptr))
        rows.data = np.ldexp(rows.data, exponents[number]).astype(dtype, copy=False)
        norms = np.sqrt(np.bincount(number, weights=rows.data.astype(np.float64) ** 2, minlength=rows.shape[0]))
        rows.data /= np.where(norms == 0, 1, norms)[number].astype(dtype)
        return rows
    rows = np.ldexp(rows, exponents[:, None]).astype(dtype, copy=False)
    norms = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    rows /= np.where(norms == 0, 1, norms)[:, None].astype(dtype)
    return rows


def _distances(vectors: Any, chosen: np.ndarray, query: Any) -> np.ndarray:
    """1 - cosine of unit vectors and one query of shape (1, d), which may be 0."""
    if _is_sparse(vectors):
        cosines = (vectors[chosen] @ query.T).toarray().ravel()
        return np.maximum(1 - cosines, 0).astype(vectors.dtype)
    rows = np.take(vectors, chosen, axis=0)
    cosines = rows @ query[0]
    far = 1 - cosines
    # 1 - cos cancels where vectors are near; |u - v|^2 / 2 does not.
    near = np.flatnonzero(far < 0.1)
    differences = rows[near] - query
    far[near] = np.einsum("ij,ij->i", differences, differences) / 2
    return far


def _parts(vectors: Any) -> dict[str, np.ndarray]:
    if vectors is None:
        return {}
    if not _is_sparse(vectors):
        return {"vectors": vectors}
    return {
        "data": vectors.data,
        "columns": vectors.indices.astype(np.int64, copy=False),
        "offsets": vectors.indptr.astype(np.int64, copy=False),
    }


def _description(arrays: Mapping[str, np.ndarray]) -> dict[str, Any] | None:
    text = arrays.get("index")
    if text is None or text.dtype != np.uint8 or text.ndim != 1:
        return None
    try:
        fields = json.loads(text.tobytes())
    except (ValueError, RecursionError):
        return None
    return fields if isinstance(fields, dict) and fields.get("format") == _FORMAT else None


def _problem(fields: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str | None:
    """What is wrong with a file that says it is of an index."""
    if fields.get("version") != _VERSION:
        return f"it is of version {fields.get('version')!r}; kexue {__version__} reads version {_VERSION}"

    def is_count(value: Any, least: int, most: int) -> bool:
        return type(value) is int and least <= value <= most

    bits = fields.get("bucket_bits")
    key = fields.get("key")
    if not (
        set(fields) == _FIELDS
        and is_count(fields["n_bits"], 1, 64 * _hamming.MAX_WORDS)
        and fields["kind"] in KINDS
        and (bits is None or is_count(bits, 1, _MOST_BUCKET_BITS))
        and is_count(fields["n_tables"], 1, fields["n_bits"] // (bits or 1))
        and isinstance(key, list)
        and len(key) == 2
        and all(is_count(part, 0, 2**64 - 1) for part in key)
        and fields["vectors"] in _LAYOUTS
        and (fields["vectors"] is None or is_count(fields["features"], 1, 1 << 40))
    ):
        return "its description makes no sense"
    names = {None: set(), "dense": {"vectors"}, "sparse": {"data", "columns", "offsets"}}[fields["vectors"]]
    if set(arrays) != {"index", "codes"} | names:
        return "arrays are missing, or there are too many"
    codes = arrays["codes"]
    if codes.dtype != np.uint64 or codes.ndim != 2 or codes.shape[1] != words_of(fields["n_bits"]):
        return "codes are not of this size"
    if not codes.flags.c_contiguous:
        return "codes are not stored row after row"
    if fields["n_bits"] % 64 and len(codes) and int(codes[:, -1].max()) >> fields["n_bits"] % 64:
        return "codes have bits beyond the last"
    if fields["vectors"] is None:
        return "there are codes without vectors" if len(codes) else None
    numbers = arrays["vectors" if fields["vectors"] == "dense" else "data"]
    if numbers.dtype not in (np.float32, np.float64):
        return "vectors are not of real numbers"
    if fields["vectors"] == "dense":
        if numbers.shape != (len(codes), fields["features"]):
            return "vectors are not of this size"
        with np.errstate(over="ignore", invalid="ignore"):
            squares = np.einsum("ij,ij->i", numbers, numbers, dtype=np.float64)
        return None if _are_units(squares) else "vectors are not of norm 1 or 0"
    columns, offsets = arrays["columns"], arrays["offsets"]
    if columns.dtype != np.int64 or offsets.dtype != np.int64 or offsets.shape != (len(codes) + 1,):
        return "vectors are not of this size"
    if numbers.ndim != 1 or columns.shape != numbers.shape:
        return "vectors are not of this size"
    if offsets[0] != 0 or offsets[-1] != len(columns) or (np.diff(offsets) < 0).any():
        return "offsets are no boundaries of vectors"
    if len(columns) and not 0 <= columns.min() <= columns.max() < fields["features"]:
        return "a column is out of range"
    with np.errstate(over="ignore"):
        number = np.repeat(np.arange(len(codes)), np.diff(offsets))
        squares = np.bincount(number, weights=numbers.astype(np.float64) ** 2, minlength=len(codes))
    return None if _are_units(squares) else "vectors are not of norm 1 or 0"


def _are_units(squares: np.ndarray) -> bool:
    return bool(((np.abs(squares - 1) < 1e-3) | (squares == 0)).all())
