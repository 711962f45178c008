"""The tables of docs/accuracy/: the first points of each row are recomputed, and no error may exceed the table's."""

import itertools
import platform
import sys

import pytest

import kexue
from reference import accuracy, accuracy_pages
from reference.accuracy_cases import CASES

# Of another C library or processor logarithms and exponentials of single numbers, a few for each row, may be rounded
# otherwise. There errors are held to what is promised alone.
MEASURED = sys.platform == "linux" and platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"
# Their oracle takes seconds for a point: test_smoothing.py has some.
WITHOUT_ROWS = {f"smooth_{name}_student_t2" for name in ("floor", "ceil", "round")}
TABLES = {table: accuracy.read(table) for table in accuracy.names(CASES)}
ROWS = {(row["function"], row["range"], row["dtype"], row["isa"]): row for rows in TABLES.values() for row in rows}


@pytest.fixture(scope="module")
def isa():
    return kexue.show_config(mode="dict")["isa"]


def test_every_case_has_its_rows():
    rows = itertools.chain(*(itertools.product([case], case.dtypes, accuracy.ISAS) for case in CASES))
    expected = [(case.function, case.range, dtype, isa) for case, dtype, isa in rows]
    assert list(ROWS) == expected
    assert len(ROWS) == sum(map(len, TABLES.values()))
    assert {path.stem for path in accuracy.TABLES.glob("*.csv")} == set(TABLES)


def test_every_ufunc_has_a_row():
    found = {row["function"].replace(" ", "_") for row in ROWS.values()}
    found |= {f"{row['function']}_{row['range'].split(',')[0]}" for row in ROWS.values()}
    assert set(kexue.ufuncs.__all__) - found == WITHOUT_ROWS


def test_tables_keep_the_promises():
    for key, row in ROWS.items():
        assert 0 <= float(row["mean"]) <= float(row["maximum"]), key
        assert not row["promised"] or float(row["maximum"]) <= float(row["promised"]), key


@pytest.mark.parametrize(
    ("case", "dtype"), [pytest.param(case, dtype, id=f"{case.name} {dtype}") for case in CASES for dtype in case.dtypes]
)
def test_no_error_exceeds_the_table(case, dtype, isa):
    errors = case.errors(dtype, case.results(dtype, case.short), case.exact_values(dtype, case.short))
    row = ROWS[case.function, case.range, dtype, isa]
    if MEASURED and case.arithmetic == "kexue":
        assert errors.max() <= float(row["maximum"])
    elif row["promised"]:
        assert errors.max() <= float(row["promised"])


def test_page_has_the_figures_of_the_files():
    assert accuracy_pages.updated() == accuracy_pages.PAGE.read_text(encoding="utf-8")


def cells(heading):
    """The rows of the table of a section of the page, without the head."""
    text = accuracy_pages.PAGE.read_text(encoding="utf-8")
    section = text[text.index(f"## {heading}\n") :].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


def worst(table, name, dtype, isas=accuracy.ISAS):
    found = [row for row in TABLES[table] if row["function"] == name and row["dtype"] == dtype and row["isa"] in isas]
    return max(float(row["maximum"]) for row in found)


def test_longer_runs_on_the_page_found_no_less_than_the_files():
    rows = cells("SquarePlus, activations, Taylor polynomials")
    assert {f"{name.strip('`')}" for name, *_ in rows} == {row["function"] for row in TABLES["activations"]}
    for name, narrow, *wide in rows:
        name = name.strip("`")
        assert worst("activations", name, "float32") <= float(narrow), name
        for isa, figure in zip(accuracy.ISAS, wide, strict=True):
            assert worst("activations", name, "float64", [isa]) <= float(figure), (name, isa)
    for label, *wide, narrow in cells("Smoothed functions"):
        name = f"smooth_{label.split(',')[0].replace(' ', '_')}"
        kernels = ("gaussian", "logistic", "student_t2", "cauchy")
        found = {kernel: figure for kernel, figure in zip(kernels, wide, strict=True) if figure[:1].isdigit()}
        for kernel, figure in found.items():
            assert worst("smoothing", f"{name} {kernel}", "float64") <= float(figure), (name, kernel)
            if "eps" not in label:  # those of float32 are in ulps there
                assert worst("smoothing", f"{name} {kernel}", "float32") <= float(narrow), (name, kernel)
