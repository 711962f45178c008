"""Clipping by norms, and the steps of smooth functions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

import kexue

MODES = pytest.mark.parametrize("mode", ["hard", "soft"])


def norm_of(*arrays):
    """In long double, whose range squares of doubles do not leave."""
    return np.sqrt(sum((np.asarray(array, dtype=np.longdouble) ** 2).sum() for array in arrays))


def factor_of(norm, bound, mode):
    if norm == 0 or bound == math.inf:
        return np.longdouble(1)
    return min(np.longdouble(1), bound / norm) if mode == "hard" else bound / (norm + bound)


# ---- values ----


def test_values_of_methods():
    np.testing.assert_allclose(kexue.clip_by_norm([3, 4], 1), [0.6, 0.8], rtol=1e-15)
    np.testing.assert_allclose(kexue.clip_by_norm([3, 4], 1, mode="soft"), [0.5, 4 / 6], rtol=1e-15)


@pytest.mark.parametrize(("mode", "value"), [("hard", 0.28120427068196224), ("soft", 0.2842915316490826)])
def test_descent_of_a_quartic(mode, value):
    """theta^4 from 10, with L1 = 0.5 and L0 = 16 / L1^2 = 64."""
    theta = np.array([10.0])
    for _ in range(100):
        theta -= kexue.clip_by_norm(4 * theta**3, 128, mode=mode) / 64
    assert theta[0] == pytest.approx(value, rel=1e-12)
    plain = 10.0
    for _ in range(20):
        plain -= 0.01 * 4 * plain**3
        if abs(plain) > 1e6:
            break
    assert abs(plain) > 1e6


def test_soft_clipping_is_the_best_step_of_a_smooth_function(rng):
    gradient = rng.normal(size=30) * 40
    step = kexue.smoothness_step_size(np.linalg.norm(gradient), 64, 0.5)
    np.testing.assert_allclose(kexue.clip_by_norm(gradient, 128, mode="soft") / 64, step * gradient, rtol=1e-14)


@MODES
@pytest.mark.parametrize("scale", [1e-320, 1e-200, 1e-30, 1, 1e30, 1e200, 1e307])
def test_no_size_is_too_large_or_too_small(mode, scale, rng):
    gradient = rng.normal(size=5003) * scale
    for bound in (0.5 * scale, 70 * scale, 1e3 * min(scale, 1e300), 1.0):
        clipped, norm = kexue.clip_by_norm(gradient, bound, mode=mode, return_norm=True)
        exact = norm_of(gradient)
        if exact < np.finfo(float).max:
            assert abs(norm - exact) <= max(4e-16 * exact, 5e-324)
        expected = gradient * factor_of(exact, np.longdouble(bound), mode)
        np.testing.assert_allclose(clipped, expected.astype(float), rtol=1e-14, atol=5e-324)
        assert scale < 1e-300 or bound > exact or np.linalg.norm(clipped / scale) <= bound / scale * (1 + 1e-14)


def test_norm_beyond_the_format_clips_all_the_same():
    gradient = np.full(100, 1e308)
    clipped, norm = kexue.clip_by_norm(gradient, 1.0, return_norm=True)
    assert norm == math.inf
    np.testing.assert_allclose(clipped, np.full(100, 0.1), rtol=1e-15)
    clipped, norm = kexue.clip_global_norm([gradient, gradient], 1e308, mode="soft")
    assert norm == math.inf
    factor = 1e308 / (np.sqrt(np.longdouble(200)) * 1e308 + 1e308)
    np.testing.assert_allclose(clipped[1], np.full(100, float(factor * 1e308)), rtol=1e-15)


def test_numbers_of_all_sizes_together():
    gradients = [np.full(3000, 1e-300), np.full(5, 1e300), np.ones(4000), np.float32([1e-40, 3e38])]
    for chosen in ([0, 1, 2, 3], [0, 2, 3], [0, 3], [0]):
        parts = [gradients[i] for i in chosen]
        assert kexue.clip_global_norm(parts, math.inf)[1] == pytest.approx(float(norm_of(*parts)), rel=1e-15)
    for size in (1e100, 1e140, 1e-130):  # whose squares are ordinary, beside some that are not
        parts = [np.full(3000, size), np.full(5, 1e150), np.full(4000, 1e-150)]
        assert kexue.clip_global_norm(parts, math.inf)[1] == pytest.approx(float(norm_of(*parts)), rel=1e-15)
    joined = np.concatenate(gradients)
    assert kexue.clip_by_norm(joined, 1, return_norm=True)[1] == pytest.approx(float(norm_of(joined)), rel=1e-15)


# ---- properties ----

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=300)
@given(
    st.lists(
        npst.arrays(np.float64, npst.array_shapes(max_dims=3, max_side=6, min_side=0), elements=NUMBERS), max_size=5
    ),
    st.floats(min_value=0, allow_nan=False),
    st.sampled_from(["hard", "soft"]),
)
def test_global_norm_is_bounded_and_the_direction_stays(gradients, bound, mode):
    before = [gradient.copy() for gradient in gradients]
    clipped, norm = kexue.clip_global_norm(gradients, bound, mode=mode)
    exact = norm_of(*gradients, [0.0])
    if exact <= np.finfo(float).max:
        assert abs(norm - exact) <= max(1e-15 * exact, 5e-324)
    factor = factor_of(exact, np.longdouble(bound), mode)
    for result, gradient, copy in zip(clipped, gradients, before, strict=True):
        np.testing.assert_array_equal(gradient, copy)
        np.testing.assert_allclose(result, (gradient * factor).astype(float), rtol=1e-14, atol=1e-323)
    assert norm_of(*clipped, [0.0]) <= np.longdouble(bound) * (1 + 1e-14) + 1e-320


@settings(max_examples=300)
@given(st.floats(1e-100, 1e100), st.floats(1e-100, 1e100))
def test_soft_lies_between_half_of_hard_and_hard(size, bound):
    hard, soft = (kexue.clip_by_norm([size], bound, mode=mode)[0] for mode in ("hard", "soft"))
    assert hard / 2 * (1 - 1e-15) <= soft <= hard * (1 + 1e-15)


def test_soft_is_half_of_hard_at_the_bound():
    assert kexue.clip_by_norm([2.0], 2, mode="soft") == [1.0]
    assert kexue.clip_by_norm([2.0], 2) == [2.0]


@MODES
def test_rows_are_clipped_one_by_one(mode, dtype, rng):
    gradients = (rng.normal(size=(6, 5, 3)) * 10.0 ** rng.integers(-3, 3, size=(6, 1, 1))).astype(dtype)
    for axis in (0, -1, (1, 2), (2, 0), [0, 1, 2], ()):
        axes = tuple(a % 3 for a in np.atleast_1d(np.array(axis, dtype=int)))
        clipped, norms = kexue.clip_by_norm(gradients, 1.5, mode=mode, axis=axis, return_norm=True)
        exact = np.sqrt((gradients.astype(float) ** 2).sum(axis=axes, keepdims=True))
        np.testing.assert_allclose(norms, exact.squeeze(axes), rtol=1e-14)
        factors = np.minimum(1, 1.5 / exact) if mode == "hard" else 1.5 / (exact + 1.5)
        np.testing.assert_allclose(clipped, gradients * factors, rtol=1e-14 if dtype == np.float64 else 1e-7)
        assert clipped.dtype == dtype
        assert norms.dtype == np.float64


def test_same_bits_for_any_workers(workers, dtype, rng):
    gradients = [rng.normal(size=n).astype(dtype) for n in (300_000, 70_000, 3)] + [rng.normal(size=(1000, 300))]
    expected, norm = kexue.clip_global_norm(gradients, 2, workers=1)
    clipped, again = kexue.clip_global_norm(gradients, 2, workers=workers)
    assert norm == again
    for result, one in zip(clipped, expected, strict=True):
        assert result.tobytes() == one.tobytes()
    rows = kexue.clip_by_norm(gradients[-1], 2, axis=1, workers=workers)
    assert rows.tobytes() == kexue.clip_by_norm(gradients[-1], 2, axis=1, workers=1).tobytes()


def test_layouts(any_layout, plain, untouched, dtype, rng):
    gradient = any_layout(rng.normal(size=(5, 7)).astype(dtype))
    with untouched(gradient):
        clipped, norm = kexue.clip_by_norm(gradient, 0.5, return_norm=True)
        (both, other), total = kexue.clip_global_norm([gradient, [1.0]], 0.5)
        rows = kexue.clip_by_norm(gradient, 0.5, axis=0)
    copy = plain(gradient)
    np.testing.assert_allclose(norm, float(norm_of(copy)), rtol=1e-15)
    factor = float(factor_of(norm_of(copy), 0.5, "hard"))
    np.testing.assert_array_equal(clipped, (copy * np.float64(factor)).astype(copy.dtype))
    np.testing.assert_allclose(both, copy * (0.5 / total), rtol=1e-6)
    np.testing.assert_array_equal(rows, kexue.clip_by_norm(copy, 0.5, axis=0))
    assert clipped.dtype == both.dtype == copy.dtype
    assert other.dtype == np.float64


# ---- in place ----


def test_in_place(layout, dtype, rng):
    gradients = [layout(rng.normal(size=(4, 6)).astype(dtype)) for _ in range(3)]
    if not gradients[0].flags.writeable:
        with pytest.raises(kexue.KexueValueError, match=r"out\[0\] is read-only"):
            kexue.clip_global_norm(gradients, 1, out=gradients)
        return
    if not gradients[0].dtype.isnative:
        with pytest.raises(TypeError, match=r"out\[0\] must be an array of dtype"):
            kexue.clip_global_norm(gradients, 1, out=gradients)
        return
    expected, norm = kexue.clip_global_norm([np.array(gradient) for gradient in gradients], 1)
    clipped, again = kexue.clip_global_norm(gradients, 1, out=gradients)
    assert norm == pytest.approx(again, rel=1e-15)
    for result, gradient, one in zip(clipped, gradients, expected, strict=True):
        assert result is gradient
        np.testing.assert_allclose(gradient, one, rtol=1e-6)
    assert kexue.clip_by_norm(gradients[0], 1e-3, axis=1, out=gradients[0]) is gradients[0]
    np.testing.assert_allclose(np.linalg.norm(gradients[0], axis=1), 1e-3, rtol=1e-6)


def test_unclipped_arrays_are_not_written(dtype, rng):
    gradient = rng.normal(size=10).astype(dtype)
    before = gradient.copy()
    kexue.clip_global_norm([gradient], math.inf, out=[gradient])
    kexue.clip_by_norm(gradient, 1e6, out=gradient)
    np.testing.assert_array_equal(gradient, before)
    assert kexue.clip_by_norm(gradient, math.inf, mode="soft") is not gradient


def test_arrays_that_overlap(rng):
    """Tied parameters count twice in the norm, and are scaled once."""
    buffer = rng.normal(size=12)
    gradients = [buffer[:8], buffer[4:], buffer[2:3]]
    copies = [gradient.copy() for gradient in gradients]
    expected, norm = kexue.clip_global_norm(copies, 1)
    clipped, again = kexue.clip_global_norm(gradients, 1, out=gradients)
    assert norm == again
    np.testing.assert_array_equal(clipped[1], expected[1])
    np.testing.assert_array_equal(buffer[:4], expected[0][:4])

    tied = rng.normal(size=9)
    once = kexue.clip_global_norm([tied.copy(), tied.copy()], 1)[0][0]
    kexue.clip_global_norm([tied, tied], 1, out=[tied, tied])
    np.testing.assert_array_equal(tied, once)

    first, second = rng.normal(size=(2, 5))
    swapped, norm = kexue.clip_global_norm([first.copy(), second.copy()], 1)
    kexue.clip_global_norm([first, second], 1, out=(place for place in (second, first)))
    np.testing.assert_array_equal([second, first], swapped)

    shifted = rng.normal(size=20)
    expected = kexue.clip_by_norm(shifted[:-1].copy(), 1)
    np.testing.assert_array_equal(kexue.clip_by_norm(shifted[:-1], 1, out=shifted[1:]), expected)
    reversed_ = rng.normal(size=20)
    expected = kexue.clip_by_norm(reversed_.copy(), 1)
    np.testing.assert_array_equal(kexue.clip_by_norm(reversed_, 1, out=reversed_[::-1]), expected)


# ---- what is not finite ----


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite(bad, dtype, rng):
    gradients = [rng.normal(size=(3, 4)).astype(dtype) for _ in range(3)]
    gradients[1][2, 1] = bad
    copies = [gradient.copy() for gradient in gradients]
    with pytest.raises(kexue.KexueValueError, match=r"gradients\[1\]\[2, 1\] is -?(nan|inf)"):
        kexue.clip_global_norm(gradients, 1, out=gradients)
    with pytest.raises(kexue.KexueValueError, match=r"gradient\[2, 1\] is -?(nan|inf)"):
        kexue.clip_by_norm(gradients[1], 1, axis=1, out=gradients[1])
    for gradient, copy in zip(gradients, copies, strict=True):
        np.testing.assert_array_equal(gradient, copy)
    clipped, norm = kexue.clip_global_norm(gradients, 1, nonfinite="skip")
    assert not np.isfinite(norm)
    assert not any(result.any() for result in clipped)
    rows, norms = kexue.clip_by_norm(gradients[1], 1, axis=1, nonfinite="skip", return_norm=True)
    np.testing.assert_array_equal(np.isfinite(norms), [True, True, False])
    np.testing.assert_array_equal(rows[:2], kexue.clip_by_norm(copies[1][:2], 1, axis=1))
    np.testing.assert_array_equal(rows[2], 0)


# ---- edges and errors ----


@MODES
def test_nothing_to_clip(mode):
    assert kexue.clip_global_norm([], 1, mode=mode) == ([], 0.0)
    clipped, norm = kexue.clip_by_norm(np.zeros((0, 3)), 1, mode=mode, return_norm=True)
    assert clipped.shape == (0, 3)
    assert norm == 0
    np.testing.assert_array_equal(kexue.clip_by_norm(np.zeros(3), 0, mode=mode), 0)
    np.testing.assert_array_equal(kexue.clip_by_norm([1.0, 2.0], 0, mode=mode), 0)
    assert kexue.clip_by_norm(-5.0, 2, mode="hard") == -2
    clipped, norms = kexue.clip_by_norm(np.zeros((2, 0)), 1, axis=1, return_norm=True)
    np.testing.assert_array_equal(norms, [0, 0])


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        (([1.0], -1), {}, kexue.KexueValueError, "max_norm must not be negative, got -1.0"),
        (([1.0], math.nan), {}, kexue.KexueValueError, "max_norm must not be negative, got nan"),
        (([1.0], [1, 2]), {}, kexue.KexueValueError, "max_norm must have 0 dimensions"),
        (([1.0], 1), {"mode": "firm"}, kexue.KexueValueError, "mode must be"),
        (([1.0], 1), {"mode": np.ones(2)}, kexue.KexueValueError, "mode must be"),
        (([1.0], 1), {"nonfinite": "ignore"}, kexue.KexueValueError, "nonfinite must be"),
        (([1.0], 1), {"nonfinite": np.ones(2)}, kexue.KexueValueError, "nonfinite must be"),
        (([1.0], 1), {"axis": 1}, kexue.KexueValueError, "axis 1 is out of bounds for gradient"),
        (([1.0], 1), {"axis": (0, -1)}, kexue.KexueValueError, "axis must not name an axis twice"),
        (([1.0], 1), {"axis": 0.5}, TypeError, "axis must be an integer"),
        (([1.0], 1), {"axis": np.array(0.5)}, TypeError, "axis must be an integer"),
        (([1.0], 1), {"out": [0.0]}, TypeError, "out must be an array of dtype float64, not list"),
        (([1.0], 1), {"out": np.zeros(2)}, kexue.KexueValueError, "out has shape"),
        (([1.0], 1), {"out": np.zeros(1, "f")}, TypeError, "out must be an array of dtype float64, not dtype float32"),
        ((["a"], 1), {}, TypeError, "gradient must hold real numbers"),
        (([1j], 1), {}, TypeError, "gradient must hold real numbers"),
    ],
)
def test_bad_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        kexue.clip_by_norm(*arguments, **options)


def test_bad_lists():
    with pytest.raises(TypeError, match="gradients must be a list of arrays, not ndarray"):
        kexue.clip_global_norm(np.ones(3), 1)
    for wrong in (3, {"w": np.ones(3)}, "w", b"w"):
        with pytest.raises(TypeError, match=f"gradients must be a list of arrays, not {type(wrong).__name__}"):
            kexue.clip_global_norm(wrong, 1)
    with pytest.raises(TypeError, match=r"gradients\[1\] must hold real numbers"):
        kexue.clip_global_norm([[1.0], ["x"]], 1)
    with pytest.raises(TypeError, match="out must be a list of arrays"):
        kexue.clip_global_norm([[1.0]], 1, out=np.ones((1, 1)))
    with pytest.raises(kexue.KexueValueError, match="out has 2 arrays, but gradients has 1"):
        kexue.clip_global_norm([[1.0]], 1, out=[np.ones(1), np.ones(1)])
    assert kexue.clip_global_norm((np.ones(n) for n in (1, 3)), 1)[1] == 2


# ---- smoothness ----


@settings(max_examples=200)
@given(st.floats(0, 1e3), st.floats(1e-3, 1e3), st.floats(0, 1e3))
def test_best_step_of_the_bound(norm, first, second):
    best = kexue.smoothness_step_size(norm, first, second)
    least = kexue.descent_bound(norm, best, first, second)
    assert least == pytest.approx(-best * norm**2 / 2, rel=1e-12)
    for step in (0.0, 0.5 * best, 0.99 * best, 1.01 * best, 2 * best):
        assert kexue.descent_bound(norm, step, first, second) >= least * (1 + 1e-12)
    assert kexue.descent_bound(norm, 2 * best, first, second) == pytest.approx(0, abs=1e-12 * norm**2 * best)


def test_descent_of_quadratics_keeps_to_the_bound(rng):
    """L-smooth functions: f(theta - eta g) <= f + bound, with equality along the steepest eigenvector."""
    for _ in range(2000):
        eigenvalues = rng.uniform(-2, 3, size=4)
        theta, step = rng.normal(size=4), rng.uniform(0, 1)
        gradient = eigenvalues * theta
        after = theta - step * gradient
        change = (eigenvalues * after**2 / 2).sum() - (eigenvalues * theta**2 / 2).sum()
        bound = kexue.descent_bound(np.linalg.norm(gradient), step, np.abs(eigenvalues).max())
        assert change <= bound + 1e-12
    assert kexue.descent_bound(3.0, 0.2, 3.0) == pytest.approx(1.5 * (1 - 0.6) ** 2 - 1.5, rel=1e-13)


def test_smoothness_of_the_quartic():
    """12 theta^2 <= L0 + L1 4 |theta|^3 for all theta needs L0 >= 16 / L1^2: equal at theta = 2 / L1."""
    theta = np.linspace(0, 20, 2001)
    for second in (0.25, 0.5, 2.0):
        steps = kexue.smoothness_step_size(4 * theta**3, 16 / second**2, second)
        assert (12 * theta**2 * steps <= 1 + 1e-12).all()
        assert 12 * (2 / second) ** 2 * kexue.smoothness_step_size(4 * (2 / second) ** 3, 16 / second**2, second) == (
            pytest.approx(1, rel=1e-14)
        )


def test_smoothness_ends():
    assert kexue.smoothness_step_size(3.0, 0.0, 0.0) == math.inf
    assert kexue.smoothness_step_size(1e300, 1.0, 1e300) == 0
    assert kexue.descent_bound(1e300, 1.0, 0.0, 0.0) == -math.inf
    assert kexue.descent_bound(1e300, 0.0, 1e300, 1e300) == 0
    assert kexue.descent_bound(np.ones((3, 1), "f"), np.ones(2), 1).shape == (3, 2)
    for name in ("gradient_norm", "L0", "L1"):
        arguments = {"gradient_norm": 1.0, "L0": 1.0, "L1": 1.0} | {name: -1.0}
        with pytest.raises(kexue.KexueValueError, match=f"{name} is negative"):
            kexue.smoothness_step_size(**arguments)
        with pytest.raises(kexue.KexueValueError, match=f"{name} is nan"):
            kexue.descent_bound(step_size=1.0, **(arguments | {name: math.nan}))
    with pytest.raises(
        kexue.KexueValueError, match="gradient_norm, step_size, L0 and L1 must have shapes that broadcast"
    ):
        kexue.descent_bound([1.0, 2.0], [1.0, 2.0, 3.0], 1.0)


def test_same_as_torch(dtype, rng):
    torch = pytest.importorskip("torch")
    gradients = [rng.normal(size=shape).astype(dtype) for shape in [(30, 20), (7,), (3, 4, 5)]]
    parameters = [
        torch.nn.Parameter(torch.zeros(gradient.shape, dtype=torch.from_numpy(gradient).dtype))
        for gradient in gradients
    ]
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = torch.from_numpy(gradient.copy())
    total = torch.nn.utils.clip_grad_norm_(parameters, 3.0)
    clipped, norm = kexue.clip_global_norm(gradients, 3.0)
    assert norm == pytest.approx(float(total), rel=1e-6)
    for parameter, result in zip(parameters, clipped, strict=True):
        np.testing.assert_allclose(result, parameter.grad.numpy(), rtol=2e-6)
