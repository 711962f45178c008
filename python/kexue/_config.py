"""What this installation of kexue is made of."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np

from kexue._context import __version__, build_info, threads_variable
from kexue._errors import KexueValueError
from kexue._threads import default_threads, get_num_threads


def show_config(mode: Literal["print", "dict"] = "print") -> dict[str, Any] | None:
    """Show the version, the instruction set in use, the compiler, the threads and the libraries underneath.

    Parameters
    ----------
    mode : {"print", "dict"}
        Print a table to the standard output, or return a dictionary.

    Returns
    -------
    dict or None
        With ``mode="dict"``. ``isa`` is the instruction set that the kernels use: the best one that was
        compiled and that the processor has, unless the environment variable ``KEXUE_ISA`` names a lower one.
        ``threads`` is the number that ``workers=None`` means, ``threads_from`` where it comes from.

    Raises
    ------
    KexueValueError
        If `mode` is none of these.

    Examples
    --------
    >>> import kexue
    >>> config = kexue.show_config(mode="dict")
    >>> config["isa"] in config["isas_compiled"]
    True
    """
    if mode not in ("print", "dict"):
        raise KexueValueError(f'mode must be "print" or "dict", got {mode!r}')
    config = {
        "kexue": __version__,
        **build_info(),
        "threads": get_num_threads(),
        "threads_from": "kexue.threads" if threads_variable.get(None) else default_threads()[1],
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": _scipy_version(),
        "blas": _blas_name(),
    }
    if mode == "dict":
        return config
    for key, value in config.items():
        print(f"{key:14} {' '.join(value) if isinstance(value, list) else value}")
    return None


def _scipy_version() -> str:
    try:
        return version("scipy")  # without the cost of importing it
    except PackageNotFoundError:
        return "not installed"


def _blas_name() -> str:
    """The BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
