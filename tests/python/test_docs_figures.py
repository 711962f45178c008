"""Figures of speed are what bench/report.py makes of the committed data, and what it makes of any data is right."""

import json
import math
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def modules():
    """report, report_pages, report_plots: scripts beside each other, which need none of the peers and no matplotlib."""
    names = ("report", "report_pages", "report_plots", "headlines")
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import report
        import report_pages
        import report_plots

        yield report, report_pages, report_plots
    finally:
        sys.path.remove(str(ROOT / "bench"))
        for name in names:
            sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def report(modules):
    return modules[0]


@pytest.fixture(scope="module")
def pages(modules):
    return modules[1]


@pytest.fixture(scope="module")
def plots(modules):
    return modules[2]


# ---- what is committed ----


def test_pages_are_made_of_the_committed_data(report, pages):
    made, unknown = pages.render(report.load(ROOT), ROOT)
    assert unknown == []
    assert {"README.md", "docs/benchmarks.md", *pages.COMING_FROM} < {path.as_posix() for path in made}
    for path, text in made.items():
        assert (ROOT / path).read_text(encoding="utf-8") == text, f"{path} is old: python bench/report.py"
    folder = ROOT / "docs" / "report"
    assert {path for path in made if path.parent.name == "report"} == {
        path.relative_to(ROOT) for path in folder.glob("*.md")
    }


def test_plots_are_made_of_the_committed_data(report, plots):
    expected = plots.expected(report.load(ROOT))
    folder = ROOT / "docs" / "report"
    assert {ROOT / path for path in expected} == set(folder.glob("*.svg"))
    for path, (description, _, _) in expected.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        assert description in text, f"{path} is old: python bench/report.py"
        assert len(text) < 200_000
    shown = {name for page in folder.glob("*.md") for name in re.findall(r"\]\((\w+\.svg)\)", page.read_text())}
    assert shown == {path.name for path in expected}


def test_every_slower_line_and_missed_goal_has_a_cause(report, pages):
    loaded = report.load(ROOT)
    assert loaded.complaints() == []
    digest = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    page = {
        line.family: (ROOT / f"docs/report/{line.family}.md").read_text(encoding="utf-8") for line in loaded.lines
    }
    for line in loaded.lines:
        if line.falls_short:
            cause = loaded.cause(line.workload, line.peer)
            row = next(row for row in pages.short_rows(loaded, [line]))
            assert row[-1] == cause
            assert any(text.startswith(f"| {line.workload} |") and cause in text for text in digest.splitlines())
            assert f"({cause})" in page[line.family]


def test_the_machine_is_named(report):
    machines = report.load(ROOT).machine
    for part, machine in machines.items():
        assert machine["cpu"] and machine["isa"] and re.fullmatch(r"\d{4}-\d\d-\d\d", machine["date"]), part
        assert all(value > 0 for value in machine.get("limits", {}).values())
    assert machines["ratios"]["cpu"] in (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_has_few_headlines_and_the_digest_all(pages):
    assert sum(headline.in_readme for headline in pages.HEADLINES) <= 16
    digest = (ROOT / "docs/benchmarks.md").read_text(encoding="utf-8")
    assert all(f"| {headline.label} |" in digest for headline in pages.HEADLINES)


# ---- made-up measurements ----

MACHINE = {"date": "2026-01-02T03:04:05+00:00", "cpu": "Abacus 2", "isa": "v3", "cores": 2, "numpy": "2.4"}
LIMITS = {"GB/s, copied and counted twice": 40.0, "GFLOP/s, matrix product float64": 50.0}


def ratio_line(**changes):
    line = {
        "call": "workloads.emd2(5, 7)",
        "family": "transport",
        "workload": "emd2, 5x7 float64",
        "peer": "POT",
        "kexue_seconds": 1e-6,
        "peer_seconds": 8e-6,
        "median_ratio": 7.5,
        "ratio_of_minima": 8.0,
        "required": 7,
        "target": None,
        "bytes_moved": 20_000,
        "operations": 0,
    }
    return {**line, **changes}


def ratios(*lines):
    return {**MACHINE, "limits": LIMITS, "lines": list(lines or [ratio_line()])}


def timing(side="kexue", seconds=0.5, **changes):
    extra = {"cpu": "Abacus 2", "isa": "v3", "side": side, "problems_per_call": 10, "bytes_moved": 0, "operations": 1e9}
    found = {
        "group": "lcs, 3 letters",
        "fullname": f"bench/bench_decoding.py::bench_lcs[{side}]",
        "stats": {"min": seconds, "median": 1.25 * seconds},
        "extra_info": extra,
    }
    return {**found, **changes}


def benchmarks(*found):
    return {"datetime": "2026-01-02T03:04:05+00:00", "benchmarks": list(found or [timing(), timing("rapidfuzz", 0.4)])}


def scaling(**changes):
    series = {
        "family": "projection",
        "function": "fwht",
        "axis": "columns",
        "variable": "n",
        "dtype": "float64",
        "isa": "v4",
        "workers": 2,
        # A call of 1 ms hides the exponent of the small sizes.
        "points": [{"size": 2**k, "seconds": 1e-3 + 1e-6 * 2 ** (1.5 * k)} for k in range(4, 21)],
    }
    return {**MACHINE, "limits": LIMITS, "series": [{**series, **changes}]}


@pytest.fixture
def write(tmp_path):
    def write(content, name="given.json"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.fixture
def root(tmp_path, pages):
    """A project with pages that have the marks, and causes."""
    folder = tmp_path / "project"
    for name in ("README.md", "docs/benchmarks.md", *pages.COMING_FROM):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        marks = re.findall(r"<!-- (?:report: |end of ).*? -->\n?", (ROOT / name).read_text(encoding="utf-8"))
        path.write_text("# Before\n\n" + "".join(mark.strip() + "\n" for mark in marks) + "\nAfter.\n")
    causes = folder / "bench" / "causes.csv"
    causes.parent.mkdir()
    causes.write_text('workload,peer,cause\n"emd2, *",POT,because\n')
    return folder


def test_digest_tells_the_files_apart(report, write):
    by_itself = timing(extra_info={})  # not by the fixture
    functions = benchmarks(by_itself, timing(), timing("rapidfuzz", 0.4))
    paths = [write(scaling(), "c"), write(ratios(), "a"), write(functions, "b")]
    parts = report.digest(paths)
    assert {name: len(rows) for name, (_, rows) in parts.items()} == {"ratios": 1, "functions": 2, "scaling": 17}
    ours, peer = parts["functions"][1]
    assert (ours.family, ours.workload, ours.side, ours.seconds) == ("decoding", "lcs, 3 letters", "kexue", 0.05)
    assert (peer.side, peer.median_seconds, peer.operations) == ("rapidfuzz", 0.05, 1e9)


def test_the_last_of_equal_lines_counts(report, write):
    first = write(ratios(ratio_line(), ratio_line(peer="other")), "a")
    second = write(ratios(ratio_line(median_ratio=9)), "b")
    assert [line.median_ratio for line in report.digest([first, second])["ratios"][1]] == [9, 7.5]
    other = write({**ratios(), "numpy": "2.5"}, "c")
    with pytest.raises(report.ReportError, match=r"c\.numpy is '2\.5', and '2\.4' in a file before"):
        report.digest([first, other])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "given.json is not JSON"),
        ("[]", r"given.json is \[\], not an object"),
        ({}, "given.json has none of 'lines', 'benchmarks', 'series'"),
        ({"lines": [], "series": []}, "more than one of"),
        ({**ratios(), "lines": []}, "given.json.lines is empty"),
        ({**ratios(), "lines": {}}, r"given.json.lines is \{\}, not list"),
        ({**ratios(), "lines": [ratio_line(), 3]}, r"given.json.lines\[1\] is 3, not an object"),
        (ratios(ratio_line(), {"family": "x"}), r"given.json.lines\[1\] has no 'workload'"),
        (ratios(ratio_line(workload=3)), r"lines\[0\].workload is 3, not str"),
        (ratios(ratio_line(workload="a\nb")), r"lines\[0\].workload is .*, not one line of text"),
        (ratios(ratio_line(kexue_seconds=0)), r"lines\[0\].kexue_seconds is 0, not a positive number"),
        (ratios(ratio_line(peer_seconds=math.nan)), r"lines\[0\].peer_seconds is nan, not a positive number"),
        (ratios(ratio_line(median_ratio=math.inf)), r"lines\[0\].median_ratio is inf"),
        (ratios(ratio_line(median_ratio=True)), r"lines\[0\].median_ratio is true, not int or float"),
        (ratios(ratio_line(required="7")), r"lines\[0\].required is \"7\", not int or float or null"),
        (ratios(ratio_line(bytes_moved=-1)), r"lines\[0\].bytes_moved is -1, not a number from 0 on"),
        ({"lines": [ratio_line()], "date": "now", "isa": "v3"}, "given.json has no 'cpu'"),
        ({**ratios(), "limits": {"GB/s": 0}}, "given.json.limits.GB/s is 0, not a positive number"),
        (benchmarks({**timing(), "stats": {}}), r"benchmarks\[0\].stats has no 'min'"),
        (benchmarks({**timing(), "extra_info": {}}), r"given.json.benchmarks has none of the fixture `measure`"),
        (benchmarks({**timing(), "extra_info": {"side": "x"}}), r"benchmarks\[0\].extra_info has no 'cpu'"),
        (benchmarks(timing(), timing(group=None)), r"benchmarks\[1\].group is null, not str"),
        (
            benchmarks(timing(), timing(extra_info={**timing()["extra_info"], "isa": "v4"})),
            r"benchmarks\[1\].extra_info.isa is 'v4', and 'v3' of those before",
        ),
        (scaling(points=[]), r"series\[0\].points is empty"),
        (scaling(points=[{"size": 1.5, "seconds": 1}]), r"series\[0\].points\[0\].size is 1.5, not int"),
        (scaling(points=[{"size": 0, "seconds": 1}]), r"points\[0\].size is 0, not a whole number from 1 on"),
        (scaling(workers=0), r"series\[0\].workers is 0"),
        (scaling(axis=["n"]), r"series\[0\].axis is \[\"n\"\], not str"),
    ],
)
def test_hostile_files(report, write, content, message):
    with pytest.raises(report.ReportError, match=message):
        report.digest([write(content)])


def test_a_run_that_goes_on(report, write):
    path = write(ratios())
    about, lines = report.measured_before(path, {**MACHINE, "date": "later"})
    assert about == {**MACHINE, "limits": LIMITS} and lines == [ratio_line()]
    with pytest.raises(report.ReportError, match=r"given.json.numpy is '2\.4', and '3\.0' now"):
        report.measured_before(path, {**MACHINE, "numpy": "3.0"})
    with pytest.raises(report.ReportError, match=r"given.json.quick is None, and True now"):
        report.measured_before(path, {**MACHINE, "quick": True})
    with pytest.raises(report.ReportError, match=r"given.json.lines\[0\] does not have the keys"):
        report.measured_before(write(ratios(ratio_line(more=1))), MACHINE)


def test_a_missing_file(report, tmp_path):
    with pytest.raises(report.ReportError, match="none.json: No such file"):
        report.digest([tmp_path / "none.json"])


def test_data_are_the_same_after_reading(report, write, root):
    parts = report.digest([write(ratios(), "a"), write(benchmarks(), "b"), write(scaling(), "c")])
    report.save(root, parts)
    loaded = report.load(root)
    assert loaded.lines == parts["ratios"][1]
    assert loaded.timings == parts["functions"][1]
    assert [point.size for point in loaded.points] == [point.size for point in parts["scaling"][1]]
    assert set(loaded.machine) == {"ratios", "functions", "scaling"}
    assert loaded.machine["scaling"]["cpu"] == "Abacus 2" and loaded.machine["ratios"]["date"] == "2026-01-02"
    report.save(root, report.digest([write(ratios(ratio_line(peer="other")), "a")]))
    again = report.load(root)
    assert [line.peer for line in again.lines] == ["other"] and again.points == loaded.points


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n", "the first line is not workload,peer,cause"),
        ("workload,peer,cause\na,b\n", "line 2: 2 cells, not 3"),
        ("", "the first line is not"),
    ],
)
def test_damaged_data(report, root, text, message):
    (root / "bench/causes.csv").write_text(text)
    with pytest.raises(report.ReportError, match=message):
        report.load(root)


def test_a_damaged_machine(report, write, root):
    report.save(root, report.digest([write(ratios())]))
    path = root / "docs/report/machine.json"
    path.write_text("{")
    with pytest.raises(report.ReportError, match="machine.json is not JSON"):
        report.load(root)
    path.write_text("{}")
    with pytest.raises(report.ReportError, match="machine.json does not name the machine of ratios"):
        report.load(root)


def test_a_damaged_number(report, write, root):
    report.save(root, report.digest([write(ratios())]))
    path = root / "docs/report/ratios.csv"
    path.write_text(path.read_text().replace("8e-06", "soon"))
    with pytest.raises(report.ReportError, match="ratios.csv, line 2: peer_seconds is 'soon'"):
        report.load(root)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.5, "2.5 s"), (0.0125, "12.5 ms"), (9.994e-4, "999 us"), (9.996e-4, "1 ms"), (1e-6, "1 us"),
        (4.56e-9, "4.56 ns"), (1e-11, "0.01 ns"), (1234.5, "1234 s"),
    ],
)  # fmt: skip
def test_units(report, text, seconds):
    assert report.told(seconds) == text


def test_bandwidth(report):
    assert report.told(1e-3, 40_000_000) == "1 ms, 40 GB/s"


@pytest.mark.parametrize("exponent", [0.5, 1, 2, 3])
def test_the_fit_recovers_an_exponent(report, exponent):
    points = [(3**k, 1e-7 * 3 ** (exponent * k)) for k in range(6)]
    assert report.fitted_exponent(points) == pytest.approx(exponent, abs=1e-12)
    assert report.fitted_exponent(points[::-1]) == report.fitted_exponent(points)
    assert report.fitted_exponent(points[:1]) is None and report.fitted_exponent(points[:2] * 3) is None


def test_the_fit_leaves_out_the_call(report, write):
    _, points = report.digest([write(scaling())])["scaling"]
    assert report.fitted_exponent(point.place for point in points) == pytest.approx(1.5, abs=0.06)


def verdict_of(report, pages, **changes):
    values = {key: value for key, value in ratio_line(**changes).items() if key != "call"}
    line = report.Line(**values)
    causes = [report.Cause("emd2, *", "*", "because")]
    return line, pages.verdict(report.Report({}, [line], [], [], causes), line)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "required: met"),
        ({"required": None}, ""),
        ({"target": 7.5}, "both met"),
        ({"target": 8}, "required: met; target: missed (because)"),
        ({"required": 7.6}, "**required: missed** (because)"),
        # Both the median and the minima have to reach it.
        ({"ratio_of_minima": 6.9}, "**required: missed** (because)"),
        ({"required": None, "median_ratio": 0.99}, "slower (because)"),
        ({"required": 0.5, "median_ratio": 0.99}, "required: met; slower (because)"),
        ({"required": None, "median_ratio": 0.99, "peer": "a copy"}, ""),
        ({"required": None, "median_ratio": 0.99, "peer": "kexue's own scan"}, ""),
        ({"required": 1, "median_ratio": 0.99, "peer": "reading: np.max"}, "**required: missed** (because)"),
    ],
)
def test_verdicts(report, pages, changes, text):
    line, verdict = verdict_of(report, pages, **changes)
    assert verdict == text
    assert line.falls_short == ("because" in text)


def test_complaints(report):
    line = report.Line("transport", "emd2, 5x7", "POT", 1e-6, 1e-6, 0.9, 1.0)
    loaded = report.Report({}, [line], [], [], [report.Cause("emd", "*", "of nothing")])
    first, second = loaded.complaints()
    assert "no cause for 'emd2, 5x7' beside 'POT', ratio 0.9" in first and "'emd' beside '*' fits no line" in second
    assert replace(loaded, lines=[replace(line, median_ratio=1.0)], causes=[]).complaints() == []


def test_several_workloads_in_a_headline(report, pages):
    line = report.Line("transport", "one", "POT", 4.5e-4, 2e-3, 4.4, 4.4, required=5)
    lines = [line, replace(line, workload="two", kexue_seconds=9e-4, peer_seconds=1.5, median_ratio=1700.0, required=1)]
    lines.append(replace(lines[1], workload="three", kexue_seconds=1e-4, peer_seconds=3.0))
    loaded = report.Report({}, lines, [], [], [])
    headline = pages.Headline("s", "label", ("one", "t?o"), {"POT `emd2`": "POT"})
    row, unknown = pages.headline_row(loaded, headline)
    assert row == ("label", "450 / 900 us", "POT `emd2`, 2 ms / 1.5 s", "**4.4** / 1,700") and unknown == []
    row, _ = pages.headline_row(loaded, replace(headline, workloads=("one", "two", "three")))
    assert row == ("label", "100 to 900 us", "POT `emd2`, 2 ms to 3 s", "**4.4** to 1,700")
    row, unknown = pages.headline_row(loaded, replace(headline, workloads=("on",)))
    assert row is None and "no line 'on' beside 'POT'; the nearest workload: ['one']" in unknown[0]
    row, unknown = pages.headline_row(loaded, replace(headline, workloads=("t*",)))
    assert row is None and "2 lines 't*'" in unknown[0]


def test_achieved(report, pages, write, root):
    report.save(root, report.digest([write(ratios(), "a"), write(benchmarks(), "b")]))
    loaded = report.load(root)
    assert pages.achieved(loaded) == [
        ("transport", "emd2, 5x7 float64", "GB/s", pytest.approx(20.0), 40.0, 20_000),
        ("decoding", "lcs, 3 letters", "GFLOP/s", pytest.approx(20.0), 50.0, 1e9),
    ]
    assert "| emd2, 5x7 float64 | 20 GB/s | 40 GB/s | 50 % |" in pages.achieved_table(loaded)


def test_a_side_at_a_time_is_told_where_it_was_not_in_turns(report, pages):
    line = report.Line("decoding", "lcs", "rapidfuzz", 1e-6, 1e-6, 1.0, 1.0)
    groups = {"lcs": ("kexue", "rapidfuzz", "Python"), "alone": ("kexue",), "peers": ("Python", "NumPy")}
    sides = [report.Timing("decoding", name, side, 1e-6, 1e-6) for name, found in groups.items() for side in found]
    pairs = pages.comparisons(report.Report({}, [line], sides, [], []))
    assert [(ours.workload, peer and peer.side) for ours, peer in pairs] == [("lcs", "Python"), ("alone", None)]


def test_elsewhere(report, pages, write, root):
    met = ratio_line(workload="emd2, 9x9 float64")
    here, there = write(ratios(ratio_line(), met)), ratios(ratio_line(kexue_seconds=2e-6, median_ratio=3.0), met)
    there["lines"][0]["ratio_of_minima"] = 3.0
    parts = report.digest([here])
    other = report.digest([write({**there, "cpu": "Abacus 1"})])
    report.save(root, {**parts, report.ELSEWHERE.name: other["ratios"]})
    loaded = report.load(root)
    assert loaded.machine[report.ELSEWHERE.name]["cpu"] == "Abacus 1" and loaded.machine["ratios"]["cpu"] == "Abacus 2"
    page = pages.index_page(loaded)
    # Two lines, of which one took twice as long at 3 / 7.5 of the ratio.
    assert "| [Transport, exact and entropic](transport.md) | 2 | 1.41 | 0.63 | 1 of 2 |" in page
    assert "| emd2, 5x7 float64 | POT | 7 | 7.5 | 3 |" in page and "| emd2, 9x9 float64 | POT | 7 |" not in page


def test_marks(report, pages):
    text = "a\n<!-- report: x -->\nold\n<!-- end of x -->\nb"
    filled = "a\n<!-- report: x -->\n\nnew \\1\n\n<!-- end of x -->\nb"
    assert pages.fill(text, {"x": "new \\1"}, "page") == filled
    assert pages.fill(filled, {"x": "new \\1"}, "page") == filled
    for damaged in ("a", text + text, "<!-- end of x -->\n<!-- report: x -->\n"):
        with pytest.raises(report.ReportError, match="page"):
            pages.fill(damaged, {"x": ""}, "page")


def test_the_command(modules, report, pages, plots, write, root, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(
        pages, "HEADLINES", [pages.Headline("Section", "a label", ("emd2, 5x7 float64",), {"POT": "POT"}, True)]
    )
    monkeypatch.setattr(plots, "HEADLINES", pages.HEADLINES)
    contents = {"a": ratios(), "b": benchmarks(), "c": scaling()}
    files = [str(write(content, name)) for name, content in contents.items()]
    assert report.main(files, root) == 0
    readme = (root / "README.md").read_text()
    assert readme.startswith("# Before\n") and readme.endswith("\nAfter.\n")
    assert "| a label | 1 us | POT, 8 us | 7.5 |" in readme and "Abacus 2" in readme
    folder = root / "docs/report"
    assert {path.name for path in folder.iterdir()} == {
        *("machine.json", "ratios.csv", "functions.csv", "scaling.csv", "index.md"),
        *("transport.md", "decoding.md", "projection.md"),
        *("headlines.svg", "limits.svg", "speed_transport.svg", "size_projection.svg"),
    }
    assert "| a label | 1 us | POT, 8 us | 7.5 |" in (root / "docs/coming_from_pot.md").read_text()
    assert "| lcs, 3 letters | 50 ms | rapidfuzz | 40 ms | **0.8** |" in (folder / "decoding.md").read_text()
    assert "| fwht | columns | float64, v4, 2 threads | 16 to 1,048,576 |" in (folder / "projection.md").read_text()
    assert "in 1 a peer is faster" in (root / "docs/benchmarks.md").read_text()
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    assert report.main([], root) == 0
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before

    # A page that nothing is left of goes, what has no cause is told, and a file that is none changes nothing.
    files = [str(write(ratios(ratio_line(family="losses", workload="loss", median_ratio=0.5))))]
    assert report.main(files, root) == 1
    told = capsys.readouterr().err
    assert "no cause for 'loss' beside 'POT'" in told and "fits no line" in told and "headlines.py: no line" in told
    assert not (folder / "transport.md").exists() and (folder / "losses.md").exists()
    before = {path: path.read_bytes() for path in root.rglob("*.*")}
    assert report.main([str(write("{}"))], root) == 2
    assert report.main(["--elsewhere", str(write(benchmarks(), "b"))], root) == 2
    assert {path: path.read_bytes() for path in root.rglob("*.*")} == before
