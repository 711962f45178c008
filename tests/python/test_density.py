import dataclasses
import math
import pickle
import tracemalloc

import dask.array as da
import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kexue
from kexue import KexueValueError
from reference import density as reference

INF, NAN = np.inf, np.nan

# METHODS' linear-Gaussian model: x|z ~ N(W z + b, 1/4), z ~ N(0, 1).
W = np.array([[1, 0.5], [0, -1], [0.7, 0.2]])
B = np.array([0.1, -0.2, 0.3])
X = np.array([1, -0.5, 0.8])
EXACT = -2.7441310220253996
POSTERIOR_MEAN = np.linalg.solve(np.eye(2) + 4 * W.T @ W, 4 * W.T @ (X - B))
POSTERIOR_COV = np.linalg.inv(np.eye(2) + 4 * W.T @ W)
MEAN_FIELD_STD = 1 / np.sqrt(np.diag(np.eye(2) + 4 * W.T @ W))
ELBO = -2.8270748711047315

REDUCTIONS = {
    "elbo": kexue.elbo,
    "iwae_bound": kexue.iwae_bound,
    "effective_sample_size": kexue.effective_sample_size,
}
ALL = REDUCTIONS | {"iwae_bound_grad": kexue.iwae_bound_grad}


def decoder(z):
    return z @ W.T + B, 0.5


def posterior():
    return scipy.stats.multivariate_normal(POSTERIOR_MEAN, POSTERIOR_COV)


def mean_field():
    return scipy.stats.norm(POSTERIOR_MEAN, MEAN_FIELD_STD)


def standard_normal():
    return scipy.stats.multivariate_normal(np.zeros(2))


def model_log_weights(rng, count):
    z = POSTERIOR_MEAN + MEAN_FIELD_STD * rng.standard_normal((count, 2))
    return kexue.importance_log_weights(
        kexue.gaussian_logpdf_diag(X, z @ W.T + B, 0.5),
        kexue.gaussian_logpdf_diag(z, 0.0, 1.0),
        kexue.gaussian_logpdf_diag(z, POSTERIOR_MEAN, MEAN_FIELD_STD),
    )


def eps(dtype):
    return float(np.finfo(dtype).eps)


# ---- reference values ----


def test_fixed_latents():
    z = np.array([[0.5, 0.2], [1, 0], [0.8, 0.6]])
    log_weights = kexue.importance_log_weights(
        kexue.gaussian_logpdf_diag(X, z @ W.T + B, 0.5),
        kexue.gaussian_logpdf_diag(z, [0.0, 0.0], log_std=[0.0, 0.0]),
        kexue.gaussian_logpdf_diag(z, [0.8, 0.3], [0.4, 0.5]),
    )
    np.testing.assert_allclose(log_weights, [-2.3547619703682825, -2.7618119703682824, -2.9316119703682824], rtol=1e-14)
    assert kexue.iwae_bound(log_weights) == pytest.approx(-2.652595063401413, rel=1e-14)
    assert kexue.elbo(log_weights) == pytest.approx(-2.682728637034949, rel=1e-14)
    assert kexue.effective_sample_size(log_weights) == pytest.approx(2.8210078849014395, rel=1e-14)


def test_bounds_of_the_linear_gaussian_model():
    """Means of L_M over 40,000 draws of 50, within 4.5 standard errors: each of the checks is wrong once in 150,000."""
    log_weights = model_log_weights(np.random.default_rng(12), 2_000_000).reshape(40_000, 50)
    bounds = {count: kexue.iwae_bound(log_weights[:, :count]) for count in (1, 2, 5, 50)}
    for count, expected, rounding in ((1, ELBO, 0), (2, -2.7909, 1e-4), (5, -2.7669, 1e-4), (50, -2.7472, 1e-4)):
        error = bounds[count].std() / math.sqrt(len(log_weights))
        assert abs(bounds[count].mean() - expected) < 4.5 * error + rounding
    np.testing.assert_array_equal(bounds[1], log_weights[:, 0])
    # Paired differences: E L_M rises, here by 8 to 50 standard errors, and stays below the exact value.
    for fewer, more in ((1, 2), (2, 5), (5, 50)):
        rise = bounds[more] - bounds[fewer]
        assert rise.mean() > 4.5 * rise.std() / math.sqrt(rise.size)
    assert bounds[50].mean() < EXACT


@pytest.mark.parametrize("block_size", [1, 1000, 4096])
def test_estimate_with_the_exact_posterior_has_no_variance(block_size):
    n_samples = 7 if block_size == 1 else 2500
    result = kexue.log_density_estimate(
        X, decoder, standard_normal(), posterior(), n_samples=n_samples, rng=3, block_size=block_size
    )
    assert result.estimate == pytest.approx(EXACT, rel=1e-13)
    assert result.elbo == pytest.approx(EXACT, rel=1e-13)
    assert result.standard_error < 1e-13
    assert result.effective_sample_size == pytest.approx(n_samples, rel=1e-14)
    assert result.n_samples == n_samples


def test_estimates_are_within_their_standard_errors():
    """Of 400 estimates 273 +- 9.3 lie within one standard error: within 4.5 deviations, once in 150,000 not."""
    wide, within = scipy.stats.norm(POSTERIOR_MEAN, 1.5 * MEAN_FIELD_STD), 0
    for seed in range(400):
        result = kexue.log_density_estimate(X, decoder, (0.0, 1.0), wide, n_samples=500, rng=seed)
        within += abs(result.estimate - EXACT) < result.standard_error
    assert abs(within - 273) < 4.5 * 9.3


# ---- accuracy ----


def log_weights_of(rng, dtype, n, kind):
    scale, offset = {"near": (0.01, -3), "ordinary": (2, -80), "far": (300, -4000), "high": (5, 900)}[kind]
    if dtype == np.float32:
        offset /= 16
    return (rng.standard_normal((3, n)) * scale + offset).astype(dtype)


@pytest.mark.parametrize("kind", ["near", "ordinary", "far", "high"])
@pytest.mark.parametrize("n", [1, 2, 7, 64, 1000])
def test_reductions_against_mpmath(n, kind, dtype, rng):
    for row in log_weights_of(rng, dtype, n, kind):
        largest = float(np.abs(row).max()) + math.log(n) + 1
        assert abs(kexue.iwae_bound(row) - float(reference.iwae_bound(row))) <= 8 * eps(dtype) * largest
        assert abs(kexue.elbo(row) - float(reference.elbo(row))) <= 2 * eps(dtype) * largest
        assert kexue.effective_sample_size(row) == pytest.approx(
            float(reference.effective_sample_size(row)), rel=16 * eps(dtype)
        )
        np.testing.assert_allclose(
            kexue.iwae_bound_grad(row),
            np.array(reference.iwae_bound_grad(row), dtype=float),
            rtol=400 * eps(dtype),
            atol=np.finfo(dtype).tiny,
        )
        for function in ALL.values():
            assert function(row).dtype == dtype


def test_estimate_against_mpmath(rng):
    """The streamed moments against all weights at once, for blocks that divide the samples and for others."""
    log_weights = rng.standard_normal(500) * 3 - np.linspace(900, 200, 500)
    for block_size in (1, 7, 100, 500, 1000):
        rows = iter(log_weights)
        result = kexue.log_density_estimate(
            0.0,
            lambda z: np.array([next(rows) for _ in z]),  # noqa: B023
            lambda z: np.zeros(len(z)),
            _Fixed(),
            n_samples=500,
            block_size=block_size,
        )
        assert result.estimate == pytest.approx(float(reference.iwae_bound(log_weights)), rel=1e-14)
        assert result.standard_error == pytest.approx(float(reference.standard_error(log_weights)), rel=1e-11)
        assert result.elbo == pytest.approx(float(reference.elbo(log_weights)), rel=1e-14)
        assert result.effective_sample_size == pytest.approx(
            float(reference.effective_sample_size(log_weights)), rel=1e-11
        )


class _Fixed:
    """A proposal without a random number, of density 1."""

    def rvs(self, size, random_state):
        return np.zeros(size)

    def logpdf(self, z):
        return np.zeros(len(z))


@pytest.mark.parametrize("d", [1, 2, 30])
def test_gaussian_logpdf_diag_against_mpmath(d, dtype, rng):
    x, mean = rng.standard_normal((2, 6, d)).astype(dtype)
    log_std = rng.uniform(-3, 3, size=(6, d)).astype(dtype)
    std = np.exp(log_std)
    by_std, by_log = kexue.gaussian_logpdf_diag(x, mean, std), kexue.gaussian_logpdf_diag(x, mean, log_std=log_std)
    assert by_std.dtype == by_log.dtype == dtype and by_std.shape == (6,)
    for k in range(6):
        expected = float(reference.gaussian_logpdf_diag(x[k], mean[k], std[k]))
        scale = 1 + d + float((((x[k] - mean[k]) / std[k]) ** 2).sum())
        assert abs(by_std[k] - expected) <= 8 * eps(dtype) * scale
        assert abs(by_log[k] - expected) <= 16 * eps(dtype) * scale
    np.testing.assert_allclose(
        kexue.gaussian_logpdf_diag(x.T, mean.T, std.T, axis=0), by_std, rtol=8 * eps(dtype), atol=8 * eps(dtype)
    )


def test_gaussian_logpdf_diag_far_away():
    """A logarithm of the deviation stays in range where the deviation does not."""
    half_log = 0.5 * math.log(2 * math.pi)
    for log_std in (-1e4, -800.0, 800.0, 1e4):
        assert kexue.gaussian_logpdf_diag([2.0], 2.0, log_std=log_std) == pytest.approx(-log_std - half_log)
    assert kexue.gaussian_logpdf_diag([1e-300], 0.0, log_std=-690.0) == pytest.approx(
        690 - half_log - math.exp(2 * (690 - 300 * math.log(10))) / 2
    )
    # exp(750) is beyond float64, times 1e-320 it is not.
    tiny = 1e-320
    expected = 750 - half_log - math.exp(2 * (750 + math.log(tiny))) / 2
    assert kexue.gaussian_logpdf_diag([tiny], 0.0, log_std=-750.0) == pytest.approx(expected, rel=1e-12)
    assert kexue.gaussian_logpdf_diag([1.0], 0.0, log_std=-1e4) == -INF
    assert kexue.gaussian_logpdf_diag([1e300], 0.0, 1e-300) == -INF
    assert kexue.gaussian_logpdf_diag(np.empty((3, 0)), 0.0, 1.0).tolist() == [0, 0, 0]


def test_gaussian_logpdf_diag_agrees_with_scipy(rng):
    x, mean, std = rng.standard_normal((4, 5, 3)), rng.standard_normal((5, 1)), rng.uniform(0.1, 3, size=3)
    expected = scipy.stats.norm(mean, std).logpdf(x).sum(axis=-1)
    np.testing.assert_allclose(kexue.gaussian_logpdf_diag(x, mean, std), expected, rtol=1e-13)
    across = scipy.stats.norm(mean, std).logpdf(x).sum(axis=1)
    np.testing.assert_allclose(kexue.gaussian_logpdf_diag(x, mean, std, axis=1), across, rtol=1e-13)


# ---- special values ----


def test_zero_weights(dtype):
    some, none = np.array([-1, -INF, -3, -INF], dtype), np.full(4, -INF, dtype)
    both = np.array([some, none])
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        assert kexue.iwae_bound(both)[1] == -INF
        np.testing.assert_array_equal(kexue.elbo(both), [-INF, -INF])
        np.testing.assert_array_equal(kexue.iwae_bound_grad(both)[1], np.zeros(4))
        np.testing.assert_array_equal(kexue.iwae_bound_vjp(both, np.ones(2, dtype))[1], np.zeros(4))
        assert kexue.effective_sample_size(both)[1] == 0
    finite = np.array([-1, -3], dtype)
    assert kexue.iwae_bound(some) == pytest.approx(kexue.iwae_bound(finite) - math.log(2), rel=4 * eps(dtype))
    assert kexue.effective_sample_size(some) == pytest.approx(kexue.effective_sample_size(finite))
    np.testing.assert_array_equal(kexue.iwae_bound_grad(some)[[1, 3]], [0, 0])


def test_the_largest_numbers():
    huge = np.finfo(np.float64).max
    with np.errstate(over="raise", invalid="raise"):
        assert kexue.elbo([huge, huge, -huge, -huge]) == 0
        assert kexue.elbo([-huge] * 3) == -huge
        assert kexue.elbo([huge, huge, -INF]) == -INF
    assert kexue.iwae_bound([-huge, -huge]) == -huge
    assert kexue.elbo(np.full(5, np.finfo(np.float32).max)) == np.finfo(np.float32).max


def test_zero_weights_of_an_estimate():
    """A prior on [0, 1] and a proposal beyond it: samples outside have no weight; some blocks have none at all."""
    prior, seen = scipy.stats.uniform(0, 1), []

    def likelihood(z):
        seen.append(z)
        return np.zeros(len(z))

    with np.errstate(divide="raise", over="raise", invalid="raise"):
        result = kexue.log_density_estimate(
            0.0, likelihood, prior, scipy.stats.uniform(0, 4), n_samples=4000, rng=0, block_size=3
        )
        inside = np.mean(np.concatenate(seen) <= 1)
        assert result.estimate == pytest.approx(math.log(4 * inside), rel=1e-12)
        assert result.effective_sample_size == pytest.approx(4000 * inside, rel=1e-12)
        assert result.elbo == -INF
        outside = kexue.log_density_estimate(
            0.0, likelihood, prior, scipy.stats.uniform(2, 1), n_samples=10, rng=0, block_size=3
        )
    assert (outside.estimate, outside.standard_error, outside.elbo) == (-INF, INF, -INF)
    assert outside.effective_sample_size == 0


def test_a_single_sample():
    result = kexue.log_density_estimate(X, decoder, standard_normal(), mean_field(), n_samples=1, rng=0)
    assert result.standard_error == INF and result.estimate == result.elbo and result.effective_sample_size == 1


# ---- properties ----

rows_of_weights = arrays(
    np.float64, st.integers(1, 60), elements=st.floats(-700, 700) | st.just(-INF) | st.floats(-1e300, 1e300)
)


@given(rows_of_weights)
def test_orders_and_ranges(log_weights):
    bound, mean = kexue.iwae_bound(log_weights), kexue.elbo(log_weights)
    largest, n = log_weights.max(), log_weights.size
    slack = 8 * eps(np.float64) * (1 + (abs(largest) if largest > -INF else 0) + math.log(n))
    assert not np.isnan(bound) and not np.isnan(mean)
    assert mean <= bound + slack or mean <= bound * (1 - 1e-14)  # Jensen
    assert largest - math.log(n) - slack <= bound <= largest + slack
    size, shares = kexue.effective_sample_size(log_weights), kexue.iwae_bound_grad(log_weights)
    if largest == -INF:
        assert size == 0 and not shares.any()
    else:
        assert 1 <= size <= n
        assert shares.sum() == pytest.approx(1, rel=1e-13)


@given(arrays(np.float64, st.integers(1, 60), elements=st.integers(-50, 50)), st.integers(-1000, 1000))
def test_shift(log_weights, shift):
    moved = log_weights + shift
    assert kexue.iwae_bound(moved) == pytest.approx(kexue.iwae_bound(log_weights) + shift, rel=1e-13, abs=1e-13)
    assert kexue.elbo(moved) == pytest.approx(kexue.elbo(log_weights) + shift, rel=1e-13, abs=1e-13)
    assert kexue.effective_sample_size(moved) == pytest.approx(kexue.effective_sample_size(log_weights), rel=1e-14)


@given(arrays(np.float64, (4, 5), elements=st.floats(-30, 30)))
def test_gradient(log_weights):
    step = 1e-5
    grad = kexue.iwae_bound_grad(log_weights, axis=0)
    for i in range(4):
        moved = np.zeros((4, 5))
        moved[i] = step
        up, down = (kexue.iwae_bound(log_weights + sign * moved, axis=0) for sign in (1, -1))
        np.testing.assert_allclose(grad[i], (up - down) / (2 * step), atol=1e-8)
    upstream = np.arange(5.0) - 2
    np.testing.assert_allclose(kexue.iwae_bound_vjp(log_weights, upstream, axis=0), grad * upstream, rtol=1e-14)


# ---- arguments ----


@pytest.mark.parametrize("name", ALL)
def test_layouts(name, layout, plain, untouched, dtype, rng):
    log_weights = layout(rng.normal(size=(5, 7)).astype(dtype))
    with untouched(log_weights):
        result = ALL[name](log_weights)
        across = ALL[name](log_weights, axis=0)
    assert result.dtype == across.dtype == dtype
    np.testing.assert_allclose(result, ALL[name](plain(log_weights)), rtol=8 * eps(dtype), atol=8 * eps(dtype))
    expected = ALL[name](plain(log_weights).T)
    expected = expected if name in REDUCTIONS else expected.T
    np.testing.assert_allclose(across, expected, rtol=8 * eps(dtype), atol=8 * eps(dtype))


@pytest.mark.parametrize("name", ALL)
def test_shapes_and_dtypes(name):
    function = ALL[name]
    shape = () if name in REDUCTIONS else (3,)
    assert function([1, 2, 3]).dtype == np.float64 and np.shape(function([1, 2, 3])) == shape
    assert function(np.zeros(3, np.float16)).dtype == np.float32
    assert function(np.zeros((0, 3))).shape == (0, *shape)
    assert function(np.zeros((2, 3, 4)), axis=1).shape == ((2, 4) if shape == () else (2, 3, 4))


@pytest.mark.parametrize("name", ALL)
def test_dask(name, rng):
    log_weights = rng.normal(size=(6, 9))
    lazy = da.from_array(log_weights, chunks=(2, 9))
    result = ALL[name](lazy)
    assert isinstance(result, da.Array)
    np.testing.assert_array_equal(result.compute(), ALL[name](log_weights))
    np.testing.assert_allclose(
        ALL[name](da.from_array(log_weights, chunks=(6, 3)), axis=0).compute(), ALL[name](log_weights, axis=0)
    )
    log_weights[4, 2] = NAN
    with pytest.raises(KexueValueError, match=r"is nan"):
        ALL[name](da.from_array(log_weights, chunks=(2, 9))).compute()
    with pytest.raises(KexueValueError, match="no entries along axis"):
        ALL[name](lazy[:, :0])


def test_dask_vjp(rng):
    log_weights, grad = rng.normal(size=(6, 9)), rng.normal(size=6)
    result = kexue.iwae_bound_vjp(da.from_array(log_weights, chunks=(2, 9)), da.from_array(grad, chunks=3))
    assert isinstance(result, da.Array)
    np.testing.assert_array_equal(result.compute(), kexue.iwae_bound_vjp(log_weights, grad))


@pytest.mark.parametrize("name", ALL)
def test_bad_log_weights(name):
    function = ALL[name]
    for bad in (NAN, INF):
        log_weights = np.zeros((3, 4))
        log_weights[1, 2] = log_weights[2, 0] = bad
        with pytest.raises(KexueValueError, match=rf"log_weights\[1, 2\] is {bad}; log_weights has shape \(3, 4\)"):
            function(log_weights)
        with pytest.raises(KexueValueError, match=rf"log_weights\[1, 2\] is {bad}"):
            function(log_weights, axis=0)
        with pytest.raises(KexueValueError, match=r"log_weights\[1\] is"):
            function([-INF, bad])
    with pytest.raises(KexueValueError, match=r"no entries along axis -1: its shape is \(3, 0\)"):
        function(np.empty((3, 0)))
    with pytest.raises(KexueValueError, match="axis 2 is out of bounds"):
        function(np.zeros((2, 2)), axis=2)
    with pytest.raises(KexueValueError, match="at least 1 dimension"):
        function(1.0)
    with pytest.raises(TypeError, match="log_weights must hold real numbers"):
        function(["a"])


def test_bad_upstream_gradients():
    with pytest.raises(KexueValueError, match=r"grad has shape \(3,\).* have \(2,\)"):
        kexue.iwae_bound_vjp(np.zeros((2, 3)), np.zeros(3))
    with pytest.raises(KexueValueError, match=r"grad\[1\] is nan"):
        kexue.iwae_bound_vjp(np.zeros((2, 3)), [0, NAN])
    single = kexue.iwae_bound_vjp(np.zeros((2, 3), np.float32), 2.0)
    assert single.dtype == np.float32 and single.shape == (2, 3)


def test_importance_log_weights(dtype, rng):
    parts = (rng.normal(size=(3, 5)) * np.array([[1000], [1], [1000]])).astype(dtype)
    result = kexue.importance_log_weights(*parts)
    assert result.dtype == dtype
    exact = np.array(reference.importance_log_weights(*parts), dtype=float)
    # Rounded once: the large terms may cancel.
    np.testing.assert_allclose(result, exact, rtol=eps(dtype), atol=4e-13)
    assert kexue.importance_log_weights(np.zeros((4, 1)), np.zeros(3), 0).shape == (4, 3)
    assert kexue.importance_log_weights(-1.0, -2.0, -3.0) == 0


def test_bad_log_densities():
    function = kexue.importance_log_weights
    for number, name in enumerate(("log_px_z", "log_pz", "log_qz_x")):
        for bad in (NAN, INF):
            parts = np.zeros((3, 4))
            parts[number, 2] = bad
            with pytest.raises(KexueValueError, match=rf"{name}\[2\] is {bad}"):
                function(*parts)
    with pytest.raises(KexueValueError, match=r"log_qz_x\[1\] is -inf: a sample cannot come from"):
        function([0, 0], 0, [0, -INF])
    assert function([0, -INF], -INF, 0).tolist() == [-INF, -INF]
    with pytest.raises(KexueValueError, match=r"do not broadcast: log_px_z \(2,\), log_pz \(3,\)"):
        function([0, 0], [0, 0, 0], 0)
    with pytest.raises(TypeError, match="log_pz must hold real numbers"):
        function(0, "a", 0)


def test_bad_gaussians():
    function = kexue.gaussian_logpdf_diag
    with pytest.raises(KexueValueError, match="not both"):
        function([0], 0, 1, log_std=0)
    with pytest.raises(KexueValueError, match="got none"):
        function([0], 0)
    with pytest.raises(KexueValueError, match=r"std\[1\] is 0.0, but must be positive"):
        function([0, 0], 0, [1, 0])
    with pytest.raises(KexueValueError, match=r"log_std\[0\] is -inf"):
        function([0, 0], 0, log_std=[-INF, 0])
    with pytest.raises(KexueValueError, match="mean is nan"):
        function([0, 0], NAN, 1)
    with pytest.raises(KexueValueError, match=r"x\[0, 1\] is inf"):
        function([[0, INF]], 0, 1)
    with pytest.raises(KexueValueError, match=r"do not broadcast: x \(2,\), mean \(3,\), std \(\)"):
        function([0, 0], [0, 0, 0], 1)
    with pytest.raises(KexueValueError, match="axis 1 is out of bounds"):
        function([0, 0], 0, 1, axis=1)
    with pytest.raises(KexueValueError, match="at least 1 dimension"):
        function(0, 0, 1)


# ---- models ----


def test_forms_of_a_model_agree():
    """Pairs, SciPy's frozen and newer distributions, and callables draw the same samples from one seed."""
    options = {"n_samples": 3000, "rng": 5, "block_size": 700}
    expected = kexue.log_density_estimate(X, decoder, standard_normal(), mean_field(), **options)
    noise = scipy.stats.multivariate_normal(np.zeros(3), 0.25)
    pair = (POSTERIOR_MEAN, MEAN_FIELD_STD)
    models = {
        "pairs": (decoder, (0.0, 1.0), pair),
        "encoder": (decoder, (np.zeros(2), 1.0), lambda x: pair if x is X else None),
        "log-likelihoods": (lambda z: noise.logpdf(X - z @ W.T - B), scipy.stats.norm(0, 1), mean_field()),
        "distribution": (lambda z: scipy.stats.norm(z @ W.T + B, 0.5), standard_normal().logpdf, mean_field()),
    }
    if hasattr(scipy.stats, "Normal"):
        newer = scipy.stats.Normal(mu=POSTERIOR_MEAN, sigma=MEAN_FIELD_STD)
        result = kexue.log_density_estimate(X, decoder, scipy.stats.Normal(mu=0.0, sigma=1.0), newer, **options)
        assert result.estimate == pytest.approx(EXACT, abs=6 * result.standard_error)
    for name, model in models.items():
        result = kexue.log_density_estimate(X, *model, **options)
        for field, value in dataclasses.asdict(expected).items():
            assert getattr(result, field) == pytest.approx(value, rel=1e-10), (name, field)


def test_seeds_generators_and_blocks():
    def estimate(**options):
        return kexue.log_density_estimate(X, decoder, (0.0, 1.0), mean_field(), n_samples=500, **options)

    assert estimate(rng=1) == estimate(rng=np.random.default_rng(1)) != estimate(rng=2)
    assert estimate() != estimate()
    generator = np.random.default_rng(1)
    assert estimate(rng=generator) != estimate(rng=generator)
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    estimate(rng=1)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    whole = estimate(rng=1)
    for block_size in (1, 3, 499, 500, 501):
        assert estimate(rng=1, block_size=block_size).estimate == pytest.approx(whole.estimate, rel=1e-13)


def test_one_dimensional_and_image_like_models():
    # z a number, x a number: x ~ N(0, 2).
    scalar = kexue.log_density_estimate(0.5, lambda z: (z, 1.0), (0.0, 1.0), (0.25, 0.5**0.5), n_samples=50, rng=0)
    assert scalar.estimate == pytest.approx(scipy.stats.norm(0, 2**0.5).logpdf(0.5), rel=1e-12)
    one = scipy.stats.multivariate_normal([0.25], [[0.5]])
    for count in (1, 2, 50):
        multivariate = kexue.log_density_estimate(0.5, lambda z: (z, 1.0), (0.0, 1.0), one, n_samples=count, rng=0)
        assert multivariate.estimate == pytest.approx(scalar.estimate, rel=1e-12)
    # x an image of bits, each of which is 1 with probability p: whatever z, so that nothing is random.
    bits, p = np.array([[0, 1, 1], [1, 0, 0]]), np.full((2, 3), 0.2)
    result = kexue.log_density_estimate(
        bits,
        lambda z: scipy.stats.bernoulli(np.broadcast_to(p, (len(z), 2, 3))),
        scipy.stats.norm(0, 1),
        scipy.stats.norm(np.zeros(4), 1),
        n_samples=10,
        rng=0,
    )
    assert result.estimate == pytest.approx(3 * math.log(0.2) + 3 * math.log(0.8), rel=1e-14)
    image = kexue.log_density_estimate(bits, lambda z: (p, 0.5), (0.0, 1.0), (np.zeros(4), 1.0), n_samples=3, rng=0)
    assert image.estimate == pytest.approx(scipy.stats.norm(p, 0.5).logpdf(bits).sum(), rel=1e-13)


def test_as_many_samples_as_dimensions():
    """SciPy would take the number of samples for the shape of one."""
    wide = scipy.stats.norm(np.arange(4.0), 1.0)
    result = kexue.log_density_estimate([0.0], lambda z: (z[:, :1], 1.0), wide, wide, n_samples=4, rng=0)
    log_weights = scipy.stats.norm.logpdf(np.random.default_rng(0).normal(np.arange(4), 1, size=(4, 4))[:, 0])
    assert result.estimate == pytest.approx(kexue.iwae_bound(log_weights), rel=1e-12)


def test_memory_is_that_of_a_block():
    def decode(z):
        return np.repeat(z, 1000, axis=1), 1.0

    def peak(n_samples):
        tracemalloc.start()
        kexue.log_density_estimate(
            np.zeros(1000), decode, (0.0, 1.0), (np.zeros(1), 1.0), n_samples=n_samples, rng=0, block_size=100
        )
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(100)
    assert peak(2000) < 1.1 * peak(200) + 100_000


def test_bad_models():
    def estimate(x=X, decoder=decoder, prior=(0.0, 1.0), proposal=((0.0, 0.0), 1.0), n_samples=8, **options):
        return kexue.log_density_estimate(x, decoder, prior, proposal, n_samples=n_samples, rng=0, **options)

    def spoiled(value, place):
        calls = []

        def likelihood(z):
            logs = np.zeros(len(z))
            if sum(calls) <= place < sum(calls) + len(z):
                logs[place - sum(calls)] = value
            calls.append(len(z))
            return logs

        return likelihood

    for value in (NAN, INF):
        with pytest.raises(KexueValueError, match=rf"the log-density of decoder at sample 7 is {value}"):
            estimate(decoder=spoiled(value, 7), block_size=3)
        with pytest.raises(KexueValueError, match=rf"the log-density of prior at sample 0 is {value}"):
            estimate(prior=spoiled(value, 0))

    class Odd(_Fixed):
        def logpdf(self, z):
            return np.full(len(z), -INF)

    with pytest.raises(KexueValueError, match="the log-density of proposal at sample 0 is -inf"):
        estimate(proposal=Odd(), decoder=lambda z: np.zeros(len(z)))
    with pytest.raises(KexueValueError, match=r"decoder gave log-densities of shape \(8, 2\) for 8 samples, not"):
        estimate(decoder=lambda z: np.zeros((len(z), 2)))
    with pytest.raises(KexueValueError, match=r"prior gave log-densities of shape \(\) for 8 samples"):
        estimate(prior=lambda z: 0.0)
    with pytest.raises(KexueValueError, match=r"decoder mean has shape \(8, 5\), which does not broadcast to \(8, 3\)"):
        estimate(decoder=lambda z: (np.zeros((len(z), 5)), 1.0))
    with pytest.raises(KexueValueError, match=r"decoder mean has shape \(8, 5\), which does not broadcast to \(8, 1\)"):
        estimate(x=[1.0], decoder=lambda z: (np.zeros((len(z), 5)), 1.0))
    with pytest.raises(KexueValueError, match=r"decoder std\[2\] is -1.0, but must be positive"):
        estimate(decoder=lambda z: (0.0, [1.0, 1.0, -1.0]))
    with pytest.raises(KexueValueError, match="proposal mean is nan"):
        estimate(proposal=(NAN, 1.0))
    with pytest.raises(KexueValueError, match=r"decoder must be a pair \(mean, std\), but it has 3 elements"):
        estimate(decoder=lambda z: (0.0, 1.0, 2.0))
    with pytest.raises(KexueValueError, match=r"x\[1\] is nan"):
        estimate(x=[0.0, NAN, 0.0])

    class Short(_Fixed):
        def rvs(self, size, random_state):
            return np.zeros(3)

    with pytest.raises(KexueValueError, match=r"samples of shape \(3,\), but the first axis must be that of 8"):
        estimate(proposal=Short())
    for name in ("n_samples", "block_size"):
        with pytest.raises(KexueValueError, match=f"{name} must be positive, got 0"):
            estimate(**{name: 0})
        with pytest.raises(TypeError, match=f"{name} must be an integer, not float"):
            estimate(**{name: 10.0})
    with pytest.raises(TypeError, match="decoder must be callable, not tuple"):
        estimate(decoder=(0.0, 1.0))
    with pytest.raises(TypeError, match="prior must be a pair .* NoneType has not"):
        estimate(prior=None)
    with pytest.raises(TypeError, match="proposal must have rvs"):
        estimate(proposal=scipy.stats.gaussian_kde(np.random.default_rng(0).normal(size=(2, 9))))


def test_the_result_is_frozen_and_travels():
    result = kexue.log_density_estimate(X, decoder, (0.0, 1.0), mean_field(), n_samples=10, rng=0)
    assert isinstance(result, kexue.LogDensityEstimate)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.estimate = 0.0
    assert pickle.loads(pickle.dumps(result)) == result
