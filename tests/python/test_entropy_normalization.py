"""Entropy normalisation against 60 digits, its gradients against differences, its errors, and what is built on it."""

import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.sparse import coo_array, csc_array, csr_array, csr_matrix, issparse
from scipy.stats import entropy as scipy_entropy

import accuracy_entropy as accuracy
import kexue
from kexue import (
    ConvergenceWarning,
    EntropyNormalization,
    KexueValueError,
    entropy_normalize,
    entropy_normalize_logits,
    entropy_normalize_logits_vjp,
    entropy_normalize_vjp,
    entropy_power_curve,
    perplexity_affinities,
    temperature_for_entropy,
)
from reference import entropy as reference

P = [0.5, 0.25, 0.15, 0.1]
INF, NAN = np.inf, np.nan
KINDS = pytest.mark.parametrize("kind", accuracy.KINDS)


def target_of(kind, entropy, n, s=None, m=1):
    """The entropy as a target of this kind."""
    s = n if s is None else s
    return {
        "entropy": entropy,
        "perplexity": np.exp(entropy),
        "fraction": entropy / np.log(n),
        "gap_low": entropy - np.log(m),
        "gap_high": np.log(s) - entropy,
    }[kind]


# ---- accuracy ----

# METHODS R02: kind, target, gamma, and the first entries of q where they are given; they sum to 1.
REFERENCE_VALUES = [
    ("entropy", np.log(2), 2.3507563027817821925, [0.782603148207982, 0.153424045820864, 0.0461722548989272]),
    ("entropy", 1, 1.5558298060231004371, [0.634709454048775, 0.215885526658745, 0.0975134743476701]),
    ("entropy", 1.3, 0.6844943867001275591, [0.417855850650383, 0.259999878548675, 0.183281622713188]),
    ("gap_high", 1e-6, 0.00235155842368476944, [0.25051564832531, 0.250107646415056, 0.249807388408138]),
    ("entropy", 0.1, 5.7441691294406322538, [0.980637141643147, 0.0182953671796441, 0.000972757059047081]),
    ("entropy", 1e-3, 13.3238129656092311, None),
    ("entropy", 1e-6, 24.0763136460484098, None),
    ("entropy", 1e-12, 44.8676328320955658, None),
    ("gap_low", 1e-12, 44.8676328320955658, None),
    ("gap_high", 1e-2, 0.232835240158660614, None),
    ("gap_high", 1e-12, 2.3518775840847775e-6, None),
]


@pytest.mark.parametrize(("kind", "target", "gamma", "q"), REFERENCE_VALUES)
@pytest.mark.parametrize("logits", [False, True])
def test_reference_values(kind, target, gamma, q, logits):
    function, row = (entropy_normalize_logits, np.log(P)) if logits else (entropy_normalize, P)
    result, info = function(row, target, target_kind=kind, log=True)
    np.testing.assert_allclose(info.gamma, gamma, rtol=2e-14)
    if q is not None:
        np.testing.assert_allclose(result[:3], q, rtol=2e-14)
    np.testing.assert_allclose(result.sum(), 1, rtol=1e-15)
    assert info.status == 0 and 1 <= info.n_iter <= 30


@pytest.mark.parametrize(
    ("p", "kind", "target", "gamma"),
    [
        ([0.5, 0.3, 0.2, 0], "entropy", 1.0, 1.2059914723149),
        ([0.97, 0.01, 0.01, 0.01], "entropy", 1.3, 0.1886211061039677),
        ([0.4, 0.4, 0.1, 0.1], "gap_low", 1e-6, 12.038150915618338),
        ([0.4, 0.4, 0.1, 0.1], "gap_low", 1e-12, 22.43381641590586),
    ],
)
def test_more_reference_values(p, kind, target, gamma):
    np.testing.assert_allclose(entropy_normalize(p, target, target_kind=kind, log=True)[1].gamma, gamma, rtol=1e-13)


@pytest.mark.parametrize("number", range(2 * len(accuracy.ALL) * len(accuracy.KINDS)))
def test_accuracy(number):
    errors, _ = accuracy.examine(*accuracy.problem(1, number))
    assert errors.gamma <= 1e-14
    assert errors.gap <= 1e-13
    assert errors.q <= 1e-13
    assert errors.entropy <= 1e-14
    assert errors.total <= 1e-14
    assert errors.passes <= 20


GAPS = [1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.5, float(np.log(2))]


@pytest.mark.parametrize("kind", ["gap_low", "gap_high"])
@pytest.mark.parametrize(("n", "gap"), [(n, gap) for n in (4, 20, 100) for gap in GAPS] + [(450, 1e-12), (450, 0.1)])
def test_gamma_of_gaps(kind, gap, n, rng):
    p = rng.exponential(size=n)
    with mpmath.workdps(60):
        exact = reference.solve(reference.logs_of_weights(p), gap, kind).gamma
    _, info = entropy_normalize(p, gap, target_kind=kind, log=True)
    assert reference.relative_error(info.gamma, exact) <= 1e-13


@pytest.mark.parametrize("kind", ["gap_low", "gap_high"])
@pytest.mark.parametrize("gap", [1e-30, 1e-100, 1e-300])
def test_gaps_that_no_entropy_shows(kind, gap):
    with mpmath.workdps(700):
        exact = reference.solve(reference.logs_of_weights(P), gap, kind, digits=700).gamma
    q, info = entropy_normalize(P, gap, target_kind=kind, log=True)
    assert reference.relative_error(info.gamma, exact) <= 1e-13
    assert info.status == 0 and 0 < info.gamma < INF
    np.testing.assert_allclose(q, [1, 0, 0, 0] if kind == "gap_low" else [0.25] * 4, atol=1e-15)


def test_where_plain_newton_fails(rng):
    """Its first step goes to a negative gamma, underflows, or it converges linearly."""
    _, info = entropy_normalize([0.97, 0.01, 0.01, 0.01], 1.3, log=True)
    assert info.gamma > 0 and abs(info.entropy - 1.3) < 1e-13
    p = rng.random(100)
    q, info = entropy_normalize(p, np.log(2), log=True)
    assert abs(scipy_entropy(q) - np.log(2)) < 1e-13 and q.argmax() == p.argmax()
    q, info = entropy_normalize(P, np.log(4) - 1e-6, log=True)
    assert abs(scipy_entropy(q) - (np.log(4) - 1e-6)) < 1e-15 and info.n_iter < 40


def test_all_kinds_agree(rng):
    p = rng.exponential(size=(20, 7))
    p[:, 3] = 0
    entropies = rng.uniform(0.3, 1.5, size=20)
    expected = entropy_normalize(p, entropies)
    np.testing.assert_allclose(scipy_entropy(expected, axis=1), entropies, rtol=1e-13)
    for kind in accuracy.KINDS:
        found = entropy_normalize(p, target_of(kind, entropies, 7, s=6), target_kind=kind)
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_entropy_as_scipy_counts_it(rng):
    p = rng.dirichlet(np.ones(50), size=100)
    targets = rng.uniform(0.2, 3.8, size=100)
    q, info = entropy_normalize(p, targets, log=True)
    np.testing.assert_allclose(scipy_entropy(q, axis=-1), targets, rtol=2e-13)
    np.testing.assert_allclose(info.entropy, targets, rtol=2e-13)
    np.testing.assert_allclose(scipy_entropy(p, axis=-1), entropy_power_curve(p, 1.0)[0], rtol=1e-13)


@pytest.mark.parametrize("n", [40, 500])
def test_float32(n, rng):
    p = rng.exponential(size=(50, n)).astype(np.float32)
    targets = rng.uniform(0.5, 3.5, size=50)
    q, info = entropy_normalize(p, targets, log=True)
    exact, exact_info = entropy_normalize(p.astype(np.float64), targets, log=True)
    assert q.dtype == np.float32 and info.gamma.dtype == info.entropy.dtype == np.float64
    np.testing.assert_allclose(info.gamma, exact_info.gamma, rtol=1e-5)
    np.testing.assert_allclose(q, exact, rtol=1e-4, atol=1e-30)
    np.testing.assert_allclose(scipy_entropy(q.astype(np.float64), axis=1), targets, rtol=1e-5)
    assert (info.status == 0).all()


@pytest.mark.parametrize("scale", [1e-40, 1e30])
def test_float32_of_any_scale(scale):
    p = (np.array([5, 3, 1, 1, 0]) * scale).astype(np.float32)
    np.testing.assert_allclose(entropy_normalize(p, 1.0), entropy_normalize(p.astype(np.float64), 1.0), rtol=1e-5)


# ---- what holds for any row ----

weights = hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(0, 1e3, allow_subnormal=False))
logits = hnp.arrays(np.float64, st.integers(2, 30), elements=st.floats(-1e3, 1e3))


@given(weights, st.floats(0.02, 0.98))
def test_any_weights(p, share):
    assume((p > 0).sum() > 1)
    s, m = (p > 0).sum(), (p == p.max()).sum()
    assume(m < s)
    whole = np.log(s / m)
    target = np.log(m) + share * whole
    q, info = entropy_normalize(p, target, log=True)
    assert info.status == 0 and 0 < info.gamma < INF
    assert ((q > 0) <= (p > 0)).all()
    order = np.argsort(p, kind="stable")
    assert (np.diff(q[order]) >= -1e-15 * q.max()).all()
    assert abs(q.sum() - 1) < 1e-14
    assert abs(scipy_entropy(q) - target) < 1e-12 * max(1, target)
    equal = p[:, None] == p
    assert (q[:, None] == q)[equal].all()


@given(weights, st.floats(0.05, 0.95), st.integers(-900, 900))
def test_scale_of_weights_does_not_matter(p, share, exponent):
    p = np.append(np.where(p < 1e-6, 0, p), [1.0, 3.0])
    scaled = np.ldexp(p, exponent)
    target = np.log((p == p.max()).sum()) * (1 - share) + np.log((p > 0).sum()) * share
    q, info = entropy_normalize(p, target, log=True)
    other, other_info = entropy_normalize(scaled, target, log=True)
    np.testing.assert_allclose(other, q, rtol=1e-11)
    np.testing.assert_allclose(other_info.gamma, info.gamma, rtol=1e-12)


@given(logits, st.floats(0.05, 0.95), st.integers(-1000, 1000))
def test_shift_of_logits_does_not_matter(u, share, shift):
    u = np.append(np.round(u * 1024) / 1024, [-2000.0, 2000.0])  # the shift is exact
    target = np.log(1 + (u[:-1] == 2000).sum()) * (1 - share) + np.log(u.size) * share
    q, info = entropy_normalize_logits(u, target, log=True)
    other, other_info = entropy_normalize_logits(u + shift, target, log=True)
    np.testing.assert_array_equal(other, q)
    assert other_info.gamma == info.gamma


@given(weights, st.floats(0.05, 0.95), st.randoms())
def test_order_of_entries_does_not_matter(p, share, random):
    p = np.append(p, [1.0, 3.0])
    target = np.log((p == p.max()).sum()) * (1 - share) + np.log((p > 0).sum()) * share
    permutation = list(range(p.size))
    random.shuffle(permutation)
    q = entropy_normalize(p, target)
    np.testing.assert_allclose(entropy_normalize(p[permutation], target), q[permutation], rtol=1e-9, atol=1e-300)


def test_normalising_twice(rng):
    q, _ = entropy_normalize(rng.exponential(size=(30, 9)), 1.2, log=True)
    again, info = entropy_normalize(q, 1.2, log=True)
    np.testing.assert_allclose(info.gamma, 1, rtol=1e-12)
    np.testing.assert_allclose(again, q, rtol=1e-11)
    back = entropy_normalize(q, scipy_entropy(q**2, axis=1), log=True)[1]
    np.testing.assert_allclose(back.gamma, 2, rtol=1e-11)


# ---- limits and statuses ----


@KINDS
def test_largest_entropy_is_reached(kind):
    p = [3.0, 1.0, 0.5, 0.25]
    q, info = entropy_normalize(p, target_of(kind, np.log(4), 4), target_kind=kind, log=True)
    assert info.status == 0 and info.gamma == 0
    np.testing.assert_array_equal(q, [0.25] * 4)
    np.testing.assert_allclose(info.entropy, np.log(4), rtol=1e-15)


def test_largest_entropy_within_rounding():
    p = np.arange(1.0, 8.0)
    for target in (np.log(7), np.nextafter(np.log(7), 9), np.log(7) * (1 + 3 * 2.0**-52)):
        q, info = entropy_normalize(p, target, log=True)
        assert info.status == 0 and info.gamma == 0
        np.testing.assert_allclose(q, 1 / 7, rtol=1e-15)


@KINDS
def test_limits(kind):
    p, options = [4.0, 4.0, 2.0, 1.0, 0.0], {"target_kind": kind, "on_unreachable": "limit", "log": True}
    if kind != "gap_low":  # such a gap is negative
        for entropy in (np.log(2), 0.3) if kind != "gap_high" else (np.log(2) * (1 - 1e-12), 0.3):
            q, info = entropy_normalize(p, target_of(kind, entropy, 5, s=4, m=2), **options)
            assert info.status == 2 and info.gamma == INF
            np.testing.assert_array_equal(q, [0.5, 0.5, 0, 0, 0])
            np.testing.assert_allclose(info.entropy, np.log(2), rtol=1e-15)
    else:
        assert entropy_normalize(p, 0.0, **options)[1].status == 2
    if kind != "gap_high":
        q, info = entropy_normalize(p, target_of(kind, 1.5, 5, s=4, m=2), **options)
        assert info.status == 3 and info.gamma == 0
        np.testing.assert_array_equal(q, [0.25, 0.25, 0.25, 0.25, 0])
        np.testing.assert_allclose(info.entropy, np.log(4), rtol=1e-15)


@KINDS
def test_equal_entries(kind):
    p, target = [2.0, 0.0, 2.0, 2.0], target_of(kind, 0.5 if kind != "gap_low" else 1.2, 4, s=3, m=3)
    q, info = entropy_normalize(p, target, target_kind=kind, on_unreachable="limit", log=True)
    assert info.status == 4 and info.gamma == 1
    np.testing.assert_allclose(q, [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-15)
    attained = target_of(kind, np.log(3), 4, s=3, m=3)
    q, info = entropy_normalize(p, attained, target_kind=kind, log=True)
    assert info.status == 0
    np.testing.assert_allclose(q, [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-15)


def test_one_entry():
    q, info = entropy_normalize([[3.0], [0.1]], 0.0, log=True)
    np.testing.assert_array_equal(q, [[1], [1]])
    np.testing.assert_array_equal(info.status, [0, 0])
    np.testing.assert_array_equal(entropy_normalize([[3.0]], 1.0, on_unreachable="limit"), [[1]])


def test_statuses_of_a_batch(rng):
    p = rng.exponential(size=(5, 6))
    p[3] = 7
    targets = [1.0, 0.0, 2.0, 1.0, np.log(6)]
    q, info = entropy_normalize(p, targets, on_unreachable="limit", log=True)
    np.testing.assert_array_equal(info.status, [0, 2, 3, 4, 0])
    assert info.status.dtype == info.n_iter.dtype == np.int32
    assert info.gamma.shape == info.entropy.shape == info.status.shape == info.n_iter.shape == (5,)
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-15)


def test_iteration_limit(rng):
    p = rng.exponential(size=(4096, 5))
    gaps = np.full(4096, 1e-200)  # far from where the iteration starts
    gaps[3:] = np.log(5)  # without an iteration
    options = {"target_kind": "gap_low", "max_iter": 1}
    with pytest.warns(
        ConvergenceWarning, match="3 of 4096 rows did not converge to tol=1e-13 in max_iter=1 "
    ) as caught:
        q, info = entropy_normalize(p, gaps, log=True, **options)
    assert len(caught) == 1 and caught[0].filename == __file__
    np.testing.assert_array_equal(np.flatnonzero(info.status), [0, 1, 2])
    assert np.isfinite(q).all()
    np.testing.assert_allclose(q.sum(axis=1), 1, rtol=1e-14)
    with kexue.errstate(convergence="raise"), pytest.raises(ConvergenceWarning):
        entropy_normalize(p, gaps, **options)
    with kexue.errstate(convergence="ignore"):
        entropy_normalize(p, gaps, **options)
    assert not entropy_normalize(p, gaps, target_kind="gap_low", log=True)[1].status.any()


# ---- messages ----


def bad(value, *place, shape=(4, 20)):
    array = np.ones(shape)
    array[..., 0] = 2
    array[place] = value
    return array


@pytest.mark.parametrize(
    ("p", "message"),
    [
        (bad(NAN, 3, 17), r"^p\[3, 17\] is nan$"),
        (bad(INF, 0, 2), r"^p\[0, 2\] is inf$"),
        (bad(-1, 2, 1), r"^p\[2, 1\] is negative \(-1.0\)$"),
        (bad(0, 2), r"^p\[2\] has no positive entry"),
        (bad(NAN, 1, 2, 3, shape=(2, 3, 4)), r"^p\[1, 2, 3\] is nan$"),
        (bad(0, 1, 2, shape=(2, 3, 4)), r"^p\[1, 2\] has no positive entry"),
        ([1, NAN], r"^p\[1\] is nan$"),
        ([0, 0], "^p has no positive entry"),
        (np.zeros((3, 0)), r"^p\[0\] has no positive entry"),
        (1.0, "^p must have at least 1 dimension"),
    ],
)
def test_bad_weights(p, message):
    with pytest.raises(KexueValueError, match=message):
        entropy_normalize(p, 0.1)


@pytest.mark.parametrize(
    ("u", "message"),
    [
        (bad(NAN, 3, 17), r"^u\[3, 17\] is nan$"),
        (bad(INF, 0, 2), r"^u\[0, 2\] is inf$"),
        (bad(-INF, 2), r"^u\[2\] has no entry above -inf"),
    ],
)
def test_bad_logits(u, message):
    with pytest.raises(KexueValueError, match=message):
        entropy_normalize_logits(u, 0.1)
    with pytest.raises(KexueValueError, match=message.replace("^u", "^logits")):
        temperature_for_entropy(u, 0.1)


def test_places_along_another_axis():
    p = bad(NAN, 3, 17)
    with pytest.raises(KexueValueError, match=r"^p\[17, 3\] is nan"):
        entropy_normalize(p.T, 0.1, axis=0)
    with pytest.raises(KexueValueError, match=r"^p\[:, 2\] has no positive"):
        entropy_normalize(bad(0, 2).T, 0.1, axis=0)
    p = bad(0, 1, 2, shape=(2, 3, 4))
    with pytest.raises(KexueValueError, match=r"^p\[1, :, 2\] has no positive"):
        entropy_normalize(np.moveaxis(p, -1, 1), 0.1, axis=1)
    with pytest.raises(KexueValueError, match=r"target\[0, 1\] = 3 is .* of p\[1\]"):
        entropy_normalize([[3, 2, 1], [1, 2, 3]], [[1, 3.0]])


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("entropy", NAN, r"target\[2\] is nan, but an entropy must be finite and not negative"),
        ("entropy", -0.5, r"target\[2\] is -0.5, but an entropy"),
        ("entropy", INF, r"target\[2\] is inf, but an entropy"),
        ("perplexity", 0.5, r"target\[2\] is 0.5, but a perplexity must be finite and at least 1"),
        ("fraction", 1.5, r"target\[2\] is 1.5, but a fraction must be between 0 and 1"),
        ("fraction", -0.1, r"target\[2\] is -0.1, but a fraction"),
        ("gap_low", -1e-9, r"target\[2\] is -1e-09, but a gap must be finite and not negative"),
        ("gap_high", NAN, r"target\[2\] is nan, but a gap"),
    ],
)
def test_bad_targets(kind, value, message):
    p = np.arange(1.0, 13.0).reshape(4, 3)
    targets = np.full(4, target_of(kind, 0.9, 3))
    targets[2] = value
    for limit in ("raise", "limit"):
        with pytest.raises(KexueValueError, match=message):
            entropy_normalize(p, targets, target_kind=kind, on_unreachable=limit)
        with pytest.raises(KexueValueError, match=message):
            entropy_normalize(csr_array(p), targets, target_kind=kind, on_unreachable=limit)


def one_bad_row(row):
    p = np.ones((7, 10))
    p[:, 0] = 2
    p[5] = row
    return p


EIGHT = [5, 4, 4, 3, 2, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("kind", "ordinary", "value", "row", "message"),
    [
        ("entropy", 2, 3.2, EIGHT, r"target\[5\] = 3.2 is above the largest entropy 2.0794 of p\[5\] \(8 posi"),
        ("perplexity", 9, 9, EIGHT, r"target\[5\] = 9 is above the largest perplexity 8 of p\[5\] \(8 "),
        ("fraction", 0.99, 0.95, EIGHT, r"target\[5\] = 0.95 is above the largest fraction 0.90309 of p\[5\]"),
        ("gap_low", 1, 2.5, EIGHT, r"target\[5\] = 2.5 is above the largest H - log 1 2.0794 of p\[5\]"),
        ("gap_high", 1, 2.2, EIGHT, r"target\[5\] = 2.2 is not below 2.0794, the limit of log 8 - H of p\[5\]"),
        ("entropy", 2, 0.5, [2, 2] + [1] * 8, r"target\[5\] = 0.5 is not above 0.69315, .* inf \(2 largest of 10 "),
        ("perplexity", 3, 2, [2, 2] + [1] * 8, r"target\[5\] = 2 is not above 2, the limit of the perplexity of p"),
        ("entropy", 2, 1, [0, 1, 1, 1] + [0] * 6, r"target\[5\] = 1 is out of reach: the 3 .* equal, entropy 1.0986"),
    ],
)  # fmt: skip
def test_unreachable_targets(kind, ordinary, value, row, message):
    p, targets = one_bad_row(row), np.full(7, float(ordinary))
    targets[5] = value
    for given_p in (p, csr_array(p), p.astype(np.float32)):
        with pytest.raises(KexueValueError, match=message + '.*; on_unreachable="limit"'):
            entropy_normalize(given_p, targets, target_kind=kind)
    with np.errstate(divide="ignore"), pytest.raises(KexueValueError) as raised:
        entropy_normalize_logits(np.log(p), targets, target_kind=kind)
    assert "u[5]" in str(raised.value) and "finite entries" in str(raised.value)


def test_a_bad_row_comes_before_an_unreachable_one():
    with pytest.raises(KexueValueError, match=r"p\[1, 0\] is nan"):
        entropy_normalize([[1, 2], [NAN, 1]], 3.0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"target_kind": "bits"}, KexueValueError, "target_kind must be one of"),
        ({"on_unreachable": "clip"}, KexueValueError, 'on_unreachable must be one of "raise", "limit", got'),
        ({"tol": 0}, KexueValueError, "tol must be finite and positive"),
        ({"tol": NAN}, KexueValueError, "tol must be finite"),
        ({"tol": "x"}, TypeError, "tol must be a number"),
        ({"max_iter": 0}, KexueValueError, "max_iter must be at least 1"),
        ({"max_iter": 1.5}, TypeError, "max_iter must be an integer"),
        ({"axis": 1}, KexueValueError, "axis 1 is out of bounds for p, which has 1 dimensions"),
        ({"axis": 0.5}, TypeError, "axis must be an integer"),
        ({"workers": 0}, ValueError, "workers"),
        ({"out": np.empty(3)}, KexueValueError, r"out has shape \(3,\), but the result has shape \(4,\)"),
        ({"out": np.empty(4, np.float32)}, TypeError, "out must be an array of dtype float64, not dtype float32"),
        ({"out": [0] * 4}, TypeError, "out must be an array of dtype float64, not list"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        entropy_normalize(P, 1.0, **options)


def test_shapes_that_do_not_fit():
    with pytest.raises(KexueValueError, match=r"target has shape \(3,\), which does not broadcast with \(2,\)"):
        entropy_normalize(np.ones((2, 4)), [1, 1, 1])
    with pytest.raises(TypeError, match="p must hold real numbers"):
        entropy_normalize(["a"], 1.0)
    with pytest.raises(TypeError, match="target must hold real numbers"):
        entropy_normalize(P, 1j)
    read_only = np.empty(4)
    read_only.flags.writeable = False
    with pytest.raises(KexueValueError, match="out is read-only"):
        entropy_normalize(P, 1.0, out=read_only)


# ---- layouts, dtypes, threads ----


def test_layouts(any_layout, plain, untouched, dtype, rng):
    p = any_layout(rng.uniform(0.5, 2, size=(5, 9)).astype(dtype))
    targets = any_layout(rng.uniform(1, 2, size=(5, 9)))[:, 0].astype(np.float64)
    options = {"target_kind": "gap_high", "on_unreachable": "limit"}  # of equal entries too
    with untouched(p, targets):
        result = entropy_normalize(p, targets, **options)
        logits = entropy_normalize_logits(p, targets, **options)
        columns = entropy_normalize(p.T, targets, axis=0, **options)
    expected = entropy_normalize(plain(p), targets, **options)
    assert result.shape == p.shape and result.dtype == expected.dtype == plain(p).dtype
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(columns, expected.T)
    np.testing.assert_array_equal(logits, entropy_normalize_logits(plain(p), targets, **options))


@pytest.mark.parametrize("given_dtype", [np.int8, np.uint16, np.int64, bool, np.longdouble, np.float16, ">f4"])
def test_dtypes(given_dtype):
    p = np.array([[1, 0, 1, 1], [1, 1, 0, 1]], dtype=given_dtype)
    q = entropy_normalize(p, np.log(3))
    assert q.dtype == (np.float32 if np.dtype(given_dtype).itemsize in (2, 4) and p.dtype.kind == "f" else np.float64)
    np.testing.assert_allclose(q, (p != 0) / 3, rtol=1e-7)
    assert entropy_normalize([3, 2, 1], 1).dtype == np.float64


@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 31, 100, 383, 384, 1001])
def test_workers(workers, dtype, n, rng):
    p = rng.exponential(size=(200, n)).astype(dtype)
    shares = rng.uniform(0.1, 0.9, size=200)
    options = {"target_kind": "fraction", "on_unreachable": "limit", "log": True}
    q, info = entropy_normalize(p, shares, workers=workers, **options)
    serial, serial_info = entropy_normalize(p, shares, workers=1, **options)
    assert q.tobytes() == serial.tobytes()
    for name in ("gamma", "entropy", "status", "n_iter"):
        assert getattr(info, name).tobytes() == getattr(serial_info, name).tobytes()
    with kexue.threads(2):
        assert entropy_normalize(p, shares, **options)[0].tobytes() == serial.tobytes()


def test_a_row_does_not_depend_on_its_neighbours(dtype, rng):
    for n in (2, 5, 9, 40, 400):
        p = rng.exponential(size=(37, n)).astype(dtype)
        shares = rng.uniform(0.05, 0.95, size=37)
        whole = entropy_normalize(p, shares, target_kind="fraction")
        for k in range(37):
            np.testing.assert_array_equal(entropy_normalize(p[k], shares[k], target_kind="fraction"), whole[k])


def test_logarithm_of_weights_gives_the_same(rng):
    p = rng.exponential(size=(40, 12))
    np.testing.assert_allclose(entropy_normalize_logits(np.log(p), 1.7), entropy_normalize(p, 1.7), rtol=1e-12)


def test_axis_and_broadcasting(rng):
    p = rng.exponential(size=(2, 5, 3))
    targets = rng.uniform(0.4, 1.3, size=(2, 3))
    q, info = entropy_normalize(p, targets, axis=1, log=True)
    assert q.shape == (2, 5, 3) and info.gamma.shape == (2, 3)
    for i in range(2):
        for j in range(3):
            np.testing.assert_array_equal(q[i, :, j], entropy_normalize(p[i, :, j], targets[i, j]))
    curve = entropy_normalize(p[0], np.array([[0.3], [0.6]]))
    assert curve.shape == (2, 5, 3)
    np.testing.assert_array_equal(curve[1], entropy_normalize(p[0], 0.6))
    assert entropy_normalize(p[0, :, 0], np.linspace(0.5, 1.5, 4), axis=0).shape == (5, 4)
    assert entropy_normalize(np.ones((0, 4)), 1.0).shape == (0, 4)
    assert entropy_normalize(np.ones((0, 4)), np.ones((3, 1))).shape == (3, 0, 4)


def test_a_single_row_gives_scalars():
    q, info = entropy_normalize(P, 1.0, log=True)
    assert q.shape == (4,)
    assert isinstance(info, EntropyNormalization)
    assert isinstance(info.gamma, np.float64) and isinstance(info.status, np.int32)
    again = pickle.loads(pickle.dumps(info))
    assert again.gamma == info.gamma
    with pytest.raises(AttributeError):
        info.gamma = 1


def test_out(dtype, rng):
    p = rng.exponential(size=(6, 8)).astype(dtype)
    expected = entropy_normalize(p, 1.5)
    out = np.full((6, 8), NAN, dtype=dtype)
    assert entropy_normalize(p, 1.5, out=out) is out
    np.testing.assert_array_equal(out, expected)
    wide = np.full((6, 16), NAN, dtype=dtype)
    entropy_normalize(p, 1.5, out=wide[:, ::2])
    np.testing.assert_array_equal(wide[:, ::2], expected)
    assert np.isnan(wide[:, 1::2]).all()
    turned = np.empty((8, 6), dtype=dtype)
    result, info = entropy_normalize(p.T, 1.5, axis=0, out=turned, log=True)
    assert result is turned
    np.testing.assert_array_equal(turned, expected.T)
    both = p.copy()
    assert entropy_normalize(both, 1.5, out=both) is both
    np.testing.assert_array_equal(both, expected)
    overlapping = np.concatenate([p, p[:1]])
    entropy_normalize(overlapping[:-1], 1.5, out=overlapping[1:])
    np.testing.assert_array_equal(overlapping[1:], expected)
    with pytest.raises(KexueValueError, match="out is for arrays, but p is sparse"):
        entropy_normalize(csr_array(p), 1.5, out=out)


# ---- sparse ----


@pytest.fixture
def ragged(rng):
    """Rows of 1 to 40 entries, and two long ones."""
    counts = rng.integers(1, 41, size=60)
    counts[[11, 40]] = 450, 401
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = np.concatenate([rng.permutation(500)[:count] for count in counts])  # not sorted
    return csr_array((rng.exponential(size=offsets[-1]), columns, offsets), shape=(60, 500))


@pytest.mark.parametrize("logits", [False, True])
@pytest.mark.parametrize("kind", ["gap_low", "gap_high", "perplexity"])
def test_ragged_rows_are_dense_rows(ragged, logits, kind, dtype):
    ragged = ragged.astype(dtype)
    function = entropy_normalize_logits if logits else entropy_normalize
    options = {"target_kind": kind, "on_unreachable": "limit", "log": True}
    q, info = function(ragged, 1.3, **options)
    assert isinstance(q, csr_array) and q.dtype == dtype and q.shape == ragged.shape
    np.testing.assert_array_equal(q.indptr, ragged.indptr)
    np.testing.assert_array_equal(q.indices, ragged.indices)
    assert {0} < set(info.status) and info.gamma.shape == (60,)
    for k, (start, stop) in enumerate(zip(q.indptr[:-1], q.indptr[1:], strict=True)):
        expected, row_info = function(ragged.data[start:stop], 1.3, **options)
        np.testing.assert_allclose(q.data[start:stop], expected, rtol=1e-15 if dtype == np.float64 else 2e-7)
        np.testing.assert_allclose(info.gamma[k], row_info.gamma, rtol=1e-15 if dtype == np.float64 else 2e-7)
        assert info.status[k] == row_info.status


def test_ragged_rows_do_not_depend_on_workers(ragged, workers):
    q = entropy_normalize(ragged, 1.2, target_kind="perplexity", on_unreachable="limit", workers=workers)
    serial = entropy_normalize(ragged, 1.2, target_kind="perplexity", on_unreachable="limit", workers=1)
    assert q.data.tobytes() == serial.data.tobytes()


@KINDS
def test_sparse_is_its_dense_matrix(rng, kind):
    p = rng.exponential(size=(20, 30)) * (rng.random((20, 30)) < 0.4)
    targets = target_of(kind, rng.uniform(0.3, 1, size=20), 30, s=(p > 0).sum(axis=1))
    dense, dense_info = entropy_normalize(p, targets, target_kind=kind, log=True)
    for matrix in (csr_array(p), csc_array(p), coo_array(p), csr_matrix(p)):
        q, info = entropy_normalize(matrix, targets, target_kind=kind, log=True)
        assert issparse(q) and q.format == "csr" and isinstance(q, csr_matrix) == isinstance(matrix, csr_matrix)
        np.testing.assert_allclose(q.toarray(), dense, rtol=1e-12)
        np.testing.assert_allclose(info.gamma, dense_info.gamma, rtol=1e-12)


def test_explicit_zeros():
    matrix = csr_array(([0.0, 1.0, 2.0, 4.0], [0, 1, 2, 3], [0, 4]), shape=(1, 6))
    assert entropy_normalize(matrix, 0.8).data[0] == 0
    q = entropy_normalize_logits(matrix, 0.8)
    np.testing.assert_allclose(q.data, entropy_normalize_logits([0.0, 1, 2, 4], 0.8), rtol=1e-15)
    assert q.data[0] > 0


def test_repeated_entries():
    twice = coo_array(([1.0, 2.0, 1.0], ([0, 0, 0], [0, 1, 0])), shape=(1, 2))
    counts = coo_array((np.array([200, 100, 200], dtype=np.uint8), ([0, 0, 0], [0, 1, 0])), shape=(1, 2))
    rows = csr_array((np.array([1.0, 2.0, 1.0]), np.array([0, 1, 0]), np.array([0, 3])), shape=(1, 2))
    for matrix in (twice, rows):
        np.testing.assert_allclose(entropy_normalize(matrix, np.log(2)).toarray(), [[0.5, 0.5]])
        with pytest.raises(KexueValueError, match="u has several entries in one place"):
            entropy_normalize_logits(matrix, 0.1)
    assert rows.nnz == 3
    expected = entropy_normalize([4.0, 1.0], 0.3)
    np.testing.assert_allclose(entropy_normalize(counts, 0.3).toarray(), [expected], rtol=1e-12)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([1, 2, NAN, 3], r"^p\[1, 7\] is nan$"),
        ([1, 2, 1, -3], r"^p\[1, 4\] is negative \(-3.0\)$"),
        ([1, 2, 0, 0], r"^p\[1\] has no positive entry"),
        ([1, 2, 1, 1], r"target\[1\] = 0.1 is out of reach: the 2 positive entries of p\[1\]"),
    ],
)
def test_bad_sparse_rows(entries, message):
    matrix = csr_array((np.array(entries, dtype=float), np.array([0, 2, 7, 4]), np.array([0, 2, 4])), shape=(2, 9))
    with pytest.raises(KexueValueError, match=message):
        entropy_normalize(matrix, [0.1, 0.1])


def test_sparse_arguments(ragged):
    with pytest.raises(KexueValueError, match="axis must be -1 or 1 for sparse p, got 0"):
        entropy_normalize(ragged, 1.0, axis=0)
    with pytest.raises(KexueValueError, match=r"target must be a scalar .* each of the 60 rows of p, but .* \(3,\)"):
        entropy_normalize(ragged, np.ones(3))
    with pytest.raises(KexueValueError, match=r"p\[1\] has no positive entry"):
        entropy_normalize(csr_array([[1, 2], [0, 0]]), 0.5)
    with pytest.raises(TypeError, match="p must hold real numbers"):
        entropy_normalize(ragged.astype(complex), 1.0)
    assert entropy_normalize(csr_array((0, 5)), 1.0).shape == (0, 5)
    np.testing.assert_array_equal(
        entropy_normalize(ragged, 0.1, axis=1, on_unreachable="limit").data,
        entropy_normalize(ragged, 0.1, on_unreachable="limit").data,
    )


# ---- gradients ----


def test_vjp_reference_values():
    upstream = [0.3, -0.7, 1.1, 0.2]
    by_logs, by_entropy = entropy_normalize_logits_vjp(np.log(P), 1.0, upstream)
    np.testing.assert_allclose(by_logs, [0.12250027, -0.28158782, 0.15009855, 0.008989], atol=5e-9)
    by_weights, again = entropy_normalize_vjp(P, 1.0, upstream)
    np.testing.assert_allclose(by_weights, by_logs / P, rtol=1e-14)
    assert again == pytest.approx(by_entropy, rel=1e-14)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("entropy", 1.0),
        ("perplexity", 3.0),
        ("fraction", 0.6),
        ("gap_low", 1e-9),
        ("gap_low", 0.3),
        ("gap_high", 1e-9),
        ("gap_high", 0.2),
    ],
)
@pytest.mark.parametrize("logits", [False, True])
def test_vjp(kind, target, logits, rng):
    p, upstream = rng.exponential(size=5), rng.normal(size=6)
    p = np.insert(p, 2, 0.0)
    with np.errstate(divide="ignore"):
        row = np.log(p) if logits else p
    function = entropy_normalize_logits_vjp if logits else entropy_normalize_vjp
    by_row, by_target = function(row, target, upstream, target_kind=kind)

    def solve(values, goal=target):
        logs = values if logits else [mpmath.log(x) if x > 0 else -mpmath.inf for x in values]
        return reference.solve(logs, goal, kind).q

    values = [mpmath.mpf(x) if x != 0 or logits else -mpmath.inf for x in row]
    exact = reference.gradient(lambda moved: solve([max(x, 0) if not logits else x for x in moved]), values, upstream)
    # Peaked rows of nearly two entries have a gradient that is a small difference of these:
    q, info = (entropy_normalize_logits if logits else entropy_normalize)(row, target, target_kind=kind, log=True)
    terms = np.sort(info.gamma * q)[-2] / (1 if logits else p[q.argmax()])
    for found, one in zip(by_row, exact, strict=True):
        assert abs(found - one) <= 1e-10 * abs(one) + 1e-14 * terms
    assert by_row[2] == 0
    (exact,) = reference.gradient(
        lambda moved: solve(values_of(p, logits), moved[0]), [mpmath.mpf(target)], upstream, "1e-25"
    )
    assert reference.relative_error(by_target, exact) < 1e-10


def values_of(p, logits):
    return [mpmath.log(mpmath.mpf(x)) if x > 0 else -mpmath.inf for x in p] if logits else [mpmath.mpf(x) for x in p]


def test_vjp_by_differences_of_kexue_itself(rng):
    p, upstream = rng.uniform(0.2, 1, size=(3, 6)), rng.normal(size=(3, 6))
    targets = np.array([0.8, 1.2, 1.7])
    by_p, by_target = entropy_normalize_vjp(p, targets, upstream)
    step = 1e-6
    for place in np.ndindex(p.shape):
        move = np.zeros(p.shape)
        move[place] = step
        difference = entropy_normalize(p + move, targets) - entropy_normalize(p - move, targets)
        assert by_p[place] == pytest.approx((upstream * difference).sum() / (2 * step), abs=1e-7)
    difference = (upstream * (entropy_normalize(p, targets + step) - entropy_normalize(p, targets - step))).sum(axis=1)
    np.testing.assert_allclose(by_target, difference / (2 * step), atol=1e-7)


def test_vjp_along_invariant_directions(rng):
    """q does not change with the scale of p, nor with that of u around any shift."""
    p, upstream = rng.exponential(size=(20, 9)), rng.normal(size=(20, 9))
    by_p, _ = entropy_normalize_vjp(p, 1.4, upstream)
    np.testing.assert_allclose((by_p * p).sum(axis=1), 0, atol=1e-13)
    by_u, _ = entropy_normalize_logits_vjp(np.log(p), 1.4, upstream)
    np.testing.assert_allclose(by_u.sum(axis=1), 0, atol=1e-13)
    np.testing.assert_allclose((by_u * np.log(p)).sum(axis=1), 0, atol=1e-12)


def test_vjp_sums_over_what_was_broadcast(rng):
    p, upstream = rng.exponential(size=(2, 1, 5)), rng.normal(size=(2, 3, 5))
    targets = rng.uniform(0.5, 1.4, size=(3,))
    by_p, by_target = entropy_normalize_vjp(p, targets, upstream)
    assert by_p.shape == p.shape and by_target.shape == (3,)
    whole = np.broadcast_to(p, (2, 3, 5)).copy()
    each, each_target = entropy_normalize_vjp(whole, np.broadcast_to(targets, (2, 3)).copy(), upstream)
    np.testing.assert_allclose(by_p, each.sum(axis=1, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(by_target, each_target.sum(axis=0), rtol=1e-12)
    scalar = entropy_normalize_vjp(p, 1.0, upstream[:, :1])[1]
    assert np.shape(scalar) == ()
    columns, _ = entropy_normalize_vjp(p[:, 0].T, 1.0, upstream[:, 0].T, axis=0)
    np.testing.assert_array_equal(columns.T, entropy_normalize_vjp(p[:, 0], 1.0, upstream[:, 0])[0])
    np.testing.assert_allclose(entropy_normalize_vjp(p, 1.0, 1.0)[0], 0, atol=1e-14)


def test_vjp_of_limits(rng):
    p = np.array([[4.0, 2, 1], [4, 2, 1], [1, 1, 1], [4, 2, 1], [4, 2, 1]])
    targets = [0.0, 2.0, 0.5, np.log(3), 0.7]
    by_p, by_target = entropy_normalize_vjp(p, targets, rng.normal(size=(5, 3)), on_unreachable="limit")
    assert not by_p[:4].any() and not by_target[:4].any()
    assert by_p[4].all() and by_target[4]
    with pytest.raises(KexueValueError, match=r"target\[0\] = 0 is not above 0"):
        entropy_normalize_vjp(p, targets, np.ones((5, 3)))


def test_vjp_of_many_rows(rng):
    """They are worked on side by side, which must not show."""
    p, upstream = rng.exponential(size=(700, 40)), rng.normal(size=(700, 40))
    targets = rng.uniform(1, 3, size=700)
    by_p, by_target = entropy_normalize_vjp(p, targets, upstream)
    by_sparse, by_sparse_target = entropy_normalize_vjp(csr_array(p), targets, upstream)
    np.testing.assert_allclose(by_sparse.toarray(), by_p, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(by_sparse_target, by_target, rtol=1e-9)
    for k in (0, 203, 204, 205, 408, 699):
        one, one_target = entropy_normalize_vjp(p[k], targets[k], upstream[k])
        np.testing.assert_array_equal(by_p[k], one)
        assert by_target[k] == one_target


@pytest.mark.parametrize("values", [[1e-200, 3e-200, 2e-200], [1e300, -1e300, 3e299], [0.0, -INF, -1e5]])
def test_vjp_of_logits_of_any_scale(values):
    by_u, by_target = entropy_normalize_logits_vjp(values, 0.5, [1.0, 2.0, -3.0])
    assert np.isfinite(by_u).all() and np.isfinite(by_target) and by_target != 0


def test_vjp_dtypes_and_sparse(ragged, rng, dtype):
    matrix = ragged.astype(dtype)
    upstream = rng.normal(size=matrix.shape)
    options = {"target_kind": "gap_high", "on_unreachable": "limit"}
    by_p, by_target = entropy_normalize_vjp(matrix, 0.2, upstream, **options)
    assert by_p.format == "csr" and by_p.dtype == dtype and np.shape(by_target) == ()
    dense, dense_target = entropy_normalize_vjp(matrix.toarray(), 0.2, upstream, **options)
    assert dense.dtype == dtype
    # float32 rows are solved in float32, and the zeros between the entries change the order of the sums.
    tight = 1e-9 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(by_p.toarray(), dense, rtol=tight, atol=tight)
    np.testing.assert_allclose(by_target, dense_target, rtol=tight)
    entries = upstream[np.repeat(np.arange(60), np.diff(matrix.indptr)), matrix.indices]
    same = csr_array((entries, matrix.indices, matrix.indptr), shape=matrix.shape)
    np.testing.assert_array_equal(entropy_normalize_vjp(matrix, 0.2, same, **options)[0].data, by_p.data)
    with pytest.raises(KexueValueError, match="grad_q must be an array or a CSR matrix of the structure of p"):
        entropy_normalize_vjp(matrix, 0.2, csr_array(upstream), **options)
    with pytest.raises(KexueValueError, match=r"grad_q has shape \(3,\), but q has shape \(60, 500\)"):
        entropy_normalize_vjp(matrix, 0.2, np.ones(3), **options)
    with pytest.raises(KexueValueError, match=r"grad_q has shape \(3,\), but q has shape \(4,\)"):
        entropy_normalize_vjp(P, 1.0, np.ones(3))


@pytest.mark.parametrize(("n", "fraction"), [(10, 0.5), (10, 0.9), (100, 0.5), (100, 0.99), (500, 0.2), (500, 0.9)])
def test_vjp_of_float32(n, fraction, rng):
    """Against float64 of the same numbers, in parts of the row's largest gradient; and by the target."""
    p, upstream = (rng.exponential(size=(200, n)).astype(np.float32) for _ in range(2))
    found, by_target = entropy_normalize_vjp(p, fraction, upstream, target_kind="fraction")
    options = {"target_kind": "fraction"}
    exact, _ = entropy_normalize_vjp(p.astype(np.float64), fraction, upstream.astype(np.float64), **options)
    assert found.dtype == np.float32 and by_target.dtype == np.float64
    errors = np.abs(found - exact).max(axis=1) / np.abs(exact).max(axis=1)
    assert np.median(errors) < 2e-6 and errors.max() < 1e-4
    each = np.full(200, fraction)
    _, found = entropy_normalize_vjp(p, each, upstream, **options)
    _, exact = entropy_normalize_vjp(p.astype(np.float64), each, upstream.astype(np.float64), **options)
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-5 * np.abs(exact).max())


@pytest.mark.parametrize("size", [(300, 10), (40, 130), (3, 5000)])
def test_vjp_does_not_depend_on_workers(size, rng, dtype):
    p, upstream = rng.exponential(size=size).astype(dtype), rng.normal(size=size).astype(dtype)
    kept = p.copy(), upstream.copy()
    one = entropy_normalize_vjp(p, 0.7, upstream, target_kind="fraction", workers=1)
    many = entropy_normalize_vjp(p, 0.7, upstream, target_kind="fraction", workers=4)
    np.testing.assert_array_equal(one[0], many[0])
    assert one[1] == many[1]
    np.testing.assert_array_equal(p, kept[0])
    np.testing.assert_array_equal(upstream, kept[1])


# ---- affinities ----


def points(rng, n, dtype=np.float64):
    x = rng.normal(size=(n, 4))
    return ((x[:, None] - x) ** 2).sum(axis=-1).astype(dtype)


def test_affinities_are_those_of_scikit_learn(rng):
    utils = pytest.importorskip("sklearn.manifold._utils")
    distances = points(rng, 60, np.float32)
    # Its square matrices are without the diagonal, and it stops at an entropy within 1e-5.
    theirs = utils._binary_search_perplexity(distances, 15.0, 0)
    ours, info = perplexity_affinities(distances, 15.0, log=True)
    np.testing.assert_allclose(ours, theirs, rtol=2e-4, atol=1e-7)
    np.testing.assert_allclose(np.exp(scipy_entropy(ours.astype(np.float64), axis=1)), 15, rtol=1e-5)
    assert not ours.diagonal().any() and (info.gamma > 0).all()
    neighbours = np.sort(distances, axis=1)[:, 1:31]
    theirs = utils._binary_search_perplexity(np.ascontiguousarray(neighbours), 10.0, 0)
    np.testing.assert_allclose(perplexity_affinities(neighbours, 10.0), theirs, rtol=2e-4, atol=1e-7)


def test_affinities(rng, dtype):
    distances = points(rng, 40, dtype)
    perplexities = rng.uniform(2, 30, size=40)
    P, info = perplexity_affinities(distances, perplexities, log=True)
    assert P.dtype == dtype and info.gamma.shape == (40,)
    np.testing.assert_allclose(P.sum(axis=1), 1, rtol=1e-6)
    masked = -distances.astype(np.float64)
    np.fill_diagonal(masked, -INF)
    expected, expected_info = entropy_normalize_logits(masked, perplexities, target_kind="perplexity", log=True)
    np.testing.assert_allclose(P, expected, rtol=1e-12 if dtype == np.float64 else 1e-4, atol=1e-30)
    np.testing.assert_allclose(info.gamma, expected_info.gamma, rtol=1e-12 if dtype == np.float64 else 1e-5)
    # The diagonal does not matter, whatever it holds.
    np.fill_diagonal(distances, NAN)
    np.testing.assert_array_equal(perplexity_affinities(distances, perplexities), P)


def test_affinities_with_the_diagonal(rng):
    distances = points(rng, 12)
    whole = perplexity_affinities(distances, 5.0, exclude_diagonal=False)
    np.testing.assert_allclose(whole, entropy_normalize_logits(-distances, np.log(5)), rtol=1e-12)
    assert whole.diagonal().all()
    with pytest.raises(KexueValueError, match=r"exclude_diagonal needs a square matrix, but .* \(3, 12\)"):
        perplexity_affinities(distances[:3], 2.0, exclude_diagonal=True)
    np.testing.assert_array_equal(perplexity_affinities(distances, 5.0), perplexity_affinities(distances.T.copy(), 5.0))


def test_affinities_of_graphs(rng, dtype):
    pytest.importorskip("sklearn")
    from sklearn.neighbors import kneighbors_graph

    x = rng.normal(size=(50, 3))
    graph = kneighbors_graph(x, 12, mode="distance").power(2).astype(dtype)
    P = perplexity_affinities(graph, 5.0)
    assert issparse(P) and P.format == "csr" and P.dtype == dtype and P.nnz == 50 * 12
    dense = perplexity_affinities(graph.data.reshape(50, 12), 5.0)
    np.testing.assert_array_equal(P.data.reshape(50, 12), dense)
    with_itself = kneighbors_graph(x, 13, mode="distance", include_self=True).power(2).astype(dtype)
    Q = perplexity_affinities(with_itself, 5.0)
    assert with_itself.nnz == 50 * 13 and not Q.diagonal().any()
    np.testing.assert_allclose(Q.toarray(), P.toarray(), rtol=1e-6 if dtype == np.float32 else 1e-12)
    assert perplexity_affinities(with_itself, 5.0, exclude_diagonal=False).diagonal().all()


def test_affinities_far_and_equal():
    distances = np.array([[0, 1, INF, 4], [1, 0, 2, INF], [INF, 2, 0, 1], [4, INF, 1, 0]])
    P = perplexity_affinities(distances, 1.5)
    assert (P[distances == INF] == 0).all()
    np.testing.assert_array_equal(perplexity_affinities(np.ones((4, 4)), 3.0), (1 - np.eye(4)) / 3)
    far = perplexity_affinities(1e12 + points(np.random.default_rng(0), 10), 4.0)
    np.testing.assert_allclose(np.exp(scipy_entropy(far, axis=1)), 4, rtol=1e-9)


@pytest.mark.parametrize(
    ("distances", "perplexity", "message"),
    [
        (np.ones((3, 3)), 4.0, r"perplexity = 4 is out of reach: the 2 finite entries of squared_distances\[0\] are"),
        (np.arange(9.0).reshape(3, 3), 2.5, r"perplexity = 2.5 is above the largest perplexity 2 of squared_dist"),
        (np.arange(12.0).reshape(3, 4), [2, 0.5, 1], r"perplexity\[1\] is 0.5, but a perplexity must be"),
        (np.arange(12.0).reshape(3, 4), [2, 2], r"perplexity has shape \(2,\), which does not broadcast"),
        (np.arange(12.0).reshape(3, 4), [[2], [2]], r"perplexity must be a scalar or .* each of the 3 rows"),
        ([[0, NAN, 1], [1, 0, 1], [1, 1, 0]], 1.5, r"squared_distances\[0, 1\] is nan"),
        ([[0, -INF, 1], [1, 0, 1], [1, 1, 0]], 1.5, r"squared_distances\[0, 1\] is -inf"),
        ([[0, 1, 2], [2, 0, 3], [INF, INF, 0]], 1.5, r"squared_distances\[2\] has no finite entry off the diagonal"),
        (np.ones(4), 2.0, "squared_distances must have 2 dimensions"),
    ],
)  # fmt: skip
def test_bad_affinities(distances, perplexity, message):
    with pytest.raises(KexueValueError, match=message):
        perplexity_affinities(distances, perplexity)


# ---- temperatures and the curve ----


def test_temperature(rng):
    u = 3 * rng.normal(size=(20, 9))
    targets = rng.uniform(0.3, 2, size=20)
    temperature = temperature_for_entropy(u, targets)
    powers = np.exp((u - u.max(axis=1, keepdims=True)) / temperature[:, None])
    np.testing.assert_allclose(scipy_entropy(powers, axis=1), targets, rtol=1e-12)
    np.testing.assert_array_equal(temperature_for_entropy(u.T, targets, axis=0), temperature)
    np.testing.assert_allclose(temperature_for_entropy(7 * u, targets), 7 * temperature, rtol=1e-12)
    np.testing.assert_array_equal(temperature_for_entropy(csr_array(u), targets), temperature)
    assert temperature_for_entropy([1.0, 2.0, 3.0], np.log(3)) == INF
    assert temperature_for_entropy([1.0, 2.0, 3.0], 0.0, on_unreachable="limit") == 0
    assert isinstance(temperature_for_entropy([1.0, 2.0, 3.0], 0.5), float)
    with pytest.raises(KexueValueError, match="target = 0 is not above 0, the limit of the entropy of logits"):
        temperature_for_entropy([1.0, 2.0, 3.0], 0.0)


def test_power_curve():
    entropy, slope = entropy_power_curve(P, 1.7)
    np.testing.assert_allclose(slope, -0.400642592943312692, rtol=1e-15)
    np.testing.assert_allclose(entropy_power_curve(P, 1.0)[0], 1.2079736875922320731, rtol=1e-15)
    for gamma in (0.0, 1e-9, 0.3, 2.0, 20.0, 60.0, 1e3):
        with mpmath.workdps(400):  # 1 + 1e-299 is in the entropy
            _, low, _, exact_slope = reference.moments(reference.logs_of_weights(P), mpmath.mpf(gamma))
        entropy, slope = entropy_power_curve(P, gamma)
        assert reference.relative_error(entropy, low) < 1e-12
        assert reference.relative_error(slope, exact_slope) < 1e-12
    entropy, slope = entropy_power_curve([[1, 2, 0], [4, 4, 0]], [[0.0], [3.0]])
    assert entropy.shape == slope.shape == (2, 2)
    np.testing.assert_allclose(entropy[0], np.log(2))
    np.testing.assert_array_equal(slope[0], 0)
    np.testing.assert_array_equal(entropy_power_curve(np.array([[1, 2, 0], [4, 4, 0]]).T, 3.0, axis=0)[0], entropy[1])


@pytest.mark.parametrize("p", [[1e-310, 3e-310, 2e-320], [1e300, 1e-300, 5e299], 1 + 1e-12 * np.arange(5.0)], ids=str)
def test_power_curve_of_any_scale(p):
    with mpmath.workdps(60):
        _, low, _, exact = reference.moments(reference.logs_of_weights(p), mpmath.mpf(2))
    entropy, slope = entropy_power_curve(p, 2.0)
    assert reference.relative_error(entropy, low) < 1e-14
    assert (
        reference.relative_error(slope, exact) < 1e-3 * (len(p) == 5) + 1e-14
    )  # the deviations of 1e-12 have 4 digits


@pytest.mark.parametrize(
    ("p", "gamma", "message"),
    [
        ([[1, 2], [NAN, 1]], 1, r"p\[1, 0\] is nan"),
        ([[1, 2], [1, -1]], 1, r"p\[1, 1\] is negative \(-1.0\)"),
        ([[1, 2], [0, 0]], 1, "has no positive entry"),
        (P, -1, "gamma is -1"),
        (P, [1, INF], r"gamma\[1\] is inf"),
        (np.ones((2, 3)), np.ones(3), r"gamma has shape \(3,\), which does not broadcast with \(2,\)"),
        (1.0, 1.0, "p must have at least 1 dimension"),
        (np.ones((3, 0)), 1.0, "p has no entries along the axis"),
    ],
)
def test_bad_power_curve(p, gamma, message):
    with pytest.raises(KexueValueError, match=message):
        entropy_power_curve(p, gamma)


@settings(max_examples=50)
@given(weights, st.floats(0.05, 0.95))
def test_curve_and_normalisation_are_inverse(p, share):
    p = np.append(p, [1.0, 2000.0])
    target = share * np.log((p > 0).sum())
    _, info = entropy_normalize(p, target, log=True)
    assert entropy_power_curve(p, info.gamma)[0] == pytest.approx(target, rel=1e-12)


# ---- Dask ----


@pytest.fixture
def lazy():
    return pytest.importorskip("dask.array").from_array


def test_dask_arrays_stay_lazy(lazy, rng, dtype):
    p = rng.exponential(size=(30, 8)).astype(dtype)
    targets = rng.uniform(0.5, 1.9, size=30)
    chunks = lazy(p, chunks=(7, 8))
    q = entropy_normalize(chunks, targets)
    assert type(q).__module__.startswith("dask.") and q.dtype == dtype and q.chunks == chunks.chunks
    np.testing.assert_array_equal(q.compute(), entropy_normalize(p, targets))
    columns = entropy_normalize(chunks.T, lazy(targets, chunks=11), axis=0)
    np.testing.assert_array_equal(columns.compute(), entropy_normalize(p, targets).T)
    u = entropy_normalize_logits(lazy(np.log(p), chunks=(7, 8)), 0.6, target_kind="fraction")
    np.testing.assert_array_equal(u.compute(), entropy_normalize_logits(np.log(p), 0.6, target_kind="fraction"))
    temperature = temperature_for_entropy(chunks, targets)
    np.testing.assert_array_equal(temperature.compute(), temperature_for_entropy(p, targets))
    entropy, slope = entropy_power_curve(chunks, 2.0)
    np.testing.assert_array_equal(entropy.compute(), entropy_power_curve(p, 2.0)[0])
    np.testing.assert_array_equal(slope.compute(), entropy_power_curve(p, 2.0)[1])


def test_dask_info(lazy, rng):
    p = rng.exponential(size=(3, 10, 4))
    q, info = entropy_normalize(lazy(p, chunks=(2, 4, 4)), [[0.5], [1.0], [1.2]], log=True)
    expected, expected_info = entropy_normalize(p, [[0.5], [1.0], [1.2]], log=True)
    np.testing.assert_array_equal(q.compute(), expected)
    for name in ("gamma", "entropy", "status", "n_iter"):
        part, expected_part = getattr(info, name), getattr(expected_info, name)
        assert part.shape == (3, 10) and part.dtype == expected_part.dtype
        np.testing.assert_array_equal(part.compute(), expected_part)


def test_dask_gradients(lazy, rng):
    p, upstream = rng.exponential(size=(12, 5)), rng.normal(size=(12, 5))
    for target in (1.0, rng.uniform(0.5, 1.4, size=12)):
        by_p, by_target = entropy_normalize_vjp(lazy(p, chunks=(5, 5)), target, upstream)
        expected, expected_target = entropy_normalize_vjp(p, target, upstream)
        assert by_target.shape == np.shape(target)
        np.testing.assert_array_equal(by_p.compute(), expected)
        np.testing.assert_allclose(by_target.compute(), expected_target, rtol=1e-12)


def test_dask_affinities(lazy, rng, dtype):
    distances = points(rng, 20, dtype)
    P = perplexity_affinities(lazy(distances, chunks=(6, 20)), 5.0)
    assert P.dtype == dtype
    np.testing.assert_allclose(P.compute(), perplexity_affinities(distances, 5.0), rtol=1e-6, atol=1e-30)
    near = np.sort(distances, axis=1)[:, 1:9]
    nearest = perplexity_affinities(lazy(near, chunks=(6, 8)), np.full(20, 4.0))
    np.testing.assert_array_equal(nearest.compute(), perplexity_affinities(near, 4.0))


def test_dask_errors(lazy):
    q = entropy_normalize(lazy(np.array([[1.0, NAN]]), chunks=(1, 2)), 0.5)
    with pytest.raises(KexueValueError, match=r"p\[0, 1\] is nan"):
        q.compute(scheduler="synchronous")
    with pytest.raises(ValueError, match="multiple chunks"):
        entropy_normalize(lazy(np.ones((2, 4)), chunks=(2, 2)), 0.5)
    with pytest.raises(TypeError, match="out cannot be used with Dask arrays"):
        entropy_normalize(lazy(np.ones((2, 4)), chunks=(2, 4)), 0.5, out=np.empty((2, 4)))
    with pytest.raises(KexueValueError, match="target_kind must be"):
        entropy_normalize(lazy(np.ones((2, 4)), chunks=(2, 4)), 0.5, target_kind="bits")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(20, 7), (20, 100), (3, 1000)])
@pytest.mark.parametrize("kind, target", [("entropy", 0.5), ("gap_low", 1e-6), ("gap_high", 1e-6), ("fraction", 0.9)])
def test_logits_masked_with_the_least_number(dtype, shape, kind, target):
    """Masks of attention are finfo.min, far below all other logits, and -1e15 or -1e30."""
    least = float(np.finfo(dtype).min)
    for mask in (-1e9, -1e15, -1e30, least / 2, least):
        u = np.random.default_rng(0).normal(size=shape).astype(dtype)
        u[:, shape[1] // 2 :] = mask
        q, info = kexue.entropy_normalize_logits(u, target, target_kind=kind, log=True)
        assert not info.status.any(), mask
        assert np.isfinite(q).all() and np.allclose(q.sum(axis=1), 1, rtol=1e-5)
        limits = {"gap_high": np.log(shape[1]) - target, "fraction": target * np.log(shape[1])}
        assert np.allclose(info.entropy, limits.get(kind, target), rtol=1e-6)
        assert np.allclose(kexue.entropy(q), info.entropy, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_logits_over_the_whole_range(dtype):
    largest = float(np.finfo(dtype).max)
    for u in (
        [largest, 0, -largest],
        [largest, -largest],
        [1, 2, -largest / 2, largest / 2],
        [largest, 0.99 * largest, 0],
    ):
        q, info = kexue.entropy_normalize_logits(np.array(u, dtype), 0.5, log=True)
        assert info.status == 0 and np.isclose(kexue.entropy(q), 0.5, rtol=1e-5) and np.isclose(q.sum(), 1, rtol=1e-6)


def test_far_points_are_no_neighbours():
    P = kexue.perplexity_affinities(np.array([[1.0, 2.0, 3.0, 1e38]], dtype=np.float32), 1.5)
    assert np.isfinite(P).all() and P[0, 3] < 1e-40 and np.isclose(P.sum(), 1)


@pytest.mark.parametrize("perplexity", [np.full((2, 3), 1.5), np.full((3, 1), 1.5), np.full(2, 1.5)])
def test_dask_affinities_take_a_perplexity_a_row(lazy, perplexity):
    squared = np.array([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    for distances in (squared, lazy(squared, chunks=(2, 3))):
        with pytest.raises(kexue.KexueValueError, match=r"perplexity .* shape"):
            kexue.perplexity_affinities(distances, perplexity)
