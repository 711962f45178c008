"""The accuracy tables, docs/accuracy/*.csv, and the tables of docs/accuracy.md that are taken from them:

    python tests/accuracy_tables.py [--only TEXT] [--processes 1]

Each function is called at each instruction set, in a process of its own; exact values are computed once. With --only,
rows of other functions stay as they are. Some minutes; tests/python/test_accuracy_tables.py recomputes the first
points of each row.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import kexue
from reference import accuracy, accuracy_pages
from reference.accuracy_cases import CASES


def selected(only):
    return [(i, dtype) for i, case in enumerate(CASES) if only in f"{case.table} {case.name}" for dtype in case.dtypes]


def evaluate(only, path):
    """The results at the instruction set of this process."""
    isa = kexue.show_config(mode="dict")["isa"]
    if isa != os.environ["KEXUE_ISA"]:
        raise SystemExit(f"{os.environ['KEXUE_ISA']} was asked for, but {isa} is the best that this processor has")
    np.savez(path, **{f"{i} {dtype}": CASES[i].results(dtype, CASES[i].blocks) for i, dtype in selected(only)})


def results_of(isa, only, folder):
    path = Path(folder) / f"{isa}.npz"
    command = [sys.executable, __file__, "--only", only, "--evaluate", str(path)]
    subprocess.run(command, env=os.environ | {"KEXUE_ISA": isa}, check=True)
    return dict(np.load(path))


def rows(job):
    i, dtype, results = job
    case = CASES[i]
    exact = case.exact_values(dtype, case.blocks)
    return [case.row(dtype, isa, case.errors(dtype, found, exact)) for isa, found in results.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a part of a table's or function's name")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--evaluate", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.only, options.evaluate)
        return
    with tempfile.TemporaryDirectory() as folder:
        found = {isa: results_of(isa, options.only, folder) for isa in accuracy.ISAS}
    chosen = selected(options.only)
    jobs = [(i, dtype, {isa: found[isa][f"{i} {dtype}"] for isa in accuracy.ISAS}) for i, dtype in chosen]
    made = {}
    with ProcessPoolExecutor(options.processes) as pool:
        for (i, dtype), part in zip(chosen, pool.map(rows, jobs), strict=True):
            made[i, dtype] = part
            worst = max(float(row["maximum"]) for row in part)
            print(f"{CASES[i].name[:80]:80} {dtype} {worst:12.4f}", flush=True)
    for table in accuracy.names(CASES):
        kept = {}
        for row in accuracy.read(table):
            kept.setdefault((row["function"], row["range"], row["dtype"]), []).append(row)
        lines = []
        for i, case in enumerate(CASES):
            if case.table == table:
                for dtype in case.dtypes:
                    lines += made.get((i, dtype), kept.get((case.function, case.range, dtype), []))
        accuracy.write(table, lines)
    accuracy_pages.update()


if __name__ == "__main__":
    main()
