"""Layer and RMS normalisation, their gradients, and the NTK parameterisation."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kexue
from reference import layer_norm as reference

X, GAMMA, BETA, GRAD = [1, 2, -1, 0.5], [1, 0.5, 2, 1], [0, 0.1, 0, 0], [0.3, -0.2, 0.1, 0.5]


def eps_of(dtype):
    return float(np.finfo(dtype).eps)


def problem(rng, rows, n, dtype):
    x, grad = rng.normal(size=(2, rows, n)).astype(dtype)
    gamma, beta = rng.normal(size=(2, n)).astype(dtype)
    return x, grad, gamma, beta


def assert_close(result, expected, size, rounds, dtype):
    """Within `rounds` eps of a size."""
    assert result.dtype == dtype
    assert result.shape == expected.shape
    error = np.abs(result.astype(np.longdouble) - expected)
    worst = float((error / (size * eps_of(dtype))).max(initial=0))
    assert worst <= rounds, worst


def vjp_sizes(x, grad, gamma, eps, center):
    """What the accuracy of gradients is measured by."""
    h, deviation = reference.normalized(x, eps, center)
    d = np.abs(np.asarray(gamma, dtype=np.longdouble) * grad)
    along = np.abs((np.asarray(gamma, dtype=np.longdouble) * grad * h).mean(axis=-1, keepdims=True))
    by_x = (d + d.mean(axis=-1, keepdims=True) + np.abs(h) * along).max(axis=-1, keepdims=True) / deviation
    rows = tuple(range(h.ndim - 1))
    return by_x, np.abs(grad * h).sum(axis=rows), np.abs(grad.astype(np.longdouble)).sum(axis=rows)


# ---- values ----


def test_values_of_methods():
    np.testing.assert_allclose(
        kexue.layer_norm(X, GAMMA, BETA),
        [0.3464086835065456, 0.7350825864286669, -3.0022085903900617, -0.11546956116884853],
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        kexue.rms_norm(X, GAMMA),
        [0.7999974400122879, 0.7999974400122879, -1.5999948800245758, 0.39999872000614395],
        rtol=1e-14,
    )
    np.testing.assert_allclose(
        kexue.layer_norm_vjp(X, GRAD, GAMMA)[0],
        [0.09976544072227747, -0.18844727762878882, -0.15518996299129934, 0.24387179989781066],
        rtol=1e-13,
    )
    np.testing.assert_allclose(
        kexue.rms_norm_vjp(X, GRAD, GAMMA)[0],
        [0.2207994163222118, -0.11839937536417788, 0.1791993036839321, 0.3903988121654067],
        rtol=1e-13,
    )


LENGTHS = [1, 2, 3, 7, 8, 15, 16, 17, 63, 64, 65, 129, 512, 513, 768, 1030, 5000]


@pytest.mark.parametrize("n", LENGTHS)
def test_normalisation_is_accurate(n, dtype, rng):
    x, _, gamma, beta = problem(rng, 6, n, dtype)
    bound = 4 * (1 + np.log2(n))
    for shift in (0, 3, 100, -5000):
        shifted = (x + dtype.type(shift)).astype(dtype)
        for g, b in ((gamma, beta), (gamma, None), (None, beta), (None, None)):
            weight, bias = np.longdouble(1 if g is None else g), np.longdouble(0 if b is None else b)
            expected = reference.layer_norm(shifted, weight, bias, dtype.type(1e-5))
            h = reference.layer_norm(shifted, eps=dtype.type(1e-5))
            size = np.abs(weight) * (1 + np.abs(h)) + np.abs(bias)
            assert_close(kexue.layer_norm(shifted, g, b), expected, size, bound, dtype)
            expected = reference.rms_norm(shifted, weight, dtype.type(1e-5))
            assert_close(kexue.rms_norm(shifted, g), expected, np.abs(expected) + 1e-300, bound, dtype)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("rows", [1, 5, 300])
def test_gradients_are_accurate(n, rows, dtype, rng):
    if rows * n > 300_000:
        n = 999
    x, grad, gamma, _ = problem(rng, rows, n, dtype)
    for shift, weight in ((0, gamma), (100, gamma), (0, None)):
        shifted = (x + dtype.type(shift)).astype(dtype)
        used = np.longdouble(1 if weight is None else weight)
        eps = dtype.type(1e-5)
        sizes = vjp_sizes(shifted, grad, used, eps, True)
        results = kexue.layer_norm_vjp(shifted, grad, weight)
        expected = reference.layer_norm_vjp(shifted, grad, used, eps)
        for result, wanted, size, rounds in zip(results, expected, sizes, (32, 64, 64), strict=True):
            # A sum of terms g h inherits the errors of h, which are measured by 1 and not by h.
            size = size + np.abs(grad).sum(axis=0) / 64 if rounds == 64 else size
            assert_close(result, wanted, size, rounds, dtype)
        sizes = vjp_sizes(shifted, grad, used, eps, False)
        results = kexue.rms_norm_vjp(shifted, grad, weight)
        expected = reference.rms_norm_vjp(shifted, grad, used, eps)
        for result, wanted, size, rounds in zip(results, expected, sizes[:2], (32, 64), strict=True):
            assert_close(result, wanted, size, rounds, dtype)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_gradients_by_finite_differences(name, rng):
    x, grad, gamma, beta = problem(rng, 3, 7, np.float64)
    weights = [gamma, beta] if name == "layer_norm" else [gamma]
    results = getattr(kexue, f"{name}_vjp")(x, grad, gamma, eps=0.1)
    arguments = [x, *weights]
    for place, result in enumerate(results):
        for index in np.ndindex(arguments[place].shape):
            sides = []
            for step in (2e-5, -2e-5):
                moved = [array.astype(np.longdouble) for array in arguments]
                moved[place][index] += step
                sides.append((grad * getattr(reference, name)(*moved, eps=0.1)).sum())
            assert abs(result[index] - float(sides[0] - sides[1]) / 4e-5) < 1e-8


@pytest.mark.parametrize("n", [5, 64, 768])
def test_torch(n, dtype, rng):
    torch = pytest.importorskip("torch")
    functional = torch.nn.functional
    x, grad, gamma, beta = problem(rng, 40, n, dtype)
    tolerance = 1e-6 if dtype == np.float32 else 1e-12
    tensors = [torch.from_numpy(array).requires_grad_() for array in (x, gamma, beta)]
    for ours, theirs, gradients in (
        (
            kexue.layer_norm(x, gamma, beta),
            functional.layer_norm(tensors[0], (n,), tensors[1], tensors[2], 1e-5),
            kexue.layer_norm_vjp(x, grad, gamma),
        ),
        (
            kexue.rms_norm(x, gamma),
            functional.rms_norm(tensors[0], (n,), tensors[1], 1e-5),
            kexue.rms_norm_vjp(x, grad, gamma),
        ),
    ):
        wanted = theirs.detach().numpy()
        assert np.abs(ours - wanted).max() <= tolerance * max(1, np.abs(wanted).max())
        expected = torch.autograd.grad(theirs, tensors[: len(gradients)], torch.from_numpy(grad))
        for result, gradient in zip(gradients, expected, strict=True):
            # torch adds float32 terms in float32.
            assert np.abs(result - gradient.numpy()).max() <= 4 * tolerance * max(1, float(gradient.abs().max()))


# ---- what normalisation is for ----


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(2, 200),
    seed=st.integers(0, 10**6),
    shift=st.floats(-1e6, 1e6),
    exponent=st.integers(-900, 900),
)
def test_invariant_to_shift_and_scale(n, seed, shift, exponent):
    x = np.random.default_rng(seed).normal(size=n)
    expected = kexue.layer_norm(x, eps=0)
    np.testing.assert_allclose(kexue.layer_norm(np.ldexp(x, exponent), eps=0), expected, rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(kexue.layer_norm(x + shift, eps=0), expected, atol=1e-15 * (n + abs(shift)) * 20)
    np.testing.assert_allclose(kexue.rms_norm(np.ldexp(x, exponent), eps=0), kexue.rms_norm(x, eps=0), rtol=1e-13)
    assert abs(expected.mean()) < 1e-14
    assert abs((expected**2).mean() - 1) < 1e-13
    assert abs((kexue.rms_norm(x, eps=0) ** 2).mean() - 1) < 1e-13


def test_gradient_is_orthogonal(dtype, rng):
    x, grad, gamma, _ = problem(rng, 5, 333, dtype)
    by_x = kexue.layer_norm_vjp(x, grad, gamma, eps=0)[0].astype(float)
    tolerance = 333 * 20 * eps_of(dtype)
    assert np.abs(by_x.sum(axis=1)).max() < tolerance
    assert np.abs((by_x * x).sum(axis=1)).max() < tolerance


# ---- extremes ----

EXTREMES = {"float32": (1e30, 3e38, 1e-30, 1e-42), "float64": (1e200, 1e308, 1e-200, 1e-300, 3e-320)}


@pytest.mark.parametrize("n", [6, 97, 2000])
def test_any_magnitude(n, dtype, rng):
    for size in EXTREMES[dtype.name]:
        x = (rng.uniform(-1, 1, size=(3, n)) * size).astype(dtype)
        grad = rng.normal(size=x.shape).astype(dtype)
        with np.errstate(all="raise", under="ignore"):
            h, rms = kexue.layer_norm(x, eps=0), kexue.rms_norm(x, eps=0)
        assert_close(h, reference.layer_norm(x, eps=0), 2, 20, dtype)
        assert_close(rms, reference.rms_norm(x, eps=0), 2, 20, dtype)
        # With eps, small rows are next to 0 and large ones do not notice it.
        assert_close(kexue.layer_norm(x), reference.layer_norm(x, eps=dtype.type(1e-5)), 2, 20, dtype)
        if 1e-250 < size < 1e250 and (dtype == np.float64 or size > 1e-35):
            result = kexue.layer_norm_vjp(x, grad, eps=0)[0]
            expected = reference.layer_norm_vjp(x, grad, eps=0)[0]
            assert_close(result, expected, np.abs(expected).max() * 4, 32, dtype)


def test_a_mean_beyond_the_deviation(dtype, rng):
    """Numbers next to each other: their differences are exact, and so are digits of the result."""
    top = 2.0 ** (20 if dtype == np.float32 else 48)
    for n in (5, 100, 3001):
        steps = rng.integers(-2, 3, size=(4, n)).astype(dtype)
        steps[:, 0] = 3
        x = (dtype.type(top) + steps).astype(dtype)
        h = reference.layer_norm(steps, eps=0)
        assert_close(kexue.layer_norm(x, eps=0), h, 1 + np.abs(h), 8, dtype)
        grad = rng.normal(size=x.shape).astype(dtype)
        result, expected = kexue.layer_norm_vjp(x, grad, eps=0)[0], reference.layer_norm_vjp(steps, grad, eps=0)[0]
        assert_close(result, expected, np.abs(expected).max() + 1, 64, dtype)


def test_one_entry_off(dtype):
    """A single unit of the last place in a long row."""
    x = np.full((1, 4000), 0.1, dtype=dtype)
    x[0, 17] = np.nextafter(x[0, 17], dtype.type(1))
    offsets = (x - dtype.type(0.1)).astype(np.longdouble)
    h = reference.layer_norm(offsets, eps=0)
    assert_close(kexue.layer_norm(x, eps=0), h, 1 + np.abs(h), 8, dtype)


def test_a_bad_guess_of_the_mean(dtype, rng):
    """Entries that differ from the rest exactly where the first guess looks."""
    for n in (64, 200, 1024):
        x = rng.normal(size=(3, n)).astype(dtype)
        for quarter in range(4):
            x[:, quarter * (n // 4) : quarter * (n // 4) + 16] += dtype.type(300)
        h = reference.layer_norm(x, eps=dtype.type(1e-5))
        assert_close(kexue.layer_norm(x), h, 1 + np.abs(h), 16, dtype)


@pytest.mark.parametrize("value", [0, 0.1, -7, 1e30])
@pytest.mark.parametrize("n", [1, 5, 768])
def test_constant_rows(value, n, dtype):
    x, grad = np.full((2, n), value, dtype=dtype), np.ones((2, n), dtype=dtype)
    np.testing.assert_array_equal(kexue.layer_norm(x, None, np.full(n, 0.5, dtype=dtype)), 0.5)
    by_x, by_gamma, by_beta = kexue.layer_norm_vjp(x, grad)
    np.testing.assert_array_equal(by_x, 0)
    np.testing.assert_array_equal(by_gamma, 0)
    np.testing.assert_array_equal(by_beta, 2)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(kexue.layer_norm(x, eps=0)).all()
    assert np.isnan(kexue.layer_norm_vjp(x, grad, eps=0)[0]).all()
    zeros = np.zeros((2, n), dtype=dtype)
    np.testing.assert_array_equal(kexue.rms_norm(zeros), 0)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        assert np.isnan(kexue.rms_norm(zeros, eps=0)).all()


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_rows_that_are_not_finite(name, dtype, rng):
    function = getattr(kexue, name)
    x, grad, gamma, _ = problem(rng, 9, 40, dtype)
    expected = function(x, gamma)
    gradients = getattr(kexue, f"{name}_vjp")(x, grad, gamma)[0]
    x[4, 17] = np.nan
    others = np.arange(9) != 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = function(x, gamma)
    assert np.isnan(result[4]).all()
    np.testing.assert_array_equal(result[others], expected[others])
    by_x, by_gamma = getattr(kexue, f"{name}_vjp")(x, grad, gamma)[:2]
    assert np.isnan(by_x[4]).all()
    assert np.isnan(by_gamma).all()
    np.testing.assert_array_equal(by_x[others], gradients[others])
    x[4, 17] = -np.inf
    with pytest.warns(RuntimeWarning, match="invalid value") as seen:
        result = function(x, gamma)
    assert len(seen) == 1
    assert np.isnan(result[4]).all()
    np.testing.assert_array_equal(result[others], expected[others])


# ---- arrays ----


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_layouts(name, any_layout, plain, untouched, dtype, rng):
    x, grad, gamma, _ = problem(rng, 12, 33, dtype)
    x, grad = any_layout(x), any_layout(grad)
    gamma = gamma[: x.shape[1]]
    with untouched(x, grad, gamma), np.errstate(invalid="ignore"):
        results = [getattr(kexue, name)(x, gamma), *getattr(kexue, f"{name}_vjp")(x, grad, gamma)]
        expected = [getattr(kexue, name)(plain(x), gamma), *getattr(kexue, f"{name}_vjp")(plain(x), plain(grad), gamma)]
    for result, wanted in zip(results, expected, strict=True):
        assert result.dtype == wanted.dtype
        np.testing.assert_allclose(result, wanted, rtol=20 * eps_of(dtype), atol=60 * eps_of(dtype))


@pytest.mark.parametrize("axis", [0, 1, 2, -2])
def test_axis(axis, dtype, rng):
    x, grad = rng.normal(size=(2, 4, 5, 6)).astype(dtype)
    gamma, beta = rng.normal(size=(2, x.shape[axis])).astype(dtype)
    last = [np.ascontiguousarray(np.moveaxis(array, axis, -1)) for array in (x, grad)]
    tolerance = {"rtol": 20 * eps_of(dtype), "atol": 60 * eps_of(dtype)}
    expected = np.moveaxis(kexue.layer_norm(last[0], gamma, beta), -1, axis)
    np.testing.assert_allclose(kexue.layer_norm(x, gamma, beta, axis=axis), expected, **tolerance)
    results, wanted = kexue.layer_norm_vjp(x, grad, gamma, axis=axis), kexue.layer_norm_vjp(*last, gamma)
    np.testing.assert_allclose(results[0], np.moveaxis(wanted[0], -1, axis), **tolerance)
    for result, expected in zip(results[1:], wanted[1:], strict=True):
        np.testing.assert_allclose(result, expected, **tolerance)


@pytest.mark.parametrize("shape", [(3, 1, 8), (4, 8), (3, 4, 8), (1, 8)], ids=str)
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_weights_for_each_sample(name, shape, dtype, rng):
    x, grad = rng.normal(size=(2, 3, 4, 8)).astype(dtype)
    gamma = rng.normal(size=shape).astype(dtype)
    tolerance = {"rtol": 20 * eps_of(dtype), "atol": 60 * eps_of(dtype)}
    expected = getattr(reference, name)(x, gamma, eps=0.25)
    np.testing.assert_allclose(getattr(kexue, name)(x, gamma, eps=0.25), expected.astype(dtype), **tolerance)
    full = np.broadcast_to(gamma, x.shape)
    results = getattr(kexue, f"{name}_vjp")(x, grad, gamma, eps=0.25)
    wanted = [np.empty_like(x), np.empty(x.shape, np.longdouble), np.empty(x.shape, np.longdouble)]
    for index in np.ndindex(x.shape[:-1]):
        parts = getattr(reference, f"{name}_vjp")(x[index], grad[index], full[index], eps=0.25)
        for array, part in zip(wanted, parts, strict=False):
            array[index] = part
    np.testing.assert_allclose(results[0], wanted[0], **tolerance)
    axes = tuple(i for i in range(2) if (1, *shape)[-3:][i] == 1)
    for result, array in zip(results[1:], wanted[1:], strict=False):
        summed = array.sum(axis=axes).reshape(shape).astype(dtype)
        assert result.shape == shape
        np.testing.assert_allclose(result, summed, **tolerance)


def test_samples_weights_along_another_axis(rng):
    x, grad = rng.normal(size=(2, 3, 8, 4))
    gamma = rng.normal(size=(3, 1, 8))
    results = kexue.layer_norm_vjp(x, grad, gamma, axis=1)
    wanted = kexue.layer_norm_vjp(x.swapaxes(1, 2), grad.swapaxes(1, 2), gamma)
    np.testing.assert_allclose(results[0], wanted[0].swapaxes(1, 2), rtol=1e-13)
    np.testing.assert_allclose(results[1], wanted[1], rtol=1e-13)


def test_out(dtype, rng):
    x, _, gamma, beta = problem(rng, 5, 21, dtype)
    expected = kexue.layer_norm(x, gamma, beta)
    out = np.empty_like(x)
    assert kexue.layer_norm(x, gamma, beta, out=out) is out
    np.testing.assert_array_equal(out, expected)
    kexue.layer_norm(x, gamma, beta, out=x)
    np.testing.assert_array_equal(x, expected)
    expected = kexue.rms_norm(x, gamma)
    assert kexue.rms_norm(x, gamma, out=x) is x
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (0,), (2, 0, 4)], ids=str)
def test_nothing(shape, dtype):
    x = np.zeros(shape, dtype=dtype)
    for result in (kexue.layer_norm(x), kexue.rms_norm(x)):
        assert result.shape == shape
        assert result.dtype == dtype
    by_x, by_gamma, by_beta = kexue.layer_norm_vjp(x, x)
    assert by_x.shape == shape
    for result in (by_gamma, by_beta, kexue.rms_norm_vjp(x, x)[1]):
        np.testing.assert_array_equal(result, np.zeros(shape[-1], dtype=dtype))


@pytest.mark.parametrize(
    ("given_dtype", "result_dtype"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.int32, np.float64), (bool, np.float64)],
)
def test_dtypes(given_dtype, result_dtype):
    x = np.array([[1, 0, 1, 1], [0, 0, 1, 1]], dtype=given_dtype)
    expected = kexue.layer_norm(x.astype(result_dtype))
    np.testing.assert_array_equal(kexue.layer_norm(x), expected)
    assert kexue.layer_norm(x).dtype == result_dtype
    assert all(part.dtype == result_dtype for part in kexue.layer_norm_vjp(x, x))
    assert kexue.layer_norm(x, np.ones(4)).dtype == np.float64
    assert kexue.rms_norm(x, [1, 1, 1, 1]).dtype == result_dtype


def test_any_number_of_workers_gives_the_same_bits(dtype, rng):
    for rows, n in ((1000, 70), (129, 33), (9000, 5)):
        x, grad, gamma, _ = problem(rng, rows, n, dtype)
        results = [kexue.layer_norm_vjp(x, grad, gamma, workers=count) for count in (1, 2, 3, 8)]
        for other in results[1:]:
            for result, expected in zip(other, results[0], strict=True):
                np.testing.assert_array_equal(result, expected)


def test_sums_of_many_rows(dtype, rng):
    """What cancels over 200,000 rows."""
    grad = np.ones((200_000, 2), dtype=dtype)
    grad[1::2] = -1
    grad[0] += dtype.type(2.0**-20)
    x = np.tile(np.array([[1, 2]], dtype=dtype), (200_000, 1))
    by_beta = kexue.layer_norm_vjp(x, grad)[2]
    np.testing.assert_array_equal(by_beta, 2.0**-20)


def test_dask_stays_lazy(rng):
    da = pytest.importorskip("dask.array")
    x, _, gamma, beta = problem(rng, 8, 6, np.float64)
    lazy = da.from_array(x, chunks=(3, 6))
    result = kexue.layer_norm(lazy, gamma, beta)
    assert isinstance(result, da.Array)
    np.testing.assert_allclose(result.compute(scheduler="threads"), kexue.layer_norm(x, gamma, beta), rtol=1e-14)
    np.testing.assert_allclose(kexue.rms_norm(lazy).compute(scheduler="threads"), kexue.rms_norm(x), rtol=1e-14)


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_an_eps_below_float32_is_not_0(name):
    x = np.zeros((1, 3), dtype=np.float32)
    function, vjp = getattr(kexue, name), getattr(kexue, f"{name}_vjp")
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(function(x, eps=1e-60), x)
    assert not np.isnan(vjp(x, x + 1, eps=1e-60)[0]).any()
    with np.errstate(invalid="ignore"):
        assert np.isnan(function(x, eps=0)).all()


@pytest.mark.parametrize("name", ["layer_norm", "rms_norm"])
def test_refuses(name):
    x = np.ones((3, 4))
    function, vjp = getattr(kexue, name), getattr(kexue, f"{name}_vjp")
    for call in (function, lambda *args, **options: vjp(args[0], args[0], *args[1:], **options)):
        for bad in (-1e-5, np.nan, np.inf):
            with pytest.raises(kexue.KexueValueError, match="eps must be finite and not negative"):
                call(x, eps=bad)
        for bad in ("1", None, True, [1e-5]):
            with pytest.raises(TypeError, match="eps must be a number"):
                call(x, eps=bad)
        for bad in (np.ones(3), 1.0, np.ones((4, 3))):
            with pytest.raises(kexue.KexueValueError, match="gamma must have the rows' length 4"):
                call(x, bad)
        with pytest.raises(kexue.KexueValueError, match="axis 2 is out of bounds for x"):
            call(x, axis=2)
        with pytest.raises(kexue.KexueValueError, match="axis -1 is out of bounds for x"):
            call(np.float64(1))
        for bad in (np.array(["a", "b"]), np.ones((3, 4), dtype=complex), np.ones((3, 4), dtype=object)):
            with pytest.raises(TypeError, match="x must hold real numbers"):
                call(bad)
        with pytest.raises(kexue.KexueValueError, match=r"eps is too large for float32: 1e[+]39"):
            call(np.ones((3, 4), dtype=np.float32), eps=1e39)
    text = r"must have dimensions besides the rows' that broadcast, got \(3,\), \(2,\)"
    with pytest.raises(kexue.KexueValueError, match=text):
        function(x, np.ones((2, 4)))
    with pytest.raises(kexue.KexueValueError, match="grad must have the shape of x"):
        vjp(x, x[:2])
    with pytest.raises(kexue.KexueValueError, match="gamma does not broadcast to the rows of x"):
        vjp(x, x, np.ones((2, 4)))
    with pytest.raises(kexue.KexueValueError, match="gamma does not broadcast to the rows of x"):
        vjp(x, x, np.ones((2, 3, 4)))
    with pytest.raises(kexue.KexueValueError, match="beta must have the rows' length"):
        kexue.layer_norm(x, None, np.ones(5))


# ---- the NTK parameterisation ----


def test_ntk_linear(dtype, rng):
    x, W, b = rng.normal(size=(3, 5, 16)), rng.normal(size=(16, 7)), rng.normal(size=7)
    x, W, b = (array.astype(dtype) for array in (x, W, b))
    result = kexue.ntk_linear(x, W, b)
    assert result.dtype == dtype
    expected = (x.astype(float) @ W / 4 + b).astype(dtype)
    np.testing.assert_allclose(result, expected, rtol=1e-5 if dtype == np.float32 else 1e-13, atol=50 * eps_of(dtype))
    np.testing.assert_allclose(kexue.ntk_linear(x[0, 0], W), result[0, 0] - b, atol=50 * eps_of(dtype))


def test_ntk_linear_keeps_the_second_moment(rng):
    """E[y^2] = E[x^2] for weights of variance 1; the mean over 400 x 400 results is within 4 standard errors.

    Their squares are of the means of x^2 and of W^2, and of 400 x 400 products that are otherwise independent.
    """
    x, W = rng.normal(size=(400, 900)), rng.normal(size=(900, 400))
    assert abs((kexue.ntk_linear(x, W) ** 2).mean() - 1) < 4 * np.sqrt(2 * 2 / (400 * 900) + 2 / 400**2)


def test_ntk_linear_refuses():
    with pytest.raises(kexue.KexueValueError, match="x must have the rows of W, 3"):
        kexue.ntk_linear(np.ones(2), np.ones((3, 4)))
    with pytest.raises(kexue.KexueValueError, match="b must have the columns of W, 4"):
        kexue.ntk_linear(np.ones(3), np.ones((3, 4)), np.ones(3))
    with pytest.raises(kexue.KexueValueError, match="W must have at least one row"):
        kexue.ntk_linear(np.ones(0), np.ones((0, 4)))
    with pytest.raises(kexue.KexueValueError, match="W must have 2 dimensions"):
        kexue.ntk_linear(np.ones(3), np.ones(3))


@pytest.mark.parametrize(
    "call",
    [
        "layer_norm(many, out=out)",
        "rms_norm(pairs, weights, out=out.reshape(pairs.shape))",  # many loops, each of them short
        "layer_norm_vjp(pairs, pairs, weights)",
    ],
)
def test_interrupt(call):
    program = f"""
import os, signal, threading, time
import numpy as np, kexue
signal.signal(signal.SIGINT, signal.default_int_handler)  # a child of a background job ignores it
kexue.layer_norm  # is imported here
many = np.broadcast_to(np.float32(1e30) * np.arange(64, dtype=np.float32), (10**7, 64))  # its squares overflow
pairs = np.broadcast_to(many[0], (5 * 10**6, 2, 64))
weights = np.lib.stride_tricks.as_strided(np.ones(65, dtype=np.float32), (2, 64), (4, 4))
out = np.zeros(many.shape, dtype=np.float32)  # takes memory where it is written to
def interrupt():
    time.sleep(0.3)
    os.kill(os.getpid(), signal.SIGINT)
thread = threading.Thread(target=interrupt)
thread.start()
try:
    kexue.{call}
    thread.join()
except KeyboardInterrupt:
    thread.join()
    assert kexue.layer_norm([1.0, 3.0], eps=0).tolist() == [-1, 1]
    print("interrupted", "before the end" if not out[-1].any() else "at the end")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout == "interrupted before the end\n", done.stderr
