"""Draws the pictures of smoothing.md: `python docs/plot_smoothing.py docs/images`."""

import sys
from pathlib import Path

import numpy as np
from matplotlib import rcParams
from matplotlib.figure import Figure

import kexue as kx

SCALES = {
    "gaussian": (0.1, 0.3, 1.0),
    "logistic": (20.0, 6.0, 2.0),
    "student_t2": (0.01, 0.1, 1.0),
    "cauchy": (0.03, 0.1, 0.3),
}
FUNCTIONS = {
    "relu": (np.linspace(-2, 2, 201), lambda x: np.maximum(x, 0), kx.smooth_relu),
    "clip": (
        np.linspace(-2, 2, 201),
        lambda x: np.clip(x, -1, 1),
        lambda x, **kernel: kx.smooth_clip(x, -1, 1, **kernel),
    ),
    "floor": (np.linspace(-1.5, 2.5, 401), np.floor, kx.smooth_floor),
}


def draw(name):
    x, sharp, smooth = FUNCTIONS[name]
    figure = Figure(figsize=(10, 2.8), layout="constrained")
    for axes, (kernel, scales) in zip(figure.subplots(1, 4, sharey=True), SCALES.items(), strict=True):
        axes.set_title(kernel)
        axes.plot(x, sharp(x), color="0.7", linewidth=3)
        if (name, kernel) == ("relu", "cauchy"):
            axes.text(0.5, 0.5, "diverges", transform=axes.transAxes, ha="center")
            continue
        for scale in scales:
            axes.plot(x, smooth(x, kernel=kernel, scale=scale), linewidth=1.2, label=f"scale={scale:g}")
        axes.legend(fontsize="x-small", frameon=False)
    return figure


if __name__ == "__main__":
    # Equal curves give equal files.
    rcParams["svg.hashsalt"] = "kexue"
    for name in FUNCTIONS:
        draw(name).savefig(Path(sys.argv[1]) / f"smooth_{name}.svg", metadata={"Date": None})
