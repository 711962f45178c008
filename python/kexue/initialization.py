"""Initial weights and what keeps activations in scale: normalisation of rows, the NTK parameterisation."""

from kexue._layer_norm import (
    layer_norm,
    layer_norm_vjp,
    ntk_linear,
    rms_norm,
    rms_norm_vjp,
)

__all__ = [
    "layer_norm",
    "layer_norm_vjp",
    "ntk_linear",
    "rms_norm",
    "rms_norm_vjp",
]
