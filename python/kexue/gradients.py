"""Gradients: penalties, perturbations, recurrent networks and the Jacobians of their steps."""

from kexue._adversarial_perturbations import (
    fgm_perturbation,
    vat_loss,
    vat_perturbation,
)
from kexue._gradient_penalty_bounds import (
    GradientPenalties,
    LayerPenalties,
    mlp_gradient_penalties,
)
from kexue._input_penalties import (
    jacobian_penalty_hutchinson,
    laplacian_penalty,
    noise_regularizer,
)
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
    "GradientPenalties",
    "LayerPenalties",
    "TANH_JACOBIAN_ARGUMENT",
    "TANH_JACOBIAN_BOUND",
    "fgm_perturbation",
    "gru",
    "gru_cell",
    "gru_jacobian",
    "gru_vjp",
    "gru_weights_from_torch",
    "jacobian_penalty_hutchinson",
    "jacobian_product_log_norms",
    "jacobian_product_log_singular_values",
    "laplacian_penalty",
    "lstm",
    "lstm_cell",
    "lstm_jacobian",
    "lstm_path_derivative",
    "lstm_vjp",
    "lstm_weights_from_torch",
    "lyapunov_exponents",
    "mlp_gradient_penalties",
    "noise_regularizer",
    "rnn_gradient_recursion",
    "rnn_jacobian",
    "rnn_jacobian_bound",
    "simple_rnn",
    "simple_rnn_cell",
    "simple_rnn_vjp",
    "simple_rnn_weights_from_torch",
    "vat_loss",
    "vat_perturbation",
]
