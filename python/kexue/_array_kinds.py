"""Arrays of other libraries: read where they lie, and results handed back in their kind.

A kind is the namespace of a library: torch, jax.numpy, array_api_strict and whatever has `__array_namespace__`. What
stays lazy (Dask) or keeps its labels through ufuncs (pandas, xarray) is no kind: it goes its own way.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import update_wrapper
from types import BuiltinFunctionType, FunctionType, GeneratorType, NoneType
from typing import Any, NoReturn, TypeVar, cast

import numpy as np

from kexue._errors import KexueValueError

Function = TypeVar("Function", bound=Callable[..., Any])

# No array of another library, and no container of one.
_PLAIN = frozenset(
    {
        *(NoneType, bool, int, float, complex, str, bytes, np.ndarray, np.random.Generator),
        *(np.float32, np.float64, np.int32, np.int64, np.bool_, FunctionType, BuiltinFunctionType),
    }
)
# kDLCPU, and memory of a device that the host can read: pinned by CUDA or ROCm, or managed.
_READABLE_DEVICES = frozenset({1, 3, 11, 13})
_DEVICE_NAMES = {2: "CUDA", 4: "OpenCL", 7: "Vulkan", 8: "Metal", 10: "ROCm", 14: "oneAPI"}


def is_foreign(value: Any) -> bool:
    """Whether a value is an array of another library, which `read` has to look at.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._array_kinds import is_foreign
    >>> is_foreign(np.ones(2)), is_foreign([1.0])
    (False, False)
    """
    cls = type(value)
    if cls in _PLAIN or isinstance(value, (np.ndarray, np.generic)):
        return False
    is_array = hasattr(cls, "__dlpack__") or hasattr(cls, "__array_namespace__")
    return is_array and cls.__module__.partition(".")[0] != "dask"


def kind_of(value: Any) -> Any:
    """The namespace of an array that is neither NumPy's nor lazy, if there is a way back to it.

    Parameters
    ----------
    value : object

    Returns
    -------
    module or None
        None for all else.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._array_kinds import kind_of
    >>> kind_of(np.ones(2)) is None
    True
    """
    if not is_foreign(value):
        return None
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        return torch
    return value.__array_namespace__() if hasattr(type(value), "__array_namespace__") else None


def read(name: str, value: Any) -> np.ndarray:
    """A NumPy array on the memory of another library's array.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : object
        It has `__array__`, a buffer or `__dlpack__`.

    Returns
    -------
    ndarray
        A copy only where a negation of torch's is pending.

    Raises
    ------
    TypeError
        If the array is on another device, requires grad, is traced, or has a layout or a dtype that NumPy lacks.

    Examples
    --------
    >>> from array import array
    >>> from kexue._array_kinds import read
    >>> read("x", array("d", [1.0, 2.0]))
    array([1., 2.])
    """
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(value, getattr(torch, "Tensor", ())):
        return _read_tensor(name, value, torch)
    jax = sys.modules.get("jax")
    if jax is not None and isinstance(value, getattr(getattr(jax, "core", None), "Tracer", ())):
        raise TypeError(
            f"{name} is traced by JAX (jit, grad or vmap), but kexue computes on numbers that are there; "
            "call it through jax.pure_callback, or outside of the transformation"
        )
    _check_device(name, value)
    try:
        array = np.asarray(value) if hasattr(value, "__array__") or not hasattr(value, "__dlpack__") else None
        if array is None:
            array = np.from_dlpack(value)
    except Exception as error:
        _refuse(name, value, error)
    if array.dtype.kind == "V" and array.dtype.names is None:  # bfloat16 and float8 of ml_dtypes, which JAX uses
        raise TypeError(f"{name} has the dtype {array.dtype}, which NumPy lacks; convert it to float32 first")
    return array


def _read_tensor(name: str, tensor: Any, torch: Any) -> np.ndarray:
    if tensor.is_nested:
        raise TypeError(f"{name} is a nested tensor; pass its parts (.unbind()) one by one, or .to_padded_tensor(0)")
    if tensor.layout is not torch.strided:
        layout = str(tensor.layout).removeprefix("torch.")
        raise TypeError(f"{name} is a tensor of layout {layout}; call .to_dense() first")
    if tensor.device.type != "cpu":
        raise TypeError(_other_device(name, str(tensor.device), ".cpu()"))
    if tensor.requires_grad:
        if torch.is_grad_enabled():
            raise TypeError(
                f"{name} requires grad, but this function has no derivative that torch knows: pass .detach(), "
                "or use kexue.torch for the functions that are there"
            )
        tensor = tensor.detach()
    if tensor.is_quantized:
        raise TypeError(f"{name} is a quantized tensor; call .dequantize() first")
    # torch 2.13 exports such tensors through DLPack with the sign that they have in memory.
    tensor = tensor.resolve_conj().resolve_neg()
    try:
        array = tensor.numpy()
    except RuntimeError as error:
        raise TypeError(
            f"{name} has no memory of its own, as under torch.func (vmap, grad, jvp) or while torch traces, "
            "but kexue computes on numbers that are there"
        ) from error
    except TypeError as error:
        if tensor.dtype.is_floating_point:
            raise TypeError(f"{name} has the dtype {tensor.dtype}, which NumPy lacks; call .float() first") from error
        _refuse(name, tensor, error)
    if torch.autograd.forward_ad.unpack_dual(tensor).tangent is not None:
        raise TypeError(f"{name} has a forward-mode derivative, which would be lost: pass unpack_dual({name}).primal")
    return array


def _check_device(name: str, value: Any) -> None:
    if not hasattr(type(value), "__dlpack_device__"):
        return
    try:
        device, number = value.__dlpack_device__()
    except Exception as error:  # spread over several devices, or on one that DLPack has no number for
        where = getattr(value, "device", None)
        raise TypeError(_other_device(name, str(error if where is None else where), "copy it there")) from error
    if int(device) not in _READABLE_DEVICES:
        kind = _DEVICE_NAMES.get(int(device), f"DLPack device type {int(device)}")
        raise TypeError(_other_device(name, f"{kind} {number}", _to_cpu(value)))


def _to_cpu(value: Any) -> str:
    library = type(value).__module__.partition(".")[0]
    return {"cupy": "cupy.asnumpy(x)", "jax": 'jax.device_put(x, jax.devices("cpu")[0])'}.get(library, "copy it there")


def _other_device(name: str, device: str, remedy: str) -> str:
    return f"{name} is on another device ({device}), but kexue computes on the CPU; move it there first: {remedy}"


def _refuse(name: str, value: Any, error: Exception) -> NoReturn:
    kind = f"{type(value).__module__.partition('.')[0]}.{type(value).__name__}"
    raise TypeError(f"{name} ({kind}) cannot be read as a NumPy array: {error}") from error


def write(kind: Any, array: np.ndarray) -> Any:
    """An array of a kind with the numbers of a NumPy array, on the same memory where the library can do that.

    Parameters
    ----------
    kind : module
        As `kind_of` gives it.
    array : ndarray

    Returns
    -------
    array of the kind
        The array itself where it holds no real numbers: these have no place in other libraries.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._array_kinds import write
    >>> write(np, np.ones(2))
    array([1., 1.])
    """
    if array.dtype.kind not in "biuf":
        return array
    is_torch = kind is sys.modules.get("torch")
    flags = array.flags
    # torch knows no negative steps, others may know no gaps, and none of them read-only or byte-swapped memory.
    fits = min(array.strides, default=0) >= 0 if is_torch else flags.c_contiguous or flags.f_contiguous
    if not (fits and flags.writeable and array.dtype.isnative):
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    return kind.from_numpy(array) if is_torch else kind.from_dlpack(array)


class _Call:
    """The arguments of one call in NumPy's arrays, and the way back."""

    def __init__(self) -> None:
        self.kind: Any = None
        self.place = ""
        self.read: dict[int, tuple[Any, np.ndarray]] = {}

    def enter(self, name: str, value: Any) -> Any:
        """The value with NumPy's arrays in place of others; the value itself where there is none."""
        if type(value) in _PLAIN:
            return value
        if isinstance(value, (list, tuple)):
            if _is_plain_list(value):
                return value
            items = [self.enter(f"{name}[{i}]", item) for i, item in enumerate(value)]
            if all(map(_is, items, value)):
                return value
            return items if isinstance(value, list) else value._make(items) if hasattr(value, "_make") else tuple(items)
        if isinstance(value, dict):
            entries = {key: self.enter(f"{name}[{key!r}]", item) for key, item in value.items()}
            return value if all(map(_is, entries.values(), value.values())) else entries
        if isinstance(value, (GeneratorType, map, filter, zip)):  # may be long: item by item, as it is consumed
            return (self.enter(f"{name}[{i}]", item) for i, item in enumerate(value))
        if not is_foreign(value):
            return value
        if id(value) not in self.read:
            array, kind = read(name, value), kind_of(value)
            if kind is None:  # no way back: its result is NumPy's
                return array
            if self.kind is None:
                self.kind, self.place = kind, name
            elif self.kind is not kind:
                raise TypeError(
                    f"{name} is {_title(kind)}'s, but {self.place} is {_title(self.kind)}'s: pass arrays of one "
                    "library, NumPy's beside them"
                )
            self.read[id(value)] = value, array
        torch: Any = sys.modules.get("torch")
        if self.kind is torch and name.partition("[")[0] == "out":
            torch.autograd.graph.increment_version(value)  # autograd has to notice, if it needs the old numbers
        return self.read[id(value)][1]

    def leave(self, result: Any) -> Any:
        if type(result) is np.ndarray:
            for original, array in self.read.values():
                if result is array:  # `out`, or an argument that needed no change
                    return original
            return write(self.kind, result)
        if type(result) in (list, tuple):
            return type(result)(map(self.leave, result))
        if type(result) is dict:
            return {key: self.leave(item) for key, item in result.items()}
        return result


def _is_plain_list(value: Any) -> bool:
    """Whether it is a list or tuple without arrays of other libraries, also in lists there."""
    if type(value) is not list and type(value) is not tuple:
        return False
    if _PLAIN.issuperset(map(type, value)):
        return True
    for item in value:
        if type(item) not in _PLAIN and not _is_plain_list(item):
            return False
    return True


def _is(first: Any, second: Any) -> bool:
    return first is second


def _title(kind: Any) -> str:
    return kind.__name__.partition(".")[0]


def _call(function: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    call = _Call()
    code = function.__code__
    names = code.co_varnames[: code.co_argcount]
    positional = [call.enter(name, value) for name, value in zip(names, args, strict=False)]
    if len(positional) < len(args):  # too many: Python tells
        return function(*args, **keywords)
    result = function(*positional, **{name: call.enter(name, value) for name, value in keywords.items()})
    return result if call.kind is None else call.leave(result)


def call_ufunc(ufunc: np.ufunc, *args: Any, **keywords: Any) -> Any:
    """A ufunc's result in the kind of its operands: the ufuncs of kexue call it where one is not NumPy's.

    Parameters
    ----------
    ufunc : ufunc
    *args, **keywords
        As for the ufunc.

    Returns
    -------
    array of the kind, or a tuple of such ones
        Of no dimensions in place of a number, as the functions of these libraries have it.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._array_kinds import call_ufunc
    >>> call_ufunc(np.sqrt, 4.0)
    np.float64(2.0)
    """
    operands = [f"x{i}" for i in range(1, ufunc.nin + 1)] if ufunc.nin > 1 else ["x"]
    names = operands + ["out"] * (len(args) - ufunc.nin)
    if ufunc.signature is not None and any(map(_is_table, args)):
        return _call_on_tables(ufunc, names, args, keywords)
    call = _Call()
    results = ufunc(
        *map(call.enter, names, args), **{name: call.enter(name, value) for name, value in keywords.items()}
    )
    if call.kind is None:
        return results
    parts = [call.leave(np.asarray(result)) for result in (results if ufunc.nout > 1 else (results,))]
    return tuple(parts) if ufunc.nout > 1 else parts[0]


def _is_table(value: Any) -> bool:
    return hasattr(value, "iloc") and hasattr(value, "columns")


def _call_on_tables(ufunc: np.ufunc, names: list[str], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """A gufunc of tables of pandas: of rows, or of columns for ``axis=0``, whose labels the results keep."""
    from kexue._arrays import as_real

    tables = {name: value for name, value in zip(names, args, strict=False) if _is_table(value)}
    first, table = next(iter(tables.items()))
    for name, other in tables.items():
        if not (other.index.equals(table.index) and other.columns.equals(table.columns)):
            raise KexueValueError(f"{name} must have the index and the columns of {first}; align them first")
    results = ufunc(
        *(as_real(name, value) if name in tables else value for name, value in zip(names, args, strict=False)),
        **keywords,
    )
    # Entries of `axes` are integers or tuples of one, or empty for an operand without a core dimension.
    axes = {np.atleast_1d(axis).tolist()[0] for axis in keywords.get("axes", ()) if np.size(axis)}
    if len(axes) > 1 or "keepdims" in keywords or keywords.get("out") is not None or len(args) > ufunc.nin:
        return results
    left = table.index if (axes or {keywords.get("axis", -1)}) <= {-1, 1} else table.columns
    pandas = sys.modules["pandas"]

    def labelled(result: Any) -> Any:
        if result.shape == table.shape:
            return pandas.DataFrame(result, index=table.index, columns=table.columns)
        return pandas.Series(result, index=left) if result.shape == left.shape else result

    return tuple(map(labelled, results)) if ufunc.nout > 1 else labelled(results)


def same_kind(function: Function) -> Function:
    """Make a function of NumPy's arrays one of arrays of any library on the CPU, with results in their kind.

    Arrays are looked for in the arguments, and in lists, tuples, dicts and generators there. Those of NumPy, and
    what NumPy makes arrays of, may stand beside those of one other library. Arrays in results, and in tuples, lists
    and dicts there, are of that library too; numbers stay numbers, and objects of kexue hold NumPy's arrays. A call
    with NumPy's arrays takes 0.2 us longer.

    Parameters
    ----------
    function : callable

    Returns
    -------
    callable

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._array_kinds import same_kind
    >>> @same_kind
    ... def double(x):
    ...     return 2 * x
    >>> double(np.ones(2))
    array([2., 2.])
    """
    plain, is_plain_list, call = _PLAIN, _is_plain_list, _call

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for value in args:
            if type(value) not in plain and not is_plain_list(value):
                return call(function, args, kwargs)
        for name in kwargs:
            if type(kwargs[name]) not in plain and not is_plain_list(kwargs[name]):
                return call(function, args, kwargs)
        return function(*args, **kwargs)

    # With the module's own globals, by which doctest tells what belongs to a module.
    own = FunctionType(wrapper.__code__, function.__globals__, function.__name__, None, wrapper.__closure__)
    return cast(Function, update_wrapper(own, function))
