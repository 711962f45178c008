"""Steps by sampling: reference values, extremes of the log domain, limits of the temperature, quadratics.

Statistical tests allow six standard errors: with the few numbers that each compares, a right estimator with another
stream fails one in 1e7.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from kexue import (
    BoltzmannStep,
    GaussianMixtureProposal,
    KexueValueError,
    ball_step_length,
    boltzmann_step,
    effective_sample_size,
    gaussian_mixture_proposal,
    mgs_step,
    mgs_weights,
)

DELTAS = np.array([(-0.4, -0.1), (-0.6, -0.3), (0.1, 0.2), (-0.5, -0.2)])
LOSSES = np.array([0.9, 0.7, 1.3, 1.0]) - 1.2
G = np.array([0.5, 0.2])
FALSE_ALARM = 6  # standard errors

REFERENCE = {
    0.0: (
        [0.004239306858366606, 0.006324302672191322, 0.9867332890731842, 0.0027031013962578055],
        [0.09183147386252809, 0.19448481604789125],
    ),
    0.5: (
        [0.2391823170028903, 0.4096409000415993, 0.17984516647597829, 0.17133161647953218],
        [-0.40913875841828395, -0.1451077917134796],
    ),
}


@pytest.mark.parametrize("mixing", REFERENCE)
@pytest.mark.parametrize("normalized", [False, True])
def test_reference_values(mixing, normalized):
    weights, step = REFERENCE[mixing]
    log_q = gaussian_mixture_proposal(-G, 0.2, mixing=mixing).log_density(DELTAS, normalized=normalized)
    found, ess = mgs_weights(LOSSES, log_q, 0.5, return_ess=True)
    np.testing.assert_allclose(found, weights, rtol=1e-13)
    np.testing.assert_allclose(ess, 1 / np.square(weights).sum(), rtol=1e-13)
    np.testing.assert_allclose(mgs_step(DELTAS, LOSSES, log_q, 0.5), step, rtol=1e-13)
    np.testing.assert_allclose(mgs_step(DELTAS, LOSSES + 1.2, log_q - 7, 0.5), step, rtol=1e-13)


class TestWeights:
    @settings(deadline=None, max_examples=100)
    @given(
        arrays(float, 6, elements=st.floats(-1e300, 1e300)),
        arrays(float, 6, elements=st.floats(-1e300, 1e300)),
        st.floats(0, 1e300) | st.just(math.inf),
    )
    def test_of_any_magnitude(self, losses, log_q, alpha):
        weights, ess = mgs_weights(losses, log_q, alpha, return_ess=True)
        assert (weights >= 0).all()
        assert abs(weights.sum() - 1) < 1e-15 * 6
        assert 1 <= ess <= 6

    @settings(deadline=None, max_examples=60)
    @given(arrays(float, 6, elements=st.floats(-50, 50)), arrays(float, 6, elements=st.floats(-50, 50)))
    def test_ess_is_that_of_the_log_weights(self, losses, log_q):
        _, ess = mgs_weights(losses, log_q, 2.0, return_ess=True)
        np.testing.assert_allclose(ess, effective_sample_size(-losses / 2 - log_q), rtol=1e-12)

    def test_a_difference_that_overflows(self):
        share = 1 / (1 + math.exp(-2))
        np.testing.assert_allclose(mgs_weights([1e308, -1e308], [0.0, 0.0], 1e308), [1 - share, share], rtol=1e-14)

    def test_limits_of_the_temperature(self):
        log_q = np.array([0.0, -1.0, 2.0, 0.5])
        np.testing.assert_array_equal(mgs_weights([3.0, 1.0, 2.0, 9.0], log_q, 0), [0, 1, 0, 0])
        np.testing.assert_array_equal(mgs_weights([3.0, 1.0, 2.0, 9.0], log_q, 1e-300), [0, 1, 0, 0])
        ratio = math.exp(-2) / (1 + math.exp(-2))
        np.testing.assert_allclose(mgs_weights([1.0, 4.0, 1.0, 9.0], log_q, 0), [1 - ratio, 0, ratio, 0], rtol=1e-15)
        inverse = np.exp(-log_q) / np.exp(-log_q).sum()
        np.testing.assert_allclose(mgs_weights([3.0, 1.0, 2.0, 9.0], log_q, math.inf), inverse, rtol=1e-15)
        np.testing.assert_allclose(mgs_weights([3.0, 1.0, 2.0, 9.0], log_q, 1e300), inverse, rtol=1e-15)

    @pytest.mark.parametrize("alpha", [0, 0.1, math.inf])
    def test_a_step_that_must_not_be_taken(self, alpha):
        assert mgs_weights([0.0, math.inf, 0.0], [0.0, -700.0, 0.0], alpha).tolist() == [0.5, 0.0, 0.5]

    def test_rows_and_types(self):
        losses, log_q = np.random.default_rng(0).normal(size=(2, 3, 5)), np.zeros(5)
        weights, ess = mgs_weights(losses, log_q, 0.7, return_ess=True)
        assert weights.shape == (2, 3, 5) and ess.shape == (2, 3)
        np.testing.assert_allclose(weights[1, 2], mgs_weights(losses[1, 2], log_q, 0.7), rtol=1e-15)
        assert mgs_weights(losses.astype("f4"), log_q.astype("f4"), 0.7).dtype == np.float32
        deltas = np.random.default_rng(1).normal(size=(3, 5, 4))
        step, ess = mgs_step(deltas, losses, log_q, 0.7, return_ess=True)
        assert step.shape == (2, 3, 4) and ess.shape == (2, 3)
        np.testing.assert_allclose(step[1, 2], weights[1, 2] @ deltas[2], rtol=1e-14)
        single = [array.astype("f4") for array in (deltas, losses, log_q)]
        assert all(part.dtype == np.float32 for part in mgs_step(*single, 0.7, return_ess=True))

    @pytest.mark.parametrize(
        ("losses", "log_q", "alpha", "error", "message"),
        [
            ([1.0, math.nan], [0.0, 0.0], 1.0, KexueValueError, r"loss_deltas\[1\] is nan"),
            ([1.0, -math.inf], [0.0, 0.0], 1.0, KexueValueError, r"loss_deltas\[1\] is -inf"),
            ([1.0, 2.0], [0.0, -math.inf], 1.0, KexueValueError, r"log_q\[1\] is -inf"),
            ([[1.0, 2.0], [math.inf, math.inf]], [0.0, 0.0], 1.0, KexueValueError, "row 1 has no finite entry"),
            ([math.inf], [0.0], math.inf, KexueValueError, "no finite entry"),
            ([math.inf], [0.0], 0, KexueValueError, "no finite entry"),
            ([1.0, 2.0], [0.0, 0.0], -1.0, KexueValueError, "alpha must be at least 0"),
            ([1.0, 2.0], [0.0, 0.0], math.nan, KexueValueError, "alpha must be at least 0"),
            ([1.0, 2.0], [0.0, 0.0], [1.0], TypeError, "alpha must be a number"),
            ([1.0, 2.0], [0.0, 0.0, 0.0], 1.0, KexueValueError, "broadcast"),
            ([], [], 1.0, KexueValueError, "a sample at least"),
        ],
    )
    def test_bad_arguments(self, losses, log_q, alpha, error, message):
        with pytest.raises(error, match=message):
            mgs_weights(losses, log_q, alpha)

    def test_bad_steps(self):
        with pytest.raises(KexueValueError, match="deltas must have at least 2"):
            mgs_step([1.0], [1.0], [0.0], 1.0)
        with pytest.raises(KexueValueError, match=r"deltas\[0, 0\] is nan"):
            mgs_step([[math.nan]], [1.0], [0.0], 1.0)
        for bad in (math.nan, math.inf):
            with pytest.raises(KexueValueError, match=r"deltas\[1, 0\]"):
                mgs_step([[1.0], [bad]], [1.0, math.inf], [0.0, 0.0], 1.0)  # of weight 0
        with pytest.raises(KexueValueError, match="deltas has 1 steps"):
            mgs_step([[1.0]], [1.0, 2.0], [0.0, 0.0], 1.0)


class TestProposal:
    def test_density(self):
        proposal = gaussian_mixture_proposal([0.5, -1.0, 2.0], 0.7, mixing=0.3)
        at = np.random.default_rng(0).normal(size=(4, 6, 3))
        parts = [stats.multivariate_normal(mean, 0.49 * np.eye(3)).pdf(at) for mean in ([0, 0, 0], proposal.mean)]
        expected = np.log(0.3 * parts[0] + 0.7 * parts[1])
        np.testing.assert_allclose(proposal.log_density(at), expected, rtol=1e-12)
        term = 1.5 * math.log(2 * math.pi * 0.49)
        np.testing.assert_allclose(proposal.log_density(at, normalized=False), expected + term, rtol=1e-12)

    def test_tails_of_many_dimensions(self):
        proposal = gaussian_mixture_proposal(np.full(100_000, 2.0), 1e-3)
        density = proposal.log_density(np.full(100_000, 1.5), normalized=False)
        np.testing.assert_allclose(density, math.log(0.5) - 0.5 * 100_000 * 500.0**2, rtol=1e-14)

    @pytest.mark.parametrize("mixing", [0, 0.25, 1])
    def test_samples(self, mixing):
        mean = np.array([[1.0, -2.0]])
        samples = gaussian_mixture_proposal(mean, 0.5, mixing=mixing).sample(100_000, rng=0)
        assert samples.shape == (100_000, 1, 2)
        errors = samples.std(axis=0) / math.sqrt(len(samples))
        assert (abs(samples.mean(axis=0) - (1 - mixing) * mean) < FALSE_ALARM * errors).all()
        spread = 0.25 + mixing * (1 - mixing) * np.square(mean)
        np.testing.assert_allclose(samples.var(axis=0), spread, rtol=0.04)  # over 6 sqrt(2 / 100000)

    def test_call_types_and_stream(self):
        proposal = gaussian_mixture_proposal(np.ones(3, np.float32), 0.5)
        deltas, log_q = proposal(7, 5)
        assert isinstance(proposal, GaussianMixtureProposal)
        assert deltas.dtype == np.float32 and deltas.shape == (7, 3) and log_q.shape == (7,)
        np.testing.assert_array_equal(deltas, proposal.sample(7, np.random.default_rng(5)))
        assert proposal.sample(0, 5).shape == (0, 3)

    def test_the_mean_is_a_copy(self):
        mean = np.ones(2)
        proposal = gaussian_mixture_proposal(mean, 0.5)
        mean[:] = 7
        assert proposal.mean.tolist() == [1, 1]

    @pytest.mark.parametrize(
        ("mean", "std", "mixing", "error", "message"),
        [
            ([math.nan], 1.0, 0.5, KexueValueError, r"mean\[0\] is nan"),
            ([1.0], 0, 0.5, KexueValueError, "std must be positive"),
            ([1.0], math.inf, 0.5, KexueValueError, "std must be positive"),
            ([1.0], "1", 0.5, TypeError, "std must be a number"),
            (np.ones(1, np.float32), 1e-60, 0.5, KexueValueError, "std must be positive and finite in float32"),
            (np.ones(1, np.float32), 1e60, 0.5, KexueValueError, "std must be positive and finite in float32"),
            ([1.0], 1.0, 1.5, KexueValueError, "mixing must be from 0 to 1"),
            ([1.0], 1.0, None, TypeError, "mixing must be a number"),
        ],
    )
    def test_bad_arguments(self, mean, std, mixing, error, message):
        with pytest.raises(error, match=message):
            gaussian_mixture_proposal(mean, std, mixing=mixing)

    def test_bad_steps(self):
        with pytest.raises(KexueValueError, match="deltas must have the shape"):
            gaussian_mixture_proposal([1.0, 2.0], 1.0).log_density([1.0])


def quadratic_problem():
    H, g = np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([0.6, -0.4])
    return H, g, lambda x: 0.5 * np.einsum("...i,ij,...j", x, H, x) + x @ g


def errors_of(found):
    """Standard errors of a self-normalised mean."""
    return np.sqrt(np.square(found.weights) @ np.square(found.deltas - found.step))


class TestBoltzmannStep:
    @pytest.mark.parametrize("alpha", [0.05, 0.3])
    def test_newtons_step_of_a_quadratic(self, alpha):
        H, g, loss = quadratic_problem()
        proposal = gaussian_mixture_proposal([-0.5, 0.5], 1.0)
        found = boltzmann_step(loss, [0.0, 0.0], alpha, proposal, n_samples=200_000, vectorized=True, rng=0)
        assert isinstance(found, BoltzmannStep) and found.nfev == 200_000
        assert (abs(found.step + np.linalg.solve(H, g)) < FALSE_ALARM * errors_of(found)).all()
        products = np.einsum("ni,nj->nij", found.deltas - found.step, found.deltas - found.step)
        covariance = found.covariance()
        errors = np.sqrt(np.tensordot(np.square(found.weights), np.square(products - covariance), 1))
        assert (abs(covariance - alpha * np.linalg.inv(H)) < FALSE_ALARM * errors).all()

    @pytest.mark.parametrize("d", [2, 3])
    def test_the_ball_of_a_linear_loss(self, d):
        g, theta, alpha = np.linspace(0.5, 1, d), np.ones(d), 0.4

        def ball(n, rng):
            u = rng.normal(size=(n, d))
            return u * (0.7 * rng.random(n) ** (1 / d) / np.linalg.norm(u, axis=1))[:, None], np.zeros(n)

        found = boltzmann_step(lambda x: x @ g, theta, alpha, ball, n_samples=200_000, vectorized=True, rng=1)
        length = np.linalg.norm(g)
        expected = -0.7 * ball_step_length(d, 0.7 * length / alpha) * g / length
        assert (abs(found.step - expected) < FALSE_ALARM * errors_of(found)).all()

    def test_limits(self):
        _, _, loss = quadratic_problem()
        proposal = gaussian_mixture_proposal([0.3, 0.1], 1.0)
        best = boltzmann_step(loss, [1.0, 1.0], 0, proposal, rng=3)
        np.testing.assert_array_equal(best.step, best.deltas[best.losses.argmin()])
        assert best.ess == 1
        nearly = boltzmann_step(loss, [1.0, 1.0], 1e-12, proposal, rng=3)
        np.testing.assert_array_equal(nearly.step, best.step)

        def square(n, rng):
            return rng.uniform(-1, 1, size=(n, 2)), np.zeros(n)

        flat = boltzmann_step(loss, [1.0, 1.0], math.inf, square, n_samples=100_000, vectorized=True, rng=3)
        assert (abs(flat.step) < FALSE_ALARM * errors_of(flat)).all()
        assert flat.ess == pytest.approx(100_000)

    def test_the_same_vectorized_or_not(self):
        _, _, loss = quadratic_problem()
        proposal = gaussian_mixture_proposal([0.3, 0.1], 1.0)
        one, many = (boltzmann_step(loss, [1.0, 1.0], 0.3, proposal, vectorized=v, rng=3) for v in (False, True))
        np.testing.assert_allclose(one.step, many.step, rtol=1e-13)
        np.testing.assert_array_equal(one.deltas, many.deltas)

    def test_failures_of_the_loss_are_not_taken(self):
        proposal = gaussian_mixture_proposal(np.zeros((2, 2)), 1.0)
        found = boltzmann_step(
            lambda x: math.nan if x[0, 0] > 0 else -math.inf if x[0, 1] > 0 else x.sum(),
            np.zeros((2, 2)),
            0.5,
            proposal,
        )
        assert found.step.shape == (2, 2)
        assert (found.step[0] < 0).all()
        assert (found.weights[np.isinf(found.losses)] == 0).all()
        with pytest.raises(KexueValueError, match="finite after none of the 100 steps"):
            boltzmann_step(lambda x: math.nan, np.zeros((2, 2)), 0.5, proposal)

    def test_float32(self):
        kinds = set()

        def loss(x):
            kinds.add(x.dtype)
            return x.sum()

        found = boltzmann_step(loss, np.zeros(2, np.float32), 0.5, gaussian_mixture_proposal([0.0, 0.0], 1.0))
        assert found.step.dtype == np.float32
        assert kinds == {np.dtype(np.float32)}

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"loss": 3}, TypeError, "loss must be callable"),
            ({"sampler": 3}, TypeError, "sampler must be callable"),
            ({"sampler": lambda n, rng: np.zeros((n, 2))}, TypeError, "sampler must return a tuple"),
            ({"sampler": lambda n, rng: (np.zeros((n, 3)), np.zeros(n))}, KexueValueError, "deltas of shape"),
            ({"sampler": lambda n, rng: (np.zeros((n, 2)), 0.0)}, KexueValueError, "log_q of shape"),
            ({"sampler": lambda n, rng: (np.zeros((n, 2)), np.full(n, np.nan))}, KexueValueError, "log_q of sampler"),
            ({"sampler": lambda n, rng: (np.full((n, 2), np.inf), np.zeros(n))}, KexueValueError, "deltas of sampler"),
            ({"theta": [0.0, math.inf]}, KexueValueError, r"theta\[1\] is inf"),
            ({"alpha": -1}, KexueValueError, "alpha must be at least 0"),
            ({"n_samples": 0}, KexueValueError, "n_samples must be at least 1"),
            ({"loss": lambda x: x}, KexueValueError, "loss must return a single number"),
            ({"loss": lambda x: "a"}, TypeError, "what loss returns"),
            ({"vectorized": True}, KexueValueError, r"loss must return an array of shape \(100,\)"),
        ],
    )
    def test_bad_arguments(self, options, error, message):
        proposal = gaussian_mixture_proposal([0.0, 0.0], 1.0)
        given_ = {"loss": lambda x: 1.0, "theta": [0.0, 0.0], "alpha": 1.0, "sampler": proposal} | options
        with pytest.raises(error, match=message):
            boltzmann_step(**given_)
