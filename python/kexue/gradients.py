"""Gradients: recurrent networks and the Jacobians of their steps; optimisation without gradients."""

from kexue._ball_step import ball_step_length
from kexue._jacobian_products import (
    jacobian_product_log_norms,
    jacobian_product_log_singular_values,
    lyapunov_exponents,
    rnn_gradient_recursion,
)
from kexue._minimize import minimize
from kexue._policy_gradient import (
    optimal_baseline,
    policy_gradient,
    smoothed_argmax_gradient,
    softmax_policy_gradient,
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
from kexue._sampling_steps import (
    BoltzmannStep,
    GaussianMixtureProposal,
    boltzmann_step,
    gaussian_mixture_proposal,
    mgs_step,
    mgs_weights,
)
from kexue._zeroth_order import zeroth_order_gradient

__all__ = [
    "BoltzmannStep",
    "GaussianMixtureProposal",
    "TANH_JACOBIAN_ARGUMENT",
    "TANH_JACOBIAN_BOUND",
    "ball_step_length",
    "boltzmann_step",
    "gaussian_mixture_proposal",
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
    "mgs_step",
    "mgs_weights",
    "minimize",
    "optimal_baseline",
    "policy_gradient",
    "rnn_gradient_recursion",
    "rnn_jacobian",
    "rnn_jacobian_bound",
    "simple_rnn",
    "simple_rnn_cell",
    "simple_rnn_vjp",
    "simple_rnn_weights_from_torch",
    "smoothed_argmax_gradient",
    "softmax_policy_gradient",
    "zeroth_order_gradient",
]
