"""The examples of the gallery run as programs, and each draws something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

GALLERY = Path(__file__).parents[2] / "examples" / "gallery"
EXAMPLES = sorted(GALLERY.glob("plot_*.py"))
# What the build of the site does: run the example, and keep what it has drawn.
RUN = """
import runpy, sys, warnings
warnings.simplefilter("error")
from matplotlib import pyplot
runpy.run_path(sys.argv[1], run_name="__main__")
figures = [pyplot.figure(number) for number in pyplot.get_fignums()]
assert figures
for figure in figures:
    figure.canvas.draw()
    assert all(axes.has_data() for axes in figure.axes if axes.get_visible()), "an empty picture"
"""


def test_there_are_examples():
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path):
    # One thread each: the arrays are small, and other tests may run at the same time.
    one_thread = {"KEXUE_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", RUN, path],
        env={**os.environ, **one_thread, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_text(path):
    """Each has a title, says what is computed by which formula, and has no source of chance but a seed."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith('r"""\n')
    title, underline = text.split("\n")[1:3]
    assert underline == "=" * len(title)
    assert ":math:`" in text or ".. math::" in text or path.stem == "plot_word_movers"
    assert "default_rng()" not in text and "np.random.rand" not in text
