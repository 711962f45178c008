"""The picture of errors of features: its numbers are those of kernel_error, and its laws those of the variance."""

import math

import numpy as np
import pytest

import kexue
from kexue import KexueValueError, plot

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402


def draw(*arguments, **options):
    axes = Figure(layout="constrained").subplots()
    assert plot.kernel_error(*arguments, ax=axes, **options) is axes
    return axes


def test_lines(rng):
    Q, K = rng.normal(size=(2, 30, 3)) / 3
    axes = draw(Q, K, [16, 65, 256], rng=1, orthogonal=False, repeats=20)
    labels = [line.get_label() for line in axes.lines]
    random = [label for kind in ("positive", "hyperbolic", "trigonometric") for label in (kind, f"_{kind}, law")]
    assert labels == [*random, "taylor", "expdef"]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    assert lines["positive"][:, 0].tolist() == [16, 65, 256]
    assert lines["hyperbolic"][:, 0].tolist() == [16, 64, 256]
    for kind, per in (("positive", 1), ("hyperbolic", 2), ("trigonometric", 2)):
        law = kexue.favor_relative_variance(Q[:, None], K, kind=kind).mean()
        measured, expected = lines[kind][:, 1], lines[f"_{kind}, law"][:, 1]
        np.testing.assert_allclose(expected, np.sqrt(law * per / lines[kind][:, 0]), rtol=1e-12)
        # The errors of pairs hang together: 20 draws of directions leave some 20 per cent.
        np.testing.assert_allclose(measured, expected, rtol=0.5)
    degrees = [n for n in range(1, 20) if math.comb(3 + n, n) <= 256]
    assert lines["taylor"][:, 0].tolist() == [math.comb(3 + n, n) for n in degrees]
    for n, (_, error) in zip(degrees, lines["taylor"], strict=True):
        phi_Q, phi_K = kexue.taylor_features([Q, K], n)
        assert error == kexue.kernel_error(Q, K, phi_Q, phi_K).rms
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_same_rng_same_picture(rng):
    Q = rng.normal(size=(2, 300, 3)) / 3
    first, second = (draw(Q, n_features=[8, 32], kinds="hyperbolic", n_points=50, rng=7) for _ in range(2))
    np.testing.assert_array_equal(first.lines[0].get_xydata(), second.lines[0].get_xydata())


def test_orthogonal_is_better(rng):
    Q = rng.normal(size=(50, 16)) / 8
    errors = [
        draw(Q, n_features=[32], kinds=["hyperbolic"], orthogonal=orthogonal, repeats=20, rng=3).lines[0].get_ydata()[0]
        for orthogonal in (True, False)
    ]
    assert errors[0] < 0.8 * errors[1]


def test_new_figure(rng):
    axes = plot.kernel_error(rng.normal(size=(5, 2)), n_features=[4], rng=0)
    assert axes.figure.number in pyplot.get_fignums()
    pyplot.close(axes.figure)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"Q": np.ones(3)}, "Q must have shape"),
        ({"Q": np.ones((0, 3))}, "Q must have shape"),
        ({"Q": [[1.0, np.nan]]}, r"Q\[0, 1\] is nan"),
        ({"K": np.ones((4, 3))}, "Q and K must have one dimension"),
        ({"kinds": ["cosine"]}, "kinds must be of"),
        ({"kinds": []}, "kinds must be of"),
        ({"n_features": []}, "n_features is empty"),
        ({"n_features": [1]}, "n_features must be at least 2"),
        ({"repeats": 0}, "repeats must be at least 1"),
        ({"n_points": 0}, "n_points must be at least 1"),
    ],
)
def test_bad_arguments_draw_nothing(changes, message):
    axes = Figure().subplots()
    with pytest.raises(KexueValueError, match=message):
        plot.kernel_error(**{"Q": np.ones((4, 2)), "ax": axes, **changes})
    assert not axes.lines


def test_bad_types():
    with pytest.raises(TypeError, match="Q must hold real numbers"):
        plot.kernel_error([["a", "b"]])
    with pytest.raises(TypeError, match="repeats must be an integer"):
        plot.kernel_error(np.ones((4, 2)), repeats=1.5)
