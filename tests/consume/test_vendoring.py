"""Every way into another build, by a project outside the tree, from the wheel and from the source distribution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kexue

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SIZE_LIMIT = 6_000_000
# One instruction set without optimisation: what is tested is the way in, and the core's own tests have the rest.
DEFINES = ["KEXUE_BASELINE_ONLY=ON", "CMAKE_BUILD_TYPE=Debug", "CMAKE_C_FLAGS_DEBUG=-O0"]
FAST = ["-G", "Ninja", "--no-warn-unused-cli", *(f"-D{define}" for define in DEFINES)]

pytestmark = pytest.mark.timeout(1800)  # a wheel may have to be built first

A, B = np.array([0.5, 0.5]), np.array([0.25, 0.25, 0.5])
M = np.array([[0.1, 1, 2], [2, 1, 0.3]])
P, PERPLEXITY = np.array([0.1, 0.2, 0.3, 0.4]), 3.0


def run(*command, cwd=None, env=None) -> str:
    command = [str(part) for part in command]
    done = subprocess.run(
        command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=900
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}"
    return done.stdout


def info(installation, option: str) -> str:
    line = run(sys.executable, "-m", "kexue", "info", f"--{option}", env=installation.environment).rstrip("\n")
    assert "\n" not in line
    return line


def check_program(program: Path) -> None:
    first, second = run(program).splitlines()
    version, cost = first.split()
    assert version == kexue.__version__
    assert float(cost) == pytest.approx(kexue.emd2(A, B, M), rel=1e-14)
    expected = kexue.entropy_normalize(P, PERPLEXITY, target_kind="perplexity")
    np.testing.assert_allclose([float(number) for number in second.split()], expected, rtol=1e-13)


def check_module(folder: Path, installation, calls: str) -> None:
    """Run `calls` in a process that imports the consumer's module."""
    environment = installation.environment
    environment["PYTHONPATH"] = os.pathsep.join([str(folder), environment["PYTHONPATH"]])
    program = (
        "import numpy as np, consumer, kexue\n"
        f"assert kexue.__file__.startswith({str(installation.package)!r}), kexue.__file__\n"
        f"assert consumer.__file__.startswith({str(folder)!r}), consumer.__file__\n"
        f"a, b, M = np.array({A.tolist()}), np.array({B.tolist()}), np.array({M.tolist()})\n"
        f"p, perplexity = np.array({P.tolist()}), {PERPLEXITY}\n" + calls
    )
    run(sys.executable, "-c", program, cwd=folder, env=environment)


def copy(name: str, tmp_path: Path) -> Path:
    """The project, beside the program that the C projects share."""
    shutil.copy(HERE / "program.c", tmp_path)
    return Path(shutil.copytree(HERE / name, tmp_path / name))


def cmake(project: Path, build: Path, *options: str, env=None, warns: bool = False) -> Path:
    text = run("cmake", "-S", project, "-B", build, *FAST, *options, env=env)
    text += run("cmake", "--build", build, env=env)
    assert warns or "warning" not in text.lower()
    return build / "consumer"


# ---- the wheel ----


def test_headers_and_places(installation):
    prefix = str(installation.package)
    program = "import kexue; print(kexue.get_include())"
    include = run(sys.executable, "-c", program, env=installation.environment).strip()
    assert include == f"{prefix}/include"
    assert info(installation, "includes") == f"-I'{include}'"
    assert info(installation, "libs") == "-lm -lpthread"
    places = {
        "cmakedir": "kexueConfig.cmake",
        "pkgconfigdir": "kexue.pc",
        "source": "CMakeLists.txt",
    }
    for option, file in places.items():
        assert info(installation, option).startswith(prefix)
        assert (Path(info(installation, option)) / file).is_file()
    assert Path(info(installation, "amalgamation")).is_file()
    shipped = {path.name: path.read_bytes() for path in (installation.package / "include/kexue").iterdir()}
    assert shipped == {
        path.name: path.read_bytes() for path in (ROOT / "src/_core/include/kexue").iterdir()
    }


def test_no_path_of_the_building_machine(installation):
    for pattern in ("lib/**/*", "source/**/*", "*.pxd"):
        for path in installation.package.glob(pattern):
            if path.is_file():
                assert str(ROOT) not in path.read_text(encoding="utf-8"), path


def test_size(installation):
    if installation.wheel is not None:
        assert installation.wheel.stat().st_size < SIZE_LIMIT


def test_modules_export_their_init_functions_alone(installation):
    run(sys.executable, ROOT / "tools" / "check_surface.py", installation.package)


@pytest.mark.skipif(sys.platform != "linux", reason="reads ELF files")
def test_modules_need_no_openmp_and_no_rpath(installation):
    modules = sorted(installation.package.glob("*.so"))
    assert modules
    for module in modules:
        dynamic = run("readelf", "-dW", module)
        assert "NEEDED" in dynamic
        for word in ("RPATH", "RUNPATH", "gomp", "omp5", "iomp", "libstdc++", "blas"):
            assert word not in dynamic, f"{module.name}: {word}"


def test_find_package(installation, tmp_path):
    project = copy("cmake_find_package", tmp_path)
    directory = f"-Dkexue_DIR={info(installation, 'cmakedir')}"
    check_program(cmake(project, tmp_path / "build", directory))
    assert str(installation.package) in (tmp_path / "build" / "CMakeCache.txt").read_text()


def test_find_package_refuses_another_minor_version(installation, tmp_path):
    project = copy("cmake_find_package", tmp_path)
    lists = project / "CMakeLists.txt"
    lists.write_text(lists.read_text().replace("kexue 0.1 ", "kexue 0.2 "))
    directory = f"-Dkexue_DIR={info(installation, 'cmakedir')}"
    done = subprocess.run(
        ["cmake", "-S", project, "-B", tmp_path / "build", *FAST, directory], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "version: 0.1.0" in done.stderr


def test_scikit_build_core_finds_the_package_by_itself(installation, tmp_path):
    project = copy("cython_core", tmp_path)
    target = tmp_path / "target"
    options = [f"--config-settings=cmake.define.{define}" for define in DEFINES if "BUILD_TYPE" not in define]
    run(
        *(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"),
        *(*options, "--config-settings=cmake.build-type=Debug", "--target", target, project),
        env=installation.environment,
    )
    check_module(
        target,
        installation,
        "assert abs(consumer.emd2(a, b, M) - kexue.emd2(a, b, M)) < 1e-14\n"
        "q = np.empty(4)\n"
        "consumer.to_perplexity(p, perplexity, q)\n"
        "np.testing.assert_allclose(q, kexue.entropy_normalize(p, perplexity, target_kind='perplexity'), rtol=1e-13)\n",
    )


def build_extension(project: Path, installation) -> None:
    # -O0: see FAST; distutils' own options come first.
    environment = installation.environment | {"CFLAGS": "-O0 -w"}
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=project, env=environment)


def test_setuptools(installation, tmp_path):
    project = copy("setuptools_include", tmp_path)
    build_extension(project, installation)
    check_module(
        project,
        installation,
        "assert abs(consumer.emd2(a, b, M) - kexue.emd2(a, b, M)) < 1e-14\n"
        "try:\n"
        "    consumer.emd2(a, b * 2, M)\n"
        "except ValueError as error:\n"
        "    assert 'total' in str(error)\n"
        "else:\n"
        "    raise AssertionError\n",
    )


def test_cython_capi(installation, tmp_path):
    project = copy("cython_capi", tmp_path)
    build_extension(project, installation)
    check_module(
        project,
        installation,
        "assert abs(consumer.emd2(a, b, M) - kexue.emd2(a, b, M)) < 1e-14\n"
        "q = np.empty(4)\n"
        "consumer.to_perplexity(p, perplexity, q)\n"
        "np.testing.assert_allclose(q, kexue.entropy_normalize(p, perplexity, target_kind='perplexity'), rtol=1e-13)\n",
    )


def test_pkg_config(installation, tmp_path):
    project = copy("pkg_config", tmp_path)
    # Without the space in the installation's path, which a shell takes for the end of a word; and under another name.
    moved = shutil.copytree(installation.package, tmp_path / "renamed")
    place = Path(info(installation, "pkgconfigdir")).relative_to(installation.package)
    environment = installation.environment | {"PKG_CONFIG_PATH": str(moved / place), "CFLAGS": "-O0"}
    assert run("pkg-config", "--modversion", "kexue", env=environment).strip() == kexue.__version__
    text = run("sh", "-e", "build.sh", cwd=project, env=environment)
    assert "warning" not in text
    check_program(project / "consumer")


# ---- the library, installed by CMake; the source distribution ----


def test_installed_library(source, tmp_path):
    build, prefix, moved = tmp_path / "build", tmp_path / "prefix", tmp_path / "moved"
    options = ["-DKEXUE_BUILD_TESTS=OFF", "-DCMAKE_INSTALL_LIBDIR=lib/somewhere"]
    run("cmake", "-S", source, "-B", build, *FAST, *options)
    run("cmake", "--build", build)
    run("cmake", "--install", build, "--prefix", prefix)
    prefix.rename(moved)
    shutil.rmtree(build)
    library = moved / "lib/somewhere/libkexue_core.a"
    assert "gnu.lto" not in run("readelf", "-SW", library)

    project = copy("pkg_config", tmp_path)
    environment = {**os.environ, "PKG_CONFIG_PATH": str(moved / "lib/somewhere/pkgconfig")}
    run("sh", "-e", "build_installed.sh", cwd=project, env=environment)
    check_program(project / "consumer")

    project = copy("cmake_find_package", tmp_path)
    check_program(cmake(project, tmp_path / "consumer", f"-Dkexue_DIR={moved}/lib/somewhere/cmake/kexue"))


def test_add_subdirectory_leaves_the_host_alone(source, tmp_path):
    project = copy("cmake_add_subdirectory", tmp_path)
    lists = project / "CMakeLists.txt"
    # A host of its own kind: old C, shared libraries, optimisation across files, errors of what the core is warned of,
    # its own install rules, and every variable that the core might have changed watched.
    host = ["-DCMAKE_C_STANDARD=99", "-DBUILD_SHARED_LIBS=ON", "-DCMAKE_INTERPROCEDURAL_OPTIMIZATION=ON"]
    host += ["-DCMAKE_C_FLAGS=-Werror -Wfloat-equal", "-DCMAKE_COMPILE_WARNING_AS_ERROR=ON"]
    watched = "CMAKE_BUILD_TYPE CMAKE_C_STANDARD CMAKE_C_EXTENSIONS CMAKE_C_VISIBILITY_PRESET CMAKE_C_FLAGS"
    watched += " CMAKE_POSITION_INDEPENDENT_CODE CMAKE_MODULE_PATH CMAKE_INSTALL_LIBDIR BUILD_SHARED_LIBS BUILD_TESTING"
    head, call, tail = lists.read_text().partition("add_subdirectory")
    line, _, tail = tail.partition("\n")
    lists.write_text(
        f"{head}set(watched {watched})\n"
        "foreach(name IN LISTS watched)\n"
        "  set(before_${name} \"${${name}}\")\n"
        "endforeach()\n"
        f"{call}{line}\n"
        "foreach(name IN LISTS watched)\n"
        "  if(NOT \"${before_${name}}\" STREQUAL \"${${name}}\")\n"
        "    message(FATAL_ERROR \"${name} was changed to ${${name}}\")\n"
        "  endif()\n"
        "endforeach()\n"
        f"{tail}install(TARGETS consumer)\n"
    )
    program = cmake(project, tmp_path / "build", f"-DKEXUE_SOURCE={source}", *host, warns=True)
    check_program(program)
    cache = (tmp_path / "build" / "CMakeCache.txt").read_text()
    assert "KEXUE_INSTALL:BOOL=OFF" in cache
    assert "KEXUE_WERROR:BOOL=OFF" in cache
    assert "KEXUE_BUILD_TESTS:BOOL=ON" not in cache
    run("cmake", "--install", tmp_path / "build", "--prefix", tmp_path / "prefix")
    assert [path.name for path in (tmp_path / "prefix").rglob("*") if path.is_file()] == ["consumer"]


def test_fetch_content(sdist, tmp_path):
    project = copy("cmake_fetch_content", tmp_path)
    check_program(cmake(project, tmp_path / "build", f"-DKEXUE_ARCHIVE={sdist}"))


def test_source_distribution(source):
    tree = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    tracked = {"CMakeLists.txt", "pyproject.toml", "LICENSE", "README.md", "PKG-INFO", "cmake/kexue.pc.in"}
    tracked |= {path.relative_to(ROOT).as_posix() for path in (ROOT / "src").rglob("*") if path.is_file()}
    assert tracked <= tree
    for path in tree:
        assert path.partition("/")[0] not in {".ci", ".git", "build", "dist", ".venv"}, path
        assert not path.endswith((".so", ".a", ".o", ".pyc", ".whl")), path
        assert not path.startswith(("python/kexue/include/", "python/kexue/source/", "python/kexue/lib/")), path


# ---- the guide ----


def test_the_guide_shows_these_very_files():
    guide = (ROOT / "docs" / "vendoring.md").read_text(encoding="utf-8")
    shown = re.findall(r"^<!-- (\S+) -->\n```\w+\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    for name, text in shown:
        assert text == (HERE / name).read_text(encoding="utf-8"), name
    files = {path.relative_to(HERE).as_posix() for path in HERE.glob("*/*") if path.parent.name != "__pycache__"}
    assert files | {"program.c"} == {name for name, _ in shown}
