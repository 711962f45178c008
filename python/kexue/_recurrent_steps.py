"""Jacobians of steps, from what the steps gave."""

from __future__ import annotations

import numpy as np


def _by_sigma(value: np.ndarray) -> np.ndarray:
    return value * (1 - value)


def _by_tanh(value: np.ndarray) -> np.ndarray:
    return 1 - value * value


def _combine(*terms: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """The sum of diag(row) matrix, for rows of shape (steps, n)."""
    (row, matrix), *others = terms
    total = row[:, :, None] * matrix
    for row, matrix in others:
        total += row[:, :, None] * matrix
    return total


def _add_diagonal(matrices: np.ndarray, diagonal: np.ndarray) -> np.ndarray:
    places = np.arange(diagonal.shape[-1])
    matrices[..., places, places] += diagonal
    return matrices


def step_jacobians(
    kind: str,
    U: np.ndarray,
    gates: np.ndarray | None,
    h: np.ndarray,
    c: np.ndarray | None,
    h_before: np.ndarray,
    c_before: np.ndarray | None,
) -> np.ndarray:
    """By the states before, of steps with gates (steps, kept, n) and states (steps, n); h above c if there is one."""
    n = h.shape[-1]
    count = {"tanh": 1, "relu": 1, "lstm": 4, "gru_single_gate": 2}.get(kind, 3)
    by_gate = [U[:, k * n : (k + 1) * n].T for k in range(count)]
    if kind == "tanh":
        return _combine((_by_tanh(h), by_gate[0]))
    if kind == "relu":
        return _combine((np.where(h > 0, 1, h * 0).astype(h.dtype), by_gate[0]))
    assert gates is not None
    parts = [gates[:, k] for k in range(gates.shape[1])]
    if kind in ("lstm", "gru_proposal"):
        assert c is not None and c_before is not None
        whole = np.zeros((len(h), 2 * n, 2 * n), dtype=h.dtype)
        if kind == "lstm":
            f, i, g, o = parts
            out = np.tanh(c)
            cells = _combine(
                (c_before * _by_sigma(f), by_gate[0]), (g * _by_sigma(i), by_gate[1]), (i * _by_tanh(g), by_gate[2])
            )
            by_cell, last, kept = o * _by_tanh(out), _combine((out * _by_sigma(o), by_gate[3])), f
        else:
            z, r, new = parts
            cells = _combine(((new - c_before) * _by_sigma(z), by_gate[0]), (z * _by_tanh(new), by_gate[2]))
            by_cell, last, kept = r, _combine((c * _by_sigma(r), by_gate[1])), 1 - z
        whole[:, n:, :n] = cells
        whole[:, :n, :n] = last
        whole[:, :n, :n] += by_cell[:, :, None] * cells
        _add_diagonal(whole[:, :n, n:], by_cell * kept)
        _add_diagonal(whole[:, n:, n:], kept)
        return whole
    if kind == "gru_after":
        z, r, new, q = parts
        weight = (1 - z) * _by_tanh(new)
        matrices = _combine(
            ((h_before - new) * _by_sigma(z), by_gate[0]),
            (weight * q * _by_sigma(r), by_gate[1]),
            (weight * r, by_gate[2]),
        )
        return _add_diagonal(matrices, z)
    z, r, new = (parts[0], parts[0], parts[1]) if kind == "gru_single_gate" else parts
    reset = _add_diagonal(_combine((h_before * _by_sigma(r), by_gate[count - 2])), r)  # of r h' by h'
    matrices = (z * _by_tanh(new))[:, :, None] * (by_gate[-1] @ reset)
    matrices += _combine(((new - h_before) * _by_sigma(z), by_gate[0]))
    return _add_diagonal(matrices, 1 - z)
