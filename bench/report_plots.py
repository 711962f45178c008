"""The plots of the report as SVG: the same data give the same bytes, and a file names the data it was made of."""

from __future__ import annotations

import hashlib
import io
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import DATA, Line, Point, Report, fitted_exponent, is_peer
from report_pages import HEADLINES, achieved, families, family_title, headline_lines, told_ratio

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito's: apart for the colour-blind, and in grey.
FASTER, SLOWER, REQUIRED, GREY = "#0072B2", "#E69F00", "#000000", "#767676"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS, DASHES = "osD^vP", ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
STYLE = {
    "svg.hashsalt": "kexue",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
PANEL_LINES = len(COLOURS)


def digest_of(data: Any) -> str:
    """What a plot shows, so that a test without matplotlib can tell an old one."""
    return f"made by bench/report.py of {hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]}"


# ---- what is drawn ----


def _bars(report: Report, family: str) -> list[tuple[Any, ...]]:
    """Of each workload the fastest peer."""
    fastest: dict[str, Line] = {}
    for line in report.lines:
        if line.family == family and is_peer(line.peer):
            if line.workload not in fastest or line.median_ratio < fastest[line.workload].median_ratio:
                fastest[line.workload] = line
    return [(line.workload, line.peer, line.median_ratio, line.required) for line in fastest.values()]


def _headline_bars(report: Report) -> list[tuple[Any, ...]]:
    bars: list[tuple[Any, ...]] = []
    for headline in HEADLINES:
        lines, unknown = headline_lines(report, headline)
        if not unknown:
            line, name = lines[0][0], next(iter(headline.peers))
            label = line.workload if len(lines[0]) > 1 else headline.label
            bars.append((label.replace("`", ""), name.replace("`", ""), line.median_ratio, line.required))
    return bars


def _panels(report: Report, family: str) -> list[tuple[str, list[list[Any]]]]:
    """By what the size counts: of each function the series that stands for its variants, some to a panel.

    That of float64, one worker and the machine's instruction set, or what is nearest to it; tables have the others.
    """
    isa = report.machine.get("scaling", {}).get("isa")
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in report.points:
        if point.family == family:
            groups.setdefault((point.axis, point.function), []).append(point)
    series: dict[str, dict[str, list[Point]]] = {}
    for (axis, function), points in groups.items():
        best = min(points, key=lambda point: (point.dtype != "float64", point.workers, point.isa != isa)).series
        series.setdefault(axis, {})[function] = [point for point in points if point.series == best]
    panels = []
    for axis, functions in series.items():
        items = list(functions.items())
        for begin in range(0, len(items), PANEL_LINES):
            lines = []
            for function, points in items[begin : begin + PANEL_LINES]:
                exponent = fitted_exponent(point.place for point in points)
                label = function if exponent is None else f"{function}: n^{exponent:.2f}"
                lines.append([label, *zip(*sorted((point.size, point.seconds) for point in points), strict=True)])
            panels.append((axis, lines))
    return panels


def _largest(report: Report) -> list[tuple[Any, ...]]:
    """Of each function the case that moves or does most; the table has all."""
    found: dict[tuple[str, str], tuple[Any, ...]] = {}
    for row in achieved(report):
        key = re.split(r"[^\w.]", row[1])[0], row[2]
        if key not in found or row[-1] > found[key][-1]:
            found[key] = row
    return [row[1:-1] for row in found.values()]


# ---- drawing ----


def _shortened(text: str, length: int) -> str:
    """What tells cases apart stands at the end as well."""
    return text if len(text) <= length else f"{text[: length - 15]}...{text[-12:]}"


def draw_bars(bars: Sequence[tuple[Any, ...]], title: str) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 1 + 0.19 * len(bars)), layout="constrained")
    axes: Axes = figure.subplots()
    for place, (_, _, ratio, required) in enumerate(bars):
        slower = ratio < 1
        axes.barh(
            place, ratio - 1, left=1, height=0.7, color=SLOWER if slower else FASTER, hatch="////" if slower else None
        )
        # Not on the mark, which a bar may just miss.
        end = required if required is not None and ratio < required < 1.5 * ratio and not slower else ratio
        text, side, gap = told_ratio(ratio), "right" if slower else "left", -3 if slower else 3
        axes.annotate(text, (end, place), (gap, 0), textcoords="offset points", va="center", ha=side, fontsize=7)
        if required is not None:
            axes.plot([required, required], [place - 0.45, place + 0.45], color=REQUIRED, linewidth=1.5)
    axes.axvline(1, color=GREY, linewidth=0.8)
    axes.set_xscale("log")
    ratios = [value for bar in bars for value in bar[2:] if value is not None]
    axes.set_xlim(min([0.6, *ratios]) / 1.6, 1.6 * max([2, *ratios]))
    labels = [f"{_shortened(case, 56)} | {_shortened(peer, 28)}" for case, peer, *_ in bars]
    axes.set_yticks(range(len(bars)), labels, fontsize=7)
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("how many times as fast as the peer")
    figure.suptitle(f"{title}  (hatched: slower; black mark: required)", fontsize=9)
    return figure


def _label_decades(axis: Axis, values: Sequence[float]) -> None:
    """Powers of ten, or 1, 2, 5, 10 and so on where there are few of those."""
    from matplotlib.ticker import LogLocator, NullFormatter

    is_narrow = max(values) < 50 * min(values)
    axis.set_minor_formatter(NullFormatter())
    if is_narrow:
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")


def draw_panels(panels: Sequence[tuple[str, list[list[Any]]]], title: str) -> Figure:
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (axis, lines) in zip(grid.flat, panels, strict=False):
        for number, (label, sizes, seconds) in enumerate(lines):
            axes.loglog(
                sizes,
                seconds,
                color=COLOURS[number],
                marker=MARKERS[number],
                linestyle=DASHES[number],
                markersize=3,
                linewidth=1.2,
                label=label,
            )
        _label_decades(axes.xaxis, [size for _, sizes, _ in lines for size in sizes])
        _label_decades(axes.yaxis, [second for *_, seconds in lines for second in seconds])
        axes.set_xlabel(axis)
        axes.set_ylabel("seconds")
        axes.legend(fontsize=6.5, frameon=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure


def draw_limits(rows: Sequence[tuple[Any, ...]]) -> Figure:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.5, 1 + 0.19 * len(rows)), layout="constrained")
    axes: Axes = figure.subplots()
    for place, (_, unit, value, limit) in enumerate(rows):
        memory = unit == "GB/s"
        axes.barh(
            place, 100 * value / limit, 0.7, color=FASTER if memory else SLOWER, hatch=None if memory else "////"
        )
        axes.annotate(
            f"{value:.3g} {unit}",
            (100 * value / limit, place),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )
    axes.axvline(100, color=GREY, linewidth=0.8)
    axes.set_xlim(0, 1.15 * max([100, *(100 * value / limit for *_, value, limit in rows)]))
    axes.set_yticks(range(len(rows)), [_shortened(case, 70) for case, *_ in rows], fontsize=7)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("% of what one core was measured to do; hatched: operations, plain: bytes")
    figure.suptitle("The largest case of each function", fontsize=9)
    return figure


def expected(report: Report) -> dict[Path, tuple[str, Any, Callable[[], Figure]]]:
    """Path -> digest, what is drawn, how."""
    found: dict[Path, tuple[str, Any, Callable[[], Figure]]] = {}

    def add(name: str, data: Sequence[Any], draw: Callable[..., Figure], *about: str) -> None:
        if data:
            found[DATA / f"{name}.svg"] = digest_of([data, about]), data, lambda: draw(data, *about)

    add("headlines", _headline_bars(report), draw_bars, "The headlines")
    add("limits", _largest(report), draw_limits)
    for family in families(report):
        add(f"speed_{family}", _bars(report, family), draw_bars, f"{family_title(family)}, beside the fastest peer")
        add(f"size_{family}", _panels(report, family), draw_panels, family_title(family))
    return found


def svg(figure: Figure, description: str) -> str:
    file = io.StringIO()
    figure.savefig(
        file, format="svg", metadata={"Date": None, "Creator": None, "Description": description}, facecolor="white"
    )
    # matplotlib ends lines of paths with spaces.
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def plots(report: Report) -> dict[Path, str]:
    import matplotlib

    with matplotlib.rc_context({**matplotlib.rcParamsDefault, **STYLE}):
        return {path: svg(draw(), description) for path, (description, _, draw) in expected(report).items()}
