from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Flags: TypeAlias = npt.NDArray[np.uint8]
_Targets: TypeAlias = npt.NDArray[np.uint8 | np.float32 | np.float64]

def zlpr(
    scores: _Real,
    targets: _Targets,
    mask: _Flags | None,
    thresholds: _Real | None,
    label_smoothing: float,
    loss: _Real,
    grad: _Real | None,
    workers: int | None,
) -> None: ...
def zlpr_sparse(
    scores: _Real,
    offsets: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    mask: _Flags | None,
    thresholds: _Real | None,
    loss: _Real,
    grad: _Real | None,
    workers: int | None,
) -> None: ...
def pairwise_rank(
    scores: _Real,
    targets: _Targets,
    mask: _Flags | None,
    gamma: float,
    margin: float,
    loss: _Real,
    grad: _Real | None,
    workers: int | None,
) -> None: ...
def symmetric_kl(
    s: _Real,
    t: _Real,
    mask: _Flags | None,
    loss: _Real,
    grad_s: _Real | None,
    grad_t: _Real | None,
    workers: int | None,
) -> None: ...
