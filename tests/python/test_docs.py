"""Every snippet of the README and of docs/ runs."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Packages that `[test]` does not bring. A snippet that needs one says so in its fence: ```python torch
OPTIONAL = {"jax", "pandas", "torch", "xarray"}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "zh").glob("*.md"))]


def name_of(page):
    return f"zh/{page.stem}" if page.parent.name == "zh" else page.stem


def blocks(page, language):
    """The line number and the text of each fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, match.start(1)), match[1]


def snippets():
    """Each page with each optional package that its snippets name, or None for those that name none."""
    for page in PAGES:
        packages = dict.fromkeys(re.findall(r"^```python(?: (.+))?$", page.read_text(encoding="utf-8"), re.MULTILINE))
        for package in packages:
            yield pytest.param(page, package or None, id=f"{name_of(page)} {package}".rstrip())


@pytest.mark.parametrize(("page", "package"), list(snippets()))
def test_python_blocks(page, package):
    """They run from top to bottom, those of each package by themselves."""
    if package is not None:
        assert package in OPTIONAL
        pytest.importorskip(package)
    namespace = {"__name__": "__main__"}
    for line, source in blocks(page, f"python {package}" if package else "python"):
        # The newlines put the page's own line numbers into tracebacks.
        exec(compile("\n" * line + source, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES[1:], ids=name_of)
def test_links(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_chinese_index_has_every_page():
    """Both indexes lead to the same pages, but for each other and the quick starts."""
    found = []
    for index in (ROOT / "docs/index.md", ROOT / "docs/zh/index.md"):
        targets = re.findall(r"\]\(([^)#:]+\.md)[^)]*\)", index.read_text(encoding="utf-8"))
        found.append({(index.parent / target).resolve() for target in targets})
    english, chinese = ({page.stem for page in pages} - {"index", "quick_start"} for pages in found)
    assert english == chinese


def test_c_programs(tmp_path):
    ((_, commands),) = blocks(ROOT / "docs" / "c_api.md", "sh")
    environment = {**os.environ, "KEXUE": str(ROOT)}
    built = False
    for name in ["c_api", "quick_start", "zh/quick_start"]:
        page = ROOT / "docs" / f"{name}.md"
        ((_, program),) = blocks(page, "c")
        ((_, expected),) = blocks(page, "text")
        (tmp_path / "emd.c").write_text(program, encoding="utf-8")
        # The last command compiles the program; those before it make the library, once.
        run = commands.splitlines()[-1] if built else commands
        subprocess.run(
            ["sh", "-e", "-c", f'core="$KEXUE/src/_core"\n{run}'],
            cwd=tmp_path,
            env=environment,
            check=True,
            timeout=540,
        )
        built = True
        done = subprocess.run([tmp_path / "emd"], capture_output=True, text=True, check=True, timeout=60)
        assert done.stdout == expected, name


def test_the_example_of_internals(tmp_path):
    """The function that docs/internals.md adds compiles without warnings and passes its own test."""
    core = ROOT / "src/_core"
    sources = [source for _, source in blocks(ROOT / "docs/internals.md", "c")]
    names = ["include/kexue/kx_divergences.h", "kernels/divergences.c", "test_divergences.c"]
    for name, source in zip(names, sources, strict=True):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source, encoding="utf-8")
    flags = ["-std=c11", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
    folders = [tmp_path, tmp_path / "include", core, core / "include", ROOT / "tests/c"]
    # The header includes its neighbour kx_base.h.
    command = ["cc", *flags, *(f"-I{folder}" for folder in folders), f"-I{core / 'include/kexue'}"]

    def compile(*arguments):
        subprocess.run([*command, *map(str, arguments)], cwd=tmp_path, check=True, timeout=300)

    compile("-DKX_ISA=baseline", "-c", "kernels/divergences.c", "-o", "baseline.o")
    compile("-c", "kernels/divergences.c", "-o", "dispatch.o")
    compile("-Wno-conversion", "-Wno-unused-function", "test_divergences.c", "baseline.o", "dispatch.o",
            core / "isa/isa.c", "-lm", "-o", "test_divergences")
    done = subprocess.run([tmp_path / "test_divergences"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "4 passed, 0 failed\n"), done.stdout


def test_status_codes_are_told():
    header = (ROOT / "src/_core/include/kexue/kx_base.h").read_text()
    codes = re.findall(r"X\((KX_\w+), (-?\d+), ", header)
    table = (ROOT / "docs/c_api.md").read_text(encoding="utf-8")
    assert len(codes) >= 12
    assert codes == re.findall(r"^\| `(KX_\w+)` \| (-?\d+) \|", table, re.MULTILINE)
