import math

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from sklearn.random_projection import johnson_lindenstrauss_min_dim

import kexue
from kexue import KexueValueError
from kexue._johnson_lindenstrauss import _tilted_entropy
from reference import random_angle as reference

KINDS = ("exact", "chernoff", "lemma")
RULES = ("exact", "chernoff", "lemma24", "lemma16", "dasgupta-gupta")


# ---- one vector ----


def test_values_of_the_norm():
    values = [float(kexue.norm_concentration_bound(100, 0.5, kind=kind)) for kind in KINDS]
    assert values == pytest.approx([9.108853476016346e-4, 8.919204799771017e-3, 0.08787386724681483], rel=2e-14)
    assert float(kexue.inner_product_bound(100, 0.5)) == pytest.approx(2 * values[2], rel=1e-15)


@pytest.mark.parametrize("n", [2, 4, 30, 100, 398, 402, 1000, 10_000, 1_000_000])
def test_exact_tails_against_mpmath(n):
    for eps in (1e-4, 0.001, 0.01, 0.02, 0.05, 0.2, 0.5, 0.9, 0.999999):
        expected = reference.norm_deviation(n, eps)
        log = mpmath.log(expected)
        assert abs(float(kexue.norm_concentration_bound(n, eps, log=True)) - log) < 1e-13 * (1 + abs(log))
        if log > -700:
            assert abs(float(kexue.norm_concentration_bound(n, eps)) / expected - 1) < 1e-12


def test_exact_tails_of_odd_dimensions():
    n = np.array([1, 3, 7, 33, 151])
    for eps in (0.01, 0.3, 0.9):
        expected = scipy.stats.chi2.sf(n * (1 + eps), n) + scipy.stats.chi2.cdf(n * (1 - eps), n)
        np.testing.assert_allclose(kexue.norm_concentration_bound(n, eps), expected, rtol=1e-12)


@pytest.mark.parametrize("n", [10**15, 10**20, 10**30, 10**300])
def test_exact_tails_near_the_median_of_huge_dimensions(n):
    with np.errstate(all="raise", under="ignore"):
        for y in (0.1, 0.5, 1.0, 1.5, 3.0):
            eps = y * math.sqrt(2 / n)
            expected = math.erfc(eps * math.sqrt(n) / 2)  # the normal law: skewness cancels
            assert float(kexue.norm_concentration_bound(n, eps)) == pytest.approx(expected, rel=1e-12)
        assert float(kexue.norm_concentration_bound(1e308, 0.5, log=True)) == pytest.approx(
            float(kexue.norm_concentration_bound(1e308, 0.5, kind="chernoff", log=True)), rel=1e-12
        )


def test_nothing_underflows_in_logarithms():
    n = 10.0 ** np.arange(4, 13)
    for kind in KINDS:
        values = kexue.norm_concentration_bound(n, 0.7, kind=kind, log=True)
        np.testing.assert_allclose(values[-1] / values[-2], 10, rtol=1e-8)
        assert (np.diff(values) < 0).all()
    # One tail is left, and all but its exponent is a factor.
    rate = float(kexue.norm_concentration_bound(10**12, 0.7, log=True)) / 10**12
    assert rate == pytest.approx((math.log1p(0.7) - 0.7) / 2, rel=1e-9)
    assert kexue.norm_concentration_bound(10**12, 0.7) == 0


def test_chernoff_against_the_formulas():
    n = np.array([1, 10, 1000])
    for eps in (1e-6, 1e-3, 0.4, 0.49, 0.51, 0.95):
        with mpmath.workdps(40):
            x = mpmath.mpf(eps)
            expected = [
                float(mpmath.exp(k * (mpmath.log(1 + x) - x) / 2) + mpmath.exp(k * (mpmath.log(1 - x) + x) / 2))
                for k in n.tolist()
            ]
            t = (mpmath.sqrt(1 + 4 * x**2) - 1) / (2 * x)
            inner = [float(2 * mpmath.exp(-k * (t * x + mpmath.log(1 - t**2) / 2))) for k in n.tolist()]
        np.testing.assert_allclose(kexue.norm_concentration_bound(n, eps, kind="chernoff"), expected, rtol=1e-13)
        np.testing.assert_allclose(kexue.inner_product_bound(n, eps, kind="chernoff"), inner, rtol=1e-13)
    logarithm = kexue.inner_product_bound(10**9, 0.5, log=True)
    assert float(logarithm) == pytest.approx(math.log(4) - 0.25e9 / 8, rel=1e-15)


@given(st.integers(1, 10**6), st.floats(1e-4, 0.9999))
def test_bounds_are_in_order(n, eps):
    exact, chernoff, lemma = (float(kexue.norm_concentration_bound(n, eps, kind=k, log=True)) for k in KINDS)
    slack = 1e-12 * (1 + abs(exact))
    assert exact <= chernoff + slack and chernoff <= lemma + slack and exact <= slack
    inner = [float(kexue.inner_product_bound(n, eps, kind=kind, log=True)) for kind in ("chernoff", "lemma")]
    assert inner[0] <= inner[1] + slack
    # The exact law of unit vectors concentrates more than that of Gaussian ones is bounded to.
    if n > 1:
        assert float(kexue.random_angle(n).cosine_logsf(eps)) + math.log(2) <= inner[0] + slack


def test_exact_failure_falls_with_the_dimension():
    """On which the bisection of jl_min_dim depends."""
    n = np.arange(1, 1200)[:, None]
    eps = np.concatenate([np.logspace(-8, -1, 20), np.linspace(0.1, 0.9999999, 60)])
    assert (np.diff(kexue.norm_concentration_bound(n, eps, log=True), axis=0) < 0).all()


def test_simulated_norms_and_inner_products(rng):
    n, eps, trials = 60, 0.3, 40_000
    u, v = rng.standard_normal((2, trials, n)) / math.sqrt(n)
    failed = np.mean(np.abs((u * u).sum(axis=1) - 1) >= eps)
    exact = float(kexue.norm_concentration_bound(n, eps))
    assert abs(failed - exact) < 4 * math.sqrt(exact * (1 - exact) / trials)  # standard errors
    large = np.mean(np.abs((u * v).sum(axis=1)) >= eps)
    assert 0 < large < kexue.inner_product_bound(n, eps, kind="chernoff")


# ---- many points ----


@pytest.mark.parametrize(
    ("samples", "eps", "expected"),
    [
        (1000, 0.1, [7403, 8565, 16579, 11053, 5921]),
        (1000, 0.5, [364, 424, 664, 443, 332]),
        (10**6, 0.1, [16049, 17381, 33158, 22105, 11842]),
    ],
)
def test_values_of_min_dim(samples, eps, expected):
    assert [kexue.jl_min_dim(samples, eps, rule=rule) for rule in RULES] == expected
    assert kexue.jl_min_dim(samples, eps) == expected[1]
    assert isinstance(kexue.jl_min_dim(samples, eps), int)


@given(st.integers(2, 10**9), st.floats(0.01, 0.99))
def test_scikit_learn_rounds_down(samples, eps):
    assert kexue.jl_min_dim(samples, eps, rule="dasgupta-gupta") - johnson_lindenstrauss_min_dim(samples, eps=eps) == 1


@given(st.integers(2, 10**8), st.floats(0.02, 0.98), st.floats(1e-200, 0.999) | st.none())
def test_min_dim_is_the_least(samples, eps, delta):
    allowed = 1 / samples if delta is None else delta
    pairs = math.log(samples) + math.log(samples - 1) - math.log(2)
    for rule in ("exact", "chernoff"):
        n = kexue.jl_min_dim(samples, eps, rule=rule, delta=delta)
        failure = pairs + kexue.norm_concentration_bound([max(n - 1, 1), n], eps, kind=rule, log=True)
        slack = 1e-12 * abs(failure[1])
        assert failure[1] <= math.log(allowed) + slack
        assert n == 1 or failure[0] > math.log(allowed) - slack


@given(st.integers(2, 10**8), st.floats(0.02, 0.98))
def test_guarantees(samples, eps):
    """Each rule does what its name is worth, by its own bound, and exactly."""
    dims = {rule: kexue.jl_min_dim(samples, eps, rule=rule) for rule in RULES}
    success = {rule: float(kexue.jl_success_probability(samples, n, eps)) for rule, n in dims.items()}
    high = 1 - 1 / samples - 1e-9
    assert success["exact"] >= high and success["chernoff"] >= high and success["lemma24"] >= high
    by_lemma = float(kexue.jl_success_probability(samples, dims["lemma24"], eps, kind="lemma"))
    assert by_lemma >= high
    for rule in ("lemma16", "dasgupta-gupta"):
        assert float(kexue.jl_success_probability(samples, dims[rule], eps, kind="chernoff")) >= 1 / samples - 1e-9


def test_success_probability():
    n = np.array([[300], [364], [424], [663]])
    one_minus = 1 - kexue.jl_success_probability(1000, n, 0.5)
    np.testing.assert_allclose(one_minus, 499500 * kexue.norm_concentration_bound(n, 0.5), atol=1e-15)
    assert kexue.jl_success_probability(1000, 10, 0.5) == 0
    assert kexue.jl_success_probability(1000, 10, 0.5, log=True) == -np.inf
    assert kexue.jl_success_probability(1, 1, 0.5) == 1
    nearly = float(kexue.jl_success_probability(1000, 5000, 0.5, log=True))
    assert nearly == pytest.approx(-499500 * float(kexue.norm_concentration_bound(5000, 0.5)), rel=1e-12)
    assert -1e-80 < nearly < 0


def test_simulated_projections(rng):
    """With the least dimension, all pairs of points are kept in no fewer of 200 projections than is promised."""
    X = rng.standard_normal((12, 40))
    eps, delta = 0.5, 0.2
    n = kexue.jl_min_dim(12, eps, rule="exact", delta=delta)
    first, second = np.triu_indices(12, 1)
    differences = X[first] - X[second]
    squares = (differences**2).sum(axis=1)
    kept = 0
    for _ in range(200):
        projected = differences @ (rng.standard_normal((40, n)) / math.sqrt(n))
        kept += bool((np.abs((projected**2).sum(axis=1) / squares - 1) < eps).all())
    assert kept >= 200 * (1 - delta) - 3 * math.sqrt(200 * delta * (1 - delta))


def test_min_dim_of_arrays_and_edges():
    result = kexue.jl_min_dim([[10, 1000]], [[0.1], [0.5]], rule="lemma16")
    assert result.dtype == np.int64
    assert result.tolist() == [[kexue.jl_min_dim(n, e, rule="lemma16") for n in (10, 1000)] for e in (0.1, 0.5)]
    deltas = kexue.jl_min_dim(100, 0.3, rule="exact", delta=[0.5, 0.1, 1e-300])
    assert (np.diff(deltas) > 0).all()
    for eps in (0.1, 1e-200, 5e-324):
        assert [kexue.jl_min_dim(1, eps, rule=rule) for rule in RULES] == [1] * 5
    assert kexue.jl_min_dim(np.array([1, 2]), 0.5, rule="exact").tolist() == [1, kexue.jl_min_dim(2, 0.5, rule="exact")]
    assert kexue.jl_min_dim(10**30, 0.5) > kexue.jl_min_dim(10**18, 0.5)
    with pytest.raises(OverflowError, match="eps"):
        kexue.jl_min_dim(1000, 1e-9)
    with pytest.raises(OverflowError, match="eps"):
        kexue.jl_min_dim(1000, [0.1, 1e-9], rule="lemma24")
    with np.errstate(all="raise", under="ignore"):
        for rule in RULES:
            with pytest.raises(OverflowError, match="eps"):
                kexue.jl_min_dim(1000, 1e-200, rule=rule)


# ---- embeddings ----


@pytest.mark.parametrize(
    ("n", "expected"),
    [
        (32, -7.7747051306673),
        (64, -15.4734001602341),
        (96, -23.1725593524102),
        (128, -30.8718338322844),
        (256, -61.6692189226215),
        (512, -123.264246843547),
    ],
)
def test_entropies(n, expected):
    assert _tilted_entropy(n) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 40, 41, 1001, 20_000])
def test_entropies_against_bessel_functions(n):
    assert _tilted_entropy(n) == pytest.approx(float(reference.tilted_entropy(n)), rel=3e-14)


def test_entropy_rate():
    assert _tilted_entropy(10**8) / 10**8 == pytest.approx(-0.240605912529801723748879, rel=1e-8)


def test_embedding_dim():
    items = [512, 100_000, 5_000_000]
    assert kexue.embedding_dim(items).tolist() == [52, 96, 128]
    assert kexue.embedding_dim(items, method="post").tolist() == [52, 96, 129]
    assert kexue.embedding_dim(items, method="asymptotic").tolist() == [
        math.ceil(8.31234768494011 * math.log(n)) for n in items
    ]
    assert kexue.attention_head_dim(512) == 52 and isinstance(kexue.attention_head_dim(512), int)
    assert kexue.attention_head_dim([512, 1], method="post").tolist() == [52, 1]
    assert [kexue.embedding_dim(1, method=method) for method in ("exact", "asymptotic", "post")] == [1, 1, 1]


@given(st.integers(1, 10**15))
def test_embedding_dim_is_the_least(items):
    n = kexue.embedding_dim(items)
    entropy = 2 * math.log(items)
    assert entropy + _tilted_entropy(n) < 0
    assert n == 1 or entropy + _tilted_entropy(n - 1) >= 0


# ---- arguments ----

CALLS = {
    "norm_concentration_bound": lambda eps, n=10: kexue.norm_concentration_bound(n, eps),
    "inner_product_bound": lambda eps, n=10: kexue.inner_product_bound(n, eps),
    "jl_success_probability": lambda eps, n=10: kexue.jl_success_probability(n, 10, eps),
    "jl_min_dim": lambda eps, n=10: kexue.jl_min_dim(n, eps),
}


@pytest.mark.parametrize("name", CALLS)
def test_bad_eps(name):
    for eps in (0, 1, -0.5, 1.5, np.nan, np.inf):
        with pytest.raises(KexueValueError, match=r"eps must be in \(0, 1\)"):
            CALLS[name](eps)
    with pytest.raises(KexueValueError, match=r"eps\[1\] must be in \(0, 1\), but is 2.0; eps has shape \(2,\)"):
        CALLS[name]([0.5, 2])
    with pytest.raises(TypeError, match="eps must hold real numbers"):
        CALLS[name]("x")


@pytest.mark.parametrize("name", CALLS)
def test_bad_counts(name):
    argument = "n_samples" if name.startswith("jl") else "n"
    for n in (0, -1, 2.5, np.nan, np.inf):
        with pytest.raises(KexueValueError, match=f"^{argument} must be a whole number of at least 1"):
            CALLS[name](0.5, n)
    with pytest.raises(KexueValueError, match=rf"{argument}\[1\]"):
        CALLS[name](0.5, [3, 0])
    with pytest.raises(TypeError, match=f"{argument} must hold whole numbers, not bool"):
        CALLS[name](0.5, True)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: kexue.jl_success_probability(10, 0, 0.5), "n_components must be a whole number"),
        (
            lambda: kexue.jl_success_probability(10, 10, 0.5, kind="x"),
            "kind must be one of 'exact', 'chernoff', 'lemma'",
        ),
        (lambda: kexue.norm_concentration_bound(10, 0.5, kind=["x"]), "kind must be one of"),
        (lambda: kexue.inner_product_bound(10, 0.5, kind="exact"), "kind must be one of 'chernoff', 'lemma'"),
        (lambda: kexue.jl_min_dim(10, 0.5, rule="24"), "rule must be one of 'exact', 'chernoff', 'lemma24'"),
        (lambda: kexue.jl_min_dim(10, 0.5, rule=None), "rule must be one of"),
        (lambda: kexue.jl_min_dim(10, 0.5, rule=["exact"]), "rule must be one of"),
        (lambda: kexue.jl_min_dim(10**400, 0.5), "n_samples must be a whole number from 1 to 1.8e308"),
        (lambda: kexue.embedding_dim(-(10**400)), "n_items must be a whole number from 1 to 1.8e308"),
        (lambda: kexue.jl_min_dim(10, 0.5, delta=0), r"delta must be in \(0, 1\)"),
        (lambda: kexue.jl_min_dim(10, 0.5, delta=[0.5, 1]), r"delta\[1\] must be in \(0, 1\)"),
        (lambda: kexue.jl_min_dim(10, 0.5, delta=0.1, rule="lemma24"), "delta is for the rules"),
        (lambda: kexue.embedding_dim(0), "n_items must be a whole number"),
        (lambda: kexue.attention_head_dim([5, 0.5]), r"length\[1\] must be a whole number"),
        (lambda: kexue.embedding_dim(5, method="x"), "method must be one of 'exact', 'asymptotic', 'post'"),
    ],
)
def test_bad_arguments(call, text):
    with pytest.raises(KexueValueError, match=text):
        call()


@pytest.mark.parametrize("name", CALLS)
def test_layouts(name, any_layout, plain, untouched, dtype, rng):
    eps = any_layout(rng.uniform(0.1, 0.9, size=(5, 7)).astype(dtype))
    with untouched(eps):
        result = CALLS[name](eps)
    assert result.shape == eps.shape
    assert result.dtype == (np.int64 if name == "jl_min_dim" else plain(eps).dtype)
    np.testing.assert_array_equal(result, CALLS[name](plain(eps)))
