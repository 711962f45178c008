"""The fast Walsh-Hadamard transform."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from kexue import _ufuncs
from kexue._array_kinds import same_kind
from kexue._arrays import as_array, check_axis, require_operands
from kexue._errors import KexueValueError

__all__ = ["fwht", "pad_to_power_of_two"]


@same_kind
def fwht(
    x: ArrayLike, *, orthonormal: bool = False, axis: int = -1, out: np.ndarray | None = None, **kwargs: Any
) -> np.ndarray:
    """Fast Walsh-Hadamard transform along an axis, in natural (Hadamard) order.

    Parameters
    ----------
    x : array_like, shape (..., n)
        n is a power of two, up to 2**26 and beyond. float16 and float32 give float32; float64, integers and bool,
        float64.
    orthonormal : bool
        Divide by sqrt(n): the transform keeps lengths and is its own inverse.
    axis : int
        The axis along which the rows run. The last is fastest, if the array is in C order.
    out : ndarray, optional
        Where to put the result. It may be `x`.
    **kwargs
        `dtype`, `casting`, ...: as for every generalised ufunc, see `numpy.ufunc`.

    Returns
    -------
    ndarray, shape (..., n)
        H x, H[i, j] = (-1)**popcount(i & j), or H x / sqrt(n). Each entry is within log2(n) eps of the sum of the
        absolute values of its row; small integers come out exact. A NaN makes its row NaN.

    Raises
    ------
    KexueValueError
        If the length along the axis is no power of two.

    See Also
    --------
    pad_to_power_of_two
    random_projection : ``kind="srht"`` is a subsampled randomized Hadamard transform.
    ufuncs.fwht, ufuncs.fwht_orthonormal : the gufuncs that do the work.

    Notes
    -----
    n log2(n) additions a row, in registers and in as few passes over memory as the caches allow; nothing is
    allocated if `x` and `out` need no conversion. ``scipy.linalg.hadamard(n) @ x`` is the same.

    References
    ----------
    B. J. Fino, V. R. Algazi, "Unified matrix treatment of the fast Walsh-Hadamard transform", IEEE Transactions on
    Computers C-25 (1976) 1142-1146, doi:10.1109/TC.1976.1674569.

    Examples
    --------
    >>> import kexue
    >>> kexue.fwht([1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0])
    array([ 4.,  2.,  0., -2.,  0.,  2.,  0.,  2.])
    >>> kexue.fwht(kexue.fwht([[1.0, 2.0], [3.0, 4.0]], orthonormal=True), orthonormal=True)
    array([[1., 2.],
           [3., 4.]])
    """
    array: Any = x if hasattr(x, "__array_ufunc__") else as_array("x", x)
    length = array.shape[check_axis("x", axis, array.ndim)]
    if length < 1 or length & (length - 1):
        raise KexueValueError(
            f"x must have a power of two as its length along axis {axis}, got {length} "
            f"(shape {tuple(array.shape)}); pad_to_power_of_two adds zeros"
        )
    transform = _ufuncs.fwht_orthonormal if orthonormal else _ufuncs.fwht
    try:
        return transform(array, axis=axis, out=out, **kwargs)
    except (TypeError, ValueError):
        require_operands(x=array)
        raise


@same_kind
def pad_to_power_of_two(x: ArrayLike, *, axis: int = -1) -> np.ndarray:
    """Append zeros along an axis up to the next power of two.

    Parameters
    ----------
    x : array_like, shape (..., n)
        Of any dtype, which stays, in this machine's byte order.
    axis : int
        The axis that grows.

    Returns
    -------
    ndarray, shape (..., m)
        m is the least power of two that is at least n, and 1 for n = 0. A copy, unless n is a power of two.

    Raises
    ------
    KexueValueError
        If `axis` is out of bounds.
    TypeError
        If `x` is a masked array, whose mask would be lost.

    See Also
    --------
    fwht

    Notes
    -----
    O(size of the result). Euclidean norms and scalar products stay as they are.

    Examples
    --------
    >>> import kexue
    >>> kexue.pad_to_power_of_two([[1, 2, 3]])
    array([[1, 2, 3, 0]])
    """
    array = as_array("x", x)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    axis = check_axis("x", axis, array.ndim)
    length = array.shape[axis]
    missing = (1 << max(length - 1, 0).bit_length()) - length
    if missing == 0:
        return array
    return np.pad(array, [(0, missing if i == axis else 0) for i in range(array.ndim)])
