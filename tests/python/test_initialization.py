"""Variances of initial weights, orthogonal matrices, and how far random ones are from them.

Statistical tests have fixed seeds and reject at a probability of 1e-6 each: of the some hundred, right code with
another stream fails one with a probability of 1e-4.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from kexue import (
    KexueValueError,
    activation_second_moment,
    expected_orthogonality_error,
    init_variance,
    marchenko_pastur_edges,
    orthogonal_init,
    orthogonality_error,
    uniform_limits,
    xavier_std,
)

FALSE_ALARM = 1e-6
DEVIATIONS = stats.norm.isf(FALSE_ALARM / 2)


class TestVariance:
    @pytest.mark.parametrize(
        ("scheme", "expected"),
        [("lecun", 1 / 768), ("he", 2 / 768), ("xavier", 2 / (768 + 3072)), ("ntk", 1.0), ("t5", 1 / 768)],
    )
    def test_schemes(self, scheme, expected):
        assert init_variance(768, 3072, scheme) == expected
        if scheme != "xavier":
            assert init_variance(768, scheme=scheme) == expected

    def test_lecun_is_the_default(self):
        assert init_variance(50) == 0.02

    def test_t5(self):
        # Products of queries and keys have a variance of 1 without a division by sqrt(head_dim).
        d, head = 512, 64
        queries, keys = init_variance(d, scheme="t5", head_dim=head), init_variance(d, scheme="t5")
        assert head * (d * queries) * (d * keys) == pytest.approx(1)
        both = init_variance(d, scheme="t5_symmetric", head_dim=head)
        assert both**2 == pytest.approx(queries * keys)

    def test_second_moments_are_kept(self):
        # y = x W for x of any mean and E x^2 = 1; relu between layers for He.
        rng = np.random.default_rng(0)
        x = 0.6 + 0.8 * rng.standard_normal((300, 400))
        y = x @ rng.normal(0, math.sqrt(init_variance(400, scheme="lecun")), (400, 500))
        assert np.mean(y**2) == pytest.approx(np.mean(x**2), rel=0.03, abs=0)
        z = np.maximum(y, 0) @ rng.normal(0, math.sqrt(init_variance(500, scheme="he")), (500, 600))
        assert np.mean(z**2) == pytest.approx(np.mean(y**2), rel=0.05, abs=0)

    def test_he_is_lecun_behind_relu(self):
        assert init_variance(300, scheme="he") == init_variance(300) / activation_second_moment("relu")

    def test_arrays(self):
        m, n = np.float32([[10], [20]]), np.float32([30, 40, 50])
        result = init_variance(m, n, "xavier")
        assert result.shape == (2, 3) and result.dtype == np.float32
        np.testing.assert_allclose(result, 2 / (m + n), rtol=1e-7)
        np.testing.assert_array_equal(init_variance([1, 2], scheme="ntk"), [1, 1])
        assert init_variance([[4, 5]]).shape == (1, 2) and init_variance([], scheme="he").shape == (0,)

    def test_xavier_std(self):
        assert xavier_std(768) == pytest.approx(0.0360843918243516103, rel=1e-15, abs=0)
        assert xavier_std(300, 500) ** 2 == pytest.approx(init_variance(300, 500, "xavier"), rel=1e-15, abs=0)
        assert xavier_std(np.float32([3, 4])).dtype == np.float32

    def test_uniform_limits(self):
        low, high = uniform_limits([1.0, -2.0], [[0.5], [0.0]])
        np.testing.assert_allclose((low + high) / 2, [[1, -2], [1, -2]])
        np.testing.assert_allclose((high - low) ** 2 / 12, [[0.25, 0.25], [0, 0]])
        low, high = uniform_limits(np.float32(0), np.float32(1))
        assert low.dtype == high.dtype == np.float32
        assert uniform_limits(0, 1)[1] ** 2 == pytest.approx(3, rel=5e-16, abs=0)
        # The range -+sqrt(3 / m).
        assert uniform_limits(0, np.sqrt(init_variance(12)))[1] == pytest.approx(0.5)

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ({"fan_in": 0}, "fan_in is 0.0, but must be positive"),
            ({"fan_in": [1, -2]}, r"fan_in\[1\] is -2.0, but must be positive; fan_in has shape \(2,\)"),
            ({"fan_in": math.nan}, "fan_in is nan"),
            ({"fan_in": 3, "fan_out": 0, "scheme": "xavier"}, "fan_out is 0.0"),
            ({"fan_in": 3, "scheme": "xavier"}, 'scheme "xavier" needs fan_out'),
            ({"fan_in": 3, "scheme": "kaiming"}, "scheme must be one of 'lecun', 'he', .* got 'kaiming'"),
            ({"fan_in": 3, "head_dim": 4}, "head_dim goes with the schemes"),
            ({"fan_in": 3, "head_dim": 0, "scheme": "t5"}, "head_dim is 0.0, but must be positive"),
        ],
    )
    def test_bad_variance(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            init_variance(**arguments)

    def test_a_scheme_in_the_place_of_fan_out_is_seen(self):
        with pytest.raises(TypeError, match="fan_out must hold real numbers"):
            init_variance(512, "he")
        with pytest.raises(KexueValueError, match="fan_out is -1.0, but must be positive"):
            init_variance(512, -1)

    @pytest.mark.parametrize(
        ("call", "names"),
        [
            (lambda: init_variance([1, 2], [1, 2, 3], "xavier"), "fan_in and fan_out"),
            (lambda: init_variance([1, 2], scheme="t5", head_dim=[1, 2, 3]), "fan_in and head_dim"),
            (lambda: xavier_std([1, 2], [1, 2, 3]), "fan_in and fan_out"),
            (lambda: uniform_limits([1, 2], [1, 2, 3]), "mean and std"),
            (lambda: expected_orthogonality_error([1, 2], [1, 2, 3]), "m, n and kurtosis"),
            (lambda: marchenko_pastur_edges([1, 2], [1, 2, 3]), "m and n"),
        ],
    )
    def test_shapes_that_do_not_broadcast(self, call, names):
        with pytest.raises(KexueValueError, match=rf"{names} must have shapes that broadcast, got \(2,\), \(3,\)"):
            call()

    def test_bad_others(self):
        with pytest.raises(KexueValueError, match="fan_out is -1.0"):
            xavier_std(3, -1)
        with pytest.raises(KexueValueError, match="mean is nan"):
            uniform_limits(math.nan, 1)
        with pytest.raises(KexueValueError, match=r"std\[0\] is -1.0, not a length"):
            uniform_limits(0, [-1.0])
        with pytest.raises(TypeError, match="fan_in must hold real numbers"):
            init_variance("12")


class TestOrthogonal:
    @given(
        m=st.integers(1, 40),
        n=st.integers(1, 40),
        gain=st.sampled_from([1.0, -0.5, 3.0]),
        dtype=st.sampled_from([np.float32, np.float64]),
    )
    @settings(max_examples=50, deadline=None)
    def test_orthonormal(self, m, n, gain, dtype):
        W = orthogonal_init(m, n, gain, rng=0, dtype=dtype)
        assert W.shape == (m, n) and W.dtype == dtype
        gram = W.T @ W if m >= n else W @ W.T
        np.testing.assert_allclose(gram, gain**2 * np.eye(min(m, n)), atol=40 * gain**2 * np.finfo(dtype).eps)

    @pytest.mark.parametrize(("m", "n"), [(700, 300), (300, 700), (400, 400)])
    def test_large(self, m, n, dtype):
        W = orthogonal_init(m, n, rng=0, dtype=dtype).astype(np.float64)
        singular = np.linalg.svd(W, compute_uv=False)
        np.testing.assert_allclose(singular, 1, atol=30 * np.finfo(dtype).eps)

    def test_one_row_or_column_is_a_gaussian_direction(self):
        x = np.random.default_rng(3).standard_normal((1, 7))
        expected = x / np.linalg.norm(x)
        np.testing.assert_allclose(orthogonal_init(1, 7, rng=3), expected, atol=1e-15)
        np.testing.assert_allclose(orthogonal_init(7, 1, rng=3), expected.T, atol=1e-15)

    def test_entries_have_haars_law(self):
        # An entry of a Haar matrix of n dimensions, squared, is Beta(1/2, (n - 1)/2): every entry, the corners too.
        draws = np.stack([orthogonal_init(5, 3, rng=seed) for seed in range(4000)])
        law = stats.beta(0.5, 2)
        for place in np.ndindex(5, 3):
            entries = draws[(slice(None), *place)]
            assert stats.kstest(entries**2, law.cdf).pvalue > FALSE_ALARM
            assert stats.binomtest(int((entries > 0).sum()), len(entries)).pvalue > FALSE_ALARM

    def test_invariant_under_rotation(self):
        # From the left and the right: entries of fixed rotations of it have the law of entries.
        rng = np.random.default_rng(0)
        draws = np.stack([orthogonal_init(4, 4, rng=rng) for _ in range(4000)])
        left, right = (np.linalg.qr(rng.normal(size=(4, 4)))[0] for _ in range(2))
        for rotated in (left @ draws, draws @ right):
            for place in np.ndindex(4, 4):
                assert stats.kstest(rotated[(slice(None), *place)] ** 2, stats.beta(0.5, 1.5).cdf).pvalue > FALSE_ALARM

    def test_traces(self):
        # Of Haar matrices in n >= 2k dimensions the traces' moments are Gaussian: E tr = 0, E tr^2 = 1, E tr^4 = 3, and
        # E tr(W^2) = 1, which a QR decomposition with its signs left alone does not have.
        rng = np.random.default_rng(1)
        draws = np.stack([orthogonal_init(6, 6, rng=rng) for _ in range(10_000)])
        traces = np.einsum("bii->b", draws)
        squares = np.einsum("bij,bji->b", draws, draws)
        for values, expected in ((traces, 0), (traces**2, 1), (traces**4, 3), (squares, 1)):
            assert abs(values.mean() - expected) < DEVIATIONS * values.std() / math.sqrt(len(values))

    def test_both_components(self):
        rng = np.random.default_rng(2)
        determinants = [np.linalg.det(orthogonal_init(3, 3, rng=rng)) > 0 for _ in range(2000)]
        assert stats.binomtest(int(np.sum(determinants)), 2000).pvalue > FALSE_ALARM

    def test_sources_of_randomness(self):
        expected = orthogonal_init(6, 4, rng=5)
        for rng in (np.int64(5), np.random.SeedSequence(5), np.random.PCG64(5), np.random.default_rng(5)):
            np.testing.assert_array_equal(orthogonal_init(6, 4, rng=rng), expected)
        generator = np.random.default_rng(5)
        orthogonal_init(6, 4, rng=generator)
        assert not (orthogonal_init(6, 4, rng=generator) == expected).any()
        np.testing.assert_array_equal(orthogonal_init(4, 6, rng=5), expected.T)

    def test_nothing(self, dtype):
        for shape in ((0, 3), (3, 0), (0, 0)):
            W = orthogonal_init(*shape, rng=0, dtype=dtype)
            assert W.shape == shape and W.dtype == dtype

    def test_a_vector_of_zeros_is_not_reflected(self):
        class Zeros(np.random.Generator):
            def standard_normal(self, size=None, dtype=np.float64, out=None):
                return np.zeros(size, dtype)

        W = orthogonal_init(4, 3, rng=Zeros(np.random.PCG64(0)))
        np.testing.assert_array_equal(abs(W), np.eye(4, 3))

    @pytest.mark.parametrize(
        ("arguments", "text"),
        [
            ((-1, 3), "m must be at least 0, got -1"),
            ((3, -1), "n must be at least 0, got -1"),
            ((3, 3, math.nan), "gain must be finite, got nan"),
        ],
    )
    def test_bad_values(self, arguments, text):
        with pytest.raises(KexueValueError, match=text):
            orthogonal_init(*arguments)
        with pytest.raises(KexueValueError, match="dtype must be float32 or float64, got int64"):
            orthogonal_init(2, 2, dtype=np.int64)
        with pytest.raises(KexueValueError, match="gain is too large for float32: 1e[+]39"):
            orthogonal_init(2, 2, 1e39, dtype=np.float32)

    def test_bad_types(self):
        with pytest.raises(TypeError, match="m must be an integer"):
            orthogonal_init(2.0, 2)


class TestError:
    @pytest.mark.parametrize("shape", [(7, 4), (4, 7), (5, 5), (3, 6, 2), (2, 3, 2, 6), (3, 1, 9), (1, 1)])
    def test_definition(self, shape, dtype, rng):
        W = rng.normal(size=shape).astype(dtype)
        exact = W.astype(np.float64)
        expected = np.mean((exact.swapaxes(-1, -2) @ exact - np.eye(shape[-1])) ** 2, axis=(-2, -1))
        result = orthogonality_error(W)
        assert result.shape == shape[:-2] and result.dtype == dtype
        np.testing.assert_allclose(result, expected, rtol=1e-13 if dtype == np.float64 else 1e-6)

    def test_layouts(self, any_layout, plain, untouched, rng):
        W = any_layout(rng.normal(size=(6, 4)))
        if W.size:
            with untouched(W):
                result = orthogonality_error(W)
            np.testing.assert_allclose(result, orthogonality_error(plain(W)), rtol=1e-12)

    def test_small_errors_are_seen(self):
        # Of columns that are orthonormal but for 1e-9, in both dtypes' results.
        W = np.eye(5, 3) * (1 + 1e-9)
        assert orthogonality_error(W) == pytest.approx(4e-18 / 3, rel=1e-6, abs=0)
        assert orthogonality_error(orthogonal_init(50, 30, rng=0)) < 1e-31
        assert orthogonality_error(orthogonal_init(50, 30, rng=0, dtype=np.float32)) < 1e-13

    def test_fewer_rows_than_columns(self):
        W = orthogonal_init(30, 50, rng=0)
        assert orthogonality_error(W) == pytest.approx((50 - 30) / 50**2, rel=1e-12, abs=0)

    def test_many_matrices(self, rng):
        W = rng.normal(size=(300, 70, 60))  # in several groups
        one_by_one = [orthogonality_error(matrix) for matrix in W]
        np.testing.assert_allclose(orthogonality_error(W), one_by_one, rtol=1e-13)

    def test_nothing(self):
        assert orthogonality_error(np.empty((0, 3, 2))).shape == (0,)
        assert orthogonality_error(np.empty((0, 4))) == 0.25  # W^T W is 0

    @pytest.mark.parametrize(
        ("W", "text"),
        [
            ([1.0, 2.0], r"W must have at least 2 dimensions, but its shape is \(2,\)"),
            (np.empty((3, 0)), r"W has no columns: its shape is \(3, 0\)"),
            ([[1.0, math.nan]], r"W\[0, 1\] is nan"),
            ([[math.inf]], r"W\[0, 0\] is inf"),
        ],
    )
    def test_bad(self, W, text):
        with pytest.raises(KexueValueError, match=text):
            orthogonality_error(W)

    @pytest.mark.parametrize(
        ("m", "n", "kurtosis", "expected"),
        [
            (100, 100, "normal", 0.0101),
            (100, 100, "uniform", 0.00998),
            (100, 100, "rademacher", 0.0099),
            (200, 50, "normal", 0.0051),
            (200, 50, "uniform", 0.00498),
            (200, 50, 1, 0.0049),
        ],
    )
    def test_known_expectations(self, m, n, kurtosis, expected):
        assert expected_orthogonality_error(m, n, kurtosis) == pytest.approx(expected, rel=1e-14, abs=0)

    @pytest.mark.parametrize("kurtosis", ["normal", "uniform", "rademacher"])
    @pytest.mark.parametrize(("m", "n"), [(20, 5), (5, 20), (8, 8)])
    def test_expectation_by_simulation(self, m, n, kurtosis):
        rng = np.random.default_rng(6)
        size, std = (20_000, m, n), math.sqrt(1 / m)
        W = {
            "normal": lambda: rng.normal(0, std, size),
            "uniform": lambda: rng.uniform(*uniform_limits(0, std), size),
            "rademacher": lambda: rng.choice([-std, std], size),
        }[kurtosis]()
        errors = orthogonality_error(W)
        difference = errors.mean() - expected_orthogonality_error(m, n, kurtosis)
        assert abs(difference) < DEVIATIONS * errors.std() / math.sqrt(len(errors))

    def test_expectation_arrays(self):
        result = expected_orthogonality_error(np.float32([[10], [20]]), np.float32([3, 4, 5]), "uniform")
        assert result.shape == (2, 3) and result.dtype == np.float32
        assert expected_orthogonality_error(10, 3, [1.0, 3.0]).shape == (2,)

    def test_bad_expectations(self):
        with pytest.raises(KexueValueError, match="m is 0.0, but must be positive"):
            expected_orthogonality_error(0, 3)
        with pytest.raises(KexueValueError, match="kurtosis must be a number or one of 'normal'"):
            expected_orthogonality_error(2, 3, "gauss")
        with pytest.raises(KexueValueError, match="kurtosis is 0.5, but no kurtosis is below 1"):
            expected_orthogonality_error(2, 3, 0.5)


class TestEdges:
    def test_known(self):
        assert marchenko_pastur_edges(100, 100) == (0, 2)
        assert marchenko_pastur_edges(400, 100) == (0.5, 1.5)
        assert marchenko_pastur_edges(100, 400) == (1, 3)
        low, _ = marchenko_pastur_edges(10**16, 10**16 - 2)
        assert low == pytest.approx(1e-16, rel=1e-12, abs=0)
        low, high = marchenko_pastur_edges(np.float32([100, 400]), np.float32(100))
        assert low.dtype == high.dtype == np.float32 and low.shape == (2,)

    @pytest.mark.parametrize(("m", "n"), [(800, 200), (200, 800), (500, 500)])
    def test_singular_values_fill_the_interval(self, m, n, rng):
        singular = np.linalg.svd(rng.normal(0, math.sqrt(1 / m), (m, n)), compute_uv=False)
        low, high = marchenko_pastur_edges(m, n)
        # Fluctuations at the edges are of the order n^(-2/3).
        assert low == pytest.approx(singular[-1], abs=0.08) and high == pytest.approx(singular[0], abs=0.08)

    def test_bad(self):
        with pytest.raises(KexueValueError, match="n is -1.0, but must be positive"):
            marchenko_pastur_edges(1, -1)
