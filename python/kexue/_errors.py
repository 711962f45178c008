"""The exceptions of kexue, and the one path from a status of the C core to them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Literal

import numpy as np

from kexue._context import status_name, status_text


class KexueValueError(ValueError):
    """An argument has a value that the function cannot work with.

    The message names the argument, and the first bad place where there is one: ``M[3, 17] is nan``.

    Examples
    --------
    >>> import kexue
    >>> issubclass(kexue.KexueValueError, ValueError)
    True
    """


class InternalError(RuntimeError):
    """A check inside kexue failed: a bug of kexue, not of its caller.

    Examples
    --------
    >>> import kexue
    >>> issubclass(kexue.InternalError, RuntimeError)
    True
    """


class ConvergenceWarning(UserWarning):
    """An iteration ended at its limit before it reached its tolerance; the result is the best so far.

    See Also
    --------
    kexue.errstate : ignore it, or raise it as an exception.

    Examples
    --------
    >>> import kexue
    >>> issubclass(kexue.ConvergenceWarning, UserWarning)
    True
    """


_EXCEPTIONS = {
    "KX_E_ARGUMENT": KexueValueError,
    "KX_E_NONFINITE": KexueValueError,
    "KX_E_NEGATIVE": KexueValueError,
    "KX_E_TOTALS": KexueValueError,
    "KX_E_EMPTY": KexueValueError,
    "KX_E_INFEASIBLE": KexueValueError,
    "KX_E_MEMORY": MemoryError,
    "KX_E_OVERFLOW": OverflowError,
    "KX_E_INTERNAL": InternalError,
}

_convergence: ContextVar[str] = ContextVar("kexue.errstate", default="warn")


@contextmanager
def errstate(*, convergence: Literal["warn", "raise", "ignore"]) -> Iterator[None]:
    """What happens when an iteration does not converge, inside a ``with`` block.

    It holds for the current thread (or asyncio task) only. Floating-point errors are NumPy's affair: see
    `numpy.errstate`.

    Parameters
    ----------
    convergence : {"warn", "raise", "ignore"}
        Issue a `ConvergenceWarning` (the default outside of any block), raise it, or do nothing.

    Raises
    ------
    KexueValueError
        If `convergence` is none of these.

    Examples
    --------
    >>> import kexue
    >>> with kexue.errstate(convergence="raise"):
    ...     kexue.emd2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])
    0.0
    """
    if convergence not in ("warn", "raise", "ignore"):
        raise KexueValueError(f'convergence must be "warn", "raise" or "ignore", got {convergence!r}')
    token = _convergence.set(convergence)
    try:
        yield
    finally:
        _convergence.reset(token)


def warn_convergence(message: str) -> None:
    """Report that an iteration did not converge, in the way that `errstate` asks for."""
    action = _convergence.get()
    if action == "raise":
        raise ConvergenceWarning(message)
    if action == "warn":
        level = 1
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "kexue":
            level, frame = level + 1, frame.f_back
        warnings.warn(message, ConvergenceWarning, stacklevel=level)


def raise_status(status: int, message: str | None = None) -> None:
    """Raise the exception, or issue the warning, that a status of the C core stands for.

    Parameters
    ----------
    status : int
        A ``kx_status_t``. 0 does nothing, a negative one raises, a positive one warns.
    message : str, optional
        Text to use in place of the status's general sentence.
    """
    if status == 0:
        return
    name = status_name(status)
    text = message or f"{status_text(status)} ({name})"
    if status > 0:
        warn_convergence(text)
    else:
        raise _EXCEPTIONS.get(name, InternalError)(text)


def first_bad(
    name: str,
    array: np.ndarray,
    predicate: Callable[[np.ndarray], np.ndarray],
    text: str = "is {value}",
) -> None:
    """Raise `KexueValueError` for the first entry, in C order, at which `predicate` is true.

    Parameters
    ----------
    name : str
        The argument's name for the message.
    array : ndarray
    predicate : callable
        Takes the array and returns a boolean array of its shape.
    text : str
        What is wrong; ``{value}`` stands for the bad entry.
    """
    bad = predicate(array)
    if not bad.any():
        return
    index = np.unravel_index(int(bad.argmax()), array.shape)
    what = text.format(value=array[index])
    if not index:
        raise KexueValueError(f"{name} {what}")
    place = ", ".join(str(i) for i in index)
    raise KexueValueError(f"{name}[{place}] {what}; {name} has shape {array.shape}")


def require_finite(name: str, array: np.ndarray) -> None:
    """Raise `KexueValueError` if an entry is NaN or infinite."""
    first_bad(name, array, lambda entries: ~np.isfinite(entries))


def require_finite_entries(name: str, rows: Any, *, vector: bool = False) -> None:
    """The same for a CSR matrix, or for the one row of it that stands for a vector."""
    values = rows.data[: rows.indptr[-1]]
    finite = np.isfinite(values)
    if finite.all():
        return
    bad = int(finite.argmin())
    row, column = int(np.searchsorted(rows.indptr, bad, side="right")) - 1, rows.indices[bad]
    place, shape = (str(column), rows.shape[1:]) if vector else (f"{row}, {column}", rows.shape)
    raise KexueValueError(f"{name}[{place}] is {values[bad]}; {name} has shape {shape}")


def require_nonnegative(name: str, array: np.ndarray) -> None:
    """Raise `KexueValueError` if an entry is negative; NaN is left to `require_finite`."""
    first_bad(name, array, lambda entries: entries < 0, "is negative ({value})")
