import warnings

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError
from kexue._frechet import _triangle
from reference import density as reference

EPS = np.finfo(np.float64).eps
SHAPES = [(40, 30, 5), (6, 9, 12), (3, 20, 7), (20, 3, 7), (2, 2, 6), (8, 8, 1), (30, 30, 10)]


def samples(rng, count, width, spread=1.0):
    """Correlated features whose deviations span a factor of `spread`."""
    scales = np.geomspace(1, 1 / spread, width)
    return rng.normal(size=(count, width)) * scales @ scipy.linalg.qr(rng.normal(size=(width, width)))[0] + 0.3


def trace(*features):
    return sum(
        float(np.cov(array, rowvar=False).trace()) if array.shape[1] > 1 else np.var(array) for array in features
    )


def by_sqrtm(a, b):
    """The formula as it is usually computed."""
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    difference = a.mean(axis=0) - b.mean(axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root.real))


# ---- accuracy ----


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [1, 1e3, 1e9])
def test_against_mpmath(shape, spread, rng):
    a, b = samples(rng, shape[0], shape[2], spread), samples(rng, shape[1], shape[2], spread)
    assert kexue.frechet_distance(a, b) == pytest.approx(float(reference.frechet_distance(a, b)), rel=1e-12)


@pytest.mark.parametrize("shape", [(40, 40, 5), (6, 6, 9), (30, 30, 10)])
@pytest.mark.parametrize("apart", [1e-1, 1e-2, 1e-4, 1e-6, 1e-8])
def test_close_distributions_against_mpmath(shape, apart, rng):
    """The distance is apart squared: 1e-16 of the traces in the last case, and still right to 7 digits."""
    a = samples(rng, shape[0], shape[2], 100)
    a -= a.mean(axis=0)
    b = a + apart * rng.normal(size=a.shape)
    expected = float(reference.frechet_distance(a, b))
    assert kexue.frechet_distance(a, b) == pytest.approx(expected, rel=1e-12 + 50 * EPS / apart)


@pytest.mark.parametrize("shape", SHAPES)
def test_equal_features(shape, rng):
    a = samples(rng, shape[0], shape[2], 1e4)
    for b in (a.copy(), a[::-1]):
        assert 0 <= kexue.frechet_distance(a, b) <= 1e-15 * trace(a)
    cov, mean = np.atleast_2d(np.cov(a, rowvar=False)), a.mean(axis=0)
    assert 0 <= kexue.frechet_distance_from_statistics(mean, cov, mean, cov) <= 1e-15 * trace(a)


@pytest.mark.parametrize(
    ("condition", "by_cholesky"), [(1, True), (1e3, True), (1e6, True), (1e10, False), (1e15, False)]
)
def test_triangular_factors(condition, by_cholesky, monkeypatch, rng):
    """The singular values of R are those of the features, whichever decomposition it is from."""
    orthogonal = [scipy.linalg.qr(rng.normal(size=(n, 12)), mode="economic")[0] for n in (100, 12)]
    tall = orthogonal[0] * np.geomspace(1, 1 / condition, 12) @ orthogonal[1].T
    calls, qr = [], np.linalg.qr
    monkeypatch.setattr(np.linalg, "qr", lambda *args, **options: calls.append(1) or qr(*args, **options))
    triangle = _triangle(tall)
    assert bool(calls) != by_cholesky
    expected = np.linalg.svd(tall, compute_uv=False)
    np.testing.assert_allclose(np.linalg.svd(triangle, compute_uv=False), expected, rtol=1e-13, atol=20 * EPS)
    np.testing.assert_allclose(triangle.T @ triangle, tall.T @ tall, rtol=0, atol=20 * EPS)


def test_where_the_square_root_of_the_product_fails(rng):
    """Fewer samples than features: the usual formula is negative by far more than rounding, for equal ones."""
    a = rng.normal(size=(20, 60))
    assert by_sqrtm(a, a) < -1e-9 * trace(a)
    assert 0 <= kexue.frechet_distance(a, a) < 1e-15 * trace(a)
    b = a + 1e-6 * rng.normal(size=a.shape)
    expected = float(reference.frechet_distance(a[:, :8], b[:, :8]))
    assert kexue.frechet_distance(a[:, :8], b[:, :8]) == pytest.approx(expected, rel=1e-8)
    assert abs(by_sqrtm(a[:, :8], b[:, :8]) / expected - 1) > 1e-6


def test_against_the_usual_formula(rng):
    a, b = samples(rng, 500, 30), 1.2 * samples(rng, 400, 30)
    assert kexue.frechet_distance(a, b) == pytest.approx(by_sqrtm(a, b), rel=1e-10)


@pytest.mark.parametrize("width", [1, 2, 8])
def test_statistics_against_mpmath_and_features(width, rng):
    a, b = samples(rng, 50, width, 10), 2 * samples(rng, 40, width, 10)
    statistics = [(f.mean(axis=0), np.atleast_2d(np.cov(f, rowvar=False))) for f in (a, b)]
    given = (*statistics[0], *statistics[1])
    result = kexue.frechet_distance_from_statistics(*given)
    assert result == pytest.approx(float(reference.frechet_distance_from_statistics(*given)), rel=1e-13)
    assert result == pytest.approx(kexue.frechet_distance(a, b), rel=1e-12)


def test_reference_values():
    """METHODS' Gaussians, and a commuting pair: (1 - 3)^2 + (2 - 1)^2."""
    cov_p = [[2, 0.5, 0.3], [0.5, 1.5, -0.2], [0.3, -0.2, 1]]
    cov_q = [[1, -0.3, 0.1], [-0.3, 2, 0.4], [0.1, 0.4, 1.5]]
    result = kexue.frechet_distance_from_statistics([1, 2, -1], cov_p, [0, 1, 0.5], cov_q)
    assert result == pytest.approx(4.85743844164397, rel=1e-14)
    to_standard = kexue.frechet_distance_from_statistics([1, 2, -1], cov_p, [0, 0, 0], np.eye(3))
    assert to_standard == pytest.approx(6.33298656231089, rel=1e-14)
    diagonal = kexue.frechet_distance_from_statistics([0, 0], np.diag([1, 4]), [0, 0], np.diag([9, 1]))
    assert diagonal == pytest.approx(5, rel=1e-15)


def test_semidefinite_statistics():
    """Lines in space: of roots 2 and 3, at a right angle and in one direction."""
    across = kexue.frechet_distance_from_statistics([0, 0], np.diag([4, 0]), [0, 0], np.diag([0, 9]))
    along = kexue.frechet_distance_from_statistics([0, 0], np.diag([4, 0]), [0, 0], np.diag([9, 0]))
    point = kexue.frechet_distance_from_statistics([0, 0], np.zeros((2, 2)), [3, 4], np.zeros((2, 2)))
    assert (across, along, point) == pytest.approx((13, 1, 25), rel=1e-15)


# ---- invariances ----


@given(st.integers(0, 2**32), st.integers(2, 12), st.integers(2, 12), st.integers(1, 8))
def test_symmetry_and_motions(seed, n_a, n_b, width):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(n_a, width)), 2 * rng.normal(size=(n_b, width)) + 1
    distance = kexue.frechet_distance(a, b)
    assert distance >= 0
    tolerance = 200 * EPS * (trace(a, b) + width)
    assert kexue.frechet_distance(b, a) == pytest.approx(distance, abs=tolerance)
    shift, turn = rng.normal(size=width), scipy.linalg.qr(rng.normal(size=(width, width)))[0]
    assert kexue.frechet_distance(a + shift, b + shift) == pytest.approx(distance, abs=10 * tolerance)
    assert kexue.frechet_distance(a @ turn, b @ turn) == pytest.approx(distance, abs=10 * tolerance)
    assert kexue.frechet_distance(a[rng.permutation(n_a)], b) == pytest.approx(distance, abs=tolerance)
    assert kexue.frechet_distance(4 * a, 4 * b) == pytest.approx(16 * distance, rel=1e-15)
    moved = kexue.frechet_distance(a, a + shift)
    assert moved == pytest.approx(shift @ shift, abs=tolerance)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_triangle_inequality(seed, width):
    rng = np.random.default_rng(seed)
    a, b, c = (rng.normal(size=(7, width)) * rng.uniform(0, 2, size=width) for _ in range(3))
    ab, bc, ac = (np.sqrt(kexue.frechet_distance(*pair)) for pair in ((a, b), (b, c), (a, c)))
    assert ac <= ab + bc + 1e-12 * (1 + ab + bc)


def test_large_offsets_and_scales(rng):
    a, b = samples(rng, 40, 6), 1.5 * samples(rng, 30, 6)
    exact = np.round(a * 2**20) / 2**20, np.round(b * 2**20) / 2**20
    expected = kexue.frechet_distance(*exact)
    far = kexue.frechet_distance(*(array + 2.0**20 for array in exact))  # the sums are exact
    assert far == pytest.approx(expected, rel=1e-9)
    for exponent in (-600, -400, 400):
        scaled = kexue.frechet_distance(*(np.ldexp(array, exponent) for array in exact))
        assert scaled == pytest.approx(np.ldexp(expected, 2 * exponent), rel=1e-13, abs=0)
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert kexue.frechet_distance(*(np.ldexp(array, 600) for array in exact)) == np.inf


# ---- arguments ----


def test_layouts(layout, plain, untouched, dtype, rng):
    a, b = (layout(samples(rng, count, 6).astype(dtype)) for count in (15, 4))
    with untouched(a, b):
        result = kexue.frechet_distance(a, b)
    assert type(result) is dtype.type
    # The order of a sum depends on the layout.
    expected = kexue.frechet_distance(plain(a).astype(float), plain(b).astype(float))
    assert result == pytest.approx(float(expected), rel=1e-12 if dtype == np.float64 else 1e-7)


def test_statistics_of_layouts(layout, untouched, dtype, rng):
    cov = np.cov(rng.normal(size=(20, 4)), rowvar=False).astype(dtype)
    mean, given = layout(rng.normal(size=4).astype(dtype)), layout(cov)
    with untouched(mean, given):
        result = kexue.frechet_distance_from_statistics(mean, given, np.zeros(4, dtype), np.eye(4, dtype=dtype))
    assert type(result) is dtype.type
    expected = kexue.frechet_distance_from_statistics(mean.astype(float), cov.astype(float), np.zeros(4), np.eye(4))
    assert result == pytest.approx(float(expected), rel=1e-12 if dtype == np.float64 else 1e-6)


def test_integers_and_mixed_types(rng):
    counts = rng.integers(0, 9, size=(7, 3))
    assert type(kexue.frechet_distance(counts, counts[:3])) is np.float64
    assert kexue.frechet_distance(counts, counts[:3]) == kexue.frechet_distance(counts.astype(float), counts[:3])
    assert type(kexue.frechet_distance(np.ones((2, 2), np.float16), np.ones((2, 2), np.float32))) is np.float32
    assert kexue.frechet_distance(np.ones((2, 0)), np.ones((3, 0))) == 0
    assert kexue.frechet_distance(np.ones((3, 2)), np.zeros((3, 2))) == 2  # points


def test_bad_features():
    good = np.zeros((3, 2))
    for name in ("features_a", "features_b"):

        def call(bad, name=name):
            return kexue.frechet_distance(**({"features_a": good, "features_b": good} | {name: bad}))

        with pytest.raises(KexueValueError, match=rf"{name}\[1, 0\] is nan"):
            call([[0, 0], [np.nan, 0]])
        with pytest.raises(KexueValueError, match=rf"{name}\[0, 1\] is inf"):
            call([[0, np.inf], [0, 0]])
        with pytest.raises(KexueValueError, match=rf"{name} must have 2 rows at least, .* shape is \(1, 2\)"):
            call([[0, 0]])
        with pytest.raises(KexueValueError, match=rf"{name} must have 2 dimensions"):
            call([0, 0])
        with pytest.raises(TypeError, match=f"{name} must hold real numbers"):
            call([["a"]])
    with pytest.raises(KexueValueError, match="features_a has 2 columns, but features_b has 3"):
        kexue.frechet_distance(good, np.zeros((3, 3)))


def test_bad_statistics():
    good = {"mean_a": np.zeros(2), "cov_a": np.eye(2), "mean_b": np.zeros(2), "cov_b": np.eye(2)}

    def call(**bad):
        return kexue.frechet_distance_from_statistics(**(good | bad))

    for name in ("cov_a", "cov_b"):
        with pytest.raises(KexueValueError, match=rf"{name} is not positive semidefinite: .* is -1\.5"):
            call(**{name: np.diag([1.0, -1.5])})
        with pytest.raises(KexueValueError, match=rf"{name}\[0, 1\] differs from its mirror image by 0\.5"):
            call(**{name: [[1, 0.5], [0, 1]]})
        with pytest.raises(KexueValueError, match=rf"{name}\[0, 0\] is nan"):
            call(**{name: [[np.nan, 0], [0, 1]]})
        with pytest.raises(KexueValueError, match=rf"{name} has shape \(2, 3\), but mean_a has 2 entries"):
            call(**{name: np.zeros((2, 3))})
    with pytest.raises(KexueValueError, match=r"mean_b has shape \(3,\), but mean_a has 2 entries"):
        call(mean_b=np.zeros(3))
    with pytest.raises(KexueValueError, match="mean_a must have 1 dimension"):
        call(mean_a=0.0)
    # What float32 leaves of a semidefinite matrix passes as float32.
    ones = np.full((2, 2), np.float32(0.1))
    ones[0, 0] = np.nextafter(np.float32(0.1), np.float32(0))
    assert call(cov_a=ones) == pytest.approx((np.sqrt(0.2) - 1) ** 2 + 1, rel=1e-3)
    with pytest.raises(KexueValueError, match="not positive semidefinite"):
        call(cov_a=ones.astype(float))
