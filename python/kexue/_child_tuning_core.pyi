from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

def add_squares(x: _Real, sums: npt.NDArray[np.float64]) -> None: ...
def drop(
    x: _Real, key: npt.NDArray[np.uint64], first_position: int, p: float, scale: float, out: _Real, workers: int | None
) -> None: ...
def keep(x: _Real, mask: npt.NDArray[np.bool], scale: float, out: _Real, workers: int | None) -> None: ...
