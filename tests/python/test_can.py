"""can and topk_entropy against their definition in 60 digits and METHODS' values; what CAN promises, and does."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from kexue import KexueValueError, _can
from reference import can as reference

MODES = ("post", "paper", "repo")
P = np.array(
    [
        [0.90, 0.06, 0.03, 0.01],
        [0.05, 0.85, 0.05, 0.05],
        [0.10, 0.05, 0.80, 0.05],
        [0.80, 0.10, 0.05, 0.05],
        [0.30, 0.28, 0.22, 0.20],
        [0.05, 0.45, 0.46, 0.04],
    ]
)
PRIOR = [0.4, 0.2, 0.2, 0.2]


def batch(rng, n, m, concentration=0.3, zeros=0.3):
    """Rows of all degrees of certainty; some entries are 0."""
    weights = rng.gamma(concentration, size=(n, m)) * (rng.random((n, m)) >= zeros)
    weights[np.arange(n), rng.integers(m, size=n)] += 0.01
    return weights / weights.sum(axis=1, keepdims=True)


@st.composite
def problems(draw, largest=8):
    n, m = draw(st.integers(1, largest)), draw(st.integers(1, largest))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    rows = batch(rng, n, m, draw(st.sampled_from([0.05, 0.3, 3])), draw(st.sampled_from([0, 0.5])))
    return rows, rng.dirichlet(np.full(m, 2.0)) + 1e-3


class TestUncertainty:
    def test_values(self):
        expected = [0.32996264968, 0.372705296417, 0.488493136314, 0.488493136314, 0.992405942079, 0.784255675259]
        np.testing.assert_allclose(kexue.topk_entropy(P), expected, atol=1e-11)
        expected = [
            0.2660516080576831,
            0.3157441375401029,
            0.40291584507149714,
            0.40291584507149714,
            0.757941719430445,
            0.624916572152394,
        ]
        np.testing.assert_allclose(kexue.topk_entropy(P, mode="paper"), expected, rtol=1e-14)
        # With k = 3 the program looks at the two largest alone.
        np.testing.assert_array_equal(kexue.topk_entropy(P, mode="repo"), kexue.topk_entropy(P, 2))

    def test_ranks_what_the_entropy_does_not(self):
        rows = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0.0]])
        assert kexue.entropy(rows)[0] > kexue.entropy(rows)[1]
        np.testing.assert_allclose(kexue.topk_entropy(rows, 2), [0.9182958340544894, 1], rtol=1e-15)

    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("m", [1, 2, 3, 8, 9, 40])
    def test_definition(self, mode, m, dtype, rng):
        rows = batch(rng, 30, m).astype(dtype)
        for k in (1, 2, 3, 4, 5, 8, 9, 10, 17, 39, 40, 41, 1000):
            got = kexue.topk_entropy(rows, k, mode=mode)
            assert got.dtype == dtype
            np.testing.assert_allclose(
                got, reference.topk_entropy(rows, k, mode), rtol=0, atol=1e-14 + np.finfo(dtype).eps / 2
            )

    def test_limits(self):
        for k in range(2, 30):
            assert kexue.topk_entropy(np.full(25, 1 / 25), k) == 1
            assert kexue.topk_entropy(np.eye(25)[3], k) == 0
        assert kexue.topk_entropy([1.0]) == kexue.topk_entropy([1.0], mode="paper") == 0
        assert (kexue.topk_entropy(P, 1) == 0).all()
        assert (kexue.topk_entropy(P, 2, mode="repo") == 0).all()

    def test_a_small_uncertainty_keeps_its_digits(self):
        x = 1e-300
        with mpmath.workdps(40):
            entropy = -mpmath.mpf(x) * (mpmath.log(x) - 1)
            np.testing.assert_allclose(kexue.topk_entropy([1.0, x], 2), float(entropy / mpmath.log(2)), rtol=1e-14)

    def test_layouts(self, any_layout, plain, untouched, dtype, rng):
        x = any_layout(batch(rng, 7, 5).astype(dtype))
        if x.size and not np.allclose(plain(x).sum(axis=-1), 1, atol=1e-3):
            with pytest.raises(KexueValueError, match=r"P\[0\] sums to"):
                kexue.topk_entropy(x)
            return
        with untouched(x):
            got = kexue.topk_entropy(x)
        np.testing.assert_array_equal(got, kexue.topk_entropy(plain(x)))

    def test_axis(self, rng):
        rows = batch(rng, 12, 5).reshape(3, 4, 5)
        expected = kexue.topk_entropy(rows)
        assert expected.shape == (3, 4)
        for axis in range(-3, 3):
            np.testing.assert_array_equal(kexue.topk_entropy(np.moveaxis(rows, -1, axis), axis=axis), expected)
        with pytest.raises(KexueValueError, match=r"P\[2, :, 1\] sums to 1\.5, not to 1 within 0\.001; P has shape"):
            wrong = np.moveaxis(rows, -1, 1).copy()
            wrong[2, 0, 1] += 0.5
            kexue.topk_entropy(wrong, axis=1)


class TestOneIteration:
    def test_values(self):
        assert kexue.can([[0.05, 0.95], [0.5, 0.5]], k=2)[1] == pytest.approx([0.725, 0.275], rel=1e-15)
        rows = np.array([[0.2, 0, 0.8], [0.9, 0.1, 0], [0, 0, 1], [0.5, 0, 0.5]])
        got = kexue.can(rows, [0.8, 0.1, 0.1], k=2, threshold=0.95)
        np.testing.assert_allclose(got[3], [0.92, 0, 0.08], rtol=1e-15)
        got, uncertainty = kexue.can(P, PRIOR, return_uncertainty=True)
        expected = [0.255890252835801, 0.1467675938052639, 0.12821002315996655, 0.46913213019896854]
        np.testing.assert_allclose(got[4], expected, rtol=1e-14)
        np.testing.assert_array_equal(np.delete(got, 4, 0), np.delete(P, 4, 0))
        np.testing.assert_array_equal(uncertainty, kexue.topk_entropy(P))
        expected = [0.34017923666769523, 0.17831758176396517, 0.17258390515414457, 0.308919276414195]
        np.testing.assert_allclose(kexue.can(P, PRIOR, alpha=0.5)[4], expected, rtol=1e-14)

    @given(
        problem=problems(),
        k=st.integers(1, 10),
        mode=st.sampled_from(MODES),
        alpha=st.sampled_from([1.0, 0.1, 0.5, 2.0, 9.0, 300.0]),
        threshold=st.sampled_from([0.0, 0.3, 0.7, 0.9]),
    )
    @settings(max_examples=150)
    def test_definition(self, problem, k, mode, alpha, threshold):
        rows, prior = problem
        got, uncertainty = kexue.can(
            rows, prior, k=k, threshold=threshold, alpha=alpha, uncertainty=mode, return_uncertainty=True
        )
        expected, expected_uncertainty = reference.can(rows, prior, k, threshold, alpha, 1, mode)
        np.testing.assert_allclose(uncertainty, expected_uncertainty, atol=1e-14)
        if not np.isclose(expected_uncertainty, threshold, atol=1e-14).any():
            np.testing.assert_allclose(got, expected, atol=1e-12)

    def test_float32(self, rng):
        rows = batch(rng, 400, 9).astype(np.float32)
        for iterations in (1, 2):
            narrow, u = kexue.can(rows, iterations=iterations, threshold=0.6, return_uncertainty=True)
            wide = kexue.can(rows.astype(np.float64), iterations=iterations, threshold=0.6)
            assert narrow.dtype == u.dtype == np.float32
            np.testing.assert_allclose(narrow, wide, atol=1e-7)
            assert (narrow[u < np.float32(0.6)] == rows[u < np.float32(0.6)]).all()

    @pytest.mark.parametrize("alpha", [1.0, 2.5])
    def test_workers_do_not_change_a_bit(self, alpha, dtype, workers, rng):
        rows = batch(rng, 20_000, 11).astype(dtype)
        options = {"alpha": alpha, "threshold": 0.6, "return_uncertainty": True}
        for one, other in zip(
            kexue.can(rows, workers=1, **options), kexue.can(rows, workers=workers, **options), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("iterations", [1, 2])
    def test_layouts(self, layout, plain, untouched, dtype, rng, iterations):
        x, prior = layout(batch(rng, 30, 6).astype(dtype)), layout(np.arange(1.0, 7.0))
        with untouched(x, prior):
            got = kexue.can(x, prior, threshold=0.5, iterations=iterations)
        np.testing.assert_array_equal(got, kexue.can(plain(x), plain(prior), threshold=0.5, iterations=iterations))

    def test_many_rows_are_summed_as_well_as_few(self, rng):
        rows = np.tile(batch(rng, 64, 10, zeros=0), (2000, 1))
        uncertain = kexue.topk_entropy(rows[:64]) >= 0.6
        sums = 2000 * rows[:64][~uncertain].sum(axis=0)
        expected = rows[:64] / (sums + rows[:64])
        expected /= expected.sum(axis=1, keepdims=True)
        got = kexue.can(rows, threshold=0.6)[-64:]
        np.testing.assert_allclose(got[uncertain], expected[uncertain], rtol=1e-14)


class TestMoreIterations:
    def test_values(self):
        expected = [0.2724698594209207, 0.12720378424954246, 0.11401947765120123, 0.4863068786783356]
        np.testing.assert_allclose(kexue.can(P, PRIOR, iterations=2)[4], expected, rtol=1e-14)
        expected = [0.2865283080398134, 0.12131543892148343, 0.10948735219320838, 0.48266890084549474]
        np.testing.assert_allclose(kexue.can(P, PRIOR, iterations=3)[4], expected, rtol=1e-14)

    @given(
        problem=problems(6),
        alpha=st.sampled_from([1.0, 0.1, 0.5, 2.0, 9.0]),
        iterations=st.integers(2, 6),
        threshold=st.sampled_from([0.0, 0.3, 0.7, 0.9]),
    )
    @settings(max_examples=150, deadline=None)
    def test_definition(self, problem, alpha, iterations, threshold):
        rows, prior = problem
        got = kexue.can(rows, prior, threshold=threshold, alpha=alpha, iterations=iterations)
        expected, uncertainty = reference.can(rows, prior, 3, threshold, alpha, iterations)
        if not np.isclose(uncertainty, threshold, atol=1e-14).any():
            # The rounding of a logarithm is multiplied by alpha in each iteration.
            np.testing.assert_allclose(got, expected, atol=1e-12 * max(1, alpha**iterations / 20))

    @pytest.mark.parametrize("alpha", [1.0, 1.3, 0.4])
    def test_products_are_sums_of_exponentials(self, alpha, rng, monkeypatch):
        rows = batch(rng, 40, 5)
        prior = rng.dirichlet(np.ones(5))
        options = {"alpha": alpha, "iterations": 4, "threshold": 0.6}
        expected, u = kexue.can(rows, prior, return_uncertainty=True, **options)
        done, by_logs = [], _can._alternate_by_logs
        monkeypatch.setattr(_can, "_alternate_by_logs", lambda *arguments: done.append(1) or by_logs(*arguments))
        np.testing.assert_array_equal(kexue.can(rows, prior, **options), expected)
        assert not done
        monkeypatch.setattr(_can, "_VISIBLE", np.inf)
        np.testing.assert_allclose(kexue.can(rows, prior, **options), expected, atol=1e-13)
        assert len(done) == (u >= 0.6).sum() > 0

    def test_any_powers_leave_probabilities(self, rng):
        for _ in range(300):
            n, m = rng.integers(1, 8, size=2)
            rows = 10.0 ** -rng.choice([0, 1, 5, 100, 300, 320], size=(n, m))
            rows[np.arange(n), rng.integers(m, size=n)] = 1
            rows /= rows.sum(axis=1, keepdims=True)
            prior = 10.0 ** -rng.choice([0, 10, 300, 323], size=m)
            got = kexue.can(
                rows,
                prior,
                alpha=rng.choice([0.1, 1.0, 5.0, 40.0, 1000.0]),
                iterations=int(rng.integers(1, 4)),
                threshold=rng.choice([0.0, 0.3]),
            )
            assert (got >= 0).all()
            np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-13)

    def test_blocks(self, rng, monkeypatch):
        rows = batch(rng, 200, 7)
        options = {"alpha": 1.5, "iterations": 3, "threshold": 0.6}
        expected = kexue.can(rows, **options)
        monkeypatch.setattr(_can, "_BLOCK_NUMBERS", 500)
        monkeypatch.setattr(_can, "_CACHED_NUMBERS", 1)
        np.testing.assert_allclose(kexue.can(rows, **options), expected, atol=1e-15)

    def test_an_iteration_is_one(self, rng):
        rows, prior = batch(rng, 50, 6), rng.dirichlet(np.ones(6))
        for alpha in (1.0, 0.3, 4.0):
            u = kexue.topk_entropy(rows)
            got = _can._alternate(rows[u < 0.6], rows[u >= 0.6], prior, alpha, 1)
            np.testing.assert_allclose(got, kexue.can(rows, prior, alpha=alpha, threshold=0.6)[u >= 0.6], atol=1e-14)

    @pytest.mark.parametrize("iterations", [500, 5000])
    def test_many_are_sinkhorn_scaling(self, iterations, rng):
        rows = batch(rng, 30, 4, 1.0, zeros=0)
        prior = rng.dirichlet(np.full(4, 5.0))
        u = kexue.topk_entropy(rows)
        at = int(u.argmax())
        got = kexue.can(rows, prior, threshold=u[at], iterations=iterations)[at]
        certain = np.delete(rows, at, 0)
        limit = reference.sinkhorn_limit(np.vstack([certain, rows[at]]), prior)
        np.testing.assert_allclose(limit.mean(axis=0), prior, atol=1e-12)
        np.testing.assert_allclose(got, limit[-1], atol=1e-12)


class TestProperties:
    @given(problem=problems(), iterations=st.integers(1, 3), alpha=st.sampled_from([1.0, 0.5, 3.0]))
    def test_rows_stay_probabilities(self, problem, iterations, alpha):
        rows, prior = problem
        got, u = kexue.can(rows, prior, threshold=0.5, alpha=alpha, iterations=iterations, return_uncertainty=True)
        assert (got >= 0).all()
        np.testing.assert_allclose(got[u >= 0.5].sum(axis=1), 1, rtol=1e-13)
        np.testing.assert_array_equal(got[u < 0.5], rows[u < 0.5])
        assert (got[rows == 0] == 0).all()

    @given(problem=problems(), scale=st.floats(1e-300, 1e300))
    def test_the_scale_of_the_prior_does_not_count(self, problem, scale):
        rows, prior = problem
        np.testing.assert_allclose(kexue.can(rows, prior * scale), kexue.can(rows, prior), atol=1e-14)

    @given(problem=problems(), seed=st.integers(0, 1000), iterations=st.integers(1, 2))
    def test_neither_does_the_order(self, problem, seed, iterations):
        rows, prior = problem
        rng = np.random.default_rng(seed)
        some, others = rng.permutation(len(rows)), rng.permutation(rows.shape[1])
        u = kexue.topk_entropy(rows)
        if np.isclose(u, 0.5, atol=1e-14).any():
            return
        expected = kexue.can(rows, prior, threshold=0.5, iterations=iterations)[some][:, others]
        got = kexue.can(rows[some][:, others], prior[others], threshold=0.5, iterations=iterations)
        np.testing.assert_allclose(got, expected, atol=1e-13)

    @given(problem=problems())
    def test_uncertain_rows_do_not_see_each_other(self, problem):
        rows, prior = problem
        got, u = kexue.can(rows, prior, threshold=0.5, return_uncertainty=True)
        certain = rows[u < 0.5]
        for i in np.flatnonzero(u >= 0.5):
            alone = kexue.can(np.vstack([certain, rows[i]]), prior, threshold=0.5)
            np.testing.assert_allclose(alone[-1], got[i], atol=1e-14)

    def test_the_certain_rows_and_a_moved_one_come_nearer_to_the_prior(self, rng):
        prior = np.array([0.2, 0.5, 0.3])
        rows = np.vstack([np.tile([0.9, 0.06, 0.04], (4, 1)), [[0.4, 0.3, 0.3]]])
        got = kexue.can(rows, prior)
        assert abs(got.mean(axis=0) - prior).sum() < abs(rows.mean(axis=0) - prior).sum()
        assert got[-1].argmax() == 1

    def test_the_largest_and_least_powers(self):
        rows = np.array([[0.7, 0.3], [0.6, 0.4], [0.99, 0.01]])
        flat, sharp = (kexue.can(rows, [1.0, 3.0], threshold=0.9, alpha=alpha) for alpha in (1e-300, 1e300))
        assert np.array_equal(flat[2], rows[2]) and np.array_equal(sharp[2], rows[2])
        np.testing.assert_allclose(flat[1], [0.25, 0.75], rtol=1e-14)  # all powers are 1
        np.testing.assert_allclose(sharp[1], [0, 1], atol=1e-14)  # (0.6 / 0.99)**alpha is nothing beside that

    def test_no_certain_row_is_a_certain_one_of_each_class(self):
        row = np.array([[0.4, 0.35, 0.25]])
        for iterations in (1, 2):
            with_identity = kexue.can(np.vstack([np.eye(3), row]), [3, 2, 1], iterations=iterations)[-1:]
            np.testing.assert_allclose(kexue.can(row, [3, 2, 1], iterations=iterations), with_identity, atol=1e-15)

    def test_all_rows_certain(self, rng):
        rows = batch(rng, 9, 4)
        for iterations in (1, 2):
            np.testing.assert_array_equal(kexue.can(rows, threshold=2, iterations=iterations), rows)

    def test_small_shapes(self, dtype):
        for iterations in (1, 2):
            assert kexue.can(np.empty((0, 3), dtype), iterations=iterations).shape == (0, 3)
            for threshold in (0.0, 0.5):
                got = kexue.can(np.ones((2, 1), dtype), threshold=threshold, iterations=iterations)
                np.testing.assert_array_equal(got, np.ones((2, 1), dtype))
        assert kexue.topk_entropy(np.empty((2, 0, 3), dtype)).shape == (2, 0)
        assert np.ndim(kexue.topk_entropy([0.5, 0.5])) == 0

    def test_a_softmax_of_many_classes_is_in_order(self, rng):
        logits = rng.normal(scale=3, size=(4, 100_000)).astype(np.float32)
        powers = np.exp(logits)
        rows = powers / np.add.accumulate(powers, axis=1)[:, -1:]  # the least exact way to sum
        assert abs(rows.sum(axis=1, dtype=np.float64) - 1).max() < 1e-3
        assert kexue.can(rows).shape == rows.shape
        assert kexue.topk_entropy(kexue.softmax(logits).astype(np.float16)).dtype == np.float32


class TestErrors:
    @pytest.mark.parametrize("iterations", [1, 2])
    @pytest.mark.parametrize(
        ("place", "value", "message"),
        [
            ((1, 2), np.nan, r"^P\[1, 2\] is nan; P has shape \(6, 4\)"),
            ((1, 2), -np.inf, r"^P\[1, 2\] is -inf"),
            ((5, 0), -0.1, r"^P\[5, 0\] is negative \(-0\.1\)"),
            ((3, 0), 0.9, r"^P\[3\] sums to 1\.1, not to 1 within 0\.001; P has shape \(6, 4\)"),
        ],
    )
    def test_rows(self, place, value, message, iterations):
        rows = P.copy()
        rows[place] = value
        with pytest.raises(KexueValueError, match=message):
            kexue.can(rows, iterations=iterations)
        with pytest.raises(KexueValueError, match=message):
            kexue.topk_entropy(rows)

    @pytest.mark.parametrize(
        ("prior", "message"),
        [
            ([0.5, 0.5], r"^prior must have a number for each of the 4 columns of P, but its shape is \(2,\)"),
            (0.25, r"^prior must have a number .* its shape is \(\)"),
            ([0.5, 0, 0.3, 0.2], r"^prior\[1\] is 0\.0, not positive and finite"),
            ([0.5, 0.5, 0.3, -0.2], r"^prior\[3\] is -0\.2"),
            ([np.nan, 0.5, 0.3, 0.2], r"^prior\[0\] is nan"),
            ([1, 1, np.inf, 1], r"^prior\[2\] is inf"),
        ],
    )
    def test_prior(self, prior, message):
        with pytest.raises(KexueValueError, match=message):
            kexue.can(P, prior)

    @pytest.mark.parametrize(
        ("options", "error", "message"),
        [
            ({"k": 0}, KexueValueError, "k must be at least 1"),
            ({"k": 2.0}, TypeError, "k must be an integer"),
            ({"threshold": -0.1}, KexueValueError, "threshold must be finite and not negative"),
            ({"threshold": np.nan}, KexueValueError, "threshold must be finite"),
            ({"threshold": "high"}, TypeError, "threshold must be a number, not str"),
            ({"alpha": 0}, KexueValueError, "alpha must be positive and finite"),
            ({"alpha": np.inf}, KexueValueError, "alpha must be positive and finite"),
            ({"alpha": True}, TypeError, "alpha must be a number, not bool"),
            ({"iterations": 0}, KexueValueError, "iterations must be at least 1"),
            ({"iterations": 1.5}, TypeError, "iterations must be an integer"),
            ({"alpha": 9, "iterations": 400}, KexueValueError, r"alpha\*\*iterations is out of the range"),
            ({"uncertainty": "entropy"}, KexueValueError, 'uncertainty must be "post", "paper" or "repo", got'),
        ],
    )
    def test_options(self, options, error, message):
        with pytest.raises(error, match=message):
            kexue.can(P, **options)

    def test_shapes(self):
        with pytest.raises(KexueValueError, match="P must have 2 dimensions"):
            kexue.can(P[0])
        for function in (kexue.can, kexue.topk_entropy):
            with pytest.raises(KexueValueError, match=r"P has no classes: its shape is \(3, 0\)"):
                function(np.empty((3, 0)))
        with pytest.raises(KexueValueError, match="P must have at least 1 dimension"):
            kexue.topk_entropy(0.5)
        with pytest.raises(KexueValueError, match='mode must be "post"'):
            kexue.topk_entropy(P, mode=["post"])
        with pytest.raises(KexueValueError, match="axis 2 is out of bounds"):
            kexue.topk_entropy(P, axis=2)


class TestEffect:
    """A short form of tests/accuracy_can.py."""

    @pytest.fixture(autouse=True)
    def accuracy(self):
        pytest.importorskip("sklearn")
        import accuracy_can

        return accuracy_can

    def test_the_right_prior_helps_and_a_wrong_one_harms(self, accuracy):
        for setting, sign in (("shifted frequencies, their prior", 1), ("shifted frequencies, uniform prior", -1)):
            results = accuracy.effects("breast cancer", "logistic regression", setting, seeds=10).T
            assert (sign * (results[1] - results[0])).mean() > 0.01
            assert (sign * (results[3] - results[2])).mean() < -0.01
            assert (results[4] > 0).all()

    def test_same_frequencies(self, accuracy):
        results = accuracy.effects("digits", "5 neighbours", "same frequencies, their prior", seeds=5).T
        assert (abs(results[1] - results[0]) < 0.05).all()
        assert (results[3] <= results[2]).all()
