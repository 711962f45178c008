import os
import pickle
import subprocess
import sys
import sysconfig

import pytest

import kexue

HEAVY = ["scipy", "tqdm", "gensim", "matplotlib", "sklearn", "torch", "dask", "ot", "threadpoolctl"]


def modules_after(code):
    command = [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.split()}


@pytest.mark.parametrize(
    "code",
    [
        "import kexue",
        "import kexue; kexue.squareplus(1.0, 1.0)",
        "import kexue.attention, kexue.initialization, kexue.gradients",
        "import kexue; kexue.layer_norm([1.0, 2.0]), kexue.attention([[1.0]], [[1.0]], [[1.0]])",
        "import kexue; [getattr(kexue, name) for name in kexue.__all__]",
        "import kexue; kexue.emd2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]])",
        "import kexue; kexue.sinkhorn2([0.5, 0.5], [0.5, 0.5], [[0.0, 1.0], [1.0, 0.0]], 0.1)",
        "import kexue; kexue.wmd([[0.0, 1.0]], [[1.0, 0.0]]), kexue.wrd([[0.0, 1.0]], [[1.0, 0.0]])",
        "import kexue; kexue.softmax([0.0, 1.0]), kexue.entropy_normalize([0.2, 0.8], 0.3)",
        "import kexue; points = [[0.0], [1.0], [2.0], [4.0]]; kexue.hsic(points, points), kexue.cka(points, points)",
        "import kexue; kexue.gaussian_w2([0.0], [[1.0]], [1.0], [[2.0]]), kexue.zlpr_loss([0.1, 0.2], [0, 1])",
        "import kexue; kexue.random_projection([[1.0, 2.0]], 1, rng=0), kexue.sign_hash([[1.0, 2.0]], 8, rng=0)",
    ],
)
def test_nothing_heavy_is_imported(code):
    assert modules_after(code).isdisjoint(HEAVY)


def test_import_alone_does_not_load_numpy():
    assert "numpy" not in modules_after("import kexue")


def test_unknown_names():
    with pytest.raises(AttributeError, match="module 'kexue' has no attribute 'nothing'"):
        kexue.nothing  # noqa: B018
    with pytest.raises(ImportError):
        from kexue import nothing  # noqa: F401


def test_dir_lists_everything():
    assert set(kexue.__all__) <= set(dir(kexue))
    assert "ufuncs" in dir(kexue)


def test_submodules_are_attributes():
    code = "import kexue; assert kexue.ufuncs.squareplus is kexue.activations.squareplus is kexue.squareplus"
    modules_after(code)


def test_pickle_in_a_fresh_process():
    stored = pickle.dumps(kexue.squareplus)
    modules_after(f"import pickle; assert pickle.loads({stored!r})(0.0, 4.0) == 1.0")


@pytest.mark.skipif(not sysconfig.get_config_var("Py_GIL_DISABLED"), reason="needs a free-threaded Python")
def test_no_compiled_module_turns_the_lock_on():
    code = """
import importlib, importlib.machinery, pkgutil, sys
import kexue
suffixes = tuple(importlib.machinery.EXTENSION_SUFFIXES)
names = [module.name for module in pkgutil.iter_modules(kexue.__path__)
         if module.module_finder.find_spec(module.name).origin.endswith(suffixes)]
for name in names:
    importlib.import_module(f"kexue.{name}")
print(len(names) > 0, sys._is_gil_enabled())
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHON_GIL"}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["True", "False"], done.stderr
