"""Gradients: clipped, normalised, penalised, estimated without derivatives; recurrent networks."""

from kexue._gradient_clipping import clip_by_norm, clip_global_norm, descent_bound, smoothness_step_size
from kexue._jacobian_products import (
    jacobian_product_log_norms,
    jacobian_product_log_singular_values,
    lyapunov_exponents,
    rnn_gradient_recursion,
)
from kexue._recurrent_cells import (
    TANH_JACOBIAN_ARGUMENT,
    TANH_JACOBIAN_BOUND,
    gru_cell,
    gru_jacobian,
    lstm_cell,
    lstm_jacobian,
    lstm_path_derivative,
    rnn_jacobian,
    rnn_jacobian_bound,
    simple_rnn_cell,
)
from kexue._recurrent_sequences import (
    gru,
    gru_vjp,
    gru_weights_from_torch,
    lstm,
    lstm_vjp,
    lstm_weights_from_torch,
    simple_rnn,
    simple_rnn_vjp,
    simple_rnn_weights_from_torch,
)

__all__ = [
    "TANH_JACOBIAN_ARGUMENT",
    "TANH_JACOBIAN_BOUND",
    "clip_by_norm",
    "clip_global_norm",
    "descent_bound",
    "gru",
    "gru_cell",
    "gru_jacobian",
    "gru_vjp",
    "gru_weights_from_torch",
    "jacobian_product_log_norms",
    "jacobian_product_log_singular_values",
    "lstm",
    "lstm_cell",
    "lstm_jacobian",
    "lstm_path_derivative",
    "lstm_vjp",
    "lstm_weights_from_torch",
    "lyapunov_exponents",
    "rnn_gradient_recursion",
    "rnn_jacobian",
    "rnn_jacobian_bound",
    "simple_rnn",
    "simple_rnn_cell",
    "simple_rnn_vjp",
    "simple_rnn_weights_from_torch",
    "smoothness_step_size",
]
