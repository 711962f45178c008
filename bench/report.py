"""The benchmark report: what was measured, as tables and plots, each missed goal with its cause.

    python bench/report.py [FILE ...] [--elsewhere FILE]

The files are JSON, any number in any order, told apart by what they hold: `ratios.py --json` ("lines": the sides of
a comparison in turns, the truth of ratios), `pytest bench --benchmark-json` ("benchmarks": every function, a side at a
time) and `scaling.py --json` ("series": time against size). They are digested into docs/report/*.csv and machine.json,
each kind replacing its part, and everything else is made from these: the pages and plots of docs/report, and what
stands between marks in README.md, docs/benchmarks.md and docs/coming_from_*.md. `--elsewhere` takes lines of another
machine, which are told beside those of the first. Without files, all that is made again. The exit status is 1 if a line
that is slower or misses a goal has no cause in causes.csv, or a headline no line.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
DATA = Path("docs/report")
CAUSES = Path("bench/causes.csv")

# The pages of the report, and the modules workloads_* and bench_* whose lines are on them.
FAMILIES = {
    "transport": ("Transport, exact and entropic", ("transport",)),
    "documents": ("Documents", ("documents", "word_vectors")),
    "activations": ("Activations", ("activations",)),
    "entropy": ("Entropy and softmaxes", ("entropy",)),
    "independence": ("Independence", ("independence",)),
    "gaussians": ("Gaussians and densities", ("gaussians", "density")),
    "projection": ("Projections and hashing", ("projection",)),
    "losses": ("Losses", ("losses",)),
    "classification": ("Classifiers and decisions", ("classification",)),
    "attention": ("Attention", ("attention", "feature_maps")),
    "initialization": ("Initialisation and normalisation of rows", ("initialization", "layer_norm")),
    "recurrent": ("Recurrent networks", ("gradients", "recurrent")),
    "gradients": (
        "Gradients and optimisation",
        ("clipping", "child_tuning", "gradient_normalization", "penalties", "optimization"),
    ),
    "decoding": ("Decoding, alignments, equations", ("decoding", "beam_search", "expressions")),
    "torch": ("Tensors of torch", ("torch",)),
    "packages": ("By the interfaces of other packages", ("compat", "sklearn", "dask")),
}
_DOCUMENTS = ("pairwise_distances", "nearest_documents", "one_pair")
_LIMITS = {"a copy", "copy", "reading X", "the write alone", "an addition"}


class ReportError(Exception):
    """A file that cannot be made a report of; the text names the file and the place in it."""


@dataclass(frozen=True)
class Line:
    """kexue beside one peer, measured in turns; times, bytes and operations are for one problem."""

    family: str
    workload: str
    peer: str
    kexue_seconds: float
    peer_seconds: float
    median_ratio: float
    ratio_of_minima: float
    required: float | None = None
    target: float | None = None
    bytes_moved: float = 0
    operations: float = 0

    def reaches(self, goal: float | None) -> bool | None:
        return None if goal is None else min(self.median_ratio, self.ratio_of_minima) >= goal

    @property
    def is_slower(self) -> bool:
        return self.median_ratio < 1 and is_peer(self.peer)

    @property
    def falls_short(self) -> bool:
        return self.is_slower or self.reaches(self.required) is False or self.reaches(self.target) is False


@dataclass(frozen=True)
class Timing:
    """One side of a workload, as pytest-benchmark measured it."""

    family: str
    workload: str
    side: str
    seconds: float
    median_seconds: float
    bytes_moved: float = 0
    operations: float = 0


@dataclass(frozen=True)
class Point:
    """Time at one size: a row of a series."""

    family: str
    function: str
    axis: str
    dtype: str
    isa: str
    workers: int
    size: int
    seconds: float
    bytes: float = 0
    operations: float = 0
    note: str = ""

    @property
    def place(self) -> tuple[float, float]:
        return self.size, self.seconds

    @property
    def series(self) -> tuple[Any, ...]:
        return self.family, self.function, self.axis, self.dtype, self.isa, self.workers


@dataclass(frozen=True)
class Cause:
    """Why lines are slower or miss a goal; workload and peer are patterns, of which the first that fits counts."""

    workload: str
    peer: str
    cause: str

    def fits(self, workload: str, peer: str) -> bool:
        return fnmatchcase(workload, self.workload) and fnmatchcase(peer, self.peer)


@dataclass(frozen=True)
class Report:
    """What is committed, and all that a page is made of. `machine` has an entry for each part that was measured."""

    machine: dict[str, dict[str, Any]]
    lines: list[Line]
    timings: list[Timing]
    points: list[Point]
    causes: list[Cause]
    elsewhere: list[Line] = field(default_factory=list)  # the same comparisons on another machine

    def cause(self, workload: str, peer: str) -> str:
        return next((cause.cause for cause in self.causes if cause.fits(workload, peer)), "")

    def complaints(self) -> list[str]:
        """What is slower or misses a goal and has no cause, and causes of nothing."""
        found = [
            f"{CAUSES}: no cause for {line.workload!r} beside {line.peer!r}, ratio {line.median_ratio:g}"
            for line in self.lines
            if line.falls_short and not self.cause(line.workload, line.peer)
        ]
        pairs = [(line.workload, line.peer) for line in self.lines]
        pairs += [(timing.workload, timing.side) for timing in self.timings]
        found += [
            f"{CAUSES}: {cause.workload!r} beside {cause.peer!r} fits no line"
            for cause in self.causes
            if self.lines and not any(cause.fits(*pair) for pair in pairs)
        ]
        return found


def is_peer(name: str) -> bool:
    """Not what no side can be faster than, such as a copy, and not another method of kexue's own."""
    return name not in _LIMITS and not name.startswith(("reading: ", "kexue"))


def family_of(module: str, function: str = "") -> str:
    """The page of what workloads_<module>.py or bench_<module>.py measures; workloads.py has two families."""
    module = module.removesuffix(".py").removeprefix("workloads").removeprefix("bench").removeprefix("_")
    if not module:
        return "documents" if function in _DOCUMENTS else "transport"
    return next((family for family, (_, modules) in FAMILIES.items() if module in modules), module)


def family_order(family: str) -> tuple[int, str]:
    known = list(FAMILIES)
    return known.index(family) if family in known else len(known), family


def told(seconds: float, bytes_moved: float = 0) -> str:
    """`2.67 us`, and the bandwidth where it is of interest."""
    units = ("s", 1), ("ms", 1e3), ("us", 1e6), ("ns", 1e9)
    # What three digits round up to the next unit belongs there.
    unit, factor = next(((unit, factor) for unit, factor in units if seconds * factor >= 0.9995), units[-1])
    number = seconds * factor
    bandwidth = f", {bytes_moved / seconds / 1e9:.3g} GB/s" if bytes_moved else ""
    return f"{number:.0f} {unit}{bandwidth}" if number >= 999.5 else f"{number:.3g} {unit}{bandwidth}"


def fitted_exponent(points: Iterable[tuple[float, float]]) -> float | None:
    """The slope of log value over log size, by least squares over the larger half of the points; of three at least.

    Small sizes measure the call, which would flatten it.
    """
    points = sorted(points)
    points = points[-max(3, math.ceil(len(points) / 2)) :]
    if len({size for size, _ in points}) < 3:
        return None
    sizes, values = ([math.log(number) for number in column] for column in zip(*points, strict=True))
    mean_size, mean_value = math.fsum(sizes) / len(sizes), math.fsum(values) / len(values)
    covariance = math.fsum((x - mean_size) * (y - mean_value) for x, y in zip(sizes, values, strict=True))
    return covariance / math.fsum((x - mean_size) ** 2 for x in sizes)


# ---- what was measured ----


class Record:
    """An object of a JSON file that knows where it stands."""

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, dict):
            raise ReportError(f"{place} is {_short(content)}, not an object")
        self.content, self.place = content, place

    def get(self, key: str, *kinds: type, default: Any = ...) -> Any:
        if key not in self.content:
            if default is not ...:
                return default
            raise ReportError(f"{self.place} has no {key!r}")
        value = self.content[key]
        # A bool is an int for isinstance.
        if not isinstance(value, kinds) or isinstance(value, bool) and bool not in kinds:
            names = " or ".join("null" if kind is NoneType else kind.__name__ for kind in kinds)
            raise ReportError(f"{self.place}.{key} is {_short(value)}, not {names}")
        return value

    def text(self, key: str, default: Any = ...) -> str:
        value = self.get(key, str, default=default)
        if any(ord(letter) < 32 for letter in value):
            raise ReportError(f"{self.place}.{key} is {_short(value)}, not one line of text")
        return value

    def positive(self, key: str) -> float:
        value = self.get(key, int, float)
        if not 0 < value < math.inf:
            raise ReportError(f"{self.place}.{key} is {value}, not a positive number")
        return value

    def goal(self, key: str) -> float | None:
        return None if self.get(key, int, float, NoneType, default=None) is None else self.positive(key)

    def count(self, key: str) -> float:
        value = self.get(key, int, float, default=0)
        if not 0 <= value < math.inf:
            raise ReportError(f"{self.place}.{key} is {value}, not a number from 0 on")
        return value

    def whole(self, key: str, default: Any = ...) -> int:
        value = self.get(key, int, default=default)
        if value < 1:
            raise ReportError(f"{self.place}.{key} is {value}, not a whole number from 1 on")
        return value

    def record(self, key: str) -> Record:
        return Record(self.get(key, dict), f"{self.place}.{key}")

    def records(self, key: str) -> list[Record]:
        content = self.get(key, list)
        if not content:
            raise ReportError(f"{self.place}.{key} is empty")
        return [Record(item, f"{self.place}.{key}[{number}]") for number, item in enumerate(content)]


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:40]}..."


def read_json(path: str | os.PathLike[str]) -> Record:
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ReportError(f"{path} is not JSON: {error}") from error
    return Record(content, str(path))


def _machine(source: Record, without: str) -> dict[str, Any]:
    """What names the machine; a figure without it says nothing."""
    for key in ("date", "cpu", "isa"):
        source.text(key)
    limits = source.record("limits")
    for key in limits.content:
        limits.positive(key)
    return {key: value for key, value in source.content.items() if key != without}


def read_lines(source: Record) -> tuple[dict[str, Any], list[Line]]:
    lines = [
        Line(
            item.text("family"),
            item.text("workload"),
            item.text("peer"),
            *(item.positive(key) for key in ("kexue_seconds", "peer_seconds", "median_ratio", "ratio_of_minima")),
            *(item.goal(key) for key in ("required", "target")),
            *(item.count(key) for key in ("bytes_moved", "operations")),
        )
        for item in source.records("lines")
    ]
    return _machine(source, "lines"), lines


def measured_before(
    path: str | os.PathLike[str], about: dict[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What stands above the lines of an earlier run of ratios.py, which must be of this machine, and its lines."""
    earlier = read_json(path)
    for key in sorted((about | earlier.content).keys() - {"date", "limits", "lines"}):
        if earlier.content.get(key) != about.get(key):
            raise ReportError(f"{path}.{key} is {earlier.content.get(key)!r}, and {about.get(key)!r} now")
    read_lines(earlier)
    names = {"call", *(item.name for item in fields(Line))}
    for line in earlier.records("lines"):
        line.text("call")
        if set(line.content) != names:
            raise ReportError(f"{line.place} does not have the keys {', '.join(sorted(names))}")
    return {key: value for key, value in earlier.content.items() if key != "lines"}, earlier.content["lines"]


# What the fixture `measure` of conftest.py says of a workload, beside the machine.
_OF_A_WORKLOAD = {"side", "problems_per_call", "bytes_moved", "operations"}


def read_timings(source: Record) -> tuple[dict[str, Any], list[Timing]]:
    """What went by the fixture `measure` of conftest.py; of a bench without it nothing is known but a time."""
    machine: dict[str, Any] = {}
    timings = []
    found = [item for item in source.records("benchmarks") if "side" in item.record("extra_info").content]
    if not found:
        raise ReportError(f"{source.place}.benchmarks has none of the fixture `measure`, which names side and machine")
    for item in found:
        stats, extra = item.record("stats"), item.record("extra_info")
        extra.text("cpu")
        items, module = extra.positive("problems_per_call"), item.text("fullname").partition("::")[0]
        ours = {key: value for key, value in extra.content.items() if key not in _OF_A_WORKLOAD}
        if machine and ours != machine:
            key = next(key for key in sorted(machine | ours) if machine.get(key) != ours.get(key))
            raise ReportError(f"{extra.place}.{key} is {ours.get(key)!r}, and {machine.get(key)!r} of those before")
        machine = ours
        timings.append(
            Timing(
                family_of(Path(module).name),
                item.text("group"),
                extra.text("side"),
                stats.positive("min") / items,
                stats.positive("median") / items,
                *(extra.count(key) for key in ("bytes_moved", "operations")),
            )
        )
    return {"date": source.text("datetime")[:19], **machine}, timings


def read_points(source: Record) -> tuple[dict[str, Any], list[Point]]:
    points = []
    for item in source.records("series"):
        family = item.text("family")
        about = [family if family in FAMILIES else family_of(family), *(item.text(key) for key in ("function", "axis"))]
        about += [item.text(key, default="") for key in ("dtype", "isa")]
        workers, note = item.whole("workers", default=1), item.text("note", default="")
        for point in item.records("points"):
            figures = point.positive("seconds"), *(point.count(key) for key in ("bytes", "operations"))
            points.append(Point(*about, workers, point.whole("size"), *figures, note))
    return _machine(source, "series"), points


Row = TypeVar("Row", Line, Timing, Point, Cause)


@dataclass(frozen=True)
class Part:
    """A kind of input: the key that tells it, what reads it, and what is committed of it."""

    key: str
    name: str
    read: Callable[[Record], tuple[dict[str, Any], list[Any]]]
    row: type
    same: Callable[[Any], Any]  # rows of which the last counts

    @property
    def path(self) -> Path:
        return DATA / f"{self.name}.csv"


PARTS = (
    Part("lines", "ratios", read_lines, Line, lambda line: (line.workload, line.peer)),
    Part("benchmarks", "functions", read_timings, Timing, lambda timing: (timing.workload, timing.side)),
    Part("series", "scaling", read_points, Point, lambda point: (point.series, point.size)),
)
ELSEWHERE = replace(PARTS[0], name="ratios_elsewhere")


def digest(paths: Iterable[str | os.PathLike[str]]) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """Part -> machine and rows of all files of its kind, of one machine; the last row of a kind counts."""
    found: dict[str, tuple[dict[str, Any], dict[Any, Any]]] = {}
    for path in paths:
        source = read_json(path)
        kinds = [part for part in PARTS if part.key in source.content]
        if len(kinds) != 1:
            raise ReportError(f"{path} has {'more than one' if kinds else 'none'} of 'lines', 'benchmarks', 'series'")
        part = kinds[0]
        machine, rows = part.read(source)
        first, kept = found.setdefault(part.name, (machine, {}))
        for key in sorted((first | machine).keys() - {"date", "limits", "note"}):
            if first.get(key) != machine.get(key):
                raise ReportError(f"{path}.{key} is {machine.get(key)!r}, and {first.get(key)!r} in a file before")
        kept.update((part.same(row), row) for row in rows)
    return {name: (machine, list(kept.values())) for name, (machine, kept) in found.items()}


# ---- what is committed ----


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """All of it or nothing."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        Path(temporary).write_text(text, encoding="utf-8", newline="\n")
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return "" if value is None else str(value)


def csv_text(kind: type, rows: Iterable[Any]) -> str:
    names = [item.name for item in fields(kind)]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(getattr(row, name)) for name in names] for row in rows)
    return file.getvalue()


def read_csv(path: Path, kind: type[Row]) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        table = list(csv.reader(file))
    columns = fields(kind)
    if not table or table[0] != [column.name for column in columns]:
        raise ReportError(f"{path}: the first line is not {','.join(column.name for column in columns)}")
    rows = []
    for number, cells in enumerate(table[1:], 2):
        if len(cells) != len(columns):
            raise ReportError(f"{path}, line {number}: {len(cells)} cells, not {len(columns)}")
        values: list[Any] = []
        for column, cell in zip(columns, cells, strict=True):
            try:
                values.append(_PARSE[str(column.type)](cell))
            except ValueError as error:
                raise ReportError(f"{path}, line {number}: {column.name} is {cell!r}") from error
        rows.append(kind(*values))
    return rows


_PARSE: dict[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "float | None": lambda cell: float(cell) if cell else None,
}


def rounded_date(machine: dict[str, Any]) -> dict[str, Any]:
    return {**machine, "date": str(machine["date"])[:10]}


def save(root: Path, parts: dict[str, tuple[dict[str, Any], list[Any]]]) -> None:
    """Replace what is committed of these parts; lines keep their order in a family."""
    path = root / DATA / "machine.json"
    machines = read_json(path).content if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    for part in (*PARTS, ELSEWHERE):
        if part.name in parts:
            machine, rows = parts[part.name]
            rows = sorted(rows, key=lambda row: family_order(row.family))
            if part.row is Point:
                rows = [replace(row, size=int(row.size)) for row in rows]
            write_text(root / part.path, csv_text(part.row, rows))
            machines[part.name] = rounded_date(machine)
    write_text(path, json.dumps(machines, indent=1, ensure_ascii=False, sort_keys=True) + "\n")


def load(root: Path = ROOT) -> Report:
    path = root / DATA / "machine.json"
    machines = read_json(path).content if path.exists() else {}
    rows = {
        part.name: read_csv(root / part.path, part.row) if (root / part.path).exists() else []
        for part in (*PARTS, ELSEWHERE)
    }
    for name, found in rows.items():
        if found and name not in machines:
            raise ReportError(f"{path} does not name the machine of {name}")
    causes = read_csv(root / CAUSES, Cause)
    return Report(machines, *(rows[part.name] for part in PARTS), causes, rows[ELSEWHERE.name])


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    parser = argparse.ArgumentParser(description="Tables and plots of what was measured.")
    parser.add_argument("files", nargs="*", metavar="FILE", help="JSON of ratios.py, scaling.py or pytest-benchmark")
    parser.add_argument("--elsewhere", metavar="FILE", help="JSON of ratios.py on another machine, beside the first")
    options = parser.parse_args(arguments)
    import report_pages
    import report_plots

    try:
        parts = digest(options.files)
        if options.elsewhere:
            other = digest([options.elsewhere])
            if PARTS[0].name not in other:
                raise ReportError(f"{options.elsewhere} has no 'lines'")
            parts[ELSEWHERE.name] = other[PARTS[0].name]
        if parts:
            save(root, parts)
        report = load(root)
        plots = report_plots.plots(report)
        pages, unknown = report_pages.render(report, root)
    except ReportError as error:
        print(f"report.py: {error}", file=sys.stderr)
        return 2
    written = 0
    for path, text in {**plots, **pages}.items():
        if not (root / path).exists() or (root / path).read_text(encoding="utf-8") != text:
            write_text(root / path, text)
            written += 1
    for path in [*(root / DATA).glob("*.md"), *(root / DATA).glob("*.svg")]:
        if path.relative_to(root) not in {*plots, *pages}:
            path.unlink()
    complaints = report.complaints() + unknown
    for complaint in complaints:
        print(complaint, file=sys.stderr)
    counts = f"{len(report.lines)} ratios, {len(report.timings)} timings, {len(report.points)} points"
    print(f"{counts}; {written} files are new")
    return 1 if complaints else 0


if __name__ == "__main__":
    # As a module too, so that the pages and plots have the same classes.
    from report import main as run

    sys.exit(run())
