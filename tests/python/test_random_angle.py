import dataclasses
import math
import pickle

import mpmath
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from reference import random_angle as reference

DIMENSIONS = [2, 3, 4, 5, 10, 39, 40, 41, 42, 43, 100, 1000, 12345, 1_000_000]

# METHODS R26.
VARIANCES = {
    2: 0.82246703342411321824,
    3: 0.46740110027233965471,
    4: 0.32246703342411321824,
    5: 0.24517887805011743249,
    10: 0.11066147786855766268,
    20: 0.052583167840842873061,
    50: 0.020405331628612789594,
    100: 0.010100666613348562903,
    200: 0.0050250833316667856976,
    1000: 0.0010010006666661333349,
}


def off_centre(n):
    """Angles below pi/2, from the centre out to tails of 1e-280."""
    for deviation in (0, 1e-8, 0.3, 1, 3, 8, 20, 35):
        theta = math.pi / 2 - deviation / math.sqrt(n)
        if theta > 0 and (n - 1) * math.log(math.sin(theta)) > -640:
            yield theta


# ---- values ----


@pytest.mark.parametrize("n", VARIANCES)
def test_variances(n):
    assert kexue.random_angle(n).var() == pytest.approx(VARIANCES[n], rel=4e-16)
    assert kexue.random_angle(n).std() == pytest.approx(math.sqrt(VARIANCES[n]), rel=4e-16)


@pytest.mark.parametrize(
    ("n", "theta", "expected"),
    [(3, 1.0, 0.229848847065930141), (10, 1.2, 0.136726501257887058), (100, 1.5, 0.241048889421204484)],
)
def test_values_of_cdf(n, theta, expected):
    angle = kexue.random_angle(n)
    assert float(angle.cdf(theta)) == pytest.approx(expected, rel=1e-14)
    assert float(angle.sf(theta)) == pytest.approx(1 - expected, rel=1e-14)


def test_other_values():
    assert float(kexue.random_angle(100).pdf(1.5)) == pytest.approx(3.09657566112050553, rel=1e-14)
    for n, expected in [(100, 0.319748474139301), (768, 0.00551111581802786), (1000, 0.0015357138421364)]:
        assert float(2 * kexue.random_angle(n).cosine_sf(0.1)) == pytest.approx(expected, rel=1e-12)
    ten = kexue.random_angle(10)
    assert ten.kurtosis() == pytest.approx(-0.218723394248319, rel=1e-13)
    assert [ten.cosine_moment(k) for k in range(7)] == pytest.approx([1, 0, 0.1, 0, 0.025, 0, 0.00892857142857142857])
    assert ten.cosine_abs_moment(1) == pytest.approx(0.258689939247779, rel=1e-14)


@pytest.mark.parametrize("n", DIMENSIONS)
def test_densities_against_mpmath(n):
    angle = kexue.random_angle(n)
    for theta in off_centre(n):
        expected = reference.pdf(n, theta)
        assert abs(float(angle.pdf(theta)) / expected - 1) < 5e-13
        assert abs(float(angle.logpdf(theta)) - mpmath.log(expected)) < 2e-15 * (1 + abs(mpmath.log(expected)))
        cosine = math.cos(theta)
        with mpmath.workdps(reference.DIGITS):
            expected = reference.constant(n) * (1 - mpmath.mpf(cosine) ** 2) ** (mpmath.mpf(n - 3) / 2)
        assert abs(float(angle.cosine_pdf(-cosine)) / expected - 1) < 5e-13
        assert float(angle.cosine_logpdf(cosine)) == pytest.approx(float(mpmath.log(expected)), rel=1e-14, abs=1e-15)


@pytest.mark.parametrize("n", DIMENSIONS)
def test_tails_against_mpmath(n):
    angle = kexue.random_angle(n)
    for theta in off_centre(n):
        expected = reference.below(n, theta)
        assert abs(float(angle.cdf(theta)) / expected - 1) < 5e-13
        assert float(angle.sf(theta)) == pytest.approx(float(1 - expected), rel=1e-15)
        assert float(angle.logcdf(theta)) == pytest.approx(float(mpmath.log(expected)), rel=2e-14)
        assert float(angle.logsf(theta)) == pytest.approx(float(mpmath.log1p(-expected)), rel=5e-13)
        cosine = math.cos(theta)
        with mpmath.workdps(reference.DIGITS):
            expected = reference.below(n, mpmath.acos(mpmath.mpf(cosine)))
        assert abs(float(angle.cosine_sf(cosine)) / expected - 1) < 5e-13
        assert float(angle.cosine_logsf(cosine)) == pytest.approx(float(mpmath.log(expected)), rel=2e-14)
        assert float(angle.cosine_logcdf(-cosine)) == angle.cosine_logsf(cosine)
        assert float(angle.cosine_cdf(-cosine)) == angle.cosine_sf(cosine)


@pytest.mark.parametrize("n", [100, 1_000_000])
def test_angles_near_pi_have_accurate_upper_tails(n):
    theta = math.pi / 2 + 20 / math.sqrt(n) if n > 1000 else 3.0
    with mpmath.workdps(reference.DIGITS):
        expected = reference.below(n, mpmath.pi - mpmath.mpf(theta))
    assert abs(float(kexue.random_angle(n).sf(theta)) / expected - 1) < 5e-13
    assert kexue.random_angle(n).cdf(theta) == 1


def test_logarithms_go_on_where_tails_underflow():
    angle = kexue.random_angle(1_000_000)
    assert angle.sf(2.0) == 0
    # P is c_n sin^(n-1) |cos| / (n-1) / cos^2 (1 + O(1/n)) far out.
    leading = float(angle.logpdf(2.0)) + math.log(math.sin(2.0) / 999_999 / abs(math.cos(2.0)))
    assert float(angle.logsf(2.0)) == pytest.approx(leading, rel=1e-10)
    assert float(angle.logcdf(math.pi - 2.0)) == pytest.approx(leading, rel=1e-9)


@pytest.mark.parametrize("n", [10**8, 10**12, 2**53])
def test_huge_dimensions_are_normal(n):
    angle = kexue.random_angle(n)
    y = np.array([0.0, 0.5, 2.0, 8.0])
    np.testing.assert_allclose(
        angle.cosine_sf(y / math.sqrt(n)), scipy.stats.norm.sf(y), rtol=20 / math.sqrt(n) + 1e-13
    )
    np.testing.assert_allclose(
        angle.cosine_isf([0.3, 1e-5]) * math.sqrt(n), scipy.stats.norm.isf([0.3, 1e-5]), rtol=1e-7
    )
    assert angle.std() == pytest.approx(1 / math.sqrt(n), rel=2 / n + 1e-15)
    assert angle.entropy() == pytest.approx(0.5 + 0.5 * math.log(2 * math.pi / n), rel=1e-8)


def test_two_and_three_dimensions_are_uniform():
    theta = np.linspace(0, math.pi, 101)
    np.testing.assert_allclose(kexue.random_angle(2).cdf(theta), theta / math.pi, rtol=1e-15)
    np.testing.assert_allclose(kexue.random_angle(2).pdf(theta), 1 / math.pi, rtol=3e-16)
    x = np.linspace(-1, 1, 101)
    np.testing.assert_allclose(kexue.random_angle(3).cosine_cdf(x), (1 + x) / 2, rtol=1e-15, atol=1e-16)
    np.testing.assert_allclose(kexue.random_angle(3).cosine_pdf(x), 0.5, rtol=1e-15)
    q = np.linspace(0, 1, 101)
    np.testing.assert_allclose(kexue.random_angle(2).ppf(q), math.pi * q, rtol=3e-16)
    np.testing.assert_allclose(kexue.random_angle(3).cosine_ppf(q), 2 * q - 1, rtol=3e-16, atol=2e-16)
    assert kexue.random_angle(2).kurtosis() == pytest.approx(-1.2, rel=1e-15)
    assert kexue.random_angle(2).entropy() == pytest.approx(math.log(math.pi), rel=1e-15)


@pytest.mark.parametrize("n", DIMENSIONS)
def test_moments_against_mpmath(n):
    angle = kexue.random_angle(n)
    with mpmath.workdps(reference.DIGITS):
        x = mpmath.mpf(n) / 2
        assert angle.var() == pytest.approx(float(mpmath.psi(1, x) / 2), rel=1e-15)
        assert angle.cumulant(4) == pytest.approx(float(-mpmath.psi(3, x) / 8), rel=1e-15)
        assert angle.cumulant(6) == pytest.approx(float(mpmath.psi(5, x) / 32), rel=1e-15)
        difference = mpmath.psi(0, x) - mpmath.psi(0, x - mpmath.mpf(1) / 2)
        entropy = float((n - 2) * difference / 2 - mpmath.log(reference.constant(n)))
        first = mpmath.gamma(x) / (mpmath.sqrt(mpmath.pi) * mpmath.gamma(x + mpmath.mpf(1) / 2))
    assert angle.entropy() == pytest.approx(entropy, rel=5e-15)
    assert angle.cosine_abs_moment(1) == pytest.approx(float(first), rel=1e-15)
    assert angle.cosine_abs_moment(3) == pytest.approx(float(2 * first / (n + 1)), rel=1e-15)
    assert angle.cosine_moment(2) == pytest.approx(1 / n, rel=1e-15)
    for order in (2, 4, 10):
        assert angle.central_moment(order) == pytest.approx(float(reference.central_moment(n, order)), rel=2e-13)
    assert angle.central_moment(4) == pytest.approx(angle.cumulant(4) + 3 * angle.var() ** 2, rel=1e-14)
    assert angle.moment(2) == pytest.approx(angle.var() + math.pi**2 / 4, rel=1e-14)
    assert angle.moment(0) == pytest.approx(1, rel=1e-14)
    assert angle.mean() == angle.median() == angle.cumulant(1) == math.pi / 2
    assert angle.moment(1) == pytest.approx(math.pi / 2, rel=1e-14)
    assert angle.central_moment(3) == angle.cumulant(3) == angle.cosine_moment(5) == 0
    assert angle.support() == (0, math.pi)


def test_moments_of_the_uniform_angle():
    angle = kexue.random_angle(2)
    for order in (1, 5, 30):
        assert angle.moment(order) == pytest.approx(math.pi**order / (order + 1), rel=1e-13)
        assert angle.central_moment(2 * order) == pytest.approx(
            (math.pi / 2) ** (2 * order) / (2 * order + 1), rel=1e-13
        )


@pytest.mark.parametrize("n", [2, 3, 7, 100, 5000])
def test_agrees_with_scipys_beta(n):
    x = np.linspace(-0.99, 0.99, 67) / math.sqrt(n)
    beta = scipy.stats.beta((n - 1) / 2, (n - 1) / 2)  # of (1 + cos) / 2
    np.testing.assert_allclose(kexue.random_angle(n).cosine_cdf(x), beta.cdf((1 + x) / 2), rtol=1e-11)
    np.testing.assert_allclose(kexue.random_angle(n).cosine_pdf(x), beta.pdf((1 + x) / 2) / 2, rtol=1e-10)


# ---- quantiles ----

LEVELS = np.array([1e-300, 1e-100, 1e-20, 1e-5, 0.01, 0.3, 0.49999999, 0.5, 0.500001, 0.8, 0.999, 1 - 2**-50])


@pytest.mark.parametrize("n", DIMENSIONS)
def test_quantiles_are_inverse(n):
    angle = kexue.random_angle(n)
    theta = angle.ppf(LEVELS)
    # What rounding an angle does to its level is its density's.
    for level, value in zip(LEVELS, theta, strict=True):
        slope = float(angle.pdf(value)) * value
        assert abs(float(angle.cdf(value)) - level) <= 2e-15 * slope + 4e-13 * level
    upper = angle.isf(LEVELS)
    np.testing.assert_allclose(upper, math.pi - theta, atol=5e-16)
    np.testing.assert_allclose(angle.cosine_isf(LEVELS), np.cos(theta), rtol=1e-14, atol=1e-15)
    np.testing.assert_allclose(angle.cosine_sf(angle.cosine_isf(LEVELS[4:])), LEVELS[4:], rtol=1e-12)
    np.testing.assert_array_equal(angle.cosine_ppf(LEVELS), -angle.cosine_isf(LEVELS))
    assert (np.diff(theta) >= 0).all()


def test_ends():
    for n in (2, 3, 4, 1000):
        angle = kexue.random_angle(n)
        assert angle.ppf([0, 0.5, 1]).tolist() == [0, math.pi / 2, math.pi]
        assert angle.isf([0, 1]).tolist() == [math.pi, 0]
        assert angle.cosine_ppf([0, 1]).tolist() == [-1, 1]
        assert np.isnan(angle.ppf([-0.1, 1.1, np.nan])).all()
        assert angle.cdf([-1, 0, 4]).tolist() == [0, 0, 1]
        assert angle.sf([-1, 0, 4]).tolist() == [1, 1, 0]
        assert angle.pdf([-1, 4]).tolist() == [0, 0]
        assert angle.logpdf([-1, 4]).tolist() == [-np.inf, -np.inf]
        assert angle.logcdf([-1, 4]).tolist() == [-np.inf, 0]
        assert angle.logsf([-1, 4]).tolist() == [0, -np.inf]
        assert angle.cosine_sf([-2, -1, 1, 2]).tolist() == [1, 1, 0, 0]
        assert angle.cosine_pdf([-2, 2]).tolist() == [0, 0]
        assert np.isnan(angle.pdf(np.nan)) and np.isnan(angle.cdf(np.nan)) and np.isnan(angle.cosine_sf(np.nan))
    assert kexue.random_angle(2).pdf(0.0) == pytest.approx(1 / math.pi)
    assert kexue.random_angle(3).pdf(0.0) == 0
    assert kexue.random_angle(2).cosine_pdf(1.0) == np.inf
    assert kexue.random_angle(3).cosine_pdf(-1.0) == pytest.approx(0.5)


@given(st.integers(2, 10**7), st.floats(0, math.pi))
def test_properties(n, theta):
    angle = kexue.random_angle(n)
    cdf, sf = float(angle.cdf(theta)), float(angle.sf(theta))
    assert 0 <= cdf <= 1 and cdf + sf == pytest.approx(1, abs=1e-14)
    assert float(angle.cosine_sf(math.cos(theta))) == pytest.approx(cdf, rel=1e-9, abs=1e-12)
    assert float(angle.cdf(min(theta + 0.1, math.pi))) >= cdf
    assert math.exp(float(angle.logcdf(theta))) == pytest.approx(cdf, rel=1e-12)


# ---- sampling ----


@pytest.mark.parametrize("n", [2, 3, 10, 1000])
def test_samples_have_the_law(n, rng):
    angle = kexue.random_angle(n)
    sample = angle.rvs(20_000, rng=rng)
    assert scipy.stats.kstest(sample, angle.cdf).pvalue > 1e-3
    # Four standard errors.
    assert abs(sample.mean() - math.pi / 2) < 4 * angle.std() / math.sqrt(20_000)
    spread = math.sqrt((angle.central_moment(4) - angle.var() ** 2) / 20_000)
    assert abs(sample.var() - angle.var()) < 4 * spread


def test_the_law_is_that_of_gaussian_vectors(rng):
    x, y = rng.standard_normal((2, 20_000, 6))
    cosines = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    assert scipy.stats.kstest(np.arccos(cosines), kexue.random_angle(6).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(cosines, kexue.random_angle(6).cosine_cdf).pvalue > 1e-3


def test_samples_by_seed_and_shape():
    angle = kexue.random_angle(5)
    np.testing.assert_array_equal(angle.rvs((2, 3), rng=7), angle.rvs((2, 3), rng=np.random.default_rng(7)))
    assert isinstance(angle.rvs(rng=0), float)
    assert angle.rvs(0, rng=0).shape == (0,)


# ---- arrays and arguments ----

METHODS = ["pdf", "logpdf", "cdf", "sf", "logcdf", "logsf", "ppf", "isf"]
METHODS += ["cosine_" + name for name in METHODS]


@pytest.mark.parametrize("name", METHODS)
def test_layouts(name, any_layout, plain, untouched, dtype, rng):
    x = any_layout(rng.uniform(0, 1, size=(5, 7)).astype(dtype))
    method = getattr(kexue.random_angle(30), name)
    with untouched(x):
        result = method(x)
    assert result.dtype == plain(x).dtype
    np.testing.assert_array_equal(result, method(plain(x)))


def test_blocks_do_not_show():
    x = np.linspace(0.5, 2.5, 5000)
    angle = kexue.random_angle(50)
    np.testing.assert_allclose(angle.cdf(x)[::77], [angle.cdf(value) for value in x[::77]], rtol=1e-13)
    assert angle.cdf(0.5).shape == () and angle.cdf(1).dtype == np.float64


def test_bad_arguments():
    for n, text in [(1, "on the line"), (0, "at least 2, got 0"), (-3, "at least 2")]:
        with pytest.raises(KexueValueError, match=text):
            kexue.random_angle(n)
    with pytest.raises(KexueValueError, match="at most 2"):
        kexue.random_angle(10**30)
    for n in (2.5, 3.0, "3", None, True, [3]):
        with pytest.raises(TypeError, match="n must be an integer"):
            kexue.random_angle(n)
    angle = kexue.random_angle(3)
    for method in (angle.moment, angle.central_moment, angle.cumulant, angle.cosine_moment, angle.cosine_abs_moment):
        with pytest.raises(KexueValueError, match="order must be at least"):
            method(-1)
        with pytest.raises(TypeError, match="order must be an integer"):
            method(1.5)
    with pytest.raises(KexueValueError, match="order must be at least 1"):
        angle.cumulant(0)
    with pytest.raises(TypeError, match="theta must hold real numbers"):
        angle.pdf("x")
    with pytest.raises(TypeError, match="q must hold real numbers"):
        angle.ppf([1j])


def test_is_a_frozen_value():
    angle = kexue.random_angle(np.int64(8))
    assert (
        angle == kexue.RandomAngle(8)
        and hash(angle) == hash(kexue.RandomAngle(8))
        and repr(angle) == "RandomAngle(n=8)"
    )
    assert pickle.loads(pickle.dumps(angle)) == angle
    with pytest.raises(dataclasses.FrozenInstanceError):
        angle.n = 9
