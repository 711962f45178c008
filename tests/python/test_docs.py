"""Every snippet of the README and of docs/ runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Pages about packages that the tests do without.
OPTIONAL = {"torch": "torch"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The line number and the text of each fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks(page):
    if page.stem in OPTIONAL:
        pytest.importorskip(OPTIONAL[page.stem])
    namespace = {"__name__": "__main__"}
    for line, source in blocks(page, "python"):
        # The newlines put the page's own line numbers into tracebacks.
        exec(compile("\n" * line + source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.stem)
def test_links(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_c_program(tmp_path):
    page = ROOT / "docs" / "c_api.md"
    ((_, program),) = blocks(page, "c")
    ((_, commands),) = blocks(page, "sh")
    ((_, expected),) = blocks(page, "text")
    (tmp_path / "emd.c").write_text(program)
    environment = {**os.environ, "KEXUE": str(ROOT)}
    subprocess.run(["sh", "-e", "-c", commands], cwd=tmp_path, env=environment, check=True, timeout=300)
    done = subprocess.run([tmp_path / "emd"], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == expected


def test_status_codes_are_told():
    header = (ROOT / "src/_core/include/kexue/kx_base.h").read_text()
    codes = re.findall(r"X\((KX_\w+), (-?\d+), ", header)
    table = (ROOT / "docs/c_api.md").read_text(encoding="utf-8")
    assert len(codes) >= 12
    assert codes == re.findall(r"^\| `(KX_\w+)` \| (-?\d+) \|", table, re.MULTILINE)
