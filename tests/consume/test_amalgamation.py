"""kexue.h and kexue.c: made by one command, compiled by whatever is here, used by programs without Python."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import kexue

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tools" / "amalgamate.py"
WARNINGS = ["-Wall", "-Wextra", "-Werror"]
LEVELS = {"x86-64": "baseline", "x86-64-v3": "v3", "x86-64-v4": "v4"}


def run(command: list[str | Path], **options: object) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def compilers() -> list[tuple[str, list[str]]]:
    """Name and command of each C compiler: CC, gcc, clang, or the clang of the ziglang package."""
    found = [(name, [path]) for name in ("gcc", "clang") if (path := shutil.which(name))]
    if len(found) < 2 and importlib.util.find_spec("ziglang"):
        found.append(("zig", [sys.executable, "-m", "ziglang", "cc"]))
    if not found and (path := shutil.which(os.environ.get("CC", "cc"))):
        found = [("cc", [path])]
    return found


def cplusplus() -> list[tuple[str, str]]:
    wanted = (("g++", "c++17"), ("clang++", "c++20"))
    return [(path, standard) for name, standard in wanted if (path := shutil.which(name))]


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("amalgamate", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def amalgamation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("amalgamation") / "new"
    run([sys.executable, SCRIPT, folder])
    return folder


@pytest.fixture(scope="module")
def link(amalgamation: Path) -> Callable[[str], Path]:
    """Links a program of examples/c with kexue.c, which is compiled once, as strictly as it can be."""
    assert compilers(), "no C compiler"
    command = compilers()[0][1]
    built = amalgamation / "kexue.o"
    run([*command, "-std=c11", "-O1", *WARNINGS, "-pedantic", "-c", amalgamation / "kexue.c", "-o", built])

    def of(name: str) -> Path:
        program = amalgamation / name
        source = ROOT / "examples" / "c" / f"{name}.c"
        strict = ["-std=c11", "-O1", *WARNINGS, "-pedantic"]
        run([*command, *strict, "-I", amalgamation, source, built, "-o", program, "-lm", "-lpthread"])
        return program

    return of


def test_it_is_made_again_to_the_byte(amalgamation: Path, tmp_path: Path) -> None:
    header, source = load_script().amalgamate(tmp_path)
    assert header.read_bytes() == (amalgamation / "kexue.h").read_bytes()
    assert source.read_bytes() == (amalgamation / "kexue.c").read_bytes()


def test_it_needs_the_c_library_alone_and_says_what_it_is(amalgamation: Path) -> None:
    licence = (ROOT / "LICENSE").read_text().strip().split("\n")
    for name in ("kexue.h", "kexue.c"):
        text = (amalgamation / name).read_text()
        head = text[:3000]
        assert kexue.__version__ in head
        assert all(line.strip() in head for line in licence)
        included = re.findall(r'^\s*#\s*include\s+([<"][^>"]+[>"])', text, re.MULTILINE)
        assert [i for i in included if i.startswith('"')] == ([] if name == "kexue.h" else ['"kexue.h"'])
        assert str(ROOT) not in text


def test_every_public_function_is_declared(amalgamation: Path) -> None:
    header = (amalgamation / "kexue.h").read_text()
    public = ROOT / "src/_core/include/kexue"
    for path in public.glob("kx_*.h"):
        for name in re.findall(r"^[a-z_ \d]+?\**(kx_\w+)\(", path.read_text(), re.MULTILINE):
            assert re.search(rf"\b{name}\(", header), name


@pytest.mark.parametrize(("name", "command"), compilers())
def test_c11_without_a_warning(amalgamation: Path, name: str, command: list[str]) -> None:
    # The linked program's compilation has the warnings that need optimisation. One compiler sees every branch.
    target = ["-c", "-Xclang"] if name == "zig" else []
    for level in LEVELS if os.uname().machine == "x86_64" and name == "gcc" else [None]:
        march = [f"-march={level}"] if level else []
        options = ["-std=c11", *march, *WARNINGS, "-pedantic", *target, "-fsyntax-only"]
        for of_pass in ([], [f"-DKX_ISA={LEVELS[level]}"]) if level else ([],):
            run([*command, *options, *of_pass, amalgamation / "kexue.c"], cwd=amalgamation)


@pytest.mark.parametrize(("command", "standard"), cplusplus())
def test_cplusplus_without_a_warning(amalgamation: Path, command: str, standard: str) -> None:
    run([command, f"-std={standard}", *WARNINGS, "-fsyntax-only", "-x", "c++", amalgamation / "kexue.c"])


def test_a_program_without_python_has_the_figures_of_python(link: Callable[[str], Path]) -> None:
    check_figures(run([link("without_python")]).stdout)


@pytest.mark.skipif(not shutil.which("clang"), reason="no clang")
def test_clang_gives_the_same_values_and_raises_the_same_flags(amalgamation: Path, tmp_path: Path) -> None:
    """By the C tests of what raises flags: clang chooses other instructions than gcc, and no option is to be needed.

    One instruction set: AVX2, whose comparisons clang would exchange, where the processor has it.
    """
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    march = ["-march=x86-64-v3"] if os.uname().machine == "x86_64" and " avx2 " in flags else []
    strict = ["clang", "-std=c11", "-O2", *march, *WARNINGS, "-pedantic"]
    built = tmp_path / "kexue.o"
    run([*strict, "-c", amalgamation / "kexue.c", "-o", built])
    include = ["-I", ROOT / "src/_core/include"]
    for name in ("vector_math", "activations", "activations_smooth", "gaussians_transport", "losses_ranking"):
        source, program = ROOT / "tests" / "c" / f"test_{name}.c", tmp_path / name
        run(["clang", "-std=c11", "-O1", *include, source, built, "-o", program, "-lm", "-lpthread"])
        run([program])
    program = ROOT / "examples" / "c" / "without_python.c"
    run([*strict, "-I", amalgamation, program, built, "-o", tmp_path / "program", "-lm", "-lpthread"])
    check_figures(run([tmp_path / "program"]).stdout)


def test_several_passes_make_one_library(amalgamation: Path, tmp_path: Path) -> None:
    """A pass for each instruction set and one for the rest: what a wheel's CMake package compiles.

    One instruction set here, as each takes half a minute.
    """
    command, source = [*compilers()[0][1], "-std=c11", "-O0", *WARNINGS, "-pedantic"], amalgamation / "kexue.c"
    for name, define in (("baseline", "-DKX_ISA=baseline"), ("common", "-DKX_HAVE_BASELINE")):
        run([*command, define, "-c", source, "-o", tmp_path / f"{name}.o"])
    objects = [tmp_path / "baseline.o", tmp_path / "common.o", "-lm", "-lpthread"]
    program = ROOT / "examples" / "c" / "without_python.c"
    run([*command, "-I", amalgamation, program, *objects, "-o", tmp_path / "program"])
    check_figures(run([tmp_path / "program"]).stdout)


def check_figures(output: str) -> None:
    lines = [line.split() for line in output.splitlines()]
    printed = {key: np.array([float(v) for k, v in lines if k == key]) for key in ("wmd", "q", "hsic")}

    x = [[0.0, 0.1, 0.2], [1.0, 0.5, -0.3], [0.4, -1.0, 0.7]]
    y = [[0.1, 0.0, 0.2], [0.9, 0.7, -0.5], [0.2, -1.3, 1.1]]
    assert printed["wmd"] == pytest.approx([kexue.wmd(x, y, [1, 1, 1], [1, 1, 2])], rel=1e-14)

    i, j = np.mgrid[:3, :8]
    q = kexue.entropy_normalize(1.0 + (7 * i + 3 * j) % 11, 1.5)
    np.testing.assert_allclose(printed["q"].reshape(3, 8), q, rtol=1e-12)

    line = np.linspace(-1, 1, 40)[:, None]
    assert printed["hsic"] == pytest.approx([kexue.hsic(line, line**2, bandwidth=1.0)], rel=1e-12)


def test_host_hooks(link: Callable[[str], Path]) -> None:
    lines = run([link("host_hooks")]).stdout.splitlines()
    assert sum(line.startswith("yes: ") for line in lines) == 10
    assert not any(line.startswith("NO") for line in lines)


def test_the_level_is_that_of_the_flags(amalgamation: Path, tmp_path: Path) -> None:
    """Read off the preprocessed text: a processor need not have what is compiled."""
    name, command = compilers()[0]
    if os.uname().machine != "x86_64" or name == "zig":
        levels = {None: "baseline"}
    else:
        levels = LEVELS
    numbers = {"baseline": "KX_LEVEL_BASELINE", "v3": "KX_LEVEL_V3", "v4": "KX_LEVEL_V4"}
    for march, level in levels.items():
        flags = [f"-march={march}"] if march else []
        text = run([*command, "-std=c11", *flags, "-E", "-P", amalgamation / "kexue.c"]).stdout
        body = re.search(r"int kx_isa_level\(void\) \{\s*return (\w+);", text)
        assert body and body[1] == numbers[level]
