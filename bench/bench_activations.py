"""The SquarePlus family beside NumPy expressions, and beside a copy, which is what memory allows."""

import pytest
import workloads

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
FUNCTIONS = ["squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"]


def sides(*names):
    return pytest.mark.parametrize("side", names)


@sides("kexue", "NumPy expression")
@DTYPES
@pytest.mark.parametrize("function", FUNCTIONS)
def bench_activation(measure, function, dtype, side):
    measure(workloads.activation(function, dtype), side)


@sides("kexue", "NumPy expression", "NumPy out=", "a copy")
@DTYPES
def bench_squareplus_into(measure, dtype, side):
    measure(workloads.squareplus_into(dtype), side)


@sides("kexue", "NumPy expression", "an addition")
def bench_squareplus_one_element(measure, side):
    measure(workloads.squareplus_one_element(), side)
