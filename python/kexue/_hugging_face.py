"""The constraint of a prefix tree for the searches of the package transformers, which is not imported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np

from kexue._arrays import check_integer
from kexue._errors import KexueValueError
from kexue._prefix_tree import PrefixTree

__all__ = ["PrefixAllowedTokens", "PrefixTreeLogitsProcessor"]


def _listed(ids: Any) -> list[Any]:
    """Of an array, a tensor on any device, or a sequence."""
    try:
        return list(ids.tolist() if hasattr(ids, "tolist") else ids)
    except TypeError:
        raise TypeError("input_ids must hold sequences of integers") from None


class _Constraint:
    """A tree, its end token, and how many tokens come before a stored sequence."""

    def __init__(self, tree: PrefixTree, end_token: SupportsIndex, prompt_length: SupportsIndex = 1) -> None:
        if not isinstance(tree, PrefixTree):
            raise TypeError(f"tree must be a kexue.PrefixTree, not {type(tree).__name__}")
        self.tree = tree
        self.end_token = check_integer("end_token", end_token, 0, np.iinfo(np.int64).max)
        self.prompt_length = check_integer("prompt_length", prompt_length, 0)

    def _node(self, ids: list[int]) -> int:
        """-1 behind the end of a sequence."""
        if len(ids) < self.prompt_length:
            raise KexueValueError(f"input_ids has {len(ids)} tokens, and prompt_length is {self.prompt_length}")
        try:
            return self.tree._walk(ids[self.prompt_length :])
        except TypeError:
            raise TypeError("input_ids must hold integers") from None

    def _tokens(self, node: int) -> np.ndarray:
        """What may follow, the end token where a sequence may end, and where nothing else follows."""
        tree = self.tree._tree
        if node < 0:
            return np.array([self.end_token])
        begin, end = tree.children[node : node + 2].tolist()
        tokens = tree.tokens[begin:end]
        return np.append(tokens, self.end_token) if begin == end or tree.is_end(node) else tokens


class PrefixAllowedTokens(_Constraint):
    """What may follow, as `transformers` asks for it: ``generate(...,
    prefix_allowed_tokens_fn=PrefixAllowedTokens(...))``.

    Parameters
    ----------
    tree : PrefixTree
    end_token : int
        The model's eos_token_id.
    prompt_length : int
        How many tokens come before a stored sequence. 1 is the start token of an encoder-decoder; for a decoder only it
        is ``input_ids.shape[1]`` of the call of `generate`, padding on the left included.

    Raises
    ------
    KexueValueError
        If a number is out of range, or fewer tokens come than `prompt_length`.

    See Also
    --------
    PrefixTreeLogitsProcessor : the same without lists: faster where many tokens may follow.

    Notes
    -----
    `generate` ends at the first end token: fields are to be separated by another one. Where nothing can follow, as
    after the end, the end token is all there is. Beams are compared by the model's own probabilities, as with
    ``renormalize=False``.

    Examples
    --------
    >>> import kexue
    >>> allowed = kexue.PrefixAllowedTokens(kexue.PrefixTree([[3, 1], [3, 1, 4], [2]]), end_token=0, prompt_length=2)
    >>> allowed(0, [8, 9]), allowed(0, [8, 9, 3, 1]), allowed(0, [8, 9, 2, 0])
    ([2, 3], [4, 0], [0])
    """

    def __call__(self, batch_id: int, input_ids: Sequence[int]) -> list[int]:
        """The tokens that may follow.

        Parameters
        ----------
        batch_id : int
            Not used: the tree is the same for all.
        input_ids : sequence of int, ndarray or tensor, shape (length,)

        Returns
        -------
        list of int
        """
        return self._tokens(self._node(_listed(input_ids))).tolist()


class PrefixTreeLogitsProcessor(_Constraint):
    """A mask of scores, as `transformers` applies it: ``generate(...,
    logits_processor=[PrefixTreeLogitsProcessor(...)])``.

    Parameters
    ----------
    tree : PrefixTree
    end_token : int
        The model's eos_token_id.
    prompt_length : int
        How many tokens come before a stored sequence. 1 is the start token of an encoder-decoder; for a decoder only it
        is ``input_ids.shape[1]`` of the call of `generate`, padding on the left included.
    copy : bool
        Whether to leave `scores` as they are. If not, they are masked in place where they are contiguous float32 or
        float64 numbers in the processor's memory.

    Raises
    ------
    KexueValueError
        If a number is out of range, shapes do not agree, or no column of `scores` is of a token that may follow.
    TypeError
        If `scores` has no floating-point numbers, or `input_ids` no integers.

    See Also
    --------
    PrefixAllowedTokens

    Examples
    --------
    >>> import numpy as np, kexue
    >>> process = kexue.PrefixTreeLogitsProcessor(kexue.PrefixTree([[3, 1], [2]]), end_token=0, prompt_length=1)
    >>> process(np.array([[9], [9]]), np.ones((2, 4), dtype=np.float32))
    array([[-inf, -inf,   1.,   1.],
           [-inf, -inf,   1.,   1.]], dtype=float32)
    """

    def __init__(
        self, tree: PrefixTree, end_token: SupportsIndex, prompt_length: SupportsIndex = 1, *, copy: bool = False
    ) -> None:
        super().__init__(tree, end_token, prompt_length)
        self.copy = copy

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """The scores, -inf for tokens that must not follow.

        Parameters
        ----------
        input_ids : array or tensor of int, shape (batch, length)
        scores : array or tensor of float, shape (batch, vocabulary)

        Returns
        -------
        array or tensor
            `scores` itself where that could be done in place.
        """
        dtype = getattr(scores, "dtype", None)
        if getattr(dtype, "kind", None) != "f" and "float" not in str(dtype):
            raise TypeError("scores must be an array or a tensor of floating-point numbers")
        rows = [_listed(ids) for ids in input_ids]
        if scores.ndim != 2 or len(scores) != len(rows):
            raise KexueValueError(f"scores must have shape ({len(rows)}, vocabulary), got {tuple(scores.shape)}")
        vocabulary = scores.shape[1]
        if self.end_token >= vocabulary:
            raise KexueValueError(f"end_token is {self.end_token}, but scores has {vocabulary} columns")
        nodes = [self._node(ids) for ids in rows]
        if self.copy:
            scores = scores.clone() if hasattr(scores, "clone") else scores.copy()
        array = _in_memory(scores)
        if array is not None:
            for row, node in zip(array, nodes, strict=True):
                self._mask(row, node)
            return scores
        masked = (
            scores.new_full(scores.shape, -np.inf) if hasattr(scores, "new_full") else np.full_like(scores, -np.inf)
        )
        for i, node in enumerate(nodes):
            tokens = self._tokens(node).astype(np.int64)
            tokens = tokens[tokens < vocabulary]
            if not len(tokens):
                raise self._out_of_reach(vocabulary)
            masked[i, tokens] = scores[i, tokens]
        return masked

    def _mask(self, row: np.ndarray, node: int) -> None:
        tree = self.tree._tree
        if node >= 0 and tree.children[node] < tree.children[node + 1]:
            if not tree.mask(node, self.end_token, row):
                raise self._out_of_reach(len(row))
            return
        end = row[self.end_token]
        row.fill(-np.inf)
        row[self.end_token] = end

    @staticmethod
    def _out_of_reach(vocabulary: int) -> KexueValueError:
        return KexueValueError(f"scores has {vocabulary} columns, and none of them is of a token that may follow")


def _in_memory(scores: Any) -> np.ndarray | None:
    """A view that can be masked, or None."""
    if not isinstance(scores, np.ndarray):
        if getattr(scores.device, "type", None) != "cpu" or str(scores.dtype) not in ("torch.float32", "torch.float64"):
            return None
        scores = scores.detach().numpy()
    flags = scores.flags
    fits = scores.dtype in (np.float32, np.float64) and flags.c_contiguous and flags.aligned and flags.writeable
    return scores if fits else None
