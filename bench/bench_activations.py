"""Activations beside NumPy's or SciPy's expressions and torch; SquarePlus also beside a copy, the limit of memory.

The SquarePlus family is measured on arrays of 80 MB, and on small ones; the others on a million elements.
"""

import pytest
import workloads_activations as workloads
from cases import DTYPES, sides

SQUAREPLUS = ["squareplus", "squareplus_grad", "squareplus_grad_b", "squareplus_inverse"]
SMOOTHED = [
    *("smooth_relu", "smooth_step", "smooth_leaky_relu", "smooth_abs", "smooth_sign", "smooth_clip"),
    *("smooth_maximum", "smooth_floor", "smooth_ceil", "smooth_round"),
]
# The integral of these diverges for Cauchy's kernel.
LINEAR = {"smooth_relu", "smooth_leaky_relu", "smooth_abs", "smooth_maximum"}
# Too wide for a sum of steps in NumPy: Student's tails are felt over hundreds of them.
STEPS = {"smooth_floor", "smooth_ceil", "smooth_round"}
KERNELS = [
    (name, kernel)
    for name in SMOOTHED
    for kernel in workloads.SCALES
    if not (kernel == "cauchy" and name in LINEAR or kernel == "student_t2" and name in STEPS)
]


@sides("kexue", "NumPy expression")
@DTYPES
@pytest.mark.parametrize("function", SQUAREPLUS)
def bench_squareplus(measure, function, dtype, side):
    measure(workloads.activation(function, dtype), side)


@sides("kexue", "NumPy expression", "torch")
@DTYPES
@pytest.mark.parametrize("function", sorted(workloads.IN_TORCH))
def bench_activation(measure, function, dtype, side):
    measure(workloads.activation(function, dtype, 10**6), side)


@sides("kexue", "NumPy expression")
@DTYPES
@pytest.mark.parametrize("function", ["exp_taylor", "exp_taylor_grad"])
def bench_exp_taylor(measure, function, dtype, side):
    measure(workloads.activation(function, dtype, 10**6), side)


@sides("kexue", "NumPy expression", "NumPy out=", "a copy")
@DTYPES
def bench_squareplus_into(measure, dtype, side):
    measure(workloads.squareplus_into(dtype), side)


@sides("kexue", "NumPy expression", "an addition")
@pytest.mark.parametrize("n", [1, 10, 100, 1000])
def bench_squareplus_small(measure, n, side):
    measure(workloads.squareplus_small(n), side)


@sides("kexue", "NumPy")
def bench_exp_taylor_min(measure, side):
    measure(workloads.exp_taylor_min(10), side)


@sides("kexue", "SciPy expression")
@DTYPES
@pytest.mark.parametrize(("function", "kernel"), KERNELS)
def bench_smoothed(measure, function, kernel, dtype, side):
    measure(workloads.smoothed(function, kernel, dtype), side)


@sides("kexue", "SciPy's quad")
@pytest.mark.parametrize("kernel", ["gaussian", "logistic"])
def bench_smooth_function(measure, kernel, side):
    measure(workloads.smooth_function(kernel), side)
