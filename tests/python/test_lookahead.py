"""Look-ahead beside its definition: all sequences of a tree, and the dynamic program cell by cell."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import PrefixTree, lookahead_boost
from reference import beam_search as reference

QUERY = "XXX主要讲什么课程"

tokens = st.integers(0, 4)
stored_sequences = st.lists(st.lists(tokens, max_size=7), min_size=1, max_size=10)


def characters(text):
    return [ord(character) for character in text]


def log_probabilities(probabilities, size=0x10000):
    row = np.full(size, -np.inf)
    for token, probability in probabilities.items():
        row[ord(token) if isinstance(token, str) else token] = math.log(probability)
    return row


class TestReference:
    tree = PrefixTree(["主要成就", "主讲课程"])

    def test_boost(self):
        boosted = lookahead_boost(log_probabilities({"要": 0.7, "讲": 0.2}), "主", self.tree, QUERY)
        chances = np.exp(boosted)
        assert chances[characters("要讲")].tolist() == pytest.approx(
            [0.5557724473825395, 0.4442275526174605], rel=1e-14
        )
        assert np.count_nonzero(chances) == 2
        # as the definition gives them, of gains 1 and 3
        powers = np.array([0.7 ** (1 / 2), 0.2 ** (1 / 4)])
        np.testing.assert_allclose(chances[characters("要讲")], powers / powers.sum(), rtol=1e-14)

    def test_search(self):
        row = log_probabilities({"主": 0.1, "要": 0.7, "讲": 0.2})

        def search(**options):
            return kexue.constrained_beam_search(
                lambda prefixes: np.tile(row, (len(prefixes), 1)), self.tree, end_token=0, **options
            )

        without, boosted = search(), search(lookahead=QUERY)
        assert [math.exp(h.score) for h in without] == pytest.approx([7 / 9, 2 / 9])
        assert [math.exp(h.score) for h in boosted] == pytest.approx([0.5557724473825395, 0.4442275526174605])


@given(stored_sequences, st.lists(tokens, max_size=9), st.data())
@settings(max_examples=300)
def test_definition(stored, query, data):
    chosen = data.draw(st.sampled_from(stored))
    prefix = chosen[: data.draw(st.integers(0, len(chosen)))]
    begin = data.draw(st.integers(0, len(prefix)))
    stop = data.draw(st.none() | tokens)
    seed = data.draw(st.integers(0, 99))
    row = np.log(np.random.default_rng(seed).dirichlet(np.ones(6)))
    follow, _ = reference.allowed(stored, prefix, 5)
    powers = [
        row[token] / (reference.gain(stored, prefix, token, query, begin, stop) + 1) if token < 5 else row[5]
        for token in follow
    ]
    boosted = lookahead_boost(row, prefix, PrefixTree(stored), query, end_token=5, begin=begin, stop_token=stop)
    np.testing.assert_allclose(boosted[follow], reference.normalized(powers), rtol=0, atol=1e-12)
    assert np.isneginf(np.delete(boosted, follow)).all()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 130, 700])
def test_long_queries(length, rng):
    """Against longest_common_subsequence, which has another kernel."""
    stored = rng.integers(0, 30, (40, 90))
    stored[:, :2] = stored[0, :2]
    query = rng.integers(0, 30, length)
    prefix = stored[0, :2]
    boosted = lookahead_boost(np.full(30, math.log(1 / 30)), prefix, PrefixTree(stored), query)
    now = kexue.longest_common_subsequence(prefix, query)
    gains = {}
    for sequence in stored:
        gain = kexue.longest_common_subsequence(sequence, query) - now
        gains[sequence[2]] = max(gain, gains.get(sequence[2], 0))
    follow = sorted(gains)
    powers = np.array([30 ** (-1 / (gains[token] + 1)) for token in follow])
    np.testing.assert_allclose(np.exp(boosted[follow]), powers / powers.sum(), rtol=1e-12)


@pytest.mark.parametrize("offset", [0, 2**31, 2**40])
def test_wide_tokens(offset, rng):
    """Look-ahead in the search knows no vocabulary of its own; gains do not depend on the numbers of tokens."""
    stored = rng.integers(0, 9, (50, 8))
    query = rng.integers(0, 9, 12)
    tree = PrefixTree(stored.astype(np.int64) + offset)
    gains = tree._tree.gains(0, np.empty(0, dtype=np.int64), query + offset, -1)
    expected = [reference.gain(stored.tolist(), [], token, query.tolist()) for token in sorted(set(stored[:, 0]))]
    assert gains.tolist() == expected


def test_only_what_may_follow():
    tree = PrefixTree([[1, 2], [1, 3], [1]])
    row = np.log([0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(np.exp(lookahead_boost(row, [], tree, [1, 3])), [0, 1, 0, 0])
    np.testing.assert_allclose(np.exp(lookahead_boost(row, [1], tree, [], end_token=0)), np.array([1, 0, 3, 4]) / 8)
    np.testing.assert_allclose(np.exp(lookahead_boost(row, [1, 3], tree, [1, 3], end_token=0)), [1, 0, 0, 0])
    stored_end = PrefixTree([[1], [1, 0, 2]])
    np.testing.assert_allclose(np.exp(lookahead_boost(row, [1], stored_end, [], end_token=0)), [1, 0, 0, 0])
    impossible = np.full(4, -np.inf)
    np.testing.assert_allclose(np.exp(lookahead_boost(impossible, [1], tree, [3])), [0, 0, 0.5, 0.5])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_dtypes(dtype):
    row = np.array([0, -1, -2, -3], dtype=dtype)
    boosted = lookahead_boost(row, [], PrefixTree([[1], [3]]), [3])
    assert boosted.dtype == ("float32" if dtype in ("float16", "float32") else "float64")
    np.testing.assert_allclose(np.exp(boosted[[1, 3]]), np.exp([-1, -1.5]) / np.exp([-1, -1.5]).sum(), rtol=1e-6)
    assert row.tolist() == [0, -1, -2, -3]


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0.0, 0], [7], [1]), {}, "prefix is not one of the tree's"),
        (([0.0, 0, 0], [1, 2], [1]), {}, "nothing may follow prefix"),
        (([0.0, 0], [1], [1]), {}, "log_probs has 2 entries, but token 2 may follow prefix"),
        (([0.0, math.nan], [], [1]), {}, r"log_probs\[1\] is nan"),
        (([0.0, math.inf], [], [1]), {}, r"log_probs\[1\] is inf"),
        (([0.0, 3.0], [], [1]), {}, r"log_probs\[1\] is 3.0, but log-probabilities are not positive"),
        (([0.0, 0], [], [1]), {"stop_token": 2**63}, "stop_token must be at most"),
        (([[0.0, 0]], [], [1]), {}, r"log_probs must have 1 dimension.*\(1, 2\)"),
        (([0.0, 0], [], [-1]), {}, r"query\[0\] is -1"),
        (([0.0, 0], [], [1]), {"begin": 1}, "begin must be at most 0"),
        (([0.0, 0], [], [1]), {"stop_token": -1}, "stop_token must be at least 0"),
        (([0.0, 0], [], [1]), {"end_token": -1}, "end_token must be at least 0"),
    ],
)
def test_bad_input(arguments, options, message):
    log_probs, prefix, query = arguments
    with pytest.raises(kexue.KexueValueError, match=message):
        lookahead_boost(log_probs, prefix, PrefixTree([[1, 2]]), query, **options)


def test_bad_types():
    with pytest.raises(TypeError, match="log_probs must be real"):
        lookahead_boost([1j], [], PrefixTree([[0]]), [0])
    with pytest.raises(TypeError, match="log_probs is a masked array"):
        lookahead_boost(np.ma.masked_less([0.0], 1), [], PrefixTree([[0]]), [0])
    with pytest.raises(kexue.KexueValueError, match="log_probs is not an array of one shape"):
        lookahead_boost([[0.0], [0.0, 0.0]], [], PrefixTree([[0]]), [0])
    with pytest.raises(TypeError, match="tree must be a kexue.PrefixTree"):
        lookahead_boost([0.0], [], [[0]], [0])


@pytest.mark.parametrize(
    ("kinds", "repeats", "delay"), [(1000, 200, 0.3), (20, 800_000, 1.5)], ids=["query", "long query"]
)
def test_interrupt(kinds, repeats, delay):
    """Seconds of work, if nobody stops it: the best sequences are far from the bound that cuts branches."""
    program = f"""if True:
        import os, signal, threading, time
        import numpy as np, kexue
        tree = kexue.PrefixTree(np.random.default_rng(0).integers(0, {kinds}, (100_000, 20)))
        query = np.repeat(np.arange({kinds})[::-1], {repeats})
        kexue.lookahead_boost(np.zeros({kinds}), [], tree, [1])
        sent = []
        def interrupt():
            time.sleep({delay})
            sent.append(time.perf_counter())
            os.kill(os.getpid(), signal.SIGINT)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            kexue.lookahead_boost(np.zeros({kinds}), [], tree, query)
            thread.join()
        except KeyboardInterrupt:
            latency = time.perf_counter() - sent[0]
            thread.join()
            assert np.isfinite(kexue.lookahead_boost(np.zeros({kinds}), [], tree, [1])).all()
            print(latency)
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert float(done.stdout) < 2, done.stderr
