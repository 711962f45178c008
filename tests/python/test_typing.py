"""The annotations are consistent, of use to callers, and those of the stubs are those of the compiled modules."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import kexue

ROOT = Path(__file__).parents[2]
TYPING = ROOT / "tests" / "typing"
# The package that is tested: the tree's own, or an installed one.
PACKAGE = Path(kexue.__file__).parent


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A module of mypy in a process of its own; both runs share what mypy keeps of NumPy."""
    pytest.importorskip("mypy")
    folder = tmp_path_factory.mktemp("mypy")
    text = (ROOT / "pyproject.toml").read_text()
    assert "$MYPY_CONFIG_FILE_DIR/python" in text
    # mypy takes no site-packages for a folder of sources.
    sources = folder / "sources"
    sources.mkdir()
    (sources / "kexue").symlink_to(PACKAGE, target_is_directory=True)
    config = folder / "pyproject.toml"
    config.write_text(text.replace("$MYPY_CONFIG_FILE_DIR/python", sources.as_posix()))

    def run(module, *arguments):
        flag = "--config-file" if module == "mypy" else "--mypy-config-file"
        return subprocess.run(
            [sys.executable, "-m", module, flag, config, *arguments],
            capture_output=True,
            text=True,
            timeout=600,
            cwd=folder,
            env={**os.environ, "MYPY_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(sources)},
        )

    return run


@pytest.fixture(scope="module")
def found(run):
    """The errors of the package and of tests/typing: path, line, code."""
    done = run("mypy", "--no-error-summary", "sources/kexue", *sorted(TYPING.glob("*.py")))
    assert not done.stderr
    errors = [line for line in done.stdout.splitlines() if ": error: " in line]
    assert errors, done.stdout  # those of mistakes.py
    return errors


def test_package_and_calls(found):
    assert [line for line in found if "mistakes.py:" not in line] == []


def test_mistakes_are_found(found):
    matches = [re.match(r".*mistakes\.py:(\d+): error: .*\[([\w-]+)\]$", line) for line in found]
    lines = (TYPING / "mistakes.py").read_text().splitlines()
    expected = {(i, line.partition("# E: ")[2]) for i, line in enumerate(lines, 1) if "# E: " in line}
    assert len(expected) > 5
    assert {(int(match[1]), match[2]) for match in matches if match} == expected


def test_stubs_are_true(run, found):  # after `found`, which leaves a cache
    allowed = TYPING / "stubtest_allowlist.txt"
    done = run("mypy.stubtest", "kexue", "--concise", "--ignore-unused-allowlist", "--allowlist", allowed)
    assert done.returncode == 0, done.stdout + done.stderr
