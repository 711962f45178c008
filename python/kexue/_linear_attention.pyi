from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Int64: TypeAlias = npt.NDArray[np.int64]
# The first item, and the bytes from it to each item.
_Items: TypeAlias = tuple[_Real, _Int64]

def attend(
    queries: _Items,
    keys: _Items,
    values: _Items,
    log_scales: tuple[_Float64, _Int64] | None,
    is_causal: bool,
    is_normalized: bool,
    eps: float,
    out: _Real,
    denominators: _Float64 | None,
    workers: int | None,
) -> None: ...
def polynomial_size(kind: int, d: int, degree: int) -> int: ...
def polynomials(
    kind: int, x: _Real, degree: int, scale: float, degree_scales: _Float64 | None, out: _Real, workers: int | None
) -> None: ...
