from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

def combinatorial(
    scores: _Real,
    targets: npt.NDArray[np.uint8] | None,
    counts: npt.NDArray[np.int64],
    fillers: npt.NDArray[np.float64] | None,
    value: _Real,
    grad: _Real | None,
    workers: int | None,
) -> bool: ...
