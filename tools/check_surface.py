"""Fails where the layers of the source tree are broken: who may include or import what, and export what.

    python tools/check_surface.py [FOLDER_WITH_BUILT_MODULES ...]

kernels -> isa, runtime -> the C library. Cython -> the core, NumPy's C API, scipy.linalg.cython_blas. Python
-> Cython, NumPy, SciPy; optional packages inside functions only. sklearn/, dask/, torch.py, compat/,
plot.py -> the public API only. A built extension module exports PyInit_<module> and nothing else.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

C_STANDARD = {
    f"{name}.h"
    for name in "assert complex ctype errno fenv float inttypes limits locale math setjmp signal stdalign "
    "stdarg stdatomic stdbool stddef stdint stdio stdlib string time".split()
}
PLATFORM = {
    f"{name}.h" for name in "arm_neon cpuid immintrin intrin malloc pthread sched unistd windows".split()
} | {"atomic"}  # C++'s, for the amalgamation compiled as that
# layer -> (headers in <>, folders it may include from)
C_LAYERS = {
    "include": (C_STANDARD, {"kexue"}),
    "runtime": (C_STANDARD | PLATFORM, {"kexue", "runtime", "isa"}),
    "isa": (C_STANDARD | PLATFORM, {"kexue", "runtime", "isa"}),
    "kernels": (C_STANDARD, {"kexue", "runtime", "isa", "kernels"}),
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?:<([^>]+)>|"([^"]+)")', re.MULTILINE)
OPENMP = re.compile(r"^[ \t]*#[ \t]*pragma[ \t]+omp\b", re.MULTILINE)

CIMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+cimport\b|cimport[ \t]+([\w.]+))", re.MULTILINE)
CYTHON_IMPORT = re.compile(r"^(?:from[ \t]+([\w.]+)[ \t]+import\b|import[ \t]+([\w.]+))", re.MULTILINE)
CIMPORT_ROOTS = {"cpython", "cython", "kexue", "libc", "numpy"}
CIMPORT_EXACT = {"scipy.linalg.cython_blas"}

REQUIRED = {"kexue", "numpy", "scipy"} | sys.stdlib_module_names
OPTIONAL = set("dask distributed gensim matplotlib ot safetensors sklearn threadpoolctl torch tqdm".split())
ADAPTERS = {"sklearn", "dask", "torch", "compat", "plot"}


def line_of(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def check_c(core: Path) -> Iterator[str]:
    for layer, (system, folders) in C_LAYERS.items():
        for path in sorted([*(core / layer).rglob("*.c"), *(core / layer).rglob("*.h")]):
            text = path.read_text()
            for match in INCLUDE.finditer(text):
                where = f"{path}:{line_of(text, match.start())}"
                if match[1]:
                    if match[1] not in system:
                        yield f"{where}: {layer} includes <{match[1]}>"
                elif "/" in match[2]:
                    if match[2].partition("/")[0] not in folders:
                        yield f'{where}: {layer} includes "{match[2]}"'
                elif not (path.parent / match[2]).exists():
                    yield f'{where}: "{match[2]}" is not next to the file that includes it'
            for match in OPENMP.finditer(text):
                yield f"{path}:{line_of(text, match.start())}: OpenMP"


def check_cython(folder: Path) -> Iterator[str]:
    for path in sorted([*folder.rglob("*.pyx"), *folder.rglob("*.pxd")]):
        text = path.read_text()
        for match in CIMPORT.finditer(text):
            name = match[1] or match[2]
            if name not in CIMPORT_EXACT and name.partition(".")[0] not in CIMPORT_ROOTS:
                yield f"{path}:{line_of(text, match.start())}: cimports {name}"
        for match in CYTHON_IMPORT.finditer(text):
            name = match[1] or match[2]
            if name.partition(".")[0] not in REQUIRED - {"scipy"}:
                yield f"{path}:{line_of(text, match.start())}: imports {name}"


def imports(tree: ast.AST, inside_function: bool = False) -> Iterator[tuple[int, str, bool]]:
    """Line, module and whether it is inside a function, for every import that runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, inside_function
        elif isinstance(node, ast.ImportFrom):
            module = "kexue." * (node.level > 0) + (node.module or "")
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}", inside_function
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                yield from imports(child, inside_function)
        else:
            function = isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from imports(node, inside_function or function)


def check_python(package: Path) -> Iterator[str]:
    for path in sorted(package.rglob("*.py")):
        top = path.relative_to(package).parts[0].removesuffix(".py")
        # kexue._plot_attention is a part of kexue.plot, for which the same holds.
        adapter = next((name for name in ADAPTERS if top == name or top.startswith(f"_{name}_")), None)
        for line, name, inside_function in imports(ast.parse(path.read_text())):
            root = name.partition(".")[0]
            # An estimator inherits from scikit-learn's classes; kexue.sklearn is imported by who asks for it.
            own = adapter and root == top
            if root not in REQUIRED and not (root in OPTIONAL and (inside_function or own)):
                yield f"{path}:{line}: imports {name}" + (" at module level" if root in OPTIONAL else "")
            elif adapter and name.startswith("kexue._") and not name.startswith(f"kexue._{adapter}_"):
                yield f"{path}:{line}: {name} is not public"


def check_exports(folder: Path) -> Iterator[str]:
    flags = ["-gU"] if sys.platform == "darwin" else ["-D", "--defined-only"]
    modules = [path for path in sorted(folder.rglob("*")) if path.name.endswith(tuple(EXTENSION_SUFFIXES))]
    if not modules:
        yield f"{folder}: no extension modules"
    for path in modules:
        listing = subprocess.run(["nm", *flags, path], check=True, capture_output=True, text=True).stdout
        wanted = f"PyInit_{path.name.partition('.')[0]}"
        for line in listing.splitlines():
            name = line.split()[-1].removeprefix("_" if sys.platform == "darwin" else "")
            if name != wanted:
                yield f"{path}: exports {name}"


def main(folders: list[str]) -> int:
    core = ROOT / "src" / "_core"
    problems = [*check_c(core), *check_cython(core / "cython"), *check_python(ROOT / "python" / "kexue")]
    for folder in folders:
        problems += check_exports(Path(folder))
    for problem in problems:
        print(problem.replace(f"{ROOT}/", ""))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
