"""What NumPy promises of every ufunc holds for each of kexue's; a new one is found in kexue.ufuncs by itself."""

import copy
import gc
import math
import pickle
import re
import sys
import threading

import cloudpickle
import numpy as np
import pytest

import kexue
import kexue.ufuncs

ALL = {name: value for name, value in vars(kexue.ufuncs).items() if isinstance(value, np.ufunc)}
UFUNCS = {name: value for name, value in ALL.items() if value.nout == 1}
SEVERAL = [name for name, value in ALL.items() if value.nout > 1]  # results
ELEMENTWISE = [name for name, value in UFUNCS.items() if value.signature is None]
PAIRS = ["hsic_from_kernels", "hsic_from_kernels_unbiased"]  # of matrices, with axes of their own: test_independence.py
MATRICES = [name for name, value in UFUNCS.items() if "(n,n)" in (value.signature or "") and name not in PAIRS]
ROWS = [name for name, value in UFUNCS.items() if value.signature is not None and name not in MATRICES + PAIRS]
CORE = 9


@pytest.fixture(params=UFUNCS)
def ufunc(request):
    return UFUNCS[request.param]


@pytest.fixture(params=ELEMENTWISE)
def elementwise(request):
    return UFUNCS[request.param]


# ---- operands ----


def uniform(low, high):
    return lambda rng, shape: rng.uniform(low, high, size=shape)


def one_of(*values):
    return lambda rng, shape: np.asarray(rng.choice(np.array(values, dtype=float), size=shape))


def covariances(rng, shape):
    """Of condition below 10, and so they stay when their entries are rounded up."""
    matrices = rng.uniform(0.1, 0.5, size=shape)
    return (matrices + matrices.swapaxes(-1, -2)) / 2 + (CORE + 1) * np.eye(shape[-1])


def factors(rng, shape):
    return np.tril(covariances(rng, shape))


# Where the default of positive numbers does not do, by the beginning of the name. All have finite results.
POSITIVE = uniform(0.1, 4)
OPERANDS = {
    "exp_taylor": (POSITIVE, one_of(1, 2, 3, 6)),
    "smooth_clip": (POSITIVE, uniform(0.1, 1), uniform(2, 4), POSITIVE),
    # The last operand is the form, of which 0 suits every scale.
    **{f"smooth_{steps}": (POSITIVE, POSITIVE, one_of(0)) for steps in ("floor", "ceil", "round")},
}


def all_cores(ufunc):
    """The core shapes of the operands and of the results."""
    if ufunc.signature is None:
        return [()] * ufunc.nin, [()] * ufunc.nout
    length = 8 if ufunc.__name__.startswith("fwht") else CORE  # a power of two
    shapes = [(length,) * len(re.findall(r"\w+", part)) for part in re.findall(r"\(([^)]*)\)", ufunc.signature)]
    return shapes[: ufunc.nin], shapes[ufunc.nin :]


def cores(ufunc):
    """The core shapes of the operands and of the one result."""
    inputs, (output,) = all_cores(ufunc)
    return inputs, output


def operands(ufunc, rng, outer, dtype=np.float64):
    """Operands for which the result is an ordinary number."""
    inputs, _ = all_cores(ufunc)
    draws = [POSITIVE] * ufunc.nin
    if ufunc.__name__.endswith(("_covariance", "_cholesky")):
        scales = covariances if ufunc.__name__.endswith("_covariance") else factors
        draws = [scales if len(core) == 2 else POSITIVE for core in inputs]
    for beginning, special in OPERANDS.items():
        if ufunc.__name__.startswith(beginning):
            draws = special
    if ufunc.__name__.startswith("_taylor"):  # the degree and a switch, operands without a core
        draws = [draw if core else one_of(2, 4) for draw, core in zip(draws, inputs, strict=True)]
    return [draw(rng, (*outer, *core)).astype(dtype) for draw, core in zip(draws, inputs, strict=True)]


def invalid_operands(ufunc, shape):
    """Operands that raise the invalid flag, or None for a function that is defined everywhere."""
    name, (first, *others) = ufunc.__name__, [np.ones(shape) for _ in range(ufunc.nin)]
    if name == "squareplus_inverse":
        return [-first, *others]
    if name.startswith(("squareplus", "smooth_")):
        return [first, *others[:-1], -others[-1]]
    if name.startswith("exp_taylor"):
        return [first, others[0] / 2]
    return None


PARTIAL = [name for name in ELEMENTWISE if invalid_operands(UFUNCS[name], ()) is not None]


def assert_same(ufunc, result, expected):
    """The bits of an elementwise result; sums may be taken in another order."""
    assert type(result) is type(expected)
    assert result.dtype == expected.dtype
    assert result.shape == expected.shape
    if ufunc.signature is None:
        np.testing.assert_array_equal(result, expected)
    else:
        # What cancels is above 1 in matrices, and about 1 in normalised rows.
        eps, matrices = np.finfo(expected.dtype).eps, "(n,n)" in ufunc.signature or "_norm" in ufunc.__name__
        atol = 128 * eps * (1 + np.nanmax(np.abs(expected), initial=0)) if matrices else 0
        np.testing.assert_allclose(result, expected, rtol=32 * eps, atol=atol)


def test_the_families_are_there():
    assert {"squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"} <= set(ELEMENTWISE)
    assert {"gaussian_kl_covariance", "gaussian_ot_map_cholesky"} <= set(MATRICES)
    assert {"fwht", "fwht_orthonormal", "gaussian_kl_diagonal", "softmax"} <= set(ROWS)
    assert {"_layer_norm", "_layer_norm_vjp", "_rms_norm", "_rms_norm_vjp"} <= set(ROWS)
    assert {"cosine_pairs_vjp", "gaussian_kl_grad_covariance", "gaussian_kl_grad_diagonal"} <= set(SEVERAL)


# ---- what it is ----


def test_is_a_ufunc(ufunc):
    assert type(ufunc) is np.ufunc
    assert ufunc.nout == 1
    assert ufunc.types == [f"{letter * ufunc.nin}->{letter}" for letter in "fd"]
    assert getattr(kexue.ufuncs, ufunc.__name__) is ufunc


def test_pickle_and_copy(ufunc):
    for again in (pickle.loads(pickle.dumps(ufunc)), cloudpickle.loads(cloudpickle.dumps(ufunc))):
        assert again is ufunc
    assert copy.copy(ufunc) is ufunc
    assert copy.deepcopy(ufunc) is ufunc


def test_docstring(ufunc):
    call, _, text = ufunc.__doc__.partition("\n\n")
    assert call.startswith(ufunc.__name__)
    assert re.match(r"\S.*[.:]\n", f"{text}\n") or ufunc.__name__.startswith("_")
    assert "{" not in text  # a place that was not filled in
    if ufunc.__name__ in kexue.__all__:
        assert all(f"\n{title}\n---" in text for title in ("Parameters", "Returns", "References", "Examples"))


# ---- layouts, types, shapes ----


def test_layouts(ufunc, any_layout, plain, untouched, dtype, rng):
    arrays = [any_layout(array) for array in operands(ufunc, rng, (5, 7), dtype)]
    # Too few points, if the layout leaves one; broadcast columns are not a covariance matrix.
    with untouched(*arrays), np.errstate(invalid="ignore"):
        result = ufunc(*arrays)
        expected = ufunc(*map(plain, arrays))
    assert_same(ufunc, result, expected)


@pytest.mark.parametrize(
    ("given_dtype", "result_dtype"),
    [
        (np.float16, np.float32),
        (np.float32, np.float32),
        (np.float64, np.float64),
        (np.int8, np.float64),
        (np.uint16, np.float64),
        (np.int32, np.float64),
        (np.int64, np.float64),
        (np.uint64, np.float64),
        (bool, np.float64),
    ],
)
def test_dtypes(ufunc, given_dtype, result_dtype, rng):
    arrays = [np.ceil(array).astype(given_dtype) for array in operands(ufunc, rng, (4,))]
    with np.errstate(all="ignore"):  # ones need not be in the domain
        result = ufunc(*arrays)
        expected = ufunc(*(array.astype(result_dtype) for array in arrays))
    assert_same(ufunc, result, expected)
    assert result.dtype == result_dtype


@pytest.mark.parametrize("bad", [np.complex128(1), np.longdouble(1), "1", b"1", None, object(), np.datetime64(1, "s")])
def test_other_types_are_refused(ufunc, bad, rng):
    arrays = operands(ufunc, rng, (1,))
    for place in range(ufunc.nin):
        wrong = np.full_like(arrays[place], bad, dtype=np.asarray(bad).dtype)
        with pytest.raises(TypeError):
            ufunc(*arrays[:place], wrong, *arrays[place + 1 :])


def test_dtype_argument(ufunc, rng):
    arrays = [np.ceil(array) for array in operands(ufunc, rng, (4,))]
    expected = ufunc(*(array.astype(np.float32) for array in arrays))
    assert_same(ufunc, ufunc(*(array.astype(np.int8) for array in arrays), dtype=np.float32), expected)
    assert_same(ufunc, ufunc(*arrays, dtype=np.float32, casting="same_kind"), expected)
    with pytest.raises(TypeError):
        ufunc(*arrays, dtype=np.int64)


def test_python_numbers_are_weak(elementwise, dtype, rng):
    first, *others = operands(elementwise, rng, (3,), dtype)
    others = [math.ceil(other[0]) for other in others]
    expected = elementwise(first, *(np.full(3, other, dtype=dtype) for other in others))
    assert expected.dtype == dtype
    assert_same(elementwise, elementwise(first, *others), expected)
    assert_same(elementwise, elementwise(first, *map(float, others)), expected)
    wide = elementwise(np.ceil(first).astype(np.int8), *others)
    assert_same(elementwise, wide, elementwise(np.ceil(first).astype(np.float64), *others))


def test_scalars(ufunc, dtype, rng):
    arrays = operands(ufunc, rng, (), dtype)
    result = ufunc(*arrays)
    assert isinstance(result, dtype.type if cores(ufunc)[1] == () else np.ndarray)
    assert_same(ufunc, np.asarray(result), ufunc(*(array[None] for array in arrays))[0, ...])


def test_lists(ufunc, rng):
    arrays = operands(ufunc, rng, (3,))
    assert_same(ufunc, ufunc(*(array.tolist() for array in arrays)), ufunc(*arrays))


def test_broadcasting(ufunc, rng):
    inputs, core = cores(ufunc)
    shapes = [(3, 1, 5), (4, 1), (5,), ()][: ufunc.nin]
    arrays = [operands(ufunc, rng, shape)[place] for place, shape in enumerate(shapes)]
    outer = np.broadcast_shapes(*shapes)
    whole = [np.broadcast_to(array, outer + core) for array, core in zip(arrays, inputs, strict=True)]
    result = ufunc(*arrays)
    assert result.shape == outer + core
    assert_same(ufunc, result, ufunc(*map(np.ascontiguousarray, whole)))
    if ufunc.nin == 2 and ufunc.signature is None:
        line = arrays[1].ravel()
        table = ufunc.outer(arrays[0].ravel(), line)
        assert_same(ufunc, table, ufunc(arrays[0].ravel()[:, None], line))
    if ufunc.nin > 1:
        wrong = operands(ufunc, rng, (3,))
        wrong[-1] = operands(ufunc, rng, (4,))[-1]
        with pytest.raises(ValueError, match="broadcast"):
            ufunc(*wrong)


def test_empty(ufunc, dtype, rng):
    _, core = cores(ufunc)
    for outer in ((0,), (3, 0), (0, 2)):
        result = ufunc(*operands(ufunc, rng, outer, dtype))
        assert result.shape == outer + core
        assert result.dtype == dtype


def test_subclass_is_kept(ufunc, rng):
    class Tagged(np.ndarray):
        pass

    first, *others = operands(ufunc, rng, (3,))
    assert type(ufunc(first.view(Tagged), *others)) is Tagged
    if ufunc.signature is None:  # numpy.ma leaves gufuncs of several operands alone
        masked = ufunc(np.ma.masked_less(first, first.mean()), *others)
        assert isinstance(masked, np.ma.MaskedArray)


def test_override_is_asked(ufunc, rng):
    class Other:
        def __array_ufunc__(self, *call, **options):
            return call, options

    other, arrays = Other(), operands(ufunc, rng, (3,))
    for place in range(ufunc.nin):
        mixed = [*arrays[:place], other, *arrays[place + 1 :]]
        call, options = ufunc(*mixed)
        assert call[:2] == (ufunc, "__call__")
        assert all(a is b for a, b in zip(call[2:], mixed, strict=True))
        assert options == {}
    call, options = ufunc(*arrays, out=other)
    assert options == {"out": (other,)}

    class Array(Other, np.ndarray):
        pass

    for array in (arrays[0].view(Array), np.empty(3).view(Array)):
        assert ufunc(array, *arrays[1:])[0][2] is array
        assert ufunc(*arrays, array)[1]["out"][0] is array


def test_wrong_calls(ufunc, rng):
    arrays = operands(ufunc, rng, (3,))
    for call in (
        lambda: ufunc(),
        lambda: ufunc(*arrays[:-1]),
        lambda: ufunc(*arrays, None, None),
        lambda: ufunc(*arrays, unknown=1),
        lambda: ufunc(*arrays, unknown=np.empty(3)),
        lambda: ufunc(*arrays, out=1),
        lambda: ufunc(*arrays, None, out=None),
        lambda: ufunc(*arrays, np.empty(3), out=np.empty(3)),
    ):
        with pytest.raises(TypeError):
            call()


# ---- where the result goes ----


def test_out(ufunc, dtype, rng):
    arrays = operands(ufunc, rng, (40,), dtype)
    expected = ufunc(*arrays)
    for keep in ({"order": "C"}, {"order": "F"}):
        out = np.full_like(expected, np.nan, **keep)
        assert ufunc(*arrays, out=out) is out
        assert_same(ufunc, out, expected)
    out = np.full_like(expected, np.nan)
    assert ufunc(*arrays, out=(out,)) is out
    assert ufunc(*arrays, out) is out
    assert_same(ufunc, out, expected)
    assert_same(ufunc, ufunc(*arrays, out=None), expected)
    spread = np.full((2 * len(expected), *expected.shape[1:]), -1, dtype=dtype)
    ufunc(*arrays, out=spread[::2])
    assert_same(ufunc, spread[::2], expected)
    assert (spread[1::2] == -1).all()
    swapped = np.empty_like(expected, dtype=dtype.newbyteorder())
    assert ufunc(*arrays, out=swapped) is swapped
    np.testing.assert_array_equal(swapped, out)


def test_out_of_another_type(ufunc, rng):
    arrays = operands(ufunc, rng, (4,), np.float32)
    expected = ufunc(*arrays)
    wide = np.empty(expected.shape)
    assert ufunc(*arrays, out=wide) is wide
    np.testing.assert_array_equal(wide, expected)
    with pytest.raises(TypeError, match="Cannot cast"):
        ufunc(*arrays, out=np.empty(expected.shape, dtype=np.int64))


def test_out_that_does_not_do(ufunc, dtype, rng):
    arrays = operands(ufunc, rng, (4,), dtype)
    _, core = cores(ufunc)
    with pytest.raises(ValueError, match="broadcast|mismatch"):
        ufunc(*arrays, out=np.empty((3, *core), dtype=dtype))
    fixed = np.empty((4, *core), dtype=dtype)
    fixed.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        ufunc(*arrays, out=fixed)
    larger = np.empty((2, 4, *core), dtype=dtype)
    assert ufunc(*arrays, out=larger) is larger
    assert_same(ufunc, larger[1], ufunc(*arrays))


def test_in_place(ufunc, dtype, rng):
    inputs, core = cores(ufunc)
    for n in (1, 40, 3000):
        arrays = operands(ufunc, rng, (n,), dtype)
        expected = ufunc(*arrays)
        for place in (place for place in range(ufunc.nin) if inputs[place] == core):
            copies = [array.copy() for array in arrays]
            assert ufunc(*copies, out=copies[place]) is copies[place]
            assert_same(ufunc, copies[place], expected)


@pytest.mark.parametrize("shift", [1, -1, 0], ids=["behind", "before", "reversed"])
def test_out_that_overlaps_an_operand(ufunc, dtype, shift, rng):
    inputs, core = cores(ufunc)
    arrays = operands(ufunc, rng, (40,), dtype)
    expected = ufunc(*arrays)
    for place in (place for place in range(ufunc.nin) if inputs[place] == core):
        buffer = np.zeros((42, *core), dtype=dtype)
        within = buffer[1:-1]
        within[...] = arrays[place]
        out = buffer[1 + shift : 41 + shift] if shift else within[::-1]
        ufunc(*arrays[:place], within, *arrays[place + 1 :], out=out)
        assert_same(ufunc, out, expected)


def test_out_over_a_number(elementwise, dtype, rng):
    # An operand without dimensions that is an item of the result.
    if elementwise.nin == 1:
        return
    arrays = operands(elementwise, rng, (40,), dtype)
    for item in (0, 3):
        last = arrays[-1].copy()
        expected = elementwise(*arrays[:-1], last[item])
        elementwise(*arrays[:-1], last[item, ...], out=last)
        assert_same(elementwise, last, expected)


def test_where(elementwise, dtype, rng):
    arrays = operands(elementwise, rng, (40,), dtype)
    chosen = rng.random(40) < 0.5
    out = np.full(40, -1, dtype=dtype)
    assert elementwise(*arrays, out=out, where=chosen) is out
    assert_same(elementwise, out, np.where(chosen, elementwise(*arrays), dtype.type(-1)))


# ---- neighbours, errors ----


def test_result_does_not_depend_on_the_neighbours(ufunc, dtype, rng):
    # One at a time, or from any offset, an item is in a remainder; in the whole array it is in a vector.
    arrays = operands(ufunc, rng, (300,), dtype)
    odd = [array[100:200] for array in arrays]
    for array, value in zip(odd, [np.nan, -np.inf, 0, -1], strict=False):
        array[::7] = value
    with np.errstate(all="ignore"):
        whole = ufunc(*arrays)
        assert_same(ufunc, np.stack([ufunc(*items) for items in zip(*arrays, strict=True)]), whole)
        for offset in range(1, 20):
            part = slice(offset, -offset)
            assert_same(ufunc, ufunc(*(array[part] for array in arrays)), whole[part])
        assert_same(ufunc, ufunc(*(array[::7] for array in arrays)), whole[::7])
        for place in range(ufunc.nin):
            items = [array[:50] for array in arrays]
            items[place] = items[place][5]
            expected = [ufunc(*(array if i == place else array[k] for i, array in enumerate(items))) for k in range(50)]
            if ufunc.nin > 1:
                assert_same(ufunc, ufunc(*items), np.stack(expected))


@pytest.mark.parametrize("n", [1, 37, 3000])
def test_ordinary_operands_raise_no_flag(ufunc, n, dtype, rng):
    with np.errstate(divide="raise", over="raise", invalid="raise"):
        result = ufunc(*operands(ufunc, rng, (n,), dtype))
    assert np.isfinite(result).all()


@pytest.mark.parametrize("shape", [(), (1,), (37,), (3000,)])
@pytest.mark.parametrize("way", [{}, {"where": True}], ids=["direct", "NumPy"])
@pytest.mark.parametrize("name", PARTIAL)
def test_errstate(name, way, shape, dtype):
    ufunc, seen = UFUNCS[name], []
    arrays = [array.astype(dtype) for array in invalid_operands(UFUNCS[name], shape)]
    with np.errstate(all="raise", invalid="ignore"):
        assert np.isnan(ufunc(*arrays, **way)).all()
    with pytest.warns(RuntimeWarning, match=f"^invalid value encountered in {ufunc.__name__}$"):
        ufunc(*arrays, **way)
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError, match=f"in {ufunc.__name__}$"):
        ufunc(*arrays, **way)
    with np.errstate(invalid="call", call=lambda *error: seen.append(error)):
        ufunc(*arrays, **way)
    assert seen == [("invalid value", 8)]


def test_flags_of_before_do_not_count(ufunc, rng):
    arrays = operands(ufunc, rng, (3,))
    with pytest.raises(OverflowError):
        math.exp(1000)  # leaves the overflow flag
    with np.errstate(over="raise"):
        ufunc(*arrays)


# ---- plain calls, which bypass NumPy; `where=True` takes NumPy's way ----


def kinds(dtype):
    """What an operand of a call may be, as functions of an array."""
    other = np.dtype(np.float64 if dtype == np.float32 else np.float32)
    return {
        "array": lambda array: array,
        "Python float": lambda array: float(array.flat[0]),
        "Python int": lambda array: math.ceil(array.flat[0]),
        "large int": lambda array: 2**24 + 1,
        "int to be rounded once": lambda array: 2**60 + 2**36 + 1,
        "huge int": lambda array: 10**30,
        "bool": lambda array: True,
        "float64": lambda array: np.float64(array.flat[0]),
        "float32": lambda array: np.float32(array.flat[0]),
        "no dimensions": lambda array: array.ravel()[0, ...],
        "other type": lambda array: array.astype(other),
        "too small": lambda array: 1e-310,
        "too large": lambda array: 1e300,
        "infinite": lambda array: math.inf,
        "described": lambda array: array.astype(np.dtype(array.dtype, metadata={"unit": "m"})),
        "unpickled": lambda array: pickle.loads(pickle.dumps(array)),
        "row": lambda array: array[:1],
        "transposed": lambda array: array.T.copy().T,
    }


def outcome(call):
    """Everything a caller can see of it."""
    errors = []
    with np.errstate(all="call", call=lambda *error: errors.append(error)):
        try:
            result = call()
        except Exception as error:
            return type(error), str(error)
    layout = (result.strides, str(result.flags)) if isinstance(result, np.ndarray) else None
    return type(result), result.dtype, result.dtype.metadata, result.shape, layout, result.tobytes(), errors


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 1), (1, 5), (3, 4), (0, 3), (700,)], ids=str)
def test_plain_calls_are_like_numpy(elementwise, shape, dtype, rng):
    arrays = operands(elementwise, rng, shape, dtype)
    tried = kinds(dtype)
    if 0 in shape:
        tried = {"array": tried["array"], "unpickled": tried["unpickled"], "Python float": lambda array: 1.5}
    for place in range(elementwise.nin):
        for name, kind in tried.items():
            for second in ("array", "Python float"):
                call = [tried[second if i else "array"](array) for i, array in enumerate(arrays)]
                call[place] = kind(arrays[place])
                message = f"{name} for operand {place}, {second} for others"
                assert outcome(lambda c=call: elementwise(*c)) == outcome(lambda c=call: elementwise(*c, where=True)), (
                    message
                )


def test_plain_calls_of_numbers_are_like_numpy(elementwise, dtype, rng):
    arrays = operands(elementwise, rng, (1,), dtype)
    names = ["Python float", "Python int", "huge int", "bool", "float64", "float32", "no dimensions", "infinite"]
    tried = kinds(dtype)
    for first in names:
        for other in names:
            call = [tried[other if place else first](array) for place, array in enumerate(arrays)]
            expected = outcome(lambda c=call: elementwise(*c, where=True))
            assert outcome(lambda c=call: elementwise(*c)) == expected, (first, other)


def test_plain_calls_own_nothing(elementwise, rng):
    arrays = operands(elementwise, rng, (5,))
    out, number = np.empty(5), np.array(1.5)
    wrong = invalid_operands(elementwise, (5,)) or arrays

    def calls():
        elementwise(*arrays)
        elementwise(*arrays, out)
        elementwise(*arrays, out=out)
        elementwise(*[number] * elementwise.nin)
        elementwise(*[1.5] * elementwise.nin)
        elementwise(*[np.float32(1.5)] * elementwise.nin)
        elementwise(*arrays, where=True)
        with np.errstate(all="raise"):
            try:
                elementwise(*wrong)
                elementwise(*wrong, out=out)
            except FloatingPointError:
                pass

    watched = [*arrays, out, number, out.dtype, elementwise, np.float64, np.float32]
    with np.errstate(all="ignore"):
        for _ in range(100):  # NumPy's caches fill
            calls()
        gc.collect()
        counts, blocks = [sys.getrefcount(item) for item in watched], sys.getallocatedblocks()
        for _ in range(1000):
            calls()
        gc.collect()
    assert [sys.getrefcount(item) for item in watched] == counts
    assert sys.getallocatedblocks() - blocks < 200


def test_plain_calls_from_threads(elementwise, rng):
    problems = [operands(elementwise, rng, (n,)) for n in (3, 499, 5000, 1)]
    expected = [elementwise(*arrays, where=True) for arrays in problems]
    wrong = []

    def work(arrays, result):
        for _ in range(300):
            if not np.array_equal(elementwise(*arrays), result):
                wrong.append(len(result))

    threads = [threading.Thread(target=work, args=pair) for pair in zip(problems, expected, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- functions of rows ----


@pytest.fixture(params=ROWS)
def rows(request):
    return UFUNCS[request.param]


def at_axis(array, core, axis):
    return np.moveaxis(array, -1, axis) if core else array


def test_axis(rows, dtype, rng):
    inputs, core = cores(rows)
    arrays = operands(rows, rng, (3, 4), dtype)
    expected = rows(*arrays)
    for axis in (0, 1, 2, -3):
        moved = [at_axis(array, core, axis) for array, core in zip(arrays, inputs, strict=True)]
        assert_same(rows, rows(*moved, axis=axis), at_axis(expected, core, axis))
        axes = [(axis,) if core else () for core in (*inputs, core)]
        assert_same(rows, rows(*moved, axes=axes), at_axis(expected, core, axis))
    with pytest.raises(np.exceptions.AxisError):
        rows(*arrays, axis=3)


def test_keepdims(rows, dtype, rng):
    inputs, core = cores(rows)
    arrays = operands(rows, rng, (3, 4), dtype)
    if core == () and len(set(inputs)) == 1:
        assert_same(rows, rows(*arrays, keepdims=True), rows(*arrays)[..., None])
    else:
        with pytest.raises(TypeError, match="keepdims"):
            rows(*arrays, keepdims=True)


def test_rows_of_nothing(rows, dtype):
    inputs, core = cores(rows)
    with np.errstate(all="ignore"):
        result = rows(*(np.ones((3, *(0 for _ in core)), dtype=dtype) for core in inputs))
    assert result.shape == (3, *(0 for _ in core))
    assert result.dtype == dtype


def test_rows_of_one(rows, dtype):
    inputs, core = cores(rows)
    arrays = [np.full((3, *(1 for _ in core)), 2, dtype=dtype) for core in inputs]
    result = rows(*arrays)
    assert result.shape == (3, *(1 for _ in core))
    assert np.isfinite(result).all()


# ---- functions of matrices ----


@pytest.fixture(params=MATRICES)
def matrices(request):
    return UFUNCS[request.param]


def test_axes_of_matrices(matrices, dtype, rng):
    inputs, core = cores(matrices)
    arrays = operands(matrices, rng, (3, 4), dtype)
    expected = matrices(*arrays)
    places = [(), (-1,), (-2, -1)]
    moved = [
        np.moveaxis(array, places[len(shape)], range(len(shape))) for array, shape in zip(arrays, inputs, strict=True)
    ]
    axes = [tuple(range(len(shape))) for shape in (*inputs, core)]
    result = matrices(*moved, axes=axes)
    assert_same(matrices, result, np.moveaxis(expected, places[len(core)], range(len(core))))


@pytest.mark.parametrize("n", [0, 1])
def test_small_matrices(matrices, n, dtype):
    inputs, core = cores(matrices)
    arrays = [np.full((3, *(n for _ in shape)), 2, dtype=dtype) for shape in inputs]
    result = matrices(*arrays)
    assert result.shape == (3, *(n for _ in core))
    assert result.dtype == dtype
    assert np.isfinite(result).all()


def test_matrices_and_vectors_have_one_n(matrices, rng):
    inputs, _ = cores(matrices)
    arrays = operands(matrices, rng, (3,))
    shorter = [array[(..., *(slice(-1),) * len(shape))] for array, shape in zip(arrays, inputs, strict=True)]
    if len(arrays) > 1:
        with pytest.raises(ValueError, match="mismatch"):
            matrices(*arrays[:-1], shorter[-1])
    with pytest.raises(ValueError, match="mismatch"):
        matrices(*arrays[:-1], arrays[-1][..., :-1])


def test_a_bad_matrix_is_nan_and_raises_the_invalid_flag(matrices, dtype, rng):
    inputs, core = cores(matrices)
    for place in (place for place, shape in enumerate(inputs) if len(shape) == 2):
        for entry, value in (((0, 0), -1), ((1, 0), np.nan), ((2, 3), 5)):
            if value == -1 and re.fullmatch("gaussian_(w2|w2_squared|ot_map)_cholesky", matrices.__name__):
                continue  # any triangle is a factor of a covariance matrix
            arrays = operands(matrices, rng, (40,), dtype)
            expected = matrices(*arrays)
            arrays[place][(17, *entry)] = value
            with pytest.warns(RuntimeWarning, match=f"invalid value encountered in {matrices.__name__}"):
                result = matrices(*arrays)
            assert np.isnan(result[17]).all()
            others = np.arange(40) != 17
            assert_same(matrices, result[others], expected[others])


# ---- functions of several results ----


@pytest.fixture(params=SEVERAL)
def several(request):
    return ALL[request.param]


def assert_all_same(ufunc, results, expected):
    assert len(results) == len(expected) == ufunc.nout
    for result, wanted in zip(results, expected, strict=True):
        assert_same(ufunc, result, wanted)


def test_several_is_a_ufunc(several):
    assert several.types == [f"{letter * several.nin}->{letter * several.nout}" for letter in "fd"]
    assert getattr(kexue.ufuncs, several.__name__) is several
    assert pickle.loads(pickle.dumps(several)) is several
    assert several.__doc__.startswith(several.__name__)


def test_several_layouts(several, any_layout, plain, untouched, dtype, rng):
    arrays = [any_layout(array) for array in operands(several, rng, (5, 7), dtype)]
    with untouched(*arrays), np.errstate(invalid="ignore"):
        results = several(*arrays)
        expected = several(*map(plain, arrays))
    assert_all_same(several, results, expected)


def test_several_broadcast(several, dtype, rng):
    inputs, outputs = all_cores(several)
    shapes = [(3, 1, 5), (4, 1), (5,), ()][: several.nin]
    arrays = [operands(several, rng, shape, dtype)[place] for place, shape in enumerate(shapes)]
    outer = np.broadcast_shapes(*shapes)
    whole = [np.broadcast_to(array, outer + core) for array, core in zip(arrays, inputs, strict=True)]
    results = several(*arrays)
    assert [result.shape for result in results] == [outer + core for core in outputs]
    assert_all_same(several, results, several(*map(np.ascontiguousarray, whole)))


def test_several_out(several, dtype, rng):
    arrays = operands(several, rng, (40,), dtype)
    expected = several(*arrays)
    out = tuple(np.full_like(part, np.nan) for part in expected)
    results = several(*arrays, out=out)
    assert all(result is part for result, part in zip(results, out, strict=True))
    assert_all_same(several, results, expected)
    # Results over the operands.
    results = several(*arrays, out=tuple(arrays[: several.nout]))
    assert_all_same(several, results, expected)


@pytest.mark.parametrize("n", [0, 1])
def test_several_of_small_dimension(several, n, dtype):
    inputs, outputs = all_cores(several)
    results = several(*(np.full((3, *(n for _ in core)), 2, dtype=dtype) for core in inputs))
    assert [result.shape for result in results] == [(3, *(n for _ in core)) for core in outputs]
    assert all(result.dtype == dtype and np.isfinite(result).all() for result in results)


@pytest.mark.parametrize("name", [name for name in SEVERAL if name.startswith("gaussian")])
def test_several_bad_items(name, dtype, rng):
    several = ALL[name]
    arrays = operands(several, rng, (40,), dtype)
    expected = several(*arrays)
    arrays[1][17] = -1
    with pytest.warns(RuntimeWarning, match=f"invalid value encountered in {several.__name__}"):
        results = several(*arrays)
    assert np.isnan(results[1][17]).all()  # by that scale; others may be known
    others = np.arange(40) != 17
    assert_all_same(several, [result[others] for result in results], [part[others] for part in expected])


# ---- Dask ----


def test_dask_stays_lazy(ufunc, rng):
    da = pytest.importorskip("dask.array")
    inputs, _ = cores(ufunc)
    arrays = operands(ufunc, rng, (6, 4))
    lazy = [da.from_array(array, chunks=(2, 3, *core)) for array, core in zip(arrays, inputs, strict=True)]
    tasks = []
    with pytest.importorskip("dask.callbacks").Callback(pretask=lambda key, graph, state: tasks.append(key)):
        result = ufunc(*lazy)
        assert isinstance(result, da.Array)
        assert result.dtype == np.float64
        assert tasks == []
    assert_same(ufunc, result.compute(scheduler="threads"), ufunc(*arrays))
