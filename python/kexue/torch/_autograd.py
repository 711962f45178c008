"""Tensors as arrays and back, and the one autograd function, which is told what to compute."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kexue import KexueValueError

Arrays = dict[str, Any]
Needs = frozenset[str]
# The value, and what `Backward` is given besides the arguments.
Forward = Callable[[Needs, Arrays], tuple[Any, Sequence[Any]]]
# The gradients by what is needed at least: of the argument's shape or of one that it was broadcast to.
Backward = Callable[[Needs, Tensor, Arrays, Sequence[Tensor]], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Computed:
    """A function's value, and what its gradient is computed from.

    Attributes
    ----------
    name : str
        The function's.
    value : Tensor
    kept : sequence of Tensor
        What `forward` has kept for `backward`.
    backward : callable
    fixed : mapping
        The arguments that are no tensors, or have no gradient: arrays, numbers, None.
    names : tuple of str
        Those of the arguments that are tensors.
    needs : frozenset of str
        Those of them that need a gradient.
    """

    name: str
    value: Tensor
    kept: Sequence[Tensor]
    backward: Backward
    fixed: Arrays
    names: tuple[str, ...]
    needs: Needs


def call(
    name: str,
    forward: Forward,
    backward: Backward,
    *,
    required: Arrays,
    optional: Arrays | None = None,
    constant: Arrays | None = None,
) -> Tensor:
    """Compute a function of tensors so that autograd knows its gradient.

    Parameters
    ----------
    name : str
        The function's, for messages.
    forward, backward : callable
    required : mapping of str to Tensor
        Arguments with gradients, by name, which must be tensors.
    optional : mapping
        Arguments with gradients if they are tensors.
    constant : mapping
        Arguments without gradients.

    Returns
    -------
    Tensor
    """
    for argument, value in required.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"{argument} must be a torch.Tensor, not {type(value).__name__}")
    recording = torch.is_grad_enabled()
    fixed = {}
    for argument, value in (constant or {}).items():
        if recording and isinstance(value, Tensor) and value.requires_grad:
            raise KexueValueError(
                f"{argument} requires a gradient, but kexue.torch.{name} has none by it: pass {argument}.detach()"
            )
        fixed[argument] = as_array(argument, value) if isinstance(value, Tensor) else value
    tensors = dict(required)
    for argument, value in (optional or {}).items():
        (tensors if isinstance(value, Tensor) else fixed)[argument] = value
    needs = frozenset(argument for argument, tensor in tensors.items() if recording and tensor.requires_grad)
    # Not inside of the autograd function: a warning has to point at the caller's line, not into torch.
    value, kept = forward(needs, fixed | arrays_of(tensors))
    computed = Computed(name, as_tensor(value), list(map(as_tensor, kept)), backward, fixed, tuple(tensors), needs)
    # Also where nothing needs a gradient: torch then refuses forward-mode derivatives, which would be dropped.
    return _Function.apply(computed, *tensors.values())


def arrays_of(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    return {name: as_array(name, tensor) for name, tensor in tensors.items()}


def as_array(name: str, tensor: Tensor) -> np.ndarray:
    """The tensor's memory as an array."""
    if tensor.device.type != "cpu":
        raise KexueValueError(
            f"{name} is on the device {tensor.device}, but kexue computes on the CPU: pass {name}.cpu()"
        )
    if tensor.layout is not torch.strided:
        raise TypeError(f"{name} has the layout {tensor.layout}: pass {name}.to_dense()")
    try:
        return tensor.detach().resolve_neg().numpy()
    except TypeError:
        raise TypeError(f"{name} is of {tensor.dtype}, which NumPy does not have: pass {name}.float()") from None
    except RuntimeError as error:
        raise RuntimeError(
            f"{name} has no memory of its own: kexue.torch does not go with torch.func nor with batched gradients"
        ) from error


def as_tensor(value: Any) -> Tensor:
    """A result of kexue as a tensor: an array's memory is shared."""
    return torch.from_numpy(np.asarray(value))


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, computed: Computed, *tensors: Tensor) -> Tensor:
        if computed.needs:
            # Saved, not just referred to: autograd then sees a change in place, and frees them after use.
            ctx.save_for_backward(*tensors, *computed.kept)
            ctx.name, ctx.names, ctx.needs = computed.name, computed.names, computed.needs
            ctx.fixed, ctx.gradients = computed.fixed, computed.backward
        return computed.value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Any:
        count, saved = len(ctx.names), ctx.saved_tensors  # once: its hooks may compute them
        tensors, kept = saved[:count], saved[count:]
        by_name = dict(zip(ctx.names, tensors, strict=True))
        with torch.no_grad():
            found = ctx.gradients(ctx.needs, upstream, ctx.fixed | arrays_of(by_name), kept)
            wanted = [
                # Weights without entries are uniform ones, of another shape.
                (place, found[name].sum_to_size(tensor.shape).to(tensor.dtype) if tensor.numel() else tensor.detach())
                for place, (name, tensor) in enumerate(by_name.items())
                if name in ctx.needs
            ]
        gradients = [gradient for _, gradient in wanted]
        if torch.is_grad_enabled():
            gradients = _FirstDerivatives.apply(ctx.name, len(gradients), *gradients, upstream, *tensors)
        result: list[Tensor | None] = [None] * (count + 1)
        for (place, _), gradient in zip(wanted, gradients, strict=True):
            result[place + 1] = gradient
        return tuple(result)


class _FirstDerivatives(torch.autograd.Function):
    """The gradients as they are. They depend on the arguments, too, but how is not known: an error, not a 0.

    `torch.autograd.function.once_differentiable` forgets the arguments: a gradient penalty would be dropped silently.
    """

    @staticmethod
    def forward(ctx: Any, name: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.name = name
        return tuple(gradient.clone() for gradient in tensors[:count])

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise RuntimeError(f"kexue.torch.{ctx.name} has no second derivative")
