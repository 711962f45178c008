"""Recurrent networks beside torch's, with a loop over steps in NumPy, their gradients and step Jacobians."""

import pytest
import workloads_gradients as workloads
from cases import DTYPES, sides


def networks(form="{}"):
    """One case for each kind of network, under the name of its function."""
    return pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru"], ids=form.format)


@sides("kexue", "torch")
@pytest.mark.parametrize(("batch", "steps", "n"), [(1, 512, 128), (1, 512, 512), (32, 512, 128), (32, 128, 512)])
@networks()
@DTYPES
def bench_sequence(measure, dtype, name, batch, steps, n, side):
    measure(workloads.sequence(name, batch, steps, n, dtype), side)


@sides("NumPy")
@DTYPES
def bench_lstm_in_numpy(measure, dtype, side):
    measure(workloads.sequence("lstm", 1, 512, 128, dtype), side)


@sides("kexue", "torch")
@networks("{}_vjp")
@DTYPES
def bench_sequence_vjp(measure, dtype, name, side):
    measure(workloads.sequence_vjp(name, 32, 128, 128, dtype), side)


@sides("kexue", "torch")
@pytest.mark.parametrize("batch", [1, 32])
@networks("{}_cell")
def bench_cell(measure, name, batch, side):
    measure(workloads.cell(name, batch, 128, "float32"), side)


@sides("kexue", "torch")
@pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru"], ids=["rnn_jacobian", "lstm_jacobian", "gru_jacobian"])
def bench_step_jacobians(measure, name, side):
    measure(workloads.step_jacobians(name, 256, 32), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("n", [4, 64])
@pytest.mark.parametrize("stabilization", ["qr", "none"])
def bench_jacobian_product_log_norms(measure, stabilization, n, side):
    measure(workloads.log_norms(1000, n, stabilization), side)


@sides("kexue", "NumPy")
def bench_lyapunov_exponents(measure, side):
    measure(workloads.exponents(1000, 16), side)


@sides("kexue", "mpmath")
def bench_jacobian_product_log_singular_values(measure, side):
    measure(workloads.log_singular_values(60, 8), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("p", [32, 256])
def bench_rnn_gradient_recursion(measure, p, side):
    measure(workloads.gradient_recursion(1000, 16, p), side)


@sides("kexue", "NumPy")
@pytest.mark.parametrize("function", ["rnn_jacobian_bound", "lstm_path_derivative"])
def bench_scalar_network(measure, function, side):
    measure(workloads.scalar_network(function, 10_000), side)


@sides("kexue", "NumPy")
@networks("{}_weights_from_torch")
def bench_weights_from_torch(measure, name, side):
    measure(workloads.weights_from_torch(name, 256), side)
