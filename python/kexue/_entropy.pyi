from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Int64: TypeAlias = npt.NDArray[np.int64]

BELOW: int
ABOVE: int
CONSTANT: int

def normalize(
    values: _Real,
    offsets: _Int64 | None,
    targets: _Float64,
    target_kind: int,
    domain: int,
    q: _Real | None,
    gamma: _Float64 | None,
    entropy: _Float64 | None,
    status: _Int32 | None,
    iterations: _Int32 | None,
    tolerance: float,
    max_iter: int,
    workers: int | None,
) -> None: ...
def gradient(
    values: _Real,
    offsets: _Int64 | None,
    gamma: _Float64,
    grad_q: _Real,
    domain: int,
    grad_values: _Real | None,
    grad_entropy: _Float64 | None,
    workers: int | None,
) -> None: ...
