"""Functions with the signatures and the numbers of other packages, over kexue's solvers."""

from __future__ import annotations

from importlib import import_module as _import_module
from typing import TYPE_CHECKING as _TYPE_CHECKING

if _TYPE_CHECKING:
    from kexue.compat import gensim as gensim
    from kexue.compat import pot as pot
    from kexue.compat import scipy as scipy

__all__ = ["gensim", "pot", "scipy"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'kexue.compat' has no attribute {name!r}")
    return _import_module(f"kexue.compat.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
