"""How the pictures of the gallery look; each example begins with it."""

from __future__ import annotations

from typing import Any

COLOURS = ["#1f4e79", "#c8602b", "#3f8f5f", "#8a4f9e", "#b59a2b", "#5b6b7a"]


def apply(gallery_conf: dict[str, Any] | None = None, example: str | None = None) -> None:
    import matplotlib

    matplotlib.rcParams.update(
        {
            "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
            "axes.spines.right": False,
            "axes.spines.top": False,
            "axes.titlesize": "medium",
            "figure.dpi": 110,
            "font.size": 9,
            "legend.frameon": False,
            "lines.linewidth": 1.6,
        }
    )
