"""Gradients: clipped, normalised, penalised, estimated without derivatives; recurrent networks.

Attributes
----------
TANH_JACOBIAN_ARGUMENT : float
    c at which c sech(c)**2 is largest, the positive root of c tanh(c) = 1/2.
TANH_JACOBIAN_BOUND : float
    The largest value of c sech(c)**2: times 1 / |h|, it bounds the derivative tanh(U h)' for a fixed h.
"""

from kexue._adversarial_perturbations import fgm_perturbation, vat_loss, vat_perturbation
from kexue._ball_step import ball_step_length
from kexue._child_tuning import (
    ChildTuningAdamW,
    childtuning_gradient,
    childtuning_mask,
    fisher_diagonal,
    update_dropout,
)
from kexue._gradient_clipping import clip_by_norm, clip_global_norm, descent_bound, smoothness_step_size
from kexue._gradient_normalization import (
    SpectralNorm,
    clip_weights,
    gn_input_gradient,
    gradient_normalize,
    gradient_penalty,
    spectral_norm,
)
from kexue._gradient_penalty_bounds import GradientPenalties, LayerPenalties, mlp_gradient_penalties
from kexue._input_penalties import jacobian_penalty_hutchinson, laplacian_penalty, noise_regularizer
from kexue._jacobian_products import (
    jacobian_product_log_norms,
    jacobian_product_log_singular_values,
    lyapunov_exponents,
    rnn_gradient_recursion,
)
from kexue._minimize import minimize
from kexue._policy_gradient import optimal_baseline, policy_gradient, smoothed_argmax_gradient, softmax_policy_gradient
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
    "ChildTuningAdamW",
    "GaussianMixtureProposal",
    "GradientPenalties",
    "LayerPenalties",
    "SpectralNorm",
    "TANH_JACOBIAN_ARGUMENT",
    "TANH_JACOBIAN_BOUND",
    "ball_step_length",
    "boltzmann_step",
    "childtuning_gradient",
    "childtuning_mask",
    "clip_by_norm",
    "clip_global_norm",
    "clip_weights",
    "descent_bound",
    "fgm_perturbation",
    "fisher_diagonal",
    "gaussian_mixture_proposal",
    "gn_input_gradient",
    "gradient_normalize",
    "gradient_penalty",
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
    "mgs_step",
    "mgs_weights",
    "minimize",
    "mlp_gradient_penalties",
    "noise_regularizer",
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
    "smoothness_step_size",
    "softmax_policy_gradient",
    "spectral_norm",
    "update_dropout",
    "vat_loss",
    "vat_perturbation",
    "zeroth_order_gradient",
]
