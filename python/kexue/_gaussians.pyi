from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

def first_bad_pivot(covariances: _Real) -> tuple[int, int, float]: ...
def first_not_semidefinite(covariances: _Real) -> tuple[int, float]: ...
