import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import activations as reference
from reference.ulp import ulp_error

NAMES = ["squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"]
ULPS = {np.dtype(np.float32): 1.0, np.dtype(np.float64): 2.0}


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.fixture
def function(name):
    return getattr(kexue, name)


def random_bits(rng, dtype, n):
    """Finite floats with random bits: every magnitude is as likely as any other, subnormals included."""
    integers = np.uint32 if dtype == np.float32 else np.uint64
    values = rng.integers(0, np.iinfo(integers).max, size=2 * n, dtype=integers).view(dtype)
    return values[np.isfinite(values)][:n]


def operands(name, rng, dtype):
    """x (y for the inverse) and b: random bits, x**2 close to b, and the ends of the range."""
    n = 1500
    x, b = random_bits(rng, dtype, n), np.abs(random_bits(rng, dtype, n))
    with np.errstate(over="ignore", under="ignore"):
        near = np.abs(x) * np.abs(x)
        near = np.where(np.isfinite(near), near, 1) * np.exp2(rng.integers(-4, 5, size=n)).astype(dtype)
    near = np.where(np.isfinite(near), near, 1).astype(dtype)
    ordinary = rng.normal(size=n).astype(dtype) * 10
    info = np.finfo(dtype)
    ends = [0, info.smallest_subnormal, info.tiny, info.eps, 1, 4, info.max**0.5, info.max]
    ends = np.array(ends, dtype=dtype)
    ends = np.concatenate([ends, np.nextafter(ends[:-1], np.inf, dtype=dtype)])
    end_x, end_b = (grid.ravel() for grid in np.meshgrid(np.concatenate([ends, -ends]), ends))
    x = np.concatenate([x, x[:n], ordinary, end_x])
    b = np.concatenate([b, near, rng.exponential(size=n).astype(dtype), end_b])
    return (np.abs(x) if name == "squareplus_inverse" else x), b


def test_accuracy(name, function, dtype, rng):
    x, b = operands(name, rng, dtype)
    exact = getattr(reference, name)
    with np.errstate(all="ignore"):
        result = function(x, b)
    assert result.dtype == dtype
    worst = max((ulp_error(r, exact(xi, bi)), xi, bi) for r, xi, bi in zip(result, x, b, strict=True))
    assert worst[0] <= ULPS[dtype], worst


def test_result_does_not_depend_on_the_neighbours(function, dtype, rng):
    # One at a time, or from any offset, an element is in a remainder; in the whole array it is in a vector.
    x, b = operands("squareplus_inverse", rng, dtype)
    x, b = x[:300], b[:300]
    with np.errstate(all="ignore"):
        whole = function(x, b)
        np.testing.assert_array_equal([function(xi, bi) for xi, bi in zip(x, b, strict=True)], whole)
        for offset in range(1, 20):
            part = slice(offset, -offset)
            np.testing.assert_array_equal(function(x[part], b[part]), whole[part])
        np.testing.assert_array_equal(function(x[::7], b[::7]), whole[::7])
        np.testing.assert_array_equal(function(x, b[5]), [function(xi, b[5]) for xi in x])
        np.testing.assert_array_equal(function(x[5], b), [function(x[5], bi) for bi in b])


# METHODS R01: at x = -3, -1, 0, 0.5, 2.
REFERENCE_VALUES = {
    (
        "squareplus",
        1.0,
    ): "0.081138830084189666 0.20710678118654752 0.5 0.80901699437494742 2.1180339887498948",
    ("squareplus", 4.0): "0.30277563773199465 0.61803398874989485 1 1.2807764064044151 2.4142135623730950",
    ("squareplus", kexue.SQUAREPLUS_B_MINIMAX): (
        "0.12202196598248560 0.29432692144336117 0.61721573062397532 0.91592436367029527 2.1751405269710034"
    ),
    ("squareplus_grad", 1.0): (
        "0.025658350974743100 0.14644660940672624 0.5 0.72360679774997897 0.94721359549995794"
    ),
    ("squareplus_grad_b", 1.0): (
        "0.079056941504209483 0.17677669529663688 0.25 0.22360679774997897 0.11180339887498948"
    ),
}


@pytest.mark.parametrize(("name", "b"), REFERENCE_VALUES)
def test_reference_values(name, b):
    values = [float(value) for value in REFERENCE_VALUES[name, b].split()]
    np.testing.assert_allclose(getattr(kexue, name)([-3.0, -1.0, 0.0, 0.5, 2.0], b), values, rtol=4e-16)


def test_no_cancellation():
    assert kexue.squareplus(-1e8, 1.0) == 2.4999999999999999375e-9
    assert kexue.squareplus(np.float32(-5000), np.float32(4)) == np.float32(1.99999992000000640e-4)


def test_constants():
    assert kexue.SQUAREPLUS_B_CURVATURE == 4.0
    assert kexue.SQUAREPLUS_B_T2 == 2.0
    with mpmath.workdps(40):
        assert kexue.SQUAREPLUS_B_UPPER == float(4 * mpmath.log(2) ** 2)

        # The minimax b makes the distance to softplus at 0 and at its other extremum equal and opposite.
        def distance(x, b):
            return (x + mpmath.sqrt(x * x + b)) / 2 - mpmath.log1p(mpmath.exp(x))

        def slope(x, b):
            return (1 + x / mpmath.sqrt(x * x + b)) / 2 - 1 / (1 + mpmath.exp(-x))

        extremum, b = mpmath.findroot(
            lambda x, b: (slope(x, b), distance(x, b) + distance(0, b)), (mpmath.mpf(3.5), mpmath.mpf(1.5))
        )
        assert kexue.SQUAREPLUS_B_MINIMAX == float(b)
        assert abs(extremum - mpmath.mpf("3.5646210379963037645")) < 1e-18
        assert abs(distance(extremum, b) - mpmath.mpf("0.07593144993596998910334")) < 1e-20


@pytest.mark.parametrize(
    ("b", "largest"),
    [(1.0, 0.1931471806), (kexue.SQUAREPLUS_B_UPPER, 0.1038682205), (4.0, 0.3068528194)],
)
def test_distance_to_softplus(b, largest):
    x = np.linspace(-30, 30, 600001)
    assert abs(np.abs(kexue.squareplus(x, b) - np.logaddexp(0, x)).max() - largest) < 1e-9


def test_upper_constant_is_above_softplus():
    x = np.linspace(-20, 20, 100001)
    assert np.all(kexue.squareplus(x, kexue.SQUAREPLUS_B_UPPER) >= np.logaddexp(0, x) - 1e-15)


INF, NAN = np.inf, np.nan


@pytest.mark.parametrize(
    ("name", "x", "b", "expected", "flag"),
    [
        ("squareplus", INF, 1, INF, None),
        ("squareplus", -INF, 1, 0, None),
        ("squareplus", 1, INF, INF, None),
        ("squareplus", NAN, 1, NAN, None),
        ("squareplus", 1, NAN, NAN, None),
        ("squareplus", NAN, -1, NAN, None),
        ("squareplus", 2, 0, 2, None),
        ("squareplus", -2, 0, 0, None),
        ("squareplus", 0, 0, 0, None),
        ("squareplus", -0.0, 0, 0, None),
        ("squareplus", 2, -0.0, 2, None),
        ("squareplus", 1, -1, NAN, "invalid"),
        ("squareplus", 100, -1, NAN, "invalid"),
        ("squareplus", -100, -1, NAN, "invalid"),
        ("squareplus_grad", INF, 1, 1, None),
        ("squareplus_grad", -INF, 1, 0, None),
        ("squareplus_grad", NAN, 1, NAN, None),
        ("squareplus_grad", 1, NAN, NAN, None),
        ("squareplus_grad", 2, 0, 1, None),
        ("squareplus_grad", -2, 0, 0, None),
        ("squareplus_grad", 0, 0, 0.5, None),
        ("squareplus_grad", -0.0, 0, 0.5, None),
        ("squareplus_grad", 100, -1, NAN, "invalid"),
        ("squareplus_grad_b", INF, 1, 0, None),
        ("squareplus_grad_b", -INF, 1, 0, None),
        ("squareplus_grad_b", 1, INF, 0, None),
        ("squareplus_grad_b", NAN, 1, NAN, None),
        ("squareplus_grad_b", 1, NAN, NAN, None),
        ("squareplus_grad_b", 0, 0, INF, "divide"),
        ("squareplus_grad_b", 100, -1, NAN, "invalid"),
        ("squareplus_inverse", INF, 1, INF, None),
        ("squareplus_inverse", 2, 0, 2, None),
        ("squareplus_inverse", 0, 0, 0, None),
        ("squareplus_inverse", NAN, 1, NAN, None),
        ("squareplus_inverse", 1, NAN, NAN, None),
        ("squareplus_inverse", -1, 1, NAN, "invalid"),
        ("squareplus_inverse", -1, 0, NAN, "invalid"),
        ("squareplus_inverse", 1, -1, NAN, "invalid"),
    ],
)
@pytest.mark.parametrize("n", [1, 37])
def test_special_values(name, x, b, expected, flag, n, dtype):
    # 37 puts the value into vector lanes and into the remainder; harmless neighbours must not be disturbed.
    function = getattr(kexue, name)
    xs, bs = np.ones(n, dtype=dtype), np.ones(n, dtype=dtype)
    xs[::3], bs[::3] = x, b
    with np.errstate(all="ignore"):
        result = function(xs, bs)
        neighbour = function(dtype.type(1), dtype.type(1))
    np.testing.assert_array_equal(result[::3], dtype.type(expected))
    np.testing.assert_array_equal(result[1::3], neighbour)
    np.testing.assert_array_equal(result[2::3], neighbour)
    if flag is None:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            function(xs, bs)
    else:
        with np.errstate(all="ignore", **{flag: "raise"}), pytest.raises(FloatingPointError, match=flag):
            function(xs, bs)
        with pytest.warns(RuntimeWarning, match=f"{flag}.* in {name}"):
            function(xs, bs)


def test_inverse_of_zero(dtype):
    with np.errstate(divide="ignore"):
        assert kexue.squareplus_inverse(dtype.type(0), dtype.type(1)) == -np.inf


def test_no_spurious_flags(name, function, dtype, rng):
    x, b = operands(name, rng, dtype)
    with np.errstate(all="ignore"):
        overflows = ~np.isfinite(function(x, b))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        function(x[~overflows], b[~overflows])


# ---- identities ----

xs = st.floats(-1e100, 1e100)
bs = st.floats(1e-100, 1e100)


@given(xs, bs)
def test_difference_and_product(x, b):
    plus, minus = kexue.squareplus(x, b), kexue.squareplus(-x, b)
    assert abs((plus - minus) - x) <= 1e-15 * max(plus, minus)
    # The product is split so that it cannot overflow.
    assert plus / b * minus == pytest.approx(0.25, rel=1e-15) or plus / b == 0 or minus == 0


@given(st.floats(-1e30, 1e30), st.floats(1e-30, 1e30), st.integers(-100, 100))
def test_homogeneous(x, b, k):
    scaled = kexue.squareplus(np.ldexp(x, k), np.ldexp(b, 2 * k))
    assert scaled == pytest.approx(np.ldexp(kexue.squareplus(x, b), k), rel=5e-16, abs=1e-300)


@given(xs, xs, bs)
def test_monotone(x, y, b):
    low, high = kexue.squareplus(min(x, y), b), kexue.squareplus(max(x, y), b)
    assert low <= high * (1 + 4e-16)


@given(xs, bs)
def test_between_relu_and_relu_plus_half_root(x, b):
    f, relu = kexue.squareplus(x, b), max(x, 0.0)
    assert relu * (1 - 4e-16) <= f <= (relu + np.sqrt(b) / 2) * (1 + 4e-16)


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e3))
def test_inverse(x, b):
    y = kexue.squareplus(x, b)
    # The inverse multiplies a relative error of y by y f^-1'(y) = y + b / (4 y).
    assert abs(kexue.squareplus_inverse(y, b) - x) <= 4e-16 * (y + b / (4 * y)) * 2


@given(xs, bs)
def test_gradients(x, b):
    grad = kexue.squareplus_grad(x, b)
    assert 0 <= grad <= 1
    assert grad + kexue.squareplus_grad(-x, b) == pytest.approx(1, rel=1e-15)
    # f' = f / sqrt(x**2 + b) = 4 f df/db
    assert grad == pytest.approx(kexue.squareplus(x, b) * (4 * kexue.squareplus_grad_b(x, b)), rel=2e-15)


@pytest.mark.parametrize("start", [0, 1, 5])
def test_large_results_are_those_of_small_ones(dtype, start, rng):
    """Above some size the result is written past the caches, from the first whole vector on."""
    n = (32 << 20) // dtype.itemsize + 21
    x = (rng.standard_normal(n + start) * 3).astype(dtype)[start:]
    x[[0, 7, n // 2, n - 1]] = [np.nan, -1e30, np.inf, -0.0]
    out = np.full(n + start + 1, 7, dtype=dtype)
    kexue.squareplus(x, 1.5, out=out[start:-1])
    pieces = [kexue.squareplus(piece, 1.5) for piece in np.array_split(x, 100)]
    np.testing.assert_array_equal(out[start:-1], np.concatenate(pieces))
    assert (out[:start] == 7).all() and out[-1] == 7
    kexue.squareplus(x, 1.5, out=x)  # in place
    np.testing.assert_array_equal(x, out[start:-1])
