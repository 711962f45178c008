"""Zeroth-order and policy gradients, steps by sampling and minimize beside NumPy, SciPy, mpmath and torch."""

import pytest
import workloads_optimization as workloads
from cases import sides


@sides("kexue", "a loop")
@pytest.mark.parametrize("size", [(10, 1000), (1000, 1000)], ids=str)
def bench_zeroth_order_gradient(measure, size, side):
    measure(workloads.zeroth_order_gradient(*size, False), side)


@sides("kexue", "NumPy at once")
@pytest.mark.parametrize("size", [(10, 1000), (1000, 1000)], ids=str)
def bench_zeroth_order_gradient_vectorized(measure, size, side):
    measure(workloads.zeroth_order_gradient(*size, True), side)


@sides("kexue", "kexue, zeroth-order", "SciPy's Nelder-Mead", "SciPy's differential_evolution")
@pytest.mark.parametrize("problem", [("sphere", 10, 2000), ("Rosenbrock", 5, 2000), ("steps", 5, 2000)], ids=str)
def bench_minimize(measure, problem, side):
    measure(workloads.minimize(*problem), side)


@sides("kexue", "SciPy's ive", "mpmath")
@pytest.mark.parametrize("kappas", ["small", "large"])
def bench_ball_step_length(measure, kappas, side):
    measure(workloads.ball_step_length(100_000, kappas), side)


@sides("kexue", "NumPy and SciPy")
@pytest.mark.parametrize("function", ["mgs_weights", "mgs_step", "boltzmann_step"])
@pytest.mark.parametrize("size", [(20, 10), (1000, 1000)], ids=str)
def bench_sampling_steps(measure, size, function, side):
    measure(workloads.mgs(function, *size), side)


@sides("kexue", "SciPy")
@pytest.mark.parametrize("size", [(20, 10), (1000, 1000)], ids=str)
def bench_gaussian_mixture_proposal(measure, size, side):
    measure(workloads.mgs("gaussian_mixture_proposal", *size), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["policy_gradient", "optimal_baseline"])
@pytest.mark.parametrize("size", [(100, 10), (1000, 1000)], ids=str)
def bench_policy_gradient(measure, size, function, side):
    measure(workloads.policy_gradient(function, *size), side)


@sides("kexue", "SciPy", "torch")
def bench_softmax_policy_gradient(measure, side):
    measure(workloads.argmax_gradient("softmax_policy_gradient", 256, 1000), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("size", [(100, 10), (3, 1000)], ids=str)
def bench_smoothed_argmax_gradient(measure, size, side):
    measure(workloads.argmax_gradient("smoothed_argmax_gradient", *size), side)
