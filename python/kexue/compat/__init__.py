"""Functions with the signatures and the numbers of other packages, over kexue's solvers."""

from __future__ import annotations

from importlib import import_module as _import_module

_MODULES = ("gensim", "pot", "scipy")

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'kexue.compat' has no attribute {name!r}")
    return _import_module(f"kexue.compat.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
