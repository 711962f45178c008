"""What is measured of searches along a prefix tree."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from workloads import Side, Workload, recent

import kexue as kx

VOCABULARY, LENGTH, END, BEAMS = 50_000, 20, 0, 4


@lru_cache(maxsize=1)
def _stored(wide: int) -> np.ndarray:
    """Sequences of `wide` first tokens: one continuation of each for a while, and then two at every token."""
    rng = np.random.default_rng(0)
    doublings = round(math.log2(1_000_000 / wide))
    tokens = rng.integers(1, VOCABULARY - 1, (LENGTH, wide << doublings), dtype=np.int32)
    firsts = rng.permutation(np.arange(1, VOCABULARY))[:wide].astype(np.int32)
    ids = np.arange(wide << doublings)
    columns = [firsts[ids >> doublings]]
    for level in range(1, LENGTH):
        left = max(LENGTH - 1 - level, 0)
        shift = min(left, doublings)
        nodes = ids >> shift
        columns.append(tokens[level, nodes >> 1 << 1] + (nodes & 1 if left < doublings else 0))
    return np.stack(columns, axis=1).astype(np.int32)


@lru_cache(maxsize=1)
def _nested(wide: int) -> dict[int, Any]:
    root: dict[int, Any] = {}
    for sequence in _stored(wide).tolist():
        node = root
        for token in sequence:
            node = node.setdefault(token, {})
        node[END] = None
    return root


@lru_cache(maxsize=1)
def _tree(wide: int) -> kx.PrefixTree:
    return kx.PrefixTree(_stored(wide))


def _search_masked(step: Any, root: dict[int, Any]) -> list[float]:
    """The rows of all tokens, masked: as searches with a model do without a tree."""
    live, scores, nodes = np.empty((1, 0), dtype=np.int64), np.zeros(1), [root]
    kept: list[float] = []
    while len(live):
        rows = step(live).astype(np.float64)
        mask = np.full(rows.shape, -np.inf)
        for i, node in enumerate(nodes):
            mask[i, list(node)] = 0.0
        rows += mask
        rows -= rows.max(axis=1, keepdims=True)
        rows -= np.log(np.exp(rows).sum(axis=1, keepdims=True))
        rows += scores[:, None]
        kept += [score for score in rows[:, END].tolist() if score > -np.inf]
        kept = sorted(kept, reverse=True)[:BEAMS]
        rows[:, END] = -np.inf
        flat = rows.reshape(-1)
        best = np.argpartition(-flat, BEAMS)[:BEAMS]
        best = best[np.argsort(-flat[best])]
        best = best[flat[best] > -np.inf]
        if len(kept) == BEAMS and (not len(best) or flat[best[0]] <= kept[-1]):
            break
        beams, tokens = np.divmod(best, VOCABULARY)
        live, scores = np.column_stack([live[beams], tokens]), flat[best]
        nodes = [nodes[beam][token] for beam, token in zip(beams.tolist(), tokens.tolist(), strict=True)]
    return kept


def _search_gathered(step: Any, root: dict[int, Any]) -> list[float]:
    """Only the tokens that may follow, of each hypothesis by itself."""
    live: list[tuple[float, list[int], Any]] = [(0.0, [], root)]
    kept: list[float] = []
    while live:
        rows = step(np.array([tokens for _, tokens, _ in live], dtype=np.int64).reshape(len(live), -1))
        candidates = []
        for row, (score, tokens, node) in zip(rows, live, strict=True):
            allowed = list(node)
            values = row[allowed].astype(np.float64)
            values -= values.max()
            values += score - np.log(np.exp(values).sum())
            for token, value in zip(allowed, values.tolist(), strict=True):
                if token == END:
                    kept.append(value)
                else:
                    candidates.append((value, tokens, token, node))
        kept = sorted(kept, reverse=True)[:BEAMS]
        candidates.sort(key=lambda c: -c[0])
        if len(kept) == BEAMS and (not candidates or candidates[0][0] <= kept[-1]):
            break
        live = [(value, [*tokens, token], node[token]) for value, tokens, token, node in candidates[:BEAMS]]
    return kept


@recent
def constrained_beam_search(wide: int) -> Workload:
    """20 tokens of about 1e6 sequences; `wide` of them may be the first."""
    rows = np.random.default_rng(1).normal(size=(BEAMS, VOCABULARY)).astype(np.float32)

    def step(prefixes: np.ndarray) -> np.ndarray:
        return rows[: len(prefixes)]

    tree, nested = _tree(wide), _nested(wide)
    sides = {
        "kexue": Side(
            lambda: kx.constrained_beam_search(step, tree, end_token=END, beam_size=BEAMS),
            comparable=lambda found: np.array([hypothesis.score for hypothesis in found]),
        ),
        "NumPy and dicts, masks": Side(lambda: _search_masked(step, nested)),
        "NumPy and dicts": Side(lambda: _search_gathered(step, nested)),
    }
    return Workload(f"constrained_beam_search, {len(_stored(wide))} sequences, {wide} first tokens", sides)


def _common(a: str, b: str) -> int:
    row = [0] * (len(b) + 1)
    for x in a:
        diagonal = 0
        for j, y in enumerate(b):
            above = row[j + 1]
            if x == y:
                row[j + 1] = diagonal + 1
            elif row[j] > above:
                row[j + 1] = row[j]
            diagonal = above
    return row[-1]


@recent
def lookahead_boost(completions: int) -> Workload:
    """Strings of 12 letters below one letter, a query of 20."""
    rng = np.random.default_rng(0)
    codes = rng.integers(97, 123, (completions, 12), dtype=np.uint32)
    codes[:, 0] = 97
    stored = ["".join(map(chr, row)) for row in codes.tolist()]
    query = "".join(map(chr, rng.integers(97, 123, 20)))
    log_probs = np.log(rng.dirichlet(np.ones(128)))
    tree = kx.PrefixTree(stored)

    def boost(common: Any) -> np.ndarray:
        now, gains = common("a", query), np.zeros(128)
        follow = sorted({ord(sequence[1]) for sequence in stored})
        for sequence in stored:
            token = ord(sequence[1])
            gains[token] = max(gains[token], common(sequence, query) - now)
        values = log_probs[follow] / (gains[follow] + 1)
        result = np.full(128, -np.inf)
        result[follow] = values - np.logaddexp.reduce(values)
        return result

    sides = {
        "kexue": Side(lambda: kx.lookahead_boost(log_probs, "a", tree, query)),
        "Python": Side(lambda: boost(_common)),
        "kexue's own, one by one": Side(lambda: boost(kx.longest_common_subsequence)),
    }
    return Workload(f"lookahead_boost, {completions} completions", sides)
