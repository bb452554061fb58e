"""The reliability diagram: how often a network is right, by how sure it is."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from unet_exp.figure._canvas import BLUE, INK, MUTED, ORANGE, RULE, new_figure, tidy, write_png


def save_reliability_diagram(bins: Sequence[Mapping[str, Any]], path: Path, *, ece: float) -> None:
    """Draw accuracy over confidence, and the share of pixels in each bin below it.

    Args:
        bins: `low`, `high`, `count`, `confidence` and `accuracy` of each bin, ascending; the last two are None in a
            bin without pixels.
        path: The PNG file.
        ece: Expected calibration error, written into the title.

    Raises:
        ValueError: If no bin has a pixel.
    """
    filled = [one for one in bins if one["count"]]
    if not filled:
        raise ValueError("a reliability diagram needs at least one bin with pixels")
    lowest = filled[0]["low"]
    figure = new_figure(4.2, 4.6)
    upper, lower = figure.add_axes((0.14, 0.34, 0.82, 0.56)), figure.add_axes((0.14, 0.11, 0.82, 0.17))
    upper.plot([lowest, 1], [lowest, 1], color=RULE, linewidth=1.2, linestyle=(0, (4, 3)), label="perfect calibration")
    confidence, accuracy = ([one[key] for one in filled] for key in ("confidence", "accuracy"))
    upper.vlines(confidence, accuracy, confidence, color=ORANGE, linewidth=1.5, label="gap")
    upper.plot(confidence, accuracy, color=BLUE, marker="o", markersize=4, linewidth=1.5, label="accuracy")
    upper.set_ylabel("share of right pixels", fontsize=9, color=MUTED)
    upper.legend(frameon=False, fontsize=8, labelcolor=INK, loc="upper left")
    total = sum(one["count"] for one in filled)
    edges = np.array([(one["low"], one["high"]) for one in filled])
    shares = [one["count"] / total for one in filled]
    lower.bar(edges[:, 0], shares, width=np.diff(edges)[:, 0], align="edge", color=BLUE, alpha=0.6, edgecolor="white")
    lower.set_ylabel("pixels", fontsize=9, color=MUTED)
    lower.set_xlabel("confidence in the predicted class", fontsize=9, color=MUTED)
    for axes in (upper, lower):
        axes.set_xlim(lowest, 1)
        tidy(axes)
    figure.text(0.14, 0.975, "Reliability", va="top", fontsize=10, color=INK, weight="bold")
    figure.text(0.96, 0.975, f"ECE {ece:.4f}", ha="right", va="top", fontsize=9, color=MUTED)
    write_png(figure, path)
