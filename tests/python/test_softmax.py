import pickle

import dask.array as da
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import kexue
from kexue._softmax import _minimum
from reference import softmax as reference
from reference.ulp import ulp_error

ROWS = ["softmax", "log_softmax"]
NUMBERS = ["logsumexp", "entropy"]
LENGTHS = [1, 2, 3, 7, 8, 10, 15, 16, 17, 31, 33, 64, 65, 100, 129, 400]
INF, NAN = np.inf, np.nan


def eps(dtype):
    return np.finfo(dtype).eps


def logits(rng, dtype, rows, n, scale):
    x = (rng.standard_normal((rows, n)) * scale).astype(dtype)
    limit = 600 if dtype == np.float64 else 65
    return np.clip(x, -limit, limit)


# ---- accuracy ----


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("scale", [0.1, 3, 20, 200])
def test_softmax_accuracy(n, scale, dtype, rng):
    x = logits(rng, dtype, 3, n, scale)
    q = kexue.softmax(x)
    assert q.dtype == dtype
    for row, result in zip(x, q, strict=True):
        assert max(map(ulp_error, result, reference.softmax(row))) <= 6


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("scale", [0.1, 3, 20, 200])
def test_log_softmax_and_logsumexp_accuracy(n, scale, dtype, rng):
    x = logits(rng, dtype, 3, n, scale)
    logs, sums = kexue.log_softmax(x), kexue.logsumexp(x)
    for row, result, total in zip(x, logs, sums, strict=True):
        assert max(map(ulp_error, result, reference.log_softmax(row))) <= 6
        error = abs(mpmath.mpf(float(total)) - reference.logsumexp(row))
        assert error <= 6 * eps(dtype) * (abs(float(row.max())) + np.log(n))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", ["flat", "peaked", "sparse", "one_hot", "scaled"])
def test_entropy_accuracy(n, kind, dtype, rng):
    p = rng.random((3, n))
    if kind == "peaked":
        p = rng.dirichlet(np.full(n, 0.05), size=3)
    elif kind == "sparse":
        p *= rng.random((3, n)) < 0.5
        p[:, 0] = 1
    elif kind == "one_hot":
        p *= 10.0 ** -rng.uniform(6, 30, size=(3, n))
        p[:, n // 2] = 1
    elif kind == "scaled":
        p *= np.finfo(dtype).max
    p = p.astype(dtype)
    for row, result in zip(p, kexue.entropy(p), strict=True):
        exact = reference.entropy(row)
        bound = 8 * eps(dtype) * (1 + np.log2(n))
        assert abs(mpmath.mpf(float(result)) - exact) <= bound * exact + np.finfo(dtype).smallest_subnormal


def test_far_and_large_logits(dtype):
    big = 1e4 if dtype == np.float64 else 500.0
    x = np.array([[big, big - 1.5, big / 2 + 1, -big], [-big, -big - 3.25, -big - 10.125, -2 * big]], dtype)
    for row, result in zip(x, kexue.softmax(x), strict=True):
        for value, got, exact in zip(row, result, reference.softmax(row), strict=True):
            rounding = 0 if row[0] < 0 or value >= big / 2 else (big - value) / 2
            assert ulp_error(got, exact) <= 6 + float(rounding)


def test_dominant_logit_keeps_its_digits():
    x = np.array([[0.1, -699.95, -720.0], [40.0, 0.0, 0.0]])
    for row, result in zip(x, kexue.log_softmax(x), strict=True):
        assert max(map(ulp_error, result, reference.log_softmax(row))) <= 6
    h = kexue.entropy([1.0, 1e-14])
    assert abs(h / float(reference.entropy([1.0, 1e-14])) - 1) < 2e-15


@pytest.mark.parametrize("n", [100_003, 1_000_000])
def test_long_rows(n, dtype, rng):
    x = rng.standard_normal(n).astype(dtype)
    exact = scipy.special.logsumexp(x.astype(np.longdouble))
    assert abs(kexue.logsumexp(x) / exact - 1) < 4 * eps(dtype)
    q = kexue.softmax(x)
    assert abs(q.sum(dtype=np.longdouble) - 1) < 8 * eps(dtype)
    flat = kexue.entropy(np.ones(n, dtype))
    assert abs(flat / np.log(n) - 1) < 4 * eps(dtype)


def test_against_scipy(rng):
    x = rng.standard_normal((20, 37)) * 5
    np.testing.assert_allclose(kexue.softmax(x), scipy.special.softmax(x, axis=-1), rtol=1e-14)
    np.testing.assert_allclose(kexue.log_softmax(x), scipy.special.log_softmax(x, axis=-1), rtol=1e-12)
    np.testing.assert_allclose(kexue.logsumexp(x), scipy.special.logsumexp(x, axis=-1), rtol=1e-14)
    np.testing.assert_allclose(kexue.entropy(np.exp(x)), scipy.stats.entropy(np.exp(x), axis=-1), rtol=1e-13)


# ---- special values ----


@pytest.mark.parametrize("n", [4, 50, 300])
@pytest.mark.parametrize(
    ("name", "values", "expected", "flag"),
    [
        ("softmax", [-INF, 0], [0, 1], False),
        ("softmax", [-INF, -INF], [NAN, NAN], True),
        ("softmax", [INF, 0], [NAN, NAN], True),
        ("softmax", [NAN, 0], [NAN, NAN], False),
        ("softmax", [NAN, INF], [NAN, NAN], False),
        ("softmax", [NAN, NAN], [NAN, NAN], False),
        ("log_softmax", [-INF, 0], [-INF, 0], False),
        ("log_softmax", [-INF, -INF], [NAN, NAN], True),
        ("log_softmax", [INF, 0], [NAN, -INF], True),
        ("log_softmax", [NAN, 0], [NAN, NAN], False),
        ("logsumexp", [-INF, 0], 0, False),
        ("logsumexp", [-INF, -INF], -INF, False),
        ("logsumexp", [INF, 0], INF, False),
        ("logsumexp", [INF, -INF], INF, False),
        ("logsumexp", [INF, 1e4], INF, False),
        ("logsumexp", [NAN, INF], NAN, False),
        ("logsumexp", [NAN, -INF], NAN, False),
        ("entropy", [0, 2], 0, False),
        ("entropy", [0, 0], NAN, True),
        ("entropy", [-1, 2], NAN, True),
        ("entropy", [INF, 2], NAN, True),
        ("entropy", [NAN, 2], NAN, False),
        ("entropy", [NAN, -1], NAN, False),
        ("entropy", [-0.0, 5], 0, False),
    ],
)
def test_special_values(name, values, expected, flag, n, dtype):
    """The pair, followed by what adds nothing; its neighbours are not disturbed. Along a row and across rows."""
    function = getattr(kexue, name)
    nothing = 0.0 if name == "entropy" else values[0] if values == [-INF, -INF] else -INF
    special = np.full(n, nothing, dtype)
    special[[0, n - 1]] = values
    x = np.ones((21, n), dtype)
    x[::4] = special
    with np.errstate(all="ignore"):
        result, across = function(x), np.moveaxis(function(np.asfortranarray(x)), 0, 0)
        ordinary = function(x[1])
    if name in ROWS:
        np.testing.assert_array_equal(result[::4][:, [0, n - 1]], np.array([expected] * 6, dtype))
        np.testing.assert_array_equal(across[::4][:, [0, n - 1]], np.array([expected] * 6, dtype))
    else:
        np.testing.assert_array_equal(result[::4], dtype.type(expected))
        np.testing.assert_array_equal(across[::4], dtype.type(expected))
    np.testing.assert_array_equal(result[1::4], np.broadcast_to(ordinary, result[1::4].shape))
    for layout in (x, np.asfortranarray(x)):
        if flag:
            with np.errstate(all="ignore", invalid="raise"), pytest.raises(FloatingPointError, match="invalid"):
                function(layout)
        else:
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                function(layout)


def test_no_spurious_flags(dtype, rng):
    x = (rng.standard_normal((9, 70)) * 1e4).astype(dtype)
    x[2, ::3] = -np.finfo(dtype).max
    x[3, 5] = np.finfo(dtype).max
    x[4, ::2] = -np.inf
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        for rows in (x, x[:, :9], x.T):
            kexue.softmax(rows)
            kexue.log_softmax(rows[:2])
            kexue.logsumexp(rows)
            kexue.entropy(np.abs(np.where(np.isfinite(rows), rows, 0)) / 2)
            kexue.taylor_softmax(np.where(np.isfinite(rows), rows, 0), 6)


def test_flags_that_were_raised_before_stay():
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        kexue.softmax(np.array([[NAN, 1.0], [INF, 1.0]]))


def test_empty_rows_and_no_rows():
    assert kexue.logsumexp([]) == -INF
    assert kexue.softmax(np.empty((3, 0))).shape == (3, 0)
    assert kexue.log_softmax(np.empty((0, 5))).shape == (0, 5)
    with np.errstate(invalid="ignore"):
        assert np.isnan(kexue.entropy([]))
    assert kexue.entropy(np.empty((0, 5))).shape == (0,)
    assert kexue.softmax_vjp(np.empty((2, 0)), np.empty((2, 0))).shape == (2, 0)
    assert kexue.taylor_softmax(np.empty((2, 0))).shape == (2, 0)


# ---- properties ----

rows_of_floats = arrays(np.float64, st.integers(1, 80), elements=st.floats(-500, 500))


@given(rows_of_floats)
def test_sums_to_one_and_agrees_with_the_logarithm(x):
    q = kexue.softmax(x)
    assert np.all(q >= 0)
    assert abs(q.sum() - 1) < 1e-14
    log_q = kexue.log_softmax(x)
    assert np.all(log_q <= 0)
    np.testing.assert_allclose(np.exp(log_q), q, rtol=3e-13, atol=1e-300)
    assert np.max(x) <= kexue.logsumexp(x) <= np.max(x) + np.log(x.size) + 1e-13 * (1 + abs(np.max(x)))


@given(rows_of_floats, st.integers(-100, 100))
def test_shift_invariance(x, shift):
    x = np.round(x * 1024) / 1024  # exactly representable with any shift
    np.testing.assert_allclose(kexue.softmax(x + shift), kexue.softmax(x), rtol=2e-15, atol=1e-320)
    np.testing.assert_allclose(kexue.log_softmax(x + shift), kexue.log_softmax(x), rtol=4e-15, atol=1e-320)


@given(rows_of_floats, st.randoms())
def test_permutation_equivariance(x, random):
    order = list(range(x.size))
    random.shuffle(order)
    np.testing.assert_allclose(kexue.softmax(x[order]), kexue.softmax(x)[order], rtol=2e-15, atol=1e-320)
    np.testing.assert_allclose(kexue.taylor_softmax(x[order], 6), kexue.taylor_softmax(x, 6)[order], rtol=2e-15)


@given(arrays(np.float64, st.integers(1, 80), elements=st.floats(1e-12, 1)), st.integers(-900, 900))
def test_entropy_is_bounded_and_scale_free(p, exponent):
    h = kexue.entropy(p)
    assert 0 <= h <= np.log(p.size) * (1 + 4e-15)
    assert kexue.entropy(np.ldexp(p, exponent)) == pytest.approx(h, rel=1e-15)


# ---- what a gufunc does ----


@pytest.mark.parametrize("name", ROWS + NUMBERS)
@pytest.mark.parametrize("shape", [(5, 9), (3, 70), (2, 3, 1300), (40, 3)])
def test_layouts(name, shape, any_layout, plain, untouched, dtype, rng):
    function = getattr(kexue, name)
    x = any_layout(rng.uniform(0.1, 4, size=shape).astype(dtype))
    with untouched(x):
        result = function(x)
    expected = function(plain(x))
    assert result.dtype == expected.dtype
    np.testing.assert_allclose(result, expected, rtol=8 * eps(result.dtype))


@pytest.mark.parametrize("name", ["softmax_vjp", "log_softmax_vjp", "taylor_softmax_vjp"])
@pytest.mark.parametrize("shape", [(5, 9), (2, 70), (2, 1300), (40, 3)])
def test_gradient_layouts(name, shape, any_layout, plain, untouched, dtype, rng):
    function = getattr(kexue, name)
    x = any_layout(rng.uniform(0.1, 1, size=shape).astype(dtype))
    grad = any_layout(rng.uniform(0.1, 4, size=shape).astype(dtype))
    with untouched(x, grad):
        result = function(x, grad)
    expected = function(plain(x), plain(grad))
    assert result.dtype == expected.dtype
    scale = np.abs(expected).max(initial=0) + shape[-1]
    np.testing.assert_allclose(result, expected, rtol=0, atol=20 * eps(result.dtype) * scale)


@pytest.mark.parametrize("name", ROWS + NUMBERS)
@pytest.mark.parametrize("shape", [(6, 7, 8), (40, 50, 3), (3, 200, 17), (9, 2, 33)])
def test_axis(name, shape, dtype, rng):
    function = getattr(kexue, name)
    x = rng.uniform(0.1, 4, size=shape).astype(dtype)
    for axis in (0, 1, 2, -2):
        result = function(x, axis=axis)
        moved = np.moveaxis(x, axis, -1)
        expected = np.array([function(np.ascontiguousarray(row)) for row in moved.reshape(-1, moved.shape[-1])])
        if name in ROWS:
            expected = np.moveaxis(expected.reshape(moved.shape), -1, axis)
        else:
            expected = expected.reshape(moved.shape[:-1])
            kept = function(x, axis=axis, keepdims=True)
            np.testing.assert_array_equal(kept, np.expand_dims(result, axis))
        np.testing.assert_allclose(result, expected, rtol=8 * eps(dtype))


@pytest.mark.parametrize("n", [1, 5, 10, 33, 70, 200])
@pytest.mark.parametrize("name", ROWS + NUMBERS)
def test_a_row_does_not_depend_on_its_neighbours(name, n, dtype, rng):
    function = getattr(kexue, name)
    x = rng.uniform(0.1, 4, size=(23, n)).astype(dtype)
    whole = function(x)
    np.testing.assert_array_equal(np.array([function(x[i : i + 1])[0] for i in range(23)]), whole)
    np.testing.assert_array_equal(function(x[3:17]), whole[3:17])
    wide = rng.uniform(0.1, 4, size=(n, 150)).astype(dtype)
    np.testing.assert_array_equal(function(wide[:, 5:141], axis=0), np.array(function(wide, axis=0))[..., 5:141])


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("shape", [(30, 10), (30, 100), (2, 5000)])
@pytest.mark.parametrize("axis", [0, 1])
def test_out_in_place_and_overlap(name, shape, axis, dtype, rng):
    function = getattr(kexue, name)
    x = rng.standard_normal(shape).astype(dtype)
    expected = function(x, axis=axis)
    out = np.empty(shape, dtype)
    assert function(x, axis=axis, out=out) is out
    np.testing.assert_array_equal(out, expected)
    again = x.copy()
    function(again, axis=axis, out=again)
    np.testing.assert_array_equal(again, expected)
    both = np.concatenate([x, x[:1]])
    function(both[:-1], axis=axis, out=both[1:])  # NumPy works on a copy, of whatever layout
    np.testing.assert_allclose(both[1:], expected, rtol=8 * eps(dtype))
    spread = np.full((2 * shape[0], 3 * shape[1]), 7, dtype)
    function(x, axis=axis, out=spread[::2, ::3])
    np.testing.assert_allclose(spread[::2, ::3], expected, rtol=8 * eps(dtype))
    assert np.all(spread[1::2] == 7) and np.all(spread[:, 1::3] == 7) and np.all(spread[:, 2::3] == 7)


def test_gradients_in_place(dtype, rng):
    for n in (9, 90, 3000):
        q, grad = kexue.softmax(rng.standard_normal((4, n)).astype(dtype)), rng.standard_normal((4, n)).astype(dtype)
        for function in (kexue.softmax_vjp, kexue.log_softmax_vjp, kexue.taylor_softmax_vjp):
            expected = function(q, grad)
            for operand in (0, 1):
                both = [q.copy(), grad.copy()]
                function(*both, out=both[operand])
                np.testing.assert_array_equal(both[operand], expected)


@pytest.mark.parametrize("name", [*ROWS, *NUMBERS, "softmax_vjp", "log_softmax_vjp", "logsumexp_vjp"])
def test_is_a_gufunc(name):
    function = getattr(kexue, name)
    assert type(function) is np.ufunc
    assert function.__name__ == name
    assert function.signature is not None
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize(
    ("given_dtype", "result_dtype"),
    [(np.float16, "f4"), ("f4", "f4"), (">f4", "f4"), ("f8", "f8"), (np.int8, "f8"), (np.uint64, "f8"), (bool, "f8")],
)
@pytest.mark.parametrize("name", ROWS + NUMBERS)
def test_dtypes(name, given_dtype, result_dtype):
    x = np.array([[1, 0, 1]], dtype=given_dtype)
    assert getattr(kexue, name)(x).dtype == result_dtype
    assert kexue.taylor_softmax(x).dtype == result_dtype
    with pytest.raises(TypeError):
        getattr(kexue, name)(np.array([1j]))


@pytest.mark.parametrize("name", ROWS + NUMBERS)
def test_dask_stays_lazy(name, rng):
    x = rng.uniform(0.1, 4, size=(40, 12))
    lazy = da.apply_gufunc(getattr(kexue, name), getattr(kexue, name).signature, da.from_array(x, chunks=(9, 12)))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), getattr(kexue, name)(x))
    direct = getattr(kexue, name)(da.from_array(x, chunks=(9, 12)))
    assert isinstance(direct, da.Array)
    np.testing.assert_array_equal(direct.compute(scheduler="synchronous"), getattr(kexue, name)(x))


# ---- gradients ----


def differences(function, x, step=1e-6):
    """The gradient of a function of an array, by central differences."""
    grad = np.empty_like(x)
    for place in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[place] += step
        down[place] -= step
        grad[place] = (function(up) - function(down)) / (2 * step)
    return grad


@pytest.mark.parametrize("n", [2, 6, 40])
def test_gradients_by_differences(n, rng):
    x, upstream, one_each = rng.standard_normal((2, n)), rng.standard_normal((2, n)), rng.standard_normal(2)
    np.testing.assert_allclose(
        kexue.softmax_vjp(kexue.softmax(x), upstream),
        differences(lambda a: (kexue.softmax(a) * upstream).sum(), x),
        atol=1e-8,
    )
    np.testing.assert_allclose(
        kexue.log_softmax_vjp(kexue.log_softmax(x), upstream),
        differences(lambda a: (kexue.log_softmax(a) * upstream).sum(), x),
        atol=1e-8,
    )
    np.testing.assert_allclose(
        kexue.logsumexp_vjp(x, one_each), differences(lambda a: (kexue.logsumexp(a) * one_each).sum(), x), atol=1e-8
    )
    for order in (2, 4, 10):
        for monotone in (False, True):
            np.testing.assert_allclose(
                kexue.taylor_softmax_vjp(x, upstream, order, monotone=monotone),
                differences(
                    lambda a, m=monotone, o=order: (kexue.taylor_softmax(a, o, monotone=m) * upstream).sum(), x
                ),
                atol=1e-8,
            )


def test_gradient_values(dtype, rng):
    x = rng.standard_normal((3, 50)).astype(dtype)
    grad = rng.standard_normal((3, 50)).astype(dtype)
    q = kexue.softmax(x)
    exact = q * (grad - (q.astype(float) * grad).sum(-1, keepdims=True))
    np.testing.assert_allclose(kexue.softmax_vjp(q, grad), exact, atol=4 * eps(dtype))
    np.testing.assert_array_equal(kexue.softmax_vjp(q.T, grad.T, axis=0).shape, (50, 3))
    scaled = kexue.logsumexp_vjp(x.T, grad[:, 0], axes=[0, (), 0])
    np.testing.assert_allclose(scaled, (q * grad[:, :1]).T, rtol=8 * eps(dtype))


# ---- Taylor softmax ----

X = np.array([-4, -1, 0, 0.5, 2])
# METHODS R21
TAYLOR = {
    (2, False): (0.380952380952381, 0.0380952380952381, 0.07619047619047619, 0.1238095238095238, 0.380952380952381),
    (4, False): (0.3328133125325013, 0.0249609984399376, 0.06656266250650026, 0.109724388975559, 0.4659386375455018),
    (6, False): (0.1720605939873719, 0.02937890296820461, 0.07982192504568801, 0.1316039737737859, 0.5871346042249495),
    (2, True): (0.05797101449275362, 0.05797101449275362, 0.1159420289855072, 0.1884057971014493, 0.5797101449275362),
    (4, True): (0.0262676482614898, 0.03642958135888425, 0.09714555029035799, 0.160138368056762, 0.680018852032506),
}
MINIMA = {
    2: "-1",
    4: "-1.59607163798332152",
    6: "-2.1806071240351259",
    8: "-2.75900270996227186",
    10: "-3.3335514852690488",
    12: "-3.90545175761691044",
    14: "-4.47541195467675672",
    16: "-5.04388707261345721",
    18: "-5.61118734014093523",
    20: "-6.17753407828588123",
}


@pytest.mark.parametrize(("n", "monotone"), TAYLOR)
def test_taylor_reference_values(n, monotone):
    np.testing.assert_allclose(kexue.taylor_softmax(X, n, monotone=monotone), TAYLOR[n, monotone], rtol=2e-15)


@pytest.mark.parametrize("n", MINIMA)
def test_minima(n):
    assert abs(_minimum(n) - float(MINIMA[n])) <= 2 * np.spacing(-_minimum(n))


@pytest.mark.parametrize("n", [22, 40, 60])
def test_minima_of_high_orders(n):
    assert abs(_minimum(n) - float(reference.taylor_minimum(n))) <= 2 * np.spacing(-_minimum(n))


@pytest.mark.parametrize("n", [2, 4, 6, 10, 14, 20, 40])
@pytest.mark.parametrize("monotone", [False, True])
def test_taylor_accuracy(n, monotone, dtype):
    x = np.concatenate([np.linspace(-12, 2, 61), [-0.3 * n, 0, 30, -30]]).astype(dtype)
    lowest = mpmath.mpf(float(dtype.type(_minimum(n)))) if monotone else None
    exact = reference.taylor_softmax(x, n, lowest)
    bound = 1e-14 if dtype == np.float64 else 2 * eps(dtype)
    for got, value in zip(kexue.taylor_softmax(x, n, monotone=monotone), exact, strict=True):
        assert abs(mpmath.mpf(float(got)) / value - 1) < bound
    grad = np.cos(np.arange(x.size)).astype(dtype)
    slopes = reference.taylor_softmax_vjp(x, grad, n, lowest)
    # A slope is a difference: of the upstream gradient to its mean, and next to the minimum of the polynomial's terms.
    for got, value, weight in zip(kexue.taylor_softmax_vjp(x, grad, n, monotone=monotone), slopes, exact, strict=True):
        assert abs(mpmath.mpf(float(got)) - value) < bound * (abs(value) + 2 * weight)


@pytest.mark.parametrize("n", [2, 4, 20, 300])
def test_taylor_of_huge_logits(n, dtype):
    """Powers of them overflow; ratios do not."""
    top = float(np.finfo(dtype).max) / 4
    x = np.array([top, -top / 2, top / 3, 1, -1e5, 0], dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        p = kexue.taylor_softmax(x, n)
        grad = kexue.taylor_softmax_vjp(x, np.arange(6.0, dtype=dtype), n)
    for got, value in zip(p, reference.taylor_softmax(x, n), strict=True):
        tiny = np.finfo(dtype).smallest_subnormal
        assert abs(mpmath.mpf(float(got)) - value) <= 8 * n * eps(np.float64) * value + 2 * eps(dtype) * value + tiny
    exact = reference.taylor_softmax_vjp(x, np.arange(6.0), n)
    for got, value in zip(grad, exact, strict=True):
        assert abs(mpmath.mpf(float(got)) - value) <= 1e-12 * abs(value) + 4 * eps(dtype) * abs(value) + 1e-44


def test_taylor_special_values(dtype):
    x = np.array([[NAN, 1], [INF, 1], [-INF, 1], [0, 1]], dtype)
    with np.errstate(invalid="ignore"):
        p, bounded = kexue.taylor_softmax(x), kexue.taylor_softmax(x, monotone=True)
    assert np.isnan(p[:3]).all() and np.isfinite(p[3]).all()
    np.testing.assert_allclose(bounded[2], [1 / 6, 5 / 6], rtol=1e-6)
    assert np.isnan(bounded[:2]).all()
    with np.errstate(invalid="raise"):
        kexue.taylor_softmax(x[[0, 3]])
        with pytest.raises(FloatingPointError, match="invalid"):
            kexue.taylor_softmax(x[1])


def test_taylor_order_of_each_row_and_axis(rng):
    x = rng.standard_normal((3, 5))
    np.testing.assert_allclose(kexue.taylor_softmax(x.T, 4, axis=0), kexue.taylor_softmax(x, 4).T, rtol=1e-15)
    orders = kexue.ufuncs._taylor_softmax(x, [2, 4, 6], -INF)
    np.testing.assert_array_equal(orders, [kexue.taylor_softmax(row, n) for row, n in zip(x, (2, 4, 6), strict=True)])
    long = rng.standard_normal(5000)
    f = 1 + long + long**2 / 2
    np.testing.assert_allclose(kexue.taylor_softmax(long), f / f.sum(), rtol=1e-14)
    grad = rng.standard_normal(5000)
    expected = (1 + long) / f.sum() * (grad - (f * grad).sum() / f.sum())
    np.testing.assert_allclose(kexue.taylor_softmax_vjp(long, grad), expected, rtol=1e-11, atol=1e-18)
    out = np.empty_like(x)
    assert kexue.taylor_softmax(x, out=out) is out


@given(arrays(np.float64, st.integers(2, 40), elements=st.floats(-1e3, 1e3)), st.sampled_from([2, 4, 12]))
def test_taylor_properties(x, n):
    p = kexue.taylor_softmax(x, n)
    assert np.all(p > 0)
    assert abs(p.sum() - 1) < 1e-13
    ordered = kexue.taylor_softmax(np.sort(x), n, monotone=True)
    assert np.all(np.diff(ordered) >= -1e-14 * ordered[:-1])


@pytest.mark.parametrize(
    ("n", "error"),
    [(3, ValueError), (0, ValueError), (-2, ValueError), (2.0, TypeError), (True, TypeError), (1002, ValueError)],
)
def test_bad_orders(n, error):
    for call in (
        lambda: kexue.taylor_softmax(X, n),
        lambda: kexue.taylor_softmax_vjp(X, X, n),
        lambda: kexue.taylor_softmax_loss(X, 4, n),
    ):
        with pytest.raises(error, match="n must be"):
            call()


# ---- losses ----


def test_softmax_loss(dtype, rng):
    x = rng.standard_normal((6, 4, 9)).astype(dtype)
    target = rng.integers(0, 9, size=(6, 4))
    loss, grad = kexue.softmax_loss(x, target, return_grad=True)
    assert loss.dtype == grad.dtype == dtype and loss.shape == (6, 4) and grad.shape == x.shape
    np.testing.assert_array_equal(loss, kexue.softmax_loss(x, target))
    for place in np.ndindex(loss.shape):
        exact = -reference.log_softmax(x[place])[target[place]]
        assert ulp_error(loss[place], exact) <= 6
    one_hot = np.eye(9)[target]
    np.testing.assert_allclose(grad, kexue.softmax(x) - one_hot, atol=4 * eps(dtype))
    np.testing.assert_array_equal(kexue.softmax_loss(np.moveaxis(x, -1, 0), target, axis=0), loss)
    soft, soft_grad = kexue.softmax_loss(x, one_hot.astype(dtype), return_grad=True)
    np.testing.assert_allclose(soft, loss, rtol=4 * eps(dtype))
    np.testing.assert_allclose(soft_grad, grad, atol=4 * eps(dtype))


def test_soft_targets(rng):
    x, t = rng.standard_normal((3, 7)), rng.random((3, 7))
    loss, grad = kexue.softmax_loss(x, t, return_grad=True)
    np.testing.assert_allclose(loss, -(t * scipy.special.log_softmax(x, axis=-1)).sum(-1), rtol=1e-14)
    np.testing.assert_allclose(grad, differences(lambda a: kexue.softmax_loss(a, t).sum(), x), atol=1e-8)
    np.testing.assert_allclose(kexue.softmax_loss(x.T, t.T, axis=0), loss, rtol=1e-14)
    # A logit of -inf is no class where the target is 0.
    assert kexue.softmax_loss([0.0, 0.0, -INF], [0.5, 0.5, 0.0]) == pytest.approx(np.log(2))


def test_loss_of_a_dominant_target():
    loss, grad = kexue.softmax_loss([60.0, 0.0], 0, return_grad=True)
    assert loss == pytest.approx(np.exp(-60), rel=1e-14)
    np.testing.assert_allclose(grad, [-np.exp(-60), np.exp(-60)], rtol=1e-14)


# METHODS R21: order, loss for target 4
@pytest.mark.parametrize(("n", "expected"), [(2, 0.9650808960435871), (4, 0.7637013326138493), (6, 0.5325011767105203)])
def test_taylor_loss_reference(n, expected):
    loss, grad = kexue.taylor_softmax_loss(X, 4, n, return_grad=True)
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(grad, differences(lambda a: kexue.taylor_softmax_loss(a, 4, n), X), atol=1e-8)
    if n == 2:
        exact = [-0.22857142857143, 0, 0.076190476190476, 0.11428571428571, -0.37142857142857]
        np.testing.assert_allclose(grad, exact, atol=1e-13)


@pytest.mark.parametrize("monotone", [False, True])
def test_taylor_loss(monotone, dtype, rng):
    x, target = rng.standard_normal((5, 8)).astype(dtype), rng.integers(0, 8, size=5)
    loss, grad = kexue.taylor_softmax_loss(x, target, 4, monotone=monotone, margin=0.5, return_grad=True)
    assert loss.dtype == grad.dtype == dtype
    shifted = x.astype(float)
    shifted[np.arange(5), target] -= 0.5
    p = kexue.taylor_softmax(shifted, 4, monotone=monotone)
    np.testing.assert_allclose(loss, -np.log(p[np.arange(5), target]), rtol=4 * eps(dtype))
    expected = differences(
        lambda a: kexue.taylor_softmax_loss(a, target, 4, monotone=monotone, margin=0.5).sum(), x.astype(float)
    )
    np.testing.assert_allclose(grad, expected, atol=1e-6 if dtype == np.float32 else 1e-8)
    across = kexue.taylor_softmax_loss(x.T, target, 4, axis=0, monotone=monotone, margin=0.5)
    np.testing.assert_allclose(across, loss, rtol=1e-6)


def test_bad_targets():
    x = np.zeros((2, 3))
    for loss in (kexue.softmax_loss, kexue.taylor_softmax_loss):
        with pytest.raises(kexue.KexueValueError, match=r"target\[1\] is 3, not a class id below 3"):
            loss(x, [0, 3])
        with pytest.raises(kexue.KexueValueError, match=r"target\[0\] is -1"):
            loss(x, [-1, 0])
        with pytest.raises(kexue.KexueValueError, match=r"target has shape \(3,\)"):
            loss(x, [0, 1, 2])
        with pytest.raises(kexue.KexueValueError, match="axis = 5"):
            loss(x, [0, 1], axis=5)
        with pytest.raises(kexue.KexueValueError, match="no entries"):
            loss(np.empty((2, 0)), [0, 0])
        with pytest.raises(kexue.KexueValueError, match="x must have at least 1 dimension"):
            loss(1.0, 0)
        with pytest.raises(TypeError, match="target"):
            loss(x, np.array(["a", "b"]))
        with pytest.raises(TypeError, match="target"):
            loss(x, np.array([True, False]))
    with pytest.raises(kexue.KexueValueError, match=r"target\[0, 1\] is -0.5"):
        kexue.softmax_loss(x, [[0, -0.5, 1], [0, 0, 1]])
    with pytest.raises(kexue.KexueValueError, match=r"target\[1, 2\] is nan"):
        kexue.softmax_loss(x, [[0, 0.5, 1], [0, 0, np.nan]])
    with pytest.raises(kexue.KexueValueError, match="class ids must be integers"):
        kexue.softmax_loss(x, [0.0, 1.0])
    with pytest.raises(kexue.KexueValueError, match="margin must be finite"):
        kexue.taylor_softmax_loss(x, [0, 1], margin=np.inf)


def test_the_family_is_importable_under_a_name_that_is_also_a_function():
    from kexue.entropy import entropy, softmax

    assert entropy is kexue.entropy is kexue.ufuncs.entropy
    assert softmax is kexue.softmax


@pytest.mark.parametrize("loss", [kexue.softmax_loss, kexue.taylor_softmax_loss])
@pytest.mark.parametrize("axis", [-1, 0])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_losses_of_dask_arrays_stay_lazy(loss, axis, dtype, rng):
    x = np.moveaxis(rng.normal(size=(6, 7, 5)), -1, axis).astype(dtype)
    ids = rng.integers(0, 5, size=(6, 7))
    chunks = [4, 4, 4]
    chunks[axis] = 5
    lazy = da.from_array(x, chunks=tuple(chunks))
    cases = [(ids, loss(x, ids, axis=axis, return_grad=True))]
    if loss is kexue.softmax_loss:
        weights = kexue.softmax(rng.normal(size=x.shape), axis=axis).astype(dtype)
        cases.append((weights, loss(x, weights, axis=axis, return_grad=True)))
    for target, expected in cases:
        value = loss(lazy, target, axis=axis)
        results = (
            loss(lazy, da.from_array(target, chunks=3), axis=axis, return_grad=True)
            if target is ids
            else (loss(lazy, target, axis=axis, return_grad=True))
        )
        assert all(isinstance(result, da.Array) for result in (value, *results))
        assert np.array_equal(value.compute(), expected[0])
        for result, wanted in zip(results, expected, strict=True):
            assert result.shape == wanted.shape and result.dtype == wanted.dtype
            assert np.allclose(result.compute(), wanted, rtol=1e-6)
    with pytest.raises(kexue.KexueValueError, match=r"target has shape \(6,\)"):
        loss(lazy, ids[:, 0], axis=axis)
    with pytest.raises(kexue.KexueValueError, match="is 5, not a class id below 5"):
        loss(lazy, np.full((6, 7), 5), axis=axis).compute()
