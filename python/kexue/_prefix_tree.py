"""Prefix trees of sequences of tokens: what may come next."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from kexue import _decoding, _npz
from kexue._arrays import check_integer
from kexue._errors import KexueValueError

__all__ = ["PrefixTree"]

_FORMAT = 1
_LARGEST = np.iinfo(np.int64).max


def _flat(sequences: Any) -> tuple[np.ndarray, np.ndarray]:
    """All tokens one after another, and where each sequence begins."""
    if isinstance(sequences, np.ndarray) and sequences.ndim == 2:
        tokens = _tokens("sequences", sequences.reshape(-1))
        return tokens, np.arange(len(sequences) + 1, dtype=np.int64) * sequences.shape[1]
    if isinstance(sequences, (str, bytes)) or not isinstance(sequences, Iterable):
        raise TypeError(f"sequences must be a list of sequences of tokens, not {type(sequences).__name__}")
    parts = [_tokens(f"sequences[{i}]", sequence) for i, sequence in enumerate(sequences)]
    starts = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return (np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)), starts


def _tokens(name: str, sequence: Any) -> np.ndarray:
    """One sequence: characters of a string, or integers."""
    if isinstance(sequence, str):
        return np.frombuffer(sequence.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.int32)
    array = np.asarray(sequence)
    if array.ndim != 1:
        raise KexueValueError(f"{name} must be a sequence of tokens, but its shape is {array.shape}")
    if not array.size:
        return np.empty(0, dtype=np.int32)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, but its dtype is {array.dtype}")
    if array.dtype == np.uint64 and array.max() > _LARGEST:
        raise KexueValueError(f"{name}[{int(array.argmax())}] is {array.max()}, beyond int64")
    if array.dtype.kind == "i" and array.min() < 0:
        place = int((array < 0).argmax())
        raise KexueValueError(f"{name}[{place}] is {array[place]}, and tokens are not negative")
    return np.ascontiguousarray(array, dtype=np.int32 if array.dtype.itemsize <= 4 and array.dtype != np.uint32 else np.int64)


class PrefixTree:
    """A set of sequences of tokens, and what may follow a prefix of them.

    Parameters
    ----------
    sequences : list of sequences of int or of str, or ndarray of int, shape (n, length)
        Tokens are not negative; those of a string are the code points of its characters. A sequence that comes twice
        counts once, and is known by its last place.

    Attributes
    ----------
    n_nodes : int
        The root included.
    nbytes : int

    Raises
    ------
    KexueValueError
        If a token is negative or beyond int64, or a sequence is no sequence.
    TypeError
        If tokens are no integers.

    See Also
    --------
    constrained_beam_search : decodes along a tree.

    Notes
    -----
    Nodes are numbered by level, their children are contiguous and in order: 8.1 bytes a node where tokens fit 32 bits.
    Built in bulk by a radix sort of packed words of tokens, in time O(tokens) for sequences that differ early.

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
        flat, bounds = _tokens("tokens", tokens), _tokens("starts", starts).astype(np.int64)
        if not len(bounds):
            raise KexueValueError("starts must have one number more than there are sequences, but has none")
        descents = np.flatnonzero(np.diff(bounds) < 0)
        if descents.size:
            raise KexueValueError(f"starts[{descents[0] + 1}] is less than the one before it")
        if bounds[-1] > len(flat):
            raise KexueValueError(f"starts[{len(bounds) - 1}] is {bounds[-1]}, and there are {len(flat)} tokens")
        tree = cls.__new__(cls)
        tree._build(flat, bounds)
        return tree

    def _build(self, tokens: np.ndarray, starts: np.ndarray) -> None:
        *arrays, end_nodes = _decoding.build(np.ascontiguousarray(tokens), starts)
        # Of equal sequences the last is known: unique finds the first of the reversed.
        nodes, last = np.unique(end_nodes[::-1], return_index=True)
        self._set(*arrays, nodes, len(end_nodes) - 1 - last)

    def _set(
        self, tokens: np.ndarray, children: np.ndarray, ends: np.ndarray, end_nodes: np.ndarray, places: np.ndarray
    ) -> None:
        self._tree = _decoding.Tree(tokens, children, ends)
        self._end_nodes, self._places = end_nodes, places

    @property
    def n_nodes(self) -> int:
        return len(self._tree.tokens)

    @property
    def nbytes(self) -> int:
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, np.ndarray]:
        tree = self._tree
        return {
            "tokens": tree.tokens,
            "children": tree.children,
            "ends": tree.ends,
            "end_nodes": self._end_nodes,
            "places": self._places,
        }

    def __len__(self) -> int:
        return len(self._end_nodes)

    def __repr__(self) -> str:
        return f"PrefixTree({len(self)} sequences, {self.n_nodes} nodes)"

    def _walk(self, prefix: Any) -> int:
        if isinstance(prefix, str):
            prefix = [ord(character) for character in prefix]
        elif isinstance(prefix, np.ndarray):
            prefix = prefix.tolist()
        try:
            return self._tree.walk(prefix)
        except OverflowError:
            return -1
        except TypeError:
            raise TypeError("prefix must be a sequence of integers, or a string") from None

    def next_tokens(self, prefix: Sequence[int] | str) -> np.ndarray:
        """The tokens that may follow a prefix, ascending.

        Parameters
        ----------
        prefix : sequence of int or str

        Returns
        -------
        ndarray of int32 or int64
            A view. Empty where the prefix is not one, and where nothing follows it.

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
        begin, end = self._tree.children[node : node + 2].tolist()
        return self._tree.tokens[begin:end]

    def is_end(self, prefix: Sequence[int] | str) -> bool:
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

    def get(self, sequence: Sequence[int] | str, default: Any = None) -> Any:
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
        if node < 0 or not self._tree.is_end(node):
            return default
        return int(self._places[np.searchsorted(self._end_nodes, node)])

    def keys(self, prefix: Sequence[int] | str = ()) -> Iterator[list[int]]:
        """All sequences that begin with a prefix, in lexicographic order.

        Parameters
        ----------
        prefix : sequence of int or str

        Yields
        ------
        list of int
        """
        node = self._walk(prefix)
        if node < 0:
            return
        start = [ord(token) for token in prefix] if isinstance(prefix, str) else [int(token) for token in prefix]
        stack = [(node, start)]
        while stack:
            node, sequence = stack.pop()
            if self._tree.is_end(node):
                yield sequence
            begin, end = self._tree.children[node : node + 2].tolist()
            tokens = self._tree.tokens[begin:end].tolist()
            stack.extend((begin + k, [*sequence, tokens[k]]) for k in reversed(range(end - begin)))

    def mask(self, prefix: Sequence[int] | str, logits: np.ndarray, *, end_token: SupportsIndex | None = None) -> int:
        """Make -infinity, in place, the logits of all tokens that must not follow a prefix.

        Parameters
        ----------
        prefix : sequence of int
        logits : ndarray of float32 or float64, shape (vocabulary,)
            Contiguous and writable.
        end_token : int, optional
            The token that ends a sequence: it stays where one may end.

        Returns
        -------
        int
            How many logits stay. 0 for a prefix that is not one.

        Raises
        ------
        KexueValueError
            If `logits` is not such an array, or `end_token` is outside of it.

        Notes
        -----
        O(prefix log children + vocabulary).

        Examples
        --------
        >>> import numpy as np, kexue
        >>> logits = np.zeros(5, dtype=np.float32)
        >>> kexue.PrefixTree([[1, 2], [1, 3, 4]]).mask([1], logits), logits
        (2, array([-inf, -inf,   0.,   0., -inf], dtype=float32))
        """
        if not isinstance(logits, np.ndarray) or logits.ndim != 1 or logits.dtype not in (np.float32, np.float64):
            raise KexueValueError("logits must be an array of one dimension, of float32 or float64: it is changed in place")
        if not (logits.flags.c_contiguous and logits.flags.aligned and logits.flags.writeable):
            raise KexueValueError("logits must be contiguous, aligned and writable: it is changed in place")
        end = -1 if end_token is None else check_integer("end_token", end_token, 0, len(logits) - 1)
        node = self._walk(prefix)
        if node < 0:
            logits.fill(-np.inf)
            return 0
        return self._tree.mask(node, end, logits)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to an uncompressed ``.npz`` file, under a temporary name that is renamed.

        Parameters
        ----------
        path : path-like
        """
        _npz.save_npz(path, {"format": np.array([_FORMAT]), **self._arrays()})

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, mmap: bool = True) -> Self:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path : path-like
        mmap : bool
            Whether to map the arrays into memory instead of reading them.

        Returns
        -------
        PrefixTree

        Raises
        ------
        ValueError
            If the file is not of a tree, or damaged.
        """
        names = ("tokens", "children", "ends", "end_nodes", "places")
        arrays = _npz.load_npz(path, mapped=names if mmap else ())
        if set(arrays) != {"format", *names} or arrays["format"].tolist() != [_FORMAT]:
            raise ValueError(f"{os.fspath(path)} is not a prefix tree of this version")
        tokens, children, ends, end_nodes, places = (arrays[name] for name in names)
        _check_arrays(os.fspath(path), tokens, children, ends, end_nodes, places)
        tree = cls.__new__(cls)
        tree._set(tokens, children, ends, end_nodes, places)
        return tree

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, tuple(self._arrays().values())


def _restore(*arrays: np.ndarray) -> PrefixTree:
    tree = PrefixTree.__new__(PrefixTree)
    tree._set(*arrays)
    return tree


def _check_arrays(
    path: str, tokens: np.ndarray, children: np.ndarray, ends: np.ndarray, end_nodes: np.ndarray, places: np.ndarray
) -> None:
    """Numbers of a file must not lead outside of its arrays."""
    nodes = len(tokens) if tokens.ndim == 1 else 0
    shapes = (
        (tokens, (nodes,), (np.int32, np.int64)),
        (children, (nodes + 1,), (np.uint32,)),
        (ends, ((nodes + 63) // 64,), (np.uint64,)),
        (end_nodes, (len(places),), (np.uint32,)),
        (places, (len(places),), (np.int64,)),
    )
    if nodes == 0 or any(array.shape != shape or array.dtype not in dtypes for array, shape, dtypes in shapes):
        raise ValueError(f"{path} does not hold the arrays of a prefix tree")
    sound = children[0] == 1 and children[-1] == nodes and bool((children[1:] >= children[:-1]).all())
    # Levels follow each other, so that a walk ends.
    sound = sound and bool((children[:-1] > np.arange(nodes)).all())
    if not sound or (len(end_nodes) and int(end_nodes.max()) >= nodes):
        raise ValueError(f"{path} holds a prefix tree that is damaged")
