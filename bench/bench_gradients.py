"""Recurrent networks beside torch's, with a loop over steps in NumPy, their gradients and step Jacobians."""

import numpy as np
import pytest
import workloads_gradients as workloads

import kexue as kx

DTYPES = pytest.mark.parametrize("dtype", ["float64", "float32"])
NAMES = pytest.mark.parametrize("name", ["simple_rnn", "lstm", "gru"])
SIDES = pytest.mark.parametrize("side", ["kexue", "torch"])


# simple_rnn, lstm and gru
@SIDES
@pytest.mark.parametrize(("batch", "steps", "n"), [(1, 512, 128), (1, 512, 512), (32, 512, 128), (32, 128, 512)])
@NAMES
@DTYPES
def bench_sequence(measure, dtype, name, batch, steps, n, side):
    measure(workloads.sequence(name, batch, steps, n, dtype), side)


@DTYPES
def bench_lstm_in_numpy(measure, dtype):
    measure(workloads.sequence("lstm", 1, 512, 128, dtype), "NumPy")


# simple_rnn_vjp, lstm_vjp and gru_vjp
@SIDES
@NAMES
@DTYPES
def bench_sequence_vjp(measure, dtype, name, side):
    measure(workloads.sequence_vjp(name, 32, 128, 128, dtype), side)


# simple_rnn_cell, lstm_cell and gru_cell
@SIDES
@pytest.mark.parametrize("batch", [1, 32])
@NAMES
def bench_cell(measure, name, batch, side):
    measure(workloads.cell(name, batch, 128, "float32"), side)


# rnn_jacobian, lstm_jacobian and gru_jacobian
@SIDES
@NAMES
def bench_step_jacobians(measure, name, side):
    measure(workloads.step_jacobians(name, 256, 32), side)


# jacobian_product_log_norms
@pytest.mark.parametrize("side", ["kexue", "NumPy"])
@pytest.mark.parametrize("n", [4, 64])
@pytest.mark.parametrize("stabilization", ["qr", "none"])
def bench_jacobian_product_log_norms(measure, stabilization, n, side):
    measure(workloads.log_norms(1000, n, stabilization), side)


# lyapunov_exponents
@pytest.mark.parametrize("side", ["kexue", "NumPy"])
def bench_lyapunov_exponents(measure, side):
    measure(workloads.exponents(1000, 16), side)


def bench_jacobian_product_log_singular_values(benchmark):
    benchmark(kx.jacobian_product_log_singular_values, workloads.matrices(300, 8))


def bench_rnn_gradient_recursion(benchmark):
    benchmark(kx.rnn_gradient_recursion, workloads.matrices(1000, 16), np.ones((1000, 16, 32)))


def bench_rnn_jacobian_bound(benchmark):
    benchmark(kx.rnn_jacobian_bound, np.linspace(-1, 1, 10_000))


def bench_lstm_path_derivative(benchmark):
    c = np.linspace(-2, 2, 10_000)
    benchmark(kx.lstm_path_derivative, 0.5, c, 0.7, [0.3, -0.2, 0.4], [0.8, 0.5, -0.6], [0.1, 0.0, 0.2])


@pytest.mark.parametrize(
    ("function", "gates"),
    [
        (kx.simple_rnn_weights_from_torch, 1),
        (kx.lstm_weights_from_torch, 4),
        (kx.gru_weights_from_torch, 3),
    ],
)
def bench_weights_from_torch(benchmark, function, gates):
    weight, bias = np.ones((gates * 256, 256)), np.ones(gates * 256)
    benchmark(function, weight, weight, bias, bias)
