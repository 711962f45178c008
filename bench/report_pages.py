"""The pages of the report: docs/report/*.md, and what stands between marks in README.md and docs/benchmarks.md."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path
from typing import Any

from headlines import HEADLINES, Headline
from report import (
    DATA,
    FAMILIES,
    Line,
    Point,
    Report,
    ReportError,
    Timing,
    family_order,
    fitted_exponent,
    is_peer,
    told,
)

# A side at a time, on a machine that is never quite quiet: less than this is no difference.
SLOWER = 0.9

# Pages for those who know another package, and how what headlines call it begins.
COMING_FROM = {
    "docs/coming_from_pot.md": "POT",
    "docs/coming_from_gensim.md": "gensim",
    "docs/coming_from_tsne.md": "scikit-learn's t-SNE",
}

_NAMES = {
    "cpu": "processor",
    "isa": "instruction set",
    "cores": "cores",
    "threads": "threads",
    "huge_pages": "huge pages",
    "compiler": "compiler",
    "platform": "platform",
}
_PARTS = {
    "ratios": "kexue beside its peers, in turns",
    "ratios_elsewhere": "the same on another machine",
    "functions": "every function, a side at a time",
    "scaling": "time against size",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def told_ratio(ratio: float) -> str:
    return f"{ratio:,.0f}" if ratio >= 999.5 else f"{ratio:.3g}"


def _goal(goal: float | None) -> str:
    return "" if goal is None else f"{goal:.4g}"


def _told_all(values: Sequence[float], tell: Callable[[float], str]) -> str:
    """Two as "2.8 / 1.4 ms", more as "7.5 to 16 us"."""
    values, between = (values, " / ") if len(values) <= 2 else ((min(values), max(values)), " to ")
    texts = [tell(value) for value in values]
    numbers, units = zip(*(text.partition(" ")[::2] for text in texts), strict=True)
    if len(set(units)) == 1:
        return f"{between.join(numbers)} {units[0]}".strip()
    return between.join(texts)


# ---- headlines ----


def headline_lines(report: Report, headline: Headline) -> tuple[list[list[Line]], list[str]]:
    """For every peer its lines in the order of the workloads, and what is not there."""
    found: list[list[Line]] = []
    unknown = []
    for peer in headline.peers.values():
        found.append([])
        for workload in headline.workloads:
            lines = [line for line in report.lines if line.peer == peer and fnmatchcase(line.workload, workload)]
            found[-1] += lines
            if len(lines) != 1:
                near = difflib.get_close_matches(workload, {line.workload for line in report.lines}, 1, 0)
                number = "no line" if not lines else f"{len(lines)} lines"
                unknown.append(f"headlines.py: {number} {workload!r} beside {peer!r}; the nearest workload: {near}")
    return found, unknown


def headline_row(report: Report, headline: Headline) -> tuple[tuple[str, ...] | None, list[str]]:
    lines, unknown = headline_lines(report, headline)
    if unknown:
        return None, unknown
    peers, ratios = [], []
    for name, found in zip(headline.peers, lines, strict=True):
        peers.append(f"{name}, {_told_all([line.peer_seconds for line in found], told)}")
        missed = {line.median_ratio for line in found if line.reaches(line.required) is False}
        ratios.append(
            _told_all(
                [line.median_ratio for line in found],
                lambda ratio, missed=missed: f"**{told_ratio(ratio)}**" if ratio in missed else told_ratio(ratio),
            )
        )
    ours = _told_all([line.kexue_seconds for line in lines[0]], told)
    return (headline.label, ours, "; ".join(peers), "; ".join(ratios)), []


_HEADLINE_HEAD = ("", "kexue", "peer", "ratio")


def headline_tables(report: Report) -> tuple[str, str, list[str]]:
    """The table of README.md, those of docs/benchmarks.md with their heads, and headlines without lines."""
    short, long, unknown = [], [], []
    for section, group in groupby(HEADLINES, lambda headline: headline.section):
        rows = []
        for headline in group:
            row, missing = headline_row(report, headline)
            unknown += missing
            if row is not None:
                rows.append(row)
                if headline.in_readme:
                    short.append(row)
        long.append(f"### {section}\n\n{table(_HEADLINE_HEAD, rows)}")
    return table(_HEADLINE_HEAD, short), "\n\n".join(long), unknown


def peer_table(report: Report, peer: str) -> str:
    """The headlines beside one peer, for those who come from it."""
    rows = []
    for headline in HEADLINES:
        peers = {name: key for name, key in headline.peers.items() if name.startswith(peer)}
        row, _ = headline_row(report, replace(headline, peers=peers)) if peers else (None, [])
        if row is not None:
            rows.append(row)
    return table(_HEADLINE_HEAD, rows)


# ---- machines ----


def machine_text(machine: dict[str, Any]) -> str:
    """One sentence, for above a table."""
    libraries = [
        f"{name} {machine[key]}"
        for name, key in (
            ("Python", "python"),
            ("NumPy", "numpy"),
            ("SciPy", "scipy"),
            *((name, name) for name in ("POT", "gensim", "scikit-learn", "torch")),
        )
        if key in machine
    ]
    cores = f"{machine['cores']} cores of " if "cores" in machine else ""
    named = ", ".join(text for text in (machine.get("compiler", ""), *libraries) if text)
    return f"{machine['date']}: {cores}{machine['cpu']} ({machine['isa']}), {named}."


def limits_text(machine: dict[str, Any]) -> str:
    limits = machine.get("limits", {})
    return "; ".join(f"{value:g} {name}" for name, value in limits.items())


def machine_table(report: Report) -> str:
    parts = [part for part in _PARTS if part in report.machine]
    keys = dict.fromkeys(key for part in parts for key in report.machine[part] if key not in ("limits", "note"))
    keys = dict.fromkeys(["date", *(key for key in _NAMES if key in keys), *keys])
    rows = []
    for key in keys:
        values = [report.machine[part].get(key, "") for part in parts]
        texts = [("yes" if value else "no") if isinstance(value, bool) else str(value) for value in values]
        rows.append((_NAMES.get(key, key), *texts))
    limits = dict.fromkeys(name for part in parts for name in report.machine[part].get("limits", {}))
    for name in limits:
        values = [report.machine[part].get("limits", {}).get(name) for part in parts]
        rows.append((f"one core, {name}", *("" if value is None else f"{value:g}" for value in values)))
    return table(("", *(_PARTS[part] for part in parts)), rows)


# ---- lines in turns ----


def verdict(report: Report, line: Line) -> str:
    """What became of the goals, and the cause where they are missed or the peer is the faster one."""
    required, target = line.reaches(line.required), line.reaches(line.target)
    said = []
    if required is not None:
        said.append("required: met" if required else "**required: missed**")
    if target is not None:
        said.append("target: met" if target else "target: missed")
    if line.is_slower:
        said.append("slower")
    text = "; ".join(said).replace("required: met; target: met", "both met")
    cause = report.cause(line.workload, line.peer) if line.falls_short else ""
    return f"{text} ({cause})" if cause else text


def _merged(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Case and kexue's time once, for all peers of the case."""
    result: list[tuple[str, ...]] = []
    last = None
    for row in rows:
        result.append(("", "", *row[2:]) if row[:2] == last else row)
        last = row[:2]
    return result


def _line_row(report: Report, line: Line) -> tuple[str, ...]:
    ratio = told_ratio(line.median_ratio)
    return (
        line.workload,
        told(line.kexue_seconds, line.bytes_moved),
        line.peer,
        told(line.peer_seconds, line.bytes_moved),
        f"**{ratio}**" if line.reaches(line.required) is False else ratio,
        told_ratio(line.ratio_of_minima),
        _goal(line.required),
        _goal(line.target),
        verdict(report, line),
    )


_LINE_HEAD = ("case", "kexue", "peer", "its time", "ratio", "of minima", "required", "target", "what became of it")


def short_rows(report: Report, lines: Iterable[Line]) -> list[tuple[str, ...]]:
    return [
        (
            line.workload,
            told(line.kexue_seconds),
            line.peer,
            told(line.peer_seconds),
            told_ratio(line.median_ratio),
            told_ratio(line.ratio_of_minima),
            _goal(line.required),
            _goal(line.target),
            report.cause(line.workload, line.peer),
        )
        for line in lines
    ]


_SHORT_HEAD = ("case", "kexue", "peer", "its time", "ratio", "of minima", "required", "target", "why")


def _without(columns: set[str], rows: list[tuple[str, ...]]) -> str:
    kept = [number for number, name in enumerate(_SHORT_HEAD) if name not in columns]
    return table([_SHORT_HEAD[number] for number in kept], [[row[number] for number in kept] for row in rows])


def slower_table(report: Report) -> str:
    rows = short_rows(report, (line for line in report.lines if line.is_slower))
    return _without({"of minima", "required", "target"}, rows)


def missed_table(report: Report, goal: str) -> str:
    lines = [line for line in report.lines if line.reaches(getattr(line, goal)) is False]
    if goal == "target":  # what misses more is in the other table
        lines = [line for line in lines if line.reaches(line.required) is not False]
    return _without({"required", "target"} - {goal}, short_rows(report, lines))


# ---- a side at a time ----


def comparisons(report: Report) -> list[tuple[Timing, Timing | None]]:
    """kexue and each peer beside which it was not measured in turns; without a peer, kexue alone."""
    told_before = {(line.workload, line.peer) for line in report.lines}
    found: list[tuple[Timing, Timing | None]] = []
    groups: dict[str, dict[str, Timing]] = {}
    for timing in report.timings:
        groups.setdefault(timing.workload, {})[timing.side] = timing
    for workload, sides in groups.items():
        ours = sides.pop("kexue", None)
        if ours is None:
            continue
        found += [(ours, peer) for peer in sides.values() if (workload, peer.side) not in told_before]
        if not sides:
            found.append((ours, None))
    return found


def _comparison_rows(report: Report, pairs: Iterable[tuple[Timing, Timing | None]]) -> list[tuple[str, ...]]:
    rows = []
    for ours, peer in pairs:
        time = told(ours.seconds, ours.bytes_moved)
        if peer is None:
            rows.append((ours.workload, time, "", "", "", ""))
            continue
        ratio = peer.seconds / ours.seconds
        slower = ratio < SLOWER and is_peer(peer.side)
        cause = report.cause(ours.workload, peer.side) if slower else ""
        text = f"**{told_ratio(ratio)}**" if slower else told_ratio(ratio)
        rows.append((ours.workload, time, peer.side, told(peer.seconds), text, cause))
    return rows


def slower_timings(report: Report) -> list[tuple[Timing, Timing]]:
    return [
        (ours, peer)
        for ours, peer in comparisons(report)
        if peer is not None and is_peer(peer.side) and peer.seconds / ours.seconds < SLOWER
    ]


# ---- sizes ----


def _series(points: Iterable[Point]) -> list[list[Point]]:
    groups: dict[tuple[Any, ...], list[Point]] = {}
    for point in points:
        groups.setdefault(point.series, []).append(point)
    return [sorted(group, key=lambda point: point.size) for group in groups.values()]


def scaling_table(points: Iterable[Point]) -> str:
    rows = []
    for series in _series(points):
        first, last = series[0], series[-1]
        exponent = fitted_exponent(point.place for point in series)
        how = ", ".join(text for text in (first.dtype, first.isa, f"{first.workers} threads") if text)
        rows.append(
            (
                first.function,
                first.axis,
                how.replace("1 threads", "1 thread"),
                f"{first.size:,} to {last.size:,}",
                f"{told(first.seconds)} to {told(last.seconds)}",
                "" if exponent is None else f"{exponent:.2f}",
                first.note,
            )
        )
    return table(("function", "size", "how", "sizes", "times", "exponent", ""), rows)


# ---- limits ----


def limit_of(workload: str, machine: dict[str, Any], unit: str) -> tuple[str, float] | None:
    """The measured limit of the machine that bounds bytes or operations; what names no type is float64."""
    dtype = "float32" if "float32" in workload else "float64"
    name = "GB/s, copied and counted twice" if unit == "GB/s" else f"GFLOP/s, matrix product {dtype}"
    value = machine.get("limits", {}).get(name)
    return None if value is None else (name, value)


def achieved(report: Report) -> list[tuple[str, str, str, float, float, float]]:
    """Family, workload, unit, what kexue achieves, what the machine can do, and of how much."""
    found: dict[tuple[str, str], tuple[str, str, str, float, float, float]] = {}
    measured = [
        (item.family, item.workload, seconds, item.bytes_moved, item.operations, report.machine[part])
        for part, rows in (("ratios", report.lines), ("functions", report.timings))
        for item in rows
        if (seconds := getattr(item, "kexue_seconds", None) or (item.seconds if item.side == "kexue" else None))
    ]
    limits = report.machine.get("ratios", {}).get("limits", {})
    for family, workload, seconds, moved, operations, machine in measured:
        # pytest-benchmark does not measure limits; those of the lines do, on the same processor.
        if "limits" not in machine and machine.get("cpu") == report.machine.get("ratios", {}).get("cpu"):
            machine = {**machine, "limits": limits}
        for unit, amount in (("GB/s", moved), ("GFLOP/s", operations)):
            limit = limit_of(workload, machine, unit)
            if amount and limit:
                found.setdefault((workload, unit), (family, workload, unit, amount / seconds / 1e9, limit[1], amount))
    return sorted(found.values(), key=lambda row: (row[2] != "GB/s", family_order(row[0])))


def achieved_table(report: Report) -> str:
    return table(
        ("case", "achieved", "limit", "of it"),
        (
            (workload, f"{value:.3g} {unit}", f"{limit:.3g} {unit}", f"{100 * value / limit:.0f} %")
            for _, workload, unit, value, limit, _ in achieved(report)
        ),
    )


# ---- pages ----


def family_title(family: str) -> str:
    return FAMILIES[family][0] if family in FAMILIES else family.replace("_", " ").capitalize()


def families(report: Report) -> list[str]:
    rows = [*report.lines, *report.timings, *report.points]
    return sorted({row.family for row in rows}, key=family_order)


def family_page(report: Report, family: str) -> str:
    lines = [line for line in report.lines if line.family == family]
    parts = [f"# {family_title(family)}", _GENERATED]
    if lines:
        parts.append(
            f"## In turns\n\n![kexue beside the fastest peer of each case](speed_{family}.svg)\n\n"
            f"{machine_text(report.machine['ratios'])}\n\n"
            + table(_LINE_HEAD, _merged(_line_row(report, line) for line in lines))
        )
    pairs = [pair for pair in comparisons(report) if pair[0].family == family]
    if pairs:
        rows = _merged(_comparison_rows(report, pairs))
        parts.append(
            "## A side at a time\n\nWhat is not above, by `pytest bench`: least times; bold is below "
            f"{SLOWER:g}.\n\n{machine_text(report.machine['functions'])}\n\n"
            + table(("case", "kexue", "peer", "its time", "ratio", "why"), rows)
        )
    points = [point for point in report.points if point.family == family]
    if points:
        parts.append(
            f"## Time against size\n\n![time against size, log axes](size_{family}.svg)\n\n"
            f"{machine_text(report.machine['scaling'])} The exponent is fitted over the larger half of the sizes.\n\n"
            + scaling_table(points)
        )
    return "\n\n".join(parts) + "\n"


def _geometric_mean(values: Sequence[float]) -> float:
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def summary_table(report: Report) -> str:
    rows = []
    for family in families(report):
        lines = [line for line in report.lines if line.family == family]
        peers = [line for line in lines if is_peer(line.peer)]
        required = [line for line in lines if line.required is not None]
        targets = [line for line in lines if line.target is not None]
        rows.append(
            (
                f"[{family_title(family)}]({family}.md)",
                str(len(lines)),
                told_ratio(_geometric_mean([line.median_ratio for line in peers])) if peers else "",
                str(sum(line.is_slower for line in lines)),
                f"{sum(bool(line.reaches(line.required)) for line in required)} of {len(required)}" if required else "",
                f"{sum(bool(line.reaches(line.target)) for line in targets)} of {len(targets)}" if targets else "",
            )
        )
    return table(("", "comparisons", "geometric mean", "slower", "required met", "targets met"), rows)


def elsewhere(report: Report) -> list[tuple[Line, Line]]:
    """Lines of the report beside the same ones of another machine."""
    there = {(line.workload, line.peer): line for line in report.elsewhere}
    return [(line, there[key]) for line in report.lines if (key := (line.workload, line.peer)) in there]


def elsewhere_tables(report: Report) -> str:
    pairs = elsewhere(report)
    rows = []
    for family in families(report):
        found = [(here, there) for here, there in pairs if here.family == family and is_peer(here.peer)]
        if found:
            times = _geometric_mean([there.kexue_seconds / here.kexue_seconds for here, there in found])
            ratios = _geometric_mean([there.median_ratio / here.median_ratio for here, there in found])
            required = [there for _, there in found if there.required is not None]
            met = f"{sum(bool(there.reaches(there.required)) for there in required)} of {len(required)}"
            title = f"[{family_title(family)}]({family}.md)"
            rows.append((title, str(len(found)), f"{times:.2f}", f"{ratios:.2f}", met if required else ""))
    changed = [
        (here.workload, here.peer, f"{here.required:g}", told_ratio(here.median_ratio), told_ratio(there.median_ratio))
        for here, there in pairs
        if here.reaches(here.required) is not there.reaches(here.required)
    ]
    text = table(("", "comparisons", "kexue's times there", "ratios there", "required met there"), rows)
    if changed:
        text += "\n\nRequired ratios that are met on one of the two:\n\n"
        text += table(("case", "peer", "required", "ratio", "ratio there"), changed)
    return text


_GENERATED = "<!-- made by bench/report.py -->"


def index_page(report: Report) -> str:
    names = "\n".join(families(report))
    parts = [
        f"# The benchmark report\n\n{_GENERATED}\n\n```{{toctree}}\n:hidden:\n\n{names}\n```",
        "Made from what [ratios.py, pytest-benchmark and scaling.py](../benchmarks.md) measured; the method, and at "
        "length what bounds the lines, is in [bench/README.md](../../bench/README.md). A ratio is the peer's time by "
        "kexue's, the median of rounds in which all sides took turns; above 1, kexue is faster. Times are the least, "
        "for one problem. A goal is met if the median ratio and the ratio of the least times both reach it.",
        f"## The machine\n\n{machine_table(report)}",
    ]
    notes = [str(machine["note"]) for machine in report.machine.values() if "note" in machine]
    parts += notes
    if report.lines:
        parts.append(
            "## Families\n\n![the headlines](headlines.svg)\n\n"
            "The mean is over all peers, without limits and kexue's own other methods.\n\n" + summary_table(report)
        )
    if elsewhere(report):
        machine = report.machine["ratios_elsewhere"]
        parts.append(
            f"## On another machine\n\n{machine_text(machine)} {limits_text(machine)}.\n\nTimes and ratios there, "
            "in units of those above, as geometric means.\n\n" + elsewhere_tables(report)
        )
    if achieved(report):
        parts.append(
            "## Achieved, and what the machine can do\n\n![achieved against the limit](limits.svg)\n\n"
            "Bytes that have to be read and written at least, beside a copy of 80 MB arrays on one core; operations "
            "that the method needs at least, beside BLAS's product of 1024 x 1024 matrices in the same type. More than "
            "100 % are data that stay in a cache, or tiles that fit the processor better than the product does.\n\n"
            + achieved_table(report)
        )
    slower = slower_timings(report)
    if slower:
        rows = _comparison_rows(report, slower)
        parts.append(
            "## Slower, a side at a time\n\nBeside the [slower lines measured in turns](../benchmarks.md).\n\n"
            + table(("case", "kexue", "peer", "its time", "ratio", "why"), rows)
        )
    return "\n\n".join(parts) + "\n"


def fill(text: str, blocks: dict[str, str], path: str) -> str:
    """A page with what stands between its marks replaced."""
    for name, content in blocks.items():
        begin, end = f"<!-- report: {name} -->\n", f"<!-- end of {name} -->"
        if text.count(begin) != 1 or text.count(end) != 1:
            raise ReportError(f"{path} does not have {begin.strip()} and {end} once each")
        pattern = f"{re.escape(begin)}.*?{re.escape(end)}"
        text, found = re.subn(pattern, lambda _: f"{begin}\n{content}\n\n{end}", text, flags=re.DOTALL)  # noqa: B023
        if found != 1:
            raise ReportError(f"{path} has {end} before {begin.strip()}")
    return text


def _counts(report: Report) -> str:
    missed = sum(line.reaches(line.required) is False for line in report.lines)
    required = sum(line.required is not None for line in report.lines)
    targets = [line for line in report.lines if line.target is not None]
    slower = sum(line.is_slower for line in report.lines)
    text = (
        f"{len(report.lines)} comparisons in turns: in {slower} of them a peer is faster; {required - missed} of "
        f"{required} required ratios are met, and {sum(bool(line.reaches(line.target)) for line in targets)} of "
        f"{len(targets)} targets."
    )
    pairs = comparisons(report)
    if pairs:
        count = sum(peer is not None for _, peer in pairs)
        text += f" {count} more were measured a side at a time; in {len(slower_timings(report))} a peer is faster."
    return text


def render(report: Report, root: Path) -> tuple[dict[Path, str], list[str]]:
    """Path -> text of all that is made of the committed data, and headlines that have no line."""
    pages = {DATA / "index.md": index_page(report)}
    for family in families(report):
        pages[DATA / f"{family}.md"] = family_page(report, family)
    if not report.lines:
        return pages, []
    short, long, unknown = headline_tables(report)
    machine = report.machine["ratios"]
    digest = {
        "counts": _counts(report),
        "machine": f"{machine_text(machine)} What one core of it can do: {limits_text(machine)}.",
        "headlines": long,
        "slower lines": slower_table(report),
        "missed goals": missed_table(report, "required"),
        "missed targets": missed_table(report, "target"),
    }
    filled = {
        "README.md": {"headlines": f"{machine_text(machine)} Bold is less than what was required.\n\n{short}"},
        "docs/benchmarks.md": digest,
        **{page: {"speed": peer_table(report, peer)} for page, peer in COMING_FROM.items()},
    }
    for name, blocks in filled.items():
        pages[Path(name)] = fill((root / name).read_text(encoding="utf-8"), blocks, name)
    return pages, unknown
