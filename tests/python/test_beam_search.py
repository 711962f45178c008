"""Beam search along a prefix tree beside a search written out, and beside all stored sequences."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import BeamHypothesis, PrefixTree, constrained_beam_search
from reference import beam_search as reference

VOCABULARY, END = 7, 0

sequences = st.lists(st.lists(st.integers(1, VOCABULARY - 1), max_size=5), min_size=1, max_size=12)
# What separates fields stands in these.
fields = st.lists(st.lists(st.integers(END, 3), max_size=7), min_size=1, max_size=12)


def random_step(seed, impossible=0.0):
    """Log-probabilities that depend on the prefix alone."""

    def step(prefixes):
        rows = []
        for prefix in prefixes:
            rng = np.random.default_rng([seed, *(int(token) for token in prefix)])
            row = np.log(rng.dirichlet(np.ones(VOCABULARY)))
            row[rng.random(VOCABULARY) < impossible] = -np.inf
            rows.append(row)
        return np.array(rows)

    return step


def constant_step(row):
    return lambda prefixes: np.tile(np.asarray(row, dtype=np.float64), (len(prefixes), 1))


def plain(found):
    return [(hypothesis.tokens.tolist(), hypothesis.score) for hypothesis in found]


def assert_same(found, expected, end=END):
    """Tokens of the reference end with an end token that may not be stored."""
    assert len(found) == len(expected)
    for hypothesis, (tokens, score) in zip(found, expected, strict=True):
        assert hypothesis.tokens.tolist() in (tokens, tokens[:-1])
        assert hypothesis.score == pytest.approx(score, abs=1e-9)


@given(sequences, st.integers(0, 99), st.integers(1, 6), st.sampled_from(["keep", "drop"]), st.sampled_from([0.0, 0.4]))
@settings(max_examples=150)
def test_search_written_out(stored, seed, beam_size, finished, impossible):
    step = random_step(seed, impossible)
    tree = PrefixTree(stored)
    found = constrained_beam_search(step, tree, end_token=END, beam_size=beam_size, finished=finished)
    assert_same(found, reference.search(step, stored, END, beam_size, finished=finished))
    assert all(hypothesis.tokens.tolist() in stored for hypothesis in found)


@given(fields, st.integers(0, 99), st.integers(1, 5), st.sampled_from(["keep", "drop"]), st.integers(1, 3))
@settings(max_examples=150)
def test_fields_written_out(stored, seed, beam_size, finished, min_ends):
    step = random_step(seed)
    options = {"finished": finished, "min_ends": min_ends}
    found = constrained_beam_search(step, PrefixTree(stored), end_token=END, beam_size=beam_size, **options)
    assert_same(found, reference.search(step, stored, END, beam_size, **options))
    for hypothesis in found:
        tokens = hypothesis.tokens.tolist()
        if hypothesis.place is None:  # the first fields of a sequence that goes on
            assert tokens.count(END) == min_ends
            assert any(sequence[: len(tokens)] == tokens for sequence in stored)
        else:
            assert stored[hypothesis.place] == tokens


@given(
    fields,
    st.integers(0, 99),
    st.sampled_from(["sequence", "field"]),
    st.integers(0, 2),
    st.lists(st.integers(END, 4), max_size=6),
)
@settings(max_examples=150)
def test_lookahead_written_out(stored, seed, scope, query_from, query):
    step = random_step(seed, 0.2)
    found = constrained_beam_search(
        step,
        PrefixTree(stored),
        end_token=END,
        min_ends=3,
        lookahead=query,
        lookahead_from=query_from,
        lookahead_scope=scope,
    )
    options = {"query": query, "query_from": query_from, "field_only": scope == "field"}
    assert_same(found, reference.search(step, stored, END, 4, min_ends=3, **options))


@given(sequences, st.integers(0, 99), st.sampled_from([-1.0, 0.5, 1.0, 2.0]), st.integers(1, 4))
@settings(max_examples=100)
def test_length_penalty_written_out(stored, seed, penalty, beam_size):
    """The search stops early where it can; the reference goes on until nothing lives."""
    step = random_step(seed)
    found = constrained_beam_search(
        step, PrefixTree(stored), end_token=END, beam_size=beam_size, length_penalty=penalty
    )
    assert_same(found, reference.search(step, stored, END, beam_size, length_penalty=penalty))
    for hypothesis in found:
        length = len(hypothesis.tokens) + 1
        assert hypothesis.score == pytest.approx(hypothesis.log_probability / length**penalty, rel=1e-12, abs=1e-15)


@given(sequences, st.integers(0, 99))
@settings(max_examples=100)
def test_a_wide_beam_is_exact(stored, seed):
    """All sequences with their probabilities, which sum to 1."""
    step = random_step(seed)
    tree = PrefixTree(stored)
    distinct = {tuple(sequence) for sequence in stored}
    found = constrained_beam_search(step, tree, end_token=END, beam_size=len(distinct))
    exact = {}
    for sequence in distinct:
        exact[sequence] = 0.0
        for length in range(len(sequence) + 1):
            start = list(sequence[:length])
            taken = sequence[length] if length < len(sequence) else END
            follow = reference.expansions([list(s) for s in distinct], start, step([start])[0], END)
            exact[sequence] += next(value for token, value, _ in follow if token == taken)
    expected = sorted(exact.items(), key=lambda item: -item[1])
    assert [tuple(hypothesis.tokens.tolist()) for hypothesis in found] == [sequence for sequence, _ in expected]
    np.testing.assert_allclose([hypothesis.score for hypothesis in found], [score for _, score in expected], atol=1e-12)
    assert math.fsum(math.exp(hypothesis.log_probability) for hypothesis in found) == pytest.approx(1, abs=1e-12)


def test_hypotheses():
    tree = PrefixTree([[3, 1, 4], [2, 5], [3, 1]])
    found = constrained_beam_search(constant_step(np.log([0.1, 0.1, 0.4, 0.1, 0.2, 0.1])), tree, end_token=END)
    assert all(isinstance(hypothesis, BeamHypothesis) for hypothesis in found)
    assert [(h.tokens.tolist(), h.place) for h in found] == [([2, 5], 1), ([3, 1, 4], 0), ([3, 1], 2)]
    np.testing.assert_allclose([math.exp(h.score) for h in found], [0.8, 0.2 * 2 / 3, 0.2 / 3])
    assert all(h.tokens.dtype == np.int64 and tree.get(h.tokens) == h.place for h in found)


class TestRules:
    """Sequences 1 and 2 3: the short one is not the best when it is finished, but is in the end."""

    tree = PrefixTree([[1], [2, 3], [2, 4]])
    step = staticmethod(constant_step(np.log([1.0, 0.45, 0.55, 0.5, 0.5])))

    def test_keep_finds_what_drop_lost(self):
        best = constrained_beam_search(self.step, self.tree, end_token=END, beam_size=2)
        assert plain(best)[0] == ([1], pytest.approx(math.log(0.45)))
        (only,) = constrained_beam_search(self.step, self.tree, end_token=END, beam_size=2, finished="drop")
        assert only.tokens.tolist() == [1]  # still the best at its second step
        later = PrefixTree([[1], [2, 3]])
        (only,) = constrained_beam_search(self.step, later, end_token=END, beam_size=2, finished="drop")
        assert only.tokens.tolist() == [2, 3]
        # it needs a beam to be lost from
        assert [h.tokens.tolist() for h in constrained_beam_search(self.step, later, end_token=END)] == [[2, 3], [1]]

    def test_keep_stops_early(self):
        calls = []

        def step(prefixes):
            calls.append(len(prefixes))
            return constant_step(np.log([1.0, 0.9, 0.1, 1, 1]))(prefixes)

        deep = PrefixTree([[1], [2, *[3] * 50]])
        assert constrained_beam_search(step, deep, end_token=END, beam_size=1)[0].tokens.tolist() == [1]
        assert calls == [1, 1]

    def test_keep_waits_for_what_a_length_may_be_worth(self):
        """0.7 at once, or 0.3 over 20 tokens: no better at the second token, but at the last."""
        tree = PrefixTree([[], [2] * 19])
        step = constant_step(np.log([0.7, 1, 0.3]))
        (short,) = constrained_beam_search(step, tree, end_token=END, beam_size=1)
        (long,) = constrained_beam_search(step, tree, end_token=END, beam_size=1, length_penalty=1.0)
        assert (len(short.tokens), len(long.tokens)) == (0, 19)
        assert long.score == pytest.approx(math.log(0.3) / 20)

    def test_drop_narrows_the_beam(self):
        calls = []

        def step(prefixes):
            calls.append(len(prefixes))
            return constant_step(np.log([1, 0.1, 0.9, 1, 1]))(prefixes)

        tree = PrefixTree([[1], *([2, *rest] for rest in itertools.product([3, 4], repeat=4))])
        constrained_beam_search(step, tree, end_token=END, beam_size=3, finished="drop")
        assert calls == [1, 2, 2, 2, 2, 2]
        calls.clear()
        constrained_beam_search(step, tree, end_token=END, beam_size=3)
        assert calls == [1, 2, 2, 3, 3, 3]


def test_ties_go_to_the_lowest_beam_and_token():
    tree = PrefixTree([[4, 3], [2, 6], [2, 3], [5]])
    found = constrained_beam_search(constant_step(np.zeros(VOCABULARY)), tree, end_token=1, beam_size=3)
    assert plain(found)[0] == ([5], pytest.approx(math.log(1 / 3)))
    assert [h.tokens.tolist() for h in found[1:]] == [[4, 3], [2, 3]]
    found = constrained_beam_search(constant_step(np.zeros(6)), PrefixTree([[1, 5], [2, 3]]), end_token=0)
    assert [h.tokens.tolist() for h in found] == [[1, 5], [2, 3]]
    # Many equal ones: the virtual end is sorted by its token too.
    wide = PrefixTree([[], *([token] for token in range(2, 1000))])
    found = constrained_beam_search(constant_step(np.zeros(1000)), wide, end_token=1, beam_size=5, finished="drop")
    assert found[0].tokens.tolist() == []
    for size in (1, 5, 999):
        found = constrained_beam_search(constant_step(np.zeros(1000)), wide, end_token=1, beam_size=size)
        assert [h.tokens.tolist() for h in found] == [[], *([token] for token in range(2, 1000))][:size]


def test_impossible_tokens():
    tree = PrefixTree([[1, 2], [1, 3], [4]])
    row = np.full(VOCABULARY, -np.inf)
    found = constrained_beam_search(constant_step(row), tree, end_token=END)
    np.testing.assert_allclose([math.exp(h.score) for h in found], [0.5, 0.25, 0.25])
    assert constrained_beam_search(constant_step(row), tree, end_token=END, renormalize=False) == []
    row[[4, END]] = math.log(0.25)
    (only,) = constrained_beam_search(constant_step(row), tree, end_token=END, renormalize=False)
    assert plain([only]) == [([4], pytest.approx(2 * math.log(0.25)))]


@given(sequences, st.integers(0, 99))
@settings(max_examples=60)
def test_without_normalization(stored, seed):
    step = random_step(seed)
    found = constrained_beam_search(step, PrefixTree(stored), end_token=END, renormalize=False)
    assert_same(found, reference.search(step, stored, END, 4, renormalize=False))
    shifted = constrained_beam_search(lambda prefixes: 100 * step(prefixes) + 5, PrefixTree(stored), end_token=END)
    again = constrained_beam_search(lambda prefixes: 100 * step(prefixes) - 5, PrefixTree(stored), end_token=END)
    assert [h.tokens.tolist() for h in shifted] == [h.tokens.tolist() for h in again]  # normalised or not


@given(sequences, st.integers(0, 99), st.data())
@settings(max_examples=60)
def test_prefix(stored, seed, data):
    chosen = data.draw(st.sampled_from(stored))
    prefix = chosen[: data.draw(st.integers(0, len(chosen)))]
    seen = []

    def step(prefixes):
        seen.extend(prefixes.tolist())
        return random_step(seed)(prefixes)

    found = constrained_beam_search(step, PrefixTree(stored), end_token=END, prefix=prefix)
    assert_same(found, reference.search(random_step(seed), stored, END, 4, prefix=prefix))
    assert all(row[: len(prefix)] == prefix for row in seen)


@given(fields, st.integers(0, 99), st.sampled_from(["keep", "drop"]))
@settings(max_examples=60)
def test_skipped_calls_change_nothing(stored, seed, finished):
    tree, options = PrefixTree(stored), {"end_token": END, "min_ends": 2, "finished": finished}
    calls = {False: 0, True: 0}

    def step(prefixes, skips):
        calls[skips] += 1
        return random_step(seed)(prefixes)

    results = [
        constrained_beam_search(lambda p, skips=skips: step(p, skips), tree, skip_forced=skips, **options)
        for skips in calls
    ]
    assert plain(results[0]) == plain(results[1])
    assert calls[True] <= calls[False]


def test_forced_tokens_need_no_call():
    tree = PrefixTree([[1, 2, 3, 4], [2, 2, 2, 2]])
    calls = []

    def step(prefixes):
        calls.append(prefixes.tolist())
        return np.zeros((len(prefixes), 5))

    assert len(constrained_beam_search(step, tree, end_token=0, skip_forced=True)) == 2
    assert calls == [[[]]]


@pytest.mark.parametrize("skip_forced", [False, True])
def test_parents(skip_forced):
    """A cache that follows the parents holds what the prefixes say."""
    cache = [()]
    # Every other token is forced.
    tree = PrefixTree([[a, 4, b, 5, c, 6] for a, b, c in itertools.product((1, 2, 3), repeat=3)])

    def step(prefixes, parents):
        nonlocal cache
        assert parents.dtype == np.int64
        assert all(tuple(p[: len(cache[i])]) == cache[i] for p, i in zip(prefixes, parents, strict=True))
        cache = [tuple(p) for p in prefixes.tolist()]
        return random_step(1)(prefixes)

    found = constrained_beam_search(step, tree, end_token=END, with_parents=True, skip_forced=skip_forced)
    assert plain(found) == plain(constrained_beam_search(random_step(1), tree, end_token=END))


class TestPrefixesWithEnds:
    tree = PrefixTree([[1, END, 2, END, 4], [1, END, 3, END, 4]])

    def test_ends_of_the_prefix_count(self):
        found = constrained_beam_search(
            constant_step(np.zeros(5)), self.tree, end_token=END, prefix=[1, END], min_ends=2
        )
        assert [(h.tokens.tolist(), h.place) for h in found] == [([1, END, 2, END], None), ([1, END, 3, END], None)]

    @pytest.mark.parametrize("prefix", [[], [1, END]])
    def test_lookahead_in_a_field(self, prefix):
        """The query has the second field first: nothing can be gained behind what the first field has matched."""
        options = {"end_token": END, "prefix": prefix, "min_ends": 3, "lookahead": [2, 1], "lookahead_from": 1}
        step = constant_step(np.log([0.2] * 5))
        scores = {
            scope: [h.score for h in constrained_beam_search(step, self.tree, lookahead_scope=scope, **options)]
            for scope in ("sequence", "field")
        }
        np.testing.assert_allclose(scores["sequence"], np.log([0.5, 0.5]))
        powers = np.array([0.2**0.5, 0.2])
        np.testing.assert_allclose(scores["field"], np.log(powers / powers.sum()))


def test_what_step_gets_is_its_own():
    def step(prefixes):
        rows = random_step(3)(prefixes)
        prefixes.fill(-1)
        return rows

    tree = PrefixTree([[1, 2, 3], [1, 2, 4], [2, 2]])
    assert plain(constrained_beam_search(step, tree, end_token=END)) == plain(
        constrained_beam_search(random_step(3), tree, end_token=END)
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f8", "longdouble"])
def test_dtypes(dtype):
    tree = PrefixTree([[1], [2]])
    row = np.array([0.0, -0.5, -1.0], dtype=dtype)
    found = constrained_beam_search(lambda prefixes: np.tile(row, (len(prefixes), 1)), tree, end_token=0)
    assert plain(found)[0] == ([1], pytest.approx(-math.log1p(math.exp(-0.5))))


def test_tensors():
    torch = pytest.importorskip("torch")
    tree = PrefixTree([[1], [2]])
    found = constrained_beam_search(
        lambda prefixes: torch.log_softmax(torch.arange(3.0).repeat(len(torch.from_numpy(prefixes)), 1), -1),
        tree,
        end_token=0,
    )
    assert plain(found)[0] == ([2], pytest.approx(-math.log1p(math.exp(-1)), rel=1e-6))


class TestWithoutTree:
    def test_all_sequences(self):
        step = random_step(5)
        found = constrained_beam_search(step, None, end_token=END, beam_size=400, max_length=3)
        exact = {}
        for sequence in itertools.chain([()], *(itertools.product(range(1, VOCABULARY), repeat=n) for n in (1, 2))):
            tokens = [*sequence, END]
            exact[tuple(tokens)] = sum(step([tokens[:i]])[0][token] for i, token in enumerate(tokens))
        expected = sorted(exact.items(), key=lambda item: -item[1])
        assert [tuple(h.tokens.tolist()) for h in found] == [tokens for tokens, _ in expected]
        np.testing.assert_allclose([h.score for h in found], [score for _, score in expected])
        assert all(h.place is None for h in found)

    def test_unfinished_are_given_up(self):
        assert constrained_beam_search(constant_step([-np.inf, 0.0]), None, end_token=0, max_length=9) == []
        assert constrained_beam_search(constant_step([0.0, 0.0]), None, end_token=0, max_length=0) == []
        tree = PrefixTree([[1, 1, 1]])
        assert constrained_beam_search(constant_step([0.0, 0.0]), tree, end_token=0, max_length=3) == []
        assert len(constrained_beam_search(constant_step([0.0, 0.0]), tree, end_token=0, max_length=4)) == 1


def test_small_trees():
    assert constrained_beam_search(constant_step([0.0]), PrefixTree([]), end_token=0) == []
    (only,) = constrained_beam_search(constant_step([0.0]), PrefixTree([[]]), end_token=0)
    assert plain([only]) == [([], 0.0)]
    assert only.place == 0


def test_an_end_token_that_is_stored_and_ends():
    """1 is stored and so is 1 0 2: with one end the first is found, with two the second."""
    tree = PrefixTree([[1], [1, END, 2]])
    step = constant_step(np.zeros(3))
    (one,) = constrained_beam_search(step, tree, end_token=END, min_ends=1)
    (two,) = constrained_beam_search(step, tree, end_token=END, min_ends=2)
    assert (one.tokens.tolist(), one.place) == ([1], 0)
    assert (two.tokens.tolist(), two.place) == ([1, END, 2], 1)


def test_tiny_probabilities_raise_no_flags():
    tree = PrefixTree([[1], [2], [3]])
    with np.errstate(all="raise"):
        found = constrained_beam_search(constant_step([0.0, 0.0, -800.0, -np.inf]), tree, end_token=0)
        lowest = np.finfo(np.float64).min
        none = constrained_beam_search(constant_step([lowest] * 4), tree, end_token=0, renormalize=False)
    assert plain(found) == [([1], 0.0), ([2], -800.0)]
    assert none == []


def test_large_penalties():
    tree = PrefixTree([[1], [2, 2]])
    for penalty in (-300.0, 300.0):
        found = constrained_beam_search(constant_step(np.zeros(3)), tree, end_token=0, length_penalty=penalty)
        assert all(math.isfinite(hypothesis.score) and hypothesis.score < 0 for hypothesis in found)


def test_hypotheses_own_their_tokens():
    first, second = constrained_beam_search(constant_step(np.zeros(5)), PrefixTree([[1, 2], [1, 3]]), end_token=0)
    first.tokens.fill(4)
    assert second.tokens.tolist() == [1, 3]
    assert first.tokens.base is None


def test_many_children():
    tree = PrefixTree(np.stack([np.arange(100_000), np.arange(100_000)[::-1] + 1], axis=1))
    row = np.random.default_rng(0).normal(size=100_001)
    found = constrained_beam_search(constant_step(row), tree, end_token=0, beam_size=4)
    assert [h.tokens[0] for h in found] == np.argsort(-row[:-1])[:4].tolist()
    exact = row[:-1] - np.log(np.exp(row[:-1]).sum())
    np.testing.assert_allclose([h.score for h in found], np.sort(exact)[::-1][:4], rtol=1e-12)


class TestErrors:
    tree = PrefixTree([[1, 2], [3]])

    @pytest.mark.parametrize(
        ("result", "message"),
        [
            ([[0.0, np.nan, 0, 0]], r"step returned nan at \[0, 1\]"),
            ([[0.0, 0, 0, np.inf]], r"step returned inf at \[0, 3\]"),
            ([0.0, 0, 0, 0], r"step must return log-probabilities of shape \(1, vocabulary\).*\(4,\)"),
            ([[0.0] * 4] * 2, r"shape \(1, vocabulary\)"),
            ([[]], r"shape \(1, vocabulary\)"),
            ([[0.0, 0, 0]], "step returned 3 log-probabilities for each prefix, but token 3 may follow"),
        ],
    )
    def test_results_of_step(self, result, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            constrained_beam_search(lambda prefixes: result, self.tree, end_token=0)

    @pytest.mark.parametrize("options", [{"renormalize": False}, {"lookahead": [2]}])
    def test_what_is_not_normalized(self, options):
        with pytest.raises(kexue.KexueValueError, match=r"step returned 2.0 at \[0, 3\], but log-probabilities are"):
            constrained_beam_search(constant_step([0.0, 0, 0, 2]), self.tree, end_token=0, **options)
        # rounding of 16 bits: a sum never grows
        found = constrained_beam_search(constant_step([0.0, 0.01, 0.01, -1]), self.tree, end_token=0, **options)
        assert found[0].score <= 0.0

    def test_numbers_that_are_not_looked_at(self):
        found = constrained_beam_search(constant_step([0.0, 0, 0, 0, np.nan, np.inf]), self.tree, end_token=0)
        assert len(found) == 2

    @pytest.mark.parametrize("result", [[[0, 0, 0, 0]], [["a"] * 4], [[1j] * 4], None, [[0.0], [0.0, 1.0]]])
    def test_types_of_results(self, result):
        with pytest.raises((TypeError, kexue.KexueValueError), match="step must return"):
            constrained_beam_search(lambda prefixes: result, self.tree, end_token=0)

    def test_exceptions_of_step_pass(self):
        def step(prefixes):
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            constrained_beam_search(step, self.tree, end_token=0)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"beam_size": 0}, "beam_size must be at least 1"),
            ({"min_ends": 0}, "min_ends must be at least 1"),
            ({"end_token": -1}, "end_token must be at least 0"),
            ({"end_token": 2**63}, "end_token must be at most"),
            ({"max_length": -1}, "max_length must be at least 0"),
            ({"finished": "both"}, "finished must be"),
            ({"length_penalty": math.nan}, "length_penalty must be finite"),
            ({"length_penalty": 1e308}, r"length_penalty is 1e\+308: too large for 3 tokens"),
            ({"length_penalty": -1e308}, r"length_penalty is -1e\+308: too large for 3 tokens"),
            ({"length_penalty": 1.0, "finished": "drop"}, "length_penalty must be 0"),
            ({"prefix": [2]}, "prefix is not one of the tree's"),
            ({"prefix": [-1]}, r"prefix\[0\] is -1"),
            ({"prefix": [1], "end_token": 1}, "prefix has 1 end tokens already, and min_ends is 1"),
            ({"skip_forced": True, "renormalize": False}, "skip_forced needs renormalize"),
            ({"lookahead": [1], "renormalize": False}, "lookahead needs a tree, and renormalize"),
            ({"lookahead": [1], "lookahead_scope": "word"}, "lookahead_scope must be"),
            ({"lookahead": [1], "lookahead_from": -1}, "lookahead_from must be at least 0"),
            ({"lookahead": [-1]}, r"lookahead\[0\] is -1"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            constrained_beam_search(constant_step(np.zeros(4)), self.tree, **{"end_token": 0, **options})

    def test_types(self):
        with pytest.raises(TypeError, match="step must be callable"):
            constrained_beam_search(3, self.tree, end_token=0)
        with pytest.raises(TypeError, match="tree must be a kexue.PrefixTree"):
            constrained_beam_search(constant_step([0.0]), [[1]], end_token=0)
        with pytest.raises(TypeError, match="length_penalty must be a number"):
            constrained_beam_search(constant_step([0.0]), self.tree, end_token=0, length_penalty="1")
        with pytest.raises(TypeError, match="step must return an array without a mask"):
            constrained_beam_search(lambda p: np.ma.masked_less(np.zeros((1, 4)), 1), self.tree, end_token=0)
        with pytest.raises(TypeError, match="end_token must be an integer"):
            constrained_beam_search(constant_step([0.0]), self.tree, end_token="ab")
        with pytest.raises(kexue.KexueValueError, match="max_length must be given without a tree"):
            constrained_beam_search(constant_step([0.0]), None, end_token=0)
