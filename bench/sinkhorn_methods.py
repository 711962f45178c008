"""kexue's automatic choice of a Sinkhorn iteration beside every explicit one, to the default tolerance.

    python bench/sinkhorn_methods.py [--quick] [--all]

An explicit choice is a method, an acceleration, and epsilon scaling or not. It drops out where it fails, where it needs
20 times as many passes as the automatic choice, or where its first calls take twice the time of the fastest; the others
take turns, as in ratios.py. --all also prints the first times of each. The exit status is 1 where "auto" takes more
than 1.2 times as long as the best explicit choice.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import numpy as np
import workloads
from ratios import seconds_of, take_turns, told
from workloads import Side, Workload, pinned_threads

import kexue as kx
from kexue.transport import Acceleration, Method

PROBLEMS = [
    *((30, costs, reg) for costs in ("random", "plane", "clustered") for reg in (0.1, 0.01, 0.001)),
    *((200, costs, reg) for costs in ("plane", "clustered") for reg in (0.1, 0.01, 0.001)),
    *((1000, costs, reg) for costs in ("plane", "typical", "clustered") for reg in (0.1, 0.01)),
    (1000, "typical", 0.001),
    (300, "apart", 0.001),
]
ALLOWED = 1.2
HEADER = ("problem", "auto", "passes", "best explicit", "its time", "auto / best", "of minima")

EXPLICIT = {
    f"{method}, {acceleration}{', scaling' if scaling else ''}": {
        "method": method,
        "acceleration": acceleration,
        "epsilon_scaling": scaling,
    }
    for method, acceleration, scaling in itertools.product(get_args(Method), get_args(Acceleration), (False, True))
    if method != "auto" and acceleration != "auto"
}


def fastest_first(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """The less of two calls' seconds, by name; without the choices that fail or stop early."""
    seconds = {}
    for name, call in calls.items():
        try:
            seconds[name] = min(seconds_of(call, 1) for _ in range(2))
        except (OverflowError, kx.ConvergenceWarning):
            continue
    return dict(sorted(seconds.items(), key=lambda item: item[1]))


def main() -> int:
    parser = argparse.ArgumentParser(description="Sinkhorn's automatic choice beside every explicit one.")
    parser.add_argument("--quick", action="store_true", help="3 short rounds instead of 15")
    parser.add_argument("--all", action="store_true", help="also print the first times of every choice")
    options = parser.parse_args()
    rounds, least_seconds = (3, 0.01) if options.quick else (15, 0.03)
    missed = 0
    print("| " + " | ".join(HEADER) + " |\n" + "|---" * len(HEADER) + "|", flush=True)
    with pinned_threads(), kx.errstate(convergence="raise"):
        for n, costs, reg in PROBLEMS:
            arrays = workloads.entropic_problems(n, costs)
            solve = partial(kx.sinkhorn, *arrays, reg)
            passes = int(np.max(solve(log=True)[1]["n_iter"]))
            limited = partial(solve, max_iter=20 * passes)
            calls = {name: partial(limited, **choice) for name, choice in EXPLICIT.items()}
            seconds = fastest_first(calls)
            near = [name for name in seconds if seconds[name] <= 2 * next(iter(seconds.values()))]
            name = f"{n}x{n}, {costs}, reg {reg:g}"
            count = len(arrays[2])
            sides = {"kexue": Side(solve, count), **{choice: Side(calls[choice], count) for choice in near}}
            workload = Workload(name, sides, rtol=1e-4, atol=1e-4 / n**2)
            times = take_turns(workload, near, rounds, least_seconds)
            auto = times["kexue"]
            best = min(near, key=lambda choice: statistics.median(times[choice]))
            ratio = statistics.median(a / b for a, b in zip(auto, times[best], strict=True))
            of_minima = min(auto) / min(times[best])
            missed += max(ratio, of_minima) > ALLOWED
            cells = (name, told(min(auto)), passes, best, told(min(times[best])), f"{ratio:.2f}", f"{of_minima:.2f}")
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)
            if options.all:
                print(*(f"    {told(seconds[choice] / count):>8}  {choice}" for choice in seconds), sep="\n")
    print(
        f"\nauto takes over {ALLOWED} times as long as the best explicit choice in {missed} of {len(PROBLEMS)} problems"
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
