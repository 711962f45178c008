"""Arrays of torch, JAX, array-api-strict, pandas, polars and xarray in every public function."""

import dataclasses
import importlib
import importlib.util
import inspect
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import kexue
from kexue._array_kinds import kind_of, same_kind, write
from reference.array_calls import CALLS, FUNCTIONS, UFUNCS, mapped

# Texts, sizes, random draws and functions in place of arrays.
WITHOUT_ARRAYS = {
    *("activation_moments", "activation_second_moment", "normalized_activation", "selu_constants", "smooth_function"),
    *("answers_match", "evaluate_expression", "format_answer", "normalize_equation", "normalize_question"),
    *("attention_param_budget", "crossover_lengths", "exp_taylor_min", "feature_dimension", "residual_branch_weights"),
    *("constrained_beam_search", "edit_distance", "lcs_f1", "longest_common_subsequence"),
    *("errstate", "get_include", "get_num_threads", "show_config", "strip_redundant_parentheses", "threads"),
    *("favor_projection", "orthogonal_init", "random_angle", "truncated_normal"),
}


class Torch:
    def __init__(self):
        self.namespace = pytest.importorskip("torch")
        self.array_type = self.namespace.Tensor

    def make(self, array):
        return self.namespace.from_numpy(array.copy())

    def dtype(self, array):
        return array.numpy().dtype


class Jax:
    def __init__(self):
        jax = pytest.importorskip("jax")
        jax.config.update("jax_enable_x64", True)
        self.namespace = jax.numpy
        self.array_type = jax.Array

    def make(self, array):
        return self.namespace.asarray(array)

    def dtype(self, array):
        return array.dtype


class Strict:
    def __init__(self):
        self.namespace = pytest.importorskip("array_api_strict")
        self.array_type = type(self.namespace.zeros(1))

    def make(self, array):
        return self.namespace.asarray(array, copy=True)

    def dtype(self, array):
        return np.asarray(array).dtype


class SmallestArray:
    """What the array API asks of an array that can be handed on, and no more."""

    def __init__(self, array):
        self.array = array

    def __array_namespace__(self, *, api_version=None):
        return SMALLEST

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


SMALLEST = SimpleNamespace(__name__="smallest", from_dlpack=lambda array: SmallestArray(np.from_dlpack(array)))


class Smallest:
    namespace, array_type = SMALLEST, SmallestArray

    def make(self, array):
        return SmallestArray(array.copy())

    def dtype(self, array):
        return array.array.dtype


# The smallest one is there without anything installed.
LIBRARIES = {"smallest": Smallest, "torch": Torch, "jax": Jax, "array_api_strict": Strict}
# Their path to small problems, and results that are numbers, have no decorator in front.
UNDECORATED = {"emd2", "rwmd", "wcd", "wmd", "wrd"}


@pytest.fixture(params=LIBRARIES)
def library(request):
    yield LIBRARIES[request.param]()
    if request.param == "jax":
        importlib.import_module("jax").config.update("jax_enable_x64", False)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def jax():
    return pytest.importorskip("jax")


@pytest.fixture
def strict():
    return pytest.importorskip("array_api_strict")


@pytest.fixture
def pandas():
    return pytest.importorskip("pandas")


def values(array):
    return array.array if isinstance(array, SmallestArray) else np.asarray(array)


def require_same(found, expected, library, wraps=True):
    """The numbers and dtypes of `expected`, in the library's arrays where `expected` has NumPy's."""
    if isinstance(expected, np.ndarray) and expected.dtype != object and wraps:
        assert isinstance(found, library.array_type)
        assert library.dtype(found) == expected.dtype
        np.testing.assert_array_equal(values(found), expected)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            require_same(*pair, library, wraps)
    elif isinstance(expected, dict) and not hasattr(expected, "nit"):
        assert list(found) == list(expected)
        for key in expected:
            require_same(found[key], expected[key], library, wraps)
    elif dataclasses.is_dataclass(expected):
        assert type(found) is type(expected)
        for field in dataclasses.fields(expected):
            require_same(getattr(found, field.name), getattr(expected, field.name), library, wraps=False)
    elif isinstance(expected, dict):  # OptimizeResult, an object that is a dict
        require_same(dict(found), dict(expected), library, wraps=False)
    else:
        assert type(found) is type(expected)
        np.testing.assert_array_equal(found, expected)


def public_functions():
    return {name for name in kexue.__all__ if callable(item := getattr(kexue, name)) and not inspect.isclass(item)}


def test_every_function_of_arrays_has_a_call():
    assert public_functions() == set(CALLS) | WITHOUT_ARRAYS
    assert not set(CALLS) & WITHOUT_ARRAYS
    assert all(isinstance(getattr(kexue, name), np.ufunc) == (name in UFUNCS) for name in CALLS)


@pytest.mark.parametrize("name", CALLS)
def test_the_same_numbers_in_the_same_kind(name, library):
    function, (args, options) = getattr(kexue, name), CALLS[name]
    expected = function(*args, **options)
    given = []

    def make(array):
        given.append((library.make(array), array))
        return given[-1][0]

    args, options = mapped(make, args), mapped(make, options)
    assert given
    if name in UFUNCS:  # they have arrays of no dimensions where NumPy has numbers
        expected = tuple(map(np.asarray, expected)) if isinstance(expected, tuple) else np.asarray(expected)
    require_same(function(*args, **options), expected, library)
    for array, before in given:
        np.testing.assert_array_equal(values(array), before)


class OnDevice:
    """An array on the first device of some type, which nothing can read."""

    def __init__(self, number):
        self.number = number

    def __dlpack_device__(self):
        if self.number is None:
            raise BufferError("it lies on four of them")
        return self.number, 0

    def __dlpack__(self, **options):
        raise AssertionError("read")

    def __array__(self, dtype=None, copy=None):
        raise AssertionError("read")


@pytest.fixture(params=["torch", "CUDA"])
def elsewhere(request):
    """Makes an array on another device of a NumPy array."""
    if request.param == "CUDA":
        return lambda array: OnDevice(2)
    torch = pytest.importorskip("torch")
    return lambda array: torch.from_numpy(array).to("meta")


def single_arrays():
    for name, (args, options) in FUNCTIONS.items():
        parameters = list(inspect.signature(getattr(kexue, name)).parameters)
        for argument, value in [*zip(parameters, args, strict=False), *options.items()]:
            holds = []
            mapped(holds.append, value)
            if holds:
                yield name, argument


@pytest.mark.parametrize(("name", "argument"), list(single_arrays()))
def test_an_array_on_another_device_is_refused_by_name(name, argument, elsewhere):
    function, (args, options) = getattr(kexue, name), FUNCTIONS[name]
    bound = inspect.signature(function).bind(*args, **options).arguments
    bound |= bound.pop("ufunc_kwargs", {})
    bound[argument] = mapped(elsewhere, bound[argument])
    kinds = inspect.signature(function).parameters
    positional = [bound.pop(key) for key in list(bound) if key in kinds and kinds[key].kind.name != "KEYWORD_ONLY"]
    with pytest.raises(TypeError, match=rf"^{argument}\S* is on another device \((meta|CUDA 0)\), but kexue computes"):
        function(*positional, **bound)


@pytest.mark.parametrize("name", UFUNCS)
def test_ufuncs_name_their_operands(name, elsewhere):
    ufunc, (args, _) = getattr(kexue, name), UFUNCS[name]
    for i, value in enumerate(args):
        if isinstance(value, np.ndarray):
            given = [*args[:i], elsewhere(value), *args[i + 1 :]]
            operand = f"x{i + 1}" if ufunc.nin > 1 else "x"
            with pytest.raises(
                TypeError, match=rf"^{operand} is on another device \((meta|CUDA 0)\), but kexue computes"
            ):
                ufunc(*given)


def test_ufunc_keywords(torch, jax):
    x, out = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.zeros(2, 2)
    assert kexue.squareplus(x, 1.0, out=out) is out and kexue.squareplus(x, 1.0, out) is out
    assert kexue.softmax(x, out=(out,)) is out
    np.testing.assert_array_equal(kexue.softmax(x, axis=0).numpy(), kexue.softmax(x.numpy(), axis=0))
    result = kexue.squareplus(x, 1.0, where=torch.tensor([True, False]), out=torch.zeros(2, 2))
    assert result[:, 1].tolist() == [0, 0] and result[0, 0] > 1
    assert kexue.softplus(x, dtype=np.float64).dtype == torch.float64
    entropy = kexue.entropy(torch.tensor([0.5, 0.5]))  # no dimensions, as torch has it
    assert kind_of(entropy) is torch and entropy.shape == ()
    with pytest.raises(TypeError, match="^out is on another device"):
        kexue.squareplus(x, 1.0, out=out.to("meta"))
    with pytest.raises(TypeError, match="^x2 is jax's, but x1 is torch's"):
        kexue.squareplus(x, jax.numpy.ones(2))
    with pytest.raises(TypeError, match="^x requires grad"):
        kexue.softmax(x.requires_grad_())


# ---- memory ----


def test_memory_is_shared_both_ways(torch):
    x = torch.rand(4, 3)
    q = kexue.random_projection(x, 2, rng=0)
    assert kind_of(q) is torch
    memory = {}

    @same_kind
    def look(array):
        memory["in"] = array
        memory["out"] = array + 1
        return memory["out"]

    result = look(x)
    assert memory["in"].ctypes.data == x.data_ptr()
    assert memory["out"].ctypes.data == result.data_ptr()
    # Strides stay as they are, no steps back.
    assert look(x.T).stride() == (1, 3)


def test_jax_memory_is_read_where_it_lies(jax):
    x, places = jax.numpy.ones((4, 3)), []
    same_kind(lambda array: places.append(array))(x)
    assert places[0].ctypes.data == x.unsafe_buffer_pointer()
    assert not places[0].flags.writeable
    # An array on a border of 64 bytes is taken as it is, another one is copied.
    buffer = np.empty(64 * 2, dtype=np.float32)
    start = -buffer.ctypes.data % 64 // 4
    for shift in (0, 1):
        array = buffer[start + shift : start + shift + 64]
        shared = write(jax.numpy, array).unsafe_buffer_pointer() == array.ctypes.data
        assert shared == (shift == 0)


def test_jax_without_float64(jax):
    assert not jax.config.jax_enable_x64
    cost = np.arange(12.0).reshape(3, 4)
    plan = kexue.emd(None, None, jax.numpy.asarray(cost))
    assert plan.dtype == np.float32
    # Integers compute in float64, of which JAX keeps float32 and tells nothing.
    plan = kexue.emd(None, None, jax.numpy.asarray(cost.astype(np.int32)))
    assert plan.dtype == np.float32
    np.testing.assert_allclose(np.asarray(plan), kexue.emd(None, None, cost), rtol=1e-6)


@pytest.mark.parametrize(
    "make", [np.flip, lambda a: np.broadcast_to(a[:1], (3, 4)), lambda a: a.astype(">f8"), np.transpose]
)
def test_results_in_odd_memory(make, library):
    array = make(np.arange(12.0).reshape(3, 4))
    require_same(write(library.namespace, array), array.astype("f8"), library)


def test_out(torch, jax):
    out = torch.zeros(4, 4, dtype=torch.float64)
    x = np.arange(12.0).reshape(4, 3)
    assert kexue.rbf_kernel(torch.from_numpy(x), bandwidth=1.0, out=out) is out
    np.testing.assert_array_equal(out.numpy(), kexue.rbf_kernel(x, bandwidth=1.0))
    (changed,), _ = kexue.clip_global_norm([x], 1.0, out=[out[:, :3]])
    assert changed.data_ptr() == out.data_ptr()
    with pytest.raises((TypeError, ValueError), match="out|read-only"):
        kexue.rbf_kernel(jax.numpy.asarray(x), bandwidth=1.0, out=jax.numpy.zeros((4, 4)))


# ---- what is refused, and what is not ----


def test_autograd_notices_what_is_written(torch):
    """A gradient of numbers that are no longer there would be wrong."""

    def squareplus(x):
        kexue.squareplus(x, 4.0, out=x)

    for write_to in (
        squareplus,
        lambda x: kexue.squareplus(x, 4.0, x),
        lambda x: kexue.squareplus(x, 4.0, out=(x,)),
        lambda x: kexue.clip_by_norm(x, 0.5, out=x),
        lambda x: kexue.clip_global_norm([x], 0.5, out=[x]),
    ):
        x, w = torch.ones(3), torch.ones(3, requires_grad=True)
        y = (w * x).sum()
        write_to(x)
        assert x[0] != 1
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.backward()
    x, w = torch.ones(3), torch.ones(3, requires_grad=True)
    y = (w * x).sum()
    kexue.squareplus(x, 4.0, out=torch.empty(3))
    y.backward()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's own, at the first use
def test_tensors_that_torch_transforms(torch):
    """They have no numbers yet, or a derivative that a NumPy array cannot have."""
    x = torch.rand(2, 3)
    for transform in (
        lambda f: torch.func.vmap(f)(x[None]),
        lambda f: torch.func.jvp(f, (x,), (x,)),
    ):
        for function in (lambda x: kexue.rbf_kernel(x, bandwidth=1.0), kexue.softmax):
            with pytest.raises(TypeError, match="^[xX] has no memory of its own, as under torch.func"):
                transform(function)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        for function in (lambda x: kexue.rbf_kernel(x, bandwidth=1.0), kexue.softmax):
            with pytest.raises(TypeError, match="^[xX] has a forward-mode derivative"):
                function(dual)
            assert isinstance(function(torch.autograd.forward_ad.unpack_dual(dual).primal), torch.Tensor)


def test_mixed_libraries(torch, jax, strict):
    M = np.ones((2, 2))
    for a in (torch.full((2,), 0.5), jax.numpy.full(2, 0.5), strict.full(2, 0.5)):
        assert kind_of(kexue.emd(a, [0.5, 0.5], M)) is kind_of(a)  # NumPy's arrays and lists stand aside
    with pytest.raises(TypeError, match="^b is jax's, but a is torch's: pass arrays of one library"):
        kexue.emd(torch.full((2,), 0.5), jax.numpy.full(2, 0.5), M)
    with pytest.raises(TypeError, match=r"^gradients\[1\] is array_api_strict's, but gradients\[0\] is torch's"):
        kexue.clip_global_norm([torch.ones(2), strict.ones(2)], 1.0)
    with pytest.raises(TypeError, match="^b is jax's, but a is torch's"):
        kexue.emd2(torch.full((3, 2), 0.5), jax.numpy.full(2, 0.5), M)


@pytest.mark.filterwarnings("ignore:.*quantized tensor", "ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("name", ["emd", "emd2", "hsic", "wmd", "pairwise_distances"])
def test_tensors_that_are_no_plain_arrays(name, torch):
    function, (args, options) = getattr(kexue, name), FUNCTIONS[name]
    tensor = torch.from_numpy(args[0])
    argument = next(iter(inspect.signature(function).parameters))
    for bad, message in [
        (tensor.clone().requires_grad_(), r"requires grad.*\.detach\(\).*kexue\.torch"),
        (torch.nn.Parameter(tensor), "requires grad"),
        (tensor.bfloat16(), r"dtype torch\.bfloat16, which NumPy lacks; call \.float\(\)"),
        (tensor.to_sparse(), r"layout sparse_coo; call \.to_dense\(\)"),
        (torch.quantize_per_tensor(tensor.float(), 0.1, 0, torch.quint8), r"quantized tensor; call \.dequantize\(\)"),
        (torch.nested.nested_tensor([tensor, tensor]), r"nested tensor"),
    ]:
        with pytest.raises(TypeError, match=f"^{argument} .*{message}"):
            function(bad, *args[1:], **options)
    with pytest.raises(TypeError, match=f"^{argument} must hold real numbers, but its dtype is complex"):
        function(tensor.to(torch.complex128), *args[1:], **options)
    with torch.no_grad():  # as torch's own functions
        function(torch.nn.Parameter(tensor), *args[1:], **options)


def test_pending_negation(torch):
    """DLPack hands such a tensor on with the signs that it has in memory."""
    x = torch.tensor([1 + 2j, 2 - 3j]).conj().imag
    assert x.is_neg() and x.tolist() == [-2, 3]
    assert kexue.clip_weights(x, 10.0).tolist() == [-2, 3]
    assert kexue._arrays.as_real("x", x).tolist() == [-2, 3]


@pytest.mark.parametrize("function", [kexue.emd, kexue.emd2])
@pytest.mark.parametrize(
    ("device", "title"),
    [(2, "CUDA 0"), (10, "ROCm 0"), (99, "DLPack device type 99 0"), (None, "it lies on four of them")],
)
def test_devices_by_number(device, title, function):
    with pytest.raises(TypeError, match=rf"^M is on another device \({title}\), but kexue computes on the CPU"):
        function(None, None, OnDevice(device))


def test_host_memory_of_a_device_is_read():
    class Pinned(OnDevice):
        def __array__(self, dtype=None, copy=None):
            return np.ones((2, 2))

    assert kexue.emd2(None, None, Pinned(3)) == 1


def test_dlpack_alone_is_enough():
    class Exporter:
        def __init__(self, array):
            self.array = array

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

    M = np.array([[0.0, 1.0], [1.0, 0.0]])
    assert kexue.emd2([0.5, 0.5], [0.25, 0.75], Exporter(M)) == 0.25
    plan = kexue.emd([0.5, 0.5], [0.25, 0.75], Exporter(M))
    assert type(plan) is np.ndarray and np.shares_memory(kexue._arrays.as_real("M", Exporter(M)), M)


def test_devices_of_the_array_api(strict):
    x = strict.ones((2, 2), device=strict.Device("device1"))
    for call in (kexue.emd, kexue.emd2):
        with pytest.raises(TypeError, match="^M .*device1"):
            call(None, None, x)


def test_lists_of_tensors(torch):
    rows = [torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])]
    plan = kexue.emd([0.5, 0.5], [0.5, 0.5], rows)
    assert kind_of(plan) is torch and plan.tolist() == [[0.5, 0], [0, 0.5]]
    with pytest.raises(TypeError, match=r"^M\[1\] is on another device"):
        kexue.emd(None, None, [rows[0], rows[1].to("meta")])
    with pytest.raises(TypeError, match=r"^M\[1\] is on another device"):
        kexue.emd2(None, None, [rows[0], rows[1].to("meta")])


def test_generators_and_mappings(torch):
    gradients = [torch.ones(3), torch.ones(2, 2)]
    clipped, norm = kexue.clip_global_norm((g for g in gradients), 1.0)
    assert norm == np.sqrt(7) and [kind_of(g) for g in clipped] == [torch, torch]
    layers = {"a": torch.rand(6, 2), "b": torch.rand(6, 3)}
    assert kind_of(kexue.cka_matrix(layers)) is torch


def test_the_same_array_twice_is_one(torch):
    x, seen = torch.ones(3), []
    same_kind(lambda a, b: seen.append(a is b))(x, x)
    assert seen == [True]
    assert same_kind(lambda a: a)(x) is x


def test_half_precision(torch):
    x = torch.rand(4, 3).half()
    result = kexue.layer_norm(x)
    assert result.dtype == torch.float32
    np.testing.assert_array_equal(result.numpy(), kexue.layer_norm(x.numpy()))


def test_bfloat16_of_jax(jax):
    with pytest.raises(TypeError, match="^M has the dtype bfloat16, which NumPy lacks; convert it to float32"):
        kexue.emd(None, None, jax.numpy.ones((2, 2), dtype=jax.numpy.bfloat16))
    with pytest.raises(TypeError, match="^M .* cannot be read as a NumPy array"):
        kexue.emd(None, None, jax.random.key(0))


def test_tracers(jax):
    jnp = jax.numpy
    M = jnp.asarray([[0.0, 1.0], [2.0, 0.0]])
    for transformed in (jax.jit, jax.grad, jax.vmap):
        with pytest.raises(TypeError, match=r"^M is traced by JAX \(jit, grad or vmap\).*jax\.pure_callback"):
            transformed(lambda M: kexue.emd2(None, None, M))(M)
        with pytest.raises(TypeError, match="^M is traced by JAX"):
            transformed(lambda M: kexue.emd(None, None, M).sum())(M)

    @jax.jit
    def cost(M):
        shape = jax.ShapeDtypeStruct(M.shape[:-2], M.dtype)
        return jax.pure_callback(
            lambda M: np.asarray(kexue.emd2(None, None, M), dtype=M.dtype), shape, M, vmap_method="expand_dims"
        )

    assert cost(M) == 0
    np.testing.assert_array_equal(jax.vmap(cost)(jnp.stack([M, M + 1, M * 0 + 3])), [0, 1, 3])


def test_callables_get_numpy_arrays_and_may_give_others(torch):
    seen = []

    def grad(x):
        seen.append(type(x))
        return torch.from_numpy(x) * 2

    result = kexue.vat_perturbation(grad, torch.ones(3), rng=0)
    assert kind_of(result) is torch and set(seen) == {np.ndarray}
    smooth = kexue.smooth_function(np.tanh)
    assert kind_of(smooth(torch.ones(3))) is torch


def test_objects_hold_numpy_arrays(torch):
    plan = kexue.solve(torch.rand(3, 4)).plan
    assert type(plan) is np.ndarray
    index = kexue.DocumentIndex(torch.rand(5, 3)).fit(np.eye(5))
    distances, _ = index.kneighbors(torch.eye(5)[:2], 2)
    assert type(distances) is np.ndarray
    map_ = kexue.gaussian_ot_map(torch.zeros(2), torch.eye(2), torch.ones(2), torch.eye(2))
    np.testing.assert_array_equal(map_(torch.zeros(3, 2)), np.ones((3, 2)))
    with pytest.raises(TypeError, match="^vectors is on another device"):
        kexue.DocumentIndex(torch.rand(5, 3, device="meta"))
    with pytest.raises(TypeError, match="^vectors is on another device"):
        kexue.WordVectors(["a"], torch.ones(1, 2, device="meta"))


def test_tokens(torch):
    a, b = torch.tensor([1, 2, 3]), torch.tensor([2, 3, 4])
    assert kexue.longest_common_subsequence(a, b) == kexue.edit_distance(a, b) == 2
    assert kexue.lcs_f1(a, b) == 2 / 3
    for function in (kexue.longest_common_subsequence, kexue.edit_distance, kexue.lcs_f1):
        with pytest.raises(TypeError, match="^b is on another device"):
            function(a, b.to("meta"))
    tree = kexue.PrefixTree([a, b])
    found = kexue.constrained_beam_search(lambda prefixes: torch.zeros(len(prefixes), 6), tree, end_token=0)
    assert sorted(one.tokens.tolist() for one in found) == [[1, 2, 3], [2, 3, 4]]
    with pytest.raises(TypeError, match="^step must return .* it is on another device"):
        kexue.constrained_beam_search(lambda p: torch.zeros(len(p), 6, device="meta"), tree, end_token=0)


# ---- the decorator ----


def test_the_decorator_keeps_what_a_function_is():
    for name in FUNCTIONS:
        function = getattr(kexue, name)
        assert pickle.loads(pickle.dumps(function)) is function
        assert getattr(importlib.import_module(f"kexue.{kexue._HOME[name]}"), name) is function
        assert hasattr(function, "__wrapped__") == (name not in UNDECORATED)
        if name not in UNDECORATED:
            assert inspect.signature(function) == inspect.signature(function.__wrapped__)
            assert function.__doc__ == function.__wrapped__.__doc__
            assert function.__name__ == name and function.__globals__ is function.__wrapped__.__globals__


def test_what_is_no_array_takes_the_short_way(monkeypatch):
    """Lists of numbers, however deep, are looked at once."""
    looked_at = []
    monkeypatch.setattr("kexue._array_kinds._call", lambda function, args, keywords: looked_at.append(args or keywords))
    function = same_kind(lambda *args, **keywords: (args, keywords))
    array, numbers = np.ones(2), [[1, 2.0], (np.float32(3), None), []]
    assert function(array, numbers, 1.0, option=numbers, out=[array]) == (
        (array, numbers, 1.0),
        {"option": numbers, "out": [array]},
    )
    other = SmallestArray(array)
    for foreign in (other, [other], [[1.0], [2.0, other]], (1.0, [other])):
        function(foreign)
        function(1.0, option=foreign)
    assert len(looked_at) == 8


def test_errors_of_calls_are_pythons(torch):
    x = torch.ones(2, 2)
    for call in (lambda: kexue.emd(x, x, x, x), lambda: kexue.emd(x), lambda: kexue.emd(x, x, x, wrong=x)):
        with pytest.raises(TypeError, match=r"emd\(\) (takes|missing|got)"):
            call()


# ---- pandas, polars, xarray ----


def test_ufuncs_keep_pandas_labels(pandas):
    series = pandas.Series([1.0, -2.0, 3.0], index=["a", "b", "c"], name="value")
    frame = pandas.DataFrame({"u": [1.0, 2.0], "v": [0.5, -1.0]}, index=["a", "b"])
    for name in UFUNCS:
        ufunc = getattr(kexue, name)
        if ufunc.nin == 1 and ufunc.signature is None:
            pandas.testing.assert_series_equal(
                ufunc(series), pandas.Series(ufunc(series.to_numpy()), series.index, name="value")
            )
            expected = pandas.DataFrame(ufunc(frame.to_numpy()), frame.index, frame.columns)
            pandas.testing.assert_frame_equal(ufunc(frame), expected)
    result = kexue.squareplus(series, pandas.Series([1.0, 2.0, 4.0], index=["a", "b", "c"]))
    assert list(result.index) == ["a", "b", "c"]
    expected = pandas.Series(kexue.smooth_relu(series.to_numpy()), series.index, name="value")
    pandas.testing.assert_series_equal(kexue.smooth_relu(series), expected)


def test_gufuncs_on_rows_of_a_frame(pandas):
    """pandas would apply them to its blocks, which are transposed."""
    values = np.array([[1.0, 0.5, 2.0], [2.0, -1.0, 3.0]])
    frame = pandas.DataFrame(values, ["a", "b"], ["u", "v", "w"])
    for axis in (-1, 1, 0):
        expected = pandas.DataFrame(kexue.softmax(values, axis=axis), frame.index, frame.columns)
        pandas.testing.assert_frame_equal(kexue.softmax(frame, axis=axis), expected)
        left = frame.columns if axis == 0 else frame.index
        expected = pandas.Series(kexue.logsumexp(values, axis=axis), left)
        pandas.testing.assert_series_equal(kexue.logsumexp(frame, axis=axis), expected)
    pandas.testing.assert_frame_equal(kexue.softmax(frame.astype("Float64")), kexue.softmax(frame))
    for axis in (-1, 0):  # it names its axes one by one
        expected = pandas.DataFrame(kexue.taylor_softmax(values, axis=axis), frame.index, frame.columns)
        pandas.testing.assert_frame_equal(kexue.taylor_softmax(frame, axis=axis), expected)
    assert isinstance(kexue.softmax(frame, axes=[1, 0]), np.ndarray)
    whole = pandas.DataFrame({"u": [1, 2], "v": [0.5, -1.0], "w": [2.0, 3.0]}, ["a", "b"])  # two blocks
    pandas.testing.assert_frame_equal(kexue.softmax(whole), kexue.softmax(frame))
    cosines = kexue.cosine_pairs(frame, frame * 2)
    pandas.testing.assert_series_equal(cosines, pandas.Series([1.0, 1.0], frame.index))
    pandas.testing.assert_series_equal(kexue.cosine_pairs(frame, values), cosines)
    first, second = kexue.cosine_pairs_vjp(frame, values, np.ones(2))
    assert isinstance(first, pandas.DataFrame) and isinstance(second, pandas.DataFrame)
    out = np.empty((2, 3))
    assert kexue.softmax(frame, out=out) is out
    assert isinstance(kexue.logsumexp(frame, keepdims=True), np.ndarray)
    with pytest.raises(kexue.KexueValueError, match="^x2 must have the index and the columns of x1"):
        kexue.cosine_pairs(frame, frame.iloc[::-1])
    with pytest.raises(TypeError, match="^x must hold real numbers, but its column 'name' has the dtype"):
        kexue.softmax(frame.assign(name=["x", "y"]))
    series = frame["u"]
    pandas.testing.assert_series_equal(
        kexue.softmax(series), pandas.Series(kexue.softmax(values[:, 0]), series.index, name="u")
    )
    assert kexue.logsumexp(series) == kexue.logsumexp(values[:, 0])


def test_functions_take_tables(pandas):
    values = np.random.default_rng(0).random((6, 3))
    frame = pandas.DataFrame(values, columns=["u", "v", "w"])
    expected = kexue.rbf_kernel(values, bandwidth=1.0)
    assert type(kexue.rbf_kernel(frame, bandwidth=1.0)) is np.ndarray
    for same in (frame, frame.astype("Float64"), frame.astype("double[pyarrow]") if has("pyarrow") else frame):
        np.testing.assert_array_equal(kexue.rbf_kernel(same, bandwidth=1.0), expected)
        assert kexue.hsic(same, frame["u"].to_numpy()[:, None]) == kexue.hsic(values, values[:, :1])
    assert kexue.emd2(frame["u"] / frame["u"].sum(), None, np.ones((6, 2))) == pytest.approx(1)


@pytest.mark.parametrize(
    ("columns", "dtype"),
    [
        ({"a": "Float32", "b": "Float32"}, np.float32),
        ({"a": "Float32", "b": "float32"}, np.float32),
        ({"a": "Int64", "b": "Float64"}, np.float64),
        ({"a": "boolean", "b": "float64"}, np.float64),
        ({"a": "bool", "b": "int8"}, np.float64),
        ({"a": "bool", "b": "Sparse[float64]"}, np.float64),
        ({"a": "Int32", "b": "Int32"}, np.float64),
    ],
)
def test_dtypes_of_tables(columns, dtype, pandas):
    frame = pandas.DataFrame({"a": [1, 0, 1], "b": [2, 3, 4]}).astype(columns)
    array = kexue._arrays.as_real("X", frame)
    assert array.dtype == kexue._arrays.result_dtype(frame) == dtype
    assert array.tolist() == [[1, 2], [0, 3], [1, 4]]


def test_missing_numbers_in_tables(pandas):
    frame = pandas.DataFrame({"a": [1, None, 3], "b": [1.0, 2.0, 3.0]}).convert_dtypes()
    assert frame.dtypes.iloc[0].name == "Int64"
    for given in (frame, frame["a"].to_frame()):
        with pytest.raises(kexue.KexueValueError, match=r"^X\[1, 0\] is nan"):
            kexue.hsic(given, [[1.0], [2.0], [4.0]])
    assert np.isnan(kexue._arrays.as_real("x", frame["a"])).tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["rbf_kernel", "emd", "emd2", "hsic", "layer_norm"])
def test_a_column_without_numbers_is_named(name, pandas):
    frame = pandas.DataFrame({"u": [1.0, 2.0], "name": ["x", "y"]})
    when = pandas.DataFrame({"u": [1.0, 2.0], "when": pandas.to_datetime(["2020-01-01", "2021-01-01"])})
    for bad, column in ((frame, "name"), (when, "when")):
        args = (None, None, bad) if name.startswith("emd") else (bad, [[1.0], [2.0]]) if name == "hsic" else (bad,)
        argument = list(inspect.signature(getattr(kexue, name)).parameters)[2 if name.startswith("emd") else 0]
        with pytest.raises(
            TypeError, match=f"^{argument} must hold real numbers, but its column '{column}' has the dtype"
        ):
            getattr(kexue, name)(*args)


def has(library):
    return importlib.util.find_spec(library) is not None


def test_polars():
    polars = pytest.importorskip("polars")
    series, values = polars.Series("u", [1.0, -2.0, 3.0]), np.array([1.0, -2.0, 3.0])
    assert kexue.squareplus(series, 1.0).to_list() == kexue.squareplus(values, 1.0).tolist()
    frame = polars.DataFrame({"u": [1.0, -2.0, 3.0], "v": [0.5, 1.0, 2.0]})
    np.testing.assert_array_equal(
        kexue.rbf_kernel(frame, bandwidth=1.0), kexue.rbf_kernel(frame.to_numpy(), bandwidth=1.0)
    )
    np.testing.assert_array_equal(kexue.softmax(frame), kexue.softmax(frame.to_numpy()))
    with pytest.raises(TypeError, match="^X must hold real numbers, but its column 'name' has the dtype String"):
        kexue.rbf_kernel(frame.with_columns(polars.Series("name", ["x", "y", "z"])), bandwidth=1.0)


def test_arrow():
    pyarrow = pytest.importorskip("pyarrow")
    x = pyarrow.array([1.0, -2.0, 3.0])
    for result in (kexue.squareplus(x, 1.0), kexue.softmax(x), kexue.clip_weights(x, 1.0)):
        assert type(result) is np.ndarray  # there is no way back that would keep its kind
    assert kexue.clip_weights(x, 1.0).tolist() == [1, -1, 1]


def test_xarray():
    xarray = pytest.importorskip("xarray")
    values = np.random.default_rng(0).random((2, 3, 4)) + 0.1
    x = xarray.DataArray(
        values, dims=("time", "place", "kind"), coords={"time": [10, 20], "kind": list("abcd")}, name="x"
    )
    for result, expected in [
        (kexue.squareplus(x, 1.0), kexue.squareplus(values, 1.0)),
        (kexue.smooth_relu(x, scale=0.5), kexue.smooth_relu(values, scale=0.5)),
        (
            xarray.apply_ufunc(kexue.softmax, x, input_core_dims=[["kind"]], output_core_dims=[["kind"]]),
            kexue.softmax(values),
        ),
        (xarray.apply_ufunc(kexue.entropy, x, input_core_dims=[["kind"]]).rename("x"), kexue.entropy(values)),
    ]:
        assert isinstance(result, xarray.DataArray)
        np.testing.assert_array_equal(result.values, expected)
        assert result.dims == x.dims[: result.ndim] and result.coords["time"].equals(x.coords["time"])
    with pytest.raises(NotImplementedError, match="apply_ufunc"):
        kexue.softmax(x)
    np.testing.assert_array_equal(kexue.rbf_kernel(x[0], bandwidth=1.0), kexue.rbf_kernel(values[0], bandwidth=1.0))
    set_ = kexue.squareplus(x.to_dataset(), 1.0)
    np.testing.assert_array_equal(set_["x"].values, kexue.squareplus(values, 1.0))


def test_xarray_in_chunks():
    xarray, _ = pytest.importorskip("xarray"), pytest.importorskip("dask")
    values = np.random.default_rng(0).random((4, 3, 5)) + 0.1
    x = xarray.DataArray(values, dims=("time", "place", "kind"), coords={"time": [1, 2, 3, 4]}).chunk({"time": 2})
    lazy = kexue.squareplus(x, 1.0)
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy.values, kexue.squareplus(values, 1.0))
    core = {"input_core_dims": [["kind"]], "output_core_dims": [["kind"]]}
    for extra in ({"dask": "parallelized", "output_dtypes": [float]}, {"dask": "allowed"}):
        lazy = xarray.apply_ufunc(kexue.softmax, x, **core, **extra)
        assert lazy.chunks is not None and lazy.coords["time"].equals(x.coords["time"])
        np.testing.assert_array_equal(lazy.values, kexue.softmax(values))
