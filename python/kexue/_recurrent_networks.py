"""Recurrent networks: simple, LSTM and GRU, of sequences and of one step, and backpropagation through time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from kexue import _recurrent
from kexue._arrays import as_contiguous, as_real, result_dtype, sum_to
from kexue._errors import KexueValueError
from kexue._recurrent_steps import step_jacobians

Activation = Literal["tanh", "relu"]
Convention = Literal["kexue", "torch"]
Variant = Literal["standard", "single_gate", "proposal"]

CELL_NAMES = ("h", "c")


def activation_kind(activation: str) -> str:
    if activation not in ("tanh", "relu"):
        raise KexueValueError(f'activation must be "tanh" or "relu", got {activation!r}')
    return activation


def gru_kind(convention: str, variant: str, recurrent_bias: Any, c: Any, name: str) -> str:
    if convention not in ("kexue", "torch"):
        raise KexueValueError(f'convention must be "kexue" or "torch", got {convention!r}')
    kinds = {"standard": "gru", "single_gate": "gru_single_gate", "proposal": "gru_proposal"}
    if variant not in kinds:
        raise KexueValueError(f'variant must be "standard", "single_gate" or "proposal", got {variant!r}')
    if convention == "torch" and variant != "standard":
        raise KexueValueError(f'variant must be "standard" in torch\'s convention, got {variant!r}')
    if recurrent_bias is not None and convention != "torch":
        raise KexueValueError('recurrent_bias must be None unless convention="torch"')
    if c is not None and variant != "proposal":
        raise KexueValueError(f'{name} must be None unless variant="proposal"')
    return "gru_after" if convention == "torch" else kinds[variant]


@dataclass
class Outcome:
    """What a run gave, of shapes (sequences, steps, ...)."""

    states: np.ndarray
    cells: np.ndarray | None
    gates: np.ndarray | None


class Network:
    """Checked arguments of one call."""

    def __init__(
        self,
        kind: str,
        x: Any,
        W: Any,
        U: Any,
        b: Any,
        h0: Any,
        c0: Any = None,
        recurrent_bias: Any = None,
        *,
        names: tuple[str, str] = ("h0", "c0"),
        is_cell: bool = False,
    ) -> None:
        self.kind = kind
        self.number, self.gates, self.kept, self.has_cells = _recurrent.KINDS[kind]
        self.dtype = result_dtype(x, W, U, b, h0, c0, recurrent_bias)
        self.U = self._contiguous("U", U, 2)
        self.size = self.U.shape[0]
        columns = self.gates * self.size
        if self.U.shape[1] != columns:
            blocks = f"{self.gates} n" if self.gates > 1 else "n"
            raise KexueValueError(f"U must have shape (n, {blocks}), but its shape is {self.U.shape}")
        self.W = self._contiguous("W", W, 2)
        if self.W.shape[1] != columns:
            raise KexueValueError(f"W must have {columns} columns as U has, but its shape is {self.W.shape}")
        self.b = self._vector("b", b, columns)
        self.recurrent_bias = self._vector("recurrent_bias", recurrent_bias, self.size)
        inputs = as_real("x", x).astype(self.dtype, copy=False)
        if inputs.ndim < 2 - is_cell or inputs.shape[-1] != self.W.shape[0]:
            rows = "(..., " if is_cell else "(..., steps, "
            raise KexueValueError(
                f"x must have shape {rows}{self.W.shape[0]}) for W of shape {self.W.shape}, "
                f"but its shape is {inputs.shape}"
            )
        outer = inputs.shape[:-1] if is_cell else inputs.shape[:-2]
        starts = [self._start(name, value) for name, value in zip(names, (h0, c0), strict=True)]
        if is_cell:  # states have sequences of their own; x of a sequence cannot be repeated without a copy
            outer = self._broadcast(outer, names, starts)
            if inputs.shape[:-1] != outer:
                inputs = np.broadcast_to(inputs, (*outer, inputs.shape[-1]))
            inputs = inputs[..., None, :]
        self.outer = outer
        self.steps, self.dimension = inputs.shape[-2:]
        self.sequences = math.prod(outer)
        self.x = as_contiguous(inputs).reshape(self.sequences, self.steps, self.dimension)
        self.start_shapes = [(*outer, self.size) if start is None else start.shape for start in starts]
        self.start, self.cell_start = (self._rows(name, start) for name, start in zip(names, starts, strict=True))

    def _contiguous(self, name: str, value: Any, ndim: int) -> np.ndarray:
        return as_contiguous(as_real(name, value, ndim=ndim).astype(self.dtype, copy=False))

    def _vector(self, name: str, value: Any, size: int) -> np.ndarray | None:
        if value is None:
            return None
        array = self._contiguous(name, value, 1)
        if len(array) != size:
            raise KexueValueError(f"{name} must have shape ({size},), but its shape is {array.shape}")
        return array

    def _start(self, name: str, value: Any) -> np.ndarray | None:
        if value is None:
            return None
        array = as_real(name, value).astype(self.dtype, copy=False)
        if array.ndim == 0 or array.shape[-1] != self.size:
            raise KexueValueError(f"{name} must have shape (..., {self.size}), but its shape is {array.shape}")
        return array

    @staticmethod
    def _broadcast(outer: tuple[int, ...], names: tuple[str, str], starts: list[np.ndarray | None]) -> tuple[int, ...]:
        for name, start in zip(names, starts, strict=True):
            if start is not None and start.shape[:-1] != outer:  # NumPy's broadcasting takes some microseconds
                try:
                    outer = np.broadcast_shapes(outer, start.shape[:-1])
                except ValueError:
                    raise KexueValueError(
                        f"{name} must have leading dimensions that broadcast with {outer}, "
                        f"but its shape is {start.shape}"
                    ) from None
        return outer

    def _rows(self, name: str, start: np.ndarray | None) -> np.ndarray | None:
        if start is None:
            return None
        shape = (*self.outer, self.size)
        if start.shape == shape:
            return as_contiguous(start).reshape(self.sequences, self.size)
        try:
            whole = np.broadcast_to(start, shape)
        except ValueError:
            raise KexueValueError(f"{name} must broadcast to {shape}, but its shape is {start.shape}") from None
        return as_contiguous(whole).reshape(self.sequences, self.size)

    def run(self, *, gates: bool, workers: int | None) -> Outcome:
        shape = (self.sequences, self.steps)
        states = np.empty((*shape, self.size), dtype=self.dtype)
        cells = np.empty_like(states) if self.has_cells else None
        kept = np.empty((*shape, self.kept, self.size), dtype=self.dtype) if gates and self.kept else None
        _recurrent.run(
            self.number,
            self.x,
            self.W,
            self.U,
            self.b,
            self.recurrent_bias,
            self.start,
            self.cell_start,
            states,
            cells,
            kept,
            workers,
        )
        return Outcome(states, cells, kept)

    def before(self, states: np.ndarray, start: np.ndarray | None) -> np.ndarray:
        """What each step began with."""
        shifted = np.empty_like(states)
        if self.steps:
            shifted[:, 0] = 0 if start is None else start
            shifted[:, 1:] = states[:, :-1]
        return shifted

    def jacobians(self, outcome: Outcome) -> np.ndarray:
        count = self.sequences * self.steps

        def of_steps(part: np.ndarray) -> np.ndarray:
            return part.reshape(count, *part.shape[2:])

        matrices = step_jacobians(
            self.kind,
            self.U,
            None if outcome.gates is None else of_steps(outcome.gates),
            of_steps(outcome.states),
            None if outcome.cells is None else of_steps(outcome.cells),
            of_steps(self.before(outcome.states, self.start)),
            None if outcome.cells is None else of_steps(self.before(outcome.cells, self.cell_start)),
        )
        return matrices.reshape(*self.outer, self.steps, *matrices.shape[1:])

    def result(self, outcome: Outcome, jacobians: np.ndarray | None = None) -> Any:
        shape = (*self.outer, self.steps, self.size)
        parts = [part.reshape(shape) for part in (outcome.states, outcome.cells) if part is not None]
        if jacobians is not None:
            parts.append(jacobians)
        return tuple(parts) if len(parts) > 1 else parts[0]

    def sequence_result(self, return_jacobians: bool, workers: int | None) -> Any:
        outcome = self.run(gates=return_jacobians, workers=workers)
        return self.result(outcome, self.jacobians(outcome) if return_jacobians else None)

    def _upstream(self, name: str, value: Any) -> np.ndarray:
        array = as_real(name, value).astype(self.dtype, copy=False)
        shape = (*self.outer, self.steps, self.size)
        try:
            whole = np.broadcast_to(array, shape)
        except ValueError:
            raise KexueValueError(f"{name} must broadcast to {shape}, but its shape is {array.shape}") from None
        return as_contiguous(whole).reshape(self.sequences, self.steps, self.size)

    def gradients(self, grad_h: Any, grad_c: Any, workers: int | None) -> tuple[np.ndarray, ...]:
        """By x, W, U, b, h0, and, where there are any, c0 and recurrent_bias."""
        by_states = self._upstream("grad_h", grad_h)
        by_cells = None if grad_c is None else self._upstream("grad_c", grad_c)
        outcome = self.run(gates=True, workers=workers)
        count = self.sequences * self.steps
        inputs = self.x.reshape(count, self.dimension)
        before = self.before(outcome.states, self.start).reshape(count, self.size)
        reset = None
        if self.kind in ("gru", "gru_single_gate"):
            assert outcome.gates is not None
            reset = outcome.gates[:, :, self.gates - 2].reshape(before.shape) * before
        # Gates become their gradients where they are.
        by_gates = np.empty_like(outcome.states) if outcome.gates is None else outcome.gates
        by_start = np.empty((self.sequences, self.size), dtype=self.dtype)
        by_cell_start = np.empty_like(by_start) if self.has_cells else None
        _recurrent.gradient(
            self.number,
            self.U,
            self.start,
            self.cell_start,
            outcome.states,
            outcome.cells,
            outcome.gates,
            by_states,
            by_cells,
            by_gates,
            by_start,
            by_cell_start,
            workers,
        )
        rows, columns = by_gates.reshape(count, (self.kept or 1) * self.size), self.gates * self.size
        by_inputs = rows[:, :columns]
        by_x, by_W, by_U = (np.empty(array.shape, dtype=self.dtype) for array in (inputs, self.W, self.U))
        _recurrent.product(by_inputs, self.W.T, by_x, workers)
        _recurrent.product(inputs.T, by_inputs, by_W, workers)
        # The last block of U has a factor, or, in torch's convention, a gradient of its own.
        first = columns - self.size if reset is not None or self.kind == "gru_after" else columns
        _recurrent.product(before.T, rows[:, :first], by_U[:, :first], workers)
        if first < columns:
            last = before if reset is None else reset
            _recurrent.product(last.T, rows[:, rows.shape[1] - self.size :], by_U[:, first:], workers)
        totals = rows.sum(axis=0, dtype=np.float64).astype(self.dtype)
        results = [
            by_x.reshape(*self.outer, self.steps, self.dimension),
            by_W,
            by_U,
            totals[:columns],
            sum_to(by_start.reshape(*self.outer, self.size), self.start_shapes[0]),
        ]
        if by_cell_start is not None:
            results.append(sum_to(by_cell_start.reshape(*self.outer, self.size), self.start_shapes[1]))
        if self.kind == "gru_after":
            results.append(totals[3 * self.size :])
        return tuple(results)


def cell_result(
    kind: str, x: Any, W: Any, U: Any, b: Any, h: Any, c: Any, recurrent_bias: Any, workers: int | None
) -> Any:
    """The state after one step, or state and cell."""
    result = _recurrent.cell(kind, x, W, U, b, recurrent_bias, h, c, workers)
    if result is not None:
        return result
    network = Network(kind, x, W, U, b, h, c, recurrent_bias, names=CELL_NAMES, is_cell=True)
    outcome = network.run(gates=False, workers=workers)
    shape = (*network.outer, network.size)
    parts = [part.reshape(shape) for part in (outcome.states, outcome.cells) if part is not None]
    return tuple(parts) if len(parts) > 1 else parts[0]
