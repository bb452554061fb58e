"""Paired differences with their intervals: the forest plot."""

from collections.abc import Sequence
from dataclasses import dataclass

from unet_exp.reporting.plots.canvas import BETTER, INK, MUTED, PAPER, WORSE, Plot, drawing, shorten

_COLORS = {"better": BETTER, "worse": WORSE, "no difference shown": MUTED}
_MARKERS = {"better": "^", "worse": "v", "no difference shown": "o"}


@dataclass(frozen=True)
class Difference:
    """One line: `label`, the `value` with its interval (`low`, `high`), and the `answer`."""

    label: str
    value: float
    low: float
    high: float
    answer: str


def forest_plot(name: str, differences: Sequence[Difference], *, score: str, level: float) -> Plot:
    """Draw one line per pair; right of 0 the first model is better.

    Args:
        name: Of the file.
        differences: At least one.
        score: What was compared, for example `Dice`.
        level: Of the intervals.
    """
    with drawing(0.9 + 0.5 * len(differences)) as (figure, axes):
        axes.axvline(0, color=INK, linewidth=1)
        for row, item in enumerate(differences):
            color = _COLORS[item.answer]
            axes.plot([item.low, item.high], [row, row], color=color, linewidth=2.2, solid_capstyle="butt")
            axes.plot(item.value, row, marker=_MARKERS[item.answer], color=color, markersize=7, linestyle="")
            # The label stands over its line: beside it, it would leave no room on a phone.
            axes.annotate(
                shorten(item.label, 50), (0, row), xycoords=("axes fraction", "data"), xytext=(0, 7),
                textcoords="offset points", fontsize=9.5, color=INK,
                bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
            )  # fmt: skip
        axes.set_ylim(len(differences) - 0.5, -0.8)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
        axes.locator_params(axis="x", nbins=6)
        axes.set_xlabel(f"difference in {score}, {100 * level:g} % interval\n(> 0: the first is better)")
    lines = "; ".join(f"{d.label}: {d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f}), {d.answer}" for d in differences)
    return Plot(name, f"Differences in {score}", lines, figure)
