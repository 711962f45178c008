"""The figures that stand in several places are the same everywhere: README.md, docs/benchmarks.md, bench/README.md."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
# What no side can be faster than, and kexue beside itself: no peers.
LIMITS = {"a copy", "copy", "reading X", "reading: BLAS dot", "the write alone"}
LIMITS |= {"kexue, zeroth-order", "kexue on arrays"}


def rows(page, columns, begin="", end=None):
    """The rows of all tables with so many columns between two lines of a page, without the heads."""
    text = (ROOT / page).read_text(encoding="utf-8")
    text = text[text.index(begin) :]
    text = text if end is None else text[: text.index(end)]
    found = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]
        if line.startswith("|") and len(cells) == columns and set(line) - set("|- "):
            found.append(tuple(cells))
    return [row for row in found if "kexue" not in row[:2] and row[0] != "family of lines"]


def lines_of_the_bench():
    """case, kexue, peer, its time, ratio as it stands there, what is required."""
    case = ours = None
    lines = []
    for first, second, peer, time, ratio, required, _ in rows("bench/README.md", 7, "## Figures", "## What bounds"):
        if first:
            case, ours = first, second
        lines.append((case, ours, peer, time, ratio, required))
    return lines


def number(ratio):
    return float(ratio.strip("*").replace(",", ""))


def test_headlines():
    headlines = rows("docs/benchmarks.md", 4, "## Headlines", "## Where")
    assert len(headlines) >= 40
    assert headlines == rows("README.md", 4, "## How fast", "## Where")


def test_every_line_in_which_a_peer_is_faster_is_told():
    lines = lines_of_the_bench()
    text = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert f"The whole table, {len(lines)} comparisons" in text
    slower = [line[:5] for line in lines if number(line[4]) < 1 and line[2] not in LIMITS]
    assert slower == rows("docs/benchmarks.md", 5, "## Where kexue is slower", "## Goals")


def test_every_missed_goal_is_told():
    missed = [line for line in lines_of_the_bench() if line[4].startswith("**")]
    told = rows("docs/benchmarks.md", 6, "## Goals that are missed")
    assert [(*line[:4], line[4].strip("*"), line[5]) for line in missed] == told
    assert all(number(ratio) < number(required) for *_, ratio, required in told)
