from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Int32: TypeAlias = npt.NDArray[np.int32]
_Int64: TypeAlias = npt.NDArray[np.int64]
_UInt64: TypeAlias = npt.NDArray[np.uint64]

def philox_words(key: _UInt64, first_word: int, count: int) -> _UInt64: ...
def sketch(X: _Real, column_starts: _Int64, targets: _Int32, scale: float, out: _Real, workers: int | None) -> None: ...
def sketch_csr(
    indptr: _Int64,
    indices: _Int64,
    data: _Real,
    column_starts: _Int64,
    targets: _Int32,
    scale: float,
    out: _Real,
    workers: int | None,
) -> None: ...
def rademacher(X: _Real, key: _UInt64, scale: float, out: _Real, workers: int | None) -> None: ...
def rademacher_csr(
    indptr: _Int64,
    indices: _Int64,
    data: _Real,
    n_columns: int,
    key: _UInt64,
    scale: float,
    out: _Real,
    workers: int | None,
) -> None: ...
def rademacher_adjoint(Y: _Real, key: _UInt64, scale: float, out: _Real, workers: int | None) -> None: ...
def rademacher_matrix(key: _UInt64, n_components: int, d: int, dtype: npt.DTypeLike, scale: float) -> _Real: ...
def srht(
    X: _Real, signs: _UInt64, samples: _Int64, size: int, scale: float, out: _Real, workers: int | None
) -> None: ...
def srht_csr(
    indptr: _Int64,
    indices: _Int64,
    data: _Real,
    n_columns: int,
    signs: _UInt64,
    samples: _Int64,
    size: int,
    scale: float,
    out: _Real,
    workers: int | None,
) -> None: ...
def srht_adjoint(
    Y: _Real,
    n_columns: int,
    signs: _UInt64,
    samples: _Int64,
    size: int,
    scale: float,
    out: _Real,
    workers: int | None,
) -> None: ...
