"""From what length on linear attention takes less time than exact attention, measured, beside what counting says.

    python bench/crossover.py [--heads 12] [--dimension 64] [--features 64 128 256] [--dtype float32] [--causal]

Each form of linear attention is timed beside `kexue.attention` at lengths between which the crossing is bisected: both
take turns, and the least of the times counts. One thread. "given" is with features that are there, "FAVOR+" makes
positive random features of queries and keys first, "NumPy" is with its matrix products. What counting says is
`kexue.crossover_lengths`: the number of features, which leaves out what they cost to make, and the softmax.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from workloads import machine, pinned_threads

import kexue as kx

SHORTEST, LONGEST = 8, 16384
LEAST_SECONDS = 0.02  # of a measurement: short calls are repeated


def plain(phi_Q: np.ndarray, phi_K: np.ndarray, V: np.ndarray) -> np.ndarray:
    mixed = phi_Q @ (phi_K.swapaxes(-1, -2) @ V)
    mixed /= phi_Q @ phi_K.sum(axis=-2)[..., None]
    return mixed


def least_seconds(calls: list[Callable[[], Any]], rounds: int = 7) -> list[float]:
    """The least time of each call, in turns."""
    repeats, least = [], [math.inf] * len(calls)
    for call in calls:
        begin = time.perf_counter()
        call()
        repeats.append(max(1, int(LEAST_SECONDS / (time.perf_counter() - begin))))
    for turn in range(rounds):
        for i in range(len(calls))[:: 1 if turn % 2 else -1]:
            begin = time.perf_counter()
            for _ in range(repeats[i]):
                calls[i]()
            least[i] = min(least[i], (time.perf_counter() - begin) / repeats[i])
    return least


class Case:
    """Exact attention and one form of linear attention at any length."""

    def __init__(self, form: str, features: int, options: argparse.Namespace) -> None:
        self.form, self.features, self.options = form, features, options
        self.rng = np.random.default_rng(0)
        self.W = self.rng.standard_normal((features, options.dimension)).astype(options.dtype)

    def calls(self, n: int) -> list[Callable[[], Any]]:
        shape, dtype, causal = (self.options.heads, n), self.options.dtype, self.options.causal
        Q, K, V = self.rng.standard_normal((3, *shape, self.options.dimension)).astype(dtype)
        phi_Q, phi_K = self.rng.random((2, *shape, self.features)).astype(dtype)
        size = self.options.dimension**-0.25

        def favor() -> np.ndarray:
            q, k = (kx.favor_features(X * X.dtype.type(size), self.W) for X in (Q, K))
            return kx.linear_attention(q, k, V, causal=causal, workers=1)

        linear = {
            "given": lambda: kx.linear_attention(phi_Q, phi_K, V, causal=causal, workers=1),
            "FAVOR+": favor,
            "NumPy": lambda: plain(phi_Q, phi_K, V),
        }[self.form]
        return [lambda: kx.attention(Q, K, V, causal=causal, workers=1), linear]

    def is_linear_faster(self, n: int) -> bool:
        exact, linear = least_seconds(self.calls(n))
        return linear < exact

    def crossing(self) -> int | None:
        """The length at which times are equal, to 3 percent; None if exact attention is faster up to `LONGEST`."""
        high = SHORTEST
        while not (self.is_linear_faster(high) and self.is_linear_faster(2 * high)):  # twice: short calls are noisy
            high *= 2
            if high > LONGEST:
                return None
        low = high if high == SHORTEST else high // 2
        while high - low > max(1, 0.03 * high):
            middle = (low + high) // 2
            if self.is_linear_faster(middle):
                high = middle
            else:
                low = middle
        return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dimension", type=int, default=64)
    parser.add_argument("--features", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--causal", action="store_true")
    options = parser.parse_args()
    forms = ["given", "FAVOR+"] if options.causal else ["given", "FAVOR+", "NumPy"]
    with pinned_threads():
        for name, value in machine().items():
            if name in ("cpu", "isa", "numpy"):
                print(f"{name:15}{value}")
        print(f"{options.heads} heads of {options.dimension}, {options.dtype}{', causal' if options.causal else ''}\n")
        print("| features | counted | " + " | ".join(forms) + " |\n|" + "---|" * (2 + len(forms)))
        for features in options.features:
            counted = kx.crossover_lengths(options.heads, options.dimension, feature_dim=features).softmax_over_linear
            found = [Case(form, features, options).crossing() for form in forms]
            cells = [f"> {LONGEST}" if n is None else f"{SHORTEST} or less" if n == SHORTEST else str(n) for n in found]
            print(f"| {features} | {counted} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
