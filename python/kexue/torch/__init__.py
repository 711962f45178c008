"""Functions of kexue with gradients, on PyTorch's tensors in the processor's memory, which are not copied.

They have the names, the arguments and the results of the functions of the package itself: tensors take the place of
arrays, and autograd that of ``return_grad``. Importing this module imports torch; importing kexue does not.
"""

from __future__ import annotations

try:
    import torch as _torch  # noqa: F401
except ImportError as error:
    raise ImportError('kexue.torch needs PyTorch: pip install "kexue[torch]"') from error

from kexue.torch._documents import wmd, wrd
from kexue.torch._functions import entropy_normalize, entropy_normalize_logits, hsic, squareplus
from kexue.torch._losses import (
    combinatorial_softmax_loss,
    cosent_embedding_loss,
    cosent_loss,
    info_nce_loss,
    r_drop_loss,
    zlpr_loss,
    zlpr_sparse_loss,
)
from kexue.torch._transport import emd2, sinkhorn2

__all__ = [
    "combinatorial_softmax_loss",
    "cosent_embedding_loss",
    "cosent_loss",
    "emd2",
    "entropy_normalize",
    "entropy_normalize_logits",
    "hsic",
    "info_nce_loss",
    "r_drop_loss",
    "sinkhorn2",
    "squareplus",
    "wmd",
    "wrd",
    "zlpr_loss",
    "zlpr_sparse_loss",
]
