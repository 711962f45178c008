"""How many threads a call may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from kexue._context import count_workers, cpu_count, forget_default_workers, threads_variable
from kexue._errors import KexueValueError


@cache
def default_threads() -> tuple[int, str]:
    """The number of threads without any `threads` block, and what it comes from.

    `KEXUE_NUM_THREADS` is ours, so a bad value is an error. `OMP_NUM_THREADS` speaks to OpenMP ("4,2" is a
    list for nested levels); a value that is no positive integer is passed over, as OpenMP run-times do.
    """
    text = os.environ.get("KEXUE_NUM_THREADS", "").strip()
    if text:
        try:
            return count_workers(int(text)), "KEXUE_NUM_THREADS"
        except ValueError:
            raise KexueValueError(
                f"the environment variable KEXUE_NUM_THREADS is {text!r}; "
                "it must be an integer, at least 1, or -1 for all processors"
            ) from None
    text = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if text.isdecimal() and int(text) > 0:
        return count_workers(int(text)), "OMP_NUM_THREADS"
    return cpu_count(), "processors"


def _after_fork_in_child() -> None:
    # The child may be pinned to other processors, or be given another environment.
    default_threads.cache_clear()
    forget_default_workers()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork_in_child)


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Set the number of threads that ``workers=None`` means, inside a ``with`` block.

    Every function with a `workers` argument takes an integer, at least 1 (1 is serial), or -1 for all
    processors that the process may use. None, the default, is the `n` of the innermost ``with
    kexue.threads(n)``, else the environment variable ``KEXUE_NUM_THREADS``, else ``OMP_NUM_THREADS``, else
    all processors. The environment is read once, at the first call that needs it. The results do not depend
    on the number of threads, not by a bit.

    The block holds for the current thread (or asyncio task) only.

    Parameters
    ----------
    n : int
        At least 1, or -1 for all processors.

    Raises
    ------
    KexueValueError
        If `n` is 0 or below -1.
    TypeError
        If `n` is not an integer.

    See Also
    --------
    get_num_threads : the number in force.

    Examples
    --------
    >>> import kexue
    >>> with kexue.threads(3):
    ...     kexue.get_num_threads()
    3
    """
    if n is None:
        raise TypeError("workers must be an integer in kexue.threads(n), not None")
    token = threads_variable.set(count_workers(n))
    try:
        yield
    finally:
        threads_variable.reset(token)


def get_num_threads() -> int:
    """The number of threads that ``workers=None`` means here and now.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    KexueValueError
        If the environment variable ``KEXUE_NUM_THREADS`` is needed and holds no valid number.

    See Also
    --------
    threads : sets it, and explains where it comes from.

    Examples
    --------
    >>> import kexue
    >>> kexue.get_num_threads() >= 1
    True
    """
    return count_workers(None)
