"""Where the outside projects find kexue: in an installed wheel, and in a source distribution."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
collect_ignore_glob = ["*/setup.py"]


def run(*command: object, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


@dataclass(frozen=True)
class Installation:
    """A folder on the path with an unpacked wheel, `package` in it, and an environment that finds it first."""

    package: Path
    wheel: Path | None

    @property
    def environment(self) -> dict[str, str]:
        environment = {**os.environ, "PYTHONPATH": str(self.package.parent)}
        # The consumers' own tools are those of the interpreter that runs the tests.
        environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
        return environment


def _installed_package() -> Path | None:
    """The package folder of a kexue that was installed from a wheel; None for a source tree."""
    for entry in sys.path:
        for distribution in importlib.metadata.distributions(name="kexue", path=[entry or "."]):
            for file in distribution.files or []:
                if file.parts[-3:] == ("include", "kexue", "kexue.h"):
                    return Path(str(distribution.locate_file(file))).resolve().parents[2]
    return None


@pytest.fixture(scope="session")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """KEXUE_WHEEL, or the wheel that is installed, or one built here; moved, so that no path is right by chance."""
    site = tmp_path_factory.mktemp("moved") / "with space"
    wheel = Path(os.environ["KEXUE_WHEEL"]) if "KEXUE_WHEEL" in os.environ else None
    package = _installed_package() if wheel is None else None
    if package is not None:
        site.mkdir()
        shutil.copytree(package, site / "kexue", ignore=shutil.ignore_patterns("__pycache__"))
        (metadata,) = package.parent.glob("kexue-*.dist-info")
        shutil.copytree(metadata, site / metadata.name)
    else:
        wheel = wheel or _build_wheel(tmp_path_factory)
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    return Installation(site / "kexue", wheel)


def _build_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = f"--config-settings=build-dir={folder / 'build'}"
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", build, "-w", folder, ROOT)
    (wheel,) = folder.glob("kexue-*.whl")
    return wheel


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, as an archive."""
    folder = tmp_path_factory.mktemp("sdist")
    program = f"from scikit_build_core.build import build_sdist; print(build_sdist({str(folder)!r}))"
    run(sys.executable, "-c", program, cwd=ROOT)
    (archive,) = folder.glob("kexue-*.tar.gz")
    return archive


@pytest.fixture(scope="session")
def source(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("source")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked
