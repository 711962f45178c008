"""randomized_svd: the error beside the best possible one, every kind of matrix, scales, bad input."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse.linalg import LinearOperator, aslinearoperator
from threadpoolctl import threadpool_limits

import kexue
from kexue import KexueValueError, RandomizedSVDResult, randomized_svd
from kexue._randomized_svd import _next_block, _orthogonalized

SPECTRA = {
    "1/i": lambda i: 1 / i,
    "1/i^2": lambda i: i**-2.0,
    "1/sqrt(i)": lambda i: i**-0.5,
    "exp(-i/20)": lambda i: np.exp(-i / 20),
    "exp(-i/4)": lambda i: np.exp(-i / 4),
    "exp(-i/2)": lambda i: np.exp(-i / 2),
    "linear": lambda i: 1 - 0.5 * i / i.max(),
    "equal": lambda i: np.ones(len(i)),
    "step": lambda i: np.where(i <= 15, 1.0, 0.1),
    "steps": lambda i: 10.0 ** -(i // 12),
    "low rank and noise": lambda i: np.where(i <= 5, 1 / i, 1e-7 * (1 + 1 / i)),
}


def with_spectrum(rng, rows, columns, singular):
    count = len(singular)
    left = np.linalg.qr(rng.normal(size=(rows, count)))[0]
    right = np.linalg.qr(rng.normal(size=(columns, count)))[0]
    return left * singular @ right.T


def errors(A, result):
    difference = np.asarray(A, dtype=np.float64) - result.U.astype(np.float64) * result.S @ result.Vh
    return np.linalg.norm(difference), np.linalg.norm(difference, 2)


def best_errors(A, k):
    rest = np.linalg.svd(np.asarray(A, dtype=np.float64), compute_uv=False)[k:]
    return np.linalg.norm(rest), rest.max(initial=0.0)


def assert_decomposition(A, k, result, tolerance=None):
    """What holds for every result, whatever the subspace."""
    A = np.asarray(A)
    dtype = np.float32 if A.dtype == np.float32 else np.float64
    tolerance = tolerance or (1e-5 if dtype == np.float32 else 1e-13)
    U, S, Vh = result
    assert U.shape == (A.shape[0], k) and S.shape == (k,) and Vh.shape == (k, A.shape[1])
    assert U.dtype == S.dtype == Vh.dtype == dtype
    np.testing.assert_allclose(U.T @ U, np.eye(k), atol=tolerance)
    np.testing.assert_allclose(Vh @ Vh.T, np.eye(k), atol=tolerance)
    assert (S >= 0).all() and (np.diff(S) <= 0).all()
    assert (U[np.abs(U).argmax(axis=0), np.arange(k)] > 0).all()
    exact = np.linalg.svd(A.astype(np.float64), compute_uv=False)
    assert (S <= exact[:k] + tolerance * exact[0]).all()
    frobenius, spectral = errors(A, result)
    np.testing.assert_allclose(result.frobenius_error, frobenius, rtol=1e-3, atol=tolerance * exact[0])
    assert spectral * 0.9 - tolerance * exact[0] <= result.spectral_error
    assert result.spectral_error <= spectral * (1 + 1e-5) + tolerance * exact[0]


@pytest.fixture(autouse=True)
def one_thread():
    """For matrices of this size threads only wait for each other, for long where the machine is busy."""
    with threadpool_limits(1):
        yield


# ---- quality ----


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("shape", [(400, 150), (150, 400), (200, 200)], ids=str)
def test_errors_beside_the_best_ones(name, shape):
    for seed in range(8):
        rng = np.random.default_rng(seed)
        A = with_spectrum(rng, *shape, SPECTRA[name](np.arange(1.0, min(shape) + 1)))
        result = randomized_svd(A, 20, rng=rng)
        best = best_errors(A, 20)
        # Below 1e-12 of the first singular value, numpy.linalg.svd is rounding too.
        assert np.all(np.array(errors(A, result)) <= 1.05 * np.array(best) + 1e-13)
        assert_decomposition(A, 20, result)


@pytest.mark.parametrize("name", [name for name in SPECTRA if name not in ("exp(-i/2)", "low rank and noise")])
def test_errors_in_float32(name, rng):
    A = with_spectrum(rng, 400, 150, SPECTRA[name](np.arange(1.0, 151))).astype(np.float32)
    result = randomized_svd(A, 20, rng=1)
    assert np.all(np.array(errors(A, result)) <= 1.05 * np.array(best_errors(A, 20)) + 2e-6)
    assert_decomposition(A, 20, result)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(500, 300), (300, 300), (100, 900)], ids=str)
def test_noise(shape, seed):
    A = np.random.default_rng(seed).normal(size=shape)
    result = randomized_svd(A, 10, rng=seed)
    assert np.all(np.array(errors(A, result)) <= 1.05 * np.array(best_errors(A, 10)))


@pytest.mark.parametrize("rest", [0.3, 0.03])
@pytest.mark.parametrize("copies", range(20, 32))
def test_a_gap_within_or_beyond_the_oversampling(copies, rest):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        A = with_spectrum(rng, 300, 250, np.where(np.arange(250) < copies, 1.0, rest))
        result = randomized_svd(A, 20, rng=rng)
        assert np.all(np.array(errors(A, result)) <= 1.05 * np.array(best_errors(A, 20)))


def test_converged_values_have_all_digits(rng):
    singular = np.concatenate((np.geomspace(1, 1e-3, 10), np.full(140, 1e-6)))
    A = with_spectrum(rng, 300, 150, singular)
    U, S, Vh = randomized_svd(A, 10, n_iter=3, rng=0)
    np.testing.assert_allclose(S, singular[:10], rtol=1e-12)
    left, _, right = np.linalg.svd(A, full_matrices=False)
    np.testing.assert_allclose(np.abs(np.sum(U * left[:, :10], axis=0)), 1, atol=1e-12)
    np.testing.assert_allclose(np.abs(np.sum(Vh * right[:10], axis=1)), 1, atol=1e-12)


def test_below_the_range_of_float32(rng):
    A = with_spectrum(rng, 300, 200, np.exp(-np.arange(200) / 1.5))
    result = randomized_svd(A, 15, rng=0)
    np.testing.assert_allclose(result.S, np.exp(-np.arange(15) / 1.5), rtol=1e-9)
    assert result.spectral_error == pytest.approx(np.exp(-10), rel=1e-3)


def test_demonstration_of_the_post():
    """METHODS R05: 60 x 50, rank 5 and noise, k = 10: random directions know nothing of the rows."""
    for seed in range(10):
        rng = np.random.default_rng(seed)
        A = rng.normal(size=(60, 5)) @ rng.normal(size=(5, 50)) + 0.01 * rng.normal(size=(60, 50))
        norm = np.linalg.norm(A)
        found = randomized_svd(A, 10, rng=rng)
        assert errors(A, found)[0] < 0.006 * norm
        with pytest.warns(kexue.ConvergenceWarning, match="random directions span the row space.* outside of these 10"):
            poor = randomized_svd(A, 10, oversample=0, method="random_rows", rng=rng)
        assert 0.75 * norm < errors(A, poor)[0] < 0.97 * norm
        assert_decomposition(A, 10, poor)


@pytest.mark.parametrize("shape", [(60, 50), (50, 60), (40, 40)], ids=str)
def test_random_rows_that_span_the_row_space(shape, rng):
    A = with_spectrum(rng, *shape, 1 / np.arange(1.0, 8))
    wide = np.vstack((A, np.zeros((30, shape[1]))))  # n directions are no more than min(m, n) then
    result = randomized_svd(wide, 5, oversample=shape[1] - 5, method="random_rows", rng=0)
    np.testing.assert_allclose(result.S, 1 / np.arange(1.0, 6), rtol=1e-12)
    assert_decomposition(wide, 5, result)


def test_subspace_needs_more_iterations_than_krylov(rng):
    A = with_spectrum(rng, 300, 200, np.arange(1.0, 201) ** -0.5)
    S = np.linalg.svd(A, compute_uv=False)[:20]
    lost = {
        (method, n_iter): (S - randomized_svd(A, 20, method=method, n_iter=n_iter, rng=0).S).max()
        for method in ("krylov", "subspace")
        for n_iter in (0, 1, 2, 4)
    }
    for n_iter in (1, 2, 4):
        assert lost["krylov", n_iter] < lost["subspace", n_iter] < lost["subspace", n_iter // 2]


# ---- kinds of matrices ----


@pytest.mark.parametrize("method", ["krylov", "subspace"])
@pytest.mark.parametrize("shape", [(90, 60), (60, 90)], ids=str)
def test_layouts(layout, untouched, dtype, shape, method, rng):
    plain = with_spectrum(rng, *shape, 1 / np.arange(1.0, 61)).astype(dtype)
    A = layout(plain)
    with untouched(A):
        result = randomized_svd(A, 8, method=method, rng=0)
    expected = randomized_svd(plain, 8, method=method, rng=0)
    np.testing.assert_allclose(result.S, expected.S, rtol=1e-5 if dtype == np.float32 else 1e-8)
    assert_decomposition(plain, 8, result)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.float16])
def test_other_types(dtype, rng):
    A = (rng.normal(size=(50, 40)) > 0.5).astype(dtype)
    expected = A.astype(np.float32 if dtype == np.float16 else np.float64)
    assert_decomposition(expected, 4, randomized_svd(A, 4, rng=0))
    assert_decomposition(expected, 4, randomized_svd(A.tolist(), 4, rng=0)) if dtype != np.float16 else None


def test_blocks_of_an_array(rng):
    wide = np.asfortranarray(rng.normal(size=(80, 120)))
    for A in (wide[:, 30:90], wide[10:60], wide.T[5:70, 10:], wide[:, ::2]):
        assert_decomposition(A, 5, randomized_svd(A, 5, rng=0))


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr"])
@pytest.mark.parametrize("shape", [(300, 200), (200, 300)], ids=str)
def test_sparse(form, shape, dtype, rng):
    A = scipy.sparse.random_array(shape, density=0.05, rng=rng, dtype=dtype).asformat(form)
    result = randomized_svd(A, 6, rng=0)
    dense = A.toarray()
    assert np.all(np.array(errors(dense, result)) <= 1.05 * np.array(best_errors(dense, 6)))
    assert_decomposition(dense, 6, result)
    assert_decomposition(dense, 120, randomized_svd(A, 120, rng=0))


def test_sparse_with_repeated_and_integer_entries(rng):
    i, j = rng.integers(0, 60, 900), rng.integers(0, 50, 900)
    A = scipy.sparse.coo_matrix((rng.integers(1, 9, 900).astype(np.int8), (i, j)), shape=(60, 50))
    before = A.copy()
    dense = A.astype(np.float64).toarray()
    result = randomized_svd(A, 5, rng=0)
    assert_decomposition(dense, 5, result)
    assert (A.data == before.data).all() and (A.coords[0] == before.coords[0]).all()


def test_sparse_of_low_rank(rng):
    A = scipy.sparse.csr_array(with_spectrum(rng, 200, 150, np.ones(3)))
    result = randomized_svd(A, 8, rng=0)
    np.testing.assert_allclose(result.S, [1, 1, 1, 0, 0, 0, 0, 0], atol=1e-14)
    assert result.frobenius_error < 1e-13


@pytest.mark.parametrize("method", ["krylov", "subspace", "random_rows"])
@pytest.mark.parametrize("shape", [(120, 90), (90, 120)], ids=str)
def test_linear_operator(method, shape, dtype, rng):
    A = with_spectrum(rng, *shape, 1 / np.arange(1.0, 91)).astype(dtype)
    with kexue.errstate(convergence="ignore"):
        result = randomized_svd(aslinearoperator(A), 8, method=method, rng=0)
        expected = randomized_svd(A, 8, method=method, **({} if method == "random_rows" else {"n_iter": 3}), rng=0)
    np.testing.assert_allclose(result.S, expected.S, rtol=1e-4)
    assert result.U.dtype == dtype
    # Estimated from six random vectors.
    np.testing.assert_allclose(result.frobenius_error, errors(A, result)[0], rtol=0.5)
    np.testing.assert_allclose(result.spectral_error, errors(A, result)[1], rtol=0.1)
    exact = randomized_svd(aslinearoperator(A), 70, rng=0)
    np.testing.assert_allclose(exact.S, np.linalg.svd(A, compute_uv=False)[:70], rtol=1e-4)


def test_linear_operator_far_from_one(rng):
    A = with_spectrum(rng, 90, 60, 1 / np.arange(1.0, 61))
    for scale in (1e-300, 1e250):
        result = randomized_svd(aslinearoperator(A * scale), 5, rng=0)
        np.testing.assert_allclose(result.S / scale, 1 / np.arange(1.0, 6), rtol=1e-3)


def test_zero_linear_operator():
    result = randomized_svd(aslinearoperator(np.zeros((50, 40))), 5, rng=0)
    assert_decomposition(np.zeros((50, 40)), 5, result)


# ---- ranks, shapes, scales ----


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (2, 50), (50, 2), (7, 7), (30, 4)], ids=str)
def test_every_k(shape, dtype, rng):
    A = rng.normal(size=shape).astype(dtype)
    for k in range(1, min(shape) + 1):
        result = randomized_svd(A, k, oversample=0, rng=0)
        assert_decomposition(A, k, result)
        if 2 * k > min(shape):
            U, S, Vh = np.linalg.svd(A, full_matrices=False)
            np.testing.assert_allclose(result.S, S[:k], rtol=1e-5)
            assert result.n_iter == 0


def test_zero_matrix(dtype):
    for A in (np.zeros((40, 30), dtype=dtype), scipy.sparse.csr_array((40, 30), dtype=dtype)):
        result = randomized_svd(A, 5, rng=0)
        assert result.frobenius_error == result.spectral_error == 0
        assert not result.S.any()
        np.testing.assert_array_equal(result.U.T @ result.U, np.eye(5))
        np.testing.assert_array_equal(result.Vh @ result.Vh.T, np.eye(5))


@pytest.mark.parametrize("method", ["krylov", "subspace"])
@pytest.mark.parametrize("rank", [1, 4, 20, 30])
def test_low_rank(rank, method, rng):
    A = with_spectrum(rng, 200, 150, np.linspace(2, 1, rank))
    result = randomized_svd(A, 20, method=method, rng=0)
    assert_decomposition(A, 20, result)
    if rank <= 20:
        np.testing.assert_allclose(result.S[:rank], np.linspace(2, 1, rank), rtol=1e-12)
        assert result.frobenius_error < 1e-13


def test_rank_one_whose_rounding_is_not_random():
    A = np.outer(np.arange(1.0, 601), np.ones(600)).astype(np.float32)
    result = randomized_svd(A, 10, block_size=4, n_iter=8, rng=0)
    np.testing.assert_allclose(result.S[0], np.linalg.norm(A.astype(np.float64)), rtol=1e-6)
    np.testing.assert_allclose(result.Vh @ result.Vh.T, np.eye(10), atol=1e-5)
    assert result.S[1] < 1e-5 * result.S[0]


def test_multiple_singular_values():
    result = randomized_svd(np.eye(200), 30, rng=0)
    np.testing.assert_allclose(result.S, 1, rtol=1e-14)
    # 40 copies of one, of which a block of 8 sees 8 in the first place.
    singular = np.concatenate((np.ones(40), 0.01 / np.arange(1.0, 261)))
    A = with_spectrum(np.random.default_rng(0), 300, 300, singular)
    assert_decomposition(A, 50, randomized_svd(A, 50, rng=0))
    np.testing.assert_allclose(randomized_svd(A, 40, rng=0).S, 1, rtol=1e-9)
    with pytest.warns(kexue.ConvergenceWarning, match="a singular value of at least 1 was missed, where k=50"):
        randomized_svd(A, 50, block_size=8, rng=0)


@pytest.mark.parametrize("scale", [1e-307, 1e-160, 1e-30, 1e30, 1e160, 1e305])
def test_scales(scale, rng):
    A = with_spectrum(rng, 120, 90, 1 / np.arange(1.0, 91))
    expected = randomized_svd(A, 6, rng=0)
    for given_matrix in (A * scale, scipy.sparse.csr_array(A * scale)):
        result = randomized_svd(given_matrix, 6, rng=0)
        np.testing.assert_allclose(result.S / scale, expected.S, rtol=1e-6)
        np.testing.assert_allclose(result.frobenius_error / scale, expected.frobenius_error, rtol=1e-6)
        np.testing.assert_allclose(result.spectral_error / scale, expected.spectral_error, rtol=1e-2)
        np.testing.assert_allclose(result.U.T @ result.U, np.eye(6), atol=1e-13)


@pytest.mark.parametrize("scale", [1e-36, 1e-20, 1e20, 1e36])
def test_scales_in_float32(scale, rng):
    A = with_spectrum(rng, 120, 90, 1 / np.arange(1.0, 91))
    result = randomized_svd((A * scale).astype(np.float32), 6, rng=0)
    np.testing.assert_allclose(result.S / scale, 1 / np.arange(1.0, 7), rtol=1e-3)


def test_columns_of_very_different_lengths(rng):
    A = rng.normal(size=(300, 100)) * np.logspace(0, -200, 100)
    result = randomized_svd(A, 5, rng=0)
    np.testing.assert_allclose(result.S, np.linalg.svd(A, compute_uv=False)[:5], rtol=1e-10)


def test_too_large_to_have_singular_values():
    with pytest.raises(OverflowError, match="singular values of A exceed the range of float64"):
        randomized_svd(np.full((50, 50), 1e308), 2)


def test_nothing_is_left():
    """The products in float32 round to 1e-8, which is no error of a decomposition to 1e-15."""
    A = np.outer([2.0, 1.0], [0.0, -2.0, -1.0])
    result = randomized_svd(A, 1, oversample=0, method="krylov", rng=0)
    assert result.spectral_error <= result.frobenius_error < 1e-14


@example(rows=4, columns=4, rank=2, share=0.5, oversample=0, method="krylov", exponent=0, seed=0)
@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 40),
    columns=st.integers(1, 40),
    rank=st.integers(0, 12),
    share=st.floats(0, 1),
    oversample=st.integers(0, 12),
    method=st.sampled_from(["krylov", "subspace"]),
    exponent=st.integers(-250, 250),
    seed=st.integers(0, 1000),
)
def test_any_matrix(rows, columns, rank, share, oversample, method, exponent, seed):
    rng = np.random.default_rng(seed)
    A = rng.integers(-3, 4, size=(rows, rank)) @ rng.integers(-3, 4, size=(rank, columns)).astype(np.float64)
    k = 1 + int(share * (min(rows, columns) - 1))
    with kexue.errstate(convergence="ignore"):
        result = randomized_svd(np.ldexp(A, exponent), k, oversample=oversample, method=method, rng=seed)
    S = np.ldexp(result.S, -exponent)
    unscaled = RandomizedSVDResult(
        result.U,
        S,
        result.Vh,
        np.ldexp(result.frobenius_error, -exponent),
        np.ldexp(result.spectral_error, -exponent),
        result.n_iter,
        result.n_products,
    )
    largest = max(float(S[0]), 1.0)
    np.testing.assert_allclose(result.U.T @ result.U, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(result.Vh @ result.Vh.T, np.eye(k), atol=1e-12)
    frobenius, spectral = errors(A, unscaled)
    assert unscaled.frobenius_error == pytest.approx(frobenius, rel=1e-6, abs=1e-12 * largest)
    # What is smaller than the rounding of float32 products is known by its Frobenius norm alone.
    known = spectral if spectral > 1e-7 * largest else frobenius
    assert unscaled.spectral_error <= known * (1 + 1e-5) + 1e-12 * largest
    if k + oversample >= min(rank, rows, columns) and method == "krylov":
        assert frobenius <= 1.05 * best_errors(A, k)[0] + 1e-6 * largest


# ---- options ----


def test_result_unpacks_and_is_frozen(rng):
    A = rng.normal(size=(50, 40))
    result = randomized_svd(A, 3, rng=0)
    assert isinstance(result, RandomizedSVDResult)
    U, S, Vh = result
    assert U is result.U and S is result.S and Vh is result.Vh
    with pytest.raises(AttributeError):
        result.S = S


@pytest.mark.parametrize("method", ["krylov", "subspace"])
def test_random_numbers(method, rng):
    A = rng.normal(size=(300, 200))
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, same, other = (
        randomized_svd(A, 5, method=method, n_iter=1, rng=seed) for seed in (7, 7, np.random.default_rng(7), 8)
    )
    np.testing.assert_array_equal(first.U, again.U)
    np.testing.assert_array_equal(first.Vh, same.Vh)
    assert first.spectral_error == again.spectral_error
    assert not np.array_equal(first.S, other.S)
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("method", ["krylov", "subspace"])
@pytest.mark.parametrize("tol", [1e-2, 1e-4, 1e-9])
def test_tolerance(method, tol, rng):
    A = with_spectrum(rng, 300, 200, 0.9 ** np.arange(200))
    result = randomized_svd(A, 10, method=method, tol=tol, rng=0)
    np.testing.assert_allclose(result.S, 0.9 ** np.arange(10), rtol=tol)
    assert 0 < result.n_iter < 20
    longer = randomized_svd(A, 10, method=method, tol=1e-13, n_iter=50, rng=0)
    assert longer.n_iter >= result.n_iter


def test_tolerance_that_is_not_reached(rng):
    A = rng.normal(size=(300, 250))
    for method in ("krylov", "subspace"):
        with pytest.warns(kexue.ConvergenceWarning, match=r"tol=1e-06 was not reached in n_iter=2 iterations"):
            result = randomized_svd(A, 5, method=method, tol=1e-6, n_iter=2, rng=0)
        assert result.n_iter == 2
        with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning, match="changed by 0.0"):
            randomized_svd(A, 5, method=method, tol=1e-6, n_iter=2, rng=0)


def test_krylov_space_that_is_the_whole_space(rng):
    A = rng.normal(size=(120, 60))
    result = randomized_svd(A, 10, n_iter=50, tol=1e-14, rng=0)
    np.testing.assert_allclose(result.S, np.linalg.svd(A, compute_uv=False)[:10], rtol=1e-13)


def test_iterations_and_products_are_counted(rng):
    calls = []
    A = with_spectrum(rng, 200, 150, np.ones(150))

    def counted(matrix):
        def times(block):
            calls.append(block.shape[1])
            return matrix @ block

        return times

    operator = LinearOperator(A.shape, matvec=None, matmat=counted(A), rmatmat=counted(A.T), dtype=A.dtype)
    for n_iter in (0, 1, 4):
        calls.clear()
        result = randomized_svd(operator, 10, n_iter=n_iter, rng=0)
        assert result.n_iter == n_iter
        assert result.n_products == len(calls) == 2 * (n_iter + 1) + 3
        assert max(calls) == 20


def test_the_iterations_follow_the_spectrum(rng):
    fast, slow = (
        randomized_svd(with_spectrum(rng, 300, 200, singular), 10, rng=0)
        for singular in (np.exp(-np.arange(200) / 2.0), np.linspace(1, 0.5, 200))
    )
    assert fast.n_iter == 1
    assert slow.n_iter == 3


def test_narrow_blocks(rng):
    A = with_spectrum(rng, 300, 200, 1 / np.arange(1.0, 201))
    result = randomized_svd(A, 10, block_size=5, n_iter=9, rng=0)
    np.testing.assert_allclose(result.S, 1 / np.arange(1.0, 11), rtol=1e-3)
    # Never fewer blocks than make up what is kept.
    assert randomized_svd(A, 10, block_size=1, n_iter=0, rng=0).n_iter == 19


# ---- bad input ----


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, KexueValueError, "k must be at least 1, got 0"),
        ({"k": -2}, KexueValueError, "k must be at least 1, got -2"),
        ({"k": 31}, KexueValueError, r"k must be at most min\(m, n\) = 30, as A has shape \(40, 30\), got 31"),
        ({"k": True}, TypeError, "k must be an integer, not bool"),
        ({"k": 2.0}, TypeError, "k must be an integer, not float"),
        ({"k": "2"}, TypeError, "k must be an integer, not str"),
        ({"oversample": -1}, KexueValueError, "oversample must be at least 0, got -1"),
        ({"oversample": 1.5}, TypeError, "oversample must be an integer"),
        ({"n_iter": -1}, KexueValueError, "n_iter must be at least 0, got -1"),
        ({"n_iter": False}, TypeError, "n_iter must be an integer, not bool"),
        ({"block_size": 0}, KexueValueError, "block_size must be at least 1, got 0"),
        ({"method": "exact"}, KexueValueError, "method must be one of .*, got 'exact'"),
        ({"method": ["krylov"]}, KexueValueError, "method must be one of"),
        ({"method": "random_rows", "n_iter": 2}, KexueValueError, 'n_iter is no option of method="random_rows"'),
        ({"method": "random_rows", "tol": 0.1}, KexueValueError, 'tol is no option of method="random_rows"'),
        ({"method": "subspace", "block_size": 2}, KexueValueError, 'block_size is no option of method="subspace"'),
        ({"tol": 0.0}, KexueValueError, "tol must be a finite number above 0, got 0.0"),
        ({"tol": np.nan}, KexueValueError, "tol must be a finite number above 0, got nan"),
        ({"tol": "small"}, KexueValueError, "tol must be a finite number above 0, got 'small'"),
        ({"tol": True}, KexueValueError, "tol must be a finite number above 0, got True"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        randomized_svd(np.ones((40, 30)), **{"k": 2, **options})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_entries_that_are_not_finite(bad, dtype):
    A = np.ones((40, 30), dtype=dtype)
    A[3, 17] = bad
    for given_matrix in (A, np.asfortranarray(A), scipy.sparse.csc_array(A)):
        with pytest.raises(KexueValueError, match=rf"A\[3, 17\] is {bad}; A has shape \(40, 30\)"):
            randomized_svd(given_matrix, 2)
    with pytest.raises(KexueValueError, match=r"A.* @ X\[.*\] is "):
        randomized_svd(aslinearoperator(A), 2)


@pytest.mark.parametrize(
    ("A", "error", "message"),
    [
        (np.ones(5), KexueValueError, r"A must have 2 dimensions, but its shape is \(5,\)"),
        (np.ones((2, 3, 4)), KexueValueError, "A must have 2 dimensions"),
        (np.ones((0, 3)), KexueValueError, r"A is empty: its shape is \(0, 3\)"),
        (scipy.sparse.csr_array((0, 3)), KexueValueError, "A is empty"),
        (scipy.sparse.coo_array(np.ones(4)), KexueValueError, "A must have 2 dimensions"),
        (np.ones((4, 4), dtype=complex), TypeError, "A must hold real numbers, but its dtype is complex128"),
        (scipy.sparse.eye_array(4, dtype=complex), TypeError, "A must hold real numbers"),
        (aslinearoperator(np.ones((4, 4), dtype=complex)), TypeError, "A must hold real numbers"),
        ([[1, 2], [3]], KexueValueError, "A is not an array of one shape"),
        (np.ma.masked_array(np.ones((4, 4))), TypeError, "A is a masked array"),
    ],
)
def test_bad_matrices(A, error, message):
    with pytest.raises(error, match=message):
        randomized_svd(A, 1)


@pytest.mark.parametrize("form", ["csr", "csc", "bsr", "coo"])
@pytest.mark.parametrize("place", [-1, 40, 10**8])
def test_sparse_matrices_that_are_none(form, place):
    A = getattr(scipy.sparse, f"{form}_array")(np.ones((40, 40)))
    (A.row if form == "coo" else A.indices)[3] = place
    with pytest.raises(KexueValueError, match=r"^A is no valid sparse matrix: an index is out of its shape \(40, 40\)"):
        randomized_svd(A, 2)


@pytest.mark.parametrize("options", [{"oversample": 0}, {"oversample": 1}, {"block_size": 4}, {"block_size": 1}])
def test_spectral_error_where_no_direction_of_the_rest_is_known(options, rng):
    A = with_spectrum(rng, 300, 200, np.concatenate([np.full(12, 2.0), np.linspace(1, 0.1, 100)]))
    for seed in range(5):
        with kexue.errstate(convergence="ignore"):
            U, S, Vh = result = randomized_svd(A, 10, rng=seed, **options)
        true = np.linalg.norm(A - U * S @ Vh, 2)
        assert 0.88 * true < result.spectral_error <= true * (1 + 1e-6)


def test_linear_operator_without_a_transpose():
    operator = LinearOperator((40, 30), matvec=lambda x: np.ones(40), dtype=np.float64)
    with pytest.raises(TypeError, match=r"A has no product A\.T @ X with a block X"):
        randomized_svd(operator, 2)


# ---- parts ----


def test_orthogonalized_by_either_way(rng):
    tall = rng.normal(size=(400, 20))
    graded = tall * np.logspace(0, -100, 20)
    nearly = tall.copy()
    nearly[:, 7] = nearly[:, 3] + 1e-12 * nearly[:, 7]
    deficient = tall.copy()
    deficient[:, 7] = deficient[:, 3]
    for block in (tall, graded, nearly, deficient, np.zeros((400, 20))):
        Q, R = _orthogonalized(block)
        np.testing.assert_allclose(Q.T @ Q, np.eye(20), atol=1e-14)
        np.testing.assert_array_equal(R, np.triu(R))
        np.testing.assert_allclose(
            (Q @ R) / np.maximum(np.linalg.norm(block, axis=0), 1e-300),
            block / np.maximum(np.linalg.norm(block, axis=0), 1e-300),
            atol=1e-14,
        )


def test_next_block_replaces_what_is_spent(dtype, rng):
    earlier = np.linalg.qr(rng.normal(size=(300, 40)))[0].astype(dtype)
    # The first three columns are nothing new but for rounding.
    block = np.hstack((earlier[:, :3], rng.normal(size=(300, 2)))).astype(dtype)
    found = _next_block(block.copy(), earlier, np.random.default_rng(0))
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(earlier.T @ found, 0, atol=tolerance)
    np.testing.assert_allclose(found.T @ found, np.eye(5), atol=tolerance)
    new = block[:, 3:] - earlier @ (earlier.T @ block[:, 3:])
    np.testing.assert_allclose(found @ (found.T @ new), new, atol=10 * tolerance)
