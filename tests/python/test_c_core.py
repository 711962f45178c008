"""The C core on its own: the plain CMake build without Python, warnings as errors, and its tests for every ISA."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str) -> str:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.timeout(2400)
def test_build_and_ctest(tmp_path):
    build = str(tmp_path / "build")
    run("cmake", "-S", str(ROOT), "-B", build, "-G", "Ninja", "-DKEXUE_WERROR=ON")
    assert "warning" not in run("cmake", "--build", build)
    report = run("ctest", "--test-dir", build, "--output-on-failure")
    assert "100% tests passed" in report


def test_headers_compile_as_cxx(tmp_path):
    source = tmp_path / "headers.cpp"
    source.write_text("#include <kexue/kexue.h>\nint main() { return kx_version()[0] == 0; }\n")
    include = str(ROOT / "src" / "_core" / "include")
    run(
        "g++",
        "-std=c++11",
        "-Wall",
        "-Wextra",
        "-pedantic",
        "-Werror",
        "-fsyntax-only",
        "-I",
        include,
        str(source),
    )
