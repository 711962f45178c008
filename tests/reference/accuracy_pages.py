"""The tables of docs/accuracy.md that are taken from docs/accuracy/*.csv, between two comments each."""

import re

from reference.accuracy import TABLES, read

PAGE = TABLES.parent / "accuracy.md"
_MARKED = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def figure(value):
    """Two decimals, and never less than the value."""
    value = float(value)
    if value >= 100:
        return f"{-int(-value // 1):d}"
    return f"{-(-round(value * 10**4) // 100) / 100:.2f}"


def table(name):
    """For each function and range the worst errors, float32 at all instruction sets together."""
    groups = {}
    for row in read(name):
        groups.setdefault((row["function"], row["range"], row["unit"]), []).append(row)
    lines = [
        "| function | arguments | unit | promised | float32 | float64, baseline | AVX2 | AVX-512 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    before = None
    for (function, where, unit), rows in groups.items():
        promised = {row["dtype"]: row["promised"] for row in rows}
        narrow = [float(row["maximum"]) for row in rows if row["dtype"] == "float32"]
        wide = {row["isa"]: figure(row["maximum"]) for row in rows if row["dtype"] == "float64"}
        both = [promised.get(dtype, "") for dtype in ("float32", "float64")]
        promise = both[1] if both[0] == both[1] or not narrow else "; ".join(part or "none" for part in both)
        cells = [
            "" if function == before else f"`{function.split()[0]}`{function[len(function.split()[0]) :]}",
            where.replace("|", "\\|"),
            unit.replace("|", "\\|"),
            promise,
            figure(max(narrow)) if narrow else "",
            *(wide.get(isa, "") for isa in ("baseline", "v3", "v4")),
        ]
        before = function
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def updated():
    """The page with its tables as the files have them."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{table(match[2])}\n{match[3]}", PAGE.read_text(encoding="utf-8"))


def update():
    PAGE.write_text(updated(), encoding="utf-8")
