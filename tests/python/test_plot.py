"""Pictures: what is drawn is the plan, labels can be read, bad arguments draw nothing."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import warnings
import xml.etree.ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import sparse

import kexue
from kexue import KexueValueError, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import font_manager, pyplot  # noqa: E402
from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

PLAN = np.array([[0.3, 0.0, 0.1], [0.0, 0.4, 0.2]])
COST = np.array([[0.0, 5.0, 2.0], [np.inf, 1.0, 3.0]])


def draw(*arguments, **options):
    axes = Figure(figsize=(10, 5), layout="constrained").subplots()
    assert plot.transport(*arguments, ax=axes, **options) is axes
    return axes


def bands(axes):
    """Upper edge at the left, upper edge at the right, and width, of each band."""
    found = []
    for path in axes.collections[0].get_paths():
        x, y = path.vertices.T
        assert x[0] == x[7] < x[3] == x[4]
        assert y[7] - y[0] == pytest.approx(y[4] - y[3], abs=1e-12)
        found.append((y[0], y[3], y[7] - y[0]))
    return np.array(found).reshape(-1, 3)


def bars(axes, side):
    """Top and height of each bar of a column."""
    return np.array([(bar.get_y(), bar.get_height()) for bar in axes.containers[side]])


def shown_labels(axes, side):
    align = ("right", "left")[side]
    return [text.get_text() for text in axes.texts if text.get_ha() == align]


def from_top(axes, side):
    return [shown_labels(axes, side)[k] for k in np.argsort(bars(axes, side)[:, 0])]


def crossings(axes):
    left, right, width = bands(axes).T
    crossed = (left[:, None] - left) * (right[:, None] - right) < 0
    return (np.outer(width, width) * crossed).sum() / 2


def drawn_plan(axes, shape):
    """The plan that can be read off the picture: which bars a band joins, and its width."""
    plan = np.zeros(shape)
    left, right, width = bands(axes).T
    where = []
    for side, edge in enumerate((left, right)):
        tops, heights = bars(axes, side).T
        middle = edge + width / 2
        inside = (tops < middle[:, None]) & (middle[:, None] < tops + heights)
        assert (inside.sum(axis=1) == 1).all()
        where.append(inside.argmax(axis=1))
    np.add.at(plan, tuple(where), width)
    return plan


plans = hnp.arrays(
    np.float64, st.tuples(st.integers(1, 7), st.integers(1, 7)), elements=st.integers(0, 9).map(float)
).filter(lambda plan: plan.any(axis=0).all() and plan.any(axis=1).all())


class TestPicture:
    @given(plans, st.booleans())
    @settings(deadline=None, max_examples=40)
    def test_is_the_plan(self, plan, sort):
        axes = draw(plan, threshold=0, sort=sort)
        np.testing.assert_allclose(drawn_plan(axes, plan.shape), plan / plan.sum(), atol=1e-12)
        for side in (0, 1):
            tops, heights = bars(axes, side).T
            np.testing.assert_allclose(heights, plan.sum(axis=1 - side) / plan.sum())
            order = np.argsort(tops)
            assert (tops[order][1:] > (tops + heights)[order][:-1]).all()
            assert tops.min() >= 0
            assert (tops + heights).max() <= axes.get_ylim()[0]

    @given(plans)
    @settings(deadline=None, max_examples=40)
    def test_bands_in_a_bar_do_not_overlap(self, plan):
        left, right, width = bands(draw(plan, threshold=0)).T
        for edge in (left, right):
            order = np.argsort(edge)
            assert (edge[order][1:] >= (edge + width)[order][:-1] - 1e-12).all()

    @given(plans)
    @settings(deadline=None, max_examples=40)
    def test_sorting_never_adds_crossings(self, plan):
        assert crossings(draw(plan, threshold=0)) <= crossings(draw(plan, threshold=0, sort=False)) + 1e-12

    def test_a_permutation_is_untangled(self, rng):
        plan = np.eye(40)[rng.permutation(40)]
        assert crossings(draw(plan, sort=False)) > 0
        assert crossings(draw(plan)) == 0

    def test_order_of_the_rows_is_kept_on_demand(self):
        axes = draw(np.eye(3)[::-1], list("abc"), list("xyz"), sort=False)
        assert (from_top(axes, 0), from_top(axes, 1)) == (list("abc"), list("xyz"))
        axes = draw(np.eye(3)[::-1], list("abc"), list("xyz"))
        pairs = set(zip(from_top(axes, 0), from_top(axes, 1), strict=True))
        assert pairs == {("a", "z"), ("b", "y"), ("c", "x")}

    def test_total_need_not_be_one(self):
        for factor in (7.0, 1e-300, 1e308):
            axes = draw(PLAN * factor)
            assert bands(axes)[:, 2].sum() == pytest.approx(1)
            np.testing.assert_allclose(drawn_plan(axes, PLAN.shape), PLAN, atol=1e-12)

    @pytest.mark.parametrize("kind", [sparse.csr_array, sparse.coo_array, sparse.csc_matrix])
    def test_sparse(self, kind):
        expected, found = draw(PLAN, cost=COST), draw(kind(PLAN), cost=COST)
        np.testing.assert_array_equal(bands(found), bands(expected))
        np.testing.assert_array_equal(found.collections[0].get_array(), expected.collections[0].get_array())

    def test_sparse_duplicates_are_added_and_the_plan_is_not_changed(self):
        twice = sparse.coo_array(([0.25, 0.25, 0.5], ([0, 0, 1], [0, 0, 1])), shape=(2, 2))
        assert sorted(bands(draw(twice))[:, 2]) == [0.5, 0.5]
        assert twice.nnz == 3

    def test_plans_of_the_solvers(self, rng):
        costs = rng.random((8, 6))
        result = kexue.solve(costs)
        for plan in (result.plan, result.sparse_plan, kexue.emd(None, None, costs)):
            axes = draw(plan, cost=costs, threshold=0)
            widths, colors = bands(axes)[:, 2], axes.collections[0].get_array()
            assert widths @ colors == pytest.approx(result.value)

    def test_layouts(self, layout, untouched, dtype):
        plan = layout(PLAN.astype(dtype))
        cost = layout(COST.astype(dtype))
        with untouched(plan, cost):
            axes = draw(plan, cost=cost)
        np.testing.assert_allclose(drawn_plan(axes, PLAN.shape), PLAN, atol=1e-7)

    def test_words_without_mass_are_left_out(self):
        axes = draw([[0, 0, 0], [0, 2, 0]], ["a", "b"], ["x", "y", "z"], cost=[[np.inf] * 3, [0, 1, 2]])
        assert (shown_labels(axes, 0), shown_labels(axes, 1)) == (["b"], ["y"])

    def test_threshold(self):
        plan = np.diag([0.5, 0.3, 0.2]) * 10
        axes = draw(plan, threshold=0.2)
        assert len(bands(axes)) == 3
        assert not [text for text in axes.texts if "not shown" in text.get_text()]
        axes = draw(plan, threshold=0.25)
        assert sorted(bands(axes)[:, 2]) == pytest.approx([0.3, 0.5])
        assert len(shown_labels(axes, 0)) == 3
        assert axes.texts[-1].get_text() == "not shown: small moves of 20.0% of the mass"
        axes = draw(plan, cost=plan, threshold=0.6)
        assert len(bands(axes)) == 0
        axes.figure.savefig(io.BytesIO(), format="svg")


class TestColors:
    def test_cost(self):
        axes = draw(PLAN, cost=COST, cmap="viridis", cost_label="distance")
        (collection,) = axes.collections
        by_width = dict(zip(bands(axes)[:, 2].round(6), collection.get_array(), strict=True))
        assert by_width == {0.3: 0, 0.1: 2, 0.4: 1, 0.2: 3}
        assert collection.get_clim() == (0, 3)
        assert collection.get_cmap().name == "viridis"
        assert collection.colorbar.ax.get_xlabel() == "distance"

    def test_largest_are_behind(self):
        widths = bands(draw(PLAN))[:, 2]
        assert list(widths) == sorted(widths, reverse=True)

    @pytest.mark.parametrize(("cost", "limits"), [(0.0, (0, 1)), (-2.0, (-2, -1)), (4.0, (0, 4))])
    def test_equal_costs(self, cost, limits):
        assert draw(PLAN, cost=np.full(PLAN.shape, cost)).collections[0].get_clim() == limits

    def test_without_colour_bar(self):
        axes = draw(PLAN, cost=COST, cost_label=None)
        assert axes.figure.axes == [axes]
        assert axes.collections[0].get_array() is not None

    def test_without_cost(self):
        axes = draw(PLAN, sort=False)
        assert axes.figure.axes == [axes]
        by_width = dict(zip(bands(axes)[:, 2].round(6), map(tuple, axes.collections[0].get_facecolor()), strict=True))
        assert by_width[0.3] == by_width[0.1] != by_width[0.4] == by_width[0.2]


class TestLabels:
    def test_default(self):
        axes = draw(PLAN)
        assert (shown_labels(axes, 0), shown_labels(axes, 1)) == (["0", "1"], ["0", "1", "2"])

    @pytest.mark.parametrize("words", [5, 60])
    @pytest.mark.parametrize("sizes", ["equal", "zipf"])
    def test_can_be_read(self, words, sizes, rng):
        weights = np.ones(words) if sizes == "equal" else 1 / np.arange(1.0, words + 1)
        weights /= weights.sum()
        costs = rng.random((words, words))
        names = [f"word{number}" * (1 + number % 4) for number in range(words)]
        figure = Figure(figsize=plot.figure_size(names, names), layout="constrained")
        axes = plot.transport(kexue.emd(weights, weights, costs), names, names, cost=costs, ax=figure.subplots())
        axes.set_title("title")
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        for side in (0, 1):
            texts = [text for text in axes.texts if text.get_ha() == ("right", "left")[side]]
            assert len(texts) == words
            assert all(text.get_fontsize() >= 7 for text in texts)
            boxes = sorted((text.get_window_extent() for text in texts), key=lambda box: box.y0)
            assert all(lower.y1 <= upper.y0 for lower, upper in zip(boxes, boxes[1:], strict=False))
            assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
            assert all(figure.bbox.y0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes)

    def test_are_literal_and_cut(self):
        labels = ["$x$ $\\frac", "a\x07\n\ud800b", "w" * 31, 7]
        axes = draw(np.eye(4), labels, ["_", "%", "w" * 30, ""], sort=False)
        assert shown_labels(axes, 0) == ["$x$ $\\frac", "a   b", "w" * 29 + "…", "7"]
        assert shown_labels(axes, 1) == ["_", "%", "w" * 30, ""]
        file = io.BytesIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):
            axes.figure.savefig(file, format="svg")
        texts = xml.etree.ElementTree.fromstring(file.getvalue()).iter("{http://www.w3.org/2000/svg}text")
        assert "$x$ $\\frac" in {text.text for text in texts}

    @pytest.mark.parametrize("form", ["png", "svg", "pdf"])
    def test_chinese(self, form):
        axes = draw(PLAN, ["科学", "空间"], ["猫", "牛奶", "naïve"], cost=COST)
        assert shown_labels(axes, 0) == ["科学", "空间"]
        file = io.BytesIO()
        with warnings.catch_warnings():
            # A machine without such fonts shows boxes.
            warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
            axes.figure.savefig(file, format=form)
        assert len(file.getvalue()) > 1000

    def test_installed_east_asian_font_is_used(self, monkeypatch):
        installed = ["SimHei", "DejaVu Sans", "Noto Sans CJK SC"]
        monkeypatch.setattr(font_manager.fontManager, "get_font_names", lambda: installed)
        text = draw(PLAN, ["科学", "b"]).texts[0]
        assert text.get_fontfamily() == [*matplotlib.rcParams["font.family"], "Noto Sans CJK SC", "SimHei"]
        assert draw(PLAN, ["é", "b"]).texts[0].get_fontfamily() == matplotlib.rcParams["font.family"]


class TestFigure:
    def test_own_figure(self):
        before = pyplot.get_fignums()
        axes = plot.transport(PLAN, cost=COST)
        try:
            assert pyplot.get_fignums() == [*before, axes.figure.number]
            assert axes.figure.get_size_inches() == pytest.approx(plot.figure_size(["0", "1"], ["0", "1", "2"]))
        finally:
            pyplot.close(axes.figure)
        assert pyplot.get_fignums() == before

    def test_given_axes_leave_pyplot_alone(self):
        before = pyplot.get_fignums()
        figure = Figure()
        left, right = figure.subplots(1, 2)
        left.set_title("kept")
        plot.transport(PLAN, ax=left)
        plot.transport(PLAN, cost=COST, ax=right)
        figure.savefig(io.BytesIO(), format="png")
        assert left.get_title() == "kept"
        assert pyplot.get_fignums() == before

    def test_subfigure(self):
        figure = Figure(layout="constrained")
        part = figure.subfigures(1, 2)[1]
        plot.transport(PLAN, cost=COST, ax=part.subplots())
        figure.savefig(io.BytesIO(), format="png")
        assert len(part.axes) == 2

    def test_size_grows_with_words_and_labels(self):
        small, wide = plot.figure_size(["a"] * 30, ["b"]), plot.figure_size(["a" * 30] * 30, ["科" * 9])
        assert wide[0] > small[0] > plot.figure_size([], [])[0]
        assert plot.figure_size(["a"] * 60, [])[1] > small[1] == wide[1]
        assert plot.figure_size(["a"] * 10**6, [])[1] <= 40


class TestErrors:
    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            (([0.5, 0.5],), {}, "plan must have 2 dimensions, but its shape is (2,)"),
            (([[1.0], [1.0, 2.0]],), {}, "plan is not an array of one shape"),
            (([[1.0, np.nan]],), {}, "plan[0, 1] is nan"),
            (([[1.0], [np.inf]],), {}, "plan[1, 0] is inf"),
            (([[1.0, -0.5]],), {}, "plan[0, 1] is negative (-0.5)"),
            ((sparse.csr_array([[1.0, 0.0], [0.0, -2.0]]),), {}, "plan[1, 1] is negative (-2.0)"),
            ((sparse.coo_array([1.0, 2.0]),), {}, "plan must have 2 dimensions, but its shape is (2,)"),
            ((np.zeros((2, 3)),), {}, "plan has no mass: all of its entries are 0 (its shape is (2, 3))"),
            ((np.ones((0, 3)),), {}, "plan has no mass"),
            ((PLAN, ["a"]), {}, "source_labels has 1 labels, but plan has 2 rows"),
            ((PLAN, None, list("abcd")), {}, "target_labels has 4 labels, but plan has 3 columns"),
            ((PLAN,), {"cost": COST.T}, "cost has shape (3, 2), but plan has shape (2, 3)"),
            ((PLAN,), {"cost": [[0, np.nan, 0], [0, 0, 0]]}, "cost[0, 1] is nan"),
            ((PLAN,), {"cost": [[0, 0, 0], [0, np.inf, 0]]}, "cost[1, 1] is inf, and plan moves mass there"),
            ((PLAN,), {"threshold": 1}, "threshold must be at least 0 and below 1, got 1"),
            ((PLAN,), {"threshold": -0.1}, "threshold must be at least 0"),
            ((PLAN,), {"threshold": float("nan")}, "threshold must be at least 0 and below 1, got nan"),
        ],
    )
    def test_bad_values(self, arguments, options, message):
        before = pyplot.get_fignums()
        with pytest.raises(KexueValueError, match=re.escape(message)):
            plot.transport(*arguments, **options)
        assert pyplot.get_fignums() == before

    @pytest.mark.parametrize(
        ("arguments", "options", "message"),
        [
            (([["a"]],), {}, "plan must hold real numbers, but its dtype is <U1"),
            ((PLAN * 1j,), {}, "plan must hold real numbers, but its dtype is complex128"),
            ((np.ma.masked_less(PLAN, 0.2),), {}, "plan is a masked array"),
            ((PLAN, "ab"), {}, "source_labels must be a sequence of labels, not one str"),
            ((PLAN, None, 3), {}, "target_labels must be a sequence of labels, not int"),
            ((PLAN,), {"cost": sparse.csr_array(PLAN)}, "cost must hold real numbers, but its dtype is object"),
            ((PLAN,), {"threshold": "1"}, "threshold must be a number, not str"),
        ],
    )
    def test_bad_types(self, arguments, options, message):
        before = pyplot.get_fignums()
        with pytest.raises(TypeError, match=re.escape(message)):
            plot.transport(*arguments, **options)
        assert pyplot.get_fignums() == before

    def test_unknown_colours_leave_no_figure(self):
        before = pyplot.get_fignums()
        with pytest.raises(ValueError, match="nothing"):
            plot.transport(PLAN, cost=COST, cmap="nothing")
        assert pyplot.get_fignums() == before

    def test_without_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=re.escape('kexue.plot needs matplotlib: pip install "kexue[plot]"')):
            plot.transport(PLAN)


MATRIX = np.array([[1.0, 0.5, 0.25], [0.4, -0.2, 0.0]])


def draw_cka(*arguments, **options):
    axes = Figure(figsize=(6, 5), layout="constrained").subplots()
    assert plot.cka(*arguments, ax=axes, **options) is axes
    return axes


def ticks(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def layers(rng):
    first = rng.normal(size=(30, 4))
    return {"input": first, "hidden": np.tanh(first @ rng.normal(size=(4, 6)))}


class TestCKA:
    def test_picture_is_the_matrix(self):
        axes = draw_cka(MATRIX)
        np.testing.assert_array_equal(axes.images[0].get_array(), MATRIX)
        assert axes.images[0].get_clim() == (-0.2, 1.0)
        assert draw_cka(np.abs(MATRIX)).images[0].get_clim() == (0.0, 1.0)
        # The first row is at the bottom.
        assert axes.get_ylim() == (-0.5, 1.5)
        assert axes.get_xlim() == (-0.5, 2.5)
        assert (ticks(axes.yaxis), ticks(axes.xaxis)) == (["0", "1"], ["0", "1", "2"])
        (bar,) = [other for other in axes.figure.axes if other is not axes]
        assert bar.get_ylabel() == "CKA"
        assert len(draw_cka(MATRIX, colorbar_label=None).figure.axes) == 1

    def test_values(self):
        shown = {text.get_position(): text.get_text() for text in draw_cka(MATRIX).texts}
        assert shown == {(j, i): f"{value:.2f}" for (i, j), value in np.ndenumerate(MATRIX)}
        assert draw_cka(MATRIX, values=False).texts[:] == []
        assert draw_cka(np.ones((13, 2))).texts[:] == []
        assert len(draw_cka(np.ones((13, 2)), values=True).texts) == 26

    def test_values_can_be_read(self):
        """Black on light squares and white on dark ones."""
        axes = draw_cka(np.array([[0.0, 1.0]]), cmap="gray")
        assert [text.get_color() for text in axes.texts] == ["white", "black"]

    def test_layers(self, rng):
        network = layers(rng)
        axes = draw_cka(network)
        np.testing.assert_array_equal(axes.images[0].get_array(), kexue.cka_matrix(network))
        assert ticks(axes.yaxis) == ticks(axes.xaxis) == ["input", "hidden"]
        other = [network["hidden"] ** 2, network["input"] ** 2, network["input"]]
        axes = draw_cka(list(network.values()), other, kernel="rbf", debiased=True, labels_b=["a", "b", "$c"])
        expected = kexue.cka_matrix(network, other, kernel="rbf", debiased=True)
        np.testing.assert_array_equal(axes.images[0].get_array(), expected)
        assert (ticks(axes.yaxis), ticks(axes.xaxis)) == (["0", "1"], ["a", "b", "$c"])
        assert ticks(draw_cka(network, labels_a=["first", "second"]).xaxis) == ["first", "second"]
        assert ticks(draw_cka(network, other).xaxis) == ["0", "1", "2"]
        stack = np.stack(other[1:])
        np.testing.assert_array_equal(draw_cka(stack).images[0].get_array(), kexue.cka_matrix(other[1:]))

    def test_labels_are_literal(self):
        axes = draw_cka(MATRIX, labels_a=["$a", "b_$"], labels_b=["x" * 40, "$\\", "c"])
        assert ticks(axes.yaxis) == ["$a", "b_$"]
        assert ticks(axes.xaxis) == ["x" * 29 + "…", "$\\", "c"]
        axes.figure.savefig(io.BytesIO(), format="svg")

    def test_own_figure(self):
        before = pyplot.get_fignums()
        axes = plot.cka(MATRIX)
        (number,) = set(pyplot.get_fignums()) - set(before)
        assert pyplot.figure(number) is axes.figure
        pyplot.close(number)

    def test_matrix_is_not_changed(self, layout, untouched, dtype):
        matrix = layout(MATRIX.astype(dtype))
        with untouched(matrix):
            axes = draw_cka(matrix)
        np.testing.assert_array_equal(axes.images[0].get_array(), MATRIX.astype(dtype))

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "message"),
        [
            ((np.ones(3),), {}, KexueValueError, "matrix_or_layers must have 2 dimensions"),
            ((np.ones((0, 3)),), {}, KexueValueError, "matrix_or_layers is empty: its shape is (0, 3)"),
            (([[1.0, np.nan]],), {}, KexueValueError, "matrix_or_layers[0, 1] is nan"),
            ((MATRIX,), {"labels_a": ["a"]}, KexueValueError, "labels_a has 1 labels, but the matrix has 2 rows"),
            ((MATRIX,), {"labels_b": ["a"]}, KexueValueError, "labels_b has 1 labels, but the matrix has 3 columns"),
            (([np.ones((3, 2)), np.ones((4, 2))],), {}, KexueValueError, "layers_a[1] has 4"),
            (({},), {}, KexueValueError, "layers_a has no layers"),
            ((MATRIX,), {"kernel": "rbf"}, TypeError, "a matrix has no options, but got kernel"),
            (([["a"]],), {}, TypeError, "matrix_or_layers must hold real numbers"),
            ((MATRIX,), {"cmap": "nothing"}, ValueError, "nothing"),
        ],
    )
    def test_errors(self, arguments, options, error, message):
        before = pyplot.get_fignums()
        with pytest.raises(error, match=re.escape(message)):
            plot.cka(*arguments, **options)
        assert pyplot.get_fignums() == before

    def test_without_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=re.escape('kexue.plot needs matplotlib: pip install "kexue[plot]"')):
            plot.cka(MATRIX)


class TestDistortion:
    """The lines are what random_projection does to the pairs."""

    @staticmethod
    def draw(X, *arguments, **options):
        axes = Figure(layout="constrained").subplots()
        assert plot.distortion(X, *arguments, ax=axes, **options) is axes
        return {line.get_label(): line for line in axes.lines}

    def test_lines_and_labels(self, rng):
        lines = self.draw(rng.normal(size=(30, 200)), [10, 40], n_pairs=50, rng=0)
        kinds = ["gaussian", "rademacher", "srht", "osnap", "countsketch", "sparse"]
        labels = [label for kind in kinds for label in (kind, f"_{kind}, 95%")]
        assert list(lines) == [*labels, 'bound of "gaussian", 95%']
        for line in lines.values():
            assert line.get_xdata().tolist() == [10, 40]
        for kind in kinds:
            assert (lines[kind].get_ydata() >= lines[f"_{kind}, 95%"].get_ydata()).all()
            assert lines[kind].get_color() == lines[f"_{kind}, 95%"].get_color()

    @pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, sparse.coo_matrix, lambda X: X.astype(np.float32)])
    def test_numbers(self, form, rng):
        X = rng.normal(size=(12, 64)) * (rng.random((12, 64)) < 0.3)
        kinds = {"mine": {"kind": "osnap", "nonzeros": 3}}
        lines = self.draw(form(X), [5, 20], kinds=kinds, quantile=0.5, rng=4)  # all 66 pairs
        generator = np.random.default_rng(4)
        i, j = np.triu_indices(12, 1)
        for k, n in enumerate((5, 20)):
            Y = kexue.RandomProjectionMap.draw(64, n, kind="osnap", nonzeros=3, rng=generator)(X)
            ratio = ((Y[i] - Y[j]) ** 2).sum(axis=1) / ((X[i] - X[j]) ** 2).sum(axis=1)
            assert lines["mine"].get_ydata()[k] == pytest.approx(abs(ratio - 1).max(), rel=1e-5)
            assert lines["_mine, 50%"].get_ydata()[k] == pytest.approx(np.median(abs(ratio - 1)), rel=1e-5)

    def test_bound_is_the_chi_square_law(self, rng):
        lines = self.draw(rng.normal(size=(2, 30)), [8, 300], kinds="gaussian", confidence=0.8, quantile=None)
        assert list(lines) == ["gaussian", 'bound of "gaussian", 80%']
        for n, bound in lines['bound of "gaussian", 80%'].get_xydata():
            squares = rng.normal(size=(20000, int(n))) ** 2
            exceeded = (abs(squares.mean(axis=1) - 1) > bound).mean()
            assert abs(exceeded - 0.2) < 5 * np.sqrt(0.16 / 20000)

    def test_scales_and_equal_rows_do_not_matter(self, rng):
        X = rng.normal(size=(10, 40))
        expected = self.draw(X, [8], kinds=["srht"], rng=1)["srht"].get_ydata()
        for factor in (1e-200, 1e200):
            np.testing.assert_allclose(self.draw(X * factor, [8], kinds=["srht"], rng=1)["srht"].get_ydata(), expected)
        for form in (np.asarray, sparse.csr_array):
            # The largest difference is beyond the range; and the inverse of the smallest.
            huge = form(X * (np.finfo(np.float64).max / abs(X).max()))
            np.testing.assert_allclose(self.draw(huge, [8], kinds=["srht"], rng=1)["srht"].get_ydata(), expected)
            tiny = form(np.round(X * 1000) * 5e-324)
            near = self.draw(tiny, [8], kinds=["srht"], rng=1)["srht"].get_ydata()
            np.testing.assert_allclose(near, expected, rtol=0.01)
        twice = self.draw(np.concatenate([X, X]), [8], kinds=["srht"], rng=1)["srht"].get_ydata()
        np.testing.assert_allclose(twice, expected)

    def test_repeated_entries_of_small_integers_do_not_wrap_around(self):
        places = np.repeat([0, 1, 2], [300, 300, 1]), np.repeat([3, 4, 5], [300, 300, 1])
        X = sparse.coo_array((np.ones(601, dtype=np.uint8), places), shape=(3, 30))
        whole = np.zeros((3, 30))
        whole[[0, 1, 2], [3, 4, 5]] = 300, 300, 1
        lines = [self.draw(rows, [8], kinds=["gaussian"], rng=1)["gaussian"].get_ydata() for rows in (X, whole)]
        np.testing.assert_allclose(*lines)

    def test_by_default(self, rng):
        figures = pyplot.get_fignums()
        axes = plot.distortion(rng.normal(size=(80, 50)), kinds=["gaussian"], n_pairs=30)
        assert axes.lines[0].get_xdata().tolist() == [16, 19, 23, 28, 34, 41, 50]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("dimension", "change of squared distances")
        (new,) = set(pyplot.get_fignums()) - set(figures)
        pyplot.close(new)
        assert self.draw([[1.0], [2.0]], kinds=["gaussian"])["gaussian"].get_xdata().tolist() == [1]

    def test_the_axis_shows_the_lines_and_no_rounding(self, rng):
        lines = self.draw(rng.normal(size=(40, 200)), [16, 128], kinds=["gaussian", "srht"], rng=0)
        lowest = min(line.get_ydata().min() for line in lines.values())
        assert lowest / 2 < lines["srht"].axes.get_ylim()[0] < lowest
        lines = self.draw(rng.normal(size=(40, 64)), [64], kinds=["srht"], rng=0)  # orthogonal: all is rounding
        assert 0 < lines["srht"].get_ydata()[0] < 1e-12
        assert lines["srht"].axes.get_ylim()[0] == lines['bound of "gaussian", 95%'].get_ydata()[0] / 20

    def test_many_columns(self, rng):
        X = sparse.random_array((50, 10**6), density=1e-5, rng=rng, format="csr")
        lines = self.draw(X, [32], kinds=["countsketch", "osnap"], n_pairs=40, rng=0)
        assert 0 < lines["osnap"].get_ydata()[0] < 3

    @pytest.mark.parametrize(
        ("X", "options", "error", "message"),
        [
            (np.ones(3), {}, KexueValueError, "X must have 2 dimensions"),
            (np.ones((1, 3)), {}, KexueValueError, "X must have at least two rows, but it has 1"),
            (np.ones((4, 3)), {}, KexueValueError, "X has no two different rows"),
            (np.ones((4, 0)), {}, KexueValueError, "X has no columns: its shape is (4, 0)"),
            ([[1.0, 2.0], [3.0, np.nan]], {}, KexueValueError, "X[1, 1] is nan"),
            (sparse.csr_array([[1.0, 0.0], [3.0, np.inf]]), {}, KexueValueError, "X[1, 1] is inf"),
            ([["a"], ["b"]], {}, TypeError, "X must hold real numbers"),
            (PLAN, {"n_components": []}, KexueValueError, "n_components is empty"),
            (PLAN, {"n_components": [0]}, KexueValueError, "n_components must be at least 1"),
            (PLAN, {"n_components": [5], "kinds": ["srht"]}, KexueValueError, "n_components must be at most 4"),
            (np.ma.masked_array(PLAN, PLAN > 2), {}, TypeError, "X is a masked array"),
            (PLAN, {"kinds": []}, KexueValueError, "kinds is empty"),
            (PLAN, {"kinds": {"a": "srht"}}, TypeError, "kinds['a'] must be a mapping of options, not str"),
            (PLAN, {"kinds": ["normal"]}, KexueValueError, "got 'normal'"),
            (PLAN, {"n_pairs": 0}, KexueValueError, "n_pairs must be at least 1"),
            (PLAN, {"n_pairs": 1.5}, TypeError, "n_pairs must be an integer"),
            (PLAN, {"confidence": 1.0}, KexueValueError, "confidence must be between 0 and 1, got 1.0"),
            (PLAN, {"confidence": None}, TypeError, "confidence must be a number"),
            (PLAN, {"quantile": -0.1}, KexueValueError, "quantile must be between 0 and 1, got -0.1"),
        ],
    )
    def test_errors(self, X, options, error, message):
        before = pyplot.get_fignums()
        with pytest.raises(error, match=re.escape(message)):
            plot.distortion(X, **options)
        assert pyplot.get_fignums() == before

    def test_without_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=re.escape('kexue.plot needs matplotlib: pip install "kexue[plot]"')):
            plot.distortion(PLAN)


class TestDiscriminatorWeights:
    """The bars are histograms of the logarithms of the weights."""

    @staticmethod
    def draw(*arguments, **options):
        axes = Figure(layout="constrained").subplots()
        assert plot.discriminator_weights(*arguments, ax=axes, **options) is axes
        return axes

    def test_bars_are_histograms(self, rng, dtype):
        weights = [np.exp(rng.normal(size=size)).astype(dtype) for size in (300, 200)]
        axes = self.draw(*weights, bins=17)
        assert (axes.get_xscale(), axes.get_xlabel()) == ("log", "weight")
        logarithms = [np.log10(values, dtype=np.float64) for values in weights]
        joined = np.concatenate(logarithms)
        edges = np.linspace(joined.min(), joined.max(), 18)
        for bars, values in zip(axes.containers, logarithms, strict=True):
            left = [bar.get_x() for bar in bars]
            right = [bar.get_x() + bar.get_width() for bar in bars]
            np.testing.assert_allclose(left, 10 ** edges[:-1], rtol=1e-9)
            np.testing.assert_allclose(right, 10 ** edges[1:], rtol=1e-9)
            expected, _ = np.histogram(values, edges, density=True)
            np.testing.assert_allclose([bar.get_height() for bar in bars], expected, rtol=1e-9)
        axes.figure.savefig(io.BytesIO(), format="svg")

    def test_splitter(self, rng):
        splitter = kexue.AdversarialSplit(rng.normal(size=(200, 2)) + 0.5, rng=0)
        next(splitter.split(rng.normal(size=(300, 2))))
        axes, expected = self.draw(splitter), self.draw(splitter.weights_, splitter.target_weights_)
        for mine, theirs in zip(axes.containers, expected.containers, strict=True):
            assert [bar.get_height() for bar in mine] == [bar.get_height() for bar in theirs]
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["training set", "test set"]
        axes = self.draw(splitter, labels=("before", "after"))
        assert [text.get_text() for text in axes.get_legend().get_texts()] == ["before", "after"]

    def test_ends(self):
        axes = self.draw([0.0, 1.0, 10.0], [np.inf, 1.0, 1.0, 1.0], bins=2)
        heights = [[bar.get_height() for bar in bars] for bars in axes.containers]
        np.testing.assert_allclose(heights, [[4 / 3, 2 / 3], [1.5, 0.5]])
        axes = self.draw([1.0, 1.0], [1.0], bins=3)
        assert [bar.get_height() for bar in axes.containers[0]] == pytest.approx([0, 3, 0])
        assert [bar.get_height() for bar in axes.containers[1]] == pytest.approx([0, 3, 0])

    def test_by_default(self):
        figures = pyplot.get_fignums()
        axes = plot.discriminator_weights([1.0, 2.0], [3.0])
        assert [len(bars) for bars in axes.containers] == [40, 40]
        (new,) = set(pyplot.get_fignums()) - set(figures)
        pyplot.close(new)

    @pytest.mark.parametrize(
        ("arguments", "options", "error", "message"),
        [
            (([1.0],), {}, TypeError, "target_weights must be given beside an array of weights"),
            ((kexue.AdversarialSplit([[1.0]]),), {}, KexueValueError, "weights is a splitter that has not split yet"),
            ((kexue.AdversarialSplit([[1.0]]), [1.0]), {}, TypeError, "target_weights is for an array of weights"),
            (([1.0, -1.0], [1.0]), {}, KexueValueError, "weights[1] is -1.0, but weights are not negative"),
            (([1.0], [np.nan]), {}, KexueValueError, "target_weights[0] is nan"),
            (([1.0], []), {}, KexueValueError, "target_weights must have 1 dimension and an entry"),
            (([[1.0]], [1.0]), {}, KexueValueError, "weights must have 1 dimension and an entry"),
            (([0.0], [np.inf]), {}, KexueValueError, "have no entry that is positive and finite"),
            ((["a"], [1.0]), {}, TypeError, "weights must hold real numbers"),
            (([1.0], [1j]), {}, TypeError, "target_weights must hold real numbers"),
            (("text", [1.0]), {}, TypeError, "weights must hold real numbers"),
            (([1.0], [1.0]), {"bins": 0}, KexueValueError, "bins must be at least 1, got 0"),
            (([1.0], [1.0]), {"bins": 2.0}, TypeError, "bins must be an integer, not float"),
            (([1.0], [1.0]), {"labels": "ab"}, KexueValueError, "labels must be two texts, got 'ab'"),
        ],
    )
    def test_errors(self, arguments, options, error, message):
        before = pyplot.get_fignums()
        with pytest.raises(error, match=re.escape(message)):
            plot.discriminator_weights(*arguments, **options)
        assert pyplot.get_fignums() == before

    def test_without_matplotlib(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=re.escape('kexue.plot needs matplotlib: pip install "kexue[plot]"')):
            plot.discriminator_weights([1.0], [1.0])


def test_import_loads_no_matplotlib():
    code = "import sys, kexue.plot; sys.exit('matplotlib' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
