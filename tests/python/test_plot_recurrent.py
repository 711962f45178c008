"""The picture of gradients through time: lines are the logarithms, bad arguments draw nothing."""

import numpy as np
import pytest

import kexue
from kexue import KexueValueError, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib.figure import Figure  # noqa: E402

J = np.random.default_rng(0).normal(size=(5, 30, 3, 3))


def draw(*arguments, **options):
    axes = Figure(layout="constrained").subplots()
    assert plot.gradient_norms(*arguments, ax=axes, **options) is axes
    axes.figure.canvas.draw()
    return axes


@pytest.mark.parametrize("norm", ["spectral", "frobenius"])
def test_lines_are_backward_norms(norm):
    axes = draw({"one": J[0], "many": J}, norm=norm)
    logs = kexue.jacobian_product_log_norms(J, norm=norm, direction="backward")
    for line, wanted in zip(axes.lines, (logs[0], np.median(logs, axis=0)), strict=False):
        np.testing.assert_array_equal(line.get_xdata(), np.arange(30))
        np.testing.assert_allclose(line.get_ydata(), wanted, rtol=1e-14)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["one", "many"]
    (band,) = axes.collections
    low, high = np.quantile(logs, [0.1, 0.9], axis=0)
    heights = band.get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(low.min())
    assert heights.max() == pytest.approx(high.max())


def test_one_network_needs_no_legend():
    axes = draw(J, band=0)
    assert axes.get_legend() is None
    assert not axes.collections


def test_a_product_that_is_zero_leaves_a_gap():
    jacobians = J[0].copy()
    jacobians[10] = 0
    y = draw(jacobians).lines[0].get_ydata()
    assert np.isnan(y[:11]).all()
    assert np.isfinite(y[11:]).all()


@pytest.mark.parametrize(
    ("arguments", "options", "text"),
    [
        ((np.ones((2, 2)),), {}, "jacobians must have shape"),
        ((J[:0],), {}, "at least one sequence"),
        ((J[:, :0],), {}, "at least one sequence"),
        (({},), {}, "jacobians is empty"),
        ((J,), {"band": 2}, "band must be from 0 to 1"),
        ((J,), {"norm": "nuclear"}, "norm must be"),
    ],
)
def test_bad_arguments_draw_nothing(arguments, options, text):
    axes = Figure().subplots()
    with pytest.raises(KexueValueError, match=text):
        plot.gradient_norms(*arguments, ax=axes, **options)
    assert not axes.lines


def test_a_new_figure():
    from matplotlib import pyplot

    axes = plot.gradient_norms(J)
    pyplot.close(axes.figure)
    assert len(axes.lines) == 2
