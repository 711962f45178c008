"""What is measured of prefix trees and alignments."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from workloads import Side, Workload, installed, recent

import kexue as kx

VOCABULARY = 50_000
NO_RAPIDFUZZ = "rapidfuzz is not installed"


def sequences(n: int) -> np.ndarray:
    """n of 20 tokens, some of them frequent: some begin alike."""
    return (np.random.default_rng(0).zipf(1.2, size=(n, 20)) % VOCABULARY).astype(np.int32)


def dict_of_dicts(lists: list[list[int]]) -> dict[int, Any]:
    root: dict[int, Any] = {}
    for sequence in lists:
        node = root
        for token in sequence:
            child = node.get(token)
            if child is None:
                child = node[token] = {}
            node = child
    return root


def _nodes(root: dict[int, Any]) -> Iterator[dict[int, Any]]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(node.values())


@recent
def stored(n: int) -> tuple[list[list[int]], kx.PrefixTree, dict[int, Any]]:
    """The sequences as lists, as a tree and as dicts: what takes seconds to build is shared."""
    rows = sequences(n)
    lists = rows.tolist()
    return lists, kx.PrefixTree(rows), dict_of_dicts(lists)


@recent
def prefix_tree(n: int, given: str) -> Workload:
    """The dicts, without their integers, take at least eight times the memory, or the workload cannot be made."""
    rows, (lists, built, root) = sequences(n), stored(n)
    prefixes = [lists[i][:length] for i in range(0, n, n // 100) for length in (0, 1, 5)]

    assert 8 * built.nbytes <= sum(map(sys.getsizeof, _nodes(root)))

    def of_tree(tree: kx.PrefixTree) -> list[int]:
        return [tree.n_nodes, *(token for prefix in prefixes for token in tree.next_tokens(prefix).tolist())]

    def of_dicts(root: dict[int, Any]) -> list[int]:
        found = [sum(1 for _ in _nodes(root))]
        for prefix in prefixes:
            node = root
            for token in prefix:
                node = node[token]
            found += sorted(node)
        return found

    data = rows if given == "array" else lists
    sides = {
        "kexue": Side(lambda: kx.PrefixTree(data), comparable=of_tree),
        "dict of dicts": Side(lambda: dict_of_dicts(lists), comparable=of_dicts),
    }
    return Workload(f"PrefixTree, {n} sequences of 20, from {given}", sides, rtol=0)


@recent
def mask(length: int) -> Workload:
    """Of a prefix: the walk and a row of logits."""
    lists, tree, root = stored(100_000)
    prefix = lists[5][:length]
    logits = np.random.default_rng(0).normal(size=VOCABULARY).astype(np.float32)
    ours, theirs, filled = logits.copy(), logits.copy(), logits.copy()

    def masked() -> np.ndarray:
        tree.mask(prefix, ours)
        return ours

    def by_numpy() -> np.ndarray:
        node = root
        for token in prefix:
            node = node[token]
        allowed = list(node)
        kept = theirs[allowed]
        theirs.fill(-np.inf)
        theirs[allowed] = kept
        return theirs

    sides = {
        "kexue": Side(masked),
        "dicts and NumPy": Side(by_numpy),
        "the write alone": Side(lambda: filled.fill(-np.inf), comparable=None),
    }
    return Workload(
        f"PrefixTree.mask, {length} of 20 tokens, {VOCABULARY} float32", sides, rtol=0, bytes_moved=logits.nbytes
    )


def _common_by_python(a: str, b: str) -> int:
    above = [0] * (len(b) + 1)
    for x in a:
        here = [0]
        for j, y in enumerate(b):
            here.append(above[j] + 1 if x == y else max(above[j + 1], here[j]))
        above = here
    return above[-1]


def _edits_by_python(a: str, b: str) -> int:
    above = list(range(len(b) + 1))
    for i, x in enumerate(a):
        here = [i + 1]
        for j, y in enumerate(b):
            here.append(above[j] if x == y else 1 + min(above[j], above[j + 1], here[j]))
        above = here
    return above[-1]


@recent
def alignment(function: str, length: int) -> Workload:
    """Of two strings of random letters."""
    a, b = ("".join(map(chr, row)) for row in np.random.default_rng(length).integers(97, 123, (2, length)))
    call = getattr(kx, function)
    by_python = {
        "longest_common_subsequence": _common_by_python,
        "lcs_f1": lambda a, b: 2 * _common_by_python(a, b) / (len(a) + len(b)),
        "edit_distance": _edits_by_python,
    }[function]
    sides = {"kexue": Side(lambda: call(a, b))}
    distance: Any = installed("rapidfuzz.distance")
    if distance is not None:
        other = {
            "longest_common_subsequence": distance.LCSseq.similarity,
            "lcs_f1": distance.Indel.normalized_similarity,
            "edit_distance": distance.Levenshtein.distance,
        }[function]
        sides["rapidfuzz"] = Side(lambda: other(a, b))
    if length <= 1000:
        sides["Python"] = Side(lambda: by_python(a, b))
    absent = {} if distance is not None else {"rapidfuzz": NO_RAPIDFUZZ}
    return Workload(f"{function}, {length} letters", sides, rtol=1e-12, absent=absent)


# ---- as transformers asks ----


def _allowed(root: dict[int, Any], prefix: list[int], end: int) -> list[int]:
    """What a user writes for `prefix_allowed_tokens_fn`; stored sequences are of one length, whose end is a leaf."""
    node = root
    for token in prefix:
        node = node[token]
    return list(node) or [end]


@recent
def allowed_tokens(count: int = 100) -> Workload:
    """Calls after prefixes of all lengths; a time for one."""
    lists, tree, root = stored(100_000)
    call = kx.PrefixAllowedTokens(tree, end_token=VOCABULARY, prompt_length=1)
    prefixes = [[0, *lists[number * 100][: number % 21]] for number in range(count)]

    def flat(found: list[list[int]]) -> np.ndarray:
        return np.concatenate([sorted(tokens) for tokens in found])

    sides = {
        "kexue": Side(lambda: [call(0, prefix) for prefix in prefixes], count, flat),
        "dict of dicts": Side(lambda: [_allowed(root, prefix[1:], VOCABULARY) for prefix in prefixes], count, flat),
    }
    return Workload("PrefixAllowedTokens, 0 to 20 of 20 tokens", sides, rtol=0)


@recent
def logits_processor(beams: int) -> Workload:
    """A row of scores for each beam, masked where it is. Masked once, it remains so."""
    lists, tree, root = stored(100_000)
    process = kx.PrefixTreeLogitsProcessor(tree, end_token=VOCABULARY)
    ids = np.array([[0, *lists[number][:3]] for number in range(beams)])
    scores = np.random.default_rng(0).standard_normal((beams, VOCABULARY + 1)).astype(np.float32)
    ours, theirs = scores.copy(), scores.copy()

    def by_numpy() -> np.ndarray:
        for row, prefix in zip(theirs, ids[:, 1:].tolist(), strict=True):
            allowed = _allowed(root, prefix, VOCABULARY)
            kept = row[allowed]
            row.fill(-np.inf)
            row[allowed] = kept
        return theirs

    sides = {"kexue": Side(lambda: process(ids, ours)), "dicts and NumPy": Side(by_numpy)}
    name = f"PrefixTreeLogitsProcessor, {beams} beams, {VOCABULARY + 1} float32"
    return Workload(name, sides, rtol=0, bytes_moved=scores.nbytes)
