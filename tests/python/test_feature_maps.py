"""Features of exp(q . k) against their definitions, and the laws of their errors against simulation."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import linear_attention as reference

KINDS = ("positive", "hyperbolic", "trigonometric")
Q, K = np.array([0.3, -0.5, 0.8]), np.array([-0.2, 0.4, 0.9])
VARIANCES = {"positive": 17.356798567, "hyperbolic": 8.205637148, "trigonometric": 0.6291940087}


# ---- random features ----


@pytest.mark.parametrize("kind", KINDS)
def test_favor_features_against_their_definition(kind, dtype, rng):
    X, W = rng.normal(size=(2, 7, 5)).astype(dtype), rng.normal(size=(11, 5))
    phi = kexue.favor_features(X, W, kind=kind)
    assert phi.dtype == dtype and phi.shape == (2, 7, 11 if kind == "positive" else 22)
    exact = np.array(
        [[reference.favor(x.astype(float), W.astype(dtype).astype(float), kind) for x in item] for item in X]
    )
    bound = 64 * np.finfo(dtype).eps  # exponents of some 10 are rounded
    np.testing.assert_allclose(phi, exact, rtol=bound, atol=bound * np.abs(exact).max() / 8)


@pytest.mark.parametrize("kind", KINDS)
def test_log_scale_is_a_factor(kind, dtype, rng):
    X, W = rng.normal(size=(3, 40, 6)).astype(dtype), kexue.favor_projection(30, 6, rng=rng)
    phi, log_scale = kexue.favor_features(X, W, kind=kind, return_log_scale=True)
    assert log_scale.shape == (3, 40) and log_scale.dtype == np.float64
    plain = kexue.favor_features(X, W, kind=kind)
    np.testing.assert_allclose(
        phi * np.exp(log_scale)[..., None], plain, rtol=200 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps
    )
    if kind != "trigonometric":
        np.testing.assert_allclose(phi.max(axis=-1), 1 / math.sqrt(phi.shape[-1]), rtol=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize("kind", ["positive", "hyperbolic"])
def test_products_of_rows_with_large_norms_do_not_vanish(kind, dtype, rng):
    X, W = 100 * rng.normal(size=(2, 50, 6)).astype(dtype), kexue.favor_projection(30, 6, rng=rng)
    (q, k), log_scale = kexue.favor_features(X, W, kind=kind, return_log_scale=True)
    assert np.isfinite(log_scale).all()
    assert (q @ k.T > 0).all()


def test_many_rows_are_the_same_as_one(rng):
    X, W = rng.normal(size=(3000, 4)), kexue.favor_projection(100, 4, rng=rng)  # several blocks
    for kind in KINDS:
        phi, log_scale = kexue.favor_features(X, W, kind=kind, return_log_scale=True)
        for row in (0, 1234, 2999):
            alone, own = kexue.favor_features(X[row], W, kind=kind, return_log_scale=True)
            np.testing.assert_allclose(phi[row], alone, rtol=1e-13, atol=1e-14)
            assert own == pytest.approx(log_scale[row], rel=1e-13)


@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_favor_features_vjp_by_finite_differences(seed, kind):
    rng = np.random.default_rng(seed)
    n, d, m = rng.integers(1, 5, size=3)
    X, W = rng.normal(size=(n, d)), rng.normal(size=(m, d))
    grad = rng.normal(size=(n, m if kind == "positive" else 2 * m))
    result = kexue.favor_features_vjp(X, W, grad, kind=kind)
    assert result.shape == X.shape
    for index in np.ndindex(X.shape):
        values = []
        for step in (1e-6, -1e-6):
            moved = X.copy()
            moved[index] += step
            values.append((kexue.favor_features(moved, W, kind=kind) * grad).sum())
        scale = np.abs(grad * kexue.favor_features(X, W, kind=kind)).sum()
        assert result[index] == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-7, abs=1e-8 * max(1, scale))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("causal", [False, True])
def test_gradient_of_attention_through_features(kind, causal, rng):
    # With the factors held constant, as they cancel.
    queries, keys, V = rng.normal(size=(3, 6, 4))
    W, grad = rng.normal(size=(10, 4)), rng.normal(size=(6, 4))
    options = {"kind": kind, "causal": causal}
    half = math.sqrt(0.5)  # the square root of the scale

    def out(q, k):
        return (kexue.favor_attention(q, k, V, W, **options) * grad).sum()

    phi_Q, _ = kexue.favor_features(queries * half, W, kind=kind, return_log_scale=True)
    phi_K, scales = kexue.favor_features(keys * half, W, kind=kind, return_log_scale=True)
    by_Q, by_K, _ = kexue.linear_attention_vjp(phi_Q, phi_K, V, grad, causal=causal, key_log_scale=scales)
    results = [
        half * kexue.favor_features_vjp(x * half, W, by, kind=kind, return_log_scale=True)
        for x, by in ((queries, by_Q), (keys, by_K))
    ]
    if kind == "trigonometric":
        # Here the factors of keys, e^(|x|^2 / 2), are no part of the features: by their logarithm the gradient is
        # phi . by_phi, and by x that times x.
        results[1] += half * (phi_K * by_K).sum(axis=-1, keepdims=True) * (keys * half)
    for place, result in enumerate(results):
        for index in np.ndindex(6, 4):
            values = []
            for step in (1e-6, -1e-6):
                moved = [queries.copy(), keys.copy()]
                moved[place][index] += step
                values.append(out(*moved))
            expected = (values[0] - values[1]) / 2e-6
            assert result[index] == pytest.approx(expected, rel=1e-6, abs=1e-6 * np.abs(results[place]).max())


def test_favor_layouts(any_layout, plain, untouched, dtype, rng):
    X = any_layout(rng.normal(size=(9, 5)).astype(dtype))
    W = any_layout(rng.normal(size=(9, 5)))
    if W.ndim != 2 or 0 in W.shape:
        W = np.ones((3, X.shape[-1]))
    elif W.shape[1] != X.shape[-1]:
        W = np.ones((3, X.shape[-1]))
    for kind in KINDS:
        with untouched(X, W):
            phi = kexue.favor_features(X, W, kind=kind)
            by_X = kexue.favor_features_vjp(X, W, phi, kind=kind)
        np.testing.assert_allclose(phi, kexue.favor_features(plain(X), plain(W), kind=kind), rtol=1e-5)
        assert by_X.shape == X.shape


@pytest.mark.parametrize("orthogonal", [False, True])
def test_projection_is_the_stream_of_its_rng(orthogonal):
    W = kexue.favor_projection(10, 4, orthogonal=orthogonal, rng=5)
    assert W.shape == (10, 4) and W.dtype == np.float64
    np.testing.assert_array_equal(W, kexue.favor_projection(10, 4, orthogonal=orthogonal, rng=np.random.default_rng(5)))
    np.testing.assert_array_equal(W[:3], kexue.favor_projection(3, 4, orthogonal=orthogonal, rng=5))
    assert (kexue.favor_projection(10, 4, orthogonal=orthogonal, rng=6) != W).any()
    blocks = [W[first : first + 4] @ W[first : first + 4].T for first in range(0, 10, 4)]
    apart = max(np.abs(block - np.diag(np.diag(block))).max() for block in blocks)
    assert apart < 1e-13 if orthogonal else apart > 0.1


@pytest.mark.parametrize("orthogonal", [False, True])
def test_projection_has_normal_rows(orthogonal):
    # Each test fails once in 10^4 correct programs; the seed is fixed.
    from scipy import stats

    d, blocks = 5, 2000
    rng = np.random.default_rng(11)
    rows = np.array([kexue.favor_projection(d, d, orthogonal=orthogonal, rng=rng)[0] for _ in range(blocks)])
    direction = np.array([0.5, -0.5, 0.5, 0.5, 0.0])
    for sample in (rows[:, 0], rows[:, 4], rows @ direction):
        assert stats.kstest(sample, "norm").pvalue > 1e-4
    assert stats.kstest((rows**2).sum(axis=1), stats.chi2(d).cdf).pvalue > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_products_are_unbiased_and_have_the_variance_of_the_law(kind):
    # A mean of 4e5 independent features; 5 standard errors of the mean fail once in 10^6. The error of the variance is
    # known less well (heavy tails), so short vectors: there 4e5 features give it to a few per cent.
    q, k = 0.5 * Q, 0.5 * K
    W = kexue.favor_projection(400_000, 3, orthogonal=False, rng=2)
    phi_q, phi_k = kexue.favor_features(q, W, kind=kind), kexue.favor_features(k, W, kind=kind)
    products = phi_q * phi_k * phi_q.size
    if kind != "positive":
        products = products.reshape(2, -1).sum(axis=0) / 2  # pairs
    exact, law = math.exp(q @ k), float(kexue.favor_relative_variance(q, k, kind=kind))
    assert phi_q @ phi_k == pytest.approx(exact, abs=5 * exact * math.sqrt(law / 400_000))
    assert products.var() / products.mean() ** 2 == pytest.approx(law, rel=0.05)


@pytest.mark.parametrize(("kind", "most"), [("positive", 1.1), ("hyperbolic", 0.6), ("trigonometric", 0.6)])
def test_orthogonal_rows_have_less_variance(kind, most):
    # 2000 draws of 16 rows in 16 dimensions: a ratio of variances is within 10 % of its mean. For short vectors pairs
    # depend on squares of w . x, of which the mean over orthogonal rows has 3 / (d + 2) of the variance.
    rng = np.random.default_rng(4)
    q, k = 0.2 * rng.normal(size=(2, 16))
    variances = []
    for orthogonal in (False, True):
        products = []
        for _ in range(2000):
            W = kexue.favor_projection(16, 16, orthogonal=orthogonal, rng=rng)
            products.append(kexue.favor_features(q, W, kind=kind) @ kexue.favor_features(k, W, kind=kind))
        assert np.mean(products) == pytest.approx(math.exp(q @ k), abs=5 * np.std(products) / math.sqrt(2000))
        variances.append(np.var(products))
    law = float(kexue.favor_relative_variance(q, k, kind=kind)) * math.exp(2 * q @ k) / 16
    assert variances[0] == pytest.approx(law, rel=0.25)
    assert variances[1] < most * variances[0]


# ---- polynomials ----


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("d", [1, 2, 3, 5, 20])
@pytest.mark.parametrize("degree", [0, 1, 2, 3, 4])
def test_polynomials_against_their_definition(degree, d, symmetric, dtype, rng):
    X = rng.normal(size=(2, 3, d)).astype(dtype)
    bound = 4 * (degree + 1) * np.finfo(dtype).eps
    for features, define, kind in (
        (kexue.taylor_features, reference.taylor, "taylor"),
        (kexue.expdef_features, reference.expdef, "expdef"),
    ):
        if kind == "expdef" and degree == 0 or d == 20 and degree == 4 and not symmetric:
            continue
        phi = features(X, degree, symmetric=symmetric)
        size = kexue.feature_dimension(d, degree, kind=kind, symmetric=symmetric)
        assert phi.dtype == dtype and phi.shape == (2, 3, size)
        exact = np.array([[define(x.astype(float), degree, symmetric) for x in item] for item in X])
        np.testing.assert_allclose(phi, exact, rtol=bound, atol=np.finfo(dtype).tiny)


def test_reference_values():
    s = Q @ K
    assert s == pytest.approx(0.46, rel=1e-15)
    for n, taylor, expdef, dims in (
        (2, 1.5658, 1.5129, (13, 10, 16, 10)),
        (3, 1.5820226666666668, 1.5341383703703704, (40, 20, 64, 20)),
        (4, 1.5838882733333335, 1.545608400625, (121, 35, 256, 35)),
    ):
        found = []
        for features, value, kind in (
            (kexue.taylor_features, taylor, "taylor"),
            (kexue.expdef_features, expdef, "expdef"),
        ):
            for symmetric in (False, True):
                phi = features([Q, K], n, symmetric=symmetric)
                assert phi[0] @ phi[1] == pytest.approx(value, rel=1e-14)
                assert kexue.feature_dimension(3, n, kind=kind, symmetric=symmetric) == phi.shape[1]
                found.append(phi.shape[1])
        assert tuple(found) == dims
    for kind, value in VARIANCES.items():
        assert kexue.favor_relative_variance(Q, K, kind=kind) == pytest.approx(value, rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(0, 6))
def test_products_of_polynomials(seed, d, degree):
    rng = np.random.default_rng(seed)
    q, k = rng.normal(size=(2, d))
    s = q @ k
    size = np.abs(q) @ np.abs(k)
    exact = sum(s**m / math.factorial(m) for m in range(degree + 1))
    taylor = kexue.taylor_features([q, k], degree)
    assert taylor[0] @ taylor[1] == pytest.approx(exact, abs=1e-13 * math.exp(size))
    assert abs(taylor[0] @ taylor[1] - math.exp(s)) <= kexue.taylor_remainder_bound(s, degree) + 1e-13 * math.exp(size)
    if degree:
        expdef = kexue.expdef_features([q, k], degree)
        assert expdef[0] @ expdef[1] == pytest.approx((1 + s / degree) ** degree, abs=1e-13 * math.exp(size))
        ratio = kexue.expdef_ratio(s, degree)
        assert expdef[0] @ expdef[1] * math.exp(-s) == pytest.approx(ratio, abs=1e-12 * math.exp(2 * size))


def test_large_degrees(dtype):
    # sqrt(170!) is out of float32's range, monomials over it are not.
    phi = kexue.taylor_features(np.array([[3.0], [2.0]], dtype=dtype), 200)
    assert phi[0].astype(float) @ phi[1] == pytest.approx(math.exp(6), rel=100 * float(np.finfo(dtype).eps))
    phi = kexue.expdef_features(np.array([[3.0], [2.0]], dtype=dtype), 1000)
    assert phi[0].astype(float) @ phi[1] == pytest.approx(1.006**1000, rel=4000 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("symmetric", [False, True])
def test_polynomial_layouts(any_layout, plain, untouched, dtype, symmetric, workers, rng):
    X = any_layout(rng.normal(size=(50, 4)).astype(dtype))
    for features in (kexue.taylor_features, kexue.expdef_features):
        with untouched(X):
            phi = features(X, 3, symmetric=symmetric, workers=workers)
        np.testing.assert_array_equal(phi, features(plain(X), 3, symmetric=symmetric, workers=1))


def test_empty_polynomials():
    assert kexue.taylor_features(np.ones((0, 4)), 2).shape == (0, 15)
    np.testing.assert_array_equal(kexue.taylor_features(np.ones((2, 0)), 3, symmetric=False), np.ones((2, 1)))
    np.testing.assert_array_equal(kexue.expdef_features(np.ones((2, 0)), 3), np.ones((2, 1)))
    np.testing.assert_array_equal(kexue.taylor_features(np.ones((2, 5)), 0), np.ones((2, 1)))
    assert kexue.favor_features(np.ones((0, 4)), np.ones((3, 4))).shape == (0, 3)


def test_special_numbers_pass_through():
    X = np.array([[np.nan, 1.0], [np.inf, 1.0], [0.5, 1.0]])
    phi = kexue.taylor_features(X, 2)
    assert np.isnan(phi[0, [1, 3, 4]]).all() and (phi[0, [0, 2]] == 1).all()
    assert phi[1, 3] == np.inf
    assert np.isfinite(phi[2]).all()


def test_feature_dimension_of_any_size():
    assert kexue.feature_dimension(1, 7, symmetric=False) == 8
    assert kexue.feature_dimension(0, 7, symmetric=False) == 1
    assert kexue.feature_dimension(768, 100) == math.comb(868, 100)
    assert kexue.feature_dimension(768, 100, kind="expdef", symmetric=False) == 769**100


def test_too_many_features():
    X = np.ones((1, 768))
    for features, arguments in (
        (kexue.taylor_features, {"degree": 5}),
        (kexue.taylor_features, {"degree": 4, "symmetric": False}),
        (kexue.expdef_features, {"n": 5}),
        (kexue.expdef_features, {"n": 100, "symmetric": False}),
    ):
        with pytest.raises(kexue.KexueValueError, match=r"\d{10,} features for X of 768 columns"):
            features(X, **arguments)
    rows = np.broadcast_to(np.float32(1), (10**9, 64))
    with pytest.raises(MemoryError, match="47905 features of 1000000000 rows of X take .* GiB"):
        kexue.taylor_features(rows, 3)


# ---- laws of errors ----


def test_variance_laws_against_mpmath(rng):
    for size in (1e-9, 1e-3, 1, 15, 40):
        q, k = size * rng.normal(size=(2, 4))
        with mpmath.workdps(50):
            plus, minus = (
                sum((mpmath.mpf(a) + sign * mpmath.mpf(b)) ** 2 for a, b in zip(q, k, strict=True)) for sign in (1, -1)
            )
            laws = {
                "positive": mpmath.exp(plus) - 1,
                "hyperbolic": mpmath.cosh(plus) - 1,
                "trigonometric": mpmath.cosh(minus) - 1,
            }
            for kind, law in laws.items():
                log = kexue.favor_relative_variance(q, k, kind=kind, log=True)
                assert log == pytest.approx(float(mpmath.log(law)), rel=1e-13, abs=1e-13)
                value = kexue.favor_relative_variance(q, k, kind=kind)
                assert value == math.inf if law > 1e308 else value == pytest.approx(float(law), rel=1e-11)
    assert kexue.favor_relative_variance(q, -q) == 0
    assert kexue.favor_relative_variance(q, -q, log=True) == -np.inf


def test_variance_laws_broadcast(rng):
    q, k = rng.normal(size=(5, 1, 3)), rng.normal(size=(4, 3))
    laws = kexue.favor_relative_variance(q, k, kind="hyperbolic")
    assert laws.shape == (5, 4)
    assert laws[2, 3] == kexue.favor_relative_variance(q[2, 0], k[3], kind="hyperbolic")


@given(st.floats(-60, 60).filter(lambda s: abs(s) > 1e-3), st.integers(0, 40))
def test_taylor_remainder(s, degree):
    with mpmath.workdps(200):
        x = mpmath.mpf(s)
        remainder = abs(mpmath.exp(x) - sum(x**m / mpmath.factorial(m) for m in range(degree + 1)))
        bound = abs(x) ** (degree + 1) / mpmath.factorial(degree + 1) * max(1, mpmath.exp(x))
    assert kexue.taylor_remainder_bound(s, degree) == pytest.approx(float(bound), rel=1e-12, abs=1e-300)
    assert remainder <= bound * (1 + mpmath.mpf(2) ** -50)


@given(st.floats(-60, 60), st.integers(1, 100))
def test_expdef_ratio(s, n):
    with mpmath.workdps(60):
        exact = (1 + mpmath.mpf(s) / n) ** n * mpmath.exp(-mpmath.mpf(s))
    assert kexue.expdef_ratio(s, n) == pytest.approx(float(exact), rel=1e-11, abs=1e-300)
    assert kexue.expdef_ratio(s, n, exact=False) == pytest.approx(math.exp(-s * s / (2 * n)), rel=1e-12, abs=1e-300)
    if abs(s) < n / 10:  # the next term of the logarithm is s^3 / (3 n^2)
        bound = 1.3 * abs(s) ** 3 / (3 * n * n)
        assert abs(math.log(kexue.expdef_ratio(s, n)) + s * s / (2 * n)) <= bound + 1e-12
    assert kexue.expdef_ratio(-n, n) == 0
    assert kexue.expdef_ratio(math.inf, n) == 0
    assert kexue.expdef_ratio(-math.inf, n) == (math.inf if n % 2 == 0 else -math.inf)
    assert math.isnan(kexue.expdef_ratio(math.nan, n))


# ---- errors, measured ----


def test_kernel_error_against_all_pairs(rng):
    queries, keys = rng.normal(size=(2, 9, 4)), rng.normal(size=(11, 4))
    W = kexue.favor_projection(20, 4, rng=rng)
    for kind in KINDS:
        phi_Q, phi_K = kexue.favor_features(queries, W, kind=kind), kexue.favor_features(keys, W, kind=kind)
        relative = np.einsum("bif,jf->bij", phi_Q, phi_K) / np.exp(queries @ keys.T) - 1
        error = kexue.kernel_error(queries, keys, phi_Q, phi_K)
        assert isinstance(error, kexue.KernelError) and error.count == 2 * 9 * 11
        assert error.mean == pytest.approx(relative.mean(), rel=1e-12)
        assert error.mean_absolute == pytest.approx(np.abs(relative).mean(), rel=1e-12)
        assert error.rms == pytest.approx(math.sqrt((relative**2).mean()), rel=1e-12)
        assert error.max == pytest.approx(np.abs(relative).max(), rel=1e-12)
        assert error.nonpositive == (relative <= -1).mean()
        (phi_Q, of_Q), (phi_K, of_K) = (
            kexue.favor_features(X, W, kind=kind, return_log_scale=True) for X in (queries, keys)
        )
        scaled = kexue.kernel_error(queries, keys, phi_Q, phi_K, log_scale_Q=of_Q, log_scale_K=of_K)
        assert scaled.rms == pytest.approx(error.rms, rel=1e-11)


def test_kernel_error_far_out_of_range():
    # exp(q . k) = exp(2500), and the features' own errors.
    X = np.array([[50.0, 0.0]])
    W = np.array([[50.0, 0.0], [48.0, 0.0]])
    phi, log_scale = kexue.favor_features(X, W, return_log_scale=True)
    error = kexue.kernel_error(X, X, phi, phi, log_scale_Q=log_scale, log_scale_K=log_scale)
    # (e^(2 (2500 - 1250)) + e^(2 (2400 - 1250))) / 2 over e^2500
    assert error.mean == pytest.approx(-0.5, rel=1e-12)
    assert kexue.kernel_error(X, X, [[0.0]], [[1.0]]).mean == -1
    assert kexue.kernel_error(X, X, [[0.0]], [[1.0]]).nonpositive == 1


def test_kernel_error_in_blocks(rng):
    X = rng.normal(size=(1500, 2)) / 2
    phi = kexue.taylor_features(X, 4)
    error = kexue.kernel_error(X, X, phi, phi)
    relative = phi @ phi.T / np.exp(X @ X.T) - 1
    assert error.count == 1500**2
    assert error.rms == pytest.approx(math.sqrt((relative**2).mean()), rel=1e-12)
    assert error.max == pytest.approx(np.abs(relative).max(), rel=1e-12)


def test_kernel_error_of_nothing_and_of_nan():
    empty = kexue.kernel_error(np.ones((0, 2)), np.ones((3, 2)), np.ones((0, 4)), np.ones((3, 4)))
    assert empty.count == 0 and math.isnan(empty.rms)
    error = kexue.kernel_error(np.ones((2, 2)), np.ones((3, 2)), np.full((2, 4), np.nan), np.ones((3, 4)))
    assert math.isnan(error.max) and math.isnan(error.rms) and error.nonpositive == 1


# ---- bad arguments ----


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: kexue.favor_projection(0, 3), kexue.KexueValueError, "n_features must be at least 1"),
        (lambda: kexue.favor_projection(3, 2.0), TypeError, "d must be an integer"),
        (lambda: kexue.favor_features(1.0, np.ones((2, 1))), kexue.KexueValueError, "X must have shape"),
        (lambda: kexue.favor_features(Q, np.ones((2, 4))), kexue.KexueValueError, "W must have shape"),
        (lambda: kexue.favor_features(Q, np.ones((0, 3))), kexue.KexueValueError, "W must have shape"),
        (lambda: kexue.favor_features(Q, np.ones((2, 3)), kind="cos"), kexue.KexueValueError, "kind must be one of"),
        (lambda: kexue.favor_features_vjp(Q, np.ones((2, 3)), np.ones(3)), kexue.KexueValueError, "grad must have"),
        (lambda: kexue.taylor_features(Q, -1), kexue.KexueValueError, "degree must be at least 0"),
        (lambda: kexue.taylor_features(np.ones((2, 0)), 2**40), kexue.KexueValueError, "degree must be at most"),
        (lambda: kexue.taylor_features(Q, 1.5), TypeError, "degree must be an integer"),
        (lambda: kexue.expdef_features(Q, 0), kexue.KexueValueError, "n must be at least 1"),
        (lambda: kexue.expdef_features(Q, 2**40), kexue.KexueValueError, "n must be at most"),
        (lambda: kexue.feature_dimension(3, 2, kind="exp"), kexue.KexueValueError, "kind must be"),
        (lambda: kexue.feature_dimension(3, 0, kind="expdef"), kexue.KexueValueError, "degree must be at least 1"),
        (lambda: kexue.favor_relative_variance(Q, Q[:2]), kexue.KexueValueError, "q and k must broadcast"),
        (lambda: kexue.favor_relative_variance(1.0, 1.0), kexue.KexueValueError, "q and k must broadcast"),
        (
            lambda: kexue.favor_features(Q, np.ones((2, 3)), kind=np.array(KINDS)),
            kexue.KexueValueError,
            "kind must be one of",
        ),
        (lambda: kexue.favor_relative_variance(Q, K, kind=1), kexue.KexueValueError, "kind must be one of"),
        (lambda: kexue.taylor_remainder_bound(1.0, -1), kexue.KexueValueError, "degree must be at least 0"),
        (lambda: kexue.expdef_ratio(1.0, 0), kexue.KexueValueError, "n must be at least 1"),
        (lambda: kexue.kernel_error(*[np.ones((2, 3))] * 3, np.ones((2, 4))), kexue.KexueValueError, "phi_Q and phi_K"),
        (
            lambda: kexue.kernel_error(*[np.ones((2, 3))] * 2, *[np.ones((3, 4))] * 2),
            kexue.KexueValueError,
            "Q and phi_Q",
        ),
        (
            lambda: kexue.kernel_error(*[np.ones((2, 3))] * 4, log_scale_Q=np.ones(3)),
            kexue.KexueValueError,
            "log_scale_Q must broadcast",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()
