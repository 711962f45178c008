"""Softplus, Swish, GELU, their derivatives, and the Taylor polynomials of exp."""

import copy
import pickle

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
from reference import activations as reference
from reference.ulp import ulp_error

VALUES = ["softplus", "swish", "gelu", "gelu_tanh"]
UNARY = [*VALUES, *(f"{name}_grad" for name in VALUES)]
BINARY = ["exp_taylor", "exp_taylor_grad"]
ULPS = {np.dtype(np.float32): 1.0, np.dtype(np.float64): 2.0}
# Where a derivative is zero, by mpmath.findroot, to more digits than two float64 have.
ZEROS = {
    "swish_grad": "-1.2784645427610737951093587390229801554394774886197457654531781",
    "gelu_grad": "-0.7517915246935644574579049467795240396644711534234538483865395656",
    "gelu_tanh_grad": "-0.75246142207101625848795444328891609060539217803762927064177",
}


@pytest.fixture(params=UNARY)
def name(request):
    return request.param


@pytest.fixture
def function(name):
    return getattr(kexue, name)


@pytest.fixture(params=UNARY + BINARY)
def any_name(request):
    return request.param


@pytest.fixture
def apply(any_name):
    """The function of x alone: n is 5 for all items, or cycles through 0 to 9."""

    def evaluate(x, cycle=False, **options):
        if any_name in UNARY:
            return getattr(kexue, any_name)(x, **options)
        n = np.arange(x.size).reshape(x.shape) % 10 if cycle else 5
        return getattr(kexue, any_name)(x, np.asarray(n, dtype=np.uint8 if x.dtype == bool else x.dtype), **options)

    return evaluate


def random_bits(rng, dtype, n):
    """Finite floats with random bits: every magnitude is as likely as any other, subnormals included."""
    integers = np.uint32 if dtype == np.float32 else np.uint64
    values = rng.integers(0, np.iinfo(integers).max, size=2 * n, dtype=integers).view(dtype)
    return values[np.isfinite(values)][:n]


def around(value, dtype, count):
    """The floats next to a number, `count` either way."""
    values = [dtype.type(value)]
    for direction in (-np.inf, np.inf):
        last = values[0]
        for _ in range(count):
            last = np.nextafter(last, dtype.type(direction))
            values.append(last)
    return np.array(values, dtype=dtype)


def arguments(name, rng, dtype):
    n = 300
    info = np.finfo(dtype)
    zero = float(ZEROS.get(name, "-0.5"))
    # From the last subnormal results to where they round to zero, for each function's kind of tail.
    edges = [-88.0, -104.5, -709.0, -746.0, -13.1, -14.5, -37.5, -39.0, -9.5, -10.5, -21.2, -22.5]
    pieces = [
        random_bits(rng, dtype, n),
        rng.uniform(-4, 4, size=n),
        rng.uniform(-45, 45, size=n),
        rng.uniform(-760, 40, size=n),
        np.exp(rng.uniform(-40, 8, size=n)) * rng.choice([-1, 1], size=n),
        zero * (1 + np.exp(rng.uniform(-37, -1, size=n)) * rng.choice([-1, 1], size=n)),
        around(zero, dtype, 8),
        np.concatenate([edge + rng.uniform(-1, 1, size=20) for edge in edges]),
        np.array([0, -0.0, info.tiny, info.smallest_subnormal, info.max, -info.max, -info.tiny, info.eps, -info.eps]),
    ]
    return np.concatenate([piece.astype(dtype) for piece in pieces])


def test_accuracy(name, function, dtype, rng):
    x = arguments(name, rng, dtype)
    exact = getattr(reference, name)
    result = function(x)
    assert result.dtype == dtype
    worst = max((ulp_error(r, exact(xi)), xi, r) for r, xi in zip(result, x, strict=True))
    assert worst[0] <= ULPS[dtype], worst


@pytest.mark.parametrize("name", ZEROS)
def test_zeros(name, dtype):
    """Across the zero the sign changes once, and the nearest floats' values have all their digits."""
    with mpmath.workprec(200):
        zero = mpmath.mpf(ZEROS[name])
    assert abs(getattr(reference, name)(zero)) < 1e-16  # float(zero) is half an ulp off
    x = np.sort(around(float(zero), dtype, 50))
    result = getattr(kexue, name)(x)
    np.testing.assert_array_equal(np.sign(result), [1 if float(xi) > zero else -1 for xi in x])
    assert max(ulp_error(r, getattr(reference, name)(xi)) for r, xi in zip(result, x, strict=True)) <= ULPS[dtype]


# ---- the Taylor polynomials ----


def taylor_operands(kind, rng):
    m = 150
    sign, small = rng.choice([-1, 1], size=m), rng.integers(0, 49, size=m)
    middle, large = rng.integers(49, 400, size=m), rng.integers(400, 2500, size=m)
    few = slice(None, 40)  # mpmath adds up all of their terms
    return {
        "ordinary": (rng.uniform(-20, 20, size=m), small),
        "near the minimum": (-0.2785 * small * (1 + rng.normal(size=m) / 10) - 0.4, small),
        "any size": (np.exp(rng.uniform(-40, 13.8, size=m)) * sign, small),
        "huge x": (np.exp(rng.uniform(13.9, 80, size=m)) * sign, rng.integers(0, 7, size=m)),
        "x past the pairs": (np.exp(rng.uniform(13.9, 15, size=m)) * sign, small),
        "n past the pairs": (rng.uniform(-400, 400, size=m), middle),
        "n past the pairs, near the minimum": (-0.2785 * middle * (1 + rng.normal(size=m) / 10) - 0.4, middle),
        "large n": (rng.uniform(-900, 709, size=m)[few], large[few]),
    }[kind]


TAYLOR_KINDS = [
    "ordinary",
    "near the minimum",
    "any size",
    "huge x",
    "x past the pairs",
    "n past the pairs",
    "n past the pairs, near the minimum",
    "large n",
]


def odd_bound(x, degree):
    """What the error may be next to the zero of an odd degree."""
    if degree % 2 == 0 or x >= 0:
        return mpmath.mpf(0)
    if degree <= 48:
        return reference.exp_taylor(-x, degree) / 2**96
    return mpmath.exp(mpmath.mpf(float(x))) / 2**55


@pytest.mark.parametrize("kind", TAYLOR_KINDS)
@pytest.mark.parametrize("name", BINARY)
def test_taylor_accuracy(name, kind, dtype, rng):
    x, n = (operand.astype(dtype) for operand in taylor_operands(kind, rng))
    with np.errstate(over="ignore"):
        result = getattr(kexue, name)(x, n)
    assert result.dtype == dtype
    for r, xi, ni in zip(result, x, n, strict=True):
        exact = getattr(reference, name)(xi, ni)
        error = ulp_error(r, exact)
        degree = int(ni) - (name == "exp_taylor_grad")
        assert error <= ULPS[dtype] or abs(mpmath.mpf(float(r)) - exact) <= odd_bound(xi, degree), (xi, ni, r, error)


def test_taylor_of_very_large_degree(dtype):
    """Past all degrees that matter it is exp, and for x < 0 the term of degree n takes over where |x| > n / e."""
    x = np.linspace(-80, 80, 101).astype(dtype)
    for n in (1e4, 2.0**50):
        result = kexue.exp_taylor(x, dtype.type(n))
        assert max(ulp_error(r, mpmath.exp(mpmath.mpf(float(xi)))) for r, xi in zip(result, x, strict=True)) <= 1
    if dtype == np.float64:
        for n in (10**5, 10**9 + 1, 2**40):
            for x in -n / np.e * (1 + np.array([-30.0, 10.0, 300.0, 600.0]) / n):
                with mpmath.workprec(400):
                    m, a = mpmath.mpf(n + 1), mpmath.mpf(-float(x))
                    term = mpmath.exp(m * mpmath.log(a) - mpmath.loggamma(m + 1))
                    rest = mpmath.nsum(lambda j, m=m, a=a: (-a) ** j * mpmath.rf(m + 1, j) ** -1, [0, 150], method="d")
                    exact = (1 if n % 2 == 0 else -1) * term * rest
                assert ulp_error(kexue.exp_taylor(x, n), exact) <= 2


def test_taylor_even_is_positive_and_convex(rng):
    for n in range(0, 30, 2):
        x = np.sort(rng.uniform(-40, 20, size=2000))
        value, slope = kexue.exp_taylor(x, n), kexue.exp_taylor_grad(x, n)
        assert (value > 0).all()
        assert (np.diff(slope) >= 0).all()


@given(st.floats(-30, 30), st.integers(1, 40))
def test_taylor_recurrence(x, n):
    # f_n - f_(n-1) = x**n / n!; the sum of the sizes is that of the positive side.
    term = float(mpmath.mpf(x) ** n / mpmath.factorial(n))
    difference = kexue.exp_taylor(x, n) - kexue.exp_taylor_grad(x, n)
    assert abs(difference - term) <= 4e-16 * (abs(kexue.exp_taylor(x, n)) + abs(kexue.exp_taylor_grad(x, n)))


# METHODS R21
MINIMA = """
2 -1 0.5
4 -1.59607163798332152 0.270394765205184608
6 -2.1806071240351259 0.149324841731051193
8 -2.75900270996227186 0.0832715201640688786
10 -3.3335514852690488 0.0466991135902762315
12 -3.90545175761691044 0.026285628531571869
14 -4.47541195467675672 0.0148338503930551255
16 -5.04388707261345721 0.00838737537017857773
18 -5.61118734014093523 0.00474946636245683198
20 -6.17753407828588123 0.00269264054095442566
"""


@pytest.mark.parametrize("line", MINIMA.split("\n")[1:-1])
def test_taylor_minima(line):
    n, x, value = line.split()
    result = kexue.exp_taylor_min(int(n))
    assert isinstance(result[0], float) and isinstance(result[1], float)
    assert ulp_error(np.float64(result[0]), mpmath.mpf(float(x))) <= 1
    assert ulp_error(np.float64(result[1]), mpmath.mpf(float(value))) <= 1


@pytest.mark.parametrize("n", [22, 48, 50, 52, 200, 1000, 2500])
def test_taylor_minima_of_large_degree(n):
    x, value = kexue.exp_taylor_min(n)
    with mpmath.workprec(500 + 4 * n):
        step = reference.exp_taylor(x, n - 1) / reference.exp_taylor(x, n - 2)
        exact = mpmath.mpf(x) - step
        assert abs(exact / x - 1) <= 2.0**-52
        assert abs(exact**n / mpmath.factorial(n) / value - 1) <= 2.0**-50


@pytest.mark.parametrize("n", [-2, 0, 1, 3, 7, 2502])
def test_taylor_minimum_refuses(n):
    with pytest.raises(kexue.KexueValueError, match=f"^n must be even .*, not {n}$"):
        kexue.exp_taylor_min(n)


def test_taylor_minimum_takes_integers():
    assert kexue.exp_taylor_min(np.int8(4)) == kexue.exp_taylor_min(4)
    with pytest.raises(TypeError):
        kexue.exp_taylor_min(2.0)


def test_taylor_reference_values():
    """METHODS R10, R21"""
    np.testing.assert_allclose(
        kexue.exp_taylor(0.46, [2, 3, 4]), [1.5658, 1.5820226666666668, 1.5838882733333335], rtol=4e-16
    )
    probabilities = {
        2: [0.380952380952381, 0.0380952380952381, 0.07619047619047619, 0.1238095238095238, 0.380952380952381],
        4: [0.3328133125325013, 0.0249609984399376, 0.06656266250650026, 0.109724388975559, 0.4659386375455018],
        6: [0.1720605939873719, 0.02937890296820461, 0.07982192504568801, 0.1316039737737859, 0.5871346042249495],
    }
    for n, expected in probabilities.items():
        values = kexue.exp_taylor([-4.0, -1.0, 0.0, 0.5, 2.0], n)
        np.testing.assert_allclose(values / values.sum(), expected, rtol=1e-15)


# ---- special values ----

INF, NAN = np.inf, np.nan
SPECIAL_VALUES = [
    ("softplus", INF, INF, None),
    ("softplus", -INF, 0, None),
    ("softplus", NAN, NAN, None),
    ("softplus", -1e30, 0, None),
    ("softplus_grad", INF, 1, None),
    ("softplus_grad", -INF, 0, None),
    ("softplus_grad", NAN, NAN, None),
    ("softplus_grad", 0, 0.5, None),
    ("swish", INF, INF, None),
    ("swish", -INF, -0.0, None),
    ("swish", NAN, NAN, None),
    ("swish", -0.0, -0.0, None),
    ("swish", -1e30, -0.0, None),
    ("swish_grad", INF, 1, None),
    ("swish_grad", -INF, 0, None),
    ("swish_grad", NAN, NAN, None),
    ("gelu", INF, INF, None),
    ("gelu", -INF, -0.0, None),
    ("gelu", NAN, NAN, None),
    ("gelu", -0.0, -0.0, None),
    ("gelu_grad", INF, 1, None),
    ("gelu_grad", -INF, 0, None),
    ("gelu_grad", NAN, NAN, None),
    ("gelu_tanh", INF, INF, None),
    ("gelu_tanh", -INF, -0.0, None),
    ("gelu_tanh", NAN, NAN, None),
    ("gelu_tanh", 1e38, 1e38, None),
    ("gelu_tanh_grad", INF, 1, None),
    ("gelu_tanh_grad", -INF, 0, None),
    ("gelu_tanh_grad", NAN, NAN, None),
    ("exp_taylor", (2, -1), NAN, "invalid"),
    ("exp_taylor", (2, 1.5), NAN, "invalid"),
    ("exp_taylor", (2, INF), NAN, "invalid"),
    ("exp_taylor", (NAN, 2), NAN, None),
    ("exp_taylor", (2, NAN), NAN, None),
    ("exp_taylor", (NAN, -1), NAN, None),
    ("exp_taylor", (INF, 0), 1, None),
    ("exp_taylor", (INF, 3), INF, None),
    ("exp_taylor", (-INF, 3), -INF, None),
    ("exp_taylor", (-INF, 4), INF, None),
    ("exp_taylor", (-1, 1), 0, None),
    ("exp_taylor", (1e30, 100), INF, "overflow"),
    ("exp_taylor", (-1e30, 101), -INF, "overflow"),
    ("exp_taylor_grad", (2, 0), 0, None),
    ("exp_taylor_grad", (INF, 0), 0, None),
    ("exp_taylor_grad", (INF, 1), 1, None),
    ("exp_taylor_grad", (-INF, 4), -INF, None),
    ("exp_taylor_grad", (2, -1), NAN, "invalid"),
    ("exp_taylor_grad", (2, 0.5), NAN, "invalid"),
]


@pytest.mark.parametrize(("name", "given_value", "expected", "flag"), SPECIAL_VALUES)
@pytest.mark.parametrize("count", [1, 37])
def test_special_values(name, given_value, expected, flag, count, dtype):
    # 37 puts the value into vector lanes and into the remainder; harmless neighbours must not be disturbed.
    function = getattr(kexue, name)
    values = given_value if isinstance(given_value, tuple) else (given_value,)
    operands = [np.ones(count, dtype=dtype) for _ in values]
    for operand, value in zip(operands, values, strict=True):
        operand[::3] = value
    with np.errstate(all="ignore"):
        result = function(*operands)
        neighbour = function(*[dtype.type(1)] * len(operands))
    np.testing.assert_array_equal(result[::3], dtype.type(expected))
    np.testing.assert_array_equal(
        np.signbit(result[::3]) | np.isnan(result[::3]), np.signbit(expected) | np.isnan(expected)
    )
    np.testing.assert_array_equal(result[1::3], neighbour)
    np.testing.assert_array_equal(result[2::3], neighbour)
    if flag is None:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            function(*operands)
    else:
        numpys_name = {"overflow": "over"}.get(flag, flag)
        with np.errstate(all="ignore", **{numpys_name: "raise"}), pytest.raises(FloatingPointError, match=flag):
            function(*operands)
        with pytest.warns(RuntimeWarning, match=f"{flag}.* in {name}"):
            function(*operands)


def test_no_spurious_flags(name, function, dtype, rng):
    x = np.concatenate([arguments(name, rng, dtype), np.array([np.nan, np.inf, -np.inf], dtype=dtype)])
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        function(x)


@pytest.mark.parametrize("kind", TAYLOR_KINDS)
@pytest.mark.parametrize("name", BINARY)
def test_taylor_has_no_spurious_flags(name, kind, dtype, rng):
    x, n = (operand.astype(dtype) for operand in taylor_operands(kind, rng))
    function = getattr(kexue, name)
    with np.errstate(all="ignore"):
        overflows = ~np.isfinite(function(x, n))
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        function(x[~overflows], n[~overflows])


def test_result_does_not_depend_on_the_neighbours(apply, dtype, rng):
    # One at a time, or from any offset, an element is in a remainder; in the whole array it is in a vector.
    x = np.concatenate([random_bits(rng, dtype, 100), (rng.normal(size=200) * 3).astype(dtype)])
    x[::17] = np.nan
    with np.errstate(all="ignore"):
        whole = apply(x)
        np.testing.assert_array_equal([apply(xi) for xi in x], whole)
        for offset in range(1, 20):
            np.testing.assert_array_equal(apply(x[offset:-offset]), whole[offset:-offset])
        np.testing.assert_array_equal(apply(x[::7]), whole[::7])


def test_taylor_degrees_in_one_vector(dtype, rng):
    x, n = (rng.normal(size=300) * 5).astype(dtype), rng.integers(0, 60, size=300).astype(dtype)
    for name in BINARY:
        function = getattr(kexue, name)
        np.testing.assert_array_equal(function(x, n), [function(xi, ni) for xi, ni in zip(x, n, strict=True)])


# ---- identities, values of METHODS ----


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(VALUES))
def test_difference_is_x(x, name):
    plus, minus = getattr(kexue, name)(x), getattr(kexue, name)(-x)
    assert abs((plus - minus) - x) <= 2**-51 * max(abs(plus), abs(minus)) + 1e-323


@given(st.floats(allow_nan=False), st.sampled_from(VALUES))
def test_derivatives_add_up_to_one(x, name):
    grad = getattr(kexue, f"{name}_grad")
    assert grad(x) + grad(-x) == pytest.approx(1, rel=1e-15)


@given(st.floats(-700, 700))
def test_swish_is_x_times_the_logistic_function(x):
    product = x * kexue.softplus_grad(x)
    assert kexue.swish(x) == pytest.approx(product, rel=1e-15, abs=1e-300)
    # softplus' derivative is also 1 - exp(-softplus).
    assert -np.expm1(-kexue.softplus(x)) == pytest.approx(kexue.softplus_grad(x), rel=1e-15, abs=1e-300)


@given(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
def test_monotone(x, y):
    low, high = min(x, y), max(x, y)
    assert kexue.softplus(low) <= kexue.softplus(high) * (1 + 2**-51)
    assert kexue.softplus_grad(low) <= kexue.softplus_grad(high) * (1 + 2**-51)


@given(st.floats(-60, 60))
def test_bounds(x):
    relu = max(x, 0.0)
    assert relu <= kexue.softplus(x) <= relu + np.log(2) * (1 + 4e-16)
    assert relu - 0.2785 <= kexue.swish(x) <= relu
    assert relu - 0.1701 <= kexue.gelu(x) <= relu
    assert abs(kexue.gelu_tanh(x) - kexue.gelu(x)) <= 0.00048
    assert 0 <= kexue.softplus_grad(x) <= 1
    assert -0.09985 <= kexue.swish_grad(x) <= 1.09985
    assert -0.1290 <= kexue.gelu_grad(x) <= 1.1290


@pytest.mark.parametrize("name", VALUES)
def test_derivatives_are_slopes(name):
    x, step = np.linspace(-8, 8, 401), 1e-5
    function = getattr(kexue, name)
    slope = (function(x + step) - function(x - step)) / (2 * step)
    np.testing.assert_allclose(getattr(kexue, f"{name}_grad")(x), slope, atol=3e-10)


@pytest.mark.parametrize("name", VALUES)
def test_oracles_derivatives_are_slopes(name):
    for x in np.linspace(-9, 9, 19):
        with mpmath.workprec(300):
            slope = mpmath.diff(getattr(reference, name), float(x), h=mpmath.mpf(2) ** -40)
        assert abs(slope - getattr(reference, f"{name}_grad")(x)) < 1e-9


def test_reference_values():
    """METHODS R04: relu smoothed by the logistic distribution with t = 2, and its absolute value."""
    values = [0.00907496395890487018, 0.346573590279972655, 1.06346400552148625]
    np.testing.assert_allclose(kexue.softplus([-4.0, 0.0, 2.0]) / 2, values, rtol=4e-16)
    # x Phi(x) + phi(x) with s = 1, whose derivative is Phi.
    x = np.array([-2.0, 0.0, 1.0, 2.5])
    values = [0.00849070261682963755, 0.398942280401432678, 1.0833154705876863, 2.5020041371791282]
    np.testing.assert_allclose(kexue.gelu(x) + np.exp(-x * x / 2) / np.sqrt(2 * np.pi), values, rtol=1e-14)


def test_minima():
    assert kexue.swish(float(ZEROS["swish_grad"])) == pytest.approx(-0.27846454276107379511, rel=4e-16)
    assert kexue.gelu(float(ZEROS["gelu_grad"])) == pytest.approx(-0.16997120747990369, rel=1e-14)


# ---- what a ufunc does ----


def test_layouts(apply, any_layout, plain, untouched, dtype, rng):
    x = any_layout(rng.uniform(-4, 4, size=(5, 9)).astype(dtype))
    with untouched(x):
        result = apply(x)
    expected = apply(plain(x))
    assert result.shape == x.shape
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("given_dtype", "result_dtype"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int8, np.float64),
        (np.uint16, np.float64),
        (np.int64, np.float64),
        (bool, np.float64),
    ],
)
def test_dtypes(apply, given_dtype, result_dtype):
    x = np.array([1, 0], dtype=given_dtype)
    result = apply(x)
    assert result.dtype == result_dtype
    np.testing.assert_array_equal(result, apply(x.astype(result_dtype)))


@pytest.mark.parametrize("bad", [np.complex128(1), np.longdouble(1), "1", None, object()])
def test_other_types_are_refused(any_name, bad):
    operands = [np.array([bad])] if any_name in UNARY else [np.array([bad]), 2]
    with pytest.raises(TypeError):
        getattr(kexue, any_name)(*operands)


def test_python_scalars(any_name):
    function = getattr(kexue, any_name)
    more = [] if any_name in UNARY else [3]
    assert isinstance(function(0.5, *more), np.float64)
    assert isinstance(function(1, *more), np.float64)
    assert function(np.float32(0.5), *more).dtype == np.float32
    assert function(np.ones(2, dtype=np.int8), *more, dtype=np.float32).dtype == np.float32


def test_out_where_and_in_place(apply, dtype, rng):
    x = rng.uniform(-4, 4, size=40).astype(dtype)
    expected = apply(x, cycle=True)
    out = np.full(40, -1, dtype=dtype)
    assert apply(x, cycle=True, out=out, where=x > 1) is out
    np.testing.assert_array_equal(out, np.where(x > 1, expected, -1))
    own = x.copy()
    apply(own, cycle=True, out=own)
    np.testing.assert_array_equal(own, expected)
    shifted = np.concatenate([x, x[-1:]])
    apply(shifted[:-1], cycle=True, out=shifted[1:])  # overlaps its input
    np.testing.assert_array_equal(shifted[1:], expected)
    with pytest.raises(TypeError, match="Cannot cast"):
        apply(x, out=np.empty(40, dtype=np.int64))


def test_is_a_ufunc(any_name):
    function = getattr(kexue, any_name)
    assert type(function) is np.ufunc
    assert function.__name__ == any_name
    assert function.types == (["f->f", "d->d"] if any_name in UNARY else ["ff->f", "dd->d"])
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function
    assert getattr(kexue.ufuncs, any_name) is function
