"""Builds the C core with gcc's line counters, runs its C tests, and prints which share of its lines they ran.

    python tools/coverage.py [--lines] [--report]

One row per file of src/_core and the total; exit status 1 below 95 % of the lines, or where a test failed. A file is
compiled several times, once for each instruction set and once as its dispatcher, and headers into many files: a line
counts once, and was run if it was run in any of them. Levels that the processor or the compiler lacks are not measured;
the output says which were. --lines lists the lines that were not run; --report only reads the counters of the last run.
Needs gcc, CMake and Ninja or Make; several minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "src" / "_core"
BUILD = ROOT / "build" / "coverage"
LEAST = 95.0  # per cent
LEVELS = ("baseline", "v3", "v4")

Lines = dict[Path, dict[int, bool]]  # file -> line -> was it run


def run_tests() -> bool:
    """Builds, forgets earlier counts, runs CTest; whether every test passed."""
    subprocess.run(["cmake", "--preset", "coverage"], cwd=ROOT, check=True)
    subprocess.run(["cmake", "--build", "--preset", "coverage"], cwd=ROOT, check=True)
    for counters in BUILD.rglob("*.gcda"):
        counters.unlink()
    return subprocess.run(["ctest", "--preset", "coverage"], cwd=ROOT).returncode == 0


def objects() -> dict[str, list[Path]]:
    """The notes of the library's objects, by the level that they were compiled for; of the tests' objects none."""
    found: dict[str, list[Path]] = defaultdict(list)
    for notes in sorted((BUILD / "CMakeFiles").rglob("*.gcno")):
        target = re.search(r"kexue_(?:kernels_)?(\w+)\.dir", str(notes))
        if target:
            found[target[1]].append(notes)
    return found


def measure(notes: Iterable[Path], into: Lines) -> None:
    """Adds what gcov knows of these objects."""
    gcov = os.environ.get("GCOV", "gcov")
    # What it says on stderr are objects without functions, and those that no test reached.
    done = subprocess.run(
        [gcov, "--json-format", "--stdout", *map(str, notes)], cwd=BUILD, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"gcov failed:\n{done.stderr}")
    for document in done.stdout.splitlines():
        report = json.loads(document)
        for entry in report["files"]:
            path = (Path(report["current_working_directory"]) / entry["file"]).resolve()
            if not path.is_relative_to(CORE) or not path.exists():  # the notes of a file that was deleted may be left
                continue
            lines = into.setdefault(path, {})
            for line in entry["lines"]:
                number = line["line_number"]
                lines[number] = lines.get(number, False) or line["count"] > 0


def ranges(numbers: list[int]) -> str:
    """[3, 4, 5, 9] as "3-5 9"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return " ".join(f"{first}-{last}" if last > first else str(first) for first, last in parts)


def table(lines: Lines, with_lines: bool) -> float:
    """Prints the table; gives back the share of all lines in per cent."""
    total_run = total = 0
    print(f"{'file':52} {'lines':>6} {'run':>6} {'share':>8}")
    for path in sorted(lines):
        of_file = lines[path]
        count, was_run = len(of_file), sum(of_file.values())
        total, total_run = total + count, total_run + was_run
        print(f"{path.relative_to(CORE).as_posix():52} {count:6} {was_run:6} {100 * was_run / max(count, 1):7.2f}%")
        if with_lines and was_run < count:
            print("    not run: " + ranges(sorted(number for number, hit in of_file.items() if not hit)))
    share = 100 * total_run / max(total, 1)
    print(f"{'total':52} {total:6} {total_run:6} {share:7.2f}%")
    return share


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", action="store_true", help="list the lines that were not run")
    parser.add_argument("--report", action="store_true", help="neither build nor test: read the last run's counters")
    options = parser.parse_args()
    if not shutil.which(os.environ.get("GCOV", "gcov")):
        sys.exit("gcov, which comes with gcc, is not to be found (the environment variable GCOV may name it)")
    passed = options.report or run_tests()
    lines: Lines = {}
    measured, compiled = [], objects()
    if not compiled:
        sys.exit(f"there is no coverage build in {BUILD.relative_to(ROOT)}: run this without --report")
    for target, notes in compiled.items():
        measure(notes, lines)
        # A level that the processor lacks was compiled, and nothing of it ran.
        if target in LEVELS and any(note.with_suffix(".gcda").exists() for note in notes):
            measured.append(target)
    share = table(lines, options.lines)
    missing = [level for level in LEVELS if level not in measured]
    print(f"levels measured: {', '.join(measured)}" + (f"; not measured: {', '.join(missing)}" if missing else ""))
    if not passed:
        print("tests failed, so that the figure is not worth much")
    if share < LEAST:
        print(f"below {LEAST:g}%")
    return 0 if passed and share >= LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
