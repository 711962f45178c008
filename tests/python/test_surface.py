"""The layers hold, and every public name has a docstring, a test, a bench and a page."""

import ast
import dataclasses
import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import numpy as np
import pytest

import kexue
import kexue.ufuncs

ROOT = Path(__file__).parents[2]
CHECK_SURFACE = ROOT / "tools" / "check_surface.py"
# What has nothing to measure.
UNMEASURED = {
    **dict.fromkeys(["errstate", "get_include", "get_num_threads", "show_config", "threads"], "steers the others"),
    # Their methods are measured under the names of the functions that make them.
    "BoltzmannStep": "boltzmann_step",
    "GaussianMixtureProposal": "gaussian_mixture_proposal",
    "NormalizedActivation": "normalized_activation",
    "RandomAngle": "random_angle",
    **dict.fromkeys(["ConvergenceWarning", "InternalError", "KexueValueError", "compat.pot.InputError"], "is raised"),
    "compat.pot.OTResult": "what compat.pot.solve returns",
    "sklearn.AnalyticLogisticRegression": "is AnalyticLogisticRegression",
}


def test_layers_and_exported_symbols():
    built = Path(kexue._context.__file__).parent
    done = subprocess.run([sys.executable, CHECK_SURFACE, built], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def check_surface():
    spec = importlib.util.spec_from_file_location("check_surface", CHECK_SURFACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("kernels/a.c", "#include <Python.h>\n", "kernels includes <Python.h>"),
        ("kernels/a.c", "  #  include <cblas.h>\n", "kernels includes <cblas.h>"),
        ("kernels/a.c", "#include <omp.h>\n", "kernels includes <omp.h>"),
        ("kernels/a.c", "#pragma omp parallel\n", "OpenMP"),
        ("kernels/a.c", '#include "numpy/arrayobject.h"\n', "numpy/arrayobject.h"),
        ("kernels/a.c", "#include <pthread.h>\n", "kernels includes <pthread.h>"),
        ("runtime/a.c", '#include "kernels/b.h"\n', "runtime includes"),
        ("include/kexue/a.h", '#include "runtime/memory.h"\n', "include includes"),
        ("include/kexue/a.h", '#include "missing.h"\n', "missing.h"),
        ("cython/a.pyx", "from scipy.special.cython_special cimport gamma\n", "cimports scipy.special"),
        ("cython/a.pyx", "import scipy\n", "imports scipy"),
        ("package/a.py", "import tqdm\n", "imports tqdm at module level"),
        ("package/a.py", "class A:\n    import gensim\n", "imports gensim at module level"),
        ("package/a.py", "def f():\n    import pandas\n", "imports pandas"),
        ("package/torch.py", "from kexue._context import cpu_count\n", "is not public"),
        ("package/_plot_lines.py", "from kexue._context import cpu_count\n", "is not public"),
    ],
)
def test_a_broken_layer_is_found(path, text, complaint, check_surface, tmp_path):
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text(text)
    problems = [
        *check_surface.check_c(tmp_path),
        *check_surface.check_cython(tmp_path / "cython"),
        *check_surface.check_python(tmp_path / "package"),
    ]
    assert len(problems) == 1
    assert complaint in problems[0]


def test_what_is_allowed_passes(check_surface, tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text(
        "import os\nimport numpy.linalg\nfrom scipy import sparse\nfrom ._b import c\n"
        "def f():\n    import tqdm\n"
        "if TYPE_CHECKING:\n    import torch\n"
    )
    (package / "plot.py").write_text("from kexue._plot_lines import lines\n")
    cython = tmp_path / "cython"
    cython.mkdir()
    (cython / "a.pyx").write_text(
        "cimport numpy as cnp\nfrom scipy.linalg.cython_blas cimport dgemm\nimport operator\n"
    )
    assert [*check_surface.check_python(package), *check_surface.check_cython(cython)] == []


def test_exports_are_found(check_surface, tmp_path):
    assert "no extension modules" in next(check_surface.check_exports(tmp_path))
    library = Path(np._core._multiarray_umath.__file__)
    (tmp_path / f"_other{library.name[library.name.index('.') :]}").symlink_to(library)
    assert any("exports PyInit__multiarray_umath" in problem for problem in check_surface.check_exports(tmp_path))


# ---- completeness ----


def existing_names():
    return [name for name in sorted(kexue._HOME) if importlib.util.find_spec(f"kexue.{kexue._HOME[name]}")]


def functions():
    return [name for name in existing_names() if callable(getattr(kexue, name))]


@cache
def text_of(folder, pattern):
    return "\n".join(path.read_text() for path in sorted((ROOT / folder).rglob(pattern)) if path != Path(__file__))


def mentions(name, folder, pattern):
    return re.search(rf"\b{name}\b", text_of(folder, pattern)) is not None


def test_all_is_complete():
    assert kexue.__all__ == sorted(set(kexue._HOME) - set(kexue._NAMES["sklearn"]))
    for module in set(kexue._MODULES) - {"compat", "dask", "plot", "sklearn", "torch", "ufuncs"}:
        if importlib.util.find_spec(f"kexue.{module}"):
            assert set(importlib.import_module(f"kexue.{module}").__all__) == set(kexue._NAMES[module])
    # The function has the name of its family's module, which is imported by that name all the same.
    assert isinstance(kexue.entropy, np.ufunc)


def test_ufuncs_lists_every_ufunc():
    every = {name for name, value in vars(kexue._ufuncs).items() if isinstance(value, np.ufunc)}
    assert all(getattr(kexue.ufuncs, name) is getattr(kexue._ufuncs, name) for name in every)  # as pickle needs it
    compiled = {name for name in every if not name.startswith("_")}
    assert set(kexue.ufuncs.__all__) == compiled
    public = {name for name in existing_names() if isinstance(getattr(kexue, name), np.ufunc)}
    # kexue.smooth_relu and its sisters choose among the ufuncs of their kernels; kexue.gaussian_kl, of their forms;
    # kexue.fwht checks lengths.
    assert public == {name for name in compiled if not name.startswith(("fwht", "gaussian_", "smooth_"))}


def names_in_stub(path):
    """What a stub declares; classes of its own and aliases, _CamelCase, are for type checkers alone."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names = [node.name]
        elif isinstance(node, ast.AnnAssign):
            names = [node.target.id]
        elif isinstance(node, ast.ImportFrom):
            names = [alias.asname for alias in node.names if alias.asname]
        else:
            names = []
        yield from (name for name in names if not re.match("_[A-Z].*[a-z]", name))


@pytest.mark.parametrize("stub", sorted(path.stem for path in Path(kexue.__file__).parent.glob("*.pyi")))
def test_stubs_name_what_exists(stub):
    declared = set(names_in_stub(Path(kexue.__file__).parent / f"{stub}.pyi"))
    if stub == "__init__":
        assert declared == {*kexue._HOME, *kexue._MODULES}
    elif stub == "ufuncs":
        assert declared == set(kexue.ufuncs.__all__)
    else:
        module = importlib.import_module(f"kexue.{stub}")
        # What a compiled module merely imported has another __module__, or is a module.
        own = (module.__name__, "kexue.ufuncs")
        public = {
            name
            for name, value in vars(module).items()
            if not name.startswith("__")
            and not inspect.ismodule(value)
            and getattr(value, "__module__", module.__name__) in own
        }
        assert declared - {"__version__"} == public


def test_every_compiled_module_has_a_stub():
    folder = Path(kexue.__file__).parent
    compiled = {path.name.partition(".")[0] for suffix in EXTENSION_SUFFIXES for path in folder.glob(f"*{suffix}")}
    assert compiled
    assert compiled <= {path.stem for path in folder.glob("*.pyi")}


@pytest.mark.parametrize("name", functions())
def test_docstring(name):
    item = getattr(kexue, name)
    doc = item.__doc__
    sections = set(re.findall(r"^ *(\w[\w ]*)\n *-{3,}$", inspect.cleandoc(doc), re.MULTILINE))
    wanted = {"Examples"}
    if isinstance(item, np.ufunc):
        wanted |= {"Parameters", "Returns", "References"}
    elif not inspect.isclass(item):
        signature = inspect.signature(item)
        wanted |= {"Parameters"} if signature.parameters else set()
        wanted |= set() if str(signature.return_annotation) in ("None", "Iterator[None]") else {"Returns"}
        assert signature.return_annotation is not inspect.Signature.empty
        assert all(p.annotation is not inspect.Parameter.empty for p in signature.parameters.values())
    assert wanted <= sections
    assert ">>> " in doc


@pytest.mark.parametrize("name", existing_names())
def test_has_a_test(name):
    assert mentions(name, "tests/python", "test_*.py")


@pytest.mark.parametrize("name", existing_names())
def test_has_a_page(name):
    assert name == "__version__" or mentions(name, "docs", "*.md")


def is_a_result(item):
    """Whether a class only carries what a function returns: it is measured with the function."""
    return dataclasses.is_dataclass(item) and not any(
        callable(value) for name, value in vars(item).items() if not name.startswith("_") or name == "__call__"
    )


def names_of(module):
    """`__all__` of a submodule, from its text: the package that it is made for may be missing."""
    path = Path(kexue.__file__).parent / module.replace(".", "/")
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no __all__")


def measured_names():
    """All public functions, and classes that do work; but not kexue.plot, whose time is matplotlib's."""
    names = [name for name in functions() if not is_a_result(getattr(kexue, name))]
    for module in ("compat.gensim", "compat.pot", "compat.scipy", "dask", "sklearn", "torch"):
        names += [f"{module}.{name}" for name in names_of(module)]
    return [name for name in names if name not in UNMEASURED]


@cache
def bench_cases():
    """The ids of the cases of `pytest bench`, as (name of the function without "bench_", ids of its parameters)."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "bench", "--collect-only", "-q", "-p", "no:cacheprovider"),
            *("-o", "addopts=", "-o", "filterwarnings=default"),  # what peers warn of when they are imported is theirs
        ],
        capture_output=True, text=True, timeout=300, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    cases = re.findall(r"^\S+\.py::bench_(\w+)(?:\[(.*)\])?$", done.stdout, re.MULTILINE)
    return [(function, parameters.split("-")) for function, parameters in cases]


def measured_by(function, parameters, names):
    """The public name that a case measures: one of its parameters, or the longest that its function begins with."""
    told = [parameter for parameter in parameters if parameter in names]
    if not told:
        told = [name for name in names if f"{function}_".startswith(f"{name.replace('.', '_')}_")]
    return max(told, key=len, default=None)


def test_every_bench_tells_what_it_measures():
    names = set(measured_names())
    assert [case for case in bench_cases() if measured_by(*case, names) is None] == []


def test_everything_is_measured():
    names = set(measured_names())
    assert names - {measured_by(*case, names) for case in bench_cases()} == set()


def test_a_workload_is_named_after_what_it_measures():
    code = """if True:
        from workloads import Workload
        for name in ("emd2, batch", "softmax out=", "random_angle(9).pdf", "DocumentIndex.fit, 9", "kexue.torch.emd2"):
            print(Workload(name, {}).function)
        for name in ("top 10 of 9", "", ", 3"):
            try:
                Workload(name, {})
            except ValueError as error:
                print(error)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=ROOT / "bench")
    assert done.stdout.splitlines() == [
        *("emd2", "softmax", "random_angle", "DocumentIndex.fit", "torch.emd2"),
        "name must begin with a public name of kexue, got 'top 10 of 9'",
        "name must begin with a public name of kexue, got ''",
        "name must begin with a public name of kexue, got ', 3'",
    ], done.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "bench").glob("bench_*.py")), ids=lambda path: path.stem)
def test_benches_compare(path):
    """A bench hands a workload to `measure`, which compares results, and times nothing itself."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("bench_"):
            arguments = {argument.arg for argument in node.args.args}
            assert {"measure", "side"} <= arguments and "benchmark" not in arguments, node.name
