"""Prefix trees of sequences of tokens: what may come next."""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from kexue import _decoding, _npz
from kexue._array_kinds import is_foreign, read
from kexue._arrays import as_array, check_integer
from kexue._errors import KexueValueError

__all__ = ["PrefixTree"]

_FORMAT = 1
_NAMES = ("tokens", "children", "ends", "ranks", "places")
_REALS = (np.dtype(np.float32), np.dtype(np.float64))
_LARGEST = np.iinfo(np.int64).max


def _flat(sequences: Any) -> tuple[np.ndarray, np.ndarray]:
    """All tokens one after another, and where each sequence begins."""
    if isinstance(sequences, np.ndarray) and sequences.ndim == 2:
        tokens = _tokens("sequences", sequences)
        return tokens, np.arange(len(sequences) + 1, dtype=np.int64) * sequences.shape[1]
    if isinstance(sequences, (str, bytes, Mapping)) or not isinstance(sequences, Iterable):
        raise TypeError(f"sequences must be a list of sequences of tokens, not {type(sequences).__name__}")
    return _decoding.flatten(sequences, _tokens)


def _bad_token(name: str, array: np.ndarray, is_bad: np.ndarray, what: str) -> KexueValueError:
    place = np.unravel_index(int(is_bad.argmax()), array.shape)
    where = "".join(f"[{i}]" for i in place)
    return KexueValueError(f"{name}{where} is {array[place]}, {what}")


def _tokens(name: str, sequence: Any) -> np.ndarray:
    """Characters of a string, or integers: contiguous and aligned, of int32 or int64. Of more dimensions where the name
    is that of all sequences."""
    if isinstance(sequence, str):
        return np.frombuffer(sequence.encode("utf-32-le", "surrogatepass"), dtype="<i4").astype(np.int32, copy=False)
    if isinstance(sequence, (bytes, bytearray)):
        sequence = np.frombuffer(sequence, dtype=np.uint8)
    elif isinstance(sequence, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it or drop the masked entries first")
    try:
        array = read(name, sequence) if is_foreign(sequence) else np.asarray(sequence)
    except ValueError as error:
        raise KexueValueError(f"{name} must be a sequence of tokens: {error}") from None
    if array.ndim != (2 if name == "sequences" else 1):
        raise KexueValueError(f"{name} must be a sequence of tokens, but its shape is {array.shape}")
    if not array.size:
        return np.empty(0, dtype=np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, but its dtype is {array.dtype}")
    if array.dtype == np.uint64 and array.max() > _LARGEST:
        raise _bad_token(name, array, array > _LARGEST, "beyond int64")
    if array.dtype.kind == "i" and array.min() < 0:
        raise _bad_token(name, array, array < 0, "and tokens are not negative")
    narrow = array.dtype.itemsize < 4 or array.dtype == np.int32
    return np.require(array, np.int32 if narrow else np.int64, ["C", "A"]).reshape(-1)


class PrefixTree:
    """A set of sequences of tokens, and what may follow a prefix of them.

    Parameters
    ----------
    sequences : iterable of sequences of int or of str, or ndarray of int, shape (n, length)
        Each a list, tuple, array, string or other iterable. Tokens are not negative; those of a string are the code
        points of its characters. A sequence that comes twice counts once, and is known by its last place.

    Attributes
    ----------
    n_nodes : int
        The root included.
    nbytes : int
        Of the arrays.

    Raises
    ------
    KexueValueError
        If a token is negative or beyond int64, or an array has not one dimension.
    TypeError
        If tokens are no integers (truth values are not), or a sequence is no sequence.
    OverflowError
        If there are 2^32 - 1 nodes or sequences, or more.

    See Also
    --------
    constrained_beam_search : decodes along a tree.

    Notes
    -----
    Nodes are numbered by level, their children are contiguous and in order: 8.2 bytes a node where tokens fit 32 bits,
    12.2 where they do not, and 4 a sequence. Built in bulk by a radix sort of packed words of tokens, in time O(tokens)
    for sequences that differ early. A tree does not change: threads may share it.

    References
    ----------
    N. De Cao, G. Izacard, S. Riedel, F. Petroni, "Autoregressive Entity Retrieval", 2020, arXiv:2010.00904. J. Su,
    https://kexue.fm/archives/8802.

    Examples
    --------
    >>> import kexue
    >>> tree = kexue.PrefixTree([[3, 1, 4], [3, 1, 5], [2, 7]])
    >>> tree.next_tokens([3, 1]).tolist()
    [4, 5]
    >>> [2, 7] in tree, [2] in tree, len(tree)
    (True, False, 3)
    """

    def __init__(self, sequences: Any) -> None:
        self._build(*_flat(sequences))

    @classmethod
    def from_arrays(cls, tokens: ArrayLike, starts: ArrayLike) -> Self:
        """The tree of sequences that lie one after another.

        Parameters
        ----------
        tokens : array_like of int, shape (total,)
        starts : array_like of int, shape (n + 1,)
            Sequence i is tokens[starts[i] : starts[i + 1]].

        Returns
        -------
        PrefixTree

        Raises
        ------
        KexueValueError
            If starts descend or do not lie within the tokens, or a token is negative.

        Examples
        --------
        >>> import kexue
        >>> kexue.PrefixTree.from_arrays([3, 1, 4, 2, 7], [0, 3, 5]).next_tokens([]).tolist()
        [2, 3]
        """
        flat, bounds = _tokens("tokens", tokens), as_array("starts", starts)
        if bounds.ndim != 1 or not bounds.size:
            raise KexueValueError(f"starts must hold one number more than sequences, but its shape is {bounds.shape}")
        if bounds.dtype.kind not in "iu":
            raise TypeError(f"starts must hold integers, but its dtype is {bounds.dtype}")
        # Before a conversion could make one negative.
        if bounds[0] < 0 or bounds.max() > len(flat):
            bad = 0 if bounds[0] < 0 else int(bounds.argmax())
            raise KexueValueError(f"starts[{bad}] is {bounds[bad]}, and there are {len(flat)} tokens")
        bounds = np.require(bounds, np.int64, ["C", "A"])
        descents = np.flatnonzero(np.diff(bounds) < 0)
        if descents.size:
            raise KexueValueError(f"starts[{descents[0] + 1}] is less than the one before it")
        tree = cls.__new__(cls)
        tree._build(flat, bounds)
        return tree

    def _build(self, tokens: np.ndarray, starts: np.ndarray) -> None:
        self._set(len(starts) - 1, *_decoding.build(tokens, starts))

    def _set(self, n_given: int, *arrays: np.ndarray) -> None:
        for array in arrays:
            # next_tokens gives views away, and what is written there could lead outside of the arrays.
            array.flags.writeable = False
        *nodes, self._places = arrays
        self._tree = _decoding.Tree(*nodes)
        self._n_given = n_given

    @property
    def n_nodes(self) -> int:
        return len(self._tree.tokens)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> tuple[np.ndarray, ...]:
        tree = self._tree
        return tree.tokens, tree.children, tree.ends, tree.ranks, self._places

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"PrefixTree({len(self)} sequences, {self.n_nodes} nodes)"

    def _walk(self, prefix: Any) -> int:
        if isinstance(prefix, np.ndarray):
            prefix = prefix.tolist()
        try:
            if isinstance(prefix, (dict, set, frozenset)):
                raise TypeError
            return self._tree.walk(prefix)
        except TypeError:
            raise TypeError("prefix must be a sequence of integers, or a string") from None

    def next_tokens(self, prefix: Sequence[int] | np.ndarray | str) -> np.ndarray:
        """The tokens that may follow a prefix, ascending.

        Parameters
        ----------
        prefix : sequence of int or str

        Returns
        -------
        ndarray of int32 or int64
            A view, which must not be written to. Empty where the prefix is not one, and where nothing follows it.

        Examples
        --------
        >>> import kexue
        >>> tree = kexue.PrefixTree(["明天下雨", "明年见", "今天"])
        >>> "".join(map(chr, tree.next_tokens("明")))
        '天年'
        """
        node = self._walk(prefix)
        if node < 0:
            return self._tree.tokens[:0]
        begin, end = self._tree.children_of(node)
        return self._tree.tokens[begin:end]

    def is_end(self, prefix: Sequence[int] | np.ndarray | str) -> bool:
        """Whether a stored sequence ends with this prefix.

        Parameters
        ----------
        prefix : sequence of int or str

        Returns
        -------
        bool
        """
        node = self._walk(prefix)
        return node >= 0 and self._tree.is_end(node)

    def __contains__(self, sequence: Any) -> bool:
        return self.is_end(sequence)

    def get(self, sequence: Sequence[int] | np.ndarray | str, default: Any = None) -> Any:
        """The place that a sequence had among those the tree was made of.

        Parameters
        ----------
        sequence : sequence of int or str
        default : object
            What is returned for a sequence that is not there.

        Returns
        -------
        int or default
        """
        node = self._walk(sequence)
        rank = self._tree.rank(node) if node >= 0 else -1
        return int(self._places[rank]) if rank >= 0 else default

    def keys(self, prefix: Sequence[int] | np.ndarray | str = ()) -> Iterator[list[int]]:
        """All sequences that begin with a prefix, in lexicographic order.

        Parameters
        ----------
        prefix : sequence of int or str

        Returns
        -------
        iterator of list of int
        """
        items: Any = list(prefix) if isinstance(prefix, Iterator) else prefix
        node = self._walk(items)
        path = [ord(item) for item in items] if isinstance(items, str) else [operator.index(item) for item in items]
        return self._below(node, path)

    def _below(self, node: int, path: list[int]) -> Iterator[list[int]]:
        # One path for all: copies of it along a long sequence would take the square of its length.
        stack = [(node, len(path), -1)] if node >= 0 else []
        while stack:
            node, depth, token = stack.pop()
            if token >= 0:
                path[depth - 1 :] = [token]
            if self._tree.is_end(node):
                yield path.copy()
            begin, end = self._tree.children_of(node)
            tokens = self._tree.tokens[begin:end].tolist()
            stack.extend((begin + k, depth + 1, tokens[k]) for k in reversed(range(end - begin)))

    def mask(self, prefix: Any, logits: np.ndarray, *, end_token: SupportsIndex | None = None) -> int | np.ndarray:
        """Make -infinity, in place, the logits of all tokens that must not follow a prefix.

        Parameters
        ----------
        prefix : sequence of int or str, or a sequence of such
            One for all logits, or one for each of their rows.
        logits : ndarray of float32 or float64, shape (vocabulary,) or (rows, vocabulary)
            Writable, each row contiguous and aligned.
        end_token : int, optional
            The token that ends a sequence: it stays where one may end.

        Returns
        -------
        int or ndarray of int64, shape (rows,)
            How many logits stay. 0 for a prefix that is not one.

        Raises
        ------
        KexueValueError
            If `logits` is not such an array, there is not a prefix for each row, or `end_token` is outside of it.

        Notes
        -----
        O(prefix log children + vocabulary) a row.

        Examples
        --------
        >>> import numpy as np, kexue
        >>> logits = np.zeros((2, 5), dtype=np.float32)
        >>> tree = kexue.PrefixTree([[1, 2], [1, 3, 4]])
        >>> tree.mask([[1], []], logits).tolist()
        [2, 1]
        >>> logits
        array([[-inf, -inf,   0.,   0., -inf],
               [-inf,   0., -inf, -inf, -inf]], dtype=float32)
        >>> tree.mask([1, 3], np.zeros(5))
        1
        """
        if not isinstance(logits, np.ndarray) or logits.ndim not in (1, 2) or logits.dtype not in _REALS:
            raise KexueValueError(
                "logits must be an array of one or two dimensions, of float32 or float64: it is changed in place"
            )
        flags = logits.flags
        has_rows = flags.c_contiguous or logits.strides[-1] == logits.itemsize
        if not (has_rows and flags.aligned and flags.writeable):
            raise KexueValueError("logits must have contiguous rows, be aligned and writable: it is changed in place")
        end = -1 if end_token is None else check_integer("end_token", end_token, 0, logits.shape[-1] - 1)
        if logits.ndim == 1:
            return self._mask(self._walk(prefix), logits, end)
        prefixes = prefix.tolist() if isinstance(prefix, np.ndarray) else prefix
        if isinstance(prefixes, str) or not isinstance(prefixes, Sequence) or len(prefixes) != len(logits):
            raise KexueValueError(f"prefix must hold one prefix for each of the {len(logits)} rows of logits")
        # All of them first: what is wrong with the last must not leave the others half done.
        nodes = [self._walk(one) for one in prefixes]
        return np.array([self._mask(node, row, end) for node, row in zip(nodes, logits, strict=True)], dtype=np.int64)

    def _mask(self, node: int, row: np.ndarray, end: int) -> int:
        if node < 0:
            row.fill(-np.inf)
            return 0
        return self._tree.mask(node, end, row)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an uncompressed ``.npz`` file, under a temporary name that is renamed.

        A tree that was loaded from a file of that name goes on with what the file was.

        Parameters
        ----------
        path : path-like
        """
        arrays = dict(zip(_NAMES, self._arrays(), strict=True))
        _npz.save_npz(path, {"format": np.array([_FORMAT, self._n_given]), **arrays})

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = True) -> Self:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
        mmap : bool
            Whether to map the arrays into memory instead of reading them. What is mapped is not compared with its
            checksum; whether it is a tree is checked all the same, in a pass over it. The file must not be written to
            while it is mapped (:meth:`save` replaces it instead).

        Returns
        -------
        PrefixTree

        Raises
        ------
        ValueError
            If the file is not of a tree, or damaged.
        """
        name = os.fspath(path)
        arrays = _npz.load_npz(path, mapped=_NAMES if mmap else ())
        if set(arrays) != {"format", *_NAMES}:
            raise KexueValueError(f"{name} is not a prefix tree of this version")
        header = arrays.pop("format")
        if header.shape != (2,) or header.dtype != np.int64 or header[0] != _FORMAT:
            raise KexueValueError(f"{name} is not a prefix tree of this version")
        tree = cls.__new__(cls)
        tree._set_checked(name, int(header[1]), *(np.asarray(arrays[key]) for key in _NAMES))
        return tree

    def _set_checked(self, name: str, n_given: int, *arrays: np.ndarray) -> None:
        """Numbers of a file must not lead outside of its arrays."""
        tokens, places = arrays[0], arrays[-1]
        nodes = len(tokens) if tokens.ndim == 1 else 0
        words = (nodes + 63) // 64
        dtypes = ((np.int32, np.int64), (np.uint32,), (np.uint64,), (np.uint32,), (np.uint32,))
        shapes = ((nodes,), (nodes + 1,), (words,), (words,), (places.size,))
        described = zip(arrays, dtypes, shapes, strict=True)
        if not nodes or any(a.dtype not in dtype or a.shape != shape for a, dtype, shape in described):
            raise KexueValueError(f"{name} does not hold the arrays of a prefix tree")
        self._set(n_given, *(np.require(array, requirements=["C", "A"]) for array in arrays))
        try:
            self._tree.check()
        except KexueValueError:
            raise KexueValueError(f"{name} holds a prefix tree that is damaged") from None
        ends, ranks = arrays[2:4]
        if len(places) != int(ranks[-1]) + int(ends[-1]).bit_count() or places.max(initial=0) >= max(n_given, 1):
            raise KexueValueError(f"{name} holds a prefix tree whose sequences are damaged")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._n_given, *self._arrays())


def _restore(n_given: int, *arrays: np.ndarray) -> PrefixTree:
    tree = PrefixTree.__new__(PrefixTree)
    # A pickle may come from a machine of the other byte order, or with buffers that are not aligned.
    tree._set(n_given, *(np.require(array, array.dtype.newbyteorder("="), ["C", "A"]) for array in arrays))
    return tree
