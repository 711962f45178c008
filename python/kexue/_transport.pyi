from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Int64: TypeAlias = npt.NDArray[np.int64]
_Arrays: TypeAlias = dict[str, npt.NDArray[Any]]  # by the names of the members of a C structure

_RESULT: np.dtype[np.void]
SINKHORN_METHODS: tuple[str, ...]
SINKHORN_ACCELERATIONS: tuple[str, ...]
POINT_METRICS: tuple[str, ...]

def emd2_plain(a: object, b: object, M: object) -> float | None: ...
def allocate_outputs(
    count: int,
    m: int,
    n: int,
    *,
    plans: bool = False,
    potentials: bool = False,
    entries: bool = False,
    results: bool = False,
) -> _Arrays: ...
def emd(
    a: _Float64 | None,
    b: _Float64 | None,
    M: _Real,
    count: int,
    a_offsets: _Int64 | None,
    b_offsets: _Int64 | None,
    M_offsets: _Int64 | None,
    row_stride: int,
    totals_tolerance: float,
    max_iter: int,
    outputs: _Arrays,
    workers: int | None,
) -> tuple[int, int]: ...
def emd_1d(
    x: _Float64,
    y: _Float64,
    a: _Float64 | None,
    b: _Float64 | None,
    x_order: _Int64 | None,
    y_order: _Int64 | None,
    a_offsets: _Int64 | None,
    b_offsets: _Int64 | None,
    power: float,
    totals_tolerance: float,
    outputs: _Arrays,
    workers: int | None,
) -> int: ...
def lower_bound(
    a: _Float64 | None,
    b: _Float64 | None,
    M: _Float64,
    count: int,
    a_offsets: _Int64 | None,
    b_offsets: _Int64 | None,
    M_offsets: _Int64 | None,
    row_stride: int,
    sweeps: int,
    reg_share: float,
    totals_tolerance: float,
    workers: int | None,
) -> tuple[int, int, _Float64, _Float64, _Float64]: ...
def sinkhorn(
    problems: dict[str, Any], settings: dict[str, Any], outputs: _Arrays, workers: int | None
) -> tuple[int, int]: ...
def sinkhorn_points(
    x: _Float64,
    y: _Float64 | None,
    a: _Float64 | None,
    b: _Float64 | None,
    reg: float,
    metric: int,
    settings: dict[str, Any],
    workers: int | None,
) -> tuple[int, float, float, int]: ...
def barycenter(
    histograms: _Float64,
    M: _Float64,
    shares: _Float64 | None,
    reg: float,
    settings: dict[str, Any],
    workers: int | None,
) -> tuple[int, _Float64, float, int]: ...
