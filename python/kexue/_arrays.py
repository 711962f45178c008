"""The one check that every array argument goes through."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from kexue._array_kinds import is_foreign, read
from kexue._errors import KexueValueError
from kexue._lazy import is_lazy

_FLOAT32 = np.dtype(np.float32)
_FLOAT64 = np.dtype(np.float64)


def as_real(
    name: str, value: ArrayLike, *, ndim: int | tuple[int, ...] | None = None, dtype: DTypeLike | None = None
) -> np.ndarray:
    """Make an array of float32 or float64 out of anything that holds real numbers.

    float32 stays, float16 becomes float32; float64, integers, bool and long double become float64. The array
    is native-endian. It shares its memory with `value` where it can, with whatever strides and alignment that
    has: see `as_contiguous`.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : array_like
        Real numbers. A masked array is refused: its mask would be lost.
    ndim : int or tuple of int, optional
        The number of dimensions that is required, or the ones that are allowed.
    dtype : {float32, float64}, optional
        Convert to this one in place of the rule.

    Returns
    -------
    ndarray
        Of the base class.

    Raises
    ------
    TypeError
        If `value` does not hold real numbers.
    KexueValueError
        If a nested list is ragged, or the number of dimensions is wrong.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._arrays import as_real
    >>> as_real("a", [1, 2]).dtype
    dtype('float64')
    >>> as_real("a", np.ones(2, dtype=np.float16)).dtype
    dtype('float32')
    >>> as_real("a", ["x"])
    Traceback (most recent call last):
    TypeError: a must hold real numbers, but its dtype is <U1
    """
    array = value if type(value) is np.ndarray else as_array(name, value)
    wanted = _real_dtype(name, array.dtype)
    if dtype is not None:
        wanted = np.dtype(dtype)
    # A dtype of the other byte order is not the same object as the native one, and not equal to it.
    if array.dtype is not wanted and array.dtype != wanted:
        array = array.astype(wanted)
    if ndim is not None and array.ndim != ndim and not (isinstance(ndim, tuple) and array.ndim in ndim):
        allowed = " or ".join(str(n) for n in ndim) if isinstance(ndim, tuple) else ndim
        plural = "" if ndim == 1 else "s"
        raise KexueValueError(f"{name} must have {allowed} dimension{plural}, but its shape is {array.shape}")
    return array


def as_real_like(
    name: str, value: ArrayLike, like: str, array: np.ndarray, dtype: DTypeLike | None = None
) -> np.ndarray:
    """`as_real` of what must have the shape of another argument.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : array_like
    like : str
        The other one's name.
    array : ndarray
        The other one.
    dtype : {float32, float64}, optional

    Returns
    -------
    ndarray

    Raises
    ------
    TypeError
        If `value` does not hold real numbers.
    KexueValueError
        If it has another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._arrays import as_real_like
    >>> as_real_like("start", [1, 2], "x", np.zeros(2))
    array([1., 2.])
    """
    result = as_real(name, value, dtype=dtype)
    if result.shape != array.shape:
        raise KexueValueError(f"{name} must have the shape of {like}, {array.shape}, but it has {result.shape}")
    return result


def as_array(name: str, value: Any) -> np.ndarray:
    """What `numpy.asarray` makes of it, with errors that name the argument; a masked array is refused.

    Arrays of other libraries are read where they lie: see `kexue._array_kinds.read`. Missing numbers in a table of
    pandas are NaN.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : array_like

    Returns
    -------
    ndarray
        Of any dtype, and of the base class.

    Raises
    ------
    TypeError
        If `value` is a masked array, one that the processor cannot read, or no array at all.
    KexueValueError
        If a nested list is ragged.

    Examples
    --------
    >>> from kexue._arrays import as_array
    >>> as_array("mask", [True, False])
    array([ True, False])
    """
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array; fill it or drop the masked entries first")
    if is_foreign(value):
        return read(name, value)
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise KexueValueError(f"{name} is not an array of one shape: {error}") from error
    except (TypeError, RuntimeError) as error:  # a list of tensors that cannot be read
        raise TypeError(f"{name} cannot be read as a NumPy array: {error}") from error
    if array.dtype == object and array.ndim == 0:
        raise TypeError(f"{name} must be an array of real numbers, not {type(value).__name__}")
    if array.dtype.kind not in "biufc" and hasattr(value, "columns") and hasattr(value, "dtypes"):
        return _numbers_of_table(name, value)
    return array


def _numbers_of_table(name: str, frame: Any) -> np.ndarray:
    """A table of pandas whose columns have dtypes that NumPy lacks, or has no common one for: bool and float."""
    for column, dtype in zip(frame.columns, frame.dtypes, strict=True):
        if not (dtype.kind in "fiub" if hasattr(dtype, "kind") else dtype.is_float() or dtype.is_integer()):  # polars
            raise TypeError(f"{name} must hold real numbers, but its column {column!r} has the dtype {dtype}")
    kinds = (getattr(dtype, "numpy_dtype", getattr(dtype, "subtype", dtype)) for dtype in frame.dtypes)
    dtype = np.result_type(*kinds)
    if frame.isna().to_numpy().any():
        dtype = np.result_type(dtype, np.float32)
    return frame.to_numpy(dtype=dtype, na_value=np.nan)


def _real_dtype(name: str, dtype: np.dtype) -> np.dtype:
    if dtype is _FLOAT64 or dtype is _FLOAT32:
        return dtype
    if dtype.kind == "f":
        return _FLOAT32 if dtype.itemsize <= 4 else _FLOAT64
    if dtype.kind in "iub":
        return _FLOAT64
    raise TypeError(f"{name} must hold real numbers, but its dtype is {dtype}")


def result_dtype(*values: Any) -> np.dtype:
    """The dtype of a result: float32 if all floating-point arguments are float32 or float16, else float64.

    Integers, booleans and None have no say, and neither do Python's own floats, as in NumPy.

    Parameters
    ----------
    *values : array_like or None
        The arguments as they were given.

    Returns
    -------
    dtype
        float32 or float64.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._arrays import result_dtype
    >>> result_dtype(np.ones(2, dtype=np.float32), np.arange(2), 0.5)
    dtype('float32')
    >>> result_dtype(np.ones(2, dtype=np.float32), np.ones(2))
    dtype('float64')
    >>> result_dtype([1, 2])
    dtype('float64')
    """
    result = None
    for value in values:
        if value is None or isinstance(value, (bool, int, float)) and not isinstance(value, np.generic):
            continue
        try:
            dtype: Any = getattr(value, "dtype", None)
            if not hasattr(dtype, "kind"):  # a list, or PyTorch's own kind of dtype
                dtype = as_array("", value).dtype
        except (TypeError, ValueError):  # ragged, or no array: `as_real` tells whose it is
            continue
        kind, size = dtype.kind, getattr(dtype, "itemsize", 8)
        if kind == "f":
            if size > 4:
                return _FLOAT64
            result = _FLOAT32
    return result or _FLOAT64


def check_integer(name: str, value: Any, least: int, most: int | None = None) -> int:
    """The integer, if it is one and from `least` to `most`.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : int
        Python's or NumPy's; no bool.
    least, most : int
        `most` may be None.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `value` is no integer.
    KexueValueError
        If it is out of range.

    Examples
    --------
    >>> from kexue._arrays import check_integer
    >>> check_integer("k", 3, 1)
    3
    """
    if not isinstance(value, Integral) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}")
    if value < least:
        raise KexueValueError(f"{name} must be at least {least}, got {value}")
    if most is not None and not value <= most:
        raise KexueValueError(f"{name} must be at most {most}, got {value}")
    return int(value)


def check_number(name: str, value: Any, *, finite: bool = False) -> float:
    """The number, if it is a real one that float64 can hold.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    value : float
        Python's or NumPy's, an array without dimensions, or an integer or fraction; no bool.
    finite : bool
        Whether NaN and infinity are refused.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If `value` is no real number.
    KexueValueError
        If it is not finite and must be, or an integer or a fraction beyond the range of float64.

    Examples
    --------
    >>> from kexue._arrays import check_number
    >>> check_number("eps", 1)
    1.0
    """
    if isinstance(value, np.ndarray) and value.ndim == 0:  # such as a tensor's memory
        value = value[()]
    if not isinstance(value, Real) or isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        raise KexueValueError(f"{name} exceeds the range of float64") from None
    if finite and not math.isfinite(number):
        raise KexueValueError(f"{name} must be finite, got {number!r}")
    return number


def as_contiguous(array: np.ndarray, dtype: DTypeLike | None = None) -> np.ndarray:
    """The array itself if it is C-contiguous, aligned and of the dtype, else such a copy.

    What kernels get goes through here: `np.ascontiguousarray` leaves arrays misaligned, which C has no right to read.

    Parameters
    ----------
    array : ndarray
    dtype : dtype, optional
        By default the array's own.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._arrays import as_contiguous
    >>> as_contiguous(np.ones((2, 3)).T).flags.c_contiguous
    True
    """
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype, order="C")
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else array.copy(order="C")


def check_broadcast(what: str = "shapes", /, **shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape to which some shapes broadcast.

    Parameters
    ----------
    what : str
        What they are of the arguments, for the message.
    **shapes : tuple of int
        By the arguments' names.

    Returns
    -------
    tuple of int

    Raises
    ------
    KexueValueError
        If they do not, with all shapes.

    Examples
    --------
    >>> from kexue._arrays import check_broadcast
    >>> check_broadcast(a=(2, 1), b=(3,))
    (2, 3)
    """
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        *names, last = shapes
        raise KexueValueError(
            f"{', '.join(names)} and {last} must have {what} that broadcast, got {', '.join(map(str, shapes.values()))}"
        ) from None


def require_operands(axes: Sequence[Any] | None = None, **operands: Any) -> None:
    """Say which argument a ufunc refused, where NumPy names an operand of its own; nothing if none is found.

    Called where the ufunc has failed, from an except clause that raises what it caught, so that right calls pay
    nothing (a function around the ufunc took 0.4 us of a call of 0.9).

    Parameters
    ----------
    axes : sequence, optional
        Where the ufunc's own dimension is in each operand, if it has one.
    **operands
        What the ufunc got, by the arguments' names.

    Raises
    ------
    TypeError
        If an operand does not hold real numbers.
    KexueValueError
        If operands have no dimension for the ufunc's own, or shapes that do not fit.

    Examples
    --------
    >>> from kexue._arrays import require_operands
    >>> require_operands(x=[1, 2], y=[1, 2, 3])
    Traceback (most recent call last):
    kexue._errors.KexueValueError: x and y must have shapes that broadcast, got (2,), (3,)
    """
    if is_lazy(*operands.values()):
        return
    shapes: dict[str, tuple[int, ...]] = {}
    lengths: dict[str, int] = {}
    for place, (name, value) in enumerate(operands.items()):
        given = as_array(name, value)
        array = as_real(name, given)
        if given.dtype.kind == "f" and given.dtype.itemsize > 8:
            raise TypeError(f"{name} must hold float64 at most, but its dtype is {given.dtype}; convert it first")
        shapes[name] = array.shape
        if axes is not None:
            if array.ndim == 0:
                raise KexueValueError(f"{name} must have at least 1 dimension, but its shape is ()")
            axis = check_axis(name, axes[place], array.ndim)
            shapes[name], lengths[name] = array.shape[:axis] + array.shape[axis + 1 :], array.shape[axis]
    if axes is not None and len(set(lengths.values())) > 1:
        raise KexueValueError(
            f"{' and '.join(lengths)} must have the same length along axis {axes[0]}, got "
            f"{' and '.join(map(str, lengths.values()))}"
        )
    if len(shapes) > 1:
        check_broadcast("shapes" if axes is None else "dimensions besides the rows'", **shapes)


def sum_to(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Undo a broadcast from a shape: the sum, in float64, over what was repeated.

    Parameters
    ----------
    array : ndarray
    shape : tuple of int
        It broadcasts to the array's.

    Returns
    -------
    ndarray
        Of the shape, and of the array's dtype. The array itself, or a view of it, where nothing was repeated.

    Examples
    --------
    >>> import numpy as np
    >>> from kexue._arrays import sum_to
    >>> sum_to(np.ones((4, 2, 3)), (2, 1))
    array([[12.],
           [12.]])
    """
    extra = array.ndim - len(shape)
    axes = (
        *range(extra),
        *(extra + axis for axis, size in enumerate(shape) if size == 1 != array.shape[extra + axis]),
    )
    if not axes:
        return array.reshape(shape)
    return array.sum(axis=axes, dtype=np.float64).astype(array.dtype, copy=False).reshape(shape)


def is_sparse(value: Any) -> bool:
    """Whether a value is a sparse matrix or array of SciPy, without the 60 ms of importing scipy.sparse to ask.

    Parameters
    ----------
    value : object

    Returns
    -------
    bool
    """
    module = sys.modules.get("scipy.sparse")
    known = getattr(module, "issparse", None)  # another thread may be importing it
    return known is not None and known(value)


def as_csr(name: str, matrix: Any, dtype: np.dtype) -> Any:
    """CSR of a dtype out of any sparse matrix whose indices are within its shape: SciPy would write elsewhere.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    matrix : sparse matrix
        Of real numbers, with two dimensions.
    dtype : {float32, float64}

    Returns
    -------
    sparse matrix in CSR format
        The matrix itself where it is one; repeated entries may be there still.
    """
    shape = matrix.shape
    if matrix.format in ("csr", "csc", "bsr"):
        height, width = matrix.blocksize if matrix.format == "bsr" else (1, 1)
        inner = shape[0] if matrix.format == "csc" else shape[1] // width
        outer = shape[1] if matrix.format == "csc" else shape[0] // height
        starts, entries = matrix.indptr, min(len(matrix.indices), len(matrix.data))
        valid = len(starts) == outer + 1 and starts[0] == 0 <= starts[-1] <= entries and (np.diff(starts) >= 0).all()
        valid = valid and _are_within(matrix.indices[: starts[-1]], inner)
    elif matrix.format == "coo":
        places = (matrix.row, matrix.col)
        valid = all(map(_are_within, places, shape)) and all(len(axis) == len(matrix.data) for axis in places)
    else:
        valid = True
    if not valid:
        raise KexueValueError(f"{name} is no valid sparse matrix: an index is out of its shape {shape}")
    return matrix.astype(dtype, copy=False).tocsr()  # in this order: repeated entries of uint8 would wrap around


def _are_within(indices: np.ndarray, size: int) -> bool:
    return len(indices) == 0 or bool(indices.min() >= 0 and indices.max() < size)


def as_csr_rows(name: str, matrix: Any, columns: int, whose: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make sorted rows of weights, without repeats and zeros, out of a documents x vocabulary matrix.

    Parameters
    ----------
    name : str
        The argument's name for messages.
    matrix : sparse matrix or array_like, shape (documents, columns)
        Non-negative weights.
    columns : int
        The vocabulary's size.
    whose : str
        What has that size, for messages: "vectors has {} rows".

    Returns
    -------
    offsets, indices, weights : ndarray
        int64 of documents + 1, int32 and float64 of the non-zero entries.
    """
    from scipy.sparse import csr_array

    if is_sparse(matrix):
        if matrix.ndim != 2:
            raise KexueValueError(
                f"{name} must have 2 dimensions (documents x vocabulary), but its shape is {matrix.shape}"
            )
        as_real(name, np.empty(0, dtype=matrix.dtype))
        rows = csr_array(as_csr(name, matrix, _FLOAT64))
    else:
        rows = csr_array(as_real(name, matrix, ndim=2))
    if rows.shape[1] != columns:
        raise KexueValueError(f"{name} has {rows.shape[1]} columns (shape {rows.shape}), but {whose.format(columns)}")
    if not rows.has_canonical_format:
        rows = rows.astype(np.float64, copy=True)
        rows.sum_duplicates()
    if not rows.data.all():
        rows = rows.copy()
        rows.eliminate_zeros()  # such a word is not in use: its vector may be NaN
    weights = as_contiguous(rows.data, dtype=np.float64)
    if weights.size and not (weights.min() >= 0 and np.isfinite(weights).all()):
        bad = int(np.argmax(~(np.isfinite(weights) & (weights >= 0))))
        row = int(np.searchsorted(rows.indptr, bad, side="right")) - 1
        what = "is negative" if weights[bad] < 0 and np.isfinite(weights[bad]) else "is not finite"
        raise KexueValueError(
            f"{name}[{row}, {rows.indices[bad]}] {what} ({weights[bad]}); {name} has shape {rows.shape}"
        )
    return (
        as_contiguous(rows.indptr, dtype=np.int64),
        as_contiguous(rows.indices, dtype=np.int32),
        weights,
    )


def check_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """One axis or several ones, counted from the front; all of them for None."""
    if axis is None:
        return tuple(range(ndim))
    single = np.ndim(axis) == 0 if isinstance(axis, np.ndarray) else not isinstance(axis, Sequence)
    axes = tuple(check_axis(name, entry, ndim) for entry in ((axis,) if single else axis))
    if len(set(axes)) < len(axes):
        raise KexueValueError(f"axis must not name an axis twice, got {axis!r}")
    return axes


def check_axis(name: str, axis: int, ndim: int) -> int:
    """The axis counted from the front."""
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, not {type(axis).__name__}") from None
    if not -ndim <= number < ndim:
        raise KexueValueError(f"axis {number} is out of bounds for {name}, which has {ndim} dimensions")
    return number % ndim
