"""log_esp and the combinatorial softmax: METHODS' values, enumeration, mpmath, extremes, invariants, bad input."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from kexue import KexueValueError, combinatorial_predict, combinatorial_softmax_loss, log_esp
from reference.combinatorial_softmax import brute_force, exact, polynomial

S = np.array([1.2, -0.7, 0.3, 2.5, -1.4])


def log_binomial(n, k):
    return float(mpmath.log(mpmath.binomial(n, k)))


# ---- METHODS' values ----


def test_reference_values():
    expected = [2.867651823724422, 4.304342801553511, 4.627652009097753]
    np.testing.assert_allclose(log_esp(S, [1, 2, 3]), expected, rtol=4e-16)
    value, marginals = log_esp(S, 3, return_grad=True)
    assert value == pytest.approx(expected[2], rel=4e-16)
    expected = [0.8643003918649965, 0.3181752367019978, 0.6875234677685881, 0.9618417783185083, 0.16815912534590893]
    np.testing.assert_allclose(marginals, expected, rtol=1e-15)
    assert marginals.sum() == pytest.approx(3, rel=1e-15)


def test_reference_losses():
    assert combinatorial_softmax_loss(S, [1, 0, 0, 1, 1]) == pytest.approx(2.3276520090977537, rel=1e-15)
    loss, grad = combinatorial_softmax_loss(S, [1, 0, 0, 1, 0], max_labels=3, filler=0.5, return_grad=True)
    assert loss == pytest.approx(1.4226611176842123, rel=1e-15)
    # log Z of at most 3 is the loss of the set, put back.
    assert loss + 1.2 + 2.5 + 0.5 == pytest.approx(5.6226611176842125, rel=1e-15)
    assert grad.shape == (5,)


def test_where_newtons_identities_fail():
    # They give -2.06e24 for e_20 of 40 items near 1; it is about 1.13e18.
    scores = np.log(np.linspace(0.5, 1.5, 40))
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(s))) for s in scores]
        expected = mpmath.log(polynomial(weights, 20)[20])
    assert log_esp(scores, 20) == pytest.approx(float(expected), rel=4e-16)
    assert log_esp(np.zeros(40), 20) == pytest.approx(math.log(137846528820), rel=4e-16)


# ---- accuracy ----


def cases():
    rng = np.random.default_rng(8)
    for number in range(120):
        n = int(rng.integers(1, 11))
        scale = 10 ** rng.uniform(-2, 2.3)
        scores = rng.normal(size=n) * scale
        if number % 3 == 0:
            scores = np.round(scores / scale * 2) * scale  # ties
        filler = None if number % 2 else float(rng.choice([rng.normal() * scale, scores[0]]))
        yield scores, int(rng.integers(0, n + 1 + 4 * (filler is not None))), filler


@pytest.mark.parametrize(("scores", "k", "filler"), list(cases()))
def test_losses_and_marginals_of_the_best_set_to_the_last_digits(scores, k, filler):
    with mpmath.workdps(500):
        value, marginals = brute_force(scores, k, filler)
        chosen = combinatorial_predict(scores, k, filler=filler)
        linear = mpmath.fsum(mpmath.mpf(s) for s in scores[chosen].tolist())
        if filler is not None:
            linear += (k - int(chosen.sum())) * mpmath.mpf(filler)
        excess = value - linear
        left = [p - int(c) for p, c in zip(marginals, chosen, strict=True)]
    options = {} if filler is None else {"max_labels": k, "filler": filler}
    loss, grad = combinatorial_softmax_loss(scores, chosen, return_grad=True, **options)
    assert loss == pytest.approx(float(excess), rel=1e-13, abs=1e-300)
    np.testing.assert_allclose(grad, [float(p) for p in left], rtol=1e-13, atol=1e-300)
    if filler is None:
        assert log_esp(scores, k) == pytest.approx(float(value), rel=1e-15, abs=1e-15 * np.abs(scores).sum())


@pytest.mark.parametrize("filler", [None, 0.7])
@pytest.mark.parametrize(
    ("n", "k", "scale"), [(60, 20, 1), (90, 45, 0.01), (90, 60, 3), (150, 140, 1), (120, 60, 30), (200, 100, 0)]
)
def test_many_items_against_the_recursion(n, k, scale, filler):
    scores = np.random.default_rng(n).normal(size=n) * scale
    some = [0, n // 2, int(scores.argmax()), int(scores.argmin())]
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(s))) for s in scores]
        f = None if filler is None else mpmath.exp(mpmath.mpf(filler))

        def total(e, count):
            return e[count] if f is None else mpmath.fsum(e[j] * f ** (count - j) for j in range(count + 1))

        e = polynomial(weights, k)
        marginals = [
            weights[i] * total(polynomial(weights[:i] + weights[i + 1 :], k - 1), k - 1) / total(e, k) for i in some
        ]
        value = mpmath.log(total(e, k))
    targets = combinatorial_predict(scores, k, filler=filler)
    if filler is None:
        got, grad = log_esp(scores, k, return_grad=True)
    else:
        loss, grad = combinatorial_softmax_loss(scores, targets, max_labels=k, filler=filler, return_grad=True)
        got, grad = loss + scores[targets].sum() + (k - targets.sum()) * filler, grad + targets
    assert got == pytest.approx(float(value), rel=1e-14)
    np.testing.assert_allclose(grad[some], [float(p) for p in marginals], rtol=1e-13)
    assert grad.sum() == pytest.approx(k, rel=1e-13) if filler is None else grad.sum() < k


@pytest.mark.parametrize(("n", "k"), [(5000, 2500), (5000, 3), (5000, 4997), (20000, 300), (3000, 1)])
def test_equal_scores_count_sets(n, k):
    value, marginals = log_esp(np.full(n, 0.25), k, return_grad=True)
    assert value == pytest.approx(log_binomial(n, k) + k / 4, rel=1e-14)
    np.testing.assert_allclose(marginals, k / n, rtol=1e-12)


@pytest.mark.parametrize("filler", [None, -0.4, 3.0])
@pytest.mark.parametrize(("n", "k"), [(6, 3), (40, 25), (400, 150)])
def test_gradients_by_finite_differences(n, k, filler):
    rng = np.random.default_rng(n)
    scores, targets = rng.normal(size=n), np.arange(n) < k - (filler is not None)
    options = {} if filler is None else {"max_labels": k}

    def loss(s, f):
        return combinatorial_softmax_loss(s, targets, filler=f, **options)

    step = 1e-3 * np.eye(n)[: min(n, 40)]
    _, grad = combinatorial_softmax_loss(scores, targets, filler=filler, return_grad=True, **options)
    # The five-point rule: its error is of the step's fourth power.
    difference = [8 * (loss(scores + d, filler) - loss(scores - d, filler)) for d in step]
    difference = difference - np.array([loss(scores + 2 * d, filler) - loss(scores - 2 * d, filler) for d in step])
    np.testing.assert_allclose(grad[: len(step)], difference / 12e-3, atol=1e-8, rtol=0)
    if filler is not None:
        h = 1e-3
        by_filler = (8 * (loss(scores, filler + h) - loss(scores, filler - h))) / (12 * h)
        by_filler -= (loss(scores, filler + 2 * h) - loss(scores, filler - 2 * h)) / (12 * h)
        assert -grad.sum() == pytest.approx(by_filler, abs=1e-7)


# ---- extremes ----


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e4), (np.float64, 1e300)])
@pytest.mark.parametrize("kind", ["uniform", "signs", "equal", "one apart"])
def test_extreme_scores(dtype, size, kind):
    n, k = 5000, 2500
    rng = np.random.default_rng(3)
    scores = {
        "uniform": rng.uniform(-size, size, n),
        "signs": rng.permutation(np.repeat([size, -size], [1000, 4000])),
        "equal": np.full(n, -size),
        "one apart": np.r_[size, np.full(n - 1, -size)],
    }[kind].astype(dtype)
    value, marginals = log_esp(scores, k, return_grad=True)
    best = np.sort(scores.astype(np.float64))[::-1]
    free = np.count_nonzero(scores == best[k - 1])  # the choice is among these; the others are a matter of course
    ordinary = math.fsum(best[:k]) + log_binomial(free, k - np.count_nonzero(scores > best[k - 1]))
    assert value.dtype == marginals.dtype == dtype
    assert np.isfinite(marginals).all() and 0 <= marginals.min() and marginals.max() <= 1
    np.testing.assert_allclose(value, ordinary, rtol=1e-6 if dtype == np.float32 else 1e-14)
    assert marginals.sum(dtype=np.float64) == pytest.approx(k, rel=1e-7)


def test_a_set_that_outweighs_all_others_keeps_its_digits():
    scores = np.array([1000.0, 900.0, 800.0, 0.0])
    loss, grad = combinatorial_softmax_loss(scores, [1, 1, 0, 0], return_grad=True)
    assert loss == pytest.approx(math.exp(-100), rel=1e-14)
    np.testing.assert_allclose(grad, [-math.exp(-200), -math.exp(-100), math.exp(-100), 0], rtol=1e-13, atol=1e-300)
    assert combinatorial_softmax_loss(scores, [0, 0, 1, 1]) == pytest.approx(1100.0, rel=1e-15)


def test_degenerate_sizes():
    assert log_esp(S, 0) == 0
    assert log_esp(S, 5) == pytest.approx(S.sum(), rel=1e-15)
    np.testing.assert_array_equal(log_esp(S, 5, return_grad=True)[1], np.ones(5))
    value, grad = log_esp(S, 6, return_grad=True)
    assert value == -np.inf
    np.testing.assert_array_equal(grad, np.zeros(5))
    assert log_esp(np.zeros((2, 0)), 0).tolist() == [0, 0]
    assert log_esp(np.zeros((0, 4)), 2).shape == (0,)
    assert log_esp([3.0], 1) == 3
    assert combinatorial_softmax_loss(S, np.zeros(5)) == 0
    assert combinatorial_softmax_loss(S, np.zeros(5), max_labels=0) == 0
    assert combinatorial_softmax_loss(np.zeros((3, 0)), np.zeros((3, 0)), max_labels=2).tolist() == [0, 0, 0]
    # More places than labels: all sets count.
    expected = np.log1p(np.exp(S)).sum()
    for most in (5, 9, 10**15):
        assert combinatorial_softmax_loss(S, np.zeros(5), max_labels=most) == pytest.approx(expected, rel=1e-15)
    many = np.random.default_rng(7).normal(size=2000)
    loss, grad = combinatorial_softmax_loss(many, np.zeros(2000), max_labels=10**15, filler=0.5, return_grad=True)
    assert loss == pytest.approx(np.log1p(np.exp(many - 0.5)).sum(), rel=1e-14)
    np.testing.assert_allclose(grad, 1 / (1 + np.exp(0.5 - many)), rtol=1e-12)


def test_absent_items_take_no_part():
    with_absent = np.insert(S, [0, 2, 5], -np.inf)
    value, grad = log_esp(with_absent, 3, return_grad=True)
    expected, marginals = log_esp(S, 3, return_grad=True)
    assert value == expected
    present = np.isfinite(with_absent)
    np.testing.assert_array_equal(grad[present], marginals)
    np.testing.assert_array_equal(grad[~present], 0)
    assert log_esp(with_absent, 6) == -np.inf
    assert log_esp(np.full(4, -np.inf), 0) == 0
    scores, targets = np.where(present, with_absent, 7.0), np.zeros(8)
    targets[1] = 1
    np.testing.assert_array_equal(
        combinatorial_softmax_loss(scores, targets, mask=present, max_labels=3, return_grad=True)[1][~present], 0
    )
    # All masked: nothing but fillers.
    loss, grad = combinatorial_softmax_loss(S, np.zeros(5), mask=np.zeros(5, bool), max_labels=3, return_grad=True)
    assert loss == 0 and not grad.any()


# ---- invariants ----

real = st.floats(-30, 30, allow_subnormal=False)
rows = hnp.arrays(np.float64, st.integers(1, 40), elements=real)


@given(rows, st.data())
@settings(max_examples=150, deadline=None)
def test_order_shift_and_duality(scores, data):
    n = len(scores)
    k = data.draw(st.integers(0, n))
    value, marginals = log_esp(scores, k, return_grad=True)
    assert marginals.min() >= 0 and marginals.max() <= 1
    assert marginals.sum() == pytest.approx(k, rel=1e-12)
    near = {"rel": 1e-12, "abs": 1e-12 * (1 + np.abs(scores).sum())}
    permutation = np.array(data.draw(st.permutations(range(n))))
    permuted, others = log_esp(scores[permutation], k, return_grad=True)
    assert permuted == pytest.approx(value, **near)
    np.testing.assert_allclose(others, marginals[permutation], rtol=1e-11)
    assert log_esp(scores + 0.5, k) == pytest.approx(value + k / 2, **near)
    # e_k(x) = prod(x) e_{n-k}(1 / x), and who is in the one set is not in the other.
    dual, left = log_esp(-scores, n - k, return_grad=True)
    assert dual + scores.sum() == pytest.approx(value, **near)
    np.testing.assert_allclose(left, 1 - marginals, atol=1e-12)


@given(rows, st.integers(0, 45), real)
@settings(max_examples=100, deadline=None)
def test_at_most_k_is_the_sum_over_sizes(scores, most, filler):
    sizes = np.arange(min(most, len(scores)) + 1)
    terms = log_esp(scores[None, :], sizes) + (most - sizes) * filler
    expected = kexue.logsumexp(terms) - most * filler  # of the loss of the empty set
    loss = combinatorial_softmax_loss(scores, np.zeros(len(scores)), max_labels=most, filler=filler)
    assert loss == pytest.approx(expected, rel=1e-11, abs=1e-11 * (1 + np.abs(terms).max() + most * abs(filler)))


@given(rows, st.data())
@settings(max_examples=100, deadline=None)
def test_losses_are_not_negative_and_least_for_the_prediction(scores, data):
    k = data.draw(st.integers(0, len(scores)))
    chosen = combinatorial_predict(scores, k)
    assert chosen.sum() == k
    loss = combinatorial_softmax_loss(scores, chosen)
    other = np.array(data.draw(st.permutations(chosen.tolist())))
    assert 0 <= loss <= combinatorial_softmax_loss(scores, other) + 1e-12 * np.abs(scores).sum()
    assert (scores[chosen].min() if k else np.inf) >= (scores[~chosen].max() if k < len(scores) else -np.inf)


# ---- shapes, dtypes, workers ----


def test_batches_axes_and_layouts():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(4, 7, 3))
    value, grad = log_esp(scores, 3, axis=1, return_grad=True)
    assert value.shape == (4, 3) and grad.shape == scores.shape
    for i in range(4):
        for j in range(3):
            one, own = log_esp(scores[i, :, j], 3, return_grad=True)
            assert value[i, j] == one
            np.testing.assert_array_equal(grad[i, :, j], own)
    np.testing.assert_array_equal(log_esp(scores[::-1, :, ::2], 3, axis=1), value[::-1, ::2])
    np.testing.assert_array_equal(log_esp(scores.astype(">f8"), 3, axis=-2), value)
    orders = log_esp(scores[:, None], np.arange(5)[:, None], axis=-2)
    assert orders.shape == (4, 5, 3)
    np.testing.assert_array_equal(orders[:, 3], value)
    assert isinstance(log_esp(S, 2), np.float64)
    assert log_esp([1, 2, 3], 2).dtype == np.float64


def test_a_size_and_a_filler_for_each_row():
    scores = np.random.default_rng(2).normal(size=(6, 9))
    counts = np.array([0, 1, 4, 9, 10, 2])
    value, grad = log_esp(scores, counts, return_grad=True)
    for row, k, one, own in zip(scores, counts, value, grad, strict=True):
        expected, marginals = log_esp(row, k, return_grad=True)
        assert one == expected
        np.testing.assert_array_equal(own, marginals)
    targets, fillers = np.eye(6, 9), np.linspace(-2, 2, 6)
    losses = combinatorial_softmax_loss(scores, targets, max_labels=3, filler=fillers)
    for row, target, filler, loss in zip(scores, targets, fillers, losses, strict=True):
        assert combinatorial_softmax_loss(row, target, max_labels=3, filler=float(filler)) == loss
    assert combinatorial_softmax_loss(scores, targets, max_labels=3, filler=fillers[:2, None]).shape == (2, 6)


def test_float32():
    scores = np.random.default_rng(5).normal(size=(30, 50)).astype(np.float32) * 3
    value, grad = log_esp(scores, 7, return_grad=True)
    wide, wide_grad = log_esp(scores.astype(np.float64), 7, return_grad=True)
    assert value.dtype == grad.dtype == np.float32
    np.testing.assert_array_equal(value, wide.astype(np.float32))
    np.testing.assert_array_equal(grad, wide_grad.astype(np.float32))
    assert combinatorial_softmax_loss(scores, np.zeros((30, 50)), max_labels=2, filler=0.5).dtype == np.float32
    assert combinatorial_softmax_loss(scores, np.zeros((30, 50)), max_labels=2, filler=np.zeros(30)).dtype == np.float64


def test_any_number_of_workers_gives_the_same_bits():
    scores = np.random.default_rng(6).normal(size=(700, 90)) * 2
    expected = log_esp(scores, 30, return_grad=True, workers=1)
    for workers in (2, 5):
        for one, other in zip(expected, log_esp(scores, 30, return_grad=True, workers=workers), strict=True):
            np.testing.assert_array_equal(one, other)


def test_inputs_are_left_alone():
    scores, targets = S.copy(), np.array([1, 0, 0, 1, 0])
    scores.flags.writeable = targets.flags.writeable = False
    combinatorial_softmax_loss(scores, targets, max_labels=2, return_grad=True, mask=[True] * 4 + [False])
    np.testing.assert_array_equal(scores, S)


def test_predictions():
    assert combinatorial_predict(S, 2).tolist() == [True, False, False, True, False]
    assert combinatorial_predict(S, 4, filler=0.5).tolist() == [True, False, False, True, False]
    assert combinatorial_predict(S, 1, filler=0.5).tolist() == [False, False, False, True, False]
    assert combinatorial_predict(S, 2, mask=[True, True, True, False, True]).tolist() == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert combinatorial_predict([1.0, 1.0, 1.0], 2).tolist() == [True, True, False]
    assert combinatorial_predict([-np.inf, 1.0], 2).tolist() == [False, True]
    scores = np.random.default_rng(4).normal(size=(3, 6, 2))
    chosen = combinatorial_predict(scores, [[1], [2], [3]], axis=1)
    np.testing.assert_array_equal(chosen.sum(axis=1), [[1, 1], [2, 2], [3, 3]])


# ---- bad input ----


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: log_esp([[1.0, 2.0], [3.0, np.nan]], 1), KexueValueError, r"scores\[1, 1\] is nan"),
        (lambda: log_esp([1.0, np.inf], 1), KexueValueError, r"scores\[1\] is inf"),
        (lambda: log_esp(1.0, 1), KexueValueError, "scores must have at least 1 dimension"),
        (lambda: log_esp(["a"], 1), TypeError, "scores must hold real numbers"),
        (lambda: log_esp(S, -1), KexueValueError, "k must be at least 0, got -1"),
        (lambda: log_esp(S, [1, -2]), KexueValueError, r"k\[1\] is -2"),
        (lambda: log_esp(S, 1.5), TypeError, "k must be an integer"),
        (lambda: log_esp(S, True), TypeError, "k must be an integer"),
        (lambda: log_esp([S, S], np.ma.masked_array([1, 2], mask=[0, 1])), TypeError, "k is a masked array"),
        (lambda: log_esp(S, [[1], [1, 2]]), KexueValueError, "k is not an array of one shape"),
        (lambda: log_esp([[0.0] * 3, [1e308] * 3], 2), OverflowError, "scores in row 1 is beyond float64"),
        (lambda: log_esp([-1e308] * 3, 2), OverflowError, "the sum of scores is beyond float64"),
        (lambda: log_esp([[-1e308] * 3] * 2, [4, 3]), OverflowError, "in row 1 is beyond float64"),
        (lambda: log_esp(np.float32([3e38] * 2), 2), OverflowError, "beyond float32"),
        (lambda: combinatorial_softmax_loss([1.5e308, -1.5e308], [0, 1]), OverflowError, "beyond float64"),
        (lambda: combinatorial_softmax_loss(S, np.ma.masked_all(5)), TypeError, "^targets is a masked array"),
        (lambda: combinatorial_softmax_loss(S, [[1], [0, 1]]), KexueValueError, "^targets is not an array"),
        (lambda: combinatorial_softmax_loss(S, [1] * 5, mask=[[True], []]), KexueValueError, "^mask is not an array"),
        (lambda: log_esp(np.zeros((3, 4)), [1, 2]), KexueValueError, r"k has shape \(2,\)"),
        (lambda: log_esp(S, 1, axis=1), KexueValueError, "axis 1 is out of bounds for scores"),
        (
            lambda: combinatorial_softmax_loss(S, [1, 0, 2, 0, 0]),
            KexueValueError,
            r"targets\[2\] is 2, but must be 0 or 1",
        ),
        (lambda: combinatorial_softmax_loss(S, [1, 0, np.nan, 0, 0]), KexueValueError, r"targets\[2\] is nan"),
        (lambda: combinatorial_softmax_loss(S, [1, 0]), KexueValueError, r"targets has shape \(2,\)"),
        (lambda: combinatorial_softmax_loss(S, ["a"] * 5), TypeError, "targets must hold zeros and ones"),
        (
            lambda: combinatorial_softmax_loss([[0.0, -np.inf]], [[0, 1]]),
            KexueValueError,
            r"targets\[0, 1\] is True where the score is masked",
        ),
        (
            lambda: combinatorial_softmax_loss(S, [0, 0, 0, 1, 0], mask=[1, 1, 1, 0, 1]),
            TypeError,
            "mask must be boolean",
        ),
        (
            lambda: combinatorial_softmax_loss(S, [0, 0, 0, 1, 0], mask=np.array([1, 1, 1, 0, 1], bool)),
            KexueValueError,
            r"targets\[3\] is True where the score is masked",
        ),
        (
            lambda: combinatorial_softmax_loss(S, np.eye(5)[0], mask=[True, False]),
            KexueValueError,
            r"mask has shape \(2,\)",
        ),
        (
            lambda: combinatorial_softmax_loss(np.zeros((2, 3)), [[0, 0, 0], [1, 1, 0]], max_labels=1),
            KexueValueError,
            r"targets\[1\] has 2 ones, more than max_labels = 1",
        ),
        (lambda: combinatorial_softmax_loss(S, np.zeros(5), filler=1.0), KexueValueError, "filler needs max_labels"),
        (
            lambda: combinatorial_softmax_loss(S, np.zeros(5), max_labels=2, filler=-np.inf),
            KexueValueError,
            "filler is -inf",
        ),
        (
            lambda: combinatorial_softmax_loss(S, np.zeros(5), max_labels=-1),
            KexueValueError,
            "max_labels must be at least 0",
        ),
        (
            lambda: combinatorial_softmax_loss(S, np.zeros(5), max_labels=2.0),
            TypeError,
            "max_labels must be an integer",
        ),
        (
            lambda: combinatorial_softmax_loss(np.zeros((3, 2)), np.zeros((3, 2)), max_labels=1, filler=[0.0, 1.0]),
            KexueValueError,
            r"filler has shape \(2,\)",
        ),
        (
            lambda: combinatorial_softmax_loss([np.nan, 1.0], [0, 0], max_labels=1),
            KexueValueError,
            r"scores\[0\] is nan",
        ),
        (lambda: combinatorial_predict([np.nan, 1.0], 1), KexueValueError, r"scores\[0\] is nan"),
    ],
)
def test_bad_input(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_names_are_public():
    for name in ("combinatorial_predict", "combinatorial_softmax_loss", "log_esp"):
        assert getattr(kexue, name) is getattr(kexue.losses, name)


def test_the_reference_agrees_with_itself():
    for filler in (None, 0.3):
        value, marginals = exact(S, 3, filler)
        expected, shares = brute_force(S, 3, filler)
        assert float(value) == pytest.approx(float(expected), rel=1e-14)
        np.testing.assert_allclose([float(p) for p in marginals], [float(p) for p in shares], rtol=1e-14)
