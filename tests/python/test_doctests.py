"""Runs the examples in the docstrings of all modules, and of the ufuncs, which doctest itself passes over."""

import doctest
import importlib
import pkgutil

import numpy as np
import pytest

import kexue
import kexue.ufuncs

MODULES = sorted(
    info.name for info in pkgutil.walk_packages(kexue.__path__, "kexue.") if info.name != "kexue.__main__"
)


@pytest.mark.parametrize("name", MODULES)
def test_module(name):
    if name.startswith("kexue.torch"):
        pytest.importorskip("torch")
    results = doctest.testmod(importlib.import_module(name))
    assert results.failed == 0


@pytest.mark.parametrize("name", kexue.ufuncs.__all__)
def test_ufunc(name):
    ufunc = getattr(kexue.ufuncs, name)
    assert isinstance(ufunc, np.ufunc)
    test = doctest.DocTestParser().get_doctest(ufunc.__doc__, {}, name, None, None)
    assert len(test.examples) >= 2
    assert doctest.DocTestRunner().run(test).failed == 0
