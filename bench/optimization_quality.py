"""How far minimizers come with as many values: the median of nine seeds, and the worst.

    python bench/optimization_quality.py

All begin at (-1.5, ..., -1.5), differential evolution in the box from -2 to 2. Nelder-Mead has no random numbers, and
ends early where its simplex has shrunk to a point. "steps" is flat but for jumps: its least value is 0.
"""

from __future__ import annotations

import statistics

import workloads_optimization as workloads

PROBLEMS = [
    ("sphere", 2, 500),
    ("sphere", 10, 2000),
    ("Rosenbrock", 2, 1000),
    ("Rosenbrock", 5, 5000),
    ("Rosenbrock", 10, 20_000),
    ("steps", 5, 2000),
    ("steps", 20, 5000),
]

if __name__ == "__main__":
    names = list(workloads.minimizers("sphere", 2, 100))
    print(f"{'problem':28}" + "".join(f"{name:>32}" for name in names))
    for function, d, budget in PROBLEMS:
        runs = [workloads.minimizers(function, d, budget, seed) for seed in range(9)]
        cells = []
        for name in names:
            found = [run[name]() for run in runs]
            assert all(result.nfev <= budget + 2 for result in found)
            values = [result.fun for result in found]
            cells.append(f"{statistics.median(values):.1e} ({max(values):.1e})")
        print(f"{f'{function} of {d}, {budget} values':28}" + "".join(f"{cell:>32}" for cell in cells), flush=True)
