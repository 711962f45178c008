"""Decisions from next-sentence scores, beside their definitions written out, and the example."""

import math
import os
import runpy
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf

import kexue
from kexue import apply_thresholds, candidates_contrast, grouped_argmax, nsp_scores, samples_contrast

EXAMPLE = Path(__file__).parents[2] / "examples" / "next_sentence.py"

# Few different values, so that ties are frequent; floats with both zeros and infinities.
scores_with_ties = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=30)
any_scores = st.lists(st.floats(allow_nan=False), min_size=1, max_size=30)


class TestScores:
    def test_definition(self):
        logits = np.array([[2.0, 0.0], [0.0, 2.0], [0.3, 0.3]])
        expected = np.exp(logits[:, 0]) / np.exp(logits).sum(axis=1)
        np.testing.assert_allclose(nsp_scores(logits), expected, rtol=1e-15)
        np.testing.assert_allclose(nsp_scores(logits, is_next=1), 1 - expected, rtol=1e-15)

    def test_accuracy(self, dtype, rng):
        logits = (rng.normal(size=(300, 2)) * rng.choice([0.01, 1, 30], size=(300, 1))).astype(dtype)
        result = nsp_scores(logits)
        assert result.dtype == dtype
        with mp.workdps(40):
            for score, (is_next, not_next) in zip(result, logits.tolist(), strict=True):
                exact = 1 / (1 + mp.exp(mpf(not_next) - mpf(is_next)))
                # Rounding of the difference, of which up to 150 times is felt where the score is tiny.
                felt = 2 + (abs(is_next - not_next) if dtype == np.float64 else 0)
                bound = felt * np.finfo(dtype).eps * exact + float(np.finfo(dtype).smallest_subnormal)
                assert abs(mpf(float(score)) - exact) <= bound

    @pytest.mark.parametrize("size", [1e4, 1e38])
    def test_extremes(self, dtype, size):
        logits = np.array([[size, -size], [-size, size], [size, size]], dtype=dtype)
        with np.errstate(all="raise"):
            assert nsp_scores(logits).tolist() == [1, 0, 0.5]

    def test_largest_floats_and_infinities(self):
        largest = np.finfo(np.float64).max
        logits = [[largest, -largest], [-largest, largest], [math.inf, 0], [0, math.inf], [math.inf, -math.inf]]
        with np.errstate(all="raise"):
            assert nsp_scores(logits).tolist() == [1, 0, 1, 0, 1]

    def test_shapes(self, rng):
        logits = rng.normal(size=(3, 4, 2))
        result = nsp_scores(logits)
        assert result.shape == (3, 4)
        one = nsp_scores(logits[1, 2])
        assert isinstance(one, np.float64) and one == result[1, 2]
        assert nsp_scores(np.empty((0, 2))).shape == (0,)

    def test_layouts(self, any_layout, plain, untouched, dtype, rng):
        logits = any_layout(rng.normal(size=(5, 2)).astype(dtype))
        if logits.shape[-1] == 2:
            with untouched(logits):
                result = nsp_scores(logits)
            np.testing.assert_array_equal(result, nsp_scores(plain(logits)))
        else:
            with pytest.raises(kexue.KexueValueError, match="length 2"):
                nsp_scores(logits)

    @pytest.mark.parametrize(
        ("logits", "message"),
        [
            ([[0.0, 1.0], [2.0, math.nan]], r"logits\[1, 1\] is nan"),
            ([[0.0, 1.0], [math.inf, math.inf]], r"^logits\[1, 0\] and logits\[1, 1\] are both inf; logits has shape"),
            ([-math.inf, -math.inf], r"^logits\[0\] and logits\[1\] are both -inf; logits has shape \(2,\)"),
            ([[0.0, 1.0, 2.0]], r"length 2, but its shape is \(1, 3\)"),
            (1.0, "length 2"),
        ],
    )
    def test_bad_logits(self, logits, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            nsp_scores(logits)

    def test_bad_column(self):
        with pytest.raises(kexue.KexueValueError, match="is_next must be at most 1"):
            nsp_scores([[0.0, 1.0]], is_next=2)
        with pytest.raises(TypeError, match="is_next"):
            nsp_scores([[0.0, 1.0]], is_next=True)
        with pytest.raises(TypeError, match="logits"):
            nsp_scores([["0", "1"]])


class TestCandidates:
    def test_first_of_ties(self):
        labels = candidates_contrast([[0.1, 0.9, 0.9], [0.5, 0.5, 0.1], [-math.inf, -math.inf, -math.inf]])
        assert labels.dtype == np.int64
        assert labels.tolist() == [1, 0, 0]

    @given(st.lists(st.lists(st.integers(-2, 2), min_size=3, max_size=3), min_size=1, max_size=20))
    def test_is_the_first_of_the_best(self, rows):
        assert candidates_contrast(rows).tolist() == [row.index(max(row)) for row in rows]

    def test_shapes(self, dtype, rng):
        scores = rng.random((4, 5, 3)).astype(dtype)
        labels = candidates_contrast(scores)
        assert labels.shape == (4, 5)
        assert isinstance(candidates_contrast(scores[1, 2]), np.int64)
        assert candidates_contrast(scores[1, 2]) == labels[1, 2]
        assert candidates_contrast(np.empty((0, 3))).shape == (0,)

    def test_layouts(self, any_layout, plain, untouched, rng):
        scores = any_layout(rng.random((5, 7)))
        with untouched(scores):
            labels = candidates_contrast(scores)
        np.testing.assert_array_equal(labels, candidates_contrast(plain(scores)))

    def test_bad_scores(self):
        with pytest.raises(kexue.KexueValueError, match=r"scores\[1, 0\] is nan"):
            candidates_contrast([[0.0, 1.0], [math.nan, 2.0]])
        with pytest.raises(kexue.KexueValueError, match=r"one label at least, but its shape is \(2, 0\)"):
            candidates_contrast(np.empty((2, 0)))
        with pytest.raises(kexue.KexueValueError, match="one label at least"):
            candidates_contrast(1.0)


def ranked_labels(scores, proportions):
    """The definition: a stable sort, and one label after the other."""
    used = [label for label, share in enumerate(proportions) if share > 0]
    total = sum(map(Fraction, proportions))
    sizes = [math.floor(len(scores) * Fraction(share) / total) for share in proportions]
    sizes[used[-1]] += len(scores) - sum(sizes)
    order = sorted(range(len(scores)), key=scores.__getitem__)
    labels, thresholds, place = [0] * len(scores), [], 0
    for label, size in enumerate(sizes):
        for index in order[place : place + size]:
            labels[index] = label
        place += size
        thresholds.append(scores[order[place - 1]] if place else -math.inf)
    return labels, thresholds[:-1]


class TestSamples:
    def test_value_of_methods(self):
        scores = [0.9, 0.2, 0.5, 0.7, 0.1, 0.95, 0.6, 0.3]
        labels, thresholds = samples_contrast(scores, 2)
        assert labels.tolist() == [1, 0, 0, 1, 0, 1, 1, 0]
        assert thresholds.tolist() == [0.5]

    @given(scores_with_ties | any_scores, st.data())
    def test_is_a_stable_sort_that_is_cut(self, scores, data):
        n_labels = data.draw(st.integers(1, len(scores)))
        shares = data.draw(st.lists(st.integers(0, 5), min_size=n_labels, max_size=n_labels).filter(any))
        for proportions, written_out in ((n_labels, [1] * n_labels), (shares, shares)):
            result = samples_contrast(scores, proportions)
            labels, thresholds = ranked_labels(scores, written_out)
            assert result.labels.tolist() == labels
            assert result.thresholds.tolist() == thresholds

    @given(st.lists(st.floats(allow_nan=False), min_size=3, max_size=30, unique=True), st.integers(1, 3))
    def test_thresholds_give_the_same_labels(self, scores, n_labels):
        result = samples_contrast(scores, n_labels)
        assert apply_thresholds(scores, result.thresholds).tolist() == result.labels.tolist()

    def test_ties_at_a_cut(self):
        result = samples_contrast([0.5, 0.5, 0.5, 0.5], 2)
        assert result.labels.tolist() == [0, 0, 1, 1]
        assert apply_thresholds([0.5, 0.5, 0.5, 0.5], result.thresholds).tolist() == [0, 0, 0, 0]

    def test_remainder_goes_to_the_last_label(self):
        assert np.bincount(samples_contrast(np.arange(11.0), 3).labels).tolist() == [3, 3, 5]
        assert np.bincount(samples_contrast(np.arange(11.0), [1, 1, 0]).labels).tolist() == [5, 6]

    @pytest.mark.parametrize("share", range(1, 100))
    def test_shares_that_are_not_exact(self, share):
        sizes = np.bincount(samples_contrast(np.arange(100.0), [share / 100, 1 - share / 100]).labels)
        assert sizes.tolist() == [share, 100 - share]

    def test_shares_counts_and_labels_agree(self, rng):
        scores = rng.random(1000)
        expected = samples_contrast(scores, 4).labels
        for proportions in ([0.25] * 4, [7, 7, 7, 7], np.full(4, 1e308), np.full(4, 1e-310)):
            np.testing.assert_array_equal(samples_contrast(scores, proportions).labels, expected)

    def test_labels_without_scores(self):
        result = samples_contrast([0.1, 0.2, 0.3, 0.4], [0, 0.5, 0, 0.5, 0])
        assert result.labels.tolist() == [1, 1, 3, 3]
        assert result.thresholds.tolist() == [-math.inf, 0.2, 0.2, 0.4]
        assert apply_thresholds([0.1, 0.2, 0.3, 0.4], result.thresholds).tolist() == [1, 1, 3, 3]
        assert apply_thresholds([0.0, 0.25, 9.0], result.thresholds).tolist() == [1, 3, 4]

    def test_one_label(self):
        labels, thresholds = samples_contrast([0.3, 0.1], 1)
        assert labels.tolist() == [0, 0]
        assert thresholds.shape == (0,)

    def test_layouts(self, layout, plain, untouched, dtype, rng):
        scores = layout(rng.random(20).astype(dtype))
        with untouched(scores):
            result = samples_contrast(scores, 3)
        expected = samples_contrast(plain(scores), 3)
        assert result.thresholds.dtype == dtype
        np.testing.assert_array_equal(result.labels, expected.labels)
        np.testing.assert_array_equal(result.thresholds, expected.thresholds)

    @pytest.mark.parametrize(
        ("scores", "proportions", "message"),
        [
            ([0.1, math.nan], 2, r"scores\[1\] is nan"),
            ([[0.1, 0.2]], 2, "scores must have 1 dimension"),
            ([0.1, 0.2], 3, "scores has 2 entries, fewer than the 3 labels"),
            ([0.1, 0.2], 10**15, "scores has 2 entries, fewer than the 1000000000000000 labels"),
            ([0.1, 0.2], [1, 1, 1], "scores has 2 entries, fewer than the 3 labels"),
            ([], 1, "scores has 0 entries, fewer than the 1 labels"),
            ([0.1, 0.2], 0, "proportions must be at least 1"),
            ([0.1, 0.2], [0.5, -0.5], r"proportions\[1\] is negative"),
            ([0.1, 0.2], [0.5, math.inf], r"proportions\[1\] is inf"),
            ([0.1, 0.2], [0.0, 0.0], "proportions must have an entry above 0"),
            ([0.1, 0.2], [], "proportions must have an entry above 0"),
            ([0.1, 0.2], [[1, 1]], "proportions must have 1 dimension"),
        ],
    )
    def test_bad_input(self, scores, proportions, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            samples_contrast(scores, proportions)

    def test_proportions_of_a_wrong_type(self):
        with pytest.raises(TypeError, match="proportions"):
            samples_contrast([0.1, 0.2], 2.0)

    def test_result_cannot_be_changed(self):
        result = samples_contrast([0.1, 0.2])
        assert isinstance(result, kexue.SamplesContrastResult)
        with pytest.raises(AttributeError):
            result.labels = None


class TestThresholds:
    @given(any_scores | scores_with_ties, st.lists(st.floats(allow_nan=False) | st.just(1.0), max_size=5).map(sorted))
    def test_counts_the_thresholds_below(self, scores, thresholds):
        labels = apply_thresholds(scores, thresholds)
        assert labels.dtype == np.int64
        assert labels.tolist() == [sum(threshold < score for threshold in thresholds) for score in scores]

    def test_shapes_and_mixed_types(self):
        # 0.1 as float32 is above 0.1, and is compared as the number that it is.
        assert apply_thresholds(np.array([[0.1, 0.0]], dtype=np.float32), [0.1]).tolist() == [[1, 0]]
        assert isinstance(apply_thresholds(0.7, [0.5]), np.int64)
        assert apply_thresholds([], [0.5]).shape == (0,)

    def test_layouts(self, any_layout, plain, untouched, dtype, rng):
        scores = any_layout(rng.random((4, 5)).astype(dtype))
        with untouched(scores):
            labels = apply_thresholds(scores, [0.3, 0.6])
        np.testing.assert_array_equal(labels, apply_thresholds(plain(scores), [0.3, 0.6]))

    @pytest.mark.parametrize(
        ("scores", "thresholds", "message"),
        [
            ([[0.1, math.nan]], [0.5], r"scores\[0, 1\] is nan"),
            ([0.1], [0.5, math.nan], r"thresholds\[1\] is nan"),
            ([0.1], [0.5, 0.7, 0.6], r"thresholds\[2\] is 0.6, below thresholds\[1\], which is 0.7"),
            ([0.1], 0.5, "thresholds must have 1 dimension"),
        ],
    )
    def test_bad_input(self, scores, thresholds, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            apply_thresholds(scores, thresholds)


def best_of_each(scores, groups):
    best = {}
    for index, (score, group) in enumerate(zip(scores, groups, strict=True)):
        if group not in best or score > scores[best[group]]:
            best[group] = index
    return list(best.values())


class TestGroups:
    @given(
        st.lists(
            st.tuples(st.floats(allow_nan=False) | st.sampled_from([0.0, -math.inf]), st.integers(-4, 4)), max_size=30
        )
    )
    def test_every_kind_of_id(self, pairs):
        scores, groups = [score for score, _ in pairs], [group for _, group in pairs]
        expected = best_of_each(scores, groups)
        kinds = [
            groups,
            np.array(groups, dtype=np.int64),
            np.array(groups, dtype=np.int8),
            np.array(groups, dtype=">i4"),
            np.array(groups, dtype=np.int64) * 2**60,
            np.array([group + 4 for group in groups], dtype=np.uint64) + np.uint64(2**64 - 9),
            np.array(groups, dtype=np.float64),
            np.array(groups).astype(str),
            np.array([f"id {group}" for group in groups], dtype=object),
            [("mention", group) for group in groups],
            np.array(groups, dtype="datetime64[D]"),
        ]
        for kind in kinds:
            result = grouped_argmax(scores, kind)
            assert result.dtype == np.int64
            assert result.tolist() == expected

    def test_ids_at_both_ends_of_a_type(self):
        assert grouped_argmax(np.arange(100.0), np.repeat(np.array([127, -128], dtype=np.int8), 50)).tolist() == [
            49,
            99,
        ]
        ends = np.array([2**63 - 1, -(2**63)])
        assert grouped_argmax([1.0, 2.0, 3.0], ends[[0, 1, 0]]).tolist() == [2, 1]

    def test_groups_of_the_result(self):
        groups = np.array(["b", "a", "b", "c", "a"])
        best = grouped_argmax([0.1, 0.5, 0.3, 0.2, 0.4], groups)
        assert groups[best].tolist() == ["b", "a", "c"]
        assert best.tolist() == [2, 1, 3]

    def test_many_ties(self, dtype, rng):
        scores = rng.integers(0, 5, 5000).astype(dtype)
        groups = rng.integers(0, 300, 5000)
        assert grouped_argmax(scores, groups).tolist() == best_of_each(scores.tolist(), groups.tolist())

    def test_layouts(self, layout, plain, untouched, dtype, rng):
        scores, groups = layout(rng.random(20).astype(dtype)), layout(rng.integers(0, 6, 20) / 2)
        with untouched(scores, groups):
            result = grouped_argmax(scores, groups)
        np.testing.assert_array_equal(result, grouped_argmax(plain(scores), groups.tolist()))

    @pytest.mark.parametrize(
        ("scores", "groups", "message"),
        [
            ([0.1, math.nan], [0, 0], r"scores\[1\] is nan"),
            ([0.1, 0.2], [0], "groups has 1 entries, but scores has 2"),
            ([0.1, 0.2], np.zeros((2, 1), dtype=int), "groups must have 1 dimension"),
            ([0.1, 0.2], [0.5, math.nan], r"groups\[1\] is nan"),
            ([0.1, 0.2], np.array([math.nan, 1]), r"groups\[0\] is nan"),
            ([[0.1, 0.2]], [0], "scores must have 1 dimension"),
        ],
    )
    def test_bad_input(self, scores, groups, message):
        with pytest.raises(kexue.KexueValueError, match=message):
            grouped_argmax(scores, groups)

    def test_ids_that_cannot_be_hashed(self):
        with pytest.raises(TypeError, match="groups must hold hashable ids"):
            grouped_argmax([0.1, 0.2], [[1], [2]])
        for groups in (None, 7, iter("ab")):
            with pytest.raises(TypeError, match="^groups must be a sequence of ids, not "):
                grouped_argmax([0.1, 0.2], groups)


# ---- the example ----


def test_example():
    """Better than guessing in every task, by about half of what the docstrings of Python 3.11 give."""
    result = runpy.run_path(str(EXAMPLE))["measure"]()
    assert len(result) == 5
    for task, (accuracy, guessed) in result.items():
        assert accuracy > guessed + 0.04, task
    assert result["does it follow?"][0] > 0.65
    assert result["which topic?"][0] > 0.5
    assert result["which of ten follows?"][0] > 0.35

    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=True, env=environment)
    printed = [line.split()[-2:] for line in done.stdout.splitlines()[1:]]
    assert printed == [[f"{accuracy:.3f}", f"{guessed:.3f}"] for accuracy, guessed in result.values()]
