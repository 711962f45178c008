import mpmath
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kexue
from reference import losses as reference
from reference.ulp import ulp_error

S = [1.2, -0.7, 0.3, 2.5, -1.4]
T = [1, 0, 0, 1, 1]
GRADIENT = [-0.05538206584754456, 0.17445812542332098, 0.47422635216524245, -0.015093373707359074, -0.7456496264085539]
LENGTHS = [1, 2, 5, 8, 16, 17, 40, 129]
INF, NAN = np.inf, np.nan


def numeric_gradient(loss, x, step=1e-5):
    """By central differences of the loss of a float64 array, each entry in turn; fourth order."""
    grad = np.empty_like(x)
    for place in np.ndindex(x.shape):
        values = []
        for k in (-2, -1, 1, 2):
            moved = x.copy()
            moved[place] += k * step
            values.append(float(loss(moved)))
        grad[place] = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * step)
    return grad


# ---- reference values ----


def test_reference_values():
    loss, grad = kexue.zlpr_loss(S, T, return_grad=True)
    assert abs(loss - 2.7395699938589617) < 1e-15
    np.testing.assert_allclose(grad, GRADIENT, rtol=1e-15)
    loss, grad = kexue.zlpr_loss(S, T, threshold=0.5, return_grad=True)
    assert abs(loss - 2.8697802978585125) < 1e-15
    assert abs(-grad.sum() - 0.3514909285339485) < 1e-15
    assert abs(kexue.zlpr_loss(S, [0.9, 0.1, 0.3, 0.6, 0]) - 2.6158274353216857) < 1e-15
    assert abs(kexue.pairwise_rank_loss(S, T) - 2.218703765792881) < 1e-15
    assert abs(kexue.pairwise_rank_loss(S, T, gamma=2, margin=0.25) - 4.050405559745908) < 2e-15
    assert abs(kexue.zlpr_symmetric_kl([0.2, -1, 0.5], [0, 0.3, -0.4]) - 0.6061505157195346) < 2e-16


# ---- accuracy ----


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("scale", [0.01, 3, 18])
def test_accuracy_of_hard_targets(n, scale, dtype, rng):
    scores = (rng.standard_normal((3, n)) * scale).clip(-59, 59).astype(dtype)
    targets = rng.random((3, n)) < 0.2
    losses, grads = kexue.zlpr_loss(scores, targets, return_grad=True)
    assert losses.dtype == grads.dtype == dtype
    for row, labels, loss, grad in zip(scores, targets, losses, grads, strict=True):
        exact, slopes, _ = reference.zlpr(row, labels)
        assert ulp_error(loss, exact) <= 4
        assert max(map(ulp_error, grad, slopes)) <= 8


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("smoothing", [0, 0.25])
def test_accuracy_of_soft_targets(n, smoothing, dtype, rng):
    scores = (rng.standard_normal((3, n)) * 4).astype(dtype)
    targets = rng.random((3, n)).astype(dtype)
    losses, grads = kexue.zlpr_loss(scores, targets, label_smoothing=smoothing, return_grad=True)
    for row, shares, loss, grad in zip(scores, targets, losses, grads, strict=True):
        exact, slopes, _ = reference.zlpr(row, shares, label_smoothing=smoothing)
        assert ulp_error(loss, exact) <= 4
        assert max(abs(got - want) for got, want in zip(grad, slopes, strict=True)) <= 8 * np.finfo(dtype).eps


def test_accuracy_of_large_scores(dtype, rng):
    scores = rng.uniform(-600, 600, size=(5, 30)).astype(dtype)
    targets = rng.random((5, 30)) < 0.3
    losses, grads = kexue.zlpr_loss(scores, targets, return_grad=True)
    for row, labels, loss, grad in zip(scores, targets, losses, grads, strict=True):
        exact, slopes, _ = reference.zlpr(row, labels)
        assert ulp_error(loss, exact) <= 4
        np.testing.assert_allclose(grad, np.array(slopes, dtype=float), rtol=0, atol=4 * np.finfo(dtype).eps)


def test_accuracy_of_thresholds(rng):
    scores, targets = rng.standard_normal((4, 9)) * 3, rng.random((4, 9)) < 0.4
    levels = rng.standard_normal(4)
    losses, grads = kexue.zlpr_loss(scores, targets, threshold=levels, return_grad=True)
    for row, labels, level, loss, grad in zip(scores, targets, levels, losses, grads, strict=True):
        exact, slopes, slope = reference.zlpr(row, labels, level)
        assert abs(loss - float(exact)) < 1e-15 * 8
        np.testing.assert_allclose(grad, np.array(slopes, dtype=float), rtol=4e-15)
        assert abs(-grad.sum() - float(slope)) < 1e-15


@pytest.mark.parametrize("gamma", [0.5, 1, 4])
@pytest.mark.parametrize("n", [2, 5, 17, 40])
def test_accuracy_of_pairs(gamma, n, dtype, rng):
    scores = (rng.standard_normal((3, n)) * 3).astype(dtype)
    targets = rng.random((3, n)) < 0.4
    for row, labels in zip(scores, targets, strict=True):
        exact = float(reference.pairwise_rank(row, labels, gamma, 0.25))
        room = np.finfo(dtype).eps * (8 + 4 * gamma * (np.abs(row).max() + 0.25))
        assert abs(kexue.pairwise_rank_loss(row, labels, gamma=gamma, margin=0.25) - exact) <= room * min(1, exact)


@pytest.mark.parametrize("distance", [1e-9, 1e-3, 1, 30])
def test_accuracy_of_divergences(distance, dtype, rng):
    s = rng.standard_normal((4, 21)).astype(dtype) * 4
    t = (s + distance * rng.standard_normal(s.shape)).astype(dtype)
    for a, b, value in zip(s, t, kexue.zlpr_symmetric_kl(s, t), strict=True):
        assert ulp_error(value, reference.symmetric_kl(a, b)) <= 8
    assert (kexue.zlpr_symmetric_kl(s, s) == 0).all()


@pytest.mark.parametrize("n", [1, 3, 40])
def test_accuracy_of_probabilities(n, dtype, rng):
    scores = (rng.standard_normal(n) * 5).astype(dtype)
    for score, p in zip(scores, kexue.zlpr_probability(scores), strict=True):
        with mpmath.workdps(40):
            exact = 1 / (1 + mpmath.exp(-2 * mpmath.mpf(float(score))))
        assert ulp_error(p, exact) <= 4


# ---- gradients ----


@pytest.mark.parametrize("kind", ["hard", "soft", "smooth", "masked"])
@pytest.mark.parametrize("scale", [1, 100])
def test_gradient_by_differences(kind, scale, rng):
    scores = rng.standard_normal((2, 6)) * scale
    targets = rng.random((2, 6)) if kind == "soft" else rng.random((2, 6)) < 0.4
    mask = rng.random((2, 6)) < 0.7 if kind == "masked" else None
    targets = targets if mask is None else targets & mask
    options = {"label_smoothing": 0.1 if kind == "smooth" else 0.0, "mask": mask, "threshold": [0.3, -0.2]}
    _, grad = kexue.zlpr_loss(scores, targets, return_grad=True, **options)
    numeric = numeric_gradient(lambda s: kexue.zlpr_loss(s, targets, **options).sum(), scores, 1e-3)
    np.testing.assert_allclose(grad, numeric, rtol=0, atol=1e-7)


def test_gradient_of_thresholds_by_differences(rng):
    scores, targets, levels = rng.standard_normal((3, 7)), rng.random((3, 7)), rng.standard_normal(3)
    _, grad = kexue.zlpr_loss(scores, targets, threshold=levels, return_grad=True)
    numeric = numeric_gradient(lambda x: kexue.zlpr_loss(scores, targets, threshold=x).sum(), levels, 1e-3)
    np.testing.assert_allclose(-grad.sum(axis=1), numeric, rtol=0, atol=1e-7)


@pytest.mark.parametrize("scale", [1, 50])
def test_gradient_of_pairs_by_differences(scale, rng):
    scores, targets = rng.standard_normal((2, 6)) * scale, np.array([[1, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]])
    options = {"gamma": 2.5, "margin": 0.1}
    _, grad = kexue.pairwise_rank_loss(scores, targets, return_grad=True, **options)
    numeric = numeric_gradient(lambda s: kexue.pairwise_rank_loss(s, targets, **options).sum(), scores, 2e-4)
    np.testing.assert_allclose(grad, numeric, rtol=0, atol=1e-7)
    np.testing.assert_allclose(grad.sum(axis=1), 0, atol=1e-14)


def test_gradients_of_the_divergence_by_differences(rng):
    s, t, mask = rng.standard_normal((2, 5)), rng.standard_normal((2, 5)), rng.random((2, 5)) < 0.7
    _, (by_s, by_t) = kexue.zlpr_symmetric_kl(s, t, mask=mask, return_grad=True)
    numeric = numeric_gradient(lambda x: kexue.zlpr_symmetric_kl(x, t, mask=mask).sum(), s, 1e-3)
    np.testing.assert_allclose(by_s, numeric, rtol=0, atol=1e-7)
    numeric = numeric_gradient(lambda x: kexue.zlpr_symmetric_kl(s, x, mask=mask).sum(), t, 1e-3)
    np.testing.assert_allclose(by_t, numeric, rtol=0, atol=1e-7)


def test_probabilities_are_stationary(rng):
    scores = rng.standard_normal((3, 8)) * 2
    targets = kexue.zlpr_probability(scores, threshold=0.3)
    _, grad = kexue.zlpr_loss(scores, targets, threshold=0.3, return_grad=True)
    np.testing.assert_allclose(grad, 0, atol=1e-15)
    moved = scores + rng.standard_normal(scores.shape) * 0.1
    assert (kexue.zlpr_loss(moved, targets, threshold=0.3) > kexue.zlpr_loss(scores, targets, threshold=0.3)).all()


# ---- extremes ----


def test_extreme_scores():
    loss, grad = kexue.zlpr_loss(np.float32([1e4, -1e4, 3]), [0, 1, 1], return_grad=True)
    assert loss.dtype == np.float32
    assert loss == 20000
    np.testing.assert_array_equal(grad, np.float32([1, -1, 0]))
    assert kexue.zlpr_loss(np.float32([1e4, -1e4]), [1, 0]) == 0
    loss, grad = kexue.zlpr_loss([1e300, -1e300, -INF], [0, 1, 0], return_grad=True)
    assert loss == 2e300
    np.testing.assert_array_equal(grad, [1, -1, 0])
    assert abs(kexue.zlpr_loss(np.float32([1e4, -1e4]), [0.25, 0.75]) - 20000 - np.log(0.75**2)) < 2e-3
    loss, grad = kexue.pairwise_rank_loss(np.float32([1e4, -1e4, 3]), [0, 1, 1], return_grad=True)
    assert loss == 20000
    np.testing.assert_array_equal(grad, np.float32([1, -1, 0]))
    assert kexue.zlpr_symmetric_kl(np.float32([1e4]), np.float32([-1e4])) == 20000
    np.testing.assert_array_equal(kexue.zlpr_probability([1e300, -1e300, INF]), [1, 0, 1])


def test_rows_without_some_kind(dtype):
    scores = np.array([0.5, -1.0, 2.0], dtype=dtype)
    none, every = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    close = {"rtol": 4 * np.finfo(dtype).eps}
    np.testing.assert_allclose(kexue.zlpr_loss(scores, none), np.log1p(np.exp(scores.astype(float)).sum()), **close)
    np.testing.assert_allclose(kexue.zlpr_loss(scores, every), np.log1p(np.exp(-scores.astype(float)).sum()), **close)
    for function in (kexue.zlpr_loss, kexue.pairwise_rank_loss):
        loss, grad = function(scores, none, mask=none, return_grad=True)
        assert loss == 0
        np.testing.assert_array_equal(grad, np.zeros(3, dtype))
        loss, grad = function(np.full(3, -INF, dtype), none, return_grad=True)
        assert loss == 0
        np.testing.assert_array_equal(grad, np.zeros(3, dtype))
    for targets in (none, every):
        loss, grad = kexue.pairwise_rank_loss(scores, targets, return_grad=True)
        assert loss == 0
        np.testing.assert_array_equal(grad, np.zeros(3, dtype))
    assert kexue.zlpr_symmetric_kl(scores, -scores, mask=none) == 0
    assert kexue.zlpr_symmetric_kl([-INF], [-INF]) == 0


def test_empty_inputs(dtype):
    loss, grad = kexue.zlpr_loss(np.empty((0, 4), dtype), np.empty((0, 4), bool), return_grad=True)
    assert loss.shape == (0,)
    assert grad.shape == (0, 4)
    loss, grad = kexue.zlpr_loss(np.empty((3, 0), dtype), np.empty((3, 0), dtype), return_grad=True)
    np.testing.assert_array_equal(loss, np.zeros(3, dtype))
    assert grad.shape == (3, 0)
    assert kexue.zlpr_loss([], []) == 0
    assert kexue.pairwise_rank_loss(np.empty((0, 4), dtype), np.empty((0, 4), int)).shape == (0,)
    assert kexue.zlpr_sparse_loss(np.empty((0, 4), dtype), []).shape == (0,)
    assert kexue.zlpr_sparse_loss([[1.0, 2.0]], np.empty((1, 0), int)) == kexue.zlpr_loss([1.0, 2.0], [0, 0])
    assert kexue.zlpr_symmetric_kl(np.empty((2, 0), dtype), np.empty((2, 0), dtype)).tolist() == [0, 0]
    assert kexue.zlpr_predict(np.empty((0, 4), dtype)).shape == (0, 4)


@pytest.mark.parametrize("form", ["hard", "soft", "smooth"])
def test_masked_classes_are_as_absent(form, dtype, rng):
    scores, mask = rng.standard_normal((4, 21)).astype(dtype), rng.random(21) < 0.6
    targets = rng.random((4, 21)).astype(dtype) if form == "soft" else rng.random((4, 21)) < 0.4
    targets = targets * mask
    smoothing = 0.2 if form == "smooth" else 0.0
    want, want_grad = kexue.zlpr_loss(scores[:, mask], targets[:, mask], label_smoothing=smoothing, return_grad=True)
    hidden = np.where(mask, scores, np.array(-INF, dtype))
    junk = np.where(mask, scores, np.array(NAN, dtype))
    for values, flags in ((hidden, None), (junk, mask), (scores, mask.astype(int))):
        loss, grad = kexue.zlpr_loss(values, targets, mask=flags, label_smoothing=smoothing, return_grad=True)
        np.testing.assert_allclose(loss, want, rtol=8 * np.finfo(dtype).eps)
        np.testing.assert_allclose(grad[:, mask], want_grad, rtol=0, atol=8 * np.finfo(dtype).eps)
        assert (grad[:, ~mask] == 0).all()
        assert not kexue.zlpr_predict(hidden, mask=flags)[:, ~mask].any()


# ---- invariants ----

rows = st.integers(1, 40).flatmap(
    lambda n: st.tuples(arrays(np.float64, n, elements=st.floats(-50, 50)), arrays(np.bool_, n, elements=st.booleans()))
)


@given(rows, st.floats(-40, 40))
def test_threshold_is_a_shift(row, threshold):
    scores, targets = row
    loss, grad = kexue.zlpr_loss(scores, targets, threshold=threshold, return_grad=True)
    shifted, shifted_grad = kexue.zlpr_loss(scores - threshold, targets, return_grad=True)
    assert loss == shifted
    np.testing.assert_array_equal(grad, shifted_grad)
    shares = np.where(targets, 0.75, 0.5)
    loss = kexue.zlpr_loss(scores, shares, threshold=threshold)
    assert loss == kexue.zlpr_loss(scores - threshold, shares)


@given(rows)
def test_loss_is_pairs_with_a_threshold_class(row):
    # (1 + A) (1 + B) = 1 + A + B + A B: pairs of classes, and of every class with the threshold.
    scores, targets = row
    loss = kexue.zlpr_loss(scores, targets)
    a, b = np.exp(-scores[targets]).sum(), np.exp(scores[~targets]).sum()
    pairs = np.expm1(kexue.pairwise_rank_loss(scores, targets))
    np.testing.assert_allclose(loss, np.log1p(a + b + pairs), rtol=1e-13)
    assert loss >= kexue.pairwise_rank_loss(scores, targets) * (1 - 1e-14)


@given(rows, st.floats(-1e6, 1e6))
def test_sign_symmetry(row, threshold):
    scores, targets = row
    loss, grad = kexue.zlpr_loss(scores, targets, threshold=threshold, return_grad=True)
    mirrored, mirrored_grad = kexue.zlpr_loss(-scores, ~targets, threshold=-threshold, return_grad=True)
    np.testing.assert_allclose(loss, mirrored, rtol=1e-15)
    np.testing.assert_array_equal(grad, -mirrored_grad)


@given(rows)
def test_loss_bounds_the_largest_violation(row):
    scores, targets = row
    worst_positive = max(0, (-scores[targets]).max(initial=-INF))
    worst_negative = max(0, scores[~targets].max(initial=-INF))
    loss = kexue.zlpr_loss(scores, targets)
    worst = worst_positive + worst_negative
    assert worst <= loss * (1 + 1e-15)
    assert loss <= worst + np.log(1 + targets.sum()) + np.log(1 + (~targets).sum()) + 1e-13


@given(rows)
def test_one_class_is_softmax(row):
    # With one class, positive: log(1 + e^-s), the logistic loss.
    scores, _ = row
    np.testing.assert_allclose(kexue.zlpr_loss(scores[:1], [1]), kexue.softplus(-scores[0]), rtol=1e-15)


# ---- forms of the same ----


def ids_of(targets, rng):
    return [rng.permutation(np.flatnonzero(row)).tolist() for row in targets]


@pytest.mark.parametrize("options", [{}, {"threshold": 0.25}, {"threshold": np.linspace(-1, 1, 12), "mask": True}])
def test_sparse_is_dense(options, dtype, rng):
    scores = rng.standard_normal((12, 37)).astype(dtype) * rng.choice([1, 300], (12, 1)).astype(dtype)
    targets = rng.random((12, 37)) < 0.2
    targets[3], targets[4] = False, True
    options = {
        k: np.asarray(v, dtype) if k == "threshold" else targets | (rng.random((12, 37)) < 0.5)
        for k, v in options.items()
    }
    want = kexue.zlpr_loss(scores, targets, return_grad=True, **options)
    lists = ids_of(targets, rng)
    width = max(map(len, lists))
    padded = np.array([row + [-1] * (width - len(row)) for row in lists])
    zeros = scipy.sparse.csr_array(targets.astype(float))
    zeros = scipy.sparse.csr_array((zeros.data, zeros.indices, zeros.indptr), shape=zeros.shape)
    forms = [lists, [np.array(row, dtype=int) for row in lists], padded, padded.astype(np.int16), zeros]
    forms += [scipy.sparse.coo_matrix(targets), scipy.sparse.csc_array(targets.astype(np.int8))]
    for ids in forms:
        loss, grad = kexue.zlpr_sparse_loss(scores, ids, return_grad=True, **options)
        np.testing.assert_array_equal(loss, want[0])
        np.testing.assert_array_equal(grad, want[1])
        np.testing.assert_array_equal(kexue.zlpr_sparse_loss(scores, ids, **options), want[0])
    one = kexue.zlpr_sparse_loss(scores[0], lists[0])
    assert one == kexue.zlpr_loss(scores[0], targets[0])
    assert one.shape == ()


def test_sparse_zeros_are_no_positives():
    matrix = scipy.sparse.csr_array(([1.0, 0.0], [1, 0], [0, 2]), shape=(1, 3))
    assert kexue.zlpr_sparse_loss([[1.0, 2.0, 3.0]], matrix) == kexue.zlpr_loss([1.0, 2.0, 3.0], [0, 1, 0])
    assert matrix.nnz == 2


def test_sparse_does_not_cancel():
    # The negatives are 1e-14 of all: a difference of sums would have two digits.
    scores = np.array([40.0, 8.0, 7.0])
    exact, slopes, _ = reference.zlpr(scores, [1, 0, 0])
    loss, grad = kexue.zlpr_sparse_loss([scores], [[0]], return_grad=True)
    assert ulp_error(loss[0], exact) <= 4
    assert max(map(ulp_error, grad[0], slopes)) <= 8


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int8, np.int64, np.uint64, ">i4", np.float16, "same"])
def test_kinds_of_targets(kind, dtype, rng):
    scores, targets = rng.standard_normal((5, 19)).astype(dtype), rng.random((5, 19)) < 0.3
    given_targets = targets.astype(dtype if kind == "same" else kind)
    loss, grad = kexue.zlpr_loss(scores, given_targets, return_grad=True)
    want, want_grad = kexue.zlpr_loss(scores, targets, return_grad=True)
    np.testing.assert_array_equal(loss, want)
    np.testing.assert_array_equal(grad, want_grad)
    assert loss.dtype == dtype
    np.testing.assert_array_equal(
        kexue.pairwise_rank_loss(scores, given_targets), kexue.pairwise_rank_loss(scores, targets)
    )


def test_dtype_of_results():
    scores = np.zeros((1, 2), np.float32)
    assert kexue.zlpr_loss(scores, [[0, 1]], threshold=0.5).dtype == np.float32
    assert kexue.zlpr_loss(scores, np.zeros((1, 2))).dtype == np.float64
    assert kexue.zlpr_loss(scores, [[0, 1]], threshold=np.zeros(1)).dtype == np.float64
    assert kexue.zlpr_loss([[1, 2]], [[0, 1]]).dtype == np.float64
    assert isinstance(kexue.zlpr_loss(scores[0], [0, 1]), np.float32)
    assert kexue.zlpr_probability(scores).dtype == np.float32
    assert kexue.zlpr_predict(scores).dtype == bool


# ---- shapes ----


def test_broadcasting(dtype, rng):
    scores = rng.standard_normal((3, 4, 6)).astype(dtype)
    one, column = rng.random(6) < 0.5, rng.random((4, 1)) < 0.5
    mask = rng.random((3, 1, 6)) < 0.8
    for targets in (one, column, one[None, None], rng.random((3, 1, 6)) < 0.5, np.array(False)):
        want = np.array([[kexue.zlpr_loss(row, t) for row, t in zip(*pair, strict=True)]
                         for pair in zip(scores, np.broadcast_to(targets, scores.shape), strict=True)])  # fmt: skip
        np.testing.assert_array_equal(kexue.zlpr_loss(scores, targets), want)
    targets = np.zeros(6, dtype)
    want = [[kexue.zlpr_loss(row, targets, mask=m[0]) for row in rows] for rows, m in zip(scores, mask, strict=True)]
    np.testing.assert_array_equal(kexue.zlpr_loss(scores, targets, mask=mask), want)
    levels = rng.standard_normal((3, 1)).astype(dtype)
    want = [
        [kexue.zlpr_loss(row, targets, threshold=t) for row in rows] for rows, (t,) in zip(scores, levels, strict=True)
    ]
    np.testing.assert_array_equal(kexue.zlpr_loss(scores, targets, threshold=levels), want)
    np.testing.assert_array_equal(kexue.zlpr_predict(scores, threshold=levels), scores > levels[..., None])


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_axis(axis, dtype, rng):
    scores, other = rng.standard_normal((2, 3, 4, 5)).astype(dtype)[0], rng.standard_normal((3, 4, 5)).astype(dtype)
    targets, mask = rng.random((3, 4, 5)) < 0.4, rng.random((3, 4, 5)) < 0.8
    targets &= mask
    last = [np.ascontiguousarray(np.moveaxis(a, axis, -1)) for a in (scores, targets, mask, other)]
    levels = rng.standard_normal(last[0].shape[:-1]).astype(dtype)
    for function, options in (
        (kexue.zlpr_loss, {"threshold": levels}),
        (kexue.pairwise_rank_loss, {"gamma": 2.0}),
    ):
        loss, grad = function(scores, targets, mask=mask, axis=axis, return_grad=True, **options)
        want, want_grad = function(last[0], last[1], mask=last[2], return_grad=True, **options)
        np.testing.assert_array_equal(loss, want)
        np.testing.assert_array_equal(np.moveaxis(grad, axis, -1), want_grad)
    value, (by_s, by_t) = kexue.zlpr_symmetric_kl(scores, other, mask=mask, axis=axis, return_grad=True)
    want, wants = kexue.zlpr_symmetric_kl(last[0], last[3], mask=last[2], return_grad=True)
    np.testing.assert_array_equal(value, want)
    np.testing.assert_array_equal(np.moveaxis(by_s, axis, -1), wants[0])
    np.testing.assert_array_equal(np.moveaxis(by_t, axis, -1), wants[1])
    p = kexue.zlpr_probability(scores, threshold=levels, axis=axis)
    np.testing.assert_array_equal(np.moveaxis(p, axis, -1), kexue.zlpr_probability(last[0], threshold=levels))


def test_layouts(any_layout, plain, untouched, dtype, rng):
    scores, targets = (
        any_layout(rng.standard_normal((6, 35)).astype(dtype)),
        any_layout(rng.random((6, 35)).astype(dtype)),
    )
    levels = any_layout(rng.standard_normal((6, 1)).astype(dtype))
    with untouched(scores, targets, levels):
        loss, grad = kexue.zlpr_loss(scores, targets, threshold=levels[:, 0], return_grad=True)
        hard = kexue.zlpr_loss(scores, targets > 0.5, return_grad=True)
        ranked = kexue.pairwise_rank_loss(scores, targets > 0.5, return_grad=True)
        divergence, grads = kexue.zlpr_symmetric_kl(scores, targets, return_grad=True)
        positive = kexue.zlpr_predict(scores, threshold=levels[:, 0])
    scores, targets, levels = plain(scores), plain(targets), plain(levels)
    want, want_grad = kexue.zlpr_loss(scores, targets, threshold=levels[:, 0], return_grad=True)
    np.testing.assert_array_equal(loss, want)
    np.testing.assert_array_equal(grad, want_grad)
    for got, wanted in (
        (hard, kexue.zlpr_loss(scores, targets > 0.5, return_grad=True)),
        (ranked, kexue.pairwise_rank_loss(scores, targets > 0.5, return_grad=True)),
    ):
        np.testing.assert_array_equal(got[0], wanted[0])
        np.testing.assert_array_equal(got[1], wanted[1])
    want, want_grads = kexue.zlpr_symmetric_kl(scores, targets, return_grad=True)
    np.testing.assert_array_equal(divergence, want)
    for got, wanted in zip(grads, want_grads, strict=True):
        np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(positive, scores > levels)


def test_workers(workers, dtype, rng):
    scores, targets = rng.standard_normal((3000, 60)).astype(dtype) * 30, rng.random((3000, 60)) < 0.1
    shares, ids = rng.random((3000, 60)).astype(dtype), ids_of(targets, rng)
    for call in (
        lambda w: kexue.zlpr_loss(scores, targets, return_grad=True, workers=w),
        lambda w: kexue.zlpr_loss(scores, shares, label_smoothing=0.1, return_grad=True, workers=w),
        lambda w: kexue.zlpr_sparse_loss(scores, ids, return_grad=True, workers=w),
        lambda w: kexue.pairwise_rank_loss(scores, targets, return_grad=True, workers=w),
        lambda w: kexue.zlpr_symmetric_kl(scores, shares, return_grad=True, workers=w),
    ):
        (loss, grads), (want, wants) = call(workers), call(1)
        np.testing.assert_array_equal(loss, want)
        np.testing.assert_array_equal(grads, wants)


# ---- decisions ----


def test_predict_and_probability(rng):
    scores, levels = rng.standard_normal((4, 9)), rng.standard_normal(4)
    positive = kexue.zlpr_predict(scores, threshold=levels)
    np.testing.assert_array_equal(positive, scores > levels[:, None])
    np.testing.assert_array_equal(positive, kexue.zlpr_probability(scores, threshold=levels) > 0.5)
    mask = rng.random(9) < 0.5
    np.testing.assert_array_equal(kexue.zlpr_predict(scores, mask=mask), (scores > 0) & mask)
    assert kexue.zlpr_predict([0.0, -INF, INF]).tolist() == [False, False, True]
    assert kexue.zlpr_predict([NAN, 1.0, NAN], mask=[0, 1, 0]).tolist() == [False, True, False]
    np.testing.assert_array_equal(kexue.zlpr_predict(scores, threshold=None), scores > 0)
    np.testing.assert_array_equal(kexue.zlpr_probability(scores, threshold=None), kexue.zlpr_probability(scores))


def test_probabilities_down_to_the_least_numbers(dtype):
    smallest = np.finfo(dtype).smallest_subnormal
    scores = np.arange(-60 if dtype == np.float32 else -380, 0, 0.25, dtype=dtype)
    for score, probability in zip(scores, kexue.zlpr_probability(scores), strict=True):
        with mpmath.workdps(60):
            expected = 1 / (1 + mpmath.exp(-2 * mpmath.mpf(float(score))))
            assert abs(float(probability) - expected) <= 4 * max(np.spacing(dtype.type(float(expected))), smallest)


def test_gradient_of_pairs_of_a_large_gamma():
    scores = np.float32([-19e-38, -19e-38])
    loss, grad = kexue.pairwise_rank_loss(scores, [0, 1], gamma=1e38, return_grad=True)
    assert loss == np.float32(np.log(2))
    np.testing.assert_allclose(grad, [5e37, -5e37], rtol=1e-6)


def test_descent_finds_the_labels(rng):
    targets = rng.random((20, 15)) < 0.2
    scores = np.zeros(targets.shape)
    for _ in range(60):
        scores -= kexue.zlpr_loss(scores, targets, return_grad=True)[1]
    np.testing.assert_array_equal(kexue.zlpr_predict(scores), targets)


# ---- bad input ----

SCORES = [[0.5, 1.0, -1.0], [2.0, 0.0, 1.0]]
LABELS = [[0, 1, 0], [1, 0, 0]]
MASKED = np.ma.masked_array([1, 0, 1], mask=[0, 1, 0])


def with_value(rows, row, column, value):
    changed = [list(map(float, entries)) for entries in rows]
    changed[row][column] = value
    return changed


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kexue.zlpr_loss(with_value(SCORES, 1, 2, NAN), LABELS), ValueError, r"scores\[1, 2\] is nan"),
        (lambda: kexue.zlpr_loss(with_value(SCORES, 0, 1, INF), LABELS), ValueError, r"scores\[0, 1\] is inf"),
        (lambda: kexue.zlpr_loss(with_value(SCORES, 1, 0, -INF), LABELS), ValueError, r"scores\[1, 0\] is -inf, but"),
        (lambda: kexue.zlpr_loss(SCORES, with_value(LABELS, 1, 1, 1.5)), ValueError, r"targets\[1, 1\] is 1.5, not"),
        (lambda: kexue.zlpr_loss(SCORES, with_value(LABELS, 0, 0, -0.5)), ValueError, r"targets\[0, 0\] is -0.5, not"),
        (lambda: kexue.zlpr_loss(SCORES, with_value(LABELS, 0, 0, NAN)), ValueError, r"targets\[0, 0\] is nan, not"),
        (lambda: kexue.zlpr_loss(SCORES, np.uint8([2, 0, 0])), ValueError, r"targets\[0\] is 2, not"),
        (lambda: kexue.zlpr_loss(SCORES, [0, -1, 0]), ValueError, r"targets\[1\] is -1, neither 0 nor 1"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=[1, 0, 1]), ValueError, r"mask\[0, 1\] is False, but the target"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=[1, 2, 1]), ValueError, r"mask\[1\] is 2, neither"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=np.uint8([1, 2, 1])), ValueError, r"mask\[1\] is 2, neither"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=MASKED), TypeError, "mask is a masked array"),
        (lambda: kexue.zlpr_loss(SCORES, MASKED), TypeError, "targets is a masked array"),
        (lambda: kexue.zlpr_loss(SCORES, None), TypeError, "targets must be an array"),
        (lambda: kexue.pairwise_rank_loss(SCORES, None), TypeError, "targets must be an array"),
        (lambda: kexue.zlpr_loss(SCORES, [[1], [0, 1]]), ValueError, "targets is not an array of one shape"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=[[1], [0, 1]]), ValueError, "mask is not an array of one shape"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=[1.0, 0, 1]), TypeError, "mask must be a boolean"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, mask=[True]*2), ValueError, r"mask has shape \(2,\), which does not"),
        (lambda: kexue.zlpr_loss(SCORES, [0, 1]), ValueError, r"targets has shape \(2,\), which does not broadcast"),
        (lambda: kexue.zlpr_loss(SCORES, ["a", "b", "c"]), TypeError, "targets must hold real numbers"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, threshold=[0.0] * 3), ValueError, r"threshold has shape \(3,\)"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, threshold=[0, NAN]), ValueError, r"threshold\[1\] is nan"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, label_smoothing=1.5), ValueError, "label_smoothing must be from"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, label_smoothing="a"), TypeError, "label_smoothing must be a number"),
        (lambda: kexue.zlpr_loss(SCORES, LABELS, axis=2), ValueError, "axis 2 is out of bounds"),
        (lambda: kexue.zlpr_loss(1.0, 1), ValueError, "scores must have at least 1 dimension"),
        (lambda: kexue.zlpr_loss(np.float32([1e38, 3e38]), [1, 0], threshold=-3e38), OverflowError, "float32"),
        (lambda: kexue.pairwise_rank_loss(SCORES, with_value(LABELS, 1, 1, 0.5)), ValueError, r"\[1, 1\] is 0.5"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, gamma=0), ValueError, "gamma must be positive"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, gamma=INF), ValueError, "gamma must be positive and finite"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, margin=INF), ValueError, "margin must be finite"),
        (lambda: kexue.pairwise_rank_loss([1e300, 0.0], [0, 1], gamma=1e10), OverflowError, "beyond float64"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[0], [3]]), ValueError, "3 in row 1 is not an id from 0 to 2"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[0], [-2]]), ValueError, "-2 in row 1 is not an id"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, np.uint64([[0], [2**64 - 1]])), ValueError, "in row 1 is not an id"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[1, 2, 1], []]), ValueError, "1 in row 0 is repeated"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[0], [1]], mask=[1, 0, 1]), ValueError, "1 in row 1 is masked"),
        (lambda: kexue.zlpr_sparse_loss([[0.0, -INF]], [[1]]), ValueError, "1 in row 0 has the score -inf"),
        (lambda: kexue.zlpr_sparse_loss([[0.0, NAN]], [[1]]), ValueError, r"scores\[0, 1\] is nan"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[0]]), ValueError, "positive_ids has 1 rows, but scores has 2"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, np.zeros(2, int)), ValueError, r"must have shape \(2, k\)"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [0, 1]), TypeError, "a sequence of ids for each row"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, None), TypeError, "positive_ids must be a sequence .*, not NoneType"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, iter(LABELS)), TypeError, "positive_ids must be a sequence"),
        (lambda: kexue.zlpr_sparse_loss(SCORES[0], np.ones((1, 2), int)), ValueError, r"must have shape \(k,\)"),
        (lambda: kexue.zlpr_sparse_loss(SCORES[0], [[0, 1]]), TypeError, "these are sequences too"),
        (lambda: kexue.zlpr_sparse_loss([SCORES[0]] * 3, MASKED[:, None]), TypeError, "positive_ids is a masked array"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, [[0.5], [1]]), TypeError, "positive_ids must hold integers"),
        (lambda: kexue.zlpr_sparse_loss([SCORES], [[0], [1]]), ValueError, "scores must have 1 or 2 dimensions"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, scipy.sparse.csr_array((2, 4))), ValueError, r"shape \(2, 4\)"),
        (lambda: kexue.zlpr_sparse_loss(SCORES, scipy.sparse.csr_array([[2, 0, 0]] * 2)), ValueError, "is 2.0"),
        (lambda: kexue.zlpr_symmetric_kl(SCORES, SCORES[0]), ValueError, r"t has shape \(3,\), but s has shape"),
        (lambda: kexue.zlpr_symmetric_kl(with_value(SCORES, 0, 2, NAN), SCORES), ValueError, r"s\[0, 2\] is nan"),
        (lambda: kexue.zlpr_symmetric_kl(SCORES, with_value(SCORES, 1, 1, -INF)), ValueError, r"t\[1, 1\] is -inf"),
        (lambda: kexue.zlpr_symmetric_kl([1e308], [-1e308]), OverflowError, "the divergence is beyond float64"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, gamma=-1), ValueError, "gamma must be positive"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, gamma=NAN), ValueError, "gamma must be positive"),
        (lambda: kexue.pairwise_rank_loss(SCORES, LABELS, margin=NAN), ValueError, "margin must be finite"),
        (lambda: kexue.zlpr_predict([NAN, 1.0], mask=[1, 0]), ValueError, r"scores\[0\] is nan"),
        (lambda: kexue.zlpr_predict([NAN, 1.0]), ValueError, r"scores\[0\] is nan"),
        (lambda: kexue.zlpr_predict([0.0, 1.0], mask=[True] * 3), ValueError, r"mask has shape \(3,\)"),
        (lambda: kexue.zlpr_probability([0.0, 1.0], threshold=[0.0, 1.0]), ValueError, r"threshold has shape \(2,\)"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_overflow_to_infinity_is_no_failure():
    assert kexue.zlpr_loss([1.5e308, -1.5e308], [0, 1]) == INF
