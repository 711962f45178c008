import numpy as np
import numpy.typing as npt

MAX_WORDS: int

def pack(X: npt.NDArray[np.float32 | np.float64], codes: npt.NDArray[np.uint64]) -> None: ...
def distances(
    queries: npt.NDArray[np.uint64], codes: npt.NDArray[np.uint64], out: npt.NDArray[np.int32], workers: int | None
) -> None: ...
def neighbors(
    queries: npt.NDArray[np.uint64],
    codes: npt.NDArray[np.uint64],
    distances: npt.NDArray[np.int32],
    indices: npt.NDArray[np.int64],
    workers: int | None,
) -> None: ...
