"""Beam search along a prefix tree, with look-ahead."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kexue import _decoding
from kexue._array_kinds import is_foreign, read, same_kind
from kexue._arrays import as_array, check_integer, check_number, result_dtype
from kexue._errors import KexueValueError
from kexue._prefix_tree import PrefixTree, _tokens

__all__ = ["BeamHypothesis", "constrained_beam_search", "lookahead_boost"]

# What rounding may add to a log-probability of 0, in 16 bits.
_SLACK = 0.1
_LARGEST_LOG = 600.0  # of a power of a length: a score has room beside it
_OVER = -1  # the node of a hypothesis that took the end token where a stored sequence ends


@dataclass(frozen=True, eq=False)
class BeamHypothesis:
    """What a beam search found.

    Attributes
    ----------
    tokens : ndarray of int64, shape (length,)
        The stored sequence, the prefix included. An end token is among them where the tree stores it, and always in a
        search without a tree.
    score : float
        What hypotheses are ordered by: the log-probability, divided by length ** length_penalty.
    log_probability : float
        The sum over the tokens that were decoded, the end token included.
    place : int or None
        ``tree.get(tokens)``: None without a tree, and where `min_ends` is less than the ends that the sequence has.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> tree = kexue.PrefixTree([[3, 1, 4], [2, 7]])
    >>> best, other = kexue.constrained_beam_search(lambda prefixes: np.zeros((len(prefixes), 8)), tree, end_token=0)
    >>> best.tokens.tolist(), best.place, round(best.log_probability, 6)
    ([2, 7], 1, -0.693147)
    """

    tokens: NDArray[np.int64]
    score: float
    log_probability: float
    place: int | None


def _check_end(name: str, token: SupportsIndex | str) -> int:
    if isinstance(token, str) and len(token) == 1:
        return ord(token)
    return check_integer(name, token, 0, np.iinfo(np.int64).max)


def _check_tree(tree: Any) -> PrefixTree:
    if not isinstance(tree, PrefixTree):
        raise TypeError(f"tree must be a kexue.PrefixTree, not {type(tree).__name__}")
    return tree


def _integers(name: str, sequence: Any) -> np.ndarray:
    return _tokens(name, sequence).astype(np.int64)


class _LookAhead:
    """Gains of the children of a node, beside a query."""

    def __init__(self, tree: PrefixTree, query: Any, name: str) -> None:
        self.tree, self.query = tree._tree, _integers(name, query)

    def gains(self, node: int, prefix: np.ndarray, stop_token: int) -> np.ndarray:
        return self.tree.gains(node, np.ascontiguousarray(prefix), self.query, stop_token)


def _best(
    scores: np.ndarray, beams: np.ndarray, tokens: np.ndarray, count: int, eligible: np.ndarray | None = None
) -> np.ndarray:
    """The places of the highest eligible scores, in order; of equal ones the lowest beam, the lowest token."""
    if eligible is not None:
        places = eligible.nonzero()[0]
        return places[_best(scores[places], beams[places], tokens[places], count)]
    if len(scores) > count:
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        chosen = (scores >= least).nonzero()[0]
    else:
        chosen = np.arange(len(scores))
    return chosen[np.lexsort((tokens[chosen], beams[chosen], -scores[chosen]))][:count]


def _checked_rows(result: Any, rows: int) -> np.ndarray:
    """What `step` returned, as an array with a row for each prefix."""
    if isinstance(result, np.ma.MaskedArray):
        raise TypeError("step must return an array without a mask: fill it with -inf")
    try:
        array = read("it", result) if is_foreign(result) else np.asarray(result)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"step must return an array of log-probabilities, but its result is none: {error}") from None
    if array.ndim != 2 or len(array) != rows or not array.shape[1]:
        raise KexueValueError(
            f"step must return log-probabilities of shape ({rows}, vocabulary), but their shape is {array.shape}"
        )
    if array.dtype.kind != "f":
        raise TypeError(f"step must return real floating-point numbers, but their dtype is {array.dtype}")
    return array


def _picked(rows: np.ndarray, beams: np.ndarray, tokens: np.ndarray, are_normalized: bool) -> np.ndarray:
    """The log-probabilities of some tokens, in float64: the only ones that are looked at."""
    if len(tokens) and (largest := int(tokens.max())) >= rows.shape[1]:
        raise KexueValueError(
            f"step returned {rows.shape[1]} log-probabilities for each prefix, but token {largest} may follow"
        )
    values = rows[beams, tokens].astype(np.float64)
    possible = values < np.inf  # false for nan
    if not possible.all():
        bad = int(possible.argmin())
        raise KexueValueError(f"step returned {values[bad]} at [{beams[bad]}, {tokens[bad]}]")
    if not are_normalized:
        return values
    return _not_positive(values, lambda bad: f"step returned {values[bad]} at [{beams[bad]}, {tokens[bad]}]")


def _not_positive(values: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    if len(values) and values.max() > _SLACK:
        raise KexueValueError(f"{where(int(values.argmax()))}, but log-probabilities are not positive: normalise them")
    return np.minimum(values, 0.0)


class _Allowed(NamedTuple):
    """What may follow each live hypothesis: tokens, beam by beam, and then the ends of some."""

    counts: np.ndarray  # of tokens of each beam, the end that is not stored apart
    beams: np.ndarray
    tokens: np.ndarray
    nodes: np.ndarray

    @classmethod
    def everything(cls, beams: int, vocabulary: int) -> Self:
        whose, tokens = np.arange(beams).repeat(vocabulary), np.tile(np.arange(vocabulary), beams)
        return cls(np.full(beams, vocabulary), whose, tokens, np.zeros(len(tokens), dtype=np.int64))


def _longest(tree: PrefixTree, node: int) -> int:
    """How many tokens a stored sequence can have after a node: what is below it is contiguous in every level."""
    children = tree._tree.children
    begin, end, depth = int(children[node]), int(children[node + 1]), 0
    while begin < end:
        begin, end, depth = int(children[begin]), int(children[end]), depth + 1
    return depth


def constrained_beam_search(
    step: Callable[..., ArrayLike],
    tree: PrefixTree | None,
    *,
    end_token: SupportsIndex | str,
    beam_size: int = 4,
    min_ends: int = 1,
    max_length: int | None = None,
    prefix: Sequence[int] | str = (),
    finished: Literal["keep", "drop"] = "keep",
    length_penalty: float = 0.0,
    renormalize: bool = True,
    lookahead: Sequence[int] | str | None = None,
    lookahead_from: int = 0,
    lookahead_scope: Literal["sequence", "field"] = "sequence",
    with_parents: bool = False,
    skip_forced: bool = False,
) -> list[BeamHypothesis]:
    """Decode the most probable of the sequences that a tree stores.

    Parameters
    ----------
    step : callable
        ``step(prefixes)`` takes the live hypotheses, int64 of shape (beams, length), and returns log-probabilities of
        the next token, shape (beams, vocabulary), of any floating-point dtype. Only those of tokens that may follow are
        looked at: they are below +inf, and not NaN.
    tree : PrefixTree or None
        None: any token may follow.
    end_token : int or str
        Ends a sequence; where it stands in stored sequences, it ends a field of them.
    beam_size : int
    min_ends : int
        A hypothesis is finished when it has so many end tokens, or when it ends where a stored sequence does and no end
        token is stored there.
    max_length : int, optional
        Hypotheses of so many tokens, prefix and end tokens included, that are not finished are given up. Needed without
        a tree.
    prefix : sequence of int or str
        What all hypotheses begin with. It is in `prefixes`; a model's own start token is for `step` to add.
    finished : {"keep", "drop"}
        "keep": finished hypotheses are set aside, `beam_size` others live on; the search ends when no live one can be
        better than the worst of `beam_size` that are kept. "drop": the search ends when the best hypothesis is
        finished, and finds it alone; those finished before are dropped, and the beam is narrower by as many.
    length_penalty : float
        With "keep": hypotheses are compared by log-probability / length ** length_penalty, where the length counts
        decoded tokens and the end token.
    renormalize : bool
        Whether log-probabilities are normalised over the tokens that may follow; uniform where all of them are
        impossible. If not, they must be normalised over the vocabulary, and impossible tokens are never taken.
    lookahead : sequence of int or str, optional
        A query, as for :func:`lookahead_boost`: tokens are preferred that lead to sequences that have much in common
        with it. Needs a tree, `renormalize`, and log-probabilities that are normalised over the vocabulary.
    lookahead_from : int
        Look-ahead begins after so many end tokens.
    lookahead_scope : {"sequence", "field"}
        What is compared with the query: the whole stored sequence, or only its field in which the token is.
    with_parents : bool
        Whether to call ``step(prefixes, parents)``, where row i continues row parents[i] of the call before: for models
        that cache their states. All are 0 in the first call.
    skip_forced : bool
        Whether not to call `step` where each hypothesis can go on with one token only, as nothing can change then.
        Needs `renormalize`. Prefixes may be longer by more than one token at the next call.

    Returns
    -------
    list of BeamHypothesis
        The best first, at most `beam_size`, one with "drop"; equal ones in the order in which they were found. Empty if
        the tree stores nothing, or `max_length` was reached before.

    Raises
    ------
    KexueValueError
        If the prefix is not of the tree, or has `min_ends` end tokens already; if what `step` returns has another
        shape, is NaN or +inf for a token that may follow, or is positive where log-probabilities must be normalised; if
        an option is out of range.
    TypeError
        If `step` returns no floating-point numbers, or an argument has a wrong type.

    See Also
    --------
    PrefixAllowedTokens, PrefixTreeLogitsProcessor : the same constraint for the searches of transformers.

    Notes
    -----
    Hypotheses carry their node of the tree, so what a step costs beside the model is proportional to the tokens that
    may follow, not to the vocabulary. Of equal scores the lowest beam goes first, then the lowest token. With "keep"
    and a beam as large as the number of stored sequences the result is exact. Exceptions of `step` pass through.

    References
    ----------
    N. De Cao, G. Izacard, S. Riedel, F. Petroni, "Autoregressive Entity Retrieval", 2020, arXiv:2010.00904, which is
    ``renormalize=False``. J. Su, https://kexue.fm/archives/8802, which is ``finished="drop"``.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> tree = kexue.PrefixTree(["cat", "cow", "dog"])
    >>> likes = np.zeros(128)
    >>> likes[[ord("o"), ord("w")]] = 1.0
    >>> found = kexue.constrained_beam_search(lambda prefixes: np.tile(likes, (len(prefixes), 1)), tree, end_token="$")
    >>> ["".join(map(chr, hypothesis.tokens)) for hypothesis in found]
    ['dog', 'cow', 'cat']
    """
    if not callable(step):
        raise TypeError(f"step must be callable, not {type(step).__name__}")
    beam_size = check_integer("beam_size", beam_size, 1)
    min_ends = check_integer("min_ends", min_ends, 1)
    end = _check_end("end_token", end_token)
    start = _integers("prefix", prefix)
    node = 0 if tree is None else _check_tree(tree)._walk(start)
    if node < 0:
        raise KexueValueError("prefix is not one of the tree's")
    first_ends = int((start == end).sum())
    if first_ends >= min_ends:
        raise KexueValueError(f"prefix has {first_ends} end tokens already, and min_ends is {min_ends}")
    if max_length is not None:
        max_length = check_integer("max_length", max_length, len(start))
    elif tree is None:
        raise KexueValueError("max_length must be given without a tree")
    if finished not in ("keep", "drop"):
        raise KexueValueError(f'finished must be "keep" or "drop", got {finished!r}')
    length_penalty = check_number("length_penalty", length_penalty, finite=True)
    if length_penalty and finished == "drop":
        raise KexueValueError('length_penalty must be 0 with finished="drop"')
    if skip_forced and not renormalize:
        raise KexueValueError("skip_forced needs renormalize")
    lookahead_from = check_integer("lookahead_from", lookahead_from, 0)
    if lookahead_scope not in ("sequence", "field"):
        raise KexueValueError(f'lookahead_scope must be "sequence" or "field", got {lookahead_scope!r}')
    ahead = None
    if lookahead is not None:
        if tree is None or not renormalize:
            raise KexueValueError("lookahead needs a tree, and renormalize")
        ahead = _LookAhead(tree, lookahead, "lookahead")
    if tree is not None and not len(tree):
        return []

    lengths = [] if max_length is None else [max_length]
    if tree is not None:
        lengths.append(len(start) + _longest(tree, node) + 1)
    longest = min(lengths)
    if abs(length_penalty) * math.log(max(longest - len(start), 1)) > _LARGEST_LOG:
        raise KexueValueError(f"length_penalty is {length_penalty}: too large for {longest - len(start)} tokens")

    def score_of(log_probability: float, length: int) -> float:
        return log_probability / length**length_penalty if length_penalty else log_probability

    prefixes, nodes = start.reshape(1, -1), np.array([node])
    scores, ends = np.zeros(1), np.array([first_ends])
    field_starts = np.array([_field_start(start, end)])
    parents, width = np.zeros(1, dtype=np.int64), beam_size
    kept: list[tuple[float, float, np.ndarray]] = []  # best first: score, log-probability, tokens
    while len(prefixes) and prefixes.shape[1] < longest:
        allowed = None if tree is None else _Allowed(*tree._tree.expand(nodes, end))
        if skip_forced and allowed is not None and len(allowed.tokens) == len(nodes):
            values = np.zeros(len(nodes))
        else:
            # the caller may keep what it gets
            result = step(prefixes.copy(), parents.copy()) if with_parents else step(prefixes.copy())
            rows, parents = _checked_rows(result, len(prefixes)), np.arange(len(prefixes))
            if allowed is None:
                allowed = _Allowed.everything(*rows.shape)
            values = _picked(rows, allowed.beams, allowed.tokens, not renormalize or ahead is not None)
            if ahead is not None:
                choices = np.bincount(allowed.beams, minlength=len(nodes))
                firsts = np.cumsum(allowed.counts) - allowed.counts
                for beam in np.flatnonzero((choices > 1) & (ends >= lookahead_from)):
                    if lookahead_scope == "field":
                        gains = ahead.gains(nodes[beam], prefixes[beam, field_starts[beam] :], end)
                    else:
                        gains = ahead.gains(nodes[beam], prefixes[beam], -1)
                    values[firsts[beam] : firsts[beam] + len(gains)] /= gains + 1.0
            if renormalize:
                _decoding.normalize(values, allowed.beams, len(nodes))
        with np.errstate(over="ignore"):  # of the lowest numbers, which some write for -inf
            values += scores[allowed.beams]
        new_ends = ends[allowed.beams] + (allowed.tokens == end)
        over = (allowed.nodes == _OVER) | (new_ends >= min_ends)
        possible = values > -np.inf
        if finished == "drop":
            best = _best(values, allowed.beams, allowed.tokens, width, possible)
            if len(best) and over[best[0]]:
                kept = [(values[best[0]], values[best[0]], _extended(prefixes, allowed, best[:1])[0])]
                break
            best = best[~over[best]]
            width = len(best)
        else:
            length = prefixes.shape[1] + 1 - len(start)
            if over.any():
                done = _best(values, allowed.beams, allowed.tokens, beam_size, possible & over)
                for value, tokens in zip(values[done].tolist(), _extended(prefixes, allowed, done), strict=True):
                    kept.append((score_of(value, length), value, tokens))
                kept.sort(key=lambda item: -item[0])
                del kept[beam_size:]
                possible &= ~over
            best = _best(values, allowed.beams, allowed.tokens, beam_size, possible)
            if len(best) and len(kept) == beam_size:
                # The length at which the same log-probability, not positive, is worth most.
                at = longest - len(start) if length_penalty > 0 else length + 1
                if score_of(values[best[0]], at) <= kept[-1][0]:
                    break
        prefixes, beams = _extended(prefixes, allowed, best), allowed.beams[best]
        nodes, scores, ends, parents = allowed.nodes[best], values[best], new_ends[best], parents[beams]
        field_starts = np.where(allowed.tokens[best] == end, prefixes.shape[1], field_starts[beams])
    return [_hypothesis(tree, *item) for item in kept]


def _field_start(tokens: np.ndarray, end_token: int) -> int:
    ends = np.flatnonzero(tokens == end_token)
    return int(ends[-1]) + 1 if len(ends) else 0


def _extended(prefixes: np.ndarray, allowed: _Allowed, chosen: np.ndarray) -> np.ndarray:
    tokens = allowed.tokens[chosen].reshape(-1, 1)
    return np.concatenate([prefixes[allowed.beams[chosen]], tokens], axis=1)


def _hypothesis(tree: PrefixTree | None, score: float, log_probability: float, tokens: np.ndarray) -> BeamHypothesis:
    """Without an end token that is not stored; tokens are a row of a larger array."""
    place = None if tree is None else tree.get(tokens)
    if tree is not None and place is None:
        shorter = tree.get(tokens[:-1])
        if shorter is not None:
            tokens, place = tokens[:-1], shorter
    return BeamHypothesis(tokens.copy(), float(score), float(log_probability), place)


@same_kind
def lookahead_boost(
    log_probs: ArrayLike,
    prefix: Sequence[int] | str,
    tree: PrefixTree,
    query: Sequence[int] | str,
    *,
    end_token: SupportsIndex | str | None = None,
    begin: int = 0,
    stop_token: SupportsIndex | str | None = None,
) -> NDArray[Any]:
    """Raise the probabilities of tokens that lead to sequences with much of a query.

    Parameters
    ----------
    log_probs : array_like of float, shape (vocabulary,)
        Log-probabilities of the next token, normalised over the vocabulary.
    prefix : sequence of int or str
        What has been decoded.
    tree : PrefixTree
    query : sequence of int or str
        In the tree's tokens.
    end_token : int or str, optional
        The token that ends a sequence: allowed where one may end, at a gain of 0.
    begin : int
        The prefix is compared with the query from this place on.
    stop_token : int or str, optional
        Sequences are compared up to this token only.

    Returns
    -------
    ndarray, shape (vocabulary,)
        log p, in the dtype of `log_probs` (float32 for float16, float64 for integers): normalised over the tokens that
        may follow, -inf for others.

    Raises
    ------
    KexueValueError
        If the prefix is not of the tree, nothing may follow it, or `log_probs` has not one dimension, too few entries,
        NaN, +inf or what is positive.

    See Also
    --------
    constrained_beam_search : its option `lookahead`.
    longest_common_subsequence

    Notes
    -----
    With D_t, the most that the longest common subsequence with the query grows from the prefix to a stored sequence
    that goes on with t, p_t becomes p_t^(1 / (D_t + 1)), and is normalised over the tokens that may follow. A single
    one gets probability 1; all are alike where all are impossible. O(sequences below the prefix x query / 64) time,
    about 10 ns for each node and 64 tokens of the query; memory for a bit for each token of the query and each
    different one: 1.25 GB for 100,000 that all differ.

    References
    ----------
    J. Su, https://kexue.fm/archives/8802.

    Examples
    --------
    >>> import numpy as np, kexue
    >>> tree = kexue.PrefixTree(["主要成就", "主讲课程"])
    >>> log_probs = np.full(0x10000, -np.inf)
    >>> log_probs[[ord("要"), ord("讲")]] = np.log([0.7, 0.2])
    >>> boosted = kexue.lookahead_boost(log_probs, "主", tree, "XXX主要讲什么课程")
    >>> np.exp(boosted[[ord("要"), ord("讲")]]).round(6).tolist()
    [0.555772, 0.444228]
    """
    array = as_array("log_probs", log_probs)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"log_probs must be real, but its dtype is {array.dtype}")
    if array.ndim != 1:
        raise KexueValueError(f"log_probs must have 1 dimension, but its shape is {array.shape}")
    start = _integers("prefix", prefix)
    begin = check_integer("begin", begin, 0, len(start))
    stop = -1 if stop_token is None else _check_end("stop_token", stop_token)
    end = -1 if end_token is None else _check_end("end_token", end_token)
    node = _check_tree(tree)._walk(start)
    if node < 0:
        raise KexueValueError("prefix is not one of the tree's")
    first, last = tree._tree.children[node : node + 2].tolist()
    tokens = tree._tree.tokens[first:last].astype(np.int64)
    gains = np.zeros(len(tokens))
    if len(tokens):
        gains = _LookAhead(tree, query, "query").gains(node, start[begin:], stop).astype(np.float64)
    if end >= 0 and tree._tree.is_end(node) and end not in tokens:
        tokens, gains = np.append(tokens, end), np.append(gains, 0.0)
    if not len(tokens):
        raise KexueValueError("nothing may follow prefix: end_token must be given where a sequence ends")
    if tokens.max() >= len(array):
        raise KexueValueError(f"log_probs has {len(array)} entries, but token {tokens.max()} may follow prefix")
    values = array[tokens].astype(np.float64)
    if not (values < np.inf).all():
        bad = int((values < np.inf).argmin())
        raise KexueValueError(f"log_probs[{tokens[bad]}] is {values[bad]}")
    values = _not_positive(values, lambda bad: f"log_probs[{tokens[bad]}] is {values[bad]}") / (gains + 1.0)
    result = np.full(len(array), -np.inf, dtype=result_dtype(array))
    _decoding.normalize(values, np.zeros(len(values), dtype=np.int64), 1)
    result[tokens] = values
    return result
