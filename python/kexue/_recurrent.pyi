from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]

# Number, gates of U, gates kept, whether there are cells.
KINDS: dict[str, tuple[int, int, int, bool]]

def run(
    kind: int,
    inputs: _Real,
    input_weights: _Real,
    weights: _Real,
    bias: _Real | None,
    recurrent_bias: _Real | None,
    start: _Real | None,
    cell_start: _Real | None,
    states: _Real,
    cells: _Real | None,
    gates: _Real | None,
    workers: int | None,
) -> None: ...

# Arrays of the one type go through, all else gives None.
def cell(
    kind: str,
    x: Any,
    W: Any,
    U: Any,
    b: Any,
    recurrent_bias: Any,
    h: Any,
    c: Any,
    workers: int | None,
) -> _Real | tuple[_Real, _Real] | None: ...
def gradient(
    kind: int,
    weights: _Real,
    start: _Real | None,
    cell_start: _Real | None,
    states: _Real,
    cells: _Real | None,
    gates: _Real | None,
    state_gradients: _Real,
    cell_gradients: _Real | None,
    by_gates: _Real,
    by_start: _Real,
    by_cell_start: _Real | None,
    workers: int | None,
) -> None: ...
def product(left: _Real, right: _Real, out: _Real, workers: int | None) -> None: ...
