from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]

def cosent(
    cosines: _Real, labels: _Float64, scale: float, loss: _Real, gradient: _Real | None, workers: int | None
) -> None: ...
def spearman(x: _Float64, y: _Float64, correlation: _Float64, workers: int | None) -> None: ...
