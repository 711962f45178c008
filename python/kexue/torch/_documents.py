"""Distances between documents."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial.distance import cdist
from torch import Tensor

import kexue
from kexue.torch._autograd import Arrays, Needs, as_tensor, call


def wmd(
    x: Tensor,
    y: Tensor,
    x_weights: Tensor | ArrayLike | None = None,
    y_weights: Tensor | ArrayLike | None = None,
    *,
    rms: bool = False,
) -> Tensor:
    """`kexue.wmd`: Word Mover's Distance of two sets of word vectors.

    Parameters
    ----------
    x : Tensor, shape (m, d)
        Word vectors of one document.
    y : Tensor, shape (n, d)
        Word vectors of the other.
    x_weights : Tensor or array_like, shape (m,), optional
        Non-negative weights, scaled to sum 1. Uniform by default.
    y_weights : Tensor or array_like, shape (n,), optional
        The same for `y`.
    rms : bool, optional
        Use Euclid / sqrt(d) as the ground cost.

    Returns
    -------
    Tensor, shape ()
        float32 if both `x` and `y` are, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.wmd`; and if a tensor is on another device.

    Notes
    -----
    Gradients by vectors and weights, from the optimal plan P and its potentials (the envelope theorem): by x_i it is
    the sum of P_ij times the unit vector from y_j to x_i. Vectors that coincide have none, and get 0, a subgradient; so
    is the rest where the plan is not unique. By the weights it counts that they are scaled. In float64, O(m n d), and
    one more transport problem.
    Kusner, Sun, Kolkin and Weinberger, ICML 2015 (PMLR 37:957-966).

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    >>> distance = kexue.torch.wmd(x, torch.zeros(1, 2))
    >>> distance.backward()
    >>> distance.item(), x.grad[1].tolist()
    (2.5, [0.30000001192092896, 0.4000000059604645])
    """

    def forward(needs: Needs, given: Arrays) -> Any:
        return kexue.wmd(given["x"], given["y"], given["x_weights"], given["y_weights"], rms=rms), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        vectors, weights = _sides(given)
        scale = 1 / math.sqrt(vectors[0].shape[1]) if rms else 1.0
        costs = _distances(vectors, "euclidean")
        solution = _solved(weights, costs * scale if rms else costs)
        gradients = _by_weights(needs, weights, solution)
        if "x" in needs or "y" in needs:
            # Moves one by one: there are m + n - 1 at most, and the difference of close vectors loses no digits.
            plan: Any = solution.sparse_plan
            rows, columns = plan.coords
            lengths = costs[rows, columns]
            pull = np.divide(plan.data * scale, lengths, out=np.zeros_like(lengths), where=lengths > 0)
            steps = pull[:, None] * (vectors[0][rows] - vectors[1][columns])
            for k, (side, places) in enumerate((("x", rows), ("y", columns))):
                if side in needs:
                    gradients[side] = np.zeros_like(vectors[k])
                    (np.subtract if k else np.add).at(gradients[side], places, steps)
        return {name: upstream.double() * as_tensor(gradient) for name, gradient in gradients.items()}

    return call(
        "wmd", forward, backward, required={"x": x, "y": y}, optional={"x_weights": x_weights, "y_weights": y_weights}
    )


def wrd(
    x: Tensor, y: Tensor, x_weights: Tensor | ArrayLike | None = None, y_weights: Tensor | ArrayLike | None = None
) -> Tensor:
    """`kexue.wrd`: Word Rotator's Distance, transport by angle of masses that are the norms.

    Parameters
    ----------
    x, y, x_weights, y_weights
        As in `wmd`; weights multiply the norms.

    Returns
    -------
    Tensor, shape ()
        float32 if both `x` and `y` are, else float64.

    Raises
    ------
    KexueValueError
        As in `kexue.wrd`; and if a tensor is on another device.

    Notes
    -----
    Gradients by vectors and weights, from the optimal plan and its potentials: a vector acts by its direction, which
    is in the cost ``1 - cos``, and by its norm, which is its mass. A zero vector has neither, and gets 0. Where plan or
    potentials are not unique this is a subgradient. In float64, O(m n d), and one more transport problem.
    Yokoi, Takahashi, Akama, Suzuki and Inui, arXiv:2004.15003.

    Examples
    --------
    >>> import torch
    >>> import kexue.torch
    >>> x = torch.tensor([[2.0, 0.0]], requires_grad=True)
    >>> kexue.torch.wrd(x, torch.tensor([[0.0, 0.5]])).backward()
    >>> x.grad.tolist()
    [[0.0, -0.5]]
    """

    def forward(needs: Needs, given: Arrays) -> Any:
        return kexue.wrd(given["x"], given["y"], given["x_weights"], given["y_weights"]), ()

    def backward(needs: Needs, upstream: Tensor, given: Arrays, kept: Any) -> dict[str, Tensor]:
        vectors, weights = _sides(given)
        norms = [np.linalg.norm(side, axis=1) for side in vectors]
        units = [
            np.divide(side, norm[:, None], out=np.zeros_like(side), where=norm[:, None] > 0)
            for side, norm in zip(vectors, norms, strict=True)
        ]
        masses = [one * norm for one, norm in zip(weights, norms, strict=True)]
        solution = _solved(masses, _distances(units, "sqeuclidean") / 2)
        by_masses = _by_weights({"x_weights", "y_weights"}, masses, solution)
        gradients = {}
        for k, side in enumerate("xy"):
            by_mass = by_masses[f"{side}_weights"]
            gradients[f"{side}_weights"] = by_mass * norms[k]
            if side in needs:
                pull = (solution.sparse_plan if k == 0 else solution.sparse_plan.T) @ units[1 - k]
                across = pull - (pull * units[k]).sum(axis=1)[:, None] * units[k]
                turn = np.divide(across, norms[k][:, None], out=np.zeros_like(across), where=norms[k][:, None] > 0)
                gradients[side] = (by_mass * weights[k])[:, None] * units[k] - turn
        return {name: upstream.double() * as_tensor(gradient) for name, gradient in gradients.items()}

    return call(
        "wrd", forward, backward, required={"x": x, "y": y}, optional={"x_weights": x_weights, "y_weights": y_weights}
    )


def _sides(given: Arrays) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Vectors and weights of both documents, as float64."""
    vectors = [np.asarray(given[side], dtype=np.float64) for side in "xy"]
    weights = []
    for side, points in zip("xy", vectors, strict=True):
        given_weights = given[f"{side}_weights"]
        weights.append(np.ones(len(points)) if given_weights is None else np.asarray(given_weights, dtype=np.float64))
    return vectors, weights


# Numbers in one call of SciPy, during which Ctrl-C is not heard.
_BLOCK_ENTRIES = 1 << 20


def _distances(points: Sequence[np.ndarray], metric: Literal["euclidean", "sqeuclidean"]) -> np.ndarray:
    x, y = points
    distances = np.empty((len(x), len(y)))
    step = max(1, _BLOCK_ENTRIES // len(y))
    for start in range(0, len(x), step):
        cdist(x[start : start + step], y, metric, out=distances[start : start + step])
    return distances


def _solved(masses: list[np.ndarray], costs: np.ndarray) -> kexue.TransportResult:
    """The transport of masses as shares of their sums."""
    return kexue.solve(costs, *(one / one.sum() for one in masses))


def _by_weights(
    needs: Collection[str], masses: list[np.ndarray], solution: kexue.TransportResult
) -> dict[str, np.ndarray]:
    """The gradients by masses, of which the shares of their sum are moved."""
    gradients = {}
    for side, one, potentials in zip("xy", masses, solution.potentials, strict=True):
        if f"{side}_weights" in needs:
            total = one.sum()
            gradients[f"{side}_weights"] = (potentials - potentials @ one / total) / total
    return gradients
