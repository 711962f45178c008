"""Every public function of arrays on every layout of them, on empty ones, and on what is no array of real numbers."""

import datetime
import importlib.machinery
import inspect
import os
import re
import sys
import warnings

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import kexue
from reference.array_calls import CALLS, UFUNCS, at_place, mapped, places_of_arrays, replaced, require_same_bits

LONG = os.environ.get("KEXUE_LONG_TESTS", "0") == "1"

# NumPy's sums, dot products and BLAS, and kernels with a branch for rows that are no neighbours in memory, add in
# another order there. All others give the same bits in every layout.
ROUNDED = {
    *("clip_global_norm", "fisher_diagonal", "frechet_distance", "frechet_distance_from_statistics", "layer_norm"),
    *("layer_norm_vjp", "mgs_step", "mlp_gradient_penalties", "noise_regularizer", "optimal_baseline"),
    *("policy_gradient", "softmax_policy_gradient", "spectral_norm", "weighted_metric"),
}
# These say what is wrong about a class of y.
CLASSES = {"logistic_closed_form", "softmax_closed_form"}


def outcome(name, args, options):
    """The result, or the exception."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", (RuntimeWarning, kexue.ConvergenceWarning))
        try:
            return getattr(kexue, name)(*args, **options)
        except Exception as error:
            return error


def names_of(name):
    parameters = inspect.signature(getattr(kexue, name)).parameters
    return {*parameters, "class"} if name in CLASSES else set(parameters)


def require_told(name, error, *, overflow=False):
    """A ValueError of ours, or a TypeError, that names an argument. Of a ufunc NumPy tells what does not fit."""
    if overflow and isinstance(error, OverflowError):
        return  # all that was given may have a part in that
    if name in UFUNCS:
        assert isinstance(error, (TypeError, ValueError)), repr(error)
        return
    assert isinstance(error, (TypeError, kexue.KexueValueError)), repr(error)
    text = str(error)
    assert any(re.search(rf"\b{re.escape(argument)}\b", text) for argument in names_of(name)), repr(error)


@pytest.mark.parametrize("name", CALLS)
def test_the_same_numbers_in_any_layout(name, any_layout, plain):
    before = []

    def laid_out(array):
        if array.dtype.kind != "f" and any_layout.__name__ == "float16":  # of integers there is nothing to round
            return array
        other = any_layout(array)
        before.append((other, other.tobytes()))
        return other

    args, options = mapped(laid_out, CALLS[name])
    expected = outcome(name, *mapped(plain, (args, options)))
    found = outcome(name, args, options)
    assert all(array.tobytes() == content for array, content in before), "an input was changed"
    if isinstance(expected, Exception):
        assert any_layout.__name__ in ("broadcast", "empty", "one_element", "float16")  # sums of weights
        assert (type(found), str(found)) == (type(expected), str(expected))
        require_told(name, found)
    elif name == "pad_to_power_of_two" and any_layout.__name__ == "float16":
        require_same_bits(found.astype(np.float32), expected)  # any dtype stays
    else:
        require_same_bits(found, expected, relative=1e-13 if name in ROUNDED else None)


def calls_of_the_core():
    """Every function of the compiled modules: module and name."""
    for module in [module for name, module in sys.modules.items() if name.startswith("kexue.")]:
        if str(getattr(module, "__file__", "")).endswith(tuple(importlib.machinery.EXTENSION_SUFFIXES)):
            for name, value in vars(module).items():
                # A step of a network looks at its arrays itself, and gives back None for these.
                is_function = type(value).__name__ in ("cython_function_or_method", "builtin_function_or_method")
                if is_function and (module.__name__, name) != ("kexue._recurrent", "cell"):
                    yield module, name, value


@pytest.mark.parametrize("name", CALLS)
def test_what_kernels_read_is_aligned(name, misaligned, monkeypatch):
    """C has no right to read a misaligned number, though this processor does."""
    getattr(kexue, name)  # loads the module
    seen = []

    def watched(function):
        def call(*args, **options):
            seen.extend(value for value in (*args, *options.values()) if isinstance(value, np.ndarray))
            return function(*args, **options)

        return call

    for module, attribute, function in list(calls_of_the_core()):
        monkeypatch.setattr(module, attribute, watched(function))
    outcome(name, *mapped(misaligned, CALLS[name]))
    assert all(array.flags.aligned for array in seen)


# ---- empty arrays, single entries, other shapes ----


def shapes_of(array):
    for axis in range(array.ndim):
        yield np.take(array, [], axis=axis)
        yield np.take(array, [0], axis=axis)
    first = array.ravel()[:1]
    yield from (first, first[:0], first.reshape(()), first.reshape((1,) * array.ndim))
    yield from (array[None], array[..., None], np.stack([array] * 3), np.zeros((0, *array.shape), array.dtype))
    yield np.zeros((0,) * array.ndim, array.dtype)


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_value_or_an_error_for_other_shapes(name):
    call = CALLS[name]
    for place in places_of_arrays(call):
        for array in shapes_of(at_place(call, place)):
            result = outcome(name, *replaced(call, place, array))
            if isinstance(result, Exception) and not from_a_callable_of_ours(result):
                require_told(name, result)


def from_a_callable_of_ours(error):
    """Whether it came out of a function in the table of calls, which takes what it takes."""
    frame = error.__traceback__
    while frame.tb_next is not None:
        frame = frame.tb_next
    return frame.tb_frame.f_code.co_filename.endswith("array_calls.py")


EYE = np.eye(2)


@pytest.mark.parametrize(
    ("name", "args", "options", "message"),
    [
        ("area_under_curve", ([1.0], [[1], [2, 3]]), {}, "^labels is not an array of one shape"),
        ("cka_matrix", ([EYE[:1], EYE[:1]],), {}, r"^layers_a\[0\] has 1 item, but at least 2 are needed"),
        ("emd2", (list, [1.0], [[1.0]]), {}, "^a must be an array of real numbers, not type"),
        ("entropy_matched_scale", (-1e308, 128, 64), {}, r"^entropy is -1e\+308, out of reach"),
        ("fwht", ([[1.0], [2.0, 3.0]],), {}, "^x is not an array of one shape"),
        ("grouped_argmax", ([1.0], list), {}, "^groups must be a sequence of ids, not type"),
        ("gru_weights_from_torch", (np.ones((6, 2)), None), {}, "^weight_hh must"),
        ("inner_product_bound", ([2, 3], [0.1] * 3), {}, "^n and eps must have shapes that broadcast"),
        ("jl_min_dim", ([2, 3], [0.1] * 3), {}, "^n_samples, eps and delta must have shapes that broadcast"),
        ("jl_min_dim", ([2, 3], [0.1] * 3), {"rule": "lemma16"}, "^n_samples and eps must have shapes that broadcast"),
        ("jl_success_probability", (5, [2, 3], [0.1] * 3), {}, "^n_samples, n_components and eps must have shapes"),
        ("layer_norm", (EYE.astype(complex),), {}, "^x must hold real numbers, but its dtype is complex128"),
        ("norm_concentration_bound", ([2, 3], [0.1] * 3), {}, "^n and eps must have shapes that broadcast"),
        ("pairwise_distances", (list,), {}, "^X must be a sequence of arrays where vectors is None, not type"),
        ("r_drop_loss", (EYE, EYE, [[1], [2, 3]]), {}, "^labels is not an array of one shape"),
        ("samples_contrast", ([1.0, 2.0], [[1], [2, 3]]), {}, "^proportions is not an array of one shape"),
        ("sinkhorn", ([0.5, 0.5], [[1], [2, 3]], EYE, 1.0), {}, "^b is not an array of one shape"),
        ("sinkhorn2", ([0.5, 0.5], EYE, [[1], [2, 3]], 1.0), {}, "^M is not an array of one shape"),
        ("smooth_clip", ([0.0], [1.0, 2.0], [3.0] * 3), {}, "^low and high must have shapes that broadcast"),
        ("smooth_clip", ([0.0], ["x"], [3.0]), {}, "^low must hold real numbers"),
        ("smooth_leaky_relu", ([0.0] * 3, [1.0, 2.0]), {}, "^x, slope and scale must have shapes that broadcast"),
        ("smooth_maximum", (["x"], 1.0), {}, "^x must hold real numbers, but its dtype is <U1"),
        ("smooth_relu", ([1.0],), {"scale": [["x"]]}, "^scale must hold real numbers"),
        ("smooth_round", (EYE.astype(object),), {}, "^x must hold real numbers, but its dtype is object"),
        ("softmax_loss", (EYE, [[1], [2, 3]]), {}, "^target is not an array of one shape"),
        ("taylor_softmax", (1.0,), {}, "^x must have at least 1 dimension"),
        ("taylor_softmax_vjp", (EYE, np.ones((2, 3))), {}, "^x and grad must have the same length along axis -1"),
        ("taylor_softmax_vjp", (EYE, np.ones((3, 2))), {}, "^x and grad must have dimensions besides the rows'"),
        ("zlpr_sparse_loss", (EYE, list), {}, "^positive_ids must be a sequence of ids for each row"),
    ],
)
def test_errors_that_did_not_name_the_argument(name, args, options, message):
    with pytest.raises((TypeError, kexue.KexueValueError), match=message):
        getattr(kexue, name)(*args, **options)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="is float64")
@pytest.mark.parametrize("name", ["fwht", "layer_norm", "smooth_abs", "taylor_softmax"])
def test_long_double_is_refused_by_name(name):
    with pytest.raises(TypeError, match="^x must hold float64 at most, but its dtype is"):
        getattr(kexue, name)(np.ones(4, dtype=np.longdouble))


def test_a_keyword_that_a_ufunc_refuses_is_numpys_to_tell():
    with pytest.raises(ValueError, match="non-broadcastable output"):
        kexue.smooth_relu([1.0, 2.0], out=np.empty(1))


def test_no_inputs_no_noise():
    """The logits of no outputs have no largest one."""
    assert kexue.noise_regularizer(np.zeros((0, 2)), 0.1, loss="kl", f=[], from_logits=True) == 0


def test_frechet_distance_at_the_ends_of_the_range():
    mean, covariance = np.array([1.0, 2.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    expected = kexue.frechet_distance_from_statistics(mean, covariance, -mean, EYE)
    for exponent in (-500, 500):
        given = (np.ldexp(mean, exponent), np.ldexp(covariance, 2 * exponent))
        other = (np.ldexp(-mean, exponent), np.ldexp(EYE, 2 * exponent))
        found = kexue.frechet_distance_from_statistics(*given, *other)
        np.testing.assert_allclose(np.ldexp(found, -2 * exponent), expected, rtol=1e-14)


def test_padding_is_in_this_machines_byte_order():
    for x in (np.arange(3, dtype=">f8"), np.arange(4, dtype=">i4"), np.arange(4, dtype="<i4")):
        assert kexue.pad_to_power_of_two(x).dtype == x.dtype.newbyteorder("=")


# ---- what is no array of real numbers, and numbers at the ends of their range ----

ODD_NUMBERS = (np.nan, np.inf, -np.inf, -1.0, -0.0, 0.0, 5e-324, 1e-300, 1e154, 1e308, -1e308, 2.0**31, 2.0**63)
ODD_DTYPES = "f2 f4 g F D i1 u1 i8 u8 ? O U8 S8 M8[s] m8[s]".split()
NO_ARRAYS = (
    *(None, "text", b"bytes", 3.5, -1, 10**400, [10**400], 1j, True, object(), {"a": 1}, {1.0}),
    *([], [[]], [[1.0], [2.0, 3.0]]),
    *(datetime.date(2020, 1, 1), [None], ["x"], slice(3), Ellipsis, list, len, scipy.sparse.eye(3, format="csr")),
    np.zeros(3, dtype=[("a", "f8")]),
    np.zeros(3, dtype="V3"),
    np.ma.masked_array([1.0, 2.0], [True, False]),
)


def odd_values(array):
    for number in ODD_NUMBERS:
        one = array.astype(np.float64)
        one.flat[one.size // 2] = number
        yield from (one, np.full(array.shape, number))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for dtype in ODD_DTYPES:
            try:
                yield array.astype(dtype)
            except (TypeError, ValueError):  # no such dates
                continue
    yield np.ma.masked_array(array, array > 0)
    yield array.tolist()
    yield (number for number in array.ravel())


@pytest.mark.parametrize("name", sorted(CALLS))
def test_a_value_or_an_error_for_odd_arguments(name):
    """The long form goes through all; the short one through every eleventh, beginning elsewhere for each function."""
    call, step = CALLS[name], 1 if LONG else 11
    for number, place in enumerate(places_of_arrays(call)):
        values = [*odd_values(at_place(call, place)), *NO_ARRAYS]
        for value in values[(len(name) + number) % step :: step]:
            result = outcome(name, *replaced(call, place, value))
            if isinstance(result, Exception) and not from_a_callable_of_ours(result):
                require_told(name, result, overflow=True)


NUMBERS = st.floats(width=16) | st.sampled_from(ODD_NUMBERS) | st.integers(-(2**66), 2**66)
ARRAYS = hnp.arrays(
    hnp.floating_dtypes(endianness="?")
    | hnp.integer_dtypes(endianness="?")
    | hnp.boolean_dtypes()
    | hnp.complex_number_dtypes()
    | hnp.unicode_string_dtypes(max_len=3)
    | hnp.datetime64_dtypes(),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)
VALUES = ARRAYS | NUMBERS | st.sampled_from(NO_ARRAYS) | st.recursive(NUMBERS, lambda some: st.lists(some, max_size=4))


@settings(
    max_examples=20000 if LONG else 150, deadline=None, derandomize=not LONG, suppress_health_check=list(HealthCheck)
)
@given(st.data(), st.sampled_from(sorted(CALLS)))
def test_a_value_or_an_error_for_anything(data, name):
    call = CALLS[name]
    places = list(places_of_arrays(call))
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=2, unique=True)):
        call = replaced(call, place, data.draw(VALUES))
    result = outcome(name, *call)
    if isinstance(result, Exception) and not from_a_callable_of_ours(result):
        require_told(name, result, overflow=True)


# ---- more entries than int32 counts, of which memory holds one ----


def test_rows_of_more_than_two_to_the_31_entries():
    n = 2**31 + 1
    row = np.broadcast_to(np.float32(0.5), (n,))
    assert kexue.logsumexp(row) == np.float32(0.5 + np.log(n))
    assert kexue.entropy(row) == np.float32(np.log(n))  # of what is proportional to it
