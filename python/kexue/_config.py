"""What this installation of kexue is made of."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kexue import _context
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


def get_include() -> str:
    """The folder of the C headers, for an extension that includes ``kexue/kexue.h``.

    Returns
    -------
    str
        What a compiler takes after ``-I``. ``python -m kexue info --includes`` prints the same for a shell.

    Raises
    ------
    FileNotFoundError
        If this kexue was installed without its headers.

    Examples
    --------
    >>> import os, kexue
    >>> os.path.isfile(os.path.join(kexue.get_include(), "kexue", "kexue.h"))
    True
    """
    return installed_path("include", "kexue", "kexue.h", levels=2)


def installed_path(*parts: str, levels: int = 0) -> str:
    """Where a file for compilers stands beside the compiled modules, or the folder that many levels above it."""
    # An editable installation has the Python files elsewhere.
    package = Path(_context.__file__ or "").resolve().parent
    path = package.joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(f"{path} is not there: this kexue was installed without its C files")
    return os.fspath(path.parents[levels - 1] if levels else path)


def _scipy_version() -> str:
    try:
        return version("scipy")  # without the cost of importing it
    except PackageNotFoundError:
        return "not installed"


def _blas_name() -> str:
    """The BLAS that NumPy was built with."""
    blas = np.show_config(mode="dicts").get("Build Dependencies", {}).get("blas", {})
    return f"{blas.get('name', 'unknown')} {blas.get('version', '')}".strip()
