"""scikit-learn's way to say how many threads."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from kexue import KexueValueError, get_num_threads, threads


def count_jobs(n_jobs: Any) -> int | None:
    """What `workers` is for an `n_jobs`: -1 is all processors, -2 all but one, None the default of `kexue.threads`."""
    if n_jobs is None:
        return None
    if isinstance(n_jobs, bool) or not isinstance(n_jobs, Integral):
        raise TypeError(f"n_jobs must be an integer or None, not {type(n_jobs).__name__}")
    if n_jobs == 0:
        raise KexueValueError("n_jobs must be at least 1, or negative to count from all processors, got 0")
    count = int(n_jobs)
    if count >= -1:
        return count
    with threads(-1):
        return max(1, get_num_threads() + 1 + count)
