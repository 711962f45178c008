from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

def softmax_kl(a: _Real, b: _Real, scratch: npt.NDArray[np.float64], loss: _Real, grad: _Real | None) -> None: ...
def symmetric_kl(
    s: _Real, t: _Real, loss: _Real, grad_s: _Real | None, grad_t: _Real | None, workers: int | None
) -> None: ...
def r_drop(
    s: _Real,
    t: _Real,
    ids: npt.NDArray[np.int64] | None,
    weights: _Real | None,
    alpha: float,
    loss: _Real,
    grad_s: _Real | None,
    grad_t: _Real | None,
    workers: int | None,
) -> None: ...
def info_nce(
    similarities: _Real, temperature: float, symmetric: bool, loss: _Real, grad: _Real | None, workers: int | None
) -> None: ...
