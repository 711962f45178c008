from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Real: TypeAlias = npt.NDArray[np.float32 | np.float64]
_Float64: TypeAlias = npt.NDArray[np.float64]
# The first item, and the bytes from it to each item.
_Items: TypeAlias = tuple[_Real, npt.NDArray[np.int64]]
_Masks: TypeAlias = tuple[npt.NDArray[np.bool | np.float32 | np.float64], npt.NDArray[np.int64]]

def attend(
    queries: _Items,
    keys: _Items,
    values: _Items,
    mask: _Masks | None,
    is_causal: bool,
    scales: _Float64,
    out: _Real,
    log_sums: _Float64 | None,
    entropies: _Float64 | None,
    workers: int | None,
) -> None: ...
def gradient(
    queries: _Items,
    keys: _Items,
    values: _Items,
    mask: _Masks | None,
    is_causal: bool,
    scales: _Float64,
    out: _Real,
    log_sums: _Float64,
    out_gradients: _Items,
    by_queries: _Real,
    by_keys: _Real,
    by_values: _Real,
    by_scales: _Float64 | None,
    workers: int | None,
) -> None: ...
def talk(
    queries: _Items,
    keys: _Items,
    values: _Items,
    mask: _Masks | None,
    is_causal: bool,
    scales: _Float64,
    logit_mix: _Float64,
    weight_mix: _Float64 | None,
    out: _Real,
    workers: int | None,
) -> None: ...
def talk_gradient(
    queries: _Items,
    keys: _Items,
    values: _Items,
    mask: _Masks | None,
    is_causal: bool,
    scales: _Float64,
    logit_mix: _Float64,
    weight_mix: _Float64 | None,
    out_gradients: _Items,
    by_queries: _Real,
    by_keys: _Real,
    by_values: _Real,
    by_logit_mix: _Float64,
    by_weight_mix: _Float64 | None,
    workers: int | None,
) -> None: ...
