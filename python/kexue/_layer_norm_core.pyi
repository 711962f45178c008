from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

def gradients(
    x: _Real,
    upstream: _Real,
    gamma: _Real | None,
    eps: float,
    dx: _Real,
    dgamma: _Real,
    dbeta: _Real | None,
    workers: int | None,
) -> None: ...
