import itertools
import pickle
import warnings

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kexue
import kexue.ufuncs
from reference import smoothing as reference
from reference.ulp import ulp_error

KERNELS = ["gaussian", "logistic", "student_t2", "cauchy"]
RAMP_KERNELS = KERNELS[:3]
ULPS = {np.dtype(np.float32): 1.0, np.dtype(np.float64): 2.0}
EPS = 2.0**-52
TO_THE_ULP = {
    "smooth_relu": RAMP_KERNELS,
    "smooth_step": KERNELS,
    "smooth_abs": RAMP_KERNELS,
    "smooth_sign": KERNELS,
}
ROUNDING = ["smooth_floor", "smooth_ceil", "smooth_round"]
ALL = [
    *((name, kernel) for name, kernels in TO_THE_ULP.items() for kernel in kernels),
    *itertools.product(["smooth_leaky_relu", "smooth_maximum"], RAMP_KERNELS),
    *itertools.product(["smooth_clip", *ROUNDING], KERNELS),
]
UNITS = list(TO_THE_ULP.items())
# Where tails underflow in units of the kernel's length, and so far out that algebraic tails are at their first term.
FARTHEST = {"gaussian": 39, "logistic": 750, "student_t2": 1e12, "cauchy": 1e12}


@pytest.fixture(params=ALL, ids="-".join)
def case(request):
    """The function of x alone, with the other operands in the middle of things."""
    name, kernel = request.param
    others = {"smooth_leaky_relu": (0.25,), "smooth_maximum": (0.5,), "smooth_clip": (-1.0, 1.5)}.get(name, ())

    def function(x, scale=0.75, **options):
        return getattr(kexue, name)(x, *others, kernel=kernel, scale=scale, **options)

    return function


def length(kernel, scale):
    with np.errstate(all="ignore"):
        return {"gaussian": scale, "logistic": 1 / scale, "student_t2": np.sqrt(scale), "cauchy": scale}[kernel]


def operands(kernel, dtype, rng, n):
    """x and scale: all scales, x from far inside of the kernel's length to where tails underflow, and the ends."""
    info = np.finfo(dtype)
    highest = 30 if dtype == np.float32 else 250
    scale = np.exp2(np.concatenate([rng.uniform(-5, 5, n // 2), rng.uniform(-highest, highest, n - n // 2)]))
    z = rng.normal(size=n) * 2
    z[::3] = rng.uniform(-1, 1, len(z[::3])) * FARTHEST[kernel]
    z[1::3] = np.exp2(rng.uniform(-60, np.log2(FARTHEST[kernel]), len(z[1::3]))) * rng.choice([-1, 1], len(z[1::3]))
    x = np.clip(z * length(kernel, scale), -float(info.max), float(info.max)).astype(dtype)
    ends = np.array([0, info.smallest_subnormal, info.tiny, 1, info.max**0.5, info.max], dtype=dtype)
    end_x, end_scale = (grid.ravel() for grid in np.meshgrid(np.concatenate([ends, -ends]), ends[1:]))
    return np.concatenate([x, end_x]), np.concatenate([scale.astype(dtype), end_scale])


# ---- accuracy ----


@pytest.mark.parametrize(("name", "kernel"), [(name, kernel) for name, kernels in UNITS for kernel in kernels])
def test_accuracy_in_ulps(name, kernel, dtype, rng):
    x, scale = operands(kernel, dtype, rng, 240)
    with np.errstate(over="ignore", under="ignore", divide="raise", invalid="raise"):
        result = getattr(kexue, name)(x, kernel=kernel, scale=scale)
    assert result.dtype == dtype
    exact = getattr(reference, name)
    worst = max((ulp_error(r, exact(kernel, a, b)), a, b) for r, a, b in zip(result, x, scale, strict=True))
    assert worst[0] <= ULPS[dtype], worst


def test_deep_tails():
    # METHODS names z = -37: exp(-z**2 / 2) multiplies the rounding of z = x / s by z**2.
    for scale in (1.0, 0.1, 1 / 3, 1e-5, 7e200):
        for z in (-5.0, -20.0, -30.0, -37.0, -38.4):
            for name in ("smooth_relu", "smooth_step"):
                result = getattr(kexue, name)(z * scale, scale=scale)
                exact = getattr(reference, name)("gaussian", z * scale, scale)
                assert exact > 0
                assert ulp_error(result, exact) <= 2, (name, z, scale)


def relative_error(result, exact, largest):
    """In eps of the largest term; below the normal range of its least number."""
    return float(abs(mpmath.mpf(float(result)) - exact) / max(largest, mpmath.ldexp(1, -1022))) / EPS


@pytest.mark.parametrize("kernel", RAMP_KERNELS)
@pytest.mark.parametrize("name", ["smooth_leaky_relu", "smooth_maximum"])
def test_accuracy_of_two_terms(name, kernel, rng):
    x, scale = operands(kernel, np.dtype(np.float64), rng, 240)
    keep = (np.abs(x) < 1e290) & (scale > 1e-290)
    x, scale = x[keep], scale[keep]
    if name == "smooth_leaky_relu":
        other = rng.normal(size=len(x))
    else:
        other = x + rng.normal(size=len(x)) * np.minimum(length(kernel, scale), 1e290)
    result = getattr(kexue, name)(x, other, kernel=kernel, scale=scale)
    exact = getattr(reference, name)
    assert max(
        (relative_error(r, *exact(kernel, a, b, c)), a, b, c)
        for r, a, b, c in zip(result, x, other, scale, strict=True)
    ) <= (4.0,)


@pytest.mark.parametrize("kernel", KERNELS)
def test_accuracy_of_clip(kernel, rng):
    n = 300
    scale = np.exp2(rng.uniform(-6, 6, n))
    x = np.exp2(rng.uniform(-30, 10, n)) * rng.choice([-1, 1], n)
    low = np.where(rng.random(n) < 0.5, 0, rng.normal(size=n))
    high = low + np.exp2(rng.uniform(-20, 6, n))
    result = kexue.smooth_clip(x, low, high, kernel=kernel, scale=scale)
    assert max(
        (relative_error(r, *reference.smooth_clip(kernel, *row)), *row)
        for r, *row in zip(result, x, low, high, scale, strict=True)
    ) <= (4.0,)


def places(rng, n):
    near = rng.integers(-3, 4, n) + rng.choice([0, 0.5], n)
    near = near + np.exp2(rng.uniform(-40, -4, n)) * rng.choice([-1, 1], n)
    return np.concatenate(
        [rng.normal(size=n) * 5, near, [0, -1e-300, 1e-300, 2.5, -3, 1e6 + 0.25, 2.0**51 + 0.5, -1e300]]
    )


FLOOR_SCALES = {"gaussian": (-9, 3), "logistic": (-3, 9), "student_t2": (-9, 6), "cauchy": (-20, 3)}


@pytest.mark.parametrize("name", ROUNDING)
@pytest.mark.parametrize("kernel", KERNELS)
def test_accuracy_of_floor_ceil_round(name, kernel, rng):
    x = places(rng, 30)
    scale = np.exp2(rng.uniform(*FLOOR_SCALES[kernel], len(x)))
    result = getattr(kexue, name)(x, kernel=kernel, scale=scale)
    exact = getattr(reference, name)
    assert max(
        (relative_error(r, exact(kernel, a, b), max(abs(a), 1)), a, b) for r, a, b in zip(result, x, scale, strict=True)
    ) <= (4.0,)


def test_float32_is_rounded_from_more(case, rng):
    x = (rng.normal(size=500) * 3).astype(np.float32)
    wide = case(x.astype(np.float64))
    narrow = case(x)
    assert narrow.dtype == np.float32
    units = np.abs(narrow - wide) / np.spacing(np.abs(narrow)).astype(np.float64)
    assert np.all((units <= 1) | (np.abs(wide) < 2.0**-20))
    assert np.all(np.abs(narrow - wide) <= np.maximum(np.abs(wide) * 2.0**-23, 2.0**-43))


# ---- METHODS R04 ----


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (
            lambda: kexue.smooth_relu([-2.0, 0.0, 1.0, 2.5]),
            "0.00849070261682963755 0.398942280401432678 1.0833154705876863 2.5020041371791282",
        ),
        (lambda: kexue.smooth_relu([1.0], scale=0.5), "1.00424535130841482"),
        (
            lambda: kexue.smooth_relu([-2.0, 0.0, 1.0], kernel="logistic", scale=2.0),
            "0.00907496395890487018 0.346573590279972655 1.06346400552148625",
        ),
        (lambda: kexue.smooth_abs([1.0], kernel="logistic", scale=2.0), "1.1269280110429725"),
        (lambda: kexue.smooth_abs([1.0]), "1.1666309411753726"),
        (
            lambda: kexue.smooth_floor([0.3, 2.5, 2.95, 3.0, -1.2], kernel="logistic", scale=10.0),
            "-0.0465170410088324064 2 2.37749335611353694 2.5 -1.88112629888545822",
        ),
        (
            lambda: kexue.smooth_floor([0.3, 2.5, 2.95, 3.0, -1.2], scale=0.1),
            "-0.00134989803035028198 2 2.3085375387259869 2.5 -1.97724986805182141",
        ),
        (lambda: kexue.smooth_floor([0.3], kernel="cauchy", scale=0.05), "-0.03587854744684152"),
        (
            lambda: kexue.smooth_clip([-2.0, 0.0, 0.5, 1.0, 3.0], 0.0, 1.0, kernel="logistic", scale=4.0),
            "8.23155448545090e-5 0.168749313160533892 0.5 0.831250686839466108 0.999917684455145491",
        ),
        (
            lambda: kexue.smooth_leaky_relu([-1.0, 0.0, 2.0], 0.25, scale=0.5),
            "-0.246815986518688886 0.149603355150537254 2.00000267947191215",
        ),
    ],
)
def test_reference_values(result, expected):
    np.testing.assert_allclose(result(), [float(value) for value in expected.split()], rtol=1e-15, atol=2e-16)


# ---- what the functions are ----


@pytest.mark.parametrize("kernel", KERNELS)
def test_definition_by_quadrature(kernel):
    """The closed forms against the convolution, which the oracle integrates as it stands."""
    scale = 1.7 if kernel == "logistic" else 0.6
    for x in (-1.3, 0.2, 2.0):
        values = {
            "step": (kexue.smooth_step(x, kernel=kernel, scale=scale), lambda y: mpmath.mpf(y > 0), [0]),
            "clip": (
                kexue.smooth_clip(x, -0.5, 1, kernel=kernel, scale=scale),
                lambda y: min(max(y, -0.5), 1),
                [-0.5, 1],
            ),
        }
        if kernel != "cauchy":
            values["relu"] = kexue.smooth_relu(x, kernel=kernel, scale=scale), lambda y: max(y, 0), [0]
        for name, (value, sharp, breakpoints) in values.items():
            exact = reference.convolve(sharp, kernel, x, scale, breakpoints)
            assert value == pytest.approx(float(exact), rel=1e-8, abs=1e-9), (name, x)


@pytest.mark.parametrize("kernel", RAMP_KERNELS)
def test_step_is_the_derivative_of_relu(kernel, rng):
    for x, scale in zip(rng.normal(size=40) * 3, rng.uniform(0.2, 3, 40), strict=True):
        with mpmath.workprec(200):
            h = mpmath.ldexp(1, -60)
            above, below = (reference.ramp(kernel, mpmath.mpf(x) + side * h, mpmath.mpf(scale)) for side in (1, -1))
            slope = float((above - below) / (2 * h))
        assert kexue.smooth_step(x, kernel=kernel, scale=scale) == pytest.approx(slope, rel=1e-14)


@pytest.mark.parametrize("kernel", KERNELS)
def test_student_t2_is_squareplus_and_others_are_their_names(kernel, rng):
    x = rng.normal(size=50)
    assert np.array_equal(kexue.smooth_relu(x, kernel="student_t2", scale=2.0), kexue.squareplus(x, 2.0))
    step = kexue.smooth_step(x, kernel=kernel, scale=0.7)
    np.testing.assert_allclose(2 * step - 1, kexue.smooth_sign(x, kernel=kernel, scale=0.7), atol=4e-16)
    if kernel != "cauchy":
        relu = kexue.smooth_relu(x, kernel=kernel, scale=0.7)
        other = kexue.smooth_relu(-x, kernel=kernel, scale=0.7)
        np.testing.assert_allclose(relu + other, kexue.smooth_abs(x, kernel=kernel, scale=0.7), rtol=1e-15)
        np.testing.assert_allclose(kexue.smooth_maximum(x, 0, kernel=kernel, scale=0.7), relu, rtol=1e-15)
        np.testing.assert_allclose(kexue.smooth_leaky_relu(x, 0, kernel=kernel, scale=0.7), relu, rtol=1e-15)
        np.testing.assert_allclose(kexue.smooth_clip(x, 0, np.inf, kernel=kernel, scale=0.7), relu, rtol=1e-15)


@pytest.mark.parametrize("kernel", KERNELS)
def test_sharp_limit(case, kernel, rng):
    x = np.array([-3.3, -1.25, -0.4, 0.3, 0.6, 1.2, 2.7])
    sharp = {
        "smooth_step": lambda x: x > 0,
        "smooth_sign": np.sign,
        "smooth_clip": lambda x: np.clip(x, -1, 2),
        "smooth_floor": np.floor,
        "smooth_ceil": np.ceil,
        "smooth_round": np.rint,
        "smooth_relu": lambda x: np.maximum(x, 0),
        "smooth_abs": np.abs,
        "smooth_leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
        "smooth_maximum": lambda x: np.maximum(x, 0.5),
    }
    others = {"smooth_clip": (-1, 2), "smooth_maximum": (0.5,)}
    scale = {"gaussian": 1e-9, "logistic": 1e9, "student_t2": 1e-18, "cauchy": 1e-9}[kernel]
    for name, function in sharp.items():
        if (name, kernel) in ALL:
            result = getattr(kexue, name)(x, *others.get(name, ()), kernel=kernel, scale=scale)
            np.testing.assert_allclose(result, function(x), atol=4e-8, err_msg=name)


@pytest.mark.parametrize("name", ROUNDING)
@pytest.mark.parametrize(
    ("kernel", "scales"),
    [
        ("gaussian", [0.02, 0.1, 0.3, 1.0, 5.0]),
        ("logistic", [0.4, 2.0, 7.0, 40.0, 200.0]),
        ("student_t2", [1e-3, 0.1, 1.0, 30.0, 60.0]),
    ],
)
def test_window_and_fourier_agree(name, kernel, scales, rng):
    x = places(rng, 40)[:-1]
    for scale in scales:
        window, fourier = (
            getattr(kexue, name)(x, kernel=kernel, scale=scale, form=form) for form in ("window", "fourier")
        )
        largest = np.maximum(np.abs(x), 1)
        assert np.all(np.abs(window - fourier) <= 4 * EPS * largest), scale
        automatic = getattr(kexue, name)(x, kernel=kernel, scale=scale)
        assert np.all(np.abs(window - automatic) <= 4 * EPS * largest), scale


def test_cauchy_closed_form_and_fourier_agree(rng):
    x = places(rng, 40)[:-1]
    for scale in (0.01, 0.1, 1.0, 10.0):
        closed, fourier = (
            kexue.smooth_floor(x, kernel="cauchy", scale=scale, form=form) for form in ("auto", "fourier")
        )
        assert np.all(np.abs(closed - fourier) <= 4 * EPS * np.maximum(np.abs(x), 1)), scale


kernels, ramps = st.sampled_from(KERNELS), st.sampled_from(RAMP_KERNELS)
xs, scales = st.floats(-1e6, 1e6), st.floats(1e-3, 1e3)


@given(ramps, xs, scales)
def test_relu_of_both_signs(kernel, x, scale):
    right, left = kexue.smooth_relu([x, -x], kernel=kernel, scale=scale)
    assert abs((right - left) - x) <= 2 * EPS * max(right, left)
    assert right >= max(x, 0) and left >= max(-x, 0)


@given(kernels, xs, xs, scales)
def test_monotone(kernel, x, y, scale):
    pair = [min(x, y), max(x, y)]
    low, high = kexue.smooth_step(pair, kernel=kernel, scale=scale)
    assert 0 <= low <= high * (1 + 4 * EPS) <= 1 + 4 * EPS
    low, high = kexue.smooth_floor(pair, kernel=kernel, scale=scale)
    assert low <= high + 8 * EPS * max(abs(x), abs(y), 1)
    if kernel != "cauchy":
        low, high = kexue.smooth_relu(pair, kernel=kernel, scale=scale)
        assert low <= high * (1 + 4 * EPS)


@given(kernels, xs, scales)
def test_symmetries(kernel, x, scale):
    options = {"kernel": kernel, "scale": scale}
    assert kexue.smooth_sign(-x, **options) == -kexue.smooth_sign(x, **options)
    tolerance = 8 * EPS * max(abs(x), 1)
    floor, ceil = kexue.smooth_floor(x, **options), kexue.smooth_ceil(-x, **options)
    assert floor == -ceil
    assert abs(kexue.smooth_round(-x, **options) + kexue.smooth_round(x, **options)) <= tolerance


@given(kernels, st.integers(-(10**6), 10**6), st.integers(0, 1023), scales)
def test_floor_is_periodic(kernel, n, part, scale):
    x = part / 1024
    here, there = kexue.smooth_floor([x, x + n], kernel=kernel, scale=scale)
    assert abs(there - (here + n)) <= 8 * EPS * max(abs(n), 1)
    assert abs(
        kexue.smooth_round(x + n, kernel=kernel, scale=scale)
        - kexue.smooth_floor(x + n + 0.5, kernel=kernel, scale=scale)
    ) <= (8 * EPS * max(abs(n), 1))


@given(kernels, xs, st.floats(-10, 10), st.floats(0, 10), scales)
def test_clip_is_within_its_bounds(kernel, x, low, width, scale):
    high = low + width
    value = kexue.smooth_clip(x, low, high, kernel=kernel, scale=scale)
    tolerance = 8 * EPS * max(abs(low), abs(high), float(length(kernel, scale)))
    assert low - tolerance <= value <= high + tolerance


@given(ramps, xs, xs, scales)
def test_maximum_is_symmetric_and_above(kernel, x, y, scale):
    value = kexue.smooth_maximum(x, y, kernel=kernel, scale=scale)
    assert value == kexue.smooth_maximum(y, x, kernel=kernel, scale=scale)
    assert value >= max(x, y)


# ---- special values ----

INF, NAN = np.inf, np.nan


@pytest.mark.parametrize("kernel", RAMP_KERNELS)
@pytest.mark.parametrize("n", [1, 37])
def test_infinite_and_nan(kernel, n, dtype):
    table = [
        (kexue.smooth_relu, [(INF, INF), (-INF, 0), (NAN, NAN)]),
        (kexue.smooth_abs, [(INF, INF), (-INF, INF), (NAN, NAN)]),
        (kexue.smooth_step, [(INF, 1), (-INF, 0), (NAN, NAN)]),
        (kexue.smooth_sign, [(INF, 1), (-INF, -1), (NAN, NAN)]),
        (kexue.smooth_leaky_relu, [(INF, INF), (-INF, -INF), (NAN, NAN)]),
        (lambda x, **o: kexue.smooth_clip(x, -2, 3, **o), [(INF, 3), (-INF, -2), (NAN, NAN)]),
        (lambda x, **o: kexue.smooth_maximum(x, 2, **o), [(INF, INF), (-INF, 2), (NAN, NAN)]),
        (kexue.smooth_floor, [(INF, INF), (-INF, -INF), (NAN, NAN)]),
        (kexue.smooth_ceil, [(INF, INF), (-INF, -INF), (NAN, NAN)]),
        (kexue.smooth_round, [(INF, INF), (-INF, -INF), (NAN, NAN)]),
    ]
    for function, rows in table:
        for x, expected in rows:
            # Among harmless neighbours, which must not be disturbed.
            values = np.ones(n, dtype=dtype)
            values[::3] = x
            with np.errstate(divide="raise", over="raise", invalid="raise"):
                result = function(values, kernel=kernel)
                one = function(dtype.type(1), kernel=kernel)
            np.testing.assert_array_equal(result[::3], dtype.type(expected), err_msg=str((function, x)))
            np.testing.assert_array_equal(result[1::3], one)


def test_no_spurious_flags(case, dtype, rng):
    x, scale = operands("gaussian", dtype, rng, 300)
    # R(0) = log(2) / t of the logistic kernel may well overflow.
    least, most = np.finfo(dtype).tiny ** 0.9, np.finfo(dtype).max ** 0.9
    keep = (np.abs(x) < most) & (scale > least) & (scale < most)
    with np.errstate(all="raise", under="ignore"):
        case(x[keep], scale=scale[keep])


@pytest.mark.parametrize("name", [name for name in kexue.ufuncs.__all__ if name.startswith("smooth_")])
def test_bad_scale_in_a_ufunc(name, dtype):
    ufunc = getattr(kexue.ufuncs, name)
    form = name.split("_")[1] in ("floor", "ceil", "round")
    others = [0.25] * (ufunc.nin - 2) if not form else []
    for scale in (0.0, -1.0, INF, -INF):
        operand = [dtype.type(1), *map(dtype.type, others), dtype.type(scale), *([dtype.type(0)] if form else [])]
        with np.errstate(invalid="ignore"):
            assert np.isnan(ufunc(*operand))
        with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match="invalid"):
            ufunc(*operand)
        operand[0] = dtype.type(NAN)
        with np.errstate(invalid="raise"):
            assert np.isnan(ufunc(*operand))
    assert pickle.loads(pickle.dumps(ufunc)) is ufunc


def test_bad_bounds_and_forms_in_a_ufunc():
    with np.errstate(invalid="ignore"):
        assert np.isnan(kexue.ufuncs.smooth_clip_gaussian(0.0, 1.0, 0.5, 1.0))
        assert np.isnan(kexue.ufuncs.smooth_clip_cauchy(0.0, -INF, 0.5, 1.0))
        assert np.isnan(kexue.ufuncs.smooth_floor_gaussian(0.5, 1.0, 3.0))
        assert np.isnan(kexue.ufuncs.smooth_floor_gaussian(0.5, 1e-4, 2.0))
        assert np.isnan(kexue.ufuncs.smooth_floor_cauchy(0.5, 1.0, 1.0))


def test_infinite_bounds_are_no_bounds(rng):
    x = rng.normal(size=20) * 3
    for kernel in RAMP_KERNELS:
        below = kexue.smooth_clip(x, -INF, 1.0, kernel=kernel)
        np.testing.assert_allclose(below, -kexue.smooth_maximum(-x, -1.0, kernel=kernel), rtol=1e-15)
        np.testing.assert_array_equal(kexue.smooth_clip(x, -INF, INF, kernel=kernel), x)


@pytest.mark.parametrize("kernel", KERNELS)
def test_scales_beyond_the_ordinary(kernel):
    for scale in (5e-324, 1e-310, 1e-200, 1e200, 1.7e308):
        unit = float(length(kernel, scale))
        for z in (-3.0, -0.1, 0.1, 2.0):
            x = z * unit
            if not 0 < abs(x) < 1e308:
                continue
            for name in TO_THE_ULP:
                if kernel in TO_THE_ULP[name]:
                    result = getattr(kexue, name)(x, kernel=kernel, scale=scale)
                    assert ulp_error(result, getattr(reference, name)(kernel, x, scale)) <= 2, (name, x, scale)
        wide = scale < 1 if kernel == "logistic" else scale > 1
        expected = 3.75 - 0.5 if wide else 3
        assert kexue.smooth_floor(3.75, kernel=kernel, scale=scale) == pytest.approx(expected, abs=1e-100)


# ---- errors ----


def test_unknown_kernel(case):
    with pytest.raises(kexue.KexueValueError, match='kernel must be one of "gaussian"'):
        kexue.smooth_relu(1.0, kernel="box")
    with pytest.raises(kexue.KexueValueError, match="kernel must be"):
        kexue.smooth_function(np.sin, "box")


@pytest.mark.parametrize(
    "call",
    [
        lambda: kexue.smooth_relu(1.0, kernel="cauchy"),
        lambda: kexue.smooth_leaky_relu(1.0, kernel="cauchy"),
        lambda: kexue.smooth_abs(1.0, kernel="cauchy"),
        lambda: kexue.smooth_maximum(1.0, 2.0, kernel="cauchy"),
        lambda: kexue.smooth_clip(1.0, -INF, 2.0, kernel="cauchy"),
        lambda: kexue.smooth_function(lambda u: np.maximum(u, 0), "cauchy", 1.0, [0])(1.0),
        lambda: kexue.smooth_function(np.abs, "cauchy", 1.0, [0])([0.0, 1.0]),
    ],
)
def test_what_diverges_says_so(call):
    with pytest.raises(kexue.KexueValueError, match="diverges"):
        call()


@pytest.mark.parametrize("scale", [0, -1.0, INF, NAN, np.float32(0)])
def test_bad_scale(case, scale):
    with pytest.raises(kexue.KexueValueError, match="scale is .* positive and finite"):
        case(1.0, scale=scale)


def test_bad_scale_is_named_with_its_place():
    with pytest.raises(kexue.KexueValueError, match=r"scale\[1, 0\] is -2"):
        kexue.smooth_relu(1.0, scale=[[1.0, 2.0], [-2.0, 1.0]])
    with pytest.raises(kexue.KexueValueError, match=r"low\[1\] is 3.0, more than high"):
        kexue.smooth_clip(1.0, [0.0, 3.0], 2.0)
    with pytest.raises(kexue.KexueValueError, match="low is inf"):
        kexue.smooth_clip(1.0, INF, INF, kernel="cauchy")


def test_bad_form():
    with pytest.raises(kexue.KexueValueError, match='form must be "auto"'):
        kexue.smooth_floor(1.0, form="sum")
    for kernel, scale, form in (
        ("gaussian", 200.0, "window"),
        ("gaussian", 1e-3, "fourier"),
        ("logistic", 0.01, "window"),
        ("logistic", 600.0, "fourier"),
        ("student_t2", 1e6, "window"),
        ("student_t2", 1e-5, "fourier"),
        ("cauchy", 1.0, "window"),
        ("cauchy", 1e-3, "fourier"),
        ("gaussian", [1.0, 200.0], "window"),
    ):
        for function in (kexue.smooth_floor, kexue.smooth_ceil, kexue.smooth_round):
            with pytest.raises(kexue.KexueValueError, match="more than 1000 terms"):
                function(1.0, kernel=kernel, scale=scale, form=form)


# ---- what a ufunc does ----


def test_layouts(case, any_layout, plain, untouched, dtype, rng):
    x = any_layout((rng.normal(size=(5, 9)) * 2).astype(dtype))
    with untouched(x):
        result = case(x)
    expected = plain(x)
    assert result.dtype == expected.dtype
    np.testing.assert_array_equal(result, case(expected))


def test_array_scale(case, dtype, rng):
    x, scale = rng.normal(size=(6, 1)).astype(dtype), rng.uniform(0.2, 20, 70).astype(dtype)
    result = case(x, scale=scale)
    assert result.shape == (6, 70) and result.dtype == dtype
    # An item's value does not depend on its neighbours.
    np.testing.assert_array_equal(result[2], [case(x[2, 0], scale=one) for one in scale])
    np.testing.assert_array_equal(case(x[::2], scale=scale[::-3]), result[::2, ::-3])


def test_dtypes(case):
    for given_dtype, expected in (
        (np.float16, "f4"),
        (np.float32, "f4"),
        (np.int8, "f8"),
        (np.int64, "f8"),
        (bool, "f8"),
    ):
        result = case(np.ones(3, dtype=given_dtype))
        assert result.dtype == expected
        assert np.allclose(result, case(1.0), rtol=1e-6)
    assert isinstance(case(1.0), np.float64)
    assert case([]).shape == (0,)
    with pytest.raises(TypeError):
        case("1")


def test_ufunc_options(case, rng):
    x = rng.normal(size=20)
    expected, out = case(x), np.full(20, -7.0)
    assert case(x, out=out, where=x > 0) is out
    np.testing.assert_array_equal(out, np.where(x > 0, expected, -7))
    assert case(x, dtype=np.float32, casting="same_kind").dtype == np.float32
    np.testing.assert_array_equal(case(x, out=x), expected)


def test_dask_stays_lazy(case, rng):
    array = pytest.importorskip("dask.array")
    x = rng.normal(size=(8, 6))
    lazy = case(array.from_array(x, chunks=3))
    assert isinstance(lazy, array.Array)
    np.testing.assert_array_equal(lazy.compute(), case(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        assert np.isnan(kexue.smooth_relu(1.0, scale=array.from_array(np.array([-1.0]))).compute())


# ---- any function ----


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("scale", [0.05, 1.3, 40.0])
def test_smooth_function_is_the_closed_form(kernel, scale, rng):
    x = np.concatenate([rng.normal(size=30) * 4, [0, 1, -25, 100]])
    one = {"kernel": kernel, "scale": scale}
    table = [
        (lambda u: (u > 0).astype(float), [0], kexue.smooth_step(x, **one)),
        (np.sign, [0], kexue.smooth_sign(x, **one)),
        (lambda u: np.clip(u, -0.5, 1), [-0.5, 1], kexue.smooth_clip(x, -0.5, 1, **one)),
    ]
    if kernel != "cauchy":
        table += [
            (lambda u: np.maximum(u, 0), [0], kexue.smooth_relu(x, **one)),
            (np.abs, [0], kexue.smooth_abs(x, **one)),
            (lambda u: np.maximum(u, 0.3), [0.3], kexue.smooth_maximum(x, 0.3, **one)),
            (lambda u: np.where(u > 0, u, 0.1 * u), [0], kexue.smooth_leaky_relu(x, 0.1, **one)),
        ]
    for number, (f, breakpoints, expected) in enumerate(table):
        result = kexue.smooth_function(f, kernel, scale, breakpoints)(x)
        np.testing.assert_allclose(result, expected, rtol=1e-10, atol=1e-10, err_msg=str(number))


def test_smooth_function_against_scipy():
    from scipy.integrate import quad
    from scipy.stats import norm

    def sharp(u):
        return np.where(u < 1, np.sin(u), u * u)

    smooth = kexue.smooth_function(sharp, "gaussian", 0.4, [1.0])
    for x in (-2.0, 0.9, 1.0, 3.0):
        parts = [
            quad(lambda u, x=x: sharp(u) * norm.pdf(u, x, 0.4), *ends, epsabs=1e-13)[0] for ends in ((-9, 1), (1, 9))
        ]
        assert smooth(x) == pytest.approx(sum(parts), rel=1e-10)


def test_smooth_function_of_smooth_functions():
    x = np.linspace(-3, 3, 7)
    # cos * k is khat(1) cos, x**2 * k is x**2 + s**2, exp(x) * k is exp(x + s**2 / 2).
    np.testing.assert_allclose(kexue.smooth_function(np.cos, scale=0.7)(x), np.exp(-0.245) * np.cos(x), atol=1e-10)
    np.testing.assert_allclose(kexue.smooth_function(np.square, scale=0.7)(x), x * x + 0.49, rtol=1e-10)
    np.testing.assert_allclose(kexue.smooth_function(np.exp, scale=0.7)(x), np.exp(x + 0.245), rtol=1e-10)
    np.testing.assert_allclose(kexue.smooth_function(lambda u: 3.0)(x), np.full(7, 3.0), rtol=1e-10)


def test_smooth_function_in_the_tail():
    value = kexue.smooth_function(lambda u: np.maximum(u, 0), "gaussian", 1.0, [0])(-30.0)
    assert value == pytest.approx(kexue.smooth_relu(-30.0), rel=1e-10)


def test_smooth_function_shapes_and_types(any_layout, plain, dtype, rng):
    smooth = kexue.smooth_function(np.abs, "logistic", 2.0, [0])
    x = any_layout(rng.normal(size=(5, 9)).astype(dtype))
    result = smooth(x)
    assert result.shape == x.shape and result.dtype == plain(x).dtype
    np.testing.assert_allclose(result, kexue.smooth_abs(plain(x), kernel="logistic", scale=2.0), rtol=1e-6)
    assert isinstance(smooth(1.0), np.float64)
    assert np.isnan(smooth([NAN, INF])).all()


def test_smooth_function_says_when_it_does_not_converge():
    def jumps(u):
        return (u > 0.123).astype(float)

    with pytest.warns(kexue.ConvergenceWarning, match="2 of 2 values did not converge"):
        result = kexue.smooth_function(jumps, "gaussian", 1.0)([0.0, 1.0])
    np.testing.assert_allclose(result, kexue.smooth_step(np.array([0.0, 1.0]) - 0.123), atol=1e-2)
    with kexue.errstate(convergence="raise"), pytest.raises(kexue.ConvergenceWarning):
        kexue.smooth_function(jumps, "gaussian", 1.0)(0.0)


def test_smooth_function_refuses():
    with pytest.raises(TypeError, match="f must be callable"):
        kexue.smooth_function(3.0)
    with pytest.raises(kexue.KexueValueError, match="scale must be a single number"):
        kexue.smooth_function(np.sin, "gaussian", [1.0, 2.0])
    with pytest.raises(kexue.KexueValueError, match="scale is -1"):
        kexue.smooth_function(np.sin, "gaussian", -1.0)
    with pytest.raises(kexue.KexueValueError, match=r"breakpoints\[1\] is nan"):
        kexue.smooth_function(np.sin, breakpoints=[0.0, NAN])
    with pytest.raises(kexue.KexueValueError, match="rtol must be positive"):
        kexue.smooth_function(np.sin, rtol=0.0)


class Column:
    """Numbers in another library's array, as a Series of pandas is one."""

    def __init__(self, values):
        self.values = np.asarray(values, dtype=np.float64)

    def __array__(self, dtype=None, copy=None):
        return self.values


def test_columns_are_looked_at():
    assert np.array_equal(kexue.smooth_relu([1.0, 2.0], scale=Column([1, 2])), kexue.smooth_relu([1, 2], scale=[1, 2]))
    with pytest.raises(kexue.KexueValueError, match=r"scale\[1\] is -2"):
        kexue.smooth_relu([1.0, 2.0], scale=Column([1, -2]))
    with pytest.raises(kexue.KexueValueError, match=r"low\[1\] is 3"):
        kexue.smooth_clip([1.0, 2.0], Column([0, 3]), 2.0)


@pytest.mark.parametrize("x", [1e8, -1e12])
def test_smooth_function_far_from_its_breakpoint_converges_with_heavy_tails(x):
    smooth = kexue.smooth_function(np.abs, "student_t2", 1.0, [0.0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", kexue.ConvergenceWarning)
        assert np.isclose(smooth(x), abs(x), rtol=1e-12)


@pytest.mark.parametrize(
    "f, kernel", [(np.exp, "logistic"), (lambda u: np.exp(2 * u), "logistic"), (lambda u: np.exp(u * u), "gaussian")]
)
def test_smooth_function_refuses_exponential_growth(f, kernel):
    with pytest.raises(kexue.KexueValueError, match="diverges"):
        kexue.smooth_function(f, kernel)(0.0)


def test_smooth_function_refuses_complex_values():
    with pytest.raises(TypeError, match=r"f\(x\) must hold real numbers"):
        kexue.smooth_function(lambda u: 1j * u)(0.0)


@pytest.mark.parametrize(
    ("kernel", "scale"),
    [("gaussian", 1e-3), ("gaussian", 1e-10), ("gaussian", 1e-300), ("logistic", 1e200), ("student_t2", 1e-60)],
)
def test_function_of_a_kernel_far_shorter_than_the_pieces(kernel, scale):
    # A kernel of less than an ulp of x took half of f: its parts began and ended at the same place.
    x = np.array([1.0, -3.0, 1e-5, 1e6])
    smoothed = kexue.smooth_function(np.abs, kernel, scale, [0.0])(x)
    np.testing.assert_allclose(smoothed, kexue.smooth_abs(x, kernel=kernel, scale=scale), rtol=1e-14)
