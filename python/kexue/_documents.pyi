from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Int64: TypeAlias = npt.NDArray[np.int64]
# Offsets, words and weights.
_Documents: TypeAlias = tuple[_Int64, _Int32, _Float64]
_Report: TypeAlias = Callable[[int, int], object]

METRICS: dict[str, int]

def pairwise(
    vectors: _Real,
    X: _Documents,
    Y: _Documents | None,
    metric: str,
    scale: float,
    empty_value: float,
    workers: int | None,
    report: _Report | None = None,
    reg: float = 0.0,
    tolerance: float = 1e-9,
    max_iter: int = 1,
) -> tuple[int, _Real, int]: ...

# All but the status are None where it is no success.
def normalize(
    vectors: _Real, rows: _Documents, metric: str
) -> tuple[int, _Int64, _Int32, _Float64, _Float64 | None] | tuple[int, None, None, None, None]: ...
def search(
    vectors: _Real,
    used: _Int32,
    factors: _Float64 | None,
    offsets: _Int64,
    words: _Int32,
    weights: _Float64,
    removed: npt.NDArray[np.bool | np.uint8] | None,
    queries: _Documents,
    query_vectors: _Real | None,
    metric: str,
    scale: float,
    k: int,
    limits: _Float64 | None,
    workers: int | None,
    report: _Report | None = None,
) -> tuple[int, tuple[_Int64, _Int64, _Real], _Int64] | tuple[int, None, None]: ...
