"""Gradient penalties and adversarial perturbations beside torch and NumPy."""

import pytest
import workloads_penalties as workloads
from cases import DTYPES, sides


@sides("kexue", "NumPy", "torch vmap", "torch loop")
@pytest.mark.parametrize("case", [(1000, (6, 6, 6, 6)), (256, (32, 64, 64, 10)), (32, (256, 64, 64, 1))], ids=str)
def bench_mlp_gradient_penalties(measure, case, side):
    measure(workloads.mlp_gradient_penalties(*case), side)


@sides("kexue", "NumPy", "torch")
@pytest.mark.parametrize("loss", ["squared_error", "kl"])
def bench_noise_regularizer(measure, loss, side):
    measure(workloads.noise_regularizer(256, 100, 64, loss), side)


@sides("kexue", "the Jacobian", "torch", "torch's Jacobian")
def bench_jacobian_penalty_hutchinson(measure, side):
    measure(workloads.jacobian_penalty_hutchinson(64, 500, 256, 8), side)


@sides("kexue", "all Hessians", "torch")
def bench_laplacian_penalty(measure, side):
    measure(workloads.laplacian_penalty(256, 64), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_fgm_perturbation(measure, dtype, side):
    measure(workloads.fgm_perturbation(4096, 768, dtype), side)


@sides("kexue", "NumPy", "torch")
@pytest.mark.parametrize("iterations", [1, 3])
def bench_vat_perturbation(measure, iterations, side):
    measure(workloads.vat_perturbation(256, 128, 20, iterations), side)


@sides("kexue", "NumPy", "torch")
@DTYPES
def bench_vat_loss(measure, dtype, side):
    measure(workloads.vat_loss(1024, 1000, dtype), side)
