"""Constrained beam search and look-ahead written out: lists of stored sequences in place of a tree."""

import math

IMPOSSIBLE = -math.inf


def common(a, b):
    """The length of the longest common subsequence."""
    rows = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            rows[i + 1][j + 1] = rows[i][j] + 1 if x == y else max(rows[i][j + 1], rows[i + 1][j])
    return rows[-1][-1]


def up_to(sequence, begin, stop):
    """A sequence from a place on, up to its first stop token at or behind another place."""
    return sequence[: sequence.index(stop, begin) + 1] if stop in sequence[begin:] else sequence


def gain(stored, prefix, token, query, begin=0, stop=None):
    """Of the longest common subsequence with the query, by the best continuation."""
    going_on = [up_to(s, len(prefix), stop) for s in stored if s[: len(prefix) + 1] == [*prefix, token]]
    return (
        max((common(s[begin:], query) for s in going_on), default=0) - common(prefix[begin:], query) if going_on else 0
    )


def allowed(stored, prefix, end):
    """Tokens that may follow, and whether the end token among them ends a stored sequence without being stored."""
    tokens = sorted({s[len(prefix)] for s in stored if s[: len(prefix)] == prefix and len(s) > len(prefix)})
    virtual = prefix in stored and end not in tokens
    return (sorted([*tokens, end]) if virtual else tokens), virtual


def normalized(values):
    largest = max(values)
    if largest == IMPOSSIBLE:
        return [-math.log(len(values))] * len(values)
    total = math.log(math.fsum(math.exp(v - largest) for v in values)) + largest
    return [v - total for v in values]


def expansions(stored, prefix, row, end, renormalize=True, query=None, ends_seen=0, query_from=0, field_only=False):
    """(token, log-probability, whether the sequence is over) of what may follow a prefix."""
    tokens, virtual = allowed(stored, prefix, end)
    values = [float(row[token]) for token in tokens]
    if query is not None and len(tokens) > 1 and ends_seen >= query_from:
        begin = len(prefix) - prefix[::-1].index(end) if field_only and end in prefix else 0
        stop = end if field_only else None
        values = [v / (gain(stored, prefix, t, query, begin, stop) + 1) for t, v in zip(tokens, values, strict=True)]
    values = normalized(values) if renormalize else values
    return [(t, v, virtual and t == end) for t, v in zip(tokens, values, strict=True)]


def search(
    step,
    stored,
    end,
    beam_size,
    *,
    finished="keep",
    min_ends=1,
    prefix=(),
    length_penalty=0.0,
    max_length=10**9,
    **options,
):
    """(tokens with the end token, score), best first."""
    stored, prefix = [list(s) for s in stored], list(prefix)
    live, kept, width = [(0.0, prefix)], [], beam_size
    while live and len(live[0][1]) < max_length:
        rows = step([tokens for _, tokens in live])
        candidates = []
        for beam, (score, tokens) in enumerate(live):
            seen = tokens.count(end)
            for token, value, over in expansions(stored, tokens, rows[beam], end, ends_seen=seen, **options):
                if value > IMPOSSIBLE:
                    over = over or seen + (token == end) >= min_ends
                    candidates.append((-(score + value), beam, token, over, [*tokens, token]))
        candidates.sort(key=lambda c: c[:3])
        if finished == "drop":
            candidates = candidates[:width]
            if candidates and candidates[0][3]:
                return [(candidates[0][4], -candidates[0][0])]
            candidates = [c for c in candidates if not c[3]]
            width = len(candidates)
        else:
            length = len(live[0][1]) + 1 - len(prefix)
            kept += [(c[4], -c[0] / length**length_penalty) for c in candidates if c[3]]
            kept = sorted(kept, key=lambda item: -item[1])[:beam_size]
            candidates = [c for c in candidates if not c[3]][:beam_size]
        live = [(-c[0], c[4]) for c in candidates]
    return kept
