from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

POST: int
PAPER: int
REPO: int
TOLERANCE: float

def topk_entropy(P: _Real, k: int, kind: int, out: _Real, workers: int | None) -> bool: ...
def can(
    P: _Real,
    prior: npt.NDArray[np.float64],
    k: int,
    kind: int,
    threshold: float,
    alpha: float,
    out: _Real,
    uncertainty: _Real,
    workers: int | None,
) -> bool: ...
