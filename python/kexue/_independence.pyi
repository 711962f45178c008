from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
_Kernel: TypeAlias = tuple[int, float, float, int]  # kind, gamma, coef0, degree

LINEAR: int
POLYNOMIAL: int
RBF: int
LAPLACE: int

def sums(
    X: _Real,
    kernel_x: _Kernel,
    Y: _Real | None,
    kernel_y: _Kernel | None,
    row_sums_x: _Float64 | None,
    row_sums_y: _Float64 | None,
    workers: int | None,
) -> tuple[float, float, float]: ...
def cross_sums(
    X: _Real,
    others_x: _Real,
    kernel_x: _Kernel,
    Y: _Real,
    others_y: _Real,
    kernel_y: _Kernel,
    row_sums_x: _Float64 | None,
    column_sums_x: _Float64 | None,
    row_sums_y: _Float64 | None,
    column_sums_y: _Float64 | None,
    workers: int | None,
) -> tuple[float, float, float]: ...
def centred_sums(
    X: _Real,
    kernel_x: _Kernel,
    offsets_x: _Float64,
    constant_x: float,
    Y: _Real,
    kernel_y: _Kernel,
    offsets_y: _Float64,
    constant_y: float,
    workers: int | None,
) -> tuple[float, float]: ...
def gradient(
    X: _Real,
    kernel_x: _Kernel,
    offsets_x: _Float64 | None,
    constant_x: float,
    Y: _Real,
    kernel_y: _Kernel,
    offsets_y: _Float64 | None,
    constant_y: float,
    grad_x: _Float64 | None,
    grad_y: _Float64 | None,
    workers: int | None,
) -> None: ...
def kernel_matrix(X: _Real, others: _Real | None, kernel: _Kernel, out: _Real, workers: int | None) -> None: ...
def permutation_sums(
    K: _Real, L: _Real, permutations: npt.NDArray[np.int32], out: _Float64, workers: int | None
) -> None: ...
def median_distance(X: _Real, kind: int, workers: int | None) -> float: ...
