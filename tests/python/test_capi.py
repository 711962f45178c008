"""kexue.capi: what the C functions compute, and that what others compiled against stays as it is.

    python tests/python/test_capi.py

writes the signatures anew.
"""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

import numpy as np
import pytest

import kexue
from kexue import capi

PINNED = Path(__file__).parent / "capi_signatures.json"
PXD = Path(__file__).parents[2] / "src/_core/cython/kexue/capi.pxd"
KX_E_TOTALS, KX_E_ARGUMENT, KX_E_OVERFLOW = -4, -1, -8
C_TYPES = {"int": ctypes.c_int, "float": ctypes.c_float, "double": ctypes.c_double, "int64_t": ctypes.c_int64}


def signature(capsule: object) -> str:
    """The name of a capsule is the signature of its function, as Cython compares it."""
    name = ctypes.pythonapi.PyCapsule_GetName
    name.restype, name.argtypes = ctypes.c_char_p, [ctypes.py_object]
    return name(capsule).decode()


def signatures() -> dict[str, str]:
    return {name: signature(capsule) for name, capsule in sorted(capi.__pyx_capi__.items())}


def call(name: str, *arguments: object) -> int:
    """Call a function by its signature; arrays stand for their pointers."""
    text = signature(capi.__pyx_capi__[name])
    kinds = re.fullmatch(r"int \((.*)\)", text)[1].split(", ")
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    address = pointer(capi.__pyx_capi__[name], text.encode())
    types = [ctypes.c_void_p if "*" in kind else C_TYPES[kind] for kind in kinds]
    values = [value.ctypes.data if isinstance(value, np.ndarray) else value for value in arguments]
    for kind, value in zip(kinds, arguments, strict=True):
        if isinstance(value, np.ndarray):
            wanted = {"float": "f4", "double": "f8", "int64_t": "i8", "int32_t": "i4", "uint32_t": "u4"}
            assert value.dtype == wanted[kind.split()[0]] and value.flags.c_contiguous, (name, kind, value.dtype)
    return ctypes.CFUNCTYPE(ctypes.c_int, *types)(address)(*values)


@pytest.fixture(params=["f32", "f64"])
def precision(request):
    return request.param, np.dtype(request.param.replace("f", "float"))


def test_signatures_are_pinned():
    now, pinned = signatures(), json.loads(PINNED.read_text())
    assert {name: now.get(name) for name in pinned} == pinned  # others compiled against these


def test_the_declarations_name_every_function():
    declared = re.findall(r"^cdef int (\w+)\(", PXD.read_text(), re.MULTILINE)
    assert sorted(declared) == sorted(capi.__pyx_capi__)


def test_transport(precision, rng):
    name, dtype = precision
    a, b = rng.random(7), rng.random(9)
    a, b, M = a / a.sum(), b / b.sum(), rng.random((7, 9)).astype(dtype)
    cost = np.zeros(1)
    assert call(f"emd2_{name}", a, b, M, 7, 9, cost) == 0
    np.testing.assert_allclose(cost, kexue.emd2(a, b, M), rtol=1e-6 if name == "f32" else 1e-13)
    assert call(f"emd2_{name}", None, None, M, 7, 9, cost) == 0
    np.testing.assert_allclose(cost, kexue.emd2(None, None, M), rtol=1e-6 if name == "f32" else 1e-13)
    assert call(f"emd2_{name}", a, 2 * b, M, 7, 9, cost) == KX_E_TOTALS
    assert call(f"sinkhorn2_{name}", a, b, M, 7, 9, 0.1, cost) == 0
    plan = kexue.sinkhorn(a, b, M.astype(float), 0.1)
    np.testing.assert_allclose(cost, (plan * M).sum(), rtol=1e-6)


@pytest.mark.parametrize("metric", ["wmd", "wrd"])
def test_documents(metric, precision, rng):
    name, dtype = precision
    x, y = rng.normal(size=(5, 4)).astype(dtype), rng.normal(size=(6, 4)).astype(dtype)
    weights = rng.random(5)
    distance = np.zeros(1, dtype)
    tolerance = 1e-6 if name == "f32" else 1e-12
    assert call(f"{metric}_{name}", x, y, weights, None, 5, 6, 4, distance) == 0
    np.testing.assert_allclose(distance[0], getattr(kexue, metric)(x, y, weights), rtol=tolerance)
    assert call(f"{metric}_{name}", x, y, None, None, 5, 6, 4, distance) == 0
    np.testing.assert_allclose(distance[0], getattr(kexue, metric)(x, y), rtol=tolerance)
    assert call(f"{metric}_{name}", x, y, None, None, 5, 0, 4, distance) == 0
    assert np.isnan(distance[0])  # nothing to move to
    assert call(f"{metric}_{name}", x, y, None, None, 5, -1, 4, distance) == KX_E_ARGUMENT
    assert call(f"{metric}_{name}", x, y, None, None, 5, 6, 2**61, distance) < 0


def test_entropy_normalize(precision, rng):
    name, dtype = precision
    p = rng.random((3, 8)).astype(dtype)
    targets, q, statuses = np.array([2.0, 3.0, 9.0]), np.empty_like(p), np.full(3, -1, np.int32)
    assert call(f"entropy_normalize_{name}", p, 3, 8, targets, 1, q, statuses) == 0
    expected = kexue.entropy_normalize(p[:2], targets[:2], target_kind="perplexity")
    np.testing.assert_allclose(q[:2], expected, rtol=1e-5 if name == "f32" else 1e-12)
    np.testing.assert_allclose(q[2], 1 / 8, rtol=1e-6)  # a perplexity of 9 is more than 8 entries can have
    assert statuses.tolist() == [0, 0, 3]


def test_hsic(precision, rng):
    name, dtype = precision
    x = rng.normal(size=(30, 3)).astype(dtype)
    y = (x[:, :2] + 0.1 * rng.normal(size=(30, 2))).astype(dtype)
    result = np.zeros(1)
    assert call(f"hsic_{name}", x, y, 30, 3, 2, 0.5, 0.25, result) == 0
    centre = np.eye(30) - 1 / 30
    K = np.exp(-0.5 * ((x[:, None] - x[None]).astype(float) ** 2).sum(2))
    L = np.exp(-0.25 * ((y[:, None] - y[None]).astype(float) ** 2).sum(2))
    expected = np.trace(K @ centre @ L @ centre) / 30**2
    np.testing.assert_allclose(result[0], expected, rtol=1e-5 if name == "f32" else 1e-12)
    assert call(f"hsic_{name}", x, y, 0, 3, 2, 0.5, 0.25, result) == KX_E_ARGUMENT


def test_alignment():
    a, b = (np.array([ord(letter) for letter in word], np.uint32) for word in ("kitten", "sitting"))
    number = np.zeros(1, np.int64)
    assert call("edit_distance", a, 6, b, 7, number) == 0 and number[0] == 3
    assert call("longest_common_subsequence", a, 6, b, 7, number) == 0 and number[0] == 4


def test_rows_and_elements(precision, rng):
    name, dtype = precision
    x = rng.normal(size=(3, 8)).astype(dtype)
    out = np.empty_like(x)
    assert call(f"softmax_rows_{name}", x, 3, 8, out) == 0
    np.testing.assert_array_equal(out, kexue.softmax(x))
    assert call(f"squareplus_{name}", x, 2.0, 24, out) == 0
    np.testing.assert_array_equal(out, kexue.squareplus(x, dtype.type(2)))
    assert call(f"fwht_rows_{name}", x, 3, 8, out) == 0
    np.testing.assert_array_equal(out, kexue.fwht(x))
    assert call(f"fwht_rows_{name}", x, 3, 6, out) == KX_E_ARGUMENT


@pytest.mark.parametrize("size", [-1, -(2**63), 2**62])
def test_impossible_sizes(size, precision):
    name, dtype = precision
    x, out = np.ones((3, 8), dtype), np.ones((3, 8), dtype)
    expected = KX_E_ARGUMENT if size < 0 else KX_E_OVERFLOW
    for function in ("softmax_rows", "fwht_rows"):
        assert call(f"{function}_{name}", x, size, 8, out) == expected
        assert call(f"{function}_{name}", x, 3, size, out) == expected
        assert call(f"{function}_{name}", x, 0, size, out) == expected  # a row's bytes do not fit by themselves
    assert call(f"squareplus_{name}", x, 1.0, size, out) == expected
    assert (out == 1).all()


@pytest.mark.parametrize("kind", [-1, 5])
def test_unknown_kind_of_target(kind, precision):
    name, dtype = precision
    p, targets, q = np.ones((3, 8), dtype), np.ones(3), np.ones((3, 8), dtype)
    assert call(f"entropy_normalize_{name}", p, 3, 8, targets, kind, q, None) == KX_E_ARGUMENT


if __name__ == "__main__":
    PINNED.write_text(json.dumps(signatures(), indent=2) + "\n")
